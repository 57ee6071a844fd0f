//! `--fail-if 'p99>500us'`: conditions that make a run fail.

use super::condition::{Condition, number};
use super::result::LoadResult;
use std::fmt;

/// A condition on a result.
#[derive(Clone, PartialEq, Debug)]
pub struct Threshold {
    condition: Condition,
    bound: f64,
}

/// What can be compared beside the percentiles.
const COUNTS: [&str; 4] = ["rate", "errors", "unanswered", "unsent"];

impl Threshold {
    /// Reads `FIELD OP VALUE`. FIELD is min, mean, p50, p90, p99, p99.9, p99.99, p99.999 or max of the latency, the
    /// same after `service.`, or rate, errors, unanswered, unsent. OP is > >= < or <=. Times need a unit: ns, us, ms, s.
    pub fn parse(text: &str) -> Result<Self, String> {
        let condition = Condition::parse(text, "p99>500us")?;
        let (field, value) = (condition.field(), condition.value());
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
        Ok(Self { condition, bound })
    }

    /// The value found, when it meets the condition, which means that the run failed.
    pub fn check(&self, result: &LoadResult) -> Option<f64> {
        let value = match self.condition.field() {
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
        self.condition.holds(value, self.bound).then_some(value)
    }

    /// Whether its value is a time.
    pub fn is_time(&self) -> bool {
        !COUNTS.contains(&self.condition.field())
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
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
