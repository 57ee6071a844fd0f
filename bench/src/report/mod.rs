//! `report` and what `load` leaves behind: result.json, latency.hlog, report.html, and a table on the terminal.

pub mod chart;
pub mod condition;
pub mod hlog;
pub mod html;
pub mod merge;
pub mod result;
pub mod table;
pub mod threshold;
pub mod units;

use crate::cli::ReportArgs;
use crate::compare;
use crate::compare::result::CompareResult;
use crate::failure::Failure;
use crate::load::recorder::Pair;
use result::LoadResult;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// A result with its histograms, as measured or as read back.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it lies: how it is called beside others.
    pub name: String,
    /// The figures.
    pub result: LoadResult,
    /// The distributions behind them.
    pub histograms: Pair,
    /// The same for each second of the measurement.
    pub seconds: BTreeMap<u64, Pair>,
}

/// Runs the command `report`.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let comparisons = args.dirs.iter().map(|dir| comparison(dir)).collect::<Result<Vec<_>, _>>()?;
    if comparisons.iter().any(Option::is_some) {
        return run_comparisons(args, comparisons);
    }
    let mut loads = args.dirs.iter().map(|dir| load(dir)).collect::<Result<Vec<_>, _>>()?;
    if args.merge {
        loads = vec![merge::merge(loads)?];
    }
    if let Some(path) = &args.html {
        write(path, html::page(&loads).as_bytes())?;
    }
    if let Some(dir) = &args.svg {
        write_charts(dir, &html::charts(&loads))?;
    }
    print(&loads, args.json)
}

/// `report` of what `compare` found.
fn run_comparisons(args: &ReportArgs, found: Vec<Option<CompareResult>>) -> Result<(), Failure> {
    let mut results = Vec::new();
    for (dir, result) in args.dirs.iter().zip(found) {
        results.push(result.ok_or_else(|| {
            Failure::Usage(format!(
                "{} has the result of a load and another directory that of a comparison; report one kind at a time",
                dir.display()
            ))
        })?);
    }
    let mut distributions = Vec::new();
    for (dir, result) in args.dirs.iter().zip(&results) {
        compare::html::add(&mut distributions, compare::histograms(dir, result));
    }
    let nothing = || Failure::Usage("there is no directory to report".to_owned());
    let result = CompareResult::merged(results).ok_or_else(nothing)?;
    if let Some(path) = &args.html {
        write(path, compare::html::page(&result, &distributions).as_bytes())?;
    }
    if let Some(dir) = &args.svg {
        write_charts(dir, &compare::html::charts(&result, &distributions))?;
    }
    let text = if args.json { to_json(&result)? } else { compare::table::render(&result, wants_colour()) };
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Writes charts, each with its name, as files of their own.
fn write_charts(dir: &Path, charts: &[(String, String)]) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::Machine(format!("--svg {}: {error}", dir.display())))?;
    charts.iter().try_for_each(|(name, svg)| write(&dir.join(format!("{name}.svg")), chart::to_file(svg).as_bytes()))
}

/// The result in `dir` if it is that of a comparison.
fn comparison(dir: &Path) -> Result<Option<CompareResult>, Failure> {
    let (path, bytes) = read(dir, "result.json")?;
    let is_comparison = serde_json::from_slice::<serde_json::Value>(&bytes)
        .is_ok_and(|value| value.get("kind").is_some_and(|kind| kind == "compare"));
    if !is_comparison {
        return Ok(None);
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Failure::Usage(format!("{} is not the result of this version: {error}", path.display())))
}

fn read(dir: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), Failure> {
    let path = dir.join(name);
    let bytes = std::fs::read(&path).map_err(|error| {
        Failure::Usage(format!("{}: {error}; give the directory that `--out` of load or compare named", path.display()))
    })?;
    Ok((path, bytes))
}

/// Reads the results in `dir`.
fn load(dir: &Path) -> Result<Loaded, Failure> {
    let (path, bytes) = read(dir, "result.json")?;
    let result: LoadResult = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Usage(format!("{} is not the result of a load: {error}", path.display())))?;
    let (path, bytes) = read(dir, "latency.hlog")?;
    let wrong = |clause| Failure::Usage(format!("{} {clause}", path.display()));
    let seconds = hlog::read_seconds(&bytes).map_err(wrong)?;
    let mut histograms = hlog::empty();
    seconds.values().for_each(|pair| histograms.add(pair));
    Ok(Loaded { name: dir.display().to_string(), result, histograms, seconds })
}

/// Writes the three files into `dir`, which exists.
pub fn save(dir: &Path, loaded: &Loaded, hlog: &[u8]) -> Result<(), Failure> {
    let json = to_json(&loaded.result)?;
    write(&dir.join("result.json"), json.as_bytes())?;
    write(&dir.join("latency.hlog"), hlog)?;
    write(&dir.join("report.html"), html::page(std::slice::from_ref(loaded)).as_bytes())
}

/// Prints a table, or one JSON document: an object for one load, an array for several.
pub fn print(loads: &[Loaded], json: bool) -> Result<(), Failure> {
    let text = match loads {
        [one] if json => to_json(&one.result)?,
        many if json => to_json(&many.iter().map(|load| &load.result).collect::<Vec<_>>())?,
        _ => table::render(loads, wants_colour()),
    };
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Bold heads are for terminals, unless their owner does not want them (<https://no-color.org>).
pub(crate) fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A document with a line end.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::Machine(format!("the result cannot be written as JSON: {error}")))
}

/// Writes a file, or says why it cannot.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::Machine(format!("{}: {error}", path.display())))
}
