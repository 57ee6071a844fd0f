//! Several cores on several queues of a real veth pair: `cargo test -p corelane-xdp --features veth`, as root.
//!
//! Every core of one end sends numbered packets, each to a core of the other end, which sends the very frame back to the
//! core that it came from. A packet that arrives at another core than it is for is handed to that one.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corelane_xdp::veth::{End, RedirectAll, VethPair};
use corelane_xdp::{
    Frame, GiveSocket, ModeInForce, OpenError, Port, PortSeed, QueueConfig, SocketsPerQueue, Statistics, new_socket,
    open, open_with,
};

const FRAMES: u32 = 1024;

/// Packets of each sending core.
const PACKETS: usize = 3000;

/// How many packets a sending core may be ahead of what the slowest of them got back, so that no ring of the veth pair is
/// ever full, and no fill ring empty: its owner alone fills it, and may be the one that the machine lets wait.
const WINDOW: usize = 48;

/// Where the parts of a packet lie: who it is for, whose it is, its number.
const TO: usize = 14;
const FROM: usize = 15;
const NUMBER: usize = 16;

fn config(interface: &str) -> QueueConfig {
    QueueConfig {
        frame_count: FRAMES,
        rx_ring: 256,
        tx_ring: 128,
        fill_ring: 256,
        completion_ring: 256,
        receive_reserve: 64,
        ..QueueConfig::new(interface, 0)
    }
}

/// A program and the parts of all cores; the program goes first.
struct Side {
    program: RedirectAll,
    seeds: Vec<PortSeed>,
}

/// With `given`, its sockets are made by somebody else.
fn side(end: &End, queues: u32, cores: u8, sockets: SocketsPerQueue, given: bool) -> Side {
    end.enter(|| {
        let numbers: Vec<u32> = (0..queues).collect();
        let give: Option<GiveSocket<'_>> = if given { Some(&mut new_socket) } else { None };
        let seeds = open_with(&config(end.interface()), &numbers, cores.into(), sockets, give).unwrap();
        let by_core = sockets == SocketsPerQueue::All;
        let program = if by_core {
            RedirectAll::attach_by_core(end.interface(), cores)
        } else {
            RedirectAll::attach(end.interface())
        };
        for seed in &seeds {
            for socket in seed.sockets() {
                assert_eq!(socket.mode, ModeInForce::Copy);
                let core = u32::try_from(seed.core()).unwrap();
                let key = if by_core { socket.queue * u32::from(cores) + core } else { socket.queue };
                program.register(key, socket.fd.unwrap());
            }
        }
        Side { program, seeds }
    })
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap()
}

fn length(number: usize) -> usize {
    60 + number % 1400
}

/// Writes a packet without the address part of its header, which is the same in all.
fn write(frame: &mut Frame, to: u8, from: u8, number: usize) {
    let len = length(number);
    let packet = &mut frame.buffer_mut()[..len];
    packet.fill(byte(number % 256));
    packet[..12].fill(2);
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    packet[TO] = to;
    packet[FROM] = from;
    packet[NUMBER..NUMBER + 4].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
    frame.set_len(len);
}

/// The number of a packet whose every byte was looked at.
fn read(frame: &Frame, to: u8) -> usize {
    let packet = frame.bytes();
    let number = u32::from_be_bytes(packet[NUMBER..NUMBER + 4].try_into().unwrap()) as usize;
    assert_eq!((packet.len(), packet[TO]), (length(number), to));
    assert!(packet[..12].iter().all(|byte| *byte == 2) && packet[12..14] == [0x88, 0xb5]);
    assert!(packet[NUMBER + 4..].iter().all(|other| *other == byte(number % 256)), "packet {number}");
    number
}

/// What all threads of a run share.
struct Run {
    /// How many packets each sending core got back, as of its last turn.
    back: Box<[AtomicUsize]>,
    /// A core has waited for too long: the others need not go on, nor wait at the barrier, which it never reaches.
    gave_up: AtomicBool,
    all: Barrier,
}

impl Run {
    fn new(cores: usize) -> Self {
        Self {
            back: (0..cores).map(|_| AtomicUsize::new(0)).collect(),
            gave_up: AtomicBool::new(false),
            all: Barrier::new(2 * cores),
        }
    }

    fn cores(&self) -> usize {
        self.back.len()
    }

    /// What the slowest sending core got back.
    fn slowest(&self) -> usize {
        self.back.iter().map(|back| back.load(Ordering::Relaxed)).min().unwrap()
    }

    fn is_finished(&self) -> bool {
        self.slowest() == PACKETS
    }
}

/// What one core has at the end, at rest.
struct Rest {
    census: u32,
    statistics: Statistics,
}

/// One core of either end.
struct Core<'a> {
    run: &'a Run,
    port: Port,
    me: u8,
    received: Vec<Frame>,
    to_send: VecDeque<Frame>,
    sent: Vec<Frame>,
}

impl<'a> Core<'a> {
    fn new(run: &'a Run, seed: PortSeed) -> Self {
        let me = byte(seed.core());
        let port = seed.into_port();
        Self { run, port, me, received: Vec::new(), to_send: VecDeque::new(), sent: Vec::new() }
    }

    /// A turn; what is left in `received` is for this core.
    fn turn(&mut self) {
        let mut came = Vec::new();
        self.port.rx_burst(&mut came, 64);
        for frame in came {
            let to = usize::from(frame.bytes()[TO]);
            if to == usize::from(self.me) {
                self.received.push(frame);
            } else {
                self.port.hand_off(to, frame).unwrap();
            }
        }
    }

    fn finish_turn(&mut self) {
        self.port.tx_burst(&mut self.to_send);
        self.port.kick().unwrap();
        self.port.reclaim(&mut self.sent);
        self.sent.clear();
        self.port.refill();
    }

    /// Sends all packets, a window at a time, and sees each come back once.
    fn originate(&mut self) {
        let (mut next, mut seen, mut count) = (0, vec![false; PACKETS], 0);
        let started = Instant::now();
        while count < PACKETS {
            if started.elapsed() > Duration::from_secs(60) {
                self.run.gave_up.store(true, Ordering::Relaxed);
                panic!("core {} got {count} of {next} back: {:?}", self.me, self.port.statistics());
            }
            self.turn();
            for frame in self.received.drain(..) {
                let number = read(&frame, self.me);
                assert!(!std::mem::replace(&mut seen[number], true), "packet {number} came twice");
                count += 1;
            }
            let most = PACKETS.min(self.run.slowest() + WINDOW);
            while next < most {
                let Some(mut frame) = self.port.pool().alloc() else { break };
                write(&mut frame, byte(next % self.run.cores()), self.me, next);
                self.to_send.push_back(frame);
                next += 1;
            }
            self.finish_turn();
            self.run.back[usize::from(self.me)].store(count, Ordering::Relaxed);
            self.port.wait(Some(Duration::from_millis(2))).unwrap();
        }
    }

    /// Sends back what comes, in its own frame, until all are done.
    fn reflect(&mut self) {
        while !self.run.is_finished() {
            let gave_up = self.run.gave_up.load(Ordering::Relaxed);
            assert!(!gave_up, "core {} goes on for nobody: {:?}", self.me, self.port.statistics());
            self.turn();
            for mut frame in self.received.drain(..) {
                read(&frame, self.me);
                frame.buffer_mut()[TO] = frame.bytes()[FROM];
                self.to_send.push_back(frame);
            }
            self.finish_turn();
            self.port.wait(Some(Duration::from_millis(2))).unwrap();
        }
    }

    /// Turns until nothing is on its way any more, with everybody else.
    fn rest(mut self) -> Rest {
        // The others still need this core's rings.
        self.reflect();
        for _ in 0..4 {
            self.run.all.wait();
            thread::sleep(Duration::from_millis(5));
            self.turn();
            assert!(self.received.is_empty());
            self.finish_turn();
        }
        self.run.all.wait();
        self.port.pool().audit().unwrap();
        let census = self.port.pool().census();
        assert_eq!((census.held, census.tx), (0, 0), "core {}", self.me);
        let statistics = self.port.statistics().unwrap();
        assert_eq!((statistics.port.mail_foreign, statistics.port.completion_foreign), (0, 0));
        assert_eq!((statistics.port.rx_foreign, statistics.port.rx_malformed), (0, 0));
        Rest { census: census.total, statistics }
    }
}

/// The totals of one end: received, sent and completed frames, received and sent bytes, and hand-offs.
fn totals(rest: &[Rest]) -> [u64; 6] {
    let sum = |what: fn(&Statistics) -> u64| rest.iter().map(|rest| what(&rest.statistics)).sum();
    assert_eq!(sum(|all| all.port.handed_off), sum(|all| all.port.handed_in));
    assert_eq!(sum(|all| all.port.hand_off_refused + all.port.tx_refused), 0);
    [
        sum(|all| all.port.rx_frames),
        sum(|all| all.port.tx_frames),
        sum(|all| all.port.completions),
        sum(|all| all.port.rx_bytes),
        sum(|all| all.port.tx_bytes),
        sum(|all| all.port.handed_off),
    ]
}

fn exchange(queues: u32, cores: u8, sockets: SocketsPerQueue) {
    exchange_with(queues, cores, sockets, false);
}

fn exchange_with(queues: u32, cores: u8, sockets: SocketsPerQueue, given: bool) {
    let pair = VethPair::new(queues);
    let (a, b) = (side(&pair.a, queues, cores, sockets, false), side(&pair.b, queues, cores, sockets, given));
    let cores = usize::from(cores);
    let (programs, run) = ((a.program, b.program), &Run::new(cores));
    let (near, far): (Vec<Rest>, Vec<Rest>) = thread::scope(|scope| {
        let near: Vec<_> = a
            .seeds
            .into_iter()
            .map(|seed| {
                scope.spawn(move || {
                    let mut core = Core::new(run, seed);
                    core.originate();
                    core.rest()
                })
            })
            .collect();
        let far: Vec<_> = b
            .seeds
            .into_iter()
            .map(|seed| {
                scope.spawn(move || {
                    let mut core = Core::new(run, seed);
                    core.reflect();
                    core.rest()
                })
            })
            .collect();
        let join = |threads: Vec<thread::ScopedJoinHandle<'_, Rest>>| {
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        };
        (join(near), join(far))
    });
    drop(programs);

    let packets = (cores * PACKETS) as u64;
    let bytes = (cores * (0..PACKETS).map(length).sum::<usize>()) as u64;
    // A packet goes out and comes back by the queue that its core sends on, so with one socket a queue it arrives at that
    // queue's owner.
    let arrives = |from: usize| from % queues as usize % cores;
    let for_others = |from: usize| (0..PACKETS).filter(|number| number % cores != arrives(from)).count();
    let handed = |to_others: &dyn Fn(usize) -> usize| match sockets {
        SocketsPerQueue::All => 0,
        SocketsPerQueue::One => (0..cores).map(to_others).sum::<usize>() as u64,
    };
    let back_at_others = |from: usize| if arrives(from) == from { 0 } else { PACKETS };
    for (end, rest, handed) in [("near", &near, handed(&back_at_others)), ("far", &far, handed(&for_others))] {
        assert_eq!(totals(rest), [packets, packets, packets, bytes, bytes, handed], "{end}");
        let frames: u32 = rest.iter().map(|rest| rest.census).sum();
        assert_eq!(frames, FRAMES * queues, "{end}");
    }
}

#[test]
fn two_queues_and_two_cores_with_a_socket_for_each() {
    exchange(2, 2, SocketsPerQueue::All);
}

/// One end has sockets that it has not made, against one that has.
#[test]
fn sockets_that_somebody_else_has_made_are_as_good() {
    for sockets in [SocketsPerQueue::All, SocketsPerQueue::One] {
        exchange_with(2, 2, sockets, true);
    }
}

#[test]
fn two_queues_and_two_cores_with_one_socket_a_queue() {
    exchange(2, 2, SocketsPerQueue::One);
}

#[test]
fn more_cores_than_queues() {
    exchange(2, 3, SocketsPerQueue::All);
    exchange(1, 3, SocketsPerQueue::One);
}

#[test]
fn more_queues_than_cores() {
    exchange(4, 1, SocketsPerQueue::All);
    exchange(3, 2, SocketsPerQueue::One);
}

#[test]
fn queues_are_numbered_from_any_base() {
    let pair = VethPair::new(4);
    pair.a.enter(|| {
        let seeds = open(&config(pair.a.interface()), &[3, 2], 2, SocketsPerQueue::All).unwrap();
        for seed in &seeds {
            let sockets: Vec<_> = seed.sockets().map(|socket| (socket.position, socket.queue)).collect();
            assert_eq!(sockets, [(0, 3), (1, 2)]);
        }
        let error = open(&config(pair.a.interface()), &[1, 4], 2, SocketsPerQueue::All).err().unwrap();
        assert!(matches!(error, OpenError::NoSuchQueue { queue: 4, queues: 4, .. }), "{error}");
        // The queue that was opened before the error is free again, and so are the others when their parts go.
        drop(open(&config(pair.a.interface()), &[1], 2, SocketsPerQueue::All).unwrap());
        drop(seeds);
        drop(open(&config(pair.a.interface()), &[0, 1, 2, 3], 3, SocketsPerQueue::All).unwrap());
    });
}

#[test]
fn a_busy_queue_is_waited_for_with_all_its_sockets() {
    let pair = VethPair::new(1);
    pair.a.enter(|| {
        let holder = open(&config(pair.a.interface()), &[0], 2, SocketsPerQueue::All).unwrap();
        let quick = QueueConfig { busy_timeout: Duration::from_millis(30), ..config(pair.a.interface()) };
        let error = open(&quick, &[0], 2, SocketsPerQueue::All).err().unwrap();
        assert!(matches!(error, OpenError::QueueBusy { queue: 0, .. }), "{error}");
        let waiting = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                drop(holder);
            });
            open(&config(pair.a.interface()), &[0], 2, SocketsPerQueue::All).map(|seeds| seeds.len())
        });
        assert_eq!(waiting.ok(), Some(2));
    });
}
