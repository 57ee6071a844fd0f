//! IPv4 source routes (RFC 9293 3.9.2.1).

use crate::hosts::{Bench, addr, at, config, mac, segment, tcp};
use corelane_proto::endpoint::{ConnectError, EndpointConfig, Event};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{SourceRoute, TcpPacket};
use corelane_proto::{Addr, SocketAddr};

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const FAR: SocketAddr = SocketAddr::new(Addr::v4([192, 0, 2, 7]), 80);
const HERE: SocketAddr = at(1, 80);
const LOOSE: u8 = 131;

fn checksum(header: &mut [u8]) {
    [header[10], header[11]] = [0, 0];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A frame whose IPv4 header has these options.
fn with_options(from: SocketAddr, segment: &Segment, options: &[u8]) -> Vec<u8> {
    let mut frame = crate::hosts::frame(from, HERE, segment);
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x45 + (options.len() / 4) as u8;
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    checksum(&mut frame[14..34 + options.len()]);
    frame
}

/// A completed loose route that was recorded by way of these gateways.
fn recorded(gateways: &[u8]) -> Vec<u8> {
    let mut options = vec![1, LOOSE, 3 + 4 * gateways.len() as u8, 4 + 4 * gateways.len() as u8];
    gateways.iter().for_each(|&n| options.extend([10, 0, 0, n]));
    options
}

/// What was sent: the address in the IP header, the gateways and the destination in its option, and the segment, whose
/// checksum holds for the destination.
fn taken_apart(frame: &[u8]) -> (Addr, Vec<[u8; 4]>, TcpPacket) {
    let header_len = usize::from(frame[14] & 15) * 4;
    let first = Addr::v4([frame[30], frame[31], frame[32], frame[33]]);
    let option = &frame[34..14 + header_len];
    assert_eq!((option[0], option[2], usize::from(option[1]) + 1), (LOOSE, 4, option.len()));
    let addresses: Vec<[u8; 4]> = option[3..].chunks_exact(4).map(|bytes| bytes.try_into().expect("four")).collect();
    let mut plain = frame.to_vec();
    plain.drain(34..14 + header_len);
    plain[14] = 0x45;
    let total = (plain.len() - 14) as u16;
    plain[16..18].copy_from_slice(&total.to_be_bytes());
    plain[30..34].copy_from_slice(addresses.last().expect("a destination"));
    checksum(&mut plain[14..34]);
    let mut whole = frame[14..14 + header_len].to_vec();
    checksum(&mut whole);
    assert_eq!(whole, frame[14..14 + header_len], "the header's checksum");
    (first, addresses, tcp(&plain).expect("a segment"))
}

/// Checks that everything sent goes by way of these gateways to `to`; gives the segments.
fn all_by(bench: &mut Bench, gateways: &[u8], to: SocketAddr) -> Vec<Segment> {
    let frames = bench.host.sent(bench.now);
    assert!(!frames.is_empty(), "nothing was sent");
    let segments = frames.iter().map(|frame| {
        let (first, addresses, packet) = taken_apart(frame);
        assert_eq!(first, addr(gateways[0]));
        let expected: Vec<[u8; 4]> = gateways[1..].iter().map(|&n| [10, 0, 0, n]).chain(to.addr.as_v4()).collect();
        assert_eq!(addresses, expected);
        assert_eq!(frame[..6], mac(gateways[0]).0, "to the first gateway");
        packet.segment
    });
    segments.collect()
}

fn stamped(segment: Segment) -> Segment {
    let options = Options { mss: Some(1460), timestamps: Some(Timestamps::default()), ..Options::NONE };
    Segment { options, ..segment }
}

//= spec/rfc9293.txt#section-3.9.2.1
//= type=test
//# An application MUST be able to specify a source route when it actively opens a TCP connection (MUST-51)
//= spec/rfc9293.txt#section-3.9.2.1
//= type=test
//# this MUST take precedence over a source route received in a datagram (MUST-52).
#[test]
fn a_route_that_is_given_is_that_of_every_segment() {
    for accept_source_routes in [true, false] {
        let mut bench = Bench::new(EndpointConfig { accept_source_routes, ..config(1) });
        let route = SourceRoute::new(false, &[addr(4), addr(5), addr(6)]);
        let conn = bench.host.endpoint.connect_by(bench.now, HERE, FAR, route, TcpConfig::default()).expect("connect");
        let syn = all_by(&mut bench, &[4, 5, 6], FAR)[0];
        assert_eq!((syn.flags, syn.options.mss), (Flags::SYN, Some(1460)), "what we receive has no such option");
        // The peer answers by another way.
        let answer = stamped(segment(Seq(100), syn.seq + 1, SYN_ACK, 0));
        bench.host.receive(bench.now, &with_options(FAR, &answer, &recorded(&[7, 8])));
        assert!(bench.host.saw(Event::Connected(conn)));
        assert_eq!(all_by(&mut bench, &[4, 5, 6], FAR)[0].flags, Flags::ACK);
        let info = bench.host.endpoint.info(conn).expect("it is there");
        assert_eq!(info.mss, 1460 - 12 - 16, "less by the options of both headers");
        bench.host.write(conn, &[7; 4000]);
        let sent = all_by(&mut bench, &[4, 5, 6], FAR);
        assert_eq!(sent.iter().map(|s| s.len).collect::<Vec<_>>(), [1432, 1432, 1136]);
        assert_eq!(bench.host.endpoint.counters().payload_moves, 0, "it was written where it is sent from");
        let data = stamped(segment(Seq(101), syn.seq + 4001, Flags::ACK, 10));
        bench.host.receive(bench.now, &with_options(FAR, &data, &recorded(&[8])));
        all_by(&mut bench, &[4, 5, 6], FAR);
        bench.host.endpoint.abort(conn);
        assert!(all_by(&mut bench, &[4, 5, 6], FAR)[0].flags.has(Flags::RST));
    }
}

#[test]
fn a_connection_after_one_with_a_route_has_none() {
    let mut bench = Bench::new(config(1));
    let route = SourceRoute::new(false, &[addr(4)]);
    let conn =
        bench.host.endpoint.connect_by(bench.now, HERE, at(2, 80), route, TcpConfig::default()).expect("connect");
    all_by(&mut bench, &[4], at(2, 80));
    bench.host.endpoint.abort(conn);
    bench.wait(std::time::Duration::ZERO);
    bench.host.endpoint.connect(bench.now, HERE, at(2, 80), TcpConfig::default()).expect("connect");
    assert_eq!(bench.sent()[0].flags, Flags::SYN);
    let far = bench.host.endpoint.connect(bench.now, HERE, FAR, TcpConfig::default());
    assert_eq!(far, Err(ConnectError::NoRoute(FAR.addr)), "only the route had a way there");
}

//= spec/rfc9293.txt#section-3.9.2.1
//= type=test
//# When a TCP connection is OPENed passively and a packet arrives with a completed IP Source Route Option (containing a
//# return route), TCP implementations MUST save the return route and use it for all segments sent on this connection
//# (MUST-53).
//= spec/rfc9293.txt#section-3.9.2.1
//= type=test
//# If a different source route arrives in a later segment, the later definition SHOULD override the earlier one (SHLD-24).
#[test]
fn a_connection_that_comes_by_a_route_is_answered_by_it() {
    let mut bench = Bench::new(EndpointConfig { accept_source_routes: true, ..config(1) });
    bench.host.listen(HERE);
    let syn = stamped(segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &with_options(FAR, &syn, &recorded(&[4, 5])));
    // The SYN-ACK goes to the Ethernet address from which the SYN came.
    let frame = bench.host.sent(bench.now).remove(0);
    let (first, addresses, syn_ack) = taken_apart(&frame);
    assert_eq!((first, addresses), (addr(5), vec![[10, 0, 0, 4], [192, 0, 2, 7]]));
    let ours = syn_ack.segment.seq + 1;
    let ack = stamped(segment(Seq(101), ours, Flags::ACK, 0));
    bench.host.receive(bench.now, &crate::hosts::frame(FAR, HERE, &ack));
    let conn = bench.host.accepted().expect("accepted");
    bench.host.write(conn, b"back");
    assert_eq!(all_by(&mut bench, &[5, 4], FAR)[0].len, 4);
    assert_eq!(bench.host.endpoint.info(conn).expect("it is there").mss, 1460 - 12 - 12);
    // Old, or out of order, or acknowledging the future: it could be anybody's.
    for (seq, acked) in [(90, 4), (500, 4), (101, 5000)] {
        let stray = stamped(segment(Seq(seq), ours + acked, Flags::ACK, 0));
        bench.host.receive(bench.now, &with_options(FAR, &stray, &recorded(&[6, 7, 8])));
        bench.host.sent(bench.now);
    }
    bench.host.write(conn, b"still");
    all_by(&mut bench, &[5, 4], FAR);
    let next = stamped(segment(Seq(101), ours + 9, Flags::ACK, 20));
    bench.host.receive(bench.now, &with_options(FAR, &next, &recorded(&[6, 7, 8])));
    assert_eq!(all_by(&mut bench, &[8, 7, 6], FAR)[0].ack, Seq(121), "a later one overrides");
    assert_eq!(bench.host.endpoint.info(conn).expect("it is there").mss, 1460 - 12 - 16);
    let without = stamped(segment(Seq(121), ours + 9, Flags::ACK, 20));
    bench.host.receive(bench.now, &crate::hosts::frame(FAR, HERE, &without));
    all_by(&mut bench, &[8, 7, 6], FAR);
    bench.host.read(conn);
    bench.host.endpoint.close(conn);
    assert!(all_by(&mut bench, &[8, 7, 6], FAR)[0].flags.has(Flags::FIN));
}

/// What was sent before the way grew longer is too long for it: it goes again in two.
#[test]
fn a_fast_retransmission_by_a_longer_way_fits_the_link() {
    let mut bench = Bench::new(EndpointConfig { accept_source_routes: true, ..config(1) });
    bench.host.listen(HERE);
    let syn = stamped(segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &with_options(FAR, &syn, &recorded(&[4])));
    let ours = taken_apart(&bench.host.sent(bench.now)[0]).2.segment.seq + 1;
    bench
        .host
        .receive(bench.now, &with_options(FAR, &stamped(segment(Seq(101), ours, Flags::ACK, 0)), &recorded(&[4])));
    let conn = bench.host.accepted().expect("accepted");
    bench.host.write(conn, &[7; 8000]);
    assert_eq!(all_by(&mut bench, &[4], FAR).len(), 6);
    let longest = recorded(&[2, 3, 4, 5, 6, 7, 8, 9, 4]);
    let mut again = Vec::new();
    for _ in 0..4 {
        let ack = stamped(segment(Seq(101), ours, Flags::ACK, 0));
        bench.host.receive(bench.now, &with_options(FAR, &ack, &longest));
        again.extend(bench.host.sent(bench.now));
    }
    assert!(again.iter().all(|frame| frame.len() <= 14 + 1500), "{:?}", again.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(taken_apart(&again[0]).2.segment.seq, ours);
}

#[test]
fn what_came_by_a_route_that_is_not_wanted_or_has_no_end_here_is_dropped() {
    let mut bench = Bench::new(config(1));
    bench.host.listen(HERE);
    let syn = segment(Seq(100), Seq(0), Flags::SYN, 0);
    bench.host.receive(bench.now, &with_options(at(2, 5000), &syn, &recorded(&[4, 5])));
    assert_eq!((bench.packets().len(), bench.host.endpoint.counters().dropped_source_route), (0, 1));
    let mut trusting = Bench::new(EndpointConfig { accept_source_routes: true, ..config(1) });
    trusting.host.listen(HERE);
    let mut unfinished = recorded(&[4, 5]);
    unfinished[3] = 8;
    trusting.host.receive(trusting.now, &with_options(at(2, 5000), &syn, &unfinished));
    assert_eq!((trusting.packets().len(), trusting.host.endpoint.counters().dropped_source_route), (0, 1));
    // Options that nobody knows are no hindrance (MUST-50): a router alert, a timestamp, nonsense.
    for (n, options) in [&[148, 4, 0, 0][..], &[68, 8, 5, 0, 0, 0, 0, 0], &[99, 77, 1, 2]].into_iter().enumerate() {
        bench.host.receive(bench.now, &with_options(at(2, 6000 + n as u16), &syn, options));
        assert_eq!(bench.packets()[0].segment.flags, SYN_ACK, "{options:?}");
    }
}
