//! How connections end when somebody does not behave: RST from either side, attempts that fail.

use crate::ours::stretch;
use crate::segment::{Fate, kernel, ours};
use crate::world::{KERNEL, OWN, SOON, World, kernel_connect, kernel_listener, patient};
use corelane::CloseReason;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const RST: Flags = Flags::RST;

#[test]
fn the_kernel_resets_in_the_middle_of_our_stream() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stack.stream(id, 0..1 << 30, false);
    stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert_eq!(stack.closed(id), CloseReason::Reset);
    let reset = world.wire.saw(kernel(RST));
    let sent = world.wire.all(ours(ACK).data()).len();
    assert!(sent > 700, "{sent} segments before the reset at {}", reset.at.as_secs_f64());
    let summary = stack.stop();
    assert_eq!(summary.protocol()["closed_by_reset"], 1, "{summary}");
}

#[test]
fn we_abort_in_the_middle_of_the_kernels_stream() {
    let world = World::new();
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    stack.check(id);
    let writer = std::thread::spawn(move || {
        let mut at = 0;
        loop {
            if let Err(error) = stream.write_all(&stretch(at, 64 * 1024)) {
                return error.kind();
            }
            at += 64 * 1024;
        }
    });
    stack.until("some megabyte", || (stack.checked(id).0 > 1 << 20).then_some(()));
    stack.abort(id);
    assert_eq!(stack.closed(id), CloseReason::Aborted);
    let error = writer.join().unwrap();
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
    // Its number is the next that we would have sent: the kernel takes it at once.
    world.wire.saw(ours(RST).seq(1));
    stack.stop();
}

#[test]
fn closing_with_bytes_unread_is_a_reset() {
    let world = World::new();
    let stack = world.start();
    stack.accept_deaf();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"nobody reads this").unwrap();
    world.wire.saw(ours(ACK).ack(18));
    stack.close(id);
    world.wire.saw(ours(RST).seq(1));
    assert_eq!(stack.closed(id), CloseReason::Aborted);
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(world.wire.count(ours(Flags::FIN)), 0, "{}", world.wire.shown());

    // And the kernel's own close with bytes unread is told as a reset.
    let stream = kernel_connect(7);
    let id = stack.accepted();
    let mark = world.wire.mark();
    stack.send(id, b"nobody reads this either");
    world.wire.after(mark, kernel(ACK).ack(25));
    drop(stream);
    world.wire.after(mark, kernel(RST));
    assert_eq!(stack.closed(id), CloseReason::Reset);
    stack.stop();
}

#[test]
fn bytes_after_our_close_are_answered_by_a_reset() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stack.close(id);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    stream.write_all(b"too late").unwrap();
    world.wire.saw_in_order(&[ours(Flags::FIN).seq(1), kernel(ACK).seq(1).len(8), ours(RST)]);
    let error = stack.until("the kernel's socket fails", || stream.write_all(b"still too late").err());
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    stack.closed(id);
    stack.stop();
}

#[test]
fn a_closed_port_refuses_on_either_side() {
    let world = World::new();
    let stack = world.start();
    let id = stack.connect(&format!("{KERNEL}:9"));
    assert_eq!(stack.closed(id), CloseReason::Refused);
    world.wire.saw_in_order(&[ours(SYN).seq(0), kernel(RST | ACK).ack(1)]);

    let to: SocketAddr = format!("{OWN}:9").parse().unwrap();
    let error = TcpStream::connect_timeout(&to, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    world.wire.saw_in_order(&[kernel(SYN).seq(0), ours(RST | ACK).ack(1)]);
    assert_eq!(stack.counters().dropped_no_listener, 1);
    stack.stop();
}

#[test]
fn syns_without_answer_time_out() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.rto_initial_ms", 200).set("tcp.syn_retries", 2));
    let _listener = kernel_listener(9000);
    world.wire.rule(|seen| if seen.has(SYN | ACK) || seen.has(RST) { Fate::Dropped } else { Fate::Passed });
    let id = stack.connect(&format!("{KERNEL}:9000"));
    assert_eq!(stack.closed(id), CloseReason::TimedOut);
    let syns = world.wire.all(ours(SYN));
    assert_eq!(syns.len(), 3, "{}", world.wire.shown());
    let gaps: Vec<_> = syns.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps[0] >= Duration::from_millis(100) && gaps[1] >= Duration::from_millis(200), "{gaps:?}");
    assert!(syns.iter().all(|syn| syn.segment.seq == syns[0].segment.seq), "each is the same SYN");
    stack.stop();
}

/// A connection that the kernel begins and whose answer the wire drops. It does not go on.
fn begin_and_leave(world: &World) -> crate::segment::Seen {
    let mark = world.wire.mark();
    world.wire.rule(|seen| if seen.has(SYN | ACK) { Fate::Dropped } else { Fate::Passed });
    let to: SocketAddr = format!("{OWN}:7").parse().unwrap();
    let error = TcpStream::connect_timeout(&to, Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    world.wire.after(mark, ours(SYN | ACK));
    world.wire.after(mark, kernel(SYN))
}

#[test]
fn a_reset_in_syn_received_takes_the_listener_back_to_listen() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let answers_to = |port| world.wire.all(ours(SYN | ACK)).iter().filter(|seen| seen.dst.port == port).count();
    // Without reset our answer is repeated.
    let alone = begin_and_leave(&world);
    let reset = begin_and_leave(&world);
    world.wire.forge(&reset, Segment { seq: Seq(1), flags: RST, ..Segment::default() });
    world.wire.wait_for("the repeated SYN-ACK", |seen| {
        (seen.iter().filter(|seen| ours(SYN | ACK).matches(seen) && seen.dst == alone.src).count() >= 3).then_some(())
    });
    assert_eq!(answers_to(reset.src.port), 1, "{}", world.wire.shown());
    world.wire.open();
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"still here").unwrap();
    assert_eq!(stack.got(id, 10), b"still here");
    stack.stop();
}

#[test]
fn a_reset_in_syn_received_ends_what_we_opened() {
    let world = World::new();
    let stack = world.start();
    // Nothing of ours reaches the kernel, whose SYN is made here: we are in SYN-RECEIVED for sure.
    world.wire.silence(crate::segment::Side::Ours);
    let id = stack.connect(&format!("{KERNEL}:9100"));
    let syn = world.wire.saw(ours(SYN));
    let crossing = world.wire.answering(&syn);
    world.wire.forge(&crossing, Segment { seq: Seq(0), flags: SYN, window: 65_535, ..Segment::default() });
    world.wire.saw(ours(SYN | ACK).seq(0).ack(1));
    stack.expect_state(id, State::SynReceived);
    world.wire.forge(&crossing, Segment { seq: Seq(1), flags: RST, ..Segment::default() });
    assert_eq!(stack.closed(id), CloseReason::Refused);
    stack.stop();
}
