//! TIME-WAIT: what it answers, how long it lasts, and who may follow; and the quiet time after a start.

use crate::hosts::{Bench, Pair, at, config, segment};
use corelane_proto::endpoint::{ConnectError, EndpointConfig, Event};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::{Instant, SocketAddr};
use std::time::Duration;

const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const PEER: SocketAddr = at(2, 6000);
const OURS: SocketAddr = at(1, 80);

fn stamped(segment: Segment, value: Option<u32>) -> Segment {
    let timestamps = value.map(|value| Timestamps { value, echo: 0 });
    Segment { options: Options { timestamps, ..Options::NONE }, ..segment }
}

/// A host with a connection in TIME-WAIT, which the peer began with number 100 and ended at 101. Gives our next number.
fn waiting(timestamps: Option<u32>) -> (Bench, Seq) {
    let mut bench = Bench::new(config(1));
    bench.host.listen(OURS);
    let syn_ack = bench.receive(PEER, OURS, stamped(segment(Seq(100), Seq(0), Flags::SYN, 0), timestamps))[0];
    bench.receive(PEER, OURS, stamped(segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 0), timestamps));
    let conn = bench.host.accepted().expect("accepted");
    bench.host.endpoint.close(conn);
    let fin = bench.sent()[0];
    assert_eq!(fin.flags, FIN_ACK);
    let last = bench.receive(PEER, OURS, stamped(segment(Seq(101), fin.seq + 1, FIN_ACK, 0), timestamps))[0];
    assert_eq!((last.flags, last.ack), (Flags::ACK, Seq(102)));
    assert_eq!((bench.host.endpoint.time_waits(), bench.host.endpoint.connections()), (1, 0));
    (bench, fin.seq + 1)
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL (Maximum Segment
//# Lifetime) (MUST-13).
#[test]
fn it_lasts_two_msl_and_a_repeated_fin_begins_it_anew() {
    let (mut bench, ours) = waiting(None);
    bench.wait(Duration::from_secs(59));
    let answer = bench.receive(PEER, OURS, segment(Seq(101), ours, FIN_ACK, 0));
    assert_eq!(answer.iter().map(|s| (s.flags, s.seq, s.ack)).collect::<Vec<_>>(), [(Flags::ACK, ours, Seq(102))]);
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    bench.wait(Duration::from_millis(1100));
    assert_eq!(bench.host.endpoint.time_waits(), 0);
    let answer = bench.receive(PEER, OURS, segment(Seq(101), ours, FIN_ACK, 0));
    assert_eq!(answer[0].flags, Flags::RST, "it is CLOSED");
}

//= spec/rfc1337.txt#section-3
//= type=test
//# If the 2 minute MSL is enforced, this fix avoids all three hazards.
#[test]
fn old_segments_do_not_assassinate_it() {
    let (mut bench, ours) = waiting(None);
    // H1: old data. It is answered, and that answer brings an RST from a peer that has closed.
    let answer = bench.receive(PEER, OURS, segment(Seq(101), ours, Flags::ACK, 50));
    assert_eq!(answer.iter().map(|s| (s.flags, s.seq, s.ack)).collect::<Vec<_>>(), [(Flags::ACK, ours, Seq(102))]);
    // H2: an old ACK, of something that was never sent.
    let answer = bench.receive(PEER, OURS, segment(Seq(90), ours + 5000, Flags::ACK, 0));
    assert_eq!(answer.iter().map(|s| (s.flags, s.seq, s.ack)).collect::<Vec<_>>(), [(Flags::ACK, ours, Seq(102))]);
    // H3: the RST.
    assert_eq!(bench.receive(PEER, OURS, segment(Seq(102), Seq(0), Flags::RST, 0)), []);
    assert_eq!(bench.receive(PEER, OURS, segment(Seq(102), ours, Flags(Flags::RST.0 | Flags::ACK.0), 0)), []);
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    bench.wait(Duration::from_secs(59));
    assert_eq!(bench.host.endpoint.time_waits(), 1, "none of them has shortened it");
    bench.wait(Duration::from_millis(1100));
    assert_eq!(bench.host.endpoint.time_waits(), 0, "nor made it longer");
}

//= spec/rfc6191.txt#section-2
//= type=test
//# If TCP Timestamps would not be enabled for the new incarnation of the connection, but the Sequence Number of the
//# incoming SYN segment is greater than the last sequence number seen on the previous incarnation of the connection (for
//# the same direction of the data transfer), honor the incoming connection request (creating a connection in the
//# SYN-RECEIVED state).
//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# However, it MAY accept a new SYN from the remote TCP endpoint to reopen the connection directly from TIME-WAIT state
//# (MAY-2), if it: (1) assigns its initial sequence number for the new connection to be larger than the largest sequence
//# number it used on the previous connection incarnation
#[test]
fn a_newer_syn_reopens_it_by_sequence_number_or_timestamp() {
    // (timestamps of the old connection, number and timestamp of the SYN, whether it opens)
    let cases = [
        (None, 5000, None, true),
        (None, 102, None, true),
        (None, 101, None, false),
        (None, 1, None, false),
        (None, 1, Some(1), true),
        (Some(700), 1, Some(701), true),
        (Some(700), 5000, Some(699), false),
        (Some(700), 5000, Some(700), true),
        (Some(700), 1, Some(700), false),
        (Some(700), 5000, None, true),
        (Some(700), 1, None, false),
    ];
    for (old, seq, new, opens) in cases {
        let (mut bench, ours) = waiting(old);
        let answer = bench.receive(PEER, OURS, stamped(segment(Seq(seq), Seq(0), Flags::SYN, 0), new))[0];
        if opens {
            assert_eq!((answer.flags, answer.ack), (SYN_ACK, Seq(seq) + 1), "{old:?} {seq} {new:?}");
            assert!(answer.seq.after(ours), "ours begins behind what it ended with");
            let ack = stamped(segment(Seq(seq) + 1, answer.seq + 1, Flags::ACK, 0), new.map(|value| value + 1));
            bench.receive(PEER, OURS, ack);
            assert!(bench.host.accepted().is_some());
            assert_eq!(bench.host.endpoint.time_waits(), 0);
        } else {
            assert_eq!((answer.flags, answer.seq, answer.ack), (Flags::ACK, ours, Seq(102)), "{old:?} {seq} {new:?}");
            assert_eq!((bench.host.endpoint.time_waits(), bench.host.endpoint.half_opens()), (1, 0));
        }
    }
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# (2) returns to TIME-WAIT state if the SYN turns out to be an old duplicate.
#[test]
fn an_old_duplicate_of_a_syn_leaves_it_in_time_wait() {
    let (mut bench, ours) = waiting(None);
    let syn_ack = bench.receive(PEER, OURS, segment(Seq(5000), Seq(0), Flags::SYN, 0))[0];
    assert_eq!(syn_ack.flags, SYN_ACK);
    // The peer never sent it: it resets.
    bench.receive(PEER, OURS, segment(Seq(5001), Seq(0), Flags::RST, 0));
    assert_eq!((bench.host.endpoint.half_opens(), bench.host.endpoint.time_waits()), (0, 1));
    let answer = bench.receive(PEER, OURS, segment(Seq(101), ours, FIN_ACK, 0))[0];
    assert_eq!((answer.flags, answer.seq, answer.ack), (Flags::ACK, ours, Seq(102)));
}

#[test]
fn a_syn_without_a_listener_leaves_it_in_time_wait() {
    let mut bench = Bench::new(config(1));
    let conn = bench.host.endpoint.connect(bench.now, OURS, PEER, TcpConfig::default()).expect("connect");
    let ours = bench.sent()[0].seq + 1;
    bench.receive(PEER, OURS, segment(Seq(100), ours, SYN_ACK, 0));
    bench.host.endpoint.close(conn);
    bench.sent();
    bench.receive(PEER, OURS, segment(Seq(101), ours + 1, FIN_ACK, 0));
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    let answer = bench.receive(PEER, OURS, segment(Seq(9000), Seq(0), Flags::SYN, 0))[0];
    assert_eq!((answer.flags, answer.ack), (Flags::ACK, Seq(102)));
    assert_eq!(bench.host.endpoint.time_waits(), 1);
}

#[test]
fn the_last_ack_waits_for_a_frame_before_time_wait_begins() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(OURS);
    let syn_ack = bench.receive(PEER, OURS, segment(Seq(100), Seq(0), Flags::SYN, 0))[0];
    bench.receive(PEER, OURS, segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 0));
    let conn = bench.host.accepted().expect("accepted");
    bench.host.endpoint.close(conn);
    let fin = bench.sent()[0];
    let frame = crate::hosts::frame(PEER, OURS, &segment(Seq(101), fin.seq + 1, FIN_ACK, 0));
    bench.host.receive(bench.now, &frame);
    let held = bench.host.take_all_frames();
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.wait(Duration::from_secs(59)), []);
    assert_eq!((bench.host.endpoint.connections(), bench.host.endpoint.time_waits()), (1, 0));
    bench.host.give_back(held);
    let sent = bench.wait(Duration::from_millis(10));
    assert_eq!(sent.iter().map(|s| (s.flags, s.ack)).collect::<Vec<_>>(), [(Flags::ACK, Seq(102))]);
    assert_eq!((bench.host.endpoint.connections(), bench.host.endpoint.time_waits()), (0, 1));
}

//= spec/rfc9293.txt#section-3.4.3
//= type=test
//# Hosts that for any reason lose knowledge of the last sequence numbers transmitted on each active (i.e., not closed)
//# connection shall delay emitting any TCP segments for at least the agreed MSL in the internet system that the host is a
//# part of.
#[test]
fn nothing_is_sent_in_the_quiet_time_after_a_start() {
    let quiet_time = Duration::from_secs(30);
    let mut bench = Bench::new(EndpointConfig { quiet_time, ..config(1) });
    bench.host.listen(OURS);
    let start = bench.now;
    for second in [0, 10, 29] {
        bench.now = start + Duration::from_secs(second);
        assert_eq!(bench.receive(PEER, OURS, segment(Seq(100), Seq(0), Flags::SYN, 0)), []);
        assert_eq!(bench.receive(PEER, at(1, 9), segment(Seq(100), Seq(7), Flags::ACK, 5)), [], "not even an RST");
        let refused = bench.host.endpoint.connect(bench.now, at(1, 0), at(2, 80), TcpConfig::default());
        assert_eq!(refused, Err(ConnectError::QuietTime(quiet_time - Duration::from_secs(second))));
    }
    assert_eq!(bench.host.endpoint.counters().dropped_quiet_time, 6);
    bench.now = start + quiet_time;
    assert_eq!(bench.receive(PEER, OURS, segment(Seq(100), Seq(0), Flags::SYN, 0))[0].flags, SYN_ACK);
    bench.host.endpoint.connect(bench.now, at(1, 0), at(2, 80), TcpConfig::default()).expect("connect");
    assert_eq!(bench.sent()[0].flags, Flags::SYN);
}

#[test]
fn a_peer_that_keeps_quiet_is_reached_as_soon_as_it_speaks() {
    let mut pair = Pair::with(config(1), EndpointConfig { quiet_time: Duration::from_secs(10), ..config(2) });
    pair.b.listen(at(2, 80));
    let a = pair.connect(at(1, 0), at(2, 80));
    pair.wait(Duration::from_secs(9));
    assert!(!pair.a.saw(Event::Connected(a)) && pair.a.endpoint.info(a).is_some());
    pair.wait(Duration::from_secs(8));
    assert!(pair.a.saw(Event::Connected(a)));
    assert!(pair.now >= Instant::from_millis(11_000));
}
