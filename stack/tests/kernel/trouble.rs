//! What goes wrong on the way and does not end a connection: soft errors (RFC 9293 3.9.2.2), with the kernel as router.

use crate::ours::Happened;
use crate::segment::ours;
use crate::world::{KERNEL, World, patient};
use corelane::Trouble;
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::state::State;
use corelane_proto::tcp::trouble::Unreachable;
use std::io::Read;
use std::net::TcpListener;

/// An address behind the kernel.
const BEHIND: &str = "10.99.0.1";

/// A kernel that is also a router, and a stack that uses it.
fn router(world: &World) -> corelane::config::Builder {
    world.sysctl("ip_forward", "1");
    world.ip("link set lo up");
    World::config().set("interface.gateway", vec![KERNEL])
}

#[test]
fn an_unreachable_host_is_told_and_does_not_end_the_connection() {
    let world = World::new();
    let stack = world.start_with(router(&world));
    world.ip(&format!("addr add {BEHIND}/32 dev lo"));
    let listener = TcpListener::bind((BEHIND, 9000)).unwrap();
    let id = stack.connected(&format!("{BEHIND}:9000"));
    let mut stream = patient(listener.accept().unwrap().0);

    // The host goes, and the router says so.
    world.ip(&format!("addr del {BEHIND}/32 dev lo"));
    world.route(&format!("add unreachable {BEHIND}/32"));
    stack.send(id, b"anybody?");
    let host = Trouble::Unreachable(Unreachable::Host);
    stack.expect(Happened::Trouble(id, host));
    assert_eq!(stack.state(id), Some(State::Established));
    // It comes back, and what was sent arrives by itself.
    world.route(&format!("del unreachable {BEHIND}/32"));
    world.ip(&format!("addr add {BEHIND}/32 dev lo"));
    let mut got = [0; 8];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"anybody?");
    assert!(world.wire.count(ours(Flags::ACK).seq(1).len(8)) >= 2, "{}", world.wire.shown());
    assert!(stack.counters().icmp_errors_in >= 1);
    stack.stop();
}

#[test]
fn an_attempt_that_meets_a_soft_error_goes_on() {
    let world = World::new();
    let stack = world.start_with(router(&world).set("tcp.rto_initial_ms", 300));
    world.route(&format!("add prohibit {BEHIND}/32"));
    let id = stack.connect(&format!("{BEHIND}:9000"));
    stack.expect(Happened::Trouble(id, Trouble::Unreachable(Unreachable::Prohibited)));
    assert_eq!(stack.state(id), Some(State::SynSent));
    world.route(&format!("del prohibit {BEHIND}/32"));
    world.ip(&format!("addr add {BEHIND}/32 dev lo"));
    let _listener = TcpListener::bind((BEHIND, 9000)).unwrap();
    stack.expect(Happened::Connected(id));
    assert!(world.wire.count(ours(Flags::SYN)) >= 2, "{}", world.wire.shown());
    stack.stop();
}
