//! Connections in TIME-WAIT, in less than 64 bytes each: what it takes to answer a late segment and no more.

use alloc::vec::Vec;
use core::time::Duration;

use super::Marking;
use super::chains::Chains;
use super::flow_hash::TableHash;
use super::list::Lists;
use super::ticks::Ticks;
use crate::addr::{Addr, Flow, SocketAddr};
use crate::tcp::seq::Seq;
use crate::time::Instant;

/// The list of free entries.
const FREE: u32 = 0;
/// The list of entries in use, in the order of their deadlines.
const WAITING: u32 = 1;
const LISTS: u32 = 2;

/// How many addresses of our own can have connections in TIME-WAIT at one time.
const MAX_LOCALS: usize = 256;

/// Ticks of 16.8 ms, which mean the right time if the table is asked to expire at least once in 416 days.
type Clock = Ticks<24>;

/// What a connection in TIME-WAIT still has to know (RFC 9293 3.10.7, RFC 7323, RFC 6191).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waiting {
    /// SND.NXT: the number after our FIN.
    pub(crate) snd_nxt: Seq,
    /// RCV.NXT: the number after the peer's FIN.
    pub(crate) rcv_nxt: Seq,
    /// TS.Recent: the peer's latest timestamp, if the connection had timestamps.
    pub(crate) ts_recent: Option<u32>,
    /// What is added to the timestamp clock in what we send.
    pub(crate) ts_offset: u32,
    /// What its segments are marked with.
    pub(super) marking: Marking,
}

/// A connection as it is stored. Our address is a number into `locals`, because a host has few.
#[derive(Clone, Copy, Debug)]
struct Entry {
    remote: SocketAddr,
    local_port: u16,
    local: u16,
    has_timestamps: bool,
    ttl: u8,
    tos: u8,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    ts_recent: u32,
    ts_offset: u32,
    deadline: u32,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            remote: SocketAddr::new(Addr::v4([0; 4]), 0),
            local_port: 0,
            local: 0,
            has_timestamps: false,
            ttl: 0,
            tos: 0,
            snd_nxt: Seq(0),
            rcv_nxt: Seq(0),
            ts_recent: 0,
            ts_offset: 0,
            deadline: 0,
        }
    }
}

/// The connections in TIME-WAIT, found by flow and let go after 2 MSL, the oldest first.
///
/// All wait equally long, so the order of arrival is the order of deadlines. When it is full, the one that has waited
/// longest makes room. It decides nothing about TCP: what a segment means for an entry is its caller's business.
#[derive(Debug)]
pub(crate) struct TimeWait {
    entries: Lists<Entry>,
    index: Chains,
    hash: TableHash,
    locals: Vec<Addr>,
    clock: Clock,
    duration: Duration,
    len: usize,
    evicted: u64,
}

impl TimeWait {
    /// An empty table for `capacity` connections that each wait for `duration` (2 MSL). `key` is secret. All memory is
    /// taken now.
    pub(crate) fn new(capacity: usize, duration: Duration, key: [u8; 16]) -> Self {
        let mut entries = Lists::new(LISTS, capacity);
        (0..capacity as u32).for_each(|entry| entries.push_back(FREE, entry));
        Self {
            entries,
            index: Chains::new(capacity),
            hash: TableHash::new(key),
            locals: Vec::with_capacity(MAX_LOCALS),
            clock: Clock::new(),
            duration,
            len: 0,
            evicted: 0,
        }
    }

    /// How many connections wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many connections were let go early, or not taken, for want of room.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Begins the wait of `flow` at `now`, or begins it anew with other values. Evicts the oldest when there is no room.
    pub(crate) fn insert(&mut self, now: Instant, flow: &Flow, waiting: Waiting) {
        self.clock.observe(now);
        self.remove(flow);
        let Some(local) = self.number_of(flow.local.addr) else {
            self.evicted += 1;
            return;
        };
        if self.entries.is_empty(FREE) {
            self.evicted += 1;
            match self.entries.first(WAITING) {
                Some(oldest) => self.release(oldest),
                None => return,
            }
        }
        let Some(key) = self.entries.pop_front(FREE) else { return };
        *self.entries.value_mut(key) = Entry {
            remote: flow.remote,
            local_port: flow.local.port,
            local,
            has_timestamps: waiting.ts_recent.is_some(),
            ttl: waiting.marking.ttl,
            tos: waiting.marking.tos,
            snd_nxt: waiting.snd_nxt,
            rcv_nxt: waiting.rcv_nxt,
            ts_recent: waiting.ts_recent.unwrap_or(0),
            ts_offset: waiting.ts_offset,
            deadline: Clock::after(now, self.duration),
        };
        self.entries.push_back(WAITING, key);
        self.index.insert(self.hash.flow(flow), key);
        self.len += 1;
    }

    /// What is known of `flow`, if it waits. An entry whose time is over is there until [`expire`](Self::expire).
    pub(crate) fn find(&self, flow: &Flow) -> Option<Waiting> {
        self.key_of(flow).map(|key| self.waiting(key))
    }

    /// Begins the wait of `flow` anew ("restart the 2 MSL time-wait timeout", RFC 9293 3.10.7.4); whether it was there.
    pub(crate) fn restart(&mut self, now: Instant, flow: &Flow) -> bool {
        self.clock.observe(now);
        let Some(key) = self.key_of(flow) else { return false };
        self.entries.unlink(key);
        self.entries.value_mut(key).deadline = Clock::after(now, self.duration);
        self.entries.push_back(WAITING, key);
        true
    }

    /// Ends the wait of `flow`, for instance because a new connection takes its place.
    pub(crate) fn remove(&mut self, flow: &Flow) -> Option<Waiting> {
        let key = self.key_of(flow)?;
        let waiting = self.waiting(key);
        self.release(key);
        Some(waiting)
    }

    /// Ends every wait whose time is over at `now`; gives how many. An entry goes at most 16.8 ms after its time.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        self.clock.observe(now);
        let before = self.len;
        while let Some(key) = self.entries.first(WAITING) {
            if !self.clock.is_due(self.entries.value(key).deadline) {
                break;
            }
            self.release(key);
        }
        before - self.len
    }

    /// When the next wait is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let key = self.entries.first(WAITING)?;
        Some(self.clock.instant(self.entries.value(key).deadline))
    }

    /// Every connection that waits and when its wait is over, the soonest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Flow, Instant)> {
        self.entries.iter(WAITING).map(|key| (self.flow(key), self.clock.instant(self.entries.value(key).deadline)))
    }

    fn key_of(&self, flow: &Flow) -> Option<u32> {
        self.index.find(self.hash.flow(flow), |key| self.flow(key) == *flow)
    }

    fn flow(&self, key: u32) -> Flow {
        let entry = self.entries.value(key);
        let local = SocketAddr::new(self.locals[usize::from(entry.local)], entry.local_port);
        Flow { local, remote: entry.remote }
    }

    fn waiting(&self, key: u32) -> Waiting {
        let entry = self.entries.value(key);
        Waiting {
            snd_nxt: entry.snd_nxt,
            rcv_nxt: entry.rcv_nxt,
            ts_recent: entry.has_timestamps.then_some(entry.ts_recent),
            ts_offset: entry.ts_offset,
            marking: Marking { ttl: entry.ttl, tos: entry.tos },
        }
    }

    fn release(&mut self, key: u32) {
        self.index.remove(self.hash.flow(&self.flow(key)), key);
        self.entries.unlink(key);
        self.entries.push_back(FREE, key);
        self.len -= 1;
        if self.len == 0 {
            self.locals.clear();
        }
    }

    /// The number of one of our addresses; a new one if there is room.
    fn number_of(&mut self, local: Addr) -> Option<u16> {
        let known = self.locals.iter().position(|&known| known == local);
        let number = known.or_else(|| {
            (self.locals.len() < MAX_LOCALS).then(|| {
                self.locals.push(local);
                self.locals.len() - 1
            })
        })?;
        u16::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Node;
    use super::*;
    use proptest::prelude::*;

    const TWO_MSL: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_nanos(1 << 24);

    fn flow(n: u8) -> Flow {
        let remote = if n.is_multiple_of(2) { Addr::v4([10, 0, 0, n]) } else { Addr::v6([n; 16]) };
        Flow { local: SocketAddr::new(Addr::v4([10, 0, 1, n % 3]), 80), remote: SocketAddr::new(remote, 4000) }
    }

    fn waiting(n: u32) -> Waiting {
        Waiting {
            snd_nxt: Seq(n),
            rcv_nxt: Seq(n + 1),
            ts_recent: n.is_multiple_of(3).then_some(n + 2),
            ts_offset: n + 3,
            marking: Marking { ttl: n as u8, tos: !n as u8 },
        }
    }

    #[test]
    fn an_entry_takes_at_most_64_bytes_all_in() {
        let all_in = size_of::<Node<Entry>>() + Chains::BYTES_PER_ENTRY;
        assert!(all_in <= 64, "{all_in}");
    }

    #[test]
    fn a_restart_begins_the_wait_anew() {
        let mut table = TimeWait::new(4, TWO_MSL, [1; 16]);
        let start = Instant::from_millis(1_000);
        table.insert(start, &flow(1), waiting(1));
        table.insert(start, &flow(2), waiting(2));
        let later = start + Duration::from_secs(30);
        assert!(table.restart(later, &flow(1)));
        assert!(!table.restart(later, &flow(3)));
        assert_eq!(table.expire(start + TWO_MSL - Duration::from_nanos(1)), 0);
        assert_eq!(table.expire(start + TWO_MSL + TICK), 1);
        assert_eq!((table.find(&flow(1)), table.find(&flow(2))), (Some(waiting(1)), None));
        assert!(table.next_deadline().unwrap() >= later + TWO_MSL);
        assert_eq!(table.expire(later + TWO_MSL + TICK), 1);
        assert_eq!((table.len(), table.next_deadline()), (0, None));
    }

    #[test]
    fn a_full_table_lets_the_oldest_go_and_counts_it() {
        let mut table = TimeWait::new(2, TWO_MSL, [1; 16]);
        for n in 1..=3 {
            table.insert(Instant::from_millis(u64::from(n)), &flow(n), waiting(u32::from(n)));
        }
        assert_eq!((table.len(), table.evicted()), (2, 1));
        assert!(table.find(&flow(1)).is_none() && table.find(&flow(3)).is_some());
        let mut none = TimeWait::new(0, TWO_MSL, [1; 16]);
        none.insert(Instant::ZERO, &flow(1), waiting(1));
        assert_eq!((none.len(), none.evicted()), (0, 1));
    }

    #[test]
    fn too_many_local_addresses_are_refused_and_counted() {
        let mut table = TimeWait::new(1000, TWO_MSL, [1; 16]);
        let from = |n: u16| {
            let [high, low] = n.to_be_bytes();
            Flow { local: SocketAddr::new(Addr::v4([10, 1, high, low]), 80), ..flow(2) }
        };
        for n in 0..300 {
            table.insert(Instant::ZERO, &from(n), waiting(1));
        }
        assert_eq!((table.len(), table.evicted()), (256, 44));
        table.expire(Instant::ZERO + TWO_MSL * 2);
        table.insert(Instant::ZERO, &from(299), waiting(1));
        assert!(table.find(&from(299)).is_some(), "addresses that nobody uses make room");
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8),
        Restart(u8),
        Remove(u8),
        Wait(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0u8..30).prop_map(Op::Insert),
            2 => (0u8..30).prop_map(Op::Restart),
            2 => (0u8..30).prop_map(Op::Remove),
            4 => (0u64..20_000_000_000).prop_map(Op::Wait),
            1 => (0u64..30_000_000_000_000_000).prop_map(Op::Wait),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(ops in prop::collection::vec(op(), 0..300)) {
            const CAPACITY: usize = 12;
            let mut table = TimeWait::new(CAPACITY, TWO_MSL, [3; 16]);
            let mut model: Vec<(u8, Waiting, Instant)> = Vec::new();
            let (mut now, mut evicted) = (Instant::from_millis(7), 0);
            for (turn, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(n) => {
                        table.insert(now, &flow(n), waiting(turn as u32));
                        model.retain(|&(key, ..)| key != n);
                        if model.len() == CAPACITY {
                            model.remove(0);
                            evicted += 1;
                        }
                        model.push((n, waiting(turn as u32), now + TWO_MSL));
                    }
                    Op::Restart(n) => {
                        let place = model.iter().position(|&(key, ..)| key == n);
                        prop_assert_eq!(table.restart(now, &flow(n)), place.is_some());
                        if let Some(place) = place {
                            let (_, waiting, _) = model.remove(place);
                            model.push((n, waiting, now + TWO_MSL));
                        }
                    }
                    Op::Remove(n) => {
                        let place = model.iter().position(|&(key, ..)| key == n);
                        prop_assert_eq!(table.remove(&flow(n)), place.map(|place| model.remove(place).1));
                    }
                    Op::Wait(nanos) => {
                        now = now + Duration::from_nanos(nanos);
                        table.expire(now);
                        // An entry may stay for a tick longer; not for more, and none goes early.
                        model.retain(|&(key, _, until)| now < until || (now < until + TICK && table.find(&flow(key)).is_some()));
                    }
                }
                prop_assert_eq!((table.len(), table.evicted()), (model.len(), evicted));
                let listed: Vec<_> = table.iter().map(|(flow, _)| flow).collect();
                prop_assert_eq!(listed, model.iter().map(|&(n, ..)| flow(n)).collect::<Vec<_>>());
                for &(n, waiting, _) in &model {
                    prop_assert_eq!(table.find(&flow(n)), Some(waiting));
                }
                let next = model.first().map(|&(.., until)| until);
                prop_assert_eq!(table.next_deadline().is_some(), next.is_some());
                if let (Some(deadline), Some(until)) = (table.next_deadline(), next) {
                    prop_assert!(deadline >= until && deadline < until + TICK);
                }
            }
        }
    }
}
