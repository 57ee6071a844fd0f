//! Our addresses, the way to others, ARP and ICMP.

use super::limiter::Reply;
use super::neighbours::Resolution;
use super::syn_queue::HalfOpen;
use super::{ConnId, Endpoint, Outgoing, Sharing};
use crate::addr::{Addr, Mac};
use crate::memory::{Buf, Memory};
use crate::tcp::trouble::{Trouble, Unreachable};
use crate::wire::arp::Operation;
use crate::wire::{self, Arp, EthernetHeader, IcmpError, IcmpErrorKind, IcmpMessage, IcmpPacket, IpHeader};

impl Endpoint {
    /// Whether `addr` is one of our addresses.
    pub fn is_ours(&self, addr: Addr) -> bool {
        self.config.addresses.iter().any(|cidr| cidr.addr == addr)
    }

    /// Whether `addr` means every host of one of our links: the last address of an IPv4 prefix (RFC 1122 3.2.1.3).
    pub(super) fn is_broadcast(&self, addr: Addr) -> bool {
        self.config.addresses.iter().any(|cidr| cidr.is_broadcast(addr))
    }

    /// The link's header of what is sent to `dst`.
    pub(super) fn ethernet(&self, dst: Mac) -> EthernetHeader {
        EthernetHeader { dst, src: self.config.mac, vlan: self.config.vlan }
    }

    /// Whose Ethernet address a packet for `remote` needs: its own on the link, else the gateway's (RFC 1122 3.3.1).
    pub(super) fn next_hop(&self, remote: Addr) -> Option<Addr> {
        self.routing.find(remote).map(|(hop, _)| hop)
    }

    /// The Ethernet address of `next_hop`, asked for if it is not known.
    pub(super) fn resolve(&mut self, next_hop: Addr) -> Option<Mac> {
        match self.neighbours.lookup(self.now, next_hop) {
            Resolution::Known(mac) => Some(mac),
            Resolution::Pending => None,
            Resolution::RequestNow => {
                self.ask_for(next_hop, None);
                None
            }
        }
    }

    pub(super) fn ask_by_arp(&mut self, target: Addr, target_mac: Option<Mac>) {
        let source = self.config.addresses.iter().find(|cidr| cidr.contains(target)).map(|cidr| cidr.addr);
        // Neighbour discovery for IPv6 is not spoken yet: such a neighbour has to be set.
        if let Some(source) = source.filter(Addr::is_v4) {
            self.post(Outgoing::Arp { operation: Operation::Request, target, target_mac, source });
        }
    }

    /// What is sent by way of `next_hop` does not arrive: it is asked whether it is still there.
    //= spec/rfc9293.txt#section-3.8.3
    //# (b)  When the number of transmissions of the same segment reaches or
    //# exceeds threshold R1, pass negative advice (see Section 3.3.1.4
    //# of [19]) to the IP layer, to trigger dead-gateway diagnosis.
    pub(super) fn doubt(&mut self, next_hop: Addr) {
        self.neighbours.doubt(self.now, next_hop);
    }

    /// ARP (RFC 826): learn, and answer for our addresses. What they share with another stack is for that to do.
    pub(super) fn on_arp(&mut self, arp: &Arp) {
        if self.config.sharing == Sharing::Shared {
            self.counters.dropped_unhandled += 1;
            return;
        }
        let for_us = self.is_ours(arp.target);
        if self.is_ours(arp.sender) {
            // Somebody else uses our address (RFC 5227 2.4). It is not believed, and not fought over here.
            self.counters.address_conflicts += 1;
            return;
        }
        if self.neighbours.learn(self.now, arp.sender, arp.sender_mac, for_us) {
            self.resolve_waiting();
        }
        if !for_us {
            return;
        }
        self.counters.arp_in += 1;
        if arp.operation == Operation::Request && self.may_reply(Reply::Arp) {
            let (target, target_mac) = (arp.sender, Some(arp.sender_mac));
            self.post(Outgoing::Arp { operation: Operation::Reply, target, target_mac, source: arp.target });
        }
    }

    /// ICMP: an echo request for us is answered in its own frame, an error goes to its connection.
    pub(super) fn on_icmp<M: Memory>(&mut self, memory: &mut M, frame: Buf, from: Mac, icmp: &IcmpPacket) {
        match &icmp.message {
            IcmpMessage::EchoRequest(echo)
                if self.config.sharing == Sharing::Own && self.is_ours(icmp.dst) && self.may_reply(Reply::Echo) =>
            {
                let eth = self.ethernet(from);
                let ip = IpHeader { tos: icmp.tos, ..IpHeader::new(icmp.dst, icmp.src) };
                let len = wire::icmp::emit_echo_reply(memory.bytes_mut(&frame.token), &eth, &ip, echo);
                match u16::try_from(len) {
                    Ok(len) if len > 0 => {
                        self.counters.echo_replies += 1;
                        self.post(Outgoing::Frame { token: frame.token, len });
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
    pub(super) fn mac_of(&mut self, id: ConnId) -> Option<Mac> {
        let generation = self.neighbours.generation();
        let conn = self.conns.get(id)?;
        let link_up = self.beside.link_up;
        if let Some((mac, _)) = conn.mac.filter(|(_, at)| link_up && *at == generation) {
            return Some(mac);
        }
        let next_hop = conn.next_hop;
        let Some(mac) = next_hop.filter(|_| link_up).and_then(|next_hop| self.resolve(next_hop)) else {
            let counter = match next_hop {
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
        self.conns.get_mut(id)?.mac = Some((mac, self.neighbours.generation()));
        Some(mac)
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
