//! What an ACK costs a sender, for a counter of instructions (`scripts/instructions`).
//!
//! Nothing is timed here: valgrind counts what happens inside of `counted`, and gives a sum whenever `part_ends` is
//! called. Everything else, the peer above all, is not counted. A run does the same on every machine.

mod adversary;
mod exchange;
mod peer;

pub use adversary::Pattern;
pub use exchange::{bulk, echo};

pub(crate) use adversary::Adversary;
use corelane_proto::Endpoint;
use peer::Sender;
use std::hint::black_box;
use std::time::Duration;

/// Time between two ACKs of an adversary.
const BETWEEN_ACKS: Duration = Duration::from_micros(10);
/// After so many ACKs the adversary may keep silent until the sender's timers have fired.
const BETWEEN_PAUSES: u64 = 4096;
/// Deadlines that such a silence lasts.
const DEADLINES: usize = 3;

/// One window full of segments under one adversary.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What the adversary says.
    pub pattern: Pattern,
    /// Segments that are out.
    pub segments: u32,
    /// Bytes of each; the application hands them over in such pieces.
    pub bytes: u16,
    /// The adversary is silent now and then, so that timers fire.
    pub pauses: bool,
    /// Without timestamps there is room for four blocks.
    pub timestamps: bool,
}

/// What happened in a part of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    /// ACKs that came.
    pub acks: u64,
    /// Segments that went, new and again.
    pub sent: u64,
    /// Recoveries that began, and how many of them were undone.
    pub recoveries: u32,
    /// See `recoveries`.
    pub undone: u32,
    /// Retransmission time-outs.
    pub time_outs: u32,
}

impl Cell {
    /// Sends `acks` ACKs in `parts` parts; tells of each part when it is over, in the moment in which it is counted.
    pub fn run(&self, acks: u64, parts: u64, mut over: impl FnMut(Part)) {
        let mut sender = Sender::with_window(self);
        let mut adversary = Adversary::new(self, sender.first());
        let mut sum = Part::default();
        let mut before = sender.counts();
        part_ends(0);
        for n in 1..=acks {
            let ack = adversary.next_ack(sender.una(), sender.nxt());
            sender.advance(BETWEEN_ACKS);
            sum.sent += sender.take(&ack);
            sum.acks += 1;
            if self.pauses && n.is_multiple_of(BETWEEN_PAUSES) {
                sum.sent += (0..DEADLINES).map(|_| sender.wait_for_timer()).sum::<u64>();
            }
            sender.refill(self);
            if n % (acks / parts).max(1) == 0 {
                let counts = sender.counts();
                sum.recoveries = counts.recoveries - before.recoveries;
                sum.undone = counts.undone - before.undone;
                sum.time_outs = counts.time_outs - before.time_outs;
                part_ends(n);
                over(std::mem::take(&mut sum));
                before = counts;
            }
        }
    }
}

/// Valgrind counts what happens in here.
#[inline(never)]
fn counted<T>(endpoint: &mut Endpoint, what: impl FnOnce(&mut Endpoint) -> T) -> T {
    black_box(what(black_box(endpoint)))
}

/// Valgrind gives the sum of what it has counted when this is called.
#[inline(never)]
fn part_ends(number: u64) {
    black_box(number);
}
