//! The kernel's TCP: one thread a core, non-blocking sockets with `TCP_NODELAY`, and one epoll a thread, level-triggered, or
//! one `io_uring`.

mod lines;
mod load;
mod ring;
mod serve;
mod stream;

pub use load::run_load;
pub use serve::{ServeOptions, run_serve};

use crate::failure::Failure;
use crate::transport::TransportKind;
use lines::Lines;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::RefCell;
use std::rc::Rc;

/// How a thread talks with the kernel about its sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// It asks epoll which are ready, and reads and writes them: a system call for each.
    Epoll,
    /// It puts reads and writes into a ring, and hands over all of them with one system call.
    Uring,
}

impl Engine {
    /// The one of a transport; epoll for those that are not the kernel's.
    pub const fn of(transport: TransportKind) -> Self {
        if matches!(transport, TransportKind::KernelUring) { Self::Uring } else { Self::Epoll }
    }

    /// Whether it is to be had here.
    ///
    /// # Errors
    ///
    /// Why not, and what to do about it.
    pub fn check(self) -> Result<(), Failure> {
        match self {
            Self::Epoll => Ok(()),
            Self::Uring => ring::check(),
        }
    }
}

/// The congestion control that new sockets get, for the record; empty when it cannot be read.
pub fn congestion_control() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default().trim().to_owned()
}

/// Raises the limit of open descriptors to what this process may have, since each connection needs one.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Failing leaves the old limit, and running out is counted and reported as `exhausted`.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What says which sockets are ready, with the events of its last wait.
struct Poller {
    waker: Waker,
    events: Vec<epoll::Event>,
}

enum Waker {
    Epoll(OwnedFd),
    Lines(Rc<RefCell<Lines>>),
}

/// A socket that is only asked whether it is ready.
struct Watched {
    socket: Rc<OwnedFd>,
    /// Its place among the lines of a ring.
    line: usize,
}

/// How many events one wait brings.
const EVENT_BATCH: usize = 256;

impl Poller {
    /// On the thread that waits.
    fn new(engine: Engine) -> rustix::io::Result<Self> {
        let waker = match engine {
            Engine::Epoll => Waker::Epoll(epoll::create(epoll::CreateFlags::CLOEXEC)?),
            Engine::Uring => Waker::Lines(Rc::new(RefCell::new(Lines::new()?))),
        };
        Ok(Self { waker, events: Vec::with_capacity(EVENT_BATCH) })
    }

    /// Watches a listener.
    fn add(&self, socket: OwnedFd, key: u64, flags: epoll::EventFlags) -> rustix::io::Result<Watched> {
        let socket = Rc::new(socket);
        let line = match &self.waker {
            Waker::Epoll(epoll) => {
                epoll::add(epoll, &socket, epoll::EventData::new_u64(key), flags)?;
                0
            }
            Waker::Lines(lines) => lines.borrow_mut().add(Rc::clone(&socket), key, flags, false)?,
        };
        Ok(Watched { socket, line })
    }

    /// Watches it for exactly these from now on.
    fn modify(&self, watched: &Watched, key: u64, flags: epoll::EventFlags) -> rustix::io::Result<()> {
        match &self.waker {
            Waker::Epoll(epoll) => epoll::modify(epoll, watched.socket.as_fd(), epoll::EventData::new_u64(key), flags),
            Waker::Lines(lines) => lines.borrow_mut().watch(watched.line, flags, false),
        }
    }

    /// Waits for at most `timeout_ns`; a signal ends the wait early.
    fn wait(&mut self, timeout_ns: u64) -> rustix::io::Result<()> {
        self.events.clear();
        let epoll = match &self.waker {
            Waker::Epoll(epoll) => epoll,
            Waker::Lines(lines) => return lines.borrow_mut().wait(timeout_ns, &mut self.events),
        };
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(timeout_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (timeout_ns % 1_000_000_000) as _,
        };
        match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The key of an epoll entry: a place and how often it was reused, so that an event for a connection that was closed
/// earlier in the same batch is not taken for its successor's.
const fn key(place: usize, generation: u32) -> u64 {
    (generation as u64) << 32 | place as u64
}

/// The place and the generation of a key.
const fn unkey(key: u64) -> (usize, u32) {
    ((key & 0xffff_ffff) as usize, (key >> 32) as u32)
}
