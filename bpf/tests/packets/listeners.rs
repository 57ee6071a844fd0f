//! Listeners that come and go, several of them in one slot of the index too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use corelane_bpf::{Counter, Verdict};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::bench::{Bench, setup, v4, v6};
use crate::frames::{tcp4, tcp6};

const QUEUE0: [(u32, u32); 3] = [(0, 0), (0, 1), (0, 2)];

type End = (IpAddr, u16);

/// `slot_of` of `shared.h`.
pub(crate) fn slot((address, port): End) -> u32 {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let (words, _) = octets.as_chunks();
    let mixed = words.iter().fold(u32::from(port.to_be()), |mixed, word| mixed ^ u32::from_ne_bytes(*word));
    mixed.wrapping_mul(0x9e37_79b1) >> 22
}

/// Ends that share the slot of the first, as many as are asked for: the families take turns, and each end has an address
/// and a port of its own.
fn neighbours(count: usize) -> Vec<End> {
    let wanted = slot((v4([10, 77, 1, 1]), 80));
    let first = |address| (80..=u16::MAX).map(move |port| (address, port)).find(|end| slot(*end) == wanted);
    let ends = (1..).flat_map(|host: u8| {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host) << 8);
        [first(v4([10, 77, 1, host])), first(IpAddr::V6(v6))]
    });
    ends.flatten().take(count).collect()
}

fn frame((address, port): End) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => tcp4(v4.octets(), port),
        IpAddr::V6(v6) => tcp6(v6.octets(), port),
    }
}

/// Every end is a listener's if it is in the set, and only then.
fn check(bench: &Bench, ends: &[End], set: &BTreeSet<End>) {
    for end in ends {
        let expected = if set.contains(end) { Counter::RedirectedListener } else { Counter::PassedUnregistered };
        bench.check(&format!("{end:?} with {set:?}"), &frame(*end), expected);
    }
}

fn toggle(bench: &Bench, end: End, set: &mut BTreeSet<End>) {
    if set.remove(&end) {
        assert!(bench.steering.remove_listener(end.0, end.1).unwrap());
        assert!(!bench.steering.remove_listener(end.0, end.1).unwrap());
    } else {
        set.insert(end);
        bench.steering.add_listener(end.0, end.1).unwrap();
        bench.steering.add_listener(end.0, end.1).unwrap();
    }
}

#[test]
fn neighbours_in_a_slot_come_and_go_in_every_order() {
    let bench = Bench::bare(setup(), &QUEUE0);
    let ends = neighbours(3);
    for order in 0..3_usize.pow(5) {
        let mut set = BTreeSet::new();
        for step in 0..5 {
            toggle(&bench, ends[order / 3_usize.pow(step) % 3], &mut set);
            check(&bench, &ends, &set);
        }
        for end in set {
            assert!(bench.steering.remove_listener(end.0, end.1).unwrap());
        }
    }
}

#[test]
fn many_listeners_are_told_as_a_set_would() {
    const SEED: u64 = 0x5eed_0008;
    let bench = Bench::bare(setup(), &QUEUE0);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut ends = neighbours(8);
    // And such as are spread over the other slots.
    ends.extend((1..=40).map(|port| (v4([10, 77, 1, 7]), port * 111)));
    let mut set = BTreeSet::new();
    for _ in 0..400 {
        let end = ends[usize::try_from(random.next_u32()).unwrap() % ends.len()];
        toggle(&bench, end, &mut set);
        check(&bench, &ends, &set);
    }
}

/// One address answers for one port, whatever else shares its slot: each part of the end decides.
#[test]
fn a_slot_with_one_listener_is_that_ones_alone() {
    let bench = Bench::bare(setup(), &QUEUE0);
    let all = neighbours(60);
    assert!(all[0].0.is_ipv4() && all[1].0.is_ipv6());
    for listener in [all[0], all[1]] {
        bench.steering.add_listener(listener.0, listener.1).unwrap();
        check(&bench, &all, &BTreeSet::from([listener]));
        assert!(bench.steering.remove_listener(listener.0, listener.1).unwrap());
    }
    // The words of this address mix to the same as those of that one: only comparing all of them tells them apart.
    let (one, other) =
        ([0x20, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4], [0x20, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4]);
    assert_eq!(slot((v6(one), 80)), slot((v6(other), 80)));
    bench.steering.add_listener(v6(one), 80).unwrap();
    check(&bench, &[(v6(one), 80), (v6(other), 80)], &BTreeSet::from([(v6(one), 80)]));
}

/// While neighbours come and go, none of its packets misses a listener that stays, and none of the others' is taken for
/// its.
#[test]
fn a_listener_that_stays_is_never_missed() {
    let bench = Bench::bare(setup(), &QUEUE0);
    let ends = neighbours(4);
    let ([stays, stranger], neighbours) = (*ends.first_chunk().unwrap(), &ends[2..]);
    bench.steering.add_listener(stays.0, stays.1).unwrap();
    const RUNS: u32 = 20_000;
    std::thread::scope(|scope| {
        let judge = scope.spawn(|| {
            let (theirs, others) = (frame(stays), frame(stranger));
            for _ in 0..RUNS {
                assert_eq!(bench.steering.run(&theirs, 0, 1).unwrap().verdict, Verdict::Redirect);
                assert_eq!(bench.steering.run(&others, 0, 1).unwrap().verdict, Verdict::Pass);
            }
        });
        let mut round = 0_usize;
        while !judge.is_finished() {
            round += 1;
            let (end, other) = (neighbours[round % 2], neighbours[(round + 1) % 2]);
            bench.steering.add_listener(end.0, end.1).unwrap();
            if round.is_multiple_of(3) {
                bench.steering.add_listener(other.0, other.1).unwrap();
                assert!(bench.steering.remove_listener(other.0, other.1).unwrap());
            }
            assert!(bench.steering.remove_listener(end.0, end.1).unwrap());
        }
    });
    let counters = bench.steering.counters().unwrap();
    assert_eq!(counters.value(Counter::RedirectedListener), RUNS.into());
    assert_eq!(counters.value(Counter::PassedUnregistered), RUNS.into());
}
