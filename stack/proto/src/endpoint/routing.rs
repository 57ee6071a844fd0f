//! The way to others: the longest prefix, and among equals the least metric (RFC 1122 3.3.1, RFC 1812 5.2.4.3).

use super::config::Cidr;
use super::interfaces::Way;
use crate::addr::Addr;
use crate::memory::InterfaceId;
use alloc::vec::Vec;

/// Where packets of a route go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hop {
    /// To their destination, which is on the link.
    Link,
    /// To this router on the link.
    Gateway(Addr),
    /// Not by this interface, or nowhere at all. A route that only says so keeps a shorter prefix from being
    /// taken.
    Elsewhere,
}

/// One route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The destinations, by any address of the prefix. Both of length 0 are the default routes of their families.
    pub prefix: Cidr,
    /// Where their packets go.
    pub hop: Hop,
    /// Among routes of the same prefix the least is taken.
    pub metric: u32,
    /// Our address for connections that go this way and name none of their own; `None`: RFC 6724 chooses.
    pub source: Option<Addr>,
}

impl Route {
    /// A route with the least metric that prefers no address.
    pub const fn new(prefix: Cidr, hop: Hop) -> Self {
        Self { prefix, hop, metric: 0, source: None }
    }
}

/// A route as it is searched for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Entry {
    /// Bits of the prefix in 128: IPv4 lies in the last 32.
    bits: u8,
    network: u128,
    metric: u32,
    /// By another interface than ours; behind what is not, where another of ours knows better.
    elsewhere: bool,
    via: InterfaceId,
    hop: Hop,
    source: Option<Addr>,
}

/// Every route, both families in one: an IPv4 address is an IPv6 address here, as in [`Addr`].
#[derive(Debug, Default)]
pub(super) struct RoutingTable {
    /// By length of the prefix, network and metric.
    entries: Vec<Entry>,
    /// The lengths that there are, the longest first, each with the end of its entries and theirs of the one before.
    lengths: Vec<(u8, usize, usize)>,
}

/// The bits of an address that a prefix of `bits` leaves.
const fn masked(addr: Addr, bits: u8) -> u128 {
    let all = u128::from_be_bytes(addr.octets());
    if bits == 0 { 0 } else { all & (u128::MAX << (128 - bits)) }
}

impl RoutingTable {
    /// A table of these routes, each as the interface knows it. Of those that are equal in prefix and metric the first
    /// counts that goes by one of the interfaces.
    pub(super) fn new(routes: impl IntoIterator<Item = (InterfaceId, Route)>) -> Self {
        let mut entries: Vec<Entry> = routes
            .into_iter()
            .map(|(via, Route { prefix, hop, metric, source })| {
                let bits =
                    if prefix.addr.is_v4() { prefix.prefix_len.min(32) + 96 } else { prefix.prefix_len.min(128) };
                Entry {
                    bits,
                    network: masked(prefix.addr, bits),
                    metric,
                    elsewhere: hop == Hop::Elsewhere,
                    via,
                    hop,
                    source,
                }
            })
            .collect();
        // The sort is stable, and that is what lets the first of two equal ones count.
        entries.sort_by_key(|entry| (entry.bits, entry.network, entry.metric, entry.elsewhere));
        entries.dedup_by_key(|entry| (entry.bits, entry.network));
        let mut lengths = Vec::new();
        let mut begin = 0;
        while let Some(first) = entries.get(begin) {
            let end = begin + entries[begin..].partition_point(|entry| entry.bits == first.bits);
            lengths.push((first.bits, begin, end));
            begin = end;
        }
        lengths.reverse();
        Self { entries, lengths }
    }

    /// Which way a packet for `remote` goes, and which address of ours the route prefers. `None`: no route of our
    /// interfaces leads there.
    pub(super) fn find(&self, remote: Addr) -> Option<(Way, Option<Addr>)> {
        // The default route of IPv6 holds the mapped addresses too, and is not for them.
        let shortest = if remote.is_v4() { 96 } else { 0 };
        let found =
            self.lengths.iter().take_while(|(bits, ..)| *bits >= shortest).find_map(|&(bits, begin, end)| {
                let entries = self.entries.get(begin..end)?;
                let network = masked(remote, bits);
                entries.binary_search_by_key(&network, |entry| entry.network).ok().and_then(|at| entries.get(at))
            })?;
        match found.hop {
            Hop::Link => Some((Way { via: found.via, hop: remote }, found.source)),
            Hop::Gateway(gateway) => Some((Way { via: found.via, hop: gateway }, found.source)),
            Hop::Elsewhere => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use proptest::prelude::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn cidr(text: &str) -> Cidr {
        let (addr, len) = text.split_once('/').unwrap();
        Cidr { addr: addr.parse::<IpAddr>().unwrap().into(), prefix_len: len.parse().unwrap() }
    }

    fn table(routes: impl IntoIterator<Item = Route>) -> RoutingTable {
        RoutingTable::new(routes.into_iter().map(|route| (InterfaceId::FIRST, route)))
    }

    fn first(hop: &str) -> Way {
        Way { via: InterfaceId::FIRST, hop: addr(hop) }
    }

    fn by(prefix: &str, gateway: &str, metric: u32) -> Route {
        Route { metric, ..Route::new(cidr(prefix), Hop::Gateway(addr(gateway))) }
    }

    #[test]
    fn the_longest_prefix_goes_first_and_then_the_least_metric() {
        let table = table([
            by("0.0.0.0/0", "10.0.0.1", 100),
            by("0.0.0.0/0", "10.0.0.2", 50),
            Route::new(cidr("10.0.0.7/24"), Hop::Link),
            by("192.0.2.0/24", "10.0.0.3", 7),
            by("192.0.2.128/25", "10.0.0.4", 9),
            Route::new(cidr("198.51.100.0/24"), Hop::Elsewhere),
            Route { source: Some(addr("10.0.0.7")), ..by("2001:db8::/32", "fe80::1", 0) },
            by("::/0", "fe80::2", 0),
        ]);
        for (remote, next) in [
            ("10.0.0.9", Some("10.0.0.9")),
            ("10.0.1.9", Some("10.0.0.2")),
            ("192.0.2.1", Some("10.0.0.3")),
            ("192.0.2.129", Some("10.0.0.4")),
            ("198.51.100.1", None),
            ("2001:db8::5", Some("fe80::1")),
            ("2001:db9::5", Some("fe80::2")),
        ] {
            assert_eq!(table.find(addr(remote)).map(|(way, _)| way.hop), next.map(addr), "{remote}");
        }
        assert_eq!(table.find(addr("2001:db8::5")).unwrap().1, Some(addr("10.0.0.7")));
    }

    #[test]
    fn each_family_has_its_own_default_route() {
        let six = table([by("::/0", "fe80::2", 0)]);
        assert_eq!(six.find(addr("192.0.2.1")), None);
        assert_eq!(six.find(addr("2001:db8::1")), Some((first("fe80::2"), None)));
        let four = table([by("0.0.0.0/0", "10.0.0.1", 0)]);
        assert_eq!(four.find(addr("2001:db8::1")), None);
        assert_eq!(table([]).find(addr("10.0.0.1")), None);
    }

    #[test]
    fn of_several_interfaces_the_one_that_the_route_names_is_taken() {
        let (one, two) = (InterfaceId(0), InterfaceId(1));
        let elsewhere = |prefix: &str, metric| Route { metric, ..Route::new(cidr(prefix), Hop::Elsewhere) };
        // What the kernel's routes are to two mirrors: each knows all, and those of the other as elsewhere.
        let table = RoutingTable::new([
            (one, Route::new(cidr("10.0.1.0/24"), Hop::Link)),
            (one, elsewhere("10.0.2.0/24", 0)),
            (one, elsewhere("0.0.0.0/0", 10)),
            (one, by("0.0.0.0/0", "10.0.1.9", 20)),
            (one, elsewhere("192.0.2.0/24", 0)),
            (two, elsewhere("10.0.1.0/24", 0)),
            (two, Route::new(cidr("10.0.2.0/24"), Hop::Link)),
            (two, by("0.0.0.0/0", "10.0.2.9", 10)),
            (two, elsewhere("0.0.0.0/0", 20)),
            (two, elsewhere("192.0.2.0/24", 0)),
        ]);
        let way = |via, hop| Some(Way { via, hop: addr(hop) });
        for (remote, expected) in [
            ("10.0.1.5", way(one, "10.0.1.5")),
            ("10.0.2.5", way(two, "10.0.2.5")),
            ("198.51.100.1", way(two, "10.0.2.9")),
            ("192.0.2.1", None),
        ] {
            assert_eq!(table.find(addr(remote)).map(|(way, _)| way), expected, "{remote}");
        }
    }

    proptest! {
        /// The same as looking at each route in turn.
        #[test]
        fn it_finds_what_a_plain_search_finds(
            routes in prop::collection::vec((any::<u8>(), 24u8..=32, 0u32..3), 0..40),
            remote in any::<u8>(),
        ) {
            let routes: Vec<_> = routes.into_iter().enumerate().map(|(n, (host, prefix_len, metric))| {
                let prefix = Cidr { addr: Addr::v4([10, 0, 0, host]), prefix_len };
                Route { metric, ..Route::new(prefix, Hop::Gateway(Addr::v4([10, 1, 0, n as u8]))) }
            }).collect();
            let remote = Addr::v4([10, 0, 0, remote]);
            let naive = routes.iter().filter(|route| route.prefix.contains(remote))
                .min_by_key(|route| (u8::MAX - route.prefix.prefix_len, route.metric))
                .map(|route| (route.hop, None));
            let found = table(routes.iter().copied()).find(remote);
            prop_assert_eq!(found.map(|(way, source)| (Hop::Gateway(way.hop), source)), naive);
        }
    }
}
