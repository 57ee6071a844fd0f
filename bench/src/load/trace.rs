//! Due times from a file: what a real system's log says, played again.
//!
//! ```text
//! # anything after a # is a comment; empty lines are skipped
//! offset_us
//! 0
//! 150.5
//! 150.5
//! 2000
//! ```
//!
//! The first line that is not a comment says what the numbers are: `offset_` (since the start, not falling) or `gap_`
//! (since the request before), and `ns`, `us`, `ms` or `s`. Then one number a line.

use crate::failure::Failure;
use std::path::Path;
use std::sync::Arc;

/// More requests than this do not fit one trace; each takes 8 bytes.
pub const LIMIT: usize = 100_000_000;
/// The latest offset: a hundred days.
const LATEST_NS: f64 = 100.0 * 86_400.0 * 1e9;

/// Due times in nanoseconds since the start, not falling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace(Arc<[u64]>);

impl Trace {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("--trace {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|(line, what)| Failure::Usage(format!("{}:{line}: {what}", path.display())))
    }

    /// Reads the text of a file. The error is a line's number, from 1, and a sentence.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut numbering = None;
        let mut times: Vec<u64> = Vec::new();
        let (mut last, mut line) = (0.0, 0);
        for content in text.lines() {
            line += 1;
            let content = content.split('#').next().unwrap_or("").trim();
            if content.is_empty() {
                continue;
            }
            let Some((is_gap, unit_ns)) = numbering else {
                numbering = Some(header(content).ok_or_else(|| {
                    (line, format!("`{content}` is not a heading such as offset_us or gap_ms, which comes first"))
                })?);
                continue;
            };
            let number = content.parse::<f64>().ok().filter(|number| *number >= 0.0);
            let number = number.ok_or_else(|| (line, format!("`{content}` is not a number of at least 0")))? * unit_ns;
            let time = if is_gap { last + number } else { number };
            if time < last {
                return Err((line, format!("`{content}` is earlier than the line before; sort the offsets")));
            }
            if time > LATEST_NS {
                return Err((line, format!("`{content}` is later than a hundred days; is the unit right?")));
            }
            if times.len() == LIMIT {
                return Err((line, format!("there are more than {LIMIT} requests")));
            }
            last = time;
            times.push(time.round() as u64);
        }
        if times.is_empty() {
            return Err((line.max(1), "there is no request in the trace".to_owned()));
        }
        Ok(Self(times.into()))
    }

    /// The due times.
    pub fn times(&self) -> &Arc<[u64]> {
        &self.0
    }

    /// When the last request is due, in nanoseconds since the start.
    pub fn last_ns(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

fn header(content: &str) -> Option<(bool, f64)> {
    let (kind, unit) = content.split_once('_')?;
    let is_gap = match kind {
        "offset" => false,
        "gap" => true,
        _ => return None,
    };
    let unit_ns = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some((is_gap, unit_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_gaps_are_read() {
        let offsets = Trace::parse("# a log\noffset_us\n0\n\n150.5 # twice\n150.5\n2000\n").unwrap();
        assert_eq!(offsets.times()[..], [0, 150_500, 150_500, 2_000_000]);
        let gaps = Trace::parse("gap_ms\n1\n0\n2.5\n").unwrap();
        assert_eq!(gaps.times()[..], [1_000_000, 1_000_000, 3_500_000]);
        assert_eq!(gaps.last_ns(), 3_500_000);
    }

    #[test]
    fn errors_cite_the_line() {
        for (text, line, part) in [
            ("", 1, "no request"),
            ("offset_us\n", 1, "no request"),
            ("1\n2\n", 1, "heading"),
            ("offset_min\n1\n", 1, "heading"),
            ("offset_us\n1\nx\n", 3, "`x` is not a number"),
            ("gap_us\n1\n-1\n", 3, "at least 0"),
            ("gap_us\nNaN\n", 2, "at least 0"),
            ("#\n\noffset_us\n5\n4\n", 5, "earlier"),
            ("gap_s\n1e9\n", 2, "hundred days"),
        ] {
            let (at, what) = Trace::parse(text).unwrap_err();
            assert!(at == line && what.contains(part), "{text:?}: {at} {what}");
        }
    }
}
