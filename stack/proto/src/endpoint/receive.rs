//! From a frame to its connection.

use super::limiter::Reply;
use super::time_wait::Waiting;
use super::{ConnId, Endpoint, InterfaceId, ListenerId, Marking, Outgoing, Station};
use crate::addr::Flow;
use crate::memory::{Buf, Memory};
use crate::tcp::close::{OnTimeWait, Remembered, on_time_wait};
use crate::tcp::coverage;
use crate::tcp::effects::Dropped;
use crate::tcp::open::reset_for;
use crate::tcp::options::ts_value;
use crate::tcp::segment::{Flags, MAX_WINDOW_SCALE, Options, Segment, Timestamps};
use crate::tcp::state::State;
use crate::time::Instant;
use crate::wire::{self, Body, Checksums, TcpPacket};

/// Unread frames that a connection may hold although frames are short.
const FEW: usize = 8;

/// Whether a connection that holds `held` frames may have another, when `spare` are free beyond those that are kept. The
/// more there are that hold much the less each may, and some always stay free (dynamic thresholds, Choudhury and Hahne
/// 1998): one alone gets four fifths, a hundred get all but one part in 401.
pub(super) fn is_fair(held: usize, spare: usize) -> bool {
    held < 4 * spare
}

impl Endpoint {
    /// A frame has come by the first interface. See [`receive_on`](Self::receive_on).
    pub fn receive<M: Memory>(&mut self, now: Instant, memory: &mut M, frame: Buf) {
        self.receive_on(InterfaceId::FIRST, now, memory, frame);
    }

    /// A frame has come by the interface `on`; it begins at byte 0. It is kept, answered or freed.
    pub fn receive_on<M: Memory>(&mut self, on: InterfaceId, now: Instant, memory: &mut M, frame: Buf) {
        self.now = self.now.max(now);
        self.counters.frames_in += 1;
        let checksums = Checksums { ip: self.config.verify_ip_checksum, tcp: self.config.verify_tcp_checksum };
        // What is found lies where it is written once: a segment's options are long.
        let parsed = wire::parse(frame.bytes(memory), checksums);
        let packet = match &parsed {
            Ok(packet) => packet,
            Err(error) => {
                self.counters.parse.count(*error);
                memory.free(frame.token);
                return;
            }
        };
        let interface = self.interfaces.get(on);
        if packet.dst_mac != interface.mac && !packet.dst_mac.is_group() {
            self.counters.dropped_other_mac += 1;
            memory.free(frame.token);
            return;
        }
        // The lower twelve bits name a virtual LAN; zero names none (802.1Q priority tag).
        let (from, is_in_lan) = (Station { on, mac: packet.src_mac }, interface.vlan.unwrap_or(0));
        let vlan = packet.vlan.map_or(0, |control| control & 0x0fff);
        match &packet.body {
            _ if vlan != is_in_lan => {
                self.counters.dropped_unhandled += 1;
                memory.free(frame.token);
            }
            Body::Arp(arp) => {
                self.on_arp(on, arp);
                memory.free(frame.token);
            }
            Body::Tcp(tcp) if self.is_taken_on(on, tcp.dst.addr) && !packet.dst_mac.is_group() => {
                self.on_tcp(memory, frame, from, tcp);
            }
            Body::Icmp(icmp) | Body::Icmpv6(icmp) if !packet.dst_mac.is_group() => {
                self.on_icmp(memory, frame, from, icmp);
            }
            Body::Tcp(tcp) if self.config.strong_host && self.is_ours(tcp.dst.addr) => {
                self.counters.dropped_other_interface += 1;
                memory.free(frame.token);
            }
            _ => {
                self.counters.dropped_other_address += 1;
                memory.free(frame.token);
            }
        }
        self.flush(memory);
    }

    fn on_tcp<M: Memory>(&mut self, memory: &mut M, frame: Buf, from: Station, tcp: &TcpPacket) {
        self.counters.segments_in += 1;
        let flow = Flow { local: tcp.dst, remote: tcp.src };
        let segment = &tcp.segment;
        let found = self.conns.find(&flow);
        if found.is_none() && self.is_elsewhere(&flow) {
            if let Err(frame) = self.put_by(frame, flow) {
                memory.free(frame.token);
            }
            return;
        }
        let Ok(route) = self.return_route(memory, &frame, &flow, tcp) else {
            self.counters.dropped_source_route += 1;
            memory.free(frame.token);
            return;
        };
        if segment.flags.has(Flags::SYN) && segment.options.window_scale > Some(MAX_WINDOW_SCALE) {
            //= spec/rfc7323.txt#section-2.3
            //# the TCP SHOULD log the error
            self.counters.window_scales_too_large += 1;
        }
        let id = match found {
            Some(id) => Some(id),
            None if self.on_route_of_syn(flow, segment, route) => self.without_connection(flow, segment, from),
            None => {
                self.counters.dropped_routes_full += 1;
                None
            }
        };
        let Some(id) = id else {
            memory.free(frame.token);
            return;
        };
        if let Some(route) = route {
            self.on_route(id, flow, segment, route);
        }
        let payload = self.payload(memory, frame, from.on, id, tcp);
        self.count_conflict(memory, id, segment, payload.as_ref());
        self.deliver(id, flow, segment, payload);
        self.compact(memory, id, segment.len);
    }

    /// A segment of a flow that is no connection, or not yet, or was one. Gives the connection if it opens one.
    fn without_connection(&mut self, flow: Flow, segment: &Segment, from: Station) -> Option<ConnId> {
        //= spec/rfc9293.txt#section-3.4.3
        //# Hosts that for any reason lose knowledge of the last sequence numbers transmitted on each active (i.e., not
        //# closed) connection shall delay emitting any TCP segments for at least the agreed MSL in the internet system
        //# that the host is a part of.
        if self.now < self.quiet_until {
            self.counters.dropped_quiet_time += 1;
            return None;
        }
        //= spec/rfc9293.txt#section-3.9.2.3
        //# An incoming SYN with an invalid source address MUST be ignored
        // What is invalid everywhere the parser has dropped; these are invalid here.
        if self.is_broadcast(flow.remote.addr) || self.is_ours(flow.remote.addr) {
            self.counters.dropped_martian += 1;
            return None;
        }
        // Before TIME-WAIT: while the successor is half-open, both are there.
        if let Some(half_open) = self.half_open.find(&flow) {
            return self.on_half_open(&half_open, segment, from);
        }
        let listener = self.listeners.find(flow.local);
        let waiting = self.time_wait.find(&flow);
        if let Some(waiting) = waiting
            && self.on_time_wait(flow, segment, waiting, listener, from)
        {
            return None;
        }
        if let Some(listener) = listener {
            return self.on_listen(listener, flow, segment, from, waiting.map(|waiting| waiting.snd_nxt));
        }
        coverage::segment(State::Closed, segment);
        self.counters.dropped_no_listener += 1;
        self.reset(flow, segment, from);
        None
    }

    /// The payload where it lies, or nothing. What waits for a gap must not keep the device from receiving what fills it,
    /// and whose application does not read must not keep others from receiving: when frames are short it is taken only
    /// if it has the next in order, for a connection that holds few.
    fn payload<M: Memory>(
        &mut self,
        memory: &mut M,
        frame: Buf,
        on: InterfaceId,
        id: ConnId,
        tcp: &TcpPacket,
    ) -> Option<Buf> {
        let spare = memory.available_on(on).saturating_sub(self.config.low_water_frames);
        let wanted = self.conns.get(id).is_some_and(|conn| {
            let (ready, held) = conn.tcb.unread_frames();
            // What fills a gap sets free what waits behind it.
            is_fair(held, spare) || ready < FEW && conn.tcb.expects(tcp.segment.seq, tcp.segment.len)
        });
        if tcp.segment.len > 0 && wanted {
            return Some(Buf::new(frame.token, tcp.payload.start, tcp.segment.len));
        }
        if tcp.segment.len > 0 {
            self.counters.dropped_no_buffer += 1;
        }
        memory.free(frame.token);
        None
    }

    /// Bytes that differ from what came before for the same place are thrown away, as all that comes twice; but somebody
    /// lies, and that is counted.
    fn count_conflict<M: Memory>(&mut self, memory: &M, id: ConnId, segment: &Segment, payload: Option<&Buf>) {
        let Some((conn, new)) = self.conns.get(id).zip(payload) else { return };
        if conn.tcb.expects_only(segment.seq) {
            return;
        }
        let bytes = |buf: &Buf, at: u16, len: u16| {
            let start = usize::from(buf.start) + usize::from(at);
            memory.bytes(&buf.token).get(start..start + usize::from(len))
        };
        let differs = conn.tcb.overlaps(segment.seq, segment.len).any(|overlap| {
            bytes(overlap.held, overlap.held_at, overlap.len) != bytes(new, overlap.new_at, overlap.len)
        });
        self.counters.overlap_conflicts += u64::from(differs);
    }

    /// Small payloads that pile up move into one frame. What comes in large pieces is never copied.
    fn compact<M: Memory>(&mut self, memory: &mut M, id: ConnId, len: u16) {
        let frame_len = memory.frame_len();
        if len == 0 || usize::from(len) > frame_len / 4 {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some((first, second)) = conn.tcb.small_pair(frame_len) else { return };
        let at = usize::from(first.start) + usize::from(first.len);
        memory.copy(&second.token, usize::from(second.start), usize::from(second.len), &first.token, at);
        self.counters.payload_moves += 1;
        if let Some(token) = conn.tcb.join_received() {
            memory.free(token);
        }
    }

    /// Hands a segment to its connection and does what follows from it.
    fn deliver(&mut self, id: ConnId, flow: Flow, segment: &Segment, payload: Option<Buf>) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            self.fx.freed.extend(payload.map(|buf| buf.token));
            return;
        };
        conn.tcb.on_segment(now, segment, payload, &mut self.fx);
        if conn.pending && !conn.tcb.is_early() {
            conn.pending = false;
            self.fast_open.end();
        }
        self.settle(flow);
        self.after(id);
    }

    /// Counts and sends what handling an event of `flow` has left in the effects.
    pub(super) fn settle(&mut self, flow: Flow) {
        self.counters.bytes_in += u64::from(core::mem::take(&mut self.fx.taken));
        if let Some(learned) = self.fx.learned.take() {
            self.fast_open.learn(self.now, flow.remote, &learned);
        }
        if core::mem::take(&mut self.fx.fast_retransmit) {
            self.counters.fast_retransmits += 1;
        }
        self.counters.tail_probes += u64::from(core::mem::take(&mut self.fx.tail_probe));
        self.counters.recoveries_undone += u64::from(core::mem::take(&mut self.fx.undone));
        self.counters.duplicates_told += u64::from(core::mem::take(&mut self.fx.duplicates));
        if let Some(dropped) = self.fx.dropped.take() {
            self.count_dropped(dropped);
        }
        let challenge = core::mem::take(&mut self.fx.challenge);
        let reply = self.fx.reply.take();
        //= spec/rfc5961.txt#section-7
        //# 2) The values for both the time and number of ACKs SHOULD be tunable by the system administrator to
        //# accommodate different perceived levels of threat and/or system resources.
        // The connection has its own limit, and without a reply was at it.
        if challenge && (reply.is_none() || !self.challenges.allow(self.now)) {
            self.counters.challenge_acks_limited += 1;
            return;
        }
        if let Some(segment) = reply {
            self.counters.challenge_acks += u64::from(challenge);
            let conn = self.conns.find(&flow).and_then(|id| self.conns.get(id));
            let marking = conn.map_or(Marking::NONE, |conn| Marking::of(conn.tcb.config()));
            self.post(Outgoing::Segment { flow, segment, to: None, marking });
        }
    }

    fn count_dropped(&mut self, dropped: Dropped) {
        let counters = &mut self.counters;
        let counter = match dropped {
            Dropped::Unacceptable => &mut counters.dropped_unacceptable,
            Dropped::Paws => &mut counters.dropped_paws,
            Dropped::NoTimestamp => &mut counters.dropped_no_timestamp,
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
    pub(super) fn reset(&mut self, flow: Flow, segment: &Segment, from: Station) {
        if let Some(reset) = reset_for(segment)
            && self.may_reply(Reply::Reset)
        {
            let listener = self.listeners.find(flow.local).and_then(|id| self.listeners.get(id));
            let marking = listener.map_or(Marking::NONE, |listener| Marking::of(&listener.config));
            self.post(Outgoing::Segment { flow, segment: reset, to: Some(from), marking });
        }
    }

    /// TIME-WAIT's answer; false when the connection may give way to a new one.
    fn on_time_wait(
        &mut self,
        flow: Flow,
        segment: &Segment,
        waiting: Waiting,
        listener: Option<ListenerId>,
        from: Station,
    ) -> bool {
        coverage::segment(State::TimeWait, segment);
        let Waiting { snd_nxt, rcv_nxt, ts_recent, ts_offset, marking } = waiting;
        let timestamps =
            listener.and_then(|id| self.listeners.get(id)).is_some_and(|listener| listener.config.timestamps);
        match on_time_wait(segment, &Remembered { snd_nxt, rcv_nxt, ts_recent }, timestamps) {
            OnTimeWait::Reopen if listener.is_some() => return false,
            OnTimeWait::Ignore => {
                self.counters.dropped_by_state += 1;
                return true;
            }
            OnTimeWait::Reopen | OnTimeWait::Ack => {}
            OnTimeWait::AckAndRestart => {
                self.time_wait.restart(self.now, &flow);
            }
        }
        if self.may_reply(Reply::Ack) {
            let timestamps = ts_recent.map(|echo| Timestamps { value: ts_value(self.now, ts_offset), echo });
            let options = Options { timestamps, ..Options::NONE };
            let window = u16::MAX;
            let ack = Segment { seq: snd_nxt, ack: rcv_nxt, flags: Flags::ACK, window, options, ..Segment::default() };
            self.post(Outgoing::Segment { flow, segment: ack, to: Some(from), marking });
        }
        true
    }
}
