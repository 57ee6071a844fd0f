//! The rings of a socket that somebody else has made.
//!
//! `socket(AF_XDP)` takes `CAP_NET_RAW`; everything after it takes nothing (Linux 6.18). So a process without any
//! capability can have its sockets from one that has it. Neither libxdp nor xsk-rs takes such sockets for all of a queue,
//! hence this: the same rings as in `xsk.rs`, over the kernel's interface itself (`linux/if_xdp.h`).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bind::{Mode, QueueConfig, XDP_HEADROOM};
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};

/// Gives an `AF_XDP` socket with which nothing was done yet.
pub type GiveSocket<'a> = &'a mut dyn FnMut() -> io::Result<OwnedFd>;

/// Makes an `AF_XDP` socket to be given to another process: one of this thread's network namespace, for any interface of it.
///
/// # Errors
///
/// What the kernel says: EPERM without `CAP_NET_RAW`, EAFNOSUPPORT without `CONFIG_XDP_SOCKETS`.
pub fn new_socket() -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened above and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A piece of mapped memory, which is let go with the value.
pub(crate) struct Mapping {
    base: *mut libc::c_void,
    len: usize,
}

// SAFETY: it is nothing but a piece of address space; who may touch the bytes is said where they are reached.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives an address only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory for frames.
    pub(crate) fn of_frames(config: &QueueConfig) -> io::Result<Self> {
        let huge = if config.huge_pages { libc::MAP_HUGETLB } else { 0 };
        let len = config.frame_count as usize * config.frame_size as usize;
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE | huge, -1, 0)
    }

    fn map(len: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses; it replaces none.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { base, len }) }
    }

    /// The address of the first byte, exposed.
    pub(crate) fn address(&self) -> usize {
        self.base.expose_provenance()
    }

    /// A pointer to what lies `offset` bytes in; none unless all of it is inside and aligned.
    fn at<T>(&self, offset: u64, count: usize) -> io::Result<*mut T> {
        let unexpected = || io::Error::other("the kernel's offsets of a ring are not ones that this program knows");
        let offset = usize::try_from(offset).map_err(|_| unexpected())?;
        let bytes = count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        let fits = bytes.is_some_and(|end| end <= self.len) && offset.is_multiple_of(align_of::<T>());
        if fits { Ok(self.base.wrapping_byte_add(offset).cast()) } else { Err(unexpected()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `map` made it with this length, and nothing points into it any more: rings hold theirs, and the region
        // of frames holds the frames'.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// One ring of entries of `T`, whose other end is the kernel's.
struct Ring<T> {
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    entries: *mut T,
    mask: u32,
    /// The index that is ours, and what we have last seen of the kernel's.
    ours: u32,
    theirs: u32,
    /// What the pointers point into.
    _mapping: Mapping,
}

// SAFETY: all pointers lead into the mapping, which it owns; one thread at a time has the value.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(fd: &OwnedFd, size: u32, page: libc::off_t, offsets: &libc::xdp_ring_offset) -> io::Result<Self> {
        let len = usize::try_from(offsets.desc).map_err(io::Error::other)? + size as usize * size_of::<T>();
        let mapping = Mapping::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), page)?;
        Ok(Self {
            producer: mapping.at(offsets.producer, 1)?,
            consumer: mapping.at(offsets.consumer, 1)?,
            flags: mapping.at(offsets.flags, 1)?,
            entries: mapping.at(offsets.desc, size as usize)?,
            mask: size - 1,
            ours: 0,
            theirs: 0,
            _mapping: mapping,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `map` saw that it lies in the mapping, which lives as long; the kernel changes it atomically only.
        unsafe { &*self.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { &*self.consumer }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        unsafe { &*self.flags }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// How many entries are there to take, looking at the kernel's index only when there are none.
    fn available(&mut self) -> u32 {
        if self.theirs == self.ours {
            self.theirs = self.producer().load(Ordering::Acquire);
        }
        // Never more than the ring has, whatever is written there.
        self.theirs.wrapping_sub(self.ours).min(self.mask + 1)
    }

    /// Takes up to `most` entries.
    fn take(&mut self, most: usize, mut each: impl FnMut(usize, T)) -> usize {
        let count = (self.available() as usize).min(most);
        for at in 0..count {
            let place = self.ours & self.mask;
            // SAFETY: `place` is less than the ring's size, so that it lies in the mapping; the kernel has produced the
            // entry, which we acquired, and does not touch it until we say that we have consumed it.
            each(at, unsafe { ptr::read_volatile(self.entries.add(place as usize)) });
            self.ours = self.ours.wrapping_add(1);
        }
        if count > 0 {
            self.consumer().store(self.ours, Ordering::Release);
        }
        count
    }

    /// How many entries there is room for, looking at the kernel's index only when `wanted` do not fit.
    fn room(&mut self, wanted: usize) -> usize {
        let size = self.mask + 1;
        let free = |ring: &Self| size.saturating_sub(ring.ours.wrapping_sub(ring.theirs));
        if (free(self) as usize) < wanted {
            self.theirs = self.consumer().load(Ordering::Acquire);
        }
        free(self) as usize
    }

    /// Puts entries in; what there is no room for is left out.
    fn put(&mut self, entries: impl ExactSizeIterator<Item = T>) -> usize {
        let count = self.room(entries.len()).min(entries.len());
        for entry in entries.take(count) {
            let place = self.ours & self.mask;
            // SAFETY: `place` is less than the ring's size, so that it lies in the mapping; the kernel has consumed what was
            // there, which we acquired, and does not look until we say that we have produced it.
            unsafe { ptr::write_volatile(self.entries.add(place as usize), entry) };
            self.ours = self.ours.wrapping_add(1);
        }
        self.producer().store(self.ours, Ordering::Release);
        count
    }
}

/// The rings that the kernel shares with this process for one socket that it was given.
pub(crate) struct Given {
    rx: Ring<libc::xdp_desc>,
    tx: Ring<libc::xdp_desc>,
    /// The queue's fill and completion ring, if this is its first socket.
    queue: Option<(Ring<u64>, Ring<u64>)>,
    frame_size: u64,
    /// The last to go: a ring that is mapped holds its socket all the same.
    fd: OwnedFd,
}

impl Given {
    /// Makes `fd` the first socket of the queue, with `frames` as its UMEM.
    pub(crate) fn register(fd: &OwnedFd, config: &QueueConfig, frames: &Mapping) -> io::Result<()> {
        let umem = libc::xdp_umem_reg {
            addr: frames.address() as u64,
            len: frames.len as u64,
            chunk_size: config.frame_size,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(fd, libc::XDP_UMEM_REG, &umem)?;
        set_option(fd, libc::XDP_UMEM_FILL_RING, &config.fill_ring)?;
        set_option(fd, libc::XDP_UMEM_COMPLETION_RING, &config.completion_ring)
    }

    /// Gives the socket its rings and binds it: with the UMEM of `first`, or as the first with its own.
    pub(crate) fn bind(fd: OwnedFd, config: &QueueConfig, ifindex: u32, first: Option<RawFd>) -> io::Result<Self> {
        set_option(&fd, libc::XDP_RX_RING, &config.rx_ring)?;
        set_option(&fd, libc::XDP_TX_RING, &config.tx_ring)?;
        // The rings are mapped before: the kernel maps none of a socket that is bound.
        let offsets: libc::xdp_mmap_offsets = option(&fd, libc::XDP_MMAP_OFFSETS)?;
        let rx = Ring::map(&fd, config.rx_ring, libc::XDP_PGOFF_RX_RING, &offsets.rx)?;
        let tx = Ring::map(&fd, config.tx_ring, libc::XDP_PGOFF_TX_RING, &offsets.tx)?;
        let queue = if first.is_none() {
            let page = |page| libc::off_t::try_from(page).map_err(io::Error::other);
            let fill = page(libc::XDP_UMEM_PGOFF_FILL_RING)?;
            let completion = page(libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
            let fill = Ring::map(&fd, config.fill_ring, fill, &offsets.fr)?;
            Some((fill, Ring::map(&fd, config.completion_ring, completion, &offsets.cr)?))
        } else {
            None
        };
        bind(&fd, config, ifindex, first)?;
        Ok(Self { rx, tx, queue, frame_size: config.frame_size.into(), fd })
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn bind(fd: &OwnedFd, config: &QueueConfig, ifindex: u32, first: Option<RawFd>) -> io::Result<()> {
    let (mut flags, shared) = match first {
        // What the first is bound with counts for all on its UMEM.
        Some(first) => (libc::XDP_SHARED_UMEM, first.cast_unsigned()),
        None => {
            let mode = match config.mode {
                Mode::RequireZerocopy => libc::XDP_ZEROCOPY,
                Mode::PreferZerocopy => 0,
                Mode::Copy | Mode::Skb => libc::XDP_COPY,
            };
            (mode, 0)
        }
    };
    if config.need_wakeup && first.is_none() {
        flags |= libc::XDP_USE_NEED_WAKEUP;
    }
    let address = libc::sockaddr_xdp {
        // It fits: the families are few.
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: shared,
    };
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `address`, which has as many and outlives the call.
    let answer = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_option<T: Copy>(fd: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads the bytes of `value`, which outlives the call and is plain numbers.
    let answer = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, ptr::from_ref(value).cast(), len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Numbers of the kernel's, any bytes of which are a value.
trait Plain: Copy {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_statistics {}

fn option<T: Plain>(fd: &OwnedFd, name: libc::c_int) -> io::Result<T> {
    // SAFETY: `Plain` says that all zeros are one.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`, which has as many, and both outlive the call.
    let answer =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &raw mut len) };
    match answer {
        0 if len as usize == size_of::<T>() => Ok(value),
        0 => Err(io::Error::other("the kernel is older than Linux 5.4, and answers in other words")),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Rings for Given {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        self.rx.take(out.len(), |at, entry| {
            let continues = entry.options & XDP_PKT_CONTD != 0;
            out[at] = RxDescriptor { addr: entry.addr, len: entry.len, continues };
        })
    }

    fn completed(&mut self, out: &mut [u64]) -> usize {
        let Some((_, completion)) = &mut self.queue else { return 0 };
        completion.take(out.len(), |at, address| out[at] = address)
    }

    fn fill_room(&mut self, wanted: usize) -> usize {
        self.queue.as_mut().map_or(0, |(fill, _)| fill.room(wanted))
    }

    fn fill(&mut self, indices: &[u32]) {
        let (size, base) = (self.frame_size, u64::from(XDP_HEADROOM));
        let Some((fill, _)) = &mut self.queue else { return };
        let filled = fill.put(indices.iter().map(|index| u64::from(*index) * size + base));
        debug_assert_eq!(filled, indices.len(), "the fill ring had less room than it said");
    }

    fn transmit_room(&mut self, wanted: usize) -> usize {
        self.tx.room(wanted)
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        let (size, base) = (self.frame_size, u64::from(XDP_HEADROOM));
        let entry = |packet: &TxDescriptor| libc::xdp_desc {
            addr: u64::from(packet.index) * size + base,
            len: packet.len,
            options: 0,
        };
        let sent = self.tx.put(packets.iter().map(entry));
        debug_assert_eq!(sent, packets.len(), "the TX ring had less room than it said");
    }

    fn transmit_pending(&mut self) -> usize {
        let taken = self.tx.consumer().load(Ordering::Acquire);
        self.tx.ours.wrapping_sub(taken) as usize
    }

    fn transmit_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.queue.as_ref().is_some_and(|(fill, _)| fill.needs_wakeup())
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        crate::xsk::wake_transmit(self.fd.as_raw_fd())
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        crate::xsk::wake_fill(self.fd.as_raw_fd())
    }

    fn is_ready(&mut self) -> bool {
        self.rx.available() > 0
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.fd.as_raw_fd())
    }

    fn kept_fd(&self) -> Option<RawFd> {
        // It is closed with the rings.
        None
    }

    fn statistics(&self) -> io::Result<KernelStatistics> {
        let counted: libc::xdp_statistics = option(&self.fd, libc::XDP_STATISTICS)?;
        Ok(KernelStatistics {
            rx_dropped: counted.rx_dropped,
            rx_invalid_descs: counted.rx_invalid_descs,
            tx_invalid_descs: counted.tx_invalid_descs,
            rx_ring_full: counted.rx_ring_full,
            rx_fill_ring_empty_descs: counted.rx_fill_ring_empty_descs,
            tx_ring_empty_descs: counted.tx_ring_empty_descs,
        })
    }
}

/// The packet goes on in the next descriptor (`linux/if_xdp.h`).
const XDP_PKT_CONTD: u32 = 1;
