//! What changes around an endpoint while it runs: addresses, routes, neighbours, the link. Whoever watches the kernel
//! tells it, and is told which neighbours are wanted. Costs are those of a change, not of a packet.

use super::interfaces::{Interfaces, Way};
use super::neighbours::NeighbourAction;
use super::routing::{Route, RoutingTable};
use super::{Cidr, Endpoint, InterfaceId, ListenerId, Outgoing, Sharing};
use crate::addr::{Addr, Mac};
use crate::memory::Memory;
use crate::tcp::close::CloseReason;
use crate::tcp::state::State;
use crate::tcp::trouble::{Trouble, Unreachable};
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Most replies that wait for their neighbour.
const PARKED: usize = 256;

/// How long one waits at most: as long as a neighbour is asked for. Later it would answer what is long forgotten.
const PARKED_FOR: Duration = Duration::from_secs(3);

/// What waits for somebody else.
#[derive(Debug)]
pub(super) struct Beside {
    /// Replies whose neighbour is not known yet, the oldest first.
    parked: VecDeque<(Instant, Outgoing)>,
}

impl Beside {
    pub(super) fn new() -> Self {
        Self { parked: VecDeque::with_capacity(PARKED) }
    }
}

/// An endpoint as far as one of its interfaces goes: what [`Endpoint::on`] gives.
#[derive(Debug)]
pub struct OnInterface<'a> {
    endpoint: &'a mut Endpoint,
    id: InterfaceId,
}

impl OnInterface<'_> {
    /// These are its routes from now on, in any order: the longest prefix counts, then the least metric. They replace
    /// those that were given before. With addresses of its own an interface keeps the routes to their links, and to its
    /// gateways where no other is. Open connections go the new way with their next packet, by another interface if that
    /// is the way; one whose destination has no route any more goes on trying, and its application is told (RFC 1122
    /// 4.2.3.9: a soft error).
    pub fn set_routes(&mut self, routes: &[Route]) {
        let given = &mut self.endpoint.interfaces.get_mut(self.id).given;
        given.clear();
        given.extend_from_slice(routes);
        self.endpoint.reroute();
    }

    /// The Ethernet address of a neighbour. With addresses of its own an interface neither asks for it nor forgets it
    /// after that; a shared one keeps it until it is told otherwise, or needs the place for another. False when there is
    /// no room, or when it is no address of a single host.
    pub fn set_neighbour(&mut self, addr: Addr, mac: Mac) -> bool {
        let now = self.endpoint.now;
        let interface = self.endpoint.interfaces.get_mut(self.id);
        let (changed, fits) = match interface.sharing {
            Sharing::Own => (true, interface.neighbours.insert_static(addr, mac)),
            Sharing::Shared => {
                let changed = interface.neighbours.tell(now, addr, mac);
                (changed, interface.neighbours.key_of(addr).is_some())
            }
        };
        if changed {
            self.endpoint.resolve_waiting();
        }
        fits
    }

    /// What was known of a neighbour counts no more. Whoever sends to it asks.
    pub fn remove_neighbour(&mut self, addr: Addr) {
        self.endpoint.interfaces.get_mut(self.id).neighbours.remove(addr);
    }

    /// Nobody answers for `addr`: connections that wait for it and are not open end with
    /// [`CloseReason::Unreachable`], as RFC 9293 3.9.2.2 lets a host do with what is not synchronized; open ones go on
    /// trying, and their applications are told. Replies that waited for it are dropped.
    pub fn neighbour_failed(&mut self, addr: Addr) {
        self.endpoint.neighbour_failed_on(self.id, addr);
    }

    /// The next address whose neighbour is wanted, of an interface that shares its addresses: to be answered by
    /// [`set_neighbour`](Self::set_neighbour) or [`neighbour_failed`](Self::neighbour_failed). Each is told once, and
    /// again after ten seconds without an answer. One that is known is told once a minute while it is in use, so that
    /// the other stack keeps it, and needs no answer if it has not changed.
    pub fn poll_unresolved(&mut self) -> Option<Addr> {
        self.endpoint.interfaces.get_mut(self.id).asks.pop_front()
    }

    /// One more address, or another prefix for one that is there. What it brings in routes has to be
    /// [told](Self::set_routes), unless the addresses are the endpoint's own.
    pub fn add_address(&mut self, cidr: Cidr) {
        let addresses = &mut self.endpoint.interfaces.get_mut(self.id).addresses;
        match addresses.iter_mut().find(|known| known.addr == cidr.addr) {
            Some(known) => *known = cidr,
            None => addresses.push(cidr),
        }
        self.endpoint.reroute();
    }

    /// An address is taken away. Unless another interface has it too, its connections end with
    /// [`CloseReason::AddressRemoved`] and without a word to their peers, for nothing may be sent from it any more; so do
    /// those that are half-open. Gives the listeners that were at this very address, which are gone too; those at the
    /// unspecified address stay.
    pub fn remove_address(&mut self, addr: Addr) -> Vec<ListenerId> {
        self.endpoint.interfaces.get_mut(self.id).addresses.retain(|known| known.addr != addr);
        let gone = if self.endpoint.is_ours(addr) { Vec::new() } else { self.endpoint.end_all_at(addr) };
        self.endpoint.reroute();
        gone
    }

    /// The link carries IP packets of `mtu` bytes from now on, 576 or more, and no more than a frame holds. New connections
    /// offer what fits; open ones send no longer segments from now on, and longer ones if only the link was in the way.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.endpoint.interfaces.get_mut(self.id).mtu = mtu.max(576);
        self.endpoint.fit_links();
    }

    /// Our Ethernet address from now on.
    pub fn set_mac(&mut self, mac: Mac) {
        self.endpoint.interfaces.get_mut(self.id).mac = mac;
    }

    /// Whether the link carries anything. While it is down nothing is sent by it; timers run on, so that a connection ends
    /// when it would have ended had the network been silent. When it is up again, whatever is due goes at once.
    pub fn set_link(&mut self, up: bool) {
        self.endpoint.interfaces.get_mut(self.id).link_up = up;
        if up {
            self.endpoint.resolve_waiting();
        }
    }
}

impl Endpoint {
    /// One of the interfaces, to tell what changes on it; the first, if there is no such one.
    pub fn on(&mut self, id: InterfaceId) -> OnInterface<'_> {
        OnInterface { endpoint: self, id }
    }

    /// As [`OnInterface::set_routes`], of the first interface.
    pub fn set_routes(&mut self, routes: &[Route]) {
        self.on(InterfaceId::FIRST).set_routes(routes);
    }

    /// As [`OnInterface::set_neighbour`], of the first interface.
    pub fn set_neighbour(&mut self, addr: Addr, mac: Mac) -> bool {
        self.on(InterfaceId::FIRST).set_neighbour(addr, mac)
    }

    /// As [`OnInterface::remove_neighbour`], of the first interface.
    pub fn remove_neighbour(&mut self, addr: Addr) {
        self.on(InterfaceId::FIRST).remove_neighbour(addr);
    }

    /// As [`OnInterface::neighbour_failed`], of the first interface.
    pub fn neighbour_failed(&mut self, addr: Addr) {
        self.on(InterfaceId::FIRST).neighbour_failed(addr);
    }

    /// As [`OnInterface::poll_unresolved`], of the first interface.
    pub fn poll_unresolved(&mut self) -> Option<Addr> {
        self.on(InterfaceId::FIRST).poll_unresolved()
    }

    /// As [`OnInterface::add_address`], of the first interface.
    pub fn add_address(&mut self, cidr: Cidr) {
        self.on(InterfaceId::FIRST).add_address(cidr);
    }

    /// As [`OnInterface::remove_address`], of the first interface.
    pub fn remove_address(&mut self, addr: Addr) -> Vec<ListenerId> {
        self.on(InterfaceId::FIRST).remove_address(addr)
    }

    /// As [`OnInterface::set_mtu`], of the first interface.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.on(InterfaceId::FIRST).set_mtu(mtu);
    }

    /// As [`OnInterface::set_mac`], of the first interface.
    pub fn set_mac(&mut self, mac: Mac) {
        self.on(InterfaceId::FIRST).set_mac(mac);
    }

    /// As [`OnInterface::set_link`], of the first interface.
    pub fn set_link(&mut self, up: bool) {
        self.on(InterfaceId::FIRST).set_link(up);
    }

    /// Every connection looks for its way again.
    fn reroute(&mut self) {
        self.routing = self.interfaces.table();
        let Self { conns, routing, interfaces, source_routes, news, .. } = self;
        let mut moved = false;
        for (id, flow, conn) in conns.iter_mut() {
            let first = source_routes.of(flow).map_or(flow.remote.addr, |route| route.first());
            let way = way_to(first, conn.via, routing, interfaces);
            if way == conn.way() {
                continue;
            }
            if way.is_none() {
                conn.tcb.on_trouble(Trouble::Unreachable(Unreachable::Network));
                conn.take_news();
                news.push(id.slot() as u32);
            }
            moved |= way.is_some_and(|way| way.via != conn.via);
            conn.set_way(way);
        }
        if moved {
            self.fit_links();
        }
        self.resolve_waiting();
    }

    /// See [`OnInterface::neighbour_failed`].
    //= spec/rfc9293.txt#section-3.9.1.8
    //# There MUST be a mechanism for reporting soft TCP error conditions to the application (MUST-47).
    fn neighbour_failed_on(&mut self, on: InterfaceId, addr: Addr) {
        let way = Way { via: on, hop: addr };
        let interface = self.interfaces.get_mut(on);
        interface.neighbours.remove(addr);
        let shared = interface.sharing == Sharing::Shared;
        self.drop_parked_for(way);
        for _ in 0..self.unresolved.len() {
            let Some(slot) = self.unresolved.pop() else { break };
            let Some(id) = self.conns.by_slot(slot) else { continue };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            let waits = conn.way() == Some(way);
            let opening = matches!(conn.tcb.state(), State::SynSent | State::SynReceived);
            if waits && opening {
                conn.tcb.kill(CloseReason::Unreachable);
                self.after(id);
            } else if waits && conn.retired {
                // Its last ACK will never leave, and nobody waits for it.
                self.retire(id);
            } else {
                if waits {
                    let trouble = Trouble::Unreachable(Unreachable::Host);
                    if shared {
                        conn.tcb.on_trouble(trouble);
                        conn.take_news();
                    } else {
                        // That nobody answers ARP is the silence of the peer, no report.
                        conn.tell_trouble(Some(trouble));
                    }
                    self.news.push(slot);
                }
                self.unresolved.push(slot);
            }
        }
    }

    /// Asks for `target` on `on`: by ARP, or whoever else speaks to neighbours there.
    pub(super) fn ask_for(&mut self, on: InterfaceId, target: Addr, target_mac: Option<Mac>) {
        let interface = self.interfaces.get_mut(on);
        if interface.sharing == Sharing::Own {
            self.ask_by_arp(on, target, target_mac);
        } else if !interface.ask(target) {
            self.counters.asks_limited += 1;
        }
    }

    /// Asks again for neighbours that have not answered, and gives up on those that never did.
    pub(super) fn poll_neighbours(&mut self) {
        for on in self.interfaces.ids() {
            while let Some(action) = self.interfaces.get_mut(on).neighbours.poll(self.now) {
                match action {
                    NeighbourAction::Request { addr, mac } => self.ask_for(on, addr, mac),
                    NeighbourAction::Failed(addr) => self.neighbour_failed_on(on, addr),
                }
            }
        }
    }

    /// A reply waits for its neighbour; when too many do the oldest is dropped and counted.
    // RFC 1122 2.3.2.2: the link layer should save at least the latest packet to an address that is not resolved yet, and
    // send it when it is.
    pub(super) fn park(&mut self, out: Outgoing) {
        if self.beside.parked.len() >= PARKED {
            self.counters.dropped_unresolved += 1;
            self.beside.parked.pop_front();
        }
        self.beside.parked.push_back((self.now, out));
    }

    fn drop_parked_for(&mut self, way: Way) {
        let Self { beside, routing, source_routes, counters, .. } = self;
        let before = beside.parked.len();
        beside.parked.retain(|(_, out)| {
            let Outgoing::Segment { flow, .. } = out else { return false };
            let first = source_routes.of(flow).map_or(flow.remote.addr, |route| route.first());
            routing.find(first).is_none_or(|(other, _)| other != way)
        });
        counters.dropped_unresolved += (before - beside.parked.len()) as u64;
    }

    /// Lets everybody who waits for a neighbour look again.
    pub(super) fn resolve_waiting(&mut self) {
        while let Some(slot) = self.unresolved.pop() {
            self.ready.push(slot);
        }
        // From the last to the first, each before all that has been posted since.
        for _ in 0..self.beside.parked.len() {
            let Some((since, out)) = self.beside.parked.pop_back() else { break };
            if self.now.saturating_since(since) > PARKED_FOR {
                self.counters.dropped_unresolved += 1;
            } else if self.is_resolved(&out) {
                self.post_first(out);
            } else {
                self.beside.parked.push_front((since, out));
            }
        }
    }

    fn is_resolved(&self, out: &Outgoing) -> bool {
        let Outgoing::Segment { flow, .. } = out else { return true };
        // Without a route it is dropped where it would be sent.
        self.way_of(flow).is_none_or(|way| self.interfaces.get(way.via).neighbours.is_known(way.hop))
    }

    /// Everything at `addr` ends, for nobody has it any more. Gives the listeners that were there.
    fn end_all_at(&mut self, addr: Addr) -> Vec<ListenerId> {
        let gone = self.listeners.at(addr);
        for id in &gone {
            self.unlisten(*id);
        }
        self.counters.listeners_removed += gone.len() as u64;
        self.half_open.retain(|flow| flow.local.addr != addr);
        self.beside.parked.retain(|(_, out)| !matches!(out, Outgoing::Segment { flow, .. } if flow.local.addr == addr));
        self.outbox.retain(|out| !matches!(out, Outgoing::Segment { flow, .. } if flow.local.addr == addr));
        let ended: Vec<_> = self.iter().filter(|(_, flow)| flow.local.addr == addr).map(|(id, _)| id).collect();
        for id in ended {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            if conn.retired {
                // Its application knows already that it is over.
                self.bury(id);
                continue;
            }
            conn.tcb.kill(CloseReason::AddressRemoved);
            self.after(id);
        }
        gone
    }

    /// Every connection sends what its link carries.
    //= spec/rfc9293.txt#section-3.7.1
    //# The maximum size of a segment that a TCP endpoint really sends, the "effective send MSS", MUST be the smaller
    //# (MUST-16) of the send MSS (that reflects the available reassembly buffer size at the remote host, the EMTU_R
    //# [19]) and the largest transmission size permitted by the IP layer (EMTU_S [19]):
    fn fit_links(&mut self) {
        let all: Vec<_> = self.iter().map(|(id, flow)| (id, *flow)).collect();
        for (id, flow) in all {
            let Some(config) = self.conns.get(id).map(|conn| *conn.tcb.config()) else { continue };
            let mss = self.link(&flow, &config).mss;
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.tcb.set_link_mss(mss);
            self.after(id);
        }
    }

    /// Throws a packet away that the link cannot take now.
    pub(super) fn drop_for_link<M: Memory>(&mut self, memory: &mut M, out: Outgoing) {
        self.counters.dropped_link_down += 1;
        if let Outgoing::Frame { token, .. } = out {
            memory.free(token);
        }
    }
}

/// The way to `first` of a connection that went by `via`: what is on one link only stays on it.
pub(super) fn way_to(first: Addr, via: InterfaceId, routing: &RoutingTable, interfaces: &Interfaces) -> Option<Way> {
    let is_fixed = first.is_link_local() && !interfaces.is_single();
    routing.find(first).map(|(way, _)| if is_fixed { Way { via, ..way } } else { way })
}
