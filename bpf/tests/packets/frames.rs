//! Packets by the byte, made with etherparse.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header,
    SingleVlanHeader, VlanId,
};

use crate::bench::{PEER, PEER6};

/// The port that the peer sends from, where nothing else is said.
pub(crate) const PEERS_PORT: u16 = 40_000;
/// The VLAN of [`tagged`].
pub(crate) const VLAN: u16 = 7;
pub(crate) const DOT1Q: EtherType = EtherType(0x8100);

pub(crate) fn frame(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// The same frame with one tag more, before those it has.
pub(crate) fn tagged_as(packet: &[u8], type_of_tag: EtherType, vlan: u16) -> Vec<u8> {
    let ether_type = EtherType(u16::from_be_bytes([packet[12], packet[13]]));
    let tag = SingleVlanHeader { vlan_id: VlanId::try_new(vlan).unwrap(), ether_type, ..Default::default() };
    frame(type_of_tag, &[&tag.to_bytes()[..], &packet[14..]].concat())
}

/// The same frame of the VLAN that the tests use.
pub(crate) fn tagged(packet: &[u8]) -> Vec<u8> {
    tagged_as(packet, DOT1Q, VLAN)
}

/// An IPv4 packet whose header the closure may change after the lengths are set.
pub(crate) fn ipv4(to: [u8; 4], protocol: IpNumber, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    frame(EtherType::IPV4, &ipv4_packet(PEER, to, protocol, payload, change))
}

fn ipv4_packet(
    from: [u8; 4],
    to: [u8; 4],
    protocol: IpNumber,
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4Header),
) -> Vec<u8> {
    let mut header = Ipv4Header::new(u16::try_from(payload.len()).unwrap(), 64, protocol, from, to).unwrap();
    change(&mut header);
    let mut bytes = Vec::new();
    header.write_raw(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn ipv6(to: [u8; 16], next_header: IpNumber, payload: &[u8]) -> Vec<u8> {
    frame(EtherType::IPV6, &ipv6_packet(PEER6, to, next_header, payload))
}

fn ipv6_packet(source: [u8; 16], destination: [u8; 16], next_header: IpNumber, payload: &[u8]) -> Vec<u8> {
    let payload_length = u16::try_from(payload.len()).unwrap();
    let header = Ipv6Header { payload_length, next_header, hop_limit: 64, source, destination, ..Default::default() };
    [&header.to_bytes()[..], payload].concat()
}

/// A TCP header without options, and `data` bytes of payload.
pub(crate) fn tcp_between(source: u16, destination: u16, data: usize) -> Vec<u8> {
    let mut segment = Vec::new();
    etherparse::TcpHeader::new(source, destination, 1, 1000).write(&mut segment).unwrap();
    segment.resize(segment.len() + data, 0x5a);
    segment
}

pub(crate) fn tcp(port: u16, data: usize) -> Vec<u8> {
    tcp_between(PEERS_PORT, port, data)
}

pub(crate) const ECHO: [u8; 12] = [8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
pub(crate) const ECHO6: [u8; 12] = [128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];

pub(crate) fn tcp4(to: [u8; 4], port: u16) -> Vec<u8> {
    ipv4(to, IpNumber::TCP, &tcp(port, 5), |_| {})
}

pub(crate) fn tcp6(to: [u8; 16], port: u16) -> Vec<u8> {
    ipv6(to, IpNumber::TCP, &tcp(port, 5))
}

/// From the peer's `source` to `to`'s `port`.
pub(crate) fn tcp4_from(source: u16, to: [u8; 4], port: u16) -> Vec<u8> {
    ipv4(to, IpNumber::TCP, &tcp_between(source, port, 5), |_| {})
}

pub(crate) fn tcp6_from(source: u16, to: [u8; 16], port: u16) -> Vec<u8> {
    ipv6(to, IpNumber::TCP, &tcp_between(source, port, 5))
}

pub(crate) fn with_options(to: [u8; 4], port: u16, options: usize) -> Vec<u8> {
    ipv4(to, IpNumber::TCP, &tcp(port, 5), |header| add_options(header, options))
}

fn add_options(header: &mut Ipv4Header, options: usize) {
    header.options = vec![1; options][..].try_into().unwrap();
    header.total_len += u16::try_from(options).unwrap();
}

pub(crate) fn fragment(to: [u8; 4], protocol: IpNumber, offset: u16, more: bool) -> Vec<u8> {
    ipv4(to, protocol, &tcp(80, 5), |header| {
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.more_fragments = more;
    })
}

pub(crate) fn arp(operation: ArpOperation, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let packet =
        ArpPacket::new(ArpHardwareId::ETHERNET, EtherType::IPV4, operation, &[2; 6], &sender, &[0; 6], &target)
            .unwrap();
    frame(EtherType::ARP, &packet.to_bytes())
}

/// RFC 4861 4.3, 4.4: solicitation (135) or advertisement (136) of `target`, sent to `to`.
pub(crate) fn neighbour(message: u8, to: [u8; 16], target: [u8; 16]) -> Vec<u8> {
    let body = [&[message, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1, 2, 2, 2, 2, 2, 2]].concat();
    ipv6(to, IpNumber::IPV6_ICMP, &body)
}

/// The group that a solicitation of an address goes to: RFC 4291 2.7.1.
pub(crate) fn solicited_node(address: [u8; 16]) -> [u8; 16] {
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&address[13..]);
    group
}

/// What an ICMP error says of the packet that it is about.
#[derive(Clone, Copy)]
pub(crate) struct Quote {
    pub(crate) protocol: IpNumber,
    pub(crate) ports: (u16, u16),
    /// Bytes of IPv4 options.
    pub(crate) options: usize,
    /// In units of 8 bytes; IPv4 only.
    pub(crate) fragment_offset: u16,
    /// How many bytes of the transport's header are quoted.
    pub(crate) len: usize,
}

impl Quote {
    /// The first 8 bytes of TCP from our `source` to the peer's `destination`.
    pub(crate) fn tcp(source: u16, destination: u16) -> Self {
        Self { protocol: IpNumber::TCP, ports: (source, destination), options: 0, fragment_offset: 0, len: 8 }
    }

    fn transport(self) -> Vec<u8> {
        tcp_between(self.ports.0, self.ports.1, 0)[..self.len].to_vec()
    }
}

/// RFC 792: a router's message to `to` about a packet that `from` sent to the peer.
pub(crate) fn icmp_error(message: u8, to: [u8; 4], from: [u8; 4], quote: Quote) -> Vec<u8> {
    let quoted = ipv4_packet(from, PEER, quote.protocol, &quote.transport(), |header| {
        add_options(header, quote.options);
        header.fragment_offset = IpFragOffset::try_new(quote.fragment_offset).unwrap();
        // The packet was longer than what is quoted of it.
        header.total_len += 1000;
    });
    let message = [&[message, 4, 0, 0, 0, 0, 5, 120][..], &quoted].concat();
    ipv4(to, IpNumber::ICMP, &message, |header| header.source = [10, 99, 0, 1])
}

/// RFC 4443 3: the same for IPv6.
pub(crate) fn icmpv6_error(message: u8, to: [u8; 16], from: [u8; 16], quote: Quote) -> Vec<u8> {
    let quoted = ipv6_packet(from, PEER6, quote.protocol, &quote.transport());
    let message = [&[message, 0, 0, 0, 0, 0, 5, 120][..], &quoted].concat();
    ipv6(to, IpNumber::IPV6_ICMP, &message)
}
