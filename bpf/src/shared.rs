//! The Rust side of `shared.h`: what the program and its loader agree on.

use std::fmt;
use std::net::IpAddr;

use zerocopy::{Immutable, IntoBytes};

/// How many (address, port) pairs can be registered on one interface.
pub const MAX_LISTENERS: u32 = 65_536;
/// How many own addresses one interface can have.
pub const MAX_OWN_ADDRESSES: u32 = 256;
/// How many sockets one interface can have: queues times sockets per queue.
pub const MAX_SOCKETS: u32 = 1024;

/// `struct address`: network order, IPv4 in its IPv4-mapped form (RFC 4291 2.5.5.2).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub(crate) struct Address([u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// `struct listener_key`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct ListenerKey {
    address: Address,
    port: [u8; 2],
    protocol: u8,
    reserved: u8,
}

impl ListenerKey {
    pub(crate) fn tcp(address: IpAddr, port: u16) -> Self {
        const IPPROTO_TCP: u8 = 6;
        Self { address: address.into(), port: port.to_be_bytes(), protocol: IPPROTO_TCP, reserved: 0 }
    }
}

/// `struct config`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Config {
    pub(crate) base_queue: u32,
    pub(crate) sockets_per_queue: u32,
}

const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<ListenerKey>() == 20);
const _: () = assert!(size_of::<Config>() == 8);

/// What the program did with a packet, and why. It counts each packet that it sees under exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Counter {
    /// TCP to a registered address and port: to the socket.
    RedirectedListener,
    /// ARP whose target protocol address is an own address: to the socket.
    RedirectedOwnArp,
    /// ICMP or `ICMPv6` to an own address: to the socket.
    RedirectedOwnIcmp,
    /// TCP to an own address, a port that is not registered: to the socket.
    RedirectedOwnTcp,
    /// Neither IPv4, IPv6 nor ARP, or more than one VLAN tag: to the kernel.
    PassedNotIp,
    /// IP, but neither TCP nor ICMP follows the base header: to the kernel.
    PassedOtherProtocol,
    /// Nothing that was registered; this is the kernel's own traffic.
    PassedUnregistered,
    /// A later IPv4 fragment of TCP or ICMP, not to an own address: to the kernel.
    PassedFragment,
    /// Shorter than its headers say, or a header that contradicts itself: to the kernel.
    PassedMalformed,
    /// Ours, but no socket is registered for its queue: to the kernel.
    RedirectFailed,
}

impl Counter {
    /// All of them, in the order of `enum counter`.
    pub const ALL: [Self; 10] = [
        Self::RedirectedListener,
        Self::RedirectedOwnArp,
        Self::RedirectedOwnIcmp,
        Self::RedirectedOwnTcp,
        Self::PassedNotIp,
        Self::PassedOtherProtocol,
        Self::PassedUnregistered,
        Self::PassedFragment,
        Self::PassedMalformed,
        Self::RedirectFailed,
    ];

    /// The name as `enum counter` has it, in lower case; it does not change between versions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedirectedListener => "redirected_listener",
            Self::RedirectedOwnArp => "redirected_own_arp",
            Self::RedirectedOwnIcmp => "redirected_own_icmp",
            Self::RedirectedOwnTcp => "redirected_own_tcp",
            Self::PassedNotIp => "passed_not_ip",
            Self::PassedOtherProtocol => "passed_other_protocol",
            Self::PassedUnregistered => "passed_unregistered",
            Self::PassedFragment => "passed_fragment",
            Self::PassedMalformed => "passed_malformed",
            Self::RedirectFailed => "redirect_failed",
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The program's counters at one moment, summed over the CPUs, in packets since it was attached.
///
/// Each is read on its own, while packets go on: two of them need not belong to the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Counter::ALL.len()]);

impl Counters {
    pub(crate) fn from_values(values: [u64; Counter::ALL.len()]) -> Self {
        Self(values)
    }

    /// How many packets were counted under `counter`.
    pub fn value(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Every counter with its value, in the order of [`Counter::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.into_iter().zip(self.0)
    }

    /// All packets that the program saw.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("shared.h");

    /// The enumerators of `enum counter`, without the last, which is their number.
    fn enumerators() -> Vec<String> {
        let body = HEADER.split_once("enum counter {").unwrap().1.split_once('}').unwrap().0;
        let mut names: Vec<_> =
            body.lines().filter_map(|line| line.trim().split_once(',')).map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(names.pop().as_deref(), Some("counter_count"));
        names
    }

    fn defined(name: &str) -> u32 {
        let line = HEADER.lines().find(|line| line.starts_with(&format!("#define {name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn counters_are_those_of_the_program_in_its_order() {
        let names: Vec<_> = Counter::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names, enumerators());
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }

    #[test]
    fn bounds_are_those_of_the_program() {
        assert_eq!(MAX_LISTENERS, defined("MAX_LISTENERS"));
        assert_eq!(MAX_OWN_ADDRESSES, defined("MAX_OWN_ADDRESSES"));
        assert_eq!(MAX_SOCKETS, defined("MAX_SOCKETS"));
    }

    #[test]
    fn a_key_is_laid_out_as_in_the_header() {
        let key = ListenerKey::tcp("10.1.2.3".parse().unwrap(), 0x1f90);
        let expected = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3, 0x1f, 0x90, 6, 0];
        assert_eq!(key.as_bytes(), expected);
    }

    #[test]
    fn an_ipv4_address_and_its_mapped_form_are_one() {
        let plain = Address::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let mapped = Address::from("::ffff:192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(plain.as_bytes(), mapped.as_bytes());
    }

    #[test]
    fn totals_add_up() {
        let counters = Counters::from_values([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(counters.total(), 55);
        assert_eq!(counters.value(Counter::RedirectFailed), 10);
        assert_eq!(counters.iter().map(|(_, value)| value).sum::<u64>(), 55);
    }
}
