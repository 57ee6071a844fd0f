//! Sets of ports, as the kernel writes them: `22,8080-8090`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of ports.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PortSet {
    /// In order, without overlaps or neighbours.
    ranges: Vec<(u16, u16)>,
}

/// A text that is no list of ports.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{0}\" is no list of ports such as 22,8080-8090")]
pub struct NotPorts(String);

impl NotPorts {
    pub(super) fn of(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl PortSet {
    /// Those of one range; of none when it is empty.
    pub fn of(range: &RangeInclusive<u16>) -> Self {
        Self::from_ranges(vec![(*range.start(), *range.end())])
    }

    fn from_ranges(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, before)) if first <= before.saturating_add(1) => *before = last.max(*before),
                _ => joined.push((first, last)),
            }
        }
        Self { ranges: joined }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
    }

    /// Whether `port` is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// First and last of each range, in order.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Those of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges.iter().chain(&other.ranges).copied().collect())
    }

    /// Those of this one that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(first, last) in &self.ranges {
            // In 32 bits, so that the port after the last one can be said.
            let mut next = u32::from(first);
            for &(cut_first, cut_last) in other.ranges.iter().filter(|(f, l)| *f <= last && *l >= first) {
                if u32::from(cut_first) > next {
                    left.push((next as u16, cut_first - 1));
                }
                next = next.max(u32::from(cut_last) + 1);
            }
            if next <= u32::from(last) {
                left.push((next as u16, last));
            }
        }
        Self::from_ranges(left)
    }

    /// Those of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// The longest range, the last of those that are equally long.
    pub fn longest(&self) -> Option<(u16, u16)> {
        self.ranges.iter().copied().max_by_key(|(first, last)| last - first)
    }
}

impl FromStr for PortSet {
    type Err = NotPorts;

    /// Reads what `/proc/sys/net/ipv4/ip_local_reserved_ports` holds; nothing but white space is the empty set.
    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let wrong = || NotPorts(text.trim().to_owned());
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let range = match part.split_once('-') {
                Some((first, last)) => (port(first)?, port(last)?),
                None => (port(part)?, port(part)?),
            };
            if range.0 > range.1 {
                return Err(wrong());
            }
            ranges.push(range);
        }
        Ok(Self::from_ranges(ranges))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn what_the_kernel_writes_is_read_and_written() {
        for text in ["", "22", "22,80", "1-65535", "8080,9148,30000-32000"] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(set("\n"), PortSet::default());
        assert_eq!(set("80, 22,81-82 ,79\n").to_string(), "22,79-82");
        for wrong in ["x", "22,", "5-", "9-3", "65536", "-1", "1-2-3"] {
            assert!(wrong.parse::<PortSet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_longest_run_is_found() {
        assert_eq!(set("1-3,10-20,30-40").longest(), Some((30, 40)));
        assert_eq!(set("").longest(), None);
        assert_eq!(PortSet::of(&(5..=5)).len(), 1);
    }

    fn sets() -> impl Strategy<Value = PortSet> {
        prop::collection::vec((65_500u16.., 0u16..9), 0..6).prop_map(|ranges| {
            PortSet::from_ranges(ranges.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect())
        })
    }

    fn members(set: &PortSet) -> BTreeSet<u16> {
        (65_500..=u16::MAX).filter(|port| set.contains(*port)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in sets(), b in sets()) {
            let (x, y) = (members(&a), members(&b));
            prop_assert_eq!(members(&a.union(&b)), x.union(&y).copied().collect());
            prop_assert_eq!(members(&a.minus(&b)), x.difference(&y).copied().collect());
            prop_assert_eq!(members(&a.intersection(&b)), x.intersection(&y).copied().collect());
            prop_assert_eq!(a.len(), x.len());
            prop_assert_eq!(set(&a.to_string()), a);
        }
    }
}
