//! Starts one pinned thread per queue, and stops them in order.
//!
//! At start: the program is attached while nothing is registered (the kernel still gets every packet), each thread
//! opens its queue and lets its application begin, and only then do the sockets and addresses go into the program's
//! maps. At the end: the workers close their connections, the program is detached (the kernel has every packet again),
//! and only then are the sockets closed.

mod cores;
mod machine;
mod stop;
mod summary;
mod supervisor;
mod thread;

pub use stop::StopHandle;
pub use summary::{FrameCensus, Named, Summary, WorkerSummary};

use crate::Error;
use crate::app::App;
use crate::config::{Config, Mode};
use crate::worker::Siblings;
use corelane_bpf::{AttachMode, FlowHash, Layout, Setup, SocketsPerQueue, Steering};
use machine::Machine;
use std::sync::mpsc::channel;
use stop::Signals;
use supervisor::Supervisor;
use thread::{Common, Thread};

/// Runs `make_app(worker)` on every worker until SIGINT or SIGTERM, or until every application has stopped its core.
///
/// It blocks the calling thread, which is not one of the workers. `make_app` is called on each worker's own thread with
/// the worker's number, so the applications need not be `Send`.
///
/// # Errors
///
/// Before the first packet: what the configuration or the machine lacks. Later: a device that stopped working, or a
/// panic in a worker, after the other workers have stopped. [`Error::exit_code`] is what a program should end with.
pub fn run<A: App>(config: &Config, make_app: impl Fn(usize) -> A + Sync) -> Result<Summary, Error> {
    Stack::builder(config.clone()).run(make_app)
}

/// A stack that is not started yet.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    stop: StopHandle,
    signals: bool,
}

/// Where [`Builder`] begins.
#[derive(Debug)]
pub struct Stack(());

impl Stack {
    /// A stack of this configuration.
    pub fn builder(config: Config) -> Builder {
        Builder { config, stop: StopHandle::new(), signals: true }
    }
}

impl Builder {
    /// Lets `handle` stop the stack, beside the signals.
    #[must_use]
    pub fn stop_handle(mut self, handle: &StopHandle) -> Self {
        self.stop = handle.clone();
        self
    }

    /// Whether SIGINT and SIGTERM stop the stack. Default: they do.
    #[must_use]
    pub const fn signals(mut self, catch: bool) -> Self {
        self.signals = catch;
        self
    }

    /// Runs the stack; see [`run`].
    pub fn run<A: App>(self, make_app: impl Fn(usize) -> A + Sync) -> Result<Summary, Error> {
        let Self { config, stop, signals } = self;
        let machine = Machine::query(&config)?;
        let queues = config.interface().queues().to_vec();
        let cores = cores::choose(config.cores(), queues.len())?;
        let _signals = if signals { Some(Signals::stop(&stop)?) } else { None };
        // One socket per queue, so nothing is chosen by the hash, and its key need not be random.
        let setup = Setup::new(layout(&queues), FlowHash::new([0; 16]));
        let steering = Steering::attach_with(machine.interface.index, attach_mode(&config), &setup)?;
        let (report, reports) = channel();
        let common = Common { config: &config, machine: &machine, stop: &stop };
        std::thread::scope(|scope| {
            let mut supervisor = Supervisor::new(&config, &stop, steering, reports);
            let siblings = Siblings::join(queues.len());
            for (worker, ((&queue, &core), siblings)) in queues.iter().zip(&cores).zip(siblings).enumerate() {
                let (order, orders) = channel();
                let thread = Thread { worker, core, queue, siblings, report: report.clone(), orders };
                let (common, make_app) = (&common, &make_app);
                let handle = std::thread::Builder::new()
                    .name(format!("corelane-{worker}"))
                    .spawn_scoped(scope, move || thread.run(common, make_app));
                supervisor.add(queue, order, handle);
            }
            // From now on the channel closes when the last worker has ended.
            drop(report);
            supervisor.run()
        })
    }
}

/// A socket for each of these queues.
fn layout(queues: &[u32]) -> Layout {
    let base_queue = queues.iter().copied().min().unwrap_or(0);
    let last = queues.iter().copied().max().unwrap_or(0);
    Layout {
        base_queue,
        queues: (last - base_queue).saturating_add(1),
        cores: 1,
        sockets_per_queue: SocketsPerQueue::One,
    }
}

/// How the program is attached for the configured mode.
const fn attach_mode(config: &Config) -> AttachMode {
    match config.interface().mode() {
        Mode::Skb => AttachMode::Generic,
        Mode::RequireZerocopy | Mode::PreferZerocopy | Mode::Copy => AttachMode::Native,
    }
}
