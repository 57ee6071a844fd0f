//! What a segment does: RFC 9293 3.10.7 in its order.

use super::close::{CloseReason, OnTimeWait, on_time_wait};
use super::effects::{Dropped, Effects};
use super::fast::{self, Fast};
use super::fast_open::Offer;
use super::recv::ack::Patience;
use super::recv::reassembly::Inserted;
use super::segment::{Flags, Segment};
use super::send::window::SendWindow;
use super::seq::Seq;
use super::state::{Event, State};
use super::timers::Timer;
use super::{Tcb, acceptable, coverage, open, options};
use crate::memory::Buf;
use crate::time::Instant;
use core::time::Duration;

impl Tcb {
    /// A segment for this connection has come, with its payload if it has any.
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, payload: Option<Buf>, fx: &mut Effects) {
        if now.saturating_since(self.heard_at) > self.rto.base() {
            self.ack.on_idle(self.config.quick_acks);
        }
        if payload.is_none() && segment.len > 0 {
            // There was no frame to keep it in. The peer learns what is missing.
            self.ack.force();
        }
        let left = match self.predict(now, segment) {
            Some(fast) => self.on_predicted(now, segment, payload, fast, fx),
            None => self.on_unpredicted(now, segment, payload, fx),
        };
        if let Some(unused) = left {
            fx.freed.push(unused.token);
        }
        self.arm_timers(now);
        self.check_consistency();
    }

    /// Which part of RFC 9293 3.10.7 is for the state.
    fn on_unpredicted(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: Option<Buf>,
        fx: &mut Effects,
    ) -> Option<Buf> {
        coverage::segment(self.state, segment);
        match self.state {
            State::Listen => self.on_syn_with_cookie(now, segment, payload, fx),
            State::SynSent => self.on_segment_in_syn_sent(now, segment, payload, fx),
            _ if self.state == State::SynReceived || self.syn_unacked() => {
                let segment = self.as_ack_of_crossed_syn(segment);
                self.spine(now, &segment, payload, fx)
            }
            _ => self.spine(now, segment, payload, fx),
        }
    }

    fn predict(&self, now: Instant, segment: &Segment) -> Option<Fast> {
        if self.state != State::Established
            || self.syn_unacked()
            || self.reassembly.has_gap()
            || self.recovery.is_recovering()
            || self.deaf
        {
            return None;
        }
        match (self.agreed.timestamps, segment.options.timestamps) {
            (true, Some(ts)) if !self.clock.is_old(ts.value, now) => {}
            (false, _) => {}
            _ => return None,
        }
        let expected =
            fast::Expected { next: self.rcv.next(), window: self.rcv.size(), una: self.snd.una(), max: self.snd.nxt() };
        fast::predict(segment, &expected, self.snd_window.is_current(segment.window, segment.seq))
    }

    /// The header was predicted: every check of the spine would pass.
    fn on_predicted(
        &mut self,
        now: Instant,
        s: &Segment,
        data: Option<Buf>,
        fast: Fast,
        fx: &mut Effects,
    ) -> Option<Buf> {
        self.on_heard(now, s);
        if s.ack != self.snd.una() {
            self.on_ack(now, s, false, fx);
        }
        self.snd_window.on_segment(s.window, s.seq, s.ack);
        match fast {
            Fast::Ack => data,
            Fast::Data => self.take_text(now, s.seq, data, fx),
        }
    }

    /// RFC 9293 3.10.7.3. What is left of the payload is given back.
    //= spec/rfc9293.txt#section-3.10.7.3
    //# If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set, if so drop the segment and
    //# return)
    fn on_segment_in_syn_sent(
        &mut self,
        now: Instant,
        s: &Segment,
        data: Option<Buf>,
        fx: &mut Effects,
    ) -> Option<Buf> {
        // First, check the ACK bit.
        let acks_our_syn = self.acks_our_syn(s);
        if s.flags.has(Flags::ACK) && !acks_our_syn {
            fx.reply = open::reset_for(s);
            fx.dropped = Some(Dropped::BadAck);
            return data;
        }
        // Second, check the RST bit.
        if s.flags.has(Flags::RST) {
            if acks_our_syn {
                self.end(CloseReason::Refused);
            } else {
                fx.dropped = Some(Dropped::ByState);
            }
            return data;
        }
        // Third, security: this stack has no compartments. Fourth, check the SYN bit.
        if !s.flags.has(Flags::SYN) {
            fx.dropped = Some(Dropped::ByState);
            return data;
        }
        let ours = options::offer(&self.config, self.link.mss, 0);
        self.on_their_syn(s.seq, &ours, &s.options, now);
        if acks_our_syn {
            self.on_ecn_answer(s);
        } else {
            self.ecn.on_syn(s.flags, s.ecn);
        }
        // What our SYN has offered; a server with Fast Open sends before it has heard more.
        self.rcv.promise(u16::try_from(self.config.first_window()).unwrap_or(u16::MAX));
        self.snd_window = SendWindow::from_syn(s.window, s.seq, s.ack, self.agreed.send_scale);
        self.heard_at = now;
        if !acks_our_syn {
            //= spec/rfc9293.txt#section-3.5
            //# A TCP implementation MUST support simultaneous open attempts (MUST-10).
            // Simultaneous open: our SYN goes again, with the ACK of theirs.
            self.transition(Event::Syn);
            self.syn_due = true;
            self.lose_everything(now);
            self.timers.cancel(Timer::Retransmit);
            return data;
        }
        self.transition(Event::SynAck);
        let lost = self.rto.expiries() > 0;
        self.on_open(now, s);
        self.on_answer_to_offer(now, s, lost, fx);
        self.ack.force();
        // If there are other controls or text in the segment, then continue at the sixth step.
        self.on_urgent(s);
        let left = self.take_text(now, s.seq + 1, data, fx);
        self.on_fin(now, s, fx);
        left
    }

    /// In a simultaneous open both ends answer with a SYN-ACK, and its SYN is the one that has come before. Only its ACK
    /// counts then (RFC 9293 figure 7); by the first step of 3.10.7.4 it would be an old duplicate.
    fn as_ack_of_crossed_syn(&mut self, s: &Segment) -> Segment {
        let again = (self.state == State::SynReceived || self.syn_unacked())
            && s.flags.has(Flags::SYN | Flags::ACK)
            && !s.flags.any(Flags::RST | Flags::FIN)
            && self.acks_our_syn(s)
            && (s.seq, s.len) == (self.irs, 0);
        if !again {
            return *s;
        }
        // The window of a SYN is not scaled; as that of an ACK it is (RFC 7323 2.2).
        let window = s.window >> self.agreed.send_scale;
        self.ecn.on_crossed_syn_ack(s.flags);
        Segment { seq: s.seq + 1, flags: self.ecn.no_news(Flags::ACK), window, ..*s }
    }

    /// The sixth step.
    fn on_urgent(&mut self, s: &Segment) {
        if !s.flags.has(Flags::URG) || !self.state.receives_data() || self.discard {
            return;
        }
        //= spec/rfc9293.txt#section-3.4
        //# A TCP receiver MUST process the RST and URG fields of all
        //# incoming segments, even when the receive window is zero (MUST-66).
        if self.urgent.on_segment(s.seq, s.urgent, self.read_to()) {
            self.news.urgent = true;
        }
    }

    /// Our SYN has been acknowledged: data may flow.
    fn on_open(&mut self, now: Instant, s: &Segment) {
        if self.rto.expiries() > 0 {
            //= spec/rfc6298.txt#section-5
            //# (5.7) If the timer expires awaiting the ACK of a SYN segment and the TCP implementation is using an
            //# RTO less than 3 seconds, the RTO MUST be re-initialized to 3 seconds when data transmission begins
            //# (i.e., after the three-way handshake completes).
            //= spec/rfc5681.txt#section-3.1
            //# if the SYN or SYN/ACK is lost, the initial window used by a sender after a correctly transmitted SYN
            //# MUST be one segment consisting of at most SMSS bytes.
            self.rto.after_lost_syn();
            self.begin_congestion_control(1);
        } else if self.sent_at < now && !self.is_early() {
            self.on_round_trip(now, now.saturating_since(self.sent_at), 1);
        } else if let Some(round_trip) = self
            .echoed(now, s)
            .map(|millis| Duration::from_millis(millis.into()))
            .filter(|&time| self.rto.base().max(time) <= self.config.rto_initial)
        {
            // A listener's SYN-ACK was sent before there was a connection to remember when, and once (or the RTO would
            // be longer); its timestamp comes back. One that is older than the time-out was never sent.
            self.on_round_trip(now, round_trip, 1);
        }
        self.soft_error = false;
        self.rto.on_progress();
        if core::mem::take(&mut self.syn_due) {
            // The SYN-ACK was not sent yet, so nothing has acknowledged the peer's SYN.
            self.ack.force();
        }
        self.timers.cancel(Timer::Retransmit);
        // Our SYN is acknowledged: that is progress.
        self.timers.cancel(Timer::User);
        self.arm_user(now);
        // The application knows already of one that Fast Open has opened.
        self.news.opened |= !self.is_early();
        self.end_unacked();
        if self.snd.is_finished() && self.state == State::Established {
            // The application closed while the handshake was under way.
            self.transition(Event::Close);
        }
        self.offer_room();
    }

    /// How many milliseconds ago the timestamp that `s` echoes was sent.
    //= spec/rfc7323.txt#section-3.2
    //# When the ACK bit is not set, the receiver MUST ignore the value of the TSecr field.
    pub(super) fn echoed(&self, now: Instant, s: &Segment) -> Option<u32> {
        let counts = self.agreed.timestamps && s.flags.has(Flags::ACK);
        let echo = s.options.timestamps.filter(|_| counts)?.echo;
        let millis = self.clock.stamp(now).value.wrapping_sub(echo);
        (millis < 1 << 31).then_some(millis)
    }

    /// RFC 9293 3.10.7.4: every state from SYN-RECEIVED on. What is left of the payload is given back.
    //= spec/rfc9293.txt#section-3.10.7.4
    //# Segments are processed in sequence. Initial tests on arrival are used to discard old duplicates, but further
    //# processing is done in SEG.SEQ order. If a segment's contents straddle the boundary between old and new, only
    //# the new parts are processed.
    fn spine(&mut self, now: Instant, s: &Segment, mut data: Option<Buf>, fx: &mut Effects) -> Option<Buf> {
        if matches!(self.state, State::Closed | State::Listen) {
            fx.dropped = Some(Dropped::ByState);
            return data;
        }
        if self.state == State::TimeWait {
            self.on_segment_in_time_wait(now, s);
            return data;
        }
        //= spec/rfc7323.txt#section-3.2
        //# If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment.
        //= spec/rfc7323.txt#section-3.2
        //# A TCP MUST NOT abort a TCP connection because any segment lacks an expected TSopt.
        if self.agreed.timestamps && options::lacks_timestamps(s) {
            fx.dropped = Some(Dropped::NoTimestamp);
            return data;
        }
        //= spec/rfc7323.txt#section-5.3
        //# Also, PAWS processing MUST take precedence over the regular TCP acceptability check (Section 3.3 in
        //# [RFC0793]), which is performed after verification of the received Timestamps option:
        // First, check the sequence number.
        if self.is_old_duplicate(now, s) {
            fx.dropped = Some(Dropped::Paws);
            self.answer_unacceptable(now, s, fx);
            self.tell_duplicate(s);
            return data;
        }
        if !(acceptable::is_acceptable(s, self.rcv.next(), self.rcv.size()) || self.is_ack_from_edge(s)) {
            fx.dropped = Some(Dropped::Unacceptable);
            //= spec/rfc5961.txt#section-3.2
            //# In all other cases, where the SEQ-field does not match and is outside the window, the receiver MUST
            //# silently discard the segment.
            //= spec/rfc5961.txt#section-3.2
            //# In all other cases the receiver MUST silently discard the segment.
            if !s.flags.has(Flags::RST) {
                self.answer_unacceptable(now, s, fx);
                self.on_heard_unacceptable(now, s);
                self.tell_duplicate(s);
            }
            return data;
        }
        //= spec/rfc9293.txt#section-3.5.3
        //# TCP implementations SHOULD allow a received RST segment to include data (SHLD-2).
        // Second, check the RST bit.
        if s.flags.has(Flags::RST) {
            self.on_reset(now, s, fx);
            return data;
        }
        // Third, security: none. Fourth, check the SYN bit.
        if s.flags.has(Flags::SYN) {
            //= spec/rfc5961.txt#section-4.2
            //# the handling of the SYN in the synchronized state SHOULD be performed as follows:
            //= spec/rfc5961.txt#section-4.2
            //# After sending the acknowledgment, TCP MUST drop the unacceptable segment and stop processing further.
            // In synchronized states and, as RFC 9293 allows, before them.
            self.answer_syn(now, s, fx);
            fx.dropped = Some(Dropped::ByState);
            return data;
        }
        // Fifth, check the ACK field.
        if !self.on_ack_field(now, s, fx) {
            return data;
        }
        // Sixth, check the URG bit.
        self.on_urgent(s);
        // Seventh, process the segment text.
        if let Some(buf) = data.take() {
            data = self.on_text(now, s, buf, fx);
        }
        // Eighth, check the FIN bit.
        self.on_fin(now, s, fx);
        data
    }

    /// The first step's answer to what is not acceptable. A SYN gets no more than a challenge, as it does in the window.
    //= spec/rfc5961.txt#section-4.2
    //# 1) If the SYN bit is set, irrespective of the sequence number, TCP MUST send an ACK (also referred to as
    //# challenge ACK) to the remote peer:
    fn answer_unacceptable(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        if self.is_syn_again(s) || s.flags.has(Flags::SYN) && self.state.is_synchronized() {
            self.answer_syn(now, s, fx);
        } else {
            self.ack.on_unacceptable(now, s.seq_len() == 0, self.config.challenge_interval);
        }
    }

    /// The answer tells of text that had all come before. That its timestamp is old does not matter: what was held on its
    /// way behind its own retransmission is just what the peer has to hear of.
    //= spec/rfc2883.txt#section-4
    //# (2) Each duplicate contiguous sequence of data received is reported
    //# in at most one D-SACK block.
    fn tell_duplicate(&mut self, s: &Segment) {
        let end = s.seq + u32::from(s.len);
        if s.len > 0 && self.agreed.sack && end.at_or_before(self.rcv.next()) {
            self.reassembly.on_duplicate(s.seq, end);
        }
    }

    /// Their SYN again, and they have not heard our SYN-ACK.
    fn is_syn_again(&self, s: &Segment) -> bool {
        (self.state == State::SynReceived || self.is_early())
            && s.flags.without(Flags::ECN) == Flags::SYN
            && s.seq == self.irs
    }

    fn answer_syn(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        if self.is_syn_again(s) {
            self.syn_due = true;
            self.on_ecn_syn_again(now, s, fx);
        } else {
            self.on_ecn_answer_again(s);
            self.challenge(now, fx);
        }
    }

    //= spec/rfc7323.txt#section-5.3
    //# If the PAWS algorithm is used, the following processing MUST be performed on all incoming segments for a
    //# synchronized connection.
    //= spec/rfc7323.txt#section-5.3
    //# It is important to note that the timestamp MUST be checked only when a segment first arrives at the receiver,
    //# regardless of whether it is in sequence or it must be queued for later delivery.
    //= spec/rfc7323.txt#section-5.2
    //# When an <RST> segment is received, it MUST NOT be subjected to the PAWS check by verifying an acceptable value in
    //# SEG.TSval, and information from the Timestamps option MUST NOT be used to update connection state information.
    //= spec/rfc7323.txt#section-3.2
    //# If a TSopt is received on a connection where TSopt was not negotiated in the initial three-way handshake, the
    //# TSopt MUST be ignored and the packet processed normally.
    fn is_old_duplicate(&self, now: Instant, s: &Segment) -> bool {
        self.agreed.timestamps
            && !s.flags.has(Flags::RST)
            && s.options.timestamps.is_some_and(|ts| self.clock.is_old(ts.value, now))
    }

    /// Something valid came from the peer.
    fn on_heard(&mut self, now: Instant, s: &Segment) {
        self.heard_at = now;
        self.on_ecn_packet(s);
        self.keepalive.on_heard();
        self.persist.on_heard();
        if let (true, Some(ts)) = (self.agreed.timestamps, s.options.timestamps) {
            self.clock.on_segment(ts.value, s.seq, self.last_ack_sent, now);
        }
    }

    /// A probe of the peer, or a segment that came twice: it shows at least that the peer is there.
    fn on_heard_unacceptable(&mut self, now: Instant, s: &Segment) {
        if s.flags.has(Flags::ACK) && s.ack.at_or_after(self.snd.una()) && s.ack.at_or_before(self.snd.nxt()) {
            self.heard_at = now;
            self.keepalive.on_heard();
            self.persist.on_heard();
        }
    }

    /// Whether this is an ACK from the last number that has come, and is to be looked at all the same. What stands behind
    /// the window that the peer knows of is not used to number an ACK, and two things go there: a FIN, and the byte that
    /// probes a closed window. Were the ACKs from there not looked at, two ends that have filled each other's window and
    /// closed, or whose probes were both taken, would never hear each other. The ACK from a byte has to say something new:
    /// a keepalive probe is numbered alike, and is no duplicate ACK.
    fn is_ack_from_edge(&self, s: &Segment) -> bool {
        let is_empty = s.len == 0 && !s.flags.any(Flags::SYN | Flags::FIN | Flags::RST);
        if !is_empty || s.seq + 1 != self.rcv.next() {
            return false;
        }
        let opens = self.snd_window.size() == 0 && s.window > 0;
        let acks = s.ack.after(self.snd.una()) && s.ack.at_or_before(self.snd.nxt());
        self.fin_at == Some(s.seq) || self.state.is_synchronized() && s.flags.has(Flags::ACK) && (opens || acks)
    }

    /// An acceptable RST.
    fn on_reset(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        //= spec/rfc5961.txt#section-3.2
        //# Instead, implementations SHOULD implement the following steps in place of those specified in [RFC0793] (as
        //# listed above).
        //= spec/rfc5961.txt#section-3.2
        //# 2) If the RST bit is set and the sequence number exactly matches the next expected sequence number
        //# (RCV.NXT), then TCP MUST reset the connection.
        //= spec/rfc5961.txt#section-4.2
        //# Upon receipt of a valid RST, the local TCP endpoint MUST terminate its connection.
        if s.seq == self.rcv.next() {
            //= spec/rfc9293.txt#section-3.10.7.4
            //# If this connection was initiated with an
            //# active OPEN (i.e., came from SYN-SENT state), then the
            //# connection was refused; signal the user "connection
            //# refused".
            // A passive opener comes here only with an ACK that has already opened it but for its timestamp. It ends
            // too: its listener is another thing and goes on listening, and its application was not told of it.
            let opening = (self.state == State::SynReceived || self.syn_unacked()) && !self.is_early();
            self.end(if opening { CloseReason::Refused } else { CloseReason::Reset });
        } else {
            //= spec/rfc5961.txt#section-3.2
            //# 3) If the RST bit is set and the sequence number does not exactly match the next expected sequence
            //# value, yet is within the current receive window (RCV.NXT < SEG.SEQ < RCV.NXT+RCV.WND), TCP MUST send
            //# an acknowledgment (challenge ACK):
            //= spec/rfc5961.txt#section-3.2
            //# After sending the challenge ACK, TCP MUST drop the unacceptable segment and stop processing the
            //# incoming packet further.
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::ByState);
        }
    }

    /// A challenge ACK. It settles nothing that is owed: the endpoint may have reached its limit and not send it.
    //= spec/rfc9293.txt#section-3.10.7.4
    //# TCP endpoints MUST send an acknowledgment (challenge ACK): <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>
    //= spec/rfc5961.txt#section-1.1
    //# The mitigations suggested in this document SHOULD be implemented in devices that regularly need to maintain TCP
    //# connections of the kind most vulnerable to the attacks described in this document.
    fn challenge(&mut self, now: Instant, fx: &mut Effects) {
        if self.syn_due {
            // Our SYN-ACK says where we are, and before it the peer knows neither our numbers nor how the window is scaled.
            return;
        }
        let may = self.ack.may_challenge(now, self.config.challenge_interval);
        let owed = self.ack;
        fx.reply = may.then(|| self.pure_ack(now));
        self.ack = owed;
        fx.challenge = true;
    }

    /// The fifth step; false when the segment goes no further.
    fn on_ack_field(&mut self, now: Instant, s: &Segment, fx: &mut Effects) -> bool {
        if !s.flags.has(Flags::ACK) {
            fx.dropped = Some(Dropped::NoAck);
            return false;
        }
        if self.state == State::SynReceived {
            if !self.acks_our_syn(s) {
                fx.reply = open::reset_for(s);
                fx.dropped = Some(Dropped::BadAck);
                return false;
            }
            self.transition(Event::AckOfSyn);
            self.offer = Offer::Unacked;
        }
        let opening;
        let mut s = s;
        if self.syn_unacked() && s.ack.after(self.iss) && s.ack.at_or_before(self.snd.nxt()) {
            if !self.is_early() {
                self.snd_window = SendWindow::from_syn(0, s.seq, s.ack, self.agreed.send_scale);
            }
            self.on_open(now, s);
            opening = self.on_ecn_open(s);
            s = &opening;
        }
        if self.syn_unacked() {
            // The FIN has gone after the SYN, but nothing has shown yet that the peer knows our numbers: as in
            // SYN-RECEIVED, its data waits for that.
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::BadAck);
            return false;
        }
        //= spec/rfc5961.txt#section-5.2
        //# All incoming segments whose ACK value doesn't satisfy the above condition MUST be discarded and an ACK sent
        //# back.
        if !acceptable::is_ack_plausible(s.ack, self.snd.una(), self.snd.nxt(), self.snd_window.max()) {
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::BadAck);
            return false;
        }
        self.on_heard(now, s);
        let una = self.snd.una();
        let was_closed = self.snd_window.size() == 0;
        let changed = s.ack.at_or_after(una) && self.snd_window.on_segment(s.window, s.seq, s.ack);
        if was_closed && self.snd_window.size() > 0 {
            self.on_window_opened(now);
        }
        if s.ack.after(una) {
            self.on_ack(now, s, false, fx);
        } else if s.ack == una {
            //= spec/rfc5681.txt#section-2
            //# (d) the acknowledgment number is equal to the greatest acknowledgment received on the given connection
            //# (TCP.UNA from [RFC793]) and (e) the advertised window in the incoming acknowledgment equals the
            //# advertised window in the last incoming acknowledgment.
            // The answers to probes of a closed window fit this too, but tell of no loss.
            let duplicate = s.seq_len() == 0 && self.snd.outstanding() > 0 && !was_closed && !changed;
            if duplicate || self.agreed.sack && !s.options.sack.is_empty() {
                self.on_ack(now, s, duplicate, fx);
            }
        }
        self.state != State::Closed
    }

    /// The peer takes data again: what was probed with may have been dropped there, so it goes again.
    fn on_window_opened(&mut self, now: Instant) {
        self.timers.cancel(Timer::Persist);
        self.persist.on_open();
        self.probe_window = false;
        if !self.recovery.is_fast() {
            self.lose_everything(now);
        }
    }

    /// Everything before `ack` is acknowledged, our FIN too if `fin`.
    pub(super) fn on_progress(&mut self, now: Instant, ack: Seq, fin: bool) {
        //= spec/rfc6298.txt#section-5
        //# (5.2) When all outstanding data has been acknowledged, turn off the retransmission timer.
        //= spec/rfc6298.txt#section-5
        //# (5.3) When an ACK is received that acknowledges new data, restart the retransmission timer so that it will
        //# expire after RTO seconds (for the current value of RTO).
        self.timers.cancel(Timer::Retransmit);
        self.timers.cancel(Timer::User);
        self.urgent_out.on_ack(ack);
        if self.deaf && self.config.linger.is_none() {
            self.limit_close(now);
        }
        if self.wants_room && self.send_room() > 0 {
            self.wants_room = false;
            self.news.writable = true;
        }
        if fin {
            self.on_ack_of_fin(now);
        }
    }

    fn on_ack_of_fin(&mut self, now: Instant) {
        self.transition(Event::AckOfFin);
        match self.state {
            State::FinWait2 if self.deaf => self.limit_close(now),
            State::TimeWait => self.enter_time_wait(now),
            State::Closed => self.end(CloseReason::Finished),
            _ => {}
        }
    }

    /// The seventh step: the text of an acceptable segment. What is left of it is given back.
    fn on_text(&mut self, now: Instant, s: &Segment, mut buf: Buf, fx: &mut Effects) -> Option<Buf> {
        if !self.state.receives_data() {
            //= spec/rfc9293.txt#section-3.10.7.4
            //# This should not occur since a FIN has been received from the remote side. Ignore the segment text.
            fx.dropped = Some(Dropped::ByState);
            return Some(buf);
        }
        let end = s.seq + u32::from(buf.len);
        if self.deaf && end.after(self.rcv.next()) {
            //= spec/rfc1122.txt#section-4.2.2.13
            //# if new data is received after CLOSE is called, its TCP SHOULD send a RST to show that data was lost.
            fx.reply = Some(self.reset(now));
            fx.dropped = Some(Dropped::AfterClose);
            self.end(CloseReason::Aborted);
            return Some(buf);
        }
        let edge = self.rcv.next() + self.rcv.size();
        let edge = self.fin_at.map_or(edge, |fin| edge.min(fin));
        if end.after(edge) {
            let beyond = end.since(edge);
            buf.truncate(u16::try_from(u32::from(buf.len).saturating_sub(beyond)).unwrap_or(0));
            self.ack.force();
        }
        if buf.len == 0 {
            fx.dropped = Some(Dropped::NoBuffer);
            return Some(buf);
        }
        self.take_text(now, s.seq, Some(buf), fx)
    }

    /// Text that lies in the window goes to reassembly.
    pub(super) fn take_text(&mut self, now: Instant, seq: Seq, data: Option<Buf>, fx: &mut Effects) -> Option<Buf> {
        let buf = data?;
        let len = u32::from(buf.len);
        let had_gap = self.reassembly.has_gap();
        // Twice what full segments would need: a sender of tiny segments fills no more frames than that.
        let limit = usize::try_from(self.config.recv_buffer / 512).unwrap_or(usize::MAX).clamp(32, 2048);
        match self.reassembly.insert(self.rcv.next(), seq, buf, limit, &mut |token| fx.freed.push(token)) {
            Inserted::InOrder(n) => {
                self.rcv.on_received(n, n);
                self.tune.on_data(now, self.rcv.next(), self.rcv.size().max(self.rcv.limit() / 2));
                let patience = Patience { delay: self.config.delayed_ack, gap: self.config.ack_gap };
                self.ack.on_data(now, len, self.size.effective(), patience);
                let repeats = self.agreed.sack && self.reassembly.has_duplicate();
                if had_gap || repeats {
                    //= spec/rfc5681.txt#section-4.2
                    //# the receiver SHOULD send an immediate ACK when it receives a data segment that fills in all or
                    //# part of a gap in the sequence space.
                    self.ack.force();
                }
                fx.taken = n;
                self.news.readable = true;
                if self.discard {
                    self.throw_away(now, fx);
                }
            }
            //= spec/rfc9293.txt#section-3.10.7.4
            //# A TCP implementation MAY send an ACK segment acknowledging RCV.NXT when a valid segment arrives that
            //# is in the window but not at the left window edge (MAY-13).
            //= spec/rfc2018.txt#section-4
            //# The receiver SHOULD send an ACK for every valid segment that arrives containing new data, and each of these
            //# "duplicate" ACKs SHOULD bear a SACK option.
            Inserted::Ahead => self.ack.force(),
            Inserted::Duplicate => {
                fx.dropped = Some(Dropped::Duplicate);
                self.ack.force();
            }
            Inserted::Full => {
                fx.dropped = Some(Dropped::OutOfOrderFull);
                self.ack.force();
            }
        }
        None
    }

    /// The eighth step. A FIN counts when everything in front of it has come.
    fn on_fin(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        if s.flags.has(Flags::FIN) && self.fin_at.is_none() && self.state.receives_data() {
            let at = s.end() - 1;
            // A FIN beyond the window is not seen yet: the text in front of it was cut.
            if at.at_or_before(self.rcv.next() + self.rcv.size()) {
                self.fin_at = Some(at);
                // Nothing comes behind a FIN; a peer that says otherwise is not believed.
                self.reassembly.clear_beyond(at, &mut |token| fx.freed.push(token));
            }
            self.ack.force();
        }
        if self.fin_at != Some(self.rcv.next()) || !self.state.receives_data() {
            return;
        }
        self.rcv.on_received(1, 0);
        self.ack.force();
        self.news.peer_closed = true;
        self.transition(Event::Fin);
        if self.state == State::TimeWait {
            self.enter_time_wait(now);
        }
    }

    fn enter_time_wait(&mut self, now: Instant) {
        self.timers.clear();
        //= spec/rfc9293.txt#section-3.6.1
        //# When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL (Maximum
        //# Segment Lifetime) (MUST-13).
        self.timers.arm(Timer::Close, now + 2 * self.config.msl);
    }

    fn on_segment_in_time_wait(&mut self, now: Instant, s: &Segment) {
        match on_time_wait(s, &self.remembered(), self.config.timestamps) {
            OnTimeWait::Ignore => {}
            // This connection still has unread data; its successor has to wait for the application.
            OnTimeWait::Ack | OnTimeWait::Reopen => self.ack.force(),
            OnTimeWait::AckAndRestart => {
                self.ack.force();
                self.enter_time_wait(now);
            }
        }
    }
}
