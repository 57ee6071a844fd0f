//! Random packets: the program and the model must agree on each.

use corelane_bpf::{Counter, Setup, SocketsPerQueue, Vlan};
use etherparse::{EtherType, IpNumber};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::bench::{Bench, OURS, setup};
use crate::frames::{VLAN, fragment, tagged_as};
use crate::model;
use crate::rows::{passed, redirected};

const ROUNDS: usize = 60_000;

/// Changes a packet as a careless or hostile sender might: bytes, often in the headers, its length, a tag.
fn mutate(packet: &mut Vec<u8>, random: &mut Xoshiro256PlusPlus) {
    let mut below = |bound: usize| usize::try_from(random.next_u64() % bound as u64).unwrap();
    if below(3) == 0 {
        let vlan = [VLAN, VLAN, 0, 8][below(4)];
        *packet = tagged_as(packet, EtherType([0x8100, 0x8100, 0x8100, 0x88a8, 0x86dd][below(5)]), vlan);
    }
    for _ in 0..below(4) {
        let at = below(packet.len().min(110));
        packet[at] = match below(3) {
            0 => packet[at] ^ (1 << below(8)),
            1 => packet[at].wrapping_add(1),
            _ => u8::try_from(below(256)).unwrap(),
        };
    }
    match below(8) {
        0 => packet.truncate(14 + below(packet.len() - 13)),
        1 => packet.resize(packet.len() + below(64), 0),
        _ => {}
    }
}

/// Runs the rounds on one bench, and counts what the answers were.
fn compare(bench: &Bench, seed: u64, seen: &mut [u32]) {
    let world = bench.world();
    let mut templates: Vec<_> = redirected().into_iter().chain(passed()).map(|(_, packet, _)| packet).collect();
    templates.push(fragment(OURS, IpNumber::TCP, 3, true));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut before = bench.steering.counters().unwrap();
    for round in 0..ROUNDS {
        let mut packet = templates[round % templates.len()].clone();
        if round % 50 == 0 {
            packet.resize(14 + usize::from(random.next_u32() as u8), 0);
            random.fill_bytes(&mut packet);
        } else {
            mutate(&mut packet, &mut random);
        }
        let queue = u32::from(random.next_u32().is_multiple_of(8));
        let expected = bench.outcome(model::expect(&packet, &world), queue);
        let outcome = bench.run(&packet, queue, &mut before);
        assert_eq!(outcome, expected, "seed {seed:#x}, round {round}, queue {queue}: {packet:02x?}");
        seen[outcome.1 as usize] += 1;
    }
}

#[test]
fn mutated_packets_go_where_the_model_says() {
    const SEED: u64 = 0x5eed_0005;
    let one = SocketsPerQueue::One;
    let mut one_socket = Setup { vlan: Vlan::Id(VLAN), ..setup() };
    one_socket.layout.sockets_per_queue = one;
    let few_buckets = Setup { vlan: Vlan::Untagged, buckets: 4, ..setup() };
    let benches = [
        Bench::with(setup(), &[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]),
        // Only one core has a socket, and another one on each queue: so the verdict shows where a packet goes.
        Bench::with(setup(), &[(0, 0), (1, 2)]),
        Bench::with(few_buckets, &[(0, 1), (1, 0)]),
        Bench::with(one_socket, &[(0, 1)]),
    ];
    let mut seen = [0_u32; Counter::ALL.len()];
    for (number, bench) in (0..).zip(&benches) {
        compare(bench, SEED + number, &mut seen);
    }
    // The mutations must reach every answer often, or the comparison says little.
    // Nobody takes over here.
    let elsewhere = [Counter::Relayed, Counter::Held, Counter::DroppedNoRoom];
    for counter in Counter::ALL.into_iter().filter(|counter| !elsewhere.contains(counter)) {
        assert!(seen[counter as usize] > 500, "{counter} was reached {} times only", seen[counter as usize]);
    }
}

/// The same while the owners change between the packets.
#[test]
fn packets_follow_a_table_that_changes() {
    const SEED: u64 = 0x5eed_0006;
    let bench = Bench::with(setup(), &[(0, 1), (1, 1)]);
    let templates: Vec<_> = redirected().into_iter().map(|(_, packet, _)| packet).collect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut before = bench.steering.counters().unwrap();
    let mut redirects = 0_u32;
    for _ in 0..40 {
        let mut table = bench.steering.table();
        for bucket in 0..table.len() {
            table.set_owner(bucket, random.next_u32() % 3).unwrap();
        }
        let changed = table.owners().iter().zip(bench.steering.table().owners()).filter(|(a, b)| a != b).count();
        assert_eq!(bench.steering.set_table(&table).unwrap() as usize, changed);
        let world = bench.world();
        assert_eq!(world.table, table);
        for packet in &templates {
            let expected = bench.outcome(model::expect(packet, &world), 0);
            assert_eq!(bench.run(packet, 0, &mut before), expected, "{packet:02x?}");
            redirects += u32::from(!matches!(expected.1, Counter::RedirectFailed));
        }
    }
    let share = f64::from(redirects) / (40 * templates.len()) as f64;
    assert!((0.25..0.42).contains(&share), "about a third is core 1's: {share}");
}
