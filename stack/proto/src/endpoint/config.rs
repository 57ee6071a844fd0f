//! What an endpoint is told at start: its addresses and the bounds of its tables.

use super::interfaces::InterfaceConfig;
use super::routing::Route;
use crate::addr::{Addr, Mac};
use crate::tcp::config::TcpConfig;
use alloc::vec::Vec;
use core::time::Duration;

/// An address and the length of the prefix that is on the link with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// Our address.
    pub addr: Addr,
    /// Bits of the prefix: 0-32 for IPv4, 0-128 for IPv6.
    pub prefix_len: u8,
}

impl Cidr {
    /// Whether `other` is reached on the link, without a gateway.
    pub fn contains(&self, other: Addr) -> bool {
        if self.addr.is_v4() != other.is_v4() {
            return false;
        }
        // IPv4 lies in the last 32 of the 128 bits.
        let bits = u32::from(self.prefix_len) + if other.is_v4() { 96 } else { 0 };
        let mask = u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0);
        (u128::from_be_bytes(self.addr.octets()) ^ u128::from_be_bytes(other.octets())) & mask == 0
    }

    /// Whether `other` is the prefix with a host part of all ones, which means every host of the link, or of all
    /// zeros, which once did (RFC 1122 3.2.1.3, 3.3.6). Only IPv4 has such addresses, and not in prefixes of 31 and 32
    /// bits (RFC 3021).
    pub fn is_broadcast(&self, other: Addr) -> bool {
        let Some(octets) = other.as_v4().filter(|_| self.prefix_len < 31 && self.contains(other)) else { return false };
        let host = u32::MAX >> self.prefix_len;
        let bits = u32::from_be_bytes(octets) & host;
        bits == host || bits == 0
    }
}

/// When a listener answers a SYN with a cookie instead of remembering it (RFC 4987 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SynCookies {
    /// Never: when the SYN queue is full, SYNs are dropped.
    Never,
    /// When the SYN queue is full. A connection that is opened by a cookie has its segment size rounded down, the
    /// SYN-ACK goes once only, and without timestamps it has neither window scale nor SACK.
    #[default]
    WhenFull,
    /// Always: nothing is remembered of a SYN. For tests.
    Always,
}

/// Settings of one listener. A [`TcpConfig`] alone makes one with the defaults of the endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListenConfig {
    /// The settings of the connections that come in.
    pub tcp: TcpConfig,
    /// The backlog: most connections that are open and that the application has not been told of, as with `listen(2)`.
    /// When there are as many, SYNs are dropped, and so is the ACK that would open another: its peer, which holds the
    /// connection for open, gets the SYN-ACK again until there is room or the retries are over. Half-open connections
    /// do not count; theirs is the SYN queue, of which each listener has its part. `None`, the default:
    /// [`EndpointConfig::accept_queue`].
    pub backlog: Option<usize>,
    /// When SYNs are answered by cookies. `None`, the default: [`EndpointConfig::syn_cookies`].
    pub syn_cookies: Option<SynCookies>,
}

impl From<TcpConfig> for ListenConfig {
    fn from(tcp: TcpConfig) -> Self {
        Self { tcp, ..Self::default() }
    }
}

/// Whose the addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sharing {
    /// The endpoint's alone: it answers ARP and ICMP echo for them, and asks for its neighbours itself.
    #[default]
    Own,
    /// Another stack has them too, the kernel's: it does all that. Routes, neighbours and changes of the link come from
    /// it, through [`Endpoint::set_routes`](super::Endpoint::set_routes) and what stands beside it.
    Shared,
}

/// Settings of one core's endpoint. Every table is sized by them at start and never grows.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Our Ethernet address.
    pub mac: Mac,
    /// The virtual LAN (IEEE 802.1Q) that this endpoint is in, 1 to 4094: everything sent carries its tag with priority 0,
    /// and nothing else is received. Four bytes of each frame go for it. Default: none, and frames of virtual LANs are
    /// dropped. The device must leave the tags in the frames (`ethtool -K IF rxvlan off`).
    pub vlan: Option<u16>,
    /// Largest IP packet of the link, bytes. 576 to 9,000.
    pub mtu: u16,
    /// Our addresses.
    pub addresses: Vec<Cidr>,
    /// Whether another stack has these addresses too. Default: they are our own.
    pub sharing: Sharing,
    /// Where packets for other links go, one for each family at most.
    pub gateways: Vec<Addr>,
    /// The routes to begin with; see [`Endpoint::set_routes`](super::Endpoint::set_routes).
    pub routes: Vec<Route>,
    /// More interfaces than the first, whose settings stand above: at most 254. Default: none.
    pub others: Vec<InterfaceConfig>,
    /// Whether a packet is dropped, and counted, that comes by another interface than the one that has its destination
    /// address (the strong host of RFC 1122 3.3.4.2, as far as it receives). Default: it is taken.
    pub strong_host: bool,
    /// Most connections, all states but TIME-WAIT and SYN-RECEIVED of a listener.
    pub connections: usize,
    /// Most half-open connections of all listeners. 80 bytes each. One listener alone may have all; of several, each has
    /// its part of one half kept for it, and the other half is for whoever is asked first. So a flood at one of two takes
    /// three quarters, and the other goes on with what is left.
    pub syn_queue: usize,
    /// How often a SYN-ACK is sent again before a half-open connection is forgotten. 0 to 7, default 7: the last goes
    /// after 127 s and has 128 s to be answered, where RFC 9293 3.8.3 wants three minutes at least (MUST-23). A flood of
    /// SYNs holds the queue for as long; that is what cookies are for.
    pub syn_ack_retries: u8,
    /// When a listener answers SYNs by cookies, if it has no setting of its own. Default: when the SYN queue is full.
    pub syn_cookies: SynCookies,
    /// Most connections of clients with Fast Open whose handshake is not complete (RFC 7413 4.2); those beyond it wait for
    /// theirs. Each has a place in the table of connections and has been told to the application. Default 256.
    pub fast_open_pending: usize,
    /// Servers whose Fast Open cookie is remembered; of two that fall together the newer stays. Default 256, 56 bytes
    /// each.
    pub fast_open_servers: usize,
    /// Most connections of a listener that are open and that the application has not been told of, if it has no setting
    /// of its own: see [`ListenConfig::backlog`]. Default 1,024.
    pub accept_queue: usize,
    /// Most connections in TIME-WAIT; the oldest gives way.
    pub time_wait: usize,
    /// Maximum segment lifetime; a connection stays in TIME-WAIT for twice as long (RFC 9293 3.4.2). Default 30 s.
    pub msl: Duration,
    /// How long no TCP segment is sent after the start (RFC 9293 3.4.3, the quiet time): what comes is dropped, and
    /// opening fails with the time that is left. Default 0, because initial sequence numbers and timestamps follow a
    /// clock and a secret (RFC 6528), and ports are random: that a new connection meets an old segment in its window is
    /// as likely as a guess. The risk is real where a host is up again within an MSL with the same secret and a clock
    /// that began anew; there this should be the MSL. What it costs is that time at every start.
    pub quiet_time: Duration,
    /// Most neighbours of each interface.
    pub neighbours: usize,
    /// First and last port of outgoing connections (RFC 6056).
    pub ports: (u16, u16),
    /// Ports of that range which are not to be chosen, in ascending order: another stack listens on them.
    pub ports_avoided: Vec<u16>,
    /// Stateless replies of each kind a second: RSTs, answers to ping, answers to ARP, ACKs out of TIME-WAIT. More are
    /// dropped and counted; none takes from another's. Default 10,000.
    pub replies_per_second: u32,
    /// About how many challenge ACKs (RFC 5961 7) go in a second for all connections together: each second has another
    /// limit, from half to one and a half times as many, so that nobody can count on it (CVE-2016-5696). A connection
    /// sends at most two a second. Default 1,000.
    pub challenge_acks_per_second: u32,
    /// Let a connection that comes in with a completed IPv4 source route answer by the same way (RFC 9293 3.9.2.1). Off by
    /// default: routes that packets bring themselves are how an attacker sees the answers to addresses that he has only
    /// borrowed, and networks should drop such packets (RFC 7126). While it is off they are dropped here.
    pub accept_source_routes: bool,
    /// Verify IPv4 header checksums of what comes in. Off only when the device has done it.
    pub verify_ip_checksum: bool,
    /// Verify TCP and ICMP checksums of what comes in (RFC 9293 MUST-3). Off only when the device has done it.
    pub verify_tcp_checksum: bool,
    /// Fewest free frames below which out-of-order data is dropped, so that one sender of holes cannot take all, and peers
    /// that hoard are given up: see [`hoarding_after`](Self::hoarding_after).
    pub low_water_frames: usize,
    /// Once frames are scarce, a peer that has taken less than a segment of what is queued for it for so long, although it
    /// can be heard, is given up with an RST: the one that holds most frames first, one a second. It may keep its window
    /// closed, or open it by a byte now and then ("Sockstress"). A connection with frames to spare around it may wait for
    /// ever (RFC 9293 MUST-37); RFC 6429 4 lets a host end those that starve others. Default 60 s. Less ends the honest
    /// peer that pauses for longer, more lets the others starve for as long.
    pub hoarding_after: Duration,
}

impl EndpointConfig {
    /// Free frames that the queues of connections leave alone: what is queued waits for ACKs, and so does the peer.
    pub(super) fn kept_frames(&self) -> usize {
        self.low_water_frames.min(64)
    }
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            mac: Mac([0x02, 0, 0, 0, 0, 1]),
            vlan: None,
            mtu: 1500,
            addresses: Vec::new(),
            sharing: Sharing::Own,
            gateways: Vec::new(),
            routes: Vec::new(),
            others: Vec::new(),
            strong_host: false,
            connections: 16_384,
            syn_queue: 4_096,
            syn_ack_retries: 7,
            syn_cookies: SynCookies::WhenFull,
            fast_open_pending: 256,
            fast_open_servers: 256,
            accept_queue: 1_024,
            time_wait: 65_536,
            msl: Duration::from_secs(30),
            quiet_time: Duration::ZERO,
            neighbours: 1_024,
            ports: (32_768, 60_999),
            ports_avoided: Vec::new(),
            replies_per_second: 10_000,
            challenge_acks_per_second: 1_000,
            accept_source_routes: false,
            verify_ip_checksum: true,
            verify_tcp_checksum: true,
            low_water_frames: 256,
            hoarding_after: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_its_broadcast_addresses() {
        let link = Cidr { addr: Addr::v4([10, 77, 0, 10]), prefix_len: 22 };
        for (last, broadcast) in
            [([3, 255], true), ([0, 0], true), ([0, 255], false), ([1, 0], false), ([7, 255], false)]
        {
            assert_eq!(link.is_broadcast(Addr::v4([10, 77, last[0], last[1]])), broadcast, "{last:?}");
        }
        let pair = Cidr { addr: Addr::v4([10, 77, 0, 10]), prefix_len: 31 };
        assert!(!pair.is_broadcast(Addr::v4([10, 77, 0, 11])));
        assert!(!Cidr { addr: Addr::v6([1; 16]), prefix_len: 8 }.is_broadcast(Addr::v6([1; 16])));
    }

    #[test]
    fn prefixes_of_both_families() {
        let link = Cidr { addr: Addr::v4([10, 77, 0, 10]), prefix_len: 24 };
        assert!(link.contains(Addr::v4([10, 77, 0, 1])));
        assert!(!link.contains(Addr::v4([10, 77, 1, 1])));
        let all = Cidr { addr: Addr::v4([10, 77, 0, 10]), prefix_len: 0 };
        assert!(all.contains(Addr::v4([192, 0, 2, 1])));
        let v6: Addr = "2001:db8::1".parse::<core::net::IpAddr>().unwrap().into();
        assert!(!all.contains(v6));
        assert!(Cidr { addr: v6, prefix_len: 128 }.contains(v6));
    }
}
