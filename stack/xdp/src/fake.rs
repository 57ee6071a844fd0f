//! A kernel in plain memory: the rings of a queue, a driver that the test drives by hand, and the answers that it shall
//! give.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard};

use crate::bind::{BusyPollInForce, ModeInForce};
use crate::plan::{Plan, QueueSize, SocketsPerQueue};
use crate::port::Port;
use crate::ports::{BoundQueue, BoundSocket, PortSeed, assemble};
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::sync::Arc;
use crate::umem::Region;

/// How many packets one `sendto` sends, as in the kernel's copy mode (`TX_BATCH_SIZE`).
pub(crate) const KERNEL_BATCH: usize = 32;

/// The longest packet that the fake interface sends.
pub(crate) const MAX_LEN: usize = 200;

/// Bytes a frame.
pub(crate) const FRAME_LEN: usize = 256;

/// The kernel's side of one socket.
#[derive(Default)]
pub(crate) struct Side {
    pub(crate) rx: VecDeque<RxDescriptor>,
    pub(crate) tx: VecDeque<TxDescriptor>,
}

/// The kernel's side of one queue.
pub(crate) struct Kernel {
    pub(crate) region: Arc<Region>,
    pub(crate) fill: VecDeque<u32>,
    pub(crate) completion: VecDeque<u64>,
    /// In the order of their making: the owner's first.
    pub(crate) sockets: Vec<Side>,
    /// Taken from a TX ring, not yet in the completion ring.
    pub(crate) in_flight: Vec<u32>,
    /// What went out on the wire.
    pub(crate) wire: Vec<Vec<u8>>,
    /// Of each ring.
    pub(crate) entries: usize,
    pub(crate) tx_needs_wakeup: bool,
    pub(crate) fill_needs_wakeup: bool,
    /// What the next kicks answer, before any that work.
    pub(crate) answers: VecDeque<i32>,
    pub(crate) tx_wakes: usize,
    pub(crate) fill_wakes: usize,
    pub(crate) statistics: KernelStatistics,
}

impl Kernel {
    /// A packet comes in for a socket; false when it is dropped, which is counted as the kernel would.
    pub(crate) fn deliver(&mut self, socket: usize, packet: &[u8]) -> bool {
        if packet.len() > self.region.frame_len() {
            self.statistics.rx_dropped += 1;
            return false;
        }
        if self.sockets[socket].rx.len() == self.entries {
            self.statistics.rx_ring_full += 1;
            return false;
        }
        let Some(index) = self.fill.pop_front() else {
            self.statistics.rx_fill_ring_empty_descs += 1;
            return false;
        };
        // SAFETY: the frame is in the fill ring, so no `Frame` names it, and the packet fits.
        unsafe { self.region.frame(index).copy_from_nonoverlapping(packet.as_ptr(), packet.len()) };
        let len = u32::try_from(packet.len()).unwrap();
        let addr = self.region.address(index);
        self.sockets[socket].rx.push_back(RxDescriptor { addr, len, continues: false });
        true
    }

    /// The driver takes up to `max` packets from a TX ring and puts them on the wire.
    pub(crate) fn send(&mut self, socket: usize, max: usize) -> usize {
        let n = max.min(self.sockets[socket].tx.len());
        for packet in self.sockets[socket].tx.drain(..n) {
            // SAFETY: the frame is in the TX ring, so no `Frame` names it, and the length was checked.
            let bytes = unsafe { std::slice::from_raw_parts(self.region.frame(packet.index), packet.len as usize) };
            self.wire.push(bytes.to_vec());
            self.in_flight.push(packet.index);
        }
        n
    }

    /// The `nth` of the packets in flight is done: completions need not keep the order.
    pub(crate) fn complete(&mut self, nth: usize) -> bool {
        if self.in_flight.is_empty() || self.completion.len() == self.entries {
            return false;
        }
        let index = self.in_flight.remove(nth % self.in_flight.len());
        self.completion.push_back(self.region.address(index));
        true
    }
}

/// A handle to one queue's kernel.
#[derive(Clone)]
pub(crate) struct FakeKernel(Arc<Mutex<Kernel>>);

impl FakeKernel {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap()
    }
}

/// The program's side of the fake rings of one socket.
pub(crate) struct FakeRings {
    kernel: FakeKernel,
    socket: usize,
}

/// What a fake interface is made of.
#[derive(Clone, Copy)]
pub(crate) struct Fake {
    pub(crate) queues: usize,
    pub(crate) cores: usize,
    pub(crate) sockets: SocketsPerQueue,
    /// Of each queue.
    pub(crate) frames: u32,
    /// Of each ring.
    pub(crate) entries: usize,
    pub(crate) reserve: u32,
}

impl Fake {
    /// The parts of all cores and the kernels of all queues. Wake-ups are wanted.
    pub(crate) fn open(self) -> (Vec<PortSeed<FakeRings>>, Vec<FakeKernel>) {
        let Self { queues, cores, sockets, frames, entries, reserve } = self;
        let fill = u32::try_from(entries).unwrap();
        let plan = Plan::new(&vec![QueueSize { frames, fill, reserve }; queues], cores, sockets);
        let (mut bound, mut kernels) = (Vec::new(), Vec::new());
        for position in 0..queues {
            let region = Arc::new(Region::heap(frames, FRAME_LEN).unwrap());
            let owner = plan.owner(position);
            let others = (0..cores).filter(|core| *core != owner && plan.has_socket(*core, position));
            let on: Vec<usize> = std::iter::once(owner).chain(others).collect();
            let kernel = FakeKernel(Arc::new(Mutex::new(Kernel {
                region: Arc::clone(&region),
                fill: VecDeque::new(),
                completion: VecDeque::new(),
                sockets: on.iter().map(|_| Side::default()).collect(),
                in_flight: Vec::new(),
                wire: Vec::new(),
                entries,
                tx_needs_wakeup: true,
                fill_needs_wakeup: false,
                answers: VecDeque::new(),
                tx_wakes: 0,
                fill_wakes: 0,
                statistics: KernelStatistics::default(),
            })));
            let sockets = on.into_iter().enumerate().map(|(socket, core)| BoundSocket {
                core,
                rings: FakeRings { kernel: kernel.clone(), socket },
                mode: ModeInForce::Copy,
                busy_poll: BusyPollInForce::Off,
            });
            let queue = u32::try_from(position).unwrap() + 4;
            bound.push(BoundQueue { queue, region, sockets: sockets.collect() });
            kernels.push(kernel);
        }
        (assemble(&Arc::new(plan), bound, entries, &[MAX_LEN]).unwrap(), kernels)
    }
}

impl FakeRings {
    /// One core's port of one queue of `frames` frames whose rings have `entries` entries each, and its kernel.
    pub(crate) fn queue(frames: u32, entries: usize, reserve: u32) -> (Port<Self>, FakeKernel) {
        let (queues, cores, sockets) = (1, 1, SocketsPerQueue::One);
        let (seeds, kernels) = Fake { queues, cores, sockets, frames, entries, reserve }.open();
        (seeds.into_iter().next().unwrap().into_port(), kernels.into_iter().next().unwrap())
    }

    /// Whether these are the owner's.
    fn is_owner(&self) -> bool {
        self.socket == 0
    }
}

impl Rings for FakeRings {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        let mut kernel = self.kernel.lock();
        let rx = &mut kernel.sockets[self.socket].rx;
        let n = out.len().min(rx.len());
        for (to, from) in out.iter_mut().zip(rx.drain(..n)) {
            *to = from;
        }
        n
    }

    fn completed(&mut self, out: &mut [u64]) -> usize {
        assert!(self.is_owner(), "the completion ring is the owner's");
        let mut kernel = self.kernel.lock();
        let n = out.len().min(kernel.completion.len());
        for (to, from) in out.iter_mut().zip(kernel.completion.drain(..n)) {
            *to = from;
        }
        n
    }

    fn fill_room(&mut self, _wanted: usize) -> usize {
        assert!(self.is_owner(), "the fill ring is the owner's");
        let kernel = self.kernel.lock();
        kernel.entries - kernel.fill.len()
    }

    fn fill(&mut self, indices: &[u32]) {
        assert!(indices.len() <= self.fill_room(0), "more than fits into the fill ring");
        self.kernel.lock().fill.extend(indices);
    }

    fn transmit_room(&mut self, _wanted: usize) -> usize {
        let kernel = self.kernel.lock();
        kernel.entries - kernel.sockets[self.socket].tx.len()
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        assert!(packets.len() <= self.transmit_room(0), "more than fits into the TX ring");
        self.kernel.lock().sockets[self.socket].tx.extend(packets);
    }

    fn transmit_pending(&mut self) -> usize {
        self.kernel.lock().sockets[self.socket].tx.len()
    }

    fn transmit_needs_wakeup(&self) -> bool {
        self.kernel.lock().tx_needs_wakeup
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.kernel.lock().fill_needs_wakeup
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        let mut kernel = self.kernel.lock();
        kernel.tx_wakes += 1;
        if let Some(errno) = kernel.answers.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        kernel.send(self.socket, KERNEL_BATCH);
        let done = kernel.sockets[self.socket].tx.is_empty();
        if done { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EAGAIN)) }
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        let mut kernel = self.kernel.lock();
        kernel.fill_wakes += 1;
        match kernel.answers.pop_front() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn is_ready(&mut self) -> bool {
        !self.kernel.lock().sockets[self.socket].rx.is_empty()
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn statistics(&self) -> io::Result<KernelStatistics> {
        Ok(self.kernel.lock().statistics)
    }
}
