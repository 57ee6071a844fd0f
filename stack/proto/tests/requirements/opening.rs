//! Calls that open.

use crate::bench::{Bench, host};
use corelane_proto::endpoint::ConnectError;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Addr, SocketAddr};

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# A TCP implementation MUST reject as an error a local OPEN call for an invalid remote IP address (e.g., a broadcast
//# or multicast address) (MUST-46).
#[test]
fn nobody_and_everybody_cannot_be_connected_to() {
    let mut bench = Bench::new(TcpConfig::default());
    let local = SocketAddr::new(host(true, 1), 0);
    for addr in [[0, 0, 0, 0], [224, 0, 0, 1], [239, 255, 255, 255], [255, 255, 255, 255], [10, 0, 0, 255]] {
        let remote = SocketAddr::new(Addr::v4(addr), 80);
        let refused = bench.endpoint.connect(bench.now, local, remote, TcpConfig::default());
        assert_eq!(refused, Err(ConnectError::BadRemote(remote)));
    }
    assert_eq!(bench.sent(), []);
    assert_eq!(bench.endpoint.connections(), 0);
}

//= spec/rfc9293.txt#section-3.9.1.1
//= type=test
//# The optional "local IP address" parameter MUST be supported to allow the specification of the local IP address
//# (MUST-43).
#[test]
fn a_connection_begins_at_the_address_that_is_asked_for() {
    let mut bench = Bench::new(TcpConfig::default());
    for n in [1, 3] {
        let (local, remote) = (SocketAddr::new(host(true, n), 0), SocketAddr::new(host(true, 2), 80));
        bench.endpoint.connect(bench.now, local, remote, TcpConfig::default()).expect("connect");
        let syn = bench.sent_packets();
        assert_eq!(syn.iter().map(|packet| packet.src.addr).collect::<Vec<_>>(), [local.addr]);
    }
    let foreign = SocketAddr::new(host(true, 7), 0);
    let refused = bench.endpoint.connect(bench.now, foreign, SocketAddr::new(host(true, 2), 80), TcpConfig::default());
    assert_eq!(refused, Err(ConnectError::NotOurs(foreign.addr)));
}
