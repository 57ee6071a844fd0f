//! What a server says at its end.

use crate::process::Ended;
use serde_json::Value;

/// The summary of a Corelane server that ended well.
pub(crate) struct Summary(Value);

impl Summary {
    /// Reads it. The server has to have ended with exit code 0, with every frame accounted for and none in anybody's
    /// hands.
    pub(crate) fn of(ended: &Ended) -> Self {
        assert_eq!(ended.code, Some(0), "{ended}");
        let summary = Self(ended.json());
        assert!(!summary.workers().is_empty(), "{ended}");
        for worker in summary.workers() {
            let frames = &worker["frames"];
            let number = |name: &str| frames[name].as_u64().unwrap_or_else(|| panic!("no frames.{name}: {ended}"));
            let sum = number("free") + number("held") + number("fill") + number("tx");
            assert_eq!(frames["all_accounted_for"], true, "{ended}");
            assert_eq!(sum, number("total"), "{ended}");
            assert!(number("total") > 0, "{ended}");
            assert_eq!(number("held"), 0, "frames are held after the end: {ended}");
            assert_eq!(number("tx"), 0, "frames were not sent at the end: {ended}");
        }
        summary
    }

    /// The stack's workers.
    pub(crate) fn workers(&self) -> &[Value] {
        self.0["stack"]["workers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// A counter of the workload.
    pub(crate) fn workload(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {}", self.0))
    }

    /// The sum over the workers of a counter of `group`.
    fn sum(&self, group: &str, name: &str) -> u64 {
        let each = self.workers().iter().map(|worker| &worker[group][name]);
        each.map(|value| value.as_u64().unwrap_or_else(|| panic!("no counter {group}.{name} in {}", self.0))).sum()
    }

    /// A counter of the protocol.
    pub(crate) fn protocol(&self, name: &str) -> u64 {
        self.sum("protocol", name)
    }

    /// How many connections ended in this way.
    pub(crate) fn endings(&self, name: &str) -> u64 {
        self.sum("endings", name)
    }

    /// A counter of the devices.
    pub(crate) fn device(&self, name: &str) -> u64 {
        self.sum("device", name)
    }
}
