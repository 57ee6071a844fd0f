//! The 802.1Q tag (IEEE 802.1Q-2022 9.6): four bytes between the addresses and the payload's `EtherType`.

use super::ParseError;

/// Bytes that a tag adds to a header.
pub const TAG_LEN: usize = 4;

/// The VLAN identifier in a tag's control information, 0-4095; 0 means that the tag gives only a priority.
#[inline]
pub const fn identifier(control: u16) -> u16 {
    control & 0x0fff
}

/// The priority code point in a tag's control information, 0-7.
#[inline]
pub const fn priority(control: u16) -> u8 {
    (control >> 13) as u8
}

/// What follows the `EtherType` 0x8100: the tag's control information and the next `EtherType`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    tag: &'a [u8; TAG_LEN],
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks that the tag is whole.
    ///
    /// # Errors
    /// [`ParseError::TruncatedEthernet`].
    #[inline]
    pub fn check(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (tag, payload) = bytes.split_first_chunk().ok_or(ParseError::TruncatedEthernet)?;
        Ok(Self { tag, payload })
    }

    /// Tag control information: priority, drop eligibility and VLAN identifier.
    #[inline]
    pub const fn control(&self) -> u16 {
        u16::from_be_bytes([self.tag[0], self.tag[1]])
    }

    /// The payload's `EtherType`.
    #[inline]
    pub const fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.tag[2], self.tag[3]])
    }

    /// Everything after the tag.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes a tag; gives its four bytes, `None` when they do not fit.
#[inline]
pub fn emit(out: &mut [u8], control: u16, ether_type: u16) -> Option<usize> {
    let tag = out.first_chunk_mut::<TAG_LEN>()?;
    let ([a, b], [c, d]) = (control.to_be_bytes(), ether_type.to_be_bytes());
    *tag = [a, b, c, d];
    Some(TAG_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_information_has_its_parts() {
        assert_eq!((identifier(0xe123), priority(0xe123)), (0x123, 7));
    }

    #[test]
    fn round_trip() {
        let mut out = [0; 5];
        assert_eq!(emit(&mut out, 0xe123, 0x0800), Some(4));
        let view = View::check(&out).expect("whole");
        assert_eq!((view.control(), view.ether_type(), view.payload()), (0xe123, 0x0800, &[0u8][..]));
        assert_eq!(emit(&mut out[..3], 0, 0), None);
    }
}
