//! RACK: a segment is lost when one that was sent enough later has arrived (RFC 8985 6).
//!
//! Time decides, not counting, so it finds lost retransmissions and lost tails, and bears reordering: it waits for a
//! reordering window that adapts to what has been seen.

use crate::tcp::seq::Seq;
use crate::tcp::transmission::{Newest, Verdict};
use crate::time::Instant;
use core::time::Duration;

/// Recoveries for which a widened window is kept.
const PERSIST: u8 = 16;

/// RACK's variables.
#[derive(Clone, Copy, Debug)]
pub struct Rack {
    newest: Option<Newest>,
    rtt: Duration,
    /// The highest number that has arrived.
    fack: Seq,
    /// Until this is acknowledged, D-SACKs belong to a round that has been reckoned with.
    dsack_round: Option<Seq>,
    multiplier: u8,
    persist: u8,
    reordering_seen: bool,
    window: Duration,
}

impl Rack {
    /// Everything before `first` counts as arrived.
    pub fn new(first: Seq) -> Self {
        Self {
            newest: None,
            rtt: Duration::ZERO,
            fack: first,
            dsack_round: None,
            multiplier: 1,
            persist: PERSIST,
            reordering_seen: false,
            window: Duration::ZERO,
        }
    }

    /// An ACK has delivered something: steps 2 and 3. `newest` is the segment sent last among the delivered, `original` the
    /// lowest end of those that were sent once, `highest` the highest of all.
    pub fn on_delivery(&mut self, now: Instant, newest: Option<Newest>, original: Option<Seq>, highest: Option<Seq>) {
        if let Some(newest) = newest
            && self.newest.is_none_or(|known| known.is_before(newest.at, newest.end))
        {
            self.newest = Some(newest);
            self.rtt = now.saturating_since(newest.at);
        }
        //= spec/rfc8985.txt#section-6.2
        //# If a never-retransmitted segment
        //# that's below RACK.fack is (selectively or cumulatively) acknowledged,
        //# it has been delivered out of order.
        self.reordering_seen |= original.is_some_and(|end| end.before(self.fack));
        if let Some(highest) = highest {
            self.fack = self.fack.max(highest);
        }
    }

    /// A D-SACK that ends at `end` has come when everything before `una` was acknowledged and before `nxt` sent: a
    /// retransmission was needless. Then what lay below the highest that had arrived came out of order, though the rule of
    /// [`on_delivery`](Self::on_delivery) never sees it: as long as nothing is waited for, all that is late has gone again
    /// when it arrives.
    //= spec/rfc8985.txt#section-6.2
    //# The RACK.reo_wnd increases linearly for every round trip in which the sender receives
    //# some DSACK option so that after N round trips in which a DSACK is
    //# received, the RACK.reo_wnd becomes (N+1) * min_RTT / 4, with an
    //# upper-bound of SRTT.
    pub fn on_duplicate_sack(&mut self, end: Seq, una: Seq, nxt: Seq) {
        self.reordering_seen |= end.before(self.fack);
        if self.dsack_round.is_some_and(|round| una.at_or_after(round)) {
            self.dsack_round = None;
        }
        if self.dsack_round.is_none() {
            self.dsack_round = Some(nxt);
            self.multiplier = self.multiplier.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// A recovery is over.
    pub fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = 1;
        }
    }

    /// Step 4: the window in force, where `strict` says that the reordering seen so far speaks against waiting: in
    /// recovery, or with as many segments `SACKed` as the duplicate-ACK threshold has.
    pub fn adapt_window(&mut self, min_rtt: Option<Duration>, srtt: Option<Duration>, strict: bool) {
        self.window = if strict && !self.reordering_seen {
            Duration::ZERO
        } else {
            let wide = min_rtt.unwrap_or_default() / 4 * u32::from(self.multiplier);
            wide.min(srtt.unwrap_or_default())
        };
    }

    /// Step 5 for a segment that was sent `at` and ends at `end`.
    //= spec/rfc8985.txt#section-6.2
    //# For each segment that has not been SACKed, RACK considers that
    //# segment lost if another segment that was sent later has been
    //# delivered and the reordering window has passed.
    pub fn judge(&self, now: Instant, at: Instant, end: Seq) -> Verdict {
        let Some(newest) = self.newest.filter(|newest| at < newest.at || at == newest.at && end.before(newest.end))
        else {
            return Verdict::Open;
        };
        debug_assert!(at <= newest.at);
        let deadline = at + self.patience();
        if deadline <= now { Verdict::Lost } else { Verdict::Wait(deadline) }
    }

    /// How long after its sending a segment has time to arrive.
    pub fn patience(&self) -> Duration {
        self.rtt + self.window
    }

    /// Whether originals have arrived out of order on this connection.
    pub fn has_seen_reordering(&self) -> bool {
        self.reordering_seen
    }

    /// What must hold after every event: nothing has arrived that was not sent before `nxt`.
    pub fn check_consistency(&self, nxt: Seq) {
        if cfg!(debug_assertions) {
            assert!(self.fack.at_or_before(nxt) && self.multiplier > 0, "{self:?} {nxt:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1000 + millis)
    }

    fn deliver(rack: &mut Rack, now: u64, sent: u64, start: u32, times_sent: u8) {
        let end = Seq(start + 100);
        rack.on_delivery(at(now), Some(Newest { at: at(sent), end }), (times_sent == 1).then_some(end), Some(end));
    }

    //= spec/rfc8985.txt#section-6.2
    //= type=test
    //# For each segment that has not been SACKed, RACK considers that
    //# segment lost if another segment that was sent later has been
    //# delivered and the reordering window has passed.
    #[test]
    fn what_was_sent_before_a_delivered_segment_has_a_quarter_of_the_round_trip_left() {
        let mut rack = Rack::new(Seq(0));
        assert_eq!(rack.judge(at(50), at(0), Seq(100)), Verdict::Open, "nothing has arrived");
        deliver(&mut rack, 41, 1, 100, 1);
        rack.adapt_window(Some(40 * MS), Some(40 * MS), false);
        assert_eq!(rack.judge(at(41), at(0), Seq(100)), Verdict::Wait(at(50)));
        assert_eq!(rack.judge(at(50), at(0), Seq(100)), Verdict::Lost);
        assert_eq!(rack.judge(at(99), at(2), Seq(300)), Verdict::Open, "it was sent later");
        assert_eq!(rack.judge(at(99), at(1), Seq(300)), Verdict::Open, "at the same time and behind");
        rack.adapt_window(Some(40 * MS), Some(40 * MS), true);
        assert_eq!(rack.judge(at(41), at(0), Seq(100)), Verdict::Lost, "three have arrived, and never out of order");
    }

    //= spec/rfc8985.txt#section-6.2
    //= type=test
    //# If a never-retransmitted segment
    //# that's below RACK.fack is (selectively or cumulatively) acknowledged,
    //# it has been delivered out of order.
    #[test]
    fn an_original_below_the_highest_is_reordering_and_a_retransmission_is_not() {
        let mut rack = Rack::new(Seq(0));
        deliver(&mut rack, 10, 0, 500, 1);
        deliver(&mut rack, 11, 5, 100, 2);
        assert!(!rack.has_seen_reordering());
        deliver(&mut rack, 12, 0, 200, 1);
        assert!(rack.has_seen_reordering());
        rack.adapt_window(Some(4 * MS), Some(10 * MS), true);
        assert_eq!(rack.patience(), rack.rtt + MS);
    }

    #[test]
    fn a_needless_retransmission_below_the_highest_is_reordering() {
        let mut rack = Rack::new(Seq(0));
        deliver(&mut rack, 10, 0, 500, 1);
        rack.on_duplicate_sack(Seq(600), Seq(600), Seq(900));
        assert!(!rack.has_seen_reordering(), "it may have been the probe of a tail");
        rack.on_duplicate_sack(Seq(500), Seq(600), Seq(900));
        assert!(rack.has_seen_reordering());
    }

    //= spec/rfc8985.txt#section-6.2
    //= type=test
    //# The RACK.reo_wnd increases linearly for every round trip in which the sender receives
    //# some DSACK option so that after N round trips in which a DSACK is
    //# received, the RACK.reo_wnd becomes (N+1) * min_RTT / 4, with an
    //# upper-bound of SRTT.
    #[test]
    fn needless_retransmissions_widen_the_window_once_a_round_trip_for_sixteen_recoveries() {
        let mut rack = Rack::new(Seq(0));
        let window = |rack: &mut Rack| {
            rack.adapt_window(Some(40 * MS), Some(45 * MS), false);
            rack.window
        };
        assert_eq!(window(&mut rack), 10 * MS);
        rack.on_duplicate_sack(Seq(50), Seq(100), Seq(1000));
        rack.on_duplicate_sack(Seq(50), Seq(999), Seq(2000));
        assert_eq!(window(&mut rack), 20 * MS, "the same round trip");
        (0..9).for_each(|n| rack.on_duplicate_sack(Seq(50), Seq(2000 * n + 2000), Seq(2000 * n + 4000)));
        assert_eq!(window(&mut rack), 45 * MS, "no more than SRTT");
        (0..15).for_each(|_| rack.on_recovered());
        assert_eq!(window(&mut rack), 45 * MS);
        rack.on_recovered();
        assert_eq!(window(&mut rack), 10 * MS);
    }
}
