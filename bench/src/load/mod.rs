//! `load`: asks a server and measures how long the answers take.

pub mod gate;
pub mod recorder;
pub mod schedule;
pub mod session;

mod collect;
mod command;

pub(crate) use command::judge;
pub use command::run;

use crate::clock::Clock;
use crate::workload::{Client, LoadKind, echo, http};
use gate::Gate;
use recorder::{Interval, Pair, Recorder};
use schedule::Arrivals;
use session::{Counts, Loop, Plan, Session};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is to be measured, whatever the transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is asked.
    pub workload: LoadKind,
    /// Who is asked.
    pub target: SocketAddr,
    /// The address that is asked from; `None` lets the transport choose.
    pub local: Option<IpAddr>,
    /// Connections, over all cores.
    pub connections: usize,
    /// Requests a second over all cores and their gaps; `None` is a closed loop.
    pub rate: Option<(f64, Arrivals)>,
    /// How long it runs before it measures.
    pub warmup: Duration,
    /// How long it measures.
    pub duration: Duration,
    /// How long it waits for answers afterwards.
    pub drain: Duration,
    /// Ends after this many requests, if not earlier.
    pub request_limit: Option<u64>,
    /// Closes a connection after this many answers, and opens it anew.
    pub requests_per_connection: Option<u64>,
    /// Bytes of a message or of an answer's body; `None` is the workload's default.
    pub size: Option<u64>,
    /// For random gaps and for the echoed bytes.
    pub seed: u64,
    /// The cores to run on.
    pub cores: Vec<usize>,
    /// Whether to poll without sleeping.
    pub spin: bool,
}

/// The message size of an echo when none is given.
pub const DEFAULT_ECHO_SIZE: u64 = 64;

/// What the threads of a run share: it gives each its session.
#[derive(Debug)]
pub struct Setup {
    options: Options,
    gate: Arc<Gate>,
    clock: Clock,
    intervals: Sender<Interval>,
    spares: Mutex<Vec<Option<Receiver<Pair>>>>,
}

/// The main thread's ends of the channels of a run.
#[derive(Debug)]
pub struct Channels {
    intervals: Receiver<Interval>,
    spares: Vec<Sender<Pair>>,
}

/// What one core's thread gives back.
#[derive(Clone, Debug)]
pub struct CoreOutcome {
    /// What it counted.
    pub counts: Counts,
    /// The processor time it used, in nanoseconds.
    pub cpu_ns: u64,
}

impl Setup {
    /// The set-up of a run, and the ends of its channels.
    pub fn new(options: Options) -> (Self, Channels) {
        let (to, intervals) = channel();
        let (spares, receivers): (Vec<_>, Vec<_>) = options.cores.iter().map(|_| channel()).unzip();
        let setup = Self {
            gate: Arc::new(Gate::new(options.cores.len())),
            clock: Clock::new(),
            intervals: to,
            spares: Mutex::new(receivers.into_iter().map(Some).collect()),
            options,
        };
        (setup, Channels { intervals, spares })
    }

    /// The cores to run on.
    pub fn cores(&self) -> &[usize] {
        &self.options.cores
    }

    /// The clock that all threads of the run use.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who is asked.
    pub const fn target(&self) -> SocketAddr {
        self.options.target
    }

    /// The address that is asked from.
    pub const fn local(&self) -> Option<IpAddr> {
        self.options.local
    }

    /// Whether to poll without sleeping.
    pub const fn spin(&self) -> bool {
        self.options.spin
    }

    /// The common start.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The load of core `index` (a place in [`cores`](Self::cores)). To be called once for each, on its own thread.
    pub fn session(&self, index: usize) -> Session {
        let spare = self.spares.lock().ok().and_then(|mut spares| spares.get_mut(index).and_then(Option::take));
        let recorder = Recorder::new(index, self.intervals.clone(), spare.unwrap_or_else(|| channel().1));
        Session::new(self.plan(index), self.clients(index), Arc::clone(&self.gate), recorder)
    }

    /// How many of `total` fall to core `index`: as even as can be.
    fn share(&self, total: u64, index: usize) -> u64 {
        let (cores, index) = (self.options.cores.len() as u64, index as u64);
        total / cores + u64::from(index < total % cores)
    }

    fn plan(&self, index: usize) -> Plan {
        let options = &self.options;
        let connections = self.share(options.connections as u64, index) as f64;
        let pace = options.rate.map_or(Loop::Closed, |(rate, arrivals)| Loop::Open {
            rate: rate * connections / options.connections as f64,
            phase: index as f64 / options.cores.len() as f64,
            arrivals,
            seed: options.seed.wrapping_add(index as u64),
        });
        Plan {
            pace,
            warmup_ns: nanos(options.warmup),
            duration_ns: nanos(options.duration),
            drain_ns: nanos(options.drain),
            request_limit: options.request_limit.map(|limit| self.share(limit, index)),
            requests_per_connection: options.requests_per_connection,
        }
    }

    fn clients(&self, index: usize) -> Vec<Client> {
        let options = &self.options;
        let count = self.share(options.connections as u64, index);
        match options.workload {
            LoadKind::Echo => {
                let size = options.size.unwrap_or(DEFAULT_ECHO_SIZE);
                // Each connection has bytes of its own, so that a mix-up of two is seen.
                let seed = |conn: u64| options.seed.wrapping_add((index as u64) << 32 | conn);
                (0..count).map(|conn| Client::Echo(echo::Client::new(size, seed(conn)))).collect()
            }
            LoadKind::Http => {
                let path = options.size.map_or_else(|| "/".to_owned(), |size| format!("/bytes/{size}"));
                let request = http::Client::request(&options.target.to_string(), &path);
                (0..count).map(|_| Client::Http(http::Client::new(request.clone()))).collect()
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
