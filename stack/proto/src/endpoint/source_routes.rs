//! Source routes of connections: few, and for most hosts none at all.

use super::{ConnId, Endpoint};
use crate::addr::{Addr, Flow};
use crate::memory::{Buf, Memory};
use crate::tcp::segment::{Flags, Segment};
use crate::wire::{SourceRoute, TcpPacket};
use alloc::collections::BTreeMap;

/// A packet came by a source route and may not be answered by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoWayBack;

/// Most connections that have one.
const CAPACITY: usize = 256;

/// The routes of connections, by their ends, for as long as the connections last.
#[derive(Debug, Default)]
pub(super) struct SourceRoutes {
    by_flow: BTreeMap<Flow, SourceRoute>,
}

impl SourceRoutes {
    /// The route of `flow`; costs nothing as long as there is none at all.
    #[inline]
    pub(super) fn of(&self, flow: &Flow) -> Option<SourceRoute> {
        if self.by_flow.is_empty() { None } else { self.by_flow.get(flow).copied() }
    }

    /// Forgets the route of `flow`, for one that comes after it.
    pub(super) fn forget(&mut self, flow: &Flow) {
        if !self.by_flow.is_empty() {
            self.by_flow.remove(flow);
        }
    }
}

impl Endpoint {
    /// The route of `flow` from now on. False when there is no room.
    pub(super) fn set_route(&mut self, flow: Flow, route: SourceRoute) -> bool {
        let Self { source_routes: routes, conns, half_open, time_wait, .. } = self;
        if routes.by_flow.len() >= CAPACITY {
            let is_there = |flow: &Flow| {
                conns.find(flow).is_some() || half_open.find(flow).is_some() || time_wait.find(flow).is_some()
            };
            routes.by_flow.retain(|flow, _| is_there(flow));
        }
        let fits = routes.by_flow.len() < CAPACITY || routes.by_flow.contains_key(&flow);
        if fits {
            routes.by_flow.insert(flow, route);
        }
        fits
    }

    /// Where what goes to `flow`'s remote end is sent first: to it, or to the first gateway of its route.
    pub(super) fn first_hop(&self, flow: &Flow) -> Addr {
        self.source_routes.of(flow).map_or(flow.remote.addr, |route| route.first())
    }

    /// The way back that a packet brings, if it came by a source route. An error when it came by one that cannot be gone
    /// back, or that nobody here wants: answers by another way would break the rule of RFC 9293 (MUST-53).
    #[inline]
    pub(super) fn return_route<M: Memory>(
        &self,
        memory: &M,
        frame: &Buf,
        flow: &Flow,
        tcp: &TcpPacket,
    ) -> Result<Option<SourceRoute>, NoWayBack> {
        if tcp.ip_options.is_empty() {
            return Ok(None);
        }
        let at = usize::from(tcp.ip_options.start)..usize::from(tcp.ip_options.end);
        let options = frame.bytes(memory).get(at).unwrap_or_default();
        match SourceRoute::of_return(options, tcp.src.addr) {
            // A peer to whom we go by a route comes by one too.
            Some(route) if self.config.accept_source_routes || self.source_routes.of(flow).is_some() => Ok(Some(route)),
            None if !SourceRoute::is_in(options) => Ok(None),
            _ => Err(NoWayBack),
        }
    }

    /// A connection request: its route is that of the connection, and the route of one that was there before is not.
    /// False when there is no room for it.
    //= spec/rfc9293.txt#section-3.9.2.1
    //# When a TCP connection is OPENed passively and a packet arrives with a completed IP Source Route Option
    //# (containing a return route), TCP implementations MUST save the return route and use it for all segments sent on
    //# this connection (MUST-53).
    pub(super) fn on_route_of_syn(&mut self, flow: Flow, segment: &Segment, route: Option<SourceRoute>) -> bool {
        let is_request = segment.flags.has(Flags::SYN) && !segment.flags.any(Flags::ACK | Flags::RST);
        let nothing_to_do = route.is_none() && self.source_routes.by_flow.is_empty();
        if nothing_to_do || !is_request || self.listeners.find(flow.local).is_none() {
            return true;
        }
        match route {
            Some(route) => self.set_route(flow, route),
            None => {
                self.source_routes.forget(&flow);
                true
            }
        }
    }

    /// A segment of a connection brings a route. It counts if the connection came in to a listener, and if the segment
    /// is the very next in order: nobody off the path can turn a connection aside.
    //= spec/rfc9293.txt#section-3.9.2.1
    //# If a different source route arrives in a later segment, the later definition SHOULD override the earlier one
    //# (SHLD-24).
    pub(super) fn on_route(&mut self, id: ConnId, flow: Flow, segment: &Segment, route: SourceRoute) {
        //= spec/rfc9293.txt#section-3.9.2.1
        //# this MUST take precedence over a source route received in a datagram (MUST-52).
        // A connection that was opened here has the route that it was given, or none.
        let counts = |conn: &super::Conn| conn.listener.is_some() && conn.tcb.is_next(segment);
        let same = self.source_routes.of(&flow) == Some(route);
        if same || !self.conns.get(id).is_some_and(counts) || !self.set_route(flow, route) {
            return;
        }
        let way = self.next_hop(route.first());
        if let Some(conn) = self.conns.get_mut(id).filter(|_| way.is_some()) {
            conn.set_way(way);
            conn.tcb.set_ip_options(route.wire_len() as u16);
        }
    }
}
