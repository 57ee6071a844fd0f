//! Segments that no host has sent.

use super::{addr, mac};
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::icmp::emit_error;
use corelane_proto::wire::{EthernetHeader, IcmpErrorKind, IpHeader, TcpPacket, emit_tcp, tcp_header_len};
use corelane_proto::{Addr, Flow, Mac, SocketAddr};

/// Who an attacker's frames come from: an Ethernet address that no host has.
pub const ATTACKER: Mac = Mac([2, 0, 0, 0, 0, 0xee]);

/// The attacker's own address.
pub const ATTACKER_ADDR: Addr = Addr::v4([10, 0, 0, 66]);

/// An ICMP error from `from` to host `to` about `quoted`, a frame that the host is said to have sent.
pub fn icmp_error(to: usize, from: Addr, kind: IcmpErrorKind, mtu: u16, quoted: &[u8]) -> Vec<u8> {
    let eth = EthernetHeader { dst: mac(to), src: ATTACKER, vlan: None };
    let ip = IpHeader::new(from, addr(to));
    let mut frame = vec![0; 700];
    let packet = quoted.get(14..).unwrap_or_default();
    let len = emit_error(&mut frame, &eth, &ip, kind, Some(mtu), packet);
    frame.truncate(len);
    frame
}

/// A segment to be forged.
#[derive(Clone, Debug)]
pub struct Forge {
    src: SocketAddr,
    dst: SocketAddr,
    macs: (Mac, Mac),
    segment: Segment,
    payload: Vec<u8>,
}

impl Forge {
    /// A segment from `src` to `port` of host `to`.
    pub fn new(src: SocketAddr, to: usize, port: u16) -> Self {
        let dst = SocketAddr::new(addr(to), port);
        Self {
            src,
            dst,
            macs: (ATTACKER, mac(to)),
            segment: Segment { window: 65_535, ..Segment::default() },
            payload: Vec::new(),
        }
    }

    /// A segment that seems to come from the peer of the connection that host `to` knows as `flow`.
    pub fn peer_of(to: usize, flow: &Flow) -> Self {
        Self { src: flow.remote, dst: flow.local, ..Self::new(flow.remote, to, flow.local.port) }
    }

    /// A segment that host `from` has sent to host `to` once comes again, with a payload of zeros.
    pub fn replay(from: usize, to: usize, old: &TcpPacket) -> Self {
        let payload = vec![0; usize::from(old.segment.len)];
        Self { src: old.src, dst: old.dst, macs: (mac(from), mac(to)), segment: old.segment, payload }
    }

    /// Its control bits.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.segment.flags = flags;
        self
    }

    /// Its sequence number.
    pub fn seq_of(&self) -> Seq {
        self.segment.seq
    }

    /// Its acknowledgment number.
    pub fn ack_of(&self) -> Seq {
        self.segment.ack
    }

    /// Its sequence number shall be `seq`.
    #[must_use]
    pub fn seq(mut self, seq: Seq) -> Self {
        self.segment.seq = seq;
        self
    }

    /// Its acknowledgment number; the ACK bit is set too.
    #[must_use]
    pub fn ack(mut self, ack: Seq) -> Self {
        self.segment.ack = ack;
        self.segment.flags = self.segment.flags | Flags::ACK;
        self
    }

    /// Its window field.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.segment.window = window;
        self
    }

    /// Its options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.segment.options = options;
        self
    }

    /// Its payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        payload.clone_into(&mut self.payload);
        self
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut segment = self.segment;
        segment.len = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        let at = tcp_header_len(self.src.addr.is_v4(), false, &segment.options);
        let mut frame = vec![0; at];
        frame.extend_from_slice(&self.payload);
        let eth = EthernetHeader { dst: self.macs.1, src: self.macs.0, vlan: None };
        let ip = IpHeader::new(self.src.addr, self.dst.addr);
        let len = emit_tcp(&mut frame, &eth, &ip, (self.src.port, self.dst.port), &segment);
        frame.truncate(len);
        frame
    }
}
