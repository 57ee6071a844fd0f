//! A frame on its way, with what a path looks at.

use corelane_proto::tcp::segment::Flags;
use corelane_proto::wire::checksum;
use corelane_proto::wire::{Body, Checksums, parse};

/// Where an IPv4 header begins in an untagged Ethernet frame, and its fields that a path may change.
const IP: usize = 14;
const TOS: usize = IP + 1;
const IP_CHECKSUM: usize = IP + 10;
/// The ECN codepoint "congestion experienced" (RFC 3168 5).
const CE: u8 = 0b11;

/// A frame on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    payload: u16,
    pure_ack: bool,
}

impl Packet {
    /// What a host sends.
    pub fn new(bytes: Vec<u8>) -> Self {
        let tcp = match parse(&bytes, Checksums::TRUST).map(|packet| packet.body) {
            Ok(Body::Tcp(tcp)) => Some(tcp.segment),
            _ => None,
        };
        let payload = tcp.map_or(0, |segment| segment.len);
        let control = [Flags::SYN, Flags::FIN, Flags::RST];
        let controls = |flags: Flags| control.into_iter().any(|flag| flags.has(flag));
        let pure_ack = tcp.is_some_and(|s| s.len == 0 && s.flags.has(Flags::ACK) && !controls(s.flags));
        Self { bytes, payload, pure_ack }
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the frame.
    pub fn frame_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes of TCP payload.
    pub const fn payload(&self) -> u16 {
        self.payload
    }

    /// Whether it is a TCP segment that only acknowledges.
    pub const fn is_pure_ack(&self) -> bool {
        self.pure_ack
    }

    /// Marks it with congestion experienced if its sender is ECN-capable (RFC 3168 5); says whether it did. Only IPv4.
    pub fn mark(&mut self) -> bool {
        let is_v4 = self.bytes.len() >= IP + 20 && self.bytes[12..14] == [8, 0] && self.bytes[IP] == 0x45;
        if !is_v4 || self.bytes[TOS] & CE == 0 {
            return false;
        }
        self.bytes[TOS] |= CE;
        self.bytes[IP_CHECKSUM..IP_CHECKSUM + 2].fill(0);
        let sum = checksum::of(&self.bytes[IP..IP + 20]);
        self.bytes[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use corelane_proto::tcp::segment::Segment;
    use corelane_proto::wire::{EthernetHeader, IpHeader, emit_tcp};
    use corelane_proto::{Addr, Mac};

    /// A segment of `len` bytes in a packet with this ECN codepoint.
    pub(crate) fn segment(len: u16, ecn: u8) -> Packet {
        let eth = EthernetHeader { dst: Mac([2; 6]), src: Mac([4; 6]), vlan: None };
        let ip = IpHeader { tos: ecn, ..IpHeader::new(Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2])) };
        let segment = Segment { len, flags: Flags::ACK, ..Segment::default() };
        let mut frame = vec![0; 2000];
        let n = emit_tcp(&mut frame, &eth, &ip, (1, 2), &segment);
        frame.truncate(n);
        Packet::new(frame)
    }

    #[test]
    fn data_and_acks_are_told_apart() {
        let (data, ack) = (segment(1000, 0), segment(0, 0));
        assert!((data.payload(), data.is_pure_ack()) == (1000, false) && data.frame_len() == 1054);
        assert!((ack.payload(), ack.is_pure_ack()) == (0, true));
        let other = Packet::new(vec![0; 60]);
        assert!((other.payload(), other.is_pure_ack()) == (0, false));
    }

    #[test]
    fn only_who_is_capable_is_marked_and_the_frame_stays_whole() {
        assert!(!segment(10, 0).mark());
        for ecn in [1, 2, 3] {
            let mut packet = segment(10, ecn);
            assert!(packet.mark());
            let Ok(Body::Tcp(tcp)) = parse(packet.bytes(), Checksums::VERIFY).map(|p| p.body) else { panic!("broken") };
            assert_eq!(tcp.ecn(), CE);
        }
    }
}
