//! Peers that are gone: data, FINs and half-closed connections that end by a time-out, and those that must not.

use crate::ours::Happened;
use crate::segment::{Side, kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane::config::Builder;
use corelane::{CloseReason, Shutdown, Trouble};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::state::State;
use rustix::net::sockopt::set_tcp_user_timeout;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;

/// Gives up after three seconds.
fn hasty() -> Builder {
    World::config().set("tcp.give_up_after_s", 3).set("tcp.rto_initial_ms", 200)
}

#[test]
fn data_without_answer_goes_again_less_and_less_often_and_then_times_out() {
    let world = World::new();
    let stack = world.start_with(hasty());
    stack.listen(7);
    let _stream = kernel_connect(7);
    let id = stack.accepted();
    world.wire.silence(Side::Kernel);
    stack.send(id, b"anybody?");
    // R1 after three retransmissions, R2 after three seconds.
    stack.expect(Happened::Trouble(id, Trouble::Retransmitting));
    assert_eq!(stack.closed(id), CloseReason::TimedOut);
    let sent = world.wire.all(ours(ACK).seq(1).len(8));
    assert!((4..8).contains(&sent.len()), "{}", world.wire.shown());
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // Each waits twice as long as the one before; the first waits 200 ms.
    assert!(gaps[0] > Duration::from_millis(100) && gaps[2] > gaps[0] + Duration::from_millis(200), "{gaps:?}");
    assert!(sent.last().unwrap().at - sent[0].at < Duration::from_secs(10), "{gaps:?}");
    stack.stop();
}

#[test]
fn a_fin_without_answer_times_out_from_either_side_of_the_close() {
    let world = World::new();
    let stack = world.start_with(hasty());
    stack.listen(7);
    // FIN-WAIT-1.
    let _first = kernel_connect(7);
    let active = stack.accepted();
    // LAST-ACK.
    let second = kernel_connect(7);
    let passive = stack.accepted();
    second.shutdown(std::net::Shutdown::Write).unwrap();
    stack.expect(Happened::PeerClosed(passive));
    world.wire.silence(Side::Kernel);
    stack.on(active, |conn, _| conn.shutdown(Shutdown::Write));
    stack.on(passive, |conn, _| conn.shutdown(Shutdown::Write));
    assert_eq!((stack.state(active), stack.state(passive)), (Some(State::FinWait1), Some(State::LastAck)));
    assert_eq!([stack.closed(active), stack.closed(passive)], [CloseReason::TimedOut; 2]);
    assert!(world.wire.count(ours(FIN).seq(1).ack(1)) >= 4, "{}", world.wire.shown());
    assert!(world.wire.count(ours(FIN).seq(1).ack(2)) >= 4, "{}", world.wire.shown());
    stack.stop();
}

#[test]
fn fin_wait_2_ends_when_the_application_is_gone_and_not_before() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.fin_wait_2_ms", 1000));
    stack.listen(7);
    let mut waited_for = kernel_connect(7);
    let patiently = stack.accepted();
    let mut left = kernel_connect(7);
    let closed = stack.accepted();
    stack.shutdown(patiently, Shutdown::Write);
    stack.close(closed);
    for stream in [&mut waited_for, &mut left] {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    std::thread::sleep(Duration::from_secs(4));
    // The one that was closed is forgotten: even a FIN finds nobody.
    drop(left);
    world.wire.saw_in_order(&[kernel(ACK).ack(2), kernel(FIN).seq(1).ack(2), ours(RST)]);
    // The other one has an application, and waits as long as it likes.
    assert_eq!(stack.state(patiently), Some(State::FinWait2));
    waited_for.write_all(b"here I am").unwrap();
    assert_eq!(stack.got(patiently, 9), b"here I am");
    drop(waited_for);
    assert_eq!(stack.closed(patiently), CloseReason::Finished);
    stack.closed(closed);
    stack.stop();
}

#[test]
fn the_kernels_user_timeout_ends_in_a_reset_that_we_are_told() {
    let world = World::new();
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    set_tcp_user_timeout(&stream, 1500).unwrap();
    // It hears nothing of ours and gives up.
    world.wire.silence(Side::Ours);
    stream.write_all(b"anybody?").unwrap();
    assert_eq!(stack.got(id, 8), b"anybody?");
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    // By then it has sent its bytes again and again, and each time we have answered.
    let repeats = world.wire.count(kernel(ACK).seq(1).len(8));
    assert!(repeats >= 2, "{}", world.wire.shown());
    world.wire.open();
    // Its connection is gone, so that what we send is answered by a reset.
    stack.send(id, b"yes?");
    world.wire.saw(kernel(RST));
    assert_eq!(stack.closed(id), CloseReason::Reset);
    stack.stop();
}

#[test]
fn the_user_timeout_ends_a_connection_behind_a_shut_window() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.user_timeout_ms", 3000));
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    // Nobody reads: its window shuts, and it says so for as long as it is asked.
    let _stream = patient(listener.accept().unwrap().0);
    let began = Instant::now();
    stack.stream(id, 0..1 << 30, false);
    assert_eq!(stack.closed(id), CloseReason::TimedOut);
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    let shut = world.wire.wait_for("a shut window", |seen| {
        seen.iter().find(|seen| seen.side == Side::Kernel && seen.segment.window == 0).cloned()
    });
    let probes = world.wire.all(ours(ACK).seq(shut.ack).len(1));
    assert!(probes.len() >= 2, "{}", world.wire.shown());
    stack.stop();
}
