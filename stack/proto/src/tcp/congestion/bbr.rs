//! BBR version 3: a model of the path, made of the bandwidth, delay and loss that it measures, says how fast to send and
//! how much may be in flight (draft-ietf-ccwg-bbr-06). Names and section numbers are that draft's.
//!
//! It paces, and it decides on the window in recovery by itself. Where it differs from the draft:
//!
//! - There is no segmentation offload, so the send quantum is two segments at any rate, and `offload_budget` six (5.6.3).
//! - An undo goes back to before the recovery, not to before the last round with a loss (5.5.11.1).
//! - Lost ranges are counted as the ACKs that found something lost, since a segment's place is not known here (5.3.1.3).
//! - The short-term bounds come down only after a round that has lost more than `LossThresh`, 2 %, as a probe does. By the
//!   draft any loss brings them down by as much as 30 % until the next probe, a few seconds or 63 rounds later (5.5.10.3):
//!   a path that loses one of a thousand at random then has three quarters of its bandwidth.
//! - What Startup has overfilled does not lower them either: they begin when its queue is drained.
//! - A loss in the round also means a window in which CE was echoed; the draft ignores marks.
//! - What `ProbeRTT` delivers is taken for limited by the application here, not by the sampler (5.3.4.3).
//! - The window that `extra_acked` is the greatest of covers five to ten rounds, not ten (5.5.9).
//! - Selective acknowledgement is taken for granted; without it, what is lost is underestimated (5.3.1.3, 5.5.10.2).
//! - Whether in-flight data reaches `inflight_longterm` in `ProbeBW_UP` is judged before the ACK, after which there is
//!   always room.
//!
//! In fast recovery the window is the model's, as in the draft since its version 02. The packet conservation of the first
//! round that earlier versions had is left out: where each round loses a segment, each is the first of a recovery, and the
//! window never grows back.

mod control;
mod filter;
mod probe;
mod signals;

use super::{Ack, Cause, CongestionControl, Lost, RateSample, Sent};
use crate::time::Instant;
use core::time::Duration;
use filter::{ExtraAcked, MaxBandwidth};

/// Where the machine is (5.1, 5.6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Doubles the rate each round, until the pipe is full.
    Startup,
    /// Drains the queue that this has made.
    Drain,
    /// `ProbeBW_DOWN`: sends less than is delivered, until there is room.
    Down,
    /// `ProbeBW_CRUISE`: sends as much as is delivered.
    Cruise,
    /// `ProbeBW_REFILL`: fills the pipe for a round, before it probes.
    Refill,
    /// `ProbeBW_UP`: sends more than is delivered, to see whether there is more bandwidth.
    Up,
    /// Keeps little in flight, to see the delay without a queue.
    ProbeRtt,
}

impl State {
    /// `pacing_gain`, per cent.
    const fn pacing_gain(self) -> u32 {
        match self {
            Self::Startup => 277,
            Self::Drain => 50,
            Self::Down => 90,
            Self::Cruise | Self::Refill | Self::ProbeRtt => 100,
            Self::Up => 125,
        }
    }

    /// `cwnd_gain`, per cent.
    const fn cwnd_gain(self) -> u32 {
        match self {
            Self::Startup | Self::Drain | Self::Down | Self::Cruise | Self::Refill => 200,
            Self::Up => 225,
            Self::ProbeRtt => 50,
        }
    }

    const fn is_probe_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// `IsProbingBW`.
    const fn is_probing(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }
}

/// What the ACKs of now tell of the last probe for bandwidth (5.3.3.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// What an undo restores (5.5.11.1).
#[derive(Clone, Copy, Debug)]
struct Undo {
    /// The recovery that it was saved for is going on.
    saved: bool,
    /// The state that the recovery has made it leave.
    state: Option<State>,
    bw_shortterm: u64,
    inflight_shortterm: u32,
    inflight_longterm: u32,
}

/// No bound.
const INFINITE_BW: u64 = u64::MAX;
const INFINITE: u32 = u32::MAX;

/// The model of the path and the machine that probes it. Rates are bytes a second, volumes bytes.
#[derive(Clone, Debug)]
pub struct Bbr {
    state: State,
    mss: u32,
    initial_cwnd: u32,
    cwnd: u32,
    /// The last window that no recovery and no `ProbeRTT` has made smaller.
    prior_cwnd: u32,
    pacing_rate: u64,
    /// There was a round-trip time to reckon the first pacing rate from.
    has_rtt: bool,
    /// A loss recovery is going on, by fast recovery or after a time-out.
    recovering: bool,
    undo: Undo,
    random: u32,

    // Rounds (5.5.1).
    /// `C.delivered`.
    delivered: u64,
    next_round_delivered: u64,
    round_count: u32,
    round_start: bool,

    // The model's rates (5.5.2 to 5.5.6, 5.5.10.3).
    max_bw: MaxBandwidth,
    bw: u64,
    bw_latest: u64,
    bw_shortterm: u64,

    // The model's volumes.
    bdp: u32,
    inflight_latest: u32,
    inflight_shortterm: u32,
    inflight_longterm: u32,
    extra_acked: ExtraAcked,

    // Full pipe (5.3.1.2, 5.3.1.3).
    full_bw: u64,
    full_bw_count: u8,
    full_bw_now: bool,
    full_bw_reached: bool,
    drain_start_round: u32,

    // Loss rounds (5.5.10).
    loss_round_delivered: u64,
    loss_round_start: bool,
    is_loss_in_round: bool,
    /// CE was echoed in it.
    is_marked_in_round: bool,
    /// Bytes found lost in it, and `C.delivered` when it began.
    lost_in_round: u32,
    loss_round_began: u64,
    /// ACKs of this loss round that found something lost.
    loss_events: u8,

    // Probing for bandwidth (5.3.3).
    ack_phase: AckPhase,
    cycle_stamp: Instant,
    bw_probe_wait: Duration,
    rounds_since_probe_up: u32,
    bw_probe_up_rounds: u8,
    bw_probe_up_acked: u32,
    probe_up_acked_per_inc: u32,
    is_bw_probe_sample: bool,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,

    // The delay without a queue (5.3.4, 5.5.7).
    min_rtt: Duration,
    min_rtt_stamp: Instant,
    probe_rtt_min_delay: Duration,
    probe_rtt_min_stamp: Instant,
    probe_rtt_expired: bool,
    probe_rtt_done_stamp: Option<Instant>,
    probe_rtt_round_done: bool,
    idle_restart: bool,
    /// What was sent before so many bytes had been delivered was held back by `ProbeRTT`.
    limited_until: u64,
}

impl Bbr {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one). `seed` decides how long it waits
    /// between probes.
    pub fn new(mss: u16, initial_segments: u8, seed: u32) -> Self {
        let mss = u32::from(mss.max(1));
        let initial_cwnd = mss * u32::from(initial_segments.max(1));
        Self {
            state: State::Startup,
            mss,
            initial_cwnd,
            cwnd: initial_cwnd,
            prior_cwnd: initial_cwnd,
            pacing_rate: control::initial_rate(initial_cwnd, Duration::from_millis(1)),
            has_rtt: false,
            recovering: false,
            undo: Undo {
                saved: false,
                state: None,
                bw_shortterm: INFINITE_BW,
                inflight_shortterm: INFINITE,
                inflight_longterm: INFINITE,
            },
            // xorshift stays at zero for ever.
            random: if seed == 0 { 0x9E37_79B9 } else { seed },
            delivered: 0,
            next_round_delivered: 0,
            round_count: 0,
            round_start: false,
            max_bw: MaxBandwidth::new(),
            bw: 0,
            bw_latest: 0,
            bw_shortterm: INFINITE_BW,
            bdp: initial_cwnd,
            inflight_latest: 0,
            inflight_shortterm: INFINITE,
            inflight_longterm: INFINITE,
            extra_acked: ExtraAcked::new(),
            full_bw: 0,
            full_bw_count: 0,
            full_bw_now: false,
            full_bw_reached: false,
            drain_start_round: 0,
            loss_round_delivered: 0,
            loss_round_start: false,
            is_loss_in_round: false,
            is_marked_in_round: false,
            lost_in_round: 0,
            loss_round_began: 0,
            loss_events: 0,
            ack_phase: AckPhase::Init,
            cycle_stamp: Instant::ZERO,
            bw_probe_wait: Duration::ZERO,
            rounds_since_probe_up: 0,
            bw_probe_up_rounds: 0,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: INFINITE,
            is_bw_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            min_rtt: Duration::MAX,
            min_rtt_stamp: Instant::ZERO,
            probe_rtt_min_delay: Duration::MAX,
            probe_rtt_min_stamp: Instant::ZERO,
            probe_rtt_expired: false,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            idle_restart: false,
            limited_until: 0,
        }
    }

    /// `UpdateModelAndState` (5.2.3).
    fn update_model(&mut self, ack: &Ack, rate: &RateSample) {
        let limited = rate.app_limited || rate.prior_delivered < self.limited_until;
        let bw = rate.rate();
        self.update_latest_delivery_signals(rate, bw);
        self.update_congestion_signals(rate, bw, limited);
        self.extra_acked.on_ack(ack, self.bw, self.cwnd, self.full_bw_reached, self.round_start);
        self.check_full_bw_reached(bw, limited);
        self.check_startup_done(ack, rate);
        self.check_drain_done(ack);
        self.update_probe_bw_cycle(ack, rate, limited);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack, rate);
        self.advance_latest_delivery_signals(rate, bw);
        self.bound_bw_for_model();
    }

    /// `StartRound`.
    fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    /// A number below `limit`.
    fn random_below(&mut self, limit: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % limit
    }
}

/// `percent` of `bytes`.
fn part(bytes: u32, percent: u32) -> u32 {
    u32::try_from(u64::from(bytes) * u64::from(percent) / 100).unwrap_or(u32::MAX)
}

/// What a rate of `bw` delivers in `time`.
fn volume(bw: u64, time: Duration) -> u32 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    u32::try_from(product_over(bw, nanos, 1_000_000_000)).unwrap_or(u32::MAX)
}

/// `a * b / over`, at most 2^64 - 1.
fn product_over(a: u64, b: u64, over: u64) -> u64 {
    match a.checked_mul(b) {
        // Always, on a path that there is: 100 Gbit/s and a second are 2^63. A division of 128 bits takes much longer.
        Some(product) => product / over,
        None => u64::try_from(u128::from(a) * u128::from(b) / u128::from(over)).unwrap_or(u64::MAX),
    }
}

impl CongestionControl for Bbr {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// BBR has none.
    fn ssthresh(&self) -> u32 {
        u32::MAX
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn governs_recovery(&self) -> bool {
        true
    }

    /// `HandleRestartFromIdle` (5.4.1).
    fn on_sent(&mut self, sent: &Sent) {
        self.delivered = sent.delivered_total;
        if sent.prior_in_flight > 0 || !sent.app_limited {
            return;
        }
        self.idle_restart = true;
        self.extra_acked.restart(sent.now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(sent.now);
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.delivered = ack.delivered_total;
        if !ack.recovering {
            // Also when an undo was the end of it.
            (self.recovering, self.undo.saved) = (false, false);
        }
        self.note_first_rtt(ack);
        if ack.lost > 0 {
            self.loss_events = self.loss_events.saturating_add(1);
        }
        match &ack.rate {
            Some(rate) => self.update_model(ack, rate),
            None => (self.round_start, self.loss_round_start) = (false, false),
        }
        self.set_pacing_rate(self.state.pacing_gain());
        self.set_cwnd(ack);
    }

    fn on_segment_lost(&mut self, lost: &Lost) {
        self.delivered = lost.delivered_total;
        self.handle_lost(lost);
    }

    fn on_congestion(&mut self, _now: Instant, cause: Cause, _flight: u32) {
        match cause {
            Cause::Loss => {
                self.save_cwnd();
                self.recovering = true;
            }
            Cause::Ecn => {
                self.note_loss();
                self.is_marked_in_round = true;
            }
        }
    }

    fn on_recovered(&mut self, _now: Instant, _in_flight: u32) {
        if self.recovering {
            self.restore_cwnd();
        }
        self.recovering = false;
        self.undo.saved = false;
    }

    fn on_time_out(&mut self, _now: Instant, _flight: u32, _first: bool) {
        self.save_state();
        self.save_cwnd();
        // Enough for one segment: what was in flight no longer counts as that.
        self.cwnd = self.mss;
        self.recovering = true;
    }

    fn on_undo(&mut self, _now: Instant) {
        self.handle_spurious_loss();
    }

    /// Nothing: the window stays and pacing spreads it over a round-trip time (5.4.2). What a restart needs is done when
    /// the first segment leaves.
    fn on_idle(&mut self, _now: Instant, _idle: Duration, _rto: Duration) {}

    fn set_mss(&mut self, mss: u16) {
        self.mss = u32::from(mss.max(1));
        self.cwnd = self.cwnd.max(self.mss);
    }
}

#[cfg(test)]
mod tests;
