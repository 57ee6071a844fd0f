//! Two workers of a server and a client: connections that move, come back, and are on their way.

use super::*;
use crate::app::{Core, Rx};
use crate::control::Command;
use crate::device::MemDevice;
use crate::device::mem::{MemConfig, pair};
use crate::steer::{Shared, View};
use crate::worker::WorkerConfig;
use crate::{Config, Error};
use corelane_bpf::{FlowHash, Table};
use corelane_proto::endpoint::{Cidr, CloseReason, EndpointConfig};
use corelane_proto::{Addr, SocketAddr};
use crossbeam::channel::{Receiver, Sender, unbounded};
use std::sync::Arc;

const SERVER: SocketAddr = SocketAddr::new(Addr::v4([10, 0, 0, 1]), 7);
const CLIENT: Addr = Addr::v4([10, 0, 0, 2]);

/// What the application here does about connections that move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Gives,
    Keeps,
    /// Gives, and does not take.
    Refuses,
    /// Gives, and does not take after it has sent something.
    Spoils,
}

/// Answers every byte with how many there have been.
struct Counting(Manner);

impl App for Counting {
    type State = u8;

    fn on_start(&mut self, core: &mut Core<'_, u8>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> u8 {
        0
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, count: &mut u8, rx: &mut Rx<'_>) {
        *count += rx.bytes().len() as u8;
        conn.send_copy(&[*count]);
    }

    fn on_move_out(&mut self, _: &mut Conn<'_>, count: u8) -> Result<Box<dyn Any + Send>, u8> {
        if self.0 == Manner::Keeps { Err(count) } else { Ok(Box::new(count)) }
    }

    fn on_move_in(&mut self, conn: &mut Conn<'_>, baggage: Box<dyn Any + Send>) -> Result<u8, Box<dyn Any + Send>> {
        if self.0 == Manner::Spoils {
            conn.send_copy(b"!");
        }
        if matches!(self.0, Manner::Refuses | Manner::Spoils) { Err(baggage) } else { Ok(*baggage.downcast()?) }
    }
}

/// Sends a byte whenever it is told to, and keeps what comes.
#[derive(Default)]
struct Asking {
    conn: Option<ConnId>,
    asks: bool,
    heard: Vec<u8>,
    ended: Option<CloseReason>,
}

impl App for Asking {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.heard.extend_from_slice(rx.bytes());
    }

    fn on_closed(&mut self, _: &mut Core<'_, ()>, (): (), reason: CloseReason) {
        self.ended = Some(reason);
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        if self.conn.is_none() {
            self.conn = core.connect(SERVER, ()).ok();
        }
        if std::mem::take(&mut self.asks)
            && let Some(mut conn) = self.conn.and_then(|id| core.conn(id))
        {
            conn.send_copy(b"x");
        }
        None
    }
}

/// One of the server's workers, and the main thread's end of it.
struct Desk {
    worker: Worker<Counting, MemDevice>,
    orders: Sender<Command>,
    reports: Receiver<Report>,
}

/// Two workers of a server, and a client on the link of the first. The table gives every flow to the second.
struct World {
    client: Worker<Asking, MemDevice>,
    server: Vec<Desk>,
    /// Nobody is at the other end of the second one's link.
    _nobody: MemDevice,
    now: Instant,
}

fn config(addr: Addr, mac: corelane_proto::Mac) -> WorkerConfig {
    let endpoint = EndpointConfig {
        mac,
        addresses: vec![Cidr { addr, prefix_len: 24 }],
        connections: 4,
        low_water_frames: 64,
        ..EndpointConfig::default()
    };
    WorkerConfig { endpoint, tcp: Config::default().tcp().to_proto(), events_per_turn: 64, secret: [mac.0[5]; 32] }
}

impl World {
    /// The manners of the two applications; the connection is open, and one byte was answered.
    fn new(manners: [Manner; 2]) -> Self {
        let link = MemConfig::default();
        let [(near, far), (other, nobody)] = [0; 2].map(|_| pair(&link).unwrap());
        let now = Instant::from_millis(1);
        let hash = FlowHash::new([7; 16]);
        let (mut first, mut second) = (Table::even(2, 2).unwrap(), Table::even(2, 2).unwrap());
        first.level(|core| core == 0).unwrap();
        second.level(|core| core == 1).unwrap();
        let moves = Moves::join([None, None]);
        let devices = [near, other];
        let desks =
            devices.into_iter().zip(manners).zip(moves).enumerate().map(|(number, ((device, manner), moves))| {
                let ((orders, obeys), (tells, reports)) = (unbounded(), unbounded());
                let view = Shared::new(View::new(number as u32, hash.clone(), Arc::new(first.clone())));
                let post = Post::new(number, Arc::from([1500]), view, obeys, tells);
                let mut worker = Worker::new(Counting(manner), device, config(SERVER.addr, link.macs[0]), now)
                    .with_post(post, true)
                    .with_moves(moves);
                worker.start(now).unwrap();
                Desk { worker, orders, reports }
            });
        let client = Worker::new(Asking::default(), far, config(CLIENT, link.macs[1]), now);
        let mut world = Self { client, server: desks.collect(), _nobody: nobody, now };
        world.ask(&[1]);
        // What the main thread does before connections move.
        let table = Arc::new(second);
        world.server[0].orders.send(Command::Yield(Arc::clone(&table))).unwrap();
        world.turn();
        let Report::Yielded { worker: 0, flows, .. } = world.server[0].reports.try_recv().unwrap() else { panic!() };
        assert_eq!(flows.len(), 1);
        let pins: Arc<[_]> = flows.into_iter().map(|flow| (flow, 0)).collect();
        for desk in &world.server {
            desk.orders.send(Command::Adopt(Arc::clone(&table), Arc::clone(&pins))).unwrap();
        }
        world.turn();
        world
    }

    fn turn(&mut self) {
        self.turn_of(&[0, 1]);
    }

    /// A turn of the client and of these workers.
    fn turn_of(&mut self, workers: &[usize]) {
        self.now = self.now + Duration::from_millis(1);
        self.client.turn(self.now).unwrap();
        for worker in workers {
            self.server[*worker].worker.turn(self.now).unwrap();
        }
    }

    fn turns(&mut self) {
        (0..100).for_each(|_| self.turn());
    }

    /// Sends a byte; that is what the client has heard then, in all.
    #[track_caller]
    fn ask(&mut self, heard: &[u8]) {
        self.client.app_mut().asks = true;
        (0..10).for_each(|_| self.turn());
        // The first time it has to be opened before.
        if self.client.app().heard != heard {
            self.client.app_mut().asks = true;
        }
        self.turns();
        assert_eq!(self.client.app().heard, heard);
    }

    fn drain(&mut self, on: bool) {
        self.server[0].orders.send(Command::Move(on)).unwrap();
    }

    fn has(&self, worker: usize) -> usize {
        self.server[worker].worker.connections()
    }

    fn counters(&self, worker: usize) -> crate::worker::WorkerCounters {
        self.server[worker].worker.counters()
    }

    /// What worker `worker` has reported, in words.
    fn reports(&self, worker: usize) -> Vec<&'static str> {
        let name = |report| match report {
            Report::Tried { worker: 0 } => "tried",
            Report::Arrived { worker: 1, flows } if flows.len() == 1 => "arrived",
            other => panic!("{other:?}"),
        };
        self.server[worker].reports.try_iter().map(name).collect()
    }
}

#[test]
fn a_connection_goes_with_its_state_to_whom_the_table_gives_it() {
    let mut world = World::new([Manner::Gives; 2]);
    world.drain(true);
    world.turns();
    assert_eq!((world.has(0), world.has(1)), (0, 1));
    assert_eq!((world.counters(0).moved_out, world.counters(1).moved_in), (1, 1));
    assert_eq!((world.reports(0), world.reports(1)), (vec!["tried"], vec!["arrived"]));
    let Desk { worker, .. } = &mut world.server[1];
    assert_eq!(worker.states.id_at(0).and_then(|id| worker.states.get_mut(id)).map(|entry| entry.state), Some(1));
    // A segment that comes to the first all the same is the second's, and nobody resets anything.
    world.client.app_mut().asks = true;
    world.turns();
    assert!(world.counters(0).dropped_hand_over > 0 && world.client.app().ended.is_none());
    assert_eq!(world.server[0].worker.endpoint_counters().resets_out, 0);
    let worker = &world.server[0].worker;
    assert!(worker.is_done() && worker.mover.as_ref().unwrap().deadline(0).is_none());
}

#[test]
fn one_that_nobody_wants_comes_home_and_goes_on() {
    let mut world = World::new([Manner::Gives, Manner::Refuses]);
    world.drain(true);
    world.turns();
    assert!(world.counters(0).moves_returned > 0 && world.counters(1).moves_refused_application > 0);
    assert_eq!((world.has(0), world.has(1), world.counters(0).moves_reset), (1, 0, 0));
    world.drain(false);
    world.turns();
    assert_eq!((world.reports(0), world.reports(1)), (vec!["tried"], Vec::new()));
    world.ask(&[1, 2]);
    world.ask(&[1, 2, 3]);
}

#[test]
fn who_stops_takes_none() {
    let mut world = World::new([Manner::Gives; 2]);
    let now = world.now;
    world.server[1].worker.stop(now);
    world.drain(true);
    world.turns();
    assert!(world.counters(1).moves_refused_stopping > 0 && world.has(0) == 1);
    world.ask(&[1, 2]);
    // The first stops while its connection is with the second, which gives it back.
    world.turn_of(&[1]);
    while world.has(0) > 0 {
        world.turn_of(&[0]);
    }
    let now = world.now;
    world.server[0].worker.stop(now);
    assert!(!world.server[0].worker.is_done(), "one is still awaited");
    world.turns();
    assert!(world.server[0].worker.is_done());
    assert_eq!(world.client.app().ended, Some(CloseReason::Finished));
}

#[test]
fn what_the_application_keeps_stays_and_is_asked_for_ever_more_rarely() {
    let mut world = World::new([Manner::Keeps, Manner::Gives]);
    world.drain(true);
    world.turns();
    assert_eq!((world.has(0), world.reports(0)), (1, vec!["tried"]));
    let stay = |world: &World| world.server[0].worker.mover.as_ref().unwrap().stay();
    assert_eq!(stay(&world), Stay { busy: 0, kept: 1 });
    let asked = world.counters(0).moves_kept;
    (0..50).for_each(|_| world.turns());
    let more = world.counters(0).moves_kept - asked;
    assert!((4..=12).contains(&more), "{more} times in 5 s");
    world.ask(&[1, 2]);
}

#[test]
fn a_drain_that_is_cancelled_ends_with_what_is_on_its_way() {
    let mut world = World::new([Manner::Gives; 2]);
    world.drain(true);
    world.turn_of(&[0]);
    assert_eq!((world.has(0), world.has(1)), (0, 0), "it is on its way");
    // Meanwhile its peer sends; that is nobody's to answer.
    world.client.app_mut().asks = true;
    (0..5).for_each(|_| world.turn_of(&[0]));
    assert_eq!((world.client.app().ended, world.server[0].worker.endpoint_counters().resets_out), (None, 0));
    assert!(world.counters(0).dropped_hand_over > 0, "there is no way to the other in this device");
    world.drain(false);
    world.turns();
    assert_eq!((world.has(0), world.has(1), world.counters(0).moved_out), (0, 1, 1));
    assert_eq!(world.reports(0), ["tried"]);
}

#[test]
fn one_that_was_used_before_it_was_refused_is_reset_and_nothing_is_left() {
    let mut world = World::new([Manner::Gives, Manner::Spoils]);
    world.drain(true);
    world.turns();
    assert_eq!((world.has(0), world.has(1), world.counters(1).moves_reset), (0, 0, 1));
    assert_eq!(world.server.iter().map(|desk| desk.worker.net.endpoint.connections()).sum::<usize>(), 0);
    assert_eq!((world.reports(0), world.reports(1)), (vec!["tried"], vec!["arrived"]));
}
