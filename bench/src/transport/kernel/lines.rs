//! Sockets over a ring, as epoll would show them: completions become readiness, so that servers and loads know of neither.
//!
//! A stream that is watched for input has one receive under way; what came waits here until it is read. A send is one
//! buffer under way; until it has ended there is no room for another. Nothing is read ahead of who does not want it.

use super::ring::{Done, Kind, Ring};
use super::stream::STAGE;
use rustix::event::epoll::{Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::rc::Rc;

/// One socket.
struct Line {
    key: u64,
    socket: Rc<OwnedFd>,
    wanted: EventFlags,
    /// Whether it carries bytes; a listener, and a socket that is not connected, are only polled.
    is_stream: bool,
    /// What a poll brought.
    polled: EventFlags,
    /// What was received, and how much of it was read.
    input: Vec<u8>,
    read: usize,
    /// The peer's FIN, or why there will be no more.
    end: Option<Result<(), Errno>>,
    /// The buffer of sends when none is under way.
    output: Vec<u8>,
    send_error: Option<Errno>,
    /// What is under way: a poll or a receive, and a send.
    incoming: Option<usize>,
    outgoing: Option<usize>,
    /// Whether it is in the list of those that may be ready.
    is_listed: bool,
    is_closed: bool,
}

impl Line {
    /// For what it is ready, of what is wanted.
    fn ready(&self) -> EventFlags {
        let mut ready = self.polled;
        if self.is_stream {
            ready.set(EventFlags::IN, self.read < self.input.len() || self.end.is_some() || self.send_error.is_some());
            ready.set(EventFlags::OUT, self.outgoing.is_none());
        }
        // As epoll has it: an error is told to whoever watches for anything.
        let errors = EventFlags::ERR | EventFlags::HUP;
        if self.wanted.is_empty() { EventFlags::empty() } else { ready & (self.wanted | errors) }
    }
}

/// All sockets of a thread.
pub(super) struct Lines {
    ring: Ring,
    lines: Vec<Option<Line>>,
    free: Vec<usize>,
    /// Those that may be ready, or have to be polled again.
    listed: VecDeque<usize>,
}

impl Lines {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self { ring: Ring::new()?, lines: Vec::new(), free: Vec::new(), listed: VecDeque::new() })
    }

    /// Takes a socket in. One that `is_stream` carries bytes at once, others are polled until they are
    /// [watched](Self::watch) as a stream.
    pub(super) fn add(
        &mut self,
        socket: Rc<OwnedFd>,
        key: u64,
        wanted: EventFlags,
        is_stream: bool,
    ) -> Result<usize, Errno> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.lines.push(None);
            self.lines.len() - 1
        });
        self.lines[at] = Some(Line {
            key,
            socket,
            wanted,
            is_stream,
            polled: EventFlags::empty(),
            input: Vec::new(),
            read: 0,
            end: None,
            output: Vec::new(),
            send_error: None,
            incoming: None,
            outgoing: None,
            is_listed: false,
            is_closed: false,
        });
        self.look(at)?;
        Ok(at)
    }

    /// Watches for exactly `wanted`; a connected socket is a stream from then on.
    pub(super) fn watch(&mut self, at: usize, wanted: EventFlags, is_stream: bool) -> Result<(), Errno> {
        let Some(line) = self.line(at) else { return Ok(()) };
        line.wanted = wanted;
        line.is_stream |= is_stream;
        if is_stream {
            line.polled = EventFlags::empty();
        }
        self.look(at)
    }

    fn line(&mut self, at: usize) -> Option<&mut Line> {
        self.lines.get_mut(at)?.as_mut()
    }

    /// Begins what a line's wishes need, and lists it if they are fulfilled.
    fn look(&mut self, at: usize) -> Result<(), Errno> {
        let Self { ring, lines, listed, .. } = self;
        let Some(line) = lines.get_mut(at).and_then(Option::as_mut).filter(|line| !line.is_closed) else {
            return Ok(());
        };
        if !line.ready().is_empty() {
            if !std::mem::replace(&mut line.is_listed, true) {
                listed.push_back(at);
            }
        } else if line.incoming.is_none() && !line.wanted.is_empty() {
            if !line.is_stream {
                line.incoming = Some(ring.start(at, &line.socket, Kind::Poll(line.wanted), Vec::new())?);
            } else if line.wanted.contains(EventFlags::IN) {
                let mut buffer = std::mem::take(&mut line.input);
                line.read = 0;
                buffer.clear();
                // Memory that nothing is received into costs an address only.
                buffer.reserve_exact(STAGE);
                line.incoming = Some(ring.start(at, &line.socket, Kind::Receive, buffer)?);
            }
        }
        Ok(())
    }

    /// Reads what has come; `Ok(0)` is the peer's FIN.
    pub(super) fn read(&mut self, at: usize, into: &mut [u8]) -> Result<usize, Errno> {
        let line = self.line(at).ok_or(Errno::BADF)?;
        if let Some(error) = line.send_error {
            return Err(error);
        }
        let left = &line.input[line.read..];
        if left.is_empty() {
            return line.end.map_or(Err(Errno::AGAIN), |end| end.map(|()| 0));
        }
        let count = left.len().min(into.len());
        into[..count].copy_from_slice(&left[..count]);
        line.read += count;
        Ok(count)
    }

    /// Takes all of `bytes` to send them, or none while others are under way.
    pub(super) fn send(&mut self, at: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let Self { ring, lines, .. } = self;
        let line = lines.get_mut(at).and_then(Option::as_mut).ok_or(Errno::BADF)?;
        if let Some(error) = line.send_error {
            return Err(error);
        }
        if line.outgoing.is_some() {
            return Err(Errno::AGAIN);
        }
        let mut buffer = std::mem::take(&mut line.output);
        buffer.clear();
        buffer.extend_from_slice(bytes);
        line.outgoing = Some(ring.start(at, &line.socket, Kind::Send(0), buffer)?);
        Ok(bytes.len())
    }

    /// Whether bytes are under way to the kernel.
    pub(super) fn is_sending(&self, at: usize) -> bool {
        self.lines.get(at).and_then(Option::as_ref).is_some_and(|line| line.outgoing.is_some())
    }

    /// Forgets a socket; it is closed once nothing of it is under way.
    pub(super) fn close(&mut self, at: usize) {
        let Some(line) = self.line(at) else { return };
        line.is_closed = true;
        for id in [line.incoming, line.outgoing].into_iter().flatten() {
            // If even that is refused, it is closed when it ends by itself.
            let _ = self.ring.cancel(id);
        }
        self.bury(at);
    }

    fn bury(&mut self, at: usize) {
        let is_over = |line: &Line| line.is_closed && line.incoming.is_none() && line.outgoing.is_none();
        if self.lines[at].as_ref().is_some_and(|line| is_over(line) && !line.is_listed) {
            self.lines[at] = None;
            self.free.push(at);
        }
    }

    /// Waits for at most `timeout_ns` until something is ready.
    pub(super) fn wait(&mut self, timeout_ns: u64, events: &mut Vec<Event>) -> Result<(), Errno> {
        self.ring.wait(if self.listed.is_empty() { timeout_ns } else { 0 })?;
        while let Some(done) = self.ring.next() {
            self.on_done(done)?;
        }
        for _ in 0..self.listed.len() {
            let Some(at) = self.listed.pop_front() else { break };
            let Some(line) = self.line(at) else { continue };
            line.is_listed = false;
            let flags = line.ready();
            if line.is_closed {
                self.bury(at);
            } else if flags.is_empty() {
                self.look(at)?;
            } else {
                events.push(Event { flags, data: EventData::new_u64(line.key) });
                if !line.is_stream {
                    // Polled again in the next wait, unless it has become a stream by then.
                    line.polled = EventFlags::empty();
                    line.is_listed = true;
                    self.listed.push_back(at);
                }
            }
        }
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> Result<(), Errno> {
        let Done { tag: at, kind, bytes, result } = done;
        let Some(line) = self.line(at) else { return Ok(()) };
        match kind {
            Kind::Poll(_) => {
                line.incoming = None;
                line.polled = result.map_or(EventFlags::ERR, EventFlags::from_bits_retain);
            }
            Kind::Receive => {
                line.incoming = None;
                match result {
                    Ok(0) => line.end = Some(Ok(())),
                    Ok(_) => (line.input, line.read) = (bytes, 0),
                    Err(Errno::INTR | Errno::AGAIN) => line.input = bytes,
                    Err(error) => line.end = Some(Err(error)),
                }
            }
            Kind::Send(from) => {
                line.outgoing = None;
                let sent = from + result.map_or(0, |count| count as usize);
                let goes_on = matches!(result, Ok(1..) | Err(Errno::INTR | Errno::AGAIN));
                if goes_on && sent < bytes.len() && !line.is_closed {
                    let socket = Rc::clone(&line.socket);
                    let id = self.ring.start(at, &socket, Kind::Send(sent), bytes)?;
                    if let Some(line) = self.line(at) {
                        line.outgoing = Some(id);
                    }
                    return Ok(());
                }
                line.output = bytes;
                if !goes_on {
                    line.send_error = result.err();
                }
            }
        }
        if self.line(at).is_some_and(|line| line.is_closed) {
            self.bury(at);
            return Ok(());
        }
        self.look(at)
    }
}
