//! A TCP segment as a value: what the codec makes of the header, and what it writes one from.

use super::seq::Seq;
use core::fmt;
use core::ops::BitOr;

/// Largest shift of a window (RFC 7323 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The control bits of a header (RFC 9293 3.1), in their place on the wire: the low nine of the 16 that the data offset
/// begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push function.
    pub const PSH: Self = Self(0x08);
    /// Acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// Urgent pointer field is significant.
    pub const URG: Self = Self(0x20);
    /// ECN-Echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);
    /// Accurate ECN (RFC 9768 3.1.1), once the nonce sum.
    pub const AE: Self = Self(0x100);
    /// The three that speak of ECN, and together are the ACE field (RFC 9768 3.2.2).
    pub const ECN: Self = Self(Self::AE.0 | Self::CWR.0 | Self::ECE.0);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether any bit of `other` is set.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"];
        let mut first = true;
        for (bit, name) in NAMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0) {
            let _ = bit;
            f.write_str(if first { "" } else { "," })?;
            f.write_str(name)?;
            first = false;
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

/// Up to four ranges of a SACK option (RFC 2018 3), each from its first sequence number to the one after its last.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlocks {
    blocks: [(Seq, Seq); 4],
    len: u8,
}

impl SackBlocks {
    /// No range.
    pub const EMPTY: Self = Self { blocks: [(Seq(0), Seq(0)); 4], len: 0 };

    /// Adds the range `[left, right)`; false when four are there already.
    pub fn push(&mut self, left: Seq, right: Seq) -> bool {
        let Some(slot) = self.blocks.get_mut(usize::from(self.len)) else { return false };
        *slot = (left, right);
        self.len += 1;
        true
    }

    /// The ranges in the order of the option.
    pub fn as_slice(&self) -> &[(Seq, Seq)] {
        &self.blocks[..usize::from(self.len)]
    }

    /// Leaves only the first `n` ranges.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(u8::try_from(n).unwrap_or(u8::MAX));
        // Equality looks at all four: those that are not in use are zero.
        self.blocks[usize::from(self.len)..].fill((Seq(0), Seq(0)));
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// The value and the echo of a timestamps option (RFC 7323 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timestamps {
    /// `TSval`: the sender's clock.
    pub value: u32,
    /// `TSecr`: the peer's clock, echoed.
    pub echo: u32,
}

/// A Fast Open cookie, or the request for one (RFC 7413 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FastOpen {
    bytes: [u8; 16],
    len: u8,
}

impl FastOpen {
    /// The request for a cookie.
    pub const REQUEST: Self = Self { bytes: [0; 16], len: 0 };

    /// A cookie of 4 to 16 bytes, an even number of them; without any byte, the request for one. `None` for other
    /// lengths.
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let len = cookie.len();
        let mut bytes = [0; 16];
        bytes.get_mut(..len)?.copy_from_slice(cookie);
        (len == 0 || len >= 4 && len.is_multiple_of(2)).then_some(Self { bytes, len: len as u8 })
    }

    /// The cookie; empty for the request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether it asks for a cookie.
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for FastOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.bytes())
    }
}

/// The ECN field of an IP header (RFC 3168 5): what the network is told, and what it says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Codepoint {
    /// The packet's transport does not understand marks.
    #[default]
    NotEct = 0,
    /// It does, and means something that is for experiments to say (RFC 8311).
    Ect1 = 1,
    /// It does.
    Ect0 = 2,
    /// A node on the way has seen congestion.
    Ce = 3,
}

impl Codepoint {
    /// The codepoint in the low two bits of a type-of-service or traffic-class byte.
    pub const fn of(tos: u8) -> Self {
        match tos & 0b11 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// An `AccECN` option (RFC 9768 3.2.3): up to three byte counters, the low 24 bits of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccurateEcn {
    ect1_first: bool,
    len: u8,
    fields: [[u8; 3]; 3],
}

impl AccurateEcn {
    /// An option with the first three of `fields` at most: bytes marked ECT(0), CE and ECT(1), or with `ect1_first` the
    /// other way round (orders 0 and 1).
    pub fn new(ect1_first: bool, fields: impl IntoIterator<Item = u32>) -> Self {
        let mut option = Self { ect1_first, len: 0, fields: [[0; 3]; 3] };
        for (place, field) in option.fields.iter_mut().zip(fields) {
            let [_, a, b, c] = field.to_be_bytes();
            *place = [a, b, c];
            option.len += 1;
        }
        option
    }

    /// The fields as they stand in the option.
    pub fn fields(&self) -> &[[u8; 3]] {
        &self.fields[..usize::from(self.len)]
    }

    /// Whether it is of order 1.
    pub const fn is_ect1_first(&self) -> bool {
        self.ect1_first
    }

    /// Bytes of payload that came with ECT(0), modulo 2^24, if it tells.
    pub fn ect0(&self) -> Option<u32> {
        self.field(if self.ect1_first { 2 } else { 0 })
    }

    /// Bytes of payload that came with CE.
    pub fn ce(&self) -> Option<u32> {
        self.field(1)
    }

    /// Bytes of payload that came with ECT(1).
    pub fn ect1(&self) -> Option<u32> {
        self.field(if self.ect1_first { 0 } else { 2 })
    }

    /// Leaves only the first `n` fields.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(u8::try_from(n).unwrap_or(u8::MAX));
        self.fields[usize::from(self.len)..].fill([0; 3]);
    }

    /// Bytes of the option, kind and length among them, and what pads it to words.
    pub fn wire_len(&self) -> usize {
        (2 + 3 * usize::from(self.len)).next_multiple_of(4)
    }

    fn field(&self, at: usize) -> Option<u32> {
        let &[a, b, c] = self.fields().get(at)?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }
}

/// The options of a segment that this stack acts on. An option that is not there is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, bytes (RFC 9293 3.7.1).
    pub mss: Option<u16>,
    /// Window scale, as it stands in the option: a shift of 0-255 that the receiver clamps to 14 (RFC 7323 2.3).
    pub window_scale: Option<u8>,
    /// SACK is permitted (RFC 2018 2).
    pub sack_permitted: bool,
    /// Timestamps (RFC 7323 3.2).
    pub timestamps: Option<Timestamps>,
    /// Fast Open (RFC 7413 4.1.1): in a SYN or SYN-ACK.
    pub fast_open: Option<FastOpen>,
    /// `AccECN` (RFC 9768 3.2.3).
    pub accurate_ecn: Option<AccurateEcn>,
    /// SACK (RFC 2018 3).
    pub sack: SackBlocks,
}

impl Options {
    /// No option at all.
    pub const NONE: Self = Self {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        fast_open: None,
        accurate_ecn: None,
        sack: SackBlocks::EMPTY,
    };

    /// How many bytes they take in a header as the codec writes them, a multiple of four and never more than 40: each
    /// is padded in front so that what follows stays aligned, SACK-permitted takes the place of the padding of timestamps,
    /// and an `AccECN` option, and then SACK ranges, that do not fit beside the rest are left out.
    #[inline]
    pub fn wire_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += 12;
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if let Some(fast_open) = &self.fast_open {
            len += (2 + fast_open.bytes().len()).next_multiple_of(4);
        }
        len += self.accurate_ecn_in(Self::MAX_WIRE_LEN - len).map_or(0, AccurateEcn::wire_len);
        let room = Self::MAX_WIRE_LEN.saturating_sub(4 + len) / 8;
        if room > 0 && !self.sack.is_empty() {
            len += 4 + 8 * room.min(self.sack.as_slice().len());
        }
        len
    }

    /// What the data offset leaves for options: 15 words less the five of the header (RFC 9293 3.1).
    const MAX_WIRE_LEN: usize = 40;

    /// Bytes that are left for others.
    pub fn room(&self) -> usize {
        Self::MAX_WIRE_LEN - self.wire_len()
    }

    /// The `AccECN` option, if it fits into `room` bytes.
    pub fn accurate_ecn_in(&self, room: usize) -> Option<&AccurateEcn> {
        self.accurate_ecn.as_ref().filter(|option| option.wire_len() <= room)
    }
}

/// A TCP segment without its ports, checksum and payload bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Sequence number of the first byte, or of the SYN.
    pub seq: Seq,
    /// Acknowledgment number; meaningful when `flags` has ACK.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it stands in the header: unsigned (MUST-1) and not yet scaled.
    pub window: u16,
    /// The urgent pointer; meaningful when `flags` has URG.
    pub urgent: u16,
    /// Payload bytes.
    pub len: u16,
    /// The ECN field of the packet's IP header. The codec of the TCP header knows nothing of it; that of whole packets
    /// does.
    pub ecn: Codepoint,
    /// Options.
    pub options: Options,
}

impl Segment {
    /// SEG.LEN of RFC 9293 3.3.1: the payload, and one each for SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        u32::from(self.len) + u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN))
    }

    /// The sequence number after the segment's last.
    pub fn end(&self) -> Seq {
        self.seq + self.seq_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn syn_and_fin_take_a_number_each() {
        let segment = Segment { seq: Seq(7), len: 3, flags: Flags::SYN | Flags::FIN, ..Segment::default() };
        assert_eq!(segment.seq_len(), 5);
        assert_eq!(segment.end(), Seq(12));
    }

    #[test]
    fn flags_read_as_the_rfc_names_them() {
        assert_eq!(format!("{:?}", Flags::SYN | Flags::ACK), "SYN,ACK");
        assert_eq!(format!("{:?}", Flags::default()), "none");
    }

    //= spec/rfc3168.txt#section-5
    //= type=test
    //# The CE codepoint '11' is set by a router to indicate congestion to the end nodes.
    #[test]
    fn a_codepoint_is_the_low_two_bits() {
        let of = |tos: u8| Codepoint::of(tos);
        assert_eq!([0, 1, 2, 3].map(of), [Codepoint::NotEct, Codepoint::Ect1, Codepoint::Ect0, Codepoint::Ce]);
        assert!((0..=255).all(|tos: u8| of(tos) as u8 == tos & 3));
    }

    #[test]
    fn the_two_orders_tell_the_same() {
        let (zero, one) = (AccurateEcn::new(false, [1, 2, 3]), AccurateEcn::new(true, [3, 2, 0x0300_0001]));
        assert_eq!((zero.ect0(), zero.ce(), zero.ect1()), (Some(1), Some(2), Some(3)));
        assert_eq!((one.ect0(), one.ce(), one.ect1()), (Some(1), Some(2), Some(3)));
        let mut short = zero;
        short.truncate(1);
        assert_eq!((short.ect0(), short.ce(), short.ect1()), (Some(1), None, None));
        assert_eq!(short, AccurateEcn::new(false, [1]));
        assert_eq!([0, 1, 2, 3].map(|n| AccurateEcn::new(false, [7; 3].into_iter().take(n)).wire_len()), [4, 8, 8, 12]);
    }

    #[test]
    fn four_sack_ranges_and_no_more() {
        let mut sack = SackBlocks::EMPTY;
        for i in 0..4 {
            assert!(sack.push(Seq(i), Seq(i + 1)));
        }
        assert!(!sack.push(Seq(9), Seq(10)));
        assert_eq!(sack.as_slice().len(), 4);
        sack.truncate(1);
        let mut one = SackBlocks::EMPTY;
        assert!(one.push(Seq(0), Seq(1)));
        assert_eq!(sack, one, "what was cut off does not count");
    }
}
