//! One core's part of an interface: its sockets on all queues, its frames, and what happened to them.

mod leave;
mod mail;
mod receive;
mod transmit;
mod wait;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use crate::bell::Bell;
use crate::bind::{BusyPollInForce, ModeInForce};
use crate::either::Xsk;
use crate::frame::Frame;
use crate::mail::Inbox;
use crate::pool::{Lane, Pool, Shared, State};
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::statistics::{Counters, InterfaceStatistics, Statistics, Traffic};
use crate::sync::Arc;

/// How many descriptors move between a ring and the program at once.
pub(crate) const BATCH: usize = 64;

/// One of a core's sockets.
pub(crate) struct Socket<R> {
    pub(crate) rings: R,
    /// The queue, counted from 0.
    pub(crate) lane: u16,
    /// The interface, from 0.
    pub(crate) interface: u8,
    /// The queue as the interface counts it.
    pub(crate) queue: u32,
    /// Whether this core has the queue's fill and completion rings.
    pub(crate) is_owner: bool,
    pub(crate) mode: ModeInForce,
    pub(crate) busy_poll: BusyPollInForce,
    /// Whether the TX ring may have packets that the kernel has not taken.
    pub(crate) is_pending: bool,
}

/// A socket as it may be put into an XSKMAP.
#[derive(Clone, Copy, Debug)]
pub struct SocketInfo<'a> {
    /// The interface by its place among those that were opened, from 0.
    pub interface: usize,
    /// The queue, as the interface counts it.
    pub queue: u32,
    /// The queue by its place among those that were opened, from 0.
    pub position: usize,
    /// The socket; none for the fake ones of tests.
    pub fd: Option<BorrowedFd<'a>>,
    /// The mode in force, read back from the kernel after binding.
    pub mode: ModeInForce,
    /// Whether the kernel polls the driver for it, as it answered to the options.
    pub busy_poll: BusyPollInForce,
}

impl<R: Rings> Socket<R> {
    fn statistics(&self) -> io::Result<KernelStatistics> {
        let mut counted = self.rings.statistics()?;
        if !self.is_owner {
            // The fill ring is the queue's: each of its sockets tells the same number.
            counted.rx_fill_ring_empty_descs = 0;
        }
        Ok(counted)
    }

    pub(crate) fn info(&self) -> SocketInfo<'_> {
        // SAFETY: the socket is open for as long as the rings live, and they are borrowed with `self`.
        let borrow = |fd: RawFd| unsafe { BorrowedFd::borrow_raw(fd) };
        let Self { queue, lane, interface, mode, busy_poll, .. } = *self;
        let interface = usize::from(interface);
        SocketInfo { interface, queue, position: usize::from(lane), fd: self.rings.fd().map(borrow), mode, busy_poll }
    }
}

/// How packets in the frames of a lane leave.
#[derive(Clone, Copy)]
enum Route {
    /// Through this core's socket there.
    Socket(usize),
    /// Through the core that has one.
    Through(u16),
    /// They do not: the sockets are closed.
    Left,
}

/// What a core does for others, as owner of completion rings.
struct Lent {
    /// By frame, who posted it where this core gets the completion; empty where there is but one core.
    posters: Box<[u16]>,
    /// How many frames of others have not completed.
    outstanding: usize,
}

/// No core.
const NOBODY: u16 = u16::MAX;

/// One core's part of an interface: a socket on each queue (or only on those that it owns), the fill and completion rings
/// of the queues that it owns, and all frames that it can meet in one [`Pool`].
///
/// One turn is: [`Port::rx_burst`], [`Port::tx_burst`], [`Port::kick`], [`Port::reclaim`], [`Port::refill`]; all five even
/// when there is nothing to send, since other cores may want something of this one. Received frames lie in the UMEM of
/// whichever queue they came by, and go back to the owner of its fill ring when they are dropped, on this core or
/// another; frames from [`Pool::alloc`] lie in the UMEM of the queue that this core sends on. A packet leaves through the
/// queue whose UMEM it lies in.
///
/// It stays on its core. Dropping it closes the sockets; detach the XDP program before that. Frames may outlive it.
pub struct Port<R: Rings = Xsk> {
    pub(crate) sockets: Vec<Socket<R>>,
    /// The socket that is read first next time.
    first: usize,
    routes: Box<[Route]>,
    inboxes: Box<[Inbox]>,
    lent: Lent,
    /// None where there is but one core.
    bell: Arc<Bell>,
    /// What `wait` sleeps on.
    poll: Vec<libc::pollfd>,
    pool: Pool,
    /// By interface, the queue that this core sends on, as the interface counts it.
    queues: Vec<u32>,
    /// By interface.
    modes: Vec<ModeInForce>,
    /// By interface.
    traffic: Box<[Traffic]>,
    counters: Counters,
    /// Frames that come back by the next [`Port::reclaim`]: refused ones, and completed ones that others told us of.
    back: Vec<Frame>,
    rx_scratch: [RxDescriptor; BATCH],
    tx_scratch: Vec<TxDescriptor>,
    fill_scratch: Vec<u32>,
    address_scratch: [u64; BATCH],
    /// The descriptors that the UMEMs keep of sockets that were closed.
    left: Vec<RawFd>,
}

/// What a port is made of, on its core.
pub(crate) struct Parts<R> {
    pub(crate) sockets: Vec<Socket<R>>,
    pub(crate) pool: Pool,
    pub(crate) lanes: usize,
    pub(crate) inboxes: Box<[Inbox]>,
    pub(crate) bell: Arc<Bell>,
    pub(crate) queues: Vec<u32>,
    pub(crate) modes: Vec<ModeInForce>,
}

impl<R: Rings> Port<R> {
    pub(crate) fn new(parts: Parts<R>) -> Self {
        let Parts { sockets, pool, lanes, inboxes, bell, queues, modes } = parts;
        let route = |lane: usize| {
            let here = sockets.iter().position(|socket| usize::from(socket.lane) == lane);
            // There are fewer than 2^16 lanes.
            here.map_or_else(|| Route::Through(pool.shared().owner(u16::try_from(lane).unwrap_or(0))), Route::Socket)
        };
        let routes = (0..lanes).map(route).collect();
        let posters = if inboxes.is_empty() { Box::default() } else { vec![NOBODY; pool.total()].into() };
        let fds = sockets.iter().filter_map(|socket| socket.rings.fd()).chain(std::iter::once(bell.fd()));
        let poll = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        Self {
            sockets,
            first: 0,
            routes,
            inboxes,
            lent: Lent { posters, outstanding: 0 },
            bell,
            poll,
            pool,
            traffic: vec![Traffic::default(); queues.len()].into(),
            queues,
            modes,
            counters: Counters::default(),
            back: Vec::with_capacity(BATCH),
            rx_scratch: [RxDescriptor::default(); BATCH],
            tx_scratch: Vec::with_capacity(BATCH),
            fill_scratch: Vec::with_capacity(BATCH),
            address_scratch: [0; BATCH],
            left: Vec::new(),
        }
    }

    /// Tops up the fill rings of this core's queues from the pool's free frames, the reserve included, and tells the
    /// kernel when it asked for that; says how many frames went in. Frames that other cores have given back are taken
    /// first, and those that this core has to give back become visible to their owners.
    pub fn refill(&mut self) -> usize {
        self.take_notices();
        self.flush();
        let mut filled = 0;
        for socket in self.sockets.iter_mut().filter(|socket| socket.is_owner) {
            let before = filled;
            loop {
                let room = socket.rings.fill_room(BATCH).min(BATCH);
                self.fill_scratch.clear();
                self.pool.shared().take_for_fill(socket.lane, room, &mut self.fill_scratch);
                if self.fill_scratch.is_empty() {
                    break;
                }
                socket.rings.fill(&self.fill_scratch);
                filled += self.fill_scratch.len();
            }
            if filled > before && socket.rings.fill_needs_wakeup() {
                self.counters.fill_kicks += 1;
                if let Err(error) = socket.rings.wake_fill() {
                    // Nothing is lost: the flag stays set and the next refill or wait wakes the driver.
                    self.counters.note(&error);
                }
            }
        }
        self.pool.shared().debug_check();
        filled
    }

    /// What was counted by this port and, for its sockets, by the kernel.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` says to `XDP_STATISTICS`.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let mut kernel = KernelStatistics::default();
        for socket in &self.sockets {
            kernel += socket.statistics()?;
        }
        Ok(Statistics { port: self.counters, kernel })
    }

    /// What was counted by this port, without asking the kernel.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What of [`Port::statistics`] is of one interface, by its place among those that were opened.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn statistics_of(&self, interface: usize) -> io::Result<InterfaceStatistics> {
        let mut kernel = KernelStatistics::default();
        for socket in self.sockets.iter().filter(|socket| usize::from(socket.interface) == interface) {
            kernel += socket.statistics()?;
        }
        Ok(InterfaceStatistics { traffic: self.traffic.get(interface).copied().unwrap_or_default(), kernel })
    }

    /// The mode in force on the first interface: copying, if any of this core's sockets there copies. Without a socket it
    /// is that of the one that the core sends through.
    pub fn mode(&self) -> ModeInForce {
        self.mode_of(0)
    }

    /// The same of an interface, by its place among those that were opened.
    pub fn mode_of(&self, interface: usize) -> ModeInForce {
        self.modes.get(interface).copied().unwrap_or(ModeInForce::Copy)
    }

    /// The sockets of this core, each with what was read back of it.
    pub fn sockets(&self) -> impl Iterator<Item = SocketInfo<'_>> {
        self.sockets.iter().map(Socket::info)
    }

    /// This core's number, from 0.
    pub fn core(&self) -> usize {
        usize::from(self.pool.shared().core())
    }

    /// The queue that this core sends on on the first interface, as the interface counts it.
    pub fn queue(&self) -> u32 {
        self.queue_of(0)
    }

    /// The same on an interface, by its place among those that were opened.
    pub fn queue_of(&self, interface: usize) -> u32 {
        self.queues.get(interface).copied().unwrap_or(0)
    }

    /// The longest packet that can be sent on the first interface, in bytes.
    pub fn max_len(&self) -> usize {
        let shared = self.pool.shared();
        shared.lane(shared.transmit_lane()).max_len()
    }

    /// The pool whose frames this port receives into and sends.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl Port<Xsk> {
    /// The core's first socket; where it has none, what other cores wake it by.
    pub fn fd(&self) -> BorrowedFd<'_> {
        let socket = self.sockets.first().map(|socket| socket.rings.raw_fd());
        let fd = socket.unwrap_or_else(|| self.bell.fd());
        // SAFETY: sockets and bell are open for as long as the port lives, and it is borrowed.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl<R: Rings> Drop for Port<R> {
    fn drop(&mut self) {
        // Others learn of their completions as far as there are any. What was handed to this core and never looked at
        // goes home, as does what is dropped after this.
        let mut left = Vec::new();
        self.reclaim(&mut left);
        while self.take_hand_offs(&mut left, BATCH) > 0 {
            left.clear();
        }
        self.pool.shared().close();
    }
}
