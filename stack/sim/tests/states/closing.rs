//! From ESTABLISHED to the end.

use crate::{ACK, FIN, events};
use corelane_proto::endpoint::{CloseReason, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_sim::lab::{A, B, Lab, Rule};
use std::time::Duration;

/// RFC 9293 3.6, figure 12.
#[test]
fn normal_close_sequence() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.close(a);
    lab.run_millis(20);
    lab.close(b);
    lab.run_millis(100);
    assert_eq!(lab.take_wire(), ["A FIN,ACK 1 ack 1", "B ACK 1 ack 2", "B FIN,ACK 1 ack 2", "A ACK 2 ack 2"]);
    assert_eq!(lab.states(a)[1..4], ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"]);
    assert_eq!(lab.states(b), ["ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]);
    assert_eq!(
        (events(&lab, a), events(&lab, b)),
        (
            vec!["connected".to_owned(), "finished".to_owned()],
            ["accepted", "peer closed", "finished"].map(str::to_owned).to_vec(),
        )
    );
    assert_eq!(lab.node(A).endpoint.time_waits(), 1);
    lab.finish();
}

/// RFC 9293 3.6, figure 13: both FINs cross, both ends go through CLOSING, and both wait for 2 MSL.
#[test]
fn simultaneous_close_through_closing() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.shut_write(a);
    lab.shut_write(b);
    lab.run_millis(100);
    let wire = lab.take_wire();
    assert_eq!(wire, ["A FIN,ACK 1 ack 1", "B FIN,ACK 1 ack 1", "A ACK 2 ack 2", "B ACK 2 ack 2"]);
    for end in [a, b] {
        assert_eq!(
            lab.states(end).split_at(lab.states(end).len() - 4).1[..3],
            ["ESTABLISHED", "FIN-WAIT-1", "CLOSING"]
        );
        assert_eq!(lab.seen(end).reason(), Some(CloseReason::Finished));
    }
    assert_eq!((lab.node(A).endpoint.time_waits(), lab.node(B).endpoint.time_waits()), (1, 1));
    lab.finish();
}

/// In CLOSING the ACK of our FIN is lost: the FIN goes again, and is acknowledged again.
#[test]
fn closing_sends_its_fin_again() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.shut_write(a);
    lab.shut_write(b);
    lab.rule(Rule::from(B).with(ACK).without(FIN).times(1).lose());
    lab.run_secs(3);
    assert!(lab.states(a).contains(&"CLOSING"), "{:?}", lab.states(a));
    assert_eq!(lab.seen(a).reason(), Some(CloseReason::Finished));
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Finished));
    assert!(lab.count(A, "retransmits") >= 1);
    lab.finish();
}

/// The last data and the FIN go in one segment; both count.
#[test]
fn fin_with_data() {
    let mut lab = Lab::new(2);
    lab.tcp = TcpConfig { nodelay: false, ..TcpConfig::default() };
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    // Without waiting in between: the endpoint is asked for segments only after both calls.
    lab.call(a, |endpoint, id| endpoint.shutdown(id, Shutdown::Read));
    lab.send_then(a, 100, |endpoint, id| endpoint.shutdown(id, Shutdown::Write));
    lab.run_millis(100);
    assert_eq!(lab.take_wire()[..2], ["A FIN,PSH,ACK 1+100 ack 1", "B ACK 1 ack 102"]);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (100, None));
    assert_eq!(events(&lab, b), ["accepted", "readable", "peer closed"]);
    lab.finish();
}

/// The FIN overtakes the data in front of it: it waits, and the application hears of it after the data.
#[test]
fn fin_before_the_data_in_front_of_it() {
    let mut lab = Lab::new(2);
    // A probe would bring the data before it comes by itself.
    lab.tcp = TcpConfig { tail_loss_probe: false, ..TcpConfig::default() };
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.take_wire();
    lab.rule(Rule::from(A).data().times(1).delay(Duration::from_millis(50)));
    lab.send(a, 100);
    lab.shut_write(a);
    lab.run_millis(20);
    assert_eq!(lab.states(b).last(), Some(&"ESTABLISHED"));
    assert_eq!(lab.take_wire(), ["A PSH,ACK 1+100 ack 1 late", "A FIN,ACK 101 ack 1", "B ACK 1 ack 1"]);
    lab.run_millis(100);
    assert_eq!(lab.states(b).last(), Some(&"CLOSE-WAIT"));
    assert_eq!(events(&lab, b), ["accepted", "readable", "peer closed"]);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (100, None));
    assert_eq!(lab.take_wire(), ["B ACK 1 ack 102"]);
    lab.finish();
}

/// One direction is closed for an hour while megabytes flow in the other, with pauses longer than any time-out.
#[test]
fn half_close_for_an_hour_with_megabytes_the_other_way() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.shut_write(a);
    lab.rule(Rule::from(B).data().after(100).times(3).lose());
    for _ in 0..6 {
        lab.run_secs(600);
        assert_eq!((lab.state(a).name(), lab.state(b).name()), ("FIN-WAIT-2", "CLOSE-WAIT"));
        lab.send(b, 1_000_000);
    }
    lab.run_secs(10);
    assert_eq!((lab.seen(a).read, lab.seen(a).wrong_at), (6_000_000, None));
    lab.close(b);
    lab.run_millis(100);
    assert_eq!(events(&lab, a).last().map(String::as_str), Some("finished"));
    assert_eq!(lab.states(a)[1..], ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"]);
    lab.finish();
}

/// RFC 2525 2.17: closed with data unread, the peer learns by an RST that its data were not read.
//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# If such a host issues a CLOSE call while received data is still pending in the TCP connection, or if new data is
//# received after CLOSE is called, its TCP implementation SHOULD send a RST to show that data was lost (SHLD-3).
#[test]
fn close_with_unread_data_resets() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    lab.node(B).appetite = 0;
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 100);
    lab.run_millis(100);
    lab.take_wire();
    lab.close(b);
    lab.run_millis(100);
    assert_eq!(lab.take_wire(), ["B RST,ACK 1 ack 101"]);
    assert_eq!(events(&lab, a), ["connected", "reset"]);
    assert_eq!(lab.seen(b).reason(), Some(CloseReason::Aborted));
    lab.finish();
}

/// Data that comes after the application has closed is answered by an RST.
#[test]
fn data_after_close_resets() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.close(b);
    lab.run_millis(20);
    assert_eq!((lab.state(a).name(), lab.state(b).name()), ("CLOSE-WAIT", "FIN-WAIT-2"));
    lab.take_wire();
    lab.send(a, 100);
    lab.run_millis(100);
    assert_eq!(lab.take_wire(), ["A PSH,ACK 1+100 ack 2", "B RST,ACK 2 ack 1"]);
    assert_eq!(events(&lab, a), ["connected", "peer closed", "reset"]);
    assert_eq!(lab.count(B, "dropped_after_close"), 1);
    lab.finish();
}

/// What was queued before the close still goes out, all of it, and the FIN behind it.
#[test]
fn lingering_data_goes_out_after_close() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.send(a, 200_000);
    assert_eq!(lab.seen(a).to_send, 0, "the send buffer holds all of it");
    lab.close(a);
    lab.run_secs(5);
    assert_eq!((lab.seen(b).read, lab.seen(b).wrong_at), (200_000, None));
    assert_eq!(events(&lab, b).last().map(String::as_str), Some("peer closed"));
    lab.finish();
}

/// Shutting the reading side: what comes is acknowledged and thrown away, the peer is not disturbed.
#[test]
fn shutdown_read_throws_away() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.call(b, |endpoint, id| endpoint.shutdown(id, Shutdown::Read));
    lab.send(a, 1_000_000);
    lab.run_secs(5);
    assert_eq!((lab.seen(a).to_send, lab.seen(b).read), (0, 0));
    assert_eq!(lab.seen(a).reason(), None);
    lab.send(b, 1000);
    lab.run_millis(100);
    assert_eq!(lab.seen(a).read, 1000, "the other direction is as it was");
    lab.finish();
}

/// Shutting both: the FIN goes, and what comes is thrown away until the peer's FIN.
#[test]
fn shutdown_both_ends_when_the_peer_does() {
    let mut lab = Lab::new(2);
    lab.listen(B, 80);
    let (a, b) = lab.open(A, B, 80);
    lab.call(b, |endpoint, id| endpoint.shutdown(id, Shutdown::Both));
    lab.send(a, 100_000);
    lab.run_secs(5);
    assert_eq!((lab.state(a).name(), lab.state(b).name()), ("CLOSE-WAIT", "FIN-WAIT-2"));
    lab.close(a);
    lab.run_secs(1);
    assert_eq!(
        (lab.seen(a).reason(), lab.seen(b).reason()),
        (Some(CloseReason::Finished), Some(CloseReason::Finished))
    );
    assert_eq!(lab.seen(b).read, 0);
    lab.finish();
}

/// An abort is an RST with the number that the peer expects, in every state in which there is a peer.
#[test]
fn abort_resets_in_every_state() {
    for (state, a_shuts, b_shuts) in
        [("ESTABLISHED", false, false), ("FIN-WAIT-2", true, false), ("CLOSE-WAIT", false, true)]
    {
        let mut lab = Lab::new(2);
        lab.listen(B, 80);
        let (a, b) = lab.open(A, B, 80);
        if a_shuts {
            lab.shut_write(a);
        }
        if b_shuts {
            lab.shut_write(b);
        }
        lab.run_millis(50);
        assert_eq!(lab.state(a).name(), state);
        lab.abort(a);
        lab.run_millis(50);
        assert_eq!(
            (lab.seen(a).reason(), lab.seen(b).reason()),
            (Some(CloseReason::Aborted), Some(CloseReason::Reset))
        );
        assert_eq!(lab.count(A, "resets_out"), 1);
        lab.finish();
    }
}
