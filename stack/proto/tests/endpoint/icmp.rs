//! What the network says: ICMP errors, soft and hard, true and forged; and addresses that nobody can have.

use crate::hosts::{Bench, addr, at, config, mac, segment};
use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, ListenConfig, Trouble, Unreachable};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::icmp::emit_error;
use corelane_proto::wire::{EthernetHeader, IcmpErrorKind, IpHeader, ParseError};
use corelane_proto::{Addr, SocketAddr};
use std::time::Duration;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const ROUTER: u8 = 9;

const SOFT: [(IcmpErrorKind, Trouble); 7] = [
    (IcmpErrorKind::NetUnreachable, Trouble::Unreachable(Unreachable::Network)),
    (IcmpErrorKind::HostUnreachable, Trouble::Unreachable(Unreachable::Host)),
    (IcmpErrorKind::SourceRouteFailed, Trouble::Unreachable(Unreachable::SourceRoute)),
    (IcmpErrorKind::Prohibited, Trouble::Unreachable(Unreachable::Prohibited)),
    (IcmpErrorKind::TimeExceeded, Trouble::TimeExceeded),
    (IcmpErrorKind::ReassemblyTimeExceeded, Trouble::TimeExceeded),
    (IcmpErrorKind::ParameterProblem, Trouble::ParameterProblem),
];

impl Bench {
    /// A router reports that `frame`, which the endpoint sent, did not arrive.
    fn report(&mut self, kind: IcmpErrorKind, frame: &[u8]) {
        let six = frame[12..14] == [0x86, 0xdd];
        let (from, to) = if six { (six_of(ROUTER), six_of(1)) } else { (addr(ROUTER), addr(1)) };
        let eth = EthernetHeader { dst: mac(1), src: mac(ROUTER), vlan: None };
        let mut error = vec![0; 1400];
        let len = emit_error(&mut error, &eth, &IpHeader::new(from, to), kind, None, &frame[14..]);
        assert!(len > 0);
        self.host.receive(self.now, &error[..len]);
    }

    /// What the endpoint sends, as frames.
    fn frames(&mut self) -> Vec<Vec<u8>> {
        self.host.sent(self.now)
    }

    /// A connection to port 80 of host 2 that waits for its SYN-ACK, and its SYN.
    fn opening(&mut self, tcp: TcpConfig) -> (ConnId, Vec<u8>) {
        let conn = self.host.endpoint.connect(self.now, at(1, 0), at(2, 80), tcp).expect("connect");
        (conn, self.frames().remove(0))
    }

    /// An open connection from host 2 to port 80, with data in flight that is in the frame.
    fn open_and_sending(&mut self, tcp: TcpConfig) -> (ConnId, Vec<u8>) {
        self.host.endpoint.listen(at(1, 80), tcp).expect("listen");
        let syn_ack = self.receive(at(2, 5000), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0))[0];
        self.receive(at(2, 5000), at(1, 80), segment(Seq(101), syn_ack.seq + 1, Flags::ACK, 0));
        let conn = self.host.accepted().expect("accepted");
        self.host.write(conn, b"on the way");
        let frame = self.frames().remove(0);
        (conn, frame)
    }
}

fn six_of(n: u8) -> Addr {
    Addr::v6([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n])
}

//= spec/rfc9293.txt#section-3.9.1.8
//= type=test
//# There MUST be a mechanism for reporting soft TCP error conditions to the application (MUST-47).
//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# Since these Unreachable messages indicate soft error conditions, a TCP implementation MUST NOT abort the connection
//# (MUST-56), and it SHOULD make the information available to the application (SHLD-25).
#[test]
fn soft_errors_are_told_and_end_nothing() {
    for (kind, trouble) in SOFT {
        let mut bench = Bench::new(config(1));
        let (conn, syn) = bench.opening(TcpConfig::default());
        bench.report(kind, &syn);
        assert_eq!(bench.host.events, [Event::Trouble { conn, trouble }], "{kind:?} in SYN-SENT");
        assert_eq!(bench.host.state(conn), State::SynSent);

        let mut bench = Bench::new(config(1));
        let (conn, data) = bench.open_and_sending(TcpConfig::default());
        bench.report(kind, &data);
        assert_eq!(bench.host.events, [Event::Trouble { conn, trouble }], "{kind:?} in ESTABLISHED");
        assert_eq!(bench.host.state(conn), State::Established);
        assert_eq!(bench.wait(Duration::from_secs(1)).len(), 1, "it is sent again in its own time");
        assert_eq!(bench.host.endpoint.counters().icmp_errors_in, 1);
    }
}

#[test]
fn they_are_told_for_ipv6_too() {
    for (kind, trouble) in SOFT {
        let addresses = vec![Cidr { addr: six_of(1), prefix_len: 64 }];
        let mut bench = Bench::new(EndpointConfig { addresses, ..config(1) });
        assert!(bench.host.endpoint.set_neighbour(six_of(2), mac(2)));
        let (local, remote) = (SocketAddr::new(six_of(1), 0), SocketAddr::new(six_of(2), 80));
        let conn = bench.host.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
        let syn = bench.frames().remove(0);
        bench.report(kind, &syn);
        assert_eq!(bench.host.events, [Event::Trouble { conn, trouble }], "{kind:?}");
        bench.report(IcmpErrorKind::PortUnreachable, &syn);
        assert_eq!(bench.host.events[1..], [Event::Closed { conn, reason: CloseReason::Unreachable }]);
    }
}

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# [35] notes that some implementations do not abort connections when an ICMP hard error is received for a connection
//# that is in any of the synchronized states.
#[test]
fn hard_errors_end_an_attempt_to_open_and_nothing_that_is_open() {
    for (kind, what) in [
        (IcmpErrorKind::PortUnreachable, Unreachable::Port),
        (IcmpErrorKind::ProtocolUnreachable, Unreachable::Protocol),
    ] {
        let mut bench = Bench::new(config(1));
        let (conn, syn) = bench.opening(TcpConfig::default());
        bench.report(kind, &syn);
        assert_eq!(bench.host.events, [Event::Closed { conn, reason: CloseReason::Unreachable }]);

        let mut bench = Bench::new(config(1));
        let (conn, data) = bench.open_and_sending(TcpConfig::default());
        bench.report(kind, &data);
        assert_eq!(bench.host.events, [Event::Trouble { conn, trouble: Trouble::Unreachable(what) }]);
        assert_eq!(bench.host.state(conn), State::Established);
    }
}

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# TCP implementations MUST act on an ICMP error message passed up from the IP layer, directing it to the connection that
//# created the error (MUST-54).
#[test]
fn a_hard_error_about_a_syn_ack_returns_to_listen() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(at(1, 80));
    for peer in [5000, 5001] {
        let frame = crate::hosts::frame(at(2, peer), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
        bench.host.receive(bench.now, &frame);
    }
    let syn_acks = bench.frames();
    bench.report(IcmpErrorKind::HostUnreachable, &syn_acks[0]);
    assert_eq!(bench.host.endpoint.half_opens(), 2, "a soft one changes nothing");
    let mut forged = syn_acks[0].clone();
    forged[14 + 20 + 4] ^= 1;
    bench.report(IcmpErrorKind::PortUnreachable, &forged);
    assert_eq!((bench.host.endpoint.half_opens(), bench.host.endpoint.counters().dropped_icmp_forged), (2, 1));
    bench.report(IcmpErrorKind::PortUnreachable, &syn_acks[0]);
    assert_eq!(bench.host.endpoint.half_opens(), 1);
    assert_eq!(bench.host.events, []);
}

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# TCP implementations MUST silently discard any received ICMP Source Quench messages (MUST-55).
#[test]
fn source_quench_is_discarded() {
    let mut bench = Bench::new(config(1));
    let (conn, data) = bench.open_and_sending(TcpConfig::default());
    let before = bench.host.endpoint.info(conn).expect("it is there").cwnd;
    bench.report(IcmpErrorKind::SourceQuench, &data);
    assert_eq!(bench.host.events, []);
    assert_eq!(bench.host.endpoint.info(conn).expect("it is there").cwnd, before);
}

//= spec/rfc5927.txt#section-4.1
//= type=test
//# no checks are performed to verify that a received ICMP error message has been triggered by a segment that was "in
//# flight" to the destination.
#[test]
fn an_error_about_what_is_not_in_flight_is_forged() {
    let mut bench = Bench::new(config(1));
    let (conn, data) = bench.open_and_sending(TcpConfig::default());
    for high in 1..=255 {
        let mut forged = data.clone();
        forged[14 + 20 + 4] ^= high;
        bench.report(IcmpErrorKind::PortUnreachable, &forged);
        bench.report(IcmpErrorKind::NetUnreachable, &forged);
    }
    assert_eq!((bench.host.events.len(), bench.host.endpoint.counters().dropped_icmp_forged), (0, 510));
    let (opening, syn) = bench.opening(TcpConfig::default());
    let mut forged = syn;
    forged[14 + 20 + 7] ^= 1;
    bench.report(IcmpErrorKind::PortUnreachable, &forged);
    assert_eq!((bench.host.state(opening), bench.host.state(conn)), (State::SynSent, State::Established));
}

//= spec/rfc9293.txt#section-3.9.1.8
//= type=test
//# However, an application program that does not want to receive such ERROR_REPORT calls SHOULD be able to effectively
//# disable these calls (SHLD-20).
#[test]
fn an_application_that_wants_no_reports_gets_none() {
    let quiet = TcpConfig { report_soft_errors: false, ..TcpConfig::default() };
    let mut bench = Bench::new(config(1));
    let (conn, data) = bench.open_and_sending(quiet);
    for (kind, _) in SOFT {
        bench.report(kind, &data);
    }
    for _ in 0..60 {
        bench.wait(Duration::from_secs(1));
    }
    assert_eq!(bench.host.events, [], "nor of R1");
    assert!(bench.host.endpoint.configure(conn, TcpConfig::default()));
    bench.report(IcmpErrorKind::HostUnreachable, &data);
    assert_eq!(bench.host.events.len(), 1);
}

#[test]
fn who_gives_up_after_a_soft_error_knows_why() {
    let short = TcpConfig { give_up_after: Duration::from_secs(20), report_soft_errors: false, ..TcpConfig::default() };
    for (told, answered, reason) in [
        (true, false, CloseReason::Unreachable),
        (false, false, CloseReason::TimedOut),
        (true, true, CloseReason::TimedOut),
    ] {
        let mut bench = Bench::new(config(1));
        let (conn, data) = bench.open_and_sending(short);
        if told {
            bench.report(IcmpErrorKind::HostUnreachable, &data);
        }
        if answered {
            let packet = crate::hosts::tcp(&data).expect("a segment");
            let ack = segment(Seq(101), packet.segment.seq + 10, Flags::ACK, 0);
            bench.receive(at(2, 5000), at(1, 80), ack);
            bench.host.write(conn, b"more");
            bench.sent();
        }
        for _ in 0..60 {
            bench.wait(Duration::from_secs(1));
        }
        assert_eq!(bench.host.events, [Event::Closed { conn, reason }], "told {told}, answered {answered}");
    }
}

//= spec/rfc9293.txt#section-3.9.2
//= type=test
//# The TTL value used to send TCP segments MUST be configurable (MUST-49).
//= spec/rfc9293.txt#section-3.9.1.9
//= type=test
//# The application layer MUST be able to specify the Differentiated Services field for segments that are sent on a
//# connection (MUST-48).
//= spec/rfc9293.txt#section-3.9.1.9
//= type=test
//# It is not required, but the application SHOULD be able to change the Differentiated Services field during the connection
//# lifetime (SHLD-21).
//= spec/rfc9293.txt#section-3.9.1.9
//= type=test
//# TCP implementations SHOULD pass the current Differentiated Services field value without change to the IP layer, when it
//# sends segments on the connection (SHLD-22).
#[test]
fn every_segment_of_a_connection_is_marked_as_it_was_told() {
    let marked = TcpConfig { ttl: 33, dscp: 46, ..TcpConfig::default() };
    let is_marked = |bench: &mut Bench, ttl: u8, dscp: u8, what: &str| {
        let packets = bench.packets();
        assert!(!packets.is_empty(), "{what}: nothing was sent");
        for packet in packets {
            assert_eq!((packet.ttl, packet.tos), (ttl, dscp << 2), "{what}");
        }
    };
    let mut bench = Bench::new(config(1));
    bench.host.endpoint.listen(at(1, 80), ListenConfig::from(marked)).expect("listen");
    let give = |bench: &mut Bench, segment| {
        let frame = crate::hosts::frame(at(2, 5000), at(1, 80), &segment);
        bench.host.receive(bench.now, &frame);
    };
    give(&mut bench, segment(Seq(100), Seq(0), Flags::SYN, 0));
    let syn_ack = bench.packets().remove(0);
    assert_eq!((syn_ack.segment.flags, syn_ack.ttl, syn_ack.tos), (SYN_ACK, 33, 46 << 2));
    let ours = syn_ack.segment.seq + 1;
    bench.now = bench.now + Duration::from_millis(1100);
    bench.host.endpoint.on_time(bench.now, &mut bench.host.frames);
    is_marked(&mut bench, 33, 46, "the SYN-ACK again");
    give(&mut bench, segment(Seq(101), ours, Flags::ACK, 10));
    is_marked(&mut bench, 33, 46, "an ACK");
    let conn = bench.host.accepted().expect("accepted");
    assert_eq!(bench.host.read(conn).len(), 10);
    bench.host.write(conn, b"data");
    is_marked(&mut bench, 33, 46, "data");
    bench.now = bench.now + Duration::from_secs(3);
    bench.host.endpoint.on_time(bench.now, &mut bench.host.frames);
    is_marked(&mut bench, 33, 46, "data again");
    // SHLD-21: it can be changed.
    assert!(bench.host.endpoint.configure(conn, TcpConfig { ttl: 44, dscp: 8, ..marked }));
    give(&mut bench, segment(Seq(111), ours + 4, Flags::ACK, 5));
    is_marked(&mut bench, 44, 8, "after a change");
    give(&mut bench, segment(Seq(120), ours + 4, Flags::SYN, 0));
    is_marked(&mut bench, 44, 8, "a challenge ACK");
    bench.host.read(conn);
    bench.host.endpoint.close(conn);
    is_marked(&mut bench, 44, 8, "the FIN");
    give(&mut bench, segment(Seq(116), ours + 5, Flags(Flags::FIN.0 | Flags::ACK.0), 0));
    is_marked(&mut bench, 44, 8, "the last ACK");
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    give(&mut bench, segment(Seq(116), ours + 5, Flags(Flags::FIN.0 | Flags::ACK.0), 0));
    is_marked(&mut bench, 44, 8, "an ACK out of TIME-WAIT");
    let conn = bench.host.endpoint.connect(bench.now, at(1, 0), at(2, 80), marked).expect("connect");
    is_marked(&mut bench, 33, 46, "a SYN");
    let local = bench.host.endpoint.flow(conn).expect("it is there").local;
    let syn = crate::hosts::frame(at(2, 80), local, &segment(Seq(7), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &syn);
    is_marked(&mut bench, 33, 46, "a SYN-ACK of a simultaneous open");
    bench.host.endpoint.abort(conn);
    is_marked(&mut bench, 33, 46, "an RST");
}

//= spec/rfc9293.txt#section-3.9.2.3
//= type=test
//# An incoming SYN with an invalid source address MUST be ignored | either by TCP or by the IP layer [(MUST-63)] (see
//# | Section 3.2.1.3).
//= spec/rfc9293.txt#section-3.9.2.3
//= type=test
//# A TCP implementation MUST silently discard an incoming SYN segment | that is addressed to a broadcast or multicast
//# address [(MUST-57)].
#[test]
fn a_syn_from_or_to_an_address_that_no_host_has_is_dropped_and_counted() {
    let other = Addr::v4([172, 16, 0, 1]);
    let addresses = vec![Cidr { addr: addr(1), prefix_len: 24 }, Cidr { addr: other, prefix_len: 12 }];
    let mut bench = Bench::new(EndpointConfig { addresses, ..config(1) });
    bench.host.listen(at(1, 80));
    let syn = segment(Seq(100), Seq(0), Flags::SYN, 0);
    let from = |octets| SocketAddr::new(Addr::v4(octets), 5000);
    for here in [[10, 0, 0, 255], [10, 0, 0, 0], [172, 31, 255, 255], [172, 16, 0, 1]] {
        assert_eq!(bench.receive(from(here), at(1, 80), syn), [], "from {here:?}");
    }
    assert_eq!(bench.host.endpoint.counters().dropped_martian, 4);
    let nowhere = [[0; 4], [0, 0, 0, 7], [127, 0, 0, 1], [224, 0, 0, 1], [239, 1, 1, 1], [255; 4], [10, 0, 0, 1]];
    for source in nowhere {
        assert_eq!(bench.receive(from(source), at(1, 80), syn), [], "from {source:?}");
    }
    assert_eq!(bench.host.endpoint.counters().parse.of(ParseError::MartianSource), nowhere.len() as u64);
    for to in [[255; 4], [224, 0, 0, 1], [10, 0, 0, 255], [10, 0, 0, 77]] {
        let to = SocketAddr::new(Addr::v4(to), 80);
        assert_eq!(bench.receive(at(2, 5000), to, syn), [], "to {to}");
    }
    let counters = bench.host.endpoint.counters();
    assert_eq!((counters.parse.of(ParseError::MartianDestination), counters.dropped_other_address), (2, 2));
    let mut to_all = crate::hosts::frame(at(2, 5000), at(1, 80), &syn);
    to_all[..6].fill(0xff);
    bench.host.receive(bench.now, &to_all);
    assert_eq!((bench.sent(), bench.host.endpoint.half_opens()), (vec![], 0), "nor by an Ethernet address for all");
}
