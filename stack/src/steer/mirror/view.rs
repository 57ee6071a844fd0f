//! The kernel's state as far as one interface goes, and what lies between two of them.

use super::change::Change;
use crate::steer::kernel::{KernelRoute, Link, NeighbourNews};
use corelane_proto::endpoint::{Cidr, Hop, Route};
use corelane_proto::{Addr, Mac};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most routes that are mirrored. Of more, the longest prefixes are left out, and that is logged.
const ROUTES: usize = 65_536;
/// Most neighbours that are mirrored; those beyond are found when they are asked for.
const NEIGHBOURS: usize = 16_384;

/// Of a neighbour, what matters to whoever sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Neighbour {
    At(Mac),
    Failed,
}

/// The state of one interface.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) link: Link,
    /// Whether the interface is there.
    pub(super) exists: bool,
    pub(super) addresses: Vec<Cidr>,
    pub(super) routes: Arc<[Route]>,
    pub(super) neighbours: BTreeMap<Addr, Neighbour>,
}

impl View {
    /// Nothing is known yet but the interface.
    pub(super) fn new(link: Link) -> Self {
        Self { link, exists: true, addresses: Vec::new(), routes: Arc::new([]), neighbours: BTreeMap::new() }
    }

    /// Takes in what is heard of a neighbour. False when there is no room for it.
    pub(super) fn on_neighbour(&mut self, addr: Addr, news: NeighbourNews) -> bool {
        let neighbour = match news {
            NeighbourNews::At(mac) => Neighbour::At(mac),
            NeighbourNews::Failed => Neighbour::Failed,
            NeighbourNews::Unknown => {
                self.neighbours.remove(&addr);
                return true;
            }
        };
        let fits = self.neighbours.len() < NEIGHBOURS || self.neighbours.contains_key(&addr);
        if fits {
            self.neighbours.insert(addr, neighbour);
        }
        fits
    }

    /// What has to be told to whoever knows `self`, so that he knows `new`. What takes something away comes when what
    /// replaces it is there.
    pub(super) fn changes_to(&self, new: &Self, out: &mut Vec<Change>) {
        let (was_up, is_up) = (self.exists && self.link.up, new.exists && new.link.up);
        if was_up && !is_up {
            out.push(Change::LinkDown);
        }
        if let Some(mac) = new.link.mac.filter(|mac| self.link.mac != Some(*mac)) {
            out.push(Change::MacChanged(mac));
        }
        if new.link.mtu != self.link.mtu {
            out.push(Change::MtuChanged(new.link.mtu));
        }
        out.extend(
            new.addresses.iter().filter(|cidr| !self.addresses.contains(cidr)).copied().map(Change::AddressAdded),
        );
        if new.routes != self.routes {
            out.push(Change::RoutesChanged(Arc::clone(&new.routes)));
        }
        let has = |view: &Self, addr: Addr| view.addresses.iter().any(|cidr| cidr.addr == addr);
        let gone = self.addresses.iter().filter(|cidr| !has(new, cidr.addr));
        out.extend(gone.map(|cidr| Change::AddressRemoved(cidr.addr)));
        self.neighbour_changes(new, out);
        if is_up && !was_up {
            out.push(Change::LinkUp);
        }
        if self.exists && !new.exists {
            out.push(Change::LinkGone);
        }
    }

    fn neighbour_changes(&self, new: &Self, out: &mut Vec<Change>) {
        for (&addr, neighbour) in &new.neighbours {
            if self.neighbours.get(&addr) == Some(neighbour) {
                continue;
            }
            out.push(match *neighbour {
                Neighbour::At(mac) => Change::NeighbourResolved { addr, mac },
                Neighbour::Failed => Change::NeighbourFailed(addr),
            });
        }
        let gone = self.neighbours.iter().filter(|(addr, old)| {
            // Of one that failed nobody knows anything that has to be forgotten.
            !new.neighbours.contains_key(addr) && **old != Neighbour::Failed
        });
        out.extend(gone.map(|(addr, _)| Change::NeighbourGone(*addr)));
    }
}

/// The kernel's routes as the interface `index` sees them, in order.
pub(super) fn routes_for(index: u32, kernel: &[KernelRoute]) -> Arc<[Route]> {
    let mut routes: Vec<Route> = kernel.iter().map(|route| route_for(index, route)).collect();
    let rank = |route: &Route| (!route.prefix.addr.is_v4(), u8::MAX - route.prefix.prefix_len, route.prefix.addr);
    routes.sort_by_key(|route| (rank(route), route.metric));
    if routes.len() > ROUTES {
        tracing::warn!(
            routes = routes.len(),
            "the kernel has too many routes: those with the longest prefixes are left out"
        );
        routes.drain(..routes.len() - ROUTES);
    }
    routes.into()
}

fn route_for(index: u32, route: &KernelRoute) -> Route {
    // Of several ways the first by this interface is taken for all: one peer is not to be reached by two.
    let hop = match route.ways.iter().find(|(interface, _)| *interface == index) {
        Some((_, Some(gateway))) => Hop::Gateway(*gateway),
        Some((_, None)) => Hop::Link,
        None => Hop::Elsewhere,
    };
    let KernelRoute { prefix, metric, source, .. } = *route;
    Route { prefix, hop, metric, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: u8) -> Addr {
        Addr::v4([10, 0, 0, n])
    }

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, n])
    }

    fn cidr(n: u8) -> Cidr {
        Cidr { addr: addr(n), prefix_len: 24 }
    }

    fn view() -> View {
        let link = Link { index: 2, name: "eth0".into(), mac: Some(mac(1)), mtu: 1500, up: true, vlan: None };
        View { addresses: vec![cidr(1)], ..View::new(link) }
    }

    fn changes(old: &View, new: &View) -> Vec<Change> {
        let mut out = Vec::new();
        old.changes_to(new, &mut out);
        out
    }

    #[test]
    fn only_what_differs_is_told_and_what_replaces_comes_first() {
        let old = view();
        assert_eq!(changes(&old, &old), []);
        let mut new = old.clone();
        new.link = Link { mtu: 1400, mac: Some(mac(9)), ..new.link };
        new.addresses = vec![cidr(7)];
        new.routes = routes_for(2, &[]);
        let expected = [
            Change::MacChanged(mac(9)),
            Change::MtuChanged(1400),
            Change::AddressAdded(cidr(7)),
            Change::AddressRemoved(addr(1)),
        ];
        assert_eq!(changes(&old, &new), expected);
        new.addresses = vec![Cidr { prefix_len: 16, ..cidr(1) }];
        assert!(changes(&old, &new).contains(&Change::AddressAdded(new.addresses[0])));
        assert!(!changes(&old, &new).contains(&Change::AddressRemoved(addr(1))), "only its prefix is another");
    }

    #[test]
    fn a_link_that_is_gone_is_down_first() {
        let old = view();
        let gone = View { exists: false, ..old.clone() };
        assert_eq!(changes(&old, &gone), [Change::LinkDown, Change::LinkGone]);
        let mut down = old.clone();
        down.link.up = false;
        assert_eq!(changes(&down, &old), [Change::LinkUp]);
        assert_eq!(changes(&down, &gone), [Change::LinkGone]);
    }

    #[test]
    fn neighbours_come_fail_and_go() {
        let mut new = view();
        new.on_neighbour(addr(2), NeighbourNews::At(mac(2)));
        new.on_neighbour(addr(3), NeighbourNews::Failed);
        let told = [Change::NeighbourResolved { addr: addr(2), mac: mac(2) }, Change::NeighbourFailed(addr(3))];
        assert_eq!(changes(&view(), &new), told);
        assert_eq!(changes(&new, &view()), [Change::NeighbourGone(addr(2))]);
        let old = new.clone();
        new.on_neighbour(addr(2), NeighbourNews::At(mac(5)));
        new.on_neighbour(addr(3), NeighbourNews::Unknown);
        assert_eq!(changes(&old, &new), [Change::NeighbourResolved { addr: addr(2), mac: mac(5) }]);
    }

    #[test]
    fn a_flood_of_neighbours_is_bounded() {
        let mut view = view();
        let many = |n: u32| Addr::v4((0x0a00_0000 + n).to_be_bytes());
        let taken = (0..20_000).filter(|n| view.on_neighbour(many(*n), NeighbourNews::At(mac(2)))).count();
        assert_eq!(taken, NEIGHBOURS);
        assert!(view.on_neighbour(many(0), NeighbourNews::At(mac(3))), "what is there may change");
    }

    #[test]
    fn routes_of_other_interfaces_stand_in_the_way_of_shorter_ones() {
        let prefix = |n: u8, prefix_len| Cidr { addr: Addr::v4([10, n, 0, 0]), prefix_len };
        let route =
            |prefix, ways: &[(u32, Option<Addr>)]| KernelRoute { prefix, metric: 3, source: None, ways: ways.to_vec() };
        let kernel = [
            route(prefix(0, 8), &[(2, Some(addr(1)))]),
            route(prefix(3, 16), &[(7, None)]),
            route(prefix(4, 16), &[(7, None), (2, None)]),
            route(prefix(5, 16), &[]),
        ];
        let hops: Vec<_> = routes_for(2, &kernel).iter().map(|route| (route.prefix, route.hop)).collect();
        let expected = [
            (prefix(3, 16), Hop::Elsewhere),
            (prefix(4, 16), Hop::Link),
            (prefix(5, 16), Hop::Elsewhere),
            (prefix(0, 8), Hop::Gateway(addr(1))),
        ];
        assert_eq!(hops, expected);
    }
}
