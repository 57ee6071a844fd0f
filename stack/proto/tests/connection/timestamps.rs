//! Timestamps and PAWS: RFC 7323 3 to 5.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::{CloseReason, ConnId, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn stamped(value: u32, segment: Segment) -> Segment {
    let timestamps = Some(Timestamps { value, echo: 0 });
    Segment { options: Options { timestamps, ..Options::NONE }, ..segment }
}

/// The peer opens a connection with timestamps; its SYN has 100.
fn open(bench: &mut Bench) -> (ConnId, Seq) {
    let syn_ack = bench.receive(stamped(100, segment(IRS, Seq(0), Flags::SYN, 0)))[0];
    assert_eq!(echo(&syn_ack), Some(100));
    bench.receive(stamped(100, segment(IRS + 1, syn_ack.seq + 1, Flags::ACK, 0)));
    (bench.accepted(), syn_ack.seq + 1)
}

fn echo(segment: &Segment) -> Option<u32> {
    segment.options.timestamps.map(|timestamps| timestamps.echo)
}

fn echoes(segments: &[Segment]) -> Vec<u32> {
    segments.iter().map(|segment| echo(segment).expect("each has one")).collect()
}

//= spec/rfc7323.txt#section-3.2
//= type=test
//# Once TSopt has been successfully negotiated, that is both <SYN> and <SYN,ACK> contain TSopt, the TSopt MUST be sent in
//# every non-<RST> segment for the duration of the connection, and SHOULD be sent in an <RST> segment (see Section 5.2
//# for details).
//= spec/rfc7323.txt#section-3.2
//= type=test
//# When the ACK bit is set in an outgoing segment, the sender MUST echo a recently received TSval sent by the remote TCP
//# in the TSval field of a Timestamps option.
//= spec/rfc7323.txt#section-3.2
//= type=test
//# The TCP SHOULD remember this state by setting a flag, referred to as Snd.TS.OK, to one.
//= spec/rfc7323.txt#section-5.2
//= type=test
//# If an <RST> is being generated because of a user abort, and Snd.TS.OK is set, then a Timestamps option SHOULD be
//# included in the <RST>.
#[test]
fn every_segment_has_a_timestamp_once_both_have_offered_one() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench);
    let data = bench.send(conn, &[b'y'; 3000]);
    assert!(data.len() > 1);
    let again = bench.wait(Duration::from_secs(2));
    assert!(!again.is_empty());
    let ack = bench.receive(stamped(107, segment(IRS + 1, ours + 3000, Flags::ACK, 5)));
    assert_eq!(echoes(&ack), [107]);
    bench.endpoint.shutdown(conn, Shutdown::Write);
    let fin = bench.sent();
    assert!(fin[0].flags.has(Flags::FIN));
    bench.endpoint.abort(conn);
    let reset = bench.sent();
    assert!(reset[0].flags.has(Flags::RST));
    let all: Vec<_> = [data, again, ack, fin, reset].concat();
    assert!(echoes(&all).iter().all(|echo| [100, 107].contains(echo)));
    let values: Vec<_> = all.iter().filter_map(|s| s.options.timestamps).map(|ts| Seq(ts.value)).collect();
    assert!(values.windows(2).all(|pair| pair[1].at_or_after(pair[0])), "our clock does not go back: {values:?}");
}

//= spec/rfc7323.txt#section-3.2
//= type=test
//# If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment.
//= spec/rfc7323.txt#section-3.2
//= type=test
//# A TCP MUST NOT abort a TCP connection because any segment lacks an expected TSopt.
#[test]
fn a_segment_without_the_agreed_timestamp_is_dropped_in_silence() {
    let mut bench = Bench::new(TcpConfig::default());
    let syn_ack = bench.receive(stamped(100, segment(IRS, Seq(0), Flags::SYN, 0)))[0];
    let ours = syn_ack.seq + 1;
    assert_eq!(bench.receive(segment(IRS + 1, ours, Flags::ACK, 0)), []);
    assert_eq!(bench.events(), [], "it does not open a connection either");
    bench.receive(stamped(100, segment(IRS + 1, ours, Flags::ACK, 0)));
    let conn = bench.accepted();
    for flags in [Flags::ACK, Flags::ACK | Flags::FIN] {
        assert_eq!(bench.receive(segment(IRS + 1, ours, flags, 10)), []);
    }
    assert_eq!(bench.endpoint.counters().dropped_no_timestamp, 3);
    bench.receive(stamped(101, segment(IRS + 1, ours, Flags::ACK, 10)));
    assert_eq!(bench.read(conn).len(), 10);
    bench.receive(segment(IRS + 11, ours, Flags::RST, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Reset), "an RST may lack it");
}

//= spec/rfc7323.txt#section-5.3
//= type=test
//# If the PAWS algorithm is used, the following processing MUST be performed on all incoming segments for a synchronized
//# connection.
//= spec/rfc7323.txt#section-5.3
//= type=test
//# Also, PAWS processing MUST take precedence over the regular TCP acceptability check (Section 3.3 in [RFC0793]), which
//# is performed after verification of the received Timestamps option:
//= spec/rfc7323.txt#section-5.3
//= type=test
//# It is important to note that the timestamp MUST be checked only when a segment first arrives at the receiver,
//# regardless of whether it is in sequence or it must be queued for later delivery.
#[test]
fn old_timestamps_are_refused_at_arrival_and_not_looked_at_again() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench);
    bench.receive(stamped(200, segment(IRS + 1, ours, Flags::ACK, 10)));
    let next = IRS + 11;
    for (n, seq) in (1..).zip([next, next + 100, next - 10, next + (1 << 30)]) {
        let answer = bench.receive(stamped(199, segment(seq, ours, Flags::ACK, 10)));
        assert_eq!(answer.iter().map(|ack| (ack.ack, echo(ack))).collect::<Vec<_>>(), [(next, Some(200))]);
        let counters = bench.endpoint.counters();
        assert_eq!((counters.dropped_paws, counters.dropped_unacceptable), (n, 0));
    }
    assert_eq!(bench.read(conn).len(), 10);
    // This one waits for a gap; by the time it is filled its timestamp is an old one.
    bench.receive(stamped(200, segment(next + 10, ours, Flags::ACK, 10)));
    bench.receive(stamped(300, segment(next, ours, Flags::ACK, 10)));
    assert_eq!(bench.read(conn).len(), 20);
}

//= spec/rfc7323.txt#section-5.2
//= type=test
//# When an <RST> segment is received, it MUST NOT be subjected to the PAWS check by verifying an acceptable value in
//# SEG.TSval, and information from the Timestamps option MUST NOT be used to update connection state information.
#[test]
fn the_timestamp_of_a_reset_means_nothing() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench);
    let challenge = bench.receive(stamped(999, segment(IRS + 2, ours, Flags::RST, 0)));
    assert_eq!(echoes(&challenge), [100]);
    assert_eq!(echoes(&bench.send(conn, b"x")), [100]);
    bench.receive(stamped(1, segment(IRS + 1, ours, Flags::RST, 0)));
    assert_eq!(bench.ended(conn), Some(CloseReason::Reset), "old as it is");
}

//= spec/rfc7323.txt#section-3.2
//= type=test
//# The exact rules on which TSval MUST be echoed are given in Section 4.3.
//= spec/rfc7323.txt#section-4.3
//= type=test
//# Thus, when delayed ACKs are in use, the receiver SHOULD reply with the TSval field from the earliest unacknowledged
//# segment.
//= spec/rfc7323.txt#section-4.3
//= type=test
//# An <ACK> for an out-of-order segment SHOULD, therefore, contain the timestamp from the most recent segment that
//# advanced RCV.NXT.
//= spec/rfc7323.txt#section-4.3
//= type=test
//# Thus, the timestamp from the latest segment (which filled the hole) MUST be echoed.
#[test]
fn the_echo_is_of_the_earliest_unacknowledged_segment_or_of_the_one_that_fills_the_hole() {
    let mut bench = Bench::new(TcpConfig { quick_acks: 0, ..TcpConfig::default() });
    let (_, ours) = open(&mut bench);
    let data = |bench: &mut Bench, n: u32, value| {
        echoes(&bench.receive(stamped(value, segment(IRS + 1 + 10 * n, ours, Flags::ACK, 10))))
    };
    // The first example of the RFC, A B C in order and one ACK for them:
    assert_eq!(data(&mut bench, 0, 101), []);
    assert_eq!(data(&mut bench, 1, 102), []);
    assert_eq!(data(&mut bench, 2, 103), []);
    let delayed = bench.wait(100 * MS);
    assert_eq!((delayed[0].ack, echoes(&delayed)), (IRS + 31, vec![101]));
    // The second, with segments that come late: A, C, B, E, D.
    assert_eq!(data(&mut bench, 3, 111), []);
    assert_eq!(echoes(&bench.wait(100 * MS)), [111]);
    assert_eq!(data(&mut bench, 5, 113), [111]);
    assert_eq!(data(&mut bench, 4, 112), [112]);
    assert_eq!(data(&mut bench, 7, 115), [112]);
    assert_eq!(data(&mut bench, 6, 114), [114]);
}

//= spec/rfc7323.txt#section-3.2
//= type=test
//# When the ACK bit is not set, the receiver MUST ignore the value of the TSecr field.
#[test]
fn what_a_syn_echoes_is_no_round_trip() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, syn) = bench.connect(TcpConfig::default());
    let value = syn.options.timestamps.expect("it is offered").value;
    bench.wait(300 * MS);
    // A SYN that crosses ours, and says what only an ACK may say.
    let timestamps = Some(Timestamps { value: 100, echo: value.wrapping_sub(50_000) });
    let options = Options { timestamps, ..Options::NONE };
    bench.receive(Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) });
    let info = bench.endpoint.info(conn).expect("it opens");
    assert_eq!((info.srtt, info.rto), (None, Duration::from_secs(1)));
}

#[test]
fn after_24_idle_days_any_timestamp_is_new() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench);
    let day = Duration::from_secs(86_400);
    bench.wait(23 * day);
    bench.receive(stamped(99, segment(IRS + 1, ours, Flags::ACK, 10)));
    assert_eq!(bench.read(conn), b"");
    bench.wait(2 * day);
    let ack = bench.receive(stamped(99, segment(IRS + 1, ours, Flags::ACK, 10)));
    assert_eq!((bench.read(conn).len(), echoes(&ack)), (10, vec![99]));
}
