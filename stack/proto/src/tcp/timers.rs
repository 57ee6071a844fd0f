//! The deadlines of one connection. The delayed ACK keeps its own, in `recv/ack.rs`.

use crate::time::Instant;

const NONE: Instant = Instant::from_nanos(u64::MAX);

/// What a deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Retransmission of data, SYN or FIN (RFC 6298).
    Retransmit = 0,
    /// Probing a zero window (RFC 9293 3.8.6.1).
    Persist = 1,
    /// Asking an idle peer whether it is there (RFC 9293 3.8.4).
    Keepalive = 2,
    /// The end of lingering after close, of FIN-WAIT-2 without an application, or of TIME-WAIT: the state says which.
    Close = 3,
    /// The user time-out (RFC 9293 3.10.8).
    User = 4,
    /// What is corked goes out.
    Cork = 5,
    /// What RACK has not decided, or else the probe of the tail (RFC 8985 8).
    Loss = 6,
    /// The next segment of a paced connection.
    Pace = 7,
}

const TIMERS: usize = 8;

/// At most one deadline of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    at: [Instant; TIMERS],
}

impl Default for Timers {
    fn default() -> Self {
        Self { at: [NONE; TIMERS] }
    }
}

impl Timers {
    /// Sets the deadline of `timer`.
    pub fn arm(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = at;
    }

    /// Sets it unless it is set.
    pub fn arm_if_idle(&mut self, timer: Timer, at: Instant) {
        if !self.is_armed(timer) {
            self.arm(timer, at);
        }
    }

    /// Sets it unless it is set earlier.
    pub fn arm_by(&mut self, timer: Timer, at: Instant) {
        self.arm(timer, self.at[timer as usize].min(at));
    }

    /// Takes the deadline of `timer` away.
    pub fn cancel(&mut self, timer: Timer) {
        self.at[timer as usize] = NONE;
    }

    /// Whether `timer` has a deadline.
    pub fn is_armed(&self, timer: Timer) -> bool {
        self.at[timer as usize] != NONE
    }

    /// The deadline of `timer`, if it has one.
    pub fn deadline(&self, timer: Timer) -> Option<Instant> {
        Some(self.at[timer as usize]).filter(|at| *at != NONE)
    }

    /// Takes the deadline of `timer` away if it has come.
    pub fn take_expired(&mut self, timer: Timer, now: Instant) -> bool {
        let expired = self.at[timer as usize] <= now;
        if expired {
            self.cancel(timer);
        }
        expired
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The earliest deadline.
    pub fn earliest(&self) -> Option<Instant> {
        self.at.iter().copied().min().filter(|at| *at != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_once() {
        let mut timers = Timers::default();
        assert_eq!(timers.earliest(), None);
        timers.arm(Timer::Close, Instant::from_millis(9));
        timers.arm(Timer::Retransmit, Instant::from_millis(5));
        timers.arm_if_idle(Timer::Retransmit, Instant::from_millis(1));
        assert_eq!(timers.earliest(), Some(Instant::from_millis(5)));
        assert!(!timers.take_expired(Timer::Retransmit, Instant::from_millis(4)));
        assert!(timers.take_expired(Timer::Retransmit, Instant::from_millis(5)));
        assert!(!timers.take_expired(Timer::Retransmit, Instant::from_millis(6)));
        assert_eq!(timers.earliest(), Some(Instant::from_millis(9)));
        timers.clear();
        assert_eq!(timers.earliest(), None);
    }
}
