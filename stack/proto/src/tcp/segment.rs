//! A TCP segment as a value: what the codec makes of the header, and what it writes one from.

use super::seq::Seq;
use core::fmt;
use core::ops::BitOr;

/// Largest shift of a window (RFC 7323 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The control bits of a header (RFC 9293 3.1), in their place on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

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

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
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
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
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
        sack: SackBlocks::EMPTY,
    };

    /// How many bytes they take in a header as the codec writes them, a multiple of four and never more than 40: each
    /// is padded in front so that what follows stays aligned, SACK-permitted takes the place of the padding of timestamps,
    /// and SACK ranges that do not fit beside the rest are left out.
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
        let room = Self::MAX_WIRE_LEN.saturating_sub(4 + len) / 8;
        if room > 0 && !self.sack.is_empty() {
            len += 4 + 8 * room.min(self.sack.as_slice().len());
        }
        len
    }

    /// What the data offset leaves for options: 15 words less the five of the header (RFC 9293 3.1).
    const MAX_WIRE_LEN: usize = 40;
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
