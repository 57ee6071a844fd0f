//! What every device has to do, as checks over two joined ends.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant as Clock};

use corelane_proto::Instant;
use corelane_xdp::{Frame, Pool};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Device;

/// The `EtherType` of the suite's frames (IEEE 802, local experimental): all others are passed over.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];

/// How long a check waits for frames that should come.
const PATIENCE: Duration = Duration::from_secs(2);

const HEADER: usize = 14;

/// One check over two joined ends.
type Check<A, B> = fn(&mut End<A>, &mut End<B>);

/// Runs every check, each over fresh ends that `make` joined, with whatever has to outlive them. The ends' TX rings have
/// to be smaller than their pools.
pub(super) fn conformance<A: Device, B: Device, Guard>(make: impl Fn() -> (A, B, Guard)) {
    let checks: [(&str, Check<A, B>); 7] = [
        ("every length arrives intact", every_length_arrives_intact),
        ("order is kept", order_is_kept),
        ("a full ring gives frames back", a_full_ring_gives_frames_back),
        ("all of many frames arrive", all_of_many_frames_arrive),
        ("what cannot be sent is refused", what_cannot_be_sent_is_refused),
        ("wait sees frames and time", wait_sees_frames_and_time),
        ("random traffic loses no frame", random_traffic_loses_no_frame),
    ];
    for (name, check) in checks {
        let (a, b, _guard) = make();
        let (mut a, mut b) = (End::new(a), End::new(b));
        check(&mut a, &mut b);
        a.finish(name);
        b.finish(name);
    }
}

/// One end, and what it has sent and not got back.
struct End<D> {
    device: D,
    outstanding: HashSet<u32>,
    back: Vec<Frame>,
}

impl<D: Device> End<D> {
    fn new(device: D) -> Self {
        Self { device, outstanding: HashSet::new(), back: Vec::new() }
    }

    /// A frame of `len` bytes: header, `number` as far as it fits, then a pattern.
    fn frame(&self, len: usize, number: u32) -> Option<Frame> {
        let mut frame = self.device.pool().alloc()?;
        frame.buffer_mut()[..len].copy_from_slice(&image(len, number));
        frame.set_len(len);
        Some(frame)
    }

    /// Gives frames to the device and notes which it took.
    fn send(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        let indices: Vec<u32> = frames.iter().map(Frame::index).collect();
        let taken = self.device.tx_burst(Instant::ZERO, frames);
        assert_eq!(frames.len(), indices.len() - taken, "tx_burst says another number than it took");
        for index in &indices[..taken] {
            assert!(self.outstanding.insert(*index), "frame {index} sent while sent");
        }
        assert!(frames.iter().map(Frame::index).eq(indices[taken..].iter().copied()), "the rest is not in order");
        taken
    }

    /// Ends a turn: kick, completions (each of a frame that is outstanding), refill.
    fn turn(&mut self) {
        self.device.kick().expect("kick");
        self.device.reclaim(&mut self.back);
        for frame in self.back.drain(..) {
            assert!(self.outstanding.remove(&frame.index()), "frame {} completed and was not sent", frame.index());
        }
        self.device.refill();
    }

    /// Received frames of the suite.
    fn receive(&mut self, out: &mut Vec<Frame>) {
        let from = out.len();
        self.device.rx_burst(Instant::ZERO, out, 64);
        let mut at = from;
        while at < out.len() {
            if out[at].len() >= HEADER && out[at].bytes()[12..HEADER] == ETHER_TYPE {
                at += 1;
            } else {
                drop(out.remove(at));
            }
        }
    }

    /// Everything sent is back and every frame is somewhere.
    fn finish(&mut self, check: &str) {
        let started = Clock::now();
        while !self.outstanding.is_empty() && started.elapsed() < PATIENCE {
            self.turn();
        }
        assert!(self.outstanding.is_empty(), "{check}: {} frames never completed", self.outstanding.len());
        self.device.pool().audit().unwrap_or_else(|error| panic!("{check}: {error}"));
        let census = self.device.pool().census();
        assert!(census.is_whole() && census.held == 0 && census.tx == 0, "{check}: {census:?}");
    }
}

/// The bytes of frame `number`.
fn image(len: usize, number: u32) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend(ETHER_TYPE);
    bytes.extend(number.to_be_bytes());
    let pattern = (0..).map(|i: usize| u8::try_from((i * 7 + number as usize) % 251).unwrap_or(0));
    bytes.extend(pattern.take(len.saturating_sub(bytes.len())));
    bytes.truncate(len);
    bytes
}

fn number(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.bytes()[HEADER..HEADER + 4].try_into().unwrap())
}

/// Sends `frames` from `from` and receives at `to` until `expected` have come or patience is over.
fn pass<A: Device, B: Device>(
    from: &mut End<A>,
    to: &mut End<B>,
    frames: &mut VecDeque<Frame>,
    expected: usize,
) -> Vec<Frame> {
    let (started, mut got) = (Clock::now(), Vec::new());
    while got.len() < expected && started.elapsed() < PATIENCE {
        from.send(frames);
        from.turn();
        to.receive(&mut got);
        to.turn();
    }
    got
}

fn every_length_arrives_intact<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    fn one_way<A: Device, B: Device>(from: &mut End<A>, to: &mut End<B>) {
        let longest = from.device.info().max_frame_len().min(to.device.info().max_frame_len());
        for len in HEADER..=longest {
            let frame = from.frame(len, u32::try_from(len).unwrap()).unwrap();
            let got = pass(from, to, &mut VecDeque::from([frame]), 1);
            assert_eq!(got.len(), 1, "nothing of {len} bytes came");
            assert_eq!(got[0].bytes(), image(len, u32::try_from(len).unwrap()), "{len} bytes");
        }
    }
    one_way(a, b);
    one_way(b, a);
    let sent: u64 = (HEADER as u64..=a.device.info().max_frame_len() as u64).sum();
    assert_eq!(a.device.statistics().tx_bytes, sent);
    assert!(b.device.statistics().rx_bytes >= sent);
}

fn order_is_kept<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    let mut next = 0;
    for burst in [1u32, 2, 7, 16, 31, 16, 3] {
        for _ in 0..10 {
            let mut frames: VecDeque<_> = (next..next + burst).map(|n| a.frame(60, n).unwrap()).collect();
            let got = pass(a, b, &mut frames, burst as usize);
            assert!(got.iter().map(number).eq(next..next + burst), "after {next}");
            next += burst;
        }
    }
}

fn a_full_ring_gives_frames_back<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    let mut frames: VecDeque<_> = (0..).map_while(|n| a.frame(60, n)).collect();
    let total = frames.len();
    // Without a kick nothing leaves the ring.
    let taken = a.send(&mut frames);
    assert!(taken > 0 && taken < total, "{taken} of {total} went into the ring");
    assert_eq!(a.send(&mut frames), 0, "there was room after all");
    frames.clear();
    let got = pass(a, b, &mut frames, taken);
    assert!(got.iter().map(number).eq(0..u32::try_from(taken).unwrap()), "{} of {taken} came", got.len());
}

fn all_of_many_frames_arrive<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    let (started, mut sent, mut expected) = (Clock::now(), 0u32, 0u32);
    let mut frames = VecDeque::new();
    while expected < 5000 && started.elapsed() < 2 * PATIENCE {
        while frames.len() < 48 && sent < 5000 {
            let Some(frame) = a.frame(60, sent) else { break };
            frames.push_back(frame);
            sent += 1;
        }
        a.send(&mut frames);
        a.turn();
        let mut got = Vec::new();
        b.receive(&mut got);
        for frame in got {
            assert_eq!(number(&frame), expected);
            expected += 1;
        }
        b.turn();
    }
    assert_eq!(expected, 5000, "frames came");
}

fn what_cannot_be_sent_is_refused<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    let other = Pool::heap(1, 128).unwrap();
    let mut foreign = other.alloc().unwrap();
    foreign.set_len(60);
    let longest = a.device.info().max_frame_len();
    let empty = a.frame(0, 0).unwrap();
    let too_long = a.frame(longest + 1, 1).unwrap();
    let good = a.frame(longest, 2).unwrap();
    let (refused, before) = ([empty.index(), too_long.index()], a.device.statistics());
    a.send(&mut VecDeque::from([empty, too_long, good]));
    assert!(refused.iter().all(|index| a.outstanding.contains(index)));
    let got = pass(a, b, &mut VecDeque::new(), 1);
    assert_eq!(got.iter().map(number).collect::<Vec<_>>(), [2]);
    assert!(refused.iter().all(|index| !a.outstanding.contains(index)), "the refused did not come back");
    assert_eq!(a.device.tx_burst(Instant::ZERO, &mut VecDeque::from([foreign])), 1);
    assert_eq!(other.available(), 1, "another device's frame did not go home");
    let after = a.device.statistics();
    assert_eq!((after.tx_refused - before.tx_refused, after.tx_frames - before.tx_frames), (3, 1));
}

fn wait_sees_frames_and_time<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    // What other programs sent before is none of ours.
    let mut out = Vec::new();
    b.receive(&mut out);
    let (started, limit) = (Clock::now(), Duration::from_millis(20));
    b.device.wait(Some(limit)).unwrap();
    assert!(started.elapsed() < limit + PATIENCE, "slept for {:?}", started.elapsed());
    let frame = a.frame(60, 9).unwrap();
    a.send(&mut VecDeque::from([frame]));
    a.turn();
    assert!(b.device.wait(Some(PATIENCE)).unwrap(), "a frame came and wait did not see it");
    // It does not take the frame.
    assert!(b.device.wait(Some(PATIENCE)).unwrap());
    b.receive(&mut out);
    assert_eq!(out.iter().map(number).collect::<Vec<_>>(), [9]);
}

fn random_traffic_loses_no_frame<A: Device, B: Device>(a: &mut End<A>, b: &mut End<B>) {
    fn act<D: Device>(end: &mut End<D>, rng: &mut Xoshiro256PlusPlus, kept: &mut Vec<Frame>) {
        let longest = end.device.info().max_frame_len();
        let burst = rng.random_range(0..80);
        let mut frames: VecDeque<_> =
            (0..burst).map_while(|n| end.frame(rng.random_range(HEADER..=longest), n)).filter(|_| true).collect();
        end.send(&mut frames);
        end.receive(kept);
        // Some received frames are sent on, some are freed, some are kept for a while.
        while kept.len() > 20 {
            let frame = kept.swap_remove(rng.random_range(0..kept.len()));
            if rng.random::<bool>() {
                frames.push_back(frame);
            }
        }
        end.send(&mut frames);
        if rng.random::<bool>() {
            end.turn();
        }
        end.device.pool().audit().unwrap();
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let (mut kept_a, mut kept_b) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        act(a, &mut rng, &mut kept_a);
        act(b, &mut rng, &mut kept_b);
    }
    drop((kept_a, kept_b));
    // What is still under way comes in and is freed.
    for _ in 0..100 {
        let mut out = Vec::new();
        a.turn();
        b.turn();
        a.receive(&mut out);
        drop(std::mem::take(&mut out));
        b.receive(&mut out);
    }
}
