//! Servers over the kernel's sockets.

use super::stream::{STAGE, Scratch, Stream};
use super::{Engine, Poller, Watched, key, unkey};
use crate::cores;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::transport::ServeSummary;
use crate::workload::{Server, Servers};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a server over the kernel's sockets needs to know.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The workload.
    pub servers: Servers,
    /// Where it listens.
    pub listen: SocketAddr,
    /// How the threads talk with the kernel.
    pub engine: Engine,
    /// One thread for each core, pinned to it.
    pub cores: Vec<usize>,
    /// Whether to poll without ever sleeping.
    pub spin: bool,
}

/// The listener's key in epoll.
const LISTENER: u64 = u64::MAX;
/// How long a wait lasts at most: the time in which a raised stop flag is seen.
const TICK_NS: u64 = 50_000_000;
/// How many bytes one connection may move before the others get their turn.
const TURN_BYTES: usize = 8 * STAGE;
/// How long, and for how many bytes, a connection that we ended still reads, so that the peer gets the last answer
/// instead of a RST.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 16 << 20;

/// Serves until `stop` is raised. `ready` is called once every thread listens.
pub fn run_serve(options: &ServeOptions, stop: &Stop, ready: impl FnOnce()) -> Result<ServeSummary, Failure> {
    super::raise_descriptor_limit();
    options.engine.check()?;
    check_port_free(options.listen)?;
    let listeners: Vec<OwnedFd> = options.cores.iter().map(|_| listener(options.listen)).collect::<Result<_, _>>()?;
    let threads: Vec<_> = options
        .cores
        .iter()
        .zip(listeners)
        .map(|(&core, listener)| {
            let (options, stop) = (options.clone(), stop.clone());
            std::thread::Builder::new().name(format!("serve-{core}")).spawn(move || {
                let result = cores::pin(core).and_then(|()| {
                    let mut worker = Worker::new(&options, listener).map_err(|error| lost(&error))?;
                    worker.run(&stop).map_err(|error| lost(&error))?;
                    Ok(worker.summary())
                });
                if result.is_err() {
                    stop.raise();
                }
                result
            })
        })
        .collect();
    ready();
    let mut total = ServeSummary::default();
    for thread in threads {
        let thread = thread.map_err(|error| Failure::Machine(format!("a thread cannot be started: {error}")))?;
        total += thread.join().map_err(|_| Failure::Machine("a serving thread panicked".to_owned()))??;
    }
    Ok(total)
}

fn lost(error: &Errno) -> Failure {
    Failure::Machine(format!("the kernel's event queue failed: {error}"))
}

fn socket(listen: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

/// Two servers with `SO_REUSEPORT` would share a port silently, and each get half of the load. So the port is first
/// taken without it.
fn check_port_free(listen: SocketAddr) -> Result<(), Failure> {
    let probe = || -> Result<(), Errno> {
        let socket = socket(listen)?;
        rustix::net::bind(&socket, &listen)?;
        rustix::net::listen(&socket, 1)
    };
    probe().map_err(|error| refused(listen, error))
}

fn listener(listen: SocketAddr) -> Result<OwnedFd, Failure> {
    let open = || -> Result<OwnedFd, Errno> {
        let socket = socket(listen)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        // Accepted sockets inherit it.
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::bind(&socket, &listen)?;
        rustix::net::listen(&socket, 65_535)?;
        Ok(socket)
    };
    open().map_err(|error| refused(listen, error))
}

fn refused(listen: SocketAddr, error: Errno) -> Failure {
    let (ip, port) = (listen.ip(), listen.port());
    Failure::Machine(match error {
        Errno::ADDRINUSE => format!(
            "port {port} on {ip} is in use by another program; choose another --port, or find it with `ss -ltnp`"
        ),
        Errno::ADDRNOTAVAIL => {
            format!("this machine has no address {ip}; `ip address` lists those it has, --address chooses one")
        }
        Errno::ACCESS | Errno::PERM => {
            format!("port {port} needs root or CAP_NET_BIND_SERVICE; choose a --port from 1024 on")
        }
        other => format!("cannot listen on {listen}: {other}"),
    })
}

/// One connection.
struct Conn {
    stream: Stream,
    server: Server,
    /// Bytes that the workload left until there is room; the socket is not read while there are any.
    unread: Vec<u8>,
    eof: bool,
    linger_until: Option<Instant>,
}

/// What becomes of a connection after an event.
enum Fate {
    Stay,
    Close,
    Reset,
}

/// One thread's server.
struct Worker {
    poller: Poller,
    listener: Watched,
    accepting: bool,
    servers: Servers,
    spin: bool,
    conns: Vec<Option<Conn>>,
    generations: Vec<u32>,
    free: Vec<usize>,
    scratch: Scratch,
    summary: ServeSummary,
}

impl Worker {
    fn new(options: &ServeOptions, listener: OwnedFd) -> Result<Self, Errno> {
        let poller = Poller::new(options.engine)?;
        let listener = poller.add(listener, LISTENER, EventFlags::IN)?;
        Ok(Self {
            poller,
            listener,
            accepting: true,
            servers: options.servers.clone(),
            spin: options.spin,
            conns: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            scratch: Scratch::new(),
            summary: ServeSummary::default(),
        })
    }

    fn run(&mut self, stop: &Stop) -> Result<(), Errno> {
        let mut next_sweep = Instant::now() + Duration::from_nanos(TICK_NS);
        let mut turns = 0u64;
        while !stop.is_raised() {
            self.poller.wait(if self.spin { 0 } else { TICK_NS })?;
            let events = std::mem::take(&mut self.poller.events);
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    connection => self.on_event(connection, event.flags),
                }
            }
            turns += 1;
            let look = events.is_empty() || turns.is_multiple_of(256);
            self.poller.events = events;
            // A busy turn seldom reads this clock.
            if look && Instant::now() >= next_sweep {
                self.sweep();
                next_sweep = Instant::now() + Duration::from_nanos(TICK_NS);
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        for _ in 0..64 {
            match rustix::net::accept_with(&self.listener.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => self.admit(socket),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    // The listener would stay readable for ever: it rests until a connection ends or a tick passes.
                    self.summary.accept_errors += 1;
                    self.watch_listener(false);
                    return;
                }
                // A connection that was reset before it was taken is nobody's error.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn watch_listener(&mut self, accepting: bool) {
        let flags = if accepting { EventFlags::IN } else { EventFlags::empty() };
        if self.accepting != accepting && self.poller.modify(&self.listener, LISTENER, flags).is_ok() {
            self.accepting = accepting;
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.generations.push(0);
            self.conns.len() - 1
        });
        let key = key(place, self.generations[place]);
        let Ok(stream) = Stream::connected(&self.poller, socket, key) else {
            self.free.push(place);
            self.summary.accept_errors += 1;
            return;
        };
        self.summary.accepted += 1;
        let server = self.servers.fresh();
        let speaks_first = server.wants_write();
        self.conns[place] = Some(Conn { stream, server, unread: Vec::new(), eof: false, linger_until: None });
        if speaks_first {
            self.on_event(key, EventFlags::OUT);
        }
    }

    fn on_event(&mut self, event_key: u64, flags: EventFlags) {
        let (place, generation) = unkey(event_key);
        if self.generations.get(place) != Some(&generation) {
            return;
        }
        let Some(conn) = self.conns.get_mut(place).and_then(Option::as_mut) else { return };
        let fate = conn.on_event(flags, &mut self.scratch, &mut self.summary).unwrap_or(Fate::Reset);
        let fate = match fate {
            Fate::Stay if conn.watch(&self.poller, event_key).is_err() => Fate::Close,
            fate => fate,
        };
        match fate {
            Fate::Stay => {}
            Fate::Close => self.close(place),
            Fate::Reset => {
                self.summary.reset += 1;
                self.close(place);
            }
        }
    }

    fn close(&mut self, place: usize) {
        if let Some(conn) = self.conns[place].take() {
            self.summary.closed += 1;
            self.summary.bytes_in += conn.stream.bytes_in;
            self.summary.bytes_out += conn.stream.bytes_out;
            self.generations[place] = self.generations[place].wrapping_add(1);
            self.free.push(place);
        }
        self.watch_listener(true);
    }

    /// Ends connections that linger too long.
    fn sweep(&mut self) {
        let now = Instant::now();
        self.watch_listener(true);
        for place in 0..self.conns.len() {
            let over = |conn: &Conn| conn.linger_until.is_some_and(|until| until <= now);
            if self.conns[place].as_ref().is_some_and(over) {
                self.close(place);
            }
        }
    }

    fn summary(mut self) -> ServeSummary {
        for conn in self.conns.iter().flatten() {
            self.summary.bytes_in += conn.stream.bytes_in;
            self.summary.bytes_out += conn.stream.bytes_out;
            self.summary.open_at_stop += 1;
        }
        self.summary
    }
}

impl Conn {
    fn on_event(
        &mut self,
        flags: EventFlags,
        scratch: &mut Scratch,
        summary: &mut ServeSummary,
    ) -> Result<Fate, Errno> {
        if self.linger_until.is_some() {
            return self.linger(scratch);
        }
        let mut moved = 0;
        // An error or a hang-up is found by trying to send.
        if flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            moved += self.write(scratch, summary)?;
        }
        while !self.waits_for_room() && !self.eof && moved < TURN_BYTES {
            let count = match self.stream.read(&mut scratch.input) {
                Ok(0) => {
                    self.eof = true;
                    break;
                }
                Ok(count) => count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            moved += count;
            let input = &scratch.input[..count];
            let server = &mut self.server;
            let tally = &mut summary.tally;
            let used = self.stream.send_with(&mut scratch.output, |out| server.on_bytes(input, out, tally))?;
            if used < count && !self.server.is_finished() {
                self.unread.extend_from_slice(&input[used..]);
            }
            // A level-triggered epoll tells when there is more: a short read saves the read that finds nothing.
            if self.server.is_finished() || count < scratch.input.len() {
                break;
            }
        }
        self.settle(scratch)
    }

    /// Writes while there is room: what is staged, then what the workload has, then the bytes it left, again.
    fn write(&mut self, scratch: &mut Scratch, summary: &mut ServeSummary) -> Result<usize, Errno> {
        let before = self.stream.bytes_out;
        loop {
            let moved = usize::try_from(self.stream.bytes_out - before).unwrap_or(usize::MAX);
            let nothing_left = !self.server.wants_write() && self.unread.is_empty();
            if !self.stream.flush()? || nothing_left || self.server.is_finished() || moved >= TURN_BYTES {
                return Ok(moved);
            }
            let (server, unread, tally) = (&mut self.server, &self.unread, &mut summary.tally);
            let used = self.stream.send_with(&mut scratch.output, |out| {
                server.on_writable(out);
                if unread.is_empty() || server.is_finished() { 0 } else { server.on_bytes(unread, out, tally) }
            })?;
            self.unread.drain(..used);
        }
    }

    fn waits_for_room(&self) -> bool {
        self.stream.is_blocked() || self.server.wants_write() || !self.unread.is_empty()
    }

    /// What follows when everything that could be done now is done.
    fn settle(&mut self, scratch: &mut Scratch) -> Result<Fate, Errno> {
        if self.stream.is_blocked() {
            return Ok(Fate::Stay);
        }
        if self.server.is_finished() {
            rustix::net::shutdown(self.stream.socket(), Shutdown::Write)?;
            self.linger_until = Some(Instant::now() + LINGER);
            return if self.eof { Ok(Fate::Close) } else { self.linger(scratch) };
        }
        Ok(if self.eof && !self.waits_for_room() { Fate::Close } else { Fate::Stay })
    }

    /// Reads and forgets: closing a socket with unread bytes sends a RST, which can overtake the last answer.
    fn linger(&mut self, scratch: &mut Scratch) -> Result<Fate, Errno> {
        let mut read = 0;
        loop {
            match self.stream.read(&mut scratch.input) {
                Ok(0) => return Ok(Fate::Close),
                Ok(count) => read += count as u64,
                Err(Errno::AGAIN) => return Ok(Fate::Stay),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if read > LINGER_BYTES {
                return Ok(Fate::Close);
            }
        }
    }

    fn watch(&mut self, poller: &Poller, key: u64) -> Result<(), Errno> {
        let wanted = if self.linger_until.is_some() {
            EventFlags::IN
        } else if self.waits_for_room() {
            EventFlags::OUT
        } else if self.eof {
            EventFlags::empty()
        } else {
            EventFlags::IN
        };
        self.stream.watch(poller, key, wanted)
    }
}
