//! D-SACK at the sender: which SACK block tells that something has come twice (RFC 2883). What follows from it is RACK's
//! window, the undo of a needless recovery, and a number in the counters.

use crate::tcp::seq::Seq;

/// Below SND.UNA at least so many numbers are looked at, if so many were sent: a small window may have been larger.
const LEAST_WINDOW: u32 = 1 << 16;

/// What a peer received although it was there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// Its first number.
    pub start: Seq,
    /// The number behind its last one.
    pub end: Seq,
    /// How many segments of a full size it takes.
    pub segments: u32,
}

/// What was sent, as far as a block can tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The first number that says anything: what lies below any window was never sent on this connection, or long ago.
    pub oldest: Seq,
    /// SND.NXT.
    pub nxt: Seq,
    /// Bytes of a full segment.
    pub mss: u32,
}

impl Sent {
    /// Of a connection whose SYN has the number `iss`, which has sent what lies before `nxt` in segments of `mss` bytes to a
    /// peer whose largest window is `window` and which has acknowledged what lies before `una`. However much was sent, what
    /// lies a window below `una` is the oldest: numbers compare only within half of their space, so the ISS is no bound
    /// for long.
    pub fn new(iss: Seq, una: Seq, nxt: Seq, window: u32, mss: u32) -> Self {
        let sent = una.since(iss).saturating_sub(1);
        Self { oldest: una - window.max(LEAST_WINDOW).min(sent), nxt, mss }
    }
}

/// The D-SACK among the `blocks` of an ACK of everything before `ack`, if the first one is (RFC 2883 4).
//= spec/rfc2883.txt#section-4
//# The left edge of the D-SACK block specifies the first sequence
//# number of the duplicate contiguous sequence, and the right edge of
//# the D-SACK block specifies the sequence number immediately
//# following the last sequence in the duplicate contiguous sequence.
pub fn find(blocks: &[(Seq, Seq)], ack: Seq, sent: &Sent) -> Option<Duplicate> {
    let [(start, end), rest @ ..] = blocks else { return None };
    let (start, end) = (*start, *end);
    let is_ours = end.after(start) && start.at_or_after(sent.oldest) && end.at_or_before(sent.nxt);
    let below = end.at_or_before(ack);
    let inside = rest.first().is_some_and(|(from, to)| start.at_or_after(*from) && end.at_or_before(*to));
    let segments = end.since(start).div_ceil(sent.mss.max(1));
    (is_ours && (below || inside)).then_some(Duplicate { start, end, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent { oldest: Seq(1_000), nxt: Seq(9_000), mss: 1_000 };

    fn found(blocks: &[(u32, u32)], ack: u32) -> Option<(u32, u32)> {
        let blocks: std::vec::Vec<_> = blocks.iter().map(|(start, end)| (Seq(*start), Seq(*end))).collect();
        find(&blocks, Seq(ack), &SENT).map(|duplicate| (duplicate.start.0, duplicate.segments))
    }

    //= spec/rfc2883.txt#section-4
    //= type=test
    //# The left edge of the D-SACK block specifies the first sequence
    //# number of the duplicate contiguous sequence, and the right edge of
    //# the D-SACK block specifies the sequence number immediately
    //# following the last sequence in the duplicate contiguous sequence.
    #[test]
    fn the_first_block_is_one_below_the_ack_or_inside_the_second() {
        assert_eq!(found(&[(3_000, 4_000)], 5_000), Some((3_000, 1)));
        assert_eq!(found(&[(3_000, 4_001)], 5_000), Some((3_000, 2)), "a part counts");
        assert_eq!(found(&[(6_000, 7_000), (6_000, 8_000)], 5_000), Some((6_000, 1)));
        assert_eq!(found(&[(6_000, 7_000)], 5_000), None, "news");
        assert_eq!(found(&[(6_000, 7_000), (3_000, 4_000)], 5_000), None, "only the first");
        assert_eq!(found(&[(4_500, 5_500)], 5_000), None, "half of it is news");
        assert_eq!(found(&[], 5_000), None);
    }

    #[test]
    fn far_beyond_the_first_number_the_last_window_counts() {
        let iss = Seq(u32::MAX - 10);
        let told = |bytes: u32, start: u32, end: u32| {
            let (first, una) = (iss + 1, iss + 1 + bytes);
            let sent = Sent::new(iss, una, una + 1_000, 100_000, 1_000);
            find(&[(first + start, first + end)], una, &sent).is_some()
        };
        assert!(told(5_000, 0, 1_000), "the first byte");
        assert!(!told(5_000, u32::MAX, 1_000), "the SYN");
        for gigabytes in [3, 2, 1] {
            let bytes = gigabytes << 30 | 5_000;
            assert!(told(bytes, bytes - 1_000, bytes), "{gigabytes} GB have been sent");
            assert!(told(bytes, bytes - 100_000, bytes));
            assert!(!told(bytes, bytes - 100_001, bytes), "below any window");
        }
    }

    #[test]
    fn what_was_never_sent_is_none() {
        assert_eq!(found(&[(999, 2_000)], 5_000), None, "long ago");
        assert_eq!(found(&[(8_000, 9_001)], 9_001), None, "not yet");
        assert_eq!(found(&[(4_000, 3_000)], 5_000), None, "backwards");
        assert_eq!(found(&[(3_000, 3_000)], 5_000), None, "nothing");
    }
}
