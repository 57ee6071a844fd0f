//! The least round-trip time of the last minutes (RFC 8985 6.2, step 1).

use crate::time::Instant;
use core::time::Duration;

/// Half of the time for which a sample counts: a path that has become longer is believed after 150 to 300 seconds.
const HALF: Duration = Duration::from_secs(150);
/// Nanoseconds of no sample.
const NONE: u64 = u64::MAX;

/// The least of two halves of the window.
#[derive(Clone, Copy, Debug)]
pub struct MinRtt {
    now: u64,
    before: u64,
    began: Instant,
}

impl Default for MinRtt {
    fn default() -> Self {
        Self { now: NONE, before: NONE, began: Instant::ZERO }
    }
}

impl MinRtt {
    /// Takes a sample.
    pub fn on_sample(&mut self, now: Instant, sample: Duration) {
        let age = now.saturating_since(self.began);
        if age >= HALF {
            self.before = if age < 2 * HALF { self.now } else { NONE };
            (self.now, self.began) = (NONE, now);
        }
        self.now = self.now.min(u64::try_from(sample.as_nanos()).unwrap_or(NONE - 1));
    }

    /// The least; `None` before the first sample.
    pub fn get(&self) -> Option<Duration> {
        Some(self.now.min(self.before)).filter(|least| *least != NONE).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_least_for_some_minutes() {
        let at = |secs: u64| Instant::from_millis(1_000_000 + 1000 * secs);
        let ms = Duration::from_millis;
        let mut min = MinRtt::default();
        assert_eq!(min.get(), None);
        min.on_sample(at(0), ms(5));
        min.on_sample(at(1), ms(50));
        assert_eq!(min.get(), Some(ms(5)));
        min.on_sample(at(160), ms(50));
        assert_eq!(min.get(), Some(ms(5)), "it may be what it was");
        min.on_sample(at(311), ms(60));
        assert_eq!(min.get(), Some(ms(50)), "the path has become longer");
        min.on_sample(at(2000), ms(70));
        assert_eq!(min.get(), Some(ms(70)), "nothing was heard for long");
    }
}
