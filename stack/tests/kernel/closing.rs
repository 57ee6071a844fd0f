//! How connections end when both ends behave: RFC 9293 3.6 against the kernel.

use crate::ours::{Happened, pattern, stretch};
use crate::segment::{Fate, Side, kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane::{CloseReason, Shutdown};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::state::State;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_tcp_cork};
use std::io::{Read, Write};
use std::net::{Shutdown as Sockets, TcpStream};

const FIN: Flags = Flags::FIN;
const ACK: Flags = Flags::ACK;

/// What a half-closed connection carries the other way.
const MEGABYTES: usize = 8 << 20;

/// Reads to the end, which has to be `len` bytes of the pattern.
#[track_caller]
fn expect_stream(stream: &mut TcpStream, len: usize) {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    let differs = got.iter().zip(0..).position(|(byte, at)| *byte != pattern(at));
    assert_eq!((got.len(), differs), (len, None), "bytes of what the stack sent, and where they differ");
}

#[test]
fn two_fins_that_cross_lead_us_through_closing() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.msl_ms", 500));
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();

    world.wire.hold(ours(FIN));
    stack.shutdown(id, Shutdown::Write);
    world.wire.saw(ours(FIN).seq(1).ack(1));
    // Ours waits on the wire; the kernel does not know of it.
    stream.shutdown(Sockets::Write).unwrap();
    world.wire.saw(kernel(FIN).seq(1).ack(1));
    stack.expect(Happened::PeerClosed(id));
    stack.expect_state(id, State::Closing);
    world.wire.open();
    world.wire.saw_in_order(&[ours(FIN).seq(1).ack(1), kernel(FIN).seq(1).ack(1), ours(ACK).seq(2).ack(2).len(0)]);
    world.wire.saw(kernel(ACK).seq(2).ack(2));
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    let summary = stack.stop();
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
}

#[test]
fn two_fins_that_cross_lead_the_kernel_through_closing() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.msl_ms", 500));
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);

    world.wire.hold(kernel(FIN));
    stream.shutdown(Sockets::Write).unwrap();
    world.wire.saw(kernel(FIN).seq(1).ack(1));
    stack.close(id);
    world.wire.saw(ours(FIN).seq(1).ack(1));
    world.socket_with(&["CLOSING"]);
    world.wire.open();
    world.wire.saw(ours(ACK).seq(2).ack(2).len(0));
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    world.socket_with(&["TIME-WAIT", ":9000"]);
    stack.stop();
}

#[test]
fn after_our_fin_the_kernel_sends_megabytes() {
    let world = World::new();
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    stack.check(id);
    stack.send(id, b"send");
    stack.shutdown(id, Shutdown::Write);
    let mut asked = Vec::new();
    stream.read_to_end(&mut asked).unwrap();
    assert_eq!(asked, b"send");
    stack.expect_state(id, State::FinWait2);
    stream.write_all(&stretch(0, MEGABYTES)).unwrap();
    stack.until("all of it", || (stack.checked(id).0 == MEGABYTES as u64).then_some(()));
    stack.expect_state(id, State::FinWait2);
    drop(stream);
    assert_eq!(stack.closed(id), CloseReason::Finished);

    let after = MEGABYTES as u32 + 1;
    world.wire.saw_in_order(&[
        ours(FIN).seq(5),
        kernel(ACK).ack(6).seq(1),
        kernel(ACK).data(),
        ours(ACK).seq(6),
        kernel(FIN).ack(6),
        ours(ACK).seq(6).ack(after + 1).len(0),
    ]);
    assert_eq!(world.wire.count(ours(ACK).data()), 1, "only the question has data\n{}", world.wire.shown());
    assert_eq!(stack.counters().bytes_in, MEGABYTES as u64);
    stack.stop();
}

#[test]
fn after_the_kernels_fin_we_send_megabytes() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"send").unwrap();
    stream.shutdown(Sockets::Write).unwrap();
    stack.expect(Happened::PeerClosed(id));
    stack.expect_state(id, State::CloseWait);
    assert_eq!(stack.got(id, 4), b"send");
    stack.stream(id, 0..MEGABYTES as u64, false);
    let reader = std::thread::spawn(move || {
        expect_stream(&mut stream, MEGABYTES);
        stream
    });
    stack.expect(Happened::Sent(id));
    stack.expect_state(id, State::CloseWait);
    stack.close(id);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    drop(reader.join().unwrap());

    let end = MEGABYTES as u32 + 1;
    world.wire.saw_in_order(&[
        kernel(FIN).seq(5),
        ours(ACK).ack(6),
        ours(ACK).ack(6).data(),
        kernel(ACK).seq(6),
        ours(FIN).ack(6),
        kernel(ACK).seq(6).ack(end + 1),
    ]);
    stack.stop();
}

#[test]
fn a_fin_comes_and_goes_with_data() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    // Corked, the kernel keeps the bytes until its FIN goes with them.
    set_tcp_cork(&stream, true).unwrap();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Sockets::Write).unwrap();
    world.wire.saw(kernel(FIN).seq(1).len(10));
    stack.expect(Happened::PeerClosed(id));
    assert_eq!(stack.got(id, 10), b"last words");
    world.wire.saw(ours(ACK).ack(12));

    stack.on(id, |conn, _| {
        assert_eq!(conn.send_copy(b"and ours"), 8);
        conn.shutdown(Shutdown::Write);
    });
    world.wire.saw(ours(FIN).seq(1).len(8));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"and ours");
    world.wire.saw(kernel(ACK).ack(10));
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}

#[test]
fn a_fin_that_overtakes_its_data_waits_for_them() {
    let world = World::new();
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);

    let mut first = true;
    world.wire.rule(move |seen| match (seen.len() > 0, first) {
        (false, _) => Fate::Passed,
        (true, true) => {
            first = false;
            Fate::Held
        }
        (true, false) => Fate::Dropped,
    });
    stream.write_all(b"data of the kernel").unwrap();
    world.wire.saw(kernel(ACK).seq(1).len(18));
    stream.shutdown(Sockets::Write).unwrap();
    world.wire.saw(kernel(FIN).seq(19));
    world.wire.saw(ours(ACK).seq(1).ack(1));
    assert_eq!(stack.state(id), Some(State::Established));
    // From now on nothing of the kernel comes but these bytes: the FIN has to be remembered.
    world.wire.release_to(|seen| if seen.side == Side::Kernel { Fate::Dropped } else { Fate::Passed });
    stack.expect(Happened::PeerClosed(id));
    assert_eq!(stack.got(id, 18), b"data of the kernel");
    world.wire.saw(ours(ACK).ack(20));
    world.wire.open();

    world.wire.rule(|seen| if seen.len() > 0 { Fate::Held } else { Fate::Passed });
    stack.send(id, b"data of ours");
    world.wire.saw(ours(ACK).seq(1).len(12));
    stack.shutdown(id, Shutdown::Write);
    world.wire.saw(ours(FIN).seq(13));
    world.wire.open();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"data of ours");
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}

#[test]
fn close_lets_what_is_queued_go_out_and_linger_bounds_that() {
    const QUEUED: usize = 200_000;
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.linger_ms", 1500));
    let listener = kernel_listener(9000);
    set_socket_recv_buffer_size(&listener, 16 * 1024).unwrap();
    let connect = || {
        let id = stack.connected(&format!("{KERNEL}:9000"));
        (id, patient(listener.accept().unwrap().0))
    };
    let (read, mut reader) = connect();
    stack.stream(read, 0..QUEUED as u64, false);
    stack.close(read);
    expect_stream(&mut reader, QUEUED);
    drop(reader);
    assert_eq!(stack.closed(read), CloseReason::Finished);

    let (unread, mut deaf) = connect();
    let mark = world.wire.mark();
    stack.stream(unread, 0..QUEUED as u64, false);
    stack.close(unread);
    world.wire.after(mark, ours(Flags::RST));
    assert_eq!(stack.closed(unread), CloseReason::TimedOut);
    let mut got = Vec::new();
    assert!(deaf.read_to_end(&mut got).is_err(), "{} bytes and no reset", got.len());
    stack.stop();
}

#[test]
fn a_shared_connection_closes_with_the_last_handle() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    assert!(stack.on(id, |conn, _| conn.share()));
    stack.close(id);
    stream.write_all(b"still").unwrap();
    assert_eq!(stack.got(id, 5), b"still");
    assert_eq!(world.wire.count(ours(FIN)), 0, "{}", world.wire.shown());
    stack.close(id);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    world.wire.saw(ours(FIN).seq(1));
    drop(stream);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}
