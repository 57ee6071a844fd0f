//! What a connection does when nothing comes: R1 and R2, the user time-out, keepalive; and settings that change.

use crate::bench::{Bench, IRS, OURS, THEIRS, segment};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::{CloseReason, Event, Trouble};
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::segment::{Flags, Segment};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# (e)  TCP implementations SHOULD inform the application of the
//# delivery problem (unless such information has been disabled by
//# the application; see the "Asynchronous Reports" section
//# (Section 3.9.1.8)), when R1 is reached and before R2 (SHLD-9).
//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# The following procedure MUST be used to handle excessive retransmissions of data segments (MUST-20):
//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# An application MUST (MUST-21) be able to set the value for R2 for a particular connection.
#[test]
fn the_third_retransmission_is_told_once_and_r2_ends_it() {
    let mut bench = Bench::new(TcpConfig { give_up_after: 100 * SECOND, ..TcpConfig::default() });
    let (conn, _) = bench.open();
    let begin = bench.now;
    bench.send(conn, b"anybody there?");
    let mut retransmissions = 0;
    while retransmissions < 3 {
        assert_eq!(bench.events(), [], "after {retransmissions}");
        let at = bench.endpoint.poll_deadline().expect("a timer runs");
        retransmissions += bench.wait_until(at).len();
    }
    assert_eq!(bench.events(), [Event::Trouble { conn, trouble: Trouble::Retransmitting }]);
    assert_eq!(bench.endpoint.counters().delivery_troubles, 1);
    bench.wait_until(begin + 100 * SECOND - SECOND);
    assert_eq!(bench.events(), [], "told once, and not given up before its time");
    bench.wait(300 * SECOND);
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
    bench.check_frames();
}

#[test]
fn an_answer_takes_the_trouble_back() {
    let mut bench = Bench::new(TcpConfig { r1_retransmits: 2, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    for round in 0..3 {
        bench.send(conn, b"x");
        while bench.events() != [Event::Trouble { conn, trouble: Trouble::Retransmitting }] {
            let at = bench.endpoint.poll_deadline().expect("a timer runs");
            bench.wait_until(at);
        }
        bench.receive(segment(IRS + 1, ours + round + 1, Flags::ACK, 0));
    }
    assert_eq!(bench.endpoint.counters().delivery_troubles, 3);
}

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# SYN retransmissions MUST be handled in the
//# general way just described for data retransmissions, including
//# notification of the application layer.
//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# In particular, R2 for a SYN segment MUST be set large
//# enough to provide retransmission of the segment for at least 3
//# minutes (MUST-23).
#[test]
fn a_syn_without_answer_is_told_at_r1_and_given_up_after_three_minutes() {
    let mut bench = Bench::new(TcpConfig::default());
    let begin = bench.now;
    let (conn, syn) = bench.connect(TcpConfig::default());
    let again = bench.wait(180 * SECOND);
    assert!(again.iter().all(|s| s.seq == syn.seq && s.flags == Flags::SYN), "{again:?}");
    assert_eq!(bench.events(), [Event::Trouble { conn, trouble: Trouble::Retransmitting }]);
    while let Some(at) = bench.endpoint.poll_deadline() {
        bench.wait_until(at);
    }
    assert!(bench.now.saturating_since(begin) > 180 * SECOND);
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
    assert_eq!(bench.endpoint.connections(), 0);
}

//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# (b)  When the number of transmissions of the same segment reaches or
//# exceeds threshold R1, pass negative advice (see Section 3.3.1.4
//# of [19]) to the IP layer, to trigger dead-gateway diagnosis.
//= spec/rfc9293.txt#section-3.8.3
//= type=test
//# The following procedure MUST be used to handle excessive retransmissions of data segments (MUST-20):
#[test]
fn at_r1_the_neighbour_is_asked_whether_it_is_there() {
    let mut bench = Bench::without_neighbour();
    let remote = SocketAddr::new(THEIRS, 5000);
    let conn =
        bench.endpoint.connect(bench.now, SocketAddr::new(OURS, 0), remote, TcpConfig::default()).expect("connect");
    bench.sent();
    bench.answer_arp();
    assert_eq!(bench.sent().len(), 1, "the SYN");
    let before = bench.endpoint.counters().arp_out;
    while bench.endpoint.counters().delivery_troubles == 0 {
        let at = bench.endpoint.poll_deadline().expect("a timer runs");
        bench.wait_until(at);
    }
    assert_eq!(bench.endpoint.counters().arp_out, before + 1);
    assert_eq!(bench.events(), [Event::Trouble { conn, trouble: Trouble::Retransmitting }]);
}

//= spec/rfc9293.txt#section-3.10.8
//= type=test
//# For any state if the user timeout expires, flush all queues,
//# signal the user "error: connection aborted due to user timeout"
//# in general and for any outstanding calls, delete the TCB, enter
//# the CLOSED state, and return.
#[test]
fn the_user_time_out_ends_a_wait_behind_a_closed_window_which_r2_does_not() {
    let limit = Some(30 * SECOND);
    for (user_timeout, ends) in [(None, false), (limit, true)] {
        let mut bench = Bench::new(TcpConfig { user_timeout, ..TcpConfig::default() });
        let (conn, ours) = bench.open();
        bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
        bench.send(conn, b"let me in");
        let begin = bench.now;
        while bench.now < begin + 29 * SECOND {
            // The peer answers each probe: its window stays closed.
            let at = bench.endpoint.poll_deadline().expect("a timer runs").min(begin + 29 * SECOND);
            if !bench.wait_until(at).is_empty() {
                bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
            }
        }
        assert_eq!(bench.events(), [], "{user_timeout:?}");
        bench.wait(2 * SECOND);
        assert_eq!(bench.ended(conn), ends.then_some(CloseReason::TimedOut), "{user_timeout:?}");
        assert!(!ends || bench.endpoint.poll_deadline().is_none());
        bench.check_frames();
    }
}

#[test]
fn the_user_time_out_begins_anew_with_each_progress_and_holds_for_a_syn() {
    let config = TcpConfig { user_timeout: Some(10 * SECOND), ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let (conn, ours) = bench.open();
    bench.send(conn, &[0; 1000]);
    for i in 1..=5 {
        bench.wait(9 * SECOND);
        bench.receive(segment(IRS + 1, ours + 100 * i, Flags::ACK, 0));
        bench.events();
    }
    bench.receive(segment(IRS + 1, ours + 1000, Flags::ACK, 0));
    bench.wait(100 * SECOND);
    assert_eq!(bench.events(), [], "nothing waits, so nothing times out");
    assert_eq!(bench.endpoint.poll_deadline(), None);
    let (conn, _) = bench.connect(config);
    bench.wait(11 * SECOND);
    assert!(bench.events().contains(&Event::Closed { conn, reason: CloseReason::TimedOut }));
}

fn keepalive(garbage: bool) -> TcpConfig {
    let keepalive = KeepaliveConfig { idle: 60 * SECOND, interval: 5 * SECOND, probes: 3, garbage };
    TcpConfig { keepalive: Some(keepalive), ..TcpConfig::default() }
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# If
//# keep-alives are included, the application MUST be able to turn them
//# on or off for each TCP connection (MUST-24), and they MUST default to
//# off (MUST-25).
#[test]
fn keepalive_is_off_and_can_be_turned_on_and_off_while_the_connection_lives() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    assert_eq!(bench.wait(10_000 * SECOND), [], "off by default");
    assert!(bench.endpoint.configure(conn, keepalive(false)));
    assert_eq!(bench.endpoint.tcp_config(conn), Some(keepalive(false)));
    let probes = bench.wait(Duration::from_millis(1));
    assert_eq!(probes.iter().map(|s| (s.seq, s.len)).collect::<Vec<_>>(), [(ours - 1, 0)], "it has long been idle");
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(bench.wait(59 * SECOND), []);
    assert_eq!(bench.wait(2 * SECOND).len(), 1);
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert!(bench.endpoint.configure(conn, TcpConfig::default()));
    assert_eq!(bench.wait(10_000 * SECOND), []);
    assert_eq!(bench.endpoint.poll_deadline(), None);
    bench.endpoint.abort(conn);
    bench.events();
    assert!(!bench.endpoint.configure(conn, TcpConfig::default()), "it is gone");
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# An implementation SHOULD send a keep-alive segment with no data
//# (SHLD-12); however, it MAY be configurable to send a keep-alive
//# segment containing one garbage octet (MAY-6), for compatibility with
//# erroneous TCP implementations.
#[test]
fn a_probe_with_garbage_has_one_byte_that_was_nobodys() {
    let mut bench = Bench::new(keepalive(true));
    let (_, ours) = bench.open();
    bench.now = bench.now + 61 * SECOND;
    bench.endpoint.on_time(bench.now, &mut bench.frames);
    let sent = bench.sent_whole();
    assert_eq!(sent.iter().map(|sent| (sent.segment.seq, &sent.bytes[..])).collect::<Vec<_>>(), [(ours - 1, &[0][..])]);
    bench.check_frames();
}

//= spec/rfc9293.txt#section-3.8.4
//= type=test
//# Keep-alive packets MUST only be sent when no sent data is
//# outstanding, and no data or acknowledgment packets have been received
//# for the connection within an interval (MUST-26).
#[test]
fn no_probe_while_data_is_outstanding_or_waits_for_the_window() {
    let mut bench = Bench::new(keepalive(false));
    let (conn, ours) = bench.open();
    bench.send(conn, b"data");
    let sent = bench.wait(600 * SECOND);
    assert!(sent.len() > 5 && sent.iter().all(|s| s.seq == ours && s.len == 4), "retransmissions only: {sent:?}");
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours + 4, Flags::ACK, 0) });
    bench.send(conn, b"more");
    let begin = bench.now;
    while bench.now < begin + 600 * SECOND {
        let at = bench.endpoint.poll_deadline().expect("a timer runs");
        for probe in bench.wait_until(at) {
            assert_eq!(probe.len, 1, "a window probe and not a keepalive: {probe:?}");
            bench.receive(Segment { window: 0, ..segment(IRS + 1, ours + 4, Flags::ACK, 0) });
        }
    }
    bench.events();
    bench.receive(segment(IRS + 1, ours + 4, Flags::ACK, 0));
    bench.receive(segment(IRS + 1, ours + 8, Flags::ACK, 0));
    assert_eq!(bench.wait(59 * SECOND), []);
    assert_eq!(bench.wait(2 * SECOND).iter().map(|s| s.seq).collect::<Vec<_>>(), [ours + 7], "idle again");
}

#[test]
fn settings_that_change_while_it_is_open_count_at_once_and_those_of_the_handshake_stay() {
    let mut bench = Bench::new(TcpConfig { nodelay: false, ..TcpConfig::default() });
    let (conn, _) = bench.open();
    assert_eq!(bench.send(conn, b"first").len(), 1);
    assert_eq!(bench.send(conn, b"small"), [], "Nagle");
    let nodelay = TcpConfig { nodelay: true, timestamps: false, min_mss: 100, ttl: 0, ..TcpConfig::default() };
    assert!(bench.endpoint.configure(conn, nodelay));
    assert_eq!(bench.sent().len(), 1, "it goes at once");
    let config = bench.endpoint.tcp_config(conn).expect("it is there");
    assert_eq!((config.timestamps, config.min_mss, config.ttl), (true, 88, 1), "kept, kept, mended");
    assert!(bench.endpoint.configure(conn, TcpConfig { cork: true, ..nodelay }));
    assert_eq!(bench.send(conn, b"corked"), []);
    assert!(bench.endpoint.configure(conn, nodelay));
    assert_eq!(bench.sent().len(), 1, "the cork is out");
}

#[test]
fn a_cork_gives_way_after_a_while() {
    let mut bench = Bench::new(TcpConfig { cork: true, ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    assert_eq!(
        bench.send(conn, &[7; 600]).iter().map(|s| s.len).collect::<Vec<_>>(),
        [536],
        "what fills a segment goes"
    );
    bench.receive(segment(IRS + 1, ours + 536, Flags::ACK, 0));
    assert_eq!(bench.wait(Duration::from_millis(190)), []);
    assert_eq!(bench.wait(Duration::from_millis(20)).iter().map(|s| s.len).collect::<Vec<_>>(), [64]);
    bench.receive(segment(IRS + 1, ours + 600, Flags::ACK, 0));
    assert_eq!(bench.send(conn, b"and again it waits"), []);
}

#[test]
fn the_user_time_out_begins_anew_when_our_syn_is_acknowledged() {
    let mut bench = Bench::new(TcpConfig::default());
    let config = TcpConfig { user_timeout: Some(Duration::from_millis(800)), ..TcpConfig::default() };
    let (conn, syn) = bench.connect(config);
    bench.endpoint.send_copy(&mut bench.frames, conn, b"early").expect("open for sending");
    bench.wait(Duration::from_millis(700));
    bench.receive(segment(IRS, syn.seq + 1, Flags::SYN | Flags::ACK, 0));
    bench.wait(Duration::from_millis(700));
    assert_eq!(bench.events(), [Event::Connected(conn)], "700 ms since the last progress");
    bench.wait(Duration::from_millis(200));
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
}
