//! How connections begin: RFC 9293 3.5 and 3.10.1, the rare ways included.

use crate::hosts::{Bench, Pair, addr, at, config, frame, segment};
use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, ConnectError, EndpointConfig, Event, ListenError};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::{Addr, SocketAddr};
use std::time::Duration;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);
const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

/// Checks that a connection carries bytes both ways and ends well.
fn exchange_and_close(pair: &mut Pair, a: ConnId, b: ConnId) {
    assert_eq!((pair.a.state(a), pair.b.state(b)), (State::Established, State::Established));
    pair.a.write(a, b"from a");
    pair.b.write(b, b"from b");
    pair.settle();
    assert_eq!((pair.a.read(a), pair.b.read(b)), (b"from b".to_vec(), b"from a".to_vec()));
    pair.a.endpoint.close(a);
    pair.settle();
    pair.b.endpoint.close(b);
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Finished }), "{:?}", pair.a.events);
    assert!(pair.b.saw(Event::Closed { conn: b, reason: CloseReason::Finished }), "{:?}", pair.b.events);
}

//= spec/rfc9293.txt#section-3.5
//= type=test
//# A TCP implementation MUST support simultaneous open attempts (MUST-
//# 10).
#[test]
fn simultaneous_open() {
    let mut pair = Pair::new();
    let a = pair.connect(at(1, 1000), at(2, 2000));
    let b = pair.b.endpoint.connect(pair.now, at(2, 2000), at(1, 1000), TcpConfig::default()).expect("connect");
    assert!(pair.exchange(|_, _| true), "the SYNs cross");
    assert_eq!((pair.a.state(a), pair.b.state(b)), (State::SynReceived, State::SynReceived));
    pair.settle();
    let both_syns = [(1, Flags::SYN), (2, Flags::SYN), (1, SYN_ACK), (2, SYN_ACK)];
    assert_eq!(pair.flags()[..4], both_syns, "figure 7");
    assert!(pair.flags().len() <= 6, "{:?}", pair.flags());
    assert!(pair.a.saw(Event::Connected(a)) && pair.b.saw(Event::Connected(b)));
    exchange_and_close(&mut pair, a, b);
}

#[test]
fn a_syn_and_the_syn_ack_behind_it_that_come_together_are_acknowledged() {
    let mut bench = Bench::new(config(1));
    let conn = bench.host.endpoint.connect(bench.now, at(1, 1000), at(2, 80), TcpConfig::default()).expect("connect");
    let ours = bench.sent()[0].seq;
    let syn = frame(at(2, 80), at(1, 1000), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &syn);
    // The first is not answered yet, and now a SYN-ACK of ours would say nothing that is not known.
    let answers = bench.receive(at(2, 80), at(1, 1000), segment(Seq(100), ours + 1, SYN_ACK, 0));
    let numbers: Vec<_> = answers.iter().map(|answer| (answer.flags, answer.seq, answer.ack)).collect();
    assert_eq!(numbers, [(Flags::ACK, ours + 1, Seq(101))]);
    assert_eq!(bench.host.events, [Event::Connected(conn)]);
}

#[test]
fn simultaneous_open_with_every_first_segment_lost() {
    for lost in 1..=5 {
        let mut pair = Pair::new();
        let a = pair.connect(at(1, 1000), at(2, 2000));
        let b = pair.b.endpoint.connect(pair.now, at(2, 2000), at(1, 1000), TcpConfig::default()).expect("connect");
        let mut seen = 0;
        while pair.exchange(|_, _| {
            seen += 1;
            seen != lost
        }) {}
        pair.wait(Duration::from_secs(5));
        assert!(pair.a.saw(Event::Connected(a)) && pair.b.saw(Event::Connected(b)), "without segment {lost}");
        exchange_and_close(&mut pair, a, b);
    }
}

#[test]
fn simultaneous_open_beside_a_listener_on_the_same_port() {
    let mut pair = Pair::new();
    let listener = pair.b.listen(at(2, 80));
    let a = pair.connect(at(1, 1000), at(2, 80));
    let b = pair.b.endpoint.connect(pair.now, at(2, 80), at(1, 1000), TcpConfig::default()).expect("connect");
    pair.settle();
    assert!(pair.a.saw(Event::Connected(a)) && pair.b.saw(Event::Connected(b)));
    assert_eq!(pair.b.accepted(), None, "it is the connection that was opened, not one that came in");
    exchange_and_close(&mut pair, a, b);
    let (a, b) = pair.open();
    exchange_and_close(&mut pair, a, b);
    pair.b.endpoint.unlisten(listener);
}

#[test]
fn a_connection_is_opened_once_when_the_peers_syn_came_first() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    let a = pair.connect(at(1, 1000), at(2, 80));
    pair.exchange(|_, _| true);
    let late = pair.b.endpoint.connect(pair.now, at(2, 80), at(1, 1000), TcpConfig::default());
    assert_eq!(late, Err(ConnectError::PortInUse(at(2, 80))));
    pair.settle();
    let b = pair.b.accepted().expect("accepted");
    exchange_and_close(&mut pair, a, b);
}

#[test]
fn a_listener_that_connects() {
    let mut pair = Pair::new();
    let listener = pair.b.listen(at(2, 80));
    pair.a.listen(at(1, 1000));
    let b = pair.b.endpoint.connect_listener(pair.now, listener, at(1, 1000)).expect("connect");
    assert_eq!(pair.b.state(b), State::SynSent);
    assert_eq!(pair.b.endpoint.flow(b).map(|flow| flow.local), Some(at(2, 80)));
    pair.settle();
    assert!(pair.b.saw(Event::Connected(b)));
    let a = pair.a.accepted().expect("accepted");
    let again = pair.b.endpoint.connect_listener(pair.now, listener, at(1, 1000));
    assert_eq!(again, Err(ConnectError::NoListener), "the listener has become the connection");
    let refused = pair.connect(at(1, 0), at(2, 80));
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: refused, reason: CloseReason::Refused }));
    exchange_and_close(&mut pair, a, b);
}

#[test]
fn a_listener_that_cannot_connect_goes_on_listening() {
    let mut pair = Pair::new();
    let listener = pair.b.listen(at(2, 80));
    let nowhere = SocketAddr::new(Addr::v4([192, 0, 2, 1]), 80);
    let failed = pair.b.endpoint.connect_listener(pair.now, listener, nowhere);
    assert_eq!(failed, Err(ConnectError::NoRoute(nowhere.addr)));
    let (a, b) = pair.open();
    exchange_and_close(&mut pair, a, b);
}

//= spec/rfc9293.txt#section-3.5.3
//= type=test
//# If the receiver was in SYN-RECEIVED state and had previously been in the LISTEN state, then the receiver returns
//# to the LISTEN state;
//= spec/rfc9293.txt#section-3.5
//= type=test
//# a TCP implementation MUST keep track of whether a connection has reached SYN-RECEIVED state as the result of a
//# passive OPEN or an active OPEN (MUST-11).
#[test]
fn a_reset_in_syn_received_returns_a_passive_opener_to_listen() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(at(1, 80));
    let syn_ack = bench.receive(at(2, 5000), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0))[0];
    assert_eq!(bench.host.endpoint.half_opens(), 1);
    assert_eq!(bench.receive(at(2, 5000), at(1, 80), segment(Seq(101), Seq(0), Flags::RST, 0)), []);
    assert_eq!(bench.host.endpoint.half_opens(), 0);
    // It listens, to this peer as to others.
    let again = bench.receive(at(2, 5000), at(1, 80), segment(Seq(900), Seq(0), Flags::SYN, 0))[0];
    assert_eq!((again.flags, again.ack), (SYN_ACK, Seq(901)));
    assert!(again.seq.at_or_after(syn_ack.seq));
    bench.receive(at(2, 5000), at(1, 80), segment(Seq(901), again.seq + 1, Flags::ACK, 0));
    assert!(bench.host.accepted().is_some());
    assert_eq!(bench.host.events, [], "of the first it was never told");
}

#[test]
fn another_syn_in_syn_received_returns_to_listen() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(at(1, 80));
    bench.receive(at(2, 5000), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0));
    assert_eq!(bench.receive(at(2, 5000), at(1, 80), segment(Seq(200), Seq(0), Flags::SYN, 0)), []);
    assert_eq!(bench.host.endpoint.half_opens(), 0);
    let again = bench.receive(at(2, 5000), at(1, 80), segment(Seq(200), Seq(0), Flags::SYN, 0))[0];
    assert_eq!((again.flags, again.ack), (SYN_ACK, Seq(201)));
}

//= spec/rfc9293.txt#section-3.5
//= type=test
//# a TCP implementation MUST keep track of whether a connection has reached SYN-RECEIVED state as the result of a
//# passive OPEN or an active OPEN (MUST-11).
#[test]
fn a_reset_in_syn_received_ends_an_active_opener() {
    let mut bench = Bench::new(config(1));
    let conn = bench.host.endpoint.connect(bench.now, at(1, 1000), at(2, 80), TcpConfig::default()).expect("connect");
    assert_eq!(bench.sent()[0].flags, Flags::SYN);
    // The peer's SYN crosses ours.
    let syn_ack = bench.receive(at(2, 80), at(1, 1000), segment(Seq(100), Seq(0), Flags::SYN, 0))[0];
    assert_eq!((syn_ack.flags, syn_ack.ack), (SYN_ACK, Seq(101)));
    assert_eq!(bench.host.state(conn), State::SynReceived);
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(150), Seq(0), Flags::RST, 0));
    assert_eq!(bench.host.state(conn), State::SynReceived, "only the exact number resets");
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(101), Seq(0), Flags::RST, 0));
    assert_eq!(bench.host.events, [Event::Closed { conn, reason: CloseReason::Refused }]);
    assert_eq!(bench.host.endpoint.connections(), 0);
    let answer = bench.receive(at(2, 80), at(1, 1000), segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 0));
    assert_eq!(answer[0].flags, Flags::RST, "CLOSED, not LISTEN");
}

#[test]
fn a_wrong_ack_in_syn_received_is_reset_and_an_old_segment_is_acknowledged() {
    let mut bench = Bench::new(config(1));
    let conn = bench.host.endpoint.connect(bench.now, at(1, 1000), at(2, 80), TcpConfig::default()).expect("connect");
    let ours = bench.sent()[0].seq;
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(100), Seq(0), Flags::SYN, 0));
    let answer = bench.receive(at(2, 80), at(1, 1000), segment(Seq(101), ours + 9, Flags::ACK, 0));
    assert_eq!((answer[0].flags, answer[0].seq), (Flags::RST, ours + 9));
    let answer = bench.receive(at(2, 80), at(1, 1000), segment(Seq(50), ours + 1, Flags::ACK, 1));
    assert_eq!((answer[0].flags, answer[0].seq, answer[0].ack), (Flags::ACK, ours + 1, Seq(101)));
    assert_eq!(bench.host.state(conn), State::SynReceived);
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(101), ours + 1, Flags::ACK, 0));
    assert_eq!(bench.host.events, [Event::Connected(conn)]);
}

#[test]
fn an_open_that_nobody_answers_ends_after_its_retries() {
    let mut bench = Bench::new(config(1));
    let tcp = TcpConfig { syn_retries: 2, ..TcpConfig::default() };
    let conn = bench.host.endpoint.connect(bench.now, at(1, 1000), at(2, 80), tcp).expect("connect");
    let mut syns = bench.sent().len();
    for _ in 0..7 {
        assert_eq!(bench.host.state(conn), State::SynSent);
        syns += bench.wait(Duration::from_secs(1)).len();
    }
    assert_eq!(syns, 3);
    assert_eq!(bench.host.events, [Event::Closed { conn, reason: CloseReason::TimedOut }]);
}

#[test]
fn closing_in_syn_received_goes_to_fin_wait_1_and_the_peer_gets_the_fin() {
    let mut bench = Bench::new(config(1));
    let conn = bench.host.endpoint.connect(bench.now, at(1, 1000), at(2, 80), TcpConfig::default()).expect("connect");
    let ours = bench.sent()[0].seq;
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.endpoint.close(conn);
    let fin = bench.sent().pop();
    assert_eq!(fin.map(|fin| (fin.flags, fin.seq)), Some((FIN_ACK, ours + 1)), "nothing is queued, so it goes at once");
    bench.receive(at(2, 80), at(1, 1000), segment(Seq(101), ours + 1, Flags::ACK, 0));
    assert_eq!(bench.host.state(conn), State::FinWait1);
}

//= spec/rfc6056.txt#section-3.2
//= type=test
//# As a result, port numbers that may be needed for providing a particular service at the local host SHOULD NOT be
//# included in the pool of port numbers available for ephemeral port randomization.
#[test]
fn a_port_that_is_listened_on_is_not_chosen() {
    let mut pair = Pair::with(EndpointConfig { ports: (4000, 4003), ..config(1) }, config(2));
    for port in [4000, 4001, 4003] {
        pair.a.listen(at(1, port));
    }
    let conn = pair.connect(at(1, 0), at(2, 80));
    assert_eq!(pair.a.endpoint.flow(conn).map(|flow| flow.local.port), Some(4002));
    let none = pair.a.endpoint.connect(pair.now, at(1, 0), at(2, 80), TcpConfig::default());
    assert_eq!(none, Err(ConnectError::NoPort(at(2, 80))));
}

#[test]
fn ports_that_are_bound_are_kept_and_used_once() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    pair.b.listen(at(2, 81));
    let first = pair.connect(at(1, 1000), at(2, 80));
    let twice = pair.a.endpoint.connect(pair.now, at(1, 1000), at(2, 80), TcpConfig::default());
    assert_eq!(twice, Err(ConnectError::PortInUse(at(1, 1000))));
    let elsewhere = pair.connect(at(1, 1000), at(2, 81));
    pair.settle();
    assert!(pair.a.saw(Event::Connected(first)) && pair.a.saw(Event::Connected(elsewhere)));
    let b = pair.b.accepted().expect("accepted");
    exchange_and_close(&mut pair, first, b);
    let waiting = pair.a.endpoint.connect(pair.now, at(1, 1000), at(2, 80), TcpConfig::default());
    assert_eq!(waiting, Err(ConnectError::PortInUse(at(1, 1000))), "it is in TIME-WAIT");
    pair.wait(Duration::from_secs(61));
    pair.connect(at(1, 1000), at(2, 80));
}

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# A TCP implementation that supports multiple concurrent connections
//# MUST provide an OPEN call that will functionally allow an application
//# to LISTEN on a port while a connection block with the same local port
//# is in SYN-SENT or SYN-RECEIVED state (MUST-42).
#[test]
fn listening_on_a_port_that_is_being_opened_from() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    let sent = pair.connect(at(1, 1000), at(2, 80));
    let crossed = pair.connect(at(1, 1000), at(2, 2000));
    pair.b.endpoint.connect(pair.now, at(2, 2000), at(1, 1000), TcpConfig::default()).expect("connect");
    pair.exchange(|_, _| true);
    assert_eq!((pair.a.state(sent), pair.a.state(crossed)), (State::SynSent, State::SynReceived));
    pair.a.listen(at(1, 1000));
    pair.settle();
    assert!(pair.a.saw(Event::Connected(sent)) && pair.a.saw(Event::Connected(crossed)));
    let third = pair.b.endpoint.connect(pair.now, at(2, 0), at(1, 1000), TcpConfig::default()).expect("connect");
    pair.settle();
    assert!(pair.b.saw(Event::Connected(third)) && pair.a.accepted().is_some());
}

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# Every passive OPEN call either creates a new connection record in
//# LISTEN state, or it returns an error; it MUST NOT affect any
//# previously created connection record (MUST-41).
#[test]
fn a_second_listener_on_a_port_is_an_error_and_changes_nothing() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    let half_open = pair.connect(at(1, 0), at(2, 80));
    pair.exchange(|_, _| true);
    assert_eq!(pair.b.endpoint.half_opens(), 1);
    let second = pair.b.endpoint.listen(at(2, 80), TcpConfig::default());
    assert_eq!(second, Err(ListenError::InUse(at(2, 80))));
    pair.b.listen(SocketAddr::new(Addr::v4([0; 4]), 80));
    pair.settle();
    assert!(pair.a.saw(Event::Connected(half_open)));
    let b = pair.b.accepted().expect("accepted");
    exchange_and_close(&mut pair, half_open, b);
}

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# If an application on a multihomed host does not specify the local IP
//# address when actively opening a TCP connection, then the TCP
//# implementation MUST ask the IP layer to select a local IP address
//# before sending the (first) SYN (MUST-44).
#[test]
fn the_route_chooses_the_local_address() {
    let other = Addr::v4([192, 168, 7, 1]);
    let addresses = vec![Cidr { addr: addr(1), prefix_len: 24 }, Cidr { addr: other, prefix_len: 16 }];
    let gateway = Addr::v4([192, 168, 0, 254]);
    let mut bench = Bench::new(EndpointConfig { addresses, gateways: vec![gateway], ..config(1) });
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    let from = |bench: &mut Bench, remote: [u8; 4]| {
        let remote = SocketAddr::new(Addr::v4(remote), 80);
        let id = bench.host.endpoint.connect(bench.now, any, remote, TcpConfig::default())?;
        Ok(bench.host.endpoint.flow(id).expect("it is there").local.addr)
    };
    assert_eq!(from(&mut bench, [10, 0, 0, 2]), Ok(addr(1)));
    assert_eq!(from(&mut bench, [192, 168, 3, 3]), Ok(other));
    assert_eq!(from(&mut bench, [203, 0, 113, 5]), Ok(other), "the address on the gateway's link");
    for wrong in [[10, 0, 0, 255], [192, 168, 255, 255], [255; 4], [224, 0, 0, 1], [0; 4]] {
        let bad = SocketAddr::new(Addr::v4(wrong), 80);
        assert_eq!(from(&mut bench, wrong), Err(ConnectError::BadRemote(bad)));
    }
    let foreign = bench.host.endpoint.connect(bench.now, at(7, 0), at(2, 80), TcpConfig::default());
    assert_eq!(foreign, Err(ConnectError::NotOurs(addr(7))));
    let any_of_six = SocketAddr::new(Addr::v6([0; 16]), 0);
    let mixed = bench.host.endpoint.connect(bench.now, any_of_six, at(2, 80), TcpConfig::default());
    assert_eq!(mixed, Err(ConnectError::BadRemote(at(2, 80))), "one family");
}

#[test]
fn half_open_connections_end_with_their_listener() {
    let mut bench = Bench::new(config(1));
    let listener = bench.host.listen(at(1, 80));
    bench.host.listen(at(1, 81));
    let ours = bench.receive(at(2, 5000), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0))[0].seq;
    bench.receive(at(2, 5000), at(1, 81), segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.endpoint.unlisten(listener);
    assert_eq!(bench.host.endpoint.half_opens(), 1, "that of the other listener stays");
    let answer = bench.receive(at(2, 5000), at(1, 80), segment(Seq(101), ours + 1, Flags::ACK, 0));
    assert_eq!((answer[0].flags, answer[0].seq), (Flags::RST, ours + 1));
    let answer = bench.receive(at(2, 5001), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0));
    assert_eq!(answer[0].flags, RST_ACK);
}

#[test]
fn what_was_written_before_a_small_mss_was_known_leaves_frames_for_acks_and_gets_through() {
    const PORTS: std::ops::RangeInclusive<u16> = 1..=12;
    let mut bench = Bench::new(config(1));
    let conns: Vec<_> = PORTS
        .map(|port| {
            let remote = at(2, port);
            let id = bench.host.endpoint.connect(bench.now, at(1, 0), remote, TcpConfig::default()).expect("connect");
            bench.host.write(id, &[7; 10_000]);
            id
        })
        .collect();
    let options = Options { mss: Some(100), ..Options::NONE };
    let mut sent = bench.packets();
    for syn in &sent {
        let answer = segment(Seq(1000), syn.segment.seq + 1, Flags::SYN | Flags::ACK, 0);
        bench.host.receive(bench.now, &frame(syn.dst, syn.src, &Segment { options, ..answer }));
    }
    // Every peer says something before it acknowledges anything.
    let syns = std::mem::replace(&mut sent, bench.packets());
    for (syn, id) in syns.iter().zip(&conns) {
        let said = segment(Seq(1001), syn.segment.seq + 1, Flags::ACK, 10);
        let answer = bench.receive(syn.dst, syn.src, said);
        assert!(answer.iter().any(|s| s.ack == Seq(1011)), "port {}: {answer:?}", syn.dst.port);
        bench.host.read(*id);
    }
    for _ in 0..10_000 {
        for packet in sent.iter().filter(|packet| packet.segment.len > 0) {
            let ack = segment(Seq(1011), packet.segment.end(), Flags::ACK, 0);
            bench.host.receive(bench.now, &frame(packet.dst, packet.src, &ack));
        }
        bench.wait_quietly(Duration::from_millis(1));
        sent = bench.packets();
        if sent.is_empty() {
            break;
        }
    }
    for id in conns {
        let info = bench.host.endpoint.info(id).expect("it is open");
        assert_eq!((info.unsent, info.in_flight), (0, 0));
    }
}
