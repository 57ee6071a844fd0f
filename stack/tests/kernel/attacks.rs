//! Segments that nobody sent, thrown at a connection between us and the kernel (RFC 5961).

use crate::segment::{Seen, ours};
use crate::world::{World, kernel_connect};
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::io::{Read, Write};
use std::time::Duration;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const RST: Flags = Flags::RST;

/// What is forged, where it lies, and whether it has to be answered by a challenge ACK.
const FORGED: [(&str, Flags, u32, bool); 6] = [
    ("an RST within the window", RST, 1000, true),
    ("an RST before the window", RST, 0x8000_0000, false),
    ("an RST with ACK within the window", Flags(RST.0 | ACK.0), 1000, true),
    ("a SYN within the window", SYN, 1000, true),
    ("a SYN with the next number", SYN, 6, true),
    ("a SYN outside of the window", SYN, 0x4000_0000, true),
];

/// More than the time between two challenge ACKs of one connection.
const BETWEEN: Duration = Duration::from_millis(600);

#[test]
fn blind_resets_and_syns_end_nothing_and_get_challenge_acks() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"first").unwrap();
    assert_eq!(stack.got(id, 5), b"first");
    let real = world.wire.saw(crate::segment::kernel(ACK).data());
    for (what, flags, seq, challenged) in FORGED {
        // They are limited, two a second on each connection.
        std::thread::sleep(BETWEEN);
        let mark = world.wire.mark();
        forge(&world, &real, flags, seq);
        if challenged {
            let answer = world.wire.after(mark, ours(ACK).len(0));
            assert_eq!((answer.seq, answer.ack), (1, 6), "{what}: {}", world.wire.shown());
        }
    }
    assert_eq!(world.wire.count(ours(RST)), 0, "{}", world.wire.shown());
    // Both ends go on as if nothing had been.
    stream.write_all(b" second").unwrap();
    assert_eq!(stack.got(id, 12), b"first second");
    stack.send(id, b"third");
    let mut got = [0; 5];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"third");
    let challenges = stack.counters().challenge_acks;
    assert!(challenges >= 3, "{challenges}");
    stack.stop();
}

/// In the kernel's place, with a timestamp that passes.
fn forge(world: &World, real: &Seen, flags: Flags, seq: u32) {
    let timestamps = real.segment.options.timestamps.map(|now| Timestamps { value: now.value + 1, ..now });
    let options = Options { timestamps, ..Options::NONE };
    let ack = if flags.has(ACK) { Seq(real.ack) } else { Seq(0) };
    world.wire.forge(real, Segment { seq: Seq(seq), ack, flags, options, window: 100, ..Segment::default() });
}
