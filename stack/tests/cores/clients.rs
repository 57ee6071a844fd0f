//! The kernel's side: many connections, each byte of which is checked.

use crate::common::stretch;
use crate::common::veth::{Link, OWN, connect, enter};
use corelane::Summary;
use corelane::config::Builder;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of a message.
pub(crate) const MESSAGE: usize = 300;

/// Clients that are connected at one time.
const AT_ONCE: usize = 16;

/// The message of connection `number`.
pub(crate) fn message(number: usize) -> Vec<u8> {
    stretch(number as u64 * 1_000_003, MESSAGE)
}

/// Opens a connection after the other to port 7 of the stack, `count` in all, each with one exchange.
pub(crate) fn exchange_many(namespace: &str, count: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                enter(namespace);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let mut stream = connect(&format!("{OWN}:7"));
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    exchange(&mut stream, number);
                }
            });
        }
    });
}

/// Sends the message of `number` and checks that it comes back.
pub(crate) fn exchange(stream: &mut TcpStream, number: usize) {
    let sent = message(number);
    stream.write_all(&sent).unwrap();
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent, "connection {number}: other bytes came back");
}

/// Echoes on a port of the kernel until `stop` is set; says how many connections there were.
pub(crate) fn echo_server(listener: &TcpListener, stop: &AtomicBool) -> usize {
    listener.set_nonblocking(true).unwrap();
    let mut count = 0;
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            count += 1;
            scope.spawn(move || {
                stream.set_nonblocking(false).unwrap();
                let mut bytes = [0; 2048];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..len]).unwrap();
                }
            });
        }
    });
    count
}

/// What all workers together have counted under `name`.
pub(crate) fn counted(summary: &Summary, name: &str) -> u64 {
    let of = |worker: &corelane::runtime::WorkerSummary| {
        let counter = worker.turns.get(name).or_else(|| worker.device.get(name)).or_else(|| worker.protocol.get(name));
        *counter.unwrap_or_else(|| panic!("no counter {name}"))
    };
    summary.workers.iter().map(of).sum()
}

/// A stack of so many workers with `sockets` for each queue.
pub(crate) fn many(link: &Link, workers: usize, sockets: &str) -> Builder {
    link.config()
        .set("cores.workers", workers as i64)
        .set("cores.pin", false)
        .set("interface.sockets_per_queue", sockets)
}
