//! An index by hash for tables of a fixed size: eight bytes an entry, and nothing in it ever moves.

use alloc::vec;
use alloc::vec::Vec;

/// The end of a chain.
const END: u32 = u32::MAX;

/// Numbers `0..capacity` in as many buckets, each a chain. The hash must be keyed, or a peer can make long chains.
///
/// Unlike an open table it needs no spare room, has no tombstones and never rehashes, which is what a table that
/// runs full in normal operation needs.
#[derive(Debug)]
pub(crate) struct Chains {
    /// The first of each bucket.
    heads: Vec<u32>,
    /// The one that follows each number in its bucket.
    next: Vec<u32>,
}

impl Chains {
    /// What one number costs.
    #[cfg(test)]
    pub(crate) const BYTES_PER_ENTRY: usize = 2 * size_of::<u32>();

    /// An empty index for numbers `0..capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { heads: vec![END; capacity.max(1)], next: vec![END; capacity] }
    }

    /// The number under `hash` for which `matches` is true.
    pub(crate) fn find(&self, hash: u64, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut key = self.heads[self.bucket(hash)];
        while key != END {
            if matches(key) {
                return Some(key);
            }
            key = self.next[key as usize];
        }
        None
    }

    /// Puts `key`, which is not in the index, under `hash`.
    pub(crate) fn insert(&mut self, hash: u64, key: u32) {
        let bucket = self.bucket(hash);
        self.next[key as usize] = self.heads[bucket];
        self.heads[bucket] = key;
    }

    /// Takes out `key`, which was put under `hash`.
    pub(crate) fn remove(&mut self, hash: u64, key: u32) {
        let bucket = self.bucket(hash);
        let after = self.next[key as usize];
        if self.heads[bucket] == key {
            self.heads[bucket] = after;
        } else if let Some(before) = self.find(hash, |before| self.next[before as usize] == key) {
            self.next[before as usize] = after;
        }
    }

    /// The bucket for `hash`: the high bits scaled to the number of buckets, which need not be a power of two.
    fn bucket(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.heads.len() as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_set(ops in prop::collection::vec((0u32..20, any::<bool>()), 0..200), buckets in 1u64..20) {
            // So few different hashes that chains are long.
            let hash = |key: u32| (u64::from(key) % buckets) * (u64::MAX / buckets);
            let mut chains = Chains::new(20);
            let mut model = BTreeSet::new();
            for (key, add) in ops {
                if add && model.insert(key) {
                    chains.insert(hash(key), key);
                } else if !add && model.remove(&key) {
                    chains.remove(hash(key), key);
                }
                for key in 0..20 {
                    prop_assert_eq!(chains.find(hash(key), |k| k == key), model.get(&key).copied());
                }
            }
        }
    }
}
