//! The table of impaired paths: what else than random loss a path does, one impairment at a time.

use super::algorithm::Algorithm;
use super::cell::{self, SEGMENT, path};
use super::text::{Table, percent, seconds};
use super::trial::{FlowPlan, Outcome, TrialPlan};
use crate::path::{Burst, Change, Extra, LinkPlan, Loss, PolicerPlan, Rate, Reordering, ThinningPlan};
use std::time::Duration;

const RATE: Rate = Rate::megabits(20);
const RTT: Duration = Duration::from_millis(20);
const SEGMENTS: u64 = 4000;
const SEEDS: u64 = 5;
/// When the path changes: in the middle of a transfer that takes 2.4 s at least.
const CHANGE_AT: Duration = Duration::from_secs(1);

const MS: Duration = Duration::from_millis(1);

const HEAD: &str = "\
One transfer over an impaired path: 20 Mbit/s, RTT 20 ms, drop-tail buffer of 1 BDP (50 kB), 4,000 segments

goodput   payload bits a second of the whole transfer, in per cent of 20 Mbit/s; headers take 4.4 of 100
clean     goodput in per cent of the same algorithm's on the clean path
time      from the first byte written to the last byte read, seconds
resent    segments sent again; RTOs: retransmission time-outs; dropped, marked: data packets, by the path
queue     mean bytes that wait before the bottleneck, kB
A line is the transfer with the median time of 5, each with a seed of its own.";

/// What is wrong with a path.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    apply: fn(&mut LinkPlan, &mut LinkPlan),
}

/// No impairment: what the others are compared with.
const CLEAN: Impairment = Impairment { name: "clean", about: "nothing is wrong", apply: |_, _| {} };

const ALL: &[Impairment] = &[
    CLEAN,
    Impairment {
        name: "bursts",
        about: "loss in bursts of 4 packets, 1 % of all (Gilbert-Elliott)",
        apply: |data, _| data.loss = Loss::Bursts(Burst { begins: 0.0025, ends: 0.25, loss: 1.0 }),
    },
    Impairment {
        name: "policer",
        about: "token bucket of 50 kB at 10 Mbit/s",
        apply: |data, _| data.policer = Some(PolicerPlan { rate: RATE.divided(2), bucket_bytes: 50_000 }),
    },
    Impairment { name: "jitter", about: "0 to 10 ms more, in order", apply: |data, _| data.delay.jitter = 10 * MS },
    Impairment {
        name: "reorder",
        about: "10 % of the packets up to 5 ms late",
        apply: |data, _| data.delay.reordering = Some(Reordering { probability: 0.1, extra: Extra::UpTo(5 * MS) }),
    },
    Impairment {
        name: "reorder-far",
        about: "10 % of the packets up to 20 ms late",
        apply: |data, _| {
            data.delay.reordering = Some(Reordering { probability: 0.1, extra: Extra::UpTo(20 * MS) });
        },
    },
    Impairment {
        name: "reorder-hold",
        about: "10 % of the packets 2.5 ms late, both ways",
        apply: |data, acks| {
            // An eighth of the round trip.
            let reordering = Some(Reordering { probability: 0.1, extra: Extra::Always(RTT / 8) });
            (data.delay.reordering, acks.delay.reordering) = (reordering, reordering);
        },
    },
    Impairment { name: "ack-loss-10", about: "10 % of the ACKs lost", apply: |_, acks| acks.loss = Loss::Random(0.1) },
    Impairment { name: "ack-loss-50", about: "50 % of the ACKs lost", apply: |_, acks| acks.loss = Loss::Random(0.5) },
    Impairment {
        name: "ack-thinning",
        about: "of 8 ACKs 1 passes, held 5 ms at most",
        apply: |_, acks| acks.thinning = Some(ThinningPlan { one_of: 8, hold: 5 * MS }),
    },
    Impairment {
        name: "rate-drop",
        about: "5 Mbit/s from the first second on",
        apply: |data, _| data.changes.push(Change { at: CHANGE_AT, rate: Some(RATE.divided(4)), delay: None }),
    },
    Impairment {
        name: "rtt-step",
        about: "RTT 100 ms from the first second on",
        apply: |data, acks| {
            let change = Change { at: CHANGE_AT, rate: None, delay: Some(50 * MS) };
            data.changes.push(change);
            acks.changes.push(change);
        },
    },
    Impairment {
        name: "ecn",
        about: "packets marked behind more than 15 kB",
        apply: |data, _| data.queue.mark_above_bytes = Some(15_000),
    },
];

impl Impairment {
    /// All of them, the clean path first.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ALL.iter()
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|impairment| impairment.name == name)
    }

    /// The trial of a seed.
    pub fn plan(&self, algorithm: Algorithm, seed: u64) -> TrialPlan {
        self.plan_at(RATE, algorithm, seed)
    }

    /// The same at another rate, with as much more to transfer.
    fn plan_at(&self, rate: Rate, algorithm: Algorithm, seed: u64) -> TrialPlan {
        let (mut forward, mut back) = path(rate, RTT, 10);
        (self.apply)(&mut forward, &mut back);
        let bytes = Some(SEGMENTS * SEGMENT * rate.bits_per_second() / RATE.bits_per_second());
        TrialPlan {
            flows: vec![FlowPlan { algorithm, start: Duration::ZERO, bytes }],
            ecn: forward.queue.mark_above_bytes.is_some(),
            forward,
            back,
            // The round trip may come to be five times as long.
            buffer: 5 * cell::buffer(rate, RTT),
            seed,
            window: None,
            sample_every: None,
        }
    }
}

/// An algorithm's goodput on the impaired path of so many Mbit/s, in thousandths of that on the clean one.
pub fn of_clean(impairment: &Impairment, algorithm: Algorithm, megabits: u64, jobs: usize) -> u64 {
    let rate = Rate::megabits(megabits);
    let medians = cell::medians(jobs, &[&CLEAN, impairment], |impairment| plans(impairment, rate, algorithm));
    let [clean, impaired] = [0, 1].map(|index| medians[index].completion().as_nanos());
    u64::try_from(1000 * clean / impaired.max(1)).unwrap_or(u64::MAX)
}

fn plans(impairment: &Impairment, rate: Rate, algorithm: Algorithm) -> Vec<TrialPlan> {
    (1..=SEEDS).map(|seed| impairment.plan_at(rate, algorithm, seed)).collect()
}

/// The whole table.
pub(super) fn table(jobs: usize) -> Table {
    let all = Algorithm::ALL.iter().flat_map(|algorithm| ALL.iter().map(|impairment| (*algorithm, impairment)));
    let rows: Vec<(Algorithm, &Impairment)> = all.collect();
    let medians = cell::medians(jobs, &rows, |(algorithm, impairment)| plans(impairment, RATE, *algorithm));
    let mut table = Table::new("impaired");
    table.push(HEAD);
    for (rows, outcomes) in rows.chunks(ALL.len()).zip(medians.chunks(ALL.len())) {
        let name = rows[0].0.name();
        table.push(&format!(
            "\n{name:<12}  {:<61} {:>9} {:>7} {:>8} {:>7} {:>5} {:>8} {:>7} {:>8}",
            "", "goodput %", "clean %", "time s", "resent", "RTOs", "dropped", "marked", "queue kB"
        ));
        for ((_, impairment), outcome) in rows.iter().zip(outcomes) {
            table.push(&line(impairment, outcome, &outcomes[0]));
        }
    }
    table
}

fn line(impairment: &Impairment, outcome: &Outcome, clean: &Outcome) -> String {
    let time = outcome.completion();
    let bits = u128::from(SEGMENTS * SEGMENT * 8);
    let most = u128::from(RATE.bits_per_second()) * time.as_nanos() / 1_000_000_000;
    format!(
        "{:<12}  {:<61} {:>9} {:>7} {:>8} {:>7} {:>5} {:>8} {:>7} {:>8}",
        impairment.name,
        impairment.about,
        percent(bits, most),
        percent(clean.completion().as_nanos(), time.as_nanos()),
        seconds(time),
        outcome.retransmits(),
        outcome.time_outs(),
        outcome.forward.dropped(),
        outcome.forward.marked,
        format!("{}.{}", outcome.mean_queue / 1000, outcome.mean_queue / 100 % 10),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::run;

    fn outcome(name: &str) -> Outcome {
        run(&Impairment::named(name).expect("there is one").plan(Algorithm::NewReno, 1))
    }

    /// A row that shows nothing of what it is named after would prove nothing.
    #[test]
    fn each_impairment_is_seen_on_its_path() {
        assert!(outcome("bursts").forward.lost > 20);
        assert!(outcome("policer").forward.policed > 0);
        let reordered = outcome("reorder").forward.reordered;
        assert!((300..600).contains(&reordered), "{reordered}");
        assert!(outcome("ack-loss-50").back.lost > 500);
        let thinned = outcome("ack-thinning").back;
        assert!(thinned.thinned * 2 > thinned.packets, "{thinned:?}");
        let slow = outcome("rate-drop").completion();
        assert!(slow > Duration::from_secs(5), "{slow:?}");
        let far = outcome("rtt-step").completion();
        assert!(far > outcome("clean").completion(), "{far:?}");
    }
}
