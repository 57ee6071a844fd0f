//! What an ACK does to what was sent: the number and the SACK blocks of a segment go to the queue, what they deliver to the
//! machines that find out what was lost, and the sum of it to the congestion control.

use super::Tcb;
use super::congestion::{Ack, Cause, CongestionControl, Lost};
use super::ecn::Told;
use super::effects::Effects;
use super::loss::delivery::Delivery;
use super::loss::dsack::{self, Duplicate};
use super::loss::prr::Prr;
use super::loss::recovery::{OnDuplicate, OnProgress};
use super::loss::tlp::{OnAck, Tlp};
use super::segment::Segment;
use super::send::queue::{Acked, SendQueue};
use super::seq::Seq;
use super::timers::Timer;
use super::transmission::{Delivered, Loss};
use crate::time::Instant;
use core::time::Duration;

/// How things stood before an ACK.
#[derive(Clone, Copy)]
struct Before {
    una: Seq,
    in_flight: u32,
    outstanding: u32,
    sacked: u32,
    recovering: bool,
}

/// What an ACK has brought.
struct News {
    acked: Acked,
    delivery: Delivery,
    /// Bytes delivered; without SACK a duplicate stands for a segment.
    delivered: u32,
    rtt: Option<Duration>,
    progress: Option<OnProgress>,
    lost: u32,
    /// What it tells of marks.
    marks: Told,
}

impl Tcb {
    /// The fifth step's ACK, whose number lies between SND.UNA and SND.NXT. `duplicate` when it is one by RFC 5681 2.
    pub(super) fn on_ack(&mut self, now: Instant, s: &Segment, duplicate: bool, fx: &mut Effects) {
        let before = self.before();
        let advances = s.ack.after(before.una);
        let repeated = self.repeated(s, before.una);
        let echo = self.echoed_millis(now, s);
        let mut news = self.take_delivery(now, s, echo, repeated.is_some(), fx);
        if let Some(rtt) = news.rtt {
            self.on_round_trip(now, rtt, before.outstanding);
        }
        let (newest, original) = (news.delivery.newest(), news.delivery.lowest_original());
        self.rack.on_delivery(now, newest, original, news.delivery.highest());
        let mut spurious = advances && self.undo.on_echo(s.ack, echo);
        if let Some(Duplicate { start, end, segments }) = repeated {
            self.rack.on_duplicate_sack(end, self.snd.una(), self.snd.nxt());
            spurious |= self.undo.on_duplicate_sack(start, segments);
            self.counts.duplicates += segments;
            fx.duplicates += segments;
        }
        if advances {
            self.rto.on_progress();
            self.soft_error = false;
            self.undo.on_progress(s.ack);
            news.progress = Some(self.recovery.on_progress(s.ack, news.acked.chunks));
            if news.progress == Some(OnProgress::Repaired) {
                self.frto.end();
            }
        }
        if advances || duplicate || news.delivered > 0 {
            let original = news.delivery.highest_original().is_some_and(|end| self.recovery.began_behind(end));
            let may_send = self.frto.is_on() && self.has_sendable();
            spurious |= self.frto.on_ack(advances, original, may_send);
        }
        news.marks = self.ecn_told(s, news.delivered, duplicate);
        //= spec/rfc4015.txt#section-3.4
        //# This is unless the acceptable ACK signals congestion through the ECN-Echo flag [RFC3168]. In that case, the TCP
        //# sender MUST refrain from reversing congestion control state.
        if spurious && !news.marks.congested {
            self.undo_recovery(now, fx);
        } else {
            self.find_losses(now, s, duplicate, &before, &mut news, fx);
        }
        self.heed(now, news.marks, before.outstanding);
        self.tell_congestion_control(now, s, &before, &news);
        if advances {
            self.on_progress(now, s.ack, news.acked.fin);
        }
        if advances || news.delivered > 0 {
            self.watch_tail(now);
        }
    }

    /// How things stand.
    fn before(&self) -> Before {
        Before {
            una: self.snd.una(),
            in_flight: self.in_flight(),
            outstanding: self.snd.outstanding(),
            sacked: self.snd.sacked(),
            recovering: self.recovery.is_recovering(),
        }
    }

    /// Takes the number and the blocks. `echo` is the millisecond whose timestamp `s` echoes; `repeats` if the first block
    /// tells of a duplicate.
    fn take_delivery(&mut self, now: Instant, s: &Segment, echo: Option<u64>, repeats: bool, fx: &mut Effects) -> News {
        let advances = s.ack.after(self.snd.una());
        let mut delivery = Delivery::new(now, echo, self.min_rtt.get());
        let mut acked = Acked::default();
        let mut told = |segment: &Delivered<'_>| delivery.on_segment(segment);
        if advances {
            acked = self.snd.on_ack(s.ack, &mut |token| fx.freed.push(token), &mut told);
        }
        if self.agreed.sack {
            let (una, nxt) = (self.snd.una(), self.snd.nxt());
            for &(start, end) in s.options.sack.as_slice() {
                if start.after(una) && end.after(start) && end.at_or_before(nxt) {
                    self.snd.on_sack(start, end, &mut told);
                }
            }
        }
        //= spec/rfc6298.txt#section-3
        //# A TCP implementation MUST take at least one RTT measurement per RTT (unless that is not possible per
        //# Karn's algorithm).
        // Where it is not, the timestamp tells which of two transmissions has arrived. When it tells of an earlier one, that
        // may have come late, or long ago, its ACK got lost, and a duplicate is answered: then the time between is ours. A
        // D-SACK says so; without SACK nothing does, so only the last transmission counts.
        let is_of_the_path = |echo: u64| {
            let is_last = delivery.stamp().is_some_and(|stamp| echo >= stamp.at.as_millis());
            is_last || self.agreed.sack && !repeats
        };
        let by_timestamp = || {
            let echo = echo.filter(|echo| advances && is_of_the_path(*echo))?;
            Some(Duration::from_millis((now.as_millis() - echo).max(1)))
        };
        let rtt = delivery.rtt().or_else(by_timestamp);
        let marks = Told::default();
        News { acked, delivered: delivery.bytes(), delivery, rtt, progress: None, lost: 0, marks }
    }

    /// A round-trip time was measured, with `outstanding` bytes out.
    //= spec/rfc6298.txt#section-2
    //# After the computation, a host MUST update RTO <- SRTT + max (G, K*RTTVAR)
    pub(super) fn on_round_trip(&mut self, now: Instant, rtt: Duration, outstanding: u32) {
        let expected = outstanding.div_ceil(2 * u32::from(self.size.effective()).max(1));
        self.rtt.on_sample(rtt, expected);
        self.rto.on_estimate(self.rtt.time_out());
        self.min_rtt.on_sample(now, rtt);
        self.tlp.on_sample();
    }

    /// The millisecond of our clock in which the timestamp went that `s` echoes.
    fn echoed_millis(&self, now: Instant, s: &Segment) -> Option<u64> {
        now.as_millis().checked_sub(self.echoed(now, s)?.into())
    }

    /// What a D-SACK of `s` tells of.
    fn repeated(&self, s: &Segment, una: Seq) -> Option<Duplicate> {
        let blocks = Some(s.options.sack.as_slice()).filter(|blocks| self.agreed.sack && !blocks.is_empty())?;
        let (window, mss) = (self.snd_window.max(), self.size.effective().into());
        dsack::find(blocks, s.ack, &dsack::Sent::new(self.iss, una, self.snd.nxt(), window, mss))
    }

    /// What RACK, or without SACK the third duplicate, finds lost; and whether recovery begins with it.
    fn find_losses(
        &mut self,
        now: Instant,
        s: &Segment,
        duplicate: bool,
        before: &Before,
        news: &mut News,
        fx: &mut Effects,
    ) {
        match news.progress {
            Some(OnProgress::Recovered) => {
                self.congestion.on_recovered(now, self.in_flight());
                self.leave_recovery(now);
            }
            Some(OnProgress::Repaired) => self.leave_recovery(now),
            _ => {}
        }
        let mss = u32::from(self.size.effective());
        if self.agreed.sack {
            news.lost = self.detect(now);
        } else if duplicate {
            match self.recovery.on_duplicate(self.snd.una(), self.snd.sent_segments()) {
                OnDuplicate::Lost => (news.delivered, news.lost) = (mss, self.lose_front(now)),
                OnDuplicate::Counted => news.delivered = mss,
                OnDuplicate::Ignored => {}
            }
        } else if news.progress == Some(OnProgress::Partial) && self.recovery.is_fast() && !news.acked.cuts {
            // An ACK of a part of the segment that has just gone again says nothing of the next one: a peer that
            // divides its ACKs gets no segment for each.
            news.lost = self.lose_front(now);
        }
        let repaired = self.tlp.on_ack(s.ack, self.tells_needless_probe(s, duplicate)) == OnAck::Repaired;
        if news.lost > 0 && self.recovery.on_loss(self.snd.nxt()) {
            self.begin_recovery(now, before, fx);
        } else if repaired && !self.recovery.is_recovering() {
            // The probe has done the work of a recovery that is over as soon as it began.
            self.congestion.on_congestion(now, Cause::Loss, self.flight_to_reduce(before.outstanding));
            self.congestion.on_recovered(now, self.in_flight());
            self.ecn.on_reduced();
            self.counts.recoveries += 1;
        }
    }

    /// Whether there is data that was never sent and the peer's window takes.
    pub(super) fn has_sendable(&self) -> bool {
        let place = self.snd.next_new().and_then(|index| self.snd.place_of(index));
        place.is_some_and(|(offset, len, _)| offset.saturating_add(len.into()) <= self.snd_window.size())
    }

    /// Whether an ACK says that a probe's original had arrived (RFC 8985 7.4.2, cases 1 and 2).
    fn tells_needless_probe(&self, s: &Segment, duplicate: bool) -> bool {
        let Some(end) = self.tlp.probe_end() else { return false };
        let in_block = s.options.sack.as_slice().first().is_some_and(|(_, right)| *right == end && s.ack == end);
        in_block || duplicate && s.options.sack.is_empty()
    }

    //= spec/rfc2018.txt#section-5.1
    //# However, the congestion control algorithms present in the de facto standard TCP implementations MUST be preserved
    //# [Stevens94].
    fn begin_recovery(&mut self, now: Instant, before: &Before, fx: &mut Effects) {
        //= spec/rfc5681.txt#section-3.2
        //# When [RFC3042] is in use, additional data sent in limited transmit MUST NOT be included in this
        //# calculation.
        // Nothing beyond the window counts.
        if self.reduces_for_loss() {
            self.congestion.on_congestion(now, Cause::Loss, self.flight_to_reduce(before.outstanding));
        }
        // RFC 9937 6.1: what had been SACKed before is not delivered in recovery.
        self.prr = Prr::new(before.outstanding.saturating_sub(before.sacked), self.size.effective().into());
        self.undo.begin(self.snd.una());
        self.tlp.reset();
        self.counts.recoveries += 1;
        fx.fast_retransmit = true;
    }

    /// What a reduction is reckoned from, when `outstanding` bytes are out: that, or in a window that was not filled
    /// lately what RFC 7661 4.4.1 takes for it; nothing beyond the window.
    pub(super) fn flight_to_reduce(&self, outstanding: u32) -> u32 {
        let cwnd = self.congestion.cwnd();
        self.validation.flight(cwnd, outstanding).min(cwnd)
    }

    /// Whether the window may grow when `outstanding` bytes were out: all of it was in use, or half of it, now and lately
    /// (RFC 7661 4.3).
    fn is_window_used(&self, outstanding: u32) -> bool {
        let (cwnd, mss) = (self.congestion.cwnd(), u32::from(self.size.effective()));
        outstanding.saturating_add(mss) > cwnd || outstanding >= cwnd / 2 && self.validation.is_validated(cwnd)
    }

    fn leave_recovery(&mut self, now: Instant) {
        self.validation.on_recovered(now);
        self.rack.on_recovered();
        // D-SACKs of what went again come a round trip later.
        self.undo.expire_at(self.snd.nxt());
    }

    /// Recovery was needless: the window becomes what it was, and what waits to go again is on its way.
    //= spec/rfc4015.txt#section-3.4
    //# However, once the TCP sender detects that the loss recovery has been
    //# falsely triggered, this reduction proves unnecessary.  We therefore
    //# believe that it is safe to revert to the previous congestion control
    //# state
    fn undo_recovery(&mut self, now: Instant, fx: &mut Effects) {
        self.congestion.on_undo(now);
        let bytes = self.snd.unlose();
        self.rate.on_unlost(bytes);
        if self.recovery.is_recovering() {
            self.rack.on_recovered();
        }
        self.recovery.end();
        self.frto.end();
        self.undo.on_undone(self.snd.nxt());
        self.counts.undone += 1;
        fx.undone = true;
    }

    /// The segment at SND.UNA is lost. Gives its bytes.
    fn lose_front(&mut self, now: Instant) -> u32 {
        self.losing(now, |snd, lost| snd.lose_front(lost))
    }

    /// Marks as lost what RACK says is. Gives its bytes, and arms the timer for what is not decided.
    pub(super) fn detect(&mut self, now: Instant) -> u32 {
        if self.snd.outstanding() == 0 && !self.reordering {
            // Nothing can be lost. The window is adapted when the next ACK leaves something open.
            return 0;
        }
        let strict =
            self.recovery.is_recovering() || self.snd.sacked_segments() >= u32::from(self.recovery.threshold());
        self.rack.adapt_window(self.min_rtt.get(), self.rtt.smoothed(), strict);
        let rack = self.rack;
        let mut again = None;
        let lost = self.losing(now, |snd, lost| again = snd.find_lost(|at, end| rack.judge(now, at, end), lost));
        if let Some(at) = again {
            self.timers.arm(Timer::Loss, at);
            self.reordering = true;
        } else if self.reordering {
            self.timers.cancel(Timer::Loss);
            self.reordering = false;
        }
        lost
    }

    /// Lets `find` mark segments as lost and tells the congestion control of each. Gives their bytes.
    pub(super) fn losing(&mut self, now: Instant, find: impl FnOnce(&mut SendQueue, &mut dyn FnMut(&Loss))) -> u32 {
        let Self { snd, rate, congestion, .. } = self;
        let mut sum = 0;
        find(snd, &mut |loss: &Loss| {
            sum += loss.bytes;
            let lost_since = rate.on_lost(loss.bytes, &loss.stamp);
            congestion.on_segment_lost(&Lost {
                now,
                bytes: loss.bytes,
                in_flight_at_send: loss.stamp.in_flight,
                lost_since,
                delivered_total: rate.delivered(),
                app_limited: loss.stamp.app_limited,
            });
        });
        self.counts.lost_bytes += u64::from(sum);
        sum
    }

    fn tell_congestion_control(&mut self, now: Instant, s: &Segment, before: &Before, news: &News) {
        if news.delivered == 0 && news.lost == 0 {
            return;
        }
        let sample = news.delivery.stamp().and_then(|stamp| {
            let min_rtt = self.min_rtt.get();
            self.rate.on_delivered(now, news.delivered, stamp, min_rtt)
        });
        let in_flight = self.in_flight();
        let ack = Ack {
            now,
            delivered: news.delivered,
            acked: s.ack.since(before.una),
            lost: news.lost,
            delivered_total: self.rate.delivered(),
            prior_in_flight: before.in_flight,
            in_flight,
            //= spec/rfc3168.txt#section-6.1.2
            //# The sending TCP SHOULD NOT increase the congestion window in response to the receipt of an ECN-Echo ACK packet.
            cwnd_limited: self.is_window_used(before.outstanding) && !news.marks.congested,
            recovering: before.recovering || self.recovery.is_recovering(),
            rtt: news.rtt,
            srtt: self.rtt.smoothed(),
            min_rtt: self.min_rtt.get(),
            rate: sample,
            ce: news.marks.bytes,
        };
        self.congestion.on_ack(&ack);
        if !ack.recovering {
            self.validation.on_ack(now, ack.acked, ack.srtt);
            if self.validation.poll_decay(now, self.congestion.cwnd()) {
                self.congestion.on_unvalidated();
            }
        }
        if self.recovery.is_fast() {
            let is_safe = ack.acked > 0 && ack.lost == 0;
            let (ssthresh, mss) = (self.congestion.ssthresh(), u32::from(self.size.effective()));
            self.prr.on_ack(ack.delivered, in_flight, ssthresh, mss, is_safe);
        }
    }

    /// Arms the timer of the tail-loss probe, if one is to be thought of.
    //= spec/rfc8985.txt#section-7.2
    //# The sender SHOULD start or
    //# restart a loss probe PTO timer after transmitting new data (that was
    //# not itself a loss probe) or upon receiving an ACK that cumulatively
    //# acknowledges new data unless it is already in fast recovery, RTO
    //# recovery, or segments have been SACKed
    pub(super) fn watch_tail(&mut self, now: Instant) {
        if self.reordering {
            return;
        }
        let applies = self.agreed.sack
            && self.config.tail_loss_probe
            && self.snd.outstanding() > 0
            && self.snd_window.size() > 0
            && !self.syn_unacked()
            && !self.recovery.is_recovering()
            && self.snd.sacked_segments() == 0
            && self.tlp.may_probe();
        if !applies {
            self.timers.cancel(Timer::Loss);
            return;
        }
        let alone = self.snd.outstanding() <= u32::from(self.size.effective());
        let (srtt, learned) = (self.rtt.smoothed(), self.rtt.time_out());
        let time = Tlp::time_out(srtt, learned, alone, self.config.peer_ack_delay).max(self.config.probe_min);
        let rto = self.timers.deadline(Timer::Retransmit).unwrap_or(now + self.rto.current());
        self.timers.arm(Timer::Loss, Tlp::deadline(now, time, rto));
    }

    /// The timer for losses has come: for what RACK has not decided, or for the tail.
    pub(super) fn on_loss_timer(&mut self, now: Instant, fx: &mut Effects) {
        if core::mem::take(&mut self.reordering) {
            let before = self.before();
            if self.detect(now) > 0 && self.recovery.on_loss(self.snd.nxt()) {
                self.begin_recovery(now, &before, fx);
            }
        } else if self.tlp.may_probe() && self.snd.outstanding() > 0 && !self.recovery.is_recovering() {
            (self.probe_tail, fx.tail_probe) = (true, true);
        }
        //= spec/rfc8985.txt#section-7.3
        //# After attempting to send a loss probe, regardless of whether a loss
        //# probe was sent, the sender MUST re-arm the RTO timer, not the PTO
        //# timer, if the FlightSize is not zero.
        if self.snd.outstanding() > 0 {
            self.timers.arm(Timer::Retransmit, now + self.rto.current());
        }
    }

    /// Bytes in the network (RFC 6675's pipe); without SACK each duplicate ACK stands for a segment that has left it.
    pub(super) fn in_flight(&self) -> u32 {
        let left = u32::from(self.recovery.duplicates()) * u32::from(self.size.effective());
        self.snd.pipe().saturating_sub(left)
    }

    /// What may be in the network: the congestion window, or in fast recovery what PRR makes of it.
    pub(super) fn window_in_force(&self) -> u32 {
        if self.recovery.is_fast() && !self.congestion.governs_recovery() {
            self.in_flight().saturating_add(self.prr.allowed())
        } else {
            self.congestion.cwnd()
        }
    }
}
