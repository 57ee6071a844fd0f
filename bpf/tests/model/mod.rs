//! What the program should do with a packet, written once more in Rust, from the RFCs and not from the C.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corelane_bpf::Counter;

/// What is registered.
pub(crate) struct Registered<'a> {
    pub(crate) listeners: &'a [(IpAddr, u16)],
    pub(crate) own: &'a [IpAddr],
}

/// The counter for a packet of an interface whose queue has a socket.
pub(crate) fn expect(packet: &[u8], registered: &Registered<'_>) -> Counter {
    classify(packet, registered).unwrap_or(Counter::PassedMalformed)
}

/// `None` for what is malformed.
fn classify(packet: &[u8], registered: &Registered<'_>) -> Option<Counter> {
    let mut rest = packet.get(14..)?;
    let mut ether_type = be16(packet, 12)?;
    if ether_type == 0x8100 {
        ether_type = be16(rest, 2)?;
        rest = &rest[4..];
    }
    match ether_type {
        0x0806 => arp(rest, registered),
        0x0800 => ipv4(rest, registered),
        0x86dd => ipv6(rest, registered),
        _ => Some(Counter::PassedNotIp),
    }
}

/// RFC 826: hardware type 1 of 6 bytes, protocol type 0x0800 of 4 bytes.
fn arp(bytes: &[u8], registered: &Registered<'_>) -> Option<Counter> {
    let message: &[u8; 28] = bytes.first_chunk()?;
    if message[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let target = IpAddr::from(Ipv4Addr::new(message[24], message[25], message[26], message[27]));
    Some(if registered.own.contains(&target) { Counter::RedirectedOwnArp } else { Counter::PassedUnregistered })
}

/// RFC 791 3.1.
fn ipv4(bytes: &[u8], registered: &Registered<'_>) -> Option<Counter> {
    let header = bytes.get(..20)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total_len = usize::from(be16(header, 2)?);
    if header[0] >> 4 != 4 || header_len < 20 {
        return None;
    }
    let payload = bytes.get(..total_len)?.get(header_len..)?;
    let to = IpAddr::from(Ipv4Addr::new(header[16], header[17], header[18], header[19]));
    let is_later_fragment = be16(header, 6)? & 0x1fff != 0;
    match header[9] {
        6 => tcp(payload, to, is_later_fragment, registered),
        1 => icmp(payload, to, is_later_fragment, registered),
        _ => Some(Counter::PassedOtherProtocol),
    }
}

/// RFC 8200 3; a mapped address has no business on the wire.
fn ipv6(bytes: &[u8], registered: &Registered<'_>) -> Option<Counter> {
    let header = bytes.get(..40)?;
    let payload = bytes[40..].get(..usize::from(be16(header, 4)?))?;
    let to = Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?);
    if header[0] >> 4 != 6 || to.to_ipv4_mapped().is_some() {
        return None;
    }
    match header[6] {
        6 => tcp(payload, to.into(), false, registered),
        58 => icmp(payload, to.into(), false, registered),
        _ => Some(Counter::PassedOtherProtocol),
    }
}

fn tcp(payload: &[u8], to: IpAddr, is_later_fragment: bool, registered: &Registered<'_>) -> Option<Counter> {
    if is_later_fragment {
        return Some(later_fragment(to, Counter::RedirectedOwnTcp, registered));
    }
    let port = be16(payload.get(..20)?, 2)?;
    Some(if registered.listeners.contains(&(to, port)) {
        Counter::RedirectedListener
    } else if registered.own.contains(&to) {
        Counter::RedirectedOwnTcp
    } else {
        Counter::PassedUnregistered
    })
}

fn icmp(payload: &[u8], to: IpAddr, is_later_fragment: bool, registered: &Registered<'_>) -> Option<Counter> {
    if is_later_fragment {
        return Some(later_fragment(to, Counter::RedirectedOwnIcmp, registered));
    }
    payload.get(..8)?;
    Some(if registered.own.contains(&to) { Counter::RedirectedOwnIcmp } else { Counter::PassedUnregistered })
}

fn later_fragment(to: IpAddr, of_own: Counter, registered: &Registered<'_>) -> Counter {
    if registered.own.contains(&to) { of_own } else { Counter::PassedFragment }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
