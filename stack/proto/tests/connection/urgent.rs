//! Urgent data, both ways (RFC 9293 3.8.5, RFC 6093).

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::{Event, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

/// The urgent pointers of `segments`, as numbers of the sequence space.
fn marks(segments: &[Segment]) -> Vec<Option<Seq>> {
    let mark = |s: &Segment| s.flags.has(Flags::URG).then(|| s.seq + u32::from(s.urgent));
    segments.iter().map(mark).collect()
}

fn urgent(seq: Seq, ack: Seq, len: u16, pointer: u16) -> Segment {
    Segment { urgent: pointer, ..segment(seq, ack, Flags::ACK | Flags::URG, len) }
}

//= spec/rfc9293.txt#section-3.8.5
//= type=test
//# However, TCP implementations MUST still include support for the
//# urgent mechanism (MUST-30).
#[test]
fn urgent_bytes_go_in_line_with_the_mark_behind_them_and_again_so() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    assert_eq!(marks(&bench.send(conn, b"plain")), [None]);
    assert_eq!(bench.endpoint.send_urgent(&mut bench.frames, conn, b"!"), Ok(1));
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|s| (s.seq, s.len)).collect::<Vec<_>>(), [(ours + 5, 1)], "in line");
    assert_eq!(marks(&sent), [Some(ours + 6)]);
    assert_eq!(marks(&bench.send(conn, b"behind")), [None], "what comes behind is not urgent");
    let again = bench.wait(Duration::from_secs(1));
    assert_eq!(marks(&again), [Some(ours + 6)], "the three go again as one");
    bench.receive(segment(IRS + 1, ours + 12, Flags::ACK, 0));
    assert_eq!(marks(&bench.send(conn, b"later")), [None]);
}

#[test]
fn urgency_is_told_although_the_window_is_closed() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    assert_eq!(bench.endpoint.send_urgent(&mut bench.frames, conn, &[1; 100]), Ok(100));
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|s| (s.seq, s.len)).collect::<Vec<_>>(), [(ours, 0)]);
    assert_eq!(marks(&sent), [Some(ours + 100)]);
    let probes = bench.wait(Duration::from_secs(2));
    assert!(!probes.is_empty() && marks(&probes).iter().all(|mark| *mark == Some(ours + 100)), "{probes:?}");
}

#[test]
fn a_mark_farther_than_the_pointer_reaches_moves_on_with_the_segments() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    assert_eq!(bench.endpoint.send_urgent(&mut bench.frames, conn, &[1; 100_000]), Ok(100_000));
    let first = bench.sent();
    assert_eq!(marks(&first)[0], Some(ours + 65_535));
    let mut next = ours;
    let mut last = marks(&first).into_iter().flatten().last();
    while next != ours + 100_000 {
        next = next + 1000.min((ours + 100_000).since(next));
        last = marks(&bench.receive(segment(IRS + 1, next, Flags::ACK, 0))).into_iter().flatten().last().or(last);
    }
    assert_eq!(last, Some(ours + 100_000));
}

#[test]
fn nagle_and_cork_do_not_hold_urgent_bytes() {
    let mut bench = Bench::new(TcpConfig { nodelay: false, cork: true, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    assert_eq!(bench.send(conn, b"wait"), []);
    assert_eq!(bench.endpoint.send_urgent(&mut bench.frames, conn, b"!"), Ok(1));
    assert_eq!(marks(&bench.sent()), [Some(ours + 5)]);
}

//= spec/rfc9293.txt#section-3.8.5
//= type=test
//# A TCP implementation MUST (MUST-32) inform the application layer
//# asynchronously whenever it receives an urgent pointer and there was
//# previously no pending urgent data, or whenever the urgent pointer
//# advances in the data stream.  The TCP implementation MUST (MUST-33)
//# provide a way for the application to learn how much urgent data
//# remains to be read from the connection, or at least to determine
//# whether more urgent data remains to be read [19].
#[test]
fn the_application_hears_of_each_new_mark_and_how_far_it_is() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.receive(urgent(IRS + 1, ours, 10, 25));
    assert_eq!(bench.events(), [Event::Urgent(conn), Event::Readable(conn)]);
    assert_eq!(bench.endpoint.urgent_mark(conn), Some(25), "fifteen of them have not come");
    bench.receive(urgent(IRS + 11, ours, 10, 15));
    assert_eq!(bench.events(), [Event::Readable(conn)], "the same mark");
    assert_eq!(bench.read(conn).len(), 20);
    assert_eq!(bench.endpoint.urgent_mark(conn), Some(5));
    bench.receive(urgent(IRS + 21, ours, 10, 30));
    assert_eq!(bench.events(), [Event::Urgent(conn), Event::Readable(conn)]);
    assert_eq!(bench.read(conn).len(), 10);
    assert_eq!(bench.endpoint.urgent_mark(conn), Some(20));
    bench.receive(segment(IRS + 31, ours, Flags::ACK, 20));
    bench.read(conn);
    assert_eq!(bench.endpoint.urgent_mark(conn), None, "normal mode again");
    bench.events();
    bench.receive(urgent(IRS + 31, ours, 20, 10));
    assert_eq!(bench.events(), [], "a late copy of it is no news");
}

//= spec/rfc9293.txt#section-3.4
//= type=test
//# A TCP receiver MUST process the RST and URG fields of all
//# incoming segments, even when the receive window is zero (MUST-66).
#[test]
fn an_urgent_pointer_is_seen_at_a_closed_window_and_so_is_a_reset() {
    let small = TcpConfig { recv_buffer: 4096, recv_buffer_initial: 4096, ..TcpConfig::default() };
    let mut bench = Bench::new(small);
    let (conn, ours) = bench.open();
    for i in 0..4 {
        bench.receive(segment(IRS + 1 + 1024 * i, ours, Flags::ACK, 1024));
    }
    let full = IRS + 1 + 4096;
    assert_eq!(bench.endpoint.info(conn).map(|info| info.recv_window), Some(0));
    bench.events();
    bench.receive(urgent(full, ours, 0, 7));
    assert_eq!(bench.events(), [Event::Urgent(conn)]);
    assert_eq!(bench.endpoint.urgent_mark(conn), Some(4096 + 7));
    bench.receive(urgent(full, ours, 10, 9));
    assert_eq!(bench.events(), [Event::Urgent(conn)], "with text too, which has no room");
    assert_eq!(bench.endpoint.info(conn).map(|info| info.unread), Some(4096));
    bench.receive(segment(full, ours, Flags::RST, 0));
    assert!(matches!(bench.events().last(), Some(Event::Closed { .. })));
}

#[test]
fn after_our_fin_urgent_data_still_counts_and_after_theirs_not() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.endpoint.shutdown(conn, Shutdown::Write);
    bench.sent();
    bench.receive(urgent(IRS + 1, ours, 1, 1));
    assert_eq!(bench.events(), [Event::Urgent(conn), Event::Readable(conn)], "FIN-WAIT-1");
    assert_eq!(bench.read(conn).len(), 1);
    bench.receive(urgent(IRS + 2, ours + 1, 1, 3));
    assert_eq!(bench.events(), [Event::Urgent(conn), Event::Readable(conn)], "FIN-WAIT-2");
    bench.receive(segment(IRS + 3, ours + 1, Flags::ACK | Flags::FIN, 0));
    assert_eq!(bench.endpoint.urgent_mark(conn), Some(1), "the FIN is the end, whatever the pointer said");
    bench.read(conn);
    assert_eq!(bench.endpoint.urgent_mark(conn), None);
}
