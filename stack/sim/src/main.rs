//! `corelane-sim`: runs seeds, replays one, measures transfers over bottlenecks, and checks the citations of the RFCs.

mod counting;
mod laboratory;

use clap::{Parser, Subcommand};
use corelane_sim::attack;
use corelane_sim::report::{Failure, Summary};
use corelane_sim::runner::{run_caught, run_many};
use corelane_sim::spec::{self, Tree};
use corelane_sim::world::Sabotage;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

/// Runs Corelane's endpoints in a seeded network with virtual time.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds and check everything.
    Run {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        first_seed: u64,
        /// A line for each seed.
        #[arg(long)]
        verbose: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Threads; as many as there are cores if not given.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Run one seed again.
    Replay {
        /// Which.
        seed: u64,
        /// Print what was drawn and every frame and event.
        #[arg(long)]
        trace: bool,
    },
    /// Attack a host and print what it costs: packets, replies, frames, time, and what others lost.
    #[command(
        after_help = "Examples:\n  corelane-sim attack\n  corelane-sim attack syn_flood --packets 1000000\n  corelane-sim attack --full --json"
    )]
    Attack {
        /// Which; all if none is named.
        names: Vec<String>,
        /// Attacking packets of each; as many as the tests have if not given.
        #[arg(long)]
        packets: Option<u64>,
        /// As many attacking packets as are of interest: a million SYNs, for example.
        #[arg(long, conflicts_with = "packets")]
        full: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Measure transfers over bottlenecks: print the tables, or compare them with their snapshots in `stack/sim/golden`.
    #[command(
        after_help = "Examples:\n  corelane-sim matrix\n  corelane-sim matrix loss impaired\n  corelane-sim matrix --check\n  corelane-sim matrix --update"
    )]
    Matrix(laboratory::MatrixArgs),
    /// Print how long short transfers take whose first or last segments are lost.
    ShortFlows(laboratory::TableArgs),
    /// Print how two and eight transfers share a bottleneck.
    Fairness(laboratory::TableArgs),
    /// Draw one transfer over time as an SVG: windows, round-trip time, delivery rate, queue, losses and time-outs.
    #[command(
        after_help = "Examples:\n  corelane-sim plot --loss 1 --rtt 20 --buffer 1 --out plots\n  corelane-sim plot --path rate-drop --out plots\n  corelane-sim plot --bytes 10000 --lost-last 1 --rtt 20 --out plots"
    )]
    Plot(laboratory::PlotArgs),
    /// Have a sender handle the ACKs of adversaries, or the common path, for a counter of instructions: see
    /// `scripts/instructions`, which runs this.
    Work(counting::WorkArgs),
    /// Show which requirement of RFC 9293 is kept where, and check every citation.
    Spec {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Only the requirements that are not accounted for.
        #[arg(long)]
        missing: bool,
        /// Show the sentences of this RFC instead, as in `--rfc 7323`.
        #[arg(long)]
        rfc: Option<String>,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { seeds, first_seed, verbose, json, jobs } => {
            let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
            run(seeds, first_seed, verbose, json, jobs)
        }
        Command::Attack { names, packets, full, json } => attack(&names, packets, full, json),
        Command::Matrix(args) => laboratory::matrix(&args),
        Command::ShortFlows(args) => laboratory::table("short_flows", &args),
        Command::Fairness(args) => laboratory::table("fairness", &args),
        Command::Plot(args) => laboratory::plot(&args),
        Command::Work(args) => counting::run(&args),
        Command::Replay { seed, trace } => replay(seed, trace),
        Command::Spec { json, missing, rfc } => specification(json, missing, rfc.as_deref()),
    }
}

fn run(seeds: u64, first: u64, verbose: bool, json: bool, jobs: usize) -> ExitCode {
    let start = Instant::now();
    let progress = std::io::stderr().is_terminal() && !verbose;
    let (mut done, mut failed) = (0u64, 0u64);
    let runs = run_many(first, seeds, jobs, |timed| {
        done += 1;
        failed += u64::from(timed.outcome.failure.is_some());
        if verbose {
            let o = &timed.outcome;
            eprintln!(
                "seed {:>8}  {:016x}  {:>9.3} s  {:>7} frames  {:>6} retransmits  {}",
                o.seed,
                o.hash,
                o.virtual_time.as_secs_f64(),
                o.link.sent,
                o.retransmits,
                o.failure.as_deref().unwrap_or("ok")
            );
        }
        if progress && (done.is_multiple_of(16) || done == seeds) {
            eprint!("\r{done} of {seeds} seeds, {failed} failed ");
            let _ = std::io::stderr().flush();
        }
    });
    if progress {
        eprintln!();
    }
    let summary = Summary::new(&runs, start.elapsed());
    if json {
        println!("{}", serde_json::to_string_pretty(&summary).unwrap_or_default());
    } else {
        for failure in &summary.failures {
            println!("{failure}");
        }
        print!("{summary}");
    }
    ExitCode::from(u8::from(!summary.failures.is_empty()))
}

fn attack(names: &[String], packets: Option<u64>, full: bool, json: bool) -> ExitCode {
    if let Some(unknown) = names.iter().find(|name| attack::named(name).is_none()) {
        let known: Vec<_> = attack::all().map(|attack| attack.name).collect();
        eprintln!("there is no attack {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let chosen = attack::all().filter(|attack| names.is_empty() || names.iter().any(|name| name == attack.name));
    let reports: Vec<_> =
        chosen.map(|attack| attack::run(attack, packets.or(full.then_some(attack.packets.1)))).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&reports).unwrap_or_default());
    } else {
        print!("{}", attack::Table(&reports));
    }
    ExitCode::from(u8::from(!reports.iter().all(attack::Report::held)))
}

fn replay(seed: u64, trace: bool) -> ExitCode {
    let outcome = run_caught(seed, trace, Sabotage::default());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Whoever reads may have seen enough: a closed pipe is no failure of the seed.
    for line in &outcome.lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "seed {seed}: trace hash {:016x}", outcome.hash);
    if let Some(what) = outcome.failure {
        let _ = writeln!(out, "{}", Failure::new(seed, what));
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

fn specification(json: bool, missing: bool, rfc: Option<&str>) -> ExitCode {
    let found = std::env::current_dir().ok().and_then(|dir| Tree::root(&dir));
    let Some(root) = found else {
        eprintln!("corelane-sim: no stack/proto/spec here or above: run this inside the repo");
        return ExitCode::from(2);
    };
    let report = match Tree::load(&root) {
        Ok(tree) => spec::check(&tree),
        Err(error) => {
            eprintln!("corelane-sim: {error}");
            return ExitCode::from(2);
        }
    };
    let table = match rfc {
        None => format!("{}\n{report}", report.table(missing)),
        Some(rfc) => {
            let Some(table) = report.sentence_table(rfc, missing) else {
                eprintln!(
                    "corelane-sim: RFC {rfc} is not gone through by sentences: add stack/proto/spec/rfc{rfc}.toml"
                );
                return ExitCode::from(2);
            };
            table
        }
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Whoever reads may have seen enough: a closed pipe is no fault.
    let _ = if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report).unwrap_or_default())
    } else {
        write!(out, "{table}")
    };
    let _ = out.flush();
    for fault in &report.faults {
        eprintln!("{fault}");
    }
    if !report.passed() {
        eprintln!("{} fault(s)", report.faults.len());
    }
    ExitCode::from(u8::from(!report.passed()))
}
