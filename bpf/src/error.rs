//! What can go wrong, and what to do about it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::info::{Mode, ProgramInfo};
use crate::table::TableError;

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
    /// The layout has no queue or no core, or its keys do not fit the map.
    #[error(
        "{queues} queues for {cores} cores, with {sockets} sockets: there must be 1 or more of each, and at most {} \
         sockets",
        crate::MAX_SOCKETS
    )]
    Layout {
        /// How many queues were asked for.
        queues: u32,
        /// How many cores.
        cores: u32,
        /// How many sockets that makes.
        sockets: u64,
    },
    /// There is no such table of owners.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No such VLAN.
    #[error("there is no VLAN {id}: they are numbered from 1 to 4094")]
    Vlan {
        /// What was asked for.
        id: u16,
    },
    /// A bound outside of its own bounds.
    #[error("there cannot be room for {asked} {what} flows: ask for 1 to {}", crate::MAX_FLOWS)]
    Bound {
        /// "registered" or "pinned".
        what: &'static str,
        /// How many were asked for.
        asked: u32,
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
    /// No such core.
    #[error("there is no core {core}: the layout is for {cores} cores, numbered from 0")]
    Core {
        /// The core that was asked for.
        core: u32,
        /// How many there are.
        cores: u32,
    },
    /// The table of owners is another one than the program was loaded for.
    #[error(
        "a table of {len} buckets for {cores} cores does not fit the XDP program, which was loaded for {needed_len} \
         buckets and {needed_cores} cores"
    )]
    Table {
        /// Its buckets.
        len: u32,
        /// Its cores.
        cores: u32,
        /// The program's buckets.
        needed_len: u32,
        /// The program's cores.
        needed_cores: u32,
    },
    /// The two are no ends of one connection.
    #[error(
        "{local} and {remote} are not the ends of a connection: both must be one host's address, of one family, with a \
         port that is not 0"
    )]
    Flow {
        /// The local end.
        local: SocketAddr,
        /// The remote end.
        remote: SocketAddr,
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
    /// Whoever has the program for this process did not make the change.
    #[error("the tables of the XDP program, which another process has, stay as they are: {source}")]
    Kept {
        /// What he says.
        source: io::Error,
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
