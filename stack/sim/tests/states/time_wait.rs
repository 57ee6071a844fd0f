//! TIME-WAIT: how long, what it answers, what cannot end it, and how its two ends are used again.

use crate::{ACK, FIN, from_port_7000};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::{CloseReason, ConnectError};
use corelane_proto::tcp::config::TcpConfig;
use corelane_sim::lab::{A, B, End, Forge, Lab, Rule, addr};

/// A connection that A has closed first, so that A is in TIME-WAIT. What it sent is still in the log.
fn closed_by_a(lab: &mut Lab) -> (End, End) {
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100);
    lab.send(b, 100);
    lab.run_millis(200);
    lab.close(a);
    lab.run_millis(20);
    lab.close(b);
    lab.run_millis(20);
    assert_eq!((lab.node(A).endpoint.time_waits(), lab.node(B).endpoint.connections()), (1, 0));
    (a, b)
}

/// It waits for 2 MSL and no longer; every FIN that comes again is acknowledged and starts the wait anew.
//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL (Maximum Segment
//# Lifetime) (MUST-13).
#[test]
fn time_wait_of_2msl_re_acks_and_restarts() {
    let mut lab = Lab::new(2);
    closed_by_a(&mut lab);
    let fin = lab.sent().iter().rfind(|sent| sent.from == Some(B) && sent.tcp.segment.flags.has(FIN)).cloned();
    let fin = fin.expect("B sent its FIN").tcp;
    lab.take_wire();
    lab.run_secs(50);
    assert_eq!(lab.node(A).endpoint.time_waits(), 1);
    lab.inject(A, &Forge::replay(B, A, &fin).frame());
    lab.run_millis(20);
    assert_eq!(lab.take_wire(), ["X FIN,ACK 101 ack 102", "A ACK 102 ack 102", "B RST 102"]);
    lab.run_secs(58);
    assert_eq!(lab.node(A).endpoint.time_waits(), 1, "the FIN started the wait anew, and B's RST did not end it");
    lab.run_secs(3);
    assert_eq!(lab.node(A).endpoint.time_waits(), 0);
    lab.finish();
}

/// The last ACK is lost: B's FIN comes again, is acknowledged from the table, and B ends well.
#[test]
fn the_last_ack_is_lost() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.close(a);
    lab.run_millis(20);
    lab.rule(Rule::from(A).with(ACK).without(FIN).times(1).lose());
    lab.close(b);
    lab.run_millis(20);
    assert_eq!(lab.state(b).name(), "LAST-ACK");
    lab.run_secs(2);
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Finished));
    assert_eq!(lab.count(B, "resets_out") + lab.count(A, "resets_out"), 0);
    lab.finish();
}

/// An old data segment of the connection comes to A in TIME-WAIT. Its ACK makes B, which knows nothing, send an RST: the
/// assassination of RFC 1337. Says what A has sent to B's RST and leaves the rest to the caller.
fn assassinate(lab: &mut Lab) {
    let old = lab.sent().iter().find(|sent| sent.from == Some(B) && sent.tcp.segment.len == 100).cloned();
    let old = old.expect("B sent data").tcp;
    lab.take_wire();
    lab.inject(A, &Forge::replay(B, A, &old).frame());
    lab.run_millis(50);
    assert_eq!(lab.take_wire(), ["X PSH,ACK 1+100 ack 1", "A ACK 102 ack 102", "B RST 102"]);
    assert_eq!(lab.node(A).endpoint.time_waits(), 1, "the RST did not end TIME-WAIT");
}

/// RFC 1337 H1: old data would be taken by a new connection. TIME-WAIT outlives the RST, so there is none that could.
#[test]
fn rfc_1337_hazard_1_old_data_is_not_taken_by_a_new_connection() {
    let mut lab = Lab::with(2, from_port_7000);
    closed_by_a(&mut lab);
    assassinate(&mut lab);
    // The only port is in TIME-WAIT: the two ends can't be used again by A.
    let refused = lab.try_connect(A, SocketAddr::new(addr(A), 0), SocketAddr::new(addr(B), 80));
    assert_eq!(refused, Err(ConnectError::NoPort(SocketAddr::new(addr(B), 80))));
    lab.run_secs(61);
    let (a, b) = lab.open(A, B, 80);
    lab.send(b, 500);
    lab.run_millis(100);
    assert_eq!((lab.seen(a).read, lab.seen(a).wrong_at), (500, None));
    lab.finish();
}

/// RFC 1337 H2: an old ACK would make the ends of a new connection disagree for ever. B opens the next one to the port
/// in TIME-WAIT; an old ACK of the last one changes nothing in it.
#[test]
fn rfc_1337_hazard_2_an_old_ack_does_not_desynchronize() {
    let mut lab = Lab::with(2, |host, config| {
        from_port_7000(host, config);
        config.ports = if host == B { (80, 80) } else { config.ports };
    });
    let (old_a, _) = closed_by_a(&mut lab);
    let old = lab.sent().iter().rfind(|sent| sent.from == Some(B)).cloned().expect("B's last").tcp;
    assassinate(&mut lab);
    let flow = lab.seen(old_a).flow;
    // Long after: A listens at its port, B connects from port 80.
    lab.run_secs(61);
    lab.listen(A, 7000);
    lab.unlisten_all(B);
    let (b, a) = lab.open(B, A, 7000);
    assert_eq!(lab.seen(a).flow, flow, "the same two ends");
    lab.inject(A, &Forge::replay(B, A, &old).frame());
    lab.run_millis(100);
    let before = lab.sent().len();
    lab.run_secs(1);
    assert_eq!(lab.sent().len(), before, "no ACKs that answer each other");
    lab.send(a, 1000);
    lab.send(b, 1000);
    lab.run_secs(1);
    assert_eq!((lab.seen(a).read, lab.seen(b).read), (1000, 1000));
    lab.finish();
}

/// RFC 1337 H3: the RST that comes of an old segment would kill a new connection.
#[test]
fn rfc_1337_hazard_3_a_new_connection_does_not_die() {
    let mut lab = Lab::with(2, from_port_7000);
    // B closes first and is in TIME-WAIT; A connects again from the same port.
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.send(b, 100);
    lab.run_millis(100);
    lab.close(b);
    lab.run_millis(20);
    lab.close(a);
    lab.run_millis(20);
    assert_eq!(lab.node(B).endpoint.time_waits(), 1);
    let old = lab.sent().iter().find(|sent| sent.tcp.segment.len == 100).cloned().expect("data").tcp;
    lab.run_secs(2);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.inject(A, &Forge::replay(B, A, &old).frame());
    lab.run_millis(100);
    assert!(lab.take_wire().iter().all(|line| !line.contains("RST")));
    lab.send(a, 1000);
    lab.send(b, 1000);
    lab.run_secs(1);
    assert_eq!((lab.seen(a).read, lab.seen(a).wrong_at), (1000, None));
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (1000, None));
    lab.finish();
}

/// B closed first; A connects again from the same port at once.
fn reuse(tcp: TcpConfig) -> (Lab, Vec<String>) {
    let mut lab = Lab::with(2, from_port_7000);
    lab.tcp = tcp;
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100_000);
    lab.run_secs(1);
    lab.close(b);
    lab.run_millis(20);
    lab.close(a);
    lab.run_millis(20);
    assert_eq!(lab.node(B).endpoint.time_waits(), 1);
    lab.take_wire();
    let (a, b) = lab.open(A, B, 80);
    let wire = lab.take_wire();
    assert_eq!(lab.node(B).endpoint.time_waits(), 0, "the new connection took the old one's place");
    lab.send(a, 1000);
    lab.run_millis(100);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (1000, None));
    (lab, wire)
}

/// RFC 6191: a SYN with a later timestamp opens a connection out of TIME-WAIT at once.
#[test]
fn reuse_by_timestamps() {
    let (lab, wire) = reuse(TcpConfig::default());
    assert_eq!(wire, ["A SYN 0", "B SYN,ACK 0 ack 1", "A ACK 1 ack 1"]);
    lab.finish();
}

/// RFC 9293 3.6.1 (MAY-2): without timestamps it is the sequence number that has to be later.
#[test]
fn reuse_by_sequence_number() {
    let (lab, wire) = reuse(TcpConfig { timestamps: false, ..TcpConfig::default() });
    assert_eq!(wire, ["A SYN 0", "B SYN,ACK 0 ack 1", "A ACK 1 ack 1"]);
    lab.finish();
}

/// A new listener at once after the old one closed, although connections are in TIME-WAIT.
#[test]
fn an_address_is_used_again_at_once() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.close(b);
    lab.run_millis(20);
    lab.close(a);
    lab.run_millis(20);
    assert_eq!(lab.node(B).endpoint.time_waits(), 1);
    lab.unlisten_all(B);
    lab.listen(B, 80);
    let (a, _) = lab.open(A, B, 80);
    assert_eq!(lab.state(a).name(), "ESTABLISHED");
    assert_eq!(lab.node(B).endpoint.time_waits(), 1);
    lab.finish();
}

/// A SYN of a connection that is over comes again, at the end that is not in TIME-WAIT: the listener answers, TIME-WAIT
/// answers that, and there it ends; neither answers the other's answers.
#[test]
fn an_old_syn_after_the_close_starts_no_storm() {
    let mut lab = Lab::new(2);
    closed_by_a(&mut lab);
    let old = lab.sent()[0].tcp.clone();
    lab.take_wire();
    lab.inject(B, &Forge::replay(A, B, &old).frame());
    assert_eq!(lab.node(B).endpoint.half_opens(), 1);
    lab.run_secs(10);
    let sent = lab.take_wire().len();
    assert!(sent <= 20, "{sent} segments in ten seconds");
    lab.finish();
}
