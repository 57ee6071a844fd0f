//! How fast bits leave.

use std::time::Duration;

/// A rate in bits a second, of whole Ethernet frames without preamble and gap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate(u64);

impl Rate {
    /// So many bits a second; at least one.
    pub const fn bits(per_second: u64) -> Self {
        Self(if per_second == 0 { 1 } else { per_second })
    }

    /// So many million bits a second.
    pub const fn megabits(per_second: u64) -> Self {
        Self::bits(per_second * 1_000_000)
    }

    /// Bits a second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// How long `bytes` take, rounded down to the nanosecond.
    pub fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whole bytes that leave in `time`: with a round-trip time, the bandwidth-delay product.
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bytes = u128::from(self.0) * time.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// The rate divided by `parts`.
    pub const fn divided(self, parts: u64) -> Self {
        Self::bits(self.0 / if parts == 0 { 1 } else { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_are_each_others_inverse() {
        let rate = Rate::megabits(20);
        assert_eq!(rate.time_of(1514), Duration::from_nanos(605_600));
        assert_eq!(rate.bytes_in(Duration::from_millis(100)), 250_000, "the bandwidth-delay product");
        assert_eq!(rate.divided(4), Rate::megabits(5));
        assert_eq!(Rate::bits(0).time_of(1), Duration::from_secs(8), "nothing divides by zero");
    }
}
