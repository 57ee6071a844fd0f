//! What `load` prints: the table, the curve, and what is not to be trusted.

use super::details::{CurvePoint, Details};
use crate::failure::Failure;
use crate::report::{self, Loaded, units};
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints one load on stdout.
pub(super) fn print(load: &Loaded) -> Result<(), Failure> {
    let details = &load.result.details;
    // A closed pipe is the reader's wish.
    if !details.name.is_empty() {
        let _ = writeln!(std::io::stdout(), "[{}]", details.name);
    }
    report::print(std::slice::from_ref(load), false)?;
    let end = if details.name.is_empty() { "" } else { "\n" };
    let _ = write!(std::io::stdout(), "{}{end}", text(details));
    Ok(())
}

fn text(details: &Details) -> String {
    let mut text = String::new();
    if !details.curve.is_empty() {
        curve(&mut text, &details.curve);
    }
    if let Some(found) = details.found_rate {
        let _ = writeln!(text, "\n{} is the highest rate that kept {}", units::rate(found), details.slo.join(", "));
    }
    if !details.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &details.warnings {
        let _ = writeln!(text, "beware: {warning}");
    }
    text
}

fn curve(text: &mut String, points: &[CurvePoint]) {
    let _ = writeln!(
        text,
        "\n{:>8}{:>12}{:>12}{:>11}{:>11}{:>11}{:>11}",
        "at", "offered", "achieved", "p50", "p99", "p99.9", "max"
    );
    for point in points {
        let latency = &point.latency_ns;
        let _ = write!(
            text,
            "{:>6.1} s{:>12}{:>12}",
            point.at_s,
            units::rate(point.offered_rate),
            units::rate(point.achieved_rate)
        );
        for value in [latency.p50, latency.p99, latency.p99_9, latency.max] {
            let _ = write!(text, "{:>11}", units::time(value as f64));
        }
        let errors = if point.errors > 0 { format!("  {} errors", point.errors) } else { String::new() };
        let verdict = match point.is_good {
            Some(true) => "  kept",
            Some(false) => "  broken",
            None => "",
        };
        let _ = writeln!(text, "{verdict}{errors}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::result::Percentiles;

    #[test]
    fn a_search_shows_its_tries_and_what_it_found() {
        let latency_ns =
            Percentiles { p50: 1_000, p99: 20_000, p99_9: 300_000, max: 4_000_000, ..Percentiles::default() };
        let point = CurvePoint { offered_rate: 1e3, achieved_rate: 999.0, latency_ns, ..CurvePoint::default() };
        let details = Details {
            curve: vec![
                CurvePoint { is_good: Some(true), ..point.clone() },
                CurvePoint { is_good: Some(false), errors: 3, at_s: 2.0, ..point },
            ],
            found_rate: Some(1e3),
            slo: vec!["p99<=200us".to_owned()],
            warnings: vec!["it was late".to_owned()],
            ..Details::default()
        };
        let text = text(&details);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[2][..],
            "0.0 s 1.00 k/s 999/s 1.00 us 20.0 us 300 us 4.00 ms kept".split(' ').collect::<Vec<_>>()
        );
        assert!(text.contains("broken  3 errors\n\n1.00 k/s is the highest rate that kept p99<=200us\n"), "{text}");
        assert!(text.ends_with("\nbeware: it was late\n"), "{text}");
        assert_eq!(super::text(&Details::default()), "");
    }
}
