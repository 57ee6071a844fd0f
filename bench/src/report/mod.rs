//! `report` and what `load` leaves behind: result.json, latency.hlog, report.html, and a table on the terminal.

pub mod condition;
pub mod hlog;
pub mod html;
pub mod result;
pub mod table;
pub mod threshold;
pub mod units;

use crate::cli::ReportArgs;
use crate::failure::Failure;
use crate::load::recorder::Pair;
use result::LoadResult;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// A result with its histograms, as measured or as read back.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where it lies: how it is called beside others.
    pub name: String,
    /// The figures.
    pub result: LoadResult,
    /// The distributions behind them.
    pub histograms: Pair,
}

/// Runs the command `report`.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    let loads = args.dirs.iter().map(|dir| load(dir)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &args.html {
        write(path, html::page(&loads).as_bytes())?;
    }
    print(&loads, args.json)
}

/// Reads the results in `dir`.
fn load(dir: &Path) -> Result<Loaded, Failure> {
    let read = |name: &str| {
        let path = dir.join(name);
        let bytes = std::fs::read(&path).map_err(|error| {
            Failure::Usage(format!("{}: {error}; give the directory that `load --out` wrote", path.display()))
        })?;
        Ok((path, bytes))
    };
    let (path, bytes) = read("result.json")?;
    let result: LoadResult = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::Usage(format!("{} is not the result of a load: {error}", path.display())))?;
    let (path, bytes) = read("latency.hlog")?;
    let histograms = hlog::read(&bytes).map_err(|clause| Failure::Usage(format!("{} {clause}", path.display())))?;
    Ok(Loaded { name: dir.display().to_string(), result, histograms })
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
