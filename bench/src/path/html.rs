//! report.html of a comparison: one page without anything from elsewhere. A bar for each cell's ratio, and the table.

use super::result::{CellResult, PathResult, Side};
use super::table::{conditions, path, verdict};
use crate::report::html::{STYLE, escape};
use crate::report::units;
use std::fmt::Write;

/// The figure's frame in its own units.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 20.0;
/// The ratio at the right end; longer bars are cut there.
const MOST: f64 = 2.0;

/// The page.
pub fn page(result: &PathResult) -> String {
    let mut page = String::with_capacity(32 * 1024);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>corelane-bench path</title>\n\
         <style>{STYLE}</style>\n<h1>Bad paths: Corelane's sender beside the kernel's</h1>\n<table>\n"
    );
    for (name, value) in verdict(result) {
        let _ = writeln!(page, "<tr><td>{name}</td><td style=\"text-align:left\">{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n<h2>Goodput, Corelane over the kernel</h2>\n");
    bars(&mut page, result);
    page.push_str("<h2>Cells</h2>\n");
    cells(&mut page, result);
    let _ = writeln!(page, "<p>{}</p>\n</html>", escape(&conditions(result)));
    page
}

fn bars(page: &mut String, result: &PathResult) {
    let height = ROW * (result.cells.len() + 1) as f64;
    let across = |ratio: f64| LEFT + (ratio.clamp(0.0, MOST) / MOST) * (WIDTH - LEFT - RIGHT);
    let _ = writeln!(page, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"ratio of each cell\">");
    for mark in [0.0, 0.8, 1.0, MOST] {
        let at = across(mark);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{ROW}\" y2=\"{height}\"/>\
             <text x=\"{at:.1}\" y=\"14\" text-anchor=\"middle\">{mark}</text>"
        );
    }
    for (number, found) in result.cells.iter().enumerate() {
        let top = ROW * (number + 1) as f64;
        let name = escape(&found.name);
        let _ =
            writeln!(page, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, top + 14.0);
        if let Some(ratio) = found.ratio {
            let colour = if ratio < 0.8 { "#d9622b" } else { "#2f6fde" };
            let _ = writeln!(
                page,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
                top + 3.0,
                across(ratio) - LEFT,
                ROW - 6.0,
                across(ratio) + 6.0,
                top + 14.0
            );
        }
    }
    page.push_str("</svg>\n");
}

fn cells(page: &mut String, result: &PathResult) {
    page.push_str(
        "<table>\n<thead><tr><th>algorithm, path</th><th>kernel</th><th>corelane</th><th>ratio</th><th>again</th>\
         <th>needless</th><th>time-outs</th><th>undone</th><th></th></tr></thead>\n",
    );
    for found in &result.cells {
        cell(page, found);
    }
    page.push_str("</table>\n");
}

fn cell(page: &mut String, found: &CellResult) {
    let of = |side: &Option<Side>, show: &dyn Fn(&Side) -> String| side.as_ref().map_or("-".to_owned(), show);
    let pair = |show: &dyn Fn(&Side) -> String| format!("{} / {}", of(&found.kernel, show), of(&found.corelane, show));
    let goodput = |side: &Side| units::bit_rate(side.goodput);
    let _ = writeln!(
        page,
        "<tr><td>{}, {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&found.cell.algorithm),
        escape(&path(&found.cell)),
        of(&found.kernel, &goodput),
        of(&found.corelane, &goodput),
        found.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        pair(&|side| format!("{:.2} %", side.retransmitted_percent())),
        pair(&|side| side.needless_segments.to_string()),
        pair(&|side| side.time_outs.to_string()),
        pair(&|side| side.undone.map_or("-".to_owned(), |undone| undone.to_string())),
        escape(&found.notes.join("; ")),
    );
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::result;
    use super::*;

    #[test]
    fn each_cell_has_a_bar_and_a_row() {
        let mut result = result([(100, 100), (100, 50), (80, 95), (100, 900)]);
        result.cells[0].notes.push("a < b".to_owned());
        let page = page(&result);
        assert_eq!((page.matches("<rect ").count(), page.matches("<tr><td>").count()), (4, 4 + verdict(&result).len()));
        assert_eq!(page.matches("#d9622b").count(), 1);
        assert!(page.contains("a &lt; b") && page.contains(">9.00<"), "{page}");
        let widest = WIDTH - LEFT - RIGHT;
        assert!(page.contains(&format!("width=\"{widest:.1}\"")), "a bar is cut at the frame");
    }
}
