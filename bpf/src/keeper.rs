//! A program that another process has: this one asks it for each change.
//!
//! Loading and attaching take privileges, and whoever holds a map may write all of it. A process that has neither asks one
//! that does, which looks at each [`Change`] before it makes it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::counter::{Counter, Counters};
use crate::error::MapError;
use crate::registry::FlowRegistry;
use crate::table::Table;

/// A change of the program's tables; [`Steering`](crate::Steering) has a method for each, which says what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// `add_listener`.
    AddListener(IpAddr, u16),
    /// `remove_listener`.
    RemoveListener(IpAddr, u16),
    /// `add_own_address`.
    AddOwnAddress(IpAddr),
    /// `remove_own_address`.
    RemoveOwnAddress(IpAddr),
    /// `FlowRegistry::insert`: the local and the remote end.
    AddFlow(SocketAddr, SocketAddr),
    /// `FlowRegistry::remove`.
    RemoveFlow(SocketAddr, SocketAddr),
    /// `FlowRegistry::pin`.
    Pin(SocketAddr, SocketAddr, u32),
    /// `FlowRegistry::unpin`.
    Unpin(SocketAddr, SocketAddr),
    /// `set_table`: buckets with their new owners.
    Owners(Vec<(u32, u32)>),
}

/// The way to the process that has the program. It may be asked from several threads.
pub trait Keeper: Send + Sync {
    /// Makes the change; whether what is to be removed was there.
    ///
    /// # Errors
    /// The process has gone, or it refuses, with its reason.
    fn change(&self, change: &Change) -> io::Result<bool>;

    /// Gives packets of `queue` that belong to `core` to this socket.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    fn register(&self, queue: u32, core: u32, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// The values of [`Counter::ALL`].
    ///
    /// # Errors
    /// The process has gone.
    fn counters(&self) -> io::Result<Vec<u64>>;

    /// Has the program detached. Nothing more is asked.
    fn end(&self);
}

/// What a [`Steering`](crate::Steering) has of a program that is kept elsewhere. Dropping it detaches the program.
pub(crate) struct Kept {
    keeper: Arc<dyn Keeper>,
    registry: FlowRegistry,
    /// As the program has it.
    table: Mutex<Table>,
}

impl Kept {
    pub(crate) fn new(keeper: Arc<dyn Keeper>, table: Table) -> Self {
        let registry = FlowRegistry::kept(Arc::clone(&keeper), table.cores());
        Self { keeper, registry, table: Mutex::new(table) }
    }

    pub(crate) fn change(&self, change: &Change) -> Result<bool, MapError> {
        self.keeper.change(change).map_err(|source| MapError::Kept { source })
    }

    pub(crate) fn register(&self, queue: u32, core: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        self.keeper.register(queue, core, socket).map_err(|source| MapError::Kept { source })
    }

    pub(crate) const fn registry(&self) -> &FlowRegistry {
        &self.registry
    }

    pub(crate) fn table(&self) -> Table {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `table` is of the right size.
    pub(crate) fn set_table(&self, table: &Table) -> Result<u32, MapError> {
        let mut written = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = (0_u32..).zip(table.owners()).zip(written.owners());
        let changed: Vec<_> = pairs.filter(|((_, new), old)| new != old).map(|((at, new), _)| (at, *new)).collect();
        // At most MAX_BUCKETS.
        let count = changed.len() as u32;
        if count > 0 {
            self.change(&Change::Owners(changed))?;
            written.clone_from(table);
        }
        Ok(count)
    }

    pub(crate) fn counters(&self) -> Result<Counters, MapError> {
        let values = self.keeper.counters().map_err(|source| MapError::Kept { source })?;
        let values = <[u64; Counter::ALL.len()]>::try_from(values).map_err(|_| MapError::Kept {
            source: io::Error::new(io::ErrorKind::InvalidData, "it counts other things than this program"),
        })?;
        Ok(Counters::from_values(values))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.end();
    }
}
