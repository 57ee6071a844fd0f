//! The load of one core: which connection does what, and when. Sans-I/O, told the time.
//!
//! A transport asks [`poll_action`](Session::poll_action) until there is none, waits no longer than
//! [`poll_deadline`](Session::poll_deadline), and reports what happens to its connections by the `on_*` calls. All
//! times are nanoseconds of the run's [`Clock`](crate::clock::Clock).
//!
//! An open loop does not queue the requests that are due: the [`Schedule`] knows them. As soon as a connection is idle
//! it gets the oldest one, whose latency then counts from the time at which it was due.

use super::gate::Gate;
use super::recorder::Recorder;
use super::schedule::Schedule;
use crate::transport::ErrorKind;
use crate::workload::{Client, Fault, Output, Progress};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// At most this many openings are under way on one core: more would overflow the peer's SYN queue.
const CONNECTING_LIMIT: usize = 128;
/// How long an opening may take.
const CONNECT_TIMEOUT_NS: u64 = 5_000_000_000;
/// How long a connection that failed to open waits before it is tried again.
const RETRY_NS: u64 = 100_000_000;

/// When requests are sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Loop {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// At due times; see [`Schedule::new`] for the fields.
    Open {
        /// Requests a second on this core.
        rate: f64,
        /// Where in the first gap this core begins.
        phase: f64,
        /// The gaps.
        arrivals: super::schedule::Arrivals,
        /// For random gaps.
        seed: u64,
    },
}

/// What one core has to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When to send.
    pub pace: Loop,
    /// How long before the measurement begins, in nanoseconds.
    pub warmup_ns: u64,
    /// How long the measurement lasts, in nanoseconds.
    pub duration_ns: u64,
    /// How long to wait for answers after it, in nanoseconds.
    pub drain_ns: u64,
    /// The measurement ends after this many requests, if it does not end earlier.
    pub request_limit: Option<u64>,
    /// A connection is closed and opened anew after this many answers.
    pub requests_per_connection: Option<u64>,
}

/// What the transport should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open the connection.
    Connect(usize),
    /// Call [`Session::on_writable`] for the connection: a request has begun.
    Send(usize),
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
enum State {
    Down,
    Connecting { until: u64 },
    Idle,
    Busy { intended: u64, sent: u64 },
}

#[derive(Debug)]
struct Slot {
    state: State,
    client: Client,
    answered: u64,
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

/// What one core counted. Requests are those due in the measurement.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered, each with its place in the histograms.
    pub answered: u64,
    /// Of those, the ones answered before the measurement ended.
    pub answered_in_time: u64,
    /// Requests sent whose answer had not come when the run ended.
    pub unanswered: u64,
    /// Requests that were due, and never sent because no connection was idle.
    pub unsent: u64,
    /// Connections opened anew after one had ended.
    pub reconnects: u64,
    /// Bytes of requests that were due in the measurement.
    pub bytes_sent: u64,
    /// Bytes of the answers to them.
    pub bytes_received: u64,
    /// Errors from the first opening on, warm-up included.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// How long the measurement lasted, in nanoseconds.
    pub measured_ns: u64,
}

/// An output that counts what it takes.
struct Counted<'o> {
    out: &'o mut dyn Output,
    taken: u64,
}

impl Output for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = self.out.write(bytes);
        self.taken += taken as u64;
        taken
    }

    fn room(&self) -> usize {
        self.out.room()
    }
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
    idle: VecDeque<usize>,
    /// Connections to open, in the order of the time from which they may be.
    down: VecDeque<(u64, usize)>,
    /// Openings under way in the order of their time-outs; stale entries are skipped.
    connecting: VecDeque<(u64, usize)>,
    connecting_count: usize,
    never_tried: usize,
    busy: usize,
    counts: Counts,
}

impl Session {
    /// The load of `clients`, one for each connection of this core.
    pub fn new(plan: Plan, clients: Vec<Client>, gate: Arc<Gate>, recorder: Recorder) -> Self {
        let never_tried = clients.len();
        let slots = clients.into_iter().map(|client| Slot { state: State::Down, client, answered: 0 }).collect();
        Self {
            plan,
            gate,
            recorder,
            slots,
            phase: Phase::Opening,
            schedule: None,
            begin: u64::MAX,
            end: u64::MAX,
            drain_end: u64::MAX,
            idle: VecDeque::with_capacity(never_tried),
            down: (0..never_tried).map(|conn| (0, conn)).collect(),
            connecting: VecDeque::new(),
            connecting_count: 0,
            never_tried,
            busy: 0,
            counts: Counts::default(),
        }
    }

    /// How many connections there are; they are named by the numbers below it.
    pub fn connections(&self) -> usize {
        self.slots.len()
    }

    /// The next thing to do at `now`, which must be read anew for each call: it becomes the send time.
    pub fn poll_action(&mut self, now: u64) -> Option<Action> {
        self.on_time(now);
        if self.phase == Phase::Done {
            return None;
        }
        while let Some(&(until, conn)) = self.connecting.front() {
            let stale = self.slots[conn].state != (State::Connecting { until });
            if !stale && until > now {
                break;
            }
            self.connecting.pop_front();
            if !stale {
                self.on_closed(conn, now, ErrorKind::ConnectTimeout);
                return Some(Action::Abort(conn));
            }
        }
        if self.connecting_count < CONNECTING_LIMIT
            && let Some(&(from, conn)) = self.down.front()
            && self.may_open(from, now)
        {
            self.down.pop_front();
            let until = now + CONNECT_TIMEOUT_NS;
            self.slots[conn].state = State::Connecting { until };
            self.connecting.push_back((until, conn));
            self.connecting_count += 1;
            return Some(Action::Connect(conn));
        }
        self.poll_send(now)
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

    fn poll_send(&mut self, now: u64) -> Option<Action> {
        if self.phase != Phase::Running || self.idle.is_empty() {
            return None;
        }
        let intended = match &mut self.schedule {
            None => now,
            Some(schedule) if schedule.peek() <= now && schedule.peek() < self.end => schedule.take(),
            Some(_) => return None,
        };
        let conn = self.idle.pop_front()?;
        let slot = &mut self.slots[conn];
        slot.state = State::Busy { intended, sent: now };
        slot.client.begin();
        self.busy += 1;
        if intended >= self.begin {
            self.counts.sent += 1;
            if self.plan.request_limit == Some(self.counts.sent) {
                self.stop_sending(now);
            }
        }
        Some(Action::Send(conn))
    }

    /// When [`poll_action`](Self::poll_action) has to be asked again if nothing happens; 0 is "at once".
    pub fn poll_deadline(&self) -> u64 {
        let mut next = match self.phase {
            // The other cores say nothing when they are ready.
            Phase::Waiting => 0,
            Phase::Opening | Phase::Done => u64::MAX,
            Phase::Running => self.end,
            Phase::Draining => self.drain_end,
        };
        if self.phase == Phase::Running && !self.idle.is_empty() {
            next = next.min(self.schedule.as_ref().map_or(0, Schedule::peek));
        }
        if self.connecting_count < CONNECTING_LIMIT
            && let Some(&(from, _)) = self.down.front()
            && self.may_open(from, u64::MAX)
        {
            next = next.min(from);
        }
        next.min(self.connecting.front().map_or(u64::MAX, |(until, _)| *until))
    }

    /// Whether the run is over.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The connection is open.
    pub fn on_connected(&mut self, conn: usize, now: u64) {
        if let State::Connecting { .. } = self.slots[conn].state {
            self.connecting_count -= 1;
            self.slots[conn].state = State::Idle;
            self.slots[conn].answered = 0;
            self.idle.push_back(conn);
            self.tried(now);
        }
    }

    /// Whether the connection still has a part of its request to write.
    pub fn wants_write(&self, conn: usize) -> bool {
        matches!(self.slots[conn].state, State::Busy { .. }) && self.slots[conn].client.wants_write()
    }

    /// Writes what fits of the connection's request.
    pub fn on_writable(&mut self, conn: usize, out: &mut dyn Output) {
        let mut out = Counted { out, taken: 0 };
        self.slots[conn].client.on_writable(&mut out);
        let taken = out.taken;
        if self.is_measured(conn) {
            self.counts.bytes_sent += taken;
        }
    }

    /// Bytes came in on the connection at `now`; all of them are consumed.
    pub fn on_bytes(&mut self, conn: usize, input: &[u8], now: u64) -> Keep {
        if self.is_measured(conn) {
            self.counts.bytes_received += input.len() as u64;
        }
        if self.slots[conn].state == State::Idle && !input.is_empty() {
            self.on_closed(conn, now, ErrorKind::Unexpected);
            return Keep::Close;
        }
        match self.slots[conn].client.on_bytes(input) {
            Ok(Progress::Pending) => Keep::Open,
            Ok(Progress::Done { failed, close }) => self.on_answer(conn, now, failed, close),
            Err(fault) => {
                let kind = match fault {
                    Fault::Corrupt => ErrorKind::Corrupt,
                    Fault::Unexpected => ErrorKind::Unexpected,
                    Fault::Malformed => ErrorKind::Malformed,
                };
                self.on_closed(conn, now, kind);
                Keep::Close
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

    /// The connection is gone, or could not be opened. Ending an idle connection is the peer's right and no error,
    /// unless it was by [`Unexpected`](ErrorKind::Unexpected) bytes.
    pub fn on_closed(&mut self, conn: usize, now: u64, kind: ErrorKind) {
        if self.phase == Phase::Done {
            // The transport closes what is open, which is no error.
            return;
        }
        let slot = &mut self.slots[conn];
        let state = std::mem::replace(&mut slot.state, State::Down);
        slot.client.reset();
        let mut retry_at = now;
        match state {
            State::Down => return,
            State::Connecting { .. } => {
                self.connecting_count -= 1;
                retry_at += RETRY_NS;
                self.gate.note_error(kind);
                self.count_error(kind);
                self.tried(now);
            }
            State::Idle => {
                self.idle.retain(|idle| *idle != conn);
                if kind == ErrorKind::Unexpected {
                    self.count_error(kind);
                }
            }
            State::Busy { .. } => {
                self.busy -= 1;
                self.count_error(kind);
            }
        }
        self.go_down(conn, retry_at);
    }

    /// Ends the run now: answers that are outstanding count as unanswered.
    pub fn interrupt(&mut self, now: u64) {
        self.end = self.end.min(now);
        self.finish_at(now);
    }

    /// What was counted; hands the last histograms on.
    pub fn finish(self) -> Counts {
        let Self { recorder, counts, .. } = self;
        recorder.finish();
        counts
    }

    /// Whether the connection's request was due in the measurement.
    fn is_measured(&self, conn: usize) -> bool {
        matches!(self.slots[conn].state, State::Busy { intended, .. } if intended >= self.begin)
    }

    fn count_error(&mut self, kind: ErrorKind) {
        *self.counts.errors.entry(kind).or_default() += 1;
    }

    fn on_answer(&mut self, conn: usize, now: u64, failed: bool, close: bool) -> Keep {
        let slot = &mut self.slots[conn];
        let State::Busy { intended, sent } = slot.state else { return Keep::Open };
        self.busy -= 1;
        slot.answered += 1;
        let close = close || self.plan.requests_per_connection.is_some_and(|limit| slot.answered >= limit);
        slot.state = if close { State::Down } else { State::Idle };
        if failed {
            self.count_error(ErrorKind::Status);
        }
        if intended >= self.begin {
            self.recorder.record(intended, sent, now);
            self.counts.answered += 1;
            self.counts.answered_in_time += u64::from(now <= self.end);
        }
        if close {
            self.slots[conn].client.reset();
            self.go_down(conn, now);
            return Keep::Close;
        }
        self.idle.push_back(conn);
        Keep::Open
    }

    fn go_down(&mut self, conn: usize, retry_at: u64) {
        if matches!(self.phase, Phase::Running) {
            self.counts.reconnects += 1;
        }
        // The queue is in order of time: those who may at once come first.
        let at = self.down.partition_point(|(from, _)| *from <= retry_at);
        self.down.insert(at, (retry_at, conn));
    }

    /// A connection was opened or failed to; at the start, every one is tried once.
    fn tried(&mut self, now: u64) {
        if self.phase == Phase::Opening {
            self.never_tried = self.never_tried.saturating_sub(1);
            if self.never_tried == 0 {
                self.phase = Phase::Waiting;
                self.gate.arrive(self.idle.len(), now);
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
            self.phase = Phase::Running;
            self.begin = start + self.plan.warmup_ns;
            self.end = self.begin.saturating_add(self.plan.duration_ns);
            self.recorder.begin(self.begin);
            if let Loop::Open { rate, phase, arrivals, seed } = self.plan.pace {
                self.schedule = Some(Schedule::new(start, rate, phase, arrivals, seed));
            }
            if self.plan.request_limit == Some(0) {
                self.stop_sending(now);
            }
        }
        if self.phase == Phase::Running {
            self.recorder.on_time(now);
            // What was due before the end is sent a little after it, if a connection is free.
            let is_due = self.schedule.as_ref().is_some_and(|schedule| schedule.peek() < self.end);
            if now >= self.end && (self.idle.is_empty() || !is_due) {
                self.stop_sending(self.end);
            }
        }
        if self.phase == Phase::Draining && (self.busy == 0 || now >= self.drain_end) {
            self.finish_at(now);
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
        let measured = |slot: &&Slot| matches!(slot.state, State::Busy { intended, .. } if intended >= begin);
        self.counts.unanswered = self.slots.iter().filter(measured).count() as u64;
        // A run that ends by its number of requests has no more of them to send.
        if self.plan.request_limit.is_none_or(|limit| self.counts.sent < limit)
            && let Some(schedule) = &mut self.schedule
        {
            schedule.drain_before(begin);
            self.counts.unsent = schedule.drain_before(self.end);
        }
    }
}
