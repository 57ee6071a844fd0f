//! Which cores the workers get, and why: the process's own before others, whole cores before hyperthreads, those of the
//! NIC's NUMA node before others.

use super::cores::{allowed, parse_list, preferred, ranges};
use crate::Error;
use crate::config::{Config, Cores};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Where the kernel shows nodes, cores and interfaces.
const SYS: &str = "/sys";

/// How many interfaces a VLAN, bond or the like may stand on one another.
const STACKED_MAX: usize = 8;

/// The workers' cores, and how far from the NIC they are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Placement {
    /// The NUMA node of the interface's device; none for veth and most virtual machines.
    pub nic_node: Option<usize>,
    /// Each worker's, in their order.
    pub cores: Vec<Place>,
}

/// One worker's core.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// Its number.
    pub core: usize,
    /// Its NUMA node, if the kernel names one.
    pub node: Option<usize>,
    /// A core before it in the list that is the same physical core.
    pub shares_with: Option<usize>,
    /// Why this one.
    pub why: Why,
}

/// Why a worker has its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is named in `cores.list`.
    Named,
    /// It is on the NIC's node.
    OnNicNode,
    /// Nothing better was left: it is on another node than the NIC.
    OffNicNode,
    /// The NIC has no node, so that it is the first that is free.
    FirstFree,
    /// Workers are not pinned (`cores.pin = false`), and there are fewer cores than workers: it is a name only.
    NotPinned,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named in cores.list",
            Self::OnNicNode => "on the NIC's node",
            Self::OffNicNode => "not on the NIC's node, which has no other left",
            Self::FirstFree => "the first free one",
            Self::NotPinned => "not pinned",
        })
    }
}

/// `none` where there is no node.
fn node_name(node: Option<usize>) -> String {
    node.map_or_else(|| "none".to_owned(), |node| node.to_string())
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NUMA node of the NIC: {}", node_name(self.nic_node))?;
        for Place { core, node, shares_with, why } in &self.cores {
            write!(f, "; core {core}: node {}, {why}", node_name(*node))?;
            if let Some(other) = shares_with {
                write!(f, ", a hyperthread of core {other}'s")?;
            }
        }
        Ok(())
    }
}

impl Placement {
    /// The cores that `workers` workers of `config` would get now, on this machine.
    ///
    /// # Errors
    ///
    /// As [`run`](super::run) would say: a core of `cores.list` is not allowed, or there are too few.
    pub fn choose(config: &Config, workers: usize) -> Result<Self, Error> {
        let nic_node = nic_node(Path::new(SYS), config.interface().name());
        choose(config.cores(), workers, &Topology::of_machine(), nic_node)
    }

    /// Says what was chosen, and what an operator may want to change.
    pub(super) fn log(&self) {
        tracing::info!("{self}");
        for Place { core, node, .. } in self.remote() {
            let (nic, node) = (node_name(self.nic_node), node_name(*node));
            tracing::warn!(core, node, nic, "a worker runs on another NUMA node than the NIC: each frame crosses over");
        }
    }

    /// The cores' numbers.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.cores.iter().map(|place| place.core).collect()
    }

    /// The cores that are known to be on another node than the NIC.
    pub fn remote(&self) -> impl Iterator<Item = &Place> {
        let nic = self.nic_node;
        self.cores.iter().filter(move |place| nic.is_some() && place.node.is_some() && place.node != nic)
    }
}

/// The cores as the kernel shows them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Topology {
    /// Those that the process may use.
    allowed: BTreeSet<usize>,
    /// Those of its present affinity.
    preferred: BTreeSet<usize>,
    /// The node of each core that has one.
    nodes: BTreeMap<usize, usize>,
    /// The cores that are the same physical core, each with itself.
    siblings: BTreeMap<usize, BTreeSet<usize>>,
}

impl Topology {
    fn of_machine() -> Self {
        Self::read(Path::new(SYS), allowed(), preferred())
    }

    /// The tree under `sys`, for the `allowed` cores.
    fn read(sys: &Path, allowed: BTreeSet<usize>, preferred: BTreeSet<usize>) -> Self {
        let list = |path: &Path| std::fs::read_to_string(path).ok().and_then(|text| parse_list(text.trim()));
        let mut nodes = BTreeMap::new();
        for entry in std::fs::read_dir(sys.join("devices/system/node")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node")?.parse::<usize>().ok());
            if let (Some(node), Some(cores)) = (number, list(&entry.path().join("cpulist"))) {
                nodes.extend(cores.into_iter().map(|core| (core, node)));
            }
        }
        let siblings = |core: usize| {
            list(&sys.join(format!("devices/system/cpu/cpu{core}/topology/thread_siblings_list"))).unwrap_or_default()
        };
        let siblings = allowed.iter().map(|core| (*core, siblings(*core))).collect();
        Self { allowed, preferred, nodes, siblings }
    }

    /// One of `chosen` that is the same physical core as `core`.
    fn shared(&self, core: usize, chosen: &[Place]) -> Option<usize> {
        let siblings = self.siblings.get(&core)?;
        chosen.iter().map(|place| place.core).find(|other| *other != core && siblings.contains(other))
    }

    fn place(&self, core: usize, why: Why, before: &[Place]) -> Place {
        Place { core, node: self.nodes.get(&core).copied(), shares_with: self.shared(core, before), why }
    }
}

/// The node of `interface`'s device, or of that below it: a VLAN's or bond's own has none.
fn nic_node(sys: &Path, interface: &str) -> Option<usize> {
    let mut below = vec![interface.to_owned()];
    for _ in 0..STACKED_MAX {
        let name = below.pop()?;
        let dir = sys.join("class/net").join(name);
        let text = std::fs::read_to_string(dir.join("device/numa_node")).unwrap_or_default();
        // The kernel says -1 where it knows of none.
        if let Ok(node) = text.trim().parse::<usize>() {
            return Some(node);
        }
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        below.extend(entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("lower_").map(str::to_owned)));
        below.sort_unstable_by(|a, b| b.cmp(a));
    }
    None
}

/// The cores of `workers` workers: those of the configuration, or the best that are allowed, one after the other.
fn choose(cores: &Cores, workers: usize, topology: &Topology, nic_node: Option<usize>) -> Result<Placement, Error> {
    let Topology { allowed, preferred, nodes, .. } = topology;
    if let Some(&core) = cores.list().iter().find(|core| !allowed.contains(core)) {
        return Err(Error::CoreNotAllowed { core, allowed: ranges(allowed) });
    }
    let mut chosen: Vec<Place> = Vec::new();
    if !cores.list().is_empty() {
        for &core in cores.list() {
            chosen.push(topology.place(core, Why::Named, &chosen));
        }
        return Ok(Placement { nic_node, cores: chosen });
    }
    let is_near = |core: &usize| nic_node.is_some() && nodes.get(core).copied() == nic_node;
    let mut left = allowed.clone();
    while chosen.len() < workers {
        // Whoever started the process with `taskset` meant it. Two spinning threads on one physical core have about half of
        // it each, which costs more than memory of another node.
        let worth =
            |core: &usize| (!preferred.contains(core), topology.shared(*core, &chosen).is_some(), !is_near(core));
        let Some(core) = left.iter().copied().min_by_key(worth) else { break };
        left.remove(&core);
        let why = match nic_node {
            None => Why::FirstFree,
            Some(_) if is_near(&core) => Why::OnNicNode,
            Some(_) => Why::OffNicNode,
        };
        chosen.push(topology.place(core, why, &chosen));
    }
    match (chosen.len() == workers, cores.pin()) {
        (true, _) => Ok(Placement { nic_node, cores: chosen }),
        (false, true) => Err(Error::TooFewCores { workers, allowed: ranges(allowed) }),
        (false, false) => {
            let cores = (0..workers).map(|core| topology.place(core, Why::NotPinned, &[])).collect();
            Ok(Placement { nic_node, cores })
        }
    }
}

#[cfg(test)]
mod tests;
