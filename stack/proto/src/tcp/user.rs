//! The calls of the application (RFC 9293 3.10.1 to 3.10.6, 3.9.1).

use super::close::CloseReason;
use super::config::TcpConfig;
use super::congestion::CongestionControl;
use super::effects::Effects;
use super::fast_open::Offer;
use super::info::TcpInfo;
use super::recv::reassembly::Overlap;
use super::segment::{Flags, Segment};
use super::seq::Seq;
use super::state::{Event, State};
use super::timers::Timer;
use super::trouble::Trouble;
use super::{News, Tcb};
use crate::memory::{Buf, Token};
use crate::time::Instant;
use alloc::sync::Arc;
use core::time::Duration;

/// Frames with unread bytes that a connection at rest has at most. Their bytes are copied when it moves.
const UNREAD_AT_REST: usize = 8;

impl Tcb {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// How the connection ended, once it has.
    pub fn ended(&self) -> Option<CloseReason> {
        self.ended
    }

    /// The settings.
    pub fn config(&self) -> &TcpConfig {
        &self.config
    }

    /// News for the application; they are told once.
    pub fn take_news(&mut self) -> News {
        core::mem::take(&mut self.news)
    }

    /// The offset of our timestamps.
    pub fn ts_offset(&self) -> u32 {
        self.clock.offset()
    }

    /// Frames with bytes that have come: those that the application can read, and those with what waits for a gap too.
    pub fn unread_frames(&self) -> (usize, usize) {
        (self.reassembly.ready_frames(), self.reassembly.frames())
    }

    /// Frames with bytes that the peer has not acknowledged.
    pub fn unacked_frames(&self) -> usize {
        self.snd.frames()
    }

    /// Whether nothing of what was sent is on its way, as far as is known.
    pub fn is_nothing_in_flight(&self) -> bool {
        self.snd.pipe() == 0
    }

    /// Whether there are bytes that are not in flight.
    pub fn has_waiting_data(&self) -> bool {
        self.snd.queued() > self.snd.pipe()
    }

    /// Whether the `len` bytes that begin at `seq` hold the next in order.
    pub fn expects(&self, seq: Seq, len: u16) -> bool {
        seq.at_or_before(self.rcv.next()) && (seq + u32::from(len)).after(self.rcv.next())
    }

    /// Whether an ACK has to go out at `now`.
    pub fn owes_ack(&self, now: Instant) -> bool {
        self.ack.is_due(now)
    }

    /// Whether `segment` is the very next in order and acknowledges nothing but what is in flight, if anything.
    pub fn is_next(&self, segment: &Segment) -> bool {
        segment.seq == self.rcv.next()
            && segment.flags.has(Flags::ACK)
            && segment.ack.at_or_after(self.snd.una())
            && segment.ack.at_or_before(self.snd.nxt())
    }

    /// Whether `seq` is the next number expected and nothing waits ahead of a gap: what begins there was not there before.
    pub fn expects_only(&self, seq: Seq) -> bool {
        seq == self.rcv.next() && !self.reassembly.has_gap()
    }

    /// Whether the application has closed for reading and gets no news but the end.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Whether the connection is open and its frames hold nothing but a few bytes in order that the application has not
    /// been given: nothing is to be sent or acknowledged, nothing waits for a gap, and the application has no bytes out.
    /// What is left are values, which mean the same on any core that has the same clock.
    pub fn is_at_rest(&self) -> bool {
        let (ready, held) = self.unread_frames();
        self.state == State::Established
            && self.ended.is_none()
            && self.fin_at.is_none()
            && !self.snd.is_finished()
            && self.snd.frames() == 0
            && self.snd.outstanding() == 0
            && ready == held
            && ready <= UNREAD_AT_REST
            && self.reassembly.ready_bytes() == self.rcv.held()
            && !self.blocked
            && !self.wants_room
            && !self.deaf
    }

    /// Payload bytes of a full segment.
    pub fn mss(&self) -> u16 {
        self.size.effective()
    }

    /// Bytes of TCP header and options in front of data.
    pub fn data_header_len(&self) -> u16 {
        if self.agreed.timestamps { 32 } else { 20 }
    }

    /// Every packet carries `len` bytes of IP options from now on.
    pub fn set_ip_options(&mut self, len: u16) {
        self.link.ip_options = len;
        self.size.set_options(self.data_header_len() - 20 + len);
        self.congestion.set_mss(self.size.effective());
    }

    /// Our link carries segments of `mss` bytes from now on, without TCP options. Nothing in flight counts as lost by it:
    /// what has left has left. What is sent from now on, or again, fits. The MSS that the peer was told stays.
    pub fn set_link_mss(&mut self, mss: u16) {
        self.size.set_link(self.link.mss, mss, self.config.min_mss);
        self.link.mss = mss;
        self.congestion.set_mss(self.size.effective());
    }

    /// Whether the sending side is open (RFC 9293 3.10.2).
    pub fn may_send(&self) -> bool {
        self.state.sends_data() && !self.snd.is_finished()
    }

    /// Bytes that may be queued now.
    pub fn send_room(&self) -> u32 {
        let has_room = self.may_send() && self.snd.frames() < self.most_chunks();
        if has_room { self.config.send_buffer.saturating_sub(self.snd.queued()) } else { 0 }
    }

    /// Most chunks that the send queue may hold: a frame each, however little is in it (CVE-2019-11478).
    pub(super) fn most_chunks(&self) -> usize {
        usize::try_from(self.config.send_buffer / 256).unwrap_or(usize::MAX).max(64)
    }

    /// The application was refused room: it is told when there is some.
    pub fn want_room(&mut self) {
        self.wants_room = true;
    }

    /// Whether it was.
    pub fn wants_room(&self) -> bool {
        self.wants_room
    }

    /// There is room for another reason than an ACK: frames have become free, or the connection is open. Before that the
    /// application does not hear of room.
    pub fn offer_room(&mut self) {
        if self.wants_room && self.state.is_synchronized() && self.send_room() > 0 {
            self.wants_room = false;
            self.news.writable = true;
        }
    }

    /// The last chunk, when small writes may still join it.
    pub fn open_tail(&mut self) -> Option<&mut Buf> {
        self.snd.open_tail()
    }

    /// `n` bytes have joined the last chunk.
    pub fn grew(&mut self, n: u16) {
        self.snd.grew(n);
    }

    /// Queues a chunk of at most [`mss`](Self::mss) bytes.
    pub fn push(&mut self, buf: Buf) {
        if self.snd.frames() == 0 {
            self.progress.on_empty();
        }
        self.snd.push(buf);
    }

    /// The next bytes in order; the frame is the caller's.
    pub fn recv(&mut self) -> Option<Buf> {
        self.reassembly.pop()
    }

    /// Puts bytes back in front.
    pub fn unread(&mut self, buf: Buf) {
        self.reassembly.unread(buf);
    }

    /// Two received buffers of which the second should be copied behind the first, if the frames have `frame_len` bytes;
    /// then comes [`join_received`](Self::join_received).
    pub fn small_pair(&mut self, frame_len: usize) -> Option<(&mut Buf, &Buf)> {
        self.reassembly.small_pair(frame_len)
    }

    /// It has been copied. Gives its frame, to be freed.
    pub fn join_received(&mut self) -> Option<Token> {
        self.reassembly.join()
    }

    /// What is held already of the `len` bytes that begin at `seq`.
    pub fn overlaps(&self, seq: Seq, len: u16) -> impl Iterator<Item = Overlap<'_>> {
        self.reassembly.overlaps(self.rcv.next(), seq, len)
    }

    /// Whether nothing is ready to read.
    pub fn is_drained(&self) -> bool {
        self.reassembly.is_drained()
    }

    /// `n` bytes have been read for good: the window opens, and the peer hears of it at once when that matters.
    pub fn consumed(&mut self, now: Instant, n: u32) {
        self.rcv.on_read(n);
        if let Some(wanted) = self.tune.on_read(now, n, self.rtt.smoothed(), self.size.effective()) {
            self.rcv.grow(wanted);
        }
        self.urgent.on_read(self.read_to());
        let mss = self.size.effective();
        // The ACK at the end of a burst tells of the window too, and the peer has at least half of it until then.
        let is_told_soon = self.ack.waits_for_burst(mss) && self.rcv.size() >= self.rcv.limit() / 2;
        if self.state.receives_data() && self.rcv.wants_update(mss) && !is_told_soon {
            self.ack.force();
        }
    }

    /// The number of the first byte that has not been read for good.
    pub(super) fn read_to(&self) -> Seq {
        let fin = self.fin_at.is_some_and(|fin| self.rcv.next().after(fin));
        self.rcv.next() - self.rcv.held() - u32::from(fin)
    }

    /// The urgent mark: the number of bytes from the next unread one to the one behind the urgent data (RFC 6093);
    /// they may not have come yet. `None` when nothing that is unread is urgent.
    //= spec/rfc9293.txt#section-3.8.5
    //# The TCP implementation MUST (MUST-33)
    //# provide a way for the application to learn how much urgent data
    //# remains to be read from the connection, or at least to determine
    //# whether more urgent data remains to be read [19].
    //= spec/rfc9293.txt#section-3.8.5
    //# The TCP implementation MUST (MUST-33) provide a way for the application to learn how much urgent data remains
    //# to be read
    pub fn urgent_mark(&self) -> Option<u32> {
        let unread = self.read_to();
        // Nothing comes behind a FIN, whatever the pointer said.
        let mark = self.urgent.mark().map(|mark| self.fin_at.map_or(mark, |fin| mark.min(fin)));
        mark.filter(|mark| mark.after(unread)).map(|mark| mark.since(unread))
    }

    /// Everything queued so far is urgent: the peer is told at once, even when its window is closed.
    pub fn mark_urgent(&mut self) {
        self.urgent_out.mark(self.snd.end());
        if self.state.is_synchronized() {
            self.ack.force();
        }
    }

    /// Other settings. Those that the handshake agrees on, or that only count at its end, stay as they were: `mss`,
    /// `min_mss`, `window_scaling`, `timestamps`, `sack`, `initial_window_segments`, `congestion`, `ecn`, `rto_initial`, and
    /// until our SYN is acknowledged the receive buffer.
    pub fn configure(&mut self, now: Instant, wanted: &TcpConfig) {
        let old = *self.config;
        let mut config = TcpConfig {
            mss: old.mss,
            min_mss: old.min_mss,
            window_scaling: old.window_scaling,
            timestamps: old.timestamps,
            sack: old.sack,
            initial_window_segments: old.initial_window_segments,
            congestion: old.congestion,
            ecn: old.ecn,
            rto_initial: old.rto_initial,
            ..wanted.clamped()
        };
        if !self.state.is_synchronized() || self.syn_unacked() {
            // Our SYN may go again, and what it offers follows from the buffer.
            config.recv_buffer = old.recv_buffer;
            config.recv_buffer_initial = old.recv_buffer_initial;
        }
        self.rcv.set_bound(config.recv_buffer);
        self.recovery.set_threshold(config.duplicate_ack_threshold);
        self.rto.set_bounds(config.rto_min, config.rto_max);
        if config.keepalive != old.keepalive {
            self.timers.cancel(Timer::Keepalive);
        }
        if config.user_timeout != old.user_timeout {
            self.timers.cancel(Timer::User);
        }
        self.config = Arc::new(config);
        if !self.config.pacing {
            self.pacer.reset();
        }
        self.offer_room();
        self.arm_timers(now);
    }

    /// Nothing more will be sent: a FIN follows what is queued (RFC 9293 3.10.4).
    pub fn shutdown_write(&mut self, now: Instant) {
        match self.state {
            State::SynSent => self.end(CloseReason::Aborted),
            //= spec/rfc9293.txt#section-3.10.4
            //# If no SENDs have been issued and there is no pending data to send, then form a FIN segment and send it,
            //# and enter FIN-WAIT-1 state; otherwise, queue for processing after entering ESTABLISHED state.
            State::SynReceived => {
                self.snd.finish();
                if self.snd.queued() == 0 {
                    self.offer = Offer::Unacked;
                    self.transition(Event::Close);
                }
            }
            State::Established | State::CloseWait if !self.snd.is_finished() => {
                self.snd.finish();
                self.transition(Event::Close);
            }
            _ => {}
        }
        self.arm_timers(now);
    }

    /// The application will not read any more: what has come and what comes is thrown away, and acknowledged.
    pub fn shutdown_read(&mut self, now: Instant, fx: &mut Effects) {
        self.discard = true;
        self.throw_away(now, fx);
    }

    /// Frees everything that is ready to read.
    pub(super) fn throw_away(&mut self, now: Instant, fx: &mut Effects) {
        while let Some(buf) = self.reassembly.pop() {
            self.consumed(now, u32::from(buf.len));
            fx.freed.push(buf.token);
        }
        self.news.readable = false;
    }

    /// The application is done with the connection: what is queued still goes out, for as long as `linger` allows, then
    /// the FIN. Unread data means that the peer has to learn of it by an RST.
    pub fn close(&mut self, now: Instant, fx: &mut Effects) {
        if self.state == State::TimeWait {
            // Both FINs have been exchanged: the peer would not hear an RST. The wait goes on.
            self.deaf = true;
            self.throw_away(now, fx);
            return;
        }
        let unread = !self.reassembly.is_drained() && !self.discard && self.state.is_synchronized();
        //= spec/rfc9293.txt#section-3.6.1
        //# If such a host issues a CLOSE call while received data is still pending in the TCP connection, or if new
        //# data is received after CLOSE is called, its TCP implementation SHOULD send a RST to show that data was lost
        //# (SHLD-3).
        if unread || self.config.linger == Some(Duration::ZERO) {
            self.abort(now, fx);
            return;
        }
        //= spec/rfc9293.txt#section-3.6.1
        //# A host MAY implement a "half-duplex" TCP close sequence, so that an application that has called CLOSE
        //# cannot continue to read data from the connection (MAY-1).
        self.deaf = true;
        self.reassembly.clear_ahead(&mut |token| fx.freed.push(token));
        self.shutdown_write(now);
        self.limit_close(now);
    }

    /// Nobody waits for the connection any more: whatever the peer does, its end has a time.
    pub(super) fn limit_close(&mut self, now: Instant) {
        let limit = match self.state {
            State::FinWait2 => self.config.fin_wait_2,
            State::SynReceived | State::FinWait1 | State::Closing | State::LastAck => {
                self.config.linger.unwrap_or(self.config.give_up_after)
            }
            _ => return,
        };
        self.timers.arm(Timer::Close, now + limit);
    }

    /// Ends the connection with an RST (RFC 9293 3.10.5). Queued data is lost.
    pub fn abort(&mut self, now: Instant, fx: &mut Effects) {
        self.deaf = true;
        self.abort_for(now, CloseReason::Aborted, fx);
    }

    /// The same for another reason, of which the application still hears.
    pub fn abort_for(&mut self, now: Instant, reason: CloseReason, fx: &mut Effects) {
        if self.state.is_synchronized() && !matches!(self.state, State::TimeWait) || self.state == State::SynReceived {
            fx.reply = Some(self.reset(now));
        }
        self.end(reason);
    }

    /// Ends the connection without a word: the stack stops, or the peer can't be reached.
    pub fn kill(&mut self, reason: CloseReason) {
        self.end(reason);
    }

    /// The RST of an abort.
    //= spec/rfc7323.txt#section-5.2
    //# If an <RST> is being generated because of a user abort, and Snd.TS.OK is set, then a Timestamps option SHOULD be
    //# included in the <RST>.
    pub(super) fn reset(&self, now: Instant) -> Segment {
        Segment {
            seq: self.empty_seq().max(self.iss + 1),
            ack: self.rcv.next(),
            flags: Flags::RST | Flags::ACK,
            options: self.data_options(now),
            ..Segment::default()
        }
    }

    /// Gives every frame back; the connection must not be used after.
    pub fn release(&mut self, fx: &mut Effects) {
        self.snd.clear(&mut |token| fx.freed.push(token));
        self.reassembly.clear(&mut |token| fx.freed.push(token));
    }

    /// Looks at whether the peer takes what is queued for it.
    pub fn watch_progress(&mut self, now: Instant) {
        if self.snd.frames() == 0 {
            self.progress.on_empty();
        } else {
            self.progress.on_look(now, self.snd.una(), self.size.effective());
        }
    }

    /// How long the peer has not taken a segment's worth of what is queued for it, although it keeps its window closed or
    /// can be heard. Somebody has to have [looked](Self::watch_progress) meanwhile. A peer that lets us send and is silent
    /// may be out of reach: that is for the retransmission time-out to judge.
    pub fn hoards_for(&self, now: Instant) -> Duration {
        let stalled = self.progress.stalled_for(now);
        // The answers to probes come farther and farther apart, each after twice the time.
        let is_heard = now.saturating_since(self.heard_at) <= stalled / 2;
        if is_heard || self.snd_window.size() == 0 { stalled } else { Duration::ZERO }
    }

    /// Frames that the connection holds.
    pub fn frames(&self) -> usize {
        self.snd.frames() + self.reassembly.frames()
    }

    /// The path carries segments of at most `mss` bytes (RFC 1191). `quoted` is the sequence number in the ICMP
    /// message; it has to be in flight (RFC 5927 4.1).
    pub fn on_too_big(&mut self, now: Instant, mss: u16, quoted: Seq) -> bool {
        if !self.is_in_flight(quoted) {
            return false;
        }
        let before = self.size.effective();
        self.size.on_too_big(mss);
        if self.size.effective() == before {
            // Nothing that is in flight was too big: nothing goes again for the asking.
            return true;
        }
        self.congestion.set_mss(self.size.effective());
        self.lose_everything(now);
        true
    }

    /// An ICMP error quotes `quoted`, which has to be in flight (RFC 5927 4.1); says whether it is. A hard error ends
    /// only an attempt to open (RFC 5927 5.2). Any other is told to the application, and the retransmission time-out
    /// decides.
    pub fn on_icmp_error(&mut self, quoted: Seq, trouble: Trouble, hard: bool) -> bool {
        let opening =
            quoted == self.iss && (matches!(self.state, State::SynSent | State::SynReceived) || self.syn_unacked());
        if !opening && !self.is_in_flight(quoted) {
            return false;
        }
        //= spec/rfc9293.txt#section-3.9.2.2
        //# [35] notes that some implementations do not abort connections when an ICMP hard error is received for a
        //# connection that is in any of the synchronized states.
        if opening && hard {
            self.end(CloseReason::Unreachable);
            return true;
        }
        //= spec/rfc9293.txt#section-3.9.2.2
        //# Since these Unreachable messages indicate soft error conditions, a TCP implementation MUST NOT abort the
        //# connection (MUST-56), and it SHOULD make the information available to the application (SHLD-25).
        self.soft_error = true;
        self.news.trouble = Some(trouble);
        true
    }

    /// This host itself cannot reach the peer now: the neighbour is silent, or the route is gone. It is told like what
    /// comes by ICMP, and is the reason if the connection ends before the peer is heard again.
    pub fn on_trouble(&mut self, trouble: Trouble) {
        self.soft_error = true;
        self.news.trouble = Some(trouble);
    }

    //= spec/rfc5927.txt#section-4.1
    //# These implementations check that the TCP sequence number contained in the payload of the ICMP error message is
    //# within the range SND.UNA =< SEG.SEQ < SND.NXT.
    fn is_in_flight(&self, quoted: Seq) -> bool {
        quoted.in_window(self.snd.una(), self.snd.outstanding())
    }

    /// A snapshot for the application and for tools.
    pub fn info(&self) -> TcpInfo {
        TcpInfo {
            state: self.state,
            srtt: self.rtt.smoothed(),
            rto: self.rto.base(),
            min_rtt: self.min_rtt.get(),
            algorithm: self.config.congestion,
            cwnd: self.congestion.cwnd(),
            ssthresh: self.congestion.ssthresh(),
            delivery_rate: self.rate.latest(),
            pacing_rate: self.pacing_rate(),
            mss: self.size.effective(),
            send_window: self.snd_window.size(),
            recv_window: self.rcv.size(),
            unacked: self.snd.outstanding(),
            in_flight: self.in_flight(),
            delivered: self.rate.delivered(),
            ecn: self.ecn.mode(),
            marked_bytes: self.ecn.marks().0,
            marked_segments_in: self.ecn.marks().1,
            unsent: self.snd.unsent(),
            unread: self.rcv.held(),
            counts: self.counts,
        }
    }
}
