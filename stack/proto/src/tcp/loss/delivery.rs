//! What one ACK has delivered, collected over its number and its SACK blocks: the newest segment for RACK and for the
//! delivery rate, the sample for the RTT, the lowest for reordering.

use crate::tcp::seq::Seq;
use crate::tcp::transmission::{Delivered, Newest, Stamp};
use crate::time::Instant;
use core::time::Duration;

/// The sum over the segments.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    now: Instant,
    /// The millisecond in which the timestamp was sent that the ACK echoes.
    echo: Option<u64>,
    min_rtt: Duration,
    bytes: u32,
    newest: Option<Newest>,
    stamp: Option<Stamp>,
    lowest_original: Option<Seq>,
    highest: Option<Seq>,
    original: Option<Seq>,
    sacked_at: Option<Instant>,
    acked_at: Option<Instant>,
    acked_again: bool,
}

impl Delivery {
    /// Nothing yet. `echo` is the millisecond of our clock whose timestamp the ACK echoes.
    pub fn new(now: Instant, echo: Option<u64>, min_rtt: Option<Duration>) -> Self {
        Self {
            now,
            echo,
            min_rtt: min_rtt.unwrap_or_default(),
            bytes: 0,
            newest: None,
            stamp: None,
            lowest_original: None,
            highest: None,
            original: None,
            sacked_at: None,
            acked_at: None,
            acked_again: false,
        }
    }

    /// This segment has been delivered.
    pub fn on_segment(&mut self, s: &Delivered<'_>) {
        let again = s.times_sent > 1;
        self.bytes = self.bytes.saturating_add(s.end.since(s.start));
        if self.stamp.is_none_or(|stamp| stamp.at <= s.stamp.at) {
            self.stamp = Some(*s.stamp);
        }
        self.highest = Some(self.highest.map_or(s.end, |highest| highest.max(s.end)));
        if !again {
            self.lowest_original = Some(self.lowest_original.map_or(s.end, |lowest| lowest.min(s.end)));
            self.original = Some(self.original.map_or(s.end, |original| original.max(s.end)));
        }
        if s.cumulative {
            //= spec/rfc9293.txt#section-3.8.1
            //# The RTO MUST be computed according to the algorithm in [10], including Karn's algorithm for taking RTT
            //# samples (MUST-18).
            //= spec/rfc6298.txt#section-3
            //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
            //= spec/rfc6298.txt#section-3
            //# RTT samples MUST NOT be made using segments that were retransmitted
            self.acked_again |= again;
            self.acked_at = Some(s.stamp.at);
        } else if !again {
            self.sacked_at = Some(self.sacked_at.map_or(s.stamp.at, |at| at.max(s.stamp.at)));
        }
        if self.is_sure(s, again) && self.newest.is_none_or(|newest| newest.is_before(s.stamp.at, s.end)) {
            self.newest = Some(Newest { at: s.stamp.at, end: s.end });
        }
    }

    //= spec/rfc8985.txt#section-6.2
    //# To avoid spurious inferences, ignore a segment as invalid if any of
    //# its sequence range has been retransmitted before and if either of two
    //# conditions is true:
    // The echo speaks of what has moved RCV.NXT (RFC 7323 4.3), so of nothing that a block covers.
    fn is_sure(&self, s: &Delivered<'_>, again: bool) -> bool {
        let too_soon = self.now.saturating_since(s.stamp.at) < self.min_rtt;
        let echoes_another = s.cumulative && self.echo.is_some_and(|echo| echo < s.stamp.at.as_millis());
        !(again && (too_soon || echoes_another))
    }

    /// Bytes delivered for the first time.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// What RACK goes by.
    pub fn newest(&self) -> Option<Newest> {
        self.newest
    }

    /// The stamp of the segment that was sent last.
    pub fn stamp(&self) -> Option<&Stamp> {
        self.stamp.as_ref()
    }

    /// The lowest end of a segment that was sent once.
    pub fn lowest_original(&self) -> Option<Seq> {
        self.lowest_original
    }

    /// The highest end of all.
    pub fn highest(&self) -> Option<Seq> {
        self.highest
    }

    /// The highest end of a segment that was sent once.
    pub fn highest_original(&self) -> Option<Seq> {
        self.original
    }

    /// The round-trip time, if it is unambiguous: of the last segment that the ACK's number covers, unless any of them
    /// went more than once (those behind a hole have long been there when it is filled), or of the newest in its blocks.
    pub fn rtt(&self) -> Option<Duration> {
        let acked_at = self.acked_at.filter(|_| !self.acked_again);
        acked_at.max(self.sacked_at).map(|at| self.now.saturating_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(millis: u64) -> Stamp {
        Stamp::sent_at(Instant::from_millis(millis))
    }

    fn segment(stamp: &Stamp, start: u32, times_sent: u8, cumulative: bool) -> Delivered<'_> {
        Delivered { stamp, start: Seq(start), end: Seq(start + 100), times_sent, cumulative }
    }

    fn delivery(now: u64, echo: Option<u64>) -> Delivery {
        Delivery::new(Instant::from_millis(now), echo, Some(Duration::from_millis(10)))
    }

    //= spec/rfc6298.txt#section-3
    //= type=test
    //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
    //= spec/rfc6298.txt#section-3
    //= type=test
    //# RTT samples MUST NOT be made using segments that were retransmitted
    #[test]
    fn a_sample_comes_from_what_went_once_and_not_from_behind_a_hole() {
        let mut filled = delivery(60_000, None);
        filled.on_segment(&segment(&stamp(59_900), 0, 2, true));
        filled.on_segment(&segment(&stamp(0), 100, 1, true));
        assert_eq!(filled.rtt(), None, "the second arrived a minute ago");
        let mut plain = delivery(60, None);
        plain.on_segment(&segment(&stamp(20), 0, 1, true));
        plain.on_segment(&segment(&stamp(30), 100, 1, true));
        assert_eq!(plain.rtt(), Some(Duration::from_millis(30)));
        let mut blocks = delivery(60, None);
        blocks.on_segment(&segment(&stamp(10), 0, 2, true));
        blocks.on_segment(&segment(&stamp(40), 500, 1, false));
        assert_eq!(blocks.rtt(), Some(Duration::from_millis(20)), "a block tells of what has just come");
        assert_eq!(blocks.bytes(), 200);
    }

    //= spec/rfc8985.txt#section-6.2
    //= type=test
    //# To avoid spurious inferences, ignore a segment as invalid if any of
    //# its sequence range has been retransmitted before and if either of two
    //# conditions is true:
    #[test]
    fn a_retransmission_counts_only_when_it_can_be_what_arrived() {
        let sent = stamp(95);
        let mut soon = delivery(100, None);
        soon.on_segment(&segment(&sent, 0, 2, true));
        assert_eq!(soon.newest(), None, "sooner than any round trip");
        let mut echoed = delivery(120, Some(94));
        echoed.on_segment(&segment(&sent, 0, 2, true));
        assert_eq!(echoed.newest(), None, "it is the original that is echoed");
        let mut sure = delivery(120, Some(95));
        sure.on_segment(&segment(&sent, 0, 2, true));
        assert_eq!(sure.newest(), Some(Newest { at: sent.at, end: Seq(100) }));
        let mut ahead = delivery(120, Some(60));
        ahead.on_segment(&segment(&sent, 0, 2, false));
        assert_eq!(ahead.newest(), Some(Newest { at: sent.at, end: Seq(100) }), "the echo is of what came in order");
    }

    #[test]
    fn the_newest_is_the_last_sent_and_of_two_the_higher() {
        let mut all = delivery(100, None);
        for (start, millis) in [(0, 5), (200, 7), (100, 7)] {
            all.on_segment(&segment(&stamp(millis), start, 1, false));
        }
        assert_eq!(all.newest(), Some(Newest { at: Instant::from_millis(7), end: Seq(300) }));
        assert_eq!((all.lowest_original(), all.highest()), (Some(Seq(100)), Some(Seq(300))));
        assert_eq!(all.stamp().map(|stamp| stamp.at), Some(Instant::from_millis(7)));
    }
}
