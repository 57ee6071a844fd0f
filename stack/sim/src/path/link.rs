//! One direction of a path: the machines that a packet meets, in their order.

use super::delay::{Delay, DelayPlan};
use super::loss::{Loss, Losses};
use super::packet::Packet;
use super::policer::{Policer, PolicerPlan};
use super::queue::{Queue, QueuePlan, Verdict};
use super::rate::Rate;
use super::thinning::{Thinner, ThinningPlan};
use corelane_proto::Instant;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

/// What one direction of a path does to packets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LinkPlan {
    /// The bottleneck.
    pub queue: QueuePlan,
    /// What is lost behind it.
    pub loss: Loss,
    /// The way behind it.
    pub delay: DelayPlan,
    /// A policer before it.
    pub policer: Option<PolicerPlan>,
    /// ACK thinning before it.
    pub thinning: Option<ThinningPlan>,
    /// What changes later, in the order of time.
    pub changes: Vec<Change>,
}

/// The path is another from a moment on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// When, counted from [`Link::arm`].
    pub at: Duration,
    /// The bottleneck's rate, if it changes.
    pub rate: Option<Rate>,
    /// The way's delay, if it changes.
    pub delay: Option<Duration>,
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drop {
    /// The loss model took it.
    Lost,
    /// The queue was full.
    Full,
    /// The policer's bucket was empty.
    Policed,
}

/// What a link did, in packets, since it was armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkCounters {
    /// Came to it.
    pub packets: u64,
    /// Dropped by the loss model.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub full: u64,
    /// Dropped by the policer.
    pub policed: u64,
    /// ACKs that thinning swallowed.
    pub thinned: u64,
    /// Marked with congestion experienced.
    pub marked: u64,
    /// Held back so that others overtake.
    pub reordered: u64,
}

impl LinkCounters {
    /// Packets that did not arrive, thinned ACKs not among them.
    pub const fn dropped(&self) -> u64 {
        self.lost + self.full + self.policed
    }
}

/// One direction of a path.
pub struct Link {
    rng: Xoshiro256PlusPlus,
    thinner: Option<Thinner>,
    policer: Option<Policer>,
    queue: Queue,
    losses: Losses,
    delay: Delay,
    changes: Vec<Change>,
    armed: Option<Instant>,
    counters: LinkCounters,
    drops: Vec<(Instant, Drop)>,
}

impl Link {
    /// A link that only queues and delays until it is [armed](Self::arm).
    pub fn new(plan: LinkPlan, seed: u64) -> Self {
        let LinkPlan { queue, loss, delay, policer, thinning, changes } = plan;
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            thinner: thinning.map(Thinner::new),
            policer: policer.map(Policer::new),
            queue: Queue::new(queue),
            losses: Losses::new(loss),
            delay: Delay::new(delay),
            changes,
            armed: None,
            counters: LinkCounters::default(),
            drops: Vec::new(),
        }
    }

    /// From now on the impairments are in force and the changes' clock runs: a handshake before it passes unharmed, so
    /// that a measurement is of the transfer.
    pub fn arm(&mut self, now: Instant) {
        self.armed.get_or_insert(now);
    }

    /// A packet comes to the link.
    pub fn on_packet(&mut self, now: Instant, packet: Packet) {
        self.apply_changes(now);
        self.counters.packets += u64::from(self.armed.is_some());
        match &mut self.thinner {
            Some(thinner) if self.armed.is_some() => {
                let (passed, swallowed) = thinner.on_packet(now, packet);
                self.counters.thinned += u64::from(swallowed);
                passed.into_iter().flatten().for_each(|packet| self.enqueue(now, packet));
            }
            _ => self.enqueue(now, packet),
        }
    }

    /// When [`poll_packet`](Self::poll_packet) has something to do.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let thinner = self.thinner.as_ref().and_then(Thinner::poll_deadline);
        [thinner, self.queue.poll_deadline(), self.delay.poll_deadline()].into_iter().flatten().min()
    }

    /// The next packet that has arrived by `now`.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        self.apply_changes(now);
        if let Some(packet) = self.thinner.as_mut().and_then(|thinner| thinner.poll_packet(now)) {
            self.enqueue(now, packet);
        }
        while let Some((left, packet)) = self.queue.poll_packet(now) {
            if self.armed.is_some() && self.losses.on_packet(packet.payload(), &mut self.rng) {
                self.counters.lost += 1;
                self.drops.push((left, Drop::Lost));
                continue;
            }
            let rng = self.armed.is_some().then_some(&mut self.rng);
            self.delay.on_packet(left, packet, rng);
        }
        self.delay.poll_packet(now)
    }

    /// What it did.
    pub fn counters(&self) -> LinkCounters {
        LinkCounters { reordered: self.delay.reordered, ..self.counters }
    }

    /// Every drop, in the order of time.
    pub fn drops(&self) -> &[(Instant, Drop)] {
        &self.drops
    }

    /// Bytes that wait in the queue.
    pub fn waiting_bytes(&self) -> u64 {
        self.queue.waiting_bytes()
    }

    /// How long a packet that comes now takes: its wait and its way, jitter and reordering not counted.
    pub fn transit(&self, now: Instant) -> Duration {
        self.queue.wait(now) + self.delay.base()
    }

    /// The mean of [`waiting_bytes`](Self::waiting_bytes) from the last call until `now`.
    pub fn take_mean_queue(&mut self, now: Instant) -> u64 {
        self.queue.take_mean_bytes(now)
    }

    fn enqueue(&mut self, now: Instant, packet: Packet) {
        let len = packet.frame_len();
        if self.armed.is_some() && self.policer.as_mut().is_some_and(|policer| !policer.on_packet(now, len)) {
            self.counters.policed += 1;
            self.drops.push((now, Drop::Policed));
            return;
        }
        match self.queue.on_packet(now, packet) {
            Verdict::Queued => {}
            Verdict::Marked => self.counters.marked += 1,
            Verdict::Full => {
                self.counters.full += 1;
                self.drops.push((now, Drop::Full));
            }
        }
    }

    fn apply_changes(&mut self, now: Instant) {
        let Some(armed) = self.armed else { return };
        while let Some(change) = self.changes.first().copied().filter(|change| armed + change.at <= now) {
            self.changes.remove(0);
            if let Some(rate) = change.rate {
                self.queue.set_rate(rate);
            }
            if let Some(delay) = change.delay {
                self.delay.set_base(delay);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::segment;
    use super::*;

    const WAY: Duration = Duration::from_millis(10);

    /// 1,000-byte frames take a millisecond to leave, then ten on their way.
    fn plan() -> LinkPlan {
        let queue = QueuePlan { rate: Some(Rate::megabits(8)), limit_bytes: 5_000, mark_above_bytes: None };
        LinkPlan { queue, delay: DelayPlan { base: WAY, ..DelayPlan::default() }, ..LinkPlan::default() }
    }

    fn arrivals(link: &mut Link) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(at) = link.poll_deadline() {
            while link.poll_packet(at).is_some() {
                all.push(at.as_millis());
            }
        }
        all
    }

    fn send(link: &mut Link, ms: u64, count: usize) {
        (0..count).for_each(|_| link.on_packet(Instant::from_millis(ms), segment(1000 - 54, 0)));
    }

    #[test]
    fn a_packet_is_queued_then_delayed() {
        let mut link = Link::new(plan(), 1);
        send(&mut link, 0, 7);
        assert_eq!(link.transit(Instant::ZERO), Duration::from_millis(16));
        assert_eq!(arrivals(&mut link), [11, 12, 13, 14, 15, 16], "the seventh found no room");
        assert_eq!(link.drops(), [(Instant::ZERO, Drop::Full)]);
    }

    #[test]
    fn nothing_is_harmed_before_the_link_is_armed() {
        let policer = Some(PolicerPlan { rate: Rate::bits(1), bucket_bytes: 1000 });
        let mut link = Link::new(LinkPlan { loss: Loss::Numbers(vec![0]), policer, ..plan() }, 1);
        send(&mut link, 0, 2);
        assert_eq!(arrivals(&mut link).len(), 2);
        link.arm(Instant::from_millis(100));
        send(&mut link, 100, 2);
        assert_eq!(arrivals(&mut link), Vec::<u64>::new());
        assert_eq!((link.counters().policed, link.counters().lost, link.counters().packets), (1, 1, 2));
    }

    #[test]
    fn a_change_counts_from_its_moment() {
        let change = |at, rate, delay| Change { at: Duration::from_millis(at), rate, delay };
        let changes = vec![change(5, Some(Rate::megabits(4)), None), change(50, None, Some(Duration::from_millis(30)))];
        let mut link = Link::new(LinkPlan { changes, ..plan() }, 1);
        link.arm(Instant::from_millis(100));
        send(&mut link, 103, 3);
        assert_eq!(arrivals(&mut link), [114, 115, 117], "the one that began at 105 took twice as long");
        send(&mut link, 150, 1);
        assert_eq!(arrivals(&mut link), [182]);
    }

    #[test]
    fn one_seed_gives_one_history_and_another_seed_another() {
        let history = |seed| {
            let mut link = Link::new(LinkPlan { loss: Loss::Random(0.5), ..plan() }, seed);
            link.arm(Instant::ZERO);
            (0..50).for_each(|ms| send(&mut link, ms, 1));
            arrivals(&mut link)
        };
        assert_eq!(history(3), history(3));
        assert_ne!(history(3), history(4));
    }
}
