//! A host: its endpoint, its frames, its application with one connection.

use crate::Input;
use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Shutdown, Transmit};
use corelane_proto::tcp::algorithm::Algorithm;
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::{Addr, Endpoint, Instant, Mac, Memory, SocketAddr};
use corelane_sim::checks::{EventOrder, Stream};
use corelane_sim::frames::Frames;
use std::time::Duration;

const PORT: u16 = 80;
/// The ports of the two ends when both open the connection.
const CROSSED: [u16; 2] = [5000, 5001];
/// What each application writes at most while the network is bad, and what it still has to write then.
const MOST_WRITTEN: u64 = 200_000;

/// The address of host `index`.
pub(super) fn address(index: usize, v4: bool) -> Addr {
    let last = index as u8 + 1;
    if v4 { Addr::v4([10, 0, 0, last]) } else { Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]) }
}

fn mac(index: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, index as u8 + 1])
}

/// What a host's application has done and was told.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) order: EventOrder,
    /// It has ended its sending side.
    pub(super) finished: bool,
    /// It reads no more, or has ended otherwise than in order: what is lost then is nobody's fault.
    pub(super) abrupt: bool,
    pub(super) peer_closed: bool,
    closed: bool,
    gave_up: bool,
}

/// One of the two hosts.
pub(super) struct Host {
    pub(super) index: usize,
    pub(super) v4: bool,
    pub(super) endpoint: Endpoint,
    pub(super) frames: Frames,
    pub(super) conn: Option<Conn>,
    /// Connections that copies of a SYN with a cookie have opened after the one that counts was over (RFC 7413 2.1).
    past: Vec<ConnId>,
    pub(super) in_device: Vec<u32>,
    pub(super) tcp: TcpConfig,
    device_slots: usize,
}

impl Host {
    pub(super) fn new(index: usize, v4: bool, input: &mut Input<'_>) -> Self {
        let what = input.any::<u8>();
        let tcp = tcp_config(input);
        let config = EndpointConfig {
            mac: mac(index),
            addresses: vec![Cidr { addr: address(index, v4), prefix_len: if v4 { 24 } else { 64 } }],
            mtu: if what & 1 == 0 { 1500 } else { 600 },
            connections: 4,
            syn_queue: 4,
            syn_ack_retries: 7,
            accept_queue: 4,
            time_wait: 4,
            neighbours: 4,
            low_water_frames: 8,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [index as u8 + 1; 32], Instant::ZERO);
        assert!(endpoint.set_neighbour(address(1 - index, v4), mac(1 - index)));
        endpoint.listen(SocketAddr::new(address(index, v4), PORT), tcp).expect("the port is free");
        Self {
            index,
            v4,
            endpoint,
            // A device that has no frame of its own to receive into would hear no ACK.
            frames: Frames::new(if what & 2 == 0 { 512 } else { 64 }, if what & 4 == 0 { 2 } else { 8 }),
            conn: None,
            past: Vec::new(),
            in_device: Vec::new(),
            tcp,
            device_slots: if what & 8 == 0 { 64 } else { 4 },
        }
    }

    /// Opens the connection: to the other's listener, or from a port to a port, which the other does too.
    pub(super) fn connect(&mut self, now: Instant, crossed: bool) {
        let ports = if crossed { [CROSSED[self.index], CROSSED[1 - self.index]] } else { [0, PORT] };
        let remote = SocketAddr::new(address(1 - self.index, self.v4), ports[1]);
        let id = self
            .endpoint
            .connect(now, SocketAddr::new(address(self.index, self.v4), ports[0]), remote, self.tcp)
            .expect("it can be opened");
        self.add(id);
    }

    fn add(&mut self, id: ConnId) {
        assert!(self.conn.is_none(), "a second connection, {id:?}, for the one that was opened");
        let order = EventOrder::default();
        self.conn = Some(Conn {
            id,
            written: 0,
            read: 0,
            order,
            finished: false,
            abrupt: false,
            peer_closed: false,
            closed: false,
            gave_up: false,
        });
    }

    /// How the connection ended, once it has.
    pub(super) fn ended(&self) -> Option<CloseReason> {
        self.conn.as_ref()?.order.closed()
    }

    fn stream(index: usize) -> Stream {
        Stream::new(index as u64)
    }

    /// The application acts.
    pub(super) fn act(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..5 => self.write(1 + input.below(3000) as usize),
            5..7 => self.write(1 + input.below(64) as usize),
            7..11 => self.read(usize::MAX),
            11 => self.read(1),
            12 => self.finish_sending(),
            what => {
                let Some(conn) = self.conn.as_mut().filter(|conn| conn.order.closed().is_none()) else { return };
                if what == 13 {
                    conn.order.leave();
                }
                match what {
                    13 if input.rarely(4) => self.endpoint.close(conn.id),
                    14 if input.rarely(8) => self.endpoint.abort(conn.id),
                    15 if input.rarely(8) => self.endpoint.shutdown(conn.id, Shutdown::Read),
                    _ => return,
                }
                conn.abrupt = true;
                conn.finished |= what != 15;
            }
        }
    }

    pub(super) fn write(&mut self, len: usize) {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.order.closed().is_none() && !conn.finished) else {
            return;
        };
        let len = len.min((MOST_WRITTEN - conn.written) as usize);
        let mut bytes = vec![0; len];
        Self::stream(self.index).fill(conn.written, &mut bytes);
        let taken = if len % 16 == 5 {
            self.endpoint.send_urgent(&mut self.frames, conn.id, &bytes)
        } else {
            self.endpoint.send_copy(&mut self.frames, conn.id, &bytes)
        };
        conn.written += taken.unwrap_or(0) as u64;
    }

    /// Reads up to `most` buffers and compares them with what the other host writes.
    pub(super) fn read(&mut self, most: usize) {
        let Some(conn) = self.conn.as_mut() else { return };
        for _ in 0..most {
            let Some(buf) = self.endpoint.recv(conn.id) else { break };
            if let Err(at) = Self::stream(1 - self.index).verify(conn.read, buf.bytes(&self.frames)) {
                panic!("host {} reads another byte than was written at {at}", self.index);
            }
            conn.read += u64::from(buf.len);
            self.endpoint.consumed(conn.id, usize::from(buf.len));
            self.frames.free(buf.token);
        }
    }

    pub(super) fn finish_sending(&mut self) {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.order.closed().is_none()) else { return };
        // Before the handshake it would be the end of the attempt.
        if !conn.finished && conn.order.is_open() {
            conn.finished = true;
            self.endpoint.shutdown(conn.id, Shutdown::Write);
        }
    }

    /// What an orderly application does when it can: it reads everything, and leaves when both sides are done.
    pub(super) fn be_orderly(&mut self) {
        self.read(usize::MAX);
        self.finish_sending();
        let Some(conn) = self.conn.as_mut() else { return };
        if conn.peer_closed && conn.finished && !conn.closed && conn.order.closed().is_none() {
            conn.closed = true;
            self.endpoint.close(conn.id);
        }
    }

    /// The application waits no longer for a peer that has gone without a word; says whether there was one. A connection
    /// that both ends leave in order has to end without this.
    pub(super) fn give_up(&mut self) -> bool {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.order.closed().is_none() && !conn.gave_up) else {
            return false;
        };
        conn.gave_up = true;
        self.endpoint.abort(conn.id);
        true
    }

    fn on_event(&mut self, event: &Event) {
        if let Event::Accepted { conn, .. } = event {
            if self.tcp.fast_open && self.ended().is_some() {
                self.past.push(*conn);
                self.endpoint.abort(*conn);
            } else {
                self.add(*conn);
            }
        }
        if self.past.contains(&event.conn()) {
            return;
        }
        let Some(conn) = self.conn.as_mut() else { panic!("{event:?} without a connection") };
        if let Err(what) = conn.order.on_event(event) {
            panic!("host {}: {what}", self.index);
        }
        conn.peer_closed |= matches!(event, Event::PeerClosed(_));
    }

    /// One turn; gives the frames that leave, and says whether anything happened.
    pub(super) fn turn(&mut self, now: Instant) -> (Vec<Vec<u8>>, bool) {
        self.endpoint.on_time(now, &mut self.frames);
        let mut busy = false;
        while let Some(event) = self.endpoint.poll_event() {
            busy = true;
            self.on_event(&event);
        }
        let mut sent = Vec::new();
        while self.in_device.len() < self.device_slots {
            let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.frames) else { break };
            let (index, keep, len) = match transmit {
                Transmit::Owned { token, len } => (token.index(), false, len),
                Transmit::Lent { index, len } => (index, true, len),
            };
            sent.push(self.frames.post(index, keep, len));
            self.in_device.push(index);
        }
        self.check();
        busy |= !sent.is_empty();
        (sent, busy)
    }

    /// The device has sent the first `n` of its frames.
    pub(super) fn complete(&mut self, n: usize) {
        for index in self.in_device.drain(..n.min(self.in_device.len())) {
            self.frames.completed(index);
        }
    }

    fn check(&mut self) {
        if let Some(what) = self.frames.misuse.take() {
            panic!("host {}: {what}", self.index);
        }
        let sum = self.frames.free_count() + self.frames.with_device() + self.endpoint.frames_held();
        assert_eq!(sum, self.frames.total(), "host {}: a frame is lost or in two places", self.index);
        self.endpoint.check_consistency();
    }
}

/// Settings: small buffers, and time-outs that end within the run.
fn tcp_config(input: &mut Input<'_>) -> TcpConfig {
    let what = input.any::<u32>();
    let bit = |n: u32| what & (1 << n) != 0;
    let keepalive = KeepaliveConfig { idle: Duration::from_secs(20), garbage: bit(9), ..KeepaliveConfig::default() };
    TcpConfig {
        recv_buffer: if bit(0) { 4096 } else { 100_000 },
        recv_buffer_initial: if bit(10) { 4096 } else { 65_536 },
        send_buffer: if bit(1) { 4096 } else { 50_000 },
        window_scaling: !bit(2),
        timestamps: !bit(3),
        sack: !bit(4),
        nodelay: !bit(5),
        keepalive: bit(6).then_some(keepalive),
        delayed_ack: Duration::from_millis(if bit(7) { 0 } else { 40 }),
        mss: if bit(8) { Some(300) } else { None },
        cork: bit(11),
        fast_open: bit(13),
        quick_acks: if bit(12) { 0 } else { 16 },
        // So that who waits for the other's answer tries again while the other still remembers.
        rto_max: Duration::from_secs(10),
        // What is not drawn is 0, and that is the default.
        congestion: [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr, Algorithm::Dctcp][(what >> 14 & 3) as usize],
        pacing: bit(16),
        tail_loss_probe: !bit(17),
        peer_ack_delay: Duration::from_millis(if bit(18) { 40 } else { 0 }),
        ..TcpConfig::default()
    }
}
