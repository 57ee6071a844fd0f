//! The system's half of waking a core: an eventfd behind a [`Doorbell`].

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::doorbell::Doorbell;
use crate::sync::Arc;

/// One core's bell. Everybody may ring it; its owner sleeps on it.
pub(crate) struct Bell {
    pub(crate) doorbell: Doorbell,
    event: File,
}

impl Bell {
    /// # Errors
    ///
    /// What `eventfd(2)` says, as when there are too many open files.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened above and nobody else has it.
        let event = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { doorbell: Doorbell::new(), event })
    }

    /// Wakes the owner if it sleeps; to be called after what it shall find has been published. Says whether it did.
    pub(crate) fn ring(&self) -> bool {
        if !self.doorbell.must_ring() {
            return false;
        }
        // Fails only when the count is at its end, and then the descriptor is readable as it should be.
        let _ = (&self.event).write(&1u64.to_ne_bytes());
        true
    }

    /// Wakes the owner from its next sleep, if it does not sleep now: for what it looks for only when it is awake.
    fn rouse(&self) {
        // Fails only when the count is at its end, and then the descriptor is readable as it should be.
        let _ = (&self.event).write(&1u64.to_ne_bytes());
    }

    /// Makes the descriptor quiet again.
    pub(crate) fn hush(&self) {
        // Fails when nobody rang.
        let _ = (&self.event).read(&mut [0; 8]);
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

/// Wakes a core from [`Port::wait`](crate::Port::wait), from any thread: at once, or the next time that it would sleep.
///
/// It costs a system call; what cores send each other wakes them without it, unless they sleep.
#[derive(Clone)]
pub struct Waker(pub(crate) Arc<Bell>);

impl Waker {
    /// Wakes the core.
    pub fn wake(&self) {
        self.0.rouse();
    }
}
