//! Cores, kernels and the program in any order: no frame is lost or double, no packet changes, and at rest all is home.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::cores::{FRAMES, Nic};
use crate::Frame;
use crate::plan::SocketsPerQueue::{self, All, One};

/// One step of either side; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Deliver {
        queue: usize,
        socket: usize,
    },
    Receive {
        core: usize,
        max: usize,
    },
    HandOff {
        core: usize,
        to: usize,
    },
    Drop {
        core: usize,
    },
    /// One frame that it holds, if any, and else a new one.
    Send {
        core: usize,
        own: bool,
    },
    Kick {
        core: usize,
    },
    Reclaim {
        core: usize,
    },
    Refill {
        core: usize,
    },
    Complete {
        queue: usize,
        nth: usize,
    },
    Wakeups {
        queue: usize,
        wanted: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0usize..8;
    prop_oneof![
        3 => (at(), at()).prop_map(|(queue, socket)| Step::Deliver { queue, socket }),
        3 => (at(), at()).prop_map(|(core, max)| Step::Receive { core, max }),
        2 => (at(), at()).prop_map(|(core, to)| Step::HandOff { core, to }),
        1 => at().prop_map(|core| Step::Drop { core }),
        3 => (at(), any::<bool>()).prop_map(|(core, own)| Step::Send { core, own }),
        2 => at().prop_map(|core| Step::Kick { core }),
        2 => at().prop_map(|core| Step::Reclaim { core }),
        2 => at().prop_map(|core| Step::Refill { core }),
        2 => (at(), at()).prop_map(|(queue, nth)| Step::Complete { queue, nth }),
        1 => (at(), any::<bool>()).prop_map(|(queue, wanted)| Step::Wakeups { queue, wanted }),
    ]
}

/// Each packet is its number, so that it can be told on the wire; received ones are sent on as they are.
struct World {
    nic: Nic,
    held: Vec<VecDeque<Frame>>,
    next: u64,
    /// Given to a port to be sent and not seen on the wire.
    to_wire: BTreeSet<u64>,
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

impl World {
    fn apply(&mut self, step: &Step) {
        let (cores, queues) = (self.nic.ports.len(), self.nic.kernels.len());
        match *step {
            Step::Deliver { queue, socket } => {
                let mut kernel = self.nic.kernels[queue % queues].lock();
                let socket = socket % kernel.sockets.len();
                kernel.deliver(socket, &self.next.to_be_bytes());
                self.next += 1;
            }
            Step::Receive { core, max } => {
                let mut out = Vec::new();
                assert!(self.nic.ports[core % cores].rx_burst(&mut out, max) <= max);
                out.iter().for_each(|frame| assert!(number(frame.bytes()) < self.next));
                self.held[core % cores].extend(out);
            }
            Step::HandOff { core, to } => {
                let core = core % cores;
                let Some(frame) = self.held[core].pop_front() else { return };
                if let Err(frame) = self.nic.ports[core].hand_off(to % cores, frame) {
                    self.held[core].push_back(frame);
                }
            }
            Step::Drop { core } => drop(self.held[core % cores].pop_back()),
            Step::Send { core, own } => self.send(core % cores, own),
            Step::Kick { core } => self.nic.ports[core % cores].kick().unwrap(),
            Step::Reclaim { core } => {
                self.nic.ports[core % cores].reclaim(&mut Vec::new());
            }
            Step::Refill { core } => {
                self.nic.ports[core % cores].refill();
            }
            Step::Complete { queue, nth } => {
                self.nic.kernels[queue % queues].lock().complete(nth);
            }
            Step::Wakeups { queue, wanted } => self.nic.kernels[queue % queues].lock().tx_needs_wakeup = wanted,
        }
        self.check();
    }

    fn send(&mut self, core: usize, own: bool) {
        let port = &mut self.nic.ports[core];
        let frame = self.held[core].pop_front().filter(|_| !own).or_else(|| {
            let mut frame = port.pool().alloc()?;
            frame.buffer_mut()[..8].copy_from_slice(&self.next.to_be_bytes());
            frame.set_len(8);
            self.next += 1;
            Some(frame)
        });
        let Some(frame) = frame else { return };
        let sent = number(frame.bytes());
        let mut frames = VecDeque::from([frame]);
        if port.tx_burst(&mut frames) == 1 {
            assert!(self.to_wire.insert(sent));
        }
        self.held[core].extend(frames);
    }

    fn check(&mut self) {
        for kernel in &self.nic.kernels {
            for packet in kernel.lock().wire.drain(..) {
                assert!(self.to_wire.remove(&number(&packet)), "{packet:?} was never sent, or twice");
            }
        }
        for (port, held) in self.nic.ports.iter().zip(&self.held) {
            port.pool().audit().unwrap();
            // What is completed or refused and not reclaimed is held by the port itself.
            assert!(port.pool().census().held as usize >= held.len());
        }
        let names: Vec<_> = self.held.iter().flatten().map(Frame::index).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "two cores hold one frame");
    }
}

proptest! {
    #[test]
    fn any_order_keeps_every_frame(
        steps in proptest::collection::vec(step(), 1..300),
        (queues, cores) in (1usize..4, 1usize..5),
        sockets in prop_oneof![Just(All), Just(One)],
    ) {
        run(&steps, queues, cores, sockets);
    }
}

fn run(steps: &[Step], queues: usize, cores: usize, sockets: SocketsPerQueue) {
    let held = (0..cores).map(|_| VecDeque::new()).collect();
    let mut world = World { nic: Nic::new(queues, cores, sockets), held, next: 0, to_wire: BTreeSet::new() };
    for step in steps {
        world.apply(step);
    }
    world.held.iter_mut().for_each(VecDeque::clear);
    world.nic.kernels.iter().for_each(|kernel| kernel.lock().tx_needs_wakeup = true);
    for _ in 0..4 {
        for port in &mut world.nic.ports {
            // What is still in an RX ring, or was handed over.
            while port.rx_burst(&mut Vec::new(), FRAMES as usize) > 0 {}
            port.tx_burst(&mut VecDeque::new());
            port.kick().unwrap();
            port.refill();
        }
    }
    world.nic.rest();
    world.check();
    assert!(world.to_wire.is_empty(), "{:?} never left", world.to_wire);
}
