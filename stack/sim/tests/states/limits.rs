//! What is bounded by a setting: how long a close lingers, how long data waits, how many may knock, how soon to begin.

use crate::{ACK, SYN, ended, events};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::{CloseReason, ConnectError};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Flags;
use corelane_sim::lab::{A, B, C, Lab, Rule, addr};
use std::time::Duration;

/// RFC 9293 3.4.3: a host that has forgotten its sequence numbers waits before it uses new ones.
#[test]
fn quiet_time_after_a_restart() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let _ = lab.open(A, B, 80);
    lab.restart(B, |config| config.quiet_time = Duration::from_secs(60));
    lab.listen(B, 80);
    let a = lab.connect(A, B, 80);
    lab.run_secs(20);
    let refused = lab.try_connect(B, SocketAddr::new(addr(B), 0), SocketAddr::new(addr(A), 80));
    assert!(matches!(refused, Err(ConnectError::QuietTime(left)) if left.as_secs() == 40), "{refused:?}");
    assert!(lab.sent().iter().all(|sent| sent.from != Some(B) || sent.tcp.segment.flags.has(Flags::SYN)));
    assert_eq!(lab.count(B, "dropped_quiet_time"), 5, "the SYN came after 0, 1, 3, 7 and 15 s");
    assert_eq!(events(&lab, a), ["retransmitting"]);
    lab.run_secs(60);
    assert_eq!(events(&lab, a), ["retransmitting", "connected"], "the SYN of 63 s was answered");
    lab.finish();
}

/// A close lingers as long as it was told; what the peer has not taken by then is given up, and the peer learns of it.
#[test]
fn linger_ends_with_a_reset() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { recv_buffer: 16_384, linger: Some(Duration::from_secs(5)), ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.node(B).appetite = 0;
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100_000);
    lab.run_secs(1);
    lab.turn(A);
    let closed_at = lab.now();
    lab.close(a);
    lab.run_secs(20);
    let (after, reason) = ended(&lab, a, closed_at);
    assert_eq!((after.as_secs(), reason), (5, CloseReason::TimedOut));
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Reset));
    lab.finish();
}

/// Linger of no time at all: close is abort.
#[test]
fn linger_of_zero_resets_at_once() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { linger: Some(Duration::ZERO), ..TcpConfig::default() };
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.close(a);
    lab.run_millis(100);
    assert_eq!(lab.take_wire(), ["A RST,ACK 1 ack 1"]);
    assert_eq!(lab.seen(a).reason(), Some(CloseReason::Aborted));
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Reset));
    lab.finish();
}

/// The user time-out ends a connection long before R2 when nothing is acknowledged any more, and no idle one.
#[test]
fn user_time_out_ends_what_makes_no_progress() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { user_timeout: Some(Duration::from_secs(3)), ..TcpConfig::default() };
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    lab.run_secs(60);
    assert_eq!(events(&lab, a), ["connected"], "there was nothing to wait for");
    lab.silence(B);
    let sent_at = lab.now();
    lab.send(a, 100);
    lab.run_secs(10);
    let (after, reason) = ended(&lab, a, sent_at);
    assert_eq!((after.as_secs(), reason), (3, CloseReason::TimedOut));
    lab.finish();
}

/// The SYN queue is full of one who never answers, and another gets in by a cookie, with all its options.
#[test]
fn a_full_syn_queue_is_passed_by_a_cookie() {
    let mut lab = Lab::with(3, |host, config| {
        if host == B {
            config.syn_queue = 1;
        }
    });
    lab.listen(B, 80);
    lab.rule(Rule::from(C).with(ACK).without(SYN).lose());
    let c = lab.connect(C, B, 80);
    lab.run_millis(20);
    assert_eq!(lab.node(B).endpoint.half_opens(), 1);
    let (a, b) = lab.open(A, B, 80);
    assert_eq!((lab.count(B, "syn_cookies_sent"), lab.count(B, "syn_cookies_accepted")), (1, 1));
    assert_eq!(lab.node(B).endpoint.half_opens(), 1, "nothing was remembered");
    lab.send(a, 1_000_000);
    lab.run_secs(20);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (1_000_000, None));
    let widest = lab.info(a).map(|info| info.send_window);
    assert!(widest > Some(65_535), "its window is scaled: {widest:?}");
    lab.no_rules();
    lab.abort(c);
    lab.run_secs(1);
    lab.finish();
}
