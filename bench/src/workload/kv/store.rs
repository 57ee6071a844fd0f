//! The keys and values, shared by all connections and threads of a server.

use super::STORE_LIMIT;
use crate::clock::Clock;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many parts have a lock each, so that threads seldom wait for one another.
const PARTS: usize = 64;
const SECOND_NS: u64 = 1_000_000_000;
/// What an entry costs beside its key and value, about.
const OVERHEAD: usize = 64;

#[derive(Debug)]
struct Entry {
    value: Box<[u8]>,
    /// When it is gone, on the store's clock.
    until: Option<u64>,
}

type Part = HashMap<Box<[u8]>, Entry>;

/// A bounded map from keys to values.
#[derive(Debug)]
pub struct Store {
    parts: Vec<Mutex<Part>>,
    hasher: RandomState,
    clock: Clock,
    /// Added to the clock: tests let time pass by it.
    skipped_ns: AtomicU64,
    bytes: AtomicUsize,
    limit: usize,
}

/// Why a value was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// The store is full.
    Full,
    /// `NX` or `XX` did not hold.
    Condition,
    /// Not a number, or one that would leave 64 bits.
    Number,
}

/// What `SET` asks for beside the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SetOptions {
    pub(super) ttl_ns: Option<u64>,
    /// `Some(true)`: only if it is there (`XX`); `Some(false)`: only if not (`NX`).
    pub(super) exists: Option<bool>,
}

impl Default for Store {
    fn default() -> Self {
        Self::with_limit(STORE_LIMIT)
    }
}

impl Store {
    /// An empty store for at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            parts: std::iter::repeat_with(Mutex::default).take(PARTS).collect(),
            hasher: RandomState::new(),
            clock: Clock::new(),
            skipped_ns: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().saturating_add(self.skipped_ns.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(super) fn skip(&self, ns: u64) {
        self.skipped_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// The part where `key` lies, without the key if that has expired.
    fn part(&self, key: &[u8], now: u64) -> MutexGuard<'_, Part> {
        let place = self.hasher.hash_one(key) as usize % PARTS;
        let mut part = self.parts[place].lock().unwrap_or_else(PoisonError::into_inner);
        if part.get(key).is_some_and(|entry| entry.until.is_some_and(|until| until <= now)) {
            self.remove(&mut part, key);
        }
        part
    }

    fn remove(&self, part: &mut Part, key: &[u8]) -> bool {
        let Some(entry) = part.remove(key) else { return false };
        self.bytes.fetch_sub(key.len() + entry.value.len() + OVERHEAD, Ordering::Relaxed);
        true
    }

    /// Shows the value of `key` to `see`.
    pub(super) fn get<T>(&self, key: &[u8], see: impl FnOnce(Option<&[u8]>) -> T) -> T {
        see(self.part(key, self.now()).get(key).map(|entry| &*entry.value))
    }

    pub(super) fn set(&self, key: &[u8], value: &[u8], options: SetOptions) -> Result<(), Refused> {
        let now = self.now();
        let mut part = self.part(key, now);
        if options.exists.is_some_and(|wanted| wanted != part.contains_key(key)) {
            return Err(Refused::Condition);
        }
        let until = options.ttl_ns.map(|ttl| now.saturating_add(ttl));
        self.put(&mut part, key, value, until)
    }

    fn put(&self, part: &mut Part, key: &[u8], value: &[u8], until: Option<u64>) -> Result<(), Refused> {
        let old = part.get(key).map_or(0, |entry| key.len() + entry.value.len() + OVERHEAD);
        let new = key.len() + value.len() + OVERHEAD;
        // Other threads may put something in between: the bound is kept to within one value for each of them.
        if new > old && self.bytes.load(Ordering::Relaxed) + (new - old) > self.limit {
            return Err(Refused::Full);
        }
        self.bytes.fetch_add(new, Ordering::Relaxed);
        self.bytes.fetch_sub(old, Ordering::Relaxed);
        part.insert(key.into(), Entry { value: value.into(), until });
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn delete(&self, key: &[u8]) -> bool {
        let mut part = self.part(key, self.now());
        self.remove(&mut part, key)
    }

    /// Adds one to the number that the value is (0 if there is none), and keeps its expiry.
    pub(super) fn increment(&self, key: &[u8]) -> Result<i64, Refused> {
        let mut part = self.part(key, self.now());
        let (old, until) = match part.get(key) {
            None => (0, None),
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).map_err(|_| Refused::Number)?;
                (text.parse::<i64>().map_err(|_| Refused::Number)?, entry.until)
            }
        };
        let new = old.checked_add(1).ok_or(Refused::Number)?;
        self.put(&mut part, key, new.to_string().as_bytes(), until)?;
        Ok(new)
    }

    /// Lets `key` expire; whether it is there.
    pub(super) fn expire(&self, key: &[u8], seconds: i64) -> bool {
        let now = self.now();
        let mut part = self.part(key, now);
        if seconds <= 0 {
            return self.remove(&mut part, key);
        }
        let Some(entry) = part.get_mut(key) else { return false };
        entry.until = Some(now.saturating_add(seconds.unsigned_abs().saturating_mul(SECOND_NS)));
        true
    }

    /// Seconds left, rounded to the nearest; -1 without an expiry, -2 without the key.
    pub(super) fn ttl(&self, key: &[u8]) -> i64 {
        let now = self.now();
        match self.part(key, now).get(key).map(|entry| entry.until) {
            None => -2,
            Some(None) => -1,
            Some(Some(until)) => {
                i64::try_from((until.saturating_sub(now) + SECOND_NS / 2) / SECOND_NS).unwrap_or(i64::MAX)
            }
        }
    }

    /// Keys, those included that have expired and were not asked for since.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub(super) fn clear(&self) {
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes: usize = part.iter().map(|(key, entry)| key.len() + entry.value.len() + OVERHEAD).sum();
            part.clear();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
