//! `--fail-if 'p99>500us'`: conditions that make a run fail.

use super::result::LoadResult;
use std::fmt;

/// A condition on a result.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    text: String,
    field: String,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What can be compared beside the percentiles.
const COUNTS: [&str; 4] = ["rate", "errors", "unanswered", "unsent"];

impl Threshold {
    /// Reads `FIELD OP VALUE`. FIELD is min, mean, p50, p90, p99, p99.9, p99.99, p99.999 or max of the latency, the
    /// same after `service.`, or rate, errors, unanswered, unsent. OP is > >= < or <=. Times need a unit: ns, us, ms, s.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| format!("`{text}` has no < or >; write it like p99>500us"))?;
        let field = text[..at].trim();
        let strict = !text[at + 1..].starts_with('=');
        let comparison = match (text.as_bytes()[at], strict) {
            (b'>', true) => Comparison::Above,
            (b'>', false) => Comparison::AtLeast,
            (_, true) => Comparison::Below,
            (_, false) => Comparison::AtMost,
        };
        let value = text[at + if strict { 1 } else { 2 }..].trim();
        let name = field.strip_prefix("service.").unwrap_or(field);
        let is_count = COUNTS.contains(&field);
        if !is_count && !super::result::Percentiles::default().rows().iter().any(|(known, _)| *known == name) {
            return Err(format!("`{field}` is not known; take p50, p99, p99.9, max, service.p99, rate or errors"));
        }
        let bound = if is_count { number(value) } else { duration_ns(value) };
        let bound = bound.ok_or_else(|| {
            let wanted = if is_count { "a number" } else { "a time with its unit, such as 500us" };
            format!("`{value}` in `{text}` is not {wanted}")
        })?;
        Ok(Self { text: text.to_owned(), field: field.to_owned(), comparison, bound })
    }

    /// The value found, when it meets the condition, which means that the run failed.
    pub fn check(&self, result: &LoadResult) -> Option<f64> {
        let value = match self.field.as_str() {
            "rate" => result.achieved_rate,
            "errors" => result.errors as f64,
            "unanswered" => result.unanswered as f64,
            "unsent" => result.unsent as f64,
            field => {
                let (percentiles, name) = field
                    .strip_prefix("service.")
                    .map_or((&result.latency_ns, field), |name| (&result.service_time_ns, name));
                percentiles.rows().iter().find(|(known, _)| *known == name)?.1
            }
        };
        let meets = match self.comparison {
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
        };
        meets.then_some(value)
    }

    /// Whether its value is a time.
    pub fn is_time(&self) -> bool {
        !COUNTS.contains(&self.field.as_str())
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

fn duration_ns(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let factor = match &text[digits.len()..] {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    number(digits.trim()).map(|value| value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let bound = |text: &str| Threshold::parse(text).unwrap().bound;
        assert_eq!(bound("p99>500us"), 500_000.0);
        assert_eq!(bound("service.p99.9 >= 1.5ms"), 1_500_000.0);
        assert_eq!(bound("rate<1000"), 1000.0);
        assert_eq!(bound("errors>0"), 0.0);
        for bad in ["", "p99", "p98>1us", "p99>1", "p99>us", "rate<1us", "p99>-1us", "errors>x", "p99=>1us", "max>infs"]
        {
            assert!(Threshold::parse(bad).is_err(), "{bad}");
        }
    }
}
