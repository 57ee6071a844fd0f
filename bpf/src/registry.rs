//! Single flows: which are ours, and which stay with a core. The workers' way to the program's maps.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::counted::Counted;
use crate::error::MapError;
use crate::map::is_one_host;
use crate::owners::Owners;
use crate::shared::Flow;

/// Registers and pins flows, from any thread: with one program, or with those of several interfaces at once.
///
/// A clone is the same registry, and costs a count. All of it ends with the [`Steering`](crate::Steering) that it came
/// from: what is registered later changes nothing.
#[derive(Clone)]
pub struct FlowRegistry(Arc<[Arc<Flows>]>);

pub(crate) struct Flows {
    pub(crate) registered: Counted,
    pub(crate) owners: Arc<Owners>,
    pub(crate) cores: u32,
}

impl FlowRegistry {
    pub(crate) fn new(flows: Flows) -> Self {
        Self(Arc::new([Arc::new(flows)]))
    }

    /// The registry of all these programs: what it is told each of them is told, and each has it or none.
    pub fn join(registries: impl IntoIterator<Item = Self>) -> Self {
        Self(registries.into_iter().flat_map(|registry| registry.0.to_vec()).collect())
    }

    /// Puts an entry into each program; when one does not take it, the others have it no more.
    fn insert_all(
        &self,
        insert: impl Fn(&Flows) -> Result<(), MapError>,
        remove: impl Fn(&Flows),
    ) -> Result<(), MapError> {
        for (at, flows) in self.0.iter().enumerate() {
            if let Err(error) = insert(flows) {
                self.0[..at].iter().for_each(|flows| remove(flows));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes an entry from each program; whether any had it.
    fn remove_all(&self, remove: impl Fn(&Flows) -> Result<bool, MapError>) -> Result<bool, MapError> {
        let all: Vec<_> = self.0.iter().map(|flows| remove(flows)).collect();
        all.into_iter().try_fold(false, |any, one| Ok(any | one?))
    }

    /// Takes the packets from `remote` to `local` from the kernel: of an outgoing connection on an address that is
    /// shared with it. Do it before the SYN is sent. Once more is no error, and counts once.
    ///
    /// # Errors
    /// [`MapError::Full`] at [`Setup::max_flows`](crate::Setup::max_flows); [`MapError::Flow`] if the two are no ends
    /// of one connection.
    pub fn insert(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), MapError> {
        let flow = flow(local, remote)?;
        let remove = |flows: &Flows| drop(flows.registered.remove(flow.as_bytes()));
        self.insert_all(|flows| flows.registered.insert(flow.as_bytes(), 0), remove)
    }

    /// Gives them back to the kernel; whether the flow was registered.
    ///
    /// # Errors
    /// [`MapError::Flow`], or what the kernel answered.
    pub fn remove(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        let flow = flow(local, remote)?;
        self.remove_all(|flows| flows.registered.remove(flow.as_bytes()))
    }

    /// Keeps the flow with `core`, whatever the table of owners says; a later pin replaces it. It does not make the
    /// flow ours: a listener, a registered flow or an own address does.
    ///
    /// # Errors
    /// [`MapError::Full`] at [`Setup::max_pinned`](crate::Setup::max_pinned); [`MapError::Core`]; [`MapError::Flow`] as
    /// for [`insert`](Self::insert).
    pub fn pin(&self, local: SocketAddr, remote: SocketAddr, core: u32) -> Result<(), MapError> {
        let cores = self.0.iter().map(|flows| flows.cores).min().unwrap_or(0);
        if core >= cores {
            return Err(MapError::Core { core, cores });
        }
        let unpin = |flows: &Flows| drop(flows.owners.unpin(local, remote));
        self.insert_all(|flows| flows.owners.pin(local, remote, core), unpin)
    }

    /// Lets the flow go where the table of owners says; whether it was pinned.
    ///
    /// # Errors
    /// [`MapError::Flow`], or what the kernel answered.
    pub fn unpin(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        self.remove_all(|flows| flows.owners.unpin(local, remote))
    }

    /// How many flows are registered now, in whichever program has most.
    pub fn registered(&self) -> u32 {
        self.0.iter().map(|flows| flows.registered.len()).max().unwrap_or(0)
    }

    /// How many are pinned now, in whichever program has most.
    pub fn pinned(&self) -> u32 {
        self.0.iter().map(|flows| flows.owners.pinned()).max().unwrap_or(0)
    }
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
