//! One owned frame.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;
use std::rc::Rc;
use std::slice;

use crate::mail::Name;
use crate::pool::{Shared, State};

/// One frame of a pool, owned: whoever has it may read and write its bytes, and nobody else may.
///
/// Dropping it returns it to its [`Pool`](crate::Pool). It keeps the pool's memory alive, and it stays on its core
/// (it is neither `Send` nor `Sync`). The bytes are what the last holder left there.
pub struct Frame {
    pool: Rc<Shared>,
    index: u32,
    /// The queue whose UMEM it lies in.
    lane: u16,
    len: u16,
}

impl Frame {
    /// The frame `name` of `pool`, whose state the caller has just set to [`State::Held`] from another. That happens
    /// once until the state leaves `Held` again, so that two frames of a core never name the same bytes. Nor do two of
    /// different cores: a frame is `Held` on one core only, since it gets there from that core's own free list, from
    /// the kernel, which gives a frame to one socket at a time, or from a core that has just let go of it.
    pub(crate) fn held(pool: Rc<Shared>, name: Name, len: u16) -> Self {
        debug_assert_eq!(pool.state(name.index), State::Held, "{name:?}");
        debug_assert!(usize::from(len) <= pool.frame_len(), "{len} bytes in {name:?}");
        Self { pool, index: name.index, lane: name.lane, len }
    }

    /// The frame's number in its pool, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The interface by whose queues it came, or by which it can be sent: 0 where there is but one.
    #[inline]
    pub fn interface(&self) -> u8 {
        self.pool.lane(self.lane).interface()
    }

    pub(crate) fn name(&self) -> Name {
        Name { lane: self.lane, index: self.index }
    }

    /// The packet's length, as the queues between cores carry it.
    pub(crate) fn wire_len(&self) -> u16 {
        self.len
    }

    /// The packet's length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a frame without a packet is not what `is_empty` would ask about")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Says how long the packet is. A length beyond the frame is cut to [`Frame::capacity`].
    pub fn set_len(&mut self, len: usize) {
        debug_assert!(len <= self.capacity(), "{len} bytes in a frame of {}", self.capacity());
        // A frame holds less than 64 KiB in every kind of region, so the length fits.
        self.len = u16::try_from(len.min(self.capacity())).unwrap_or(0);
    }

    /// How many bytes fit.
    pub fn capacity(&self) -> usize {
        self.pool.frame_len()
    }

    /// The packet: the first [`Frame::len`] bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer()[..self.len()]
    }

    /// The whole data area.
    pub fn buffer(&self) -> &[u8] {
        // SAFETY: the region has `frame_len` initialised bytes there (zeroed at the start, and nothing un-initialises
        // them), and `self.pool` keeps it alive for as long as `self` is borrowed. This frame is the only one with
        // this index, on any core (see `held`); so nobody writes while `&self` is borrowed. What another core wrote
        // before it let go of the frame happened before: it published the hand-over with release, and this core
        // acquired it. The kernel writes only to frames in the fill ring, which are not `Held`.
        unsafe { slice::from_raw_parts(self.pool.place(self.name()), self.capacity()) }
    }

    /// The whole data area, to write to.
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `buffer`; `&mut self` makes it the only reference that this frame gave out, and the kernel
        // neither reads nor writes a frame that is `Held`.
        unsafe { slice::from_raw_parts_mut(self.pool.place(self.name()), self.capacity()) }
    }

    /// Has the CPU fetch the packet's first bytes, which another core has written, while there is other work.
    #[inline]
    pub(crate) fn prefetch(&self) {
        crate::umem::prefetch(self.pool.place(self.name()));
    }

    /// Ends the `Frame` without dropping it, since what it names is no longer [`State::Held`] here: the kernel or another
    /// core has it.
    #[inline]
    pub(crate) fn leave(self) {
        debug_assert_ne!(self.pool.state(self.index), State::Held, "{self:?}");
        let mut frame = ManuallyDrop::new(self);
        // SAFETY: the pool's handle is dropped once: the frame around it is not used again, nor dropped.
        unsafe { ptr::drop_in_place(&raw mut frame.pool) };
    }

    /// Whether the frame comes from the pool that `shared` is.
    pub(crate) fn is_of(&self, shared: &Rc<Shared>) -> bool {
        Rc::ptr_eq(&self.pool, shared)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.pool.drop_frame(self.name());
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("index", &self.index).field("len", &self.len).finish_non_exhaustive()
    }
}
