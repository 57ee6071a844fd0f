//! Rules that bind several settings together.

use super::{Config, ConfigError, Interface, interface_key};
use std::collections::HashSet;

/// Bytes that the kernel keeps at the start of each AF_XDP frame (`XDP_PACKET_HEADROOM`).
pub(crate) const FRAME_HEADROOM: u32 = 256;

/// Bytes of an Ethernet header with one VLAN tag.
pub(crate) const LINK_HEADER: u32 = 18;

/// The longest IP packet that a frame of `frame_size` bytes holds.
pub(crate) const fn largest_mtu(frame_size: u32) -> u32 {
    frame_size - FRAME_HEADROOM - LINK_HEADER
}

/// The first rule that the settings break together; each setting alone has been checked.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    interfaces(config)?;
    cores(config)?;
    control(config)?;
    memory(config)?;
    limits(config)?;
    tcp(config)
}

fn wrong(key: &str, message: impl Into<String>) -> Result<(), ConfigError> {
    Err(ConfigError::of_key(key, message))
}

fn interfaces(config: &Config) -> Result<(), ConfigError> {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    for (at, each) in config.interfaces().enumerate() {
        interface(config, &interface_key(at), each)?;
        let (name, key) = (each.name(), |field| format!("{}.{field}", interface_key(at)));
        if name.is_empty() && config.interfaces().len() > 1 {
            return wrong(&key("name"), "it is missing: give the name of each of several interfaces");
        }
        if !names.insert(name) {
            return wrong(&key("name"), format!("{name} is there twice: give each interface one table"));
        }
        if let Some(addr) = each.address().iter().map(super::Cidr::addr).find(|addr| !addresses.insert(*addr)) {
            let message = format!("{addr} is another interface's already: give each its own");
            return wrong(&key("address"), message);
        }
    }
    Ok(())
}

fn interface(config: &Config, table: &str, interface: &Interface) -> Result<(), ConfigError> {
    let wrong = |key: &str, message: String| Err(ConfigError::of_key(format!("{table}.{key}"), message));
    // IFNAMSIZ, and the characters that the kernel refuses (dev_valid_name).
    let name = interface.name();
    if name.len() > 15 || name == "." || name == ".." || name.contains(['/', ':', ' ', '\t', '\n', '\0']) {
        return wrong("name", format!("{name:?} cannot be an interface: give a name that `ip link` shows"));
    }
    if let Some(queue) = repeated(interface.queues()) {
        return wrong("queues", format!("queue {queue} is there twice: leave one out"));
    }
    let addresses: Vec<_> = interface.address().iter().map(super::Cidr::addr).collect();
    if let Some(addr) = repeated(&addresses) {
        return wrong("address", format!("{addr} is there twice: leave one out"));
    }
    let gateways = interface.gateway();
    if gateways.iter().filter(|gateway| gateway.is_v4()).count().max(gateways.iter().filter(|g| !g.is_v4()).count()) > 1
    {
        return wrong("gateway", "there are two of one family: give one for each family at most".into());
    }
    for &gateway in gateways {
        if addresses.contains(&gateway) {
            return wrong("gateway", format!("{gateway} is the stack's own: give the router's address"));
        }
        if !interface.address().iter().any(|cidr| cidr.contains(gateway)) {
            let message = format!("{gateway} is in no prefix of {table}.address: give a router on the same network");
            return wrong("gateway", message);
        }
    }
    if let Some(mtu) = interface.mtu() {
        let largest = largest_mtu(config.memory().frame_size());
        if u32::from(mtu) > largest {
            let message = format!("{mtu} does not fit the frames, which hold {largest}: {}", mtu_remedy(largest));
            return wrong("mtu", message);
        }
    }
    let first = interface.queues().iter().copied().min().unwrap_or(0);
    let last = interface.queues().iter().copied().max().unwrap_or(0);
    if last - first >= 64 {
        let message =
            format!("queues {first} and {last} are more than 64 apart: name some that are nearer to each other");
        return wrong("queues", message);
    }
    Ok(())
}

/// What to do about an MTU above `largest`.
pub(crate) fn mtu_remedy(largest: u32) -> String {
    if largest < largest_mtu(4096) {
        format!("set memory.frame_size = 4096, or an MTU of at most {largest}")
    } else {
        format!("set an MTU of at most {largest}")
    }
}

fn cores(config: &Config) -> Result<(), ConfigError> {
    let cores = config.cores().list();
    if let Some(core) = repeated(cores) {
        return wrong("cores.list", format!("core {core} is there twice: each worker needs its own"));
    }
    if let Some(workers) = config.workers() {
        if !cores.is_empty() && cores.len() != workers {
            let message = format!(
                "{} cores for {workers} workers: name one core for each of cores.workers, or none",
                cores.len()
            );
            return wrong("cores.list", message);
        }
        if workers > 64 {
            return wrong("cores.list", format!("{workers} workers are more than 64: name fewer cores"));
        }
        let buckets = config.steering().buckets();
        if (buckets as usize) < workers {
            let message = format!("{buckets} buckets for {workers} workers: give at least one for each");
            return wrong("steering.buckets", message);
        }
    }
    Ok(())
}

/// The longest path that an address of a UNIX socket holds (unix(7): 108 bytes with the end).
const LONGEST_SOCKET_PATH: usize = 107;

fn control(config: &Config) -> Result<(), ConfigError> {
    let helper = config.privileges().helper();
    if config.control().takeover() && config.interfaces().len() > 1 {
        let message = "a stack on several interfaces cannot take over: set it to false and stop the other process first, or name one interface";
        return wrong("control.takeover", message);
    }
    if !helper.is_empty() && config.control().takeover() {
        let message = "whoever has a helper cannot take over: leave one of the two out";
        return wrong("control.takeover", message);
    }
    if !helper.is_empty() && config.interfaces().len() > 1 {
        let message = "a helper sets up one interface: name one, or leave the helper out";
        return wrong("privileges.helper", message);
    }
    socket_path("control.socket", config.control().socket())?;
    socket_path("privileges.helper", helper)
}

fn socket_path(key: &str, path: &str) -> Result<(), ConfigError> {
    if path.is_empty() {
        return Ok(());
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        let message =
            format!("{path:?} cannot be a socket: give a path from / on, such as \"/run/corelane/main.sock\"");
        return wrong(key, message);
    }
    if path.len() > LONGEST_SOCKET_PATH {
        let message = format!("it has {} bytes, and a socket's path at most {LONGEST_SOCKET_PATH}", path.len());
        return wrong(key, format!("{message}: give a shorter one"));
    }
    Ok(())
}

fn memory(config: &Config) -> Result<(), ConfigError> {
    let memory = config.memory();
    let needed = memory.fill_ring() + memory.tx_ring();
    if memory.frame_count() < needed {
        let message = format!(
            "{} frames are fewer than the fill and transmit rings hold together: give at least {}",
            memory.frame_count(),
            needed.next_power_of_two()
        );
        return wrong("memory.frame_count", message);
    }
    if memory.low_water_frames() > memory.frame_count() / 4 {
        let message = format!("it is more than a quarter of the frames: give at most {}", memory.frame_count() / 4);
        return wrong("memory.low_water_frames", message);
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), ConfigError> {
    let limits = config.limits();
    if limits.first_port() > limits.last_port() {
        return wrong("limits.first_port", "it is above limits.last_port: give a smaller one");
    }
    Ok(())
}

fn tcp(config: &Config) -> Result<(), ConfigError> {
    let tcp = config.tcp();
    if tcp.rto_min_ms() > tcp.rto_max_ms() {
        return wrong("tcp.rto_min_ms", "it is above tcp.rto_max_ms: give a smaller one");
    }
    if tcp.delayed_ack_ms() > tcp.rto_min_ms() {
        let message = "it is above tcp.rto_min_ms, so that a peer like us would send again before our ACK comes: give a smaller one";
        return wrong("tcp.delayed_ack_ms", message);
    }
    let frame = largest_mtu(config.memory().frame_size());
    // An interface that carries less gets less.
    let mtu = config.interfaces().map(|each| each.mtu().map_or(frame, u32::from)).max().unwrap_or(frame);
    if let Some(mss) = tcp.mss_bytes()
        && u32::from(mss) + 40 > mtu
    {
        return wrong("tcp.mss_bytes", format!("{mss} is more than an MTU of {mtu} holds: give at most {}", mtu - 40));
    }
    Ok(())
}

fn repeated<T: std::hash::Hash + Eq>(list: &[T]) -> Option<&T> {
    let mut seen = HashSet::new();
    list.iter().find(|element| !seen.insert(*element))
}
