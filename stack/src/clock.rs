//! The only reader of the clock. Everything else is told the time.

use corelane_proto::Instant;
use quanta::Mock;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// A monotonic clock that counts nanoseconds from when it was made; a reading costs about 16 ns.
///
/// It reads the CPU's time-stamp counter where that is invariant, else `CLOCK_MONOTONIC`. One belongs to each worker.
/// Readings of two clocks are not to be compared unless one is a [`sibling`](Self::sibling) of the other.
#[derive(Debug)]
pub struct Clock {
    source: quanta::Clock,
    origin: u64,
    // The counters of two cores may differ by a little: a thread that is moved must not see time run backwards.
    last: Cell<Instant>,
}

impl Clock {
    /// The machine's clock. The first one in a process calibrates the counter, which takes some milliseconds.
    pub fn new() -> Self {
        Self::over(quanta::Clock::new())
    }

    /// A clock that stands still until it is moved, for tests.
    pub fn manual() -> (Self, ManualClock) {
        let (source, mock) = quanta::Clock::mock();
        (Self::over(source), ManualClock(mock))
    }

    /// The same clock for another thread: what both read differs by no more than the counters of two cores do.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let Self { source, origin, last } = self;
        Self { source: source.clone(), origin: *origin, last: last.clone() }
    }

    fn over(source: quanta::Clock) -> Self {
        let origin = source.raw();
        Self { source, origin, last: Cell::new(Instant::ZERO) }
    }

    /// The time now: never before an earlier reading.
    pub fn now(&self) -> Instant {
        let read = Instant::from_nanos(self.source.delta_as_nanos(self.origin, self.source.raw()));
        let now = read.max(self.last.get());
        self.last.set(now);
        now
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Moves a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mock>);

impl ManualClock {
    /// Lets `by` pass.
    pub fn advance(&self, by: Duration) {
        self.0.increment(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let (clock, hand) = Clock::manual();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        hand.advance(Duration::from_micros(1_500));
        assert_eq!(clock.now().saturating_since(start), Duration::from_micros(1_500));
        let sibling = clock.sibling();
        hand.advance(Duration::from_micros(500));
        assert_eq!(sibling.now(), clock.now());
        assert_eq!(sibling.now().saturating_since(start), Duration::from_millis(2));
    }

    #[test]
    fn the_real_clock_goes_forward_at_the_pace_of_the_wall() {
        let clock = Clock::new();
        let (start, wall) = (clock.now(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let (measured, real) = (clock.now().saturating_since(start), wall.elapsed());
        assert!(measured >= Duration::from_millis(19) && measured <= real + Duration::from_millis(2), "{measured:?}");
    }
}
