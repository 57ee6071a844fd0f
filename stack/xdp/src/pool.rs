//! The frames of one region, and where each of them is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::frame::Frame;
use crate::umem::{HeapError, Region};

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// On the free list.
    Free,
    /// A [`Frame`] exists.
    Held,
    /// The kernel has it, to receive into.
    Fill,
    /// The kernel has it, to send from.
    Tx,
}

/// How many frames are where. `free + held + fill + tx == total`, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// All frames.
    pub total: u32,
    /// On the free list.
    pub free: u32,
    /// Owned by the program.
    pub held: u32,
    /// With the kernel for receiving: in the fill ring, in the driver, or in the RX ring.
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

/// What the frames, the pool's handles and the queue share.
pub(crate) struct Shared {
    region: Region,
    states: Box<[Cell<State>]>,
    /// Last in, first out: the frame that was freed last is the one most likely still in the cache.
    free: RefCell<Vec<u32>>,
    held: Cell<u32>,
    fill: Cell<u32>,
    tx: Cell<u32>,
    reserve: u32,
}

impl Shared {
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn state(&self, index: u32) -> State {
        self.states[index as usize].get()
    }

    fn count(&self, state: State) -> Option<&Cell<u32>> {
        match state {
            State::Free => None,
            State::Held => Some(&self.held),
            State::Fill => Some(&self.fill),
            State::Tx => Some(&self.tx),
        }
    }

    /// Moves frame `index` from `from` to `to`; false, and nothing happens, when it is not at `from`. The free list is
    /// the caller's business.
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

    /// Frees a frame that the kernel gave back and that nobody shall see.
    pub(crate) fn discard(&self, index: u32, from: State) {
        if self.shift(index, from, State::Free) {
            self.free.borrow_mut().push(index);
        }
    }

    /// What becomes of a dropped frame: one that was handed to the kernel a moment ago has left `Held` already and
    /// stays where it is.
    pub(crate) fn drop_frame(&self, index: u32) {
        self.discard(index, State::Held);
    }

    /// Moves up to `max` free frames to `Fill` and appends their indices to `out`. The reserve exists for this.
    pub(crate) fn take_for_fill(&self, max: usize, out: &mut Vec<u32>) {
        let mut free = self.free.borrow_mut();
        let keep = free.len().saturating_sub(max);
        for index in free.drain(keep..) {
            let moved = self.shift(index, State::Free, State::Fill);
            debug_assert!(moved, "frame {index} was on the free list and not free");
            if moved {
                out.push(index);
            }
        }
    }

    fn census(&self) -> Census {
        Census {
            total: self.region.count(),
            free: u32::try_from(self.free.borrow().len()).unwrap_or(u32::MAX),
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
/// A pool lives on one core: it is neither `Send` nor `Sync`.
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
        Ok(Self::new(Region::heap(frame_count, frame_len)?, 0))
    }

    /// As [`Pool::heap`], with the last `reserve` frames kept from [`Pool::alloc`].
    ///
    /// # Errors
    ///
    /// As [`Pool::heap`].
    pub fn heap_with_reserve(frame_count: u32, frame_len: usize, reserve: u32) -> Result<Self, HeapError> {
        Ok(Self::new(Region::heap(frame_count, frame_len)?, reserve))
    }

    pub(crate) fn new(region: Region, reserve: u32) -> Self {
        let count = region.count();
        Self(Rc::new(Shared {
            states: (0..count).map(|_| Cell::new(State::Free)).collect(),
            free: RefCell::new((0..count).rev().collect()),
            held: Cell::new(0),
            fill: Cell::new(0),
            tx: Cell::new(0),
            region,
            reserve,
        }))
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.0
    }

    /// Takes a free frame, of length 0; none when only the reserve is left, which is kept for receiving so that a
    /// program that sends much cannot starve the fill ring.
    pub fn alloc(&self) -> Option<Frame> {
        let index = {
            let mut free = self.0.free.borrow_mut();
            if free.len() <= self.0.reserve as usize {
                return None;
            }
            free.pop()?
        };
        let moved = self.0.shift(index, State::Free, State::Held);
        debug_assert!(moved, "frame {index} was on the free list and not free");
        // Without the check two frames could name the same bytes; it costs one compare.
        moved.then(|| Frame::held(Rc::clone(&self.0), index, 0))
    }

    /// Takes a free frame to receive into, the reserve included. For devices that put received bytes into frames
    /// themselves.
    pub fn alloc_for_receive(&self) -> Option<Frame> {
        let index = self.0.free.borrow_mut().pop()?;
        let moved = self.0.shift(index, State::Free, State::Held);
        moved.then(|| Frame::held(Rc::clone(&self.0), index, 0))
    }

    /// How many frames [`Pool::alloc`] could still give.
    pub fn available(&self) -> usize {
        self.0.free.borrow().len().saturating_sub(self.0.reserve as usize)
    }

    /// All frames, wherever they are.
    pub fn total(&self) -> usize {
        self.0.region.count() as usize
    }

    /// Bytes a frame.
    pub fn frame_len(&self) -> usize {
        self.0.region.frame_len()
    }

    /// How many free frames are kept for receiving.
    pub fn reserve(&self) -> usize {
        self.0.reserve as usize
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
        pool.shared().take_for_fill(8, &mut taken);
        assert_eq!(taken.len(), 3);
        assert_eq!(pool.census(), Census { total: 4, free: 0, held: 1, fill: 3, tx: 0 });
        drop(held);
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
