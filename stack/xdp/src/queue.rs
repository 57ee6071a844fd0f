//! One queue: its rings, its frames, and what happened to them.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::bind::ModeInForce;
use crate::frame::Frame;
use crate::pool::{Pool, State};
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::xsk::Xsk;

/// How many descriptors move between a ring and the program at once.
const BATCH: usize = 64;

/// What the queue itself counted, in frames unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Received and handed out.
    pub rx_frames: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Received, but the descriptor named no frame of ours that was in the fill ring: nothing to give out.
    pub rx_foreign: u64,
    /// Received in a frame of ours, but with an impossible start or length, or in several pieces: freed unseen.
    pub rx_malformed: u64,
    /// Put into the TX ring.
    pub tx_frames: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Refused by [`Queue::tx_burst`]: without a byte, longer than the interface sends, or from another pool.
    pub tx_refused: u64,
    /// Sent and given back by the kernel.
    pub completions: u64,
    /// Completed, but the address named no frame of ours that was in the TX ring.
    pub completion_foreign: u64,
    /// Calls of the kernel to send.
    pub tx_kicks: u64,
    /// Calls of the kernel to look at the fill ring.
    pub fill_kicks: u64,
    /// Kicks answered with EAGAIN: the kernel's batch was full, or its buffer is.
    pub kick_again: u64,
    /// Kicks answered with EBUSY: the driver is at work already.
    pub kick_busy: u64,
    /// Kicks answered with ENOBUFS: the kernel had no memory.
    pub kick_no_buffers: u64,
    /// Kicks answered with ENETDOWN: the interface is down.
    pub kick_down: u64,
}

/// What the queue and the kernel counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// By this process.
    pub queue: Counters,
    /// By the kernel, since the socket was made.
    pub kernel: KernelStatistics,
}

/// The fill, completion, RX and TX rings of one (interface, queue), on a UMEM of their own.
///
/// The frames that it receives come from the fill ring, which [`Queue::refill`] tops up from the pool; the frames that
/// it sends come back by [`Queue::reclaim`]. One turn is: `rx_burst`, `tx_burst`, `kick`, `reclaim`, `refill`.
/// It stays on its core. Dropping it closes the socket; detach the XDP program before that.
pub struct Queue<R: Rings = Xsk> {
    pub(crate) rings: R,
    pool: Pool,
    mode: ModeInForce,
    max_len: usize,
    counters: Counters,
    /// Frames that were refused, for the next [`Queue::reclaim`].
    refused: Vec<Frame>,
    rx_scratch: [RxDescriptor; BATCH],
    tx_scratch: Vec<TxDescriptor>,
    fill_scratch: Vec<u32>,
    address_scratch: [u64; BATCH],
}

impl<R: Rings> Queue<R> {
    /// A queue over `rings`, whose addresses are those of `pool`'s region, for packets of up to `max_len` bytes. The
    /// fill ring is filled at once.
    pub(crate) fn over(rings: R, pool: Pool, mode: ModeInForce, max_len: usize) -> Self {
        let mut queue = Self {
            rings,
            pool,
            mode,
            max_len,
            counters: Counters::default(),
            refused: Vec::with_capacity(BATCH),
            rx_scratch: [RxDescriptor::default(); BATCH],
            tx_scratch: Vec::with_capacity(BATCH),
            fill_scratch: Vec::with_capacity(BATCH),
            address_scratch: [0; BATCH],
        };
        queue.refill();
        queue
    }

    /// Appends up to `max` received frames to `out`; says how many.
    pub fn rx_burst(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut taken = 0;
        while taken < max {
            let want = (max - taken).min(BATCH);
            let got = self.rings.receive(&mut self.rx_scratch[..want]);
            for i in 0..got {
                taken += usize::from(self.accept(self.rx_scratch[i], out));
            }
            if got < want {
                break;
            }
        }
        self.pool.shared().debug_check();
        taken
    }

    /// Turns one descriptor into a frame. What the ring says is not trusted: a frame is made only from an index that
    /// was in the fill ring, and only of bytes inside of it.
    fn accept(&mut self, descriptor: RxDescriptor, out: &mut Vec<Frame>) -> bool {
        let shared = self.pool.shared();
        let Some((index, start)) = shared.region().locate(descriptor.addr) else {
            self.counters.rx_foreign += 1;
            return false;
        };
        if !shared.shift(index, State::Fill, State::Held) {
            self.counters.rx_foreign += 1;
            return false;
        }
        // Packets begin at byte 0 of a frame: our XDP program never moves their start.
        if start != 0 || descriptor.len as usize > shared.region().frame_len() || descriptor.continues {
            self.counters.rx_malformed += 1;
            shared.discard(index, State::Held);
            return false;
        }
        self.counters.rx_frames += 1;
        self.counters.rx_bytes += u64::from(descriptor.len);
        out.push(Frame::held(Rc::clone(shared), index, descriptor.len));
        true
    }

    /// Puts frames from the front of `frames` into the TX ring, as many as fit; says how many went in. Frames that can
    /// never be sent (without a byte, or longer than the interface sends) are counted as refused and come back with the
    /// next [`Queue::reclaim`]; one from another pool returns there at once.
    ///
    /// The kernel may need a [`Queue::kick`] to send them.
    pub fn tx_burst(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        let mut sent = 0;
        while !frames.is_empty() {
            let room = self.rings.transmit_room(frames.len().min(BATCH)).min(BATCH);
            if room == 0 {
                break;
            }
            self.tx_scratch.clear();
            while self.tx_scratch.len() < room {
                let Some(frame) = frames.pop_front() else { break };
                self.hand_over(frame);
            }
            self.rings.transmit(&self.tx_scratch);
            sent += self.tx_scratch.len();
        }
        self.pool.shared().debug_check();
        sent
    }

    /// Moves one frame to the kernel's side and notes its descriptor. The frame is dropped here and stays with the
    /// kernel, unless it is refused.
    fn hand_over(&mut self, frame: Frame) {
        let shared = self.pool.shared();
        if !frame.is_of(shared) {
            self.counters.tx_refused += 1;
            return;
        }
        if frame.len() == 0 || frame.len() > self.max_len || !shared.shift(frame.index(), State::Held, State::Tx) {
            self.counters.tx_refused += 1;
            self.refused.push(frame);
            return;
        }
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += frame.len() as u64;
        // A frame is less than 64 KiB long.
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.tx_scratch.push(TxDescriptor { index: frame.index(), len });
    }

    /// Appends the frames that the kernel has sent to `out`, with the bytes that were in them and length 0, after those
    /// that were refused; says how many. Each frame that [`Queue::tx_burst`] took comes back once.
    pub fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        let mut reclaimed = self.refused.len();
        out.append(&mut self.refused);
        loop {
            let got = self.rings.completed(&mut self.address_scratch);
            for i in 0..got {
                reclaimed += usize::from(self.complete(self.address_scratch[i], out));
            }
            if got < BATCH {
                break;
            }
        }
        self.pool.shared().debug_check();
        reclaimed
    }

    fn complete(&mut self, addr: u64, out: &mut Vec<Frame>) -> bool {
        let shared = self.pool.shared();
        let located = shared.region().locate(addr);
        let Some(index) = located.map(|at| at.0).filter(|index| shared.shift(*index, State::Tx, State::Held)) else {
            self.counters.completion_foreign += 1;
            return false;
        };
        self.counters.completions += 1;
        out.push(Frame::held(Rc::clone(shared), index, 0));
        true
    }

    /// Tops up the fill ring from the pool's free frames, the reserve included, and tells the kernel when it asked for
    /// that; says how many frames went in.
    pub fn refill(&mut self) -> usize {
        let mut filled = 0;
        loop {
            let room = self.rings.fill_room(BATCH).min(BATCH);
            self.fill_scratch.clear();
            self.pool.shared().take_for_fill(room, &mut self.fill_scratch);
            if self.fill_scratch.is_empty() {
                break;
            }
            self.rings.fill(&self.fill_scratch);
            filled += self.fill_scratch.len();
        }
        self.pool.shared().debug_check();
        if filled > 0 && self.rings.fill_needs_wakeup() {
            self.counters.fill_kicks += 1;
            if let Err(error) = self.rings.wake_fill() {
                // Nothing is lost: the flag stays set and the next refill or wait wakes the driver.
                self.note(&error);
            }
        }
        filled
    }

    /// Has the kernel send what is in the TX ring, if it needs to be told. In copy mode one call sends no more than a
    /// kernel's batch and answers EAGAIN when more is left, so it is called again for as long as that gets anywhere.
    /// EAGAIN, EBUSY, ENOBUFS and ENETDOWN are counted, not reported: the frames stay in the ring for the next kick.
    ///
    /// # Errors
    ///
    /// Anything else that `sendto(2)` answers, such as ENXIO after the interface went away.
    pub fn kick(&mut self) -> io::Result<()> {
        let mut pending = self.rings.transmit_pending();
        while pending > 0 && self.rings.transmit_needs_wakeup() {
            self.counters.tx_kicks += 1;
            let Err(error) = self.rings.wake_transmit() else { break };
            if !self.note(&error) {
                return Err(error);
            }
            let left = self.rings.transmit_pending();
            if error.raw_os_error() != Some(libc::EAGAIN) || left >= pending {
                break;
            }
            pending = left;
        }
        Ok(())
    }

    /// Counts an answer that means "not now"; false for any other.
    fn note(&mut self, error: &io::Error) -> bool {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN) => &mut self.counters.kick_again,
            Some(libc::EBUSY) => &mut self.counters.kick_busy,
            Some(libc::ENOBUFS) => &mut self.counters.kick_no_buffers,
            Some(libc::ENETDOWN) => &mut self.counters.kick_down,
            _ => return false,
        };
        *counter += 1;
        true
    }

    /// Sleeps in `ppoll(2)` until a packet is there (true), or `timeout` is over or a signal came (false). Without a
    /// timeout it sleeps for as long as it takes.
    ///
    /// # Errors
    ///
    /// What `ppoll(2)` says, other than EINTR.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.rings.wait(timeout)
    }

    /// What was counted by this queue and, for its socket, by the kernel.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` says to `XDP_STATISTICS`.
    pub fn statistics(&self) -> io::Result<Statistics> {
        Ok(Statistics { queue: self.counters, kernel: self.rings.statistics()? })
    }

    /// What was counted by this queue, without asking the kernel.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The mode in force, read back from the kernel after binding.
    pub fn mode(&self) -> ModeInForce {
        self.mode
    }

    /// The longest packet that can be sent, in bytes.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The pool whose frames this queue receives into and sends.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
