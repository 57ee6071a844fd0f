//! What result.json says beside the percentiles: how the load was meant, what it cost, where it ran, and what of it is
//! not to be trusted.

use super::environment::Environment;
use crate::report::result::Percentiles;
use serde::{Deserialize, Serialize};

/// Rates and percentiles of a part of a run: a second of a ramp, a step, or a try of a search.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CurvePoint {
    /// When it began: seconds since the measurement did. Steps and tries are counted without what lies between them.
    pub at_s: f64,
    /// Requests a second that were due.
    pub offered_rate: f64,
    /// Requests a second that were answered in it.
    pub achieved_rate: f64,
    /// Requests answered.
    pub requests: u64,
    /// Errors; always 0 for the seconds of a ramp, whose errors are not known by second.
    pub errors: u64,
    /// From the time at which a request was due to its answer.
    pub latency_ns: Percentiles,
    /// Whether it kept the objective; null where there is none.
    pub is_good: Option<bool>,
}

/// What the load cost on its own side.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time of the load's threads in the program.
    pub user_s: f64,
    /// Processor time of the load's threads in the kernel.
    pub system_s: f64,
    /// Both for each request that was answered.
    pub cpu_ns_per_request: f64,
    /// The share of these cores' time in soft interrupts, 0 to 1.
    pub softirq_share: f64,
    /// The share of these cores' time that the hypervisor took for others, 0 to 1.
    pub steal_share: f64,
    /// How long the threads were ready to run and others ran.
    pub run_queue_wait_s: f64,
    /// Times that the threads slept.
    pub voluntary_switches: u64,
    /// Times that the threads were taken off their cores.
    pub involuntary_switches: u64,
}

/// See the [module](self). It is a part of [`LoadResult`](crate::report::result::LoadResult).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// The set's name in a scenario; empty elsewhere.
    pub name: String,
    /// The rate as it was asked for, such as `1000..50000`; null without one.
    pub rate: Option<String>,
    /// Sizes as they were asked for; null for the workload's default.
    pub sizes: Option<String>,
    /// Sizes of answers as they were asked for; null where the request does not say them.
    pub response_sizes: Option<String>,
    /// How many requests a connection could have outstanding.
    pub pipeline: usize,
    /// Connections that were only opened.
    pub idle_connections: usize,
    /// Requests that were answered with "there is none", warm-up included.
    pub misses: u64,
    /// Requests that were sent late because no connection was free when they were due.
    pub waited_for_connection: u64,
    /// How much later than it could have each request was sent: the load generator's own part of the latency. All 0 in a
    /// closed loop.
    pub schedule_lag_ns: Percentiles,
    /// The parts of the run: the seconds of a ramp, the steps, or the tries of a search in their order.
    pub curve: Vec<CurvePoint>,
    /// The objectives of a search.
    pub slo: Vec<String>,
    /// The highest rate that kept all objectives; null without a search, and when no rate did.
    pub found_rate: Option<f64>,
    /// What the load cost. In a scenario all sets of a phase together.
    pub resources: Resources,
    /// Where it ran.
    pub environment: Environment,
    /// What of this result is not to be trusted, a sentence each.
    pub warnings: Vec<String>,
}
