//! What peers and routers send: mostly close to what the endpoint expects.

use super::bench::{OUR_MAC, OURS, ROUTER_MAC, peer_mac};
use super::peer::{Peer, peer_byte};
use crate::{Input, mend};
use corelane_proto::tcp::segment::{AccurateEcn, Codepoint, FastOpen, Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::arp::{self, Operation};
use corelane_proto::wire::{Arp, EthernetHeader, IcmpErrorKind, IpHeader, emit_tcp, icmp, tcp_header_len};
use corelane_proto::{Addr, Flow, Mac};

const ETHERNET: usize = 14;
const KINDS: [IcmpErrorKind; 11] = [
    IcmpErrorKind::NetUnreachable,
    IcmpErrorKind::HostUnreachable,
    IcmpErrorKind::ProtocolUnreachable,
    IcmpErrorKind::PortUnreachable,
    IcmpErrorKind::PacketTooBig,
    IcmpErrorKind::SourceRouteFailed,
    IcmpErrorKind::Prohibited,
    IcmpErrorKind::TimeExceeded,
    IcmpErrorKind::ReassemblyTimeExceeded,
    IcmpErrorKind::ParameterProblem,
    IcmpErrorKind::SourceQuench,
];

/// A segment of the peer's stream, as a frame. With `lie` the bytes are others.
pub(super) fn emit(peer: &mut Peer, segment: &Segment, lie: bool) -> Vec<u8> {
    if segment.flags.has(Flags::SYN) {
        peer.open(segment.seq);
    }
    peer.lied |= lie && segment.len > 0;
    let Flow { local, remote } = peer.flow;
    let eth = EthernetHeader { dst: OUR_MAC, src: peer_mac(), vlan: None };
    let ip = IpHeader::new(remote.addr, local.addr);
    let at = tcp_header_len(local.addr.is_v4(), false, &segment.options);
    // A SYN takes a number in front of the data.
    let first = segment.seq + u32::from(segment.flags.has(Flags::SYN));
    let bytes = (0..u32::from(segment.len)).map(|i| peer_byte(first + i) ^ u8::from(lie));
    let mut frame = vec![0; at];
    frame.extend(bytes);
    let len = emit_tcp(&mut frame, &eth, &ip, (remote.port, local.port), segment);
    frame.truncate(len);
    frame
}

/// The segment that an honest peer would send next.
pub(super) fn honest(peer: &mut Peer, input: &mut Input<'_>) -> Vec<u8> {
    let what = input.any::<u8>();
    let len = if what & 1 == 0 { 0 } else { input.below(1461) as u16 };
    let mut flags = Flags::ACK;
    let mut options = Options { timestamps: timestamps(peer), ..Options::NONE };
    let mut seq = peer.next();
    if peer.expects == Seq(0) {
        // The endpoint has sent a SYN: here is its answer.
        flags = flags | Flags::SYN;
        seq = Seq(input.any::<u32>());
        options = syn_options(peer, input);
    } else if what & 0xe == 0xe {
        flags = flags | Flags::FIN;
    }
    let window = if what & 0x10 == 0 { 30_000 } else { input.any::<u16>() };
    emit(peer, &Segment { seq, ack: peer.sent, flags, window, len, options, ..Segment::default() }, false)
}

/// A cookie as a server gives it, or the one that the endpoint gave.
fn cookie(peer: &Peer) -> FastOpen {
    peer.cookie.or_else(|| FastOpen::new(&[7; 8])).unwrap_or(FastOpen::REQUEST)
}

/// The options of a SYN.
fn syn_options(peer: &Peer, input: &mut Input<'_>) -> Options {
    let what = input.any::<u8>();
    Options {
        fast_open: (what & 16 != 0).then(|| if what & 32 == 0 { cookie(peer) } else { FastOpen::REQUEST }),
        mss: if what & 1 == 0 { Some(1460) } else { Some(input.any::<u16>()).filter(|mss| *mss != 0) },
        window_scale: (what & 2 == 0).then_some(what >> 5),
        sack_permitted: what & 4 == 0,
        timestamps: (what & 8 == 0).then_some(Timestamps { value: 1, echo: 0 }),
        ..Options::NONE
    }
}

/// A SYN of a flow.
pub(super) fn syn(peer: &mut Peer, input: &mut Input<'_>) -> Vec<u8> {
    let seq = Seq(input.any::<u32>());
    let options = syn_options(peer, input);
    let window = if input.rarely(4) { input.any::<u16>() } else { 20_000 };
    // What Fast Open is for.
    let len = if options.fast_open.is_some() { input.below(1461) as u16 } else { 0 };
    emit(peer, &Segment { seq, flags: Flags::SYN, window, options, len, ..Segment::default() }, false)
}

/// Any flags, any options, any length, numbers close to the edges.
pub(super) fn hostile(peer: &mut Peer, input: &mut Input<'_>) -> Vec<u8> {
    let around = match input.below(4) {
        0 => peer.edge.unwrap_or_else(|| peer.expects + u32::from(peer.window)),
        1 => peer.isns.last().copied().unwrap_or(Seq(0)),
        _ => peer.expects,
    };
    let seq = near(around, input);
    let around = if input.rarely(3) { peer.last } else { peer.sent };
    let ack = near(around, input);
    let flags = match input.below(4) {
        0 => Flags(input.any::<u16>() & 0x1ff),
        1 => Flags::ACK | Flags(1 << input.below(9)),
        _ => Flags::ACK,
    };
    let len = match input.below(4) {
        0 => 0,
        1 => input.below(4) as u16,
        _ => input.below(1461) as u16,
    };
    let segment = Segment {
        seq,
        ack,
        flags,
        window: if input.rarely(2) { input.any::<u16>() } else { 20_000 },
        urgent: if flags.has(Flags::URG) { input.any::<u16>() } else { 0 },
        len,
        ecn: Codepoint::of(input.any::<u8>()),
        options: any_options(peer, input),
    };
    let lie = input.rarely(16);
    emit(peer, &segment, lie)
}

/// A number close to `seq`.
fn near(seq: Seq, input: &mut Input<'_>) -> Seq {
    match input.below(8) {
        0 => seq + 1,
        1 => seq - 1,
        2 => seq + u32::from(input.any::<u8>()) * 256,
        3 => seq - u32::from(input.any::<u8>()) * 256,
        4 => seq + input.any::<u32>(),
        5 => seq + u32::from(input.any::<u16>()),
        _ => seq,
    }
}

fn timestamps(peer: &mut Peer) -> Option<Timestamps> {
    let echo = peer.stamp?;
    peer.clock = peer.clock.wrapping_add(1);
    Some(Timestamps { value: peer.clock, echo })
}

fn any_options(peer: &mut Peer, input: &mut Input<'_>) -> Options {
    let what = input.any::<u8>();
    let mut sack = SackBlocks::EMPTY;
    if what & 1 != 0 {
        for _ in 0..input.below(5) {
            let left = near(peer.last, input);
            sack.push(left, left + u32::from(input.any::<u16>()));
        }
    }
    let stamped = match what >> 6 {
        0 | 1 => timestamps(peer),
        2 => Some(Timestamps { value: input.any::<u32>(), echo: peer.stamp.unwrap_or(0) }),
        _ => None,
    };
    Options {
        mss: (what & 2 != 0).then(|| input.any::<u16>()),
        window_scale: (what & 4 != 0).then(|| input.any::<u8>()),
        sack_permitted: what & 8 != 0,
        timestamps: stamped,
        fast_open: (what & 16 != 0).then(|| if what & 32 == 0 { FastOpen::REQUEST } else { cookie(peer) }),
        accurate_ecn: input.rarely(4).then(|| AccurateEcn::new(input.rarely(2), [input.any::<u32>(), 7])),
        sack,
    }
}

/// A router's or the peer's error about something that the endpoint has sent, or about nothing.
pub(super) fn icmp_error(peer: &Peer, input: &mut Input<'_>) -> Vec<u8> {
    let Some(mut quote) = peer.frame.get(ETHERNET..).map(<[u8]>::to_vec) else { return Vec::new() };
    let tcp = if peer.flow.local.addr.is_v4() { 20 } else { 40 };
    let what = input.any::<u8>();
    if let Some(seq) = quote.get_mut(tcp + 4..tcp + 8).filter(|_| what & 0x80 != 0) {
        let other = near(peer.last, input);
        seq.copy_from_slice(&other.0.to_be_bytes());
    }
    let kind = KINDS[usize::from(what & 0x7f) % KINDS.len()];
    let mtu = if kind == IcmpErrorKind::PacketTooBig { Some(input.any::<u16>()) } else { None };
    let router = if peer.flow.local.addr.is_v4() { Addr::v4([10, 0, 0, 254]) } else { peer.flow.remote.addr };
    let eth = EthernetHeader { dst: OUR_MAC, src: ROUTER_MAC, vlan: None };
    let ip = IpHeader::new(router, peer.flow.local.addr);
    let mut frame = vec![0; 1514];
    let len = icmp::emit_error(&mut frame, &eth, &ip, kind, mtu, &quote);
    frame.truncate(len);
    frame
}

/// An ARP packet: a question, an answer, or somebody who claims an address.
pub(super) fn arp(input: &mut Input<'_>) -> Vec<u8> {
    let what = input.any::<u8>();
    let sender = Addr::v4([10, 0, 0, what >> 4]);
    let operation = if what & 1 == 0 { Operation::Request } else { Operation::Reply };
    let sender_mac = Mac([2, 0, 0, 0, 1, what >> 2]);
    let (target_mac, target) = (OUR_MAC, OURS[0]);
    let dst = if what & 2 == 0 { OUR_MAC } else { Mac::BROADCAST };
    let eth = EthernetHeader { dst, src: sender_mac, vlan: None };
    let mut frame = vec![0; 60];
    arp::emit(&mut frame, &eth, &Arp { operation, sender_mac, sender, target_mac, target });
    frame
}

/// A frame of the peer with some bytes changed, and mostly put right again.
pub(super) fn changed(mut frame: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..=input.below(3) {
        let (at, by) = (usize::from(input.any::<u16>()), input.any::<u8>());
        let len = frame.len().max(1);
        if let Some(byte) = frame.get_mut(at % len) {
            *byte ^= by;
        }
    }
    let cut = input.any::<u8>();
    if cut & 0xf0 == 0xf0 {
        frame.truncate(frame.len() - usize::from(cut & 15).min(frame.len()));
    }
    if cut & 1 == 0 {
        mend(&mut frame);
    }
    frame
}

/// Bytes as they are, behind an Ethernet header for us.
pub(super) fn raw(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.pick(&[[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]]);
    let len = usize::from(input.any::<u8>());
    let mut frame = [&OUR_MAC.0[..], &peer_mac().0, &kind, input.bytes(len)].concat();
    mend(&mut frame);
    frame
}
