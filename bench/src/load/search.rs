//! `--slo`: the highest rate at which a service still keeps its promise. Sans-I/O: it is asked for a rate, and told how
//! that went.

use crate::report::result::LoadResult;
use crate::report::threshold::Threshold;
use std::fmt;

/// A promise of a service, such as `p99=200us`: the p99 of the latency is at most 200 us.
#[derive(Clone, PartialEq, Debug)]
pub struct Objective {
    text: String,
    broken: Threshold,
}

impl Objective {
    /// Reads `p99=200us`, `p99<=200us` or `p99<200us`, for the fields of [`Threshold::parse`]. The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '=', '>']).ok_or_else(|| format!("`{text}` is not like p99=200us"))?;
        let (field, rest) = text.split_at(at);
        let (broken_by, shown, value) = match rest.as_bytes() {
            [b'<', b'=', ..] => (">", "<=", &rest[2..]),
            [b'=', ..] => (">", "<=", &rest[1..]),
            [b'<', ..] => (">=", "<", &rest[1..]),
            _ => return Err(format!("`{text}` has no upper bound; write it like p99=200us")),
        };
        let (field, value) = (field.trim(), value.trim());
        let broken = Threshold::parse(&format!("{field}{broken_by}{value}")).map_err(|error| {
            // The sentence shows what was written, not what was made of it.
            error.replace(&format!("{field}{broken_by}{value}"), text)
        })?;
        Ok(Self { text: format!("{field}{shown}{value}"), broken })
    }

    /// The value found, when it breaks the promise.
    pub fn check(&self, result: &LoadResult) -> Option<f64> {
        self.broken.check(result)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks for the border between rates that are good and rates that are not: first the lowest, then the highest, then
/// halves the way between (as factors, since rates span magnitudes) until both are near each other.
#[derive(Clone, Debug)]
pub struct Search {
    low: f64,
    high: f64,
    /// The border is known to this share of the rate.
    precision: f64,
    good: Option<f64>,
    bad: Option<f64>,
}

impl Search {
    /// Looks from `low` to `high` requests a second, until the border is known to the share `precision` (such as 0.05).
    pub const fn new(low: f64, high: f64, precision: f64) -> Self {
        Self { low, high, precision, good: None, bad: None }
    }

    /// The next rate to try; `None` when the border is known.
    pub fn next_rate(&self) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(self.low),
            // Not even the lowest one is good.
            (None, Some(_)) => None,
            (Some(good), None) => (good < self.high).then_some(self.high),
            (Some(good), Some(bad)) => {
                (bad > good * (1.0 + self.precision)).then(|| whole((good * bad).sqrt(), good, bad))
            }
        }
    }

    /// The rate was good, or not. Whatever is above a bad rate counts as bad, and below a good one as good.
    pub fn on_result(&mut self, rate: f64, is_good: bool) {
        if is_good {
            self.good = Some(self.good.map_or(rate, |good| good.max(rate)));
        } else {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        }
    }

    /// The highest rate that was good.
    pub const fn found(&self) -> Option<f64> {
        self.good
    }

    /// Whether even the highest rate was good, so that the border lies beyond it.
    pub fn is_open_above(&self) -> bool {
        self.good.is_some_and(|good| good >= self.high)
    }
}

/// Whole requests a second, where that stays between the two.
fn whole(rate: f64, good: f64, bad: f64) -> f64 {
    let rounded = rate.round();
    if rounded > good && rounded < bad { rounded } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches where all rates up to `border` are good; the found one, and how many were tried.
    fn search(border: f64, low: f64, high: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(low, high, 0.02);
        let mut tried = 0;
        while let Some(rate) = search.next_rate() {
            assert!((low..=high).contains(&rate), "{rate}");
            tried += 1;
            assert!(tried < 50, "it does not end");
            search.on_result(rate, rate <= border);
        }
        assert_eq!(search.is_open_above(), border >= high);
        (search.found(), tried)
    }

    #[test]
    fn objectives_are_read() {
        for (text, shown) in [("p99=200us", "p99<=200us"), ("p99.9 <= 1ms", "p99.9<=1ms"), ("max<2s", "max<2s")] {
            assert_eq!(Objective::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "p99", "p99>1us", "p98=1us", "p99=1", "=1us"] {
            assert!(Objective::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Objective::parse("p99=5").unwrap_err(), "`5` in `p99=5` is not a time with its unit, such as 500us");
    }

    #[test]
    fn the_border_is_found_to_the_precision() {
        for border in [1_000.0, 1_500.0, 7_777.0, 49_000.0] {
            let (found, tried) = search(border, 1_000.0, 50_000.0);
            let found = found.unwrap();
            assert!(found <= border && border < found * 1.021, "{found} for {border}");
            assert!(tried <= 11, "{tried} tries");
        }
    }

    #[test]
    fn a_border_beyond_the_ends_is_said() {
        assert_eq!(search(500.0, 1_000.0, 50_000.0), (None, 1));
        assert_eq!(search(60_000.0, 1_000.0, 50_000.0), (Some(50_000.0), 2));
        assert_eq!(search(9.0, 5.0, 5.0), (Some(5.0), 1));
        assert_eq!(search(0.004, 0.001, 0.01).0.map(|found| found <= 0.004), Some(true));
    }
}
