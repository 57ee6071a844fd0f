//! A sender whose peer is the adversary.

use super::{Cell, counted};
use corelane_proto::endpoint::{Cidr, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::info::Counts;
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, emit_tcp, parse};
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use std::time::Duration;

const OURS: Addr = Addr::v4([10, 0, 0, 1]);
const THEIRS: Addr = Addr::v4([10, 0, 0, 2]);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PORT: u16 = 80;
const THEIR_PORT: u16 = 5000;
/// The peer's next number.
const THEIR_SEQ: Seq = Seq(1001);
/// The peer offers 65,535 times this window.
const WINDOW_SCALE: u8 = 8;
const FRAME_LEN: usize = 2048;
/// A round trip before the attack.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// Frames in plain memory, which costs next to nothing.
pub(super) struct Plain {
    bytes: Vec<u8>,
    free: Vec<u32>,
}

impl Plain {
    pub(super) fn new(count: u32) -> Self {
        Self { bytes: vec![0; count as usize * FRAME_LEN], free: (0..count).rev().collect() }
    }

    fn at(&self, index: u32) -> &[u8] {
        &self.bytes[index as usize * FRAME_LEN..][..FRAME_LEN]
    }

    /// A frame with these bytes.
    pub(super) fn filled(&mut self, bytes: &[u8]) -> Buf {
        let token = self.alloc().unwrap_or_else(|| unreachable!("there are more frames than the endpoint may hold"));
        self.bytes_mut(&token)[..bytes.len()].copy_from_slice(bytes);
        Buf::new(token, 0, bytes.len() as u16)
    }

    /// The bytes of what is to be sent.
    pub(super) fn sent(&self, transmit: &Transmit) -> &[u8] {
        let (index, len) = match transmit {
            Transmit::Owned { token, len } => (token.index(), *len),
            Transmit::Lent { index, len } => (*index, *len),
        };
        &self.at(index)[..usize::from(len)]
    }

    /// It has been sent.
    pub(super) fn done(&mut self, transmit: Transmit) {
        if let Transmit::Owned { token, .. } = transmit {
            self.free(token);
        }
    }
}

impl Memory for Plain {
    fn alloc(&mut self) -> Option<Token> {
        self.free.pop().map(Token::new)
    }

    fn free(&mut self, token: Token) {
        self.free.push(token.index());
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        self.at(token.index())
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        &mut self.bytes[token.index() as usize * FRAME_LEN..][..FRAME_LEN]
    }

    fn is_posted(&self, _: &Token) -> bool {
        false
    }

    fn available(&self) -> usize {
        self.free.len()
    }

    fn frame_len(&self) -> usize {
        FRAME_LEN
    }
}

/// An ACK of the adversary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SackAck {
    pub(crate) ack: Seq,
    pub(crate) blocks: SackBlocks,
    /// It echoes the first timestamp that was sent, not the last.
    pub(crate) is_old_echo: bool,
}

/// An endpoint with one connection that sends.
pub(super) struct Sender {
    endpoint: Endpoint,
    frames: Plain,
    now: Instant,
    conn: ConnId,
    has_timestamps: bool,
    /// What the peer knows: the first number, those up to which it has acknowledged and seen.
    first: Seq,
    una: Seq,
    nxt: Seq,
    /// The first and the last timestamp of the window.
    stamps: (u32, u32),
    out: Vec<Transmit>,
}

impl Sender {
    /// A connection with the window of `cell` out and nothing acknowledged of it.
    pub(super) fn with_window(cell: &Cell) -> Self {
        let mut sender = Self::open(cell);
        let window = cell.segments * u32::from(cell.bytes);
        let piece = vec![0x5a; 1 << 16];
        // Honest ACKs open the congestion window.
        for _ in 0..1000 {
            if sender.info_cwnd() > window + (window >> 2) {
                break;
            }
            let room = sender.info_cwnd() as usize;
            for at in (0..room).step_by(piece.len()) {
                let _ =
                    sender.endpoint.send_copy(&mut sender.frames, sender.conn, &piece[..piece.len().min(room - at)]);
            }
            sender.send();
            sender.advance(ROUND_TRIP);
            while sender.una.before(sender.nxt) {
                let next = (sender.una + 2 * u32::from(cell.bytes)).min(sender.nxt);
                let ack = SackAck { ack: next, blocks: SackBlocks::EMPTY, is_old_echo: false };
                sender.take(&ack);
            }
        }
        sender.first = sender.una;
        sender.stamps.0 = sender.stamps.1;
        for _ in 0..cell.segments {
            sender.advance(Duration::from_micros(1));
            let taken = sender.endpoint.send_copy(&mut sender.frames, sender.conn, &piece[..cell.bytes.into()]);
            assert_eq!(taken, Ok(cell.bytes.into()), "the send buffer holds the window");
            sender.send();
        }
        assert_eq!(sender.nxt.since(sender.una), window, "the window is out");
        sender.advance(ROUND_TRIP);
        sender
    }

    fn open(cell: &Cell) -> Self {
        let window = cell.segments * u32::from(cell.bytes);
        let config = EndpointConfig {
            mac: OUR_MAC,
            addresses: vec![Cidr { addr: OURS, prefix_len: 24 }],
            connections: 4,
            syn_queue: 4,
            time_wait: 4,
            low_water_frames: 8,
            ..EndpointConfig::default()
        };
        let tcp = TcpConfig {
            // Room for each segment in a chunk of its own.
            send_buffer: (2 * window).max(cell.segments * 256).max(1 << 16),
            initial_window_segments: 64,
            rto_max: Duration::from_secs(1),
            give_up_after: Duration::from_secs(365 * 86_400),
            timestamps: cell.timestamps,
            ..TcpConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [1; 32], Instant::ZERO);
        let listener = endpoint.listen(SocketAddr::new(OURS, PORT), tcp);
        assert!(listener.is_ok() && endpoint.set_neighbour(THEIRS, THEIR_MAC));
        let mut frames = Plain::new(4 * cell.segments + 8192);
        let now = Instant::from_millis(1000);
        let option_bytes = if cell.timestamps { 12 } else { 0 };
        let mss = if u32::from(cell.bytes) < 256 { 8 } else { 1448 + option_bytes };
        let options = Options {
            mss: Some(mss),
            window_scale: Some(WINDOW_SCALE),
            sack_permitted: true,
            timestamps: cell.timestamps.then_some(Timestamps { value: 1, echo: 0 }),
            ..Options::NONE
        };
        let syn =
            Segment { seq: THEIR_SEQ + u32::MAX, flags: Flags::SYN, window: 65_535, options, ..Segment::default() };
        let buf = frames.filled(&frame(&syn));
        endpoint.receive(now, &mut frames, buf);
        let answer = endpoint.poll_transmit(now, &mut frames).unwrap_or_else(|| unreachable!("a SYN is answered"));
        let Some(answer_segment) = tcp_of(frames.sent(&answer)) else { unreachable!("by a SYN-ACK") };
        frames.done(answer);
        let una = answer_segment.seq + 1;
        let stamp = answer_segment.options.timestamps.map_or(0, |stamps| stamps.value);
        let timestamps = cell.timestamps.then_some(Timestamps { value: 1, echo: stamp });
        let options = Options { timestamps, ..Options::NONE };
        let ack =
            Segment { seq: THEIR_SEQ, ack: una, flags: Flags::ACK, window: 65_535, options, ..Segment::default() };
        let buf = frames.filled(&frame(&ack));
        endpoint.receive(now, &mut frames, buf);
        let Some(Event::Accepted { conn, .. }) = endpoint.poll_event() else { unreachable!("it is open") };
        let has_timestamps = cell.timestamps;
        let stamps = (stamp, stamp);
        Self { endpoint, frames, now, conn, has_timestamps, first: una, una, nxt: una, stamps, out: Vec::new() }
    }

    fn info_cwnd(&self) -> u32 {
        self.endpoint.info(self.conn).map_or(0, |info| info.cwnd)
    }

    pub(super) fn counts(&self) -> Counts {
        self.endpoint.info(self.conn).unwrap_or_else(|| unreachable!("nobody ends it")).counts
    }

    pub(super) fn first(&self) -> Seq {
        self.first
    }

    pub(super) fn una(&self) -> Seq {
        self.una
    }

    pub(super) fn nxt(&self) -> Seq {
        self.nxt
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// An ACK comes and is answered: gives the segments that go.
    pub(super) fn take(&mut self, ack: &SackAck) -> u64 {
        let echo = if ack.is_old_echo { self.stamps.0 } else { self.stamps.1 };
        let value = u32::try_from(self.now.as_millis()).unwrap_or(u32::MAX);
        let timestamps = self.has_timestamps.then_some(Timestamps { value, echo });
        let mut options = Options { timestamps, sack: ack.blocks, ..Options::NONE };
        options.sack.truncate(if self.has_timestamps { 3 } else { 4 });
        let (flags, window) = (Flags::ACK, 65_535);
        let segment = Segment { seq: THEIR_SEQ, ack: ack.ack, flags, window, options, ..Segment::default() };
        let buf = self.frames.filled(&frame(&segment));
        let Self { endpoint, frames, now, out, .. } = self;
        counted(endpoint, |endpoint| {
            endpoint.receive(*now, frames, buf);
            turn(endpoint, frames, *now, out);
        });
        self.una = self.una.max(ack.ack.min(self.nxt));
        self.look()
    }

    /// Nothing comes until the next timer fires: gives the segments that go.
    pub(super) fn wait_for_timer(&mut self) -> u64 {
        let Some(at) = self.endpoint.poll_deadline() else { return 0 };
        self.now = self.now.max(at);
        self.send()
    }

    fn send(&mut self) -> u64 {
        let Self { endpoint, frames, now, out, .. } = self;
        counted(endpoint, |endpoint| turn(endpoint, frames, *now, out));
        self.look()
    }

    /// What went is looked at, and news for the application are thrown away.
    fn look(&mut self) -> u64 {
        while self.endpoint.poll_event().is_some() {}
        let sent = self.out.len() as u64;
        for transmit in self.out.drain(..) {
            if let Some(segment) = tcp_of(self.frames.sent(&transmit)) {
                self.nxt = self.nxt.max(segment.end());
                self.stamps.1 = segment.options.timestamps.map_or(0, |stamps| stamps.value);
            }
            self.frames.done(transmit);
        }
        sent
    }

    /// The application hands over as much as was acknowledged.
    pub(super) fn refill(&mut self, cell: &Cell) {
        let piece = [0x5a; 1500];
        let window = cell.segments * u32::from(cell.bytes);
        while let Some(info) = self.endpoint.info(self.conn)
            && info.unacked + info.unsent + u32::from(cell.bytes) <= window
        {
            let taken = self.endpoint.send_copy(&mut self.frames, self.conn, &piece[..cell.bytes.into()]);
            if taken != Ok(cell.bytes.into()) {
                return;
            }
            let Self { endpoint, frames, now, out, .. } = self;
            turn(endpoint, frames, *now, out);
            self.look();
        }
    }
}

/// Timers, and whatever may go.
fn turn(endpoint: &mut Endpoint, frames: &mut Plain, now: Instant, out: &mut Vec<Transmit>) {
    endpoint.on_time(now, frames);
    while let Some(transmit) = endpoint.poll_transmit(now, frames) {
        out.push(transmit);
    }
}

fn frame(segment: &Segment) -> Vec<u8> {
    let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
    let mut frame = vec![0; 200];
    let len = emit_tcp(&mut frame, &eth, &IpHeader::new(THEIRS, OURS), (THEIR_PORT, PORT), segment);
    frame.truncate(len);
    frame
}

fn tcp_of(frame: &[u8]) -> Option<Segment> {
    let verify_nothing = Checksums { ip: false, tcp: false };
    match parse(frame, verify_nothing).ok()?.body {
        Body::Tcp(tcp) => Some(tcp.segment),
        _ => None,
    }
}
