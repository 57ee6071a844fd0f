//! Any frame: parsing it does not panic, and what parses is written and read again as the same, and as `etherparse`
//! reads it.

use crate::mend::mend;
use corelane_proto::Addr;
use corelane_proto::tcp::segment::{Flags, Options};
use corelane_proto::wire::tcp_option::{self, TcpOption, options};
use corelane_proto::wire::{
    Body, Checksums, Echo, EthernetHeader, IcmpMessage, IcmpPacket, IpHeader, Packet, TcpPacket, arp, emit_tcp, icmp,
    parse, tcp_header_len,
};
use etherparse::{SlicedPacket, TransportSlice};

/// One run: the first byte says whether checksums and lengths are put right, the others are the frame.
pub fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let mut frame = bytes.to_vec();
    if how & 1 != 0 {
        mend(&mut frame);
    }
    let trusted = parse(&frame, Checksums::TRUST);
    let verified = parse(&frame, Checksums::VERIFY);
    if let Ok(packet) = &trusted {
        check(&frame, packet);
    }
    if let Ok(packet) = &verified {
        assert_eq!(trusted.as_ref(), Ok(packet), "what is verified is trusted all the same");
        agree(&frame, packet);
    }
    let _ = icmp::may_report(&frame);
}

fn check(frame: &[u8], packet: &Packet) {
    let eth = EthernetHeader { dst: packet.dst_mac, src: packet.src_mac, vlan: packet.vlan };
    match &packet.body {
        Body::Arp(arp) => {
            let mut again = vec![0; 64];
            let len = arp::emit(&mut again, &eth, arp);
            assert_eq!(parse(&again[..len], Checksums::VERIFY).as_ref(), Ok(packet));
        }
        Body::Tcp(tcp) => check_tcp(frame, &eth, packet, tcp),
        Body::Icmp(message) | Body::Icmpv6(message) => check_icmp(frame, &eth, message),
    }
}

fn check_tcp(frame: &[u8], eth: &EthernetHeader, packet: &Packet, tcp: &TcpPacket) {
    let payload = &frame[usize::from(tcp.payload.start)..usize::from(tcp.payload.end)];
    assert_eq!(payload.len(), usize::from(tcp.segment.len));
    let list = &frame[usize::from(tcp.options.start)..usize::from(tcp.options.end)];
    assert_eq!(tcp_option::parse(list), tcp.segment.options);
    check_options(list);

    let mut segment = tcp.segment;
    segment.options.sack.truncate(room_for_sack(&segment.options));
    let at = tcp_header_len(tcp.dst.addr.is_v4(), packet.vlan.is_some(), &segment.options);
    let mut again = vec![0; at + payload.len()];
    again[at..].copy_from_slice(payload);
    let ip = IpHeader { ttl: tcp.ttl, tos: tcp.tos, ..IpHeader::new(tcp.src.addr, tcp.dst.addr) };
    let len = emit_tcp(&mut again, eth, &ip, (tcp.src.port, tcp.dst.port), &segment);
    assert!(len == again.len() || at + payload.len() > usize::from(u16::MAX), "{len} of {} bytes", again.len());
    let Ok(Packet { body: Body::Tcp(back), .. }) = parse(&again[..len], Checksums::VERIFY) else {
        assert_eq!(len, 0, "what is emitted parses");
        return;
    };
    assert_eq!((back.src, back.dst, back.ttl, back.tos), (tcp.src, tcp.dst, tcp.ttl, tcp.tos));
    assert_eq!(back.segment, segment);
    assert_eq!(&again[usize::from(back.payload.start)..usize::from(back.payload.end)], payload);
}

/// How many SACK ranges our codec, which pads options, has room for beside the rest.
fn room_for_sack(options: &Options) -> usize {
    let mut rest = *options;
    rest.sack.truncate(0);
    (tcp_option::MAX_LEN - rest.wire_len()).saturating_sub(4) / 8
}

/// Each option is written as it was read.
fn check_options(list: &[u8]) {
    let mut at = 0;
    for option in options(list) {
        let len = option.wire_len();
        let mut again = [0; tcp_option::MAX_LEN];
        assert_eq!(option.emit(&mut again), Some(len), "{option:?}");
        // An accurate ECN option may be longer than its whole fields (RFC 9768 3.2.3); what is left over is ignored.
        let is_longer = matches!(option, TcpOption::AccurateEcn(_)) && list.get(at + 1) != again.get(1);
        if is_longer {
            assert_eq!((again[0], &again[2..len]), (list[at], &list[at + 2..at + len]), "{option:?}");
            assert!(list[at + 1] > again[1], "{option:?}");
        } else {
            assert_eq!(&again[..len], &list[at..at + len], "{option:?}");
        }
        at += if is_longer { list.get(at + 1).map_or(len, |len| usize::from(*len)) } else { len };
        assert!(option != TcpOption::EndOfList || at <= list.len());
    }
}

fn check_icmp(frame: &[u8], eth: &EthernetHeader, packet: &IcmpPacket) {
    let (is_request, echo) = match &packet.message {
        IcmpMessage::EchoRequest(echo) => (true, echo),
        IcmpMessage::EchoReply(echo) => (false, echo),
        IcmpMessage::Error(error) => {
            assert_eq!(error.flow.local.addr.is_v4(), packet.src.is_v4());
            return;
        }
        IcmpMessage::Other { .. } => return,
    };
    let ip = IpHeader { ttl: packet.ttl, tos: packet.tos, ..IpHeader::new(packet.src, packet.dst) };
    // An echo's data moves inside its own frame.
    let mut again = frame.to_vec();
    again.resize(frame.len() + 64, 0);
    let emit = if is_request { icmp::emit_echo_request } else { icmp::emit_echo_reply };
    let len = emit(&mut again, eth, &ip, echo);
    let Ok(Packet { body: Body::Icmp(back) | Body::Icmpv6(back), .. }) = parse(&again[..len], Checksums::VERIFY) else {
        assert_eq!(len, 0, "what is emitted parses");
        return;
    };
    let (IcmpMessage::EchoRequest(found) | IcmpMessage::EchoReply(found)) = back.message else {
        unreachable!("an echo comes back as an echo")
    };
    assert_eq!((found.ident, found.sequence), (echo.ident, echo.sequence));
    let data = |bytes: &[u8], echo: &Echo| bytes[usize::from(echo.data.start)..usize::from(echo.data.end)].to_vec();
    assert_eq!(data(&again, &found), data(frame, echo));
}

/// Where both parsers know what a frame is, they agree.
fn agree(frame: &[u8], packet: &Packet) {
    let Body::Tcp(tcp) = &packet.body else { return };
    let theirs = SlicedPacket::from_ethernet(frame).expect("etherparse reads what we read");
    let Some(TransportSlice::Tcp(slice)) = &theirs.transport else {
        panic!("etherparse finds no TCP: {theirs:?}");
    };
    let s = &tcp.segment;
    assert_eq!((slice.source_port(), slice.destination_port()), (tcp.src.port, tcp.dst.port));
    assert_eq!((slice.sequence_number(), slice.acknowledgment_number()), (s.seq.0, s.ack.0));
    assert_eq!((slice.window_size(), slice.urgent_pointer()), (s.window, s.urgent));
    let flags = [
        slice.fin(),
        slice.syn(),
        slice.rst(),
        slice.psh(),
        slice.ack(),
        slice.urg(),
        slice.ece(),
        slice.cwr(),
        slice.ns(),
    ];
    let flags = flags.iter().enumerate().fold(0, |all, (bit, set)| all | u16::from(*set) << bit);
    assert_eq!(Flags(flags), s.flags);
    let payload = &frame[usize::from(tcp.payload.start)..usize::from(tcp.payload.end)];
    assert_eq!(slice.payload(), payload);
    let sum = match (tcp.src.addr.as_v4(), tcp.dst.addr.as_v4()) {
        (Some(src), Some(dst)) => slice.calc_checksum_ipv4(src, dst),
        _ => slice.calc_checksum_ipv6(tcp.src.addr.octets(), tcp.dst.addr.octets()),
    };
    // Ones' complement has two zeros.
    let zero = |sum: u16| if sum == 0xffff { 0 } else { sum };
    assert_eq!(sum.map(zero), Ok(zero(slice.checksum())));
    assert_ne!(tcp.src.addr, Addr::v4([0; 4]));
}
