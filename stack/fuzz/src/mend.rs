//! Lengths and checksums put right, so that what a fuzzer changes reaches what lies behind them.

const ETHERNET: usize = 14;
const TAG: usize = 4;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Makes the lengths and checksums of a frame right if it looks like TCP or ICMP over IP without extension headers.
/// It is written anew, so that the codec is not its own judge.
pub fn mend(frame: &mut [u8]) {
    let Some(kind) = frame.get(12..14) else { return };
    let (at, kind) = if kind == [0x81, 0] { (ETHERNET + TAG, frame.get(16..18)) } else { (ETHERNET, Some(kind)) };
    match kind {
        Some([0x08, 0x00]) => mend_ipv4(&mut frame[at..]),
        Some([0x86, 0xdd]) => mend_ipv6(&mut frame[at..]),
        _ => {}
    }
}

fn mend_ipv4(packet: &mut [u8]) {
    let header = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    if header < 20 || packet.len() < header || packet.len() > usize::from(u16::MAX) {
        return;
    }
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[10..12].fill(0);
    let sum = finish(words(&packet[..header]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let protocol = packet[9];
    let pseudo = words(&packet[12..20]) + u32::from(protocol) + u32::from(len) - header as u32;
    mend_payload(protocol, pseudo, &mut packet[header..]);
}

fn mend_ipv6(packet: &mut [u8]) {
    if packet.len() < 40 || packet.len() - 40 > usize::from(u16::MAX) {
        return;
    }
    let len = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    let protocol = packet[6];
    let pseudo = words(&packet[8..40]) + u32::from(protocol) + u32::from(len);
    mend_payload(protocol, pseudo, &mut packet[40..]);
}

fn mend_payload(protocol: u8, pseudo: u32, payload: &mut [u8]) {
    let (at, pseudo) = match protocol {
        TCP => (16, pseudo),
        ICMP => (2, 0),
        ICMPV6 => (2, pseudo),
        _ => return,
    };
    if payload.len() < at + 2 {
        return;
    }
    payload[at..at + 2].fill(0);
    let sum = finish(pseudo + words(payload));
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The Internet checksum (RFC 1071).
fn finish(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
