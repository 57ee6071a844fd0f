//! The way behind the bottleneck: how long it takes, and who overtakes whom.

use super::packet::Packet;
use corelane_proto::Instant;
use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How long a packet is on its way.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct DelayPlan {
    /// What each packet needs, one way.
    pub base: Duration,
    /// What it may need more, evenly from nothing to this; packets stay in order.
    pub jitter: Duration,
    /// Packets that are overtaken.
    pub reordering: Option<Reordering>,
}

/// Packets that are overtaken by those behind them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reordering {
    /// The probability that a packet is.
    pub probability: f64,
    /// How much longer it is on its way.
    pub extra: Extra,
}

/// How much longer a packet is on its way than those that overtake it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Extra {
    /// Evenly from nothing to this.
    UpTo(Duration),
    /// This, as on a path that is longer.
    Always(Duration),
}

struct Travelling {
    at: Instant,
    order: u64,
    packet: Packet,
}

impl PartialEq for Travelling {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Travelling {}

impl PartialOrd for Travelling {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Travelling {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The packets on their way.
pub(super) struct Delay {
    plan: DelayPlan,
    travelling: BinaryHeap<Reverse<Travelling>>,
    sent: u64,
    /// When the last packet that keeps its place arrives.
    last: Instant,
    /// Packets that were held back.
    pub(super) reordered: u64,
}

impl Delay {
    pub(super) fn new(plan: DelayPlan) -> Self {
        Self { plan, travelling: BinaryHeap::new(), sent: 0, last: Instant::ZERO, reordered: 0 }
    }

    /// What leaves from now on needs `base`. What comes to need less may overtake what needed more.
    pub(super) fn set_base(&mut self, base: Duration) {
        self.plan.base = base;
        self.last = Instant::ZERO;
    }

    pub(super) fn base(&self) -> Duration {
        self.plan.base
    }

    /// A packet leaves at `left`; without chance, as before the laboratory is armed, only the base counts.
    pub(super) fn on_packet(&mut self, left: Instant, packet: Packet, rng: Option<&mut Xoshiro256PlusPlus>) {
        let mut at = left + self.plan.base;
        let mut held_back = false;
        if let Some(rng) = rng {
            at = at + evenly(self.plan.jitter, rng);
            if let Some(reordering) = self.plan.reordering.filter(|plan| rng.random::<f64>() < plan.probability) {
                held_back = true;
                self.reordered += 1;
                at = at
                    + match reordering.extra {
                        Extra::UpTo(most) => evenly(most, rng),
                        Extra::Always(extra) => extra,
                    };
            }
        }
        if !held_back {
            at = at.max(self.last);
            self.last = at;
        }
        self.sent += 1;
        self.travelling.push(Reverse(Travelling { at, order: self.sent, packet }));
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.travelling.peek().map(|Reverse(next)| next.at)
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        self.poll_deadline().filter(|at| *at <= now)?;
        self.travelling.pop().map(|Reverse(next)| next.packet)
    }
}

/// Something from nothing to `most`, to the nanosecond.
fn evenly(most: Duration, rng: &mut Xoshiro256PlusPlus) -> Duration {
    let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    if most == 0 { Duration::ZERO } else { Duration::from_nanos(rng.random_range(0..=most)) }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::segment;
    use super::*;
    use rand::SeedableRng;

    /// Sends segments of 1 to `count` bytes, a millisecond apart; gives the arrivals: which, and when.
    fn arrivals(plan: DelayPlan, count: u16) -> Vec<(u16, Instant)> {
        let (mut delay, mut rng) = (Delay::new(plan), Xoshiro256PlusPlus::seed_from_u64(1));
        for n in 1..=count {
            delay.on_packet(Instant::from_millis(n.into()), segment(n, 0), Some(&mut rng));
        }
        let next = || {
            let at = delay.poll_deadline()?;
            delay.poll_packet(at).map(|packet| (packet.payload(), at))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn jitter_keeps_the_order() {
        let base = Duration::from_millis(10);
        let plan = DelayPlan { base, jitter: Duration::from_millis(5), reordering: None };
        let all = arrivals(plan, 500);
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let late = all.iter().map(|(n, at)| at.saturating_since(Instant::from_millis((*n).into()) + base));
        assert!(late.clone().all(|late| late <= Duration::from_millis(5)));
        assert!(late.max() > Some(Duration::from_millis(4)));
    }

    #[test]
    fn a_tenth_is_overtaken() {
        let extra = Extra::UpTo(Duration::from_millis(20));
        let reordering = Some(Reordering { probability: 0.1, extra });
        let all = arrivals(DelayPlan { base: Duration::from_millis(10), reordering, ..DelayPlan::default() }, 1000);
        let overtaken = all.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
        assert!(all.len() == 1000 && (60..120).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn what_takes_the_longer_path_is_always_as_late() {
        let (base, extra) = (Duration::from_millis(10), Duration::from_millis(20));
        let reordering = Some(Reordering { probability: 0.1, extra: Extra::Always(extra) });
        let all = arrivals(DelayPlan { base, reordering, ..DelayPlan::default() }, 1000);
        let late = |(n, at): &(u16, Instant)| at.saturating_since(Instant::from_millis((*n).into()) + base);
        let held = all.iter().filter(|arrival| late(arrival) == extra).count();
        let at_once = all.iter().filter(|arrival| late(arrival).is_zero()).count();
        assert!(held + at_once == 1000 && (60..140).contains(&held), "{held} late, {at_once} at once");
    }
}
