//! An endpoint whose peer is the test.

use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::arp::{self, Operation};
use corelane_proto::wire::{Arp, Body, Checksums, EthernetHeader, IpHeader, emit_tcp, parse, tcp_header_len};
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use std::time::Duration;

pub(crate) const OURS: Addr = Addr::v4([10, 0, 0, 1]);
pub(crate) const THEIRS: Addr = Addr::v4([10, 0, 0, 2]);
pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const THEIR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The peer's first number.
pub(crate) const IRS: Seq = Seq(1000);
/// What the peer offers.
pub(crate) const WINDOW: u16 = 60_000;
pub(crate) const FRAMES: usize = 1024;

/// Frames in plain memory that know whether somebody has them.
pub(crate) struct Frames {
    held: Vec<bool>,
    bytes: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Frames {
    pub(crate) fn new(count: usize) -> Self {
        let free = (0..count as u32).rev().collect();
        // Stale bytes of somebody else: they must never leave.
        Self { held: vec![false; count], bytes: vec![vec![0xee; 2048]; count], free }
    }
}

impl Memory for Frames {
    fn alloc(&mut self) -> Option<Token> {
        let index = self.free.pop()?;
        self.held[index as usize] = true;
        Some(Token::new(index))
    }

    fn free(&mut self, token: Token) {
        assert!(std::mem::take(&mut self.held[token.index() as usize]), "freed twice");
        self.free.push(token.index());
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        &self.bytes[token.index() as usize]
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        &mut self.bytes[token.index() as usize]
    }

    fn is_posted(&self, _: &Token) -> bool {
        false
    }

    fn available(&self) -> usize {
        self.free.len()
    }

    fn frame_len(&self) -> usize {
        2048
    }
}

/// A segment that the endpoint has sent, and the bytes in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) segment: Segment,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Bench {
    pub(crate) endpoint: Endpoint,
    pub(crate) frames: Frames,
    pub(crate) now: Instant,
    /// Our port in the connection under test.
    pub(crate) port: u16,
    /// The peer's.
    pub(crate) peer_port: u16,
}

impl Bench {
    /// An endpoint that listens with `config` and knows its peer's Ethernet address.
    pub(crate) fn new(config: TcpConfig) -> Self {
        Self::with(config, |_| {})
    }

    /// The same with settings of the endpoint.
    pub(crate) fn with(config: TcpConfig, change: impl FnOnce(&mut EndpointConfig)) -> Self {
        let mut bench = Self::of(change);
        bench.endpoint.listen(SocketAddr::new(OURS, 80), config).expect("listen");
        assert!(bench.endpoint.set_neighbour(THEIRS, THEIR_MAC));
        bench
    }

    /// An endpoint that knows nobody.
    pub(crate) fn without_neighbour() -> Self {
        Self::of(|_| {})
    }

    fn of(change: impl FnOnce(&mut EndpointConfig)) -> Self {
        let mut endpoint_config = EndpointConfig {
            mac: OUR_MAC,
            addresses: vec![Cidr { addr: OURS, prefix_len: 24 }],
            connections: 8,
            syn_queue: 8,
            time_wait: 8,
            low_water_frames: 8,
            ..EndpointConfig::default()
        };
        change(&mut endpoint_config);
        let endpoint = Endpoint::new(endpoint_config, [1; 32], Instant::ZERO);
        Self { endpoint, frames: Frames::new(FRAMES), now: Instant::from_millis(1000), port: 80, peer_port: 5000 }
    }

    /// The peer sends `segment`, full of `x`; gives what the endpoint answers.
    pub(crate) fn receive(&mut self, segment: Segment) -> Vec<Segment> {
        let bytes = vec![b'x'; usize::from(segment.len)];
        self.receive_bytes(segment, &bytes)
    }

    /// The peer sends `segment`; gives the one frame that answers it.
    pub(crate) fn receive_raw(&mut self, segment: Segment) -> Vec<u8> {
        self.deliver(segment, &[]);
        self.sent_raw().remove(0)
    }

    /// The peer sends `segment` with these bytes.
    pub(crate) fn receive_bytes(&mut self, segment: Segment, bytes: &[u8]) -> Vec<Segment> {
        self.deliver(segment, bytes);
        self.sent()
    }

    fn deliver(&mut self, segment: Segment, bytes: &[u8]) {
        let token = self.frames.alloc().expect("a frame");
        let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
        let ip = IpHeader::new(THEIRS, OURS);
        let at = tcp_header_len(true, false, &segment.options);
        self.frames.bytes_mut(&token)[at..at + bytes.len()].copy_from_slice(bytes);
        let len = emit_tcp(self.frames.bytes_mut(&token), &eth, &ip, (self.peer_port, self.port), &segment);
        self.endpoint.receive(self.now, &mut self.frames, Buf::new(token, 0, len as u16));
    }

    /// The peer says where it is.
    pub(crate) fn answer_arp(&mut self) {
        let token = self.frames.alloc().expect("a frame");
        let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
        let operation = Operation::Reply;
        let arp = Arp { operation, sender_mac: THEIR_MAC, sender: THEIRS, target_mac: OUR_MAC, target: OURS };
        let len = arp::emit(self.frames.bytes_mut(&token), &eth, &arp);
        self.endpoint.receive(self.now, &mut self.frames, Buf::new(token, 0, len as u16));
    }

    /// What the endpoint sends now.
    pub(crate) fn sent(&mut self) -> Vec<Segment> {
        self.sent_whole().into_iter().map(|sent| sent.segment).collect()
    }

    /// What the endpoint sends now, with its bytes.
    pub(crate) fn sent_whole(&mut self) -> Vec<Sent> {
        let frames = self.sent_raw();
        let parsed = frames.iter().filter_map(|frame| {
            let Body::Tcp(tcp) = parse(frame, Checksums::VERIFY).expect("a frame").body else { return None };
            let start = usize::from(tcp.payload.start);
            let bytes = frame[start..start + usize::from(tcp.segment.len)].to_vec();
            Some(Sent { segment: tcp.segment, bytes })
        });
        parsed.collect()
    }

    /// The frames that the endpoint sends now.
    pub(crate) fn sent_raw(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.frames) {
            let (index, len) = match &transmit {
                Transmit::Owned { token, len } => (token.index(), *len),
                Transmit::Lent { index, len } => (*index, *len),
            };
            all.push(self.frames.bytes[index as usize][..usize::from(len)].to_vec());
            if let Transmit::Owned { token, .. } = transmit {
                self.frames.free(token);
            }
        }
        all
    }

    /// Time passes; gives what is sent at its end.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Segment> {
        self.wait_until(self.now + time)
    }

    /// Time passes, timer by timer; gives all that is sent.
    pub(crate) fn wait_until(&mut self, end: Instant) -> Vec<Segment> {
        let mut sent = Vec::new();
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

    /// The peer opens a connection with this SYN; gives its id and our next number.
    pub(crate) fn open_with(&mut self, syn: Segment) -> (ConnId, Seq) {
        let syn_ack = self.receive(syn);
        let ours = syn_ack[0].seq + 1;
        self.receive(segment(IRS + 1, ours, Flags::ACK, 0));
        (self.accepted(), ours)
    }

    /// The connection that has just come in.
    pub(crate) fn accepted(&mut self) -> ConnId {
        let Some(Event::Accepted { conn, .. }) = self.endpoint.poll_event() else { panic!("it is not accepted") };
        conn
    }

    /// The peer opens a connection without any option.
    pub(crate) fn open(&mut self) -> (ConnId, Seq) {
        self.open_with(segment(IRS, Seq(0), Flags::SYN, 0))
    }

    /// We begin to open a connection; gives its id and our SYN.
    pub(crate) fn connect(&mut self, config: TcpConfig) -> (ConnId, Segment) {
        let (conn, frame) = self.connect_raw(config);
        let Body::Tcp(tcp) = parse(&frame, Checksums::VERIFY).expect("a frame").body else { panic!("no TCP") };
        (conn, tcp.segment)
    }

    /// The same with our SYN as it is on the wire.
    pub(crate) fn connect_raw(&mut self, config: TcpConfig) -> (ConnId, Vec<u8>) {
        let remote = SocketAddr::new(THEIRS, 5000);
        let conn = self.endpoint.connect(self.now, SocketAddr::new(OURS, 0), remote, config).expect("connect");
        self.port = self.endpoint.flow(conn).expect("it is there").local.port;
        let mut sent = self.sent_raw();
        assert_eq!(sent.len(), 1, "{sent:?}");
        (conn, sent.remove(0))
    }

    /// The application hands over `bytes`; gives what is sent.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<Segment> {
        assert_eq!(self.endpoint.send_copy(&mut self.frames, conn, bytes), Ok(bytes.len()));
        self.sent()
    }

    /// The application reads what has come.
    pub(crate) fn read(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(buf) = self.endpoint.recv(conn) {
            bytes.extend_from_slice(buf.bytes(&self.frames));
            self.endpoint.consumed(conn, usize::from(buf.len));
            self.frames.free(buf.token);
        }
        bytes
    }

    /// How the connection ended, if the events tell of it and of nothing else.
    pub(crate) fn ended(&mut self, conn: ConnId) -> Option<CloseReason> {
        match self.events().as_slice() {
            [Event::Closed { conn: closed, reason }] if *closed == conn => Some(*reason),
            [] => None,
            other => panic!("{other:?}"),
        }
    }

    /// Nobody holds a frame that it does not need.
    pub(crate) fn check_frames(&self) {
        assert_eq!(self.frames.available() + self.endpoint.frames_held(), FRAMES, "a frame is lost");
    }
}

pub(crate) fn segment(seq: Seq, ack: Seq, flags: Flags, len: u16) -> Segment {
    Segment { seq, ack, flags, len, window: WINDOW, ..Segment::default() }
}
