//! The table of owners in the kernel, and the flows that are pinned against it.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::IntoBytes;

use crate::error::MapError;
use crate::hash::FlowHash;
use crate::info::os_error;
use crate::map::{remove, write_error};
use crate::registry::flow;
use crate::shared::{BUCKET_HAS_PINS, Flow};
use crate::table::Table;

const OWNERS: &str = "owners";
const PINNED: &str = "pinned flows";

/// The program's `table` and `pinned`. It asks the second only about flows of a bucket whose entry in the first says so:
/// the entry says it before the first of its flows is pinned, and until after the last one is no more.
pub(crate) struct Owners {
    table: MapHandle,
    pinned: MapHandle,
    /// How many flows can be pinned.
    capacity: u32,
    hash: FlowHash,
    written: Mutex<Written>,
    /// Held by who writes a whole table: the lock above is then free between two entries, for those who pin.
    writing: Mutex<()>,
}

/// What was last written.
struct Written {
    table: Table,
    /// Of each bucket.
    pins: Box<[u32]>,
    pinned: u32,
}

impl Owners {
    /// `blank` is what the kernel's table has in it.
    pub(crate) fn new(table: MapHandle, pinned: MapHandle, capacity: u32, hash: FlowHash, blank: Table) -> Self {
        let pins = vec![0; blank.owners().len()].into();
        let written = Mutex::new(Written { table: blank, pins, pinned: 0 });
        Self { table, pinned, capacity, hash, written, writing: Mutex::default() }
    }

    /// Writes the entries that differ, each at once, and says how many.
    pub(crate) fn set_table(&self, table: &Table) -> Result<u32, MapError> {
        let _writing = self.writing.lock();
        let written = self.table();
        if (table.len(), table.cores()) != (written.len(), written.cores()) {
            return Err(MapError::Table {
                len: table.len(),
                cores: table.cores(),
                needed_len: written.len(),
                needed_cores: written.cores(),
            });
        }
        let mut changed = 0;
        for (bucket, new) in table.owners().iter().enumerate() {
            let mut written = self.lock();
            if written.table.owners()[bucket] != *new {
                self.write(bucket, *new, written.pins[bucket] > 0)?;
                written.table.owners_mut()[bucket] = *new;
                changed += 1;
            }
        }
        Ok(changed)
    }

    /// The table as the program has it.
    pub(crate) fn table(&self) -> Table {
        self.lock().table.clone()
    }

    /// Keeps the flow with `core`; a later pin replaces it.
    pub(crate) fn pin(&self, local: SocketAddr, remote: SocketAddr, core: u32) -> Result<(), MapError> {
        let key = flow(local, remote)?;
        let hash = self.hash.hash(local, remote);
        let mut written = self.lock();
        let bucket = written.table.bucket(hash) as usize;
        let (owner, is_first) = (written.table.owners()[bucket], written.pins[bucket] == 0);
        if is_first {
            self.write(bucket, owner, true)?;
        }
        match self.put(&key, core) {
            Ok(is_new) => {
                written.pins[bucket] += u32::from(is_new);
                written.pinned += u32::from(is_new);
                Ok(())
            }
            Err(error) => {
                if is_first {
                    // That the program asks in vain does no harm.
                    let _ = self.write(bucket, owner, false);
                }
                Err(error)
            }
        }
    }

    /// Whether it was pinned.
    pub(crate) fn unpin(&self, local: SocketAddr, remote: SocketAddr) -> Result<bool, MapError> {
        let key = flow(local, remote)?;
        let hash = self.hash.hash(local, remote);
        let mut written = self.lock();
        if !remove(&self.pinned, PINNED, key.as_bytes())? {
            return Ok(false);
        }
        let bucket = written.table.bucket(hash) as usize;
        written.pinned -= 1;
        written.pins[bucket] -= 1;
        if written.pins[bucket] == 0 {
            self.write(bucket, written.table.owners()[bucket], false)?;
        }
        Ok(true)
    }

    /// How many flows are pinned.
    pub(crate) fn pinned(&self) -> u32 {
        self.lock().pinned
    }

    /// Whether the flow was not pinned before.
    fn put(&self, key: &Flow, core: u32) -> Result<bool, MapError> {
        let value = core.to_ne_bytes();
        let update = |flags| self.pinned.update(key.as_bytes(), &value, flags).map_err(|error| os_error(&error));
        let put = match update(MapFlags::NO_EXIST) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => update(MapFlags::EXIST).map(|()| false),
            new => new.map(|()| true),
        };
        put.map_err(|error| write_error(PINNED, self.capacity, error))
    }

    fn write(&self, bucket: usize, owner: u32, has_pins: bool) -> Result<(), MapError> {
        // At most MAX_BUCKETS.
        let bucket = bucket as u32;
        let entry = if has_pins { owner | BUCKET_HAS_PINS } else { owner };
        self.table
            .update(&bucket.to_ne_bytes(), &entry.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| MapError::System { table: OWNERS, what: "written", source: os_error(&error) })
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // A panic elsewhere leaves no entry half written.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
