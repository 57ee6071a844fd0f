//! What has changed in the kernel, as values that any thread can take.

use corelane_proto::endpoint::{Cidr, Endpoint, InterfaceId, ListenerId, Route};
use corelane_proto::{Addr, Mac};
use std::sync::Arc;

/// One change of an interface, or of the routes that lead through it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It carries nothing from now on.
    LinkDown,
    /// It has another Ethernet address.
    MacChanged(Mac),
    /// It carries IP packets of so many bytes.
    MtuChanged(u32),
    /// It has one more address, or another prefix for one.
    AddressAdded(Cidr),
    /// It does not have this address any more.
    AddressRemoved(Addr),
    /// All routes as they are now, the longest prefixes first and the least metrics first among these.
    RoutesChanged(Arc<[Route]>),
    /// A neighbour is at this Ethernet address.
    NeighbourResolved {
        /// Who.
        addr: Addr,
        /// Where.
        mac: Mac,
    },
    /// Nobody answers for this address.
    NeighbourFailed(Addr),
    /// Nothing is known any more of this address.
    NeighbourGone(Addr),
    /// It carries frames again.
    LinkUp,
    /// The interface does not exist any more; one that is made under its name is another. `LinkDown` comes before.
    LinkGone,
}

impl Change {
    /// Tells `endpoint` of its first interface; see [`apply_on`](Self::apply_on).
    pub fn apply(&self, endpoint: &mut Endpoint, largest_mtu: u16) -> Vec<ListenerId> {
        self.apply_on(InterfaceId::FIRST, endpoint, largest_mtu)
    }

    /// Tells `endpoint` that this has changed on one of its interfaces. `largest_mtu` is the longest IP packet that its frames hold, bytes. Gives the listeners that have
    /// ended with their address, whose applications have to be told.
    pub fn apply_on(&self, on: InterfaceId, endpoint: &mut Endpoint, largest_mtu: u16) -> Vec<ListenerId> {
        let mut endpoint = endpoint.on(on);
        match self {
            Self::LinkDown | Self::LinkGone => endpoint.set_link(false),
            Self::LinkUp => endpoint.set_link(true),
            Self::MacChanged(mac) => endpoint.set_mac(*mac),
            Self::MtuChanged(mtu) => endpoint.set_mtu(u16::try_from(*mtu).unwrap_or(u16::MAX).min(largest_mtu)),
            Self::AddressAdded(cidr) => endpoint.add_address(*cidr),
            Self::AddressRemoved(addr) => return endpoint.remove_address(*addr),
            Self::RoutesChanged(routes) => endpoint.set_routes(routes),
            // Without room it is asked for again when it is used.
            Self::NeighbourResolved { addr, mac } => drop(endpoint.set_neighbour(*addr, *mac)),
            Self::NeighbourFailed(addr) => endpoint.neighbour_failed(*addr),
            Self::NeighbourGone(addr) => endpoint.remove_neighbour(*addr),
        }
        Vec::new()
    }
}
