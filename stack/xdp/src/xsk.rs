//! The kernel's rings, through xsk-rs.

use std::error::Error as _;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use xsk_rs::config::{
    BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, SocketConfigBuilder, UmemConfig, UmemConfigBuilder,
};
use xsk_rs::socket::{RxQueue, Socket, TxQueue};
use xsk_rs::umem::{CompQueue, FillQueue, Umem};
use xsk_rs::{FrameDesc, config};

use crate::bind::{
    BusyPoll, BusyPollInForce, LINK_HEADER, Mode, ModeInForce, OpenError, QueueConfig, Step, XDP_HEADROOM,
};
use crate::either::Xsk;
use crate::given::{GiveSocket, Given, Mapping};
use crate::interface::Interface;
use crate::ports::{BoundQueue, BoundSocket};
use crate::rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
use crate::sync::Arc;
use crate::umem::Region;

/// The first pause before a busy queue is tried again; each is twice the one before it, up to the longest. A process that
/// takes over from another waits for just this, and its clients with it.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How many descriptors are translated at once.
const SCRATCH: usize = 64;

/// Bytes of an option that is one number.
const OPTION_LEN: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;

/// The rings that the kernel shares with this process for one `AF_XDP` socket that it has made, through libxdp.
pub(crate) struct Made {
    rx: RxQueue,
    tx: TxQueue,
    /// The queue's, if this is its first socket.
    queue: Option<(FillQueue, CompQueue)>,
    /// Another handle to the UMEM that the rings' frames lie in.
    umem: Umem,
    /// The descriptor of each frame, by index, as the UMEM gave them out. xsk-rs has no other way to make one.
    frames: Arc<[FrameDesc]>,
    tx_entries: usize,
    /// Inside, so that it is where the port is: near its core.
    scratch: [FrameDesc; SCRATCH],
}

/// The longest packet that the interface sends, in bytes.
pub(crate) fn max_len(found: &Interface) -> usize {
    (found.mtu + LINK_HEADER) as usize
}

/// Binds a socket for each of `cores` to one queue, on a UMEM of its own, and tries again while the queue is busy. The
/// first core gets the fill and completion rings. Each attempt has a new UMEM, because what libxdp and the kernel leave
/// behind in one after a refused bind is not something to build on. With `give`, the sockets are made by that.
pub(crate) fn bind_patiently(
    config: &QueueConfig,
    found: &Interface,
    cores: &[usize],
    mut give: Option<GiveSocket<'_>>,
) -> Result<BoundQueue<Xsk>, OpenError> {
    if let Some(queues) = found.queues.filter(|queues| config.queue >= *queues) {
        let (interface, queue) = (config.interface.clone(), config.queue);
        return Err(OpenError::NoSuchQueue { interface, queue, queues });
    }
    let (mut pause, mut paused) = (BUSY_PAUSE, Duration::ZERO);
    loop {
        let bound = match &mut give {
            Some(give) => bind_given(config, found, cores, give),
            None => bind(config, found, cores),
        };
        match bound {
            Err(OpenError::QueueBusy { .. }) if paused + pause <= config.busy_timeout => {
                thread::sleep(pause);
                paused += pause;
                pause = LONGEST_PAUSE.min(2 * pause);
            }
            other => return other,
        }
    }
}

fn bind(config: &QueueConfig, found: &Interface, cores: &[usize]) -> Result<BoundQueue<Xsk>, OpenError> {
    let translate = |step, error| OpenError::translate(step, error, config, found);
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let settings = umem_config(config).ok_or_else(|| translate(Step::Umem, invalid()))?;
    let count = NonZeroU32::new(config.frame_count).ok_or_else(|| translate(Step::Umem, invalid()))?;
    let (umem, frames) = Umem::new(settings, count, config.huge_pages)
        .map_err(|error| translate(Step::Umem, os_error(error.source())))?;
    let base = first_byte(&umem, &frames);
    let frames: Arc<[FrameDesc]> = frames.into();

    let mut sockets = Vec::with_capacity(cores.len());
    for core in cores {
        let rings = Made::bind(config, found, &umem, &frames, sockets.is_empty())?;
        sockets.push(read_back(*core, rings.into(), config, found)?);
    }

    // SAFETY: `base` is the exposed address of the UMEM's first byte, and it was made with `frame_count` chunks of
    // `frame_size` bytes, whose data areas begin behind the kernel's headroom (our own headroom is 0), which `check`
    // saw to be less than a chunk. xsk-rs reaches the memory only when asked to, which `transmit` alone does, for a
    // frame that is the kernel's by then.
    let region =
        unsafe { Region::umem(umem, base, config.frame_count, config.frame_size as usize, XDP_HEADROOM as usize) };
    Ok(BoundQueue { queue: config.queue, region: Arc::new(region), sockets })
}

/// As [`bind`], with sockets that somebody else makes.
fn bind_given(
    config: &QueueConfig,
    found: &Interface,
    cores: &[usize],
    give: GiveSocket<'_>,
) -> Result<BoundQueue<Xsk>, OpenError> {
    let translate = |step, error| OpenError::translate(step, error, config, found);
    let frames = Mapping::of_frames(config).map_err(|error| translate(Step::Umem, error))?;
    let (mut sockets, mut first): (Vec<BoundSocket<Xsk>>, _) = (Vec::with_capacity(cores.len()), None);
    for core in cores {
        let step = if first.is_none() { Step::Bind } else { Step::Share };
        let socket = give().map_err(|error| OpenError::NotGiven { reason: error.to_string() })?;
        if first.is_none() {
            Given::register(&socket, config, &frames).map_err(|error| translate(Step::Umem, error))?;
        }
        let rings = Given::bind(socket, config, found.index, first).map_err(|error| translate(step, error))?;
        first = first.or_else(|| rings.fd());
        sockets.push(read_back(*core, rings.into(), config, found)?);
    }
    // SAFETY: the mapping was made of `frame_count` chunks of `frame_size` bytes, whose data areas begin behind the kernel's
    // headroom, which `check` saw to be less than a chunk. Nothing else has its address but the kernel.
    let region =
        unsafe { Region::mapping(frames, config.frame_count, config.frame_size as usize, XDP_HEADROOM as usize) };
    Ok(BoundQueue { queue: config.queue, region: Arc::new(region), sockets })
}

/// What became of a socket that was just bound.
fn read_back(core: usize, rings: Xsk, config: &QueueConfig, found: &Interface) -> Result<BoundSocket<Xsk>, OpenError> {
    let mode = mode(rings.raw_fd()).map_err(|error| OpenError::translate(Step::Options, error, config, found))?;
    if config.mode == Mode::RequireZerocopy && mode != ModeInForce::Zerocopy {
        let (interface, queue) = (config.interface.clone(), config.queue);
        return Err(OpenError::ModeUnsupported { interface, queue, mode: config.mode });
    }
    let busy_poll = config.busy_poll.map_or(BusyPollInForce::Off, |wanted| busy_poll(rings.raw_fd(), wanted));
    Ok(BoundSocket { core, rings, mode, busy_poll })
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

impl Made {
    /// One more socket on the queue's UMEM; the first of them gets the fill and completion rings.
    fn bind(
        config: &QueueConfig,
        found: &Interface,
        umem: &Umem,
        frames: &Arc<[FrameDesc]>,
        is_first: bool,
    ) -> Result<Self, OpenError> {
        let step = if is_first { Step::Bind } else { Step::Share };
        let translate = |error| OpenError::translate(step, error, config, found);
        let invalid = || translate(io::Error::from_raw_os_error(libc::EINVAL));
        let options = socket_config(config).ok_or_else(invalid)?;
        let name = config.interface.parse::<config::Interface>().map_err(|_| invalid())?;
        // SAFETY: sockets that share a UMEM on one (interface, queue) must not load a program: loading is inhibited.
        let bound = unsafe { Socket::new(options, umem, &name, config.queue) };
        let (tx, rx, queue) = bound.map_err(|error| translate(os_error(error.source())))?;
        // A UMEM's first socket always gets them, and no other on the same queue.
        if queue.is_some() != is_first {
            return Err(invalid());
        }
        let (umem, frames, tx_entries) = (umem.clone(), Arc::clone(frames), config.tx_ring as usize);
        Ok(Self { rx, tx, queue, umem, frames, tx_entries, scratch: [FrameDesc::default(); SCRATCH] })
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }
}

/// Asks the kernel to poll the driver on its calls, and reads back what it made of that.
fn busy_poll(fd: RawFd, wanted: BusyPoll) -> BusyPollInForce {
    let clamp = |value: u32| libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
    let options = [
        (libc::SO_PREFER_BUSY_POLL, 1),
        (libc::SO_BUSY_POLL, clamp(wanted.time_us)),
        (libc::SO_BUSY_POLL_BUDGET, clamp(wanted.budget)),
    ];
    let taken = options.iter().all(|(option, value)| set_option(fd, *option, *value).is_ok());
    let read = |option| get_option(fd, libc::SOL_SOCKET, option).ok().and_then(|value| u32::try_from(value).ok());
    match (read(libc::SO_PREFER_BUSY_POLL), read(libc::SO_BUSY_POLL)) {
        // The kernel takes the budget as it is or not at all, and does not tell it.
        (Some(1), Some(time_us)) if taken => BusyPollInForce::On(BusyPoll { time_us, ..wanted }),
        _ => {
            // Half of it is worse than nothing. What cannot be switched off was never on.
            let _ = set_option(fd, libc::SO_BUSY_POLL, 0);
            let _ = set_option(fd, libc::SO_PREFER_BUSY_POLL, 0);
            BusyPollInForce::Refused
        }
    }
}

fn set_option(fd: RawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the kernel reads the 4 bytes of `value`, which outlives the call.
    let answer = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), OPTION_LEN) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An option that is one number.
fn get_option(fd: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let (mut value, mut len) = (0, OPTION_LEN);
    // SAFETY: the kernel writes at most `len` bytes to `value`, which has as many, and both outlive the call.
    let answer = unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut len) };
    if answer == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// The mode in force, by `XDP_OPTIONS`.
fn mode(fd: RawFd) -> io::Result<ModeInForce> {
    let options = get_option(fd, libc::SOL_XDP, libc::XDP_OPTIONS)?.cast_unsigned();
    let zerocopy = options & libc::XDP_OPTIONS_ZEROCOPY != 0;
    Ok(if zerocopy { ModeInForce::Zerocopy } else { ModeInForce::Copy })
}

/// Tells the kernel to send.
pub(crate) fn wake_transmit(fd: RawFd) -> io::Result<()> {
    // SAFETY: an empty message without an address: the kernel reads no memory of ours.
    let answer = unsafe { libc::sendto(fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the kernel that the fill ring has frames again.
pub(crate) fn wake_fill(fd: RawFd) -> io::Result<()> {
    // SAFETY: an empty buffer and no address: the kernel writes no memory of ours.
    let answer =
        unsafe { libc::recvfrom(fd, ptr::null_mut(), 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Rings for Made {
    fn receive(&mut self, out: &mut [RxDescriptor]) -> usize {
        let want = out.len().min(SCRATCH);
        // SAFETY: the ring is of the socket that the UMEM of our frames is bound to. `consume` only copies descriptors.
        let got = unsafe { self.rx.consume(&mut self.scratch[..want]) };
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
        let Some((_, completion)) = &mut self.queue else { return 0 };
        let want = out.len().min(SCRATCH);
        // SAFETY: as in `receive`.
        let got = unsafe { completion.consume(&mut self.scratch[..want]) };
        for (to, from) in out.iter_mut().zip(&self.scratch[..got]) {
            *to = from.addr() as u64;
        }
        got
    }

    fn fill_room(&mut self, wanted: usize) -> usize {
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.queue.as_mut().map_or(0, |(fill, _)| fill.nb_free(wanted) as usize)
    }

    fn fill(&mut self, indices: &[u32]) {
        let Some((fill, _)) = &mut self.queue else { return };
        for batch in indices.chunks(SCRATCH) {
            for (to, index) in self.scratch.iter_mut().zip(batch) {
                *to = self.frames[*index as usize];
            }
            // SAFETY: the port has just moved these frames from `Free` to `Fill`, so that nobody in this process has a
            // reference to them, nor makes one before an RX ring has given them back. They belong to this UMEM.
            let filled = unsafe { fill.produce(&self.scratch[..batch.len()]) };
            debug_assert_eq!(filled, batch.len(), "the fill ring had less room than it said");
        }
    }

    fn transmit_room(&mut self, wanted: usize) -> usize {
        self.tx.nb_free(u32::try_from(wanted).unwrap_or(u32::MAX)) as usize
    }

    fn transmit(&mut self, packets: &[TxDescriptor]) {
        for batch in packets.chunks(SCRATCH) {
            for (to, packet) in self.scratch.iter_mut().zip(batch) {
                *to = self.frames[packet.index as usize];
                // SAFETY: the frame is in state `Tx` on the core that had its `Frame`, which is dropped, and the kernel
                // has not been told of it yet: this is the only reference. The index is one of this UMEM's. If another
                // core had it, its writes came before it asked us to send, which we acquired.
                unsafe { self.umem.data_mut(to) }.cursor().set_pos(packet.len as usize);
            }
            // SAFETY: the frames belong to this UMEM and are in state `Tx`: nobody in this process makes a reference to
            // them before the completion ring has given them back.
            let sent = unsafe { self.tx.produce(&self.scratch[..batch.len()]) };
            debug_assert_eq!(sent, batch.len(), "the TX ring had less room than it said");
        }
    }

    fn transmit_pending(&mut self) -> usize {
        self.tx_entries.saturating_sub(self.tx.nb_free_exact() as usize)
    }

    fn transmit_needs_wakeup(&self) -> bool {
        self.tx.needs_wakeup()
    }

    fn fill_needs_wakeup(&self) -> bool {
        self.queue.as_ref().is_some_and(|(fill, _)| fill.needs_wakeup())
    }

    fn wake_transmit(&mut self) -> io::Result<()> {
        // xsk-rs can do this too, but swallows the answers that the port counts.
        wake_transmit(self.raw_fd())
    }

    fn wake_fill(&mut self) -> io::Result<()> {
        wake_fill(self.raw_fd())
    }

    fn is_ready(&mut self) -> bool {
        self.rx.nb_avail(1) > 0
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.raw_fd())
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
