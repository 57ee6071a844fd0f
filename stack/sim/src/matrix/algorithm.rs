//! The congestion controls that the tables compare: the one place where the laboratory knows their names.

use corelane_proto::tcp::config::TcpConfig;

/// A congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    NewReno,
}

impl Algorithm {
    /// All of them, in the order of the tables.
    pub const ALL: &[Self] = &[Self::NewReno];

    /// Its name, as on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewReno => "newreno",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// Puts it into the settings of a sender.
    pub(super) fn equip(self, config: &mut TcpConfig) {
        match self {
            // The only one that there is.
            Self::NewReno => config.sack = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_each_others_inverse() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(*algorithm));
        }
        assert_eq!(Algorithm::from_name("reno"), None);
    }
}
