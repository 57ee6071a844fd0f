//! Values about segments that were sent: what the queue remembers of each, what is said of it when it arrives or is lost.

use super::seq::Seq;
use crate::time::{self, Instant};
use core::time::Duration;

/// What a segment remembers of the moment in which it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// That moment.
    pub at: Instant,
    /// When the first segment of the same flight was sent.
    pub first_at: Instant,
    /// When the delivery was that had happened last.
    pub delivered_at: Instant,
    /// The low bits of what had been delivered.
    pub delivered: u32,
    /// The low bits of what had been lost.
    pub lost: u32,
    /// Bytes in flight, those of the segment among them.
    pub in_flight: u32,
    /// The application had run dry, and nothing later has been acknowledged.
    pub app_limited: bool,
}

impl Stamp {
    /// Of a segment sent alone, when nothing had been delivered or lost.
    pub fn sent_at(at: Instant) -> Self {
        Self { at, first_at: at, delivered_at: at, ..Self::default() }
    }
}

/// A segment that has been found lost.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Its numbers.
    pub bytes: u32,
    /// From its sending.
    pub stamp: Stamp,
}

/// A segment that an ACK covers for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// When it was sent last, and what was known then.
    pub stamp: &'a Stamp,
    /// Its first number.
    pub start: Seq,
    /// The number after its last.
    pub end: Seq,
    /// How often it was sent.
    pub times_sent: u8,
    /// It is covered by the ACK's number, not by a SACK block.
    pub cumulative: bool,
}

/// The segment that was sent last among the delivered, by RFC 8985's rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Newest {
    /// When it was sent.
    pub at: Instant,
    /// The number after its last.
    pub end: Seq,
}

impl Newest {
    /// RFC 8985's `RACK_sent_after`, the other way round: whether a segment sent `at` that ends at `end` is newer.
    pub fn is_before(&self, at: Instant, end: Seq) -> bool {
        at > self.at || at == self.at && end.after(self.end)
    }
}

/// What is to be thought of a segment that has not arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is lost.
    Lost,
    /// It is lost if it has not arrived by then.
    Wait(Instant),
    /// Nothing that was sent later has arrived.
    Open,
}

/// How fast the network has delivered, from one acknowledged segment (draft-ietf-ccwg-bbr 4.1, "Delivery Rate Samples").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateSample {
    /// Bytes delivered between the sending of that segment and now.
    pub delivered: u32,
    /// How long that took: the longer of the time to send it and the time to acknowledge it. Never zero.
    pub interval: Duration,
    /// What had been delivered on the connection when the segment was sent, bytes.
    pub prior_delivered: u64,
    /// Bytes in flight just after the segment was sent, it among them.
    pub in_flight_at_send: u32,
    /// Bytes found lost between the sending of the segment and now.
    pub lost: u32,
    /// The application had nothing more to send then: the network could have done better.
    pub app_limited: bool,
}

impl RateSample {
    /// Bytes a second.
    pub fn rate(&self) -> u64 {
        let nanos = time::nanos(self.interval).max(1);
        u64::from(self.delivered).saturating_mul(1_000_000_000) / nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_a_second_for_any_interval() {
        let sample = |delivered, interval| RateSample {
            delivered,
            interval,
            prior_delivered: 0,
            in_flight_at_send: 0,
            lost: 0,
            app_limited: false,
        };
        assert_eq!(sample(1_000, Duration::from_millis(10)).rate(), 100_000);
        assert_eq!(sample(u32::MAX, Duration::ZERO).rate(), 1_000_000_000 * u64::from(u32::MAX));
        assert_eq!(sample(1, Duration::MAX).rate(), 0);
    }
}
