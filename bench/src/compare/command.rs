//! The command itself: from arguments to runs, files, a table and an exit code.

use super::matrix::{Cell, Matrix};
use super::process::{Bench, NoRun};
use super::result::{CompareResult, Environment, Kind, Row, Run};
use super::{html, table};
use crate::cli::CompareArgs;
use crate::cores::CoreList;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report;
use crate::report::hlog;
use crate::stop::Stop;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Where the files of each run go, below `--out`.
const RUNS: &str = "runs";

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    let (matrix, cells) = plan(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Machine(
            "compare makes network namespaces, which only root may; run it with sudo".to_owned(),
        ));
    }
    // What cannot be written is better known before the measurement than after it.
    std::fs::create_dir_all(args.out.join(RUNS))
        .map_err(|error| Failure::Machine(format!("--out {}: {error}", args.out.display())))?;
    let stop = Stop::on_signals()?;
    // A machine without it measures too, and the result says so.
    let held = dma_latency::hold(true).ok().flatten();
    let cores = [CoreList::last_allowed(), CoreList::first_allowed()].map(|list| list.as_slice()[0]);
    if cores[0] == cores[1] {
        let _ = writeln!(std::io::stderr(), "there is one core only, which both ends share: the figures mean little");
    }
    let (began, mut environment) = (Instant::now(), Environment::of_this_machine(cores, held.is_some()));
    let mut bench = Bench::new(cores, held.is_some(), matrix.seconds, matrix.warmup_seconds)?;
    let mut rows: Vec<Row> = cells.into_iter().map(Row::new).collect();
    environment.complete = measure(&mut bench, &matrix, &mut rows, &args.out, &stop);
    environment.took_s = began.elapsed().as_secs_f64();
    environment.load_after = load_average();
    let congestion = rows.iter().find_map(|row| kernels_congestion_control(row, &args.out));
    environment.congestion_control = congestion.unwrap_or_default();
    let environment = vec![environment];
    let result = CompareResult { kind: Kind::Compare, environment, matrix, rows, bars: Vec::new() }.summed_up();
    let json = report::to_json(&result)?;
    report::write(&args.out.join("result.json"), json.as_bytes())?;
    let page = html::page(&result, &histograms(&args.out, &result));
    report::write(&args.out.join("report.html"), page.as_bytes())?;
    let text = if args.json { json } else { table::render(&result, report::wants_colour()) };
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    judge(args, &result)
}

/// The matrix with what the arguments change in it, and its cells.
fn plan(args: &CompareArgs) -> Result<(Matrix, Vec<Cell>), Failure> {
    let mut matrix = match (&args.matrix, args.quick) {
        (Some(path), _) => Matrix::load(path)?,
        (None, true) => Matrix::quick(),
        (None, false) => Matrix::full(),
    };
    matrix.rounds = args.rounds.unwrap_or(matrix.rounds);
    matrix.seconds = args.seconds.map_or(matrix.seconds, |seconds| seconds.as_secs_f64());
    matrix.check().map_err(Failure::Usage)?;
    let mut cells = matrix.cells();
    cells.retain(|cell| args.only.is_empty() || args.only.iter().any(|only| cell.name().contains(only.as_str())));
    if cells.is_empty() {
        let example = matrix.cells().first().map(Cell::name).unwrap_or_default();
        let only = args.only.join(" or ");
        return Err(Failure::Usage(format!("--only {only} leaves no cell; their names are like {example}")));
    }
    Ok((matrix, cells))
}

/// Runs everything, as far as it is not told to stop; says whether it came to the end.
fn measure(bench: &mut Bench, matrix: &Matrix, rows: &mut [Row], out: &Path, stop: &Stop) -> bool {
    let all = rows.len() as u64 * u64::from(matrix.rounds);
    let progress = Progress::new(all);
    let count = rows.len();
    for round in 0..matrix.rounds {
        for at in 0..count {
            // Forwards and backwards in turn, so that none always follows the same one.
            let row = &mut rows[if round % 2 == 0 { at } else { count - 1 - at }];
            let found = match known(&row.cell) {
                Err(why) => Err(NoRun::Because(why)),
                Ok(()) => bench.run(&row.cell, round, &dir(out, &row.name, round), stop),
            };
            match found {
                Err(NoRun::Stopped) => return false,
                Ok(run) => {
                    progress.step(round, &row.name, &table::rate(&row.cell, run.rate));
                    row.runs.push(run);
                }
                Err(NoRun::Because(why)) => {
                    progress.step(round, &row.name, &why);
                    if !row.notes.contains(&why) {
                        row.notes.push(why);
                    }
                }
            }
            if stop.is_raised() {
                return false;
            }
        }
    }
    true
}

/// Whether the generator has the cell's workload.
fn known(cell: &Cell) -> Result<(), String> {
    use clap::ValueEnum;
    let name = cell.workload.load_name();
    crate::workload::LoadKind::from_str(name, true)
        .map(drop)
        .map_err(|_| format!("`load` has no workload {name} in this version"))
}

fn dir(out: &Path, name: &str, round: u32) -> PathBuf {
    out.join(RUNS).join(format!("{name}-{}", round + 1))
}

/// The congestion control of a client on the kernel's sockets, which reads it in its namespace.
fn kernels_congestion_control(row: &Row, out: &Path) -> Option<String> {
    let Run { round, .. } = row.runs.first()?;
    let text = std::fs::read(dir(out, &row.name, *round).join("result.json")).ok()?;
    let load: report::result::LoadResult = serde_json::from_slice(&text).ok()?;
    (load.transport == "kernel").then_some(load.congestion_control)
}

/// The latencies of each cell, all rounds added; a cell without any is left out.
pub(crate) fn histograms(out: &Path, result: &CompareResult) -> Vec<html::Distribution> {
    let of_row = |row: &Row| {
        let mut sum = hlog::empty();
        for run in &row.runs {
            if let Ok(text) = std::fs::read(dir(out, &row.name, run.round).join("latency.hlog"))
                && let Ok(pair) = hlog::read(&text)
            {
                sum.add(&pair);
            }
        }
        (!sum.latency.is_empty()).then_some(html::Distribution { cell: row.cell, latency: sum.latency })
    };
    result.rows.iter().filter(|row| !row.cell.workload.is_bulk()).filter_map(of_row).collect()
}

impl Environment {
    fn of_this_machine([client_core, server_core]: [usize; 2], held: bool) -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = processor.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            processor: field("model name").or_else(|| field("CPU implementer")).unwrap_or_default(),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            cores: CoreList::allowed().as_slice().to_vec(),
            client_core,
            server_core,
            cpu_dma_latency_held: held,
            corelane_congestion_control: corelanes_congestion_control(),
            load_before: load_average(),
            started_at_s: began.map_or(0, |since| since.as_secs()),
            ..Self::default()
        }
    }
}

/// The congestion control that the stack comes with.
fn corelanes_congestion_control() -> String {
    let settings = corelane::Config::default().to_table();
    let name = settings.get("tcp").and_then(|tcp| tcp.get("congestion")?.as_str().map(str::to_owned));
    name.unwrap_or_default()
}

/// The first figure of `/proc/loadavg`; 0 where there is none.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// A bar on a terminal; a line for each run elsewhere.
struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    fn new(all: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar = if is_terminal { ProgressBar::new(all) } else { ProgressBar::hidden() };
        bar.set_length(all);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {eta} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, is_terminal }
    }

    fn step(&self, round: u32, name: &str, found: &str) {
        self.bar.inc(1);
        self.bar.set_message(format!("{name}: {found}"));
        if !self.is_terminal {
            let (at, all) = (self.bar.position(), self.bar.length().unwrap_or(0));
            // A closed pipe is the reader's wish.
            let _ = writeln!(std::io::stderr(), "{at:>4} of {all}, round {}: {name}: {found}", round + 1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Whether the result is what was asked for.
fn judge(args: &CompareArgs, result: &CompareResult) -> Result<(), Failure> {
    if result.environment.iter().any(|environment| !environment.complete) {
        let runs: usize = result.rows.iter().map(|row| row.runs.len()).sum();
        return Err(Failure::Threshold(format!("stopped by a signal after {runs} runs")));
    }
    if result.rows.iter().all(|row| row.runs.is_empty()) {
        let why = result.rows.iter().flat_map(|row| &row.notes).next().cloned().unwrap_or_default();
        return Err(Failure::Machine(format!("nothing could be measured: {why}")));
    }
    let unmet: Vec<_> = result.bars.iter().filter(|bar| bar.met == Some(false)).collect();
    match unmet.first().filter(|_| args.strict) {
        Some(bar) => Err(Failure::Threshold(format!(
            "--strict: {} of {} bars are not met, such as {}",
            unmet.len(),
            result.bars.len(),
            bar.what
        ))),
        None => Ok(()),
    }
}
