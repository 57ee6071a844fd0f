//! How a running stack is asked to stop.

use crate::Error;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops a stack from any thread. Clones stop the same one.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// A handle that has not been used, to be given to [`Builder::stop_handle`](super::Builder::stop_handle).
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every worker to close its connections and end. It returns at once.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the stack was asked to stop.
    pub fn is_stopped(&self) -> bool {
        // Nothing is published by the flag, so no order is needed.
        self.0.load(Ordering::Relaxed)
    }
}

/// SIGINT and SIGTERM as uses of a [`StopHandle`], for as long as the value lives.
pub(super) struct Signals(Vec<SigId>);

impl Signals {
    pub(super) fn stop(handle: &StopHandle) -> Result<Self, Error> {
        let mut signals = Self(Vec::new());
        for signal in [SIGINT, SIGTERM] {
            let id = signal_hook::flag::register(signal, Arc::clone(&handle.0))
                .map_err(|error| Error::System { what: "catching SIGINT and SIGTERM", error })?;
            signals.0.push(id);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_stops_the_stack_for_as_long_as_it_is_caught() {
        let handle = StopHandle::new();
        let signals = Signals::stop(&handle).unwrap();
        assert!(!handle.is_stopped());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(handle.is_stopped());
        drop(signals);
    }

    #[test]
    fn a_clone_stops_the_same_stack() {
        let handle = StopHandle::new();
        let clone = handle.clone();
        assert!(!handle.is_stopped());
        clone.stop();
        assert!(handle.is_stopped());
    }
}
