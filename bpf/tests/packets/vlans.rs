//! Packets of a VLAN that is not ours stay the kernel's, whatever is in them.

use corelane_bpf::{Counter, Setup, Vlan};
use etherparse::EtherType;

use crate::bench::{Bench, setup};
use crate::frames::{DOT1Q, VLAN, tagged, tagged_as};
use crate::rows::{passed, redirected};

const QUEUE0: [(u32, u32); 3] = [(0, 0), (0, 1), (0, 2)];

#[test]
fn without_a_vlan_only_untagged_packets_are_ours() {
    let bench = Bench::with(Setup { vlan: Vlan::Untagged, ..setup() }, &QUEUE0);
    for (name, packet, expected) in redirected() {
        bench.check(name, &packet, expected);
        bench.check(&format!("{name}, tagged"), &tagged(&packet), Counter::PassedOtherVlan);
        // VLAN 0 is none: the tag only gives a priority.
        bench.check(&format!("{name}, with a priority"), &tagged_as(&packet, DOT1Q, 0), expected);
    }
}

#[test]
fn with_a_vlan_only_its_packets_are_ours() {
    let bench = Bench::with(Setup { vlan: Vlan::Id(VLAN), ..setup() }, &QUEUE0);
    for (name, packet, expected) in redirected() {
        bench.check(&format!("{name}, tagged"), &tagged(&packet), expected);
        bench.check(name, &packet, Counter::PassedOtherVlan);
        for other in [0, 1, VLAN + 1, VLAN | 0x800, 4095] {
            let packet = tagged_as(&packet, DOT1Q, other);
            bench.check(&format!("{name}, VLAN {other}"), &packet, Counter::PassedOtherVlan);
        }
        let service_tag = tagged_as(&packet, EtherType(0x88a8), VLAN);
        bench.check(&format!("{name}, a service tag"), &service_tag, Counter::PassedOtherVlan);
    }
}

#[test]
fn what_follows_a_tag_of_another_vlan_is_not_looked_at() {
    let bench = Bench::with(Setup { vlan: Vlan::Untagged, ..setup() }, &QUEUE0);
    for (name, packet, _) in passed() {
        bench.check(name, &tagged(&packet), Counter::PassedOtherVlan);
    }
}
