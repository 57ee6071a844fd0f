//! Judgements about the machine itself. Each is a function of what was seen and what is needed.

use super::system::{Opened, System};
use super::{Check, Needs, beside, interface, placement};
use corelane::config::HugePages;

/// The oldest kernel that the steering program loads on: it is an `xdp.frags` program and calls
/// `bpf_xdp_get_buff_len`, both of Linux 5.18.
const OLDEST_KERNEL: (u32, u32) = (5, 18);
/// AF_XDP takes packets of several frames, that is, jumbo frames, from Linux 6.6 on.
const MULTI_BUFFER_KERNEL: (u32, u32) = (6, 6);

/// Bits of `CapEff` (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Every check, in the order in which they are shown.
pub(super) fn all(system: &System, needs: &Needs) -> Vec<Check> {
    let mut checks = vec![
        kernel(system),
        capabilities(system),
        bpf(system),
        af_xdp(system),
        memlock(system, needs),
        huge_pages(system, needs),
        cpu_latency(system),
        cpus(system, needs),
        placement::check(system),
        placement::priority(system, needs),
        clock(system),
    ];
    if let Some(seen) = &system.interface {
        checks.extend(interface::all(seen, needs));
    }
    if let Some(seen) = &system.beside {
        checks.extend(beside::all(seen, needs));
    }
    checks
}

/// Whether the scheduler gives any priority to this process.
pub(super) fn may_schedule(system: &System) -> bool {
    has(system, CAP_SYS_NICE)
}

fn has(system: &System, capability: u32) -> bool {
    system.capabilities & (1 << capability) != 0
}

fn kernel(system: &System) -> Check {
    let name = "kernel";
    let mut numbers = system.release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let text = format!("Linux {}", system.release);
    let (major, minor) = OLDEST_KERNEL;
    if version < OLDEST_KERNEL {
        let remedy = format!("boot Linux {major}.{minor} or later; 6.6 or later is better");
        return Check::fail(name, format!("{text} is too old for the steering program"), remedy);
    }
    if version < MULTI_BUFFER_KERNEL {
        let message = format!("{text} has no AF_XDP packets of several frames, so no jumbo frames");
        return Check::warn(name, message, "boot Linux 6.6 or later, or keep the MTU at 1500");
    }
    Check::ok(name, text)
}

fn capabilities(system: &System) -> Check {
    let name = "capabilities";
    // CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, as it did before they were split off.
    let admin = has(system, CAP_SYS_ADMIN);
    let wanted = [
        ("CAP_NET_ADMIN", has(system, CAP_NET_ADMIN)),
        ("CAP_NET_RAW", has(system, CAP_NET_RAW)),
        ("CAP_BPF", admin || has(system, CAP_BPF)),
        ("CAP_PERFMON", admin || has(system, CAP_PERFMON)),
    ];
    let missing: Vec<&str> = wanted.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    let remedy =
        "run it as root, or `sudo setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep PROGRAM`";
    match missing.as_slice() {
        [] => Check::ok(name, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON are in effect"),
        // Some kernels load the program without it.
        ["CAP_PERFMON"] => Check::warn(
            name,
            "CAP_PERFMON is not in effect: a packet costs the steering program several times as much, and some kernels refuse it",
            remedy,
        ),
        missing => Check::fail(name, format!("not in effect: {}", missing.join(", ")), remedy),
    }
}

fn bpf(system: &System) -> Check {
    let name = "bpf";
    if system.has_bpf {
        Check::ok(name, "the kernel has the bpf system call")
    } else {
        Check::fail(name, "the kernel has no bpf system call", "boot a kernel with CONFIG_BPF_SYSCALL=y")
    }
}

fn af_xdp(system: &System) -> Check {
    let name = "af-xdp";
    match &system.af_xdp {
        Opened::Yes => Check::ok(name, "AF_XDP sockets can be opened"),
        Opened::NotPermitted => {
            Check::fail(name, "AF_XDP sockets may not be opened", "run it as root, or give it CAP_NET_RAW")
        }
        Opened::Missing => {
            Check::fail(name, "the kernel has no AF_XDP sockets", "boot a kernel with CONFIG_XDP_SOCKETS=y")
        }
        Opened::Failed(error) => {
            Check::fail(name, format!("opening an AF_XDP socket failed: {error}"), "see `dmesg` for the reason")
        }
    }
}

fn memlock(system: &System, needs: &Needs) -> Check {
    let name = "memlock";
    let need = mebibytes(needs.locked_bytes);
    if has(system, CAP_IPC_LOCK) {
        return Check::ok(name, format!("CAP_IPC_LOCK is in effect, frames need {need}"));
    }
    match system.memlock {
        Some(limit) if limit < needs.locked_bytes => Check::fail(
            name,
            format!("only {} may be locked, frames need {need}", mebibytes(limit)),
            format!(
                "`ulimit -l {}`, LimitMEMLOCK=infinity in a systemd unit, or CAP_IPC_LOCK",
                needs.locked_bytes / 1024
            ),
        ),
        Some(limit) => Check::ok(name, format!("{} may be locked, frames need {need}", mebibytes(limit))),
        None => Check::ok(name, format!("no limit, frames need {need}")),
    }
}

fn huge_pages(system: &System, needs: &Needs) -> Check {
    let name = "huge-pages";
    let free = system.huge_pages_free;
    let required = match needs.huge_pages {
        HugePages::Off => {
            return Check::ok(name, format!("{free} free, and the configuration does not use them"));
        }
        HugePages::Auto => false,
        HugePages::Require => true,
    };
    if system.huge_page_bytes == 0 {
        let remedy = "set memory.huge_pages = \"off\", or boot a kernel with CONFIG_HUGETLBFS=y";
        return if required {
            Check::fail(name, "the kernel has none", remedy)
        } else {
            Check::ok(name, "the kernel has none, so that frames lie in normal pages")
        };
    }
    let wanted = needs.locked_bytes.div_ceil(system.huge_page_bytes);
    if free < wanted {
        let message = format!("{free} free, the frames need {wanted}");
        let remedy = format!("sudo sysctl -w vm.nr_hugepages={}", system.huge_pages_total + wanted - free);
        return if required {
            Check::fail(name, message, remedy)
        } else {
            // Many machines do well without, so it is no reason to warn; whoever wants them finds the command.
            Check::ok(name, format!("{message}, so that they lie in normal pages; `{remedy}` reserves enough"))
        };
    }
    Check::ok(name, format!("{free} free, the frames need {wanted}"))
}

fn cpu_latency(system: &System) -> Check {
    let name = "cpu-latency";
    match &system.dma_latency {
        Opened::Yes => Check::ok(name, "/dev/cpu_dma_latency can keep the CPUs awake while measuring"),
        Opened::NotPermitted => Check::warn(
            name,
            "/dev/cpu_dma_latency may not be opened, so idle CPUs fall asleep and waking costs tens of microseconds",
            "run it as root, or `sudo chmod a+w /dev/cpu_dma_latency`",
        ),
        Opened::Missing | Opened::Failed(_) => Check::warn(
            name,
            "/dev/cpu_dma_latency is not usable, so idle CPUs fall asleep and waking costs tens of microseconds",
            "boot with idle=poll for measurements",
        ),
    }
}

fn cpus(system: &System, needs: &Needs) -> Check {
    let name = "cpus";
    let allowed = system.allowed_cpus.len();
    let workers = needs.workers.unwrap_or(needs.queues.len().min(allowed));
    let text = format!("{allowed} may be used");
    if allowed < workers {
        let message = format!("{text}, and {workers} workers want a core each");
        return Check::fail(name, message, "have fewer workers (cores.workers), or widen the cpuset or `taskset`");
    }
    let isolated = system.isolated_cpus.iter().filter(|cpu| system.allowed_cpus.contains(cpu)).count();
    if isolated >= workers {
        return Check::ok(name, format!("{text}, {isolated} of them isolated"));
    }
    let last = system.allowed_cpus.last().copied().unwrap_or(0);
    let first = system.allowed_cpus.get(allowed - workers).copied().unwrap_or(last);
    let list = if first == last { last.to_string() } else { format!("{first}-{last}") };
    let remedy = format!("for the steadiest latencies boot with isolcpus={list} nohz_full={list}, and set cores.list");
    Check::warn(name, format!("{text}, but other work is scheduled on all of them"), remedy)
}

fn clock(system: &System) -> Check {
    let name = "clock";
    let source = if system.clock_source.is_empty() { "unknown" } else { &system.clock_source };
    if !matches!(source, "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter") {
        let message = format!("the clock source is {source}, and each reading enters the kernel or a device");
        return Check::warn(
            name,
            message,
            "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
        );
    }
    if cfg!(target_arch = "x86_64") && !system.has_invariant_tsc {
        let message = format!("the clock source is {source}, but the CPU's counter changes its speed or stops");
        return Check::warn(name, message, "run it on a CPU, or a virtual CPU, with constant_tsc and nonstop_tsc");
    }
    Check::ok(name, format!("the clock source is {source}"))
}

/// Bytes for people.
fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes >> 10) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::Level;
    use corelane::config::Config;
    use corelane::runtime::Placement;

    /// A machine on which nothing is wrong.
    pub(in super::super) fn good() -> System {
        System {
            release: "6.12.3-amd64".into(),
            capabilities: u64::MAX,
            memlock: None,
            has_bpf: true,
            af_xdp: Opened::Yes,
            huge_pages_free: 0,
            huge_pages_total: 0,
            huge_page_bytes: 2 << 20,
            dma_latency: Opened::Yes,
            allowed_cpus: vec![0, 1, 2, 3],
            isolated_cpus: vec![2, 3],
            clock_source: "tsc".into(),
            has_invariant_tsc: true,
            rtprio: Some(0),
            real_time: Some((950_000, 1_000_000)),
            placement: Ok(Placement::default()),
            interface: None,
            beside: Some(beside::tests::good()),
        }
    }

    /// The needs of the default configuration.
    pub(in super::super) fn needs() -> Needs {
        Needs::of(&Config::default(), 1)
    }

    fn without(capabilities: &[u32]) -> System {
        let missing = capabilities.iter().fold(0, |bits, capability| bits | 1 << capability);
        System { capabilities: !missing, ..good() }
    }

    #[test]
    fn nothing_is_wrong_with_a_good_machine() {
        for check in all(&good(), &needs()) {
            assert_eq!((check.level, &check.remedy), (Level::Ok, &None), "{check:?}");
        }
    }

    #[test]
    fn kernels_are_told_apart() {
        let level = |release: &str| kernel(&System { release: release.into(), ..good() }).level;
        assert_eq!(level("5.15.0-91-generic"), Level::Fail);
        assert_eq!(level("5.17.99"), Level::Fail);
        assert_eq!(level("5.18.0"), Level::Warn);
        assert_eq!(level("6.1.0-18-amd64"), Level::Warn);
        assert_eq!(level("6.6"), Level::Ok);
        assert_eq!(level("10.0-rc1"), Level::Ok);
        assert_eq!(level("mystery"), Level::Fail);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let check = capabilities(&without(&[CAP_NET_RAW, CAP_BPF, CAP_SYS_ADMIN]));
        assert_eq!((check.level, check.message.as_str()), (Level::Fail, "not in effect: CAP_NET_RAW, CAP_BPF"));
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("setcap cap_net_admin,cap_net_raw,cap_bpf")));
        assert_eq!(capabilities(&without(&[CAP_BPF, CAP_PERFMON])).level, Level::Ok, "CAP_SYS_ADMIN includes them");
        assert_eq!(capabilities(&without(&[CAP_PERFMON, CAP_SYS_ADMIN])).level, Level::Warn);
    }

    #[test]
    fn sockets_and_bpf_fail_with_the_reason() {
        assert_eq!(bpf(&System { has_bpf: false, ..good() }).level, Level::Fail);
        for state in [Opened::NotPermitted, Opened::Missing, Opened::Failed("x".into())] {
            let check = af_xdp(&System { af_xdp: state, ..good() });
            assert!(check.level == Level::Fail && check.remedy.is_some(), "{check:?}");
        }
    }

    #[test]
    fn locked_memory_counts_without_the_capability() {
        let limited = |bytes| System { memlock: Some(bytes), ..without(&[CAP_IPC_LOCK]) };
        assert_eq!(memlock(&limited(8 << 20), &needs()).level, Level::Fail);
        let check = memlock(&limited(64 << 10), &needs());
        assert_eq!(check.message, "only 64 KiB may be locked, frames need 16 MiB");
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("ulimit -l 16384")));
        assert_eq!(memlock(&limited(16 << 20), &needs()).level, Level::Ok);
        assert_eq!(memlock(&without(&[CAP_IPC_LOCK]), &needs()).level, Level::Ok);
        assert_eq!(memlock(&System { memlock: Some(0), ..good() }, &needs()).level, Level::Ok);
    }

    #[test]
    fn huge_pages_count_when_they_are_used() {
        let auto = huge_pages(&good(), &needs());
        assert_eq!(auto.level, Level::Ok);
        assert!(auto.message.contains("normal pages; `sudo sysctl -w vm.nr_hugepages=8`"), "{auto:?}");
        let needs = Needs { huge_pages: HugePages::Require, ..needs() };
        let check = huge_pages(&good(), &needs);
        assert_eq!((check.level, check.remedy.as_deref()), (Level::Fail, Some("sudo sysctl -w vm.nr_hugepages=8")));
        let some = huge_pages(&System { huge_pages_free: 3, huge_pages_total: 5, ..good() }, &needs);
        assert_eq!(some.remedy.as_deref(), Some("sudo sysctl -w vm.nr_hugepages=10"));
        assert_eq!(huge_pages(&System { huge_pages_free: 8, ..good() }, &needs).level, Level::Ok);
        assert_eq!(huge_pages(&System { huge_page_bytes: 0, ..good() }, &needs).level, Level::Fail);
    }

    #[test]
    fn cores_are_counted_against_workers() {
        let needs = Needs { workers: Some(2), ..needs() };
        let with = |allowed: &[usize], isolated: &[usize]| {
            cpus(&System { allowed_cpus: allowed.into(), isolated_cpus: isolated.into(), ..good() }, &needs)
        };
        assert_eq!(with(&[0], &[]).level, Level::Fail);
        assert_eq!(with(&[0, 1], &[0, 1]).level, Level::Ok);
        assert_eq!(with(&[0, 1, 2], &[7, 8]).level, Level::Warn);
        assert!(with(&[0, 1, 2], &[]).remedy.is_some_and(|remedy| remedy.contains("isolcpus=1-2")));
    }

    #[test]
    fn slow_clocks_and_sleepy_cpus_are_told() {
        assert_eq!(clock(&System { clock_source: "hpet".into(), ..good() }).level, Level::Warn);
        assert_eq!(clock(&System { clock_source: String::new(), ..good() }).level, Level::Warn);
        for state in [Opened::NotPermitted, Opened::Missing, Opened::Failed("x".into())] {
            assert_eq!(cpu_latency(&System { dma_latency: state, ..good() }).level, Level::Warn);
        }
    }
}
