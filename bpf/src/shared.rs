//! The Rust side of `shared.h`: what the program and its loader agree on.

use std::net::{IpAddr, SocketAddr};

use zerocopy::{Immutable, IntoBytes};

/// How many (address, port) pairs can be registered on one interface.
pub const MAX_LISTENERS: u32 = 65_536;
/// How many own addresses one interface can have.
pub const MAX_OWN_ADDRESSES: u32 = 256;
/// How many sockets one interface can have: queues times sockets per queue.
pub const MAX_SOCKETS: u32 = 4096;
/// How many buckets the table of owners can have.
pub const MAX_BUCKETS: u32 = 4096;
/// The most that [`Setup::max_flows`](crate::Setup::max_flows) and [`Setup::max_pinned`](crate::Setup::max_pinned) can
/// ask for.
pub const MAX_FLOWS: u32 = 4_194_304;

/// `vlan` of `struct settings`: whatever tag a packet has.
pub(crate) const ANY_VLAN: u32 = 65_535;

/// `struct address`: network order, IPv4 in its IPv4-mapped form (RFC 4291 2.5.5.2).
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C, align(4))]
pub(crate) struct Address([u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// `struct end`: of TCP.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct End {
    address: Address,
    port: [u8; 2],
    protocol: u8,
    reserved: u8,
}

impl From<SocketAddr> for End {
    fn from(end: SocketAddr) -> Self {
        const IPPROTO_TCP: u8 = 6;
        Self { address: end.ip().into(), port: end.port().to_be_bytes(), protocol: IPPROTO_TCP, reserved: 0 }
    }
}

/// `struct flow`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Flow {
    pub(crate) local: End,
    pub(crate) remote: End,
}

/// `struct settings`.
#[derive(Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Settings {
    pub(crate) hash_key: [u64; 2],
    pub(crate) base_queue: u32,
    pub(crate) queues: u32,
    pub(crate) sockets_per_queue: u32,
    pub(crate) bucket_mask: u32,
    pub(crate) vlan: u32,
    pub(crate) reserved: u32,
}

/// `struct in_use`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct InUse {
    pub(crate) flows: u32,
    pub(crate) pinned: u32,
    pub(crate) own_addresses: u32,
    pub(crate) relayed: u32,
    pub(crate) holding: u32,
}

const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<End>() == 20);
const _: () = assert!(size_of::<Flow>() == 40);
const _: () = assert!(size_of::<Settings>() == 40);
const _: () = assert!(size_of::<InUse>() == 20);

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("shared.h");

    fn defined(name: &str) -> u32 {
        let line = HEADER.lines().find(|line| line.starts_with(&format!("#define {name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// The fields of a struct of the header, in its order.
    fn fields(name: &str) -> Vec<String> {
        let body = HEADER.split_once(&format!("struct {name} {{")).unwrap().1.split_once('}').unwrap().0;
        let declared = body.lines().filter_map(|line| line.split_once(';')).map(|(declared, _)| declared);
        declared.map(|field| field.rsplit(' ').next().unwrap().split('[').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn bounds_are_those_of_the_program() {
        assert_eq!(MAX_LISTENERS, defined("MAX_LISTENERS"));
        assert_eq!(MAX_OWN_ADDRESSES, defined("MAX_OWN_ADDRESSES"));
        assert_eq!(MAX_SOCKETS, defined("MAX_SOCKETS"));
        assert_eq!(MAX_BUCKETS, defined("MAX_BUCKETS"));
        assert_eq!(MAX_FLOWS, defined("MAX_FLOWS"));
        assert_eq!(ANY_VLAN, defined("ANY_VLAN"));
    }

    #[test]
    fn a_flow_is_laid_out_as_in_the_header() {
        let end = |text: &str| End::from(text.parse::<SocketAddr>().unwrap());
        let local = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3, 0x1f, 0x90, 6, 0];
        assert_eq!(end("10.1.2.3:8080").as_bytes(), local);
        let flow = Flow { local: end("10.1.2.3:8080"), remote: end("[2001:db8::1]:1") };
        assert_eq!(flow.as_bytes()[..20], local);
        assert_eq!(flow.as_bytes()[20..], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 6, 0]);
        assert_eq!(fields("flow"), ["local", "remote"]);
        assert_eq!(fields("end"), ["address", "port", "protocol", "reserved"]);
    }

    #[test]
    fn settings_and_counts_are_in_the_order_of_the_header() {
        let settings = Settings {
            hash_key: [0, 1],
            base_queue: 2,
            queues: 3,
            sockets_per_queue: 4,
            bucket_mask: 5,
            vlan: 6,
            reserved: 7,
        };
        let words = [0_u32, 0, 1, 0, 2, 3, 4, 5, 6, 7].map(u32::to_ne_bytes);
        assert_eq!(settings.as_bytes(), words.as_flattened());
        let names = ["hash_key", "base_queue", "queues", "sockets_per_queue", "bucket_mask", "vlan", "reserved"];
        assert_eq!(fields("settings"), names);
        let in_use = InUse { flows: 1, pinned: 2, own_addresses: 3, relayed: 4, holding: 5 };
        assert_eq!(in_use.as_bytes(), [1_u32, 2, 3, 4, 5].map(u32::to_ne_bytes).as_flattened());
        assert_eq!(fields("in_use"), ["flows", "pinned", "own_addresses", "relayed", "holding"]);
    }

    #[test]
    fn an_ipv4_address_and_its_mapped_form_are_one() {
        let plain = Address::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let mapped = Address::from("::ffff:192.0.2.1".parse::<IpAddr>().unwrap());
        assert_eq!(plain.as_bytes(), mapped.as_bytes());
    }
}
