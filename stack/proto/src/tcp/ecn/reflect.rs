//! The receiver of accurate ECN (RFC 9768 3.2): it counts what arrives with which mark and reflects it.

use super::FIRST_CEP;
use crate::tcp::segment::{AccurateEcn, Codepoint, Flags};

/// After so many marks an ACK has to go, when there is data that is not acknowledged, and when there is not.
const MARKS_WITH_DATA: u8 = 2;
const MARKS_WITHOUT: u8 = 3;

/// The counters of a half-connection, and what has not been told of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reflector {
    cep: u32,
    ect0: u32,
    ce: u32,
    ect1: u32,
    /// Which byte counters have ever changed: ECT(0), CE, ECT(1).
    changed: [bool; 3],
    /// A byte counter has changed since the last option.
    untold: bool,
    /// Marks since the last ACK.
    marks: u8,
    /// The packet before was marked.
    was_marked: bool,
    /// The ACK that is due answers nothing but ACKs.
    answers_acks: bool,
}

impl Reflector {
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.1
    //# When a host first enters AccECN mode, in its role as a Data Receiver
    //# it initializes its counters to r.cep = 5, r.e0b = r.e1b = 1 and r.ceb
    //# = 0,
    pub(super) const fn new() -> Self {
        Self {
            cep: FIRST_CEP,
            ect0: 1,
            ce: 0,
            ect1: 1,
            changed: [false; 3],
            untold: false,
            marks: 0,
            was_marked: false,
            answers_acks: false,
        }
    }

    /// A SYN-ACK has come with a mark.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //# If a TCP Client in AccECN mode receives a CE mark in the IP-ECN field
    //# of a SYN/ACK, it MUST increment r.cep, but no more than once no
    //# matter how many CE-marked SYN/ACKs it receives
    pub(super) fn on_marked_syn_ack(&mut self) {
        self.cep = FIRST_CEP + 1;
    }

    /// An acceptable packet has come with `len` bytes of payload. Says whether it has to be acknowledged at once; whether
    /// there is data that has not been is `unacked`.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2
    //# The Data Receiver MUST increment the CE packet counter (r.cep), for
    //# every Acceptable packet that it receives with the CE code point in
    //# the IP ECN field, including CE marked control packets and
    //# retransmissions but excluding CE on SYN packets (SYN=1; ACK=0).
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2
    //# A Data Receiver that supports sending of AccECN TCP Options MUST
    //# increment the r.ceb, r.e0b or r.e1b byte counters by the number of
    //# TCP payload octets in Acceptable packets marked with the CE, ECT(0)
    //# and ECT(1) codepoint in their IP-ECN field
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.1
    //# An AccECN Data Receiver SHOULD emit an ACK whenever a data packet
    //# marked CE arrives after the previous packet was not CE.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.1
    //# An AccECN receiver of a packet MUST emit an ACK if 'n' CE marks have
    //# arrived since the previous ACK. If there is unacknowledged data at
    //# the receiver, 'n' SHOULD be 2. If there is no unacknowledged data at
    //# the receiver, 'n' SHOULD be 3 and MUST be no less than 3. In either
    //# case, 'n' MUST be no greater than 7.
    pub(super) fn on_packet(&mut self, ecn: Codepoint, len: u16, unacked: bool) -> bool {
        let is_marked = ecn == Codepoint::Ce;
        let counter = match ecn {
            Codepoint::NotEct => None,
            Codepoint::Ect0 => Some((&mut self.ect0, 0)),
            Codepoint::Ce => Some((&mut self.ce, 1)),
            Codepoint::Ect1 => Some((&mut self.ect1, 2)),
        };
        if let Some((counter, index)) = counter.filter(|_| len > 0) {
            *counter = counter.wrapping_add(len.into());
            self.changed[index] = true;
            self.untold = true;
        }
        let begins = is_marked && !self.was_marked && len > 0;
        self.was_marked = is_marked;
        if !is_marked {
            return false;
        }
        self.cep = self.cep.wrapping_add(1);
        self.marks = self.marks.saturating_add(1);
        let unacked = unacked || len > 0;
        let is_due = begins || self.marks >= if unacked { MARKS_WITH_DATA } else { MARKS_WITHOUT };
        self.answers_acks |= is_due && !unacked;
        is_due
    }

    /// r.cep in the ACE field.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2
    //# On such a packet, a Data Receiver MUST encode the three
    //# least significant bits of its r.cep counter into the ACE field that
    //# it feeds back to the Data Sender.
    pub(super) const fn ace(&self) -> Flags {
        Flags((self.cep as u16 & 0b111) << 6)
    }

    /// How many marked packets have come, those of the handshake among them.
    pub(super) const fn marked(&self) -> u32 {
        self.cep.wrapping_sub(FIRST_CEP)
    }

    /// The option that an ACK should have, in no more than `room` bytes: none if nothing is new, or the room is not
    /// enough for all that is. Every counter that has ever changed is in it if it fits.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.3
    //# The Data Receiver SHOULD include an AccECN TCP Option on every
    //# scheduled ACK if any byte counter has incremented since the last ACK.
    //# Whenever possible, it SHOULD include a field for every byte counter
    //# that has changed at some time during the connection
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.3
    //# If there is insufficient space to
    //# include an AccECN TCP option containing the counter(s) that have
    //# changed since the previous AccECN TCP option, then the entire AccECN
    //# TCP option MUST be omitted.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.1
    //# it MUST encode the 24 least
    //# significant bits of the current value of the associated counter into
    //# the field
    pub(super) fn option(&self, room: usize) -> Option<AccurateEcn> {
        let [ect0, ce, ect1] = self.changed;
        let ect1_first = ect1 && !ect0;
        let len = match (ect0 && ect1, ce) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 1,
        };
        let mut option = self.full(ect1_first);
        option.truncate(len);
        (self.untold && option.wire_len() <= room).then_some(option)
    }

    /// The option of a SYN-ACK, or of the ACK of one, in no more than `room` bytes: it shows whether options arrive.
    pub(super) fn first_option(&self, room: usize) -> Option<AccurateEcn> {
        let mut option = self.full(false);
        option.truncate(room.saturating_sub(2) / 3);
        (option.wire_len() <= room).then_some(option)
    }

    fn full(&self, ect1_first: bool) -> AccurateEcn {
        let [first, last] = if ect1_first { [self.ect1, self.ect0] } else { [self.ect0, self.ect1] };
        AccurateEcn::new(ect1_first, [first, self.ce, last])
    }

    /// Whether the ACK that is due must not look like a duplicate.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.1
    //# these ACKs of ACKs MUST NOT contain any SACK blocks
    pub(super) const fn answers_acks(&self) -> bool {
        self.answers_acks
    }

    /// An ACK leaves, with the option or without.
    pub(super) fn on_ack_sent(&mut self, with_option: bool) {
        (self.marks, self.answers_acks) = (0, false);
        self.untold &= !with_option;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Codepoint::{Ce, Ect0, Ect1, NotEct};

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2
    //= type=test
    //# The Data Receiver MUST increment the CE packet counter (r.cep), for
    //# every Acceptable packet that it receives with the CE code point in
    //# the IP ECN field, including CE marked control packets and
    //# retransmissions but excluding CE on SYN packets (SYN=1; ACK=0).
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2
    //= type=test
    //# a Data Receiver MUST encode the three
    //# least significant bits of its r.cep counter into the ACE field that
    //# it feeds back to the Data Sender.
    #[test]
    fn the_field_counts_marks_modulo_eight() {
        let mut reflector = Reflector::new();
        let aces: std::vec::Vec<_> = (0..6)
            .map(|n| {
                reflector.on_packet(if n % 2 == 1 { NotEct } else { Ce }, 0, false);
                reflector.ace().0 >> 6
            })
            .collect();
        assert_eq!(aces, [6, 6, 7, 7, 0, 0]);
        assert_eq!(reflector.marked(), 3);
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.1
    //= type=test
    //# An AccECN Data Receiver SHOULD emit an ACK whenever a data packet
    //# marked CE arrives after the previous packet was not CE.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.1
    //= type=test
    //# An AccECN receiver of a packet MUST emit an ACK if 'n' CE marks have
    //# arrived since the previous ACK. If there is unacknowledged data at
    //# the receiver, 'n' SHOULD be 2. If there is no unacknowledged data at
    //# the receiver, 'n' SHOULD be 3 and MUST be no less than 3.
    #[test]
    fn an_ack_goes_when_marks_begin_and_after_every_second_or_third() {
        let mut reflector = Reflector::new();
        let mut due = |ecn, len, unacked| {
            let is_due = reflector.on_packet(ecn, len, unacked);
            let answers = reflector.answers_acks();
            if is_due {
                reflector.on_ack_sent(false);
            }
            (is_due, answers)
        };
        assert_eq!(due(Ect0, 100, false), (false, false));
        assert_eq!(due(Ce, 100, false), (true, false), "marks begin");
        assert_eq!(due(Ce, 100, false), (false, false));
        assert_eq!(due(Ce, 100, false), (true, false), "the second");
        assert_eq!(due(Ect0, 100, false), (false, false), "and not when they end");
        let acks = [0; 4].map(|len| due(Ce, len, false));
        assert_eq!(acks, [(false, false), (false, false), (true, true), (false, false)], "ACKs: the third");
        assert_eq!(due(Ce, 0, true), (true, false));
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.3
    //= type=test
    //# Whenever possible, it SHOULD include a field for every byte counter
    //# that has changed at some time during the connection
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.3
    //= type=test
    //# If there is insufficient space to
    //# include an AccECN TCP option containing the counter(s) that have
    //# changed since the previous AccECN TCP option, then the entire AccECN
    //# TCP option MUST be omitted.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.1
    //= type=test
    //# it MUST encode the 24 least
    //# significant bits of the current value of the associated counter into
    //# the field
    #[test]
    fn the_option_has_what_has_changed() {
        let mut reflector = Reflector::new();
        assert_eq!(reflector.option(40), None);
        reflector.on_packet(NotEct, 100, false);
        assert_eq!(reflector.option(40), None);
        reflector.on_packet(Ect1, 100, false);
        assert_eq!(reflector.option(8), Some(AccurateEcn::new(true, [101])));
        reflector.on_packet(Ce, 10, false);
        assert_eq!(reflector.option(8), Some(AccurateEcn::new(true, [101, 10])));
        assert_eq!(reflector.option(4), None);
        reflector.on_ack_sent(true);
        assert_eq!(reflector.option(40), None, "nothing new");
        reflector.on_packet(Ect0, 1, false);
        assert_eq!((reflector.option(8), reflector.option(12)), (None, Some(AccurateEcn::new(false, [2, 10, 101]))));
        let mut other = Reflector { ect0: 0xff_ffff, ..Reflector::new() };
        other.on_packet(Ect0, 2, false);
        assert_eq!(other.option(8), Some(AccurateEcn::new(false, [1])));
    }

    #[test]
    fn the_first_option_takes_what_room_there_is() {
        let lens =
            [3, 4, 8, 12, 40].map(|room| Reflector::new().first_option(room).map(|option| option.fields().len()));
        assert_eq!(lens, [None, Some(0), Some(2), Some(3), Some(3)]);
    }
}
