//! The endpoint under test, its application, and what the garbage needs to know of it to come close.

use crate::frames::Frames;
use crate::generate::Generator;
use corelane_proto::endpoint::{Cidr, ConnId, EndpointConfig, Event, Shutdown, Transmit};
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, parse};
use corelane_proto::{Addr, Endpoint, Flow, Instant, Mac, Memory, SocketAddr};
use std::collections::HashMap;
use std::time::Duration;

pub(crate) const OURS: Addr = Addr::v4([10, 0, 0, 1]);
pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const PEERS: u8 = 4;
pub(crate) const PORT: u16 = 80;
const FRAMES: u32 = 2048;
const CONNECTIONS: usize = 48;
const SYN_QUEUE: usize = 64;
const TIME_WAITS: usize = 32;
/// Flows that the generator is told of; the oldest give way.
const REMEMBERED: usize = 96;

/// The peer of address `last`, which nobody plays but the generator.
pub(crate) fn peer(last: u8) -> (Addr, Mac) {
    (Addr::v4([10, 0, 0, last]), Mac([2, 0, 0, 0, 0, last]))
}

/// What a peer of this flow would know, from the segments that the endpoint sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) flow: Flow,
    /// The number after the last that it sent: what an ACK may name.
    pub(crate) sent: Seq,
    /// The oldest number that it would send again, as far as we know: its last segment's.
    pub(crate) last: Seq,
    /// What it expects next.
    pub(crate) expects: Seq,
    /// Its last window field.
    pub(crate) window: u16,
    /// Its last timestamp, if there was one.
    pub(crate) stamp: Option<u32>,
}

/// What the application was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) accepted: u64,
    pub(crate) connected: u64,
    pub(crate) readable: u64,
    pub(crate) closed: u64,
}

pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
    pub(crate) live: Vec<Live>,
    frames: Frames,
    conns: Vec<ConnId>,
    closed: HashMap<ConnId, bool>,
    seen: Seen,
    received: u64,
    sent: u64,
    timers: u64,
}

impl Target {
    pub(crate) fn new(seed: u64) -> Self {
        let config = EndpointConfig {
            mac: OUR_MAC,
            addresses: vec![Cidr { addr: OURS, prefix_len: 24 }],
            connections: CONNECTIONS,
            syn_queue: SYN_QUEUE,
            accept_queue: 16,
            time_wait: TIME_WAITS,
            neighbours: 32,
            low_water_frames: 64,
            replies_per_second: 1000,
            ..EndpointConfig::default()
        };
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&seed.to_le_bytes());
        let mut endpoint = Endpoint::new(config, secret, Instant::ZERO);
        let keepalive = Some(KeepaliveConfig { idle: Duration::from_secs(20), ..KeepaliveConfig::default() });
        let tcp = TcpConfig { recv_buffer: 30_000, send_buffer: 30_000, keepalive, ..TcpConfig::default() };
        endpoint.listen(SocketAddr::new(OURS, PORT), tcp).expect("listen");
        Self {
            endpoint,
            now: Instant::from_millis(1),
            live: Vec::new(),
            frames: Frames::new(FRAMES),
            conns: Vec::new(),
            closed: HashMap::new(),
            seen: Seen::default(),
            received: 0,
            sent: 0,
            timers: 0,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }

    /// One frame comes in and the endpoint has its turn.
    pub(crate) fn receive(&mut self, frame: &[u8], random: &mut Generator) {
        self.now = self.now + Duration::from_nanos(random.below(200_000));
        // The device has nothing to receive into while the pool is empty.
        if let Some(buf) = self.frames.fill(frame) {
            self.received += 1;
            self.endpoint.receive(self.now, &mut self.frames, buf);
        }
        self.turn(random);
    }

    fn turn(&mut self, random: &mut Generator) {
        if self.endpoint.poll_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.timers += 1;
        }
        self.endpoint.on_time(self.now, &mut self.frames);
        while let Some(event) = self.endpoint.poll_event() {
            self.on_event(event, random);
        }
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.frames) {
            self.sent += 1;
            match transmit {
                Transmit::Owned { token, len } => {
                    let frame = self.frames.bytes(&token)[..usize::from(len)].to_vec();
                    self.frames.free(token);
                    self.learn(&frame);
                }
                Transmit::Lent { index, len } => {
                    let frame = self.frames.at(index)[..usize::from(len)].to_vec();
                    self.learn(&frame);
                }
            }
        }
    }

    fn on_event(&mut self, event: Event, random: &mut Generator) {
        match event {
            Event::Accepted { conn, .. } => {
                self.seen.accepted += 1;
                self.conns.push(conn);
            }
            Event::Connected(_) => self.seen.connected += 1,
            Event::Readable(conn) => {
                self.seen.readable += 1;
                if random.chance(0.8) {
                    self.read(conn);
                }
            }
            Event::Writable(conn) => {
                let _ = self.endpoint.send_copy(&mut self.frames, conn, &[5; 3000]);
            }
            Event::Urgent(conn) => assert!(self.endpoint.urgent_mark(conn).is_some()),
            Event::Trouble { .. } => {}
            Event::PeerClosed(conn) => {
                if random.chance(0.7) {
                    self.endpoint.close(conn);
                }
            }
            Event::Closed { conn, .. } => {
                self.seen.closed += 1;
                assert!(self.closed.insert(conn, true).is_none(), "{conn:?} is closed twice");
                self.conns.retain(|other| *other != conn);
                if self.closed.len() > 10_000 {
                    self.closed.clear();
                }
            }
        }
    }

    fn read(&mut self, conn: ConnId) {
        while let Some(buf) = self.endpoint.recv(conn) {
            self.endpoint.consumed(conn, usize::from(buf.len));
            self.frames.free(buf.token);
        }
    }

    /// What an application and its peers do now and then: time passes, connections are opened, written to and left.
    pub(crate) fn live_a_little(&mut self, random: &mut Generator) {
        let pause = match random.below(200) {
            0 => random.below(100_000),
            1..20 => random.below(2_000),
            _ => random.below(20),
        };
        self.now = self.now + Duration::from_millis(pause);
        if self.conns.len() > CONNECTIONS - 16
            && let Some(conn) = random.pick(&self.conns)
        {
            // Room for others. Sometimes the table stays full for a while.
            if random.chance(0.5) { self.endpoint.abort(conn) } else { self.endpoint.close(conn) }
        }
        if random.chance(0.3) {
            let (addr, _) = peer(2 + random.below(u64::from(PEERS)) as u8);
            let remote = SocketAddr::new(addr, 1000 + random.below(3) as u16);
            if let Ok(conn) = self.endpoint.connect(self.now, SocketAddr::new(OURS, 0), remote, random.tcp_config()) {
                self.conns.push(conn);
            }
        }
        if let Some(conn) = random.pick(&self.conns) {
            match random.below(40) {
                0 => self.endpoint.close(conn),
                1 => self.endpoint.abort(conn),
                2 => self.endpoint.shutdown(conn, Shutdown::Write),
                3 => self.endpoint.shutdown(conn, Shutdown::Read),
                4..20 => self.read(conn),
                _ => {
                    let _ = self.endpoint.send_copy(&mut self.frames, conn, &[9; 5000][..random.below(5000) as usize]);
                }
            }
        }
        self.turn(random);
    }

    /// Takes note of what the endpoint says, as its peer would.
    fn learn(&mut self, frame: &[u8]) {
        let packet = parse(frame, Checksums::VERIFY).expect("what an endpoint sends is well-formed");
        let Body::Tcp(tcp) = packet.body else { return };
        let s = &tcp.segment;
        if s.flags.has(Flags::RST) {
            return;
        }
        let flow = Flow { local: tcp.src, remote: tcp.dst };
        let stamp = s.options.timestamps.map(|stamp| stamp.value);
        let new = Live { flow, sent: s.end(), last: s.seq, expects: s.ack, window: s.window, stamp };
        match self.live.iter_mut().find(|live| live.flow == flow) {
            Some(live) => *live = Live { sent: new.sent.max(live.sent), ..new },
            None => {
                if self.live.len() >= REMEMBERED {
                    self.live.remove(0);
                }
                self.live.push(new);
            }
        }
    }

    /// What must hold at any time.
    pub(crate) fn check(&self) {
        let (free, held) = (self.frames.available(), self.endpoint.frames_held());
        assert_eq!(free + held, self.frames.total(), "a frame is lost");
        assert!(self.endpoint.connections() <= CONNECTIONS);
        assert!(self.endpoint.half_opens() <= SYN_QUEUE);
        assert!(self.endpoint.time_waits() <= TIME_WAITS);
        // Each frame is answered by its ACK, or brings data that waits for it; timers bring the rest.
        let most = 1000 + 4 * self.received + 40 * self.timers;
        assert!(self.sent <= most, "{} frames sent for {} received, {} timers", self.sent, self.received, self.timers);
    }

    /// The garbage ends, and in time everything else does too.
    pub(crate) fn finish(&mut self) {
        let mut random = Generator::new(0);
        for conn in std::mem::take(&mut self.conns) {
            self.endpoint.abort(conn);
        }
        for _ in 0..1_000_000 {
            self.turn(&mut random);
            for conn in std::mem::take(&mut self.conns) {
                self.endpoint.abort(conn);
            }
            let Some(deadline) = self.endpoint.poll_deadline() else { break };
            self.now = self.now.max(deadline);
        }
        self.check();
        assert_eq!(self.endpoint.poll_deadline(), None, "it never comes to rest");
        let left: Vec<_> = self.endpoint.iter().map(|(id, _)| (id, self.endpoint.info(id))).collect();
        assert!(left.is_empty(), "{left:?} are left");
        assert_eq!(self.endpoint.connections() + self.endpoint.time_waits() + self.endpoint.half_opens(), 0);
        assert_eq!(self.frames.available(), self.frames.total(), "a frame is lost");
    }
}
