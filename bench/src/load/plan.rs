//! What one core has to do.

use super::rate::Profile;
use super::schedule::Arrivals;
#[cfg(doc)]
use super::schedule::Schedule;
use std::sync::Arc;

/// When requests are sent.
#[derive(Clone, Debug)]
pub enum Loop {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// At due times; see [`Schedule::new`] for the fields.
    Open {
        /// The rate on this core.
        profile: Profile,
        /// Where in the first gap this core begins.
        phase: f64,
        /// The gaps.
        arrivals: Arrivals,
        /// For random gaps.
        seed: u64,
    },
    /// At the times of a trace; see [`Schedule::trace`] for the fields. The measurement ends with it.
    Trace {
        /// The times of all cores.
        times: Arc<[u64]>,
        /// The first one of this core.
        first: usize,
        /// How far it is to this core's next one.
        stride: usize,
    },
}

/// What one core has to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When to send.
    pub pace: Loop,
    /// How long before the measurement begins, in nanoseconds.
    pub warmup_ns: u64,
    /// How long the measurement lasts, in nanoseconds.
    pub duration_ns: u64,
    /// How long to wait for answers after it, in nanoseconds.
    pub drain_ns: u64,
    /// The measurement ends after this many requests, if it does not end earlier.
    pub request_limit: Option<u64>,
    /// A connection is closed and opened anew after this many answers.
    pub requests_per_connection: Option<u64>,
    /// How many requests a connection may have outstanding, at least 1.
    pub depth: usize,
    /// The last so many connections are opened and never used.
    pub idle: usize,
    /// Whether each request has a connection of its own, whose opening is part of it.
    pub churn: bool,
    /// Whether connections that are closed from this side are reset.
    pub reset: bool,
    /// Bytes a second that a connection reads at most.
    pub read_rate: Option<u64>,
    /// Bytes a second that a connection writes at most.
    pub write_rate: Option<u64>,
}

impl Plan {
    /// Requests one at a time on each connection, without warm-up, for `duration_ns`.
    pub const fn new(pace: Loop, duration_ns: u64, drain_ns: u64) -> Self {
        Self {
            pace,
            warmup_ns: 0,
            duration_ns,
            drain_ns,
            request_limit: None,
            requests_per_connection: None,
            depth: 1,
            idle: 0,
            churn: false,
            reset: false,
            read_rate: None,
            write_rate: None,
        }
    }
}
