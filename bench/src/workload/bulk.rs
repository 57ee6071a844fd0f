//! Bulk: bytes in one direction without end. A "request" is a chunk of `size` bytes, so that there is something to count
//! and to time: for the sender it is done when the transport has taken it, for the receiver when it has come.

use super::pattern::{self, SERVED_SEED};
use super::{Fault, Output, Progress};
use std::sync::LazyLock;

/// The chunk when no size is given.
pub const DEFAULT_CHUNK: u64 = 64 * 1024;

/// What a sender sends, over and over. A sink looks at no byte, and computing each would cost as much as sending it does.
static SENT: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut bytes = vec![0; 64 * 1024];
    pattern::fill(SERVED_SEED, 0, &mut bytes);
    bytes.into()
});

/// Sends chunks to a server that takes everything (`serve --workload sink`).
#[derive(Clone, Debug)]
pub struct Sender {
    chunk: u64,
    position: u64,
    end: u64,
    reported: u64,
}

impl Sender {
    /// A connection that sends chunks of `chunk` bytes (at least 1).
    pub const fn new(chunk: u64) -> Self {
        Self { chunk: if chunk == 0 { 1 } else { chunk }, position: 0, end: 0, reported: 0 }
    }

    /// Begins the next chunk.
    pub const fn begin(&mut self) {
        self.end += self.chunk;
    }

    /// The connection was made anew.
    pub const fn reset(&mut self) {
        self.position = self.end;
        self.reported = self.end;
    }

    /// Writes what fits.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        let sent = &**SENT;
        while self.position < self.end {
            let at = (self.position % sent.len() as u64) as usize;
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            let piece = &sent[at..at + left.min(sent.len() - at)];
            let taken = out.write(piece);
            self.position += taken as u64;
            if taken < piece.len() {
                break;
            }
        }
    }

    /// Whether something is still to be written.
    pub const fn wants_write(&self) -> bool {
        self.position < self.end
    }

    /// Whether one more chunk has been taken by the transport since the last call that said so.
    pub const fn poll_written(&mut self) -> bool {
        let done = self.position - self.reported >= self.chunk;
        if done {
            self.reported += self.chunk;
        }
        done
    }

    /// A sink says nothing.
    pub const fn on_bytes(&mut self) -> Result<(usize, Progress), Fault> {
        Err(Fault::Unexpected)
    }
}

/// Takes chunks from a server that sends without being asked (`serve --workload source`), and checks every byte.
#[derive(Clone, Debug)]
pub struct Receiver {
    chunk: u64,
    position: u64,
    left: u64,
}

impl Receiver {
    /// A connection that counts chunks of `chunk` bytes (at least 1).
    pub const fn new(chunk: u64) -> Self {
        Self { chunk: if chunk == 0 { 1 } else { chunk }, position: 0, left: 0 }
    }

    /// Begins to count the next chunk.
    pub const fn begin(&mut self) {
        self.left += self.chunk;
    }

    /// The connection was made anew, and so was the stream.
    pub const fn reset(&mut self) {
        self.position = 0;
        self.left = 0;
    }

    /// Handles the next bytes, up to the end of a chunk; all of them when none is begun.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        // What is left of the first chunk that was begun.
        let of_chunk = if self.left == 0 { u64::MAX } else { (self.left - 1) % self.chunk + 1 };
        let used = usize::try_from(of_chunk).unwrap_or(usize::MAX).min(input.len());
        if !pattern::matches(SERVED_SEED, self.position, &input[..used]) {
            return Err(Fault::Corrupt);
        }
        self.position += used as u64;
        if self.left == 0 {
            return Ok((used, Progress::Pending));
        }
        self.left -= used as u64;
        let done = used as u64 == of_chunk;
        Ok((used, if done { Progress::Done { failed: false, close: false } } else { Progress::Pending }))
    }
}
