//! An endpoint that shares its addresses with the kernel: routes, neighbours, addresses and the link come from outside.

use crate::hosts::{Bench, Pair, addr, at, config, mac, segment, tcp};
use corelane_proto::endpoint::{
    Cidr, CloseReason, ConnId, ConnectError, EndpointConfig, Event, Hop, Route, Sharing, Trouble, Unreachable,
};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::arp::{self, Operation};
use corelane_proto::wire::icmp::emit_echo_request;
use corelane_proto::wire::{Arp, Echo, EthernetHeader, IpHeader};
use corelane_proto::{Addr, Mac, SocketAddr};
use std::time::Duration;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const SECOND: Duration = Duration::from_secs(1);
const FAR: SocketAddr = SocketAddr::new(Addr::v4([192, 0, 2, 7]), 80);

fn cidr(octets: [u8; 4], prefix_len: u8) -> Cidr {
    Cidr { addr: Addr::v4(octets), prefix_len }
}

fn on_link() -> Route {
    Route::new(cidr([10, 0, 0, 0], 24), Hop::Link)
}

fn default_by(n: u8) -> Route {
    Route::new(cidr([0; 4], 0), Hop::Gateway(addr(n)))
}

fn shared() -> EndpointConfig {
    EndpointConfig { sharing: Sharing::Shared, routes: vec![on_link()], ..config(1) }
}

impl Bench {
    /// A connection to `remote`, and the frames that come of it.
    fn connect(&mut self, remote: SocketAddr) -> (ConnId, Vec<Vec<u8>>) {
        let any = SocketAddr::new(Addr::v4([0; 4]), 0);
        let tcp = TcpConfig { report_soft_errors: true, ..TcpConfig::default() };
        let conn = self.host.endpoint.connect(self.now, any, remote, tcp).expect("connect");
        (conn, self.host.sent(self.now))
    }

    /// An open connection to `remote`.
    fn open(&mut self, remote: SocketAddr) -> ConnId {
        let (conn, frames) = self.connect(remote);
        let syn = tcp(&frames[0]).expect("a SYN");
        let mss =
            corelane_proto::tcp::segment::Options { mss: Some(1460), ..corelane_proto::tcp::segment::Options::NONE };
        let answer = segment(Seq(500), syn.segment.seq + 1, SYN_ACK, 0);
        let answer = Segment { options: mss, ..answer };
        self.receive(remote, syn.src, answer);
        assert_eq!(self.host.state(conn), State::Established);
        conn
    }

    /// Writes `bytes` and gives the frames that carry them.
    fn sending(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.host.write(conn, bytes);
        self.host.sent(self.now)
    }

    fn asked(&mut self) -> Vec<Addr> {
        std::iter::from_fn(|| self.host.endpoint.poll_unresolved()).collect()
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason) -> bool {
        self.wait_quietly(Duration::ZERO);
        self.host.saw(Event::Closed { conn, reason })
    }
}

/// Where a frame goes and comes from.
fn ends(frame: &[u8]) -> (Mac, Mac) {
    let mac = |at: usize| Mac(frame[at..at + 6].try_into().unwrap());
    (mac(0), mac(6))
}

#[test]
fn arp_and_ping_are_left_to_whoever_shares_the_address() {
    for (config, answers) in [(config(1), 1), (shared(), 0)] {
        let mut bench = Bench::new(config);
        let eth = EthernetHeader { dst: mac(1), src: mac(2), vlan: None };
        let mut frame = [0; 128];
        let request = Arp {
            operation: Operation::Request,
            sender_mac: mac(2),
            sender: addr(2),
            target_mac: Mac::default(),
            target: addr(1),
        };
        let len = arp::emit(&mut frame, &eth, &request);
        bench.host.receive(bench.now, &frame[..len]);
        assert_eq!(bench.host.sent(bench.now).len(), answers, "ARP");
        let echo = Echo { ident: 7, sequence: 1, data: 100..105 };
        let len = emit_echo_request(&mut frame, &eth, &IpHeader::new(addr(2), addr(1)), &echo);
        bench.host.receive(bench.now, &frame[..len]);
        assert_eq!(bench.host.sent(bench.now).len(), answers, "ping");
        assert_eq!(bench.host.endpoint.counters().dropped_unhandled, 2 * (1 - answers as u64));
    }
}

#[test]
fn a_neighbour_is_asked_for_once_and_what_waited_goes_when_it_is_known() {
    let mut bench = Bench::new(shared());
    let (conn, frames) = bench.connect(at(20, 80));
    assert!(frames.is_empty(), "neither a SYN nor an ARP request");
    let (other, _) = bench.connect(at(20, 81));
    assert_eq!(bench.asked(), [addr(20)]);
    bench.wait(SECOND);
    assert_eq!(bench.asked(), [], "once until answered");
    assert!(bench.host.endpoint.set_neighbour(addr(20), mac(20)));
    let frames = bench.host.sent(bench.now);
    assert_eq!(frames.iter().map(|frame| ends(frame)).collect::<Vec<_>>(), [(mac(20), mac(1)); 2]);
    assert_eq!((bench.host.state(conn), bench.host.state(other)), (State::SynSent, State::SynSent));
    assert!(bench.host.endpoint.counters().unresolved >= 2);
}

#[test]
fn what_was_told_and_lost_is_told_again() {
    let mut bench = Bench::new(shared());
    bench.connect(at(20, 80));
    assert_eq!(bench.asked(), [addr(20)]);
    for _ in 0..9 {
        bench.wait(SECOND);
        assert_eq!(bench.asked(), []);
    }
    bench.wait(SECOND);
    assert_eq!(bench.asked(), [addr(20)]);
}

#[test]
fn a_neighbour_in_use_is_told_each_minute_and_one_that_is_not_never() {
    let mut bench = Bench::new(shared());
    let conn = bench.open(at(2, 80));
    for minute in 0..3 {
        bench.wait(Duration::from_secs(61));
        let sent = bench.sending(conn, b"x");
        assert_eq!(ends(&sent[0]).0, mac(2), "it is used meanwhile");
        bench.wait(Duration::from_millis(1));
        assert_eq!(bench.asked(), [addr(2)], "minute {minute}, and none of the eight others");
        let ack = tcp(&sent[0]).expect("data").segment;
        let flow = bench.host.endpoint.flow(conn).expect("open");
        bench.receive(flow.remote, flow.local, segment(Seq(501), ack.end(), Flags::ACK, 0));
    }
}

#[test]
fn where_nobody_answers_an_attempt_ends_and_an_open_connection_goes_on() {
    let mut bench = Bench::new(shared());
    let open = bench.open(at(2, 80));
    let (opening, _) = bench.connect(at(20, 80));
    let (elsewhere, _) = bench.connect(at(21, 80));
    assert_eq!(bench.asked(), [addr(20), addr(21)]);
    bench.host.endpoint.neighbour_failed(addr(20));
    assert!(bench.closed(opening, CloseReason::Unreachable), "{:?}", bench.host.events);
    assert_eq!(bench.host.state(elsewhere), State::SynSent);

    bench.host.endpoint.remove_neighbour(addr(2));
    assert!(bench.sending(open, b"hello").is_empty());
    assert_eq!(bench.asked(), [addr(2)]);
    bench.host.endpoint.neighbour_failed(addr(2));
    bench.wait_quietly(Duration::ZERO);
    let trouble = Event::Trouble { conn: open, trouble: Trouble::Unreachable(Unreachable::Host) };
    assert!(bench.host.saw(trouble), "{:?}", bench.host.events);
    assert_eq!(bench.host.state(open), State::Established);
    assert!(bench.host.endpoint.set_neighbour(addr(2), mac(22)));
    let sent = bench.host.sent(bench.now);
    assert_eq!((sent.len(), ends(&sent[0]).0), (1, mac(22)), "what waited goes at once");
}

#[test]
fn a_peer_that_stays_unreachable_is_the_reason_that_a_connection_ends() {
    let mut bench = Bench::new(shared());
    let conn = bench.open(at(2, 80));
    bench.host.endpoint.remove_neighbour(addr(2));
    bench.sending(conn, b"hello");
    bench.host.endpoint.neighbour_failed(addr(2));
    for _ in 0..3000 {
        bench.wait(SECOND);
    }
    assert!(bench.closed(conn, CloseReason::Unreachable), "{:?}", bench.host.events);
}

#[test]
fn a_neighbour_that_moves_takes_all_its_connections_along_at_once() {
    let mut bench = Bench::new(EndpointConfig { routes: vec![on_link(), default_by(2)], ..shared() });
    let conns: Vec<_> = [at(2, 80), at(2, 81), FAR].map(|remote| bench.open(remote)).into();
    for to in [mac(2), mac(77), mac(78)] {
        assert!(bench.host.endpoint.set_neighbour(addr(2), to));
        for conn in &conns {
            assert_eq!(ends(&bench.sending(*conn, b"x")[0]).0, to);
        }
    }
}

#[test]
fn routes_are_followed_by_open_connections_too() {
    let mut bench = Bench::new(shared());
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    let refused = bench.host.endpoint.connect(bench.now, any, FAR, TcpConfig::default());
    assert_eq!(refused, Err(ConnectError::NoRoute(FAR.addr)));
    bench.host.endpoint.set_routes(&[on_link(), default_by(2)]);
    let conn = bench.open(FAR);
    assert_eq!(ends(&bench.sending(conn, b"a")[0]).0, mac(2));
    let better = Route { metric: 5, ..default_by(3) };
    bench.host.endpoint.set_routes(&[on_link(), Route { metric: 9, ..default_by(2) }, better]);
    assert_eq!(ends(&bench.sending(conn, b"b")[0]).0, mac(3), "the least metric");
    let longer = Route::new(cidr([192, 0, 2, 0], 24), Hop::Gateway(addr(4)));
    bench.host.endpoint.set_routes(&[on_link(), better, longer]);
    assert_eq!(ends(&bench.sending(conn, b"c")[0]).0, mac(4), "the longest prefix");

    let elsewhere = Route::new(cidr([192, 0, 2, 0], 24), Hop::Elsewhere);
    bench.host.endpoint.set_routes(&[on_link(), better, elsewhere]);
    bench.wait_quietly(Duration::ZERO);
    let trouble = Event::Trouble { conn, trouble: Trouble::Unreachable(Unreachable::Network) };
    assert!(bench.host.saw(trouble), "{:?}", bench.host.events);
    assert!(bench.sending(conn, b"d").is_empty());
    assert!(bench.host.endpoint.counters().dropped_no_route > 0);
    assert_eq!(bench.host.state(conn), State::Established);
    bench.host.endpoint.set_routes(&[on_link(), default_by(5)]);
    let sent = bench.host.sent(bench.now);
    assert_eq!((sent.len(), ends(&sent[0]).0), (1, mac(5)), "a new way is taken at once");
}

#[test]
fn a_route_may_choose_our_address() {
    let addresses = vec![cidr([10, 0, 0, 1], 24), cidr([10, 0, 0, 99], 24)];
    let prefers = Route { source: Some(addr(99)), ..default_by(2) };
    let mut bench = Bench::new(EndpointConfig { addresses, routes: vec![on_link(), prefers], ..shared() });
    let local = |bench: &mut Bench, remote| {
        let (conn, _) = bench.connect(remote);
        bench.host.endpoint.flow(conn).expect("it is there").local.addr
    };
    assert_eq!(local(&mut bench, FAR), addr(99));
    assert_eq!(local(&mut bench, at(2, 80)), addr(1));
}

#[test]
fn a_global_peer_is_not_called_from_a_link_local_address() {
    let six = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
    let addresses = ["fe80::1", "2001:db8::1", "2001:db8:7::1"].map(|text| Cidr { addr: six(text), prefix_len: 64 });
    let default = Route::new(Cidr { addr: six("::"), prefix_len: 0 }, Hop::Gateway(six("fe80::2")));
    let link = Route::new(Cidr { addr: six("fe80::"), prefix_len: 64 }, Hop::Link);
    let config = EndpointConfig { addresses: addresses.into(), routes: vec![link, default], ..shared() };
    let mut bench = Bench::new(config);
    assert!(bench.host.endpoint.set_neighbour(six("fe80::2"), mac(2)));
    let any = SocketAddr::new(six("::"), 0);
    for (remote, local) in
        [("2001:db8:7:9::5", "2001:db8:7::1"), ("2001:db8:0:9::5", "2001:db8::1"), ("fe80::2", "fe80::1")]
    {
        let remote = SocketAddr::new(six(remote), 80);
        let conn = bench.host.endpoint.connect(bench.now, any, remote, TcpConfig::default()).expect("connect");
        assert_eq!(bench.host.endpoint.flow(conn).expect("it is there").local.addr, six(local), "to {remote}");
        let frame = &bench.host.sent(bench.now)[0];
        assert_eq!(ends(frame).0, mac(2));
    }
}

#[test]
fn an_address_that_goes_takes_its_connections_and_listeners_along() {
    let addresses = vec![cidr([10, 0, 0, 1], 24), cidr([10, 0, 0, 99], 24)];
    let mut bench = Bench::new(EndpointConfig { addresses, ..shared() });
    let stays = bench.open(at(2, 80));
    let goes = bench.host.endpoint.connect(bench.now, at(99, 0), at(2, 81), TcpConfig::default()).expect("connect");
    let listener = bench.host.listen(at(99, 80));
    let any = bench.host.listen(SocketAddr::new(Addr::v4([0; 4]), 80));
    bench.receive(at(3, 5000), at(99, 80), segment(Seq(1), Seq(0), Flags::SYN, 0));
    assert_eq!(bench.host.endpoint.half_opens(), 1);

    assert_eq!(bench.host.endpoint.remove_address(addr(99)), [listener]);
    assert!(bench.closed(goes, CloseReason::AddressRemoved), "{:?}", bench.host.events);
    assert_eq!(bench.host.sent(bench.now).len(), 0, "nothing is sent from an address that is not ours");
    assert_eq!(bench.host.endpoint.half_opens(), 0);
    assert_eq!(bench.host.state(stays), State::Established);
    let counters = bench.host.endpoint.counters();
    assert_eq!((counters.closed_by_address_removed, counters.listeners_removed), (1, 1));
    let answer = bench.receive(at(3, 5001), at(99, 80), segment(Seq(1), Seq(0), Flags::SYN, 0));
    assert_eq!(answer, [], "not ours");

    bench.host.endpoint.add_address(cidr([10, 0, 0, 99], 24));
    let answer = bench.receive(at(3, 5002), at(99, 80), segment(Seq(1), Seq(0), Flags::SYN, 0));
    assert_eq!(answer[0].flags, SYN_ACK, "the listener at the unspecified address is there again");
    bench.host.endpoint.unlisten(any);
}

#[test]
fn an_address_of_our_own_brings_its_link_along() {
    let mut bench = Bench::new(config(1));
    let remote = SocketAddr::new(Addr::v4([172, 16, 0, 9]), 80);
    let any = SocketAddr::new(Addr::v4([0; 4]), 0);
    assert!(bench.host.endpoint.connect(bench.now, any, remote, TcpConfig::default()).is_err());
    bench.host.endpoint.add_address(cidr([172, 16, 0, 1], 16));
    let (conn, frames) = bench.connect(remote);
    assert_eq!(bench.host.endpoint.flow(conn).expect("it is there").local.addr, Addr::v4([172, 16, 0, 1]));
    assert_eq!(ends(&frames[0]).0, Mac::BROADCAST, "it asks by ARP");
}

#[test]
fn a_link_that_carries_less_or_more_cuts_what_is_sent_accordingly() {
    let mut bench = Bench::new(shared());
    let conn = bench.open(at(2, 80));
    let lens = |frames: &[Vec<u8>]| frames.iter().map(|frame| frame.len() - 14).collect::<Vec<_>>();
    let first = bench.sending(conn, &[1; 2920]);
    assert_eq!(lens(&first), [1500, 1500]);
    bench.host.endpoint.set_mtu(1280);
    assert_eq!(bench.host.endpoint.segment_len(conn), 1240);
    // What was in flight is lost: it goes again in pieces that fit.
    let mut again = Vec::new();
    let mut acked = tcp(&first[0]).expect("data").segment.seq;
    let flow = bench.host.endpoint.flow(conn).expect("open");
    for _ in 0..20 {
        bench.wait_quietly(Duration::from_millis(1100));
        for frame in bench.host.sent(bench.now) {
            let s = tcp(&frame).expect("data").segment;
            assert!(frame.len() - 14 <= 1280, "{}", frame.len());
            if s.seq == acked {
                acked = s.end();
                again.push(s.len);
            }
            let ack = crate::hosts::frame(flow.remote, flow.local, &segment(Seq(501), acked, Flags::ACK, 0));
            bench.host.receive(bench.now, &ack);
        }
    }
    assert_eq!(again.iter().map(|len| u32::from(*len)).sum::<u32>(), 2920, "{again:?}");
    bench.host.endpoint.set_mtu(1500);
    assert_eq!(bench.host.endpoint.segment_len(conn), 1460);
    let (_, frames) = bench.connect(at(3, 80));
    assert_eq!(tcp(&frames[0]).expect("a SYN").segment.options.mss, Some(1460));
    bench.host.endpoint.set_mtu(1000);
    let (_, frames) = bench.connect(at(3, 81));
    assert_eq!(tcp(&frames[0]).expect("a SYN").segment.options.mss, Some(960));
}

#[test]
fn our_ethernet_address_may_change() {
    let mut bench = Bench::new(shared());
    let conn = bench.open(at(2, 80));
    bench.host.endpoint.set_mac(mac(1).next());
    let sent = bench.sending(conn, b"x");
    assert_eq!(ends(&sent[0]), (mac(2), mac(1).next()));
    let data = tcp(&sent[0]).expect("data").segment;
    let flow = bench.host.endpoint.flow(conn).expect("open");
    let ack = crate::hosts::frame(flow.remote, flow.local, &segment(Seq(501), data.end(), Flags::ACK, 0));
    bench.host.receive(bench.now, &ack);
    assert_eq!(bench.host.endpoint.counters().dropped_other_mac, 1, "it went to the old one");
}

trait Next {
    fn next(self) -> Self;
}

impl Next for Mac {
    fn next(self) -> Self {
        let mut octets = self.0;
        octets[4] += 1;
        Self(octets)
    }
}

#[test]
fn nothing_goes_while_the_link_is_down_and_everything_when_it_is_up() {
    let mut pair = Pair::new();
    pair.b.listen(at(2, 80));
    let (a, b) = pair.open();
    pair.a.endpoint.set_link(false);
    pair.a.write(a, b"hello");
    for _ in 0..20 {
        pair.now = pair.now + SECOND;
        pair.tick();
        assert_eq!(pair.a.sent(pair.now).len(), 0);
        pair.a.endpoint.check_consistency();
    }
    assert!(pair.a.endpoint.counters().dropped_link_down > 0);
    assert!(pair.a.endpoint.counters().rto_fired > 1, "timers run on");
    pair.a.endpoint.set_link(true);
    pair.settle();
    assert_eq!(pair.b.read(b), b"hello", "without waiting for a timer");
}

#[test]
fn a_link_that_stays_down_ends_a_connection_as_silence_does() {
    let mut bench = Bench::new(shared());
    let conn = bench.open(at(2, 80));
    let (opening, _) = bench.connect(at(2, 81));
    bench.host.endpoint.set_link(false);
    bench.host.write(conn, b"hello");
    for _ in 0..3000 {
        bench.wait(SECOND);
    }
    assert!(bench.closed(conn, CloseReason::TimedOut), "{:?}", bench.host.events);
    assert!(bench.closed(opening, CloseReason::TimedOut), "{:?}", bench.host.events);
}

#[test]
fn replies_wait_for_their_neighbour_and_are_bounded() {
    let mut bench = Bench::new(shared());
    bench.host.listen(at(1, 80));
    // The first SYN-ACK goes back to where the SYN came from; the one that goes again has to ask.
    let asks = |bench: &mut Bench, n: u8| {
        let syn = crate::hosts::frame(at(n, 5000), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
        bench.host.receive(bench.now, &syn);
        assert_eq!(bench.host.sent(bench.now).len(), 1);
    };
    asks(&mut bench, 30);
    asks(&mut bench, 31);
    assert!(bench.wait(Duration::from_millis(1100)).is_empty());
    let mut asked = bench.asked();
    asked.sort_unstable();
    assert_eq!(asked, [addr(30), addr(31)]);
    bench.host.endpoint.neighbour_failed(addr(31));
    assert_eq!(bench.host.endpoint.counters().dropped_unresolved, 1);
    assert!(bench.host.endpoint.set_neighbour(addr(30), mac(30)));
    let sent = bench.host.sent(bench.now);
    assert_eq!((sent.len(), ends(&sent[0]).0), (1, mac(30)));
    assert_eq!(tcp(&sent[0]).expect("a SYN-ACK").segment.flags, SYN_ACK);
}

#[test]
fn ports_of_others_are_not_chosen() {
    let ports_avoided = (50_001..=50_009).collect();
    let mut bench = Bench::new(EndpointConfig { ports: (50_000, 50_010), ports_avoided, ..shared() });
    let mut chosen: Vec<_> = (0..2)
        .map(|_| {
            let (conn, _) = bench.connect(at(2, 80));
            bench.host.endpoint.flow(conn).expect("it is there").local.port
        })
        .collect();
    chosen.sort_unstable();
    assert_eq!(chosen, [50_000, 50_010]);
    let none = bench.host.endpoint.connect(bench.now, at(1, 0), at(2, 80), TcpConfig::default());
    assert_eq!(none, Err(ConnectError::NoPort(at(2, 80))));
}

#[test]
fn an_endpoint_in_a_virtual_lan_has_its_own_frames_and_no_others() {
    let mut bench = Bench::new(EndpointConfig { vlan: Some(7), ..config(1) });
    bench.host.listen(at(1, 80));
    let syn = crate::hosts::frame(at(2, 5000), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    let tagged = |frame: &[u8], id: u16| {
        let mut tagged = [&frame[..12], &[0x81, 0, 0, 0], &frame[12..]].concat();
        tagged[14..16].copy_from_slice(&id.to_be_bytes());
        tagged
    };
    bench.host.receive(bench.now, &syn);
    bench.host.receive(bench.now, &tagged(&syn, 8));
    assert_eq!(bench.host.sent(bench.now).len(), 0);
    assert_eq!(bench.host.endpoint.counters().dropped_unhandled, 2);
    bench.host.receive(bench.now, &tagged(&syn, 0xe007));
    let sent = bench.host.sent(bench.now);
    assert_eq!(sent[0][12..16], [0x81, 0, 0, 7]);
    let syn_ack = tcp(&sent[0]).expect("a SYN-ACK").segment;
    let ack = crate::hosts::frame(at(2, 5000), at(1, 80), &segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 5));
    bench.host.receive(bench.now, &tagged(&ack, 7));
    let conn = bench.host.accepted().expect("accepted");
    assert_eq!(bench.host.read(conn), b"xxxxx");
    let sent = bench.sending(conn, b"hello");
    assert_eq!(sent[0][12..16], [0x81, 0, 0, 7]);
    assert_eq!(&sent[0][sent[0].len() - 5..], b"hello");
    assert_eq!(bench.host.endpoint.counters().payload_moves, 0, "it lay where it had to");
}

mod any_order {
    use super::*;
    use crate::hosts::Pair;
    use proptest::prelude::*;

    fn step(pair: &mut Pair, conn: ConnId, sent: &mut Vec<u8>, what: u8, arg: u16) {
        let a = &mut pair.a;
        match what {
            0 | 1 => {
                let bytes: Vec<u8> = (0..arg % 4000).map(|n| (n as u8).wrapping_add(sent.len() as u8)).collect();
                let taken = a.endpoint.send_copy(&mut a.frames, conn, &bytes).unwrap_or(0);
                sent.extend(&bytes[..taken]);
            }
            2 => a.endpoint.set_link(arg & 1 == 0),
            3 => a.endpoint.set_mtu(576 + arg % 925),
            4 => a.endpoint.remove_neighbour(addr(2)),
            5 => drop(a.endpoint.set_neighbour(addr(2), mac(2))),
            6 => a.endpoint.set_routes(if arg & 1 == 0 { &[] } else { std::slice::from_ref(&ON_LINK) }),
            7 => a.endpoint.neighbour_failed(addr(2)),
            8 => drop(a.endpoint.connect(pair.now, at(99, 0), at(2, 80), TcpConfig::default())),
            9 if arg & 1 == 0 => a.endpoint.add_address(cidr([10, 0, 0, 99], 24)),
            9 => drop(a.endpoint.remove_address(addr(99))),
            _ => pair.wait(Duration::from_millis(u64::from(arg % 1000))),
        }
    }

    const ON_LINK: Route = Route::new(Cidr { addr: Addr::v4([10, 0, 0, 0]), prefix_len: 24 }, Hop::Link);

    proptest! {
        /// Whatever happens to link, routes, neighbours and addresses, and in whatever order: when all is well again an
        /// open connection brings everything, and no frame is lost.
        #[test]
        fn an_open_connection_survives(ops in prop::collection::vec((0u8..12, any::<u16>()), 0..40)) {
            let shared = |n| EndpointConfig { sharing: Sharing::Shared, routes: vec![ON_LINK], ..config(n) };
            let mut pair = Pair::with(shared(1), shared(2));
            pair.b.listen(at(2, 80));
            let (a, b) = pair.open();
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            for (what, arg) in ops {
                step(&mut pair, a, &mut sent, what, arg);
                pair.settle();
                received.extend(pair.b.read(b));
                while pair.a.endpoint.poll_unresolved().is_some() {}
                pair.a.endpoint.check_consistency();
                pair.b.endpoint.check_consistency();
            }
            pair.a.endpoint.set_mtu(1500);
            pair.a.endpoint.set_routes(&[ON_LINK]);
            prop_assert!(pair.a.endpoint.set_neighbour(addr(2), mac(2)));
            pair.a.endpoint.set_link(true);
            for _ in 0..200 {
                pair.wait(SECOND);
                received.extend(pair.b.read(b));
            }
            prop_assert_eq!(pair.a.state(a), State::Established);
            prop_assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
            prop_assert_eq!(pair.a.endpoint.info(a).map(|info| info.in_flight + info.unsent), Some(0));
        }
    }
}

#[test]
fn a_reply_that_has_waited_for_long_answers_nobody_any_more() {
    let mut bench = Bench::new(shared());
    bench.host.listen(at(1, 80));
    let syn = crate::hosts::frame(at(30, 5000), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &syn);
    assert_eq!(bench.host.sent(bench.now).len(), 1);
    assert!(bench.wait(Duration::from_millis(1100)).is_empty(), "the SYN-ACK that goes again waits");
    // The request is taken back, and nobody answers for the neighbour, nor does anybody say so.
    let takes_back = crate::hosts::frame(at(30, 5000), at(1, 80), &segment(Seq(101), Seq(0), Flags::RST, 0));
    bench.host.receive(bench.now, &takes_back);
    for n in 0..4 {
        assert!(bench.wait(SECOND).is_empty());
        // Another neighbour that is found does not make it younger.
        assert!(bench.host.endpoint.set_neighbour(addr(40 + n), mac(40 + n)));
        assert!(bench.host.sent(bench.now).is_empty());
    }
    assert!(bench.host.endpoint.set_neighbour(addr(30), mac(30)));
    assert!(bench.host.sent(bench.now).is_empty());
    assert_eq!(bench.host.endpoint.counters().dropped_unresolved, 1);
}

/// A peer that heard them the other way round would see what it was offered taken back.
#[test]
fn what_has_waited_for_its_neighbour_leaves_before_what_came_later() {
    let mut bench = Bench::new(shared());
    bench.host.listen(at(1, 80));
    let syn = |n, port| crate::hosts::frame(at(n, port), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    for port in [5000, 5001] {
        bench.host.receive(bench.now, &syn(30, port));
        assert_eq!(bench.host.sent(bench.now).len(), 1);
    }
    assert!(bench.wait(Duration::from_millis(1100)).is_empty(), "the SYN-ACKs that go again wait");
    bench.host.receive(bench.now, &syn(31, 5002));
    assert!(bench.host.endpoint.set_neighbour(addr(30), mac(30)));
    let sent = bench.host.sent(bench.now);
    let ports: Vec<_> = sent.iter().map(|frame| tcp(frame).expect("a SYN-ACK").dst.port).collect();
    let mut waited = ports[..2].to_vec();
    waited.sort_unstable();
    assert_eq!((waited, &ports[2..]), (vec![5000, 5001], &[5002][..]));
}
