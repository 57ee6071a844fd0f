//! Reports as a table.

use super::Report;
use std::fmt;

/// Reports, one a line, with what was measured below.
pub struct Table<'a>(pub &'a [Report]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|report| report.name.len()).max().unwrap_or(0).max("attack".len());
        writeln!(
            f,
            "{:width$}  {:>9}  {:>8}  {:>6}  {:>9}  {:>9}  {:>12}  verdict",
            "attack", "packets", "replies", "frames", "KiB", "ns/packet", "victim lost"
        )?;
        for report in self.0 {
            writeln!(
                f,
                "{:width$}  {:>9}  {:>8}  {:>6}  {:>9}  {:>9}  {:>12}  {}",
                report.name,
                report.packets,
                report.replies,
                report.frames_at_peak,
                report.bytes_at_peak / 1024,
                report.ns_per_packet,
                format!("{} of {}", report.victim_lost, report.victim_bytes),
                if report.held() { "held" } else { "BROKEN" }
            )?;
        }
        for report in self.0 {
            writeln!(f, "\n{}: {}", report.name, report.about)?;
            report.facts.iter().try_for_each(|fact| writeln!(f, "  {fact}"))?;
            report.broken.iter().try_for_each(|what| writeln!(f, "  BROKEN: {what}"))?;
        }
        Ok(())
    }
}
