//! The kernel's rings, through xsk-rs.

use std::error::Error as _;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use xsk_rs::config::{
    BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, SocketConfigBuilder, UmemConfig, UmemConfigBuilder,
};
use xsk_rs::socket::{RxQueue, Socket, TxQueue};
use xsk_rs::umem::{CompQueue, FillQueue, Umem};
use xsk_rs::{FrameDesc, config};

use crate::bind::{LINK_HEADER, Mode, ModeInForce, OpenError, QueueConfig, Step, XDP_HEADROOM};
use crate::interface::Interface;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::umem::Region;

/// The first pause before a busy queue is tried again; each is twice the one before it.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How many descriptors one call translates at most.
const SCRATCH: usize = 64;

/// The rings that the kernel shares with this process for one `AF_XDP` socket.
pub struct Xsk {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    /// Another handle to the UMEM that the rings' frames lie in.
    umem: Umem,
    /// The descriptor of each frame, by index, as the UMEM gave them out. xsk-rs has no other way to make one.
    frames: Box<[FrameDesc]>,
    tx_entries: usize,
    scratch: Vec<FrameDesc>,
}

impl Queue<Xsk> {
    /// Makes a UMEM, binds a socket on it to the queue, and fills the fill ring.
    ///
    /// xsk-rs hands out the fill ring only after bind, so the ring is filled right after it, and before this function
    /// returns: that is before the socket can be in an XSKMAP, and so before any packet can be meant for it. The kernel
    /// is then woken, for drivers that looked into the empty ring while binding.
    ///
    /// No XDP program is loaded or attached. While another socket holds the queue, as one that was just closed does for
    /// a moment, it is tried again for [`QueueConfig::busy_timeout`].
    ///
    /// # Errors
    ///
    /// Each [`OpenError`] says what to do about it.
    pub fn open(config: &QueueConfig) -> Result<Self, OpenError> {
        config.check()?;
        let found = Interface::query(&config.interface)?;
        let (interface, queue) = (config.interface.clone(), config.queue);
        if !found.up {
            return Err(OpenError::InterfaceDown { interface });
        }
        if found.mtu > config.max_mtu() {
            let (mtu, max_mtu, frame_size) = (found.mtu, config.max_mtu(), config.frame_size);
            return Err(OpenError::MtuTooBig { interface, mtu, max_mtu, frame_size });
        }
        if let Some(queues) = found.queues.filter(|queues| queue >= *queues) {
            return Err(OpenError::NoSuchQueue { interface, queue, queues });
        }
        let (xsk, pool) = bind_patiently(config, &found)?;
        let mode = xsk.mode().map_err(|error| OpenError::translate(Step::Options, error, config, &found))?;
        if config.mode == Mode::RequireZerocopy && mode != ModeInForce::Zerocopy {
            return Err(OpenError::ModeUnsupported { interface, queue, mode: config.mode });
        }
        let max_len = (found.mtu + LINK_HEADER) as usize;
        Ok(Self::over(xsk, pool, mode, max_len))
    }

    /// The socket, for the XSKMAP.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as the rings live, and they are borrowed with `self`.
        unsafe { BorrowedFd::borrow_raw(self.rings.raw_fd()) }
    }
}

/// Binds, and tries again while the queue is busy. Each attempt has a UMEM of its own, because what libxdp and the
/// kernel leave behind in one after a refused bind is not something to build on.
fn bind_patiently(config: &QueueConfig, found: &Interface) -> Result<(Xsk, Pool), OpenError> {
    let (mut pause, mut paused) = (BUSY_PAUSE, Duration::ZERO);
    loop {
        match bind(config, found) {
            Err(OpenError::QueueBusy { .. }) if paused + pause <= config.busy_timeout => {
                thread::sleep(pause);
                paused += pause;
                pause *= 2;
            }
            other => return other,
        }
    }
}

fn bind(config: &QueueConfig, found: &Interface) -> Result<(Xsk, Pool), OpenError> {
    let translate = |step, error| OpenError::translate(step, error, config, found);
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let settings = umem_config(config).ok_or_else(|| translate(Step::Umem, invalid()))?;
    let count = NonZeroU32::new(config.frame_count).ok_or_else(|| translate(Step::Umem, invalid()))?;
    let (umem, frames) = Umem::new(settings, count, config.huge_pages)
        .map_err(|error| translate(Step::Umem, os_error(error.source())))?;

    let options = socket_config(config).ok_or_else(|| translate(Step::Bind, invalid()))?;
    let name = config.interface.parse::<config::Interface>().map_err(|_| translate(Step::Bind, invalid()))?;
    // SAFETY: the contract concerns a UMEM shared by sockets on one (interface, queue) that load a program; this UMEM
    // is new, has one socket, and loading is inhibited.
    let bound = unsafe { Socket::new(options, &umem, &name, config.queue) };
    let (tx, rx, rings) = bound.map_err(|error| translate(Step::Bind, os_error(error.source())))?;
    // A UMEM's first socket always gets them.
    let Some((fill, completion)) = rings else { return Err(translate(Step::Bind, invalid())) };

    let base = first_byte(&umem, &frames);
    // SAFETY: `base` is the exposed address of the UMEM's first byte, and it was made with `frame_count` chunks of
    // `frame_size` bytes, whose data areas begin behind the kernel's headroom (our own headroom is 0), which `check`
    // saw to be less than a chunk. xsk-rs reaches the memory only when asked to, which `transmit` alone does, for a
    // frame that is the kernel's by then.
    let region = unsafe {
        Region::umem(umem.clone(), base, config.frame_count, config.frame_size as usize, XDP_HEADROOM as usize)
    };
    let pool = Pool::new(region, config.receive_reserve);
    let scratch = Vec::with_capacity(SCRATCH);
    let tx_entries = config.tx_ring as usize;
    Ok((Xsk { rx, tx, fill, completion, umem, frames: frames.into(), tx_entries, scratch }, pool))
}

/// The address of the UMEM's first byte, exposed so that [`Region`] may make pointers of it.
fn first_byte(umem: &Umem, frames: &[FrameDesc]) -> usize {
    // SAFETY: the descriptor is one of this UMEM's, nobody has a frame yet and no ring has been filled, so nobody
    // writes there. Its length is 0, so that no byte is read either.
    let data = unsafe { umem.data(&frames[0]) };
    data.contents().as_ptr().expose_provenance() - XDP_HEADROOM as usize
}

/// The errno that xsk-rs hides one level down.
fn os_error(source: Option<&(dyn std::error::Error + 'static)>) -> io::Error {
    source
        .and_then(|error| error.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(|| io::Error::other("libxdp gave no reason"), io::Error::from_raw_os_error)
}

fn umem_config(config: &QueueConfig) -> Option<UmemConfig> {
    UmemConfigBuilder::new()
        .frame_size(FrameSize::new(config.frame_size).ok()?)
        .fill_queue_size(QueueSize::new(config.fill_ring).ok()?)
        .comp_queue_size(QueueSize::new(config.completion_ring).ok()?)
        .frame_headroom(0)
        .build()
        .ok()
}

fn socket_config(config: &QueueConfig) -> Option<SocketConfig> {
    // Without either flag the kernel takes zero-copy if the driver can do it and falls back to copying by itself.
    let mut flags = match config.mode {
        Mode::RequireZerocopy => BindFlags::XDP_ZEROCOPY,
        Mode::PreferZerocopy => BindFlags::empty(),
        Mode::Copy | Mode::Skb => BindFlags::XDP_COPY,
    };
    flags.set(BindFlags::XDP_USE_NEED_WAKEUP, config.need_wakeup);
    let options = SocketConfigBuilder::new()
        .rx_queue_size(QueueSize::new(config.rx_ring).ok()?)
        .tx_queue_size(QueueSize::new(config.tx_ring).ok()?)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(flags)
        .build();
    Some(options)
}

impl Xsk {
    fn raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// The mode in force, by `XDP_OPTIONS`.
    fn mode(&self) -> io::Result<ModeInForce> {
        let mut options = libc::xdp_options { flags: 0 };
        let mut len: libc::socklen_t = 4;
        debug_assert_eq!(size_of::<libc::xdp_options>(), 4);
        // SAFETY: the kernel writes at most `len` bytes to `options`, which has as many, and both outlive the call.
        let answer = unsafe {
            let value = (&raw mut options).cast();
            libc::getsockopt(self.raw_fd(), libc::SOL_XDP, libc::XDP_OPTIONS, value, &raw mut len)
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        let zerocopy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(if zerocopy { ModeInForce::Zerocopy } else { ModeInForce::Copy })
    }

    fn wake(&self, call: impl FnOnce(RawFd) -> isize) -> io::Result<()> {
        if call(self.raw_fd()) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Rings for Xsk {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        self.scratch.clear();
        self.scratch.resize(out.len().min(SCRATCH), FrameDesc::default());
        // SAFETY: the ring is of the socket that the UMEM of our frames is bound to. `consume` only copies descriptors.
        let got = unsafe { self.rx.consume(&mut self.scratch) };
        for (to, from) in out.iter_mut().zip(&self.scratch[..got]) {
            *to = RxDescriptor {
                addr: from.addr() as u64,
                len: u32::try_from(from.lengths().data()).unwrap_or(u32::MAX),
                continues: from.has_more_frames(),
            };
        }
        got
    }

    fn completed(&mut self, out: &mut [u64]) -> usize {
        self.scratch.clear();
        self.scratch.resize(out.len().min(SCRATCH), FrameDesc::default());
        // SAFETY: as in `receive`.
        let got = unsafe { self.completion.consume(&mut self.scratch) };
        for (to, from) in out.iter_mut().zip(&self.scratch[..got]) {
            *to = from.addr() as u64;
        }
        got
    }

    fn fill_room(&mut self, wanted: usize) -> usize {
        self.fill.nb_free(u32::try_from(wanted).unwrap_or(u32::MAX)) as usize
    }

    fn fill(&mut self, indices: &[u32]) {
        self.scratch.clear();
        self.scratch.extend(indices.iter().map(|index| self.frames[*index as usize]));
        // SAFETY: the queue has just moved these frames from `Free` to `Fill`, so that nobody in this process has a
        // reference to them, nor makes one before the RX ring has given them back. They belong to this UMEM.
        let filled = unsafe { self.fill.produce(&self.scratch) };
        debug_assert_eq!(filled, indices.len(), "the fill ring had less room than it said");
    }

    fn transmit_room(&mut self, wanted: usize) -> usize {
        self.tx.nb_free(u32::try_from(wanted).unwrap_or(u32::MAX)) as usize
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        self.scratch.clear();
        for packet in packets {
            let mut descriptor = self.frames[packet.index as usize];
            // SAFETY: the queue has just moved the frame from `Held` to `Tx` and dropped its `Frame`, and the kernel has
            // not been told of it yet: this is the only reference. The index is one of the pool's.
            unsafe { self.umem.data_mut(&mut descriptor) }.cursor().set_pos(packet.len as usize);
            self.scratch.push(descriptor);
        }
        // SAFETY: the frames belong to this UMEM and are in state `Tx`: nobody in this process makes a reference to
        // them before the completion ring has given them back.
        let sent = unsafe { self.tx.produce(&self.scratch) };
        debug_assert_eq!(sent, packets.len(), "the TX ring had less room than it said");
    }

    fn transmit_pending(&mut self) -> usize {
        self.tx_entries.saturating_sub(self.tx.nb_free_exact() as usize)
    }

    fn transmit_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        // xsk-rs can do this too, but swallows the answers that the queue counts.
        // SAFETY: an empty message without an address: the kernel reads no memory of ours.
        self.wake(|fd| unsafe { libc::sendto(fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) })
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        // SAFETY: an empty buffer and no address: the kernel writes no memory of ours.
        self.wake(|fd| unsafe {
            libc::recvfrom(fd, ptr::null_mut(), 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut())
        })
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: one `pollfd` and, unless null, one `timespec`, which live until the call is over; no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, limit, ptr::null()) };
        if ready >= 0 {
            // An error flag alone is no packet: the interface went away, say. `kick` reports that.
            return Ok(poll.revents & libc::POLLIN != 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
    }

    fn statistics(&self) -> io::Result<KernelStatistics> {
        let counted = self.rx.fd().xdp_statistics()?;
        Ok(KernelStatistics {
            rx_dropped: counted.rx_dropped(),
            rx_invalid_descs: counted.rx_invalid_descs(),
            tx_invalid_descs: counted.tx_invalid_descs(),
            rx_ring_full: counted.rx_ring_full(),
            rx_fill_ring_empty_descs: counted.rx_fill_ring_empty_descs(),
            tx_ring_empty_descs: counted.tx_ring_empty_descs(),
        })
    }
}
