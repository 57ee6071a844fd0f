//! The kernel's rings, whoever has made their socket.

use std::io;
use std::os::fd::RawFd;

use crate::given::Given;
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::xsk::Made;

/// The rings that the kernel shares with this process for one `AF_XDP` socket.
pub struct Xsk(Kind);

#[expect(clippy::large_enum_variant, reason = "few, and a box would be one more place to go to for each packet")]
enum Kind {
    Made(Made),
    Given(Given),
}

impl From<Made> for Xsk {
    fn from(made: Made) -> Self {
        Self(Kind::Made(made))
    }
}

impl From<Given> for Xsk {
    fn from(given: Given) -> Self {
        Self(Kind::Given(given))
    }
}

/// The same call of whichever it is.
macro_rules! either {
    ($self:ident, $rings:ident => $call:expr) => {
        match $self {
            Xsk(Kind::Made($rings)) => $call,
            Xsk(Kind::Given($rings)) => $call,
        }
    };
}

impl Xsk {
    pub(crate) fn raw_fd(&self) -> RawFd {
        either!(self, rings => rings.raw_fd())
    }
}

impl Rings for Xsk {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        either!(self, rings => rings.receive(out))
    }

    fn completed(&mut self, out: &mut [u64]) -> usize {
        either!(self, rings => rings.completed(out))
    }

    fn fill_room(&mut self, wanted: usize) -> usize {
        either!(self, rings => rings.fill_room(wanted))
    }

    fn fill(&mut self, indices: &[u32]) {
        either!(self, rings => rings.fill(indices));
    }

    fn transmit_room(&mut self, wanted: usize) -> usize {
        either!(self, rings => rings.transmit_room(wanted))
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        either!(self, rings => rings.transmit(packets));
    }

    fn transmit_pending(&mut self) -> usize {
        either!(self, rings => rings.transmit_pending())
    }

    fn transmit_needs_wakeup(&self) -> bool {
        either!(self, rings => rings.transmit_needs_wakeup())
    }

    fn fill_needs_wakeup(&self) -> bool {
        either!(self, rings => rings.fill_needs_wakeup())
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        either!(self, rings => rings.wake_transmit())
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        either!(self, rings => rings.wake_fill())
    }

    fn is_ready(&mut self) -> bool {
        either!(self, rings => rings.is_ready())
    }

    fn fd(&self) -> Option<RawFd> {
        either!(self, rings => rings.fd())
    }

    fn kept_fd(&self) -> Option<RawFd> {
        either!(self, rings => rings.kept_fd())
    }

    fn statistics(&self) -> io::Result<KernelStatistics> {
        either!(self, rings => rings.statistics())
    }
}
