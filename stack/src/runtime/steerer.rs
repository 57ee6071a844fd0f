//! Who gets new connections, while the stack runs: what is asked for, and what the loads say.

use super::programs::Programs;
use super::supervisor::Supervised;
use crate::config;
use crate::control::{Ask, Command, ControlError, CoreShare, Load, Request};
use crate::steer::{Ready, Shares, Yielded};
use corelane_bpf::{FlowHash, FlowRegistry, Table};
use corelane_proto::{Flow, Instant};
use crossbeam::channel::Sender;
use std::sync::Arc;
use std::time::Duration;

type Answer = Sender<Result<Vec<CoreShare>, ControlError>>;

/// What is being done.
#[derive(Debug, Default)]
struct Task {
    /// Who gets the answer; nobody, if the stack itself has begun it.
    answer: Option<Answer>,
    /// Workers whose load is not known yet.
    unmeasured: Vec<usize>,
    /// Move by what is measured.
    rebalance: bool,
    /// Who was drained by it, or added.
    asked_for: Option<(usize, bool)>,
    /// Who has not tried yet to move its connections.
    untried: Option<usize>,
    /// The answer, if it is an error.
    error: Option<ControlError>,
}

/// Moves buckets between the workers.
pub(super) struct Steerer {
    registry: FlowRegistry,
    hash: FlowHash,
    shares: Shares,
    max_pinned: usize,
    every: Option<Duration>,
    next_at: Option<Instant>,
    /// What each worker has done since the last rebalancing, and how many flows it has.
    since: Vec<Load>,
    frames: Vec<u64>,
    moved: Vec<Moved>,
    task: Option<Task>,
}

/// What a worker has told of connections that move.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    out: u64,
    into: u64,
    busy: usize,
    kept: usize,
}

/// What the steerer works with.
#[derive(Clone, Copy)]
pub(super) struct Means<'a, 'scope> {
    pub(super) workers: &'a [Supervised<'scope>],
    pub(super) steering: &'a Programs,
}

impl Means<'_, '_> {
    fn tell_all(self, command: &Command) {
        self.workers.iter().filter(|worker| worker.is_running()).for_each(|worker| worker.tell(command.clone()));
    }
}

impl Steerer {
    pub(super) fn new(steering: &Programs, hash: &FlowHash, settings: &config::Steering) -> Self {
        let table = steering.table();
        let workers = table.cores() as usize;
        let every = Some(Duration::from_millis(settings.rebalance_ms().into())).filter(|every| !every.is_zero());
        Self {
            registry: steering.registry(),
            hash: hash.clone(),
            shares: Shares::new(table),
            max_pinned: settings.max_pinned() as usize,
            every,
            next_at: None,
            since: vec![Load::default(); workers],
            frames: vec![0; workers],
            moved: vec![Moved::default(); workers],
            task: None,
        }
    }

    /// Whether something is being done, so that the next request has to wait.
    pub(super) const fn is_busy(&self) -> bool {
        self.task.is_some()
    }

    /// When [`on_time`](Self::on_time) wants to be called.
    pub(super) const fn poll_deadline(&self) -> Option<Instant> {
        self.next_at
    }

    /// Time has passed: rebalances if it is time to.
    pub(super) fn on_time(&mut self, now: Instant, means: Means<'_, '_>) {
        let Some(every) = self.every else { return };
        let next_at = *self.next_at.get_or_insert(now + every);
        if now >= next_at {
            self.next_at = Some(now + every);
            if self.task.is_none() {
                self.measure(Task { rebalance: true, ..Task::default() }, means);
            }
        }
    }

    /// Somebody asks for something; [`is_busy`](Self::is_busy) was false.
    pub(super) fn on_request(&mut self, request: Request, means: Means<'_, '_>) {
        let Request { what, answer } = request;
        let task = Task { answer: Some(answer), ..Task::default() };
        let (worker, drained) = match what {
            Ask::Shares => return self.measure(task, means),
            Ask::Rebalance => return self.measure(Task { rebalance: true, ..task }, means),
            Ask::Drain(worker) => (worker, true),
            Ask::Add(worker) => (worker, false),
        };
        match self.shares.plan(worker, drained) {
            Ok((table, drained)) => {
                let now = drained[worker];
                self.task = Some(Task { asked_for: Some((worker, now)), ..task });
                self.begin(table, drained, means);
            }
            Err(error) => self.measure(Task { error: Some(error), ..task }, means),
        }
    }

    /// Asks every worker what it has done; the answer to the task follows.
    fn measure(&mut self, task: Task, means: Means<'_, '_>) {
        let workers = means.workers;
        let unmeasured: Vec<usize> = (0..workers.len()).filter(|worker| workers[*worker].is_running()).collect();
        unmeasured.iter().for_each(|worker| workers[*worker].tell(Command::Measure));
        self.task = Some(Task { unmeasured, ..task });
        self.when_measured(means);
    }

    /// A worker has told what it has done.
    pub(super) fn on_measured(&mut self, worker: usize, load: Load, means: Means<'_, '_>) {
        let since = &mut self.since[worker];
        since.frames += load.frames;
        since.busy_turns += load.busy_turns;
        since.flows = load.flows;
        self.frames[worker] += load.frames;
        let moved = &mut self.moved[worker];
        moved.out += load.moved_out;
        moved.into += load.moved_in;
        (moved.busy, moved.kept) = (load.busy, load.kept);
        if let Some(task) = &mut self.task {
            task.unmeasured.retain(|other| *other != worker);
            self.when_measured(means);
        }
    }

    fn when_measured(&mut self, means: Means<'_, '_>) {
        if self.shares.is_changing() {
            return;
        }
        let Some(task) = self.task.as_mut().filter(|task| task.unmeasured.is_empty()) else { return };
        if std::mem::take(&mut task.rebalance) {
            let plan = self.shares.plan_by(&self.since);
            for load in &mut self.since {
                *load = Load { flows: load.flows, ..Load::default() };
            }
            if let Some(table) = plan {
                let drained = self.shares.drained().to_vec();
                return self.begin(table, drained, means);
            }
        }
        self.answer(means);
    }

    fn answer(&mut self, means: Means<'_, '_>) {
        let Some(Task { answer, error, .. }) = self.task.take() else { return };
        if let Some(error) = error.as_ref().filter(|_| answer.is_none()) {
            tracing::warn!(%error, "no share of new connections was moved");
        }
        let buckets = self.shares.table().shares();
        let share = |worker: usize| CoreShare {
            worker,
            core: means.workers[worker].core(),
            buckets: buckets[worker],
            flows: self.since[worker].flows,
            frames: self.frames[worker],
            drained: self.shares.drained()[worker],
            moved_out: self.moved[worker].out,
            moved_in: self.moved[worker].into,
            busy: self.moved[worker].busy,
            kept: self.moved[worker].kept,
        };
        let shares = || (0..means.workers.len()).map(share).collect();
        if let Some(answer) = answer {
            // Who asked may have gone.
            let _ = answer.try_send(error.map_or_else(|| Ok(shares()), Err));
        }
    }

    fn begin(&mut self, table: Table, drained: Vec<bool>, means: Means<'_, '_>) {
        let (table, givers) = self.shares.begin(table, drained);
        for giver in givers {
            if means.workers[giver].is_running() {
                means.workers[giver].tell(Command::Yield(Arc::clone(&table)));
            } else {
                self.shares.on_yielded(giver, Vec::new(), Vec::new());
            }
        }
        self.when_yielded(means);
    }

    /// A worker has told which flows it yields.
    pub(super) fn on_yielded(&mut self, worker: usize, flows: Vec<Flow>, waits: Vec<Flow>, means: Means<'_, '_>) {
        self.shares.on_yielded(worker, flows, waits);
        self.when_yielded(means);
    }

    /// A worker will tell nothing more.
    pub(super) fn on_gone(&mut self, worker: usize, means: Means<'_, '_>) {
        if self.shares.is_changing() {
            self.on_yielded(worker, Vec::new(), Vec::new(), means);
        }
        self.on_tried(worker, means);
        if let Some(task) = &mut self.task {
            task.unmeasured.retain(|other| *other != worker);
            self.when_measured(means);
        }
    }

    /// A worker has tried to move each of its connections, or never will.
    pub(super) fn on_tried(&mut self, worker: usize, means: Means<'_, '_>) {
        if let Some(mut task) = self.task.take_if(|task| task.untried == Some(worker)) {
            task.untried = None;
            self.measure(task, means);
        }
    }

    /// A worker has taken flows over. Unless it is their owner by the table, they have to be pinned to it.
    pub(super) fn on_arrived(&self, worker: usize, flows: &[Flow], means: Means<'_, '_>) {
        // While a change is under way, it may have told already what it yields.
        let settled = |flow: &&Flow| {
            let hash = self.hash.hash(flow.local.into(), flow.remote.into());
            !self.shares.is_changing() && self.shares.table().owner(hash) as usize == worker
        };
        let (at_home, strangers): (Vec<Flow>, Vec<Flow>) = flows.iter().partition(settled);
        if !strangers.is_empty() {
            // Fewer than 2^32 workers.
            let core = worker as u32;
            for flow in &strangers {
                // Without room for it, its packets go on being handed over.
                let _ = self.registry.pin(flow.local.into(), flow.remote.into(), core);
            }
            means.tell_all(&Command::Keep(strangers.into(), core));
        }
        if !at_home.is_empty() {
            self.on_over(at_home, means);
        }
    }

    fn when_yielded(&mut self, means: Means<'_, '_>) {
        let Some(ready) = self.shares.poll_ready() else { return };
        let mut task = self.task.take().unwrap_or_default();
        match self.carry_out(&ready, means) {
            Ok(()) => {
                self.shares.on_done(ready);
                if let Some((worker, drained)) = task.asked_for
                    && means.workers[worker].is_running()
                    && means.workers.len() > 1
                {
                    means.workers[worker].tell(Command::Move(drained));
                    if drained {
                        task.untried = Some(worker);
                        self.task = Some(task);
                        return;
                    }
                }
            }
            Err(error) => {
                // Those who have yielded take back what they gave.
                means.tell_all(&Command::Adopt(Arc::clone(self.shares.table()), Arc::default()));
                task.error = Some(error);
            }
        }
        self.measure(task, means);
    }

    /// Pins what stays, and moves the rest. When it fails nothing has changed in the program.
    fn carry_out(&self, ready: &Ready, means: Means<'_, '_>) -> Result<(), ControlError> {
        let Yielded { flows, waits } = &ready.yielded;
        let room = self.max_pinned.saturating_sub(self.registry.pinned() as usize);
        if flows.len() > room {
            return Err(ControlError::TooManyPinned { flows: flows.len(), room });
        }
        let pins: Arc<[(Flow, u32)]> = flows.iter().chain(waits.iter().take(room - flows.len())).copied().collect();
        let unpin = |pins: &[(Flow, u32)]| {
            for (flow, _) in pins {
                // What was not pinned is not there.
                let _ = self.registry.unpin(flow.local.into(), flow.remote.into());
            }
        };
        for (at, (flow, core)) in pins.iter().enumerate() {
            if let Err(error) = self.registry.pin(flow.local.into(), flow.remote.into(), *core) {
                unpin(&pins[..at]);
                return Err(ControlError::Program(error.to_string()));
            }
        }
        if let Err(error) = means.steering.set_table(&ready.table) {
            // It may have taken a part of it.
            let _ = means.steering.set_table(self.shares.table());
            unpin(&pins);
            return Err(ControlError::Program(error.to_string()));
        }
        means.tell_all(&Command::Adopt(Arc::clone(&ready.table), pins));
        Ok(())
    }

    /// Flows that had stayed with a worker are over: their ends belong to whom the table says.
    pub(super) fn on_over(&self, flows: Vec<Flow>, means: Means<'_, '_>) {
        for flow in &flows {
            // It may have been unpinned already, or never been pinned for want of room.
            let _ = self.registry.unpin(flow.local.into(), flow.remote.into());
        }
        means.tell_all(&Command::Forget(flows.into()));
    }
}
