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
        let begun = una.since(self.first).next_multiple_of(self.bytes);
        let front = self.first + begun;
        let mut say = SackAck { ack: una, blocks: SackBlocks::EMPTY, is_old_echo: false };
        let count = (nxt.since(front) / self.bytes).clamp(8, self.segments);
        self.say(front, nxt, count, &mut say);
        say
    }

    fn say(&mut self, front: Seq, nxt: Seq, count: u32, say: &mut SackAck) {
        let turn = self.turn;
        let bytes = self.bytes;
        let una = say.ack;
        let at = |index: u32| front + index * bytes;
        let mut block = |from: u32, to: u32| {
            say.blocks.push(at(from), at(to));
        };
        match self.pattern {
            Pattern::Same => (1..=4).rev().for_each(|n| block(count - 2 * n + 1, count - 2 * n + 2)),
            Pattern::Alternating => {
                let shift = if turn.is_multiple_of(2) { 0 } else { count / 2 };
                (0..4).for_each(|n| block((1 + 2 * n + shift) % count, (1 + 2 * n + shift) % count + 1));
            }
            Pattern::Sliding => {
                (0..4).for_each(|n| block((turn + n * count / 4) % count, (turn + n * count / 4) % count + 2))
            }
            Pattern::Inwards => (0..4).for_each(|n| {
                let back = (turn * 4 + n) * 2 % (count - 2);
                block(count - 1 - back, count - back);
            }),
            Pattern::EveryOther => (0..4).for_each(|n| every_other(turn * 4 + n, count, &mut block)),
            Pattern::Random => (0..4).for_each(|_| {
                let from = 1 + self.numbers.next_u32() % (count - 1);
                block(from, from + 1 + self.numbers.next_u32() % (count / 8));
            }),
            Pattern::Duplicates if turn.is_multiple_of(2) => {
                say.blocks.push(una - bytes, una);
                (1..4).for_each(|n| {
                    every_other(turn * 4 + n, count, &mut |from, to| {
                        say.blocks.push(at(from), at(to));
                    })
                });
            }
            Pattern::Duplicates => {
                let from = 1 + (turn * 2) % (count - 4);
                block(from, from + 1);
                block(from, from + 2);
            }
            Pattern::Bogus => {
                say.blocks.push(nxt, nxt + bytes);
                say.blocks.push(una - 1000 * bytes, una - 999 * bytes);
                say.blocks.push(at(count / 2), at(count / 3));
                say.blocks.push(at(3), at(3) + u32::from(turn.is_multiple_of(2)));
            }
            Pattern::AllButFirst => {
                say.blocks.push(at(1), nxt);
            }
            Pattern::Bytes => {
                say.ack = (una + 1).min(nxt);
                (0..4).for_each(|n| {
                    every_other(turn * 4 + n, count, &mut |from, to| {
                        say.blocks.push(at(from), at(to));
                    })
                });
            }
            Pattern::Undo if turn.is_multiple_of(2) => {
                (say.ack, say.is_old_echo) = ((una + 1).min(nxt), true);
            }
            Pattern::Undo => {
                say.blocks.push(nxt - bytes * (1 + turn % 100), nxt);
            }
            Pattern::UndoByDuplicates if turn.is_multiple_of(2) => {
                say.ack = (una + bytes).min(nxt);
                say.blocks.push(una, say.ack);
            }
            Pattern::UndoByDuplicates => {
                say.blocks.push(nxt - bytes * (1 + turn % 100), nxt);
            }
            Pattern::Reneging => {
                say.ack = (una + bytes).min(nxt);
                (1..4).for_each(|n| {
                    say.blocks.push(at(2 * n), at(2 * n + 1));
                });
            }
        }
    }
}

/// Of `count` segments every second, over and over.
fn every_other(n: u32, count: u32, block: &mut impl FnMut(u32, u32)) {
    let from = 1 + n * 2 % (count - 1);
    block(from, from + 1);
}
