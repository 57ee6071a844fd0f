//! Transports: what carries a workload's bytes. The kernel's sockets and Corelane, behind the same words.

pub mod corelane;
pub mod kernel;
pub mod raw;

use crate::workload::Tally;
use clap::ValueEnum;
use serde::Serialize;
use std::ops::AddAssign;

/// How a connection ended badly, or never began. The names are those of `errors_by_kind` in result.json.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ErrorKind {
    /// The peer answered the opening with RST.
    Refused,
    /// No answer to the opening within the time allowed.
    ConnectTimeout,
    /// The network says that there is no way.
    Unreachable,
    /// The peer sent RST.
    Reset,
    /// The peer closed while a request was under way.
    Closed,
    /// The stack gave up retransmitting.
    TimedOut,
    /// An echo with other bytes than were sent.
    Corrupt,
    /// Bytes that nobody asked for.
    Unexpected,
    /// Not the protocol.
    Malformed,
    /// An HTTP status of 400 or above.
    Status,
    /// No local port, descriptor or memory was left.
    Exhausted,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The name in result.json and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Corrupt => "corrupt",
            Self::Unexpected => "unexpected",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::Exhausted => "exhausted",
            Self::Other => "other",
        }
    }
}

/// The transports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TransportKind {
    /// Our own TCP over AF_XDP.
    Corelane,
    /// The kernel's TCP: epoll and non-blocking sockets.
    Kernel,
    /// The kernel's TCP through an `io_uring`: reads and writes are handed over together.
    KernelUring,
    /// Bare AF_XDP frames without TCP: the floor. It takes every packet of the interface.
    Raw,
}

impl TransportKind {
    /// The name on the command line and in result.json.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corelane => "corelane",
            Self::Kernel => "kernel",
            Self::KernelUring => "kernel-uring",
            Self::Raw => "raw",
        }
    }
}

/// What a server counted, over all its threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ServeSummary {
    /// Connections taken.
    pub accepted: u64,
    /// Connections that ended, in whatever way.
    pub closed: u64,
    /// Of those, the ones that the peer or the network broke.
    pub reset: u64,
    /// Connections that still were open when the server was told to stop.
    pub open_at_stop: u64,
    /// Connections that could not be taken for want of descriptors or memory.
    pub accept_errors: u64,
    /// Bytes received by the workload.
    pub bytes_in: u64,
    /// Bytes sent by the workload.
    pub bytes_out: u64,
    /// What the workload counted.
    #[serde(flatten)]
    pub tally: Tally,
}

impl AddAssign for ServeSummary {
    fn add_assign(&mut self, other: Self) {
        let Self { accepted, closed, reset, open_at_stop, accept_errors, bytes_in, bytes_out, tally } = other;
        self.accepted += accepted;
        self.closed += closed;
        self.reset += reset;
        self.open_at_stop += open_at_stop;
        self.accept_errors += accept_errors;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.tally.requests += tally.requests;
        self.tally.rejected += tally.rejected;
    }
}
