//! The raw server: turns frames round, or takes them.

use super::{BURST, Ends, frame};
use crate::cli::ServeArgs;
use crate::clock::Clock;
use crate::cores;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::transport::ServeSummary;
use crate::workload::ServeKind;
use serde::Serialize;
use std::collections::VecDeque;

/// What a raw server counted.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct RawSummary {
    /// Frames of ours that came.
    pub rx_frames: u64,
    /// Frames that came and were not ours.
    pub rx_others: u64,
    /// Frames sent back.
    pub tx_frames: u64,
    /// System calls that had the kernel send.
    pub tx_kicks: u64,
    /// From the first frame to the last, seconds.
    pub busy_s: f64,
    /// Payload received in that time, bytes a second.
    pub bytes_per_second: f64,
}

/// Serves on `core` until told to stop. `ready` is called once frames reach the socket.
pub fn run_serve(
    args: &ServeArgs,
    core: usize,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<(ServeSummary, RawSummary), Failure> {
    cores::pin(core)?;
    let mut ends = Ends::open(super::interface(&args.stack, false)?)?;
    ready();
    let clock = Clock::new();
    let (mut received, mut to_send, mut sent) =
        (Vec::with_capacity(BURST), VecDeque::with_capacity(BURST), Vec::with_capacity(BURST));
    let (mut raw, mut bytes, mut first, mut last) = (RawSummary::default(), 0, None, 0);
    while !stop.is_raised() {
        if ends.port.rx_burst(&mut received, BURST) > 0 {
            last = clock.now();
            first.get_or_insert(last);
        }
        for mut frame in received.drain(..) {
            let len = frame.len();
            if frame::name(frame.bytes()).is_none() {
                raw.rx_others += 1;
                continue;
            }
            raw.rx_frames += 1;
            bytes += (len - frame::HEADER_LEN) as u64;
            if args.workload == ServeKind::Echo {
                frame::turn_round(&mut frame.buffer_mut()[..len], ends.mac);
                to_send.push_back(frame);
            }
        }
        if !to_send.is_empty() {
            ends.port.tx_burst(&mut to_send);
        }
        ends.port.kick().map_err(|error| Failure::Machine(format!("sending failed: {error}")))?;
        ends.port.reclaim(&mut sent);
        sent.clear();
        ends.port.refill();
    }
    let counters = ends.port.counters();
    (raw.tx_frames, raw.tx_kicks) = (counters.tx_frames, counters.tx_kicks);
    raw.busy_s = first.map_or(0.0, |first| (last - first) as f64 / 1e9);
    raw.bytes_per_second = if raw.busy_s > 0.0 { bytes as f64 / raw.busy_s } else { 0.0 };
    let bytes_out = if args.workload == ServeKind::Echo { bytes } else { 0 };
    Ok((ServeSummary { bytes_in: bytes, bytes_out, ..ServeSummary::default() }, raw))
}
