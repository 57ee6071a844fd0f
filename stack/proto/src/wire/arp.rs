//! ARP for IPv4 over Ethernet (RFC 826).

use super::ParseError;
use super::ethernet::{self, EthernetHeader, ether_type};
use crate::addr::{Addr, Mac};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths 6 and 4 of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What an ARP packet asks or says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet; both addresses are IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// The sender's Ethernet address.
    pub sender_mac: Mac,
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227 2.1.1).
    pub sender: Addr,
    /// The target's Ethernet address; without meaning in a request.
    pub target_mac: Mac,
    /// The target's IPv4 address.
    pub target: Addr,
}

impl Arp {
    /// Reads an ARP packet; what comes after its 28 bytes is padding.
    ///
    /// # Errors
    /// [`ParseError::TruncatedArp`]; [`ParseError::BadArp`] for other hardware or protocols, an unknown operation, or
    /// a sender whose Ethernet address is a group's or whose IPv4 address is multicast or broadcast.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let packet = bytes.first_chunk::<PACKET_LEN>().ok_or(ParseError::TruncatedArp)?;
        let (kind, addresses) = packet.split_first_chunk::<6>().ok_or(ParseError::TruncatedArp)?;
        if *kind != ETHERNET_IPV4 {
            return Err(ParseError::BadArp);
        }
        let [0, code, a, b, c, d, e, f, s0, s1, s2, s3, g, h, i, j, k, l, t0, t1, t2, t3] = *addresses else {
            return Err(ParseError::BadArp);
        };
        let operation = match code {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(ParseError::BadArp),
        };
        let sender_mac = Mac([a, b, c, d, e, f]);
        let sender = Addr::v4([s0, s1, s2, s3]);
        // Nobody may be taught that an address is reached at a group, or that a group is a host.
        if sender_mac.is_group() || !(sender.is_unicast() || sender.is_unspecified()) {
            return Err(ParseError::BadArp);
        }
        let target_mac = Mac([g, h, i, j, k, l]);
        Ok(Self { operation, sender_mac, sender, target_mac, target: Addr::v4([t0, t1, t2, t3]) })
    }

    /// Writes the packet; gives its 28 bytes, `None` when they do not fit or an address is not IPv4.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let out = out.first_chunk_mut::<PACKET_LEN>()?;
        let code = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out[..6].copy_from_slice(&ETHERNET_IPV4);
        out[6..8].copy_from_slice(&[0, code]);
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender.as_v4()?);
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(&self.target.as_v4()?);
        Some(PACKET_LEN)
    }

    /// The reply to this request by the host at `mac` that has the target address.
    pub const fn reply(&self, mac: Mac) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }
}

/// Writes a whole frame with an ARP packet; gives its length, 0 when `frame` is too short or an address is not IPv4.
pub fn emit(frame: &mut [u8], eth: &EthernetHeader, arp: &Arp) -> usize {
    try_emit(frame, eth, arp).unwrap_or(0)
}

fn try_emit(frame: &mut [u8], eth: &EthernetHeader, arp: &Arp) -> Option<usize> {
    let at = ethernet::emit(frame, eth, ether_type::ARP)?;
    Some(at + arp.emit(frame.get_mut(at..)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Arp = Arp {
        operation: Operation::Request,
        sender_mac: Mac([2, 0, 0, 0, 0, 1]),
        sender: Addr::v4([10, 0, 0, 1]),
        target_mac: Mac([0; 6]),
        target: Addr::v4([10, 0, 0, 2]),
    };

    fn bytes(arp: &Arp) -> [u8; PACKET_LEN] {
        let mut out = [0; PACKET_LEN];
        assert_eq!(arp.emit(&mut out), Some(PACKET_LEN));
        out
    }

    #[test]
    fn round_trip_and_reply() {
        let reply = REQUEST.reply(Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!(reply.sender, REQUEST.target);
        assert_eq!((reply.target, reply.target_mac), (REQUEST.sender, REQUEST.sender_mac));
        for arp in [REQUEST, reply] {
            assert_eq!(Arp::parse(&bytes(&arp)), Ok(arp));
        }
        for len in 0..PACKET_LEN {
            assert_eq!(Arp::parse(&bytes(&REQUEST)[..len]), Err(ParseError::TruncatedArp));
        }
    }

    #[test]
    fn other_hardware_protocols_and_operations_are_refused() {
        for (at, value) in [(0, 1), (1, 6), (2, 0x86), (3, 1), (4, 8), (5, 16), (6, 1), (7, 0), (7, 3)] {
            let mut packet = bytes(&REQUEST);
            packet[at] = value;
            assert_eq!(Arp::parse(&packet), Err(ParseError::BadArp), "byte {at} = {value}");
        }
    }

    #[test]
    fn a_group_is_never_a_sender() {
        let group = Arp { sender_mac: Mac::BROADCAST, ..REQUEST };
        assert_eq!(Arp::parse(&bytes(&group)), Err(ParseError::BadArp));
        let multicast = Arp { sender: Addr::v4([224, 0, 0, 1]), ..REQUEST };
        assert_eq!(Arp::parse(&bytes(&multicast)), Err(ParseError::BadArp));
        let probe = Arp { sender: Addr::v4([0; 4]), ..REQUEST };
        assert_eq!(Arp::parse(&bytes(&probe)), Ok(probe));
    }

    #[test]
    fn ipv6_addresses_do_not_go_into_arp() {
        let mut out = [0; 64];
        let arp = Arp { target: Addr::v6([1; 16]), ..REQUEST };
        assert_eq!(emit(&mut out, &EthernetHeader::default(), &arp), 0);
        assert_eq!(emit(&mut out[..20], &EthernetHeader::default(), &REQUEST), 0);
    }
}
