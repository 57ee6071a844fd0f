//! Endpoints to test: two that are joined by a wire, and one whose peer is the test itself.

use corelane_proto::endpoint::{Cidr, ConnId, EndpointConfig, Event, InterfaceId, ListenerId, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, TcpPacket, emit_tcp, parse, tcp_header_len};
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use std::time::Duration;

/// Frames in plain memory that know whether they are held.
pub(crate) struct Frames(Vec<(bool, Vec<u8>)>);

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

const FRAMES: usize = 256;

/// The address of host `n` on the link.
pub(crate) const fn addr(n: u8) -> Addr {
    Addr::v4([10, 0, 0, n])
}

/// A port of host `n`.
pub(crate) const fn at(n: u8, port: u16) -> SocketAddr {
    SocketAddr::new(addr(n), port)
}

/// The Ethernet address of host `n`.
pub(crate) const fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// The settings of host `n`.
pub(crate) fn config(n: u8) -> EndpointConfig {
    EndpointConfig {
        mac: mac(n),
        addresses: vec![Cidr { addr: addr(n), prefix_len: 24 }],
        connections: 64,
        time_wait: 64,
        syn_queue: 64,
        low_water_frames: 8,
        ..EndpointConfig::default()
    }
}

/// An endpoint and what it has to work with.
pub(crate) struct Host {
    pub(crate) endpoint: Endpoint,
    pub(crate) frames: Frames,
    pub(crate) events: Vec<Event>,
}

impl Host {
    /// Host `n` with `config`; it knows the Ethernet addresses of hosts 1 to 9.
    pub(crate) fn new(n: u8, config: EndpointConfig, now: Instant) -> Self {
        let mut endpoint = Endpoint::new(config, [n; 32], now);
        (1..10).for_each(|other| assert!(endpoint.set_neighbour(addr(other), mac(other))));
        Self { endpoint, frames: Frames(vec![(false, vec![0; 2048]); FRAMES]), events: Vec::new() }
    }

    /// Every frame that it has to send.
    pub(crate) fn sent(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.sent_by(now).into_iter().map(|(_, frame)| frame).collect()
    }

    /// The same, each with the interface that it goes by.
    pub(crate) fn sent_by(&mut self, now: Instant) -> Vec<(InterfaceId, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some((by, transmit)) = self.endpoint.poll_transmit_on(now, &mut self.frames) {
            let (index, len) = match &transmit {
                Transmit::Owned { token, len } => (token.index(), *len),
                Transmit::Lent { index, len } => (*index, *len),
            };
            out.push((by, self.frames.0[index as usize].1[..usize::from(len)].to_vec()));
            if let Transmit::Owned { token, .. } = transmit {
                self.frames.free(token);
            }
        }
        out
    }

    /// A frame comes in.
    pub(crate) fn receive(&mut self, now: Instant, frame: &[u8]) {
        self.receive_silently(now, frame);
        self.take_events();
    }

    /// A frame comes in by `on`.
    pub(crate) fn receive_on(&mut self, on: InterfaceId, now: Instant, frame: &[u8]) {
        self.receive_silently_on(on, now, frame);
        self.take_events();
    }

    /// A frame comes in, and the application does not look at what it brings.
    pub(crate) fn receive_silently(&mut self, now: Instant, frame: &[u8]) {
        self.receive_silently_on(InterfaceId::FIRST, now, frame);
    }

    fn receive_silently_on(&mut self, on: InterfaceId, now: Instant, frame: &[u8]) {
        let token = self.frames.alloc().expect("a frame");
        self.frames.bytes_mut(&token)[..frame.len()].copy_from_slice(frame);
        self.endpoint.receive_on(on, now, &mut self.frames, Buf::new(token, 0, frame.len() as u16));
    }

    fn take_events(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.endpoint.poll_event()));
    }

    /// Takes every free frame, so that the endpoint has none.
    pub(crate) fn take_all_frames(&mut self) -> Vec<Token> {
        std::iter::from_fn(|| self.frames.alloc()).collect()
    }

    pub(crate) fn give_back(&mut self, frames: Vec<Token>) {
        frames.into_iter().for_each(|token| self.frames.free(token));
    }

    /// Everything that can be read from `id`.
    pub(crate) fn read(&mut self, id: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(buf) = self.endpoint.recv(id) {
            bytes.extend_from_slice(buf.bytes(&self.frames));
            self.endpoint.consumed(id, usize::from(buf.len));
            self.frames.free(buf.token);
        }
        bytes
    }

    /// Sends `bytes`, for which there is room.
    pub(crate) fn write(&mut self, id: ConnId, bytes: &[u8]) {
        assert_eq!(self.endpoint.send_copy(&mut self.frames, id, bytes), Ok(bytes.len()));
    }

    pub(crate) fn state(&self, id: ConnId) -> State {
        self.endpoint.info(id).expect("it is there").state
    }

    pub(crate) fn listen(&mut self, local: SocketAddr) -> ListenerId {
        self.endpoint.listen(local, TcpConfig::default()).expect("listen")
    }

    pub(crate) fn saw(&self, event: Event) -> bool {
        self.events.contains(&event)
    }

    /// The oldest accepted connection that has not been asked for.
    pub(crate) fn accepted(&mut self) -> Option<ConnId> {
        let place = self.events.iter().position(|event| matches!(event, Event::Accepted { .. }))?;
        let Event::Accepted { conn, .. } = self.events.remove(place) else { unreachable!() };
        Some(conn)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.frames.available() + self.endpoint.frames_held(), FRAMES, "a frame is lost");
        }
    }
}

/// The TCP packet in a frame; `None` when it holds something else.
pub(crate) fn tcp(frame: &[u8]) -> Option<TcpPacket> {
    match parse(frame, Checksums::VERIFY).expect("a frame that can be read").body {
        Body::Tcp(packet) => Some(packet),
        _ => None,
    }
}

/// Two hosts, 1 and 2, and the time.
pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) now: Instant,
    /// Every segment that was sent, with the number of its sender.
    pub(crate) trace: Vec<(u8, Segment)>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(config(1), config(2))
    }

    pub(crate) fn with(a: EndpointConfig, b: EndpointConfig) -> Self {
        let now = Instant::from_millis(1000);
        Self { a: Host::new(1, a, now), b: Host::new(2, b, now), now, trace: Vec::new() }
    }

    /// Takes what both have to send, hands it to the other at one moment, and so on until both are quiet.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.exchange(|_, _| true) {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    /// One crossing: both send before either receives. `passes` says what the wire carries, by the sender's number.
    /// Says whether anything was sent.
    pub(crate) fn exchange(&mut self, mut passes: impl FnMut(u8, &TcpPacket) -> bool) -> bool {
        let (from_a, from_b) = (self.a.sent(self.now), self.b.sent(self.now));
        for (n, frames) in [(1, &from_a), (2, &from_b)] {
            for frame in frames {
                let packet = tcp(frame);
                self.trace.extend(packet.iter().map(|packet| (n, packet.segment)));
                if packet.is_none_or(|packet| passes(n, &packet)) {
                    let to = if n == 1 { &mut self.b } else { &mut self.a };
                    to.receive(self.now, frame);
                }
            }
        }
        self.a.take_events();
        self.b.take_events();
        !from_a.is_empty() || !from_b.is_empty()
    }

    /// Time passes, and everything that falls due in it is done.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(due) = self.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tick();
            self.settle();
        }
        self.now = end;
        self.tick();
        self.settle();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.a.endpoint.poll_deadline(), self.b.endpoint.poll_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self) {
        for host in [&mut self.a, &mut self.b] {
            host.endpoint.on_time(self.now, &mut host.frames);
            host.take_events();
        }
    }

    /// Opens a connection from host 1 to port 80 of host 2, which listens there.
    pub(crate) fn open(&mut self) -> (ConnId, ConnId) {
        let a = self.connect(at(1, 0), at(2, 80));
        self.settle();
        assert!(self.a.saw(Event::Connected(a)), "{:?}", self.a.events);
        (a, self.b.accepted().expect("accepted"))
    }

    pub(crate) fn connect(&mut self, local: SocketAddr, remote: SocketAddr) -> ConnId {
        self.a.endpoint.connect(self.now, local, remote, TcpConfig::default()).expect("connect")
    }

    /// The flags of every segment that was sent, in order, with the sender's number.
    pub(crate) fn flags(&self) -> Vec<(u8, Flags)> {
        self.trace.iter().map(|(n, segment)| (*n, segment.flags)).collect()
    }
}

/// Host 1, whose peers are all the test.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) now: Instant,
}

impl Bench {
    pub(crate) fn new(config: EndpointConfig) -> Self {
        let now = Instant::from_millis(1000);
        Self { host: Host::new(1, config, now), now }
    }

    /// `from` sends `segment` to `to`, a port of host 1; gives what the endpoint sends then.
    pub(crate) fn receive(&mut self, from: SocketAddr, to: SocketAddr, segment: Segment) -> Vec<Segment> {
        let frame = frame(from, to, &segment);
        self.host.receive(self.now, &frame);
        self.sent()
    }

    pub(crate) fn sent(&mut self) -> Vec<Segment> {
        self.packets().into_iter().map(|packet| packet.segment).collect()
    }

    pub(crate) fn packets(&mut self) -> Vec<TcpPacket> {
        self.host.sent(self.now).iter().filter_map(|frame| tcp(frame)).collect()
    }

    /// Time passes; gives what is sent at its end.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Segment> {
        self.wait_quietly(time);
        self.sent()
    }

    /// Time passes, and nothing is sent yet.
    pub(crate) fn wait_quietly(&mut self, time: Duration) {
        self.now = self.now + time;
        self.host.endpoint.on_time(self.now, &mut self.host.frames);
        self.host.take_events();
    }
}

/// A frame with `segment`, its payload all `x`, for host 1.
pub(crate) fn frame(from: SocketAddr, to: SocketAddr, segment: &Segment) -> Vec<u8> {
    frame_to(1, from, to, segment)
}

/// A frame with `segment`, its payload all `x`, for the Ethernet address of host `n`.
pub(crate) fn frame_to(n: u8, from: SocketAddr, to: SocketAddr, segment: &Segment) -> Vec<u8> {
    let mut frame = vec![b'x'; tcp_header_len(true, false, &segment.options) + usize::from(segment.len)];
    let eth = EthernetHeader { dst: mac(n), src: mac(from.addr.octets()[15]), vlan: None };
    let ip = IpHeader::new(from.addr, to.addr);
    let len = emit_tcp(&mut frame, &eth, &ip, (from.port, to.port), segment);
    frame.truncate(len);
    frame
}

/// A segment with a window of 60,000 bytes.
pub(crate) fn segment(seq: Seq, ack: Seq, flags: Flags, len: u16) -> Segment {
    Segment { seq, ack, flags, len, window: 60_000, ..Segment::default() }
}
