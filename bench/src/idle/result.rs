//! What was measured, as a table and as JSON.

use super::time;
use corelane::Summary;
use corelane::config::Strategy;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;

/// The whole measurement.
#[derive(Debug, Serialize)]
pub(super) struct IdleResult {
    /// Of this program.
    pub(super) version: String,
    /// The kernel's release.
    pub(super) kernel: String,
    /// When it began, seconds since 1970.
    pub(super) started_at_s: u64,
    /// Whether idle processors were kept from halting. If not, waking one is a part of every figure.
    pub(super) cpu_dma_latency_held: bool,
    /// How long each stack was left idle.
    pub(super) seconds: f64,
    /// Between two requests, milliseconds.
    pub(super) gap_ms: u64,
    /// One for each strategy.
    pub(super) strategies: Vec<Waited>,
}

/// A stack that was left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) passed_ns: u64,
    pub(super) cpu_ns: u64,
    pub(super) turns: u64,
}

/// One strategy.
#[derive(Debug, Serialize)]
pub(super) struct Waited {
    strategy: String,
    /// Processor time of the idle worker, as a part of the time that passed.
    idle_cpu: f64,
    /// Turns a second while idle.
    idle_turns_per_second: f64,
    /// Times that it slept, from start to end.
    sleeps: u64,
    /// From the client's `send` to the application.
    wake_up_ns: Quantiles,
    /// From the client's `send` to its `recv`.
    round_trip_ns: Quantiles,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    count: u64,
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let (count, min, max) = (histogram.len(), histogram.min(), histogram.max());
        Self { count, min, p50: at(0.5), p90: at(0.9), p99: at(0.99), max }
    }
}

impl Waited {
    pub(super) fn new(
        strategy: Strategy,
        idle: Idle,
        round_trips: &Histogram<u64>,
        seen: &Histogram<u64>,
        summary: &Summary,
    ) -> Self {
        let Idle { passed_ns, cpu_ns, turns } = idle;
        Self {
            strategy: strategy.to_string(),
            idle_cpu: cpu_ns as f64 / passed_ns.max(1) as f64,
            idle_turns_per_second: turns as f64 * 1e9 / passed_ns.max(1) as f64,
            sleeps: summary.workers.iter().filter_map(|worker| worker.turns.get("sleeps")).sum(),
            wake_up_ns: Quantiles::of(seen),
            round_trip_ns: Quantiles::of(round_trips),
        }
    }
}

impl fmt::Display for IdleResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, cpu_dma_latency_held, seconds, gap_ms, strategies, .. } = self;
        let halting = if *cpu_dma_latency_held { "held off" } else { "allowed" };
        writeln!(
            f,
            "Linux {kernel}; idle for {seconds:.1} s, then a 64-byte request each {gap_ms} ms; halting {halting}"
        )?;
        writeln!(f)?;
        writeln!(f, "{:<10}{:>12}{:>14}{:>10}", "strategy", "idle CPU", "idle turns/s", "sleeps")?;
        for one in strategies {
            let percent = format!("{:.3} %", one.idle_cpu * 100.0);
            let (turns, sleeps) = (one.idle_turns_per_second, one.sleeps);
            writeln!(f, "{:<10}{percent:>12}{turns:>14.1}{sleeps:>10}", one.strategy)?;
        }
        for (title, pick) in [
            ("send to application", (|one| &one.wake_up_ns) as fn(&Waited) -> &Quantiles),
            ("round trip", |one| &one.round_trip_ns),
        ] {
            writeln!(f)?;
            let head = ["min", "p50", "p90", "p99", "max"].map(|name| format!("{name:>10}")).concat();
            writeln!(f, "{title:<22}{:>8}{head}", "count")?;
            for one in strategies {
                let Quantiles { count, min, p50, p90, p99, max } = pick(one);
                let times = [min, p50, p90, p99, max].map(|ns| format!("{:>10}", time(*ns))).concat();
                writeln!(f, "{:<22}{count:>8}{times}", one.strategy)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::histogram;

    #[test]
    fn shares_and_quantiles_are_of_the_time_that_passed() {
        let mut times = histogram();
        (1..=100).for_each(|n| times.saturating_record(n * 1000));
        let summary = Summary {
            interface: "idle0".into(),
            interfaces: Vec::new(),
            duration_s: 2.0,
            placement: corelane::runtime::Placement::default(),
            workers: Vec::new(),
            steering: corelane::runtime::Named::new(),
        };
        let idle = Idle { passed_ns: 2_000_000_000, cpu_ns: 10_000_000, turns: 20 };
        let one = Waited::new(Strategy::Sleep, idle, &times, &times, &summary);
        assert_eq!((one.idle_cpu, one.idle_turns_per_second, one.sleeps), (0.005, 10.0, 0));
        assert_eq!(one.wake_up_ns.count, 100);
        assert!((50_000..51_000).contains(&one.wake_up_ns.p50), "{one:?}");
        let result = IdleResult {
            version: String::new(),
            kernel: "6.6".into(),
            started_at_s: 0,
            cpu_dma_latency_held: false,
            seconds: 2.0,
            gap_ms: 20,
            strategies: vec![one],
        };
        let shown = result.to_string();
        assert!(shown.contains("0.500 %") && shown.contains("halting allowed"), "{shown}");
    }
}
