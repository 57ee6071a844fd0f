//! The TCP header (RFC 9293 3.1).

use super::ip::{self, protocol};
use super::{ParseError, tcp_option};
use crate::addr::Addr;
use crate::tcp::segment::{Codepoint, Flags, Segment};
use crate::tcp::seq::Seq;

/// Which bits beside the data offset are flags: AE. The other three are reserved, sent as zero and not looked at.
const HIGH_FLAGS: u8 = 1;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of the longest header.
pub const MAX_HEADER_LEN: usize = HEADER_LEN + tcp_option::MAX_LEN;

/// A segment whose header is whole.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    header: &'a [u8; HEADER_LEN],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the header at the start of `bytes`, which are the whole segment.
    ///
    /// # Errors
    /// [`ParseError::TruncatedTcp`], [`BadTcpDataOffset`](ParseError::BadTcpDataOffset).
    #[inline]
    pub fn check(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(ParseError::TruncatedTcp)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(ParseError::BadTcpDataOffset);
        }
        let (whole_header, payload) = bytes.split_at_checked(header_len).ok_or(ParseError::TruncatedTcp)?;
        let options = whole_header.get(HEADER_LEN..).unwrap_or_default();
        Ok(Self { bytes, header, options, payload })
    }

    /// Whether the checksum is right for a segment between these addresses.
    #[inline]
    pub fn verify(&self, src: &Addr, dst: &Addr) -> bool {
        //= spec/rfc9293.txt#section-3.1
        //# the receiver MUST check it (MUST-3).
        u16::try_from(self.bytes.len())
            .is_ok_and(|len| ip::pseudo_header(src, dst, protocol::TCP, len).add_bytes(self.bytes).finish() == 0)
    }

    /// Source port.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Bytes of the header, options included: 20-60.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// The options, for [`tcp_option::options`].
    #[inline]
    pub const fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The payload.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The segment as a value.
    #[inline]
    pub fn segment(&self) -> Segment {
        let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1] = *self.header;
        Segment {
            seq: Seq(u32::from_be_bytes([s0, s1, s2, s3])),
            ack: Seq(u32::from_be_bytes([a0, a1, a2, a3])),
            flags: Flags(u16::from_be_bytes([offset & HIGH_FLAGS, flags])),
            window: u16::from_be_bytes([w0, w1]),
            urgent: u16::from_be_bytes([u0, u1]),
            // A view is made of what an IP packet holds, so this never saturates.
            len: u16::try_from(self.payload.len()).unwrap_or(u16::MAX),
            ecn: Codepoint::NotEct,
            //= spec/rfc9293.txt#section-3.1
            //# A TCP implementation MUST be able to receive a TCP Option in any segment (MUST-5).
            options: tcp_option::parse(self.options),
        }
    }
}

/// Writes the header of `segment` in front of its `segment.len` bytes of payload, which are in place, and the checksum
/// over all of it. Gives the header's and the payload's bytes together, `None` when `out` is too short for them or they
/// are more than 65535.
#[inline]
pub fn emit(out: &mut [u8], src: &Addr, dst: &Addr, ports: (u16, u16), segment: &Segment) -> Option<usize> {
    let header_len = HEADER_LEN + segment.options.wire_len();
    let len = u16::try_from(header_len + usize::from(segment.len)).ok()?;
    let out = out.get_mut(..usize::from(len))?;
    let (header, rest) = out.split_first_chunk_mut::<HEADER_LEN>()?;
    let ([p0, p1], [p2, p3]) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    let ([s0, s1, s2, s3], [a0, a1, a2, a3]) = (segment.seq.0.to_be_bytes(), segment.ack.0.to_be_bytes());
    let ([w0, w1], [u0, u1]) = (segment.window.to_be_bytes(), segment.urgent.to_be_bytes());
    // The data offset counts words; wire_len never gives more than 40 bytes, so it fits its four bits.
    let [high, flags] = segment.flags.0.to_be_bytes();
    let offset = ((header_len / 4) as u8) << 4 | high & HIGH_FLAGS;
    *header = [p0, p1, p2, p3, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, 0, 0, u0, u1];
    tcp_option::emit(rest, &segment.options)?;
    //= spec/rfc9293.txt#section-3.1
    //# The sender MUST generate it (MUST-2)
    let sum = ip::pseudo_header(src, dst, protocol::TCP, len).add_bytes(out).finish();
    out.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    Some(usize::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::Options;

    const SRC: Addr = Addr::v4([10, 0, 0, 1]);
    const DST: Addr = Addr::v4([10, 0, 0, 2]);

    fn segment() -> Segment {
        Segment {
            seq: Seq(0x0102_0304),
            ack: Seq(0x0506_0708),
            flags: Flags(0x1ff),
            window: 0x090a,
            urgent: 0x0b0c,
            len: 3,
            ecn: Codepoint::NotEct,
            options: Options { mss: Some(1460), ..Options::NONE },
        }
    }

    #[test]
    fn fields_stand_where_the_rfc_draws_them() {
        let mut out = [0; 27];
        out[24..].copy_from_slice(b"abc");
        assert_eq!(emit(&mut out, &SRC, &DST, (0x1112, 0x1314), &segment()), Some(27));
        let expected = [0x11, 0x12, 0x13, 0x14, 1, 2, 3, 4, 5, 6, 7, 8, 0x61, 0xff, 9, 10];
        assert_eq!((&out[..16], &out[18..24]), (&expected[..], &[0x0b, 0x0c, 2, 4, 5, 0xb4][..]));
        let view = View::check(&out).expect("valid");
        assert!(view.verify(&SRC, &DST) && !view.verify(&SRC, &Addr::v4([10, 0, 0, 3])));
        assert_eq!((view.src_port(), view.dst_port()), (0x1112, 0x1314));
        assert_eq!((view.segment(), view.payload()), (segment(), &b"abc"[..]));
    }

    #[test]
    fn the_data_offset_is_bounded_on_both_sides() {
        let mut out = [0; 27];
        emit(&mut out, &SRC, &DST, (1, 2), &segment()).expect("fits");
        for words in 0..16u8 {
            out[12] = words << 4;
            let expected = match words {
                0..5 => Some(ParseError::BadTcpDataOffset),
                5 | 6 => None,
                _ => Some(ParseError::TruncatedTcp),
            };
            assert_eq!(View::check(&out).err(), expected, "{words}");
        }
        assert_eq!(View::check(&out[..19]).err(), Some(ParseError::TruncatedTcp));
    }

    #[test]
    fn reserved_bits_are_ignored() {
        let mut out = [0; 27];
        emit(&mut out, &SRC, &DST, (1, 2), &segment()).expect("fits");
        let before = View::check(&out).expect("valid").segment();
        out[12] |= 0x0e;
        assert_eq!(View::check(&out).expect("valid").segment(), before);
        out[12] &= 0xf0;
        assert_eq!(View::check(&out).expect("valid").segment().flags, Flags(0xff), "AE is not reserved any more");
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut out = [0; 26];
        assert_eq!(emit(&mut out, &SRC, &DST, (1, 2), &segment()), None);
        let long = Segment { len: u16::MAX - 22, ..segment() };
        assert_eq!(emit(&mut std::vec![0; 70_000], &SRC, &DST, (1, 2), &long), None);
    }
}
