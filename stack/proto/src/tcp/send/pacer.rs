//! Pacing: segments leave no faster than a rate, but for a burst that a timer's lateness and an idle time have saved up.

use crate::time::Instant;
use core::time::Duration;

/// When the next segment may leave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    next_at: Instant,
}

impl Pacer {
    /// Until when the next segment has to wait; `None` when it may go.
    pub fn blocked_until(&self, now: Instant) -> Option<Instant> {
        (self.next_at > now).then_some(self.next_at)
    }

    /// `bytes` leave at `rate` bytes a second. What was not sent in time may be made up for, up to `burst` bytes.
    pub fn on_sent(&mut self, now: Instant, bytes: u32, rate: u64, burst: u32) {
        let earliest = now - time_for(burst, rate);
        let from = if self.next_at < earliest { earliest } else { self.next_at };
        self.next_at = from + time_for(bytes, rate);
    }

    /// Nothing leaves before `at`.
    pub fn hold_until(&mut self, at: Instant) {
        if self.next_at < at {
            self.next_at = at;
        }
    }

    /// Nothing is paced any more.
    pub fn reset(&mut self) {
        self.next_at = Instant::ZERO;
    }
}

fn time_for(bytes: u32, rate: u64) -> Duration {
    Duration::from_nanos((u64::from(bytes) * 1_000_000_000) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn after_the_burst_each_segment_waits_for_its_time() {
        let mut pacer = Pacer::default();
        let now = Instant::from_millis(1000);
        // A thousand bytes a millisecond, and two segments at once.
        for _ in 0..2 {
            assert_eq!(pacer.blocked_until(now), None);
            pacer.on_sent(now, 1000, 1_000_000, 1000);
        }
        assert_eq!(pacer.blocked_until(now), Some(now + MS));
        assert_eq!(pacer.blocked_until(now + MS), None);
        pacer.on_sent(now + MS, 1000, 1_000_000, 1000);
        assert_eq!(pacer.blocked_until(now + MS), Some(now + 2 * MS));
    }

    #[test]
    fn a_late_timer_is_made_up_for_and_no_more_than_the_burst() {
        let rate = 1_000_000;
        let mut pacer = Pacer::default();
        let mut now = Instant::from_millis(1000);
        let mut sent = 0;
        for _ in 0..100 {
            // The timer comes two segments late each time.
            now = now + 3 * MS;
            while pacer.blocked_until(now).is_none() {
                pacer.on_sent(now, 1000, rate, 4000);
                sent += 1;
            }
        }
        assert!((300..=305).contains(&sent), "{sent} segments in 300 ms at one a millisecond");
    }

    #[test]
    fn no_rate_divides_by_zero() {
        let mut pacer = Pacer::default();
        pacer.on_sent(Instant::from_millis(5), u32::MAX, 0, u32::MAX);
        assert!(pacer.blocked_until(Instant::from_millis(5)).is_some());
        pacer.reset();
        assert_eq!(pacer.blocked_until(Instant::from_millis(5)), None);
    }
}
