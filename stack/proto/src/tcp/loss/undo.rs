//! Whether what looked like loss was none: by D-SACK (RFC 2883, RFC 3708), by timestamps (Eifel, RFC 3522). The answer to
//! it is RFC 4015's: window and threshold become what they were.

use crate::tcp::seq::Seq;

/// One recovery, from its first retransmission on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Undo {
    /// SND.UNA when recovery began; `None` outside of one.
    since: Option<Seq>,
    /// Retransmissions that have not been called duplicates.
    unproven: u32,
    /// The first number of the first segment that went again.
    first: Option<Seq>,
    /// Once this is acknowledged nothing more can be learned.
    until: Option<Seq>,
    /// The millisecond of our clock in which the first retransmission went.
    first_at: u64,
}

impl Undo {
    /// Recovery begins at SND.UNA `una`.
    pub fn begin(&mut self, una: Seq) {
        *self = Self { since: Some(una), ..Self::default() };
    }

    /// Recovery has ended when everything before `nxt` had been sent: what its retransmissions call forth comes with the
    /// next round trip.
    pub fn expire_at(&mut self, nxt: Seq) {
        self.until = Some(nxt);
    }

    /// Everything before `una` has been acknowledged.
    pub fn on_progress(&mut self, una: Seq) {
        if self.until.is_some_and(|until| una.after(until)) {
            self.end();
        }
    }

    /// It has been undone, or cannot be any more.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// The segment that begins at `seq` goes again, in millisecond `millis` of our clock.
    pub fn on_resent(&mut self, seq: Seq, millis: u64) {
        if self.since.is_some() {
            if self.first.is_none() {
                (self.first, self.first_at) = (Some(seq), millis);
            }
            self.unproven = self.unproven.saturating_add(1);
        }
    }

    /// A D-SACK tells of `segments` that came twice from `start` on. Whether every retransmission was needless.
    pub fn on_duplicate_sack(&mut self, start: Seq, segments: u32) -> bool {
        if self.since.is_some_and(|since| start.at_or_after(since)) && self.first.is_some() {
            self.unproven = self.unproven.saturating_sub(segments);
            return self.unproven == 0;
        }
        false
    }

    /// An ACK of everything before `ack` echoes the timestamp of millisecond `echo`. Whether it covers the first segment
    /// that went again, and what it answers was sent before: then the original has arrived.
    //= spec/rfc3522.txt#section-3.2
    //# If the value of the Timestamp Echo Reply field of the
    //# acceptable ACK's Timestamps option is smaller than the
    //# value of RetransmitTS, then proceed to step (5),
    pub fn on_echo(&self, ack: Seq, echo: Option<u64>) -> bool {
        self.first.is_some_and(|first| ack.after(first)) && echo.is_some_and(|echo| echo < self.first_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_duplicates_as_retransmissions_undo() {
        let mut undo = Undo::default();
        undo.on_resent(Seq(100), 5);
        assert!(!undo.on_duplicate_sack(Seq(0), 1), "outside of recovery");
        undo.begin(Seq(100));
        assert!(!undo.on_duplicate_sack(Seq(100), 1), "nothing has gone again");
        undo.on_resent(Seq(100), 7);
        undo.on_resent(Seq(300), 8);
        assert!(!undo.on_duplicate_sack(Seq(50), 1), "older than the recovery");
        assert!(!undo.on_duplicate_sack(Seq(100), 1));
        assert!(undo.on_duplicate_sack(Seq(300), 1));
    }

    #[test]
    fn what_is_called_a_duplicate_a_round_trip_after_the_end_counts() {
        let mut undo = Undo::default();
        undo.begin(Seq(100));
        undo.on_resent(Seq(100), 7);
        undo.expire_at(Seq(500));
        undo.on_progress(Seq(500));
        assert!(undo.on_duplicate_sack(Seq(100), 1));
        undo.on_progress(Seq(501));
        assert!(!undo.on_duplicate_sack(Seq(100), 1));
    }

    //= spec/rfc3522.txt#section-3.2
    //= type=test
    //# If the value of the Timestamp Echo Reply field of the
    //# acceptable ACK's Timestamps option is smaller than the
    //# value of RetransmitTS, then proceed to step (5),
    #[test]
    fn an_older_echo_than_the_first_retransmission_undoes() {
        let mut undo = Undo::default();
        undo.begin(Seq(100));
        assert!(!undo.on_echo(Seq(900), Some(3)), "nothing has gone again");
        undo.on_resent(Seq(200), 7);
        undo.on_resent(Seq(300), 9);
        assert!(!undo.on_echo(Seq(900), Some(7)), "in the same millisecond nobody knows");
        assert!(!undo.on_echo(Seq(900), None));
        assert!(!undo.on_echo(Seq(200), Some(6)), "it answers what came before the hole");
        assert!(undo.on_echo(Seq(201), Some(6)));
        undo.end();
        assert!(!undo.on_echo(Seq(900), Some(6)));
    }
}
