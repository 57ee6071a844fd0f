//! When requests are due. Sans-I/O: it is asked, and told nothing.

use clap::ValueEnum;
use rand::RngExt;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// How the gaps between requests are distributed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Arrivals {
    /// All gaps are equal.
    Constant,
    /// Exponential gaps, as from many independent users.
    Poisson,
}

impl Arrivals {
    /// The name on the command line and in result.json.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// The due times of an open loop, in nanoseconds of the run's clock. They depend on nothing but the start, the rate
/// and the seed: a server that stalls does not move them, which is what makes coordinated omission impossible.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: u64,
    gap_ns: f64,
    /// Since the start. A double counts nanoseconds exactly for a hundred days.
    elapsed_ns: f64,
    count: u64,
    poisson: Option<Xoshiro256PlusPlus>,
}

impl Schedule {
    /// The due times from `start` on at `rate` a second (above 0), the first one `phase` (0 to 1) of a gap later.
    pub fn new(start: u64, rate: f64, phase: f64, arrivals: Arrivals, seed: u64) -> Self {
        let gap_ns = 1e9 / rate;
        let poisson = (arrivals == Arrivals::Poisson).then(|| Xoshiro256PlusPlus::seed_from_u64(seed));
        let mut schedule = Self { start, gap_ns, elapsed_ns: 0.0, count: 0, poisson };
        // A Poisson process begins with a gap; a constant one with its phase, so that cores take turns.
        schedule.elapsed_ns = schedule.random_gap().unwrap_or(phase * gap_ns);
        schedule
    }

    /// When the next request is due.
    pub fn peek(&self) -> u64 {
        // Times are positive and far below 2^53: the cast is exact to the nanosecond.
        self.start.saturating_add(self.elapsed_ns as u64)
    }

    /// Takes the next request and says when it was due.
    pub fn take(&mut self) -> u64 {
        let due = self.peek();
        self.count += 1;
        self.elapsed_ns += self.random_gap().unwrap_or(self.gap_ns);
        due
    }

    /// How many requests from now on are due before `end`; takes them.
    pub fn drain_before(&mut self, end: u64) -> u64 {
        let before = self.count;
        while self.peek() < end {
            self.take();
        }
        self.count - before
    }

    fn random_gap(&mut self) -> Option<f64> {
        let random: f64 = self.poisson.as_mut()?.random();
        // `random` is in [0, 1), so the logarithm's argument is never 0.
        Some(-(1.0 - random).ln() * self.gap_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_gaps_do_not_drift() {
        let mut schedule = Schedule::new(1000, 3.0, 0.0, Arrivals::Constant, 0);
        let due: Vec<u64> = (0..4).map(|_| schedule.take()).collect();
        assert_eq!(due, [1000, 333_334_333, 666_667_666, 1_000_001_000]);
        let mut fast = Schedule::new(0, 1e6, 0.5, Arrivals::Constant, 0);
        assert_eq!(fast.peek(), 500);
        assert_eq!(fast.drain_before(10_000_000_000), 10_000_000);
        assert_eq!(fast.peek(), 10_000_000_500);
    }

    #[test]
    fn poisson_has_the_rate_and_the_spread() {
        let mut schedule = Schedule::new(0, 10_000.0, 0.0, Arrivals::Poisson, 42);
        let due: Vec<u64> = (0..200_000).map(|_| schedule.take()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 100_000.0).abs() < 1_000.0, "{mean}");
        // The standard deviation of an exponential distribution is its mean.
        assert!((variance.sqrt() - mean).abs() < 2_000.0, "{}", variance.sqrt());
        let again = Schedule::new(0, 10_000.0, 0.0, Arrivals::Poisson, 42).peek();
        assert_eq!(again, due[0]);
    }
}
