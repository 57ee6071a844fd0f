//! What many seeds came to: as a table, as JSON.

use crate::coverage::Met;
use crate::network::LinkCounters;
use crate::runner::{Runs, Timed};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The sum of many runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those that failed, with what was wrong and how to see it again.
    pub failures: Vec<Failure>,
    /// All virtual time, seconds.
    pub virtual_s: f64,
    /// Connections.
    pub connections: u64,
    /// Bytes that applications read.
    pub bytes: u64,
    /// What the wire did, in frames.
    pub link: LinkCounters,
    /// Frames that came to a host that had no free frame.
    pub starved: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission time-outs.
    pub rto_fired: u64,
    /// Fast retransmits.
    pub fast_retransmits: u64,
    /// Which states met what.
    pub met: Met,
    /// Time by the clock, seconds, from the first to the last.
    pub wall_s: f64,
    /// The seed that took longest by the clock, and how long in seconds.
    pub slowest: Option<(u64, f64)>,
    /// The seed that took longest in virtual time, and how long in seconds.
    pub longest: Option<(u64, f64)>,
}

/// A seed that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The command that shows it again.
    pub replay: String,
}

impl Failure {
    /// `seed` failed because of `what`.
    pub fn new(seed: u64, what: String) -> Self {
        let replay = format!("cargo run --release -p corelane-sim -- replay {seed} --trace");
        Self { seed, what, replay }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} failed: {}\n  replay it with: {}", self.seed, self.what, self.replay)
    }
}

impl Summary {
    /// The sum of `runs`, which took `wall`.
    pub fn new(runs: &Runs, wall: Duration) -> Self {
        let mut sum = Self { met: runs.met, wall_s: wall.as_secs_f64(), ..Self::default() };
        for Timed { outcome, wall } in &runs.all {
            sum.seeds += 1;
            sum.failures.extend(outcome.failure.clone().map(|what| Failure::new(outcome.seed, what)));
            sum.connections += outcome.connections;
            sum.bytes += outcome.bytes;
            sum.link += outcome.link;
            sum.starved += outcome.starved;
            sum.retransmits += outcome.retransmits;
            sum.rto_fired += outcome.rto_fired;
            sum.fast_retransmits += outcome.fast_retransmits;
            let time = outcome.virtual_time.as_secs_f64();
            sum.virtual_s += time;
            keep_longer(&mut sum.slowest, outcome.seed, wall.as_secs_f64());
            keep_longer(&mut sum.longest, outcome.seed, time);
        }
        sum
    }

    /// The table's lines: a name and a value.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let seed = |at: Option<(u64, f64)>, digits: usize| {
            at.map_or_else(String::new, |(seed, time)| format!("{time:.digits$} s (seed {seed})"))
        };
        vec![
            ("seeds", self.seeds.to_string()),
            ("failed", self.failures.len().to_string()),
            ("connections", self.connections.to_string()),
            ("bytes read", self.bytes.to_string()),
            ("virtual time", format!("{:.0} s", self.virtual_s)),
            ("longest seed", seed(self.longest, 0)),
            ("frames sent", self.link.sent.to_string()),
            ("  lost", self.link.lost.to_string()),
            ("  doubled", self.link.doubled.to_string()),
            ("  reordered", self.link.reordered.to_string()),
            ("  late copies", self.link.late.to_string()),
            ("  forged", self.link.forged.to_string()),
            ("  damaged", self.link.damaged.to_string()),
            ("  damaged unseen", self.link.undetectable.to_string()),
            ("  found no frame", self.starved.to_string()),
            ("retransmits", self.retransmits.to_string()),
            ("time-outs (RTO)", self.rto_fired.to_string()),
            ("fast retransmits", self.fast_retransmits.to_string()),
            ("wall time", format!("{:.2} s", self.wall_s)),
            ("slowest seed", seed(self.slowest, 3)),
        ]
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in rows {
            writeln!(f, "{name:width$}  {value}")?;
        }
        write!(f, "{}", self.met)
    }
}

fn keep_longer(longest: &mut Option<(u64, f64)>, seed: u64, time: f64) {
    if longest.is_none_or(|(_, before)| time > before) {
        *longest = Some((seed, time));
    }
}
