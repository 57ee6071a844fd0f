//! Connections that go from one endpoint to another one of the same host.

use crate::hosts::{Host, Pair, addr, at, config};
use corelane_proto::endpoint::{CloseReason, ConnId, EndpointConfig, Event, MoveError, Moving, Shutdown};
use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
use corelane_proto::tcp::state::State;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Two hosts with a connection, and another endpoint of the second one, which listens nowhere.
struct World {
    pair: Pair,
    other: Host,
    client: ConnId,
    server: ConnId,
}

impl World {
    fn new() -> Self {
        Self::with(config(2), &TcpConfig::default())
    }

    fn with(server: EndpointConfig, tcp: &TcpConfig) -> Self {
        let mut pair = Pair::with(config(1), server);
        pair.b.endpoint.listen(at(2, 80), *tcp).expect("listen");
        let (client, server) = pair.open();
        let other = Host::new(2, config(2), pair.now);
        Self { pair, other, client, server }
    }

    fn move_out(&mut self) -> Option<Box<Moving>> {
        let Pair { b, .. } = &mut self.pair;
        b.endpoint.move_out(&mut b.frames, self.server)
    }

    /// Moves the server's end to the other endpoint, which is the pair's from then on.
    fn go(&mut self) {
        let moving = self.move_out().expect("it is at rest");
        let Self { pair, other, .. } = self;
        self.server = other.endpoint.move_in(pair.now, &mut other.frames, moving).expect("it is taken");
        pair.b.endpoint.moved();
        std::mem::swap(&mut pair.b, other);
        for host in [&self.pair.b, &self.other] {
            host.endpoint.check_consistency();
        }
    }

    /// Sends so many bytes each way, which arrive whole, and waits until all has been acknowledged.
    fn talk(&mut self, len: usize, seed: u8) {
        let Self { pair, client, server, .. } = self;
        let sent: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        for (at, piece) in sent.chunks(20_000).enumerate() {
            pair.a.write(*client, piece);
            pair.b.write(*server, piece);
            pair.settle();
            assert!(pair.b.read(*server) == piece && pair.a.read(*client) == piece, "piece {at}");
        }
        pair.wait(SECOND);
    }
}

#[test]
fn a_connection_goes_on_where_it_was() {
    let mut world = World::new();
    world.talk(500_000, 1);
    world.pair.a.write(world.client, b"not read yet");
    world.pair.wait(SECOND);
    let before = world.pair.b.endpoint.info(world.server);
    world.go();
    assert_eq!(world.pair.b.endpoint.info(world.server), before, "windows, times and counts");
    assert_eq!(before.map(|info| (info.state, info.unread)), Some((State::Established, 12)));
    assert_eq!((world.other.endpoint.connections(), world.other.endpoint.poll_deadline()), (0, None));
    assert_eq!(world.pair.b.endpoint.poll_event(), Some(Event::Readable(world.server)));
    assert_eq!(world.pair.b.read(world.server), b"not read yet");
    let segments = world.pair.trace.len();
    world.pair.settle();
    assert!(world.pair.trace[segments..].iter().all(|(_, segment)| segment.len == 0), "nothing is sent again");
    world.talk(500_000, 2);
    // There and back again.
    world.go();
    world.talk(100_000, 3);
    assert_eq!(world.pair.b.endpoint.info(world.server).map(|info| info.counts.retransmits), Some(0));
    world.pair.a.endpoint.close(world.client);
    world.pair.settle();
    assert!(world.pair.b.saw(Event::PeerClosed(world.server)));
    world.pair.b.endpoint.close(world.server);
    world.pair.settle();
    assert!(world.pair.b.saw(Event::Closed { conn: world.server, reason: CloseReason::Finished }));
    assert!(world.pair.flags().iter().all(|(_, flags)| !flags.has(corelane_proto::tcp::segment::Flags::RST)));
}

#[test]
fn what_is_lost_afterwards_is_sent_again_and_a_silent_peer_is_still_asked() {
    let idle = 30 * SECOND;
    let keepalive = KeepaliveConfig { idle, ..KeepaliveConfig::default() };
    let mut world = World::with(config(2), &TcpConfig { keepalive: Some(keepalive), ..TcpConfig::default() });
    world.talk(10_000, 1);
    let quiet_since = world.pair.now;
    world.pair.wait(10 * SECOND);
    world.go();
    let asked = world.pair.b.endpoint.poll_deadline().expect("the keepalive timer is armed");
    assert!(asked > quiet_since && asked <= quiet_since + idle, "{asked:?} after {quiet_since:?}");
    let segments = world.pair.trace.len();
    world.pair.wait(25 * SECOND);
    assert!(world.pair.trace[segments..].iter().any(|(n, _)| *n == 2), "the peer was asked");
    // The first transmission is lost.
    world.pair.b.write(world.server, b"lost at first");
    let lost = world.pair.b.sent(world.pair.now);
    assert_eq!(lost.len(), 1);
    world.pair.wait(5 * SECOND);
    assert_eq!(world.pair.a.read(world.client), b"lost at first");
    assert!(world.pair.b.endpoint.info(world.server).is_some_and(|info| info.counts.retransmits > 0));
}

/// Whether the server's end may move.
fn may_move(world: &World) -> bool {
    world.pair.b.endpoint.may_move(world.server)
}

#[test]
fn only_a_connection_at_rest_moves() {
    let mut world = World::new();
    assert!(may_move(&world));
    world.pair.b.write(world.server, b"something");
    assert!(!may_move(&world), "something is to be sent");
    let on_its_way = world.pair.b.sent(world.pair.now);
    assert!(!may_move(&world) && world.move_out().is_none(), "something is to be acknowledged");
    on_its_way.iter().for_each(|frame| world.pair.a.receive(world.pair.now, frame));
    world.pair.wait(SECOND);
    assert!(may_move(&world));
    // The application has bytes of it.
    world.pair.a.write(world.client, b"taken out");
    world.pair.settle();
    assert!(may_move(&world));
    let buf = world.pair.b.endpoint.recv(world.server).expect("bytes");
    assert!(!may_move(&world));
    world.pair.b.endpoint.consumed(world.server, buf.len.into());
    corelane_proto::Memory::free(&mut world.pair.b.frames, buf.token);
    assert!(may_move(&world));
    // Something waits for a gap.
    world.pair.a.write(world.client, &[1; 1000]);
    let first = world.pair.a.sent(world.pair.now);
    world.pair.a.write(world.client, &[2; 1000]);
    let second = world.pair.a.sent(world.pair.now);
    second.iter().for_each(|frame| world.pair.b.receive(world.pair.now, frame));
    assert!(!may_move(&world));
    first.iter().for_each(|frame| world.pair.b.receive(world.pair.now, frame));
    assert_eq!(world.pair.b.read(world.server).len(), 2000);
    world.pair.wait(SECOND);
    assert!(may_move(&world));
    world.pair.a.endpoint.shutdown(world.client, Shutdown::Write);
    world.pair.settle();
    assert!(!may_move(&world), "it closes");
}

#[test]
fn who_has_no_room_gives_it_back_and_its_slot_was_kept() {
    let mut world = World::with(EndpointConfig { connections: 1, ..config(2) }, &TcpConfig::default());
    let mut full = Host::new(2, EndpointConfig { connections: 1, ..config(2) }, world.pair.now);
    let connect = |host: &mut Host, now| {
        host.endpoint.connect(now, at(2, 0), at(3, 80), TcpConfig::default()).map_err(|error| error.to_string())
    };
    connect(&mut full, world.pair.now).expect("there is room for one");
    world.pair.a.write(world.client, &[7; 5000]);
    world.pair.settle();
    let moving = world.move_out().expect("it is at rest");
    assert!(connect(&mut world.pair.b, world.pair.now).is_err(), "its slot is kept");
    let (moving, error) = full.endpoint.move_in(world.pair.now, &mut full.frames, moving).expect_err("it is full");
    assert_eq!(error, MoveError::Full);
    // Without frames for what it brings it is not taken either.
    let all = world.other.take_all_frames();
    let taken = world.other.endpoint.move_in(world.pair.now, &mut world.other.frames, moving);
    let (moving, error) = taken.expect_err("there are no frames");
    assert_eq!(error, MoveError::NoFrames);
    world.other.give_back(all);
    let Pair { b, now, .. } = &mut world.pair;
    world.server = b.endpoint.move_back(*now, &mut b.frames, moving).expect("its slot was kept");
    b.endpoint.check_consistency();
    assert_eq!(world.pair.b.read(world.server), [7; 5000]);
    world.talk(30_000, 4);
    // The same again: nothing was left kept.
    world.go();
    assert!(connect(&mut world.other, world.pair.now).is_ok(), "its slot is free");
    world.talk(30_000, 5);
}

#[test]
fn one_whose_address_goes_while_it_is_on_its_way_ends_like_the_others() {
    let mut world = World::new();
    let moving = world.move_out().expect("it is at rest");
    for host in [&mut world.pair.b, &mut world.other] {
        host.endpoint.remove_address(addr(2));
    }
    let taken = world.other.endpoint.move_in(world.pair.now, &mut world.other.frames, moving);
    let (moving, error) = taken.expect_err("it has no such address");
    assert_eq!(error, MoveError::NotOurs);
    let Pair { b, now, .. } = &mut world.pair;
    let id = b.endpoint.move_back(*now, &mut b.frames, moving).expect("its slot was kept");
    assert_eq!(b.endpoint.poll_event(), Some(Event::Closed { conn: id, reason: CloseReason::AddressRemoved }));
    assert_eq!(b.endpoint.connections(), 0);
}

#[test]
fn a_connection_on_its_way_goes_to_other_threads() {
    fn is_sent<T: Send + 'static>() {}
    is_sent::<Box<Moving>>();
}
