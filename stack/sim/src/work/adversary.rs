//! What an adversary says in its ACKs to make a sender work.

use super::Cell;
use super::peer::SackAck;
use crate::attack::Numbers;
use corelane_proto::tcp::segment::SackBlocks;
use corelane_proto::tcp::seq::Seq;

/// What the blocks, and the numbers, of the ACKs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// The same blocks again and again.
    Same,
    /// Every other segment, from the front on.
    EveryOther,
    /// Blocks of two segments that move on by one.
    Sliding,
    /// Every other segment, from the far end on.
    Inwards,
    /// Ranges that chance draws, of up to an eighth of the window.
    Random,
    /// D-SACKs, below SND.UNA and inside of another block.
    Duplicates,
    /// Two sets of blocks in turn.
    Alternating,
    /// Beyond SND.NXT, below SND.UNA, back to front, empty.
    Bogus,
    /// Everything but the first segment.
    AllButFirst,
    /// A byte more each time, and every other segment.
    Bytes,
    /// A loss, and a byte with an old timestamp that says it was none, in turn.
    Undo,
    /// A loss, and a D-SACK of its repair, in turn.
    UndoByDuplicates,
    /// The number moves up to what a block has told of.
    Reneging,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 13] = [
        Self::Same,
        Self::EveryOther,
        Self::Sliding,
        Self::Inwards,
        Self::Random,
        Self::Duplicates,
        Self::Alternating,
        Self::Bogus,
        Self::AllButFirst,
        Self::Bytes,
        Self::Undo,
        Self::UndoByDuplicates,
        Self::Reneging,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::EveryOther => "every_other",
            Self::Sliding => "sliding",
            Self::Inwards => "inwards",
            Self::Random => "random",
            Self::Duplicates => "duplicates",
            Self::Alternating => "alternating",
            Self::Bogus => "bogus",
            Self::AllButFirst => "all_but_first",
            Self::Bytes => "bytes",
            Self::Undo => "undo",
            Self::UndoByDuplicates => "undo_by_duplicates",
            Self::Reneging => "reneging",
        }
    }
}

/// One of them at work.
pub(crate) struct Adversary {
    pattern: Pattern,
    bytes: u32,
    segments: u32,
    first: Seq,
    turn: u32,
    numbers: Numbers,
}

impl Adversary {
    /// Against the window of `cell`, which begins at `first`.
    pub(crate) fn new(cell: &Cell, first: Seq) -> Self {
        let (pattern, bytes, segments) = (cell.pattern, u32::from(cell.bytes), cell.segments);
        Self { pattern, bytes, segments, first, turn: 0, numbers: Numbers(1) }
    }

    /// The next ACK, when everything before `una` is acknowledged and before `nxt` sent.
    pub(crate) fn next_ack(&mut self, una: Seq, nxt: Seq) -> SackAck {
        self.turn = self.turn.wrapping_add(1);
        // Segments begin where they did when the window was filled.
        let front = self.first + una.since(self.first).next_multiple_of(self.bytes);
        let count = (nxt.since(front) / self.bytes).clamp(8, self.segments);
        let mut say = SackAck { ack: una, blocks: SackBlocks::EMPTY, is_old_echo: false };
        if !self.say_segments(front, count, &mut say) {
            self.say_tricks(front, nxt, count, &mut say);
        }
        say
    }

    /// Blocks of the `count` segments from `front` on; false where the pattern has more than that to say.
    fn say_segments(&mut self, front: Seq, count: u32, say: &mut SackAck) -> bool {
        let (turn, bytes) = (self.turn, self.bytes);
        for n in 0..4 {
            let (from, len) = match self.pattern {
                Pattern::Same => (count - 7 + 2 * n, 1),
                Pattern::Alternating => ((1 + 2 * n + turn % 2 * (count / 2)) % count, 1),
                Pattern::Sliding => ((turn + n * count / 4) % count, 2),
                Pattern::Inwards => (count - 1 - (turn * 4 + n) * 2 % (count - 2), 1),
                Pattern::EveryOther => (every_other(turn * 4 + n, count), 1),
                Pattern::Random => {
                    let from = 1 + self.numbers.next_u32() % (count - 1);
                    (from, 1 + self.numbers.next_u32() % (count / 8))
                }
                _ => return false,
            };
            say.blocks.push(front + from * bytes, front + (from + len) * bytes);
        }
        true
    }

    /// What is more than blocks of segments that are out.
    fn say_tricks(&self, front: Seq, nxt: Seq, count: u32, say: &mut SackAck) {
        let (turn, bytes, una) = (self.turn, self.bytes, say.ack);
        let at = |index: u32| front + index * bytes;
        let is_even = turn.is_multiple_of(2);
        let others = |blocks: &mut SackBlocks| {
            for n in 0..4 {
                let from = every_other(turn * 4 + n, count);
                blocks.push(at(from), at(from + 1));
            }
        };
        match self.pattern {
            Pattern::Duplicates if is_even => {
                say.blocks.push(una - bytes, una);
                others(&mut say.blocks);
            }
            Pattern::Duplicates => {
                let from = 1 + (turn * 2) % (count - 4);
                say.blocks.push(at(from), at(from + 1));
                say.blocks.push(at(from), at(from + 2));
            }
            Pattern::Bogus => {
                say.blocks.push(nxt, nxt + bytes);
                say.blocks.push(una - 1000 * bytes, una - 999 * bytes);
                say.blocks.push(at(count / 2), at(count / 3));
                say.blocks.push(at(3), at(3) + turn % 2);
            }
            Pattern::AllButFirst => {
                say.blocks.push(at(1), nxt);
            }
            Pattern::Bytes => {
                say.ack = (una + 1).min(nxt);
                others(&mut say.blocks);
            }
            Pattern::Undo if is_even => (say.ack, say.is_old_echo) = ((una + 1).min(nxt), true),
            Pattern::UndoByDuplicates if is_even => {
                say.ack = (una + bytes).min(nxt);
                say.blocks.push(una, say.ack);
            }
            Pattern::Reneging => {
                say.ack = (una + bytes).min(nxt);
                for n in 1..4 {
                    say.blocks.push(at(2 * n), at(2 * n + 1));
                }
            }
            // A loss.
            _ => {
                say.blocks.push(nxt - bytes * (1 + turn % 100), nxt);
            }
        }
    }
}

/// Of `count` segments every second, over and over.
fn every_other(n: u32, count: u32) -> u32 {
    1 + n * 2 % (count - 1)
}
