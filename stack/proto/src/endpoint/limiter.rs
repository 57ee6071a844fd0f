//! A token bucket, for what is sent to whoever asks: resets, ICMP, challenge ACKs.

use crate::time::Instant;

/// Lets at most `rate` through in a second, after a burst.
///
/// Kept as the moment at which the bucket will be full (virtual scheduling, ITU-T I.371 annex A): exact in integers,
/// and nothing has to be refilled.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    /// Nanoseconds that one token takes to come back, rounded up; `None` when none ever comes.
    interval: Option<u64>,
    /// How far, in nanoseconds, the full bucket may lie ahead for there to be a token.
    tolerance: u64,
    /// When the bucket is full, in nanoseconds.
    full_at: u64,
}

impl Limiter {
    /// A full bucket of `burst` tokens that come back at `rate` a second. With either at 0 it lets nothing through;
    /// a rate over 10^9 is 10^9.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let interval = if rate == 0 || burst == 0 { None } else { Some(1_000_000_000_u64.div_ceil(u64::from(rate))) };
        let tolerance = interval.unwrap_or(0) * u64::from(burst.saturating_sub(1));
        Self { interval, tolerance, full_at: 0 }
    }

    /// Takes a token, if there is one. Whoever is refused counts it.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = now.as_nanos();
        if self.full_at > now.saturating_add(self.tolerance) {
            return false;
        }
        self.full_at = self.full_at.max(now).saturating_add(interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allowed(limiter: &mut Limiter, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| limiter.allow(now)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = Limiter::new(100, 5);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(1), 20), 5);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(10), 20), 0);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(11), 20), 1);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(41), 20), 3);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(60_000), 20), 5, "the bucket does not grow");
    }

    #[test]
    fn nothing_passes_at_rate_or_burst_zero() {
        assert!(!Limiter::new(0, 5).allow(Instant::from_millis(9)));
        assert!(!Limiter::new(5, 0).allow(Instant::from_millis(9)));
        assert!(Limiter::new(u32::MAX, u32::MAX).allow(Instant::from_nanos(u64::MAX)));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 1u32..5000, burst in 1u32..50, steps in prop::collection::vec(0u64..30_000_000, 1..300),
        ) {
            let mut limiter = Limiter::new(rate, burst);
            let (mut now, mut passed) = (0u64, 0u64);
            for step in steps {
                now += step;
                passed += u64::from(limiter.allow(Instant::from_nanos(now)));
                prop_assert!(passed <= u64::from(burst) + now * u64::from(rate) / 1_000_000_000);
            }
        }
    }
}
