//! When to acknowledge: at once, with the next data, or a little later (RFC 9293 3.8.6.3, RFC 5681 4.2).

use crate::time::Instant;
use core::time::Duration;

/// No deadline.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

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
    pub fn on_data(&mut self, now: Instant, len: u32, mss: u16, delay: Duration) {
        self.unacked += len;
        //= spec/rfc9293.txt#section-3.8.6.3
        //# An ACK SHOULD be generated for at least every second full-sized segment or 2*RMSS bytes of new data (where
        //# RMSS is the MSS specified by the TCP endpoint receiving the segments to be acknowledged, or the default
        //# value if not specified) (SHLD-19).
        if self.quick > 0 || delay.is_zero() || self.unacked >= 2 * u32::from(mss) {
            self.quick = self.quick.saturating_sub(1);
            self.now = true;
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

    const DELAY: Duration = Duration::from_millis(40);

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
        assert!(!ack.is_due(Instant::ZERO + DELAY));
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
        ack.on_data(Instant::ZERO, 10, 1460, Duration::from_secs(9));
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
