//! Judgements about where the workers run and with what priority.

use super::system::System;
use super::{Check, Needs, checks};
use corelane::config::{Priority, Strategy};

/// The workers' cores and the NIC's NUMA node.
pub(super) fn check(system: &System) -> Check {
    let name = "placement";
    let placement = match &system.placement {
        Ok(placement) => placement,
        // The sentence has its remedy.
        Err(error) => {
            return Check::fail(name, error, "change cores.list, or what the process may use (`taskset -pc $$`)");
        }
    };
    let text = placement.to_string();
    if placement.remote().next().is_some() {
        let node = placement.nic_node.map_or_else(String::new, |node| node.to_string());
        let remedy = format!(
            "name cores of node {node} in cores.list (`cat /sys/devices/system/node/node{node}/cpulist`), or allow them"
        );
        return Check::warn(name, text, remedy);
    }
    if placement.cores.iter().any(|place| place.shares_with.is_some()) {
        return Check::warn(name, text, "serve fewer queues: two workers on one physical core have half of it each");
    }
    Check::ok(name, text)
}

/// Whether the priority will be granted, and whether it does what is meant.
pub(super) fn priority(system: &System, needs: &Needs) -> Check {
    let name = "priority";
    let priority = needs.priority;
    let Priority::Fifo(number) = priority else {
        return Check::ok(name, format!("workers run with priority \"{priority}\""));
    };
    let granted = system.rtprio.is_none_or(|limit| limit >= number.into());
    if !granted && !checks::may_schedule(system) {
        return Check::fail(
            name,
            format!("\"{priority}\" will not be granted"),
            format!("LimitRTPRIO={number} in a systemd unit, `ulimit -r {number}`, or CAP_SYS_NICE"),
        );
    }
    if needs.strategy != Strategy::Spin {
        return Check::ok(name, format!("workers run with \"{priority}\" while they have something to do"));
    }
    let text = format!("workers that spin with \"{priority}\" let nothing else run on their cores");
    let remedy = "set waiting.strategy = \"adaptive\", or cores.priority = \"normal\" on isolated cores (isolcpus=)";
    let pause = system.real_time.map(|(runtime, period)| (period - runtime, period));
    match pause {
        Some((pause, period)) => Check::warn(
            name,
            format!("{text}, and the kernel takes them away for up to {pause} us of each {period} us"),
            remedy,
        ),
        None => Check::warn(name, format!("{text}, not even the kernel's own threads"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::doctor::checks::tests::{good, needs};
    use corelane::runtime::{Place, Placement, Why};

    fn placed(nic_node: Option<usize>, node: usize, shares_with: Option<usize>) -> System {
        let place = Place { core: 3, node: Some(node), shares_with, why: Why::Named };
        System { placement: Ok(Placement { nic_node, cores: vec![place] }), ..good() }
    }

    #[test]
    fn a_core_far_from_the_nic_and_half_a_core_are_told() {
        assert_eq!(check(&placed(Some(1), 1, None)).level, Level::Ok);
        let none = check(&placed(None, 0, None));
        assert_eq!((none.level, none.message.contains("NIC: none")), (Level::Ok, true), "{none:?}");
        let far = check(&placed(Some(1), 0, None));
        assert_eq!(far.level, Level::Warn);
        assert!(far.message.contains("core 3: node 0") && far.remedy.is_some_and(|remedy| remedy.contains("node1")));
        assert_eq!(check(&placed(Some(1), 1, Some(2))).level, Level::Warn);
        assert_eq!(check(&System { placement: Err("core 9 is not for us".into()), ..good() }).level, Level::Fail);
    }

    #[test]
    fn real_time_is_judged_by_the_limit_and_by_the_way_of_waiting() {
        let fifo = |strategy| Needs { priority: Priority::Fifo(10), strategy, ..needs() };
        assert_eq!(priority(&good(), &fifo(Strategy::Adaptive)).level, Level::Ok);
        let spin = priority(&good(), &fifo(Strategy::Spin));
        assert_eq!(spin.level, Level::Warn);
        assert!(spin.message.contains("50000 us of each 1000000 us"), "{spin:?}");
        let unbounded = priority(&System { real_time: None, ..good() }, &fifo(Strategy::Spin));
        assert!(unbounded.message.contains("not even the kernel's"), "{unbounded:?}");

        let plain = System { capabilities: 0, ..good() };
        let refused = priority(&plain, &fifo(Strategy::Adaptive));
        assert_eq!(refused.level, Level::Fail);
        assert!(refused.remedy.is_some_and(|remedy| remedy.contains("LimitRTPRIO=10")));
        assert_eq!(priority(&System { rtprio: Some(10), ..plain.clone() }, &fifo(Strategy::Sleep)).level, Level::Ok);
        assert_eq!(priority(&plain, &needs()).level, Level::Ok, "normal is always granted");
    }
}
