//! Bytes to values and back: no state, no allocation, no panic on any input.
//!
//! Each codec first checks a run of bytes (`View::check`), then reads values from it. [`parse`] does so for a whole
//! frame; [`emit_tcp`], [`arp::emit`], [`icmp::emit_echo_reply`] and [`icmp::emit_error`] write whole frames. A frame
//! may be shorter than Ethernet's 60 bytes: the device pads it.

pub mod arp;
pub mod checksum;
mod error;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
mod source_route;
pub mod tcp;
pub mod tcp_option;
pub mod vlan;

pub use arp::Arp;
pub use error::{DropReason, ParseError};
pub use ethernet::EthernetHeader;
pub use icmp::{Echo, IcmpError, IcmpErrorKind, IcmpMessage, IcmpPacket};
pub use ip::IpHeader;
pub use source_route::SourceRoute;

use crate::addr::{Mac, SocketAddr};
use crate::tcp::segment::{Codepoint, Options, Segment};
use core::ops::Range;
use ethernet::ether_type;
use ip::protocol;

/// Bytes of the longest headers that come before a payload that this stack sends: tagged Ethernet, IPv6, TCP.
pub const MAX_HEADER_LEN: usize = ethernet::header_len(true) + ipv6::HEADER_LEN + tcp::MAX_HEADER_LEN;

/// Which checksums [`parse`] verifies; a device may have verified them already. ICMP's always is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksums {
    /// The IPv4 header's.
    pub ip: bool,
    /// TCP's.
    pub tcp: bool,
}

impl Checksums {
    /// Verify everything.
    pub const VERIFY: Self = Self { ip: true, tcp: true };
    /// The device has verified both.
    pub const TRUST: Self = Self { ip: false, tcp: false };
}

/// A frame that was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The sender's Ethernet address.
    pub src_mac: Mac,
    /// The receiver's Ethernet address.
    pub dst_mac: Mac,
    /// The 802.1Q tag control information; see [`vlan`].
    pub vlan: Option<u16>,
    /// What the frame carries.
    pub body: Body,
}

/// What a frame carries. Nothing in it borrows from the frame: bytes are named by their offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// An ARP request or reply.
    Arp(Arp),
    /// A TCP segment.
    Tcp(TcpPacket),
    /// An ICMP message over IPv4.
    Icmp(IcmpPacket),
    /// An `ICMPv6` message.
    Icmpv6(IcmpPacket),
}

/// A TCP segment and its IP header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpPacket {
    /// Who sent it.
    pub src: SocketAddr,
    /// To whom.
    pub dst: SocketAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// The segment.
    pub segment: Segment,
    /// Where the options of the IP header are in the frame; empty for IPv6, whose extensions are none.
    pub ip_options: Range<u16>,
    /// Where the options are in the frame, for [`tcp_option::options`]: offsets from its first byte.
    pub options: Range<u16>,
    /// Where the payload is in the frame: offsets from its first byte. Its length is `segment.len`.
    pub payload: Range<u16>,
}

impl TcpPacket {
    /// The ECN codepoint of the IP header, 0-3 (RFC 3168 5).
    #[inline]
    pub const fn ecn(&self) -> u8 {
        self.tos & 0b11
    }
}

/// Reads a whole Ethernet frame: ARP, or TCP or ICMP over IPv4 or IPv6, with at most one 802.1Q tag. What comes after
/// the IP packet is padding.
///
/// # Errors
/// The reason for which the frame has to be dropped.
#[inline]
pub fn parse(frame: &[u8], checksums: Checksums) -> Result<Packet, ParseError> {
    if frame.len() > usize::from(u16::MAX) {
        return Err(ParseError::Oversized);
    }
    let view = ethernet::View::check(frame)?;
    let EthernetHeader { dst: dst_mac, src: src_mac, vlan } = view.header();
    let at = ethernet::header_len(vlan.is_some());
    let body = match view.ether_type() {
        ether_type::IPV4 => parse_ipv4(view.payload(), at, checksums)?,
        ether_type::IPV6 => parse_ipv6(view.payload(), at, checksums)?,
        ether_type::ARP => Body::Arp(Arp::parse(view.payload())?),
        _ => return Err(ParseError::BadEtherType),
    };
    Ok(Packet { src_mac, dst_mac, vlan, body })
}

#[inline]
fn parse_ipv4(bytes: &[u8], at: usize, checksums: Checksums) -> Result<Body, ParseError> {
    let view = ipv4::View::check(bytes, checksums.ip)?;
    if view.is_fragment() {
        return Err(ParseError::Fragment);
    }
    let header = view.header();
    ip::check_source(&header.src, &header.dst)?;
    let at = at + view.header_len();
    match view.protocol() {
        protocol::TCP => {
            let options = range(at - view.options().len(), view.options().len());
            Ok(Body::Tcp(TcpPacket { ip_options: options, ..parse_tcp(&header, view.payload(), at, checksums)? }))
        }
        protocol::ICMP => Ok(Body::Icmp(icmp_packet(&header, icmp::parse(view.payload(), at)?))),
        _ => Err(ParseError::BadProtocol),
    }
}

#[inline]
fn parse_ipv6(bytes: &[u8], at: usize, checksums: Checksums) -> Result<Body, ParseError> {
    let view = ipv6::View::check(bytes)?;
    let header = view.header();
    ip::check_source(&header.src, &header.dst)?;
    let at = at + view.header_len();
    match view.protocol() {
        protocol::TCP => Ok(Body::Tcp(parse_tcp(&header, view.payload(), at, checksums)?)),
        protocol::ICMPV6 => Ok(Body::Icmpv6(icmp_packet(&header, icmpv6::parse(&header, view.payload(), at)?))),
        _ => Err(ParseError::BadProtocol),
    }
}

#[inline]
fn parse_tcp(ip: &IpHeader, bytes: &[u8], at: usize, checksums: Checksums) -> Result<TcpPacket, ParseError> {
    ip::check_destination(&ip.dst)?;
    let view = tcp::View::check(bytes)?;
    if checksums.tcp && !view.verify(&ip.src, &ip.dst) {
        return Err(ParseError::BadTcpChecksum);
    }
    let (src, dst) = (SocketAddr::new(ip.src, view.src_port()), SocketAddr::new(ip.dst, view.dst_port()));
    if src.port == 0 || dst.port == 0 {
        return Err(ParseError::ZeroPort);
    }
    Ok(TcpPacket {
        src,
        dst,
        ttl: ip.ttl,
        tos: ip.tos,
        segment: Segment { ecn: Codepoint::of(ip.tos), ..view.segment() },
        ip_options: 0..0,
        options: range(at + tcp::HEADER_LEN, view.options().len()),
        payload: range(at + view.header_len(), view.payload().len()),
    })
}

const fn icmp_packet(ip: &IpHeader, message: IcmpMessage) -> IcmpPacket {
    IcmpPacket { src: ip.src, dst: ip.dst, ttl: ip.ttl, tos: ip.tos, message }
}

/// The `len` bytes from `start` as offsets in a frame, whose length [`parse`] has bounded to 65535.
#[inline]
const fn range(start: usize, len: usize) -> Range<u16> {
    start as u16..(start + len) as u16
}

/// Bytes in front of a segment's payload, and so where the payload begins in its frame: Ethernet with or without a tag,
/// IPv4 or IPv6, TCP with `options`.
#[inline]
pub fn tcp_header_len(is_v4: bool, vlan: bool, options: &Options) -> usize {
    let ip = if is_v4 { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN };
    ethernet::header_len(vlan) + ip + tcp::HEADER_LEN + options.wire_len()
}

/// Writes the headers of `segment` into `frame`, whose payload of `segment.len` bytes is in place at
/// [`tcp_header_len`], and the checksums. The segment's ECN field is put into `ip`'s. `ports` are the source's and the
/// destination's. Gives the frame's length;
/// 0, with the frame's contents lost, when it is longer than `frame` or than IP allows, or the two addresses are of
/// different families.
#[inline]
pub fn emit_tcp(frame: &mut [u8], eth: &EthernetHeader, ip: &IpHeader, ports: (u16, u16), segment: &Segment) -> usize {
    try_emit_tcp(frame, eth, ip, None, ports, segment).unwrap_or(0)
}

/// The same for a packet that goes by way of `route`, if there is one. Its payload is in place so much further behind as
/// the route takes.
#[inline]
pub fn emit_tcp_by(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    route: Option<&SourceRoute>,
    ports: (u16, u16),
    segment: &Segment,
) -> usize {
    try_emit_tcp(frame, eth, ip, route, ports, segment).unwrap_or(0)
}

#[inline]
fn try_emit_tcp(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    route: Option<&SourceRoute>,
    ports: (u16, u16),
    segment: &Segment,
) -> Option<usize> {
    let len = tcp::HEADER_LEN + segment.options.wire_len() + usize::from(segment.len);
    let len = u16::try_from(len).ok()?;
    let ip = &IpHeader { tos: ip.tos | segment.ecn as u8, ..*ip };
    let at = match route {
        None => ip::emit(frame, eth, ip, protocol::TCP, len)?,
        Some(route) => {
            let at = ethernet::emit(frame, eth, ether_type::IPV4)?;
            at + ipv4::emit_by(frame.get_mut(at..)?, ip, route, protocol::TCP, len)?
        }
    };
    // The checksum is over the two ends, wherever the packet goes first (RFC 9293 3.9.2.1).
    Some(at + tcp::emit(frame.get_mut(at..)?, &ip.src, &ip.dst, ports, segment)?)
}
