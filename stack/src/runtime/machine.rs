//! What the machine says about the interface, and what the workers make of it and the configuration.

use crate::Error;
use crate::config::{Config, largest_mtu, mtu_remedy};
use corelane_proto::Mac;
use corelane_proto::endpoint::{EndpointConfig, Sharing};
use corelane_xdp::Interface;
use std::time::Duration;

/// Queues that are served when none is named; more take no frames faster, since each needs frames of its own.
const MAX_QUEUES: u32 = 64;

/// The interface as the stack will use it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) interface: Interface,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
    /// The queues that are served.
    pub(super) queues: Vec<u32>,
    /// How many workers serve them.
    pub(super) workers: usize,
}

impl Machine {
    /// Asks the kernel about the interface `device` and compares.
    pub(super) fn query(config: &Config, device: &str) -> Result<Self, Error> {
        Self::compare(config, Interface::query(device)?)
    }

    fn compare(config: &Config, interface: Interface) -> Result<Self, Error> {
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
        let mtu = match config.interface().mtu() {
            Some(wanted) if wanted > own => {
                return Err(Error::MtuAboveInterface { interface: name(), mtu: interface.mtu, wanted });
            }
            wanted => wanted.unwrap_or(own),
        };
        let mac = config.interface().mac().unwrap_or(Mac(interface.mac));
        let queues = match config.interface().queues() {
            [] => (0..interface.queues.unwrap_or(1).clamp(1, MAX_QUEUES)).collect(),
            named => named.to_vec(),
        };
        let workers = config.workers().unwrap_or_else(|| queues.len().min(super::cores::count()));
        Ok(Self { interface, mac, mtu, queues, workers })
    }
}

/// The endpoint of each worker.
pub(super) fn endpoint_config(config: &Config, machine: &Machine) -> EndpointConfig {
    let limits = config.limits();
    EndpointConfig {
        mac: machine.mac,
        vlan: None,
        mtu: machine.mtu,
        addresses: config.interface().address().iter().map(|cidr| cidr.to_proto()).collect(),
        sharing: Sharing::Own,
        gateways: config.interface().gateway().to_vec(),
        routes: Vec::new(),
        others: Vec::new(),
        strong_host: false,
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
        verify_ip_checksum: config.interface().verify_ip_checksum(),
        verify_tcp_checksum: config.interface().verify_tcp_checksum(),
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
        let machine = Machine::compare(&config(), interface()).unwrap();
        assert_eq!((machine.mac, machine.mtu), (Mac([2, 0, 0, 0, 0, 9]), 1500));
        let small = config().into_builder().set("interface.mtu", 1280).build().unwrap();
        assert_eq!(Machine::compare(&small, interface()).unwrap().mtu, 1280);
    }

    #[test]
    fn all_queues_are_served_by_as_many_workers_as_there_are_cores() {
        let four = || Interface { queues: Some(4), ..interface() };
        let machine = Machine::compare(&config(), four()).unwrap();
        assert_eq!((machine.queues, machine.workers), (vec![0, 1, 2, 3], super::super::cores::count().min(4)));
        let named = config().into_builder().queues(&[2, 3]).set("cores.workers", 3).build().unwrap();
        let machine = Machine::compare(&named, four()).unwrap();
        assert_eq!((machine.queues, machine.workers), (vec![2, 3], 3));
        let silent = Machine::compare(&config(), Interface { queues: None, ..interface() }).unwrap();
        assert_eq!((silent.queues, silent.workers), (vec![0], 1));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_a_remedy() {
        let down = Machine::compare(&config(), Interface { up: false, ..interface() }).unwrap_err();
        assert!(matches!(down, Error::InterfaceDown { .. }));
        let jumbo = Machine::compare(&config(), Interface { mtu: 3000, ..interface() }).unwrap_err();
        assert!(jumbo.to_string().contains("memory.frame_size = 4096"), "{jumbo}");
        let large = config().into_builder().set("memory.frame_size", 4096).build().unwrap();
        assert!(Machine::compare(&large, Interface { mtu: 3000, ..interface() }).is_ok());
        let huge = Machine::compare(&large, Interface { mtu: 9000, ..interface() }).unwrap_err();
        assert!(huge.to_string().contains("an MTU of at most 3822"), "{huge}");
        let above = config().into_builder().set("interface.mtu", 1600).build().unwrap();
        let above = Machine::compare(&above, interface()).unwrap_err();
        assert!(above.to_string().contains("ip link set dev eth0 mtu 1600"), "{above}");
    }

    #[test]
    fn an_interface_that_is_not_there_is_the_machines_fault() {
        assert_eq!(Machine::query(&config(), "no-such-if0").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn the_endpoints_defaults_are_the_configurations() {
        let endpoint = endpoint_config(&config(), &Machine::compare(&config(), interface()).unwrap());
        let default =
            EndpointConfig { mac: endpoint.mac, addresses: endpoint.addresses.clone(), ..EndpointConfig::default() };
        assert_eq!(format!("{endpoint:?}"), format!("{default:?}"));
    }
}
