//! What the kernel says of an interface, asked by ioctl in the caller's network namespace.

use std::ffi::{CString, c_ulong};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Asks for the numbers of channels (`linux/ethtool.h`).
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const SIOCETHTOOL: c_ulong = 0x8946;

/// Why an interface could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// A name that no interface can have.
    #[error("`{interface}` is not an interface name; it has 1 to 15 bytes, none of them `/` or a space")]
    Name {
        /// The name.
        interface: String,
    },
    /// There is no such interface here.
    #[error("there is no interface {interface} in this network namespace; `ip link` lists those there are")]
    Missing {
        /// The name.
        interface: String,
    },
    /// It is no Ethernet interface.
    #[error("interface {interface} is not Ethernet (its ARP hardware type is {kind}); only Ethernet is supported")]
    NotEthernet {
        /// The name.
        interface: String,
        /// The hardware type (`linux/if_arp.h`).
        kind: u16,
    },
    /// Anything else.
    #[error("asking for the {what} of interface {interface} failed: {error}")]
    Ask {
        /// The name.
        interface: String,
        /// What was asked.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// One interface as it was when it was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// How many receive queues it has; none where the driver does not say.
    pub queues: Option<u32>,
}

/// `struct ethtool_channels` (`linux/ethtool.h`).
#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

/// A name and a socket to ask with.
struct Asker<'a> {
    socket: OwnedFd,
    name: &'a str,
    request: libc::ifreq,
}

impl<'a> Asker<'a> {
    fn new(name: &'a str) -> Result<Self, InterfaceError> {
        let refused = || InterfaceError::Name { interface: name.to_owned() };
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.iter().any(|b| matches!(b, 0 | b'/' | b' ')) {
            return Err(refused());
        }
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            return Err(InterfaceError::Ask { interface: name.to_owned(), what: "properties", error });
        }
        // SAFETY: the descriptor was opened above and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: `ifreq` is plain integers, arrays and a pointer, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
            *to = from.cast_signed();
        }
        Ok(Self { socket, name, request })
    }

    fn ask(&mut self, what: &'static str, code: c_ulong) -> Result<(), InterfaceError> {
        // SAFETY: every code used here reads and writes one `ifreq`, which lives until the call is over; SIOCETHTOOL
        // also follows `ifru_data`, which `queues` points at a `Channels` that outlives the call.
        let answer = unsafe { libc::ioctl(self.socket.as_raw_fd(), code, &raw mut self.request) };
        if answer == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        let interface = self.name.to_owned();
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Err(InterfaceError::Missing { interface }),
            _ => Err(InterfaceError::Ask { interface, what, error }),
        }
    }

    fn up(&mut self) -> Result<bool, InterfaceError> {
        self.ask("flags", libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS has just written this field of the union.
        let flags = unsafe { self.request.ifr_ifru.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_UP != 0)
    }

    fn mtu(&mut self) -> Result<u32, InterfaceError> {
        self.ask("MTU", libc::SIOCGIFMTU)?;
        // SAFETY: SIOCGIFMTU has just written this field of the union.
        let mtu = unsafe { self.request.ifr_ifru.ifru_mtu };
        Ok(u32::try_from(mtu).unwrap_or(0))
    }

    fn mac(&mut self) -> Result<[u8; 6], InterfaceError> {
        self.ask("address", libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR has just written this field of the union.
        let address = unsafe { self.request.ifr_ifru.ifru_hwaddr };
        if address.sa_family != libc::ARPHRD_ETHER {
            let (interface, kind) = (self.name.to_owned(), address.sa_family);
            return Err(InterfaceError::NotEthernet { interface, kind });
        }
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(address.sa_data) {
            *to = from.cast_unsigned();
        }
        Ok(mac)
    }

    fn queues(&mut self) -> Option<u32> {
        let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
        self.request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        self.ask("channels", SIOCETHTOOL).ok()?;
        Some(channels.combined_count + channels.rx_count.max(channels.tx_count))
    }
}

impl Interface {
    /// Asks the kernel about the interface called `name`. Needs no privilege.
    ///
    /// # Errors
    ///
    /// When there is none of that name in this network namespace, or it is not Ethernet.
    pub fn query(name: &str) -> Result<Self, InterfaceError> {
        let mut asker = Asker::new(name)?;
        let (up, mtu, mac, queues) = (asker.up()?, asker.mtu()?, asker.mac()?, asker.queues());
        let missing = || InterfaceError::Missing { interface: name.to_owned() };
        let c_name = CString::new(name).map_err(|_| missing())?;
        // SAFETY: `c_name` is a string that ends in NUL and lives until the call is over.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(missing());
        }
        Ok(Self { name: name.to_owned(), index, mac, mtu, up, queues })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused() {
        for name in ["", "a/b", "a b", "sixteen-bytes-ab"] {
            assert!(matches!(Interface::query(name), Err(InterfaceError::Name { .. })), "{name}");
        }
    }

    /// Miri knows no such ioctl.
    #[cfg(not(miri))]
    #[test]
    fn a_missing_interface_is_said_to_be_missing() {
        let error = Interface::query("no-such-if0").unwrap_err();
        assert!(error.to_string().contains("`ip link`"), "{error}");
    }

    /// Miri knows no such ioctl.
    #[cfg(not(miri))]
    #[test]
    fn the_loopback_is_not_ethernet() {
        assert!(matches!(Interface::query("lo"), Err(InterfaceError::NotEthernet { kind: 772, .. })));
    }
}
