//! The application of one end of one connection: it does what its plan says and looks at every byte.

use crate::checks::{EventOrder, Stream};
use crate::frames::Frames;
use crate::host::{Shared, Wake};
use crate::scenario::{Leave, Rng, Scenario, SidePlan};
use corelane_proto::endpoint::{CloseReason, ConnId, Event, SendError, Shutdown};
use corelane_proto::{Buf, Endpoint, Flow, Instant, Memory};
use rand::RngExt;
use std::time::Duration;

/// What an application reaches while it acts.
pub(crate) struct Act<'a> {
    pub(crate) now: Instant,
    pub(crate) host: usize,
    pub(crate) endpoint: &'a mut Endpoint,
    pub(crate) frames: &'a mut Frames,
    pub(crate) rng: &'a mut Rng,
    pub(crate) shared: &'a mut Shared,
}

impl Act<'_> {
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random::<f64>() < probability
    }

    fn wake_in(&mut self, longest: Duration, wake: Wake) {
        let nanos = self.rng.random_range(0..=longest.as_nanos() as u64);
        self.shared.schedule.push(self.now + Duration::from_nanos(nanos), self.host, wake);
    }
}

/// One end of a connection.
pub(crate) struct App {
    pub(crate) index: usize,
    /// Which connection of the scenario.
    pub(crate) conn: usize,
    /// 0 for the opener, 1 for the accepter.
    pub(crate) side: usize,
    pub(crate) id: ConnId,
    /// Both ends of it, if it was still there when its application heard of it.
    pub(crate) flow: Option<Flow>,
    pub(crate) order: EventOrder,
    /// Since when something has waited without that anything new was acknowledged; the user time-out counts from there. It
    /// begins with the SYN, and is kept for connections that have such a time-out only.
    pub(crate) waits_since: Instant,
    /// What of that was seen last: whether the handshake is over, what has been acknowledged, whether anything waits.
    /// `None` without a user time-out.
    progress: Option<(bool, i64, bool)>,
    /// When the application left it.
    pub(crate) left_at: Option<Instant>,
    /// When it ended.
    pub(crate) closed_at: Option<Instant>,
    /// Bytes that were taken to be sent.
    pub(crate) sent: u64,
    /// Bytes that were read.
    pub(crate) read: u64,
    /// Frames kept after they were read.
    pub(crate) kept: usize,
    plan: SidePlan,
    /// Bytes that the peer has to send.
    expected: u64,
    outgoing: Stream,
    incoming: Stream,
    may_write: bool,
    write_paused: bool,
    readable: bool,
    read_paused: bool,
    napped: bool,
    peer_closed: bool,
    read_shut: bool,
    write_shut: bool,
    /// Its data may go with the SYN: it is handed over before anything is sent.
    early: bool,
    /// Closing is aborting.
    close_resets: bool,
}

impl App {
    pub(crate) fn new(
        now: Instant,
        scenario: &Scenario,
        (index, conn, side): (usize, usize, usize),
        id: ConnId,
    ) -> Self {
        let stream = |side: usize| Stream::new(scenario.seed ^ ((conn as u64 * 2 + side as u64 + 1) << 40));
        let (sides, config) = (&scenario.conns[conn].sides, scenario.config_of(&scenario.conns[conn], side));
        Self {
            index,
            conn,
            side,
            id,
            flow: None,
            order: EventOrder::default(),
            waits_since: now,
            progress: config.user_timeout.map(|_| (false, 0, true)),
            left_at: None,
            closed_at: None,
            sent: 0,
            read: 0,
            kept: 0,
            plan: sides[side].clone(),
            expected: sides[1 - side].total,
            outgoing: stream(side),
            incoming: stream(1 - side),
            may_write: false,
            write_paused: false,
            readable: false,
            read_paused: false,
            napped: false,
            peer_closed: false,
            read_shut: false,
            write_shut: false,
            early: side == 0 && config.fast_open,
            close_resets: config.linger == Some(Duration::ZERO),
        }
    }

    /// Who it is, for messages.
    pub(crate) fn name(&self) -> String {
        format!("connection {} {}", self.conn, ["opener", "accepter"][self.side])
    }

    /// The connection has begun.
    pub(crate) fn start(&mut self, act: &mut Act<'_>) {
        if let Leave::Abort(after) | Leave::CloseEarly(after) | Leave::ShutThenAbort(after) = self.plan.leave {
            act.shared.schedule.push(act.now + after, act.host, Wake::Leave { app: self.index });
        }
        if self.early {
            self.may_write = true;
            self.write(act);
        }
    }

    /// Takes note of what has been acknowledged.
    pub(crate) fn watch(&mut self, now: Instant, endpoint: &Endpoint) {
        let Some((was_open, acked_before, waited)) = self.progress else { return };
        let Some(info) = endpoint.info(self.id) else { return };
        let left = i64::from(info.unacked) + i64::from(info.unsent);
        // A FIN that leaves counts as a byte less.
        let (open, acked) = (info.state.is_synchronized(), self.sent as i64 - left);
        let waits = !open || left > 0;
        if open != was_open || acked > acked_before || waits && !waited {
            self.waits_since = now;
        }
        self.progress = Some((open, acked, waits));
    }

    /// A copy of the SYN has opened another connection, and `bytes` came with it: the same as with the first.
    pub(crate) fn check_again(&self, bytes: &[u8]) -> Result<(), String> {
        let same = self.incoming.verify(0, bytes).is_ok();
        if same { Ok(()) } else { Err(format!("{}: a copy of the SYN brings other bytes", self.name())) }
    }

    pub(crate) fn on_event(&mut self, act: &mut Act<'_>, event: &Event) {
        if let Err(what) = self.order.on_event(event) {
            act.shared.fail(format!("{}: {what}", self.name()));
            return;
        }
        if self.left_at.is_some() && !matches!(event, Event::Closed { .. }) {
            act.shared.fail(format!("{}: {event:?} although it has closed", self.name()));
        }
        match event {
            Event::Accepted { .. } | Event::Connected(_) | Event::Writable(_) => {
                self.may_write = true;
                self.write(act);
            }
            Event::Readable(_) => {
                self.readable = true;
                self.read(act);
            }
            Event::PeerClosed(_) => {
                if self.read < self.expected && !self.read_shut && act.shared.scenario.conns[self.conn].is_orderly() {
                    let (read, expected) = (self.read, self.expected);
                    act.shared.fail(format!("{}: the stream ends after {read} of {expected} bytes", self.name()));
                }
                self.peer_closed = true;
                self.leave_if_done(act);
            }
            Event::Urgent(_) | Event::Trouble { .. } => {}
            Event::Closed { reason, .. } => self.on_closed(act, *reason),
        }
    }

    fn on_closed(&mut self, act: &mut Act<'_>, reason: CloseReason) {
        self.closed_at = Some(act.now);
        let aborted = self.left_at.is_some() && (self.plan.leave.is_abrupt() || self.close_resets);
        if reason == CloseReason::Aborted && !aborted {
            act.shared.fail(format!("{}: aborted, but not by its application", self.name()));
        }
    }

    /// A pause of the writer is over.
    pub(crate) fn on_write_time(&mut self, act: &mut Act<'_>) {
        self.write_paused = false;
        self.write(act);
    }

    /// A pause of the reader is over.
    pub(crate) fn on_read_time(&mut self, act: &mut Act<'_>) {
        self.read_paused = false;
        self.read(act);
    }

    /// A frame that was kept is given back.
    pub(crate) fn on_release(&mut self, act: &mut Act<'_>, buf: Buf) {
        self.kept -= 1;
        act.endpoint.consumed(self.id, buf.len.into());
        act.frames.free(buf.token);
    }

    /// The time has come to leave, whatever is going on.
    pub(crate) fn on_leave_time(&mut self, act: &mut Act<'_>) {
        if self.is_over() {
            return;
        }
        self.left_at = Some(act.now);
        self.order.leave();
        match self.plan.leave {
            Leave::Abort(_) | Leave::ShutThenAbort(_) => act.endpoint.abort(self.id),
            _ => act.endpoint.close(self.id),
        }
    }

    fn is_over(&self) -> bool {
        self.left_at.is_some() || self.order.closed().is_some()
    }

    fn write(&mut self, act: &mut Act<'_>) {
        while self.may_write && !self.write_paused && !self.is_over() && self.sent < self.plan.total {
            let wanted = (self.plan.total - self.sent).min(self.plan.write as u64) as usize;
            let taken = if self.plan.zero_copy { self.write_frame(act, wanted) } else { self.write_copy(act, wanted) };
            self.sent += taken as u64;
            if !self.write_paused && act.chance(self.plan.write_pause.0) {
                self.write_paused = true;
                act.wake_in(self.plan.write_pause.1, Wake::Write { app: self.index });
            }
        }
        self.leave_if_done(act);
    }

    fn write_copy(&mut self, act: &mut Act<'_>, wanted: usize) -> usize {
        let mut bytes = vec![0; wanted];
        self.outgoing.fill(self.sent, &mut bytes);
        let urgent = act.chance(self.plan.urgent);
        let send = if urgent { Endpoint::send_urgent } else { Endpoint::send_copy };
        let taken = send(act.endpoint, act.frames, self.id, &bytes).unwrap_or(0);
        // When it took less, Writable has to follow, or the end.
        self.may_write = taken == wanted;
        taken
    }

    fn write_frame(&mut self, act: &mut Act<'_>, wanted: usize) -> usize {
        // As the endpoint does when it copies, it leaves some for ACKs.
        let kept = act.endpoint.config().low_water_frames;
        let Some(token) = (act.frames.available() > kept).then(|| act.frames.alloc()).flatten() else {
            // The endpoint does not know that somebody waits for this frame.
            self.write_paused = true;
            act.wake_in(Duration::from_millis(5), Wake::Write { app: self.index });
            return 0;
        };
        let start = act.endpoint.header_room(self.id);
        let len = wanted.min(usize::from(act.endpoint.segment_len(self.id)));
        self.outgoing.fill(self.sent, &mut act.frames.bytes_mut(&token)[usize::from(start)..][..len]);
        match act.endpoint.send(act.frames, self.id, Buf::new(token, start, len as u16)) {
            Ok(()) => len,
            Err((buf, error)) => {
                act.frames.free(buf.token);
                self.may_write = false;
                if error == SendError::Misplaced {
                    act.shared.fail(format!("{}: {len} bytes at {start} are said to be misplaced", self.name()));
                }
                0
            }
        }
    }

    fn read(&mut self, act: &mut Act<'_>) {
        let mut budget = self.plan.read;
        while self.readable && !self.read_paused && !self.is_over() && !self.read_shut {
            let Some(buf) = act.endpoint.recv(self.id) else {
                self.readable = false;
                break;
            };
            let taken = self.take(act, buf);
            budget = budget.saturating_sub(taken);
            self.rest(act, budget);
            if self.plan.shut_read_after.is_some_and(|after| self.read >= after) {
                self.read_shut = true;
                act.endpoint.shutdown(self.id, Shutdown::Read);
            }
        }
        self.leave_if_done(act);
    }

    /// Looks at the bytes of a buffer, or only at the first of them; says at how many.
    fn take(&mut self, act: &mut Act<'_>, mut buf: Buf) -> usize {
        let mut len = usize::from(buf.len);
        let put_back = len > 1 && act.chance(self.plan.put_back);
        if put_back {
            len = act.rng.random_range(1..len);
        }
        let mut bytes = buf.bytes(act.frames)[..len].to_vec();
        if let Some(byte) = bytes.first_mut() {
            *byte ^= u8::from(std::mem::take(&mut act.shared.sabotage.wrong_byte));
        }
        if let Err(at) = self.incoming.verify(self.read, &bytes) {
            act.shared.fail(format!("{}: byte {at} is not the one that was sent", self.name()));
        }
        self.read += len as u64;
        if self.read > self.expected {
            act.shared.fail(format!("{}: read {} bytes, {} were sent", self.name(), self.read, self.expected));
        }
        if len == 0 {
            act.shared.fail(format!("{}: an empty buffer to read", self.name()));
        }
        if put_back {
            buf.trim_front(len as u16);
            act.endpoint.unread(self.id, buf);
            act.endpoint.consumed(self.id, len);
            self.readable = false;
            act.endpoint.resume(self.id);
        } else if act.chance(self.plan.detach) {
            self.kept += 1;
            act.wake_in(Duration::from_millis(100), Wake::Release { app: self.index, buf });
        } else {
            act.endpoint.consumed(self.id, len);
            act.frames.free(buf.token);
        }
        len
    }

    /// Pauses when it is time for it.
    fn rest(&mut self, act: &mut Act<'_>, budget: usize) {
        let nap = self.plan.nap.filter(|(after, _)| !self.napped && self.read >= *after);
        let pause = match nap {
            Some((_, time)) => {
                self.napped = true;
                time
            }
            None if budget == 0 => self.plan.read_pause,
            None => return,
        };
        self.read_paused = true;
        act.shared.schedule.push(act.now + pause, act.host, Wake::Read { app: self.index });
    }

    fn leave_if_done(&mut self, act: &mut Act<'_>) {
        if self.is_over() || self.sent < self.plan.total || !self.order.is_open() {
            return;
        }
        let close = match self.plan.leave {
            Leave::ShutThenRead => {
                if !std::mem::replace(&mut self.write_shut, true) {
                    act.endpoint.shutdown(self.id, Shutdown::Write);
                }
                // With both directions shut it ends by itself.
                self.peer_closed && act.chance(0.8)
            }
            Leave::ShutThenAbort(_) => {
                if !std::mem::replace(&mut self.write_shut, true) {
                    act.endpoint.shutdown(self.id, Shutdown::Write);
                }
                false
            }
            Leave::Close => self.read >= self.expected || self.peer_closed,
            Leave::AfterPeer => self.peer_closed,
            Leave::Abort(_) | Leave::CloseEarly(_) => false,
        };
        if close {
            self.left_at = Some(act.now);
            self.order.leave();
            act.endpoint.close(self.id);
        }
    }
}
