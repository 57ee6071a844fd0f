//! Addresses: one type for IPv4 and IPv6, so that tables, keys and hashes are written once.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address in 16 bytes; IPv4 is held as its IPv4-mapped form (RFC 4291 2.5.5.2).
///
/// A mapped address never comes from the wire as IPv6 (the parser drops it), so the two families cannot be confused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr([u8; 16]);

impl Addr {
    /// The address from its four bytes in network order.
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The address from its sixteen bytes in network order.
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// Whether this is an IPv4 address.
    pub const fn is_v4(&self) -> bool {
        self.as_v4().is_some()
    }

    /// The four bytes of an IPv4 address; `None` for IPv6.
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }

    /// All sixteen bytes; IPv4 in mapped form.
    pub const fn octets(&self) -> [u8; 16] {
        self.0
    }

    /// Whether it is 0.0.0.0 or ::.
    pub fn is_unspecified(&self) -> bool {
        IpAddr::from(*self).is_unspecified()
    }

    /// Whether it is a multicast address of either family.
    pub fn is_multicast(&self) -> bool {
        IpAddr::from(*self).is_multicast()
    }

    /// Whether it means something on one link only: 169.254.0.0/16 (RFC 3927) or `fe80::/10` (RFC 4291 2.5.6).
    pub fn is_link_local(&self) -> bool {
        match IpAddr::from(*self) {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
    }

    /// Whether a TCP segment may come from or go to it: neither unspecified, multicast nor the limited broadcast
    /// (RFC 9293 3.9.2.3, MUST-57).
    pub fn is_unicast(&self) -> bool {
        !self.is_unspecified() && !self.is_multicast() && self.as_v4() != Some([255; 4])
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        addr.as_v4().map_or_else(|| Self::V6(Ipv6Addr::from(addr.0)), |v4| Self::V4(Ipv4Addr::from(v4)))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address and a TCP port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketAddr {
    /// The address.
    pub addr: Addr,
    /// The port, in host order.
    pub port: u16,
}

impl SocketAddr {
    /// The pair of `addr` and `port`.
    pub const fn new(addr: Addr, port: u16) -> Self {
        Self { addr, port }
    }
}

impl From<core::net::SocketAddr> for SocketAddr {
    fn from(std: core::net::SocketAddr) -> Self {
        Self::new(std.ip().into(), std.port())
    }
}

impl From<SocketAddr> for core::net::SocketAddr {
    fn from(own: SocketAddr) -> Self {
        Self::new(own.addr.into(), own.port)
    }
}

impl fmt::Display for SocketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::SocketAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for SocketAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Both ends of a connection: the key of the connection table (RFC 9293 3.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flow {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether the group bit is set: broadcast or multicast.
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn one_type_holds_both_families() {
        let v4 = Addr::v4([192, 0, 2, 1]);
        assert_eq!(v4.to_string(), "192.0.2.1");
        assert_eq!(v4.as_v4(), Some([192, 0, 2, 1]));
        let v6 = Addr::from("2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(v6.to_string(), "2001:db8::1");
        assert!(!v6.is_v4());
    }

    #[test]
    fn only_unicast_may_hold_a_connection() {
        for bad in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            assert!(!Addr::from(bad.parse::<IpAddr>().unwrap()).is_unicast(), "{bad}");
        }
        assert!(Addr::v4([10, 0, 0, 1]).is_unicast());
    }
}
