//! What one process leaves to the next on an interface: the packets that are kept in rings until somebody can take them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, RingBufferBuilder};
use zerocopy::IntoBytes;

use crate::error::MapError;
use crate::info::os_error;
use crate::map::{remove, write_error};
use crate::registry::flow;

const RELAYED: &str = "relayed flows";

/// Bytes before the packet in a place of a ring: `struct kept`.
const HEADER: usize = 8;

/// The maps that go from process to process: the flows of the one before, and the ring with their packets.
#[derive(Debug)]
pub struct RelayFds {
    /// The flows.
    pub flows: OwnedFd,
    /// The ring.
    pub ring: OwnedFd,
}

/// The flows that a process keeps although another one has taken over from it. A clone is the same.
#[derive(Clone)]
pub struct RelayedFlows {
    map: Arc<MapHandle>,
    capacity: u32,
}

impl RelayedFlows {
    pub(crate) fn new(map: MapHandle, capacity: u32) -> Self {
        Self { map: Arc::new(map), capacity }
    }

    /// Has the packets of a flow kept for `worker` of this process, as soon as another one's program runs.
    ///
    /// # Errors
    /// [`MapError::Full`]; [`MapError::Flow`] if the two are no ends of one connection.
    pub fn insert(&self, local: SocketAddr, remote: SocketAddr, worker: u32) -> Result<(), MapError> {
        let key = flow(local, remote)?;
        self.map
            .update(key.as_bytes(), &worker.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| write_error(RELAYED, self.capacity, os_error(&error)))
    }

    /// Lets the packets of a flow go to the other process; whether it was there.
    ///
    /// # Errors
    /// [`MapError::Flow`], or what the kernel answered.
    pub fn remove(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        remove(&self.map, RELAYED, flow(local, remote)?.as_bytes())
    }

    /// Forgets all of them.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn clear(&self) -> Result<(), MapError> {
        let keys: Vec<Vec<u8>> = self.map.keys().collect();
        keys.iter().try_for_each(|key| remove(&self.map, RELAYED, key).map(drop))
    }

    pub(crate) fn fd(&self) -> io::Result<OwnedFd> {
        self.map.as_fd().try_clone_to_owned()
    }
}

impl std::fmt::Debug for RelayedFlows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayedFlows").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// A ring of kept packets, to be read by one reader at a time. A clone is the same ring.
#[derive(Clone, Debug)]
pub struct KeptRing(Arc<MapHandle>);

impl KeptRing {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self(Arc::new(map))
    }

    /// Gives each packet that is there to `take` with its worker, in the order of their arrival, and goes on until `take`
    /// or `more` says false. `more` is asked at least every `pause`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn follow(
        &self,
        pause: Duration,
        mut take: impl FnMut(u32, &[u8]),
        mut more: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let mut builder = RingBufferBuilder::new();
        let each = |record: &[u8]| {
            if let Some((worker, packet)) = read(record) {
                take(worker, packet);
            }
            0
        };
        builder.add(&*self.0, each).map_err(|error| os_error(&error))?;
        let ring = builder.build().map_err(|error| os_error(&error))?;
        while more() {
            match ring.poll(pause).map_err(|error| os_error(&error)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes what is there, once, without waiting.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn take_all(&self, take: impl FnMut(u32, &[u8])) -> io::Result<()> {
        let mut once = true;
        self.follow(Duration::ZERO, take, || std::mem::take(&mut once))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The worker and the packet of a place in a ring.
fn read(record: &[u8]) -> Option<(u32, &[u8])> {
    let (header, bytes) = record.split_at_checked(HEADER)?;
    let number = |at: usize| header[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let (length, worker) = (number(0)?, number(4)?);
    Some((worker, bytes.get(..usize::try_from(length).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_ring_is_read_as_far_as_it_says() {
        let place = |length: u32, bytes: &[u8]| [&length.to_ne_bytes()[..], &7_u32.to_ne_bytes(), bytes].concat();
        assert_eq!(read(&place(3, b"abcde")), Some((7, &b"abc"[..])));
        assert_eq!(read(&place(0, b"abcde")), Some((7, &b""[..])));
        assert_eq!(read(&place(6, b"abcde")), None);
        assert_eq!(read(&place(u32::MAX, b"abcde")), None);
        assert_eq!(read(b"short"), None);
    }
}
