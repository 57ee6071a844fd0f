//! `FIELD OP VALUE`, such as `p99>500us` or `ratio<0.8`: what stands behind `--fail-if`, whatever is measured.

use std::fmt;

/// A comparison of a named field with a value that is not read yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    text: String,
    field: String,
    comparison: Comparison,
    value: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Condition {
    /// Takes the three parts asunder. OP is > >= < or <=. The error is a sentence that shows `example`.
    pub fn parse(text: &str, example: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| format!("`{text}` has no < or >; write it like {example}"))?;
        let strict = !text[at + 1..].starts_with('=');
        let comparison = match (text.as_bytes()[at], strict) {
            (b'>', true) => Comparison::Above,
            (b'>', false) => Comparison::AtLeast,
            (_, true) => Comparison::Below,
            (_, false) => Comparison::AtMost,
        };
        let value = text[at + if strict { 1 } else { 2 }..].trim().to_owned();
        Ok(Self { text: text.to_owned(), field: text[..at].trim().to_owned(), comparison, value })
    }

    /// The name before the operator.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What stands behind the operator.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it holds for `found`, when its value means `bound`.
    pub fn holds(&self, found: f64, bound: f64) -> bool {
        match self.comparison {
            Comparison::Above => found > bound,
            Comparison::AtLeast => found >= bound,
            Comparison::Below => found < bound,
            Comparison::AtMost => found <= bound,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A number that is finite and not negative.
pub fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_operators() {
        let holds = |text: &str, found: f64| Condition::parse(text, "").unwrap().holds(found, 2.0);
        for (text, below, equal, above) in [
            ("x>2", false, false, true),
            ("x>=2", false, true, true),
            ("x<2", true, false, false),
            ("x <= 2", true, true, false),
        ] {
            assert_eq!((holds(text, 1.0), holds(text, 2.0), holds(text, 3.0)), (below, equal, above), "{text}");
        }
    }

    #[test]
    fn the_parts_are_trimmed() {
        let condition = Condition::parse(" p99 >= 5 us ", "").unwrap();
        assert_eq!((condition.field(), condition.value()), ("p99", "5 us"));
        assert_eq!(Condition::parse("p99", "a<1").unwrap_err(), "`p99` has no < or >; write it like a<1");
    }
}
