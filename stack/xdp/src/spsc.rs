//! A bounded queue of numbers from one core to another.
//!
//! One thread pushes and one takes. The producer writes the slots and `tail`, the consumer `head`, each on cache
//! lines of its own. Each remembers the other's index, and reads that line only when the queue seems full or empty. A
//! burst costs one releasing store on either side.
//!
//! `tests/loom.rs` compiles this file too, with the model checker's atomics.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering};

/// What both ends share. Indices count up for ever; a slot is an index modulo the capacity.
pub(crate) struct Ring {
    /// The next to be taken. Only the consumer writes it.
    pub(crate) head: CachePadded<AtomicUsize>,
    /// Behind the last that is published. Only the producer writes it.
    pub(crate) tail: CachePadded<AtomicUsize>,
    slots: Box<[AtomicU64]>,
}

impl Ring {
    fn slot(&self, index: usize) -> &AtomicU64 {
        // The length is a power of two.
        &self.slots[index & (self.slots.len() - 1)]
    }
}

/// The end that pushes. What it pushes is seen by the consumer after [`Producer::publish`].
pub(crate) struct Producer {
    ring: Arc<Ring>,
    /// Behind the last that is pushed.
    tail: Cell<usize>,
    published: Cell<usize>,
    /// The consumer's index when it was last looked at.
    head: Cell<usize>,
}

/// The end that takes. The producer sees the room that it makes after [`Consumer::release`].
pub(crate) struct Consumer {
    ring: Arc<Ring>,
    head: usize,
    released: usize,
    /// The producer's index when it was last looked at.
    tail: usize,
}

/// A queue of at least `capacity` numbers; the next power of two, since that makes slots cheap to find.
pub(crate) fn spsc(capacity: usize) -> (Producer, Consumer) {
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| AtomicU64::new(0)).collect();
    let (head, tail) = (CachePadded::new(AtomicUsize::new(0)), CachePadded::new(AtomicUsize::new(0)));
    let ring = Arc::new(Ring { head, tail, slots });
    let producer =
        Producer { ring: Arc::clone(&ring), tail: Cell::new(0), published: Cell::new(0), head: Cell::new(0) };
    (producer, Consumer { ring, head: 0, released: 0, tail: 0 })
}

impl Producer {
    /// Puts `value` behind the others.
    ///
    /// # Errors
    ///
    /// The value, when the queue is full.
    pub(crate) fn push(&self, value: u64) -> Result<(), u64> {
        let tail = self.tail.get();
        if tail.wrapping_sub(self.head.get()) == self.ring.slots.len() && self.len() == self.ring.slots.len() {
            return Err(value);
        }
        self.ring.slot(tail).store(value, Ordering::Relaxed);
        self.tail.set(tail.wrapping_add(1));
        Ok(())
    }

    /// Lets the consumer see what was pushed; says whether there was anything new.
    pub(crate) fn publish(&self) -> bool {
        let tail = self.tail.get();
        if tail == self.published.get() {
            return false;
        }
        // Releases the slots to the consumer, which acquires this index before it reads them.
        self.ring.tail.store(tail, Ordering::Release);
        self.published.set(tail);
        true
    }

    /// How many more can be pushed, at least.
    pub(crate) fn room(&self) -> usize {
        self.ring.slots.len() - self.len()
    }

    /// How many wait to be taken, the unpublished included. It may be fewer by the time the caller looks.
    pub(crate) fn len(&self) -> usize {
        // Acquires the consumer's reads: a slot is written again only after it has been read.
        self.head.set(self.ring.head.load(Ordering::Acquire));
        self.tail.get().wrapping_sub(self.head.get())
    }
}

impl Consumer {
    /// The next number, which stays.
    pub(crate) fn front(&mut self) -> Option<u64> {
        if self.head == self.tail && self.is_empty() {
            return None;
        }
        Some(self.ring.slot(self.head).load(Ordering::Relaxed))
    }

    /// Takes the next number.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        let value = self.front()?;
        self.head = self.head.wrapping_add(1);
        Some(value)
    }

    /// Gives the room of what was taken back to the producer.
    pub(crate) fn release(&mut self) {
        if self.released != self.head {
            // Releases our reads of the slots to the producer's next writes.
            self.ring.head.store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }

    /// Whether nothing is there, by a fresh look.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.tail = self.ring.tail.load(Ordering::Acquire);
        self.head == self.tail
    }
}
