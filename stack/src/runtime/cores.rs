//! Which cores this process may use, and pinning a thread to one; `placement` chooses among them.

use crate::Error;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How many cores this process may use.
pub(super) fn count() -> usize {
    allowed().len().max(1)
}

/// Pins the calling thread to `core`.
pub(super) fn pin(core: usize) -> Result<(), Error> {
    // Literal, because the crate's own list has only the cores of the present affinity.
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Ok(())
    } else {
        Err(Error::CoreNotAllowed { core, allowed: ranges(&allowed()) })
    }
}

/// The cores that the cgroup allows and that are online; without cgroups, those that are online.
pub(super) fn allowed() -> BTreeSet<usize> {
    let online = read_list(Path::new("/sys/devices/system/cpu/online"));
    match (cgroup_cores(), online) {
        (Some(cgroup), Some(online)) => cgroup.intersection(&online).copied().collect(),
        (Some(cores), None) | (None, Some(cores)) => cores,
        (None, None) => preferred(),
    }
}

/// The cores of the present affinity.
pub(super) fn preferred() -> BTreeSet<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// `cpuset.cpus.effective` of this process's cgroup, or of the nearest one above that has it (cgroups v2).
fn cgroup_cores() -> Option<BTreeSet<usize>> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let mut at: PathBuf = root.join(path);
    loop {
        if let Some(cores) = read_list(&at.join("cpuset.cpus.effective")) {
            return Some(cores);
        }
        if at == root || !at.pop() {
            return None;
        }
    }
}

fn read_list(path: &Path) -> Option<BTreeSet<usize>> {
    parse_list(std::fs::read_to_string(path).ok()?.trim()).filter(|cores| !cores.is_empty())
}

/// The kernel's list format, as in `0-3,8`.
pub(super) fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cores)
}

/// The inverse of [`parse_list`].
pub(super) fn ranges(cores: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let shown = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &str) -> BTreeSet<usize> {
        parse_list(list).unwrap()
    }

    #[test]
    fn lists_are_the_kernels() {
        assert_eq!(set("0-2,5").into_iter().collect::<Vec<_>>(), [0, 1, 2, 5]);
        assert_eq!(ranges(&set("0,1,2,5,7-8")), "0-2,5,7-8");
        assert_eq!(parse_list("x"), None);
    }

    #[test]
    fn this_process_may_use_at_least_one_core() {
        assert!(!allowed().is_empty());
    }
}
