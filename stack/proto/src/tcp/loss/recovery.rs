//! Fast recovery and recovery after a time-out: when they begin, when they end (RFC 6675 5, RFC 6582, RFC 8985), and
//! for peers without SACK the counting of duplicate ACKs (RFC 5681 3.2).
//!
//! What is lost is found by RACK, or without SACK by the third duplicate; how many bytes may be in flight is the
//! congestion control's business.

use crate::tcp::seq::Seq;

/// Where the sender stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// Fast recovery, until everything before this is acknowledged.
    Fast(Seq),
    /// After a time-out, until everything before this is acknowledged.
    TimedOut(Seq),
}

/// What an ACK that acknowledges nothing new means for a peer without SACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDuplicate {
    /// A segment has left the network, and one may go for it.
    Counted,
    /// The segment at SND.UNA is lost.
    Lost,
    /// Nothing.
    Ignored,
}

/// What an ACK that acknowledges something new means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnProgress {
    /// Ordinary.
    Normal,
    /// Recovery goes on.
    Partial,
    /// Fast recovery is over.
    Recovered,
    /// What was out when the timer fired has been repaired.
    Repaired,
}

/// The recovery point, and the duplicates.
#[derive(Clone, Copy, Debug)]
pub struct Recovery {
    phase: Phase,
    duplicates: u16,
    /// Segments that were out when fast recovery began.
    most: u16,
    threshold: u8,
}

impl Recovery {
    /// `threshold` duplicate ACKs, or segments `SACKed`, tell of a loss; 3 by RFC 5681.
    pub fn new(threshold: u8) -> Self {
        Self { phase: Phase::Open, duplicates: 0, most: u16::MAX, threshold: threshold.max(1) }
    }

    /// Another threshold.
    pub fn set_threshold(&mut self, threshold: u8) {
        self.threshold = threshold.max(1);
    }

    /// The threshold.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// A duplicate ACK by RFC 5681 2 from a peer without SACK came for `una`, with `segments` sent and not acknowledged.
    //= spec/rfc5681.txt#section-3.2
    //# The fast retransmit algorithm uses the arrival of 3 duplicate ACKs (as defined in section 2, without any
    //# intervening ACKs which move SND.UNA) as an indication that a segment has been lost.
    pub fn on_duplicate(&mut self, una: Seq, segments: usize) -> OnDuplicate {
        if matches!(self.phase, Phase::TimedOut(recover) if una.before(recover)) {
            //= spec/rfc6582.txt#section-3.2
            //# If not, the TCP does not enter fast retransmit and does not reset ssthresh.
            return OnDuplicate::Ignored;
        }
        // More duplicates than segments that could have left a hole behind are forged, or answers to something else.
        //= spec/rfc5681.txt#section-3.2
        //# A TCP MAY therefore limit the number of times cwnd is artificially inflated during loss recovery to the
        //# number of outstanding segments (or, an approximation thereof).
        let most = if self.is_fast() { self.most } else { u16::try_from(segments).unwrap_or(u16::MAX) };
        if self.duplicates + 1 >= most.max(2) {
            return OnDuplicate::Ignored;
        }
        self.duplicates += 1;
        let is_lost = !self.is_fast() && self.duplicates >= u16::from(self.threshold);
        if is_lost {
            self.most = most;
            return OnDuplicate::Lost;
        }
        OnDuplicate::Counted
    }

    /// Segments that duplicate ACKs show to have left the network.
    pub fn duplicates(&self) -> u16 {
        self.duplicates
    }

    /// Segments were found lost when everything before `nxt` had been sent. Whether that begins fast recovery.
    pub fn on_loss(&mut self, nxt: Seq) -> bool {
        let begins = self.phase == Phase::Open;
        if begins {
            self.phase = Phase::Fast(nxt);
        }
        begins
    }

    /// Everything before `una` has been acknowledged, `segments` more than before.
    //= spec/rfc6582.txt#section-3.2
    //# If this ACK does *not* acknowledge all of the data up to and including recover, then this is a partial ACK. In
    //# this case, retransmit the first unacknowledged segment.
    //= spec/rfc6675.txt#section-5
    //# An incoming cumulative ACK for a sequence number greater than
    //# RecoveryPoint signals the end of loss recovery, and the loss
    //# recovery phase MUST be terminated.
    pub fn on_progress(&mut self, una: Seq, segments: u16) -> OnProgress {
        match self.phase {
            Phase::Fast(recover) | Phase::TimedOut(recover) if una.before(recover) => {
                // The first of them filled the hole; the others had been counted.
                self.duplicates = self.duplicates.saturating_sub(segments.saturating_sub(1));
                OnProgress::Partial
            }
            phase => {
                self.end();
                match phase {
                    Phase::Open => OnProgress::Normal,
                    Phase::Fast(_) => OnProgress::Recovered,
                    Phase::TimedOut(_) => OnProgress::Repaired,
                }
            }
        }
    }

    /// The retransmission timer fired when everything before `nxt` had been sent.
    pub fn on_time_out(&mut self, nxt: Seq) {
        self.phase = Phase::TimedOut(nxt);
        self.duplicates = 0;
    }

    /// Recovery is over, or was needless.
    pub fn end(&mut self) {
        (self.phase, self.duplicates) = (Phase::Open, 0);
    }

    /// Whether everything before `end` had been sent when the recovery that is going on began.
    pub fn began_behind(&self, end: Seq) -> bool {
        matches!(self.phase, Phase::Fast(recover) | Phase::TimedOut(recover) if end.at_or_before(recover))
    }

    /// Whether fast recovery is going on.
    pub fn is_fast(&self) -> bool {
        matches!(self.phase, Phase::Fast(_))
    }

    /// Whether either recovery is going on.
    pub fn is_recovering(&self) -> bool {
        self.phase != Phase::Open
    }

    /// What must hold after every event: the recovery point has been sent.
    pub fn check_consistency(&self, nxt: Seq) {
        if cfg!(debug_assertions) {
            match self.phase {
                Phase::Open => {}
                Phase::Fast(recover) | Phase::TimedOut(recover) => assert!(recover.at_or_before(nxt)),
            }
        }
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
    //= spec/rfc6675.txt#section-5
    //= type=test
    //# An incoming cumulative ACK for a sequence number greater than
    //# RecoveryPoint signals the end of loss recovery, and the loss
    //# recovery phase MUST be terminated.
    #[test]
    fn the_third_duplicate_tells_of_a_loss_and_the_recovery_point_ends_it() {
        let mut recovery = Recovery::new(3);
        assert_eq!(recovery.on_duplicate(Seq(0), 10), OnDuplicate::Counted);
        assert_eq!(recovery.on_duplicate(Seq(0), 10), OnDuplicate::Counted);
        assert_eq!(recovery.on_duplicate(Seq(0), 10), OnDuplicate::Lost);
        assert!(recovery.on_loss(Seq(120)));
        assert!(!recovery.on_loss(Seq(130)), "it has begun");
        assert!(recovery.began_behind(Seq(120)) && !recovery.began_behind(Seq(121)));
        assert_eq!(recovery.on_duplicate(Seq(0), 10), OnDuplicate::Counted);
        assert_eq!(recovery.duplicates(), 4);
        assert_eq!(recovery.on_progress(Seq(50), 3), OnProgress::Partial);
        assert_eq!(recovery.duplicates(), 2, "two of the three had been counted");
        assert_eq!(recovery.on_progress(Seq(120), 5), OnProgress::Recovered);
        assert_eq!((recovery.on_progress(Seq(130), 1), recovery.duplicates()), (OnProgress::Normal, 0));
    }

    //= spec/rfc5681.txt#section-3.2
    //= type=test
    //# A TCP MAY therefore limit the number of times cwnd is artificially inflated during loss recovery to the number
    //# of outstanding segments (or, an approximation thereof).
    #[test]
    fn no_more_duplicates_count_than_segments_are_out() {
        let mut recovery = Recovery::new(3);
        assert_eq!(recovery.on_duplicate(Seq(0), 1), OnDuplicate::Counted);
        for _ in 0..100 {
            assert_eq!(recovery.on_duplicate(Seq(0), 1), OnDuplicate::Ignored);
        }
        assert_eq!(recovery.duplicates(), 1);
    }

    //= spec/rfc6582.txt#section-3.2
    //= type=test
    //# If not, the TCP does not enter fast retransmit and does not reset ssthresh.
    #[test]
    fn after_a_time_out_duplicates_of_what_was_sent_before_mean_nothing() {
        let mut recovery = Recovery::new(3);
        recovery.on_time_out(Seq(100));
        for _ in 0..5 {
            assert_eq!(recovery.on_duplicate(Seq(20), 10), OnDuplicate::Ignored);
        }
        assert!(!recovery.on_loss(Seq(100)), "no second reduction");
        assert_eq!(recovery.on_progress(Seq(99), 1), OnProgress::Partial);
        assert_eq!(recovery.on_progress(Seq(100), 1), OnProgress::Repaired);
        assert_eq!(recovery.on_duplicate(Seq(100), 10), OnDuplicate::Counted);
    }
}
