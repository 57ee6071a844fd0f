//! Lost and repeated segments: what SACK says about them in both directions (RFC 2018, RFC 2883).

use crate::ours::{Ours, stretch};
use crate::segment::{Fate, Seen, kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use std::io::{Read, Write};

const ACK: Flags = Flags::ACK;

/// Enough for the hole to be in the middle of a flight.
const SOME: usize = 12 * 1448;
/// The segment that gets lost, the fourth.
const LOST: u32 = 1 + 3 * 1448;

/// On a busy machine an ACK may be late: no timer of either side takes that for a loss.
fn unhurried(world: &World) -> Ours<'_> {
    world.sysctl("tcp_early_retrans", "0");
    world.route("change 10.79.0.0/24 dev veth1 proto kernel scope link src 10.79.0.1 rto_min 2s");
    world.start_with(World::config().set("tcp.rto_min_ms", 2000))
}

/// Drops the first segment with sequence number [`LOST`] that `pattern` names.
fn lose_one(world: &World, pattern: crate::segment::Pattern) {
    let (pattern, mut lost) = (pattern.seq(LOST).data(), false);
    world.wire.rule(move |seen| {
        if pattern.matches(seen) && !std::mem::replace(&mut lost, true) { Fate::Dropped } else { Fate::Passed }
    });
}

/// The blocks of a segment's SACK option, relative to the sequence numbers of the one that it answers.
fn blocks(seen: &Seen) -> Vec<(u32, u32)> {
    let origin = Seq(seen.segment.ack.0.wrapping_sub(seen.ack));
    seen.segment.options.sack.as_slice().iter().map(|(from, to)| (from.since(origin), to.since(origin))).collect()
}

/// Waits for an ACK with a SACK block from `from` on.
fn sack_from(world: &World, pattern: crate::segment::Pattern, from: u32) -> Seen {
    world.wire.wait_for(&format!("a SACK block from {from}"), |seen| {
        let found = seen.iter().find(|seen| pattern.matches(seen) && blocks(seen).iter().any(|block| block.0 == from));
        found.cloned()
    })
}

#[test]
fn the_kernel_sends_again_what_our_sack_leaves_out() {
    let world = World::new();
    let stack = unhurried(&world);
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    lose_one(&world, kernel(ACK));
    stream.write_all(&stretch(0, SOME)).unwrap();
    assert!(stack.got(id, SOME) == stretch(0, SOME));
    let sack = sack_from(&world, ours(ACK).ack(LOST), LOST + 1448);
    let copies = world.wire.all(kernel(ACK).seq(LOST));
    assert_eq!(copies.iter().map(|seen| seen.fate).collect::<Vec<_>>(), [Fate::Dropped, Fate::Passed], "{sack}");
    // Nothing else had to be sent twice.
    for at in (0..12).map(|n| 1 + n * 1448).filter(|at| *at != LOST) {
        assert_eq!(world.wire.count(kernel(ACK).seq(at).data()), 1, "{}", world.wire.shown());
    }
    expect_d_sack_for_a_repeat(&world, &copies[1]);
    drop(stack);
}

/// A segment that comes once more is reported, below the ACK (RFC 2883 4).
fn expect_d_sack_for_a_repeat(world: &World, seen: &Seen) {
    let mark = world.wire.mark();
    world.wire.repeat(seen);
    let answer = world.wire.after(mark, ours(ACK).len(0));
    assert_eq!(blocks(&answer).first(), Some(&(LOST, LOST + u32::from(seen.len()))), "{answer}");
    assert_eq!(answer.ack, SOME as u32 + 1, "{answer}");
}

#[test]
fn we_send_again_what_the_kernels_sack_leaves_out() {
    let world = World::new();
    let stack = unhurried(&world);
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    lose_one(&world, ours(ACK));
    stack.stream(id, 0..SOME as u64, false);
    let mut got = vec![0; SOME];
    stream.read_exact(&mut got).unwrap();
    assert!(got == stretch(0, SOME));
    sack_from(&world, kernel(ACK).ack(LOST), LOST + 1448);
    assert_eq!(world.wire.count(ours(ACK).seq(LOST)), 2, "{}", world.wire.shown());
    // By the duplicate ACKs, not by a time-out, and nothing else.
    assert_eq!(counted(&stack), (1, 1, 0), "{}", world.wire.shown());
    stack.stop();
}

/// Segments sent again, fast retransmits, time-outs.
fn counted(stack: &Ours<'_>) -> (u64, u64, u64) {
    let counters = stack.counters();
    (counters.retransmits, counters.fast_retransmits, counters.rto_fired)
}
