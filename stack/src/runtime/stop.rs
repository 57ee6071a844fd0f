//! How a running stack is asked to stop.

use crate::Error;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
pub(crate) struct Signals(Vec<SigId>);

/// How many stacks of this process catch signals, and whether it is none.
struct Catching {
    stacks: usize,
    nobody: Arc<AtomicBool>,
}

/// A signal that was caught once is never the system's again; so when nobody catches it any more, it is given the
/// effect that it would have had.
static CATCHING: Mutex<Option<Catching>> = Mutex::new(None);

impl Signals {
    pub(crate) fn stop(handle: &StopHandle) -> Result<Self, Error> {
        const BOTH: [c_int; 2] = [SIGINT, SIGTERM];
        let refused = |error| Error::System { what: "catching SIGINT and SIGTERM", error };
        let mut catching = CATCHING.lock().unwrap_or_else(PoisonError::into_inner);
        if catching.is_none() {
            let nobody = Arc::new(AtomicBool::new(false));
            for signal in BOTH {
                flag::register_conditional_default(signal, Arc::clone(&nobody)).map_err(refused)?;
            }
            *catching = Some(Catching { stacks: 0, nobody });
        }
        if let Some(catching) = catching.as_mut() {
            catching.stacks += 1;
            catching.nobody.store(false, Ordering::Relaxed);
        }
        // From here on dropping the value undoes this, which takes the lock.
        drop(catching);
        let mut signals = Self(Vec::new());
        for signal in BOTH {
            signals.0.push(flag::register(signal, Arc::clone(&handle.0)).map_err(refused)?);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
        if let Some(catching) = CATCHING.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            catching.stacks = catching.stacks.saturating_sub(1);
            catching.nobody.store(catching.stacks == 0, Ordering::Relaxed);
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
