//! The kernel's own listeners.

use crate::world::{World, addr};
use corelane::SocketAddr;
use corelane::steer::listeners::{conflict, kernel_listeners};
use corelane::steer::mirror::Mirror;
use std::net::TcpListener;

#[test]
fn a_listener_of_the_kernel_is_found_with_its_program() {
    let world = World::new();
    world.ip("addr add 2001:db8::1/64 dev veth0");
    let index = Mirror::open("veth0").unwrap().link().index;
    let at = |text: &str, port| SocketAddr::new(addr(text), port);
    let exact = TcpListener::bind("10.80.0.1:8080").unwrap();
    let any = TcpListener::bind("0.0.0.0:8081").unwrap();
    let six = TcpListener::bind("[::]:8082").unwrap();
    for wanted in [at("10.80.0.1", 8080), at("10.80.0.1", 8081), at("10.80.0.1", 8082), at("2001:db8::1", 8082)] {
        let found = conflict(wanted, index).unwrap().unwrap_or_else(|| panic!("{wanted} is taken"));
        assert_eq!((found.wanted, found.held.port), (wanted, wanted.port));
        let holder = found.holder.clone().expect("it is this process");
        assert_eq!(holder.pid, std::process::id());
        assert!(found.to_string().contains(&format!("pid {}", holder.pid)), "{found}");
        assert_eq!(corelane::Error::from(found).exit_code(), 3);
    }
    for free in [at("10.80.0.9", 8080), at("10.80.0.1", 8083), at("2001:db8::1", 8080)] {
        assert_eq!(conflict(free, index).unwrap(), None, "{free}");
    }
    assert_eq!(kernel_listeners().unwrap().len(), 3, "only those of this namespace");
    drop((exact, any, six));
    assert_eq!(conflict(at("10.80.0.1", 8080), index).unwrap(), None, "it is free again");
}
