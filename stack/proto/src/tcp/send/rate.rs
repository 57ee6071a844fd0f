//! How fast the network delivers: a sample with each ACK (draft-ietf-ccwg-bbr 4.1, "Delivery Rate Samples").
//!
//! A segment remembers what had been delivered when it was sent. When it is acknowledged, what has been delivered since,
//! by the time that has passed, is a rate that the network has shown. The time is the longer of the time in which the
//! bytes were sent and that in which they were acknowledged, so that ACKs that come in bunches do not look fast.

use crate::tcp::transmission::{RateSample, Stamp};
use crate::time::Instant;
use core::time::Duration;

/// The counts of one connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    delivered: u64,
    delivered_at: Instant,
    first_at: Instant,
    lost: u64,
    /// What is delivered up to here was sent by an application that had no more; 0 for none.
    limited_until: u64,
    latest: u64,
}

impl Rate {
    /// Nothing sent yet.
    pub fn new(now: Instant) -> Self {
        Self { delivered: 0, delivered_at: now, first_at: now, lost: 0, limited_until: 0, latest: 0 }
    }

    /// Bytes delivered.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes found lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The latest sample, bytes a second; 0 before the first.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// Whether the network is not what holds the sender back.
    pub fn is_app_limited(&self) -> bool {
        self.limited_until > 0
    }

    /// A segment of `len` bytes leaves while `in_flight` are out.
    pub fn on_sent(&mut self, now: Instant, len: u32, in_flight: u32) -> Stamp {
        if in_flight == 0 {
            // The time without anything to deliver says nothing of the network.
            (self.first_at, self.delivered_at) = (now, now);
        }
        Stamp {
            at: now,
            first_at: self.first_at,
            delivered_at: self.delivered_at,
            delivered: self.delivered as u32,
            lost: self.lost as u32,
            in_flight: in_flight.saturating_add(len),
            app_limited: self.is_app_limited(),
        }
    }

    /// `bytes` have been delivered, of which the segment sent last has this stamp. Gives the sample; none where the
    /// time is shorter than `min_rtt`: then it is the retransmission that was stamped, and the original that arrived.
    pub fn on_delivered(
        &mut self,
        now: Instant,
        bytes: u32,
        newest: &Stamp,
        min_rtt: Option<Duration>,
    ) -> Option<RateSample> {
        self.delivered += u64::from(bytes);
        self.delivered_at = now;
        self.first_at = newest.at;
        if self.limited_until > 0 && self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let sending = newest.at.saturating_since(newest.first_at);
        let acknowledging = now.saturating_since(newest.delivered_at);
        let interval = sending.max(acknowledging);
        if interval < min_rtt.unwrap_or_default() || interval.is_zero() {
            return None;
        }
        let delivered = (self.delivered as u32).wrapping_sub(newest.delivered);
        let sample = RateSample {
            delivered,
            interval,
            prior_delivered: self.delivered - u64::from(delivered),
            in_flight_at_send: newest.in_flight,
            lost: (self.lost as u32).wrapping_sub(newest.lost),
            app_limited: newest.app_limited,
        };
        self.latest = sample.rate();
        Some(sample)
    }

    /// A segment of `bytes` with this stamp has been found lost. Gives the bytes lost since it was sent.
    pub fn on_lost(&mut self, bytes: u32, stamp: &Stamp) -> u32 {
        self.lost += u64::from(bytes);
        (self.lost as u32).wrapping_sub(stamp.lost)
    }

    /// What looked lost was not.
    pub fn on_unlost(&mut self, bytes: u32) {
        self.lost = self.lost.saturating_sub(bytes.into());
    }

    /// There is nothing to send although the congestion window would let it, with `in_flight` bytes out: what comes of
    /// them shows the application's pace.
    pub fn on_dry(&mut self, in_flight: u32) {
        self.limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1000 + millis)
    }

    #[test]
    fn a_sample_is_what_came_between_sending_and_acknowledging() {
        let mut rate = Rate::new(at(0));
        let stamps: std::vec::Vec<_> = (0..10).map(|i| rate.on_sent(at(0), 1000, i * 1000)).collect();
        assert_eq!(stamps[9].in_flight, 10_000);
        let first = rate.on_delivered(at(10), 1000, &stamps[0], Some(RTT)).unwrap();
        assert_eq!((first.delivered, first.interval, first.rate()), (1000, RTT, 100_000));
        let last = rate.on_delivered(at(19), 9000, &stamps[9], Some(RTT)).unwrap();
        assert_eq!((last.delivered, last.prior_delivered), (10_000, 0));
        assert_eq!(last.rate(), 10_000_000_000 / 19_000);
        assert_eq!(rate.latest(), last.rate());
    }

    #[test]
    fn acks_in_a_bunch_are_no_faster_than_the_sending() {
        let mut rate = Rate::new(at(0));
        let early = rate.on_sent(at(0), 1000, 0);
        rate.on_delivered(at(10), 1000, &early, None);
        // A flight that takes 40 ms to send, and is acknowledged within 12 of its last segment.
        let stamps: std::vec::Vec<_> = (0..5).map(|i| rate.on_sent(at(20 + 10 * i), 1000, 1000)).collect();
        let sample = rate.on_delivered(at(72), 5000, &stamps[4], None).unwrap();
        assert_eq!(sample.interval, Duration::from_millis(62), "since the delivery before");
    }

    #[test]
    fn an_interval_below_the_least_round_trip_is_no_sample() {
        let mut rate = Rate::new(at(0));
        let stamp = rate.on_sent(at(0), 1000, 0);
        assert_eq!(rate.on_delivered(at(9), 1000, &stamp, Some(RTT)), None);
        assert_eq!(rate.delivered(), 1000, "it counts all the same");
    }

    #[test]
    fn what_was_sent_dry_is_marked_until_it_has_all_come() {
        let mut rate = Rate::new(at(0));
        let before = rate.on_sent(at(0), 1000, 0);
        rate.on_dry(1000);
        let dry = rate.on_sent(at(1), 1000, 1000);
        assert!(!before.app_limited && dry.app_limited);
        rate.on_delivered(at(10), 1000, &before, None);
        assert!(rate.is_app_limited(), "not more than what was out");
        assert!(rate.on_delivered(at(11), 1000, &dry, None).unwrap().app_limited);
        assert!(!rate.is_app_limited());
    }

    #[test]
    fn losses_count_from_the_sending() {
        let mut rate = Rate::new(at(0));
        let first = rate.on_sent(at(0), 1000, 0);
        assert_eq!(rate.on_lost(1000, &first), 1000);
        let second = rate.on_sent(at(1), 500, 0);
        assert_eq!(rate.on_lost(500, &second), 500);
        rate.on_unlost(5000);
        assert_eq!(rate.lost(), 0);
    }
}
