//! Which ports outgoing connections may have on an address that the kernel has too: those that it does not choose.
//!
//! The kernel chooses from `net.ipv4.ip_local_port_range`, without `net.ipv4.ip_local_reserved_ports`; a program that
//! names a port gets it wherever it lies. So ours are reserved ones, or lie outside of that range, and are not those on
//! which one of the kernel's sockets listens. Both settings are those of the thread's network namespace, and count for
//! IPv6 as well.

mod set;

pub use set::{NotPorts, PortSet};

use std::fs;
use std::io;
use std::path::Path;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The lowest port that outgoing connections take by themselves (RFC 6056 3.2).
const LOWEST: u16 = 1024;
/// Fewest ports outside of the kernel's range that are worth taking above it.
const ENOUGH: usize = 2048;

/// What went wrong with the kernel's settings.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// A setting cannot be read.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// Which.
        path: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A setting holds what is not understood.
    #[error("{path} holds what is not understood: {error}; set it with sysctl")]
    Syntax {
        /// Which.
        path: &'static str,
        /// What.
        error: NotPorts,
    },
    /// Ports cannot be reserved.
    #[error(
        "ports {ports} cannot be reserved: {error}; run it with the right to write {RESERVED}, or do it by hand with `sysctl -w net.ipv4.ip_local_reserved_ports={wanted}` and set interface.reserve_ports = false"
    )]
    Write {
        /// Ours.
        ports: String,
        /// All that would have to be reserved.
        wanted: String,
        /// Why.
        error: io::Error,
    },
}

/// The kernel's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelPorts {
    /// What it chooses from, first and last.
    pub range: (u16, u16),
    /// What it does not choose all the same.
    pub reserved: PortSet,
}

impl KernelPorts {
    /// Reads them.
    ///
    /// # Errors
    /// They cannot be read, or are not understood.
    pub fn read() -> Result<Self, PortsError> {
        let text = read(RANGE)?;
        let mut numbers = text.split_whitespace().map(str::parse::<u16>);
        let (Some(Ok(first)), Some(Ok(last)), None) = (numbers.next(), numbers.next(), numbers.next()) else {
            return Err(PortsError::Syntax { path: RANGE, error: NotPorts::of(&text) });
        };
        Ok(Self { range: (first, last), reserved: reserved()? })
    }

    /// What it chooses from.
    pub fn chosen(&self) -> PortSet {
        PortSet::of(&(self.range.0..=self.range.1)).minus(&self.reserved)
    }
}

fn read(path: &'static str) -> Result<String, PortsError> {
    fs::read_to_string(path).map_err(|error| PortsError::Read { path, error })
}

fn reserved() -> Result<PortSet, PortsError> {
    read(RESERVED)?.parse().map_err(|error| PortsError::Syntax { path: RESERVED, error })
}

/// Where the ports of a [`PortPlan`] come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortSource {
    /// The configured range, as far as the kernel does not choose from it.
    Configured,
    /// The kernel's list of reserved ports.
    Reserved,
    /// Outside of the range that the kernel chooses from: the configured range lies wholly in it.
    OutsideKernelRange,
    /// They have to be [reserved](PortPlan::reserve) first.
    ToBeReserved,
}

/// The ports of outgoing connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortPlan {
    /// The first and the last; every one between them is outside of what the kernel chooses.
    pub range: (u16, u16),
    /// Those of them on which sockets of the kernel listen, in order: they are not taken.
    pub avoided: Vec<u16>,
    /// Where they come from.
    pub source: PortSource,
}

impl PortPlan {
    /// For an address that only we have: all of what is `configured`, first and last.
    pub const fn own(configured: (u16, u16)) -> Self {
        Self { range: configured, avoided: Vec::new(), source: PortSource::Configured }
    }

    /// No port at all.
    pub(crate) const fn none() -> Self {
        Self { range: (1, 0), avoided: Vec::new(), source: PortSource::OutsideKernelRange }
    }

    /// For an address that the kernel has too. `listening` are the ports of its sockets. With `reserve` the configured
    /// range is to be reserved, but never more than half of what the kernel chooses from: of a range that asks for more,
    /// the upper part.
    ///
    /// Without it the first of these that has ports is taken: those of the configured range that are reserved; those of it
    /// that are outside of the kernel's range; those above the kernel's range, if they are enough, or below. Of several
    /// stretches the longest is taken, for a plan is one range. `None`: the kernel leaves none.
    pub fn shared(configured: (u16, u16), kernel: &KernelPorts, listening: &[u16], reserve: bool) -> Option<Self> {
        let (range, source) = if reserve { to_reserve(configured, kernel) } else { unchosen(configured, kernel)? };
        let mut avoided: Vec<u16> =
            listening.iter().copied().filter(|port| (range.0..=range.1).contains(port)).collect();
        avoided.sort_unstable();
        avoided.dedup();
        Some(Self { range, avoided, source })
    }

    /// Reserves its ports, so that the kernel does not choose them; those that are reserved already stay as they are.
    ///
    /// # Errors
    /// The setting cannot be read or written.
    pub fn reserve(&self) -> Result<Reservation, PortsError> {
        let before = reserved()?;
        let added = PortSet::of(&(self.range.0..=self.range.1)).minus(&before);
        if !added.is_empty() {
            write(&before.union(&added), &added)?;
        }
        Ok(Reservation { added, done: false })
    }
}

fn unchosen(configured: (u16, u16), kernel: &KernelPorts) -> Option<((u16, u16), PortSource)> {
    let wanted = PortSet::of(&(configured.0..=configured.1));
    let (first, last) = kernel.range;
    let reserved = wanted.intersection(&kernel.reserved);
    let outside = wanted.minus(&kernel.chosen());
    let above = PortSet::of(&(last.saturating_add(1)..=u16::MAX)).minus(&kernel.chosen());
    let below = PortSet::of(&(LOWEST..=first.saturating_sub(1)));
    let above = if last == u16::MAX || above.len() < ENOUGH { PortSet::default() } else { above };
    [
        (reserved, PortSource::Reserved),
        (outside, PortSource::Configured),
        (above, PortSource::OutsideKernelRange),
        (below, PortSource::OutsideKernelRange),
    ]
    .into_iter()
    .find_map(|(ports, source)| Some((ports.longest()?, source)))
}

fn to_reserve((first, last): (u16, u16), kernel: &KernelPorts) -> ((u16, u16), PortSource) {
    let wanted = PortSet::of(&(first..=last));
    let (chosen, taken) = (kernel.chosen().len(), kernel.chosen().intersection(&wanted).len());
    let spared = taken.saturating_sub(chosen / 2);
    let first = first.saturating_add(u16::try_from(spared).unwrap_or(u16::MAX)).min(last);
    ((first, last), PortSource::ToBeReserved)
}

fn write(all: &PortSet, ours: &PortSet) -> Result<(), PortsError> {
    // An empty list is an empty line.
    fs::write(Path::new(RESERVED), format!("{all}\n")).map_err(|error| PortsError::Write {
        ports: ours.to_string(),
        wanted: all.to_string(),
        error,
    })
}

/// Ports that were reserved. They stay so until [`release`](Self::release), or until this is dropped; a killed process
/// leaves them.
#[derive(Debug)]
pub struct Reservation {
    added: PortSet,
    done: bool,
}

impl Reservation {
    /// Those that were not reserved before.
    pub const fn added(&self) -> &PortSet {
        &self.added
    }

    /// Of ports that another process had reserved, and leaves to this one.
    pub(crate) const fn adopted(added: PortSet) -> Self {
        Self { added, done: false }
    }

    /// Has these taken back too, which another process had reserved and leaves to this one.
    pub(crate) fn adopt(&mut self, added: &PortSet) {
        self.added = self.added.union(added);
    }

    /// Leaves them to another process, which has adopted them.
    pub(crate) fn leave(mut self) {
        self.done = true;
    }

    /// Takes back what was added, and leaves alone what others have changed since. To be called from the network
    /// namespace in which they were reserved.
    ///
    /// # Errors
    /// The setting cannot be read or written.
    pub fn release(mut self) -> Result<(), PortsError> {
        self.done = true;
        self.take_back()
    }

    fn take_back(&self) -> Result<(), PortsError> {
        if self.added.is_empty() {
            return Ok(());
        }
        write(&reserved()?.minus(&self.added), &self.added)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Err(error) = if self.done { Ok(()) } else { self.take_back() } {
            tracing::warn!(%error, "reserved ports stay reserved");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(reserved: &str) -> KernelPorts {
        KernelPorts { range: (32_768, 60_999), reserved: reserved.parse().unwrap() }
    }

    const DEFAULT: (u16, u16) = (32_768, 60_999);

    fn plan(configured: (u16, u16), kernel: &KernelPorts) -> ((u16, u16), PortSource) {
        let plan = PortPlan::shared(configured, kernel, &[], false).unwrap();
        (plan.range, plan.source)
    }

    #[test]
    fn ports_are_those_that_the_kernel_does_not_choose() {
        assert_eq!(plan(DEFAULT, &kernel("")), ((61_000, 65_535), PortSource::OutsideKernelRange));
        assert_eq!(plan(DEFAULT, &kernel("22,40000-44999")), ((40_000, 44_999), PortSource::Reserved));
        assert_eq!(plan((10_000, 19_999), &kernel("")), ((10_000, 19_999), PortSource::Configured));
        assert_eq!(plan((30_000, 40_000), &kernel("")), ((30_000, 32_767), PortSource::Configured));
        let to_the_top = KernelPorts { range: (20_000, 65_535), reserved: PortSet::default() };
        assert_eq!(plan(DEFAULT, &to_the_top), ((1024, 19_999), PortSource::OutsideKernelRange));
        let everything = KernelPorts { range: (1024, 65_535), reserved: PortSet::default() };
        assert_eq!(PortPlan::shared(DEFAULT, &everything, &[], false), None);
    }

    #[test]
    fn ports_of_listeners_are_avoided() {
        let plan = PortPlan::shared(DEFAULT, &kernel(""), &[80, 62_000, 61_000, 62_000], false).unwrap();
        assert_eq!(plan.avoided, [61_000, 62_000]);
    }

    #[test]
    fn reserving_leaves_the_kernel_half() {
        let reserving = |configured| PortPlan::shared(configured, &kernel(""), &[], true).unwrap();
        assert_eq!(reserving((50_000, 60_999)).range, (50_000, 60_999));
        let all = reserving(DEFAULT);
        assert_eq!((all.range, all.source), ((46_884, 60_999), PortSource::ToBeReserved));
    }
}
