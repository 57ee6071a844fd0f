//! Data in the SYN (RFC 7413), with the kernel as client and as server.

use crate::ours::Line;
use crate::segment::{Seen, kernel, ours};
use crate::world::{KERNEL, OWN, World, kernel_listener, patient};
use corelane::{CloseReason, ConnId, SocketAddr};
use corelane_proto::tcp::segment::Flags;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};
use std::io::{Read, Write};
use std::net::TcpStream;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;

/// `MSG_FASTOPEN` of Linux: connect, and send with the SYN where there is a cookie.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

/// Client, server, and every listener of the kernel.
const KERNELS: &str = "1027";

/// The length of the cookie in a segment; `None` without the option.
fn cookie(seen: &Seen) -> Option<usize> {
    seen.segment.options.fast_open.map(|fast_open| fast_open.bytes().len())
}

/// The kernel connects and sends `bytes` at once.
fn kernel_opens(bytes: &[u8]) -> TcpStream {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let to: std::net::SocketAddr = format!("{OWN}:7").parse().unwrap();
    assert_eq!(sendto(&fd, bytes, FAST_OPEN, &to), Ok(bytes.len()));
    patient(fd.into())
}

#[test]
fn the_kernels_second_syn_brings_its_request() {
    let world = World::new();
    world.sysctl("tcp_fastopen", KERNELS);
    let stack = world.start_with(World::config().set("tcp.fast_open", true));
    stack.listen(7);
    // The first asks for a cookie, and its data come after the handshake.
    let first = kernel_opens(b"first");
    let id = stack.accepted();
    assert_eq!(stack.got(id, 5), b"first");
    let (asks, gives) = (world.wire.saw(kernel(SYN)), world.wire.saw(ours(SYN | ACK)));
    assert_eq!((cookie(&asks), asks.len(), cookie(&gives)), (Some(0), 0, Some(8)), "{}", world.wire.shown());
    assert_eq!(gives.kinds, [2, 4, 8, 1, 3, 34, 1, 1]);
    drop(first);

    // The second has them in the SYN. Nothing else of the kernel's passes, and still they are here.
    let mark = world.wire.mark();
    world.wire.rule(|seen| {
        let blocked = seen.side == crate::segment::Side::Kernel && seen.dst.port == 7 && !seen.has(SYN);
        if blocked { crate::segment::Fate::Held } else { crate::segment::Fate::Passed }
    });
    let mut second = kernel_opens(b"second");
    let id = stack.accepted();
    assert_eq!(stack.got(id, 6), b"second");
    let syn = world.wire.after(mark, kernel(SYN).data());
    assert_eq!((syn.len(), cookie(&syn), syn.bytes()), (6, Some(8), &b"second"[..]));
    world.wire.after(mark, ours(SYN | ACK).ack(7));
    // And the answer goes before the kernel has acknowledged anything.
    stack.send(id, b"answer");
    world.wire.after(mark, ours(ACK).seq(1).len(6).ack(7));
    let mut got = [0; 6];
    second.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"answer");
    world.wire.open();
    second.write_all(b" and more").unwrap();
    assert_eq!(stack.got(id, 15), b"second and more");
    assert_eq!(stack.counters().fast_open_accepted, 1);
    stack.close(id);
    assert_eq!(second.read(&mut got).unwrap(), 0);
    drop(second);
    assert_eq!(stack.closed(id), CloseReason::Finished);
    stack.stop();
}

#[test]
fn our_second_syn_brings_our_request() {
    let world = World::new();
    world.sysctl("tcp_fastopen", KERNELS);
    let stack = world.start_with(World::config().set("tcp.fast_open", true));
    let listener = kernel_listener(9000);
    let open = |bytes: &'static [u8]| -> ConnId {
        let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
        stack.with(move |_, core| {
            let id = core.connect(SocketAddr::from(to), Line::new(None, false)).unwrap();
            let (mut conn, line) = core.conn_and_state(id).unwrap();
            line.id = Some(id);
            assert_eq!(conn.send_copy(bytes), bytes.len());
            id
        })
    };
    let read = |len: usize| {
        let mut stream = patient(listener.accept().unwrap().0);
        let mut got = vec![0; len];
        stream.read_exact(&mut got).unwrap();
        (stream, got)
    };
    open(b"first");
    let (_first, got) = read(5);
    assert_eq!(got, b"first");
    let (asks, gives) = (world.wire.saw(ours(SYN)), world.wire.saw(kernel(SYN | ACK)));
    assert_eq!((cookie(&asks), asks.len(), cookie(&gives)), (Some(0), 0, Some(8)), "{}", world.wire.shown());

    let mark = world.wire.mark();
    let id = open(b"second");
    let (mut second, got) = read(6);
    assert_eq!(got, b"second");
    let syn = world.wire.after(mark, ours(SYN));
    assert_eq!((syn.len(), cookie(&syn), syn.bytes()), (6, Some(8), &b"second"[..]));
    world.wire.after(mark, kernel(SYN | ACK).ack(7));
    second.write_all(b"answer").unwrap();
    assert_eq!(stack.got(id, 6), b"answer");
    assert_eq!((stack.counters().fast_open_sent, stack.counters().retransmits), (1, 0));

    // A server that has forgotten its key gives another cookie, and the bytes go the usual way.
    world.sysctl("tcp_fastopen_key", "01020304-05060708-090a0b0c-0d0e0f10");
    let mark = world.wire.mark();
    open(b"third");
    let (_third, got) = read(5);
    assert_eq!(got, b"third");
    let answer = world.wire.after(mark, kernel(SYN | ACK));
    assert_eq!((answer.ack, cookie(&answer)), (1, Some(8)), "{}", world.wire.shown());
    stack.stop();
}
