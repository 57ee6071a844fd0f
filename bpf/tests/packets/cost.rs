//! What the program costs, in time and in instructions, printed:
//! `cargo test -p corelane-bpf --features kernel --test packets cost -- --nocapture --test-threads 1`.
//!
//! Nothing is asserted about time, as the machine may be anything.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use corelane_bpf::{Layout, Setup, SocketsPerQueue};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions};
use libbpf_rs::{MapCore, MapFlags, MapMut, ObjectBuilder};

use crate::bench::{Bench, FLOWS, KERNELS, KERNELS6, OUT, PEER, PINNED, SERVICE, setup, v4, v6, verdict_of};
use crate::frames::{tcp4, tcp4_from, tcp6};
use crate::interpreter::Interpreter;
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
    bench.steering.add_listener(v6(KERNELS6), 80).unwrap();
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

/// The program and its maps for itself, with the first key of struct settings 0, and the maps filled by the closure.
fn interpreter(cores: u32, fill: impl Fn(&str, &MapMut<'_>)) -> Interpreter {
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/steer.bpf.o");
    let mut object = ObjectBuilder::default().open_file(object).unwrap();
    for mut map in object.maps_mut() {
        match map.name().to_str().unwrap() {
            "flows" | "pinned" => map.set_max_entries(16).unwrap(),
            // struct settings: the key, base queue, queues, sockets per queue, mask, every VLAN.
            ".rodata.settings" => {
                let words = [0, 0, 0, 0, 0, 2, cores, 1023, 65_535, 0].map(u32::to_ne_bytes);
                map.set_initial_value(words.as_flattened()).unwrap();
            }
            _ => {}
        }
    }
    let mut object = object.load().unwrap();
    object.maps_mut().for_each(|map| fill(map.name().to_str().unwrap(), &map));
    Interpreter::new(&object)
}

/// `struct end`.
fn end(address: IpAddr, port: u16) -> Vec<u8> {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    [&octets[..], &port.to_be_bytes(), &[6, 0]].concat()
}

#[test]
fn the_instructions_of_the_usual_frames_are_printed() {
    let put = |map: &MapMut<'_>, key: &[u8], value: &[u8]| map.update(key, value, MapFlags::ANY).unwrap();
    let listeners = |name: &str, map: &MapMut<'_>| {
        if name == "listeners" {
            put(map, &end(v4(KERNELS), 80), &[0; 4]);
            put(map, &end(v6(KERNELS6), 80), &[0; 4]);
        }
    };
    let all = |name: &str, map: &MapMut<'_>| {
        listeners(name, map);
        let flow = |local, port, from| [end(local, port), end(v4(PEER), from)].concat();
        match name {
            "flows" => put(map, &flow(v4(KERNELS), OUT, SERVICE), &[0; 4]),
            "pinned" => put(map, &flow(v4(KERNELS), 80, PINNED), &[0; 4]),
            ".data.in_use" => put(map, &[0; 4], [1_u32, 1, 1, 0, 0].map(u32::to_ne_bytes).as_flattened()),
            _ => {}
        }
    };
    let unregistered = ("unregistered, to the kernel", tcp4(KERNELS, 22), 2);
    let listener = ("a listener's", tcp4(KERNELS, 80), 4);
    let listener6 = ("a listener's, IPv6", tcp6(KERNELS6, 80), 4);
    let flow = ("a registered flow's", tcp4_from(SERVICE, KERNELS, OUT), 4);
    let pinned = ("a listener's, pinned", tcp4_from(PINNED, KERNELS, 80), 4);
    let usual = [&unregistered, &listener, &listener6];
    let every = [&unregistered, &listener, &listener6, &flow, &pinned];
    for (what, interpreter, frames) in [
        ("only listeners registered", interpreter(3, listeners), &usual[..]),
        ("listeners, flows, pins and own addresses registered", interpreter(3, all), &every[..]),
        ("one socket a queue", interpreter(1, listeners), &usual[..]),
    ] {
        println!("{what}:");
        for (name, packet, verdict) in frames {
            let cost = interpreter.run(packet);
            assert_eq!(cost.verdict, *verdict, "{name}");
            println!("{:>5} instructions, {} calls  {name}", cost.instructions, cost.calls);
        }
    }
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
