//! Whether what looked like loss was none: by D-SACK (RFC 2883, RFC 3708), by timestamps (Eifel, RFC 3522). The answer to
//! it is RFC 4015's: window and threshold become what they were.

use crate::tcp::seq::Seq;

/// Recoveries that are undone within a window of data at most. To take back what was found lost is work for each segment
/// that is out, and a peer that tells of losses and calls them none in turn would cause it with every other ACK.
const MOST_UNDONE: u8 = 8;

/// One recovery, from its first retransmission on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Undo {
    /// SND.UNA when recovery began; `None` outside of one.
    since: Option<Seq>,
    /// Retransmissions that have not been called duplicates; at `u16::MAX` they are too many to count.
    unproven: u16,
    /// The first number of the first segment that went again.
    first: Option<Seq>,
    /// Once this is acknowledged nothing more can be learned.
    until: Option<Seq>,
    /// The millisecond of our clock in which the first retransmission went.
    first_at: u64,
    /// How many have been undone since the window of data began that ends here.
    undone: u8,
    window: Seq,
}

impl Undo {
    /// Recovery begins at SND.UNA `una`.
    pub fn begin(&mut self, una: Seq) {
        let since = Some(una).filter(|_| self.undone < MOST_UNDONE);
        *self = Self { since, undone: self.undone, window: self.window, ..Self::default() };
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
        if una.at_or_after(self.window) {
            self.undone = 0;
        }
    }

    /// It has been undone when everything before `nxt` had been sent.
    pub fn on_undone(&mut self, nxt: Seq) {
        self.end();
        if self.undone == 0 {
            self.window = nxt;
        }
        self.undone = self.undone.saturating_add(1);
    }

    /// It cannot be undone any more.
    pub fn end(&mut self) {
        *self = Self { undone: self.undone, window: self.window, ..Self::default() };
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
            if self.unproven < u16::MAX {
                self.unproven = self.unproven.saturating_sub(u16::try_from(segments).unwrap_or(u16::MAX));
            }
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

    #[test]
    fn a_window_of_data_sees_eight_undone_and_no_more() {
        let mut undo = Undo::default();
        let undone = |undo: &mut Undo, una| {
            undo.begin(Seq(una));
            undo.on_resent(Seq(100), 7);
            let spurious = undo.on_echo(Seq(200), Some(6));
            if spurious {
                undo.on_undone(Seq(una + 1000));
            }
            spurious
        };
        assert!((100..108).all(|una| undone(&mut undo, una)));
        assert!(!undone(&mut undo, 108));
        undo.on_progress(Seq(1099));
        assert!(!undone(&mut undo, 1099), "the first was undone when what lies before 1100 was out");
        undo.on_progress(Seq(1100));
        assert!(undone(&mut undo, 1100));
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
