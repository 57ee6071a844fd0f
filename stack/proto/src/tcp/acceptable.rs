//! Which segments are acceptable: the first check of RFC 9293 3.10.7.4, and the range of RFC 5961 5 for ACKs.

use super::segment::Segment;
use super::seq::Seq;

/// The four cases of the table in RFC 9293 3.10.7.4.
pub fn is_acceptable(segment: &Segment, next: Seq, window: u32) -> bool {
    let len = segment.seq_len();
    match (len, window) {
        (0, 0) => segment.seq == next,
        (0, _) => segment.seq.in_window(next, window),
        // A window of zero takes nothing, but valid ACKs, URGs and RSTs are looked at all the same: the caller drops
        // the text.
        //= spec/rfc9293.txt#section-3.4
        //# A TCP receiver MUST process the RST and URG fields of all incoming segments, even when the receive window
        //# is zero (MUST-66).
        (_, 0) => segment.seq == next,
        (_, _) => segment.seq.in_window(next, window) || (segment.seq + (len - 1)).in_window(next, window),
    }
}

/// Whether SEG.ACK lies in SND.UNA - MAX.SND.WND =< SEG.ACK =< the highest number sent.
//= spec/rfc5961.txt#section-5.2
//# TCP stacks that implement this mitigation MUST add an additional input check to any incoming segment.
//= spec/rfc5961.txt#section-5.2
//# The ACK value is considered acceptable only if it is in the range of ((SND.UNA - MAX.SND.WND) <= SEG.ACK <=
//# SND.NXT).
//= spec/rfc9293.txt#section-3.10.7.4
//# RFC 5961 [9], Section 5 describes a potential blind data injection attack, and mitigation that implementations MAY
//# choose to include (MAY-12).
pub fn is_ack_plausible(ack: Seq, una: Seq, max: Seq, max_window: u32) -> bool {
    ack.at_or_before(max) && ack.at_or_after(una - max_window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::Flags;

    fn segment(seq: u32, len: u16) -> Segment {
        Segment { seq: Seq(seq), len, flags: Flags::ACK, ..Segment::default() }
    }

    //= spec/rfc9293.txt#section-3.4
    //= type=test
    //# A TCP receiver MUST process the RST and URG fields of all incoming segments, even when the receive window is
    //# zero (MUST-66).
    #[test]
    fn the_four_cases() {
        // (seq, len, window) with RCV.NXT = 100
        let yes = [(100, 0, 0), (100, 0, 10), (109, 0, 10), (100, 10, 10), (95, 6, 10), (109, 50, 10), (100, 5, 0)];
        let no =
            [(99, 0, 0), (101, 0, 0), (99, 0, 10), (110, 0, 10), (95, 5, 10), (110, 1, 10), (99, 5, 0), (101, 5, 0)];
        for (seq, len, window) in yes {
            assert!(is_acceptable(&segment(seq, len), Seq(100), window), "{seq} {len} {window}");
        }
        for (seq, len, window) in no {
            assert!(!is_acceptable(&segment(seq, len), Seq(100), window), "{seq} {len} {window}");
        }
    }

    #[test]
    fn the_window_may_wrap() {
        assert!(is_acceptable(&segment(3, 1), Seq(u32::MAX - 1), 10));
        assert!(is_acceptable(&segment(u32::MAX - 5, 10), Seq(u32::MAX - 1), 10));
    }

    //= spec/rfc9293.txt#section-3.10.7.4
    //= type=test
    //# RFC 5961 [9], Section 5 describes a potential blind data injection attack, and mitigation that implementations
    //# MAY choose to include (MAY-12).
    //= spec/rfc5961.txt#section-5.2
    //= type=test
    //# The ACK value is considered acceptable only if it is in the range of ((SND.UNA - MAX.SND.WND) <= SEG.ACK <=
    //# SND.NXT).
    #[test]
    fn acks_of_the_future_and_of_the_far_past_are_implausible() {
        let plausible = |ack: u32| is_ack_plausible(Seq(ack), Seq(1000), Seq(2000), 500);
        assert!(plausible(2000) && plausible(1000) && plausible(500));
        assert!(!plausible(2001) && !plausible(499));
    }
}
