//! Maps whose entries are counted, so that the program need not ask an empty one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use zerocopy::IntoBytes;

use crate::error::MapError;
use crate::info::os_error;
use crate::map::{remove, write_error};
use crate::shared::InUse;

/// The program's `in_use`, and which count of it is which map's.
pub(crate) struct Tally {
    map: MapHandle,
    counts: Mutex<InUse>,
}

/// The field of a map in [`InUse`].
pub(crate) type Field = fn(&mut InUse) -> &mut u32;

impl Tally {
    pub(crate) fn new(map: MapHandle) -> Self {
        Self { map, counts: Mutex::default() }
    }

    /// Changes what is no count of a map, and tells the program.
    pub(crate) fn set(&self, change: impl FnOnce(&mut InUse)) -> Result<(), MapError> {
        let mut counts = self.lock();
        change(&mut counts);
        self.tell(&counts)
    }

    fn tell(&self, counts: &InUse) -> Result<(), MapError> {
        self.map.update(&0_u32.to_ne_bytes(), counts.as_bytes(), MapFlags::ANY).map_err(|error| MapError::System {
            table: "counts",
            what: "written",
            source: os_error(&error),
        })
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        // A panic elsewhere leaves no count half changed.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes one count. The program is told only whether there are any: that is all it asks, and most changes of a
    /// busy table then stay in this process. It is told under the lock, so that the last one to change is the last one
    /// to tell.
    fn change(&self, field: Field, to: impl FnOnce(u32) -> u32) -> Result<(), MapError> {
        let mut counts = self.lock();
        let mut changed = *counts;
        let before = *field(&mut changed);
        let after = to(before);
        *field(&mut changed) = after;
        if (before == 0) != (after == 0) {
            self.tell(&changed)?;
        }
        *counts = changed;
        Ok(())
    }
}

/// A hash map of at most `capacity` entries, keyed by bytes, with one number each.
pub(crate) struct Counted {
    pub(crate) map: MapHandle,
    /// Its name in errors.
    pub(crate) table: &'static str,
    pub(crate) capacity: u32,
    pub(crate) tally: Arc<Tally>,
    pub(crate) field: Field,
}

impl Counted {
    /// How many entries there are.
    pub(crate) fn len(&self) -> u32 {
        *(self.field)(&mut self.tally.lock())
    }

    /// Sets the number of `key`, which may be there already.
    pub(crate) fn insert(&self, key: &[u8], number: u32) -> Result<(), MapError> {
        let value = number.to_ne_bytes();
        let failed = |error| write_error(self.table, self.capacity, error);
        loop {
            // Before it is there, so that the program asks as soon as it is.
            self.tally.change(self.field, |count| count.saturating_add(1))?;
            let new = self.map.update(key, &value, MapFlags::NO_EXIST).map_err(|error| os_error(&error));
            let Err(error) = new else { return Ok(()) };
            self.tally.change(self.field, |count| count.saturating_sub(1))?;
            if error.raw_os_error() != Some(libc::EEXIST) {
                return Err(failed(error));
            }
            let again = self.map.update(key, &value, MapFlags::EXIST).map_err(|error| os_error(&error));
            match again {
                // Another thread has just removed it.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                again => return again.map_err(failed),
            }
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, key: &[u8]) -> Result<bool, MapError> {
        let was_there = remove(&self.map, self.table, key)?;
        if was_there {
            self.tally.change(self.field, |count| count.saturating_sub(1))?;
        }
        Ok(was_there)
    }
}
