//! Urgent bytes (RFC 6093): inline at our end, with a mark, and as the kernel's out-of-band byte at the other.

use crate::ours::Happened;
use crate::segment::{kernel, ours};
use crate::world::{KERNEL, World, kernel_connect, kernel_listener, patient};
use corelane_proto::tcp::segment::Flags;
use rustix::net::sockopt::set_socket_oobinline;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{Read, Write};

const URG: Flags = Flags::URG;

#[test]
fn the_kernels_urgent_byte_comes_inline_with_a_mark() {
    let world = World::new();
    let stack = world.start();
    stack.accept_deaf();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"before").unwrap();
    // The last of them is the urgent one.
    assert_eq!(send(&stream, b"now!", SendFlags::OOB), Ok(4));
    stack.expect(Happened::Urgent(id));
    let urgent = world.wire.saw(kernel(URG).data());
    // The pointer names the byte behind it (RFC 6093 3.2).
    let end = urgent.seq + u32::from(urgent.segment.urgent);
    assert_eq!(end, 11, "{}", world.wire.shown());
    assert!(urgent.bytes().ends_with(b"!"), "{:?}", urgent.bytes());
    assert_eq!(stack.on(id, |conn, _| conn.urgent_mark()), Some(10), "six bytes before, and four");

    stream.write_all(b"after").unwrap();
    stack.hear(id);
    assert_eq!(stack.got(id, 15), b"beforenow!after");
    assert_eq!(stack.on(id, |conn, _| conn.urgent_mark()), None, "it has been read");
    stack.stop();
}

#[test]
fn our_urgent_byte_is_the_kernels_out_of_band_byte() {
    let world = World::new();
    let stack = world.start();
    let listener = kernel_listener(9000);
    let id = stack.connected(&format!("{KERNEL}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);
    stack.on(id, |conn, _| {
        assert_eq!(conn.send_copy(b"before"), 6);
        assert_eq!(conn.send_urgent(b"now!"), 4);
        assert_eq!(conn.send_copy(b"after"), 5);
    });
    let urgent = world.wire.saw(ours(URG).data());
    let end = urgent.seq + u32::from(urgent.segment.urgent);
    assert_eq!(end, 11, "{}", world.wire.shown());
    let mut byte = [0; 8];
    assert_eq!(recv(&stream, &mut byte[..], RecvFlags::OOB).unwrap().0, 1);
    assert_eq!(byte[0], b'!');
    // A reader stops at the mark; what was out of band is not in the stream.
    let mut got = [0; 9];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"beforenow");
    let mut got = [0; 5];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"after");

    // Inline it is in its place.
    set_socket_oobinline(&stream, true).unwrap();
    stack.on(id, |conn, _| assert_eq!((conn.send_copy(b"and "), conn.send_urgent(b"again")), (4, 5)));
    let mut got = [0; 9];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"and again");
    stack.stop();
}
