//! The ready list: which connections have something to send, in the order in which they said so.

use alloc::vec;
use alloc::vec::Vec;

/// A queue of slot numbers in which each is at most once.
///
/// A slot that is popped may meanwhile be free or another connection's: whoever pops has to look. That is what makes
/// it unnecessary to search the queue when a connection ends.
#[derive(Debug)]
pub(crate) struct Ready {
    /// A ring; as long as there are slots, so it never overflows.
    ring: Vec<u32>,
    /// One bit per slot: whether it is in the ring.
    queued: Vec<u64>,
    first: usize,
    len: usize,
}

impl Ready {
    /// An empty queue for slots `0..capacity`. Takes 4 bytes and a bit for each; allocates nothing later.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { ring: vec![0; capacity], queued: vec![0; capacity.div_ceil(64)], first: 0, len: 0 }
    }

    /// Whether no slot is in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `slot` at the end, unless it is in the queue already.
    ///
    /// # Panics
    /// When `slot` is not below the capacity.
    pub(crate) fn push(&mut self, slot: u32) {
        let capacity = self.ring.len();
        assert!((slot as usize) < capacity, "slot {slot} of {capacity}");
        let (word, bit) = (&mut self.queued[slot as usize / 64], 1 << (slot % 64));
        if *word & bit != 0 {
            return;
        }
        *word |= bit;
        let mut end = self.first + self.len;
        if end >= capacity {
            end -= capacity;
        }
        self.ring[end] = slot;
        self.len += 1;
    }

    /// Whether `slot` is in the queue.
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.queued.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// Takes the slot that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let slot = self.ring[self.first];
        self.first += 1;
        if self.first == self.ring.len() {
            self.first = 0;
        }
        self.len -= 1;
        self.queued[slot as usize / 64] &= !(1 << (slot % 64));
        Some(slot)
    }

    /// How many slots wait: a turn that pops this many and no more serves each once, even if they push themselves
    /// again.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn agrees_with_a_queue_without_duplicates(
            capacity in 1u32..130,
            ops in prop::collection::vec(prop::option::of(0u32..130), 0..400),
        ) {
            let mut ready = Ready::new(capacity as usize);
            let memory = ready.ring.as_ptr();
            let mut model = VecDeque::new();
            for op in ops {
                match op {
                    Some(slot) => {
                        let slot = slot % capacity;
                        ready.push(slot);
                        if !model.contains(&slot) {
                            model.push_back(slot);
                        }
                    }
                    None => prop_assert_eq!(ready.pop(), model.pop_front()),
                }
                prop_assert_eq!(ready.len(), model.len());
            }
            while let Some(slot) = ready.pop() {
                prop_assert_eq!(Some(slot), model.pop_front());
            }
            prop_assert!(model.is_empty());
            prop_assert_eq!(ready.ring.as_ptr(), memory);
        }
    }

    #[test]
    fn serving_the_length_once_serves_each_once() {
        let mut ready = Ready::new(3);
        (0..3).for_each(|slot| ready.push(slot));
        let mut served = [0; 3];
        for _ in 0..ready.len() {
            let slot = ready.pop().unwrap();
            served[slot as usize] += 1;
            ready.push(slot);
        }
        assert_eq!(served, [1; 3]);
    }
}
