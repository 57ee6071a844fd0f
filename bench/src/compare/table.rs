//! The tables on the terminal: the bars, and a row for each cell.

use super::bars::Bar;
use super::matrix::Cell;
use super::result::{CompareResult, Environment, Row, Spread};
use crate::report::table::bold;
use crate::report::units;
use std::fmt::Write;

/// The heads of the columns; the first is aligned to the left.
pub(super) const HEADS: [&str; 11] = [
    "client to server",
    "rate",
    "least - most",
    "p50",
    "p99",
    "/raw",
    "/kernel",
    "/same client",
    "client core",
    "server core",
    "frames, kicks",
];

/// What the heads mean, in lines for a terminal.
pub(super) const LEGEND: [&str; 5] = [
    "/raw: rate by that of bare AF_XDP frames, as many in flight (an http or churn row: by echoes of 64 bytes).",
    "/kernel: by the kernel's sleeping sockets on both ends. /same client: by a kernel's server under the same client.",
    "Cores: busy, and of that in softirq, whoever ran there; on veth the sender's core pays for the receiver's.",
    "Frames (in and out) and sendto calls at the server, over the whole run, for each exchange; for bulk, for each 64 KiB.",
    "Ratios are medians over the rounds, each between runs of the same round.",
];

/// The tables' text.
pub fn render(result: &CompareResult, colour: bool) -> String {
    let mut text = String::new();
    let all: Vec<[String; 11]> = result.rows.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = all.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |cells: &[String; 11]| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 => _ = write!(text, "  {cell:<width$}"),
                _ => _ = write!(text, "  {cell:>width$}"),
            }
        }
        text.trim_end().to_owned()
    };
    let _ = writeln!(text, "{}", bold(&line(&HEADS.map(str::to_owned)), colour));
    let mut last = String::new();
    for (row, cells) in result.rows.iter().zip(&all) {
        let title = title(&row.cell);
        if title != last {
            let _ = writeln!(text, "{}", bold(&title, colour));
            last = title;
        }
        let _ = writeln!(text, "{}", line(cells));
        for note in &row.notes {
            let _ = writeln!(text, "      {note}");
        }
    }
    let _ = writeln!(text, "\n{}\n", LEGEND.join("\n"));
    let width = result.bars.iter().map(|bar| bar.what.chars().count()).max().unwrap_or(0);
    let _ = writeln!(text, "{}", bold(&format!("{:<width$}  {:>8}  {:>8}  met?", "", "bar", "measured"), colour));
    for bar in &result.bars {
        let [bound, measured, met] = verdict(bar);
        let _ = writeln!(text, "{:<width$}  {bound:>8}  {measured:>8}  {met}", bar.what);
    }
    text.push('\n');
    for environment in &result.environment {
        for (name, value) in facts(environment) {
            let _ = writeln!(text, "{name:<18}{value}");
        }
        text.push('\n');
    }
    text
}

/// What stands above the cells that are compared with each other.
pub(super) fn title(cell: &Cell) -> String {
    let size = cell.size.map(|size| format!(", {size} B")).unwrap_or_default();
    let plural = if cell.connections == 1 { "" } else { "s" };
    format!("{}{size}, {} connection{plural}", cell.workload.name(), cell.connections)
}

/// A rate in the cell's unit.
pub(super) fn rate(cell: &Cell, rate: f64) -> String {
    if cell.workload.is_bulk() { units::bit_rate(rate / 8.0) } else { units::rate(rate) }
}

/// What the columns say of a row.
pub(super) fn cells(row: &Row) -> [String; 11] {
    let none = || "-".to_owned();
    let times = |value: Option<f64>| value.map_or_else(none, |value| format!("{value:.2}x"));
    let time = |value: Option<Spread>| value.map_or_else(none, |spread| units::time(spread.median));
    let core = |busy: Option<f64>, softirq: Option<f64>| match busy.zip(softirq) {
        Some((busy, softirq)) => format!("{:.0}%, {:.0}%", busy * 100.0, softirq * 100.0),
        None => none(),
    };
    let both = row.middle(|run| run.frames_per_exchange).zip(row.middle(|run| run.kicks_per_exchange));
    let errors: u64 = row.runs.iter().map(|run| run.errors).sum();
    let name = row.cell.pair.to_string();
    [
        if errors == 0 { name } else { format!("{name} ({} errors)", units::count(errors)) },
        row.rate.map_or_else(none, |spread| rate(&row.cell, spread.median)),
        row.rate.map_or_else(none, |spread| {
            format!("{} - {}", rate(&row.cell, spread.least), rate(&row.cell, spread.most))
        }),
        time(row.p50_ns),
        time(row.p99_ns),
        times(row.over_raw),
        times(row.over_kernel),
        times(row.over_same_client),
        core(row.middle(|run| Some(run.client_core.busy)), row.middle(|run| Some(run.client_core.softirq))),
        core(row.middle(|run| Some(run.server_core.busy)), row.middle(|run| Some(run.server_core.softirq))),
        both.map_or_else(none, |(frames, kicks)| format!("{frames:.2}, {kicks:.2}")),
    ]
}

/// The bar, what was measured, and whether it is met.
pub(super) fn verdict(bar: &Bar) -> [String; 3] {
    let sign = if bar.at_most { "<=" } else { ">=" };
    let met = match bar.met {
        None => "not measured",
        Some(true) => "yes",
        Some(false) => "no",
    };
    [
        format!("{sign} {:.2}x", bar.bar),
        // One digit more than the bar has: what just misses it does not look like it.
        bar.measured.map_or("-".to_owned(), |found| format!("{found:.3}x")),
        met.to_owned(),
    ]
}

/// The conditions of a comparison.
pub(super) fn facts(environment: &Environment) -> Vec<(&'static str, String)> {
    let ours = &environment.corelane_congestion_control;
    let Environment { version, kernel, processor, is_virtual, cores, client_core, server_core, .. } = environment;
    let halting = if environment.cpu_dma_latency_held {
        "held off (/dev/cpu_dma_latency)"
    } else {
        "allowed, which costs every wake-up some 50 us"
    };
    let machine = if *is_virtual { ", virtual" } else { "" };
    let others = if environment.load_before > 1.0 { ": others ran too, so that figures are poor" } else { "" };
    let complete = if environment.complete { "" } else { ", stopped before its end" };
    vec![
        (
            "machine",
            format!("{processor}{machine}, cores {cores:?}; clients on {client_core}, servers on {server_core}"),
        ),
        ("kernel", format!("Linux {kernel}, {} on its sockets, {ours} on Corelane's", environment.congestion_control)),
        ("halting", halting.to_owned()),
        ("load average", format!("{:.2} before, {:.2} after{others}", environment.load_before, environment.load_after)),
        ("corelane-bench", format!("{version}, {:.0} s{complete}", environment.took_s)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::matrix::Workload;
    use crate::compare::result::tests::{result, row};

    #[test]
    fn a_row_has_its_ratios_and_a_bar_its_verdict() {
        let mut rows = vec![
            row(Workload::Echo, 16, "raw-to-raw", &[(0, 100_000.0, 10_000)]),
            row(Workload::Echo, 16, "corelane-to-corelane", &[(0, 90_000.0, 12_000), (1, 80_000.0, 11_000)]),
            row(Workload::BulkSend, 1, "kernel-to-corelane", &[]),
        ];
        rows[2].notes.push("the server does not listen within 10 s".to_owned());
        rows[1].runs[0].errors = 3;
        let text = render(&result(rows), false);
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).expect(start);
            line.split_whitespace().map(str::to_owned).collect()
        };
        let found = words("corelane-to-corelane").join(" ");
        assert!(found.starts_with("corelane-to-corelane (3 errors) 85.0 k/s 80.0 k/s - 90.0 k/s 11.5 us"), "{found}");
        assert!(found.contains("0.90x - - 90%, 50% 80%, 10% 2.00, 0.50"), "{found}");
        assert!(text.contains("echo, 64 B, 16 connections\n") && text.contains("bulk-send, 1 connection\n"), "{text}");
        assert!(text.contains("      the server does not listen"), "{text}");
        let bar = text.lines().find(|line| line.starts_with("echoes: Corelane to Corelane / raw, 16")).unwrap();
        assert!(bar.ends_with(">= 0.85x    0.900x  yes"), "{bar}");
        assert!(text.contains("not measured"), "{text}");
    }
}
