//! Windows and options: what we offer and how it grows, what the peer offers and takes back, and what the options say.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::Memory;
use corelane_proto::endpoint::{CloseReason, ConnId, Event};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A SYN with every option.
fn syn(ts: u32) -> Segment {
    let options = Options {
        mss: Some(1000),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: ts, echo: 0 }),
        ..Options::NONE
    };
    Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) }
}

/// A SYN with SACK-permitted, a window scale of 7 and an MSS of 1000.
fn syn_with_sack() -> Segment {
    Segment { options: Options { timestamps: None, ..syn(0).options }, ..syn(0) }
}

fn window_of(bench: &Bench, conn: ConnId) -> u32 {
    bench.endpoint.info(conn).expect("it is there").recv_window
}

/// The peer opens a connection with every option, and a round trip takes as long as this.
fn open_timed(bench: &mut Bench, round_trip: Duration) -> (ConnId, Seq) {
    let syn_ack = bench.receive(syn(77));
    let echo = syn_ack[0].options.timestamps.expect("a timestamp").value;
    bench.now = bench.now + round_trip;
    let timestamps = Some(Timestamps { value: 78, echo });
    let options = Options { timestamps, ..Options::NONE };
    bench.receive(Segment { options, ..segment(IRS + 1, syn_ack[0].seq + 1, Flags::ACK, 0) });
    let Some(Event::Accepted { conn, .. }) = bench.endpoint.poll_event() else { panic!("it is not accepted") };
    (conn, syn_ack[0].seq + 1)
}

/// The peer fills our window once in each of `rounds` round trips of 20 ms; the application reads if it `reads`.
/// Gives the windows.
fn fill(bench: &mut Bench, conn: ConnId, ours: Seq, rounds: u32, reads: bool) -> Vec<u32> {
    let mut next = IRS + 1;
    let mut windows = Vec::new();
    for _ in 0..rounds {
        let edge = next + window_of(bench, conn);
        while next.before(edge) {
            let len = 1000.min(edge.since(next)) as u16;
            bench.receive(Segment { window: 500, ..segment(next, ours, Flags::ACK, len) });
            next += u32::from(len);
        }
        bench.now = bench.now + 20 * MS;
        if reads {
            bench.read(conn);
        }
        bench.wait(MS);
        windows.push(window_of(bench, conn));
    }
    windows
}

#[test]
fn the_window_begins_small_and_grows_as_the_application_keeps_up() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn_with_sack());
    assert_eq!(window_of(&bench, conn), 65_535, "the field of a SYN-ACK says no more");
    let windows = fill(&mut bench, conn, ours, 4, true);
    assert_eq!(windows.last(), Some(&(256 * 1024)), "{windows:?}");
    assert!(windows.is_sorted(), "{windows:?}");
}

#[test]
fn the_window_of_an_application_that_does_not_read_does_not_grow() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn_with_sack());
    fill(&mut bench, conn, ours, 4, false);
    assert_eq!(bench.endpoint.info(conn).map(|info| info.unread), Some(64 * 1024));
}

#[test]
fn a_slow_peer_gets_no_larger_window() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = open_timed(&mut bench, 20 * MS);
    for i in 0..200 {
        bench.receive(segment(IRS + 1 + 1000 * i, ours, Flags::ACK, 1000));
        bench.now = bench.now + 20 * MS;
        bench.read(conn);
    }
    assert!(window_of(&bench, conn) <= 64 * 1024);
}

#[test]
fn a_larger_bound_counts_at_once_and_a_smaller_one_takes_nothing_back() {
    let small = TcpConfig { recv_buffer: 20_000, ..TcpConfig::default() };
    let mut bench = Bench::new(small);
    let (conn, ours) = bench.open_with(syn_with_sack());
    let windows = fill(&mut bench, conn, ours, 3, true);
    assert_eq!(windows.last(), Some(&20_000));
    bench.endpoint.configure(conn, TcpConfig { recv_buffer: 4096, ..small });
    assert_eq!(window_of(&bench, conn), 20_000, "what was offered stays offered");
}

#[test]
fn the_window_opens_at_once_by_two_segments_and_not_by_less() {
    let mut bench = Bench::new(TcpConfig { recv_buffer: 20_000, ..TcpConfig::default() });
    let (conn, ours) = bench.open_with(syn_with_sack());
    for i in 0..20 {
        bench.receive(segment(IRS + 1 + 1000 * i, ours, Flags::ACK, 1000));
    }
    bench.wait(SECOND);
    assert_eq!(window_of(&bench, conn), 0);
    let mut read = || {
        let buf = bench.endpoint.recv(conn).expect("there is data");
        bench.endpoint.consumed(conn, usize::from(buf.len));
        bench.frames.free(buf.token);
        bench.sent()
    };
    assert_eq!(read(), [], "one segment: the peer would send a small one");
    let update = read();
    assert_eq!(update.len(), 1);
    assert_eq!(u32::from(update[0].window), 2000, "the scale is 0 for so small a buffer");
}

/// Sends 5000 bytes in five segments to a peer with an MSS of 1000 that has offered `WINDOW`.
fn in_flight(bench: &mut Bench) -> (ConnId, Seq) {
    let (conn, ours) = bench.open_with(Segment { options: Options { mss: Some(1000), ..Options::NONE }, ..syn(0) });
    assert_eq!(bench.send(conn, &[7; 5000]).len(), 5);
    (conn, ours)
}

//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# However, a sending TCP peer MUST be robust against window shrinking, which may cause the "usable window" (see
//# Section 3.8.6.2.1) to become negative (MUST-34).
#[test]
fn a_window_that_shrinks_under_what_is_in_flight_is_filled_as_far_as_it_goes() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = in_flight(&mut bench);
    bench.receive(Segment { window: 300, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    assert_eq!(bench.send(conn, b"more"), [], "no new data");
    let again = bench.wait(2 * SECOND);
    assert!(!again.is_empty() && again.iter().all(|s| (s.seq, s.len) == (ours, 300)), "{again:?}");
    let rest = bench.receive(segment(IRS + 1, ours + 300, Flags::ACK, 0));
    assert_eq!(rest.first().map(|s| s.seq), Some(ours + 300));
}

//= spec/rfc9293.txt#section-3.8.6
//= type=test
//# SHOULD NOT time out the connection if data beyond the right window edge is not acknowledged (SHLD-17).
//= spec/rfc9293.txt#section-3.8.6.1
//= type=test
//# As long as the receiving TCP peer continues to send acknowledgments in response to the probe segments, the sending
//# TCP peer MUST allow the connection to stay open (MUST-37).
#[test]
fn data_behind_the_edge_of_a_shrunk_window_waits_for_as_long_as_the_peer_answers() {
    let mut bench = Bench::new(TcpConfig { give_up_after: 100 * SECOND, ..TcpConfig::default() });
    let (conn, ours) = in_flight(&mut bench);
    let closed = Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) };
    bench.receive(closed);
    let begin = bench.now;
    while bench.now < begin + 2000 * SECOND {
        let at = bench.endpoint.poll_deadline().expect("it is probed");
        if !bench.wait_until(at).is_empty() {
            bench.receive(closed);
        }
    }
    assert_eq!(bench.events(), []);
    let all = bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(all.first().map(|s| s.seq), Some(ours), "and goes when it opens");
    bench.receive(closed);
    bench.wait(300 * SECOND);
    let closed = Event::Closed { conn, reason: CloseReason::TimedOut };
    assert_eq!(bench.events().last(), Some(&closed), "without answers it is given up");
}

#[test]
fn a_window_that_opens_by_one_byte_takes_one_byte_after_a_while() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    assert_eq!(bench.send(conn, b"hello"), []);
    let sent = bench.receive(Segment { window: 1, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    assert_eq!(sent, [], "a silly window");
    let sent = bench.wait(2 * SECOND);
    assert!(!sent.is_empty() && sent.iter().all(|s| (s.seq, s.len) == (ours, 1)), "{sent:?}");
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours + 1, Flags::ACK, 0) });
    let rest = bench.receive(segment(IRS + 1, ours + 1, Flags::ACK, 0));
    assert_eq!(rest.iter().map(|s| (s.seq, s.len)).collect::<Vec<_>>(), [(ours + 1, 4)]);
}

#[test]
fn a_tiny_mss_does_not_make_a_flood_of_packets() {
    let mut bench = Bench::new(TcpConfig::default());
    let tiny = Segment { options: Options { mss: Some(1), ..Options::NONE }, ..segment(IRS, Seq(0), Flags::SYN, 0) };
    let (conn, _) = bench.open_with(tiny);
    assert_eq!(bench.endpoint.segment_len(conn), 88);
    assert_eq!(bench.send(conn, &[0; 880]).len(), 10);
}

#[test]
fn options_of_syns_stand_in_the_order_that_linux_sends() {
    let mut bench = Bench::new(TcpConfig::default());
    let (_, frame) = bench.connect_raw(TcpConfig::default());
    let options = &frame[14 + 20 + 20..];
    assert_eq!(options.len(), 20);
    let kinds = [options[0], options[4], options[6], options[16], options[17]];
    assert_eq!(kinds, [2, 4, 8, 1, 3], "MSS, SACK-permitted, timestamps, NOP, window scale: {options:?}");
    let mut bench = Bench::new(TcpConfig::default());
    let frame = bench.receive_raw(syn(5));
    let options = &frame[14 + 20 + 20..];
    assert_eq!([options[0], options[4], options[6], options[16], options[17]], kinds, "and the SYN-ACK's");
}

#[test]
fn after_24_idle_days_an_old_timestamp_is_believed_again() {
    let day = 24 * 3600 * SECOND;
    let stamped = |value, seq, ack| Segment {
        options: Options { timestamps: Some(Timestamps { value, echo: 0 }), ..Options::NONE },
        ..segment(seq, ack, Flags::ACK, 5)
    };
    for (days, believed) in [(1, false), (23, false), (25, true)] {
        let mut bench = Bench::new(TcpConfig::default());
        let syn_ack = bench.receive(syn(1_000_000));
        let ours = syn_ack[0].seq + 1;
        bench.receive(Segment { len: 0, ..stamped(1_000_000, IRS + 1, ours) });
        let Some(Event::Accepted { conn, .. }) = bench.endpoint.poll_event() else { panic!("it is not accepted") };
        bench.now = bench.now + days * day;
        bench.receive(stamped(999_999, IRS + 1, ours));
        assert_eq!(bench.read(conn).len(), if believed { 5 } else { 0 }, "{days} days");
        assert_eq!(bench.endpoint.counters().dropped_paws, u64::from(!believed));
    }
}

#[test]
fn a_segment_that_comes_twice_is_told_by_a_d_sack_and_its_ack_tells_of_no_loss() {
    let mut bench = Bench::new(TcpConfig::default());
    let (_, ours) = bench.open_with(syn_with_sack());
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 100));
    let ack = bench.receive(segment(IRS + 1, ours, Flags::ACK, 100));
    assert_eq!(ack[0].options.sack.as_slice(), [(IRS + 1, IRS + 101)]);
    let ack = bench.receive(segment(IRS + 301, ours, Flags::ACK, 100));
    assert_eq!(ack[0].options.sack.as_slice(), [(IRS + 301, IRS + 401)]);
    let ack = bench.receive(segment(IRS + 301, ours, Flags::ACK, 50));
    let both = [(IRS + 301, IRS + 351), (IRS + 301, IRS + 401)];
    assert_eq!(ack[0].options.sack.as_slice(), both, "what came twice, and the range that it lies in");
    let ack = bench.receive(segment(IRS + 101, ours, Flags::ACK, 200));
    assert_eq!((ack[0].ack, ack[0].options.sack.is_empty()), (IRS + 401, true));
    let ack = bench.receive(segment(IRS + 351, ours, Flags::ACK, 100));
    assert_eq!(
        (ack[0].ack, ack[0].options.sack.as_slice()),
        (IRS + 451, &[(IRS + 351, IRS + 401)][..]),
        "a part of it"
    );

    // And the other way round: three such ACKs are no reason to send anything again.
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn_with_sack());
    bench.receive(Segment { window: 600, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    bench.send(conn, &[0; 5000]);
    bench.receive(Segment { window: 600, ..segment(IRS + 1, ours + 1000, Flags::ACK, 0) });
    let mut sack = SackBlocks::EMPTY;
    sack.push(ours, ours + 1000);
    for _ in 0..5 {
        let again = Options { sack, ..Options::NONE };
        let sent =
            bench.receive(Segment { options: again, window: 600, ..segment(IRS + 1, ours + 1000, Flags::ACK, 0) });
        assert_eq!(sent, []);
    }
    assert_eq!(bench.endpoint.counters().fast_retransmits, 0);
}

#[test]
fn the_first_segments_are_acknowledged_at_once_as_often_as_is_asked() {
    for quick_acks in [0, 1, 5] {
        let mut bench = Bench::new(TcpConfig { quick_acks, ..TcpConfig::default() });
        let (_, ours) = bench.open_with(syn_with_sack());
        let mut at_once = 0;
        for i in 0..10 {
            at_once += u8::from(!bench.receive(segment(IRS + 1 + 10 * i, ours, Flags::ACK, 10)).is_empty());
        }
        assert_eq!(at_once, quick_acks);
    }
}

#[test]
fn the_handshake_of_a_passive_open_gives_the_first_round_trip_time() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = open_timed(&mut bench, 30 * MS);
    let info = bench.endpoint.info(conn).expect("it is there");
    assert_eq!((info.srtt, info.rto), (Some(30 * MS), 200 * MS));
}

#[test]
fn a_burst_that_is_read_as_it_comes_has_one_ack_at_its_end() {
    let pause = Duration::from_micros(10);
    // Without a gap every second segment has one, and a window that has grown one more.
    for (ack_gap, expected) in [(Duration::ZERO, 3..=4), (pause, 1..=1)] {
        let mut bench = Bench::new(TcpConfig { quick_acks: 0, ack_gap, ..TcpConfig::default() });
        let (conn, ours) = bench.open_with(syn_with_sack());
        let len = bench.endpoint.segment_len(conn);
        let (mut acks, mut seq) = (Vec::new(), IRS + 1);
        for _ in 0..6 {
            acks.extend(bench.receive(segment(seq, ours, Flags::ACK, len)));
            seq += u32::from(len);
            assert_eq!(bench.read(conn).len(), usize::from(len));
            acks.extend(bench.wait(pause / 2));
        }
        acks.extend(bench.wait(pause));
        assert!(expected.contains(&acks.len()), "{} ACKs with {ack_gap:?}", acks.len());
        assert_eq!(acks.last().map(|ack| ack.ack), Some(seq));
        assert!(acks.iter().all(|ack| ack.window > 0));
    }
}

#[test]
fn a_burst_into_a_window_that_closes_is_acknowledged_as_it_is_read() {
    let ack_gap = Duration::from_millis(1);
    let small =
        TcpConfig { quick_acks: 0, ack_gap, recv_buffer: 8000, recv_buffer_initial: 8000, ..TcpConfig::default() };
    let mut bench = Bench::new(small);
    let (conn, ours) = bench.open_with(syn_with_sack());
    let len = bench.endpoint.segment_len(conn);
    let count = 4500 / u32::from(len) + 1;
    for i in 0..count {
        assert_eq!(bench.receive(segment(IRS + 1 + i * u32::from(len), ours, Flags::ACK, len)), []);
    }
    // The peer has less than half of the window left: what was read tells it at once that there is more.
    bench.read(conn);
    assert_eq!(bench.sent().len(), 1);
}
