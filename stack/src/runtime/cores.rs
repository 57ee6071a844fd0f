//! Which cores this process may use, and which of them the workers get.

use crate::Error;
use crate::config::Cores;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The cores of `workers` workers: those of the configuration, or the first ones that are allowed.
pub(super) fn choose(cores: &Cores, workers: usize) -> Result<Vec<usize>, Error> {
    choose_from(cores, workers, &allowed(), &preferred())
}

fn choose_from(
    cores: &Cores,
    workers: usize,
    allowed: &BTreeSet<usize>,
    preferred: &BTreeSet<usize>,
) -> Result<Vec<usize>, Error> {
    if let Some(&core) = cores.list().iter().find(|core| !allowed.contains(core)) {
        return Err(Error::CoreNotAllowed { core, allowed: ranges(allowed) });
    }
    if !cores.list().is_empty() {
        return Ok(cores.list().to_vec());
    }
    // Those of the present affinity first: whoever started the process with `taskset` meant it.
    let first = allowed.intersection(preferred).chain(allowed.difference(preferred));
    let chosen: Vec<usize> = first.copied().take(workers).collect();
    match (chosen.len() == workers, cores.pin()) {
        (true, _) => Ok(chosen),
        (false, true) => Err(Error::TooFewCores { workers, allowed: ranges(allowed) }),
        // Without pinning the number is a name only.
        (false, false) => Ok((0..workers).collect()),
    }
}

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
fn allowed() -> BTreeSet<usize> {
    let online = read_list(Path::new("/sys/devices/system/cpu/online"));
    match (cgroup_cores(), online) {
        (Some(cgroup), Some(online)) => cgroup.intersection(&online).copied().collect(),
        (Some(cores), None) | (None, Some(cores)) => cores,
        (None, None) => preferred(),
    }
}

/// The cores of the present affinity.
fn preferred() -> BTreeSet<usize> {
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
fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cores)
}

/// The inverse of [`parse_list`].
fn ranges(cores: &BTreeSet<usize>) -> String {
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
    use crate::config::Config;

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
    fn a_core_that_is_not_allowed_is_refused_with_those_that_are() {
        let config = Config::builder().cores(&[9]).build().unwrap();
        let error = choose_from(config.cores(), 1, &set("0-3"), &set("0-3")).unwrap_err();
        assert!(matches!(&error, Error::CoreNotAllowed { core: 9, allowed } if allowed == "0-3"), "{error}");
    }

    #[test]
    fn without_a_list_the_present_affinity_comes_first() {
        let config = Config::builder().build().unwrap();
        assert_eq!(choose_from(config.cores(), 3, &set("0-3"), &set("2-3")).unwrap(), [2, 3, 0]);
        assert!(matches!(choose_from(config.cores(), 5, &set("0-3"), &set("0")), Err(Error::TooFewCores { .. })));
        let loose = Config::builder().set("cores.pin", false).build().unwrap();
        assert_eq!(choose_from(loose.cores(), 5, &set("0-3"), &set("0")).unwrap(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn this_process_may_use_at_least_one_core() {
        assert!(!allowed().is_empty());
    }
}
