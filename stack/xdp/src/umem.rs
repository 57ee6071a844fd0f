//! The memory that frames lie in: a UMEM that the kernel shares, or plain memory.

use std::alloc::{self, Layout};
use std::ptr;

use xsk_rs::umem::Umem;

use crate::given::Mapping;

/// Frames in plain memory begin on a cache line of their own.
const HEAP_ALIGN: usize = 64;

/// What CPUs fetch at once.
const CACHE_LINE: usize = 64;

/// Ethernet, IPv4 and TCP with its usual options take 66 bytes, IPv6 20 more.
const PREFETCHED: usize = 3 * CACHE_LINE;

/// Why plain memory for frames could not be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeapError {
    /// No frames, frames without a byte, or more bytes than an address can count.
    #[error("{count} frames of {len} bytes are not a pool; both have to be at least 1 and frames at most 65535 bytes")]
    Size {
        /// Frames asked for.
        count: u32,
        /// Bytes a frame asked for.
        len: usize,
    },
    /// The allocator refused.
    #[error("{bytes} bytes of memory for frames are not to be had; use fewer or smaller frames")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// Who frees the memory of a [`Region`].
enum Owner {
    Heap(Layout),
    /// Held only so that the mapping outlives every frame.
    Umem(#[expect(dead_code, reason = "kept for its destructor")] Umem),
    /// As `Umem`.
    Mapping(#[expect(dead_code, reason = "kept for its destructor")] Mapping),
}

/// Equal frames in one run of memory. Cores share it: its numbers never change, and who may touch the bytes of a frame is
/// the business of who owns the frame. Frame `i` is the `frame_len` bytes at `base + i * stride + offset`, and no byte
/// belongs to two frames.
pub(crate) struct Region {
    /// The first byte of the whole run. Its provenance is exposed: see [`Region::frame`].
    base: usize,
    stride: usize,
    offset: usize,
    frame_len: usize,
    count: u32,
    owner: Owner,
}

/// Where the frames of a region lie: enough to find one, without a pointer to follow.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    origin: usize,
    stride: usize,
}

impl Places {
    /// The first byte of frame `index`, which must be one of the region's.
    pub(crate) fn frame(self, index: u32) -> *mut u8 {
        // The address is turned into a pointer with exposed provenance, because xsk-rs lends pointers to single
        // frames only and its own short borrows of a frame would end the validity of a pointer kept from an earlier
        // one. The mapping comes from mmap, outside of what Rust allocates; the heap's is exposed in `heap`.
        ptr::with_exposed_provenance_mut(self.origin.wrapping_add((index as usize).wrapping_mul(self.stride)))
    }
}

/// Has the CPU fetch the `PREFETCHED` bytes from `at` on: the headers of a packet, and the payload of a small one.
#[inline]
pub(crate) fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..PREFETCHED / CACHE_LINE {
        // SAFETY: a prefetch reads nothing that the program could see, and cannot fault, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                at.wrapping_add(line * CACHE_LINE).cast(),
            );
        }
    }
    // Elsewhere there is no stable way to ask for it, and it is only a hint.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

impl Region {
    /// `count` zeroed frames of `frame_len` bytes in plain memory.
    pub(crate) fn heap(count: u32, frame_len: usize) -> Result<Self, HeapError> {
        let refused = HeapError::Size { count, len: frame_len };
        if count == 0 || frame_len == 0 || frame_len > usize::from(u16::MAX) {
            return Err(refused);
        }
        let stride = frame_len.next_multiple_of(HEAP_ALIGN);
        let Some(bytes) = stride.checked_mul(count as usize) else { return Err(refused) };
        let Ok(layout) = Layout::from_size_align(bytes, HEAP_ALIGN) else { return Err(refused) };
        // SAFETY: the layout's size is not zero, since both factors are at least 1.
        let base = unsafe { alloc::alloc_zeroed(layout) };
        if base.is_null() {
            return Err(HeapError::Memory { bytes });
        }
        Ok(Self { base: base.expose_provenance(), stride, offset: 0, frame_len, count, owner: Owner::Heap(layout) })
    }

    /// The frames of `umem`: `count` chunks of `stride` bytes from `base`, whose data areas begin `offset` bytes in and
    /// last to the chunk's end.
    ///
    /// # Safety
    ///
    /// `base` is the (exposed) address of `umem`'s first byte, the UMEM has `count` chunks of `stride` bytes, and
    /// `offset` is less than `stride`. Nothing else in this process reaches the UMEM's memory, other than through the
    /// frames of this region.
    pub(crate) unsafe fn umem(umem: Umem, base: usize, count: u32, stride: usize, offset: usize) -> Self {
        Self { base, stride, offset, frame_len: stride - offset, count, owner: Owner::Umem(umem) }
    }

    /// The frames of a UMEM in a mapping of our own, as [`umem`](Self::umem).
    ///
    /// # Safety
    ///
    /// The mapping has `count` chunks of `stride` bytes, and `offset` is less than `stride`. Nothing else in this process
    /// reaches its memory, other than through the frames of this region.
    pub(crate) unsafe fn mapping(mapping: Mapping, count: u32, stride: usize, offset: usize) -> Self {
        let base = mapping.address();
        Self { base, stride, offset, frame_len: stride - offset, count, owner: Owner::Mapping(mapping) }
    }

    pub(crate) const fn frame_len(&self) -> usize {
        self.frame_len
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// The first byte of frame `index`, which must be less than [`Region::count`].
    #[cfg(test)]
    pub(crate) fn frame(&self, index: u32) -> *mut u8 {
        assert!(index < self.count, "frame {index} of {}", self.count);
        self.places(0).frame(index)
    }

    /// Where the frames lie when they are counted from `first` instead of 0.
    pub(crate) fn places(&self, first: u32) -> Places {
        // May wrap around below 0, and back in `Places::frame`.
        let before = (first as usize).wrapping_mul(self.stride);
        Places { origin: self.base.wrapping_add(self.offset).wrapping_sub(before), stride: self.stride }
    }

    /// Where the kernel's address `addr` points: the frame's index and how far behind the start of its data area; none
    /// when it lies outside of the region or before the data area.
    pub(crate) fn locate(&self, addr: u64) -> Option<(u32, usize)> {
        let addr = usize::try_from(addr).ok()?;
        let index = u32::try_from(addr / self.stride).ok().filter(|index| *index < self.count)?;
        Some((index, (addr % self.stride).checked_sub(self.offset)?))
    }

    /// The kernel's address of frame `index`'s data area.
    #[cfg(test)]
    pub(crate) fn address(&self, index: u32) -> u64 {
        (index as usize * self.stride + self.offset) as u64
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Owner::Heap(layout) = self.owner {
            // SAFETY: `heap` allocated this run with this very layout, and a region is dropped once. No frame is left
            // that could reach it, since each holds its pool, and each pool the `Arc` that this region lives in.
            unsafe { alloc::dealloc(ptr::with_exposed_provenance_mut(self.base), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_map_to_frames_and_back() {
        let region = Region::heap(3, 100).unwrap();
        assert_eq!(region.address(2), 256);
        assert_eq!(region.locate(256), Some((2, 0)));
        assert_eq!(region.locate(130), Some((1, 2)));
        assert_eq!(region.locate(384), None);
        assert_eq!(region.locate(u64::MAX), None);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(Region::heap(0, 100).is_err());
        assert!(Region::heap(1, 0).is_err());
        assert!(Region::heap(1, 70_000).is_err());
    }
}
