//! What of a load is not to be trusted: the generator checks itself and its machine.

use super::details::{Details, Resources};
use super::environment::Noise;
use crate::report::result::Percentiles;
use crate::report::units;

/// What the check looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Check {
    pub(super) latency: Percentiles,
    /// The generator's own part of it.
    pub(super) lag: Percentiles,
    /// Whether requests are due at times.
    pub(super) is_open: bool,
    /// Requests that were due in the measurement, sent or not, and answered within it.
    pub(super) due: u64,
    pub(super) answered_in_time: u64,
    /// Requests that waited for a free connection.
    pub(super) waited: u64,
    pub(super) duration_s: f64,
    pub(super) cores: usize,
    pub(super) spin: bool,
    pub(super) steal_share: f64,
    pub(super) run_queue_wait_s: f64,
    pub(super) cpu_s: f64,
    pub(super) noise: Noise,
}

/// Lag below this is not worth a word, however fast the server.
const LAG_NS: u64 = 10_000;
/// Less than this share of what was due is a rate that was missed. What is under way at the end explains less.
const RATE_SHARE: f64 = 0.99;
/// A closed loop that keeps its cores busier than this measures itself.
const BUSY_SHARE: f64 = 0.95;
/// Steal, and waiting for the core, above this share of the time show in the tail.
const TAKEN_SHARE: f64 = 0.005;
/// A pause longer than this shows in the tail of any fast server.
const PAUSE_NS: u64 = 200_000;

impl Check {
    pub(super) fn with_resources(self, resources: &Resources, noise: Noise) -> Self {
        Self {
            steal_share: resources.steal_share,
            run_queue_wait_s: resources.run_queue_wait_s,
            cpu_s: resources.user_s + resources.system_s,
            noise,
            ..self
        }
    }

    /// A sentence for each thing that is wrong.
    pub(super) fn warnings(&self) -> Vec<String> {
        [self.lag(), self.rate(), self.waiting(), self.busy(), self.steal(), self.run_queue(), self.noise()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn lag(&self) -> Option<String> {
        let late = self.lag.p99 > LAG_NS && self.lag.p99 * 10 > self.latency.p99;
        late.then(|| {
            format!(
                "the generator was the bottleneck: it sent up to {} (p99) later than it could have, of a latency of {}; \
                 give it more --cores, or --spin, or a lower rate",
                units::time(self.lag.p99 as f64),
                units::time(self.latency.p99 as f64)
            )
        })
    }

    fn rate(&self) -> Option<String> {
        let share = self.answered_in_time as f64 / self.due.max(1) as f64;
        // What is under way at the end is no rate that was missed.
        let under_way = self.answered_in_time + 10 >= self.due;
        (self.is_open && self.due > 0 && share < RATE_SHARE && !under_way).then(|| {
            format!(
                "the offered rate was missed: {} of {} requests that were due were answered in time ({:.1} %)",
                units::count(self.answered_in_time),
                units::count(self.due),
                share * 100.0
            )
        })
    }

    fn waiting(&self) -> Option<String> {
        let share = self.waited as f64 / self.due.max(1) as f64;
        (self.is_open && share > 0.01).then(|| {
            format!(
                "{:.1} % of the requests waited for a free connection: the latency has that wait, the service time has \
                 not; more --connections or --pipeline send them earlier",
                share * 100.0
            )
        })
    }

    fn busy(&self) -> Option<String> {
        let share = self.cpu_s / (self.duration_s * self.cores as f64).max(f64::MIN_POSITIVE);
        (!self.is_open && !self.spin && self.duration_s > 0.1 && share > BUSY_SHARE).then(|| {
            format!(
                "the generator's cores were busy all the time: the rate is perhaps its own and not the server's; give it \
                 more --cores ({} now)",
                self.cores
            )
        })
    }

    fn steal(&self) -> Option<String> {
        (self.steal_share > TAKEN_SHARE).then(|| {
            format!(
                "the hypervisor took {:.1} % of the generator's cores for others: the tail is partly its",
                self.steal_share * 100.0
            )
        })
    }

    fn run_queue(&self) -> Option<String> {
        let share = self.run_queue_wait_s / (self.duration_s * self.cores as f64).max(f64::MIN_POSITIVE);
        (self.duration_s > 0.0 && share > TAKEN_SHARE).then(|| {
            format!(
                "other threads kept the generator from its cores for {} ({:.1} %): choose --cores that nobody else uses",
                units::time(self.run_queue_wait_s * 1e9),
                share * 100.0
            )
        })
    }

    fn noise(&self) -> Option<String> {
        let Noise { looked_ms, longest_ns, lost_share } = self.noise;
        (longest_ns > PAUSE_NS).then(|| {
            format!(
                "the machine is not quiet: a thread that only looked at the clock was kept from it for up to {} within \
                 {looked_ms} ms ({:.1} % of the time), before the load began",
                units::time(longest_ns as f64),
                lost_share * 100.0
            )
        })
    }
}

impl Check {
    /// What a set's own details say of it.
    pub(super) fn of_set(details: &Details, latency: Percentiles) -> Self {
        Self { latency, lag: details.schedule_lag_ns, waited: details.waited_for_connection, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Check {
        Check {
            latency: Percentiles { p99: 100_000, ..Percentiles::default() },
            lag: Percentiles { p99: 5_000, ..Percentiles::default() },
            is_open: true,
            due: 100_000,
            answered_in_time: 99_990,
            duration_s: 10.0,
            cores: 2,
            cpu_s: 3.0,
            ..Check::default()
        }
    }

    #[track_caller]
    fn only(check: Check, part: &str) {
        let warnings = check.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
    }

    #[test]
    fn a_good_run_has_no_warning() {
        assert_eq!(quiet().warnings(), Vec::<String>::new());
        // A fast server's lag is a big part of little.
        let latency = Percentiles { p99: 9_000, ..Percentiles::default() };
        assert!(Check { latency, ..quiet() }.warnings().is_empty());
    }

    #[test]
    fn each_fault_has_its_sentence() {
        let lag = Percentiles { p99: 11_000, ..Percentiles::default() };
        only(Check { lag, ..quiet() }, "the generator was the bottleneck: it sent up to 11.0 us (p99) later");
        only(Check { answered_in_time: 98_000, ..quiet() }, "98,000 of 100,000 requests");
        only(Check { waited: 5_000, ..quiet() }, "5.0 % of the requests waited for a free connection");
        only(Check { is_open: false, cpu_s: 19.5, ..quiet() }, "cores were busy all the time");
        only(Check { steal_share: 0.02, ..quiet() }, "the hypervisor took 2.0 %");
        only(Check { run_queue_wait_s: 0.4, ..quiet() }, "for 400 ms (2.0 %)");
        let noise = Noise { looked_ms: 50, longest_ns: 3_000_000, lost_share: 0.1 };
        only(Check { noise, ..quiet() }, "for up to 3.00 ms within 50 ms (10.0 % of the time)");
    }

    #[test]
    fn a_spinning_client_is_always_busy() {
        assert!(Check { is_open: false, spin: true, cpu_s: 20.0, ..quiet() }.warnings().is_empty());
        // Ten requests under way at the end of a short run are no missed rate.
        assert!(Check { due: 100, answered_in_time: 91, ..quiet() }.warnings().is_empty());
    }
}
