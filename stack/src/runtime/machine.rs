//! What the machine says about the interfaces, and what the workers make of it and the configuration.

use crate::Error;
use crate::config::{self, Config, interface_key, largest_mtu, mtu_remedy};
use crate::steer::Beside;
use corelane_proto::Mac;
use corelane_proto::endpoint::{EndpointConfig, InterfaceConfig, Sharing};
use corelane_xdp::Interface;
use std::time::Duration;

/// Queues that are served when none is named; more take no frames faster, since each needs frames of its own.
const MAX_QUEUES: u32 = 64;

/// The interfaces as the stack will use them.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// In the order of the configuration.
    pub(super) nics: Vec<Nic>,
    /// How many workers serve them.
    pub(super) workers: usize,
}

/// One interface.
#[derive(Clone, Debug)]
pub(super) struct Nic {
    pub(super) interface: Interface,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
    /// The queues that are served.
    pub(super) queues: Vec<u32>,
}

impl Machine {
    /// Asks the kernel about the interfaces whose queues are opened, and compares.
    pub(super) fn query(config: &Config, besides: &[Beside]) -> Result<Self, Error> {
        let found = besides.iter().map(|beside| Interface::query(beside.device()));
        Self::compare(config, found.collect::<Result<_, _>>()?)
    }

    fn compare(config: &Config, found: Vec<Interface>) -> Result<Self, Error> {
        let settings = (0..).map(interface_key).zip(config.interfaces());
        let nics = settings.zip(found).map(|((key, settings), found)| Nic::compare(config, &key, settings, found));
        let nics: Vec<Nic> = nics.collect::<Result<_, _>>()?;
        let queues = nics.iter().map(|nic| nic.queues.len()).sum::<usize>();
        let workers = config.workers().unwrap_or_else(|| queues.min(super::cores::count()));
        Ok(Self { nics, workers })
    }
}

impl Nic {
    /// `key` is the name of the table of these settings.
    fn compare(config: &Config, key: &str, settings: &config::Interface, interface: Interface) -> Result<Self, Error> {
        let name = || interface.name.clone();
        if !interface.up {
            return Err(Error::InterfaceDown { interface: name() });
        }
        // The interface's own MTU counts, whatever ours: it says what can arrive.
        let largest = largest_mtu(config.memory().frame_size());
        if interface.mtu > largest {
            let remedy = mtu_remedy(largest);
            return Err(Error::MtuTooBig { interface: name(), mtu: interface.mtu, largest, remedy });
        }
        // It fits 16 bits: frames are shorter than that.
        let own = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        let mtu = match settings.mtu() {
            Some(wanted) if wanted > own => {
                let (setting, mtu) = (format!("{key}.mtu"), interface.mtu);
                return Err(Error::MtuAboveInterface { setting, interface: name(), mtu, wanted });
            }
            wanted => wanted.unwrap_or(own),
        };
        let mac = settings.mac().unwrap_or(Mac(interface.mac));
        let queues = match settings.queues() {
            [] => (0..interface.queues.unwrap_or(1).clamp(1, MAX_QUEUES)).collect(),
            named => named.to_vec(),
        };
        Ok(Self { interface, mac, mtu, queues })
    }
}

/// The endpoint of each worker.
pub(super) fn endpoint_config(config: &Config, machine: &Machine) -> EndpointConfig {
    let limits = config.limits();
    let mut interfaces = config.interfaces().zip(&machine.nics).map(|(settings, nic)| InterfaceConfig {
        mac: nic.mac,
        vlan: None,
        mtu: nic.mtu,
        addresses: settings.address().iter().map(|cidr| cidr.to_proto()).collect(),
        sharing: Sharing::Own,
        gateways: settings.gateway().to_vec(),
        routes: Vec::new(),
    });
    let first = interfaces.next().unwrap_or_default();
    let InterfaceConfig { mac, vlan, mtu, addresses, sharing, gateways, routes } = first;
    EndpointConfig {
        mac,
        vlan,
        mtu,
        addresses,
        sharing,
        gateways,
        routes,
        others: interfaces.collect(),
        strong_host: config.steering().strong_host(),
        connections: limits.connections() as usize,
        syn_queue: limits.syn_queue() as usize,
        syn_ack_retries: config.tcp().syn_ack_retries(),
        syn_cookies: config.tcp().syn_cookies().into(),
        quiet_time: Duration::from_millis(config.tcp().quiet_time_ms().into()),
        challenge_acks_per_second: limits.challenge_acks_per_second(),
        fast_open_pending: limits.fast_open_pending() as usize,
        fast_open_servers: limits.fast_open_servers() as usize,
        accept_queue: limits.accept_queue() as usize,
        time_wait: limits.time_wait() as usize,
        msl: config.tcp().to_proto().msl,
        neighbours: limits.neighbours().into(),
        ports: (limits.first_port(), limits.last_port()),
        ports_avoided: Vec::new(),
        replies_per_second: limits.replies_per_second(),
        accept_source_routes: config.tcp().accept_source_routes(),
        // What one device has not done is done for all.
        verify_ip_checksum: config.interfaces().any(config::Interface::verify_ip_checksum),
        verify_tcp_checksum: config.interfaces().any(config::Interface::verify_tcp_checksum),
        low_water_frames: config.memory().low_water_frames() as usize,
        hoarding_after: Duration::from_secs(limits.hoarding_after_s().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> Interface {
        Interface { name: "eth0".into(), index: 2, mac: [2, 0, 0, 0, 0, 9], mtu: 1500, up: true, queues: Some(1) }
    }

    fn config() -> Config {
        Config::builder().interface("eth0").address("10.0.0.2/24").build().unwrap()
    }

    #[test]
    fn the_interfaces_own_mac_and_mtu_are_the_default() {
        let machine = Machine::compare(&config(), vec![interface()]).unwrap();
        assert_eq!((machine.nics[0].mac, machine.nics[0].mtu), (Mac([2, 0, 0, 0, 0, 9]), 1500));
        let small = config().into_builder().set("interface.mtu", 1280).build().unwrap();
        assert_eq!(Machine::compare(&small, vec![interface()]).unwrap().nics[0].mtu, 1280);
    }

    #[test]
    fn all_queues_are_served_by_as_many_workers_as_there_are_cores() {
        let four = || Interface { queues: Some(4), ..interface() };
        let machine = Machine::compare(&config(), vec![four()]).unwrap();
        assert_eq!(
            (machine.nics[0].queues.clone(), machine.workers),
            (vec![0, 1, 2, 3], super::super::cores::count().min(4))
        );
        let named = config().into_builder().queues(&[2, 3]).set("cores.workers", 3).build().unwrap();
        let machine = Machine::compare(&named, vec![four()]).unwrap();
        assert_eq!((machine.nics[0].queues.clone(), machine.workers), (vec![2, 3], 3));
        let silent = Machine::compare(&config(), vec![Interface { queues: None, ..interface() }]).unwrap();
        assert_eq!((silent.nics[0].queues.clone(), silent.workers), (vec![0], 1));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_remedy() {
        let down = Machine::compare(&config(), vec![Interface { up: false, ..interface() }]).unwrap_err();
        assert!(matches!(down, Error::InterfaceDown { .. }));
        let jumbo = Machine::compare(&config(), vec![Interface { mtu: 3000, ..interface() }]).unwrap_err();
        assert!(jumbo.to_string().contains("memory.frame_size = 4096"), "{jumbo}");
        let large = config().into_builder().set("memory.frame_size", 4096).build().unwrap();
        assert!(Machine::compare(&large, vec![Interface { mtu: 3000, ..interface() }]).is_ok());
        let huge = Machine::compare(&large, vec![Interface { mtu: 9000, ..interface() }]).unwrap_err();
        assert!(huge.to_string().contains("an MTU of at most 3822"), "{huge}");
        let above = config().into_builder().set("interface.mtu", 1600).build().unwrap();
        let above = Machine::compare(&above, vec![interface()]).unwrap_err();
        assert!(above.to_string().contains("ip link set dev eth0 mtu 1600"), "{above}");
    }

    #[test]
    fn each_of_several_interfaces_has_its_own_settings() {
        let two = config().into_builder().another_interface("eth1").address("10.0.1.2/24").queues(&[1]);
        let two = two.set("interface[1].mtu", 1280).set("cores.workers", 2).build().unwrap();
        let eth1 = || Interface { name: "eth1".into(), mac: [2, 0, 0, 0, 0, 8], queues: Some(4), ..interface() };
        let machine = Machine::compare(&two, vec![interface(), eth1()]).unwrap();
        let endpoint = endpoint_config(&two, &machine);
        assert_eq!((endpoint.mac, endpoint.mtu, endpoint.others.len()), (Mac([2, 0, 0, 0, 0, 9]), 1500, 1));
        let other = &endpoint.others[0];
        assert_eq!((other.mac, other.mtu, other.addresses.len()), (Mac([2, 0, 0, 0, 0, 8]), 1280, 1));
        assert_eq!(machine.nics[1].queues, [1]);
        let wrong = two.into_builder().set("interface[1].mtu", 1700).build().unwrap();
        let error = Machine::compare(&wrong, vec![interface(), eth1()]).unwrap_err();
        assert!(error.to_string().starts_with("interface[1].mtu is 1700, above the 1500 of eth1"), "{error}");
    }

    #[test]
    fn the_endpoints_defaults_are_the_configurations() {
        let endpoint = endpoint_config(&config(), &Machine::compare(&config(), vec![interface()]).unwrap());
        let default =
            EndpointConfig { mac: endpoint.mac, addresses: endpoint.addresses.clone(), ..EndpointConfig::default() };
        assert_eq!(format!("{endpoint:?}"), format!("{default:?}"));
    }
}
