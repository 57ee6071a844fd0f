//! Urgent bytes (RFC 6093): inline, with a mark.

use crate::segment::kernel;
use crate::world::{World, kernel_connect};
use corelane_proto::tcp::segment::Flags;
use rustix::net::{SendFlags, send};
use std::io::Write;

const URG: Flags = Flags::URG;

#[test]
fn the_kernels_urgent_byte_comes_inline() {
    let world = World::new();
    let stack = world.start();
    stack.listen(7);
    let mut stream = kernel_connect(7);
    let id = stack.accepted();
    stream.write_all(b"before").unwrap();
    // The last of them is the urgent one.
    assert_eq!(send(&stream, b"now!", SendFlags::OOB), Ok(4));
    stream.write_all(b"after").unwrap();
    assert_eq!(stack.got(id, 15), b"beforenow!after");
    let urgent = world.wire.saw(kernel(URG).data());
    // The pointer names the byte behind it (RFC 6093 3.2).
    let end = urgent.seq + u32::from(urgent.segment.urgent);
    assert_eq!(end, 11, "{}", world.wire.shown());
    assert!(urgent.bytes().ends_with(b"!"), "{:?}", urgent.bytes());
    stack.stop();
}
