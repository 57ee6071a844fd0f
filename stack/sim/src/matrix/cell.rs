//! A cell of the table of losses: one transfer over one bottleneck.

use super::algorithm::Algorithm;
use super::pool;
use super::trial::{FlowPlan, Outcome, TrialPlan, run};
use crate::path::{DelayPlan, LinkPlan, Loss, QueuePlan, Rate};
use std::time::Duration;

/// Payload of a full segment with timestamps on a link of 1,500 bytes.
pub const SEGMENT: u64 = 1448;
/// The frame around it.
pub(super) const FRAME: u64 = SEGMENT + 66;
/// Least buffer of an application's end.
const LEAST_BUFFER: u64 = 256 * 1024;

/// One transfer over one bottleneck.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cell {
    /// The sender's congestion control.
    pub algorithm: Algorithm,
    /// Probability that a data packet is lost on the wire.
    pub loss: f64,
    /// Round-trip time of the path when nothing waits.
    pub rtt: Duration,
    /// Room in the queue, in tenths of the bandwidth-delay product; a frame has always room.
    pub buffer_tenths: u64,
}

/// The rate of the bottleneck for a round-trip time: 1 Gbit/s below half a millisecond, 100 Mbit/s below ten, else 20
/// Mbit/s. So a bandwidth-delay product has at least eight segments, and a transfer is a few thousand packets, not
/// millions.
pub fn rate_for(rtt: Duration) -> Rate {
    if rtt < Duration::from_micros(500) {
        Rate::megabits(1000)
    } else if rtt < Duration::from_millis(10) {
        Rate::megabits(100)
    } else {
        Rate::megabits(20)
    }
}

/// A path of `rate` and `rtt` with room for `buffer_tenths` of a tenth of their product: the way of the data, and that of
/// the ACKs, which has no bottleneck.
pub(super) fn path(rate: Rate, rtt: Duration, buffer_tenths: u64) -> (LinkPlan, LinkPlan) {
    let delay = DelayPlan { base: rtt / 2, ..DelayPlan::default() };
    let limit_bytes = (rate.bytes_in(rtt) * buffer_tenths / 10).max(FRAME);
    let queue = QueuePlan { rate: Some(rate), limit_bytes, mark_above_bytes: None };
    (LinkPlan { queue, delay, ..LinkPlan::default() }, LinkPlan { delay, ..LinkPlan::default() })
}

/// What a connection over that path may have in its buffers: eight bandwidth-delay products, so that the network is the
/// limit also with four of them in the queue.
pub(super) fn buffer(rate: Rate, rtt: Duration) -> u32 {
    u32::try_from((8 * rate.bytes_in(rtt)).max(LEAST_BUFFER)).unwrap_or(u32::MAX)
}

impl Cell {
    /// The bottleneck's rate.
    pub fn rate(&self) -> Rate {
        rate_for(self.rtt)
    }

    /// Segments of the transfer: more where losses are rare, so that there are some.
    pub fn segments(&self) -> u64 {
        match self.loss {
            loss if loss < 0.000_5 => 20_000,
            loss if loss < 0.005 => 10_000,
            loss if loss < 0.02 => 4_000,
            loss if loss < 0.05 => 2_000,
            _ => 1_000,
        }
    }

    /// Trials whose median is the cell: without random loss they would all be the same.
    pub fn trials(&self) -> u64 {
        match self.loss {
            loss if loss <= 0.0 => 1,
            loss if loss < 0.005 => 3,
            _ => 5,
        }
    }

    /// The trial of a seed.
    pub fn plan(&self, seed: u64) -> TrialPlan {
        let (rate, rtt) = (self.rate(), self.rtt);
        let (forward, back) = path(rate, rtt, self.buffer_tenths);
        let loss = if self.loss > 0.0 { Loss::Random(self.loss) } else { Loss::None };
        let bytes = Some(self.segments() * SEGMENT);
        TrialPlan {
            flows: vec![FlowPlan { algorithm: self.algorithm, start: Duration::ZERO, bytes }],
            forward: LinkPlan { loss, ..forward },
            back,
            buffer: buffer(rate, rtt),
            ecn: false,
            seed,
            window: None,
            sample_every: None,
        }
    }
}

/// For each item the trial with the median completion of those that `plans` gives for it.
pub(super) fn medians<T>(jobs: usize, items: &[T], plans: impl Fn(&T) -> Vec<TrialPlan>) -> Vec<Outcome> {
    let of_item = |(index, item)| plans(item).into_iter().map(move |plan| (index, plan));
    let trials: Vec<(usize, TrialPlan)> = items.iter().enumerate().flat_map(of_item).collect();
    let outcomes = pool::map(&trials, jobs, |(index, plan)| (*index, run_lean(plan)));
    let mut of_items: Vec<Vec<Outcome>> = items.iter().map(|_| Vec::new()).collect();
    outcomes.into_iter().for_each(|(index, outcome)| of_items[index].push(outcome));
    of_items.into_iter().map(median).collect()
}

/// The outcome with the median completion of all that are there.
fn median(mut outcomes: Vec<Outcome>) -> Outcome {
    outcomes.sort_by_key(Outcome::completion);
    let middle = outcomes.len().saturating_sub(1) / 2;
    if outcomes.is_empty() { Outcome::default() } else { outcomes.swap_remove(middle) }
}

/// Runs a trial and forgets its drops, which no table shows.
fn run_lean(plan: &TrialPlan) -> Outcome {
    Outcome { marks: Vec::new(), ..run(plan) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(loss: f64, rtt_us: u64) -> Cell {
        Cell { algorithm: Algorithm::NewReno, loss, rtt: Duration::from_micros(rtt_us), buffer_tenths: 10 }
    }

    #[test]
    fn a_product_has_eight_segments_and_a_buffer_a_frame() {
        for rtt in [100, 1_000, 20_000, 100_000] {
            let cell = cell(0.0, rtt);
            assert!(cell.rate().bytes_in(cell.rtt) >= 8 * FRAME, "{rtt}");
            assert!(path(cell.rate(), cell.rtt, 1).0.queue.limit_bytes >= FRAME);
            assert!(u64::from(buffer(cell.rate(), cell.rtt)) >= 8 * cell.rate().bytes_in(cell.rtt));
        }
    }

    #[test]
    fn a_transfer_without_any_loss_fills_the_link() {
        // The queue holds more than the windows allow, so that slow start loses nothing.
        let cell = Cell { buffer_tenths: 100, ..cell(0.0, 20_000) };
        let outcome = run(&cell.plan(1));
        let (time, ideal) = (outcome.completion(), cell.rate().time_of(cell.segments() * FRAME));
        assert_eq!(outcome.forward.dropped(), 0);
        assert!(time > ideal && time < ideal * 102 / 100, "{time:?} against {ideal:?}");
    }

    #[test]
    fn a_seed_says_the_same_twice() {
        let plan = cell(0.1, 1_000).plan(5);
        let outcome = || run(&plan);
        let (one, two) = (outcome(), outcome());
        assert_eq!((one.completion(), one.forward, &one.marks), (two.completion(), two.forward, &two.marks));
        assert_ne!(run(&cell(0.1, 1_000).plan(6)).completion(), two.completion());
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let outcome = |ms| Outcome {
            flows: vec![super::super::FlowOutcome {
                completion: Some(Duration::from_millis(ms)),
                ..Default::default()
            }],
            ..Outcome::default()
        };
        assert_eq!(median([5, 1, 9].map(outcome).to_vec()).completion(), Duration::from_millis(5));
        assert_eq!(median(Vec::new()).completion(), Duration::MAX);
    }
}
