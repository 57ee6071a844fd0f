//! An address with the length of its network's prefix.

use corelane_proto::Addr;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host's address and the prefix of its network, written as `10.0.0.2/24`. Always a unicast address, and never the
/// network's own or its broadcast address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr(corelane_proto::endpoint::Cidr);

impl Cidr {
    /// The address.
    pub const fn addr(&self) -> Addr {
        self.0.addr
    }

    /// Length of the prefix, bits: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub const fn prefix_len(&self) -> u8 {
        self.0.prefix_len
    }

    /// The same as the protocol takes it.
    pub const fn to_proto(self) -> corelane_proto::endpoint::Cidr {
        self.0
    }

    /// Whether `other` lies in the same network.
    pub fn contains(&self, other: Addr) -> bool {
        self.0.contains(other)
    }

    /// Whether `other` is the network's broadcast address, or the network itself (RFC 1122 3.2.1.3).
    pub fn is_edge(&self, other: Addr) -> bool {
        let (Some(_), Some(octets)) = (self.0.addr.as_v4(), other.as_v4()) else { return false };
        if self.0.prefix_len >= 31 || !self.contains(other) {
            return false;
        }
        let host = u32::from_be_bytes(octets) << self.0.prefix_len;
        host == 0 || host >> self.0.prefix_len == u32::MAX >> self.0.prefix_len
    }
}

/// Why a text is no [`Cidr`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotACidr;

impl fmt::Display for NotACidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no unicast address with its prefix length: write it like 10.0.0.2/24")
    }
}

impl std::error::Error for NotACidr {}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (addr, prefix_len) = text.split_once('/').ok_or(NotACidr)?;
        let addr = Addr::from(addr.parse::<IpAddr>().map_err(|_| NotACidr)?);
        let prefix_len = prefix_len.parse().map_err(|_| NotACidr)?;
        let longest = if addr.is_v4() { 32 } else { 128 };
        let cidr = Self(corelane_proto::endpoint::Cidr { addr, prefix_len });
        if prefix_len > longest || !addr.is_unicast() || cidr.is_edge(addr) { Err(NotACidr) } else { Ok(cidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.addr, self.0.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let net: Cidr = "10.1.2.3/22".parse().unwrap();
        assert_eq!(net.to_string(), "10.1.2.3/22");
        assert!(net.contains(addr("10.1.0.1")) && net.contains(addr("10.1.3.254")));
        assert!(!net.contains(addr("10.1.4.1")) && !net.contains(addr("2001:db8::1")));
        assert!(net.is_edge(addr("10.1.3.255")) && net.is_edge(addr("10.1.0.0")) && !net.is_edge(addr("10.1.1.0")));
        let all: Cidr = "10.1.2.3/0".parse().unwrap();
        assert!(all.contains(addr("192.0.2.1")) && !all.contains(addr("2001:db8::1")));
        let v6: Cidr = "2001:db8::1/64".parse().unwrap();
        assert!(v6.contains(addr("2001:db8::ffff")) && !v6.contains(addr("2001:db8:1::1")));
    }

    #[test]
    fn what_is_no_host_address_is_refused() {
        for bad in ["", "10.0.0.1", "10.0.0.1/33", "10.0.0.255/24", "10.0.0.0/24", "224.0.0.1/4", "::1/129", "x/8"] {
            assert_eq!(bad.parse::<Cidr>(), Err(NotACidr), "{bad}");
        }
        for good in ["10.0.0.0/31", "10.0.0.1/32", "fe80::1/64"] {
            assert!(good.parse::<Cidr>().is_ok(), "{good}");
        }
    }
}
