//! Peers that break the rules.

use super::{Arena, Attack, Rogue, plain};
use crate::lab::B;
use corelane_proto::endpoint::EndpointConfig;
use corelane_proto::tcp::segment::{Options, SackBlocks};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "tiny_segments",
        about: "single bytes with gaps between them fill the reassembly queue (CVE-2018-5390)",
        packets: (20_000, 200_000),
        setup: plain,
        run: tiny_segments,
    },
    Attack {
        name: "sack_with_minimal_mss",
        about: "an MSS of 8 and SACKs of single bytes cut the send queue to pieces (CVE-2019-11477 to 11479)",
        packets: (5_000, 50_000),
        setup: plain,
        run: sack_with_minimal_mss,
    },
    Attack {
        name: "optimistic_acks",
        about: "ACKs of what has not arrived, and of what was never sent",
        packets: (5_000, 50_000),
        setup: plain,
        run: optimistic_acks,
    },
    Attack {
        name: "ack_division",
        about: "each segment acknowledged byte by byte, so that each ACK opens the congestion window (RFC 3465)",
        packets: (5_000, 50_000),
        setup: plain,
        run: ack_division,
    },
    Attack {
        name: "duplicate_ack_spoofing",
        about: "the same ACK again and again inflates the congestion window",
        packets: (5_000, 50_000),
        setup: plain,
        run: duplicate_ack_spoofing,
    },
    Attack {
        name: "shrinking_windows",
        about: "a window that closes, opens by a byte and takes back what it offered",
        packets: (5_000, 50_000),
        setup: plain,
        run: shrinking_windows,
    },
    Attack {
        name: "zero_window_hoarding",
        about: "many connections that ask for much and never open their window (Sockstress)",
        packets: (5_000, 50_000),
        setup: plain,
        run: zero_window_hoarding,
    },
    Attack {
        name: "data_after_close",
        about: "data to a connection that its application has closed",
        packets: (5_000, 50_000),
        setup: few_replies,
        run: data_after_close,
    },
    Attack {
        name: "overlapping_segments",
        about: "the same bytes of the stream sent twice, different ones: the first wins",
        packets: (3_000, 30_000),
        setup: plain,
        run: overlapping_segments,
    },
    Attack {
        name: "slow_reader",
        about: "full speed to an application that does not read: its frames stay, the others keep their share",
        packets: (20_000, 200_000),
        setup: plain,
        run: slow_reader,
    },
];

fn few_replies(_: usize, config: &mut EndpointConfig) {
    config.replies_per_second = 1000;
}

/// The options of a SYN that can do everything.
pub(super) const ABLE: Options =
    Options { mss: Some(1460), window_scale: Some(0), sack_permitted: true, ..Options::NONE };

/// A connection of the attacker, or a broken bound.
pub(super) fn rogue(arena: &mut Arena, port: u16, options: Options, window: u16) -> Option<Rogue> {
    let rogue = Rogue::open(arena, port, options, window);
    arena.must(rogue.is_some(), || "the attacker got no connection".to_owned());
    rogue
}

fn tiny_segments(arena: &mut Arena) {
    let Some(rogue) = rogue(arena, 30_000, ABLE, 65_535) else { return };
    arena.lab.node(B).most_frames = 0;
    let mut at = 0u32;
    while arena.packets < arena.wanted {
        // Every second byte of the window, from its far end on, over and over.
        at = (at + 2) % 60_000;
        arena.hit(&rogue.segment().seq(rogue.next + (60_002 - at)).payload(b"x").frame());
    }
    let peak = arena.frames_peak();
    // Twice what full segments would need, and the victims' own.
    let most = 256 * 1024 / 512 + 64;
    arena.must(peak <= most, || format!("{peak} frames, {most} at most"));
    arena.fact(format!("{peak} frames at most, {} refused for want of room", arena.count("dropped_out_of_order_full")));
}

fn sack_with_minimal_mss(arena: &mut Arena) {
    let options = Options { mss: Some(8), ..ABLE };
    let Some(mut rogue) = rogue(arena, 30_000, options, 65_535) else { return };
    let mss = arena.lab.info(rogue.end).map_or(0, |info| info.mss);
    arena.must(mss >= 48, || format!("segments of {mss} bytes"));
    arena.lab.send(rogue.end, 60_000);
    let mut sent = arena.lab.take_stray();
    let began = arena.lab.now();
    let (mut round, mut bytes) = (0u32, 0);
    while arena.packets < arena.wanted {
        bytes += rogue.look(&sent);
        let mut sack = SackBlocks::EMPTY;
        for i in 0..4 {
            let left = rogue.first + (1 + (round * 4 + i) * 2 % 2000);
            sack.push(left, left + 1);
        }
        round += 1;
        sent = arena.hit(&rogue.segment().ack(rogue.first).options(Options { sack, ..Options::NONE }).frame());
    }
    let peak = arena.frames_peak();
    let queued = 60_000 / usize::from(mss.max(1));
    arena.must(peak <= queued + 64, || format!("{peak} frames for 60,000 bytes in segments of {mss}"));
    let (replies, packets) = (arena.replies, arena.packets);
    let seconds = arena.lab.now().saturating_since(began).as_secs() + 1;
    let most = packets / 2 + 100 * seconds;
    arena.must(replies <= most, || format!("{replies} segments in answer to {packets} SACKs"));
    arena.fact(format!("segments of {mss} bytes, {bytes} bytes sent, {peak} frames at most"));
}

fn optimistic_acks(arena: &mut Arena) {
    let Some(mut rogue) = rogue(arena, 30_000, ABLE, 65_535) else { return };
    let mut sent = Vec::new();
    let mut most_in_flight = 0;
    while arena.packets < arena.wanted {
        arena.lab.send(rogue.end, 20_000);
        sent.extend(arena.lab.take_stray());
        rogue.look(&sent);
        let info = arena.lab.info(rogue.end);
        most_in_flight = most_in_flight.max(info.map_or(0, |info| info.in_flight));
        // One ahead of everything that was sent, one for everything although nothing has had the time to arrive.
        let ahead = rogue.seen + 100_000;
        sent = arena.hit(&rogue.segment().ack(ahead).frame());
        rogue.look(&sent);
        sent.extend(arena.hit(&rogue.segment().frame()));
    }
    let bad = arena.count("dropped_bad_ack");
    arena.must(bad >= arena.packets / 4, || format!("{bad} ACKs of what was never sent were refused"));
    arena.must(most_in_flight <= 65_535, || format!("{most_in_flight} bytes in flight for a window of 65,535"));
    let state = arena.lab.state(rogue.end).name();
    arena.must(state == "ESTABLISHED", || format!("the connection is {state}"));
    arena.fact(format!("{bad} ACKs refused, {most_in_flight} bytes in flight at most, the window offers 65,535"));
}

/// Sends `bytes` to a peer that acknowledges them in pieces of `piece`; says how far the congestion window came.
fn cwnd_after(arena: &mut Arena, port: u16, bytes: u64, piece: u32) -> u32 {
    let Some(mut rogue) = rogue(arena, port, ABLE, 65_535) else { return 0 };
    arena.lab.send(rogue.end, bytes);
    let mut sent = arena.lab.take_stray();
    let mut acked = rogue.first;
    for _ in 0..1_000_000 {
        rogue.look(&sent);
        if acked == rogue.seen {
            break;
        }
        let next = acked + piece;
        acked = if next.before(rogue.seen) { next } else { rogue.seen };
        sent = arena.hit(&rogue.segment().ack(acked).frame());
    }
    let cwnd = arena.lab.info(rogue.end).map_or(0, |info| info.cwnd);
    arena.lab.abort(rogue.end);
    cwnd
}

fn ack_division(arena: &mut Arena) {
    let bytes = arena.wanted.min(14_600);
    let honest = cwnd_after(arena, 30_000, bytes, 1460);
    let mut port = 30_001;
    while arena.packets < arena.wanted {
        let divided = cwnd_after(arena, port, bytes, 4);
        arena.must(divided <= honest + 1460, || format!("a congestion window of {divided} bytes, {honest} in order"));
        if port == 30_001 {
            arena.fact(format!("after {bytes} bytes: cwnd {honest} with an ACK a segment, {divided} with 365"));
        }
        port += 1;
    }
}

fn duplicate_ack_spoofing(arena: &mut Arena) {
    let Some(mut rogue) = rogue(arena, 30_000, Options { sack_permitted: false, ..ABLE }, 65_535) else { return };
    arena.lab.send(rogue.end, 200_000);
    let sent = arena.lab.take_stray();
    let first_flight = rogue.look(&sent);
    let (mut more, mut most_in_flight) = (0, 0);
    let began = arena.lab.now();
    while arena.packets < arena.wanted {
        let sent = arena.hit(&rogue.segment().ack(rogue.first).frame());
        more += rogue.look(&sent);
        most_in_flight = most_in_flight.max(arena.lab.info(rogue.end).map_or(0, |info| info.in_flight));
    }
    // Each duplicate tells of one segment that has left the network: of as many as are out, and not of more.
    arena.must(u64::from(most_in_flight) <= 2 * first_flight, || {
        format!("{most_in_flight} bytes in flight, {first_flight} before the duplicates")
    });
    let seconds = arena.lab.now().saturating_since(began).as_secs() + 1;
    arena.must(more <= 3 * first_flight + 20_000 * seconds, || format!("{more} bytes were sent in answer"));
    arena.fact(format!(
        "{first_flight} bytes in the first flight, {more} in answer, {most_in_flight} in flight at most"
    ));
}

fn shrinking_windows(arena: &mut Arena) {
    let Some(mut rogue) = rogue(arena, 30_000, ABLE, 65_535) else { return };
    arena.lab.send(rogue.end, 200_000);
    let sent = arena.lab.take_stray();
    rogue.look(&sent);
    let mut tiny = 0;
    const WINDOWS: [u16; 8] = [0, 1, 0, 2, 1000, 1, 0, 100];
    let before = arena.replies;
    while arena.packets < arena.wanted {
        rogue.window = WINDOWS[(arena.packets % 8) as usize];
        let acked = rogue.segment().ack(rogue.first).frame();
        let sent = arena.hit(&acked);
        tiny += sent.iter().filter(|tcp| tcp.dst == rogue.src && (2..500).contains(&tcp.segment.len)).count();
    }
    let (replies, packets) = (arena.replies - before, arena.packets);
    arena.must(replies <= packets, || format!("{replies} segments in answer to {packets} windows"));
    let peak = arena.frames_peak();
    arena.must(peak <= 200_000 / 1000 + 64, || format!("{peak} frames for 200,000 bytes"));
    let state = arena.lab.state(rogue.end).name();
    arena.must(state == "ESTABLISHED", || format!("the connection is {state}"));
    arena.fact(format!("{replies} segments in answer, {tiny} of them small"));
}

fn zero_window_hoarding(arena: &mut Arena) {
    let mut own = Vec::new();
    for port in 0..20 {
        if let Some(rogue) = rogue(arena, 30_000 + port, ABLE, 0) {
            arena.lab.send(rogue.end, 200_000);
            own.push(rogue);
        }
    }
    let mut turn = 0;
    while arena.packets < arena.wanted {
        // It acknowledges every probe, so that nobody gives up (RFC 9293 MUST-37).
        let rogue = &own[turn % own.len().max(1)];
        arena.hit(&rogue.segment().ack(rogue.first).frame());
        turn += 1;
    }
    let (free, total) = arena.lab.node(B).frames();
    let held = arena.frames_more();
    arena.must(free * 8 >= total, || format!("{free} of {total} frames are left for everybody else"));
    arena.fact(format!("{held} of {total} frames held by {} connections, {free} free", own.len()));
    arena.victims_keep_pace();
    // The application's way out: it gives them up, and has its memory back.
    for rogue in &own {
        arena.lab.abort(rogue.end);
    }
    arena.lab.run_millis(100);
    let held = arena.frames_more();
    arena.must(held <= 16, || format!("{held} frames are held after the application gave the connections up"));
}

fn data_after_close(arena: &mut Arena) {
    let Some(mut rogue) = rogue(arena, 30_000, ABLE, 65_535) else { return };
    arena.lab.close(rogue.end);
    let sent = arena.lab.take_stray();
    rogue.look(&sent);
    let began = arena.lab.now();
    let before = arena.replies;
    while arena.packets < arena.wanted {
        arena.hit(&rogue.segment().payload(&[0; 1000]).frame());
        rogue.next += 1000;
    }
    let seconds = arena.lab.now().saturating_since(began).as_secs() + 1;
    let (replies, most) = (arena.replies - before, 1000 * (seconds + 1));
    arena.must(replies <= most, || format!("{replies} replies in {seconds} s, {most} at most"));
    let peak = arena.frames_peak();
    arena.must(peak <= 64, || format!("{peak} frames for data that nobody reads"));
    let connections = arena.lab.node(B).endpoint.connections();
    arena.must(connections == 1, || format!("{connections} connections, the victims' alone should be there"));
    arena.fact(format!("{replies} RSTs, {} packets after the close", arena.packets));
}

fn overlapping_segments(arena: &mut Arena) {
    let Some(mut rogue) = rogue(arena, 30_000, ABLE, 65_535) else { return };
    let duplicates = arena.count("dropped_duplicate");
    let mut expected = Vec::new();
    while arena.packets < arena.wanted && expected.len() < 60_000 {
        let at = rogue.next;
        // Ten bytes ahead of a gap, others over their second half and beyond, the same ten again, then the gap.
        arena.hit(&rogue.segment().seq(at + 10).payload(b"aaaaaaaaaa").frame());
        arena.hit(&rogue.segment().seq(at + 15).payload(b"bbbbbbbbbb").frame());
        arena.hit(&rogue.segment().seq(at + 10).payload(b"cccccccccc").frame());
        arena.hit(&rogue.segment().seq(at + 5).payload(b"dddddddddddddddddddd").frame());
        arena.hit(&rogue.segment().seq(at).payload(b"eeeeeeeeee").frame());
        expected.extend_from_slice(b"eeeeedddddaaaaaaaaaabbbbb");
        rogue.next = at + 25;
    }
    let seen = arena.lab.seen(rogue.end);
    let (read, right) = (seen.bytes.len(), seen.bytes == expected);
    arena.must(right, || format!("{read} bytes were read, and they are not those that came first"));
    let rounds = (expected.len() / 25) as u64;
    let counted = arena.count("dropped_duplicate") - duplicates;
    arena.must(counted >= rounds, || format!("{counted} of {rounds} repetitions were counted"));
    arena.fact(format!("{read} bytes as they came first, {counted} segments counted as repetitions"));
}

fn slow_reader(arena: &mut Arena) {
    arena.lab.node(B).appetite = 0;
    let mut own: Vec<_> = (0..8).filter_map(|port| rogue(arena, 30_000 + port, ABLE, 65_535)).collect();
    let mut turn = 0;
    while arena.packets < arena.wanted {
        let at = turn % own.len().max(1);
        let rogue = &mut own[at];
        // Small segments waste most of a frame; what is beyond the window is not taken.
        arena.hit(&rogue.segment().payload(&[7; 100]).frame());
        rogue.next += 100;
        turn += 1;
    }
    let (free, total) = arena.lab.node(B).frames();
    let held = arena.frames_more();
    arena.must(free * 8 >= total, || format!("{free} of {total} frames are left for everybody else"));
    let most: u64 =
        own.iter().map(|rogue| arena.lab.info(rogue.end).map_or(0, |info| u64::from(info.unread))).max().unwrap_or(0);
    arena.must(most <= 256 * 1024, || format!("{most} unread bytes, the buffer has 262,144"));
    arena.fact(format!("{held} of {total} frames held for {} readers that sleep, {free} free", own.len()));
    arena.fact(format!("{} bytes unread at most, {} segments found no room", most, arena.count("dropped_no_buffer")));
    arena.victims_keep_pace();
}
