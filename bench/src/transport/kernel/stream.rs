//! One connected socket: bytes that were staged but not yet taken by the kernel, and what epoll should watch.

use super::Poller;
use crate::workload::Bounded;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// How many bytes one read asks for, and how many a connection may have staged.
pub(super) const STAGE: usize = 64 * 1024;

/// The buffers that all connections of a thread share.
pub(super) struct Scratch {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { input: vec![0; STAGE], output: Vec::with_capacity(STAGE) }
    }
}

/// A connected, non-blocking socket.
pub(super) struct Stream {
    pub(super) socket: OwnedFd,
    /// Staged bytes that the kernel did not take; empty in the usual case, so it costs no memory then.
    pending: Vec<u8>,
    sent: usize,
    watched: EventFlags,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Stream {
    /// A stream over `socket`, which epoll watches for `watched`.
    pub(super) fn new(socket: OwnedFd, watched: EventFlags) -> Self {
        Self { socket, pending: Vec::new(), sent: 0, watched, bytes_in: 0, bytes_out: 0 }
    }

    /// Reads what is there; `Ok(0)` is the peer's FIN.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        let (count, _) = rustix::net::recv(&self.socket, into, RecvFlags::empty())?;
        self.bytes_in += count as u64;
        Ok(count)
    }

    /// Whether staged bytes wait for the kernel.
    pub(super) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Lets `write` write to a stage and sends what it wrote; what the kernel does not take is kept. Not to be called
    /// while [blocked](Self::is_blocked).
    pub(super) fn send_with<T>(
        &mut self,
        stage: &mut Vec<u8>,
        write: impl FnOnce(&mut Bounded<'_>) -> T,
    ) -> Result<T, Errno> {
        stage.clear();
        let result = write(&mut Bounded::new(stage, STAGE));
        let sent = self.send(stage)?;
        if sent < stage.len() {
            self.pending.extend_from_slice(&stage[sent..]);
            self.sent = 0;
        }
        Ok(result)
    }

    /// Sends what waits; whether nothing is left.
    pub(super) fn flush(&mut self) -> Result<bool, Errno> {
        if self.pending.is_empty() {
            return Ok(true);
        }
        let pending = std::mem::take(&mut self.pending);
        let sent = self.send(&pending[self.sent..]);
        self.sent += *sent.as_ref().unwrap_or(&0);
        if self.sent < pending.len() {
            self.pending = pending;
        }
        sent.map(|_| self.pending.is_empty())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            match rustix::net::send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes_out += sent as u64;
        Ok(sent)
    }

    /// Makes epoll watch for exactly `wanted`; no system call when it does already.
    pub(super) fn watch(&mut self, poller: &Poller, key: u64, wanted: EventFlags) -> Result<(), Errno> {
        if wanted != self.watched {
            poller.modify(&self.socket, key, wanted)?;
            self.watched = wanted;
        }
        Ok(())
    }
}
