//! Single flows: which are ours, and which stay with a core. The workers' way to the program's maps.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use zerocopy::IntoBytes;

use crate::counted::Counted;
use crate::error::MapError;
use crate::keeper::{Change, Keeper};
use crate::map::is_one_host;
use crate::owners::Owners;
use crate::shared::Flow;

/// Registers and pins flows, from any thread: with one program, or with those of several interfaces at once.
///
/// A clone is the same registry, and costs a count. All of it ends with the [`Steering`](crate::Steering) that it came
/// from: what is registered later changes nothing.
#[derive(Clone)]
pub struct FlowRegistry(Arc<[Arc<Way>]>);

/// Where the flows of one program are written.
enum Way {
    Own(Flows),
    /// By another process.
    Kept {
        keeper: Arc<dyn Keeper>,
        cores: u32,
        registered: AtomicU32,
        pinned: AtomicU32,
    },
}

pub(crate) struct Flows {
    pub(crate) registered: Counted,
    pub(crate) owners: Arc<Owners>,
    pub(crate) cores: u32,
}

impl Way {
    const fn cores(&self) -> u32 {
        let (Self::Own(Flows { cores, .. }) | Self::Kept { cores, .. }) = self;
        *cores
    }

    fn insert(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), MapError> {
        let key = flow(local, remote)?;
        match self {
            Self::Own(flows) => flows.registered.insert(key.as_bytes(), 0),
            Self::Kept { keeper, registered, .. } => add(&**keeper, registered, &Change::AddFlow(local, remote)),
        }
    }

    fn remove(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        let key = flow(local, remote)?;
        match self {
            Self::Own(flows) => flows.registered.remove(key.as_bytes()),
            Self::Kept { keeper, registered, .. } => take(&**keeper, registered, &Change::RemoveFlow(local, remote)),
        }
    }

    fn pin(&self, local: SocketAddr, remote: SocketAddr, core: u32) -> Result<(), MapError> {
        flow(local, remote)?;
        match self {
            Self::Own(flows) => flows.owners.pin(local, remote, core),
            Self::Kept { keeper, pinned, .. } => add(&**keeper, pinned, &Change::Pin(local, remote, core)),
        }
    }

    fn unpin(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        flow(local, remote)?;
        match self {
            Self::Own(flows) => flows.owners.unpin(local, remote),
            Self::Kept { keeper, pinned, .. } => take(&**keeper, pinned, &Change::Unpin(local, remote)),
        }
    }

    fn registered(&self) -> u32 {
        match self {
            Self::Own(flows) => flows.registered.len(),
            Self::Kept { registered, .. } => registered.load(Relaxed),
        }
    }

    fn pinned(&self) -> u32 {
        match self {
            Self::Own(flows) => flows.owners.pinned(),
            Self::Kept { pinned, .. } => pinned.load(Relaxed),
        }
    }
}

impl FlowRegistry {
    pub(crate) fn new(flows: Flows) -> Self {
        Self(Arc::new([Arc::new(Way::Own(flows))]))
    }

    pub(crate) fn kept(keeper: Arc<dyn Keeper>, cores: u32) -> Self {
        let (registered, pinned) = (AtomicU32::new(0), AtomicU32::new(0));
        Self(Arc::new([Arc::new(Way::Kept { keeper, cores, registered, pinned })]))
    }

    /// The registry of all these programs: what it is told each of them is told, and each has it or none.
    pub fn join(registries: impl IntoIterator<Item = Self>) -> Self {
        Self(registries.into_iter().flat_map(|registry| registry.0.to_vec()).collect())
    }

    /// Puts an entry into each program; when one does not take it, the others have it no more.
    fn insert_all(
        &self,
        insert: impl Fn(&Way) -> Result<(), MapError>,
        remove: impl Fn(&Way) -> Result<bool, MapError>,
    ) -> Result<(), MapError> {
        for (at, way) in self.0.iter().enumerate() {
            if let Err(error) = insert(way) {
                self.0[..at].iter().for_each(|way| drop(remove(way)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes an entry from each program; whether any had it.
    fn remove_all(&self, remove: impl Fn(&Way) -> Result<bool, MapError>) -> Result<bool, MapError> {
        let all: Vec<_> = self.0.iter().map(|way| remove(way)).collect();
        all.into_iter().try_fold(false, |any, one| Ok(any | one?))
    }

    /// Takes the packets from `remote` to `local` from the kernel: of an outgoing connection on an address that is
    /// shared with it. Do it before the SYN is sent. Once more is no error, and counts once.
    ///
    /// # Errors
    /// [`MapError::Full`] at [`Setup::max_flows`](crate::Setup::max_flows); [`MapError::Flow`] if the two are no ends
    /// of one connection.
    pub fn insert(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), MapError> {
        self.insert_all(|way| way.insert(local, remote), |way| way.remove(local, remote))
    }

    /// Gives them back to the kernel; whether the flow was registered.
    ///
    /// # Errors
    /// [`MapError::Flow`], or what the kernel answered.
    pub fn remove(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        self.remove_all(|way| way.remove(local, remote))
    }

    /// Keeps the flow with `core`, whatever the table of owners says; a later pin replaces it. It does not make the
    /// flow ours: a listener, a registered flow or an own address does.
    ///
    /// # Errors
    /// [`MapError::Full`] at [`Setup::max_pinned`](crate::Setup::max_pinned); [`MapError::Core`]; [`MapError::Flow`] as
    /// for [`insert`](Self::insert).
    pub fn pin(&self, local: SocketAddr, remote: SocketAddr, core: u32) -> Result<(), MapError> {
        let cores = self.0.iter().map(|way| way.cores()).min().unwrap_or(0);
        if core >= cores {
            return Err(MapError::Core { core, cores });
        }
        self.insert_all(|way| way.pin(local, remote, core), |way| way.unpin(local, remote))
    }

    /// Lets the flow go where the table of owners says; whether it was pinned.
    ///
    /// # Errors
    /// [`MapError::Flow`], or what the kernel answered.
    pub fn unpin(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        self.remove_all(|way| way.unpin(local, remote))
    }

    /// How many flows are registered now, in whichever program has most. Where another process has the program, one that
    /// was registered twice counts twice.
    pub fn registered(&self) -> u32 {
        self.0.iter().map(|way| way.registered()).max().unwrap_or(0)
    }

    /// How many are pinned now, in whichever program has most.
    pub fn pinned(&self) -> u32 {
        self.0.iter().map(|way| way.pinned()).max().unwrap_or(0)
    }
}

/// Asks for what adds to a count.
fn add(keeper: &dyn Keeper, count: &AtomicU32, change: &Change) -> Result<(), MapError> {
    keeper.change(change).map_err(|source| MapError::Kept { source })?;
    count.fetch_add(1, Relaxed);
    Ok(())
}

/// Asks for what takes from a count; whether it was there.
fn take(keeper: &dyn Keeper, count: &AtomicU32, change: &Change) -> Result<bool, MapError> {
    let was_there = keeper.change(change).map_err(|source| MapError::Kept { source })?;
    if was_there {
        // Never below 0, whatever the other says.
        let _ = count.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }
    Ok(was_there)
}

impl fmt::Debug for FlowRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowRegistry")
            .field("registered", &self.registered())
            .field("pinned", &self.pinned())
            .finish_non_exhaustive()
    }
}

pub(crate) fn flow(local: SocketAddr, remote: SocketAddr) -> Result<Flow, MapError> {
    let is_end = |end: SocketAddr| end.port() != 0 && is_one_host(end.ip());
    let same_family = local.ip().to_canonical().is_ipv4() == remote.ip().to_canonical().is_ipv4();
    if is_end(local) && is_end(remote) && same_family {
        Ok(Flow { local: local.into(), remote: remote.into() })
    } else {
        Err(MapError::Flow { local, remote })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_goes_to_other_threads() {
        fn is_shared<T: Send + Sync + Clone + 'static>() {}
        is_shared::<FlowRegistry>();
    }

    #[test]
    fn only_two_ends_of_a_connection_are_a_flow() {
        let flow = |local: &str, remote: &str| flow(local.parse().unwrap(), remote.parse().unwrap());
        assert!(flow("10.0.0.1:80", "10.0.0.2:4000").is_ok());
        assert!(flow("[2001:db8::1]:80", "[2001:db8::2]:4000").is_ok());
        assert!(flow("[::ffff:10.0.0.1]:80", "10.0.0.2:4000").is_ok());
        for (local, remote) in [
            ("10.0.0.1:0", "10.0.0.2:4000"),
            ("10.0.0.1:80", "10.0.0.2:0"),
            ("0.0.0.0:80", "10.0.0.2:4000"),
            ("10.0.0.1:80", "224.0.0.1:4000"),
            ("10.0.0.1:80", "[2001:db8::2]:4000"),
        ] {
            assert!(matches!(flow(local, remote), Err(MapError::Flow { .. })), "{local} {remote}");
        }
    }
}
