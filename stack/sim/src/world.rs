//! A run: two hosts, the wire between them, and time, which jumps from one event to the next.

use crate::app::App;
use crate::host::{Host, Schedule, Shared, Wake};
use crate::network::{Copy, Link, LinkCounters};
use crate::scenario::{ConnPlan, Scenario, Way};
use crate::trace::{Fate, Trace};
use crate::wire::Wire;
use corelane_proto::Instant;
use corelane_proto::endpoint::CloseReason;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

pub use crate::host::Sabotage;

/// Virtual time after which every connection has to be over.
const LONGEST: Duration = Duration::from_secs(7200);
/// Moments at which something happens; a run needs a few thousand.
const MOST_STEPS: u32 = 1_000_000;
/// How often a host may ask to be woken at once without anything coming of it.
const MOST_IDLE_WAKES: u32 = 5_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub failure: Option<String>,
    /// The hash of the trace.
    pub hash: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// Connections.
    pub connections: u64,
    /// What the wire did.
    pub link: LinkCounters,
    /// Frames that came to a host without a free frame.
    pub starved: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Retransmission time-outs.
    pub rto_fired: u64,
    /// Fast retransmits.
    pub fast_retransmits: u64,
    /// Connections that a SYN with a Fast Open cookie opened.
    pub early: u64,
    /// Bytes that applications read.
    pub bytes: u64,
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs `seed`, keeps the trace if `keep_trace`, and puts in the faults of `sabotage`.
///
/// # Panics
/// When the endpoint does: the caller catches it.
pub fn run(seed: u64, keep_trace: bool, sabotage: Sabotage) -> Outcome {
    let mut world = World::new(Scenario::draw(seed), keep_trace, sabotage);
    world.run();
    world.outcome()
}

struct World {
    now: Instant,
    hosts: [Host; 2],
    links: [Link; 2],
    shared: Shared,
    idle_wakes: [u32; 2],
}

impl World {
    fn new(scenario: Scenario, keep_trace: bool, sabotage: Sabotage) -> Self {
        let mut schedule = Schedule::default();
        for (conn, plan) in scenario.conns.iter().enumerate() {
            schedule.push(plan.start, plan.opener, Wake::Open { conn });
            if let Way::Crossed(lead) = plan.way {
                schedule.push(plan.start + lead, 1 - plan.opener, Wake::Open { conn });
            }
        }
        let hosts = [0, 1].map(|index| Host::new(&scenario, index));
        let links = [0, 1].map(|index| Link::new(scenario.links[index].clone(), scenario.rng(10 + index as u64)));
        let mut trace = Trace::new(keep_trace);
        trace.note(Instant::ZERO, 0, || format!("{scenario:#?}"));
        let shared = Shared {
            scenario: Rc::new(scenario),
            schedule,
            openers: HashMap::new(),
            outgoing: Vec::new(),
            wire: Wire::default(),
            trace,
            sabotage,
            failure: None,
        };
        Self { now: Instant::ZERO, hosts, links, shared, idle_wakes: [0; 2] }
    }

    fn run(&mut self) {
        for _ in 0..MOST_STEPS {
            if self.shared.failure.is_some() {
                return;
            }
            let Some(next) = self.next_at() else { return self.check_at_rest() };
            self.now = self.now.max(next);
            if self.now > Instant::ZERO + LONGEST {
                return self.too_long();
            }
            self.step();
        }
        self.too_long();
    }

    /// When something happens next.
    fn next_at(&self) -> Option<Instant> {
        let hosts = self.hosts.iter().zip(self.idle_wakes).filter_map(|(host, idle)| {
            let deadline = host.endpoint.poll_deadline()?;
            // A deadline that has passed and is still there is looked at again a little later, as a worker would.
            Some(if idle > 0 { deadline.max(self.now + Duration::from_millis(1)) } else { deadline })
        });
        hosts.chain(self.shared.schedule.next_at()).min()
    }

    /// Everything that happens now.
    fn step(&mut self) {
        let mut touched = [false; 2];
        while let Some((host, wake)) = self.shared.schedule.pop(self.now) {
            touched[host] = true;
            if let Wake::Arrive { frame, copy } = &wake
                && self.hosts[host].frames.free_count() > 0
            {
                self.shared.wire.on_copy_arrived(frame, *copy);
            }
            self.hosts[host].on_wake(self.now, &mut self.shared, wake);
        }
        for (host, touched) in touched.into_iter().enumerate() {
            let due = self.hosts[host].endpoint.poll_deadline().is_some_and(|deadline| deadline <= self.now);
            if touched || due {
                self.turns(host);
            }
        }
    }

    fn turns(&mut self, host: usize) {
        self.hosts[host].turns(self.now, &mut self.shared);
        let sent = std::mem::take(&mut self.shared.outgoing);
        let late = self.hosts[host].endpoint.poll_deadline().is_some_and(|deadline| deadline <= self.now);
        self.idle_wakes[host] = if late && sent.is_empty() { self.idle_wakes[host] + 1 } else { 0 };
        if self.idle_wakes[host] > MOST_IDLE_WAKES {
            self.shared.fail(format!("host {host} asks to be woken at once, again and again, and does nothing"));
        }
        for frame in sent {
            self.send(host, frame);
        }
    }

    fn send(&mut self, host: usize, frame: Vec<u8>) {
        let Self { now, links, shared, .. } = self;
        let Shared { trace, schedule, wire, .. } = shared;
        trace.frame(*now, host, Fate::Sent, &frame);
        let checked = wire.on_sent(&frame);
        links[host].send(*now, host, frame, trace, |at, frame, copy| {
            let to = if copy == Copy::ForgedBack { host } else { 1 - host };
            schedule.push(at, to, Wake::Arrive { frame, copy });
        });
        if let Err(what) = checked {
            shared.fail(format!("host {host}: {what}"));
        }
    }

    fn too_long(&mut self) {
        let open: Vec<String> = self.apps().filter(|app| app.order.closed().is_none()).map(App::name).collect();
        let what = if open.is_empty() { "nothing of an application".to_owned() } else { open.join(", ") };
        let where_frames_are = self.hosts.each_ref().map(Host::census);
        self.shared.fail(format!("it has not ended after {:?}: {what} is still open; {where_frames_are:?}", self.now));
    }

    fn apps(&self) -> impl Iterator<Item = &App> {
        self.hosts.iter().flat_map(|host| &host.apps)
    }

    /// Nothing is planned any more.
    fn check_at_rest(&mut self) {
        for host in &self.hosts {
            host.check_at_rest(&mut self.shared);
        }
        let scenario = Rc::clone(&self.shared.scenario);
        for (conn, plan) in scenario.conns.iter().enumerate() {
            if let Err(what) = self.check_end(conn, plan) {
                self.shared.fail(format!("connection {conn}: {what}"));
            }
        }
        self.check_frames_sent();
    }

    /// How a connection may end.
    fn check_end(&self, conn: usize, plan: &ConnPlan) -> Result<(), String> {
        let of_side = |side: usize| self.apps().find(|app| app.conn == conn && app.side == side);
        let opener = of_side(0).ok_or("it was never opened")?;
        let unlucky = self.shared.scenario.worst_loss() > 0.0 || self.had_outage();
        let crossed = matches!(plan.way, Way::Crossed(_));
        if let Some(other) = of_side(1).filter(|_| crossed && unlucky)
            && (did_not_meet(opener, other) || did_not_meet(other, opener))
        {
            return Ok(());
        }
        let ends = [Some(opener), of_side(1)].into_iter().flatten();
        let gave_up = |app: &&App| self.is_hurried_end(app, plan) || self.gave_up_a_hoarder(app, plan);
        if let Some(first) = ends.filter(gave_up).min_by_key(|app| app.closed_at) {
            let other = of_side(1 - first.side);
            return other.map_or(Ok(()), |other| self.check_left_behind(other, first, plan));
        }
        match opener.order.closed() {
            Some(CloseReason::Refused) if plan.refused => return Ok(()),
            Some(CloseReason::Aborted) if plan.sides[0].leave.is_abrupt() => return Ok(()),
            // Every ARP request or its answer was lost.
            Some(CloseReason::Unreachable) if unlucky && of_side(1).is_none() => return Ok(()),
            // So were the answers to a SYN whose cookie has opened the other end, until the neighbour was asked.
            Some(CloseReason::Unreachable) if unlucky && self.was_told_early(opener, of_side(1), plan) => return Ok(()),
            other if plan.refused => return Err(format!("it ended as {other:?} where nobody listens")),
            _ if !plan.is_orderly() => return Ok(()),
            _ => {}
        }
        let accepter = of_side(1).ok_or_else(|| format!("it was not accepted; {:?}", opener.order.closed()))?;
        for (app, other) in [(opener, accepter), (accepter, opener)] {
            let (mine, theirs) = (&plan.sides[app.side], &plan.sides[other.side]);
            let (read, expected) = (app.read, theirs.total);
            if mine.shut_read_after.is_none() && read != expected {
                return Err(format!("the {} read {read} of {expected} bytes", app.name()));
            }
            match app.order.closed() {
                Some(CloseReason::Finished) => {}
                // Its peer was told of the last FIN, waited for 2 MSL, and went; the ACK was lost all that time.
                Some(CloseReason::Reset) if unlucky && self.outlived(app, other) => {}
                reason => return Err(format!("the {} ended as {reason:?}", app.name())),
            }
        }
        Ok(())
    }

    /// Whether one side gave up as it was told: what it had closed did not get through while it lingered, or nothing that
    /// was handed over was acknowledged for the user time-out.
    fn is_hurried_end(&self, app: &App, plan: &ConnPlan) -> bool {
        let config = self.shared.scenario.config_of(plan, app.side);
        let is_over = |from: Option<Instant>, limit: Option<Duration>| {
            from.zip(limit).is_some_and(|(from, limit)| app.closed_at.is_some_and(|at| at >= from + limit))
        };
        match app.order.closed() {
            Some(CloseReason::TimedOut) => {
                is_over(app.left_at, config.linger) || is_over(Some(app.waits_since), config.user_timeout)
            }
            Some(CloseReason::Aborted) => config.linger == Some(Duration::ZERO),
            _ => false,
        }
    }

    /// Whether the host of `app`, short of frames, gave up a peer that took nothing for as long as it is patient: two hosts
    /// that are both short of frames may do that to each other.
    fn gave_up_a_hoarder(&self, app: &App, plan: &ConnPlan) -> bool {
        let host = if app.side == 0 { plan.opener } else { 1 - plan.opener };
        let counters = self.hosts[host].endpoint.counters();
        app.order.closed() == Some(CloseReason::TimedOut) && counters.hoarders_closed > 0
    }

    /// What is left for `app` after `first` has given up: it may have ended before, its peer's RST ends it, or if that was
    /// lost its keepalive or another limit of its own. Nothing ends it with bytes missing and without a word.
    fn check_left_behind(&self, app: &App, first: &App, plan: &ConnPlan) -> Result<(), String> {
        let missing = app.read != plan.sides[first.side].total && plan.sides[app.side].shut_read_after.is_none();
        let after = app.closed_at >= first.closed_at;
        let is_right = match app.order.closed() {
            Some(CloseReason::Finished) => !(plan.is_orderly() && missing),
            Some(CloseReason::Reset | CloseReason::TimedOut) => after || self.is_hurried_end(app, plan),
            // It was not open yet, and asked a host that had given it up.
            Some(CloseReason::Refused | CloseReason::Unreachable) => after && !app.order.is_open(),
            Some(CloseReason::Aborted) => plan.sides[app.side].leave.is_abrupt() || self.is_hurried_end(app, plan),
            _ => false,
        };
        if is_right {
            return Ok(());
        }
        let (reason, read) = (app.order.closed(), app.read);
        Err(format!("the {} ended as {reason:?} with {read} bytes read, where its peer gave up", app.name()))
    }

    /// Whether a cookie has opened the other end, and its answers never came: the opener was not open, and the other end
    /// did not finish.
    fn was_told_early(&self, opener: &App, other: Option<&App>, plan: &ConnPlan) -> bool {
        let fast = [0, 1].iter().all(|side| self.shared.scenario.config_of(plan, *side).fast_open);
        let unfinished = other
            .is_some_and(|app| app.order.closed() != Some(CloseReason::Finished) && app.read <= plan.sides[0].total);
        fast && !opener.order.is_open() && unfinished
    }

    fn outlived(&self, app: &App, other: &App) -> bool {
        let msl = self.shared.scenario.hosts.iter().map(|host| host.msl).min().unwrap_or_default();
        let (Some(mine), Some(theirs)) = (app.closed_at, other.closed_at) else { return false };
        other.order.closed() == Some(CloseReason::Finished) && mine >= theirs + 2 * msl
    }

    fn had_outage(&self) -> bool {
        self.shared.scenario.links.iter().any(|link| link.outage.is_some() || link.bytes_per_second.is_some())
    }

    /// No storm: a few times what a network without loss would need.
    fn check_frames_sent(&mut self) {
        let sent: u64 = self.links.iter().map(|link| link.counters.sent).sum();
        let ideal: u64 = self.shared.scenario.conns.iter().map(ideal_frames).sum();
        // Who probes, keeps alive or retransmits backs off to seconds at least.
        let waiting = self.now.as_millis() / 1000 * self.shared.scenario.conns.len() as u64;
        // A time-out sends again all that is in flight, and tiny segments are many; back-off keeps time-outs few.
        let time_outs: u64 = self.hosts.iter().map(|host| host.endpoint.counters().rto_fired).sum();
        let most = 100 + 20 * ideal + waiting + 100 * time_outs;
        if sent > most {
            self.shared.fail(format!("{sent} frames were sent, at most {most} should be"));
        }
    }

    fn outcome(self) -> Outcome {
        let counters = self.hosts.iter().map(|host| host.endpoint.counters());
        let sum = counters.clone().fold((0, 0, 0), |sum, counters| {
            (sum.0 + counters.retransmits, sum.1 + counters.rto_fired, sum.2 + counters.fast_retransmits)
        });
        let mut link = LinkCounters::default();
        self.links.iter().for_each(|one| link += one.counters);
        Outcome {
            seed: self.shared.scenario.seed,
            hash: self.shared.trace.hash(),
            virtual_time: self.now.saturating_since(Instant::ZERO),
            connections: self.shared.scenario.conns.len() as u64,
            link,
            starved: self.hosts.iter().map(|host| host.starved).sum(),
            retransmits: sum.0,
            rto_fired: sum.1,
            fast_retransmits: sum.2,
            early: self.hosts.iter().map(|host| host.endpoint.counters().fast_open_accepted).sum(),
            bytes: self.apps().map(|app| app.read).sum(),
            failure: self.shared.failure,
            lines: self.shared.trace.into_lines(),
        }
    }
}

/// Whether one of two that open to each other found no neighbour or heard no answer and gave up, so that the other, which
/// still asks, is refused, or gives up too. Each has opened before the other's SYN can come: the second is ahead of the
/// shortest way that a frame can take.
fn did_not_meet(app: &App, other: &App) -> bool {
    let gave_up = |app: &App| matches!(app.order.closed(), Some(CloseReason::Unreachable | CloseReason::TimedOut));
    match app.order.closed() {
        Some(CloseReason::Refused) => gave_up(other) && other.closed_at < app.closed_at,
        _ => gave_up(app),
    }
}

/// Frames of a connection when nothing is lost and every write and every read has a segment of its own.
fn ideal_frames(plan: &ConnPlan) -> u64 {
    let sides = plan.sides.iter().map(|side| {
        let least_segment = 204;
        2 * side.total.div_ceil(least_segment) + side.total.div_ceil(side.write as u64)
    });
    10 + sides.sum::<u64>()
}
