//! The train of ACKs: a round whose ACKs follow each other closely for half of the round-trip time, and come no faster
//! than those of the round before, fills the path (Ha and Rhee, "Taming the Elephants: New TCP Slow Start", 2008).
//!
//! Slow start sends a round in bursts. The bottleneck spreads it, so its ACKs come at the bottleneck's pace, and how long
//! they last shows how much of the path it fills. That is known before the next round, twice as long, finds the queue too
//! short, and before the least round-trip time has grown.
//!
//! The paper asks for the length alone. But jitter, ACKs that come in bunches, and a sender that paces spread a round as
//! well. What they do not is hold its pace: as long as the path has room, twice the window makes its ACKs faster.

use super::micros;
use crate::time::Instant;
use core::time::Duration;

/// ACKs that are further apart than this part of the round-trip time do not follow each other closely. The paper has 2 ms,
/// whatever the path.
const GAP_DIVISOR: u32 = 8;
/// The part of the round-trip time for which a train has to last before it says anything.
const LENGTH_DIVISOR: u32 = 2;
/// And the part for which one has to last that another is compared with. Where the path is full, half of what is needed
/// comes from half of the window.
const BEFORE_DIVISOR: u32 = 8;
/// An eighth more is no faster: what is measured is not exact.
const SAME: (u64, u64) = (9, 8);

/// What a train tells that has lasted for long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// More is delivered in the same time than before.
    Faster,
    /// No more is: the window has outgrown the path.
    Same,
}

/// The ACKs of this round, and the pace of an earlier one. Times are microseconds modulo 2^32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train {
    began_us: u32,
    last_us: u32,
    /// Bytes delivered behind the first ACK.
    bytes: u32,
    /// The pace that this round is compared with, bytes a millisecond; zero when there was none.
    before: u32,
    /// An ACK came too late to belong to it, so what comes still says nothing.
    broken: bool,
}

impl Train {
    /// Before the first round.
    pub(super) const fn new() -> Self {
        Self { began_us: 0, last_us: 0, bytes: 0, before: 0, broken: true }
    }

    /// A round begins with the ACK that comes now. It is compared with the round that ends, or if `keep` with what that one
    /// was compared with.
    pub(super) fn on_round(&mut self, now: Instant, min_rtt: Duration, keep: bool) {
        let before = if keep { self.before } else { self.pace(min_rtt) };
        let now_us = now.as_micros() as u32;
        *self = Self { began_us: now_us, last_us: now_us, bytes: 0, before, broken: false };
    }

    /// Another ACK of the round has delivered `bytes`.
    pub(super) fn on_ack(&mut self, now: Instant, bytes: u32, min_rtt: Duration) -> Option<Pace> {
        let now_us = now.as_micros() as u32;
        self.broken |= now_us.wrapping_sub(self.last_us) > micros(min_rtt / GAP_DIVISOR);
        if self.broken {
            return None;
        }
        self.last_us = now_us;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.length_us() < micros(min_rtt / LENGTH_DIVISOR).max(1) {
            return None;
        }
        let now_at = u64::from(self.bytes) * 1_000 * SAME.1;
        let then_at = u64::from(self.before) * u64::from(self.length_us()) * SAME.0;
        Some(if now_at <= then_at { Pace::Same } else { Pace::Faster })
    }

    /// Bytes a millisecond; zero when it has not lasted for long enough.
    fn pace(&self, min_rtt: Duration) -> u32 {
        let length_us = self.length_us();
        if length_us < micros(min_rtt / BEFORE_DIVISOR).max(1) {
            return 0;
        }
        u32::try_from(u64::from(self.bytes) * 1_000 / u64::from(length_us)).unwrap_or(u32::MAX)
    }

    fn length_us(&self) -> u32 {
        self.last_us.wrapping_sub(self.began_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const RTT: Duration = Duration::from_millis(100);

    /// A round of `count` ACKs of 1000 bytes that begins at `at_ms`, `gap_us` apart; the first answer that says something,
    /// and after how many milliseconds.
    fn round(train: &mut Train, at_ms: u64, count: u64, gap_us: u64) -> Option<(u64, Pace)> {
        train.on_round(Instant::from_millis(at_ms), RTT, false);
        rest(train, at_ms, count, gap_us)
    }

    fn rest(train: &mut Train, at_ms: u64, count: u64, gap_us: u64) -> Option<(u64, Pace)> {
        let mut told = None;
        for n in 1..count {
            let now = Instant::from_micros(at_ms * 1_000 + n * gap_us);
            let pace = train.on_ack(now, 1_000, RTT);
            told = told.or_else(|| Some((n * gap_us / 1_000, pace?)));
        }
        told
    }

    #[test]
    fn half_a_round_trip_at_the_same_pace_fills_the_path() {
        let mut train = Train::new();
        let told: Vec<_> = (0..4).map(|n| round(&mut train, 100 * n, 10 << n, 1_000)).collect();
        assert_eq!(told, [None, None, None, Some((50, Pace::Same))]);
    }

    #[test]
    fn a_round_that_is_spread_is_faster_with_twice_the_window() {
        let mut train = Train::new();
        let told: Vec<_> = (0..4).map(|n| round(&mut train, 100 * n, 10 << n, 8_000 >> n)).collect();
        assert!(told.iter().all(|told| matches!(told, Some((_, Pace::Faster)))), "{told:?}");
    }

    #[test]
    fn an_eighth_faster_is_the_same_pace() {
        for (gap_us, pace) in [(900, Pace::Same), (880, Pace::Faster)] {
            let mut train = Train::new();
            round(&mut train, 0, 30, 1_000);
            assert_eq!(round(&mut train, 100, 60, gap_us).map(|(_, pace)| pace), Some(pace));
        }
    }

    #[test]
    fn a_gap_of_more_than_an_eighth_of_the_round_trip_breaks_it() {
        let mut train = Train::new();
        round(&mut train, 0, 30, 1_000);
        train.on_round(Instant::from_millis(100), RTT, false);
        assert_eq!(train.on_ack(Instant::from_millis(113), 1_000, RTT), None);
        assert_eq!(rest(&mut train, 113, 60, 1_000), None);
        assert_eq!(round(&mut train, 200, 5, 12_500), Some((50, Pace::Faster)), "there was none before");
    }

    #[test]
    fn a_short_one_has_no_pace_and_one_that_is_kept_has_that_of_before() {
        let mut train = Train::new();
        round(&mut train, 0, 13, 1_000);
        assert_eq!(round(&mut train, 100, 60, 1_000), Some((50, Pace::Faster)), "12 ms are too short");
        round(&mut train, 200, 30, 2_000);
        train.on_round(Instant::from_millis(300), RTT, true);
        assert_eq!(rest(&mut train, 300, 60, 1_000), Some((50, Pace::Same)), "as fast as that of 100 ms");
    }

    #[test]
    fn the_clock_may_wrap_and_a_moment_may_hold_everything() {
        let wrap_ms = (u64::from(u32::MAX) + 1) / 1_000;
        let mut train = Train::new();
        round(&mut train, wrap_ms - 130, 30, 1_000);
        assert_eq!(round(&mut train, wrap_ms - 30, 80, 1_000), Some((50, Pace::Same)));
        train.on_round(Instant::ZERO, Duration::ZERO, false);
        assert_eq!(train.on_ack(Instant::ZERO, u32::MAX, Duration::ZERO), None);
    }
}
