//! One connected socket: bytes that were staged but not yet taken by the kernel, and what should be watched for.

use super::lines::Lines;
use super::{Poller, Waker};
use crate::workload::Bounded;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::cell::RefCell;
use std::rc::Rc;

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
    socket: Rc<OwnedFd>,
    /// Its place among the lines of a ring, if it goes by one.
    line: Option<(Rc<RefCell<Lines>>, usize)>,
    /// Staged bytes that the kernel did not take; empty in the usual case, so it costs no memory then.
    pending: Vec<u8>,
    sent: usize,
    watched: EventFlags,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Stream {
    /// A stream over a socket that is on its way to its peer, watched until it has got there or not.
    pub(super) fn connecting(poller: &Poller, socket: OwnedFd, key: u64) -> Result<Self, Errno> {
        Self::new(poller, socket, key, EventFlags::OUT, false)
    }

    /// A stream over a connected socket, watched for input.
    pub(super) fn connected(poller: &Poller, socket: OwnedFd, key: u64) -> Result<Self, Errno> {
        Self::new(poller, socket, key, EventFlags::IN, true)
    }

    fn new(poller: &Poller, socket: OwnedFd, key: u64, watched: EventFlags, connected: bool) -> Result<Self, Errno> {
        let socket = Rc::new(socket);
        let line = match &poller.waker {
            Waker::Epoll(epoll) => {
                epoll::add(epoll, &socket, epoll::EventData::new_u64(key), watched)?;
                None
            }
            Waker::Lines(lines) => {
                let at = lines.borrow_mut().add(Rc::clone(&socket), key, watched, connected)?;
                Some((Rc::clone(lines), at))
            }
        };
        Ok(Self { socket, line, pending: Vec::new(), sent: 0, watched, bytes_in: 0, bytes_out: 0 })
    }

    /// The socket, to ask it or to shut it down.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what is there; `Ok(0)` is the peer's FIN.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        let count = match &self.line {
            None => rustix::net::recv(&self.socket, into, RecvFlags::empty())?.0,
            Some((lines, at)) => lines.borrow_mut().read(*at, into)?,
        };
        self.bytes_in += count as u64;
        Ok(count)
    }

    /// Whether staged bytes wait for the kernel.
    pub(super) fn is_blocked(&self) -> bool {
        let is_sending = |(lines, at): &(Rc<RefCell<Lines>>, usize)| lines.borrow().is_sending(*at);
        !self.pending.is_empty() || self.line.as_ref().is_some_and(is_sending)
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
            return Ok(!self.is_blocked());
        }
        let pending = std::mem::take(&mut self.pending);
        let sent = self.send(&pending[self.sent..]);
        self.sent += *sent.as_ref().unwrap_or(&0);
        if self.sent < pending.len() {
            self.pending = pending;
        }
        sent.map(|_| !self.is_blocked())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut sent = 0;
        while sent < bytes.len() {
            let taken = match &self.line {
                None => rustix::net::send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL),
                Some((lines, at)) => lines.borrow_mut().send(*at, &bytes[sent..]),
            };
            match taken {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes_out += sent as u64;
        Ok(sent)
    }

    /// Watches for exactly `wanted`, as a stream that is connected; no system call for an epoll that does already.
    pub(super) fn watch(&mut self, poller: &Poller, key: u64, wanted: EventFlags) -> Result<(), Errno> {
        match (&poller.waker, &self.line) {
            (Waker::Epoll(epoll), _) if wanted != self.watched => {
                epoll::modify(epoll, &self.socket, epoll::EventData::new_u64(key), wanted)?;
            }
            // Also for the same: there may be more to read.
            (_, Some((lines, at))) => lines.borrow_mut().watch(*at, wanted, true)?,
            _ => {}
        }
        self.watched = wanted;
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some((lines, at)) = &self.line {
            lines.borrow_mut().close(*at);
        }
    }
}
