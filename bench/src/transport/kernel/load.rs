//! Load over the kernel's sockets.

use super::stream::{STAGE, Scratch, Stream};
use super::{Engine, Poller, key, unkey};
use crate::clock::Clock;
use crate::cores;
use crate::failure::Failure;
use crate::load::crew::Crew;
use crate::load::session::{Action, Keep};
use crate::load::usage::Usage;
use crate::load::{CoreOutcome, Setup};
use crate::stop::Stop;
use crate::transport::ErrorKind;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, SocketAddr};

/// How long a wait lasts at most: the time in which a raised stop flag is seen and a second is handed on.
const TICK_NS: u64 = 50_000_000;
/// A due time nearer than this is awaited by polling: the kernel wakes a sleeper too late to be exact.
const SPIN_BEFORE_NS: u64 = 60_000;

/// So many actions are done before the sockets are looked at again.
const ACTIONS: usize = 256;

/// Runs the load with one thread for each core of the set-up.
pub fn run_load(setup: &Setup, engine: Engine, stop: &Stop) -> Result<Vec<CoreOutcome>, Failure> {
    engine.check()?;
    super::raise_descriptor_limit();
    std::thread::scope(|scope| {
        let threads: Vec<_> = setup
            .cores()
            .iter()
            .enumerate()
            .map(|(index, &core)| {
                scope.spawn(move || {
                    let result = run_core(setup, engine, index, core, stop);
                    if result.is_err() {
                        stop.raise();
                    }
                    result
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure::Machine("a load thread panicked".to_owned()))))
            .collect()
    })
}

fn run_core(setup: &Setup, engine: Engine, index: usize, core: usize, stop: &Stop) -> Result<CoreOutcome, Failure> {
    cores::pin(core)?;
    // Sleeps end when they should, not up to 50 us later.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let lost = |error: Errno| Failure::Machine(format!("the kernel's event queue failed: {error}"));
    let mut worker = Worker::new(setup, engine, index).map_err(lost)?;
    let before = Usage::of_this_thread();
    worker.run(stop).map_err(lost)?;
    let usage = Usage::of_this_thread() - before;
    Ok(CoreOutcome { counts: worker.crew.finish(), usage })
}

/// One connection.
struct Conn {
    stream: Stream,
    connected: bool,
}

/// One thread's load.
struct Worker {
    poller: Poller,
    crew: Crew,
    clock: Clock,
    local: Option<IpAddr>,
    spin: bool,
    conns: Vec<Option<Conn>>,
    generations: Vec<u32>,
    scratch: Scratch,
}

impl Worker {
    fn new(setup: &Setup, engine: Engine, index: usize) -> Result<Self, Errno> {
        let crew = setup.crew(index);
        let count = crew.connections();
        Ok(Self {
            poller: Poller::new(engine)?,
            crew,
            clock: setup.clock().clone(),
            local: setup.local(),
            spin: setup.spin(),
            conns: std::iter::repeat_with(|| None).take(count).collect(),
            generations: vec![0; count],
            scratch: Scratch::new(),
        })
    }

    fn run(&mut self, stop: &Stop) -> Result<(), Errno> {
        loop {
            self.act();
            if stop.is_raised() {
                self.crew.interrupt(self.clock.now());
            }
            if self.crew.is_done() {
                return Ok(());
            }
            self.poller.wait(self.timeout())?;
            let events = std::mem::take(&mut self.poller.events);
            for event in &events {
                self.on_event(event.data.u64(), event.flags);
                // The next request of a closed loop leaves at once, not after the other events of this batch.
                self.act();
            }
            self.poller.events = events;
        }
    }

    fn timeout(&self) -> u64 {
        if self.spin {
            return 0;
        }
        let left = self.crew.poll_deadline().saturating_sub(self.clock.now());
        left.saturating_sub(SPIN_BEFORE_NS).min(TICK_NS)
    }

    /// Does what the sessions want done now, but not for ever: a bulk sender always wants something.
    fn act(&mut self) {
        for _ in 0..ACTIONS {
            let Some(action) = self.crew.poll_action(self.clock.now()) else { return };
            match action {
                Action::Connect(place) => self.connect(place),
                Action::Send(place) => self.guard(place, Self::write),
                Action::Read(place) => self.guard(place, Self::read),
                Action::Abort(place) => self.drop_conn(place),
            }
        }
    }

    fn connect(&mut self, place: usize) {
        let now = self.clock.now();
        match open(self.crew.target(place), self.local, self.crew.closes_by_reset(place)) {
            Ok(socket) => {
                let key = key(place, self.generations[place]);
                let Ok(stream) = Stream::connecting(&self.poller, socket, key) else {
                    return self.crew.on_closed(place, now, ErrorKind::Exhausted);
                };
                self.conns[place] = Some(Conn { stream, connected: false });
            }
            Err(error) => self.crew.on_closed(place, now, kind(error, false)),
        }
    }

    fn on_event(&mut self, event_key: u64, flags: EventFlags) {
        let (place, generation) = unkey(event_key);
        if self.generations.get(place) != Some(&generation) {
            return;
        }
        let Some(conn) = &self.conns[place] else { return };
        if !conn.connected {
            return self.guard(place, Self::finish_connect);
        }
        if flags.contains(EventFlags::OUT) {
            self.guard(place, Self::write);
        }
        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            self.guard(place, Self::read);
        }
    }

    /// Does `work` on a connection; an error of the socket ends the connection. Afterwards epoll watches for what the
    /// connection needs.
    fn guard(&mut self, place: usize, work: impl FnOnce(&mut Self, usize, &mut Conn) -> Result<Keep, Errno>) {
        let Some(mut conn) = self.conns[place].take() else { return };
        let connected = conn.connected;
        match work(self, place, &mut conn) {
            Ok(Keep::Open) => {
                let mut wanted = EventFlags::IN;
                wanted.set(EventFlags::IN, !self.crew.is_read_paused(place));
                wanted.set(EventFlags::OUT, conn.stream.is_blocked() || self.crew.wants_write(place));
                let key = key(place, self.generations[place]);
                let watched = conn.stream.watch(&self.poller, key, wanted);
                self.conns[place] = Some(conn);
                if watched.is_err() {
                    self.drop_conn(place);
                    self.crew.on_closed(place, self.clock.now(), ErrorKind::Other);
                }
            }
            Ok(Keep::Close) => self.generations[place] = self.generations[place].wrapping_add(1),
            Err(error) => {
                self.generations[place] = self.generations[place].wrapping_add(1);
                self.crew.on_closed(place, self.clock.now(), kind(error, connected));
            }
        }
    }

    fn drop_conn(&mut self, place: usize) {
        self.conns[place] = None;
        self.generations[place] = self.generations[place].wrapping_add(1);
    }

    fn finish_connect(&mut self, place: usize, conn: &mut Conn) -> Result<Keep, Errno> {
        match sockopt::socket_error(conn.stream.socket())? {
            Ok(()) => {
                conn.connected = true;
                Ok(self.crew.on_connected(place, self.clock.now()))
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, place: usize, conn: &mut Conn) -> Result<Keep, Errno> {
        let (crew, clock) = (&mut self.crew, &self.clock);
        while conn.stream.flush()? && crew.wants_write(place) {
            let stage = &mut self.scratch.output;
            if conn.stream.send_with(stage, |out| crew.on_writable(place, out, clock.now()))? == Keep::Close {
                return Ok(Keep::Close);
            }
        }
        Ok(Keep::Open)
    }

    fn read(&mut self, place: usize, conn: &mut Conn) -> Result<Keep, Errno> {
        // A few reads at most, so that one big answer does not hold up the others.
        for _ in 0..8 {
            let room = self.crew.read_room(place, self.clock.now()).min(STAGE);
            if room == 0 {
                break;
            }
            match conn.stream.read(&mut self.scratch.input[..room]) {
                Ok(0) => {
                    self.crew.on_eof(place, self.clock.now());
                    return Ok(Keep::Close);
                }
                Ok(count) => {
                    let now = self.clock.now();
                    if self.crew.on_bytes(place, &self.scratch.input[..count], now) == Keep::Close {
                        return Ok(Keep::Close);
                    }
                    if count < room {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Keep::Open)
    }
}

/// A socket on its way to `target`, which is reset when it is closed if so wanted.
fn open(target: SocketAddr, local: Option<IpAddr>, reset: bool) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if reset {
        sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO))?;
    }
    if let Some(local) = local {
        // This takes a local port for each connection, whoever the peer is: at most 28,232 with the usual range.
        rustix::net::bind(&socket, &SocketAddr::new(local, 0))?;
    }
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(error) => Err(error),
    }
}

const fn kind(error: Errno, connected: bool) -> ErrorKind {
    match error {
        Errno::CONNREFUSED => ErrorKind::Refused,
        Errno::TIMEDOUT if connected => ErrorKind::TimedOut,
        Errno::TIMEDOUT => ErrorKind::ConnectTimeout,
        Errno::CONNRESET | Errno::PIPE => ErrorKind::Reset,
        Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN => ErrorKind::Unreachable,
        Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => ErrorKind::Exhausted,
        _ => ErrorKind::Other,
    }
}
