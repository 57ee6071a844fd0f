//! Proportional rate reduction: how many bytes may go while fast recovery brings the flight down to ssthresh
//! (RFC 6937, and its successor RFC 9937, which adds that an ACK without further loss lets one segment more go).
//!
//! It spreads the reduction over the round trip: for each byte that arrives a share of a byte goes. When the flight has
//! fallen below ssthresh, because much was lost or the application had nothing to send, it catches up with what arrives.

/// The sums of one recovery, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prr {
    delivered: u32,
    out: u32,
    /// `RecoverFS`.
    flight: u32,
    allowed: u32,
}

impl Prr {
    /// Recovery begins with `flight` bytes sent and not delivered before the ACK that began it. The first retransmission
    /// goes at once, whatever the sums say (RFC 9937 6.2).
    pub fn new(flight: u32, mss: u32) -> Self {
        Self { flight: flight.max(1), allowed: mss, ..Self::default() }
    }

    /// An ACK has delivered `delivered` bytes, with `in_flight` out after it; `is_safe` when SND.UNA has moved and nothing
    /// more was found lost.
    //= spec/rfc6937.txt#section-3
    //# On every ACK during recovery compute:
    pub fn on_ack(&mut self, delivered: u32, in_flight: u32, ssthresh: u32, mss: u32, is_safe: bool) {
        if delivered == 0 {
            return;
        }
        self.delivered = self.delivered.saturating_add(delivered);
        let banked = self.delivered.saturating_sub(self.out);
        let mut count = if in_flight > ssthresh {
            let share = (u64::from(self.delivered) * u64::from(ssthresh)).div_ceil(u64::from(self.flight));
            u32::try_from(share).unwrap_or(u32::MAX).saturating_sub(self.out)
        } else {
            let limit = banked.max(delivered).saturating_add(if is_safe { mss } else { 0 });
            (ssthresh - in_flight).min(limit)
        };
        if self.out == 0 {
            count = count.max(mss);
        }
        self.allowed = count;
    }

    /// `bytes` have been sent, new or again.
    pub fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
        self.allowed = self.allowed.saturating_sub(bytes);
    }

    /// Bytes that may go now.
    pub fn allowed(&self) -> u32 {
        self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MSS: u32 = 1000;

    /// One ACK a segment for `acks` of a window of 20, of which the first `lost` were lost: what is sent after each, in
    /// segments, as the figures of RFC 6937 3.1 show it; `known` were delivered before.
    fn run(lost: u32, acks: u32, ssthresh: u32) -> (Vec<u32>, u32) {
        let mut prr = Prr::new(20 * MSS - 2 * MSS, MSS);
        let mut in_flight = (20 - lost - 2) * MSS;
        let mut sent = Vec::new();
        for _ in 0..acks {
            in_flight -= MSS;
            prr.on_ack(MSS, in_flight, ssthresh, MSS, false);
            let n = prr.allowed() / MSS;
            prr.on_sent(n * MSS);
            in_flight += n * MSS;
            sent.push(n);
        }
        (sent, in_flight)
    }

    //= spec/rfc6937.txt#section-3
    //= type=test
    //# On every ACK during recovery compute:
    #[test]
    fn a_single_loss_halves_the_flight_within_a_round_trip_without_a_pause() {
        let (sent, in_flight) = run(1, 17, 10 * MSS);
        assert_eq!(sent[0], 1, "the retransmission goes at once");
        assert_eq!(in_flight, 10 * MSS);
        assert!(sent.windows(3).all(|three| three.iter().sum::<u32>() >= 1), "{sent:?}");
        assert!(sent.iter().all(|&n| n <= 1), "{sent:?}");
    }

    #[test]
    fn after_a_burst_of_losses_each_arrival_sends_one_segment() {
        let (sent, _) = run(15, 3, 10 * MSS);
        assert_eq!(sent, [1, 1, 1], "packet conservation while more may be lost");
    }

    #[test]
    fn a_safe_ack_lets_the_flight_grow_back_to_the_threshold() {
        let mut prr = Prr::new(18 * MSS, MSS);
        prr.on_ack(MSS, 3 * MSS, 10 * MSS, MSS, false);
        prr.on_sent(MSS);
        prr.on_ack(MSS, 3 * MSS, 10 * MSS, MSS, true);
        assert_eq!(prr.allowed(), 2 * MSS);
        prr.on_sent(MSS);
        prr.on_ack(MSS, 10 * MSS, 10 * MSS, MSS, true);
        assert_eq!(prr.allowed(), 0, "no more than the threshold");
    }

    #[test]
    fn no_input_overflows() {
        let mut prr = Prr::new(0, 0);
        for _ in 0..3 {
            prr.on_ack(u32::MAX, u32::MAX, u32::MAX - 1, u32::MAX, true);
            prr.on_sent(u32::MAX);
        }
        assert_eq!(prr.allowed(), 0);
    }
}
