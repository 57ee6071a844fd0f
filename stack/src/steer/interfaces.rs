//! Several interfaces in one stack: a mirror each, and routes that choose among them.

use super::mirror::{Asker, Change, Mirror, MirrorError};
use corelane_proto::Addr;
use corelane_proto::endpoint::Hop;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::io;
use std::time::Duration;

/// One interface of a stack, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceId(pub u8);

/// The mirrors of all interfaces of a stack. Each interface has endpoints of its own, one a core: what is told of it goes
/// to these, and a connection lives on the interface by which its first packet went.
#[derive(Debug)]
pub struct Interfaces {
    mirrors: Vec<Mirror>,
}

impl Interfaces {
    /// A mirror for each of these, in their order.
    ///
    /// # Errors
    /// The first that is not there.
    pub fn open(names: &[&str]) -> Result<Self, MirrorError> {
        Ok(Self { mirrors: names.iter().map(|name| Mirror::open(name)).collect::<Result<_, _>>()? })
    }

    /// Every interface with its mirror.
    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Mirror)> {
        (0..).map(InterfaceId).zip(&self.mirrors)
    }

    /// The mirror of one.
    pub fn get(&self, id: InterfaceId) -> Option<&Mirror> {
        self.mirrors.get(usize::from(id.0))
    }

    /// Asks the kernel for neighbours on this interface.
    pub fn asker(&self, id: InterfaceId) -> Option<Asker> {
        self.get(id).map(Mirror::asker)
    }

    /// By which interface a connection to `remote` goes: the one with the longest prefix, then the least metric. `None`: by
    /// none of ours.
    pub fn route(&self, remote: Addr) -> Option<InterfaceId> {
        // Each mirror has all routes of the kernel, those of other interfaces as `Elsewhere`, in the order of preference:
        // the first that holds `remote` is the same in each.
        self.iter().find(|(_, mirror)| leads(mirror, remote)).map(|(id, _)| id)
    }

    /// Waits as [`Mirror::poll`] does, for all of them.
    ///
    /// # Errors
    /// As there.
    pub fn poll(&mut self, timeout: Duration, changes: &mut Vec<(InterfaceId, Change)>) -> io::Result<()> {
        let soonest = self.mirrors.iter().map(|mirror| mirror.longest_wait(timeout)).min().unwrap_or(timeout);
        let limit = Timespec::try_from(soonest).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        let mut sources: Vec<PollFd<'_>> = Vec::new();
        for mirror in &self.mirrors {
            sources.extend(mirror.sources().map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)));
        }
        match poll(&mut sources, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(sources);
        let mut of_one = Vec::new();
        for (id, mirror) in (0..).map(InterfaceId).zip(&mut self.mirrors) {
            mirror.poll(Duration::ZERO, &mut of_one)?;
            changes.extend(of_one.drain(..).map(|change| (id, change)));
        }
        Ok(())
    }
}

/// Whether the kernel's route to `remote` goes by the interface of this mirror.
fn leads(mirror: &Mirror, remote: Addr) -> bool {
    mirror.routes().iter().find(|route| route.prefix.contains(remote)).is_some_and(|route| route.hop != Hop::Elsewhere)
}
