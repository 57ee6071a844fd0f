//! Which cores the threads run on: lists like `0,2-3`, checked against the machine.

use crate::failure::Failure;

/// A list of core numbers in the order given, without repetition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreList(Vec<usize>);

impl CoreList {
    /// Reads `0`, `0,2` or `0-3,6`; the error is a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| digits.trim().parse::<usize>().ok().filter(|core| *core < 4096);
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("`{part}` is not a core number or a range such as 0-3"));
            };
            if first > last {
                return Err(format!("the range `{part}` runs backwards"));
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(format!("core {core} is named twice"));
                }
                cores.push(core);
            }
        }
        Ok(Self(cores))
    }

    /// The core numbers.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// Fails when a core of the list is not online, and names those that are.
    pub fn check_online(&self) -> Result<(), Failure> {
        let online = online();
        match self.0.iter().find(|core| !online.contains(core)) {
            None => Ok(()),
            Some(core) => Err(Failure::Usage(format!(
                "--cores names core {core}, which this machine does not have; online are {}",
                std::fs::read_to_string(ONLINE).unwrap_or_default().trim()
            ))),
        }
    }

    /// The first core that this process may run on: where a server goes when no core is named.
    pub fn first_allowed() -> Self {
        Self(vec![Self::allowed().0.first().copied().unwrap_or(0)])
    }

    /// The last core that this process may run on: where a client goes when no core is named, away from the server.
    pub fn last_allowed() -> Self {
        Self(vec![Self::allowed().0.last().copied().unwrap_or(0)])
    }

    /// The cores that this process may run on.
    pub fn allowed() -> Self {
        Self(core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect())
    }
}

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// How many cores are online.
pub fn online_count() -> usize {
    online().len()
}

fn online() -> Vec<usize> {
    std::fs::read_to_string(ONLINE)
        .ok()
        .and_then(|text| CoreList::parse(text.trim()).ok())
        .unwrap_or_else(CoreList::allowed)
        .0
}

/// Pins the calling thread to `core`.
pub fn pin(core: usize) -> Result<(), Failure> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(Failure::Machine(format!(
        "this process may not run on core {core}: its control group or affinity mask excludes it; choose other --cores"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_in_order() {
        assert_eq!(CoreList::parse("3,0-2").unwrap().as_slice(), [3, 0, 1, 2]);
        for bad in ["", "a", "1-", "2-1", "0,0", "1,,2", "-1", "99999999999999999999"] {
            assert!(CoreList::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_a_usage_error() {
        let error = CoreList::parse("4095").unwrap().check_online().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(CoreList::first_allowed().check_online().is_ok());
    }
}
