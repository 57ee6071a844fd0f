//! The program's maps as tables of registrations.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object};
use zerocopy::IntoBytes;

use crate::error::{AttachError, MapError};
use crate::info::os_error;
use crate::object::lacks;
use crate::shared::{Address, Config, Counter, Counters, ListenerKey, MAX_LISTENERS, MAX_OWN_ADDRESSES};

const LISTENERS: &str = "listeners";
const OWN_ADDRESSES: &str = "own addresses";
const SOCKETS: &str = "sockets";
const COUNTERS: &str = "counters";

/// The value of a registration, reserved and 0.
const REGISTERED: [u8; 4] = [0; 4];

pub(crate) struct Maps {
    listeners: MapHandle,
    own_addresses: MapHandle,
    config: MapHandle,
    xsks: MapHandle,
    counters: MapHandle,
}

impl Maps {
    pub(crate) fn of(object: &Object) -> Result<Self, AttachError> {
        let find = |name: &str| {
            let map = object.maps().find(|map| map.name() == name).ok_or_else(|| lacks(name))?;
            MapHandle::try_from(&map)
                .map_err(|error| AttachError::Load { source: os_error(&error), log: String::new() })
        };
        Ok(Self {
            listeners: find("listeners")?,
            own_addresses: find("own_addresses")?,
            config: find("config")?,
            xsks: find("xsks")?,
            counters: find("counters")?,
        })
    }

    pub(crate) fn set_config(&self, config: Config) -> io::Result<()> {
        self.config.update(&0_u32.to_ne_bytes(), config.as_bytes(), MapFlags::ANY).map_err(|error| os_error(&error))
    }

    pub(crate) fn add_listener(&self, address: IpAddr, port: u16) -> Result<(), MapError> {
        if port == 0 || !is_one_host(address) {
            return Err(MapError::Wildcard { address, port });
        }
        let key = ListenerKey::tcp(address, port);
        insert(&self.listeners, LISTENERS, MAX_LISTENERS, key.as_bytes())
    }

    pub(crate) fn remove_listener(&self, address: IpAddr, port: u16) -> Result<bool, MapError> {
        remove(&self.listeners, LISTENERS, ListenerKey::tcp(address, port).as_bytes())
    }

    pub(crate) fn add_own_address(&self, address: IpAddr) -> Result<(), MapError> {
        if !is_one_host(address) {
            return Err(MapError::Wildcard { address, port: 0 });
        }
        insert(&self.own_addresses, OWN_ADDRESSES, MAX_OWN_ADDRESSES, Address::from(address).as_bytes())
    }

    pub(crate) fn remove_own_address(&self, address: IpAddr) -> Result<bool, MapError> {
        remove(&self.own_addresses, OWN_ADDRESSES, Address::from(address).as_bytes())
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
fn is_one_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

fn insert(map: &MapHandle, table: &'static str, capacity: u32, key: &[u8]) -> Result<(), MapError> {
    map.update(key, &REGISTERED, MapFlags::ANY).map_err(|error| {
        let source = os_error(&error);
        match source.raw_os_error() {
            Some(libc::E2BIG) => MapError::Full { table, capacity },
            _ => MapError::System { table, what: "written", source },
        }
    })
}

/// Whether it was there.
fn remove(map: &MapHandle, table: &'static str, key: &[u8]) -> Result<bool, MapError> {
    match map.delete(key).map_err(|error| os_error(&error)) {
        Ok(()) => Ok(true),
        Err(source) if source.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(source) => Err(MapError::System { table, what: "written", source }),
    }
}
