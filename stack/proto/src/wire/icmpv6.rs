//! `ICMPv6` echo and errors (RFC 4443); neighbour discovery is not here.

use super::icmp::{IcmpErrorKind, IcmpMessage, View, error_about};
use super::ip::{self, IpHeader, protocol};
use super::{ParseError, ipv6};

pub(super) const ECHO_REQUEST: u8 = 128;
pub(super) const ECHO_REPLY: u8 = 129;

/// The longest error that is sent, IP header included: the minimum IPv6 MTU (RFC 4443 2.4 (c)).
pub(super) const MAX_ERROR_LEN: usize = 1280;

const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const REDIRECT: u8 = 137;

/// Reads an `ICMPv6` message that begins at byte `at` of its frame.
pub(super) fn parse(ip: &IpHeader, bytes: &[u8], at: usize) -> Result<IcmpMessage, ParseError> {
    let view = View::check(bytes)?;
    let len = u16::try_from(bytes.len()).map_err(|_| ParseError::Oversized)?;
    //= spec/rfc4443.txt#section-2.3
    //# The checksum is the 16-bit one's complement of the one's complement sum of the entire ICMPv6 message, starting
    //# with the ICMPv6 message type field, and prepended with a "pseudo-header" of IPv6 header fields,
    // The checksum covers the IPv6 pseudo-header, unlike ICMP's.
    if ip::pseudo_header(&ip.src, &ip.dst, protocol::ICMPV6, len).add_bytes(bytes).finish() != 0 {
        return Err(ParseError::BadIcmpChecksum);
    }
    Ok(match (view.kind(), view.code()) {
        (ECHO_REQUEST, 0) => IcmpMessage::EchoRequest(view.echo(at)),
        (ECHO_REPLY, 0) => IcmpMessage::EchoReply(view.echo(at)),
        (kind, code) => match error_from_wire(kind, code) {
            Some(error) => {
                let mtu = if error == IcmpErrorKind::PacketTooBig { view.word() } else { 0 };
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                let quoted = ipv6::quoted(view.body()).ok_or(ParseError::BadIcmpQuote)?;
                error_about(error, mtu, &quoted, protocol::TCP)?.unwrap_or(IcmpMessage::Other { kind, code })
            }
            None => IcmpMessage::Other { kind, code },
        },
    })
}

/// Whether an `ICMPv6` type is an error, or a redirect, which is answered by no error either.
pub(super) const fn is_error(kind: u8) -> bool {
    kind < 128 || kind == REDIRECT
}

/// The kind of an `ICMPv6` type and code; `None` when they are no error that is known.
const fn error_from_wire(kind: u8, code: u8) -> Option<IcmpErrorKind> {
    Some(match (kind, code) {
        (UNREACHABLE, 0) => IcmpErrorKind::NetUnreachable,
        (UNREACHABLE, 2) => IcmpErrorKind::SourceRouteFailed,
        (UNREACHABLE, 3) => IcmpErrorKind::HostUnreachable,
        (UNREACHABLE, 4) => IcmpErrorKind::PortUnreachable,
        (UNREACHABLE, 1 | 5 | 6) => IcmpErrorKind::Prohibited,
        (PACKET_TOO_BIG, _) => IcmpErrorKind::PacketTooBig,
        (TIME_EXCEEDED, 0) => IcmpErrorKind::TimeExceeded,
        (TIME_EXCEEDED, 1) => IcmpErrorKind::ReassemblyTimeExceeded,
        (PARAMETER_PROBLEM, _) => IcmpErrorKind::ParameterProblem,
        _ => return None,
    })
}

/// The `ICMPv6` type and code of a kind; `None` for what only ICMP has.
pub(super) const fn error_to_wire(kind: IcmpErrorKind) -> Option<(u8, u8)> {
    Some(match kind {
        IcmpErrorKind::NetUnreachable => (UNREACHABLE, 0),
        IcmpErrorKind::Prohibited => (UNREACHABLE, 1),
        IcmpErrorKind::SourceRouteFailed => (UNREACHABLE, 2),
        IcmpErrorKind::HostUnreachable => (UNREACHABLE, 3),
        IcmpErrorKind::PortUnreachable => (UNREACHABLE, 4),
        IcmpErrorKind::PacketTooBig => (PACKET_TOO_BIG, 0),
        IcmpErrorKind::TimeExceeded => (TIME_EXCEEDED, 0),
        IcmpErrorKind::ReassemblyTimeExceeded => (TIME_EXCEEDED, 1),
        IcmpErrorKind::ParameterProblem => (PARAMETER_PROBLEM, 0),
        IcmpErrorKind::ProtocolUnreachable | IcmpErrorKind::SourceQuench => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_can_be_sent_is_read_back() {
        for (kind, code) in (0..=255).flat_map(|kind| (0..=7).map(move |code| (kind, code))) {
            let Some(error) = error_from_wire(kind, code) else { continue };
            let wire = error_to_wire(error).expect("ICMPv6 has what it sends");
            assert_eq!(error_from_wire(wire.0, wire.1), Some(error));
            assert!(is_error(kind));
        }
        assert!(!is_error(ECHO_REQUEST) && is_error(REDIRECT));
    }
}
