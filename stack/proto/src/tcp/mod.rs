//! One connection: values in, values out.
//!
//! A [`Tcb`] is told of events by `on_*`, asked for segments by `poll_transmit` until there is none, and asked for its
//! next deadline by `deadline`. It never sees bytes or addresses. The spine below is RFC 9293 3.10.7 in its order;
//! what each step needs to know is in the machine of that name. `user.rs` has the calls of the application,
//! `output.rs` what is sent, `time.rs` what happens by itself.

pub mod acceptable;
pub mod close;
pub mod config;
pub mod congestion;
pub mod effects;
pub mod fast;
pub mod info;
pub mod keepalive;
pub mod loss;
pub mod open;
pub mod options;
mod output;
pub mod pmtu;
pub mod recv;
pub mod segment;
pub mod send;
pub mod seq;
pub mod state;
mod time;
pub mod timers;
mod user;

pub use output::Step;

use crate::memory::Buf;
use crate::time::Instant;
use alloc::sync::Arc;
use close::{CloseReason, OnTimeWait, Remembered, on_time_wait};
use config::TcpConfig;
use congestion::newreno::NewReno;
use congestion::{Congestion, CongestionControl};
use effects::{Dropped, Effects};
use fast::Fast;
use keepalive::Keepalive;
use loss::recovery::{OnDuplicate, OnProgress, Recovery};
use loss::rto::Rto;
use loss::rtt::Rtt;
use options::{Negotiated, TimestampClock};
use pmtu::SegmentSize;
use recv::ack::AckPolicy;
use recv::reassembly::{Inserted, Reassembly};
use recv::urgent::Urgent;
use recv::window::RecvWindow;
use segment::{Flags, Options, Segment};
use send::persist::Persist;
use send::queue::SendQueue;
use send::window::SendWindow;
use seq::Seq;
use state::{Event, State};
use timers::{Timer, Timers};

/// What the link gives to a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Payload that fits a packet, without TCP options: MTU less the IP and TCP headers.
    pub mss: u16,
    /// What counts when the peer offers no MSS: 536 for IPv4, 1220 for IPv6 (RFC 9293 MUST-15).
    pub default_mss: u16,
}

/// A half-open connection that has been completed: what its SYN queue entry remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// Our initial sequence number.
    pub iss: Seq,
    /// The peer's.
    pub irs: Seq,
    /// The options of the peer's SYN.
    pub theirs: Options,
    /// The offset of our timestamps.
    pub ts_offset: u32,
    /// The SYN-ACK went more than once.
    pub retransmitted: bool,
}

/// News for the application that have not been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// The connection is open.
    pub opened: bool,
    /// There are bytes to read.
    pub readable: bool,
    /// There is room to send again.
    pub writable: bool,
    /// The peer's FIN has come.
    pub peer_closed: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Tcb {
    state: State,
    snd: SendQueue,
    snd_window: SendWindow,
    rcv: RecvWindow,
    reassembly: Reassembly,
    ack: AckPolicy,
    recovery: Recovery,
    congestion: Congestion,
    rtt: Rtt,
    rto: Rto,
    timers: Timers,
    persist: Persist,
    keepalive: Keepalive,
    size: SegmentSize,
    agreed: Negotiated,
    clock: TimestampClock,
    urgent: Urgent,
    config: Arc<TcpConfig>,
    link: Link,
    iss: Seq,
    irs: Seq,
    /// The number of the peer's FIN, once it has come, even ahead of data.
    fin_at: Option<Seq>,
    last_ack_sent: Seq,
    heard_at: Instant,
    sent_at: Instant,
    retransmits: u32,
    news: News,
    ended: Option<CloseReason>,
    /// A SYN or SYN-ACK has to go out.
    syn_due: bool,
    /// The segment at SND.UNA has to go again.
    resend_front: bool,
    /// The persist timer fired.
    probe_window: bool,
    /// The keepalive timer fired.
    probe_peer: bool,
    /// The application was refused room and waits for it.
    wants_room: bool,
    /// The application will read no more and has closed: data that comes is answered by an RST.
    deaf: bool,
    /// The application will read no more: data that comes is thrown away.
    discard: bool,
}

impl Tcb {
    /// An active open: the SYN is due.
    pub fn connect(config: Arc<TcpConfig>, link: Link, iss: Seq, ts_offset: u32, now: Instant) -> Self {
        let mut tcb = Self::new(config, link, iss, ts_offset, now);
        tcb.transition(Event::ActiveOpen);
        tcb.syn_due = true;
        tcb
    }

    /// A passive open whose handshake `h` is complete but for the ACK that is given to
    /// [`on_segment`](Self::on_segment) next. `ours` are the options of our SYN-ACK and `window` is its window field.
    pub fn accept(
        config: Arc<TcpConfig>,
        link: Link,
        h: &Handshake,
        ours: &Options,
        window: u16,
        now: Instant,
    ) -> Self {
        let mut tcb = Self::new(config, link, h.iss, h.ts_offset, now);
        tcb.state = State::SynReceived;
        tcb.on_their_syn(h.irs, ours, &h.theirs, now);
        tcb.rcv.promise(window);
        // SND.WND comes with the ACK; until then nothing is sent.
        tcb.snd_window = SendWindow::from_syn(0, h.irs, h.iss, tcb.agreed.send_scale);
        if h.retransmitted {
            tcb.rto.after_lost_syn();
            tcb.congestion = Congestion::NewReno(NewReno::new(tcb.size.effective(), 1));
        }
        tcb
    }

    fn new(config: Arc<TcpConfig>, link: Link, iss: Seq, ts_offset: u32, now: Instant) -> Self {
        let size = SegmentSize::new(None, link.default_mss, link.mss, 0);
        Self {
            state: State::Closed,
            snd: SendQueue::new(iss + 1),
            snd_window: SendWindow::from_syn(0, Seq(0), Seq(0), 0),
            rcv: RecvWindow::new(Seq(0), config.recv_buffer, 0),
            reassembly: Reassembly::default(),
            ack: AckPolicy::default(),
            recovery: Recovery::new(config.duplicate_ack_threshold),
            congestion: Congestion::NewReno(NewReno::new(size.effective(), config.initial_window_segments)),
            rtt: Rtt::default(),
            rto: Rto::new(config.rto_initial, config.rto_min, config.rto_max),
            timers: Timers::default(),
            persist: Persist::default(),
            keepalive: Keepalive::default(),
            size,
            agreed: Negotiated::default(),
            clock: TimestampClock::new(ts_offset, 0, now),
            urgent: Urgent::default(),
            link,
            iss,
            irs: Seq(0),
            fin_at: None,
            last_ack_sent: Seq(0),
            heard_at: now,
            sent_at: now,
            retransmits: 0,
            news: News::default(),
            ended: None,
            syn_due: false,
            resend_front: false,
            probe_window: false,
            probe_peer: false,
            wants_room: false,
            deaf: false,
            discard: false,
            config,
        }
    }

    /// Takes over what the peer's SYN says.
    fn on_their_syn(&mut self, irs: Seq, ours: &Options, theirs: &Options, now: Instant) {
        self.irs = irs;
        self.agreed = Negotiated::new(ours, theirs);
        self.rcv = RecvWindow::new(irs + 1, self.config.recv_buffer, self.agreed.recv_scale);
        self.last_ack_sent = irs + 1;
        self.clock = TimestampClock::new(self.clock.offset(), theirs.timestamps.map_or(0, |ts| ts.value), now);
        let option_bytes = if self.agreed.timestamps { 12 } else { 0 };
        self.size = SegmentSize::new(theirs.mss, self.link.default_mss, self.link.mss, option_bytes);
        self.congestion = Congestion::NewReno(NewReno::new(self.size.effective(), self.config.initial_window_segments));
    }

    /// Moves along the table of states; an event that the table does not know changes nothing.
    fn transition(&mut self, event: Event) {
        let next = self.state.after(event);
        debug_assert!(next.is_some(), "{:?} in {:?}", event, self.state);
        self.state = next.unwrap_or(self.state);
    }

    /// A segment for this connection has come, with its payload if it has any.
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, payload: Option<Buf>, fx: &mut Effects) {
        if now.saturating_since(self.heard_at) > self.rto.base() {
            self.ack.on_idle();
        }
        let left = match self.predict(now, segment) {
            Some(fast) => self.on_predicted(now, segment, payload, fast, fx),
            None if self.state == State::SynSent => self.on_segment_in_syn_sent(now, segment, payload, fx),
            None => self.spine(now, segment, payload, fx),
        };
        if let Some(unused) = left {
            fx.freed.push(unused.token);
        }
        self.arm_timers(now);
        self.check_consistency();
    }

    fn predict(&self, now: Instant, segment: &Segment) -> Option<Fast> {
        if self.state != State::Established || self.reassembly.has_gap() || self.recovery.is_recovering() || self.deaf {
            return None;
        }
        match (self.agreed.timestamps, segment.options.timestamps) {
            (true, Some(ts)) if !self.clock.is_old(ts.value, now) => {}
            (false, _) => {}
            _ => return None,
        }
        let expected =
            fast::Expected { next: self.rcv.next(), window: self.rcv.size(), una: self.snd.una(), max: self.snd.max() };
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
            self.on_progress(now, s.ack, fx);
        }
        self.snd_window.on_segment(s.window, s.seq, s.ack);
        match fast {
            Fast::Ack => data,
            Fast::Data => self.take_text(now, s.seq, data, fx),
        }
    }

    /// RFC 9293 3.10.7.3. What is left of the payload is given back.
    //= RFC 9293 3.10.7.3
    fn on_segment_in_syn_sent(
        &mut self,
        now: Instant,
        s: &Segment,
        data: Option<Buf>,
        fx: &mut Effects,
    ) -> Option<Buf> {
        // First, check the ACK bit.
        let acks_our_syn = s.flags.has(Flags::ACK) && s.ack == self.iss + 1;
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
        self.snd_window = SendWindow::from_syn(s.window, s.seq, s.ack, self.agreed.send_scale);
        self.heard_at = now;
        if !acks_our_syn {
            // Simultaneous open: our SYN goes again, with the ACK of theirs.
            self.transition(Event::Syn);
            self.syn_due = true;
            self.timers.cancel(Timer::Retransmit);
            return data;
        }
        self.transition(Event::SynAck);
        self.on_open(now);
        self.ack.force();
        // If there are other controls or text in the segment, then continue at the sixth step.
        let left = self.take_text(now, s.seq + 1, data, fx);
        self.on_fin(now, s);
        left
    }

    /// Our SYN has been acknowledged: data may flow.
    fn on_open(&mut self, now: Instant) {
        if self.rto.expiries() > 0 {
            //= RFC 6298 5.7; RFC 5681 3.1: the initial window of a sender that lost its SYN is one segment
            self.rto.after_lost_syn();
            self.congestion = Congestion::NewReno(NewReno::new(self.size.effective(), 1));
        } else if self.sent_at < now {
            self.rtt.on_sample(now.saturating_since(self.sent_at));
            self.rto.on_estimate(&self.rtt);
        }
        self.rto.on_progress();
        self.syn_due = false;
        self.timers.cancel(Timer::Retransmit);
        self.news.opened = true;
        if self.snd.is_finished() {
            // The application closed while the handshake was under way.
            self.transition(Event::Close);
        }
    }

    /// RFC 9293 3.10.7.4: every state from SYN-RECEIVED on. What is left of the payload is given back.
    //= RFC 9293 3.10.7.4
    fn spine(&mut self, now: Instant, s: &Segment, mut data: Option<Buf>, fx: &mut Effects) -> Option<Buf> {
        if matches!(self.state, State::Closed | State::Listen) {
            fx.dropped = Some(Dropped::ByState);
            return data;
        }
        if self.state == State::TimeWait {
            self.on_segment_in_time_wait(now, s);
            return data;
        }
        // First, check the sequence number; PAWS before it (RFC 7323 5.3 R1), but not for an RST.
        if self.is_old_duplicate(now, s) {
            fx.dropped = Some(Dropped::Paws);
            self.ack.force();
            return data;
        }
        if !acceptable::is_acceptable(s, self.rcv.next(), self.rcv.size()) {
            fx.dropped = Some(Dropped::Unacceptable);
            if !s.flags.has(Flags::RST) {
                self.ack.force();
                self.on_heard_unacceptable(now, s);
            }
            return data;
        }
        // Second, check the RST bit.
        if s.flags.has(Flags::RST) {
            self.on_reset(now, s, fx);
            return data;
        }
        // Third, security: none. Fourth, check the SYN bit.
        if s.flags.has(Flags::SYN) {
            //= RFC 5961 4.2: in synchronized states and, as RFC 9293 allows, before them
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::ByState);
            return data;
        }
        // Fifth, check the ACK field.
        if !self.on_ack_field(now, s, fx) {
            return data;
        }
        // Sixth, check the URG bit.
        if s.flags.has(Flags::URG) && self.state.receives_data() {
            self.urgent.on_segment(s.seq, s.urgent);
        }
        // Seventh, process the segment text.
        if let Some(buf) = data.take() {
            data = self.on_text(now, s, buf, fx);
        }
        // Eighth, check the FIN bit.
        self.on_fin(now, s);
        data
    }

    fn is_old_duplicate(&self, now: Instant, s: &Segment) -> bool {
        self.agreed.timestamps
            && !s.flags.has(Flags::RST)
            && s.options.timestamps.is_some_and(|ts| self.clock.is_old(ts.value, now))
    }

    /// Something valid came from the peer.
    fn on_heard(&mut self, now: Instant, s: &Segment) {
        self.heard_at = now;
        self.keepalive.on_heard();
        if let (true, Some(ts)) = (self.agreed.timestamps, s.options.timestamps) {
            self.clock.on_segment(ts.value, s.seq, self.last_ack_sent, now);
        }
    }

    /// A probe of the peer, or a segment that came twice: it shows at least that the peer is there.
    fn on_heard_unacceptable(&mut self, now: Instant, s: &Segment) {
        if s.flags.has(Flags::ACK) && s.ack.at_or_after(self.snd.una()) && s.ack.at_or_before(self.snd.max()) {
            self.heard_at = now;
            self.keepalive.on_heard();
        }
    }

    /// An acceptable RST.
    fn on_reset(&mut self, now: Instant, s: &Segment, fx: &mut Effects) {
        //= RFC 5961 3.2: only RST with the exact number resets; another in the window is challenged
        if s.seq == self.rcv.next() {
            self.end(CloseReason::Reset);
        } else {
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::ByState);
        }
    }

    /// A challenge ACK.
    //= RFC 5961 3.2, 4.2, 5.2
    fn challenge(&mut self, now: Instant, fx: &mut Effects) {
        fx.reply = Some(self.pure_ack(now));
        fx.challenge = true;
    }

    /// The fifth step; false when the segment goes no further.
    fn on_ack_field(&mut self, now: Instant, s: &Segment, fx: &mut Effects) -> bool {
        if !s.flags.has(Flags::ACK) {
            fx.dropped = Some(Dropped::NoAck);
            return false;
        }
        if self.state == State::SynReceived {
            if s.ack != self.iss + 1 {
                fx.reply = open::reset_for(s);
                fx.dropped = Some(Dropped::BadAck);
                return false;
            }
            self.transition(Event::AckOfSyn);
            self.snd_window = SendWindow::from_syn(0, s.seq, s.ack, self.agreed.send_scale);
            self.on_open(now);
        }
        if !acceptable::is_ack_plausible(s.ack, self.snd.una(), self.snd.max(), self.snd_window.max()) {
            self.challenge(now, fx);
            fx.dropped = Some(Dropped::BadAck);
            return false;
        }
        self.on_heard(now, s);
        let una = self.snd.una();
        let was_closed = self.snd_window.size() == 0;
        let changed = s.ack.at_or_after(una) && self.snd_window.on_segment(s.window, s.seq, s.ack);
        if was_closed && self.snd_window.size() > 0 {
            self.on_window_opened();
        }
        if s.ack.after(una) {
            self.on_progress(now, s.ack, fx);
        } else if s.ack == una && !changed && s.seq_len() == 0 && self.snd.outstanding() > 0 && !was_closed {
            //= RFC 5681 2: the definition of a duplicate acknowledgment. The answers to probes of a closed window
            // fit it too, but tell of no loss.
            self.on_duplicate_ack(fx);
        }
        self.state != State::Closed
    }

    /// The peer takes data again: what was probed with may have been dropped there, so it goes again.
    fn on_window_opened(&mut self) {
        self.timers.cancel(Timer::Persist);
        self.persist.on_open();
        self.probe_window = false;
        if !self.recovery.is_recovering() {
            self.snd.rewind();
        }
    }

    /// `ack` acknowledges something for the first time.
    fn on_progress(&mut self, now: Instant, ack: Seq, fx: &mut Effects) {
        let outstanding = self.snd.outstanding();
        let acked = self.snd.on_ack(ack, &mut |token| fx.freed.push(token));
        if let Some(sent_at) = acked.sent_at {
            self.rtt.on_sample(now.saturating_since(sent_at));
            self.rto.on_estimate(&self.rtt);
        }
        self.rto.on_progress();
        self.resend_front = false;
        match self.recovery.on_progress(ack) {
            OnProgress::Normal => {
                // RFC 7661 4.3: the window has been used if at least half of it was in flight.
                self.congestion.on_ack(acked.bytes, outstanding >= self.congestion.cwnd() / 2);
            }
            OnProgress::Partial => {
                self.congestion.on_partial_ack(acked.bytes);
                self.resend_front = true;
            }
            OnProgress::Leave => self.congestion.on_recovered(self.snd.outstanding()),
        }
        //= RFC 6298 5.2, 5.3
        self.timers.cancel(Timer::Retransmit);
        if self.wants_room && self.send_room() > 0 {
            self.wants_room = false;
            self.news.writable = true;
        }
        if acked.fin {
            self.on_ack_of_fin(now);
        }
    }

    fn on_duplicate_ack(&mut self, fx: &mut Effects) {
        match self.recovery.on_duplicate(self.snd.una(), self.snd.max()) {
            OnDuplicate::Enter => {
                self.congestion.on_loss(self.snd.outstanding());
                self.resend_front = true;
                fx.fast_retransmit = true;
            }
            OnDuplicate::Inflate => self.congestion.on_duplicate(),
            OnDuplicate::LimitedTransmit | OnDuplicate::Ignore => {}
        }
    }

    fn on_ack_of_fin(&mut self, now: Instant) {
        self.transition(Event::AckOfFin);
        match self.state {
            State::FinWait2 if self.deaf => self.timers.arm(Timer::Close, now + self.config.fin_wait_2),
            State::TimeWait => self.enter_time_wait(now),
            State::Closed => self.end(CloseReason::Finished),
            _ => {}
        }
    }

    /// The seventh step: the text of an acceptable segment. What is left of it is given back.
    fn on_text(&mut self, now: Instant, s: &Segment, mut buf: Buf, fx: &mut Effects) -> Option<Buf> {
        if !self.state.receives_data() {
            //= RFC 9293 3.10.7.4: this should not occur since a FIN has been received; ignore the text
            fx.dropped = Some(Dropped::ByState);
            return Some(buf);
        }
        let end = s.seq + u32::from(buf.len);
        if self.deaf && end.after(self.rcv.next()) {
            //= RFC 1122 4.2.2.13: data that can no longer be delivered is answered by an RST
            fx.reply = Some(self.reset());
            fx.dropped = Some(Dropped::AfterClose);
            self.end(CloseReason::Aborted);
            return Some(buf);
        }
        let edge = self.rcv.next() + self.rcv.size();
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
    fn take_text(&mut self, now: Instant, seq: Seq, data: Option<Buf>, fx: &mut Effects) -> Option<Buf> {
        let buf = data?;
        let len = u32::from(buf.len);
        let had_gap = self.reassembly.has_gap();
        // Twice what full segments would need: a sender of tiny segments fills no more frames than that.
        let limit = usize::try_from(self.config.recv_buffer / 512).unwrap_or(usize::MAX).clamp(32, 2048);
        match self.reassembly.insert(self.rcv.next(), seq, buf, limit, &mut |token| fx.freed.push(token)) {
            Inserted::InOrder(n) => {
                self.rcv.on_received(n, n);
                self.ack.on_data(now, len, self.size.effective(), self.config.delayed_ack);
                if had_gap {
                    //= RFC 5681 4.2: at once when the segment fills in all or part of a gap
                    self.ack.force();
                }
                fx.taken = n;
                self.news.readable = true;
                if self.discard {
                    self.throw_away(fx);
                }
            }
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
    fn on_fin(&mut self, now: Instant, s: &Segment) {
        if s.flags.has(Flags::FIN) && self.fin_at.is_none() && self.state.receives_data() {
            let at = s.end() - 1;
            // A FIN beyond the window is not seen yet: the text in front of it was cut.
            if at.at_or_before(self.rcv.next() + self.rcv.size()) {
                self.fin_at = Some(at);
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
        self.timers.arm(Timer::Close, now + 2 * self.config.msl);
    }

    fn on_segment_in_time_wait(&mut self, now: Instant, s: &Segment) {
        match on_time_wait(s, &self.remembered()) {
            OnTimeWait::Ignore => {}
            // This connection still has unread data; its successor has to wait for the application.
            OnTimeWait::Ack | OnTimeWait::Reopen => self.ack.force(),
            OnTimeWait::AckAndRestart => {
                self.ack.force();
                self.enter_time_wait(now);
            }
        }
    }

    /// What TIME-WAIT has to remember.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            snd_nxt: self.snd.max(),
            rcv_nxt: self.rcv.next(),
            ts_recent: self.agreed.timestamps.then(|| self.clock.recent()),
        }
    }

    /// The connection is over.
    fn end(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            self.transition(Event::Kill);
        }
        self.ended.get_or_insert(reason);
        self.timers.clear();
        self.syn_due = false;
        self.resend_front = false;
    }

    /// What must hold after every event; called in debug builds only.
    pub fn check_consistency(&self) {
        if cfg!(debug_assertions) {
            self.snd.check_consistency();
            self.rcv.check_consistency();
            self.reassembly.check_consistency(self.rcv.next());
            assert!(self.ended.is_some() == (self.state == State::Closed));
            if self.state == State::Closed {
                assert_eq!(self.timers.earliest(), None);
            }
        }
    }
}
