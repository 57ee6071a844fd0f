//! Whose the addresses of the stack are: its own, or the kernel's that it shares.

use super::kernel::{KernelAddress, Link};
use crate::config::{Interface, Sharing as Wanted};
use corelane_proto::Addr;
use corelane_proto::endpoint::{Cidr, Sharing};

/// What the stack is on one interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Whether the kernel has the addresses too.
    pub sharing: Sharing,
    /// The addresses, with the kernel's prefixes where they are shared.
    pub addresses: Vec<Cidr>,
}

/// Configuration and kernel contradict each other.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SharingError {
    /// Nothing to share.
    #[error(
        "the kernel has no address on {interface} that could be shared: give it one with `ip addr add ADDRESS/PREFIX dev {interface}`, or set interface.address to one for the stack alone"
    )]
    NothingToShare {
        /// The interface.
        interface: String,
    },
    /// An address of one's own without an address.
    #[error(
        "interface.sharing is \"own\" for {interface}, and its interface.address is empty: set it to an address that the kernel does not have, such as 10.0.0.2/24"
    )]
    NothingOwn {
        /// The interface.
        interface: String,
    },
    /// One that was to be shared is not the kernel's.
    #[error(
        "{addr} is not an address of the kernel on {interface}, and interface.sharing is \"shared\": add it with `ip addr add {addr}/{prefix_len} dev {interface}`, or set interface.sharing = \"own\""
    )]
    NotTheKernels {
        /// The address.
        addr: Addr,
        /// Its prefix.
        prefix_len: u8,
        /// The interface.
        interface: String,
    },
    /// One that was to be ours is the kernel's.
    #[error(
        "{addr} is an address of the kernel on {holder}, and interface.sharing is \"own\": both would answer for it; take it away with `ip addr del {addr}/{prefix_len} dev {holder}`, or set interface.sharing = \"shared\""
    )]
    TheKernels {
        /// The address.
        addr: Addr,
        /// The kernel's prefix.
        prefix_len: u8,
        /// The interface that has it.
        holder: String,
    },
    /// It is the kernel's on another interface.
    #[error(
        "{addr} is an address of the kernel on {holder}, not on {interface}: name that interface, or another address"
    )]
    Elsewhere {
        /// The address.
        addr: Addr,
        /// The interface that has it.
        holder: String,
        /// The configured one.
        interface: String,
    },
    /// Some are the kernel's and some are not.
    #[error(
        "of interface.address {shared} is the kernel's and {own} is not: leave one of them out, for the stack either shares all its addresses on {interface} or none"
    )]
    Mixed {
        /// One that the kernel has.
        shared: Addr,
        /// One that it does not have.
        own: Addr,
        /// The interface.
        interface: String,
    },
    /// Routers beside the kernel's.
    #[error(
        "interface.gateway is set, but the addresses on {interface} are the kernel's and so are the routes: leave it out, and set the route with `ip route`"
    )]
    Gateway {
        /// The interface.
        interface: String,
    },
}

impl Identity {
    /// What the settings of an interface ask for, as far as it goes with the kernel's addresses `all`; `links` are
    /// the kernel's interfaces.
    ///
    /// # Errors
    /// See [`SharingError`].
    pub fn decide(settings: &Interface, links: &[Link], all: &[KernelAddress]) -> Result<Self, SharingError> {
        let interface = || settings.name().to_owned();
        let index = links.iter().find(|link| link.name == settings.name()).map(|link| link.index);
        let here: Vec<Cidr> =
            all.iter().filter(|address| Some(address.interface) == index).map(|address| address.cidr).collect();
        let configured = settings.address();
        let identity = if configured.is_empty() {
            if settings.sharing() == Wanted::Own {
                return Err(SharingError::NothingOwn { interface: interface() });
            }
            if here.is_empty() {
                return Err(SharingError::NothingToShare { interface: interface() });
            }
            Self { sharing: Sharing::Shared, addresses: here }
        } else {
            let configured: Vec<Cidr> = configured.iter().map(|cidr| cidr.to_proto()).collect();
            named(settings.sharing(), &interface(), &configured, &here, |addr| {
                let holder = all.iter().find(|address| address.cidr.addr == addr)?;
                let name = links.iter().find(|link| link.index == holder.interface).map(|link| link.name.clone());
                Some((name.unwrap_or_else(|| format!("interface {}", holder.interface)), holder.cidr.prefix_len))
            })?
        };
        if identity.sharing == Sharing::Shared && !settings.gateway().is_empty() {
            return Err(SharingError::Gateway { interface: interface() });
        }
        Ok(identity)
    }
}

/// With addresses in the configuration. `holder` gives the interface that has an address in the kernel, and the prefix.
fn named(
    wanted: Wanted,
    interface: &str,
    configured: &[Cidr],
    here: &[Cidr],
    holder: impl Fn(Addr) -> Option<(String, u8)>,
) -> Result<Identity, SharingError> {
    let theirs = |cidr: &&Cidr| here.iter().find(|known| known.addr == cidr.addr).copied();
    let addresses: Vec<Cidr> = configured.iter().filter_map(|cidr| theirs(&cidr)).collect();
    let not_here = configured.iter().find(|cidr| theirs(cidr).is_none());
    match wanted {
        Wanted::Own => {
            if let Some((cidr, (holder, prefix_len))) =
                configured.iter().find_map(|cidr| Some((cidr, holder(cidr.addr)?)))
            {
                return Err(SharingError::TheKernels { addr: cidr.addr, prefix_len, holder });
            }
        }
        Wanted::Shared | Wanted::Auto => {
            if let Some((addr, (holder, _))) = not_here.and_then(|cidr| Some((cidr.addr, holder(cidr.addr)?))) {
                return Err(SharingError::Elsewhere { addr, holder, interface: interface.to_owned() });
            }
        }
    }
    match (not_here, addresses.first()) {
        (None, _) => Ok(Identity { sharing: Sharing::Shared, addresses }),
        (Some(own), Some(shared)) if wanted == Wanted::Auto => {
            Err(SharingError::Mixed { shared: shared.addr, own: own.addr, interface: interface.to_owned() })
        }
        (Some(cidr), _) if wanted == Wanted::Shared => Err(SharingError::NotTheKernels {
            addr: cidr.addr,
            prefix_len: cidr.prefix_len,
            interface: interface.to_owned(),
        }),
        (Some(_), _) => Ok(Identity { sharing: Sharing::Own, addresses: configured.to_vec() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn cidr(text: &str) -> Cidr {
        text.parse::<crate::config::Cidr>().unwrap().to_proto()
    }

    /// What comes of these settings where eth0 has 10.0.0.1/24 and `2001:db8::1/64`, and eth1 has 10.1.0.1/16.
    fn decide(sharing: &str, address: &[&str]) -> Result<Identity, SharingError> {
        let link = |index, name: &str| Link { index, name: name.into(), mac: None, mtu: 1500, up: true, vlan: None };
        let kernel = [(2, "10.0.0.1/24"), (2, "2001:db8::1/64"), (3, "10.1.0.1/16")]
            .map(|(interface, text)| KernelAddress { interface, cidr: cidr(text) });
        let mut config = Config::builder().interface("eth0").set("interface.sharing", sharing);
        for text in address {
            config = config.address(text);
        }
        Identity::decide(config.build().unwrap().interface(), &[link(2, "eth0"), link(3, "eth1")], &kernel)
    }

    #[test]
    fn without_an_address_the_kernels_are_shared() {
        let all = Identity { sharing: Sharing::Shared, addresses: vec![cidr("10.0.0.1/24"), cidr("2001:db8::1/64")] };
        assert_eq!(decide("auto", &[]), Ok(all.clone()));
        assert_eq!(decide("shared", &[]), Ok(all));
        assert_eq!(decide("own", &[]), Err(SharingError::NothingOwn { interface: "eth0".into() }));
    }

    #[test]
    fn an_address_tells_whose_it_is() {
        let shared = Identity { sharing: Sharing::Shared, addresses: vec![cidr("10.0.0.1/24")] };
        assert_eq!(decide("auto", &["10.0.0.1/8"]), Ok(shared), "with the kernel's prefix");
        let own = Identity { sharing: Sharing::Own, addresses: vec![cidr("10.0.0.10/24")] };
        assert_eq!(decide("auto", &["10.0.0.10/24"]), Ok(own.clone()));
        assert_eq!(decide("own", &["10.0.0.10/24"]), Ok(own));
    }

    #[test]
    fn contradictions_name_the_address_and_the_remedy() {
        for (sharing, address, parts) in [
            ("own", &["10.0.0.1/24"][..], ["10.0.0.1 is an address of the kernel on eth0", "ip addr del 10.0.0.1/24"]),
            ("own", &["10.1.0.1/24"], ["10.1.0.1 is an address of the kernel on eth1", "ip addr del 10.1.0.1/16"]),
            ("auto", &["10.1.0.1/24"], ["on eth1, not on eth0", "name that interface"]),
            ("shared", &["10.0.0.9/24"], ["10.0.0.9 is not an address", "ip addr add 10.0.0.9/24 dev eth0"]),
            ("auto", &["10.0.0.1/24", "10.0.0.9/24"], ["10.0.0.1 is the kernel's", "10.0.0.9 is not"]),
        ] {
            let error = decide(sharing, address).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn what_the_kernel_routes_needs_no_gateway_of_ours() {
        let config = Config::builder().interface("eth0").address("10.0.0.1/24");
        let config = config.set("interface.gateway", vec!["10.0.0.254"]).build().unwrap();
        let link = Link { index: 2, name: "eth0".into(), mac: None, mtu: 1500, up: true, vlan: None };
        let kernel = [KernelAddress { interface: 2, cidr: cidr("10.0.0.1/24") }];
        let error = Identity::decide(config.interface(), std::slice::from_ref(&link), &kernel).unwrap_err();
        assert_eq!(error, SharingError::Gateway { interface: "eth0".into() });
        let none = Config::builder().interface("eth0").build().unwrap();
        let error = Identity::decide(none.interface(), &[link], &[]).unwrap_err();
        assert!(matches!(error, SharingError::NothingToShare { .. }));
    }
}
