//! Data in the SYN (RFC 7413), between two endpoints and against a scripted peer.

use crate::hosts::{Bench, Pair, at, config, frame, segment};
use corelane_proto::endpoint::{ConnId, EndpointConfig, Event};
use corelane_proto::tcp::config::{Ecn, TcpConfig};
use corelane_proto::tcp::info::EcnMode;
use corelane_proto::tcp::segment::{Codepoint, FastOpen, Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use std::time::Duration;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

fn fast() -> TcpConfig {
    TcpConfig { fast_open: true, ..TcpConfig::default() }
}

/// Two hosts, of which the second listens with Fast Open.
fn pair() -> Pair {
    let mut pair = Pair::new();
    pair.b.endpoint.listen(at(2, 80), fast()).expect("listen");
    pair
}

/// The first opens a connection with Fast Open and hands over `bytes` before anything is sent.
fn open(pair: &mut Pair, bytes: &[u8]) -> ConnId {
    let id = pair.a.endpoint.connect(pair.now, at(1, 0), at(2, 80), fast()).expect("connect");
    pair.a.write(id, bytes);
    id
}

/// The SYNs of either side since the trace was cleared: who, how many bytes, and what Fast Open option.
fn syns(pair: &Pair) -> Vec<(u8, u16, Option<usize>)> {
    let syns = pair.trace.iter().filter(|(_, segment)| segment.flags.has(Flags::SYN));
    syns.map(|(n, s)| (*n, s.len, s.options.fast_open.map(|fast_open| fast_open.bytes().len()))).collect()
}

//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# 4. Buffer the data and notify the application.
//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# If the FastOpened flag is set, the server MUST follow [RFC5681] (based on [RFC3390]) to set the initial congestion window
//# for sending more data packets.
//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# The client SHOULD perform the following steps upon receiving the SYN- ACK:
#[test]
fn the_second_connection_has_its_request_in_the_syn_and_its_answer_before_the_ack() {
    let mut pair = pair();
    let first = open(&mut pair, b"first");
    pair.settle();
    assert_eq!(syns(&pair), [(1, 0, Some(0)), (2, 0, Some(8))], "a request, and the cookie");
    let b = pair.b.accepted().expect("accepted");
    assert_eq!(pair.b.read(b), b"first");
    assert!(pair.a.saw(Event::Connected(first)));

    pair.trace.clear();
    let second = open(&mut pair, b"second");
    assert!(pair.exchange(|_, _| true));
    // One crossing, and the server has it all.
    let b = pair.b.accepted().expect("accepted by the SYN");
    assert_eq!(pair.b.read(b), b"second");
    let info = pair.b.endpoint.info(b).expect("it is there");
    assert_eq!(info.cwnd, 10 * u32::from(info.mss), "the initial window of any connection");
    pair.b.write(b, b"answer");
    assert!(pair.exchange(|_, _| true));
    assert_eq!(pair.a.read(second), b"answer", "behind the SYN-ACK, without waiting for its ACK");
    pair.settle();
    assert_eq!(syns(&pair), [(1, 6, Some(8)), (2, 0, None)]);
    assert!(pair.a.saw(Event::Connected(second)) && !pair.b.saw(Event::Connected(b)));
    let (a, b_counters) = (pair.a.endpoint.counters(), pair.b.endpoint.counters());
    assert_eq!((a.fast_open_sent, b_counters.fast_open_accepted, a.retransmits), (1, 1, 0));
    pair.a.write(second, b"more");
    pair.settle();
    assert_eq!(pair.b.read(b), b"more");
    pair.a.endpoint.close(second);
    pair.settle();
    pair.b.endpoint.close(b);
    pair.settle();
}

//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# when the SYN timer fires, the client SHOULD retransmit a SYN packet without data and Fast Open options.
//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# The client SHOULD retransmit any unacknowledged data in the first ACK packet in step 2.
#[test]
fn whatever_segment_is_lost_the_bytes_arrive_once() {
    for lost in 1..=5 {
        let mut pair = pair();
        open(&mut pair, b"first");
        pair.settle();
        let b = pair.b.accepted().expect("accepted");
        pair.b.read(b);
        pair.trace.clear();
        let second = open(&mut pair, &[7; 3000]);
        let mut seen = 0;
        while pair.exchange(|_, _| {
            seen += 1;
            seen != lost
        }) {}
        pair.wait(Duration::from_secs(10));
        let b = pair.b.accepted().expect("accepted");
        assert_eq!(pair.b.read(b), [7; 3000], "without segment {lost}");
        assert!(pair.a.saw(Event::Connected(second)));
        assert_eq!((pair.a.state(second), pair.b.state(b)), (State::Established, State::Established));
        let ours: Vec<_> = syns(&pair).into_iter().filter(|syn| syn.0 == 1).collect();
        assert!(ours[1..].iter().all(|syn| *syn == (1, 0, None)), "{ours:?}");
        if lost == 1 {
            // The server, or somebody before it, may have refused the SYN: for a while it is not tried again.
            pair.trace.clear();
            open(&mut pair, b"third");
            pair.settle();
            assert_eq!(syns(&pair)[0], (1, 0, None));
        }
    }
}

#[test]
fn a_cookie_that_is_too_old_gets_a_new_one_and_its_data_a_second_way() {
    let mut pair = pair();
    open(&mut pair, b"first");
    pair.settle();
    pair.b.endpoint.change_secret([8; 32]);
    pair.b.endpoint.change_secret([9; 32]);
    pair.b.accepted();
    pair.trace.clear();
    open(&mut pair, b"second");
    pair.settle();
    assert_eq!(syns(&pair), [(1, 6, Some(8)), (2, 0, Some(8))]);
    let b = pair.b.accepted().expect("accepted");
    assert_eq!(pair.b.read(b), b"second");
    assert_eq!(pair.b.endpoint.counters().fast_open_bad, 1);
    pair.trace.clear();
    open(&mut pair, b"third");
    pair.settle();
    assert_eq!(syns(&pair), [(1, 5, Some(8)), (2, 0, None)], "the new one is good");
}

//= spec/rfc7413.txt#section-4.2
//= type=test
//# If this variable goes over a preset system limit, the server MUST disable TFO for all new connection requests
//# until PendingFastOpenRequests drops below the system limit.
//= spec/rfc7413.txt#section-4.2.2
//= type=test
//# If the SYN-ACK timer fires, the server SHOULD retransmit a SYN-ACK segment with neither data nor Fast Open options for
//# compatibility reasons.
#[test]
fn no_more_connections_than_allowed_are_open_before_their_handshake() {
    let mut bench = Bench::new(EndpointConfig { fast_open_pending: 2, ..config(1) });
    bench.host.endpoint.listen(at(1, 80), fast()).expect("listen");
    let syn = |fast_open| {
        let options = Options { mss: Some(1460), fast_open, ..Options::NONE };
        Segment { options, ..segment(Seq(100), Seq(0), Flags::SYN, 4) }
    };
    let given = bench.receive(at(2, 1), at(1, 80), syn(Some(FastOpen::REQUEST)))[0];
    assert_eq!((given.flags, given.ack), (SYN_ACK, Seq(101)), "nothing of the data without a cookie");
    let cookie = given.options.fast_open;
    let acks: Vec<_> = (2..6).map(|port| bench.receive(at(2, port), at(1, 80), syn(cookie))[0]).collect();
    assert_eq!(acks.iter().map(|s| s.ack).collect::<Vec<_>>(), [Seq(105), Seq(105), Seq(101), Seq(101)]);
    assert_eq!(bench.host.endpoint.counters().fast_open_limited, 2);
    // One comes through, and one is reset by its peer: there is room for two again.
    bench.receive(at(2, 2), at(1, 80), segment(Seq(105), acks[0].seq + 1, Flags::ACK, 0));
    bench.receive(at(2, 3), at(1, 80), segment(Seq(105), Seq(0), Flags::RST, 0));
    let next: Vec<_> = (6..9).map(|port| bench.receive(at(2, port), at(1, 80), syn(cookie))[0].ack).collect();
    assert_eq!(next, [Seq(105), Seq(105), Seq(101)]);
    // The SYN-ACK goes again until it is answered.
    let again = bench.wait(Duration::from_millis(1100));
    assert!(again.iter().filter(|s| s.flags == SYN_ACK && s.ack == Seq(105)).count() >= 2, "{again:?}");
    assert!(again.iter().all(|s| s.len == 0 && s.options.fast_open.is_none()), "{again:?}");
    // Somebody else's cookie is worth nothing.
    let theirs = bench.receive(at(3, 2), at(1, 80), syn(cookie))[0];
    assert_eq!(theirs.ack, Seq(101));
    assert!(theirs.options.fast_open.is_some_and(|own| Some(own) != cookie));
}

/// Accurate ECN beside Fast Open: the SYN's data says nothing of ECN, the answer that overtakes the handshake does, and the
/// ACK that ends the handshake is not taken for a counter.
#[test]
fn ecn_is_agreed_on_by_the_same_syns() {
    let mut pair = pair();
    let config = TcpConfig { ecn: Ecn::Accurate, ..fast() };
    let connect = |pair: &mut Pair, bytes: &[u8]| {
        let id = pair.a.endpoint.connect(pair.now, at(1, 0), at(2, 80), config).expect("connect");
        pair.a.write(id, bytes);
        id
    };
    connect(&mut pair, b"first");
    pair.settle();
    assert!(pair.b.accepted().is_some());
    pair.trace.clear();
    let a = connect(&mut pair, b"second");
    assert!(pair.exchange(|_, _| true));
    let b = pair.b.accepted().expect("accepted by the SYN");
    pair.b.write(b, b"answer");
    pair.settle();
    assert_eq!(pair.a.read(a), b"answer");
    pair.a.write(a, b"more");
    pair.settle();
    let data = pair.trace.iter().filter(|(_, s)| s.len > 0).map(|(n, s)| (*n, s.len, s.ecn));
    let expected = [(1, 6, Codepoint::NotEct), (2, 6, Codepoint::Ect0), (1, 4, Codepoint::Ect0)];
    assert_eq!(data.collect::<Vec<_>>(), expected);
    for info in [pair.a.endpoint.info(a), pair.b.endpoint.info(b)] {
        let info = info.expect("it is there");
        assert_eq!((info.ecn, info.marked_bytes, info.marked_segments_in), (EcnMode::Accurate, 0, 0));
        assert!(info.ssthresh == u32::MAX, "no congestion");
    }
}

/// A scripted peer's first connection, which gave it the cookie, and what it has said; the SYN with that cookie opens.
fn bench_with_cookie() -> (Bench, Segment) {
    let mut bench = Bench::new(config(1));
    bench.host.endpoint.listen(at(1, 80), fast()).expect("listen");
    let syn = |fast_open| {
        let options = Options { mss: Some(1460), fast_open, ..Options::NONE };
        Segment { options, ..segment(Seq(100), Seq(0), Flags::SYN, 4) }
    };
    let given = bench.receive(at(2, 1), at(1, 80), syn(Some(FastOpen::REQUEST)))[0].options.fast_open;
    assert!(given.is_some());
    (bench, syn(given))
}

#[test]
fn nothing_goes_ahead_of_the_syn_ack_when_an_old_ack_comes_with_the_syn() {
    let (mut bench, syn) = bench_with_cookie();
    let old_ack = segment(Seq(105), Seq(7), Flags::ACK, 0);
    for segment in [syn, old_ack] {
        bench.host.receive(bench.now, &frame(at(2, 2), at(1, 80), &segment));
    }
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|s| s.flags).collect::<Vec<_>>(), [SYN_ACK], "{sent:?}");
    // Once it is out, the old ACK is told where we are.
    let answers = bench.receive(at(2, 2), at(1, 80), old_ack);
    assert_eq!(answers.iter().map(|s| (s.flags, s.ack)).collect::<Vec<_>>(), [(Flags::ACK, Seq(105))]);
}

#[test]
fn nothing_goes_ahead_of_the_syn_ack_for_want_of_frames() {
    let (mut bench, syn) = bench_with_cookie();
    bench.host.receive(bench.now, &frame(at(2, 2), at(1, 80), &syn));
    let conn = bench.host.accepted().expect("accepted by the SYN");
    bench.host.write(conn, b"answer");
    let taken = bench.host.take_all_frames();
    assert_eq!(bench.sent(), [], "the SYN-ACK has no frame, and the answer has one");
    bench.host.give_back(taken);
    let sent = bench.wait(Duration::from_millis(1));
    assert_eq!(sent.iter().map(|s| (s.flags.has(Flags::SYN), s.len)).collect::<Vec<_>>(), [(true, 0), (false, 6)]);
}

//= spec/rfc7413.txt#section-2
//= type=test
//# Therefore, TCP implementations MUST NOT use TFO by default, but only use TFO if requested explicitly by the application
//# on a per-service- port basis.
//= spec/rfc7413.txt#section-4.2
//= type=test
//# It MUST be turned on explicitly by the application.
//= spec/rfc7413.txt#section-4.2
//= type=test
//# When this flag is off, the server does not perform any TFO-related operations and MUST ignore all cookie options.
#[test]
fn without_the_setting_there_is_no_fast_open_on_either_side() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    open(&mut pair, b"bytes");
    pair.settle();
    assert_eq!(syns(&pair), [(1, 0, Some(0)), (2, 0, None)], "asked for and not given");
    pair.trace.clear();
    pair.connect(at(1, 0), at(2, 80));
    pair.settle();
    assert_eq!(syns(&pair), [(1, 0, None), (2, 0, None)]);
}
