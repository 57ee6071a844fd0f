//! Tables as text: aligned, with whole numbers behind every figure, so that they are the same everywhere.

use std::fmt;
use std::time::Duration;

/// A table, line by line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    /// The name of its snapshot.
    pub name: &'static str,
    /// Its lines; `None` for those that were left out of a sample.
    pub lines: Vec<Option<String>>,
}

impl Table {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, lines: Vec::new() }
    }

    /// Adds `text`, which may have several lines; nothing stands at the end of one.
    pub(super) fn push(&mut self, text: &str) {
        let lines: Vec<_> = if text.is_empty() { vec![""] } else { text.lines().collect() };
        self.lines.extend(lines.into_iter().map(|line| Some(line.trim_end().to_owned())));
    }

    /// Adds a line that this sample has not made.
    pub(super) fn skip(&mut self) {
        self.lines.push(None);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().flatten().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// `part` of `whole` in per cent with one decimal, rounded to the nearest; a dash when there is no whole.
pub(super) fn percent(part: u128, whole: u128) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = (2000 * part + whole) / (2 * whole);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Seconds with three decimals, rounded to the nearest; a dash for what never ended.
pub(super) fn seconds(time: Duration) -> String {
    thousandths(time, 1_000_000)
}

/// Milliseconds with three decimals, rounded to the nearest; a dash for what never ended.
pub(super) fn millis(time: Duration) -> String {
    thousandths(time, 1_000)
}

fn thousandths(time: Duration, unit_nanos: u128) -> String {
    if time == Duration::MAX {
        return "-".to_owned();
    }
    let n = (time.as_nanos() + unit_nanos / 2) / unit_nanos;
    format!("{}.{:03}", n / 1000, n % 1000)
}

/// `time` in units of `unit` with two decimals, rounded to the nearest; a dash for what never ended.
pub(super) fn ratio(time: Duration, unit: Duration) -> String {
    if time == Duration::MAX {
        return "-".to_owned();
    }
    let n = (200 * time.as_nanos() + unit.as_nanos()) / (2 * unit.as_nanos()).max(1);
    format!("{}.{:02}", n / 100, n % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_the_nearest() {
        assert_eq!(
            [(1, 3), (2, 3), (1, 1), (0, 1), (1, 0)].map(|(a, b)| percent(a, b)),
            ["33.3", "66.7", "100.0", "0.0", "-"]
        );
        assert_eq!(seconds(Duration::from_micros(1_234_500)), "1.235");
        assert_eq!(millis(Duration::from_nanos(20_000_499)), "20.000");
        assert_eq!(ratio(Duration::from_millis(31), Duration::from_millis(20)), "1.55");
        assert_eq!(seconds(Duration::MAX), "-");
    }

    #[test]
    fn no_line_ends_in_blanks() {
        let mut table = Table::new("test");
        table.push("a  \n  b ");
        table.push("");
        table.skip();
        assert_eq!(table.to_string(), "a\n  b\n\n");
        assert_eq!(table.lines.len(), 4);
    }
}
