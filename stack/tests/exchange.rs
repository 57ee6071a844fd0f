//! Applications on both ends of a link in memory: what they send arrives, whole and in order.

mod common;

use common::{CLIENT, Echo, Pair, SERVER, impaired, pattern, stretch};
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Rx, RxBuf, Shutdown};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const MANY: Duration = Duration::from_secs(300);

/// Sends `total` bytes of the pattern on each of `conns` connections and checks what comes back.
struct Sender {
    conns: usize,
    total: u64,
    /// Sends the next bytes only after the last have come back, so many at a time.
    window: u64,
    zero_copy: bool,
    back: u64,
    done: usize,
    ended: Vec<CloseReason>,
}

impl Sender {
    fn new(conns: usize, total: u64) -> Self {
        Self { conns, total, window: u64::MAX, zero_copy: false, back: 0, done: 0, ended: Vec::new() }
    }

    fn push(&mut self, conn: &mut Conn<'_>, progress: &mut Progress) {
        while progress.sent < self.total && progress.sent - progress.back < self.window {
            let n = (self.total - progress.sent).min(self.window).min(4096) as usize;
            let taken =
                if self.zero_copy { push_frame(conn, progress, n) } else { conn.send_copy(&stretch(progress.sent, n)) };
            if taken == 0 {
                return;
            }
            progress.sent += taken as u64;
        }
    }
}

/// Writes up to `n` bytes straight into a frame.
fn push_frame(conn: &mut Conn<'_>, progress: &Progress, n: usize) -> usize {
    let Some(mut buf) = conn.alloc() else { return 0 };
    let n = n.min(buf.capacity());
    assert_eq!(buf.write(&stretch(progress.sent, n)), n);
    match conn.send(buf) {
        Ok(()) => n,
        Err((buf, _)) => {
            assert_eq!(buf.bytes(), stretch(progress.sent, n), "a payload that is refused comes back as it was");
            0
        }
    }
}

#[derive(Default)]
struct Progress {
    sent: u64,
    back: u64,
}

impl App for Sender {
    type State = Progress;

    fn on_start(&mut self, core: &mut Core<'_, Progress>) -> Result<(), Error> {
        for _ in 0..self.conns {
            core.connect(SERVER, Progress::default())?;
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Progress {
        unreachable!("the client does not listen")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, progress: &mut Progress) {
        assert_eq!(conn.peer(), Some(SERVER));
        assert_eq!(conn.local().map(|local| local.addr), Some(CLIENT));
        self.push(conn, progress);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, progress: &mut Progress, rx: &mut Rx<'_>) {
        for byte in rx.bytes() {
            assert_eq!(*byte, pattern(progress.back), "byte {} of {:?}", progress.back, conn.id());
            progress.back += 1;
        }
        self.back += rx.bytes().len() as u64;
        self.push(conn, progress);
        if progress.back == self.total {
            self.done += 1;
            conn.close();
        }
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, progress: &mut Progress) {
        self.push(conn, progress);
    }

    fn on_closed(&mut self, _: &mut Core<'_, Progress>, _: Progress, reason: CloseReason) {
        self.ended.push(reason);
    }
}

#[test]
fn messages_of_every_size_come_back() {
    let client = Sender { window: 97, ..Sender::new(1, 97 * 200) };
    let mut pair = Pair::new(client, Echo::default());
    pair.run_until(MANY, |pair| pair.client.app().done == 1);
    assert_eq!(pair.server.app().bytes, 97 * 200);
    pair.run_until(MANY, |pair| pair.server.connections() == 0);
    assert_eq!(pair.client.app().ended, [CloseReason::Finished]);
    pair.stop();
}

#[test]
fn a_megabyte_goes_there_and_back() {
    for zero_copy in [false, true] {
        let mut pair = Pair::new(Sender { zero_copy, ..Sender::new(1, 1 << 20) }, Echo::default());
        pair.run_until(MANY, |pair| pair.client.app().done == 1);
        assert_eq!(pair.server.app().bytes, 1 << 20);
        let counters = pair.client.endpoint_counters();
        assert_eq!(counters.retransmits, 0, "nothing was lost: {counters:#?}");
        pair.stop();
    }
}

#[test]
fn many_connections_share_a_core() {
    let mut pair = Pair::new(Sender::new(60, 20_000), Echo::default());
    pair.run_until(MANY, |pair| pair.client.app().done == 60);
    pair.run_until(MANY, |pair| pair.client.connections() + pair.server.connections() == 0);
    pair.stop();
}

#[test]
fn a_bad_network_delays_and_loses_nothing() {
    for seed in 0..8 {
        let wrap = |device| impaired(device, 0.04, seed);
        let mut pair = Pair::over(Sender::new(4, 100_000), Echo::default(), 64, wrap, |_| {});
        pair.run_until(MANY, |pair| pair.client.app().done == 4);
        pair.stop();
    }
}

#[test]
fn a_port_without_a_listener_refuses() {
    struct Nobody;
    impl App for Nobody {
        type State = ();
        fn on_accept(&mut self, _: &mut Conn<'_>) {}
        fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Rx<'_>) {}
    }
    let mut pair = Pair::new(Sender::new(1, 1), Nobody);
    pair.run_until(MANY, |pair| !pair.client.app().ended.is_empty());
    assert_eq!(pair.client.app().ended, [CloseReason::Refused]);
    pair.stop();
}

#[test]
fn port_0_cannot_be_listened_on() {
    struct Zero;
    impl App for Zero {
        type State = ();
        fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
            core.listen_port(0)
        }
        fn on_accept(&mut self, _: &mut Conn<'_>) {}
        fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Rx<'_>) {}
    }
    let (device, _) = corelane::device::mem::pair(&Default::default()).unwrap();
    let config = common::worker_config(CLIENT, corelane::Mac([2, 0, 0, 0, 0, 1]), 1);
    let start = corelane::Instant::ZERO;
    let error = corelane::worker::Worker::new(Zero, device, config, start).start(start).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("port 0"), "{error}");
}

/// Takes nothing until it is told to, then everything.
#[derive(Default)]
struct Slow {
    open: bool,
    calls: u64,
    read: u64,
    conn: Option<ConnId>,
}

impl App for Slow {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, conn: &mut Conn<'_>) {
        self.conn = Some(conn.id());
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.calls += 1;
        // An odd part of it, so that what stays begins in the middle of a frame.
        let taken = if self.open { rx.bytes().len().min(1001) } else { 0 };
        for byte in &rx.bytes()[..taken] {
            assert_eq!(*byte, pattern(self.read));
            self.read += 1;
        }
        rx.consume(taken);
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<corelane::Instant> {
        if let Some(mut conn) = self.conn.filter(|_| self.open).and_then(|id| core.conn(id)) {
            conn.resume();
        }
        None
    }
}

#[test]
fn what_is_not_consumed_stops_the_sender_and_comes_again() {
    let mut pair = Pair::new(Sender::new(1, 1 << 20), Slow::default());
    pair.run_for(Duration::from_millis(500));
    let buffer = u64::from(corelane::TcpConfig::default().recv_buffer);
    let held = pair.server.census().held;
    assert!(u64::from(held) * 1500 < 2 * buffer, "{held} frames are held for a window of {buffer} bytes");
    assert_eq!(pair.server.app().read, 0);
    let info = |pair: &mut Pair<Sender, Slow>| pair.server.endpoint_counters().bytes_in;
    let before = info(&mut pair);
    pair.run_for(Duration::from_millis(500));
    assert!(before <= buffer && info(&mut pair) <= buffer, "the window must stay shut");

    pair.server.app_mut().open = true;
    pair.run_until(MANY, |pair| pair.server.app().read == 1 << 20);
    pair.stop();
}

#[test]
fn a_worker_does_not_sleep_over_what_its_application_has_resumed() {
    let mut pair = Pair::new(Sender::new(1, 5000), Slow::default());
    pair.run_for(Duration::from_millis(100));
    pair.server.app_mut().open = true;
    // Nothing has come and no timer is due: `on_turn` alone makes news, when this turn has told its own.
    assert!(!pair.server.turn(pair.now).unwrap());
    assert_eq!(pair.server.app().read, 0);
    assert!(pair.server.deadline().is_some_and(|at| at <= pair.now), "the next turn tells of it");
    pair.run_until(MANY, |pair| pair.server.app().read == 5000);
    pair.stop();
}

/// Keeps every run of bytes as a frame of its own.
#[derive(Default)]
struct Keeper {
    kept: Vec<RxBuf>,
    keeps: bool,
    read: u64,
}

impl App for Keeper {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        let buf = rx.detach().unwrap();
        assert!(rx.detach().is_none() && rx.bytes().is_empty(), "bytes are taken once");
        self.read += buf.len() as u64;
        if self.keeps {
            self.kept.push(buf);
        }
    }
}

#[test]
fn detached_bytes_stay_and_shrink_the_window_until_they_are_dropped() {
    let mut pair = Pair::new(Sender::new(1, 1 << 20), Keeper { keeps: true, ..Keeper::default() });
    pair.run_for(Duration::from_millis(500));
    // `recv_buffer_initial` says that the window grows as the application reads, and what it keeps it has not read for
    // good. So the peer never gets beyond the first window's edge, however large `recv_buffer` is.
    let buffer = u64::from(corelane::TcpConfig::default().recv_buffer_initial);
    let keeper = pair.server.app();
    assert!(keeper.read > buffer / 2 && keeper.read <= buffer, "{} of {buffer}", keeper.read);
    let kept: Vec<u8> = keeper.kept.iter().flat_map(|buf| buf.bytes().to_vec()).collect();
    assert_eq!(kept, stretch(0, kept.len()), "held bytes do not change");
    assert_eq!(pair.server.census().held as usize, keeper.kept.len());

    let keeper = pair.server.app_mut();
    keeper.keeps = false;
    keeper.kept.clear();
    pair.run_until(MANY, |pair| pair.server.app().read == 1 << 20);
    pair.stop();
}

#[test]
fn detached_bytes_outlive_their_connection() {
    let mut pair = Pair::new(Sender::new(1, 5000), Keeper { keeps: true, ..Keeper::default() });
    pair.run_until(MANY, |pair| pair.server.app().read == 5000);
    pair.client.abort();
    pair.run_until(MANY, |pair| pair.server.connections() == 0);
    let kept = std::mem::take(&mut pair.server.app_mut().kept);
    assert_eq!(kept.iter().map(|buf| buf.len()).sum::<usize>(), 5000);
    drop(kept);
    pair.stop();
}

/// Counts the states that are alive.
struct Counting {
    alive: Rc<Cell<usize>>,
    reasons: Vec<CloseReason>,
}

struct Guard(Rc<Cell<usize>>);

impl Guard {
    fn new(alive: &Rc<Cell<usize>>) -> Self {
        alive.set(alive.get() + 1);
        Self(Rc::clone(alive))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl App for Counting {
    type State = Guard;

    fn on_start(&mut self, core: &mut Core<'_, Guard>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Guard {
        Guard::new(&self.alive)
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, _: &mut Guard, rx: &mut Rx<'_>) {
        // The first byte says how to end.
        match rx.bytes().first() {
            Some(0) => conn.close(),
            Some(1) => conn.abort(),
            _ => conn.shutdown(Shutdown::Write),
        }
    }

    fn on_closed(&mut self, _: &mut Core<'_, Guard>, state: Guard, reason: CloseReason) {
        drop(state);
        self.reasons.push(reason);
    }
}

/// Opens one connection for each way to end, and says the way.
struct Asker {
    ended: Vec<(u8, CloseReason)>,
}

impl App for Asker {
    type State = u8;

    fn on_start(&mut self, core: &mut Core<'_, u8>) -> Result<(), Error> {
        for way in 0..3 {
            core.connect(SERVER, way)?;
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> u8 {
        unreachable!("the client does not listen")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, way: &mut u8) {
        assert_eq!(conn.send_copy(&[*way]), 1);
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, _: &mut u8, _: &mut Rx<'_>) {}

    fn on_closed(&mut self, _: &mut Core<'_, u8>, way: u8, reason: CloseReason) {
        self.ended.push((way, reason));
    }
}

#[test]
fn every_end_drops_the_state_and_tells_the_reason() {
    let alive = Rc::new(Cell::new(0));
    let server = Counting { alive: Rc::clone(&alive), reasons: Vec::new() };
    let mut pair = Pair::new(Asker { ended: Vec::new() }, server);
    pair.run_until(MANY, |pair| pair.server.endpoint_counters().opened_passive == 3);
    pair.run_until(MANY, |pair| pair.client.app().ended.len() == 3 && pair.server.connections() == 0);
    assert_eq!(alive.get(), 0);
    let mut ended = pair.client.app().ended.clone();
    ended.sort_by_key(|(way, _)| *way);
    assert_eq!(ended, [(0, CloseReason::Finished), (1, CloseReason::Reset), (2, CloseReason::Finished)]);
    assert_eq!(pair.server.app().reasons.iter().filter(|reason| **reason == CloseReason::Aborted).count(), 1);
    pair.stop();
}

#[test]
fn stopping_ends_what_is_open_and_tells_each_application() {
    let mut pair = Pair::new(Sender { window: 1000, ..Sender::new(20, u64::MAX) }, Echo::default());
    pair.run_for(Duration::from_millis(20));
    assert_eq!(pair.client.connections(), 20);
    pair.stop();
    assert_eq!(pair.client.app().ended.len(), 20);
}

#[test]
fn a_full_table_refuses_and_goes_on() {
    let client = Sender::new(30, 2000);
    let config = |config: &mut corelane::worker::WorkerConfig| {
        // Room for all of the client's, for a few of the server's.
        if config.endpoint.addresses[0].addr == SERVER.addr {
            config.endpoint.connections = 5;
        }
        config.tcp.rto_initial = Duration::from_millis(50);
    };
    let mut pair = Pair::over(client, Echo::default(), 64, Into::into, config);
    pair.run_for(Duration::from_secs(30));
    let (client, server) = (pair.client.app(), pair.server.endpoint_counters());
    assert!(client.done >= 5, "those that found room were served: {}", client.done);
    assert!(client.done == 30 || server.dropped_table_full + server.dropped_accept_queue_full > 0, "{server:#?}");
    pair.stop();
}
