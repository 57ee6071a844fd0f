//! NewReno: slow start, congestion avoidance, fast recovery (RFC 5681, RFC 6582), byte counting (RFC 3465).

use super::CongestionControl;

/// Most that one ACK adds in slow start, in segments: L of RFC 9406 4.2 for senders that do not pace. RFC 3465 had 2,
/// when every second segment was acknowledged; receivers that merge segments acknowledge many at once.
const SLOW_START_LIMIT: u32 = 8;

/// cwnd and ssthresh.
#[derive(Clone, Copy, Debug)]
pub struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// In congestion avoidance: bytes acknowledged that have not yet added a segment. In fast recovery: bytes that
    /// duplicate ACKs may still add.
    credit: u32,
    initial: u32,
    mss: u32,
}

impl NewReno {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one).
    pub fn new(mss: u16, initial_segments: u8) -> Self {
        let mss = u32::from(mss.max(1));
        let initial = mss * u32::from(initial_segments.max(1));
        //= spec/rfc5681.txt#section-3.1
        //# The initial value of ssthresh SHOULD be set arbitrarily high
        Self { cwnd: initial, ssthresh: u32::MAX, credit: 0, initial, mss }
    }

    /// max(FlightSize / 2, 2 SMSS).
    //= spec/rfc5681.txt#section-3.1
    //# the value of ssthresh MUST be set to no more than the value given in equation (4): ssthresh = max (FlightSize
    //# / 2, 2*SMSS)
    fn half(&self, in_flight: u32) -> u32 {
        (in_flight / 2).max(2 * self.mss)
    }
}

impl CongestionControl for NewReno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, bytes: u32, limited: bool) {
        if !limited {
            // RFC 7661 4: a window that is not used is not proven, so it does not grow.
            return;
        }
        //= spec/rfc9293.txt#section-3.8.2
        //# A TCP endpoint MUST implement the basic congestion control algorithms slow start, congestion avoidance,
        //# and exponential backoff of RTO to avoid creating congestion collapse conditions (MUST-19).
        if self.cwnd < self.ssthresh {
            self.cwnd = self.cwnd.saturating_add(bytes.min(SLOW_START_LIMIT * self.mss));
            return;
        }
        //= spec/rfc3465.txt#section-2.1
        //# When bytes_acked becomes greater than or equal to the value of the congestion window, bytes_acked is
        //# reduced by the value of cwnd. Next, cwnd is incremented by a full-sized segment (SMSS).
        self.credit = self.credit.saturating_add(bytes);
        if self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss);
        }
    }

    fn on_loss(&mut self, in_flight: u32) {
        self.ssthresh = self.half(in_flight);
        //= spec/rfc5681.txt#section-3.2
        //# The lost segment starting at SND.UNA MUST be retransmitted and cwnd set to ssthresh plus 3*SMSS.
        self.cwnd = self.ssthresh + 3 * self.mss;
        //= spec/rfc5681.txt#section-3.2
        //# A TCP MAY therefore limit the number of times cwnd is artificially inflated during loss recovery to the
        //# number of outstanding segments (or, an approximation thereof).
        self.credit = in_flight.saturating_sub(3 * self.mss);
    }

    fn on_duplicate(&mut self) {
        //= spec/rfc5681.txt#section-3.2
        //# For each additional duplicate ACK received (after the third), cwnd MUST be incremented by SMSS.
        let more = self.mss.min(self.credit);
        self.cwnd = self.cwnd.saturating_add(more);
        self.credit -= more;
    }

    fn on_partial_ack(&mut self, bytes: u32) {
        //= spec/rfc6582.txt#section-3.2
        //# Deflate the congestion window by the amount of new data acknowledged by the Cumulative Acknowledgment
        //# field. If the partial ACK acknowledges at least one SMSS of new data, then add back SMSS bytes to the
        //# congestion window.
        self.cwnd = self.cwnd.saturating_sub(bytes).max(self.mss);
        self.credit = self.credit.saturating_add(bytes);
        if bytes >= self.mss {
            self.cwnd += self.mss;
        }
    }

    fn on_recovered(&mut self, in_flight: u32) {
        //= spec/rfc6582.txt#section-3.2
        //# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS)
        self.cwnd = self.ssthresh.min(in_flight.max(self.mss) + self.mss);
        self.credit = 0;
    }

    fn on_time_out(&mut self, in_flight: u32, first: bool) {
        //= spec/rfc5681.txt#section-3.1
        //# when a TCP sender detects segment loss using the retransmission timer and the given segment has already
        //# been retransmitted by way of the retransmission timer at least once, the value of ssthresh is held
        //# constant.
        if first {
            self.ssthresh = self.half(in_flight);
        }
        self.cwnd = self.mss;
        self.credit = 0;
    }

    fn on_idle(&mut self) {
        //= spec/rfc5681.txt#section-4.1
        //# a TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP has not sent data in an
        //# interval exceeding the retransmission timeout.
        self.cwnd = self.cwnd.min(self.initial);
    }

    fn set_mss(&mut self, mss: u16) {
        let (old, new) = (self.mss, u32::from(mss.max(1)));
        if new < old {
            //= spec/rfc5681.txt#section-3.1
            //# When initial congestion windows of more than one segment are implemented along with Path MTU Discovery
            //# [RFC1191], and the MSS being used is found to be too large, the congestion window cwnd SHOULD be reduced to
            //# prevent large bursts of smaller segments.
            //= spec/rfc5681.txt#section-3.1
            //# Specifically, cwnd SHOULD be reduced by the ratio of the old segment size to the new segment size.
            let scaled = u64::from(self.cwnd) * u64::from(new) / u64::from(old);
            self.cwnd = u32::try_from(scaled).unwrap_or(u32::MAX);
        }
        self.mss = new;
        self.cwnd = self.cwnd.max(self.mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc5681.txt#section-3.2
    //= type=test
    //# A TCP MAY therefore limit the number of times cwnd is artificially inflated during loss recovery to the number
    //# of outstanding segments (or, an approximation thereof).
    #[test]
    fn duplicates_inflate_no_more_than_what_was_out() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_loss(10_000);
        (0..1000).for_each(|_| reno.on_duplicate());
        assert_eq!((reno.ssthresh(), reno.cwnd()), (5_000, 15_000));
    }

    //= spec/rfc9293.txt#section-3.8.2
    //= type=test
    //# A TCP endpoint MUST implement the basic congestion control algorithms slow start, congestion avoidance, and
    //# exponential backoff of RTO to avoid creating congestion collapse conditions (MUST-19).
    //= spec/rfc3465.txt#section-2.1
    //= type=test
    //# When bytes_acked becomes greater than or equal to the value of the congestion window, bytes_acked is reduced
    //# by the value of cwnd. Next, cwnd is incremented by a full-sized segment (SMSS).
    #[test]
    fn slow_start_doubles_and_avoidance_adds_a_segment_a_round() {
        let mut reno = NewReno::new(1000, 10);
        (0..10).for_each(|_| reno.on_ack(1000, true));
        assert_eq!(reno.cwnd(), 20_000);
        reno.on_loss(20_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (10_000, 13_000));
        reno.on_recovered(9_000);
        assert_eq!(reno.cwnd(), 10_000);
        (0..10).for_each(|_| reno.on_ack(1000, true));
        assert_eq!(reno.cwnd(), 11_000);
    }

    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# When initial congestion windows of more than one segment are implemented along with Path MTU Discovery [RFC1191],
    //# and the MSS being used is found to be too large, the congestion window cwnd SHOULD be reduced to prevent large
    //# bursts of smaller segments.
    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# Specifically, cwnd SHOULD be reduced by the ratio of the old segment size to the new segment size.
    #[test]
    fn smaller_segments_are_as_many_and_not_more() {
        let mut reno = NewReno::new(1000, 10);
        reno.set_mss(500);
        assert_eq!(reno.cwnd(), 5_000);
        reno.set_mss(1400);
        assert_eq!(reno.cwnd(), 5_000, "larger ones give no credit");
    }

    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# The initial value of ssthresh SHOULD be set arbitrarily high
    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# the value of ssthresh MUST be set to no more than the value given in equation (4): ssthresh = max (FlightSize / 2,
    //# 2*SMSS)
    //= spec/rfc5681.txt#section-3.2
    //= type=test
    //# The lost segment starting at SND.UNA MUST be retransmitted and cwnd set to ssthresh plus 3*SMSS.
    //= spec/rfc5681.txt#section-3.2
    //= type=test
    //# For each additional duplicate ACK received (after the third), cwnd MUST be incremented by SMSS.
    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# Deflate the congestion window by the amount of new data acknowledged by the Cumulative Acknowledgment field. If the
    //# partial ACK acknowledges at least one SMSS of new data, then add back SMSS bytes to the congestion window.
    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS)
    //= spec/rfc5681.txt#section-4.1
    //= type=test
    //# a TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP has not sent data in an interval
    //# exceeding the retransmission timeout.
    #[test]
    fn a_recovery_step_by_step() {
        let mut reno = NewReno::new(1000, 10);
        assert_eq!(reno.ssthresh(), u32::MAX);
        reno.on_loss(3_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (2_000, 5_000), "no less than two segments");
        reno.on_loss(20_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (10_000, 13_000));
        reno.on_duplicate();
        assert_eq!(reno.cwnd(), 14_000);
        reno.on_partial_ack(5_000);
        assert_eq!(reno.cwnd(), 10_000);
        reno.on_partial_ack(500);
        assert_eq!(reno.cwnd(), 9_500);
        reno.on_recovered(1_500);
        assert_eq!(reno.cwnd(), 2_500);
        let mut reno = NewReno::new(1000, 10);
        reno.on_ack(5_000, true);
        reno.on_idle();
        assert_eq!(reno.cwnd(), 10_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_ack(1000, false);
        assert_eq!(reno.cwnd(), 10_000);
    }

    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# when a TCP sender detects segment loss using the retransmission timer and the given segment has already been
    //# retransmitted by way of the retransmission timer at least once, the value of ssthresh is held constant.
    #[test]
    fn a_time_out_leaves_one_segment_and_halves_once() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_time_out(10_000, true);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 5000));
        reno.on_time_out(1000, false);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 5000));
    }

    #[test]
    fn one_ack_cannot_open_the_window_by_more_than_its_limit() {
        let mut reno = NewReno::new(1000, 1);
        reno.on_ack(1_000_000, true);
        assert_eq!(reno.cwnd(), 9_000);
    }
}
