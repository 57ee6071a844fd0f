//! Deadlines in four bytes, for tables in which each byte counts.

use core::time::Duration;

use crate::time::Instant;

/// A clock whose moments are `u32`: ticks of 2^`BITS` nanoseconds that go round. A moment means the right time as long
/// as it is less than 2^31 ticks from the latest that the clock was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks<const BITS: u32> {
    /// The latest time that it was told, in whole ticks since the origin.
    now: u64,
}

impl<const BITS: u32> Ticks<BITS> {
    /// A clock at the origin of time.
    pub(crate) const fn new() -> Self {
        Self { now: 0 }
    }

    /// Tells the time. It never goes backwards.
    pub(crate) fn observe(&mut self, now: Instant) {
        self.now = self.now.max(now.as_nanos() >> BITS);
    }

    /// The first tick that is not before `now + delay`: at most one tick late, never early.
    pub(crate) fn after(now: Instant, delay: Duration) -> u32 {
        (now + delay).as_nanos().div_ceil(1 << BITS) as u32
    }

    /// Whether the moment `tick` has come.
    pub(crate) fn is_due(&self, tick: u32) -> bool {
        (self.now as u32).wrapping_sub(tick) as i32 >= 0
    }

    /// The moment `tick`.
    pub(crate) fn instant(&self, tick: u32) -> Instant {
        let ahead = tick.wrapping_sub(self.now as u32) as i32;
        let tick = self.now.saturating_add_signed(i64::from(ahead));
        Instant::from_nanos(tick.saturating_mul(1 << BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_round_up_and_survive_the_wrap() {
        type T = Ticks<20>;
        let wrap = 1u64 << 52;
        for start in [0, 5, wrap - 1, wrap - (1 << 30), wrap, 3 * wrap + 17] {
            let mut clock = T::new();
            let now = Instant::from_nanos(start);
            clock.observe(now);
            for delay in [1, 1 << 20, 1_000_000_000, 1 << 45].map(Duration::from_nanos) {
                let tick = T::after(now, delay);
                let moment = clock.instant(tick);
                assert!(moment >= now + delay && moment.saturating_since(now + delay).as_nanos() < 1 << 20);
                assert!(!clock.is_due(tick));
                let mut later = clock;
                later.observe(Instant::from_nanos(moment.as_nanos() - 1));
                assert!(!later.is_due(tick));
                later.observe(moment);
                assert!(later.is_due(tick));
                assert_eq!(later.instant(tick), moment);
                later.observe(now);
                assert!(later.is_due(tick), "time does not go back");
            }
        }
    }
}
