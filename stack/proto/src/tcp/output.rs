//! What is sent: the SYNs, data old and new, the FIN, the ACK (RFC 9293 3.8, 3.10.7.4).

use super::Tcb;
use super::congestion::CongestionControl;
use super::fast_open::InSyn;
use super::options;
use super::segment::{Flags, Options, Segment};
use super::send::decide::{Decision, Situation, decide};
use super::state::State;
use super::timers::Timer;
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
    Join,
    /// Chunk `index` of the queue does not go whole: copy all but its first `at` bytes into a frame of their own and
    /// call [`Tcb::split`].
    Split {
        /// The chunk.
        index: usize,
        /// Where.
        at: u16,
    },
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
    /// whether a segment without payload will find one.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        posted: impl Fn(&Token) -> bool,
        frames_left: bool,
    ) -> Option<Step<'_>> {
        self.blocked = false;
        if frames_left && self.syn_due {
            match self.data_for_syn() {
                Some(InSyn::Chunk) => return self.send_syn_with_data(now),
                Some(InSyn::Part(at)) => return Some(Step::Split { index: self.snd.next_index(), at }),
                None => {}
            }
            let control = if self.state == State::SynSent { Control::Syn } else { Control::SynAck };
            return Some(self.send_control(now, &control));
        }
        if !self.state.is_synchronized() {
            // What is not acceptable is answered in SYN-RECEIVED too (RFC 9293 3.10.7.4, first step).
            let answers = frames_left && self.state == State::SynReceived && self.ack.is_due(now);
            return answers.then(|| self.send_control(now, &Control::Ack));
        }
        let has_blocks = self.reassembly.has_gap() || self.reassembly.has_duplicate() && self.agreed.sack;
        if frames_left && has_blocks && self.ack.is_due(now) {
            // SACK blocks go in a segment of their own: in front of data they would move the payload.
            return Some(self.send_control(now, &Control::Ack));
        }
        if self.resend_front {
            if let Some(chunk) = self.snd.front_sent() {
                let (mss, len) = (self.size.effective(), chunk.buf.len);
                if posted(&chunk.buf.token) {
                    return Some(Step::Posted);
                }
                if len > mss {
                    // The path, or the options of its packets, leave less room than when it was sent first.
                    return frames_left.then_some(Step::Split { index: 0, at: mss });
                }
                return self.send_front_again(now);
            }
            if self.snd.queued() == 0 && self.snd.outstanding() > 0 && frames_left {
                self.resend_front = false;
                return Some(self.send_control(now, &Control::Fin { again: true }));
            }
        }
        if self.snd.next_chunk().is_some_and(|(chunk, _)| chunk.was_sent() && posted(&chunk.buf.token)) {
            return Some(Step::Posted);
        }
        if self.snd.can_join(self.joint_len(), &posted) {
            return Some(Step::Join);
        }
        match self.decide_next() {
            Some(Decision::Whole) => return self.send_next(now),
            Some(Decision::Part(at)) if frames_left => return Some(Step::Split { index: self.snd.next_index(), at }),
            Some(Decision::Closed) => self.watch_window(now),
            Some(Decision::Corked) => self.timers.arm_if_idle(Timer::Cork, now + MOST_CORKED),
            _ => {}
        }
        if frames_left && self.snd.fin_is_next() {
            let again = self.snd.max().after(self.snd.nxt());
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
    pub fn pair(&mut self) -> Option<(&mut Buf, &Buf)> {
        self.snd.pair()
    }

    /// The bytes of the second chunk are at the end of the first. Gives the second one's frame, to be freed.
    pub fn join(&mut self) -> Option<Token> {
        self.snd.join()
    }

    /// The bytes of chunk `index`, to copy from.
    pub fn chunk(&self, index: usize) -> Option<&Buf> {
        self.snd.chunk(index)
    }

    /// How long chunks may become by joining: no longer than would go whole, or they would be split again.
    fn joint_len(&self) -> u16 {
        let room = self.snd_window.size().saturating_sub(self.snd.in_flight());
        self.size.effective().min(u16::try_from(room).unwrap_or(u16::MAX))
    }

    /// What to do with the chunk at SND.NXT, if there is one.
    fn decide_next(&mut self) -> Option<Decision> {
        let mss = self.size.effective();
        let finished = self.snd.is_finished();
        let (in_flight, outstanding) = (self.snd.in_flight(), self.snd.outstanding());
        let beyond = u32::from(self.recovery.beyond_cwnd()) * u32::from(mss);
        let most = self.most_chunks();
        let (chunk, last) = self.snd.next_chunk()?;
        let (len, again) = (chunk.buf.len, chunk.was_sent());
        let situation = Situation {
            chunk: len,
            last,
            again,
            finished,
            in_flight,
            window: self.snd_window.size(),
            max_window: self.snd_window.max(),
            cwnd: self.congestion.cwnd().saturating_add(beyond),
            mss,
            // Urgent bytes wait for nobody.
            nodelay: self.config.nodelay || self.urgent_out.is_pending(),
            cork: self.config.cork && !self.uncorked && !self.urgent_out.is_pending(),
            probe: self.probe_window,
        };
        Some(match decide(&situation) {
            // A peer that opens its window by a byte at a time would cut the queue into as many frames. What it has been
            // sent before may go again whatever the window is (RFC 9293 MAY-7).
            Decision::Part(_) if again && len <= mss && self.snd.frames() >= most => Decision::Whole,
            // The path has become narrower since the chunk was filled.
            Decision::Whole if len > mss => Decision::Part(mss),
            Decision::Closed if outstanding > 0 && self.snd_window.size() > 0 => Decision::Wait,
            decision => decision,
        })
    }

    /// The window is closed and nothing is in flight that would bring an ACK: probe it in a while.
    fn watch_window(&mut self, now: Instant) {
        let interval = self.persist.interval(self.rto.base(), self.config.rto_max);
        self.timers.arm_if_idle(Timer::Persist, now + interval);
        self.arm_user(now);
    }

    fn send_next(&mut self, now: Instant) -> Option<Step<'_>> {
        let seq = self.snd.nxt();
        let index = self.snd.next_index();
        let (chunk, last) = self.snd.next_chunk()?;
        let (len, again) = (chunk.buf.len, chunk.was_sent());
        if self.snd.outstanding() == 0 && now.saturating_since(self.sent_at) > self.rto.base() {
            self.congestion.on_idle();
        }
        let fin = last && self.snd.is_finished();
        self.snd.on_sent_next(now, fin);
        self.probe_window = false;
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
        let segment = self.data_segment(now, seq, flags, len, again);
        Some(Step::Send { segment, payload: self.snd.chunk_mut(index), again })
    }

    fn send_front_again(&mut self, now: Instant) -> Option<Step<'_>> {
        self.resend_front = false;
        let seq = self.snd.una();
        let len = self.snd.chunk(0)?.len;
        self.snd.on_resent_front(now);
        //= spec/rfc6298.txt#section-5
        //# An implementation MUST manage the retransmission timer(s) in such a way that a segment is never retransmitted
        //# too early, i.e., less than one RTO after the previous transmission of that segment.
        // The timer may be about to fire, and this is the segment that it would send again.
        self.timers.cancel(Timer::Retransmit);
        let segment = self.data_segment(now, seq, Flags::ACK, len, true);
        Some(Step::Send { segment, payload: self.snd.chunk_mut(0), again: true })
    }

    fn data_segment(&mut self, now: Instant, seq: super::seq::Seq, flags: Flags, len: u16, again: bool) -> Segment {
        if again {
            self.retransmits += 1;
        }
        self.arm_retransmit(now);
        let options = self.data_options(now);
        let window = self.on_ack_goes(now);
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
            Control::Fin { again } => (self.fin(now), *again),
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
        if again {
            self.retransmits += 1;
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
            flags = flags | Flags::ACK;
            options.window_scale =
                options.window_scale.filter(|_| self.agreed.recv_scale > 0 || self.agreed.send_scale > 0);
            options.sack_permitted &= self.agreed.sack;
            options.timestamps = options.timestamps.filter(|_| self.agreed.timestamps).map(|_| stamp);
            self.last_ack_sent = self.rcv.next();
        } else {
            options.fast_open = self.fast_open_option();
        }
        let window = self.rcv.advertise_unscaled();
        self.sent_at = now;
        let segment = Segment { seq: self.iss, ack: self.rcv.next(), flags, window, options, ..Segment::default() };
        let segment = if ack { segment } else { Segment { ack: super::seq::Seq(0), ..segment } };
        (segment, self.rto.expiries() > 0)
    }

    fn fin(&mut self, now: Instant) -> Segment {
        let seq = if self.snd.fin_is_next() {
            let seq = self.snd.nxt();
            self.snd.on_sent_fin();
            seq
        } else {
            self.snd.max() - 1
        };
        self.arm_retransmit(now);
        // Its number is not that of the ACK, so its urgent pointer is another.
        let segment = Segment { seq, flags: Flags::FIN | Flags::ACK, urgent: 0, ..self.pure_ack(now) };
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
        if self.agreed.sack {
            options.sack = self.reassembly.sack_blocks();
            if options.timestamps.is_some() {
                // Forty bytes of options hold three ranges beside timestamps.
                options.sack.truncate(3);
            }
        }
        let window = self.on_ack_goes(now);
        let (seq, ack) = (self.empty_seq(), self.rcv.next());
        self.with_urgent(Segment { seq, ack, flags: Flags::ACK, window, options, ..Segment::default() })
    }

    /// The number of a segment without data. SND.NXT goes back to SND.UNA when all is sent again, and the peer may have
    /// received what lies between: an ACK from there would be outside of its window, answered and not looked at, and
    /// when both sides do so they answer each other for ever. What lies beyond its window is outside too.
    pub(super) fn empty_seq(&self) -> super::seq::Seq {
        let edge = self.snd.una() + self.snd_window.size();
        self.snd.max().min(edge)
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
