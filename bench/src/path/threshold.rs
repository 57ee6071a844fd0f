//! `--fail-if 'ratio<0.8'`: conditions that make a comparison fail.

use super::result::PathResult;
use crate::report::condition::{Condition, number};
use std::fmt;

/// A condition on a comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct PathThreshold {
    condition: Condition,
    bound: f64,
}

/// What can be compared.
const FIELDS: [&str; 5] = ["ratio", "median", "reorder", "excess", "missing"];

impl PathThreshold {
    /// Reads `FIELD OP VALUE`. FIELD is ratio (each cell's), median (of all ratios), reorder (Corelane's share of its clean
    /// path in each cell that only reorders), excess (Corelane's retransmitted share less the kernel's in each cell, per
    /// cent) or missing (cells without a ratio). OP is > >= < or <=.
    pub fn parse(text: &str) -> Result<Self, String> {
        let condition = Condition::parse(text, "ratio<0.8")?;
        if !FIELDS.contains(&condition.field()) {
            return Err(format!("`{}` is not known; take {}", condition.field(), FIELDS.join(", ")));
        }
        let bound =
            number(condition.value()).ok_or_else(|| format!("`{}` in `{text}` is not a number", condition.value()))?;
        Ok(Self { condition, bound })
    }

    /// What meets the condition, which means that the run failed: the value, and the cell if it is one cell's.
    pub fn check<'r>(&self, result: &'r PathResult) -> Option<(f64, Option<&'r str>)> {
        let cells = result.cells.iter();
        let values: Vec<(f64, Option<&str>)> = match self.condition.field() {
            "ratio" => cells.filter_map(|cell| Some((cell.ratio?, Some(&*cell.name)))).collect(),
            "median" => result.median_ratio.map(|median| (median, None)).into_iter().collect(),
            "reorder" => {
                let shares = result.reordering().into_iter();
                shares.filter_map(|(cell, [_, ours])| Some((ours?, Some(&*cell.name)))).collect()
            }
            "excess" => cells.filter_map(|cell| Some((cell.excess_percent()?, Some(&*cell.name)))).collect(),
            _ => vec![(cells.filter(|cell| cell.ratio.is_none()).count() as f64, None)],
        };
        values.into_iter().find(|(value, _)| self.condition.holds(*value, self.bound))
    }
}

impl fmt::Display for PathThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.condition.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::result;
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (bad, says) in [
            ("ratio", "write it like ratio<0.8"),
            ("p99>1", "take ratio, median"),
            ("ratio<x", "is not a number"),
            ("ratio<-1", "is not a number"),
        ] {
            let error = PathThreshold::parse(bad).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn each_field_is_what_it_says() {
        let result = result([(100, 100), (100, 50), (80, 95), (100, 70)]);
        let check = |text: &str| PathThreshold::parse(text).unwrap().check(&result);
        assert_eq!(check("ratio<0.8"), Some((0.5, Some("cubic-100mbit-20ms-1bdp-loss1%"))));
        assert_eq!(check("ratio<0.5"), None);
        assert_eq!(check("median<1").map(|(value, cell)| (value.mul_add(100.0, 0.5) as u32, cell)), Some((85, None)));
        assert_eq!(check("reorder<0.95"), None);
        assert_eq!(check("reorder<=0.95"), Some((0.95, Some("cubic-100mbit-20ms-1bdp-loss0%-reorder10%"))));
        assert_eq!((check("excess>0"), check("missing>0")), (None, None));
    }
}
