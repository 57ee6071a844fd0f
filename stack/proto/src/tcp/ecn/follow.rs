//! The sender of accurate ECN (RFC 9768 3.2.2): it follows the receiver's counters.

use super::FIRST_CEP;
use crate::tcp::segment::{AccurateEcn, Flags};

/// With so many segments an ACK on average, or more, the peer merges what it acknowledges; eight of them in one ACK say
/// nothing then of ACKs that got lost. In eighths of a segment.
const MERGES: u16 = 4 * 8;

/// What an ACK adds to the counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Added {
    /// Packets marked.
    pub(super) packets: u32,
    /// Their bytes, as far as it can be known.
    pub(super) bytes: u32,
    /// The peer's two accounts contradict each other.
    pub(super) mangled: bool,
}

/// s.cep and s.ceb, and what is needed to tell how often the three bits have wrapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    cep: u32,
    ceb: u32,
    /// s.cep at the last option.
    cep_at_option: u32,
    /// Bytes that were reckoned from packets since the last option, which will tell of them again.
    estimated: u32,
    /// Segments that an ACK covers on average, in eighths.
    stretch: u16,
    /// The options are not believed.
    ignores_options: bool,
    /// An option has come.
    seen_option: bool,
}

impl Follower {
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.1
    //# When a host enters AccECN mode, in its role as a Data Sender it
    //# initializes its counters to s.cep = 5, s.e0b = s.e1b = 1 and s.ceb =
    //# 0.
    pub(super) const fn new() -> Self {
        Self {
            cep: FIRST_CEP,
            ceb: 0,
            cep_at_option: FIRST_CEP,
            estimated: 0,
            stretch: 2 * 8,
            ignores_options: false,
            seen_option: false,
        }
    }

    /// The peer has told that our SYN-ACK was marked.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //# If a TCP Server in AccECN mode and in SYN-RCVD state receives CE
    //# feedback in the TCP flags of a pure ACK with no SACK blocks, it MUST
    //# increment s.cep (from 5 to 6).
    pub(super) fn on_marked_syn_ack(&mut self) {
        self.cep = FIRST_CEP + 1;
        self.cep_at_option = self.cep;
    }

    /// The flags that tell of nothing new.
    pub(super) const fn no_news(&self) -> Flags {
        Flags((self.cep as u16 & 0b111) << 6)
    }

    /// Takes the first option, if there is one, or says that it is worth nothing.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.4
    //# Also note that the initial value of either field might be
    //# greater than its expected initial value, because the counters might
    //# already have been incremented.
    pub(super) fn on_option(&mut self, option: &AccurateEcn) {
        if !self.seen_option {
            self.seen_option = true;
            self.ignores_options = option.ect0() == Some(0) || option.ect1() == Some(0);
        }
    }

    /// An ACK has delivered `delivered` bytes, the first that does so, in segments of about `mss`.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //# It takes the least significant 3 bits of its local s.cep counter and
    //# subtracts them from the incoming ACE counter to work out the minimum
    //# positive increment it could apply to s.cep (assuming the ACE field
    //# only wrapped at most once).
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.2
    //# If the Data Sender has not received AccECN TCP Options to give it
    //# more dependable information, and it detects that the ACE field could
    //# have cycled, it SHOULD deem whether it cycled by taking the safest
    //# likely case under the prevailing conditions.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.5
    //# An endpoint using AccECN feedback MUST always reconcile
    //# the information provided in the ACE field with that in any AccECN
    //# Option, so that the state of the ACE-related packet counter can be
    //# relied on if future feedback does not carry an AccECN Option.
    pub(super) fn on_ack(&mut self, flags: Flags, option: Option<&AccurateEcn>, delivered: u32, mss: u32) -> Added {
        if let Some(option) = option {
            self.on_option(option);
        }
        let mss = mss.max(1);
        let segments = delivered.div_ceil(mss);
        let merges = self.stretch >= MERGES;
        let sample = u16::try_from(segments.min(64) * 8).unwrap_or(u16::MAX);
        self.stretch = self.stretch - self.stretch / 8 + sample / 8;
        let ace = u32::from((flags.0 & Flags::ECN.0) >> 6);
        let least = ace.wrapping_sub(self.cep) & 0b111;
        // RFC 9768 A.2.1: as if every segment had been marked.
        let safest = if least < segments { segments - ((segments - least) & 0b111) } else { least };
        let told = option.filter(|_| !self.ignores_options).map(|option| option.ce().map_or(0, |ce| self.newer(ce)));
        let packets = match told {
            // RFC 9768 A.2.2: whole segments explain the bytes.
            Some(bytes) if fits(bytes, least, safest, mss) => least,
            None if merges => least,
            _ => safest,
        };
        self.cep = self.cep.wrapping_add(packets);
        let Some(bytes) = told else {
            let bytes = packets.saturating_mul(mss).min(delivered);
            self.estimated = self.estimated.saturating_add(bytes);
            return Added { packets, bytes, mangled: false };
        };
        self.ceb = self.ceb.wrapping_add(bytes);
        let mangled = bytes > 0 && self.cep == self.cep_at_option && segments < 8;
        self.cep_at_option = self.cep;
        let new = bytes.saturating_sub(core::mem::take(&mut self.estimated));
        Added { packets, bytes: new.min(delivered), mangled }
    }

    /// How far the counter of bytes has moved; one that has gone back has not.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.1
    //# For each field, it takes the least
    //# significant 24 bits of its associated local counter (s.ceb, s.e0b or
    //# s.e1b) and subtracts them from the counter in the associated field of
    //# the incoming AccECN Option
    fn newer(&self, field: u32) -> u32 {
        let bytes = field.wrapping_sub(self.ceb) & 0xff_ffff;
        if bytes < 1 << 23 { bytes } else { 0 }
    }
}

/// Whether `least` packets of no more than `mss` bytes explain `bytes`, and `safest` would be too small for segments.
fn fits(bytes: u32, least: u32, safest: u32, mss: u32) -> bool {
    let (bytes, least, safest, mss) = (u64::from(bytes), u64::from(least), u64::from(safest), u64::from(mss));
    least == safest || bytes <= least * mss && 2 * bytes < safest * mss
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ace(bits: u16) -> Flags {
        Flags::ACK | Flags(bits << 6)
    }

    fn ce(bytes: u32) -> AccurateEcn {
        AccurateEcn::new(false, [1, bytes])
    }

    fn added(packets: u32, bytes: u32) -> Added {
        Added { packets, bytes, mangled: false }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
    //= type=test
    //# It takes the least significant 3 bits of its local s.cep counter and
    //# subtracts them from the incoming ACE counter to work out the minimum
    //# positive increment it could apply to s.cep (assuming the ACE field
    //# only wrapped at most once).
    #[test]
    fn the_field_wraps_and_the_count_goes_on() {
        let mut follower = Follower::new();
        let mut cep = 5;
        for marks in [0, 1, 2, 3, 7, 0, 5, 4] {
            cep += marks;
            assert_eq!(follower.on_ack(ace(cep as u16 % 8), None, 7000, 1000).packets, marks);
        }
        assert_eq!(follower.cep - FIRST_CEP, 22);
    }

    /// The examples of appendix A.2.1.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.5.2
    //= type=test
    //# it SHOULD deem whether it cycled by taking the safest
    //# likely case under the prevailing conditions.
    #[test]
    fn a_long_silence_counts_as_marks_unless_the_peer_always_merges() {
        assert_eq!(Follower::new().on_ack(ace(7), None, 9_000, 1000), added(2, 2000));
        assert_eq!(Follower::new().on_ack(ace(7), None, 10_000, 1000), added(10, 10_000));
        let mut merging = Follower::new();
        (0..20).for_each(|_| assert!(merging.on_ack(merging.no_news(), None, 7_000, 1000).packets == 0));
        assert_eq!(merging.on_ack(ace(7), None, 10_000, 1000), added(2, 2000));
    }

    /// The examples of appendix A.2.2, with a segment of 1460 bytes.
    #[test]
    fn bytes_tell_how_often_the_field_has_wrapped() {
        let case = |least: u16, segments: u32, bytes: u32| {
            Follower::new().on_ack(ace((5 + least) % 8), Some(&ce(bytes)), segments * 1460, 1460).packets
        };
        assert_eq!(case(0, 8, 1460), 8);
        assert_eq!(case(2, 10, 1460), 2);
        assert_eq!(case(7, 15, 10_200), 7);
        assert_eq!(case(0, 40, 0), 0);
    }

    #[test]
    fn what_was_reckoned_is_not_counted_again() {
        let mut follower = Follower::new();
        assert_eq!(follower.on_ack(ace(6), None, 2000, 1000), added(1, 1000));
        assert_eq!(follower.on_ack(ace(7), Some(&ce(1900)), 2000, 1000), added(1, 900));
        assert_eq!(follower.on_ack(ace(7), Some(&ce(1900)), 2000, 1000), added(0, 0));
        follower.ceb = 0xff_ff00;
        assert_eq!(follower.on_ack(ace(0), Some(&ce(0x100)), 1000, 1000), added(1, 512), "24 bits wrap");
        assert_eq!(follower.on_ack(ace(1), Some(&ce(0)), 1000, 1000), added(1, 0), "back is no way");
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3.2.5
    //= type=test
    //# An endpoint using AccECN feedback MUST always reconcile
    //# the information provided in the ACE field with that in any AccECN
    //# Option, so that the state of the ACE-related packet counter can be
    //# relied on if future feedback does not carry an AccECN Option.
    #[test]
    fn bytes_without_packets_are_a_lie() {
        let mut follower = Follower::new();
        assert!(follower.on_ack(ace(5), Some(&ce(1000)), 2000, 1000).mangled);
        let mut follower = Follower::new();
        assert_eq!(follower.on_ack(ace(6), None, 1000, 1000), added(1, 1000));
        assert!(!follower.on_ack(ace(6), Some(&ce(1000)), 1000, 1000).mangled, "the packet came before the option");
    }

    #[test]
    fn options_of_zeros_are_not_believed() {
        let mut follower = Follower::new();
        assert_eq!(follower.on_ack(ace(6), Some(&AccurateEcn::new(false, [0, 0, 0])), 1000, 1000), added(1, 1000));
        assert_eq!(follower.on_ack(ace(7), Some(&ce(0)), 1000, 1000), added(1, 1000));
    }
}
