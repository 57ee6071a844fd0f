//! Corelane's sender, on an AF_XDP socket of the sender's interface.

use super::sender::{Counted, Ended, PORT, SEED};
use super::world::{OWN, RECEIVER, SENDER_IF};
use crate::failure::Failure;
use crate::transport::corelane::failure;
use crate::workload::pattern;
use corelane::config::{Builder, Config, Mode, Strategy};
use corelane::{App, CloseReason, Conn, ConnId, Core, Instant, Rx, Stack};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How late the end of the transfer is seen at most.
const PACE: Duration = Duration::from_millis(5);
/// More than any path here has under way.
const SEND_BUFFER_BYTES: u32 = 4 << 20;
/// Enough for the send buffer, and for what comes in.
const FRAMES: u32 = 8192;
/// The stack's counter of retransmission time-outs.
const TIME_OUTS: &str = "rto_fired";
/// Its counter of reductions of the window that were taken back; a stack without it takes none back.
const UNDONE: &str = "recoveries_undone";
/// Of its counters, those that say what became of losses begin so.
const TOLD: &[&str] =
    &["retransmit", "fast_retransmit", "bytes_resent", "rto_", "tail_probes", "duplicates_told", "recoveries_undone"];

/// Sends with `algorithm`, or with what there is, until `done`. To be called in the sender's namespace.
pub(super) fn send(algorithm: &str, done: &AtomicBool) -> Result<Ended, Failure> {
    let (builder, used) = match with_congestion(base(), algorithm) {
        Ok(chosen) => chosen,
        Err(why) => return Ok(Ended::Unavailable(why)),
    };
    let config = builder.build().map_err(|error| Failure::Usage(error.to_string()))?;
    let last = Mutex::new(Last::default());
    let app = |_worker| Sender { done, conn: None, sent: 0, last: &last };
    let summary = Stack::builder(config).signals(false).run(app).map_err(|error| failure(&error))?;
    if !summary.all_frames_accounted_for() {
        return Err(Failure::Threshold(format!("the stack has lost frames, which is a bug to report:\n{summary}")));
    }
    let Last { ended, end_of_transfer } = last.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(reason) = ended {
        return Err(Failure::Threshold(format!("Corelane's connection over the path ended early: {}", reason.name())));
    }
    let protocol = summary.protocol();
    let mut own: BTreeMap<String, u64> = protocol
        .iter()
        .filter(|(name, count)| **count > 0 && TOLD.iter().any(|told| name.starts_with(told)))
        .map(|(name, count)| (name.clone(), *count))
        .collect();
    own.extend(end_of_transfer.into_iter().flatten());
    let counted = Counted {
        time_outs: protocol.get(TIME_OUTS).copied().unwrap_or(0),
        undone: protocol.get(UNDONE).copied(),
        own,
    };
    Ok(Ended::Counted(used, counted))
}

/// The stack's settings apart from the congestion control.
fn base() -> Builder {
    Config::builder()
        .interface(SENDER_IF)
        .address(&format!("{OWN}/24"))
        .mode(Mode::Copy)
        .waiting(Strategy::Adaptive)
        // The receiver, the emulator and the kernel share the cores.
        .set("cores.pin", false)
        .set("tcp.send_buffer_bytes", i64::from(SEND_BUFFER_BYTES))
        .set("memory.frame_count", i64::from(FRAMES))
}

/// Chooses the congestion control; says which is used.
fn with_congestion(builder: Builder, algorithm: &str) -> Result<(Builder, String), String> {
    let builder = builder.set("tcp.congestion", algorithm);
    match builder.clone().build() {
        Ok(_) => Ok((builder, algorithm.to_owned())),
        Err(error) => Err(format!("Corelane does not have {algorithm} ({error})")),
    }
}

/// What the application saw at the end.
#[derive(Default)]
struct Last {
    /// Why the connection ended before it should.
    ended: Option<CloseReason>,
    end_of_transfer: Option<[(String, u64); 5]>,
}

/// The application: one connection that is never out of data.
struct Sender<'a> {
    done: &'a AtomicBool,
    conn: Option<ConnId>,
    sent: u64,
    last: &'a Mutex<Last>,
}

impl Sender<'_> {
    fn push(&mut self, conn: &mut Conn<'_>) {
        let mut bytes = [0; 16 * 1024];
        loop {
            pattern::fill(SEED, self.sent, &mut bytes);
            let taken = conn.send_copy(&bytes);
            self.sent += taken as u64;
            if taken < bytes.len() {
                return;
            }
        }
    }
}

impl App for Sender<'_> {
    type State = ();

    /// Nobody knows this sender; what comes in anyway is turned away.
    fn on_accept(&mut self, conn: &mut Conn<'_>) {
        conn.abort();
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_recv(&mut self, _conn: &mut Conn<'_>, (): &mut (), _rx: &mut Rx<'_>) {}

    fn on_writable(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_closed(&mut self, core: &mut Core<'_, ()>, (): (), reason: CloseReason) {
        if !self.done.load(Ordering::Relaxed) {
            self.last.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(reason);
            core.stop();
        }
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        if self.conn.is_none() {
            match core.connect(SocketAddr::from((RECEIVER, PORT)), ()) {
                Ok(id) => self.conn = Some(id),
                Err(_) => {
                    self.last.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(CloseReason::Unreachable);
                    core.stop();
                }
            }
        }
        if self.done.load(Ordering::Relaxed) {
            if let Some(mut conn) = self.conn.and_then(|id| core.conn(id)) {
                let srtt = conn.info().map(|info| {
                    let micros = |time: Option<Duration>| {
                        time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
                    };
                    [
                        ("end_srtt_us", micros(info.srtt)),
                        ("end_min_rtt_us", micros(info.min_rtt)),
                        ("end_cwnd_bytes", u64::from(info.cwnd)),
                        ("end_delivery_rate", info.delivery_rate),
                        ("end_pacing_rate", info.pacing_rate.unwrap_or(0)),
                    ]
                    .map(|(name, value)| (name.to_owned(), value))
                });
                self.last.lock().unwrap_or_else(PoisonError::into_inner).end_of_transfer = srtt;
                conn.abort();
            }
            core.stop();
            return None;
        }
        Some(core.now() + PACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stacks_settings_are_valid() {
        base().build().unwrap();
    }

    #[test]
    fn an_algorithm_that_is_nobodys_is_not_taken_for_another() {
        let why = with_congestion(base(), "nonesuch").expect_err("there is none of that name");
        assert!(why.contains("nonesuch"), "{why}");
        let (_, used) = with_congestion(base(), "bbr").expect("there is one");
        assert_eq!(used, "bbr");
    }
}
