//! Where a packet goes: queues from any base, more cores than queues and the other way round, one socket or all.

use std::os::fd::AsFd;

use corelane_bpf::{Counter, FlowHash, Layout, MapError, Setup, SocketsPerQueue, Verdict, Vlan};

use crate::bench::{Bench, KERNELS, KEY, OURS, OURS6, PEER, PINS, setup, v4};
use crate::common::receiving_socket;
use crate::frames::{arp, neighbour, solicited_node, tcp4_from};
use crate::model;

const ALL: SocketsPerQueue = SocketsPerQueue::All;
const ONE: SocketsPerQueue = SocketsPerQueue::One;

/// TCP to the kernel's listener, from 64 ports of the peer's.
fn packets() -> Vec<Vec<u8>> {
    (0..64).map(|port| tcp4_from(41_000 + port, KERNELS, 80)).collect()
}

/// A veth with two queues: the program sees `queue` 0 and 1 of them, whatever the layout.
#[test]
fn every_layout_finds_the_owners_socket() {
    let mut seen = [0_u32; 2];
    for base_queue in [0, 1] {
        for (queues, cores) in [(1, 1), (2, 1), (1, 5), (2, 2), (2, 7), (64, 64), (4096, 1)] {
            for sockets_per_queue in [ALL, ONE] {
                let layout = Layout { base_queue, queues, cores, sockets_per_queue };
                let setup = Setup { vlan: Vlan::Any, ..Setup::new(layout, FlowHash::new(KEY)) };
                // The last core's, on the second queue if that has sockets.
                let queue = if base_queue + queues > 1 { 1 } else { base_queue };
                let bench = Bench::bare(setup, &[(queue, cores - 1)]);
                bench.steering.add_listener(v4(KERNELS), 80).unwrap();
                let world = bench.world();
                let mut before = bench.steering.counters().unwrap();
                for (packet, queue) in packets().iter().flat_map(|packet| [(packet, 0), (packet, 1)]) {
                    let expected = bench.outcome(model::expect(packet, &world), queue);
                    assert_eq!(bench.run(packet, queue, &mut before), expected, "{layout:?}, queue {queue}");
                    seen[usize::from(expected.0 == Verdict::Redirect)] += 1;
                }
            }
        }
    }
    assert!(seen[0] > 1000 && seen[1] > 500, "{seen:?}");
}

#[test]
fn a_queue_beyond_the_layout_passes() {
    // The last one is so far below its base that its key, counted modulo 2^32, is that of a socket.
    for (base_queue, served, beyond) in [(1, Some(1), 0), (0, Some(0), 1), (1_431_655_765, None, 0)] {
        let layout = Layout { base_queue, queues: 1, cores: 3, sockets_per_queue: ALL };
        let setup = Setup { vlan: Vlan::Any, ..Setup::new(layout, FlowHash::new(KEY)) };
        let bench = Bench::with(setup, &[(base_queue, 0), (base_queue, 1), (base_queue, 2)]);
        let mut before = bench.steering.counters().unwrap();
        for packet in packets() {
            if let Some(queue) = served {
                let outcome = bench.run(&packet, queue, &mut before);
                assert_eq!(outcome, (Verdict::Redirect, Counter::RedirectedListener));
            }
            assert_eq!(bench.run(&packet, beyond, &mut before), (Verdict::Pass, Counter::RedirectFailed));
        }
    }
}

#[test]
fn with_one_socket_a_queue_it_gets_every_cores_packets() {
    let layout = Layout { sockets_per_queue: ONE, ..setup().layout };
    let bench = Bench::with(Setup { layout, ..setup() }, &[(0, 2)]);
    for packet in packets() {
        bench.check("a listener's", &packet, Counter::RedirectedListener);
    }
    // Pins are not looked at, and so not counted.
    bench.check("pinned", &tcp4_from(crate::bench::PINNED, KERNELS, 80), Counter::RedirectedListener);
}

#[test]
fn neighbour_packets_go_to_the_owner_of_bucket_0() {
    let bench = Bench::with(setup(), &[(0, 2)]);
    let neighbours = [
        arp(etherparse::ArpOperation::REQUEST, PEER, OURS),
        neighbour(135, solicited_node(OURS6), OURS6),
        neighbour(136, OURS6, OURS6),
    ];
    let mut before = bench.steering.counters().unwrap();
    let mut table = bench.steering.table();
    for core in [0, 2, 1, 2] {
        table.set_owner(0, core).unwrap();
        assert_eq!(bench.steering.set_table(&table).unwrap(), u32::from(core != 0));
        for packet in &neighbours {
            let verdict = bench.run(packet, 0, &mut before).0;
            assert_eq!(verdict, if core == 2 { Verdict::Redirect } else { Verdict::Pass });
        }
    }
}

#[test]
fn the_pins_of_these_tests_go_against_the_table() {
    let (hash, table) = (setup().hash, corelane_bpf::Table::even(3, setup().buckets).unwrap());
    for (local, remote, core) in PINS {
        assert_ne!(table.owner(hash.hash(local, remote)), core, "{local} {remote}");
    }
}

#[test]
fn sockets_and_tables_that_do_not_fit_are_refused() {
    let bench = Bench::up();
    let steering = &bench.steering;
    let socket = receiving_socket();
    let error = steering.register_socket(2, 0, socket.as_fd()).unwrap_err();
    assert!(matches!(error, MapError::Queue { queue: 2, base_queue: 0, queues: 2 }), "{error}");
    let error = steering.register_socket(0, 3, socket.as_fd()).unwrap_err();
    assert!(matches!(error, MapError::Core { core: 3, cores: 3 }), "{error}");
    assert!(matches!(steering.unregister_socket(0, 3), Err(MapError::Core { .. })));
    let before = steering.table();
    for (cores, len) in [(2, 1024), (3, 512), (4, 1024)] {
        let table = corelane_bpf::Table::even(cores, len).unwrap();
        let error = steering.set_table(&table).unwrap_err();
        assert!(matches!(error, MapError::Table { needed_len: 1024, needed_cores: 3, .. }), "{error}");
    }
    assert_eq!(steering.table(), before);
}
