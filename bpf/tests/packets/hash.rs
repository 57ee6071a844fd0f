//! The hash of the program is the hash of Rust: the shared vectors, and ten thousand random flows.
//!
//! The program does not tell a hash, but it shows in where a packet goes: with a table that gives a bucket to core 1 if
//! one bit of its number is set, and a socket for core 1 only, the verdict is that bit.

use std::net::{IpAddr, SocketAddr};

use corelane_bpf::{FlowHash, Layout, MAX_BUCKETS, Setup, SocketsPerQueue, Verdict};
use etherparse::PacketBuilder;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::bench::Bench;

type Flow = (SocketAddr, SocketAddr);

const VECTORS: &str = include_str!("../flow-hash.tsv");

fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to} are of two families"),
    };
    let mut bytes = Vec::new();
    ip.tcp(from.port(), to.port(), 1, 1000).write(&mut bytes, &[]).unwrap();
    bytes
}

/// The low 12 bits of the program's hash of each flow, by packets from the first end to the second.
fn kernels_buckets(key: [u8; 16], flows: &[Flow]) -> Vec<u32> {
    let layout = Layout { base_queue: 0, queues: 1, cores: 2, sockets_per_queue: SocketsPerQueue::All };
    let setup = Setup { buckets: MAX_BUCKETS, ..Setup::new(layout, FlowHash::new(key)) };
    let bench = Bench::bare(setup, &[(0, 1)]);
    for (_, to) in flows {
        bench.steering.add_listener(to.ip(), to.port()).unwrap();
    }
    let packets: Vec<_> = flows.iter().map(|(from, to)| segment(*from, *to)).collect();
    let mut buckets = vec![0; flows.len()];
    for bit in 0..MAX_BUCKETS.ilog2() {
        let mut table = bench.steering.table();
        for bucket in 0..MAX_BUCKETS {
            table.set_owner(bucket, bucket >> bit & 1).unwrap();
        }
        bench.steering.set_table(&table).unwrap();
        for (bucket, packet) in buckets.iter_mut().zip(&packets) {
            let verdict = bench.steering.run(packet, 0, 1).unwrap().verdict;
            *bucket |= u32::from(verdict == Verdict::Redirect) << bit;
        }
    }
    buckets
}

/// Rust and the program, both ways.
fn compare(key: [u8; 16], flows: &[Flow]) {
    let hash = FlowHash::new(key);
    let back: Vec<_> = flows.iter().map(|(local, remote)| (*remote, *local)).collect();
    for flows in [flows, &back] {
        for ((from, to), bucket) in flows.iter().zip(kernels_buckets(key, flows)) {
            let expected = hash.hash(*to, *from) & (MAX_BUCKETS - 1);
            assert_eq!(bucket, expected, "key {key:02x?}, from {from} to {to}");
        }
    }
}

#[test]
fn the_vectors_are_the_programs_too() {
    let mut flows_of = std::collections::BTreeMap::<[u8; 16], Vec<Flow>>::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let [key, local, remote, hash] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        // Big-endian, as the digits stand.
        let key = u128::from_str_radix(key, 16).unwrap().to_be_bytes();
        let flow: Flow = (local.parse().unwrap(), remote.parse().unwrap());
        assert_eq!(FlowHash::new(key).hash(flow.0, flow.1), u32::from_str_radix(hash, 16).unwrap(), "{line}");
        flows_of.entry(key).or_default().push(flow);
    }
    assert!(flows_of.len() > 2);
    for (key, flows) in flows_of {
        compare(key, &flows);
    }
}

#[test]
fn ten_thousand_random_flows_hash_alike() {
    const SEED: u64 = 0x5eed_0007;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
    for is_ipv4 in [true, false] {
        let mut key = [0; 16];
        random.fill_bytes(&mut key);
        let flows: Vec<Flow> = (0..5000).map(|_| random_flow(&mut random, is_ipv4)).collect();
        compare(key, &flows);
    }
}

/// Often with much in common between the ends, so that each part of the order decides.
fn random_flow(random: &mut Xoshiro256PlusPlus, is_ipv4: bool) -> Flow {
    let mut bytes = [[0_u8; 18]; 2];
    random.fill_bytes(bytes.as_flattened_mut());
    // 18 is all: the same address and port at both ends.
    let common = if random.next_u32().is_multiple_of(2) { random.next_u32() as usize % 19 } else { 0 };
    bytes[1] = std::array::from_fn(|at| bytes[usize::from(at >= common)][at]);
    let end = |bytes: [u8; 18]| {
        let port = u16::from_be_bytes([bytes[16], bytes[17]]).max(1);
        let address = if is_ipv4 {
            // 1 to 126: one host's, whatever follows.
            IpAddr::from([bytes[12] % 126 + 1, bytes[13], bytes[14], bytes[15]])
        } else {
            let mut address: [u8; 16] = *bytes.first_chunk().unwrap();
            address[0] = 0x20 | address[0] & 0x0f;
            IpAddr::from(address)
        };
        SocketAddr::new(address, port)
    };
    (end(bytes[0]), end(bytes[1]))
}
