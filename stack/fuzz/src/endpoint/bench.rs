//! The endpoint, its frames and its device, and what is checked.

use super::calls::App;
use super::peer::{Peer, peer_byte};
use super::segments;
use crate::{Input, route};
use corelane_proto::endpoint::{Cidr, EndpointConfig, Event, ListenConfig, ListenerId, SynCookies, Transmit};
use corelane_proto::tcp::algorithm::Algorithm;
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, TcpPacket, parse};
use corelane_proto::{Addr, Endpoint, Flow, Instant, Mac, Memory, SocketAddr};
use corelane_sim::frames::Frames;
use corelane_sim::oracle;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

pub(super) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(super) const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 254]);
/// Our address of each family.
pub(super) const OURS: [Addr; 2] = [Addr::v4([10, 0, 0, 1]), v6(1)];
/// The peer's. The last one is nobody: nothing answers for it.
pub(super) const PEERS: [Addr; 3] = [Addr::v4([10, 0, 0, 2]), v6(2), Addr::v4([10, 0, 0, 9])];
pub(super) const PORTS: [u16; 2] = [80, 81];

const CONNECTIONS: usize = 6;
const SYN_QUEUE: usize = 6;
const TIME_WAITS: usize = 3;
const NEIGHBOURS: usize = 4;
/// Flows whose peers are remembered; the oldest gives way.
const FLOWS: usize = 12;
/// Turns at one moment; an endpoint that needs more never comes to rest.
const MOST_TURNS: u32 = 2_000;
/// Timers until everything has come to rest.
const MOST_TIMERS: u32 = 100_000;

const fn v6(last: u8) -> Addr {
    Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
}

/// The Ethernet address of every peer.
pub(super) const fn peer_mac() -> Mac {
    Mac([2, 0, 0, 0, 0, 2])
}

/// Everything there is in a run.
pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) endpoint: Endpoint,
    pub(super) frames: Frames,
    pub(super) app: App,
    pub(super) peers: Vec<Peer>,
    /// Flows whose peer was forgotten once.
    forgotten: HashSet<Flow>,
    pub(super) listeners: [Option<ListenerId>; 2],
    /// What connections are made with.
    pub(super) tcp: TcpConfig,
    /// Frames that the device has taken and not sent.
    in_device: VecDeque<u32>,
    device_slots: usize,
    /// Segments without sequence numbers, resets and other answers that may still be sent.
    answers: u64,
}

impl Bench {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let tcp = tcp_config(input);
        let what = input.any::<u8>();
        let config = EndpointConfig {
            mac: OUR_MAC,
            addresses: vec![Cidr { addr: OURS[0], prefix_len: 24 }, Cidr { addr: OURS[1], prefix_len: 64 }],
            mtu: if what & 1 == 0 { 1500 } else { 576 },
            connections: CONNECTIONS,
            syn_queue: SYN_QUEUE,
            accept_queue: 3,
            syn_cookies: [SynCookies::WhenFull, SynCookies::Always, SynCookies::Never][usize::from(what >> 4) % 3],
            time_wait: TIME_WAITS,
            neighbours: NEIGHBOURS,
            ports: (40_000, 40_005),
            low_water_frames: 8,
            accept_source_routes: what & 0x0c == 0x0c,
            quiet_time: Duration::from_millis(if what & 0xc0 == 0xc0 { 100 } else { 0 }),
            replies_per_second: 100,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [7; 32], Instant::ZERO);
        assert!(endpoint.set_neighbour(PEERS[0], peer_mac()) && endpoint.set_neighbour(PEERS[1], peer_mac()));
        let frames = Frames::new(if what & 2 == 0 { 256 } else { 24 }, if what & 4 == 0 { 0 } else { 4 });
        let mut bench = Self {
            now: Instant::from_millis(1),
            endpoint,
            frames,
            app: App::default(),
            peers: Vec::new(),
            forgotten: HashSet::new(),
            listeners: [None; 2],
            tcp,
            in_device: VecDeque::new(),
            device_slots: if what & 8 == 0 { usize::MAX } else { 4 },
            answers: 64,
        };
        bench.listen(0, tcp);
        bench
    }

    pub(super) fn listen(&mut self, which: usize, config: impl Into<ListenConfig>) {
        let any = if which == 0 { OURS[0] } else { Addr::v6([0; 16]) };
        if let Ok(id) = self.endpoint.listen(SocketAddr::new(any, PORTS[which]), config) {
            self.listeners[which] = Some(id);
        }
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        // Long enough for another initial sequence number (RFC 9293 3.4.1 counts in 4 us).
        self.now = self.now + Duration::from_micros(8);
        match input.below(16) {
            0..5 => self.segment(input, segments::honest),
            5..8 => self.segment(input, segments::hostile),
            8 => self.segment(input, segments::syn),
            9 => {
                let frame = match input.below(4) {
                    0 => segments::arp(input),
                    1 => segments::raw(input),
                    _ => {
                        let peer = self.choose(input);
                        let what = input.below(2);
                        let peer = &mut self.peers[peer];
                        if what == 0 {
                            segments::icmp_error(peer, input)
                        } else {
                            let frame = segments::honest(peer, input);
                            // Its checksums may have become right for other bytes.
                            peer.lied = true;
                            segments::changed(frame, input)
                        }
                    }
                };
                self.receive(&frame);
            }
            10 => self.pass(input),
            11 => self.complete(usize::from(input.any::<u8>())),
            _ => {
                self.answers += 4;
                self.call(input);
            }
        }
        self.turns();
    }

    /// The peer of one of the flows that there are, or of a new one.
    fn choose(&mut self, input: &mut Input<'_>) -> usize {
        let known = self.peers.len() as u32;
        let drawn = input.below(16);
        if drawn < 14 && known > 0 {
            return (drawn % known) as usize;
        }
        let family = input.below(2) as usize;
        let port = input.pick(&[PORTS[0], PORTS[0], PORTS[0], PORTS[1], 99]);
        let remote = SocketAddr::new(PEERS[family], 1000 + input.below(4) as u16);
        let flow = Flow { local: SocketAddr::new(OURS[family], port), remote };
        self.peer_of(flow)
    }

    pub(super) fn peer_of(&mut self, flow: Flow) -> usize {
        if let Some(at) = self.peers.iter().position(|peer| peer.flow == flow) {
            return at;
        }
        if self.peers.len() == FLOWS {
            let old = self.peers.remove(0);
            self.app.forget(old.flow);
            self.forgotten.insert(old.flow);
        }
        let cookies = self.endpoint.config().syn_cookies != SynCookies::Never;
        let mut peer = Peer::new(flow, !cookies || !PORTS.contains(&flow.local.port));
        // The endpoint may have half a connection with the one that was forgotten, and open it for this one.
        peer.lied = self.forgotten.contains(&flow);
        self.peers.push(peer);
        self.peers.len() - 1
    }

    fn segment(&mut self, input: &mut Input<'_>, make: fn(&mut Peer, &mut Input<'_>) -> Vec<u8>) {
        let peer = self.choose(input);
        let frame = make(&mut self.peers[peer], input);
        if self.endpoint.config().accept_source_routes && input.rarely(4) {
            let gateways = [[10, 0, 0, 2], [10, 0, 0, 7], [10, 0, 0, 9]];
            let frame = route::arrive_by(&frame, &gateways[..1 + input.below(3) as usize]);
            return self.receive(&frame);
        }
        self.receive(&frame);
    }

    fn receive(&mut self, frame: &[u8]) {
        // The device has nothing to receive into while the pool is empty.
        let Some(buf) = self.frames.receive(frame) else { return };
        self.answers += 2;
        self.endpoint.receive(self.now, &mut self.frames, buf);
    }

    /// Time passes: to the next timer, or some of it.
    fn pass(&mut self, input: &mut Input<'_>) {
        let next = self.endpoint.poll_deadline();
        self.now = match input.below(8) {
            0..4 => self.now.max(next.unwrap_or(self.now)),
            4 => self.now + Duration::from_micros(u64::from(input.any::<u16>())),
            5 => self.now + Duration::from_secs(u64::from(input.any::<u8>())),
            6 => self.now + Duration::from_secs(60 * u64::from(input.any::<u8>())),
            _ => self.now + Duration::from_millis(u64::from(input.any::<u8>())),
        };
    }

    /// The device has sent `n` more frames.
    fn complete(&mut self, n: usize) {
        for index in self.in_device.drain(..n.min(self.in_device.len())) {
            self.frames.completed(index);
        }
    }

    /// What a worker does: turns until there is nothing more to do now.
    pub(super) fn turns(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < MOST_TURNS, "it does not come to rest");
        }
        // What a turn finds out after its timers (a neighbour to be asked) may be for the next one.
        for _ in 0..3 {
            if self.endpoint.poll_deadline().is_some_and(|at| at <= self.now) {
                while self.turn() {}
            }
        }
        self.check();
        let idle = self.in_device.len() < self.device_slots.min(1) && self.frames.available() > 16;
        let deadline = self.endpoint.poll_deadline();
        assert!(!idle || deadline.is_none_or(|at| at > self.now), "it wants to be woken at once: {deadline:?}");
    }

    /// One turn; says whether there may be more to do.
    fn turn(&mut self) -> bool {
        if self.endpoint.poll_deadline().is_some_and(|at| at <= self.now) {
            // Each connection's timers, and each half-open connection's, and each neighbour's.
            self.answers += 2 * (self.endpoint.connections() + self.endpoint.half_opens() + NEIGHBOURS) as u64;
        }
        self.endpoint.on_time(self.now, &mut self.frames);
        let mut busy = false;
        while let Some(event) = self.endpoint.poll_event() {
            busy = true;
            self.on_event(&event);
        }
        let mut sent = Vec::new();
        while self.in_device.len() < self.device_slots {
            let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.frames) else { break };
            let (index, keep, len) = match transmit {
                Transmit::Owned { token, len } => (token.index(), false, len),
                Transmit::Lent { index, len } => (index, true, len),
            };
            sent.push(self.frames.post(index, keep, len));
            self.in_device.push_back(index);
            assert!(sent.len() < 4096, "there is no end of frames");
        }
        if self.device_slots == usize::MAX {
            self.complete(usize::MAX);
        }
        busy |= !sent.is_empty();
        sent.iter().for_each(|frame| self.on_sent(frame));
        busy
    }

    fn on_event(&mut self, event: &Event) {
        self.answers += 2;
        if let Event::Accepted { conn, flow, .. } = event {
            self.app.add(*conn, *flow);
        }
        self.app.on_event(event);
    }

    /// The oracle judges a frame, and the peer takes note of it.
    fn on_sent(&mut self, frame: &[u8]) {
        if let Err(what) = oracle::check(frame) {
            panic!("{what}: {:?}", parse(frame, Checksums::TRUST));
        }
        let longest = 14 + usize::from(self.endpoint.mtu(corelane_proto::endpoint::InterfaceId::FIRST));
        assert!(frame.len() <= longest, "a frame of {} bytes, longer than {longest}", frame.len());
        let frame = &route::complete(frame);
        let packet = parse(frame, Checksums::VERIFY).expect("what an endpoint sends is well-formed");
        let Body::Tcp(tcp) = packet.body else { return self.count_answer() };
        let segment = &tcp.segment;
        if segment.seq_len() == 0 {
            self.count_answer();
        }
        let flow = Flow { local: tcp.src, remote: tcp.dst };
        let peer = self.peer_of(flow);
        // A connection in TIME-WAIT answers for itself until its successor is open.
        self.peers[peer].one_at_a_time &= self.endpoint.time_waits() == 0;
        self.peers[peer].hear(segment, frame);
        if segment.len > 0 {
            self.check_payload(peer, &tcp, frame);
        }
    }

    fn count_answer(&mut self) {
        assert!(self.answers > 0, "more answers than anything asked for");
        self.answers -= 1;
    }

    /// What it sends is what its application has written, the same each time.
    fn check_payload(&self, peer: usize, tcp: &TcpPacket, frame: &[u8]) {
        let Some(iss) = self.peers[peer].iss.filter(|_| self.peers[peer].one_at_a_time) else { return };
        let payload = &frame[usize::from(tcp.payload.start)..usize::from(tcp.payload.end)];
        let first = tcp.segment.seq + u32::from(tcp.segment.flags.has(Flags::SYN));
        let at = first.since(iss + 1);
        // A keepalive probe may bring a byte that is none.
        if payload.len() == 1 && (first + 1).at_or_before(self.peers[peer].sent) {
            return;
        }
        for (i, byte) in (0..).zip(payload) {
            assert_eq!(*byte, peer_byte(Seq(at + i)), "byte {} of the stream is another", at + i);
        }
    }

    fn check(&mut self) {
        if let Some(what) = self.frames.misuse.take() {
            panic!("{what}");
        }
        let (free, device) = (self.frames.free_count(), self.frames.with_device());
        let sum = free + device + self.endpoint.frames_held() + self.app.held();
        assert_eq!(sum, self.frames.total(), "a frame is lost or is in two places");
        assert!(self.endpoint.connections() <= CONNECTIONS);
        assert!(self.endpoint.half_opens() <= SYN_QUEUE);
        assert!(self.endpoint.time_waits() <= TIME_WAITS);
        self.endpoint.check_consistency();
        self.app.check(&self.endpoint);
    }

    /// The peers fall silent and the application leaves; in time everything is over.
    pub(super) fn finish(&mut self) {
        self.device_slots = usize::MAX;
        self.leave();
        for _ in 0..MOST_TIMERS {
            self.answers += 16;
            self.complete(usize::MAX);
            self.turns();
            self.leave();
            match self.endpoint.poll_deadline() {
                Some(deadline) => self.now = self.now.max(deadline),
                // What the application has just done takes another turn.
                None if self.endpoint.connections() > 0 => {}
                None => break,
            }
        }
        self.complete(usize::MAX);
        self.turns();
        assert_eq!(self.endpoint.poll_deadline(), None, "it never comes to rest");
        let left: Vec<_> = self.endpoint.iter().map(|(id, flow)| (*flow, self.endpoint.info(id))).collect();
        assert!(left.is_empty(), "{left:?} are left");
        assert_eq!((self.endpoint.half_opens(), self.endpoint.time_waits()), (0, 0));
        assert_eq!(self.frames.free_count(), self.frames.total(), "a frame is lost");
    }
}

/// Settings of connections; small buffers, so that their edges are met.
pub(super) fn tcp_config(input: &mut Input<'_>) -> TcpConfig {
    let what = input.any::<u32>();
    let bit = |n: u32| what & (1 << n) != 0;
    let keepalive = KeepaliveConfig { idle: Duration::from_secs(20), garbage: bit(9), ..KeepaliveConfig::default() };
    TcpConfig {
        recv_buffer: if bit(0) { 4096 } else { 100_000 },
        recv_buffer_initial: if bit(10) { 4096 } else { 65_536 },
        send_buffer: if bit(1) { 4096 } else { 20_000 },
        window_scaling: !bit(2),
        timestamps: !bit(3),
        sack: !bit(4),
        nodelay: !bit(5),
        keepalive: bit(6).then_some(keepalive),
        delayed_ack: Duration::from_millis(if bit(7) { 0 } else { 40 }),
        mss: if bit(8) { Some(536) } else { None },
        cork: bit(11),
        quick_acks: if bit(12) { 0 } else { 16 },
        user_timeout: bit(13).then_some(Duration::from_secs(5)),
        linger: bit(14).then_some(Duration::from_secs(if bit(15) { 0 } else { 3 })),
        min_mss: if bit(16) { 48 } else { 88 },
        dscp: if bit(17) { 63 } else { 0 },
        ttl: if bit(18) { 1 } else { 64 },
        r1_retransmits: if bit(19) { 1 } else { 3 },
        report_soft_errors: bit(20),
        fast_open: bit(21),
        // What is not drawn is 0, and that is the default.
        congestion: [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr, Algorithm::Dctcp][(what >> 22 & 3) as usize],
        pacing: bit(24),
        tail_loss_probe: !bit(25),
        peer_ack_delay: Duration::from_millis(if bit(26) { 40 } else { 0 }),
        ..TcpConfig::default()
    }
}
