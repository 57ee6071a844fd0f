//! What is to be measured, whatever the transport.

use super::rate::{Profile, Rate};
use super::schedule::Arrivals;
use super::trace::Trace;
use crate::workload::LoadKind;
use crate::workload::kv::Mix;
use crate::workload::size::Sizes;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The message size of an echo, of a request and of a value when none is given.
pub const DEFAULT_SIZE: u64 = 64;

/// A run without another end lasts so long: eleven days.
pub const LONGEST: Duration = Duration::from_secs(1_000_000);

/// When requests are sent.
#[derive(Clone, PartialEq, Debug)]
pub enum Pace {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// At this rate, over all connections of the set.
    Rate(Rate, Arrivals),
    /// At the times of a file.
    Trace(Trace),
}

impl Pace {
    /// `constant`, `poisson` or `trace`; `None` in a closed loop.
    pub const fn arrivals(&self) -> Option<&'static str> {
        match self {
            Self::Closed => None,
            Self::Rate(_, arrivals) => Some(arrivals.name()),
            Self::Trace(_) => Some("trace"),
        }
    }

    /// The rate over time, for a set that holds its first rate during the warm-up. Steps are measured one by one and
    /// have no profile together.
    pub fn profile(&self, warmup: Duration, duration: Duration) -> Option<Profile> {
        match self {
            Self::Rate(Rate::Constant(rate), _) => Some(Profile::constant(*rate)),
            Self::Rate(Rate::Ramp(from, to), _) => Some(Profile::ramp(*from, *to, nanos(warmup), nanos(duration))),
            Self::Closed | Self::Trace(_) | Self::Rate(Rate::Steps(_), _) => None,
        }
    }
}

/// One set of connections.
#[derive(Clone, PartialEq, Debug)]
pub struct SetOptions {
    /// What it is called beside others.
    pub name: String,
    /// What is asked.
    pub workload: LoadKind,
    /// Who is asked.
    pub target: SocketAddr,
    /// Connections that ask, over all cores.
    pub connections: usize,
    /// Connections beside them that are only opened.
    pub idle_connections: usize,
    /// When.
    pub pace: Pace,
    /// Ends after this many requests, if not earlier.
    pub request_limit: Option<u64>,
    /// Closes a connection after this many answers, and opens it anew.
    pub requests_per_connection: Option<u64>,
    /// Requests that a connection may have outstanding.
    pub pipeline: usize,
    /// Bytes of a message, a value, a chunk or an answer's body; `None` is the workload's default.
    pub sizes: Option<Sizes>,
    /// Bytes of an answer, where the request says how many.
    pub response_sizes: Sizes,
    /// What a key-value client asks for.
    pub mix: Mix,
    /// Whether connections are closed by a reset.
    pub reset: bool,
    /// Bytes a second that each connection reads at most.
    pub read_rate: Option<u64>,
    /// Bytes a second that each connection writes at most.
    pub write_rate: Option<u64>,
}

/// One run: sets of connections that ask at the same time.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The sets, at least one.
    pub sets: Vec<SetOptions>,
    /// The address that is asked from; `None` lets the transport choose.
    pub local: Option<IpAddr>,
    /// How long it runs before it measures.
    pub warmup: Duration,
    /// How long it measures.
    pub duration: Duration,
    /// How long it waits for answers afterwards.
    pub drain: Duration,
    /// For random gaps and sizes and for the echoed bytes.
    pub seed: u64,
    /// The cores to run on.
    pub cores: Vec<usize>,
    /// Whether to poll without sleeping.
    pub spin: bool,
}

/// Whole nanoseconds; what is too long for them is the longest.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
