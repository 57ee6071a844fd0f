//! What IPv4 and IPv6 have in common here: one header value, the pseudo-header, and which addresses may be seen.

use super::checksum::Sum;
use super::ethernet::{self, EthernetHeader, ether_type};
use super::{ParseError, ipv4, ipv6};
use crate::addr::Addr;

/// Protocol and next-header numbers (IANA "Protocol Numbers").
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Where the ECN codepoint is in [`IpHeader::tos`] (RFC 3168 5).
const ECN_MASK: u8 = 0b11;

/// The fields of an IP header that this stack sets or reads, for both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    /// Source address.
    pub src: Addr,
    /// Destination address; of the same family.
    pub dst: Addr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP in the upper six bits and ECN in the lower two: IPv4's type of service, IPv6's traffic class.
    pub tos: u8,
    /// IPv4 identification; of no meaning in the atomic datagrams that this stack sends, hence 0 (RFC 6864 4.1).
    pub ident: u16,
    /// IPv6 flow label, 20 bits; 0 for IPv4.
    pub flow_label: u32,
}

impl IpHeader {
    /// A header with a TTL of 64 (IANA's recommended default) and zero for the rest.
    pub const fn new(src: Addr, dst: Addr) -> Self {
        //= spec/rfc9293.txt#section-3.8.1
        //# the same IPv4 Identification field MAY be used (see Section 3.2.1.5 of RFC 1122) (MAY-4).
        Self { src, dst, ttl: 64, tos: 0, ident: 0, flow_label: 0 }
    }

    /// The ECN codepoint, 0-3 (RFC 3168 5).
    pub const fn ecn(&self) -> u8 {
        self.tos & ECN_MASK
    }

    /// Bytes that the header takes when it is written: 20 for IPv4, 40 for IPv6.
    #[inline]
    pub const fn wire_len(&self) -> usize {
        if self.dst.is_v4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
    }
}

/// What can be known of a packet that an ICMP error quotes: it is cut short and a router may have changed it, so
/// neither its lengths nor its checksums count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) protocol: u8,
    pub(super) payload: &'a [u8],
}

/// The sum of the pseudo-header of RFC 9293 3.1 and RFC 8200 8.1: addresses, protocol and length.
///
/// An IPv4 address is summed in its mapped form: the ffff that this adds is ones' complement's other zero, so one code
/// serves both families.
#[inline]
pub fn pseudo_header(src: &Addr, dst: &Addr, protocol: u8, len: u16) -> Sum {
    Sum::ZERO.add_bytes(&src.octets()).add_bytes(&dst.octets()).add_u16(u16::from(protocol)).add_u16(len)
}

/// Writes the Ethernet header and the IP header of a packet with `payload_len` bytes of `protocol`; gives where the
/// payload begins, `None` when it does not fit or the addresses are of two families.
#[inline]
pub(super) fn emit(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    protocol: u8,
    payload_len: u16,
) -> Option<usize> {
    if ip.dst.is_v4() {
        let at = ethernet::emit(frame, eth, ether_type::IPV4)?;
        Some(at + ipv4::emit(frame.get_mut(at..)?, ip, protocol, payload_len)?)
    } else {
        let at = ethernet::emit(frame, eth, ether_type::IPV6)?;
        Some(at + ipv6::emit(frame.get_mut(at..)?, ip, protocol, payload_len)?)
    }
}

/// Refuses a source that cannot be another host on this link.
#[inline]
pub(super) fn check_source(src: &Addr, dst: &Addr) -> Result<(), ParseError> {
    //= spec/rfc9293.txt#section-3.9.2.3
    //# An incoming SYN with an invalid source address MUST be ignored | either by TCP or by the IP layer [(MUST-63)]
    // RFC 1122 3.2.1.3 lists which are invalid. A packet from its own destination ("LAND") would make a host answer
    // itself.
    if is_foreign_unicast(src) && src != dst { Ok(()) } else { Err(ParseError::MartianSource) }
}

/// Refuses a destination to which no segment may be sent.
#[inline]
pub(super) fn check_destination(dst: &Addr) -> Result<(), ParseError> {
    //= spec/rfc9293.txt#section-3.9.2.3
    //# A TCP implementation MUST silently discard an incoming SYN segment | that is addressed to a broadcast or
    //# multicast address [(MUST-57)].
    if is_foreign_unicast(dst) { Ok(()) } else { Err(ParseError::MartianDestination) }
}

/// Whether the address can be a host's as seen on a wire: [`Addr::is_unicast`], and neither loopback nor "this network".
/// Asked twice of every segment, so it compares words where `Addr` compares bytes.
#[inline]
fn is_foreign_unicast(addr: &Addr) -> bool {
    const MAPPED: u128 = 0xffff;
    let bits = u128::from_be_bytes(addr.octets());
    if bits >> 32 == MAPPED {
        let v4 = bits as u32;
        !matches!(v4 >> 24, 0 | 127 | 224..=239) && v4 != u32::MAX
    } else {
        // Neither :: nor ::1, nor ff00::/8.
        bits > 1 && bits >> 120 != 0xff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    //= spec/rfc9293.txt#section-3.9.2.3
    //= type=test
    //# An incoming SYN with an invalid source address MUST be ignored | either by TCP or by the IP layer [(MUST-63)]
    //= spec/rfc9293.txt#section-3.9.2.3
    //= type=test
    //# A TCP implementation MUST silently discard an incoming SYN segment | that is addressed to a broadcast or
    //# multicast address [(MUST-57)].
    #[test]
    fn martians_are_told_from_hosts() {
        let host = Addr::v4([10, 0, 0, 1]);
        let loopback6 = Addr::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let multicast6 = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let bad = [
            Addr::v4([0; 4]),
            Addr::v4([0, 1, 2, 3]),
            Addr::v4([127, 0, 0, 1]),
            Addr::v4([224, 0, 0, 1]),
            Addr::v4([255; 4]),
            Addr::v6([0; 16]),
            loopback6,
            multicast6,
        ];
        for addr in bad {
            assert_eq!(check_source(&addr, &host), Err(ParseError::MartianSource), "{addr}");
            assert_eq!(check_destination(&addr), Err(ParseError::MartianDestination), "{addr}");
        }
        assert_eq!(check_source(&host, &host), Err(ParseError::MartianSource));
        assert_eq!(check_source(&Addr::v4([10, 0, 0, 2]), &host), Ok(()));
    }

    proptest! {
        #[test]
        fn a_host_is_always_unicast(v4: [u8; 4], v6: [u8; 16]) {
            for addr in [Addr::v4(v4), Addr::v6(v6)] {
                let std = core::net::IpAddr::from(addr);
                let this_network = addr.as_v4().is_some_and(|[first, ..]| first == 0);
                let expected = addr.is_unicast() && !std.is_loopback() && !this_network;
                prop_assert_eq!(is_foreign_unicast(&addr), expected, "{}", addr);
            }
        }
    }

    #[test]
    fn the_mapped_prefix_does_not_change_the_sum() {
        let (a, b) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        let plain = Sum::ZERO.add_bytes(&a).add_bytes(&b).add_u16(6).add_u16(40);
        assert_eq!(pseudo_header(&Addr::v4(a), &Addr::v4(b), 6, 40).finish(), plain.finish());
    }
}
