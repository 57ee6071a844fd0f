//! A host: an endpoint, its frames, its device's transmit slots and its applications.

use crate::app::{Act, App};
use crate::checks::Census;
use crate::frames::Frames;
use crate::network::Copy;
use crate::scenario::{HostPlan, Rng, Scenario, Way};
use crate::trace::{Fate, Trace};
use crate::wire::Wire;
use corelane_proto::endpoint::{Cidr, CloseReason, ConnId, EndpointConfig, Event, Transmit};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Addr, Buf, Endpoint, Instant, Mac, Memory, SocketAddr};
use rand::RngExt;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

/// Where connections without keepalive are accepted, and those with it.
const PORTS: [u16; 2] = [80, 81];
/// The first port that is bound, one for each connection.
const FIRST_BOUND: u16 = 5000;
/// Where nobody listens.
const CLOSED_PORT: u16 = 99;
/// Turns at one moment; a worker that needs more of them never sleeps.
const MOST_TURNS: usize = 20_000;

/// What a host wakes for.
pub(crate) enum Wake {
    /// A frame arrives.
    Arrive { frame: Vec<u8>, copy: Copy },
    /// The device has sent a frame.
    Completed { index: u32 },
    /// A connection is opened.
    Open { conn: usize },
    /// An application writes again.
    Write { app: usize },
    /// An application reads again.
    Read { app: usize },
    /// An application gives back a frame that it kept.
    Release { app: usize, buf: Buf },
    /// An application leaves.
    Leave { app: usize },
}

struct Entry {
    at: Instant,
    order: u64,
    host: usize,
    wake: Wake,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What is to come, in the order of time; of two at the same time the first to be planned comes first.
#[derive(Default)]
pub(crate) struct Schedule {
    heap: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Schedule {
    pub(crate) fn push(&mut self, at: Instant, host: usize, wake: Wake) {
        self.order += 1;
        self.heap.push(Reverse(Entry { at, order: self.order, host, wake }));
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// The next thing that is due at `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(usize, Wake)> {
        self.next_at().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| (entry.host, entry.wake))
    }
}

/// Faults put in on purpose, to see whether the checks notice. Each happens once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sabotage {
    /// A byte is changed between the endpoint and the reader.
    pub wrong_byte: bool,
    /// A frame is lost when it is freed.
    pub lost_frame: bool,
    /// An application is told twice that its connection is over.
    pub double_event: bool,
}

/// What all hosts of a run share.
pub(crate) struct Shared {
    pub(crate) scenario: Rc<Scenario>,
    pub(crate) schedule: Schedule,
    /// Which connection was opened from which host and port to which port.
    pub(crate) openers: HashMap<(usize, SocketAddr, u16), usize>,
    /// Frames on their way from a host to its link.
    pub(crate) outgoing: Vec<Vec<u8>>,
    pub(crate) wire: Wire,
    pub(crate) trace: Trace,
    pub(crate) sabotage: Sabotage,
    /// The first thing that was wrong.
    pub(crate) failure: Option<String>,
}

impl Shared {
    pub(crate) fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }
}

/// A host.
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) endpoint: Endpoint,
    pub(crate) frames: Frames,
    pub(crate) apps: Vec<App>,
    /// Frames that came while there was none to put them in.
    pub(crate) starved: u64,
    plan: HostPlan,
    rng: Rng,
    by_id: HashMap<ConnId, usize>,
    /// Connections that old SYNs have begun.
    past: HashSet<ConnId>,
    in_device: usize,
}

/// The address of host `index`.
pub(crate) fn address(index: usize, v6: bool) -> Addr {
    let last = index as u8 + 1;
    if v6 { Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]) } else { Addr::v4([10, 0, 0, last]) }
}

impl Host {
    pub(crate) fn new(scenario: &Scenario, index: usize) -> Self {
        let plan = scenario.hosts[index].clone();
        let config = EndpointConfig {
            mac: Mac([2, 0, 0, 0, 0, index as u8 + 1]),
            addresses: vec![
                Cidr { addr: address(index, false), prefix_len: 24 },
                Cidr { addr: address(index, true), prefix_len: 64 },
            ],
            connections: 64,
            syn_queue: 64,
            syn_ack_retries: 7,
            accept_queue: 64,
            time_wait: 64,
            msl: plan.msl,
            neighbours: 64,
            low_water_frames: plan.low_water,
            ..EndpointConfig::default()
        };
        let mut rng = scenario.rng(index as u64);
        let mut endpoint = Endpoint::new(config, rng.random(), Instant::ZERO);
        for (port, keepalive) in PORTS.into_iter().zip([None, plan.accepts.keepalive]) {
            let accepts = TcpConfig { keepalive, ..plan.accepts };
            for v6 in [false, true] {
                endpoint.listen(SocketAddr::new(address(index, v6), port), accepts).expect("the port is free");
            }
        }
        // IPv6 has no neighbour discovery yet.
        endpoint.set_neighbour(address(1 - index, true), Mac([2, 0, 0, 0, 0, 2 - index as u8]));
        let frames = Frames::new(plan.frames, plan.reserve);
        let (apps, by_id) = (Vec::new(), HashMap::new());
        Self { index, endpoint, frames, apps, starved: 0, plan, rng, by_id, past: HashSet::new(), in_device: 0 }
    }

    /// Something has come to the host; a turn has to follow.
    pub(crate) fn on_wake(&mut self, now: Instant, shared: &mut Shared, wake: Wake) {
        if !matches!(wake, Wake::Arrive { .. } | Wake::Completed { .. }) {
            // As with a worker, whose turn begins with the time: `close` counts from there.
            self.endpoint.on_time(now, &mut self.frames);
        }
        match wake {
            Wake::Arrive { frame, .. } => self.arrive(now, shared, &frame),
            Wake::Completed { index } => {
                self.in_device -= 1;
                self.frames.completed(index);
            }
            Wake::Open { conn } => self.open(now, shared, conn),
            Wake::Write { app } => self.act(now, shared, app, App::on_write_time),
            Wake::Read { app } => self.act(now, shared, app, App::on_read_time),
            Wake::Release { app, buf } => self.act(now, shared, app, |app, act| app.on_release(act, buf)),
            Wake::Leave { app } => self.act(now, shared, app, App::on_leave_time),
        }
    }

    fn act(&mut self, now: Instant, shared: &mut Shared, app: usize, what: impl FnOnce(&mut App, &mut Act<'_>)) {
        let Self { endpoint, frames, rng, .. } = self;
        let mut act = Act { now, host: self.index, endpoint, frames, rng, shared };
        what(&mut self.apps[app], &mut act);
    }

    fn arrive(&mut self, now: Instant, shared: &mut Shared, frame: &[u8]) {
        let fate = match self.frames.receive(frame) {
            Some(buf) => {
                self.endpoint.receive(now, &mut self.frames, buf);
                Fate::Arrived
            }
            None => {
                self.starved += 1;
                Fate::Starved
            }
        };
        shared.trace.frame(now, self.index, fate, frame);
    }

    fn open(&mut self, now: Instant, shared: &mut Shared, conn: usize) {
        let plan = shared.scenario.conns[conn].clone();
        let side = usize::from(plan.opener != self.index);
        let own = |port| SocketAddr::new(address(self.index, plan.v6), port);
        let bound = FIRST_BOUND + conn as u16;
        let (local, port) = match plan.way {
            Way::Crossed(_) => (own(bound), bound),
            Way::Plain if plan.refused => (own(0), CLOSED_PORT),
            Way::Plain | Way::Listener => (own(0), PORTS[usize::from(plan.keepalive)]),
        };
        let remote = SocketAddr::new(address(1 - self.index, plan.v6), port);
        let opened = if plan.way == Way::Listener {
            let listener = self.endpoint.listen(own(bound), plan.config).expect("the port is free");
            self.endpoint.connect_listener(now, listener, remote)
        } else {
            self.endpoint.connect(now, local, remote, plan.config)
        };
        let id = match opened {
            Ok(id) => id,
            Err(error) => return shared.fail(format!("connection {conn} cannot be opened: {error}")),
        };
        let Some(flow) = self.endpoint.flow(id) else {
            return shared.fail(format!("connection {conn} has no ends"));
        };
        if side == 0 {
            shared.openers.insert((self.index, flow.local, port), conn);
        }
        self.add_app(now, shared, conn, side, id);
    }

    fn add_app(&mut self, now: Instant, shared: &mut Shared, conn: usize, side: usize, id: ConnId) -> usize {
        let index = self.apps.len();
        self.apps.push(App::new(now, &shared.scenario, (index, conn, side), id));
        self.apps[index].flow = self.endpoint.flow(id);
        if self.by_id.insert(id, index).is_some() {
            shared.fail(format!("connection {conn} got an id that another has had: {id:?}"));
        }
        self.act(now, shared, index, App::start);
        index
    }

    /// What a worker does: turns until there is nothing more to do now.
    pub(crate) fn turns(&mut self, now: Instant, shared: &mut Shared) {
        for _ in 0..MOST_TURNS {
            self.endpoint.on_time(now, &mut self.frames);
            let events = self.tell(now, shared);
            let sent = self.transmit(now, shared);
            let Self { apps, endpoint, .. } = self;
            apps.iter_mut().for_each(|app| app.watch(now, endpoint));
            self.check(shared);
            if !(events || sent) || shared.failure.is_some() {
                return;
            }
        }
        shared.fail(format!("host {} does not come to rest", self.index));
    }

    /// Tells the applications what happened.
    fn tell(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let mut busy = false;
        for _ in 0..MOST_TURNS {
            let Some(event) = self.endpoint.poll_event() else { return busy };
            busy = true;
            shared.trace.note(now, self.index, || format!("{event:?}"));
            if self.is_of_the_past(shared, &event) {
                continue;
            }
            let Some(app) = self.app_of(now, shared, &event) else {
                shared.fail(format!("host {}: {event:?} for a connection that nobody knows", self.index));
                return busy;
            };
            self.act(now, shared, app, |app, act| app.on_event(act, &event));
            if let Event::Closed { reason, .. } = event
                && reason != CloseReason::Finished
                && let Some(flow) = self.apps[app].flow
            {
                // The RST that tells the other end may have found no frame.
                shared.wire.on_reset(flow.local, flow.remote);
            }
            if matches!(event, Event::Closed { .. }) && std::mem::take(&mut shared.sabotage.double_event) {
                self.act(now, shared, app, |app, act| app.on_event(act, &event));
            }
        }
        shared.fail(format!("host {}: there is no end of events", self.index));
        busy
    }

    /// Whether the event is of a connection that an old SYN has begun. The side that closed last keeps nothing of a
    /// connection; a copy of its SYN opens another, if the answer of the peer's TIME-WAIT happens to fit the new number.
    /// With Fast Open the copy alone opens it, and brings its data a second time (RFC 7413 2.1). Only the wire knows that
    /// there was such a copy; without one it is a second connection from nowhere. The peer resets it as soon as its
    /// application says a word (RFC 9293 3.5); here the application does that.
    fn is_of_the_past(&mut self, shared: &mut Shared, event: &Event) -> bool {
        let id = event.conn();
        if let Event::Accepted { flow, .. } = event {
            let conn = shared.openers.get(&(1 - self.index, flow.remote, flow.local.port));
            let Some(before) = self.apps.iter().find(|app| Some(&app.conn) == conn && app.side == 1) else {
                return false;
            };
            let answered = before.order.closed() == Some(CloseReason::Finished)
                && shared.wire.has_answered_old_syn(flow.local, flow.remote);
            let early = before.order.closed().is_some() && shared.wire.has_got_old_cookie(flow.local, flow.remote);
            // One that a cookie had opened gave up before its handshake, and the opener asks again.
            let retried = before.order.closed() == Some(CloseReason::TimedOut)
                && shared.scenario.config_of(&shared.scenario.conns[before.conn], 1).fast_open
                && shared.wire.has_answered_again(flow.local, flow.remote);
            if answered || early || retried {
                while let Some(buf) = self.endpoint.recv(id) {
                    if let Err(what) = before.check_again(buf.bytes(&self.frames)) {
                        shared.fail(what);
                    }
                    self.endpoint.consumed(id, buf.len.into());
                    self.frames.free(buf.token);
                }
                self.past.insert(id);
                self.endpoint.abort(id);
            }
        }
        self.past.contains(&id)
    }

    fn app_of(&mut self, now: Instant, shared: &mut Shared, event: &Event) -> Option<usize> {
        match event {
            Event::Accepted { conn: id, flow, .. } => {
                let conn = *shared.openers.get(&(1 - self.index, flow.remote, flow.local.port))?;
                if let Some(known) = self.apps.iter().find(|app| app.conn == conn && app.side == 1) {
                    shared.fail(format!("{} is accepted twice", known.name()));
                }
                Some(self.add_app(now, shared, conn, 1, *id))
            }
            other => self.by_id.get(&other.conn()).copied(),
        }
    }

    fn transmit(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let mut busy = false;
        while self.in_device < self.plan.tx_slots {
            let Some(transmit) = self.endpoint.poll_transmit(now, &mut self.frames) else { break };
            let (index, keep, len) = match transmit {
                Transmit::Owned { token, len } => (token.index(), false, len),
                Transmit::Lent { index, len } => (index, true, len),
            };
            let frame = self.frames.post(index, keep, len);
            let micros = self.rng.random_range(0..=self.plan.completion_us);
            shared.schedule.push(now + Duration::from_micros(micros), self.index, Wake::Completed { index });
            shared.outgoing.push(frame);
            self.in_device += 1;
            busy = true;
        }
        busy
    }

    fn check(&mut self, shared: &mut Shared) {
        self.frames.leak_one |= std::mem::take(&mut shared.sabotage.lost_frame);
        let misuse = self.frames.misuse.take();
        if let Some(what) = misuse.or_else(|| self.census().check().err()) {
            shared.fail(format!("host {}: {what}", self.index));
        }
    }

    /// Where the frames are.
    pub(crate) fn census(&self) -> Census {
        Census {
            free: self.frames.free_count(),
            endpoint: self.endpoint.frames_held(),
            device: self.frames.with_device(),
            application: self.apps.iter().map(|app| app.kept).sum(),
            total: self.frames.total(),
        }
    }

    /// What must be true when nothing is left to do.
    pub(crate) fn check_at_rest(&self, shared: &mut Shared) {
        let (host, endpoint) = (self.index, &self.endpoint);
        let left = [
            ("connections", endpoint.connections()),
            ("TIME-WAITs", endpoint.time_waits()),
            ("half-open connections", endpoint.half_opens()),
            ("frames that are not free", self.frames.total() - self.frames.free_count()),
        ];
        for (what, count) in left {
            if count > 0 {
                shared.fail(format!("host {host}: {count} {what} are left at the end"));
            }
        }
        if let Some(app) = self.apps.iter().find(|app| app.order.closed().is_none()) {
            shared.fail(format!("{}: its application was never told that it is over", app.name()));
        }
    }
}
