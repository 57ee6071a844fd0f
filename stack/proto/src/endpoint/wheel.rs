//! The timer wheel: one timer per connection slot, armed and cancelled in constant time.
//!
//! A hierarchical wheel after G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels: Data Structures for
//! the Efficient Implementation of a Timer Facility", SOSP 1987, scheme 7. Six levels of 64 slots; a slot of level n
//! spans 64^n ticks of 16.4 us. A timer lies in the lowest level whose current turn holds its deadline, and moves down
//! (cascades) when time enters its slot: at most five moves in a timer's life. Beyond 12.5 days it waits in the
//! farthest slot and is placed again from there.
//!
//! Ticks only sort timers; each keeps its deadline to the nanosecond and fires by it. So a caller who jumps in time
//! from one [`next_deadline`](Wheel::next_deadline) to the next never meets a timer that is due and does not fire.

use super::list::Lists;
use crate::time::Instant;

/// A tick is 2^14 ns = 16.384 us.
const TICK_BITS: u32 = 14;
/// 64 slots a level, so that a level's occupancy is one word.
const SLOT_BITS: u32 = 6;
const SLOTS: u32 = 1 << SLOT_BITS;
/// 64^6 ticks are 13.03 days.
const LEVELS: u32 = 6;
const TOP: u32 = LEVELS - 1;
const TOP_SLOT_TICKS: u64 = 1 << (TOP * SLOT_BITS);

/// The list of timers that are due and will be yielded by this drain; the slots' lists are `0..DUE`.
const DUE: u32 = LEVELS * SLOTS;
/// The list of timers that were armed for a moment that had already come: they belong to the next drain.
const LATE: u32 = DUE + 1;
const LISTS: u32 = LATE + 1;

/// How many timers of one slot [`Wheel::next_deadline`] looks at before it answers with the slot's beginning.
const SCAN_LIMIT: usize = 64;

/// A timer wheel with one timer per key; keys are slot numbers from 0 to the capacity, exclusive.
///
/// What holds:
/// - A timer never fires before its deadline, and fires in the first drain whose `now` is at or after it.
/// - A *drain* is the calls of [`expire`](Self::expire) until it answers `None`. Keys come out in the order of their
///   deadlines, to the tick.
/// - A key that is armed during a drain for a moment that has already come waits for the next drain (which may have
///   the same `now`). So a drain yields each key at most once, and ends, whatever its caller arms.
/// - Nothing allocates but [`new`](Self::new).
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Deadlines in nanoseconds, in the lists of the slots, `DUE` and `LATE`.
    timers: Lists<u64>,
    /// One bit per slot with a timer in it, by level.
    occupied: [u64; LEVELS as usize],
    /// The tick up to which everything has been moved to `DUE`. Every timer in a slot lies in this tick or after it.
    cursor: u64,
    /// The latest `now`, in nanoseconds.
    now: u64,
    /// Before this moment, in nanoseconds, no timer becomes due and no slot has to cascade: `expire` need not look.
    quiet_until: u64,
    /// Whether `expire` has answered with a key and not yet with `None`.
    draining: bool,
    armed: u32,
}

impl Wheel {
    /// A wheel for keys `0..capacity`, at time `now`. Takes 16 bytes a key and 6 KiB.
    pub(crate) fn new(capacity: usize, now: Instant) -> Self {
        let now = now.as_nanos();
        Self {
            timers: Lists::new(LISTS, capacity),
            occupied: [0; LEVELS as usize],
            cursor: now >> TICK_BITS,
            now,
            quiet_until: u64::MAX,
            draining: false,
            armed: 0,
        }
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.armed as usize
    }

    /// Whether `key` has a timer that has not fired.
    pub(crate) fn is_armed(&self, key: u32) -> bool {
        self.timers.is_linked(key)
    }

    /// The deadline of `key`'s timer, as it was armed.
    pub(crate) fn deadline(&self, key: u32) -> Option<Instant> {
        self.is_armed(key).then(|| Instant::from_nanos(*self.timers.value(key)))
    }

    /// Arms `key`'s timer, or moves it, to fire at `deadline`. A deadline in the past fires in the next drain.
    ///
    /// # Panics
    /// When `key` is not below the capacity.
    pub(crate) fn arm(&mut self, key: u32, deadline: Instant) {
        if self.timers.is_linked(key) {
            self.unlink(key);
        } else {
            self.armed += 1;
        }
        let deadline = deadline.as_nanos();
        *self.timers.value_mut(key) = deadline;
        if deadline <= self.now {
            self.timers.push_back(LATE, key);
        } else {
            let look_at = self.place(key, deadline);
            self.quiet_until = self.quiet_until.min(look_at);
        }
    }

    /// Cancels `key`'s timer, if there is one, even when it is due and not yet yielded.
    pub(crate) fn cancel(&mut self, key: u32) {
        if self.timers.is_linked(key) {
            self.unlink(key);
            self.armed -= 1;
        }
    }

    /// The next key whose deadline is at or before `now`; it is no longer armed. Call until `None`: see the type.
    ///
    /// Costs a few instructions when nothing is due. A jump over a long time costs at most one visit per slot and
    /// five moves per timer.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos().max(self.now);
        if !self.draining || now > self.now {
            self.now = now;
            if now < self.quiet_until {
                self.cursor = now >> TICK_BITS;
            } else {
                self.advance();
            }
            self.timers.append(DUE, LATE);
        }
        let key = self.timers.pop_front(DUE);
        self.draining = key.is_some();
        self.armed -= u32::from(self.draining);
        key
    }

    /// When to call [`expire`](Self::expire) next; `None` when nothing is armed.
    ///
    /// Never later than the earliest deadline. It *is* the earliest deadline unless that shares its slot with more
    /// than 63 others, or with timers that were armed for more than 12.5 days ahead. Then it is at most the beginning
    /// of the slot, still after the latest `now`, and calling `expire` there spreads the slot over finer ones, so that
    /// the answer becomes exact after a call per level at most. (When more than 64 timers are already due, it is the
    /// origin of time.)
    ///
    /// Looks at one slot and at most 64 timers.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        for overdue in [DUE, LATE] {
            if !self.timers.is_empty(overdue) {
                // The other list may hold an earlier one, but whoever is overdue is due at once.
                return Some(Instant::from_nanos(self.earliest_in(overdue).unwrap_or(0)));
            }
        }
        let (list, start) = self.first_slot()?;
        // A timer beyond the wheel's reach waits in a slot that is not its own, and one of a later slot may be earlier.
        let reach = if list < TOP * SLOTS { u64::MAX } else { (start + TOP_SLOT_TICKS) << TICK_BITS };
        let exact = self.earliest_in(list).filter(|&earliest| earliest < reach || reach == u64::MAX);
        Some(Instant::from_nanos(exact.unwrap_or(self.quiet_until)))
    }

    /// The earliest deadline in a list that is not too long to look at.
    fn earliest_in(&self, list: u32) -> Option<u64> {
        let mut earliest = u64::MAX;
        for (seen, key) in self.timers.iter(list).enumerate() {
            if seen == SCAN_LIMIT {
                return None;
            }
            earliest = earliest.min(*self.timers.value(key));
        }
        Some(earliest)
    }

    /// Puts `key` into the slot for `deadline`, which is not before the cursor's tick. Gives the moment at which that
    /// slot has to be looked at.
    fn place(&mut self, key: u32, deadline: u64) -> u64 {
        let tick = deadline >> TICK_BITS;
        // The highest bit in which the tick differs from the cursor's says which level's turn first holds both.
        let differing = 63 - ((tick ^ self.cursor) | 1).leading_zeros();
        let level = (differing / SLOT_BITS).min(TOP);
        let shift = level * SLOT_BITS;
        let mut slot_tick = tick >> shift;
        if level == TOP {
            // The top level goes round: its slots are the 63 after the cursor's own.
            slot_tick = slot_tick.min((self.cursor >> shift) + u64::from(SLOTS) - 1);
        }
        let slot = (slot_tick % u64::from(SLOTS)) as u32;
        self.occupied[level as usize] |= 1 << slot;
        self.timers.push_back(level * SLOTS + slot, key);
        if level == 0 { deadline } else { slot_tick << (shift + TICK_BITS) }
    }

    fn unlink(&mut self, key: u32) {
        if let Some(emptied) = self.timers.unlink(key) {
            self.vacate(emptied);
        }
    }

    /// Notes that list `list` is empty now.
    fn vacate(&mut self, list: u32) {
        if list < DUE {
            self.occupied[(list / SLOTS) as usize] &= !(1 << (list % SLOTS));
        }
    }

    /// The list of the occupied slot that comes first, and the tick at which it begins.
    ///
    /// A level's timers all come before those of the levels above it, because they lie in the part of the upper
    /// level's turn that has begun.
    fn first_slot(&self) -> Option<(u32, u64)> {
        let (level, &occupied) = (0u32..).zip(&self.occupied).find(|&(_, &occupied)| occupied != 0)?;
        let shift = level * SLOT_BITS;
        let here = self.cursor >> shift;
        let ahead = occupied.rotate_right((here % u64::from(SLOTS)) as u32).trailing_zeros();
        let slot_tick = here + u64::from(ahead);
        Some((level * SLOTS + (slot_tick % u64::from(SLOTS)) as u32, slot_tick << shift))
    }

    /// Moves everything that is due at `self.now` to `DUE`, slot by slot in the order of time.
    fn advance(&mut self) {
        let target = self.now >> TICK_BITS;
        self.quiet_until = u64::MAX;
        while let Some((list, start)) = self.first_slot() {
            if start > target {
                self.quiet_until = start << TICK_BITS;
                break;
            }
            self.cursor = start;
            if list >= SLOTS {
                self.cascade(list);
            } else if start < target {
                self.timers.append(DUE, list);
                self.vacate(list);
            } else if let Some(earliest) = self.split(list) {
                self.quiet_until = earliest;
                break;
            }
        }
        self.cursor = target;
    }

    /// Places every timer of a slot that time has entered anew: each goes to a lower level, or, if it lies beyond the
    /// wheel's reach, again to the top.
    fn cascade(&mut self, list: u32) {
        // Placing never puts a timer back into the slot that the cursor is in, so the list runs out.
        while let Some(key) = self.timers.pop_front(list) {
            self.place(key, *self.timers.value(key));
        }
        self.vacate(list);
    }

    /// Moves what is due out of the slot of the current tick. Gives the earliest deadline of the rest.
    fn split(&mut self, list: u32) -> Option<u64> {
        let mut rest = None;
        let mut next = self.timers.first(list);
        while let Some(key) = next {
            next = self.timers.following(key);
            let deadline = *self.timers.value(key);
            if deadline <= self.now {
                self.unlink(key);
                self.timers.push_back(DUE, key);
            } else {
                rest = Some(rest.map_or(deadline, |earliest: u64| earliest.min(deadline)));
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Node;
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec;
    use std::vec::Vec;

    const TICK: u64 = 1 << TICK_BITS;
    const DAY: u64 = 86_400_000_000_000;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn drain(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        core::iter::from_fn(|| wheel.expire(at(now))).collect()
    }

    #[test]
    fn a_timer_takes_sixteen_bytes() {
        assert_eq!(size_of::<Node<u64>>(), 16);
    }

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let far = [1, TICK - 1, TICK, 63 * TICK, 64 * TICK, 65 * TICK + 5, 4096 * TICK, 10 * DAY, 40 * DAY, 400 * DAY];
        for start in [0, 5, 63 * TICK + 1, 13 * DAY, 100 * DAY] {
            for delay in far {
                let mut wheel = Wheel::new(1, at(start));
                wheel.arm(0, at(start + delay));
                assert_eq!(wheel.deadline(0), Some(at(start + delay)));
                if delay < 12 * DAY {
                    assert_eq!(wheel.next_deadline(), Some(at(start + delay)));
                }
                assert_eq!(drain(&mut wheel, start + delay - 1), vec![], "{start} {delay}");
                assert_eq!(wheel.next_deadline(), Some(at(start + delay)));
                assert_eq!(drain(&mut wheel, start + delay), vec![0], "{start} {delay}");
                assert_eq!((wheel.next_deadline(), wheel.len(), wheel.is_armed(0)), (None, 0, false));
            }
        }
    }

    #[test]
    fn small_steps_meet_every_timer_in_time() {
        let mut wheel = Wheel::new(4, at(0));
        let deadlines = [40 * TICK + 3, 70 * TICK, 5000 * TICK + 1, 300_000 * TICK];
        for (key, deadline) in (0..).zip(deadlines) {
            wheel.arm(key, at(deadline));
        }
        let mut now = 0;
        let mut fired = Vec::new();
        while now < 300_001 * TICK {
            now += TICK / 3;
            for key in drain(&mut wheel, now) {
                let late = now - deadlines[key as usize];
                assert!(late < TICK / 3, "key {key} is {late} ns late");
                fired.push(key);
            }
        }
        assert_eq!(fired, vec![0, 1, 2, 3]);
    }

    #[test]
    fn a_drain_ends_even_if_every_key_is_armed_again_for_now() {
        let mut wheel = Wheel::new(3, at(0));
        for key in 0..3 {
            wheel.arm(key, at(100 + u64::from(key)));
        }
        for now in [500, 500, 501, 70 * TICK] {
            let mut yielded = Vec::new();
            while let Some(key) = wheel.expire(at(now)) {
                yielded.push(key);
                assert!(yielded.len() <= 3, "a drain at {now} does not end");
                wheel.arm(key, at(now));
            }
            yielded.sort_unstable();
            assert_eq!(yielded, vec![0, 1, 2], "each key once, in a drain at {now}");
            assert_eq!(wheel.next_deadline(), Some(at(now)), "what was armed late is due at once");
        }
    }

    #[test]
    fn an_unfinished_drain_goes_on_at_a_later_time() {
        let mut wheel = Wheel::new(3, at(0));
        wheel.arm(0, at(10));
        wheel.arm(1, at(20));
        wheel.arm(2, at(TICK * 70));
        assert_eq!(wheel.expire(at(30)), Some(0));
        assert_eq!(wheel.next_deadline(), Some(at(20)));
        wheel.arm(0, at(25));
        wheel.cancel(1);
        assert!(!wheel.is_armed(1), "a due timer can still be cancelled");
        assert_eq!(drain(&mut wheel, TICK * 71), vec![2, 0]);
    }

    #[test]
    fn a_crowded_slot_answers_with_its_beginning_and_becomes_exact() {
        crowd(5_000_000_000, 3 * TICK);
        crowd(5_000_000_000, 1);
        crowd(DAY, 4096 * TICK);
    }

    /// A thousand timers, the first at `earliest`, the others `apart` from one another.
    fn crowd(earliest: u64, apart: u64) {
        let count = 1000;
        let mut wheel = Wheel::new(count, at(7));
        for key in 0..count as u32 {
            wheel.arm(key, at(earliest + u64::from(key) * apart));
        }
        let mut wakes = 0;
        let mut now = 7;
        while now < earliest {
            let next = wheel.next_deadline().unwrap().as_nanos();
            assert!(next > now && next <= earliest);
            now = next;
            wakes += 1;
            let fired = drain(&mut wheel, now);
            assert_eq!(!fired.is_empty(), now == earliest);
        }
        assert!(wakes <= LEVELS + 1, "{wakes} wakes");
        assert_eq!(wheel.len(), count - 1);
    }

    #[test]
    fn a_timer_out_of_reach_does_not_hide_an_earlier_one() {
        let mut wheel = Wheel::new(2, at(0));
        wheel.arm(0, at(40 * DAY));
        let mut now = 6 * DAY;
        assert_eq!(drain(&mut wheel, now), vec![]);
        wheel.arm(1, at(now + 12 * DAY));
        while now < 18 * DAY {
            assert!(wheel.next_deadline().unwrap() <= at(18 * DAY));
            now = wheel.next_deadline().unwrap().as_nanos();
            assert_eq!(drain(&mut wheel, now).is_empty(), now < 18 * DAY);
        }
    }

    #[test]
    fn the_end_of_time_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new(2, at(u64::MAX - 100));
        wheel.arm(0, at(u64::MAX));
        wheel.arm(1, at(u64::MAX - 50));
        assert_eq!(drain(&mut wheel, u64::MAX - 50), vec![1]);
        assert_eq!(drain(&mut wheel, u64::MAX), vec![0]);
        let mut wheel = Wheel::new(1, at(0));
        wheel.arm(0, at(u64::MAX));
        assert_eq!(drain(&mut wheel, u64::MAX), vec![0]);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm { key: u32, after: u64 },
        ArmPast { key: u32, before: u64 },
        Cancel { key: u32 },
        Advance { by: u64 },
        ToNext,
        Fire { limit: usize, again: u64 },
    }

    const KEYS: u32 = 200;

    /// Durations of every magnitude, with edges of slots among them.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0u32..52, any::<u64>()).prop_map(|(bits, noise)| (1 << bits) | (noise & ((1 << bits) - 1))),
            (0u32..7, 0u64..65, 0u64..3).prop_map(|(level, n, off)| {
                ((n << (level * SLOT_BITS)) << TICK_BITS).saturating_add(off).saturating_sub(1)
            }),
            0u64..2 * TICK,
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..KEYS, span()).prop_map(|(key, after)| Op::Arm { key, after }),
            1 => (0..KEYS, span()).prop_map(|(key, before)| Op::ArmPast { key, before }),
            2 => (0..KEYS).prop_map(|key| Op::Cancel { key }),
            3 => span().prop_map(|by| Op::Advance { by }),
            2 => Just(Op::ToNext),
            1 => (0usize..3, span()).prop_map(|(limit, again)| Op::Fire { limit, again }),
        ]
    }

    /// The naive model: a map from key to deadline, and the keys that were armed beyond the wheel's reach.
    #[derive(Default)]
    struct Model(BTreeMap<u32, u64>, BTreeSet<u32>);

    impl Model {
        fn arm(&mut self, now: u64, key: u32, deadline: u64) {
            self.0.insert(key, deadline);
            self.1.remove(&key);
            if deadline.saturating_sub(now) > 12 * DAY {
                self.1.insert(key);
            }
        }

        fn remove(&mut self, key: u32) {
            self.0.remove(&key);
            self.1.remove(&key);
        }

        fn due(&self, now: u64) -> BTreeSet<u32> {
            self.0.iter().filter(|&(_, &deadline)| deadline <= now).map(|(&key, _)| key).collect()
        }
    }

    fn check(wheel: &Wheel, model: &Model, now: u64) {
        assert_eq!(wheel.len(), model.0.len());
        for key in 0..KEYS {
            assert_eq!(wheel.deadline(key), model.0.get(&key).copied().map(at));
        }
        let earliest = model.0.values().min().copied();
        let next = wheel.next_deadline().map(Instant::as_nanos);
        assert_eq!(next.is_some(), earliest.is_some());
        if let (Some(next), Some(earliest)) = (next, earliest) {
            if earliest > now {
                assert!(next <= earliest && next > now);
                assert!(next == earliest || model.0.len() > SCAN_LIMIT || !model.1.is_empty());
            } else {
                assert!(next <= now, "{next} {now}");
            }
        }
    }

    fn run(start: u64, ops: &[Op]) {
        let mut wheel = Wheel::new(KEYS as usize, at(start));
        let mut model = Model::default();
        let mut now = start;
        for op in ops {
            match *op {
                Op::Arm { key, after } => {
                    let deadline = now.saturating_add(after);
                    wheel.arm(key, at(deadline));
                    model.arm(now, key, deadline);
                }
                Op::ArmPast { key, before } => {
                    let deadline = now.saturating_sub(before);
                    wheel.arm(key, at(deadline));
                    model.arm(now, key, deadline);
                }
                Op::Cancel { key } => {
                    wheel.cancel(key);
                    model.remove(key);
                }
                Op::Advance { by } => now = now.saturating_add(by),
                Op::ToNext => now = wheel.next_deadline().map_or(now, |next| now.max(next.as_nanos())),
                Op::Fire { limit, again } => {
                    // Leaves the drain in the middle, with keys armed again for the past and for the future.
                    for _ in 0..limit {
                        let Some(key) = wheel.expire(at(now)) else { break };
                        assert!(model.0[&key] <= now);
                        let deadline = if again.is_multiple_of(2) { now } else { now.saturating_add(again) };
                        wheel.arm(key, at(deadline));
                        model.arm(now, key, deadline);
                    }
                    continue;
                }
            }
            if matches!(op, Op::Advance { .. } | Op::ToNext) {
                // Ends a drain that was left in the middle: what was armed late in it comes out after its `None`.
                let mut due = model.due(now);
                for _ in 0..2 {
                    while let Some(key) = wheel.expire(at(now)) {
                        assert!(due.remove(&key), "{key} is not due at {now}, or twice");
                        model.remove(key);
                    }
                }
                assert!(due.is_empty(), "{due:?} did not fire at {now}");
            }
            check(&wheel, &model, now);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn agrees_with_a_map(start in span(), ops in prop::collection::vec(op(), 1..300)) {
            run(start, &ops);
        }

        #[test]
        fn keys_come_out_in_the_order_of_their_ticks(delays in prop::collection::vec(span(), 1..100), step in span()) {
            let mut wheel = Wheel::new(delays.len(), at(0));
            for (key, &delay) in (0..).zip(&delays) {
                wheel.arm(key, at(delay + 1));
            }
            let mut now = 0u64;
            while wheel.len() > 0 {
                now = now.saturating_add(step + 1).max(wheel.next_deadline().unwrap().as_nanos());
                let ticks: Vec<_> =
                    drain(&mut wheel, now).iter().map(|&key| (delays[key as usize] + 1) >> TICK_BITS).collect();
                prop_assert!(ticks.is_sorted());
            }
        }
    }

    #[test]
    fn a_million_idle_turns_cost_no_search() {
        let mut wheel = Wheel::new(1, at(0));
        wheel.arm(0, at(0) + Duration::from_secs(7200));
        for turn in 1..1_000_000 {
            assert_eq!(wheel.expire(at(turn * 1000)), None);
        }
        assert_eq!(wheel.cursor, 999_999_000 >> TICK_BITS);
        assert_eq!(wheel.next_deadline(), Some(Instant::ZERO + Duration::from_secs(7200)));
    }
}
