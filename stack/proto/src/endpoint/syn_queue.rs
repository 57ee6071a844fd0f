//! Half-open connections: a SYN has come, our SYN-ACK has gone, and the ACK is awaited.

use core::time::Duration;

use super::chains::Chains;
use super::event::ListenerId;
use super::flow_hash::TableHash;
use super::list::Lists;
use super::shares::Shares;
use super::table::InsertError;
use super::ticks::Ticks;
use crate::addr::{Addr, Flow, SocketAddr};
use crate::tcp::coverage;
use crate::tcp::ecn::negotiation::Asked;
use crate::tcp::seq::Seq;
use crate::tcp::state::{Event, State};
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// A SYN-ACK is sent again at most this many times: the last wait is then 128 s.
pub(crate) const MAX_RETRIES: u8 = 7;

/// The time-out before the first retransmission (RFC 6298 2.1); it doubles each time (5.5).
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// The lists of entries after so many retransmissions are `0..=MAX_RETRIES`. Each is in the order of deadlines, because
/// all in it wait equally long.
const FREE: u32 = MAX_RETRIES as u32 + 1;
const LISTS: u32 = FREE + 1;

/// Ticks of 1.05 ms, which mean the right time if the queue is polled at least once in 26 days.
type Clock = Ticks<20>;

/// What a half-open connection has to know: what its SYN said, and what our SYN-ACK did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HalfOpen {
    /// Both ends.
    pub(crate) flow: Flow,
    /// IRS: the peer's initial sequence number.
    pub(crate) irs: Seq,
    /// ISS: ours.
    pub(crate) iss: Seq,
    /// The peer's MSS option in bytes, or the default where it sent none.
    pub(crate) peer_mss: u16,
    /// The peer's window scale, 0 to 14; `None` where it sent none. More than 14 is kept as 14 (RFC 7323 2.3).
    pub(crate) peer_wscale: Option<u8>,
    /// The window scale that we sent, 0 to 14.
    pub(crate) our_wscale: Option<u8>,
    /// Whether both ends may send SACK.
    pub(crate) sack: bool,
    /// Whether both ends send timestamps.
    pub(crate) timestamps: bool,
    /// What the peer has asked for of ECN.
    pub(crate) ecn: Asked,
    /// `TSval` of the SYN: the first TS.Recent. Meaningless without timestamps.
    pub(crate) peer_tsval: u32,
    /// Whether our SYN-ACK gives a Fast Open cookie.
    pub(crate) fast_open: bool,
    /// How often our SYN-ACK was sent again; 0 when it is inserted, whatever it says.
    pub(crate) retransmits: u8,
}

#[cfg(test)]
impl HalfOpen {
    /// One that has agreed on nothing.
    pub(crate) fn none(flow: Flow) -> Self {
        Self {
            flow,
            irs: Seq(0),
            iss: Seq(0),
            peer_mss: 536,
            peer_wscale: None,
            our_wscale: None,
            sack: false,
            timestamps: false,
            ecn: Asked::NOTHING,
            peer_tsval: 0,
            fast_open: false,
            retransmits: 0,
        }
    }
}

/// No window scale, where a scale is 0 to 14.
const NO_SCALE: u8 = 15;

/// A half-open connection as it is stored.
#[derive(Clone, Copy, Debug)]
struct Entry {
    flow: Flow,
    irs: Seq,
    iss: Seq,
    peer_tsval: u32,
    deadline: u32,
    peer_mss: u16,
    /// The peer's scale in the low four bits, ours in the high.
    scales: u8,
    /// Retransmissions in the low four bits; then SACK, timestamps and Fast Open.
    flags: u8,
}

impl Entry {
    const SACK: u8 = 0x10;
    const TIMESTAMPS: u8 = 0x20;
    const FAST_OPEN: u8 = 0x80;
    const RETRANSMITS: u8 = 0x0f;

    fn pack(half_open: &HalfOpen) -> Self {
        let HalfOpen {
            flow,
            irs,
            iss,
            peer_mss,
            peer_wscale,
            our_wscale,
            sack,
            timestamps,
            ecn: _,
            peer_tsval,
            fast_open,
            retransmits: _,
        } = *half_open;
        let scale = |scale: Option<u8>| scale.map_or(NO_SCALE, |scale| scale.min(14));
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        Self {
            flow,
            irs,
            iss,
            peer_tsval,
            deadline: 0,
            peer_mss,
            scales: scale(peer_wscale) | scale(our_wscale) << 4,
            flags: flag(sack, Self::SACK) | flag(timestamps, Self::TIMESTAMPS) | flag(fast_open, Self::FAST_OPEN),
        }
    }

    fn unpack(&self, ecn: Asked) -> HalfOpen {
        let scale = |scale: u8| (scale != NO_SCALE).then_some(scale);
        HalfOpen {
            flow: self.flow,
            irs: self.irs,
            iss: self.iss,
            peer_mss: self.peer_mss,
            peer_wscale: scale(self.scales & 0x0f),
            our_wscale: scale(self.scales >> 4),
            sack: self.flags & Self::SACK != 0,
            timestamps: self.flags & Self::TIMESTAMPS != 0,
            ecn,
            peer_tsval: self.peer_tsval,
            fast_open: self.flags & Self::FAST_OPEN != 0,
            retransmits: self.retransmits(),
        }
    }

    fn retransmits(&self) -> u8 {
        self.flags & Self::RETRANSMITS
    }
}

impl Default for Entry {
    fn default() -> Self {
        let end = SocketAddr::new(Addr::v4([0; 4]), 0);
        Self {
            flow: Flow { local: end, remote: end },
            irs: Seq(0),
            iss: Seq(0),
            peer_tsval: 0,
            deadline: 0,
            peer_mss: 0,
            scales: 0,
            flags: 0,
        }
    }
}

/// The listeners' half-open connections, found by flow, and when to send which SYN-ACK again. Half of the queue is for
/// whoever is asked first, the other half for the listeners in equal parts: a flood at one leaves the others theirs.
///
/// It holds values and keeps time; what a segment means for an entry is its caller's business.
//= spec/rfc4987.txt#section-3.5
//# The SYN cache, best described by Lemon [Lem02], is based on minimizing the amount of state that a SYN allocates, i.e.,
//# not immediately allocating a full TCB.
#[derive(Debug)]
pub(crate) struct SynQueue {
    entries: Lists<Entry>,
    /// Whose listener each entry is.
    owners: Vec<ListenerId>,
    /// What each has asked for of ECN.
    asked: Vec<Asked>,
    shares: Shares,
    index: Chains,
    hash: TableHash,
    clock: Clock,
    retries: u8,
    len: usize,
    expired: u64,
}

impl SynQueue {
    /// An empty queue for `capacity` half-open connections, whose SYN-ACK is sent again `retries` times (at most
    /// [`MAX_RETRIES`]). `key` is secret. All memory is taken now: 80 bytes an entry.
    pub(crate) fn new(capacity: usize, retries: u8, key: [u8; 16]) -> Self {
        let mut entries = Lists::new(LISTS, capacity);
        (0..capacity as u32).for_each(|entry| entries.push_back(FREE, entry));
        Self {
            entries,
            owners: vec![ListenerId(u32::MAX); capacity],
            asked: vec![Asked::NOTHING; capacity],
            shares: Shares::new(capacity),
            index: Chains::new(capacity),
            hash: TableHash::new(key),
            clock: Clock::new(),
            retries: retries.min(MAX_RETRIES),
            len: 0,
            expired: 0,
        }
    }

    /// How many connections are half-open.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// `listener` has its part of the queue from now on.
    pub(crate) fn add_listener(&mut self, listener: ListenerId) {
        self.shares.add(listener.0);
    }

    /// `listener` is gone, and its part is for the others.
    pub(crate) fn remove_listener(&mut self, listener: ListenerId) {
        self.shares.remove(listener.0);
    }

    /// Whether no more can be taken for `listener`.
    pub(crate) fn is_full_for(&self, listener: ListenerId) -> bool {
        !self.shares.may_take(listener.0, self.owners.len() - self.len)
    }

    /// How many connections ended because the last SYN-ACK had no answer.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// Adds a connection to `listener` whose SYN-ACK goes out at `now`.
    ///
    /// # Errors
    /// [`InsertError::Exists`] when the flow has one, [`InsertError::Full`] when there is no room for this listener.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        half_open: &HalfOpen,
        listener: ListenerId,
    ) -> Result<(), InsertError> {
        self.clock.observe(now);
        let hash = self.hash.flow(&half_open.flow);
        if self.key_of(hash, &half_open.flow).is_some() {
            return Err(InsertError::Exists);
        }
        if self.is_full_for(listener) {
            return Err(InsertError::Full);
        }
        let key = self.entries.pop_front(FREE).ok_or(InsertError::Full)?;
        self.owners[key as usize] = listener;
        self.asked[key as usize] = half_open.ecn;
        self.shares.on_taken(listener.0);
        *self.entries.value_mut(key) = Entry::pack(half_open);
        self.index.insert(hash, key);
        self.len += 1;
        self.await_answer(now, key);
        Ok(())
    }

    /// The half-open connection of `flow`.
    pub(crate) fn find(&self, flow: &Flow) -> Option<HalfOpen> {
        self.key_of(self.hash.flow(flow), flow).map(|key| self.unpack(key))
    }

    /// The SYN of `flow` has come again and asks for something else.
    pub(crate) fn set_ecn(&mut self, flow: &Flow, ecn: Asked) {
        if let Some(key) = self.key_of(self.hash.flow(flow), flow) {
            self.asked[key as usize] = ecn;
        }
    }

    fn unpack(&self, key: u32) -> HalfOpen {
        self.entries.value(key).unpack(self.asked[key as usize])
    }

    /// Takes out the half-open connection of `flow`: it is established, or reset.
    pub(crate) fn remove(&mut self, flow: &Flow) -> Option<HalfOpen> {
        let key = self.key_of(self.hash.flow(flow), flow)?;
        let half_open = self.unpack(key);
        self.release(key);
        Some(half_open)
    }

    /// Forgets every connection for whose flow `keep` is false. It looks at all of them.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Flow) -> bool) {
        for list in 0..FREE {
            let mut next = self.entries.first(list);
            while let Some(key) = next {
                next = self.entries.following(key);
                if !keep(&self.entries.value(key).flow) {
                    self.release(key);
                }
            }
        }
    }

    /// A connection whose SYN-ACK has to be sent again now; call until `None`. It comes again after 2 s, 4 s and so on
    /// from `now`. One whose last SYN-ACK had no answer ends here and is counted.
    pub(crate) fn poll_retransmit(&mut self, now: Instant) -> Option<HalfOpen> {
        self.clock.observe(now);
        // Those that have waited longest first; an entry moves to a list that this call does not look at again.
        for list in (0..=u32::from(self.retries)).rev() {
            while let Some(key) = self.entries.first(list) {
                let entry = self.entries.value_mut(key);
                if !self.clock.is_due(entry.deadline) {
                    break;
                }
                if entry.retransmits() >= self.retries {
                    self.release(key);
                    self.expired += 1;
                    coverage::event(State::SynReceived, Event::Kill);
                    continue;
                }
                entry.flags += 1;
                let half_open = entry.unpack(self.asked[key as usize]);
                self.entries.unlink(key);
                self.await_answer(now, key);
                return Some(half_open);
            }
        }
        None
    }

    /// When [`poll_retransmit`](Self::poll_retransmit) next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let firsts = (0..=u32::from(self.retries)).filter_map(|list| self.entries.first(list));
        firsts.map(|key| self.clock.instant(self.entries.value(key).deadline)).min()
    }

    /// Every half-open connection and how often its SYN-ACK was sent again.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (HalfOpen, u8)> {
        (0..FREE).flat_map(|list| self.entries.iter(list)).map(|key| {
            let entry = self.entries.value(key);
            (self.unpack(key), entry.retransmits())
        })
    }

    fn key_of(&self, hash: u64, flow: &Flow) -> Option<u32> {
        self.index.find(hash, |key| self.entries.value(key).flow == *flow)
    }

    /// Puts `key` into the list for as many retransmissions as it has had.
    fn await_answer(&mut self, now: Instant, key: u32) {
        let entry = self.entries.value_mut(key);
        let retransmits = entry.retransmits();
        entry.deadline = Clock::after(now, INITIAL_RTO * (1 << retransmits));
        self.entries.push_back(u32::from(retransmits), key);
    }

    fn release(&mut self, key: u32) {
        self.index.remove(self.hash.flow(&self.entries.value(key).flow), key);
        self.entries.unlink(key);
        self.entries.push_back(FREE, key);
        self.shares.on_given_back(self.owners[key as usize].0);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Node;
    use super::*;
    use crate::tcp::config::Ecn;
    use crate::tcp::segment::{Codepoint, Flags};
    use proptest::prelude::*;

    const ANY: ListenerId = ListenerId(0);
    const TICK: Duration = Duration::from_nanos(1 << 20);

    fn asked(n: u8) -> Asked {
        Asked::new(Ecn::Passive, Flags(u16::from(n & 16) << 4), Codepoint::of(n))
    }

    fn half_open(n: u8) -> HalfOpen {
        HalfOpen {
            flow: Flow {
                local: SocketAddr::new(Addr::v4([10, 0, 0, 1]), 80),
                remote: SocketAddr::new(Addr::v6([n; 16]), 1000 + u16::from(n)),
            },
            irs: Seq(u32::from(n) << 20),
            iss: Seq(u32::from(n) << 10),
            peer_mss: 536 + u16::from(n),
            peer_wscale: (n & 1 != 0).then_some(n % 15),
            our_wscale: (n & 2 != 0).then_some(14 - n % 15),
            sack: n & 4 != 0,
            timestamps: n & 8 != 0,
            ecn: asked(n),
            peer_tsval: u32::from(n) << 24,
            fast_open: n & 32 != 0,
            retransmits: 0,
        }
    }

    //= spec/rfc4987.txt#section-3.5
    //= type=test
    //# The SYN cache, best described by Lemon [Lem02], is based on minimizing the amount of state that a SYN allocates,
    //# i.e., not immediately allocating a full TCB.
    #[test]
    fn an_entry_and_its_links_take_at_most_64_bytes() {
        assert!(size_of::<Node<Entry>>() <= 64, "{}", size_of::<Node<Entry>>());
    }

    #[test]
    fn packing_loses_nothing() {
        for n in 0..=255 {
            assert_eq!(Entry::pack(&half_open(n)).unpack(asked(n)), half_open(n));
        }
        let mut wide = half_open(1);
        wide.peer_wscale = Some(255);
        assert_eq!(Entry::pack(&wide).unpack(Asked::NOTHING).peer_wscale, Some(14));
    }

    #[test]
    fn what_is_not_kept_is_forgotten_wherever_it_waits() {
        let mut queue = SynQueue::new(8, 3, [1; 16]);
        let start = Instant::from_millis(50);
        (0..4).for_each(|n| queue.insert(start, &half_open(n), ANY).unwrap());
        let later = start + Duration::from_secs(1) + TICK;
        while queue.poll_retransmit(later).is_some() {}
        (4..8).for_each(|n| queue.insert(later, &half_open(n), ANY).unwrap());
        queue.retain(|flow| flow.remote.port % 2 == 0);
        let left: Vec<bool> = (0..8).map(|n| queue.find(&half_open(n).flow).is_some()).collect();
        assert_eq!(left, [true, false, true, false, true, false, true, false]);
        assert_eq!(queue.len(), 4);
        queue.retain(|_| false);
        assert_eq!((queue.len(), queue.next_deadline()), (0, None));
    }

    #[test]
    fn a_syn_ack_goes_again_after_1_2_4_seconds_and_then_it_is_over() {
        let mut queue = SynQueue::new(4, 3, [1; 16]);
        let start = Instant::from_millis(50);
        queue.insert(start, &half_open(1), ANY).unwrap();
        assert_eq!(queue.insert(start, &half_open(1), ANY), Err(InsertError::Exists));
        let mut now = start;
        for (wait, retransmits) in [(1, 1), (2, 2), (4, 3)] {
            let deadline = queue.next_deadline().unwrap();
            let late = deadline.saturating_since(now + Duration::from_secs(wait));
            assert!(deadline >= now + Duration::from_secs(wait) && late < TICK);
            assert_eq!(queue.poll_retransmit(deadline - Duration::from_nanos(1)), None);
            assert_eq!(queue.poll_retransmit(deadline), Some(HalfOpen { retransmits, ..half_open(1) }));
            assert_eq!(queue.poll_retransmit(deadline), None);
            now = deadline;
        }
        assert_eq!((queue.len(), queue.expired()), (1, 0));
        assert_eq!(queue.poll_retransmit(now + Duration::from_secs(8) + TICK), None);
        assert_eq!((queue.len(), queue.expired(), queue.next_deadline()), (0, 1, None));
    }

    #[test]
    fn a_full_queue_says_so() {
        let mut queue = SynQueue::new(1, 200, [1; 16]);
        queue.insert(Instant::ZERO, &half_open(1), ANY).unwrap();
        assert!(queue.is_full_for(ANY));
        assert_eq!(queue.insert(Instant::ZERO, &half_open(2), ANY), Err(InsertError::Full));
        assert_eq!(queue.remove(&half_open(1).flow), Some(half_open(1)));
        assert_eq!(queue.insert(Instant::ZERO, &half_open(2), ANY), Ok(()));
        assert_eq!(queue.retries, MAX_RETRIES);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8),
        Remove(u8),
        Wait(u64),
        ToNext,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => (0u8..24).prop_map(Op::Insert),
            2 => (0u8..24).prop_map(Op::Remove),
            3 => (0u64..5_000_000_000).prop_map(Op::Wait),
            1 => (0u64..500_000_000_000_000).prop_map(Op::Wait),
            3 => Just(Op::ToNext),
        ]
    }

    /// What the naive model knows of an entry: which, how often sent again, due when (to the tick).
    type Row = (u8, u8, Instant);

    fn due(now: Instant, retransmits: u8) -> Instant {
        let exact = now + Duration::from_secs(1 << retransmits);
        Instant::from_nanos(exact.as_nanos().next_multiple_of(1 << 20))
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(retries in 0u8..=MAX_RETRIES, ops in prop::collection::vec(op(), 0..300)) {
            const CAPACITY: usize = 10;
            let mut queue = SynQueue::new(CAPACITY, retries, [4; 16]);
            let mut model: Vec<Row> = Vec::new();
            let (mut now, mut expired) = (Instant::from_millis(3), 0);
            for op in ops {
                match op {
                    Op::Insert(n) => {
                        let expected = if model.iter().any(|&(key, ..)| key == n) {
                            Err(InsertError::Exists)
                        } else if model.len() == CAPACITY {
                            Err(InsertError::Full)
                        } else {
                            model.push((n, 0, due(now, 0)));
                            Ok(())
                        };
                        prop_assert_eq!(queue.insert(now, &half_open(n), ANY), expected);
                    }
                    Op::Remove(n) => {
                        let place = model.iter().position(|&(key, ..)| key == n);
                        let expected = place.map(|place| HalfOpen { retransmits: model[place].1, ..half_open(n) });
                        prop_assert_eq!(queue.remove(&half_open(n).flow), expected);
                        model.retain(|&(key, ..)| key != n);
                    }
                    Op::Wait(nanos) => now = now + Duration::from_nanos(nanos),
                    Op::ToNext => now = queue.next_deadline().unwrap_or(now).max(now),
                }
                let mut sent: Vec<_> = core::iter::from_fn(|| queue.poll_retransmit(now)).map(|h| h.iss.0 >> 10).collect();
                let mut expected = Vec::new();
                model.retain_mut(|(n, retransmits, deadline)| {
                    let is_due = *deadline <= now;
                    if is_due && *retransmits == retries {
                        expired += 1;
                        return false;
                    }
                    if is_due {
                        *retransmits += 1;
                        *deadline = due(now, *retransmits);
                        expected.push(u32::from(*n));
                    }
                    true
                });
                sent.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(sent, expected);
                prop_assert_eq!((queue.len(), queue.expired()), (model.len(), expired));
                prop_assert_eq!(queue.next_deadline(), model.iter().map(|&(.., deadline)| deadline).min());
                for &(n, retransmits, _) in &model {
                    let expected = HalfOpen { retransmits, ..half_open(n) };
                    prop_assert_eq!(queue.find(&half_open(n).flow), Some(expected));
                    prop_assert!(queue.iter().any(|row| row == (expected, retransmits)));
                }
                prop_assert_eq!(queue.iter().count(), model.len());
            }
        }
    }
}
