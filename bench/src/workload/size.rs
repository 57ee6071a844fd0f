//! Sizes of messages, values and bodies: one number, or a distribution.

use rand::RngExt;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fmt;

/// The greatest size that can be asked for, in bytes: what `GET /bytes/N` gives at most.
pub const SIZE_LIMIT: u64 = super::http::BYTES_LIMIT;

/// How many bytes a message has.
#[derive(Clone, PartialEq, Debug)]
pub enum Sizes {
    /// Always the same.
    Fixed(u64),
    /// Every size from the first to the last is as likely.
    Uniform {
        /// The smallest.
        from: u64,
        /// The greatest.
        to: u64,
    },
    /// The logarithm is normally distributed; what is above `limit` becomes `limit`.
    LogNormal {
        /// Half of the sizes are below it.
        median: u64,
        /// The standard deviation of the natural logarithm.
        sigma: f64,
        /// The greatest.
        limit: u64,
    },
    /// Some sizes, each with its share of the sum of all weights.
    List(Vec<(u64, f64)>),
}

impl Sizes {
    /// Reads `64`, `uniform:64..1500`, `lognormal:MEDIAN,SIGMA[,LIMIT]` or `list:64*9,1500` (a size, and its weight
    /// after `*`). The error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        match kind {
            "" => Ok(Self::Fixed(size(rest)?)),
            "uniform" => {
                let (from, to) =
                    rest.split_once("..").ok_or_else(|| format!("`{text}` is not like uniform:64..1500"))?;
                let (from, to) = (size(from)?, size(to)?);
                if from > to {
                    Err(format!("the range `{rest}` runs backwards"))
                } else {
                    Ok(Self::Uniform { from, to })
                }
            }
            "lognormal" => {
                let parts: Vec<&str> = rest.split(',').collect();
                let ([median, sigma] | [median, sigma, _]) = parts[..] else {
                    return Err(format!(
                        "`{text}` is not like lognormal:1000,1.2 (median, sigma) or lognormal:1000,1.2,65536"
                    ));
                };
                let sigma = sigma
                    .parse::<f64>()
                    .ok()
                    .filter(|sigma| (0.0..=10.0).contains(sigma))
                    .ok_or_else(|| format!("the sigma `{sigma}` is not a number from 0 to 10"))?;
                let median = size(median)?;
                // A tail without an end would sooner or later ask for more than there is.
                let limit = parts.get(2).map_or(Ok(1 << 24), |limit| size(limit))?;
                if median > limit {
                    return Err(format!("the median {median} is above the limit {limit}"));
                }
                Ok(Self::LogNormal { median, sigma, limit })
            }
            "list" => rest.split(',').map(weighted).collect::<Result<_, _>>().map(Self::List),
            _ => Err(format!(
                "`{kind}` is not known; take a number, uniform:A..B, lognormal:MEDIAN,SIGMA or list:A*W,B*W"
            )),
        }
    }

    /// The size, if it is always the same.
    pub const fn fixed(&self) -> Option<u64> {
        if let Self::Fixed(size) = self { Some(*size) } else { None }
    }

    /// The smallest size that can come.
    pub fn least(&self) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform { from, .. } => *from,
            Self::LogNormal { .. } => 1,
            Self::List(list) => list.iter().map(|(size, _)| *size).min().unwrap_or(0),
        }
    }

    /// The greatest size that can come.
    pub fn most(&self) -> u64 {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform { to, .. } => *to,
            Self::LogNormal { limit, .. } => *limit,
            Self::List(list) => list.iter().map(|(size, _)| *size).max().unwrap_or(0),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Uniform { from, to } => write!(f, "uniform:{from}..{to}"),
            Self::LogNormal { median, sigma, limit } => write!(f, "lognormal:{median},{sigma},{limit}"),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(|(size, weight)| format!("{size}*{weight}")).collect();
                write!(f, "list:{}", list.join(","))
            }
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<u64>()
        .ok()
        .filter(|size| *size <= SIZE_LIMIT)
        .ok_or_else(|| format!("`{text}` is not a number of bytes from 0 to {SIZE_LIMIT}"))
}

fn weighted(text: &str) -> Result<(u64, f64), String> {
    let (bytes, weight) = text.split_once('*').unwrap_or((text, "1"));
    let weight = weight
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|weight| *weight > 0.0 && *weight <= 1e9)
        .ok_or_else(|| format!("the weight `{weight}` in `{text}` is not a number above 0"))?;
    Ok((size(bytes)?, weight))
}

/// Draws sizes; the same seed draws the same ones.
#[derive(Clone, Debug)]
pub struct Draw {
    sizes: Sizes,
    random: Xoshiro256PlusPlus,
}

impl Draw {
    /// Draws from `sizes`.
    pub fn new(sizes: Sizes, seed: u64) -> Self {
        Self { sizes, random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The next size.
    pub fn next_size(&mut self) -> u64 {
        match &self.sizes {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { from, to } => self.random.random_range(*from..=*to),
            Sizes::LogNormal { median, sigma, limit } => {
                // Box and Muller, 1958. The logarithm's argument is in (0, 1].
                let (radius, angle): (f64, f64) = (self.random.random(), self.random.random());
                let normal = (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                let drawn = *median as f64 * (sigma * normal).exp();
                // The cast saturates.
                (drawn.round() as u64).clamp(1, *limit)
            }
            Sizes::List(list) => {
                let sum: f64 = list.iter().map(|(_, weight)| weight).sum();
                let mut left = self.random.random::<f64>() * sum;
                for (size, weight) in list {
                    left -= weight;
                    if left < 0.0 {
                        return *size;
                    }
                }
                list.last().map_or(0, |(size, _)| *size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str) -> Vec<u64> {
        let mut draw = Draw::new(Sizes::parse(text).unwrap(), 7);
        (0..100_000).map(|_| draw.next_size()).collect()
    }

    #[test]
    fn what_is_read_is_shown_again() {
        for text in ["64", "uniform:1..10", "lognormal:1000,1.5,65536", "list:64*9,1500*1"] {
            assert_eq!(Sizes::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Sizes::parse("list:1,2").unwrap(), Sizes::List(vec![(1, 1.0), (2, 1.0)]));
        assert_eq!(Sizes::parse("lognormal:9,1").unwrap().most(), 1 << 24);
        for bad in [
            "",
            "x",
            "-1",
            "uniform:5",
            "uniform:5..1",
            "uniform:a..b",
            "lognormal:5",
            "lognormal:5,-1",
            "lognormal:5,x",
            "lognormal:100,1,50",
            "list:",
            "list:1*0",
            "list:1*x",
            "list:1*NaN",
            "zipf:1",
            "99999999999999",
        ] {
            assert!(Sizes::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_distributions_are_what_they_say() {
        assert!(drawn("7").iter().all(|size| *size == 7));
        let uniform = drawn("uniform:10..19");
        for size in 10..20 {
            let count = uniform.iter().filter(|drawn| **drawn == size).count();
            assert!((9_500..10_500).contains(&count), "{size}: {count}");
        }
        let mut normal = drawn("lognormal:1000,0.5,100000");
        normal.sort_unstable();
        // Median, and one standard deviation of the logarithm above and below it: 1000 times or through e^0.5.
        for (place, expected) in [(50_000, 1000.0), (84_134, 1648.7), (15_866, 606.5)] {
            let found = normal[place] as f64;
            assert!((found / expected - 1.0).abs() < 0.02, "{found} is not {expected}");
        }
        assert!(drawn("lognormal:1000,3,2000").iter().all(|size| (1..=2000).contains(size)));
        let small = drawn("list:64*9,1500").iter().filter(|size| **size == 64).count();
        assert!((89_000..91_000).contains(&small), "{small}");
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(drawn("uniform:0..1000000"), drawn("uniform:0..1000000"));
    }
}
