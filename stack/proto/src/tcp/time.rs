//! What happens by itself: expired timers, and which of them run.

use super::Tcb;
use super::close::CloseReason;
use super::congestion::CongestionControl;
use super::effects::Effects;
use super::keepalive::OnExpiry;
use super::state::{Event, State};
use super::timers::Timer;
use super::trouble::Trouble;
use crate::time::Instant;

impl Tcb {
    /// When [`on_time`](Self::on_time) wants to be called at the latest; it may be called at any time.
    pub fn deadline(&self) -> Option<Instant> {
        let timers = self.timers.earliest();
        match (timers, self.ack.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Time has passed. Says whether the retransmission timer fired.
    pub fn on_time(&mut self, now: Instant, fx: &mut Effects) -> bool {
        if self.timers.take_expired(Timer::User, now) {
            //= spec/rfc9293.txt#section-3.10.8
            //# For any state if the user timeout expires, flush all queues,
            //# signal the user "error: connection aborted due to user timeout"
            //# in general and for any outstanding calls, delete the TCB, enter
            //# the CLOSED state, and return.
            self.end(CloseReason::TimedOut);
            return false;
        }
        if self.timers.take_expired(Timer::Loss, now) {
            // It goes before the time-out, which may be due with it: a probe puts that off.
            self.on_loss_timer(now, fx);
        }
        self.timers.take_expired(Timer::Pace, now);
        let mut retransmits = false;
        if self.timers.take_expired(Timer::Retransmit, now) {
            self.on_retransmission_time_out(now);
            retransmits = true;
        }
        if self.timers.take_expired(Timer::Persist, now) {
            self.on_persist_time_out(now);
        }
        if self.timers.take_expired(Timer::Keepalive, now) {
            self.on_keepalive_time_out(now);
        }
        if self.timers.take_expired(Timer::Cork, now) {
            self.uncorked = true;
        }
        if self.timers.take_expired(Timer::Close, now) {
            self.on_close_time_out(now, fx);
        }
        self.arm_timers(now);
        self.check_consistency();
        retransmits
    }

    //= spec/rfc6298.txt#section-5
    //# (5.4) Retransmit the earliest segment that has not been acknowledged by the TCP receiver.
    //= spec/rfc6298.txt#section-5
    //# (5.6) Start the retransmission timer, such that it expires after RTO seconds (for the value of RTO after the
    //# doubling operation outlined in 5.5).
    fn on_retransmission_time_out(&mut self, now: Instant) {
        //= spec/rfc9293.txt#section-3.8.3
        //# SYN retransmissions MUST be handled in the general way just described for data retransmissions, including
        //# notification of the application layer.
        if matches!(self.state, State::SynSent | State::SynReceived) {
            if self.rto.expiries() >= self.config.syn_retries {
                self.end(self.why_silent());
                return;
            }
            //= spec/rfc1122.txt#section-4.2.3.1
            //# Retransmission of SYN segments SHOULD use the same algorithm as data segments.
            self.rto.on_expiry(now);
            self.tell_of_r1();
            self.syn_due = true;
            self.lose_everything(now);
            return;
        }
        let first = self.rto.expiries() == 0;
        self.rto.on_expiry(now);
        //= spec/rfc9293.txt#section-3.8.3
        //# (c) When the number of transmissions of the same segment reaches a threshold R2 greater than R1, close the
        //# connection.
        //= spec/rfc9293.txt#section-3.8.3
        //# The following procedure MUST be used to handle excessive retransmissions of data segments (MUST-20):
        if self.rto.silent_for(now) >= self.config.give_up_after {
            self.end(self.why_silent());
            return;
        }
        self.tell_of_r1();
        self.syn_due |= self.syn_unacked();
        self.congestion.on_time_out(now, self.flight_to_reduce(self.snd.outstanding()), first);
        self.ecn.on_reduced();
        self.frto.on_time_out(self.recovery.is_recovering(), self.agreed.sack);
        self.recovery.on_time_out(self.snd.nxt());
        if first {
            self.undo.begin(self.snd.una());
        }
        self.tlp.reset();
        self.timers.cancel(Timer::Loss);
        (self.probe_tail, self.reordering) = (false, false);
        self.counts.time_outs += 1;
        //= spec/rfc2018.txt#section-5
        //# The data sender MUST retransmit the segment at the left edge of the window after a retransmit timeout, whether
        //# or not the SACKed bit is on for that segment.
        // What the peer has SACKed is believed for one time-out more, unless the segment at the left edge is among it:
        // mostly it still holds it, and RFC 6675 5.1 goes on with what is known.
        if self.snd.is_reneged() || !first {
            self.snd.forget_sacks();
        }
        if self.agreed.sack {
            let before = now - self.rack.patience();
            self.losing(now, |snd, lost| snd.lose_all(before, lost));
        } else {
            self.lose_everything(now);
        }
    }

    /// Whatever is out has to go again.
    pub(super) fn lose_everything(&mut self, now: Instant) {
        self.losing(now, |snd, lost| snd.lose_all(now, lost));
    }

    /// Why the peer has not answered: nobody knows, or somebody on the way has said so since it last did.
    fn why_silent(&self) -> CloseReason {
        if self.soft_error { CloseReason::Unreachable } else { CloseReason::TimedOut }
    }

    /// Lingering, FIN-WAIT-2 or TIME-WAIT is over.
    fn on_close_time_out(&mut self, now: Instant, fx: &mut Effects) {
        match self.state {
            State::TimeWait => {
                self.transition(Event::TimeWaitOver);
                self.end(CloseReason::Finished);
            }
            // The peer has everything of ours and never says that it has finished.
            State::FinWait2 => self.end(CloseReason::TimedOut),
            // What has not arrived is given up, and the peer learns that something is missing.
            _ => self.abort_for(now, CloseReason::TimedOut, fx),
        }
    }

    /// Whether the segment that timed out last has just been sent again as often as R1 says: the way to the peer is in
    /// doubt.
    pub fn has_reached_r1(&self) -> bool {
        self.rto.expiries() == self.config.r1_retransmits
    }

    //= spec/rfc9293.txt#section-3.8.3
    //# (e)  TCP implementations SHOULD inform the application of the
    //# delivery problem (unless such information has been disabled by
    //# the application; see the "Asynchronous Reports" section
    //# (Section 3.9.1.8)), when R1 is reached and before R2 (SHLD-9).
    fn tell_of_r1(&mut self) {
        if self.has_reached_r1() {
            self.news.trouble = Some(Trouble::Retransmitting);
        }
    }

    fn on_persist_time_out(&mut self, now: Instant) {
        //= spec/rfc9293.txt#section-3.8.6.1
        //# As long as the receiving TCP peer continues to send acknowledgments in response to the probe segments, the
        //# sending TCP peer MUST allow the connection to stay open (MUST-37).
        if self.persist.silent_for(now) >= self.config.give_up_after {
            self.end(CloseReason::TimedOut);
            return;
        }
        self.persist.on_probe(now);
        self.lose_everything(now);
        self.probe_window = true;
    }

    fn on_keepalive_time_out(&mut self, now: Instant) {
        let Some(config) = self.config.keepalive else { return };
        if self.keepalive.deadline(&config, self.heard_at, self.heard_at) > now {
            return;
        }
        match self.keepalive.on_expiry(&config) {
            OnExpiry::Probe => {
                self.probe_peer = true;
                self.timers.arm(Timer::Keepalive, now + config.interval);
            }
            OnExpiry::GiveUp => self.end(CloseReason::TimedOut),
        }
    }

    /// What waits cannot be sent because nobody knows the way: it is tried again like what got lost.
    pub fn on_blocked(&mut self, now: Instant) {
        self.blocked = true;
        self.arm_timers(now);
    }

    /// Starts and stops timers so that a connection with something to do has one.
    pub(super) fn arm_timers(&mut self, now: Instant) {
        match self.state {
            State::Closed | State::Listen | State::TimeWait => return,
            State::SynSent | State::SynReceived => {
                // A SYN that cannot leave counts as sent and lost, or the attempt would never end.
                if !self.syn_due || self.blocked {
                    self.timers.arm_if_idle(Timer::Retransmit, now + self.rto.current());
                }
                self.arm_user(now);
                return;
            }
            _ => {}
        }
        if !self.snd.has_unsent() {
            self.timers.cancel(Timer::Cork);
            if self.snd.outstanding() == 0 {
                self.timers.cancel(Timer::Persist);
                self.timers.cancel(Timer::Pace);
            }
        }
        if self.blocked && self.snd.has_unsent() {
            // It counts as sent and lost: trying again, and giving up, go by the same clock.
            self.timers.arm_if_idle(Timer::Retransmit, now + self.rto.current());
        } else if self.snd.outstanding() == 0 && !self.syn_unacked() {
            self.timers.cancel(Timer::Retransmit);
        } else if self.snd_window.size() == 0 && !self.syn_unacked() {
            //= spec/rfc9293.txt#section-3.8.6
            //# SHOULD NOT time out the connection if data beyond the right window edge is not acknowledged (SHLD-17).
            //= spec/rfc9293.txt#section-3.8.6
            //# If the window shrinks to zero, the TCP implementation MUST probe it in the standard way (described
            //# below) (MUST-35).
            // What is out is a probe, or lies behind an edge that the peer took back: probing goes on, and it is
            // the peer's silence that ends it, not the number of time-outs.
            self.timers.cancel(Timer::Retransmit);
            let interval = self.persist.interval(self.rto.base(), self.config.rto_max);
            self.timers.arm_if_idle(Timer::Persist, now + interval);
        } else {
            self.timers.arm_if_idle(Timer::Retransmit, now + self.rto.current());
        }
        self.arm_user(now);
        if let Some(config) = self.config.keepalive {
            //= spec/rfc9293.txt#section-3.8.4
            //# Keep-alive packets MUST only be sent when no sent data is outstanding, and no data or acknowledgment
            //# packets have been received for the connection within an interval (MUST-26).
            if self.snd.outstanding() > 0 || self.snd.has_unsent() {
                self.timers.cancel(Timer::Keepalive);
            } else {
                let at = self.keepalive.deadline(&config, self.heard_at, now);
                // An answered probe brings the time of the next one forward where `interval` is longer than `idle`.
                self.timers.arm_by(Timer::Keepalive, at);
            }
        }
    }

    /// The user time-out runs while something waits to be acknowledged, sent or not, and begins anew with progress.
    pub(super) fn arm_user(&mut self, now: Instant) {
        let Some(limit) = self.config.user_timeout else { return };
        let waits = !self.state.is_synchronized() || self.snd.outstanding() > 0 || self.snd.has_unsent();
        if waits {
            self.timers.arm_if_idle(Timer::User, now + limit);
        } else {
            self.timers.cancel(Timer::User);
        }
    }
}
