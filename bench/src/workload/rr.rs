//! Request and response of chosen sizes: each request says how long it is and how long the answer shall be.
//!
//! A request is a head of eight bytes, two 32-bit numbers in little-endian order (bytes that follow the head, bytes of
//! the answer), and then so many bytes of the [pattern]. The answer is bare pattern.

use super::pattern::{self, SERVED_SEED};
use super::size::Draw;
use super::{Fault, Output, Progress, Tally, echo};
use std::collections::VecDeque;

/// Bytes of a request's head.
pub const HEAD: u64 = 8;
/// What a body or an answer may have at most: 1 GiB.
pub const LIMIT: u64 = 1 << 30;

/// The server's side.
#[derive(Clone, Debug, Default)]
pub struct Server {
    head: [u8; HEAD as usize],
    head_len: usize,
    body_left: u64,
    /// How far the answer is written, and how long it is.
    answer: std::ops::Range<u64>,
    refused: bool,
}

impl Server {
    /// Handles bytes as they come; says how many it consumed.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output, tally: &mut Tally) -> usize {
        let mut used = 0;
        loop {
            self.on_writable(out);
            if used == input.len() || self.wants_write() || self.refused {
                return used;
            }
            used += self.take(&input[used..], tally);
        }
    }

    fn take(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        let used;
        if self.head_len < self.head.len() {
            used = input.len().min(self.head.len() - self.head_len);
            self.head[self.head_len..self.head_len + used].copy_from_slice(&input[..used]);
            self.head_len += used;
            if self.head_len < self.head.len() {
                return used;
            }
            let [body, _] = self.lengths();
            self.body_left = body;
        } else {
            used = usize::try_from(self.body_left).unwrap_or(usize::MAX).min(input.len());
            self.body_left -= used as u64;
        }
        if self.body_left == 0 {
            let [body, answer] = self.lengths();
            self.head_len = 0;
            self.refused = body > LIMIT || answer > LIMIT;
            if self.refused {
                tally.rejected += 1;
            } else {
                tally.requests += 1;
                self.answer = 0..answer;
            }
        }
        used
    }

    fn lengths(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h] = self.head;
        [u32::from_le_bytes([a, b, c, d]).into(), u32::from_le_bytes([e, f, g, h]).into()]
    }

    /// Writes what fits of the answer.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.answer.start += echo::pattern_to(SERVED_SEED, self.answer.clone(), out);
    }

    /// Whether an answer waits for room.
    pub const fn wants_write(&self) -> bool {
        self.answer.start < self.answer.end
    }

    /// Whether the peer asked for more than there is, which ends the connection.
    pub const fn is_finished(&self) -> bool {
        self.refused
    }
}

/// The client's side.
#[derive(Clone, Debug)]
pub struct Client {
    requests: Draw,
    answers: Draw,
    /// Requests that are not written yet, as the lengths of body and answer.
    queued: VecDeque<(u64, u64)>,
    /// How far the first of them is written, its head included.
    written: u64,
    /// Lengths of the answers that are outstanding.
    expected: VecDeque<u64>,
    received: u64,
}

impl Client {
    /// A connection whose requests (head included, so at least [`HEAD`] bytes) and answers have these sizes.
    pub fn new(requests: Draw, answers: Draw) -> Self {
        Self { requests, answers, queued: VecDeque::new(), written: 0, expected: VecDeque::new(), received: 0 }
    }

    /// Begins the next request.
    pub fn begin(&mut self) {
        let body = self.requests.next_size().saturating_sub(HEAD).min(LIMIT);
        let answer = self.answers.next_size().clamp(1, LIMIT);
        self.queued.push_back((body, answer));
        self.expected.push_back(answer);
    }

    /// The connection was made anew.
    pub fn reset(&mut self) {
        self.queued.clear();
        self.expected.clear();
        self.written = 0;
        self.received = 0;
    }

    /// Writes what fits.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        while let Some(&(body, answer)) = self.queued.front() {
            if self.written < HEAD {
                let mut head = [0; HEAD as usize];
                // Both are at most LIMIT, which 32 bits hold.
                head[..4].copy_from_slice(&(body as u32).to_le_bytes());
                head[4..].copy_from_slice(&(answer as u32).to_le_bytes());
                self.written += out.write(&head[self.written as usize..]) as u64;
            }
            if self.written >= HEAD {
                self.written += echo::pattern_to(SERVED_SEED, self.written - HEAD..body, out);
            }
            if self.written < HEAD + body {
                return;
            }
            self.queued.pop_front();
            self.written = 0;
        }
    }

    /// Whether something is still to be written.
    pub fn wants_write(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Handles the next bytes, up to the end of one answer.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        let length = *self.expected.front().ok_or(Fault::Unexpected)?;
        let used = usize::try_from(length - self.received).unwrap_or(usize::MAX).min(input.len());
        if !pattern::matches(SERVED_SEED, self.received, &input[..used]) {
            return Err(Fault::Corrupt);
        }
        self.received += used as u64;
        if self.received < length {
            return Ok((used, Progress::Pending));
        }
        self.expected.pop_front();
        self.received = 0;
        Ok((used, Progress::Done { failed: false, close: false }))
    }
}
