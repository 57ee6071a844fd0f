//! The least that receiving by `AF_XDP` takes, to measure what more costs: a program that looks at no packet, and a loop
//! that gives each frame back unseen. Not for use: there are no owned frames here, and nothing can be sent.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libxdp_sys::{bpf_insn, bpf_link_create, bpf_map_create, bpf_map_update_elem, bpf_prog_load};

use crate::bind::{OpenError, QueueConfig, Step};
use crate::either::Xsk;
use crate::interface::Interface;
use crate::rings::{KernelStatistics, Rings, RxDescriptor};
use crate::sync::Arc;
use crate::umem::Region;
use crate::xsk::bind_patiently;

/// One BPF instruction (`struct bpf_insn`).
pub(crate) type Code = [u8; 8];

/// `BPF_MAP_TYPE_XSKMAP`, `BPF_PROG_TYPE_XDP` and `BPF_XDP` (`linux/bpf.h`).
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// The keys that [`RedirectAll`] has room for.
const MAX_KEYS: u32 = 64;

/// Packets that [`Receiver::receive`] takes in one go.
const BURST: usize = 64;

/// The smallest XDP program: each packet goes to the `AF_XDP` socket of its queue, or else passes. It is attached until
/// this is dropped; drop it before the queues.
pub struct RedirectAll {
    map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl RedirectAll {
    /// Its instructions, two of which are one.
    pub const INSTRUCTIONS: u32 = 5;

    /// Loads the program and attaches it to `interface`, of this thread's namespace.
    ///
    /// # Errors
    ///
    /// What the kernel says: without `CAP_BPF` and `CAP_NET_ADMIN` EPERM, where a program is already EBUSY.
    pub fn attach(interface: &str) -> io::Result<Self> {
        Self::with(interface, |[m0, m1, m2, m3]| {
            vec![
                [0x61, 0x12, 16, 0, 0, 0, 0, 0],    // r2 = ctx->rx_queue_index
                [0x18, 0x11, 0, 0, m0, m1, m2, m3], // r1 = map
                [0; 8],                             //
                [0xb7, 0x03, 0, 0, 2, 0, 0, 0],     // r3 = XDP_PASS
                [0x85, 0, 0, 0, 51, 0, 0, 0],       // r0 = bpf_redirect_map(r1, r2, r3)
                [0x95, 0, 0, 0, 0, 0, 0, 0],        // return r0
            ]
        })
    }

    /// The same with the instructions that `code` makes of the map's descriptor.
    pub(crate) fn with(interface: &str, code: impl FnOnce([u8; 4]) -> Vec<Code>) -> io::Result<Self> {
        let name = c"redirect_all";
        // SAFETY: the name ends in NUL and outlives the call; no options.
        let map = owned(unsafe { bpf_map_create(MAP_TYPE_XSKMAP, name.as_ptr(), 4, 4, MAX_KEYS, ptr::null()) })?;
        let program = load(PROG_TYPE_XDP, name, &code(map.as_raw_fd().to_ne_bytes()))?;
        let link = attach(&program, interface, ATTACH_XDP)?;
        Ok(Self { map, _program: program, _link: link })
    }

    /// Gives the packets of a key, which is a queue, to `socket`.
    ///
    /// # Errors
    ///
    /// What the kernel says: E2BIG if there is no such key, EOPNOTSUPP if it is no `AF_XDP` socket.
    pub fn register(&self, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd();
        // SAFETY: key and value have the 4 bytes that the map was made with, and outlive the call.
        let answer =
            unsafe { bpf_map_update_elem(self.map.as_raw_fd(), (&raw const key).cast(), (&raw const value).cast(), 0) };
        if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(()) }
    }
}

/// Loads a program of these instructions.
pub(crate) fn load(kind: u32, name: &CStr, code: &[Code]) -> io::Result<OwnedFd> {
    // SAFETY: the code is as many instructions of 8 bytes as it says, which the kernel checks; all strings end in NUL.
    owned(unsafe {
        let first = code.as_ptr().cast::<bpf_insn>();
        bpf_prog_load(kind, name.as_ptr(), c"GPL".as_ptr(), first, code.len(), ptr::null_mut())
    })
}

/// Attaches it to an interface of this thread's namespace.
pub(crate) fn attach(program: &OwnedFd, interface: &str, place: u32) -> io::Result<OwnedFd> {
    let index = Interface::query(interface).map_err(io::Error::other)?.index;
    let index = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: two numbers that the kernel checks; no options.
    owned(unsafe { bpf_link_create(program.as_raw_fd(), index, place, ptr::null()) })
}

/// A descriptor that libbpf has just opened, or the error that it answered.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the caller has just opened it and hands it over.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One socket of which only the receive and the fill ring are used.
pub struct Receiver {
    rings: Xsk,
    frame_size: u64,
    // The last to go: the rings' memory.
    _region: Arc<Region>,
}

impl Receiver {
    /// Opens a queue as `config` says, and fills its fill ring.
    ///
    /// # Errors
    ///
    /// Each [`OpenError`] says what to do about it.
    pub fn open(config: &QueueConfig) -> Result<Self, OpenError> {
        config.check()?;
        let found = Interface::query(&config.interface)?;
        config.check_interface(&found)?;
        let bound = bind_patiently(config, &found, &[0], None)?;
        let no_socket =
            || OpenError::translate(Step::Event, io::Error::from_raw_os_error(libc::EINVAL), config, &found);
        let socket = bound.sockets.into_iter().next().ok_or_else(no_socket)?;
        let mut receiver =
            Self { rings: socket.rings, frame_size: config.frame_size.into(), _region: Arc::clone(&bound.region) };
        let all: Vec<u32> = (0..config.fill_ring.min(config.frame_count)).collect();
        for batch in all.chunks(BURST) {
            if receiver.rings.fill_room(batch.len()) >= batch.len() {
                receiver.rings.fill(batch);
            }
        }
        Ok(receiver)
    }

    /// Gives every packet that is there, up to 64, back to the fill ring; says how many that were.
    pub fn receive(&mut self) -> usize {
        let (mut packets, mut indices) = ([RxDescriptor::default(); BURST], [0_u32; BURST]);
        let count = self.rings.receive(&mut packets);
        for (index, packet) in indices.iter_mut().zip(&packets[..count]) {
            // Fewer than 2^32 frames.
            *index = (packet.addr / self.frame_size) as u32;
        }
        // What the kernel has taken out of the ring there is room for.
        if count > 0 && self.rings.fill_room(count) >= count {
            self.rings.fill(&indices[..count]);
        }
        if self.rings.fill_needs_wakeup() {
            // Nothing is lost if it fails: the flag stays set.
            let _ = self.rings.wake_fill();
        }
        count
    }

    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// What `getsockopt(2)` says.
    pub fn statistics(&self) -> io::Result<KernelStatistics> {
        self.rings.statistics()
    }

    /// The socket, for an XSKMAP.
    ///
    /// # Errors
    ///
    /// None with the kernel's rings.
    pub fn fd(&self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.rings.fd().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        // SAFETY: the socket is open as long as the rings are, which the answer borrows.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}
