//! Connections whose peer does not answer.

use crate::{FIN, SYN, ended, events};
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_sim::lab::{A, B, Lab, Rule};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// RFC 9293 3.8.3: an attempt to open lasts at least three minutes.
//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# In particular, R2 for a SYN segment MUST be set large enough to provide retransmission of the segment for at least
//# 3 minutes (MUST-23).
#[test]
fn syn_sent_times_out() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.silence(A);
    let began = lab.now();
    let a = lab.connect(A, B, 80);
    lab.run(10 * MINUTE);
    let (after, reason) = ended(&lab, a, began);
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(after >= 3 * MINUTE && after <= 6 * MINUTE, "{after:?}");
    assert_eq!(lab.states(a), ["SYN-SENT", "CLOSED"]);
    assert_eq!(events(&lab, a), ["retransmitting", "timed_out"]);
    let gaps: Vec<_> = lab.sent().windows(2).map(|pair| pair[1].at.saturating_since(pair[0].at).as_secs()).collect();
    assert_eq!(gaps[..5], [1, 2, 4, 8, 16], "the time-out doubles (RFC 6298 5.5)");
    assert_eq!(lab.count(A, "closed_by_timeout"), 1);
    lab.finish();
}

/// The other half of it: SYN-RECEIVED of a listener ends by itself, and nobody is told.
#[test]
fn syn_received_times_out() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.silence(B);
    let a = lab.connect(A, B, 80);
    lab.run_millis(6);
    lab.abort(a);
    assert_eq!(lab.node(B).endpoint.half_opens(), 1);
    lab.run(5 * MINUTE);
    assert_eq!(lab.node(B).endpoint.half_opens(), 0);
    assert_eq!(lab.count(B, "half_open_expired"), 1);
    assert!(lab.try_accepted(B).is_none());
    lab.finish();
}

/// Our FIN is never acknowledged: R2 ends it.
#[test]
fn fin_wait_1_gives_up() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    lab.silence(A);
    let began = lab.now();
    lab.shut_write(a);
    lab.run(30 * MINUTE);
    let (after, reason) = ended(&lab, a, began);
    assert_eq!(lab.states(a)[1..], ["ESTABLISHED", "FIN-WAIT-1", "CLOSED"]);
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(after >= Duration::from_secs(100) && after <= 20 * MINUTE, "R2 is at least 100 s (SHLD-11): {after:?}");
    lab.finish();
}

/// The same in LAST-ACK: the application has gone, nothing is left behind.
#[test]
fn last_ack_gives_up() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.shut_write(a);
    lab.run_millis(50);
    lab.silence(B);
    let began = lab.now();
    lab.close(b);
    lab.run_millis(50);
    assert_eq!(lab.state(b).name(), "LAST-ACK");
    lab.run(30 * MINUTE);
    let (after, reason) = ended(&lab, b, began);
    assert_eq!(lab.states(b), ["ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]);
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(after >= Duration::from_secs(100) && after <= 20 * MINUTE, "{after:?}");
    assert_eq!(lab.node(B).endpoint.connections(), 0);
    lab.finish();
}

/// ESTABLISHED with data outstanding.
#[test]
fn established_gives_up() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    lab.silence(B);
    let began = lab.now();
    lab.send(a, 1);
    lab.run(30 * MINUTE);
    let (after, reason) = ended(&lab, a, began);
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(after >= Duration::from_secs(100) && after <= 20 * MINUTE, "{after:?}");
    assert_eq!(events(&lab, a), ["connected", "retransmitting", "timed_out"]);
    lab.finish();
}

/// The process has closed, and the peer never sends its FIN: FIN-WAIT-2 ends after its time.
#[test]
fn fin_wait_2_with_the_process_gone_times_out() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.close(a);
    lab.run_secs(1);
    assert_eq!((lab.state(a).name(), lab.state(b).name()), ("FIN-WAIT-2", "CLOSE-WAIT"));
    lab.run_secs(57);
    assert_eq!(lab.state(a).name(), "FIN-WAIT-2");
    lab.run_secs(5);
    assert_eq!(lab.state(a).name(), "CLOSED");
    assert_eq!(lab.node(A).endpoint.connections(), 0);
    assert_eq!(lab.seen(b).reason(), None, "the peer is not disturbed");
    lab.finish();
}

/// The process still reads: FIN-WAIT-2 waits as long as the peer takes.
#[test]
fn fin_wait_2_with_the_process_present_does_not() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.shut_write(a);
    lab.run(24 * 60 * MINUTE);
    assert_eq!((lab.state(a).name(), lab.state(b).name()), ("FIN-WAIT-2", "CLOSE-WAIT"));
    lab.send(b, 10);
    lab.close(b);
    lab.run_secs(1);
    assert_eq!((lab.seen(a).read, lab.seen(a).reason()), (10, Some(CloseReason::Finished)));
    lab.finish();
}

/// An idle connection without keepalive sends nothing, ever.
#[test]
fn without_keepalive_an_idle_connection_is_silent() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    lab.take_wire();
    lab.run(24 * 60 * MINUTE);
    assert_eq!(lab.take_wire(), Vec::<String>::new());
    assert_eq!(lab.state(a).name(), "ESTABLISHED");
    lab.finish();
}

/// An idle peer that answers is asked every two hours, and the connection lives on.
#[test]
fn keepalive_is_answered() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.tcp.keepalive = Some(KeepaliveConfig::default());
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.run(Duration::from_secs(7190));
    assert_eq!(lab.take_wire(), Vec::<String>::new(), "no probe before two hours");
    lab.run(24 * 60 * MINUTE);
    let wire = lab.take_wire();
    assert_eq!(wire[..2], ["A ACK 0 ack 1", "B ACK 1 ack 1"]);
    assert!(wire.len() >= 22 && wire.len() <= 26, "about every two hours: {}", wire.len());
    assert_eq!((lab.state(a).name(), lab.state(b).name()), ("ESTABLISHED", "ESTABLISHED"));
    lab.finish();
}

/// A dead peer gets ten probes, 75 s apart; then the application is told.
#[test]
fn keepalive_gives_up_a_dead_peer() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.tcp.keepalive = Some(KeepaliveConfig::default());
    let (a, _) = lab.open(A, B, 80);
    lab.take_wire();
    lab.silence(B);
    let began = lab.now();
    lab.run(4 * 60 * MINUTE);
    let probes = lab.sent().iter().filter(|sent| sent.from == Some(A)).count();
    assert!((10..=11).contains(&probes), "ten probes, and an RST perhaps: {:?}", lab.wire());
    let (after, reason) = ended(&lab, a, began);
    assert_eq!(reason, CloseReason::TimedOut);
    assert!(after.abs_diff(Duration::from_secs(7200 + 750)) < Duration::from_secs(2), "{after:?}");
    lab.finish();
}

/// No probe while data is outstanding: the retransmission timer is at work then.
#[test]
fn keepalive_does_not_probe_while_data_is_outstanding() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.tcp.keepalive = Some(KeepaliveConfig {
        idle: Duration::from_secs(5),
        interval: Duration::from_secs(1),
        probes: 3,
        ..KeepaliveConfig::default()
    });
    let (a, _) = lab.open(A, B, 80);
    lab.silence(A);
    lab.send(a, 1);
    lab.take_wire();
    lab.run_secs(60);
    assert!(lab.take_wire().iter().all(|line| line.starts_with("A PSH,ACK 1+1 ack 1")), "only the data, again");
    assert_eq!(lab.state(a).name(), "ESTABLISHED", "what was sent counts, not the probes");
    lab.finish();
}

/// A window of zero for an hour: probes go on as long as the peer acknowledges them, and every byte arrives in the end.
//= spec/rfc9293.txt#section-3.8.6.1
//= type=test
//# As long as the receiving TCP peer continues to send acknowledgments in response to the probe segments, the sending
//# TCP peer MUST allow the connection to stay open (MUST-37).
#[test]
fn persist_for_an_hour_with_a_peer_that_acknowledges() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { recv_buffer: 16_384, ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.node(B).appetite = 0;
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100_000);
    lab.run_secs(10);
    let before = lab.sent().len();
    lab.run(60 * MINUTE);
    let probes = lab.sent()[before..].iter().filter(|sent| sent.from == Some(A)).count();
    assert!((30..=120).contains(&probes), "exponential up to the greatest RTO: {probes} probes in an hour");
    assert_eq!((lab.state(a).name(), lab.seen(b).read), ("ESTABLISHED", 0));
    lab.read_only(b, u64::MAX);
    lab.run_secs(10);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (100_000, None));
    lab.finish();
}

/// A window of zero whose owner is gone: the application is told.
#[test]
fn persist_gives_up_a_silent_peer() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { recv_buffer: 16_384, ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.node(B).appetite = 0;
    let (a, _) = lab.open(A, B, 80);
    lab.send(a, 100_000);
    lab.run_secs(10);
    lab.silence(B);
    lab.run(30 * MINUTE);
    assert_eq!(lab.seen(a).reason(), Some(CloseReason::TimedOut));
    lab.finish();
}

/// The window opens by one byte: that is no reason to send a tiny segment, and none to stop probing.
#[test]
fn zero_window_that_reopens_by_one_byte() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { recv_buffer: 16_384, ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.node(B).appetite = 0;
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100_000);
    lab.run_secs(10);
    let before = lab.sent().len();
    lab.read_only(b, 1);
    lab.run_millis(100);
    assert_eq!(lab.sent()[before..].iter().filter(|sent| sent.from == Some(B)).count(), 0, "no update for a byte");
    for _ in 0..100 {
        lab.read_only(b, 1);
        lab.run_secs(30);
    }
    let tiny = lab.sent()[before..].iter().filter(|sent| sent.from == Some(A) && sent.tcp.segment.len > 1).count();
    assert_eq!(tiny, 0, "a hundred bytes of window are no reason to send a small segment");
    lab.read_only(b, u64::MAX);
    lab.run_secs(130);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (100_000, None));
    lab.finish();
}

/// The SYN is answered late, after it went several times: one connection, and the RTO starts from 3 s (RFC 6298 5.7).
#[test]
fn a_syn_that_went_several_times_opens_once() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.rule(Rule::from(A).with(SYN).without(FIN).times(3).lose());
    let (a, _) = {
        let a = lab.connect(A, B, 80);
        lab.run_secs(10);
        (a, lab.accepted(B))
    };
    assert_eq!(lab.states(a), ["SYN-SENT", "ESTABLISHED"]);
    assert!(lab.try_accepted(B).is_none());
    lab.finish();
}
