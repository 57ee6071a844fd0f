//! Header prediction: the two segments that an open connection mostly gets, recognised by a few comparisons
//! (Van Jacobson 1990; RFC 1122 4.2.2.20 asks for no less care, so all else goes through the spine).

use super::segment::{Flags, Segment};
use super::seq::Seq;

/// What a predicted segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fast {
    /// Nothing but an acknowledgment of new data.
    Ack,
    /// Nothing but the next data, and the acknowledgment may be new too.
    Data,
}

/// What it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// RCV.NXT.
    pub next: Seq,
    /// RCV.WND.
    pub window: u32,
    /// SND.UNA.
    pub una: Seq,
    /// The highest number sent.
    pub max: Seq,
}

/// Recognises a segment for a connection in ESTABLISHED that is neither recovering nor has a gap; whether its window
/// field is what the peer said before is `window_is_current`.
pub fn predict(segment: &Segment, expected: &Expected, window_is_current: bool) -> Option<Fast> {
    let Flags(bits) = segment.flags;
    // What the three bits of ECN say is heard in either case.
    let plain = bits & !(Flags::PSH.0 | Flags::ECN.0) == Flags::ACK.0;
    if !plain || segment.seq != expected.next || !window_is_current || !segment.options.sack.is_empty() {
        return None;
    }
    let in_range = segment.ack.at_or_after(expected.una) && segment.ack.at_or_before(expected.max);
    match segment.len {
        0 => (in_range && segment.ack != expected.una).then_some(Fast::Ack),
        len => (in_range && u32::from(len) <= expected.window).then_some(Fast::Data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expected = Expected { next: Seq(100), window: 1000, una: Seq(500), max: Seq(600) };

    fn segment(seq: u32, ack: u32, len: u16, flags: Flags) -> Segment {
        Segment { seq: Seq(seq), ack: Seq(ack), len, flags, ..Segment::default() }
    }

    #[test]
    fn predicts_the_next_data_and_a_new_ack() {
        let ack = Flags::ACK;
        assert_eq!(predict(&segment(100, 600, 0, ack), &EXPECTED, true), Some(Fast::Ack));
        assert_eq!(predict(&segment(100, 500, 10, ack | Flags::PSH), &EXPECTED, true), Some(Fast::Data));
        assert_eq!(predict(&segment(100, 550, 1000, ack), &EXPECTED, true), Some(Fast::Data));
        assert_eq!(predict(&segment(100, 600, 0, ack | Flags::ECN), &EXPECTED, true), Some(Fast::Ack));
    }

    #[test]
    fn leaves_everything_else_to_the_spine() {
        let ack = Flags::ACK;
        let others = [
            segment(100, 500, 0, ack),
            segment(100, 601, 0, ack),
            segment(101, 550, 0, ack),
            segment(100, 500, 1001, ack),
            segment(100, 499, 10, ack),
            segment(100, 550, 0, ack | Flags::FIN),
            segment(100, 550, 0, ack | Flags::URG),
            segment(100, 550, 10, Flags::PSH),
        ];
        for other in others {
            assert_eq!(predict(&other, &EXPECTED, true), None, "{other:?}");
        }
        assert_eq!(predict(&segment(100, 600, 0, ack), &EXPECTED, false), None, "the window has changed");
    }
}
