//! The kernel's TCP: one thread a core, one epoll a thread, level-triggered, non-blocking sockets with `TCP_NODELAY`.

mod load;
mod serve;
mod stream;

pub use load::run_load;
pub use serve::{ServeOptions, run_serve};

use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// An epoll with the events of its last wait.
struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// How many events one wait brings.
const EVENT_BATCH: usize = 256;

impl Poller {
    fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENT_BATCH) })
    }

    fn add(&self, source: impl AsFd, key: u64, flags: epoll::EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, source, epoll::EventData::new_u64(key), flags)
    }

    fn modify(&self, source: impl AsFd, key: u64, flags: epoll::EventFlags) -> rustix::io::Result<()> {
        epoll::modify(&self.epoll, source, epoll::EventData::new_u64(key), flags)
    }

    /// Waits for at most `timeout_ns`; a signal ends the wait early.
    fn wait(&mut self, timeout_ns: u64) -> rustix::io::Result<()> {
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(timeout_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (timeout_ns % 1_000_000_000) as _,
        };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
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
