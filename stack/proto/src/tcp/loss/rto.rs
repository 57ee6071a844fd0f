//! The retransmission time-out and its exponential back-off (RFC 6298 2, 5).

use crate::time::Instant;
use core::time::Duration;

/// The time-out in force. It lies between its bounds from birth.
#[derive(Clone, Copy, Debug)]
pub struct Rto {
    base: Nanos,
    min: Nanos,
    max: Nanos,
    /// When the oldest unacknowledged segment was sent; meaningful when the timer has fired. R2 counts from here.
    since: Instant,
    backoff: u8,
}

/// A time-out in half of the bytes of a [`Duration`].
type Nanos = u64;

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Rto {
    /// A time-out of `initial` until the first sample, never below `min` nor above `max`.
    pub fn new(initial: Duration, min: Duration, max: Duration) -> Self {
        let max = nanos(max.max(Duration::from_millis(1)));
        let min = nanos(min.max(Duration::from_millis(1))).min(max);
        Self { base: nanos(initial).clamp(min, max), min, max, since: Instant::ZERO, backoff: 0 }
    }

    /// Other bounds, at once in force.
    pub fn set_bounds(&mut self, min: Duration, max: Duration) {
        let Self { base, since, backoff, .. } = *self;
        *self = Self { since, backoff, ..Self::new(Duration::from_nanos(base), min, max) };
    }

    /// A new estimate: SRTT + 4 * RTTVAR, once there is one.
    pub fn on_estimate(&mut self, estimate: Option<Duration>) {
        if let Some(estimate) = estimate {
            //= spec/rfc6298.txt#section-2
            //# (2.5) A maximum value MAY be placed on RTO provided it is at least 60 seconds.
            self.base = nanos(estimate).clamp(self.min, self.max);
        }
    }

    /// The peer has acknowledged something new.
    pub fn on_progress(&mut self) {
        self.backoff = 0;
    }

    /// The timer fired: back off, and remember since when nothing has come.
    //= spec/rfc6298.txt#section-1
    //# However, a TCP MUST NOT be more aggressive than the following algorithms allow.
    //= spec/rfc6298.txt#section-5
    //# (5.5) The host MUST set RTO <- RTO * 2 ("back off the timer"). The maximum value discussed in (2.5) above may
    //# be used to provide an upper bound to this doubling operation.
    //= spec/rfc9293.txt#section-3.8.2
    //# A TCP endpoint MUST implement the basic congestion control algorithms slow start, congestion avoidance, and
    //# exponential backoff of RTO to avoid creating congestion collapse conditions (MUST-19).
    pub fn on_expiry(&mut self, now: Instant) {
        let fired_after = self.current();
        if self.backoff == 0 {
            self.since = now - fired_after;
        }
        self.backoff = self.backoff.saturating_add(1);
    }

    /// The SYN had to be sent again and was answered: RFC 6298 5.7 restarts data with at least 3 s.
    pub fn after_lost_syn(&mut self) {
        self.base = self.base.max(nanos(Duration::from_secs(3))).min(self.max);
        self.backoff = 0;
    }

    /// The time-out with its back-off.
    pub fn current(&self) -> Duration {
        Duration::from_nanos(self.base.saturating_mul(1 << u32::from(self.backoff).min(20)).min(self.max))
    }

    /// The time-out without its back-off.
    pub fn base(&self) -> Duration {
        Duration::from_nanos(self.base)
    }

    /// How often the timer fired without progress.
    pub fn expiries(&self) -> u8 {
        self.backoff
    }

    /// How long the peer has been silent, if the timer has fired.
    pub fn silent_for(&self, now: Instant) -> Duration {
        if self.backoff == 0 { Duration::ZERO } else { now.saturating_since(self.since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    //= spec/rfc9293.txt#section-3.8.2
    //= type=test
    //# A TCP endpoint MUST implement the basic congestion control algorithms slow start, congestion avoidance, and
    //# exponential backoff of RTO to avoid creating congestion collapse conditions (MUST-19).
    //= spec/rfc6298.txt#section-1
    //= type=test
    //# However, a TCP MUST NOT be more aggressive than the following algorithms allow.
    //= spec/rfc6298.txt#section-5
    //= type=test
    //# (5.5) The host MUST set RTO <- RTO * 2 ("back off the timer"). The maximum value discussed in (2.5) above may
    //# be used to provide an upper bound to this doubling operation.
    #[test]
    fn backs_off_to_its_bound_and_forgets_on_progress() {
        let mut rto = Rto::new(SECOND, Duration::from_millis(200), 60 * SECOND);
        let mut seen = std::vec::Vec::new();
        for _ in 0..8 {
            seen.push(rto.current().as_secs());
            rto.on_expiry(Instant::from_millis(100_000));
        }
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
        rto.on_progress();
        assert_eq!(rto.current(), SECOND);
    }

    //= spec/rfc6298.txt#section-2
    //= type=test
    //# (2.5) A maximum value MAY be placed on RTO provided it is at least 60 seconds.
    #[test]
    fn estimates_stay_within_the_bounds() {
        let mut rto = Rto::new(SECOND, Duration::from_millis(200), 60 * SECOND);
        rto.on_estimate(Some(Duration::from_micros(50)));
        assert_eq!(rto.current(), Duration::from_millis(200));
        rto.on_estimate(Some(Duration::from_secs(500)));
        assert_eq!(rto.current(), 60 * SECOND);
        rto.on_estimate(None);
        assert_eq!(rto.current(), 60 * SECOND);
    }

    #[test]
    fn silence_counts_from_the_first_transmission() {
        let mut rto = Rto::new(SECOND, SECOND, 60 * SECOND);
        rto.on_expiry(Instant::from_millis(5_000));
        rto.on_expiry(Instant::from_millis(7_000));
        assert_eq!(rto.silent_for(Instant::from_millis(7_000)), Duration::from_secs(3));
        assert_eq!(rto.expiries(), 2);
    }

    #[test]
    fn bad_bounds_are_mended() {
        let rto = Rto::new(Duration::ZERO, 9 * SECOND, SECOND);
        assert_eq!(rto.current(), SECOND);
    }
}
