//! The table of fairness: two and eight transfers share a bottleneck.

use super::algorithm::Algorithm;
use super::cell::path;
use super::pool;
use super::text::{Table, percent};
use super::trial::{FlowPlan, Outcome, TrialPlan, run};
use crate::path::Rate;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

const RATE: Rate = Rate::megabits(20);
const RTT: Duration = Duration::from_millis(20);
/// Flows begin within so much.
const STARTS_US: u64 = 1_000_000;
/// What is measured: from when to when.
const WINDOW: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));
const SEEDS: u64 = 3;
const COUNTS: [usize; 2] = [2, 8];
/// Buffers in tenths of a bandwidth-delay product, and above which of its bytes packets are marked.
const QUEUES: [(&str, u64, Option<u64>); 2] = [("drop-tail", 10, None), ("marking", 10, Some(15_000))];

const HEAD: &str = "\
Transfers without end that share a bottleneck: 20 Mbit/s, RTT 20 ms, buffer of 1 BDP (50 kB)

flows     half of them of the first algorithm, half of the second; they begin at random within the first second
queue     drop-tail, or marking what meets more than 15 kB, with all senders speaking ECN
Jain      Jain's index of the bytes that each delivers from second 5 to second 20: 1.000 is the same for all
first     what the first algorithm's flows have of all the bytes, per cent
used      payload bits a second of all together, in per cent of the bottleneck's rate; headers take 4.4 of 100
waiting   mean bytes that wait before the bottleneck, kB
A line is the one with the median index of 3, each with a seed of its own.";

/// A row: who shares with whom.
#[derive(Clone, Copy)]
struct Row {
    pair: [Algorithm; 2],
    flows: usize,
    queue: usize,
}

impl Row {
    fn plan(self, seed: u64) -> TrialPlan {
        let (_, tenths, mark_above_bytes) = QUEUES[self.queue];
        let (mut forward, back) = path(RATE, RTT, tenths);
        forward.queue.mark_above_bytes = mark_above_bytes;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut starts: Vec<u64> = (0..self.flows).map(|_| rng.random_range(0..STARTS_US)).collect();
        starts.sort_unstable();
        // Who is first is as often one as the other.
        let first = rng.random_range(0..2_usize);
        let flow = |(index, start): (usize, &u64)| FlowPlan {
            algorithm: self.pair[(index + first) % 2],
            start: Duration::from_micros(*start),
            bytes: None,
        };
        TrialPlan {
            flows: starts.iter().enumerate().map(flow).collect(),
            forward,
            back,
            buffer: super::cell::buffer(RATE, RTT),
            ecn: mark_above_bytes.is_some(),
            seed,
            window: Some(WINDOW),
            sample_every: None,
        }
    }
}

/// What came of a row with a seed.
struct Share {
    /// In thousandths.
    jain: u128,
    first: u128,
    all: u128,
    waiting: u64,
}

impl Share {
    fn of(plan: &TrialPlan, row: &Row, outcome: &Outcome) -> Self {
        let bytes: Vec<u128> = outcome.flows.iter().map(|flow| u128::from(flow.bytes)).collect();
        let of_first = plan.flows.iter().zip(&bytes).filter(|(flow, _)| flow.algorithm == row.pair[0]);
        Self {
            jain: jain(&bytes),
            first: of_first.map(|(_, bytes)| bytes).sum(),
            all: bytes.iter().sum(),
            waiting: outcome.mean_queue,
        }
    }
}

/// Jain's index (R. Jain, D. Chiu and W. Hawe, DEC-TR-301, 1984) in thousandths, rounded to the nearest.
fn jain(shares: &[u128]) -> u128 {
    let sum: u128 = shares.iter().sum();
    let squares: u128 = shares.iter().map(|share| share * share).sum();
    let whole = (shares.len() as u128 * squares).max(1);
    (2000 * sum * sum + whole) / (2 * whole)
}

/// The whole table.
pub(super) fn table(jobs: usize) -> Table {
    let rows = rows();
    let trials: Vec<(Row, TrialPlan)> =
        rows.iter().flat_map(|row| (1..=SEEDS).map(|seed| (*row, row.plan(seed)))).collect();
    let shares = pool::map(&trials, jobs, |(row, plan)| Share::of(plan, row, &run(plan)));
    let mut table = Table::new("fairness");
    table.push(HEAD);
    table.push(&format!(
        "\n{:<21} {:>5}  {:<9} {:>6} {:>7} {:>6} {:>10}",
        "algorithms", "flows", "queue", "Jain", "first %", "used %", "waiting kB"
    ));
    let mut shares = shares.into_iter();
    for row in rows {
        let mut of_row: Vec<Share> = shares.by_ref().take(SEEDS as usize).collect();
        of_row.sort_by_key(|share| share.jain);
        if let Some(share) = of_row.get(SEEDS as usize / 2) {
            table.push(&line(row, share));
        }
    }
    table
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, one) in Algorithm::ALL.iter().enumerate() {
        for other in &Algorithm::ALL[index..] {
            for flows in COUNTS {
                rows.extend((0..QUEUES.len()).map(|queue| Row { pair: [*one, *other], flows, queue }));
            }
        }
    }
    rows
}

fn line(row: Row, share: &Share) -> String {
    let [one, other] = row.pair;
    let most = u128::from(RATE.bytes_in(WINDOW.1 - WINDOW.0));
    let first = if one == other { "-".to_owned() } else { percent(share.first, share.all) };
    format!(
        "{:<21} {:>5}  {:<9} {:>6} {:>7} {:>6} {:>10}",
        format!("{} + {}", one.name(), other.name()),
        row.flows,
        QUEUES[row.queue].0,
        format!("{}.{:03}", share.jain / 1000, share.jain % 1000),
        first,
        percent(share.all, most),
        format!("{}.{}", share.waiting / 1000, share.waiting / 100 % 10),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_known_shares() {
        assert_eq!(jain(&[5, 5, 5, 5]), 1000);
        assert_eq!(jain(&[7, 0]), 500, "one of two has all");
        assert_eq!(jain(&[3, 1]), 800);
        assert_eq!(jain(&[0, 0]), 0);
    }

    #[test]
    fn two_alike_fill_the_link_together() {
        let row = Row { pair: [Algorithm::NewReno; 2], flows: 2, queue: 0 };
        let plan = TrialPlan { window: Some((WINDOW.0, WINDOW.0 + Duration::from_secs(3))), ..row.plan(1) };
        let outcome = run(&plan);
        let all: u64 = outcome.flows.iter().map(|flow| flow.bytes).sum();
        let most = RATE.bytes_in(Duration::from_secs(3));
        assert!(outcome.flows.iter().all(|flow| flow.bytes > 0) && all > most / 2 && all < most, "{outcome:?}");
    }
}
