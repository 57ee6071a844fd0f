//! What is sent, when, and in what pieces.

use crate::bench::{Bench, IRS, PORTS, host, packet, segment};
use corelane_proto::SocketAddr;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

//= spec/rfc9293.txt#section-3.9.1.2
//= type=test
//# (2) MUST set the PSH bit in the last buffered segment (i.e., when there is no more queued data to be sent)
//# (MUST-61).
//= spec/rfc9293.txt#section-3.9.1.2
//= type=test
//# The transmitter SHOULD collapse successive bits when it packetizes data, to send the largest possible segment
//# (SHLD-27).
//= spec/rfc9293.txt#section-3.9.1.2
//= type=test
//# the TCP implementation MAY aggregate the data internally without sending it (MAY-16).
#[test]
fn small_writes_share_the_largest_segment_and_the_last_one_has_psh() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open();
    (0..40).for_each(|_| bench.queue(conn, 100));
    let sent: Vec<_> = bench.sent().iter().map(|segment| (segment.len, segment.flags.has(Flags::PSH))).collect();
    assert_eq!(sent, [(1460, false), (1460, false), (1080, true)]);
}

//= spec/rfc9293.txt#section-3.9.1.2
//= type=test
//# If PUSH flags are not implemented, then the sending TCP peer: (1) MUST NOT buffer data indefinitely (MUST-60)
//= spec/rfc9293.txt#section-3.7.4
//= type=test
//# there MUST be a way for an application to disable the Nagle algorithm on an individual connection (MUST-17).
#[test]
fn what_is_handed_over_goes_without_being_pushed() {
    for nodelay in [true, false] {
        let mut bench = Bench::new(TcpConfig { nodelay, ..TcpConfig::default() });
        let (conn, ours) = bench.open();
        assert_eq!(bench.send(conn, 1).len(), 1);
        let second = bench.send(conn, 1).len();
        assert_eq!(second, usize::from(nodelay), "with Nagle it waits for what is in flight");
        let after_ack = bench.receive(segment(IRS + 1, ours + 1, Flags::ACK, 0)).len();
        assert_eq!(second + after_ack, 1, "and for nothing else");
    }
}

//= spec/rfc9293.txt#section-3.8.1
//= type=test
//# the same IPv4 Identification field MAY be used (see Section 3.2.1.5 of RFC 1122) (MAY-4).
#[test]
fn a_segment_that_goes_again_has_the_same_identification() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open();
    bench.queue(conn, 100);
    let first = bench.sent_frames();
    bench.now = bench.now + 2 * SECOND;
    let deadline = bench.now;
    bench.wait(Duration::ZERO);
    bench.now = deadline + 4 * SECOND;
    bench.queue(conn, 1);
    let again = bench.sent_frames();
    let ident = |frame: &[u8]| [frame[18], frame[19]];
    assert!(!again.is_empty() && again.iter().all(|frame| ident(frame) == ident(&first[0])));
}

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# TCP implementations MUST use the same local address that was used in those previous segments (MUST-45).
#[test]
fn every_segment_of_a_connection_has_its_local_address() {
    let mut bench = Bench::new(TcpConfig::default());
    let to = SocketAddr::new(host(true, 3), PORTS.0);
    let mut from = Vec::new();
    let mut receive = |bench: &mut Bench, segment: Segment| {
        let frame = bench.frame(to, &segment);
        bench.receive_frame(&frame);
        let sent = bench.sent_packets();
        from.extend(sent.iter().map(|packet| packet.src));
        sent
    };
    let ours = receive(&mut bench, segment(IRS, Seq(0), Flags::SYN, 0))[0].segment.seq + 1;
    receive(&mut bench, segment(IRS + 1, ours, Flags::ACK, 0));
    let conn = bench.endpoint.iter().next().map(|(id, _)| id).expect("it is open");
    bench.queue(conn, 100);
    receive(&mut bench, segment(IRS + 1, ours, Flags::ACK, 10));
    receive(&mut bench, segment(IRS + 11, ours + 100, Flags::SYN, 0));
    bench.read(conn);
    bench.endpoint.close(conn);
    receive(&mut bench, segment(IRS + 11, ours + 100, Flags::ACK, 0));
    assert!(from.len() >= 4 && from.iter().all(|local| *local == to), "{from:?}");
}

//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# a sending TCP peer MUST be robust against window shrinking, which may cause the "usable window" (see Section
//# 3.8.6.2.1) to become negative (MUST-34).
//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# If this happens, the sender SHOULD NOT send new data (SHLD-15), but SHOULD retransmit normally the old
//# unacknowledged data between SND.UNA and SND.UNA+SND.WND (SHLD-16).
/// The window shrinks to 2000 bytes with 7300 in flight: nothing new goes, and what is sent again stays in the window.
#[test]
fn a_window_that_shrinks_below_what_is_in_flight_bounds_what_goes_again() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    assert_eq!(bench.send(conn, 5 * 1460).len(), 5);
    bench.queue(conn, 3000);
    let small = Segment { window: 2000, ..segment(IRS + 1, ours, Flags::ACK, 0) };
    assert_eq!(bench.receive(small), [], "the usable window is negative: nothing new goes");
    let mut edge = ours + 2000;
    let mut una = ours;
    // The peer keeps the edge where it is, and then, having read what it has, moves it.
    for round in 0..20 {
        let again = bench.wait(10 * SECOND);
        assert!(!again.is_empty(), "in round {round} the window is open by {} bytes and unused", edge.since(una));
        assert!(again.iter().all(|segment| segment.end().at_or_before(edge) && segment.seq == una), "{again:?}");
        una = again.iter().map(Segment::end).max_by_key(|end| end.since(ours)).expect("something went");
        edge = if una == edge { edge + 1000 } else { edge };
        let window = u16::try_from(edge.since(una)).expect("small");
        bench.receive(Segment { window, ..segment(IRS + 1, una, Flags::ACK, 0) });
        if una == ours + 5 * 1460 + 3000 {
            return;
        }
    }
    panic!("only {} bytes have arrived", una.since(ours));
}

//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# SHOULD NOT time out the connection if data beyond the right window edge is not acknowledged (SHLD-17).
//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# If the window shrinks to zero, the TCP implementation MUST probe it in the standard way (described below)
//# (MUST-35).
//= spec/rfc9293.txt#section-3.8.6.1
//= type=test
//# As long as the receiving TCP peer continues to send acknowledgments in response to the probe segments, the sending
//# TCP peer MUST allow the connection to stay open (MUST-37).
/// It shrinks to zero, and the peer answers probes, but takes nothing, for ten times as long as R2.
#[test]
fn a_window_that_shrinks_to_zero_is_probed_for_as_long_as_the_peer_answers() {
    let mut bench = Bench::new(TcpConfig { give_up_after: 200 * SECOND, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    assert_eq!(bench.send(conn, 5 * 1460).len(), 5);
    let closed = Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) };
    assert_eq!(bench.receive(closed), []);
    let mut probes = 0;
    for _ in 0..200 {
        let sent = bench.wait(10 * SECOND);
        assert!(sent.iter().all(|segment| segment.seq == ours && segment.len == 1), "{sent:?}");
        probes += sent.len();
        if !sent.is_empty() {
            bench.receive(closed);
        }
    }
    assert!((10..60).contains(&probes), "{probes} probes in 2000 s");
    assert_eq!(bench.ended(conn), None);
    let opened = bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(opened.first().map(|segment| segment.seq), Some(ours));
}

/// A peer that does not answer probes is given up like any other.
#[test]
fn probes_without_an_answer_end_the_connection() {
    let mut bench = Bench::new(TcpConfig { give_up_after: 200 * SECOND, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    bench.send(conn, 100);
    bench.wait(600 * SECOND);
    assert_eq!(bench.ended(conn), Some(corelane_proto::endpoint::CloseReason::TimedOut));
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# An implementation SHOULD send a keep-alive segment with no data (SHLD-12)
#[test]
fn a_keepalive_probe_has_no_data_and_an_old_number() {
    let keepalive = Some(corelane_proto::tcp::config::KeepaliveConfig::default());
    let mut bench = Bench::new(TcpConfig { keepalive, ..TcpConfig::default() });
    let (_, ours) = bench.open();
    let probes = bench.wait(7201 * SECOND);
    assert_eq!(probes.iter().map(|probe| (probe.seq, probe.len)).collect::<Vec<_>>(), [(ours - 1, 0)]);
}

//= spec/rfc9293.txt#section-3.9.1.2
//= type=test
//# a TCP implementation SHOULD send a maximum-sized segment whenever possible (SHLD-28)
/// An ACK that a middlebox, or a peer with a small window, divides is no reason to send slivers.
#[test]
fn a_full_packet_is_sent_where_there_is_data_for_it() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open_with(Options { mss: Some(1460), ..Options::NONE });
    bench.queue(conn, 10);
    bench.queue(conn, 10_000);
    let frames = bench.sent_frames();
    let lens: Vec<_> = frames.iter().filter_map(|frame| packet(frame)).map(|packet| packet.segment.len).collect();
    assert_eq!(lens, [1460, 1460, 1460, 1460, 1460, 1460, 1250]);
}
