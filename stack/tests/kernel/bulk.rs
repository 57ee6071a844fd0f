//! Much data, so that windows have to be scaled and timestamps have to tick.

use crate::ours::{Checksum, Happened, pattern};
use crate::segment::{Fate, Side};
use crate::world::{KERNEL, World, kernel_listener, patient};
use corelane::CloseReason;
use corelane_proto::tcp::segment::Flags;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What goes each way.
const GIGABYTE: u64 = 1 << 30;

/// What the wire saw of one direction.
#[derive(Clone, Copy, Default, Debug)]
struct Totals {
    segments: u64,
    bytes: u64,
    without_timestamps: u64,
    /// The window field times its scale, at most.
    window: u64,
    scale: u8,
    ticks: u32,
    first_timestamp: Option<u32>,
}

fn send(mut stream: TcpStream) -> (Checksum, TcpStream) {
    let (mut bytes, mut sum) = (vec![0; 256 * 1024], Checksum::default());
    for start in (0..GIGABYTE).step_by(bytes.len()) {
        (start..).zip(&mut bytes[..]).for_each(|(at, byte)| *byte = pattern(at));
        sum.add(&bytes);
        stream.write_all(&bytes).unwrap();
    }
    (sum, stream)
}

fn receive(mut stream: TcpStream) -> (u64, Checksum) {
    let (mut bytes, mut sum, mut at) = (vec![0; 256 * 1024], Checksum::default(), 0);
    loop {
        let len = stream.read(&mut bytes).unwrap();
        if len == 0 {
            return (at, sum);
        }
        sum.add(&bytes[..len]);
        at += len as u64;
    }
}

#[test]
fn a_gigabyte_each_way_with_scaled_windows_and_timestamps() {
    let world = World::new();
    let config = World::config().set("tcp.recv_buffer_bytes", 2 << 20).set("tcp.send_buffer_bytes", 2 << 20);
    let stack = world.start_with(config.set("memory.frame_count", 16_384));
    let totals = Arc::new(Mutex::new([Totals::default(); 2]));
    let counted = Arc::clone(&totals);
    world.wire.rule(move |seen| {
        let totals = &mut counted.lock().unwrap()[usize::from(seen.side == Side::Kernel)];
        if seen.has(Flags::SYN) {
            totals.scale = seen.segment.options.window_scale.unwrap_or(0);
        } else {
            totals.window = totals.window.max(u64::from(seen.segment.window) << totals.scale);
        }
        totals.segments += 1;
        totals.bytes += u64::from(seen.len());
        match seen.segment.options.timestamps {
            Some(now) => {
                let first = *totals.first_timestamp.get_or_insert(now.value);
                totals.ticks = totals.ticks.max(now.value.wrapping_sub(first));
            }
            None => totals.without_timestamps += 1,
        }
        Fate::Passed
    });
    let listener = kernel_listener(9000);
    let began = Instant::now();
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let stream = patient(listener.accept().unwrap().0);
    stack.check(id);
    stack.stream(id, 0..GIGABYTE, true);
    let writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || send(writer));
    let (len, sum) = receive(stream);
    let (sent, writer) = sending.join().unwrap();
    stack.expect(Happened::Sent(id));
    let checked = stack.until("all of it", || Some(stack.checked(id)).filter(|checked| checked.0 == GIGABYTE));
    drop(writer);
    let took = began.elapsed();
    assert_eq!((len, sum), (GIGABYTE, sent), "what the stack sent is what the kernel sent");
    assert_eq!(checked, (GIGABYTE, sent), "what the stack got");
    let totals = *totals.lock().unwrap();
    for totals in totals {
        assert!(totals.bytes >= GIGABYTE && totals.without_timestamps == 0, "{totals:?}");
        assert!(totals.scale > 0 && totals.window > 65_535, "{totals:?}");
        // Both ends' clocks tick in milliseconds.
        let (ticks, ms) = (Duration::from_millis(totals.ticks.into()), took);
        assert!(ticks > ms / 2 && ticks < ms * 2, "{ticks:?} of timestamps in {ms:?}");
    }
    println!("{took:?}: {totals:#?}");
    stack.expect(Happened::PeerClosed(id));
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}
