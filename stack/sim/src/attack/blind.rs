//! Attackers off the path: they guess.

use super::{Arena, Attack, Numbers, Rogue, plain};
use crate::lab::{A, ATTACKER_ADDR, B, Forge, icmp_error};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::EndpointConfig;
use corelane_proto::tcp::segment::{Flags, Options};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::IcmpErrorKind;
use std::collections::HashSet;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "blind_rst",
        about: "RSTs to a known connection with guessed numbers, many of them in the window (RFC 5961 3)",
        packets: (5_000, 1_000_000),
        setup: plain,
        run: blind_rst,
    },
    Attack {
        name: "blind_syn",
        about: "SYNs to a known connection (RFC 5961 4)",
        packets: (5_000, 1_000_000),
        setup: plain,
        run: blind_syn,
    },
    Attack {
        name: "blind_data",
        about: "data to a known connection: guessed numbers, and right numbers with guessed ACKs (RFC 5961 5)",
        packets: (5_000, 1_000_000),
        setup: plain,
        run: blind_data,
    },
    Attack {
        name: "challenge_ack_side_channel",
        about: "what is left of the limit of challenge ACKs tells whether a guess was right (CVE-2016-5696)",
        packets: (40_000, 200_000),
        setup: few_challenges,
        run: challenge_ack_side_channel,
    },
    Attack {
        name: "sequence_prediction",
        about: "the next initial sequence number from those seen before (RFC 6528)",
        packets: (2_000, 20_000),
        setup: plain,
        run: sequence_prediction,
    },
    Attack {
        name: "off_path_icmp",
        about: "ICMP errors that quote a known connection with guessed and with right numbers (RFC 5927)",
        packets: (5_000, 500_000),
        setup: plain,
        run: off_path_icmp,
    },
];

fn few_challenges(_: usize, config: &mut EndpointConfig) {
    config.challenge_acks_per_second = 100;
}

/// Challenges and other answers of one connection: two a second, whatever comes.
fn is_quiet(arena: &mut Arena, began: corelane_proto::Instant) {
    let seconds = arena.lab.now().saturating_since(began).as_secs() + 1;
    let (replies, most) = (arena.replies, 4 * seconds + 4);
    arena.must(replies <= most, || format!("{replies} replies in {seconds} s, {most} at most"));
    let peak = arena.frames_peak();
    arena.must(peak <= 16, || format!("{peak} frames more than without an attack, 16 at most"));
}

fn blind_rst(arena: &mut Arena) {
    let (mut numbers, began) = (Numbers(1), arena.lab.now());
    while arena.packets < arena.wanted {
        let honest = arena.as_a();
        let next = honest.seq_of();
        // One in two lies in the window, but none has the exact number: that takes 2^32 tries.
        let offset =
            if arena.packets.is_multiple_of(2) { 1 + numbers.next_u32() % 60_000 } else { numbers.next_u32() | 1 };
        arena.hit(&honest.flags(Flags::RST).seq(next + offset).frame());
    }
    is_quiet(arena, began);
    let challenges = arena.count("challenge_acks");
    arena.must(challenges > 0, || "a RST in the window is challenged".to_owned());
    arena.fact(format!("{challenges} challenge ACKs"));
}

fn blind_syn(arena: &mut Arena) {
    let (mut numbers, began) = (Numbers(2), arena.lab.now());
    while arena.packets < arena.wanted {
        let honest = arena.as_a();
        let next = honest.seq_of();
        let offset = if arena.packets.is_multiple_of(2) { numbers.next_u32() % 60_000 } else { numbers.next_u32() };
        arena.hit(&honest.flags(Flags::SYN).seq(next + offset).frame());
    }
    is_quiet(arena, began);
    let half_opens = arena.lab.node(B).endpoint.half_opens();
    arena.must(half_opens == 0, || format!("{half_opens} half-open connections"));
}

fn blind_data(arena: &mut Arena) {
    let (mut numbers, began) = (Numbers(3), arena.lab.now());
    while arena.packets < arena.wanted {
        let honest = arena.as_a();
        let next = honest.seq_of();
        let forged = if arena.packets.is_multiple_of(2) {
            // Somewhere beyond every window.
            honest.seq(next + (0x4000_0000 + numbers.next_u32() % 0x8000_0000))
        } else {
            // The right place, but an ACK of what B has not sent, or sent long ago (RFC 5961 5.2).
            let ack = honest.ack_of();
            honest.ack(ack + (0x0100_0000 + numbers.next_u32() % 0xfe00_0000))
        };
        arena.hit(&forged.payload(b"not from A").frame());
    }
    // Data that is not acceptable is answered each time: it takes sequence numbers (RFC 9293 3.10.7.4).
    let (replies, packets) = (arena.replies, arena.packets);
    arena.must(replies <= packets, || format!("{replies} replies to {packets} packets"));
    let peak = arena.frames_peak();
    arena.must(peak <= 16, || format!("{peak} frames more than without an attack, 16 at most"));
    let seconds = arena.lab.now().saturating_since(began).as_secs();
    arena.fact(format!(
        "{} dropped for their numbers, {} for their ACK, in {seconds} s",
        arena.count("dropped_unacceptable"),
        arena.count("dropped_bad_ack")
    ));
}

/// One second of the attack: forged RSTs to the victims, in their window (`right`) or not, then as many challenges as the
/// attacker can make B send on connections of its own. Says how many those were.
fn challenges_left(arena: &mut Arena, own: &mut [Rogue], right: bool) -> usize {
    let into_second = arena.lab.now().as_millis() % 1000;
    arena.lab.run_millis(1000 - into_second);
    let honest = arena.as_a();
    let next = honest.seq_of();
    let offset = if right { 777 } else { 0x4000_0000 };
    for _ in 0..50 {
        arena.hit(&honest.clone().flags(Flags::RST).seq(next + offset).frame());
    }
    let mut got = 0;
    for rogue in own {
        let rst = rogue.segment().flags(Flags::RST).seq(rogue.next + 100);
        got += arena.hit(&rst.frame()).iter().filter(|tcp| tcp.dst == rogue.src).count();
    }
    got
}

fn challenge_ack_side_channel(arena: &mut Arena) {
    let mut own: Vec<_> =
        (0..180).filter_map(|port| Rogue::open(arena, 20_000 + port, Options::NONE, 65_535)).collect();
    let opened = own.len();
    arena.must(opened == 180, || format!("{opened} of 180 connections of its own"));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    while arena.packets < arena.wanted {
        with.push(challenges_left(arena, &mut own, true));
        without.push(challenges_left(arena, &mut own, false));
    }
    // The best the attacker can do is to set a threshold: how often is it right?
    let rounds = with.len() + without.len();
    let best = (0..=200)
        .map(|limit| with.iter().filter(|n| **n < limit).count() + without.iter().filter(|n| **n >= limit).count())
        .max()
        .unwrap_or(0);
    let mean = |counts: &[usize]| counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    arena.fact(format!("{best} of {rounds} seconds told apart by the best threshold; chance is a half"));
    arena.fact(format!(
        "challenges on its own connections: {:.1} after right guesses, {:.1} after wrong ones",
        mean(&with),
        mean(&without)
    ));
    let spread = without.iter().collect::<HashSet<_>>().len();
    arena.must(spread * 3 >= without.len(), || {
        format!("the limit of {} seconds has only {spread} values", without.len())
    });
    arena.must(best * 4 <= rounds * 3, || {
        format!("a threshold tells {best} of {rounds} seconds apart, three in four at most")
    });
}

fn sequence_prediction(arena: &mut Arena) {
    let (mut isns, mut hits) = (Vec::new(), 0);
    let (mut last, mut step) = (Seq(0), 0u32);
    while arena.packets + 1 < arena.wanted {
        let src = SocketAddr::new(ATTACKER_ADDR, 10_000 + (arena.packets % 50_000) as u16);
        let syn = Forge::new(src, B, 80).flags(Flags::SYN).seq(Seq(7));
        let answer = arena.hit(&syn.frame());
        let Some(isn) = answer.iter().find(|tcp| tcp.segment.flags.has(Flags::SYN)).map(|tcp| tcp.segment.seq) else {
            arena.must(false, || "a SYN without an answer".to_owned());
            return;
        };
        // The guess: what was seen last and the last step, give or take a window.
        hits += u32::from(isn.0.wrapping_sub(last.0.wrapping_add(step)).wrapping_add(32_768) < 65_536);
        (step, last) = (isn.0.wrapping_sub(last.0), isn);
        isns.push(isn.0);
        arena.hit(&syn.flags(Flags::RST).seq(Seq(8)).frame());
    }
    let distinct = isns.iter().collect::<HashSet<_>>().len();
    let count = isns.len();
    arena.must(distinct + 2 + count / 100 >= count, || format!("{distinct} values in {count}"));
    // 65,536 of 2^32: a hit in 65,536 tries.
    arena.must(hits <= 3, || format!("{hits} of {count} guesses hit a window of 64 KiB"));
    for bit in 0..32 {
        let ones = isns.iter().filter(|isn| (*isn >> bit) & 1 == 1).count();
        let off = ones.abs_diff(count / 2);
        // Six standard deviations of a fair coin.
        let most = (3.0 * (count as f64).sqrt()) as usize;
        arena.must(off <= most, || format!("bit {bit} is set in {ones} of {count}"));
    }
    arena.fact(format!("{count} numbers, {distinct} distinct, {hits} guessed within 64 KiB"));
    // The same two ends again: the clock moves the number on (RFC 6528 3).
    let half_opens = arena.lab.node(B).endpoint.half_opens();
    arena.must(half_opens == 0, || format!("{half_opens} half-open connections"));
}

fn off_path_icmp(arena: &mut Arena) {
    const KINDS: [IcmpErrorKind; 6] = [
        IcmpErrorKind::PortUnreachable,
        IcmpErrorKind::ProtocolUnreachable,
        IcmpErrorKind::HostUnreachable,
        IcmpErrorKind::NetUnreachable,
        IcmpErrorKind::PacketTooBig,
        IcmpErrorKind::SourceQuench,
    ];
    let mut numbers = Numbers(4);
    let flow = arena.lab.seen(arena.victim()).flow;
    let mss_before = arena.lab.info(arena.victim()).map_or(0, |info| info.mss);
    while arena.packets < arena.wanted {
        let kind = KINDS[(arena.packets % 6) as usize];
        // What B would have sent: a guess, never what is in flight.
        let quoted = Forge::new(flow.local, A, flow.remote.port).seq(Seq(numbers.next_u32()));
        arena.hit(&icmp_error(B, ATTACKER_ADDR, kind, 68, &quoted.frame()));
    }
    let (mss, forged, believed) = (
        arena.lab.info(arena.victim()).map_or(0, |info| info.mss),
        arena.count("dropped_icmp_forged"),
        arena.count("icmp_errors_in"),
    );
    arena.must(mss == mss_before, || format!("the segment size went from {mss_before} to {mss}"));
    arena.must(believed == 0, || format!("{believed} guesses were believed"));
    let peak = arena.frames_peak();
    arena.must(peak <= 8, || format!("{peak} frames more than without an attack, 8 at most"));
    arena.fact(format!("{forged} dropped because they quote what is not in flight"));
    // The worst case: it knows the number of a segment that is in flight. The connection stays, and the size has a floor.
    let victim = arena.victim();
    for kind in KINDS {
        arena.lab.send(victim, 1);
        let Some(last) = arena.lab.last_tcp(B) else { continue };
        let quoted = Forge::new(flow.local, A, flow.remote.port).seq(last.segment.seq);
        arena.hit(&icmp_error(B, ATTACKER_ADDR, kind, 68, &quoted.frame()));
        arena.lab.run_millis(50);
    }
    let mss = arena.lab.info(victim).map_or(0, |info| info.mss);
    arena.must(mss >= 48, || format!("a right guess pressed the segment size to {mss}"));
    arena.fact(format!("with a right guess the segment size goes from {mss_before} to {mss} bytes and no lower"));
}
