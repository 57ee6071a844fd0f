//! NewReno: slow start, congestion avoidance, fast recovery (RFC 5681, RFC 6582), byte counting (RFC 3465).
//!
//! In fast recovery the window stands at ssthresh: what leaves meanwhile is PRR's to say, so duplicate ACKs do not
//! inflate it and partial ACKs do not deflate it.

use super::{Ack, Cause, CongestionControl, Window};
use crate::time::Instant;
use core::time::Duration;

/// cwnd and ssthresh.
#[derive(Clone, Copy, Debug)]
pub struct NewReno {
    window: Window,
}

impl NewReno {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one).
    pub fn new(mss: u16, initial_segments: u8) -> Self {
        Self { window: Window::new(mss, initial_segments) }
    }
}

impl CongestionControl for NewReno {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.window.grow(ack);
    }

    fn on_congestion(&mut self, _now: Instant, cause: Cause, flight: u32) {
        self.window.reduce(cause, self.window.half(flight));
    }

    fn on_recovered(&mut self, _now: Instant, _in_flight: u32) {
        self.window.recovered();
    }

    fn on_time_out(&mut self, _now: Instant, flight: u32, first: bool) {
        self.window.time_out(self.window.half(flight), first);
    }

    fn on_undo(&mut self, _now: Instant) {
        self.window.undo();
    }

    fn on_idle(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        self.window.restart(idle, rto);
    }

    fn on_unvalidated(&mut self) {
        self.window.decay();
    }

    fn set_mss(&mut self, mss: u16) {
        self.window.set_mss(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Path, ack};
    use super::*;

    const NOW: Instant = Instant::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    fn acks(reno: &mut NewReno, count: usize, bytes: u32) {
        (0..count).for_each(|_| reno.on_ack(&ack(bytes)));
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
        acks(&mut reno, 10, 1000);
        assert_eq!(reno.cwnd(), 20_000);
        reno.on_congestion(NOW, Cause::Loss, 20_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (10_000, 10_000));
        reno.on_recovered(NOW, 9_000);
        assert_eq!(reno.cwnd(), 10_000);
        acks(&mut reno, 9, 1000);
        assert_eq!(reno.cwnd(), 10_000);
        acks(&mut reno, 1, 1000);
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
        reno.set_mss(6_000);
        assert_eq!(reno.cwnd(), 6_000, "no less than one");
    }

    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# The initial value of ssthresh SHOULD be set arbitrarily high
    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# the value of ssthresh MUST be set to no more than the value given in equation (4): ssthresh = max (FlightSize / 2,
    //# 2*SMSS)
    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS) or (2) ssthresh, where ssthresh is the value
    //# set when fast retransmit was entered
    #[test]
    fn a_recovery_step_by_step() {
        let mut reno = NewReno::new(1000, 10);
        assert_eq!(reno.ssthresh(), u32::MAX);
        reno.on_congestion(NOW, Cause::Loss, 3_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (2_000, 2_000), "no less than two segments");
        let mut reno = NewReno::new(1000, 20);
        reno.on_congestion(NOW, Cause::Loss, 18_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (9_000, 9_000));
        (0..100).for_each(|_| reno.on_ack(&Ack { recovering: true, ..ack(1000) }));
        assert_eq!(reno.cwnd(), 9_000, "the window stands still");
        reno.on_recovered(NOW, 1_500);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (9_000, 9_000));
    }

    #[test]
    fn a_mark_halves_without_a_recovery() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_congestion(NOW, Cause::Ecn, 10_000);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (5_000, 5_000));
        acks(&mut reno, 5, 1000);
        assert_eq!(reno.cwnd(), 6_000, "congestion avoidance goes on");
        reno.on_undo(NOW);
        assert_eq!((reno.ssthresh(), reno.cwnd()), (5_000, 6_000), "a mark was no mistake");
    }

    #[test]
    fn a_reduction_never_raises_the_window() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_time_out(NOW, 10_000, true);
        reno.on_congestion(NOW, Cause::Ecn, 10_000);
        assert_eq!(reno.cwnd(), 1_000);
    }

    //= spec/rfc5681.txt#section-4.1
    //= type=test
    //# a TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP has not sent data in an interval
    //# exceeding the retransmission timeout.
    #[test]
    fn after_idleness_it_begins_again_and_finds_its_way_back() {
        let mut reno = NewReno::new(1000, 10);
        acks(&mut reno, 10, 1000);
        reno.on_congestion(NOW, Cause::Loss, 20_000);
        reno.on_recovered(NOW, 10_000);
        (0..10).for_each(|_| acks(&mut reno, 20, 1000));
        assert_eq!((reno.cwnd(), reno.ssthresh()), (22_000, 10_000));
        reno.on_idle(NOW, SECOND, SECOND);
        assert_eq!(reno.cwnd(), 22_000, "no longer than the time-out");
        reno.on_idle(NOW, 2 * SECOND, SECOND);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10_000, 16_500));
        reno.on_idle(NOW, 2 * SECOND, SECOND);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10_000, 16_500), "nothing to give up");
    }

    #[test]
    fn a_window_out_of_use_decays_by_half() {
        let mut reno = NewReno::new(1000, 10);
        acks(&mut reno, 30, 1000);
        reno.on_congestion(NOW, Cause::Loss, 80_000);
        reno.on_recovered(NOW, 40_000);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (40_000, 40_000));
        reno.on_unvalidated();
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, 40_000));
        reno.on_unvalidated();
        reno.on_unvalidated();
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10_000, 40_000), "no less than a new connection has");
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_ack(&Ack { cwnd_limited: false, ..ack(1000) });
        assert_eq!(reno.cwnd(), 10_000);
    }

    //= spec/rfc5681.txt#section-3.1
    //= type=test
    //# when a TCP sender detects segment loss using the retransmission timer and the given segment has already been
    //# retransmitted by way of the retransmission timer at least once, the value of ssthresh is held constant.
    //= spec/rfc3465.txt#section-2.3
    //= type=test
    //# The exception to the above suggestion is during a slow start phase that follows a retransmission timeout (RTO).
    //# In this situation, a TCP MUST use L=1*SMSS
    #[test]
    fn a_time_out_leaves_one_segment_and_halves_once() {
        let mut reno = NewReno::new(1000, 10);
        reno.on_time_out(NOW, 10_000, true);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 5000));
        reno.on_time_out(NOW, 1000, false);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 5000));
        let repair = Ack { recovering: true, ..ack(3_000) };
        reno.on_ack(&repair);
        reno.on_ack(&repair);
        assert_eq!(reno.cwnd(), 3_000, "slow start goes on, a segment an ACK");
        (0..10).for_each(|_| reno.on_ack(&repair));
        assert_eq!(reno.cwnd(), 5_000, "until ssthresh");
    }

    #[test]
    fn a_repair_that_ends_early_leaves_the_rest_to_slow_start() {
        let mut reno = NewReno::new(1000, 20);
        reno.on_time_out(NOW, 20_000, true);
        reno.on_recovered(NOW, 0);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1_000, 10_000), "no burst of what recovery has not yet earned");
        reno.on_ack(&ack(3_000));
        assert_eq!(reno.cwnd(), 4_000);
    }

    #[test]
    fn what_was_no_loss_is_taken_back_once() {
        let mut reno = NewReno::new(1000, 20);
        reno.on_congestion(NOW, Cause::Loss, 20_000);
        reno.on_undo(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, u32::MAX));
        reno.on_recovered(NOW, 10_000);
        assert_eq!(reno.cwnd(), 20_000, "there is no recovery any more that could end");
        reno.on_time_out(NOW, 20_000, true);
        reno.on_time_out(NOW, 1_000, false);
        reno.on_undo(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, u32::MAX));
        reno.on_congestion(NOW, Cause::Ecn, 10_000);
        reno.on_undo(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (5_000, 5_000), "nothing left to take back");
    }

    #[test]
    fn one_ack_cannot_open_the_window_by_more_than_its_limit() {
        let mut reno = NewReno::new(1000, 1);
        reno.on_ack(&ack(1_000_000));
        assert_eq!(reno.cwnd(), 9_000);
    }

    /// 10 Mbit/s, 40 ms, a buffer of one bandwidth-delay product (50 000 bytes): the window swings between the whole,
    /// 100 000, and half of it, and the link never runs dry.
    #[test]
    fn on_a_path_it_saws_between_half_and_all() {
        let mut path = Path::new(1_250_000, Duration::from_millis(40), 50_000);
        let mut reno = NewReno::new(1000, 10);
        path.run(&mut reno, Duration::from_secs(20), |_, _| {});
        let (mut low, mut high) = (u32::MAX, 0);
        let before = path.delivered();
        path.run(&mut reno, Duration::from_secs(40), |reno, _| {
            low = low.min(reno.cwnd());
            high = high.max(reno.cwnd());
        });
        assert!((48_000..=54_000).contains(&low), "low {low}");
        assert!((98_000..=106_000).contains(&high), "high {high}");
        let used = (path.delivered() - before) * 100 / (40 * 1_250_000);
        assert!(used >= 97, "{used} %");
    }
}
