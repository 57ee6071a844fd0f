//! Packet by packet through the kernel's test run of the real program: the verdict and the counter of each.
//!
//! It needs root: `cargo test -p corelane-bpf --features kernel`.

mod common;
mod model;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use common::{Pair, receiving_socket};
use corelane_bpf::{AttachMode, Counter, Counters, Layout, Steering, Verdict};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header,
    PacketBuilder, SingleVlanHeader, VlanId,
};
use model::Registered;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// The kernel's address, with a listener of ours at port 80.
const KERNELS: [u8; 4] = [10, 77, 0, 1];
/// An own address, with a listener at port 80.
const OURS: [u8; 4] = [10, 77, 0, 9];
const PEER: [u8; 4] = [10, 77, 0, 2];
const KERNELS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const OURS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
const PEER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const LISTENERS: [(IpAddr, u16); 3] =
    [(v4(KERNELS), 80), (v4(OURS), 80), (IpAddr::V6(Ipv6Addr::from_octets(KERNELS6)), 80)];
const OWN: [IpAddr; 2] = [v4(OURS), IpAddr::V6(Ipv6Addr::from_octets(OURS6))];

const fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_octets(octets))
}

/// The program on a veth with all of the above registered, and a socket for queue 0 only.
struct Bench {
    steering: Steering,
    _socket: OwnedFd,
    _pair: Pair,
}

impl Bench {
    fn up() -> Self {
        Self::with_layout(Layout::default(), 0)
    }

    fn with_layout(layout: Layout, queue: u32) -> Self {
        let pair = Pair::up();
        // Down, so that the kernel's own neighbour discovery is not counted among the test's packets.
        common::ip("link set v0 down");
        let steering = Steering::attach_with(pair.ifindex, AttachMode::Native, layout).unwrap();
        let socket = receiving_socket();
        steering.register_socket(queue, socket.as_fd()).unwrap();
        for (address, port) in LISTENERS {
            steering.add_listener(address, port).unwrap();
        }
        for address in OWN {
            steering.add_own_address(address).unwrap();
        }
        Self { steering, _socket: socket, _pair: pair }
    }

    /// The verdict, and the one counter that moved, by one.
    fn run(&self, packet: &[u8], queue: u32, before: &mut Counters) -> (Verdict, Counter) {
        let verdict = self.steering.run(packet, queue, 1).unwrap().verdict;
        let after = self.steering.counters().unwrap();
        let moved: Vec<_> = after.iter().zip(before.iter()).filter(|(new, old)| new != old).collect();
        assert_eq!(moved.len(), 1, "each packet counts once: {moved:?}, {packet:02x?}");
        let ((counter, new), (_, old)) = moved[0];
        assert_eq!(new, old + 1);
        *before = after;
        (verdict, counter)
    }

    fn check(&self, name: &str, packet: &[u8], expected: Counter) {
        let mut before = self.steering.counters().unwrap();
        let outcome = self.run(packet, 0, &mut before);
        assert_eq!(outcome, (verdict_of(expected), expected), "{name}: {packet:02x?}");
    }
}

fn verdict_of(counter: Counter) -> Verdict {
    if counter.name().starts_with("redirected_") { Verdict::Redirect } else { Verdict::Pass }
}

fn frame(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

/// The same frame with one 802.1Q tag more, before those it has.
fn tagged(packet: &[u8], type_of_tag: EtherType) -> Vec<u8> {
    let ether_type = EtherType(u16::from_be_bytes([packet[12], packet[13]]));
    let tag = SingleVlanHeader { vlan_id: VlanId::try_new(7).unwrap(), ether_type, ..Default::default() };
    frame(type_of_tag, &[&tag.to_bytes()[..], &packet[14..]].concat())
}

/// An IPv4 packet whose header the closure may change after the lengths are set.
fn ipv4(to: [u8; 4], protocol: IpNumber, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut header = Ipv4Header::new(u16::try_from(payload.len()).unwrap(), 64, protocol, PEER, to).unwrap();
    change(&mut header);
    let mut bytes = Vec::new();
    header.write_raw(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    frame(EtherType::IPV4, &bytes)
}

fn ipv6(to: [u8; 16], next_header: IpNumber, payload: &[u8]) -> Vec<u8> {
    let payload_length = u16::try_from(payload.len()).unwrap();
    let header =
        Ipv6Header { payload_length, next_header, hop_limit: 64, source: PEER6, destination: to, ..Default::default() };
    frame(EtherType::IPV6, &[&header.to_bytes()[..], payload].concat())
}

/// A TCP header without options, and `data` bytes of payload.
fn tcp(port: u16, data: usize) -> Vec<u8> {
    let mut segment = Vec::new();
    etherparse::TcpHeader::new(40_000, port, 1, 1000).write(&mut segment).unwrap();
    segment.resize(segment.len() + data, 0x5a);
    segment
}

const ECHO: [u8; 12] = [8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
const ECHO6: [u8; 12] = [128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];

fn tcp4(to: [u8; 4], port: u16) -> Vec<u8> {
    ipv4(to, IpNumber::TCP, &tcp(port, 5), |_| {})
}

fn with_options(to: [u8; 4], port: u16, options: usize) -> Vec<u8> {
    ipv4(to, IpNumber::TCP, &tcp(port, 5), |header| {
        header.options = vec![1; options][..].try_into().unwrap();
        header.total_len += u16::try_from(options).unwrap();
    })
}

fn fragment(to: [u8; 4], protocol: IpNumber, offset: u16, more: bool) -> Vec<u8> {
    ipv4(to, protocol, &tcp(80, 5), |header| {
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.more_fragments = more;
    })
}

fn arp(operation: ArpOperation, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let packet =
        ArpPacket::new(ArpHardwareId::ETHERNET, EtherType::IPV4, operation, &[2; 6], &sender, &[0; 6], &target)
            .unwrap();
    frame(EtherType::ARP, &packet.to_bytes())
}

/// One of each kind that is redirected.
fn redirected() -> Vec<(&'static str, Vec<u8>, Counter)> {
    use Counter::{RedirectedListener, RedirectedOwnArp, RedirectedOwnIcmp, RedirectedOwnTcp};
    vec![
        ("TCP to a listener", tcp4(KERNELS, 80), RedirectedListener),
        ("TCP to a listener on an own address", tcp4(OURS, 80), RedirectedListener),
        ("TCP with 4 bytes of IPv4 options", with_options(KERNELS, 80, 4), RedirectedListener),
        ("TCP with 40 bytes of IPv4 options", with_options(KERNELS, 80, 40), RedirectedListener),
        ("TCP without data", ipv4(KERNELS, IpNumber::TCP, &tcp(80, 0), |_| {}), RedirectedListener),
        ("TCP to a listener, IPv6", ipv6(KERNELS6, IpNumber::TCP, &tcp(80, 5)), RedirectedListener),
        ("the first fragment for a listener", fragment(KERNELS, IpNumber::TCP, 0, true), RedirectedListener),
        ("TCP to an own address", tcp4(OURS, 81), RedirectedOwnTcp),
        ("TCP to an own address, IPv6", ipv6(OURS6, IpNumber::TCP, &tcp(80, 5)), RedirectedOwnTcp),
        ("echo to an own address", ipv4(OURS, IpNumber::ICMP, &ECHO, |_| {}), RedirectedOwnIcmp),
        ("echo to an own address, IPv6", ipv6(OURS6, IpNumber::IPV6_ICMP, &ECHO6), RedirectedOwnIcmp),
        ("an ARP request for an own address", arp(ArpOperation::REQUEST, PEER, OURS), RedirectedOwnArp),
        ("an ARP reply to an own address", arp(ArpOperation::REPLY, PEER, OURS), RedirectedOwnArp),
    ]
}

/// What goes to the kernel, whole as it is.
fn passed() -> Vec<(&'static str, Vec<u8>, Counter)> {
    use Counter::{PassedFragment, PassedMalformed, PassedNotIp, PassedOtherProtocol, PassedUnregistered};
    let udp = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(PEER, OURS, 64).udp(40_000, 80);
    let mut udp_bytes = Vec::new();
    udp.write(&mut udp_bytes, &[0; 30]).unwrap();
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, 0, 1];
    let change_arp = |at: usize| {
        let mut packet = arp(ArpOperation::REQUEST, PEER, OURS);
        packet[14 + at] ^= 8;
        packet
    };
    let echo = |to| ipv4(to, IpNumber::ICMP, &ECHO, |_| {});
    vec![
        ("TCP to the kernel's port", tcp4(KERNELS, 22), PassedUnregistered),
        ("the port in the wrong byte order", tcp4(KERNELS, 80_u16.swap_bytes()), PassedUnregistered),
        ("TCP to another address", tcp4([10, 77, 0, 3], 80), PassedUnregistered),
        ("TCP to the kernel's port, IPv6", ipv6(KERNELS6, IpNumber::TCP, &tcp(22, 5)), PassedUnregistered),
        ("TCP to another address, IPv6", ipv6(PEER6, IpNumber::TCP, &tcp(80, 5)), PassedUnregistered),
        ("a mapped address as IPv6", ipv6(mapped, IpNumber::TCP, &tcp(80, 5)), PassedMalformed),
        ("echo to the kernel", echo(KERNELS), PassedUnregistered),
        ("echo to the kernel, IPv6", ipv6(KERNELS6, IpNumber::IPV6_ICMP, &ECHO6), PassedUnregistered),
        ("ICMPv6 in IPv4", ipv4(OURS, IpNumber::IPV6_ICMP, &ECHO6, |_| {}), PassedOtherProtocol),
        ("ICMP in IPv6", ipv6(OURS6, IpNumber::ICMP, &ECHO), PassedOtherProtocol),
        ("an ARP request for the kernel", arp(ArpOperation::REQUEST, PEER, KERNELS), PassedUnregistered),
        ("an ARP request from an own address", arp(ArpOperation::REQUEST, OURS, PEER), PassedUnregistered),
        ("ARP of another hardware", change_arp(1), PassedMalformed),
        ("ARP for another protocol", change_arp(2), PassedMalformed),
        ("ARP with longer hardware addresses", change_arp(4), PassedMalformed),
        ("ARP with longer protocol addresses", change_arp(5), PassedMalformed),
        ("UDP to an own address and a listener's port", udp_bytes, PassedOtherProtocol),
        ("UDP, IPv6", ipv6(OURS6, IpNumber::UDP, &[0; 30]), PassedOtherProtocol),
        ("a hop-by-hop header", ipv6(OURS6, IpNumber::IPV6_HEADER_HOP_BY_HOP, &tcp(80, 5)), PassedOtherProtocol),
        ("a later fragment", fragment(KERNELS, IpNumber::TCP, 3, true), PassedFragment),
        ("the last fragment", fragment(KERNELS, IpNumber::TCP, 0x1fff, false), PassedFragment),
        ("a later fragment of ICMP", fragment(KERNELS, IpNumber::ICMP, 1, false), PassedFragment),
        ("a later fragment of UDP", fragment(OURS, IpNumber::UDP, 1, false), PassedOtherProtocol),
        ("802.3 with a length", frame(EtherType(46), &[0; 46]), PassedNotIp),
        ("LLDP", frame(EtherType(0x88cc), &[0; 46]), PassedNotIp),
        ("QinQ", tagged(&tagged(&tcp4(OURS, 80), EtherType(0x8100)), EtherType(0x88a8)), PassedNotIp),
        ("two 802.1Q tags", tagged(&tagged(&tcp4(OURS, 80), EtherType(0x8100)), EtherType(0x8100)), PassedNotIp),
        ("a service tag alone", tagged(&tcp4(OURS, 80), EtherType(0x88a8)), PassedNotIp),
        (
            "IPv4's type, version 6",
            frame(EtherType::IPV4, &ipv6(OURS6, IpNumber::TCP, &tcp(80, 5))[14..]),
            PassedMalformed,
        ),
        ("IPv6's type, version 4", frame(EtherType::IPV6, &with_options(OURS, 80, 40)[14..]), PassedMalformed),
        ("no room for a TCP header", ipv4(OURS, IpNumber::TCP, &tcp(80, 9), |h| h.total_len = 39), PassedMalformed),
        (
            "a total length below the header's",
            ipv4(OURS, IpNumber::TCP, &tcp(80, 9), |h| h.total_len = 19),
            PassedMalformed,
        ),
        ("a total length of 0", ipv4(OURS, IpNumber::TCP, &tcp(80, 9), |h| h.total_len = 0), PassedMalformed),
        ("ICMP without its header", ipv4(OURS, IpNumber::ICMP, &ECHO, |h| h.total_len = 27), PassedMalformed),
        ("TCP in IPv6 without its header", ipv6(OURS6, IpNumber::TCP, &tcp(80, 0)[..19]), PassedMalformed),
    ]
}

#[test]
fn every_row_has_its_verdict_and_counter() {
    let bench = Bench::up();
    for (name, packet, expected) in redirected().into_iter().chain(passed()) {
        bench.check(name, &packet, expected);
    }
    for (name, packet, expected) in redirected() {
        bench.check(&format!("{name}, tagged"), &tagged(&packet, EtherType(0x8100)), expected);
        let padded = [&packet[..], &[0; 20]].concat();
        bench.check(&format!("{name}, padded"), &padded, expected);
    }
}

#[test]
fn later_fragments_to_an_own_address_are_ours() {
    let bench = Bench::up();
    bench.check("TCP", &fragment(OURS, IpNumber::TCP, 3, true), Counter::RedirectedOwnTcp);
    bench.check("ICMP", &fragment(OURS, IpNumber::ICMP, 3, false), Counter::RedirectedOwnIcmp);
    let tiny = ipv4(OURS, IpNumber::TCP, &[0; 1], |h| h.fragment_offset = IpFragOffset::try_new(1).unwrap());
    bench.check("of one byte", &tiny, Counter::RedirectedOwnTcp);
}

#[test]
fn icmp_errors_that_quote_our_flow_are_ours() {
    let bench = Bench::up();
    // Destination unreachable, fragmentation needed (RFC 1191 4), quoting a segment from the own address.
    let mut message = vec![3, 4, 0, 0, 0, 0, 5, 120];
    message.extend_from_slice(&tcp4(PEER, 5000)[14..42]);
    bench.check("", &ipv4(OURS, IpNumber::ICMP, &message, |_| {}), Counter::RedirectedOwnIcmp);
}

#[test]
fn nothing_truncated_is_redirected() {
    let bench = Bench::up();
    let tags = redirected().into_iter().map(|(name, packet, _)| (name, tagged(&packet, EtherType(0x8100))));
    for (name, packet) in redirected().into_iter().map(|(name, packet, _)| (name, packet)).chain(tags) {
        // Shorter than an Ethernet header the kernel makes no test run, nor does it hand such a frame to XDP.
        assert_eq!(bench.steering.run(&packet[..13], 0, 1).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        for len in 14..packet.len() {
            bench.check(&format!("{name}, {len} bytes of {}", packet.len()), &packet[..len], Counter::PassedMalformed);
        }
    }
}

#[test]
fn a_packet_in_several_buffers_is_redirected_whole() {
    let bench = Bench::up();
    let jumbo = ipv4(KERNELS, IpNumber::TCP, &tcp(80, 8000), |_| {});
    bench.check("jumbo", &jumbo, Counter::RedirectedListener);
    bench.check("jumbo, one byte short", &jumbo[..jumbo.len() - 1], Counter::PassedMalformed);
}

#[test]
fn what_is_unregistered_again_goes_to_the_kernel() {
    let bench = Bench::up();
    let steering = &bench.steering;
    assert!(steering.remove_listener(v4(OURS), 80).unwrap());
    bench.check("listener removed, address own", &tcp4(OURS, 80), Counter::RedirectedOwnTcp);
    assert!(steering.remove_own_address(v4(OURS)).unwrap());
    bench.check("address removed", &tcp4(OURS, 80), Counter::PassedUnregistered);
    bench.check("ARP", &arp(ArpOperation::REQUEST, PEER, OURS), Counter::PassedUnregistered);
    bench.check("the other listener", &tcp4(KERNELS, 80), Counter::RedirectedListener);
    steering.unregister_socket(0).unwrap();
    bench.check("socket removed", &tcp4(KERNELS, 80), Counter::RedirectFailed);
}

#[test]
fn a_queue_without_a_socket_passes() {
    let bench = Bench::up();
    let mut before = bench.steering.counters().unwrap();
    for (name, packet, _) in redirected() {
        assert_eq!(bench.run(&packet, 1, &mut before), (Verdict::Pass, Counter::RedirectFailed), "{name}");
    }
}

#[test]
fn keys_count_from_the_base_queue() {
    for sockets_per_queue in [1, 4] {
        let bench = Bench::with_layout(Layout { base_queue: 1, sockets_per_queue }, 1);
        let mut before = bench.steering.counters().unwrap();
        let packet = tcp4(KERNELS, 80);
        assert_eq!(bench.run(&packet, 1, &mut before), (Verdict::Redirect, Counter::RedirectedListener));
        // Below the base the key is beyond every slot.
        assert_eq!(bench.run(&packet, 0, &mut before), (Verdict::Pass, Counter::RedirectFailed));
    }
    let bench = Bench::with_layout(Layout { base_queue: 0, sockets_per_queue: 3 }, 1);
    let mut before = bench.steering.counters().unwrap();
    assert_eq!(bench.run(&tcp4(KERNELS, 80), 1, &mut before), (Verdict::Redirect, Counter::RedirectedListener));
    assert_eq!(bench.run(&tcp4(KERNELS, 80), 0, &mut before), (Verdict::Pass, Counter::RedirectFailed));
}

/// Changes a packet as a careless or hostile sender might: bytes, often in the headers, its length, a tag.
fn mutate(packet: &mut Vec<u8>, random: &mut Xoshiro256PlusPlus) {
    let mut below = |bound: usize| usize::try_from(random.next_u64() % bound as u64).unwrap();
    if below(6) == 0 {
        *packet = tagged(packet, EtherType([0x8100, 0x8100, 0x88a8, 0x86dd][below(4)]));
    }
    for _ in 0..below(4) {
        let at = below(packet.len().min(80));
        packet[at] = match below(3) {
            0 => packet[at] ^ (1 << below(8)),
            1 => packet[at].wrapping_add(1),
            _ => u8::try_from(below(256)).unwrap(),
        };
    }
    match below(8) {
        0 => packet.truncate(14 + below(packet.len() - 13)),
        1 => packet.resize(packet.len() + below(64), 0),
        _ => {}
    }
}

#[test]
fn a_hundred_thousand_mutated_packets_go_where_the_model_says() {
    const SEED: u64 = 0x5eed_0003;
    let bench = Bench::up();
    let registered = Registered { listeners: &LISTENERS, own: &OWN };
    let mut templates: Vec<_> = redirected().into_iter().chain(passed()).map(|(_, packet, _)| packet).collect();
    templates.push(fragment(OURS, IpNumber::TCP, 3, true));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut before = bench.steering.counters().unwrap();
    let mut seen = [0_u32; Counter::ALL.len()];
    for round in 0..100_000_usize {
        let mut packet = templates[round % templates.len()].clone();
        if round % 50 == 0 {
            packet.resize(14 + usize::from(random.next_u32() as u8), 0);
            random.fill_bytes(&mut packet);
        } else {
            mutate(&mut packet, &mut random);
        }
        let expected = model::expect(&packet, &registered);
        let outcome = bench.run(&packet, 0, &mut before);
        assert_eq!(outcome, (verdict_of(expected), expected), "seed {SEED:#x}, round {round}: {packet:02x?}");
        seen[expected as usize] += 1;
    }
    // The mutations must reach every answer often, or the comparison says little.
    for counter in Counter::ALL.into_iter().filter(|counter| *counter != Counter::RedirectFailed) {
        assert!(seen[counter as usize] > 500, "{counter} was reached {} times only", seen[counter as usize]);
    }
}

/// Prints what each kind costs; it asserts nothing about time, as the machine may be anything.
#[test]
fn the_cost_of_each_kind_is_printed() {
    let bench = Bench::up();
    let kinds = redirected().into_iter().chain(passed());
    for (name, packet, expected) in kinds {
        let run = bench.steering.run(&packet, 0, 200_000).unwrap();
        assert_eq!(run.verdict, verdict_of(expected), "{name}");
        println!("{:>5} ns  {expected:<24} {name}", run.duration.as_nanos());
    }
}
