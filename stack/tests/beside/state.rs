//! Addresses, routes, link, MTU, virtual LANs.

use crate::world::{Watched, World, addr, run};
use corelane::Mac;
use corelane::steer::mirror::{Change, Mirror, MirrorError};
use corelane_proto::endpoint::{Cidr, Hop, Route};
use std::time::Duration;

fn cidr(text: &str, prefix_len: u8) -> Cidr {
    Cidr { addr: addr(text), prefix_len }
}

fn way(routes: &[Route], prefix: Cidr) -> Option<(Hop, u32)> {
    routes.iter().find(|route| route.prefix == prefix).map(|route| (route.hop, route.metric))
}

#[test]
fn the_picture_shows_what_is_there() {
    let world = World::new();
    world.ip("addr add 2001:db8::1/64 dev veth0");
    world.ip("route add default via 10.80.0.2");
    world.ip("route add 10.90.0.0/16 via 10.80.0.9 metric 7 src 10.80.0.1");
    world.ip("route add blackhole 10.91.0.0/16");
    world.ip("route add 10.92.0.0/16 dev lo");
    world.ip("route add 10.93.0.0/16 nexthop via 10.80.0.3 nexthop via 10.80.0.4");
    world.ip("route add table 100 10.94.0.0/16 via 10.80.0.2");
    let mirror = Mirror::open("veth0").unwrap();
    let link = mirror.link();
    assert_eq!((link.name.as_str(), link.mtu, link.up, link.vlan), ("veth0", 1500, true, None));
    let shown = run("ip", &format!("-n {} link show veth0", world.ours));
    assert!(link.mac.is_some_and(|mac| shown.contains(&mac.to_string())), "{:?} in {shown}", link.mac);
    assert!(mirror.addresses().contains(&cidr("10.80.0.1", 24)), "{:?}", mirror.addresses());
    assert!(mirror.addresses().contains(&cidr("2001:db8::1", 64)), "{:?}", mirror.addresses());
    let routes = mirror.routes();
    assert_eq!(way(routes, cidr("0.0.0.0", 0)), Some((Hop::Gateway(addr("10.80.0.2")), 0)));
    assert_eq!(way(routes, cidr("10.80.0.0", 24)), Some((Hop::Link, 0)));
    assert_eq!(way(routes, cidr("10.90.0.0", 16)), Some((Hop::Gateway(addr("10.80.0.9")), 7)));
    assert_eq!(way(routes, cidr("10.91.0.0", 16)), Some((Hop::Elsewhere, 0)));
    assert_eq!(way(routes, cidr("10.92.0.0", 16)), Some((Hop::Elsewhere, 0)));
    assert_eq!(way(routes, cidr("10.93.0.0", 16)), Some((Hop::Gateway(addr("10.80.0.3")), 0)));
    assert_eq!(way(routes, cidr("10.94.0.0", 16)), None, "another table");
    assert_eq!(way(routes, cidr("2001:db8::", 64)).map(|(hop, _)| hop), Some(Hop::Link));
    let source = routes.iter().find(|route| route.prefix == cidr("10.90.0.0", 16)).unwrap().source;
    assert_eq!(source, Some(addr("10.80.0.1")));
    let missing = Mirror::open("none0").unwrap_err();
    assert!(matches!(missing, MirrorError::Missing { .. }) && missing.to_string().contains("none0"));
    assert!(matches!(Mirror::open("lo").unwrap_err(), MirrorError::NotEthernet { .. }));
}

#[test]
fn addresses_come_and_go() {
    let world = World::new();
    let mut watched = Watched::new();
    world.ip("addr add 10.80.0.77/24 dev veth0");
    watched.wait_for("the address", |change| *change == Change::AddressAdded(cidr("10.80.0.77", 24)));
    world.ip("addr add 2001:db8::77/64 dev veth0");
    watched.wait_for("the address", |change| *change == Change::AddressAdded(cidr("2001:db8::77", 64)));
    // The kernel may tell of the route before or after.
    watched.quiet();
    assert_eq!(way(watched.mirror.routes(), cidr("2001:db8::", 64)).map(|(hop, _)| hop), Some(Hop::Link));
    world.ip("addr del 10.80.0.77/24 dev veth0");
    watched.wait_for("its end", |change| *change == Change::AddressRemoved(addr("10.80.0.77")));
    world.ip("addr add 10.80.1.5/24 dev lo");
    watched.quiet();
    assert!(!watched.told.contains(&Change::AddressAdded(cidr("10.80.1.5", 24))), "it is not this interface's");
}

#[test]
fn routes_are_followed_also_when_one_replaces_another() {
    let world = World::new();
    let mut watched = Watched::new();
    let to = |watched: &mut Watched, wanted: Option<(Hop, u32)>| {
        watched.wait_for("the route", |change| match change {
            Change::RoutesChanged(routes) => way(routes, cidr("0.0.0.0", 0)) == wanted,
            _ => false,
        });
    };
    world.ip("route add default via 10.80.0.2");
    to(&mut watched, Some((Hop::Gateway(addr("10.80.0.2")), 0)));
    world.ip("route replace default via 10.80.0.3");
    to(&mut watched, Some((Hop::Gateway(addr("10.80.0.3")), 0)));
    world.ip("route del default");
    to(&mut watched, None);
}

#[test]
fn the_link_flaps_and_what_it_takes_along_comes_back() {
    let world = World::new();
    world.ip("route add default via 10.80.0.2");
    let mut watched = Watched::new();
    for _ in 0..3 {
        world.their_ip("link set veth1 down");
        watched.wait_for("that it is down", |change| *change == Change::LinkDown);
        world.their_ip("link set veth1 up");
        watched.wait_for("that it is up", |change| *change == Change::LinkUp);
    }
    world.ip("link set veth0 down");
    watched.wait_for("that it is down", |change| *change == Change::LinkDown);
    watched.quiet();
    assert_eq!(
        way(watched.mirror.routes(), cidr("0.0.0.0", 0)),
        None,
        "the kernel says nothing of routes that it drops"
    );
    world.ip("link set veth0 up");
    watched.wait_for("the route to the link", |change| match change {
        Change::RoutesChanged(routes) => way(routes, cidr("10.80.0.0", 24)).is_some(),
        _ => false,
    });
}

#[test]
fn mtu_and_ethernet_address_are_followed() {
    let world = World::new();
    let mut watched = Watched::new();
    world.ip("link set veth0 mtu 1400");
    watched.wait_for("the MTU", |change| *change == Change::MtuChanged(1400));
    world.ip("link set veth0 address 02:00:00:00:00:99");
    watched.wait_for("the address", |change| *change == Change::MacChanged(Mac([2, 0, 0, 0, 0, 0x99])));
    world.ip("link del veth0");
    watched.wait_for("that it is down", |change| *change == Change::LinkDown);
    watched.wait_for("that it is gone", |change| *change == Change::LinkGone);
}

#[test]
fn notices_that_were_lost_are_made_up_for() {
    let world = World::new();
    let mut mirror = Mirror::open_with("veth0", 4096).unwrap();
    let mut told = Vec::new();
    mirror.poll(Duration::ZERO, &mut told).unwrap();
    let batch: String = (0..1000)
        .map(|n| format!("neigh replace 10.81.{}.{} lladdr 02:00:00:00:00:05 dev veth0\n", n / 250, n % 250 + 1))
        .collect();
    let file = std::env::temp_dir().join(format!("{}-batch", world.ours));
    std::fs::write(&file, batch).unwrap();
    world.ip(&format!("-batch {}", file.display()));
    std::fs::remove_file(&file).unwrap();
    world.ip("addr add 10.80.0.77/24 dev veth0");
    for _ in 0..50 {
        mirror.poll(Duration::from_millis(20), &mut told).unwrap();
    }
    assert!(mirror.counters().overflows > 0, "{:?}", mirror.counters());
    let resolved = told.iter().filter(|change| matches!(change, Change::NeighbourResolved { .. })).count();
    assert_eq!(resolved, 1000);
    assert!(told.contains(&Change::AddressAdded(cidr("10.80.0.77", 24))));
}

#[test]
fn fast_changes_are_told_as_what_they_come_to() {
    let world = World::new();
    let mut watched = Watched::new();
    for _ in 0..20 {
        world.ip("route add 10.99.0.0/16 via 10.80.0.2");
        world.ip("addr add 10.80.0.77/24 dev veth0");
        world.ip("route del 10.99.0.0/16");
        world.ip("addr del 10.80.0.77/24 dev veth0");
    }
    watched.quiet();
    assert_eq!(watched.told, [], "everything is as it was");
}
