//! An endpoint whose peer is the test, for both families, down to the bytes of its frames.

use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{
    Body, Checksums, EthernetHeader, IcmpErrorKind, IpHeader, TcpPacket, emit_tcp, icmp, parse, tcp_header_len,
};
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use etherparse::PacketBuilder;
use std::time::Duration;

pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const THEIR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The port that is listened on, and the peer's.
pub(crate) const PORTS: (u16, u16) = (80, 5000);
/// The peer's first number.
pub(crate) const IRS: Seq = Seq(1000);
const FRAMES: usize = 256;

/// Host `n` of the link, of either family.
pub(crate) fn host(v4: bool, n: u8) -> Addr {
    if v4 { Addr::v4([10, 0, 0, n]) } else { Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]) }
}

struct Frames(Vec<(bool, Vec<u8>)>);

impl Memory for Frames {
    fn alloc(&mut self) -> Option<Token> {
        let index = self.0.iter().position(|(held, _)| !held)?;
        self.0[index].0 = true;
        Some(Token::new(index as u32))
    }

    fn free(&mut self, token: Token) {
        assert!(std::mem::take(&mut self.0[token.index() as usize].0), "freed twice");
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        &self.0[token.index() as usize].1
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        &mut self.0[token.index() as usize].1
    }

    fn is_posted(&self, _: &Token) -> bool {
        false
    }

    fn available(&self) -> usize {
        self.0.iter().filter(|(held, _)| !held).count()
    }

    fn frame_len(&self) -> usize {
        2048
    }
}

/// Settings of a host of one family with addresses 1 and 3, whose peer is 2.
pub(crate) fn config(v4: bool) -> EndpointConfig {
    let prefix_len = if v4 { 24 } else { 64 };
    EndpointConfig {
        mac: OUR_MAC,
        addresses: [1, 3].map(|n| Cidr { addr: host(v4, n), prefix_len }).to_vec(),
        connections: 8,
        syn_queue: 8,
        time_wait: 8,
        low_water_frames: 8,
        ..EndpointConfig::default()
    }
}

pub(crate) struct Bench {
    pub(crate) endpoint: Endpoint,
    frames: Frames,
    pub(crate) now: Instant,
    v4: bool,
}

impl Bench {
    /// A host that listens with `tcp` at every address.
    pub(crate) fn new(tcp: TcpConfig) -> Self {
        Self::with(true, config(true), tcp)
    }

    pub(crate) fn with(v4: bool, config: EndpointConfig, tcp: TcpConfig) -> Self {
        let mut endpoint = Endpoint::new(config, [1; 32], Instant::ZERO);
        let any = if v4 { Addr::v4([0; 4]) } else { Addr::v6([0; 16]) };
        endpoint.listen(SocketAddr::new(any, PORTS.0), tcp).expect("listen");
        assert!(endpoint.set_neighbour(host(v4, 2), THEIR_MAC));
        let frames = Frames(vec![(false, vec![0; 2048]); FRAMES]);
        Self { endpoint, frames, now: Instant::from_millis(1000), v4 }
    }

    /// A frame comes in; nothing is sent yet.
    pub(crate) fn receive_frame(&mut self, frame: &[u8]) {
        let token = self.frames.alloc().expect("a frame");
        self.frames.bytes_mut(&token)[..frame.len()].copy_from_slice(frame);
        self.endpoint.receive(self.now, &mut self.frames, Buf::new(token, 0, frame.len() as u16));
    }

    /// A frame in which the peer's port sends `segment`, full of `x`, to `to`.
    pub(crate) fn frame(&self, to: SocketAddr, segment: &Segment) -> Vec<u8> {
        let mut frame = vec![b'x'; tcp_header_len(self.v4, false, &segment.options) + usize::from(segment.len)];
        let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
        let ip = IpHeader::new(host(self.v4, 2), to.addr);
        let len = emit_tcp(&mut frame, &eth, &ip, (PORTS.1, to.port), segment);
        assert_eq!(len, frame.len());
        frame
    }

    /// The peer sends `segment` to our first address; gives what is sent then.
    pub(crate) fn receive(&mut self, segment: Segment) -> Vec<Segment> {
        let frame = self.frame(SocketAddr::new(host(self.v4, 1), PORTS.0), &segment);
        self.receive_frame(&frame);
        self.sent()
    }

    /// The peer sends a segment whose options are these bytes, four or a multiple of it.
    pub(crate) fn receive_with_options(&mut self, segment: Segment, options: &[u8]) -> Vec<Segment> {
        let builder = PacketBuilder::ethernet2(THEIR_MAC.0, OUR_MAC.0).ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64);
        let mut tcp = builder.tcp(PORTS.1, PORTS.0, segment.seq.0, segment.window);
        if segment.flags.has(Flags::SYN) {
            tcp = tcp.syn();
        }
        if segment.flags.has(Flags::ACK) {
            tcp = tcp.ack(segment.ack.0);
        }
        let mut frame = Vec::new();
        let payload = vec![b'x'; usize::from(segment.len)];
        tcp.options_raw(options).expect("they fit").write(&mut frame, &payload).expect("a vector takes it");
        self.receive_frame(&frame);
        self.sent()
    }

    /// A router says that `about`, a frame of ours, did not arrive.
    pub(crate) fn receive_error(&mut self, kind: IcmpErrorKind, mtu: Option<u16>, about: &[u8]) -> Vec<Segment> {
        let mut frame = vec![0; 1400];
        let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
        let ip = IpHeader::new(host(self.v4, 9), host(self.v4, 1));
        let len = icmp::emit_error(&mut frame, &eth, &ip, kind, mtu, &about[14..]);
        assert!(len > 0, "{kind:?}");
        self.receive_frame(&frame[..len]);
        self.sent()
    }

    /// The frames that are sent now.
    pub(crate) fn sent_frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.frames) {
            let (index, len) = match &transmit {
                Transmit::Owned { token, len } => (token.index(), *len),
                Transmit::Lent { index, len } => (*index, *len),
            };
            frames.push(self.frames.0[index as usize].1[..usize::from(len)].to_vec());
            if let Transmit::Owned { token, .. } = transmit {
                self.frames.free(token);
            }
        }
        frames
    }

    pub(crate) fn sent_packets(&mut self) -> Vec<TcpPacket> {
        self.sent_frames().iter().filter_map(|frame| packet(frame)).collect()
    }

    pub(crate) fn sent(&mut self) -> Vec<Segment> {
        self.sent_packets().into_iter().map(|packet| packet.segment).collect()
    }

    /// Time passes, timer by timer; gives all that is sent in it.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Segment> {
        let (end, mut sent) = (self.now + time, Vec::new());
        while let Some(at) = self.endpoint.poll_deadline().filter(|at| *at < end) {
            self.now = self.now.max(at);
            self.endpoint.on_time(self.now, &mut self.frames);
            sent.extend(self.sent());
        }
        self.now = end;
        self.endpoint.on_time(self.now, &mut self.frames);
        sent.extend(self.sent());
        sent
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// How `conn` ended, if the events say so.
    pub(crate) fn ended(&mut self, conn: ConnId) -> Option<CloseReason> {
        self.events().into_iter().find_map(|event| match event {
            Event::Closed { conn: closed, reason } if closed == conn => Some(reason),
            _ => None,
        })
    }

    /// The peer opens a connection with these options in its SYN; gives its id and our next number.
    pub(crate) fn open_with(&mut self, options: Options) -> (ConnId, Seq) {
        let syn_ack = self.receive(Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) });
        self.complete(syn_ack[0].seq + 1)
    }

    /// The peer acknowledges our SYN-ACK.
    pub(crate) fn complete(&mut self, ours: Seq) -> (ConnId, Seq) {
        self.receive(segment(IRS + 1, ours, Flags::ACK, 0));
        let accepted = self.events().into_iter().find_map(|event| match event {
            Event::Accepted { conn, .. } => Some(conn),
            _ => None,
        });
        (accepted.expect("it is accepted"), ours)
    }

    /// The same, with an MSS of 1460 bytes.
    pub(crate) fn open(&mut self) -> (ConnId, Seq) {
        self.open_with(Options { mss: Some(1460), ..Options::NONE })
    }

    /// The application hands over `len` bytes; gives what is sent.
    pub(crate) fn send(&mut self, conn: ConnId, len: usize) -> Vec<Segment> {
        self.queue(conn, len);
        self.sent()
    }

    /// The application hands over `len` bytes.
    pub(crate) fn queue(&mut self, conn: ConnId, len: usize) {
        assert_eq!(self.endpoint.send_copy(&mut self.frames, conn, &vec![b'y'; len]), Ok(len));
    }

    /// The application reads everything; gives how many bytes that was.
    pub(crate) fn read(&mut self, conn: ConnId) -> usize {
        let mut bytes = 0;
        while let Some(buf) = self.endpoint.recv(conn) {
            bytes += usize::from(buf.len);
            self.endpoint.consumed(conn, usize::from(buf.len));
            self.frames.free(buf.token);
        }
        bytes
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.frames.available() + self.endpoint.frames_held(), FRAMES, "a frame is lost");
        }
    }
}

/// The TCP packet in a frame; `None` when it holds something else.
pub(crate) fn packet(frame: &[u8]) -> Option<TcpPacket> {
    match parse(frame, Checksums::VERIFY).expect("a frame that can be read").body {
        Body::Tcp(packet) => Some(packet),
        _ => None,
    }
}

/// A segment with a window of 60,000 bytes.
pub(crate) fn segment(seq: Seq, ack: Seq, flags: Flags, len: u16) -> Segment {
    Segment { seq, ack, flags, len, window: 60_000, ..Segment::default() }
}
