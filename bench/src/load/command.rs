//! The command itself: from arguments to files, a table and an exit code.

use super::arguments::{self, SetSpec, usage};
use super::collect::Collected;
use super::counts::Counts;
use super::details::{CurvePoint, Details, Resources};
use super::environment::Noise;
use super::options::{Options, Pace, SetOptions};
use super::rate::Rate;
use super::run::{Carrier, Outcome, execute};
use super::scenario::{self, Phase};
use super::search::Search;
use super::selfcheck::Check;
use super::show;
use super::usage::{CoreTicks, Usage};
use crate::cli::LoadArgs;
use crate::cores::CoreList;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report::result::{LoadResult, Percentiles};
use crate::report::threshold::Threshold;
use crate::report::{self, Loaded, units};
use crate::serve::check_stack;
use crate::stop::Stop;
use crate::transport::{TransportKind, corelane, kernel, raw};
use std::path::Path;
use std::time::SystemTime;

/// A rate that is this near the border is near enough.
const SEARCH_PRECISION: f64 = 0.03;
/// An objective is kept only if so much of what was due was answered in time.
const SEARCH_SHARE: f64 = 0.99;

/// Runs the command.
pub fn run(args: &LoadArgs) -> Result<(), Failure> {
    if args.transport == TransportKind::Raw {
        return raw::run_load(args);
    }
    check_stack(&args.stack, args.transport, args.spin)?;
    let phases = phases(args)?;
    if let Some(cores) = &args.cores {
        cores.check_online()?;
    }
    let bench = Bench::new(args)?;
    // What does not fit is better known before the first run than after it.
    phases.iter().try_for_each(|phase| bench.check_cores(phase))?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::Machine(format!("--out {}: {error}", args.out.display())))?;
    let held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let measured = match &phases[..] {
        [phase] if !args.slo.is_empty() => vec![bench.search(phase)?],
        [phase] if args.scenario.is_none() => vec![bench.steps(phase)?],
        phases => bench.scenario(phases)?,
    };
    drop(held);
    let mut loads = Vec::new();
    for Measured { dir, result, collected, begin } in measured {
        std::fs::create_dir_all(&dir).map_err(|error| Failure::Machine(format!("{}: {error}", dir.display())))?;
        let hlog = report::hlog::write(begin, &collected.seconds)
            .map_err(|error| Failure::Machine(format!("latency.hlog cannot be made: {error}")))?;
        let name = dir.display().to_string();
        let loaded = Loaded { name, result, histograms: collected.total, seconds: collected.seconds };
        report::save(&dir, &loaded, &hlog)?;
        loads.push(loaded);
    }
    if args.json {
        report::print(&loads, true)?;
    } else {
        // Each by itself: a ratio of one set to another means nothing.
        loads.iter().try_for_each(show::print)?;
    }
    loads.iter().try_for_each(|loaded| judge(args, &loaded.result))
}

/// What is to be run, one after the other.
fn phases(args: &LoadArgs) -> Result<Vec<Phase>, Failure> {
    if let Some(path) = &args.scenario {
        return scenario::load(path, args.target);
    }
    let Some(mut spec) = SetSpec::of(args) else { return usage("--workload and --connections are missing") };
    if let Some(step) = args.step {
        let Some(Rate::Ramp(from, to)) = spec.rate else { return usage("--step needs a ramp: --rate FROM..TO") };
        spec.rate = Some(Rate::staircase(from, to, step).map_err(|text| Failure::Usage(format!("--step: {text}")))?);
    }
    if !args.slo.is_empty() && !matches!(spec.rate, Some(Rate::Ramp(from, to)) if from <= to) {
        return usage("--slo searches a range of rates from the lowest to the highest: --rate LOW..HIGH");
    }
    let sets = vec![spec.options(None)?];
    let duration = arguments::duration(args.duration, &sets)?;
    Ok(vec![Phase { name: String::new(), sets, warmup: args.warmup, duration, drain: args.drain }])
}

/// What all runs of the command have in common.
struct Bench<'a> {
    args: &'a LoadArgs,
    carrier: Carrier,
    cores: Vec<usize>,
    stop: Stop,
}

/// One result with what is behind it, and where it goes.
struct Measured {
    dir: std::path::PathBuf,
    result: LoadResult,
    collected: Collected,
    begin: SystemTime,
}

/// What one set brought, over one run or several.
#[derive(Default)]
struct Sum {
    counts: Counts,
    collected: Collected,
    duration_s: f64,
    usage: Usage,
    ticks: CoreTicks,
    noise: Noise,
    begin: Option<SystemTime>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome, set: usize) {
        let part = &outcome.sets[set];
        self.collected.append(&part.collected, self.duration_s.ceil() as u64);
        self.counts.add(&part.counts);
        self.duration_s += part.counts.measured_ns as f64 / 1e9;
        self.usage += outcome.usage;
        self.ticks.softirq += outcome.ticks.softirq;
        self.ticks.steal += outcome.ticks.steal;
        self.ticks.total += outcome.ticks.total;
        if outcome.noise.longest_ns > self.noise.longest_ns {
            self.noise = outcome.noise;
        }
        self.begin.get_or_insert(outcome.begin);
    }
}

impl<'a> Bench<'a> {
    fn new(args: &'a LoadArgs) -> Result<Self, Failure> {
        let default = CoreList::last_allowed();
        let (carrier, cores) = match args.transport {
            // Raw frames have a load of their own.
            TransportKind::Kernel | TransportKind::KernelUring | TransportKind::Raw => {
                let engine = kernel::Engine::of(args.transport);
                (Carrier::Kernel(engine), args.cores.as_ref().unwrap_or(&default).as_slice().to_vec())
            }
            TransportKind::Corelane => {
                let stack = corelane::StackConfig::new(&args.stack, args.cores.as_ref(), &default)?;
                let cores = stack.cores.clone();
                (Carrier::Corelane(Box::new(stack)), cores)
            }
        };
        Ok(Self { args, carrier, cores, stop: Stop::on_signals()? })
    }

    fn check_cores(&self, phase: &Phase) -> Result<(), Failure> {
        let count = self.cores.len();
        match phase.sets.iter().find(|set| set.connections < count) {
            None => Ok(()),
            Some(set) => usage(&format!(
                "--connections {} is less than the {count} cores; give each core one, or name fewer --cores",
                set.connections
            )),
        }
    }

    fn options(&self, phase: &Phase) -> Options {
        Options {
            sets: phase.sets.clone(),
            local: self.args.stack.address.map(|prefix| prefix.ip),
            warmup: phase.warmup,
            duration: phase.duration,
            drain: phase.drain,
            seed: self.args.seed,
            cores: self.cores.clone(),
            spin: self.args.spin,
        }
    }

    /// One rate after the other, or the only one.
    fn steps(&self, phase: &Phase) -> Result<Measured, Failure> {
        let set = &phase.sets[0];
        let rates = match &set.pace {
            Pace::Rate(Rate::Steps(rates), _) => rates.clone(),
            Pace::Rate(Rate::Constant(_) | Rate::Ramp(..), _) | Pace::Closed | Pace::Trace(_) => {
                let outcome = execute(&self.carrier, &self.options(phase), "", &self.stop)?;
                let mut sum = Sum::default();
                sum.add(&outcome, 0);
                let curve = ramp_curve(phase, set, &sum);
                return Ok(self.measured(&self.args.out, phase, set, sum, curve));
            }
        };
        let (mut sum, mut curve) = (Sum::default(), Vec::new());
        for (at, rate) in rates.iter().enumerate() {
            let phase = at_rate(phase, *rate);
            let what = format!("step {} of {}", at + 1, rates.len());
            let outcome = execute(&self.carrier, &self.options(&phase), &what, &self.stop)?;
            curve.push(point(sum.duration_s, *rate, &outcome));
            sum.add(&outcome, 0);
            if self.stop.is_raised() {
                break;
            }
        }
        Ok(self.measured(&self.args.out, phase, set, sum, curve))
    }

    /// The highest rate that keeps all objectives, as the result of its own run.
    fn search(&self, phase: &Phase) -> Result<Measured, Failure> {
        let set = &phase.sets[0];
        let Pace::Rate(Rate::Ramp(low, high), _) = set.pace else { return usage("--slo needs --rate LOW..HIGH") };
        let mut search = Search::new(low, high, SEARCH_PRECISION);
        let (mut curve, mut elapsed_s, mut best) = (Vec::new(), 0.0, None);
        while let Some(rate) = search.next_rate() {
            let phase = at_rate(phase, rate);
            let what = format!("try {} at {}", curve.len() + 1, units::rate(rate));
            let outcome = execute(&self.carrier, &self.options(&phase), &what, &self.stop)?;
            if self.stop.is_raised() {
                break;
            }
            let mut tried = point(elapsed_s, rate, &outcome);
            let mut sum = Sum::default();
            sum.add(&outcome, 0);
            elapsed_s += sum.duration_s;
            let is_good = self.keeps(&phase, &sum);
            tried.is_good = Some(is_good);
            curve.push(tried);
            search.on_result(rate, is_good);
            // Without any good rate, the lowest one shows how far from it the service is.
            if is_good || best.is_none() {
                best = Some((phase, sum));
            }
        }
        let Some((best_phase, sum)) = best else { return Err(Failure::Threshold("the search was stopped".to_owned())) };
        let mut measured = self.measured(&self.args.out, &best_phase, &best_phase.sets[0], sum, curve);
        let details = &mut measured.result.details;
        details.rate = Some(format!("{low}..{high}"));
        details.slo = self.args.slo.iter().map(ToString::to_string).collect();
        details.found_rate = search.found();
        if search.is_open_above() {
            details.warnings.push(format!("even the highest rate was kept: search beyond {}", units::rate(high)));
        }
        Ok(measured)
    }

    fn keeps(&self, phase: &Phase, sum: &Sum) -> bool {
        let result = self
            .measured(
                Path::new(""),
                phase,
                &phase.sets[0],
                Sum {
                    counts: sum.counts.clone(),
                    collected: Collected { total: sum.collected.total.clone(), ..Collected::default() },
                    duration_s: sum.duration_s,
                    ..Sum::default()
                },
                Vec::new(),
            )
            .result;
        let due = sum.counts.sent + sum.counts.unsent;
        let in_time =
            sum.counts.answered_in_time as f64 >= SEARCH_SHARE * due as f64 || sum.counts.answered_in_time + 10 >= due;
        let broken = self.args.slo.iter().any(|slo| slo.check(&result).is_some());
        result.requests > 0 && in_time && !broken && result.errors == 0
    }

    fn scenario(&self, phases: &[Phase]) -> Result<Vec<Measured>, Failure> {
        let mut all = Vec::new();
        for (at, phase) in phases.iter().enumerate() {
            let what = format!("phase {} of {}: {}", at + 1, phases.len(), phase.name);
            let outcome = execute(&self.carrier, &self.options(phase), &what, &self.stop)?;
            for (place, set) in phase.sets.iter().enumerate() {
                let mut sum = Sum::default();
                sum.add(&outcome, place);
                let curve = ramp_curve(phase, set, &sum);
                let dir = self.args.out.join(format!("{}-{}", phase.name, set.name));
                all.push(self.measured(&dir, phase, set, sum, curve));
            }
            if self.stop.is_raised() {
                break;
            }
        }
        Ok(all)
    }

    fn measured(&self, dir: &Path, phase: &Phase, set: &SetOptions, sum: Sum, curve: Vec<CurvePoint>) -> Measured {
        let begin = sum.begin.unwrap_or(SystemTime::UNIX_EPOCH);
        let result = self.result(phase, set, &sum, curve, begin);
        Measured { dir: dir.to_owned(), result, collected: sum.collected, begin }
    }

    fn result(
        &self,
        phase: &Phase,
        set: &SetOptions,
        sum: &Sum,
        curve: Vec<CurvePoint>,
        begin: SystemTime,
    ) -> LoadResult {
        let Sum { counts, collected, duration_s, .. } = sum;
        let latency_ns = Percentiles::of(&collected.total.latency);
        let due = counts.sent + counts.unsent;
        let per_second = |count: u64| if *duration_s > 0.0 { count as f64 / duration_s } else { 0.0 };
        let is_open = set.pace != Pace::Closed;
        let offered = match &set.pace {
            Pace::Rate(Rate::Constant(rate), _) => Some(*rate),
            Pace::Rate(..) | Pace::Trace(_) => Some(per_second(due)),
            Pace::Closed => None,
        };
        let mut details = self.details(phase, set, sum, curve);
        let check = Check {
            is_open,
            due,
            answered_in_time: counts.answered_in_time,
            duration_s: *duration_s,
            cores: self.cores.len(),
            spin: self.spins(),
            ..Check::of_set(&details, latency_ns)
        };
        details.warnings = check.with_resources(&details.resources, sum.noise).warnings();
        LoadResult {
            workload: set.workload.name().to_owned(),
            transport: self.carrier.kind().name().to_owned(),
            target: set.target.to_string(),
            connections: set.connections,
            pace: if is_open { "open" } else { "closed" }.to_owned(),
            arrivals: set.pace.arrivals().map(str::to_owned),
            offered_rate: offered,
            achieved_rate: per_second(counts.answered_in_time),
            requests: counts.answered,
            errors: counts.errors.values().sum(),
            errors_by_kind: counts.errors.iter().map(|(kind, count)| (kind.name().to_owned(), *count)).collect(),
            unanswered: counts.unanswered,
            unsent: counts.unsent,
            reconnects: counts.reconnects,
            duration_s: *duration_s,
            warmup_s: phase.warmup.as_secs_f64(),
            bytes: counts.bytes_sent + counts.bytes_received,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            size: set.sizes.as_ref().and_then(crate::workload::size::Sizes::fixed),
            seed: self.args.seed,
            cores: self.cores.clone(),
            cpu_s: details.resources.user_s + details.resources.system_s,
            cpu_dma_latency_held: self.args.hold_cpu_dma_latency,
            spin: self.spins(),
            congestion_control: self.carrier.congestion_control(),
            started_at_s: begin.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            latency_ns,
            service_time_ns: Percentiles::of(&collected.total.service),
            details,
        }
    }

    fn spins(&self) -> bool {
        match &self.carrier {
            Carrier::Kernel(_) => self.args.spin,
            Carrier::Corelane(stack) => stack.spins(),
        }
    }

    fn details(&self, phase: &Phase, set: &SetOptions, sum: &Sum, curve: Vec<CurvePoint>) -> Details {
        let rate = match &set.pace {
            Pace::Rate(rate, _) => Some(rate.to_string()),
            Pace::Closed | Pace::Trace(_) => None,
        };
        let mut environment = self.carrier.environment(set, !self.args.hold_cpu_dma_latency);
        environment.noise = sum.noise;
        let is_rr = set.workload == crate::workload::LoadKind::Rr;
        Details {
            name: if phase.name.is_empty() { String::new() } else { format!("{}-{}", phase.name, set.name) },
            rate,
            sizes: set.sizes.as_ref().map(ToString::to_string),
            response_sizes: is_rr.then(|| set.response_sizes.to_string()),
            pipeline: set.pipeline,
            idle_connections: set.idle_connections,
            misses: sum.counts.misses,
            waited_for_connection: sum.counts.waited,
            schedule_lag_ns: Percentiles::of(&sum.counts.lag),
            curve,
            slo: Vec::new(),
            found_rate: None,
            resources: resources(sum),
            environment,
            warnings: Vec::new(),
        }
    }
}

fn resources(sum: &Sum) -> Resources {
    let Usage { user_ns, system_ns, run_queue_wait_ns, voluntary_switches, involuntary_switches } = sum.usage;
    Resources {
        user_s: user_ns as f64 / 1e9,
        system_s: system_ns as f64 / 1e9,
        cpu_ns_per_request: (user_ns + system_ns) as f64 / sum.counts.answered.max(1) as f64,
        softirq_share: sum.ticks.share(sum.ticks.softirq),
        steal_share: sum.ticks.share(sum.ticks.steal),
        run_queue_wait_s: run_queue_wait_ns as f64 / 1e9,
        voluntary_switches,
        involuntary_switches,
    }
}

/// The phase with its only set at `rate`.
fn at_rate(phase: &Phase, rate: f64) -> Phase {
    let mut phase = phase.clone();
    for set in &mut phase.sets {
        if let Pace::Rate(of_set, _) = &mut set.pace {
            *of_set = Rate::Constant(rate);
        }
    }
    phase
}

/// A run at one rate as a point of a curve.
fn point(at_s: f64, rate: f64, outcome: &Outcome) -> CurvePoint {
    let part = &outcome.sets[0];
    let seconds = part.counts.measured_ns as f64 / 1e9;
    CurvePoint {
        at_s,
        offered_rate: rate,
        achieved_rate: if seconds > 0.0 { part.counts.answered_in_time as f64 / seconds } else { 0.0 },
        requests: part.counts.answered,
        errors: part.counts.errors.values().sum(),
        latency_ns: Percentiles::of(&part.collected.total.latency),
        is_good: None,
    }
}

/// The seconds of a ramp; nothing for other paces.
fn ramp_curve(phase: &Phase, set: &SetOptions, sum: &Sum) -> Vec<CurvePoint> {
    let profile = match &set.pace {
        Pace::Rate(Rate::Ramp(..), _) => set.pace.profile(phase.warmup, phase.duration),
        _ => None,
    };
    let Some(profile) = profile else { return Vec::new() };
    let count = |second: u64| profile.count((phase.warmup.as_secs_f64() + second as f64) * 1e9);
    let within = sum.collected.seconds.range(..sum.duration_s.ceil() as u64);
    let points = within.map(|(&second, pair)| CurvePoint {
        at_s: second as f64,
        offered_rate: count(second + 1) - count(second),
        achieved_rate: pair.latency.len() as f64 / (sum.duration_s - second as f64).min(1.0),
        requests: pair.latency.len(),
        errors: 0,
        latency_ns: Percentiles::of(&pair.latency),
        is_good: None,
    });
    points.collect()
}

/// Whether the run was what was asked for.
pub(crate) fn judge(args: &LoadArgs, result: &LoadResult) -> Result<(), Failure> {
    let name = &result.details.name;
    let whose = if name.is_empty() { String::new() } else { format!("{name}: ") };
    if result.requests == 0 {
        return Err(Failure::Threshold(format!("{whose}no request was answered")));
    }
    if !args.slo.is_empty() && result.details.found_rate.is_none() {
        let slo: Vec<String> = args.slo.iter().map(ToString::to_string).collect();
        let lowest = units::rate(result.offered_rate.unwrap_or_default());
        return Err(Failure::Threshold(format!(
            "not even the lowest rate, {lowest}, keeps --slo {}",
            slo.join(" --slo ")
        )));
    }
    for threshold in &args.fail_if {
        if let Some(value) = threshold.check(result) {
            return Err(Failure::Threshold(format!(
                "{whose}--fail-if {threshold} holds: the value is {}",
                shown(threshold, value)
            )));
        }
    }
    Ok(())
}

fn shown(threshold: &Threshold, value: f64) -> String {
    if threshold.is_time() { units::time(value) } else { format!("{value:.1}") }
}
