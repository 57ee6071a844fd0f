//! CUBIC: the window is a cubic function of the time since the last reduction, flat around the size at which that came
//! (RFC 9438). Slow start is HyStart++'s (RFC 9406), with HyStart's trains of ACKs.
//!
//! All in integers: windows in bytes, times in milliseconds.

pub mod hystart;

use super::{Ack, Cause, CongestionControl, Window};
use crate::time::Instant;
use core::time::Duration;
use hystart::HyStart;

/// Beyond this the curve is above any window (17 minutes), and its cube still fits.
const LONGEST_MS: u64 = 1 << 20;

/// Where on its curve the window is. Between two reductions there is one of them.
#[derive(Clone, Copy, Default, Debug)]
struct Epoch {
    /// The window at which the last reduction came, or less by fast convergence, bytes; zero while that is unknown.
    w_max: u32,
    /// The window before the last reduction, bytes; zero while there was none.
    cwnd_prior: u32,
    /// The window that Reno would have, bytes; zero until congestion avoidance begins.
    w_est: u32,
    /// When the curve reaches `w_max`, milliseconds from its beginning.
    k_ms: u32,
    /// Time since the beginning, milliseconds, without that in which the window was not used.
    elapsed_ms: u32,
}

impl Epoch {
    /// Congestion avoidance begins with a window of `cwnd` (RFC 9438 4.2; 4.8 and 4.10 for an unknown `w_max`).
    fn begin(&mut self, cwnd: u32, mss: u32) {
        self.w_est = cwnd;
        self.elapsed_ms = 0;
        if self.w_max <= cwnd {
            self.w_max = cwnd;
            self.k_ms = 0;
            if self.cwnd_prior == 0 {
                self.cwnd_prior = cwnd;
            }
        } else {
            // K = cubic_root((W_max - cwnd_epoch) / C), with C = 0.4 and windows in segments.
            let cube = u64::from(self.w_max - cwnd) * 2_500_000_000 / u64::from(mss);
            self.k_ms = cube_root(cube);
        }
    }

    /// `W_cubic` after `ms` milliseconds, bytes (RFC 9438 4.2, figure 1).
    fn w_cubic(&self, ms: u64, mss: u32) -> u32 {
        let k = u64::from(self.k_ms);
        let distance = ms.abs_diff(k).min(LONGEST_MS);
        // 0.4 * (t - K)^3 segments, t in seconds: in thousandths of a segment first, so that it fits and loses nothing.
        let milli_segments = distance.pow(3) / 2_500_000;
        let offset = u32::try_from(milli_segments.saturating_mul(u64::from(mss)) / 1_000).unwrap_or(u32::MAX);
        if ms < k { self.w_max.saturating_sub(offset) } else { self.w_max.saturating_add(offset) }
    }
}

/// The largest integer whose cube is no more than `x`.
fn cube_root(x: u64) -> u32 {
    let mut root = 0_u64;
    // The root of 2^64 - 1 has 22 bits.
    for bit in (0..22).rev() {
        let larger = root | 1 << bit;
        if larger.checked_pow(3).is_some_and(|cube| cube <= x) {
            root = larger;
        }
    }
    root as u32
}

/// What is needed either before the first reduction or after it, and so shares its place.
#[derive(Clone, Copy, Debug)]
enum Past {
    /// There was none: slow start is watched.
    Start(HyStart),
    /// The epoch before the last one (RFC 9438 4.9).
    Reduced(Epoch),
}

/// The window and its curve.
#[derive(Clone, Copy, Debug)]
pub struct Cubic {
    /// Its credit is the remainder of the window's growth, in bytes times window.
    window: Window,
    epoch: Epoch,
    past: Past,
    /// Bytes acknowledged that have not yet added to `w_est`.
    est_credit: u32,
    /// The epoch's elapsed time is counted up to here.
    counted_until: Instant,
}

impl Cubic {
    /// Begins with a window of `initial_segments` (RFC 6928: 10, and no less than one).
    pub fn new(mss: u16, initial_segments: u8) -> Self {
        Self {
            window: Window::new(mss, initial_segments),
            epoch: Epoch::default(),
            past: Past::Start(HyStart::new()),
            est_credit: 0,
            counted_until: Instant::ZERO,
        }
    }

    /// `beta_cubic` = 0.7 (RFC 9438 4.6).
    fn beta(&self, flight: u32) -> u32 {
        let reduced = u64::from(flight) * 7 / 10;
        u32::try_from(reduced).unwrap_or(u32::MAX).max(self.window.least())
    }

    /// What watches over slow start that no congestion has ended yet; no other is (RFC 9406 4.3).
    fn watch(&mut self) -> Option<&mut HyStart> {
        match &mut self.past {
            Past::Start(hystart) if self.window.ssthresh == u32::MAX => Some(hystart),
            _ => None,
        }
    }

    fn avoid(&mut self, ack: &Ack) {
        let mss = self.window.mss();
        if self.epoch.w_est == 0 {
            self.epoch.begin(self.window.cwnd, mss);
            (self.window.credit, self.est_credit) = (0, 0);
            self.counted_until = ack.now;
        }
        self.count_time(ack.now);
        let acked = ack.acked.min(self.window.cwnd);
        self.follow_reno(acked);
        let now = u64::from(self.epoch.elapsed_ms);
        if self.epoch.w_cubic(now, mss) < self.epoch.w_est {
            // Reno would have more: RFC 9438 4.3.
            self.window.cwnd = self.window.cwnd.max(self.epoch.w_est);
        } else {
            let rtt = millis(ack.srtt.unwrap_or_default());
            self.follow_curve(acked, self.epoch.w_cubic(now.saturating_add(rtt), mss));
        }
    }

    /// Counts whole milliseconds, and leaves the rest for the next time.
    fn count_time(&mut self, now: Instant) {
        let passed = millis(now.saturating_since(self.counted_until));
        self.counted_until = self.counted_until + Duration::from_millis(passed);
        self.epoch.elapsed_ms = self.epoch.elapsed_ms.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
    }

    /// `W_est` grows by `alpha * segments_acked / cwnd` (RFC 9438 4.3, figure 4).
    fn follow_reno(&mut self, acked: u32) {
        self.est_credit = self.est_credit.saturating_add(acked);
        // 3 * (1 - beta) / (1 + beta) = 9 / 17 until Reno has made good what it gives up more than CUBIC, then 1.
        let (up, down) = if self.epoch.w_est >= self.epoch.cwnd_prior { (1, 1) } else { (9, 17) };
        let (gain, cost) = (up * u64::from(self.window.mss()), down * u64::from(self.window.cwnd));
        let more = u64::from(self.est_credit) * gain / cost;
        let used = (more * cost).div_ceil(gain);
        self.est_credit = self.est_credit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        self.epoch.w_est = self.epoch.w_est.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    }

    /// `cwnd` grows by `(target - cwnd) / cwnd` for each segment, with a target of up to one and a half of it (RFC 9438 4.2,
    /// 4.4, 4.5).
    fn follow_curve(&mut self, acked: u32, target: u32) {
        let cwnd = self.window.cwnd;
        let target = target.clamp(cwnd, cwnd.saturating_add(cwnd / 2));
        let credit = u64::from(target - cwnd) * u64::from(acked) + u64::from(self.window.credit);
        let (more, rest) = (credit / u64::from(cwnd), credit % u64::from(cwnd));
        self.window.cwnd = cwnd.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        self.window.credit = rest as u32;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl CongestionControl for Cubic {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        let (mut divisor, mut is_over) = (Some(1), false);
        if let Some(hystart) = self.watch().filter(|_| !ack.recovering) {
            hystart.on_ack(ack);
            (divisor, is_over) = (hystart.divisor(), hystart.is_over());
        }
        if !self.window.may_grow(ack) {
            // Time in which the window is not used does not count (RFC 9438 4.2).
            self.counted_until = ack.now;
        } else if self.window.in_slow_start() {
            if let Some(divisor) = divisor {
                self.window.slow_start(ack.acked, divisor);
            }
        } else {
            self.avoid(ack);
        }
        if is_over {
            self.window.ssthresh = self.window.cwnd;
        }
    }

    fn on_congestion(&mut self, _now: Instant, cause: Cause, flight: u32) {
        let cwnd = self.window.cwnd;
        self.past = Past::Reduced(self.epoch);
        // Fast convergence: a window that did not get back to where it was makes room for others (RFC 9438 4.7).
        let w_max = if cwnd < self.epoch.w_max { cwnd - (u64::from(cwnd) * 3 / 20) as u32 } else { cwnd };
        self.epoch = Epoch { w_max, cwnd_prior: cwnd, ..Epoch::default() };
        self.window.reduce(cause, self.beta(flight));
    }

    fn on_recovered(&mut self, _now: Instant, _in_flight: u32) {
        self.window.recovered();
    }

    fn on_time_out(&mut self, _now: Instant, flight: u32, first: bool) {
        if first {
            self.past = Past::Reduced(self.epoch);
            // The curve after a time-out begins where congestion avoidance does, with K = 0 (RFC 9438 4.8).
            self.epoch = Epoch { cwnd_prior: self.window.cwnd, ..Epoch::default() };
        }
        self.epoch.w_est = 0;
        self.window.time_out(self.beta(flight), first);
    }

    fn on_undo(&mut self, now: Instant) {
        // A window that has outgrown the old one in the meantime goes on as it is (RFC 9438 4.9.2).
        let grown = self.window.undo();
        let Past::Reduced(epoch) = self.past else { return };
        if grown {
            self.epoch = epoch;
            self.counted_until = now;
        }
        if self.window.ssthresh == u32::MAX {
            self.past = Past::Start(HyStart::new());
        }
    }

    fn on_idle(&mut self, now: Instant, idle: Duration, rto: Duration) {
        self.counted_until = now;
        if self.window.restart(idle, rto) {
            self.epoch.w_est = 0;
        }
    }

    fn on_unvalidated(&mut self) {
        self.window.decay();
        self.epoch.w_est = 0;
    }

    fn set_mss(&mut self, mss: u16) {
        self.window.set_mss(mss);
        // The curve is in segments: it begins anew from here.
        self.epoch.w_est = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Path, ack};
    use super::*;

    const NOW: Instant = Instant::ZERO;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn cube_roots_are_exact() {
        for x in (0..100_000).chain([u64::MAX, u64::MAX - 1, 2_642_245_u64.pow(3) - 1, 2_642_245_u64.pow(3)]) {
            let root = u64::from(cube_root(x));
            assert!(root.pow(3) <= x, "{x}");
            assert!((root + 1).checked_pow(3).is_none_or(|cube| cube > x), "{x}");
        }
        assert_eq!(cube_root(u64::MAX), 2_642_245);
        for root in (1..2_642_245).step_by(997) {
            assert_eq!(cube_root(root * root * root), root as u32);
            assert_eq!(cube_root(root * root * root - 1), root as u32 - 1);
        }
    }

    /// By hand: a `w_max` of 100 segments, reduced to 70. K = cbrt(30 / 0.4) = cbrt(75) = 4.217163 s.
    /// W(t) = 0.4 (t - K)^3 + 100: 70 at 0; 86.667 at 1 s, for (3.217163)^3 = 33.298; 95.634 at 2 s, for 10.898 * 0.4 =
    /// 4.359; 100 at K; 100.192 at 5 s, for 0.782837^3 = 0.47975; 177.35 at 10 s, for 5.782837^3 = 193.384.
    #[test]
    fn the_curve_is_that_of_the_rfc() {
        let mut epoch = Epoch { w_max: 100_000, cwnd_prior: 100_000, ..Epoch::default() };
        epoch.begin(70_000, 1000);
        assert_eq!(epoch.k_ms, 4_217);
        let points =
            [(0, 70_003), (1_000, 86_683), (2_000, 95_641), (4_217, 100_000), (5_000, 100_192), (10_000, 177_358)];
        for (ms, bytes) in points {
            let found = epoch.w_cubic(ms, 1000);
            assert!(found.abs_diff(bytes) <= 2, "after {ms} ms {found}, not {bytes}");
        }
        assert_eq!(epoch.w_cubic(u64::MAX, 65_535), u32::MAX);
    }

    /// A window that stays in congestion avoidance at 100 ms a round takes K to get back to `w_max`, and is at all times where
    /// the curve is one round later.
    #[test]
    fn the_window_follows_the_curve() {
        let mut cubic = Cubic::new(1000, 255);
        cubic.window.cwnd = 1_000_000;
        cubic.on_congestion(NOW, Cause::Loss, 1_000_000);
        cubic.on_recovered(NOW, 700_000);
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), (700_000, 700_000));
        let rtt = Some(Duration::from_millis(100));
        // K = cbrt(300 / 0.4) = 9.085 s.
        let mut previous = 0;
        for round in 0..91_u64 {
            let bytes = cubic.cwnd();
            for part in 0..10 {
                cubic.on_ack(&Ack { now: at(round * 100 + part * 10), srtt: rtt, ..ack(bytes / 10) });
            }
            let (cwnd, curve) = (cubic.cwnd(), cubic.epoch.w_cubic(round * 100 + 190, 1000));
            assert!(cwnd <= curve && cwnd >= previous, "round {round}: {previous} {cwnd} {curve}");
            previous = cubic.epoch.w_cubic(round * 100, 1000);
        }
        assert_eq!(cubic.epoch.k_ms, 9_085);
        assert!(cubic.cwnd().abs_diff(1_000_000) < 500, "{}", cubic.cwnd());
    }

    #[test]
    fn the_window_grows_by_half_a_round_at_most() {
        let mut cubic = Cubic::new(1000, 10);
        cubic.window.ssthresh = 10_000;
        cubic.on_ack(&ack(1000));
        assert_eq!(cubic.cwnd(), 10_100, "at first it is Reno's");
        cubic.on_ack(&Ack { now: at(3_600_000), ..ack(10_100) });
        assert_eq!(cubic.cwnd(), 15_150);
    }

    #[test]
    fn what_each_event_does() {
        let mut cubic = Cubic::new(1000, 100);
        cubic.on_congestion(NOW, Cause::Loss, 100_000);
        assert_eq!((cubic.cwnd(), cubic.ssthresh(), cubic.epoch.w_max), (70_000, 70_000, 100_000));
        cubic.on_ack(&Ack { recovering: true, ..ack(1000) });
        assert_eq!(cubic.cwnd(), 70_000, "PRR has it in recovery");
        cubic.on_recovered(NOW, 60_000);
        assert_eq!(cubic.cwnd(), 70_000);
        cubic.on_congestion(NOW, Cause::Ecn, 70_000);
        assert_eq!(
            (cubic.cwnd(), cubic.epoch.w_max),
            (49_000, 59_500),
            "a mark is as good as a loss; fast convergence"
        );
        cubic.on_time_out(NOW, 49_000, true);
        assert_eq!((cubic.cwnd(), cubic.ssthresh(), cubic.epoch.w_max), (1_000, 34_300, 0));
        cubic.on_time_out(NOW, 1_000, false);
        assert_eq!((cubic.cwnd(), cubic.ssthresh(), cubic.epoch.cwnd_prior), (1_000, 34_300, 49_000));
        (0..60).for_each(|_| cubic.on_ack(&ack(1_000)));
        assert!(cubic.cwnd() >= 34_300, "{}", cubic.cwnd());
        assert_eq!((cubic.epoch.k_ms, cubic.epoch.w_max), (0, 34_300), "the curve begins at its middle");
        cubic.on_congestion(NOW, Cause::Loss, 1_000);
        assert_eq!(cubic.ssthresh(), 2_000, "no less than two segments");
        cubic.on_idle(NOW, Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(cubic.cwnd(), 2_000, "less than a new connection has is no more to give up");
    }

    #[test]
    fn a_second_time_out_begins_the_curve_again() {
        let mut cubic = Cubic::new(1000, 20);
        cubic.on_time_out(NOW, 20_000, true);
        (0..30).for_each(|_| cubic.on_ack(&ack(1_000)));
        assert!(cubic.epoch.w_est > 0, "congestion avoidance");
        cubic.on_time_out(NOW, 14_000, false);
        (0..13).for_each(|_| cubic.on_ack(&Ack { now: at(60_000), ..ack(1_000) }));
        assert_eq!((cubic.cwnd(), cubic.epoch.w_est), (14_000, 0));
        cubic.on_ack(&Ack { now: at(60_000), ..ack(1_000) });
        assert_eq!(cubic.epoch.elapsed_ms, 0, "what passed before does not count");
    }

    /// A window so large that an ACK adds less than a byte to Reno's: the parts add up to 9/17 of a segment a window.
    #[test]
    fn parts_of_a_byte_add_up() {
        let mut cubic = Cubic::new(1000, 10);
        cubic.window.cwnd = 4_000_000;
        cubic.on_congestion(NOW, Cause::Loss, 4_000_000);
        cubic.on_recovered(NOW, 2_800_000);
        (0..2_800).for_each(|_| cubic.on_ack(&ack(1_000)));
        let more = cubic.epoch.w_est - 2_800_000;
        assert!((527..=529).contains(&more), "{more}");
    }

    #[test]
    fn what_was_no_loss_is_taken_back_with_its_curve() {
        let mut cubic = Cubic::new(1000, 100);
        cubic.on_congestion(NOW, Cause::Loss, 100_000);
        cubic.on_recovered(NOW, 70_000);
        (0..700).for_each(|ms| cubic.on_ack(&Ack { now: at(ms), ..ack(1000) }));
        let before = (cubic.cwnd(), cubic.ssthresh());
        let curve = cubic.epoch;
        cubic.on_congestion(at(700), Cause::Loss, before.0);
        cubic.on_undo(at(800));
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), before);
        let found = cubic.epoch;
        assert_eq!((found.w_max, found.k_ms, found.elapsed_ms), (curve.w_max, curve.k_ms, curve.elapsed_ms));
        cubic.on_congestion(at(800), Cause::Loss, before.0);
        cubic.window.cwnd = 200_000;
        cubic.on_undo(at(900));
        assert_eq!(cubic.cwnd(), 200_000, "larger by now");
        assert_eq!(cubic.epoch.cwnd_prior, before.0);
    }

    #[test]
    fn time_without_use_does_not_move_the_window_along_its_curve() {
        let mut cubic = Cubic::new(1000, 100);
        cubic.on_congestion(NOW, Cause::Loss, 100_000);
        cubic.on_recovered(NOW, 70_000);
        cubic.on_ack(&Ack { now: at(0), ..ack(1000) });
        cubic.on_ack(&Ack { now: at(500), ..ack(1000) });
        cubic.on_ack(&Ack { now: at(60_500), cwnd_limited: false, ..ack(1000) });
        cubic.on_ack(&Ack { now: at(60_501), ..ack(1000) });
        assert_eq!(cubic.epoch.elapsed_ms, 501);
        cubic.on_idle(at(90_000), Duration::from_millis(1), Duration::from_secs(1));
        cubic.on_ack(&Ack { now: at(90_002), ..ack(1000) });
        assert_eq!(cubic.epoch.elapsed_ms, 503);
    }

    #[test]
    fn parts_of_a_millisecond_add_up() {
        let mut cubic = Cubic::new(1000, 100);
        cubic.window.ssthresh = 100_000;
        (0..=40_000).for_each(|i| cubic.on_ack(&Ack { now: Instant::from_micros(i * 25), ..ack(1000) }));
        assert_eq!(cubic.epoch.elapsed_ms, 1_000);
    }

    /// Where the curve is slower than Reno with the same average would be, the window is Reno's: 9/17 of a segment a
    /// round, and a whole one from the window on at which the reduction came (RFC 9438 4.3).
    #[test]
    fn on_short_paths_it_is_as_fast_as_reno() {
        let mut cubic = Cubic::new(1000, 20);
        cubic.on_congestion(NOW, Cause::Loss, 20_000);
        cubic.on_recovered(NOW, 14_000);
        let mut round = 0_u64;
        let mut grow = |cubic: &mut Cubic, rounds: u64| {
            let before = cubic.cwnd();
            for _ in 0..rounds {
                let bytes = cubic.cwnd();
                cubic.on_ack(&Ack { now: Instant::from_micros(round * 1_000), ..ack(bytes) });
                round += 1;
            }
            cubic.cwnd() - before
        };
        assert!((5_200..=5_300).contains(&grow(&mut cubic, 10)), "ten rounds of 9/17 segments: {}", cubic.cwnd());
        grow(&mut cubic, 2);
        let more = grow(&mut cubic, 10);
        // What was credited and not used before may add a byte.
        assert!((9_990..=10_001).contains(&more), "ten rounds of a segment: {more}");
    }

    /// 10 Mbit/s, 40 ms, a buffer of one bandwidth-delay product: between 0.7 of the whole and all of it.
    #[test]
    fn on_a_path_it_saws_between_seven_tenths_and_all() {
        let mut path = Path::new(1_250_000, Duration::from_millis(40), 50_000);
        let mut cubic = Cubic::new(1000, 10);
        path.run(&mut cubic, Duration::from_secs(30), |_, _| {});
        let (mut low, mut high) = (u32::MAX, 0);
        let before = path.delivered();
        path.run(&mut cubic, Duration::from_secs(60), |cubic, _| {
            low = low.min(cubic.cwnd());
            high = high.max(cubic.cwnd());
        });
        assert!((67_000..=75_000).contains(&low), "low {low}");
        assert!((98_000..=108_000).contains(&high), "high {high}");
        let used = (path.delivered() - before) * 100 / (60 * 1_250_000);
        assert!(used >= 98, "{used} %");
    }

    /// 100 Mbit/s, 40 ms, half a bandwidth-delay product of buffer (750 000 bytes in all). A round that lasts for half of
    /// the round-trip time finds a window of no less than the path holds, and of no more than one and a half of it.
    #[test]
    fn a_full_path_ends_slow_start_before_anything_is_lost() {
        let path = Path::new(12_500_000, Duration::from_millis(40), 250_000);
        let mut cubic = Cubic::new(1000, 10);
        let (mut watched, mut blind) = (path.clone(), path);
        let mut left = None;
        watched.run(&mut cubic, Duration::from_secs(2), |cubic, seen| {
            if left.is_none() && cubic.ssthresh() < u32::MAX {
                left = Some((cubic.ssthresh(), seen.lost));
            }
        });
        let (ssthresh, lost) = left.expect("it has left slow start");
        assert_eq!(lost, 0);
        assert!((500_000..750_000).contains(&ssthresh), "{ssthresh}");
        let mut reno = super::super::newreno::NewReno::new(1000, 10);
        blind.run(&mut reno, Duration::from_secs(2), |_, _| {});
        assert!(blind.lost() > 300_000, "{}", blind.lost());
    }

    /// A link that is never full: the round-trip time is flat, and slow start goes on.
    #[test]
    fn a_flat_round_trip_time_keeps_slow_start_going() {
        let mut path = Path::new(12_500_000_000, Duration::from_millis(40), u64::from(u32::MAX));
        let mut cubic = Cubic::new(1000, 10);
        path.run(&mut cubic, Duration::from_millis(450), |_, _| {});
        assert_eq!(cubic.ssthresh(), u32::MAX);
        assert!(cubic.cwnd() >= 5_000_000, "{}", cubic.cwnd());
    }
}
