//! Fast retransmit and fast recovery: NewReno (RFC 5681 3.2, RFC 6582), limited transmit (RFC 3042).
//!
//! This machine says *which* bytes go again; how many may be in flight is the congestion control's business.

use crate::tcp::seq::Seq;

/// Where the sender stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Fast recovery, until everything before this is acknowledged.
    Recovery(Seq),
    /// After a time-out: no fast retransmit until everything before this is acknowledged (RFC 6582 3.2, step 1).
    TimedOut(Seq),
}

/// What an ACK that acknowledges nothing new means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDuplicate {
    /// Nothing yet; a new segment may go beyond cwnd for each of the first two (RFC 3042).
    LimitedTransmit,
    /// Enter fast recovery: the segment at SND.UNA goes again.
    Enter,
    /// In fast recovery: another segment has left the network.
    Inflate,
    /// Nothing.
    Ignore,
}

/// What an ACK that acknowledges something new means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnProgress {
    /// Ordinary.
    Normal,
    /// Something that was out when the timer fired has been repaired, and not all of it.
    Repaired,
    /// A partial ACK: the segment at SND.UNA was lost too.
    Partial,
    /// Fast recovery is over.
    Leave,
}

/// Counts duplicate ACKs and remembers the recovery point.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    phase: Phase,
    duplicates: u8,
    /// Segments that may go beyond cwnd for them.
    beyond: u8,
    threshold: u8,
}

impl Recovery {
    /// `threshold` duplicate ACKs start fast retransmit; 3 by RFC 5681.
    pub fn new(threshold: u8) -> Self {
        Self { phase: Phase::Open, duplicates: 0, beyond: 0, threshold: threshold.max(1) }
    }

    /// Another threshold.
    pub fn set_threshold(&mut self, threshold: u8) {
        self.threshold = threshold.max(1);
    }

    /// A duplicate ACK by RFC 5681 2 came for `una`, when everything before `max` has been sent. `is_proven` says whether
    /// it shows that a segment has left the network: where SACK is agreed on, by a SACK block.
    pub fn on_duplicate(&mut self, una: Seq, max: Seq, is_proven: bool) -> OnDuplicate {
        self.duplicates = self.duplicates.saturating_add(1);
        match self.phase {
            Phase::Recovery(_) => OnDuplicate::Inflate,
            //= spec/rfc6582.txt#section-3.2
            //# If not, the TCP does not enter fast retransmit and does not reset ssthresh.
            Phase::TimedOut(recover) if una.before(recover) => OnDuplicate::Ignore,
            Phase::Open | Phase::TimedOut(_) if self.duplicates >= self.threshold => {
                self.phase = Phase::Recovery(max);
                OnDuplicate::Enter
            }
            Phase::Open | Phase::TimedOut(_) if self.duplicates <= 2 => {
                //= spec/rfc3042.txt#section-2
                //# the data sender MUST NOT send new segments in response to duplicate ACKs that contain no new SACK
                //# information, as a misbehaving receiver can generate such ACKs to trigger inappropriate transmission
                //# of data segments.
                self.beyond += u8::from(is_proven);
                OnDuplicate::LimitedTransmit
            }
            Phase::Open | Phase::TimedOut(_) => OnDuplicate::Ignore,
        }
    }

    /// Everything before `una` has been acknowledged.
    pub fn on_progress(&mut self, una: Seq) -> OnProgress {
        (self.duplicates, self.beyond) = (0, 0);
        match self.phase {
            //= spec/rfc6582.txt#section-3.2
            //# If this ACK does *not* acknowledge all of the data up to and including recover, then this is a partial
            //# ACK. In this case, retransmit the first unacknowledged segment.
            Phase::Recovery(recover) if una.before(recover) => OnProgress::Partial,
            Phase::Recovery(_) => {
                self.phase = Phase::Open;
                OnProgress::Leave
            }
            Phase::TimedOut(recover) if una.before(recover) => OnProgress::Repaired,
            Phase::TimedOut(_) | Phase::Open => {
                self.phase = Phase::Open;
                OnProgress::Normal
            }
        }
    }

    /// The retransmission timer fired when everything before `max` had been sent.
    pub fn on_time_out(&mut self, max: Seq) {
        self.phase = Phase::TimedOut(max);
        (self.duplicates, self.beyond) = (0, 0);
    }

    /// Whether fast recovery is going on.
    pub fn is_recovering(&self) -> bool {
        matches!(self.phase, Phase::Recovery(_))
    }

    /// Segments that may go beyond cwnd because duplicate ACKs showed that others have left the network.
    //= spec/rfc3042.txt#section-2
    //# the sender can only send two segments beyond the congestion window (cwnd).
    pub fn beyond_cwnd(&self) -> u8 {
        if self.phase == Phase::Open { self.beyond } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc5681.txt#section-3.2
    //= type=test
    //# The fast retransmit algorithm uses the arrival of 3 duplicate ACKs (as defined in section 2, without any
    //# intervening ACKs which move SND.UNA) as an indication that a segment has been lost.
    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# If this ACK does *not* acknowledge all of the data up to and including recover, then this is a partial ACK. In
    //# this case, retransmit the first unacknowledged segment.
    //= spec/rfc3042.txt#section-2
    //= type=test
    //# the sender can only send two segments beyond the congestion window (cwnd).
    #[test]
    fn the_third_duplicate_enters_and_the_recovery_point_leaves() {
        let mut recovery = Recovery::new(3);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(100), true), OnDuplicate::LimitedTransmit);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(110), true), OnDuplicate::LimitedTransmit);
        assert_eq!(recovery.beyond_cwnd(), 2);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(120), true), OnDuplicate::Enter);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(120), true), OnDuplicate::Inflate);
        assert_eq!(recovery.on_progress(Seq(50)), OnProgress::Partial);
        assert_eq!(recovery.on_progress(Seq(120)), OnProgress::Leave);
        assert_eq!(recovery.on_progress(Seq(130)), OnProgress::Normal);
    }

    //= spec/rfc3042.txt#section-2
    //= type=test
    //# the data sender MUST NOT send new segments in response to duplicate ACKs that contain no new SACK information, as a
    //# misbehaving receiver can generate such ACKs to trigger inappropriate transmission of data segments.
    #[test]
    fn a_duplicate_that_proves_nothing_sends_nothing_new() {
        let mut recovery = Recovery::new(3);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(100), false), OnDuplicate::LimitedTransmit);
        assert_eq!(recovery.beyond_cwnd(), 0);
        assert_eq!(recovery.on_duplicate(Seq(0), Seq(100), true), OnDuplicate::LimitedTransmit);
        assert_eq!(recovery.beyond_cwnd(), 1);
    }

    #[test]
    fn progress_forgets_duplicates() {
        let mut recovery = Recovery::new(3);
        recovery.on_duplicate(Seq(0), Seq(100), true);
        recovery.on_duplicate(Seq(0), Seq(100), true);
        recovery.on_progress(Seq(10));
        assert_eq!(recovery.beyond_cwnd(), 0);
        assert_eq!(recovery.on_duplicate(Seq(10), Seq(100), true), OnDuplicate::LimitedTransmit);
    }

    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# If not, the TCP does not enter fast retransmit and does not reset ssthresh.
    #[test]
    fn after_a_time_out_duplicates_of_what_was_sent_before_mean_nothing() {
        let mut recovery = Recovery::new(3);
        recovery.on_time_out(Seq(100));
        for _ in 0..5 {
            assert_eq!(recovery.on_duplicate(Seq(20), Seq(100), true), OnDuplicate::Ignore);
        }
        assert_eq!(recovery.on_progress(Seq(99)), OnProgress::Repaired);
        assert_eq!(recovery.on_progress(Seq(100)), OnProgress::Normal);
        assert_eq!(recovery.on_duplicate(Seq(100), Seq(200), true), OnDuplicate::LimitedTransmit);
    }
}
