//! The listeners: all of them in one map, and an index over it that answers for most packets.
//!
//! The map `listeners` is the truth, but asking a hash map costs a packet more than anything else. So `listener_slots`,
//! an array over which all ends are spread, says of each slot that there is no listener in it, which one it is, or that
//! there are several and the map must be asked. A packet may come between any two writes, and a write of a slot is no single
//! store: the program may read some of it before, some after. Two rules keep it from being told wrong:
//!
//! - A write changes either the state of a slot or the end in it, never both. The end changes only while the state says
//!   that nobody reads it.
//! - A new state has another number. The program that has read "one" reads the state again after the end, and asks the
//!   map if it is not the same: the end that it has compared may have been two of them mixed.
//!
//! The program's three reads happen in their order on x86-64. A processor that changes it does so within a time in which
//! no two system calls fit, so that it does not see the end of one state with another either.
//!
//! The map has a listener before its slot tells of it. It loses it before that too: until the slot is told, it may go
//! on saying that this one is there, as it might until the removal began; but with several, the map alone says so.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::error::MapError;
use crate::info::os_error;
use crate::map::write_error;
use crate::shared::{
    End, LISTENER_SLOTS, LISTENER_STATE_MASK, ListenerSlot, MANY_LISTENERS, MAX_LISTENERS, NO_LISTENER, ONE_LISTENER,
};

const TABLE: &str = "listeners";

/// The value of a registration, reserved and 0.
const REGISTERED: u32 = 0;

/// The two maps. Each method is one change, which a packet sees before or after the next.
pub(crate) trait ListenerMaps {
    /// Puts a listener into the map; once more is no error.
    fn insert(&self, end: &End) -> io::Result<()>;
    /// Takes it out; whether it was there.
    fn delete(&self, end: &End) -> io::Result<bool>;
    /// All that are in it.
    fn ends(&self) -> Vec<End>;
    fn slot(&self, index: u32) -> io::Result<ListenerSlot>;
    fn set_slot(&self, index: u32, slot: &ListenerSlot) -> io::Result<()>;
}

/// The program's.
pub(crate) struct KernelMaps {
    pub(crate) listeners: MapHandle,
    pub(crate) slots: MapHandle,
}

/// The maps, and what has been written to them.
pub(crate) struct Listeners<M = KernelMaps> {
    maps: M,
    slots: Mutex<Box<[Slot]>>,
}

#[derive(Clone, Debug)]
struct Slot {
    ends: BTreeSet<End>,
    /// What the program has.
    told: ListenerSlot,
}

impl<M: ListenerMaps> Listeners<M> {
    /// Goes on from what is in the maps: the one is brought in line with the other.
    pub(crate) fn new(maps: M) -> io::Result<Self> {
        let blank = Slot { ends: BTreeSet::new(), told: ListenerSlot::new_zeroed() };
        let mut slots = vec![blank; LISTENER_SLOTS as usize];
        for end in maps.ends() {
            slots[end.slot() as usize].ends.insert(end);
        }
        for (index, slot) in (0..).zip(&mut slots) {
            slot.told = maps.slot(index)?;
            settle(&maps, index, slot)?;
        }
        Ok(Self { maps, slots: Mutex::new(slots.into()) })
    }

    /// Once more is no error, and counts once.
    pub(crate) fn add(&self, end: End) -> Result<(), MapError> {
        let failed = |error| write_error(TABLE, MAX_LISTENERS, error);
        self.change(end, |maps, index, slot| {
            if slot.ends.contains(&end) {
                return Ok(());
            }
            maps.insert(&end).map_err(failed)?;
            slot.ends.insert(end);
            settle(maps, index, slot).map_err(|error| {
                // As if it had not been asked for: a slot that could not be told of one more tells of those before.
                slot.ends.remove(&end);
                let _ = maps.delete(&end);
                failed(error)
            })
        })
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, end: End) -> Result<bool, MapError> {
        let failed = |source| MapError::System { table: TABLE, what: "written", source };
        self.change(end, |maps, index, slot| {
            let was_there = maps.delete(&end).map_err(failed)?;
            slot.ends.remove(&end);
            // Also if it was not there: an earlier removal may have got no further.
            settle(maps, index, slot).map_err(failed)?;
            Ok(was_there)
        })
    }

    fn change<T>(&self, end: End, change: impl FnOnce(&M, u32, &mut Slot) -> T) -> T {
        let index = end.slot();
        // A panic elsewhere leaves a slot as it was told.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        change(&self.maps, index, &mut slots[index as usize])
    }
}

/// Tells the program what is in the slot, in as many writes as that takes.
fn settle(maps: &impl ListenerMaps, index: u32, slot: &mut Slot) -> io::Result<()> {
    let mut ends = slot.ends.iter().copied();
    let only = match (ends.next(), ends.next()) {
        (None, _) => return slot.tell(maps, index, NO_LISTENER, slot.told.end),
        (Some(_), Some(_)) => return slot.tell(maps, index, MANY_LISTENERS, slot.told.end),
        (Some(only), None) => only,
    };
    if slot.told.end != only {
        if slot.told.kind() == ONE_LISTENER {
            slot.tell(maps, index, MANY_LISTENERS, slot.told.end)?;
        }
        slot.tell(maps, index, slot.told.kind(), only)?;
    }
    slot.tell(maps, index, ONE_LISTENER, only)
}

impl Slot {
    /// One write, unless that is what the program has.
    fn tell(&mut self, maps: &impl ListenerMaps, index: u32, kind: u32, end: End) -> io::Result<()> {
        let ListenerSlot { end: old_end, state: old } = self.told;
        let state = if kind == self.told.kind() {
            old
        } else {
            // It comes round again after a thousand million changes: no packet takes so long.
            (old | LISTENER_STATE_MASK).wrapping_add(1) | kind
        };
        debug_assert!(end == old_end || state == old, "a write changes the state or the end");
        let new = ListenerSlot { end, state };
        if new != self.told {
            maps.set_slot(index, &new)?;
            self.told = new;
        }
        Ok(())
    }
}

impl ListenerMaps for KernelMaps {
    fn insert(&self, end: &End) -> io::Result<()> {
        let written = self.listeners.update(end.as_bytes(), &REGISTERED.to_ne_bytes(), MapFlags::ANY);
        written.map_err(|error| os_error(&error))
    }

    fn delete(&self, end: &End) -> io::Result<bool> {
        match self.listeners.delete(end.as_bytes()).map_err(|error| os_error(&error)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            deleted => deleted.map(|()| true),
        }
    }

    fn ends(&self) -> Vec<End> {
        self.listeners.keys().filter_map(|key| End::read_from_bytes(&key).ok()).collect()
    }

    fn slot(&self, index: u32) -> io::Result<ListenerSlot> {
        let bytes = self.slots.lookup(&index.to_ne_bytes(), MapFlags::ANY).map_err(|error| os_error(&error))?;
        bytes.and_then(|bytes| ListenerSlot::read_from_bytes(&bytes).ok()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn set_slot(&self, index: u32, slot: &ListenerSlot) -> io::Result<()> {
        let written = self.slots.update(&index.to_ne_bytes(), slot.as_bytes(), MapFlags::ANY);
        written.map_err(|error| os_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::net::{Ipv4Addr, SocketAddr};

    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};
    use zerocopy::FromBytes;

    use super::*;

    const WORDS: usize = size_of::<ListenerSlot>() / 4;
    /// The slot that the ends of the tests share.
    const SHARED: u32 = 5;

    /// What the program could read at one moment.
    #[derive(Clone)]
    struct Moment {
        map: BTreeSet<End>,
        slot: [u32; WORDS],
        /// Who is registered, but for the one that is just being added or removed.
        registered: BTreeSet<End>,
        changing: Option<End>,
    }

    /// Maps that remember every moment: a slot is written a word at a time, in any order.
    struct Recorded {
        moments: RefCell<Vec<Moment>>,
        random: RefCell<Xoshiro256PlusPlus>,
        /// How many more changes succeed.
        good_for: Cell<u32>,
    }

    impl Recorded {
        fn new(seed: u64, map: BTreeSet<End>, slot: ListenerSlot) -> Self {
            let first = Moment { registered: map.clone(), map, slot: words_of(&slot), changing: None };
            let random = Xoshiro256PlusPlus::seed_from_u64(seed).into();
            Self { moments: vec![first].into(), random, good_for: Cell::new(u32::MAX) }
        }

        fn now(&self) -> Moment {
            self.moments.borrow().last().unwrap().clone()
        }

        fn change(&self, change: impl FnOnce(&mut Moment)) {
            let mut moment = self.now();
            change(&mut moment);
            self.moments.borrow_mut().push(moment);
        }

        fn below(&self, bound: usize) -> usize {
            (self.random.borrow_mut().next_u64() % bound as u64) as usize
        }

        fn may_fail(&self) -> io::Result<()> {
            let left = self.good_for.get().checked_sub(1).ok_or(io::ErrorKind::OutOfMemory)?;
            self.good_for.set(left);
            Ok(())
        }

        /// Is `is_listener` of `steer.bpf.c` from that moment on, with anything from nothing to a few moments between any
        /// two reads. The second number is the moment in which it ends.
        fn ask(&self, end: End, from: usize) -> (bool, usize) {
            let moments = self.moments.borrow();
            let mut at = from;
            let mut later = || {
                at = (at + [0, 0, 0, 1, 1, 2, 7][self.below(7)]).min(moments.len() - 1);
                at
            };
            let asked = words_of(&ListenerSlot { end, state: 0 });
            let state = moments[from].slot[WORDS - 1];
            let mut is_listener = None;
            match state & LISTENER_STATE_MASK {
                NO_LISTENER => is_listener = Some(false),
                ONE_LISTENER => {
                    let is_same = (0..WORDS - 1).all(|word| moments[later()].slot[word] == asked[word]);
                    if moments[later()].slot[WORDS - 1] == state {
                        is_listener = Some(is_same);
                    }
                }
                _ => {}
            }
            let is_listener = is_listener.unwrap_or_else(|| moments[later()].map.contains(&end));
            (is_listener, at)
        }

        /// Asks about every end at every moment: who was registered all the time must be a listener, and who was not for a
        /// single moment must be none.
        fn judge(&self, ends: &[End]) {
            let count = self.moments.borrow().len();
            for from in 0..count {
                for end in ends {
                    let (answer, until) = self.ask(*end, from);
                    let moments = self.moments.borrow();
                    let mut meanwhile = moments[from..=until].iter();
                    if meanwhile.clone().any(|moment| moment.changing == Some(*end)) {
                        continue;
                    }
                    let was_there = meanwhile.clone().all(|moment| moment.registered.contains(end));
                    let was_elsewhere = meanwhile.all(|moment| !moment.registered.contains(end));
                    assert!(!was_there || answer, "{end:?} is a listener in moments {from} to {until}");
                    assert!(!was_elsewhere || !answer, "{end:?} is no listener in moments {from} to {until}");
                }
            }
        }
    }

    impl ListenerMaps for Recorded {
        fn insert(&self, end: &End) -> io::Result<()> {
            self.may_fail()?;
            self.change(|moment| _ = moment.map.insert(*end));
            Ok(())
        }

        fn delete(&self, end: &End) -> io::Result<bool> {
            self.may_fail()?;
            let was_there = self.now().map.contains(end);
            self.change(|moment| _ = moment.map.remove(end));
            Ok(was_there)
        }

        fn ends(&self) -> Vec<End> {
            self.now().map.into_iter().collect()
        }

        fn slot(&self, index: u32) -> io::Result<ListenerSlot> {
            let words = if index == SHARED { self.now().slot } else { [0; WORDS] };
            Ok(ListenerSlot::read_from_bytes(words.as_bytes()).unwrap())
        }

        fn set_slot(&self, index: u32, slot: &ListenerSlot) -> io::Result<()> {
            self.may_fail()?;
            assert_eq!(index, SHARED);
            let new = words_of(slot);
            let mut left: Vec<usize> = (0..WORDS).filter(|word| self.now().slot[*word] != new[*word]).collect();
            while !left.is_empty() {
                let word = left.swap_remove(self.below(left.len()));
                self.change(|moment| moment.slot[word] = new[word]);
            }
            Ok(())
        }
    }

    fn words_of(slot: &ListenerSlot) -> [u32; WORDS] {
        <[u32; WORDS]>::read_from_bytes(slot.as_bytes()).unwrap()
    }

    /// Ends of one slot. The third is what a packet reads that meets the words of the first and of the second.
    fn neighbours() -> Vec<End> {
        let end = |host: u8, port| End::from(SocketAddr::new(Ipv4Addr::new(10, host, 0, 200 - host).into(), port));
        let ports = |host| (1..=u16::MAX).filter(move |port| end(host, *port).slot() == SHARED).collect::<Vec<_>>();
        let of_host: Vec<_> = (1..=60).map(|host| (host, ports(host))).collect();
        let mut pairs = of_host.iter().flat_map(|a| of_host.iter().map(move |b| (a, b))).filter(|(a, b)| a.0 < b.0);
        let common = |a: &[u16], b: &[u16]| b.iter().copied().find(|port| a.contains(port));
        let found = pairs.find_map(|(a, b)| Some((a, b, common(&a.1, &b.1)?)));
        let (a, b, both) = found.expect("two hosts with a port in common");
        let mut own = a.1.iter().copied().filter(|port| *port != both);
        let mut ends = vec![end(a.0, own.next().unwrap()), end(b.0, both), end(a.0, both)];
        ends.extend(own.take(3).map(|port| end(a.0, port)));
        assert!(ends.len() == 6 && ends.iter().all(|end| end.slot() == SHARED));
        ends
    }

    fn registered(listeners: &Listeners<Recorded>) -> BTreeSet<End> {
        listeners.maps.now().registered
    }

    /// One addition or removal, which is to agree with a set.
    fn toggle(listeners: &Listeners<Recorded>, end: End, add: bool) {
        let mut expected = registered(listeners);
        listeners.maps.change(|moment| moment.changing = Some(end));
        if add {
            listeners.add(end).unwrap();
            expected.insert(end);
        } else {
            assert_eq!(listeners.remove(end).unwrap(), expected.remove(&end));
        }
        assert_eq!(listeners.maps.now().map, expected);
        listeners.maps.change(|moment| {
            moment.changing = None;
            moment.registered = expected;
        });
        let state = listeners.maps.now().slot[WORDS - 1] & LISTENER_STATE_MASK;
        let expected = match registered(listeners).len() {
            0 => NO_LISTENER,
            1 => ONE_LISTENER,
            _ => MANY_LISTENERS,
        };
        assert_eq!(state, expected);
    }

    #[test]
    fn no_packet_between_two_stores_is_told_wrong() {
        let ends = neighbours();
        for seed in 0..150 {
            let listeners = Listeners::new(Recorded::new(seed, BTreeSet::new(), ListenerSlot::new_zeroed())).unwrap();
            for _ in 0..40 {
                // Often few of them, so that the slot goes to and fro between one and several.
                let end = ends[listeners.maps.below(ends.len()).min(listeners.maps.below(ends.len()))];
                let add = listeners.maps.below(2) == 0;
                toggle(&listeners, end, add);
            }
            listeners.maps.judge(&ends);
        }
    }

    #[test]
    fn every_order_of_coming_and_going_ends_as_a_set_would() {
        let ends = &neighbours()[..3];
        // Each digit is an end to toggle: all sequences of six.
        for order in 0..3_usize.pow(6) {
            let listeners =
                Listeners::new(Recorded::new(order as u64, BTreeSet::new(), ListenerSlot::new_zeroed())).unwrap();
            for step in 0..6 {
                let end = ends[order / 3_usize.pow(step) % 3];
                let add = !registered(&listeners).contains(&end);
                toggle(&listeners, end, add);
            }
            listeners.maps.judge(ends);
        }
    }

    #[test]
    fn it_goes_on_from_maps_that_have_entries() {
        let ends = neighbours();
        for count in 0..4 {
            let there: BTreeSet<End> = ends[..count].iter().copied().collect();
            for kind in [NO_LISTENER, ONE_LISTENER, MANY_LISTENERS] {
                let slot = ListenerSlot { end: ends[5], state: 40 | kind };
                let listeners = Listeners::new(Recorded::new(7, there.clone(), slot)).unwrap();
                assert_eq!(registered(&listeners), there);
                // What was before is nobody's fault here.
                let begun = listeners.maps.moments.borrow().len() - 1;
                listeners.maps.moments.borrow_mut().drain(..begun);
                ends.iter().for_each(|end| toggle(&listeners, *end, !there.contains(end)));
                listeners.maps.judge(&ends);
            }
        }
    }

    /// Whatever the kernel refuses, and at whichever step: what was there stays, and it goes on as if nothing had been asked.
    #[test]
    fn a_refusal_leaves_the_others_as_they_were() {
        let ends = neighbours();
        for count in 0..4 {
            for good_for in 0..5 {
                let listeners = Listeners::new(Recorded::new(3, BTreeSet::new(), ListenerSlot::new_zeroed())).unwrap();
                ends[..count].iter().for_each(|end| toggle(&listeners, *end, true));
                for add in [true, false] {
                    let end = if add { ends[count] } else { ends[0] };
                    listeners.maps.change(|moment| moment.changing = Some(end));
                    listeners.maps.good_for.set(good_for);
                    let refused = if add { listeners.add(end).is_err() } else { listeners.remove(end).is_err() };
                    listeners.maps.good_for.set(u32::MAX);
                    if refused {
                        // It succeeds when it is asked for again.
                        if add { listeners.add(end).unwrap() } else { _ = listeners.remove(end).unwrap() }
                    }
                    listeners.maps.change(|moment| {
                        moment.changing = None;
                        let registered = &mut moment.registered;
                        if add {
                            registered.insert(end)
                        } else {
                            registered.remove(&end)
                        };
                    });
                }
                listeners.maps.judge(&ends);
                assert_eq!(registered(&listeners), listeners.maps.now().map);
            }
        }
    }
}
