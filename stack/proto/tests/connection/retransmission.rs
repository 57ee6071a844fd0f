//! When segments go again: RFC 6298.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::Instant;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::congestion::Algorithm;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Time passes until something is sent; gives when, counted from `since`, and what.
fn next_sent(bench: &mut Bench, since: Instant) -> (Duration, Segment) {
    for _ in 0..1000 {
        let at = bench.endpoint.poll_deadline().expect("a timer runs");
        if let Some(sent) = bench.wait_until(at).first() {
            return (bench.now.saturating_since(since), *sent);
        }
    }
    panic!("nothing is sent");
}

/// The wheel may be a tick late, never early.
#[track_caller]
fn at(time: Duration, expected: Duration) {
    assert!(time >= expected && time <= expected + 2 * MS, "{time:?} and not {expected:?}");
}

fn ack(bench: &mut Bench, ack: Seq) -> Vec<Segment> {
    bench.receive(segment(IRS + 1, ack, Flags::ACK, 0))
}

//= spec/rfc6298.txt#section-2
//= type=test
//# (2.1) Until a round-trip time (RTT) measurement has been made for a segment sent between the sender and receiver, the
//# sender SHOULD set RTO <- 1 second, though the "backing off" on repeated retransmission discussed in (5.5) still
//# applies.
//= spec/rfc1122.txt#section-4.2.3.1
//= type=test
//# Retransmission of SYN segments SHOULD use the same algorithm as data segments.
#[test]
fn the_first_time_out_is_a_second_and_each_next_twice_as_long() {
    let mut bench = Bench::new(TcpConfig::default());
    let begin = bench.now;
    bench.connect(TcpConfig::default());
    for expected in [1, 3, 7, 15] {
        let (time, syn) = next_sent(&mut bench, begin);
        assert_eq!(syn.flags, Flags::SYN);
        at(time, expected * SECOND);
    }
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open();
    let begin = bench.now;
    bench.send(conn, b"data");
    at(next_sent(&mut bench, begin).0, SECOND);
    at(next_sent(&mut bench, begin).0, 3 * SECOND);
}

//= spec/rfc6298.txt#section-5
//= type=test
//# (5.7) If the timer expires awaiting the ACK of a SYN segment and the TCP implementation is using an RTO less than 3
//# seconds, the RTO MUST be re-initialized to 3 seconds when data transmission begins (i.e., after the three-way
//# handshake completes).
#[test]
fn after_a_lost_syn_data_waits_three_seconds() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, syn) = bench.connect(TcpConfig::default());
    bench.wait(SECOND + MS);
    let ours = syn.seq + 1;
    bench.receive(segment(IRS, ours, Flags::SYN | Flags::ACK, 0));
    let begin = bench.now;
    bench.send(conn, b"data");
    at(next_sent(&mut bench, begin).0, 3 * SECOND);
    // A sample says better.
    ack(&mut bench, ours + 4);
    bench.send(conn, b"data");
    bench.wait(100 * MS);
    ack(&mut bench, ours + 8);
    assert_eq!(bench.endpoint.info(conn).expect("open").rto, 300 * MS);
}

//= spec/rfc6298.txt#section-2
//= type=test
//# After the computation, a host MUST update RTO <- SRTT + max (G, K*RTTVAR)
//= spec/rfc6298.txt#section-3
//= type=test
//# A TCP implementation MUST take at least one RTT measurement per RTT (unless that is not possible per Karn's
//# algorithm).
#[test]
fn every_round_trip_is_measured_and_moves_the_time_out() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    // (round trip, SRTT, RTO) in microseconds
    let rounds = [(100_000, 100_000, 300_000), (180_000, 110_000, 340_000), (110_000, 110_000, 282_500)];
    for ((round_trip, srtt, rto), n) in rounds.into_iter().zip(0..) {
        bench.send(conn, b"0123456789");
        bench.wait(Duration::from_micros(round_trip));
        ack(&mut bench, ours + 10 * (n + 1));
        let info = bench.endpoint.info(conn).expect("open");
        assert_eq!((info.srtt, info.rto), (Some(Duration::from_micros(srtt)), Duration::from_micros(rto)));
    }
}

//= spec/rfc6298.txt#section-5
//= type=test
//# The following is the RECOMMENDED algorithm for managing the retransmission timer:
//= spec/rfc6298.txt#section-5
//= type=test
//# (5.1) Every time a packet containing data is sent (including a retransmission), if the timer is not running, start
//# it running so that it will expire after RTO seconds (for the current value of RTO).
//= spec/rfc6298.txt#section-5
//= type=test
//# (5.2) When all outstanding data has been acknowledged, turn off the retransmission timer.
//= spec/rfc6298.txt#section-5
//= type=test
//# (5.3) When an ACK is received that acknowledges new data, restart the retransmission timer so that it will expire
//# after RTO seconds (for the current value of RTO).
//= spec/rfc6298.txt#section-5
//= type=test
//# (5.4) Retransmit the earliest segment that has not been acknowledged by the TCP receiver.
//= spec/rfc6298.txt#section-5
//= type=test
//# (5.6) Start the retransmission timer, such that it expires after RTO seconds (for the value of RTO after the doubling
//# operation outlined in 5.5).
#[test]
fn one_timer_runs_from_the_oldest_segment_or_the_last_progress() {
    let rto = SECOND;
    let config = TcpConfig { rto_min: rto, ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let (conn, ours) = bench.open();
    let begin = bench.now;
    bench.send(conn, b"first");
    bench.wait(400 * MS);
    bench.send(conn, b"second");
    let (time, again) = next_sent(&mut bench, begin);
    at(time, rto);
    assert_eq!(again.seq, ours);
    let begin = bench.now;
    let (time, again) = next_sent(&mut bench, begin);
    at(time, 2 * rto);
    assert_eq!(again.seq, ours);
    ack(&mut bench, ours + 11);
    assert_eq!(bench.endpoint.poll_deadline(), None, "nothing is out, so no timer runs");
    bench.send(conn, b"third");
    bench.send(conn, b"fourth");
    bench.wait(500 * MS);
    ack(&mut bench, ours + 16);
    let begin = bench.now;
    let (time, again) = next_sent(&mut bench, begin);
    assert_eq!(again.seq, ours + 16);
    assert!(time >= rto, "{time:?} after the ACK");
}

//= spec/rfc6298.txt#section-5
//= type=test
//# An implementation MUST manage the retransmission timer(s) in such a way that a segment is never retransmitted too
//# early, i.e., less than one RTO after the previous transmission of that segment.
#[test]
fn the_timer_begins_anew_when_its_segment_goes_again_fast() {
    let config = TcpConfig { rto_min: SECOND, ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let (conn, ours) = bench.open();
    for _ in 0..5 {
        bench.send(conn, &[b'y'; 536]);
    }
    bench.wait(990 * MS);
    let fast: Vec<_> = (0..3).flat_map(|_| ack(&mut bench, ours)).filter(|s| s.seq == ours).collect();
    assert_eq!(fast.len(), 1, "the third duplicate sends the first segment again");
    let begin = bench.now;
    let (time, again) = next_sent(&mut bench, begin);
    assert_eq!(again.seq, ours);
    at(time, SECOND);
}

//= spec/rfc3465.txt#section-2.3
//= type=test
//# In this situation, a TCP MUST use L=1*SMSS as specified in RFC 2581 since ACKs for large amounts of previously
//# unacknowledged data are common during this phase of a transfer.
#[test]
fn after_a_time_out_an_ack_for_many_segments_adds_one() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    for _ in 0..8 {
        bench.send(conn, &[b'y'; 536]);
    }
    assert_eq!(bench.wait(SECOND + 2 * MS).len(), 1);
    let cwnd = |bench: &Bench| bench.endpoint.info(conn).expect("open").cwnd;
    assert_eq!(cwnd(&bench), 536);
    // Only the first was lost.
    ack(&mut bench, ours + 5 * 536);
    assert_eq!(cwnd(&bench), 2 * 536);
}

//= spec/rfc5681.txt#section-3.1
//= type=test
//# if the SYN or SYN/ACK is lost, the initial window used by a sender after a correctly transmitted SYN MUST be one
//# segment consisting of at most SMSS bytes.
#[test]
fn after_a_lost_syn_one_segment_goes() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, syn) = bench.connect(TcpConfig::default());
    bench.wait(SECOND + MS);
    bench.receive(segment(IRS, syn.seq + 1, Flags::SYN | Flags::ACK, 0));
    let info = bench.endpoint.info(conn).expect("open");
    assert_eq!(info.cwnd, u32::from(info.mss));
    assert_eq!(bench.send(conn, &[b'y'; 5000]).iter().filter(|s| s.len > 0).count(), 1);
}

//= spec/rfc5681.txt#section-3.2
//= type=test
//# When [RFC3042] is in use, additional data sent in limited transmit MUST NOT be included in this calculation.
#[test]
fn what_limited_transmit_adds_is_not_half_of_the_flight() {
    let mut bench = Bench::new(TcpConfig { congestion: Algorithm::NewReno, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    let sent = bench.send(conn, &[b'y'; 20 * 536]);
    assert_eq!(sent.len(), 10, "the initial window");
    for _ in 0..2 {
        assert_eq!(ack(&mut bench, ours).len(), 1, "each of the first two duplicates lets a new one go");
    }
    assert_eq!(bench.endpoint.info(conn).expect("open").unacked, 12 * 536);
    ack(&mut bench, ours);
    assert_eq!(bench.endpoint.info(conn).expect("open").ssthresh, 5 * 536);
}
