//! Ways into ESTABLISHED, and out of SYN-SENT and SYN-RECEIVED.

use crate::{ACK, SYN, events, from_port_7000};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::config::TcpConfig;
use corelane_sim::lab::{A, B, End, Lab, Rule, addr};
use std::time::Duration;

/// Both hosts bind port 7000 and connect to each other: the SYNs cross.
fn cross(lab: &mut Lab) -> (End, End) {
    let ends = [A, B].map(|host| SocketAddr::new(addr(host), 7000));
    (lab.connect_from(A, ends[0], ends[1]), lab.connect_from(B, ends[1], ends[0]))
}

/// RFC 9293 3.5, figure 6.
#[test]
fn basic_three_way_handshake() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    assert_eq!(lab.wire(), ["A SYN 0", "B SYN,ACK 0 ack 1", "A ACK 1 ack 1"]);
    assert_eq!(lab.states(a), ["SYN-SENT", "ESTABLISHED"]);
    assert_eq!((events(&lab, a), events(&lab, b)), (vec!["connected".to_owned()], vec!["accepted".to_owned()]));
    assert_eq!((lab.count(A, "opened_active"), lab.count(B, "opened_passive")), (1, 1));
    lab.finish();
}

/// RFC 9293 3.5, figure 7: both SYNs cross, both ends answer with a SYN-ACK, and there is one connection.
//= spec/rfc9293.txt#section-3.5
//= type=test
//# A TCP implementation MUST support simultaneous open attempts (MUST-10).
#[test]
fn simultaneous_open() {
    let mut lab = Lab::new(2);
    let (a, b) = cross(&mut lab);
    lab.run_millis(100);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]);
    assert_eq!(lab.states(b), ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]);
    assert_eq!(lab.wire()[..4], ["A SYN 0", "B SYN 0", "A SYN,ACK 0 ack 1", "B SYN,ACK 0 ack 1"]);
    assert!(lab.wire()[4..].iter().all(|line| line.ends_with("ACK 1 ack 1")), "{:?}", lab.wire());
    assert_eq!((events(&lab, a), events(&lab, b)), (vec!["connected".to_owned()], vec!["connected".to_owned()]));
    // It is one connection like any other.
    lab.send(a, 100_000);
    lab.send(b, 50_000);
    lab.run_secs(5);
    assert_eq!((lab.seen(a).read, lab.seen(b).read), (50_000, 100_000));
    assert_eq!((lab.seen(a).wrong_at, lab.seen(b).wrong_at), (None, None));
    lab.finish();
}

/// The same over IPv6, and with the first SYN of one side lost: only the other one becomes SYN-RECEIVED by a bare SYN.
#[test]
fn syn_sent_to_syn_received() {
    let mut lab = Lab::with(2, from_port_7000);
    lab.rule(Rule::from(A).with(SYN).times(1).lose());
    let a = lab.connect6(A, B, 7000);
    let b = lab.connect6(B, A, 7000);
    lab.run_millis(100);
    assert_eq!(lab.wire()[..3], ["A SYN 0 lost", "B SYN 0", "A SYN,ACK 0 ack 1"]);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]);
    assert_eq!(lab.states(b), ["SYN-SENT", "ESTABLISHED"]);
    lab.finish();
}

/// The SYN-ACK of a simultaneous open is lost too: the retransmission timer sends it again.
#[test]
fn syn_received_sends_its_syn_ack_again() {
    let mut lab = Lab::with(2, from_port_7000);
    lab.rule(Rule::from(A).with(SYN).times(2).lose());
    lab.rule(Rule::from(B).with(SYN).after(1).lose());
    let a = lab.connect(A, B, 7000);
    lab.connect(B, A, 7000);
    lab.run_millis(500);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED"]);
    lab.run_millis(3000);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]);
    lab.finish();
}

/// RFC 9293 3.5, figure 8: an old SYN makes the listener half-open; the RST of the host that never asked takes it back
/// to LISTEN, and the connection that is really wanted opens.
#[test]
fn rst_in_syn_received_returns_a_passive_opener_to_listen() {
    let mut lab = Lab::with(2, from_port_7000);
    lab.listen(B, 80);
    lab.rule(Rule::from(A).with(SYN).times(1).hold());
    let old = lab.connect(A, B, 80);
    lab.abort(old);
    assert_eq!(lab.seen(old).reason(), Some(CloseReason::Aborted));
    lab.release();
    lab.run_millis(6);
    assert_eq!(lab.node(B).endpoint.half_opens(), 1);
    lab.run_millis(100);
    assert_eq!(lab.wire(), ["A SYN 0 held", "B SYN,ACK 0 ack 1", "A RST 1"]);
    assert_eq!((lab.node(B).endpoint.half_opens(), lab.node(B).endpoint.connections()), (0, 0));
    assert!(lab.try_accepted(B).is_none(), "the application is not told of what was taken back");
    let (new, _) = lab.open(A, B, 80);
    assert_eq!(lab.states(new), ["SYN-SENT", "ESTABLISHED"]);
    lab.finish();
}

/// The same RST ends an opener that became SYN-RECEIVED by a simultaneous open.
#[test]
fn rst_in_syn_received_returns_an_active_opener_to_closed() {
    let mut lab = Lab::new(2);
    let (a, b) = cross(&mut lab);
    lab.rule(Rule::from(B).with(SYN).lose());
    // B forgets everything before A's answer reaches it.
    lab.run_millis(6);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED"]);
    assert_eq!(lab.states(b), ["SYN-SENT", "SYN-RECEIVED"]);
    lab.restart(B, |_| {});
    lab.run_secs(2);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED", "CLOSED"]);
    assert!(matches!(lab.seen(a).reason(), Some(CloseReason::Refused | CloseReason::Reset)));
    assert!(lab.wire().iter().any(|line| line.starts_with("B RST 1")), "{:?}", lab.wire());
    assert_eq!(lab.count(B, "resets_out"), 1);
    lab.finish();
}

/// RFC 9293 3.10.1: a listener that opens becomes a connection, from its own port, and is no listener any more.
#[test]
fn a_listener_that_connects() {
    let mut lab = Lab::new(2);
    lab.listen(A, 5000);
    lab.listen(B, 80);
    let a = lab.connect_listener(A, 5000, SocketAddr::new(addr(B), 80)).expect("it can");
    lab.run_millis(100);
    let b = lab.accepted(B);
    assert_eq!(lab.states(a), ["SYN-SENT", "ESTABLISHED"]);
    assert_eq!(lab.seen(b).flow.remote, SocketAddr::new(addr(A), 5000));
    assert_eq!(events(&lab, a), ["connected"]);
    lab.send(b, 1000);
    lab.run_millis(100);
    assert_eq!((lab.seen(a).read, lab.seen(a).wrong_at), (1000, None));
    // Nobody listens there any more.
    let c = lab.connect(B, A, 5000);
    lab.run_millis(100);
    assert_eq!(events(&lab, c), ["refused"]);
    lab.finish();
}

/// RFC 9293 3.10.7.3: an RST in SYN-SENT refuses the connection, but only with the ACK of our SYN.
#[test]
fn rst_in_syn_sent_refuses() {
    let mut lab = Lab::new(2);
    let a = lab.connect(A, B, 81);
    lab.run_millis(100);
    assert_eq!(lab.wire(), ["A SYN 0", "B RST,ACK 0 ack 1"]);
    assert_eq!(events(&lab, a), ["refused"]);
    assert_eq!(lab.count(B, "dropped_no_listener"), 1);
    lab.finish();
}

/// RFC 9293 3.5.1, figure 9: a host that lost its memory is found out by the ACK to its new SYN.
//= spec/rfc9293.txt#section-3.5.1
//= type=test
//# An established connection is said to be "half-open" if one of the TCP peers has closed or aborted the connection
//# at its end without the knowledge of the other, or if the two ends of the connection have become desynchronized owing
//# to a failure or reboot that resulted in loss of memory.
#[test]
fn half_open_connection_discovered_by_a_syn() {
    let mut lab = Lab::with(2, from_port_7000);
    lab.listen(B, 80);
    let (_, b) = lab.open(A, B, 80);
    lab.restart(A, |_| {});
    let again = lab.connect(A, B, 80);
    lab.run_millis(500);
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Reset));
    lab.run_secs(3);
    assert_eq!(lab.states(again).last(), Some(&"ESTABLISHED"));
    assert_eq!(lab.count(B, "dropped_unacceptable"), 1);
    assert!(lab.wire()[5].starts_with("A RST"), "{:?}", lab.wire());
    lab.finish();
}

/// RFC 9293 3.5.1, figure 10: data to a host that lost its memory is answered by an RST.
#[test]
fn half_open_connection_discovered_by_data() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    lab.restart(B, |_| {});
    lab.send(a, 10);
    lab.run_millis(100);
    assert_eq!(lab.wire()[3..], ["A PSH,ACK 1+10 ack 1", "B RST 1"]);
    assert_eq!(events(&lab, a), ["connected", "reset"]);
    lab.finish();
}

/// An application that closes before the handshake is done: the FIN follows the SYN in order, and no byte is lost.
#[test]
fn close_in_syn_received_goes_to_fin_wait_1() {
    let mut lab = Lab::new(2);
    let (a, b) = cross(&mut lab);
    lab.run_millis(6);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED"]);
    lab.send(a, 10);
    lab.shut_write(a);
    lab.run_millis(100);
    assert_eq!(lab.states(a)[2..].iter().find(|state| **state != "ESTABLISHED"), Some(&"FIN-WAIT-1"));
    assert_eq!(lab.states(a).last(), Some(&"FIN-WAIT-2"));
    assert_eq!(lab.states(b).last(), Some(&"CLOSE-WAIT"));
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (10, None));
    assert_eq!(events(&lab, b), ["connected", "readable", "peer closed"]);
    lab.finish();
}

/// The same with nothing to send: the FIN goes at once, out of SYN-RECEIVED (RFC 9293 3.10.4).
#[test]
fn close_in_syn_received_with_nothing_queued_sends_the_fin_at_once() {
    let mut lab = Lab::new(2);
    let (a, b) = cross(&mut lab);
    lab.run_millis(6);
    assert_eq!(lab.states(a), ["SYN-SENT", "SYN-RECEIVED"]);
    lab.shut_write(a);
    assert_eq!(lab.states(a).last(), Some(&"FIN-WAIT-1"));
    lab.run_millis(100);
    assert_eq!(lab.states(a)[2..], ["FIN-WAIT-1", "FIN-WAIT-2"]);
    assert_eq!(lab.states(b).last(), Some(&"CLOSE-WAIT"));
    assert_eq!(events(&lab, b), ["connected", "peer closed"]);
    lab.finish();
}

/// The handshake's last ACK is lost: the SYN-ACK goes again, or the first data does its work.
#[test]
fn a_lost_last_ack_of_the_handshake_costs_nothing() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.rule(Rule::from(A).with(ACK).times(1).lose());
    let a = lab.connect(A, B, 80);
    lab.run_millis(50);
    assert_eq!(lab.node(B).endpoint.half_opens(), 1);
    lab.send(a, 10);
    lab.run_millis(50);
    let b = lab.accepted(B);
    assert_eq!((lab.seen(b).read, lab.node(B).endpoint.half_opens()), (10, 0));
    lab.finish();
}

/// RFC 7413 3: the second connection has its request in the SYN, and a copy of that SYN while it is open brings nothing.
#[test]
fn fast_open() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { fast_open: true, ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.open(A, B, 80);
    lab.take_wire();
    lab.rule(Rule::from(A).with(SYN).times(1).double(Duration::from_millis(300)));
    let a = lab.connect_saying(A, B, 80, 500);
    lab.run(lab.delay);
    let b = lab.accepted(B);
    assert_eq!((lab.seen(b).read, lab.states(b)), (500, vec!["ESTABLISHED"]), "by the SYN alone");
    lab.send(b, 3000);
    lab.run_secs(2);
    let wire = lab.wire();
    assert_eq!(wire[..2], ["A SYN 0+500 twice", "B SYN,ACK 0 ack 501"]);
    assert_eq!((lab.seen(a).read, lab.seen(b).read), (3000, 500));
    assert_eq!((lab.seen(a).wrong_at, lab.seen(b).wrong_at, lab.try_accepted(B)), (None, None, None));
    assert_eq!((lab.count(A, "fast_open_sent"), lab.count(B, "fast_open_accepted")), (1, 1));
    assert_eq!((events(&lab, a)[0].as_str(), events(&lab, b)[0].as_str()), ("connected", "accepted"));
}

/// RFC 7413 2.1: a copy of the SYN that comes when the connection is over opens another with the same request. Nothing in
/// TCP prevents it; what it brings is a connection of its own.
#[test]
fn fast_open_by_an_old_copy_repeats_the_request_in_a_connection_of_its_own() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { fast_open: true, ..TcpConfig::default() };
    lab.listen(B, 80);
    lab.open(A, B, 80);
    lab.rule(Rule::from(A).with(SYN).times(1).double(Duration::from_secs(3)));
    let a = lab.connect_saying(A, B, 80, 500);
    lab.run_millis(500);
    let b = lab.accepted(B);
    lab.close(a);
    lab.run_millis(500);
    lab.close(b);
    lab.run_secs(1);
    assert_eq!(
        (lab.seen(a).reason(), lab.seen(b).reason()),
        (Some(CloseReason::Finished), Some(CloseReason::Finished))
    );
    lab.run_secs(2);
    let again = lab.accepted(B);
    assert_eq!((lab.seen(again).read, lab.seen(again).wrong_at), (500, None));
    assert_eq!((lab.seen(b).read, lab.count(B, "fast_open_accepted")), (500, 2));
    lab.abort(again);
    lab.run_secs(1);
    assert_eq!(lab.seen(a).reason(), Some(CloseReason::Finished), "the one that asked hears nothing of it");
}
