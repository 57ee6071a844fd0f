//! A mirror of what the kernel knows about one interface: link, addresses, routes, neighbours.
//!
//! [`Mirror::open`] takes a picture, [`Mirror::poll`] waits for changes and tells them. A change is what lies between the
//! last picture that was told and the present one, so that however fast something changes back and forth, what is told
//! stays bounded and ends with the truth. Neighbours follow the kernel's notices; everything else is read anew when a
//! notice says that it has changed, because not every change has one (IPv4 routes vanish silently with their link, and a
//! route that replaces another does not name it). When notices are lost all of it is read anew.
//!
//! It holds one interface of one network namespace, the one that the thread was in which opened it. What it knows of
//! routes is the main table: policy routing is not looked at.

mod asking;
mod change;
mod view;

pub use super::kernel::{KernelAddress, Link, Vlan};
pub use change::Change;

use super::kernel::{Kernel, NeighbourNews, Notice, Notices};
use super::netlink::Heard;
use crate::clock::Clock;
use crate::helper::Helper;
use asking::Asking;
use corelane_proto::endpoint::{Cidr, Route};
use corelane_proto::{Addr, Instant, Mac};
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use view::{Neighbour, View, routes_for};

/// Bytes of notices that the kernel holds for us.
const BUFFER: usize = 1 << 20;
/// Datagrams that are heard before something is told.
const BATCH: usize = 256;
/// Requests of workers that wait.
const ASKS: usize = 4096;
/// The least time between two readings of the kernel's tables, and how much longer than the last reading took the next one
/// waits: a table that is large and changes all the time must not cost more than a part of a core.
const READING_INTERVAL: Duration = Duration::from_millis(5);
const READING_SHARE: u32 = 10;

/// Why there is no mirror.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No such interface.
    #[error("there is no interface {interface} in this network namespace; `ip link` lists those there are")]
    Missing {
        /// Its name.
        interface: String,
    },
    /// An interface without Ethernet addresses.
    #[error("interface {interface} is not Ethernet; only Ethernet is supported")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// The kernel refuses.
    #[error("the kernel's addresses and routes cannot be read over netlink: {0}")]
    Netlink(#[from] io::Error),
}

/// What of the tables has to be read anew.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Dirty {
    link: bool,
    addresses: bool,
    routes: bool,
    neighbours: bool,
}

impl Dirty {
    const ALL: Self = Self { link: true, addresses: true, routes: true, neighbours: true };
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MirrorCounters {
    /// Times that notices were lost and everything was read anew.
    pub overflows: u64,
    /// Readings of the kernel's tables.
    pub readings: u64,
    /// Changes that were told.
    pub changes: u64,
    /// Neighbours that the kernel was asked for.
    pub asked: u64,
    /// Requests for neighbours that were not passed on, because they come too often or there are too many.
    pub asks_limited: u64,
    /// Neighbours that found no room.
    pub neighbours_left_out: u64,
}

/// The mirror of one interface. One thread has it.
#[derive(Debug)]
pub struct Mirror {
    kernel: Kernel,
    notices: Notices,
    asker: Asker,
    clock: Clock,
    now: View,
    told: View,
    vlans: Vec<Link>,
    dirty: Dirty,
    /// Not to be read before.
    readable_at: Instant,
    asking: Asking,
    /// Who asks the kernel for neighbours, if this process may not.
    helper: Option<Arc<Helper>>,
    counters: MirrorCounters,
}

/// Asks a [`Mirror`] for neighbours, from any thread.
#[derive(Clone, Debug)]
pub struct Asker {
    asks: Arc<ArrayQueue<Addr>>,
    bell: Arc<OwnedFd>,
}

impl Asker {
    fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { asks: Arc::new(ArrayQueue::new(ASKS)), bell: Arc::new(bell) })
    }

    /// `addr` is wanted, or in use: what [`Endpoint::poll_unresolved`](corelane_proto::Endpoint::poll_unresolved) gives.
    /// The answer comes as a [`Change`]. False when too many wait; the endpoint asks again later. It costs a system call.
    pub fn ask(&self, addr: Addr) -> bool {
        let fits = self.asks.push(addr).is_ok();
        self.wake();
        fits
    }

    /// Ends the present or the next wait of [`Mirror::poll`].
    pub fn wake(&self) {
        // When the counter is full the mirror has been woken often enough.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

impl Mirror {
    /// Takes a picture of the interface of this name, and listens from now on.
    ///
    /// # Errors
    /// There is none, or the kernel cannot be asked.
    pub fn open(interface: &str) -> Result<Self, MirrorError> {
        Self::open_with(interface, BUFFER)
    }

    /// The same with another size of the kernel's buffer for notices, bytes: how much may happen between two calls of
    /// [`poll`](Self::poll) before everything is read anew.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(interface: &str, buffer: usize) -> Result<Self, MirrorError> {
        // Notices first, so that nothing falls between them and the picture.
        let notices = Notices::open(buffer)?;
        let mut kernel = Kernel::open()?;
        let missing = || MirrorError::Missing { interface: interface.to_owned() };
        let link = kernel.links()?.into_iter().find(|link| link.name == interface).ok_or_else(missing)?;
        if link.mac.is_none() {
            return Err(MirrorError::NotEthernet { interface: interface.to_owned() });
        }
        let clock = Clock::new();
        let mut mirror = Self {
            kernel,
            notices,
            asker: Asker::new()?,
            now: View::new(link.clone()),
            told: View::new(link),
            vlans: Vec::new(),
            dirty: Dirty::ALL,
            readable_at: clock.now(),
            clock,
            asking: Asking::new(ASKS),
            helper: None,
            counters: MirrorCounters::default(),
        };
        mirror.read()?;
        // The picture's neighbours are told as changes: there may be many, and an endpoint has no place for them at start.
        mirror.told = View { neighbours: mirror.told.neighbours.clone(), ..mirror.now.clone() };
        Ok(mirror)
    }

    /// Has a helper ask for neighbours.
    pub(crate) fn ask_through(&mut self, helper: Arc<Helper>) {
        self.helper = Some(helper);
    }

    /// Has the kernel look for a neighbour of this interface.
    ///
    /// # Errors
    /// It does not: there is no route, or no privilege.
    pub(crate) fn use_neighbour(&mut self, addr: Addr) -> io::Result<()> {
        match &self.helper {
            Some(helper) => helper.neighbour(addr),
            None => self.kernel.use_neighbour(self.now.link.index, addr),
        }
    }

    /// The interface.
    pub const fn link(&self) -> &Link {
        &self.now.link
    }

    /// Its addresses of both families that connections can have.
    pub fn addresses(&self) -> &[Cidr] {
        &self.now.addresses
    }

    /// The routes as it sees them, the longest prefixes first. What goes by other interfaces is
    /// [elsewhere](corelane_proto::endpoint::Hop::Elsewhere).
    pub fn routes(&self) -> &Arc<[Route]> {
        &self.now.routes
    }

    /// Virtual LANs on this interface that are interfaces of their own.
    pub fn vlans(&self) -> &[Link] {
        &self.vlans
    }

    /// Where a neighbour is, if the kernel knows.
    pub fn neighbour(&self, addr: Addr) -> Option<Mac> {
        match self.now.neighbours.get(&addr) {
            Some(Neighbour::At(mac)) => Some(*mac),
            Some(Neighbour::Failed) | None => None,
        }
    }

    /// What was counted since the start.
    pub const fn counters(&self) -> MirrorCounters {
        self.counters
    }

    /// For other threads.
    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Everything that was told, as changes from nothing: for an endpoint that begins while the mirror runs.
    pub fn all(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let nothing = Link { mac: None, mtu: 0, up: !self.told.link.up, ..self.told.link.clone() };
        View::new(nothing).changes_to(&self.told, &mut changes);
        changes
    }

    /// Waits until something has changed, somebody asks or [wakes](Asker::wake) it, or `timeout` is over, and adds what has
    /// changed to `changes`. It may come back early with nothing.
    ///
    /// # Errors
    /// The kernel refuses. The next call tries again what was to be read.
    pub fn poll(&mut self, timeout: Duration, changes: &mut Vec<Change>) -> io::Result<()> {
        let before = changes.len();
        self.wait(timeout)?;
        self.hear()?;
        self.take_asks(changes);
        if self.dirty != Dirty::default() && self.clock.now() >= self.readable_at {
            self.read()?;
        }
        self.told.changes_to(&self.now, changes);
        if changes.len() > before {
            self.told.clone_from(&self.now);
        }
        self.counters.changes += (changes.len() - before) as u64;
        Ok(())
    }

    /// How long [`poll`](Self::poll) may wait at most, where the caller would wait for `timeout`: something may be due.
    pub fn longest_wait(&self, timeout: Duration) -> Duration {
        if self.dirty == Dirty::default() {
            return timeout;
        }
        timeout.min(self.readable_at.saturating_since(self.clock.now()))
    }

    /// What becomes readable when [`poll`](Self::poll) has something to do, for those who wait for other things too.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [self.notices.as_fd(), self.asker.bell.as_fd()].into_iter()
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let limit = self.longest_wait(timeout);
        let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        let mut sources = [PollFd::new(&self.notices, PollFlags::IN), PollFd::new(&self.asker.bell, PollFlags::IN)];
        match poll(&mut sources, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.notices.hear()? {
                Heard::Nothing => return Ok(()),
                Heard::Overflow => {
                    self.counters.overflows += 1;
                    self.dirty = Dirty::ALL;
                }
                Heard::Messages(notices) => notices.into_iter().for_each(|notice| self.on_notice(notice)),
            }
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            // With its link an interface loses routes and neighbours, and not all of it is told.
            Notice::Link => self.dirty = Dirty::ALL,
            Notice::Address => (self.dirty.addresses, self.dirty.routes) = (true, true),
            Notice::Route => self.dirty.routes = true,
            Notice::Neighbour { interface, addr, news } if interface == self.now.link.index => {
                self.on_neighbour(addr, news);
            }
            Notice::Neighbour { .. } => {}
        }
    }

    fn on_neighbour(&mut self, addr: Addr, news: NeighbourNews) {
        if !self.now.on_neighbour(addr, news) {
            self.counters.neighbours_left_out += 1;
        }
    }

    /// Passes on what workers want, and answers what is known.
    fn take_asks(&mut self, changes: &mut Vec<Change>) {
        self.asker.silence();
        for _ in 0..ASKS {
            let Some(addr) = self.asker.asks.pop() else { break };
            // Whoever asks has not heard, or has forgotten.
            if let Some(mac) = self.neighbour(addr) {
                changes.push(Change::NeighbourResolved { addr, mac });
            }
            if self.told.neighbours.get(&addr) == Some(&Neighbour::Failed) {
                self.told.neighbours.remove(&addr);
            }
            if !self.asking.allow(self.clock.now(), addr) {
                self.counters.asks_limited += 1;
                continue;
            }
            self.counters.asked += 1;
            if self.now.neighbours.get(&addr) == Some(&Neighbour::Failed) {
                // It is tried anew; what it comes to is told then.
                self.now.neighbours.remove(&addr);
            }
            if let Err(error) = self.use_neighbour(addr) {
                tracing::debug!(%addr, %error, "the kernel does not look for a neighbour");
                changes.push(Change::NeighbourFailed(addr));
            }
        }
    }

    /// Reads what is not known to be true any more.
    fn read(&mut self) -> io::Result<()> {
        let began = self.clock.now();
        self.counters.readings += 1;
        let index = self.now.link.index;
        if self.dirty.link {
            let links = self.kernel.links()?;
            let ours = links.iter().find(|link| link.index == index);
            self.now.exists = ours.is_some();
            if let Some(link) = ours {
                self.now.link.clone_from(link);
            }
            let on_ours = |link: &Link| link.vlan.is_some_and(|vlan| vlan.parent == index);
            self.vlans = links.into_iter().filter(on_ours).collect();
            self.dirty.link = false;
        }
        if self.dirty.addresses {
            let all = self.kernel.addresses()?.into_iter().filter(|address| address.interface == index);
            self.now.addresses = all.map(|address| address.cidr).collect();
            self.dirty.addresses = false;
        }
        if self.dirty.routes {
            self.now.routes = routes_for(index, &self.kernel.routes()?);
            self.dirty.routes = false;
        }
        if self.dirty.neighbours {
            let all = self.kernel.neighbours(index)?;
            self.now.neighbours.clear();
            for (addr, news) in all {
                self.on_neighbour(addr, news);
            }
            self.dirty.neighbours = false;
        }
        let ended = self.clock.now();
        let took = ended.saturating_since(began);
        self.readable_at = ended + READING_INTERVAL.max(took * READING_SHARE);
        Ok(())
    }
}

/// Every address of the kernel's, on every interface.
///
/// # Errors
/// The kernel cannot be asked.
pub fn kernel_addresses() -> io::Result<Vec<KernelAddress>> {
    Kernel::open()?.addresses()
}

/// Every interface.
///
/// # Errors
/// The kernel cannot be asked.
pub fn kernel_links() -> io::Result<Vec<Link>> {
    Kernel::open()?.links()
}
