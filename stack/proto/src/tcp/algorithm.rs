//! The names of the congestion controls.

use core::str::FromStr;

/// An algorithm's name, as configurations give it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Algorithm {
    /// Reno with NewReno's recovery (RFC 5681, RFC 6582): the yardstick that others are measured by.
    NewReno,
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406): what most of the Internet's senders run.
    #[default]
    Cubic,
    /// BBR version 3 (draft-ietf-ccwg-bbr): goes by measured bandwidth and delay, not by loss. It paces.
    Bbr,
    /// DCTCP (RFC 8257): for data centres whose switches mark with CE at a low threshold, and nowhere else.
    Dctcp,
}

impl Algorithm {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::NewReno, Self::Cubic, Self::Bbr, Self::Dctcp];

    /// The name that [`FromStr`] understands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewReno => "newreno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
            Self::Dctcp => "dctcp",
        }
    }
}

/// No algorithm has this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such congestion control: there are newreno, cubic, bbr and dctcp")]
pub struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_lead_there_and_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert!(UnknownAlgorithm.to_string().contains(algorithm.name()), "the error lists {}", algorithm.name());
        }
        assert_eq!("reno".parse::<Algorithm>(), Err(UnknownAlgorithm));
        assert_eq!(Algorithm::default(), Algorithm::Cubic);
    }
}
