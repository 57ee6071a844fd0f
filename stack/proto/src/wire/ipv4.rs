//! The IPv4 header (RFC 791 3.1).

use super::ParseError;
use super::checksum;
use super::ip::{IpHeader, Quoted};
use super::source_route::{self, SourceRoute};
use crate::addr::Addr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A packet whose lengths and checksum have been checked; what a link put behind it has been cut off.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the header at the start of `bytes`, and its checksum when `verify` says so.
    ///
    /// # Errors
    /// [`ParseError::TruncatedIp`], [`BadIpVersion`](ParseError::BadIpVersion),
    /// [`BadHeaderLength`](ParseError::BadHeaderLength), [`BadTotalLength`](ParseError::BadTotalLength),
    /// [`BadIpChecksum`](ParseError::BadIpChecksum).
    #[inline]
    pub fn check(bytes: &'a [u8], verify: bool) -> Result<Self, ParseError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(ParseError::TruncatedIp)?;
        let header_len = header_len(header)?;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if total_len < header_len {
            return Err(ParseError::BadTotalLength);
        }
        let packet = bytes.get(..total_len).ok_or(ParseError::TruncatedIp)?;
        let (whole_header, payload) = packet.split_at_checked(header_len).ok_or(ParseError::BadTotalLength)?;
        //= spec/rfc1122.txt#section-3.2.1.2
        //# A host MUST verify the IP header checksum on every received datagram and silently discard every datagram
        //# that has a bad checksum.
        if verify && checksum::of(whole_header) != 0 {
            return Err(ParseError::BadIpChecksum);
        }
        //= spec/rfc9293.txt#section-3.9.2
        //# When received options are passed up to TCP from the IP layer, a TCP implementation MUST ignore options
        //# that it does not understand (MUST-50).
        let options = whole_header.get(HEADER_LEN..).unwrap_or_default();
        Ok(Self { header, options, payload })
    }

    /// The header as a value.
    #[inline]
    pub fn header(&self) -> IpHeader {
        let [_, tos, _, _, i0, i1, _, _, ttl, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *self.header;
        IpHeader {
            src: Addr::v4([s0, s1, s2, s3]),
            dst: Addr::v4([d0, d1, d2, d3]),
            ttl,
            tos,
            ident: u16::from_be_bytes([i0, i1]),
            flow_label: 0,
        }
    }

    /// The payload's protocol number.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.header[9]
    }

    /// Whether this is a part of a datagram: more fragments follow, or it is not the first.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        u16::from_be_bytes([self.header[6], self.header[7]]) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Whether routers may not split it.
    pub const fn dont_fragment(&self) -> bool {
        u16::from_be_bytes([self.header[6], self.header[7]]) & DONT_FRAGMENT != 0
    }

    /// Bytes of the header, options included: 20-60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// The header's options, not interpreted: see [`SourceRoute`] for the only ones that this stack knows.
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The payload, as long as the total length says.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Reads the header of a packet that an ICMP error quotes; `None` when there is none or it has no ports.
pub(super) fn quoted(bytes: &[u8]) -> Option<Quoted<'_>> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    let payload = bytes.get(header_len(header).ok()?..)?;
    // Only the first fragment has the ports.
    if u16::from_be_bytes([header[6], header[7]]) & OFFSET_MASK != 0 {
        return None;
    }
    let [_, _, _, _, _, _, _, _, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let (src, dst) = (Addr::v4([s0, s1, s2, s3]), Addr::v4([d0, d1, d2, d3]));
    // On a source route the header names the next gateway.
    let options = bytes.get(HEADER_LEN..bytes.len() - payload.len()).unwrap_or_default();
    let dst = source_route::final_destination(options).unwrap_or(dst);
    Some(Quoted { src, dst, protocol, payload })
}

/// The length that the first byte gives, when it is version 4 and at least five words.
#[inline]
fn header_len(header: &[u8; HEADER_LEN]) -> Result<usize, ParseError> {
    if header[0] >> 4 != 4 {
        return Err(ParseError::BadIpVersion);
    }
    let len = usize::from(header[0] & 0x0f) * 4;
    if len < HEADER_LEN { Err(ParseError::BadHeaderLength) } else { Ok(len) }
}

/// Writes a header without options for `payload_len` bytes of `protocol`, with DF set; gives its 20 bytes, `None` when
/// it does not fit, the packet would be longer than 65535 bytes, or an address is not IPv4.
#[inline]
pub fn emit(out: &mut [u8], ip: &IpHeader, protocol: u8, payload_len: u16) -> Option<usize> {
    let out = out.first_chunk_mut::<HEADER_LEN>()?;
    let [l0, l1] = payload_len.checked_add(HEADER_LEN as u16)?.to_be_bytes();
    let [i0, i1] = ip.ident.to_be_bytes();
    let [f0, f1] = DONT_FRAGMENT.to_be_bytes();
    let [s0, s1, s2, s3] = ip.src.as_v4()?;
    let [d0, d1, d2, d3] = ip.dst.as_v4()?;
    *out = [0x45, ip.tos, l0, l1, i0, i1, f0, f1, ip.ttl, protocol, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let [c0, c1] = checksum::of(out).to_be_bytes();
    [out[10], out[11]] = [c0, c1];
    Some(HEADER_LEN)
}

/// Writes a header like [`emit`] for a packet that goes to `ip.dst` by way of `route`; gives its 28 to 60 bytes.
pub(super) fn emit_by(
    out: &mut [u8],
    ip: &IpHeader,
    route: &SourceRoute,
    protocol: u8,
    payload_len: u16,
) -> Option<usize> {
    let len = HEADER_LEN + route.wire_len();
    let header = out.get_mut(..len)?;
    // The option counts as payload until the header's length is right.
    let payload_len = payload_len.checked_add(u16::try_from(route.wire_len()).ok()?)?;
    emit(header, &IpHeader { dst: route.first(), ..*ip }, protocol, payload_len)?;
    route.emit(header.get_mut(HEADER_LEN..)?, ip.dst.as_v4()?)?;
    header[0] = 0x40 | (len / 4) as u8;
    [header[10], header[11]] = [0, 0];
    let [c0, c1] = checksum::of(header).to_be_bytes();
    [header[10], header[11]] = [c0, c1];
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpHeader = IpHeader {
        src: Addr::v4([10, 1, 2, 3]),
        dst: Addr::v4([10, 4, 5, 6]),
        ttl: 63,
        tos: 0xb9,
        ident: 0x1234,
        flow_label: 0,
    };

    /// A packet of 8 bytes of payload behind 4 bytes of options and in front of 6 bytes of padding.
    fn packet_with_options() -> [u8; 38] {
        let mut plain = [0; 38];
        assert_eq!(emit(&mut plain, &IP, 6, 12), Some(HEADER_LEN));
        plain[0] = 0x46;
        plain[20..24].copy_from_slice(&[1, 1, 1, 0]);
        plain[24..32].copy_from_slice(b"12345678");
        seal(&mut plain, 24);
        plain
    }

    fn seal(packet: &mut [u8], header_len: usize) {
        packet[10..12].fill(0);
        let sum = checksum::of(&packet[..header_len]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn round_trip_with_df_and_no_padding() {
        let mut packet = [0; 60];
        assert_eq!(emit(&mut packet, &IP, 6, 30), Some(20));
        let view = View::check(&packet, true).expect("valid");
        assert_eq!(view.header(), IP);
        assert_eq!((view.protocol(), view.header_len(), view.payload().len()), (6, 20, 30));
        assert!(view.dont_fragment() && !view.is_fragment() && view.options().is_empty());
    }

    //= spec/rfc9293.txt#section-3.9.2
    //= type=test
    //# When received options are passed up to TCP from the IP layer, a TCP implementation MUST ignore options that it
    //# does not understand (MUST-50).
    #[test]
    fn options_are_stepped_over() {
        let packet = packet_with_options();
        let view = View::check(&packet, true).expect("valid");
        assert_eq!((view.options(), view.payload()), (&[1u8, 1, 1, 0][..], &b"12345678"[..]));
    }

    //= spec/rfc1122.txt#section-3.2.1.2
    //= type=test
    //# A host MUST verify the IP header checksum on every received datagram and silently discard every datagram that
    //# has a bad checksum.
    #[test]
    fn each_wrong_field_has_its_reason() {
        let refuse = |change: &dyn Fn(&mut [u8])| {
            let mut packet = packet_with_options();
            change(&mut packet);
            View::check(&packet, true).err()
        };
        assert_eq!(refuse(&|p| p[0] = 0x66), Some(ParseError::BadIpVersion));
        assert_eq!(refuse(&|p| p[0] = 0x44), Some(ParseError::BadHeaderLength));
        assert_eq!(refuse(&|p| p[3] = 23), Some(ParseError::BadTotalLength));
        assert_eq!(refuse(&|p| p[3] = 39), Some(ParseError::TruncatedIp));
        assert_eq!(refuse(&|p| p[8] ^= 1), Some(ParseError::BadIpChecksum));
        assert_eq!(refuse(&|p| p[21] ^= 1), Some(ParseError::BadIpChecksum), "options are summed too");
        let mut unsealed = packet_with_options();
        unsealed[8] ^= 1;
        assert!(View::check(&unsealed, false).is_ok());
    }

    #[test]
    fn fragments_are_seen() {
        for (flags, fragment) in [(0x4000u16, false), (0, false), (0x8000, false), (0x2000, true), (0x0001, true)] {
            let mut packet = packet_with_options();
            packet[6..8].copy_from_slice(&flags.to_be_bytes());
            seal(&mut packet, 24);
            assert_eq!(View::check(&packet, true).expect("valid").is_fragment(), fragment, "{flags:#x}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut out = [0; 20];
        assert_eq!(emit(&mut out[..19], &IP, 6, 0), None);
        assert_eq!(emit(&mut out, &IP, 6, u16::MAX - 19), None);
        assert_eq!(emit(&mut out, &IpHeader { src: Addr::v6([1; 16]), ..IP }, 6, 0), None);
    }
}
