//! How connections end: the reasons, and TIME-WAIT's answers (RFC 9293 3.6, 3.10.7.4; RFC 1337; RFC 6191).

use super::segment::{Flags, Segment};
use super::seq::Seq;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
//= spec/rfc9293.txt#section-3.6
//# If the local TCP connection is closed by the remote side due to a FIN or RST received from the remote side, then
//# the local application MUST be informed whether it closed normally or was aborted (MUST-12).
pub enum CloseReason {
    /// Both sides closed.
    Finished,
    /// The peer reset it.
    Reset,
    /// The peer refused it: an RST in answer to our SYN.
    Refused,
    /// The peer has not answered for too long: R2, the user time-out, keepalive. Or the application had closed, and the
    /// peer did not take what was left, or did not close its side, in the time that was set for it.
    TimedOut,
    /// The network or the neighbour says, or shows by silence, that it can't be reached.
    Unreachable,
    /// The application aborted it, or closed it with bytes unread or still coming.
    Aborted,
    /// The stack was stopped.
    Stopped,
    /// The connection's local address was taken away.
    AddressRemoved,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Finished,
        Self::Reset,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Aborted,
        Self::Stopped,
        Self::AddressRemoved,
    ];

    /// A word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Aborted => "aborted",
            Self::Stopped => "stopped",
            Self::AddressRemoved => "address_removed",
        }
    }
}

/// What TIME-WAIT remembers of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The number after our FIN.
    pub snd_nxt: Seq,
    /// The number after the peer's FIN.
    pub rcv_nxt: Seq,
    /// TS.Recent, if timestamps were on.
    pub ts_recent: Option<u32>,
}

/// What TIME-WAIT does with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnTimeWait {
    /// Nothing.
    Ignore,
    /// Acknowledge what was acknowledged before.
    Ack,
    /// The peer's FIN again: acknowledge it and wait 2 MSL anew.
    AckAndRestart,
    /// A new connection of the same two ends: forget this one and treat the segment as in LISTEN.
    Reopen,
}

/// TIME-WAIT's answer to a segment. A new connection of the same ends would use timestamps if the SYN offers them and
/// `timestamps` is true.
pub fn on_time_wait(segment: &Segment, old: &Remembered, timestamps: bool) -> OnTimeWait {
    //= spec/rfc1337.txt#section-3
    //# (F1) Ignore RST segments in TIME-WAIT state.
    if segment.flags.has(Flags::RST) {
        return OnTimeWait::Ignore;
    }
    if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
        //= spec/rfc9293.txt#section-3.6.1
        //# it MAY accept a new SYN from the remote TCP endpoint to reopen the connection directly from TIME-WAIT
        //# state (MAY-2)
        //= spec/rfc9293.txt#section-3.6.1
        //# This algorithm for reducing TIME-WAIT is a Best Current Practice that SHOULD be implemented since
        //# Timestamp Options are commonly used, and using them to reduce TIME-WAIT provides benefits for busy
        //# Internet servers (SHLD-4).
        //= spec/rfc6191.txt#section-2
        //# Processing of SYN segments received for connections in the TIME-WAIT state SHOULD occur as follows:
        //= spec/rfc6191.txt#section-2
        //# the timestamp contained in the incoming SYN segment is greater than the last timestamp seen on the
        //# previous incarnation of the connection (for that direction of the data transfer), honor the connection
        //# request (creating a connection in the SYN-RECEIVED state).
        let newer = match (segment.options.timestamps.filter(|_| timestamps), old.ts_recent) {
            (Some(new), Some(recent)) if new.value != recent => Seq(new.value).after(Seq(recent)),
            //= spec/rfc6191.txt#section-2
            //# If TCP Timestamps would be enabled for the new incarnation of the connection, honor the incoming
            //# connection request (creating a connection in the SYN-RECEIVED state).
            (Some(_), None) => true,
            // The last number of the previous incarnation is that of its FIN.
            _ => segment.seq.at_or_after(old.rcv_nxt),
        };
        //= spec/rfc9293.txt#section-3.10.7.4
        //# For the TIME-WAIT state, new connections can be accepted if the Timestamp Option is used and meets
        //# expectations (per [40]). For all other cases, RFC 5961 provides a mitigation
        return if newer { OnTimeWait::Reopen } else { OnTimeWait::Ack };
    }
    //= spec/rfc9293.txt#section-3.10.7.4
    //# The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and
    //# restart the 2 MSL timeout.
    if segment.flags.has(Flags::FIN) && segment.end() == old.rcv_nxt {
        return OnTimeWait::AckAndRestart;
    }
    if segment.seq_len() > 0 || segment.seq != old.rcv_nxt { OnTimeWait::Ack } else { OnTimeWait::Ignore }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::{Options, Timestamps};

    const OLD: Remembered = Remembered { snd_nxt: Seq(500), rcv_nxt: Seq(100), ts_recent: Some(7) };

    fn segment(seq: u32, flags: Flags, ts: Option<u32>) -> Segment {
        let timestamps = ts.map(|value| Timestamps { value, echo: 0 });
        Segment { seq: Seq(seq), flags, options: Options { timestamps, ..Options::NONE }, ..Segment::default() }
    }

    fn on_time_wait(segment: &Segment, old: &Remembered) -> OnTimeWait {
        super::on_time_wait(segment, old, true)
    }

    //= spec/rfc1337.txt#section-3
    //= type=test
    //# (F1) Ignore RST segments in TIME-WAIT state.
    //= spec/rfc9293.txt#section-3.10.7.4
    //= type=test
    //# The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and
    //# restart the 2 MSL timeout.
    #[test]
    fn a_reset_does_not_end_it_and_a_fin_starts_it_anew() {
        assert_eq!(on_time_wait(&segment(100, Flags::RST, None), &OLD), OnTimeWait::Ignore);
        assert_eq!(on_time_wait(&segment(99, Flags::FIN | Flags::ACK, Some(7)), &OLD), OnTimeWait::AckAndRestart);
        assert_eq!(on_time_wait(&segment(50, Flags::FIN | Flags::ACK, Some(7)), &OLD), OnTimeWait::Ack, "another FIN");
        assert_eq!(on_time_wait(&segment(100, Flags::ACK, Some(8)), &OLD), OnTimeWait::Ignore);
        assert_eq!(on_time_wait(&segment(50, Flags::ACK, Some(8)), &OLD), OnTimeWait::Ack);
    }

    //= spec/rfc9293.txt#section-3.6.1
    //= type=test
    //# This algorithm for reducing TIME-WAIT is a Best Current Practice that SHOULD be implemented since Timestamp
    //# Options are commonly used, and using them to reduce TIME-WAIT provides benefits for busy Internet servers
    //# (SHLD-4).
    //= spec/rfc6191.txt#section-2
    //= type=test
    //# Processing of SYN segments received for connections in the TIME-WAIT state SHOULD occur as follows:
    //= spec/rfc6191.txt#section-2
    //= type=test
    //# the timestamp contained in the incoming SYN segment is greater than the last timestamp seen on the previous
    //# incarnation of the connection (for that direction of the data transfer), honor the connection request
    //# (creating a connection in the SYN-RECEIVED state).
    #[test]
    fn only_a_newer_syn_opens_it_again() {
        assert_eq!(on_time_wait(&segment(1, Flags::SYN, Some(8)), &OLD), OnTimeWait::Reopen);
        assert_eq!(on_time_wait(&segment(900, Flags::SYN, Some(6)), &OLD), OnTimeWait::Ack);
        assert_eq!(on_time_wait(&segment(900, Flags::SYN, Some(7)), &OLD), OnTimeWait::Reopen, "by sequence number");
        assert_eq!(on_time_wait(&segment(900, Flags::SYN, None), &OLD), OnTimeWait::Reopen);
        assert_eq!(on_time_wait(&segment(100, Flags::SYN, None), &OLD), OnTimeWait::Reopen);
        assert_eq!(on_time_wait(&segment(99, Flags::SYN, None), &OLD), OnTimeWait::Ack, "that of the old FIN");
        assert_eq!(on_time_wait(&segment(99, Flags::SYN, Some(7)), &OLD), OnTimeWait::Ack);
        let without = Remembered { ts_recent: None, ..OLD };
        assert_eq!(on_time_wait(&segment(1, Flags::SYN, Some(1)), &without), OnTimeWait::Reopen);
        assert_eq!(on_time_wait(&segment(1, Flags::SYN, None), &without), OnTimeWait::Ack);
        // We would not answer with timestamps, so theirs count for nothing.
        assert_eq!(super::on_time_wait(&segment(1, Flags::SYN, Some(8)), &OLD, false), OnTimeWait::Ack);
        assert_eq!(super::on_time_wait(&segment(900, Flags::SYN, Some(6)), &OLD, false), OnTimeWait::Reopen);
        assert_eq!(on_time_wait(&segment(900, Flags::SYN | Flags::ACK, None), &OLD), OnTimeWait::Ack);
    }
}
