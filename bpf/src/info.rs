//! What is attached to an interface, as the kernel tells it.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use libbpf_rs::libbpf_sys::{XDP_ATTACHED_DRV, XDP_ATTACHED_HW, XDP_ATTACHED_NONE, XDP_ATTACHED_SKB};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Xdp, XdpFlags};
use rustix::net::{AddressFamily, SocketType};

/// Where in the receive path an attached program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel has made a socket buffer.
    Native,
    /// Generic, also called skb mode: in the kernel's core, after the socket buffer is made.
    Generic,
    /// On the card.
    Offloaded,
    /// Several programs at once, in different modes.
    Several,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic (skb)",
            Self::Offloaded => "offloaded",
            Self::Several => "several",
        })
    }
}

/// An XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The kernel's number for it, as `bpftool prog` shows it.
    pub id: u32,
    /// Its name, at most 15 bytes; `None` if there is none or this process may not ask (`CAP_SYS_ADMIN`).
    pub name: Option<String>,
    /// Where it runs.
    pub mode: Mode,
}

impl fmt::Display for ProgramInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "program {} \"{name}\" in {} mode", self.id, self.mode),
            None => write!(f, "program {} in {} mode", self.id, self.mode),
        }
    }
}

/// The XDP program on the interface with this index, whoever attached it; `None` if there is none.
///
/// It needs no privilege, save for the program's name. Where a driver runs several at once, the first is named and
/// the mode is [`Mode::Several`].
///
/// # Errors
/// ENODEV if there is no such interface in this network namespace; else what netlink answered.
pub fn program_on(ifindex: u32) -> io::Result<Option<ProgramInfo>> {
    interface_name(ifindex)?;
    // The question goes over netlink and concerns no program of ours, but the type wants a descriptor: any does.
    let any = any_socket()?;
    let ifindex = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let found = Xdp::new(any.as_fd()).query(ifindex, XdpFlags::NONE).map_err(|error| os_error(&error))?;
    let mode = match u32::from(found.attach_mode) {
        XDP_ATTACHED_NONE => return Ok(None),
        XDP_ATTACHED_DRV => Mode::Native,
        XDP_ATTACHED_SKB => Mode::Generic,
        XDP_ATTACHED_HW => Mode::Offloaded,
        _ => Mode::Several,
    };
    let ids = [found.prog_id, found.drv_prog_id, found.skb_prog_id, found.hw_prog_id];
    let id = ids.into_iter().find(|id| *id != 0).unwrap_or(0);
    Ok(Some(ProgramInfo { id, name: program_name(id), mode }))
}

fn program_name(id: u32) -> Option<String> {
    let program = ProgInfoIter::default().find(|program| program.id == id)?;
    let name = program.name.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

/// The name of an interface of this network namespace; ENODEV if there is none with this index.
pub(crate) fn interface_name(ifindex: u32) -> io::Result<String> {
    rustix::net::netdevice::index_to_name(any_socket()?, ifindex).map_err(|error| match error {
        rustix::io::Errno::NXIO => io::Error::from_raw_os_error(libc::ENODEV),
        other => other.into(),
    })
}

/// The MTU in bytes, if /sys shows this network namespace's interfaces (it shows those of whoever mounted it).
pub(crate) fn mtu(ifindex: u32) -> Option<u32> {
    let name = interface_name(ifindex).ok()?;
    let read = |file: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok()?.trim().parse().ok();
    (read("ifindex") == Some(ifindex)).then(|| read("mtu")).flatten()
}

fn any_socket() -> io::Result<std::os::fd::OwnedFd> {
    Ok(rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?)
}

/// The errno behind an error of libbpf-rs. It keeps the `io::Error` to itself, save for what it prints, and that ends
/// in "(os error N)", as the standard library writes it.
pub(crate) fn os_error(error: &libbpf_rs::Error) -> io::Error {
    let text = format!("{error:#}");
    let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    number.map_or_else(|| io::Error::other(text), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use libbpf_rs::ErrorExt;

    use super::*;

    #[test]
    fn an_errno_comes_back_through_contexts() {
        let plain = libbpf_rs::Error::from_raw_os_error(libc::E2BIG);
        assert_eq!(os_error(&plain).raw_os_error(), Some(libc::E2BIG));
        let wrapped = libbpf_rs::Error::from_raw_os_error(libc::EPERM).context("loading");
        assert_eq!(os_error(&wrapped).raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn an_interface_that_is_not_there_is_enodev() {
        let error = program_on(0x7fff_0000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
