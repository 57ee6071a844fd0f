//! What is settled before a stack begins.

use crate::world::{World, addr};
use corelane::config::Config;
use corelane::steer::mirror::Change;
use corelane::steer::ports::{KernelPorts, PortSource};
use corelane::steer::{Beside, Cidr, Sharing};
use corelane::{Addr, SocketAddr};
use corelane_proto::Endpoint;
use corelane_proto::endpoint::EndpointConfig;
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn config() -> corelane::config::Builder {
    Config::builder().interface("veth0")
}

fn cidr(text: &str, prefix_len: u8) -> Cidr {
    Cidr { addr: addr(text), prefix_len }
}

#[test]
fn a_shared_address_brings_everything_from_the_kernel() {
    let world = World::new();
    world.ip("route add default via 10.80.0.2");
    let beside = Beside::settle(&config().build().unwrap()).unwrap();
    assert_eq!((beside.identity().sharing, beside.device()), (Sharing::Shared, "veth0"));
    assert!(beside.identity().addresses.contains(&cidr("10.80.0.1", 24)));
    let mut endpoint = EndpointConfig::default();
    beside.fill(&mut endpoint);
    assert_eq!((endpoint.sharing, endpoint.vlan), (Sharing::Shared, None));
    assert!(endpoint.routes.iter().any(|route| route.prefix == cidr("0.0.0.0", 0)));
    assert_eq!((endpoint.ports, beside.ports().source), ((61_000, 65_535), PortSource::OutsideKernelRange));
    assert!(beside.concerns(&Change::AddressAdded(cidr("10.80.0.9", 24))), "the kernel's are followed");

    let named = Beside::settle(&config().address("10.80.0.1/24").build().unwrap()).unwrap();
    assert_eq!(named.identity().addresses, [cidr("10.80.0.1", 24)]);
    assert!(!named.concerns(&Change::AddressAdded(cidr("10.80.0.9", 24))), "this one was not named");
    assert!(named.concerns(&Change::AddressAdded(cidr("10.80.0.1", 24))), "it may come back");
    assert!(named.concerns(&Change::AddressRemoved(addr("10.80.0.1"))));
}

#[test]
fn an_address_of_our_own_follows_the_link_alone() {
    let _world = World::new();
    let beside = Beside::settle(&config().address("10.80.0.10/24").build().unwrap()).unwrap();
    assert_eq!(beside.identity().sharing, Sharing::Own);
    assert_eq!(beside.ports().range, (32_768, 60_999));
    assert!(beside.concerns(&Change::LinkDown) && beside.concerns(&Change::MtuChanged(1400)));
    assert!(!beside.concerns(&Change::NeighbourGone(addr("10.80.0.2"))));
    assert!(!beside.concerns(&Change::RoutesChanged([].into())));
}

#[test]
fn what_cannot_be_is_an_error_with_code_3() {
    let _world = World::new();
    for (builder, part) in [
        (config().address("10.80.0.1/24").set("interface.sharing", "own"), "both would answer for it"),
        (config().address("10.80.0.9/24").set("interface.sharing", "shared"), "ip addr add 10.80.0.9/24 dev veth0"),
        (config().interface("veth9"), "there is no interface veth9"),
        (config().address("10.80.0.1/24").set("interface.gateway", vec!["10.80.0.2"]), "interface.gateway"),
    ] {
        let error = Beside::settle(&builder.build().unwrap()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert!(error.to_string().contains(part) && error.to_string().lines().count() == 1, "{error}");
    }
}

#[test]
fn listeners_of_the_kernel_are_left_alone() {
    let _world = World::new();
    let _any = TcpListener::bind("0.0.0.0:22").unwrap();
    let shared = Beside::settle(&config().build().unwrap()).unwrap();
    let error = shared.may_listen(SocketAddr::new(addr("10.80.0.1"), 22)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("0.0.0.0:22"), "{error}");
    assert!(shared.may_listen(SocketAddr::new(addr("10.80.0.1"), 23)).is_ok());
    assert!(shared.may_listen(SocketAddr::new(Addr::v4([0; 4]), 22)).is_err());
    let own = Beside::settle(&config().address("10.80.0.10/24").build().unwrap()).unwrap();
    assert!(own.may_listen(SocketAddr::new(addr("10.80.0.10"), 22)).is_ok(), "the kernel is not there");
}

#[test]
fn ports_are_reserved_as_long_as_it_lives() {
    let _world = World::new();
    let config = config().reserve_ports(true).set("limits.first_port", 50_000).build().unwrap();
    let beside = Beside::settle(&config).unwrap();
    assert_eq!(KernelPorts::read().unwrap().reserved.to_string(), "50000-60999");
    beside.finish().unwrap();
    assert!(KernelPorts::read().unwrap().reserved.is_empty());
}

/// The mirror and an endpoint together, without a wire between them: what the kernel knows decides what the endpoint does.
#[test]
fn an_endpoint_follows_the_kernel() {
    use corelane_proto::tcp::config::TcpConfig;
    let world = World::new();
    let mut beside = Beside::settle(&config().build().unwrap()).unwrap();
    let mut settings = EndpointConfig { connections: 16, ..EndpointConfig::default() };
    beside.fill(&mut settings);
    let now = corelane::Instant::from_millis(1);
    let mut endpoint = Endpoint::new(settings, [7; 32], now);
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    let far = SocketAddr::new(addr("192.0.2.1"), 80);
    assert!(endpoint.connect(now, any, far, TcpConfig::default()).is_err(), "there is no route");
    world.ip("route add default via 10.80.0.2");
    let mut told = Vec::new();
    let end = Instant::now() + crate::world::SOON;
    while endpoint.connect(now, any, far, TcpConfig::default()).is_err() {
        assert!(Instant::now() < end, "{told:?}");
        beside.mirror_mut().poll(Duration::from_millis(100), &mut told).unwrap();
        for change in told.drain(..) {
            if beside.concerns(&change) {
                assert_eq!(change.apply(&mut endpoint, beside.largest_mtu()), []);
            }
        }
    }
    let conn = endpoint.iter().next().unwrap().0;
    assert_eq!(endpoint.flow(conn).unwrap().local.addr, addr("10.80.0.1"));
    world.ip("addr add 10.80.0.7/24 dev veth0");
    let listen = SocketAddr::new(addr("10.80.0.7"), 80);
    while endpoint.listen(listen, TcpConfig::default()).is_err() {
        assert!(Instant::now() < end, "{told:?}");
        beside.mirror_mut().poll(Duration::from_millis(100), &mut told).unwrap();
        for change in told.drain(..).filter(|change| beside.concerns(change)).collect::<Vec<_>>() {
            drop(change.apply(&mut endpoint, beside.largest_mtu()));
        }
    }
    world.ip("addr del 10.80.0.7/24 dev veth0");
    let mut ended = Vec::new();
    while ended.is_empty() {
        assert!(Instant::now() < end, "{told:?}");
        beside.mirror_mut().poll(Duration::from_millis(100), &mut told).unwrap();
        for change in told.drain(..).filter(|change| beside.concerns(change)).collect::<Vec<_>>() {
            ended.extend(change.apply(&mut endpoint, beside.largest_mtu()));
        }
    }
    assert_eq!(endpoint.counters().listeners_removed, 1);
}
