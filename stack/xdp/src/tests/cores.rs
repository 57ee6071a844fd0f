//! Several cores on several queues over fake kernels, driven in turn on one thread.

use std::collections::VecDeque;

use crate::Frame;
use crate::fake::{Fake, FakeKernel, FakeRings, MAX_LEN};
use crate::plan::SocketsPerQueue::{self, All, One};
use crate::port::Port;

pub(super) const FRAMES: u32 = 64;

fn fake(queues: usize, cores: usize, sockets: SocketsPerQueue) -> Fake {
    Fake { queues, cores, sockets, frames: FRAMES, entries: 16, reserve: 8 }
}

/// All cores and all queues.
pub(super) struct Nic {
    pub(super) ports: Vec<Port<FakeRings>>,
    pub(super) kernels: Vec<FakeKernel>,
}

impl Nic {
    pub(super) fn new(queues: usize, cores: usize, sockets: SocketsPerQueue) -> Self {
        let (seeds, kernels) = fake(queues, cores, sockets).open();
        Self { ports: seeds.into_iter().map(crate::PortSeed::into_port).collect(), kernels }
    }

    /// The packet comes in on `queue` for `socket`, counted from the owner's.
    fn deliver(&self, queue: usize, socket: usize, packet: &[u8]) {
        assert!(self.kernels[queue].lock().deliver(socket, packet), "queue {queue} dropped a packet");
    }

    fn receive(&mut self, core: usize) -> Vec<Frame> {
        let mut out = Vec::new();
        self.ports[core].rx_burst(&mut out, 64);
        out
    }

    /// Sends all; they have to fit.
    fn send(&mut self, core: usize, frames: impl IntoIterator<Item = Frame>) {
        let mut frames: VecDeque<_> = frames.into_iter().collect();
        let n = frames.len();
        assert_eq!(self.ports[core].tx_burst(&mut frames), n);
        self.ports[core].kick().unwrap();
    }

    fn reclaim(&mut self, core: usize) -> Vec<Frame> {
        let mut out = Vec::new();
        self.ports[core].reclaim(&mut out);
        out
    }

    fn turn(&mut self, core: usize) {
        assert!(self.receive(core).is_empty());
        self.send(core, []);
        self.reclaim(core);
        self.ports[core].refill();
    }

    fn complete_all(&self) {
        for kernel in &self.kernels {
            while kernel.lock().complete(0) {}
        }
    }

    fn wire(&self, queue: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.kernels[queue].lock().wire)
    }

    /// Turns until nothing is on its way, and then every frame is somewhere, once.
    pub(super) fn rest(&mut self) {
        for _ in 0..3 {
            self.complete_all();
            (0..self.ports.len()).for_each(|core| self.turn(core));
        }
        let mut total = 0;
        for port in &self.ports {
            port.pool().audit().unwrap();
            let census = port.pool().census();
            assert_eq!((census.held, census.tx), (0, 0), "core {}", port.core());
            assert_eq!((port.counters().mail_foreign, port.counters().completion_foreign), (0, 0));
            total += census.total as usize;
        }
        assert_eq!(total, FRAMES as usize * self.kernels.len());
        for (queue, kernel) in self.kernels.iter().enumerate() {
            let mut filled: Vec<_> = kernel.lock().fill.iter().copied().collect();
            assert_eq!(filled.len(), 16, "queue {queue}");
            filled.sort_unstable();
            filled.dedup();
            assert_eq!(filled.len(), 16, "queue {queue}");
        }
    }
}

fn fresh(port: &Port<FakeRings>, bytes: &[u8]) -> Frame {
    let mut frame = port.pool().alloc().unwrap();
    frame.buffer_mut()[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    frame
}

#[test]
fn a_received_frame_goes_home_to_the_owner_of_its_fill_ring() {
    let mut nic = Nic::new(1, 2, All);
    for round in 0..40u8 {
        for packet in 0..8 {
            nic.deliver(0, 1, &[round, packet, 7]);
        }
        assert!(nic.receive(0).is_empty(), "it came for the other core");
        let frames = nic.receive(1);
        assert!(frames.iter().map(Frame::bytes).eq((0..8).map(|packet| [round, packet, 7])));
        let census = nic.ports[1].pool().census();
        assert_eq!((census.held, census.is_whole()), (8, true));
        drop(frames);
        nic.ports[0].refill();
        assert_eq!(nic.ports[0].counters().returns, 8 * u64::from(round), "not before the other core's turn is over");
        nic.ports[1].refill();
        nic.ports[0].refill();
        assert_eq!(nic.ports[0].counters().returns, 8 * u64::from(round) + 8);
    }
    nic.rest();
}

#[test]
fn each_core_sends_from_its_share_and_gets_its_frames_back() {
    let mut nic = Nic::new(1, 3, All);
    let shares: Vec<_> = nic.ports.iter().map(|port| port.pool().available()).collect();
    assert_eq!(shares, [14, 13, 13]);
    for core in 0..3u8 {
        let packets = (0..10).map(|i| fresh(&nic.ports[usize::from(core)], &[core, i])).collect::<Vec<_>>();
        let indices: Vec<_> = packets.iter().map(Frame::index).collect();
        nic.send(core.into(), packets);
        assert!(nic.wire(0).into_iter().eq((0..10).map(|i| vec![core, i])));
        nic.complete_all();
        if core > 0 {
            assert!(nic.reclaim(core.into()).is_empty(), "the owner has not looked yet");
            assert!(nic.reclaim(0).is_empty());
            nic.ports[0].refill();
        }
        let mut back: Vec<_> = nic.reclaim(core.into()).iter().map(Frame::index).collect();
        back.sort_unstable();
        assert!(indices.iter().all(|index| back.binary_search(index).is_ok()) && back.len() == 10);
        assert_eq!(nic.ports[usize::from(core)].pool().available(), shares[usize::from(core)]);
    }
    assert_eq!(nic.ports[0].counters().completions_for_others, 20);
    assert!(nic.ports.iter().all(|port| port.counters().completions == 10));
    nic.rest();
}

#[test]
fn a_forwarded_frame_leaves_through_the_queue_that_it_came_by() {
    let mut nic = Nic::new(2, 2, All);
    for round in 0..20u8 {
        // Both queues bring something for core 0.
        nic.deliver(0, 0, &[round, 10]);
        nic.deliver(1, 1, &[round, 11]);
        let mut frames = nic.receive(0);
        assert_eq!(frames.len(), 2);
        frames.push(fresh(&nic.ports[0], &[round, 12]));
        nic.send(0, frames);
        assert_eq!(nic.wire(0), [[round, 10], [round, 12]]);
        assert_eq!(nic.wire(1), [[round, 11]]);
        nic.complete_all();
        assert_eq!(nic.reclaim(0).len(), 2);
        nic.turn(1);
        assert_eq!(nic.reclaim(0).len(), 1);
        nic.turn(0);
        nic.turn(1);
    }
    assert_eq!((nic.ports[1].counters().completions_for_others, nic.ports[1].counters().returns), (20, 20));
    nic.rest();
}

#[test]
fn a_frame_is_handed_to_another_core_and_goes_home_from_there() {
    let mut nic = Nic::new(1, 3, One);
    for round in 0..30u8 {
        nic.deliver(0, 0, &[round, 1]);
        nic.deliver(0, 0, &[round, 2]);
        for (to, frame) in nic.receive(0).into_iter().enumerate() {
            nic.ports[0].hand_off(to + 1, frame).unwrap();
        }
        assert!(nic.receive(1).is_empty(), "not before the turn is over");
        nic.ports[0].kick().unwrap();
        for core in [1, 2] {
            let frames = nic.receive(core);
            assert!(frames.iter().map(Frame::bytes).eq([[round, u8::try_from(core).unwrap()]]));
            drop(frames);
            nic.ports[core].refill();
        }
        nic.turn(0);
    }
    assert_eq!(nic.ports[0].counters().handed_off, 60);
    assert_eq!(nic.ports[1].counters().handed_in + nic.ports[2].counters().handed_in, 60);
    assert_eq!(nic.ports[0].counters().returns, 60);
    nic.rest();
}

#[test]
fn a_frame_of_a_third_cores_fill_ring_goes_home_there_and_may_come_back_to_its_owner() {
    let mut nic = Nic::new(1, 3, All);
    for round in 0..30u8 {
        // For core 1, by the ring of core 0, handed to core 2, and on to core 0.
        nic.deliver(0, 1, &[round]);
        for (from, to) in [(1, 2), (2, 0)] {
            let frame = nic.receive(from).pop().unwrap();
            nic.ports[from].hand_off(to, frame).unwrap();
            nic.ports[from].kick().unwrap();
        }
        let frame = nic.receive(0).pop().unwrap();
        assert_eq!(frame.bytes(), [round]);
        assert_eq!(nic.ports[0].pool().census().held, 1);
        if round % 2 == 0 {
            // The owner may hand it away again.
            nic.ports[0].hand_off(1, frame).unwrap();
            nic.ports[0].kick().unwrap();
            drop(nic.receive(1));
            nic.ports[1].refill();
        }
        nic.ports[0].refill();
    }
    nic.rest();
}

#[test]
fn what_cannot_be_handed_off_stays() {
    let mut nic = Nic::new(1, 2, All);
    let (mut other, _) = FakeRings::queue(8, 2, 0);
    let (owners, shared) = (fresh(&nic.ports[0], b"owner"), fresh(&nic.ports[1], b"share"));
    // A share to send is no frame to receive into; the owner's frames are both.
    let shared = nic.ports[1].hand_off(0, shared).unwrap_err();
    assert_eq!(shared.bytes(), b"share");
    let owners = nic.ports[0].hand_off(0, owners).unwrap_err();
    let owners = nic.ports[0].hand_off(2, owners).unwrap_err();
    let owners = nic.ports[0].hand_off(1 << 20, owners).unwrap_err();
    let owners = other.hand_off(1, owners).unwrap_err();
    assert_eq!(nic.ports[0].counters().hand_off_refused, 3);
    let foreign = nic.ports[0].hand_off(1, fresh(&other, b"foreign")).unwrap_err();
    assert_eq!(foreign.bytes(), b"foreign");
    nic.ports[0].hand_off(1, owners).unwrap();
    nic.ports[0].kick().unwrap();
    assert_eq!(nic.receive(1).pop().unwrap().bytes(), b"owner");
    drop(shared);
    nic.rest();
}

#[test]
fn a_core_that_does_not_look_is_handed_no_more_than_the_bound() {
    let (queues, cores, sockets) = (1, 2, One);
    let (seeds, kernels) = Fake { queues, cores, sockets, frames: 4096, entries: 2048, reserve: 0 }.open();
    let mut ports: Vec<_> = seeds.into_iter().map(crate::PortSeed::into_port).collect();
    let mut refused = 0;
    for _ in 0..1500 {
        assert!(kernels[0].lock().deliver(0, b"packet"));
        let mut out = Vec::new();
        ports[0].rx_burst(&mut out, 1);
        refused += usize::from(ports[0].hand_off(1, out.pop().unwrap()).is_err());
    }
    assert_eq!((refused, ports[0].counters().hand_off_refused), (476, 476));
    ports[0].kick().unwrap();
    let mut out = Vec::new();
    // Without a socket of its own, it takes as many as it wants at once.
    assert_eq!((ports[1].rx_burst(&mut out, 600), ports[1].rx_burst(&mut out, 600)), (600, 424));
    out.clear();
    ports[1].refill();
    ports[0].refill();
    assert_eq!(ports[0].counters().returns, 1024);
    assert_eq!(ports[0].pool().census().fill, 2048);
}

#[test]
fn a_core_without_a_socket_sends_through_the_owner_in_order() {
    let mut nic = Nic::new(1, 2, One);
    assert_eq!((nic.ports[0].sockets().count(), nic.ports[1].sockets().count()), (1, 0));
    assert_eq!((nic.ports[0].queue(), nic.ports[1].queue(), nic.ports[1].mode().to_string()), (4, 4, "copy".into()));
    for round in 0..10u8 {
        let packets = (0..12).map(|i| fresh(&nic.ports[1], &[round, i])).collect::<Vec<_>>();
        nic.send(1, packets);
        assert!(nic.wire(0).is_empty());
        nic.send(0, []);
        assert!(nic.wire(0).into_iter().eq((0..12).map(|i| vec![round, i])));
        nic.complete_all();
        nic.turn(0);
        assert_eq!(nic.reclaim(1).len(), 12);
    }
    assert_eq!((nic.ports[1].counters().tx_through_owner, nic.ports[0].counters().tx_for_others), (120, 120));
    assert_eq!((nic.ports[1].counters().tx_frames, nic.ports[0].counters().tx_frames), (120, 0));
    nic.rest();
}

#[test]
fn a_handed_frame_is_sent_through_its_queues_owner() {
    let mut nic = Nic::new(2, 2, One);
    for round in 0..20u8 {
        nic.deliver(1, 0, &[round]);
        let frame = nic.receive(1).pop().unwrap();
        nic.ports[1].hand_off(0, frame).unwrap();
        nic.ports[1].kick().unwrap();
        let frame = nic.receive(0).pop().unwrap();
        nic.send(0, [frame]);
        nic.send(1, []);
        assert_eq!(nic.wire(1), [[round]]);
        nic.complete_all();
        nic.turn(1);
        assert_eq!(nic.reclaim(0).len(), 1, "it comes back to who sent it");
        nic.ports[0].refill();
        nic.ports[1].refill();
    }
    assert!(nic.wire(0).is_empty());
    nic.rest();
}

#[test]
fn full_rings_hold_up_and_lose_nothing() {
    let mut nic = Nic::new(1, 2, One);
    nic.kernels[0].lock().tx_needs_wakeup = false;
    let own: Vec<_> = (0..16).map(|i| fresh(&nic.ports[0], &[0, i])).collect();
    let others: Vec<_> = (0..20).map(|i| fresh(&nic.ports[1], &[1, i])).collect();
    let mut others = VecDeque::from(others);
    // As many as the owner takes for others at a time; the rest stays.
    assert_eq!((nic.ports[1].tx_burst(&mut others), others.len()), (16, 4));
    assert_eq!(nic.ports[1].tx_burst(&mut others), 0);
    nic.ports[1].kick().unwrap();
    let mut own = VecDeque::from(own);
    // Others have half of the room, and then the ring is full for both.
    assert_eq!((nic.ports[0].tx_burst(&mut own), own.len()), (8, 8));
    assert_eq!(nic.ports[0].tx_burst(&mut own), 0);
    assert_eq!(nic.ports[1].tx_burst(&mut others), 4);
    nic.ports[1].kick().unwrap();
    for _ in 0..4 {
        nic.kernels[0].lock().send(0, 99);
        nic.ports[0].tx_burst(&mut own);
    }
    nic.kernels[0].lock().send(0, 99);
    let wire = nic.wire(0);
    for core in 0..2 {
        let of_core: Vec<_> = wire.iter().filter(|packet| packet[0] == core).map(|packet| packet[1]).collect();
        assert!(of_core.into_iter().eq(0..if core == 0 { 16 } else { 20 }), "core {core}: {wire:?}");
    }
    nic.rest();
    assert_eq!(nic.ports[1].counters().completions, 20);
}

#[test]
fn what_cannot_be_sent_comes_back_whatever_its_way() {
    let mut nic = Nic::new(1, 2, One);
    let (other, _) = FakeRings::queue(8, 2, 0);
    let long = fresh(&nic.ports[1], &[1; MAX_LEN + 1]);
    let empty = nic.ports[1].pool().alloc().unwrap();
    let packets = [empty, fresh(&other, b"x"), fresh(&nic.ports[1], b"good"), long];
    let mut packets = VecDeque::from(packets);
    assert_eq!((nic.ports[1].tx_burst(&mut packets), packets.len()), (1, 0));
    assert_eq!((nic.ports[1].counters().tx_refused, nic.reclaim(1).len()), (3, 2));
    assert_eq!(other.pool().census().held, 0);
    nic.ports[1].kick().unwrap();
    nic.rest();
    assert_eq!(nic.wire(0), [b"good"]);
}

#[test]
fn one_core_serves_several_queues_in_turn() {
    let mut nic = Nic::new(3, 1, All);
    for queue in 0..3u8 {
        for _ in 0..10 {
            nic.deliver(queue.into(), 0, &[queue]);
        }
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut out = Vec::new();
        assert_eq!(nic.ports[0].rx_burst(&mut out, 4), 4);
        seen.push(out[0].bytes()[0]);
    }
    assert_eq!(seen, [0, 1, 2], "none waits for another to be empty");
    let positions: Vec<_> = nic.ports[0].sockets().map(|socket| (socket.queue, socket.position)).collect();
    assert_eq!(positions, [(4, 0), (5, 1), (6, 2)]);
    assert_eq!(nic.receive(0).len(), 18);
    nic.rest();
}

#[test]
fn a_completion_that_nobody_waits_for_is_counted() {
    let mut nic = Nic::new(1, 2, All);
    let stray = nic.kernels[0].lock().region.address(63);
    nic.kernels[0].lock().completion.push_back(stray);
    assert!(nic.reclaim(0).is_empty());
    assert_eq!(nic.ports[0].counters().completion_foreign, 1);
    nic.ports[1].refill();
    assert!(nic.reclaim(1).is_empty());
}

#[test]
fn the_memory_goes_with_the_last_frame_in_any_order_of_ends() {
    // Which of the two ports goes first, and when the frame that core 1 holds is dropped: before, between or after.
    for (first, when) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
        let mut nic = Nic::new(1, 2, All);
        nic.deliver(0, 1, b"held");
        nic.deliver(0, 1, b"mail");
        nic.deliver(0, 0, b"ring");
        let mut frames = nic.receive(1);
        nic.ports[1].hand_off(0, frames.pop().unwrap()).unwrap();
        nic.ports[1].kick().unwrap();
        let sent = fresh(&nic.ports[1], b"sent");
        nic.send(1, [sent]);
        let mut held = frames.pop();
        let Nic { mut ports, kernels } = nic;
        let region = std::sync::Arc::downgrade(&kernels[0].lock().region);
        drop(kernels);
        for end in 0..2 {
            assert!(held.as_ref().is_none_or(|frame| frame.bytes() == b"held"));
            if when == end {
                held = None;
            }
            drop(ports.remove(if end == 0 { first } else { 0 }));
        }
        assert_eq!(region.upgrade().is_some(), held.is_some());
        assert!(held.as_ref().is_none_or(|frame| frame.bytes() == b"held"));
        drop(held);
        assert!(region.upgrade().is_none(), "{first} first, dropped at {when}");
    }
}

#[test]
fn what_a_closed_core_had_goes_home() {
    let mut nic = Nic::new(1, 2, All);
    for packet in [b"a", b"b", b"c"] {
        nic.deliver(0, 1, packet);
    }
    nic.deliver(0, 0, b"d");
    let mut held = nic.receive(1);
    let frame = nic.receive(0).pop().unwrap();
    nic.ports[0].hand_off(1, frame).unwrap();
    nic.ports[0].kick().unwrap();
    drop(held.pop());
    drop(nic.ports.pop());
    nic.ports[0].refill();
    assert_eq!(nic.ports[0].counters().returns, 2, "the dropped one and the one that was handed over");
    held.clear();
    nic.ports[0].refill();
    assert_eq!(nic.ports[0].counters().returns, 4, "also what is dropped when the port is gone");
    assert_eq!(nic.kernels[0].lock().fill.len(), 16);
}
