//! Explicit congestion notification: what is agreed on, what is told to the peer, what the peer tells (RFC 3168, RFC 8311,
//! RFC 9768).
//!
//! ECT(0) stands on data that goes for the first time, and on nothing else: neither on SYNs, pure ACKs, retransmissions
//! and probes, in both modes. It does not look for marks that never end (RFC 9768 3.2.2.3), and does not remember
//! paths that drop ECN's packets from one connection to the next.

mod follow;
pub mod negotiation;
mod reflect;

use super::config::Ecn as Wanted;
use super::info::EcnMode;
use super::segment::{AccurateEcn, Codepoint, Flags};
use super::seq::Seq;
use follow::Follower;
use negotiation::Asked;
use reflect::Reflector;

/// r.cep and s.cep at first (RFC 9768 3.2.1): so that a field that somebody has zeroed is not taken for a counter.
const FIRST_CEP: u32 = 5;

/// What an ACK tells of marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// Bytes delivered with a mark, as far as it can be known.
    pub bytes: u32,
    /// The network is congested.
    pub congested: bool,
}

/// ECN of one connection. Ask [`request`](Self::request) or [`syn_ack`](Self::syn_ack) for the handshake, give it each
/// packet that comes and each ACK that is new, and ask what the next segment has to say.
#[derive(Clone, Copy, Debug)]
pub struct Ecn {
    wanted: Wanted,
    mode: EcnMode,
    asked: Asked,
    /// What is sent may say that it is ECN-capable.
    may_mark: bool,
    /// What the peer tells is answered.
    heeds: bool,
    /// A SYN without ECN went after one with it.
    sent_plain: bool,
    /// How the SYN-ACK has arrived that the next pure ACK answers.
    owed: Option<Codepoint>,
    /// Classic: a mark has come and the peer has not answered it.
    echoes: bool,
    /// Classic: the window is smaller, and the peer does not know.
    reduced: bool,
    /// The window was reduced for what was sent before this number.
    reacted: Option<Seq>,
    /// Bytes delivered with a mark.
    marked_bytes: u64,
    /// Classic: marked packets that have come.
    marked_in: u32,
    reflector: Reflector,
    follower: Follower,
}

impl Ecn {
    /// Nothing is agreed on yet.
    pub const fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            mode: EcnMode::Off,
            asked: Asked::NOTHING,
            may_mark: false,
            heeds: true,
            sent_plain: false,
            owed: None,
            echoes: false,
            reduced: false,
            reacted: None,
            marked_bytes: 0,
            marked_in: 0,
            reflector: Reflector::new(),
            follower: Follower::new(),
        }
    }

    /// What is in force.
    pub const fn mode(&self) -> EcnMode {
        self.mode
    }

    /// The flags of our SYN after so many time-outs.
    pub fn request(&mut self, time_outs: u8) -> Flags {
        let flags = negotiation::request(self.wanted, time_outs);
        self.sent_plain |= flags == Flags::default();
        flags
    }

    /// The SYN-ACK has come. Says whether our SYN met congestion.
    //= spec/rfc3168.txt#section-6.1.1
    //# A host MUST NOT set ECT on data packets unless it has sent at
    //# least one ECN-setup SYN or ECN-setup SYN-ACK packet, and has
    //# received at least one ECN-setup SYN or ECN-setup SYN-ACK packet,
    //# and has sent no non-ECN-setup SYN or non-ECN-setup SYN-ACK
    //# packet.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //# If a TCP Client in AccECN mode receives CE feedback in the TCP flags
    //# of a SYN/ACK, it MUST NOT increment s.cep (it remains at its initial
    //# value of 5), so that it stays in step with r.cep on the Server.
    //# Nonetheless, the TCP Client still triggers the congestion control
    //# actions necessary to respond to the CE feedback.
    pub fn on_answer(&mut self, flags: Flags, arrived: Codepoint, option: Option<&AccurateEcn>) -> bool {
        let (mode, ours) = negotiation::agreed(self.wanted, flags);
        self.mode = mode;
        // Our SYN went without ECT: whatever else it has become, something on the way changes what it should not.
        self.may_mark = match mode {
            EcnMode::Off => false,
            EcnMode::Classic => !self.sent_plain,
            EcnMode::Accurate => ours == Codepoint::NotEct,
        };
        if mode == EcnMode::Accurate {
            self.on_syn_ack(arrived);
            if let Some(option) = option {
                self.follower.on_option(option);
            }
        }
        ours == Codepoint::Ce
    }

    /// A SYN-ACK that has to be answered has come, perhaps again.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //# The TCP Client MUST also use the handshake encoding for the pure ACK
    //# of any retransmitted SYN/ACK that confirms that the TCP Server
    //# supports AccECN.
    fn on_syn_ack(&mut self, arrived: Codepoint) {
        self.owed = Some(arrived);
        if arrived == Codepoint::Ce {
            self.reflector.on_marked_syn_ack();
        }
    }

    /// The peer's SYN-ACK has come again, after the first has opened the connection; what goes next answers it.
    pub fn on_syn_ack_again(&mut self, flags: Flags, arrived: Codepoint) {
        let confirms = negotiation::agreed(self.wanted, flags).0 == EcnMode::Accurate;
        // Marked packets that came since have been counted.
        if self.mode == EcnMode::Accurate && self.asked == Asked::NOTHING && confirms {
            self.owed = Some(arrived);
        }
    }

    /// What has been asked for by the peer's SYN, and our SYN-ACK went so many times more than once.
    pub fn on_asked(&mut self, asked: Asked, time_outs: u8) {
        self.asked = asked;
        self.mode = asked.mode();
        self.may_mark = asked.may_mark(time_outs);
    }

    /// The peer's SYN has come, and a SYN-ACK will answer it.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
    //# Host A MUST then
    //# enter the same feedback mode as it would have entered had it been a
    //# responding host and received the same SYN.
    pub fn on_syn(&mut self, flags: Flags, arrived: Codepoint) {
        self.on_asked(Asked::new(self.wanted, flags, arrived), 0);
        self.may_mark &= !self.sent_plain;
    }

    /// The peer's SYN has come again, and is answered again; false when it contradicts the first.
    pub fn on_syn_again(&mut self, flags: Flags, arrived: Codepoint) -> bool {
        let is_same = self.asked.on_again(self.wanted, flags, arrived);
        self.may_mark &= self.asked.may_mark(0);
        is_same
    }

    /// The peer's answer to our SYN has crossed ours to its own.
    pub fn on_crossed_syn_ack(&mut self, flags: Flags) {
        self.may_mark &= flags.any(Flags::ECN);
    }

    /// The flags of our SYN-ACK after so many time-outs, and its option in no more than `room` bytes.
    pub fn syn_ack(&mut self, time_outs: u8, room: usize) -> (Flags, Option<AccurateEcn>) {
        self.may_mark &= self.asked.may_mark(time_outs);
        syn_ack(&self.asked, time_outs, room)
    }

    /// The first ACK of our SYN-ACK has come; `is_pure` without data and SACK blocks. Says whether the SYN-ACK met
    /// congestion.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //# When an AccECN Server in SYN-RCVD state receives a pure ACK with
    //# SYN=0 and no SACK blocks, instead of treating the ACE field as a
    //# counter, it MUST infer the meaning of each possible value of the ACE
    //# field from [accecn_Tab_SYN-ACK_fb]
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //# for the rest of the connection the Server MUST NOT set ECT on
    //# outgoing packets and MUST NOT respond to AccECN feedback.
    pub fn on_handshake_ack(&mut self, flags: Flags, is_pure: bool) -> bool {
        let ace = Flags(flags.0 & Flags::ECN.0);
        if self.mode != EcnMode::Accurate {
            return false;
        }
        if ace == Flags::default() {
            (self.may_mark, self.heeds) = (false, false);
        }
        let told = |arrived| is_pure && ace == negotiation::handshake_ace(arrived);
        // It went without ECT.
        self.may_mark &= ![Codepoint::Ect1, Codepoint::Ect0, Codepoint::Ce].into_iter().any(told);
        let is_marked = told(Codepoint::Ce);
        if is_marked {
            self.follower.on_marked_syn_ack();
        }
        is_marked
    }

    /// `flags` with those of ECN as if nothing had been marked, for a segment whose own mean something else.
    pub fn no_news(&self, flags: Flags) -> Flags {
        let ace = if self.mode == EcnMode::Accurate { self.follower.no_news() } else { Flags::default() };
        flags.without(Flags::ECN) | ace
    }

    /// An acceptable packet has come, with `len` bytes of payload. Says whether it has to be acknowledged at once; whether
    /// there is data that has not been is `unacked`.
    //= spec/rfc3168.txt#section-6.1.3
    //# When TCP receives a CE data packet at the destination end-system, the
    //# TCP data receiver sets the ECN-Echo flag in the TCP header of the
    //# subsequent ACK packet.
    //= spec/rfc3168.txt#section-6.1.3
    //# After the receipt of the CWR packet, acknowledgments for
    //# subsequent non-CE data packets do not have the ECN-Echo flag set.
    pub fn on_packet(&mut self, flags: Flags, ecn: Codepoint, len: u16, unacked: bool) -> bool {
        match self.mode {
            EcnMode::Off => false,
            EcnMode::Accurate => self.reflector.on_packet(ecn, len, unacked),
            EcnMode::Classic => {
                if flags.has(Flags::CWR) && len > 0 {
                    self.echoes = false;
                }
                if ecn == Codepoint::Ce && len > 0 {
                    self.echoes = true;
                    self.marked_in = self.marked_in.saturating_add(1);
                }
                // A sender that has just reduced its window may have no more than this packet to be told of.
                flags.has(Flags::CWR) && len > 0
            }
        }
    }

    /// The flags for what has ACK and is neither a SYN-ACK nor its answer.
    //= spec/rfc3168.txt#section-6.1.3
    //# After a TCP receiver sends an ACK packet with the ECN-Echo bit set,
    //# that TCP receiver continues to set the ECN-Echo flag in all the ACK
    //# packets it sends (whether they acknowledge CE data packets or non-CE
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2
    //# Whenever a Data Receiver feeds back the value of any counter, it MUST
    //# report the most recent value, no matter whether it is in a pure ACK,
    //# or an ACK piggybacked on a packet used by the other half-connection,
    //# whether new payload data or a retransmission.
    pub fn on_ack_goes(&mut self) -> Flags {
        self.reflector.on_ack_sent(false);
        self.ack_flags()
    }

    fn ack_flags(&self) -> Flags {
        match self.mode {
            EcnMode::Classic if self.echoes => Flags::ECE,
            EcnMode::Accurate => self.reflector.ace(),
            EcnMode::Classic | EcnMode::Off => Flags::default(),
        }
    }

    /// Whether a pure ACK has to go before anything else: the answer to a SYN-ACK.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //# If an AccECN TCP Client intends to acknowledge the SYN/ACK
    //# with a packet that does not satisfy these conditions (e.g., it has
    //# data to include on the ACK), it SHOULD first send a pure ACK that
    //# does satisfy these conditions
    pub const fn owes_pure_ack(&self) -> bool {
        self.owed.is_some()
    }

    /// Whether the next pure ACK goes without SACK blocks.
    pub const fn goes_without_blocks(&self) -> bool {
        self.owed.is_some() || self.reflector.answers_acks()
    }

    /// The flags of a pure ACK, and its option in no more than `room` bytes.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //# A TCP Client (A) in AccECN mode MUST feed back which of the 4
    //# possible values of the IP-ECN field was on the SYN/ACK by writing it
    //# into the ACE field of a pure ACK with no SACK blocks
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.1
    //# A TCP Client that has successfully negotiated AccECN SHOULD include
    //# an AccECN Option in the first ACK at the end of the three-way
    //# handshake.
    pub fn on_pure_ack_goes(&mut self, room: usize) -> (Flags, Option<AccurateEcn>) {
        if self.mode != EcnMode::Accurate {
            return (self.ack_flags(), None);
        }
        if let Some(arrived) = self.owed.take() {
            return (negotiation::handshake_ace(arrived), self.reflector.first_option(room));
        }
        let option = self.reflector.option(room);
        self.reflector.on_ack_sent(option.is_some());
        (self.ack_flags(), option)
    }

    /// What stands in the IP header of data that goes for the first time, and the flag that goes with it.
    //= spec/rfc3168.txt#section-6.1.2
    //# For a TCP connection using ECN, new data packets are transmitted with
    //# an ECT codepoint set in the IP header.  When only one ECT codepoint
    //# is needed by a sender for all packets sent on a TCP connection,
    //# ECT(0) SHOULD be used.
    //= spec/rfc3168.txt#section-6.1.2
    //# the TCP sender sets the CWR flag in
    //# the TCP header of the first new data packet sent after the window
    //# reduction.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST NOT set CWR to indicate that it has received and responded to
    //# indications of congestion.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST NOT set ECT if it is in Not ECN feedback mode.
    pub fn on_new_data(&mut self) -> (Codepoint, Flags) {
        let tells = core::mem::take(&mut self.reduced) && self.mode == EcnMode::Classic;
        let ecn = if self.may_mark { Codepoint::Ect0 } else { Codepoint::NotEct };
        (ecn, if tells { Flags::CWR } else { Flags::default() })
    }

    /// An ACK has delivered `delivered` bytes for the first time, in segments of about `mss`.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //# it first checks whether it has already been superseded
    //# (defined in [accecn_Algo_Option_Coding]) by another ACK in which case
    //# it ignores the ECN feedback.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.5
    //# the Data Sender MUST disable sending ECN-capable packets for the
    //# remainder of the half-connection by setting the IP-ECN field in all
    //# subsequent packets to Not-ECT.
    pub fn on_ack(&mut self, flags: Flags, option: Option<&AccurateEcn>, delivered: u32, mss: u32) -> Told {
        let told = match self.mode {
            EcnMode::Classic if flags.has(Flags::ECE) => Told { bytes: delivered, congested: true },
            EcnMode::Accurate if delivered > 0 => {
                let added = self.follower.on_ack(flags, option, delivered, mss);
                self.may_mark &= !added.mangled;
                Told { bytes: added.bytes, congested: added.packets > 0 }
            }
            _ => return Told::default(),
        };
        if !self.heeds {
            return Told::default();
        }
        self.marked_bytes += u64::from(told.bytes);
        told
    }

    /// Congestion is told of by an ACK of everything before `una`, with `nxt` the next number to send. Says whether it is
    /// the first of its window of data: the window has to be reduced then.
    //= spec/rfc3168.txt#section-6.1.2
    //# TCP should not react to congestion indications more than once every
    //# window of data (or more loosely, more than once every round-trip
    //# time).
    pub fn reacts(&mut self, una: Seq, nxt: Seq) -> bool {
        let is_first = !self.has_reacted(una);
        if is_first {
            self.reacted = Some(nxt);
        }
        is_first
    }

    /// Whether the window was reduced for marks after what lies before `una` was sent.
    pub fn has_reacted(&self, una: Seq) -> bool {
        self.reacted.is_some_and(|until| !una.after(until))
    }

    /// Everything before `una` is acknowledged.
    pub fn on_progress(&mut self, una: Seq) {
        if !self.has_reacted(una) {
            self.reacted = None;
        }
    }

    /// The congestion window has become smaller, for whatever reason.
    //= spec/rfc3168.txt#section-6.1.2
    //# When an ECN-Capable TCP sender reduces its congestion window for any
    //# reason (because of a retransmit timeout, a Fast Retransmit, or in
    //# response to an ECN Notification), the TCP sender sets the CWR flag in
    //# the TCP header of the first new data packet sent after the window
    //# reduction.
    pub fn on_reduced(&mut self) {
        self.reduced = true;
    }

    /// Bytes delivered with a mark, and marked packets that have come.
    pub const fn marks(&self) -> (u64, u32) {
        let received = match self.mode {
            EcnMode::Accurate => self.reflector.marked(),
            EcnMode::Classic | EcnMode::Off => self.marked_in,
        };
        (self.marked_bytes, received)
    }
}

/// The flags of the SYN-ACK that answers what was `asked` for, after so many time-outs, and its option in no more than
/// `room` bytes.
pub fn syn_ack(asked: &Asked, time_outs: u8, room: usize) -> (Flags, Option<AccurateEcn>) {
    let option = if asked.has_option(time_outs) { Reflector::new().first_option(room) } else { None };
    (asked.answer(time_outs), option)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: Flags = Flags(Flags::CWR.0 | Flags::ECE.0);

    fn classic() -> Ecn {
        let mut ecn = Ecn::new(Wanted::Passive);
        ecn.on_syn(SETUP, Codepoint::NotEct);
        ecn
    }

    fn accurate() -> Ecn {
        let mut ecn = Ecn::new(Wanted::Passive);
        ecn.on_syn(Flags::ECN, Codepoint::NotEct);
        ecn
    }

    //= spec/rfc3168.txt#section-6.1.3
    //= type=test
    //# After a TCP receiver sends an ACK packet with the ECN-Echo bit set,
    //# that TCP receiver continues to set the ECN-Echo flag in all the ACK
    //# packets it sends (whether they acknowledge CE data packets or non-CE
    #[test]
    fn classic_echoes_a_mark_until_it_is_answered() {
        let mut ecn = classic();
        ecn.on_packet(Flags::ACK, Codepoint::Ce, 0, false);
        assert_eq!(ecn.on_ack_goes(), Flags::default(), "a pure ACK has no mark that counts");
        ecn.on_packet(Flags::ACK, Codepoint::Ce, 10, false);
        ecn.on_packet(Flags::ACK, Codepoint::Ect0, 10, false);
        assert_eq!((ecn.on_ack_goes(), ecn.on_pure_ack_goes(40)), (Flags::ECE, (Flags::ECE, None)));
        assert!(ecn.on_packet(Flags::ACK | Flags::CWR, Codepoint::Ect0, 10, false));
        assert_eq!(ecn.on_ack_goes(), Flags::default());
        ecn.on_packet(Flags::ACK | Flags::CWR, Codepoint::Ce, 10, false);
        assert_eq!(ecn.on_ack_goes(), Flags::ECE, "a new mark on the answer itself");
        assert_eq!(ecn.marks(), (0, 2));
    }

    //= spec/rfc3168.txt#section-6.1.2
    //= type=test
    //# TCP should not react to congestion indications more than once every
    //# window of data (or more loosely, more than once every round-trip
    //# time).
    //= spec/rfc3168.txt#section-6.1.2
    //= type=test
    //# the TCP sender sets the CWR flag in
    //# the TCP header of the first new data packet sent after the window
    //# reduction.
    #[test]
    fn a_window_is_reduced_once_and_that_is_told_once() {
        let mut ecn = classic();
        assert_eq!(ecn.on_new_data(), (Codepoint::Ect0, Flags::default()));
        assert_eq!(ecn.on_ack(Flags::ACK | Flags::ECE, None, 7, 1000), Told { bytes: 7, congested: true });
        assert!(ecn.reacts(Seq(10), Seq(100)));
        ecn.on_reduced();
        assert!(!ecn.reacts(Seq(11), Seq(200)) && !ecn.reacts(Seq(100), Seq(200)));
        assert_eq!(ecn.on_new_data(), (Codepoint::Ect0, Flags::CWR));
        assert_eq!(ecn.on_new_data(), (Codepoint::Ect0, Flags::default()));
        assert!(ecn.reacts(Seq(101), Seq(200)));
        ecn.on_progress(Seq(201));
        assert!(!ecn.has_reacted(Seq(201) + (1 << 31) + 5), "what is long ago does not come back");
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST NOT set CWR to indicate that it has received and responded to
    //# indications of congestion.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST NOT set ECT if it is in Not ECN feedback mode.
    #[test]
    fn accurate_has_no_answer_and_without_ecn_nothing_is_said() {
        let mut ecn = accurate();
        ecn.on_reduced();
        assert_eq!(ecn.on_new_data(), (Codepoint::Ect0, Flags::default()));
        let mut off = Ecn::new(Wanted::Passive);
        off.on_syn(Flags::default(), Codepoint::Ce);
        off.on_reduced();
        off.on_packet(Flags::ACK, Codepoint::Ce, 10, false);
        assert_eq!((off.on_new_data(), off.on_ack_goes()), ((Codepoint::NotEct, Flags::default()), Flags::default()));
        assert_eq!(off.on_ack(Flags::ACK | Flags::ECN, None, 1000, 1000), Told::default());
    }

    /// RFC 9768, the table of section 3.2.2.1 for the server.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //= type=test
    //# When an AccECN Server in SYN-RCVD state receives a pure ACK with
    //# SYN=0 and no SACK blocks, instead of treating the ACE field as a
    //# counter, it MUST infer the meaning of each possible value of the ACE
    //# field from [accecn_Tab_SYN-ACK_fb]
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //= type=test
    //# for the rest of the connection the Server MUST NOT set ECT on
    //# outgoing packets and MUST NOT respond to AccECN feedback.
    #[test]
    fn the_first_ack_tells_how_the_syn_ack_arrived() {
        for (ace, marks, reduces, next) in [
            (0, false, false, 5),
            (1, true, false, 5),
            (2, true, false, 5),
            (3, false, false, 5),
            (4, false, false, 5),
            (5, true, false, 5),
            (6, false, true, 6),
            (7, true, false, 5),
        ] {
            let mut ecn = accurate();
            assert_eq!(ecn.on_handshake_ack(Flags::ACK | Flags(ace << 6), true), reduces, "{ace}");
            assert_eq!(ecn.on_new_data().0 == Codepoint::Ect0, marks, "{ace}");
            assert_eq!(ecn.no_news(Flags::ACK), Flags::ACK | Flags(next << 6));
            let heeded = ecn.on_ack(Flags::ACK | Flags(((next + 1) % 8) << 6), None, 1000, 1000);
            assert_eq!(heeded.congested, ace != 0);
        }
        let mut ecn = accurate();
        assert!(!ecn.on_handshake_ack(Flags::ACK | Flags(6 << 6), false), "with data it is a counter");
        assert_eq!(ecn.on_new_data().0, Codepoint::Ect0);
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //= type=test
    //# A TCP Client (A) in AccECN mode MUST feed back which of the 4
    //# possible values of the IP-ECN field was on the SYN/ACK by writing it
    //# into the ACE field of a pure ACK with no SACK blocks
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
    //= type=test
    //# The TCP Client MUST also use the handshake encoding for the pure ACK
    //# of any retransmitted SYN/ACK that confirms that the TCP Server
    //# supports AccECN.
    #[test]
    fn the_client_tells_how_the_syn_ack_arrived() {
        for (arrived, ace, counter) in
            [(Codepoint::NotEct, 2, 5), (Codepoint::Ect1, 3, 5), (Codepoint::Ect0, 4, 5), (Codepoint::Ce, 6, 6)]
        {
            let mut ecn = Ecn::new(Wanted::Accurate);
            assert_eq!(ecn.request(0), Flags::ECN);
            assert!(!ecn.on_answer(Flags::CWR, arrived, None));
            assert!(ecn.owes_pure_ack() && ecn.goes_without_blocks());
            let first = Some(AccurateEcn::new(false, [1, 0, 1]));
            assert_eq!(ecn.on_pure_ack_goes(40), (Flags(ace << 6), first));
            assert_eq!(ecn.on_ack_goes(), Flags(counter << 6));
            ecn.on_syn_ack_again(Flags::CWR, arrived);
            assert_eq!(ecn.on_pure_ack_goes(0), (Flags(ace << 6), None));
            ecn.on_syn_ack_again(Flags::default(), arrived);
            assert_eq!(ecn.on_pure_ack_goes(0), (Flags(counter << 6), None));
        }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //= type=test
    //# If a TCP Client in AccECN mode receives CE feedback in the TCP flags
    //# of a SYN/ACK, it MUST NOT increment s.cep (it remains at its initial
    //# value of 5)
    #[test]
    fn a_syn_that_arrives_changed_ends_marking_for_the_client() {
        for (answer, congested) in [(Flags::AE, false), (SETUP, false), (Flags::AE | Flags::CWR, true)] {
            let mut ecn = Ecn::new(Wanted::Accurate);
            assert_eq!(ecn.on_answer(answer, Codepoint::NotEct, None), congested);
            assert_eq!((ecn.mode(), ecn.on_new_data().0), (EcnMode::Accurate, Codepoint::NotEct));
            assert_eq!(ecn.no_news(Flags::default()), Flags(5 << 6));
        }
    }

    //= spec/rfc3168.txt#section-6.1.1
    //= type=test
    //# A host MUST NOT set ECT on data packets unless it has sent at
    //# least one ECN-setup SYN or ECN-setup SYN-ACK packet, and has
    //# received at least one ECN-setup SYN or ECN-setup SYN-ACK packet,
    //# and has sent no non-ECN-setup SYN or non-ECN-setup SYN-ACK
    //# packet.
    #[test]
    fn after_a_syn_without_ecn_only_accurate_marks() {
        for (wanted, answer, expected) in [
            (Wanted::Classic, Flags::ECE, Codepoint::NotEct),
            (Wanted::Accurate, Flags::ECE, Codepoint::NotEct),
            (Wanted::Accurate, Flags::CWR, Codepoint::Ect0),
        ] {
            let mut ecn = Ecn::new(wanted);
            (0..3).for_each(|time_outs| _ = ecn.request(time_outs));
            ecn.on_answer(answer, Codepoint::NotEct, None);
            assert_eq!(ecn.on_new_data().0, expected);
        }
    }
}
