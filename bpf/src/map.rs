//! The program's maps as tables of registrations.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use zerocopy::IntoBytes;

use crate::counted::{Counted, Tally};
use crate::counter::{Counter, Counters};
use crate::error::{AttachError, MapError};
use crate::info::os_error;
use crate::object::{self, lacks};
use crate::registry::{FlowRegistry, Flows};
use crate::relay::{KeptRing, RelayedFlows};
use crate::setup::Setup;
use crate::shared::{Address, End, MAX_LISTENERS, MAX_OWN_ADDRESSES};
use crate::table::Table;

const LISTENERS: &str = "listeners";
const OWN_ADDRESSES: &str = "own addresses";
const SOCKETS: &str = "sockets";
const COUNTERS: &str = "counters";
const OWNERS: &str = "owners";

/// The value of a registration, reserved and 0.
const REGISTERED: u32 = 0;

pub(crate) struct Maps {
    listeners: MapHandle,
    own_addresses: Counted,
    registry: FlowRegistry,
    xsks: MapHandle,
    owners: MapHandle,
    /// What was last written to `owners`.
    table: Mutex<Table>,
    counters: MapHandle,
    relayed: RelayedFlows,
    relay: KeptRing,
    held: KeptRing,
    tally: Arc<Tally>,
}

impl Maps {
    /// The maps of an object that was loaded with this setup; `table` is to be in `owners`.
    pub(crate) fn of(object: &Object, setup: &Setup, table: &Table) -> Result<Self, AttachError> {
        let failed = |source| AttachError::Load { source, log: String::new() };
        let find = |name: &str| {
            let map = object.maps().find(|map| map.name() == name).ok_or_else(|| lacks(name))?;
            MapHandle::try_from(&map).map_err(|error| failed(os_error(&error)))
        };
        let tally = Arc::new(Tally::new(find(object::IN_USE)?));
        let counted = |name: &str, table, capacity, field| {
            Ok::<_, AttachError>(Counted { map: find(name)?, table, capacity, tally: Arc::clone(&tally), field })
        };
        // As the kernel makes a map: all 0.
        let mut blank = table.clone();
        blank.level(|core| core == 0)?;
        let maps = Self {
            listeners: find("listeners")?,
            own_addresses: counted("own_addresses", OWN_ADDRESSES, MAX_OWN_ADDRESSES, |counts| {
                &mut counts.own_addresses
            })?,
            registry: FlowRegistry::new(Flows {
                registered: counted("flows", "registered flows", setup.max_flows, |counts| &mut counts.flows)?,
                pinned: counted("pinned", "pinned flows", setup.max_pinned, |counts| &mut counts.pinned)?,
                cores: setup.layout.cores,
            }),
            xsks: find("xsks")?,
            owners: find("table")?,
            table: Mutex::new(blank),
            counters: find("counters")?,
            relayed: RelayedFlows::new(find(object::RELAYED)?, setup.max_flows),
            relay: KeptRing::new(find(object::RELAY)?),
            held: KeptRing::new(find("held")?),
            tally,
        };
        maps.write_owners(table).map_err(|error| failed(io::Error::other(error.to_string())))?;
        Ok(maps)
    }

    pub(crate) fn add_listener(&self, address: IpAddr, port: u16) -> Result<(), MapError> {
        if port == 0 || !is_one_host(address) {
            return Err(MapError::Wildcard { address, port });
        }
        let key = End::from(SocketAddr::new(address, port));
        self.listeners
            .update(key.as_bytes(), &REGISTERED.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| write_error(LISTENERS, MAX_LISTENERS, os_error(&error)))
    }

    pub(crate) fn remove_listener(&self, address: IpAddr, port: u16) -> Result<bool, MapError> {
        remove(&self.listeners, LISTENERS, End::from(SocketAddr::new(address, port)).as_bytes())
    }

    pub(crate) fn add_own_address(&self, address: IpAddr) -> Result<(), MapError> {
        if !is_one_host(address) {
            return Err(MapError::Wildcard { address, port: 0 });
        }
        self.own_addresses.insert(Address::from(address).as_bytes(), REGISTERED)
    }

    pub(crate) fn remove_own_address(&self, address: IpAddr) -> Result<bool, MapError> {
        self.own_addresses.remove(Address::from(address).as_bytes())
    }

    pub(crate) const fn relayed(&self) -> &RelayedFlows {
        &self.relayed
    }

    pub(crate) const fn relay(&self) -> &KeptRing {
        &self.relay
    }

    pub(crate) const fn held(&self) -> &KeptRing {
        &self.held
    }

    /// Whether the program looks for a predecessor's flows.
    pub(crate) fn set_relayed(&self, relayed: bool) -> Result<(), MapError> {
        self.tally.set(|counts| counts.relayed = relayed.into())
    }

    /// Whether the program keeps what has no socket.
    pub(crate) fn set_holding(&self, holding: bool) -> Result<(), MapError> {
        self.tally.set(|counts| counts.holding = holding.into())
    }

    pub(crate) fn registry(&self) -> &FlowRegistry {
        &self.registry
    }

    /// `queue` is only for the error; `key` says where.
    pub(crate) fn set_socket(&self, key: u32, queue: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.xsks.update(&key.to_ne_bytes(), &value, MapFlags::ANY).map_err(|error| {
            let source = os_error(&error);
            match source.raw_os_error() {
                // EOPNOTSUPP: a socket of another family, or, to older kernels, without a ring; ENOTSOCK: none at all.
                Some(libc::EOPNOTSUPP | libc::ENOTSOCK | libc::EBADF) => MapError::NotASocket { queue },
                _ => MapError::System { table: SOCKETS, what: "written", source },
            }
        })
    }

    pub(crate) fn clear_socket(&self, key: u32) -> Result<(), MapError> {
        // The kernel answers alike whether there was one or not.
        remove(&self.xsks, SOCKETS, &key.to_ne_bytes()).map(drop)
    }

    /// Writes the entries that differ, each at once, and says how many.
    pub(crate) fn set_table(&self, table: &Table) -> Result<u32, MapError> {
        let written = self.table();
        if (table.len(), table.cores()) != (written.len(), written.cores()) {
            return Err(MapError::Table {
                len: table.len(),
                cores: table.cores(),
                needed_len: written.len(),
                needed_cores: written.cores(),
            });
        }
        self.write_owners(table)
    }

    fn write_owners(&self, table: &Table) -> Result<u32, MapError> {
        let mut written = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = 0;
        for ((bucket, new), old) in (0_u32..).zip(table.owners()).zip(written.owners_mut()) {
            if new != old {
                self.owners
                    .update(&bucket.to_ne_bytes(), &new.to_ne_bytes(), MapFlags::ANY)
                    .map_err(|error| MapError::System { table: OWNERS, what: "written", source: os_error(&error) })?;
                *old = *new;
                changed += 1;
            }
        }
        Ok(changed)
    }

    /// The table as the program has it.
    pub(crate) fn table(&self) -> Table {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn counters(&self) -> Result<Counters, MapError> {
        let mut values = [0; Counter::ALL.len()];
        for (counter, value) in Counter::ALL.into_iter().zip(&mut values) {
            let key = (counter as u32).to_ne_bytes();
            let of_each_cpu = self.counters.lookup_percpu(&key, MapFlags::ANY).map_err(|error| MapError::System {
                table: COUNTERS,
                what: "read",
                source: os_error(&error),
            })?;
            *value = of_each_cpu.iter().flatten().map(|bytes| number(bytes)).sum();
        }
        Ok(Counters::from_values(values))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Neither the unspecified address, a multicast group nor the limited broadcast.
pub(crate) fn is_one_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

/// What the kernel's refusal of an entry means.
pub(crate) fn write_error(table: &'static str, capacity: u32, source: io::Error) -> MapError {
    match source.raw_os_error() {
        Some(libc::E2BIG) => MapError::Full { table, capacity },
        _ => MapError::System { table, what: "written", source },
    }
}

/// Whether it was there.
pub(crate) fn remove(map: &MapHandle, table: &'static str, key: &[u8]) -> Result<bool, MapError> {
    match map.delete(key).map_err(|error| os_error(&error)) {
        Ok(()) => Ok(true),
        Err(source) if source.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(source) => Err(MapError::System { table, what: "written", source }),
    }
}
