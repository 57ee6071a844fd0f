//! The frames that one core can meet, and where each of them is as far as this core knows.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use crate::frame::Frame;
use crate::mail::{Name, Notice, Outbox};
use crate::sync::Arc;
use crate::umem::{HeapError, Places, Region};

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// On the free list.
    Free,
    /// A [`Frame`] exists on this core.
    Held,
    /// The kernel has it, to receive into; or another core got it from there.
    Fill,
    /// The kernel has it, to send from.
    Tx,
    /// Another core knows.
    Away,
}

/// How many frames are where, of those that this core answers for: `free + held + fill + tx == total`, always.
///
/// With one core the total never changes. With several it is what a core has at the moment: a frame that is received from
/// another core's fill ring counts on both until it is given back. When nobody holds a frame and nothing is on its way,
/// the totals of all cores add up to all frames of all queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// All frames.
    pub total: u32,
    /// On the free list.
    pub free: u32,
    /// Owned by the program.
    pub held: u32,
    /// With the kernel for receiving: in the fill ring, in the driver, or in the RX ring. Those that other cores
    /// received and have not given back are among them.
    pub fill: u32,
    /// With the kernel for sending: in the TX ring, in the driver, or in the completion ring.
    pub tx: u32,
}

impl Census {
    /// Whether the places add up.
    pub const fn is_whole(&self) -> bool {
        self.free + self.held + self.fill + self.tx == self.total
    }
}

/// What a core is told of one queue's frames.
pub(crate) struct LaneStart {
    pub(crate) region: Arc<Region>,
    /// The index of its first frame in the space of all.
    pub(crate) first: u32,
    /// The frames that are this core's when nobody holds any.
    pub(crate) own: Range<u32>,
    /// The core that has the fill ring.
    pub(crate) owner: u16,
    pub(crate) reserve: u32,
    /// The interface that the queue is of.
    pub(crate) interface: u8,
    /// The longest packet that can be sent there, bytes.
    pub(crate) max_len: usize,
    /// How many of `own`, from its start, are in the fill ring already.
    pub(crate) filled: u32,
}

/// One queue's frames.
// Aligned, so that its place in a slice is found by shifting: that is done for each frame.
#[repr(align(128))]
pub(crate) struct Lane {
    places: Places,
    first: u32,
    own: Range<u32>,
    owner: u16,
    reserve: u32,
    interface: u8,
    max_len: usize,
    /// Last in, first out: the frame that was freed last is the one most likely still in the cache.
    free: RefCell<Vec<u32>>,
    region: Arc<Region>,
}

impl Lane {
    /// Free frames but for the reserve.
    fn available(&self) -> usize {
        self.free.borrow().len().saturating_sub(self.reserve as usize)
    }

    /// The frame at the kernel's address `addr`, and how far behind the start of its data area it points.
    #[inline]
    pub(crate) fn locate(&self, addr: u64) -> Option<(u32, usize)> {
        let (index, start) = self.region.locate(addr)?;
        Some((self.first + index, start))
    }

    /// The interface that the queue is of.
    #[inline]
    pub(crate) fn interface(&self) -> u8 {
        self.interface
    }

    /// The longest packet that can be sent there, bytes.
    #[inline]
    pub(crate) fn max_len(&self) -> usize {
        self.max_len
    }

    /// The index of its first frame in the space of all.
    #[inline]
    pub(crate) fn first(&self) -> u32 {
        self.first
    }
}

/// What the frames, the pool's handles and the port of one core share.
pub(crate) struct Shared {
    lanes: Box<[Lane]>,
    /// Bytes a frame; the same in all lanes.
    frame_len: usize,
    /// This core.
    core: u16,
    /// The lane whose frames are given out to send on the first interface.
    transmit: u16,
    /// The same of the others.
    others: Box<[u16]>,
    states: Box<[Cell<State>]>,
    held: Cell<u32>,
    fill: Cell<u32>,
    tx: Cell<u32>,
    away: Cell<u32>,
    /// Towards each core, none towards this one; empty where there is but one.
    outboxes: Box<[Option<Outbox>]>,
    /// There is no port any more that would flush the outboxes.
    closed: Cell<bool>,
}

impl Shared {
    /// The frames of `lanes`, which lie behind one another in the index space. There is at least one lane.
    fn new(lanes: Vec<LaneStart>, core: u16, transmit: &[u16], outboxes: Box<[Option<Outbox>]>) -> Self {
        let (transmit, others) =
            transmit.split_first().map_or((0, Box::default()), |(first, others)| (*first, others.into()));
        let total: u32 = lanes.iter().map(|lane| lane.region.count()).sum();
        let states: Box<[_]> = (0..total).map(|_| Cell::new(State::Away)).collect();
        let (mut fill, mut own) = (0, 0);
        for lane in &lanes {
            for index in lane.own.clone() {
                let in_ring = index - lane.own.start < lane.filled;
                states[index as usize].set(if in_ring { State::Fill } else { State::Free });
            }
            fill += lane.filled;
            own += lane.own.end - lane.own.start;
        }
        let frame_len = lanes[0].region.frame_len();
        let lanes = lanes.into_iter().map(|start| {
            let LaneStart { region, first, own, owner, reserve, interface, max_len, filled } = start;
            let mut free = Vec::with_capacity(own.len());
            free.extend((own.start + filled..own.end).rev());
            let (places, free) = (region.places(first), RefCell::new(free));
            Lane { places, first, own, owner, reserve, interface, max_len, free, region }
        });
        Self {
            lanes: lanes.collect(),
            frame_len,
            core,
            transmit,
            others,
            states,
            held: Cell::new(0),
            fill: Cell::new(fill),
            tx: Cell::new(0),
            away: Cell::new(total - own),
            outboxes,
            closed: Cell::new(false),
        }
    }

    #[inline]
    pub(crate) fn lane(&self, lane: u16) -> &Lane {
        &self.lanes[usize::from(lane)]
    }

    pub(crate) fn state(&self, index: u32) -> State {
        self.states[index as usize].get()
    }

    /// Bytes a frame; the same in all lanes.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// The first byte of a frame, which has to be one of its lane's.
    #[inline]
    pub(crate) fn place(&self, name: Name) -> *mut u8 {
        let lane = self.lane(name.lane);
        debug_assert!((lane.first..lane.first + lane.region.count()).contains(&name.index), "{name:?}");
        lane.places.frame(name.index)
    }

    /// Whether there is such a frame.
    fn exists(&self, name: Name) -> bool {
        let lane = self.lanes.get(usize::from(name.lane));
        lane.is_some_and(|lane| (lane.first..lane.first + lane.region.count()).contains(&name.index))
    }

    /// The core that has the fill and completion rings of a lane.
    pub(crate) fn owner(&self, lane: u16) -> u16 {
        self.lane(lane).owner
    }

    /// The lane whose frames are given out to send on the first interface.
    pub(crate) fn transmit_lane(&self) -> u16 {
        self.transmit
    }

    /// The same on interface `id`; that of the first, where there is no such one.
    #[inline]
    fn transmit_lane_on(&self, id: u8) -> u16 {
        match id.checked_sub(1) {
            None => self.transmit,
            Some(at) => self.others.get(usize::from(at)).copied().unwrap_or(self.transmit),
        }
    }

    fn count(&self, state: State) -> Option<&Cell<u32>> {
        match state {
            State::Free => None,
            State::Held => Some(&self.held),
            State::Fill => Some(&self.fill),
            State::Tx => Some(&self.tx),
            State::Away => Some(&self.away),
        }
    }

    /// Moves frame `index` from `from` to `to`; false, and nothing happens, when it is not at `from`. The free list is
    /// the caller's business.
    #[inline]
    pub(crate) fn shift(&self, index: u32, from: State, to: State) -> bool {
        let Some(state) = self.states.get(index as usize) else { return false };
        if state.get() != from {
            return false;
        }
        state.set(to);
        if let Some(count) = self.count(from) {
            count.set(count.get() - 1);
        }
        if let Some(count) = self.count(to) {
            count.set(count.get() + 1);
        }
        true
    }

    /// What becomes of a dropped frame: it is free if it is this core's, and else goes home to the owner of its fill
    /// ring.
    #[inline]
    pub(crate) fn drop_frame(&self, name: Name) {
        let lane = self.lane(name.lane);
        if !lane.own.contains(&name.index) {
            self.give_back(lane, name);
        } else if self.shift(name.index, State::Held, State::Free) {
            lane.free.borrow_mut().push(name.index);
        }
    }

    /// Tells the owner of its fill ring about a dropped frame.
    #[inline(never)]
    fn give_back(&self, lane: &Lane, name: Name) {
        if self.shift(name.index, State::Held, State::Away)
            && let Some(outbox) = self.outbox(lane.owner)
        {
            outbox.notify(Notice::Return(name));
            if self.closed.get() {
                outbox.flush();
            }
        }
    }

    /// A frame of ours comes back from another core that had it; false when none had.
    pub(crate) fn come_home(&self, name: Name) -> bool {
        let Some(lane) = self.lanes.get(usize::from(name.lane)) else { return false };
        if !lane.own.contains(&name.index) || !self.leave_others(name.index, State::Free) {
            return false;
        }
        lane.free.borrow_mut().push(name.index);
        true
    }

    /// A frame comes from another core, which received it; false when that cannot be.
    pub(crate) fn arrive(&self, name: Name) -> bool {
        self.exists(name) && self.leave_others(name.index, State::Held)
    }

    /// Moves a frame to `to` that another core had: it got it from our fill ring, or from us, or it was never ours.
    fn leave_others(&self, index: u32, to: State) -> bool {
        self.shift(index, State::Fill, to) || self.shift(index, State::Away, to)
    }

    /// Whether a frame belongs to its fill ring's owner rather than to a core's share to send.
    pub(crate) fn is_for_receiving(&self, name: Name) -> bool {
        let lane = self.lane(name.lane);
        lane.owner == self.core || !lane.own.contains(&name.index)
    }

    /// This core.
    pub(crate) fn core(&self) -> u16 {
        self.core
    }

    /// Moves up to `max` free frames of `lane` to `Fill` and appends their indices in the UMEM to `out`. The reserve
    /// exists for this.
    pub(crate) fn take_for_fill(&self, lane: u16, max: usize, out: &mut Vec<u32>) {
        let lane = self.lane(lane);
        let mut free = lane.free.borrow_mut();
        let keep = free.len().saturating_sub(max);
        for index in free.drain(keep..) {
            let moved = self.shift(index, State::Free, State::Fill);
            debug_assert!(moved, "frame {index} was on the free list and not free");
            if moved {
                out.push(index - lane.first);
            }
        }
    }

    /// The way to another core; none to this one, or to one that there is not.
    pub(crate) fn outbox(&self, core: u16) -> Option<&Outbox> {
        self.outboxes.get(usize::from(core))?.as_ref()
    }

    /// Lets other cores see what was said to them; says how many had to be woken.
    pub(crate) fn flush(&self) -> u64 {
        self.outboxes.iter().flatten().map(|outbox| u64::from(outbox.flush())).sum()
    }

    /// From now on each returned frame is told of at once.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.flush();
    }

    fn total(&self) -> u32 {
        u32::try_from(self.states.len()).unwrap_or(u32::MAX)
    }

    fn census(&self) -> Census {
        let free: usize = self.lanes.iter().map(|lane| lane.free.borrow().len()).sum();
        Census {
            total: self.total() - self.away.get(),
            free: u32::try_from(free).unwrap_or(u32::MAX),
            held: self.held.get(),
            fill: self.fill.get(),
            tx: self.tx.get(),
        }
    }

    /// In debug builds, panics when a frame is nowhere or in two places.
    pub(crate) fn debug_check(&self) {
        debug_assert!(self.census().is_whole(), "frames are missing or double: {:?}", self.census());
    }
}

/// Equal frames, and the list of those that are free. Cloning it makes another handle to the same frames.
///
/// A pool lives on one core: it is neither `Send` nor `Sync`. Where several cores work on several queues, each has a pool
/// of all frames of all queues, of which it may have some.
#[derive(Clone)]
pub struct Pool(Rc<Shared>);

impl Pool {
    /// `frame_count` zeroed frames of `frame_len` bytes (1 to 65535) in plain memory, for devices without a kernel
    /// behind them and for tests.
    ///
    /// # Errors
    ///
    /// When there are no frames, the length is out of range or the memory is not to be had.
    pub fn heap(frame_count: u32, frame_len: usize) -> Result<Self, HeapError> {
        Self::heap_with_reserve(frame_count, frame_len, 0)
    }

    /// As [`Pool::heap`], with the last `reserve` frames kept from [`Pool::alloc`].
    ///
    /// # Errors
    ///
    /// As [`Pool::heap`].
    pub fn heap_with_reserve(frame_count: u32, frame_len: usize, reserve: u32) -> Result<Self, HeapError> {
        let region = Arc::new(Region::heap(frame_count, frame_len)?);
        let lane = LaneStart {
            region,
            first: 0,
            own: 0..frame_count,
            owner: 0,
            reserve,
            interface: 0,
            max_len: frame_len,
            filled: 0,
        };
        Ok(Self::new(vec![lane], 0, &[0], Box::default()))
    }

    /// As [`Pool::heap`], with so many frames for each of `interfaces` interfaces, at least one.
    ///
    /// # Errors
    ///
    /// As [`Pool::heap`].
    pub fn heap_for_interfaces(interfaces: u8, frame_count: u32, frame_len: usize) -> Result<Self, HeapError> {
        let lane = |interface: u8| {
            let (region, first) = (Arc::new(Region::heap(frame_count, frame_len)?), u32::from(interface) * frame_count);
            let own = first..first + frame_count;
            Ok(LaneStart { region, first, own, owner: 0, reserve: 0, interface, max_len: frame_len, filled: 0 })
        };
        let lanes = (0..interfaces.max(1)).map(lane).collect::<Result<Vec<_>, HeapError>>()?;
        let transmit: Vec<u16> = (0..u16::from(interfaces.max(1))).collect();
        Ok(Self::new(lanes, 0, &transmit, Box::default()))
    }

    /// The frames of at least one lane, behind one another in the index space; those of the lanes `transmit` are given
    /// out to send, one for each interface. `outboxes` has one for each core but `core`, by core, or nothing where there is but one.
    pub(crate) fn new(lanes: Vec<LaneStart>, core: u16, transmit: &[u16], outboxes: Box<[Option<Outbox>]>) -> Self {
        Self(Rc::new(Shared::new(lanes, core, transmit, outboxes)))
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.0
    }

    fn transmit(&self) -> &Lane {
        self.0.lane(self.0.transmit)
    }

    /// Takes a free frame to send from, of length 0; none when only the reserve is left, which is kept for receiving so
    /// that a program that sends much cannot starve the fill ring.
    pub fn alloc(&self) -> Option<Frame> {
        self.take(self.0.transmit, self.reserve())
    }

    /// As [`Pool::alloc`], a frame to send by interface `id`: without copying it can go by no other.
    pub fn alloc_on(&self, id: u8) -> Option<Frame> {
        let lane = self.0.transmit_lane_on(id);
        self.take(lane, self.0.lane(lane).reserve as usize)
    }

    /// Takes a free frame to receive into, the reserve included. For devices that put received bytes into frames
    /// themselves.
    pub fn alloc_for_receive(&self) -> Option<Frame> {
        self.take(self.0.transmit, 0)
    }

    fn take(&self, lane: u16, keep: usize) -> Option<Frame> {
        let index = {
            let mut free = self.0.lane(lane).free.borrow_mut();
            if free.len() <= keep {
                return None;
            }
            free.pop()?
        };
        let moved = self.0.shift(index, State::Free, State::Held);
        debug_assert!(moved, "frame {index} was on the free list and not free");
        // Without the check two frames could name the same bytes; it costs one compare.
        moved.then(|| Frame::held(Rc::clone(&self.0), Name { lane, index }, 0))
    }

    /// How many frames could still be given out to send on whichever interface has the fewest.
    pub fn available(&self) -> usize {
        let others = self.0.others.iter().map(|lane| self.0.lane(*lane).available());
        others.fold(self.transmit().available(), usize::min)
    }

    /// How many frames [`Pool::alloc_on`] could still give.
    pub fn available_on(&self, id: u8) -> usize {
        self.0.lane(self.0.transmit_lane_on(id)).available()
    }

    /// How many interfaces the frames can go by.
    pub fn interfaces(&self) -> usize {
        1 + self.0.others.len()
    }

    /// All frames, wherever they are: each index is less than this.
    pub fn total(&self) -> usize {
        self.0.states.len()
    }

    /// Bytes a frame.
    pub fn frame_len(&self) -> usize {
        self.0.frame_len()
    }

    /// How many free frames are kept for receiving, of those that [`Pool::alloc`] draws on.
    pub fn reserve(&self) -> usize {
        self.transmit().reserve as usize
    }

    /// Where the frames are.
    pub fn census(&self) -> Census {
        self.0.census()
    }

    /// Counts every frame one by one and compares with the census: slow, for tests.
    ///
    /// # Errors
    ///
    /// A sentence that says what does not add up.
    pub fn audit(&self) -> Result<(), String> {
        let at = |state| self.0.states.iter().filter(|cell| cell.get() == state).count();
        let counted = (at(State::Free), at(State::Held), at(State::Fill), at(State::Tx));
        let census = self.census();
        let noted = (census.free as usize, census.held as usize, census.fill as usize, census.tx as usize);
        if counted != noted || !census.is_whole() {
            return Err(format!("free, held, fill, tx are {counted:?}, the census says {noted:?} of {}", census.total));
        }
        Ok(())
    }

    /// Whether `frame` is one of this pool's.
    pub fn owns(&self, frame: &Frame) -> bool {
        frame.is_of(&self.0)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.census()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_frame_returns_it() {
        let pool = Pool::heap(2, 128).unwrap();
        let first = pool.alloc().unwrap();
        let second = pool.alloc().unwrap();
        assert!(pool.alloc().is_none());
        assert_eq!(pool.census(), Census { total: 2, free: 0, held: 2, fill: 0, tx: 0 });
        drop(first);
        assert_eq!(pool.available(), 1);
        drop(second);
        assert_eq!(pool.census(), Census { total: 2, free: 2, held: 0, fill: 0, tx: 0 });
        pool.audit().unwrap();
    }

    #[test]
    fn frames_do_not_overlap_and_keep_their_bytes() {
        let pool = Pool::heap(16, 100).unwrap();
        let mut frames: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        for (i, frame) in frames.iter_mut().enumerate() {
            frame.buffer_mut().fill(u8::try_from(i).unwrap());
            frame.set_len(i);
        }
        for (i, frame) in frames.iter().enumerate() {
            assert!(frame.buffer().iter().all(|byte| usize::from(*byte) == i));
            assert_eq!(frame.bytes().len(), i);
        }
    }

    #[test]
    fn the_reserve_is_for_receiving_only() {
        let pool = Pool::heap_with_reserve(4, 64, 3).unwrap();
        let held = pool.alloc().unwrap();
        assert!(pool.alloc().is_none());
        assert_eq!(pool.available(), 0);
        assert!(pool.alloc_for_receive().is_some());
        let mut taken = Vec::new();
        pool.shared().take_for_fill(0, 8, &mut taken);
        assert_eq!(taken.len(), 3);
        assert_eq!(pool.census(), Census { total: 4, free: 0, held: 1, fill: 3, tx: 0 });
        drop(held);
        pool.audit().unwrap();
    }

    #[test]
    fn each_interface_has_its_own_frames() {
        let pool = Pool::heap_for_interfaces(2, 2, 64).unwrap();
        let second: Vec<_> = std::iter::from_fn(|| pool.alloc_on(1)).collect();
        assert_eq!(second.iter().map(|frame| (frame.interface(), frame.index())).collect::<Vec<_>>(), [(1, 2), (1, 3)]);
        assert_eq!((pool.available_on(0), pool.available_on(1), pool.available(), pool.interfaces()), (2, 0, 0, 2));
        assert_eq!(pool.alloc().unwrap().interface(), 0);
        drop(second);
        assert_eq!((pool.available_on(1), pool.available()), (2, 2));
        pool.audit().unwrap();
    }

    #[test]
    fn a_frame_outlives_its_pool() {
        let pool = Pool::heap(1, 64).unwrap();
        let mut frame = pool.alloc().unwrap();
        drop(pool);
        frame.buffer_mut()[63] = 7;
        assert_eq!(frame.buffer()[63], 7);
    }
}
