//! When a worker that finds nothing to do goes to sleep.

use crate::config::{Strategy, Waiting};
use corelane_proto::Instant;
use std::time::Duration;

/// Decides after each turn whether to turn again or to sleep.
#[derive(Clone, Debug)]
pub struct Idle {
    strategy: Strategy,
    spin: Duration,
    sleep_max: Duration,
    since: Option<Instant>,
}

/// What a worker does after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Turns again.
    Turn,
    /// Sleeps for so long at most, or until a frame comes.
    Sleep(Duration),
}

impl Idle {
    /// The strategy as configured.
    pub fn new(waiting: &Waiting) -> Self {
        Self {
            strategy: waiting.strategy(),
            spin: Duration::from_micros(waiting.spin_us().into()),
            sleep_max: Duration::from_millis(waiting.sleep_max_ms().into()),
            since: None,
        }
    }

    /// What to do after a turn at `now` that had something to do (`busy`) or not. `deadline` finds out when the next timer
    /// is due; it is asked only where that matters.
    pub fn after_turn(&mut self, now: Instant, busy: bool, deadline: impl FnOnce() -> Option<Instant>) -> Pause {
        if busy {
            self.since = None;
            return Pause::Turn;
        }
        let since = *self.since.get_or_insert(now);
        let spins = match self.strategy {
            Strategy::Spin => true,
            Strategy::Adaptive => now.saturating_since(since) < self.spin,
            Strategy::Sleep => false,
        };
        if spins {
            return Pause::Turn;
        }
        let longest = deadline().map_or(self.sleep_max, |at| at.saturating_since(now).min(self.sleep_max));
        if longest.is_zero() { Pause::Turn } else { Pause::Sleep(longest) }
    }

    /// A frame woke the worker, so that more may follow closely: an adaptive one spins again.
    pub fn woken(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn idle(strategy: Strategy) -> Idle {
        let config = Config::builder().waiting(strategy).set("waiting.spin_us", 50).set("waiting.sleep_max_ms", 100);
        Idle::new(config.build().unwrap().waiting())
    }

    const fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn spin_never_sleeps() {
        let mut idle = idle(Strategy::Spin);
        assert_eq!(idle.after_turn(at(0), false, || None), Pause::Turn);
        assert_eq!(idle.after_turn(at(10_000_000), false, || None), Pause::Turn);
    }

    #[test]
    fn adaptive_spins_for_its_time_and_starts_anew_after_work() {
        let mut idle = idle(Strategy::Adaptive);
        assert_eq!(idle.after_turn(at(0), false, || None), Pause::Turn);
        assert_eq!(idle.after_turn(at(49), false, || None), Pause::Turn);
        assert_eq!(idle.after_turn(at(50), false, || None), Pause::Sleep(Duration::from_millis(100)));
        assert_eq!(idle.after_turn(at(60), true, || None), Pause::Turn);
        assert_eq!(idle.after_turn(at(70), false, || None), Pause::Turn);
        assert_eq!(idle.after_turn(at(121), false, || None), Pause::Sleep(Duration::from_millis(100)));
        idle.woken();
        assert_eq!(idle.after_turn(at(130), false, || None), Pause::Turn);
    }

    #[test]
    fn who_spins_does_not_ask_for_the_next_timer() {
        let unasked = || unreachable!("the next timer was looked for");
        assert_eq!(idle(Strategy::Spin).after_turn(at(0), false, unasked), Pause::Turn);
        assert_eq!(idle(Strategy::Adaptive).after_turn(at(0), false, unasked), Pause::Turn);
        assert_eq!(idle(Strategy::Sleep).after_turn(at(0), true, unasked), Pause::Turn);
    }

    #[test]
    fn no_sleep_outlasts_the_next_timer() {
        let mut idle = idle(Strategy::Sleep);
        assert_eq!(idle.after_turn(at(100), false, || Some(at(350))), Pause::Sleep(Duration::from_micros(250)));
        assert_eq!(idle.after_turn(at(400), false, || Some(at(350))), Pause::Turn);
        assert_eq!(idle.after_turn(at(400), false, || Some(at(9_000_000))), Pause::Sleep(Duration::from_millis(100)));
    }
}
