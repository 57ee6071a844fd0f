//! Choosing on made-up machines.

use super::*;
use std::path::PathBuf;

/// A made-up /sys, gone when dropped.
struct Sys(PathBuf);

impl Sys {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("corelane-placement-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Two nodes with four physical cores each: 0-3 and 4-7 begin them, 8-11 and 12-15 are their second threads.
    fn two_sockets(name: &str) -> Self {
        let mut sys = Self::new(name)
            .file("devices/system/node/node0/cpulist", "0-3,8-11\n")
            .file("devices/system/node/node1/cpulist", "4-7,12-15\n")
            .file("devices/system/node/online", "0-1\n")
            .file("class/net/far0/device/numa_node", "1\n")
            .file("class/net/near0/device/numa_node", "0\n");
        for core in 0..16 {
            let first = core % 8;
            let path = format!("devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            sys = sys.file(&path, &format!("{first},{}\n", first + 8));
        }
        sys
    }

    fn topology(&self, allowed: &str, preferred: &str) -> Topology {
        Topology::read(&self.0, parse_list(allowed).unwrap(), parse_list(preferred).unwrap())
    }

    fn node_of(&self, interface: &str) -> Option<usize> {
        nic_node(&self.0, interface)
    }
}

impl Drop for Sys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn automatic() -> Config {
    Config::builder().build().unwrap()
}

#[test]
fn cores_of_the_nics_node_come_first_and_hyperthreads_last() {
    let sys = Sys::two_sockets("order");
    let topology = sys.topology("0-15", "0-15");
    let numbers = |workers, interface: &str| {
        choose(automatic().cores(), workers, &topology, sys.node_of(interface)).unwrap().numbers()
    };
    assert_eq!(numbers(2, "far0"), [4, 5]);
    assert_eq!(numbers(6, "far0"), [4, 5, 6, 7, 0, 1], "a whole core of the other node before half of one");
    assert_eq!(numbers(9, "far0"), [4, 5, 6, 7, 0, 1, 2, 3, 12], "then the near hyperthreads");
    assert_eq!(numbers(2, "near0"), [0, 1]);
    assert_eq!(numbers(3, "veth0"), [0, 1, 2], "no node, no preference");
}

#[test]
fn what_was_chosen_is_told_with_its_reason() {
    let sys = Sys::two_sockets("told");
    let topology = sys.topology("4,12,0", "0-15");
    let placement = choose(automatic().cores(), 3, &topology, sys.node_of("far0")).unwrap();
    assert_eq!(
        placement.to_string(),
        "NUMA node of the NIC: 1; core 4: node 1, on the NIC's node; core 0: node 0, not on the NIC's node, which has no \
         other left; core 12: node 1, on the NIC's node, a hyperthread of core 4's"
    );
    assert_eq!(placement.remote().map(|place| place.core).collect::<Vec<_>>(), [0]);
    let veth = choose(automatic().cores(), 1, &topology, sys.node_of("veth0")).unwrap();
    assert_eq!(veth.to_string(), "NUMA node of the NIC: none; core 0: node 0, the first free one");
    assert_eq!(veth.remote().count(), 0);
}

#[test]
fn the_present_affinity_goes_before_the_node() {
    let sys = Sys::two_sockets("affinity");
    let topology = sys.topology("0-15", "2-3");
    let placement = choose(automatic().cores(), 3, &topology, Some(1)).unwrap();
    assert_eq!(placement.numbers(), [2, 3, 4]);
}

#[test]
fn only_allowed_cores_are_chosen_and_others_refused_with_those_that_are() {
    let sys = Sys::two_sockets("allowed");
    let topology = sys.topology("0-3", "0-3");
    let config = Config::builder().cores(&[9]).build().unwrap();
    let error = choose(config.cores(), 1, &topology, None).unwrap_err();
    assert!(matches!(&error, Error::CoreNotAllowed { core: 9, allowed } if allowed == "0-3"), "{error}");
    let placement = choose(automatic().cores(), 1, &topology, Some(1)).unwrap();
    assert_eq!((placement.numbers(), placement.cores[0].why), (vec![0], Why::OffNicNode));
    assert!(matches!(choose(automatic().cores(), 5, &topology, None), Err(Error::TooFewCores { .. })));
    let loose = Config::builder().set("cores.pin", false).build().unwrap();
    let placement = choose(loose.cores(), 5, &topology, None).unwrap();
    assert_eq!((placement.numbers(), placement.cores[0].why), (vec![0, 1, 2, 3, 4], Why::NotPinned));
}

#[test]
fn cores_that_are_named_are_taken_and_told_about() {
    let sys = Sys::two_sockets("named");
    let config = Config::builder().queues(&[0, 1]).cores(&[1, 9]).build().unwrap();
    let placement = choose(config.cores(), 2, &sys.topology("0-15", "0"), sys.node_of("far0")).unwrap();
    assert_eq!(placement.numbers(), [1, 9]);
    assert_eq!(placement.cores[1].shares_with, Some(1));
    assert_eq!(placement.remote().count(), 2);
}

#[test]
fn without_nodes_and_siblings_the_first_cores_are_taken() {
    let sys = Sys::new("bare");
    let placement = choose(automatic().cores(), 3, &sys.topology("0-3", "2-3"), sys.node_of("eth0")).unwrap();
    assert_eq!(placement.numbers(), [2, 3, 0]);
    assert_eq!(placement.cores[0].node, None);
}

#[test]
fn a_vlan_has_the_node_of_what_it_stands_on() {
    let sys = Sys::two_sockets("vlan")
        .file("class/net/bond0.7/lower_bond0/x", "")
        .file("class/net/bond0/lower_far0/x", "")
        .file("class/net/round0/lower_round0/x", "")
        .file("class/net/vm0/device/numa_node", "-1\n");
    assert_eq!(sys.node_of("bond0.7"), Some(1));
    assert_eq!(sys.node_of("round0"), None);
    assert_eq!(sys.node_of("vm0"), None);
    assert_eq!(sys.node_of("absent0"), None);
}

#[test]
fn this_machine_has_a_place_for_one_worker() {
    let placement = Placement::choose(&automatic(), 1).unwrap();
    assert_eq!(placement.cores.len(), 1);
}
