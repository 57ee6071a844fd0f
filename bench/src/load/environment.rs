//! Where a load ran: what one has to know to compare its figures with others.

use crate::cores;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The machine, the interface and the settings that change figures most. What could not be read is null or empty.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub cpu_model: String,
    /// Cores that are online.
    pub cpus_online: usize,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
    /// How the cores' frequency is governed, such as `performance`.
    pub governor: Option<String>,
    /// Who puts idle cores to sleep, such as `intel_idle` or `haltpoll`.
    pub idle_driver: Option<String>,
    /// Whether idle cores could halt during the load.
    pub halting_allowed: bool,
    /// The interface that the load went through.
    pub interface: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// How the stack was told to drive it, such as `copy`; null with the kernel's sockets.
    pub mode: Option<String>,
    /// Its largest packet.
    pub mtu: Option<u32>,
    /// Its speed in Mbit/s.
    pub speed_mbit: Option<u32>,
    /// Offloads that are on.
    pub offloads: Vec<String>,
    /// What the machine takes from a thread that only looks at the clock.
    pub noise: Noise,
}

/// Pauses of a thread that only looks at the clock: interrupts, other programs, the hypervisor.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Noise {
    /// How long it looked.
    pub looked_ms: u64,
    /// The longest pause.
    pub longest_ns: u64,
    /// The share of the time that went in pauses of more than a microsecond, 0 to 1.
    pub lost_share: f64,
}

/// Offloads that change what a packet costs, with ethtool's names.
const OFFLOADS: [&str; 6] = [
    "rx-checksumming",
    "tx-checksumming",
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "large-receive-offload",
];

impl Environment {
    /// Reads what there is to read. `interface` is the one that leads to `target` if it is not said.
    pub fn read(interface: Option<&str>, mode: Option<String>, target: SocketAddr, halting_allowed: bool) -> Self {
        let interface = interface.map(str::to_owned).or_else(|| interface_towards(target));
        let class = interface.as_ref().map(|name| Path::new("/sys/class/net").join(name));
        let of_interface = |file: &str| class.as_ref().and_then(|class| text(&class.join(file)));
        let driver = class.as_ref().and_then(|class| std::fs::read_link(class.join("device/driver")).ok());
        let cpuinfo = text(Path::new("/proc/cpuinfo")).unwrap_or_default();
        let (cpu_model, is_virtual) = processor(&cpuinfo);
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu_model,
            cpus_online: cores::online_count(),
            is_virtual,
            governor: text(Path::new("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
            idle_driver: text(Path::new("/sys/devices/system/cpu/cpuidle/current_driver")),
            halting_allowed,
            driver: driver.and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())),
            mode,
            mtu: of_interface("mtu").and_then(|mtu| mtu.parse().ok()),
            // A virtual interface says -1, which is no speed.
            speed_mbit: of_interface("speed").and_then(|speed| speed.parse().ok()),
            offloads: interface.as_deref().map(offloads).unwrap_or_default(),
            interface,
            noise: Noise::default(),
        }
    }
}

impl Noise {
    /// Looks at the clock for so long, on the thread that calls.
    pub fn measure(time: Duration) -> Self {
        let begin = Instant::now();
        let (mut last, mut longest, mut lost) = (begin, Duration::ZERO, Duration::ZERO);
        while last - begin < time {
            let now = Instant::now();
            let pause = now - last;
            longest = longest.max(pause);
            if pause > Duration::from_micros(1) {
                lost += pause;
            }
            last = now;
        }
        Self {
            looked_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            longest_ns: u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX),
            lost_share: lost.as_secs_f64() / (last - begin).as_secs_f64().max(f64::MIN_POSITIVE),
        }
    }
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The name of the first processor in /proc/cpuinfo, and whether it says that there is a hypervisor.
fn processor(cpuinfo: &str) -> (String, bool) {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    (field("model name").to_owned(), field("flags").split(' ').any(|flag| flag == "hypervisor"))
}

/// The interface with the address that the kernel would send from; nothing is sent to find out.
fn interface_towards(target: SocketAddr) -> Option<String> {
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    let local = socket.local_addr().ok()?.ip();
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let mut interfaces = nix::ifaddrs::getifaddrs().ok()?;
    interfaces.find(|entry| entry.address.and_then(address) == Some(local)).map(|entry| entry.interface_name)
}

/// What `ethtool -k` says is on; nothing where there is no ethtool.
fn offloads(interface: &str) -> Vec<String> {
    let output = Command::new("ethtool").args(["-k", interface]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    parse_offloads(&text)
}

fn parse_offloads(text: &str) -> Vec<String> {
    let is_on = |name: &&&str| {
        let value = text.lines().find_map(|line| line.trim().strip_prefix(**name)?.strip_prefix(": "));
        value.is_some_and(|value| value.split(' ').next() == Some("on"))
    };
    OFFLOADS.iter().filter(is_on).map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_by_its_address() {
        let environment = Environment::read(None, None, "127.0.0.1:80".parse().unwrap(), true);
        assert_eq!((environment.interface.as_deref(), environment.mode), (Some("lo"), None));
        assert!(environment.mtu.is_some_and(|mtu| mtu >= 1280) && environment.cpus_online > 0);
        assert!(environment.kernel.contains('.'), "{}", environment.kernel);
    }

    #[test]
    fn names_and_offloads_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 3GHz\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(processor(cpuinfo), ("A CPU @ 3GHz".to_owned(), true));
        assert_eq!(processor(""), (String::new(), false));
        let ethtool = "Features for eth0:\nrx-checksumming: on [fixed]\ntx-checksumming: off\n\ttx-checksum-ipv4: on\n\
                       generic-receive-offload: on\n";
        assert_eq!(parse_offloads(ethtool), ["rx-checksumming", "generic-receive-offload"]);
    }

    #[test]
    fn noise_is_a_part_of_the_time() {
        let noise = Noise::measure(Duration::from_millis(3));
        assert_eq!(noise.looked_ms, 3);
        assert!(noise.longest_ns > 0 && (0.0..=1.0).contains(&noise.lost_share), "{noise:?}");
    }
}
