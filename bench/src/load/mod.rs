//! `load`: asks a server and measures how long the answers take.

pub mod arguments;
pub mod counts;
pub mod crew;
pub mod details;
pub mod environment;
pub mod gate;
pub mod options;
pub mod plan;
pub mod rate;
pub mod recorder;
pub mod scenario;
pub mod schedule;
pub mod search;
pub mod session;
pub mod throttle;
pub mod trace;
pub mod usage;

mod collect;
mod command;
mod run;
mod selfcheck;
mod show;
mod slot;

pub(crate) use command::judge;
pub use command::run;

use crate::clock::Clock;
use crate::workload::size::{Draw, Sizes};
use crate::workload::{Client, LoadKind, bulk, echo, http, kv, rr};
use counts::Counts;
use crew::Crew;
use gate::Gate;
use options::{DEFAULT_SIZE, Options, Pace, SetOptions, nanos};
use plan::{Loop, Plan};
use recorder::{Interval, Pair, Recorder};
use session::Session;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use usage::Usage;

/// What the threads of a run share: it gives each its sessions.
#[derive(Debug)]
pub struct Setup {
    options: Options,
    gate: Arc<Gate>,
    clock: Clock,
    intervals: Sender<Interval>,
    spares: Mutex<Vec<Option<Receiver<Pair>>>>,
}

/// The main thread's ends of the channels of a run. A lane is a set on a core.
#[derive(Debug)]
pub struct Channels {
    intervals: Receiver<Interval>,
    spares: Vec<Sender<Pair>>,
}

/// What one core's thread gives back.
#[derive(Clone, Debug)]
pub struct CoreOutcome {
    /// What it counted for each set.
    pub counts: Vec<Counts>,
    /// What its thread cost.
    pub usage: Usage,
}

impl Setup {
    /// The set-up of a run, and the ends of its channels.
    pub fn new(options: Options) -> (Self, Channels) {
        let lanes = options.cores.len() * options.sets.len();
        let (to, intervals) = channel();
        let (spares, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| channel()).unzip();
        let setup = Self {
            gate: Arc::new(Gate::new(lanes)),
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
    pub fn crew(&self, index: usize) -> Crew {
        let session = |(place, set): (usize, &SetOptions)| {
            let lane = place * self.options.cores.len() + index;
            let spare = self.spares.lock().ok().and_then(|mut spares| spares.get_mut(lane).and_then(Option::take));
            let recorder = Recorder::new(lane, self.intervals.clone(), spare.unwrap_or_else(|| channel().1));
            // Sets differ in their random numbers too.
            let seed = self.options.seed.wrapping_add((place as u64) << 48);
            let clients = self.clients(set, index, seed);
            let session = Session::new(self.plan(set, index, seed), clients, Arc::clone(&self.gate), recorder);
            (session, set.target)
        };
        Crew::new(self.options.sets.iter().enumerate().map(session).collect())
    }

    /// How many of `total` fall to core `index`: as even as can be.
    fn share(&self, total: u64, index: usize) -> u64 {
        let (cores, index) = (self.options.cores.len() as u64, index as u64);
        total / cores + u64::from(index < total % cores)
    }

    fn plan(&self, set: &SetOptions, index: usize, seed: u64) -> Plan {
        let options = &self.options;
        let share = self.share(set.connections as u64, index) as f64 / set.connections as f64;
        let pace = match (&set.pace, set.pace.profile(options.warmup, options.duration)) {
            (Pace::Rate(_, arrivals), Some(profile)) => Loop::Open {
                profile: profile.scaled(share),
                phase: index as f64 / options.cores.len() as f64,
                arrivals: *arrivals,
                seed: seed.wrapping_add(index as u64),
            },
            (Pace::Trace(trace), _) => {
                Loop::Trace { times: Arc::clone(trace.times()), first: index, stride: options.cores.len() }
            }
            _ => Loop::Closed,
        };
        Plan {
            warmup_ns: nanos(options.warmup),
            request_limit: set.request_limit.map(|limit| self.share(limit, index)),
            requests_per_connection: set.requests_per_connection,
            depth: set.pipeline,
            idle: self.share(set.idle_connections as u64, index) as usize,
            churn: set.workload == LoadKind::Churn,
            reset: set.reset,
            read_rate: set.read_rate,
            write_rate: set.write_rate,
            ..Plan::new(pace, nanos(options.duration), nanos(options.drain))
        }
    }

    fn clients(&self, set: &SetOptions, index: usize, seed: u64) -> Vec<Client> {
        let active = self.share(set.connections as u64, index);
        let idle = self.share(set.idle_connections as u64, index);
        // Each connection has random numbers and bytes of its own, so that a mix-up of two is seen.
        let seed = |conn: u64| seed.wrapping_add((index as u64) << 32 | conn);
        let http = http::Asks::path(&set.target.to_string(), &http_path(set.sizes.as_ref()));
        (0..active + idle).map(|conn| client(set, &http, seed(conn))).collect()
    }
}

fn http_path(sizes: Option<&Sizes>) -> String {
    sizes.and_then(Sizes::fixed).map_or_else(|| "/".to_owned(), |size| format!("/bytes/{size}"))
}

/// The client of one connection.
fn client(set: &SetOptions, http: &http::Asks, seed: u64) -> Client {
    let sizes = || set.sizes.clone().unwrap_or(Sizes::Fixed(DEFAULT_SIZE));
    let chunk = || set.sizes.as_ref().and_then(Sizes::fixed).unwrap_or(bulk::DEFAULT_CHUNK);
    match set.workload {
        LoadKind::Http => Client::Http(http::Client::new(match &set.sizes {
            Some(sizes) if sizes.fixed().is_none() => {
                http::Asks::Sized(set.target.to_string().into(), Draw::new(sizes.clone(), seed))
            }
            _ => http.clone(),
        })),
        LoadKind::Rr => {
            let answers = Draw::new(set.response_sizes.clone(), seed.rotate_left(17));
            Client::Rr(rr::Client::new(Draw::new(sizes(), seed), answers))
        }
        LoadKind::Kv => Client::Kv(kv::Client::new(set.mix, Draw::new(sizes(), seed), seed.rotate_left(17))),
        LoadKind::BulkSend => Client::BulkSend(bulk::Sender::new(chunk())),
        LoadKind::BulkRecv => Client::BulkRecv(bulk::Receiver::new(chunk())),
        LoadKind::Churn if set.sizes.is_none() => Client::Silent,
        LoadKind::Echo | LoadKind::Churn => Client::Echo(echo::Client::new(sizes(), seed)),
    }
}

#[cfg(test)]
mod tests;
