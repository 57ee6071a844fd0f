//! How large the receive window should be: twice what the application took in a round trip.
//!
//! A sender in slow start doubles what it has in flight each round trip. To let it, the window has to be twice what
//! has just been delivered in one: what was read within a round trip shows what that was, and the next may bring twice
//! as much. A peer that does not send much, or an application that does not read, never gets a large window.

use crate::tcp::seq::Seq;
use crate::time::Instant;
use core::time::Duration;

/// A round trip is taken for no shorter than this: on a fast link the application reads in bursts.
const LEAST_ROUND: Duration = Duration::from_millis(1);

/// What is read in the round that goes on, and an estimate of the round trip for those who never send.
#[derive(Clone, Copy, Debug)]
pub struct Tune {
    begun: Instant,
    read: u32,
    /// When everything before this has come, a window's worth has come since `marked`.
    mark: Seq,
    marked: Instant,
    /// The time that a window's worth took, nanoseconds; 0 before the first.
    window_time: u64,
}

impl Tune {
    /// The first round begins now, when `next` is expected next and the peer may send `window` bytes.
    pub fn new(now: Instant, next: Seq, window: u32) -> Self {
        Self { begun: now, read: 0, mark: next + window, marked: now, window_time: 0 }
    }

    /// Data has come in order up to `next`, and a window has `window` bytes. A window's worth does not come in much less
    /// than a round trip: its end was allowed only by the ACK of its beginning.
    pub fn on_data(&mut self, now: Instant, next: Seq, window: u32) {
        if next.before(self.mark) {
            return;
        }
        let took = u64::try_from(now.saturating_since(self.marked).as_nanos()).unwrap_or(u64::MAX);
        // The peer may have paused, so the shortest time is the best.
        self.window_time = if self.window_time == 0 { took.max(1) } else { self.window_time.min(took.max(1)) };
        self.mark = next + window;
        self.marked = now;
    }

    /// The application has read `n` bytes. At the end of a round, gives the window that the next one may need, when a
    /// segment has `mss` bytes and the round trip takes `rtt`, if that is known.
    pub fn on_read(&mut self, now: Instant, n: u32, rtt: Option<Duration>, mss: u16) -> Option<u32> {
        self.read = self.read.saturating_add(n);
        let measured = (self.window_time > 0).then(|| Duration::from_nanos(self.window_time));
        let round = rtt.or(measured)?.max(LEAST_ROUND);
        if now.saturating_since(self.begun) < round {
            return None;
        }
        let read = core::mem::take(&mut self.read);
        self.begun = now;
        // A few segments more, so that the first rounds of a small window are not held up by delayed ACKs.
        Some(read.saturating_mul(2).saturating_add(16 * u32::from(mss)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    #[test]
    fn the_window_is_twice_what_a_round_delivered() {
        let mut tune = Tune::new(Instant::ZERO, Seq(0), 1000);
        assert_eq!(tune.on_read(Instant::from_millis(4), 30_000, Some(RTT), 1000), None);
        assert_eq!(tune.on_read(Instant::from_millis(10), 20_000, Some(RTT), 1000), Some(116_000));
        assert_eq!(tune.on_read(Instant::from_millis(19), 1, Some(RTT), 1000), None, "a new round");
        assert_eq!(tune.on_read(Instant::from_millis(20), 1, Some(RTT), 1000), Some(16_004));
    }

    #[test]
    fn who_never_sends_learns_the_round_trip_from_its_windows() {
        let mut tune = Tune::new(Instant::ZERO, Seq(0), 1000);
        assert_eq!(tune.on_read(Instant::from_millis(500), 999, None, 1000), None, "nothing is known");
        tune.on_data(Instant::from_millis(500), Seq(999), 1000);
        tune.on_data(Instant::from_millis(510), Seq(1000), 1000);
        tune.on_data(Instant::from_millis(530), Seq(2000), 1000);
        assert_eq!(tune.on_read(Instant::from_millis(530), 1001, None, 1000), Some(20_000));
        assert_eq!(tune.on_read(Instant::from_millis(549), 1, None, 1000), None, "20 ms are the shortest");
        assert!(tune.on_read(Instant::from_millis(550), 1, None, 1000).is_some());
    }

    #[test]
    fn numbers_as_large_as_they_come_do_not_overflow() {
        let mut tune = Tune::new(Instant::ZERO, Seq(u32::MAX), u32::MAX);
        tune.on_data(Instant::from_nanos(u64::MAX), Seq(5), u32::MAX);
        assert_eq!(tune.on_read(Instant::from_nanos(u64::MAX), u32::MAX, Some(RTT), u16::MAX), Some(u32::MAX));
    }
}
