//! What a client has begun to ask and not yet written.

use super::Output;

/// Bytes on their way to the connection's send queue, oldest first.
#[derive(Clone, Debug, Default)]
pub struct WriteQueue {
    bytes: Vec<u8>,
    written: usize,
}

impl WriteQueue {
    /// Where new bytes are appended.
    pub const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes what fits.
    pub fn write_to(&mut self, out: &mut dyn Output) {
        self.written += out.write(&self.bytes[self.written..]);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Whether all is written.
    pub const fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Forgets what was not written.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Bounded;

    #[test]
    fn what_does_not_fit_is_written_later_and_in_order() {
        let (mut queue, mut bytes) = (WriteQueue::default(), Vec::new());
        queue.end().extend_from_slice(b"abcde");
        queue.write_to(&mut Bounded::new(&mut bytes, 3));
        assert!(!queue.is_empty());
        queue.end().extend_from_slice(b"fg");
        queue.write_to(&mut Bounded::new(&mut bytes, 100));
        assert_eq!((bytes.as_slice(), queue.is_empty()), (&b"abcdefg"[..], true));
        queue.end().push(b'h');
        queue.clear();
        queue.write_to(&mut Bounded::new(&mut bytes, 100));
        assert_eq!(bytes, b"abcdefg");
    }
}
