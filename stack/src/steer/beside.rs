//! Everything that a stack has to settle with the kernel before it begins, and to follow while it runs.

use super::listeners::{KernelListener, conflict, kernel_listeners};
use super::mirror::{Change, Link, Mirror, Vlan, kernel_addresses, kernel_links};
use super::ports::{KernelPorts, NotPorts, PortPlan, PortSet, PortsError, Reservation};
use super::{Identity, Sharing};
use crate::Error;
use crate::config::{Config, Interface, largest_mtu};
use crate::helper::Helper;
use corelane_proto::endpoint::{EndpointConfig, InterfaceConfig};
use corelane_proto::{Addr, SocketAddr};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// What was settled. It lives as long as the stack; the ports that were reserved for it are free again when it goes.
#[derive(Debug)]
pub struct Beside {
    identity: Identity,
    mirror: Mirror,
    device: String,
    ports: PortPlan,
    reservation: Option<Reservation>,
    /// Addresses were named, and no others are taken.
    named: bool,
    has_mac: bool,
    largest_mtu: u16,
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { what, error }
}

impl Beside {
    /// Asks the kernel about the first interface of `config`, decides whose the addresses are, and reserves ports if it is
    /// to. In the network namespace of the calling thread, and before anything is attached or opened: what is wrong here
    /// is an error without a trace.
    ///
    /// # Errors
    /// There is no such interface, the addresses contradict the kernel's, or ports cannot be reserved. All of them end a
    /// program with code 3.
    pub fn settle(config: &Config) -> Result<Self, Error> {
        Self::settle_all(config)?.into_iter().next().ok_or(Error::NoInterface)
    }

    /// The same for each interface of `config`. Ports are the same for all, and reserved once.
    ///
    /// # Errors
    /// As [`settle`](Self::settle), and when two are virtual LANs of one interface.
    pub fn settle_all(config: &Config) -> Result<Vec<Self>, Error> {
        Self::settle_all_through(config, None)
    }

    /// The same, where a helper has the privileges: it has reserved the ports before, and asks for neighbours.
    pub(crate) fn settle_all_through(config: &Config, helper: Option<Arc<Helper>>) -> Result<Vec<Self>, Error> {
        if config.interfaces().any(|interface| interface.name().is_empty()) {
            return Err(Error::NoInterface);
        }
        // The mirrors first: they know best that there is no such interface.
        let open = |interface: &Interface| Mirror::open(interface.name());
        let mut mirrors = config.interfaces().map(open).collect::<Result<Vec<_>, _>>()?;
        let links = kernel_links().map_err(system("asking for the interfaces"))?;
        let addresses = kernel_addresses().map_err(system("asking for the addresses"))?;
        let decide = |interface: &Interface| Identity::decide(interface, &links, &addresses);
        let identities = config.interfaces().map(decide).collect::<Result<Vec<_>, _>>()?;
        let listening = kernel_listeners().map_err(system("asking for the kernel's listeners"))?;
        let is_shared = |identity: &Identity| identity.sharing == Sharing::Shared;
        let reserving = |(identity, settings): (&Identity, &Interface)| is_shared(identity) && settings.reserve_ports();
        let reserve = identities.iter().zip(config.interfaces()).any(reserving) && helper.is_none();
        if let Some(helper) = helper {
            mirrors.iter_mut().for_each(|mirror| mirror.ask_through(Arc::clone(&helper)));
        }
        let ports = ports(config, identities.iter().any(is_shared), reserve, &listening)?;
        let mut reservation = if reserve { Some(ports.reserve()?) } else { None };
        let mut all: Vec<Self> = Vec::with_capacity(mirrors.len());
        for ((mirror, identity), settings) in mirrors.into_iter().zip(identities).zip(config.interfaces()) {
            let one = Self::of(config, settings, mirror, identity, &links, ports.clone(), reservation.take());
            if let Some(other) = all.iter().find(|other| other.device == one.device) {
                let (first, second) = (other.mirror.link().name.clone(), one.mirror.link().name.clone());
                return Err(Error::SameDevice { first, second, device: one.device });
            }
            all.push(one);
        }
        Ok(all)
    }

    fn of(
        config: &Config,
        settings: &Interface,
        mirror: Mirror,
        identity: Identity,
        links: &[Link],
        ports: PortPlan,
        reservation: Option<Reservation>,
    ) -> Self {
        let parent = |vlan: Vlan| links.iter().find(|link| link.index == vlan.parent).map(|link| link.name.clone());
        let device = mirror.link().vlan.and_then(parent).unwrap_or_else(|| settings.name().to_owned());
        let frame = u16::try_from(largest_mtu(config.memory().frame_size())).unwrap_or(u16::MAX);
        Self {
            identity,
            mirror,
            device,
            ports,
            reservation,
            named: !settings.address().is_empty(),
            has_mac: settings.mac().is_some(),
            largest_mtu: settings.mtu().map_or(frame, |mtu| mtu.min(frame)),
        }
    }

    /// The addresses that are shared with the kernel, as it has them now.
    pub(crate) fn shared_addresses(&self) -> io::Result<BTreeSet<Addr>> {
        let index = self.mirror.link().index;
        let ours = |addr: Addr| !self.named || self.identity.addresses.iter().any(|cidr| cidr.addr == addr);
        let all = kernel_addresses()?.into_iter().filter(|address| address.interface == index);
        Ok(all.map(|address| address.cidr.addr).filter(|addr| ours(*addr)).collect())
    }

    /// Whose the addresses are, and which.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The interface to open queues of and to attach to: the configured one, or the one whose virtual LAN that is.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The ports of outgoing connections.
    pub const fn ports(&self) -> &PortPlan {
        &self.ports
    }

    /// What follows the kernel.
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The same, to be polled. What it tells is to be [looked at](Self::concerns) before it is applied.
    pub const fn mirror_mut(&mut self) -> &mut Mirror {
        &mut self.mirror
    }

    /// What an endpoint of this stack begins with; everything that is not settled here is left as it is.
    pub fn fill(&self, endpoint: &mut EndpointConfig) {
        endpoint.sharing = self.identity.sharing;
        endpoint.addresses.clone_from(&self.identity.addresses);
        endpoint.vlan = self.mirror.link().vlan.map(|vlan| vlan.id);
        endpoint.ports = self.ports.range;
        endpoint.ports_avoided.clone_from(&self.ports.avoided);
        if self.identity.sharing == Sharing::Shared {
            endpoint.routes = self.mirror.routes().to_vec();
        }
    }

    /// The same for an interface that is not the first; ports are the endpoint's.
    pub fn fill_other(&self, interface: &mut InterfaceConfig) {
        interface.sharing = self.identity.sharing;
        interface.addresses.clone_from(&self.identity.addresses);
        interface.vlan = self.mirror.link().vlan.map(|vlan| vlan.id);
        if self.identity.sharing == Sharing::Shared {
            interface.routes = self.mirror.routes().to_vec();
        }
    }

    /// Whether a change of the kernel's counts for the endpoints. Those with addresses of their own follow the link alone;
    /// where addresses were named, others that the kernel gets are not taken; and what was configured stays.
    pub fn concerns(&self, change: &Change) -> bool {
        let shared = self.identity.sharing == Sharing::Shared;
        let ours = |addr: Addr| self.identity.addresses.iter().any(|cidr| cidr.addr == addr);
        match change {
            Change::LinkDown | Change::LinkUp | Change::LinkGone | Change::MtuChanged(_) => true,
            Change::MacChanged(_) => !self.has_mac,
            Change::AddressAdded(cidr) => shared && (!self.named || ours(cidr.addr)),
            Change::AddressRemoved(_)
            | Change::RoutesChanged(_)
            | Change::NeighbourResolved { .. }
            | Change::NeighbourFailed(_)
            | Change::NeighbourGone(_) => shared,
        }
    }

    /// The longest IP packet that endpoints may send, whatever the link carries: what [`Change::apply`] has to be told.
    pub const fn largest_mtu(&self) -> u16 {
        self.largest_mtu
    }

    /// Whether we may listen on `wanted`: to be asked before it is registered, for from then on a socket of the kernel
    /// would get no more connections there, without a word. Addresses of our own are looked at too: a socket that is bound
    /// to the unspecified address is no hindrance there.
    ///
    /// # Errors
    /// A socket of the kernel has it, or the kernel cannot be asked.
    pub fn may_listen(&self, wanted: SocketAddr) -> Result<(), Error> {
        self.listen_check().may_listen(wanted)
    }

    /// The same question, for whoever has to ask it elsewhere.
    pub(crate) const fn listen_check(&self) -> ListenCheck {
        ListenCheck { sharing: self.identity.sharing, interface: self.mirror.link().index }
    }

    /// The ports that were reserved, as a list.
    pub(crate) fn reserved(&self) -> String {
        self.reservation.as_ref().map(|reservation| reservation.added().to_string()).unwrap_or_default()
    }

    /// Takes over what another process had reserved.
    ///
    /// # Errors
    /// It is no list of ports.
    pub(crate) fn adopt_reserved(&mut self, list: &str) -> Result<(), NotPorts> {
        let ports: PortSet = list.parse()?;
        match &mut self.reservation {
            Some(reservation) => reservation.adopt(&ports),
            None if ports.is_empty() => {}
            none => *none = Some(Reservation::adopted(ports)),
        }
        Ok(())
    }

    /// Leaves what was reserved to the process that has taken over.
    pub(crate) fn leave_reserved(self) {
        if let Some(reservation) = self.reservation {
            reservation.leave();
        }
    }

    /// Sets free what was reserved. Dropping it does the same, without saying what went wrong.
    ///
    /// # Errors
    /// The kernel's setting cannot be written.
    pub fn finish(self) -> Result<(), PortsError> {
        self.reservation.map_or(Ok(()), Reservation::release)
    }
}

/// Asks whether one may listen; see [`Beside::may_listen`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenCheck {
    pub(crate) sharing: Sharing,
    interface: u32,
}

impl ListenCheck {
    pub(crate) fn may_listen(self, wanted: SocketAddr) -> Result<(), Error> {
        let own = self.sharing == Sharing::Own;
        match conflict(wanted, self.interface).map_err(system("asking for the kernel's listeners"))? {
            // Nobody can reach the kernel at an address that it does not have.
            Some(found) if !(own && found.held.addr.is_unspecified()) => Err(found.into()),
            _ => Ok(()),
        }
    }
}

fn ports(config: &Config, shared: bool, reserve: bool, listening: &[KernelListener]) -> Result<PortPlan, Error> {
    let configured = (config.limits().first_port(), config.limits().last_port());
    if !shared {
        return Ok(PortPlan::own(configured));
    }
    let listening: Vec<u16> = listening.iter().map(|listener| listener.local.port).collect();
    let kernel = KernelPorts::read()?;
    let plan = PortPlan::shared(configured, &kernel, &listening, reserve);
    // A server needs none; whoever connects hears that there are none.
    Ok(plan.unwrap_or_else(|| {
        tracing::warn!("the kernel leaves no ports to outgoing connections: set interface.reserve_ports = true");
        PortPlan::none()
    }))
}
