//! What is written is read back as it was, and etherparse reads the same in it.

use crate::frames::{TcpFrame, ethernet, ip, tcp_frame};
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::wire::arp::{self, Arp, Operation};
use corelane_proto::wire::icmp::{self, Echo, IcmpErrorKind, IcmpMessage};
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, ParseError, TcpPacket, emit_tcp, parse};
use corelane_proto::{Addr, Mac, SocketAddr};
use etherparse::{
    ArpOperation, Icmpv4Type, Icmpv6Type, LinkExtHeader, LinkHeader, NetHeaders, PacketBuilder, PacketHeaders,
    TcpHeader, TcpOptionElement, TransportHeader,
};
use proptest::prelude::*;

/// What etherparse finds in `frame`, after comparing its Ethernet and IP headers with what they were written from.
fn oracle<'a>(frame: &'a [u8], eth: &EthernetHeader, ip: Option<&IpHeader>) -> PacketHeaders<'a> {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("etherparse reads it");
    let Some(LinkHeader::Ethernet2(link)) = &packet.link else { panic!("{:?}", packet.link) };
    assert_eq!((link.destination, link.source), (eth.dst.0, eth.src.0));
    let tag = packet.link_exts.first().map(|extension| {
        let LinkExtHeader::Vlan(tag) = extension else { panic!("{extension:?}") };
        let dei = u16::from(tag.drop_eligible_indicator);
        u16::from(tag.pcp.value()) << 13 | dei << 12 | tag.vlan_id.value()
    });
    assert_eq!(tag, eth.vlan);
    match (&packet.net, ip) {
        (Some(NetHeaders::Ipv4(header, _)), Some(ip)) => {
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            assert_eq!((Addr::v4(header.source), Addr::v4(header.destination)), (ip.src, ip.dst));
            assert_eq!(header.dscp.value() << 2 | header.ecn.value(), ip.tos);
            assert_eq!((header.time_to_live, header.identification), (ip.ttl, ip.ident));
            assert!(header.dont_fragment && !header.more_fragments && header.fragment_offset.value() == 0);
            assert_eq!(usize::from(header.total_len), frame.len() - eth.len());
        }
        (Some(NetHeaders::Ipv6(header, _)), Some(ip)) => {
            assert_eq!((Addr::v6(header.source), Addr::v6(header.destination)), (ip.src, ip.dst));
            assert_eq!((header.traffic_class, header.flow_label.value()), (ip.tos, ip.flow_label));
            assert_eq!(header.hop_limit, ip.ttl);
            assert_eq!(usize::from(header.payload_length), frame.len() - eth.len() - 40);
        }
        (Some(NetHeaders::Arp(_)), None) => {}
        other => panic!("{other:?}"),
    }
    packet
}

fn check_tcp_header(frame: &TcpFrame, packet: &PacketHeaders<'_>) {
    let Some(TransportHeader::Tcp(tcp)) = &packet.transport else { panic!("{:?}", packet.transport) };
    let segment = &frame.segment;
    assert_eq!((tcp.source_port, tcp.destination_port), frame.ports);
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (segment.seq.0, segment.ack.0));
    assert_eq!((tcp.window_size, tcp.urgent_pointer), (segment.window, segment.urgent));
    let flags = [tcp.fin, tcp.syn, tcp.rst, tcp.psh, tcp.ack, tcp.urg, tcp.ece, tcp.cwr, tcp.ns];
    let flags = flags.iter().enumerate().fold(0, |all, (bit, &set)| all | u16::from(set) << bit);
    assert_eq!(Flags(flags), segment.flags);
    assert_eq!(packet.payload.slice(), frame.payload);
    let checksum = match &packet.net {
        Some(NetHeaders::Ipv4(ip, _)) => tcp.calc_checksum_ipv4(ip, &frame.payload),
        Some(NetHeaders::Ipv6(ip, _)) => tcp.calc_checksum_ipv6(ip, &frame.payload),
        other => panic!("{other:?}"),
    };
    assert_eq!(tcp.checksum, checksum.expect("short enough"));
    check_tcp_options(frame, tcp);
}

fn check_tcp_options(frame: &TcpFrame, tcp: &TcpHeader) {
    let options = &frame.segment.options;
    let (mut mss, mut scale, mut permitted, mut clocks, mut sack) = (None, None, false, None, Vec::new());
    for option in tcp.options_iterator() {
        match option.expect("etherparse understands each option") {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(size) => mss = Some(size),
            TcpOptionElement::WindowScale(shift) => scale = Some(shift),
            TcpOptionElement::SelectiveAcknowledgementPermitted => permitted = true,
            TcpOptionElement::SelectiveAcknowledgement(first, others) => {
                sack.push(first);
                sack.extend(others.into_iter().flatten());
            }
            TcpOptionElement::Timestamp(value, echo) => clocks = Some((value, echo)),
        }
    }
    assert_eq!((mss, scale, permitted), (options.mss, options.window_scale, options.sack_permitted));
    assert_eq!(clocks, options.timestamps.map(|clocks| (clocks.value, clocks.echo)));
    let ranges: Vec<_> = options.sack.as_slice().iter().map(|(left, right)| (left.0, right.0)).collect();
    assert_eq!(sack, ranges);
}

fn check_tcp_round_trip(frame: &TcpFrame) {
    let bytes = frame.bytes();
    let packet = parse(&bytes, Checksums::VERIFY).expect("our own frame is valid");
    assert_eq!((packet.dst_mac, packet.src_mac, packet.vlan), (frame.eth.dst, frame.eth.src, frame.eth.vlan));
    let Body::Tcp(tcp) = packet.body else { panic!("{:?}", packet.body) };
    let (payload, options) = (tcp.payload.clone(), tcp.options.clone());
    assert_eq!(bytes[usize::from(payload.start)..usize::from(payload.end)], frame.payload);
    assert_eq!(usize::from(options.end - options.start), frame.segment.options.wire_len());
    assert_eq!(options.end, payload.start);
    assert!(tcp.ip_options.is_empty());
    let expected = TcpPacket {
        src: SocketAddr::new(frame.ip.src, frame.ports.0),
        dst: SocketAddr::new(frame.ip.dst, frame.ports.1),
        ttl: frame.ip.ttl,
        tos: frame.ip.tos,
        segment: frame.segment,
        ip_options: tcp.ip_options.clone(),
        options,
        payload,
    };
    assert_eq!(tcp, expected);
}

fn echo_of(message: IcmpMessage) -> Option<(bool, Echo)> {
    match message {
        IcmpMessage::EchoRequest(echo) => Some((true, echo)),
        IcmpMessage::EchoReply(echo) => Some((false, echo)),
        IcmpMessage::Error(_) | IcmpMessage::Other { .. } => None,
    }
}

/// Whether etherparse finds the ICMP checksum right, and the echo's fields when it is one.
fn oracle_icmp(frame: &[u8], eth: &EthernetHeader, ip: &IpHeader) -> Option<(u16, u16)> {
    let packet = oracle(frame, eth, Some(ip));
    let payload = packet.payload.slice();
    match &packet.transport {
        Some(TransportHeader::Icmpv4(icmp)) => {
            assert_eq!(icmp.icmp_type.calc_checksum(payload), icmp.checksum);
            match &icmp.icmp_type {
                Icmpv4Type::EchoRequest(echo) | Icmpv4Type::EchoReply(echo) => Some((echo.id, echo.seq)),
                _ => None,
            }
        }
        Some(TransportHeader::Icmpv6(icmp)) => {
            let sum = icmp.icmp_type.calc_checksum(ip.src.octets(), ip.dst.octets(), payload);
            assert_eq!(sum.expect("short enough"), icmp.checksum);
            match &icmp.icmp_type {
                Icmpv6Type::EchoRequest(echo) | Icmpv6Type::EchoReply(echo) => Some((echo.id, echo.seq)),
                _ => None,
            }
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn tcp_comes_back(frame in tcp_frame()) {
        check_tcp_round_trip(&frame);
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# The sender MUST generate it (MUST-2)
    #[test]
    fn etherparse_reads_the_same_segment(frame in tcp_frame()) {
        let bytes = frame.bytes();
        check_tcp_header(&frame, &oracle(&bytes, &frame.eth, Some(&frame.ip)));
    }

    #[test]
    fn padding_behind_the_packet_changes_nothing(frame in tcp_frame(), padding in 0usize..50) {
        let mut bytes = frame.bytes();
        let alone = parse(&bytes, Checksums::VERIFY);
        bytes.resize(bytes.len() + padding, 0xa5);
        prop_assert_eq!(parse(&bytes, Checksums::VERIFY), alone);
    }

    //= spec/rfc9293.txt#section-3.1
    //= type=test
    //# the receiver MUST check it (MUST-3).
    #[test]
    fn a_changed_byte_is_noticed(frame in tcp_frame(), at: prop::sample::Index, change in 1u8..) {
        let mut bytes = frame.bytes();
        let ip = frame.eth.len();
        let at = ip + at.index(bytes.len() - ip);
        bytes[at] ^= change;
        // No checksum covers IPv6's traffic class, flow label and hop limit; its version and lengths have to fit.
        let uncovered = !frame.ip.dst.is_v4() && (at - ip < 4 || at - ip == 7);
        prop_assert_eq!(parse(&bytes, Checksums::VERIFY).is_ok(), uncovered && bytes[ip] >> 4 == 6);
    }

    #[test]
    fn arp_comes_back(eth in ethernet(), request: bool, macs: ([u8; 6], [u8; 6]), hosts: ([u8; 3], [u8; 4])) {
        let (mut sender_mac, target_mac) = macs;
        sender_mac[0] &= 0xfe;
        let ([b, c, d], target) = hosts;
        let arp = Arp {
            operation: if request { Operation::Request } else { Operation::Reply },
            sender_mac: Mac(sender_mac),
            sender: Addr::v4([10, b, c, d]),
            target_mac: Mac(target_mac),
            target: Addr::v4(target),
        };
        let mut frame = [0; 64];
        let len = arp::emit(&mut frame, &eth, &arp);
        prop_assert_eq!(len, eth.len() + arp::PACKET_LEN);
        let packet = parse(&frame, Checksums::VERIFY).expect("our own frame is valid");
        prop_assert_eq!(packet.body, Body::Arp(arp));
        let Some(NetHeaders::Arp(theirs)) = oracle(&frame[..len], &eth, None).net else { panic!("no ARP") };
        let theirs = theirs.try_eth_ipv4().expect("IPv4 over Ethernet");
        prop_assert_eq!(theirs.operation == ArpOperation::REQUEST, request);
        prop_assert_eq!((theirs.sender_mac, theirs.target_mac), (sender_mac, target_mac));
        prop_assert_eq!((theirs.sender_ipv4, theirs.target_ipv4), ([10, b, c, d], target));
    }

    #[test]
    fn echoes_come_back(
        eth in ethernet(),
        ip in ip(),
        ident: u16,
        sequence: u16,
        data in proptest::collection::vec(any::<u8>(), 0..300),
        request: bool,
        at in 0u16..200,
    ) {
        let mut frame = vec![0xee; 600];
        let range = at..at + u16::try_from(data.len()).expect("short");
        frame[usize::from(range.start)..usize::from(range.end)].copy_from_slice(&data);
        let echo = Echo { ident, sequence, data: range };
        let emit = if request { icmp::emit_echo_request } else { icmp::emit_echo_reply };
        let len = emit(&mut frame, &eth, &ip, &echo);
        prop_assert_eq!(len, eth.len() + ip.wire_len() + icmp::HEADER_LEN + data.len());
        let (Body::Icmp(packet) | Body::Icmpv6(packet)) = parse(&frame, Checksums::VERIFY).expect("valid").body else {
            panic!("no ICMP")
        };
        prop_assert_eq!((packet.src, packet.dst, packet.ttl, packet.tos), (ip.src, ip.dst, ip.ttl, ip.tos));
        let (was_request, back) = echo_of(packet.message).expect("an echo");
        prop_assert_eq!((was_request, back.ident, back.sequence), (request, ident, sequence));
        prop_assert_eq!(&frame[usize::from(back.data.start)..usize::from(back.data.end)], &data[..]);
        prop_assert_eq!(oracle_icmp(&frame[..len], &eth, &ip), Some((ident, sequence)));
    }

    #[test]
    fn errors_come_back(sent in tcp_frame(), eth in ethernet(), router_last: u8, port: bool, mtu in 1u16..) {
        let bytes = sent.bytes();
        let router = if sent.ip.dst.is_v4() {
            Addr::v4([127 + 64, 0, 2, router_last])
        } else {
            Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, router_last])
        };
        let ip = IpHeader::new(router, sent.ip.src);
        let kind = if port { IcmpErrorKind::PortUnreachable } else { IcmpErrorKind::PacketTooBig };
        let mut frame = vec![0; 1514];
        let len = icmp::emit_error(&mut frame, &eth, &ip, kind, Some(mtu), &bytes[sent.eth.len()..]);
        prop_assert!(len > 0);
        prop_assert_eq!(oracle_icmp(&frame[..len], &eth, &ip), None);
        let (Body::Icmp(packet) | Body::Icmpv6(packet)) = parse(&frame[..len], Checksums::VERIFY).expect("valid").body
        else {
            panic!("no ICMP")
        };
        let IcmpMessage::Error(error) = packet.message else { panic!("{:?}", packet.message) };
        prop_assert_eq!((error.kind, error.seq), (kind, sent.segment.seq));
        prop_assert_eq!(error.mtu, if port { None } else { Some(mtu) });
        prop_assert_eq!(error.flow.local, SocketAddr::new(sent.ip.src, sent.ports.0));
        prop_assert_eq!(error.flow.remote, SocketAddr::new(sent.ip.dst, sent.ports.1));
    }

    #[test]
    fn what_etherparse_writes_is_read(
        ports in (1u16.., 1u16..),
        seq: u32,
        ack: u32,
        window: u16,
        clocks: (u32, u32),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
        tag in 0u16..4096,
    ) {
        let tag = etherparse::VlanId::try_new(tag).expect("12 bits");
        let options = [TcpOptionElement::Timestamp(clocks.0, clocks.1), TcpOptionElement::WindowScale(9)];
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .single_vlan(tag)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9)
            .tcp(ports.0, ports.1, seq, window)
            .ack(ack)
            .options(&options)
            .expect("they fit");
        let mut frame = Vec::new();
        builder.write(&mut frame, &payload).expect("a vector takes it");
        let packet = parse(&frame, Checksums::VERIFY).expect("valid");
        prop_assert_eq!((packet.vlan, packet.src_mac), (Some(tag.value()), Mac([2; 6])));
        let Body::Tcp(tcp) = packet.body else { panic!("{:?}", packet.body) };
        prop_assert_eq!((tcp.src.port, tcp.dst.port), ports);
        prop_assert_eq!((tcp.segment.seq.0, tcp.segment.ack.0, tcp.segment.window), (seq, ack, window));
        prop_assert_eq!(tcp.segment.flags, Flags::ACK);
        let theirs = tcp.segment.options.timestamps.map(|clocks| (clocks.value, clocks.echo));
        prop_assert_eq!((theirs, tcp.segment.options.window_scale), (Some(clocks), Some(9)));
        prop_assert_eq!(&frame[usize::from(tcp.payload.start)..usize::from(tcp.payload.end)], &payload[..]);
    }
}

#[test]
fn a_frame_too_long_for_offsets_is_refused() {
    assert_eq!(parse(&vec![0; 65_536], Checksums::VERIFY), Err(ParseError::Oversized));
}

#[test]
fn a_segment_that_does_not_fit_is_not_written() {
    let ip = IpHeader::new(Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
    let segment = Segment { len: 10, ..Segment::default() };
    let emit =
        |len: usize, ip: &IpHeader| emit_tcp(&mut vec![0; len], &EthernetHeader::default(), ip, (1, 2), &segment);
    assert_eq!(emit(64, &ip), 64);
    for short in 0..64 {
        assert_eq!(emit(short, &ip), 0);
    }
    let mixed = IpHeader { src: Addr::v6([0x20; 16]), ..ip };
    assert_eq!(emit(200, &mixed), 0);
    let mixed = IpHeader { dst: Addr::v6([0x20; 16]), ..ip };
    assert_eq!(emit(200, &mixed), 0);
}
