//! A host of the laboratory: an endpoint, its frames, and an application that a script steers.

use crate::checks::{Census, EventOrder, Stream};
use crate::frames::Frames;
use corelane_proto::endpoint::{CloseReason, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::state::State;
use corelane_proto::{Endpoint, Flow, Instant, Memory};

/// Turns at one moment; a worker that needs more of them never sleeps.
const MOST_TURNS: usize = 100_000;
/// Bytes of a stream that are kept as they were read.
const MOST_KEPT: usize = 64 * 1024;

/// One connection as its application saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub id: ConnId,
    /// Its ends.
    pub flow: Flow,
    /// Every event, with its time.
    pub events: Vec<(Instant, Event)>,
    /// Every state in which it was found, in order.
    pub states: Vec<State>,
    /// Bytes that the endpoint took.
    pub sent: u64,
    /// Bytes that still have to be given to it.
    pub to_send: u64,
    /// Bytes that were read.
    pub read: u64,
    /// The first of them, as they came.
    pub bytes: Vec<u8>,
    /// Where the first byte is that was not the one sent: each stream of the laboratory has the same bytes.
    pub wrong_at: Option<u64>,
    /// Bytes that may be read before the reader stops.
    pub appetite: u64,
    /// How it ended, and when.
    pub closed: Option<(Instant, CloseReason)>,
    order: EventOrder,
}

impl Seen {
    fn new(id: ConnId, flow: Flow, appetite: u64) -> Self {
        Self {
            id,
            flow,
            events: Vec::new(),
            states: Vec::new(),
            sent: 0,
            to_send: 0,
            read: 0,
            bytes: Vec::new(),
            wrong_at: None,
            appetite,
            closed: None,
            order: EventOrder::default(),
        }
    }

    /// How it ended.
    pub fn reason(&self) -> Option<CloseReason> {
        self.closed.map(|(_, reason)| reason)
    }

    /// Whether an event fits.
    pub fn heard(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| wanted(event))
    }
}

/// A host.
pub struct Node {
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// Bytes that connections accepted from now on may read before their reader stops.
    pub appetite: u64,
    /// Whether accepted connections are kept and steered; without it they only stay open.
    pub keeps_seen: bool,
    /// Frames that came while there was none to put them in.
    pub starved: u64,
    /// Most frames that were not free at the end of a turn.
    pub most_frames: usize,
    pub(super) frames: Frames,
    pub(super) seen: Vec<Seen>,
    /// What was wrong.
    pub(super) faults: Vec<String>,
}

/// Every stream of the laboratory.
const STREAM: Stream = Stream::new(7);

impl Node {
    pub(super) fn new(config: EndpointConfig, frames: u32, secret: u8, now: Instant) -> Self {
        Self {
            endpoint: Endpoint::new(config, [secret; 32], now),
            appetite: u64::MAX,
            keeps_seen: true,
            starved: 0,
            most_frames: 0,
            frames: Frames::new(frames, frames as usize / 8),
            seen: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Frames that are free, and all there are.
    pub fn frames(&self) -> (usize, usize) {
        (self.frames.free_count(), self.frames.total())
    }

    pub(super) fn add(&mut self, id: ConnId, flow: Flow) -> usize {
        self.seen.push(Seen::new(id, flow, self.appetite));
        self.look();
        self.seen.len() - 1
    }

    /// A frame arrives.
    pub(super) fn receive(&mut self, now: Instant, frame: &[u8]) {
        match self.frames.receive(frame) {
            Some(buf) => self.endpoint.receive(now, &mut self.frames, buf),
            None => self.starved += 1,
        }
        self.look();
    }

    /// Turns until there is nothing more to do now; gives what was sent.
    pub(super) fn turns(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for _ in 0..MOST_TURNS {
            self.endpoint.on_time(now, &mut self.frames);
            self.look();
            let mut busy = false;
            while let Some(event) = self.endpoint.poll_event() {
                busy = true;
                self.on_event(now, &event);
                self.look();
            }
            (0..self.seen.len()).for_each(|index| self.pump(index));
            while let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.frames) {
                busy = true;
                let (index, keep, len) = match transmit {
                    Transmit::Owned { token, len } => (token.index(), false, len),
                    Transmit::Lent { index, len } => (index, true, len),
                };
                sent.push(self.frames.post(index, keep, len));
                self.frames.completed(index);
            }
            self.look();
            self.check();
            if !busy {
                return sent;
            }
        }
        self.faults.push("it does not come to rest".to_owned());
        sent
    }

    fn on_event(&mut self, now: Instant, event: &Event) {
        let id = match event {
            Event::Accepted { conn, flow, .. } => {
                if self.keeps_seen {
                    self.add(*conn, *flow);
                }
                *conn
            }
            Event::Closed { conn, .. } | Event::Trouble { conn, .. } => *conn,
            Event::Connected(id)
            | Event::Readable(id)
            | Event::Writable(id)
            | Event::PeerClosed(id)
            | Event::Urgent(id) => *id,
        };
        let Some(index) = self.seen.iter().rposition(|seen| seen.id == id) else { return };
        let seen = &mut self.seen[index];
        if let Err(what) = seen.order.on_event(event) {
            self.faults.push(what);
        }
        seen.events.push((now, *event));
        match event {
            Event::Readable(_) => self.read(index),
            Event::Closed { reason, .. } => self.seen[index].closed = Some((now, *reason)),
            _ => {}
        }
    }

    /// Reads as much as the reader wants.
    pub(super) fn read(&mut self, index: usize) {
        let Self { endpoint, frames, seen, .. } = self;
        let seen = &mut seen[index];
        while seen.appetite > 0 {
            let Some(mut buf) = endpoint.recv(seen.id) else { return };
            let whole = usize::from(buf.len);
            let len = whole.min(usize::try_from(seen.appetite).unwrap_or(usize::MAX));
            let bytes = &buf.bytes(frames)[..len];
            if let (None, Err(at)) = (seen.wrong_at, STREAM.verify(seen.read, bytes)) {
                seen.wrong_at = Some(at);
            }
            let room = MOST_KEPT.saturating_sub(seen.bytes.len());
            seen.bytes.extend_from_slice(&bytes[..len.min(room)]);
            seen.read += len as u64;
            seen.appetite -= len as u64;
            if len < whole {
                buf.trim_front(len as u16);
                endpoint.unread(seen.id, buf);
            } else {
                frames.free(buf.token);
            }
            endpoint.consumed(seen.id, len);
        }
    }

    /// Gives the endpoint what it takes of what has to be sent.
    pub(super) fn pump(&mut self, index: usize) {
        let seen = &mut self.seen[index];
        while seen.to_send > 0 && seen.closed.is_none() {
            let len = seen.to_send.min(8192) as usize;
            let mut bytes = [0; 8192];
            STREAM.fill(seen.sent, &mut bytes[..len]);
            let taken = self.endpoint.send_copy(&mut self.frames, seen.id, &bytes[..len]).unwrap_or(0);
            seen.sent += taken as u64;
            seen.to_send -= taken as u64;
            if taken < len {
                return;
            }
        }
    }

    /// Notes the state of each connection where it has changed.
    pub(super) fn look(&mut self) {
        for seen in self.seen.iter_mut().filter(|seen| seen.closed.is_none()) {
            let state = self.endpoint.info(seen.id).map_or(State::Closed, |info| info.state);
            if seen.states.last() != Some(&state) {
                seen.states.push(state);
            }
        }
    }

    fn check(&mut self) {
        self.most_frames = self.most_frames.max(self.frames.total() - self.frames.free_count());
        let census = Census {
            free: self.frames.free_count(),
            endpoint: self.endpoint.frames_held(),
            device: self.frames.with_device(),
            application: 0,
            total: self.frames.total(),
        };
        self.faults.extend(self.frames.misuse.take().or_else(|| census.check().err()));
    }
}
