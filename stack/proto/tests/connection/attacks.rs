//! What a peer that means harm costs: frames, work and bandwidth, in numbers.

use crate::bench::{Bench, FRAMES, IRS, OURS, THEIRS, WINDOW, segment};
use corelane_proto::endpoint::{CloseReason, ConnId, EndpointConfig, Event, Trouble, Unreachable};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::{Memory, SocketAddr};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn syn(mss: u16) -> Segment {
    let options = Options { mss: Some(mss), sack_permitted: true, ..Options::NONE };
    Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) }
}

fn held(bench: &Bench) -> usize {
    FRAMES - bench.frames.available()
}

#[test]
fn a_byte_in_each_segment_does_not_hold_a_frame_with_each() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    let stream: Vec<u8> = (0..20_000u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let mut most = 0;
    for (i, byte) in stream.iter().enumerate() {
        bench.receive_bytes(segment(IRS + 1 + i as u32, ours, Flags::ACK | Flags::PSH, 1), &[*byte]);
        most = most.max(held(&bench));
    }
    println!("20000 segments of one byte, unread: at most {most} frames");
    assert!(most <= 20, "{most}");
    assert_eq!(bench.read(conn), stream);
    bench.check_frames();
}

#[test]
fn bytes_ahead_of_a_gap_hold_few_frames_where_they_touch_and_a_bounded_number_where_not() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    let stream: Vec<u8> = (0..5000u32).map(|i| (i * 11 + i / 256) as u8).collect();
    // From the end to the beginning, so that each comes in front of what is there.
    for i in (1..stream.len()).rev() {
        bench.receive_bytes(segment(IRS + 1 + i as u32, ours, Flags::ACK, 1), &stream[i..=i]);
    }
    println!("4999 bytes ahead of a gap, backwards: {} frames", held(&bench));
    assert!(held(&bench) <= 25);
    bench.receive_bytes(segment(IRS + 1, ours, Flags::ACK, 1), &stream[..1]);
    assert_eq!(bench.read(conn), stream);

    // Every other byte: nothing touches.
    let next = IRS + 1 + 5000;
    for i in 0..4000 {
        bench.receive(segment(next + 1 + 2 * i, ours, Flags::ACK, 1));
    }
    println!("4000 bytes with holes between: {} frames", held(&bench));
    assert!(held(&bench) <= 512);
    assert!(bench.endpoint.counters().dropped_out_of_order_full >= 3488);
    bench.endpoint.abort(conn);
    bench.sent();
    bench.events();
    bench.check_frames();
}

#[test]
fn where_bytes_differ_the_first_stay_and_it_is_counted() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    let data = |seq, len| segment(IRS + 1 + seq, ours, Flags::ACK, len);
    bench.receive_bytes(data(10, 4), b"good");
    bench.receive_bytes(data(8, 8), b"..evil..");
    assert_eq!(bench.endpoint.counters().overlap_conflicts, 1);
    bench.receive_bytes(data(8, 8), b"..good..");
    bench.receive_bytes(data(10, 4), b"good");
    assert_eq!(bench.endpoint.counters().overlap_conflicts, 1, "the same bytes are no conflict");
    bench.receive_bytes(data(0, 14), b"0123456789EVIL");
    assert_eq!(bench.endpoint.counters().overlap_conflicts, 2);
    bench.receive_bytes(data(12, 4), b"!!..");
    assert_eq!(bench.endpoint.counters().overlap_conflicts, 3, "with bytes that wait to be read too");
    assert_eq!(&bench.read(conn)[..14], b"01234567..good");
    bench.check_frames();
}

#[test]
fn a_window_that_opens_byte_by_byte_does_not_cut_the_queue_into_as_many_frames() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    bench.send(conn, &[0; 10_000]);
    let before = held(&bench);
    for window in 1..=9000 {
        bench.receive(Segment { window, ..segment(IRS + 1, ours, Flags::ACK, 0) });
        bench.wait(Duration::from_millis(250));
    }
    println!("9000 windows, each a byte larger: {before} frames before, {} after", held(&bench));
    assert!(held(&bench) <= 1024, "{}", held(&bench));
    assert!(bench.endpoint.info(conn).is_some());
}

#[test]
fn small_writes_do_not_take_a_frame_each_without_end() {
    let mut bench = Bench::new(TcpConfig { send_buffer: 64 * 1024, ..TcpConfig::default() });
    let (conn, ours) = bench.open_with(syn(1000));
    let mut taken = 0;
    while bench.endpoint.send_copy(&mut bench.frames, conn, b"x") == Ok(1) {
        bench.sent();
        taken += 1;
        assert!(taken < 1000);
    }
    assert_eq!(taken, 256, "the peer does not acknowledge any");
    bench.events();
    bench.receive(segment(IRS + 1, ours + 10, Flags::ACK, 0));
    assert_eq!(bench.events(), [Event::Writable(conn)]);
}

fn cwnd(bench: &Bench, conn: ConnId) -> u32 {
    bench.endpoint.info(conn).expect("it is there").cwnd
}

#[test]
fn dividing_acks_gains_nothing() {
    let grown = |pieces: u32| {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, ours) = bench.open_with(syn(1000));
        bench.send(conn, &[0; 10_000]);
        for i in 1..=pieces {
            bench.receive(segment(IRS + 1, ours + 10_000 / pieces * i, Flags::ACK, 0));
        }
        cwnd(&bench, conn)
    };
    let (whole, divided) = (grown(10), grown(1000));
    println!("cwnd after 10 ACKs {whole}, after 1000 ACKs of the same bytes {divided}");
    assert!(divided <= whole);
}

#[test]
fn dividing_partial_acks_brings_no_segment_for_each() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(Segment { options: Options { mss: Some(1000), ..Options::NONE }, ..syn(1000) });
    bench.send(conn, &[0; 10_000]);
    for _ in 0..3 {
        bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    }
    let before = bench.endpoint.counters().retransmits;
    for i in 1..=999 {
        bench.receive(segment(IRS + 1, ours + i, Flags::ACK, 0));
    }
    let more = bench.endpoint.counters().retransmits - before;
    println!("999 partial ACKs of one byte each: {more} retransmissions");
    assert_eq!(more, 0);
    bench.receive(segment(IRS + 1, ours + 1000, Flags::ACK, 0));
    assert_eq!(bench.endpoint.counters().retransmits - before, 1, "the next segment, as it should be");
}

#[test]
fn made_up_duplicate_acks_open_the_window_by_no_more_than_was_in_flight() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(Segment { options: Options { mss: Some(1000), ..Options::NONE }, ..syn(1000) });
    bench.send(conn, &[0; 60_000]);
    let mut sent = 10;
    for _ in 0..10_000 {
        sent += bench.receive(segment(IRS + 1, ours, Flags::ACK, 0)).len();
    }
    println!("10000 duplicate ACKs: cwnd {} bytes, {sent} segments sent", cwnd(&bench, conn));
    assert!(cwnd(&bench, conn) <= 25_000);
    assert!(sent <= 30);
}

//= spec/rfc5961.txt#section-5.2
//= type=test
//# All incoming segments whose ACK value doesn't satisfy the above condition MUST be discarded and an ACK sent back.
#[test]
fn an_ack_of_what_was_never_sent_is_challenged_and_gains_nothing() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    bench.send(conn, &[0; 5000]);
    let before = cwnd(&bench, conn);
    let answer = bench.receive(segment(IRS + 1, ours + 5001, Flags::ACK, 0));
    assert_eq!((answer.len(), answer[0].ack), (1, IRS + 1));
    assert_eq!((cwnd(&bench, conn), bench.endpoint.info(conn).map(|info| info.in_flight)), (before, Some(5000)));
    assert_eq!(bench.endpoint.counters().dropped_bad_ack, 1);
}

#[test]
fn who_keeps_its_window_closed_is_given_up_when_frames_are_scarce_and_not_before() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open_with(syn(1000));
    let closed = Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) };
    bench.receive(closed);
    bench.send(conn, &[0; 50_000]);
    let begin = bench.now;
    while bench.now < begin + 300 * SECOND {
        let at = bench.endpoint.poll_deadline().expect("it is probed");
        if !bench.wait_until(at).is_empty() {
            bench.receive(closed);
        }
    }
    assert_eq!(bench.events(), [], "there are frames enough");
    let taken: Vec<_> = std::iter::from_fn(|| bench.frames.alloc()).take(FRAMES - 57).collect();
    assert!(bench.frames.available() < 8);
    let last = bench.wait(SECOND);
    assert!(last.iter().any(|s| s.flags.has(Flags::RST)), "{last:?}");
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
    assert_eq!(bench.endpoint.counters().hoarders_closed, 1);
    taken.into_iter().for_each(|token| bench.frames.free(token));
    bench.wait(SECOND);
    bench.check_frames();
}

/// 50,000 bytes wait for a peer while only a few frames are left. For `time` it is asked every 5 s how many bytes more it
/// acknowledges, and its window; gives when the connection ended, and how.
fn starve(
    time: Duration,
    change: impl FnOnce(&mut EndpointConfig),
    mut peer: impl FnMut(u64) -> Option<(u32, u16)>,
) -> Option<(u64, CloseReason)> {
    let mut bench = Bench::with(TcpConfig::default(), change);
    let (conn, ours) = bench.open_with(syn(1000));
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
    bench.send(conn, &[0; 50_000]);
    let (begin, mut acked, mut taken) = (bench.now, ours, vec![]);
    let end = loop {
        let seconds = bench.now.saturating_since(begin).as_secs();
        if bench.now >= begin + time {
            break None;
        }
        while bench.frames.available() > 4 {
            taken.extend(bench.frames.alloc());
        }
        if let Some((more, window)) = peer(seconds) {
            // Not every question finds an answer under way: probes come ever farther apart.
            acked += more.min(bench.endpoint.info(conn).map_or(0, |info| info.in_flight));
            bench.receive(Segment { window, ..segment(IRS + 1, acked, Flags::ACK, 0) });
        }
        // It looks for who holds most only when it is woken.
        (0..5).for_each(|_| drop(bench.wait(SECOND)));
        if let Some(Event::Closed { reason, .. }) = bench.events().first() {
            break Some((bench.now.saturating_since(begin).as_secs(), *reason));
        }
    };
    taken.into_iter().for_each(|token| bench.frames.free(token));
    bench.wait(SECOND);
    bench.check_frames();
    end
}

#[test]
fn who_opens_its_window_by_a_byte_now_and_then_keeps_it_closed_all_the_same() {
    let given_up = Some((65, CloseReason::TimedOut));
    // A byte every 10 s: the window opens for it and closes.
    let byte = |seconds: u64| if seconds.is_multiple_of(10) { Some((0, 1)) } else { Some((1, 0)) };
    assert_eq!(starve(300 * SECOND, |_| {}, byte), given_up);
    // The same, and it is never seen to be closed.
    let open = |seconds: u64| Some((u32::from(seconds > 0), 1));
    assert_eq!(starve(300 * SECOND, |_| {}, open), given_up);
    // The window is wide, and what it lets through is acknowledged byte by byte.
    assert_eq!(starve(300 * SECOND, |_| {}, |seconds| Some((u32::from(seconds > 0), WINDOW))), given_up);
    let sooner = |config: &mut EndpointConfig| config.hoarding_after = 20 * SECOND;
    assert_eq!(starve(300 * SECOND, sooner, byte), Some((25, CloseReason::TimedOut)));
}

#[test]
fn who_takes_a_segment_in_time_or_cannot_be_heard_is_no_hoarder() {
    // A segment every 50 s.
    let slow = |seconds: u64| match seconds % 50 {
        0 => Some((0, 1000)),
        5 => Some((1000, 0)),
        _ => None,
    };
    assert_eq!(starve(600 * SECOND, |_| {}, slow), None);
    // Silence behind an open window is for the retransmission time-out to judge, but not behind a closed one.
    let silent = |seconds: u64| (seconds == 0).then_some((0, WINDOW));
    assert_eq!(starve(600 * SECOND, |_| {}, silent), None);
    assert_eq!(starve(600 * SECOND, |_| {}, |_| None), Some((65, CloseReason::TimedOut)));
}

/// Connections whose applications do not read hold all frames that they can. Who reads goes on as if they were not there.
#[test]
fn slow_readers_leave_the_last_frames_to_those_that_read() {
    let config = TcpConfig { recv_buffer_initial: 256 * 1024, ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let reader = bench.open_with(syn(1000));
    let mut slow = vec![];
    for port in 5001..5006 {
        bench.peer_port = port;
        slow.push((port, bench.open_with(syn(1000)).1));
    }
    for i in 0..260 {
        for (port, ours) in &slow {
            bench.peer_port = *port;
            if bench.frames.available() > 0 {
                bench.receive(segment(IRS + 1 + 1000 * i, *ours, Flags::ACK, 1000));
            }
        }
    }
    let left = bench.frames.available();
    println!("five that do not read, sent 1.3 MB: {left} of {FRAMES} frames are left");
    assert!(left > 0);
    let dropped = bench.endpoint.counters().dropped_no_buffer;
    bench.peer_port = 5000;
    for i in 0..1000 {
        bench.receive(segment(IRS + 1 + 1000 * i, reader.1, Flags::ACK, 1000));
        assert_eq!(bench.read(reader.0).len(), 1000);
    }
    assert_eq!(bench.endpoint.counters().dropped_no_buffer, dropped, "the reader lost nothing");
    bench.check_frames();
}

/// The neighbour on the way forgets us between two writes: nothing can be sent, and yet it ends.
#[test]
fn data_that_nobody_knows_the_way_for_is_given_up_in_time() {
    let mut bench = Bench::without_neighbour();
    let config = TcpConfig { give_up_after: 300 * SECOND, ..TcpConfig::default() };
    let (local, remote) = (SocketAddr::new(OURS, 0), SocketAddr::new(THEIRS, 5000));
    let mut conns = vec![];
    for _ in 0..2 {
        let conn = bench.endpoint.connect(bench.now, local, remote, config).expect("connect");
        bench.port = bench.endpoint.flow(conn).expect("it is there").local.port;
        let mut syn = bench.sent();
        if syn.is_empty() {
            bench.answer_arp();
            syn = bench.sent();
        }
        bench.receive(segment(IRS, syn[0].seq + 1, Flags::SYN | Flags::ACK, 0));
        conns.push(conn);
    }
    bench.events();
    // The first one's data finds out that the neighbour is gone; the second one's finds nobody to ask.
    bench.wait(100 * SECOND);
    bench.send(conns[0], b"lost");
    bench.wait(60 * SECOND);
    bench.send(conns[1], b"never sent");
    bench.wait(2000 * SECOND);
    let events = bench.events();
    for conn in conns {
        let closed = Event::Closed { conn, reason: CloseReason::TimedOut };
        let trouble = Event::Trouble { conn, trouble: Trouble::Unreachable(Unreachable::Host) };
        assert!(events.contains(&closed) && events.contains(&trouble), "{events:?}");
    }
    bench.check_frames();
}
