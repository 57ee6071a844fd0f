//! Windows and small segments: RFC 9293 3.7.4 and 3.8.6, and what is in the IP header.

use crate::ours::{Happened, stretch};
use crate::segment::{Seen, Side, kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane::{CloseReason, TcpConfig};
use corelane_proto::tcp::segment::Flags;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::io::{Read, Write};
use std::time::Duration;

const ACK: Flags = Flags::ACK;

/// Bytes of a transfer that stops and goes on.
const SOME: usize = 24 << 20;

/// The right edge of the window of each segment of `side`, relative, from the handshake on.
fn edges(world: &World, side: Side) -> Vec<(u64, Seen)> {
    let mine = |seen: &Seen| seen.side == side;
    let all =
        world.wire.wait_for("segments", |seen| Some(seen.iter().filter(|s| mine(s)).cloned().collect::<Vec<_>>()));
    let syn = all.iter().find(|seen| seen.has(Flags::SYN)).unwrap();
    let scale = syn.segment.options.window_scale.unwrap();
    let after = all.iter().filter(|seen| !seen.has(Flags::SYN));
    after.map(|seen| (u64::from(seen.ack) + (u64::from(seen.segment.window) << scale), seen.clone())).collect()
}

#[test]
fn our_window_grows_shuts_and_opens_and_its_edge_never_moves_back() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    let writing = std::thread::spawn(move || stream.write_all(&stretch(0, SOME)).map(|()| stream).unwrap());
    // It reads, and stops for as long as the kernel needs to fill the window, five times over.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(5));
        let mark = world.wire.mark();
        stack.on(id, |_, line| line.deaf = true);
        std::thread::sleep(Duration::from_millis(200));
        stack.hear(id);
        world.wire.after(mark, ours(ACK));
    }
    assert!(stack.got(id, SOME) == stretch(0, SOME), "what the kernel sent");
    drop(writing.join().unwrap());

    let edges = edges(&world, Side::Ours);
    for pair in edges.windows(2) {
        let ((before, _), (after, seen)) = (&pair[0], &pair[1]);
        assert!(after >= before, "the edge goes from {before} back to {after}: {seen}");
        // A shut window opens by a segment at least (RFC 9293 3.8.6.2.2).
        let opens = pair[0].1.segment.window == 0 && seen.segment.window > 0;
        assert!(!opens || after - before >= 1448, "it opens by {} bytes: {seen}", after - before);
    }
    let shut = edges.iter().filter(|(_, seen)| seen.segment.window == 0).count();
    assert!(shut > 0, "it was shut at times\n{}", world.wire.shown());
    let sizes: Vec<_> = edges.iter().map(|(edge, seen)| edge - u64::from(seen.ack)).collect();
    let (first, largest) = (sizes[0], sizes.iter().max().unwrap());
    assert!(*largest > first && *largest <= 256 * 1024, "it grows from {first} to {largest}, the bound");
    stack.stop();
}

#[test]
fn a_kernel_that_shrinks_its_window_loses_nothing_of_ours() {
    let world = World::new();
    world.sysctl("tcp_shrink_window", "1");
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    // It has offered much more than this in its SYN-ACK.
    set_socket_recv_buffer_size(&stream, 8 * 1024).unwrap();
    stack.stream(id, 0..1 << 20, true);
    std::thread::sleep(Duration::from_millis(500));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got == stretch(0, 1 << 20), "{} bytes came", got.len());
    let edges = edges(&world, Side::Kernel);
    let shrinks = edges.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
    assert!(shrinks > 0, "the kernel did as it was told\n{}", world.wire.shown());
    drop(stream);
    stack.expect(Happened::PeerClosed(id));
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}

#[test]
fn nagle_waits_for_the_ack_cork_for_a_full_segment_and_otherwise_nothing_waits() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    let set = |change: fn(TcpConfig) -> TcpConfig| {
        stack.on(id, move |conn, _| {
            let tcp = conn.tcp_config().unwrap();
            assert!(conn.configure(change(tcp)));
        });
    };
    let write = |bytes: &'static [u8]| stack.on(id, move |conn, _| assert_eq!(conn.send_copy(bytes), bytes.len()));
    let mut read = |expected: &[u8]| {
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(got, expected);
    };
    // Without Nagle each write goes at once, whether the one before was acknowledged or not.
    world.wire.silence(Side::Kernel);
    write(b"a");
    world.wire.saw(ours(ACK).seq(1).len(1));
    write(b"b");
    world.wire.saw(ours(ACK).seq(2).len(1));
    world.wire.open();
    read(b"ab");
    world.wire.saw(kernel(ACK).ack(3));

    // With it the second and the third wait for the ACK of the first, and go together.
    set(|tcp| TcpConfig { nodelay: false, ..tcp });
    stack.until("all is acknowledged", || stack.on(id, |conn, _| conn.info().filter(|info| info.in_flight == 0)));
    world.wire.hold(kernel(ACK));
    write(b"c");
    world.wire.saw(ours(ACK).seq(3).len(1));
    write(b"d");
    write(b"e");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.wire.count(ours(ACK).seq(4).data()), 0, "{}", world.wire.shown());
    world.wire.open();
    world.wire.saw(ours(ACK).seq(4).len(2));
    read(b"cde");

    // Corked, even the first waits, until the cork is drawn.
    set(|tcp| TcpConfig { nodelay: true, cork: true, ..tcp });
    write(b"f");
    write(b"g");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.wire.count(ours(ACK).seq(6).data()), 0, "{}", world.wire.shown());
    set(|tcp| TcpConfig { cork: false, ..tcp });
    world.wire.saw(ours(ACK).seq(6).len(2));
    read(b"fg");
    stack.stop();
}

#[test]
fn every_segment_has_the_configured_time_to_live_and_dscp() {
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.ttl", 77).set("tcp.dscp", 46));
    stack.listen(7);
    let listener = kernel_listener(9000);
    let mut stream = kernel_connect(7);
    let passive = stack.accepted();
    stream.write_all(b"a question").unwrap();
    assert_eq!(stack.got(passive, 10), b"a question");
    stack.send(passive, b"an answer");
    stack.close(passive);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"an answer");
    drop(stream);
    let active = stack.connected(&format!("{KERNEL}:9000"));
    stack.abort(active);
    drop(listener);
    world.wire.saw(ours(Flags::RST));
    let all = world
        .wire
        .wait_for("ours", |seen| Some(seen.iter().filter(|seen| seen.side == Side::Ours).cloned().collect::<Vec<_>>()));
    for seen in &all {
        assert_eq!((seen.ttl, seen.tos >> 2), (77, 46), "{seen}");
    }
    assert!(all.len() >= 7, "{}", world.wire.shown());
    stack.stop();
}
