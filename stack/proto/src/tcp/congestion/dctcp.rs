//! DCTCP: the window is reduced by as much as the network marks (RFC 8257).
//!
//! For paths whose switches mark with CE at a low threshold, and whose receivers echo each mark. Against other traffic on
//! an ordinary path it takes more than its share. Without marks it is NewReno.

use super::{Ack, Cause, CongestionControl, Window};
use crate::time::Instant;
use core::time::Duration;

/// An alpha of 1.
const ONE: u32 = 1 << 20;

/// g = 1/16, as RFC 8257 recommends.
const GAIN_SHIFT: u32 = 4;

/// The window, and how much of the traffic is marked.
#[derive(Clone, Copy, Debug)]
pub struct Dctcp {
    window: Window,
    /// The observation window ends when something is delivered that was sent after so many bytes had been.
    window_end: u64,
    /// Bytes delivered in the observation window.
    delivered: u32,
    /// Those of them that were marked.
    marked: u32,
    /// DCTCP.Alpha: the estimated part of the traffic that is marked, of [`ONE`].
    alpha: u32,
    /// The window was reduced for marks in this observation window.
    reduced: bool,
}

impl Dctcp {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one).
    pub fn new(mss: u16, initial_segments: u8) -> Self {
        Self {
            window: Window::new(mss, initial_segments),
            window_end: 0,
            delivered: 0,
            marked: 0,
            // As RFC 8257 recommends: the first mark then halves, as it does for the others.
            alpha: ONE,
            reduced: false,
        }
    }

    fn observe(&mut self, ack: &Ack) {
        self.delivered = self.delivered.saturating_add(ack.delivered);
        self.marked = self.marked.saturating_add(ack.ce.min(ack.delivered));
        if self.delivered == 0 || ack.rate.is_none_or(|rate| rate.prior_delivered < self.window_end) {
            return;
        }
        // RFC 8257 3.3, steps 4 to 9.
        let fraction = u64::from(self.marked) * u64::from(ONE) / u64::from(self.delivered);
        let sum = (u64::from(self.alpha) << GAIN_SHIFT) - u64::from(self.alpha) + fraction;
        self.alpha = u32::try_from(sum >> GAIN_SHIFT).unwrap_or(ONE).min(ONE);
        self.window_end = ack.delivered_total;
        (self.delivered, self.marked, self.reduced) = (0, 0, false);
    }
}

impl CongestionControl for Dctcp {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.observe(ack);
        self.window.grow(ack);
    }

    fn on_congestion(&mut self, _now: Instant, cause: Cause, flight: u32) {
        match cause {
            // RFC 8257 3.5: a loss is a loss.
            Cause::Loss => self.window.reduce(cause, self.window.half(flight)),
            Cause::Ecn if self.reduced => {}
            Cause::Ecn => {
                self.reduced = true;
                // cwnd * (1 - alpha / 2). It is the window that is reduced, not what is in flight (RFC 8257 3.3).
                let less = u64::from(self.window.cwnd) * u64::from(self.alpha) / (2 * u64::from(ONE));
                let left = self.window.cwnd - u32::try_from(less).unwrap_or(0);
                self.window.reduce(cause, left.max(self.window.least()));
            }
        }
    }

    fn on_recovered(&mut self, _now: Instant, _in_flight: u32) {
        self.window.recovered();
    }

    fn on_time_out(&mut self, _now: Instant, flight: u32, first: bool) {
        self.window.time_out(self.window.half(flight), first);
    }

    fn on_undo(&mut self, _now: Instant) {
        self.window.undo();
    }

    fn on_idle(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        self.window.restart(idle, rto);
    }

    fn on_unvalidated(&mut self) {
        self.window.decay();
    }

    fn set_mss(&mut self, mss: u16) {
        self.window.set_mss(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::super::RateSample;
    use super::super::model::{Path, ack};
    use super::*;

    const NOW: Instant = Instant::ZERO;

    /// A window of ten ACKs, the first `marked` of which are marked.
    fn window(dctcp: &mut Dctcp, total: &mut u64, marked: u32) {
        let start = *total;
        for i in 0..10 {
            *total += 1000;
            let rate = RateSample {
                delivered: 1000,
                interval: Duration::from_millis(1),
                // The last one ends it.
                prior_delivered: if i == 9 { start } else { start.saturating_sub(1) },
                in_flight_at_send: 10_000,
                lost: 0,
                app_limited: false,
            };
            let ce = if i < marked { 1000 } else { 0 };
            dctcp.on_ack(&Ack { delivered_total: *total, rate: Some(rate), ce, cwnd_limited: false, ..ack(1000) });
        }
    }

    #[test]
    fn alpha_becomes_the_marked_part() {
        let (mut dctcp, mut total) = (Dctcp::new(1000, 10), 1);
        dctcp.window_end = total;
        assert_eq!(dctcp.alpha, ONE);
        window(&mut dctcp, &mut total, 0);
        assert_eq!(dctcp.alpha, ONE / 16 * 15);
        for marked in [3, 10, 0, 7] {
            (0..200).for_each(|_| window(&mut dctcp, &mut total, marked));
            let expected = ONE / 10 * marked;
            assert!(dctcp.alpha.abs_diff(expected) <= 16, "{marked} of ten: {} for {expected}", dctcp.alpha);
        }
    }

    #[test]
    fn marks_reduce_by_half_of_alpha_once_a_window() {
        let (mut dctcp, mut total) = (Dctcp::new(1000, 100), 1);
        dctcp.window_end = total;
        dctcp.on_congestion(NOW, Cause::Ecn, 3_000);
        assert_eq!((dctcp.cwnd(), dctcp.ssthresh()), (50_000, 50_000), "half at first, whatever is in flight");
        dctcp.on_congestion(NOW, Cause::Ecn, 3_000);
        assert_eq!(dctcp.cwnd(), 50_000, "once a window");
        window(&mut dctcp, &mut total, 0);
        dctcp.alpha = ONE / 5;
        dctcp.on_congestion(NOW, Cause::Ecn, 3_000);
        assert_eq!(dctcp.cwnd(), 45_001);
        dctcp.window.cwnd = 3_000;
        dctcp.reduced = false;
        dctcp.alpha = ONE;
        dctcp.on_congestion(NOW, Cause::Ecn, 3_000);
        assert_eq!(dctcp.cwnd(), 2_000, "no less than two segments");
    }

    #[test]
    fn a_loss_halves() {
        let mut dctcp = Dctcp::new(1000, 100);
        dctcp.alpha = 0;
        dctcp.on_congestion(NOW, Cause::Loss, 100_000);
        assert_eq!((dctcp.cwnd(), dctcp.ssthresh()), (50_000, 50_000));
        dctcp.on_undo(NOW);
        assert_eq!(dctcp.cwnd(), 100_000);
        dctcp.on_time_out(NOW, 100_000, true);
        assert_eq!((dctcp.cwnd(), dctcp.ssthresh()), (1_000, 50_000));
    }

    /// 1 Gbit/s, 200 microseconds, marks above 30 000 bytes of queue: the queue stays about there, nothing is lost, and
    /// the link stays full.
    #[test]
    fn on_a_path_the_queue_stays_at_the_threshold() {
        let mut path = Path::new(125_000_000, Duration::from_micros(200), 1_000_000);
        path.mark_above = Some(30_000);
        let mut dctcp = Dctcp::new(1000, 10);
        path.run(&mut dctcp, Duration::from_millis(200), |_, _| {});
        let (before, lost) = (path.delivered(), path.lost());
        let mut longest = Duration::ZERO;
        path.run(&mut dctcp, Duration::from_millis(800), |_, seen| longest = longest.max(seen.rtt));
        assert_eq!(path.lost(), lost);
        // 40 000 bytes of queue take 320 microseconds.
        assert!(longest <= Duration::from_micros(520), "{longest:?}");
        let used = (path.delivered() - before) * 100 / 100_000_000;
        assert!(used >= 98, "{used} %");
        // The steady state of the DCTCP paper: alpha = sqrt(2 / W), W = 25 000 + 30 000 bytes.
        let expected = 190_000;
        assert!((expected * 2 / 3..expected * 2).contains(&dctcp.alpha), "{}", dctcp.alpha);
    }
}
