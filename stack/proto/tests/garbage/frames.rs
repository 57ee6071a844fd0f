//! Frames in plain memory that know who has them.

use corelane_proto::{Buf, Memory, Token};

const FRAME_LEN: usize = 1792;

/// The frames of the endpoint under test.
pub(crate) struct Frames {
    bytes: Vec<u8>,
    held: Vec<bool>,
    free: Vec<u32>,
}

impl Frames {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            bytes: vec![0; count as usize * FRAME_LEN],
            held: vec![false; count as usize],
            free: (0..count).rev().collect(),
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.held.len()
    }

    /// A frame with `bytes`, as the device would give it.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> Option<Buf> {
        let token = self.alloc()?;
        let len = bytes.len().min(FRAME_LEN);
        self.at_mut(token.index())[..len].copy_from_slice(&bytes[..len]);
        Some(Buf::new(token, 0, len as u16))
    }

    /// The bytes of a frame that is sent.
    pub(crate) fn at(&self, index: u32) -> &[u8] {
        &self.bytes[index as usize * FRAME_LEN..][..FRAME_LEN]
    }

    fn at_mut(&mut self, index: u32) -> &mut [u8] {
        assert!(self.held[index as usize], "frame {index} is written to by somebody who does not hold it");
        &mut self.bytes[index as usize * FRAME_LEN..][..FRAME_LEN]
    }
}

impl Memory for Frames {
    fn alloc(&mut self) -> Option<Token> {
        let index = self.free.pop()?;
        self.held[index as usize] = true;
        Some(Token::new(index))
    }

    fn free(&mut self, token: Token) {
        let held = &mut self.held[token.index() as usize];
        assert!(*held, "frame {} is freed twice", token.index());
        *held = false;
        self.free.push(token.index());
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        self.at(token.index())
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        self.at_mut(token.index())
    }

    fn is_posted(&self, _: &Token) -> bool {
        false
    }

    fn available(&self) -> usize {
        self.free.len()
    }

    fn frame_len(&self) -> usize {
        FRAME_LEN
    }
}
