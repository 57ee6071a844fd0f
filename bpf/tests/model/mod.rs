//! What the program should do with a packet, written once more in Rust, from the RFCs and not from the C.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use corelane_bpf::{Counter, FlowHash, Table, Vlan};

/// What is registered.
pub(crate) struct World<'a> {
    pub(crate) listeners: &'a [(IpAddr, u16)],
    pub(crate) own: &'a [IpAddr],
    pub(crate) flows: &'a [(SocketAddr, SocketAddr)],
    pub(crate) pins: &'a [(SocketAddr, SocketAddr, u32)],
    pub(crate) vlan: Vlan,
    pub(crate) hash: &'a FlowHash,
    pub(crate) table: Table,
}

/// Where a packet goes if its owner has a socket on its queue, and under which counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) counter: Counter,
    /// The core that gets it; `None` if it passes.
    pub(crate) owner: Option<u32>,
    reason: Counter,
}

impl Expected {
    /// The counter where nobody asks who owns the flow.
    pub(crate) fn unpinned(self) -> Counter {
        self.reason
    }
}

/// What steering needs to know of a packet.
enum Facts {
    Passed(Counter),
    /// A question or an answer about the hardware address of `target`.
    Neighbour {
        target: IpAddr,
        of_own: Counter,
    },
    /// TCP, or an ICMP error about it; `local` is this side.
    Flow {
        local: SocketAddr,
        remote: SocketAddr,
        is_error: bool,
    },
    /// Neither: a later fragment, or ICMP that names no flow.
    Addresses {
        local: IpAddr,
        remote: IpAddr,
        of_own: Counter,
        else_passed: Counter,
    },
}

pub(crate) fn expect(packet: &[u8], world: &World<'_>) -> Expected {
    match parse(packet, world.vlan).unwrap_or(Facts::Passed(Counter::PassedMalformed)) {
        Facts::Passed(counter) => passed(counter),
        Facts::Neighbour { target, of_own } if world.own.contains(&target) => {
            Expected { counter: of_own, owner: Some(world.table.owners()[0]), reason: of_own }
        }
        Facts::Neighbour { .. } => passed(Counter::PassedUnregistered),
        Facts::Flow { local, remote, is_error } => world.flow(local, remote, is_error),
        Facts::Addresses { local, remote, of_own, .. } if world.own.contains(&local) => {
            let hash = world.hash.hash(SocketAddr::new(remote, 0), SocketAddr::new(local, 0));
            Expected { counter: of_own, owner: Some(world.table.owner(hash)), reason: of_own }
        }
        Facts::Addresses { else_passed, .. } => passed(else_passed),
    }
}

fn passed(counter: Counter) -> Expected {
    Expected { counter, owner: None, reason: counter }
}

impl World<'_> {
    fn flow(&self, local: SocketAddr, remote: SocketAddr, is_error: bool) -> Expected {
        let reason = if self.listeners.contains(&(local.ip(), local.port())) {
            if is_error { Counter::RedirectedIcmpError } else { Counter::RedirectedListener }
        } else if self.flows.contains(&(local, remote)) {
            if is_error { Counter::RedirectedIcmpError } else { Counter::RedirectedFlow }
        } else if self.own.contains(&local.ip()) {
            if is_error { Counter::RedirectedOwnIcmp } else { Counter::RedirectedOwnTcp }
        } else {
            return passed(Counter::PassedUnregistered);
        };
        let pin = self.pins.iter().find(|pin| (pin.0, pin.1) == (local, remote)).map(|pin| pin.2);
        let owner = pin.unwrap_or_else(|| self.table.owner(self.hash.hash(remote, local)));
        let counter = if pin.is_some() && !is_error { Counter::RedirectedPinned } else { reason };
        Expected { counter, owner: Some(owner), reason }
    }
}

/// `None` for what is malformed.
fn parse(packet: &[u8], vlan: Vlan) -> Option<Facts> {
    let mut rest = packet.get(14..)?;
    let mut ether_type = be16(packet, 12)?;
    let mut id = 0;
    if ether_type == 0x8100 {
        id = be16(rest, 0)? & 0xfff;
        ether_type = be16(rest, 2)?;
        rest = &rest[4..];
    }
    let is_ours = match vlan {
        Vlan::Any => true,
        Vlan::Untagged => id == 0,
        Vlan::Id(ours) => id == ours,
    };
    match ether_type {
        _ if !is_ours => Some(Facts::Passed(Counter::PassedOtherVlan)),
        0x0806 => arp(rest),
        0x0800 => ipv4(rest),
        0x86dd => ipv6(rest),
        _ => Some(Facts::Passed(Counter::PassedNotIp)),
    }
}

/// RFC 826: hardware type 1 of 6 bytes, protocol type 0x0800 of 4 bytes.
fn arp(bytes: &[u8]) -> Option<Facts> {
    let message: &[u8; 28] = bytes.first_chunk()?;
    if message[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    Some(Facts::Neighbour { target: v4(message, 24)?, of_own: Counter::RedirectedOwnArp })
}

/// RFC 791 3.1.
fn ipv4(bytes: &[u8]) -> Option<Facts> {
    let header = bytes.get(..20)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total_len = usize::from(be16(header, 2)?);
    if header[0] >> 4 != 4 || header_len < 20 {
        return None;
    }
    let payload = bytes.get(..total_len)?.get(header_len..)?;
    let (local, remote) = (v4(header, 16)?, v4(header, 12)?);
    let of_own = match header[9] {
        6 => Counter::RedirectedOwnTcp,
        1 => Counter::RedirectedOwnIcmp,
        _ => return Some(Facts::Passed(Counter::PassedOtherProtocol)),
    };
    if be16(header, 6)? & 0x1fff != 0 {
        return Some(Facts::Addresses { local, remote, of_own, else_passed: Counter::PassedFragment });
    }
    if header[9] == 6 {
        return tcp(payload, local, remote);
    }
    let kind = payload.get(..8)?[0];
    let quoted = if matches!(kind, 3 | 11 | 12) { quoted_ipv4(&payload[8..], local) } else { None };
    Some(quoted.unwrap_or_else(|| icmp(local, remote)))
}

/// RFC 8200 3; a mapped address has no business on the wire.
fn ipv6(bytes: &[u8]) -> Option<Facts> {
    let header = bytes.get(..40)?;
    let payload = bytes[40..].get(..usize::from(be16(header, 4)?))?;
    let (local, remote) = (v6(header, 24)?, v6(header, 8)?);
    if header[0] >> 4 != 6 || is_mapped(local) {
        return None;
    }
    match header[6] {
        6 => tcp(payload, local, remote),
        58 => {
            let of_own = Counter::RedirectedOwnIcmp;
            Some(match payload.get(..8)?[0] {
                1..=4 => quoted_ipv6(&payload[8..], local).unwrap_or_else(|| icmp(local, remote)),
                // RFC 4861 4.3: the target is behind 4 reserved bytes.
                135 => {
                    let target = v6(payload, 8).filter(|target| !is_mapped(*target))?;
                    Facts::Neighbour { target, of_own }
                }
                136 => Facts::Neighbour { target: local, of_own },
                _ => icmp(local, remote),
            })
        }
        _ => Some(Facts::Passed(Counter::PassedOtherProtocol)),
    }
}

fn tcp(payload: &[u8], local: IpAddr, remote: IpAddr) -> Option<Facts> {
    let header = payload.get(..20)?;
    let local = SocketAddr::new(local, be16(header, 2)?);
    let remote = SocketAddr::new(remote, be16(header, 0)?);
    Some(Facts::Flow { local, remote, is_error: false })
}

fn icmp(local: IpAddr, remote: IpAddr) -> Facts {
    let (of_own, else_passed) = (Counter::RedirectedOwnIcmp, Counter::PassedUnregistered);
    Facts::Addresses { local, remote, of_own, else_passed }
}

/// The TCP flow of a packet that `local` is said to have sent; `None` if there is none.
fn quoted_ipv4(bytes: &[u8], local: IpAddr) -> Option<Facts> {
    let header = bytes.get(..20)?;
    let header_len = usize::from(header[0] & 15) * 4;
    let is_first = be16(header, 6)? & 0x1fff == 0;
    let fits = header[0] >> 4 == 4 && header_len >= 20 && header[9] == 6 && is_first;
    let ports = bytes.get(header_len..header_len + 8)?;
    if fits { quoted(v4(header, 12)?, v4(header, 16)?, ports, local) } else { None }
}

fn quoted_ipv6(bytes: &[u8], local: IpAddr) -> Option<Facts> {
    let header = bytes.get(..40)?;
    let fits = header[0] >> 4 == 6 && header[6] == 6;
    let ports = bytes.get(40..48)?;
    if fits { quoted(v6(header, 8)?, v6(header, 24)?, ports, local) } else { None }
}

fn quoted(from: IpAddr, to: IpAddr, ports: &[u8], local: IpAddr) -> Option<Facts> {
    let (source, destination) = (SocketAddr::new(from, be16(ports, 0)?), SocketAddr::new(to, be16(ports, 2)?));
    (from == local).then_some(Facts::Flow { local: source, remote: destination, is_error: true })
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into())
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
