//! From a frame to its connection.

use super::syn_queue::HalfOpen;
use super::time_wait::Waiting;
use super::{Conn, ConnId, Endpoint, ListenerId, Outgoing};
use crate::addr::{Flow, Mac};
use crate::memory::{Buf, Memory};
use crate::tcp::acceptable::is_acceptable;
use crate::tcp::close::{OnTimeWait, Remembered, on_time_wait};
use crate::tcp::effects::Dropped;
use crate::tcp::open::{OnHalfOpen, OnListen, on_half_open, on_listen, reset_for};
use crate::tcp::options::{answer, ts_value};
use crate::tcp::segment::{Flags, Options, Segment, Timestamps};
use crate::tcp::seq::Seq;
use crate::tcp::{Handshake, Tcb};
use crate::time::Instant;
use crate::wire::{self, Body, Checksums, TcpPacket};
use alloc::sync::Arc;

impl Endpoint {
    /// A frame has come from the device; it begins at byte 0. It is kept, answered or freed.
    pub fn receive<M: Memory>(&mut self, now: Instant, memory: &mut M, frame: Buf) {
        self.now = self.now.max(now);
        self.counters.frames_in += 1;
        let checksums = Checksums { ip: self.config.verify_ip_checksum, tcp: self.config.verify_tcp_checksum };
        let packet = match wire::parse(frame.bytes(memory), checksums) {
            Ok(packet) => packet,
            Err(error) => {
                self.counters.parse.count(error);
                memory.free(frame.token);
                return;
            }
        };
        if packet.dst_mac != self.config.mac && !packet.dst_mac.is_group() {
            self.counters.dropped_other_mac += 1;
            memory.free(frame.token);
            return;
        }
        // The lower twelve bits name a virtual LAN; zero names none (802.1Q priority tag).
        let tagged = packet.vlan.is_some_and(|control| control & 0x0fff != 0);
        match packet.body {
            _ if tagged => {
                self.counters.dropped_unhandled += 1;
                memory.free(frame.token);
            }
            Body::Arp(arp) => {
                self.on_arp(&arp);
                memory.free(frame.token);
            }
            Body::Tcp(tcp) if self.is_ours(tcp.dst.addr) && !packet.dst_mac.is_group() => {
                self.on_tcp(memory, frame, packet.src_mac, &tcp);
            }
            Body::Icmp(icmp) | Body::Icmpv6(icmp) if !packet.dst_mac.is_group() => {
                self.on_icmp(memory, frame, packet.src_mac, &icmp);
            }
            _ => {
                self.counters.dropped_other_address += 1;
                memory.free(frame.token);
            }
        }
        self.flush(memory);
    }

    fn on_tcp<M: Memory>(&mut self, memory: &mut M, frame: Buf, from: Mac, tcp: &TcpPacket) {
        self.counters.segments_in += 1;
        let flow = Flow { local: tcp.dst, remote: tcp.src };
        let segment = &tcp.segment;
        if let Some(id) = self.conns.find(&flow) {
            let payload = self.payload(memory, frame, id, tcp);
            self.deliver(id, flow, segment, payload);
            return;
        }
        let mut predecessor = None;
        if let Some(waiting) = self.time_wait.find(&flow) {
            if self.on_time_wait(flow, segment, waiting, from) {
                memory.free(frame.token);
                return;
            }
            // A new connection takes the old one's place.
            self.time_wait.remove(&flow);
            predecessor = Some(waiting.snd_nxt);
        }
        if let Some(half_open) = self.half_open.find(&flow) {
            match self.on_half_open(&half_open, segment, from) {
                Some(id) => {
                    let payload = self.payload(memory, frame, id, tcp);
                    self.deliver(id, flow, segment, payload);
                }
                None => memory.free(frame.token),
            }
            return;
        }
        match self.listeners.find(flow.local) {
            Some(listener) => self.on_listen(listener, flow, segment, from, predecessor),
            None => {
                self.counters.dropped_no_listener += 1;
                self.reset(flow, segment, from);
            }
        }
        memory.free(frame.token);
    }

    /// The payload where it lies, or nothing. When frames are short it is taken only if it has the next in order: what
    /// waits for a gap must not keep the device from receiving what fills it.
    fn payload<M: Memory>(&mut self, memory: &mut M, frame: Buf, id: ConnId, tcp: &TcpPacket) -> Option<Buf> {
        let short = memory.available() < self.config.low_water_frames;
        let wanted =
            !short || self.conns.get(id).is_some_and(|conn| conn.tcb.expects(tcp.segment.seq, tcp.segment.len));
        if tcp.segment.len > 0 && wanted {
            return Some(Buf::new(frame.token, tcp.payload.start, tcp.segment.len));
        }
        if tcp.segment.len > 0 {
            self.counters.dropped_no_buffer += 1;
        }
        memory.free(frame.token);
        None
    }

    /// Hands a segment to its connection and does what follows from it.
    fn deliver(&mut self, id: ConnId, flow: Flow, segment: &Segment, payload: Option<Buf>) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            self.fx.freed.extend(payload.map(|buf| buf.token));
            return;
        };
        conn.tcb.on_segment(now, segment, payload, &mut self.fx);
        self.settle(flow);
        self.after(id);
    }

    /// Counts and sends what handling an event of `flow` has left in the effects.
    pub(super) fn settle(&mut self, flow: Flow) {
        self.counters.bytes_in += u64::from(core::mem::take(&mut self.fx.taken));
        if core::mem::take(&mut self.fx.fast_retransmit) {
            self.counters.fast_retransmits += 1;
        }
        if let Some(dropped) = self.fx.dropped.take() {
            self.count_dropped(dropped);
        }
        let challenge = core::mem::take(&mut self.fx.challenge);
        if let Some(segment) = self.fx.reply.take() {
            //= spec/rfc5961.txt#section-7
            //# An implementation SHOULD include an ACK throttling mechanism to be conservative.
            if challenge && !self.may_reply() {
                return;
            }
            self.counters.challenge_acks += u64::from(challenge);
            self.post(Outgoing::Segment { flow, segment, mac: None });
        }
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        let counters = &mut self.counters;
        let counter = match dropped {
            Dropped::Unacceptable => &mut counters.dropped_unacceptable,
            Dropped::Paws => &mut counters.dropped_paws,
            Dropped::BadAck => &mut counters.dropped_bad_ack,
            Dropped::NoAck => &mut counters.dropped_no_ack,
            Dropped::Duplicate => &mut counters.dropped_duplicate,
            Dropped::AfterClose => &mut counters.dropped_after_close,
            Dropped::OutOfOrderFull => &mut counters.dropped_out_of_order_full,
            Dropped::NoBuffer => &mut counters.dropped_no_buffer,
            Dropped::ByState => &mut counters.dropped_by_state,
        };
        *counter += 1;
    }

    /// The RST for a segment that has no connection, if it gets one.
    fn reset(&mut self, flow: Flow, segment: &Segment, from: Mac) {
        if let Some(reset) = reset_for(segment)
            && self.may_reply()
        {
            self.post(Outgoing::Segment { flow, segment: reset, mac: Some(from) });
        }
    }

    /// TIME-WAIT's answer; false when the connection gives way to a new one.
    fn on_time_wait(&mut self, flow: Flow, segment: &Segment, waiting: Waiting, from: Mac) -> bool {
        let Waiting { snd_nxt, rcv_nxt, ts_recent, ts_offset } = waiting;
        let answer = on_time_wait(segment, &Remembered { snd_nxt, rcv_nxt, ts_recent });
        match answer {
            OnTimeWait::Reopen => return self.listeners.find(flow.local).is_none(),
            OnTimeWait::Ignore => {
                self.counters.dropped_by_state += 1;
                return true;
            }
            OnTimeWait::Ack => {}
            OnTimeWait::AckAndRestart => {
                self.time_wait.restart(self.now, &flow);
            }
        }
        if self.may_reply() {
            let timestamps = ts_recent.map(|echo| Timestamps { value: ts_value(self.now, ts_offset), echo });
            let options = Options { timestamps, ..Options::NONE };
            let window = u16::MAX;
            let ack = Segment { seq: snd_nxt, ack: rcv_nxt, flags: Flags::ACK, window, options, ..Segment::default() };
            self.post(Outgoing::Segment { flow, segment: ack, mac: Some(from) });
        }
        true
    }

    /// LISTEN's answer. If the flow comes out of TIME-WAIT, `predecessor` is the last number that was used in it.
    fn on_listen(&mut self, listener: ListenerId, flow: Flow, segment: &Segment, from: Mac, predecessor: Option<Seq>) {
        match on_listen(segment) {
            OnListen::Ignore => self.counters.dropped_by_state += 1,
            OnListen::Reset => self.reset(flow, segment, from),
            OnListen::Open => {
                let Some(listener) = self.listeners.get(listener) else { return };
                let config = Arc::clone(&listener.config);
                let link = self.link(flow.local.addr, &config);
                let theirs = &segment.options;
                let ours = answer(&config, link.mss, 0, theirs);
                let iss = self.isn.generate(self.now, &flow);
                let half_open = HalfOpen {
                    flow,
                    irs: segment.seq,
                    //= spec/rfc9293.txt#section-3.6.1
                    //# (1) assigns its initial sequence number for the new connection to be larger than the largest
                    //# sequence number it used on the previous connection incarnation
                    iss: predecessor.map_or(iss, |last| iss.max(last + 1)),
                    peer_mss: theirs.mss.unwrap_or(link.default_mss),
                    peer_wscale: theirs.window_scale,
                    our_wscale: ours.window_scale,
                    sack: ours.sack_permitted,
                    timestamps: ours.timestamps.is_some(),
                    ecn: false,
                    peer_tsval: theirs.timestamps.map_or(0, |ts| ts.value),
                    retransmits: 0,
                };
                if self.half_open.insert(self.now, &half_open).is_err() {
                    self.counters.dropped_syn_queue_full += 1;
                    return;
                }
                self.send_syn_ack(&half_open, Some(from));
            }
        }
    }

    /// SYN-RECEIVED's answer; the connection if the segment opens it.
    fn on_half_open(&mut self, half_open: &HalfOpen, segment: &Segment, from: Mac) -> Option<ConnId> {
        let flow = half_open.flow;
        let Some((listener, config)) = self
            .listeners
            .find(flow.local)
            .and_then(|id| self.listeners.get(id).map(|listener| (id, Arc::clone(&listener.config))))
        else {
            self.half_open.remove(&flow);
            self.reset(flow, segment, from);
            return None;
        };
        let window = config.recv_buffer.min(u32::from(u16::MAX));
        let acceptable = is_acceptable(segment, half_open.irs + 1, window);
        match on_half_open(segment, half_open.irs, half_open.iss, acceptable) {
            OnHalfOpen::Ignore => self.counters.dropped_by_state += 1,
            OnHalfOpen::Again => self.send_syn_ack(half_open, Some(from)),
            OnHalfOpen::Reset => {
                self.counters.dropped_bad_ack += 1;
                self.reset(flow, segment, from);
            }
            OnHalfOpen::Forget => {
                self.half_open.remove(&flow);
            }
            OnHalfOpen::Complete => return self.open(half_open, listener, config),
        }
        None
    }

    /// The handshake is complete: the connection gets its place, if there is one. Otherwise the ACK counts as lost;
    /// the SYN-ACK is sent again and so is the ACK.
    fn open(
        &mut self,
        half_open: &HalfOpen,
        listener: ListenerId,
        config: Arc<crate::tcp::config::TcpConfig>,
    ) -> Option<ConnId> {
        let flow = half_open.flow;
        if self.listeners.get(listener)?.untold >= self.config.accept_queue {
            self.counters.dropped_accept_queue_full += 1;
            return None;
        }
        if self.conns.is_full() {
            self.counters.dropped_table_full += 1;
            return None;
        }
        let next_hop = self.next_hop(flow.remote.addr)?;
        let link = self.link(flow.local.addr, &config);
        let ts_offset = self.isn.timestamp_offset(&flow);
        let (ours, theirs) = self.options_of(half_open, link.mss, ts_offset);
        let window = u16::try_from(config.recv_buffer).unwrap_or(u16::MAX);
        let retransmitted = half_open.retransmits > 0;
        let handshake = Handshake { iss: half_open.iss, irs: half_open.irs, theirs, ts_offset, retransmitted };
        let tcb = Tcb::accept(config, link, &handshake, &ours, window, self.now);
        let id = self.conns.insert(flow, Conn::new(tcb, next_hop, Some(listener))).ok()?;
        self.half_open.remove(&flow);
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

    fn send_syn_ack(&mut self, half_open: &HalfOpen, mac: Option<Mac>) {
        let flow = half_open.flow;
        let Some(listener) = self.listeners.find(flow.local).and_then(|id| self.listeners.get(id)) else {
            self.half_open.remove(&flow);
            return;
        };
        let window = u16::try_from(listener.config.recv_buffer).unwrap_or(u16::MAX);
        let link = self.link(flow.local.addr, &listener.config);
        let (options, _) = self.options_of(half_open, link.mss, self.isn.timestamp_offset(&flow));
        let segment = Segment {
            seq: half_open.iss,
            ack: half_open.irs + 1,
            flags: Flags::SYN | Flags::ACK,
            window,
            options,
            ..Segment::default()
        };
        self.post(Outgoing::Segment { flow, segment, mac });
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
