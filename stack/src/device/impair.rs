//! A bad network in front of any device: frames lost, overtaken, doubled, damaged and late, by a seed.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::Duration;

use corelane_proto::Instant;
use corelane_xdp::{Frame, Pool};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Device, DeviceInfo, Statistics};
use crate::config;

/// How much longer than the others a frame is held that shall be overtaken, in microseconds.
const OVERTAKE_US: std::ops::RangeInclusive<u64> = 20..=500;

/// How many frames are taken from the device at once.
const BATCH: usize = 64;

/// What one direction suffers. Probabilities are from 0 to 1, each for itself and for each frame.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Impairment {
    /// A frame is lost.
    pub loss: f64,
    /// A frame is held back for 20 to 500 microseconds more than the others.
    pub reorder: f64,
    /// A frame comes twice.
    pub duplicate: f64,
    /// One bit of a frame is flipped.
    pub corrupt: f64,
    /// How long each frame is held back.
    pub delay: Duration,
}

impl From<&config::Impairment> for Impairment {
    fn from(section: &config::Impairment) -> Self {
        Self {
            loss: section.loss(),
            reorder: section.reorder(),
            duplicate: section.duplicate(),
            corrupt: section.corrupt(),
            delay: Duration::from_micros(section.delay_us().into()),
        }
    }
}

/// What happened in one direction, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Suffered {
    /// Lost.
    pub lost: u64,
    /// Held back to be overtaken.
    pub reordered: u64,
    /// Doubled.
    pub duplicated: u64,
    /// Damaged.
    pub corrupted: u64,
    /// Lost because as many as may be were held back already.
    pub overflow: u64,
    /// Left whole because there was no free frame for the copy.
    pub no_frame: u64,
}

/// A frame that waits for its time; of two with the same time the first to come goes first.
struct Late {
    due: Instant,
    order: u64,
    frame: Frame,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// One direction.
struct Lane {
    impairment: Impairment,
    rng: Xoshiro256PlusPlus,
    late: BinaryHeap<Reverse<Late>>,
    limit: usize,
    order: u64,
    suffered: Suffered,
}

impl Lane {
    fn new(impairment: Impairment, rng: Xoshiro256PlusPlus, limit: usize) -> Self {
        let late = BinaryHeap::with_capacity(limit);
        Self { impairment, rng, late, limit, order: 0, suffered: Suffered::default() }
    }

    /// Whether frames may pass as they come.
    fn is_clear(&self) -> bool {
        self.impairment == Impairment::default()
    }

    /// Whether it happens this time. A probability of 0 takes no random number.
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random::<f64>() < probability
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.chance(self.impairment.loss);
        self.suffered.lost += u64::from(lost);
        lost
    }

    fn flip_a_bit(&mut self, frame: &mut Frame) {
        let len = frame.len();
        if len > 0 {
            let (byte, bit) = (self.rng.random_range(0..len), self.rng.random_range(0..8));
            frame.buffer_mut()[byte] ^= 1 << bit;
            self.suffered.corrupted += 1;
        }
    }

    /// Copies a frame, if there is a free one.
    fn copy(&mut self, pool: &Pool, frame: &Frame) -> Option<Frame> {
        let Some(mut copy) = pool.alloc_on(frame.interface()) else {
            self.suffered.no_frame += 1;
            return None;
        };
        copy.buffer_mut()[..frame.len()].copy_from_slice(frame.bytes());
        copy.set_len(frame.len());
        Some(copy)
    }

    /// Holds a frame until its time; gives it back when there are too many.
    fn hold(&mut self, now: Instant, frame: Frame) -> Option<Frame> {
        if self.late.len() >= self.limit {
            self.suffered.overflow += 1;
            return Some(frame);
        }
        let mut due = now + self.impairment.delay;
        if self.chance(self.impairment.reorder) {
            self.suffered.reordered += 1;
            due = due + Duration::from_micros(self.rng.random_range(OVERTAKE_US));
        }
        self.order += 1;
        self.late.push(Reverse(Late { due, order: self.order, frame }));
        None
    }

    fn pop_due(&mut self, now: Instant) -> Option<Frame> {
        if self.deadline().is_none_or(|due| due > now) {
            return None;
        }
        self.late.pop().map(|Reverse(late)| late.frame)
    }

    fn deadline(&self) -> Option<Instant> {
        self.late.peek().map(|Reverse(late)| late.due)
    }
}

/// A device on a bad network, in both directions separately.
///
/// A frame of the caller's is never damaged when sending, since the caller may keep it to send it again: a copy is sent
/// in its place. So sending needs free frames for corruption and duplication; where there is none the frame goes out as
/// it is, and that is counted. No more than a quarter of the frames are held back in each direction; a frame beyond that
/// is lost, and counted.
///
/// The same seed does the same to the same frames. A direction without impairments passes frames as they come.
pub struct Impaired<D> {
    device: D,
    rx: Lane,
    tx: Lane,
    /// Frames to send whose time has come.
    due: VecDeque<Frame>,
    /// Frames of the caller's that are done with.
    done: Vec<Frame>,
    /// By index: copies of ours, of which the caller must not hear.
    is_copy: Box<[bool]>,
    arrived: Vec<Frame>,
    reclaimed: Vec<Frame>,
}

impl<D: Device> Impaired<D> {
    /// `device`, suffering `rx` when receiving and `tx` when sending, by `seed`.
    pub fn new(device: D, rx: Impairment, tx: Impairment, seed: u64) -> Self {
        let total = device.pool().total();
        let limit = (total / 4).max(1);
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut other = rng.clone();
        other.jump();
        Self {
            rx: Lane::new(rx, rng, limit),
            tx: Lane::new(tx, other, limit),
            // Those that the device had no room for, and all that become due at once.
            due: VecDeque::with_capacity(2 * limit),
            done: Vec::with_capacity(limit),
            is_copy: vec![false; total].into(),
            arrived: Vec::with_capacity(BATCH),
            reclaimed: Vec::with_capacity(BATCH),
            device,
        }
    }

    /// What happened when receiving and when sending.
    pub fn suffered(&self) -> (Suffered, Suffered) {
        (self.rx.suffered, self.tx.suffered)
    }

    fn receive(&mut self, now: Instant, mut frame: Frame) {
        if self.rx.is_lost() {
            return;
        }
        if self.rx.chance(self.rx.impairment.duplicate)
            && let Some(copy) = self.rx.copy(self.device.pool(), &frame)
        {
            self.rx.suffered.duplicated += 1;
            self.rx.hold(now, copy);
        }
        if self.rx.chance(self.rx.impairment.corrupt) {
            self.rx.flip_a_bit(&mut frame);
        }
        self.rx.hold(now, frame);
    }

    fn transmit(&mut self, now: Instant, frame: Frame) {
        // What the device will refuse it shall see, to count it.
        if frame.len() == 0 || !self.device.pool().owns(&frame) {
            self.due.push_back(frame);
            return;
        }
        if self.tx.is_lost() {
            self.done.push(frame);
            return;
        }
        if self.tx.chance(self.tx.impairment.duplicate) {
            self.transmit_copy(now, &frame, |lane, _| lane.suffered.duplicated += 1);
        }
        if self.tx.chance(self.tx.impairment.corrupt) && self.transmit_copy(now, &frame, Lane::flip_a_bit) {
            self.done.push(frame);
        } else if let Some(frame) = self.tx.hold(now, frame) {
            self.done.push(frame);
        }
    }

    /// Sends a copy, changed by `change`; false when there was no frame for it.
    fn transmit_copy(&mut self, now: Instant, frame: &Frame, change: impl FnOnce(&mut Lane, &mut Frame)) -> bool {
        let Some(mut copy) = self.tx.copy(self.device.pool(), frame) else { return false };
        change(&mut self.tx, &mut copy);
        let index = copy.index() as usize;
        self.is_copy[index] = self.tx.hold(now, copy).is_none();
        true
    }

    fn release(&mut self, now: Instant) {
        while let Some(frame) = self.tx.pop_due(now) {
            self.due.push_back(frame);
        }
        if !self.due.is_empty() {
            self.device.tx_burst(now, &mut self.due);
        }
    }
}

impl<D: Device> Device for Impaired<D> {
    fn rx_burst(&mut self, now: Instant, out: &mut Vec<Frame>, max: usize) -> usize {
        if self.rx.is_clear() {
            return self.device.rx_burst(now, out, max);
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        self.device.rx_burst(now, &mut arrived, max.min(BATCH));
        for frame in arrived.drain(..) {
            self.receive(now, frame);
        }
        self.arrived = arrived;
        let before = out.len();
        while out.len() - before < max {
            let Some(frame) = self.rx.pop_due(now) else { break };
            out.push(frame);
        }
        out.len() - before
    }

    fn tx_burst(&mut self, now: Instant, frames: &mut VecDeque<Frame>) -> usize {
        if self.tx.is_clear() {
            return self.device.tx_burst(now, frames);
        }
        // What the device had no room for is not held back by us, yet has to be bounded likewise.
        let n = frames.len().min(self.tx.limit.saturating_sub(self.due.len()));
        for frame in frames.drain(..n) {
            self.transmit(now, frame);
        }
        self.release(now);
        n
    }

    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        let before = out.len();
        out.append(&mut self.done);
        self.device.reclaim(&mut self.reclaimed);
        for frame in self.reclaimed.drain(..) {
            let is_copy = std::mem::take(&mut self.is_copy[frame.index() as usize]);
            if !is_copy {
                out.push(frame);
            }
        }
        out.len() - before
    }

    fn refill(&mut self) -> usize {
        self.device.refill()
    }

    fn kick(&mut self) -> io::Result<()> {
        self.device.kick()
    }

    /// Untouched: what the frame may suffer it has suffered here, and does again where it arrives.
    fn hand_off(&mut self, core: usize, frame: Frame) -> Result<(), Frame> {
        self.device.hand_off(core, frame)
    }

    fn close_sockets(&mut self) {
        self.device.close_sockets();
    }

    fn free_queues(&mut self) -> io::Result<()> {
        self.device.free_queues()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.device.wait(timeout)
    }

    fn deadline(&self) -> Option<Instant> {
        [self.rx.deadline(), self.tx.deadline(), self.device.deadline()].into_iter().flatten().min()
    }

    fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    fn interfaces(&self) -> &[DeviceInfo] {
        self.device.interfaces()
    }

    fn statistics_of(&self, interface: usize) -> Statistics {
        self.device.statistics_of(interface)
    }

    fn statistics(&self) -> Statistics {
        let (rx, tx) = self.suffered();
        Statistics {
            impair_rx_lost: rx.lost,
            impair_rx_reordered: rx.reordered,
            impair_rx_duplicated: rx.duplicated,
            impair_rx_corrupted: rx.corrupted,
            impair_tx_lost: tx.lost,
            impair_tx_reordered: tx.reordered,
            impair_tx_duplicated: tx.duplicated,
            impair_tx_corrupted: tx.corrupted,
            impair_overflow: rx.overflow + tx.overflow,
            impair_no_frame: rx.no_frame + tx.no_frame,
            ..self.device.statistics()
        }
    }

    fn pool(&self) -> &Pool {
        self.device.pool()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::mem::{self, MemConfig, MemDevice};

    /// The first end impaired, the second as it is.
    fn ends(rx: Impairment, tx: Impairment, seed: u64) -> (Impaired<MemDevice>, MemDevice) {
        let (a, b) = mem::pair(&MemConfig { frame_count: 256, receive_reserve: 32, ..MemConfig::default() }).unwrap();
        (Impaired::new(a, rx, tx, seed), b)
    }

    fn frames(pool: &Pool, numbers: std::ops::Range<u8>) -> VecDeque<Frame> {
        numbers
            .map(|number| {
                let mut frame = pool.alloc().unwrap();
                frame.buffer_mut()[..60].fill(number);
                frame.set_len(60);
                frame
            })
            .collect()
    }

    /// Sends 32 frames a millisecond, for `rounds` of them, and gives what arrived: first bytes, and whether whole.
    fn run(from: &mut impl Device, to: &mut impl Device, rounds: u64) -> Vec<(u8, bool)> {
        let (mut arrived, mut out, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut indices = Vec::new();
        for round in 0..rounds + 5 {
            let now = Instant::from_millis(round);
            let mut queued = VecDeque::new();
            if round < rounds {
                queued = frames(from.pool(), 0..32);
                indices.extend(queued.iter().map(Frame::index));
            }
            from.tx_burst(now, &mut queued);
            assert!(queued.is_empty());
            from.kick().unwrap();
            from.reclaim(&mut back);
            for frame in back.drain(..) {
                let place = indices.iter().position(|index| *index == frame.index());
                indices.swap_remove(place.expect("a completion of what was not sent, or sent twice"));
            }
            to.rx_burst(now, &mut out, 256);
            for frame in out.drain(..) {
                let first = frame.bytes()[0];
                arrived.push((first, frame.bytes().iter().all(|byte| *byte == first)));
            }
        }
        assert!(indices.is_empty(), "not completed: {indices:?}");
        for device in [from.pool(), to.pool()] {
            device.audit().unwrap();
            assert_eq!(device.census().held, 0);
        }
        arrived
    }

    fn counts(rx: Impairment, tx: Impairment, seed: u64) -> (Vec<(u8, bool)>, Suffered) {
        let (mut a, mut b) = ends(rx, tx, seed);
        let is_tx = rx == Impairment::default();
        let arrived = if is_tx { run(&mut a, &mut b, 100) } else { run(&mut b, &mut a, 100) };
        (arrived, if is_tx { a.suffered().1 } else { a.suffered().0 })
    }

    /// The same in both directions.
    fn both(impairment: Impairment, check: impl Fn(&[(u8, bool)], Suffered)) {
        for (rx, tx) in [(Impairment::default(), impairment), (impairment, Impairment::default())] {
            let (arrived, suffered) = counts(rx, tx, 7);
            check(&arrived, suffered);
        }
    }

    fn about(count: u64, of: u64, probability: f64) -> bool {
        let expected = of as f64 * probability;
        (count as f64 - expected).abs() < 5.0 * (expected * (1.0 - probability)).sqrt()
    }

    #[test]
    fn lost_frames_do_not_arrive_and_complete() {
        both(Impairment { loss: 0.1, ..Impairment::default() }, |arrived, suffered| {
            assert!(about(suffered.lost, 3200, 0.1), "{suffered:?}");
            assert_eq!(arrived.len() as u64, 3200 - suffered.lost);
        });
    }

    #[test]
    fn doubled_frames_arrive_twice_and_complete_once() {
        both(Impairment { duplicate: 0.2, ..Impairment::default() }, |arrived, suffered| {
            assert!(about(suffered.duplicated, 3200, 0.2), "{suffered:?}");
            assert_eq!(arrived.len() as u64, 3200 + suffered.duplicated);
        });
    }

    #[test]
    fn damaged_frames_arrive_damaged() {
        both(Impairment { corrupt: 0.1, ..Impairment::default() }, |arrived, suffered| {
            assert!(about(suffered.corrupted, 3200, 0.1), "{suffered:?}");
            let damaged = arrived.iter().filter(|(_, whole)| !whole).count() as u64;
            assert_eq!(damaged, suffered.corrupted);
        });
    }

    #[test]
    fn what_the_caller_keeps_is_not_damaged() {
        let (mut a, _b) = ends(Impairment::default(), Impairment { corrupt: 1.0, ..Impairment::default() }, 1);
        let mut queued = frames(a.pool(), 0..32);
        a.tx_burst(Instant::ZERO, &mut queued);
        let mut back = Vec::new();
        assert_eq!(a.reclaim(&mut back), 32);
        for (number, frame) in back.iter().enumerate() {
            assert!(frame.buffer()[..60].iter().all(|byte| usize::from(*byte) == number));
        }
    }

    #[test]
    fn held_back_frames_are_overtaken_and_none_is_missing() {
        both(Impairment { reorder: 0.1, ..Impairment::default() }, |arrived, suffered| {
            assert!(about(suffered.reordered, 3200, 0.1), "{suffered:?}");
            assert_eq!(arrived.len(), 3200);
            assert!(arrived.windows(2).any(|pair| pair[1].0 != (pair[0].0 + 1) % 32));
        });
    }

    #[test]
    fn a_delay_keeps_the_order_and_the_time() {
        let delay = Duration::from_millis(3);
        let (mut a, mut b) = ends(Impairment::default(), Impairment { delay, ..Impairment::default() }, 1);
        let mut queued = frames(a.pool(), 0..10);
        a.tx_burst(Instant::from_millis(1), &mut queued);
        assert_eq!(a.deadline(), Some(Instant::from_millis(4)));
        let mut out = Vec::new();
        for (at, expected) in [(2, 0), (3, 0), (4, 10)] {
            a.tx_burst(Instant::from_millis(at), &mut queued);
            a.kick().unwrap();
            assert_eq!(b.rx_burst(Instant::from_millis(at), &mut out, 64), expected);
        }
        assert!(out.iter().map(|frame| frame.bytes()[0]).eq(0..10));
        assert_eq!(a.deadline(), None);
    }

    #[test]
    fn more_than_may_be_held_back_is_lost_and_counted() {
        let delay = Duration::from_secs(1);
        let (mut a, mut b) = ends(Impairment { delay, ..Impairment::default() }, Impairment::default(), 1);
        for round in 0..3 {
            let mut queued = frames(b.pool(), 0..32);
            b.tx_burst(Instant::ZERO, &mut queued);
            b.kick().unwrap();
            b.reclaim(&mut Vec::new());
            a.rx_burst(Instant::from_millis(round), &mut Vec::new(), 64);
        }
        assert_eq!((a.suffered().0.overflow, a.pool().census().held), (32, 64));
        assert_eq!(a.statistics().impair_overflow, 32);
    }

    #[test]
    fn a_seed_repeats_itself_and_another_differs() {
        let bad =
            Impairment { loss: 0.05, reorder: 0.05, duplicate: 0.05, corrupt: 0.05, delay: Duration::from_micros(100) };
        assert_eq!(counts(Impairment::default(), bad, 3).0, counts(Impairment::default(), bad, 3).0);
        assert_ne!(counts(Impairment::default(), bad, 3).0, counts(Impairment::default(), bad, 4).0);
    }
}
