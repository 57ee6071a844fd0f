//! result.json: what a load found, in one document.

use crate::load::details::Details;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The quantiles that are reported, with the names that people read.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("p99.999", 0.99999)];

/// A distribution in nanoseconds, each value rounded up to three significant digits. All are 0 when nothing was
/// recorded.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Percentiles {
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub p99_99: u64,
    pub p99_999: u64,
    pub max: u64,
    pub mean: f64,
}

impl Percentiles {
    /// The percentiles of `histogram`.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        Self {
            min: histogram.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            p99_999: at(0.99999),
            max: histogram.max(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
        }
    }

    /// The rows of a table, with the names that people read.
    pub fn rows(&self) -> [(&'static str, f64); 9] {
        let Self { min, p50, p90, p99, p99_9, p99_99, p99_999, max, mean } = *self;
        [
            ("min", min as f64),
            ("mean", mean),
            ("p50", p50 as f64),
            ("p90", p90 as f64),
            ("p99", p99 as f64),
            ("p99.9", p99_9 as f64),
            ("p99.99", p99_99 as f64),
            ("p99.999", p99_999 as f64),
            ("max", max as f64),
        ]
    }
}

/// The document. Rates are per second, bytes are the workload's (without TCP's headers), times say their unit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoadResult {
    /// What was asked, such as `echo` or `http`.
    pub workload: String,
    /// `corelane` or `kernel`.
    pub transport: String,
    /// The address and port of the server.
    pub target: String,
    /// Connections, over all cores.
    pub connections: usize,
    /// `open` or `closed`.
    #[serde(rename = "loop")]
    pub pace: String,
    /// `constant`, `poisson` or `trace`; null in a closed loop.
    pub arrivals: Option<String>,
    /// Requests a second that were due, on average if that changed; null in a closed loop.
    pub offered_rate: Option<f64>,
    /// Requests a second that were answered within the measurement.
    pub achieved_rate: f64,
    /// Requests answered: as many as the histograms hold.
    pub requests: u64,
    /// All errors, from the first opening on.
    pub errors: u64,
    /// The errors by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Requests that were sent and had no answer when the run ended.
    pub unanswered: u64,
    /// Requests that were due and never sent, because no connection was free.
    pub unsent: u64,
    /// Connections opened anew during the run.
    pub reconnects: u64,
    /// How long the measurement lasted.
    pub duration_s: f64,
    /// How long the warm-up before it lasted.
    pub warmup_s: f64,
    /// Bytes of the requests that were due in the measurement, and of their answers.
    pub bytes: u64,
    /// Of these, sent.
    pub bytes_sent: u64,
    /// Of these, received.
    pub bytes_received: u64,
    /// The size asked for by `--size`; null for the workload's default.
    pub size: Option<u64>,
    /// The seed of random gaps and of the echoed bytes.
    pub seed: u64,
    /// The cores that the load ran on.
    pub cores: Vec<usize>,
    /// Processor time of those cores' threads during the whole run; in the kernel transport this has the kernel's
    /// share, and on veth also the peer's receive.
    pub cpu_s: f64,
    /// Whether `/dev/cpu_dma_latency` was held at 0, so that idle cores did not halt.
    pub cpu_dma_latency_held: bool,
    /// Whether the client polled without sleeping.
    pub spin: bool,
    /// The congestion control of the client's TCP.
    pub congestion_control: String,
    /// When it began: seconds since 1970-01-01 UTC.
    pub started_at_s: u64,
    /// The version of corelane-bench.
    pub version: String,
    /// From the time at which a request was due to its answer.
    pub latency_ns: Percentiles,
    /// From the real send to the answer.
    pub service_time_ns: Percentiles,
    /// What else there is to know, as fields beside these.
    #[serde(flatten)]
    pub details: Details,
}
