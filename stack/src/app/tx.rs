//! A frame that the application writes its payload into.

use corelane_xdp::Frame;
use std::fmt;

/// A payload to send without copying it: written once, where the network card will read it.
///
/// Dropping it frees the frame.
pub struct TxBuf {
    frame: Frame,
    room: usize,
    len: usize,
    capacity: usize,
}

impl TxBuf {
    /// A payload of up to `capacity` bytes, after `room` bytes for the headers. The frame has at least so many.
    pub(super) fn new(frame: Frame, room: u16, capacity: usize) -> Self {
        let room = usize::from(room);
        let capacity = capacity.min(frame.capacity().saturating_sub(room));
        Self { frame, room, len: 0, capacity }
    }

    /// How many bytes fit: one segment's payload.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes were written.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.frame.buffer()[self.room..self.room + self.len]
    }

    /// Appends as much of `bytes` as fits; says how much.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.capacity - self.len);
        let at = self.room + self.len;
        self.frame.buffer_mut()[at..at + n].copy_from_slice(&bytes[..n]);
        self.len += n;
        n
    }

    /// All [`capacity`](Self::capacity) bytes, to write to directly; [`set_len`](Self::set_len) then says how many
    /// count.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.frame.buffer_mut()[self.room..self.room + self.capacity]
    }

    /// Says that the payload is the first `len` bytes, no more than fit. Bytes never written are what the frame held
    /// before.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity);
    }

    pub(super) fn into_parts(self) -> (Frame, usize, usize, usize) {
        (self.frame, self.room, self.len, self.capacity)
    }

    pub(super) fn from_parts((frame, room, len, capacity): (Frame, usize, usize, usize)) -> Self {
        Self { frame, room, len, capacity }
    }
}

impl fmt::Debug for TxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxBuf").field("len", &self.len).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_xdp::Pool;

    #[test]
    fn a_payload_lies_behind_the_headers_and_within_a_segment() {
        let pool = Pool::heap(1, 256).unwrap();
        let mut buf = TxBuf::new(pool.alloc().unwrap(), 66, 100);
        assert_eq!((buf.capacity(), buf.is_empty()), (100, true));
        assert_eq!(buf.write(&[7; 60]) + buf.write(&[8; 60]), 100);
        assert_eq!((&buf.bytes()[..60], &buf.bytes()[60..]), (&[7; 60][..], &[8; 40][..]));
        buf.set_len(1000);
        assert_eq!(buf.len(), 100);
        let (frame, room, ..) = buf.into_parts();
        assert_eq!(&frame.buffer()[room..room + 60], &[7; 60]);
        assert_eq!(&frame.buffer()[166..], &[0; 90]);

        let cramped = TxBuf::new(frame, 250, 100);
        assert_eq!(cramped.capacity(), 6);
        drop(cramped);
        assert_eq!(pool.available(), 1);
    }
}
