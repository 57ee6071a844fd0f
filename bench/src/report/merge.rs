//! `report --merge`: the parts of one load, run at the same time by several machines, as one.

use super::Loaded;
use super::result::{LoadResult, Percentiles};
use crate::failure::Failure;

/// Adds everything up: rates, counts, histograms, second by second from each one's own begin. What has to be the same and
/// is not is an error.
pub fn merge(loads: Vec<Loaded>) -> Result<Loaded, Failure> {
    let mut loads = loads.into_iter();
    let mut all = loads.next().ok_or_else(|| Failure::Usage("--merge needs a directory at least".to_owned()))?;
    for other in loads {
        check(&all, &other)?;
        all.name = format!("{} + {}", all.name, other.name);
        add(&mut all.result, &other.result);
        all.histograms.add(&other.histograms);
        for (second, pair) in &other.seconds {
            all.seconds.entry(*second).or_default().add(pair);
        }
    }
    all.result.latency_ns = Percentiles::of(&all.histograms.latency);
    all.result.service_time_ns = Percentiles::of(&all.histograms.service);
    Ok(all)
}

fn check(one: &Loaded, other: &Loaded) -> Result<(), Failure> {
    let of = |result: &LoadResult| {
        let size = result.size.map_or("default".to_owned(), |size| size.to_string());
        [("workload", result.workload.clone()), ("size", size), ("loop", result.pace.clone())]
    };
    for ((what, first), (_, second)) in of(&one.result).into_iter().zip(of(&other.result)) {
        if first != second {
            return Err(Failure::Usage(format!(
                "--merge adds the parts of one load, but the {what} is {first} in {} and {second} in {}; leave --merge \
                 out to see them side by side",
                one.name, other.name
            )));
        }
    }
    Ok(())
}

fn add(all: &mut LoadResult, other: &LoadResult) {
    let join = |all: &mut String, other: &str| {
        if !all.split(", ").any(|known| known == other) {
            *all = format!("{all}, {other}");
        }
    };
    join(&mut all.transport, &other.transport);
    join(&mut all.target, &other.target);
    join(&mut all.congestion_control, &other.congestion_control);
    all.connections += other.connections;
    all.offered_rate = all.offered_rate.zip(other.offered_rate).map(|(one, other)| one + other);
    all.achieved_rate += other.achieved_rate;
    all.requests += other.requests;
    all.errors += other.errors;
    for (kind, count) in &other.errors_by_kind {
        *all.errors_by_kind.entry(kind.clone()).or_default() += count;
    }
    all.unanswered += other.unanswered;
    all.unsent += other.unsent;
    all.reconnects += other.reconnects;
    all.duration_s = all.duration_s.max(other.duration_s);
    all.bytes += other.bytes;
    all.bytes_sent += other.bytes_sent;
    all.bytes_received += other.bytes_received;
    all.cores.extend(&other.cores);
    all.cpu_s += other.cpu_s;
    all.cpu_dma_latency_held &= other.cpu_dma_latency_held;
    all.spin &= other.spin;
    all.started_at_s = all.started_at_s.min(other.started_at_s);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::hlog;
    use crate::report::table::tests::load;
    use std::collections::BTreeMap;

    /// 100 answers, each of `us` microseconds.
    fn part(name: &str, us: u64) -> Loaded {
        let mut loaded = load(name, 0, 100.0);
        let mut pair = hlog::empty();
        pair.latency.record_n(us * 1000, 100).unwrap();
        pair.service.record_n(us * 500, 100).unwrap();
        loaded.result.requests = 100;
        loaded.histograms.add(&pair);
        loaded.seconds = BTreeMap::from([(0, pair)]);
        loaded
    }

    #[test]
    fn histograms_rates_and_counts_add_up() {
        let mut parts = vec![part("a", 10), part("b", 30), part("c", 1000)];
        parts[1].result.cpu_dma_latency_held = false;
        parts[2].result.target = "10.0.0.9:80".to_owned();
        let all = merge(parts).unwrap();
        let LoadResult { connections, offered_rate, achieved_rate, requests, errors, .. } = all.result;
        assert_eq!((connections, offered_rate, achieved_rate, requests, errors), (3, Some(3000.0), 300.0, 300, 6));
        assert_eq!((all.histograms.latency.len(), all.seconds[&0].latency.len()), (300, 300));
        let near = |found: u64, expected: u64| found.abs_diff(expected) * 500 < expected;
        assert!(near(all.result.latency_ns.p50, 30_000), "{:?}", all.result.latency_ns);
        assert!(near(all.result.latency_ns.p99, 1_000_000), "{:?}", all.result.latency_ns);
        assert!(near(all.result.service_time_ns.p50, 15_000), "{:?}", all.result.service_time_ns);
        assert_eq!(all.result.errors_by_kind["reset"], 6);
        assert_eq!((all.name.as_str(), all.result.target.as_str()), ("a + b + c", "10.0.0.1:80, 10.0.0.9:80"));
        assert!(!all.result.cpu_dma_latency_held);
    }

    #[test]
    fn what_is_not_one_load_is_not_added() {
        let mut parts = vec![part("a", 10), part("b", 10)];
        parts[1].result.workload = "echo".to_owned();
        let error = merge(parts).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("the workload is http in a and echo in b"), "{error}");
    }
}
