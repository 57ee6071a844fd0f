//! Echo: every byte comes back. The client checks every byte.

use super::pattern;
use super::size::{Draw, Sizes};
use super::{Fault, Output, Progress};
use std::collections::VecDeque;

/// The server's side: nothing to remember but whether the last answer was cut short.
#[derive(Clone, Debug, Default)]
pub struct Server {
    blocked: bool,
}

impl Server {
    /// Sends back what fits of `input` and says how much that was.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output) -> usize {
        let taken = out.write(input);
        self.blocked = taken < input.len();
        taken
    }

    /// There is room again; the bytes that did not fit are still the transport's and come again.
    pub fn on_writable(&mut self) {
        self.blocked = false;
    }

    /// Whether it waits for room.
    pub const fn wants_write(&self) -> bool {
        self.blocked
    }
}

/// The client's side: the messages are consecutive runs of the connection's own stream.
#[derive(Clone, Debug)]
pub struct Client {
    seed: u64,
    sizes: Draw,
    /// Where the messages end that are not answered yet.
    ends: VecDeque<u64>,
    end: u64,
    sent: u64,
    received: u64,
}

impl Client {
    /// A connection whose messages are runs of the stream of `seed`; an empty one becomes one byte.
    pub fn new(sizes: Sizes, seed: u64) -> Self {
        Self { seed, sizes: Draw::new(sizes, seed), ends: VecDeque::new(), end: 0, sent: 0, received: 0 }
    }

    /// The connection was made anew: both directions begin at the next message.
    pub fn reset(&mut self) {
        self.ends.clear();
        self.sent = self.end;
        self.received = self.end;
    }

    /// Begins the next message.
    pub fn begin(&mut self) {
        self.end += self.sizes.next_size().max(1);
        self.ends.push_back(self.end);
    }

    /// Writes what fits of the messages.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.sent += pattern_to(self.seed, self.sent..self.end, out);
    }

    /// Whether a part of a message is still to be written.
    pub const fn wants_write(&self) -> bool {
        self.sent < self.end
    }

    /// Checks `input` against what was sent, up to the end of one message.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        let end = *self.ends.front().ok_or(Fault::Unexpected)?;
        let used = usize::try_from(end - self.received).unwrap_or(usize::MAX).min(input.len());
        if self.received + used as u64 > self.sent {
            return Err(Fault::Unexpected);
        }
        if !pattern::matches(self.seed, self.received, &input[..used]) {
            return Err(Fault::Corrupt);
        }
        self.received += used as u64;
        if self.received < end {
            return Ok((used, Progress::Pending));
        }
        self.ends.pop_front();
        Ok((used, Progress::Done { failed: false, close: false }))
    }
}

/// Writes what fits of the places `range` of the stream of `seed`; says how many bytes that were. When there is no room
/// it tries nevertheless, because only a write that fell short makes a transport say when there is room again.
pub(super) fn pattern_to(seed: u64, range: std::ops::Range<u64>, out: &mut dyn Output) -> u64 {
    let mut at = range.start;
    let mut piece = [0; 4096];
    while at < range.end {
        let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(piece.len()).min(out.room().max(1));
        pattern::fill(seed, at, &mut piece[..wanted]);
        let taken = out.write(&piece[..wanted]);
        at += taken as u64;
        if taken < wanted {
            break;
        }
    }
    at - range.start
}
