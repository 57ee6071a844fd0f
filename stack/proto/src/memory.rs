//! Frames as this crate knows them: tokens that it may keep and give back, bytes that it reaches through a trait.
//!
//! Packets always begin at byte 0 of a frame, because an AF_XDP descriptor made by xsk-rs can only point at the start
//! of a frame's data. A segment that is sent therefore has its headers at `0..h` and its payload at `h..h + len`.

/// One interface of an endpoint, by its place among them, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct InterfaceId(pub u8);

impl InterfaceId {
    /// The first, which every endpoint has.
    pub const FIRST: Self = Self(0);
}

/// The right to one frame. It is neither `Copy` nor `Clone`: whoever holds it must give it back to [`Memory::free`]
/// or hand it on.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a token that is dropped is a frame that is lost"]
pub struct Token(u32);

impl Token {
    /// The token of frame `index`. Only an implementation of [`Memory`] calls this, once for each frame it hands out.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The frame's index.
    pub const fn index(&self) -> u32 {
        self.0
    }
}

/// A run of bytes inside a frame that one owner holds.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a buffer that is dropped is a frame that is lost"]
pub struct Buf {
    /// The frame.
    pub token: Token,
    /// The first byte, from the frame's start.
    pub start: u16,
    /// How many bytes.
    pub len: u16,
}

impl Buf {
    /// The run of `len` bytes that begins at `start` of the frame.
    pub const fn new(token: Token, start: u16, len: u16) -> Self {
        Self { token, start, len }
    }

    /// The bytes, where `memory` keeps them.
    pub fn bytes<'m, M: Memory>(&self, memory: &'m M) -> &'m [u8] {
        let start = usize::from(self.start);
        &memory.bytes(&self.token)[start..start + usize::from(self.len)]
    }

    /// Leaves out the first `n` bytes.
    pub fn trim_front(&mut self, n: u16) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }

    /// Leaves out everything after the first `len` bytes.
    pub fn truncate(&mut self, len: u16) {
        self.len = self.len.min(len);
    }
}

/// Where the frames are: given to the endpoint by whoever runs it.
///
/// An implementation hands out each frame's [`Token`] to one holder at a time.
pub trait Memory {
    /// Takes a free frame; `None` when there is none.
    fn alloc(&mut self) -> Option<Token>;

    /// Takes a free frame that the interface `on` can send without copying. Where the frames are the same for all, as is the
    /// default, that is any.
    fn alloc_on(&mut self, on: InterfaceId) -> Option<Token> {
        let _ = on;
        self.alloc()
    }

    /// Gives a frame back. A frame that the device still has to send is freed when it has been sent.
    fn free(&mut self, token: Token);

    /// The whole frame's bytes.
    fn bytes(&self, token: &Token) -> &[u8];

    /// The whole frame's bytes, to write to. Never called for a frame that is [posted](Self::is_posted).
    fn bytes_mut(&mut self, token: &Token) -> &mut [u8];

    /// Copies `len` bytes that begin at `start` of `from` to `at` of `to`. Both runs lie inside their frames.
    fn copy(&mut self, from: &Token, start: usize, len: usize, to: &Token, at: usize) {
        let mut piece = [0; 256];
        let mut done = 0;
        while done < len {
            let n = piece.len().min(len - done);
            piece[..n].copy_from_slice(&self.bytes(from)[start + done..][..n]);
            self.bytes_mut(to)[at + done..][..n].copy_from_slice(&piece[..n]);
            done += n;
        }
    }

    /// Whether the device has the frame and may still read it; such a frame is neither written to nor sent again.
    fn is_posted(&self, token: &Token) -> bool;

    /// How many frames [`alloc`](Self::alloc) could still give.
    fn available(&self) -> usize;

    /// How many frames [`alloc_on`](Self::alloc_on) could still give.
    fn available_on(&self, on: InterfaceId) -> usize {
        let _ = on;
        self.available()
    }

    /// How many bytes a frame holds.
    fn frame_len(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trimming_stays_inside_the_run() {
        let mut buf = Buf::new(Token::new(1), 10, 5);
        buf.trim_front(2);
        assert_eq!((buf.start, buf.len), (12, 3));
        buf.trim_front(9);
        assert_eq!((buf.start, buf.len), (15, 0));
        buf.truncate(4);
        assert_eq!(buf.len, 0);
    }
}
