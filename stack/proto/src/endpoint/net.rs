//! Our addresses, the way to others, ARP and ICMP.

use super::limiter::Reply;
use super::neighbours::Resolution;
use super::syn_queue::HalfOpen;
use super::{Cidr, ConnId, Endpoint, InterfaceId, Outgoing, Sharing, Station, Way};
use crate::addr::{Addr, Flow, Mac};
use crate::memory::{Buf, Memory};
use crate::tcp::trouble::{Trouble, Unreachable};
use crate::wire::arp::Operation;
use crate::wire::{self, Arp, EthernetHeader, IcmpError, IcmpErrorKind, IcmpMessage, IcmpPacket, IpHeader};

impl Endpoint {
    /// Whether `addr` is one of our addresses.
    pub fn is_ours(&self, addr: Addr) -> bool {
        self.interfaces.has(addr)
    }

    /// Our addresses, in the order of the interfaces.
    pub fn addresses(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.interfaces.addresses()
    }

    /// The largest IP packet that an interface sends now, bytes.
    pub fn mtu(&self, id: InterfaceId) -> u16 {
        self.interfaces.get(id).mtu
    }

    /// Whether a packet for `addr` that came by `on` is taken.
    pub(super) fn is_taken_on(&self, on: InterfaceId, addr: Addr) -> bool {
        if self.config.strong_host { self.interfaces.get(on).has(addr) } else { self.is_ours(addr) }
    }

    /// Whether `addr` means every host of one of our links: the last address of an IPv4 prefix (RFC 1122 3.2.1.3).
    pub(super) fn is_broadcast(&self, addr: Addr) -> bool {
        self.interfaces.addresses().any(|cidr| cidr.is_broadcast(addr))
    }

    /// The link's header of what is sent to `to`.
    pub(super) fn ethernet(&self, to: Station) -> EthernetHeader {
        let interface = self.interfaces.get(to.on);
        EthernetHeader { dst: to.mac, src: interface.mac, vlan: interface.vlan }
    }

    /// By which interface a packet for `remote` goes, and whose Ethernet address it needs: its own on the link, else the
    /// gateway's (RFC 1122 3.3.1).
    pub(super) fn next_hop(&self, remote: Addr) -> Option<Way> {
        self.routing.find(remote).map(|(way, _)| way)
    }

    /// The way of a flow that is no connection.
    pub(super) fn way_of(&self, flow: &Flow) -> Option<Way> {
        self.next_hop(self.first_hop(flow))
    }

    /// The way of a flow whose segment came from `from`. An address of the link alone means another host on each link.
    pub(super) fn way_back(&self, flow: &Flow, from: Station) -> Option<Way> {
        let hop = self.first_hop(flow);
        let is_fixed = hop.is_link_local() && !self.interfaces.is_single();
        self.next_hop(hop).map(|way| if is_fixed { Way { via: from.on, hop } } else { way })
    }

    /// By which interface a flow goes.
    pub(super) fn via(&self, flow: &Flow) -> InterfaceId {
        if self.interfaces.is_single() {
            return InterfaceId::FIRST;
        }
        let conn = self.conns.find(flow).and_then(|id| self.conns.get(id));
        conn.map_or_else(|| self.way_of(flow).map_or(InterfaceId::FIRST, |way| way.via), |conn| conn.via)
    }

    /// By which interface a connection goes, or went last; the first, when it is gone.
    pub fn interface_of(&self, id: ConnId) -> InterfaceId {
        self.conns.get(id).map_or(InterfaceId::FIRST, |conn| conn.via)
    }

    /// Who is the next on this way, asked for if it is not known.
    pub(super) fn resolve(&mut self, way: Way) -> Option<Station> {
        match self.interfaces.get_mut(way.via).neighbours.lookup(self.now, way.hop) {
            Resolution::Known(mac) => Some(Station { on: way.via, mac }),
            Resolution::Pending => None,
            Resolution::RequestNow => {
                self.ask_for(way.via, way.hop, None);
                None
            }
        }
    }

    pub(super) fn ask_by_arp(&mut self, on: InterfaceId, target: Addr, target_mac: Option<Mac>) {
        let source = self.interfaces.get(on).addresses.iter().find(|cidr| cidr.contains(target)).map(|cidr| cidr.addr);
        // Neighbour discovery for IPv6 is not spoken yet: such a neighbour has to be set.
        if let Some(source) = source.filter(Addr::is_v4) {
            self.post(Outgoing::Arp { on, operation: Operation::Request, target, target_mac, source });
        }
    }

    /// What is sent this way does not arrive: the next on it is asked whether it is still there.
    //= spec/rfc9293.txt#section-3.8.3
    //# (b)  When the number of transmissions of the same segment reaches or
    //# exceeds threshold R1, pass negative advice (see Section 3.3.1.4
    //# of [19]) to the IP layer, to trigger dead-gateway diagnosis.
    pub(super) fn doubt(&mut self, way: Way) {
        self.interfaces.get_mut(way.via).neighbours.doubt(self.now, way.hop);
    }

    /// ARP (RFC 826): learn, and answer for our addresses. What they share with another stack is for that to do.
    pub(super) fn on_arp(&mut self, on: InterfaceId, arp: &Arp) {
        let interface = self.interfaces.get_mut(on);
        if interface.sharing == Sharing::Shared {
            self.counters.dropped_unhandled += 1;
            return;
        }
        let for_us = interface.has(arp.target);
        if interface.has(arp.sender) {
            // Somebody else uses our address (RFC 5227 2.4). It is not believed, and not fought over here.
            self.counters.address_conflicts += 1;
            return;
        }
        if interface.neighbours.learn(self.now, arp.sender, arp.sender_mac, for_us) {
            self.resolve_waiting();
        }
        if !for_us {
            return;
        }
        self.counters.arp_in += 1;
        if arp.operation == Operation::Request && self.may_reply(Reply::Arp) {
            let (target, target_mac) = (arp.sender, Some(arp.sender_mac));
            self.post(Outgoing::Arp { on, operation: Operation::Reply, target, target_mac, source: arp.target });
        }
    }

    /// Whether we alone answer for this address of ours.
    fn is_own(&self, addr: Addr) -> bool {
        self.interfaces.holder(addr).is_some_and(|interface| interface.sharing == Sharing::Own)
    }

    /// ICMP: an echo request for us is answered in its own frame, an error goes to its connection.
    pub(super) fn on_icmp<M: Memory>(&mut self, memory: &mut M, frame: Buf, from: Station, icmp: &IcmpPacket) {
        match &icmp.message {
            IcmpMessage::EchoRequest(echo)
                if self.is_taken_on(from.on, icmp.dst) && self.is_own(icmp.dst) && self.may_reply(Reply::Echo) =>
            {
                let eth = self.ethernet(from);
                let ip = IpHeader { tos: icmp.tos, ..IpHeader::new(icmp.dst, icmp.src) };
                let len = wire::icmp::emit_echo_reply(memory.bytes_mut(&frame.token), &eth, &ip, echo);
                match u16::try_from(len) {
                    Ok(len) if len > 0 => {
                        self.counters.echo_replies += 1;
                        self.post(Outgoing::Frame { on: from.on, token: frame.token, len });
                    }
                    _ => memory.free(frame.token),
                }
            }
            IcmpMessage::Error(error) if self.conns.find(&error.flow).is_none() && self.is_elsewhere(&error.flow) => {
                if let Err(frame) = self.put_by(frame, error.flow) {
                    memory.free(frame.token);
                }
            }
            IcmpMessage::Error(error) => {
                self.on_icmp_error(error);
                memory.free(frame.token);
            }
            _ => {
                self.counters.dropped_unhandled += 1;
                memory.free(frame.token);
            }
        }
    }

    /// An ICMP error about a segment of ours. It can be forged, so the quoted number has to be in flight
    /// (RFC 5927 4.1), and nothing that is open is closed by it.
    fn on_icmp_error(&mut self, error: &IcmpError) {
        //= spec/rfc9293.txt#section-3.9.2.2
        //# TCP implementations MUST silently discard any received ICMP Source Quench messages (MUST-55).
        if error.kind == IcmpErrorKind::SourceQuench {
            self.counters.dropped_unhandled += 1;
            return;
        }
        //= spec/rfc9293.txt#section-3.9.2.2
        //# TCP implementations MUST act on an ICMP error message passed up from the IP layer, directing it to the
        //# connection that created the error (MUST-54).
        let believed = match self.conns.find(&error.flow) {
            Some(id) => self.on_icmp_error_of(id, error),
            None => match self.half_open.find(&error.flow) {
                Some(half_open) => self.on_icmp_error_of_half_open(&half_open, error),
                None => {
                    self.counters.dropped_no_listener += 1;
                    return;
                }
            },
        };
        if believed {
            self.counters.icmp_errors_in += 1;
        } else {
            self.counters.dropped_icmp_forged += 1;
        }
    }

    fn on_icmp_error_of(&mut self, id: ConnId, error: &IcmpError) -> bool {
        let Some(conn) = self.conns.get_mut(id) else { return false };
        // Without the MTU of the next hop the smallest that every host has to take is assumed (RFC 1191 5).
        let (headers, least) = if error.flow.local.addr.is_v4() { (40, 576) } else { (60, 1280) };
        let now = self.now;
        let believed = match trouble_of(error.kind) {
            None => conn.tcb.on_too_big(now, error.mtu.unwrap_or(least).saturating_sub(headers), error.seq),
            Some(trouble) => conn.tcb.on_icmp_error(error.seq, trouble, error.kind.is_hard()),
        };
        self.after(id);
        believed
    }

    /// A hard error takes a half-open connection back to LISTEN, as an RST would.
    fn on_icmp_error_of_half_open(&mut self, half_open: &HalfOpen, error: &IcmpError) -> bool {
        let believed = error.seq == half_open.iss;
        if believed && error.kind.is_hard() {
            self.half_open.remove(&half_open.flow);
        }
        believed
    }

    /// Whether a stateless reply may go; too many a second would make us a reflector.
    pub(super) fn may_reply(&mut self, reply: Reply) -> bool {
        let allowed = self.replies.allow(self.now, reply);
        if !allowed {
            self.counters.replies_limited += 1;
        }
        allowed
    }

    /// The Ethernet address for `id`'s segments; it waits for its neighbour if there is none.
    pub(super) fn mac_of(&mut self, id: ConnId) -> Option<Station> {
        let conn = self.conns.get(id)?;
        let interface = self.interfaces.get(conn.via);
        let (generation, link_up) = (interface.neighbours.generation(), interface.link_up);
        if let Some((mac, _)) = conn.mac.filter(|(_, at)| link_up && *at == generation) {
            return Some(Station { on: conn.via, mac });
        }
        let way = conn.way();
        let Some(station) = way.filter(|_| link_up).and_then(|way| self.resolve(way)) else {
            let counter = match way {
                _ if !link_up => &mut self.counters.dropped_link_down,
                Some(_) => &mut self.counters.unresolved,
                None => &mut self.counters.dropped_no_route,
            };
            *counter += 1;
            self.unresolved.push(id.slot() as u32);
            let now = self.now;
            self.conns.get_mut(id)?.tcb.on_blocked(now);
            self.rearm(id);
            return None;
        };
        let generation = self.interfaces.get(station.on).neighbours.generation();
        self.conns.get_mut(id)?.mac = Some((station.mac, generation));
        Some(station)
    }
}

/// What an ICMP error means for a connection; `None` for one that is path MTU discovery's.
const fn trouble_of(kind: IcmpErrorKind) -> Option<Trouble> {
    Some(match kind {
        IcmpErrorKind::PacketTooBig => return None,
        IcmpErrorKind::NetUnreachable => Trouble::Unreachable(Unreachable::Network),
        IcmpErrorKind::HostUnreachable | IcmpErrorKind::SourceQuench => Trouble::Unreachable(Unreachable::Host),
        IcmpErrorKind::ProtocolUnreachable => Trouble::Unreachable(Unreachable::Protocol),
        IcmpErrorKind::PortUnreachable => Trouble::Unreachable(Unreachable::Port),
        IcmpErrorKind::SourceRouteFailed => Trouble::Unreachable(Unreachable::SourceRoute),
        IcmpErrorKind::Prohibited => Trouble::Unreachable(Unreachable::Prohibited),
        IcmpErrorKind::TimeExceeded | IcmpErrorKind::ReassemblyTimeExceeded => Trouble::TimeExceeded,
        IcmpErrorKind::ParameterProblem => Trouble::ParameterProblem,
    })
}
