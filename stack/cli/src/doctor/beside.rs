//! Judgements about how the stack gets along with the kernel on the same interface: addresses, listeners, ports.

use super::{Check, Needs};
use corelane::SocketAddr;
use corelane::config::Interface;
use corelane::steer::listeners::{ListenerConflict, conflict};
use corelane::steer::mirror::{Link, kernel_addresses, kernel_links};
use corelane::steer::ports::{KernelPorts, PortPlan, PortSource};
use corelane::steer::{Identity, Sharing, SharingError};

/// Fewest ports of outgoing connections that are no reason to warn.
const FEW: u32 = 1024;

/// What the kernel has of what the stack wants. What could not be seen is the error, in words.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) identity: Result<Identity, SharingError>,
    /// Listeners of the kernel in the way of the ports that were asked about.
    pub(super) conflicts: Result<Vec<ListenerConflict>, String>,
    pub(super) ports: Result<KernelPorts, String>,
}

impl Beside {
    /// Looks for what `settings` want of their interface, where `ports` are to be listened on; `None` when there is no such
    /// interface, or the kernel does not say.
    pub(super) fn look(settings: &Interface, ports: &[u16]) -> Option<Self> {
        let (links, addresses) = (kernel_links().ok()?, kernel_addresses().ok()?);
        let index = links.iter().find(|link: &&Link| link.name == settings.name())?.index;
        let identity = Identity::decide(settings, &links, &addresses);
        let conflicts = match &identity {
            Ok(identity) => conflicts(identity, index, ports),
            Err(_) => Ok(Vec::new()),
        };
        Some(Self { identity, conflicts, ports: KernelPorts::read().map_err(|error| error.to_string()) })
    }
}

fn conflicts(identity: &Identity, index: u32, ports: &[u16]) -> Result<Vec<ListenerConflict>, String> {
    let mut found = Vec::new();
    for &port in ports {
        for cidr in &identity.addresses {
            let wanted = SocketAddr::new(cidr.addr, port);
            // One finding a port says enough.
            if let Some(conflict) = conflict(wanted, index).map_err(|error| error.to_string())? {
                found.push(conflict);
                break;
            }
        }
    }
    Ok(found)
}

/// Every check of this, in the order in which they are shown.
pub(super) fn all(seen: &Beside, needs: &Needs) -> Vec<Check> {
    let mut checks = vec![address(seen, needs)];
    if let Ok(identity) = &seen.identity {
        checks.push(listeners(seen, needs));
        checks.push(ports(seen, needs, identity.sharing));
    }
    checks
}

/// An error's sentence, cut where the remedy begins.
fn parted(sentence: &str) -> (String, String) {
    let (what, remedy) = sentence.split_once(": ").unwrap_or((sentence, "see the configuration's documentation"));
    (what.to_owned(), remedy.to_owned())
}

fn address(seen: &Beside, needs: &Needs) -> Check {
    let name = "address";
    match &seen.identity {
        Ok(identity) => {
            let list: Vec<String> = identity.addresses.iter().map(|cidr| cidr.addr.to_string()).collect();
            let list = list.join(", ");
            Check::ok(
                name,
                match identity.sharing {
                    Sharing::Shared => format!("shared with the kernel: {list}"),
                    Sharing::Own => format!("the stack's own, which the kernel does not have: {list}"),
                },
            )
        }
        Err(error) => {
            let (what, remedy) = parted(&error.to_string());
            // Without a configuration nobody has said yet what the addresses are to be.
            let unsaid = !needs.configured && matches!(error, SharingError::NothingToShare { .. });
            if unsaid { Check::warn(name, what, remedy) } else { Check::fail(name, what, remedy) }
        }
    }
}

fn listeners(seen: &Beside, needs: &Needs) -> Check {
    let name = "listeners";
    match &seen.conflicts {
        Err(error) => Check::warn(name, format!("the kernel's could not be seen: {error}"), "look with `ss -tlnp`"),
        Ok(_) if needs.ports.is_empty() => {
            Check::ok(name, "no port was asked about; --port says which are to be listened on")
        }
        Ok(found) => match found.first() {
            None => {
                let list: Vec<String> = needs.ports.iter().map(u16::to_string).collect();
                Check::ok(name, format!("the kernel does not listen on {}", list.join(", ")))
            }
            Some(first) => {
                let holder = first.holder.as_ref().map_or_else(|| "another program".to_owned(), ToString::to_string);
                let message =
                    format!("{holder} listens on {} in the kernel, in the way of {}", first.held, first.wanted);
                Check::fail(
                    name,
                    message,
                    format!(
                        "stop it (`ss -tlnp sport = :{}` shows it), or choose another port or address",
                        first.wanted.port
                    ),
                )
            }
        },
    }
}

fn ports(seen: &Beside, needs: &Needs, sharing: Sharing) -> Check {
    let name = "ports";
    let kernel = match (&seen.ports, sharing) {
        (_, Sharing::Own) => {
            let (first, last) = needs.outgoing;
            return Check::ok(name, format!("outgoing connections have {first}-{last} of the stack's own addresses"));
        }
        (Err(error), Sharing::Shared) => {
            return Check::warn(name, error.clone(), "look at `sysctl net.ipv4.ip_local_port_range`");
        }
        (Ok(kernel), Sharing::Shared) => kernel,
    };
    let remedy = "set interface.reserve_ports = true, or reserve some with net.ipv4.ip_local_reserved_ports";
    let Some(plan) = PortPlan::shared(needs.outgoing, kernel, &[], needs.reserve_ports) else {
        return Check::warn(name, "the kernel leaves no ports to outgoing connections", remedy);
    };
    let (first, last) = plan.range;
    let message = match plan.source {
        PortSource::ToBeReserved => format!("outgoing connections have {first}-{last}, which are reserved at start"),
        PortSource::Reserved => format!("outgoing connections have {first}-{last}, which are reserved"),
        PortSource::Configured | PortSource::OutsideKernelRange => {
            format!("outgoing connections have {first}-{last}, which the kernel does not choose")
        }
    };
    if u32::from(last - first) + 1 < FEW { Check::warn(name, message, remedy) } else { Check::ok(name, message) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::doctor::checks::tests::needs;
    use corelane::Addr;
    use corelane::steer::Cidr;
    use corelane::steer::listeners::Holder;

    /// A kernel with one address and nothing in the way.
    pub(in super::super) fn good() -> Beside {
        let addresses = vec![Cidr { addr: Addr::v4([10, 0, 0, 1]), prefix_len: 24 }];
        Beside {
            identity: Ok(Identity { sharing: Sharing::Shared, addresses }),
            conflicts: Ok(Vec::new()),
            ports: Ok(KernelPorts { range: (32_768, 60_999), reserved: "".parse().expect("no ports") }),
        }
    }

    fn levels(seen: &Beside, needs: &Needs) -> Vec<(&'static str, Level)> {
        all(seen, needs).iter().map(|check| (check.name, check.level)).collect()
    }

    #[test]
    fn a_shared_and_an_own_address_are_fine() {
        let checks = all(&good(), &needs());
        assert!(checks.iter().all(|check| check.level == Level::Ok), "{checks:?}");
        assert_eq!(checks[0].message, "shared with the kernel: 10.0.0.1");
        assert!(checks[2].message.contains("61000-65535, which the kernel does not choose"), "{checks:?}");
        let mut own = good();
        own.identity.as_mut().expect("good").sharing = Sharing::Own;
        let checks = all(&own, &needs());
        assert!(checks[2].message.contains("32768-60999"), "{checks:?}");
    }

    #[test]
    fn a_contradiction_fails_with_its_remedy() {
        let nothing = SharingError::NothingToShare { interface: "eth0".into() };
        let seen = Beside { identity: Err(nothing), ..good() };
        assert_eq!(levels(&seen, &needs()), [("address", Level::Warn)], "nobody has said anything");
        let needs = Needs { configured: true, ..needs() };
        assert_eq!(levels(&seen, &needs), [("address", Level::Fail)]);
        let remedy = all(&seen, &needs)[0].remedy.clone();
        assert!(remedy.is_some_and(|remedy| remedy.contains("ip addr add")));
    }

    #[test]
    fn a_listener_in_the_way_is_named() {
        let at = |port| SocketAddr::new(Addr::v4([10, 0, 0, 1]), port);
        let holder = Some(Holder { pid: 812, name: "sshd".into() });
        let in_the_way = ListenerConflict { wanted: at(22), held: at(22), holder };
        let needs = Needs { ports: vec![22], ..needs() };
        let check = listeners(&Beside { conflicts: Ok(vec![in_the_way]), ..good() }, &needs);
        assert_eq!(check.level, Level::Fail);
        assert!(check.message.contains("sshd (pid 812)"), "{}", check.message);
        assert_eq!(listeners(&good(), &needs).level, Level::Ok);
    }

    #[test]
    fn few_ports_are_a_warning() {
        let of = |range, reserved: &str| {
            let kernel = KernelPorts { range, reserved: reserved.parse().expect("ports") };
            ports(&Beside { ports: Ok(kernel), ..good() }, &needs(), Sharing::Shared).level
        };
        assert_eq!(of((1024, 65_535), ""), Level::Warn);
        assert_eq!(of((1024, 65_535), "50000-50009"), Level::Warn);
        assert_eq!(of((1024, 65_535), "50000-59999"), Level::Ok);
        let reserving = Needs { reserve_ports: true, ..needs() };
        let check = ports(&good(), &reserving, Sharing::Shared);
        assert!(check.message.contains("46884-60999, which are reserved at start"), "{}", check.message);
    }
}
