//! How often the kernel is asked for a neighbour.

use corelane_proto::{Addr, Instant};
use std::collections::BTreeMap;
use std::time::Duration;

/// The least time between two requests for one address ("1 per second per destination", RFC 1122 2.3.2.1).
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets requests through, each address once a second, and no more than so many addresses in one.
#[derive(Debug)]
pub(super) struct Asking {
    /// When each was asked for last.
    asked: BTreeMap<Addr, Instant>,
    most: usize,
}

impl Asking {
    /// At most `most` addresses a second.
    pub(super) const fn new(most: usize) -> Self {
        Self { asked: BTreeMap::new(), most }
    }

    /// Whether the kernel may be asked for `addr` now; it is, then.
    pub(super) fn allow(&mut self, now: Instant, addr: Addr) -> bool {
        let recent = |at: &Instant| *at + INTERVAL > now;
        if self.asked.get(&addr).is_some_and(recent) {
            return false;
        }
        if self.asked.len() >= self.most {
            self.asked.retain(|_, at| recent(at));
        }
        let fits = self.asked.len() < self.most;
        if fits {
            self.asked.insert(addr, now);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_once_a_second_and_not_too_many() {
        let mut asking = Asking::new(3);
        let (now, addr) = (Instant::from_millis(5), |n| Addr::v4([10, 0, 0, n]));
        assert!(asking.allow(now, addr(1)));
        assert!(!asking.allow(now + Duration::from_millis(999), addr(1)));
        assert!(asking.allow(now + INTERVAL, addr(1)));
        let later = now + INTERVAL;
        assert!(asking.allow(later, addr(2)) && asking.allow(later, addr(3)));
        assert!(!asking.allow(later, addr(4)), "three in this second");
        assert!(asking.allow(later + INTERVAL, addr(4)));
    }
}
