//! The client's side of one connection: GETs and SETs over a range of keys, every value checked.

use crate::workload::pattern;
use crate::workload::queue::WriteQueue;
use crate::workload::size::Draw;
use crate::workload::{Fault, Output, Progress};
use rand::RngExt;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::VecDeque;
use std::io::Write;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mix {
    /// The share of GETs, 0 to 1; the others are SETs.
    pub get_ratio: f64,
    /// How many keys there are; each is as likely.
    pub keys: u64,
}

/// The longest status line that is taken.
const LINE: usize = 512;

/// An answer that is outstanding.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Value { key: u64 },
    Stored,
}

/// How far the first outstanding answer has come.
#[derive(Clone, Debug)]
enum Phase {
    /// Reading its first line.
    Line,
    /// Reading a value of `key`, `length` bytes and a line end, of which `read` have come.
    Value { key: u64, length: u64, read: u64 },
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Client {
    mix: Mix,
    values: Draw,
    random: Xoshiro256PlusPlus,
    queue: WriteQueue,
    expected: VecDeque<Expected>,
    phase: Phase,
    line: Vec<u8>,
    misses: u64,
}

/// The value of key `key` is the beginning of this stream, however long: any client can check any other's.
const fn value_seed(key: u64) -> u64 {
    key ^ 0x6b65_7973
}

impl Client {
    /// A connection that asks for `mix`, with values of these sizes.
    pub fn new(mix: Mix, values: Draw, seed: u64) -> Self {
        Self {
            mix,
            values,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            queue: WriteQueue::default(),
            expected: VecDeque::new(),
            phase: Phase::Line,
            line: Vec::new(),
            misses: 0,
        }
    }

    /// Begins the next command.
    pub fn begin(&mut self) {
        let key = self.random.random_range(0..self.mix.keys.max(1));
        // Writing to a vector cannot fail.
        if self.random.random::<f64>() < self.mix.get_ratio {
            let _ = write!(self.queue.end(), "*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n");
            self.expected.push_back(Expected::Value { key });
        } else {
            let length = usize::try_from(self.values.next_size()).unwrap_or(0).min(super::VALUE_LIMIT);
            let queue = self.queue.end();
            let _ = write!(queue, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${length}\r\n");
            let from = queue.len();
            queue.resize(from + length, 0);
            pattern::fill(value_seed(key), 0, &mut queue[from..]);
            queue.extend_from_slice(b"\r\n");
            self.expected.push_back(Expected::Stored);
        }
    }

    /// The connection was made anew.
    pub fn reset(&mut self) {
        self.queue.clear();
        self.expected.clear();
        self.phase = Phase::Line;
        self.line.clear();
    }

    /// Writes what fits.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.queue.write_to(out);
    }

    /// Whether something is still to be written.
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// GETs of keys that were not there.
    pub const fn misses(&self) -> u64 {
        self.misses
    }

    /// Handles the next bytes, up to the end of one answer.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        let expected = *self.expected.front().ok_or(Fault::Unexpected)?;
        let mut used = 0;
        while used < input.len() {
            let done = match self.phase {
                Phase::Line => {
                    used += self.read_line(&input[used..])?;
                    if self.line.ends_with(b"\r\n") { self.understand(expected)? } else { None }
                }
                Phase::Value { key, length, read } => {
                    let taken = value_bytes(key, length, read, &input[used..])?;
                    used += taken;
                    let read = read + taken as u64;
                    self.phase = Phase::Value { key, length, read };
                    (read == length + 2).then_some(false)
                }
            };
            if let Some(failed) = done {
                self.phase = Phase::Line;
                self.expected.pop_front();
                return Ok((used, Progress::Done { failed, close: false }));
            }
        }
        Ok((used, Progress::Pending))
    }

    fn read_line(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let used = input.iter().position(|byte| *byte == b'\n').map_or(input.len(), |end| end + 1);
        if self.line.len() + used > LINE {
            return Err(Fault::Malformed);
        }
        self.line.extend_from_slice(&input[..used]);
        Ok(used)
    }

    /// What a line means: an answer that is complete (and whether it says no), or the beginning of one.
    fn understand(&mut self, expected: Expected) -> Result<Option<bool>, Fault> {
        let line = std::mem::take(&mut self.line);
        match (line.first(), expected) {
            (Some(b'-'), _) => Ok(Some(true)),
            (Some(b'+'), Expected::Stored) if line == b"+OK\r\n" => Ok(Some(false)),
            (Some(b'$'), Expected::Value { .. }) if line == b"$-1\r\n" => {
                self.misses += 1;
                Ok(Some(false))
            }
            (Some(b'$'), Expected::Value { key }) => {
                let digits = std::str::from_utf8(&line[1..line.len() - 2]).map_err(|_| Fault::Malformed)?;
                let length = digits.parse().map_err(|_| Fault::Malformed)?;
                if length > 1 << 32 {
                    return Err(Fault::Malformed);
                }
                self.phase = Phase::Value { key, length, read: 0 };
                Ok(None)
            }
            _ => Err(Fault::Malformed),
        }
    }
}

/// Checks the front of `input` against the bytes of a value and its line end from place `read` on; how many those were.
fn value_bytes(key: u64, length: u64, read: u64, input: &[u8]) -> Result<usize, Fault> {
    if read < length {
        let taken = usize::try_from(length - read).unwrap_or(usize::MAX).min(input.len());
        return if pattern::matches(value_seed(key), read, &input[..taken]) { Ok(taken) } else { Err(Fault::Corrupt) };
    }
    let end = if read == length { b'\r' } else { b'\n' };
    if input[0] == end { Ok(1) } else { Err(Fault::Malformed) }
}
