//! How connections come in: backlog, SYN queue, cookies, limits.

use crate::hosts::{Bench, Pair, at, config, segment};
use corelane_proto::endpoint::{CloseReason, EndpointConfig, Event, ListenConfig, SynCookies};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

/// A host whose SYN queue holds four, with a listener on port 80.
fn short_queue(syn_cookies: SynCookies) -> Bench {
    let mut bench = Bench::new(EndpointConfig { syn_queue: 4, ..config(1) });
    let listen = ListenConfig { syn_cookies: Some(syn_cookies), ..ListenConfig::default() };
    bench.host.endpoint.listen(at(1, 80), listen).expect("listen");
    bench
}

fn syn(options: Options) -> Segment {
    Segment { options, ..segment(Seq(100), Seq(0), Flags::SYN, 0) }
}

fn all_options() -> Options {
    Options {
        mss: Some(1452),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 77_000, echo: 0 }),
        ..Options::NONE
    }
}

#[test]
fn a_full_accept_queue_ignores_the_ack_and_the_connection_opens_when_there_is_room() {
    let mut pair = Pair::new();
    let listen = ListenConfig { backlog: Some(2), ..ListenConfig::default() };
    pair.b.endpoint.listen(at(2, 80), listen).expect("listen");
    for _ in 0..3 {
        pair.connect(at(1, 0), at(2, 80));
    }
    // Three handshakes at once; the application of host 2 looks at none of them.
    let mut told = Vec::new();
    for _ in 0..3 {
        for (from_a, frames) in [(true, pair.a.sent(pair.now)), (false, pair.b.sent(pair.now))] {
            for frame in frames {
                if from_a {
                    pair.b.receive_silently(pair.now, &frame);
                } else {
                    pair.a.receive(pair.now, &frame);
                }
            }
        }
    }
    assert_eq!(pair.a.events.len(), 3, "for the peer all three are open");
    let counters = pair.b.endpoint.counters();
    assert_eq!((counters.dropped_accept_queue_full, pair.b.endpoint.half_opens()), (1, 1));
    // Another request finds the queue full too.
    pair.connect(at(1, 0), at(2, 80));
    for frame in pair.a.sent(pair.now) {
        pair.b.receive_silently(pair.now, &frame);
    }
    assert_eq!(pair.b.endpoint.counters().dropped_accept_queue_full, 2);
    // Now it takes what is there: the SYN-ACK comes again, and so does the request.
    pair.wait(Duration::from_secs(4));
    while let Some(conn) = pair.b.accepted() {
        told.push(conn);
    }
    assert_eq!(told.len(), 4);
    assert_eq!(pair.b.endpoint.half_opens(), 0);
}

#[test]
fn without_cookies_a_full_syn_queue_drops_what_comes() {
    let mut bench = short_queue(SynCookies::Never);
    for port in 0..4 {
        assert_eq!(bench.receive(at(2, 5000 + port), at(1, 80), syn(Options::NONE)).len(), 1);
    }
    assert_eq!(bench.receive(at(2, 6000), at(1, 80), syn(Options::NONE)), []);
    assert_eq!(bench.host.endpoint.counters().dropped_syn_queue_full, 1);
    bench.host.endpoint.poll_deadline().expect("SYN-ACKs go again");
}

/// How many SYNs of `count` at `port` are remembered.
fn flood(bench: &mut Bench, port: u16, count: u16) -> usize {
    let before = bench.host.endpoint.half_opens();
    for n in 0..count {
        bench.receive(at(3, 1000 + n), at(1, port), syn(Options::NONE));
    }
    bench.host.endpoint.half_opens() - before
}

#[test]
fn a_flood_at_one_listener_leaves_the_others_their_share_of_the_syn_queue() {
    let mut bench = Bench::new(EndpointConfig { syn_queue: 16, ..config(1) });
    let listen = ListenConfig { syn_cookies: Some(SynCookies::Never), ..ListenConfig::default() };
    let mut listeners = vec![];
    for port in [80, 81] {
        listeners.push(bench.host.endpoint.listen(at(1, port), listen).expect("listen"));
    }
    // Half of the queue is for everybody, the other half is shared out.
    assert_eq!(flood(&mut bench, 80, 100), 12);
    assert_eq!(flood(&mut bench, 81, 100), 4);
    assert_eq!(bench.host.endpoint.counters().dropped_syn_queue_full, 184);
    // What a listener gives back is its own again first.
    bench.receive(at(3, 1000), at(1, 81), segment(Seq(101), Seq(0), Flags::RST, 0));
    assert_eq!((flood(&mut bench, 80, 100), flood(&mut bench, 81, 1)), (0, 1));
    // Without the other one may have all.
    bench.host.endpoint.unlisten(listeners[1]);
    assert_eq!(flood(&mut bench, 80, 100), 4);
    assert_eq!(bench.host.endpoint.half_opens(), 16);
}

#[test]
fn a_listener_whose_share_is_used_up_answers_by_cookies_while_others_remember() {
    let mut bench = Bench::new(EndpointConfig { syn_queue: 16, ..config(1) });
    for port in [80, 81] {
        bench.host.listen(at(1, port));
    }
    assert_eq!(flood(&mut bench, 80, 100), 12);
    assert_eq!(bench.host.endpoint.counters().syn_cookies_sent, 88);
    assert_eq!(flood(&mut bench, 81, 1), 1);
    assert_eq!(bench.host.endpoint.counters().syn_cookies_sent, 88);
}

//= spec/rfc4987.txt#section-3.6
//= type=test
//# If the SYN was not spoofed, then the acknowledgement number (along with several other fields) in the ACK that
//# completes the handshake can be used to reconstruct the state to be put into the TCB.
//= spec/rfc4987.txt#section-3.7
//= type=test
//# in the event that the cache becomes full, then SYN cookies can be sent instead of purging cache entries upon the
//# arrival of new SYNs.
#[test]
fn cookies_open_connections_when_the_syn_queue_is_full() {
    let mut bench = short_queue(SynCookies::WhenFull);
    for port in 0..4 {
        bench.receive(at(3, 5000 + port), at(1, 80), syn(Options::NONE));
    }
    assert_eq!(bench.host.endpoint.counters().syn_cookies_sent, 0);
    bench.now = bench.now + Duration::from_millis(12_345);
    let answer = bench.receive(at(2, 6000), at(1, 80), syn(all_options()))[0];
    assert_eq!((answer.flags, answer.ack), (SYN_ACK, Seq(101)));
    assert_eq!((answer.options.window_scale, answer.options.sack_permitted), (Some(3), true));
    assert_eq!((bench.host.endpoint.half_opens(), bench.host.endpoint.counters().syn_cookies_sent), (4, 1));
    let ours = answer.options.timestamps.expect("timestamps").value;
    let options = Options { timestamps: Some(Timestamps { value: 77_005, echo: ours }), ..Options::NONE };
    bench.now = bench.now + Duration::from_secs(1);
    // The first segment brings data too.
    let ack = Segment { options, ..segment(Seq(101), answer.seq + 1, Flags::ACK, 10) };
    let sent = bench.receive(at(2, 6000), at(1, 80), ack);
    assert_eq!(sent.last().map(|sent| sent.ack), Some(Seq(111)));
    let after = sent[0].options.timestamps.expect("timestamps");
    assert!(Seq(after.value).after(Seq(ours)) && after.echo == 77_005);
    let conn = bench.host.accepted().expect("accepted");
    assert_eq!(bench.host.read(conn), b"xxxxxxxxxx");
    let info = bench.host.endpoint.info(conn).expect("it is there");
    assert_eq!(info.mss, 1440 - 12, "1452 is rounded down");
    assert_eq!(info.send_window, 60_000 << 9, "the peer's window scale was in the timestamp");
    let counters = bench.host.endpoint.counters();
    assert_eq!((counters.syn_cookies_accepted, counters.syn_cookies_bad), (1, 0));
}

#[test]
fn a_cookie_without_timestamps_promises_nothing_that_it_cannot_tell() {
    let mut bench = short_queue(SynCookies::Always);
    let options = Options { timestamps: None, ..all_options() };
    let answer = bench.receive(at(2, 6000), at(1, 80), syn(options))[0];
    assert_eq!(answer.options, Options { mss: Some(1460), ..Options::NONE });
    assert_eq!(bench.host.endpoint.half_opens(), 0);
    bench.receive(at(2, 6000), at(1, 80), segment(Seq(101), answer.seq + 1, Flags::ACK, 0));
    let conn = bench.host.accepted().expect("accepted");
    let info = bench.host.endpoint.info(conn).expect("it is there");
    assert_eq!((info.mss, info.send_window), (1440, 60_000));
}

#[test]
fn a_cookie_is_good_once_for_its_flow_and_not_for_long() {
    let mut bench = short_queue(SynCookies::Always);
    let answer = bench.receive(at(2, 6000), at(1, 80), syn(Options::NONE))[0];
    let good = segment(Seq(101), answer.seq + 1, Flags::ACK, 0);
    let wrong = [
        (at(2, 6001), good),
        (at(2, 6000), Segment { seq: Seq(102), ..good }),
        (at(2, 6000), Segment { ack: answer.seq + 2, ..good }),
    ];
    for (n, (from, segment)) in wrong.into_iter().enumerate() {
        let reset = bench.receive(from, at(1, 80), segment)[0];
        assert_eq!((reset.flags, reset.seq), (Flags::RST, segment.ack));
        assert_eq!(bench.host.endpoint.counters().syn_cookies_bad, n as u64 + 1);
    }
    bench.host.endpoint.change_secret([9; 32]);
    bench.wait(Duration::from_secs(60));
    bench.receive(at(2, 6000), at(1, 80), good);
    assert!(bench.host.accepted().is_some(), "the key before is still good");
    let late = bench.receive(at(2, 7000), at(1, 80), syn(Options::NONE))[0];
    bench.wait(Duration::from_secs(129));
    let reset = bench.receive(at(2, 7000), at(1, 80), segment(Seq(101), late.seq + 1, Flags::ACK, 0))[0];
    assert_eq!(reset.flags, Flags::RST);
    let counters = bench.host.endpoint.counters();
    assert_eq!(counters.syn_cookies_bad, 3, "so long after the last one nobody looks for cookies");
}

#[test]
fn a_flood_of_syns_does_not_keep_a_client_out() {
    let mut pair = Pair::with(config(1), EndpointConfig { syn_queue: 8, ..config(2) });
    pair.b.listen(at(2, 80));
    let (first, accepted) = pair.open();
    for n in 0..200_u32 {
        let from = at(200, 1000 + n as u16);
        let frame = crate::hosts::frame_to(2, from, at(2, 80), &segment(Seq(n), Seq(0), Flags::SYN, 0));
        pair.b.receive(pair.now, &frame);
        drop(pair.b.sent(pair.now));
    }
    assert_eq!(pair.b.endpoint.half_opens(), 8);
    assert_eq!(pair.b.endpoint.counters().syn_cookies_sent, 192);
    let (a, b) = pair.open();
    for (a, b) in [(a, b), (first, accepted)] {
        pair.a.write(a, b"through the flood");
        pair.settle();
        assert_eq!(pair.b.read(b), b"through the flood");
    }
    assert_eq!(pair.b.endpoint.counters().syn_cookies_accepted, 1);
}

#[test]
fn a_successor_of_time_wait_is_never_opened_by_a_cookie() {
    let mut bench = short_queue(SynCookies::WhenFull);
    let answer = bench.receive(at(2, 6000), at(1, 80), syn(Options::NONE))[0];
    bench.receive(at(2, 6000), at(1, 80), segment(Seq(101), answer.seq + 1, Flags::ACK, 0));
    let conn = bench.host.accepted().expect("accepted");
    bench.host.endpoint.close(conn);
    let fin = bench.sent()[0];
    bench.receive(at(2, 6000), at(1, 80), segment(Seq(101), fin.seq + 1, Flags(Flags::FIN.0 | Flags::ACK.0), 0));
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    for port in 0..4 {
        bench.receive(at(3, 5000 + port), at(1, 80), syn(Options::NONE));
    }
    let again = segment(Seq(5000), Seq(0), Flags::SYN, 0);
    assert_eq!(bench.receive(at(2, 6000), at(1, 80), again), [], "no room, and no number that is surely greater");
    assert_eq!(bench.host.endpoint.time_waits(), 1, "the old one has not lost its place for nothing");
    bench.receive(at(3, 5000), at(1, 80), segment(Seq(101), Seq(0), Flags::RST, 0));
    let answer = bench.receive(at(2, 6000), at(1, 80), again)[0];
    assert!(answer.flags == SYN_ACK && answer.seq.after(fin.seq));
    bench.receive(at(2, 6000), at(1, 80), segment(Seq(5001), answer.seq + 1, Flags::ACK, 0));
    assert_eq!(bench.host.endpoint.time_waits(), 0);
}

#[test]
fn a_listener_follows_another_at_once_though_connections_wait() {
    let mut pair = Pair::new();
    let first = pair.b.listen(at(2, 80));
    let (a, b) = pair.open();
    let (kept, kept_b) = pair.open();
    pair.b.endpoint.close(b);
    pair.settle();
    pair.a.endpoint.close(a);
    pair.settle();
    assert_eq!(pair.b.endpoint.time_waits(), 1);
    pair.b.endpoint.unlisten(first);
    let second = pair.b.listen(at(2, 80));
    assert_ne!(first, second);
    let (_, b) = pair.open();
    let accepted_by = |event: &Event| matches!(event, Event::Accepted { .. });
    assert!(!pair.b.events.iter().any(accepted_by) && pair.b.endpoint.info(b).is_some());
    pair.a.write(kept, b"as before");
    pair.settle();
    assert_eq!(pair.b.read(kept_b), b"as before", "what was open stays open");
}

#[test]
fn resets_pings_and_challenges_have_limits_of_their_own() {
    let limits = EndpointConfig { replies_per_second: 20, challenge_acks_per_second: 10, ..config(1) };
    let mut bench = Bench::new(limits);
    bench.host.listen(at(1, 80));
    let mut conns = Vec::new();
    for port in 0..40 {
        let answer = bench.receive(at(2, 5000 + port), at(1, 80), syn(Options::NONE))[0];
        bench.receive(at(2, 5000 + port), at(1, 80), segment(Seq(101), answer.seq + 1, Flags::ACK, 0));
        conns.push(bench.host.accepted().expect("accepted"));
    }
    let resets: usize = (0..100).map(|port| bench.receive(at(2, port + 1), at(1, 81), syn(Options::NONE)).len()).sum();
    assert_eq!(resets, 20, "a burst of 20");
    // A blind RST in the window of each connection (RFC 5961 3.2); the limit of resets is used up.
    let blind = |bench: &mut Bench| -> usize {
        (0..40).map(|n| bench.receive(at(2, 5000 + n), at(1, 80), segment(Seq(500), Seq(0), Flags::RST, 0)).len()).sum()
    };
    let challenges = blind(&mut bench);
    assert!((5..=15).contains(&challenges), "about ten a second: {challenges}");
    let counters = bench.host.endpoint.counters();
    assert_eq!(counters.challenge_acks as usize, challenges);
    assert_eq!(counters.challenge_acks_limited as usize, 40 - challenges);
    let mut seconds = Vec::new();
    for _ in 0..20 {
        bench.wait(Duration::from_secs(1));
        seconds.push(blind(&mut bench));
    }
    seconds.sort_unstable();
    seconds.dedup();
    assert!(seconds.len() > 3, "each second has another limit: {seconds:?}");
    assert!(conns.iter().all(|conn| bench.host.endpoint.info(*conn).is_some()));
}

#[test]
fn one_connection_is_challenged_twice_a_second_at_most() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(at(1, 80));
    let answer = bench.receive(at(2, 5000), at(1, 80), syn(Options::NONE))[0];
    bench.receive(at(2, 5000), at(1, 80), segment(Seq(101), answer.seq + 1, Flags::ACK, 0));
    let mut challenges = 0;
    for _ in 0..500 {
        bench.now = bench.now + Duration::from_millis(10);
        challenges += bench.receive(at(2, 5000), at(1, 80), segment(Seq(200), Seq(0), Flags::SYN, 0)).len();
    }
    assert_eq!(challenges, 10, "in five seconds");
    assert_eq!(bench.host.endpoint.counters().challenge_acks_limited, 490);
}

#[test]
fn a_refused_connection_and_a_segment_for_nobody_get_a_reset() {
    let mut pair = Pair::new();
    let a = pair.a.endpoint.connect(pair.now, at(1, 0), at(2, 80), TcpConfig::default()).expect("connect");
    pair.settle();
    assert!(pair.a.saw(Event::Closed { conn: a, reason: CloseReason::Refused }));
    let mut bench = Bench::new(config(1));
    let reset = bench.receive(at(2, 9), at(1, 9), segment(Seq(5), Seq(70), Flags::ACK, 10))[0];
    assert_eq!((reset.flags, reset.seq), (Flags::RST, Seq(70)));
    let reset = bench.receive(at(2, 9), at(1, 9), segment(Seq(5), Seq(0), Flags::SYN, 10))[0];
    assert_eq!((reset.flags, reset.seq, reset.ack), (Flags(Flags::RST.0 | Flags::ACK.0), Seq(0), Seq(16)));
    assert_eq!(bench.receive(at(2, 9), at(1, 9), segment(Seq(5), Seq(0), Flags::RST, 0)), []);
}
