//! A kernel in plain memory: four rings, a driver that the test drives by hand, and the answers that it shall give.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::bind::ModeInForce;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::umem::Region;

/// How many packets one `sendto` sends, as in the kernel's copy mode (`TX_BATCH_SIZE`).
pub(crate) const KERNEL_BATCH: usize = 32;

/// The longest packet that the fake interface sends.
pub(crate) const MAX_LEN: usize = 200;

/// The kernel's side.
#[derive(Default)]
pub(crate) struct Kernel {
    pub(crate) fill: VecDeque<u32>,
    pub(crate) rx: VecDeque<RxDescriptor>,
    pub(crate) tx: VecDeque<TxDescriptor>,
    pub(crate) completion: VecDeque<u64>,
    /// Taken from the TX ring, not yet in the completion ring.
    pub(crate) in_flight: Vec<u32>,
    /// What went out on the wire.
    pub(crate) wire: Vec<Vec<u8>>,
    pub(crate) rx_entries: usize,
    pub(crate) tx_entries: usize,
    pub(crate) fill_entries: usize,
    pub(crate) completion_entries: usize,
    pub(crate) tx_needs_wakeup: bool,
    pub(crate) fill_needs_wakeup: bool,
    /// What the next kicks answer, before any that work.
    pub(crate) answers: VecDeque<i32>,
    pub(crate) tx_wakes: usize,
    pub(crate) fill_wakes: usize,
    pub(crate) statistics: KernelStatistics,
}

impl Kernel {
    /// A packet comes in; false when it is dropped, which is counted as the kernel would.
    pub(crate) fn deliver(&mut self, region: &Region, packet: &[u8]) -> bool {
        if packet.len() > region.frame_len() {
            self.statistics.rx_dropped += 1;
            return false;
        }
        if self.rx.len() == self.rx_entries {
            self.statistics.rx_ring_full += 1;
            return false;
        }
        let Some(index) = self.fill.pop_front() else {
            self.statistics.rx_fill_ring_empty_descs += 1;
            return false;
        };
        // SAFETY: the frame is in the fill ring, so no `Frame` names it, and the packet fits.
        unsafe { region.frame(index).copy_from_nonoverlapping(packet.as_ptr(), packet.len()) };
        let len = u32::try_from(packet.len()).unwrap();
        self.rx.push_back(RxDescriptor { addr: region.address(index), len, continues: false });
        true
    }

    /// The driver takes up to `max` packets from the TX ring and puts them on the wire.
    pub(crate) fn send(&mut self, region: &Region, max: usize) -> usize {
        let n = max.min(self.tx.len());
        for packet in self.tx.drain(..n) {
            // SAFETY: the frame is in the TX ring, so no `Frame` names it, and the length was checked.
            let bytes = unsafe { std::slice::from_raw_parts(region.frame(packet.index), packet.len as usize) };
            self.wire.push(bytes.to_vec());
            self.in_flight.push(packet.index);
        }
        n
    }

    /// The `nth` of the packets in flight is done: completions need not keep the order.
    pub(crate) fn complete(&mut self, region: &Region, nth: usize) -> bool {
        if self.in_flight.is_empty() || self.completion.len() == self.completion_entries {
            return false;
        }
        let index = self.in_flight.remove(nth % self.in_flight.len());
        self.completion.push_back(region.address(index));
        true
    }
}

/// The program's side of the fake rings.
pub(crate) struct FakeRings {
    pub(crate) kernel: Rc<RefCell<Kernel>>,
    pool: Pool,
}

impl FakeRings {
    /// A queue of `frames` frames whose rings have `entries` entries each, and its kernel. Wake-ups are wanted.
    pub(crate) fn queue(frames: u32, entries: usize, reserve: u32) -> (Queue<Self>, Rc<RefCell<Kernel>>) {
        let pool = Pool::heap_with_reserve(frames, 256, reserve).unwrap();
        let kernel = Kernel {
            rx_entries: entries,
            tx_entries: entries,
            fill_entries: entries,
            completion_entries: entries,
            tx_needs_wakeup: true,
            ..Kernel::default()
        };
        let kernel = Rc::new(RefCell::new(kernel));
        let rings = Self { kernel: Rc::clone(&kernel), pool: pool.clone() };
        (Queue::over(rings, pool, ModeInForce::Copy, MAX_LEN), kernel)
    }
}

impl Rings for FakeRings {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        let mut kernel = self.kernel.borrow_mut();
        let n = out.len().min(kernel.rx.len());
        for (to, from) in out.iter_mut().zip(kernel.rx.drain(..n)) {
            *to = from;
        }
        n
    }

    fn completed(&mut self, out: &mut [u64]) -> usize {
        let mut kernel = self.kernel.borrow_mut();
        let n = out.len().min(kernel.completion.len());
        for (to, from) in out.iter_mut().zip(kernel.completion.drain(..n)) {
            *to = from;
        }
        n
    }

    fn fill_room(&mut self, _wanted: usize) -> usize {
        let kernel = self.kernel.borrow();
        kernel.fill_entries - kernel.fill.len()
    }

    fn fill(&mut self, indices: &[u32]) {
        assert!(indices.len() <= self.fill_room(0), "more than fits into the fill ring");
        self.kernel.borrow_mut().fill.extend(indices);
    }

    fn transmit_room(&mut self, _wanted: usize) -> usize {
        let kernel = self.kernel.borrow();
        kernel.tx_entries - kernel.tx.len()
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        assert!(packets.len() <= self.transmit_room(0), "more than fits into the TX ring");
        self.kernel.borrow_mut().tx.extend(packets);
    }

    fn transmit_pending(&mut self) -> usize {
        self.kernel.borrow().tx.len()
    }

    fn transmit_needs_wakeup(&self) -> bool {
        self.kernel.borrow().tx_needs_wakeup
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.kernel.borrow().fill_needs_wakeup
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.tx_wakes += 1;
        if let Some(errno) = kernel.answers.pop_front() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        kernel.send(self.pool.shared().region(), KERNEL_BATCH);
        if kernel.tx.is_empty() { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EAGAIN)) }
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.fill_wakes += 1;
        match kernel.answers.pop_front() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<bool> {
        Ok(!self.kernel.borrow().rx.is_empty())
    }

    fn statistics(&self) -> io::Result<KernelStatistics> {
        Ok(self.kernel.borrow().statistics)
    }
}
