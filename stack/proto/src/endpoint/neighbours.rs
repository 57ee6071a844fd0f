//! Which Ethernet address belongs to which neighbour, on one interface.

use core::time::Duration;

use super::chains::Chains;
use super::flow_hash::TableHash;
use super::list::Lists;
use crate::addr::{Addr, Mac};
use crate::time::Instant;

/// How long an answer counts before it is asked for again ("on the order of a minute", RFC 1122 2.3.2.1).
const REACHABLE_TIME: Duration = Duration::from_secs(60);
/// The least time between two requests for one address ("1 per second per destination", RFC 1122 2.3.2.1).
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// How many requests without an answer mean that there is none.
const TRIES: u8 = 3;
/// When somebody else who has not answered is asked again. The kernel takes three seconds to find that nobody answers.
const OUTSIDE_INTERVAL: Duration = Duration::from_secs(10);

const FREE: u32 = 0;
/// Entries that never change.
const STATIC: u32 = 1;
/// Known entries that are not fresh and that nobody has used since, the oldest first.
const STALE: u32 = 2;
/// Known entries that are fresh, in the order in which they become stale.
const REACHABLE: u32 = 3;
/// Stale entries in use: to be asked for at the next poll.
const ASK: u32 = 4;
/// Stale entries in use, in the order in which the next request is due.
const ASKED: u32 = 5;
/// Unknown addresses after 1, 2 and 3 requests, each list in the order in which the next is due.
const INCOMPLETE: u32 = 6;
const LISTS: u32 = INCOMPLETE + TRIES as u32;

/// What is known of an address that is to be sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resolution {
    /// Send to this Ethernet address.
    Known(Mac),
    /// A request is under way: wait until [`Neighbours::learn`] says that the address is resolved, or
    /// [`Neighbours::poll`] that it failed.
    Pending,
    /// Broadcast a request now, then wait in the same way.
    RequestNow,
}

/// What [`Neighbours::poll`] wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NeighbourAction {
    /// Send a request for `addr`: to `mac` alone if it is given (the unicast poll of RFC 1122 2.3.2.1), else to all.
    Request {
        /// The address to ask for.
        addr: Addr,
        /// The Ethernet address at which it was last.
        mac: Option<Mac>,
    },
    /// Nobody answers for this address: whoever waits for it is to be told that it is unreachable.
    Failed(Addr),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Asked for by broadcast, not answered; no Ethernet address.
    Incomplete,
    /// Answered; fresh until `when`.
    Reachable,
    /// Old, or heard but not confirmed, and not used since; not to be asked for before `when`.
    Stale,
    /// Stale and in use: the next request is due at `when`.
    Probing,
    /// Configured.
    Static,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    addr: Addr,
    when: Instant,
    mac: Mac,
    state: State,
    /// Requests sent since the last answer.
    tries: u8,
}

impl Default for Entry {
    fn default() -> Self {
        Self { addr: Addr::v4([0; 4]), when: Instant::ZERO, mac: Mac([0; 6]), state: State::Incomplete, tries: 0 }
    }
}

/// A bounded cache of neighbours (RFC 826; RFC 1122 2.3.2). It holds no packets: whoever waits is told to try again.
///
/// Against floods: what arrives unasked only changes entries that exist, and such a change is verified when the entry is
/// next used. Unknown addresses have places of their own, in which the oldest makes room, so that a flood of them
/// displaces no known neighbour. Among the known, the one that was confirmed longest ago makes room; those in use are
/// confirmed each minute.
#[derive(Debug)]
pub(crate) struct Neighbours {
    entries: Lists<Entry>,
    index: Chains,
    hash: TableHash,
    /// How many known entries there can be, and are.
    capacity: usize,
    known: usize,
    /// How many unknown ones there can be, and are.
    incomplete_capacity: usize,
    incomplete: usize,
    generation: u32,
    /// Somebody else speaks to the neighbours: what is wanted of him is only told, and failures are his to tell.
    outside: bool,
}

impl Neighbours {
    /// An empty cache for `capacity` known neighbours and `incomplete_capacity` that are being asked for, both at least
    /// one. `key` is secret. All memory is taken now: 48 bytes an entry.
    pub(crate) fn new(capacity: usize, incomplete_capacity: usize, key: [u8; 16], outside: bool) -> Self {
        let (capacity, incomplete_capacity) = (capacity.max(1), incomplete_capacity.max(1));
        let slots = capacity + incomplete_capacity;
        let mut entries = Lists::new(LISTS, slots);
        (0..slots as u32).for_each(|entry| entries.push_back(FREE, entry));
        Self {
            entries,
            index: Chains::new(slots),
            hash: TableHash::new(key),
            capacity,
            known: 0,
            incomplete_capacity,
            incomplete: 0,
            generation: 0,
            outside,
        }
    }

    /// How many neighbours are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known
    }

    /// Changes whenever an answer of [`lookup`](Self::lookup) may have become untrue or old: whoever keeps one may use
    /// it as long as this stays the same, if [`poll`](Self::poll) is called when [it is time](Self::next_deadline).
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Where to send what is for `addr`, which must be a unicast address on this link. An address that is not known is
    /// asked for; one that was not confirmed for a minute is asked for at the next [`poll`](Self::poll) and used
    /// meanwhile.
    pub(crate) fn lookup(&mut self, now: Instant, addr: Addr) -> Resolution {
        let Some(key) = self.key_of(addr) else {
            self.begin(now, addr);
            return Resolution::RequestNow;
        };
        let entry = self.entries.value_mut(key);
        let mac = entry.mac;
        let list = match entry.state {
            State::Incomplete => return Resolution::Pending,
            State::Reachable | State::Probing | State::Static => return Resolution::Known(mac),
            State::Stale if now >= entry.when => ASK,
            State::Stale => {
                entry.when = now + REQUEST_INTERVAL;
                ASKED
            }
        };
        entry.state = State::Probing;
        self.entries.unlink(key);
        self.entries.push_back(list, key);
        Resolution::Known(mac)
    }

    /// What was sent to `addr` has not arrived (RFC 1122 3.3.1.4): it is asked again at the next [`poll`](Self::poll),
    /// unless that has just been done, and forgotten if it does not answer. Meanwhile it is used.
    pub(crate) fn doubt(&mut self, now: Instant, addr: Addr) {
        let Some(key) = self.key_of(addr) else { return };
        let entry = self.entries.value_mut(key);
        let asked_just_now = match entry.state {
            State::Reachable => now + REACHABLE_TIME < entry.when + REQUEST_INTERVAL,
            State::Stale => now < entry.when,
            State::Incomplete | State::Probing | State::Static => true,
        };
        if !asked_just_now {
            entry.state = State::Probing;
            self.entries.unlink(key);
            self.entries.push_back(ASK, key);
        }
    }

    /// Takes in that `addr` is at `mac`. `solicited` says that the message was for us: an answer, or a request for
    /// one of our addresses; whatever else was heard is not.
    ///
    /// Whether those who wait for `addr`, or have kept its Ethernet address, are to look it up again. Group addresses
    /// are never believed (RFC 1812 3.3.2).
    pub(crate) fn learn(&mut self, now: Instant, addr: Addr, mac: Mac, solicited: bool) -> bool {
        if mac.is_group() || mac == Mac([0; 6]) || !addr.is_unicast() {
            return false;
        }
        let Some(key) = self.key_of(addr) else {
            // Somebody on the link wants to talk to us: worth an entry if one is free, but nobody's place.
            return solicited && self.known < self.capacity && self.settle(now, addr, mac, true);
        };
        let entry = *self.entries.value(key);
        match entry.state {
            State::Static => false,
            State::Incomplete => {
                // Only an answer may displace another; what we hear unasked can wait for it.
                let room = self.known < self.capacity || (solicited && self.evict_known());
                if room {
                    self.release(key);
                    self.settle(now, addr, mac, solicited);
                }
                room
            }
            // It says nothing new, and does not prove that the neighbour hears us.
            State::Reachable | State::Stale | State::Probing if !solicited && entry.mac == mac => false,
            State::Reachable | State::Stale | State::Probing => {
                self.release(key);
                self.settle(now, addr, mac, solicited);
                let moved = entry.mac != mac;
                self.generation = self.generation.wrapping_add(u32::from(moved));
                moved
            }
        }
    }

    /// Adds, or fixes, an entry that neither expires nor changes. Whether there was room: all other known entries
    /// make room for it.
    pub(crate) fn insert_static(&mut self, addr: Addr, mac: Mac) -> bool {
        if let Some(key) = self.key_of(addr) {
            self.release(key);
        }
        self.generation = self.generation.wrapping_add(1);
        if self.known >= self.capacity && !self.evict_known() {
            return false;
        }
        self.add(STATIC, Entry { addr, mac, when: Instant::ZERO, state: State::Static, tries: 0 })
    }

    /// Takes in what somebody else knows: `addr` is at `mac`. It stays until he says otherwise, or others need its place.
    /// Those in use are told to him each minute, so that he keeps them. Whether those who wait for `addr`, or have kept
    /// its Ethernet address, are to look it up again.
    pub(crate) fn tell(&mut self, now: Instant, addr: Addr, mac: Mac) -> bool {
        if mac.is_group() || mac == Mac([0; 6]) || !addr.is_unicast() {
            return false;
        }
        let before = self.key_of(addr).map(|key| *self.entries.value(key));
        if before.is_none_or(|entry| entry.state == State::Incomplete)
            && self.known >= self.capacity
            && !self.evict_known()
        {
            return false;
        }
        if let Some(key) = self.key_of(addr) {
            self.release(key);
        }
        let moved = before.is_some_and(|entry| entry.state != State::Incomplete && entry.mac != mac);
        self.generation = self.generation.wrapping_add(u32::from(moved));
        self.settle(now, addr, mac, true);
        moved || before.is_none_or(|entry| entry.state == State::Incomplete)
    }

    /// Forgets `addr`, known or asked for.
    pub(crate) fn remove(&mut self, addr: Addr) {
        if let Some(key) = self.key_of(addr) {
            self.forget(key);
        }
    }

    /// The next request to send, or the next address that failed; call until `None`.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<NeighbourAction> {
        self.grow_stale(now);
        if self.outside {
            return self.poll_outside(now);
        }
        if let Some(key) = self.entries.first(ASK) {
            return Some(self.ask_again(now, key));
        }
        while let Some(key) = self.due(now, ASKED) {
            if self.entries.value(key).tries < TRIES {
                return Some(self.ask_again(now, key));
            }
            // It does not answer where it was. Whoever still sends to it asks all: it may have moved.
            self.forget(key);
        }
        for sent in (1..=TRIES).rev() {
            let Some(key) = self.due(now, INCOMPLETE + u32::from(sent) - 1) else { continue };
            let addr = self.entries.value(key).addr;
            if sent == TRIES {
                self.release(key);
                return Some(NeighbourAction::Failed(addr));
            }
            self.entries.value_mut(key).when = now + REQUEST_INTERVAL;
            self.entries.unlink(key);
            self.entries.push_back(INCOMPLETE + u32::from(sent), key);
            return Some(NeighbourAction::Request { addr, mac: None });
        }
        None
    }

    /// What is in use and old is told as wanted, and counts as confirmed from then on: whoever is told says so when it is
    /// not. What is not known is told again when there was no answer.
    fn poll_outside(&mut self, now: Instant) -> Option<NeighbourAction> {
        if let Some(key) = self.entries.first(ASK).or_else(|| self.entries.first(ASKED)) {
            let entry = self.entries.value_mut(key);
            entry.state = State::Reachable;
            entry.when = now + REACHABLE_TIME;
            let action = NeighbourAction::Request { addr: entry.addr, mac: Some(entry.mac) };
            self.entries.unlink(key);
            self.entries.push_back(REACHABLE, key);
            return Some(action);
        }
        let key = self.due(now, INCOMPLETE)?;
        let entry = self.entries.value_mut(key);
        entry.when = now + OUTSIDE_INTERVAL;
        let action = NeighbourAction::Request { addr: entry.addr, mac: None };
        self.entries.unlink(key);
        self.entries.push_back(INCOMPLETE, key);
        Some(action)
    }

    /// When [`poll`](Self::poll) next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        (REACHABLE..LISTS).filter_map(|list| self.entries.first(list)).map(|key| self.entries.value(key).when).min()
    }

    /// Whether an Ethernet address is known, old or new. Asking changes nothing.
    pub(super) fn is_known(&self, addr: Addr) -> bool {
        self.key_of(addr).is_some_and(|key| self.entries.value(key).state != State::Incomplete)
    }

    pub(super) fn key_of(&self, addr: Addr) -> Option<u32> {
        self.index.find(self.hash.bytes(&addr.octets()), |key| self.entries.value(key).addr == addr)
    }

    /// The first of `list`, if its time has come.
    fn due(&self, now: Instant, list: u32) -> Option<u32> {
        self.entries.first(list).filter(|&key| self.entries.value(key).when <= now)
    }

    /// Begins to ask for an unknown address; the first request is the caller's.
    fn begin(&mut self, now: Instant, addr: Addr) {
        if self.incomplete >= self.incomplete_capacity {
            // The list after the most requests has the oldest.
            let oldest = (INCOMPLETE..LISTS).rev().find_map(|list| self.entries.first(list));
            oldest.into_iter().for_each(|key| self.release(key));
        }
        let when = now + if self.outside { OUTSIDE_INTERVAL } else { REQUEST_INTERVAL };
        self.add(INCOMPLETE, Entry { addr, mac: Mac([0; 6]), when, state: State::Incomplete, tries: 1 });
    }

    /// Fresh entries whose time is over become stale; the new generation makes those who use them look again.
    fn grow_stale(&mut self, now: Instant) {
        while let Some(key) = self.due(now, REACHABLE) {
            self.entries.value_mut(key).state = State::Stale;
            self.entries.unlink(key);
            self.entries.push_back(STALE, key);
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Sends a unicast poll to a known entry.
    fn ask_again(&mut self, now: Instant, key: u32) -> NeighbourAction {
        let entry = self.entries.value_mut(key);
        entry.tries += 1;
        entry.when = now + REQUEST_INTERVAL;
        let action = NeighbourAction::Request { addr: entry.addr, mac: Some(entry.mac) };
        self.entries.unlink(key);
        self.entries.push_back(ASKED, key);
        action
    }

    /// Adds a known entry, for which there must be room.
    fn settle(&mut self, now: Instant, addr: Addr, mac: Mac, confirmed: bool) -> bool {
        // What nobody confirmed is verified when it is used, but not at once: a flood of contradicting claims must not
        // make us send more than a request a second.
        let (list, state, when) = if confirmed {
            (REACHABLE, State::Reachable, now + REACHABLE_TIME)
        } else {
            (STALE, State::Stale, now + REQUEST_INTERVAL)
        };
        self.add(list, Entry { addr, mac, when, state, tries: 0 })
    }

    fn add(&mut self, list: u32, entry: Entry) -> bool {
        let Some(key) = self.entries.pop_front(FREE) else { return false };
        *self.entries.value_mut(key) = entry;
        self.entries.push_back(list, key);
        self.index.insert(self.hash.bytes(&entry.addr.octets()), key);
        *self.count_of(entry.state) += 1;
        true
    }

    /// Forgets a known entry: one that nobody uses if there is one, else the one that was confirmed longest ago.
    /// Whether there was one that may be forgotten.
    fn evict_known(&mut self) -> bool {
        let oldest = [STALE, ASKED, ASK, REACHABLE].into_iter().find_map(|list| self.entries.first(list));
        oldest.is_some_and(|key| {
            self.forget(key);
            true
        })
    }

    /// Takes out a known entry for good.
    fn forget(&mut self, key: u32) {
        self.release(key);
        self.generation = self.generation.wrapping_add(1);
    }

    fn release(&mut self, key: u32) {
        let Entry { addr, state, .. } = *self.entries.value(key);
        self.index.remove(self.hash.bytes(&addr.octets()), key);
        self.entries.unlink(key);
        self.entries.push_back(FREE, key);
        *self.count_of(state) -= 1;
    }

    fn count_of(&mut self, state: State) -> &mut usize {
        match state {
            State::Incomplete => &mut self.incomplete,
            State::Reachable | State::Stale | State::Probing | State::Static => &mut self.known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Node;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec;
    use std::vec::Vec;

    const SECOND: Duration = Duration::from_secs(1);

    fn addr(n: u8) -> Addr {
        Addr::v4([10, 0, 0, n])
    }

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, n])
    }

    fn cache() -> Neighbours {
        Neighbours::new(4, 2, [1; 16], false)
    }

    fn drain(cache: &mut Neighbours, now: Instant) -> Vec<NeighbourAction> {
        core::iter::from_fn(|| cache.poll(now)).collect()
    }

    fn broadcast(n: u8) -> NeighbourAction {
        NeighbourAction::Request { addr: addr(n), mac: None }
    }

    fn unicast(n: u8) -> NeighbourAction {
        NeighbourAction::Request { addr: addr(n), mac: Some(mac(n)) }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Node<Entry>>() + Chains::BYTES_PER_ENTRY <= 48);
    }

    #[test]
    fn three_requests_a_second_apart_and_then_it_failed() {
        let mut cache = cache();
        let mut now = Instant::from_millis(10);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow);
        for _ in 0..2 {
            assert_eq!(cache.lookup(now, addr(1)), Resolution::Pending);
            assert_eq!(drain(&mut cache, now + SECOND - Duration::from_nanos(1)), vec![]);
            assert_eq!(cache.next_deadline(), Some(now + SECOND));
            now = now + SECOND;
            assert_eq!(drain(&mut cache, now), vec![broadcast(1)]);
        }
        now = now + SECOND;
        assert_eq!(drain(&mut cache, now), vec![NeighbourAction::Failed(addr(1))]);
        assert_eq!(cache.next_deadline(), None);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow, "it can be tried again");
    }

    #[test]
    fn somebody_else_is_told_what_is_wanted_and_decides() {
        let mut cache = Neighbours::new(4, 2, [1; 16], true);
        let mut now = Instant::from_millis(10);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::Pending);
        assert_eq!(drain(&mut cache, now + 3 * SECOND), vec![], "it is not for us to ask again, or to give up");
        now = now + OUTSIDE_INTERVAL;
        assert_eq!(drain(&mut cache, now), vec![broadcast(1)], "what was told may have been lost");
        assert!(cache.tell(now, addr(1), mac(1)));
        assert!(!cache.tell(now, addr(1), mac(1)), "nothing new");
        assert_eq!(cache.lookup(now, addr(1)), Resolution::Known(mac(1)));
        let before = cache.generation();
        assert!(cache.tell(now, addr(1), mac(2)) && cache.generation() != before);
        for _ in 0..3 {
            now = now + REACHABLE_TIME;
            assert_eq!(drain(&mut cache, now), vec![], "nobody uses it");
            assert_eq!(cache.lookup(now, addr(1)), Resolution::Known(mac(2)));
            let in_use = NeighbourAction::Request { addr: addr(1), mac: Some(mac(2)) };
            assert_eq!(drain(&mut cache, now), vec![in_use], "once a minute, and nobody has to answer");
        }
        cache.remove(addr(1));
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow);
    }

    #[test]
    fn what_somebody_else_knows_is_bounded_too() {
        let mut cache = Neighbours::new(4, 2, [1; 16], true);
        let now = Instant::from_millis(10);
        for n in 1..=9 {
            assert!(cache.tell(now, addr(n), mac(n)));
        }
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.lookup(now, addr(9)), Resolution::Known(mac(9)));
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow, "the oldest made room, and can be had again");
        assert!(!cache.tell(now, addr(3), Mac::BROADCAST) && !cache.tell(now, Addr::v4([224, 0, 0, 1]), mac(3)));
    }

    #[test]
    fn an_answer_resolves_and_is_asked_for_again_while_used() {
        let mut cache = cache();
        let start = Instant::from_millis(10);
        cache.lookup(start, addr(1));
        assert!(cache.learn(start, addr(1), mac(1), true));
        let old = start + REACHABLE_TIME;
        assert_eq!((cache.len(), cache.next_deadline()), (1, Some(start + REACHABLE_TIME)));
        let generation = cache.generation();
        assert_eq!(cache.lookup(old - Duration::from_nanos(1), addr(1)), Resolution::Known(mac(1)));
        assert_eq!(cache.generation(), generation, "an answer can be kept while it is fresh");
        assert_eq!(drain(&mut cache, old), vec![], "nobody uses it");
        assert_ne!(cache.generation(), generation, "and then has to be looked up");
        assert_eq!(cache.next_deadline(), None);
        for _ in 0..3 {
            assert_eq!(cache.lookup(old, addr(1)), Resolution::Known(mac(1)));
        }
        assert!(cache.next_deadline().unwrap() <= old);
        assert_eq!(drain(&mut cache, old), vec![unicast(1)]);
        assert_eq!(cache.lookup(old, addr(1)), Resolution::Known(mac(1)));
        assert_eq!(drain(&mut cache, old), vec![]);
        assert!(!cache.learn(old, addr(1), mac(1), true), "nothing has changed");
        assert_eq!(cache.lookup(old, addr(1)), Resolution::Known(mac(1)));
        assert_eq!(cache.next_deadline(), Some(old + REACHABLE_TIME));
    }

    #[test]
    fn a_neighbour_that_moved_is_asked_for_by_all_and_found() {
        let mut cache = cache();
        cache.learn(Instant::ZERO, addr(1), mac(1), true);
        let mut now = Instant::ZERO + REACHABLE_TIME;
        assert_eq!(drain(&mut cache, now), vec![]);
        cache.lookup(now, addr(1));
        for _ in 0..3 {
            assert_eq!(drain(&mut cache, now), vec![unicast(1)]);
            now = now + SECOND;
        }
        assert_eq!(drain(&mut cache, now), vec![]);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow);
        assert!(cache.learn(now, addr(1), mac(9), true));
        assert_eq!(cache.lookup(now, addr(1)), Resolution::Known(mac(9)));
    }

    #[test]
    fn what_comes_unasked_changes_only_what_exists_and_is_verified() {
        let mut cache = cache();
        let now = Instant::from_millis(10);
        assert!(!cache.learn(now, addr(1), mac(1), false));
        assert_eq!(cache.len(), 0);
        cache.learn(now, addr(1), mac(1), true);
        let generation = cache.generation();
        assert!(!cache.learn(now, addr(1), mac(1), false));
        assert_eq!(cache.generation(), generation);
        assert!(cache.learn(now, addr(1), mac(2), false));
        assert_ne!(cache.generation(), generation);
        for _ in 0..3 {
            assert_eq!(cache.lookup(now, addr(1)), Resolution::Known(mac(2)));
            assert_eq!(drain(&mut cache, now), vec![], "not more than a request a second");
        }
        let later = now + SECOND;
        assert_eq!(cache.next_deadline(), Some(later));
        let ask = NeighbourAction::Request { addr: addr(1), mac: Some(mac(2)) };
        assert_eq!(drain(&mut cache, later), vec![ask]);
    }

    #[test]
    fn group_and_empty_addresses_are_not_believed() {
        let mut cache = cache();
        for bad in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1]), Mac([0; 6])] {
            assert!(!cache.learn(Instant::ZERO, addr(1), bad, true));
        }
        assert!(!cache.learn(Instant::ZERO, Addr::v4([224, 0, 0, 1]), mac(1), true));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_flood_of_unknown_addresses_displaces_only_its_own() {
        let mut cache = cache();
        let now = Instant::from_millis(10);
        (1..=4).for_each(|n| assert!(cache.learn(now, addr(n), mac(n), true)));
        (10..200).for_each(|n| assert_eq!(cache.lookup(now, addr(n)), Resolution::RequestNow));
        (10..200).for_each(|n| assert!(!cache.learn(now, addr(n), mac(n), false), "{n}"));
        assert_eq!(cache.lookup(now, addr(199)), Resolution::Pending);
        assert_eq!(cache.lookup(now, addr(10)), Resolution::RequestNow, "the oldest made room");
        assert!(!cache.learn(now, addr(50), mac(50), true), "nor does a stranger displace anybody");
        (1..=4).for_each(|n| assert_eq!(cache.lookup(now, addr(n)), Resolution::Known(mac(n))));
    }

    #[test]
    fn one_in_doubt_is_asked_once_and_forgotten_if_it_is_silent() {
        let mut cache = cache();
        cache.learn(Instant::ZERO, addr(1), mac(1), true);
        cache.doubt(Instant::from_millis(10), addr(1));
        assert_eq!(drain(&mut cache, Instant::from_millis(10)), [], "it has just answered");
        let later = Instant::from_millis(5_000);
        cache.doubt(later, addr(1));
        cache.doubt(later, addr(1));
        assert_eq!(drain(&mut cache, later), [unicast(1)]);
        assert_eq!(cache.lookup(later, addr(1)), Resolution::Known(mac(1)), "and used meanwhile");
        let mut now = later;
        while cache.len() > 0 {
            now = cache.next_deadline().expect("it is asked again");
            drain(&mut cache, now);
        }
        assert_eq!(cache.lookup(now, addr(1)), Resolution::RequestNow);
    }

    #[test]
    fn one_that_we_asked_for_takes_the_place_of_the_one_confirmed_longest_ago() {
        let mut cache = cache();
        for n in 1..=4 {
            cache.learn(Instant::from_millis(u64::from(n)), addr(n), mac(n), true);
        }
        let now = Instant::from_millis(10);
        cache.learn(now, addr(1), mac(1), true);
        cache.lookup(now, addr(5));
        assert!(cache.learn(now, addr(5), mac(5), true));
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.lookup(now, addr(1)), Resolution::Known(mac(1)));
        assert_eq!(cache.lookup(now, addr(2)), Resolution::RequestNow);
    }

    #[test]
    fn a_static_entry_stays_as_it_is() {
        let mut cache = cache();
        assert!(cache.insert_static(addr(1), mac(1)));
        assert!(!cache.learn(Instant::ZERO, addr(1), mac(2), true));
        let later = Instant::ZERO + REACHABLE_TIME * 1000;
        assert_eq!(cache.lookup(later, addr(1)), Resolution::Known(mac(1)));
        assert_eq!((drain(&mut cache, later), cache.next_deadline()), (vec![], None));
        (2..=4).for_each(|n| assert!(cache.insert_static(addr(n), mac(n))));
        assert!(!cache.insert_static(addr(5), mac(5)), "static entries do not displace one another");
        assert!(cache.insert_static(addr(1), mac(7)), "but can be changed by configuration");
        cache.lookup(later, addr(6));
        assert!(!cache.learn(later, addr(6), mac(6), true));
        assert_eq!(cache.len(), 4);
    }

    proptest! {
        /// Whatever happens, the bounds hold, what was learnt from an answer is what is used, no address is asked for
        /// more than once a second unless its entry was displaced, and polling ends.
        #[test]
        fn bounds_hold(ops in prop::collection::vec((0u8..6, 0u8..12, 0u64..20_000), 0..300)) {
            let mut cache = cache();
            let mut now = Instant::from_millis(1);
            let mut learnt: BTreeMap<u8, u8> = BTreeMap::new();
            let mut kept: BTreeMap<u8, (Mac, u32)> = BTreeMap::new();
            for (what, n, arg) in ops {
                match what {
                    0 | 1 => {
                        if let Resolution::Known(known) = cache.lookup(now, addr(n)) {
                            prop_assert_eq!(known, mac(learnt[&n]));
                            kept.insert(n, (known, cache.generation()));
                        }
                    }
                    2 | 3 => {
                        let at = arg as u8 % 3 + 1;
                        let before = cache.key_of(addr(n)).is_some();
                        cache.learn(now, addr(n), mac(at), what == 2);
                        let after = cache.key_of(addr(n)).is_some();
                        prop_assert!(after == before || what == 2);
                        if after {
                            learnt.insert(n, at);
                        }
                    }
                    _ => {
                        now = now + Duration::from_millis(arg);
                        let mut asked = Vec::new();
                        while let Some(action) = cache.poll(now) {
                            if let NeighbourAction::Request { addr, .. } = action {
                                prop_assert!(!asked.contains(&addr));
                                asked.push(addr);
                            }
                            prop_assert!(asked.len() <= 6);
                        }
                        prop_assert!(cache.next_deadline().is_none_or(|deadline| deadline > now));
                    }
                }
                for (&n, &(mac, generation)) in &kept {
                    if generation == cache.generation() {
                        let key = cache.key_of(addr(n));
                        prop_assert_eq!(key.map(|key| cache.entries.value(key).mac), Some(mac));
                    }
                }
                prop_assert!(cache.known <= 4 && cache.incomplete <= 2);
                let linked: usize = (STATIC..LISTS).map(|list| cache.entries.iter(list).count()).sum();
                prop_assert_eq!(linked, cache.known + cache.incomplete);
            }
        }
    }
}
