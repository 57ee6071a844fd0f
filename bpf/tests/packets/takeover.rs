//! One program takes the place of another, and keeps what nobody can take yet.

use std::io;
use std::net::SocketAddr;

use corelane_bpf::{Counter, KeptRing, Setup, Steering, Verdict, program_on};

use crate::bench::{Bench, KERNELS, PEER, setup, v4};
use crate::frames::tcp4_from;

fn roomy() -> Setup {
    Setup { kept_bytes: 1 << 16, ..setup() }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(v4(KERNELS), port)
}

fn remote(port: u16) -> SocketAddr {
    SocketAddr::new(v4(PEER), port)
}

fn prepared(first: &Bench) -> Steering {
    let steering =
        Steering::prepare(first.steering.ifindex(), &roomy(), &first.steering.share_relay().unwrap()).unwrap();
    steering.add_listener(v4(KERNELS), 80).unwrap();
    steering
}

/// What is in a ring now.
fn kept(ring: &KeptRing) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    ring.take_all(|worker, packet| all.push((worker, packet.to_vec()))).unwrap();
    all
}

fn run(steering: &Steering, packet: &[u8]) -> Verdict {
    steering.run(packet, 0, 1).unwrap().verdict
}

fn counted(steering: &Steering, counter: Counter) -> u64 {
    steering.counters().unwrap().value(counter)
}

#[test]
fn packets_without_a_socket_are_held_whole_whatever_their_length() {
    let first = Bench::bare(roomy(), &[]);
    let second = prepared(&first);
    let short = tcp4_from(1000, KERNELS, 80);
    for length in [short.len(), 120, 121, 1514, 2040, 2041, 4000, 4088] {
        let mut packet = short.clone();
        packet.resize(length, 0xa5);
        assert_eq!(run(&second, &packet), Verdict::Drop, "{length}");
        let held = kept(second.held_ring().unwrap());
        assert_eq!(held.len(), 1, "{length}");
        assert!(held[0].0 < 3 && held[0].1 == packet, "{length}: {} bytes for {}", held[0].1.len(), held[0].0);
    }
    assert_eq!(counted(&second, Counter::Held), 8);
    let mut long = short.clone();
    long.resize(4089, 0);
    assert_eq!((run(&second, &long), kept(second.held_ring().unwrap()).len()), (Verdict::Drop, 0));
    assert_eq!(counted(&second, Counter::DroppedNoRoom), 1);
    // What is not ours passes as always.
    assert_eq!(run(&second, &tcp4_from(1000, KERNELS, 22)), Verdict::Pass);
    // A full ring drops, and counts.
    for _ in 0..600 {
        assert_eq!(run(&second, &short), Verdict::Drop);
    }
    let held = kept(second.held_ring().unwrap()).len() as u64;
    assert!((400..600).contains(&held), "{held}");
    assert_eq!(counted(&second, Counter::DroppedNoRoom), 1 + 600 - held);
    second.release_held().unwrap();
    assert_eq!(run(&second, &short), Verdict::Pass);
    assert_eq!(counted(&second, Counter::RedirectFailed), 1);
}

#[test]
fn a_predecessors_flows_are_relayed_until_it_has_ended() {
    let first = Bench::bare(roomy(), &[]);
    let second = prepared(&first);
    let (theirs, ours) = (tcp4_from(1000, KERNELS, 80), tcp4_from(1001, KERNELS, 80));
    // One that it has opened itself, which no listener is for.
    let opened = tcp4_from(443, KERNELS, 50_000);
    let flows = first.steering.relayed().unwrap();
    flows.insert(local(80), remote(1000), 5).unwrap();
    flows.insert(local(80), remote(1000), 6).unwrap();
    flows.insert(local(50_000), remote(443), 7).unwrap();
    for packet in [&theirs, &ours, &opened] {
        assert_eq!(run(&second, packet), Verdict::Drop);
    }
    assert_eq!(kept(first.steering.relay_ring().unwrap()), [(6, theirs.clone()), (7, opened.clone())]);
    assert_eq!(kept(second.held_ring().unwrap()).len(), 1);
    assert!(flows.remove(local(80), remote(1000)).unwrap());
    assert!(!flows.remove(local(80), remote(1000)).unwrap());
    assert_eq!((run(&second, &theirs), kept(second.held_ring().unwrap()).len()), (Verdict::Drop, 1));
    // It ends without having read all.
    run(&second, &opened);
    second.end_relay().unwrap();
    assert_eq!(kept(first.steering.relay_ring().unwrap()), []);
    assert_eq!(run(&second, &opened), Verdict::Pass);
    assert_eq!(counted(&second, Counter::Relayed), 3);
}

#[test]
fn a_program_takes_the_place_of_another_and_gives_it_back() {
    let mut first = Bench::bare(roomy(), &[]);
    let ifindex = first.steering.ifindex();
    let attached = || program_on(ifindex).unwrap().map(|program| program.id);
    let mut second = prepared(&first);
    assert_eq!(attached(), Some(first.steering.program_id()), "nothing changes before its time");
    second.take_over(first.steering.share_link().unwrap()).unwrap();
    assert_eq!(attached(), Some(second.program_id()));
    first.steering.take_back().unwrap();
    assert_eq!(attached(), Some(first.steering.program_id()));
    second.take_over(first.steering.share_link().unwrap()).unwrap();
    first.steering.give_up_link();
    assert_eq!(first.steering.share_link().unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(first.steering.take_back().unwrap_err().kind(), io::ErrorKind::NotConnected);
    assert_eq!(attached(), Some(second.program_id()));
    drop(second);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
    // A process that another test starts just now holds the link until it has become another program.
    while attached().is_some() {
        assert!(std::time::Instant::now() < until, "the program is left");
        std::thread::yield_now();
    }
}
