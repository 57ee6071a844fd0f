//! Two ends joined in memory: what one sends the other receives. For tests, simulations and measuring without a network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use corelane_proto::{Instant, Mac};
use corelane_xdp::{Frame, HeapError, Pool};

use super::{Device, DeviceInfo, LINK_HEADER, Statistics};

/// What both ends are made of.
#[derive(Clone, Debug)]
pub struct MemConfig {
    /// Frames of each end.
    pub frame_count: u32,
    /// Bytes a frame; at least the MTU and 18.
    pub frame_len: usize,
    /// Free frames of each end that only receiving may use.
    pub receive_reserve: u32,
    /// Frames that each end's receive ring and transmit ring hold.
    pub ring: usize,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The Ethernet addresses of the first end and the second.
    pub macs: [Mac; 2],
}

impl Default for MemConfig {
    fn default() -> Self {
        Self {
            frame_count: 4096,
            frame_len: 1792,
            receive_reserve: 512,
            ring: 1024,
            mtu: 1500,
            macs: [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])],
        }
    }
}

/// What arrived at one end, and what was lost in front of it.
struct Inbox {
    frames: VecDeque<Frame>,
    ring_full: u64,
    no_frame: u64,
    too_long: u64,
}

/// One of two ends on the same thread.
///
/// A frame is copied from one end's pool to the other's by [`Device::kick`] and completes with the next
/// [`Device::reclaim`]. What finds the other end's ring full, or no free frame there, is lost, and counted there. When
/// the other end has been dropped, frames go into the void and complete.
pub struct MemDevice {
    info: DeviceInfo,
    pool: Pool,
    ring: usize,
    inbox: Rc<RefCell<Inbox>>,
    peer: Peer,
    outbox: VecDeque<Frame>,
    done: Vec<Frame>,
    counted: Statistics,
}

/// The other end, as far as sending to it goes.
struct Peer {
    pool: Pool,
    ring: usize,
    inbox: Rc<RefCell<Inbox>>,
}

impl Peer {
    fn deliver(&self, bytes: &[u8]) {
        let mut inbox = self.inbox.borrow_mut();
        if inbox.frames.len() >= self.ring {
            inbox.ring_full += 1;
        } else if bytes.len() > self.pool.frame_len() {
            inbox.too_long += 1;
        } else if let Some(mut frame) = self.pool.alloc_for_receive() {
            frame.buffer_mut()[..bytes.len()].copy_from_slice(bytes);
            frame.set_len(bytes.len());
            inbox.frames.push_back(frame);
        } else {
            inbox.no_frame += 1;
        }
    }
}

/// Two joined ends, each with frames of its own.
///
/// # Errors
///
/// When there is no memory for the frames, or their sizes are impossible.
pub fn pair(config: &MemConfig) -> Result<(MemDevice, MemDevice), HeapError> {
    let pool = || Pool::heap_with_reserve(config.frame_count, config.frame_len, config.receive_reserve);
    let pools = [pool()?, pool()?];
    let inbox = || {
        let frames = VecDeque::with_capacity(config.ring);
        Rc::new(RefCell::new(Inbox { frames, ring_full: 0, no_frame: 0, too_long: 0 }))
    };
    let inboxes = [inbox(), inbox()];
    let end = |own: usize, other: usize| MemDevice {
        info: DeviceInfo {
            name: format!("mem{own}"),
            queue: 0,
            mac: config.macs[own],
            // What does not fit into a frame could not be received.
            mtu: config.mtu.min(u32::try_from(config.frame_len).unwrap_or(u32::MAX).saturating_sub(LINK_HEADER)),
            mode: "memory".to_owned(),
        },
        pool: pools[own].clone(),
        ring: config.ring,
        inbox: Rc::clone(&inboxes[own]),
        peer: Peer { pool: pools[other].clone(), ring: config.ring, inbox: Rc::clone(&inboxes[other]) },
        outbox: VecDeque::with_capacity(config.ring),
        done: Vec::with_capacity(config.ring),
        counted: Statistics::default(),
    };
    Ok((end(0, 1), end(1, 0)))
}

impl MemDevice {
    /// How many frames have arrived and were not received yet.
    pub fn arrived(&self) -> usize {
        self.inbox.borrow().frames.len()
    }

    /// How many frames the ring has room for: those that were given back no longer count.
    fn room(&self) -> usize {
        self.ring.saturating_sub(self.outbox.len() + self.done.len())
    }
}

impl Device for MemDevice {
    fn rx_burst(&mut self, _now: Instant, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut inbox = self.inbox.borrow_mut();
        let n = max.min(inbox.frames.len());
        for frame in inbox.frames.drain(..n) {
            self.counted.rx_frames += 1;
            self.counted.rx_bytes += frame.len() as u64;
            out.push(frame);
        }
        n
    }

    fn tx_burst(&mut self, _now: Instant, frames: &mut VecDeque<Frame>) -> usize {
        let n = self.room().min(frames.len());
        for frame in frames.drain(..n) {
            if !self.pool.owns(&frame) {
                self.counted.tx_refused += 1;
            } else if frame.len() == 0 || frame.len() > self.info.max_frame_len() {
                self.counted.tx_refused += 1;
                self.done.push(frame);
            } else {
                self.counted.tx_frames += 1;
                self.counted.tx_bytes += frame.len() as u64;
                self.outbox.push_back(frame);
            }
        }
        n
    }

    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        let n = self.done.len();
        self.counted.completions += n as u64;
        out.append(&mut self.done);
        n
    }

    fn refill(&mut self) -> usize {
        0
    }

    fn kick(&mut self) -> io::Result<()> {
        self.counted.tx_kicks += u64::from(!self.outbox.is_empty());
        for frame in self.outbox.drain(..) {
            self.peer.deliver(frame.bytes());
            self.done.push(frame);
        }
        Ok(())
    }

    /// Never sleeps: the other end is on this very thread, so nothing could arrive meanwhile.
    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<bool> {
        Ok(self.arrived() > 0)
    }

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn statistics(&self) -> Statistics {
        let inbox = self.inbox.borrow();
        Statistics {
            rx_ring_full: inbox.ring_full,
            rx_no_frame: inbox.no_frame,
            rx_too_long: inbox.too_long,
            ..self.counted
        }
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::conformance;
    use super::super::{AnyDevice, Impaired, impair::Impairment};
    use super::*;

    fn small() -> MemConfig {
        MemConfig { frame_count: 256, receive_reserve: 32, ring: 64, ..MemConfig::default() }
    }

    #[test]
    fn conforms() {
        conformance(|| {
            let (a, b) = pair(&small()).unwrap();
            (a, b, ())
        });
    }

    #[test]
    fn conforms_behind_an_impairment_that_does_nothing() {
        conformance(|| {
            let (a, b) = pair(&small()).unwrap();
            let clear = |device| Impaired::new(device, Impairment::default(), Impairment::default(), 1);
            (clear(a), clear(b), ())
        });
    }

    #[test]
    fn conforms_as_any_device() {
        conformance(|| {
            let (a, b) = pair(&small()).unwrap();
            let clear = Impaired::new(AnyDevice::from(b), Impairment::default(), Impairment::default(), 1);
            (AnyDevice::from(a), AnyDevice::from(clear), ())
        });
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let config = MemConfig { frame_count: 48, receive_reserve: 4, ring: 32, ..MemConfig::default() };
        let (mut a, mut b) = pair(&config).unwrap();
        let send = |a: &mut MemDevice, n: usize| {
            let mut frames: VecDeque<_> = std::iter::repeat_with(|| {
                let mut frame = a.pool().alloc().unwrap();
                frame.set_len(60);
                frame
            })
            .take(n)
            .collect();
            assert_eq!(a.tx_burst(Instant::ZERO, &mut frames), n);
            a.kick().unwrap();
            let mut back = Vec::new();
            assert_eq!(a.reclaim(&mut back), n);
        };
        send(&mut a, 32);
        send(&mut a, 3);
        assert_eq!((b.arrived(), b.statistics().rx_ring_full), (32, 3));
        let mut held = Vec::new();
        b.rx_burst(Instant::ZERO, &mut held, 64);
        send(&mut a, 20);
        assert_eq!((b.arrived(), b.statistics().rx_no_frame), (16, 4));
        drop(b);
        send(&mut a, 1);
        a.pool().audit().unwrap();
    }
}
