//! What the cores did while something was measured, from `/proc/stat` (`proc_stat(5)`), which counts all of a core's time
//! whoever spent it: on veth the sender's core pays for the receiver's softirq.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Shares of a core's time, 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CoreTime {
    /// Neither idle nor waiting for a device.
    pub busy: f64,
    /// In softirq, which is a part of busy.
    pub softirq: f64,
}

/// Ticks of one core since the machine started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ticks {
    all: u64,
    idle: u64,
    softirq: u64,
}

/// The ticks of `core`; `None` when the text does not have it.
fn ticks(text: &str, core: usize) -> Option<Ticks> {
    let name = format!("cpu{core}");
    let mut fields = text.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '))?.split_whitespace();
    // user nice system idle iowait irq softirq steal; guest times are a part of user's.
    let mut values = [0u64; 8];
    for value in &mut values {
        *value = fields.next()?.parse().ok()?;
    }
    Some(Ticks { all: values.iter().sum(), idle: values[3] + values[4], softirq: values[6] })
}

fn between(from: Ticks, to: Ticks) -> CoreTime {
    let share = |from: u64, to: u64, all: u64| if all == 0 { 0.0 } else { to.saturating_sub(from) as f64 / all as f64 };
    let all = to.all.saturating_sub(from.all);
    let idle = share(from.idle, to.idle, all);
    CoreTime { busy: if all == 0 { 0.0 } else { 1.0 - idle }, softirq: share(from.softirq, to.softirq, all) }
}

/// Notes the cores' ticks from time to time.
pub(super) struct Watch {
    cores: [usize; 2],
    samples: Vec<(Instant, [Ticks; 2])>,
}

/// How often it notes.
const EVERY: Duration = Duration::from_millis(25);

impl Watch {
    pub(super) fn new(cores: [usize; 2]) -> Self {
        Self { cores, samples: Vec::new() }
    }

    /// Notes, if it is time to.
    pub(super) fn poll(&mut self) {
        let now = Instant::now();
        if self.samples.last().is_some_and(|(at, _)| now < *at + EVERY) {
            return;
        }
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let of = |core| ticks(&text, core).unwrap_or_default();
        self.samples.push((now, self.cores.map(of)));
    }

    /// What the cores did in the middle of the last `measured` before now: a client that has measured ends at once.
    pub(super) fn middle(&self, measured: Duration) -> [CoreTime; 2] {
        let now = Instant::now();
        let nearest = |before: Duration| {
            let at = now.checked_sub(before).unwrap_or(now);
            self.samples.iter().min_by_key(|(sample, _)| sample.max(&at).duration_since(*sample.min(&at)))
        };
        let (Some((_, from)), Some((_, to))) = (nearest(measured.mul_f64(0.9)), nearest(measured.mul_f64(0.1))) else {
            return [CoreTime::default(); 2];
        };
        [between(from[0], to[0]), between(from[1], to[1])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_shares() {
        let before = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu1 100 0 50 800 40 0 10 0 7 7\ncpu10 1 1 1 1 1 1 1 1 0 0\n";
        let after = "cpu1 130 0 70 820 50 0 30 0 7 7\n";
        let (from, to) = (ticks(before, 1).unwrap(), ticks(after, 1).unwrap());
        assert_eq!((from.all, from.idle, to.all), (1000, 840, 1100));
        let share = between(from, to);
        assert!((share.busy - 0.7).abs() < 1e-9 && (share.softirq - 0.2).abs() < 1e-9, "{share:?}");
        assert_eq!(between(from, from), CoreTime::default());
        assert_eq!((ticks(before, 0), ticks("cpu0 1 2", 0)), (None, None));
        assert_eq!(ticks(before, 10).unwrap().all, 8);
    }

    #[test]
    fn this_machine_tells_its_ticks() {
        let mut watch = Watch::new([crate::cores::CoreList::first_allowed().as_slice()[0]; 2]);
        watch.poll();
        assert!(watch.samples[0].1[0].all > 0, "{:?}", watch.samples);
    }
}
