//! What somebody who only guesses numbers can send: RFC 5961.

use crate::bench::{Bench, IRS, WINDOW, segment};
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);

/// That `answer` is one challenge ACK: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
#[track_caller]
fn challenges(answer: &[Segment], seq: Seq, ack: Seq) {
    let [challenge] = answer else { panic!("{answer:?}") };
    assert_eq!((challenge.seq, challenge.ack, challenge.flags, challenge.len), (seq, ack, Flags::ACK, 0));
}

//= spec/rfc5961.txt#section-1.1
//= type=test
//# The mitigations suggested in this document SHOULD be implemented in devices that regularly need to maintain TCP
//# connections of the kind most vulnerable to the attacks described in this document.
//= spec/rfc5961.txt#section-3.2
//= type=test
//# Instead, implementations SHOULD implement the following steps in place of those specified in [RFC0793] (as listed
//# above).
//= spec/rfc5961.txt#section-3.2
//= type=test
//# 2) If the RST bit is set and the sequence number exactly matches the next expected sequence number (RCV.NXT), then
//# TCP MUST reset the connection.
//= spec/rfc5961.txt#section-3.2
//= type=test
//# 3) If the RST bit is set and the sequence number does not exactly match the next expected sequence value, yet is
//# within the current receive window (RCV.NXT < SEG.SEQ < RCV.NXT+RCV.WND), TCP MUST send an acknowledgment (challenge
//# ACK):
//= spec/rfc5961.txt#section-3.2
//= type=test
//# After sending the challenge ACK, TCP MUST drop the unacceptable segment and stop processing the incoming packet
//# further.
//= spec/rfc5961.txt#section-3.2
//= type=test
//# In all other cases, where the SEQ-field does not match and is outside the window, the receiver MUST silently
//# discard the segment.
//= spec/rfc5961.txt#section-3.2
//= type=test
//# In all other cases the receiver MUST silently discard the segment.
#[test]
fn a_reset_ends_the_connection_only_at_the_very_next_number() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let next = IRS + 1;
    let reset = |seq, len| segment(seq, ours, Flags::RST | Flags::ACK, len);
    let window = bench.endpoint.info(conn).expect("open").recv_window;
    for (seq, len) in [(next + 1, 0), (next + 1, 10), (next + (window - 1), 0)] {
        challenges(&bench.receive(reset(seq, len)), ours, next);
        bench.wait(INTERVAL);
    }
    for seq in [next - 1, next - 70_000, next + window, next + (1 << 31)] {
        assert_eq!(bench.receive(reset(seq, 0)), [], "{seq:?}");
    }
    assert_eq!(bench.ended(conn), None);
    assert_eq!(bench.read(conn), b"", "what a reset brings along is no data");
    assert_eq!(bench.receive(reset(next, 0)), []);
    assert_eq!(bench.ended(conn), Some(CloseReason::Reset));
    bench.check_frames();
}

//= spec/rfc5961.txt#section-4.2
//= type=test
//# the handling of the SYN in the synchronized state SHOULD be performed as follows:
//= spec/rfc5961.txt#section-4.2
//= type=test
//# 1) If the SYN bit is set, irrespective of the sequence number, TCP MUST send an ACK (also referred to as challenge
//# ACK) to the remote peer:
//= spec/rfc5961.txt#section-4.2
//= type=test
//# After sending the acknowledgment, TCP MUST drop the unacceptable segment and stop processing further.
//= spec/rfc5961.txt#section-4.2
//= type=test
//# Upon receipt of a valid RST, the local TCP endpoint MUST terminate its connection.
#[test]
fn a_syn_is_challenged_wherever_it_lies_and_a_peer_that_knows_nothing_resets_then() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let next = IRS + 1;
    for seq in [next, next + 100, next - 100, next + (1 << 31), IRS] {
        challenges(&bench.receive(segment(seq, ours, Flags::SYN | Flags::ACK, 0)), ours, next);
        assert_eq!(bench.receive(segment(seq, Seq(0), Flags::SYN, 5)), [], "not twice at once");
        bench.wait(INTERVAL);
    }
    assert_eq!(bench.endpoint.counters().challenge_acks_limited, 5);
    assert_eq!(bench.read(conn), b"", "what a SYN brings along is no data");
    // The peer has started anew: to it our ACK is for nobody.
    let answer = bench.receive(segment(Seq(77), Seq(0), Flags::SYN, 0));
    challenges(&answer, ours, next);
    bench.receive(segment(answer[0].ack, Seq(0), Flags::RST, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Reset));
}

//= spec/rfc5961.txt#section-5.2
//= type=test
//# TCP stacks that implement this mitigation MUST add an additional input check to any incoming segment.
//= spec/rfc5961.txt#section-5.2
//= type=test
//# All incoming segments whose ACK value doesn't satisfy the above condition MUST be discarded and an ACK sent back.
#[test]
fn data_with_an_ack_out_of_range_is_not_taken() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let next = IRS + 1;
    bench.send(conn, &[b'y'; 100]);
    let [oldest, newest] = [ours - u32::from(WINDOW), ours + 100];
    for ack in [newest + 1, oldest - 1, ours + (1 << 31)] {
        challenges(&bench.receive(segment(next, ack, Flags::ACK, 10)), newest, next);
        bench.wait(INTERVAL);
    }
    assert_eq!(bench.read(conn), b"");
    bench.receive(segment(next, oldest, Flags::ACK, 10));
    bench.receive(segment(next + 10, newest, Flags::ACK, 10));
    assert_eq!(bench.read(conn).len(), 20);
}

//= spec/rfc5961.txt#section-7
//= type=test
//# 2) The values for both the time and number of ACKs SHOULD be tunable by the system administrator to accommodate
//# different perceived levels of threat and/or system resources.
#[test]
fn how_often_challenges_go_is_a_setting_of_the_connection_and_of_the_endpoint() {
    for (interval, per_second, expected) in [(500, 1000, 4), (50, 1000, 40), (50, 0, 0)] {
        let config = TcpConfig { challenge_interval: Duration::from_millis(interval), ..TcpConfig::default() };
        let mut bench = Bench::with(config, |endpoint| endpoint.challenge_acks_per_second = per_second);
        let (_, ours) = bench.open();
        let mut sent = 0;
        for _ in 0..200 {
            sent += bench.receive(segment(IRS + 2, ours, Flags::RST, 0)).len();
            bench.wait(Duration::from_millis(10));
        }
        assert_eq!(sent, expected, "in two seconds");
    }
}

#[test]
fn a_challenge_that_does_not_go_takes_no_delayed_ack_with_it() {
    let config = TcpConfig { quick_acks: 0, ..TcpConfig::default() };
    let mut bench = Bench::with(config, |endpoint| endpoint.challenge_acks_per_second = 0);
    let (_, ours) = bench.open();
    assert_eq!(bench.receive(segment(IRS + 1, ours, Flags::ACK, 10)), [], "the ACK waits for company");
    assert_eq!(bench.receive(segment(IRS + 20, ours, Flags::RST, 0)), []);
    let acks = bench.wait(Duration::from_millis(100));
    assert_eq!(acks.iter().map(|ack| ack.ack).collect::<Vec<_>>(), [IRS + 11]);
}
