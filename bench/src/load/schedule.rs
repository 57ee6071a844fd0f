//! When requests are due. Sans-I/O: it is asked, and told nothing.

use super::rate::Profile;
use clap::ValueEnum;
use rand::RngExt;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use std::sync::Arc;

/// How the gaps between requests are distributed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// All gaps are equal.
    #[default]
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

/// Where the due times come from.
#[derive(Clone, Debug)]
enum Source {
    /// The `k`-th request is due when the profile's integral reaches `k + phase`.
    Constant { profile: Profile, phase: f64, taken: u64 },
    /// The integral grows by an exponential gap of mean 1 from one to the next.
    Poisson { profile: Profile, integral: f64, random: Box<Xoshiro256PlusPlus> },
    /// Every `stride`-th time of a trace.
    Trace { times: Arc<[u64]>, at: usize, stride: usize },
}

/// The due times of an open loop, in nanoseconds of the run's clock. They depend on nothing but the start, the rate
/// and the seed: a server that stalls does not move them, which is what makes coordinated omission impossible.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: u64,
    source: Source,
    next: Option<u64>,
}

impl Schedule {
    /// The due times from `start` on at the rate of `profile`, the first one `phase` (0 to 1) of a gap later. A Poisson
    /// process has no phase: it begins with a gap.
    pub fn new(start: u64, profile: Profile, phase: f64, arrivals: Arrivals, seed: u64) -> Self {
        let source = match arrivals {
            // The phase lets cores take turns.
            Arrivals::Constant => Source::Constant { profile, phase, taken: 0 },
            Arrivals::Poisson => {
                let random = Box::new(Xoshiro256PlusPlus::seed_from_u64(seed));
                Source::Poisson { profile, integral: 0.0, random }
            }
        };
        Self::from_source(start, source)
    }

    /// The times of a trace, counted from `start`: those at `first`, `first + stride` and so on.
    pub fn trace(start: u64, times: Arc<[u64]>, first: usize, stride: usize) -> Self {
        Self::from_source(start, Source::Trace { times, at: first, stride: stride.max(1) })
    }

    fn from_source(start: u64, source: Source) -> Self {
        let mut schedule = Self { start, source, next: None };
        schedule.advance();
        schedule
    }

    /// When the next request is due; `u64::MAX` if there is none.
    pub fn peek(&self) -> u64 {
        self.next.unwrap_or(u64::MAX)
    }

    /// Whether there is no request any more, which only a trace has.
    pub const fn is_over(&self) -> bool {
        self.next.is_none()
    }

    /// Takes the next request and says when it was due.
    pub fn take(&mut self) -> u64 {
        let due = self.peek();
        self.advance();
        due
    }

    /// How many requests from now on are due before `end`; takes them.
    pub fn drain_before(&mut self, end: u64) -> u64 {
        let mut count = 0;
        while self.next.is_some_and(|next| next < end) {
            self.advance();
            count += 1;
        }
        count
    }

    fn advance(&mut self) {
        let elapsed = match &mut self.source {
            Source::Constant { profile, phase, taken } => {
                // Counted, not added up: no error grows with the number of requests. A double counts nanoseconds
                // exactly for a hundred days, and the cast cuts what is smaller.
                let due = profile.when(*taken as f64 + *phase);
                *taken += 1;
                Some(due as u64)
            }
            Source::Poisson { profile, integral, random } => {
                // `random` is in [0, 1), so the logarithm's argument is never 0.
                *integral -= (1.0 - random.random::<f64>()).ln();
                Some(profile.when(*integral) as u64)
            }
            Source::Trace { times, at, stride } => {
                let time = times.get(*at).copied();
                *at = at.saturating_add(*stride);
                time
            }
        };
        self.next = elapsed.map(|elapsed| self.start.saturating_add(elapsed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn constant(start: u64, rate: f64, phase: f64) -> Schedule {
        Schedule::new(start, Profile::constant(rate), phase, Arrivals::Constant, 0)
    }

    #[test]
    fn constant_gaps_do_not_drift() {
        let mut schedule = constant(1000, 3.0, 0.0);
        let due: Vec<u64> = (0..4).map(|_| schedule.take()).collect();
        assert_eq!(due, [1000, 333_334_333, 666_667_666, 1_000_001_000]);
        let mut fast = constant(0, 1e6, 0.5);
        assert_eq!(fast.peek(), 500);
        assert_eq!(fast.drain_before(10 * S), 10_000_000);
        assert_eq!(fast.peek(), 10_000_000_500);
    }

    #[test]
    fn rates_are_kept_to_a_request() {
        // Far below a tenth of a per cent: no second has one request more or less than the rate says.
        for rate in [0.5, 7.0, 999.9, 12_345.6, 333_333.3] {
            let mut schedule = constant(17, rate, 0.0);
            for second in 1..=20u64 {
                let sent = schedule.drain_before(17 + second * S);
                assert!((sent as f64 - rate).abs() <= 1.0, "{rate}: {sent} in second {second}");
            }
        }
    }

    #[test]
    fn a_ramp_has_its_rate_in_every_second() {
        // From 1000 to 50000 within 10 s: second k has the rate of its middle, 1000 + 4900 (k + 0.5).
        let profile = Profile::ramp(1000.0, 50_000.0, 2 * S, 10 * S);
        let mut schedule = Schedule::new(0, profile, 0.0, Arrivals::Constant, 0);
        assert_eq!(schedule.drain_before(2 * S), 2000);
        for second in 0..10u64 {
            let sent = schedule.drain_before((3 + second) * S);
            let expected = 1000.0 + 4900.0 * (second as f64 + 0.5);
            assert!((sent as f64 - expected).abs() <= 1.0, "{sent} is not {expected}");
        }
        assert!(schedule.drain_before(13 * S).abs_diff(50_000) <= 1);
        // The same on average with Poisson gaps: the standard deviation of the count is its root, 505.
        let mut poisson = Schedule::new(0, profile, 0.0, Arrivals::Poisson, 5);
        let sent = poisson.drain_before(12 * S) as f64;
        assert!((sent - 257_000.0).abs() < 4.0 * 507.0, "{sent}");
    }

    #[test]
    fn poisson_has_the_rate_and_the_spread() {
        let poisson = || Schedule::new(0, Profile::constant(10_000.0), 0.0, Arrivals::Poisson, 42);
        let mut schedule = poisson();
        let due: Vec<u64> = (0..200_000).map(|_| schedule.take()).collect();
        let gaps: Vec<f64> = due.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 100_000.0).abs() < 1_000.0, "{mean}");
        // The standard deviation of an exponential distribution is its mean.
        assert!((variance.sqrt() - mean).abs() < 2_000.0, "{}", variance.sqrt());
        assert_eq!(poisson().peek(), due[0]);
    }

    #[test]
    fn a_trace_is_shared_by_the_cores_and_ends() {
        let times: Arc<[u64]> = [0, 10, 20, 20, 50].into();
        let mut first = Schedule::trace(100, Arc::clone(&times), 0, 2);
        let mut second = Schedule::trace(100, times, 1, 2);
        assert_eq!((0..3).map(|_| first.take()).collect::<Vec<_>>(), [100, 120, 150]);
        assert!(first.is_over() && first.peek() == u64::MAX);
        assert_eq!((second.drain_before(115), second.drain_before(u64::MAX), second.is_over()), (1, 1, true));
    }
}
