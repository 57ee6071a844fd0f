//! What is sent: the SYNs, data old and new, the FIN, the ACK (RFC 9293 3.8, 3.10.7.4).

use super::Tcb;
use super::congestion::{CongestionControl, Sent};
use super::fast_open::InSyn;
use super::options;
use super::segment::{Flags, Options, Segment};
use super::send::decide::{Decision, Situation, decide};
use super::seq::Seq;
use super::state::State;
use super::timers::Timer;
use super::transmission::Stamp;
use crate::memory::{Buf, Token};
use crate::time::Instant;
use core::time::Duration;

/// How long corked bytes wait at most, as in Linux.
//= spec/rfc9293.txt#section-3.9.1.2
//# (1) MUST NOT buffer data indefinitely (MUST-60),
const MOST_CORKED: Duration = Duration::from_millis(200);

/// What the endpoint has to do next for this connection.
#[derive(Debug)]
pub enum Step<'a> {
    /// Send this segment; its payload, if any, lies in a frame that the connection keeps.
    Send {
        /// The header.
        segment: Segment,
        /// The payload.
        payload: Option<&'a mut Buf>,
        /// It was sent before.
        again: bool,
    },
    /// The device still has the frame that would be next: look again when it has sent it.
    Posted,
    /// The first two chunks that have to go again fit into one segment: copy the bytes of the second
    /// [`of the pair`](Tcb::pair) to the end of the first and call [`Tcb::join`].
    Join {
        /// The first chunk.
        index: usize,
    },
    /// Chunk `index` of the queue does not go whole: copy all but its first `at` bytes into a frame of their own and
    /// call [`Tcb::split`].
    Split {
        /// The chunk.
        index: usize,
        /// Where.
        at: u16,
    },
}

/// What of the queue is next.
enum Next {
    Resend(usize),
    New(usize),
    Posted,
    Join(usize),
    Split { index: usize, at: u16 },
    FinAgain,
    Nothing,
}

/// What may leave now that is not data.
enum Control {
    Syn,
    SynAck,
    Fin { again: bool },
    Probe,
    Ack,
}

impl Tcb {
    /// The next thing to do, until there is none. `posted` says whether the device still has a frame; `frames_left`
    /// whether a segment without payload will find one, and `may_split` whether a chunk that does not go whole may have one.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        posted: impl Fn(&Token) -> bool,
        frames_left: bool,
        may_split: bool,
    ) -> Option<Step<'_>> {
        if core::mem::take(&mut self.blocked) && self.syn_due {
            // The time that it waited is not the peer's.
            self.timers.cancel(Timer::Retransmit);
        }
        if self.syn_due {
            if !frames_left {
                // Nothing goes ahead of it: the peer would not know what it is.
                return None;
            }
            match self.data_for_syn() {
                Some(InSyn::Chunk) => return self.send_syn_with_data(now),
                Some(InSyn::Part(at)) if may_split => return Some(Step::Split { index: self.snd.next_new()?, at }),
                Some(InSyn::Part(_)) | None => {}
            }
            let control = if self.state == State::SynSent { Control::Syn } else { Control::SynAck };
            return Some(self.send_control(now, &control));
        }
        if !self.state.is_synchronized() {
            // What is not acceptable is answered in SYN-RECEIVED too (RFC 9293 3.10.7.4, first step).
            let answers = frames_left && self.state == State::SynReceived && self.ack.is_due(now);
            return answers.then(|| self.send_control(now, &Control::Ack));
        }
        let has_blocks = self.reassembly.has_gap()
            || self.reassembly.has_duplicate() && self.agreed.sack
            || self.ecn.owes_pure_ack();
        if frames_left && has_blocks && self.ack.is_due(now) {
            // SACK blocks, and ECN's answer to a SYN-ACK, go in a segment of their own: in front of data they would move the payload.
            return Some(self.send_control(now, &Control::Ack));
        }
        let next = self.next_probe(&posted, frames_left).unwrap_or_else(|| self.next_data(now, &posted, may_split));
        match next {
            Next::Resend(index) => return self.send_again(now, index),
            Next::New(index) => return self.send_new(now, index),
            Next::Posted => return Some(Step::Posted),
            Next::Join(index) => return Some(Step::Join { index }),
            Next::Split { index, at } => return Some(Step::Split { index, at }),
            Next::FinAgain => return Some(self.send_control(now, &Control::Fin { again: true })),
            Next::Nothing => {}
        }
        let again = self.snd.fin_is_lost() && self.snd.next_lost().is_none();
        if frames_left && (again || self.snd.fin_is_next()) {
            return Some(self.send_control(now, &Control::Fin { again }));
        }
        if self.snd.outstanding() > 0 {
            // What went out meanwhile asks the peer as well, and a garbage byte would stand in the place of its last one.
            self.probe_peer = false;
        }
        if frames_left && self.probe_peer {
            return Some(self.send_control(now, &Control::Probe));
        }
        //= spec/rfc9293.txt#section-3.10.7.4
        //# if the TCP endpoint is processing a series of queued segments, it MUST process them all before sending any
        //# ACK segments (MUST-59).
        (frames_left && self.ack.is_due(now)).then(|| self.send_control(now, &Control::Ack))
    }

    /// Chunk `index` keeps its first `at` bytes; `tail` has a copy of the others.
    pub fn split(&mut self, index: usize, at: u16, tail: Buf) {
        self.snd.split(index, at, tail);
    }

    /// The two chunks of a [`Step::Join`].
    pub fn pair(&mut self, index: usize) -> Option<(&mut Buf, &Buf)> {
        self.snd.pair(index)
    }

    /// The bytes of the second chunk are at the end of the first. Gives the second one's frame, to be freed.
    pub fn join(&mut self, index: usize) -> Option<Token> {
        self.snd.join(index)
    }

    /// The bytes of chunk `index`, to copy from.
    pub fn chunk(&self, index: usize) -> Option<&Buf> {
        self.snd.chunk(index)
    }

    /// What of the queue goes next: what is lost, the lowest first, then what was never sent; the other way round where
    /// F-RTO wants to know whether anything is lost.
    //= spec/rfc6675.txt#section-4
    //# If there exists a smallest unSACKed sequence number 'S2' that
    //# meets the following three criteria for determining loss, the
    //# sequence range of one segment of up to SMSS octets starting
    //# with S2 MUST be returned.
    fn next_data(&mut self, now: Instant, posted: &impl Fn(&Token) -> bool, may_split: bool) -> Next {
        let lost = self.snd.next_lost();
        let new = self.snd.next_new();
        let Some(index) = (if self.frto.prefers_new_data() { new.or(lost) } else { lost.or(new) }) else {
            if self.in_flight() < self.congestion.cwnd() {
                self.rate.on_dry(self.in_flight());
            }
            return Next::Nothing;
        };
        let again = Some(index) == lost;
        if again {
            if self.snd.chunk(index).is_some_and(|buf| posted(&buf.token)) {
                return Next::Posted;
            }
            if self.snd.can_join(index, self.joint_len(index), posted) {
                return Next::Join(index);
            }
        }
        match self.decide_on(index, again) {
            Decision::Whole if self.is_paced(now) => Next::Nothing,
            Decision::Whole if again => Next::Resend(index),
            Decision::Whole => Next::New(index),
            Decision::Part(at) if may_split => Next::Split { index, at },
            Decision::Closed => {
                self.watch_window(now);
                Next::Nothing
            }
            Decision::Corked => {
                self.timers.arm_if_idle(Timer::Cork, now + MOST_CORKED);
                Next::Nothing
            }
            _ => Next::Nothing,
        }
    }

    /// How long chunk `index` may become by joining: no longer than would go whole, or it would be split again.
    fn joint_len(&self, index: usize) -> u16 {
        let offset = self.snd.place_of(index).map_or(0, |(offset, _, _)| offset);
        let room = self.snd_window.size().saturating_sub(offset);
        self.size.effective().min(u16::try_from(room).unwrap_or(u16::MAX))
    }

    /// What to do with chunk `index`, which goes `again` or for the first time.
    fn decide_on(&self, index: usize, again: bool) -> Decision {
        let mss = self.size.effective();
        let Some((offset, len, last)) = self.snd.place_of(index) else { return Decision::Wait };
        let situation = Situation {
            chunk: len,
            last,
            again,
            finished: self.snd.is_finished(),
            offset,
            in_flight: self.in_flight(),
            window: self.snd_window.size(),
            max_window: self.snd_window.max(),
            cwnd: self.window_in_force(),
            mss,
            // Urgent bytes wait for nobody.
            nodelay: self.config.nodelay || self.urgent_out.is_pending(),
            cork: self.config.cork && !self.uncorked && !self.urgent_out.is_pending(),
            probe: self.probe_window,
        };
        match decide(&situation) {
            // A peer that opens its window by a byte at a time would cut the queue into as many frames. What it has been
            // sent before may go again whatever the window is (RFC 9293 MAY-7).
            Decision::Part(_) if again && len <= mss && self.snd.frames() >= self.most_chunks() => Decision::Whole,
            // The path has become narrower since the chunk was filled.
            Decision::Whole if len > mss => Decision::Part(mss),
            Decision::Closed if self.snd.pipe() > 0 && self.snd_window.size() > 0 => Decision::Wait,
            decision => decision,
        }
    }

    /// The window is closed and nothing is in flight that would bring an ACK: probe it in a while.
    fn watch_window(&mut self, now: Instant) {
        let interval = self.persist.interval(self.rto.base(), self.config.rto_max);
        self.timers.arm_if_idle(Timer::Persist, now + interval);
        self.arm_user(now);
    }

    /// The tail-loss probe that is due: the next segment that was never sent, or else the last that was.
    //= spec/rfc8985.txt#section-7.3
    //# If such an unsent segment is not available, then the sender SHOULD
    //# retransmit the highest-sequence segment sent so far
    fn next_probe(&mut self, posted: &impl Fn(&Token) -> bool, frames_left: bool) -> Option<Next> {
        if !core::mem::take(&mut self.probe_tail) || self.recovery.is_recovering() {
            return None;
        }
        let mss = self.size.effective();
        let new = self.snd.next_new().filter(|_| self.has_sendable());
        if let Some((index, (_, len, last))) = new.and_then(|index| Some((index, self.snd.place_of(index)?)))
            && len <= mss
        {
            let fin = last && self.snd.is_finished();
            self.tlp.on_probe(self.snd.nxt() + u32::from(len) + u32::from(fin), false);
            self.counts.probes += 1;
            return Some(Next::New(index));
        }
        // A frame that the device still has is not lost yet, and one that no longer fits goes by the time-out.
        let last = self.snd.last_sent();
        let is_free = |buf: &Buf| buf.len <= mss && !posted(&buf.token);
        let next = match last {
            Some(index) if self.snd.chunk(index).is_some_and(is_free) => Next::Resend(index),
            None if frames_left && self.snd.fin_was_sent() => Next::FinAgain,
            _ => return None,
        };
        self.tlp.on_probe(self.snd.nxt(), true);
        self.counts.probes += 1;
        Some(next)
    }

    /// Whether the next segment has to wait for its time; the timer watches over it.
    fn is_paced(&mut self, now: Instant) -> bool {
        let until = self.pacer.blocked_until(now);
        if let Some(until) = until {
            self.timers.arm(Timer::Pace, until);
        }
        until.is_some()
    }

    /// How fast segments may leave, bytes a second: as the congestion control says, or the window over the round trip with
    /// room to grow.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        if let Some(rate) = self.congestion.pacing_rate() {
            return Some(rate);
        }
        let srtt = self.rtt.smoothed().filter(|_| self.config.pacing)?;
        let cwnd = u64::from(self.congestion.cwnd());
        let percent = if self.congestion.cwnd() < self.congestion.ssthresh() { 200 } else { 120 };
        let nanos = u64::try_from(srtt.as_nanos()).unwrap_or(u64::MAX).max(1);
        Some((cwnd * percent / 100).saturating_mul(1_000_000_000) / nanos)
    }

    /// A segment of `len` sequence numbers leaves, new or again.
    fn on_data_leaves(&mut self, now: Instant, len: u32) -> Stamp {
        let in_flight = self.in_flight();
        let stamp = self.rate.on_sent(now, len, in_flight);
        self.congestion.on_sent(&Sent {
            now,
            prior_in_flight: in_flight,
            delivered_total: self.rate.delivered(),
            app_limited: self.rate.is_app_limited(),
        });
        if self.recovery.is_fast() {
            self.prr.on_sent(len);
        }
        if let Some(rate) = self.pacing_rate() {
            let burst = u32::from(self.config.pacing_burst_segments) * u32::from(self.size.effective());
            self.pacer.on_sent(now, len, rate, burst);
        }
        stamp
    }

    fn send_new(&mut self, now: Instant, index: usize) -> Option<Step<'_>> {
        let seq = self.snd.nxt();
        let (_, len, last) = self.snd.place_of(index)?;
        if self.snd.outstanding() == 0 {
            self.on_begins_again(now);
        }
        let fin = last && self.snd.is_finished();
        // With more than one segment out, those of the same moment leave the timer of the tail where the second has put it.
        let is_watched = self.snd.outstanding() > u32::from(self.size.effective())
            && self.snd.newest_sent_at() == Some(now)
            && self.timers.is_armed(Timer::Loss);
        let stamp = self.on_data_leaves(now, u32::from(len) + u32::from(fin));
        self.snd.on_sent_new(stamp, fin);
        let is_probe = core::mem::take(&mut self.probe_window);
        self.uncorked = false;
        self.timers.cancel(Timer::Cork);
        let mut flags = Flags::ACK;
        if last {
            //= spec/rfc9293.txt#section-3.9.1.2
            //# (2) MUST set the PSH bit in the last buffered segment (i.e., when there is no more queued data to be
            //# sent) (MUST-61).
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        let segment = self.data_segment(now, seq, flags, len);
        let segment = self.with_mark(segment, is_probe);
        if !is_watched {
            self.watch_tail(now);
        }
        Some(Step::Send { segment, payload: self.snd.chunk_mut(index), again: false })
    }

    /// New data goes when nothing is out. After less than a time-out the last ACK has asked all of this.
    fn on_begins_again(&mut self, now: Instant) {
        let idle = now.saturating_since(self.sent_at);
        if idle <= self.rto.base() {
            return;
        }
        if self.validation.poll_decay(now, self.congestion.cwnd()) {
            self.congestion.on_unvalidated();
        }
        if self.config.restart_after_idle {
            self.congestion.on_idle(now, idle, self.rto.base());
        }
    }

    fn send_again(&mut self, now: Instant, index: usize) -> Option<Step<'_>> {
        let seq = self.snd.seq_of(index)?;
        let (_, len, last) = self.snd.place_of(index)?;
        let fin = last && self.snd.is_finished();
        let stamp = self.on_data_leaves(now, len.into());
        self.snd.on_sent_again(index, stamp, fin);
        self.on_goes_again(now, seq, len);
        self.probe_window = false;
        if seq == self.snd.una() {
            //= spec/rfc6298.txt#section-5
            //# An implementation MUST manage the retransmission timer(s) in such a way that a segment is never
            //# retransmitted too early, i.e., less than one RTO after the previous transmission of that segment.
            // The timer may be about to fire, and this is the segment that it would send again.
            self.timers.cancel(Timer::Retransmit);
        }
        let mut flags = if last { Flags::ACK | Flags::PSH } else { Flags::ACK };
        if fin {
            flags = flags | Flags::FIN;
        }
        let segment = self.data_segment(now, seq, flags, len);
        Some(Step::Send { segment, payload: self.snd.chunk_mut(index), again: true })
    }

    /// `len` bytes from `seq` on leave that were sent before.
    fn on_goes_again(&mut self, now: Instant, seq: Seq, len: u16) {
        self.counts.retransmits += 1;
        self.counts.resent_bytes += u64::from(len);
        self.undo.on_resent(seq, now.as_millis());
    }

    fn data_segment(&mut self, now: Instant, seq: Seq, flags: Flags, len: u16) -> Segment {
        self.arm_retransmit(now);
        let options = self.data_options(now);
        let window = self.on_ack_goes(now);
        let flags = flags | self.ecn.on_ack_goes();
        let segment = Segment { seq, ack: self.rcv.next(), flags, window, len, options, ..Segment::default() };
        self.with_urgent(segment)
    }

    /// The segment with URG and the urgent pointer, if what is urgent lies at or behind it.
    fn with_urgent(&self, segment: Segment) -> Segment {
        match self.urgent_out.pointer(segment.seq) {
            Some(urgent) => Segment { flags: segment.flags | Flags::URG, urgent, ..segment },
            None => segment,
        }
    }

    fn send_control(&mut self, now: Instant, control: &Control) -> Step<'_> {
        let (segment, again) = match control {
            Control::Syn | Control::SynAck => self.syn(now, matches!(control, Control::SynAck)),
            Control::Fin { again } => (self.fin(now, *again), *again),
            Control::Probe => {
                self.probe_peer = false;
                //= spec/rfc9293.txt#section-3.8.4
                //# Such a segment generally contains SEG.SEQ = SND.NXT-1 and may or may not contain one garbage octet
                //# of data.
                //= spec/rfc9293.txt#section-3.8.4
                //# An implementation SHOULD send a keep-alive segment with no data (SHLD-12); however, it MAY be
                //# configurable to send a keep-alive segment containing one garbage octet (MAY-6), for compatibility
                //# with erroneous TCP implementations.
                let len = u16::from(self.config.keepalive.is_some_and(|config| config.garbage));
                (Segment { seq: self.snd.nxt() - 1, len, ..self.pure_ack(now) }, false)
            }
            Control::Ack => (self.pure_ack(now), false),
        };
        if again && !segment.flags.has(Flags::FIN) {
            self.counts.retransmits += 1;
        }
        Step::Send { segment, payload: None, again }
    }

    /// Our SYN, or SYN-ACK when both sides opened at once.
    pub(super) fn syn(&mut self, now: Instant, ack: bool) -> (Segment, bool) {
        self.syn_due = false;
        self.arm_retransmit(now);
        let stamp = self.clock.stamp(now);
        let mut options = options::offer(&self.config, self.link.mss, stamp.value);
        let mut flags = Flags::SYN;
        if ack {
            options.window_scale =
                options.window_scale.filter(|_| self.agreed.recv_scale > 0 || self.agreed.send_scale > 0);
            options.sack_permitted &= self.agreed.sack;
            options.timestamps = options.timestamps.filter(|_| self.agreed.timestamps).map(|_| stamp);
            self.last_ack_sent = self.rcv.next();
            let (ecn, option) = self.ecn.syn_ack(self.rto.expiries(), options.room());
            (flags, options.accurate_ecn) = (flags | Flags::ACK | ecn, option);
            self.ack.on_sent();
        } else {
            options.fast_open = self.fast_open_option();
            flags = flags | self.ecn.request(self.rto.expiries());
        }
        let window = self.rcv.advertise_unscaled();
        self.sent_at = now;
        let segment = Segment { seq: self.iss, ack: self.rcv.next(), flags, window, options, ..Segment::default() };
        let segment = if ack { segment } else { Segment { ack: Seq(0), ..segment } };
        (segment, self.rto.expiries() > 0)
    }

    /// The FIN without data, for the first time or `again`.
    fn fin(&mut self, now: Instant, again: bool) -> Segment {
        let seq = self.snd.end();
        let stamp = self.on_data_leaves(now, 1);
        self.snd.on_sent_fin(stamp);
        if again {
            self.on_goes_again(now, seq, 0);
            if seq == self.snd.una() {
                self.timers.cancel(Timer::Retransmit);
            }
        }
        self.arm_retransmit(now);
        if !again {
            self.watch_tail(now);
        }
        // Its number is not that of the ACK, so its urgent pointer is another.
        let ack = self.pure_ack(now);
        let segment = Segment { seq, flags: ack.flags.without(Flags::URG) | Flags::FIN, urgent: 0, ..ack };
        self.with_urgent(segment)
    }

    /// An ACK and nothing else. It counts as sent.
    pub(super) fn pure_ack(&mut self, now: Instant) -> Segment {
        let mut options = self.data_options(now);
        //= spec/rfc2018.txt#section-4
        //# If the data receiver generates SACK options under any circumstance, it SHOULD generate them under all permitted
        //# circumstances.
        //= spec/rfc2018.txt#section-4
        //# If the data receiver has not received a SACK-Permitted option for a given connection, it MUST NOT send SACK
        //# options on that connection.
        //= spec/rfc2018.txt#section-4
        //# If sent at all, SACK options SHOULD be included in all ACKs which do not ACK the highest sequence number in the
        //# data receiver's queue.
        //= spec/rfc2018.txt#section-4
        //# * The data receiver SHOULD include as many distinct SACK blocks as possible in the SACK option.
        if self.agreed.sack && !self.ecn.goes_without_blocks() {
            options.sack = self.reassembly.sack_blocks();
            if options.timestamps.is_some() {
                // Forty bytes of options hold three ranges beside timestamps.
                options.sack.truncate(3);
            }
        }
        let window = self.on_ack_goes(now);
        let (seq, ack) = (self.empty_seq(), self.rcv.next());
        let segment = self.with_ecn(Segment { seq, ack, flags: Flags::ACK, window, options, ..Segment::default() });
        self.with_urgent(segment)
    }

    /// The number of a segment without data: SND.NXT, but for a window that has shrunk. What lies beyond the peer's window
    /// would be answered and not looked at, and when both sides do so they answer each other for ever.
    pub(super) fn empty_seq(&self) -> Seq {
        let edge = self.snd.una() + self.snd_window.size();
        self.snd.nxt().min(edge)
    }

    //= spec/rfc9293.txt#section-3.2
    //# This field may be sent in the initial connection request (i.e., in segments with the SYN control bit set) and
    //# MUST NOT be sent in other segments (MUST-65).
    //= spec/rfc7323.txt#section-3.2
    //# Once TSopt has been successfully negotiated, that is both <SYN> and <SYN,ACK> contain TSopt, the TSopt MUST be
    //# sent in every non-<RST> segment for the duration of the connection, and SHOULD be sent in an <RST> segment (see
    //# Section 5.2 for details).
    //= spec/rfc7323.txt#section-3.2
    //# When the ACK bit is set in an outgoing segment, the sender MUST echo a recently received TSval sent by the remote
    //# TCP in the TSval field of a Timestamps option.
    pub(super) fn data_options(&self, now: Instant) -> Options {
        Options { timestamps: self.agreed.timestamps.then(|| self.clock.stamp(now)), ..Options::NONE }
    }

    /// A segment with ACK leaves: gives its window field.
    fn on_ack_goes(&mut self, now: Instant) -> u16 {
        self.ack.on_sent();
        self.last_ack_sent = self.rcv.next();
        self.sent_at = now;
        self.rcv.advertise(self.size.effective())
    }

    /// Something that takes sequence numbers leaves.
    //= spec/rfc6298.txt#section-5
    //# The following is the RECOMMENDED algorithm for managing the retransmission timer:
    //= spec/rfc6298.txt#section-5
    //# (5.1) Every time a packet containing data is sent (including a retransmission), if the timer is not running,
    //# start it running so that it will expire after RTO seconds (for the current value of RTO).
    fn arm_retransmit(&mut self, now: Instant) {
        self.timers.arm_if_idle(Timer::Retransmit, now + self.rto.current());
        self.arm_user(now);
    }
}
