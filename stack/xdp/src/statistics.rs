//! What a port and the kernel count.

use std::io;

use crate::rings::KernelStatistics;

/// What a port itself counted, in frames unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Received from the sockets of this core and handed out.
    pub rx_frames: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Received, but the descriptor named no frame that was to be received into: nothing to give out.
    pub rx_foreign: u64,
    /// Received in a frame of ours, but with an impossible start or length, or in several pieces: freed unseen.
    pub rx_malformed: u64,
    /// Put into a TX ring, or given to the core that does so for this one.
    pub tx_frames: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Refused by [`Port::tx_burst`](crate::Port::tx_burst): without a byte, longer than the interface sends, or from
    /// another pool.
    pub tx_refused: u64,
    /// Those of `tx_frames` that went to the core that has the socket.
    pub tx_through_owner: u64,
    /// Put into a TX ring for cores that have no socket there. Not among `tx_frames`.
    pub tx_for_others: u64,
    /// Sent for this core and given back by the kernel.
    pub completions: u64,
    /// Given back by the kernel and passed on to the core that they are of.
    pub completions_for_others: u64,
    /// Completed, but the address named no frame that was in a TX ring.
    pub completion_foreign: u64,
    /// Handed to other cores.
    pub handed_off: u64,
    /// Not handed to another core, which has as many as it may have already, or does not exist.
    pub hand_off_refused: u64,
    /// Received by other cores and handed to this one. Not among `rx_frames`.
    pub handed_in: u64,
    /// Come home from other cores to be received into again.
    pub returns: u64,
    /// Other cores' messages about frames that cannot be where they say: none, unless there is a bug.
    pub mail_foreign: u64,
    /// Calls of the kernel to wake another core.
    pub wakes: u64,
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

impl Counters {
    /// Counts an answer to a kick that means "not now"; false for any other.
    pub(crate) fn note(&mut self, error: &io::Error) -> bool {
        let counter = match error.raw_os_error() {
            Some(libc::EAGAIN) => &mut self.kick_again,
            Some(libc::EBUSY) => &mut self.kick_busy,
            Some(libc::ENOBUFS) => &mut self.kick_no_buffers,
            Some(libc::ENETDOWN) => &mut self.kick_down,
            _ => return false,
        };
        *counter += 1;
        true
    }
}

/// What went by one interface, of what a port counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Received from the sockets of this core and handed out.
    pub rx_frames: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// Put into a TX ring, or given to the core that does so for this one.
    pub tx_frames: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
}

/// What a port and the kernel counted of one interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InterfaceStatistics {
    /// By this process, on this core.
    pub traffic: Traffic,
    /// By the kernel, for the sockets of this core on it, since they were made.
    pub kernel: KernelStatistics,
}

/// What a port and the kernel counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statistics {
    /// By this process, on this core.
    pub port: Counters,
    /// By the kernel, for all sockets of this core, since they were made.
    pub kernel: KernelStatistics,
}
