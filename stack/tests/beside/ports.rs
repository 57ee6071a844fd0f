//! The kernel's ports, in a namespace of their own.

use crate::world::World;
use corelane::steer::ports::{KernelPorts, PortPlan, PortSet, PortSource};
use std::fs;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

fn set(text: &str) -> PortSet {
    text.parse().unwrap()
}

#[test]
fn ports_are_reserved_beside_others_and_set_free() {
    let _world = World::new();
    fs::write(RANGE, "40000 59999").unwrap();
    fs::write(RESERVED, "22,50000-50099").unwrap();
    let kernel = KernelPorts::read().unwrap();
    assert_eq!((kernel.range, &kernel.reserved), ((40_000, 59_999), &set("22,50000-50099")));
    let plan = PortPlan::shared((50_000, 50_999), &kernel, &[50_500], true).unwrap();
    assert_eq!((plan.range, plan.source), ((50_000, 50_999), PortSource::ToBeReserved));
    assert_eq!(plan.avoided, [50_500]);
    let reservation = plan.reserve().unwrap();
    assert_eq!(reservation.added(), &set("50100-50999"));
    assert_eq!(fs::read_to_string(RESERVED).unwrap().trim(), "22,50000-50999");
    let kernel = KernelPorts::read().unwrap();
    assert!(!kernel.chosen().contains(50_700));
    let again = PortPlan::shared((50_000, 50_999), &kernel, &[], false).unwrap();
    assert_eq!((again.range, again.source), ((50_000, 50_999), PortSource::Reserved));
    // Somebody else reserves some meanwhile.
    fs::write(RESERVED, "22,80,50000-50999").unwrap();
    reservation.release().unwrap();
    assert_eq!(fs::read_to_string(RESERVED).unwrap().trim(), "22,80,50000-50099");

    drop(again.reserve().unwrap());
    assert_eq!(fs::read_to_string(RESERVED).unwrap().trim(), "22,80,50000-50099", "a drop sets them free too");
    fs::write(RESERVED, "\n").unwrap();
    let plan = PortPlan::shared((50_000, 50_999), &KernelPorts::read().unwrap(), &[], true).unwrap();
    plan.reserve().unwrap().release().unwrap();
    assert_eq!(fs::read_to_string(RESERVED).unwrap().trim(), "", "as it was: none at all");
}
