//! How a sleeping core learns that another has something for it, without a system call while it is awake.
//!
//! The sleeper announces itself, then looks into its queues once more, then sleeps. Who has published something asks
//! whether the receiver is announced. With a sequentially consistent fence between the two steps on either side, at
//! least one sees the other's first step: the sleeper the message, or the producer the announcement (Dekker).
//!
//! `tests/loom.rs` compiles this file too, with the model checker's atomics.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, Ordering, fence};

/// One core's announcement.
pub(crate) struct Doorbell {
    /// On cache lines of its own: all others read it, and its owner writes it around each sleep.
    pub(crate) asleep: CachePadded<AtomicBool>,
}

impl Doorbell {
    pub(crate) fn new() -> Self {
        Self { asleep: CachePadded::new(AtomicBool::new(false)) }
    }

    /// The owner is about to sleep. It has to look into all its queues after this call, and not sleep if there is
    /// anything.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Asked by a producer after it has published: whether it has to wake the owner. Of several that ask, one has to.
    pub(crate) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}
