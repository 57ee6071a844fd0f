//! Our stack with an application that does what the test says, from the test's own thread.

use crate::wire::Wire;
use crate::world::{SOON, enter};
use corelane::config::Config;
use corelane::{
    App, CloseReason, Conn, ConnId, Core, Error, Rx, Shutdown, SocketAddr, Stack, StopHandle, Summary, Trouble,
};
use corelane_proto::endpoint::Counters;
use corelane_proto::tcp::state::State;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::ops::Range;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a job of the test waits at most for its turn.
const PACE: Duration = Duration::from_millis(2);

/// What happened to a connection of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Happened {
    Started,
    Accepted(ConnId),
    Connected(ConnId),
    PeerClosed(ConnId),
    Urgent(ConnId),
    Trouble(ConnId, Trouble),
    /// Everything of [`Ours::stream`] has been taken.
    Sent(ConnId),
    Closed(ConnId, CloseReason),
}

/// One connection of the application.
pub(crate) struct Line {
    pub(crate) id: Option<ConnId>,
    /// Nothing is read as long as it is set.
    pub(crate) deaf: bool,
    /// What was read.
    pub(crate) got: Vec<u8>,
    /// Instead of being kept, what is read is compared with the pattern from 0 on.
    pub(crate) checks: bool,
    /// How much was compared.
    pub(crate) checked: u64,
    checksum: Checksum,
    /// What of the pattern is still to be sent.
    source: Range<u64>,
    sending: bool,
    then_shut: bool,
}

impl Line {
    pub(crate) fn new(id: Option<ConnId>, deaf: bool) -> Self {
        Self {
            id,
            deaf,
            got: Vec::new(),
            checks: false,
            checked: 0,
            checksum: Checksum::default(),
            source: 0..0,
            sending: false,
            then_shut: false,
        }
    }
}

/// The byte at `at` of the stream that both ends know. No two neighbourhoods are alike.
pub(crate) const fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8
}

/// `len` bytes of the stream from `at` on.
pub(crate) fn stretch(at: u64, len: usize) -> Vec<u8> {
    (at..).take(len).map(pattern).collect()
}

/// A sum over a stream that depends on the order of its bytes, and not on how they were cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) + u64::from(*byte) + 1);
    }
}

type Job = Box<dyn FnOnce(&mut Script, &mut Core<'_, Line>) + Send>;

/// The application.
pub(crate) struct Script {
    jobs: Receiver<Job>,
    events: Sender<Happened>,
    started: bool,
    deaf: bool,
}

impl Script {
    fn tell(&self, happened: Happened) {
        // After the test has ended nobody listens.
        let _ = self.events.send(happened);
    }

    fn push(&self, conn: &mut Conn<'_>, line: &mut Line) {
        let mut bytes = [0; 16 * 1024];
        while !line.source.is_empty() {
            let at = line.source.start;
            let len = bytes.len().min((line.source.end - at) as usize);
            (at..).zip(&mut bytes[..len]).for_each(|(at, byte)| *byte = pattern(at));
            let taken = conn.send_copy(&bytes[..len]);
            line.source.start += taken as u64;
            if taken < len {
                return;
            }
        }
        if std::mem::take(&mut line.sending) {
            if line.then_shut {
                conn.shutdown(Shutdown::Write);
            }
            self.tell(Happened::Sent(conn.id()));
        }
    }
}

impl App for Script {
    type State = Line;

    fn on_accept(&mut self, conn: &mut Conn<'_>) -> Line {
        self.tell(Happened::Accepted(conn.id()));
        Line::new(Some(conn.id()), self.deaf)
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, line: &mut Line) {
        line.id = Some(conn.id());
        self.tell(Happened::Connected(conn.id()));
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, line: &mut Line, rx: &mut Rx<'_>) {
        if line.deaf {
            rx.consume(0);
        } else if line.checks {
            for (at, byte) in (line.checked..).zip(rx.bytes()) {
                assert_eq!(*byte, pattern(at), "byte {at} of what the kernel sent");
            }
            line.checked += rx.bytes().len() as u64;
            line.checksum.add(rx.bytes());
        } else {
            line.got.extend_from_slice(rx.bytes());
        }
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, line: &mut Line) {
        self.push(conn, line);
    }

    fn on_urgent(&mut self, conn: &mut Conn<'_>, _: &mut Line) {
        self.tell(Happened::Urgent(conn.id()));
    }

    fn on_trouble(&mut self, conn: &mut Conn<'_>, _: &mut Line, trouble: Trouble) {
        self.tell(Happened::Trouble(conn.id(), trouble));
    }

    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, _: &mut Line) {
        self.tell(Happened::PeerClosed(conn.id()));
    }

    fn on_closed(&mut self, _: &mut Core<'_, Line>, line: Line, reason: CloseReason) {
        if let Some(id) = line.id {
            self.tell(Happened::Closed(id, reason));
        }
    }

    fn on_turn(&mut self, core: &mut Core<'_, Line>) -> Option<corelane::Instant> {
        if !std::mem::replace(&mut self.started, true) {
            self.tell(Happened::Started);
        }
        while let Ok(job) = self.jobs.try_recv() {
            job(self, core);
        }
        Some(core.now() + PACE)
    }
}

/// Our running stack.
pub(crate) struct Ours<'a> {
    wire: &'a Wire,
    jobs: Sender<Job>,
    events: Receiver<Happened>,
    /// Events that came before the one that was waited for.
    early: std::cell::RefCell<Vec<Happened>>,
    stop: StopHandle,
    thread: Option<JoinHandle<Result<Summary, Error>>>,
}

impl<'a> Ours<'a> {
    /// Starts in a namespace and waits until packets come.
    pub(crate) fn start(namespace: &str, config: Config, wire: &'a Wire) -> Self {
        let ((jobs, to_do), (happened, events)) = (unbounded::<Job>(), unbounded());
        let stop = StopHandle::new();
        let (handle, namespace) = (stop.clone(), namespace.to_owned());
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            let script = |_| Script { jobs: to_do.clone(), events: happened.clone(), started: false, deaf: false };
            Stack::builder(config).stop_handle(&handle).signals(false).run(script)
        });
        let ours = Self { wire, jobs, events, early: Vec::new().into(), stop, thread: Some(thread) };
        ours.expect(Happened::Started);
        ours
    }

    /// Does something on the stack's core, between two turns, and gives its result.
    #[track_caller]
    pub(crate) fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Script, &mut Core<'_, Line>) -> T + Send + 'static,
    ) -> T {
        let (result, results) = bounded(1);
        let job: Job = Box::new(move |script, core| {
            let _ = result.send(job(script, core));
        });
        self.jobs.send(job).unwrap();
        results.recv_timeout(SOON).unwrap_or_else(|_| panic!("the stack does not turn\n{}", self.wire.shown()))
    }

    /// Does something with a connection that is there.
    #[track_caller]
    pub(crate) fn on<T: Send + 'static>(
        &self,
        id: ConnId,
        job: impl FnOnce(&mut Conn<'_>, &mut Line) -> T + Send + 'static,
    ) -> T {
        let answer = self.with(move |_, core| core.conn_and_state(id).map(|(mut conn, line)| job(&mut conn, line)));
        answer.unwrap_or_else(|| panic!("{id:?} is gone\n{}", self.wire.shown()))
    }

    /// Waits for the first event for which `wanted` has an answer.
    #[track_caller]
    pub(crate) fn event<T>(&self, limit: Duration, what: &str, wanted: impl Fn(Happened) -> Option<T>) -> T {
        let mut early = self.early.borrow_mut();
        if let Some(at) = early.iter().position(|happened| wanted(*happened).is_some()) {
            return wanted(early.remove(at)).unwrap();
        }
        let end = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(happened) => match wanted(happened) {
                    Some(found) => return found,
                    None => early.push(happened),
                },
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what}: not within {limit:?}, but {early:?}\n{}", self.wire.shown())
                }
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the stack has ended\n{}", self.wire.shown()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, wanted: Happened) {
        self.event(SOON, &format!("{wanted:?}"), |happened| (happened == wanted).then_some(()));
    }

    /// Waits for the end of a connection.
    #[track_caller]
    pub(crate) fn closed(&self, id: ConnId) -> CloseReason {
        self.closed_within(SOON, id)
    }

    #[track_caller]
    pub(crate) fn closed_within(&self, limit: Duration, id: ConnId) -> CloseReason {
        self.event(limit, &format!("the end of {id:?}"), |happened| match happened {
            Happened::Closed(closed, reason) if closed == id => Some(reason),
            _ => None,
        })
    }

    /// Waits for the next connection that comes in.
    #[track_caller]
    pub(crate) fn accepted(&self) -> ConnId {
        self.event(SOON, "a connection that comes in", |happened| match happened {
            Happened::Accepted(id) => Some(id),
            _ => None,
        })
    }

    /// Listens on a port.
    #[track_caller]
    pub(crate) fn listen(&self, port: u16) {
        self.with(move |_, core| core.listen_port(port)).unwrap();
    }

    /// Begins to connect.
    #[track_caller]
    pub(crate) fn connect(&self, to: &str) -> ConnId {
        let to: std::net::SocketAddr = to.parse().unwrap();
        self.with(move |_, core| {
            let id = core.connect(SocketAddr::from(to), Line::new(None, false)).unwrap();
            if let Some(line) = core.state(id) {
                line.id = Some(id);
            }
            id
        })
    }

    /// Connects and waits until the connection is open.
    #[track_caller]
    pub(crate) fn connected(&self, to: &str) -> ConnId {
        let id = self.connect(to);
        self.expect(Happened::Connected(id));
        id
    }

    /// Connections that come in from now on read nothing until the test lets them.
    pub(crate) fn accept_deaf(&self) {
        self.with(|script, _| script.deaf = true);
    }

    /// Sends bytes that fit the send buffer.
    #[track_caller]
    pub(crate) fn send(&self, id: ConnId, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let (taken, len) = (
            self.on(id, {
                let bytes = bytes.clone();
                move |conn, _| conn.send_copy(&bytes)
            }),
            bytes.len(),
        );
        assert_eq!(taken, len, "the send buffer takes them");
    }

    /// Sends a part of the pattern, as fast as it goes; then, if wanted, the FIN. [`Happened::Sent`] comes when all of
    /// it has been taken.
    #[track_caller]
    pub(crate) fn stream(&self, id: ConnId, source: Range<u64>, then_shut: bool) {
        self.with(move |script, core| {
            let Some((mut conn, line)) = core.conn_and_state(id) else { return };
            *line = Line { source, sending: true, then_shut, ..std::mem::replace(line, Line::new(None, false)) };
            script.push(&mut conn, line);
        });
    }

    pub(crate) fn shutdown(&self, id: ConnId, how: Shutdown) {
        self.on(id, move |conn, _| conn.shutdown(how));
    }

    pub(crate) fn close(&self, id: ConnId) {
        self.on(id, |conn, _| conn.close());
    }

    pub(crate) fn abort(&self, id: ConnId) {
        self.on(id, |conn, _| conn.abort());
    }

    /// The state of the connection; `None` when the application has been told its end.
    pub(crate) fn state(&self, id: ConnId) -> Option<State> {
        self.with(move |_, core| core.conn(id)?.info().map(|info| info.state))
    }

    #[track_caller]
    pub(crate) fn expect_state(&self, id: ConnId, state: State) {
        self.until(&format!("{} of {id:?}", state.name()), || (self.state(id) == Some(state)).then_some(()));
    }

    /// Asks again and again, for as long as [`SOON`].
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            assert!(Instant::now() < end, "{what}: not within {SOON:?}\n{}", self.wire.shown());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many bytes were read; gives all that were.
    #[track_caller]
    pub(crate) fn got(&self, id: ConnId, len: usize) -> Vec<u8> {
        self.until(&format!("{len} bytes on {id:?}"), || {
            self.on(id, move |_, line| (line.got.len() >= len).then(|| line.got.clone()))
        })
    }

    /// Lets a deaf connection read.
    pub(crate) fn hear(&self, id: ConnId) {
        self.on(id, |conn, line| {
            line.deaf = false;
            conn.resume();
        });
    }

    /// From now on the connection compares what comes with the pattern.
    pub(crate) fn check(&self, id: ConnId) {
        self.on(id, |_, line| line.checks = true);
    }

    /// How many bytes were compared, and their sum.
    pub(crate) fn checked(&self, id: ConnId) -> (u64, Checksum) {
        self.on(id, |_, line| (line.checked, line.checksum))
    }

    /// What the protocol has counted.
    pub(crate) fn counters(&self) -> Counters {
        self.with(|_, core| core.counters().clone())
    }

    /// Stops the stack and checks that no frame is missing.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Summary {
        self.stop.stop();
        let summary = self.thread.take().unwrap().join().unwrap().unwrap();
        assert!(summary.all_frames_accounted_for(), "{summary}");
        let frames = summary.workers[0].frames;
        assert_eq!((frames.held, frames.tx), (0, 0), "{summary}");
        summary
    }
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        self.stop.stop();
        // The test has failed already when this is not its usual end.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
