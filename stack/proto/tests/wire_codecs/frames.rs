//! Values that the wire suites draw from.

use corelane_proto::tcp::segment::{Codepoint, Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{EthernetHeader, IpHeader, emit_tcp, tcp_header_len};
use corelane_proto::{Addr, Mac};
use proptest::prelude::*;

/// A whole TCP frame and what it was written from.
#[derive(Clone, Debug)]
pub(crate) struct TcpFrame {
    pub(crate) eth: EthernetHeader,
    pub(crate) ip: IpHeader,
    pub(crate) ports: (u16, u16),
    pub(crate) segment: Segment,
    pub(crate) payload: Vec<u8>,
}

impl TcpFrame {
    /// The bytes of the frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let at = tcp_header_len(self.ip.dst.is_v4(), self.eth.vlan.is_some(), &self.segment.options);
        let mut frame = vec![0xee; at];
        frame.extend_from_slice(&self.payload);
        let len = emit_tcp(&mut frame, &self.eth, &self.ip, self.ports, &self.segment);
        assert_eq!(len, frame.len(), "the headers end where tcp_header_len said");
        frame
    }
}

/// Two different hosts of one family, the first byte such that they are neither loopback nor multicast.
pub(crate) fn hosts() -> impl Strategy<Value = (Addr, Addr)> {
    let v4 = (1u8..=126, any::<[u8; 3]>()).prop_map(|(first, [b, c, d])| Addr::v4([first, b, c, d]));
    let v6 = any::<[u8; 16]>().prop_map(|mut octets| {
        octets[0] = octets[0] & 0x1f | 0x20;
        Addr::v6(octets)
    });
    prop_oneof![(v4.clone(), v4), (v6.clone(), v6)].prop_filter("two hosts", |(a, b)| a != b)
}

/// Any Ethernet header, tagged or not.
pub(crate) fn ethernet() -> impl Strategy<Value = EthernetHeader> {
    (any::<[u8; 6]>(), any::<[u8; 6]>(), any::<Option<u16>>()).prop_map(|(dst, src, vlan)| EthernetHeader {
        dst: Mac(dst),
        src: Mac(src),
        vlan,
    })
}

/// Any IP header between two hosts.
pub(crate) fn ip() -> impl Strategy<Value = IpHeader> {
    (hosts(), any::<(u8, u8, u16)>(), 0u32..1 << 20).prop_map(|((src, dst), (ttl, tos, ident), flow_label)| {
        let (ident, flow_label) = if dst.is_v4() { (ident, 0) } else { (0, flow_label) };
        IpHeader { src, dst, ttl, tos, ident, flow_label }
    })
}

/// Any combination of options, SACK ranges no more than fit beside the rest.
pub(crate) fn options() -> impl Strategy<Value = Options> {
    let sack = proptest::collection::vec(any::<(u32, u32)>(), 0..=4);
    let clocks = any::<Option<(u32, u32)>>();
    (any::<Option<u16>>(), any::<Option<u8>>(), any::<bool>(), clocks, sack).prop_map(
        |(mss, window_scale, sack_permitted, clocks, ranges)| {
            let timestamps = clocks.map(|(value, echo)| Timestamps { value, echo });
            let mut options = Options { mss, window_scale, sack_permitted, timestamps, ..Options::NONE };
            let room = (40 - 4 - options.wire_len()) / 8;
            for (left, right) in ranges.into_iter().take(room) {
                options.sack.push(Seq(left), Seq(right));
            }
            options
        },
    )
}

/// Any segment of up to 600 bytes with its payload.
pub(crate) fn tcp_frame() -> impl Strategy<Value = TcpFrame> {
    let fields = (any::<u32>(), any::<u32>(), 0u16..512, any::<u16>(), any::<u16>());
    let payload = proptest::collection::vec(any::<u8>(), 0..600);
    (ethernet(), ip(), (1u16.., 1u16..), fields, options(), payload).prop_map(
        |(eth, ip, ports, (seq, ack, flags, window, urgent), options, payload)| {
            let len = u16::try_from(payload.len()).expect("short");
            let (seq, ack, flags) = (Seq(seq), Seq(ack), Flags(flags));
            let ecn = Codepoint::of(ip.tos);
            let segment = Segment { seq, ack, flags, window, urgent, len, ecn, options };
            TcpFrame { eth, ip, ports, segment, payload }
        },
    )
}
