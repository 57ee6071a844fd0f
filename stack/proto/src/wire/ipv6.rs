//! The IPv6 header (RFC 8200 3) and the extension headers in front of the payload (RFC 8200 4).

use super::ParseError;
use super::ip::{IpHeader, Quoted};
use crate::addr::Addr;

/// Bytes of the header without extensions.
pub const HEADER_LEN: usize = 40;

/// How many extension headers are walked before the packet is refused: each may stand once, and a chain of them is
/// work that a sender would get for free.
const MAX_EXTENSIONS: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// A packet whose version, length and extension headers have been checked; what a link put behind it has been cut off.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    protocol: u8,
    payload: &'a [u8],
    header_len: usize,
}

impl<'a> View<'a> {
    /// Checks the header at the start of `bytes` and walks over its extension headers.
    ///
    /// # Errors
    /// [`ParseError::TruncatedIp`], [`BadIpVersion`](ParseError::BadIpVersion),
    /// [`BadExtensionHeader`](ParseError::BadExtensionHeader), [`Fragment`](ParseError::Fragment), and
    /// [`MappedAddress`](ParseError::MappedAddress).
    #[inline]
    pub fn check(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(ParseError::TruncatedIp)?;
        if header[0] >> 4 != 6 {
            return Err(ParseError::BadIpVersion);
        }
        let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let body = rest.get(..payload_len).ok_or(ParseError::TruncatedIp)?;
        let (protocol, payload) = skip_extensions(header[6], body)?;
        let view = Self { header, protocol, payload, header_len: HEADER_LEN + body.len() - payload.len() };
        let (src, dst) = view.addresses();
        // Addr holds IPv4 in this form: from the wire it would pass for an IPv4 host (RFC 4291 2.5.5.2).
        if src.is_v4() || dst.is_v4() {
            return Err(ParseError::MappedAddress);
        }
        Ok(view)
    }

    /// The header as a value.
    #[inline]
    pub fn header(&self) -> IpHeader {
        let (src, dst) = self.addresses();
        let first = u32::from_be_bytes([self.header[0], self.header[1], self.header[2], self.header[3]]);
        IpHeader { src, dst, ttl: self.header[7], tos: (first >> 20) as u8, ident: 0, flow_label: first & 0xf_ffff }
    }

    /// The payload's protocol number, behind the extension headers.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Bytes of the header and its extensions.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// The payload, as long as the payload length says.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    #[inline]
    fn addresses(&self) -> (Addr, Addr) {
        addresses(self.header)
    }
}

/// Reads the header of a packet that an ICMP error quotes; `None` when there is none.
pub(super) fn quoted(bytes: &[u8]) -> Option<Quoted<'_>> {
    let (header, body) = bytes.split_first_chunk::<HEADER_LEN>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let (protocol, payload) = skip_extensions(header[6], body).ok()?;
    let (src, dst) = addresses(header);
    if src.is_v4() || dst.is_v4() {
        return None;
    }
    Some(Quoted { src, dst, protocol, payload })
}

#[inline]
fn addresses(header: &[u8; HEADER_LEN]) -> (Addr, Addr) {
    let mut src = [0; 16];
    let mut dst = [0; 16];
    src.copy_from_slice(&header[8..24]);
    dst.copy_from_slice(&header[24..40]);
    (Addr::v6(src), Addr::v6(dst))
}

/// Walks from the next-header value `next` to the protocol that is none of the extensions.
#[inline]
fn skip_extensions(next: u8, body: &[u8]) -> Result<(u8, &[u8]), ParseError> {
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => walk_extensions(next, body),
        _ => Ok((next, body)),
    }
}

#[cold]
fn walk_extensions(mut next: u8, mut body: &[u8]) -> Result<(u8, &[u8]), ParseError> {
    for nth in 0..MAX_EXTENSIONS {
        let (extension, rest) = match next {
            FRAGMENT => split_fragment_header(body)?,
            //= spec/rfc8200.txt#section-4.1
            //# except for the Hop-by-Hop Options header, which is restricted to appear immediately after an IPv6
            //# header only.
            HOP_BY_HOP if nth != 0 => return Err(ParseError::BadExtensionHeader),
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let (extension, rest) = split_extension(body)?;
                check_options(extension.get(2..).unwrap_or_default())?;
                (extension, rest)
            }
            ROUTING => split_routing_header(body)?,
            _ => return Ok((next, body)),
        };
        next = extension.first().copied().ok_or(ParseError::BadExtensionHeader)?;
        body = rest;
    }
    match next {
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS => Err(ParseError::BadExtensionHeader),
        _ => Ok((next, body)),
    }
}

/// An extension header that gives its length in units of 8 bytes beyond the first.
fn split_extension(body: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let len = body.get(1).map(|&units| (usize::from(units) + 1) * 8);
    len.and_then(|len| body.split_at_checked(len)).ok_or(ParseError::BadExtensionHeader)
}

fn split_fragment_header(body: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let (header, rest) = body.split_at_checked(8).ok_or(ParseError::BadExtensionHeader)?;
    // RFC 6946: a fragment header with offset 0 and no more to come is on a whole packet.
    match header {
        [_, _, offset, more, ..] if *offset == 0 && more & 0xf9 == 0 => Ok((header, rest)),
        _ => Err(ParseError::Fragment),
    }
}

fn split_routing_header(body: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let (header, rest) = split_extension(body)?;
    //= spec/rfc8200.txt#section-4.4
    //# If Segments Left is zero, the node must ignore the Routing header and proceed to process the next header in
    //# the packet, whose type is identified by the Next Header field in the Routing header.
    //= spec/rfc8200.txt#section-4.4
    //# If Segments Left is non-zero, the node must discard the packet
    match header {
        [_, _, _, 0, ..] => Ok((header, rest)),
        _ => Err(ParseError::BadExtensionHeader),
    }
}

/// Whether every option may be skipped by a node that knows only padding.
fn check_options(mut options: &[u8]) -> Result<(), ParseError> {
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            options = rest;
            continue;
        }
        //= spec/rfc8200.txt#section-4.2
        //# The Option Type identifiers are internally encoded such that their highest-order 2 bits specify the action
        //# that must be taken if the processing IPv6 node does not recognize the Option Type:
        // The two highest bits of an unknown option's type say what to do: 00 skip it, everything else discard.
        if kind & 0xc0 != 0 {
            return Err(ParseError::BadExtensionHeader);
        }
        let len = rest.first().copied().ok_or(ParseError::BadExtensionHeader)?;
        options = rest.get(1 + usize::from(len)..).ok_or(ParseError::BadExtensionHeader)?;
    }
    Ok(())
}

/// Writes a header for `payload_len` bytes of `protocol`; gives its 40 bytes, `None` when it does not fit or an address
/// is IPv4.
#[inline]
pub fn emit(out: &mut [u8], ip: &IpHeader, protocol: u8, payload_len: u16) -> Option<usize> {
    let out = out.first_chunk_mut::<HEADER_LEN>()?;
    if ip.src.is_v4() || ip.dst.is_v4() {
        return None;
    }
    let first = 6 << 28 | u32::from(ip.tos) << 20 | ip.flow_label & 0xf_ffff;
    out[..4].copy_from_slice(&first.to_be_bytes());
    out[4..6].copy_from_slice(&payload_len.to_be_bytes());
    out[6..8].copy_from_slice(&[protocol, ip.ttl]);
    out[8..24].copy_from_slice(&ip.src.octets());
    out[24..40].copy_from_slice(&ip.dst.octets());
    Some(HEADER_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const IP: IpHeader = IpHeader {
        src: Addr::v6([0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        dst: Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ttl: 63,
        tos: 0xb9,
        ident: 0,
        flow_label: 0xa_bcde,
    };

    /// A packet with `extensions`, the first of them of kind `next`, then 4 bytes of payload and 3 of padding.
    fn packet(next: u8, extensions: &[&[u8]]) -> Vec<u8> {
        let body = extensions.concat();
        let mut packet = std::vec![0; HEADER_LEN];
        emit(&mut packet, &IP, next, u16::try_from(body.len() + 4).expect("short")).expect("fits");
        packet.extend_from_slice(&body);
        packet.extend_from_slice(b"data");
        packet.extend_from_slice(&[0; 3]);
        packet
    }

    #[test]
    fn round_trip() {
        let packet = packet(6, &[]);
        let view = View::check(&packet).expect("valid");
        assert_eq!(view.header(), IP);
        assert_eq!((view.protocol(), view.header_len(), view.payload()), (6, 40, &b"data"[..]));
        for short in 0..44 {
            assert_eq!(View::check(&packet[..short]).err(), Some(ParseError::TruncatedIp), "{short}");
        }
    }

    #[test]
    fn harmless_extensions_are_stepped_over() {
        let hop = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        let destination = [ROUTING, 1, 0x05, 2, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0];
        let routing = [FRAGMENT, 0, 4, 0, 0, 0, 0, 0];
        let atomic = [6, 0, 0, 0, 1, 2, 3, 4];
        let packet = packet(HOP_BY_HOP, &[&hop, &destination, &routing, &atomic]);
        let view = View::check(&packet).expect("valid");
        assert_eq!((view.protocol(), view.header_len(), view.payload()), (6, 80, &b"data"[..]));
    }

    #[test]
    fn the_others_are_refused() {
        let nop = [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        let last = [6, 0, 1, 4, 0, 0, 0, 0];
        let cases: [(u8, &[&[u8]]); 9] = [
            (DESTINATION_OPTIONS, &[&[6, 9, 1, 4, 0, 0, 0, 0]]),
            (DESTINATION_OPTIONS, &[&[6, 0, 1, 5, 0, 0, 0, 0]]),
            (DESTINATION_OPTIONS, &[&[6, 0, 1, 3, 0, 0, 0, 1]]),
            (DESTINATION_OPTIONS, &[&[6, 0, 0x45, 4, 0, 0, 0, 0]]),
            (DESTINATION_OPTIONS, &[&[6, 0, 0xc2, 4, 0, 0, 0, 0]]),
            (DESTINATION_OPTIONS, &[&[HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0], &last]),
            (DESTINATION_OPTIONS, &[&nop, &nop, &nop, &nop, &last]),
            (ROUTING, &[&[6, 0, 4, 1, 0, 0, 0, 0]]),
            (HOP_BY_HOP, &[]),
        ];
        for (next, extensions) in cases {
            let packet = packet(next, extensions);
            assert_eq!(View::check(&packet).err(), Some(ParseError::BadExtensionHeader), "{extensions:?}");
        }
        for flags in [[0, 1], [0, 8], [1, 0]] {
            let packet = packet(FRAGMENT, &[&[6, 0, flags[0], flags[1], 0, 0, 0, 0]]);
            assert_eq!(View::check(&packet).err(), Some(ParseError::Fragment), "{flags:?}");
        }
    }

    #[test]
    fn a_mapped_address_never_comes_from_the_wire() {
        for at in [8, 24] {
            let mut packet = packet(6, &[]);
            packet[at..at + 16].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
            assert_eq!(View::check(&packet).err(), Some(ParseError::MappedAddress));
            assert!(quoted(&packet).is_none());
        }
        let mut out = [0; 40];
        assert_eq!(emit(&mut out, &IpHeader { src: Addr::v4([10, 0, 0, 1]), ..IP }, 6, 0), None);
        assert_eq!(emit(&mut out[..39], &IP, 6, 0), None);
    }
}
