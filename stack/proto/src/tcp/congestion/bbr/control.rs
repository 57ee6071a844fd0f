//! What comes of the model: the pacing rate (5.6.2) and the window (5.6.4).

use super::super::Ack;
use super::{Bbr, INFINITE, State, part, product_over};
use core::time::Duration;

/// `MinPipeCwnd`, segments.
const MIN_PIPE_SEGMENTS: u32 = 4;
/// Two segments are a quantum; three quanta keep a sender, a path and a receiver busy (5.5.8.1).
const OFFLOAD_BUDGET_SEGMENTS: u32 = 6;
/// What `ProbeBW_UP` may have in flight beyond its gain, segments.
const UP_SEGMENTS: u32 = 2;
/// The part of the bandwidth that is used, per cent: `PacingMarginPercent` is 1.
const PACING_PERCENT: u64 = 99;

/// `InitPacingRate`: Startup's gain on a window in each `rtt`.
pub(super) fn initial_rate(cwnd: u32, rtt: Duration) -> u64 {
    let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
    let rate = u128::from(cwnd) * 1_000_000_000 * u128::from(State::Startup.pacing_gain()) / 100 / u128::from(nanos);
    u64::try_from(rate).unwrap_or(u64::MAX).max(1)
}

impl Bbr {
    /// The first round-trip time takes the place of the millisecond that was assumed.
    pub(super) fn note_first_rtt(&mut self, ack: &Ack) {
        if let Some(srtt) = ack.srtt
            && !self.has_rtt
        {
            self.has_rtt = true;
            self.pacing_rate = initial_rate(self.initial_cwnd, srtt);
        }
    }

    /// `SetPacingRateWithGain`, per cent. Before the pipe was full once, it only ever rises.
    pub(super) fn set_pacing_rate(&mut self, gain: u32) {
        let rate = product_over(self.bw, u64::from(gain) * PACING_PERCENT, 10_000).max(1);
        if self.full_bw_reached || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    pub(super) fn min_pipe_cwnd(&self) -> u32 {
        MIN_PIPE_SEGMENTS * self.mss
    }

    /// `TargetInflight`.
    pub(super) fn target_inflight(&self) -> u32 {
        self.bdp.min(self.cwnd)
    }

    /// `QuantizationBudget`.
    pub(super) fn with_budget(&self, inflight_cap: u32) -> u32 {
        let cap = inflight_cap.max(OFFLOAD_BUDGET_SEGMENTS.max(MIN_PIPE_SEGMENTS) * self.mss);
        if self.state == State::Up { cap.saturating_add(UP_SEGMENTS * self.mss) } else { cap }
    }

    /// `UpdateMaxInflight`.
    fn max_inflight(&self) -> u32 {
        // Without a round-trip time there is no product that a gain could apply to.
        let cap = if self.min_rtt < Duration::MAX { part(self.bdp, self.state.cwnd_gain()) } else { self.initial_cwnd };
        self.with_budget(cap.saturating_add(self.extra_acked.value()))
    }

    /// `ProbeRTTCwnd`.
    pub(super) fn probe_rtt_cwnd(&self) -> u32 {
        part(self.bdp, State::ProbeRtt.cwnd_gain()).max(self.min_pipe_cwnd())
    }

    /// `SetCwnd` (5.6.4.6).
    pub(super) fn set_cwnd(&mut self, ack: &Ack) {
        let max_inflight = self.max_inflight();
        let grown = self.cwnd.saturating_add(ack.delivered);
        if self.full_bw_reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivered < u64::from(self.initial_cwnd) {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.cwnd = self.cwnd.min(self.inflight_cap());
    }

    /// `BoundCwndForModel` (5.6.4.7): the volume cap of each state.
    fn inflight_cap(&self) -> u32 {
        let cap = match self.state {
            State::Startup | State::Drain => INFINITE,
            State::Down | State::Refill | State::Up => self.inflight_longterm,
            State::Cruise | State::ProbeRtt => self.inflight_with_headroom(),
        };
        cap.min(self.inflight_shortterm).max(self.min_pipe_cwnd())
    }

    /// `SaveCwnd` (5.6.4.4).
    pub(super) fn save_cwnd(&mut self) {
        let untouched = !self.recovering && self.state != State::ProbeRtt;
        self.prior_cwnd = if untouched { self.cwnd } else { self.prior_cwnd.max(self.cwnd) };
    }

    /// `RestoreCwnd`.
    pub(super) fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }
}
