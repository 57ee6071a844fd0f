//! One row for each kind of packet, and what becomes of it.

use corelane_bpf::{Counter, Verdict};
use etherparse::{ArpOperation, EtherType, IpFragOffset, IpNumber, PacketBuilder};

use crate::bench::{Bench, KERNELS, KERNELS6, OURS, OURS6, OUT, PEER, PEER6, PINNED, SERVICE, v4};
use crate::frames::{
    ECHO, ECHO6, Quote, VLAN, arp, fragment, frame, icmp_error, icmpv6_error, ipv4, ipv6, neighbour, solicited_node,
    tagged, tagged_as, tcp, tcp4, tcp4_from, tcp6_from, with_options,
};

/// One of each kind that is redirected.
pub(crate) fn redirected() -> Vec<(&'static str, Vec<u8>, Counter)> {
    use Counter::{
        RedirectedFlow, RedirectedListener, RedirectedOwnArp, RedirectedOwnIcmp, RedirectedOwnTcp, RedirectedPinned,
    };
    let mut rows = vec![
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
        ("a solicitation of an own address", neighbour(135, solicited_node(OURS6), OURS6), RedirectedOwnIcmp),
        ("a solicitation that is a probe", neighbour(135, OURS6, OURS6), RedirectedOwnIcmp),
        ("an advertisement to an own address", neighbour(136, OURS6, PEER6), RedirectedOwnIcmp),
        ("the reply to an outgoing connection", tcp4_from(SERVICE, KERNELS, OUT), RedirectedFlow),
        ("the reply to an outgoing connection, IPv6", tcp6_from(SERVICE, KERNELS6, OUT), RedirectedFlow),
        ("TCP that is pinned", tcp4_from(PINNED, KERNELS, 80), RedirectedPinned),
        ("TCP that is pinned, to an own address", tcp4_from(PINNED, OURS, 81), RedirectedPinned),
        ("TCP that is pinned, IPv6", tcp6_from(PINNED, KERNELS6, 80), RedirectedPinned),
    ];
    rows.extend(errors());
    rows
}

/// ICMP errors about what is ours.
fn errors() -> Vec<(&'static str, Vec<u8>, Counter)> {
    use Counter::{RedirectedIcmpError, RedirectedOwnIcmp};
    let listeners = Quote::tcp(80, 40_000);
    let outgoing = Quote::tcp(OUT, SERVICE);
    let other = Quote::tcp(81, PINNED);
    let error = |message, quote| icmp_error(message, KERNELS, KERNELS, quote);
    let error6 = |message, quote| icmpv6_error(message, KERNELS6, KERNELS6, quote);
    vec![
        ("unreachable, about a listener's", error(3, listeners), RedirectedIcmpError),
        ("time exceeded, about a listener's", error(11, listeners), RedirectedIcmpError),
        ("parameter problem, about a listener's", error(12, listeners), RedirectedIcmpError),
        ("about a listener's with options", error(3, Quote { options: 40, ..listeners }), RedirectedIcmpError),
        ("quoting all of TCP's header", error(3, Quote { len: 20, ..listeners }), RedirectedIcmpError),
        ("about a pinned flow", error(3, Quote::tcp(80, PINNED)), RedirectedIcmpError),
        ("about an outgoing connection", error(3, outgoing), RedirectedIcmpError),
        ("unreachable, IPv6", error6(1, listeners), RedirectedIcmpError),
        ("too big, IPv6", error6(2, listeners), RedirectedIcmpError),
        ("time exceeded, IPv6", error6(3, listeners), RedirectedIcmpError),
        ("parameter problem, IPv6", error6(4, listeners), RedirectedIcmpError),
        ("about an outgoing connection, IPv6", error6(2, outgoing), RedirectedIcmpError),
        ("to an own address, about a listener's", icmp_error(3, OURS, OURS, listeners), RedirectedIcmpError),
        ("to an own address, about a pinned flow", icmp_error(3, OURS, OURS, other), RedirectedOwnIcmp),
        ("to an own address, about a flow, IPv6", icmpv6_error(2, OURS6, OURS6, other), RedirectedOwnIcmp),
        ("to an own address, about another's", icmp_error(3, OURS, KERNELS, listeners), RedirectedOwnIcmp),
        ("source quench to an own address", icmp_error(4, OURS, OURS, listeners), RedirectedOwnIcmp),
        (
            "to an own address, quoting 7 bytes",
            icmp_error(3, OURS, OURS, Quote { len: 7, ..listeners }),
            RedirectedOwnIcmp,
        ),
    ]
}

/// ICMP errors that are the kernel's.
fn errors_passed() -> Vec<(&'static str, Vec<u8>, Counter)> {
    use Counter::PassedUnregistered;
    let listeners = Quote::tcp(80, 40_000);
    let error = |message, quote| icmp_error(message, KERNELS, KERNELS, quote);
    let error6 = |message, quote| icmpv6_error(message, KERNELS6, KERNELS6, quote);
    let longer = |quote| {
        // The frame has room for what the IP header does not promise.
        let mut packet = error(3, Quote { len: 7, ..quote });
        packet.resize(packet.len() + 20, 0);
        packet
    };
    [
        ("an error about the kernel's", error(3, Quote::tcp(22, 40_000))),
        ("an error about the listener's port at the peer", error(3, Quote::tcp(40_000, 80))),
        ("an error about another outgoing port", error(3, Quote::tcp(OUT, SERVICE + 1))),
        ("an error about UDP", error(3, Quote { protocol: IpNumber::UDP, ..listeners })),
        ("an error about a later fragment", error(3, Quote { fragment_offset: 1, ..listeners })),
        ("an error that quotes another's packet", icmp_error(3, KERNELS, OURS, listeners)),
        ("an error that quotes 7 bytes", error(3, Quote { len: 7, ..listeners })),
        ("an error that quotes 7 bytes, padded", longer(listeners)),
        ("an error that quotes options and 7 bytes", error(3, Quote { len: 7, options: 40, ..listeners })),
        ("source quench", error(4, listeners)),
        ("a redirect", error(5, listeners)),
        ("an echo reply that quotes", error(0, listeners)),
        ("an error about the kernel's, IPv6", error6(1, Quote::tcp(22, 40_000))),
        ("an error about UDP, IPv6", error6(1, Quote { protocol: IpNumber::UDP, ..listeners })),
        ("an error that quotes another's packet, IPv6", icmpv6_error(2, KERNELS6, OURS6, listeners)),
        ("an error that quotes 7 bytes, IPv6", error6(2, Quote { len: 7, ..listeners })),
        ("no error, IPv6", error6(5, listeners)),
        ("a solicitation of the kernel", neighbour(135, solicited_node(KERNELS6), KERNELS6)),
        ("a solicitation of the kernel, from far", neighbour(135, OURS6, KERNELS6)),
        ("an advertisement to the kernel", neighbour(136, KERNELS6, OURS6)),
    ]
    .map(|(name, packet)| (name, packet, PassedUnregistered))
    .into()
}

/// What goes to the kernel, whole as it is.
pub(crate) fn passed() -> Vec<(&'static str, Vec<u8>, Counter)> {
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
    let mut rows = vec![
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
        ("QinQ", tagged_as(&tagged(&tcp4(OURS, 80)), EtherType(0x88a8), VLAN), PassedNotIp),
        ("two 802.1Q tags", tagged(&tagged(&tcp4(OURS, 80))), PassedNotIp),
        ("a service tag alone", tagged_as(&tcp4(OURS, 80), EtherType(0x88a8), VLAN), PassedNotIp),
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
        ("ICMPv6 without its header", ipv6(OURS6, IpNumber::IPV6_ICMP, &ECHO6[..7]), PassedMalformed),
        ("a solicitation without its target", solicitation_cut_short(), PassedMalformed),
        ("a solicitation of a mapped address", neighbour(135, OURS6, mapped), PassedMalformed),
        ("another flow to the outgoing port", tcp4_from(SERVICE + 1, KERNELS, OUT), PassedUnregistered),
        ("another flow to the outgoing port, IPv6", tcp6_from(SERVICE + 1, KERNELS6, OUT), PassedUnregistered),
        ("the flow the other way round", tcp4_from(OUT, KERNELS, SERVICE), PassedUnregistered),
        ("pinned, but nobody's", tcp4_from(PINNED, KERNELS, 81), PassedUnregistered),
    ];
    rows.extend(errors_passed());
    rows
}

/// With bytes for the target in the frame, but not in the packet.
fn solicitation_cut_short() -> Vec<u8> {
    let mut packet = ipv6(OURS6, IpNumber::IPV6_ICMP, &[135, 0, 0, 0, 0, 0, 0, 0, 0x20, 1]);
    packet.resize(packet.len() + 14, 0);
    packet
}

#[test]
fn every_row_has_its_verdict_and_counter() {
    let bench = Bench::up();
    for (name, packet, expected) in redirected().into_iter().chain(passed()) {
        bench.check(name, &packet, expected);
    }
    for (name, packet, expected) in redirected() {
        bench.check(&format!("{name}, tagged"), &tagged(&packet), expected);
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
fn nothing_truncated_is_redirected() {
    let bench = Bench::up();
    let tags = redirected().into_iter().map(|(name, packet, _)| (name, tagged(&packet)));
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
    (0..3).for_each(|core| steering.unregister_socket(0, core).unwrap());
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
