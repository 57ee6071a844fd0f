//! The subcommands of the bottleneck laboratory.

use clap::Args;
use corelane_sim::matrix::{self, Algorithm, Cell, Impairment, LostPart, Picture, ShortFlow, golden};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct MatrixArgs {
    /// Which tables: `loss`, `impaired`, `short_flows`, `fairness`; all if none is named.
    names: Vec<String>,
    /// Compare with the snapshots and fail with the lines that have changed.
    #[arg(long, conflicts_with = "update")]
    check: bool,
    /// Make what comes out the snapshots.
    #[arg(long)]
    update: bool,
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Args)]
pub(crate) struct TableArgs {
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Args)]
pub(crate) struct PlotArgs {
    /// Loss of data packets, per cent.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Round-trip time, milliseconds. It decides the rate: 1 Gbit/s below 0.5 ms, 100 Mbit/s below 10 ms, else 20 Mbit/s.
    #[arg(long, default_value_t = 20.0)]
    rtt: f64,
    /// Buffer of the bottleneck, bandwidth-delay products.
    #[arg(long, default_value_t = 1.0)]
    buffer: f64,
    /// An impaired path of the table `impaired` instead: bursts, policer, reorder, ...
    #[arg(long, conflicts_with_all = ["loss", "rtt", "buffer"])]
    path: Option<String>,
    /// A short transfer of so many bytes over 100 Mbit/s instead.
    #[arg(long, conflicts_with_all = ["loss", "buffer", "path"])]
    bytes: Option<u64>,
    /// Lose so many segments at the end of the short transfer, once.
    #[arg(long, requires = "bytes", default_value_t = 1)]
    lost_last: u64,
    /// The sender's congestion control.
    #[arg(long, default_value = "newreno")]
    algorithm: String,
    /// What chance depends on; the tables have 1 to 5.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder that the SVG is written to.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

fn jobs(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// A mistake of the caller: one sentence, and exit code 2.
fn usage(what: &str) -> ExitCode {
    eprintln!("corelane-sim: {what}");
    ExitCode::from(2)
}

pub(crate) fn table(name: &str, args: &TableArgs) -> ExitCode {
    let Some(table) = matrix::table(name, jobs(args.jobs)) else { return usage(&format!("there is no table {name}")) };
    // Whoever reads may have seen enough: a closed pipe is no fault.
    let _ = write!(std::io::stdout().lock(), "{table}");
    ExitCode::SUCCESS
}

pub(crate) fn matrix(args: &MatrixArgs) -> ExitCode {
    let known: Vec<&str> = matrix::names().collect();
    if let Some(unknown) = args.names.iter().find(|name| !known.contains(&name.as_str())) {
        return usage(&format!("there is no table {unknown}; there are {}", known.join(", ")));
    }
    let folder = std::env::current_dir().ok().and_then(|dir| golden::folder(&dir));
    if folder.is_none() && (args.check || args.update) {
        return usage(&format!("no {} here or above: run this inside the repo", golden::FOLDER));
    }
    let folder = folder.unwrap_or_default();
    let chosen =
        known.into_iter().filter(|name| args.names.is_empty() || args.names.iter().any(|wanted| wanted == name));
    let mut passed = true;
    for (index, name) in chosen.enumerate() {
        let start = Instant::now();
        let Some(table) = matrix::table(name, jobs(args.jobs)) else { continue };
        let said = if args.check {
            check(&folder, &table, &mut passed)
        } else if args.update {
            golden::update(&folder, &table).map(|changed| if changed { "written" } else { "as before" })
        } else {
            let _ = write!(std::io::stdout().lock(), "{}{table}", if index > 0 { "\n\n" } else { "" });
            Ok("made")
        };
        match said {
            Ok(said) => eprintln!("{name}: {said}, {:.1} s", start.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("corelane-sim: {error}");
                passed = false;
            }
        }
    }
    ExitCode::from(u8::from(!passed))
}

fn check(folder: &std::path::Path, table: &matrix::Table, passed: &mut bool) -> std::io::Result<&'static str> {
    let changed = golden::check(folder, table)?;
    for line in &changed {
        println!("{line}");
    }
    *passed &= changed.is_empty();
    Ok(if changed.is_empty() {
        "as its snapshot"
    } else {
        "NOT as its snapshot; if that is meant, `corelane-sim matrix --update` makes it the new one"
    })
}

pub(crate) fn plot(args: &PlotArgs) -> ExitCode {
    let Ok(algorithm) = args.algorithm.parse::<Algorithm>() else {
        let known: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        return usage(&format!("there is no algorithm {}; there are {}", args.algorithm, known.join(", ")));
    };
    let (name, picture) = match picture(args, algorithm) {
        Ok(made) => made,
        Err(what) => return usage(&what),
    };
    if let Err(error) = std::fs::create_dir_all(&args.out) {
        return usage(&format!("{}: {error}", args.out.display()));
    }
    let file = args.out.join(format!("{name}.svg"));
    match matrix::draw(&picture, &file) {
        Ok(_) => {
            println!("{}", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("corelane-sim: {error}");
            ExitCode::from(1)
        }
    }
}

/// The picture that is asked for, and the name of its file.
fn picture(args: &PlotArgs, algorithm: Algorithm) -> Result<(String, Picture), String> {
    if let Some(path) = &args.path {
        let known: Vec<_> = Impairment::all().map(|impairment| impairment.name).collect();
        let impairment = Impairment::named(path)
            .ok_or_else(|| format!("there is no impaired path {path}; there are {}", known.join(", ")))?;
        let title = format!("{}: {} ({}), 20 Mbit/s, RTT 20 ms", algorithm.name(), impairment.name, impairment.about);
        let name = format!("{}-{}-seed-{}", algorithm.name(), impairment.name, args.seed);
        return Ok((name, Picture { title, plan: impairment.plan(algorithm, args.seed) }));
    }
    let in_range = |value: f64, least: f64, most: f64, what: &str| {
        let fits = (least..=most).contains(&value);
        if fits { Ok(value) } else { Err(format!("{what} is {value}; it has to be from {least} to {most}")) }
    };
    let rtt_ms = in_range(args.rtt, 0.01, 10_000.0, "--rtt")?;
    let rtt = Duration::from_nanos((rtt_ms * 1e6).round() as u64);
    if let Some(bytes) = args.bytes {
        let lost = args.lost_last;
        if !(1..=10_000_000).contains(&bytes) {
            return Err(format!("--bytes is {bytes}; it has to be from 1 to 10000000"));
        }
        let flow = ShortFlow { algorithm, bytes, lost: LostPart::Last(lost), rtt };
        let title = format!("{}: {bytes} bytes, RTT {rtt_ms} ms, the last {lost} lost, 100 Mbit/s", algorithm.name());
        let name = format!("{}-bytes-{bytes}-rtt-{rtt_ms}-lost-last-{lost}", algorithm.name());
        return Ok((name, Picture { title, plan: flow.plan() }));
    }
    let loss = in_range(args.loss, 0.0, 50.0, "--loss")?;
    let buffer = in_range(args.buffer, 0.0, 1000.0, "--buffer")?;
    let cell = Cell { algorithm, loss: loss / 100.0, rtt, buffer_tenths: (buffer * 10.0).round() as u64 };
    let title = format!(
        "{}: {} Mbit/s, RTT {rtt_ms} ms, loss {loss} %, buffer {buffer} BDP",
        algorithm.name(),
        cell.rate().bits_per_second() / 1_000_000
    );
    let name = format!("{}-loss-{loss}-rtt-{rtt_ms}-buffer-{buffer}-seed-{}", algorithm.name(), args.seed);
    Ok((name, Picture { title, plan: cell.plan(args.seed) }))
}
