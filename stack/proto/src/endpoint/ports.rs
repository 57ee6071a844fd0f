//! Ephemeral ports for outgoing connections.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::flow_hash::PublicHash;
use crate::addr::{Addr, Flow, SocketAddr};

/// How many counters there are (RFC 6056's `TABLE_LENGTH`); a power of two. The more, the less a peer learns of the
/// connections to others.
const COUNTERS: usize = 256;

/// Chooses local ports by RFC 6056 3.3.4, algorithm 4 (double hash): consecutive for one destination, so that a port is
/// used again as late as possible, and from a secret offset, so that nobody else can tell them.
//= spec/rfc6056.txt#section-3.3
//# Ephemeral port selection algorithms SHOULD obfuscate the selection of their ephemeral ports, since this helps to
//# mitigate a number of attacks that depend on the attacker's ability to guess or know the five-tuple that identifies the
//# transport-protocol instance to be attacked.
//= spec/rfc6056.txt#section-5
//# Systems that support numerous applications resulting in large lists of unavailable ports, or that use the IANA
//# Registered Ports without modification, MUST NOT use Algorithm 1.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    /// How many ports there are in the range.
    count: u32,
    hash: PublicHash,
    counters: Vec<u16>,
}

impl Ports {
    /// A chooser in `range`, without port 0; an empty range has no port. `key` is secret.
    pub(crate) fn new(range: &RangeInclusive<u16>, key: [u8; 16]) -> Self {
        let (first, last) = ((*range.start()).max(1), *range.end());
        let hash = PublicHash::new(key);
        // "table[] could be initialized with mathematically random values": these are, to whoever lacks the key.
        let counters = (0..COUNTERS as u16).map(|index| hash.bytes(&index.to_be_bytes()) as u16).collect();
        Self { first, count: (u32::from(last) + 1).saturating_sub(u32::from(first)), hash, counters }
    }

    /// The next port from which `local` can connect to `remote` and for which `in_use` is false; `None` when the whole
    /// range is in use. Asks `in_use` at most once for each port.
    pub(crate) fn choose(
        &mut self,
        local: Addr,
        remote: SocketAddr,
        mut in_use: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let hash = self.hash.flow(&Flow { local: SocketAddr::new(local, 0), remote });
        // The RFC's F and G: two parts of one pseudo-random value are as independent as two functions.
        let offset = (hash >> 32) as u32;
        let counter = &mut self.counters[hash as usize % COUNTERS];
        for _ in 0..self.count {
            let port = (offset % self.count + u32::from(*counter)) % self.count;
            // The counter goes round with the range, so that the ports stay consecutive there too.
            *counter = ((u32::from(*counter) + 1) % self.count) as u16;
            let port = self.first + port as u16;
            if !in_use(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const DEFAULT_RANGE: RangeInclusive<u16> = 32768..=60999;
    const LOCAL: Addr = Addr::v4([10, 0, 0, 1]);

    fn remote(n: u8) -> SocketAddr {
        SocketAddr::new(Addr::v4([10, 0, 0, n]), 80)
    }

    //= spec/rfc6056.txt#section-5
    //= type=test
    //# Systems that support numerous applications resulting in large lists of unavailable ports, or that use the IANA
    //# Registered Ports without modification, MUST NOT use Algorithm 1.
    #[test]
    fn one_destination_sees_every_port_once_a_round() {
        for range in [DEFAULT_RANGE, 1..=65535, 0..=65535, 7..=7] {
            let mut ports = Ports::new(&range, [1; 16]);
            let count = range.clone().filter(|&port| port != 0).count();
            let round: BTreeSet<_> = (0..count).map(|_| ports.choose(LOCAL, remote(2), |_| false).unwrap()).collect();
            assert_eq!(round.len(), count);
            assert!(round.iter().all(|port| range.contains(port) && *port != 0));
        }
    }

    //= spec/rfc6056.txt#section-3.3
    //= type=test
    //# Ephemeral port selection algorithms SHOULD obfuscate the selection of their ephemeral ports, since this helps to
    //# mitigate a number of attacks that depend on the attacker's ability to guess or know the five-tuple that identifies
    //# the transport-protocol instance to be attacked.
    #[test]
    fn destinations_begin_elsewhere_and_so_do_keys() {
        let firsts = |key| {
            let mut ports = Ports::new(&DEFAULT_RANGE, key);
            (0..100).map(|n| ports.choose(LOCAL, remote(n), |_| false).unwrap()).collect::<Vec<_>>()
        };
        let distinct: BTreeSet<_> = firsts([1; 16]).into_iter().collect();
        assert!(distinct.len() > 95, "{}", distinct.len());
        let shared = firsts([1; 16]).iter().zip(firsts([2; 16])).filter(|&(a, b)| *a == b).count();
        assert!(shared < 3);
        assert_eq!(firsts([1; 16]), firsts([1; 16]));
    }

    #[test]
    fn the_last_free_port_is_found_and_then_none() {
        let mut ports = Ports::new(&(100..=199), [3; 16]);
        let mut used: BTreeSet<_> = (100..=199).filter(|&port| port != 142).collect();
        assert_eq!(ports.choose(LOCAL, remote(2), |port| used.contains(&port)), Some(142));
        used.insert(142);
        let mut asked = 0;
        let none = ports.choose(LOCAL, remote(2), |port| {
            asked += 1;
            used.contains(&port)
        });
        assert_eq!((none, asked), (None, 100));
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "that such a range does no harm is what is tested")]
    fn an_empty_range_has_no_port() {
        for range in [9..=3, 0..=0] {
            assert_eq!(Ports::new(&range, [0; 16]).choose(LOCAL, remote(2), |_| false), None);
        }
    }
}
