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
    /// Bytes acknowledged in congestion avoidance that have not yet added a segment.
    credit: u32,
    initial: u32,
    mss: u32,
}

impl NewReno {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one).
    pub fn new(mss: u16, initial_segments: u8) -> Self {
        let mss = u32::from(mss.max(1));
        let initial = mss * u32::from(initial_segments.max(1));
        //= RFC 5681 3.1: ssthresh SHOULD be arbitrarily high in the beginning
        Self { cwnd: initial, ssthresh: u32::MAX, credit: 0, initial, mss }
    }

    /// max(FlightSize / 2, 2 SMSS).
    //= RFC 5681 3.1 equation 4
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
        if self.cwnd < self.ssthresh {
            self.cwnd = self.cwnd.saturating_add(bytes.min(SLOW_START_LIMIT * self.mss));
            return;
        }
        //= RFC 3465 2.1
        self.credit = self.credit.saturating_add(bytes);
        if self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss);
        }
    }

    fn on_loss(&mut self, in_flight: u32) {
        self.ssthresh = self.half(in_flight);
        //= RFC 5681 3.2 step 3: three segments have left the network
        self.cwnd = self.ssthresh + 3 * self.mss;
        self.credit = 0;
    }

    fn on_duplicate(&mut self) {
        //= RFC 5681 3.2 step 4
        self.cwnd = self.cwnd.saturating_add(self.mss);
    }

    fn on_partial_ack(&mut self, bytes: u32) {
        //= RFC 6582 3.2 step 3: deflate by what was acknowledged, add back a segment
        self.cwnd = self.cwnd.saturating_sub(bytes).max(self.mss);
        if bytes >= self.mss {
            self.cwnd += self.mss;
        }
    }

    fn on_recovered(&mut self, in_flight: u32) {
        //= RFC 6582 3.2 step 3, option 1: no burst
        self.cwnd = self.ssthresh.min(in_flight.max(self.mss) + self.mss);
    }

    fn on_time_out(&mut self, in_flight: u32, first: bool) {
        //= RFC 5681 3.1: ssthresh stays when the same segment times out again
        if first {
            self.ssthresh = self.half(in_flight);
        }
        self.cwnd = self.mss;
        self.credit = 0;
    }

    fn on_idle(&mut self) {
        //= RFC 5681 4.1
        self.cwnd = self.cwnd.min(self.initial);
    }

    fn set_mss(&mut self, mss: u16) {
        self.mss = u32::from(mss.max(1));
        self.cwnd = self.cwnd.max(self.mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_ack(1000, false);
        assert_eq!(reno.cwnd(), 10_000);
    }

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
