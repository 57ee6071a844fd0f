//! Attaching by `bpf_link`, and changing what it attaches: the one place here that is unsafe.
//!
//! libbpf's `bpf_program__attach_xdp`, and with it libbpf-rs, has no room for flags: the kernel then picks native mode
//! if the driver has it, and generic mode cannot be asked for. The other way, over netlink, takes flags but makes no
//! link, and its attachment outlives a killed process. So the call below it, `bpf_link_create`, is made here.
#![expect(unsafe_code, reason = "libbpf-rs cannot create an XDP link with a mode; see above")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;

/// Attaches an XDP program to an interface; the attachment ends when the descriptor, or its process, goes.
///
/// `flags` are `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE`. A program that is attached already makes it fail with
/// EBUSY or EEXIST: a link never replaces.
pub(crate) fn attach(program: BorrowedFd<'_>, ifindex: i32, flags: u32) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags,
        ..Default::default()
    };
    // SAFETY: `program` is open for as long as the call lasts, `options` is initialised, says its own size and lives
    // on this stack; libbpf reads it and keeps nothing.
    let link =
        unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), ifindex, libbpf_sys::BPF_XDP, &raw const options) };
    if link < 0 {
        return Err(io::Error::from_raw_os_error(-link));
    }
    // SAFETY: the call made this descriptor, and nobody else has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Puts another program in the place of the one that a link attaches, between two packets.
pub(crate) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open for as long as the call lasts; without options nothing else is read.
    let answer = unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null()) };
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(()) }
}
