//! The server's side of one connection.

use super::command::{self, Next};
use super::resp::{self, Parsed};
use super::store::Store;
use crate::workload::{Output, Tally};
use std::sync::Arc;

/// Commands are not looked at while more than this waits to be written.
const REPLY_HIGH: usize = 64 * 1024;
/// A buffer that has grown beyond this is not kept for the next command.
const KEEP: usize = 64 * 1024;

/// One connection. It keeps at most one command and its answer beside 64 KiB of answers.
#[derive(Debug)]
pub struct Server {
    store: Arc<Store>,
    /// The beginning of a command that has not come whole.
    partial: Vec<u8>,
    reply: Vec<u8>,
    written: usize,
    ends: bool,
}

impl Server {
    /// A fresh connection to `store`.
    pub const fn new(store: Arc<Store>) -> Self {
        Self { store, partial: Vec::new(), reply: Vec::new(), written: 0, ends: false }
    }

    /// Handles bytes as they come; says how many it consumed.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output, tally: &mut Tally) -> usize {
        let mut used = 0;
        loop {
            self.on_writable(out);
            if used == input.len() || self.wants_write() || self.ends {
                return used;
            }
            used += if self.partial.is_empty() {
                self.take(&input[used..], tally)
            } else {
                self.complete(&input[used..], tally)
            };
        }
    }

    /// Does the commands at the front of `input`, and keeps the beginning of one at its end; how many bytes those were.
    fn take(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        let mut used = 0;
        while used < input.len() && !self.ends && self.reply.len() < REPLY_HIGH {
            match self.take_one(&input[used..], tally) {
                Some(bytes) => used += bytes,
                None => {
                    self.partial.extend_from_slice(&input[used..]);
                    return input.len();
                }
            }
        }
        used
    }

    /// Adds `input` to the beginning of a command, and does it if it is whole then; how many bytes of `input` it took.
    fn complete(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        let before = self.partial.len();
        let mut buffer = std::mem::take(&mut self.partial);
        buffer.extend_from_slice(input);
        match self.take_one(&buffer, tally) {
            Some(bytes) => bytes.saturating_sub(before),
            None => {
                self.partial = buffer;
                input.len()
            }
        }
    }

    /// Does the command at the front of `input`; how many bytes it had, or `None` if it is not whole.
    fn take_one(&mut self, input: &[u8], tally: &mut Tally) -> Option<usize> {
        match resp::parse(input) {
            Parsed::Nothing(bytes) => Some(bytes),
            Parsed::Partial => None,
            Parsed::Command(words, bytes) => {
                match command::execute(&words, &self.store, &mut self.reply) {
                    Ok(next) => {
                        tally.requests += 1;
                        self.ends = next == Next::Ends;
                    }
                    Err(text) => {
                        tally.rejected += 1;
                        command::error(&mut self.reply, &text);
                    }
                }
                Some(bytes)
            }
            Parsed::Wrong(text) => {
                tally.rejected += 1;
                command::error(&mut self.reply, &format!("ERR Protocol error: {text}"));
                self.ends = true;
                Some(input.len())
            }
        }
    }

    /// Writes what fits of the answers.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        if self.wants_write() {
            self.written += out.write(&self.reply[self.written..]);
            if self.written == self.reply.len() {
                self.written = 0;
                self.reply.clear();
                if self.reply.capacity() > KEEP {
                    self.reply = Vec::new();
                }
            }
        }
    }

    /// Whether an answer waits for room.
    pub const fn wants_write(&self) -> bool {
        self.written < self.reply.len()
    }

    /// Whether the connection ends: after QUIT, or after what was not the protocol.
    pub const fn is_finished(&self) -> bool {
        self.ends && !self.wants_write()
    }
}
