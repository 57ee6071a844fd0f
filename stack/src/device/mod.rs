//! Where frames come from and go to: one trait, and the devices that have it.
//!
//! A device takes and gives owned [`Frame`]s of its own [`Pool`]. Whoever runs one does, once a turn and in this order:
//! [`rx_burst`](Device::rx_burst), [`tx_burst`](Device::tx_burst), [`kick`](Device::kick),
//! [`reclaim`](Device::reclaim), [`refill`](Device::refill); and [`wait`](Device::wait) when there was nothing to do.
//!
//! A new device is a file here, a variant of [`AnyDevice`], and a test that runs the conformance suite over it.

#[cfg(test)]
mod conformance;
pub mod impair;
pub mod mem;
mod statistics;
pub mod store;
pub mod xdp;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use corelane_proto::{Instant, Mac};
use corelane_xdp::{Frame, Pool};

pub use impair::Impaired;
pub use mem::MemDevice;
pub use statistics::Statistics;
pub use store::Store;
pub use xdp::XdpDevice;

/// Ethernet's header and one VLAN tag, in bytes: what a frame may have beside the MTU.
const LINK_HEADER: u32 = 18;

/// What a device is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// The interface's name, or what stands for it.
    pub name: String,
    /// The queue of the interface that the core sends on, from 0.
    pub queue: u32,
    /// The Ethernet address.
    pub mac: Mac,
    /// The MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// How packets get from and to the frames, as it was read back: `zero-copy`, `copy` or `memory`.
    pub mode: String,
}

impl DeviceInfo {
    /// The longest frame that the device sends, in bytes: the MTU, Ethernet's header and a VLAN tag.
    pub const fn max_frame_len(&self) -> usize {
        (self.mtu + LINK_HEADER) as usize
    }
}

/// One core's part of an interface, in owned frames. Everything is non-blocking except [`Device::wait`].
pub trait Device {
    /// Appends up to `max` received frames to `out`, in the order of their arrival; says how many.
    fn rx_burst(&mut self, now: Instant, out: &mut Vec<Frame>, max: usize) -> usize;

    /// Takes frames from the front of `frames`, as many as there is room for; says how many. To be called once a turn
    /// even without frames, since a device may have some whose time has come.
    ///
    /// Each frame that it takes comes back from [`Device::reclaim`] exactly once, whether it could be sent or not: one
    /// that is longer than [`DeviceInfo::max_frame_len`], or empty, is counted as refused. Frames of another device's
    /// pool return there.
    fn tx_burst(&mut self, now: Instant, frames: &mut VecDeque<Frame>) -> usize;

    /// Appends the frames that the device is done with to `out`, with their bytes as they were; says how many.
    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize;

    /// Makes free frames of the pool ready to receive into; says how many.
    fn refill(&mut self) -> usize;

    /// Has sent what was given to [`Device::tx_burst`].
    ///
    /// # Errors
    ///
    /// When the device is gone for good. What passes (a full buffer, an interface that is down) is counted.
    fn kick(&mut self) -> io::Result<()>;

    /// Gives a received frame to core `core` of the same interface, which gets it from its own [`Device::rx_burst`]. It
    /// leaves with the next [`Device::kick`] or [`Device::refill`].
    ///
    /// # Errors
    ///
    /// The frame, when there is no such core, or it has more than it takes already: the caller counts a drop.
    fn hand_off(&mut self, core: usize, frame: Frame) -> Result<(), Frame> {
        let _ = core;
        Err(frame)
    }

    /// Leaves the interface to another process: nothing is received or sent any more, and the frames stay.
    fn close_sockets(&mut self) {}

    /// Has the other process have what this one had, once all cores have closed their sockets.
    ///
    /// # Errors
    ///
    /// When the kernel still holds it.
    fn free_queues(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Sleeps until a frame may have arrived (true), or `timeout` is over (false). May return false early.
    ///
    /// # Errors
    ///
    /// When the device cannot be waited for.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool>;

    /// When the device has something to do by itself and wants its next [`Device::rx_burst`] and
    /// [`Device::tx_burst`]; none when only a frame or a call can change anything.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What the device is; of one with several interfaces, the first.
    fn info(&self) -> &DeviceInfo;

    /// Every interface of the device, in the order of their numbers: a frame of its pool says by which it came, or can go
    /// ([`Frame::interface`]).
    fn interfaces(&self) -> &[DeviceInfo] {
        std::slice::from_ref(self.info())
    }

    /// What of [`Device::statistics`] is known of one interface alone.
    fn statistics_of(&self, interface: usize) -> Statistics {
        if interface == 0 { self.statistics() } else { Statistics::default() }
    }

    /// What happened, since the start.
    fn statistics(&self) -> Statistics;

    /// The frames.
    fn pool(&self) -> &Pool;
}

/// Every device there is, so that the packet path calls it directly instead of through a table.
// One exists per worker, for as long as the worker: its size is of no matter.
#[expect(clippy::large_enum_variant, reason = "a box would cost a pointer to follow for each burst")]
pub enum AnyDevice {
    /// A core's part of a network interface.
    Xdp(XdpDevice),
    /// One of two ends joined in memory.
    Mem(MemDevice),
    /// Any device, on a bad network.
    Impaired(Box<Impaired<AnyDevice>>),
}

/// Calls the same method of whichever device it is.
macro_rules! each {
    ($any:expr, $device:ident => $call:expr) => {
        match $any {
            AnyDevice::Xdp($device) => $call,
            AnyDevice::Mem($device) => $call,
            AnyDevice::Impaired($device) => $call,
        }
    };
}

impl Device for AnyDevice {
    fn rx_burst(&mut self, now: Instant, out: &mut Vec<Frame>, max: usize) -> usize {
        each!(self, device => device.rx_burst(now, out, max))
    }

    fn tx_burst(&mut self, now: Instant, frames: &mut VecDeque<Frame>) -> usize {
        each!(self, device => device.tx_burst(now, frames))
    }

    fn reclaim(&mut self, out: &mut Vec<Frame>) -> usize {
        each!(self, device => device.reclaim(out))
    }

    fn refill(&mut self) -> usize {
        each!(self, device => device.refill())
    }

    fn kick(&mut self) -> io::Result<()> {
        each!(self, device => device.kick())
    }

    fn hand_off(&mut self, core: usize, frame: Frame) -> Result<(), Frame> {
        each!(self, device => device.hand_off(core, frame))
    }

    fn close_sockets(&mut self) {
        each!(self, device => device.close_sockets());
    }

    fn free_queues(&mut self) -> io::Result<()> {
        each!(self, device => device.free_queues())
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        each!(self, device => device.wait(timeout))
    }

    fn deadline(&self) -> Option<Instant> {
        each!(self, device => device.deadline())
    }

    fn info(&self) -> &DeviceInfo {
        each!(self, device => device.info())
    }

    fn interfaces(&self) -> &[DeviceInfo] {
        each!(self, device => device.interfaces())
    }

    fn statistics_of(&self, interface: usize) -> Statistics {
        each!(self, device => device.statistics_of(interface))
    }

    fn statistics(&self) -> Statistics {
        each!(self, device => device.statistics())
    }

    fn pool(&self) -> &Pool {
        each!(self, device => device.pool())
    }
}

impl From<XdpDevice> for AnyDevice {
    fn from(device: XdpDevice) -> Self {
        Self::Xdp(device)
    }
}

impl From<MemDevice> for AnyDevice {
    fn from(device: MemDevice) -> Self {
        Self::Mem(device)
    }
}

impl From<Impaired<Self>> for AnyDevice {
    fn from(device: Impaired<Self>) -> Self {
        Self::Impaired(Box::new(device))
    }
}
