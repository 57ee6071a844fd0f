//! The machine as one value: the only place of the doctor that reads files, calls the kernel or runs a program.

use super::beside::Beside;
use corelane::runtime::Placement;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Resource;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What was seen of the machine. What could not be seen is `None` or empty.
#[derive(Clone, Debug)]
pub(super) struct System {
    /// The kernel's release, as `uname -r` prints it.
    pub(super) release: String,
    /// The effective capabilities, a bit each (capabilities(7)).
    pub(super) capabilities: u64,
    /// `RLIMIT_MEMLOCK` in bytes; `None`: no limit.
    pub(super) memlock: Option<u64>,
    /// Whether the kernel has the bpf system call.
    pub(super) has_bpf: bool,
    /// What came of opening an AF_XDP socket.
    pub(super) af_xdp: Opened,
    /// Free huge pages.
    pub(super) huge_pages_free: u64,
    /// All huge pages, those in use included.
    pub(super) huge_pages_total: u64,
    /// Bytes of a huge page.
    pub(super) huge_page_bytes: u64,
    /// What came of opening `/dev/cpu_dma_latency` for writing.
    pub(super) dma_latency: Opened,
    /// The CPUs that this process may use.
    pub(super) allowed_cpus: Vec<usize>,
    /// The CPUs that the kernel was told to keep free (isolcpus=).
    pub(super) isolated_cpus: Vec<usize>,
    /// The clock source in use.
    pub(super) clock_source: String,
    /// Whether the CPU's time stamp counter runs at one speed and does not stop.
    pub(super) has_invariant_tsc: bool,
    /// `RLIMIT_RTPRIO`, the highest real-time priority that may be taken without privilege; `None`: any.
    pub(super) rtprio: Option<u64>,
    /// Microseconds of each period that real-time threads may run (`kernel.sched_rt_runtime_us`), and the period;
    /// `None`: all of it.
    pub(super) real_time: Option<(u64, u64)>,
    /// Where the configuration's workers would run, or why they could not.
    pub(super) placement: Result<Placement, String>,
    /// The interface asked for; `None` when none was.
    pub(super) interface: Option<Interface>,
    /// How the stack would get along with the kernel there; `None` when there is no such interface, or nobody has looked.
    pub(super) beside: Option<Beside>,
}

/// What came of opening something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Opened {
    /// It is there and may be used.
    Yes,
    /// It is there, but not for this user.
    NotPermitted,
    /// It is not there.
    Missing,
    /// Anything else, in the kernel's words.
    Failed(String),
}

/// A network interface.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    /// `None` when there is no such interface; then `others` names those that there are.
    pub(super) state: Option<State>,
    pub(super) others: Vec<String>,
}

/// A network interface that is there.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Whether it was set up (`IFF_UP`).
    pub(super) is_up: bool,
    /// Whether there is somebody at the other end.
    pub(super) has_carrier: bool,
    /// The driver's name, as `ethtool -i` prints it.
    pub(super) driver: Option<String>,
    pub(super) rx_queues: u32,
    pub(super) tx_queues: u32,
    pub(super) mtu: u32,
    /// The offloads that are on; `None` when they could not be seen.
    pub(super) offloads: Option<Vec<String>>,
    /// The XDP program on it, in words; the error when that could not be seen.
    pub(super) program: Result<Option<Program>, String>,
}

/// An attached XDP program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Program {
    pub(super) id: u32,
    pub(super) name: Option<String>,
    /// Everything known of it, in words.
    pub(super) text: String,
}

impl System {
    /// Looks at the machine, and at `interface` unless it is empty. What depends on a configuration is left out.
    pub(super) fn look(interface: &str) -> Self {
        let status = read("/proc/self/status");
        let memory = read("/proc/meminfo");
        let cpu = read("/proc/cpuinfo");
        let number = |text: &str, key: &str| field(text, key).and_then(|value| value.parse::<u64>().ok());
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            capabilities: field(&status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0),
            memlock: rustix::process::getrlimit(Resource::Memlock).current,
            // It is there exactly when the kernel was built with CONFIG_BPF_SYSCALL.
            has_bpf: Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists(),
            af_xdp: open_af_xdp(),
            huge_pages_free: number(&memory, "HugePages_Free").unwrap_or(0),
            huge_pages_total: number(&memory, "HugePages_Total").unwrap_or(0),
            huge_page_bytes: number(&memory, "Hugepagesize").unwrap_or(0) * 1024,
            dma_latency: open_dma_latency(),
            allowed_cpus: field(&status, "Cpus_allowed_list").map(cpu_list).unwrap_or_default(),
            isolated_cpus: cpu_list(read("/sys/devices/system/cpu/isolated").trim()),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource").trim().to_owned(),
            has_invariant_tsc: ["constant_tsc", "nonstop_tsc"]
                .iter()
                .all(|flag| field(&cpu, "flags").is_some_and(|flags| flags.split(' ').any(|word| word == *flag))),
            rtprio: rustix::process::getrlimit(Resource::Rtprio).current,
            real_time: real_time_share(
                &read("/proc/sys/kernel/sched_rt_runtime_us"),
                &read("/proc/sys/kernel/sched_rt_period_us"),
            ),
            placement: Ok(Placement::default()),
            interface: (!interface.is_empty()).then(|| Interface::look(interface)),
            beside: None,
        }
    }
}

impl Interface {
    fn look(name: &str) -> Self {
        let others = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let mut others: Vec<String> = others
            .filter(|entry| entry.path().join("ifindex").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        others.sort();
        // A name that is not in the list is not a file name either.
        let state = others.iter().any(|other| other == name).then(|| State::look(name));
        Self { name: name.to_owned(), state, others }
    }
}

impl State {
    fn look(name: &str) -> Self {
        let dir = format!("/sys/class/net/{name}");
        let number = |file: &str| read(&format!("{dir}/{file}")).trim().parse::<u32>().unwrap_or(0);
        let flags = read(&format!("{dir}/flags"));
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
        let queues = |kind: &str| {
            let names = fs::read_dir(format!("{dir}/queues")).into_iter().flatten().flatten();
            let count = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(kind)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Self {
            is_up: flags & 1 != 0,
            has_carrier: number("carrier") == 1,
            driver: driver(&dir, name),
            rx_queues: queues("rx-"),
            tx_queues: queues("tx-"),
            mtu: number("mtu"),
            offloads: output("ethtool", &["-k", name]).map(|text| offloads(&text)),
            program: corelane_bpf::program_on(number("ifindex"))
                .map(|program| program.map(|info| Program { id: info.id, text: info.to_string(), name: info.name }))
                .map_err(|error| error.to_string()),
        }
    }
}

/// A whole file; empty when it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value after `key:` in files such as /proc/meminfo, without a unit.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().trim_end_matches(" kB"))
}

/// The numbers of a list such as `0-3,8`.
fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first + 8191));
        }
    }
    cpus
}

/// The share of real-time threads: -1 means that nothing is kept from them.
fn real_time_share(runtime: &str, period: &str) -> Option<(u64, u64)> {
    let (runtime, period) = (runtime.trim().parse().ok()?, period.trim().parse().ok()?);
    (runtime < period).then_some((runtime, period))
}

fn open_af_xdp() -> Opened {
    use rustix::io::Errno;
    match rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        Ok(_) => Opened::Yes,
        Err(Errno::PERM | Errno::ACCESS) => Opened::NotPermitted,
        Err(Errno::AFNOSUPPORT) => Opened::Missing,
        Err(error) => Opened::Failed(error.to_string()),
    }
}

fn open_dma_latency() -> Opened {
    use std::io::ErrorKind;
    match fs::OpenOptions::new().write(true).open("/dev/cpu_dma_latency") {
        Ok(_) => Opened::Yes,
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Opened::Missing,
            ErrorKind::PermissionDenied => Opened::NotPermitted,
            _ => Opened::Failed(error.to_string()),
        },
    }
}

/// The driver's name: devices have a link to it; virtual interfaces say it only to ethtool.
fn driver(dir: &str, name: &str) -> Option<String> {
    if let Ok(link) = fs::read_link(format!("{dir}/device/driver")) {
        return link.file_name().map(|name| name.to_string_lossy().into_owned());
    }
    let text = output("ethtool", &["-i", name])?;
    field(&text, "driver").map(str::to_owned)
}

/// The offloads that `ethtool -k` shows as on.
fn offloads(text: &str) -> Vec<String> {
    let on = text.lines().filter_map(|line| line.trim().split_once(": "));
    on.filter(|(_, state)| state.starts_with("on")).map(|(name, _)| name.to_owned()).collect()
}

/// What a program prints when it ends well.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    // Debian keeps system tools out of the path of those who are not root.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_lists_of_proc_are_read() {
        let status = "Name:\tx\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-2,5\n";
        assert_eq!(field(status, "CapEff"), Some("000001ffffffffff"));
        assert_eq!(field("Hugepagesize:       2048 kB\n", "Hugepagesize"), Some("2048"));
        assert_eq!(field("flags\t\t: fpu vme\n", "flags"), Some("fpu vme"));
        assert_eq!(field(status, "Cap"), None);
        assert_eq!(cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(cpu_list(""), [0; 0]);
        assert_eq!(cpu_list("x-y"), [0; 0]);
    }

    #[test]
    fn the_share_of_real_time_threads_is_read() {
        assert_eq!(real_time_share("950000\n", "1000000\n"), Some((950_000, 1_000_000)));
        assert_eq!(real_time_share("-1\n", "1000000\n"), None);
        assert_eq!(real_time_share("1000000\n", "1000000\n"), None);
        assert_eq!(real_time_share("", ""), None);
    }

    #[test]
    fn offloads_that_are_on_are_read() {
        let text = "Features for eth0:\nrx-checksumming: on [fixed]\nlarge-receive-offload: off\n\trx-gro-hw: on\n";
        assert_eq!(offloads(text), ["rx-checksumming", "rx-gro-hw"]);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let system = System::look("lo");
        assert!(!system.release.is_empty());
        assert!(!system.allowed_cpus.is_empty());
        let state = system.interface.and_then(|interface| interface.state);
        assert!(state.is_some_and(|state| state.mtu > 0), "every network namespace has lo");
        let absent = System::look("no/../such").interface;
        assert!(absent.is_some_and(|interface| interface.state.is_none()));
    }
}
