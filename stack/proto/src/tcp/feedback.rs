//! ECN's place in a connection: what it says of the packets that come, and what its feedback does to the window. How it
//! works is `ecn`'s to say.

use super::Tcb;
use super::algorithm::Algorithm;
use super::close::CloseReason;
use super::congestion::{Cause, CongestionControl};
use super::ecn::Told;
use super::effects::Effects;
use super::segment::{Flags, Options, Segment};
use super::timers::Timer;
use crate::time::Instant;

impl Tcb {
    /// The SYN-ACK has come.
    pub(super) fn on_ecn_answer(&mut self, s: &Segment) {
        if self.ecn.on_answer(s.flags, s.ecn, s.options.accurate_ecn.as_ref()) {
            // A SYN that met congestion counts as one that got lost.
            self.begin_congestion_control(1);
        }
    }

    /// The segment that opens the connection, as those that come after it would say the same: its flags of ECN tell how our
    /// SYN-ACK has arrived.
    pub(super) fn on_ecn_open(&mut self, s: &Segment) -> Segment {
        let is_pure = s.len == 0 && s.options.sack.is_empty() && !s.flags.has(Flags::FIN);
        if self.ecn.on_handshake_ack(s.flags, is_pure) {
            self.begin_congestion_control(1);
        }
        let flags = if is_pure { self.ecn.no_news(s.flags) } else { s.flags };
        Segment { flags, ..*s }
    }

    /// The peer's SYN has come again.
    pub(super) fn on_ecn_syn_again(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        if !self.ecn.on_syn_again(s.flags, s.ecn) {
            fx.reply = Some(self.reset(now));
            self.end(CloseReason::Aborted);
        }
    }

    /// Data that goes for the first time, marked as ECN-capable if it may be; `is_probe` when it probes a closed window.
    //= spec/rfc3168.txt#section-6.1.5
    //# This document specifies ECN-capable TCP implementations MUST NOT set either ECT codepoint (ECT(0) or ECT(1)) in the IP
    //# header for retransmitted data packets
    //= spec/rfc3168.txt#section-6.1.4
    //# pure acknowledgement packets (e.g., packets that do not contain any accompanying data) MUST be sent with the not-ECT
    //# codepoint.
    //= spec/rfc3168.txt#section-6.1.6
    //# the TCP data sender MUST NOT set either an ECT codepoint or the CWR bit on window probe packets.
    pub(super) fn with_mark(&mut self, segment: Segment, is_probe: bool) -> Segment {
        if is_probe {
            return segment;
        }
        let (ecn, flags) = self.ecn.on_new_data();
        Segment { ecn, flags: segment.flags | flags, ..segment }
    }

    /// An acceptable segment has come.
    pub(super) fn on_ecn_packet(&mut self, s: &Segment) {
        if self.ecn.on_packet(s.flags, s.ecn, s.len, self.last_ack_sent != self.rcv.next()) {
            self.ack.force();
        }
    }

    /// A SYN-ACK that has opened the connection comes again: the challenge that answers it tells how it has arrived.
    pub(super) fn on_ecn_answer_again(&mut self, s: &Segment) {
        if s.flags.has(Flags::SYN | Flags::ACK) && s.seq == self.irs && self.acks_our_syn(s) {
            self.ecn.on_syn_ack_again(s.flags, s.ecn);
        }
    }

    /// What an ACK that has delivered so many bytes tells of marks.
    //= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2
    //# A host MUST NOT interpret the 3
    //# flags as a 3-bit ACE field on any segment with SYN=1 (whether ACK is
    //# 0 or 1), or if AccECN negotiation is incomplete or has not succeeded.
    pub(super) fn ecn_told(&mut self, s: &Segment, delivered: u32, duplicate: bool) -> Told {
        self.ecn.on_progress(self.snd.una());
        if s.flags.has(Flags::SYN) {
            return Told::default();
        }
        let mss = u32::from(self.size.effective());
        // Without SACK a duplicate stands for a segment.
        let delivered = if duplicate && !self.agreed.sack { delivered.max(mss) } else { delivered };
        self.ecn.on_ack(s.flags, s.options.accurate_ecn.as_ref(), delivered, mss)
    }

    /// Reduces the window for marks, once a window of data and not in recovery, which has reduced it already.
    //= spec/rfc9293.txt#section-3.8.2
    //# A TCP endpoint SHOULD implement ECN as described in RFC 3168 (SHLD-8).
    //= spec/rfc3168.txt#section-6.1.2
    //# That is, the TCP sender's congestion window should be reduced
    //# only once in response to a series of dropped and/or CE packets from a
    //# single window of data.
    pub(super) fn heed(&mut self, now: Instant, told: Told, outstanding: u32) {
        if !told.congested || self.recovery.is_recovering() || !self.ecn.reacts(self.snd.una(), self.snd.nxt()) {
            return;
        }
        //= spec/rfc3168.txt#section-6.1.2
        //# Therefore, the sending TCP MUST reset the
        //# retransmit timer on receiving the ECN-Echo packet when the congestion
        //# window is one.  The sending TCP will then be able to send a new
        //# packet only when the retransmit timer expires.
        // When nothing is out that timer does not run, so the pacer holds what is new for as long.
        if self.congestion.cwnd() <= self.size.effective().into() {
            let until = now + self.rto.current();
            self.pacer.hold_until(until);
            if self.timers.is_armed(Timer::Retransmit) {
                self.timers.arm(Timer::Retransmit, until);
            }
        }
        self.congestion.on_congestion(now, Cause::Ecn, outstanding.min(self.congestion.cwnd()));
        self.ecn.on_reduced();
    }

    /// A loss begins recovery. Says whether the window has to be reduced for it: not again for what was sent before it was
    /// reduced for a mark, unless the algorithm makes a difference between the two.
    pub(super) fn reduces_for_loss(&mut self) -> bool {
        let tells_apart = matches!(self.config.congestion, Algorithm::Dctcp | Algorithm::Bbr);
        let reduces = tells_apart || !self.ecn.has_reacted(self.snd.una());
        if reduces {
            self.ecn.on_reduced();
        }
        reduces
    }

    /// Puts the flags and the option of a pure ACK in place, the option where the others leave room.
    pub(super) fn with_ecn(&mut self, segment: Segment) -> Segment {
        let (flags, accurate_ecn) = self.ecn.on_pure_ack_goes(segment.options.room());
        let options = Options { accurate_ecn, ..segment.options };
        Segment { flags: segment.flags | flags, options, ..segment }
    }
}
