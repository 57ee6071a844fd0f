//! Two network namespaces without names, joined by a veth pair; they go with the process.

use crate::failure::Failure;
use crate::path::world::{Space, run, up};
use std::net::Ipv4Addr;

/// The stack's own address.
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 10);
/// The port that it listens on.
pub(super) const PORT: u16 = 7;
/// Its interface.
pub(super) const SERVER_IF: &str = "idle0";
const CLIENT_IF: &str = "ask0";
/// The client's address, the kernel's.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);

/// The two ends.
#[derive(Debug)]
pub(super) struct Link {
    /// Where the stack is.
    pub(super) server: Space,
    /// Where the kernel's client is.
    pub(super) client: Space,
}

impl Link {
    pub(super) fn new() -> Result<Self, Failure> {
        let link = Self { server: Space::new()?, client: Space::new()? };
        for space in [&link.server, &link.client] {
            // IPv6 would wake the stack with its own packets. A kernel without it has nothing to be switched off.
            space.inside(|| {
                let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
                run("ip link set lo up")
            })?;
        }
        let client = link.client.path();
        link.server
            .inside(|| run(&format!("ip link add {SERVER_IF} type veth peer name {CLIENT_IF} netns {client}")))?;
        link.client.inside(|| {
            run(&format!("ip address add {CLIENT}/24 dev {CLIENT_IF}"))?;
            up(CLIENT_IF)
        })?;
        link.server.inside(|| up(SERVER_IF))?;
        Ok(link)
    }
}
