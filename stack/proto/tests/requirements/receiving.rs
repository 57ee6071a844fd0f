//! What is made of what comes in.

use crate::bench::{Bench, IRS, PORTS, host, segment};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::{CloseReason, Event};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Flags;
use std::time::Duration;

//= spec/rfc9293.txt#section-3.10.7.4
//= type=test
//# the processing of received segments MUST be implemented to aggregate ACK segments whenever possible (MUST-58). For
//# example, if the TCP endpoint is processing a series of queued segments, it MUST process them all before sending
//# any ACK segments (MUST-59).
#[test]
fn segments_that_wait_together_are_all_processed_and_then_acknowledged_once() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let to = SocketAddr::new(host(true, 1), PORTS.0);
    for n in 0..20 {
        let frame = bench.frame(to, &segment(IRS + 1 + 100 * n, ours, Flags::ACK, 100));
        bench.receive_frame(&frame);
    }
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|segment| (segment.ack, segment.len)).collect::<Vec<_>>(), [(IRS + 2001, 0)]);
    assert_eq!(bench.read(conn), 2000);
}

#[test]
fn an_ack_goes_with_the_data_that_answers() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let frame = bench.frame(SocketAddr::new(host(true, 1), PORTS.0), &segment(IRS + 1, ours, Flags::ACK, 100));
    bench.receive_frame(&frame);
    bench.read(conn);
    let sent = bench.send(conn, 10);
    assert_eq!(sent.iter().map(|segment| (segment.ack, segment.len)).collect::<Vec<_>>(), [(IRS + 101, 10)]);
    assert_eq!(bench.wait(Duration::from_millis(150)), [], "and not again by itself");
}

//= spec/rfc9293.txt#section-3.10.7.4
//= type=test
//# A TCP implementation MAY send an ACK segment acknowledging RCV.NXT when a valid segment arrives that is in the
//# window but not at the left window edge (MAY-13).
//= spec/rfc9293.txt#section-3.10.7.4
//= type=test
//# Segments with higher beginning sequence numbers SHOULD be held for later processing (SHLD-31).
//= spec/rfc5681.txt#section-4.2
//= type=test
//# Out-of-order data segments SHOULD be acknowledged immediately, in order to accelerate loss recovery.
//= spec/rfc5681.txt#section-4.2
//= type=test
//# the receiver SHOULD send an immediate ACK when it receives a data segment that fills in all or part of a gap in
//# the sequence space.
#[test]
fn a_segment_ahead_of_a_gap_is_kept_and_the_gap_is_told_at_once() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let told = bench.receive(segment(IRS + 101, ours, Flags::ACK, 100));
    assert_eq!(told.iter().map(|segment| segment.ack).collect::<Vec<_>>(), [IRS + 1]);
    assert_eq!(bench.read(conn), 0);
    let told = bench.receive(segment(IRS + 1, ours, Flags::ACK, 100));
    assert_eq!(told.iter().map(|segment| segment.ack).collect::<Vec<_>>(), [IRS + 201]);
    assert_eq!(bench.read(conn), 200);
}

//= spec/rfc9293.txt#section-3.5.3
//= type=test
//# TCP implementations SHOULD allow a received RST segment to include data (SHLD-2).
#[test]
fn a_reset_may_have_text() {
    for flags in [Flags::RST, Flags::RST | Flags::ACK] {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, ours) = bench.open();
        assert_eq!(bench.receive(segment(IRS + 1, ours, flags, 20)), []);
        assert_eq!(bench.ended(conn), Some(CloseReason::Reset), "and the text is not delivered");
    }
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# A host MAY implement a "half-duplex" TCP close sequence, so that an application that has called CLOSE cannot
//# continue to read data from the connection (MAY-1). If such a host issues a CLOSE call while received data is still
//# pending in the TCP connection, or if new data is received after CLOSE is called, its TCP implementation SHOULD
//# send a RST to show that data was lost (SHLD-3).
//= spec/rfc1122.txt#section-4.2.2.13
//= type=test
//# if new data is received after CLOSE is called, its TCP SHOULD send a RST to show that data was lost.
#[test]
fn data_after_a_close_is_answered_by_a_reset() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.endpoint.close(conn);
    assert!(bench.sent()[0].flags.has(Flags::FIN));
    let answer = bench.receive(segment(IRS + 1, ours + 1, Flags::ACK, 10));
    assert!(answer.len() == 1 && answer[0].flags.has(Flags::RST), "{answer:?}");
    assert_eq!(bench.endpoint.counters().dropped_after_close, 1);
    assert!(!bench.events().contains(&Event::Readable(conn)), "whoever has closed cannot read");
}

//= spec/rfc9293.txt#section-3.9.2.3
//= type=test
//# An incoming SYN with an invalid source address MUST be ignored | either by TCP or by the IP layer [(MUST-63)]
//= spec/rfc9293.txt#section-3.9.2.3
//= type=test
//# A TCP implementation MUST silently discard an incoming SYN segment | that is addressed to a broadcast or multicast
//# address [(MUST-57)].
#[test]
fn a_segment_to_or_from_nobody_is_dropped_without_a_word() {
    let mut bench = Bench::new(TcpConfig::default());
    let ours = SocketAddr::new(host(true, 1), PORTS.0);
    let syn = segment(IRS, corelane_proto::tcp::seq::Seq(0), Flags::SYN, 0);
    let good = bench.frame(ours, &syn);
    // The source and the destination of the IPv4 header are bytes 26 to 33 of the frame.
    for (at, addr) in [
        (26, [224, 0, 0, 1]),
        (26, [255, 255, 255, 255]),
        (26, [127, 0, 0, 1]),
        (26, [0, 0, 0, 0]),
        (30, [224, 0, 0, 1]),
        (30, [255, 255, 255, 255]),
        (30, [10, 0, 0, 255]),
    ] {
        let mut frame = good.clone();
        let old = [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
        frame[at..at + 4].copy_from_slice(&addr);
        for sum in [24, 50] {
            let mut value = u16::from_be_bytes([frame[sum], frame[sum + 1]]);
            for (old, new) in [(&old[..2], &addr[..2]), (&old[2..], &addr[2..])] {
                let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
                value = corelane_proto::wire::checksum::update_u16(value, word(old), word(new));
            }
            frame[sum..sum + 2].copy_from_slice(&value.to_be_bytes());
        }
        bench.receive_frame(&frame);
        assert_eq!(bench.sent_frames(), [[0; 0]; 0], "{addr:?}");
    }
    assert_eq!(bench.endpoint.half_opens(), 0);
    bench.receive_frame(&good);
    assert_eq!(bench.endpoint.half_opens(), 1, "the frame is good but for its addresses");
}
