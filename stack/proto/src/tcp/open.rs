//! How connections begin without state of their own: CLOSED, LISTEN and the half-open peers of a listener
//! (RFC 9293 3.10.7.1, 3.10.7.2, 3.10.7.4 for SYN-RECEIVED).

use super::segment::{Flags, Options, Segment, Timestamps};
use super::seq::Seq;

/// The RST that answers a segment for which there is no connection; none for an RST.
//= spec/rfc9293.txt#section-3.10.7.1
//# An incoming segment not containing a RST causes a RST to be sent in response. The acknowledgment and sequence
//# field values are selected to make the reset sequence acceptable to the TCP endpoint that sent the offending
//# segment.
pub fn reset_for(segment: &Segment) -> Option<Segment> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    //= spec/rfc7323.txt#section-5.2
    //# it is now RECOMMENDED that when generating an <RST>, if the segment causing the <RST> to be generated contains a
    //# Timestamps option, the <RST> should also contain a Timestamps option.
    //= spec/rfc7323.txt#section-5.2
    //# In the <RST> segment, SEG.TSecr SHOULD be set to SEG.TSval from the incoming segment and SEG.TSval SHOULD be set
    //# to zero.
    let timestamps = segment.options.timestamps.map(|theirs| Timestamps { value: 0, echo: theirs.value });
    let reset = Segment { options: Options { timestamps, ..Options::NONE }, ..Segment::default() };
    Some(if segment.flags.has(Flags::ACK) {
        Segment { seq: segment.ack, flags: Flags::RST, ..reset }
    } else {
        Segment { seq: Seq(0), ack: segment.end(), flags: Flags::RST | Flags::ACK, ..reset }
    })
}

/// What LISTEN does with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnListen {
    /// Nothing.
    Ignore,
    /// Answer with an RST.
    Reset,
    /// A connection request.
    Open,
}

/// LISTEN's answer.
//= spec/rfc9293.txt#section-3.10.7.2
//# An incoming RST should be ignored.
//= spec/rfc9293.txt#section-3.10.7.2
//# An acceptable reset segment should be formed for any arriving ACK-bearing segment.
pub fn on_listen(segment: &Segment) -> OnListen {
    if segment.flags.has(Flags::RST) {
        OnListen::Ignore
    } else if segment.flags.has(Flags::ACK) {
        OnListen::Reset
    } else if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::FIN) {
        OnListen::Open
    } else {
        // A FIN without state, or a segment with neither SYN nor ACK.
        OnListen::Ignore
    }
}

/// What a half-open connection does with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnHalfOpen {
    /// Nothing.
    Ignore,
    /// The peer's SYN again, or a segment outside of the window: send the SYN-ACK again.
    Again,
    /// Answer with an RST.
    Reset,
    /// Back to LISTEN: the peer took its request back, or made another.
    Forget,
    /// The handshake is complete; the segment goes on to the new connection.
    Complete,
}

/// SYN-RECEIVED's answer on a passive open with `irs` and `iss`; whether the segment lies in the receive window is
/// `acceptable`.
//= spec/rfc9293.txt#section-3.10.7.4
//# If this connection was initiated with a passive OPEN (i.e., came from the LISTEN state), then return this
//# connection to LISTEN state and return. The user need not be informed.
pub fn on_half_open(segment: &Segment, irs: Seq, iss: Seq, acceptable: bool) -> OnHalfOpen {
    let next = irs + 1;
    if segment.flags.has(Flags::RST) {
        //= spec/rfc5961.txt#section-3.2
        //# If the RST bit is set and the sequence number exactly matches the next expected sequence number (RCV.NXT),
        //# then TCP MUST reset the connection.
        return if segment.seq == next { OnHalfOpen::Forget } else { OnHalfOpen::Ignore };
    }
    if segment.flags.has(Flags::SYN) {
        //= spec/rfc9293.txt#section-3.10.7.4
        //# If the connection was initiated with a passive OPEN, then
        //# return this connection to the LISTEN state and return.
        // A SYN that comes again does not become another one by data in the window: a client that opens fast sends its
        // SYN again without any, and the first may be the later one to come.
        return match segment.flags.has(Flags::ACK) {
            true => OnHalfOpen::Ignore,
            false if acceptable && segment.seq != irs => OnHalfOpen::Forget,
            false => OnHalfOpen::Again,
        };
    }
    if !acceptable {
        // An empty segment may be the answer to ours, as TIME-WAIT gives it to the SYN-ACK that an old SYN has called for:
        // two that answer each other's answers never end. The SYN-ACK goes again by its timer.
        return if segment.seq_len() > 0 { OnHalfOpen::Again } else { OnHalfOpen::Ignore };
    }
    if !segment.flags.has(Flags::ACK) {
        return OnHalfOpen::Ignore;
    }
    //= spec/rfc9293.txt#section-3.10.7.4
    //# If the segment acknowledgment is not acceptable, form a reset segment
    if segment.ack == iss + 1 { OnHalfOpen::Complete } else { OnHalfOpen::Reset }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u32, ack: u32, flags: Flags) -> Segment {
        Segment { seq: Seq(seq), ack: Seq(ack), flags, ..Segment::default() }
    }

    //= spec/rfc9293.txt#section-3.10.7.1
    //= type=test
    //# An incoming segment not containing a RST causes a RST to be sent in response. The acknowledgment and sequence
    //# field values are selected to make the reset sequence acceptable to the TCP endpoint that sent the offending
    //# segment.
    //= spec/rfc7323.txt#section-5.2
    //= type=test
    //# it is now RECOMMENDED that when generating an <RST>, if the segment causing the <RST> to be generated contains a
    //# Timestamps option, the <RST> should also contain a Timestamps option.
    //= spec/rfc7323.txt#section-5.2
    //= type=test
    //# In the <RST> segment, SEG.TSecr SHOULD be set to SEG.TSval from the incoming segment and SEG.TSval SHOULD be set
    //# to zero.
    #[test]
    fn a_reset_has_a_timestamp_if_its_cause_has() {
        let timestamps = Some(Timestamps { value: 7, echo: 9 });
        let stamped = Options { timestamps, ..Options::NONE };
        for flags in [Flags::SYN, Flags::ACK] {
            let reset = reset_for(&Segment { options: stamped, ..segment(5, 9, flags) }).unwrap();
            assert_eq!(reset.options.timestamps, Some(Timestamps { value: 0, echo: 7 }));
            assert_eq!(reset_for(&segment(5, 9, flags)).unwrap().options, Options::NONE);
        }
    }

    #[test]
    fn closed_answers_everything_but_an_rst() {
        assert_eq!(reset_for(&segment(5, 9, Flags::RST)), None);
        let to_ack = reset_for(&segment(5, 9, Flags::ACK)).unwrap();
        assert_eq!((to_ack.seq, to_ack.flags), (Seq(9), Flags::RST));
        let to_syn = reset_for(&segment(5, 0, Flags::SYN)).unwrap();
        assert_eq!((to_syn.seq, to_syn.ack, to_syn.flags), (Seq(0), Seq(6), Flags::RST | Flags::ACK));
    }

    //= spec/rfc9293.txt#section-3.10.7.2
    //= type=test
    //# An incoming RST should be ignored.
    //= spec/rfc9293.txt#section-3.10.7.2
    //= type=test
    //# An acceptable reset segment should be formed for any arriving ACK-bearing segment.
    #[test]
    fn listen_opens_on_a_syn_alone() {
        assert_eq!(on_listen(&segment(5, 0, Flags::SYN)), OnListen::Open);
        assert_eq!(on_listen(&segment(5, 1, Flags::SYN | Flags::ACK)), OnListen::Reset);
        assert_eq!(on_listen(&segment(5, 1, Flags::RST)), OnListen::Ignore);
        assert_eq!(on_listen(&segment(5, 0, Flags::SYN | Flags::FIN)), OnListen::Ignore);
        assert_eq!(on_listen(&segment(5, 0, Flags::default())), OnListen::Ignore);
    }

    #[test]
    fn half_open_completes_only_on_the_ack_of_its_own_syn() {
        let answer =
            |seq, ack, flags| on_half_open(&segment(seq, ack, flags), Seq(100), Seq(500), (101..1101).contains(&seq));
        assert_eq!(answer(101, 501, Flags::ACK), OnHalfOpen::Complete);
        assert_eq!(answer(101, 502, Flags::ACK), OnHalfOpen::Reset);
        assert_eq!(answer(100, 0, Flags::SYN), OnHalfOpen::Again, "the same SYN again");
        assert_eq!(answer(300, 0, Flags::SYN), OnHalfOpen::Forget, "another SYN in the window");
        let with_data = Segment { len: 520, ..segment(100, 0, Flags::SYN) };
        assert_eq!(on_half_open(&with_data, Seq(100), Seq(500), true), OnHalfOpen::Again, "its data is in the window");
        assert_eq!(answer(5000, 501, Flags::ACK), OnHalfOpen::Ignore, "an answer is not answered");
        assert_eq!(answer(5000, 501, Flags::ACK | Flags::FIN), OnHalfOpen::Again);
        assert_eq!(answer(101, 0, Flags::RST), OnHalfOpen::Forget);
        assert_eq!(answer(102, 0, Flags::RST), OnHalfOpen::Ignore);
        assert_eq!(answer(101, 0, Flags::default()), OnHalfOpen::Ignore);
    }
}
