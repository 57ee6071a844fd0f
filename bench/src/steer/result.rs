//! What was measured, as a table and as JSON.

use serde::Serialize;
use std::fmt;

/// The whole measurement.
#[derive(Debug, Serialize)]
pub(super) struct SteerResult {
    /// Of this program.
    pub(super) version: String,
    /// The kernel's release.
    pub(super) kernel: String,
    /// When it began, seconds since 1970.
    pub(super) started_at_s: u64,
    /// Whether idle processors were kept from halting.
    pub(super) cpu_dma_latency_held: bool,
    /// How long each way was measured in each round.
    pub(super) seconds: f64,
    /// Bytes of a frame.
    pub(super) frame_bytes: usize,
    /// What the steering program takes for such a frame, by the kernel's test run, in the last round, nanoseconds.
    pub(super) program_ns: Option<u64>,
    /// One for each way. The others are compared with the first.
    pub(super) ways: Vec<Way>,
}

/// One way in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Processor time of the sender's thread, nanoseconds.
    pub(super) sender_cpu_ns: u64,
    pub(super) seconds: f64,
    /// What the program takes for a frame by itself, if it is ours.
    pub(super) program_ns: Option<u64>,
}

/// One way to receive.
#[derive(Debug, Serialize)]
pub(super) struct Way {
    name: String,
    /// Frames received and dropped a second, round by round.
    received_per_second: Vec<f64>,
    /// Frames that the sender got rid of a second, round by round.
    sent_per_second: Vec<f64>,
    /// Processor time of the sender for each frame, nanoseconds, round by round: on veth the receiver's kernel and the
    /// program are a part of it, and what else the machine does is not.
    sender_cpu_ns_per_frame: Vec<f64>,
}

impl Way {
    pub(super) fn new(name: &str) -> Self {
        let (received_per_second, sent_per_second, sender_cpu_ns_per_frame) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), received_per_second, sent_per_second, sender_cpu_ns_per_frame }
    }

    pub(super) fn add(&mut self, measured: &Measured) {
        let rate = |count: u64| count as f64 / measured.seconds.max(1e-9);
        self.received_per_second.push(rate(measured.received));
        self.sent_per_second.push(rate(measured.sent));
        self.sender_cpu_ns_per_frame.push(measured.sender_cpu_ns as f64 / measured.sent.max(1) as f64);
    }
}

/// The median, the lower one of two; 0 of nothing.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

impl SteerResult {
    /// The median over the rounds of what a way received by what the first received in the same round, so that what slows
    /// a whole round down does not count.
    fn ratio(&self, way: &Way) -> f64 {
        let Some(first) = self.ways.first() else { return 0.0 };
        let both = way.received_per_second.iter().zip(&first.received_per_second);
        median(&both.map(|(own, raw)| own / raw.max(1.0)).collect::<Vec<_>>())
    }

    /// The lesser of the ratios of what receives and drops behind the program: the same loop, and our device.
    pub(super) fn least_ratio(&self) -> f64 {
        self.ways.iter().skip(1).take(2).map(|way| self.ratio(way)).fold(f64::INFINITY, f64::min)
    }
}

impl fmt::Display for SteerResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, cpu_dma_latency_held, seconds, frame_bytes, program_ns, ways, .. } = self;
        let halting = if *cpu_dma_latency_held { "held off" } else { "allowed" };
        let rounds = ways.first().map_or(0, |way| way.received_per_second.len());
        writeln!(
            f,
            "Linux {kernel}; {frame_bytes}-byte frames on veth, {rounds} rounds of {seconds:.1} s each way; halting {halting}"
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "{:<10}{:>12}{:>12}{:>12}{:>12}{:>10}{:>8}{:>14}",
            "way", "median k/s", "least k/s", "most k/s", "sent k/s", "ns/frame", "ratio", "sender CPU ns"
        )?;
        for way in ways {
            let rates = &way.received_per_second;
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            let cells = [median(rates), least, most, median(&way.sent_per_second)]
                .map(|rate| format!("{:>12.0}", rate / 1e3))
                .concat();
            let ns = 1e9 / median(rates).max(1.0);
            let cpu = median(&way.sender_cpu_ns_per_frame);
            writeln!(f, "{:<10}{cells}{ns:>10.0}{:>8.3}{cpu:>14.0}", way.name, self.ratio(way))?;
        }
        if let Some(ns) = program_ns {
            writeln!(f)?;
            writeln!(f, "The steering program alone: {ns} ns a frame by the kernel's test run.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let way = |name: &str, rates: &[u64]| {
            let mut way = Way::new(name);
            for rate in rates {
                way.add(&Measured {
                    received: *rate,
                    sent: *rate,
                    sender_cpu_ns: 700 * *rate,
                    seconds: 0.5,
                    program_ns: None,
                });
            }
            way
        };
        let result = SteerResult {
            version: String::new(),
            kernel: "6.6".into(),
            started_at_s: 0,
            cpu_dma_latency_held: true,
            seconds: 0.5,
            frame_bytes: 64,
            program_ns: Some(70),
            ways: vec![
                // The second round was slow for all.
                way("raw", &[1000, 500, 1200]),
                way("steered", &[970, 490, 1100]),
                way("device", &[950, 600, 960]),
                way("stack", &[100, 100, 100]),
            ],
        };
        assert!((result.ratio(&result.ways[1]) - 0.97).abs() < 1e-9);
        assert!((result.least_ratio() - 0.95).abs() < 1e-9, "the stack is not behind the bar");
        let shown = result.to_string();
        assert!(
            shown.contains("70 ns") && shown.contains("0.970") && shown.contains("  700") && shown.contains("held off"),
            "{shown}"
        );
        assert!((median(&[3.0, 1.0]) - 1.0).abs() < 1e-9 && median(&[]) == 0.0);
    }
}
