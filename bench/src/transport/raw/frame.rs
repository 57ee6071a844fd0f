//! What the raw transport sends: an IPv4 packet that is as long as the TCP segment with the same payload, and no TCP.

use std::net::Ipv4Addr;

/// Bytes before the payload: Ethernet, IPv4, and as many as TCP's header without options has.
pub const HEADER_LEN: usize = 14 + 20 + 20;
/// The most payload that fits into 1514 bytes of frame.
pub const MOST_PAYLOAD: usize = 1460;

/// For experiments (RFC 3692 through RFC 4727 2.1): no stack that a stray frame reaches takes it for its own.
const PROTOCOL: u8 = 253;
/// Where our own part begins: a mark, the number of the frame in flight, and which use of that number it is.
const OWN_AT: usize = 34;
const MARK: [u8; 4] = *b"core";

/// The number of a frame in flight, and how often it was used before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// Which of the frames in flight, from 0.
    pub slot: u32,
    /// Which use of it: the answer to an earlier one is late and not counted.
    pub generation: u32,
}

/// The frame from `source` to `target` with `payload` bytes, all but its [`Name`].
pub fn template(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr, payload: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN + payload];
    // To everybody: the other end takes what comes, and nobody has to be asked for an address.
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    // IPv4 without options (RFC 791 3.1): don't fragment, 64 hops. The other end does not look at the checksum.
    let total = u16::try_from(frame.len() - 14).unwrap_or(u16::MAX).to_be_bytes();
    frame[14..24].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, PROTOCOL]);
    frame[26..30].copy_from_slice(&source.octets());
    frame[30..34].copy_from_slice(&target.octets());
    frame[OWN_AT..OWN_AT + 4].copy_from_slice(&MARK);
    frame
}

/// Writes its name into a frame made of the template.
pub fn set_name(frame: &mut [u8], name: Name) {
    frame[OWN_AT + 4..OWN_AT + 8].copy_from_slice(&name.slot.to_be_bytes());
    frame[OWN_AT + 8..OWN_AT + 12].copy_from_slice(&name.generation.to_be_bytes());
}

/// The name of a frame; `None` when it is not one of ours.
pub fn name(frame: &[u8]) -> Option<Name> {
    if frame.len() < HEADER_LEN || frame[23] != PROTOCOL || frame[OWN_AT..OWN_AT + 4] != MARK {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    Some(Name { slot: number(OWN_AT + 4)?, generation: number(OWN_AT + 8)? })
}

/// Turns a frame round: back to whom it came from, from `mac`.
pub fn turn_round(frame: &mut [u8], mac: [u8; 6]) {
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(&mac);
    for at in 26..30 {
        frame.swap(at, at + 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(payload: usize) -> Vec<u8> {
        template(OURS, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2), payload)
    }

    #[test]
    fn a_frame_is_as_long_as_the_segment_with_its_payload() {
        assert_eq!((frame(10).len(), frame(MOST_PAYLOAD).len()), (64, 1514));
        assert_eq!(u16::from_be_bytes([frame(64)[16], frame(64)[17]]), 20 + 20 + 64);
    }

    #[test]
    fn a_frame_turned_round_is_the_answer_and_keeps_its_name() {
        let (mut sent, name_of) = (frame(10), Name { slot: 4095, generation: 7 });
        set_name(&mut sent, name_of);
        assert_eq!(name(&sent), Some(name_of));
        let mut back = sent.clone();
        turn_round(&mut back, THEIRS);
        assert_eq!((&back[..6], &back[6..12]), (&OURS[..], &THEIRS[..]));
        assert_eq!((&back[26..30], &back[30..34]), (&[10, 0, 0, 2][..], &[10, 0, 0, 1][..]));
        assert_eq!((name(&back), &back[34..]), (Some(name_of), &sent[34..]));
    }

    #[test]
    fn what_is_not_ours_has_no_name() {
        let mut other = frame(0);
        other[23] = 6;
        assert_eq!(name(&other), None);
        let mut unmarked = frame(0);
        unmarked[OWN_AT] = 0;
        assert_eq!(name(&unmarked), None);
        assert_eq!(name(&frame(0)[..HEADER_LEN - 1]), None);
        assert_eq!(name(&[]), None);
    }
}
