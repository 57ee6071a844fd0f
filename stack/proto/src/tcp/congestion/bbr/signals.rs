//! What is measured: rounds, rates, delays, losses.

use super::super::{Ack, Lost, RateSample};
use super::{Bbr, INFINITE, INFINITE_BW, State, part, volume};
use crate::time::Instant;
use core::time::Duration;

/// `LossThresh` is 2 %: more than one of so many is too much.
const LOSS_THRESH_ONE_OF: u64 = 50;
/// `Beta`, per cent.
const BETA: u32 = 70;
/// Rounds without a quarter more bandwidth, after which the pipe is full.
const FULL_BW_ROUNDS: u8 = 3;
/// `BBRStartupFullLossCnt`.
const FULL_LOSS_COUNT: u8 = 6;
/// `MinRTTFilterLen`.
const MIN_RTT_FILTER: Duration = Duration::from_secs(10);
/// `ProbeRTTInterval`.
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

/// `IsInflightTooHigh`: of `in_flight` bytes `lost` were.
fn is_too_high(lost: u32, in_flight: u32) -> bool {
    u64::from(lost) * LOSS_THRESH_ONE_OF > u64::from(in_flight)
}

impl Bbr {
    /// `UpdateLatestDeliverySignals`.
    pub(super) fn update_latest_delivery_signals(&mut self, rate: &RateSample, bw: u64) {
        self.bw_latest = self.bw_latest.max(bw);
        self.inflight_latest = self.inflight_latest.max(rate.delivered);
        self.loss_round_start = rate.prior_delivered >= self.loss_round_delivered;
        if self.loss_round_start {
            self.loss_round_delivered = self.delivered;
        }
    }

    /// `AdvanceLatestDeliverySignals`.
    pub(super) fn advance_latest_delivery_signals(&mut self, rate: &RateSample, bw: u64) {
        if self.loss_round_start {
            self.bw_latest = bw;
            self.inflight_latest = rate.delivered;
        }
    }

    /// `ResetCongestionSignals`.
    pub(super) fn reset_congestion_signals(&mut self) {
        self.begin_loss_round();
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }

    /// `UpdateCongestionSignals`.
    pub(super) fn update_congestion_signals(&mut self, rate: &RateSample, bw: u64, limited: bool) {
        self.update_round(rate);
        if bw > 0 && (bw >= self.max_bw.value() || !limited) {
            self.max_bw.add(bw);
        }
        if !self.loss_round_start {
            return;
        }
        if self.is_loss_in_round && !self.state.is_probing() && self.is_round_too_lossy() {
            self.lower_bounds();
        }
        self.begin_loss_round();
    }

    /// Whether the loss round that is over has lost more than `LossThresh` of what it has sent, or was marked.
    fn is_round_too_lossy(&self) -> bool {
        let delivered = self.delivered.saturating_sub(self.loss_round_began);
        let sent = delivered.saturating_add(self.lost_in_round.into());
        self.is_marked_in_round || u64::from(self.lost_in_round) * LOSS_THRESH_ONE_OF > sent
    }

    fn begin_loss_round(&mut self) {
        self.is_loss_in_round = false;
        self.is_marked_in_round = false;
        self.lost_in_round = 0;
        self.loss_round_began = self.delivered;
    }

    fn update_round(&mut self, rate: &RateSample) {
        self.round_start = rate.prior_delivered >= self.next_round_delivered;
        if self.round_start {
            self.start_round();
            self.round_count = self.round_count.wrapping_add(1);
            self.rounds_since_probe_up = self.rounds_since_probe_up.saturating_add(1);
        }
    }

    /// `InitLowerBounds` and `LossLowerBounds`: the round that is over has lost something.
    fn lower_bounds(&mut self) {
        if self.bw_shortterm == INFINITE_BW {
            self.bw_shortterm = self.max_bw.value();
        }
        if self.inflight_shortterm == INFINITE {
            self.inflight_shortterm = self.cwnd;
        }
        self.bw_shortterm = self.bw_latest.max(self.bw_shortterm / 100 * u64::from(BETA));
        self.inflight_shortterm = self.inflight_latest.max(part(self.inflight_shortterm, BETA));
    }

    /// `ResetShortTermModel`.
    pub(super) fn reset_short_term_model(&mut self) {
        self.bw_shortterm = INFINITE_BW;
        self.inflight_shortterm = INFINITE;
    }

    /// `BoundBWForModel`.
    pub(super) fn bound_bw_for_model(&mut self) {
        self.bw = self.max_bw.value().min(self.bw_shortterm);
        if self.min_rtt < Duration::MAX {
            self.bdp = volume(self.bw, self.min_rtt);
        }
    }

    /// `ResetFullBW`, with `bw` as what is to be surpassed.
    pub(super) fn reset_full_bw(&mut self, bw: u64) {
        self.full_bw = bw;
        self.full_bw_count = 0;
        self.full_bw_now = false;
    }

    /// `CheckFullBWReached` (5.3.1.2).
    pub(super) fn check_full_bw_reached(&mut self, bw: u64, limited: bool) {
        if self.full_bw_now || !self.round_start || limited {
            return;
        }
        if bw >= self.full_bw.saturating_add(self.full_bw / 4) {
            self.reset_full_bw(bw);
            return;
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= FULL_BW_ROUNDS;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// `CheckStartupDone`.
    pub(super) fn check_startup_done(&mut self, ack: &Ack, rate: &RateSample) {
        if self.state == State::Startup {
            self.check_startup_high_loss(ack, rate);
            if self.full_bw_reached {
                self.state = State::Drain;
                self.drain_start_round = self.round_count;
            }
        }
        if self.loss_round_start {
            self.loss_events = 0;
        }
    }

    /// `CheckStartupHighLoss` (5.3.1.3): a loss round that began with the recovery is over.
    fn check_startup_high_loss(&mut self, ack: &Ack, rate: &RateSample) {
        if !self.full_bw_reached
            && self.loss_round_start
            && ack.recovering
            && self.loss_events >= FULL_LOSS_COUNT
            && is_too_high(rate.lost, rate.in_flight_at_send)
        {
            self.undo.state = Some(State::Startup);
            self.full_bw_reached = true;
            self.inflight_longterm = self.bdp.max(self.inflight_latest);
        }
    }

    /// `UpdateMinRTT` (5.3.4.3).
    pub(super) fn update_min_rtt(&mut self, ack: &Ack) {
        // The clock begins with the first sample.
        let known = self.probe_rtt_min_delay < Duration::MAX;
        self.probe_rtt_expired = known && ack.now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = ack.rtt
            && (rtt < self.probe_rtt_min_delay || self.probe_rtt_expired)
        {
            self.probe_rtt_min_delay = rtt;
            self.probe_rtt_min_stamp = ack.now;
        }
        let expired = ack.now > self.min_rtt_stamp + MIN_RTT_FILTER;
        if self.probe_rtt_min_delay < self.min_rtt || expired {
            self.min_rtt = self.probe_rtt_min_delay;
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    /// `IsInflightTooHigh` for what an ACK has sampled.
    pub(super) fn is_inflight_too_high(rate: &RateSample) -> bool {
        is_too_high(rate.lost, rate.in_flight_at_send)
    }

    /// `NoteLoss`.
    pub(super) fn note_loss(&mut self) {
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
            self.loss_round_began = self.delivered;
        }
        self.is_loss_in_round = true;
    }

    /// `HandleLostPacket` (5.5.10.2).
    pub(super) fn handle_lost(&mut self, lost: &Lost) {
        self.save_state();
        self.note_loss();
        self.lost_in_round = self.lost_in_round.saturating_add(lost.bytes);
        if self.is_bw_probe_sample && is_too_high(lost.lost_since, lost.in_flight_at_send) {
            self.handle_inflight_too_high(lost.now, inflight_at_loss(lost), lost.app_limited);
        }
    }

    /// `HandleInflightTooHigh`: a probe has lost too much, once.
    fn handle_inflight_too_high(&mut self, now: Instant, in_flight: u32, limited: bool) {
        self.prev_probe_too_high = true;
        self.is_bw_probe_sample = false;
        if !limited {
            self.inflight_longterm = in_flight.max(part(self.target_inflight(), BETA));
        }
        if self.state == State::Up {
            self.undo.state = Some(State::Up);
            self.start_down(now);
        }
    }

    /// `SaveStateUponLoss` (5.5.11.1), at the beginning of a recovery.
    pub(super) fn save_state(&mut self) {
        if self.undo.saved || self.recovering {
            return;
        }
        self.save_cwnd();
        self.undo.saved = true;
        self.undo.state = None;
        self.undo.bw_shortterm = self.bw_shortterm;
        self.undo.inflight_shortterm = self.inflight_shortterm;
        self.undo.inflight_longterm = self.inflight_longterm;
    }

    /// `HandleSpuriousLossDetection` (5.5.11.2).
    pub(super) fn handle_spurious_loss(&mut self) {
        self.recovering = false;
        self.undo.saved = false;
        self.restore_cwnd();
        self.is_loss_in_round = false;
        self.reset_full_bw(0);
        self.bw_shortterm = self.bw_shortterm.max(self.undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(self.undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(self.undo.inflight_longterm);
        match self.undo.state.take() {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_bw_reached = false;
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::Up) if !matches!(self.state, State::Up | State::ProbeRtt) => self.start_refill(),
            _ => {}
        }
    }
}

/// `InflightAtLoss`: what was in flight when losses passed the threshold, which may have been within the segment.
fn inflight_at_loss(lost: &Lost) -> u32 {
    let in_flight = lost.in_flight_at_send.saturating_sub(lost.bytes);
    let before = u64::from(lost.lost_since.saturating_sub(lost.bytes));
    // (0.02 * in_flight - before) / (1 - 0.02)
    let prefix = u64::from(in_flight).saturating_sub(before * LOSS_THRESH_ONE_OF) / (LOSS_THRESH_ONE_OF - 1);
    in_flight.saturating_add(u32::try_from(prefix).unwrap_or(u32::MAX))
}
