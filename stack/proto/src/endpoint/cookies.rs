//! SYN cookies: what a half-open connection has to remember, in the numbers that the peer sends back.

use super::flow_hash::PublicHash;
use super::syn_queue::HalfOpen;
use crate::addr::Flow;
use crate::tcp::info::EcnMode;
use crate::tcp::seq::Seq;
use crate::time::Instant;
use core::time::Duration;

/// How long cookies of one kind are made. One is taken in the period in which it was made and in the next, so for 64 to
/// 128 seconds: longer than a handshake takes, shorter than it takes to guess one of 2^24 by blind ACKs at a rate that
/// nobody would see.
const PERIOD: Duration = Duration::from_secs(64);

/// Segment sizes that a cookie can tell, in bytes; the peer's is rounded down to one of them. The sizes of Ethernet with
/// and without the tunnels that are common, the defaults of both families, and a jumbo frame.
const SIZES: [u16; 8] = [216, 536, 1220, 1360, 1400, 1440, 1460, 8940];

/// How many of the low bits of a timestamp tell the other options: four for the window scale, SACK, classic ECN. Of accurate
/// ECN the ACK tells by itself (RFC 9768 5.1).
const STAMP_BITS: u32 = 6;
const STAMP_MASK: u32 = (1 << STAMP_BITS) - 1;
const SACK: u32 = 0x10;
const ECN: u32 = 0x20;
/// No window scale, where a scale is 0 to 14.
const NO_SCALE: u32 = 15;

/// What a timestamp of a SYN-ACK with a cookie tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamped {
    /// The peer's window scale.
    pub(crate) wscale: Option<u8>,
    /// Both ends may send SACK.
    pub(crate) sack: bool,
    /// Both ends use classic ECN.
    pub(crate) ecn: bool,
}

/// Makes and checks cookies (RFC 4987 3.6).
///
/// A cookie is an initial sequence number: five bits of the period, three of the segment size and 24 of a keyed hash over
/// both ends, the peer's number, the period and the size, all moved by a keyed hash of both ends. Nothing is kept of a
/// connection until its ACK brings the cookie back. What is lost is what no number holds: the SYN-ACK is never sent again,
/// and a peer without timestamps has neither window scale nor SACK.
#[derive(Debug)]
pub(crate) struct Cookies {
    hash: PublicHash,
    /// The key before the last change, whose cookies are still on their way.
    previous: Option<PublicHash>,
    sent_at: Option<Instant>,
}

impl Cookies {
    /// A maker whose cookies nobody can forge without `key`.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { hash: PublicHash::new(key), previous: None, sent_at: None }
    }

    /// Makes cookies with another key from now on. Those of the key before are taken until the next change, if they are
    /// not too old.
    pub(crate) fn change_key(&mut self, key: [u8; 16]) {
        self.previous = Some(core::mem::replace(&mut self.hash, PublicHash::new(key)));
    }

    //= spec/rfc4987.txt#section-3.6
    //# A common consideration is that to prevent replay, some time-dependent random bits must be embedded in the
    //# sequence number.
    /// The initial sequence number that tells of a SYN of `flow` with number `irs` and segment size `mss`.
    pub(crate) fn make(&mut self, now: Instant, flow: &Flow, irs: Seq, mss: u16) -> Seq {
        self.sent_at = Some(now);
        let size = SIZES.iter().rposition(|&size| size <= mss).unwrap_or(0) as u8;
        encode(&self.hash, flow, irs, period(now), size)
    }

    /// Whether a cookie that is still good may be on its way. While none is, no ACK is looked at for one.
    pub(crate) fn are_awaited(&self, now: Instant) -> bool {
        self.sent_at.is_some_and(|at| now.saturating_since(at) < 2 * PERIOD)
    }

    /// The peer's segment size that `cookie` tells; `None` when it was never made, or is too old.
    pub(crate) fn check(&self, now: Instant, flow: &Flow, irs: Seq, cookie: Seq) -> Option<u16> {
        let current = period(now);
        [Some(&self.hash), self.previous.as_ref()].into_iter().flatten().find_map(|hash| {
            let bits = cookie.since(Seq(hash.flow(flow) as u32));
            let age = (current as u32).wrapping_sub(bits >> 27) & 0x1f;
            let made = current.checked_sub(u64::from(age)).filter(|_| age <= 1)?;
            let size = (bits >> 24 & 7) as u8;
            let mss = *SIZES.get(usize::from(size))?;
            (encode(hash, flow, irs, made, size) == cookie).then_some(mss)
        })
    }
}

/// The timestamp for a SYN-ACK with a cookie: the latest that is not after `value` and whose low bits tell the options.
pub(crate) fn stamp(value: u32, half_open: &HalfOpen) -> u32 {
    let scale = half_open.peer_wscale.map_or(NO_SCALE, |scale| u32::from(scale.min(14)));
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let bits = scale | flag(half_open.sack, SACK) | flag(half_open.ecn.mode() == EcnMode::Classic, ECN);
    let at = (value & !STAMP_MASK) | bits;
    if bits > value & STAMP_MASK { at.wrapping_sub(STAMP_MASK + 1) } else { at }
}

/// The options that the peer's echo of such a timestamp tells.
pub(crate) fn read_stamp(echo: u32) -> Stamped {
    let scale = echo & 0x0f;
    Stamped { wscale: (scale != NO_SCALE).then_some(scale as u8), sack: echo & SACK != 0, ecn: echo & ECN != 0 }
}

fn period(now: Instant) -> u64 {
    now.as_nanos() / PERIOD.as_nanos() as u64
}

fn encode(hash: &PublicHash, flow: &Flow, irs: Seq, period: u64, size: u8) -> Seq {
    let mut told = [0; 13];
    told[..4].copy_from_slice(&irs.0.to_be_bytes());
    told[4..12].copy_from_slice(&period.to_be_bytes());
    told[12] = size;
    let proof = hash.flow_and(flow, &told) as u32 & 0x00ff_ffff;
    let bits = (period as u32) << 27 | u32::from(size) << 24 | proof;
    Seq(hash.flow(flow) as u32) + bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::config::Ecn;
    use crate::tcp::ecn::negotiation::Asked;
    use crate::tcp::segment::Flags;
    use crate::{Addr, SocketAddr};
    use proptest::prelude::*;

    fn flow(n: u16) -> Flow {
        Flow {
            local: SocketAddr::new(Addr::v4([10, 0, 0, 1]), 80),
            remote: SocketAddr::new(Addr::v4([10, 0, 0, 2]), n),
        }
    }

    fn secs(n: u64) -> Instant {
        Instant::from_millis(n * 1000)
    }

    #[test]
    fn a_cookie_tells_the_size_rounded_down() {
        let mut cookies = Cookies::new([1; 16]);
        for (mss, told) in [(0, 216), (536, 536), (1219, 536), (1448, 1440), (1460, 1460), (9000, 8940), (65_535, 8940)]
        {
            let cookie = cookies.make(secs(500), &flow(1), Seq(7), mss);
            assert_eq!(cookies.check(secs(501), &flow(1), Seq(7), cookie), Some(told), "{mss}");
        }
    }

    #[test]
    fn it_is_good_for_one_to_two_periods_and_for_nobody_else() {
        let mut cookies = Cookies::new([1; 16]);
        assert!(!cookies.are_awaited(secs(10)));
        let made = secs(64 * 50 + 3);
        let cookie = cookies.make(made, &flow(1), Seq(7), 1460);
        for (at, good) in [(3, true), (63, true), (64, true), (127, true), (128, false), (64 * 32 + 3, false)] {
            let now = secs(64 * 50 + at);
            assert_eq!(cookies.check(now, &flow(1), Seq(7), cookie).is_some(), good, "after {at} s");
        }
        assert!(cookies.are_awaited(made + Duration::from_secs(127)) && !cookies.are_awaited(secs(64 * 52 + 3)));
        assert_eq!(cookies.check(made, &flow(2), Seq(7), cookie), None);
        assert_eq!(cookies.check(made, &flow(1), Seq(8), cookie), None);
        assert_eq!(cookies.check(made, &flow(1), Seq(7), cookie + 1), None);
    }

    #[test]
    fn the_key_before_is_good_until_the_next_change() {
        let mut cookies = Cookies::new([1; 16]);
        let cookie = cookies.make(secs(100), &flow(1), Seq(7), 1460);
        cookies.change_key([2; 16]);
        assert!(cookies.check(secs(101), &flow(1), Seq(7), cookie).is_some());
        let newer = cookies.make(secs(101), &flow(1), Seq(7), 1460);
        assert_ne!(newer, cookie);
        cookies.change_key([3; 16]);
        assert!(cookies.check(secs(101), &flow(1), Seq(7), cookie).is_none());
        assert!(cookies.check(secs(101), &flow(1), Seq(7), newer).is_some());
    }

    #[test]
    fn guesses_are_in_vain() {
        let mut cookies = Cookies::new([1; 16]);
        let real = cookies.make(secs(100), &flow(1), Seq(7), 1460);
        let hits = (0..200_000u32).filter(|n| {
            let guess = Seq(n.wrapping_mul(2_654_435_761));
            guess != real && cookies.check(secs(100), &flow(1), Seq(7), guess).is_some()
        });
        // One guess of a hundred has a period that is good, and of these one of 2^24 is right.
        assert!(hits.count() <= 1);
    }

    proptest! {
        #[test]
        fn a_stamp_tells_the_options_and_is_never_early(value: u32, scale in prop::option::of(0u8..=20), sack: bool, ecn: bool) {
            let asked = Asked::by_cookie(Ecn::Passive, ecn, Flags::ACK);
            let half_open = HalfOpen { peer_wscale: scale, sack, ecn: asked, ..HalfOpen::none(flow(1)) };
            let stamped = stamp(value, &half_open);
            prop_assert!(value.wrapping_sub(stamped) <= STAMP_MASK);
            let wscale = scale.map(|scale| scale.min(14));
            prop_assert_eq!(read_stamp(stamped), Stamped { wscale, sack, ecn });
        }
    }
}
