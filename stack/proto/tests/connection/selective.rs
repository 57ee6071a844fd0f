//! Selective acknowledgments: RFC 2018.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::ConnId;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::congestion::Algorithm;
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

/// The peer opens a connection that permits SACK; with timestamps too if `stamped`.
fn open(bench: &mut Bench, stamped: bool) -> (ConnId, Seq) {
    let options = Options { sack_permitted: true, ..options(stamped) };
    let syn_ack = bench.receive(Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) })[0];
    assert!(syn_ack.options.sack_permitted);
    let ours = syn_ack.seq + 1;
    bench.receive(Segment { options: self::options(stamped), ..segment(IRS + 1, ours, Flags::ACK, 0) });
    (bench.accepted(), ours)
}

fn options(stamped: bool) -> Options {
    Options { timestamps: stamped.then_some(Timestamps { value: 1, echo: 0 }), ..Options::NONE }
}

/// The blocks of `segment`, counted from the peer's first byte.
fn blocks(segment: &Segment) -> Vec<(u32, u32)> {
    let from = IRS + 1;
    segment.options.sack.as_slice().iter().map(|(left, right)| (left.since(from), right.since(from))).collect()
}

//= spec/rfc2018.txt#section-4
//= type=test
//# If the data receiver generates SACK options under any circumstance, it SHOULD generate them under all permitted
//# circumstances.
//= spec/rfc2018.txt#section-4
//= type=test
//# If sent at all, SACK options SHOULD be included in all ACKs which do not ACK the highest sequence number in the data
//# receiver's queue.
//= spec/rfc2018.txt#section-4
//= type=test
//# The receiver SHOULD send an ACK for every valid segment that arrives containing new data, and each of these
//# "duplicate" ACKs SHOULD bear a SACK option.
//= spec/rfc2018.txt#section-4
//= type=test
//# * The first SACK block (i.e., the one immediately following the kind and length fields in the option) MUST specify the
//# contiguous block of data containing the segment which triggered this ACK, unless that segment advanced the
//# Acknowledgment Number field in the header.
//= spec/rfc2018.txt#section-4
//= type=test
//# * The data receiver SHOULD include as many distinct SACK blocks as possible in the SACK option.
//= spec/rfc2018.txt#section-2
//= type=test
//# It MUST NOT be sent on non-SYN segments.
#[test]
fn each_segment_ahead_of_a_gap_is_acknowledged_with_its_block_in_front() {
    for (stamped, most) in [(false, 4), (true, 3)] {
        let mut bench = Bench::new(TcpConfig::default());
        let (_, ours) = open(&mut bench, stamped);
        let mut data = |at: u32| {
            let segment = Segment { options: options(stamped), ..segment(IRS + 1 + at, ours, Flags::ACK, 10) };
            let acks = bench.receive(segment);
            assert_eq!(acks.len(), 1, "{acks:?}");
            assert!(!acks[0].options.sack_permitted);
            (acks[0].ack.since(IRS + 1), blocks(&acks[0]))
        };
        let all = [(90, 100), (70, 80), (50, 60), (30, 40), (10, 20)];
        for n in 1..=all.len() {
            let expected: Vec<_> = all[..n].iter().rev().take(most).copied().collect();
            assert_eq!(data(all[n - 1].0), (0, expected));
        }
        assert_eq!(data(60).1[0], (50, 80), "the block that it has made, as far as it goes");
        let (ack, blocks) = data(0);
        assert_eq!(ack, 20, "a hole is filled");
        assert_eq!(blocks[0], (50, 80), "and what is known last goes on being told");
    }
}

/// What was held on its way comes after its own retransmission, and with an older timestamp. PAWS drops it, but the sender
/// has to hear that it came, or it takes the retransmission for a repair and keeps its window small.
//= spec/rfc2883.txt#section-4
//= type=test
//# (2) Each duplicate contiguous sequence of data received is reported
//# in at most one D-SACK block.
#[test]
fn what_comes_twice_is_told_although_its_timestamp_is_old() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench, true);
    let mut data = |value: u32, at: u32, len: u16| {
        let options = Options { timestamps: Some(Timestamps { value, echo: 0 }), ..Options::NONE };
        let acks = bench.receive(Segment { options, ..segment(IRS + 1 + at, ours, Flags::ACK, len) });
        (acks[0].ack.since(IRS + 1), blocks(&acks[0]))
    };
    assert_eq!(data(11, 10, 10), (0, vec![(10, 20)]));
    assert_eq!(data(13, 0, 10), (20, vec![]), "sent again");
    assert_eq!(data(10, 0, 10), (20, vec![(0, 10)]), "and here is the first one");
    assert_eq!(data(10, 15, 10), (20, vec![]), "what is old and partly new tells nothing");
    assert_eq!(data(10, 20, 10), (20, vec![]), "nor what is new and has an old timestamp");
    assert_eq!(bench.endpoint.counters().dropped_paws, 3);
    assert_eq!(bench.read(conn).len(), 20);
}

//= spec/rfc2018.txt#section-4
//= type=test
//# If the data receiver has not received a SACK-Permitted option for a given connection, it MUST NOT send SACK options on
//# that connection.
#[test]
fn without_permission_there_are_no_blocks() {
    for sack in [false, true] {
        let mut bench = Bench::new(TcpConfig { sack, ..TcpConfig::default() });
        let syn = segment(IRS, Seq(0), Flags::SYN, 0);
        let offer = Options { sack_permitted: !sack, ..Options::NONE };
        let (_, ours) = bench.open_with(Segment { options: offer, ..syn });
        let acks = bench.receive(segment(IRS + 11, ours, Flags::ACK, 10));
        assert_eq!(acks.iter().map(blocks).collect::<Vec<_>>(), [vec![]]);
    }
}

//= spec/rfc2018.txt#section-5
//= type=test
//# The data sender MUST retransmit the segment at the left edge of the window after a retransmit timeout, whether or not
//# the SACKed bit is on for that segment.
//= spec/rfc2018.txt#section-5
//= type=test
//# When receiving an ACK containing a SACK option, the data sender SHOULD record the selective acknowledgment for future
//# reference.
//= spec/rfc2018.txt#section-8
//= type=test
//# Since the data receiver may later discard data reported in a SACK option, the sender MUST NOT discard data before it is
//# acknowledged by the Acknowledgment Number field in the TCP header.
#[test]
fn what_was_sacked_is_believed_for_one_time_out_and_then_everything_goes_again() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench, false);
    for _ in 0..4 {
        bench.send(conn, &[b'y'; 536]);
    }
    bench.now = bench.now + Duration::from_millis(10);
    let mut sack = SackBlocks::EMPTY;
    assert!(sack.push(ours + 1072, ours + 2144));
    let told = Options { sack, ..Options::NONE };
    bench.receive(Segment { options: told, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    let again = bench.wait(Duration::from_millis(250));
    assert_eq!(again.last().map(|s| s.seq), Some(ours), "the left edge");
    assert!(again.iter().all(|s| s.end().at_or_before(ours + 1072)), "the peer has the others: {again:?}");
    let mut again = bench.wait(Duration::from_millis(500));
    assert_eq!(again.iter().map(|s| s.seq).collect::<Vec<_>>(), [ours], "whatever was said of it");
    for n in 0..4 {
        assert_eq!(again.get(n).map(|s| s.seq), Some(ours + 536 * n as u32), "in their order: {again:?}");
        let answers = bench.receive(segment(IRS + 1, again[n].end(), Flags::ACK, 0));
        again.extend(answers);
    }
    assert_eq!(again.len(), 4);
}

/// A peer that acknowledges up to a segment that it has `SACKed` has thrown that one away.
#[test]
fn a_peer_that_has_thrown_away_what_it_sacked_gets_it_again() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open(&mut bench, false);
    for _ in 0..4 {
        bench.send(conn, &[b'y'; 536]);
    }
    bench.now = bench.now + Duration::from_millis(10);
    let mut sack = SackBlocks::EMPTY;
    assert!(sack.push(ours + 536, ours + 2144));
    let told = Options { sack, ..Options::NONE };
    bench.receive(Segment { options: told, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    bench.receive(segment(IRS + 1, ours + 536, Flags::ACK, 0));
    let mut again = bench.wait(Duration::from_millis(2200));
    assert_eq!(again.first().map(|s| s.seq), Some(ours + 536));
    for _ in 0..3 {
        let end = again.last().map(Segment::end).expect("one each");
        again.extend(bench.receive(segment(IRS + 1, end, Flags::ACK, 0)));
    }
    assert_eq!(again.last().map(Segment::end), Some(ours + 2144));
    assert_eq!(bench.endpoint.info(conn).expect("open").unacked, 0);
}

//= spec/rfc2018.txt#section-5.1
//= type=test
//# However, the congestion control algorithms present in the de facto standard TCP implementations MUST be preserved
//# [Stevens94].
#[test]
fn one_ack_with_blocks_is_no_loss_and_a_loss_halves_the_window() {
    let mut bench = Bench::new(TcpConfig { congestion: Algorithm::NewReno, ..TcpConfig::default() });
    let (conn, ours) = open(&mut bench, false);
    for _ in 0..10 {
        bench.send(conn, &[b'y'; 536]);
    }
    let flight = bench.endpoint.info(conn).expect("open").unacked;
    bench.now = bench.now + Duration::from_millis(10);
    let mut again = Vec::new();
    for n in 1..=3 {
        assert_eq!(again, [], "after {n}");
        let mut sack = SackBlocks::EMPTY;
        assert!(sack.push(ours + 536, ours + 536 * (n + 1)));
        let told = Options { sack, ..Options::NONE };
        again = bench.receive(Segment { options: told, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    }
    assert_eq!(again.iter().map(|s| s.seq).collect::<Vec<_>>(), [ours]);
    assert_eq!(bench.endpoint.info(conn).expect("open").ssthresh, flight / 2);
}
