//! From a network interface to one part for each core: made on one thread, to be taken to others.

use std::io;

use crate::bell::{Bell, Waker};
use crate::bind::{BusyPollInForce, ModeInForce, OpenError, QueueConfig, Step};
use crate::either::Xsk;
use crate::given::GiveSocket;
use crate::interface::Interface;
use crate::mail::{HAND_OFFS, Inbox, Outbox, Room, mail};
use crate::plan::{Plan, QueueSize, SocketsPerQueue};
use crate::pool::{LaneStart, Pool};
use crate::port::{BATCH, Parts, Port, Socket, SocketInfo};
use crate::rings::Rings;
use crate::sync::Arc;
use crate::umem::Region;
use crate::xsk::{bind_patiently, max_len};

/// Cores that an interface can have.
const MAX_CORES: usize = 1024;

/// Opens `queues` of an interface for `cores` cores, each queue as `config` says (whose own `queue` is of no matter): a
/// UMEM and a fill and a completion ring for each queue, which core `position of the queue mod cores` owns, and the
/// sockets. Core `c` sends on the queue at position `c mod queues`.
///
/// A core that sends on a queue of another has a fixed share of its frames: what is left over from the fill ring (at most
/// half of the frames) and the reserve, divided by the cores that send there.
///
/// xsk-rs hands out the fill ring only after bind, so it is filled right after that, and before this function returns:
/// that is before a socket can be in an XSKMAP, and so before any packet can be meant for it. The kernel is then woken,
/// for drivers that looked into the empty ring while binding. No XDP program is loaded or attached. While another socket
/// holds a queue, as one that was just closed does for a moment, it is tried again for [`QueueConfig::busy_timeout`].
///
/// # Errors
///
/// Each [`OpenError`] says what to do about it. Nothing stays open then.
pub fn open(
    config: &QueueConfig,
    queues: &[u32],
    cores: usize,
    sockets: SocketsPerQueue,
) -> Result<Vec<PortSeed>, OpenError> {
    open_with(config, queues, cores, sockets, None)
}

/// As [`open`], with sockets that `give` makes, if it is there; see [`open_all_with`].
///
/// # Errors
///
/// Those of [`open`], and [`OpenError::NotGiven`].
pub fn open_with(
    config: &QueueConfig,
    queues: &[u32],
    cores: usize,
    sockets: SocketsPerQueue,
    give: Option<GiveSocket<'_>>,
) -> Result<Vec<PortSeed>, OpenError> {
    open_all_with(&[InterfaceQueues { config: config.clone(), queues: queues.to_vec(), sockets }], cores, give)
}

/// The queues of one interface, for [`open_all`].
#[derive(Clone, Debug)]
pub struct InterfaceQueues {
    /// What each queue has to be; its own `queue` is of no matter.
    pub config: QueueConfig,
    /// The queues.
    pub queues: Vec<u32>,
    /// How many sockets each has.
    pub sockets: SocketsPerQueue,
}

/// Opens queues of several interfaces, from one to 255, for `cores` cores, as [`open`] does those of one. Each core has one
/// pool over all of them, and sends on a queue of each. Frames are all of one size: a frame leaves by the interface in
/// whose queues' UMEM it lies ([`Frame::interface`](crate::Frame::interface)).
///
/// # Errors
///
/// Each [`OpenError`] says what to do about it. Nothing stays open then.
pub fn open_all(interfaces: &[InterfaceQueues], cores: usize) -> Result<Vec<PortSeed>, OpenError> {
    open_all_with(interfaces, cores, None)
}

/// As [`open_all`], with sockets that `give` makes, if it is there: this process then needs no privilege. They must be of
/// its network namespace. For each attempt at a queue that is busy there are new ones.
///
/// # Errors
///
/// Those of [`open`], and [`OpenError::NotGiven`].
pub fn open_all_with(
    interfaces: &[InterfaceQueues],
    cores: usize,
    mut give: Option<GiveSocket<'_>>,
) -> Result<Vec<PortSeed>, OpenError> {
    let plan = plan(interfaces, cores)?;
    let mut bound = Vec::with_capacity(plan.queues());
    let mut max_lens = Vec::with_capacity(interfaces.len());
    let mut last = None;
    for InterfaceQueues { config, queues, .. } in interfaces {
        let found = Interface::query(&config.interface)?;
        config.check_interface(&found)?;
        for queue in queues {
            let config = QueueConfig { queue: *queue, ..config.clone() };
            let position = bound.len();
            // The owner's comes first: a UMEM's first socket is the one that gets the fill and completion rings.
            let owner = plan.owner(position);
            let others = (0..cores).filter(|core| *core != owner && plan.has_socket(*core, position));
            let on: Vec<usize> = std::iter::once(owner).chain(others).collect();
            let give = give.as_deref_mut().map(|give| give as GiveSocket<'_>);
            bound.push(bind_patiently(&config, &found, &on, give)?);
        }
        max_lens.push(max_len(&found));
        last = Some((config, found));
    }
    let sends = interfaces.iter().map(|each| each.config.tx_ring as usize).max().unwrap_or(1);
    assemble(&Arc::new(plan), bound, sends, &max_lens).map_err(|error| match &last {
        Some((config, found)) => OpenError::translate(Step::Event, error, config, found),
        None => OpenError::Setting { field: "interfaces", value: 0, needed: "at least 1" },
    })
}

fn plan(interfaces: &[InterfaceQueues], cores: usize) -> Result<Plan, OpenError> {
    let setting = |field, value: usize, needed| OpenError::Setting {
        field,
        value: u32::try_from(value).unwrap_or(u32::MAX),
        needed,
    };
    if interfaces.is_empty() || interfaces.len() > usize::from(u8::MAX) {
        return Err(setting("interfaces", interfaces.len(), "from 1 to 255"));
    }
    let mut frames = 0usize;
    let mut planned = Vec::with_capacity(interfaces.len());
    for InterfaceQueues { config, queues, sockets } in interfaces {
        check(config, queues, cores)?;
        if config.frame_size != interfaces[0].config.frame_size {
            return Err(setting("frame_size", config.frame_size as usize, "the same for all interfaces"));
        }
        frames = frames.saturating_add((config.frame_count as usize).saturating_mul(queues.len()));
        let size = QueueSize { frames: config.frame_count, fill: config.fill_ring, reserve: config.receive_reserve };
        planned.push((vec![size; queues.len()], *sockets));
    }
    if planned.iter().map(|(queues, _)| queues.len()).sum::<usize>() >= usize::from(u16::MAX) {
        return Err(setting("queues", usize::from(u16::MAX), "from 1 to 65534"));
    }
    if frames > u32::MAX as usize {
        return Err(setting("frame_count", frames, "less than 2^32 for all queues together"));
    }
    let plan = Plan::of(&planned, cores);
    if plan.starved().is_some() {
        let needed = "more, since each core that sends on a queue needs some beside the fill ring and the reserve";
        return Err(setting("frame_count", interfaces[0].config.frame_count as usize, needed));
    }
    Ok(plan)
}

/// What one interface is asked for.
fn check(config: &QueueConfig, queues: &[u32], cores: usize) -> Result<(), OpenError> {
    config.check()?;
    let refuse = |field, value: usize, needed| {
        Err(OpenError::Setting { field, value: u32::try_from(value).unwrap_or(u32::MAX), needed })
    };
    if queues.is_empty() || queues.len() >= usize::from(u16::MAX) {
        return refuse("queues", queues.len(), "from 1 to 65534");
    }
    if !(1..=MAX_CORES).contains(&cores) {
        return refuse("cores", cores, "from 1 to 1024");
    }
    if let Some(twice) =
        queues.iter().enumerate().find_map(|(at, queue)| queues[..at].contains(queue).then_some(*queue))
    {
        return refuse("queue", twice as usize, "named once");
    }
    Ok(())
}

/// A socket, and what was read back of it.
pub(crate) struct BoundSocket<R> {
    pub(crate) core: usize,
    pub(crate) rings: R,
    pub(crate) mode: ModeInForce,
    pub(crate) busy_poll: BusyPollInForce,
}

/// One queue with its sockets, its owner's first.
pub(crate) struct BoundQueue<R> {
    pub(crate) queue: u32,
    pub(crate) region: Arc<Region>,
    pub(crate) sockets: Vec<BoundSocket<R>>,
}

/// One core's part of an interface, before it is on its core. It may be sent there; then [`PortSeed::into_port`].
pub struct PortSeed<R: Rings = Xsk> {
    core: usize,
    plan: Arc<Plan>,
    regions: Vec<Arc<Region>>,
    sockets: Vec<Socket<R>>,
    /// By interface, the queue that the core sends on, as the interface counts it.
    queues: Vec<u32>,
    /// By queue, how many frames are in the fill ring.
    filled: Vec<u32>,
    outboxes: Vec<Option<Outbox>>,
    inboxes: Vec<Inbox>,
    bell: Arc<Bell>,
    /// By interface.
    modes: Vec<ModeInForce>,
    /// By interface.
    max_lens: Vec<usize>,
}

/// Fills the fill rings, and divides what was bound. `sends` packets may wait for a core that sends them for another.
pub(crate) fn assemble<R: Rings>(
    plan: &Arc<Plan>,
    bound: Vec<BoundQueue<R>>,
    sends: usize,
    max_lens: &[usize],
) -> io::Result<Vec<PortSeed<R>>> {
    let interfaces = 0..plan.interfaces();
    let mut seeds = Vec::with_capacity(plan.cores());
    for core in 0..plan.cores() {
        let bell = Arc::new(Bell::new()?);
        seeds.push(PortSeed {
            core,
            plan: Arc::clone(plan),
            regions: bound.iter().map(|queue| Arc::clone(&queue.region)).collect(),
            sockets: Vec::new(),
            queues: interfaces.clone().map(|interface| bound[plan.transmit_queue(interface, core)].queue).collect(),
            filled: vec![0; plan.queues()],
            outboxes: Vec::new(),
            inboxes: Vec::new(),
            bell,
            modes: Vec::new(),
            max_lens: max_lens.to_vec(),
        });
    }
    connect(plan, &mut seeds, sends);
    // What a core without a socket sends through.
    let through: Vec<_> = bound.iter().map(|queue| queue.sockets[0].mode).collect();
    for (position, queue) in bound.into_iter().enumerate() {
        for socket in queue.sockets {
            let BoundSocket { core, rings, mode, busy_poll } = socket;
            let is_owner = plan.owner(position) == core;
            // `plan` saw that there are fewer than 2^16 queues.
            let lane = u16::try_from(position).unwrap_or(u16::MAX);
            let interface = u8::try_from(plan.interface(position)).unwrap_or(u8::MAX);
            let mut socket =
                Socket { rings, lane, interface, queue: queue.queue, is_owner, mode, busy_poll, is_pending: false };
            if is_owner {
                seeds[core].filled[position] = first_fill(plan, &mut socket);
            }
            seeds[core].sockets.push(socket);
        }
    }
    for seed in &mut seeds {
        let mode = |interface: usize| {
            let of_it = |socket: &&Socket<R>| usize::from(socket.interface) == interface;
            let mut modes = seed.sockets.iter().filter(of_it).map(|socket| socket.mode);
            match modes.next() {
                None => through[plan.transmit_queue(interface, seed.core)],
                Some(first) if first == ModeInForce::Copy || modes.any(|mode| mode == ModeInForce::Copy) => {
                    ModeInForce::Copy
                }
                Some(_) => ModeInForce::Zerocopy,
            }
        };
        seed.modes = interfaces.clone().map(mode).collect();
    }
    Ok(seeds)
}

/// Makes the queues between each two cores.
fn connect<R: Rings>(plan: &Plan, seeds: &mut [PortSeed<R>], sends: usize) {
    if plan.cores() == 1 {
        return;
    }
    for from in 0..seeds.len() {
        for to in 0..seeds.len() {
            if to == from {
                seeds[from].outboxes.push(None);
                continue;
            }
            let bell = Arc::clone(&seeds[to].bell);
            let room = Room {
                notices: plan.owned_frames(from) + plan.owned_frames(to),
                hand_offs: HAND_OFFS,
                sends: if plan.has_all_sockets() { 1 } else { sends },
                lazy: plan.lazy_returns(to),
            };
            // `plan` saw that there are fewer than 2^16 cores.
            let (outbox, inbox) = mail(u16::try_from(from).unwrap_or(u16::MAX), bell, room);
            seeds[from].outboxes.push(Some(outbox));
            seeds[to].inboxes.push(inbox);
        }
    }
}

/// Puts the first of the owner's frames into the fill ring, as many as fit; says how many.
fn first_fill<R: Rings>(plan: &Plan, socket: &mut Socket<R>) -> u32 {
    let position = usize::from(socket.lane);
    let (own, first) = (plan.own(plan.owner(position), position), plan.first(position));
    let mut filled = 0;
    let mut left: Vec<u32> = own.map(|index| index - first).rev().collect();
    loop {
        let room = socket.rings.fill_room(BATCH).min(BATCH).min(left.len());
        if room == 0 {
            break;
        }
        let batch: Vec<u32> = left.drain(left.len() - room..).rev().collect();
        socket.rings.fill(&batch);
        filled += u32::try_from(room).unwrap_or(0);
    }
    if socket.rings.fill_needs_wakeup() {
        // Nothing is lost if it fails: the flag stays set and the next refill or wait wakes the driver.
        let _ = socket.rings.wake_fill();
    }
    filled
}

impl<R: Rings> PortSeed<R> {
    /// The core that it is for, from 0.
    pub fn core(&self) -> usize {
        self.core
    }

    /// The core's sockets, for the XSKMAP, each with what was read back of it.
    pub fn sockets(&self) -> impl Iterator<Item = SocketInfo<'_>> {
        self.sockets.iter().map(Socket::info)
    }

    /// The queue that the core sends on on the first interface, as the interface counts it.
    pub fn queue(&self) -> u32 {
        self.queues.first().copied().unwrap_or(0)
    }

    /// The mode in force on the first interface, as [`Port::mode`] says it.
    pub fn mode(&self) -> ModeInForce {
        self.modes.first().copied().unwrap_or(ModeInForce::Copy)
    }

    /// What wakes this core from [`Port::wait`], from any thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.bell))
    }

    /// Settles on this thread's core. All memory that the port writes alone is allocated here, so that it is near, and
    /// no cache line of it is another core's too.
    pub fn into_port(self) -> Port<R> {
        let Self { core, plan, regions, sockets, queues, filled, outboxes, inboxes, bell, modes, max_lens } = self;
        let lanes = regions.into_iter().zip(filled).enumerate().map(|(lane, (region, filled))| LaneStart {
            region,
            first: plan.first(lane),
            own: plan.own(core, lane),
            owner: narrow(plan.owner(lane)),
            reserve: plan.reserve(core, lane),
            // `plan` saw that there are at most 255 interfaces.
            interface: u8::try_from(plan.interface(lane)).unwrap_or(u8::MAX),
            max_len: max_lens.get(plan.interface(lane)).copied().unwrap_or(0),
            filled,
        });
        let transmit: Vec<u16> =
            (0..plan.interfaces()).map(|interface| narrow(plan.transmit_queue(interface, core))).collect();
        let pool = Pool::new(lanes.collect(), narrow(core), &transmit, here(outboxes).into());
        Port::new(Parts {
            sockets: here(sockets),
            pool,
            lanes: plan.queues(),
            inboxes: here(inboxes).into(),
            bell,
            queues: here(queues),
            modes: here(modes),
        })
    }
}

/// A core or a queue; `plan` saw that it is less.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The same values in memory of this thread.
fn here<T>(values: Vec<T>) -> Vec<T> {
    let mut moved = Vec::with_capacity(values.len());
    moved.extend(values);
    moved
}

impl Port<Xsk> {
    /// Opens one queue for this core alone. See [`open`].
    ///
    /// # Errors
    ///
    /// Each [`OpenError`] says what to do about it.
    pub fn open(config: &QueueConfig) -> Result<Self, OpenError> {
        let seeds = open(config, &[config.queue], 1, SocketsPerQueue::One)?;
        // One core, one seed.
        let no_seed = || OpenError::Setting { field: "cores", value: 0, needed: "at least 1" };
        seeds.into_iter().next().map(PortSeed::into_port).ok_or_else(no_seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_may_be_taken_to_its_core() {
        fn sendable<T: Send>() {}
        sendable::<PortSeed<Xsk>>();
    }

    #[test]
    fn impossible_divisions_are_named() {
        let config = QueueConfig { frame_count: 64, receive_reserve: 30, ..QueueConfig::new("no-such-if0", 0) };
        let refused = |queues: &[u32], cores| {
            open(&config, queues, cores, SocketsPerQueue::All).err().map(|error| error.to_string()).unwrap()
        };
        assert!(refused(&[], 1).starts_with("queues = 0"));
        assert!(refused(&[4], 0).starts_with("cores = 0"));
        assert!(refused(&[4], 5000).starts_with("cores = 5000"));
        assert!(refused(&[4, 5, 4], 2).starts_with("queue = 4 is not possible; it has to be named once"));
        assert!(refused(&[4], 3).starts_with("frame_count = 64"));
        // Miri cannot ask for an interface.
        if !cfg!(miri) {
            assert!(refused(&[4], 2).contains("no interface no-such-if0"));
        }
    }
}
