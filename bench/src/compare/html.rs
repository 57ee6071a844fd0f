//! report.html of a comparison: how many promises are kept and by how much, charts, all cells, and the conditions. One page
//! without anything from elsewhere.

use super::bars::Bar;
use super::matrix::{Cell, Workload};
use super::pair::Pair;
use super::result::CompareResult;
use super::table::{HEADS, LEGEND, cells, facts, title, verdict};
use crate::report::chart::{self, ByConnections};
use crate::report::html::{END, begin, escape};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// The latencies of a cell, all rounds together.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Which.
    pub cell: Cell,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

/// Adds `more` to what is there of the same cells.
pub(crate) fn add(all: &mut Vec<Distribution>, more: Vec<Distribution>) {
    for one in more {
        match all.iter_mut().find(|known| known.cell == one.cell) {
            // Equal bounds: adding cannot fail.
            Some(known) => _ = known.latency.add(&one.latency),
            None => all.push(one),
        }
    }
}

/// The page.
pub fn page(result: &CompareResult, distributions: &[Distribution]) -> String {
    let mut page = begin("Corelane and the kernel, side by side");
    let kept = result.bars.iter().filter(|bar| bar.met == Some(true)).count();
    let measured = result.bars.iter().filter(|bar| bar.met.is_some()).count();
    let environment = result.environment.first();
    let _ = writeln!(
        page,
        "<p class=\"sub\">{kept} of {measured} bars met, {} not measured. Medians of {} rounds of {} s over veth; Linux {}.</p>",
        result.bars.len() - measured,
        result.rows.iter().map(|row| row.runs.len()).max().unwrap_or(0),
        result.matrix.seconds,
        escape(environment.map_or("", |environment| &environment.kernel)),
    );
    if result.environment.iter().any(|environment| environment.load_before > 1.0) {
        page.push_str(
            "<p class=\"beware\">Other programs ran on the machine while it measured: take no figure from here.</p>\n",
        );
    }
    bars(&mut page, &result.bars);
    for (caption, (name, svg)) in captions(result, distributions) {
        let _ = writeln!(page, "<h2>{}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>", escape(&name));
    }
    table(&mut page, result);
    page.push_str("<h2>Environment</h2>\n");
    for environment in &result.environment {
        page.push_str("<table class=\"left\">\n");
        for (name, value) in facts(environment) {
            let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escape(&value));
        }
        page.push_str("</table>\n");
    }
    page.push_str(END);
    page
}

/// Each chart of a page with the name of its file.
pub fn charts(result: &CompareResult, distributions: &[Distribution]) -> Vec<(String, String)> {
    let all = captions(result, distributions);
    all.into_iter()
        .map(|(_, (name, svg))| (name.to_lowercase().replace([' ', ','], "-").replace("--", "-"), svg))
        .collect()
}

/// Charts with their headings, and before each its caption.
fn captions(result: &CompareResult, distributions: &[Distribution]) -> Vec<(&'static str, (String, String))> {
    let mut charts = Vec::new();
    let pairs = pairs(result);
    let number = |pair: Pair| pairs.iter().position(|known| *known == pair).unwrap_or(0);
    let echo = |cell: &Cell| cell.workload == Workload::Echo && cell.size == Some(64);
    let mut series: Vec<ByConnections> = Vec::new();
    for row in result.rows.iter().filter(|row| echo(&row.cell)) {
        let Some(rate) = row.rate else { continue };
        let name = row.cell.pair.to_string();
        let point = (row.cell.connections, rate.median);
        match series.iter_mut().find(|known| known.name == name) {
            Some(known) => known.points.push(point),
            None => series.push(ByConnections { name, colour: number(row.cell.pair), points: vec![point] }),
        }
    }
    if series.iter().any(|one| one.points.len() > 1) {
        let caption = "Exchanges a second of 64 bytes, closed loop: one request in flight on each connection.";
        charts.push((caption, ("Echoes by connections".to_owned(), chart::by_connections(&series))));
    }
    let mut counts: Vec<usize> =
        distributions.iter().filter(|one| echo(&one.cell)).map(|one| one.cell.connections).collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts.into_iter().filter(|count| [1, 64].contains(count)) {
        let of = distributions.iter().filter(|one| echo(&one.cell) && one.cell.connections == count);
        let curves: Vec<_> =
            of.map(|one| (one.cell.pair.to_string(), number(one.cell.pair), false, &one.latency)).collect();
        let plural = if count == 1 { "" } else { "s" };
        let name = format!("Round trips of 64 bytes, {count} connection{plural}");
        charts.push(("All rounds together. Both axes are logarithmic.", (name, chart::percentiles(&curves))));
    }
    charts
}

/// The pairs in the order of the table, each of which has a colour.
fn pairs(result: &CompareResult) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for row in &result.rows {
        if !pairs.contains(&row.cell.pair) {
            pairs.push(row.cell.pair);
        }
    }
    pairs
}

/// How far a bar's figure reaches, 1 being what is promised, and twice that at most.
fn reach(bar: &Bar) -> Option<f64> {
    let measured = bar.measured.filter(|measured| *measured > 0.0)?;
    Some((if bar.at_most { bar.bar / measured } else { measured / bar.bar }).clamp(0.0, 2.0))
}

fn bars(page: &mut String, bars: &[Bar]) {
    page.push_str(
        "<h2>Bars</h2>\n<table class=\"bars\">\n<thead><tr><th></th><th>bar</th><th>measured</th><th>met?</th><th></th></tr></thead>\n<tbody>\n",
    );
    for bar in bars {
        let [bound, measured, met] = verdict(bar);
        let class = match bar.met {
            None => "faint",
            Some(true) => "good",
            Some(false) => "bad",
        };
        let picture = reach(bar).map_or_else(String::new, |reach| {
            format!(
                "<svg viewBox=\"0 0 160 14\" role=\"img\" aria-label=\"{:.0}% of the bar\">\
                 <rect class=\"{class}\" x=\"0\" y=\"3\" width=\"{:.0}\" height=\"8\" fill=\"currentColor\"/>\
                 <line x1=\"80\" x2=\"80\" y1=\"0\" y2=\"14\" stroke=\"currentColor\" stroke-width=\"1.5\"/></svg>",
                reach * 100.0,
                reach * 80.0
            )
        });
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{measured}</td><td class=\"{class}\">{met}</td><td>{picture}</td></tr>",
            escape(&bar.what),
            escape(&bound)
        );
    }
    page.push_str(
        "</tbody></table>\n<p class=\"faint\">The line in each picture is the bar; a longer one is better.</p>\n",
    );
}

fn table(page: &mut String, result: &CompareResult) {
    page.push_str("<h2>All cells</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for head in HEADS {
        let _ = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let mut last = String::new();
    for row in &result.rows {
        let title = title(&row.cell);
        if title != last {
            let _ = writeln!(page, "<tr class=\"head\"><td colspan=\"{}\">{}</td></tr>", HEADS.len(), escape(&title));
            last = title;
        }
        page.push_str("<tr>");
        for cell in cells(row) {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>\n");
        for note in &row.notes {
            let _ = writeln!(page, "<tr><td class=\"beware\" colspan=\"{}\">{}</td></tr>", HEADS.len(), escape(note));
        }
    }
    let _ = writeln!(page, "</tbody></table></div>\n<p class=\"faint\">{}</p>", escape(&LEGEND.join(" ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::result::tests::{result, row};
    use crate::load::recorder::histogram;
    use crate::report::html::tests::expect_well_formed;

    fn example() -> (CompareResult, Vec<Distribution>) {
        let mut rows = vec![
            row(Workload::Echo, 1, "raw-to-raw", &[(0, 100_000.0, 10_000)]),
            row(Workload::Echo, 1, "corelane-to-corelane", &[(0, 90_000.0, 15_000)]),
            row(Workload::Echo, 64, "raw-to-raw", &[(0, 300_000.0, 10_000)]),
            row(Workload::Echo, 64, "corelane-to-corelane", &[(0, 270_000.0, 15_000)]),
            row(Workload::Churn, 64, "kernel-to-kernel", &[]),
        ];
        rows[4].notes.push("the client ended: <gone> & \"away\"".to_owned());
        let mut latency = histogram();
        latency.record_n(10_000, 1000).unwrap();
        let of = |row: &crate::compare::result::Row| Distribution { cell: row.cell, latency: latency.clone() };
        let distributions = rows[..4].iter().map(of).collect();
        (result(rows), distributions)
    }

    #[test]
    fn a_page_has_every_section_is_well_formed_and_escapes_what_it_shows() {
        let (result, distributions) = example();
        let page = page(&result, &distributions);
        expect_well_formed(&page);
        for section in
            ["Bars", "Echoes by connections", "Round trips of 64 bytes, 1 connection", "All cells", "Environment"]
        {
            assert!(page.contains(&format!("<h2>{section}</h2>")), "{section}: {page}");
        }
        assert!(page.contains("&lt;gone&gt; &amp; &quot;away&quot;") && !page.contains("<gone>"), "{page}");
        assert!(page.contains("&lt;b&gt;a &amp; b"), "the processor's name");
        // 1.5 by a bar of 1.25; 0.9 by one of 0.85.
        assert!(page.contains("<td>1.500x</td><td class=\"bad\">no</td>"), "{page}");
        assert!(page.contains("<td>0.900x</td><td class=\"good\">yes</td>"), "{page}");
        assert!(page.contains("1 of 2 bars met"), "{page}");
        let names: Vec<String> = charts(&result, &distributions).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["echoes-by-connections", "round-trips-of-64-bytes-1-connection", "round-trips-of-64-bytes-64-connections"]
        );
    }

    #[test]
    fn histograms_of_a_cell_are_added() {
        let (_, mut all) = example();
        let (_, more) = example();
        add(&mut all, more);
        assert_eq!(all.iter().map(|one| one.latency.len()).collect::<Vec<_>>(), [2000; 4]);
    }

    #[test]
    fn a_picture_shows_how_far_it_is() {
        let bar = |bar, at_most, measured| Bar { what: String::new(), bar, at_most, measured, met: None };
        assert_eq!(reach(&bar(2.0, false, Some(1.0))), Some(0.5));
        assert_eq!(reach(&bar(0.5, true, Some(1.0))), Some(0.5));
        assert_eq!(reach(&bar(1.0, false, Some(9.0))), Some(2.0));
        assert_eq!(reach(&bar(1.0, false, None)), None);
    }
}
