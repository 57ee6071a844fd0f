//! What a stack counted from start to stop.

use super::{Pages, Placement};
use crate::app::App;
use crate::device::Device;
use crate::worker::Worker;
use corelane_xdp::Census;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Counters by name, in the order of their names.
pub type Named = BTreeMap<String, u64>;

/// The whole stack's counters, worker by worker. It shows as a table, and serializes with these names.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// The interface; of several, their names with commas between them.
    pub interface: String,
    /// Each interface.
    pub interfaces: Vec<InterfaceSummary>,
    /// From the first turn to the end, seconds.
    pub duration_s: f64,
    /// The NIC's NUMA node, and the workers' cores with the reason for each.
    pub placement: Placement,
    /// Each worker.
    pub workers: Vec<WorkerSummary>,
    /// Packets by what the steering program did with them, all queues of all interfaces together.
    pub steering: Named,
}

/// One interface's counters.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct InterfaceSummary {
    /// The interface.
    pub name: String,
    /// Packets by what the steering program did with them, all queues together.
    pub steering: Named,
    /// What the devices counted there, all workers together.
    pub device: Named,
}

/// One worker's counters.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WorkerSummary {
    /// Its number, from 0.
    pub worker: usize,
    /// Its core.
    pub core: usize,
    /// Its queue.
    pub queue: u32,
    /// How frames came in, as the device says: for AF_XDP `zero-copy` or `copy`.
    pub mode: String,
    /// What its frames lie in.
    pub pages: Pages,
    /// Turns, frames, sleeps.
    pub turns: Named,
    /// What the protocol counted: segments, retransmissions, and every dropped frame under its reason.
    pub protocol: Named,
    /// How connections ended.
    pub endings: Named,
    /// What the device counted: rings, and for AF_XDP the kernel's `XDP_STATISTICS`.
    pub device: Named,
    /// What of this is known by interface, in their order.
    pub by_interface: Vec<Named>,
    /// Where its frames were at the end.
    pub frames: FrameCensus,
}

/// Where the frames of a worker were at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FrameCensus {
    /// All of them.
    pub total: u32,
    /// Free.
    pub free: u32,
    /// Held by the stack or the application.
    pub held: u32,
    /// With the kernel, to receive into.
    pub fill: u32,
    /// With the kernel, to send from.
    pub tx: u32,
    /// Whether the four add up to all of them.
    pub all_accounted_for: bool,
}

impl From<Census> for FrameCensus {
    fn from(census: Census) -> Self {
        let Census { total, free, held, fill, tx } = census;
        Self { total, free, held, fill, tx, all_accounted_for: census.is_whole() }
    }
}

impl WorkerSummary {
    /// What `worker` has counted until now.
    pub(super) fn of<A: App, D: Device>(
        worker: &Worker<A, D>,
        number: usize,
        core: usize,
        queue: u32,
        pages: Pages,
    ) -> Self {
        let device = worker.device();
        Self {
            worker: number,
            core,
            queue,
            mode: device.info().mode.clone(),
            pages,
            turns: named(worker.counters().iter()),
            protocol: named(worker.endpoint_counters().iter()),
            endings: named(worker.endings().iter().map(|(reason, n)| (reason.name(), n))),
            device: named(device.statistics().iter()),
            by_interface: (0..device.interfaces().len()).map(|at| named(device.statistics_of(at).iter())).collect(),
            frames: worker.census().into(),
        }
    }
}

/// Counters of the same names added up.
fn sum<'a>(all: impl Iterator<Item = &'a Named>) -> Named {
    let mut sum = Named::new();
    for (name, n) in all.flatten() {
        *sum.entry(name.clone()).or_default() += n;
    }
    sum
}

/// The counters as a map.
pub(super) fn named<'a>(counters: impl IntoIterator<Item = (&'a str, u64)>) -> Named {
    counters.into_iter().map(|(name, n)| (name.to_owned(), n)).collect()
}

impl Summary {
    /// What the workers and the programs of the interfaces have counted.
    pub(super) fn of(
        programs: Vec<(String, Named)>,
        duration_s: f64,
        placement: Placement,
        workers: Vec<WorkerSummary>,
    ) -> Self {
        let names: Vec<&str> = programs.iter().map(|(name, _)| name.as_str()).collect();
        let interface = names.join(", ");
        let steering = sum(programs.iter().map(|(_, counted)| counted));
        let of_interface = |(at, (name, steering)): (usize, (String, Named))| InterfaceSummary {
            name,
            steering,
            device: sum(workers.iter().filter_map(|worker| worker.by_interface.get(at))),
        };
        let interfaces = programs.into_iter().enumerate().map(of_interface).collect();
        Self { interface, interfaces, duration_s, placement, workers, steering }
    }

    /// The sum over the workers of one of their groups of counters.
    fn sum(&self, group: impl Fn(&WorkerSummary) -> &Named) -> Named {
        sum(self.workers.iter().map(group))
    }

    /// What the protocol counted, all workers together.
    pub fn protocol(&self) -> Named {
        self.sum(|worker| &worker.protocol)
    }

    /// How connections ended, all workers together.
    pub fn endings(&self) -> Named {
        self.sum(|worker| &worker.endings)
    }

    /// Whether no frame of any worker is missing.
    pub fn all_frames_accounted_for(&self) -> bool {
        self.workers.iter().all(|worker| worker.frames.all_accounted_for)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} for {:.3} s", self.interface, self.duration_s)?;
        writeln!(f, "{}", self.placement)?;
        for worker in &self.workers {
            let WorkerSummary { worker, core, queue, mode, pages, frames, .. } = worker;
            let FrameCensus { total, free, held, fill, tx, all_accounted_for } = frames;
            let verdict = if *all_accounted_for { "every frame accounted for" } else { "FRAMES ARE MISSING" };
            writeln!(f, "worker {worker}: core {core}, queue {queue}, {mode}, {pages} pages")?;
            writeln!(f, "  frames: {total} = {free} free + {held} held + {fill} fill + {tx} tx: {verdict}")?;
        }
        section(f, "turns", &self.sum(|worker| &worker.turns))?;
        section(f, "protocol", &self.protocol())?;
        section(f, "connections ended", &self.endings())?;
        section(f, "device", &self.sum(|worker| &worker.device))?;
        section(f, "steering", &self.steering)?;
        for InterfaceSummary { name, steering, device } in self.interfaces.iter().filter(|_| self.interfaces.len() > 1)
        {
            section(f, &format!("device of {name}"), device)?;
            section(f, &format!("steering of {name}"), steering)?;
        }
        Ok(())
    }
}

/// One group, without the counters that are zero.
fn section(f: &mut fmt::Formatter<'_>, title: &str, counters: &Named) -> fmt::Result {
    let counted: Vec<_> = counters.iter().filter(|(_, n)| **n > 0).collect();
    if counted.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    counted.iter().try_for_each(|(name, n)| writeln!(f, "  {name:<32} {n:>14}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(free: u32) -> Summary {
        let census = Census { total: 8, free, held: 1, fill: 2, tx: 0 };
        let worker = WorkerSummary {
            worker: 0,
            core: 1,
            queue: 2,
            mode: "copy".into(),
            pages: Pages::Normal,
            turns: named([("turns", 7)]),
            protocol: named([("segments_in", 3), ("dropped_no_listener", 0)]),
            endings: named([("finished", 1)]),
            device: Named::new(),
            by_interface: Vec::new(),
            frames: census.into(),
        };
        let workers = vec![worker.clone(), WorkerSummary { worker: 1, ..worker }];
        Summary {
            interface: "eth0".into(),
            interfaces: Vec::new(),
            duration_s: 1.5,
            placement: Placement::default(),
            workers,
            steering: named([("redirected_own_tcp", 3)]),
        }
    }

    #[test]
    fn the_table_adds_the_workers_up_and_leaves_zeroes_out() {
        let shown = summary(5).to_string();
        assert!(shown.contains("eth0 for 1.500 s"), "{shown}");
        assert!(shown.contains("NUMA node of the NIC: none"), "{shown}");
        assert!(shown.contains("worker 0: core 1, queue 2, copy, normal pages"), "{shown}");
        assert!(shown.contains("8 = 5 free + 1 held + 2 fill + 0 tx: every frame accounted for"), "{shown}");
        assert!(shown.lines().any(|line| line.split_whitespace().eq(["segments_in", "6"])), "{shown}");
        assert!(!shown.contains("dropped_no_listener"), "{shown}");
    }

    #[test]
    fn a_missing_frame_is_seen() {
        assert!(summary(5).all_frames_accounted_for());
        assert!(!summary(4).all_frames_accounted_for());
        assert!(summary(4).to_string().contains("FRAMES ARE MISSING"));
    }
}
