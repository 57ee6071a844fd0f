//! HyStart++: slow start that ends before anything is lost, when the round-trip time grows (RFC 9406); and, as in the
//! HyStart from which it comes, when the train of ACKs shows that the path is full.
//!
//! It watches the least round-trip time of each round. When that has grown by an eighth, conservative slow start goes on
//! at a quarter of the speed for five rounds, and either sees the delay fall again, and slow start goes on, or ends it.
//! The growth that counts is no less than 4 ms: where the whole round trip is shorter, as in a data centre, only loss
//! ends slow start.
//!
//! RFC 9406 has left the trains out, since compressed ACKs look like one. But a burst that fills the path has left its
//! queue before the next one comes, so the delay tells a round too late, and with a buffer of one bandwidth-delay product
//! half of a window is lost by then. So a train makes the window stand still for one round, which must show the same again:
//! what it costs to be wrong is that round. Both signs together end slow start at once.

mod train;

use super::super::Ack;
use core::time::Duration;
use train::{Pace, Train};

/// Bounds of the growth that counts, microseconds (RFC 9406 4.3).
const MIN_RTT_THRESH_US: u32 = 4_000;
const MAX_RTT_THRESH_US: u32 = 16_000;
/// The part of the round-trip time that it is.
const MIN_RTT_DIVISOR: u32 = 8;
/// Samples of a round before it is judged.
const N_RTT_SAMPLE: u8 = 8;
/// How much slower conservative slow start is.
const CSS_GROWTH_DIVISOR: u32 = 4;
/// How many rounds it lasts, the one among them in which it began.
const CSS_ROUNDS: u8 = 5;
/// No sample yet.
const INFINITY: u32 = u32::MAX;

/// How the window grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// By what is acknowledged.
    Slow,
    /// Not at all in the rest of this round, in which a train was seen.
    Seen,
    /// Nor in this one, whose train decides.
    Confirming,
    /// Slower, in the round of that number.
    Conservative(u8),
    /// Slow start is over.
    Over,
}

/// The delay and the train of this round and of the last one.
#[derive(Clone, Copy, Debug)]
pub struct HyStart {
    /// The round ends when something is delivered that was sent after so many bytes had been. Of those the lower 32 bits
    /// will do, since less than 2^31 are in flight.
    round_end: u32,
    last_min_us: u32,
    current_min_us: u32,
    /// In conservative slow start, the delay at its beginning.
    baseline_us: u32,
    train: Train,
    samples: u8,
    phase: Phase,
}

impl HyStart {
    /// Before the first round.
    pub const fn new() -> Self {
        Self {
            round_end: 0,
            last_min_us: INFINITY,
            current_min_us: INFINITY,
            baseline_us: INFINITY,
            train: Train::new(),
            samples: 0,
            phase: Phase::Slow,
        }
    }

    /// By how much slow start is slowed down; `None` while the window stands still.
    pub const fn divisor(&self) -> Option<u32> {
        match self.phase {
            Phase::Slow => Some(1),
            Phase::Conservative(_) => Some(CSS_GROWTH_DIVISOR),
            Phase::Seen | Phase::Confirming | Phase::Over => None,
        }
    }

    /// Whether slow start is over: ssthresh becomes the window of now.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// An ACK has come in slow start.
    pub fn on_ack(&mut self, ack: &Ack) {
        let min_rtt = ack.min_rtt.unwrap_or_default();
        if ack.rate.is_some_and(|rate| has_passed(rate.prior_delivered as u32, self.round_end)) {
            self.next_round(ack.delivered_total as u32);
            self.train.on_round(ack.now, min_rtt, self.phase == Phase::Confirming);
        } else if let Some(pace) = self.train.on_ack(ack.now, ack.delivered, min_rtt) {
            self.on_train(pace, ack);
        }
        let Some(rtt) = ack.rtt else { return };
        self.current_min_us = self.current_min_us.min(micros(rtt));
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        match self.phase {
            Phase::Slow if self.is_delayed() => {
                self.baseline_us = self.current_min_us;
                self.phase = Phase::Conservative(1);
            }
            Phase::Seen | Phase::Confirming if self.is_delayed() => self.phase = Phase::Over,
            // The delay has gone: it was jitter, and slow start goes on.
            Phase::Conservative(_) if self.current_min_us < self.baseline_us => self.phase = Phase::Slow,
            _ => {}
        }
    }

    /// The train has lasted for half of the round-trip time. An application that sends no more than it does has such a train
    /// too, and it says nothing of the path.
    fn on_train(&mut self, pace: Pace, ack: &Ack) {
        let fills = pace == Pace::Same && ack.cwnd_limited && ack.rate.is_some_and(|rate| !rate.app_limited);
        self.phase = match self.phase {
            Phase::Slow if fills => Phase::Seen,
            Phase::Confirming | Phase::Conservative(_) if fills => Phase::Over,
            Phase::Confirming => Phase::Slow,
            phase => phase,
        };
    }

    fn is_delayed(&self) -> bool {
        let threshold = (self.last_min_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
        self.last_min_us != INFINITY && self.current_min_us >= self.last_min_us.saturating_add(threshold)
    }

    fn next_round(&mut self, delivered_total: u32) {
        self.round_end = delivered_total;
        self.last_min_us = self.current_min_us;
        self.current_min_us = INFINITY;
        self.samples = 0;
        self.phase = match self.phase {
            Phase::Seen => Phase::Confirming,
            // There was no train in the round that was to show it again.
            Phase::Confirming => Phase::Slow,
            Phase::Conservative(CSS_ROUNDS..) => Phase::Over,
            Phase::Conservative(round) => Phase::Conservative(round + 1),
            phase => phase,
        };
    }
}

impl Default for HyStart {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether `total` is at or after `end`, both modulo 2^32.
const fn has_passed(total: u32, end: u32) -> bool {
    total.wrapping_sub(end) < 1 << 31
}

/// Microseconds; less than [`INFINITY`], so that a sample is never none.
fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(INFINITY).min(INFINITY - 1)
}

#[cfg(test)]
mod tests {
    use super::super::super::RateSample;
    use super::super::super::model::ack;
    use super::*;
    use crate::time::Instant;

    /// An ACK that makes it `total` bytes, of what was sent when `prior` had been delivered.
    fn ack_of(total: u64, prior: u64, rtt_us: u64) -> Ack {
        let rate = RateSample {
            delivered: 1000,
            interval: Duration::from_micros(rtt_us),
            prior_delivered: prior,
            in_flight_at_send: 0,
            lost: 0,
            app_limited: false,
        };
        let rtt = Some(Duration::from_micros(rtt_us));
        Ack { delivered_total: total, rtt, rate: Some(rate), ..ack(1000) }
    }

    /// A round of `count` ACKs at `rtt_us`, in which everything that was sent in the one before is delivered.
    fn round(hystart: &mut HyStart, total: &mut u64, count: u32, rtt_us: u64) {
        let start = *total;
        for _ in 0..count {
            *total += 1000;
            hystart.on_ack(&ack_of(*total, start, rtt_us));
        }
    }

    /// A hundred milliseconds each: rounds of so many ACKs, so many microseconds apart; the divisors after them.
    fn trains<const N: usize>(rounds: [(u64, u64); N], limited: bool, rtt_us: u64) -> [Option<u32>; N] {
        let (mut hystart, mut total, mut began_us) = (HyStart::new(), 0, 0);
        rounds.map(|(count, gap_us)| {
            let start = total;
            for n in 0..count {
                total += 1000;
                let rtt_us = if start == 0 { 100_000 } else { rtt_us };
                hystart.on_ack(&Ack {
                    now: Instant::from_micros(began_us + n * gap_us),
                    min_rtt: Some(Duration::from_millis(100)),
                    cwnd_limited: limited,
                    ..ack_of(total, start, rtt_us)
                });
            }
            began_us += 100_000;
            hystart.divisor()
        })
    }

    /// Rounds of ten ACKs each; the divisors after them.
    fn divisors(rtts_us: &[u64]) -> std::vec::Vec<u32> {
        let (mut hystart, mut total) = (HyStart::new(), 0);
        let after = |rtt: &u64| {
            round(&mut hystart, &mut total, 10, *rtt);
            hystart.divisor().unwrap_or(0)
        };
        rtts_us.iter().map(after).collect()
    }

    #[test]
    fn an_eighth_more_delay_slows_down() {
        assert_eq!(divisors(&[40_000, 40_000, 44_999]), [1, 1, 1]);
        assert_eq!(divisors(&[40_000, 40_000, 45_000]), [1, 1, 4]);
        assert_eq!(divisors(&[8_000, 11_999, 16_000]), [1, 1, 4], "no less than 4 ms");
        assert_eq!(divisors(&[800_000, 815_999, 831_999]), [1, 1, 4], "no more than 16 ms");
        assert_eq!(divisors(&[20, 100, 900, 3_000]), [1; 4], "a short path shows nothing");
    }

    #[test]
    fn seven_samples_are_too_few() {
        let (mut hystart, mut total) = (HyStart::new(), 0);
        round(&mut hystart, &mut total, 8, 40_000);
        round(&mut hystart, &mut total, 7, 80_000);
        assert_eq!(hystart.divisor(), Some(1));
        round(&mut hystart, &mut total, 8, 100_000);
        assert_eq!(hystart.divisor(), Some(4));
    }

    #[test]
    fn jitter_lets_slow_start_go_on() {
        assert_eq!(divisors(&[40_000, 60_000, 60_000, 59_999, 40_000]), [1, 4, 4, 1, 1]);
    }

    #[test]
    fn lasting_delay_ends_it_after_five_rounds() {
        let (mut hystart, mut total) = (HyStart::new(), 0);
        round(&mut hystart, &mut total, 10, 40_000);
        for _ in 0..5 {
            round(&mut hystart, &mut total, 10, 60_000);
            assert!(!hystart.is_over());
        }
        round(&mut hystart, &mut total, 1, 60_000);
        assert!(hystart.is_over());
    }

    #[test]
    fn a_train_that_comes_again_while_the_window_stands_ends_it() {
        let rounds = [(15, 1_000), (30, 1_000), (60, 1_000), (60, 1_000)];
        assert_eq!(trains(rounds, true, 100_000), [Some(1), Some(1), None, None]);
        let (mut hystart, mut total) = (HyStart::new(), 0);
        hystart.phase = Phase::Confirming;
        round(&mut hystart, &mut total, 10, 40_000);
        assert_eq!(hystart.divisor(), Some(1), "none came");
    }

    #[test]
    fn a_train_that_is_faster_the_next_time_was_none() {
        let rounds = [(15, 1_000), (30, 1_000), (60, 1_000), (80, 800)];
        assert_eq!(trains(rounds, true, 100_000), [Some(1), Some(1), None, Some(1)]);
    }

    #[test]
    fn the_train_of_a_window_that_is_not_used_says_nothing() {
        assert_eq!(trains([(30, 1_000), (60, 1_000), (60, 1_000)], false, 100_000), [Some(1); 3]);
    }

    /// Delay alone would slow down.
    #[test]
    fn a_train_and_delay_end_it_at_once() {
        assert_eq!(trains([(30, 1_000), (30, 1_000)], true, 120_000), [Some(1), Some(4)]);
        let mut hystart = HyStart::new();
        (hystart.phase, hystart.last_min_us) = (Phase::Seen, 100_000);
        (0..8).for_each(|n| hystart.on_ack(&Ack { rate: None, ..ack_of(1000 * n, 0, 120_000) }));
        assert!(hystart.is_over());
    }

    #[test]
    fn rounds_go_on_beyond_32_bits() {
        let (mut hystart, mut total) = (HyStart::new(), u64::from(u32::MAX) - 15_000);
        hystart.round_end = total as u32;
        let mut after = |rtt| {
            round(&mut hystart, &mut total, 10, rtt);
            hystart.divisor()
        };
        assert_eq!([after(40_000), after(40_000), after(50_000)], [Some(1), Some(1), Some(4)]);
    }
}
