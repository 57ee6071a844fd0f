//! The fuzzer's bytes, read as decisions. When they are used up every answer is 0.

use arbitrary::{Arbitrary, Unstructured};

/// A cursor over the bytes of one run.
#[derive(Debug)]
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    /// The decisions in `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    /// Whether there is none left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A value of any kind that `arbitrary` can make.
    pub fn any<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A number below `n`, which is not 0. It takes one byte, or two when `n` is above 256.
    pub fn below(&mut self, n: u32) -> u32 {
        let drawn = if n <= 256 { u32::from(self.any::<u8>()) } else { u32::from(self.any::<u16>()) };
        drawn % n
    }

    /// One of `of`, which is not empty.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u32) as usize]
    }

    /// True once in `n` times.
    pub fn rarely(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    /// Up to `n` bytes as they are.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let n = n.min(self.0.len());
        self.0.bytes(n).unwrap_or_default()
    }
}
