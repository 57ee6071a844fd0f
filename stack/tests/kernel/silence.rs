//! Peers that say nothing, or take nothing: keepalive, zero windows.

use crate::ours::{Happened, pattern, stretch};
use crate::segment::{Side, kernel, ours};
use crate::world::{KERNEL, SOON, World, kernel_connect, kernel_listener, patient};
use corelane::CloseReason;
use corelane_proto::tcp::segment::Flags;
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_recv_buffer_size, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const ACK: Flags = Flags::ACK;
const SECOND: Duration = Duration::from_secs(1);

fn with_keepalive() -> corelane::config::Builder {
    World::config()
        .set("tcp.keepalive", true)
        .set("tcp.keepalive_idle_s", 2)
        .set("tcp.keepalive_interval_s", 1)
        .set("tcp.keepalive_probes", 3)
}

#[test]
fn keepalive_probes_a_silenced_peer_and_gives_up() {
    let world = World::new();
    let stack = world.start_with(with_keepalive());
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let _stream = patient(listener.accept().unwrap().0);
    stack.send(id, b"the last bytes");
    world.wire.saw(kernel(ACK).ack(15));
    world.wire.silence(Side::Kernel);
    assert_eq!(stack.closed(id), CloseReason::TimedOut);

    // The number before the next, without bytes: the peer has it, and has to answer.
    let probes = world.wire.all(ours(ACK).seq(14).len(0));
    assert_eq!(probes.len(), 3, "{}", world.wire.shown());
    let last = world.wire.all(kernel(ACK).ack(15))[0].at;
    let idle = probes[0].at.saturating_sub(last);
    assert!(idle > SECOND && idle < 10 * SECOND, "idle for {idle:?} before the first probe");
    for pair in probes.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap > SECOND / 2 && gap < 8 * SECOND, "{gap:?} between two probes");
    }
    let summary = stack.stop();
    assert_eq!(summary.endings()["timed_out"], 1, "{summary}");
}

#[test]
fn keepalive_that_is_answered_keeps_the_connection() {
    let world = World::new();
    let stack = world.start_with(with_keepalive());
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    // Nothing was sent yet: the probe's number is that of the SYN.
    let answered = world.wire.wait_for("four answered probes", |seen| {
        let answers = seen.windows(2).filter(|pair| {
            ours(ACK).seq(0).ack(1).len(0).matches(&pair[0]) && kernel(ACK).ack(1).len(0).matches(&pair[1])
        });
        (answers.count() >= 4).then_some(seen.len())
    });
    assert!(answered >= 11, "{}", world.wire.shown());
    stream.write_all(b"still here").unwrap();
    assert_eq!(stack.got(id, 10), b"still here");
    stack.stop();
}

#[test]
fn we_answer_the_kernels_keepalive() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    set_tcp_keepidle(&stream, SECOND).unwrap();
    set_tcp_keepintvl(&stream, SECOND).unwrap();
    set_tcp_keepcnt(&stream, 2).unwrap();
    set_socket_keepalive(&stream, true).unwrap();
    world.wire.wait_for("four answered probes", |seen| {
        let answers = seen.windows(2).filter(|pair| {
            kernel(ACK).seq(0).len(0).matches(&pair[0]) && ours(ACK).seq(1).ack(1).len(0).matches(&pair[1])
        });
        (answers.count() >= 4).then_some(())
    });
    stream.write_all(b"still here").unwrap();
    assert_eq!(stack.got(id, 10), b"still here");

    // Silenced, we are given up, and the kernel says so with a reset.
    world.wire.silence(Side::Ours);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    world.wire.saw(kernel(Flags::RST));
    assert_eq!(stack.closed(id), CloseReason::Reset);
    stack.stop();
}

/// How long nobody reads.
const CLOSED: Duration = Duration::from_secs(60);
/// What then arrives all the same.
const SOME: usize = 1 << 20;

#[test]
fn a_window_that_stays_shut_for_a_minute_loses_nothing() {
    let world = World::new();
    let stack = world.start();
    stack.accept_deaf();
    stack.listen(7);
    let listener = kernel_listener(9000);
    set_socket_recv_buffer_size(&listener, 16 * 1024).unwrap();

    // One way the kernel does not read, the other way we don't.
    let sending = stack.connected(&format!("{KERNEL}:9000"));
    let mut reader = patient(listener.accept().unwrap().0);
    stack.stream(sending, 0..SOME as u64, true);
    let mut writer = kernel_connect(7);
    let receiving = stack.accepted();
    writer.set_write_timeout(None).unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&stretch(0, SOME)).unwrap();
        writer
    });
    let shut = world.wire.wait_for("both windows shut", |seen| {
        let shut = |side| seen.iter().rev().find(|seen| seen.side == side && seen.segment.window == 0);
        Some((shut(Side::Ours)?.clone(), shut(Side::Kernel)?.clone()))
    });
    let began = Instant::now();
    std::thread::sleep(CLOSED);

    // What went on meanwhile: probes, each answered, less and less often.
    let since = shut.0.at.max(shut.1.at);
    let rests = |side: fn(Flags) -> crate::segment::Pattern, port| {
        let all = world.wire.all(side(ACK));
        let probes = all.into_iter().filter(|seen| seen.at > since && (seen.src.port == port || seen.dst.port == port));
        let times: Vec<_> = probes.map(|seen| seen.at).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    for (who, gaps) in [("ours", rests(ours, 9000)), ("the kernel's", rests(kernel, 7))] {
        assert!((4..40).contains(&gaps.len()), "{who}: {} probes in a minute: {gaps:?}", gaps.len() + 1);
        let (first, last) = (gaps[0], gaps[gaps.len() - 1]);
        assert!(last > 2 * first && last > 5 * SECOND, "{who} back off: {gaps:?}");
    }
    assert!(stack.state(sending).is_some() && stack.state(receiving).is_some(), "nobody gave up");

    // And now they read.
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    let differs = got.iter().zip(0..).position(|(byte, at)| *byte != pattern(at));
    assert_eq!((got.len(), differs), (SOME, None));
    stack.hear(receiving);
    assert!(stack.got(receiving, SOME) == stretch(0, SOME), "what the kernel sent");
    drop(writing.join().unwrap());
    stack.expect(Happened::PeerClosed(receiving));
    stack.close(receiving);
    drop(reader);
    assert_eq!([stack.closed(sending), stack.closed(receiving)], [CloseReason::Finished; 2]);
    assert!(began.elapsed() < CLOSED + 2 * SOON);
    stack.stop();
}
