//! One direction of a path, told the time: a bottleneck with a drop-tail queue, then a delay, in which frames may get
//! lost or be held back.
//!
//! A frame that gets lost by chance has taken its time at the bottleneck: the link behind it loses it. One that is held
//! back comes later than its successors. What a frame meets depends on the seed and on how many came before it alone,
//! so that two senders whose frames are as many meet the same losses.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How a direction behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkConfig {
    /// Bits a second of whole frames, Ethernet header included; 0 is as fast as can be.
    pub rate_bps: u64,
    /// Bytes that wait for the bottleneck at most, the frame that is being sent included. A frame that finds nobody
    /// before it is always taken.
    pub queue_bytes: u64,
    /// From the end of the bottleneck to the other end, nanoseconds.
    pub delay_ns: u64,
    /// Share of the frames that get lost, 0 to 1.
    pub loss: f64,
    /// Share of the frames that are held back, 0 to 1.
    pub reorder: f64,
    /// How long these are held back, nanoseconds.
    pub hold_ns: u64,
    /// Chooses which frames.
    pub seed: u64,
}

impl LinkConfig {
    /// Passes everything on at once.
    pub const OPEN: Self =
        Self { rate_bps: 0, queue_bytes: u64::MAX, delay_ns: 0, loss: 0.0, reorder: 0.0, hold_ns: 0, seed: 0 };
}

/// What a direction counted, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LinkCounts {
    /// Came out at the other end.
    pub forwarded: u64,
    /// Lost by chance.
    pub lost_by_chance: u64,
    /// Found the queue full.
    pub lost_by_queue: u64,
    /// Held back.
    pub reordered: u64,
}

/// Whether chance may hit a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It may get lost or held back.
    Plain,
    /// It takes the rate, the queue and the delay like others, and neither loss nor reordering.
    Spared,
}

/// A frame under way. The order is that of its time, then of its arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Flying {
    due_ns: u64,
    number: u64,
    frame: Vec<u8>,
}

/// One direction. Give it each frame with [`on_frame`](Self::on_frame); take those that are due with
/// [`poll_frame`](Self::poll_frame) until there is none, and give their memory back with [`recycle`](Self::recycle).
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    random: Xoshiro256PlusPlus,
    /// When the bottleneck has sent all that it has, nanoseconds.
    free_at_ns: u64,
    flying: BinaryHeap<Reverse<Flying>>,
    number: u64,
    counts: LinkCounts,
    spare: Vec<Vec<u8>>,
}

impl Link {
    /// An empty direction.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            random: Xoshiro256PlusPlus::seed_from_u64(config.seed),
            free_at_ns: 0,
            flying: BinaryHeap::new(),
            number: 0,
            counts: LinkCounts::default(),
            spare: Vec::new(),
        }
    }

    /// A frame came in at `now_ns`.
    pub fn on_frame(&mut self, now_ns: u64, frame: &[u8], kind: Kind) {
        let Some(sent_ns) = self.queue(now_ns, frame.len() as u64) else {
            self.counts.lost_by_queue += 1;
            return;
        };
        let mut due_ns = sent_ns.saturating_add(self.config.delay_ns);
        if kind == Kind::Plain {
            // Both are drawn for each frame, so that the losses are the same with and without reordering.
            let (loss, reorder): (f64, f64) = (self.random.random(), self.random.random());
            if loss < self.config.loss {
                self.counts.lost_by_chance += 1;
                return;
            }
            if reorder < self.config.reorder {
                self.counts.reordered += 1;
                due_ns = due_ns.saturating_add(self.config.hold_ns);
            }
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.flying.push(Reverse(Flying { due_ns, number: self.number, frame: copy }));
        self.number += 1;
    }

    /// When the bottleneck will have sent a frame of `len` bytes; `None` when the queue is full.
    fn queue(&mut self, now_ns: u64, len: u64) -> Option<u64> {
        let rate = self.config.rate_bps;
        if rate == 0 {
            return Some(now_ns);
        }
        let backlog_ns = self.free_at_ns.saturating_sub(now_ns);
        let backlog_bytes = scale(backlog_ns, rate, 8_000_000_000);
        if backlog_ns > 0 && backlog_bytes.saturating_add(len) > self.config.queue_bytes {
            return None;
        }
        self.free_at_ns = self.free_at_ns.max(now_ns).saturating_add(scale(len, 8_000_000_000, rate));
        Some(self.free_at_ns)
    }

    /// The next frame that is due at `now_ns`, and when it was due.
    pub fn poll_frame(&mut self, now_ns: u64) -> Option<(u64, Vec<u8>)> {
        if self.next_due_ns()? > now_ns {
            return None;
        }
        let Reverse(Flying { due_ns, frame, .. }) = self.flying.pop()?;
        self.counts.forwarded += 1;
        Some((due_ns, frame))
    }

    /// When the next frame is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.flying.peek().map(|Reverse(flying)| flying.due_ns)
    }

    /// Takes back the memory of a frame.
    pub fn recycle(&mut self, frame: Vec<u8>) {
        self.spare.push(frame);
    }

    /// What was counted so far.
    pub const fn counts(&self) -> LinkCounts {
        self.counts
    }
}

/// `value * by / over`, without overflow on the way.
fn scale(value: u64, by: u64, over: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(over)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn link(change: impl FnOnce(&mut LinkConfig)) -> Link {
        let mut config = LinkConfig { seed: 7, ..LinkConfig::OPEN };
        change(&mut config);
        Link::new(config)
    }

    /// Sends frame `number`, `len` bytes long.
    fn send(link: &mut Link, now_ns: u64, number: u32, len: usize) {
        let mut frame = vec![0; len];
        frame[..4].copy_from_slice(&number.to_be_bytes());
        link.on_frame(now_ns, &frame, Kind::Plain);
    }

    /// Everything that is under way: when it is due, and its number.
    fn drain(link: &mut Link) -> Vec<(u64, u32)> {
        let mut out = Vec::new();
        while let Some((due, frame)) = link.poll_frame(u64::MAX) {
            out.push((due, u32::from_be_bytes(frame[..4].try_into().unwrap())));
            link.recycle(frame);
        }
        out
    }

    #[test]
    fn a_frame_comes_after_the_delay_and_not_before() {
        let mut link = link(|config| config.delay_ns = 10 * MS);
        send(&mut link, 5 * MS, 1, 100);
        assert_eq!(link.next_due_ns(), Some(15 * MS));
        assert_eq!(link.poll_frame(15 * MS - 1), None);
        let (due, frame) = link.poll_frame(15 * MS).unwrap();
        assert_eq!((due, frame.len(), link.next_due_ns()), (15 * MS, 100, None));
        assert_eq!(link.counts(), LinkCounts { forwarded: 1, ..LinkCounts::default() });
    }

    #[test]
    fn the_bottleneck_sends_one_frame_after_the_other() {
        // 1000 bytes take a millisecond.
        let mut link = link(|config| (config.rate_bps, config.delay_ns) = (8_000_000, 3 * MS));
        for number in 0..4 {
            send(&mut link, 0, number, 1000);
        }
        // By then it is idle again.
        send(&mut link, 10 * MS, 4, 500);
        let expected = [(4 * MS, 0), (5 * MS, 1), (6 * MS, 2), (7 * MS, 3), (13 * MS + MS / 2, 4)];
        assert_eq!(drain(&mut link), expected);
    }

    #[test]
    fn a_full_queue_drops_the_newest() {
        let mut link = link(|config| (config.rate_bps, config.queue_bytes) = (8_000_000, 2500));
        for number in 0..4 {
            send(&mut link, 0, number, 1000);
        }
        // There is room for 500 bytes more.
        send(&mut link, 0, 4, 500);
        // After a millisecond one has left.
        send(&mut link, MS, 5, 1000);
        send(&mut link, MS, 6, 4);
        assert_eq!(drain(&mut link).iter().map(|(_, number)| *number).collect::<Vec<_>>(), [0, 1, 4, 5]);
        assert_eq!(link.counts().lost_by_queue, 3);
    }

    #[test]
    fn a_frame_that_is_longer_than_the_queue_passes_an_idle_bottleneck() {
        let mut link = link(|config| (config.rate_bps, config.queue_bytes) = (8_000_000, 100));
        send(&mut link, 0, 1, 1000);
        send(&mut link, 0, 2, 1000);
        assert_eq!(drain(&mut link), [(MS, 1)]);
    }

    #[test]
    fn chance_loses_its_share_and_the_seed_decides_what() {
        let lost = |seed: u64, reorder: f64| {
            let mut link = link(|config| (config.loss, config.seed, config.reorder) = (0.03, seed, reorder));
            (0..20_000).for_each(|number| send(&mut link, 0, number, 64));
            let mut arrived: Vec<u32> = drain(&mut link).iter().map(|(_, number)| *number).collect();
            arrived.sort_unstable();
            assert_eq!(link.counts().lost_by_chance, 20_000 - arrived.len() as u64);
            arrived
        };
        let first = lost(1, 0.0);
        // 600 are expected, with a deviation of 24.
        assert!((480..720).contains(&(20_000 - first.len())), "{} of 20000", 20_000 - first.len());
        assert_eq!(first, lost(1, 0.0));
        assert_eq!(first, lost(1, 0.5));
        assert_ne!(first, lost(2, 0.0));
    }

    #[test]
    fn held_frames_are_overtaken_by_those_within_the_hold() {
        let mut link = link(|config| (config.reorder, config.hold_ns, config.delay_ns) = (0.1, 5 * MS, MS));
        (0..10_000).for_each(|number| send(&mut link, u64::from(number) * MS, number, 64));
        let out = drain(&mut link);
        let held = out.iter().filter(|(due, number)| *due == (u64::from(*number) + 6) * MS).count();
        let at_once = out.iter().filter(|(due, number)| *due == (u64::from(*number) + 1) * MS).count();
        assert_eq!((held as u64, held + at_once), (link.counts().reordered, 10_000));
        assert!((850..1150).contains(&held), "{held} of 10000");
        assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn what_is_due_at_once_leaves_in_the_order_of_its_arrival() {
        let mut link = link(|config| config.delay_ns = MS);
        (0..100).for_each(|number| send(&mut link, 0, number, 64));
        assert_eq!(drain(&mut link), (0..100).map(|number| (MS, number)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_spared_neither_gets_lost_nor_held() {
        let mut link = link(|config| (config.loss, config.reorder, config.hold_ns) = (1.0, 1.0, MS));
        link.on_frame(0, &[0; 64], Kind::Spared);
        link.on_frame(0, &[0; 64], Kind::Plain);
        assert_eq!(drain(&mut link), [(0, 0)]);
        assert_eq!(link.counts(), LinkCounts { forwarded: 1, lost_by_chance: 1, ..LinkCounts::default() });
    }
}
