//! SACK blocks that make a sender search, again and again.

use super::peer::{ABLE, rogue};
use super::{Arena, Attack, plain};
use crate::work::{Adversary, Cell, Pattern};
use corelane_proto::tcp::segment::Options;

pub(super) const ATTACKS: &[Attack] = &[Attack {
    name: "sack_flood",
    about: "SACK blocks of thirteen kinds over a window of 4 MB: what an ACK costs does not grow with what is out",
    packets: (5_200, 1_000_000),
    setup: plain,
    run: sack_flood,
}];

/// Bytes of a segment without timestamps.
const BYTES: u16 = 1448;
/// Segments of a window of 4 MB.
const MOST_SEGMENTS: u64 = 4_000_000 / BYTES as u64;
/// The peer offers 65,535 times this window.
const WINDOW_SCALE: u8 = 8;

fn sack_flood(arena: &mut Arena) {
    let options = Options { mss: Some(BYTES), window_scale: Some(WINDOW_SCALE), ..ABLE };
    let Some(mut rogue) = rogue(arena, 30_000, options, 65_535) else { return };
    // The checks of a debug build look at every segment with every ACK: few packets, a small window.
    let segments = (arena.wanted / 50).clamp(100, MOST_SEGMENTS) as u32;
    let window = segments * u32::from(BYTES);
    arena.lab.call(rogue.end, |endpoint, id| {
        if let Some(config) = endpoint.tcp_config(id) {
            endpoint.configure(id, corelane_proto::tcp::config::TcpConfig { send_buffer: 2 * window, ..config });
        }
    });
    let mut una = rogue.first;
    // Honest ACKs open the congestion window.
    while arena.lab.info(rogue.end).is_some_and(|info| info.cwnd < window + window / 4) && arena.packets < arena.wanted {
        arena.lab.send(rogue.end, window.into());
        let mut sent = arena.lab.take_stray();
        rogue.look(&sent);
        arena.lab.run_millis(10);
        while una.before(rogue.seen) && arena.packets < arena.wanted {
            una = (una + 2 * u32::from(BYTES)).min(rogue.seen);
            sent = arena.hit(&rogue.segment().ack(una).frame());
            rogue.look(&sent);
        }
    }
    let honest = arena.packets;
    arena.lab.send(rogue.end, 2 * u64::from(window));
    rogue.look(&arena.lab.take_stray());
    let out = arena.lab.info(rogue.end).map_or(0, |info| info.unacked);
    arena.must(out >= window, || format!("{out} bytes are out, {window} are wanted"));
    let each = arena.wanted.saturating_sub(honest) / Pattern::ALL.len() as u64 + 1;
    let mut bytes = 0;
    for pattern in Pattern::ALL {
        let cell = Cell { pattern, segments, bytes: BYTES, pauses: false, timestamps: false };
        let mut adversary = Adversary::new(&cell, una);
        for _ in 0..each {
            let say = adversary.next_ack(una, rogue.seen);
            una = say.ack;
            let options = Options { sack: say.blocks, ..Options::NONE };
            let sent = arena.hit(&rogue.segment().ack(una).options(options).frame());
            bytes += rogue.look(&sent);
            let acked = arena.lab.info(rogue.end).map_or(0, |info| (2 * window).saturating_sub(info.unacked + info.unsent));
            arena.lab.send(rogue.end, acked.into());
            rogue.look(&arena.lab.take_stray());
        }
    }
    let peak = arena.frames_peak();
    // Twice the window is queued, a frame for each segment.
    arena.must(peak <= 2 * segments as usize + 64, || format!("{peak} frames for {segments} segments"));
    let (replies, packets) = (arena.replies, arena.packets);
    arena.must(replies <= 2 * packets, || format!("{replies} segments in answer to {packets} ACKs"));
    let state = arena.lab.state(rogue.end).name();
    arena.must(state == "ESTABLISHED", || format!("the connection is {state}"));
    arena.fact(format!("{segments} segments out, {honest} honest ACKs, {bytes} bytes in answer, {peak} frames at most"));
    arena.victims_keep_pace();
}
