//! Which core has which part of each queue's frames, rings and sockets. Numbers only.

use std::ops::Range;

/// How many sockets a queue has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SocketsPerQueue {
    /// One, of the queue's owner. For drivers that take no more; frames for other cores are handed off.
    One,
    /// One for each core, so that the XDP program gives each frame to the core that it is for.
    #[default]
    All,
}

/// What a plan is told of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueSize {
    pub(crate) frames: u32,
    /// Entries of the fill ring.
    pub(crate) fill: u32,
    /// Free frames that only receiving may use.
    pub(crate) reserve: u32,
}

/// One queue's frames in the index space of all.
#[derive(Clone, Copy, Debug)]
struct Planned {
    first: u32,
    size: QueueSize,
    /// The interface that it is of.
    interface: usize,
    /// Frames from which each core sends that uses the queue without owning it.
    share: u32,
}

/// The queues of one interface, which follow one another.
#[derive(Clone, Copy, Debug)]
struct Group {
    first: usize,
    queues: usize,
    sockets: SocketsPerQueue,
}

/// Who has what. Queues are counted from 0 here, whatever the interfaces call them; those of the second follow those of
/// the first.
///
/// Queue `q` is owned by core `q mod N`: that core has its fill and completion rings. Core `c` sends on queue
/// `c mod Q` of each interface, counted from the owner of its first queue. The frames of a queue are its owner's, except for a share for each other core that sends on it: what is
/// left over from the fill ring (at most half of the frames) and the reserve, in equal parts, of which the owner has
/// one too.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    cores: usize,
    interfaces: Vec<Group>,
    queues: Vec<Planned>,
}

impl Plan {
    /// A plan for one interface.
    #[cfg(test)]
    pub(crate) fn new(sizes: &[QueueSize], cores: usize, sockets: SocketsPerQueue) -> Self {
        Self::of(&[(sizes.to_vec(), sockets)], cores)
    }

    /// A plan for the queues of each interface, at least one of each, and for at least one core. There are less than 2^32
    /// frames in all.
    pub(crate) fn of(interfaces: &[(Vec<QueueSize>, SocketsPerQueue)], cores: usize) -> Self {
        let mut plan = Self { cores, interfaces: Vec::with_capacity(interfaces.len()), queues: Vec::new() };
        let mut first = 0;
        for (interface, (sizes, sockets)) in interfaces.iter().enumerate() {
            let group = Group { first: plan.queues.len(), queues: sizes.len(), sockets: *sockets };
            for (queue, size) in sizes.iter().enumerate() {
                let senders = u32::try_from((queue..cores).step_by(sizes.len()).count()).unwrap_or(u32::MAX);
                let spare = size.frames.saturating_sub(size.reserve).saturating_sub(size.fill.min(size.frames / 2));
                let share = if senders > 1 { spare / senders } else { 0 };
                plan.queues.push(Planned { first, size: *size, interface, share });
                first += size.frames;
            }
            plan.interfaces.push(group);
        }
        plan
    }

    pub(crate) fn cores(&self) -> usize {
        self.cores
    }

    pub(crate) fn queues(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn interfaces(&self) -> usize {
        self.interfaces.len()
    }

    /// The interface of `queue`.
    pub(crate) fn interface(&self, queue: usize) -> usize {
        self.queues[queue].interface
    }

    /// Whether every core has a socket on every queue.
    pub(crate) fn has_all_sockets(&self) -> bool {
        self.interfaces.iter().all(|group| group.sockets == SocketsPerQueue::All)
    }

    fn group(&self, queue: usize) -> Group {
        self.interfaces[self.queues[queue].interface]
    }

    /// How far behind the owner of the first queue of an interface `core` comes.
    fn turn(&self, group: Group, core: usize) -> usize {
        (core + self.cores - group.first % self.cores) % self.cores
    }

    /// All frames of all queues.
    #[cfg(test)]
    pub(crate) fn frames(&self) -> u32 {
        self.queues.iter().map(|queue| queue.size.frames).sum()
    }

    /// The first frame of `queue`.
    pub(crate) fn first(&self, queue: usize) -> u32 {
        self.queues[queue].first
    }

    /// The core that has the fill and completion rings of `queue`.
    pub(crate) fn owner(&self, queue: usize) -> usize {
        queue % self.cores
    }

    /// The queue whose frames `core` sends on an interface.
    pub(crate) fn transmit_queue(&self, interface: usize, core: usize) -> usize {
        let group = self.interfaces[interface];
        group.first + self.turn(group, core) % group.queues
    }

    /// Whether `core` has a socket on `queue`.
    pub(crate) fn has_socket(&self, core: usize, queue: usize) -> bool {
        self.group(queue).sockets == SocketsPerQueue::All || self.owner(queue) == core
    }

    /// The frames of `queue` that are `core`'s when nobody holds any.
    pub(crate) fn own(&self, core: usize, queue: usize) -> Range<u32> {
        let Planned { first, size, share, interface } = self.queues[queue];
        let others = self.sharers(queue);
        let end = first + size.frames;
        let shared = end - share * others;
        if self.owner(queue) == core {
            return first..shared;
        }
        if self.transmit_queue(interface, core) != queue || others == 0 {
            return end..end;
        }
        let group = self.interfaces[interface];
        // The owner is the first of those that send on the queue.
        let place = u32::try_from(self.turn(group, core) / group.queues).unwrap_or(u32::MAX) - 1;
        shared + place * share..shared + (place + 1) * share
    }

    /// How many cores send on `queue` without owning it.
    fn sharers(&self, queue: usize) -> u32 {
        let group = self.group(queue);
        let senders = (queue - group.first..self.cores).step_by(group.queues).count();
        u32::try_from(senders.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// The free frames of `queue` that `core` keeps for receiving.
    pub(crate) fn reserve(&self, core: usize, queue: usize) -> u32 {
        if self.owner(queue) == core { self.queues[queue].size.reserve } else { 0 }
    }

    /// A core that would have no frame to send, if there is one.
    pub(crate) fn starved(&self) -> Option<usize> {
        let sends = |core, interface| !self.own(core, self.transmit_queue(interface, core)).is_empty();
        (0..self.cores).find(|core| !(0..self.interfaces()).all(|interface| sends(*core, interface)))
    }

    /// How many frames each other core may have returned to a sleeping owner before it is woken: an eighth of what the
    /// fill ring can have, from all of them together.
    pub(crate) fn lazy_returns(&self, owner: usize) -> usize {
        let fills = self.owned(owner).map(|queue| queue.size.fill.min(queue.size.frames) as usize / 8);
        (fills.min().unwrap_or(0) / (self.cores - 1).max(1)).max(1)
    }

    /// The frames of the queues that `core` owns.
    pub(crate) fn owned_frames(&self, core: usize) -> usize {
        self.owned(core).map(|queue| queue.size.frames as usize).sum()
    }

    fn owned(&self, core: usize) -> impl Iterator<Item = &Planned> {
        self.queues.iter().skip(core).step_by(self.cores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: QueueSize = QueueSize { frames: 1000, fill: 400, reserve: 100 };

    #[test]
    fn every_frame_is_one_cores_whatever_the_numbers() {
        // Miri takes its time.
        let most = if cfg!(miri) { (2, 3) } else { (5, 9) };
        for (queues, cores) in (1..=most.0).flat_map(|queues| (1..=most.1).map(move |cores| (queues, cores))) {
            let plan = Plan::new(&vec![SIZE; queues], cores, SocketsPerQueue::All);
            let mut owners = vec![0; plan.frames() as usize];
            for (core, queue) in (0..cores).flat_map(|core| (0..queues).map(move |queue| (core, queue))) {
                plan.own(core, queue).for_each(|index| owners[index as usize] += 1);
            }
            assert!(owners.iter().all(|owners| *owners == 1), "{queues} queues, {cores} cores");
            assert_eq!(plan.starved(), None);
            for core in 0..cores {
                let queue = plan.transmit_queue(0, core);
                assert!(plan.has_socket(core, queue));
                // 500 frames are left over in a queue, for those that send on it.
                let part = 500 / cores.div_ceil(queues);
                assert!(plan.own(core, queue).len() >= part, "{queues} queues, {cores} cores, core {core}");
            }
        }
    }

    #[test]
    fn the_owner_of_a_queue_is_the_first_that_sends_on_it() {
        let plan = Plan::new(&[SIZE; 2], 5, SocketsPerQueue::One);
        assert_eq!((0..5).map(|core| plan.transmit_queue(0, core)).collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        assert_eq!((plan.owner(0), plan.owner(1)), (0, 1));
        // 500 frames are left over in each queue, for three cores and for two.
        assert_eq!((plan.own(0, 0), plan.own(2, 0), plan.own(4, 0)), (0..668, 668..834, 834..1000));
        assert_eq!((plan.own(1, 1), plan.own(3, 1)), (1000..1750, 1750..2000));
        assert!(plan.own(0, 1).is_empty());
        assert!(plan.has_socket(0, 0) && !plan.has_socket(2, 0));
    }

    #[test]
    fn a_core_with_several_queues_owns_all_their_frames() {
        let plan = Plan::new(&[SIZE; 3], 2, SocketsPerQueue::All);
        assert_eq!((plan.own(0, 0), plan.own(1, 1), plan.own(0, 2)), (0..1000, 1000..2000, 2000..3000));
        assert_eq!((plan.owned_frames(0), plan.owned_frames(1), plan.lazy_returns(0)), (2000, 1000, 50));
        assert_eq!((plan.reserve(0, 2), plan.reserve(1, 2)), (100, 0));
        assert_eq!(Plan::new(&[SIZE], 6, SocketsPerQueue::All).lazy_returns(0), 10);
    }

    #[test]
    fn each_core_sends_on_each_interface() {
        let most = if cfg!(miri) { (2, 3) } else { (3, 7) };
        let all = |a, b| [(vec![SIZE; a], SocketsPerQueue::All), (vec![SIZE; b], SocketsPerQueue::One)];
        let numbers = (1..=most.0).flat_map(|a| (1..=most.0).map(move |b| (a, b)));
        for ((a, b), cores) in numbers.flat_map(|ab| (1..=most.1).map(move |cores| (ab, cores))) {
            let plan = Plan::of(&all(a, b), cores);
            let mut owners = vec![0; plan.frames() as usize];
            for (core, queue) in (0..cores).flat_map(|core| (0..a + b).map(move |queue| (core, queue))) {
                plan.own(core, queue).for_each(|index| owners[index as usize] += 1);
            }
            assert!(owners.iter().all(|owners| *owners == 1), "{a} and {b} queues, {cores} cores");
            assert_eq!(plan.starved(), None);
            for core in 0..cores {
                let queues = [0, 1].map(|interface| plan.transmit_queue(interface, core));
                assert_eq!(queues.map(|queue| plan.interface(queue)), [0, 1]);
                assert!(plan.has_socket(core, queues[0]));
                let parts = [500 / cores.div_ceil(a), 500 / cores.div_ceil(b)];
                assert!((0..2).all(|i| plan.own(core, queues[i]).len() >= parts[i]), "{a}, {b}, {cores}: {core}");
            }
        }
        // With a queue on each of two interfaces, two cores have one each to fill.
        let plan = Plan::of(&all(1, 1), 2);
        assert_eq!((plan.owner(0), plan.owner(1), plan.has_all_sockets()), (0, 1, false));
    }

    #[test]
    fn too_few_frames_for_all_are_found() {
        let size = QueueSize { frames: 8, fill: 4, reserve: 3 };
        assert_eq!(Plan::new(&[size], 2, SocketsPerQueue::All).starved(), Some(1));
        assert_eq!(Plan::new(&[size], 1, SocketsPerQueue::All).starved(), None);
    }
}
