//! The program's counters: one for each thing that it does with a packet, and why.

use std::fmt;

/// What the program did with a packet, and why. It counts each packet that it sees under exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Counter {
    /// TCP to a registered address and port: to the socket.
    RedirectedListener,
    /// TCP of a registered flow, to a port that is no listener's: to the socket.
    RedirectedFlow,
    /// TCP that is ours for any of the other reasons, and whose flow is pinned: to the core that it is pinned to.
    ///
    /// Where queues have one socket each, nothing is looked up, and this stays 0.
    RedirectedPinned,
    /// An ICMP error that quotes a flow of ours, by listener or registered: to the core that owns that flow.
    RedirectedIcmpError,
    /// ARP whose target protocol address is an own address: to the socket.
    RedirectedOwnArp,
    /// Other ICMP to an own address; also a neighbour solicitation for one: to the socket.
    RedirectedOwnIcmp,
    /// TCP to an own address, a port that is not registered: to the socket.
    RedirectedOwnTcp,
    /// Neither IPv4, IPv6 nor ARP, or more than one VLAN tag: to the kernel.
    PassedNotIp,
    /// Of another VLAN than the one that is served: to the kernel.
    PassedOtherVlan,
    /// IP, but neither TCP nor ICMP follows the base header: to the kernel.
    PassedOtherProtocol,
    /// Nothing that was registered; this is the kernel's own traffic.
    PassedUnregistered,
    /// A later IPv4 fragment of TCP or ICMP, not to an own address: to the kernel.
    PassedFragment,
    /// Shorter than its headers say, or a header that contradicts itself: to the kernel.
    PassedMalformed,
    /// Ours, but no socket is registered for its queue and core: to the kernel.
    RedirectFailed,
    /// Of a flow that the process before this one still has: kept for it.
    Relayed,
    /// Ours, and the sockets are still to come: kept for them.
    Held,
    /// To be relayed or held, and the ring was full, or it was longer than a place in the ring: dropped.
    DroppedNoRoom,
}

impl Counter {
    /// All of them, in the order of `enum counter`.
    pub const ALL: [Self; 17] = [
        Self::RedirectedListener,
        Self::RedirectedFlow,
        Self::RedirectedPinned,
        Self::RedirectedIcmpError,
        Self::RedirectedOwnArp,
        Self::RedirectedOwnIcmp,
        Self::RedirectedOwnTcp,
        Self::PassedNotIp,
        Self::PassedOtherVlan,
        Self::PassedOtherProtocol,
        Self::PassedUnregistered,
        Self::PassedFragment,
        Self::PassedMalformed,
        Self::RedirectFailed,
        Self::Relayed,
        Self::Held,
        Self::DroppedNoRoom,
    ];

    /// The name as `enum counter` has it, in lower case; it does not change between versions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RedirectedListener => "redirected_listener",
            Self::RedirectedFlow => "redirected_flow",
            Self::RedirectedPinned => "redirected_pinned",
            Self::RedirectedIcmpError => "redirected_icmp_error",
            Self::RedirectedOwnArp => "redirected_own_arp",
            Self::RedirectedOwnIcmp => "redirected_own_icmp",
            Self::RedirectedOwnTcp => "redirected_own_tcp",
            Self::PassedNotIp => "passed_not_ip",
            Self::PassedOtherVlan => "passed_other_vlan",
            Self::PassedOtherProtocol => "passed_other_protocol",
            Self::PassedUnregistered => "passed_unregistered",
            Self::PassedFragment => "passed_fragment",
            Self::PassedMalformed => "passed_malformed",
            Self::RedirectFailed => "redirect_failed",
            Self::Relayed => "relayed",
            Self::Held => "held",
            Self::DroppedNoRoom => "dropped_no_room",
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

    /// The enumerators of `enum counter`, without the last, which is their number.
    fn enumerators() -> Vec<String> {
        let header = include_str!("shared.h");
        let body = header.split_once("enum counter {").unwrap().1.split_once('}').unwrap().0;
        let mut names: Vec<_> =
            body.lines().filter_map(|line| line.trim().split_once(',')).map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(names.pop().as_deref(), Some("counter_count"));
        names
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
    fn totals_add_up() {
        let counters = Counters::from_values([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]);
        assert_eq!(counters.total(), 153);
        assert_eq!(counters.value(Counter::RedirectFailed), 14);
        assert_eq!(counters.iter().map(|(_, value)| value).sum::<u64>(), 153);
    }
}
