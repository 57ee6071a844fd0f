//! The machines that probe: for bandwidth (5.3.3) and for the delay without a queue (5.3.4).

use super::super::{Ack, RateSample};
use super::{AckPhase, Bbr, INFINITE, State, part, volume};
use crate::time::Instant;
use core::time::Duration;

/// `ProbeRTTDuration`.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// Rounds after which a probe is due in any case, for the sake of Reno and CUBIC beside it (5.3.3.8.2).
const MAX_PROBE_ROUNDS: u32 = 63;
/// The least wait for a probe, and how much more it is at random, milliseconds.
const PROBE_WAIT_MS: u64 = 2_000;
const PROBE_WAIT_SPREAD_MS: u32 = 1_000;
/// `Headroom`, per cent.
const HEADROOM: u32 = 15;
/// Rounds in which the queue of Startup has to be gone.
const DRAIN_ROUNDS: u32 = 3;

impl Bbr {
    /// `CheckDrainDone` (5.3.2).
    pub(super) fn check_drain_done(&mut self, ack: &Ack) {
        if self.state == State::Drain
            && (ack.in_flight <= self.with_budget(self.bdp)
                || self.round_count.wrapping_sub(self.drain_start_round) > DRAIN_ROUNDS)
        {
            self.start_down(ack.now);
            self.reset_short_term_model();
        }
    }

    /// `StartProbeBW_DOWN`.
    pub(super) fn start_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = INFINITE;
        self.pick_probe_wait();
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::Down;
    }

    fn pick_probe_wait(&mut self) {
        self.rounds_since_probe_up = self.random_below(2);
        let more = u64::from(self.random_below(PROBE_WAIT_SPREAD_MS));
        self.bw_probe_wait = Duration::from_millis(PROBE_WAIT_MS + more);
    }

    /// `StartProbeBW_REFILL`.
    pub(super) fn start_refill(&mut self) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::Refill;
    }

    /// `StartProbeBW_UP`.
    fn start_up(&mut self, rate: &RateSample) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.reset_full_bw(rate.rate());
        self.state = State::Up;
        self.raise_inflight_longterm_slope();
    }

    /// `UpdateProbeBWCyclePhase` (5.3.3.9).
    pub(super) fn update_probe_bw_cycle(&mut self, ack: &Ack, rate: &RateSample, limited: bool) {
        if !self.full_bw_reached || self.adapt_long_term_model(ack, rate, limited) {
            return;
        }
        let state = self.state;
        match state {
            State::Down | State::Cruise if self.is_time_to_probe(ack.now) => self.start_refill(),
            State::Down if self.is_time_to_cruise(ack) => self.state = State::Cruise,
            State::Refill if self.round_start => {
                self.is_bw_probe_sample = true;
                self.start_up(rate);
            }
            State::Up if self.is_time_to_go_down(ack, rate) => {
                self.prev_probe_too_high = false;
                self.start_down(ack.now);
            }
            _ => {}
        }
    }

    /// `AdaptLongTermModel`. Says whether it has changed the state.
    fn adapt_long_term_model(&mut self, ack: &Ack, rate: &RateSample, limited: bool) -> bool {
        if self.ack_phase == AckPhase::ProbeStarting && self.round_start {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.state.is_probe_bw() {
                if !limited {
                    self.max_bw.advance();
                }
                // The careful probe has done no harm: now a whole one.
                if self.prev_probe_precautionary && !self.prev_probe_too_high {
                    self.start_refill();
                    return true;
                }
            }
        }
        if !Self::is_inflight_too_high(rate) && self.inflight_longterm != INFINITE {
            self.inflight_longterm = self.inflight_longterm.max(rate.in_flight_at_send);
            if self.state == State::Up {
                self.probe_inflight_longterm_upward(ack);
            }
        }
        false
    }

    /// `IsTimeToProbeBW`: the wait is over, or Reno would have got its losses by now.
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let reno_rounds = self.target_inflight() / self.mss;
        now > self.cycle_stamp + self.bw_probe_wait || self.rounds_since_probe_up >= reno_rounds.min(MAX_PROBE_ROUNDS)
    }

    /// `IsTimeToCruise`.
    fn is_time_to_cruise(&self, ack: &Ack) -> bool {
        let bdp = if self.min_rtt < Duration::MAX { volume(self.max_bw.value(), self.min_rtt) } else { self.bdp };
        ack.in_flight <= self.inflight_with_headroom() && ack.in_flight <= self.with_budget(bdp)
    }

    /// `IsTimeToGoDown`.
    fn is_time_to_go_down(&mut self, ack: &Ack, rate: &RateSample) -> bool {
        if self.prev_probe_too_high && ack.prior_in_flight >= self.inflight_longterm {
            // So much was too much the last time: wait what comes of it before keeping it up.
            self.prev_probe_precautionary = true;
            return true;
        }
        if ack.cwnd_limited && self.cwnd >= self.inflight_longterm {
            // It is our own limit that holds the bandwidth down.
            self.reset_full_bw(rate.rate());
            return false;
        }
        self.full_bw_now
    }

    /// `InflightWithHeadroom`: leaves room for others.
    pub(super) fn inflight_with_headroom(&self) -> u32 {
        if self.inflight_longterm == INFINITE {
            return INFINITE;
        }
        let headroom = part(self.inflight_longterm, HEADROOM).max(self.mss);
        self.inflight_longterm.saturating_sub(headroom).max(self.min_pipe_cwnd())
    }

    /// `RaiseInflightLongtermSlope`: a segment more in the first round, then two, four, ...
    fn raise_inflight_longterm_slope(&mut self) {
        let growth = 1_u32 << self.bw_probe_up_rounds;
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(30);
        self.probe_up_acked_per_inc = (self.cwnd / growth).max(self.mss);
    }

    /// `ProbeInflightLongtermUpward`.
    fn probe_inflight_longterm_upward(&mut self, ack: &Ack) {
        if !ack.cwnd_limited || self.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(ack.delivered);
        let delta = self.bw_probe_up_acked / self.probe_up_acked_per_inc;
        self.bw_probe_up_acked %= self.probe_up_acked_per_inc;
        self.inflight_longterm = self.inflight_longterm.saturating_add(delta.saturating_mul(self.mss));
        if self.round_start {
            self.raise_inflight_longterm_slope();
        }
    }

    /// `CheckProbeRTT` (5.3.4.3).
    pub(super) fn check_probe_rtt(&mut self, ack: &Ack, rate: &RateSample) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt_done_stamp = None;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(ack);
        }
        if rate.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn handle_probe_rtt(&mut self, ack: &Ack) {
        self.limited_until = self.delivered.saturating_add(u64::from(ack.in_flight));
        if self.probe_rtt_done_stamp.is_none() {
            if ack.in_flight <= self.probe_rtt_cwnd() {
                self.probe_rtt_done_stamp = Some(ack.now + PROBE_RTT_DURATION);
                self.probe_rtt_round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done {
            self.check_probe_rtt_done(ack.now);
        }
    }

    /// `CheckProbeRTTDone` and `ExitProbeRTT` (5.3.4.4).
    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt_done_stamp.is_none_or(|done| now <= done) {
            return;
        }
        self.probe_rtt_min_stamp = now;
        self.restore_cwnd();
        self.reset_short_term_model();
        if self.full_bw_reached {
            // Little is in flight: there is nothing to wait for in DOWN, but the clock of the next probe begins.
            self.start_down(now);
            self.state = State::Cruise;
        } else {
            self.state = State::Startup;
        }
    }
}
