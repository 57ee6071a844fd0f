//! What ICMP says, and what TCP makes of it.

use crate::bench::{Bench, IRS, host, segment};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::CloseReason;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Flags;
use corelane_proto::wire::IcmpErrorKind;
use std::time::Duration;

const SOFT: [IcmpErrorKind; 6] = [
    IcmpErrorKind::NetUnreachable,
    IcmpErrorKind::HostUnreachable,
    IcmpErrorKind::SourceRouteFailed,
    IcmpErrorKind::TimeExceeded,
    IcmpErrorKind::ReassemblyTimeExceeded,
    IcmpErrorKind::ParameterProblem,
];
const HARD: [IcmpErrorKind; 2] = [IcmpErrorKind::ProtocolUnreachable, IcmpErrorKind::PortUnreachable];

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# TCP implementations MUST act on an ICMP error message passed up from the IP layer, directing it to the connection
//# that created the error (MUST-54).
#[test]
fn an_error_goes_to_the_connection_that_it_is_about() {
    let mut bench = Bench::new(TcpConfig::default());
    let (first, _) = bench.open();
    let (local, remote) = (SocketAddr::new(host(true, 1), 0), SocketAddr::new(host(true, 2), 81));
    let second = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
    let syn = bench.sent_frames();
    bench.queue(first, 5000);
    let data = bench.sent_frames();
    bench.receive_error(IcmpErrorKind::PacketTooBig, Some(1000), &data[0]);
    assert_eq!(bench.endpoint.segment_len(first), 960);
    bench.receive_error(IcmpErrorKind::PortUnreachable, None, &syn[0]);
    assert_eq!(bench.ended(second), Some(CloseReason::Unreachable));
    assert_eq!(bench.endpoint.segment_len(first), 960, "the other one is as it was");
}

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# a TCP implementation MUST NOT abort the connection (MUST-56)
#[test]
fn a_soft_error_ends_nothing() {
    let mut bench = Bench::new(TcpConfig::default());
    let (open, ours) = bench.open();
    let (local, remote) = (SocketAddr::new(host(true, 1), 0), SocketAddr::new(host(true, 2), 81));
    let opening = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
    let syn = bench.sent_frames();
    bench.queue(open, 100);
    let data = bench.sent_frames();
    for kind in SOFT {
        bench.receive_error(kind, None, &data[0]);
        bench.receive_error(kind, None, &syn[0]);
    }
    assert_eq!(bench.endpoint.counters().icmp_errors_in, 12, "they were believed");
    assert_eq!((bench.endpoint.info(open).is_some(), bench.endpoint.info(opening).is_some()), (true, true));
    bench.wait(Duration::from_secs(2));
    bench.receive(segment(IRS + 1, ours + 100, Flags::ACK, 0));
    assert_eq!(bench.endpoint.info(open).map(|info| info.in_flight), Some(0), "it goes on");
}

//= spec/rfc5927.txt#section-4.1
//= type=test
//# These implementations check that the TCP sequence number contained in the payload of the ICMP error message is
//# within the range SND.UNA =< SEG.SEQ < SND.NXT.
#[test]
fn an_error_about_what_is_not_in_flight_is_not_believed() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.queue(conn, 1000);
    let data = bench.sent_frames();
    bench.receive(segment(IRS + 1, ours + 1000, Flags::ACK, 0));
    for kind in SOFT.into_iter().chain(HARD).chain([IcmpErrorKind::PacketTooBig]) {
        assert_eq!(bench.receive_error(kind, Some(600), &data[0]), []);
    }
    let counters = bench.endpoint.counters();
    assert_eq!((counters.icmp_errors_in, counters.dropped_icmp_forged), (0, 9));
    assert_eq!((bench.endpoint.segment_len(conn), bench.events()), (1460, vec![]));
}

#[test]
fn a_path_that_is_no_narrower_sends_nothing_again() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open();
    bench.queue(conn, 5000);
    let data = bench.sent_frames();
    for mtu in [1500, 9000] {
        assert_eq!(bench.receive_error(IcmpErrorKind::PacketTooBig, Some(mtu), &data[0]), []);
    }
    assert!(!bench.receive_error(IcmpErrorKind::PacketTooBig, Some(1000), &data[0]).is_empty());
    assert_eq!(bench.receive_error(IcmpErrorKind::PacketTooBig, Some(1000), &data[0]), [], "once");
}

/// RFC 5927 5.2 answers the RFC's "SHOULD abort": what anyone can forge ends nothing that is open.
#[test]
fn a_hard_error_ends_an_attempt_and_nothing_that_is_open() {
    for kind in HARD {
        let mut bench = Bench::new(TcpConfig::default());
        let (open, _) = bench.open();
        let (local, remote) = (SocketAddr::new(host(true, 1), 0), SocketAddr::new(host(true, 2), 81));
        let opening = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
        let syn = bench.sent_frames();
        bench.queue(open, 100);
        let data = bench.sent_frames();
        bench.receive_error(kind, None, &data[0]);
        assert_eq!(bench.ended(open), None);
        bench.receive_error(kind, None, &syn[0]);
        assert_eq!(bench.ended(opening), Some(CloseReason::Unreachable));
        assert!(bench.endpoint.info(open).is_some());
    }
}

//= spec/rfc9293.txt#section-3.9.2.2
//= type=test
//# TCP implementations MUST silently discard any received ICMP Source Quench messages (MUST-55).
#[test]
fn a_source_quench_changes_nothing() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open();
    bench.queue(conn, 5000);
    let data = bench.sent_frames();
    let before = bench.endpoint.info(conn).map(|info| (info.cwnd, info.ssthresh, info.mss));
    assert_eq!(bench.receive_error(IcmpErrorKind::SourceQuench, None, &data[0]), []);
    assert_eq!(bench.endpoint.info(conn).map(|info| (info.cwnd, info.ssthresh, info.mss)), before);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.endpoint.counters().icmp_errors_in, 0);
}
