//! The command itself: from arguments to transfers, files, a table and an exit code.

use super::matrix::{Cell, Matrix};
use super::result::{CellResult, PathResult};
use super::sender::{Bench, Transfer, Who};
use super::{html, table};
use crate::cli::PathArgs;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report::{self, units};
use crate::stop::Stop;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// Runs the command.
pub fn run(args: &PathArgs) -> Result<(), Failure> {
    let (matrix, cells) = plan(args)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Machine(
            "path makes network namespaces, which only root may; run it with sudo".to_owned(),
        ));
    }
    // What cannot be written is better known before the measurement than after it.
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::Machine(format!("--out {}: {error}", args.out.display())))?;
    let stop = Stop::on_signals()?;
    // A machine without it measures too, and the result says so.
    let held = dma_latency::hold(true).ok().flatten();
    // Other work on this machine is to cost both senders little; the threads that follow inherit it.
    let _ = rustix::process::setpriority_process(None, -10);
    let began = SystemTime::now();
    let bench = Bench::new()?;
    let seconds = f64::from(matrix.rounds) * 2.0 * matrix.seconds * cells.len() as f64;
    let plural = if cells.len() == 1 { "" } else { "s" };
    // A closed pipe is the reader's wish, here and below.
    let _ = writeln!(std::io::stderr(), "{} cell{plural}, about {seconds:.0} s", cells.len());
    let mut found = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        match measure(&bench, &matrix, cell, args.control, &stop)? {
            Some(result) => {
                progress(number + 1, cells.len(), &result);
                found.push(result);
            }
            None => break,
        }
    }
    let complete = found.len() == cells.len();
    let measured = found.len();
    let result = PathResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        started_at_s: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        cpu_dma_latency_held: held.is_some(),
        matrix,
        cells: found,
        median_ratio: None,
        worst_cell: None,
        worst_ratio: None,
    };
    let result = result.summed_up();
    let json = report::to_json(&result)?;
    report::write(&args.out.join("result.json"), json.as_bytes())?;
    report::write(&args.out.join("report.html"), html::page(&result).as_bytes())?;
    let text = if args.json { json } else { table::render(&result, report::wants_colour()) };
    let _ = std::io::stdout().write_all(text.as_bytes());
    if !complete {
        return Err(Failure::Threshold(format!("stopped by a signal after {measured} of {} cells", cells.len())));
    }
    judge(args, &result)
}

/// The matrix with what the arguments change in it, and its cells.
fn plan(args: &PathArgs) -> Result<(Matrix, Vec<Cell>), Failure> {
    let (mut matrix, mut cells) = match (&args.matrix, args.quick) {
        (Some(path), _) => Matrix::load(path).map(|matrix| (matrix.clone(), matrix.cells()))?,
        (None, true) => Matrix::quick(),
        (None, false) => (Matrix::default(), Matrix::default().cells()),
    };
    matrix.rounds = args.rounds.unwrap_or(matrix.rounds);
    matrix.seconds = args.seconds.map_or(matrix.seconds, |seconds| seconds.as_secs_f64());
    matrix.check().map_err(Failure::Usage)?;
    cells.retain(|cell| args.only.iter().all(|only| has_part(&cell.name(), only)));
    if cells.is_empty() {
        let only = args.only.join(" and ");
        let example = Cell::name(&Matrix::quick().1[1]);
        return Err(Failure::Usage(format!("--only {only} leaves no cell; their names are like {example}")));
    }
    Ok((matrix, cells))
}

/// Whether `part` is in `name`, at its begin or behind a dash: `1ms` is not in `cubic-1.1ms`.
fn has_part(name: &str, part: &str) -> bool {
    name.match_indices(part).any(|(at, _)| at == 0 || name.as_bytes()[at - 1] == b'-')
}

/// All rounds of one cell; `None` when told to stop. With `control` the kernel stands in Corelane's place too.
fn measure(
    bench: &Bench,
    matrix: &Matrix,
    cell: &Cell,
    control: bool,
    stop: &Stop,
) -> Result<Option<CellResult>, Failure> {
    let duration = Duration::from_secs_f64(matrix.seconds);
    let (mut kernel, mut corelane): (Vec<Transfer>, Vec<Transfer>) = (Vec::new(), Vec::new());
    let second = if control { Who::Kernel } else { Who::Corelane };
    let mut notes = if control { vec!["control: both are the kernel".to_owned()] } else { Vec::new() };
    for round in 0..matrix.rounds {
        // The one that is first in one round is second in the next, so that none has the quieter machine.
        let mut order = [(Who::Kernel, &mut kernel), (second, &mut corelane)];
        if round % 2 == 1 {
            order.reverse();
        }
        for (who, transfers) in order {
            match bench.transfer(who, &cell.algorithm, cell.links(matrix, round), duration, stop)? {
                None => return Ok(None),
                Some(Ok(transfer)) => transfers.push(transfer),
                Some(Err(why)) if notes.contains(&why) => {}
                Some(Err(why)) => notes.push(why),
            }
        }
    }
    Ok(Some(CellResult::new(cell.clone(), &kernel, &corelane, notes)))
}

/// A line for those who wait.
fn progress(number: usize, all: usize, found: &CellResult) {
    let goodput =
        |side: &Option<super::result::Side>| side.as_ref().map_or("-".to_owned(), |side| units::bit_rate(side.goodput));
    let (kernel, ours) = (goodput(&found.kernel), goodput(&found.corelane));
    let _ = writeln!(
        std::io::stderr(),
        "{number:>3} of {all}: {:<45} kernel {kernel:>11}, corelane {ours:>11}",
        found.name
    );
}

/// Whether the result is what was asked for.
fn judge(args: &PathArgs, result: &PathResult) -> Result<(), Failure> {
    for threshold in &args.fail_if {
        if let Some((value, cell)) = threshold.check(result) {
            let of = cell.map(|cell| format!(" in {cell}")).unwrap_or_default();
            return Err(Failure::Threshold(format!("--fail-if {threshold} holds: the value is {value:.3}{of}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_begins_at_a_dash() {
        let name = "cubic-100mbit-11ms-1bdp-loss0.1%";
        for part in ["cubic", "11ms", "loss0.1%", "100mbit-11ms", "1bdp"] {
            assert!(has_part(name, part), "{part}");
        }
        for part in ["1ms", "bic", "bbr", "1%", "loss1%"] {
            assert!(!has_part(name, part), "{part}");
        }
    }
}
