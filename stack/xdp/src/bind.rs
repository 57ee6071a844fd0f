//! What a queue may be asked for, and what can be in the way.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use xsk_rs::config::XDP_UMEM_MIN_CHUNK_SIZE;

use crate::interface::{Interface, InterfaceError};

/// Ethernet's header and one VLAN tag: what a frame has to hold beside the MTU.
pub(crate) const LINK_HEADER: u32 = 18;

/// What the kernel keeps free before the packet in each chunk (`XDP_PACKET_HEADROOM`).
pub(crate) const XDP_HEADROOM: u32 = 256;

/// How packets shall get from the NIC into the UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The NIC writes into the UMEM; fails where the driver cannot.
    RequireZerocopy,
    /// The NIC writes into the UMEM where the driver can; else the kernel copies. [`ModeInForce`] says which it is.
    #[default]
    PreferZerocopy,
    /// The kernel copies between its buffers and the UMEM; any driver can.
    Copy,
    /// As `Copy` for the socket; that the XDP program runs on socket buffers instead of in the driver is the business
    /// of whoever attaches it.
    Skb,
}

impl Mode {
    /// The name that a configuration uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequireZerocopy => "require-zerocopy",
            Self::PreferZerocopy => "prefer-zerocopy",
            Self::Copy => "copy",
            Self::Skb => "skb",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Mode`]'s.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a mode; it is one of require-zerocopy, prefer-zerocopy, copy, skb")]
pub struct UnknownMode(pub String);

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        [Self::RequireZerocopy, Self::PreferZerocopy, Self::Copy, Self::Skb]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// The mode that the kernel says is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModeInForce {
    /// The NIC reads and writes the UMEM.
    Zerocopy,
    /// The kernel copies.
    Copy,
}

impl fmt::Display for ModeInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zerocopy => "zero-copy",
            Self::Copy => "copy",
        })
    }
}

/// How the kernel shall poll a socket's driver when it is called, instead of waiting for the NIC's interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusyPoll {
    /// For how long at a time, in microseconds (`SO_BUSY_POLL`).
    pub time_us: u32,
    /// For how many packets at a time (`SO_BUSY_POLL_BUDGET`).
    pub budget: u32,
}

/// What became of [`QueueConfig::busy_poll`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BusyPollInForce {
    /// Not asked for.
    #[default]
    Off,
    /// In force, with the time that the kernel says and the budget that it took.
    On(BusyPoll),
    /// Asked for and refused, so the socket goes without.
    Refused,
}

/// What [`open`](crate::open) shall open.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// The interface's name.
    pub interface: String,
    /// The queue's number, from 0.
    pub queue: u32,
    /// Frames in the UMEM. Each costs `frame_size` bytes of locked memory.
    pub frame_count: u32,
    /// Bytes a chunk of the UMEM: 2048 or 4096. 256 of them are the kernel's, the rest is the frame's data area.
    pub frame_size: u32,
    /// Entries of the RX ring, a power of two.
    pub rx_ring: u32,
    /// Entries of the TX ring, a power of two.
    pub tx_ring: u32,
    /// Entries of the fill ring, a power of two. This many frames wait for packets.
    pub fill_ring: u32,
    /// Entries of the completion ring, a power of two.
    pub completion_ring: u32,
    /// Free frames that only receiving may use, so that sending much cannot starve the fill ring.
    pub receive_reserve: u32,
    /// The mode demanded.
    pub mode: Mode,
    /// Whether the kernel says when it wants to be woken. Without it every kick is a system call.
    pub need_wakeup: bool,
    /// Whether the UMEM is made of huge pages (which have to be there: `vm.nr_hugepages`).
    pub huge_pages: bool,
    /// Whether the kernel polls the driver when this process calls it, which is then at least once in each turn that
    /// finds nothing (`SO_PREFER_BUSY_POLL`). Slower on veth; a refusal is no error but shown in what is read back.
    pub busy_poll: Option<BusyPoll>,
    /// How long to go on trying when the queue is busy, as it is for a moment after another process let it go.
    pub busy_timeout: Duration,
}

impl QueueConfig {
    /// Queue `queue` of `interface`, with the default for everything else: 8192 frames of 2048 bytes, rings of 2048
    /// entries and a fill ring of 4096.
    pub fn new(interface: impl Into<String>, queue: u32) -> Self {
        Self {
            interface: interface.into(),
            queue,
            frame_count: 8192,
            frame_size: 2048,
            rx_ring: 2048,
            tx_ring: 2048,
            fill_ring: 4096,
            completion_ring: 2048,
            receive_reserve: 1024,
            mode: Mode::default(),
            need_wakeup: true,
            huge_pages: false,
            busy_poll: None,
            busy_timeout: Duration::from_secs(1),
        }
    }

    /// Bytes of a frame's data area.
    pub const fn frame_len(&self) -> u32 {
        self.frame_size.saturating_sub(XDP_HEADROOM)
    }

    /// The largest MTU whose packets fit into a frame, in bytes.
    pub const fn max_mtu(&self) -> u32 {
        self.frame_len().saturating_sub(LINK_HEADER)
    }

    /// Whether the interface can have sockets of this kind.
    pub(crate) fn check_interface(&self, found: &Interface) -> Result<(), OpenError> {
        let interface = self.interface.clone();
        if !found.up {
            return Err(OpenError::InterfaceDown { interface });
        }
        if found.mtu > self.max_mtu() {
            let (mtu, max_mtu, frame_size) = (found.mtu, self.max_mtu(), self.frame_size);
            return Err(OpenError::MtuTooBig { interface, mtu, max_mtu, frame_size });
        }
        Ok(())
    }

    /// Whether the values are possible, apart from the machine.
    ///
    /// # Errors
    ///
    /// [`OpenError::Setting`], with the first field that is not.
    pub fn check(&self) -> Result<(), OpenError> {
        let rings = [
            ("rx_ring", self.rx_ring),
            ("tx_ring", self.tx_ring),
            ("fill_ring", self.fill_ring),
            ("completion_ring", self.completion_ring),
        ];
        for (field, value) in rings {
            if !value.is_power_of_two() || value > 1 << 16 {
                return Err(OpenError::Setting { field, value, needed: "a power of two from 1 to 65536" });
            }
        }
        let (field, value) = ("frame_size", self.frame_size);
        if !value.is_power_of_two() || !(XDP_UMEM_MIN_CHUNK_SIZE..=4096).contains(&value) {
            return Err(OpenError::Setting { field, value, needed: "2048 or 4096" });
        }
        let (field, value) = ("frame_count", self.frame_count);
        if !(2..=1 << 22).contains(&value) {
            return Err(OpenError::Setting { field, value, needed: "from 2 to 4194304" });
        }
        let (field, value) = ("receive_reserve", self.receive_reserve);
        if value >= self.frame_count {
            return Err(OpenError::Setting { field, value, needed: "less than frame_count" });
        }
        Ok(())
    }
}

/// Why a queue could not be opened. Each message is a sentence for the operator: what is wrong, where, what to do.
///
/// All but [`OpenError::Setting`] mean that the machine cannot do it as it is.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting that no machine could follow.
    #[error("{field} = {value} is not possible; it has to be {needed}")]
    Setting {
        /// The field of [`QueueConfig`].
        field: &'static str,
        /// Its value.
        value: u32,
        /// What it may be.
        needed: &'static str,
    },
    /// The interface is not there, or does not say what it is.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface is administratively down.
    #[error("interface {interface} is down; `ip link set dev {interface} up` brings it up")]
    InterfaceDown {
        /// The interface.
        interface: String,
    },
    /// Packets of this MTU do not fit into a frame.
    #[error(
        "the MTU {mtu} of {interface} is too big for frames of {frame_size} bytes; \
         `ip link set dev {interface} mtu {max_mtu}` lowers it{}",
        if *.frame_size < 4096 { ", or set frame_size to 4096 for an MTU of up to 3822" } else { "" }
    )]
    MtuTooBig {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// The largest that would do.
        max_mtu: u32,
        /// Bytes a chunk.
        frame_size: u32,
    },
    /// Whoever makes the sockets for this process made none.
    #[error("there is no socket for a queue: {reason}")]
    NotGiven {
        /// What he says.
        reason: String,
    },
    /// The interface has fewer queues (EINVAL).
    #[error(
        "interface {interface} has no queue {queue}: it has {queues}, numbered from 0; choose one of them or make \
         more with `ethtool -L {interface} combined N`"
    )]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// Somebody else has the queue (EBUSY), still after the time given.
    #[error(
        "queue {queue} of {interface} is in use by another AF_XDP socket; stop the process that has it (`ss --xdp -p` \
         names it) or choose another queue"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The UMEM is more than may be locked (ENOBUFS).
    #[error(
        "the UMEM's {bytes} bytes are more than the limit of locked memory allows; raise it with `ulimit -l {kib}` or \
         LimitMEMLOCK={bytes} in the systemd unit, give the process CAP_IPC_LOCK, or use fewer frames"
    )]
    LockedMemory {
        /// Bytes of the UMEM.
        bytes: u64,
        /// The same in KiB, rounded up.
        kib: u64,
    },
    /// The UMEM's memory is not there (ENOMEM).
    #[error("{bytes} bytes of memory for the UMEM are not to be had; use fewer frames")]
    Memory {
        /// Bytes of the UMEM.
        bytes: u64,
    },
    /// There are not enough huge pages.
    #[error(
        "{bytes} bytes of huge pages for the UMEM are not to be had; reserve them with `sysctl -w vm.nr_hugepages=N` \
         ({pages} more pages of 2 MiB) or turn huge pages off"
    )]
    HugePages {
        /// Bytes of the UMEM.
        bytes: u64,
        /// The same in pages of 2 MiB, rounded up.
        pages: u64,
    },
    /// A privilege is missing (EPERM, EACCES).
    #[error(
        "the process may not make AF_XDP sockets; run it as root or give it CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF \
         (`setcap cap_net_raw,cap_net_admin,cap_bpf+ep PROGRAM`)"
    )]
    Privilege,
    /// The driver cannot do the mode (EOPNOTSUPP, or EINVAL from a driver that does not say it better).
    #[error(
        "the driver of {interface} cannot do mode {mode} on queue {queue}; use prefer-zerocopy or copy, which every \
         driver can"
    )]
    ModeUnsupported {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// The mode demanded.
        mode: Mode,
    },
    /// One queue does not take several sockets (EINVAL).
    #[error(
        "queue {queue} of {interface} does not take several sockets on one UMEM; set one socket per queue, and frames \
         for other cores are handed to them"
    )]
    NotShared {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The kernel was built without `AF_XDP` (EAFNOSUPPORT).
    #[error("this kernel has no AF_XDP; it needs Linux 5.11 or later with CONFIG_XDP_SOCKETS=y")]
    NoAfXdp,
    /// Anything else.
    #[error("opening queue {queue} of {interface} failed while {doing}: {error}")]
    Other {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// At what step.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The step that failed, since one errno means different things at different steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Mapping and registering the UMEM.
    Umem,
    /// Making and binding a queue's first socket.
    Bind,
    /// Making and binding one more.
    Share,
    /// Reading an option back.
    Options,
    /// Making what wakes a core.
    Event,
}

impl OpenError {
    /// What `error` at `step` means for somebody who asked for `config`.
    pub(crate) fn translate(step: Step, error: io::Error, config: &QueueConfig, found: &Interface) -> Self {
        let bytes = u64::from(config.frame_count) * u64::from(config.frame_size);
        let (interface, queue) = (config.interface.clone(), config.queue);
        match (error.raw_os_error(), step) {
            (Some(libc::EPERM | libc::EACCES), _) => Self::Privilege,
            (Some(libc::EAFNOSUPPORT), _) => Self::NoAfXdp,
            (Some(libc::ENOBUFS), _) => Self::LockedMemory { bytes, kib: bytes.div_ceil(1024) },
            (Some(libc::ENOMEM), Step::Umem) if config.huge_pages => {
                Self::HugePages { bytes, pages: bytes.div_ceil(2 << 20) }
            }
            (Some(libc::ENOMEM | libc::EAGAIN), Step::Umem) => Self::Memory { bytes },
            (Some(libc::EBUSY), _) => Self::QueueBusy { interface, queue },
            (Some(libc::EINVAL), Step::Share) => Self::NotShared { interface, queue },
            (Some(libc::ENODEV), _) => Self::Interface(InterfaceError::Missing { interface }),
            (Some(libc::ENETDOWN), _) => Self::InterfaceDown { interface },
            (Some(libc::EINVAL), Step::Bind) if found.queues.is_some_and(|queues| queue >= queues) => {
                Self::NoSuchQueue { interface, queue, queues: found.queues.unwrap_or(0) }
            }
            (Some(libc::EOPNOTSUPP | libc::EINVAL), Step::Bind) if config.mode == Mode::RequireZerocopy => {
                Self::ModeUnsupported { interface, queue, mode: config.mode }
            }
            (_, Step::Umem) => Self::Other { interface, queue, doing: "registering the UMEM", error },
            (_, Step::Bind) => Self::Other { interface, queue, doing: "binding the socket", error },
            (_, Step::Share) => Self::Other { interface, queue, doing: "binding one more socket to the queue", error },
            (_, Step::Options) => Self::Other { interface, queue, doing: "reading XDP_OPTIONS", error },
            (_, Step::Event) => Self::Other { interface, queue, doing: "making an eventfd", error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Interface {
        Interface { name: "eth0".into(), index: 2, mac: [2; 6], mtu: 1500, up: true, queues: Some(2) }
    }

    fn message(step: Step, errno: i32, change: impl FnOnce(&mut QueueConfig)) -> String {
        let mut config = QueueConfig::new("eth0", 1);
        change(&mut config);
        OpenError::translate(step, io::Error::from_raw_os_error(errno), &config, &found()).to_string()
    }

    #[test]
    fn each_errno_says_what_to_do() {
        let none = |_: &mut QueueConfig| {};
        assert!(message(Step::Umem, libc::ENOBUFS, none).contains("ulimit -l 16384"));
        assert!(message(Step::Umem, libc::EPERM, none).contains("CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"));
        assert!(message(Step::Umem, libc::ENOMEM, |c| c.huge_pages = true).contains("8 more pages of 2 MiB"));
        assert!(message(Step::Umem, libc::ENOMEM, none).contains("fewer frames"));
        assert!(message(Step::Umem, libc::EAFNOSUPPORT, none).contains("CONFIG_XDP_SOCKETS"));
        assert!(message(Step::Bind, libc::EBUSY, none).contains("queue 1 of eth0 is in use"));
        assert!(message(Step::Bind, libc::EOPNOTSUPP, |c| c.mode = Mode::RequireZerocopy).contains("require-zerocopy"));
        assert!(message(Step::Bind, libc::EINVAL, |c| c.queue = 2).contains("has no queue 2: it has 2"));
        assert!(message(Step::Bind, libc::ENODEV, none).contains("eth0"));
        assert!(message(Step::Bind, libc::ENETDOWN, none).contains("ip link set dev eth0 up"));
        assert!(message(Step::Bind, libc::EIO, none).contains("while binding the socket"));
        assert!(message(Step::Share, libc::EINVAL, none).contains("set one socket per queue"));
        assert!(message(Step::Share, libc::EIO, none).contains("one more socket"));
        assert!(message(Step::Event, libc::EMFILE, none).contains("eventfd"));
    }

    #[test]
    fn mode_names_go_both_ways() {
        for mode in [Mode::RequireZerocopy, Mode::PreferZerocopy, Mode::Copy, Mode::Skb] {
            assert_eq!(mode.name().parse(), Ok(mode));
        }
        assert!("native".parse::<Mode>().unwrap_err().to_string().contains("prefer-zerocopy"));
    }

    #[test]
    fn impossible_settings_are_named() {
        let refused = |change: fn(&mut QueueConfig)| {
            let mut config = QueueConfig::new("eth0", 0);
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(QueueConfig::new("eth0", 0).check().is_ok());
        assert!(refused(|c| c.rx_ring = 1000).starts_with("rx_ring = 1000"));
        assert!(refused(|c| c.fill_ring = 0).starts_with("fill_ring"));
        assert!(refused(|c| c.frame_size = 1024).contains("2048 or 4096"));
        assert!(refused(|c| c.frame_count = 1).starts_with("frame_count"));
        assert!(refused(|c| c.receive_reserve = 8192).starts_with("receive_reserve"));
    }

    #[test]
    fn the_default_frame_holds_an_ethernet_packet() {
        let config = QueueConfig::new("eth0", 0);
        assert_eq!(config.frame_len(), 1792);
        assert!(config.max_mtu() >= 1500);
    }
}
