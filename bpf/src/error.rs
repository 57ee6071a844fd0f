//! What can go wrong, and what to do about it.

use std::io;
use std::net::IpAddr;

use crate::info::{Mode, ProgramInfo};

const CAPABILITIES: &str = "CAP_BPF, CAP_NET_ADMIN and, on some kernels, CAP_PERFMON";

/// Why the program is not on the interface. Nothing is left attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No interface with this index in this network namespace.
    #[error("there is no interface with index {ifindex} in this network namespace; `ip link` lists them")]
    NoInterface {
        /// The index that was asked for.
        ifindex: u32,
    },
    /// The layout has no socket per queue, or its keys do not fit the map.
    #[error("{sockets_per_queue} sockets per queue: there must be 1 to {} of them", crate::MAX_SOCKETS)]
    Layout {
        /// What was asked for.
        sockets_per_queue: u32,
    },
    /// This process may not load or attach programs.
    #[error("this process may not {what} XDP programs; run it as root or give it {CAPABILITIES}")]
    Permission {
        /// "load" or "attach".
        what: &'static str,
    },
    /// The kernel refused the object.
    #[error("the kernel does not take the XDP program (Linux 5.18 or later is needed): {source}{}", detail(.log))]
    Load {
        /// What the kernel answered.
        source: io::Error,
        /// What libbpf and the verifier said, its end, where the reason stands; may be empty.
        log: String,
    },
    /// Somebody else's program is on the interface; it stays there.
    #[error(
        "{interface} already has an XDP {program}; stop the process that attached it, or remove it with \
         `ip link set dev {interface} xdp off`"
    )]
    Foreign {
        /// The interface's name.
        interface: String,
        /// The program found there.
        program: ProgramInfo,
    },
    /// The kernel says the place is taken, but names no program: it came or went in the meantime.
    #[error("{interface} is just being given an XDP program, or taken from one; try again")]
    Busy {
        /// The interface's name.
        interface: String,
    },
    /// The driver has no XDP in this mode.
    #[error("{interface} has no XDP in {mode} mode; use mode `skb`, which works on every driver, but is slower")]
    Unsupported {
        /// The interface's name.
        interface: String,
        /// The mode that was asked for.
        mode: Mode,
    },
    /// The driver wants more receive queues, as veth does when its peer has more of them to send with.
    #[error(
        "the driver of {interface} has too few receive queues for XDP: veth needs as many as its peer has transmit \
         queues; give them with `numrxqueues` and `numtxqueues` when the pair is made"
    )]
    Queues {
        /// The interface's name.
        interface: String,
    },
    /// The driver refused, most often because of the MTU, else of LRO.
    #[error(
        "the driver of {interface} refuses XDP ({source}), most often because its MTU{} is too large; lower it with \
         `ip link set dev {interface} mtu 1500`, and turn LRO off with `ethtool -K {interface} lro off`",
        mtu_is(*.mtu)
    )]
    Refused {
        /// The interface's name.
        interface: String,
        /// Its MTU in bytes, if it could be read.
        mtu: Option<u32>,
        /// ERANGE or EINVAL.
        source: io::Error,
    },
    /// It was attached, but runs in another mode than demanded; it has been removed again.
    #[error("{interface} runs the program in {in_force} mode, not in {demanded} mode as demanded")]
    OtherMode {
        /// The interface's name.
        interface: String,
        /// What was asked for.
        demanded: Mode,
        /// What the kernel reports.
        in_force: Mode,
    },
    /// Anything else that the system answered.
    #[error("cannot {what} on interface {interface}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// The interface's name.
        interface: String,
        /// What the system answered.
        source: io::Error,
    },
}

fn detail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; libbpf says: {log}") }
}

fn mtu_is(mtu: Option<u32>) -> String {
    mtu.map_or_else(String::new, |mtu| format!(" of {mtu} bytes"))
}

/// Why the program's tables could not be changed or read. They are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The table has as many entries as it can hold.
    #[error("the XDP program's table of {table} is full: it holds {capacity}; remove some first")]
    Full {
        /// Which table.
        table: &'static str,
        /// How many it holds.
        capacity: u32,
    },
    /// No key belongs to this queue.
    #[error("queue {queue} has no place in the socket table: the first queue is {base_queue}, and there are {queues}")]
    Queue {
        /// The queue that was asked for.
        queue: u32,
        /// The first queue that has a place.
        base_queue: u32,
        /// How many queues have one.
        queues: u32,
    },
    /// The descriptor is something else.
    #[error("the descriptor for queue {queue} is not an AF_XDP socket that can receive")]
    NotASocket {
        /// The queue that it was for.
        queue: u32,
    },
    /// The program compares whole addresses and ports: there are no wildcards.
    #[error("{address} port {port} cannot be registered: the address must be one host's, and the port not 0")]
    Wildcard {
        /// The address that was asked for.
        address: IpAddr,
        /// The port; 0 also where only an address is registered.
        port: u16,
    },
    /// Anything else that the kernel answered.
    #[error("the XDP program's table of {table} cannot be {what}: {source}")]
    System {
        /// Which table.
        table: &'static str,
        /// "read" or "written".
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}
