//! Probing a closed window, for as long as the peer answers (RFC 9293 3.8.6.1).

use core::time::Duration;

/// The back-off between probes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Persist {
    probes: u8,
}

impl Persist {
    /// Time to the next probe, when the retransmission time-out is `rto` without back-off and at most `max`.
    //= spec/rfc9293.txt#section-3.8.6.1
    //# The transmitting host SHOULD send the first zero-window probe when a zero window has existed for the
    //# retransmission timeout period (SHLD-29) (Section 3.8.1), and SHOULD increase exponentially the interval
    //# between successive probes (SHLD-30).
    pub fn interval(&self, rto: Duration, max: Duration) -> Duration {
        rto.saturating_mul(1 << u32::from(self.probes).min(20)).min(max)
    }

    /// A probe is sent.
    pub fn on_probe(&mut self) {
        self.probes = self.probes.saturating_add(1);
    }

    /// The window opened.
    pub fn on_open(&mut self) {
        self.probes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc9293.txt#section-3.8.6.1
    //= type=test
    //# The transmitting host SHOULD send the first zero-window probe when a zero window has existed for the
    //# retransmission timeout period (SHLD-29) (Section 3.8.1), and SHOULD increase exponentially the interval
    //# between successive probes (SHLD-30).
    #[test]
    fn probes_grow_apart_up_to_the_bound() {
        let mut persist = Persist::default();
        let mut seen = std::vec::Vec::new();
        for _ in 0..6 {
            seen.push(persist.interval(Duration::from_secs(1), Duration::from_secs(10)).as_secs());
            persist.on_probe();
        }
        assert_eq!(seen, [1, 2, 4, 8, 10, 10]);
        persist.on_open();
        assert_eq!(persist.interval(Duration::from_secs(1), Duration::from_secs(10)).as_secs(), 1);
    }
}
