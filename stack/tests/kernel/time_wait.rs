//! TIME-WAIT: how long it lasts and what it answers, on our side by segments and on the kernel's by `ss`.

use crate::ours::Happened;
use crate::segment::{kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane::CloseReason;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use std::io::Read;
use std::time::{Duration, Instant};

const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;

#[test]
fn our_time_wait_answers_a_late_fin_for_2_msl_after_the_last_one() {
    const MSL: Duration = Duration::from_millis(4000);
    let world = World::new();
    let stack = world.start_with(World::config().set("tcp.msl_ms", MSL.as_millis() as i64));
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stack.close(id);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    drop(stream);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    let fin = world.wire.saw(kernel(FIN).seq(1).ack(2));
    world.wire.saw(ours(ACK).seq(2).ack(2).len(0));

    // Three quarters of the time, again and again: each FIN begins it anew, so that it outlives 2 MSL.
    for _ in 0..3 {
        std::thread::sleep(MSL * 3 / 2);
        let mark = world.wire.mark();
        world.wire.repeat(&fin);
        world.wire.after(mark, ours(ACK).seq(2).ack(2).len(0));
    }
    // An RST does not end it (RFC 1337).
    let mark = world.wire.mark();
    world.wire.forge(&fin, Segment { seq: Seq(2), flags: RST, ..Segment::default() });
    world.wire.repeat(&fin);
    world.wire.after(mark, ours(ACK).seq(2).ack(2).len(0));
    // Nor does an old SYN (RFC 6191), which has an older timestamp and an older number.
    let mark = world.wire.mark();
    let timestamps = fin.segment.options.timestamps.map(|now| Timestamps { value: now.value - 1000, echo: 0 });
    let options = Options { timestamps, ..Options::NONE };
    world.wire.forge(&fin, Segment { seq: Seq(0), flags: Flags::SYN, options, ..Segment::default() });
    world.wire.after(mark, ours(ACK).seq(2).ack(2).len(0));
    assert_eq!(world.wire.count(ours(RST)), 0, "{}", world.wire.shown());
    // With its time over, the number is nobody's.
    std::thread::sleep(MSL * 2 + Duration::from_millis(500));
    world.wire.repeat(&fin);
    world.wire.saw(ours(RST));
    let summary = stack.stop();
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
}

#[test]
fn the_kernels_time_wait_lasts_a_minute_and_takes_our_fin_again() {
    let world = World::new();
    // Without it Linux lets an RST end TIME-WAIT.
    world.sysctl("tcp_rfc1337", "1");
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let stream = patient(listener.accept().unwrap().0);
    drop(stream);
    stack.expect(Happened::PeerClosed(id));
    stack.close(id);
    let began = Instant::now();
    assert_eq!(stack.closed(id), CloseReason::Finished);
    let socket = world.socket_with(&["TIME-WAIT", ":9000"]);
    assert!(socket.contains("timewait"), "{socket}");
    let fin = world.wire.saw(ours(FIN).seq(1).ack(2));
    let mark = world.wire.mark();
    world.wire.repeat(&fin);
    world.wire.after(mark, kernel(ACK).seq(2).ack(2));
    // For us the connection is over, and the ACK is nobody's.
    world.wire.after(mark, ours(RST).seq(2));
    // 2 MSL of Linux: a minute, by its own clock.
    let gone = loop {
        if !world.sockets().contains("TIME-WAIT") {
            break began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it does not end: {}", world.sockets());
        std::thread::sleep(Duration::from_millis(500));
    };
    assert!(gone > Duration::from_secs(55), "{gone:?}");
    stack.stop();
}
