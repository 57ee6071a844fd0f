//! The connection table: a slab of connections, and an index from flow to slot.

use alloc::vec::Vec;
use core::fmt;
use core::mem;

use hashbrown::HashTable;

use super::flow_hash::TableHash;
use crate::addr::Flow;

/// The `next_free` of the last free slot.
const NONE: u32 = u32::MAX;

/// The name of a connection: its slot, and which use of the slot it is, so that the name of a connection that has
/// ended never means the one that took its slot.
///
/// A generation comes again after 2^32 connections in one slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// The connection's slot: below the table's capacity, and no other live connection's.
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}.{}", self.slot, self.generation)
    }
}

/// Why a connection could not be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum InsertError {
    /// Every slot is taken.
    #[error("the connection table is full")]
    Full,
    /// There is a connection with this flow.
    #[error("a connection with these two ends exists")]
    Exists,
}

/// One slot. The generation counts its uses.
#[derive(Debug)]
struct Slot<V> {
    generation: u32,
    content: Content<V>,
}

#[derive(Debug)]
enum Content<V> {
    Free { next_free: u32 },
    Used { flow: Flow, value: V },
}

/// At most `capacity` connections, each with a value, found by id, by slot or by flow.
///
/// All memory is reserved at the start. The index has at least twice the room that it needs: so `hashbrown` never
/// moves it (it can clean up in place while it is at most half full) and leaves next to no tombstones to clean up.
#[derive(Debug)]
pub(crate) struct ConnTable<V> {
    slots: Vec<Slot<V>>,
    index: HashTable<u32>,
    hash: TableHash,
    capacity: u32,
    first_free: u32,
    len: u32,
    /// Slots that are kept for connections that may come back.
    reserved: u32,
}

impl<V> ConnTable<V> {
    /// A table for `capacity` connections (at most 2^32 - 2). `key` is secret: whoever knows it can choose flows
    /// that collide.
    pub(crate) fn new(capacity: usize, key: [u8; 16]) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(NONE).min(NONE - 1);
        Self {
            slots: Vec::with_capacity(capacity as usize),
            index: HashTable::with_capacity(capacity as usize * 2),
            hash: TableHash::new(key),
            capacity,
            first_free: NONE,
            len: 0,
            reserved: 0,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many connections there can be; every slot is below it.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Whether no connection can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.len + self.reserved >= self.capacity
    }

    /// Keeps a slot, of which there is one, from whoever asks until [`release`](Self::release).
    pub(crate) fn reserve(&mut self) {
        debug_assert!(!self.is_full(), "there is nothing to keep");
        self.reserved += 1;
    }

    /// A slot that was kept may be had again.
    pub(crate) fn release(&mut self) {
        debug_assert!(self.reserved > 0, "none was kept");
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// The keyed hash of `flow`, for [`find_hashed`](Self::find_hashed). It tells nothing to whoever lacks the key,
    /// and must not be told to a peer.
    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        self.hash.flow(flow)
    }

    /// The connection whose ends are `flow`.
    pub(crate) fn find(&self, flow: &Flow) -> Option<ConnId> {
        self.find_hashed(self.hash(flow), flow)
    }

    /// The same, where `hash` is already there.
    pub(crate) fn find_hashed(&self, hash: u64, flow: &Flow) -> Option<ConnId> {
        let slot = *self.index.find(hash, |&slot| self.slots[slot as usize].flow() == Some(flow))?;
        Some(ConnId { slot, generation: self.slots[slot as usize].generation })
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// [`InsertError::Exists`] when the flow has one, [`InsertError::Full`] when there is no slot. The value is
    /// dropped.
    pub(crate) fn insert(&mut self, flow: Flow, value: V) -> Result<ConnId, InsertError> {
        let hash = self.hash(&flow);
        if self.find_hashed(hash, &flow).is_some() {
            return Err(InsertError::Exists);
        }
        if self.is_full() {
            return Err(InsertError::Full);
        }
        let slot = self.take_slot().ok_or(InsertError::Full)?;
        let Self { slots, index, hash: hasher, .. } = self;
        slots[slot as usize].content = Content::Used { flow, value };
        index.insert_unique(hash, slot, |&slot| slots[slot as usize].flow().map_or(0, |flow| hasher.flow(flow)));
        self.len += 1;
        Ok(ConnId { slot, generation: self.slots[slot as usize].generation })
    }

    /// Takes the connection out; `None` when it has ended before.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<V> {
        let hash = self.hash(self.flow(id)?);
        if let Ok(entry) = self.index.find_entry(hash, |&slot| slot == id.slot) {
            entry.remove();
        }
        let slot = &mut self.slots[id.slot()];
        slot.generation = slot.generation.wrapping_add(1);
        let content = mem::replace(&mut slot.content, Content::Free { next_free: self.first_free });
        self.first_free = id.slot;
        self.len -= 1;
        match content {
            Content::Used { value, .. } => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// The connection's value.
    pub(crate) fn get(&self, id: ConnId) -> Option<&V> {
        match self.slots.get(id.slot()) {
            Some(Slot { generation, content: Content::Used { value, .. } }) if *generation == id.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The connection's value, to change.
    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut V> {
        match self.slots.get_mut(id.slot()) {
            Some(Slot { generation, content: Content::Used { value, .. } }) if *generation == id.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The connection's ends.
    pub(crate) fn flow(&self, id: ConnId) -> Option<&Flow> {
        self.slots.get(id.slot()).filter(|slot| slot.generation == id.generation)?.flow()
    }

    /// The connection that is in `slot` now, for whoever keeps slots: timers, the ready list.
    pub(crate) fn by_slot(&self, slot: u32) -> Option<ConnId> {
        let used = self.slots.get(slot as usize).filter(|used| used.flow().is_some())?;
        Some(ConnId { slot, generation: used.generation })
    }

    /// All connections in the order of their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Flow, &V)> {
        (0..).zip(&self.slots).filter_map(|(slot, used)| match &used.content {
            Content::Used { flow, value } => Some((ConnId { slot, generation: used.generation }, flow, value)),
            Content::Free { .. } => None,
        })
    }

    /// The same, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &Flow, &mut V)> {
        (0..).zip(&mut self.slots).filter_map(|(slot, used)| match &mut used.content {
            Content::Used { flow, value } => Some((ConnId { slot, generation: used.generation }, &*flow, value)),
            Content::Free { .. } => None,
        })
    }

    /// A slot that is free: the one that was freed last, whose memory is the likeliest to be in the cache.
    fn take_slot(&mut self) -> Option<u32> {
        if let Some(Slot { content: Content::Free { next_free }, .. }) = self.slots.get(self.first_free as usize) {
            return Some(mem::replace(&mut self.first_free, *next_free));
        }
        let slot = self.slots.len() as u32;
        (slot < self.capacity).then(|| {
            self.slots.push(Slot { generation: 0, content: Content::Free { next_free: NONE } });
            slot
        })
    }
}

impl<V> Slot<V> {
    fn flow(&self) -> Option<&Flow> {
        match &self.content {
            Content::Used { flow, .. } => Some(flow),
            Content::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, SocketAddr};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn flow(n: u32) -> Flow {
        let [_, high, low, last] = n.to_be_bytes();
        let remote = if n.is_multiple_of(3) { Addr::v6([last; 16]) } else { Addr::v4([10, high, low, last]) };
        Flow {
            local: SocketAddr::new(Addr::v4([10, 0, 0, 1]), 80),
            remote: SocketAddr::new(remote, 1024 + (n % 60_000) as u16),
        }
    }

    #[test]
    fn what_a_slot_adds_to_its_value_is_small() {
        assert_eq!(size_of::<ConnId>(), 8);
        assert!(size_of::<Slot<u64>>() <= 56, "{}", size_of::<Slot<u64>>());
    }

    #[test]
    fn a_name_dies_with_its_connection() {
        let mut table = ConnTable::new(2, [7; 16]);
        let first = table.insert(flow(1), 'a').unwrap();
        assert_eq!(table.insert(flow(1), 'b'), Err(InsertError::Exists));
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert(flow(2), 'c').unwrap();
        assert_eq!(second.slot(), first.slot(), "the slot is used again");
        assert_ne!(second, first);
        assert!(table.get(first).is_none() && table.get_mut(first).is_none() && table.flow(first).is_none());
        assert_eq!(table.remove(first), None);
        assert_eq!((table.len(), table.get(second)), (1, Some(&'c')));
        assert_eq!(table.by_slot(0), Some(second));
        assert_eq!((table.by_slot(1), table.by_slot(99)), (None, None));
    }

    #[test]
    fn a_full_table_says_so_and_a_table_for_none_is_full() {
        let mut table = ConnTable::new(1, [0; 16]);
        let id = table.insert(flow(1), ()).unwrap();
        assert!(table.is_full());
        assert_eq!(table.insert(flow(2), ()), Err(InsertError::Full));
        table.remove(id);
        table.reserve();
        assert_eq!((table.insert(flow(2), ()), table.len()), (Err(InsertError::Full), 0), "its slot is kept");
        table.release();
        assert!(table.insert(flow(2), ()).is_ok());
        assert_eq!(ConnTable::new(0, [0; 16]).insert(flow(1), ()), Err(InsertError::Full));
    }

    #[test]
    fn churn_at_capacity_never_moves_the_memory() {
        // The index has 7/8 of a power of two; at 1792 and 7168 it gets exactly twice the capacity and no more.
        for capacity in [1, 7, 100, 1792, 7168] {
            let mut table = ConnTable::new(capacity, [9; 16]);
            let (slab, room) = (table.slots.as_ptr(), table.index.capacity());
            let buckets = table.index.num_buckets();
            let mut ids = std::collections::VecDeque::new();
            for n in 0..(capacity as u32 * 20).max(5000) {
                if table.is_full() {
                    table.remove(ids.pop_front().unwrap()).unwrap();
                }
                ids.push_back(table.insert(flow(n), n).unwrap());
            }
            assert_eq!(table.len(), capacity);
            assert!(room >= 2 * capacity);
            assert_eq!(table.index.num_buckets(), buckets, "the index moved");
            assert_eq!(table.slots.as_ptr(), slab, "the slab moved");
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32),
        Remove(u32),
        RemoveStale,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![5 => (0u32..40).prop_map(Op::Insert), 4 => (0u32..40).prop_map(Op::Remove), 1 => Just(Op::RemoveStale)]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(ops in prop::collection::vec(op(), 0..300)) {
            const CAPACITY: usize = 16;
            let mut table = ConnTable::new(CAPACITY, [5; 16]);
            let mut model: BTreeMap<Flow, (ConnId, usize)> = BTreeMap::new();
            let mut stale = Vec::new();
            for (turn, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Insert(n) => {
                        let exists = model.contains_key(&flow(n));
                        let full = model.len() == CAPACITY;
                        match table.insert(flow(n), turn) {
                            Ok(id) => {
                                prop_assert!(!exists && !full);
                                model.insert(flow(n), (id, turn));
                            }
                            Err(InsertError::Exists) => prop_assert!(exists),
                            Err(InsertError::Full) => prop_assert!(full && !exists),
                        }
                    }
                    Op::Remove(n) => {
                        let found = table.find(&flow(n));
                        prop_assert_eq!(found, model.get(&flow(n)).map(|&(id, _)| id));
                        if let Some(id) = found {
                            let (_, value) = model.remove(&flow(n)).unwrap();
                            prop_assert_eq!(table.remove(id), Some(value));
                            stale.push(id);
                        }
                    }
                    Op::RemoveStale => {
                        for &id in &stale {
                            prop_assert!(table.get(id).is_none() && table.remove(id).is_none());
                        }
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for (flow, &(id, mut value)) in &model {
                    prop_assert_eq!(table.find_hashed(table.hash(flow), flow), Some(id));
                    prop_assert_eq!(table.get(id), Some(&value));
                    prop_assert_eq!(table.get_mut(id), Some(&mut value));
                    prop_assert_eq!(table.by_slot(id.slot() as u32), Some(id));
                    prop_assert!(id.slot() < table.capacity());
                }
                let mut listed: Vec<_> = table.iter().map(|(id, flow, &value)| (*flow, (id, value))).collect();
                listed.sort_unstable_by_key(|&(flow, _)| flow);
                prop_assert_eq!(listed, model.iter().map(|(&flow, &entry)| (flow, entry)).collect::<Vec<_>>());
            }
        }
    }
}
