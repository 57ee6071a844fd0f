//! Cores on threads of their own, with a fake kernel that sends everything in a circle.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::fake::{Fake, FakeKernel, FakeRings};
use crate::plan::SocketsPerQueue::{self, All, One};
use crate::port::Port;
use crate::{Frame, PortSeed};

/// What one core did.
struct Did {
    seen: usize,
    total: usize,
    strays: u64,
}

/// Packets that the kernels deliver in all.
const PACKETS: usize = if cfg!(miri) { 60 } else { 20_000 };

/// What the threads share with each other and the test.
struct Scene {
    kernels: Vec<FakeKernel>,
    cores: usize,
    delivered: AtomicUsize,
    /// Packets that came to an end.
    ended: AtomicUsize,
    quiet: Barrier,
}

impl Scene {
    /// The wire: completes what was sent, and delivers what is to come, as long as there are frames.
    fn drive(&self) {
        for kernel in &self.kernels {
            let mut kernel = kernel.lock();
            while kernel.complete(0) {}
            kernel.wire.clear();
            let number = self.delivered.load(Ordering::Relaxed);
            if number < PACKETS {
                let socket = number % kernel.sockets.len();
                if kernel.deliver(socket, &number.to_be_bytes()) {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Each packet is handed on, forwarded or dropped, by its number.
    fn core(&self, mut port: Port<FakeRings>) -> Did {
        let (mut received, mut to_send, mut sent) = (Vec::new(), VecDeque::new(), Vec::new());
        let mut seen = 0;
        let started = Instant::now();
        while self.ended.load(Ordering::Relaxed) < PACKETS {
            assert!(started.elapsed() < Duration::from_secs(600), "stuck");
            port.rx_burst(&mut received, 8);
            for frame in received.drain(..) {
                seen += 1;
                self.decide(&mut port, frame, &mut to_send);
            }
            port.tx_burst(&mut to_send);
            port.kick().unwrap();
            port.reclaim(&mut sent);
            self.ended.fetch_add(sent.len(), Ordering::Relaxed);
            sent.clear();
            port.refill();
            if port.core() == 0 {
                self.drive();
            }
            std::thread::yield_now();
        }
        // What is on its way arrives in a few more turns, with all cores at the same one.
        for _ in 0..4 {
            self.quiet.wait();
            port.rx_burst(&mut received, 64);
            received.clear();
            port.tx_burst(&mut to_send);
            port.kick().unwrap();
            self.quiet.wait();
            if port.core() == 0 {
                self.drive();
            }
            self.quiet.wait();
            port.reclaim(&mut sent);
            sent.clear();
            port.refill();
        }
        port.pool().audit().unwrap();
        let census = port.pool().census();
        assert_eq!((census.held, census.tx), (0, 0), "core {}", port.core());
        let counters = port.counters();
        Did { seen, total: census.total as usize, strays: counters.mail_foreign + counters.completion_foreign }
    }

    fn decide(&self, port: &mut Port<FakeRings>, mut frame: Frame, to_send: &mut VecDeque<Frame>) {
        let number = usize::from_be_bytes(frame.bytes()[..8].try_into().unwrap());
        let handed = frame.len() > 8;
        let to = (port.core() + 1) % self.cores;
        if !handed && number % 3 != 0 {
            // The length says that it was handed over; every byte was written on another core.
            frame.buffer_mut()[8..16].copy_from_slice(&number.to_be_bytes());
            frame.set_len(16);
            match port.hand_off(to, frame) {
                Ok(()) => return,
                Err(back) => frame = back,
            }
        }
        if frame.len() > 8 {
            assert_eq!(frame.bytes()[8..], number.to_be_bytes());
        }
        if number.is_multiple_of(2) {
            to_send.push_back(frame);
        } else {
            drop(frame);
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn run(queues: usize, cores: usize, sockets: SocketsPerQueue) {
    let (seeds, kernels) = Fake { queues, cores, sockets, frames: 128, entries: 32, reserve: 8 }.open();
    let scene = Scene {
        kernels,
        cores,
        delivered: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        quiet: Barrier::new(cores),
    };
    let scene = &scene;
    let did: Vec<Did> = std::thread::scope(|scope| {
        let start = |seed: PortSeed<FakeRings>| scope.spawn(move || scene.core(seed.into_port()));
        let threads: Vec<_> = seeds.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(did.iter().map(|did| did.total).sum::<usize>(), 128 * queues);
    assert_eq!(did.iter().map(|did| did.strays).sum::<u64>(), 0);
    assert!(did.iter().map(|did| did.seen).sum::<usize>() >= PACKETS);
    assert_eq!(scene.ended.load(Ordering::Relaxed), PACKETS);
}

#[test]
fn frames_survive_threads_with_a_socket_for_each_core() {
    run(2, 2, All);
    run(1, 3, All);
}

#[test]
fn frames_survive_threads_with_one_socket_a_queue() {
    run(2, 2, One);
    run(1, 3, One);
}

/// Miri has no `ppoll`.
#[cfg(not(miri))]
mod sleeping {
    use super::*;

    fn two(sockets: SocketsPerQueue) -> (Vec<PortSeed<FakeRings>>, Vec<FakeKernel>) {
        Fake { queues: 1, cores: 2, sockets, frames: 64, entries: 16, reserve: 0 }.open()
    }

    #[test]
    fn a_core_that_only_gets_hand_offs_is_woken() {
        let (mut seeds, kernels) = two(One);
        let sleeper = seeds.pop().unwrap();
        let mut owner = seeds.pop().unwrap().into_port();
        let received = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut port = sleeper.into_port();
                let mut out = Vec::new();
                while received.load(Ordering::Relaxed) < 200 {
                    if port.rx_burst(&mut out, 8) == 0 {
                        // Without a timeout: a lost wake-up hangs.
                        port.wait(None).unwrap();
                    }
                    received.fetch_add(out.len(), Ordering::Relaxed);
                    out.clear();
                    port.refill();
                }
            });
            for sent in 1..=200 {
                assert!(kernels[0].lock().deliver(0, b"wake up"));
                let mut out = Vec::new();
                owner.rx_burst(&mut out, 1);
                owner.hand_off(1, out.pop().unwrap()).unwrap();
                owner.kick().unwrap();
                while received.load(Ordering::Relaxed) < sent {
                    std::thread::yield_now();
                }
                owner.refill();
            }
        });
        assert!(owner.counters().wakes > 0);
    }

    #[test]
    fn a_sleeping_owner_sends_for_others_and_returns_what_completed() {
        let (mut seeds, kernels) = two(One);
        let (other, owner) = (seeds.pop().unwrap(), seeds.pop().unwrap());
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut port, mut out) = (owner.into_port(), Vec::new());
                while done.load(Ordering::Relaxed) == 0 {
                    port.rx_burst(&mut out, 8);
                    port.tx_burst(&mut VecDeque::new());
                    port.kick().unwrap();
                    // Late, as a NIC's are: nothing but the pause in `wait` brings them.
                    port.reclaim(&mut out);
                    assert!(out.is_empty());
                    port.refill();
                    port.wait(None).unwrap();
                    while kernels[0].lock().complete(0) {}
                }
            });
            let (mut port, mut back) = (other.into_port(), Vec::new());
            for _ in 0..50 {
                let mut frame = port.pool().alloc().unwrap();
                frame.set_len(60);
                port.tx_burst(&mut VecDeque::from([frame]));
                port.kick().unwrap();
                while port.reclaim(&mut back) == 0 {
                    port.wait(None).unwrap();
                }
                back.clear();
            }
            done.store(1, Ordering::Relaxed);
            let mut frame = port.pool().alloc().unwrap();
            frame.set_len(60);
            port.tx_burst(&mut VecDeque::from([frame]));
            port.kick().unwrap();
        });
        assert!(kernels[0].lock().wire.len() >= 50);
    }

    #[test]
    fn a_sleeping_owner_is_woken_before_its_fill_ring_runs_dry() {
        let (mut seeds, kernels) = two(All);
        let (other, owner) = (seeds.pop().unwrap(), seeds.pop().unwrap());
        let stop = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut port = owner.into_port();
                while stop.load(Ordering::Relaxed) == 0 {
                    port.refill();
                    port.wait(Some(Duration::from_secs(60))).unwrap();
                }
            });
            let (mut port, mut out, started) = (other.into_port(), Vec::new(), Instant::now());
            let mut received = 0;
            while received < 500 {
                assert!(started.elapsed() < Duration::from_secs(30), "the fill ring ran dry at {received}");
                // One at a time, so that there is always room in the ring.
                if kernels[0].lock().deliver(1, b"more") {
                    received += port.rx_burst(&mut out, 1);
                }
                out.clear();
                port.refill();
            }
            stop.store(1, Ordering::Relaxed);
            let mut frame = port.pool().alloc().unwrap();
            frame.set_len(60);
            port.tx_burst(&mut VecDeque::from([frame]));
            port.kick().unwrap();
        });
    }

    #[test]
    fn waiting_ends_on_time() {
        let (seeds, _kernels) = two(All);
        let started = Instant::now();
        for seed in seeds {
            assert!(!seed.into_port().wait(Some(Duration::from_millis(20))).unwrap());
        }
        assert!(started.elapsed() >= Duration::from_millis(40));
    }
}
