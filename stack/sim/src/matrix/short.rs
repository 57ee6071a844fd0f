//! The table of short transfers: what one loss costs a response that is over before congestion control has begun.

use super::algorithm::Algorithm;
use super::cell::{self, SEGMENT};
use super::pool;
use super::text::{Table, millis, ratio};
use super::trial::{FlowPlan, Outcome, TrialPlan, run};
use crate::path::{LinkPlan, Loss, Rate};
use std::time::Duration;

const RATE: Rate = Rate::megabits(100);
/// Room for more than the longest of these transfers: nothing is lost but what is meant to be.
const BUFFER_BYTES: u64 = 200_000;
const SIZES: [u64; 2] = [10_000, 100_000];
const RTTS: [Duration; 3] = [Duration::from_millis(1), Duration::from_millis(20), Duration::from_millis(100)];

const HEAD: &str = "\
Completion of a short transfer over 100 Mbit/s whose first or last segments are lost once

ms     from the first byte written to the last byte read, the connection being open before
RTTs   the same in round-trip times of the path; half a one is the least
RTO    retransmission time-outs on the way; they need 200 ms at least
The initial window has 10 segments: 10 kB are 7 segments and leave at once, 100 kB are 70 and need 4 rounds.";

/// Which segments of a transfer are lost, the first time that they are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LostPart {
    /// None.
    Nothing,
    /// The first.
    First,
    /// So many at the end.
    Last(u64),
}

const PARTS: [LostPart; 5] =
    [LostPart::Nothing, LostPart::First, LostPart::Last(1), LostPart::Last(2), LostPart::Last(3)];

impl LostPart {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::First => "the first".to_owned(),
            Self::Last(1) => "the last".to_owned(),
            Self::Last(count) => format!("the last {count}"),
        }
    }

    /// The numbers of the lost ones of `segments`.
    fn numbers(self, segments: u64) -> Vec<u64> {
        match self {
            Self::Nothing => Vec::new(),
            Self::First => vec![0],
            Self::Last(count) => (segments.saturating_sub(count)..segments).collect(),
        }
    }
}

/// A short transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortFlow {
    /// The sender's congestion control.
    pub algorithm: Algorithm,
    /// Bytes.
    pub bytes: u64,
    /// What is lost.
    pub lost: LostPart,
    /// Round-trip time of the path.
    pub rtt: Duration,
}

impl ShortFlow {
    /// Its only trial: nothing depends on chance.
    pub fn plan(&self) -> TrialPlan {
        let (mut forward, back) = cell::path(RATE, self.rtt, 10);
        forward.queue.limit_bytes = BUFFER_BYTES;
        let numbers = self.lost.numbers(self.bytes.div_ceil(SEGMENT));
        let loss = if numbers.is_empty() { Loss::None } else { Loss::Numbers(numbers) };
        TrialPlan {
            flows: vec![FlowPlan { algorithm: self.algorithm, start: Duration::ZERO, bytes: Some(self.bytes) }],
            forward: LinkPlan { loss, ..forward },
            back,
            buffer: cell::buffer(RATE, self.rtt),
            ecn: false,
            seed: 1,
            window: None,
            sample_every: None,
        }
    }
}

/// The whole table.
pub(super) fn table(jobs: usize) -> Table {
    let mut flows = Vec::new();
    for algorithm in Algorithm::ALL.iter().copied() {
        for bytes in SIZES {
            let of_part = |lost| RTTS.map(|rtt| ShortFlow { algorithm, bytes, lost, rtt });
            flows.extend(PARTS.into_iter().flat_map(of_part));
        }
    }
    let outcomes = pool::map(&flows, jobs, |flow| run(&flow.plan()));
    let mut table = Table::new("short_flows");
    table.push(HEAD);
    let rows = flows.chunks_exact(RTTS.len()).zip(outcomes.chunks_exact(RTTS.len()));
    for (index, (flows, outcomes)) in rows.enumerate() {
        if index % (SIZES.len() * PARTS.len()) == 0 {
            push_head(&mut table, flows[0].algorithm);
        } else if index % PARTS.len() == 0 {
            table.push("");
        }
        table.push(&line(flows, outcomes));
    }
    table
}

fn push_head(table: &mut Table, algorithm: Algorithm) {
    let mut names = format!("\n{:<22}", algorithm.name());
    let mut units = format!("{:>8}  {:<12}", "size", "lost");
    for rtt in RTTS {
        names += &format!("   {:>20}", format!("RTT {} ms", rtt.as_millis()));
        units += &format!("   {:>9} {:>6} {:>3}", "ms", "RTTs", "RTO");
    }
    table.push(&names);
    table.push(&units);
}

fn line(flows: &[ShortFlow], outcomes: &[Outcome]) -> String {
    let (bytes, lost) = flows.first().map_or((0, LostPart::Nothing), |flow| (flow.bytes, flow.lost));
    let mut line = format!("{:>8}  {:<12}", format!("{} kB", bytes / 1000), lost.name());
    for (flow, outcome) in flows.iter().zip(outcomes) {
        let time = outcome.completion();
        line += &format!("   {:>9} {:>6} {:>3}", millis(time), ratio(time, flow.rtt), outcome.time_outs());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(bytes: u64, lost: LostPart) -> Outcome {
        run(&ShortFlow { algorithm: Algorithm::NewReno, bytes, lost, rtt: Duration::from_millis(20) }.plan())
    }

    #[test]
    fn as_many_are_lost_as_should_be_and_no_others() {
        for bytes in SIZES {
            for (lost, count) in [(LostPart::Nothing, 0), (LostPart::First, 1), (LostPart::Last(3), 3)] {
                let outcome = outcome(bytes, lost);
                assert_eq!(outcome.forward.dropped(), count, "{bytes} {lost:?}");
                assert!(outcome.completion() < Duration::MAX);
            }
        }
    }

    #[test]
    fn a_clean_response_of_one_window_takes_half_a_round_trip() {
        let time = outcome(10_000, LostPart::Nothing).completion();
        let ideal = Duration::from_millis(10) + RATE.time_of(10_000 + 7 * 66);
        assert!(time >= ideal && time < ideal + Duration::from_micros(100), "{time:?} against {ideal:?}");
    }

    #[test]
    fn the_last_segments_are_the_last() {
        assert_eq!(LostPart::Last(3).numbers(7), [4, 5, 6]);
        assert_eq!(LostPart::First.numbers(7), [0]);
    }
}
