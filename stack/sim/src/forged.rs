//! Segments that nobody sent: whoever is off the path and knows the two ends makes them.

use crate::scenario::Rng;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, emit_tcp, parse, tcp_header_len};
use rand::RngExt;

/// As far from a real number as one can be: outside of every window.
const FAR: u32 = 0x8000_0000;

/// Whether `frame` has a SYN.
pub(crate) fn is_syn(frame: &[u8]) -> bool {
    let packet = parse(frame, Checksums::TRUST);
    packet.is_ok_and(|packet| matches!(packet.body, Body::Tcp(tcp) if tcp.segment.flags.has(Flags::SYN)))
}

/// A segment like `frame` in its ends and nothing else, and whether it goes to the sender of `frame` instead of its
/// receiver. Its number lies outside of every window, and it is no SYN, which a host that expects one has to believe.
pub(crate) fn like(frame: &[u8], rng: &mut Rng) -> Option<(Vec<u8>, bool)> {
    let packet = parse(frame, Checksums::VERIFY).ok()?;
    let Body::Tcp(tcp) = packet.body else { return None };
    let back = rng.random();
    let (flags, len) = match rng.random_range(0..6) {
        0 => (Flags::RST, 0),
        1 => (Flags::SYN | Flags::ACK, 0),
        2 => (Flags::FIN | Flags::ACK, 0),
        3 => (Flags::ACK, 10),
        4 => (Flags::ACK, 0),
        _ => (Flags::default(), 0),
    };
    let s = &tcp.segment;
    let (macs, src, dst) = if back {
        ((packet.dst_mac, packet.src_mac), tcp.dst, tcp.src)
    } else {
        ((packet.src_mac, packet.dst_mac), tcp.src, tcp.dst)
    };
    let (seq, ack) = if back { (s.ack, s.seq) } else { (s.seq, s.ack) };
    let (seq, ack) = (Seq(seq.0 ^ FAR), if flags.has(Flags::SYN) { Seq(ack.0 ^ FAR) } else { ack });
    let segment = Segment { seq, ack, flags, window: s.window, len, options: Options::NONE, ..Segment::default() };
    let at = tcp_header_len(src.addr.is_v4(), false, &segment.options);
    let mut forged = vec![0x77; at + usize::from(len)];
    let eth = EthernetHeader { dst: macs.1, src: macs.0, vlan: None };
    let len = emit_tcp(&mut forged, &eth, &IpHeader::new(src.addr, dst.addr), (src.port, dst.port), &segment);
    forged.truncate(len);
    Some((forged, back))
}
