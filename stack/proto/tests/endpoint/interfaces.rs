//! An endpoint with two interfaces: where connections go, what changes their way, and what stops at one link.

use crate::hosts::{Bench, addr, at, config, mac, segment, tcp};
use corelane_proto::endpoint::{
    Cidr, ConnId, EndpointConfig, Event, Hop, InterfaceConfig, InterfaceId, Route, Sharing,
};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::arp::{self, Operation};
use corelane_proto::wire::{Arp, EthernetHeader, IpHeader, emit_tcp, tcp_header_len};
use corelane_proto::{Addr, Mac, SocketAddr};
use std::time::Duration;

const ONE: InterfaceId = InterfaceId(0);
const TWO: InterfaceId = InterfaceId(1);
/// Our Ethernet address on the second link, and the peer's.
const MAC_TWO: Mac = Mac([2, 0, 0, 1, 0, 1]);
const PEER_TWO: Mac = Mac([2, 0, 0, 1, 0, 2]);
/// Somebody behind both links.
const FAR: SocketAddr = SocketAddr::new(Addr::v4([192, 0, 2, 7]), 4000);

/// A host of the second link.
const fn second(n: u8) -> Addr {
    Addr::v4([10, 0, 1, n])
}

fn net(octets: [u8; 4], prefix_len: u8) -> Cidr {
    Cidr { addr: Addr::v4(octets), prefix_len }
}

/// The kernel's routes as a mirror of `on` sees them, with the default route by `by`.
fn routes(on: InterfaceId, by: InterfaceId) -> Vec<Route> {
    let hop = |of: InterfaceId, hop| if of == on { hop } else { Hop::Elsewhere };
    let gateway = if by == ONE { addr(2) } else { second(2) };
    vec![
        Route::new(net([10, 0, 0, 0], 24), hop(ONE, Hop::Link)),
        Route::new(net([10, 0, 1, 0], 24), hop(TWO, Hop::Link)),
        Route::new(net([0; 4], 0), hop(by, Hop::Gateway(gateway))),
    ]
}

fn two(sharing: Sharing) -> EndpointConfig {
    let routes = |on| if sharing == Sharing::Shared { routes(on, ONE) } else { Vec::new() };
    let other = InterfaceConfig {
        mac: MAC_TWO,
        mtu: 1400,
        addresses: vec![Cidr { addr: second(1), prefix_len: 24 }],
        sharing,
        routes: routes(TWO),
        ..InterfaceConfig::default()
    };
    EndpointConfig { sharing, routes: routes(ONE), others: vec![other], ..config(1) }
}

fn bench(config: EndpointConfig) -> Bench {
    let mut bench = Bench::new(config);
    assert!(bench.host.endpoint.on(TWO).set_neighbour(second(2), PEER_TWO));
    bench
}

/// A frame with `segment` for us, by this link.
fn frame(on: InterfaceId, from: SocketAddr, to: SocketAddr, segment: &Segment) -> Vec<u8> {
    let mut frame = vec![b'x'; tcp_header_len(true, false, &segment.options) + usize::from(segment.len)];
    let (dst, src) = if on == ONE { (mac(1), mac(2)) } else { (MAC_TWO, PEER_TWO) };
    let eth = EthernetHeader { dst, src, vlan: None };
    let len = emit_tcp(&mut frame, &eth, &IpHeader::new(from.addr, to.addr), (from.port, to.port), segment);
    frame.truncate(len);
    frame
}

/// By which interface each segment went, from which Ethernet address to which.
fn went(bench: &mut Bench) -> Vec<(InterfaceId, Mac, Mac, Segment)> {
    let frames = bench.host.sent_by(bench.now);
    let mac = |frame: &[u8], at: usize| Mac(frame[at..at + 6].try_into().unwrap());
    let of = |(by, frame): &(InterfaceId, Vec<u8>)| Some((*by, mac(frame, 6), mac(frame, 0), tcp(frame)?.segment));
    frames.iter().filter_map(of).collect()
}

fn open(bench: &mut Bench, on: InterfaceId, from: SocketAddr, to: SocketAddr) -> (ConnId, Seq) {
    bench.host.receive_on(on, bench.now, &frame(on, from, to, &segment(Seq(100), Seq(0), Flags::SYN, 0)));
    let answers = went(bench);
    let [(by, _, _, syn_ack)] = answers[..] else { panic!("{answers:?}") };
    assert_eq!(by, on, "a SYN-ACK goes back where the SYN came from");
    let ack = segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 0);
    bench.host.receive_on(on, bench.now, &frame(on, from, to, &ack));
    (bench.host.accepted().expect("accepted"), syn_ack.seq + 1)
}

#[test]
fn connections_of_each_link_go_by_it() {
    let mut bench = bench(two(Sharing::Own));
    bench.host.listen(SocketAddr::new(Addr::v4([0; 4]), 80));
    let (first, _) = open(&mut bench, ONE, at(2, 9), at(1, 80));
    let (other, _) = open(&mut bench, TWO, SocketAddr::new(second(2), 9), SocketAddr::new(second(1), 80));
    for (conn, on, ours, theirs) in [(first, ONE, mac(1), mac(2)), (other, TWO, MAC_TWO, PEER_TWO)] {
        bench.host.write(conn, b"hello");
        let sent = went(&mut bench);
        assert_eq!(sent.iter().map(|(by, src, dst, _)| (*by, *src, *dst)).collect::<Vec<_>>(), [(on, ours, theirs)]);
        assert_eq!(bench.host.endpoint.interface_of(conn), on);
    }
    assert_eq!(bench.host.endpoint.counters().dropped_other_mac, 0);
    let wrong = frame(ONE, at(2, 9), at(1, 80), &segment(Seq(101), Seq(1), Flags::ACK, 0));
    bench.host.receive_on(TWO, bench.now, &wrong);
    assert_eq!(bench.host.endpoint.counters().dropped_other_mac, 1, "the first link's Ethernet address on the second");
}

#[test]
fn connect_goes_by_the_route_from_the_address_of_its_interface() {
    let mut bench = bench(two(Sharing::Own));
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    for (remote, on, source, mss) in [(addr(2), ONE, addr(1), 1460), (second(2), TWO, second(1), 1360)] {
        let remote = SocketAddr::new(remote, 80);
        let conn = bench.host.endpoint.connect(bench.now, any, remote, TcpConfig::default()).unwrap();
        let sent = went(&mut bench);
        assert_eq!((sent[0].0, sent[0].3.options.mss), (on, Some(mss)));
        assert_eq!(bench.host.endpoint.iter().find(|(id, _)| *id == conn).unwrap().1.local.addr, source);
    }
}

#[test]
fn a_route_that_moves_takes_its_connections_along() {
    let mut bench = bench(two(Sharing::Shared));
    bench.host.listen(at(1, 80));
    let (conn, next) = open(&mut bench, ONE, FAR, at(1, 80));
    bench.host.write(conn, b"first");
    assert_eq!(went(&mut bench).iter().map(|(by, ..)| *by).collect::<Vec<_>>(), [ONE]);
    bench.host.receive_on(ONE, bench.now, &frame(ONE, FAR, at(1, 80), &segment(Seq(101), next + 5, Flags::ACK, 0)));
    // What the mirrors tell does not come at the same moment.
    bench.host.endpoint.on(ONE).set_routes(&routes(ONE, TWO));
    bench.host.endpoint.on(TWO).set_routes(&routes(TWO, TWO));
    bench.host.write(conn, &[7; 1400]);
    let sent = went(&mut bench);
    let ways: Vec<_> = sent.iter().map(|(by, src, dst, _)| (*by, *src, *dst)).collect();
    assert!(!ways.is_empty() && ways.iter().all(|way| *way == (TWO, MAC_TWO, PEER_TWO)), "{ways:?}");
    assert!(sent.iter().all(|(.., segment)| segment.len <= 1360), "the second link carries less");
    // The answer may come by either link: our address is our address.
    let bytes = sent.iter().map(|(.., segment)| u32::from(segment.len)).sum::<u32>();
    let ack = segment(Seq(101), next + 5 + bytes, Flags::ACK | Flags::PSH, 3);
    bench.host.receive_on(TWO, bench.now, &frame(TWO, FAR, at(1, 80), &ack));
    assert_eq!(bench.host.read(conn), b"xxx");
    assert_eq!(bench.host.state(conn), State::Established);
}

#[test]
fn a_strong_host_takes_packets_only_where_their_address_is() {
    for (strong_host, answers, dropped) in [(false, 1, 0), (true, 0, 1)] {
        let mut bench = bench(EndpointConfig { strong_host, ..two(Sharing::Shared) });
        bench.host.listen(at(1, 80));
        let syn = frame(TWO, FAR, at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
        bench.host.receive_on(TWO, bench.now, &syn);
        assert_eq!(went(&mut bench).len(), answers);
        assert_eq!(bench.host.endpoint.counters().dropped_other_interface, dropped);
    }
}

#[test]
fn one_link_is_down_and_the_other_serves() {
    let mut bench = bench(two(Sharing::Own));
    bench.host.listen(SocketAddr::new(Addr::v4([0; 4]), 80));
    let (first, _) = open(&mut bench, ONE, at(2, 9), at(1, 80));
    let (other, _) = open(&mut bench, TWO, SocketAddr::new(second(2), 9), SocketAddr::new(second(1), 80));
    bench.host.endpoint.on(TWO).set_link(false);
    bench.host.write(first, b"goes");
    bench.host.write(other, b"waits");
    assert_eq!(went(&mut bench).iter().map(|(by, ..)| *by).collect::<Vec<_>>(), [ONE]);
    bench.host.endpoint.on(TWO).set_link(true);
    assert_eq!(went(&mut bench).iter().map(|(by, ..)| *by).collect::<Vec<_>>(), [TWO]);
}

#[test]
fn an_address_that_leaves_one_link_for_the_other_keeps_its_connections() {
    let mut bench = bench(two(Sharing::Shared));
    bench.host.listen(at(1, 80));
    let (conn, _) = open(&mut bench, ONE, FAR, at(1, 80));
    bench.host.endpoint.on(TWO).add_address(Cidr { addr: addr(1), prefix_len: 32 });
    assert!(bench.host.endpoint.on(ONE).remove_address(addr(1)).is_empty());
    bench.wait_quietly(Duration::ZERO);
    assert_eq!(bench.host.state(conn), State::Established);
    assert_eq!(bench.host.endpoint.on(TWO).remove_address(addr(1)).len(), 1, "now nobody has it");
    bench.wait_quietly(Duration::ZERO);
    assert!(bench.host.events.iter().any(|event| matches!(event, Event::Closed { .. })));
}

#[test]
fn each_link_is_asked_for_its_own_neighbours() {
    let asks = |bench: &mut Bench, on| bench.host.endpoint.on(on).poll_unresolved();
    let mut shared = bench(two(Sharing::Shared));
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    let remote = SocketAddr::new(second(9), 80);
    shared.host.endpoint.connect(shared.now, any, remote, TcpConfig::default()).unwrap();
    assert!(went(&mut shared).is_empty());
    assert_eq!((asks(&mut shared, ONE), asks(&mut shared, TWO)), (None, Some(second(9))));
    // What the first link says of it is of no matter.
    shared.host.endpoint.on(ONE).neighbour_failed(second(9));
    shared.host.endpoint.on(ONE).set_neighbour(second(9), mac(9));
    assert!(went(&mut shared).is_empty());
    shared.host.endpoint.on(TWO).set_neighbour(second(9), PEER_TWO);
    assert_eq!(went(&mut shared).iter().map(|(by, ..)| *by).collect::<Vec<_>>(), [TWO]);

    // With addresses of its own an endpoint asks by ARP, and answers only for what is on the link.
    let mut own = bench(two(Sharing::Own));
    own.host.endpoint.connect(own.now, any, remote, TcpConfig::default()).unwrap();
    let sent = own.host.sent_by(own.now);
    assert_eq!((sent.len(), sent[0].0, &sent[0].1[12..14]), (1, TWO, &[8, 6][..]));
    for (target, answers) in [(second(1), 1), (addr(1), 0)] {
        let mut frame = [0; 64];
        let eth = EthernetHeader { dst: Mac::BROADCAST, src: PEER_TWO, vlan: None };
        let (operation, target_mac) = (Operation::Request, Mac::default());
        let request = Arp { operation, sender_mac: PEER_TWO, sender: second(2), target_mac, target };
        let len = arp::emit(&mut frame, &eth, &request);
        own.host.receive_on(TWO, own.now, &frame[..len]);
        let sent = own.host.sent_by(own.now);
        assert_eq!(sent.iter().map(|(by, _)| *by).collect::<Vec<_>>(), vec![TWO; answers]);
    }
}
