//! The send window: what the peer lets us send (RFC 9293 3.8.6, 3.10.7.4 fifth step).

use crate::tcp::segment::MAX_WINDOW_SCALE;
use crate::tcp::seq::Seq;

/// SND.WND with the segment that last set it.
#[derive(Clone, Copy, Debug)]
pub struct SendWindow {
    //= spec/rfc9293.txt#section-3.1
    //# It is RECOMMENDED that implementations will reserve 32-bit fields for the send and receive window sizes in the
    //# connection record and do all window computations with 32 bits (REC-1).
    size: u32,
    max: u32,
    wl1: Seq,
    wl2: Seq,
    scale: u8,
}

impl SendWindow {
    /// The window that a SYN or SYN-ACK gave.
    //= spec/rfc7323.txt#section-2.2
    //# The window field in a segment where the SYN bit is set (i.e., a <SYN> or <SYN,ACK>) MUST NOT be scaled.
    pub fn from_syn(field: u16, seq: Seq, ack: Seq, scale: u8) -> Self {
        let size = u32::from(field);
        Self { size, max: size, wl1: seq, wl2: ack, scale: scale.min(MAX_WINDOW_SCALE) }
    }

    /// Bytes past SND.UNA that the peer takes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The largest window the peer has offered: MAX.SND.WND of RFC 5961 and Max(SND.WND) of RFC 9293 3.8.6.2.1.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Whether `field`, in a segment that is not older than the one that set the window, says what we know already.
    pub fn is_current(&self, field: u16, seq: Seq) -> bool {
        u32::from(field) << self.scale == self.size && self.wl1.at_or_before(seq)
    }

    /// Takes the window of an acceptable segment, unless a newer segment has set it; says whether it has changed.
    //= spec/rfc9293.txt#section-3.10.7.4
    //# If (SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)), set SND.WND <- SEG.WND, set SND.WL1 <-
    //# SEG.SEQ, and set SND.WL2 <- SEG.ACK.
    // The RFC looks at SEG.SEQ first. A retransmission has an old SEG.SEQ and a new SEG.ACK; were its window not taken,
    // the old size would count from the new SND.UNA, beyond the edge that the peer offered. So SEG.ACK comes first.
    pub fn on_segment(&mut self, field: u16, seq: Seq, ack: Seq) -> bool {
        let newer = self.wl2.before(ack) || (self.wl2 == ack && self.wl1.at_or_before(seq));
        if !newer {
            return false;
        }
        self.wl1 = seq;
        self.wl2 = ack;
        //= spec/rfc7323.txt#section-2.3
        //# o The window field (SEG.WND) in the header of every incoming segment, with the exception of <SYN> segments,
        //# MUST be left- shifted by Snd.Wind.Shift bits before updating SND.WND:
        //= spec/rfc9293.txt#section-3.1
        //# The window size MUST be treated as an unsigned number, or else large window sizes will appear like
        //# negative windows and TCP will not work (MUST-1).
        let size = u32::from(field) << self.scale;
        let changed = size != self.size;
        self.size = size;
        self.max = self.max.max(size);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_segment_does_not_change_the_window() {
        let mut window = SendWindow::from_syn(1000, Seq(5), Seq(9), 0);
        assert!(window.on_segment(2000, Seq(6), Seq(9)));
        assert!(!window.on_segment(10, Seq(5), Seq(9)), "older sequence number");
        assert!(!window.on_segment(10, Seq(7), Seq(8)), "older acknowledgment");
        assert!(window.on_segment(0, Seq(6), Seq(9)));
        assert_eq!((window.size(), window.max()), (0, 2000));
    }

    #[test]
    fn a_retransmission_that_acknowledges_more_is_newer() {
        let mut window = SendWindow::from_syn(8000, Seq(5), Seq(1000), 0);
        window.on_segment(8000, Seq(3005), Seq(1000));
        // The peer's hole is filled by what it had sent first; its window has not moved to the right.
        assert!(window.on_segment(6000, Seq(5), Seq(3000)));
        assert_eq!(window.size(), 6000);
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# The window size MUST be treated as an unsigned number, or else large window sizes will appear like negative
    //# windows and TCP will not work (MUST-1).
    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# It is RECOMMENDED that implementations will reserve 32-bit fields for the send and receive window sizes in the
    //# connection record and do all window computations with 32 bits (REC-1).
    //= spec/rfc7323.txt#section-2.3
    //= type=test
    //# o The window field (SEG.WND) in the header of every incoming segment, with the exception of <SYN> segments, MUST
    //# be left- shifted by Snd.Wind.Shift bits before updating SND.WND:
    //= spec/rfc7323.txt#section-2.2
    //= type=test
    //# The window field in a segment where the SYN bit is set (i.e., a <SYN> or <SYN,ACK>) MUST NOT be scaled.
    #[test]
    fn the_scale_is_for_segments_and_not_for_syns() {
        let mut window = SendWindow::from_syn(65_535, Seq(0), Seq(0), 7);
        assert_eq!(window.size(), 65_535);
        window.on_segment(65_535, Seq(1), Seq(1));
        assert_eq!(window.size(), 65_535 << 7);
        assert!(window.is_current(65_535, Seq(2)));
    }
}
