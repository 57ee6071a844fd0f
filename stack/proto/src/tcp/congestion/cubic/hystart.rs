//! HyStart++: slow start that ends when the round-trip time grows, before anything is lost (RFC 9406).
//!
//! It watches the least round-trip time of each round. When that has grown by an eighth, conservative slow start goes on
//! at a quarter of the speed for five rounds, and either sees the delay fall again, and slow start goes on, or ends it.
//! The growth that counts is no less than 4 ms: where the whole round trip is shorter, as in a data centre, only loss
//! ends slow start.

use super::super::Ack;
use core::time::Duration;

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

/// The delay of this round and the last one.
#[derive(Clone, Copy, Debug)]
pub struct HyStart {
    /// The round ends when something is delivered that was sent after so many bytes had been. Of those the lower 32 bits
    /// will do, since less than 2^31 are in flight.
    round_end: u32,
    last_min_us: u32,
    current_min_us: u32,
    /// In conservative slow start, the delay at its beginning.
    baseline_us: u32,
    samples: u8,
    /// Rounds of conservative slow start, the current one among them.
    css_rounds: u8,
}

impl HyStart {
    /// Before the first round.
    pub const fn new() -> Self {
        Self {
            round_end: 0,
            last_min_us: INFINITY,
            current_min_us: INFINITY,
            baseline_us: INFINITY,
            samples: 0,
            css_rounds: 0,
        }
    }

    /// By how much slow start is slowed down.
    pub const fn divisor(&self) -> u32 {
        if self.css_rounds > 0 { CSS_GROWTH_DIVISOR } else { 1 }
    }

    /// Whether slow start is over: ssthresh becomes the window of now.
    pub const fn is_over(&self) -> bool {
        self.css_rounds > CSS_ROUNDS
    }

    /// An ACK has come in slow start.
    pub fn on_ack(&mut self, ack: &Ack) {
        if let Some(rate) = ack.rate
            && has_passed(rate.prior_delivered as u32, self.round_end)
        {
            self.next_round(ack.delivered_total as u32);
        }
        let Some(rtt) = ack.rtt else { return };
        self.current_min_us = self.current_min_us.min(micros(rtt));
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        if self.css_rounds == 0 {
            self.look_for_delay();
        } else if self.current_min_us < self.baseline_us {
            // The delay has gone: it was jitter, and slow start goes on.
            self.baseline_us = INFINITY;
            self.css_rounds = 0;
        }
    }

    fn look_for_delay(&mut self) {
        if self.last_min_us == INFINITY {
            return;
        }
        let threshold = (self.last_min_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
        if self.current_min_us >= self.last_min_us.saturating_add(threshold) {
            self.baseline_us = self.current_min_us;
            self.css_rounds = 1;
        }
    }

    fn next_round(&mut self, delivered_total: u32) {
        self.round_end = delivered_total;
        self.last_min_us = self.current_min_us;
        self.current_min_us = INFINITY;
        self.samples = 0;
        if self.css_rounds > 0 {
            self.css_rounds = self.css_rounds.saturating_add(1);
        }
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

    /// A round of `count` ACKs at `rtt_us`, in which everything that was sent in the one before is delivered.
    fn round(hystart: &mut HyStart, total: &mut u64, count: u32, rtt_us: u64) {
        let start = *total;
        for _ in 0..count {
            *total += 1000;
            let rate = RateSample {
                delivered: 1000,
                interval: Duration::from_micros(rtt_us),
                prior_delivered: start,
                in_flight_at_send: 0,
                lost: 0,
                app_limited: false,
            };
            let rtt = Some(Duration::from_micros(rtt_us));
            hystart.on_ack(&Ack { delivered_total: *total, rtt, rate: Some(rate), ..ack(1000) });
        }
    }

    /// Rounds of ten ACKs each; the divisors after them.
    fn divisors(rtts_us: &[u64]) -> std::vec::Vec<u32> {
        let (mut hystart, mut total) = (HyStart::new(), 0);
        let after = |rtt: &u64| {
            round(&mut hystart, &mut total, 10, *rtt);
            hystart.divisor()
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
        assert_eq!(hystart.divisor(), 1);
        round(&mut hystart, &mut total, 8, 100_000);
        assert_eq!(hystart.divisor(), 4);
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
    fn rounds_go_on_beyond_32_bits() {
        let (mut hystart, mut total) = (HyStart::new(), u64::from(u32::MAX) - 15_000);
        hystart.round_end = total as u32;
        let mut after = |rtt| {
            round(&mut hystart, &mut total, 10, rtt);
            hystart.divisor()
        };
        assert_eq!([after(40_000), after(40_000), after(50_000)], [1, 1, 4]);
    }
}
