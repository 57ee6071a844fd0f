//! From a connection, or a reply, to a frame.

use super::time_wait::Waiting;
use super::{ConnId, Endpoint, EndpointConfig, InterfaceId, Marking, Outgoing, Station, Transmit};
use crate::addr::{Flow, Mac};
use crate::memory::{Buf, Memory};
use crate::tcp::Step;
use crate::tcp::segment::{Flags, Segment};
use crate::time::Instant;
use crate::wire::arp::Operation;
use crate::wire::{self, Arp, EthernetHeader, IpHeader, SourceRoute};

/// Segments that one connection may send before the next has its turn.
const QUOTA: u8 = 16;

impl Endpoint {
    /// The next frame to send, of an endpoint with one interface. See [`poll_transmit_on`](Self::poll_transmit_on).
    pub fn poll_transmit<M: Memory>(&mut self, now: Instant, memory: &mut M) -> Option<Transmit> {
        self.poll_transmit_on(now, memory).map(|(_, transmit)| transmit)
    }

    /// The next frame to send, and by which interface. Frames lie at byte 0 of their memory and are ready to go.
    pub fn poll_transmit_on<M: Memory>(&mut self, now: Instant, memory: &mut M) -> Option<(InterfaceId, Transmit)> {
        self.now = self.now.max(now);
        self.flush(memory);
        // A segment whose neighbour is not known leaves an ARP request behind.
        let transmit =
            self.next_reply(memory).or_else(|| self.next_segment(memory)).or_else(|| self.next_reply(memory));
        if transmit.is_some() {
            self.counters.frames_out += 1;
        }
        transmit
    }

    /// Replies go first: they are few, bounded, and somebody waits for them.
    fn next_reply<M: Memory>(&mut self, memory: &mut M) -> Option<(InterfaceId, Transmit)> {
        while let Some(out) = self.outbox.pop_front() {
            if !self.is_up_for(&out) {
                self.drop_for_link(memory, out);
                continue;
            }
            match out {
                Outgoing::Frame { on, token, len } => return Some((on, Transmit::Owned { token, len })),
                Outgoing::Segment { flow, segment, to, marking } => {
                    let Some(to) = to.or_else(|| self.station_for(&flow, segment, marking)) else { continue };
                    if let Some(transmit) = self.emit_control(memory, to, &flow, marking, &segment) {
                        return Some((to.on, transmit));
                    }
                }
                Outgoing::Arp { on, operation, target, target_mac, source } => {
                    let target_mac_field = target_mac.filter(|_| operation == Operation::Reply).unwrap_or_default();
                    let sender_mac = self.interfaces.get(on).mac;
                    let arp = Arp { operation, sender_mac, sender: source, target_mac: target_mac_field, target };
                    let to = Station { on, mac: target_mac.unwrap_or(Mac::BROADCAST) };
                    if let Some(transmit) = self.emit_arp(memory, to, &arp) {
                        return Some((on, transmit));
                    }
                }
            }
        }
        None
    }

    /// Whether the link carries anything by which this would go; true when nobody knows by which.
    fn is_up_for(&self, out: &Outgoing) -> bool {
        let on = match out {
            _ if self.interfaces.is_single() => InterfaceId::FIRST,
            Outgoing::Frame { on, .. } | Outgoing::Arp { on, .. } => *on,
            Outgoing::Segment { to: Some(to), .. } => to.on,
            Outgoing::Segment { flow, to: None, .. } => {
                let Some(way) = self.way_of(flow) else { return true };
                way.via
            }
        };
        self.interfaces.get(on).link_up
    }

    /// Whom a reply goes to that knows nobody; it waits for its neighbour if it is not known.
    fn station_for(&mut self, flow: &Flow, segment: Segment, marking: Marking) -> Option<Station> {
        let Some(way) = self.way_of(flow) else {
            self.counters.dropped_no_route += 1;
            return None;
        };
        let station = self.resolve(way);
        if station.is_none() {
            self.counters.unresolved += 1;
            self.park(Outgoing::Segment { flow: *flow, segment, to: None, marking });
        }
        station
    }

    /// The next segment of the connections that are ready, each in its turn.
    fn next_segment<M: Memory>(&mut self, memory: &mut M) -> Option<(InterfaceId, Transmit)> {
        loop {
            let (slot, left) = match self.sending.take() {
                Some(turn) => turn,
                None => (self.ready.pop()?, QUOTA),
            };
            let Some(id) = self.conns.by_slot(slot) else { continue };
            let Some(to) = self.mac_of(id) else {
                if !self.interfaces.get(self.interface_of(id)).link_up {
                    // What its application is done with does not wait for the link.
                    self.retire(id);
                }
                continue;
            };
            if let Some(transmit) = self.transmit_one(memory, id, to) {
                if left > 1 {
                    self.sending = Some((slot, left - 1));
                } else {
                    self.ready.push(slot);
                }
                return Some((to.on, transmit));
            }
            self.rearm(id);
            // Without a frame for the last ACK it stays: the peer would get an RST for its FIN if this host was short of
            // frames for longer than 2 MSL.
            let owes =
                memory.available_on(to.on) == 0 && self.conns.get(id).is_some_and(|conn| conn.tcb.owes_ack(self.now));
            if !owes {
                self.retire(id);
            }
        }
    }

    /// One segment of this connection, if it has any to send now.
    fn transmit_one<M: Memory>(&mut self, memory: &mut M, id: ConnId, to: Station) -> Option<Transmit> {
        let flow = *self.conns.flow(id)?;
        let route = self.source_routes.of(&flow);
        let eth = self.ethernet(to);
        loop {
            let frames_left = memory.available_on(to.on) > 0;
            let conn = self.conns.get_mut(id)?;
            let waits = conn.tcb.has_waiting_data();
            let may_split =
                memory.available_on(to.on) > kept_from_splits(&self.config, conn.tcb.is_nothing_in_flight());
            let marking = Marking::of(conn.tcb.config());
            match conn.tcb.poll_transmit(self.now, |token| memory.is_posted(token), frames_left, may_split) {
                None if !frames_left || !may_split && waits => {
                    // Something may have had to stay for want of a frame: look again when there is one.
                    self.starved.push(id.slot() as u32);
                    return None;
                }
                None => return None,
                Some(Step::Posted) => {
                    self.posted.push(id.slot() as u32);
                    return None;
                }
                Some(Step::Join { index }) => self.join(memory, id, index)?,
                Some(Step::Split { index, at }) => self.split(memory, to.on, id, index, at)?,
                Some(Step::Send { mut segment, payload: Some(buf), again }) => {
                    self.fast_open.put_cookie(flow.remote, &mut segment);
                    let at = wire::tcp_header_len(flow.local.addr.is_v4(), eth.vlan.is_some(), &segment.options)
                        + route.map_or(0, |route| route.wire_len());
                    self.counters.payload_moves += u64::from(place_payload(memory, buf, at));
                    let frame = memory.bytes_mut(&buf.token);
                    let len = emit(frame, &eth, &flow, route.as_ref(), marking, &segment);
                    let index = buf.token.index();
                    self.count_sent(&segment, again);
                    return Some(Transmit::Lent { index, len });
                }
                Some(Step::Send { mut segment, payload: None, again }) => {
                    self.fast_open.put_cookie(flow.remote, &mut segment);
                    self.counters.retransmits += u64::from(again);
                    return self.emit_control(memory, to, &flow, marking, &segment);
                }
            }
        }
    }

    fn count_sent(&mut self, segment: &Segment, again: bool) {
        self.counters.segments_out += 1;
        self.counters.fast_open_sent += u64::from(segment.flags.has(Flags::SYN));
        if again {
            self.counters.retransmits += 1;
            self.counters.bytes_resent += u64::from(segment.len);
        } else {
            self.counters.bytes_out += u64::from(segment.len);
        }
    }

    /// Copies the second of two small chunks behind the first.
    fn join<M: Memory>(&mut self, memory: &mut M, id: ConnId, index: usize) -> Option<()> {
        let room = self.header_room(id);
        let conn = self.conns.get_mut(id)?;
        let (first, second) = conn.tcb.pair(index)?;
        place_payload(memory, first, usize::from(room));
        let at = usize::from(first.start) + usize::from(first.len);
        memory.copy(&second.token, usize::from(second.start), usize::from(second.len), &first.token, at);
        self.counters.payload_moves += 1;
        memory.free(conn.tcb.join(index)?);
        Some(())
    }

    /// Copies all but the first `at` bytes of a chunk into a frame of its own.
    fn split<M: Memory>(&mut self, memory: &mut M, on: InterfaceId, id: ConnId, index: usize, at: u16) -> Option<()> {
        let room = self.header_room(id);
        let token = memory.alloc_on(on)?;
        let conn = self.conns.get_mut(id)?;
        let Some(chunk) = conn.tcb.chunk(index).filter(|chunk| chunk.len > at) else {
            memory.free(token);
            return None;
        };
        let len = chunk.len - at;
        let start = usize::from(chunk.start) + usize::from(at);
        memory.copy(&chunk.token, start, usize::from(len), &token, usize::from(room));
        conn.tcb.split(index, at, Buf::new(token, room, len));
        self.counters.payload_moves += 1;
        Some(())
    }

    /// A segment without payload, in a frame of its own.
    fn emit_control<M: Memory>(
        &mut self,
        memory: &mut M,
        to: Station,
        flow: &Flow,
        marking: Marking,
        segment: &Segment,
    ) -> Option<Transmit> {
        let Some(token) = memory.alloc_on(to.on) else {
            self.counters.no_frame += 1;
            return None;
        };
        let eth = self.ethernet(to);
        if segment.len > 0 {
            // The garbage in a keepalive probe is ours, and not what the frame held before.
            let at = wire::tcp_header_len(flow.local.addr.is_v4(), eth.vlan.is_some(), &segment.options);
            memory.bytes_mut(&token)[at..at + usize::from(segment.len)].fill(0);
        }
        let route = self.source_routes.of(flow);
        let len = emit(memory.bytes_mut(&token), &eth, flow, route.as_ref(), marking, segment);
        self.counters.segments_out += 1;
        if segment.flags.has(Flags::RST) {
            self.counters.resets_out += 1;
        }
        Some(Transmit::Owned { token, len })
    }

    fn emit_arp<M: Memory>(&mut self, memory: &mut M, to: Station, arp: &Arp) -> Option<Transmit> {
        let Some(token) = memory.alloc_on(to.on) else {
            self.counters.no_frame += 1;
            return None;
        };
        let eth = self.ethernet(to);
        let len = wire::arp::emit(memory.bytes_mut(&token), &eth, arp);
        self.counters.arp_out += 1;
        Some(Transmit::Owned { token, len: u16::try_from(len).unwrap_or(0) })
    }

    /// A connection that its application is done with and that has sent its last ACK goes to the TIME-WAIT table.
    pub(super) fn retire(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.retired) else { return };
        let Some(flow) = self.conns.flow(id).copied() else { return };
        let remembered = conn.tcb.remembered();
        let waiting = Waiting {
            snd_nxt: remembered.snd_nxt,
            rcv_nxt: remembered.rcv_nxt,
            ts_recent: remembered.ts_recent,
            ts_offset: conn.tcb.ts_offset(),
            marking: Marking::of(conn.tcb.config()),
        };
        self.time_wait.insert(self.now, &flow, waiting);
        self.bury(id);
    }
}

/// Free frames that splitting does not take. What the application wrote before the peer's SYN told of a small MSS, or what
/// a small window cuts, would otherwise take the frames for ACKs, without which neither side's queue gets shorter. Of what
/// is kept a connection that has nothing in flight may take half, or no ACK would ever be for it.
fn kept_from_splits(config: &EndpointConfig, nothing_in_flight: bool) -> usize {
    let kept = config.kept_frames();
    if nothing_in_flight { (kept / 2).max(1) } else { kept.max(1) }
}

/// Writes the headers in front of a payload that is in place.
fn emit(
    frame: &mut [u8],
    eth: &EthernetHeader,
    flow: &Flow,
    route: Option<&SourceRoute>,
    marking: Marking,
    segment: &Segment,
) -> u16 {
    let Marking { ttl, tos } = marking;
    //= spec/rfc9293.txt#section-3.9.1.1
    //# TCP implementations MUST use the same local address that was used in those previous segments (MUST-45).
    //= spec/rfc9293.txt#section-3.9.2
    //# The TTL value used to send TCP segments MUST be configurable (MUST-49).
    let ip = IpHeader { ttl, tos, ..IpHeader::new(flow.local.addr, flow.remote.addr) };
    let len = wire::emit_tcp_by(frame, eth, &ip, route, (flow.local.port, flow.remote.port), segment);
    debug_assert!(len > 0, "the frame is too short for {segment:?}");
    u16::try_from(len).unwrap_or(0)
}

/// Moves the payload to `at` if it is not there; says whether it had to.
fn place_payload<M: Memory>(memory: &mut M, buf: &mut Buf, at: usize) -> bool {
    if usize::from(buf.start) == at {
        return false;
    }
    let from = usize::from(buf.start)..usize::from(buf.start) + usize::from(buf.len);
    memory.bytes_mut(&buf.token).copy_within(from, at);
    buf.start = u16::try_from(at).unwrap_or(u16::MAX);
    true
}
