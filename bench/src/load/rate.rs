//! How many requests a second, and how that changes: what `--rate` and `--step` say.

use std::fmt;

/// What `--rate` says.
#[derive(Clone, PartialEq, Debug)]
pub enum Rate {
    /// One rate all the time.
    Constant(f64),
    /// From one to the other, in a straight line over the measurement.
    Ramp(f64, f64),
    /// One after the other, each measured by itself.
    Steps(Vec<f64>),
}

/// The lowest and the highest rate that can be asked for, in requests a second.
pub const BOUNDS: std::ops::RangeInclusive<f64> = 1e-3..=1e9;

/// More steps than this are a slip of the pen.
pub const STEPS_LIMIT: usize = 1000;

impl Rate {
    /// Reads `1000`, `1000..50000` or `1000,2000,5000`; a `k` or `M` behind a number multiplies it. The error is a
    /// sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Self::Ramp(number(from)?, number(to)?));
        }
        let rates = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
        Ok(if let [rate] = rates[..] { Self::Constant(rate) } else { Self::Steps(rates) })
    }

    /// A ramp as a staircase: from its beginning in steps of `step` requests a second to its end.
    pub fn staircase(from: f64, to: f64, step: f64) -> Result<Self, String> {
        let count = ((to - from).abs() / step).floor();
        if !(step > 0.0 && count < STEPS_LIMIT as f64) {
            return Err(format!("steps of {step} from {from} to {to} are not from 1 to {STEPS_LIMIT} steps"));
        }
        let signed = if to < from { -step } else { step };
        let mut steps: Vec<f64> = (0..=count as usize).map(|place| from + signed * place as f64).collect();
        // An end that the steps do not meet is a step too.
        if steps.last() != Some(&to) {
            steps.push(to);
        }
        Ok(Self::Steps(steps))
    }

    /// All rates that are named.
    pub fn all(&self) -> Vec<f64> {
        match self {
            Self::Constant(rate) => vec![*rate],
            Self::Ramp(from, to) => vec![*from, *to],
            Self::Steps(steps) => steps.clone(),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(rate) => write!(f, "{rate}"),
            Self::Ramp(from, to) => write!(f, "{from}..{to}"),
            Self::Steps(steps) => f.write_str(&steps.iter().map(f64::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let wrong = || format!("`{text}` is not a rate such as 1000, 50k or 1.5M, nor a ramp 1k..50k, nor steps 1k,2k,5k");
    digits.parse::<f64>().map(|number| number * factor).map_err(|_| wrong())
}

/// A rate over time: `from` for a while, then in a straight line to `to`, and that for ever. Rates are requests a second,
/// times nanoseconds since the start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Profile {
    from: f64,
    to: f64,
    hold_ns: f64,
    over_ns: f64,
}

const S: f64 = 1e9;

impl Profile {
    /// `rate` for ever.
    pub const fn constant(rate: f64) -> Self {
        Self { from: rate, to: rate, hold_ns: f64::INFINITY, over_ns: 0.0 }
    }

    /// `from` for `hold_ns`, then within `over_ns` to `to`.
    pub const fn ramp(from: f64, to: f64, hold_ns: u64, over_ns: u64) -> Self {
        Self { from, to, hold_ns: hold_ns as f64, over_ns: over_ns as f64 }
    }

    /// This share of it.
    pub fn scaled(self, share: f64) -> Self {
        Self { from: self.from * share, to: self.to * share, ..self }
    }

    /// When `count` requests are due: the inverse of the rate's integral.
    pub fn when(&self, count: f64) -> f64 {
        let Self { from, to, hold_ns, over_ns } = *self;
        let held = from * hold_ns / S;
        if count <= held {
            // Multiplied first: whole numbers stay whole.
            return count * S / from;
        }
        let (count, ramped) = (count - held, (from + to) / 2.0 * over_ns / S);
        if count > ramped {
            return hold_ns + over_ns + (count - ramped) * S / to;
        }
        // from t + slope t^2 / 2 = count, solved in the form that loses no digits when the slope is small.
        let slope = (to - from) / (over_ns / S);
        let root = (from * from + 2.0 * slope * count).max(0.0).sqrt();
        hold_ns + 2.0 * count / (from + root) * S
    }

    /// How many requests are due before `at_ns`.
    pub fn count(&self, at_ns: f64) -> f64 {
        let Self { from, to, hold_ns, over_ns } = *self;
        if at_ns <= hold_ns {
            return from * at_ns / S;
        }
        let ramp = (at_ns - hold_ns).min(over_ns);
        let end = if over_ns > 0.0 { from + (to - from) * ramp / over_ns } else { to };
        (from * hold_ns + (from + end) / 2.0 * ramp + to * (at_ns - hold_ns - over_ns).max(0.0)) / S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        assert_eq!(Rate::parse("1000"), Ok(Rate::Constant(1000.0)));
        assert_eq!(Rate::parse("1k..1.5M"), Ok(Rate::Ramp(1e3, 1.5e6)));
        assert_eq!(Rate::parse("1,2, 5k"), Ok(Rate::Steps(vec![1.0, 2.0, 5e3])));
        for bad in ["", "x", "1..", "..1", "1,,2", "1kk", "k"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_staircase_ends_where_it_should() {
        let steps = |from, to, step| Rate::staircase(from, to, step).map(|rate| rate.all());
        assert_eq!(steps(10.0, 40.0, 10.0), Ok(vec![10.0, 20.0, 30.0, 40.0]));
        assert_eq!(steps(10.0, 35.0, 10.0), Ok(vec![10.0, 20.0, 30.0, 35.0]));
        assert_eq!(steps(30.0, 10.0, 10.0), Ok(vec![30.0, 20.0, 10.0]));
        assert_eq!(steps(10.0, 10.0, 10.0), Ok(vec![10.0]));
        for step in [0.0, -1.0, f64::NAN, 1e-9] {
            assert!(steps(10.0, 35.0, step).is_err(), "{step}");
        }
    }

    #[test]
    fn a_ramp_is_the_inverse_of_its_integral() {
        // From 100 to 300 a second within 2 s, after 1 s: 100, then 400 in the ramp, then 300 a second.
        let profile = Profile::ramp(100.0, 300.0, 1_000_000_000, 2_000_000_000);
        for (count, seconds) in [(0.0, 0.0), (50.0, 0.5), (100.0, 1.0), (250.0, 2.0), (500.0, 3.0), (800.0, 4.0)] {
            assert!((profile.when(count) / 1e9 - seconds).abs() < 1e-9, "{count}: {}", profile.when(count));
            assert!((profile.count(seconds * 1e9) - count).abs() < 1e-6, "{count}");
        }
        let down = Profile::ramp(300.0, 100.0, 0, 2_000_000_000);
        assert!((down.when(250.0) / 1e9 - 1.0).abs() < 1e-9, "{}", down.when(250.0));
    }
}
