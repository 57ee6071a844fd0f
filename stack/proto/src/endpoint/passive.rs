//! Connections that come in: LISTEN, SYN-RECEIVED and the way to an open connection. What the answers are is
//! `tcp/open.rs`'s to say.

use super::config::SynCookies;
use super::cookies::{read_stamp, stamp};
use super::syn_queue::HalfOpen;
use super::{Conn, ConnId, Endpoint, ListenerId, Marking, Outgoing, Station};
use crate::addr::Flow;
use crate::tcp::acceptable::is_acceptable;
use crate::tcp::config::TcpConfig;
use crate::tcp::ecn;
use crate::tcp::ecn::negotiation::Asked;
use crate::tcp::info::EcnMode;
use crate::tcp::open::{OnHalfOpen, OnListen, on_half_open, on_listen};
use crate::tcp::options::{answer, lacks_timestamps, ts_value};
use crate::tcp::segment::{Flags, Options, Segment, Timestamps};
use crate::tcp::seq::Seq;
use crate::tcp::state::{Event, State};
use crate::tcp::{Handshake, Tcb, coverage};
use alloc::sync::Arc;

impl Endpoint {
    /// LISTEN's answer; the connection if the segment brings back a cookie. If the flow comes out of TIME-WAIT,
    /// `predecessor` is the last number that was used in it.
    pub(super) fn on_listen(
        &mut self,
        listener: ListenerId,
        flow: Flow,
        segment: &Segment,
        from: Station,
        predecessor: Option<Seq>,
    ) -> Option<ConnId> {
        coverage::segment(State::Listen, segment);
        match on_listen(segment) {
            OnListen::Ignore => self.counters.dropped_by_state += 1,
            OnListen::Open => return self.on_syn(listener, flow, segment, from, predecessor),
            OnListen::Reset => match self.half_open_by_cookie(listener, flow, segment) {
                Some(half_open) => return self.open_by_cookie(&half_open, listener, from),
                None => self.reset(flow, segment, from),
            },
        }
        None
    }

    /// A connection request; the connection if it opens at once.
    fn on_syn(
        &mut self,
        id: ListenerId,
        flow: Flow,
        segment: &Segment,
        from: Station,
        predecessor: Option<Seq>,
    ) -> Option<ConnId> {
        let listener = self.listeners.get(id)?;
        if listener.is_full() {
            // It could not be opened; the peer asks again.
            self.counters.dropped_accept_queue_full += 1;
            return None;
        }
        let is_full = self.half_open.is_full_for(id);
        let with_cookie = match listener.syn_cookies {
            SynCookies::Never => false,
            //= spec/rfc4987.txt#section-3.7
            //# in the event that the cache becomes full, then SYN cookies can be sent instead of purging cache entries
            //# upon the arrival of new SYNs.
            SynCookies::WhenFull => is_full,
            SynCookies::Always => true,
        };
        let config = Arc::clone(&listener.config);
        let mut half_open = self.half_open(&config, flow, segment, predecessor);
        //= spec/rfc7413.txt#section-4.2
        //# When this flag is off, the server does not perform any TFO-related operations and MUST ignore all cookie options.
        if let Some(fast_open) = segment.options.fast_open.filter(|_| config.fast_open && predecessor.is_none()) {
            if self.fast_open.is_good(&flow, &fast_open) {
                if let Some(id) = self.open_early(id, &half_open, Arc::clone(&config), from) {
                    return Some(id);
                }
            } else {
                self.counters.fast_open_bad += u64::from(!fast_open.is_request());
                half_open.fast_open = true;
            }
        }
        // A cookie is a number that nobody chose; a successor of TIME-WAIT needs one that is greater than the last.
        if with_cookie && predecessor.is_none() {
            self.send_cookie(&config, half_open, from);
        } else if self.half_open.insert(self.now, &half_open, id).is_ok() {
            coverage::event(State::Listen, Event::Syn);
            self.send_syn_ack(&half_open, Some(from));
        } else {
            self.counters.dropped_syn_queue_full += 1;
        }
        None
    }

    /// A SYN with a good Fast Open cookie: the connection, if there may be one more.
    fn open_early(
        &mut self,
        listener: ListenerId,
        half_open: &HalfOpen,
        config: Arc<TcpConfig>,
        from: Station,
    ) -> Option<ConnId> {
        let flow = half_open.flow;
        let way = self.way_back(&flow, from)?;
        if self.conns.is_full() || !self.fast_open.begin() {
            self.counters.fast_open_limited += 1;
            return None;
        }
        let (link, ts_offset) = (self.link(&flow, &config), self.isn.timestamp_offset(&flow));
        let tcb = Tcb::accept_early(config, link, half_open.iss, ts_offset, self.now);
        let conn = Conn { pending: true, ..Conn::new(tcb, way, Some(listener)) };
        let Ok(id) = self.conns.insert(flow, conn) else {
            self.fast_open.end();
            return None;
        };
        self.counters.fast_open_accepted += 1;
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.untold += 1;
        }
        Some(id)
    }

    /// What there is to remember of a SYN.
    fn half_open(&self, config: &TcpConfig, flow: Flow, segment: &Segment, predecessor: Option<Seq>) -> HalfOpen {
        let link = self.link(&flow, config);
        let theirs = &segment.options;
        let ours = answer(config, link.mss, 0, theirs);
        let iss = self.isn.generate(self.now, &flow);
        HalfOpen {
            flow,
            irs: segment.seq,
            //= spec/rfc9293.txt#section-3.6.1
            //# (1) assigns its initial sequence number for the new connection to be larger than the largest
            //# sequence number it used on the previous connection incarnation
            iss: predecessor.map_or(iss, |last| iss.max(last + 1)),
            peer_mss: theirs.mss.unwrap_or(link.default_mss),
            peer_wscale: theirs.window_scale.filter(|_| ours.window_scale.is_some()),
            our_wscale: ours.window_scale,
            sack: ours.sack_permitted,
            timestamps: ours.timestamps.is_some(),
            ecn: Asked::new(config.ecn_wanted(), segment.flags, segment.ecn),
            peer_tsval: theirs.timestamps.map_or(0, |ts| ts.value),
            retransmits: 0,
            fast_open: false,
        }
    }

    /// Answers a SYN without remembering it.
    //= spec/rfc4987.txt#section-3.6
    //# Instead, they encode most of the state (and all of the strictly required) state that they would normally keep
    //# into the sequence number transmitted on the SYN-ACK.
    fn send_cookie(&mut self, config: &TcpConfig, mut half_open: HalfOpen, from: Station) {
        let flow = half_open.flow;
        if !half_open.timestamps && half_open.ecn.mode() == EcnMode::Classic {
            half_open.ecn = Asked::NOTHING;
        }
        let iss = self.cookies.make(self.now, &flow, half_open.irs, half_open.peer_mss);
        let half_open = HalfOpen { iss, ..half_open };
        let mut segment = self.syn_ack(config, &half_open);
        match &mut segment.options.timestamps {
            Some(timestamps) => timestamps.value = stamp(timestamps.value, &half_open),
            // Nothing would tell of them when the ACK comes.
            None => {
                segment.options.window_scale = None;
                segment.options.sack_permitted = false;
            }
        }
        coverage::event(State::Listen, Event::Syn);
        self.counters.syn_cookies_sent += 1;
        self.post(Outgoing::Segment { flow, segment, to: Some(from), marking: Marking::of(config) });
    }

    /// What was not remembered of a SYN, if `segment` brings it back. Cookies are looked for only while one may be on its
    /// way, so that an ACK out of the blue is worth nothing at other times.
    //= spec/rfc4987.txt#section-3.6
    //# Using the Timestamp bits, it is possible to explicitly store state bits for things like send and receive window
    //# scales, SACK-allowed, and TCP-MD5-enabled, for which there is no room in a typical SYN cookie.
    fn half_open_by_cookie(&mut self, listener: ListenerId, flow: Flow, segment: &Segment) -> Option<HalfOpen> {
        let listener = self.listeners.get(listener)?;
        let may_be = listener.syn_cookies != SynCookies::Never
            && self.cookies.are_awaited(self.now)
            && !segment.flags.any(Flags::SYN | Flags::RST);
        if !may_be {
            return None;
        }
        let (irs, iss) = (segment.seq - 1, segment.ack - 1);
        let Some(mss) = self.cookies.check(self.now, &flow, irs, iss) else {
            self.counters.syn_cookies_bad += 1;
            return None;
        };
        let config = Arc::clone(&listener.config);
        let timestamps = segment.options.timestamps.filter(|_| config.timestamps);
        let stamped = timestamps.map(|timestamps| read_stamp(timestamps.echo));
        // The options of the SYN, as far as they are known, make the SYN-ACK that we must have sent.
        let theirs = Options {
            mss: Some(mss),
            window_scale: stamped.and_then(|stamped| stamped.wscale),
            sack_permitted: stamped.is_some_and(|stamped| stamped.sack),
            timestamps,
            ..Options::NONE
        };
        let syn = Segment { seq: irs, flags: Flags::SYN, options: theirs, ..Segment::default() };
        let classic = stamped.is_some_and(|stamped| stamped.ecn);
        let ecn = Asked::by_cookie(config.ecn_wanted(), classic, segment.flags);
        Some(HalfOpen { iss, ecn, ..self.half_open(&config, flow, &syn, None) })
    }

    fn open_by_cookie(&mut self, half_open: &HalfOpen, listener: ListenerId, from: Station) -> Option<ConnId> {
        let config = Arc::clone(&self.listeners.get(listener)?.config);
        let id = self.open(half_open, listener, config, from)?;
        self.counters.syn_cookies_accepted += 1;
        Some(id)
    }

    /// SYN-RECEIVED's answer; the connection if the segment opens it.
    pub(super) fn on_half_open(&mut self, half_open: &HalfOpen, segment: &Segment, from: Station) -> Option<ConnId> {
        coverage::segment(State::SynReceived, segment);
        let flow = half_open.flow;
        let Some((listener, config)) = self.listening(&flow) else {
            self.half_open.remove(&flow);
            self.reset(flow, segment, from);
            return None;
        };
        if half_open.timestamps && lacks_timestamps(segment) {
            self.counters.dropped_no_timestamp += 1;
            return None;
        }
        let window = config.first_window().min(u32::from(u16::MAX));
        let acceptable = is_acceptable(segment, half_open.irs + 1, window);
        match on_half_open(segment, half_open.irs, half_open.iss, acceptable) {
            OnHalfOpen::Ignore => self.counters.dropped_by_state += 1,
            OnHalfOpen::Again => match self.asked_again(half_open, &config, segment) {
                Some(ecn) => self.send_syn_ack(&HalfOpen { ecn, ..*half_open }, Some(from)),
                None => {
                    coverage::event(State::SynReceived, Event::Kill);
                    self.half_open.remove(&flow);
                    self.reset(flow, segment, from);
                }
            },
            OnHalfOpen::Reset => {
                self.counters.dropped_bad_ack += 1;
                self.reset(flow, segment, from);
            }
            OnHalfOpen::Forget => {
                coverage::event(State::SynReceived, Event::ResetToListen);
                self.half_open.remove(&flow);
            }
            OnHalfOpen::Complete => return self.open(half_open, listener, config, from),
        }
        None
    }

    /// What a peer that asks again has asked for of ECN; `None` if it has changed its mind.
    fn asked_again(&mut self, half_open: &HalfOpen, config: &TcpConfig, segment: &Segment) -> Option<Asked> {
        let mut asked = half_open.ecn;
        if segment.flags.has(Flags::SYN) && segment.seq == half_open.irs {
            let is_same = asked.on_again(config.ecn_wanted(), segment.flags, segment.ecn);
            self.half_open.set_ecn(&half_open.flow, asked);
            return is_same.then_some(asked);
        }
        Some(asked)
    }

    fn listening(&self, flow: &Flow) -> Option<(ListenerId, Arc<TcpConfig>)> {
        let id = self.listeners.find(flow.local)?;
        Some((id, Arc::clone(&self.listeners.get(id)?.config)))
    }

    /// The handshake is complete: the connection gets its place, if there is one. Otherwise the ACK counts as lost;
    /// the SYN-ACK is sent again and so is the ACK.
    fn open(
        &mut self,
        half_open: &HalfOpen,
        listener: ListenerId,
        config: Arc<TcpConfig>,
        from: Station,
    ) -> Option<ConnId> {
        let flow = half_open.flow;
        if self.listeners.get(listener)?.is_full() {
            self.counters.dropped_accept_queue_full += 1;
            return None;
        }
        if self.conns.is_full() {
            self.counters.dropped_table_full += 1;
            return None;
        }
        let Some(way) = self.way_back(&flow, from) else {
            self.counters.dropped_no_route += 1;
            return None;
        };
        let link = self.link(&flow, &config);
        let ts_offset = self.isn.timestamp_offset(&flow);
        let (ours, theirs) = self.options_of(half_open, link.mss, ts_offset);
        let window = u16::try_from(config.first_window()).unwrap_or(u16::MAX);
        let HalfOpen { iss, irs, retransmits, ecn, .. } = *half_open;
        let handshake = Handshake { iss, irs, theirs, ts_offset, retransmits, ecn };
        let tcb = Tcb::accept(config, link, &handshake, &ours, window, self.now);
        let id = self.conns.insert(flow, Conn::new(tcb, way, Some(listener))).ok()?;
        self.half_open.remove(&flow);
        //= spec/rfc9293.txt#section-3.6.1
        //# (2) returns to TIME-WAIT state if the SYN turns out to be an old duplicate.
        // It has not, so only now the one before is forgotten.
        self.time_wait.remove(&flow);
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.untold += 1;
        }
        Some(id)
    }

    /// The options of our SYN-ACK and of the SYN that it answers.
    fn options_of(&self, half_open: &HalfOpen, mss: u16, ts_offset: u32) -> (Options, Options) {
        let value = ts_value(self.now, ts_offset);
        let ours = Options {
            mss: Some(mss),
            window_scale: half_open.our_wscale,
            sack_permitted: half_open.sack,
            timestamps: half_open.timestamps.then_some(Timestamps { value, echo: half_open.peer_tsval }),
            ..Options::NONE
        };
        let theirs = Options {
            mss: Some(half_open.peer_mss),
            window_scale: half_open.peer_wscale,
            sack_permitted: half_open.sack,
            timestamps: half_open.timestamps.then_some(Timestamps { value: half_open.peer_tsval, echo: 0 }),
            ..Options::NONE
        };
        (ours, theirs)
    }

    fn syn_ack(&self, config: &TcpConfig, half_open: &HalfOpen) -> Segment {
        let flow = half_open.flow;
        let link = self.link(&flow, config);
        let (mut options, _) = self.options_of(half_open, link.mss, self.isn.timestamp_offset(&flow));
        //= spec/rfc7413.txt#section-4.2.2
        //# If the SYN-ACK timer fires, the server SHOULD retransmit a SYN-ACK segment with neither data nor Fast Open
        //# options for compatibility reasons.
        options.fast_open = (half_open.fast_open && half_open.retransmits == 0).then(|| self.fast_open.cookie(&flow));
        let (ecn, option) = ecn::syn_ack(&half_open.ecn, half_open.retransmits, options.room());
        options.accurate_ecn = option;
        Segment {
            seq: half_open.iss,
            ack: half_open.irs + 1,
            flags: Flags::SYN | Flags::ACK | ecn,
            window: u16::try_from(config.first_window()).unwrap_or(u16::MAX),
            options,
            ..Segment::default()
        }
    }

    fn send_syn_ack(&mut self, half_open: &HalfOpen, to: Option<Station>) {
        let flow = half_open.flow;
        let Some((_, config)) = self.listening(&flow) else {
            self.half_open.remove(&flow);
            return;
        };
        let segment = self.syn_ack(&config, half_open);
        self.post(Outgoing::Segment { flow, segment, to, marking: Marking::of(&config) });
    }

    /// SYN-ACKs whose answer is overdue go again.
    pub(super) fn retransmit_syn_acks(&mut self) {
        while let Some(half_open) = self.half_open.poll_retransmit(self.now) {
            self.counters.retransmits += 1;
            self.send_syn_ack(&half_open, None);
        }
        self.counters.half_open_expired = self.half_open.expired();
    }
}
