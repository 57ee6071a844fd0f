//! The rings of a socket as [`Port`](crate::Port) sees them: those of the kernel, or the fake ones of the tests.

use std::io;
use std::ops::AddAssign;
use std::os::fd::RawFd;

/// A received packet as the RX ring describes it. Nothing in it has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxDescriptor {
    /// Where the packet begins, in bytes from the start of the UMEM.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// Whether the packet goes on in the next descriptor (multi-buffer, which is not asked for).
    pub continues: bool,
}

/// A packet for the TX ring: the first `len` bytes of frame `index`, counted from the start of the UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxDescriptor {
    /// The frame.
    pub index: u32,
    /// Bytes, at least 1 and at most a frame.
    pub len: u32,
}

/// `XDP_STATISTICS`: what the kernel counted for a socket, or for several (`linux/if_xdp.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KernelStatistics {
    /// Dropped on receive for other reasons than the ones below, such as a packet longer than a frame.
    pub rx_dropped: u64,
    /// Dropped because a fill descriptor was invalid.
    pub rx_invalid_descs: u64,
    /// Not sent because the descriptor was invalid.
    pub tx_invalid_descs: u64,
    /// Dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// How often the fill ring was found empty.
    pub rx_fill_ring_empty_descs: u64,
    /// How often the TX ring was found empty.
    pub tx_ring_empty_descs: u64,
}

impl AddAssign for KernelStatistics {
    fn add_assign(&mut self, other: Self) {
        let Self {
            rx_dropped,
            rx_invalid_descs,
            tx_invalid_descs,
            rx_ring_full,
            rx_fill_ring_empty_descs,
            tx_ring_empty_descs,
        } = other;
        self.rx_dropped += rx_dropped;
        self.rx_invalid_descs += rx_invalid_descs;
        self.tx_invalid_descs += tx_invalid_descs;
        self.rx_ring_full += rx_ring_full;
        self.rx_fill_ring_empty_descs += rx_fill_ring_empty_descs;
        self.tx_ring_empty_descs += tx_ring_empty_descs;
    }
}

/// What a port asks of the rings of a socket. Implemented by [`Xsk`](crate::Xsk) and by the tests' fake kernel only; a
/// [`Port`](crate::Port) over anything else cannot be made outside of this crate.
///
/// Each socket has an RX and a TX ring. The fill and completion rings are the queue's, and only the socket of the queue's
/// owner reaches them: with any other, there is nothing completed and no room to fill.
pub trait Rings {
    /// Takes received packets into `out`, from its start; says how many.
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize;

    /// Takes addresses of sent frames into `out`, from its start; says how many.
    fn completed(&mut self, out: &mut [u64]) -> usize;

    /// How many frames the fill ring has room for; may be less than is true when `wanted` fit.
    fn fill_room(&mut self, wanted: usize) -> usize;

    /// Puts frames into the fill ring. There are never more than [`Rings::fill_room`] said.
    fn fill(&mut self, indices: &[u32]);

    /// How many packets the TX ring has room for; may be less than is true when `wanted` fit.
    fn transmit_room(&mut self, wanted: usize) -> usize;

    /// Puts packets into the TX ring. There are never more than [`Rings::transmit_room`] said.
    fn transmit(&mut self, packets: &[TxDescriptor]);

    /// How many packets in the TX ring the kernel has not taken yet.
    fn transmit_pending(&mut self) -> usize;

    /// Whether the kernel wants to be told about packets in the TX ring.
    fn transmit_needs_wakeup(&self) -> bool;

    /// Whether the kernel wants to be told about frames in the fill ring.
    fn fill_needs_wakeup(&self) -> bool;

    /// Tells the kernel to send. EAGAIN and its like are errors here; the port knows what they mean.
    ///
    /// # Errors
    ///
    /// What `sendto(2)` says.
    fn wake_transmit(&mut self) -> io::Result<()>;

    /// Tells the kernel that the fill ring has frames again.
    ///
    /// # Errors
    ///
    /// What `recvfrom(2)` says.
    fn wake_fill(&mut self) -> io::Result<()>;

    /// Whether a packet is there, without a system call.
    fn is_ready(&mut self) -> bool;

    /// What `ppoll(2)` shall wait for; none where there is no kernel.
    fn fd(&self) -> Option<RawFd>;

    /// The descriptor that stays open with the frames when the rings of a queue's owner have gone; none where none does.
    fn kept_fd(&self) -> Option<RawFd> {
        self.fd()
    }

    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` says.
    fn statistics(&self) -> io::Result<KernelStatistics>;
}
