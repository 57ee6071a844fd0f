//! Neighbours: resolved, moved, failed, kept.

use crate::world::{Watched, World, addr, run};
use corelane::steer::mirror::Change;
use corelane::{Addr, Mac};
use std::time::Duration;

const SIX: Mac = Mac([2, 0, 0, 0, 0, 6]);

fn resolved(change: &Change, wanted: Addr) -> bool {
    matches!(change, Change::NeighbourResolved { addr, .. } if *addr == wanted)
}

#[test]
fn the_kernel_resolves_what_is_asked_for() {
    let world = World::new();
    world.ip("addr add 2001:db8::1/64 dev veth0");
    world.their_ip("addr add 2001:db8::2/64 dev veth1");
    world.their_ip("link set veth1 address 02:00:00:00:00:06");
    let mut watched = Watched::new();
    for peer in [addr("10.80.0.2"), addr("2001:db8::2")] {
        assert_eq!(watched.mirror.neighbour(peer), None);
        assert!(watched.mirror.asker().ask(peer));
        let told = watched.wait_for("the neighbour", |change| resolved(change, peer));
        assert_eq!(told, Change::NeighbourResolved { addr: peer, mac: SIX });
        assert_eq!(watched.mirror.neighbour(peer), Some(SIX));
        assert!(watched.mirror.asker().ask(peer));
        watched.wait_for("what is known", |change| resolved(change, peer));
    }
    assert_eq!(watched.mirror.counters().asked, 2, "{:?}", watched.mirror.counters());
    assert_eq!(watched.mirror.counters().asks_limited, 2, "once a second for each");
}

#[test]
fn somebody_who_is_not_there_fails_again_and_again() {
    let world = World::new();
    run("ip", &format!("netns exec {} sysctl -qw net.ipv4.neigh.veth0.retrans_time_ms=100", world.ours));
    let mut watched = Watched::new();
    let nobody = addr("10.80.0.99");
    for _ in 0..3 {
        assert!(watched.mirror.asker().ask(nobody));
        watched.wait_for("the failure", |change| *change == Change::NeighbourFailed(nobody));
        std::thread::sleep(Duration::from_millis(1100));
    }
    assert_eq!(watched.mirror.counters().asked, 3);
    world.their_ip("addr add 10.80.0.99/24 dev veth1");
    assert!(watched.mirror.asker().ask(nobody));
    watched.wait_for("that it is there now", |change| resolved(change, nobody));
    // On a link that is down there is nobody to ask.
    world.ip("link set veth0 down");
    watched.quiet();
    assert!(watched.mirror.asker().ask(addr("10.80.0.2")));
    watched.wait_for("the failure", |change| *change == Change::NeighbourFailed(addr("10.80.0.2")));
}

#[test]
fn a_neighbour_moves_and_is_forgotten() {
    let world = World::new();
    let mut watched = Watched::new();
    let peer = addr("10.80.0.50");
    for mac in [SIX, Mac([2, 0, 0, 0, 0, 7])] {
        world.ip(&format!("neigh replace {peer} lladdr {mac} dev veth0"));
        watched.wait_for("where it is", |change| *change == Change::NeighbourResolved { addr: peer, mac });
    }
    let all = watched.mirror.all();
    assert!(all.iter().any(|change| resolved(change, peer)), "{all:?}");
    world.ip(&format!("neigh del {peer} dev veth0"));
    watched.wait_for(
        "that it is gone",
        |change| matches!(change, Change::NeighbourGone(addr) | Change::NeighbourFailed(addr) if *addr == peer),
    );
    assert_eq!(watched.mirror.neighbour(peer), None);
}

#[test]
fn what_is_in_use_is_confirmed_by_the_kernel() {
    let world = World::new();
    run("ip", &format!("netns exec {} sysctl -qw net.ipv4.neigh.veth0.delay_first_probe_time=1", world.ours));
    let mut watched = Watched::new();
    let peer = addr("10.80.0.2");
    assert!(watched.mirror.asker().ask(peer));
    watched.wait_for("the neighbour", |change| resolved(change, peer));
    let mac = watched.mirror.neighbour(peer).unwrap();
    world.ip(&format!("neigh replace {peer} lladdr {mac} nud stale dev veth0"));
    std::thread::sleep(Duration::from_millis(1100));
    watched.quiet();
    assert_eq!(watched.mirror.neighbour(peer), Some(mac), "an old one is good until it is found not to be");
    assert!(watched.mirror.asker().ask(peer));
    let state = || run("ip", &format!("-n {} neigh show {peer}", world.ours));
    for _ in 0..100 {
        watched.mirror.poll(Duration::from_millis(100), &mut watched.told).unwrap();
        if state().contains("REACHABLE") {
            return;
        }
    }
    panic!("the kernel did not confirm it: {}", state());
}
