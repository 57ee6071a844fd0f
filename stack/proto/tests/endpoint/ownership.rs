//! Several endpoints with one address: which flows an endpoint keeps, and what it gives back for another.

use crate::hosts::{Bench, addr, at, config, frame, mac, segment};
use corelane_proto::endpoint::{ConnectError, EndpointConfig, Event, Ownership};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use corelane_proto::wire::icmp::emit_error;
use corelane_proto::wire::{EthernetHeader, IcmpErrorKind, IpHeader};
use corelane_proto::{Flow, Memory, SocketAddr};
use std::cell::Cell;
use std::rc::Rc;

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

/// Whose the flows are whose remote port is even; the others are the other endpoint's.
#[derive(Clone, Debug, Default)]
struct Even(Rc<Cell<bool>>);

impl Ownership for Even {
    fn is_ours(&self, flow: &Flow) -> bool {
        (flow.remote.port ^ flow.local.port).is_multiple_of(2) || self.0.get()
    }
}

/// An endpoint that has the flows between ports of which both are even or odd. All are its own while the cell is true.
fn shared(config: EndpointConfig) -> (Bench, Even) {
    let (mut bench, even) = (Bench::new(config), Even::default());
    bench.host.endpoint.set_ownership(Box::new(even.clone()));
    bench.host.endpoint.listen(at(1, 80), TcpConfig::default()).expect("listen");
    (bench, even)
}

impl Bench {
    /// The flow of the next frame that is another's, and whether it is whole; the frame is freed.
    fn astray(&mut self, whole: &[u8]) -> Option<Flow> {
        let astray = self.host.endpoint.poll_astray()?;
        assert_eq!(astray.frame.bytes(&self.host.frames), whole, "it is unchanged");
        self.host.frames.free(astray.frame.token);
        Some(astray.flow)
    }

    fn open_from(&mut self, port: u16) -> Seq {
        let syn_ack = self.receive(at(2, port), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0));
        assert_eq!(syn_ack[0].flags, SYN_ACK);
        self.receive(at(2, port), at(1, 80), segment(Seq(101), syn_ack[0].seq + 1, Flags::ACK, 0));
        syn_ack[0].seq + 1
    }
}

fn flow(local: SocketAddr, remote: SocketAddr) -> Flow {
    Flow { local, remote }
}

#[test]
fn it_says_where_it_listens() {
    let mut bench = Bench::new(config(1));
    assert_eq!(bench.host.endpoint.listens_on().count(), 0);
    let ids = [81, 80].map(|port| bench.host.endpoint.listen(at(1, port), TcpConfig::default()).expect("listen"));
    assert_eq!(bench.host.endpoint.listens_on().collect::<Vec<_>>(), [at(1, 80), at(1, 81)]);
    bench.host.endpoint.unlisten(ids[0]);
    assert_eq!(bench.host.endpoint.listens_on().collect::<Vec<_>>(), [at(1, 80)]);
}

#[test]
fn a_request_of_anothers_flow_is_given_back_whole_and_leaves_nothing() {
    let (mut bench, _) = shared(config(1));
    let free = bench.host.frames.available();
    let syn = frame(at(2, 5001), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    bench.host.receive(bench.now, &syn);
    assert_eq!(bench.astray(&syn), Some(flow(at(1, 80), at(2, 5001))));
    assert!(bench.sent().is_empty() && bench.host.endpoint.half_opens() == 0);
    assert_eq!(bench.host.frames.available(), free);
    // So is a segment that nobody knows: whether it deserves a reset is the other's to say.
    let stray = frame(at(2, 5001), at(1, 80), &segment(Seq(100), Seq(7), Flags::ACK, 3));
    bench.host.receive(bench.now, &stray);
    assert!(bench.astray(&stray).is_some() && bench.sent().is_empty());
    assert_eq!(bench.host.endpoint.counters().astray, 2);
    // What is ours is served.
    bench.open_from(5000);
    assert!(bench.host.accepted().is_some() && bench.host.endpoint.poll_astray().is_none());
}

#[test]
fn what_has_begun_here_stays_here_although_its_flow_moves() {
    let (mut bench, all) = shared(config(1));
    all.0.set(true);
    // One half-open, one open, one in TIME-WAIT.
    let half = bench.receive(at(2, 5001), at(1, 80), segment(Seq(100), Seq(0), Flags::SYN, 0))[0];
    let open = bench.open_from(5003);
    let conn = bench.host.accepted().expect("accepted");
    let over = bench.open_from(5005);
    let waiting = bench.host.accepted().expect("accepted");
    bench.host.endpoint.close(waiting);
    let fin = bench.sent().pop().expect("a FIN");
    bench.receive(at(2, 5005), at(1, 80), segment(Seq(101), fin.seq + 1, FIN_ACK, 0));
    assert_eq!(bench.host.endpoint.time_waits(), 1);
    all.0.set(false);
    let mut here: Vec<_> = bench.host.endpoint.flows().map(|flow| flow.remote.port).collect();
    here.sort_unstable();
    let waiting: Vec<_> = bench.host.endpoint.waiting_flows().map(|flow| flow.remote.port).collect();
    assert_eq!((here, waiting), (vec![5001, 5003], vec![5005]));
    let has = |port| bench.host.endpoint.has_flow(&flow(at(1, 80), at(2, port)));
    assert_eq!([5001, 5003, 5005, 5007].map(has), [true, true, true, false]);
    bench.receive(at(2, 5001), at(1, 80), segment(Seq(101), half.seq + 1, Flags::ACK, 0));
    assert!(bench.host.accepted().is_some(), "the handshake ends here");
    bench.receive(at(2, 5003), at(1, 80), segment(Seq(101), open, Flags::ACK, 5));
    assert_eq!(bench.host.read(conn).len(), 5);
    let again = bench.receive(at(2, 5005), at(1, 80), segment(Seq(101), over + 1, FIN_ACK, 0));
    assert_eq!(again.first().map(|ack| ack.flags), Some(Flags::ACK), "TIME-WAIT answers the FIN that comes again");
    assert!(bench.host.endpoint.poll_astray().is_none());
}

#[test]
fn an_icmp_error_goes_where_the_flow_goes_that_it_quotes() {
    let (mut bench, _) = shared(config(1));
    let error = |from: SocketAddr| {
        let quoted = frame(at(1, 80), from, &segment(Seq(1), Seq(1), Flags::ACK, 0));
        let eth = EthernetHeader { dst: mac(1), src: mac(9), vlan: None };
        let mut error = vec![0; 600];
        let ip = IpHeader::new(addr(9), addr(1));
        let len = emit_error(&mut error, &eth, &ip, IcmpErrorKind::HostUnreachable, None, &quoted[14..]);
        error[..len].to_vec()
    };
    let (theirs, ours) = (error(at(2, 5001)), error(at(2, 5000)));
    bench.host.receive(bench.now, &theirs);
    assert_eq!(bench.astray(&theirs), Some(flow(at(1, 80), at(2, 5001))));
    bench.host.receive(bench.now, &ours);
    assert!(bench.host.endpoint.poll_astray().is_none());
    assert_eq!(bench.host.endpoint.counters().dropped_no_listener, 1, "it is ours, and nothing is known of it");
}

#[test]
fn a_port_is_chosen_that_makes_the_flow_ours_until_there_is_none() {
    let (mut bench, _) = shared(EndpointConfig { ports: (4000, 4009), ..config(1) });
    let connect =
        |bench: &mut Bench, port| bench.host.endpoint.connect(bench.now, at(1, port), at(2, 80), TcpConfig::default());
    let mut ports = Vec::new();
    for _ in 0..5 {
        let conn = connect(&mut bench, 0).expect("a port");
        ports.extend(bench.host.endpoint.flow(conn).map(|flow| flow.local.port));
    }
    ports.sort_unstable();
    assert_eq!(ports, [4000, 4002, 4004, 4006, 4008]);
    assert_eq!(connect(&mut bench, 0), Err(ConnectError::NoPort(at(2, 80))));
    assert_eq!(bench.host.endpoint.counters().connects_without_port, 1);
    assert_eq!(connect(&mut bench, 5001), Err(ConnectError::OtherCore(at(1, 5001))));
    let bound = connect(&mut bench, 5002).expect("it is ours");
    assert_eq!(bench.host.state(bound), State::SynSent);
}

#[test]
fn frames_that_nobody_fetches_are_bounded() {
    let (mut bench, _) = shared(config(1));
    let free = bench.host.frames.available();
    let syn = frame(at(2, 5001), at(1, 80), &segment(Seq(100), Seq(0), Flags::SYN, 0));
    for _ in 0..free {
        bench.host.receive(bench.now, &syn);
    }
    let counters = bench.host.endpoint.counters();
    assert_eq!((counters.astray, counters.dropped_astray), (64, free as u64 - 64));
    assert!(bench.host.events.iter().all(|event| !matches!(event, Event::Accepted { .. })));
    while bench.astray(&syn).is_some() {}
    assert_eq!(bench.host.frames.available(), free);
}
