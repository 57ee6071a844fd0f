//! How losses are found and repaired with SACK: RACK-TLP (RFC 8985), PRR (RFC 6937), F-RTO (RFC 5682), undo (RFC 4015), and
//! how paced segments are spaced.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::ConnId;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::congestion::Algorithm;
use corelane_proto::tcp::info::TcpInfo;
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// The round trip of the path in these tests.
const RTT: Duration = Duration::from_millis(20);
const MSS: u32 = 1000;

struct Peer {
    bench: Bench,
    conn: ConnId,
    ours: Seq,
    stamped: bool,
}

impl Peer {
    /// A peer with SACK, and timestamps if `stamped`, a round trip away; one segment has been sent and acknowledged.
    fn new(config: TcpConfig, stamped: bool) -> Self {
        let mut bench = Bench::new(config);
        let value = Timestamps { value: 1, echo: 0 };
        let timestamps = stamped.then_some(value);
        let mss = Some(if stamped { MSS as u16 + 12 } else { MSS as u16 });
        let offer = Options { sack_permitted: true, mss, timestamps, ..Options::NONE };
        let syn_ack = bench.receive(Segment { options: offer, ..segment(IRS, Seq(0), Flags::SYN, 0) })[0];
        bench.now = bench.now + RTT;
        let ours = syn_ack.seq + 1;
        let echo = syn_ack.options.timestamps.map_or(0, |ts| ts.value);
        let timestamps = stamped.then_some(Timestamps { value: 2, echo });
        let options = Options { timestamps, ..Options::NONE };
        bench.receive(Segment { options, ..segment(IRS + 1, ours, Flags::ACK, 0) });
        let conn = bench.accepted();
        let mut peer = Self { bench, conn, ours, stamped };
        let first = peer.send(1);
        peer.pass(RTT);
        peer.ack(1, &[], &first[0]);
        peer
    }

    /// The application writes `n` segments; gives what goes.
    fn send(&mut self, n: usize) -> Vec<Segment> {
        self.bench.send(self.conn, &vec![b'y'; n * MSS as usize])
    }

    /// Time passes in which nothing is sent.
    #[track_caller]
    fn pass(&mut self, time: Duration) {
        assert_eq!(self.bench.wait(time), [], "within {time:?}");
    }

    /// The peer acknowledges `n` segments and has the blocks beside, in segments too; `cause` is what it answers. Gives what
    /// is sent.
    fn ack(&mut self, n: u32, blocks: &[(u32, u32)], cause: &Segment) -> Vec<Segment> {
        let at = |n: u32| self.ours + n * MSS;
        let mut sack = SackBlocks::EMPTY;
        assert!(blocks.iter().all(|&(from, to)| sack.push(at(from), at(to))));
        let echo = cause.options.timestamps.map_or(0, |ts| ts.value);
        let timestamps = self.stamped.then_some(Timestamps { value: 3, echo });
        let options = Options { sack, timestamps, ..Options::NONE };
        self.bench.receive(Segment { options, ..segment(IRS + 1, at(n), Flags::ACK, 0) })
    }

    /// Which segments these are, by their numbers.
    fn places(&self, sent: &[Segment]) -> Vec<u32> {
        sent.iter().map(|s| s.seq.since(self.ours) / MSS).collect()
    }

    fn info(&self) -> TcpInfo {
        self.bench.endpoint.info(self.conn).expect("open")
    }
}

fn newreno() -> TcpConfig {
    TcpConfig { congestion: Algorithm::NewReno, ..TcpConfig::default() }
}

//= spec/rfc8985.txt#section-7.3
//= type=test
//# If such an unsent segment is not available, then the sender SHOULD
//# retransmit the highest-sequence segment sent so far
//= spec/rfc8985.txt#section-7.3
//= type=test
//# After attempting to send a loss probe, regardless of whether a loss
//# probe was sent, the sender MUST re-arm the RTO timer, not the PTO
//# timer, if the FlightSize is not zero.
#[test]
fn a_lost_tail_is_found_by_a_probe_after_two_round_trips() {
    for stamped in [false, true] {
        let mut peer = Peer::new(newreno(), stamped);
        let sent = peer.send(5);
        peer.pass(RTT);
        // The last three got lost.
        assert_eq!(peer.ack(3, &[], &sent[1]), []);
        peer.pass(2 * RTT - MS);
        let probe = peer.bench.wait(2 * MS);
        assert_eq!(peer.places(&probe), [5], "the last one");
        assert_eq!(peer.info().counts.probes, 1);
        peer.pass(RTT);
        let repair = peer.ack(3, &[(5, 6)], &sent[1]);
        assert_eq!(peer.places(&repair), [3], "those in front of it are lost, and one has arrived");
        assert_eq!(peer.info().counts.lost_bytes, u64::from(2 * MSS));
        peer.pass(RTT);
        let repair = peer.ack(4, &[(5, 6)], &repair[0]);
        assert_eq!(peer.places(&repair), [4]);
        peer.pass(RTT);
        assert_eq!(peer.ack(6, &[], &repair[0]), []);
        let counts = peer.info().counts;
        assert_eq!((counts.time_outs, counts.recoveries, counts.undone), (0, 1, 0));
    }
}

//= spec/rfc8985.txt#section-7.4.2
//= type=test
//# If the TLP
//# sender does not receive such an indication, then it MUST assume that
//# the original data segment, the TLP retransmission, or a corresponding
//# ACK was lost for congestion control purposes.
#[test]
fn a_probe_that_repairs_the_only_loss_costs_half_of_the_window() {
    let mut peer = Peer::new(newreno(), false);
    let sent = peer.send(5);
    peer.pass(RTT);
    peer.ack(5, &[], &sent[3]);
    let probe = peer.bench.wait(4 * RTT);
    assert_eq!(peer.places(&probe), [5]);
    peer.pass(RTT);
    peer.ack(6, &[], &probe[0]);
    let before = peer.info();
    assert_eq!((before.ssthresh, before.counts.recoveries), (u32::MAX, 0), "its original may have arrived");
    let more = peer.send(1);
    peer.pass(RTT);
    peer.ack(7, &[], &more[0]);
    let after = peer.info();
    assert_eq!(after.counts.recoveries, 1);
    assert!(after.ssthresh < before.cwnd);
}

#[test]
fn a_needless_probe_costs_nothing() {
    let mut peer = Peer::new(newreno(), false);
    let sent = peer.send(5);
    peer.pass(RTT);
    peer.ack(5, &[], &sent[3]);
    let probe = peer.bench.wait(4 * RTT);
    assert_eq!(peer.places(&probe), [5]);
    // The ACK was only late; the probe is answered by a D-SACK.
    peer.ack(6, &[], &sent[4]);
    peer.ack(6, &[(5, 6)], &probe[0]);
    let more = peer.send(1);
    peer.pass(RTT);
    peer.ack(7, &[], &more[0]);
    let info = peer.info();
    assert_eq!((info.ssthresh, info.counts.recoveries, info.counts.duplicates), (u32::MAX, 0, 1));
}

/// A new segment goes as the probe where there is one that the window did not let go.
#[test]
fn a_probe_is_new_data_where_there_is_some() {
    let mut peer = Peer::new(TcpConfig { initial_window_segments: 2, ..newreno() }, false);
    let sent = peer.send(6);
    assert_eq!(peer.places(&sent), [1, 2, 3], "the window after one ACK");
    let probe = peer.bench.wait(2 * RTT + MS);
    assert_eq!(peer.places(&probe), [4], "beyond the congestion window");
}

//= spec/rfc8985.txt#section-6.2
//= type=test
//# For each segment that has not been SACKed, RACK considers that
//# segment lost if another segment that was sent later has been
//# delivered and the reordering window has passed.
#[test]
fn a_retransmission_that_gets_lost_goes_again_without_a_time_out() {
    for stamped in [false, true] {
        let mut peer = Peer::new(newreno(), stamped);
        let sent = peer.send(8);
        peer.pass(RTT);
        let again = peer.ack(1, &[(2, 6)], &sent[0]);
        assert_eq!(peer.places(&again)[..1], [1]);
        // It gets lost; later ones arrive, and what they let go.
        let next = peer.ack(1, &[(2, 9)], &sent[0]);
        let new = peer.send(2);
        assert_eq!(peer.places(&[next, new].concat()), [9, 10]);
        peer.pass(RTT);
        let third = peer.ack(1, &[(2, 11)], &sent[0]);
        let third = if third.is_empty() { peer.bench.wait(RTT / 2) } else { third };
        assert_eq!(peer.places(&third), [1]);
        peer.pass(RTT);
        peer.ack(11, &[], &third[0]);
        assert_eq!(peer.info().counts.time_outs, 0);
    }
}

/// Nothing is sent again when all that happens is that a segment is overtaken by a few.
#[test]
fn what_is_overtaken_once_is_waited_for_afterwards() {
    let mut peer = Peer::new(newreno(), false);
    let sent = peer.send(4);
    peer.pass(RTT);
    assert_eq!(peer.ack(1, &[(2, 3)], &sent[1]), [], "one that has come says little");
    peer.pass(2 * MS);
    assert_eq!(peer.ack(5, &[], &sent[0]), []);
    // The path is known to reorder now: three that have come are no proof any more either.
    let sent = peer.send(6);
    peer.pass(RTT);
    assert_eq!(peer.ack(5, &[(6, 10)], &sent[1]), []);
    peer.pass(2 * MS);
    assert_eq!(peer.ack(11, &[], &sent[0]), []);
    assert_eq!(peer.info().counts.retransmits, 0);
}

//= spec/rfc6937.txt#section-3
//= type=test
//# On every ACK during recovery compute:
#[test]
fn in_recovery_the_flight_comes_down_to_half_within_a_round_trip() {
    let mut peer = Peer::new(newreno(), false);
    let first = peer.send(10);
    assert_eq!(first.len(), 10);
    peer.send(40);
    peer.pass(RTT);
    // The first is lost, and each of the nine behind it is acknowledged by itself.
    let mut sent = Vec::new();
    for n in 3..=11 {
        let more = peer.ack(1, &[(2, n)], &first[0]);
        assert!(more.len() <= 2, "{} at once", more.len());
        sent.push(more.len());
    }
    assert_eq!(peer.info().ssthresh, 5 * MSS);
    assert!(peer.info().in_flight.abs_diff(5 * MSS) <= MSS, "{}", peer.info().in_flight);
    assert!(sent[3..].windows(3).all(|three| three.iter().sum::<usize>() > 0), "no silence: {sent:?}");
}

//= spec/rfc4015.txt#section-3.4
//= type=test
//# However, once the TCP sender detects that the loss recovery has been
//# falsely triggered, this reduction proves unnecessary.  We therefore
//# believe that it is safe to revert to the previous congestion control
//# state
//= spec/rfc2883.txt#section-4
//= type=test
//# The left edge of the D-SACK block specifies the first sequence
//# number of the duplicate contiguous sequence, and the right edge of
//# the D-SACK block specifies the sequence number immediately
//# following the last sequence in the duplicate contiguous sequence.
#[test]
fn reordering_that_looks_like_loss_is_undone() {
    for stamped in [false, true] {
        let mut peer = Peer::new(newreno(), stamped);
        let sent = peer.send(8);
        let before = peer.info();
        peer.pass(RTT);
        let again = peer.ack(1, &[(2, 6)], &sent[0]);
        assert_eq!(peer.places(&again), [1]);
        assert!(peer.info().ssthresh < before.cwnd);
        peer.pass(2 * MS);
        // The original comes after all; its retransmission then is a duplicate.
        peer.ack(9, &[], &sent[0]);
        if !stamped {
            assert_eq!(peer.info().counts.undone, 0, "nobody knows which of the two it was");
            peer.pass(RTT);
            peer.ack(9, &[(1, 2)], &again[0]);
        }
        let after = peer.info();
        assert_eq!((after.counts.undone, after.ssthresh), (1, u32::MAX), "stamped: {stamped}");
        assert!(after.cwnd >= before.cwnd);
    }
}

//= spec/rfc5682.txt#section-3.1
//= type=test
//# it acknowledges data that was not acknowledged earlier (either
//# with cumulative acknowledgment or using SACK information),
//# declare the timeout spurious
#[test]
fn a_time_out_that_the_path_has_only_delayed_is_undone() {
    let mut peer = Peer::new(TcpConfig { tail_loss_probe: false, ..newreno() }, false);
    let sent = peer.send(8);
    let before = peer.info();
    let again = peer.bench.wait(Duration::from_millis(210));
    assert_eq!(peer.places(&again), [1], "the time-out");
    peer.send(3);
    // The ACKs of the originals come, one after the other.
    let probe = peer.ack(2, &[], &sent[0]);
    assert_eq!(peer.places(&probe), [9, 10], "new data and not what counts as lost");
    peer.ack(3, &[], &sent[1]);
    let info = peer.info();
    assert_eq!((info.counts.undone, info.ssthresh), (1, u32::MAX));
    assert!(info.cwnd >= before.cwnd);
    for n in 4..=9 {
        let more = peer.ack(n, &[], &sent[n as usize - 2]);
        assert!(peer.places(&more).iter().all(|place| *place >= 9), "nothing goes again: {more:?}");
    }
    assert_eq!(peer.info().counts.retransmits, 1);
}

#[test]
fn a_time_out_after_a_loss_is_no_mistake() {
    let mut peer = Peer::new(TcpConfig { tail_loss_probe: false, ..newreno() }, false);
    peer.send(3);
    let again = peer.bench.wait(Duration::from_millis(210));
    assert_eq!(peer.places(&again), [1]);
    let next = peer.ack(2, &[], &again[0]);
    assert_eq!(peer.places(&next), [2, 3], "slow start");
    peer.ack(4, &[], &next[1]);
    let info = peer.info();
    assert_eq!((info.counts.undone, info.counts.time_outs, info.counts.resent_bytes), (0, 1, 3000));
}

/// A paced connection sends its burst and then a segment at a time; another one all at once.
#[test]
fn a_paced_flight_is_spread_over_the_round_trip() {
    let mut unpaced = Peer::new(newreno(), false);
    assert_eq!(unpaced.send(10).len(), 10);
    let mut peer = Peer::new(TcpConfig { pacing: true, pacing_burst_segments: 2, ..newreno() }, false);
    let burst = peer.send(10);
    assert!((2..=3).contains(&burst.len()), "{} at once", burst.len());
    let mut rest = Vec::new();
    for _ in 0..10 {
        let sent = peer.bench.wait(RTT / 10);
        assert!(sent.len() <= 3, "{} in a tenth of the round trip", sent.len());
        rest.extend(sent);
    }
    assert_eq!(burst.len() + rest.len(), 10);
    let rate = peer.info().pacing_rate.expect("it is paced");
    assert_eq!(rate, 2 * u64::from(peer.info().cwnd) * 50, "twice the window a round trip, in slow start");
}

/// Each algorithm by its name, from the first segment to recovery's end.
#[test]
fn each_algorithm_recovers() {
    for algorithm in Algorithm::ALL {
        let mut peer = Peer::new(TcpConfig { congestion: algorithm, ..TcpConfig::default() }, true);
        let mut sent = peer.send(8);
        sent.extend(peer.bench.wait(RTT / 2));
        assert_eq!((sent.len(), peer.info().algorithm), (8, algorithm));
        peer.pass(RTT / 2);
        let again = peer.ack(1, &[(2, 9)], &sent[0]);
        assert_eq!(peer.places(&again), [1], "{algorithm:?}");
        peer.pass(RTT);
        peer.ack(9, &[], &again[0]);
        let info = peer.info();
        assert_eq!((info.unacked, info.counts.recoveries, info.counts.time_outs), (0, 1, 0));
        assert_eq!(info.delivered, u64::from(9 * MSS));
    }
}

/// The ACK of a segment got lost, and the segment went again: the answer to the second echoes the timestamp of the first. The
/// time between is ours, not the path's.
#[test]
fn a_duplicate_that_is_acknowledged_late_is_no_round_trip() {
    let mut peer = Peer::new(TcpConfig { tail_loss_probe: false, ..newreno() }, true);
    let before = peer.info().rto;
    let sent = peer.send(1);
    let again = peer.bench.wait(Duration::from_secs(30));
    assert!(again.len() >= 5 && peer.places(&again).iter().all(|place| *place == 1), "{again:?}");
    // A peer that tells of the duplicate, and one that does not.
    peer.ack(2, &[(1, 2)], &sent[0]);
    assert!(peer.info().rto <= before, "{:?} from {before:?}", peer.info().rto);
    let mut without = Peer::new(TcpConfig { tail_loss_probe: false, sack: false, ..newreno() }, true);
    let sent = without.send(1);
    assert!(!without.bench.wait(Duration::from_secs(30)).is_empty());
    without.ack(2, &[], &sent[0]);
    assert!(without.info().rto <= before, "{:?} from {before:?}", without.info().rto);
}
