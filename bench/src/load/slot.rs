//! What a session knows of one connection.

use super::plan::Plan;
use super::throttle::Throttle;
use crate::workload::Client;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Down,
    Connecting { until: u64 },
    Open,
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) intended: u64,
    pub(super) sent: u64,
}

/// What a slow connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wake {
    Read,
    Write,
}

/// How slow a connection is, and whether it waits for its time to read or write again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slowness {
    pub(super) reads: Option<Throttle>,
    pub(super) writes: Option<Throttle>,
    pub(super) read_paused: bool,
    pub(super) write_paused: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) client: Client,
    pub(super) pending: VecDeque<Pending>,
    /// Requests that this connection began and had answered since it was opened.
    pub(super) begun: u64,
    pub(super) answered: u64,
    /// Whether it is among the free ones.
    pub(super) listed: bool,
    /// `None` as long as no rate is asked for.
    pub(super) slow: Option<Box<Slowness>>,
}

impl Slot {
    pub(super) fn new(client: Client, plan: &Plan) -> Self {
        let is_slow = plan.read_rate.is_some() || plan.write_rate.is_some();
        Self {
            state: State::Down,
            client,
            pending: VecDeque::new(),
            begun: 0,
            answered: 0,
            listed: false,
            slow: is_slow.then(|| Box::new(Slowness::new(plan))),
        }
    }
}

impl Slowness {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            reads: plan.read_rate.map(Throttle::new),
            writes: plan.write_rate.map(Throttle::new),
            read_paused: false,
            write_paused: false,
        }
    }
}
