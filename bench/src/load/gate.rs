//! The common start of all cores: the clock of the measurement begins when every core has its connections.

use crate::transport::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shared by the cores of one run.
#[derive(Debug)]
pub struct Gate {
    cores: usize,
    ready: AtomicUsize,
    connected: AtomicUsize,
    start: AtomicU64,
    first_error: Mutex<Option<ErrorKind>>,
}

const NOT_YET: u64 = u64::MAX;

impl Gate {
    /// A gate for `cores` cores (at least one).
    pub const fn new(cores: usize) -> Self {
        Self {
            cores,
            ready: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            start: AtomicU64::new(NOT_YET),
            first_error: Mutex::new(None),
        }
    }

    /// A core has tried all its connections, and `connected` of them stand. To be called once by each core. The last
    /// one sets the start.
    pub fn arrive(&self, connected: usize, now: u64) {
        self.connected.fetch_add(connected, Ordering::Relaxed);
        if self.ready.fetch_add(1, Ordering::AcqRel) + 1 == self.cores {
            self.start.store(now, Ordering::Release);
        }
    }

    /// When the run began; `None` as long as a core is still connecting.
    pub fn start(&self) -> Option<u64> {
        Some(self.start.load(Ordering::Acquire)).filter(|start| *start != NOT_YET)
    }

    /// How many connections all cores had at the start.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Remembers why a connection could not be opened, if it is the first.
    pub fn note_error(&self, kind: ErrorKind) {
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert(kind);
        }
    }

    /// Why the first connection that failed to open did.
    pub fn first_error(&self) -> Option<ErrorKind> {
        self.first_error.lock().ok().and_then(|first| *first)
    }
}
