//! ICMP echo and errors (RFC 792, RFC 1122 3.2.2), and what they share with `ICMPv6`.

use super::checksum;
use super::ethernet::{self, EthernetHeader, ether_type};
use super::ip::{self, IpHeader, Quoted, protocol};
use super::{ParseError, icmpv6, ipv4, ipv6, range};
use crate::addr::{Addr, Flow, SocketAddr};
use crate::tcp::seq::Seq;
use core::ops::Range;

/// Bytes of the header of each message here, of either family.
pub const HEADER_LEN: usize = 8;

/// The longest error that is sent, IP header included: what every IPv4 host can reassemble (RFC 1812 4.3.2.3).
const MAX_ERROR_LEN: usize = 576;

const ECHO_REPLY: u8 = 0;
const UNREACHABLE: u8 = 3;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// An ICMP or `ICMPv6` packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IcmpPacket {
    /// Who sent it.
    pub src: Addr,
    /// To whom; not checked to be unicast, since a neighbour's question goes to a group.
    pub dst: Addr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class; an echo reply carries that of its request (RFC 1122 3.2.2.6).
    pub tos: u8,
    /// What it says.
    pub message: IcmpMessage,
}

/// What an ICMP or `ICMPv6` packet says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IcmpMessage {
    /// Are you there?
    EchoRequest(Echo),
    /// I am here.
    EchoReply(Echo),
    /// A TCP segment did not arrive.
    Error(IcmpError),
    /// Anything else, an error about something other than TCP included.
    Other {
        /// The type field.
        kind: u8,
        /// The code field.
        code: u8,
    },
}

/// The fields of an echo request or reply.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Echo {
    /// Whose echo it is.
    pub ident: u16,
    /// Which one.
    pub sequence: u16,
    /// The data to be returned, as offsets from the frame's first byte.
    pub data: Range<u16>,
}

/// A report that a segment did not arrive, as the quoted segment tells it. Anyone can forge it: the receiver checks
/// that `seq` is in flight (RFC 5927 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpErrorKind,
    /// The connection as this end sees it: the quoted source is `local`, the quoted destination `remote`.
    pub flow: Flow,
    /// The quoted sequence number.
    pub seq: Seq,
    /// Bytes of the longest packet that the next hop takes, with [`IcmpErrorKind::PacketTooBig`]; `None` when the
    /// router does not say (RFC 1191 5). An `ICMPv6` value above 65535 is given as 65535.
    pub mtu: Option<u16>,
}

/// What an error reports, the same for both families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IcmpErrorKind {
    /// No route to the network (IPv4 codes 0, 6, 11; IPv6 code 0).
    NetUnreachable,
    /// The host does not answer its router (IPv4 codes 1, 7, 8, 12; IPv6 code 3).
    HostUnreachable,
    /// The host does not speak the protocol (IPv4 code 2).
    ProtocolUnreachable,
    /// Nobody has the port (IPv4 code 3; IPv6 code 4).
    PortUnreachable,
    /// The packet is longer than a link takes (IPv4 code 4; `ICMPv6` packet too big).
    PacketTooBig,
    /// The source route failed, or the source address is out of scope (IPv4 code 5; IPv6 code 2).
    SourceRouteFailed,
    /// Forbidden by somebody on the way (IPv4 codes 9, 10, 13, 14, 15; IPv6 codes 1, 5, 6).
    Prohibited,
    /// The time to live ran out (code 0).
    TimeExceeded,
    /// Not all fragments arrived in time (code 1).
    ReassemblyTimeExceeded,
    /// A field of the header is wrong.
    ParameterProblem,
    /// IPv4 only, deprecated (RFC 6633), and to be ignored (RFC 9293 MUST-55).
    SourceQuench,
}

impl IcmpErrorKind {
    /// Whether it is a hard error, one which ends a connection that is being opened (RFC 9293 3.9.2.2, SHLD-26).
    /// [`PacketTooBig`](Self::PacketTooBig) is path MTU discovery's business and not counted among them.
    pub const fn is_hard(self) -> bool {
        matches!(self, Self::ProtocolUnreachable | Self::PortUnreachable)
    }

    /// The kind of an ICMP type and code; `None` when they are no error that is known.
    const fn from_wire(kind: u8, code: u8) -> Option<Self> {
        Some(match (kind, code) {
            (UNREACHABLE, 0 | 6 | 11) => Self::NetUnreachable,
            (UNREACHABLE, 1 | 7 | 8 | 12) => Self::HostUnreachable,
            (UNREACHABLE, 2) => Self::ProtocolUnreachable,
            (UNREACHABLE, 3) => Self::PortUnreachable,
            (UNREACHABLE, 4) => Self::PacketTooBig,
            (UNREACHABLE, 5) => Self::SourceRouteFailed,
            (UNREACHABLE, 9 | 10 | 13..=15) => Self::Prohibited,
            (TIME_EXCEEDED, 0) => Self::TimeExceeded,
            (TIME_EXCEEDED, 1) => Self::ReassemblyTimeExceeded,
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem,
            (SOURCE_QUENCH, _) => Self::SourceQuench,
            _ => return None,
        })
    }

    /// The ICMP type and code of the kind.
    const fn to_wire(self) -> (u8, u8) {
        match self {
            Self::NetUnreachable => (UNREACHABLE, 0),
            Self::HostUnreachable => (UNREACHABLE, 1),
            Self::ProtocolUnreachable => (UNREACHABLE, 2),
            Self::PortUnreachable => (UNREACHABLE, 3),
            Self::PacketTooBig => (UNREACHABLE, 4),
            Self::SourceRouteFailed => (UNREACHABLE, 5),
            Self::Prohibited => (UNREACHABLE, 13),
            Self::TimeExceeded => (TIME_EXCEEDED, 0),
            Self::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1),
            Self::ParameterProblem => (PARAMETER_PROBLEM, 0),
            Self::SourceQuench => (SOURCE_QUENCH, 0),
        }
    }
}

/// A message whose header is whole. Its checksum is the caller's to check, since `ICMPv6` sums a pseudo-header too.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    body: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks that the header is whole.
    ///
    /// # Errors
    /// [`ParseError::TruncatedIcmp`].
    pub fn check(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body) = bytes.split_first_chunk().ok_or(ParseError::TruncatedIcmp)?;
        Ok(Self { header, body })
    }

    /// The type field.
    pub const fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code field.
    pub const fn code(&self) -> u8 {
        self.header[1]
    }

    /// The second word of the header, whose meaning depends on the type.
    pub const fn word(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// Everything after the header: an echo's data or an error's quotation.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The message as an echo that begins at byte `at` of its frame.
    pub(super) fn echo(&self, at: usize) -> Echo {
        let word = self.word();
        Echo { ident: (word >> 16) as u16, sequence: word as u16, data: range(at + HEADER_LEN, self.body.len()) }
    }
}

/// Reads an ICMP message that begins at byte `at` of its frame.
pub(super) fn parse(bytes: &[u8], at: usize) -> Result<IcmpMessage, ParseError> {
    let view = View::check(bytes)?;
    if checksum::of(bytes) != 0 {
        return Err(ParseError::BadIcmpChecksum);
    }
    Ok(match (view.kind(), view.code()) {
        (ECHO_REQUEST, 0) => IcmpMessage::EchoRequest(view.echo(at)),
        (ECHO_REPLY, 0) => IcmpMessage::EchoReply(view.echo(at)),
        (kind, code) => match IcmpErrorKind::from_wire(kind, code) {
            Some(error) => {
                let mtu = if error == IcmpErrorKind::PacketTooBig { view.word() as u16 } else { 0 };
                let quoted = ipv4::quoted(view.body()).ok_or(ParseError::BadIcmpQuote)?;
                error_about(error, mtu, &quoted, protocol::TCP)?.unwrap_or(IcmpMessage::Other { kind, code })
            }
            None => IcmpMessage::Other { kind, code },
        },
    })
}

/// The error about the segment in `quoted`, `None` when that is not of protocol `tcp`.
pub(super) fn error_about(
    kind: IcmpErrorKind,
    mtu: u16,
    quoted: &Quoted<'_>,
    tcp: u8,
) -> Result<Option<IcmpMessage>, ParseError> {
    if quoted.protocol != tcp {
        return Ok(None);
    }
    // No more than the first 64 bits of the datagram's data can be counted on (RFC 792): ports and sequence number.
    let [a, b, c, d, seq @ ..] = *quoted.payload.first_chunk::<8>().ok_or(ParseError::BadIcmpQuote)?;
    let local = SocketAddr::new(quoted.src, u16::from_be_bytes([a, b]));
    let remote = SocketAddr::new(quoted.dst, u16::from_be_bytes([c, d]));
    let seq = Seq(u32::from_be_bytes(seq));
    let mtu = if mtu == 0 { None } else { Some(mtu) };
    Ok(Some(IcmpMessage::Error(IcmpError { kind, flow: Flow { local, remote }, seq, mtu })))
}

/// Writes the reply to an echo request, of the family of `ip`, over the frame that holds the request's data at
/// `echo.data` (it may be the request's own); the data is moved to its place behind the headers. Gives the frame's
/// length, 0 when it does not fit.
pub fn emit_echo_reply(frame: &mut [u8], eth: &EthernetHeader, ip: &IpHeader, echo: &Echo) -> usize {
    let kind = if ip.dst.is_v4() { ECHO_REPLY } else { icmpv6::ECHO_REPLY };
    emit_echo(frame, eth, ip, kind, echo).unwrap_or(0)
}

/// Writes an echo request; like [`emit_echo_reply`].
pub fn emit_echo_request(frame: &mut [u8], eth: &EthernetHeader, ip: &IpHeader, echo: &Echo) -> usize {
    let kind = if ip.dst.is_v4() { ECHO_REQUEST } else { icmpv6::ECHO_REQUEST };
    emit_echo(frame, eth, ip, kind, echo).unwrap_or(0)
}

/// Whether an ICMP error may be sent about `frame`, one that [`parse`](super::parse) refused or that found no
/// connection.
pub fn may_report(frame: &[u8]) -> bool {
    //= spec/rfc1122.txt#section-3.2.2
    //# An ICMP error message MUST NOT be sent as the result of receiving:
    // No error about an error, about a frame or packet to many, about a later fragment, or to a source that is not one
    // host. RFC 4443 2.4 (e) says the same for ICMPv6.
    let Ok(view) = ethernet::View::check(frame) else { return false };
    let quoted = match view.ether_type() {
        ether_type::IPV4 => ipv4::quoted(view.payload()),
        ether_type::IPV6 => ipv6::quoted(view.payload()),
        _ => None,
    };
    let Some(quoted) = quoted else { return false };
    let is_error = match (quoted.protocol, quoted.payload.first()) {
        (protocol::ICMP, Some(&kind)) => {
            matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
        }
        (protocol::ICMPV6, Some(&kind)) => icmpv6::is_error(kind),
        (protocol::ICMP | protocol::ICMPV6, None) => true,
        _ => false,
    };
    !is_error
        && !view.header().dst.is_group()
        && ip::check_source(&quoted.src, &quoted.dst).is_ok()
        && ip::check_destination(&quoted.dst).is_ok()
}

fn emit_echo(frame: &mut [u8], eth: &EthernetHeader, ip: &IpHeader, kind: u8, echo: &Echo) -> Option<usize> {
    let (start, end) = (usize::from(echo.data.start), usize::from(echo.data.end));
    let data_at = eth.len() + ip.wire_len() + HEADER_LEN;
    let len = end.checked_sub(start)?;
    if frame.len() < end || frame.len() < data_at + len {
        return None;
    }
    frame.copy_within(start..end, data_at);
    emit_message(frame, eth, ip, (kind, 0), u32::from(echo.ident) << 16 | u32::from(echo.sequence), len)
}

/// Writes an error of `kind`, of the family of `ip`, which quotes as much of `offending` (a packet from its IP header
/// on) as belongs in it: 576 bytes in all for IPv4, 1280 for IPv6. `mtu` is used with [`IcmpErrorKind::PacketTooBig`]
/// only. Gives the frame's length, 0 when it does not fit or the family has no such error.
///
/// Whether an error may be sent at all is [`may_report`]'s to say; how often, the caller's (RFC 1812 4.3.2.8).
pub fn emit_error(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    kind: IcmpErrorKind,
    mtu: Option<u16>,
    offending: &[u8],
) -> usize {
    try_emit_error(frame, eth, ip, kind, mtu, offending).unwrap_or(0)
}

fn try_emit_error(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    kind: IcmpErrorKind,
    mtu: Option<u16>,
    offending: &[u8],
) -> Option<usize> {
    let (wire, max_len) = if ip.dst.is_v4() {
        (kind.to_wire(), MAX_ERROR_LEN)
    } else {
        (icmpv6::error_to_wire(kind)?, icmpv6::MAX_ERROR_LEN)
    };
    let headers = ip.wire_len() + HEADER_LEN;
    let quote = offending.get(..offending.len().min(max_len - headers))?;
    frame.get_mut(eth.len() + headers..)?.get_mut(..quote.len())?.copy_from_slice(quote);
    let mtu = if kind == IcmpErrorKind::PacketTooBig { mtu.unwrap_or(0) } else { 0 };
    emit_message(frame, eth, ip, wire, u32::from(mtu), quote.len())
}

/// Writes the headers in front of `body_len` bytes that are in place, and the checksum over them.
fn emit_message(
    frame: &mut [u8],
    eth: &EthernetHeader,
    ip: &IpHeader,
    (kind, code): (u8, u8),
    word: u32,
    body_len: usize,
) -> Option<usize> {
    let len = u16::try_from(HEADER_LEN + body_len).ok()?;
    let (protocol, pseudo) = if ip.dst.is_v4() {
        (protocol::ICMP, checksum::Sum::ZERO)
    } else {
        (protocol::ICMPV6, ip::pseudo_header(&ip.src, &ip.dst, protocol::ICMPV6, len))
    };
    let at = ip::emit(frame, eth, ip, protocol, len)?;
    let end = at + usize::from(len);
    let message = frame.get_mut(at..end)?;
    let header = message.first_chunk_mut::<HEADER_LEN>()?;
    let [a, b, c, d] = word.to_be_bytes();
    *header = [kind, code, 0, 0, a, b, c, d];
    let sum = pseudo.add_bytes(message).finish();
    message.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Mac;
    use crate::tcp::segment::{Flags, Segment};
    use crate::wire::{Body, Checksums, emit_tcp, parse};

    const ETH: EthernetHeader =
        EthernetHeader { dst: Mac([2, 0, 0, 0, 0, 1]), src: Mac([2, 0, 0, 0, 0, 2]), vlan: None };
    const KINDS: [IcmpErrorKind; 11] = [
        IcmpErrorKind::NetUnreachable,
        IcmpErrorKind::HostUnreachable,
        IcmpErrorKind::ProtocolUnreachable,
        IcmpErrorKind::PortUnreachable,
        IcmpErrorKind::PacketTooBig,
        IcmpErrorKind::SourceRouteFailed,
        IcmpErrorKind::Prohibited,
        IcmpErrorKind::TimeExceeded,
        IcmpErrorKind::ReassemblyTimeExceeded,
        IcmpErrorKind::ParameterProblem,
        IcmpErrorKind::SourceQuench,
    ];

    fn addr(v4: bool, last: u8) -> Addr {
        if v4 { Addr::v4([10, 0, 0, last]) } else { Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]) }
    }

    /// A segment from host 1 to host 2.
    fn offending(v4: bool, out: &mut [u8]) -> usize {
        let ip = IpHeader::new(addr(v4, 1), addr(v4, 2));
        let segment = Segment { seq: Seq(77), flags: Flags::ACK, len: 1300, ..Segment::default() };
        emit_tcp(out, &ETH, &ip, (1000, 80), &segment)
    }

    #[test]
    fn every_kind_comes_back_with_the_flow_it_is_about() {
        for (v4, kind) in [true, false].into_iter().flat_map(|v4| KINDS.map(|kind| (v4, kind))) {
            let mut sent = [0; 1514];
            let sent_len = offending(v4, &mut sent);
            let mut frame = [0; 1514];
            let ip = IpHeader::new(addr(v4, 9), addr(v4, 1));
            let len = emit_error(&mut frame, &ETH, &ip, kind, Some(1400), &sent[ETH.len()..sent_len]);
            if !v4 && matches!(kind, IcmpErrorKind::ProtocolUnreachable | IcmpErrorKind::SourceQuench) {
                assert_eq!(len, 0, "ICMPv6 has no {kind:?}");
                continue;
            }
            assert_eq!(len - ETH.len(), if v4 { 576 } else { 1280 });
            let packet = parse(&frame[..len], Checksums::VERIFY).expect("valid");
            let (Body::Icmp(icmp) | Body::Icmpv6(icmp)) = packet.body else { panic!("{packet:?}") };
            let flow = Flow { local: SocketAddr::new(addr(v4, 1), 1000), remote: SocketAddr::new(addr(v4, 2), 80) };
            let mtu = (kind == IcmpErrorKind::PacketTooBig).then_some(1400);
            assert_eq!(icmp.message, IcmpMessage::Error(IcmpError { kind, flow, seq: Seq(77), mtu }));
            assert!(!may_report(&frame[..len]), "no error about an error");
        }
    }

    #[test]
    fn an_error_needs_the_first_eight_bytes_and_tcp() {
        let mut sent = [0; 1514];
        offending(true, &mut sent);
        let ip = IpHeader::new(addr(true, 9), addr(true, 1));
        let kind = IcmpErrorKind::HostUnreachable;
        let mut frame = [0; 1514];
        let outcome = |frame: &mut [u8], quote: &[u8]| {
            let len = emit_error(frame, &ETH, &ip, kind, None, quote);
            parse(&frame[..len], Checksums::VERIFY)
        };
        for cut in 0..28 {
            let quote = &sent[ETH.len()..ETH.len() + cut];
            assert_eq!(outcome(&mut frame, quote), Err(ParseError::BadIcmpQuote), "{cut}");
        }
        assert!(outcome(&mut frame, &sent[ETH.len()..ETH.len() + 28]).is_ok());
        let mut udp = sent;
        udp[ETH.len() + 9] = 17;
        let packet = outcome(&mut frame, &udp[ETH.len()..ETH.len() + 28]).expect("valid");
        let Body::Icmp(icmp) = packet.body else { panic!("{packet:?}") };
        assert_eq!(icmp.message, IcmpMessage::Other { kind: 3, code: 1 });
    }

    #[test]
    fn an_echo_is_answered_in_its_own_frame() {
        for v4 in [true, false] {
            let mut frame = [0; 200];
            frame[150..156].copy_from_slice(b"corela");
            let request = Echo { ident: 7, sequence: 9, data: 150..156 };
            let ip = IpHeader::new(addr(v4, 1), addr(v4, 2));
            let len = emit_echo_request(&mut frame, &ETH, &ip, &request);
            let packet = parse(&frame[..len], Checksums::VERIFY).expect("valid");
            let (Body::Icmp(icmp) | Body::Icmpv6(icmp)) = packet.body else { panic!("{packet:?}") };
            let IcmpMessage::EchoRequest(echo) = icmp.message else { panic!("{:?}", icmp.message) };
            assert_eq!((echo.ident, echo.sequence), (7, 9));

            // The reply goes out tagged, so that the data has to move.
            let eth = EthernetHeader { vlan: Some(4), ..ETH };
            let back = IpHeader::new(addr(v4, 2), addr(v4, 1));
            let reply_len = emit_echo_reply(&mut frame, &eth, &back, &echo);
            assert_eq!(reply_len, len + 4);
            let packet = parse(&frame[..reply_len], Checksums::VERIFY).expect("valid");
            let (Body::Icmp(icmp) | Body::Icmpv6(icmp)) = packet.body else { panic!("{packet:?}") };
            let IcmpMessage::EchoReply(echo) = icmp.message else { panic!("{:?}", icmp.message) };
            assert_eq!(&frame[usize::from(echo.data.start)..usize::from(echo.data.end)], b"corela");
            assert_eq!(emit_echo_reply(&mut frame[..reply_len - 1], &eth, &back, &echo), 0);
        }
    }

    #[test]
    fn a_wrong_checksum_or_a_short_header_is_refused() {
        let mut frame = [0; 64];
        for v4 in [true, false] {
            let ip = IpHeader::new(addr(v4, 1), addr(v4, 2));
            let len = emit_echo_request(&mut frame, &ETH, &ip, &Echo::default());
            frame[len - 1] ^= 1;
            assert_eq!(parse(&frame[..len], Checksums::TRUST), Err(ParseError::BadIcmpChecksum));
            for short in 0..HEADER_LEN {
                assert_eq!(View::check(&frame[..short]).err(), Some(ParseError::TruncatedIcmp));
            }
        }
    }

    #[test]
    fn nothing_is_reported_to_or_about_many() {
        let mut frame = [0; 1514];
        let report = |src: Addr, dst: Addr, mac: Mac, frame: &mut [u8]| {
            let eth = EthernetHeader { dst: mac, ..ETH };
            let len = emit_tcp(frame, &eth, &IpHeader::new(src, dst), (1, 2), &Segment::default());
            assert!(len > 0);
            may_report(&frame[..len])
        };
        let (a, b) = (addr(true, 1), addr(true, 2));
        assert!(report(a, b, ETH.dst, &mut frame));
        assert!(report(addr(false, 1), addr(false, 2), ETH.dst, &mut frame));
        assert!(!report(a, b, Mac::BROADCAST, &mut frame));
        assert!(!report(a, Addr::v4([224, 0, 0, 1]), ETH.dst, &mut frame));
        assert!(!report(Addr::v4([0; 4]), b, ETH.dst, &mut frame));
        assert!(report(a, b, ETH.dst, &mut frame));
        frame[ETH.len() + 7] = 1;
        assert!(!may_report(&frame), "a later fragment");
        assert!(!may_report(&frame[..20]));
    }
}
