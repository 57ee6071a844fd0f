//! The load of one core: which connection does what, and when. Sans-I/O, told the time.
//!
//! A transport asks [`poll_action`](Session::poll_action) until there is none, waits no longer than
//! [`poll_deadline`](Session::poll_deadline), and reports what happens to its connections by the `on_*` calls. All
//! times are nanoseconds of the run's [`Clock`](crate::clock::Clock).
//!
//! An open loop does not queue the requests that are due: the [`Schedule`] knows them. As soon as a connection is free
//! it gets the oldest one, whose latency then counts from the time at which it was due.

use super::counts::{Counted, Counts};
use super::gate::Gate;
use super::plan::{Loop, Plan};
use super::recorder::Recorder;
use super::schedule::Schedule;
use super::slot::{Pending, Slot, Slowness, State, Wake};
use crate::transport::ErrorKind;
use crate::workload::{Client, Fault, Output, Progress};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// At most this many openings are under way on one core: more would overflow the peer's SYN queue.
const CONNECTING_LIMIT: usize = 128;
/// How long an opening may take.
const CONNECT_TIMEOUT_NS: u64 = 5_000_000_000;
/// How long a connection that failed to open waits before it is tried again.
const RETRY_NS: u64 = 100_000_000;

/// What the transport should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open the connection.
    Connect(usize),
    /// Call [`Session::on_writable`] for the connection.
    Send(usize),
    /// Read from the connection: it [may](Session::read_room) again.
    Read(usize),
    /// Close the connection without a word to the session.
    Abort(usize),
}

/// Whether the transport keeps a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// It stays open.
    Open,
    /// Close it without a word to the session.
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Opening connections.
    Opening,
    /// This core is ready, others are not.
    Waiting,
    Running,
    Draining,
    Done,
}

/// The load of one core.
#[derive(Debug)]
pub struct Session {
    plan: Plan,
    gate: Arc<Gate>,
    recorder: Recorder,
    slots: Vec<Slot>,
    phase: Phase,
    schedule: Option<Schedule>,
    /// The measurement: from, until, and until when answers are waited for.
    begin: u64,
    end: u64,
    drain_end: u64,
    /// Connections that can take a request, and since when there is one.
    free: VecDeque<usize>,
    free_since: u64,
    /// Connections to open, in the order of the time from which they may be.
    down: VecDeque<(u64, usize)>,
    /// Openings under way in the order of their time-outs; stale entries are skipped.
    connecting: VecDeque<(u64, usize)>,
    connecting_count: usize,
    never_tried: usize,
    connected_at_start: usize,
    /// Connections that have something to send since they are open.
    to_send: VecDeque<usize>,
    wakes: BinaryHeap<Reverse<(u64, usize, Wake)>>,
    outstanding: usize,
    /// Bytes come without being asked for.
    is_stream: bool,
    counts: Counts,
}

impl Session {
    /// The load of `clients`, one for each connection of this core.
    pub fn new(plan: Plan, clients: Vec<Client>, gate: Arc<Gate>, recorder: Recorder) -> Self {
        let count = clients.len();
        let is_stream = clients.first().is_some_and(Client::is_stream);
        let slots: Vec<Slot> = clients.into_iter().map(|client| Slot::new(client, &plan)).collect();
        // Where each request has its own connection, one is tried to see whether anybody is there.
        let never_tried = if plan.churn { count.min(1) } else { count };
        let mut session = Self {
            plan,
            gate,
            recorder,
            slots,
            phase: Phase::Opening,
            schedule: None,
            begin: u64::MAX,
            end: u64::MAX,
            drain_end: u64::MAX,
            free: VecDeque::with_capacity(count),
            free_since: 0,
            down: (0..never_tried).map(|conn| (0, conn)).collect(),
            connecting: VecDeque::new(),
            connecting_count: 0,
            never_tried,
            connected_at_start: 0,
            to_send: VecDeque::new(),
            wakes: BinaryHeap::new(),
            outstanding: 0,
            is_stream,
            counts: Counts::default(),
        };
        for conn in never_tried..count {
            session.list(conn, 0);
        }
        session
    }

    /// How many connections there are; they are named by the numbers below it.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// Whether connections that are closed from this side are to be reset.
    pub const fn closes_by_reset(&self) -> bool {
        self.plan.reset
    }

    /// The next thing to do at `now`, which must be read anew for each call: it becomes the send time.
    pub fn poll_action(&mut self, now: u64) -> Option<Action> {
        self.on_time(now);
        if self.phase == Phase::Done {
            return None;
        }
        if let Some(conn) = self.poll_timeout(now) {
            self.on_closed(conn, now, ErrorKind::ConnectTimeout);
            return Some(Action::Abort(conn));
        }
        if let Some(conn) = self.to_send.pop_front() {
            return Some(Action::Send(conn));
        }
        if let Some(action) = self.poll_wake(now) {
            return Some(action);
        }
        if self.connecting_count < CONNECTING_LIMIT
            && let Some(&(from, conn)) = self.down.front()
            && self.may_open(from, now)
        {
            self.down.pop_front();
            if self.plan.churn && self.phase != Phase::Opening {
                self.list(conn, now);
            } else {
                return Some(self.open(conn, now));
            }
        }
        self.poll_send(now)
    }

    /// An opening that has taken too long.
    fn poll_timeout(&mut self, now: u64) -> Option<usize> {
        while let Some(&(until, conn)) = self.connecting.front() {
            let stale = self.slots[conn].state != (State::Connecting { until });
            if !stale && until > now {
                return None;
            }
            self.connecting.pop_front();
            if !stale {
                return Some(conn);
            }
        }
        None
    }

    /// A slow connection whose time has come.
    fn poll_wake(&mut self, now: u64) -> Option<Action> {
        while let Some(&Reverse((at, conn, wake))) = self.wakes.peek().filter(|wake| wake.0.0 <= now) {
            self.wakes.pop();
            let Some(slow) = &mut self.slots[conn].slow else { continue };
            let (paused, throttle, action) = match wake {
                Wake::Read => (&mut slow.read_paused, &slow.reads, Action::Read(conn)),
                Wake::Write => (&mut slow.write_paused, &slow.writes, Action::Send(conn)),
            };
            // An entry of an earlier connection in this place is not its time.
            let due = *paused && throttle.is_some_and(|throttle| throttle.next_at() <= at);
            if due {
                *paused = false;
                return Some(action);
            }
        }
        None
    }

    fn open(&mut self, conn: usize, now: u64) -> Action {
        let until = now + CONNECT_TIMEOUT_NS;
        self.slots[conn].state = State::Connecting { until };
        self.connecting.push_back((until, conn));
        self.connecting_count += 1;
        Action::Connect(conn)
    }

    /// Whether a connection that waits until `from` may be opened at `now`. Before the start each is tried only once,
    /// and those that were not tried have 0.
    fn may_open(&self, from: u64, now: u64) -> bool {
        match self.phase {
            Phase::Opening => from == 0,
            Phase::Waiting | Phase::Running => from <= now,
            Phase::Draining | Phase::Done => false,
        }
    }

    /// Whether a request that is due could be sent.
    fn may_send(&self) -> bool {
        let blocked = self.plan.churn && self.connecting_count >= CONNECTING_LIMIT;
        self.phase == Phase::Running && !self.free.is_empty() && !blocked
    }

    fn poll_send(&mut self, now: u64) -> Option<Action> {
        if !self.may_send() {
            return None;
        }
        let intended = match &mut self.schedule {
            None => now,
            Some(schedule) if schedule.peek() <= now && schedule.peek() < self.end => schedule.take(),
            Some(_) => return None,
        };
        let conn = self.free.pop_front()?;
        self.slots[conn].listed = false;
        if self.schedule.is_some() && intended >= self.begin {
            self.counts.waited += u64::from(self.free_since > intended);
            self.counts.lag.saturating_record(now.saturating_sub(intended.max(self.free_since)).max(1));
        }
        self.begin_request(conn, intended, now);
        if self.plan.churn {
            return Some(self.open(conn, now));
        }
        self.slots[conn].client.begin();
        self.list_if_free(conn, now);
        Some(Action::Send(conn))
    }

    /// Notes a request; its client is told by the caller.
    fn begin_request(&mut self, conn: usize, intended: u64, now: u64) {
        let slot = &mut self.slots[conn];
        slot.pending.push_back(Pending { intended, sent: now });
        slot.begun += 1;
        self.outstanding += 1;
        if intended >= self.begin {
            self.counts.sent += 1;
            // A stream is not asked for its chunks: those count that came.
            if self.plan.request_limit == Some(self.counts.sent) && !self.is_stream {
                self.stop_sending(now);
            }
        }
    }

    /// When [`poll_action`](Self::poll_action) has to be asked again if nothing happens; 0 is "at once".
    pub fn poll_deadline(&self) -> u64 {
        if !self.to_send.is_empty() {
            return 0;
        }
        let mut next = match self.phase {
            // The other cores say nothing when they are ready.
            Phase::Waiting => 0,
            Phase::Opening | Phase::Done => u64::MAX,
            Phase::Running => self.end,
            Phase::Draining => self.drain_end,
        };
        if self.may_send() {
            next = next.min(self.schedule.as_ref().map_or(0, Schedule::peek));
        }
        if self.connecting_count < CONNECTING_LIMIT
            && let Some(&(from, _)) = self.down.front()
            && self.may_open(from, u64::MAX)
        {
            next = next.min(from);
        }
        if let Some(Reverse((at, ..))) = self.wakes.peek() {
            next = next.min(*at);
        }
        next.min(self.connecting.front().map_or(u64::MAX, |(until, _)| *until))
    }

    /// Whether the run is over.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The connection is open.
    pub fn on_connected(&mut self, conn: usize, now: u64) -> Keep {
        let slot = &mut self.slots[conn];
        if !matches!(slot.state, State::Connecting { .. }) {
            return Keep::Open;
        }
        self.connecting_count -= 1;
        slot.state = State::Open;
        slot.answered = 0;
        slot.begun = slot.pending.len() as u64;
        if let Some(slow) = &mut slot.slow {
            **slow = Slowness::new(&self.plan);
        }
        let keep = if !self.plan.churn {
            self.list_if_free(conn, now);
            Keep::Open
        } else if slot.pending.is_empty() {
            // It was only to see whether anybody is there.
            slot.state = State::Down;
            self.list(conn, now);
            Keep::Close
        } else if matches!(slot.client, Client::Silent) {
            self.on_answer(conn, now, false, true)
        } else {
            slot.client.begin();
            self.to_send.push_back(conn);
            Keep::Open
        };
        self.tried(now, true);
        keep
    }

    /// Whether the connection still has a part of its requests to write.
    pub fn wants_write(&self, conn: usize) -> bool {
        let slot = &self.slots[conn];
        let paused = slot.slow.as_ref().is_some_and(|slow| slow.write_paused);
        slot.state == State::Open && !paused && slot.client.wants_write()
    }

    /// How many bytes may be read from the connection now; an [`Action::Read`] tells when that is no longer 0.
    pub fn read_room(&self, conn: usize, now: u64) -> usize {
        match &self.slots[conn].slow {
            Some(slow) if slow.read_paused => 0,
            Some(slow) => slow.reads.map_or(usize::MAX, |reads| reads.room(now)),
            None => usize::MAX,
        }
    }

    /// Whether the connection waits for its time to read.
    pub fn is_read_paused(&self, conn: usize) -> bool {
        self.slots[conn].slow.as_ref().is_some_and(|slow| slow.read_paused)
    }

    /// Writes what fits of the connection's requests.
    pub fn on_writable(&mut self, conn: usize, out: &mut dyn Output, now: u64) -> Keep {
        let slot = &mut self.slots[conn];
        if slot.state != State::Open {
            return Keep::Open;
        }
        let limit = slot.slow.as_ref().and_then(|slow| slow.writes).map_or(usize::MAX, |writes| writes.room(now));
        let mut out = Counted::new(out, limit);
        slot.client.on_writable(&mut out);
        let taken = out.taken;
        if slot.pending.back().is_some_and(|last| last.intended >= self.begin) {
            self.counts.bytes_sent += taken as u64;
        }
        let wants_more = slot.client.wants_write();
        if let Some(slow) = &mut slot.slow
            && let Some(writes) = &mut slow.writes
        {
            writes.on_moved(taken, now);
            if wants_more && writes.room(now) == 0 && !slow.write_paused {
                slow.write_paused = true;
                self.wakes.push(Reverse((writes.next_at(), conn, Wake::Write)));
            }
        }
        while self.slots[conn].client.poll_written() {
            if self.on_answer(conn, now, false, false) == Keep::Close {
                return Keep::Close;
            }
        }
        Keep::Open
    }

    /// Bytes came in on the connection at `now`; all of them are consumed. No more than [`read_room`](Self::read_room).
    pub fn on_bytes(&mut self, conn: usize, input: &[u8], now: u64) -> Keep {
        self.slow_down(conn, input.len(), now);
        let mut rest = input;
        while !rest.is_empty() {
            let slot = &mut self.slots[conn];
            if slot.pending.is_empty() && self.is_stream && self.phase == Phase::Running {
                slot.client.begin();
                self.begin_request(conn, now, now);
            }
            let slot = &mut self.slots[conn];
            if slot.pending.is_empty() && !self.is_stream {
                self.on_closed(conn, now, ErrorKind::Unexpected);
                return Keep::Close;
            }
            let measured = slot.pending.front().is_some_and(|first| first.intended >= self.begin);
            match slot.client.on_bytes(rest) {
                Ok((used, progress)) => {
                    if measured {
                        self.counts.bytes_received += used as u64;
                    }
                    rest = &rest[used..];
                    if let Progress::Done { failed, close } = progress
                        && self.on_answer(conn, now, failed, close) == Keep::Close
                    {
                        return Keep::Close;
                    }
                }
                Err(fault) => {
                    let kind = match fault {
                        Fault::Corrupt => ErrorKind::Corrupt,
                        Fault::Unexpected => ErrorKind::Unexpected,
                        Fault::Malformed => ErrorKind::Malformed,
                    };
                    self.on_closed(conn, now, kind);
                    return Keep::Close;
                }
            }
        }
        Keep::Open
    }

    /// A slow reader that has read its piece waits.
    fn slow_down(&mut self, conn: usize, bytes: usize, now: u64) {
        if let Some(slow) = &mut self.slots[conn].slow
            && let Some(reads) = &mut slow.reads
        {
            reads.on_moved(bytes, now);
            if !slow.read_paused {
                slow.read_paused = true;
                self.wakes.push(Reverse((reads.next_at(), conn, Wake::Read)));
            }
        }
    }

    /// The peer closed the connection; the transport closes it too.
    pub fn on_eof(&mut self, conn: usize, now: u64) {
        match self.slots[conn].client.on_eof() {
            Some(Progress::Done { failed, .. }) => {
                self.on_answer(conn, now, failed, true);
            }
            Some(Progress::Pending) | None => self.on_closed(conn, now, ErrorKind::Closed),
        }
    }

    /// The connection is gone, or could not be opened. Ending a connection without a request is the peer's right and no
    /// error, unless it was by [`Unexpected`](ErrorKind::Unexpected) bytes.
    pub fn on_closed(&mut self, conn: usize, now: u64, kind: ErrorKind) {
        if self.phase == Phase::Done {
            // The transport closes what is open, which is no error.
            return;
        }
        let slot = &mut self.slots[conn];
        let state = std::mem::replace(&mut slot.state, State::Down);
        let is_first = self.phase == Phase::Opening;
        match state {
            State::Down => {}
            State::Connecting { .. } => {
                self.connecting_count -= 1;
                self.gate.note_error(kind);
                self.count_errors(kind, 1);
                self.forget_pending(conn);
                self.go_down(conn, now, now + RETRY_NS);
                if is_first {
                    self.tried(now, false);
                }
            }
            State::Open => {
                let lost = self.forget_pending(conn);
                let errors = if kind == ErrorKind::Unexpected { lost.max(1) } else { lost };
                self.count_errors(kind, errors as u64);
                self.unlist(conn);
                self.go_down(conn, now, now);
            }
        }
    }

    /// Ends the run now: answers that are outstanding count as unanswered.
    pub fn interrupt(&mut self, now: u64) {
        self.end = self.end.min(now);
        self.finish_at(now);
    }

    /// What was counted; hands the last histograms on.
    pub fn finish(self) -> Counts {
        let Self { recorder, mut counts, slots, .. } = self;
        recorder.finish();
        counts.misses = slots.iter().map(|slot| slot.client.misses()).sum();
        counts
    }

    fn count_errors(&mut self, kind: ErrorKind, count: u64) {
        if count > 0 {
            *self.counts.errors.entry(kind).or_default() += count;
        }
    }

    /// Forgets what the connection had outstanding, and says how many requests that were. What a stream has not brought
    /// is nobody's request.
    fn forget_pending(&mut self, conn: usize) -> usize {
        let slot = &mut self.slots[conn];
        let lost = slot.pending.len();
        slot.pending.clear();
        slot.client.reset();
        self.outstanding -= lost;
        lost
    }

    /// The connection can take a request.
    fn list(&mut self, conn: usize, now: u64) {
        if self.free.is_empty() {
            self.free_since = now;
        }
        self.slots[conn].listed = true;
        self.free.push_back(conn);
    }

    fn list_if_free(&mut self, conn: usize, now: u64) {
        let slot = &self.slots[conn];
        let is_active = conn < self.slots.len() - self.plan.idle.min(self.slots.len()) && !self.is_stream;
        let has_more = self.plan.requests_per_connection.is_none_or(|limit| slot.begun < limit);
        let has_room = slot.pending.len() < self.plan.depth.max(1);
        if slot.state == State::Open && !slot.listed && is_active && has_more && has_room {
            self.list(conn, now);
        }
    }

    fn unlist(&mut self, conn: usize) {
        if std::mem::take(&mut self.slots[conn].listed) {
            self.free.retain(|free| *free != conn);
        }
    }

    fn on_answer(&mut self, conn: usize, now: u64, failed: bool, close: bool) -> Keep {
        let slot = &mut self.slots[conn];
        let Some(Pending { intended, sent }) = slot.pending.pop_front() else { return Keep::Open };
        self.outstanding -= 1;
        slot.answered += 1;
        let is_last = self.plan.requests_per_connection.is_some_and(|limit| slot.answered >= limit);
        if failed {
            self.count_errors(ErrorKind::Status, 1);
        }
        if intended >= self.begin && (self.phase == Phase::Running || !self.is_stream) {
            self.recorder.record(intended, sent, now);
            self.counts.answered += 1;
            self.counts.answered_in_time += u64::from(now <= self.end);
            if self.is_stream && self.plan.request_limit == Some(self.counts.answered) {
                self.stop_sending(now);
            }
        }
        if close || is_last || self.plan.churn {
            self.slots[conn].state = State::Down;
            // What was pipelined behind an answer that ends the connection is lost.
            let lost = self.forget_pending(conn);
            self.count_errors(ErrorKind::Closed, lost as u64);
            self.unlist(conn);
            self.go_down(conn, now, now);
            return Keep::Close;
        }
        self.list_if_free(conn, now);
        Keep::Open
    }

    fn go_down(&mut self, conn: usize, now: u64, retry_at: u64) {
        if self.plan.churn && retry_at <= now {
            self.list(conn, now);
            return;
        }
        if self.phase == Phase::Running && !self.plan.churn {
            self.counts.reconnects += 1;
        }
        // The queue is in order of time: those who may at once come first.
        let at = self.down.partition_point(|(from, _)| *from <= retry_at);
        self.down.insert(at, (retry_at, conn));
    }

    /// A connection was opened or failed to; at the start, every one is tried once.
    fn tried(&mut self, now: u64, connected: bool) {
        if self.phase == Phase::Opening {
            self.connected_at_start += usize::from(connected);
            self.never_tried = self.never_tried.saturating_sub(1);
            if self.never_tried == 0 {
                self.phase = Phase::Waiting;
                self.gate.arrive(self.connected_at_start, now);
            }
        }
    }

    fn on_time(&mut self, now: u64) {
        if self.phase == Phase::Waiting
            && let Some(start) = self.gate.start()
        {
            if self.gate.connected() == 0 {
                self.phase = Phase::Done;
                return;
            }
            self.start(start, now);
        }
        if self.phase == Phase::Running {
            self.recorder.on_time(now);
            // What was due before the end is sent a little after it, if a connection is free.
            let is_due = self.schedule.as_ref().is_some_and(|schedule| schedule.peek() < self.end);
            if now >= self.end && (self.free.is_empty() || !is_due) {
                self.stop_sending(self.end);
            } else if self.schedule.as_ref().is_some_and(Schedule::is_over) {
                self.stop_sending(now);
            }
        }
        if self.phase == Phase::Draining && (self.outstanding == 0 || self.is_stream || now >= self.drain_end) {
            self.finish_at(now);
        }
    }

    fn start(&mut self, start: u64, now: u64) {
        self.phase = Phase::Running;
        self.begin = start + self.plan.warmup_ns;
        self.end = self.begin.saturating_add(self.plan.duration_ns);
        self.recorder.begin(self.begin);
        self.schedule = match &self.plan.pace {
            Loop::Closed => None,
            Loop::Open { profile, phase, arrivals, seed } => {
                Some(Schedule::new(start, *profile, *phase, *arrivals, *seed))
            }
            Loop::Trace { times, first, stride } => Some(Schedule::trace(start, Arc::clone(times), *first, *stride)),
        };
        if self.plan.request_limit == Some(0) {
            self.stop_sending(now);
        }
    }

    fn stop_sending(&mut self, at: u64) {
        self.phase = Phase::Draining;
        self.end = at;
        self.drain_end = at.saturating_add(self.plan.drain_ns);
    }

    fn finish_at(&mut self, now: u64) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        self.counts.measured_ns = self.end.min(now).saturating_sub(self.begin);
        let begin = self.begin;
        let pending = self.slots.iter().flat_map(|slot| &slot.pending);
        let unanswered = pending.filter(|request| request.intended >= begin).count();
        self.counts.unanswered = if self.is_stream { 0 } else { unanswered as u64 };
        // A run that ends by its number of requests has no more of them to send.
        if self.plan.request_limit.is_none_or(|limit| self.counts.sent < limit)
            && let Some(schedule) = &mut self.schedule
        {
            schedule.drain_before(begin);
            self.counts.unsent = schedule.drain_before(self.end);
        }
    }
}
