//! When to acknowledge: at once, with the next data, or a little later (RFC 9293 3.8.6.3, RFC 5681 4.2).

use crate::time::Instant;
use core::time::Duration;

/// Full segments for which an ACK waits at most until their burst is over: half of what Linux sends and receives as one.
const BURST_SEGMENTS: u32 = 16;

/// No deadline.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// How long ACKs may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For company, when less than two full segments came.
    pub delay: Duration,
    /// For the end of a burst of full segments: so long after the last of them. 0 does not wait.
    pub gap: Duration,
}

/// Decides when an ACK is due; sending anything with ACK settles it.
#[derive(Clone, Copy, Debug)]
pub struct AckPolicy {
    unacked: u32,
    quick: u8,
    now: bool,
    deadline: Instant,
    /// Until then empty segments that are not acceptable are not answered, and nothing is challenged.
    quiet_until: Instant,
}

impl AckPolicy {
    /// The first `quick` segments are acknowledged at once, so that the peer's congestion window opens quickly.
    pub fn new(quick: u8) -> Self {
        Self { unacked: 0, quick, now: false, deadline: NEVER, quiet_until: Instant::ZERO }
    }

    /// `len` bytes came in order.
    pub fn on_data(&mut self, now: Instant, len: u32, mss: u16, patience: Patience) {
        let Patience { delay, gap } = patience;
        let mss = u32::from(mss);
        self.unacked += len;
        if self.quick > 0 || delay.is_zero() {
            self.quick = self.quick.saturating_sub(1);
            self.now = true;
            return;
        }
        //= spec/rfc9293.txt#section-3.8.6.3
        //# An ACK SHOULD be generated for at least every second full-sized segment or 2*RMSS bytes of new data (where
        //# RMSS is the MSS specified by the TCP endpoint receiving the segments to be acknowledged, or the default
        //# value if not specified) (SHLD-19).
        if self.unacked >= 2 * mss {
            // A burst that comes at the pace of its sender is one of the series that MUST-59 lets us take as a whole, as
            // receive offload makes one segment of it. A segment that is not full ends it, and so does a pause.
            if gap.is_zero() || len < mss || self.unacked >= BURST_SEGMENTS * mss {
                self.now = true;
            } else {
                self.deadline = now + gap.min(delay);
            }
        } else if self.deadline == NEVER {
            //= spec/rfc9293.txt#section-3.8.6.3
            //# A TCP endpoint SHOULD implement a delayed ACK (SHLD-18), but an ACK should not be excessively delayed;
            //# in particular, the delay MUST be less than 0.5 seconds (MUST-40).
            self.deadline = now + delay.min(Duration::from_millis(499));
        }
    }

    /// Something came that has to be acknowledged at once: out of order, filling a gap, a FIN, a probe, a segment
    /// that was not acceptable.
    //= spec/rfc5681.txt#section-4.2
    //# Out-of-order data segments SHOULD be acknowledged immediately, in order to accelerate loss recovery.
    pub fn force(&mut self) {
        self.now = true;
    }

    /// A segment came that is not acceptable. It is answered (RFC 9293 3.10.7.4, first step), but if it is `empty`, as
    /// the peer's own answers are, no sooner than `interval` after the one before: two ends that both see such segments
    /// would answer each other's answers for ever.
    pub fn on_unacceptable(&mut self, now: Instant, empty: bool, interval: Duration) {
        if !empty || self.may_challenge(now, interval) {
            self.force();
        }
    }

    /// Whether a challenge ACK may go: no sooner than `interval` after the answer before.
    //= spec/rfc5961.txt#section-7
    //# An implementation SHOULD include an ACK throttling mechanism to be conservative.
    //= spec/rfc5961.txt#section-7
    //# The time limit SHOULD be tunable to help timeout brute force attacks faster than a potential legitimate flood
    //# of RSTs.
    pub fn may_challenge(&mut self, now: Instant, interval: Duration) -> bool {
        let may = now >= self.quiet_until;
        if may {
            self.quiet_until = now + interval;
        }
        may
    }

    /// The connection was idle: the peer's congestion window may have shrunk, so `quick` segments are acknowledged at
    /// once again.
    pub fn on_idle(&mut self, quick: u8) {
        self.quick = self.quick.max(quick);
    }

    /// Whether an ACK has to go out now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.now || self.deadline <= now
    }

    /// Whether an ACK will leave at the end of the burst that is coming in.
    pub fn waits_for_burst(&self, mss: u16) -> bool {
        !self.now && self.deadline != NEVER && self.unacked >= 2 * u32::from(mss)
    }

    /// When a delayed ACK falls due.
    pub fn deadline(&self) -> Option<Instant> {
        (self.deadline != NEVER).then_some(self.deadline)
    }

    /// A segment with ACK was sent.
    //= spec/rfc9293.txt#section-3.10.7.4
    //# the processing of received segments MUST be implemented to aggregate ACK segments whenever possible (MUST-58).
    pub fn on_sent(&mut self) {
        *self = Self { unacked: 0, now: false, deadline: NEVER, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Patience = Patience { delay: Duration::from_millis(40), gap: Duration::ZERO };
    const GAP: Patience = Patience { gap: Duration::from_micros(10), ..DELAY };

    fn past_the_quick_start() -> AckPolicy {
        AckPolicy::new(0)
    }

    //= spec/rfc9293.txt#section-3.8.6.3
    //= type=test
    //# An ACK SHOULD be generated for at least every second full-sized segment or 2*RMSS bytes of new data (where
    //# RMSS is the MSS specified by the TCP endpoint receiving the segments to be acknowledged, or the default value
    //# if not specified) (SHLD-19).
    #[test]
    fn every_second_full_segment_is_acknowledged_at_once() {
        let mut ack = past_the_quick_start();
        ack.on_data(Instant::ZERO, 1460, 1460, DELAY);
        assert!(!ack.is_due(Instant::ZERO));
        ack.on_data(Instant::ZERO, 1460, 1460, DELAY);
        assert!(ack.is_due(Instant::ZERO));
        ack.on_sent();
        assert!(!ack.is_due(Instant::ZERO + DELAY.delay));
    }

    #[test]
    fn a_burst_of_full_segments_is_acknowledged_at_its_end() {
        let at = Instant::from_micros;
        let mut ack = past_the_quick_start();
        // A segment each 9 us, then none.
        for n in 0..5 {
            ack.on_data(at(9 * n), 1460, 1460, GAP);
            assert!(!ack.is_due(at(9 * n)));
            assert_eq!(ack.waits_for_burst(1460), n > 0);
        }
        assert_eq!(ack.deadline(), Some(at(46)));
        assert!(!ack.is_due(at(45)) && ack.is_due(at(46)));
        ack.on_sent();
        // One that is not full says that the sender has no more.
        ack.on_data(at(50), 1460, 1460, GAP);
        ack.on_data(at(51), 1460, 1460, GAP);
        ack.on_data(at(52), 100, 1460, GAP);
        assert!(ack.is_due(at(52)));
    }

    #[test]
    fn a_burst_without_end_is_acknowledged_every_sixteen_segments() {
        let mut ack = past_the_quick_start();
        for n in 1..=64 {
            ack.on_data(Instant::from_micros(n), 1460, 1460, GAP);
            assert_eq!(ack.is_due(Instant::from_micros(n)), n % 16 == 0, "{n}");
            if n % 16 == 0 {
                ack.on_sent();
            }
        }
    }

    #[test]
    fn who_delays_no_ack_waits_for_no_burst_either() {
        let mut ack = past_the_quick_start();
        ack.on_data(Instant::ZERO, 1460, 1460, Patience { delay: Duration::ZERO, ..GAP });
        assert!(ack.is_due(Instant::ZERO));
        ack.on_sent();
        ack.on_idle(2);
        ack.on_data(Instant::ZERO, 1460, 1460, GAP);
        assert!(ack.is_due(Instant::ZERO), "nor do the first segments");
    }

    //= spec/rfc9293.txt#section-3.8.6.3
    //= type=test
    //# A TCP endpoint SHOULD implement a delayed ACK (SHLD-18)
    #[test]
    fn a_single_small_segment_waits_for_the_delay_and_no_longer() {
        let mut ack = past_the_quick_start();
        ack.on_data(Instant::ZERO, 10, 1460, DELAY);
        ack.on_data(Instant::from_millis(30), 10, 1460, DELAY);
        assert_eq!(ack.deadline(), Some(Instant::from_millis(40)));
        assert!(!ack.is_due(Instant::from_millis(39)));
        assert!(ack.is_due(Instant::from_millis(40)));
    }

    //= spec/rfc5961.txt#section-7
    //= type=test
    //# An implementation SHOULD include an ACK throttling mechanism to be conservative.
    //= spec/rfc5961.txt#section-7
    //= type=test
    //# The time limit SHOULD be tunable to help timeout brute force attacks faster than a potential legitimate flood
    //# of RSTs.
    #[test]
    fn challenges_go_now_and_then() {
        for (interval, expected) in [(500, 10), (50, 100)] {
            let mut ack = AckPolicy::new(16);
            let may = |n: &u64| ack.may_challenge(Instant::from_millis(*n), Duration::from_millis(interval));
            assert_eq!((0..5000).filter(may).count(), expected, "10 in 5 seconds by default, as RFC 5961 7 has it");
        }
    }

    //= spec/rfc9293.txt#section-3.8.6.3
    //= type=test
    //# an ACK should not be excessively delayed; in particular, the delay MUST be less than 0.5 seconds (MUST-40).
    #[test]
    fn the_delay_stays_below_half_a_second_whatever_is_asked() {
        let mut ack = past_the_quick_start();
        ack.on_data(Instant::ZERO, 10, 1460, Patience { delay: Duration::from_secs(9), ..DELAY });
        assert_eq!(ack.deadline(), Some(Instant::from_millis(499)));
    }

    #[test]
    fn answers_to_empty_unacceptable_segments_are_rare_and_to_others_not() {
        let mut ack = AckPolicy::new(16);
        let mut answers = 0;
        for millis in 1..=1000 {
            ack.on_unacceptable(Instant::from_millis(millis), true, Duration::from_millis(500));
            answers += u32::from(ack.is_due(Instant::from_millis(millis)));
            ack.on_sent();
        }
        assert_eq!(answers, 2);
        ack.on_unacceptable(Instant::from_millis(1001), false, Duration::from_millis(500));
        assert!(ack.is_due(Instant::from_millis(1001)));
    }

    #[test]
    fn the_first_segments_are_acknowledged_at_once() {
        let mut ack = AckPolicy::new(16);
        for _ in 0..16 {
            ack.on_data(Instant::ZERO, 10, 1460, DELAY);
            assert!(ack.is_due(Instant::ZERO));
            ack.on_sent();
        }
        ack.on_data(Instant::ZERO, 10, 1460, DELAY);
        assert!(!ack.is_due(Instant::ZERO));
        ack.on_sent();
        ack.on_idle(1);
        ack.on_data(Instant::ZERO, 10, 1460, DELAY);
        assert!(ack.is_due(Instant::ZERO), "and the first after idleness too");
    }
}
