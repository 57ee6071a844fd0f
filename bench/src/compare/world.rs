//! Three veth pairs, each between two network namespaces without names, which go with the process.
//!
//! ```text
//!   client                                server
//!   client0 ----------------------------- server0
//!   10.91.0.1   kernel                    10.91.0.2
//!   10.91.0.11  Corelane                  10.91.0.12
//! ```

use super::pair::{End, LinkKind};
use crate::failure::Failure;
use crate::path::world::{Space, run};

/// The client's interface.
pub(super) const CLIENT_IF: &str = "client0";
/// The server's.
pub(super) const SERVER_IF: &str = "server0";

/// The address of an end, and of which side.
pub(super) const fn address(end: End, is_server: bool) -> &'static str {
    match (end, is_server) {
        (End::Corelane, false) => "10.91.0.11",
        (End::Corelane, true) => "10.91.0.12",
        (_, false) => "10.91.0.1",
        (_, true) => "10.91.0.2",
    }
}

/// Two namespaces and what joins them.
#[derive(Debug)]
pub(super) struct World {
    pub(super) client: Space,
    pub(super) server: Space,
}

impl World {
    pub(super) fn new(kind: LinkKind) -> Result<Self, Failure> {
        let (client, server) = (Space::new()?, Space::new()?);
        for space in [&client, &server] {
            space.inside(|| {
                prepare();
                run("ip link set lo up")
            })?;
        }
        let there = server.path();
        client.inside(|| run(&format!("ip link add {CLIENT_IF} type veth peer name {SERVER_IF} netns {there}")))?;
        for (space, name, is_server) in [(&client, CLIENT_IF, false), (&server, SERVER_IF, true)] {
            space.inside(|| {
                match kind {
                    LinkKind::AsItComes => {}
                    LinkKind::Checksums => run(&format!("ethtool -K {name} tx off"))?,
                    LinkKind::Plain => run(&format!("ethtool -K {name} tx off rx off tso off gso off gro off"))?,
                }
                run(&format!("ip address add {}/24 dev {name}", address(End::Kernel, is_server)))?;
                run(&format!("ip link set {name} up"))
            })?;
        }
        Ok(Self { client, server })
    }
}

/// What would disturb, and what would end a test of many short connections before its time. A kernel that does not have
/// one of these does without.
fn prepare() {
    for (name, value) in [
        // IPv6 would send packets of its own.
        ("net/ipv6/conf/default/disable_ipv6", "1"),
        // The kernel's side of a comparison of congestion controls is another command's; here both are the same.
        ("net/ipv4/tcp_congestion_control", "cubic"),
        ("net/ipv4/tcp_no_metrics_save", "1"),
        ("net/ipv4/ip_local_port_range", "1024 65535"),
        ("net/ipv4/tcp_tw_reuse", "1"),
        ("net/ipv4/tcp_max_tw_buckets", "262144"),
        ("net/ipv4/tcp_max_syn_backlog", "8192"),
        ("net/core/somaxconn", "8192"),
    ] {
        let _ = std::fs::write(format!("/proc/sys/{name}"), value);
    }
}
