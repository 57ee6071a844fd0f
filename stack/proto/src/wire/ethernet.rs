//! Ethernet II framing (RFC 894, RFC 2464) with at most one 802.1Q tag.

use super::ParseError;
use super::vlan;
use crate::addr::Mac;

/// Bytes of an untagged Ethernet header.
pub const HEADER_LEN: usize = 14;

/// `EtherTypes` (IANA "IEEE 802 Numbers").
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// The addresses of a frame, and its tag when it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EthernetHeader {
    /// Who the frame is for.
    pub dst: Mac,
    /// Who sends it.
    pub src: Mac,
    /// The 802.1Q tag control information (priority, DEI and VLAN identifier) when the frame is tagged.
    pub vlan: Option<u16>,
}

impl EthernetHeader {
    /// Bytes that the header takes: 14, or 18 with a tag.
    #[inline]
    pub const fn len(&self) -> usize {
        header_len(self.vlan.is_some())
    }

    /// Never: a header has bytes. Here because a type with `len` is expected to have it.
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// Bytes of an Ethernet header with or without a tag.
#[inline]
pub const fn header_len(vlan: bool) -> usize {
    if vlan { HEADER_LEN + vlan::TAG_LEN } else { HEADER_LEN }
}

/// A frame whose header is whole.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    header: &'a [u8; HEADER_LEN],
    vlan: Option<u16>,
    ether_type: u16,
    payload: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks that `frame` holds a whole header, tag included.
    ///
    /// # Errors
    /// [`ParseError::TruncatedEthernet`].
    #[inline]
    pub fn check(frame: &'a [u8]) -> Result<Self, ParseError> {
        let (header, payload) = frame.split_first_chunk().ok_or(ParseError::TruncatedEthernet)?;
        let ether_type = u16::from_be_bytes([header[12], header[13]]);
        if ether_type != ether_type::VLAN {
            return Ok(Self { header, vlan: None, ether_type, payload });
        }
        let tag = vlan::View::check(payload)?;
        Ok(Self { header, vlan: Some(tag.control()), ether_type: tag.ether_type(), payload: tag.payload() })
    }

    /// The header as a value.
    #[inline]
    pub fn header(&self) -> EthernetHeader {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _] = *self.header;
        EthernetHeader { dst: Mac([a, b, c, d, e, f]), src: Mac([g, h, i, j, k, l]), vlan: self.vlan }
    }

    /// The `EtherType` of the payload, behind the tag when there is one.
    #[inline]
    pub const fn ether_type(&self) -> u16 {
        self.ether_type
    }

    /// Everything after the header, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes the header for a payload of `ether_type`; gives how many bytes it took, `None` when `frame` is too short.
#[inline]
pub fn emit(frame: &mut [u8], header: &EthernetHeader, ether_type: u16) -> Option<usize> {
    let (out, rest) = frame.split_first_chunk_mut::<HEADER_LEN>()?;
    let [a, b, c, d, e, f] = header.dst.0;
    let [g, h, i, j, k, l] = header.src.0;
    let outer = if header.vlan.is_some() { ether_type::VLAN } else { ether_type };
    let [m, n] = outer.to_be_bytes();
    *out = [a, b, c, d, e, f, g, h, i, j, k, l, m, n];
    let tag_len = match header.vlan {
        Some(control) => vlan::emit(rest, control, ether_type)?,
        None => 0,
    };
    Some(HEADER_LEN + tag_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: EthernetHeader =
        EthernetHeader { dst: Mac([1, 2, 3, 4, 5, 6]), src: Mac([7, 8, 9, 10, 11, 12]), vlan: None };

    #[test]
    fn round_trip_with_and_without_tag() {
        for vlan in [None, Some(0), Some(0xe123)] {
            let header = EthernetHeader { vlan, ..HEADER };
            let mut frame = [0xaa; 20];
            let len = emit(&mut frame, &header, ether_type::ARP).expect("fits");
            assert_eq!(len, header.len());
            let view = View::check(&frame).expect("whole");
            assert_eq!(view.header(), header);
            assert_eq!(view.ether_type(), ether_type::ARP);
            assert_eq!(view.payload(), &frame[len..]);
            for short in 0..len {
                assert_eq!(View::check(&frame[..short]).err(), Some(ParseError::TruncatedEthernet));
                assert_eq!(emit(&mut [0xaa; 20][..short], &header, ether_type::ARP), None);
            }
        }
    }

    #[test]
    fn only_the_first_tag_is_taken_off() {
        let mut frame = [0; 40];
        emit(&mut frame, &EthernetHeader { vlan: Some(5), ..HEADER }, ether_type::VLAN).expect("fits");
        assert_eq!(View::check(&frame).expect("whole").ether_type(), ether_type::VLAN);
    }
}
