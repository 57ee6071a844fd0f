//! ECN between the two: what they agree on, and that each hears of a mark on what it has sent (RFC 3168). The kernels of
//! today speak no more than that, so accurate ECN falls back to it here.

use crate::ours::{Ours, stretch};
use crate::segment::{Fate, Pattern, Seen, kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane::ConnId;
use corelane_proto::tcp::info::{EcnMode, TcpInfo};
use corelane_proto::tcp::segment::Flags;
use std::io::{Read, Write};
use std::net::TcpStream;

const ACK: Flags = Flags::ACK;
const CWR: Flags = Flags::CWR;
const ECE: Flags = Flags::ECE;
const SYN: Flags = Flags::SYN;
/// What goes each way at a time.
const SOME: usize = 20 * 1448;

fn info(stack: &Ours<'_>, id: ConnId) -> TcpInfo {
    stack.with(move |_, core| core.conn(id)?.info()).expect("it is there")
}

/// Marks the first segment of this pattern that has not been marked yet.
fn mark_one(world: &World, pattern: Pattern) {
    let mut done = false;
    world.wire.rule(move |seen| {
        if pattern.matches(seen) && !std::mem::replace(&mut done, true) { Fate::Marked } else { Fate::Passed }
    });
}

fn ecn_of(seen: &Seen) -> Flags {
    Flags(seen.segment.flags.0 & Flags::ECN.0)
}

/// What the wire sees once the handshake has agreed on ECN: data is ECN-capable, a mark is echoed, answered, and echoed no
/// more, whoever sends.
fn speak(world: &World, stack: &Ours<'_>, id: ConnId, mut stream: TcpStream) {
    assert_eq!(info(stack, id).ecn, EcnMode::Classic);
    // The kernel sends, and we echo.
    mark_one(world, kernel(ACK).data());
    stream.write_all(&stretch(0, SOME)).unwrap();
    assert!(stack.got(id, SOME) == stretch(0, SOME));
    let marked = world.wire.saw(kernel(ACK).data());
    assert_eq!((marked.fate, marked.tos & 3), (Fate::Marked, 2), "{marked}");
    world.wire.saw(ours(ACK | ECE));
    stream.write_all(&stretch(0, SOME)).unwrap();
    let answer = world.wire.saw(kernel(ACK | CWR).data());
    world.wire.wait_for("an ACK without an echo", |seen| {
        seen.iter().find(|seen| ours(ACK).matches(seen) && seen.ack > answer.seq && !seen.has(ECE)).cloned()
    });
    assert_eq!(info(stack, id).marked_segments_in, 1);
    // We send, and the kernel echoes.
    let before = info(stack, id);
    mark_one(world, ours(ACK).data());
    let mut got = vec![0; SOME];
    stack.send(id, &stretch(0, SOME));
    stream.read_exact(&mut got).unwrap();
    assert!(got == stretch(0, SOME));
    let marked = world.wire.saw(ours(ACK).data());
    assert_eq!((marked.fate, marked.tos & 3), (Fate::Marked, 2), "{marked}");
    world.wire.saw(kernel(ACK | ECE));
    let after = stack.until("a smaller window", || Some(info(stack, id)).filter(|info| info.marked_bytes > 0));
    assert!(after.ssthresh < before.cwnd, "{before:?} {after:?}");
    stack.send(id, &stretch(0, SOME));
    stream.read_exact(&mut got).unwrap();
    let answer = world.wire.saw(ours(ACK | CWR).data());
    world.wire.wait_for("an ACK without an echo", |seen| {
        seen.iter().find(|seen| kernel(ACK).matches(seen) && seen.ack > answer.seq && !seen.has(ECE)).cloned()
    });
    assert_eq!(world.wire.count(ours(ACK | CWR)), 1, "{}", world.wire.shown());
    assert_eq!(stack.counters().retransmits, 0, "nothing was lost: {}", world.wire.shown());
}

#[test]
fn the_kernel_asks_us_and_both_hear_of_marks() {
    let world = World::new();
    world.sysctl("tcp_ecn", "1");
    let stack = world.start();
    stack.listen(7);
    let stream = kernel_connect(7);
    let id = stack.accepted();
    assert_eq!(ecn_of(&world.wire.saw(kernel(SYN))), CWR | ECE);
    assert_eq!(ecn_of(&world.wire.saw(ours(SYN | ACK))), ECE);
    speak(&world, &stack, id, stream);
    stack.stop();
}

#[test]
fn we_ask_the_kernel_and_both_hear_of_marks() {
    for (ecn, asks) in [("classic", CWR | ECE), ("accurate", Flags::ECN)] {
        let world = World::new();
        world.sysctl("tcp_ecn", "2");
        let stack = world.start_with(World::config().set("tcp.ecn", ecn));
        let listener = kernel_listener(9000);
        let id = stack.connected(&format!("{KERNEL}:9000"));
        let stream = patient(listener.accept().unwrap().0);
        assert_eq!(ecn_of(&world.wire.saw(ours(SYN))), asks);
        assert_eq!(ecn_of(&world.wire.saw(kernel(SYN | ACK))), ECE);
        speak(&world, &stack, id, stream);
        stack.stop();
    }
}

#[test]
fn without_ecn_nothing_says_so() {
    let world = World::new();
    world.sysctl("tcp_ecn", "0");
    let stack = world.start_with(World::config().set("tcp.ecn", "accurate"));
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    stack.send(id, &stretch(0, SOME));
    let mut got = vec![0; SOME];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(info(&stack, id).ecn, EcnMode::Off);
    let data = world.wire.all(ours(ACK).data());
    assert!(data.iter().all(|seen| seen.tos & 3 == 0 && ecn_of(seen) == Flags(0)), "{}", world.wire.shown());
    stack.stop();
}
