//! What the project promises, as ratios that travel from machine to machine, beside what was measured.

use super::matrix::{Cell, Workload};
use super::pair::Pair;
use super::result::{CompareResult, Run, ratio};
use serde::{Deserialize, Serialize};

/// One promise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bar {
    /// What is compared, and with what.
    pub what: String,
    /// The ratio that is promised.
    pub bar: f64,
    /// Whether the ratio may be at most that, as times may; rates are at least.
    pub at_most: bool,
    /// The ratio found; null when one of the two was not measured.
    pub measured: Option<f64>,
    /// Whether it is kept; null when it was not measured.
    pub met: Option<bool>,
}

/// A promise before anything was measured.
struct Promise {
    what: &'static str,
    workload: Workload,
    /// Only with these connections; none is any.
    connections: &'static [usize],
    ours: &'static str,
    base: &'static str,
    bar: f64,
    is_latency: bool,
}

const MANY: &[usize] = &[16, 64, 512, 4096];

const PROMISES: &[Promise] = &[
    latency("round trip p50: Corelane to Corelane / raw", "corelane-to-corelane", "raw-to-raw", 1.25),
    latency(
        "round trip p50: Corelane to Corelane / kernel to kernel, both spinning",
        "corelane-to-corelane",
        "kernel-spin-to-kernel-spin",
        0.6,
    ),
    latency(
        "round trip p50, spinning kernel client: to Corelane / to the spinning kernel",
        "kernel-spin-to-corelane",
        "kernel-spin-to-kernel-spin",
        0.75,
    ),
    rate("echoes: Corelane to Corelane / raw", Workload::Echo, MANY, "corelane-to-corelane", "raw-to-raw", 0.85),
    rate(
        "echoes, Corelane client: to Corelane / to the kernel's epoll",
        Workload::Echo,
        MANY,
        "corelane-to-corelane",
        "corelane-to-kernel",
        1.9,
    ),
    rate(
        "connections a second: Corelane to Corelane / kernel to kernel",
        Workload::Churn,
        &[],
        "corelane-to-corelane",
        "kernel-to-kernel",
        3.0,
    ),
    rate(
        "connections a second, kernel client: to Corelane / to the kernel",
        Workload::Churn,
        &[],
        "kernel-to-corelane",
        "kernel-to-kernel",
        1.3,
    ),
    rate(
        "bulk at MTU 1500: Corelane to Corelane / raw",
        Workload::BulkSend,
        &[],
        "corelane-to-corelane",
        "raw-to-raw",
        0.85,
    ),
    rate(
        "bulk in from the kernel: to Corelane / to the kernel without offload",
        Workload::BulkSend,
        &[],
        "kernel-to-corelane",
        "kernel-plain-to-kernel-plain",
        1.1,
    ),
    rate(
        "bulk out to the kernel: from Corelane / from the kernel without offload",
        Workload::BulkRecv,
        &[],
        "kernel-to-corelane",
        "kernel-plain-to-kernel-plain",
        1.0,
    ),
];

const fn latency(what: &'static str, ours: &'static str, base: &'static str, bar: f64) -> Promise {
    Promise { what, workload: Workload::Echo, connections: &[1], ours, base, bar, is_latency: true }
}

const fn rate(
    what: &'static str,
    workload: Workload,
    connections: &'static [usize],
    ours: &'static str,
    base: &'static str,
    bar: f64,
) -> Promise {
    Promise { what, workload, connections, ours, base, bar, is_latency: false }
}

/// Every promise, for every number of connections that it is about and that was measured.
pub(super) fn bars(result: &CompareResult) -> Vec<Bar> {
    PROMISES.iter().flat_map(|promise| of_promise(result, promise)).collect()
}

fn of_promise(result: &CompareResult, promise: &Promise) -> Vec<Bar> {
    let size = matches!(promise.workload, Workload::Echo | Workload::Churn).then_some(64);
    let is_wanted = |connections| promise.connections.is_empty() || promise.connections.contains(&connections);
    let rows = result
        .rows
        .iter()
        .map(|row| row.cell)
        .filter(|cell| cell.workload == promise.workload && cell.size == size && is_wanted(cell.connections));
    let mut counts: Vec<usize> = rows.map(|cell| cell.connections).collect();
    counts.sort_unstable();
    counts.dedup();
    let row = |pair: &str, connections| {
        let pair: Pair = pair.parse().ok()?;
        result.row(&Cell { workload: promise.workload, size, connections, pair })
    };
    let value = |run: &Run| if promise.is_latency { run.p50_ns.map(|ns| ns as f64) } else { Some(run.rate) };
    let bar = |connections: Option<usize>| {
        let both = connections.and_then(|count| Some((row(promise.ours, count)?, row(promise.base, count)?)));
        let measured = both.and_then(|(ours, base)| ratio(ours, base, value));
        let Promise { bar, is_latency: at_most, .. } = *promise;
        let of = match connections {
            Some(1) | None => String::new(),
            Some(count) => format!(", {count} connections"),
        };
        Bar {
            what: format!("{}{of}", promise.what),
            bar,
            at_most,
            measured,
            met: measured.map(|found| if at_most { found <= bar } else { found >= bar }),
        }
    };
    // One that nothing was measured for is shown too.
    if counts.is_empty() { vec![bar(None)] } else { counts.into_iter().map(|count| bar(Some(count))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::result::tests::{result, row};

    #[test]
    fn every_promise_names_pairs_that_the_matrix_has() {
        let cells = crate::compare::matrix::Matrix::full().cells();
        for promise in PROMISES {
            for pair in [promise.ours, promise.base] {
                let pair: Pair = pair.parse().unwrap();
                let has = |cell: &Cell| cell.workload == promise.workload && cell.pair == pair;
                assert!(cells.iter().any(has), "{}: {pair}", promise.what);
            }
        }
    }

    #[test]
    fn times_are_at_most_and_rates_at_least() {
        let result = result(vec![
            row(Workload::Echo, 1, "raw-to-raw", &[(0, 100.0, 100)]),
            row(Workload::Echo, 1, "corelane-to-corelane", &[(0, 80.0, 125)]),
            row(Workload::Echo, 1, "kernel-spin-to-kernel-spin", &[(0, 80.0, 200)]),
            row(Workload::Echo, 16, "raw-to-raw", &[(0, 100.0, 100)]),
            row(Workload::Echo, 16, "corelane-to-corelane", &[(0, 85.0, 125)]),
            row(Workload::Echo, 16, "corelane-to-kernel", &[(0, 50.0, 125)]),
            row(Workload::BulkSend, 16, "raw-to-raw", &[(0, 10.0, 0)]),
            row(Workload::BulkSend, 16, "corelane-to-corelane", &[(0, 9.0, 0)]),
        ]);
        let found = |what: &str| {
            let bar = result.bars.iter().find(|bar| bar.what.starts_with(what)).unwrap();
            (bar.measured, bar.met)
        };
        assert_eq!(found("round trip p50: Corelane to Corelane / raw"), (Some(1.25), Some(true)));
        assert_eq!(found("round trip p50: Corelane to Corelane / kernel"), (Some(0.625), Some(false)));
        assert_eq!(found("round trip p50, spinning kernel client"), (None, None));
        assert_eq!(found("echoes: Corelane to Corelane / raw, 16 connections"), (Some(0.85), Some(true)));
        assert_eq!(found("echoes, Corelane client: to Corelane / to the kernel's epoll, 16"), (Some(1.7), Some(false)));
        assert_eq!(found("connections a second, kernel client"), (None, None));
        assert_eq!(found("bulk at MTU 1500: Corelane to Corelane / raw, 16"), (Some(0.9), Some(true)));
        assert_eq!(result.bars.len(), PROMISES.len());
    }
}
