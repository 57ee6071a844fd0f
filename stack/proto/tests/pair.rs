//! Two endpoints joined by a wire without delay: the smallest network there is.

use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, SendError, Shutdown, Transmit};
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::state::State;
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr, Token};
use std::collections::VecDeque;
use std::time::Duration;

/// Frames in plain memory that know who has them.
struct Frames {
    frames: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Frames {
    fn new(count: u32) -> Self {
        Self { frames: vec![vec![0; 2048]; count as usize], free: (0..count).rev().collect() }
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<Buf> {
        let token = self.alloc()?;
        self.bytes_mut(&token)[..bytes.len()].copy_from_slice(bytes);
        Some(Buf::new(token, 0, bytes.len() as u16))
    }
}

impl Memory for Frames {
    fn alloc(&mut self) -> Option<Token> {
        self.free.pop().map(Token::new)
    }

    fn free(&mut self, token: Token) {
        assert!(!self.free.contains(&token.index()), "frame {} is freed twice", token.index());
        self.free.push(token.index());
    }

    fn bytes(&self, token: &Token) -> &[u8] {
        &self.frames[token.index() as usize]
    }

    fn bytes_mut(&mut self, token: &Token) -> &mut [u8] {
        &mut self.frames[token.index() as usize]
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

struct Host {
    endpoint: Endpoint,
    frames: Frames,
    events: VecDeque<Event>,
}

const FRAMES: u32 = 2048;

impl Host {
    fn new(last: u8) -> Self {
        let config = EndpointConfig {
            mac: Mac([2, 0, 0, 0, 0, last]),
            addresses: vec![Cidr { addr: addr(last), prefix_len: 24 }],
            connections: 64,
            time_wait: 64,
            syn_queue: 64,
            low_water_frames: 8,
            ..EndpointConfig::default()
        };
        Self {
            endpoint: Endpoint::new(config, [last; 32], Instant::ZERO),
            frames: Frames::new(FRAMES),
            events: VecDeque::new(),
        }
    }

    fn sent(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.frames) {
            match transmit {
                Transmit::Owned { token, len } => {
                    out.push(self.frames.bytes(&token)[..usize::from(len)].to_vec());
                    self.frames.free(token);
                }
                Transmit::Lent { index, len } => {
                    out.push(self.frames.frames[index as usize][..usize::from(len)].to_vec());
                }
            }
        }
        out
    }

    fn read_all(&mut self, id: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(buf) = self.endpoint.recv(id) {
            bytes.extend_from_slice(buf.bytes(&self.frames));
            self.endpoint.consumed(id, usize::from(buf.len));
            self.frames.free(buf.token);
        }
        bytes
    }

    fn accepted(&mut self) -> ConnId {
        let at = self.events.iter().position(|event| matches!(event, Event::Accepted { .. })).expect("a connection");
        let Some(Event::Accepted { conn, .. }) = self.events.remove(at) else { unreachable!() };
        conn
    }

    fn saw(&self, event: Event) -> bool {
        self.events.contains(&event)
    }
}

fn addr(last: u8) -> Addr {
    Addr::v4([10, 0, 0, last])
}

/// Two hosts and the time.
struct Pair {
    a: Host,
    b: Host,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        Self { a: Host::new(1), b: Host::new(2), now: Instant::from_millis(1000) }
    }

    /// Passes frames to and fro until nobody has anything to say.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut quiet = true;
            for forth in [true, false] {
                let (from, to) = if forth { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
                for frame in from.sent(self.now) {
                    quiet = false;
                    if let Some(buf) = to.frames.fill(&frame) {
                        to.endpoint.receive(self.now, &mut to.frames, buf);
                    }
                }
                while let Some(event) = to.endpoint.poll_event() {
                    to.events.push_back(event);
                    quiet = false;
                }
                while let Some(event) = from.endpoint.poll_event() {
                    from.events.push_back(event);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) =
            [self.a.endpoint.poll_deadline(), self.b.endpoint.poll_deadline()].into_iter().flatten().min()
        {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    fn tick(&mut self) {
        for host in [&mut self.a, &mut self.b] {
            host.endpoint.on_time(self.now, &mut host.frames);
            while let Some(event) = host.endpoint.poll_event() {
                host.events.push_back(event);
            }
        }
        self.settle();
    }

    /// Opens a connection from a to b's port 80.
    fn open(&mut self) -> (ConnId, ConnId) {
        self.b.endpoint.listen(SocketAddr::new(addr(2), 80), TcpConfig::default()).expect("listen");
        let remote = SocketAddr::new(addr(2), 80);
        let id = self
            .a
            .endpoint
            .connect(self.now, SocketAddr::new(addr(1), 0), remote, TcpConfig::default())
            .expect("connect");
        self.settle();
        assert!(self.a.saw(Event::Connected(id)), "{:?}", self.a.events);
        (id, self.b.accepted())
    }

    fn check_frames(&self) {
        for host in [&self.a, &self.b] {
            assert_eq!(host.frames.available() + host.endpoint.frames_held(), FRAMES as usize, "a frame is lost");
        }
    }
}

//= spec/rfc9293.txt#section-3.6
//= type=test
//# If the local TCP connection is closed by the remote side due to a FIN or RST received from the remote side, then
//# the local application MUST be informed whether it closed normally or was aborted (MUST-12).
//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL (Maximum Segment
//# Lifetime) (MUST-13).
#[test]
fn a_handshake_an_exchange_and_a_close_from_each_side() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    assert_eq!(pair.a.endpoint.send_copy(&mut pair.a.frames, a, b"hello"), Ok(5));
    pair.settle();
    assert!(pair.b.saw(Event::Readable(b)));
    assert_eq!(pair.b.read_all(b), b"hello");
    assert_eq!(pair.b.endpoint.send_copy(&mut pair.b.frames, b, b"world"), Ok(5));
    pair.settle();
    assert_eq!(pair.a.read_all(a), b"world");

    pair.a.endpoint.close(a);
    pair.settle();
    assert!(pair.b.saw(Event::PeerClosed(b)));
    assert_eq!(pair.b.endpoint.info(b).unwrap().state, State::CloseWait);
    pair.b.endpoint.close(b);
    pair.settle();
    assert!(pair.b.saw(Event::Closed { conn: b, reason: CloseReason::Finished }));
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Finished }));
    assert_eq!(pair.a.endpoint.time_waits(), 1, "who closes first waits 2 MSL");
    assert_eq!(pair.b.endpoint.time_waits(), 0);
    assert_eq!(pair.a.endpoint.connections() + pair.b.endpoint.connections(), 0);
    pair.wait(Duration::from_secs(61));
    assert_eq!(pair.a.endpoint.time_waits(), 0);
    assert_eq!(pair.a.endpoint.poll_deadline(), None, "nothing is left to do");
    pair.check_frames();
}

#[test]
fn a_megabyte_in_each_direction_at_once() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut sent_a, mut sent_b) = (0, 0);
    let (mut got_a, mut got_b) = (Vec::new(), Vec::new());
    for _ in 0..10_000 {
        sent_a += pair.a.endpoint.send_copy(&mut pair.a.frames, a, &data[sent_a..]).unwrap();
        sent_b += pair.b.endpoint.send_copy(&mut pair.b.frames, b, &data[sent_b..]).unwrap();
        pair.settle();
        got_a.extend(pair.a.read_all(a));
        got_b.extend(pair.b.read_all(b));
        pair.settle();
        if got_a.len() == data.len() && got_b.len() == data.len() {
            break;
        }
    }
    assert!(got_a == data && got_b == data, "{} and {} of {}", got_a.len(), got_b.len(), data.len());
    assert_eq!(pair.a.endpoint.counters().retransmits, 0);
    pair.wait(Duration::from_secs(1));
    pair.check_frames();
}

//= spec/rfc9293.txt#section-3.8.6.1
//= type=test
//# Probing of zero (offered) windows MUST be supported (MUST-36).
//= spec/rfc9293.txt#section-3.8.6.1
//= type=test
//# A TCP implementation MAY keep its offered receive window closed indefinitely (MAY-8).
#[test]
fn a_reader_that_does_not_read_closes_the_window_and_opens_it_again() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    let data = vec![5; 1_000_000];
    let mut sent = 0;
    for _ in 0..50 {
        sent += pair.a.endpoint.send_copy(&mut pair.a.frames, a, &data[sent..]).unwrap();
        pair.settle();
    }
    pair.wait(Duration::from_millis(50));
    let unread = pair.b.endpoint.info(b).unwrap().unread;
    assert!((64_000..=64 * 1024).contains(&unread), "the first window is full and no more: {unread}");
    assert!(pair.a.endpoint.info(a).unwrap().send_window < 1000, "what is left is too small for a segment");
    pair.wait(Duration::from_secs(60));
    assert!(pair.a.endpoint.info(a).is_some(), "a closed window is probed, not given up");
    let mut got = 0;
    for _ in 0..1000 {
        got += pair.b.read_all(b).len();
        pair.settle();
        sent += pair.a.endpoint.send_copy(&mut pair.a.frames, a, &data[sent..]).unwrap();
        pair.settle();
    }
    pair.wait(Duration::from_secs(5));
    got += pair.b.read_all(b).len();
    assert_eq!((sent, got), (data.len(), data.len()));
    pair.check_frames();
}

#[test]
fn a_port_without_a_listener_refuses() {
    let mut pair = Pair::new();
    let remote = SocketAddr::new(addr(2), 81);
    let id = pair.a.endpoint.connect(pair.now, SocketAddr::new(addr(1), 0), remote, TcpConfig::default()).unwrap();
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: id, reason: CloseReason::Refused }));
    assert_eq!(pair.b.endpoint.counters().resets_out, 1);
    pair.check_frames();
}

#[test]
fn a_neighbour_that_is_not_there_is_unreachable() {
    let mut pair = Pair::new();
    let id = pair
        .a
        .endpoint
        .connect(pair.now, SocketAddr::new(addr(1), 0), SocketAddr::new(addr(9), 80), TcpConfig::default())
        .unwrap();
    pair.settle();
    pair.wait(Duration::from_secs(10));
    assert!(pair.a.saw(Event::Closed { conn: id, reason: CloseReason::Unreachable }), "{:?}", pair.a.events);
    pair.check_frames();
}

//= spec/rfc9293.txt#section-3.6
//= type=test
//# If the local TCP connection is closed by the remote side due to a FIN or RST received from the remote side, then
//# the local application MUST be informed whether it closed normally or was aborted (MUST-12).
#[test]
fn an_abort_is_a_reset_for_the_peer() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    pair.a.endpoint.abort(a);
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Aborted }));
    assert!(pair.b.saw(Event::Closed { conn: b, reason: CloseReason::Reset }));
    assert_eq!(pair.a.endpoint.time_waits(), 0);
    pair.check_frames();
}

#[test]
fn a_half_closed_connection_still_carries_the_other_way() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    pair.a.endpoint.shutdown(a, Shutdown::Write);
    pair.settle();
    assert!(pair.b.saw(Event::PeerClosed(b)));
    assert_eq!(pair.a.endpoint.send_copy(&mut pair.a.frames, a, b"x"), Err(SendError::Closed));
    for _ in 0..100 {
        assert_eq!(pair.b.endpoint.send_copy(&mut pair.b.frames, b, &[1; 1000]), Ok(1000));
        pair.settle();
        assert_eq!(pair.a.read_all(a).len(), 1000);
        pair.wait(Duration::from_secs(36));
    }
    pair.b.endpoint.close(b);
    pair.settle();
    assert!(pair.a.saw(Event::PeerClosed(a)));
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Finished }));
    pair.check_frames();
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# If such a host issues a CLOSE call while received data is still pending in the TCP connection, or if new data is
//# received after CLOSE is called, its TCP implementation SHOULD send a RST to show that data was lost (SHLD-3).
#[test]
fn closing_with_unread_data_resets() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    pair.a.endpoint.send_copy(&mut pair.a.frames, a, b"unread").unwrap();
    pair.settle();
    pair.b.endpoint.close(b);
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Reset }));
    pair.check_frames();
}

#[test]
fn a_silent_peer_is_given_up_and_a_syn_without_answer_too() {
    let mut pair = Pair::new();
    let (a, _) = pair.open();
    let config = TcpConfig::default();
    pair.a.endpoint.send_copy(&mut pair.a.frames, a, b"anybody there?").unwrap();
    let dead =
        pair.a.endpoint.connect(pair.now, SocketAddr::new(addr(1), 0), SocketAddr::new(addr(2), 80), config).unwrap();
    // From here on the wire is cut.
    let end = pair.now + Duration::from_secs(1200);
    while pair.now < end {
        drop(pair.a.sent(pair.now));
        let Some(at) = pair.a.endpoint.poll_deadline() else { break };
        pair.now = pair.now.max(at);
        pair.a.endpoint.on_time(pair.now, &mut pair.a.frames);
        while let Some(event) = pair.a.endpoint.poll_event() {
            pair.a.events.push_back(event);
        }
    }
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::TimedOut }), "{:?}", pair.a.events);
    let closed = pair.a.events.iter().find(|event| matches!(event, Event::Closed { conn, .. } if *conn == dead));
    assert!(closed.is_some(), "{:?}", pair.a.events);
    drop(pair.a.sent(pair.now));
    pair.check_frames();
}

#[test]
fn many_connections_open_and_close_without_a_trace() {
    let mut pair = Pair::new();
    pair.b.endpoint.listen(SocketAddr::new(addr(2), 80), TcpConfig::default()).unwrap();
    for round in 0..200 {
        let remote = SocketAddr::new(addr(2), 80);
        let a = pair.a.endpoint.connect(pair.now, SocketAddr::new(addr(1), 0), remote, TcpConfig::default()).unwrap();
        pair.settle();
        let b = pair.b.accepted();
        let (first, second) = if round % 2 == 0 { (true, false) } else { (false, true) };
        for side_a in [first, second] {
            if side_a {
                pair.a.endpoint.close(a);
            } else {
                pair.b.endpoint.close(b);
            }
            pair.settle();
        }
        assert_eq!(pair.a.endpoint.connections() + pair.b.endpoint.connections(), 0, "round {round}");
    }
    assert_eq!(pair.a.endpoint.time_waits(), 64, "the table is bounded");
    pair.check_frames();
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# it MAY accept a new SYN from the remote TCP endpoint to reopen the connection directly from TIME-WAIT state
//# (MAY-2)
//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# This algorithm for reducing TIME-WAIT is a Best Current Practice that SHOULD be implemented since Timestamp
//# Options are commonly used, and using them to reduce TIME-WAIT provides benefits for busy Internet servers
//# (SHLD-4).
#[test]
fn a_port_that_waits_is_taken_again_by_a_newer_connection() {
    let mut pair = Pair::new();
    let (a, b) = pair.open();
    // The server closes first, so the wait is at its side.
    pair.b.endpoint.close(b);
    pair.settle();
    let before = pair.a.endpoint.flow(a).expect("it is open");
    pair.a.endpoint.close(a);
    pair.settle();
    assert_eq!((pair.a.endpoint.time_waits(), pair.b.endpoint.time_waits()), (0, 1));
    // The client goes round all its ports until it comes to the same again: every other one is in use.
    pair.now = pair.now + Duration::from_secs(1);
    let (port, remote) = (before.local.port, before.remote);
    let config = EndpointConfig {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        addresses: vec![Cidr { addr: addr(1), prefix_len: 24 }],
        connections: 64,
        time_wait: 64,
        ports: (port, port),
        low_water_frames: 8,
        ..EndpointConfig::default()
    };
    pair.a.endpoint = Endpoint::new(config, [1; 32], pair.now);
    let again = pair
        .a
        .endpoint
        .connect(pair.now, SocketAddr::new(addr(1), 0), remote, TcpConfig::default())
        .expect("the port is free here");
    pair.settle();
    assert_eq!(pair.a.endpoint.flow(again), Some(before));
    assert!(pair.a.saw(Event::Connected(again)), "{:?}", pair.a.events);
    assert_eq!(pair.b.endpoint.time_waits(), 0, "the old one has given way");
    let b = pair.b.accepted();
    assert_eq!(pair.a.endpoint.send_copy(&mut pair.a.frames, again, b"anew"), Ok(4));
    pair.settle();
    assert_eq!(pair.b.read_all(b), b"anew");
    pair.check_frames();
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# Implementers MAY include "keep-alives" in their TCP implementations (MAY-5)
//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# This interval MUST be configurable (MUST-27)
#[test]
fn keepalive_finds_out_that_a_silent_peer_is_gone_and_leaves_a_live_one_alone() {
    let keepalive =
        KeepaliveConfig { idle: Duration::from_secs(60), interval: Duration::from_secs(5), probes: 3, garbage: false };
    let mut pair = Pair::new();
    pair.b.endpoint.listen(SocketAddr::new(addr(2), 80), TcpConfig::default()).expect("listen");
    let config = TcpConfig { keepalive: Some(keepalive), ..TcpConfig::default() };
    let a = pair
        .a
        .endpoint
        .connect(pair.now, SocketAddr::new(addr(1), 0), SocketAddr::new(addr(2), 80), config)
        .expect("connect");
    pair.settle();
    pair.wait(Duration::from_secs(3600));
    assert!(pair.a.endpoint.info(a).is_some(), "an idle peer that answers is not given up");
    let sent = pair.a.endpoint.counters().segments_out;
    assert!((50..=70).contains(&sent), "a probe a minute and not more: {sent}");
    // From here on the wire is cut.
    let cut = pair.now;
    while !pair.a.events.iter().any(|event| matches!(event, Event::Closed { .. })) {
        drop(pair.a.sent(pair.now));
        let at = pair.a.endpoint.poll_deadline().expect("a timer runs");
        pair.now = pair.now.max(at);
        pair.a.endpoint.on_time(pair.now, &mut pair.a.frames);
        while let Some(event) = pair.a.endpoint.poll_event() {
            pair.a.events.push_back(event);
        }
    }
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::TimedOut }));
    let took = pair.now.saturating_since(cut);
    assert!(took >= Duration::from_secs(15) && took <= Duration::from_secs(76), "{took:?}");
}

#[test]
fn a_half_open_connection_is_forgotten_when_nobody_answers() {
    let mut pair = Pair::new();
    pair.b.endpoint.listen(SocketAddr::new(addr(2), 80), TcpConfig::default()).expect("listen");
    let remote = SocketAddr::new(addr(2), 80);
    pair.a.endpoint.connect(pair.now, SocketAddr::new(addr(1), 0), remote, TcpConfig::default()).expect("connect");
    // ARP, then the SYN; the SYN-ACK and all that follow get lost.
    for _ in 0..2 {
        for frame in pair.a.sent(pair.now) {
            let buf = pair.b.frames.fill(&frame).expect("a frame");
            pair.b.endpoint.receive(pair.now, &mut pair.b.frames, buf);
        }
        if pair.b.endpoint.half_opens() == 0 {
            for frame in pair.b.sent(pair.now) {
                let buf = pair.a.frames.fill(&frame).expect("a frame");
                pair.a.endpoint.receive(pair.now, &mut pair.a.frames, buf);
            }
        }
    }
    assert_eq!(pair.b.endpoint.half_opens(), 1);
    // Without an answer the neighbour would be asked for too.
    assert!(pair.b.endpoint.set_neighbour(addr(1), Mac([2, 0, 0, 0, 0, 1])));
    let mut syn_acks = 0;
    for _ in 0..300 {
        syn_acks += pair.b.sent(pair.now).len();
        pair.now = pair.now + Duration::from_secs(1);
        pair.b.endpoint.on_time(pair.now, &mut pair.b.frames);
    }
    assert_eq!(pair.b.endpoint.half_opens(), 0);
    assert_eq!(pair.b.endpoint.counters().half_open_expired, 1);
    assert_eq!(syn_acks, 8, "the first and seven more");
    assert_eq!(pair.b.endpoint.poll_event(), None, "the application never hears of it");
}
