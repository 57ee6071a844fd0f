//! What the simulator and the garbage found, each in the smallest form that shows it.

use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Shutdown, Transmit};
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, emit_tcp, parse, tcp_header_len};
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use std::time::Duration;

const OURS: Addr = Addr::v4([10, 0, 0, 1]);
const THEIRS: Addr = Addr::v4([10, 0, 0, 2]);
const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEIR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const FRAMES: usize = 64;
const LOW_WATER: usize = 8;
/// The peer's first number.
const IRS: Seq = Seq(1000);

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

/// An endpoint whose peer is the test.
struct Bench {
    endpoint: Endpoint,
    frames: Frames,
    now: Instant,
}

impl Bench {
    fn new(neighbour_is_known: bool) -> Self {
        let addresses = vec![Cidr { addr: OURS, prefix_len: 24 }];
        let config = EndpointConfig {
            mac: OUR_MAC,
            addresses,
            connections: 4,
            syn_queue: 4,
            time_wait: 4,
            low_water_frames: LOW_WATER,
            ..EndpointConfig::default()
        };
        let mut endpoint = Endpoint::new(config, [1; 32], Instant::ZERO);
        endpoint.listen(SocketAddr::new(OURS, 80), TcpConfig::default()).expect("listen");
        assert!(!neighbour_is_known || endpoint.set_neighbour(THEIRS, THEIR_MAC));
        Self { endpoint, frames: Frames(vec![(false, vec![0; 2048]); FRAMES]), now: Instant::from_millis(1) }
    }

    /// The peer sends `segment`; gives what the endpoint answers.
    fn receive(&mut self, segment: Segment) -> Vec<Segment> {
        let token = self.frames.alloc().expect("a frame");
        let eth = EthernetHeader { dst: OUR_MAC, src: THEIR_MAC, vlan: None };
        let ip = IpHeader::new(THEIRS, OURS);
        self.frames.bytes_mut(&token)[tcp_header_len(true, false, &segment.options)..].fill(b'x');
        let len = emit_tcp(self.frames.bytes_mut(&token), &eth, &ip, (5000, 80), &segment);
        self.endpoint.receive(self.now, &mut self.frames, Buf::new(token, 0, len as u16));
        self.sent()
    }

    fn sent(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut self.frames) {
            let (index, len) = match &transmit {
                Transmit::Owned { token, len } => (token.index(), *len),
                Transmit::Lent { index, len } => (*index, *len),
            };
            let frame = &self.frames.0[index as usize].1[..usize::from(len)];
            if let Body::Tcp(tcp) = parse(frame, Checksums::VERIFY).expect("a frame").body {
                segments.push(tcp.segment);
            }
            if let Transmit::Owned { token, .. } = transmit {
                self.frames.free(token);
            }
        }
        segments
    }

    /// Time passes.
    fn wait(&mut self, time: Duration) -> Vec<Segment> {
        self.now = self.now + time;
        self.endpoint.on_time(self.now, &mut self.frames);
        self.sent()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// The peer opens a connection; gives its id and our next number.
    fn open(&mut self) -> (ConnId, Seq) {
        let syn_ack = self.receive(segment(IRS, Seq(0), Flags::SYN, 0));
        let ours = syn_ack[0].seq + 1;
        self.receive(segment(IRS + 1, ours, Flags::ACK, 0));
        let Some(Event::Accepted { conn, .. }) = self.endpoint.poll_event() else { panic!("it is not accepted") };
        (conn, ours)
    }
}

fn segment(seq: Seq, ack: Seq, flags: Flags, len: u16) -> Segment {
    Segment { seq, ack, flags, len, window: 60_000, ..Segment::default() }
}

#[test]
fn the_last_bytes_are_read_even_after_time_wait() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.endpoint.shutdown(conn, Shutdown::Write);
    bench.sent();
    bench.receive(segment(IRS + 1, ours + 1, Flags::ACK | Flags::FIN, 5));
    assert_eq!(bench.events(), [Event::Readable(conn)]);
    bench.wait(Duration::from_secs(100));
    assert_eq!(bench.events(), [], "the application has not read them");
    let buf = bench.endpoint.recv(conn).expect("the bytes are still there");
    assert_eq!(buf.bytes(&bench.frames), b"xxxxx");
    bench.endpoint.consumed(conn, 5);
    bench.frames.free(buf.token);
    let closed = Event::Closed { conn, reason: CloseReason::Finished };
    assert_eq!(bench.events(), [Event::PeerClosed(conn), closed]);
}

#[test]
fn an_ack_after_a_time_out_stands_behind_everything_sent() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.endpoint.send_copy(&mut bench.frames, conn, &[0; 5000]).expect("sent");
    let sent: u32 = bench.sent().iter().map(|segment| u32::from(segment.len)).sum();
    assert_eq!(sent, 5000);
    assert!(!bench.wait(Duration::from_secs(3)).is_empty(), "it is sent again");
    // The peer, which may have got it all, asks where we are.
    let answer = bench.receive(segment(IRS - 10, ours, Flags::ACK, 5));
    let empty = answer.iter().find(|segment| segment.len == 0).expect("an ACK");
    assert_eq!(empty.seq, ours + 5000);
    bench.endpoint.abort(conn);
    assert_eq!(bench.sent()[0].seq, ours + 5000, "and the RST too");
}

#[test]
fn what_stands_behind_a_fin_is_not_kept() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.receive(segment(IRS + 11, ours, Flags::ACK, 10));
    bench.receive(segment(IRS + 1, ours, Flags::ACK | Flags::FIN, 0));
    assert_eq!(bench.events(), [Event::PeerClosed(conn)]);
    assert_eq!(bench.frames.available(), FRAMES);
}

#[test]
fn a_half_open_connection_without_neighbour_ends() {
    let mut bench = Bench::new(false);
    let stamped = |segment: Segment, value| Segment {
        options: Options { timestamps: Some(Timestamps { value, echo: 0 }), ..Options::NONE },
        ..segment
    };
    let syn_ack = bench.receive(stamped(segment(IRS, Seq(0), Flags::SYN, 0), 1000));
    // It completes the handshake with a timestamp that is too old to open the connection.
    bench.receive(stamped(segment(IRS + 1, syn_ack[0].seq + 1, Flags::ACK, 0), 1));
    assert_eq!(bench.endpoint.connections(), 1);
    for _ in 0..1000 {
        let Some(deadline) = bench.endpoint.poll_deadline() else { break };
        bench.now = bench.now.max(deadline);
        bench.wait(Duration::ZERO);
        assert_eq!(bench.events(), []);
    }
    assert_eq!(bench.endpoint.connections(), 0, "nobody would ever end it");
}

#[test]
fn queued_data_leaves_frames_for_acks() {
    let mut bench = Bench::new(true);
    let (conn, _) = bench.open();
    let taken = bench.endpoint.send_copy(&mut bench.frames, conn, &[0; 200_000]).expect("sent");
    assert!(taken < 200_000);
    assert!(bench.frames.available() >= LOW_WATER, "{} are left", bench.frames.available());
}

/// A receiver that tunes its buffer, such as Linux's, offers more with every segment that comes in. Three duplicate
/// ACKs are three then too, if SACK shows that something has arrived behind the hole.
#[test]
fn duplicate_acks_with_growing_windows_start_fast_retransmit_if_sack_shows_the_hole() {
    for (with_sack, resent) in [(true, 1), (false, 0)] {
        let mut bench = Bench::new(true);
        let syn = Segment {
            options: Options { mss: Some(1000), sack_permitted: true, ..Options::NONE },
            ..segment(IRS, Seq(0), Flags::SYN, 0)
        };
        let ours = bench.receive(syn)[0].seq + 1;
        bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
        let Some(Event::Accepted { conn, .. }) = bench.endpoint.poll_event() else { panic!("it is not accepted") };
        assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, &[0; 5000]), Ok(5000));
        assert_eq!(bench.sent().len(), 5);
        bench.now = bench.now + Duration::from_millis(10);
        let mut again = 0;
        for arrived in 2..=4_u16 {
            let mut sack = SackBlocks::EMPTY;
            sack.push(ours + 1000, ours + 1000 * u32::from(arrived));
            let options = Options { sack: if with_sack { sack } else { SackBlocks::EMPTY }, ..Options::NONE };
            let window = 60_000 + 100 * arrived;
            let ack = Segment { options, window, ..segment(IRS + 1, ours, Flags::ACK, 0) };
            again += bench.receive(ack).iter().filter(|sent| sent.seq == ours && sent.len == 1000).count();
        }
        assert_eq!(again, resent, "with SACK: {with_sack}");
    }
}

#[test]
fn one_free_frame_is_enough_for_an_ack_that_waited_for_it() {
    let mut bench = Bench::new(true);
    let (_, ours) = bench.open();
    let mut taken: Vec<Token> = std::iter::from_fn(|| bench.frames.alloc()).collect();
    bench.frames.free(taken.pop().expect("a frame"));
    assert_eq!(bench.receive(segment(IRS + 1, ours, Flags::ACK, 5)), [], "the data has taken the last frame");
    bench.frames.free(taken.pop().expect("a frame"));
    let sent = bench.wait(Duration::from_millis(1));
    assert_eq!(sent.first().map(|segment| segment.ack), Some(IRS + 6));
}

/// Short of frames, only the next bytes are taken. They may lie in a segment that repeats some before them.
#[test]
fn with_few_frames_left_a_segment_that_overlaps_the_next_bytes_is_taken() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 10));
    let taken: Vec<Token> = std::iter::from_fn(|| bench.frames.alloc()).take(FRAMES - LOW_WATER).collect();
    let answers = bench.receive(segment(IRS + 5, ours, Flags::ACK, 20));
    assert_eq!(bench.endpoint.info(conn).map(|info| info.unread), Some(24));
    assert_eq!(answers.last().map(|segment| segment.ack), Some(IRS + 25));
    // What lies behind a gap is not, but the peer learns what is missing.
    let answers = bench.receive(segment(IRS + 100, ours, Flags::ACK, 20));
    assert_eq!(answers.last().map(|segment| segment.ack), Some(IRS + 25));
    assert_eq!(bench.endpoint.counters().dropped_no_buffer, 1);
    taken.into_iter().for_each(|token| bench.frames.free(token));
}

/// What the application wrote in small pieces goes again in large ones.
#[test]
fn small_segments_that_were_lost_go_again_as_one() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    for piece in 0..5 {
        assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, &[piece; 10]), Ok(10));
        assert_eq!(bench.sent().len(), 1);
    }
    let again = bench.wait(Duration::from_secs(1));
    assert_eq!(again.iter().map(|segment| (segment.seq, segment.len)).collect::<Vec<_>>(), [(ours, 50)]);
    assert_eq!(bench.receive(segment(IRS + 1, ours + 50, Flags::ACK, 0)), []);
    assert_eq!(bench.frames.available(), FRAMES);
}

#[test]
fn room_is_offered_after_the_connection_is_open_and_not_before() {
    let mut bench = Bench::new(true);
    let (local, remote) = (SocketAddr::new(OURS, 80), SocketAddr::new(THEIRS, 5000));
    let conn = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
    let iss = bench.sent()[0].seq;
    let taken: Vec<Token> = std::iter::from_fn(|| bench.frames.alloc()).take(FRAMES - LOW_WATER).collect();
    let sent = bench.endpoint.send_copy(&mut bench.frames, conn, &[7; 100]);
    assert_eq!(sent, Ok(0), "only the last frames are left, which are for ACKs");
    taken.into_iter().for_each(|token| bench.frames.free(token));
    bench.wait(Duration::from_millis(10));
    assert_eq!(bench.events(), []);
    bench.receive(segment(IRS, iss + 1, Flags::SYN | Flags::ACK, 0));
    assert_eq!(bench.events(), [Event::Connected(conn), Event::Writable(conn)]);
}

/// Its garbage byte would stand where the last byte of the data belongs, and be taken for it if the data is lost.
#[test]
fn data_that_goes_out_when_the_keepalive_timer_fires_takes_the_place_of_the_probe() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    let keepalive = KeepaliveConfig { idle: Duration::from_secs(20), garbage: true, ..KeepaliveConfig::default() };
    assert!(bench.endpoint.configure(conn, TcpConfig { keepalive: Some(keepalive), ..TcpConfig::default() }));
    bench.now = bench.now + Duration::from_secs(20);
    bench.endpoint.on_time(bench.now, &mut bench.frames);
    assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, b"data"), Ok(4));
    let sent: Vec<_> = bench.sent().iter().map(|segment| (segment.seq, segment.len)).collect();
    assert_eq!(sent, [(ours, 4)]);
    assert_eq!(bench.receive(segment(IRS + 1, ours + 4, Flags::ACK, 0)), []);
    let probe = (0..100).find_map(|_| bench.wait(Duration::from_secs(1)).pop());
    assert_eq!(probe.map(|probe| (probe.seq, probe.len)), Some((ours + 3, 1)), "an idle connection is probed");
}

#[test]
fn data_is_not_taken_before_the_syn_is_acknowledged_even_when_the_fin_has_gone() {
    let mut bench = Bench::new(true);
    let (local, remote) = (SocketAddr::new(OURS, 80), SocketAddr::new(THEIRS, 5000));
    let conn = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
    let iss = bench.sent()[0].seq;
    bench.receive(segment(IRS, Seq(0), Flags::SYN, 0));
    bench.endpoint.shutdown(conn, Shutdown::Write);
    assert!(bench.sent().iter().any(|segment| segment.flags.has(Flags::FIN)));
    bench.receive(segment(IRS + 1, iss, Flags::ACK, 2));
    assert_eq!(bench.events(), [], "the peer has not shown that it knows our numbers");
    bench.receive(segment(IRS + 1, iss + 2, Flags::ACK, 2));
    assert_eq!(bench.events(), [Event::Connected(conn), Event::Readable(conn)]);
}

/// Two ends that have filled each other's window and closed number their ACKs by the edge, where the FIN is.
#[test]
fn an_ack_from_the_number_of_the_fin_counts() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.receive(segment(IRS + 1, ours, Flags::ACK | Flags::FIN, 0));
    assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, b"data"), Ok(4));
    assert_eq!(bench.sent().len(), 1);
    bench.receive(segment(IRS + 1, ours + 4, Flags::ACK, 0));
    assert_eq!(bench.endpoint.info(conn).map(|info| info.in_flight), Some(0));
}

/// Two ends probe each other's closed windows, and both windows have opened: each takes the other's byte, and then gets
/// what was sent before the other knew, which is numbered by that byte and tells of the open window.
#[test]
fn an_ack_from_the_number_of_a_probes_byte_counts() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    // Their window is full, and ours as far as they know.
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, b"data"), Ok(4));
    assert_eq!(bench.sent(), []);
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 1) });
    // The probe of theirs was taken, and what follows it says that their window has opened.
    let sent = bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(sent.iter().map(|segment| segment.len).sum::<u16>(), 4, "{sent:?}");
    // And that ours was taken.
    bench.receive(segment(IRS + 1, ours + 4, Flags::ACK, 0));
    assert_eq!(bench.endpoint.info(conn).map(|info| info.in_flight), Some(0));
}

/// A keepalive probe looks alike, says nothing new and has to be answered.
#[test]
fn a_keepalive_probe_is_no_duplicate_ack() {
    let mut bench = Bench::new(true);
    let (conn, ours) = bench.open();
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 1));
    assert_eq!(bench.endpoint.send_copy(&mut bench.frames, conn, b"data"), Ok(4));
    assert_eq!(bench.sent().len(), 1);
    for _ in 0..8 {
        bench.now = bench.now + Duration::from_millis(1);
        bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    }
    bench.now = bench.now + Duration::from_secs(1);
    let answers = bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert!(answers.iter().any(|segment| segment.ack == IRS + 2), "{answers:?}");
    assert_eq!(bench.endpoint.info(conn).map(|info| info.counts.recoveries), Some(0));
}
