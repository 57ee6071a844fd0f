//! One worker's thread: from its part of the interfaces to its closing.

use super::machine::{Machine, endpoint_config};
use super::summary::WorkerSummary;
use super::{Pages, StopHandle, cores, priority, privileges};
use crate::Error;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Command, Moves, Registrar, Report};
use crate::device::{AnyDevice, Device, Impaired, XdpDevice};
use crate::steer::mirror::Change;
use crate::steer::{Beside, Shared, Sites, View};
use crate::worker::{Idle, Pause, Post, Siblings, Worker, WorkerConfig};
use corelane_bpf::FlowRegistry;
use corelane_proto::endpoint::EndpointConfig;
use corelane_xdp::{PortSeed, Waker};
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use std::sync::Arc;
use std::time::Duration;

/// How long resets and the last frames may take after that.
const FLUSH_WITHIN: Duration = Duration::from_millis(200);

/// How long a worker that is done pauses while others are not.
const SERVE_EVERY: Duration = Duration::from_millis(1);

/// What all workers share, and only read.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) machine: &'a Machine,
    pub(super) stop: &'a StopHandle,
    /// What the frames lie in.
    pub(super) pages: Pages,
    /// What every endpoint begins with.
    endpoint: EndpointConfig,
    /// What the kernel knows already, by interface.
    changes: Vec<Vec<Change>>,
    /// The longest IP packet that the frames hold, bytes, by interface.
    largest_mtus: Arc<[u16]>,
    /// The key of what peers hand back to us, until the main thread gives another one.
    pub(super) secret: [u8; 32],
}

impl<'a> Common<'a> {
    pub(super) fn new(
        config: &'a Config,
        machine: &'a Machine,
        stop: &'a StopHandle,
        pages: Pages,
        besides: &[Beside],
    ) -> Self {
        let mut endpoint = endpoint_config(config, machine);
        if let Some((first, others)) = besides.split_first() {
            first.fill(&mut endpoint);
            endpoint.others.iter_mut().zip(others).for_each(|(interface, beside)| beside.fill_other(interface));
        }
        let known = |beside: &Beside| {
            let mut changes = beside.mirror().all();
            changes.retain(|change| beside.concerns(change));
            changes
        };
        let changes = besides.iter().map(known).collect();
        let largest_mtus = besides.iter().map(Beside::largest_mtu).collect();
        let secret = super::new_secret();
        Self { config, machine, stop, pages, endpoint, changes, largest_mtus, secret }
    }
}

/// One worker's thread.
pub(super) struct Thread {
    pub(super) worker: usize,
    pub(super) core: usize,
    /// The queue that it sends on.
    pub(super) queue: u32,
    pub(super) seed: PortSeed,
    pub(super) view: View,
    /// The way to the pins of the program.
    pub(super) registry: FlowRegistry,
    pub(super) ties: Ties,
    pub(super) registrar: Registrar,
    pub(super) report: Sender<Report>,
    pub(super) orders: Receiver<Command>,
}

/// What a worker has in common with the others.
pub(super) struct Ties {
    siblings: Siblings,
    moves: Moves,
    /// The clock of all, for what goes from one to another.
    clock: Clock,
}

impl Ties {
    /// Those of workers that `wakers` wake, in their order.
    pub(super) fn join(wakers: impl Iterator<Item = Waker>) -> Vec<Self> {
        let moves = Moves::join(wakers.map(Some));
        let (siblings, clock) = (Siblings::join(moves.len()), Clock::new());
        let tie = |(siblings, moves)| Self { siblings, moves, clock: clock.sibling() };
        siblings.into_iter().zip(moves).map(tie).collect()
    }
}

/// Says that the thread ends, also when it panics.
struct Farewell<'a> {
    worker: usize,
    report: &'a Sender<Report>,
    well: bool,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        // Without a main thread there is nobody to tell.
        let _ = self.report.send(Report::Ended { worker: self.worker, well: self.well });
    }
}

impl Thread {
    /// Everything that the thread does.
    pub(super) fn run<A: App>(
        self,
        common: &Common<'_>,
        make_app: &impl Fn(usize) -> A,
    ) -> Result<WorkerSummary, Error> {
        let Self { worker, core, queue, seed, view, registry, ties, registrar, report, orders } = self;
        let Ties { siblings, moves, clock } = ties;
        let mut farewell = Farewell { worker, report: &report, well: false };
        if common.config.cores().pin() {
            cores::pin(core)?;
        }
        priority::apply(common.config.cores().priority())?;
        let device = settle(common, seed, worker);
        tracing::info!(worker, core, queue, mode = device.info().mode, pages = %common.pages, "a worker is ready");
        let app = make_app(worker);
        let view = Shared::new(view);
        let post = Post::new(worker, Arc::clone(&common.largest_mtus), view.clone(), orders.clone(), report.clone())
            .with_registry(registry);
        let mut running = Worker::new(app, device, worker_config(common), clock.now()).with_siblings(siblings);
        // One alone shares with nobody, and has nothing to ask.
        running = running.with_post(post, common.machine.workers > 1);
        running = running.with_registrar(registrar);
        if common.machine.workers > 1 {
            running = running.with_moves(moves);
        }
        for ((on, changes), mtu) in super::ids().zip(&common.changes).zip(common.largest_mtus.iter()) {
            running.follow(on, changes, *mtu);
        }
        running.start(clock.now())?;
        privileges::drop_on_worker(common.config.privileges().drop())?;
        let tell = |report_now| report.send(report_now).is_ok();
        let ready = Report::Ready { worker, listens: running.listens() };
        if tell(ready)
            && let Some(sites) = wait_for_go(&orders)
        {
            view.with(|view| view.go_by(sites));
            turn_until_stopped(&mut running, &clock, common)?;
        }
        let close_within = Duration::from_millis(common.config.control().close_ms().into());
        close_connections(&mut running, &clock, close_within)?;
        if tell(Report::Quiet { worker }) {
            serve_until_closed(&mut running, &clock, &orders)?;
        }
        running.discard_received(clock.now());
        farewell.well = true;
        Ok(WorkerSummary::of(&running, worker, core, queue, common.pages))
    }
}

/// Others may still send through this worker's sockets, so it goes on turning until all are quiet and the program is
/// detached.
fn serve_until_closed<A: App, D: Device>(
    worker: &mut Worker<A, D>,
    clock: &Clock,
    orders: &Receiver<Command>,
) -> Result<(), Error> {
    loop {
        match orders.try_recv() {
            // Without a main thread the program has gone too.
            Ok(Command::Close) | Err(TryRecvError::Disconnected) => return Ok(()),
            Ok(_) => {}
            Err(TryRecvError::Empty) => {
                worker.turn(clock.now())?;
                // Not for a frame: nothing that comes now is wanted, and it is no sleep that counts.
                std::thread::sleep(SERVE_EVERY);
            }
        }
    }
}

/// Waits until packets come, past orders that are too early; none when there is no main thread any more.
fn wait_for_go(orders: &Receiver<Command>) -> Option<Arc<Sites>> {
    orders.iter().find_map(|order| if let Command::Go(sites) = order { Some(sites) } else { None })
}

/// The worker's device, behind the impairments that are configured, if any.
fn settle(common: &Common<'_>, seed: PortSeed, worker: usize) -> AnyDevice {
    let config = common.config;
    let found: Vec<_> = common.machine.nics.iter().map(|nic| &nic.interface).collect();
    let device = AnyDevice::from(XdpDevice::new(seed.into_port(), &found));
    if !config.impair_rx().is_active() && !config.impair_tx().is_active() {
        return device;
    }
    // Each worker its own sequence of accidents.
    let seed = config.impair().seed().wrapping_add(worker as u64);
    Impaired::new(device, config.impair_rx().into(), config.impair_tx().into(), seed).into()
}

fn worker_config(common: &Common<'_>) -> WorkerConfig {
    WorkerConfig {
        endpoint: common.endpoint.clone(),
        tcp: common.config.tcp().to_proto(),
        events_per_turn: common.config.limits().events_per_turn() as usize,
        secret: common.secret,
    }
}

/// The worker's life: one clock reading a turn.
fn turn_until_stopped<A: App, D: Device>(
    worker: &mut Worker<A, D>,
    clock: &Clock,
    common: &Common<'_>,
) -> Result<(), Error> {
    let mut idle = Idle::new(common.config.waiting());
    while !common.stop.is_stopped() && !worker.wants_to_stop() {
        let now = clock.now();
        let busy = worker.turn(now)?;
        match idle.after_turn(now, busy, || worker.deadline()) {
            Pause::Turn if busy => {}
            Pause::Turn => std::hint::spin_loop(),
            Pause::Sleep(longest) => {
                if worker.wait(longest)? {
                    idle.woken();
                }
            }
        }
    }
    Ok(())
}

/// Closes every connection, resets those that take too long, and waits until all of it has been sent.
fn close_connections<A: App, D: Device>(
    worker: &mut Worker<A, D>,
    clock: &Clock,
    within: Duration,
) -> Result<(), Error> {
    let began = clock.now();
    worker.stop(began);
    let mut now = began;
    while !worker.is_done() && now < began + within {
        worker.turn(now)?;
        now = clock.now();
    }
    worker.abort();
    let flushing = now;
    // At least one turn: it sends the resets.
    loop {
        worker.turn(now)?;
        now = clock.now();
        if (worker.is_done() && worker.in_flight() == 0) || now >= flushing + FLUSH_WITHIN {
            return Ok(());
        }
    }
}
