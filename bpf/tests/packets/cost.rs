//! What the program costs, printed: `cargo test -p corelane-bpf --features kernel --test packets cost -- --nocapture`.
//!
//! Nothing is asserted about time, as the machine may be anything.

use std::net::SocketAddr;
use std::time::Instant;

use corelane_bpf::{Layout, Setup, SocketsPerQueue};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};

use crate::bench::{Bench, FLOWS, KERNELS, KERNELS6, OUT, PINNED, SERVICE, setup, v4, verdict_of};
use crate::frames::{tcp4, tcp4_from, tcp6};
use crate::rows::{passed, redirected};

const REPEAT: u32 = 1_000_000;
const QUEUE0: [(u32, u32); 3] = [(0, 0), (0, 1), (0, 2)];

fn print(bench: &Bench, name: &str, packet: &[u8]) {
    let run = bench.steering.run(packet, 0, REPEAT).unwrap();
    println!("{:>5} ns  {:<10} {name}", run.duration.as_nanos(), format!("{:?}", run.verdict));
}

#[test]
fn the_cost_of_the_usual_frames_is_printed() {
    let bare = || {
        let bench = Bench::bare(setup(), &QUEUE0);
        bench.steering.add_listener(v4(KERNELS), 80).unwrap();
        bench
    };
    let full = Bench::with(setup(), &QUEUE0);
    let layout = Layout { sockets_per_queue: SocketsPerQueue::One, ..setup().layout };
    let one = Bench::with(Setup { layout, ..setup() }, &[(0, 0)]);
    let options = ProgInfoQueryOptions::default().include_xlated_prog_insns(true).include_jited_prog_insns(true);
    let programs: Vec<_> = ProgInfoIter::with_query_opts(options).collect();
    for (name, bench) in [("a socket for each core", &full), ("one socket a queue", &one)] {
        let program = programs.iter().find(|program| program.id == bench.steering.program_id()).unwrap();
        let (instructions, native) = (program.xlated_prog_insns.len() / 8, program.jited_prog_insns.len());
        assert!(instructions > 0);
        println!("{name}: {instructions} instructions, {native} bytes of machine code");
    }
    println!("only a listener registered:");
    print(&bare(), "unregistered, to the kernel", &tcp4(KERNELS, 22));
    let bench = bare();
    print(&bench, "unregistered, to the kernel, IPv6", &tcp6(KERNELS6, 22));
    print(&bench, "a listener's", &tcp4(KERNELS, 80));
    bench.steering.add_listener(crate::bench::v6(KERNELS6), 80).unwrap();
    print(&bench, "a listener's, IPv6", &tcp6(KERNELS6, 80));
    println!("listeners, flows, pins and own addresses registered:");
    print(&full, "unregistered, to the kernel", &tcp4(KERNELS, 22));
    print(&full, "a listener's", &tcp4(KERNELS, 80));
    print(&full, "a listener's, IPv6", &tcp6(KERNELS6, 80));
    print(&full, "a registered flow's", &tcp4_from(SERVICE, KERNELS, OUT));
    print(&full, "a listener's, pinned", &tcp4_from(PINNED, KERNELS, 80));
    println!("one socket a queue:");
    print(&one, "a listener's", &tcp4(KERNELS, 80));
    print(&one, "a listener's, IPv6", &tcp6(KERNELS6, 80));
}

#[test]
fn the_cost_of_registering_is_printed() {
    let bench = Bench::bare(setup(), &QUEUE0);
    let registry = bench.steering.registry();
    let hash = setup().hash;
    let flows: Vec<_> = (1..=u16::MAX).map(|port| (FLOWS[0].0, SocketAddr::new(FLOWS[0].1.ip(), port))).collect();
    // The best of many batches: the machine may have other things to do.
    let time = |name: &str, operation: &dyn Fn(SocketAddr, SocketAddr)| {
        let batches = flows.chunks(500).map(|batch| {
            let begin = Instant::now();
            batch.iter().for_each(|(local, remote)| operation(*local, *remote));
            begin.elapsed().as_nanos() / batch.len() as u128
        });
        println!("{:>5} ns  {name}", batches.min().unwrap());
    };
    time("adding a listener", &|local, remote| bench.steering.add_listener(local.ip(), remote.port()).unwrap());
    time("registering a flow", &|local, remote| registry.insert(local, remote).unwrap());
    time("pinning a flow", &|local, remote| registry.pin(local, remote, 1).unwrap());
    assert_eq!((registry.registered(), registry.pinned()), (65_535, 65_535));
    time("removing a flow", &|local, remote| assert!(registry.remove(local, remote).unwrap()));
    time("unpinning a flow", &|local, remote| assert!(registry.unpin(local, remote).unwrap()));
    time("hashing a flow, in Rust", &|local, remote| {
        std::hint::black_box(hash.hash(local, remote));
    });
    let mut table = bench.steering.table();
    table.level(|core| core == 1).unwrap();
    let begin = Instant::now();
    let moved = bench.steering.set_table(&table).unwrap();
    println!("{:>5} us  moving {moved} buckets", begin.elapsed().as_micros());
}

#[test]
fn the_cost_of_each_kind_is_printed() {
    let bench = Bench::up();
    for (name, packet, expected) in redirected().into_iter().chain(passed()) {
        let run = bench.steering.run(&packet, 0, 100_000).unwrap();
        assert_eq!(run.verdict, verdict_of(expected), "{name}");
        println!("{:>5} ns  {expected:<24} {name}", run.duration.as_nanos());
    }
}
