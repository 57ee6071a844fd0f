//! smoltcp as the peer: another implementation of TCP, which shares no line with ours, over a link in memory.
//!
//! The near end is a worker with an application, the far end a smoltcp interface with one socket. Both send a pattern
//! and compare what they get.

mod common;

use common::{CLIENT as NEAR, SERVER as FAR, TURN, impaired, stretch, worker_config};
use corelane::device::mem::{MemConfig, pair};
use corelane::device::{AnyDevice, Device, MemDevice};
use corelane::worker::Worker;
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Instant, Rx, Shutdown, TcpConfig};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration as FarDuration, Instant as FarInstant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

const PORT: u16 = 7;
/// The link's time that the slowest exchange may take.
const LONGEST: Duration = Duration::from_secs(600);

thread_local! {
    /// What smoltcp's timestamps are made of: it asks a function without arguments.
    static MILLIS: Cell<u32> = const { Cell::new(0) };
}

/// What happens in one exchange.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Whether the near end opens the connection.
    near_opens: bool,
    /// Whether the near end closes first.
    near_closes: bool,
    /// Bytes that each end sends.
    near_bytes: u64,
    far_bytes: u64,
    /// Probability of loss; reordering, doubling and damage follow from it.
    loss: f64,
    seed: u64,
    near: TcpConfig,
    far: FarSettings,
}

#[derive(Clone, Copy, Debug)]
struct FarSettings {
    congestion: CongestionControl,
    timestamps: bool,
    delayed_ack: bool,
    nagle: bool,
    buffer: usize,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            near_opens: true,
            near_closes: true,
            near_bytes: 200_000,
            far_bytes: 150_000,
            loss: 0.0,
            seed: 1,
            near: TcpConfig::default(),
            far: FarSettings {
                congestion: CongestionControl::Cubic,
                timestamps: true,
                delayed_ack: true,
                nagle: true,
                buffer: 65_535,
            },
        }
    }
}

/// The near end's application, with one connection.
struct Near {
    case: Case,
    conn: Option<ConnId>,
    sent: u64,
    read: u64,
    /// Reads nothing meanwhile.
    holds: bool,
    peer_closed: bool,
    ended: Vec<CloseReason>,
}

impl Near {
    fn new(case: Case) -> Self {
        Self { case, conn: None, sent: 0, read: 0, holds: false, peer_closed: false, ended: Vec::new() }
    }

    fn push(&mut self, conn: &mut Conn<'_>) {
        self.conn = Some(conn.id());
        while self.sent < self.case.near_bytes {
            let n = (self.case.near_bytes - self.sent).min(5000) as usize;
            let taken = conn.send_copy(&stretch(self.sent, n));
            self.sent += taken as u64;
            if taken == 0 {
                return;
            }
        }
        if self.peer_closed {
            conn.close();
        } else if self.case.near_closes {
            conn.shutdown(Shutdown::Write);
        }
    }
}

impl App for Near {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        if self.case.near_opens {
            core.connect(FAR, ())?;
            Ok(())
        } else {
            core.listen_port(PORT)
        }
    }

    fn on_accept(&mut self, conn: &mut Conn<'_>) {
        self.push(conn);
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        if self.holds {
            return rx.consume(0);
        }
        assert_eq!(rx.bytes(), stretch(self.read, rx.bytes().len()), "after {} bytes", self.read);
        self.read += rx.bytes().len() as u64;
        self.push(conn);
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.peer_closed = true;
        self.push(conn);
    }

    fn on_closed(&mut self, _: &mut Core<'_, ()>, (): (), reason: CloseReason) {
        self.ended.push(reason);
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        if let Some(mut conn) = self.conn.filter(|_| !self.holds).and_then(|id| core.conn(id)) {
            conn.resume();
        }
        None
    }
}

/// The far end's link: frames of the device as smoltcp wants them.
struct Phy {
    device: AnyDevice,
    now: Instant,
    received: Vec<corelane_xdp::Frame>,
    outbox: VecDeque<corelane_xdp::Frame>,
}

struct Received(corelane_xdp::Frame);
struct Outgoing<'a>(&'a mut Phy);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.bytes())
    }
}

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.0.device.pool().alloc().expect("the far end has frames enough");
        let result = f(&mut frame.buffer_mut()[..len]);
        frame.set_len(len);
        self.0.outbox.push_back(frame);
        result
    }
}

impl phy::Device for Phy {
    type RxToken<'a> = Received;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: FarInstant) -> Option<(Received, Outgoing<'_>)> {
        self.device.rx_burst(self.now, &mut self.received, 1);
        let frame = self.received.pop()?;
        Some((Received(frame), Outgoing(self)))
    }

    fn transmit(&mut self, _: FarInstant) -> Option<Outgoing<'_>> {
        (self.outbox.len() < 256).then_some(Outgoing(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl Phy {
    fn new(device: AnyDevice) -> Self {
        Self { device, now: Instant::ZERO, received: Vec::new(), outbox: VecDeque::new() }
    }

    /// Sends what smoltcp has written; says whether there was anything.
    fn flush(&mut self) -> bool {
        let sent = self.device.tx_burst(self.now, &mut self.outbox);
        self.device.kick().expect("a link in memory takes everything");
        self.device.reclaim(&mut self.received);
        self.received.clear();
        self.device.refill();
        sent > 0
    }
}

/// The far end: smoltcp's interface, its socket, and what the program there has done.
struct Far {
    case: Case,
    phy: Phy,
    iface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    sent: u64,
    read: u64,
    holds: bool,
}

impl Far {
    fn new(case: Case, device: AnyDevice) -> Self {
        let mac = EthernetAddress(device.info().mac.0);
        let mut phy = Phy::new(device);
        let mut config = Config::new(mac.into());
        config.random_seed = case.seed;
        let mut iface = Interface::new(config, &mut phy, FarInstant::ZERO);
        let address = FAR.addr.as_v4().expect("IPv4").into();
        iface.update_ip_addrs(|list| list.push(IpCidr::new(IpAddress::Ipv4(address), 24)).expect("room for one"));
        let buffer = || SocketBuffer::new(vec![0; case.far.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_congestion_control(case.far.congestion);
        socket.set_nagle_enabled(case.far.nagle);
        socket.set_ack_delay(case.far.delayed_ack.then_some(FarDuration::from_millis(10)));
        if case.far.timestamps {
            socket.set_tsval_generator(Some(|| MILLIS.get()));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        Self { case, phy, iface, sockets, socket, sent: 0, read: 0, holds: false }
    }

    fn start(&mut self) {
        let near = IpAddress::Ipv4(NEAR.as_v4().expect("IPv4").into());
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        if self.case.near_opens {
            socket.listen(PORT).expect("a fresh socket listens");
        } else {
            socket.connect(self.iface.context(), (near, PORT), 50_000).expect("a fresh socket connects");
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn state(&self) -> State {
        self.sockets.get::<Socket<'_>>(self.socket).state()
    }

    /// The program reads, writes and closes, as far as it can.
    fn act(&mut self) {
        let Self { case, sockets, socket, sent, read, holds, .. } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*socket);
        while !*holds && socket.can_recv() {
            let check = |bytes: &mut [u8]| {
                assert_eq!(bytes, stretch(*read, bytes.len()), "after {read} bytes");
                (bytes.len(), bytes.len())
            };
            *read += socket.recv(check).expect("it can be read from") as u64;
        }
        if socket.can_send() && *sent < case.far_bytes {
            let bytes = stretch(*sent, (case.far_bytes - *sent).min(8192) as usize);
            *sent += socket.send_slice(&bytes).expect("it can be sent to") as u64;
        }
        let peer_closed = socket.state() == State::CloseWait && !socket.can_recv();
        if *sent == case.far_bytes && socket.may_send() && (peer_closed || !case.near_closes) {
            socket.close();
        }
    }

    /// One turn; says whether anything happened.
    fn turn(&mut self, now: Instant) -> bool {
        MILLIS.set(now.as_millis() as u32);
        self.phy.now = now;
        let at = far_time(now);
        let changed = self.iface.poll(at, &mut self.phy, &mut self.sockets) == PollResult::SocketStateChanged;
        self.act();
        self.iface.poll(at, &mut self.phy, &mut self.sockets);
        self.phy.flush() | changed
    }

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let delay = self.iface.poll_delay(far_time(now), &self.sockets);
        let own = delay.map(|delay| now + Duration::from_micros(delay.total_micros()));
        [own, self.phy.device.deadline()].into_iter().flatten().min()
    }
}

fn far_time(now: Instant) -> FarInstant {
    FarInstant::from_micros(now.as_micros() as i64)
}

/// Both ends.
struct Bench {
    case: Case,
    near: Worker<Near, AnyDevice>,
    far: Far,
    now: Instant,
}

impl Bench {
    fn new(case: Case) -> Self {
        let link = MemConfig::default();
        let (near, far) = pair(&link).expect("memory for two ends");
        let wrap = |device: MemDevice, seed| {
            if case.loss > 0.0 { impaired(device, case.loss, seed) } else { AnyDevice::from(device) }
        };
        let mut config = worker_config(NEAR, link.macs[0], 8);
        config.tcp = case.near;
        let now = Instant::from_millis(1);
        let mut bench = Self {
            case,
            near: Worker::new(Near::new(case), wrap(near, 2 * case.seed), config, now),
            far: Far::new(case, wrap(far, 2 * case.seed + 1)),
            now,
        };
        bench.far.start();
        bench.near.start(now).expect("it starts");
        bench
    }

    fn turn(&mut self) {
        self.now = self.now + TURN;
        let busy = self.near.turn(self.now).expect("the device works") | self.far.turn(self.now);
        if !busy {
            let next = [self.near.deadline(), self.far.deadline(self.now)].into_iter().flatten().min();
            self.now = self.now.max(next.unwrap_or(self.now).min(self.now + Duration::from_millis(100)));
        }
    }

    #[track_caller]
    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now + LONGEST;
        while !done(self) {
            let (near, far) = (self.near.app(), &self.far);
            assert!(
                self.now < end,
                "near: sent {} read {} ended {:?}; far: sent {} read {} {:?}; {:?}",
                near.sent,
                near.read,
                near.ended,
                far.sent,
                far.read,
                far.state(),
                self.case
            );
            self.turn();
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
        }
    }

    /// Both ends have everything and are closed, and every frame of the near end is free. Gives our retransmissions.
    #[track_caller]
    fn finish(mut self) -> u64 {
        self.run_until(|bench| {
            !bench.near.app().ended.is_empty() && matches!(bench.far.state(), State::Closed | State::TimeWait)
        });
        let case = self.case;
        assert_eq!(self.near.app().ended, [CloseReason::Finished], "{case:?}");
        assert_eq!((self.near.app().read, self.far.read), (case.far_bytes, case.near_bytes), "{case:?}");
        let again = self.near.endpoint_counters().retransmits;
        self.stop();
        again
    }

    #[track_caller]
    fn stop(&mut self) {
        self.near.stop(self.now);
        self.run_for(Duration::from_secs(2));
        self.near.abort();
        self.run_for(Duration::from_millis(1));
        self.near.discard_received(self.now);
        let census = self.near.census();
        assert!(census.is_whole() && census.free == census.total, "{census:?}");
        self.far.phy.device.pool().audit().expect("no frame of the far end is lost");
    }
}

/// One exchange; gives our retransmissions.
fn exchange(case: Case) -> u64 {
    Bench::new(case).finish()
}

/// Who opens and who closes.
fn roles() -> impl Iterator<Item = Case> {
    [(true, true), (true, false), (false, true), (false, false)].into_iter().map(|(near_opens, near_closes)| Case {
        near_opens,
        near_closes,
        ..Case::default()
    })
}

#[test]
fn both_ways_whoever_opens_and_closes() {
    let again: u64 = roles().map(exchange).sum();
    assert_eq!(again, 0, "nothing was lost");
}

#[test]
fn both_ways_with_whatever_smoltcp_has_on() {
    let each = [CongestionControl::None, CongestionControl::Reno, CongestionControl::Cubic];
    for (i, congestion) in (0..).zip(each) {
        for bits in 0..8_u32 {
            let far = FarSettings {
                congestion,
                timestamps: bits & 1 != 0,
                delayed_ack: bits & 2 != 0,
                nagle: bits & 4 != 0,
                ..Case::default().far
            };
            let case = Case { far, near_opens: (bits + i) % 2 == 0, near_closes: bits % 4 < 2, ..Case::default() };
            exchange(Case { near_bytes: 50_000, far_bytes: 60_000, ..case });
        }
    }
}

#[test]
fn both_ways_with_whatever_we_have_on() {
    for bits in 0..64_u32 {
        let bit = |n: u32| bits & (1 << n) != 0;
        let near = TcpConfig {
            timestamps: bit(0),
            sack: bit(1),
            window_scaling: bit(2),
            nodelay: bit(3),
            delayed_ack: Duration::from_millis(if bit(4) { 40 } else { 0 }),
            mss: bit(5).then_some(536),
            ..TcpConfig::default()
        };
        exchange(Case { near, near_bytes: 30_000, far_bytes: 40_000, near_opens: bits % 3 != 0, ..Case::default() });
    }
}

#[test]
fn both_ways_through_a_bad_network() {
    let mut again = 0;
    for seed in 1..=6 {
        for case in roles() {
            let loss = [0.01, 0.03, 0.06][seed as usize % 3];
            again += exchange(Case { loss, seed, near_bytes: 60_000, far_bytes: 60_000, ..case });
        }
    }
    assert!(again > 20, "only {again} segments went again, so little was lost");
}

#[test]
fn a_small_far_window_is_never_overrun() {
    for buffer in [600, 1461, 4000] {
        for loss in [0.0, 0.02] {
            let far = FarSettings { buffer, ..Case::default().far };
            exchange(Case { far, loss, near_bytes: 30_000, far_bytes: 30_000, ..Case::default() });
        }
    }
}

#[test]
fn a_far_end_that_does_not_read_for_a_minute_is_waited_for() {
    let mut bench = Bench::new(Case { near_bytes: 400_000, far_bytes: 0, near_closes: true, ..Case::default() });
    bench.far.holds = true;
    bench.run_for(Duration::from_secs(60));
    let queued = bench.far.socket().recv_queue();
    assert!(queued > 60_000 && bench.far.read == 0, "the far window is full: {queued}");
    assert!(bench.near.app().ended.is_empty());
    bench.far.holds = false;
    bench.finish();
}

#[test]
fn a_near_end_that_does_not_read_for_a_minute_holds_the_far_end_back() {
    let near = TcpConfig { recv_buffer: 50_000, ..TcpConfig::default() };
    let mut bench = Bench::new(Case { near, near_bytes: 0, far_bytes: 400_000, near_closes: false, ..Case::default() });
    bench.near.app_mut().holds = true;
    bench.run_for(Duration::from_secs(60));
    let bytes = bench.near.endpoint_counters().bytes_in;
    assert!((20_000..=50_000).contains(&bytes), "{bytes} bytes were taken into a buffer of 50,000");
    bench.near.app_mut().holds = false;
    bench.finish();
}

#[test]
fn a_reset_from_the_far_end_ends_ours() {
    let mut bench = Bench::new(Case::default());
    bench.run_until(|bench| bench.far.read > 20_000);
    bench.far.socket().abort();
    bench.run_until(|bench| !bench.near.app().ended.is_empty());
    assert_eq!(bench.near.app().ended, [CloseReason::Reset]);
    bench.stop();
}

#[test]
fn a_reset_from_us_ends_the_far_end() {
    let mut bench = Bench::new(Case::default());
    bench.run_until(|bench| bench.far.read > 20_000);
    bench.near.abort();
    bench.run_until(|bench| bench.far.state() == State::Closed);
    bench.stop();
}

#[test]
fn a_far_port_without_a_listener_refuses() {
    let mut bench = Bench::new(Case::default());
    bench.far.socket().abort();
    bench.run_until(|bench| !bench.near.app().ended.is_empty());
    assert_eq!(bench.near.app().ended, [CloseReason::Refused]);
    bench.stop();
}

#[test]
fn a_near_port_without_a_listener_refuses() {
    let mut bench = Bench::new(Case { near_opens: false, ..Case::default() });
    let near = IpAddress::Ipv4(NEAR.as_v4().expect("IPv4").into());
    bench.far.socket().abort();
    let Far { sockets, socket, iface, .. } = &mut bench.far;
    let socket = sockets.get_mut::<Socket<'_>>(*socket);
    socket.connect(iface.context(), (near, PORT + 1), 50_001).expect("a closed socket connects");
    bench.run_until(|bench| bench.far.state() == State::Closed);
    assert_eq!(bench.near.endpoint_counters().resets_out, 1);
    bench.stop();
}
