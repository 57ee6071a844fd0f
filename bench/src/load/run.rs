//! One run: from options to what its sets counted and recorded.

use super::collect::{Caption, Collected, collect};
use super::counts::Counts;
use super::environment::{Environment, Noise};
use super::options::{LONGEST, Options, Pace, SetOptions};
use super::rate::Rate;
use super::usage::{CoreTicks, Usage};
use super::{CoreOutcome, Setup};
use crate::cores;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::transport::{ErrorKind, TransportKind, corelane, kernel};
use std::time::{Duration, SystemTime};

/// How long the machine's noise is looked at before a run.
const NOISE: Duration = Duration::from_millis(50);

/// What carries the load.
pub(super) enum Carrier {
    Kernel(kernel::Engine),
    Corelane(Box<corelane::StackConfig>),
}

impl Carrier {
    pub(super) const fn kind(&self) -> TransportKind {
        match self {
            Self::Kernel(kernel::Engine::Epoll) => TransportKind::Kernel,
            Self::Kernel(kernel::Engine::Uring) => TransportKind::KernelUring,
            Self::Corelane(_) => TransportKind::Corelane,
        }
    }

    pub(super) fn congestion_control(&self) -> String {
        match self {
            Self::Kernel(_) => kernel::congestion_control(),
            Self::Corelane(stack) => stack.config.tcp().congestion().to_string(),
        }
    }

    /// Where a load over it runs, without the noise, which is measured with each run.
    pub(super) fn environment(&self, set: &SetOptions, halting_allowed: bool) -> Environment {
        let (interface, mode) = match self {
            Self::Kernel(_) => (None, None),
            Self::Corelane(stack) => {
                let interface = stack.config.interface();
                (Some(interface.name()), Some(interface.mode().to_string()))
            }
        };
        Environment::read(interface, mode, set.target, halting_allowed)
    }
}

/// What one set of a run brought.
pub(super) struct SetOutcome {
    pub(super) counts: Counts,
    pub(super) collected: Collected,
}

/// What a run brought.
pub(super) struct Outcome {
    pub(super) begin: SystemTime,
    /// One for each set, in their order.
    pub(super) sets: Vec<SetOutcome>,
    pub(super) usage: Usage,
    pub(super) ticks: CoreTicks,
    pub(super) noise: Noise,
}

/// Runs, and fails if nobody answered the first connections.
pub(super) fn execute(carrier: &Carrier, options: &Options, what: &str, stop: &Stop) -> Result<Outcome, Failure> {
    let noise = noise(options);
    let begin = SystemTime::now();
    let ticks = CoreTicks::of(&options.cores);
    let (setup, channels) = Setup::new(options.clone());
    let (outcomes, collected) = std::thread::scope(|scope| {
        let run = scope.spawn(|| match carrier {
            Carrier::Kernel(engine) => kernel::run_load(&setup, *engine, stop),
            Carrier::Corelane(stack) => corelane::run_load(stack, &setup),
        });
        let collected = collect(&channels, options.sets.len(), &caption(options, what), || run.is_finished());
        (run.join(), collected)
    });
    let outcomes = outcomes.map_err(|_| Failure::Machine("the load panicked".to_owned()))??;
    if setup.gate().connected() == 0 && !stop.is_raised() {
        return Err(nobody_there(carrier.kind(), &options.sets, setup.gate().first_error()));
    }
    let ticks = CoreTicks::of(&options.cores).since(ticks);
    let mut usage = Usage::default();
    outcomes.iter().for_each(|outcome| usage += outcome.usage);
    let sets = collected.into_iter().enumerate().map(|(at, collected)| set_outcome(&outcomes, at, collected)).collect();
    Ok(Outcome { begin, sets, usage, ticks, noise })
}

fn set_outcome(outcomes: &[CoreOutcome], at: usize, collected: Collected) -> SetOutcome {
    let mut counts = Counts::default();
    for core in outcomes.iter().filter_map(|outcome| outcome.counts.get(at)) {
        counts.add(core);
    }
    SetOutcome { counts, collected }
}

/// Looks at the first core of the load, on a thread that is pinned there as the load's own will be.
fn noise(options: &Options) -> Noise {
    let Some(core) = options.cores.first().copied() else { return Noise::default() };
    std::thread::spawn(move || cores::pin(core).map_or_else(|_| Noise::default(), |()| Noise::measure(NOISE)))
        .join()
        .unwrap_or_default()
}

fn caption(options: &Options, what: &str) -> Caption {
    let offered = |set: &SetOptions| match &set.pace {
        Pace::Rate(Rate::Constant(rate), _) => Some(*rate),
        Pace::Closed | Pace::Rate(..) | Pace::Trace(_) => None,
    };
    Caption {
        what: what.to_owned(),
        seconds: (options.duration < LONGEST).then_some(options.duration.as_secs_f64()),
        offered: options.sets.iter().map(offered).sum(),
    }
}

fn nobody_there(transport: TransportKind, sets: &[SetOptions], error: Option<ErrorKind>) -> Failure {
    let target = sets.first().map_or_else(String::new, |set| set.target.to_string());
    let ip = sets.first().map_or_else(String::new, |set| set.target.ip().to_string());
    Failure::Machine(match error {
        Some(ErrorKind::Refused) => format!("nothing listens on {target}; start the server first"),
        Some(ErrorKind::Exhausted) => {
            format!("no connection to {target} could be opened: local ports, descriptors or memory ran out")
        }
        Some(ErrorKind::Unreachable) => match transport {
            TransportKind::Kernel | TransportKind::KernelUring => {
                format!("{target} cannot be reached from here; `ip route get {ip}` shows the way")
            }
            TransportKind::Corelane | TransportKind::Raw => {
                format!("{target} cannot be reached over the interface: it does not answer ARP, or needs a --gateway")
            }
        },
        Some(kind) => format!("no connection to {target} could be opened ({})", kind.name()),
        None => format!("no connection to {target} was opened"),
    })
}
