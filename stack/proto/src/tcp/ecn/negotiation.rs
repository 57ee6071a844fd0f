//! What the two SYNs agree on (RFC 3168 6.1.1, RFC 9768 3.1): the flags of ours, and what those of the peer's mean.

use crate::tcp::config::Ecn;
use crate::tcp::info::EcnMode;
use crate::tcp::segment::{Codepoint, Flags};

/// The flags that ask for classic ECN.
const CLASSIC_SYN: Flags = Flags(Flags::CWR.0 | Flags::ECE.0);

/// A SYN or SYN-ACK with ECN goes so often; what goes after that goes without, for there are middleboxes that drop it.
const TRIES: u8 = 2;

/// The three flags of `flags` that speak of ECN.
const fn of(flags: Flags) -> Flags {
    Flags(flags.0 & Flags::ECN.0)
}

/// The flags of our SYN after so many time-outs.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.1
//# to
//# request more Accurate ECN feedback the TCP Client (host A) MUST set
//# the TCP flags (AE,CWR,ECE) = (1,1,1) in the initial SYN segment.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.4.1
//# it SHOULD attempt to negotiate the use of
//# AccECN at least one more time by continuing to set all three TCP ECN
//# flags (AE,CWR,ECE) = (1,1,1) on the first retransmitted SYN
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.4.1
//# the TCP Client SHOULD send
//# subsequent retransmissions of the SYN with the three TCP-ECN flags
//# cleared (AE,CWR,ECE) = (0,0,0).
//= spec/rfc3168.txt#section-6.1.1.1
//# A host that receives no reply to an ECN-setup SYN within the normal
//# SYN retransmission timeout interval MAY resend the SYN and any
//# subsequent SYN retransmissions with CWR and ECE cleared.
pub(super) fn request(wanted: Ecn, time_outs: u8) -> Flags {
    match wanted {
        Ecn::Classic if time_outs < TRIES => CLASSIC_SYN,
        Ecn::Accurate if time_outs < TRIES => Flags::ECN,
        _ => Flags(0),
    }
}

/// What a SYN-ACK with `answer` agrees to when our SYN asked for `wanted`, and how our SYN has arrived as far as it tells.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
//# The second block shows the cases where the TCP Client (A) supports
//# AccECN but the TCP Server (B) supports some earlier variant of TCP
//# feedback, indicated in its SYN/ACK. Therefore, as soon as an AccECN-
//# capable TCP Client (A) receives the SYN/ACK shown it MUST set both
//# its half connections into the feedback mode shown in the rightmost
//# column.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
//# as soon as an AccECN-capable TCP Client (A)
//# receives such a broken SYN/ACK it MUST fall back to Not ECN mode for
//# both its half connections and continue with ECN disabled.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.3
//# the Client MUST enable AccECN
//# mode as if the SYN/ACK confirmed that the Server supported AccECN and
//# as if it fed back that the IP-ECN field on the SYN had arrived
//# unchanged.
//= spec/rfc3168.txt#section-6.1.1
//# Receivers MUST correctly handle all forms of the non-ECN-setup
//# SYN and SYN-ACK packets.
pub(super) fn agreed(wanted: Ecn, answer: Flags) -> (EcnMode, Codepoint) {
    let (ae, cwr, ece) = (answer.has(Flags::AE), answer.has(Flags::CWR), answer.has(Flags::ECE));
    match (wanted, (ae, cwr, ece)) {
        (Ecn::Accurate, (false, false, true)) | (Ecn::Classic, (_, false, true)) => {
            (EcnMode::Classic, Codepoint::NotEct)
        }
        (Ecn::Accurate, (false, true, false) | (true, false, true)) => (EcnMode::Accurate, Codepoint::NotEct),
        (Ecn::Accurate, (false, true, true)) => (EcnMode::Accurate, Codepoint::Ect1),
        (Ecn::Accurate, (true, false, false)) => (EcnMode::Accurate, Codepoint::Ect0),
        (Ecn::Accurate, (true, true, false)) => (EcnMode::Accurate, Codepoint::Ce),
        _ => (EcnMode::Off, Codepoint::NotEct),
    }
}

/// How a SYN or SYN-ACK has arrived, in the three bits of the ACE field (RFC 9768 3.2.2.1).
pub(super) const fn handshake_ace(arrived: Codepoint) -> Flags {
    match arrived {
        Codepoint::NotEct => Flags::CWR,
        Codepoint::Ect1 => CLASSIC_SYN,
        Codepoint::Ect0 => Flags::AE,
        Codepoint::Ce => Flags(Flags::AE.0 | Flags::CWR.0),
    }
}

/// What the SYNs of a peer have asked for, as long as our SYN-ACK is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    mode: EcnMode,
    /// The ECN field of the latest SYN.
    arrived: Codepoint,
    /// A SYN without ECN came after one with it.
    plain: bool,
    /// A SYN came more than once.
    again: bool,
}

impl Asked {
    /// No ECN, or no SYN.
    pub const NOTHING: Self = Self { mode: EcnMode::Off, arrived: Codepoint::NotEct, plain: false, again: false };

    /// By the first SYN, for a side that is willing to do what `ours` says.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.1
    //# If a TCP Server (host B) that is AccECN-enabled receives a SYN with
    //# the above three flags set, it MUST set both its half connections into
    //# AccECN mode.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
    //# When an AccECN-enabled TCP Server (B) receives a SYN with
    //# (AE,CWR,ECE) = (0,0,0) it MUST set both its half connections into the
    //# Not ECN feedback mode,
    pub fn new(ours: Ecn, flags: Flags, arrived: Codepoint) -> Self {
        Self { mode: Self::mode_of(ours, flags), arrived, plain: false, again: false }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.3
    //# If a TCP Server that implements AccECN receives a SYN with the three
    //# TCP header flags (AE,CWR,ECE) set to any combination other than
    //# (0,0,0), (0,1,1) or (1,1,1) and it does not have logic specific to
    //# such a combination, the Server MUST negotiate the use of AccECN as if
    //# the three flags had been set to (1,1,1).
    fn mode_of(ours: Ecn, flags: Flags) -> EcnMode {
        match (ours, of(flags)) {
            (Ecn::Off, _) | (_, Flags(0)) => EcnMode::Off,
            (Ecn::Classic, flags) if !flags.has(CLASSIC_SYN) => EcnMode::Off,
            (Ecn::Classic, _) | (_, CLASSIC_SYN) => EcnMode::Classic,
            _ => EcnMode::Accurate,
        }
    }

    /// What a SYN must have asked for whose SYN-ACK nobody remembers. `classic` is what the SYN-ACK's timestamp tells,
    /// `flags` are those of the ACK.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-5.1
    //# If a TCP Server using SYN Cookies supports AccECN and if it
    //# receives a pure ACK that acknowledges an ISN that is a valid SYN
    //# cookie, and if the ACK contains an ACE field with the value 0b010 to
    //# 0b111 (decimal 2 to 7), the Server can infer the first two stages of
    //# the handshake:
    pub fn by_cookie(ours: Ecn, classic: bool, flags: Flags) -> Self {
        let flags = match of(flags) {
            _ if classic => CLASSIC_SYN,
            Flags(0) | Flags::ECE => Flags(0),
            _ if matches!(ours, Ecn::Passive | Ecn::Accurate) => Flags::ECN,
            _ => Flags(0),
        };
        Self::new(ours, flags, Codepoint::NotEct)
    }

    /// The peer's SYN has come again; false when the connection has to be reset.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST NOT switch into a different feedback mode to the one it first
    //# entered according to [accecn_Tab_Negotiation], no matter whether it
    //# subsequently receives valid SYNs or Acceptable SYN/ACKs of different
    //# types.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST reset the connection with a RST packet, if it receives a
    //# 'Classic' ECN-setup SYN with (AE,CWR,ECE) = (0,1,1) and a SYN
    //# requesting AccECN feedback during the same handshake;
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST feed back the IP-ECN field on the latest valid SYN or acceptable
    //# SYN/ACK to arrive.
    pub fn on_again(&mut self, ours: Ecn, flags: Flags, arrived: Codepoint) -> bool {
        let other = Self::mode_of(ours, flags);
        (self.arrived, self.again) = (arrived, true);
        self.plain |= other == EcnMode::Off;
        self.mode == EcnMode::Off || other == EcnMode::Off || other == self.mode
    }

    /// What has been agreed on.
    pub const fn mode(&self) -> EcnMode {
        self.mode
    }

    /// The flags of our SYN-ACK after so many time-outs.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.1
    //# Then it MUST set the AE, CWR and ECE TCP flags on the
    //# SYN/ACK to the combination in the top block of
    //# [accecn_Tab_Negotiation] that feeds back the IP-ECN field that
    //# arrived on the SYN.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.2
    //# If this
    //# retransmission times out, to expedite connection setup, the TCP
    //# Server SHOULD retransmit the SYN/ACK with (AE,CWR,ECE) = (0,0,0) and
    //# no AccECN Option, but it remains in AccECN feedback mode
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# SHOULD acknowledge a valid SYN arriving with (AE,CWR,ECE) = (0,0,0)
    //# by emitting an AccECN SYN/ACK
    //= spec/rfc3168.txt#section-6.1.1
    //# When Host B sends an ECN-setup SYN-ACK packet, it sets the ECE flag
    //# but not the CWR flag.
    pub fn answer(&self, time_outs: u8) -> Flags {
        match self.mode {
            EcnMode::Classic if !self.plain => Flags::ECE,
            EcnMode::Accurate if time_outs < TRIES => handshake_ace(self.arrived),
            _ => Flags(0),
        }
    }

    /// Whether our SYN-ACK after so many time-outs has an `AccECN` option.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.1
    //# SHOULD include an AccECN TCP Option on the SYN/ACK.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.2
    //# To expedite connection setup in deployment scenarios
    //# where AccECN path traversal might be problematic, the TCP Server
    //# SHOULD retransmit the SYN/ACK, but with no AccECN Option.
    pub fn has_option(&self, time_outs: u8) -> bool {
        self.mode == EcnMode::Accurate && time_outs == 0 && !self.again
    }

    /// Whether what we send may say that it is ECN-capable when the SYN-ACK went `time_outs` times more than once.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //# MUST NOT set ECT on any packet for the rest of the connection, if it
    //# has received or sent at least one valid SYN or Acceptable SYN/ACK
    //# with (AE,CWR,ECE) = (0,0,0) during the handshake.
    //= spec/rfc3168.txt#section-6.1.1
    //# If a host has received at least one non-ECN-setup SYN
    //# or non-ECN-setup SYN-ACK packet, then it SHOULD NOT set ECT on
    //# data packets.
    pub(super) fn may_mark(&self, time_outs: u8) -> bool {
        match self.mode {
            EcnMode::Off => false,
            EcnMode::Classic => !self.plain,
            EcnMode::Accurate => !self.plain && time_outs < TRIES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Codepoint::{Ce, Ect0, Ect1, NotEct};

    const NONE: Flags = Flags(0);
    const AE: Flags = Flags::AE;
    const CWR: Flags = Flags::CWR;
    const ECE: Flags = Flags::ECE;

    /// The table of section 3.1.2, seen from the client: what it asks for, the SYN-ACK, the mode.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
    //= type=test
    //# as soon as an AccECN-
    //# capable TCP Client (A) receives the SYN/ACK shown it MUST set both
    //# its half connections into the feedback mode shown in the rightmost
    //# column.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
    //= type=test
    //# as soon as an AccECN-capable TCP Client (A)
    //# receives such a broken SYN/ACK it MUST fall back to Not ECN mode for
    //# both its half connections and continue with ECN disabled.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.3
    //= type=test
    //# the Client MUST enable AccECN
    //# mode as if the SYN/ACK confirmed that the Server supported AccECN and
    //# as if it fed back that the IP-ECN field on the SYN had arrived
    //# unchanged.
    //= spec/rfc3168.txt#section-6.1.1
    //= type=test
    //# Receivers MUST correctly handle all forms of the non-ECN-setup
    //# SYN and SYN-ACK packets.
    #[test]
    fn each_row_of_the_table_for_the_client() {
        use EcnMode::{Accurate, Classic, Off};
        let rows = [
            (NONE, (Off, NotEct), Off),
            (ECE, (Classic, NotEct), Classic),
            (CWR, (Accurate, NotEct), Off),
            (CWR | ECE, (Accurate, Ect1), Off),
            (AE, (Accurate, Ect0), Off),
            (AE | ECE, (Accurate, NotEct), Classic),
            (AE | CWR, (Accurate, Ce), Off),
            (AE | CWR | ECE, (Off, NotEct), Off),
        ];
        for (answer, accurate, classic) in rows {
            let answer = answer | Flags::SYN | Flags::ACK;
            assert_eq!(agreed(Ecn::Accurate, answer), accurate, "{answer:?}");
            assert_eq!(agreed(Ecn::Classic, answer).0, classic, "{answer:?}");
            assert_eq!(agreed(Ecn::Passive, answer).0, Off, "{answer:?}");
            assert_eq!(agreed(Ecn::Off, answer).0, Off, "{answer:?}");
        }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.1
    //= type=test
    //# Then it MUST set the AE, CWR and ECE TCP flags on the
    //# SYN/ACK to the combination in the top block of
    //# [accecn_Tab_Negotiation] that feeds back the IP-ECN field that
    //# arrived on the SYN.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.3
    //= type=test
    //# the Server MUST negotiate the use of AccECN as if
    //# the three flags had been set to (1,1,1).
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.2
    //= type=test
    //# When an AccECN-enabled TCP Server (B) receives a SYN with
    //# (AE,CWR,ECE) = (0,0,0) it MUST set both its half connections into the
    //# Not ECN feedback mode,
    #[test]
    fn each_row_of_the_table_for_the_server() {
        for bits in 0..8u16 {
            let flags = Flags(bits << 6);
            for (arrived, accurate) in [(NotEct, CWR), (Ect1, CWR | ECE), (Ect0, AE), (Ce, AE | CWR)] {
                let answer = |ours| Asked::new(ours, flags | Flags::SYN, arrived).answer(0);
                assert_eq!(answer(Ecn::Off), NONE);
                let expected = match bits {
                    0 => NONE,
                    0b011 => ECE,
                    _ => accurate,
                };
                assert_eq!((answer(Ecn::Passive), answer(Ecn::Accurate)), (expected, expected), "{flags:?}");
                assert_eq!(answer(Ecn::Classic), if flags.has(CWR | ECE) { ECE } else { NONE }, "{flags:?}");
            }
        }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.4.1
    //= type=test
    //# the TCP Client SHOULD send
    //# subsequent retransmissions of the SYN with the three TCP-ECN flags
    //# cleared (AE,CWR,ECE) = (0,0,0).
    #[test]
    fn a_syn_asks_twice() {
        let asks = |wanted| [0, 1, 2, 7].map(|time_outs| request(wanted, time_outs));
        assert_eq!(asks(Ecn::Accurate), [AE | CWR | ECE, AE | CWR | ECE, NONE, NONE]);
        assert_eq!(asks(Ecn::Classic), [CWR | ECE, CWR | ECE, NONE, NONE]);
        assert_eq!((asks(Ecn::Passive), asks(Ecn::Off)), ([NONE; 4], [NONE; 4]));
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.2
    //= type=test
    //# the TCP Server
    //# SHOULD retransmit the SYN/ACK, but with no AccECN Option.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST NOT set ECT on any packet for the rest of the connection, if it
    //# has received or sent at least one valid SYN or Acceptable SYN/ACK
    //# with (AE,CWR,ECE) = (0,0,0) during the handshake.
    #[test]
    fn a_syn_ack_gives_up_its_option_and_then_its_flags() {
        let asked = Asked::new(Ecn::Passive, AE | CWR | ECE, NotEct);
        let sent = |time_outs| (asked.answer(time_outs), asked.has_option(time_outs), asked.may_mark(time_outs));
        assert_eq!([0, 1, 2].map(sent), [(CWR, true, true), (CWR, false, true), (NONE, false, false)]);
        let classic = Asked::new(Ecn::Passive, CWR | ECE, NotEct);
        assert!([0, 1, 7].iter().all(|&n| (classic.answer(n), classic.has_option(n)) == (ECE, false)));
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST NOT switch into a different feedback mode to the one it first
    //# entered according to [accecn_Tab_Negotiation], no matter whether it
    //# subsequently receives valid SYNs or Acceptable SYN/ACKs of different
    //# types.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST reset the connection with a RST packet, if it receives a
    //# 'Classic' ECN-setup SYN with (AE,CWR,ECE) = (0,1,1) and a SYN
    //# requesting AccECN feedback during the same handshake;
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
    //= type=test
    //# MUST feed back the IP-ECN field on the latest valid SYN or acceptable
    //# SYN/ACK to arrive.
    #[test]
    fn the_first_syn_decides_and_the_latest_is_answered() {
        let mut asked = Asked::new(Ecn::Passive, AE | CWR | ECE, NotEct);
        assert!(asked.on_again(Ecn::Passive, AE | CWR | ECE, Ce));
        assert_eq!((asked.answer(0), asked.has_option(0), asked.may_mark(0)), (AE | CWR, false, true));
        assert!(asked.on_again(Ecn::Passive, NONE, NotEct));
        assert_eq!((asked.mode(), asked.answer(0), asked.may_mark(0)), (EcnMode::Accurate, CWR, false));
        assert!(!asked.on_again(Ecn::Passive, CWR | ECE, NotEct));
        let mut classic = Asked::new(Ecn::Passive, CWR | ECE, NotEct);
        assert!(!classic.on_again(Ecn::Passive, AE | CWR | ECE, NotEct));
        let mut off = Asked::new(Ecn::Passive, NONE, NotEct);
        assert!(off.on_again(Ecn::Passive, AE | CWR | ECE, NotEct));
        assert_eq!((off.mode(), off.answer(0)), (EcnMode::Off, NONE));
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-5.1
    //= type=test
    //# if the ACK contains an ACE field with the value 0b010 to
    //# 0b111 (decimal 2 to 7), the Server can infer the first two stages of
    //# the handshake:
    #[test]
    fn an_ack_tells_what_a_cookie_does_not() {
        for bits in 0..8u16 {
            let mode = |ours, classic| Asked::by_cookie(ours, classic, Flags(bits << 6) | Flags::ACK).mode();
            let expected = if bits < 2 { EcnMode::Off } else { EcnMode::Accurate };
            assert_eq!((mode(Ecn::Passive, false), mode(Ecn::Classic, false)), (expected, EcnMode::Off), "{bits}");
            assert_eq!((mode(Ecn::Passive, true), mode(Ecn::Off, true)), (EcnMode::Classic, EcnMode::Off), "{bits}");
        }
    }
}
