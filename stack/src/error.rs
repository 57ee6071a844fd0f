//! What can go wrong with the stack as a whole, each as one sentence for a person.

use crate::config::ConfigError;
use corelane_proto::endpoint::{ConnectError, ListenError};
use std::fmt;
use std::process::ExitCode;

/// Why the stack did not start, or did not go on.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No interface is configured.
    #[error("no interface is named: set interface.name in the configuration, or give --interface")]
    NoInterface,
    /// No own address is configured.
    #[error(
        "the stack has no address: set interface.address to one that the kernel does not have, such as 10.0.0.2/24"
    )]
    NoAddress,
    /// What a listener was asked for cannot be.
    #[error("cannot listen: {0}")]
    Listen(#[from] ListenError),
    /// What a connection was asked for cannot be.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// The interface cannot be asked, or is no Ethernet interface.
    #[error(transparent)]
    Interface(#[from] corelane_xdp::InterfaceError),
    /// Two configured interfaces share the queues of one.
    #[error(
        "{first} and {second} have the queues of one interface, {device}, and a stack has one program there: leave one of them out, or run a stack for it on another interface"
    )]
    SameDevice {
        /// One of the two.
        first: String,
        /// The other.
        second: String,
        /// Whose queues both have.
        device: String,
    },
    /// The interface is there and down.
    #[error("interface {interface} is down: bring it up with `ip link set dev {interface} up`")]
    InterfaceDown {
        /// The interface.
        interface: String,
    },
    /// A configured MTU above the interface's.
    #[error(
        "{setting} is {wanted}, above the {mtu} of {interface}: leave it out, or raise the interface's with `ip link set dev {interface} mtu {wanted}`"
    )]
    MtuAboveInterface {
        /// The setting.
        setting: String,
        /// The interface.
        interface: String,
        /// The interface's MTU, bytes.
        mtu: u32,
        /// The configured one, bytes.
        wanted: u16,
    },
    /// The interface's packets do not fit the frames.
    #[error("interface {interface} has an MTU of {mtu}, and the frames hold {largest}: {remedy}")]
    MtuTooBig {
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
        /// The largest IP packet that a frame holds, bytes.
        largest: u32,
        /// What to do.
        remedy: String,
    },
    /// A core that the process may not use.
    #[error(
        "core {core} is not for this process, which may use {allowed}: name one of those in cores.list, or widen the process's cpuset"
    )]
    CoreNotAllowed {
        /// The core.
        core: usize,
        /// The cores that are allowed, as in `0-3,8`.
        allowed: String,
    },
    /// More workers than cores.
    #[error(
        "{workers} workers need as many cores, and this process may use {allowed}: name fewer interface.queues, or set cores.pin = false"
    )]
    TooFewCores {
        /// How many workers there are.
        workers: usize,
        /// The cores that are allowed.
        allowed: String,
    },
    /// Capabilities that the set-up needs are not in effect.
    #[error(
        "the process lacks {missing}: run it as root, give the program its capabilities with `sudo setcap {setcap} FILE`, or set AmbientCapabilities={ambient} in the systemd unit"
    )]
    Capabilities {
        /// Those that are missing, as in `CAP_NET_RAW, CAP_BPF`.
        missing: String,
        /// All that are needed, as setcap(8) takes them.
        setcap: String,
        /// All that are needed, as systemd.exec(5) takes them.
        ambient: String,
    },
    /// The capabilities could not be given up.
    #[error("the capabilities could not be dropped ({error}): set privileges.drop = \"off\" to keep them")]
    Drop {
        /// What the kernel says.
        error: std::io::Error,
    },
    /// The scheduler does not grant the priority.
    #[error("cores.priority = \"{priority}\" is not granted ({error}): {remedy}, or leave it at \"normal\"")]
    Priority {
        /// What was asked for.
        priority: crate::config::Priority,
        /// What to do.
        remedy: String,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// `memory.huge_pages = "require"`, and there are too few.
    #[error(
        "{bytes} bytes of huge pages for the frames of a queue are not to be had: `{remedy}` (`corelane doctor` computes it for all queues), or set memory.huge_pages = \"auto\""
    )]
    HugePages {
        /// Bytes of one queue's frames.
        bytes: u64,
        /// What to do.
        remedy: String,
    },
    /// A queue could not be made a device.
    #[error(transparent)]
    Queue(#[from] crate::device::xdp::XdpError),
    /// The steering program could not be attached.
    #[error(transparent)]
    Attach(#[from] corelane_bpf::AttachError),
    /// The steering program did not take a socket or an address.
    #[error(transparent)]
    Steer(#[from] corelane_bpf::MapError),
    /// The device stopped working.
    #[error("{device} stopped working: {error}; see `ip link` and the kernel's log")]
    Device {
        /// The device.
        device: String,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// Whose the addresses are cannot be told.
    #[error(transparent)]
    Sharing(#[from] crate::steer::SharingError),
    /// The kernel's addresses, routes and neighbours cannot be followed.
    #[error(transparent)]
    Mirror(#[from] crate::steer::mirror::MirrorError),
    /// A socket of the kernel listens where one of ours is wanted.
    #[error(transparent)]
    ListenerConflict(#[from] crate::steer::listeners::ListenerConflict),
    /// The kernel's settings of ports.
    #[error(transparent)]
    Ports(#[from] crate::steer::ports::PortsError),
    /// The control socket could not be made.
    #[error(transparent)]
    ControlSocket(#[from] crate::control::SocketError),
    /// The process that runs could not be taken over from.
    #[error(transparent)]
    TakeOver(#[from] crate::control::TakeOverError),
    /// The helper with the privileges.
    #[error(transparent)]
    Helper(#[from] crate::helper::HelperError),
    /// The operating system refused something that it should not.
    #[error("{what} failed: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// A worker panicked: a bug in the application or in the stack.
    #[error("worker {worker} panicked: {message}; this is a bug, please report it")]
    Panicked {
        /// The worker's number.
        worker: usize,
        /// The panic's message.
        message: String,
    },
    /// The application said so.
    #[error("{0}")]
    App(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// An error of the application's own.
    pub fn app(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::App(error.into())
    }

    /// The exit code of a program that ends with this error: 2 for usage and configuration, 3 for what the machine
    /// cannot do, 1 for what went wrong while running.
    pub const fn exit_code(&self) -> u8 {
        use crate::control::TakeOverError;
        use crate::device::xdp::XdpError;
        use corelane_xdp::{InterfaceError, OpenError};
        match self {
            Self::Config(_)
            | Self::NoInterface
            | Self::NoAddress
            | Self::Listen(_)
            | Self::Connect(_)
            | Self::SameDevice { .. }
            | Self::TakeOver(TakeOverError::NoSocket)
            | Self::MtuAboveInterface { .. }
            | Self::Interface(InterfaceError::Name { .. })
            | Self::Queue(XdpError::Open(OpenError::Setting { .. })) => 2,
            Self::Interface(_)
            | Self::InterfaceDown { .. }
            | Self::MtuTooBig { .. }
            | Self::CoreNotAllowed { .. }
            | Self::TooFewCores { .. }
            | Self::Capabilities { .. }
            | Self::Drop { .. }
            | Self::Priority { .. }
            | Self::HugePages { .. }
            | Self::Queue(_)
            | Self::Attach(_)
            | Self::Steer(_)
            | Self::Sharing(_)
            | Self::Mirror(_)
            | Self::ListenerConflict(_)
            | Self::Ports(_)
            | Self::ControlSocket(_)
            | Self::TakeOver(_)
            | Self::Helper(_)
            | Self::System { .. } => 3,
            Self::Device { .. } | Self::Panicked { .. } | Self::App(_) => 1,
        }
    }
}

/// The sentence itself, so that `fn main() -> Result<(), Error>` ends with it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        Self::from(error.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_exit_code_and_one_sentence() {
        let name = || "eth9".to_owned();
        let cases = [
            (Error::NoInterface, 2, "--interface"),
            (Error::NoAddress, 2, "interface.address"),
            (Error::Listen(ListenError::PortZero), 2, "port 0"),
            (
                Error::SameDevice { first: name(), second: "eth9.5".into(), device: name() },
                2,
                "eth9 and eth9.5 have the queues of one interface",
            ),
            (Error::InterfaceDown { interface: name() }, 3, "ip link set dev eth9 up"),
            (
                Error::MtuTooBig { interface: name(), mtu: 9000, largest: 1774, remedy: "lower it".into() },
                3,
                "an MTU of 9000",
            ),
            (Error::CoreNotAllowed { core: 7, allowed: "0-1".into() }, 3, "may use 0-1"),
            (Error::Interface(corelane_xdp::InterfaceError::Missing { interface: name() }), 3, "no interface eth9"),
            (Error::Queue(corelane_xdp::OpenError::Privilege.into()), 3, "root"),
            (Error::app("broken"), 1, "broken"),
        ];
        for (error, code, part) in cases {
            let shown = error.to_string();
            assert_eq!(error.exit_code(), code, "{shown}");
            assert!(shown.contains(part) && shown.lines().count() == 1, "{shown}");
        }
    }
}
