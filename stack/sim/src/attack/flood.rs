//! Attackers that send much.

use super::{Arena, Attack, Numbers};
use crate::lab::{A, ATTACKER_ADDR, B, Forge};
use corelane_proto::endpoint::EndpointConfig;
use corelane_proto::tcp::segment::{Flags, Options};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::{Addr, SocketAddr};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "syn_flood",
        about: "SYNs from everywhere to a listener (RFC 4987)",
        packets: (50_000, 1_000_000),
        setup: reachable,
        run: syn_flood,
    },
    Attack {
        name: "ack_flood",
        about: "ACKs from everywhere to a listener and to a closed port",
        packets: (20_000, 1_000_000),
        setup: reachable,
        run: ack_flood,
    },
    Attack {
        name: "rst_flood",
        about: "RSTs from everywhere to a listener and to a closed port",
        packets: (20_000, 1_000_000),
        setup: reachable,
        run: rst_flood,
    },
];

const REPLIES_PER_SECOND: u32 = 1000;

/// There is a way back to everywhere, and a limit on what goes there.
fn reachable(_: usize, config: &mut EndpointConfig) {
    config.gateways = vec![ATTACKER_ADDR];
    config.replies_per_second = REPLIES_PER_SECOND;
}

/// A source that was not seen before.
fn source(numbers: &mut Numbers) -> SocketAddr {
    let [_, b, c, d] = numbers.next_u32().to_be_bytes();
    SocketAddr::new(Addr::v4([198, 1 + b % 200, c, 1 + d % 200]), 1024 + (numbers.next_u32() % 60_000) as u16)
}

fn syn_flood(arena: &mut Arena) {
    let mut numbers = Numbers(5);
    let options = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..Options::NONE };
    let mut most_half_open = 0;
    let mut opened = 0;
    let mut tried = 0;
    while arena.packets < arena.wanted {
        let syn = Forge::new(source(&mut numbers), B, 80).flags(Flags::SYN).seq(Seq(numbers.next_u32()));
        arena.hit(&syn.options(options).frame());
        most_half_open = most_half_open.max(arena.lab.node(B).endpoint.half_opens());
        // An honest client among them, now and then.
        if arena.packets.is_multiple_of(arena.wanted / 8) {
            tried += 1;
            let client = arena.lab.connect(A, B, 80);
            arena.lab.run_millis(100);
            opened += u32::from(arena.lab.state(client).name() == "ESTABLISHED");
            arena.lab.abort(client);
        }
    }
    let bound = arena.lab.node(B).endpoint.config().syn_queue;
    arena.must(most_half_open <= bound, || format!("{most_half_open} half-open connections, {bound} at most"));
    arena.must(opened == tried, || format!("{opened} of {tried} honest clients got a connection"));
    let peak = arena.frames_peak();
    arena.must(peak <= 128, || format!("{peak} frames more than without an attack, 128 at most"));
    let (replies, packets) = (arena.replies, arena.packets);
    arena.must(replies <= packets + packets / 8, || format!("{replies} replies to {packets} packets"));
    arena.fact(format!(
        "{most_half_open} half-open at most, {} cookies, {opened} of {tried} honest clients connected",
        arena.count("syn_cookies_sent")
    ));
    arena.lab.run_secs(300);
    let left = arena.lab.node(B).endpoint.half_opens();
    arena.must(left == 0, || format!("{left} half-open connections after 300 s"));
}

/// Segments of one kind from everywhere, one in two to a listener.
fn flood(arena: &mut Arena, flags: Flags, seed: u64) {
    let mut numbers = Numbers(seed);
    let began = arena.lab.now();
    while arena.packets < arena.wanted {
        let port = if arena.packets.is_multiple_of(2) { 80 } else { 81 };
        let forged =
            Forge::new(source(&mut numbers), B, port).seq(Seq(numbers.next_u32())).ack(Seq(numbers.next_u32()));
        arena.hit(&forged.flags(flags).frame());
    }
    let seconds = arena.lab.now().saturating_since(began).as_secs() + 1;
    let (replies, most) = (arena.replies, u64::from(REPLIES_PER_SECOND) * (seconds + 1));
    arena.must(replies <= most, || format!("{replies} replies in {seconds} s, {most} at most"));
    let peak = arena.frames_peak();
    arena.must(peak <= 64, || format!("{peak} frames more than without an attack, 64 at most"));
    let connections = arena.lab.node(B).endpoint.connections();
    arena.must(connections == 1, || format!("{connections} connections, the victims' alone should be there"));
    arena.fact(format!(
        "{replies} replies in {seconds} s of virtual time, {} held back",
        arena.count("replies_limited")
    ));
}

fn ack_flood(arena: &mut Arena) {
    flood(arena, Flags::ACK, 6);
}

fn rst_flood(arena: &mut Arena) {
    flood(arena, Flags::RST, 7);
    let replies = arena.replies;
    arena.must(replies == 0, || format!("{replies} replies to RSTs"));
}
