//! SACK blocks that make a sender search, again and again.

use super::peer::{ABLE, rogue};
use super::{Arena, Attack, Rogue, plain};
use crate::work::{Adversary, Cell, Pattern};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Options;
use corelane_proto::tcp::seq::Seq;

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
            endpoint.configure(id, TcpConfig { send_buffer: window, ..config });
        }
    });
    let mut una = open_window(arena, &mut rogue, window);
    let honest = arena.packets;
    let out = arena.lab.info(rogue.end).map_or(0, |info| info.unacked);
    arena.must(out >= window / 20 * 19, || format!("{out} bytes are out, {window} are wanted"));
    let each = arena.wanted / Pattern::ALL.len() as u64 + 1;
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
            fill(arena, &mut rogue, window);
        }
    }
    let peak = arena.frames_peak();
    arena.must(peak <= segments as usize + 64, || format!("{peak} frames for {segments} segments"));
    let (replies, packets) = (arena.replies, arena.packets);
    arena.must(replies <= 2 * packets, || format!("{replies} segments in answer to {packets} ACKs"));
    let state = arena.lab.state(rogue.end).name();
    arena.must(state == "ESTABLISHED", || format!("the connection is {state}"));
    arena.fact(format!("{out} bytes out, {honest} honest ACKs, {bytes} bytes in answer, {peak} frames at most"));
    arena.victims_keep_pace();
}

/// Honest ACKs until the congestion window holds `window` bytes and they are out. Gives SND.UNA.
fn open_window(arena: &mut Arena, rogue: &mut Rogue, window: u32) -> Seq {
    let mut una = rogue.first;
    loop {
        fill(arena, rogue, window);
        arena.lab.run_millis(10);
        let is_open = arena.lab.info(rogue.end).is_none_or(|info| info.cwnd >= window);
        if is_open || arena.packets >= arena.wanted {
            return una;
        }
        // What goes in answer waits for its own round trip.
        let until = rogue.seen;
        while una.before(until) {
            una = (una + 8 * u32::from(BYTES)).min(until);
            let sent = arena.hit(&rogue.segment().ack(una).frame());
            rogue.look(&sent);
        }
    }
}

/// The application has `window` bytes queued, in full segments.
fn fill(arena: &mut Arena, rogue: &mut Rogue, window: u32) {
    let queued = arena.lab.info(rogue.end).map_or(window, |info| info.unacked + info.unsent);
    let room = window.saturating_sub(queued);
    arena.lab.send(rogue.end, (room - room % u32::from(BYTES)).into());
    let sent = arena.lab.take_stray();
    rogue.look(&sent);
}
