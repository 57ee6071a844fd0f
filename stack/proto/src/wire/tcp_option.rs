//! TCP options (RFC 9293 3.2 and the registry "TCP Option Kind Numbers"): reading any list, writing any option.

use crate::tcp::segment::{AccurateEcn, FastOpen, Options, SackBlocks, Timestamps};
use crate::tcp::seq::Seq;

/// The most bytes of options that a header holds.
pub const MAX_LEN: usize = 40;

/// Option kinds (IANA "TCP Option Kind Numbers").
pub mod kind {
    /// End of option list (RFC 9293 3.2).
    pub const END_OF_LIST: u8 = 0;
    /// No operation (RFC 9293 3.2).
    pub const NOP: u8 = 1;
    /// Maximum segment size (RFC 9293 3.2).
    pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
    /// Window scale (RFC 7323 2.2).
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK permitted (RFC 2018 2).
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK (RFC 2018 3).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323 3.2).
    pub const TIMESTAMPS: u8 = 8;
    /// MD5 signature (RFC 2385 3.0).
    pub const MD5: u8 = 19;
    /// User timeout (RFC 5482 3.3).
    //= spec/rfc5482.txt#section-3.3
    //# This MUST be 28, i.e., the TCP option number [RFC0793] that has been assigned by IANA (see Section 7).
    pub const USER_TIMEOUT: u8 = 28;
    /// Authentication (RFC 5925 2.2).
    pub const AO: u8 = 29;
    /// Fast Open cookie (RFC 7413 4.1.1).
    //= spec/rfc7413.txt#section-9
    //# Current and new implementations SHOULD use option (34).
    pub const FAST_OPEN: u8 = 34;
    /// `AccECN`, order 0 (RFC 9768 3.2.3).
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3
    //# When a Data Receiver sends an AccECN Option, it MUST set the Kind
    //# field to 172 if using Order 0, or to 174 if using Order 1.
    pub const ACCURATE_ECN_0: u8 = 172;
    /// `AccECN`, order 1 (RFC 9768 3.2.3).
    pub const ACCURATE_ECN_1: u8 = 174;
    /// Experiment one (RFC 4727, shared by RFC 6994).
    pub const EXPERIMENT_1: u8 = 253;
    /// Experiment two (RFC 4727, shared by RFC 6994).
    pub const EXPERIMENT_2: u8 = 254;
}

/// NOP NOP timestamps: the list that nearly every segment of a connection carries.
const ALIGNED_TIMESTAMPS: [u8; 4] = [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10];

/// One option of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpOption<'a> {
    /// Nothing follows.
    EndOfList,
    /// Padding.
    Nop,
    /// The longest segment that the sender takes, bytes.
    MaximumSegmentSize(u16),
    /// The shift of the sender's windows.
    WindowScale(u8),
    /// The sender understands SACK.
    SackPermitted,
    /// What the sender has received out of order; one to four ranges.
    Sack(SackBlocks),
    /// The sender's clock, and ours echoed.
    Timestamps(Timestamps),
    /// How long unacknowledged data is kept before the connection is given up.
    UserTimeout {
        /// Whether `value` is in minutes; in seconds otherwise.
        minutes: bool,
        /// 0-32767.
        value: u16,
    },
    /// A Fast Open cookie of 4 to 16 bytes, or with no byte the request for one.
    FastOpen(&'a [u8]),
    /// Byte counters of accurate ECN.
    AccurateEcn(AccurateEcn),
    /// An MD5 signature.
    Md5(&'a [u8; 16]),
    /// An authentication option.
    Ao {
        /// Which key made the MAC.
        key_id: u8,
        /// Which key the sender would like to receive with next.
        rnext_key_id: u8,
        /// The message authentication code.
        mac: &'a [u8],
    },
    /// A shared experimental option.
    Experimental {
        /// [`kind::EXPERIMENT_1`] or [`kind::EXPERIMENT_2`].
        kind: u8,
        /// Whose experiment (RFC 6994 3); the first half, where the identifier has four bytes.
        exid: u16,
        /// What comes after those two bytes.
        data: &'a [u8],
    },
    /// An option that this codec does not know, or whose length is not one that its kind can have.
    Unknown {
        /// The kind byte.
        kind: u8,
        /// What comes after the length.
        data: &'a [u8],
    },
}

/// Reads the options of a header one after the other; see [`options`].
#[derive(Clone, Debug)]
pub struct OptionIter<'a> {
    rest: &'a [u8],
    malformed: bool,
}

/// The options in `bytes`, in order. It ends after an end-of-list option, or where an option's length is illegal.
#[inline]
pub const fn options(bytes: &[u8]) -> OptionIter<'_> {
    OptionIter { rest: bytes, malformed: false }
}

impl OptionIter<'_> {
    /// Whether an illegal length ended the list: below two, or beyond the header.
    pub const fn is_malformed(&self) -> bool {
        self.malformed
    }
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        //= spec/rfc9293.txt#section-3.1
        //# the following options MUST be supported (MUST-4
        let (&kind, rest) = self.rest.split_first()?;
        match kind {
            kind::END_OF_LIST => {
                self.rest = &[];
                return Some(TcpOption::EndOfList);
            }
            //= spec/rfc9293.txt#section-3.2
            //# receivers MUST be prepared to process options even if they do not begin on a word boundary (MUST-64).
            kind::NOP => {
                self.rest = rest;
                return Some(TcpOption::Nop);
            }
            _ => {}
        }
        //= spec/rfc9293.txt#section-3.1
        //# TCP implementations MUST be prepared to handle an illegal option length (e.g., zero); a suggested
        //# procedure is to reset the connection and log the error cause (MUST-7).
        // What stands behind it cannot be told apart any more and is ignored; the segment counts.
        let len = rest.first().map_or(0, |&len| usize::from(len));
        let Some((option, rest)) = self.rest.split_at_checked(len).filter(|_| len >= 2) else {
            self.rest = &[];
            self.malformed = true;
            return None;
        };
        self.rest = rest;
        Some(TcpOption::from_parts(kind, option.get(2..).unwrap_or_default()))
    }
}

impl<'a> TcpOption<'a> {
    fn from_parts(kind: u8, data: &'a [u8]) -> Self {
        match (kind, data) {
            (kind::MAXIMUM_SEGMENT_SIZE, &[a, b]) => Self::MaximumSegmentSize(u16::from_be_bytes([a, b])),
            (kind::WINDOW_SCALE, &[shift]) => Self::WindowScale(shift),
            (kind::SACK_PERMITTED, []) => Self::SackPermitted,
            (kind::SACK, data) if matches!(data.len(), 8 | 16 | 24 | 32) => Self::Sack(read_sack(data)),
            (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => Self::Timestamps(Timestamps {
                value: u32::from_be_bytes([a, b, c, d]),
                echo: u32::from_be_bytes([e, f, g, h]),
            }),
            //= spec/rfc5482.txt#section-3.3
            //# When set (G = 1), the time interval in the "User Timeout" field MUST be interpreted as minutes.
            //= spec/rfc5482.txt#section-3.3
            //# Otherwise (G = 0), the time interval in the "User Timeout" field MUST be interpreted as seconds.
            //= spec/rfc5482.txt#section-3.3
            //# It MUST be interpreted as a 15-bit unsigned integer.
            (kind::USER_TIMEOUT, &[a, b]) => {
                Self::UserTimeout { minutes: a & 0x80 != 0, value: u16::from_be_bytes([a & 0x7f, b]) }
            }
            //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3
            //# All implementations of a Data Sender that read any AccECN Option MUST
            //# be able to read AccECN Options of any of the above lengths. For
            //# forward compatibility, if the AccECN Option is of any other length,
            //# implementations MUST use those whole 3-octet fields that fit within
            //# the length and ignore the remainder of the option, treating it as
            //# padding.
            (kind::ACCURATE_ECN_0 | kind::ACCURATE_ECN_1, data) => {
                let fields = data.as_chunks::<3>().0.iter().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]));
                Self::AccurateEcn(AccurateEcn::new(kind == kind::ACCURATE_ECN_1, fields))
            }
            (kind::FAST_OPEN, data) if is_cookie_len(data.len()) => Self::FastOpen(data),
            (kind::AO, [key_id, rnext_key_id, mac @ ..]) => {
                Self::Ao { key_id: *key_id, rnext_key_id: *rnext_key_id, mac }
            }
            (kind::EXPERIMENT_1 | kind::EXPERIMENT_2, [a, b, data @ ..]) => {
                Self::Experimental { kind, exid: u16::from_be_bytes([*a, *b]), data }
            }
            (kind::MD5, data) => data.try_into().map_or(Self::Unknown { kind, data }, Self::Md5),
            (kind, data) => Self::Unknown { kind, data },
        }
    }

    /// Bytes that the option takes, kind and length included.
    pub fn wire_len(&self) -> usize {
        match self {
            Self::EndOfList | Self::Nop => 1,
            Self::SackPermitted => 2,
            Self::WindowScale(_) => 3,
            //= spec/rfc5482.txt#section-3.3
            //# Length of the TCP option in octets [RFC0793]; its value MUST be 4.
            Self::MaximumSegmentSize(_) | Self::UserTimeout { .. } => 4,
            Self::Timestamps(_) => 10,
            Self::Md5(_) => 18,
            Self::AccurateEcn(option) => 2 + 3 * option.fields().len(),
            Self::Sack(blocks) => 2 + 8 * blocks.as_slice().len(),
            Self::Ao { mac, .. } => 4 + mac.len(),
            Self::Experimental { data, .. } => 4 + data.len(),
            Self::FastOpen(data) | Self::Unknown { data, .. } => 2 + data.len(),
        }
    }

    /// Writes the option; gives how many bytes it took, `None` when it does not fit into `out` or, being longer than
    /// [`MAX_LEN`], into any header, or when it is a Fast Open cookie of a length that RFC 7413 does not allow.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let len = self.wire_len();
        let out = out.get_mut(..len).filter(|_| len <= MAX_LEN)?;
        let kind = match *self {
            Self::EndOfList | Self::Nop => {
                *out.first_mut()? = if *self == Self::Nop { kind::NOP } else { kind::END_OF_LIST };
                return Some(len);
            }
            Self::MaximumSegmentSize(_) => kind::MAXIMUM_SEGMENT_SIZE,
            Self::WindowScale(_) => kind::WINDOW_SCALE,
            Self::SackPermitted => kind::SACK_PERMITTED,
            Self::Sack(_) => kind::SACK,
            Self::Timestamps(_) => kind::TIMESTAMPS,
            Self::UserTimeout { .. } => kind::USER_TIMEOUT,
            Self::FastOpen(_) => kind::FAST_OPEN,
            Self::AccurateEcn(option) if option.is_ect1_first() => kind::ACCURATE_ECN_1,
            Self::AccurateEcn(_) => kind::ACCURATE_ECN_0,
            Self::Md5(_) => kind::MD5,
            Self::Ao { .. } => kind::AO,
            Self::Experimental { kind, .. } | Self::Unknown { kind, .. } => kind,
        };
        //= spec/rfc9293.txt#section-3.1
        //# All TCP Options except End of Option List Option (EOL) and No-Operation (NOP) MUST have length fields,
        //# including all future options (MUST-68).
        let ([kind_out, len_out], data) = out.split_first_chunk_mut::<2>()?;
        (*kind_out, *len_out) = (kind, u8::try_from(len).ok()?);
        self.emit_data(data)?;
        Some(len)
    }

    fn emit_data(&self, out: &mut [u8]) -> Option<()> {
        match *self {
            Self::EndOfList | Self::Nop | Self::SackPermitted => {}
            Self::MaximumSegmentSize(size) => out.copy_from_slice(&size.to_be_bytes()),
            Self::WindowScale(shift) => out.copy_from_slice(&[shift]),
            Self::Sack(ref blocks) => write_sack(out, blocks.as_slice()),
            Self::Timestamps(timestamps) => out.copy_from_slice(&timestamps_bytes(timestamps)),
            Self::UserTimeout { minutes, value } => {
                let granularity = if minutes { 0x8000 } else { 0 };
                out.copy_from_slice(&(granularity | value & 0x7fff).to_be_bytes());
            }
            Self::FastOpen(cookie) => {
                if !is_cookie_len(cookie.len()) {
                    return None;
                }
                out.copy_from_slice(cookie);
            }
            Self::AccurateEcn(ref option) => out.copy_from_slice(option.fields().as_flattened()),
            Self::Md5(digest) => out.copy_from_slice(digest),
            Self::Ao { key_id, rnext_key_id, mac } => {
                let (ids, rest) = out.split_first_chunk_mut::<2>()?;
                *ids = [key_id, rnext_key_id];
                rest.copy_from_slice(mac);
            }
            Self::Experimental { exid, data, .. } => {
                let (id, rest) = out.split_first_chunk_mut::<2>()?;
                *id = exid.to_be_bytes();
                rest.copy_from_slice(data);
            }
            Self::Unknown { data, .. } => out.copy_from_slice(data),
        }
        Some(())
    }
}

/// RFC 7413 4.1.1: a cookie has 4 to 16 bytes, an even number of them; without any it is a request.
//= spec/rfc7413.txt#section-4.1.1
//# The number MUST be even.
//= spec/rfc7413.txt#section-4.1.1
//# Options with invalid Length values or without the SYN flag set MUST be ignored.
const fn is_cookie_len(len: usize) -> bool {
    matches!(len, 0 | 4 | 6 | 8 | 10 | 12 | 14 | 16)
}

/// Reads `bytes` into the options that a segment has. Of several of a kind the last counts.
///
/// It does not judge: whether an option may stand in this segment at all (MSS, window scale and SACK-permitted are for
/// SYNs only) is for TCP to say.
#[inline]
pub fn parse(bytes: &[u8]) -> Options {
    let mut found = Options::NONE;
    if let Some((head, clocks)) = bytes.split_first_chunk::<4>()
        && *head == ALIGNED_TIMESTAMPS
        && let Ok(&[a, b, c, d, e, f, g, h]) = <&[u8; 8]>::try_from(clocks)
    {
        let (value, echo) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        found.timestamps = Some(Timestamps { value, echo });
    } else if !bytes.is_empty() {
        parse_each(bytes, &mut found);
    }
    found
}

fn parse_each(bytes: &[u8], found: &mut Options) {
    for option in options(bytes) {
        match option {
            TcpOption::MaximumSegmentSize(size) => found.mss = Some(size),
            TcpOption::WindowScale(shift) => found.window_scale = Some(shift),
            TcpOption::SackPermitted => found.sack_permitted = true,
            TcpOption::Sack(blocks) => found.sack = blocks,
            TcpOption::Timestamps(timestamps) => found.timestamps = Some(timestamps),
            TcpOption::FastOpen(cookie) => found.fast_open = FastOpen::new(cookie),
            TcpOption::AccurateEcn(option) => found.accurate_ecn = Some(option),
            //= spec/rfc9293.txt#section-3.1
            //# A TCP implementation MUST (MUST-6) ignore without error any TCP Option it does not implement, assuming
            //# that the option has a length field.
            //= spec/rfc5482.txt#section-4.1
            //# A TCP implementation that does not support the TCP User Timeout Option MUST silently ignore it [RFC1122],
            //# thus ensuring interoperability.
            //= spec/rfc5482.txt#section-3
            //# A TCP implementation that does not support the UTO option MUST silently ignore it [RFC1122], thus ensuring
            //# interoperability.
            //= spec/rfc5482.txt#section-3.4
            //# Current TCP implementations MUST NOT send it and MUST ignore it upon reception.
            _ => {}
        }
    }
}

/// Writes a segment's options, each padded with NOPs so that what follows stays aligned, in Linux's order: MSS,
/// SACK-permitted, timestamps, window scale, Fast Open, `AccECN` if it fits, SACK with as many ranges as fit. Gives
/// [`Options::wire_len`], `None` when
/// `out` is shorter than that.
#[inline]
pub fn emit(out: &mut [u8], options: &Options) -> Option<usize> {
    //= spec/rfc9293.txt#section-3.1
    //# The content of the header beyond the End of Option List Option MUST be header padding of zeros (MUST-69).
    let len = options.wire_len();
    let mut rest = out.get_mut(..len)?;
    if let Some(mss) = options.mss {
        let [a, b] = mss.to_be_bytes();
        rest = put(rest, [kind::MAXIMUM_SEGMENT_SIZE, 4, a, b])?;
    }
    // SACK-permitted takes the place of the two NOPs in front of timestamps.
    let padding = if options.sack_permitted { [kind::SACK_PERMITTED, 2] } else { [kind::NOP; 2] };
    if let Some(timestamps) = options.timestamps {
        let [a, b] = padding;
        let [c, d, e, f, g, h, i, j] = timestamps_bytes(timestamps);
        rest = put(rest, [a, b, kind::TIMESTAMPS, 10, c, d, e, f, g, h, i, j])?;
    } else if options.sack_permitted {
        rest = put(rest, [kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2])?;
    }
    if let Some(shift) = options.window_scale {
        rest = put(rest, [kind::NOP, kind::WINDOW_SCALE, 3, shift])?;
    }
    if let Some(fast_open) = &options.fast_open {
        let cookie = fast_open.bytes();
        let (option, after) = rest.split_at_mut_checked((2 + cookie.len()).next_multiple_of(4))?;
        // Behind the cookie, as Linux has it.
        option.fill(kind::NOP);
        TcpOption::FastOpen(cookie).emit(option)?;
        rest = after;
    }
    if let Some(option) = options.accurate_ecn_in(MAX_LEN - (len - rest.len())) {
        let (place, after) = rest.split_at_mut_checked(option.wire_len())?;
        place.fill(kind::NOP);
        TcpOption::AccurateEcn(*option).emit(place)?;
        rest = after;
    }
    // What wire_len left is exactly NOP NOP SACK with the ranges that fit.
    if let Some((head, ranges)) = rest.split_first_chunk_mut::<4>() {
        *head = [kind::NOP, kind::NOP, kind::SACK, u8::try_from(2 + ranges.len()).ok()?];
        write_sack(ranges, options.sack.as_slice());
    }
    Some(len)
}

#[inline]
fn put<const N: usize>(out: &mut [u8], bytes: [u8; N]) -> Option<&mut [u8]> {
    let (head, rest) = out.split_first_chunk_mut::<N>()?;
    *head = bytes;
    Some(rest)
}

#[inline]
const fn timestamps_bytes(timestamps: Timestamps) -> [u8; 8] {
    ((timestamps.value as u64) << 32 | timestamps.echo as u64).to_be_bytes()
}

fn read_sack(data: &[u8]) -> SackBlocks {
    let mut blocks = SackBlocks::EMPTY;
    for &[a, b, c, d, e, f, g, h] in data.as_chunks::<8>().0 {
        blocks.push(Seq(u32::from_be_bytes([a, b, c, d])), Seq(u32::from_be_bytes([e, f, g, h])));
    }
    blocks
}

fn write_sack(out: &mut [u8], ranges: &[(Seq, Seq)]) {
    for (bytes, (left, right)) in out.as_chunks_mut::<8>().0.iter_mut().zip(ranges) {
        *bytes = (u64::from(left.0) << 32 | u64::from(right.0)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const CLOCKS: Timestamps = Timestamps { value: 0x0102_0304, echo: 0x0506_0708 };

    fn sack(n: u32) -> SackBlocks {
        let mut blocks = SackBlocks::EMPTY;
        for i in 0..n {
            blocks.push(Seq(i * 100), Seq(i * 100 + 50));
        }
        blocks
    }

    fn emitted(options: &Options) -> Vec<u8> {
        let mut out = [0xee; MAX_LEN];
        let len = emit(&mut out, options).expect("fits");
        out[..len].to_vec()
    }

    //= spec/rfc5482.txt#section-3.3
    //= type=test
    //# This MUST be 28, i.e., the TCP option number [RFC0793] that has been assigned by IANA (see Section 7).
    //= spec/rfc5482.txt#section-3.3
    //= type=test
    //# Length of the TCP option in octets [RFC0793]; its value MUST be 4.
    //= spec/rfc5482.txt#section-3.3
    //= type=test
    //# When set (G = 1), the time interval in the "User Timeout" field MUST be interpreted as minutes.
    //= spec/rfc5482.txt#section-3.3
    //= type=test
    //# Otherwise (G = 0), the time interval in the "User Timeout" field MUST be interpreted as seconds.
    //= spec/rfc5482.txt#section-3.3
    //= type=test
    //# It MUST be interpreted as a 15-bit unsigned integer.
    #[test]
    fn a_user_timeout_has_its_unit_in_the_first_bit() {
        for (minutes, value, bytes) in [(false, 0x7fff, [28, 4, 0x7f, 0xff]), (true, 0x0102, [28, 4, 0x81, 2])] {
            let option = TcpOption::UserTimeout { minutes, value };
            let mut out = [0; 4];
            assert_eq!(option.emit(&mut out), Some(4));
            assert_eq!(out, bytes);
            assert_eq!(options(&bytes).next(), Some(option));
        }
        let long = [28, 5, 0, 1, 0];
        assert!(matches!(options(&long).next(), Some(TcpOption::Unknown { kind: 28, .. })));
    }

    //= spec/rfc7413.txt#section-4.1.1
    //= type=test
    //# The number MUST be even.
    //= spec/rfc7413.txt#section-4.1.1
    //= type=test
    //# Options with invalid Length values or without the SYN flag set MUST be ignored.
    //= spec/rfc7413.txt#section-9
    //= type=test
    //# Current and new implementations SHOULD use option (34).
    #[test]
    fn a_cookie_has_an_even_length_from_4_to_16() {
        for len in 0..20u8 {
            let mut bytes = std::vec![34, len + 2];
            bytes.resize(usize::from(len) + 2, 7);
            let good = len == 0 || (4..=16).contains(&len) && len.is_multiple_of(2);
            assert_eq!(parse(&bytes).fast_open.is_some(), good, "{len}");
            assert_eq!(FastOpen::new(&bytes[2..]).is_some(), good, "{len}");
        }
    }

    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3
    //= type=test
    //# For
    //# forward compatibility, if the AccECN Option is of any other length,
    //# implementations MUST use those whole 3-octet fields that fit within
    //# the length and ignore the remainder of the option, treating it as
    //# padding.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.3
    //= type=test
    //# When a Data Receiver sends an AccECN Option, it MUST set the Kind
    //# field to 172 if using Order 0, or to 174 if using Order 1.
    #[test]
    fn accurate_ecn_of_any_length_gives_its_whole_fields() {
        for len in 0..=20u8 {
            for kind in [172, 174] {
                let mut bytes = std::vec![kind, len + 2];
                bytes.extend((0..len).map(|n| n + 1));
                let fields = [0x01_0203, 0x04_0506, 0x07_0809].into_iter().take(usize::from(len / 3));
                assert_eq!(parse(&bytes).accurate_ecn, Some(AccurateEcn::new(kind == 174, fields)), "{len}");
            }
        }
        let option = AccurateEcn::new(true, [1, 2]);
        assert_eq!(emitted(&Options { accurate_ecn: Some(option), ..Options::NONE }), [174, 8, 0, 0, 1, 0, 0, 2]);
    }

    #[test]
    fn a_syn_has_linux_order() {
        let syn = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(CLOCKS),
            fast_open: None,
            accurate_ecn: None,
            sack: SackBlocks::EMPTY,
        };
        assert_eq!(emitted(&syn), [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]);
        let no_clock = Options { timestamps: None, ..syn };
        assert_eq!(emitted(&no_clock), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
        let request = Options { fast_open: Some(FastOpen::REQUEST), ..no_clock };
        assert_eq!(emitted(&request)[12..], [34, 2, 1, 1]);
    }

    #[test]
    fn an_ack_has_clocks_then_as_many_ranges_as_fit() {
        let ack = Options { timestamps: Some(CLOCKS), ..Options::NONE };
        assert_eq!(emitted(&ack), [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        let full = emitted(&Options { sack: sack(4), ..ack });
        assert_eq!((full.len(), &full[12..16]), (40, &[1, 1, 5, 26][..]));
        assert_eq!(parse(&full), Options { sack: sack(3), ..ack });
        let alone = emitted(&Options { sack: sack(4), ..Options::NONE });
        assert_eq!((alone.len(), &alone[..4]), (36, &[1, 1, 5, 34][..]));
    }

    #[test]
    fn every_combination_comes_back() {
        for bits in 0..64u8 {
            for (ranges, fields) in (0..=4).flat_map(|ranges| (0..=4).map(move |fields| (ranges, fields))) {
                let options = Options {
                    mss: (bits & 1 != 0).then_some(536),
                    window_scale: (bits & 2 != 0).then_some(255),
                    sack_permitted: bits & 4 != 0,
                    timestamps: (bits & 8 != 0).then_some(CLOCKS),
                    // None, the request, a cookie, the longest cookie.
                    fast_open: FastOpen::new(&[9; 16][..[0, 0, 6, 16][usize::from(bits >> 4)]])
                        .filter(|_| bits >> 4 != 0),
                    accurate_ecn: (fields > 0).then(|| AccurateEcn::new(bits & 1 != 0, (1..fields).map(|n| n << 20))),
                    sack: sack(ranges),
                };
                let bytes = emitted(&options);
                assert_eq!(bytes.len(), options.wire_len());
                assert!(bytes.len() <= MAX_LEN && bytes.len().is_multiple_of(4), "{options:?}");
                let mut expected = options;
                let before = Options { sack: SackBlocks::EMPTY, accurate_ecn: None, ..options }.wire_len();
                expected.accurate_ecn = options.accurate_ecn_in(MAX_LEN - before).copied();
                let others = Options { sack: SackBlocks::EMPTY, ..options }.wire_len();
                expected.sack.truncate(MAX_LEN.saturating_sub(4 + others) / 8);
                assert_eq!(parse(&bytes), expected);
                for short in 0..bytes.len() {
                    assert_eq!(emit(&mut [0; MAX_LEN][..short], &options), None);
                }
            }
        }
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# TCP implementations MUST be prepared to handle an illegal option length (e.g., zero); a suggested procedure is
    //# to reset the connection and log the error cause (MUST-7).
    #[test]
    fn an_illegal_length_ends_the_list_but_not_what_came_before() {
        let mss = [2, 4, 5, 0xb4];
        for tail in [&[3, 0, 7, 0][..], &[3, 1, 7, 0], &[3, 5, 7, 0], &[254, 255, 0, 0], &[1, 1, 1, 3]] {
            let bytes = [&mss, tail].concat();
            assert_eq!(parse(&bytes), Options { mss: Some(1460), ..Options::NONE }, "{tail:?}");
            let mut each = options(&bytes);
            assert!(each.by_ref().count() >= 1);
            assert!(each.is_malformed(), "{tail:?}");
        }
        let mut ended = options(&[1, 0, 3, 0]);
        assert_eq!(ended.by_ref().collect::<Vec<_>>(), [TcpOption::Nop, TcpOption::EndOfList]);
        assert!(!ended.is_malformed());
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# A TCP implementation MUST (MUST-6) ignore without error any TCP Option it does not implement, assuming that
    //# the option has a length field.
    #[test]
    fn a_length_that_the_kind_cannot_have_makes_it_unknown_and_the_rest_counts() {
        for bytes in [
            &[2, 3, 9, 3, 3, 7][..],
            &[4, 3, 0, 3, 3, 7],
            &[8, 6, 0, 0, 0, 0, 3, 3, 7],
            &[5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 7],
            &[5, 2, 3, 3, 7],
            &[19, 4, 0, 0, 3, 3, 7],
            &[28, 3, 0, 3, 3, 7],
            &[34, 5, 1, 2, 3, 3, 3, 7],
            &[29, 3, 1, 3, 3, 7],
            &[253, 3, 1, 3, 3, 7],
        ] {
            let expect_sack = bytes[..2] == [5, 10];
            let first = options(bytes).next();
            assert_eq!(matches!(first, Some(TcpOption::Unknown { .. })), !expect_sack, "{first:?}");
            assert_eq!(parse(bytes).window_scale, Some(7), "{bytes:?}");
        }
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# the following options MUST be supported (MUST-4
    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# All TCP Options except End of Option List Option (EOL) and No-Operation (NOP) MUST have length fields,
    //# including all future options (MUST-68).
    #[test]
    fn every_option_comes_back_from_its_bytes() {
        let digest = [9; 16];
        let all = [
            TcpOption::Nop,
            TcpOption::MaximumSegmentSize(65_535),
            TcpOption::WindowScale(14),
            TcpOption::SackPermitted,
            TcpOption::Sack(sack(4)),
            TcpOption::Timestamps(CLOCKS),
            TcpOption::UserTimeout { minutes: true, value: 0x7fff },
            TcpOption::UserTimeout { minutes: false, value: 30 },
            TcpOption::FastOpen(&[]),
            TcpOption::FastOpen(&[1, 2, 3, 4, 5, 6, 7, 8]),
            TcpOption::AccurateEcn(AccurateEcn::new(false, [])),
            TcpOption::AccurateEcn(AccurateEcn::new(false, [1, 2])),
            TcpOption::AccurateEcn(AccurateEcn::new(true, [0xff_ffff, 2, 3])),
            TcpOption::Md5(&digest),
            TcpOption::Ao { key_id: 1, rnext_key_id: 2, mac: &digest[..12] },
            TcpOption::Experimental { kind: kind::EXPERIMENT_2, exid: 0xf989, data: &digest[..4] },
            TcpOption::Unknown { kind: 200, data: &digest },
            TcpOption::EndOfList,
        ];
        for option in all {
            let mut out = [0xee; MAX_LEN];
            let len = option.emit(&mut out).expect("fits");
            assert_eq!(len, option.wire_len());
            assert_eq!(options(&out[..len]).collect::<Vec<_>>(), [option]);
            assert_eq!(option.emit(&mut out[..len - 1]), None, "{option:?}");
        }
        assert_eq!(TcpOption::FastOpen(&[0; 3]).emit(&mut [0; 40]), None);
        assert_eq!(TcpOption::Unknown { kind: 200, data: &[0; 39] }.emit(&mut [0; 64]), None);
    }

    #[test]
    fn the_last_of_several_counts() {
        assert_eq!(parse(&[2, 4, 0, 1, 2, 4, 0, 2]).mss, Some(2));
    }
}
