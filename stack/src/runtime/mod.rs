//! Starts one pinned thread per worker, and stops them in order.
//!
//! At start: the program is attached while nothing is registered (the kernel still gets every packet), the queues are
//! opened, each thread lets its application begin, and only then do the addresses go into the program's maps. At the end:
//! the workers close their connections, the program is detached (the kernel has every packet again), and only then are
//! the sockets closed.

mod arrival;
mod cores;
mod departure;
mod kernel;
mod machine;
mod pages;
mod placement;
mod priority;
mod privileges;
mod programs;
mod steerer;
mod stop;
mod summary;
mod supervisor;
mod thread;
mod turnover;

pub use pages::Pages;
pub use placement::{Place, Placement, Why};
pub use privileges::NEEDED as NEEDED_CAPABILITIES;
pub(crate) use privileges::check as check_privileges;
pub(crate) use stop::Signals;
pub use stop::StopHandle;
pub use summary::{FrameCensus, Named, Summary, WorkerSummary};

use crate::Error;
use crate::app::App;
use crate::config::{self, Config};
use crate::control::{Control, ControlSocket, Registrar, WAITING};
use crate::device::xdp::{XdpError, queue_config};
use crate::helper::Helper;
use crate::steer::{Beside, InterfaceId, Sharing, View};
use arrival::Predecessor;
use corelane_bpf::FlowHash;
use corelane_xdp::{GiveSocket, InterfaceQueues, PortSeed, QueueConfig};
use crossbeam::channel::bounded;
use kernel::{Following, Reception};
use machine::Machine;
use programs::Programs;
pub(crate) use programs::attach_mode;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{Orders, Supervisor};
use thread::{Common, Thread, Ties};
use turnover::Turnover;

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
    control: Control,
}

/// Where [`Builder`] begins.
#[derive(Debug)]
pub struct Stack(());

impl Stack {
    /// A stack of this configuration.
    pub fn builder(config: Config) -> Builder {
        Builder { config, stop: StopHandle::new(), signals: true, control: Control::new() }
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

    /// Lets `control` steer the stack while it runs.
    #[must_use]
    pub fn control(mut self, control: &Control) -> Self {
        self.control = control.clone();
        self
    }

    /// Whether to take over from the process that has the control socket (`control.takeover`), whatever the configuration
    /// says.
    ///
    /// # Errors
    /// None that the configuration has not already.
    pub fn takeover(mut self, takeover: bool) -> Result<Self, Error> {
        self.config = self.config.into_builder().set("control.takeover", takeover).build()?;
        Ok(self)
    }

    /// Runs the stack; see [`run`].
    pub fn run<A: App>(self, make_app: impl Fn(usize) -> A + Sync) -> Result<Summary, Error> {
        let Self { config, stop, signals, control } = self;
        let helper = Helper::meet(&config)?;
        let mut besides = Beside::settle_all_through(&config, helper.clone())?;
        let machine = Machine::query(&config, &besides)?;
        let placement = Placement::choose(&config, machine.workers)?;
        if helper.is_none() {
            privileges::check()?;
        }
        placement.log();
        let (socket, drop_which) = (config.control().socket(), config.privileges().drop());
        let serve = |replace| {
            ControlSocket::serve(socket, &control, &stop, replace, move || privileges::drop_on_worker(drop_which))
        };
        let predecessor = Predecessor::meet(&config)?;
        // Where another process has it, it keeps it until this one has taken over.
        let mut _socket = if predecessor.is_none() { serve(false)? } else { None };
        let cores = placement.numbers();
        let _signals = if signals { Some(Signals::stop(&stop)?) } else { None };
        let hash = FlowHash::new(rand::random());
        let (steering, predecessor) =
            Programs::attach(&config, &machine, &besides, &hash, helper.as_ref(), predecessor)?;
        if let Some((predecessor, beside)) = predecessor.as_ref().zip(besides.first_mut()) {
            // There is no way back: better ports that stay reserved than no server.
            if let Err(error) = beside.adopt_reserved(&predecessor.offer.reserved) {
                tracing::warn!(%error, "ports that the process before this one has reserved stay reserved");
            }
            _socket = serve(true)?;
        }
        let (seeds, pages) = open(&config, &machine, &steering, helper.as_deref())?;
        let (report, reports) = bounded(WAITING);
        let inherited = predecessor.map(|predecessor| predecessor.watch(report.clone())).transpose();
        let inherited = inherited.map_err(|error| Error::System { what: "starting a thread", error })?;
        let reserved = besides.first().map(Beside::reserved).unwrap_or_default();
        let turnover = Turnover::new(&config, &stop, report.clone(), reserved, inherited);
        let common = Common::new(&config, &machine, &stop, pages, &besides);
        let registry = steering.registry();
        let table = Arc::new(steering.table());
        std::thread::scope(|scope| {
            let reception = Reception::new(&besides);
            let shared = |(_, beside): &(InterfaceId, &Beside)| beside.identity().sharing == Sharing::Shared;
            let askers = ids().zip(&besides).filter(shared).map(|(on, beside)| (on, beside.mirror().asker()));
            let askers: Vec<_> = askers.collect();
            let follow = |(on, beside)| Following::start(scope, on, beside, report.clone(), config.privileges().drop());
            let following = ids().zip(besides).map(follow).collect::<Result<Vec<_>, _>>()?;
            let mut supervisor =
                Supervisor::new(steering, &hash, reports, control.open_desk(), reception, following, turnover);
            let ties = Ties::join(seeds.iter().map(PortSeed::waker));
            for (worker, ((seed, &core), ties)) in seeds.into_iter().zip(&cores).zip(ties).enumerate() {
                let (sender, orders) = bounded(WAITING);
                let queue = seed.queue();
                // Fewer than 2^32 workers.
                let view = View::new(worker as u32, hash.clone(), Arc::clone(&table));
                let waker = seed.waker();
                let registrar = Registrar::new(registry.clone(), report.clone(), askers.clone());
                let (report, registry) = (report.clone(), registry.clone());
                let thread = Thread { worker, core, queue, seed, view, registry, ties, registrar, report, orders };
                let (common, make_app) = (&common, &make_app);
                let handle = std::thread::Builder::new()
                    .name(format!("corelane-{worker}"))
                    .spawn_scoped(scope, move || thread.run(common, make_app));
                supervisor.add(core, Orders { sender, waker }, handle);
            }
            // They have their own; what is left here would keep the channel and the program's maps open.
            drop((report, registry));
            supervisor.run().map(|summary| Summary { placement, ..summary })
        })
    }
}

/// The interfaces' numbers, in the order of the configuration.
fn ids() -> impl Iterator<Item = InterfaceId> {
    (0..=u8::MAX).map(InterfaceId)
}

/// Opens the queues, and puts the sockets where the programs look for them. Nothing is registered yet, so that nothing
/// comes.
fn open(
    config: &Config,
    machine: &Machine,
    programs: &Programs,
    helper: Option<&Helper>,
) -> Result<(Vec<PortSeed>, Pages), Error> {
    let memory = config.memory();
    let interfaces = config.interfaces().zip(&machine.nics).map(|(settings, nic)| InterfaceQueues {
        config: QueueConfig { interface: nic.interface.name.clone(), ..queue_config(settings, memory, 0) },
        queues: nic.queues.clone(),
        sockets: match settings.sockets_per_queue() {
            config::SocketsPerQueue::All => corelane_xdp::SocketsPerQueue::All,
            config::SocketsPerQueue::One => corelane_xdp::SocketsPerQueue::One,
        },
    });
    let mut interfaces: Vec<_> = interfaces.collect();
    let queues = machine.nics.iter().map(|nic| nic.queues.len() as u64).sum::<u64>();
    let bytes = u64::from(memory.frame_count()) * u64::from(memory.frame_size()) * queues;
    if config.control().takeover() {
        // There is no way back for the process before this one.
        interfaces.iter_mut().for_each(|each| each.config.busy_timeout = BUSY_AT_TAKEOVER);
    }
    let (seeds, pages) = pages::open_with(memory.huge_pages(), bytes, |huge_pages| {
        interfaces.iter_mut().for_each(|each| each.config.huge_pages = huge_pages);
        let mut give = helper.map(|helper| || helper.socket());
        let give = give.as_mut().map(|give| give as GiveSocket<'_>);
        corelane_xdp::open_all_with(&interfaces, machine.workers, give).map_err(XdpError::from)
    })?;
    programs.register(&seeds)?;
    Ok((seeds, pages))
}

/// How long a queue may stay busy after the process before this one has let it go.
const BUSY_AT_TAKEOVER: Duration = Duration::from_secs(5);

/// From the operating system's source, through the crate's generator for secrets.
//= spec/rfc6528.txt#section-4
//# If random numbers are used as the sole source of the secret, they MUST be chosen in accordance with the
//# recommendations given in [RFC4086].
fn new_secret() -> [u8; 32] {
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc6528.txt#section-4
    //= type=test
    //# If random numbers are used as the sole source of the secret, they MUST be chosen in accordance with the
    //# recommendations given in [RFC4086].
    #[test]
    fn each_secret_is_new_and_each_of_its_bits_is_open() {
        let secrets: Vec<[u8; 32]> = (0..1024).map(|_| new_secret()).collect();
        for bit in 0..256 {
            let ones = secrets.iter().filter(|secret| secret[bit / 8] >> (bit % 8) & 1 == 1).count();
            // 512 and six standard deviations of 16.
            assert!((416..=608).contains(&ones), "bit {bit} is set in {ones} of 1024");
        }
        let different: std::collections::BTreeSet<_> = secrets.iter().collect();
        assert_eq!(different.len(), 1024);
    }
}
