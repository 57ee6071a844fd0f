//! A port of one queue over the fake kernel: what goes in comes out, and every frame is somewhere.

use std::collections::VecDeque;

use proptest::prelude::*;

use crate::fake::{FakeKernel, FakeRings, KERNEL_BATCH, MAX_LEN};
use crate::pool::{Census, Pool};
use crate::port::Port;
use crate::rings::RxDescriptor;
use crate::{Frame, Mode};

mod cores;
mod interleaving;
mod spsc;
mod threads;

type Fake = (Port<FakeRings>, FakeKernel);

fn deliver(fake: &Fake, packet: &[u8]) -> bool {
    fake.1.lock().deliver(0, packet)
}

fn send_all(fake: &Fake) -> usize {
    fake.1.lock().send(0, usize::MAX)
}

fn complete(fake: &Fake, nth: usize) -> bool {
    fake.1.lock().complete(nth)
}

fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.alloc().unwrap();
    frame.buffer_mut()[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    frame
}

fn frames(pool: &Pool, n: usize) -> VecDeque<Frame> {
    (0..n).map(|i| frame(pool, &[u8::try_from(i % 251).unwrap(); 60])).collect()
}

#[test]
fn received_bytes_are_the_delivered_ones_in_order() {
    let mut fake = FakeRings::queue(64, 16, 0);
    for i in 0..16u8 {
        assert!(deliver(&fake, &vec![i; 14 + usize::from(i)]));
    }
    let mut out = Vec::new();
    assert_eq!(fake.0.rx_burst(&mut out, 10), 10);
    assert_eq!(fake.0.rx_burst(&mut out, 10), 6);
    for (i, frame) in out.iter().enumerate() {
        assert_eq!(frame.bytes(), vec![u8::try_from(i).unwrap(); 14 + i]);
    }
    assert_eq!(fake.0.pool().census(), Census { total: 64, free: 48, held: 16, fill: 0, tx: 0 });
    assert_eq!((fake.0.counters().rx_frames, fake.0.counters().rx_bytes), (16, (0..16).map(|i| 14 + i).sum()));
}

#[test]
fn sent_bytes_are_the_written_ones_and_the_frames_come_back_once() {
    let mut fake = FakeRings::queue(64, 16, 0);
    let mut queued = frames(fake.0.pool(), 16);
    assert_eq!(fake.0.tx_burst(&mut queued), 16);
    assert_eq!(fake.0.pool().census().tx, 16);
    fake.0.kick().unwrap();
    let wire = fake.1.lock().wire.clone();
    assert_eq!(wire, (0..16u8).map(|i| vec![i; 60]).collect::<Vec<_>>());
    // Out of step: the last first.
    while complete(&fake, 7) {}
    let mut out = Vec::new();
    assert_eq!(fake.0.reclaim(&mut out), 16);
    let mut indices: Vec<_> = out.iter().map(Frame::index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 16);
    assert!(out.iter().all(|frame| frame.buffer()[..60].iter().all(|byte| *byte == frame.buffer()[0])));
    drop(out);
    assert_eq!(fake.0.pool().census(), Census { total: 64, free: 48, held: 0, fill: 16, tx: 0 });
}

#[test]
fn a_full_tx_ring_leaves_the_rest_with_the_caller() {
    let mut fake = FakeRings::queue(256, 64, 0);
    let mut queued = frames(fake.0.pool(), 100);
    assert_eq!(fake.0.tx_burst(&mut queued), 64);
    assert_eq!(queued.len(), 36);
    assert_eq!(queued[0].bytes()[0], 64);
    assert_eq!(fake.0.tx_burst(&mut queued), 0);
    assert_eq!(send_all(&fake), 64);
    assert_eq!(fake.0.tx_burst(&mut queued), 36);
    assert!(queued.is_empty());
}

#[test]
fn what_cannot_be_sent_is_refused_and_comes_back() {
    let mut fake = FakeRings::queue(32, 8, 0);
    let other = Pool::heap(4, 256).unwrap();
    let pool = fake.0.pool();
    let (empty, long, good) = (pool.alloc().unwrap(), frame(pool, &[3; MAX_LEN + 1]), frame(pool, &[2; MAX_LEN]));
    let refused = [empty.index(), long.index()];
    let mut queued = VecDeque::from([empty, frame(&other, &[1; 60]), long, good]);
    assert_eq!(fake.0.tx_burst(&mut queued), 1);
    assert_eq!(fake.0.counters().tx_refused, 3);
    assert_eq!(other.census().free, 4);
    assert_eq!(fake.0.pool().census(), Census { total: 32, free: 21, held: 2, fill: 8, tx: 1 });
    let mut out = Vec::new();
    assert_eq!(fake.0.reclaim(&mut out), 2);
    assert_eq!(out.iter().map(Frame::index).collect::<Vec<_>>(), refused);
    send_all(&fake);
    assert_eq!(fake.1.lock().wire, [vec![2; MAX_LEN]]);
}

#[test]
fn a_kick_goes_on_after_a_full_batch_and_stops_when_nothing_moves() {
    let mut fake = FakeRings::queue(256, 128, 0);
    let mut queued = frames(fake.0.pool(), 100);
    fake.0.tx_burst(&mut queued);
    fake.0.kick().unwrap();
    assert_eq!(fake.1.lock().tx_wakes, 100usize.div_ceil(KERNEL_BATCH));
    assert_eq!(fake.1.lock().wire.len(), 100);
    assert_eq!(fake.0.counters().kick_again, 3);
    // Nothing in the ring: the kernel is not called.
    fake.0.kick().unwrap();
    assert_eq!(fake.1.lock().tx_wakes, 4);

    queued = frames(fake.0.pool(), 10);
    fake.0.tx_burst(&mut queued);
    fake.1.lock().answers.extend([libc::EAGAIN, libc::EBUSY, libc::ENOBUFS, libc::ENETDOWN]);
    for kicks in 5..=8 {
        fake.0.kick().unwrap();
        assert_eq!(fake.1.lock().tx_wakes, kicks);
        assert_eq!(fake.0.pool().census().tx, 110);
    }
    let counters = *fake.0.counters();
    assert_eq!((counters.kick_again, counters.kick_busy), (4, 1));
    assert_eq!((counters.kick_no_buffers, counters.kick_down), (1, 1));
    fake.0.kick().unwrap();
    assert_eq!(fake.1.lock().wire.len(), 110);
}

#[test]
fn an_answer_that_means_never_is_reported() {
    let mut fake = FakeRings::queue(32, 8, 0);
    let mut queued = frames(fake.0.pool(), 1);
    fake.0.tx_burst(&mut queued);
    fake.1.lock().answers.push_back(libc::ENXIO);
    assert_eq!(fake.0.kick().unwrap_err().raw_os_error(), Some(libc::ENXIO));
}

#[test]
fn wakeups_follow_the_flags() {
    let mut fake = FakeRings::queue(64, 8, 0);
    fake.1.lock().tx_needs_wakeup = false;
    let mut queued = frames(fake.0.pool(), 3);
    fake.0.tx_burst(&mut queued);
    fake.0.kick().unwrap();
    assert_eq!(fake.1.lock().tx_wakes, 0);
    fake.1.lock().tx_needs_wakeup = true;
    fake.0.kick().unwrap();
    assert_eq!(fake.1.lock().tx_wakes, 1);

    assert_eq!(fake.1.lock().fill_wakes, 0);
    fake.1.lock().fill_needs_wakeup = true;
    // The ring is full: nothing to say.
    assert_eq!(fake.0.refill(), 0);
    assert_eq!(fake.1.lock().fill_wakes, 0);
    assert!(deliver(&fake, &[1; 60]));
    fake.1.lock().answers.push_back(libc::EBUSY);
    assert_eq!(fake.0.refill(), 1);
    assert_eq!(fake.1.lock().fill_wakes, 1);
    assert_eq!((fake.0.counters().fill_kicks, fake.0.counters().kick_busy), (1, 1));
}

#[test]
fn sending_cannot_starve_the_fill_ring() {
    let mut fake = FakeRings::queue(24, 16, 4);
    let held: Vec<_> = std::iter::from_fn(|| fake.0.pool().alloc()).collect();
    assert_eq!(held.len(), 4);
    for i in 0..16u8 {
        assert!(deliver(&fake, &[i; 60]));
    }
    assert!(!deliver(&fake, &[99; 60]), "ring full");
    assert_eq!(fake.0.statistics().unwrap().kernel.rx_ring_full, 1);
    let mut out = Vec::new();
    fake.0.rx_burst(&mut out, 16);
    // All received frames are held too, yet the reserve keeps the fill ring going.
    assert_eq!(fake.0.refill(), 4);
    for i in 0..4u8 {
        assert!(deliver(&fake, &[i; 60]));
    }
    assert!(!deliver(&fake, &[99; 60]));
    assert_eq!(fake.0.statistics().unwrap().kernel.rx_fill_ring_empty_descs, 1);
    out.clear();
    assert_eq!(fake.0.refill(), 16);
    assert!(deliver(&fake, &[7; 60]));
}

#[test]
fn nonsense_from_the_rings_is_counted_and_makes_no_frame() {
    let mut fake = FakeRings::queue(64, 16, 0);
    let at = |index| fake.1.lock().region.address(index);
    let filled: Vec<u32> = fake.1.lock().fill.iter().copied().collect();
    let free = (0..64).find(|index| !filled.contains(index)).unwrap();
    let good = |addr, len| RxDescriptor { addr, len, continues: false };
    let descriptors = [
        good(u64::MAX, 60),
        good(at(63) + 256, 60),
        good(at(free), 60),
        good(at(filled[0]) + 1, 60),
        good(at(filled[1]), 257),
        RxDescriptor { continues: true, ..good(at(filled[2]), 60) },
        good(at(filled[3]), 60),
        good(at(filled[3]), 60),
    ];
    let completions = [at(free), u64::MAX, at(filled[4])];
    fake.1.lock().sockets[0].rx.extend(descriptors);
    fake.1.lock().completion.extend(completions);
    let mut out = Vec::new();
    assert_eq!(fake.0.rx_burst(&mut out, 64), 1);
    assert_eq!(fake.0.reclaim(&mut out), 0);
    let counters = fake.0.counters();
    assert_eq!((counters.rx_foreign, counters.rx_malformed, counters.completion_foreign), (4, 3, 3));
    assert_eq!(fake.0.pool().census(), Census { total: 64, free: 51, held: 1, fill: 12, tx: 0 });
    fake.0.pool().audit().unwrap();
}

#[test]
fn frames_outlive_their_queue() {
    let mut fake = FakeRings::queue(64, 16, 0);
    assert!(deliver(&fake, b"still here, after all rings are gone"));
    let mut out = Vec::new();
    fake.0.rx_burst(&mut out, 1);
    drop(fake);
    assert_eq!(out[0].bytes(), b"still here, after all rings are gone");
}

#[test]
fn the_mode_is_what_was_read_back() {
    let fake = FakeRings::queue(64, 16, 0);
    assert_eq!(fake.0.mode().to_string(), "copy");
    assert_eq!(Mode::default(), Mode::PreferZerocopy);
}

/// One step of either side.
#[derive(Clone, Debug)]
enum Step {
    Alloc(usize),
    DropHeld(usize),
    Receive(usize),
    Transmit(usize),
    Reclaim,
    Refill,
    Kick,
    Deliver(usize),
    Send(usize),
    Complete(usize),
    WakeFlags(bool, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..20).prop_map(Step::Alloc),
        (0usize..64).prop_map(Step::DropHeld),
        (0usize..100).prop_map(Step::Receive),
        (0usize..20).prop_map(Step::Transmit),
        Just(Step::Reclaim),
        Just(Step::Refill),
        Just(Step::Kick),
        (1usize..40).prop_map(Step::Deliver),
        (0usize..40).prop_map(Step::Send),
        (0usize..64).prop_map(Step::Complete),
        any::<(bool, bool)>().prop_map(|(tx, fill)| Step::WakeFlags(tx, fill)),
    ]
}

/// The world that the steps act on; each packet carries its number, so that each can be checked on arrival.
struct World {
    fake: Fake,
    held: Vec<Frame>,
    delivered: VecDeque<u64>,
    sent: VecDeque<u64>,
    next: u64,
}

impl World {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Alloc(n) => self.held.extend((0..*n).map_while(|_| self.fake.0.pool().alloc())),
            Step::DropHeld(n) => {
                if !self.held.is_empty() {
                    let _ = self.held.swap_remove(n % self.held.len());
                }
            }
            Step::Receive(max) => {
                let from = self.held.len();
                self.fake.0.rx_burst(&mut self.held, *max);
                for frame in &self.held[from..] {
                    assert_eq!(frame.bytes(), self.delivered.pop_front().unwrap().to_be_bytes());
                }
            }
            Step::Transmit(n) => self.transmit(*n),
            Step::Reclaim => {
                self.fake.0.reclaim(&mut self.held);
            }
            Step::Refill => {
                self.fake.0.refill();
            }
            Step::Kick => self.fake.0.kick().unwrap(),
            Step::Deliver(n) => {
                for _ in 0..*n {
                    if deliver(&self.fake, &self.next.to_be_bytes()) {
                        self.delivered.push_back(self.next);
                    }
                    self.next += 1;
                }
            }
            Step::Send(n) => {
                self.fake.1.lock().send(0, *n);
            }
            Step::Complete(nth) => {
                complete(&self.fake, *nth);
            }
            Step::WakeFlags(tx, fill) => {
                let mut kernel = self.fake.1.lock();
                (kernel.tx_needs_wakeup, kernel.fill_needs_wakeup) = (*tx, *fill);
            }
        }
        self.check();
    }

    fn transmit(&mut self, n: usize) {
        let mut queued = VecDeque::new();
        for _ in 0..n.min(self.held.len()) {
            let mut frame = self.held.pop().unwrap();
            frame.buffer_mut()[..8].copy_from_slice(&self.next.to_be_bytes());
            frame.set_len(8);
            self.sent.push_back(self.next);
            self.next += 1;
            queued.push_back(frame);
        }
        self.fake.0.tx_burst(&mut queued);
        for _ in 0..queued.len() {
            self.sent.pop_back();
        }
        self.held.extend(queued);
    }

    fn check(&mut self) {
        for packet in self.fake.1.lock().wire.drain(..) {
            assert_eq!(packet, self.sent.pop_front().unwrap().to_be_bytes());
        }
        let kernel = self.fake.1.lock();
        let census = self.fake.0.pool().census();
        assert_eq!(census.held as usize, self.held.len());
        assert_eq!(census.fill as usize, kernel.fill.len() + kernel.sockets[0].rx.len());
        assert_eq!(census.tx as usize, kernel.sockets[0].tx.len() + kernel.in_flight.len() + kernel.completion.len());
        self.fake.0.pool().audit().unwrap();
    }
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_census(
        steps in proptest::collection::vec(step(), 1..200),
        entries in prop_oneof![Just(8usize), Just(16), Just(128)],
        reserve in 0u32..16,
    ) {
        let fake = FakeRings::queue(96, entries, reserve);
        let mut world = World { fake, held: Vec::new(), delivered: VecDeque::new(), sent: VecDeque::new(), next: 0 };
        for step in &steps {
            world.apply(step);
        }
        // Quiet at the end: everything comes home.
        world.fake.1.lock().tx_needs_wakeup = true;
        world.apply(&Step::Kick);
        while !world.fake.1.lock().in_flight.is_empty() {
            world.apply(&Step::Complete(0));
            world.apply(&Step::Reclaim);
        }
        world.apply(&Step::Reclaim);
        world.apply(&Step::Receive(1000));
        world.held.clear();
        let census = world.fake.0.pool().census();
        prop_assert_eq!((census.held, census.tx), (0, 0));
        prop_assert!(world.sent.is_empty() && world.delivered.is_empty());
    }
}
