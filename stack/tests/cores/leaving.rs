//! Workers that are drained give their connections to the others, where the application allows it.

use crate::clients::{counted, many};
use crate::common::veth::{KERNEL, Link, OWN, connect, enter, start_with};
use crate::common::{pattern, stretch};
use corelane::control::{Control, CoreShare};
use corelane::{App, CloseReason, Conn, Core, Error, Rx, SocketAddr, Summary};
use std::any::Any;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections that all have a request under way at once.
const IN_FLIGHT: usize = 500;
/// Threads that drive them.
const THREADS: usize = 10;
const LIMIT: Duration = Duration::from_secs(20);

type Baggage = Box<dyn Any + Send>;

/// Sends back a stream that it knows: `State` is how far it has come, so that a state that is lost shows.
struct Ledger {
    /// Those for which this says no stay.
    gives: fn(u64) -> bool,
    wrong: Arc<AtomicUsize>,
}

impl App for Ledger {
    type State = u64;

    fn on_start(&mut self, core: &mut Core<'_, u64>) -> Result<(), Error> {
        core.listen_port(7)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> u64 {
        0
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, at: &mut u64, rx: &mut Rx<'_>) {
        let right = rx.bytes().iter().zip(*at..).all(|(byte, at)| *byte == pattern(at));
        self.wrong.fetch_add(usize::from(!right), Ordering::Relaxed);
        let taken = conn.send_copy(rx.bytes());
        *at += taken as u64;
        rx.consume(taken);
    }

    fn on_move_out(&mut self, conn: &mut Conn<'_>, at: u64) -> Result<Baggage, u64> {
        let port = conn.peer().map_or(0, |peer| peer.port);
        if (self.gives)(port.into()) { Ok(Box::new(at)) } else { Err(at) }
    }

    fn on_move_in(&mut self, _: &mut Conn<'_>, baggage: Baggage) -> Result<u64, Baggage> {
        baggage.downcast().map(|at| *at)
    }
}

/// One connection of the kernel's, and how far its stream has come.
struct Client {
    stream: TcpStream,
    sent: u64,
    got: u64,
}

impl Client {
    fn new() -> Self {
        let stream = connect(&format!("{OWN}:7"));
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, sent: 0, got: 0 }
    }

    fn ask(&mut self, len: usize) {
        self.stream.write_all(&stretch(self.sent, len)).unwrap();
        self.sent += len as u64;
    }

    fn hear(&mut self) {
        let mut back = vec![0; (self.sent - self.got) as usize];
        self.stream.read_exact(&mut back).unwrap();
        assert!(back == stretch(self.got, back.len()), "other bytes came back after {}", self.got);
        self.got = self.sent;
    }
}

/// Asks on all connections at once, over and over, until `over`.
fn keep_asking(clients: &mut [Client], over: &AtomicBool, answered: &AtomicUsize) {
    let mut round = 0;
    while !over.load(Ordering::Relaxed) {
        round += 1;
        let lengths = |at: usize| 1 + (at * 977 + round * 131) % 3000;
        clients.iter_mut().enumerate().for_each(|(at, client)| client.ask(lengths(at)));
        clients.iter_mut().for_each(Client::hear);
        answered.fetch_add(clients.len(), Ordering::Relaxed);
    }
}

/// Ends the clients, also when a check fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until worker `worker` has nothing, and gives how things stand.
fn wait_until_left(control: &Control, worker: usize) -> Vec<CoreShare> {
    let mut shares = Vec::new();
    wait_until("connections are left", || {
        shares = control.shares().unwrap();
        shares[worker].flows == 0
    });
    shares
}

fn check(summary: &Summary) {
    let endings = summary.endings();
    assert_eq!(endings["finished"], endings.values().sum::<u64>(), "{summary}");
    assert!(summary.all_frames_accounted_for(), "{summary}");
    assert_eq!(counted(summary, "moved_in"), counted(summary, "moved_out"), "{summary}");
    assert_eq!(counted(summary, "moves_reset"), 0, "{summary}");
}

/// Drains and adds workers under [`IN_FLIGHT`] requests: each drain ends because all connections have moved.
fn drain_under_load(name: &str, sockets: &str) {
    let link = Link::new(name, 2);
    let config = many(&link, 3, sockets).build().unwrap();
    let (control, wrong) = (Control::new(), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&wrong);
    let make = move |_| Ledger { gives: |_| true, wrong: Arc::clone(&told) };
    let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), make);
    wait_until("the stack runs", || control.shares().is_ok());
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for _ in 0..THREADS {
            scope.spawn(|| {
                enter(&link.theirs);
                let mut clients: Vec<_> = (0..IN_FLIGHT / THREADS).map(|_| Client::new()).collect();
                keep_asking(&mut clients, &over, &answered);
            });
        }
        let some_more = || {
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests go on", || answered.load(Ordering::Relaxed) >= before + 2 * IN_FLIGHT);
        };
        let flows = || control.shares().unwrap().iter().map(|share| share.flows).sum::<usize>();
        wait_until("all are connected", || flows() == IN_FLIGHT);
        some_more();
        for worker in [0, 1, 2, 0, 1] {
            let mut before = control.shares().unwrap();
            if before[worker].flows == 0 {
                let fullest = (0..3).max_by_key(|other| before[*other].flows).unwrap();
                control.drain(fullest).unwrap();
                wait_until_left(&control, fullest);
                before = control.add(fullest).unwrap();
            }
            assert!(before[worker].flows > 0, "{before:?}");
            control.drain(worker).unwrap();
            let left = wait_until_left(&control, worker);
            assert_eq!(left[worker].moved_out - before[worker].moved_out, before[worker].flows as u64, "{left:?}");
            assert_eq!(left.iter().map(|share| share.flows).sum::<usize>(), IN_FLIGHT, "{left:?}");
            some_more();
            // What is added gets none of the connections that are there, but of those of the next one that is drained.
            let added = control.add(worker).unwrap();
            assert_eq!(added[worker].flows, 0, "{added:?}");
            some_more();
            let fullest = (0..3).max_by_key(|other| added[*other].flows).unwrap();
            control.drain(fullest).unwrap();
            // Added before all have moved.
            control.add(fullest).unwrap();
            some_more();
        }
    });
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    let moved = counted(&summary, "moved_in");
    println!("{sockets}: {} requests while {moved} connections moved\n{summary}", answered.load(Ordering::Relaxed));
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "a connection has lost its state");
    assert!(moved as usize > IN_FLIGHT, "{summary}");
    check(&summary);
}

/// Add and drain a core under 500 requests in flight: zero errors.
#[test]
fn a_core_is_added_and_drained_under_500_requests_in_flight_and_its_connections_move() {
    drain_under_load("l-all", "all");
}

#[test]
fn so_it_is_where_a_queue_has_one_socket() {
    drain_under_load("l-one", "one");
}

#[test]
fn what_the_application_keeps_stays_and_what_is_idle_moves_at_once() {
    let link = Link::new("l-keep", 1);
    let config = many(&link, 2, "all").build().unwrap();
    let (control, wrong) = (Control::new(), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&wrong);
    let make = move |_| Ledger { gives: |port| port % 4 < 2, wrong: Arc::clone(&told) };
    let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), make);
    wait_until("the stack runs", || control.shares().is_ok());
    enter(&link.theirs);
    let mut clients: Vec<_> = (0..60).map(|_| Client::new()).collect();
    let mut ask_all = |len: usize| {
        clients.iter_mut().for_each(|client| client.ask(len));
        clients.iter_mut().for_each(Client::hear);
    };
    ask_all(700);
    let before = control.shares().unwrap()[1];
    // An answer whose acknowledgement is under way is none at rest yet.
    control.drain(1).unwrap();
    let mut last = Vec::new();
    wait_until("those that are given move", || {
        last = control.shares().unwrap();
        last[1].kept > 0 && last[1].busy == 0 && last[1].flows == last[1].kept
    });
    assert_eq!(last[1].moved_out + last[1].kept as u64, before.flows as u64, "{last:?}");
    assert!(last[1].moved_out > 0 && last[0].moved_in == last[1].moved_out, "{last:?}");
    ask_all(4000);
    // Added again it gives none any more.
    let added = control.add(1).unwrap();
    assert_eq!((added[1].flows, added[1].moved_out), (last[1].flows, last[1].moved_out), "{added:?}");
    ask_all(900);
    assert_eq!(control.shares().unwrap()[1].moved_out, last[1].moved_out);
    drop(clients);
    wait_until_left(&control, 0);
    wait_until_left(&control, 1);
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    assert!(counted(&summary, "moves_kept") > 0, "{summary}");
    check(&summary);
}

/// Opens connections to the kernel, and asks on each over and over.
struct Caller {
    /// How many have been opened here.
    opened: usize,
    wanted: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

/// How far a stream has come: sent and received.
#[derive(Default)]
struct Call {
    sent: u64,
    got: u64,
}

impl Caller {
    fn ask(&self, conn: &mut Conn<'_>, call: &mut Call) {
        if self.over.load(Ordering::Relaxed) {
            return conn.close();
        }
        call.sent += conn.send_copy(&stretch(call.sent, 300)) as u64;
    }
}

impl App for Caller {
    type State = Call;

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Call {
        unreachable!("nobody listens")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, call: &mut Call) {
        self.ask(conn, call);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, call: &mut Call, rx: &mut Rx<'_>) {
        let right = rx.bytes().iter().zip(call.got..).all(|(byte, at)| *byte == pattern(at));
        self.failed.fetch_add(usize::from(!right), Ordering::Relaxed);
        call.got += rx.bytes().len() as u64;
        if call.got == call.sent {
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.ask(conn, call);
        }
    }

    fn on_closed(&mut self, _: &mut Core<'_, Call>, _: Call, reason: CloseReason) {
        self.failed.fetch_add(usize::from(reason != CloseReason::Finished), Ordering::Relaxed);
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn on_turn(&mut self, core: &mut Core<'_, Call>) -> Option<corelane::Instant> {
        let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
        while self.opened < self.wanted.load(Ordering::Relaxed) {
            match core.connect(SocketAddr::from(to), Call::default()) {
                Ok(_) => self.opened += 1,
                // A worker that is drained has no ports; it gets them back.
                Err(corelane::ConnectError::NoPort(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        Some(core.now() + Duration::from_millis(20))
    }

    fn on_move_out(&mut self, _: &mut Conn<'_>, call: Call) -> Result<Baggage, Call> {
        Ok(Box::new(call))
    }

    fn on_move_in(&mut self, _: &mut Conn<'_>, baggage: Baggage) -> Result<Call, Baggage> {
        baggage.downcast().map(|call| *call)
    }
}

/// Sends back what comes on every connection, on one thread each, until its peer closes.
fn echo(listener: &TcpListener, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            scope.spawn(move || {
                let mut bytes = [0; 2048];
                loop {
                    match stream.read(&mut bytes).unwrap() {
                        0 => return,
                        len => stream.write_all(&bytes[..len]).unwrap(),
                    }
                }
            });
        }
    });
}

/// Connections that the stack has opened move as well; their ports are not given out again by whoever had them.
fn callers_move(name: &str, sharing: &str) {
    const EACH: usize = 30;
    let link = Link::new(name, 2);
    let mut config = many(&link, 2, "all").set("interface.sharing", sharing);
    if sharing == "shared" {
        config = config.set("interface.address", Vec::<String>::new());
    }
    // So few ports that one which is taken would be hit.
    let config = config.set("limits.first_port", 61_000).set("limits.last_port", 61_255).build().unwrap();
    let (over, wanted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(EACH)));
    let [answered, failed, closed] = [0; 3].map(|_| Arc::new(AtomicUsize::new(0)));
    let control = Control::new();
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        let (ready, listening) = std::sync::mpsc::channel();
        let theirs = &link.theirs;
        scope.spawn(move || {
            enter(theirs);
            let listener = TcpListener::bind((KERNEL, 9000)).unwrap();
            ready.send(()).unwrap();
            echo(&listener, 3 * EACH);
        });
        listening.recv().unwrap();
        let all =
            (Arc::clone(&wanted), Arc::clone(&over), Arc::clone(&answered), Arc::clone(&failed), Arc::clone(&closed));
        let make = move |worker| {
            let (wanted, over, answered, failed, closed) = all.clone();
            // The second worker opens only half as many, for the first ones move to it.
            let opened = if worker == 1 { EACH } else { 0 };
            Caller { opened, wanted, over, answered, failed, closed }
        };
        let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), make);
        wait_until("the stack runs", || control.shares().is_ok());
        let some_more = || {
            let before = answered.load(Ordering::Relaxed);
            wait_until("requests go on", || answered.load(Ordering::Relaxed) >= before + 10 * EACH);
        };
        wait_until("all are open", || control.shares().unwrap()[0].flows == EACH);
        some_more();
        control.drain(0).unwrap();
        let left = wait_until_left(&control, 0);
        assert_eq!((left[0].moved_out, left[1].moved_in, left[1].flows), (EACH as u64, EACH as u64, EACH), "{left:?}");
        some_more();
        control.add(0).unwrap();
        wanted.store(2 * EACH, Ordering::Relaxed);
        wait_until("both have opened some more", || {
            let shares = control.shares().unwrap();
            shares[0].flows == EACH && shares[1].flows == 2 * EACH
        });
        some_more();
        over.store(true, Ordering::Relaxed);
        wait_until("all are closed", || closed.load(Ordering::Relaxed) == 3 * EACH);
        stop.stop();
        let summary = stack.join().unwrap().unwrap();
        println!("{sharing}: {} requests\n{summary}", answered.load(Ordering::Relaxed));
        assert_eq!(failed.load(Ordering::Relaxed), 0, "{summary}");
        check(&summary);
    });
}

#[test]
fn connections_that_the_stack_has_opened_move_and_keep_their_ports() {
    callers_move("l-own", "own");
}

#[test]
fn so_they_do_on_an_address_that_is_shared_with_the_kernel() {
    callers_move("l-shared", "shared");
}
