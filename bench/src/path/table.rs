//! The table on the terminal: a row for each cell, and what they say together.

use super::matrix::Cell;
use super::result::{CellResult, PathResult, Side, median};
use crate::report::table::bold;
use crate::report::units;
use std::fmt::Write;

/// The heads of the columns. The first two are aligned to the left.
const HEADS: [&str; 10] =
    ["algorithm", "path", "kernel", "corelane", "ratio", "again %", "needless", "time-outs", "undone", ""];

/// The table's text.
pub fn render(result: &PathResult, colour: bool) -> String {
    let rows: Vec<[String; 10]> = result.cells.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |cells: &[String; 10]| {
        let mut text = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            match column {
                0 | 1 | 9 => _ = write!(text, "{cell:<width$}  "),
                _ => _ = write!(text, "{cell:>width$}  "),
            }
        }
        text.trim_end().to_owned()
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}", bold(&line(&HEADS.map(str::to_owned)), colour));
    for row in &rows {
        let _ = writeln!(text, "{}", line(row));
    }
    let _ = writeln!(text, "\nPairs are kernel/corelane. {}", conditions(result));
    text.push('\n');
    for (name, value) in verdict(result) {
        let _ = writeln!(text, "{name:<16}{value}");
    }
    text
}

/// What the figures mean, in a sentence or two.
pub(super) fn conditions(result: &PathResult) -> String {
    format!(
        "again: payload sent more than once; needless: segments with nothing new for the receiver. \
         Medians of {} x {} s; kernel {}, idle cores {}.",
        result.matrix.rounds,
        result.matrix.seconds,
        result.kernel,
        if result.cpu_dma_latency_held { "held awake" } else { "may halt, which costs all delays some 50 us" }
    )
}

fn row(found: &CellResult) -> [String; 10] {
    let goodput = |side: &Option<Side>| side.as_ref().map_or("-".to_owned(), |side| units::bit_rate(side.goodput));
    let pair = |show: &dyn Fn(&Side) -> String| {
        let one = |side: &Option<Side>| side.as_ref().map_or("-".to_owned(), show);
        format!("{}/{}", one(&found.kernel), one(&found.corelane))
    };
    [
        found.cell.algorithm.clone(),
        path(&found.cell),
        goodput(&found.kernel),
        goodput(&found.corelane),
        found.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        pair(&|side| format!("{:.2}", side.retransmitted_percent())),
        pair(&|side| side.needless_segments.to_string()),
        pair(&|side| side.time_outs.to_string()),
        pair(&|side| side.undone.map_or("-".to_owned(), |undone| undone.to_string())),
        found.notes.join("; "),
    ]
}

/// The path in words.
pub(super) fn path(cell: &Cell) -> String {
    let Cell { algorithm: _, rate_mbit, rtt_ms, buffer_bdp, loss_percent, reorder_percent } = cell;
    let mut text = format!("{rate_mbit:>3} Mbit/s {rtt_ms:>3} ms, {buffer_bdp:>3} BDP");
    if *loss_percent > 0.0 {
        let _ = write!(text, ", lose {loss_percent} %");
    }
    if *reorder_percent > 0.0 {
        let _ = write!(text, ", reorder {reorder_percent} %");
    }
    text
}

/// What all cells say together: a name and a sentence each.
pub(super) fn verdict(result: &PathResult) -> Vec<(&'static str, String)> {
    let ratios = result.ratios();
    let below = ratios.iter().filter(|(ratio, _)| *ratio < 0.8).count();
    let mut lines = Vec::new();
    match (result.median_ratio, &result.worst_cell, result.worst_ratio) {
        (Some(median), Some(worst), Some(ratio)) => {
            let each = medians(result).join(", ");
            lines.push(("median ratio", format!("{median:.2} of {} cells ({each}), {below} below 0.80", ratios.len())));
            lines.push(("worst cell", format!("{ratio:.2} {worst}")));
        }
        _ => lines.push(("median ratio", "no cell was measured with both senders".to_owned())),
    }
    let more = result.cells.iter().filter(|cell| cell.excess_percent().is_some_and(|excess| excess > 0.0)).count();
    lines.push(("sent again", format!("more than the kernel in {more} of {} cells", ratios.len())));
    for (cell, shares) in result.reordering() {
        let [kernel, ours] =
            shares.map(|share| share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0)));
        let what = format!("{}, {}", cell.cell.algorithm, path(&cell.cell).trim_start());
        lines.push(("reordering", format!("kernel {kernel}, corelane {ours} of the clean path ({what})")));
    }
    lines
}

/// The median ratio of each algorithm, in the order of the cells.
fn medians(result: &PathResult) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for cell in &result.cells {
        if !names.contains(&&*cell.cell.algorithm) {
            names.push(&cell.cell.algorithm);
        }
    }
    let of = |name: &&str| {
        let cells = result.cells.iter().filter(|cell| cell.cell.algorithm == *name);
        let ratios: Vec<f64> = cells.filter_map(|cell| cell.ratio).collect();
        median(&ratios).map(|median| format!("{name} {median:.2}"))
    };
    names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::result;
    use super::*;

    #[test]
    fn the_columns_align() {
        let mut result = result([(100, 100), (10_000_000, 50), (80, 95), (100, 0)]);
        result.cells[3].notes.push("corelane sends with newreno".to_owned());
        let text = render(&result, false);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[0].find("ratio").unwrap() + "ratio".len();
        for (row, ratio) in [(1, " 1.00"), (2, " 0.00"), (3, " 1.19"), (4, " 0.00")] {
            assert!(lines[row][..end].ends_with(ratio), "{text}");
        }
        assert!(lines[4].ends_with("2/2     1/1  corelane sends with newreno"), "{text}");
        assert!(text.contains("\nmedian ratio    0.50 of 4 cells (cubic 1.00, bbr 0.00), 2 below 0.80\n"), "{text}");
        assert!(text.contains("kernel 80.0 %, corelane 95.0 % of the clean path (cubic, 100 Mbit/s"), "{text}");
    }

    #[test]
    fn a_side_that_is_missing_is_a_dash() {
        let mut result = result([(100, 100); 4]);
        result.cells.truncate(1);
        (result.cells[0].kernel, result.cells[0].ratio) = (None, None);
        let text = render(&result.summed_up(), true);
        assert!(text.starts_with("\x1b[1malgorithm"), "{text}");
        assert!(text.contains("-/0.00") && text.contains("no cell was measured with both senders"), "{text}");
    }
}
