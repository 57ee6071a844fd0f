//! Flows that come and go while packets do.

use std::net::SocketAddr;

use corelane_bpf::{Counter, MapError, Setup, Verdict};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::bench::{Bench, FLOWS, KERNELS, OURS, OUT, PEER, PINNED, PINS, SERVICE, setup, v4};
use crate::frames::{Quote, icmp_error, tcp4, tcp4_from};

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(v4(KERNELS), port)
}

fn remote(port: u16) -> SocketAddr {
    SocketAddr::new(v4(PEER), port)
}

#[test]
fn a_flow_is_ours_from_its_registration_to_its_removal() {
    let bench = Bench::bare(setup(), &[(0, 0), (0, 1), (0, 2)]);
    let registry = bench.steering.registry();
    let reply = tcp4_from(SERVICE, KERNELS, OUT);
    let error = icmp_error(3, KERNELS, KERNELS, Quote::tcp(OUT, SERVICE));
    let both = |name: &str, of_reply, of_error| {
        bench.check(name, &reply, of_reply);
        bench.check(name, &error, of_error);
    };
    both("nothing is registered", Counter::PassedUnregistered, Counter::PassedUnregistered);
    registry.insert(local(OUT), remote(SERVICE)).unwrap();
    both("registered", Counter::RedirectedFlow, Counter::RedirectedIcmpError);
    registry.insert(local(OUT), remote(SERVICE)).unwrap();
    assert_eq!(registry.registered(), 1);
    bench.check("another", &tcp4_from(SERVICE + 1, KERNELS, OUT), Counter::PassedUnregistered);
    assert!(registry.remove(local(OUT), remote(SERVICE)).unwrap());
    both("removed", Counter::PassedUnregistered, Counter::PassedUnregistered);
    assert!(!registry.remove(local(OUT), remote(SERVICE)).unwrap());
    assert_eq!(registry.registered(), 0);
}

#[test]
fn a_pinned_flow_stays_when_its_bucket_moves() {
    let bench = Bench::with(setup(), &[(0, 1)]);
    let registry = bench.steering.registry();
    let mut before = bench.steering.counters().unwrap();
    let packet = tcp4_from(41_234, KERNELS, 80);
    let other = tcp4_from(41_235, KERNELS, 80);
    let to = |core| {
        let mut table = bench.steering.table();
        table.level(|member| member == core).unwrap();
        bench.steering.set_table(&table).unwrap();
    };
    to(1);
    assert_eq!(bench.run(&packet, 0, &mut before), (Verdict::Redirect, Counter::RedirectedListener));
    registry.pin(local(80), remote(41_234), 1).unwrap();
    to(0);
    assert_eq!(bench.run(&packet, 0, &mut before), (Verdict::Redirect, Counter::RedirectedPinned));
    assert_eq!(bench.run(&other, 0, &mut before), (Verdict::Pass, Counter::RedirectFailed));
    // An error about it goes the same way.
    let error = icmp_error(3, KERNELS, KERNELS, Quote::tcp(80, 41_234));
    assert_eq!(bench.run(&error, 0, &mut before), (Verdict::Redirect, Counter::RedirectedIcmpError));
    // A later pin replaces it, and counts once.
    let pins = registry.pinned();
    registry.pin(local(80), remote(41_234), 2).unwrap();
    assert_eq!(registry.pinned(), pins);
    assert_eq!(bench.run(&packet, 0, &mut before), (Verdict::Pass, Counter::RedirectFailed));
    assert!(registry.unpin(local(80), remote(41_234)).unwrap());
    assert!(!registry.unpin(local(80), remote(41_234)).unwrap());
    to(1);
    assert_eq!(bench.run(&packet, 0, &mut before), (Verdict::Redirect, Counter::RedirectedListener));
}

/// The program does not ask maps that are said to be empty: so the saying must be right, whoever came last.
#[test]
fn the_last_entry_of_one_map_does_not_hide_those_of_another() {
    let bench = Bench::with(setup(), &[(0, 0), (0, 1), (0, 2)]);
    let registry = bench.steering.registry();
    for (local, remote) in FLOWS {
        assert!(registry.remove(local, remote).unwrap());
    }
    bench.check("no flow", &tcp4_from(SERVICE, KERNELS, OUT), Counter::PassedUnregistered);
    bench.check("own address", &tcp4(OURS, 81), Counter::RedirectedOwnTcp);
    bench.check("pinned", &tcp4_from(PINNED, OURS, 81), Counter::RedirectedPinned);
    for (local, remote, _) in PINS {
        assert!(registry.unpin(local, remote).unwrap());
    }
    bench.check("no pin", &tcp4_from(PINNED, OURS, 81), Counter::RedirectedOwnTcp);
    for address in crate::bench::OWN {
        assert!(bench.steering.remove_own_address(address).unwrap());
    }
    bench.check("no own address", &tcp4(OURS, 81), Counter::PassedUnregistered);
    registry.insert(local(OUT), remote(SERVICE)).unwrap();
    bench.check("a flow again", &tcp4_from(SERVICE, KERNELS, OUT), Counter::RedirectedFlow);
}

/// The program asks for a pin only in a bucket that is said to have some: so each bucket must say it from its first pin to
/// its last, whoever owns it meanwhile.
#[test]
fn pins_are_found_as_long_as_their_bucket_has_one() {
    // With few buckets each has several of the flows.
    let setup = Setup { buckets: 4, ..setup() };
    let hash = setup.hash.clone();
    let bench = Bench::with(setup, &[(0, 0), (0, 1), (0, 2)]);
    let registry = bench.steering.registry();
    let ports: Vec<u16> = (41_000..41_024).collect();
    let mut pinned = std::collections::BTreeSet::new();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0x5eed_0009);
    let mut alone = 0;
    for round in 0..1500_u32 {
        let port = ports[random.next_u32() as usize % ports.len()];
        // More go than come, so that buckets are often without any.
        if pinned.remove(&port) {
            assert!(registry.unpin(local(80), remote(port)).unwrap());
        } else if random.next_u32().is_multiple_of(3) {
            registry.pin(local(80), remote(port), round % 3).unwrap();
            pinned.insert(port);
        } else {
            assert!(!registry.unpin(local(80), remote(port)).unwrap());
        }
        if round.is_multiple_of(10) {
            let mut table = bench.steering.table();
            table.set_owner(random.next_u32() % 4, random.next_u32() % 3).unwrap();
            bench.steering.set_table(&table).unwrap();
            assert_eq!(bench.steering.table(), table, "flags are no owners");
        }
        let bucket = |port: u16| hash.hash(local(80), remote(port)) & 3;
        alone += u32::from(!pinned.iter().any(|other| bucket(*other) == bucket(port)));
        for port in &ports {
            let expected = if pinned.contains(port) { Counter::RedirectedPinned } else { Counter::RedirectedListener };
            bench.check(&format!("{port} of {pinned:?}"), &tcp4_from(*port, KERNELS, 80), expected);
        }
        assert_eq!(registry.pinned() as usize, pinned.len() + PINS.len());
    }
    assert!(alone > 100, "a bucket was without pins only {alone} times");
}

/// While a flow of the same bucket is pinned and unpinned, and the bucket changes hands, a pin that stays holds.
#[test]
fn a_pin_that_stays_is_never_missed() {
    let setup = Setup { buckets: 4, ..setup() };
    let hash = setup.hash.clone();
    let bench = Bench::with(setup, &[(0, 2)]);
    let registry = bench.steering.registry();
    let bucket = |port: u16| hash.hash(local(80), remote(port)) & 3;
    let stays = 41_000;
    let neighbour = (41_001..).find(|port| bucket(*port) == bucket(stays)).unwrap();
    registry.pin(local(80), remote(stays), 2).unwrap();
    std::thread::scope(|scope| {
        let judge = scope.spawn(|| {
            let packet = tcp4_from(stays, KERNELS, 80);
            for _ in 0..20_000 {
                assert_eq!(bench.steering.run(&packet, 0, 1).unwrap().verdict, Verdict::Redirect);
            }
        });
        let registry = &registry;
        let pins = scope.spawn(move || {
            while !judge.is_finished() {
                registry.pin(local(80), remote(neighbour), 1).unwrap();
                assert!(registry.unpin(local(80), remote(neighbour)).unwrap());
            }
        });
        let mut table = bench.steering.table();
        for round in 0.. {
            if pins.is_finished() {
                break;
            }
            table.set_owner(bucket(stays), round % 2).unwrap();
            bench.steering.set_table(&table).unwrap();
        }
    });
    assert_eq!(bench.steering.counters().unwrap().value(Counter::RedirectedPinned), 20_000);
    // The last one goes, and nothing asks any more: the owner has no socket.
    assert!(registry.unpin(local(80), remote(stays)).unwrap());
    let mut before = bench.steering.counters().unwrap();
    let outcome = bench.run(&tcp4_from(stays, KERNELS, 80), 0, &mut before);
    assert_eq!(outcome, (Verdict::Pass, Counter::RedirectFailed));
}

#[test]
fn full_tables_of_flows_say_so() {
    let bench = Bench::bare(Setup { max_flows: 1000, max_pinned: 500, ..setup() }, &[(0, 0), (0, 1), (0, 2)]);
    let registry = bench.steering.registry();
    for port in 1..=1000 {
        registry.insert(local(OUT), remote(port)).unwrap();
    }
    let error = registry.insert(local(OUT), remote(1001)).unwrap_err();
    assert!(matches!(error, MapError::Full { capacity: 1000, .. }), "{error}");
    assert!(error.to_string().contains("registered flows") && error.to_string().contains("1000"), "{error}");
    assert_eq!(registry.registered(), 1000);
    registry.insert(local(OUT), remote(1000)).unwrap();
    assert!(registry.remove(local(OUT), remote(7)).unwrap());
    registry.insert(local(OUT), remote(1001)).unwrap();
    bench.check("the last one", &tcp4_from(1001, KERNELS, OUT), Counter::RedirectedFlow);
    for port in 1..=500 {
        registry.pin(local(OUT), remote(port), 1).unwrap();
    }
    let error = registry.pin(local(OUT), remote(501), 1).unwrap_err();
    assert!(matches!(error, MapError::Full { capacity: 500, .. }), "{error}");
    assert_eq!(registry.pinned(), 500);
    registry.pin(local(OUT), remote(500), 2).unwrap();
    assert!(matches!(registry.pin(local(OUT), remote(1), 3), Err(MapError::Core { core: 3, cores: 3 })));
    assert!(matches!(registry.insert(local(0), remote(1)), Err(MapError::Flow { .. })));
}

/// Four threads that insert and remove, often down to nothing and up again: in the end the counts are right, and what
/// is registered is ours.
#[test]
fn threads_register_side_by_side() {
    let bench = Bench::bare(setup(), &[(0, 0), (0, 1), (0, 2)]);
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let registry = bench.steering.registry();
            let bench = &bench;
            scope.spawn(move || {
                let (here, there) = (local(OUT + thread), remote(SERVICE));
                for round in 0..2000_u16 {
                    registry.insert(here, there).unwrap();
                    registry.pin(here, there, u32::from(round % 3)).unwrap();
                    // The others' comings and goings must not hide it.
                    let run = bench.steering.run(&tcp4_from(SERVICE, KERNELS, OUT + thread), 0, 1).unwrap();
                    assert_eq!(run.verdict, Verdict::Redirect, "thread {thread}, round {round}");
                    assert!(registry.unpin(here, there).unwrap());
                    assert!(registry.remove(here, there).unwrap());
                }
            });
        }
    });
    let registry = bench.steering.registry();
    assert_eq!((registry.registered(), registry.pinned()), (0, 0));
    let counters = bench.steering.counters().unwrap();
    assert_eq!(counters.value(Counter::RedirectedPinned), 8000, "{counters:?}");
}
