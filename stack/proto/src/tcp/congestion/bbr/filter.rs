//! The two filters that keep the greatest of a window of samples.

use super::super::Ack;
use super::{INFINITE, volume};
use crate::time::Instant;

/// The greatest rate of the current cycle of probing and of the one before (5.5.3, 5.5.6), bytes a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaxBandwidth {
    previous: u64,
    current: u64,
}

impl MaxBandwidth {
    pub(super) const fn new() -> Self {
        Self { previous: 0, current: 0 }
    }

    pub(super) fn value(self) -> u64 {
        self.previous.max(self.current)
    }

    pub(super) fn add(&mut self, rate: u64) {
        self.current = self.current.max(rate);
    }

    /// A cycle is over. One without any sample is not: what is known stays known.
    pub(super) fn advance(&mut self) {
        if self.current > 0 {
            *self = Self { previous: self.current, current: 0 };
        }
    }
}

/// Rounds of each half of the window once the pipe was full; before that, one.
const HALF_WINDOW_ROUNDS: u8 = 5;

/// How much more than the bandwidth accounts for was acknowledged at once lately (5.5.9), bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtraAcked {
    interval_start: Instant,
    /// Bytes delivered in the interval.
    delivered: u32,
    previous: u32,
    current: u32,
    /// Rounds of the current half.
    rounds: u8,
}

impl ExtraAcked {
    pub(super) const fn new() -> Self {
        Self { interval_start: Instant::ZERO, delivered: 0, previous: 0, current: 0, rounds: 0 }
    }

    pub(super) fn value(self) -> u32 {
        self.previous.max(self.current)
    }

    /// Sending begins again after idleness.
    pub(super) fn restart(&mut self, now: Instant) {
        self.interval_start = now;
    }

    pub(super) fn on_ack(&mut self, ack: &Ack, bw: u64, cwnd: u32, full: bool, round_start: bool) {
        if round_start {
            self.rounds = self.rounds.saturating_add(1);
            if self.rounds >= if full { HALF_WINDOW_ROUNDS } else { 1 } {
                (self.previous, self.current, self.rounds) = (self.current, 0, 0);
            }
        }
        let mut expected = volume(bw, ack.now.saturating_since(self.interval_start));
        if self.delivered <= expected || expected == INFINITE {
            (self.interval_start, self.delivered, expected) = (ack.now, 0, 0);
        }
        self.delivered = self.delivered.saturating_add(ack.delivered);
        self.current = self.current.max(self.delivered.saturating_sub(expected).min(cwnd));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::model::ack;
    use super::*;

    #[test]
    fn two_cycles_of_bandwidth_are_remembered() {
        let mut max = MaxBandwidth::new();
        max.add(5);
        max.add(3);
        assert_eq!(max.value(), 5);
        max.advance();
        max.advance();
        assert_eq!(max.value(), 5, "a cycle without a sample does not count");
        max.add(2);
        assert_eq!(max.value(), 5);
        max.advance();
        assert_eq!(max.value(), 2);
    }

    #[test]
    fn what_comes_at_once_is_more_than_what_was_due() {
        let mut extra = ExtraAcked::new();
        let mut on_ack = |millis, bytes, round_start| {
            let ack = Ack { now: Instant::from_millis(millis), ..ack(bytes) };
            extra.on_ack(&ack, 1_000_000, 50_000, true, round_start);
            extra.value()
        };
        // A thousand bytes a millisecond are due.
        assert_eq!(on_ack(100, 1_000, false), 1_000);
        assert_eq!(on_ack(101, 9_000, false), 9_000, "an interval begins when no more than was due has come");
        assert_eq!(on_ack(103, 3_000, false), 10_000);
        assert_eq!(on_ack(104, 200_000, false), 50_000, "no more than the window");
        assert_eq!((0..9).map(|i| on_ack(100_000 + i, 1_000, true)).last(), Some(50_000), "nine rounds later");
        assert_eq!(on_ack(200_000, 1_000, true), 1_000, "ten rounds later");
    }
}
