//! Probing a closed window, for as long as the peer answers (RFC 9293 3.8.6.1).

use crate::time::Instant;
use core::time::Duration;

/// The back-off between probes, and since when they have had no answer.
#[derive(Clone, Copy, Debug)]
pub struct Persist {
    probes: u8,
    /// When the first probe went that nothing has answered.
    unanswered_since: Instant,
}

/// Every probe has been answered, or none has gone.
const ANSWERED: Instant = Instant::from_nanos(u64::MAX);

impl Default for Persist {
    fn default() -> Self {
        Self { probes: 0, unanswered_since: ANSWERED }
    }
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
    pub fn on_probe(&mut self, now: Instant) {
        self.probes = self.probes.saturating_add(1);
        self.unanswered_since = self.unanswered_since.min(now);
    }

    /// The peer has said something.
    pub fn on_heard(&mut self) {
        self.unanswered_since = ANSWERED;
    }

    /// How long probes have gone without an answer.
    pub fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_since(self.unanswered_since)
    }

    /// The window opened.
    pub fn on_open(&mut self) {
        self.probes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_first_probe_without_an_answer() {
        let mut persist = Persist::default();
        let at = Instant::from_millis;
        assert_eq!(persist.silent_for(at(500)), Duration::ZERO);
        persist.on_probe(at(1000));
        persist.on_probe(at(3000));
        assert_eq!(persist.silent_for(at(7000)), Duration::from_secs(6));
        persist.on_heard();
        assert_eq!(persist.silent_for(at(9000)), Duration::ZERO, "however long ago the probe and its answer are");
    }

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
            persist.on_probe(Instant::ZERO);
        }
        assert_eq!(seen, [1, 2, 4, 8, 10, 10]);
        persist.on_open();
        assert_eq!(persist.interval(Duration::from_secs(1), Duration::from_secs(10)).as_secs(), 1);
    }
}
