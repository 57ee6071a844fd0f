//! How often a worker asks its device for what is seldom there.

use super::*;
use crate::app::{Conn, Rx};
use crate::device::mem::{MemConfig, pair};
use crate::device::{DeviceInfo, MemDevice, Statistics};
use corelane_xdp::Pool;
use std::io;

/// A device in memory that counts.
struct Counting {
    device: MemDevice,
    refills: usize,
    reclaims: usize,
}

impl Device for Counting {
    fn rx_burst(&mut self, now: Instant, out: &mut Vec<Frame>, max: usize) -> usize {
        self.device.rx_burst(now, out, max)
    }

    fn tx_burst(&mut self, now: Instant, frames: &mut VecDeque<Frame>) -> usize {
        self.device.tx_burst(now, frames)
    }

    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        self.reclaims += 1;
        self.device.reclaim(out)
    }

    fn refill(&mut self) -> usize {
        self.refills += 1;
        self.device.refill()
    }

    fn kick(&mut self) -> io::Result<()> {
        self.device.kick()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.device.wait(timeout)
    }

    fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    fn statistics(&self) -> Statistics {
        self.device.statistics()
    }

    fn pool(&self) -> &Pool {
        self.device.pool()
    }
}

struct Deaf;

impl App for Deaf {
    type State = ();

    fn on_accept(&mut self, _conn: &mut Conn<'_>) {}

    fn on_recv(&mut self, _conn: &mut Conn<'_>, (): &mut (), _rx: &mut Rx<'_>) {}
}

/// A worker and the other end of its link.
struct Bench {
    worker: Worker<Deaf, Counting>,
    peer: MemDevice,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let (device, peer) = pair(&MemConfig::default()).unwrap();
        let now = Instant::from_millis(1);
        let config = WorkerConfig {
            endpoint: EndpointConfig::default(),
            tcp: TcpConfig::default(),
            events_per_turn: 16,
            secret: [7; 32],
        };
        Self { worker: Worker::new(Deaf, Counting { device, refills: 0, reclaims: 0 }, config, now), peer, now }
    }

    /// One turn, before which `frames` frames come that are for nobody.
    fn turn(&mut self, frames: usize) {
        let noise = |_| {
            let mut frame = self.peer.pool().alloc().unwrap();
            frame.set_len(60);
            frame
        };
        let mut noise: VecDeque<Frame> = (0..frames).map(noise).collect();
        assert_eq!(self.peer.tx_burst(self.now, &mut noise), frames);
        self.peer.kick().unwrap();
        self.worker.turn(self.now).unwrap();
        self.peer.reclaim(&mut Vec::new());
    }

    fn refills(&self) -> usize {
        self.worker.device.refills
    }
}

#[test]
fn the_fill_ring_is_topped_up_for_many_frames_together() {
    let mut bench = Bench::new();
    (0..100).for_each(|_| bench.turn(1));
    assert_eq!((bench.refills(), bench.worker.counters().rx_frames), (3, 100));
    bench.turn(40);
    assert_eq!(bench.refills(), 4);
    // Frames that could not be had before may be there now.
    (0..128).for_each(|_| bench.turn(0));
    assert_eq!(bench.refills(), 6);
}

#[test]
fn nobody_sleeps_over_a_fill_ring_that_was_not_topped_up() {
    let mut bench = Bench::new();
    bench.turn(1);
    assert_eq!(bench.refills(), 0);
    for _ in 0..2 {
        bench.worker.wait(Duration::ZERO).unwrap();
        assert_eq!(bench.refills(), 1);
    }
}

#[test]
fn rings_that_others_use_too_are_looked_at_in_each_turn() {
    let mut bench = Bench::new();
    bench.turn(0);
    assert_eq!((bench.worker.device.reclaims, bench.refills()), (0, 0), "nothing was sent");
    bench.worker.has_others = true;
    (0..3).for_each(|_| bench.turn(0));
    assert_eq!((bench.worker.device.reclaims, bench.refills()), (3, 3));
}
