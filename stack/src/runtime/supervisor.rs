//! The main thread while the workers run: it holds the program, and keeps the order of start and stop.

use super::kernel::{Following, Reception};
use super::placement::Placement;
use super::programs::Programs;
use super::steerer::{Means, Steerer};
use super::summary::{Summary, WorkerSummary};
use super::turnover::Turnover;
use super::{StopHandle, privileges};
use crate::Error;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Command, Desk, Report};
use crate::steer::mirror::Change;
use crate::steer::{InterfaceId, Sites};
use corelane_bpf::FlowHash;
use corelane_proto::SocketAddr;
use corelane_xdp::Waker;
use crossbeam::channel::{Receiver, Sender, never, select};
use rustix::thread::CapabilitySet;
use std::any::Any;
use std::io;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

type Outcome = Result<WorkerSummary, Error>;

/// How long SYN cookies and the like are made with one secret. What was made with the one before is taken as well, so
/// this has to be longer than a handshake; the shorter, the less a secret that is guessed is worth.
const SECRET_FOR: Duration = Duration::from_secs(3600);

/// The main thread looks up at least so often.
const LOOK_UP: Duration = Duration::from_secs(1);

/// One worker's thread, from outside.
pub(super) struct Supervised<'scope> {
    core: usize,
    orders: Orders,
    handle: ScopedJoinHandle<'scope, Outcome>,
    ready: bool,
    /// Where its application listened when it was ready.
    listens: Vec<SocketAddr>,
    ended: bool,
    quiet: bool,
}

/// The way to one worker.
#[derive(Clone)]
pub(super) struct Orders {
    pub(super) sender: Sender<Command>,
    pub(super) waker: Waker,
}

impl Orders {
    /// Tells the worker, and wakes it if it sleeps.
    pub(super) fn send(&self, command: Command) {
        // One that has ended cannot be told, and need not be.
        let _ = self.sender.send(command);
        self.waker.wake();
    }
}

impl Supervised<'_> {
    pub(super) const fn core(&self) -> usize {
        self.core
    }

    pub(super) const fn is_running(&self) -> bool {
        !self.ended
    }

    /// Another way to it.
    pub(super) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    pub(super) fn tell(&self, command: Command) {
        self.orders.send(command);
    }
}

/// Everything that the main thread keeps while the workers run.
pub(super) struct Supervisor<'scope, 'env> {
    config: &'env Config,
    stop: &'env StopHandle,
    steering: Programs,
    reports: Receiver<Report>,
    desk: Desk,
    steerer: Steerer,
    reception: Reception,
    following: Vec<Following<'scope>>,
    turnover: Turnover<'env>,
    workers: Vec<Supervised<'scope>>,
    error: Option<Error>,
}

impl<'scope, 'env> Supervisor<'scope, 'env> {
    pub(super) fn new(
        steering: Programs,
        hash: &FlowHash,
        reports: Receiver<Report>,
        desk: Desk,
        reception: Reception,
        following: Vec<Following<'scope>>,
        turnover: Turnover<'env>,
    ) -> Self {
        let (config, stop) = (turnover.config, turnover.stop);
        let steerer = Steerer::new(&steering, hash, config.steering());
        let workers = Vec::new();
        Self { config, stop, steering, reports, desk, steerer, reception, following, turnover, workers, error: None }
    }

    /// Takes over a thread that was just started, or was not.
    pub(super) fn add(&mut self, core: usize, orders: Orders, handle: io::Result<ScopedJoinHandle<'scope, Outcome>>) {
        match handle {
            Ok(handle) => {
                let worker =
                    Supervised { core, orders, handle, ready: false, listens: Vec::new(), ended: false, quiet: false };
                self.workers.push(worker);
            }
            Err(error) => self.fail(Error::System { what: "starting a thread", error }),
        }
    }

    /// Notes the first error and has every worker stop.
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.stop.stop();
    }

    /// Runs the workers from their start to their end.
    pub(super) fn run(mut self) -> Result<Summary, Error> {
        while self.workers.iter().any(|worker| !worker.ended && !worker.ready) {
            self.take_report();
        }
        if !self.stop.is_stopped()
            && let Err(error) = self.reception.open(&self.steering)
        {
            self.fail(error.into());
        }
        // What is still to be done, reading maps and closing, needs none: see `privileges`.
        if let Err(error) = privileges::drop_on_main(self.config.privileges().drop(), CapabilitySet::empty()) {
            self.fail(error);
        }
        let clock = Clock::new();
        let listens: Vec<_> = self.workers.iter_mut().map(|worker| std::mem::take(&mut worker.listens)).collect();
        self.order(&Command::Go(Arc::new(Sites::new(&listens))));
        if !self.stop.is_stopped() {
            self.turnover.settle(&self.steering, &self.reception, &self.workers);
        }
        self.steer(&clock);
        while self.workers.iter().any(|worker| !worker.ended && !worker.quiet) {
            self.take_report();
        }
        self.finish(&clock)
    }

    /// Serves whoever steers, until the stack stops.
    fn steer(&mut self, clock: &Clock) {
        let mut new_secret_at = clock.now() + SECRET_FOR;
        while !self.stop.is_stopped() && self.workers.iter().any(|worker| !worker.ended && !worker.quiet) {
            let now = clock.now();
            if now >= new_secret_at {
                self.order(&Command::Secret(super::new_secret()));
                new_secret_at = now + SECRET_FOR;
            }
            let Self { steerer, workers, steering, .. } = self;
            steerer.on_time(now, Means { workers, steering });
            self.turnover.on_time(now);
            let deadlines =
                [Some(new_secret_at), self.steerer.poll_deadline(), self.turnover.poll_deadline(), Some(now + LOOK_UP)];
            let next = deadlines.into_iter().flatten().min().unwrap_or(now);
            self.take(next.saturating_since(now), clock);
        }
    }

    /// Waits for a report or a request.
    fn take(&mut self, longest: Duration, clock: &Clock) {
        let nobody = never();
        // One thing after the other: a request waits until the one before is answered.
        let desk = if self.steerer.is_busy() { nobody } else { self.desk.requests.clone() };
        select! {
            recv(self.reports) -> report => match report {
                Ok(report) if report.is_of_another_process() => {
                    self.turnover.on_report(report, &mut self.steering, &self.workers, clock.now());
                }
                Ok(report) => self.on_report(report),
                Err(_) => self.all_have_ended(),
            },
            recv(desk) -> request => if let Ok(request) = request {
                let Self { steerer, workers, steering, .. } = self;
                steerer.on_request(request, Means { workers, steering });
            },
            recv(self.desk.successors) -> successor => if let Ok(stream) = successor {
                self.turnover.on_successor(stream, &self.steering, &self.reception, &self.workers);
            },
            default(longest) => {}
        }
    }

    fn take_report(&mut self) {
        match self.reports.recv() {
            Ok(report) => self.on_report(report),
            Err(_) => self.all_have_ended(),
        }
    }

    /// Nobody is there to report any more; each worker says so before it ends.
    fn all_have_ended(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.ended = true);
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Kernel { on, changes } => return self.on_changes(on, changes),
            Report::Listen { local, answer } => {
                // Who has asked is waiting, or has gone.
                let _ = answer.send(self.reception.listen(&self.steering, local));
                return;
            }
            Report::Unlisten { local } => return self.reception.unlisten(&self.steering, local),
            _ => {}
        }
        if report.is_of_another_process() {
            return self.turnover.on_early_report(&report);
        }
        let Self { steerer, workers, steering, stop, .. } = self;
        match &report {
            Report::Ready { worker, listens } => {
                workers[*worker].ready = true;
                workers[*worker].listens.clone_from(listens);
            }
            Report::Quiet { worker } => workers[*worker].quiet = true,
            Report::Ended { worker, well } => {
                workers[*worker].ended = true;
                if !well {
                    stop.stop();
                }
            }
            _ => {}
        }
        let means = Means { workers, steering };
        match report {
            Report::Quiet { worker } | Report::Ended { worker, .. } => steerer.on_gone(worker, means),
            Report::Yielded { worker, flows, waits } => steerer.on_yielded(worker, flows, waits, means),
            Report::Arrived { worker, flows } => steerer.on_arrived(worker, &flows, means),
            Report::Tried { worker } => steerer.on_tried(worker, means),
            Report::Over { flows } => steerer.on_over(flows, means),
            Report::Measured { worker, load } => steerer.on_measured(worker, load, means),
            // What was done above.
            Report::Ready { .. }
            | Report::Kernel { .. }
            | Report::Listen { .. }
            | Report::Unlisten { .. }
            | Report::Drained { .. }
            | Report::HandedOver
            | Report::NotHandedOver { .. }
            | Report::SuccessorGone
            | Report::PredecessorGone => {}
        }
    }

    /// What the kernel has changed goes into the program first, and then to the workers.
    fn on_changes(&mut self, on: InterfaceId, changes: Vec<Change>) {
        for change in &changes {
            if let Err(error) = self.reception.on_change(&self.steering, on, change) {
                tracing::warn!(%error, "listeners on a new address get no connections");
            }
            if *change == Change::LinkGone {
                let named = self.config.interfaces().nth(on.0.into());
                let device = named.map_or_else(String::new, |interface| interface.name().to_owned());
                let error = io::Error::new(io::ErrorKind::NotFound, "the interface has been taken away");
                self.fail(Error::Device { device, error });
            }
        }
        self.order(&Command::Kernel(on, changes.into()));
    }

    fn order(&self, command: &Command) {
        self.workers.iter().for_each(|worker| worker.tell(command.clone()));
    }

    fn finish(self, running: &Clock) -> Result<Summary, Error> {
        let counted = self.steering.counted();
        let duration_s = Duration::from_nanos(running.now().as_nanos()).as_secs_f64();
        let Self { config, workers, mut error, steering: program, steerer, following, reports, turnover, .. } = self;
        let mut summaries = Vec::new();
        // Its handles to the program's maps, and the program, go before the sockets: from now on the kernel has every packet
        // again.
        drop((steerer, program));
        // Nobody hears reports any more, and nobody waits for room to tell one.
        drop(reports);
        let handed_over = turnover.has_handed_over();
        turnover.finish();
        following.into_iter().for_each(|each| each.finish(handed_over));
        workers.iter().for_each(|worker| worker.tell(Command::Close));
        for (number, Supervised { handle, orders, .. }) in workers.into_iter().enumerate() {
            drop(orders);
            match handle.join() {
                Ok(Ok(summary)) => summaries.push(summary),
                Ok(Err(failed)) => drop(error.get_or_insert(failed)),
                Err(panic) => drop(error.get_or_insert(Error::Panicked { worker: number, message: message(&*panic) })),
            }
        }
        let names = config.interfaces().map(|interface| interface.name().to_owned());
        let summary = || Summary::of(names.zip(counted).collect(), duration_s, Placement::default(), summaries);
        error.map_or_else(|| Ok(summary()), Err)
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message").to_owned()
}
