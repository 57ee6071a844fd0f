//! What a thread cost: processor time, context switches, and the time that it was ready and not allowed to run.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::ops::{AddAssign, Sub};

/// What the calling thread has used since it began. All but the wait come from `getrusage(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Processor time in the program, in nanoseconds.
    pub user_ns: u64,
    /// Processor time in the kernel for the program, in nanoseconds.
    pub system_ns: u64,
    /// Time on the run queue, ready but not running, in nanoseconds (the second field of /proc/thread-self/schedstat); 0
    /// where the kernel does not say.
    pub run_queue_wait_ns: u64,
    /// Times that it gave the core away, to sleep.
    pub voluntary_switches: u64,
    /// Times that the core was taken from it.
    pub involuntary_switches: u64,
}

impl Usage {
    /// Of the calling thread, so far.
    pub fn of_this_thread() -> Self {
        let mut usage = Self { run_queue_wait_ns: run_queue_wait_ns(), ..Self::default() };
        if let Ok(spent) = getrusage(UsageWho::RUSAGE_THREAD) {
            let positive = |number: i64| u64::try_from(number).unwrap_or(0);
            usage.user_ns = positive(spent.user_time().num_nanoseconds());
            usage.system_ns = positive(spent.system_time().num_nanoseconds());
            usage.voluntary_switches = positive(spent.voluntary_context_switches());
            usage.involuntary_switches = positive(spent.involuntary_context_switches());
        }
        usage
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
            run_queue_wait_ns: self.run_queue_wait_ns.saturating_sub(earlier.run_queue_wait_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(earlier.involuntary_switches),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let Self { user_ns, system_ns, run_queue_wait_ns, voluntary_switches, involuntary_switches } = other;
        self.user_ns += user_ns;
        self.system_ns += system_ns;
        self.run_queue_wait_ns += run_queue_wait_ns;
        self.voluntary_switches += voluntary_switches;
        self.involuntary_switches += involuntary_switches;
    }
}

fn run_queue_wait_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Time of some cores in /proc/stat, in ticks of the kernel's user clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CoreTicks {
    /// In the kernel's soft interrupts: where it receives.
    pub softirq: u64,
    /// Taken by the hypervisor for others.
    pub steal: u64,
    /// All of it, idling included.
    pub total: u64,
}

impl CoreTicks {
    /// Of `cores`, since the machine began.
    pub fn of(cores: &[usize]) -> Self {
        Self::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default(), cores)
    }

    fn parse(text: &str, cores: &[usize]) -> Self {
        let mut sum = Self::default();
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let core = fields.next().and_then(|name| name.strip_prefix("cpu")).and_then(|core| core.parse().ok());
            if !core.is_some_and(|core: usize| cores.contains(&core)) {
                continue;
            }
            // user nice system idle iowait irq softirq steal; the guests after it are in user already.
            let ticks: Vec<u64> = fields.take(8).map(|field| field.parse().unwrap_or(0)).collect();
            sum.softirq += ticks.get(6).copied().unwrap_or(0);
            sum.steal += ticks.get(7).copied().unwrap_or(0);
            sum.total += ticks.iter().sum::<u64>();
        }
        sum
    }

    /// What has passed since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            softirq: self.softirq.saturating_sub(earlier.softirq),
            steal: self.steal.saturating_sub(earlier.steal),
            total: self.total.saturating_sub(earlier.total),
        }
    }

    /// Ticks as a share of all time of these cores, 0 to 1.
    pub fn share(self, ticks: u64) -> f64 {
        if self.total == 0 { 0.0 } else { ticks as f64 / self.total as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_usage() {
        let before = Usage::of_this_thread();
        let begun = crate::clock::thread_cpu_ns();
        let mut sum = 0u64;
        while crate::clock::thread_cpu_ns() - begun < 30_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let used = Usage::of_this_thread() - before;
        assert!(used.user_ns + used.system_ns >= 10_000_000, "{used:?}");
    }

    #[test]
    fn the_ticks_of_the_cores_are_added() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 10 0 0 0 0 0 20 30 5 0\ncpu10 1 1 1 1 1 1 1 1\nintr 5";
        assert_eq!(CoreTicks::parse(text, &[0, 1]), CoreTicks { softirq: 27, steal: 38, total: 96 });
        assert_eq!(CoreTicks::parse(text, &[2]), CoreTicks::default());
        let ticks = CoreTicks { softirq: 5, steal: 1, total: 10 }.since(CoreTicks::default());
        assert_eq!(ticks.share(ticks.softirq), 0.5);
    }
}
