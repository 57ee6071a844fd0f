//! The interfaces of an endpoint: what each of its links has of its own.
//!
//! A host with several interfaces is a *weak* host here (RFC 1122 3.3.4.2): a packet for any of our addresses is taken from
//! whichever interface it comes by, and goes by the interface that the route to its destination names, whatever its
//! source. So a connection outlives a route that moves. [`EndpointConfig::strong_host`] makes it strict in what it takes.

use super::config::{Cidr, EndpointConfig, Sharing};
use super::flow_hash::subkey;
use super::neighbours::Neighbours;
use super::routing::{Hop, Route, RoutingTable};
use crate::addr::{Addr, Mac};
use crate::memory::InterfaceId;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Most addresses of an interface that are wanted and have not been told.
const ASKS: usize = 1024;

/// What an interface has of its own, at start. The fields are those of [`EndpointConfig`], which has them for the first.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Our Ethernet address.
    pub mac: Mac,
    /// The virtual LAN that the interface is, if it is one: see [`EndpointConfig::vlan`].
    pub vlan: Option<u16>,
    /// Largest IP packet of the link, bytes. 576 to 9,000.
    pub mtu: u16,
    /// Our addresses on it.
    pub addresses: Vec<Cidr>,
    /// Whether another stack has these addresses too.
    pub sharing: Sharing,
    /// Where packets for other links go, one for each family at most.
    pub gateways: Vec<Addr>,
    /// The routes to begin with.
    pub routes: Vec<Route>,
}

impl Default for InterfaceConfig {
    fn default() -> Self {
        Self {
            mac: Mac([0x02, 0, 0, 0, 0, 1]),
            vlan: None,
            mtu: 1500,
            addresses: Vec::new(),
            sharing: Sharing::Own,
            gateways: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// A station on one of our links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Station {
    pub(super) on: InterfaceId,
    pub(super) mac: Mac,
}

/// The first step to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Way {
    /// By which interface.
    pub(super) via: InterfaceId,
    /// Whose Ethernet address is needed there.
    pub(super) hop: Addr,
}

/// One interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) mac: Mac,
    pub(super) vlan: Option<u16>,
    pub(super) mtu: u16,
    pub(super) addresses: Vec<Cidr>,
    pub(super) sharing: Sharing,
    gateways: Vec<Addr>,
    /// The routes that came from outside; an interface with addresses of its own has others beside them.
    pub(super) given: Vec<Route>,
    /// Addresses whose neighbours are wanted from somebody else.
    pub(super) asks: VecDeque<Addr>,
    pub(super) link_up: bool,
    pub(super) neighbours: Neighbours,
}

impl Interface {
    fn new(config: &InterfaceConfig, most_neighbours: usize, key: [u8; 16]) -> Self {
        let InterfaceConfig { mac, vlan, mtu, addresses, sharing, gateways, routes } = config.clone();
        let shared = sharing == Sharing::Shared;
        let unknown = (most_neighbours / 4).max(16);
        Self {
            mac,
            vlan,
            mtu,
            addresses,
            sharing,
            gateways,
            given: routes,
            asks: VecDeque::with_capacity(if shared { ASKS } else { 0 }),
            link_up: true,
            neighbours: Neighbours::new(most_neighbours, unknown, key, shared),
        }
    }

    pub(super) fn has(&self, addr: Addr) -> bool {
        self.addresses.iter().any(|cidr| cidr.addr == addr)
    }

    /// Wants `addr` from whoever knows the neighbours; false when too many are wanted already.
    pub(super) fn ask(&mut self, addr: Addr) -> bool {
        let fits = self.asks.len() < ASKS;
        if fits {
            self.asks.push_back(addr);
        }
        fits
    }

    fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        let own = self.sharing == Sharing::Own;
        let links = self.addresses.iter().filter(move |_| own).map(|cidr| Route::new(*cidr, Hop::Link));
        let everything = |gateway: &Addr| Cidr { addr: *gateway, prefix_len: 0 };
        let gateways = self.gateways.iter().map(move |gateway| {
            let route = Route::new(everything(gateway), Hop::Gateway(*gateway));
            Route { metric: u32::MAX, ..route }
        });
        links.chain(self.given.iter().copied()).chain(gateways)
    }
}

/// All of them. There is always a first, so that nothing has to be looked up where there is but one.
#[derive(Debug)]
pub(super) struct Interfaces {
    first: Interface,
    others: Vec<Interface>,
}

impl Interfaces {
    pub(super) fn new(config: &EndpointConfig, secret: &[u8; 32]) -> Self {
        let first = InterfaceConfig {
            mac: config.mac,
            vlan: config.vlan,
            mtu: config.mtu,
            addresses: config.addresses.clone(),
            sharing: config.sharing,
            gateways: config.gateways.clone(),
            routes: config.routes.clone(),
        };
        let make = |each: &InterfaceConfig| Interface::new(each, config.neighbours, subkey(secret, "neighbours"));
        let others = config.others.iter().take(usize::from(u8::MAX) - 1).map(make).collect();
        Self { first: make(&first), others }
    }

    /// One of them; of one that there is not, the first.
    #[inline]
    pub(super) fn get(&self, id: InterfaceId) -> &Interface {
        match id.0.checked_sub(1) {
            None => &self.first,
            Some(at) => self.others.get(usize::from(at)).unwrap_or(&self.first),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: InterfaceId) -> &mut Interface {
        match id.0.checked_sub(1) {
            None => &mut self.first,
            Some(at) => self.others.get_mut(usize::from(at)).unwrap_or(&mut self.first),
        }
    }

    pub(super) fn is_single(&self) -> bool {
        self.others.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Interface> {
        core::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = InterfaceId> + use<> {
        // The first and 254 others, at most.
        (0..self.len() as u8).map(InterfaceId)
    }

    /// When a neighbour of one of them is to be asked.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let first = self.first.neighbours.next_deadline();
        if self.is_single() {
            return first;
        }
        self.others.iter().filter_map(|other| other.neighbours.next_deadline()).chain(first).min()
    }

    /// Every address, in the order of the interfaces.
    pub(super) fn addresses(&self) -> impl DoubleEndedIterator<Item = Cidr> + '_ {
        self.iter().flat_map(|interface| interface.addresses.iter().copied())
    }

    #[inline]
    pub(super) fn has(&self, addr: Addr) -> bool {
        self.first.has(addr) || self.others.iter().any(|interface| interface.has(addr))
    }

    /// The interface that has `addr`.
    pub(super) fn holder(&self, addr: Addr) -> Option<&Interface> {
        self.iter().find(|interface| interface.has(addr))
    }

    /// Where packets go, by what all of them know.
    pub(super) fn table(&self) -> RoutingTable {
        RoutingTable::new(
            self.ids().zip(self.iter()).flat_map(|(id, each)| each.routes().map(move |route| (id, route))),
        )
    }
}
