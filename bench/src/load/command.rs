//! The command itself: from arguments to files, a table and an exit code.

use super::collect::{Collected, collect};
use super::session::Counts;
use super::{CoreOutcome, Options, Setup};
use crate::cli::LoadArgs;
use crate::cores::CoreList;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report::result::{LoadResult, Percentiles};
use crate::report::{self, Loaded, units};
use crate::serve::check_stack;
use crate::stop::Stop;
use crate::transport::{ErrorKind, TransportKind, corelane, kernel, raw};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Runs the command.
pub fn run(args: &LoadArgs) -> Result<(), Failure> {
    check(args)?;
    if args.transport == TransportKind::Raw {
        return raw::run_load(args);
    }
    if let Some(cores) = &args.cores {
        cores.check_online()?;
    }
    let default = CoreList::last_allowed();
    let stack = match args.transport {
        TransportKind::Kernel | TransportKind::Raw => None,
        TransportKind::Corelane => Some(corelane::StackConfig::new(&args.stack, args.cores.as_ref(), &default)?),
    };
    let cores = stack
        .as_ref()
        .map_or_else(|| args.cores.as_ref().unwrap_or(&default).as_slice().to_vec(), |stack| stack.cores.clone());
    let options = options(args, &cores)?;
    // What cannot be written is better known before the measurement than after it.
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::Machine(format!("--out {}: {error}", args.out.display())))?;
    let held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let stop = Stop::on_signals()?;
    let begin = SystemTime::now();
    let seconds = (args.warmup + args.duration).as_secs_f64();
    let (setup, channels) = Setup::new(options);
    let (outcomes, collected) = std::thread::scope(|scope| {
        let run = scope.spawn(|| match &stack {
            None => kernel::run_load(&setup, &stop),
            Some(stack) => corelane::run_load(stack, &setup),
        });
        let collected = collect(&channels, seconds, || run.is_finished());
        (run.join(), collected)
    });
    drop(held);
    let outcomes = outcomes.map_err(|_| Failure::Machine("the load panicked".to_owned()))??;
    if setup.gate().connected() == 0 && !stop.is_raised() {
        return Err(nobody_there(args, setup.gate().first_error()));
    }
    let spin = stack.as_ref().map_or(args.spin, corelane::StackConfig::spins);
    let result = LoadResult { spin, ..result(args, &cores, &outcomes, &collected, begin) };
    let hlog = report::hlog::write(begin, &collected.seconds)
        .map_err(|error| Failure::Machine(format!("latency.hlog cannot be made: {error}")))?;
    let name = args.out.display().to_string();
    let loaded = Loaded { name, result, histograms: collected.total, seconds: collected.seconds };
    report::save(&args.out, &loaded, &hlog)?;
    report::print(std::slice::from_ref(&loaded), args.json)?;
    judge(args, &loaded.result)
}

fn check(args: &LoadArgs) -> Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    check_stack(&args.stack, args.transport, args.spin)?;
    if args.target.port() == 0 {
        return usage("--target has port 0, which is no port; choose one from 1 to 65535");
    }
    if args.target.ip().is_unspecified() || args.target.ip().is_multicast() {
        return usage("--target is not the address of one machine");
    }
    if args.rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
        return usage("--rate is not from 0.001 to 1000000000 requests a second");
    }
    if !(1..=1_000_000).contains(&args.connections) {
        return usage("--connections is not from 1 to 1000000");
    }
    if args.duration.is_zero() {
        return usage("--duration is 0: nothing would be measured");
    }
    if args.requests == Some(0) || args.requests_per_connection == Some(0) {
        return usage("--requests and --requests-per-connection begin at 1");
    }
    if args.size == Some(0) && args.workload == crate::workload::LoadKind::Echo {
        return usage("--size 0: an echo has at least one byte");
    }
    Ok(())
}

fn options(args: &LoadArgs, cores: &[usize]) -> Result<Options, Failure> {
    let count = cores.len();
    if args.connections < count {
        return Err(Failure::Usage(format!(
            "--connections {} is less than the {count} cores; give each core one, or name fewer --cores",
            args.connections
        )));
    }
    Ok(Options {
        workload: args.workload,
        target: args.target,
        local: args.stack.address.map(|prefix| prefix.ip),
        connections: args.connections,
        rate: args.rate.map(|rate| (rate, args.arrivals)),
        warmup: args.warmup,
        duration: args.duration,
        drain: args.drain,
        request_limit: args.requests,
        requests_per_connection: args.requests_per_connection,
        size: args.size,
        seed: args.seed,
        cores: cores.to_vec(),
        spin: args.spin,
    })
}

fn nobody_there(args: &LoadArgs, error: Option<ErrorKind>) -> Failure {
    let target = args.target;
    Failure::Machine(match error {
        Some(ErrorKind::Refused) => format!("nothing listens on {target}; start the server first"),
        Some(ErrorKind::Exhausted) => {
            format!("no connection to {target} could be opened: local ports, descriptors or memory ran out")
        }
        Some(ErrorKind::Unreachable) => match args.transport {
            TransportKind::Kernel => {
                format!("{target} cannot be reached from here; `ip route get {}` shows the way", target.ip())
            }
            TransportKind::Corelane | TransportKind::Raw => {
                format!("{target} cannot be reached over the interface: it does not answer ARP, or needs a --gateway")
            }
        },
        Some(kind) => format!("no connection to {target} could be opened ({})", kind.name()),
        None => format!("no connection to {target} was opened"),
    })
}

fn result(
    args: &LoadArgs,
    cores: &[usize],
    outcomes: &[CoreOutcome],
    collected: &Collected,
    begin: SystemTime,
) -> LoadResult {
    let sum = |field: fn(&Counts) -> u64| outcomes.iter().map(|outcome| field(&outcome.counts)).sum::<u64>();
    let mut errors_by_kind: BTreeMap<String, u64> = BTreeMap::new();
    for (kind, count) in outcomes.iter().flat_map(|outcome| &outcome.counts.errors) {
        *errors_by_kind.entry(kind.name().to_owned()).or_default() += count;
    }
    let measured_ns = outcomes.iter().map(|outcome| outcome.counts.measured_ns).max().unwrap_or(0);
    let duration_s = measured_ns as f64 / 1e9;
    let in_time = sum(|counts| counts.answered_in_time) as f64;
    let (bytes_sent, bytes_received) = (sum(|counts| counts.bytes_sent), sum(|counts| counts.bytes_received));
    LoadResult {
        workload: args.workload.name().to_owned(),
        transport: args.transport.name().to_owned(),
        target: args.target.to_string(),
        connections: args.connections,
        pace: if args.rate.is_some() { "open" } else { "closed" }.to_owned(),
        arrivals: args.rate.map(|_| args.arrivals.name().to_owned()),
        offered_rate: args.rate,
        achieved_rate: if duration_s > 0.0 { in_time / duration_s } else { 0.0 },
        requests: sum(|counts| counts.answered),
        errors: errors_by_kind.values().sum(),
        errors_by_kind,
        unanswered: sum(|counts| counts.unanswered),
        unsent: sum(|counts| counts.unsent),
        reconnects: sum(|counts| counts.reconnects),
        duration_s,
        warmup_s: args.warmup.as_secs_f64(),
        bytes: bytes_sent + bytes_received,
        bytes_sent,
        bytes_received,
        size: args.size,
        seed: args.seed,
        cores: cores.to_vec(),
        cpu_s: outcomes.iter().map(|outcome| outcome.cpu_ns).sum::<u64>() as f64 / 1e9,
        cpu_dma_latency_held: args.hold_cpu_dma_latency,
        spin: args.spin,
        congestion_control: match args.transport {
            TransportKind::Kernel => kernel::congestion_control(),
            TransportKind::Corelane => corelane::CONGESTION_CONTROL.to_owned(),
            TransportKind::Raw => "none".to_owned(),
        },
        started_at_s: begin.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        latency_ns: Percentiles::of(&collected.total.latency),
        service_time_ns: Percentiles::of(&collected.total.service),
    }
}

/// Whether the run was what was asked for.
pub(crate) fn judge(args: &LoadArgs, result: &LoadResult) -> Result<(), Failure> {
    if result.requests == 0 {
        return Err(Failure::Threshold("no request was answered".to_owned()));
    }
    for threshold in &args.fail_if {
        if let Some(value) = threshold.check(result) {
            let value = if threshold.is_time() { units::time(value) } else { format!("{value:.1}") };
            return Err(Failure::Threshold(format!("--fail-if {threshold} holds: the value is {value}")));
        }
    }
    Ok(())
}
