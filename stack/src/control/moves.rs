//! Connections on their way from one worker to another.
//!
//! Each worker has an inbox. A worker has at most [`AWAY`] connections on their way and hears of each what became of it, so
//! that no inbox is ever full.

use corelane_proto::endpoint::Moving;
use corelane_xdp::Waker;
use crossbeam::queue::ArrayQueue;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Connections of one worker on their way at the same time, at most.
pub(crate) const AWAY: usize = 64;

/// A connection with what the application gave with it.
pub(crate) struct Cargo {
    pub(crate) moving: Box<Moving>,
    pub(crate) baggage: Box<dyn Any + Send>,
    /// The worker that gives it up kept it against the table.
    pub(crate) yielded: bool,
    /// The steering program has its flow registered.
    pub(crate) registered: bool,
}

impl fmt::Debug for Cargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cargo").field(self.moving.flow()).finish()
    }
}

/// What one worker sends another.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// Take this connection over, from this worker.
    Take(usize, Cargo),
    /// One that you have sent has arrived.
    Arrived,
    /// Keep this one.
    Back(Cargo),
}

/// One worker's end of what they send each other.
#[derive(Debug)]
pub(crate) struct Moves {
    worker: usize,
    inboxes: Arc<[Inbox]>,
}

struct Inbox {
    parcels: ArrayQueue<Parcel>,
    waker: Option<Waker>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inbox").field(&self.parcels.len()).finish()
    }
}

impl Moves {
    /// The ends of workers, in their order, each with what wakes it.
    pub(crate) fn join(wakers: impl IntoIterator<Item = Option<Waker>>) -> Vec<Self> {
        let wakers: Vec<_> = wakers.into_iter().collect();
        let workers = wakers.len();
        // So many connections from each other worker, and an answer to each of its own.
        let inbox = |waker| Inbox { parcels: ArrayQueue::new(AWAY * workers.max(1)), waker };
        let inboxes: Arc<[_]> = wakers.into_iter().map(inbox).collect();
        (0..workers).map(|worker| Self { worker, inboxes: Arc::clone(&inboxes) }).collect()
    }

    /// The number of the worker whose end it is.
    pub(crate) const fn worker(&self) -> usize {
        self.worker
    }

    /// Sends a parcel; it comes back if there is no such worker.
    pub(crate) fn send(&self, to: usize, parcel: Parcel) -> Result<(), Parcel> {
        let Some(inbox) = self.inboxes.get(to) else { return Err(parcel) };
        inbox.parcels.push(parcel)?;
        if let Some(waker) = &inbox.waker {
            waker.wake();
        }
        Ok(())
    }

    /// The next parcel that has come.
    pub(crate) fn next(&self) -> Option<Parcel> {
        let parcels = &self.inboxes.get(self.worker)?.parcels;
        // It is asked in every turn, and looking costs less than taking.
        if parcels.is_empty() { None } else { parcels.pop() }
    }
}
