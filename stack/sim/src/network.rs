//! A link: one direction of the wire between two hosts, and what it does to frames.

use crate::forged;
use crate::scenario::LinkPlan;
use crate::trace::{Fate, Trace};
use corelane_proto::Instant;
use corelane_proto::wire::{Checksums, parse};
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

/// What links did, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LinkCounters {
    /// Given to the link.
    pub sent: u64,
    /// Lost at random, in an outage, or because the queue was full.
    pub lost: u64,
    /// Doubled.
    pub doubled: u64,
    /// Overtaken by others.
    pub reordered: u64,
    /// Copies that came much later.
    pub late: u64,
    /// Added by somebody off the path.
    pub forged: u64,
    /// Damaged so that the receiver has to notice.
    pub damaged: u64,
    /// Damaged so that no checksum would show it; lost instead, as Ethernet's own checksum would have it.
    pub undetectable: u64,
}

impl AddAssign for LinkCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { sent, lost, doubled, reordered, late, forged, damaged, undetectable } = other;
        self.sent += sent;
        self.lost += lost;
        self.doubled += doubled;
        self.reordered += reordered;
        self.late += late;
        self.forged += forged;
        self.damaged += damaged;
        self.undetectable += undetectable;
    }
}

/// What of a frame it is that arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Copy {
    /// The frame, or its double.
    Real,
    /// A copy that comes much later.
    Late,
    /// Nobody sent it.
    Forged,
    /// Nobody sent it, and it goes to the host that sent the frame.
    ForgedBack,
}

/// One direction of the wire.
pub(crate) struct Link {
    plan: LinkPlan,
    rng: Xoshiro256PlusPlus,
    /// When each frame that waits for the wire will have left.
    leaving: VecDeque<Instant>,
    pub(crate) counters: LinkCounters,
}

impl Link {
    pub(crate) fn new(plan: LinkPlan, rng: Xoshiro256PlusPlus) -> Self {
        Self { plan, rng, leaving: VecDeque::new(), counters: LinkCounters::default() }
    }

    /// Takes a frame of `host`; calls `deliver` for each copy with the time at which it arrives.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        host: usize,
        mut frame: Vec<u8>,
        trace: &mut Trace,
        mut deliver: impl FnMut(Instant, Vec<u8>, Copy),
    ) {
        self.counters.sent += 1;
        self.add_forged(now, &frame, &mut deliver);
        let Some(left) = self.leave(now, frame.len()).filter(|_| !self.is_lost(now)) else {
            self.counters.lost += 1;
            trace.frame(now, host, Fate::Lost, &frame);
            return;
        };
        if self.chance(self.plan.corrupt) {
            self.flip_bits(&mut frame);
            if parse(&frame, Checksums::VERIFY).is_ok() {
                self.counters.undetectable += 1;
                trace.frame(now, host, Fate::Lost, &frame);
                return;
            }
            self.counters.damaged += 1;
            trace.frame(now, host, Fate::Damaged, &frame);
        }
        if self.chance(self.plan.duplicate) {
            self.counters.doubled += 1;
            trace.frame(now, host, Fate::Doubled, &frame);
            deliver(left + self.delay(), frame.clone(), Copy::Real);
        }
        // There are few SYNs, and old ones do the most harm.
        let late = if self.plan.late > 0.0 && forged::is_syn(&frame) { 0.5 } else { self.plan.late };
        if self.chance(late) {
            self.counters.late += 1;
            // It has gone the same way: no copy overtakes what the link itself takes.
            let later = self.delay() + self.later();
            deliver(left + later, frame.clone(), Copy::Late);
        }
        deliver(left + self.delay(), frame, Copy::Real);
    }

    /// What somebody off the path adds when he guesses that `frame` passes.
    fn add_forged(&mut self, now: Instant, frame: &[u8], deliver: &mut impl FnMut(Instant, Vec<u8>, Copy)) {
        if !self.chance(self.plan.forged) {
            return;
        }
        if let Some((forged, back)) = forged::like(frame, &mut self.rng) {
            self.counters.forged += 1;
            let later = self.later();
            deliver(now + later, forged, if back { Copy::ForgedBack } else { Copy::Forged });
        }
    }

    /// Up to ten seconds, a short time as likely as a long one.
    fn later(&mut self) -> Duration {
        let exponent = self.rng.random_range(0.0..7.0_f64);
        Duration::from_micros(10.0_f64.powf(exponent) as u64)
    }

    /// When the frame's last bit has left; `None` when too many others wait.
    fn leave(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.plan.bytes_per_second else { return Some(now) };
        while self.leaving.front().is_some_and(|left| *left <= now) {
            self.leaving.pop_front();
        }
        if self.leaving.len() >= self.plan.queue {
            return None;
        }
        let start = self.leaving.back().map_or(now, |last| *last);
        let left = start + Duration::from_nanos(len as u64 * 1_000_000_000 / rate);
        self.leaving.push_back(left);
        Some(left)
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        let out = self.plan.outage.is_some_and(|(from, until)| (from..until).contains(&now));
        out || self.chance(self.plan.loss)
    }

    fn delay(&mut self) -> Duration {
        let jitter = if self.plan.jitter_us > 0 { self.rng.random_range(0..=self.plan.jitter_us) } else { 0 };
        let mut micros = self.plan.delay_us + jitter;
        if self.chance(self.plan.reorder) {
            self.counters.reordered += 1;
            micros += self.rng.random_range(1..=self.plan.reorder_us.max(1));
        }
        Duration::from_micros(micros)
    }

    fn flip_bits(&mut self, frame: &mut [u8]) {
        for _ in 0..self.rng.random_range(1..=4) {
            let (byte, bit) = (self.rng.random_range(0..frame.len()), self.rng.random_range(0..8));
            frame[byte] ^= 1 << bit;
        }
    }

    /// A probability of 0 takes no random number.
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random::<f64>() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use rand::SeedableRng;

    #[test]
    fn no_copy_of_a_frame_is_faster_than_the_link() {
        let mut plan = Scenario::draw(28_733).links[0].clone();
        (plan.delay_us, plan.late, plan.duplicate, plan.loss) = (449, 1.0, 1.0, 0.0);
        let mut link = Link::new(plan, Xoshiro256PlusPlus::seed_from_u64(1));
        let (sent, mut copies) = (Instant::from_micros(1000), 0);
        for _ in 0..1000 {
            link.send(sent, 0, vec![0; 60], &mut Trace::new(false), |at, _, copy| {
                copies += 1;
                assert!(at >= sent + Duration::from_micros(449), "{copy:?} after {:?}", at.saturating_since(sent));
            });
        }
        assert_eq!(copies, 3000);
    }
}
