//! Where the kernel's own TCP sockets listen: what they have is not taken from them.

use super::netlink::Netlink;
use corelane_proto::{Addr, SocketAddr};
use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage};
use rustix::net::netlink::SOCK_DIAG;
use std::fmt;
use std::io;
use std::path::Path;

/// `INET_DIAG_SKV6ONLY` (`linux/inet_diag.h`).
const SKV6ONLY: u16 = 11;

/// A program that holds a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel cuts it: 15 characters.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// A TCP socket of the kernel that listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelListener {
    /// Where; the unspecified address means every one of its family.
    pub local: SocketAddr,
    /// The index of the one interface that it is bound to; `None`: all.
    pub interface: Option<u32>,
    /// Whether one at the unspecified IPv6 address takes IPv4 connections too.
    pub takes_v4: bool,
    /// The number by which a process holds it.
    inode: u32,
}

impl KernelListener {
    /// Whether it takes connections to `wanted` that come by the interface of this index. The unspecified address as
    /// `wanted` stands for all addresses of its family.
    pub fn takes(&self, wanted: SocketAddr, interface: u32) -> bool {
        let on_interface = self.interface.is_none_or(|index| index == interface);
        let any = self.local.addr.is_unspecified();
        let same_family = self.local.addr.is_v4() == wanted.addr.is_v4();
        let addr = match (same_family, any) {
            (true, true) => true,
            (true, false) => self.local.addr == wanted.addr || wanted.addr.is_unspecified(),
            (false, true) => wanted.addr.is_v4() && self.takes_v4,
            (false, false) => false,
        };
        on_interface && self.local.port == wanted.port && addr
    }

    /// The program that holds it, if it can be found: only root sees those of others.
    pub fn holder(&self) -> Option<Holder> {
        let wanted = format!("socket:[{}]", self.inode);
        let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((pid, entry.path()))
        });
        pids.into_iter().find(|(_, path)| holds(path, &wanted)).map(|(pid, path)| {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            Holder { pid, name: name.trim_end().to_owned() }
        })
    }
}

/// Whether the process at `path` has a descriptor of this socket.
fn holds(path: &Path, socket: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir(path.join("fd")) else { return false };
    descriptors.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == socket))
}

/// A listener of the kernel is where one of ours is wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{wanted} cannot be listened on: {} listens on {held} in the kernel; stop it, or choose another port or address",
    .holder.as_ref().map_or("another program".to_owned(), ToString::to_string)
)]
pub struct ListenerConflict {
    /// What was wanted.
    pub wanted: SocketAddr,
    /// Where the kernel's socket listens.
    pub held: SocketAddr,
    /// Whose it is, if that could be found.
    pub holder: Option<Holder>,
}

/// Every TCP socket of this network namespace that listens.
///
/// # Errors
/// The kernel cannot be asked.
pub fn kernel_listeners() -> io::Result<Vec<KernelListener>> {
    let mut socket = Netlink::open(Some(SOCK_DIAG), 0)?;
    let mut found = Vec::new();
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        };
        let all = socket.dump(&SockDiagMessage::InetRequest(request))?;
        found.extend(all.iter().filter_map(|message| match message {
            SockDiagMessage::InetResponse(response) => Some(listener_of(response)),
            _ => None,
        }));
    }
    Ok(found)
}

/// The listener of the kernel that is in the way of one of ours at `wanted`, on the interface of this index. To be asked
/// before ours is registered: from then on the kernel's would get no more connections, without a word.
///
/// # Errors
/// The kernel cannot be asked; that there is none is not known then.
pub fn conflict(wanted: SocketAddr, interface: u32) -> io::Result<Option<ListenerConflict>> {
    Ok(kernel_listeners()?.iter().find(|listener| listener.takes(wanted, interface)).map(|listener| ListenerConflict {
        wanted,
        held: listener.local,
        holder: listener.holder(),
    }))
}

fn listener_of(response: &InetResponse) -> KernelListener {
    let header = &response.header;
    let addr = Addr::from(header.socket_id.source_address);
    let v6_only = response.nlas.iter().any(|nla| {
        let mut value = [0];
        let is_flag = matches!(nla, Nla::Other(other) if other.kind() == SKV6ONLY && other.value_len() == 1);
        if let (true, Nla::Other(other)) = (is_flag, nla) {
            other.emit_value(&mut value);
        }
        value == [1]
    });
    KernelListener {
        local: SocketAddr::new(addr, header.socket_id.source_port),
        interface: (header.socket_id.interface_id != 0).then_some(header.socket_id.interface_id),
        takes_v4: !addr.is_v4() && !v6_only,
        inode: header.inode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn at(addr: &str, port: u16) -> SocketAddr {
        SocketAddr::new(addr.parse::<IpAddr>().unwrap().into(), port)
    }

    fn listener(addr: &str, takes_v4: bool) -> KernelListener {
        KernelListener { local: at(addr, 80), interface: None, takes_v4, inode: 1 }
    }

    #[test]
    fn what_a_socket_takes_is_what_the_kernel_would_give_it() {
        for (held, takes_v4, wanted, taken) in [
            ("0.0.0.0", false, "10.0.0.1", true),
            ("0.0.0.0", false, "0.0.0.0", true),
            ("10.0.0.1", false, "10.0.0.1", true),
            ("10.0.0.1", false, "10.0.0.2", false),
            ("10.0.0.1", false, "0.0.0.0", true),
            ("::", true, "10.0.0.1", true),
            ("::", false, "10.0.0.1", false),
            ("::", false, "2001:db8::1", true),
            ("2001:db8::1", true, "10.0.0.1", false),
            ("0.0.0.0", false, "2001:db8::1", false),
            ("2001:db8::1", false, "::", true),
        ] {
            assert_eq!(listener(held, takes_v4).takes(at(wanted, 80), 2), taken, "{held} and {wanted}");
            assert!(!listener(held, takes_v4).takes(at(wanted, 81), 2), "another port");
        }
        let bound = KernelListener { interface: Some(3), ..listener("0.0.0.0", false) };
        assert!(!bound.takes(at("10.0.0.1", 80), 2) && bound.takes(at("10.0.0.1", 80), 3));
    }

    #[test]
    fn a_conflict_says_who_is_in_the_way() {
        let mut conflict = ListenerConflict {
            wanted: at("10.0.0.1", 22),
            held: at("0.0.0.0", 22),
            holder: Some(Holder { pid: 812, name: "sshd".into() }),
        };
        assert!(conflict.to_string().contains("sshd (pid 812) listens on 0.0.0.0:22"), "{conflict}");
        conflict.holder = None;
        assert!(conflict.to_string().contains("another program listens"), "{conflict}");
    }
}
