//! Whether the congestion window has been used lately: congestion window validation (RFC 7661).
//!
//! A sender that the application holds back says nothing about the network with a window that it does not fill. Such a
//! window is kept for five minutes, but it does not grow, what is reduced in it is what was really used, and after that
//! it decays. This machine measures pipeACK, the most that was acknowledged in a round-trip time lately; whoever holds it
//! asks `poll_decay`, and tells the algorithm.

use crate::time::Instant;
use core::time::Duration;

/// The non-validated period (RFC 7661 5).
const NVP_MS: u32 = 5 * 60 * 1_000;

/// No measurement yet, or none since a recovery: the window passes for validated (RFC 7661 4.2).
const UNDEFINED: u32 = u32::MAX;

/// pipeACK, and since when the window has been too large for it.
#[derive(Clone, Copy, Debug)]
pub struct Validation {
    /// When the current sample began.
    sample_start: Instant,
    /// When the newest part of the sampling period began.
    part_start: Instant,
    /// Bytes acknowledged in the current sample.
    sample: u32,
    /// The largest sample of each part, the newest first. Two whole parts are the sampling period.
    parts: [u32; 3],
    /// Length of a part, microseconds.
    part_us: u32,
    /// When the window was validated last, milliseconds modulo 2^32.
    validated_ms: u32,
}

impl Validation {
    /// Begins at `now`, with pipeACK undefined.
    pub const fn new(now: Instant) -> Self {
        Self {
            sample_start: now,
            part_start: now,
            sample: 0,
            parts: [UNDEFINED, 0, 0],
            part_us: 500_000,
            validated_ms: now.as_millis() as u32,
        }
    }

    /// An ACK of `bytes` has come outside of recovery.
    pub fn on_ack(&mut self, now: Instant, bytes: u32, srtt: Option<Duration>) {
        let Some(srtt) = srtt else { return };
        if now.saturating_since(self.sample_start) >= srtt {
            // What comes now belongs to the next sample: it was acknowledged more than a round-trip time after the first.
            self.end_sample();
            // The sampling period is max(3 * RTT, 1 second).
            let part_us = srtt.as_micros().saturating_mul(3) / 2;
            self.part_us = u32::try_from(part_us).unwrap_or(u32::MAX).max(500_000);
            self.roll(now);
            self.sample_start = now;
        }
        self.sample = self.sample.saturating_add(bytes);
    }

    /// Recovery is over: what was measured before tells nothing about the window of now (RFC 7661 4.4.1).
    pub const fn on_recovered(&mut self, now: Instant) {
        *self = Self { part_us: self.part_us, ..Self::new(now) };
    }

    /// Whether a window of `cwnd` bytes is validated: at least half of it was used. Only then may it grow.
    pub fn is_validated(&self, cwnd: u32) -> bool {
        self.pipe_ack().is_none_or(|used| used >= cwnd / 2)
    }

    /// What a reduction of a window of `cwnd` bytes with `in_flight` of them in flight is reckoned from, bytes: what is
    /// in flight, or in a window that is not validated the larger of that and pipeACK (RFC 7661 4.4.1).
    pub fn flight(&self, cwnd: u32, in_flight: u32) -> u32 {
        match self.pipe_ack() {
            Some(used) if used < cwnd / 2 => in_flight.max(used),
            _ => in_flight,
        }
    }

    /// Whether a window of `cwnd` bytes has gone without validation for five minutes and has to decay now; and again for
    /// each five minutes more. Ask after ACKs, and before sending begins again.
    pub fn poll_decay(&mut self, now: Instant, cwnd: u32) -> bool {
        self.roll(now);
        let now_ms = now.as_millis() as u32;
        if self.is_validated(cwnd) {
            self.validated_ms = now_ms;
            return false;
        }
        let decays = now_ms.wrapping_sub(self.validated_ms) >= NVP_MS;
        if decays {
            self.validated_ms = now_ms;
        }
        decays
    }

    /// pipeACK, bytes; `None` while it is undefined.
    fn pipe_ack(&self) -> Option<u32> {
        let used = self.parts.iter().fold(self.sample, |most, part| most.max(*part));
        (used != UNDEFINED).then_some(used)
    }

    fn end_sample(&mut self) {
        let sample = self.sample.min(UNDEFINED - 1);
        let [newest, ..] = &mut self.parts;
        *newest = if *newest == UNDEFINED { sample } else { sample.max(*newest) };
        self.sample = 0;
    }

    /// Begins a new part, if it is time, and forgets what is older than the sampling period.
    fn roll(&mut self, now: Instant) {
        let part = Duration::from_micros(u64::from(self.part_us));
        let passed = now.saturating_since(self.part_start);
        if passed < part || self.parts[0] == UNDEFINED {
            return;
        }
        let [newest, older, _] = self.parts;
        self.parts = if passed < 2 * part {
            [0, newest, older]
        } else if passed < 3 * part {
            [0, 0, newest]
        } else {
            // The running sample is as old as that, too, or would have been ended.
            self.sample = 0;
            [0; 3]
        };
        self.part_start = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// From `from` to `to`, `bytes` every 10 ms.
    fn traffic(validation: &mut Validation, from: u64, to: u64, bytes: u32) {
        (from..to).step_by(10).for_each(|ms| validation.on_ack(at(ms), bytes, RTT));
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Validation>() <= 40, "{}", size_of::<Validation>());
    }

    #[test]
    fn half_of_the_window_in_a_round_trip_validates_it() {
        let mut validation = Validation::new(at(0));
        assert!(validation.is_validated(u32::MAX), "nothing is known yet");
        traffic(&mut validation, 0, 1_000, 1_000);
        // Ten ACKs a round trip.
        assert!(validation.is_validated(20_001));
        assert!(!validation.is_validated(20_002));
    }

    #[test]
    fn the_most_of_the_last_second_counts() {
        let mut validation = Validation::new(at(0));
        traffic(&mut validation, 0, 1_000, 1_000);
        traffic(&mut validation, 1_000, 2_000, 100);
        assert!(validation.is_validated(20_000), "a second ago there was more");
        traffic(&mut validation, 2_000, 2_700, 100);
        assert!(!validation.is_validated(20_000));
        assert!(validation.is_validated(2_000));
    }

    #[test]
    fn three_round_trips_count_when_they_are_longer_than_a_second() {
        let mut validation = Validation::new(at(0));
        let rtt = Some(Duration::from_secs(1));
        (0..5_000).step_by(100).for_each(|ms| validation.on_ack(at(ms), 1_000, rtt));
        (5_000..7_500).step_by(100).for_each(|ms| validation.on_ack(at(ms), 10, rtt));
        assert!(validation.is_validated(20_000));
    }

    #[test]
    fn a_reduction_is_reckoned_from_what_was_used() {
        let mut validation = Validation::new(at(0));
        assert_eq!(validation.flight(100_000, 5_000), 5_000, "validated: as without it");
        traffic(&mut validation, 0, 1_000, 1_000);
        assert_eq!(validation.flight(100_000, 5_000), 10_000);
        assert_eq!(validation.flight(100_000, 15_000), 15_000);
        assert_eq!(validation.flight(20_000, 5_000), 5_000);
    }

    #[test]
    fn a_recovery_makes_it_undefined_again() {
        let mut validation = Validation::new(at(0));
        traffic(&mut validation, 0, 1_000, 1_000);
        validation.on_recovered(at(1_000));
        assert!(validation.is_validated(u32::MAX));
        traffic(&mut validation, 1_000, 2_000, 1_000);
        assert!(!validation.is_validated(100_000));
    }

    #[test]
    fn a_window_out_of_use_decays_every_five_minutes() {
        let mut validation = Validation::new(at(0));
        let mut decays = std::vec::Vec::new();
        for second in 0..1_000 {
            traffic(&mut validation, second * 1_000, second * 1_000 + 1_000, 100);
            if validation.poll_decay(at(second * 1_000 + 999), 100_000) {
                decays.push(second);
            }
        }
        assert_eq!(decays, [300, 600, 900]);
    }

    #[test]
    fn idleness_is_no_use_either() {
        let mut validation = Validation::new(at(0));
        traffic(&mut validation, 0, 1_000, 1_000);
        assert!(!validation.poll_decay(at(1_000), 20_000));
        assert!(!validation.poll_decay(at(299_000), 20_000));
        assert!(!validation.is_validated(20_000));
        assert!(validation.poll_decay(at(301_000), 20_000));
        assert!(!validation.poll_decay(at(301_001), 20_000));
    }

    #[test]
    fn slow_traffic_is_not_taken_for_a_round_trip_of_it() {
        let mut validation = Validation::new(at(0));
        (0..100).for_each(|second| validation.on_ack(at(second * 1_000), 1_000, RTT));
        assert!(!validation.is_validated(2_002), "a thousand bytes a second are no two thousand a round trip");
    }

    #[test]
    fn nothing_overflows() {
        let mut validation = Validation::new(Instant::from_nanos(u64::MAX));
        for srtt in [Duration::ZERO, Duration::MAX] {
            for now in [Instant::ZERO, Instant::from_nanos(u64::MAX)] {
                (0..3).for_each(|_| validation.on_ack(now, u32::MAX, Some(srtt)));
                validation.poll_decay(now, u32::MAX);
                validation.on_recovered(now);
            }
        }
    }
}
