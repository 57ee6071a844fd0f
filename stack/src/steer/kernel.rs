//! What the kernel knows of interfaces, addresses, routes and neighbours, as plain values, and what can be asked of it.
//! All of it is that of the network namespace of the thread that opens it.

use super::netlink::{Heard, Netlink};
use corelane_proto::endpoint::Cidr;
use corelane_proto::{Addr, Mac};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteType,
    RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// The multicast groups of everything that is mirrored, a bit each (`RTMGRP_*`, `linux/rtnetlink.h`).
const GROUPS: u32 = LINK | NEIGH | IPV4_IFADDR | IPV4_ROUTE | IPV6_IFADDR | IPV6_ROUTE;
const LINK: u32 = 0x1;
const NEIGH: u32 = 0x4;
const IPV4_IFADDR: u32 = 0x10;
const IPV4_ROUTE: u32 = 0x40;
const IPV6_IFADDR: u32 = 0x100;
const IPV6_ROUTE: u32 = 0x400;

/// A virtual LAN that an interface is (IEEE 802.1Q).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vlan {
    /// Its number, 1 to 4094.
    pub id: u16,
    /// The index of the interface whose frames carry the tag.
    pub parent: u32,
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None` when it is not Ethernet.
    pub mac: Option<Mac>,
    /// The largest IP packet, bytes.
    pub mtu: u32,
    /// Whether it is set up and has somebody at the other end.
    pub up: bool,
    /// The virtual LAN that it is, if it is one.
    pub vlan: Option<Vlan>,
}

/// An address of the kernel's that connections can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelAddress {
    /// The index of its interface.
    pub interface: u32,
    /// The address and its prefix.
    pub cidr: Cidr,
}

/// A route of the kernel's main table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KernelRoute {
    pub(super) prefix: Cidr,
    pub(super) metric: u32,
    pub(super) source: Option<Addr>,
    /// The interfaces that packets may leave by, each with the router, if there is one. None at all: packets are refused.
    pub(super) ways: Vec<(u32, Option<Addr>)>,
}

/// What the kernel says of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NeighbourNews {
    /// It is there, as far as is known.
    At(Mac),
    /// It did not answer.
    Failed,
    /// Nothing is known.
    Unknown,
}

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    Link,
    Address,
    Route,
    Neighbour { interface: u32, addr: Addr, news: NeighbourNews },
}

/// A connection to the kernel's tables.
#[derive(Debug)]
pub(super) struct Kernel(Netlink);

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        Netlink::open(None, 0).map(Self)
    }

    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let all = self.0.dump(&Message::GetLink(LinkMessage::default()))?;
        Ok(all
            .iter()
            .filter_map(|message| if let Message::NewLink(link) = message { link_of(link) } else { None })
            .collect())
    }

    pub(super) fn addresses(&mut self) -> io::Result<Vec<KernelAddress>> {
        let all = self.0.dump(&Message::GetAddress(AddressMessage::default()))?;
        let found = all.iter().filter_map(|message| match message {
            Message::NewAddress(address) => address_of(address),
            _ => None,
        });
        Ok(found.collect())
    }

    pub(super) fn routes(&mut self) -> io::Result<Vec<KernelRoute>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            let all = self.0.dump(&Message::GetRoute(request))?;
            found.extend(all.iter().filter_map(|message| match message {
                Message::NewRoute(route) => route_of(route),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// The neighbours of an interface.
    pub(super) fn neighbours(&mut self, index: u32) -> io::Result<Vec<(Addr, NeighbourNews)>> {
        let all = self.0.dump(&Message::GetNeighbour(NeighbourMessage::default()))?;
        let found = all.iter().filter_map(|message| match message {
            Message::NewNeighbour(neighbour) if neighbour.header.ifindex == index => neighbour_of(neighbour),
            _ => None,
        });
        Ok(found.collect())
    }

    /// Tells the kernel that `addr` is in use (`NTF_USE`): it resolves what it does not know, and confirms what is old.
    pub(super) fn use_neighbour(&mut self, index: u32, addr: Addr) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        message.header.flags = NeighbourFlags::Use;
        message.header.family = if addr.is_v4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let destination = match IpAddr::from(addr) {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        self.0.order(&Message::NewNeighbour(message), NLM_F_CREATE)
    }
}

/// What the kernel tells by itself.
#[derive(Debug)]
pub(super) struct Notices(Netlink);

impl Notices {
    /// `buffer` is how much the kernel may hold for us, bytes.
    pub(super) fn open(buffer: usize) -> io::Result<Self> {
        let socket = Netlink::open(None, GROUPS)?;
        socket.set_buffer(buffer)?;
        Ok(Self(socket))
    }

    /// What has come.
    pub(super) fn hear(&mut self) -> io::Result<Heard<Notice>> {
        Ok(match self.0.hear::<Message>()? {
            Heard::Messages(all) => Heard::Messages(all.iter().filter_map(notice_of).collect()),
            Heard::Overflow => Heard::Overflow,
            Heard::Nothing => Heard::Nothing,
        })
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn notice_of(message: &Message) -> Option<Notice> {
    let neighbour = |message: &NeighbourMessage, gone: bool| {
        let (addr, news) = neighbour_of(message)?;
        let news = if gone { NeighbourNews::Unknown } else { news };
        Some(Notice::Neighbour { interface: message.header.ifindex, addr, news })
    };
    match message {
        Message::NewLink(_) | Message::DelLink(_) => Some(Notice::Link),
        Message::NewAddress(_) | Message::DelAddress(_) => Some(Notice::Address),
        Message::NewRoute(_) | Message::DelRoute(_) => Some(Notice::Route),
        Message::NewNeighbour(message) => neighbour(message, false),
        Message::DelNeighbour(message) => neighbour(message, true),
        _ => None,
    }
}

fn link_of(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let up = flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp);
    let mut link = Link { index: message.header.index, name: String::new(), mac: None, mtu: 0, up, vlan: None };
    let (mut parent, mut vlan) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(address) if message.header.link_layer_type == LinkLayerType::Ether => {
                link.mac = <[u8; 6]>::try_from(address.as_slice()).ok().map(Mac);
            }
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                let data = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
                    _ => None,
                });
                let ids = data.into_iter().flatten();
                vlan = ids.filter_map(|info| if let InfoVlan::Id(id) = info { Some(*id) } else { None }).next();
            }
            _ => {}
        }
    }
    link.vlan = vlan.zip(parent).map(|(id, parent)| Vlan { id, parent });
    (!link.name.is_empty()).then_some(link)
}

fn address_of(message: &AddressMessage) -> Option<KernelAddress> {
    let (mut local, mut address) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // What another host may have, or does have, is not ours yet.
    if flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed) {
        return None;
    }
    // IFA_ADDRESS is the peer's on a point-to-point link, and IFA_LOCAL is then ours.
    let addr = Addr::from(local.or(address)?);
    let cidr = Cidr { addr, prefix_len: message.header.prefix_len };
    addr.is_unicast().then_some(KernelAddress { interface: message.header.index, cidr })
}

fn route_of(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut destination, mut source, mut gateway, mut oif, mut metric) = (None, None, None, None, 0);
    let mut ways = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(addr) => destination = addr_of(addr),
            RouteAttribute::PrefSource(addr) => source = addr_of(addr),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = gateway_of(attribute),
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::MultiPath(hops) => ways.extend(hops.iter().filter_map(way_of)),
            _ => {}
        }
    }
    let not_for_us = header.flags.intersects(RouteFlags::Cloned | RouteFlags::Dead) || header.source_prefix_length != 0;
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) || not_for_us || header.tos != 0 {
        return None;
    }
    match header.kind {
        RouteType::Unicast => ways.extend(oif.map(|oif| (oif, gateway))),
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => ways.clear(),
        _ => return None,
    }
    let any = if header.address_family == AddressFamily::Inet { Addr::v4([0; 4]) } else { Addr::v6([0; 16]) };
    let prefix = Cidr { addr: destination.unwrap_or(any), prefix_len: header.destination_prefix_length };
    Some(KernelRoute { prefix, metric, source, ways })
}

fn way_of(hop: &RouteNextHop) -> Option<(u32, Option<Addr>)> {
    let gateway = hop.attributes.iter().find_map(gateway_of);
    (!hop.flags.contains(RouteNextHopFlags::Dead)).then_some((hop.interface_index, gateway))
}

fn gateway_of(attribute: &RouteAttribute) -> Option<Addr> {
    match attribute {
        RouteAttribute::Gateway(addr) => addr_of(addr),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some(IpAddr::V4(*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some(IpAddr::V6(*v6).into()),
        _ => None,
    }
}

fn addr_of(addr: &RouteAddress) -> Option<Addr> {
    match addr {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4).into()),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6).into()),
        _ => None,
    }
}

fn neighbour_of(message: &NeighbourMessage) -> Option<(Addr, NeighbourNews)> {
    let (mut addr, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => addr = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => addr = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac),
            _ => {}
        }
    }
    let addr = Addr::from(addr?);
    let of_host = addr.is_unicast() && !message.header.flags.contains(NeighbourFlags::Proxy);
    let news = match message.header.state {
        NeighbourState::Failed => NeighbourNews::Failed,
        NeighbourState::Incomplete | NeighbourState::None => NeighbourNews::Unknown,
        // Old ones are good until somebody finds that they are not: the kernel asks when it is told of their use.
        _ => mac.filter(|mac| !mac.is_group()).map_or(NeighbourNews::Unknown, NeighbourNews::At),
    };
    of_host.then_some((addr, news))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link_message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 9;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = [LinkAttribute::IfName("eth0.7".into()), LinkAttribute::Mtu(1496)].into();
        message.attributes.extend(attributes);
        message
    }

    #[test]
    fn a_virtual_lan_names_its_number_and_its_parent() {
        let info = LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(7)]));
        let message = link_message(vec![LinkAttribute::Link(3), LinkAttribute::LinkInfo(vec![info])]);
        let link = link_of(&message).unwrap();
        assert_eq!((link.vlan, link.mtu, link.up), (Some(Vlan { id: 7, parent: 3 }), 1496, true));
        // A veth has a link too, its peer, and is no virtual LAN.
        assert_eq!(link_of(&link_message(vec![LinkAttribute::Link(3)])).unwrap().vlan, None);
    }

    #[test]
    fn a_link_is_up_when_it_carries() {
        for (flags, up) in
            [(LinkFlags::Up | LinkFlags::LowerUp, true), (LinkFlags::Up, false), (LinkFlags::LowerUp, false)]
        {
            let mut message = link_message(Vec::new());
            message.header.flags = flags;
            assert_eq!(link_of(&message).unwrap().up, up, "{flags:?}");
        }
    }

    #[test]
    fn an_address_that_somebody_else_may_have_is_not_ours_yet() {
        let message = |flags: AddressFlags| {
            let mut message = AddressMessage::default();
            message.header.index = 2;
            message.header.prefix_len = 64;
            let addr = "2001:db8::1".parse().unwrap();
            message.attributes = vec![AddressAttribute::Address(addr), AddressAttribute::Flags(flags)];
            message
        };
        assert!(address_of(&message(AddressFlags::Permanent)).is_some());
        for not_yet in [AddressFlags::Tentative, AddressFlags::Dadfailed | AddressFlags::Permanent] {
            assert_eq!(address_of(&message(not_yet)), None);
        }
    }

    #[test]
    fn ours_is_the_local_end_of_a_point_to_point_link() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        let (ours, theirs) = ("10.0.0.1".parse::<IpAddr>().unwrap(), "10.0.0.2".parse().unwrap());
        message.attributes = vec![AddressAttribute::Address(theirs), AddressAttribute::Local(ours)];
        assert_eq!(address_of(&message).unwrap().cidr.addr, Addr::from(ours));
    }

    #[test]
    fn neighbours_are_what_their_state_says() {
        let mac = Mac([2, 0, 0, 0, 0, 5]);
        let news = |state, lladdr: &[u8]| {
            let mut message = NeighbourMessage::default();
            message.header.state = state;
            let addr = NeighbourAddress::Inet([10, 0, 0, 5].into());
            message.attributes =
                vec![NeighbourAttribute::Destination(addr), NeighbourAttribute::LinkLayerAddress(lladdr.to_vec())];
            neighbour_of(&message).map(|(_, news)| news)
        };
        for state in
            [NeighbourState::Reachable, NeighbourState::Stale, NeighbourState::Probe, NeighbourState::Permanent]
        {
            assert_eq!(news(state, &mac.0), Some(NeighbourNews::At(mac)), "{state}");
        }
        assert_eq!(news(NeighbourState::Failed, &mac.0), Some(NeighbourNews::Failed));
        assert_eq!(news(NeighbourState::Incomplete, &[]), Some(NeighbourNews::Unknown));
        assert_eq!(news(NeighbourState::Noarp, &[0xff; 6]), Some(NeighbourNews::Unknown), "no single host is there");
        assert_eq!(news(NeighbourState::Reachable, &[1, 2, 3]), Some(NeighbourNews::Unknown), "not Ethernet");
    }
}
