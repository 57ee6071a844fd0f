//! SYN floods (RFC 4987): the SYN queue is full of connections that never come, and the kernel's come all the same.

use crate::ours::stretch;
use crate::segment::{Seen, kernel, ours};
use crate::world::{World, kernel_connect};
use corelane::{Addr, SocketAddr};
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use std::io::{Read, Write};
use std::net::TcpStream;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;

/// SYNs from addresses that nobody has, so that nobody answers to what they cause.
fn flood(world: &World, real: &Seen, number: u16) {
    for n in 0..number {
        let src = SocketAddr::new(Addr::v4([10, 79, 0, 100 + (n % 100) as u8]), 2000 + n);
        let like = Seen { src, ..real.clone() };
        world.wire.forge(&like, Segment { seq: Seq(u32::from(n)), flags: SYN, window: 65_535, ..real.segment });
    }
}

/// Sends bytes to the stack and reads as many of its own.
fn exchange(mut stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    got
}

#[test]
fn the_kernel_connects_by_cookie_while_spoofed_syns_fill_the_queue() {
    const FLOOD: u16 = 500;
    let world = World::new();
    let stack = world.start_with(World::config().set("limits.syn_queue", 1));
    stack.listen(7);
    let before = kernel_connect(7);
    let first = stack.accepted();
    flood(&world, &world.wire.saw(kernel(SYN)), FLOOD);
    world.wire.wait_for("an answer to the last SYN", |seen| {
        seen.iter().find(|seen| ours(SYN | ACK).matches(seen) && seen.dst.port == 2000 + FLOOD - 1).map(|_| ())
    });
    assert!(stack.counters().syn_cookies_sent >= u64::from(FLOOD) - 1, "all but the one in the queue");
    let mark = world.wire.mark();
    let during = kernel_connect(7);
    let id = stack.accepted();
    let answer = world.wire.after(mark, ours(SYN | ACK).ack(1));
    assert_eq!(answer.dst.port, during.local_addr().unwrap().port());
    // Nothing is remembered of its SYN, and yet its options are all there.
    assert_eq!(answer.kinds, [2, 4, 8, 1, 3], "{answer}");
    assert!(world.wire.after(mark, kernel(ACK).ack(1).len(0)).segment.options.timestamps.is_some());
    assert_eq!(stack.counters().syn_cookies_accepted, 1);

    // Both work, over more than an unscaled window would hold.
    for (stream, id) in [(&before, first), (&during, id)] {
        stack.stream(id, 0..200_000, false);
        assert!(exchange(stream, &stretch(0, 200_000)) == stretch(0, 200_000));
        assert!(stack.got(id, 200_000) == stretch(0, 200_000));
    }
    let full =
        world.wire.all(ours(ACK)).into_iter().filter(|seen| seen.dst.port == answer.dst.port && seen.len() > 1300);
    assert!(full.count() > 100, "segments as long as the kernel's MSS lets them be, or nearly");
    assert_eq!(stack.counters().syn_cookies_bad, 0);
    drop(stack);
}
