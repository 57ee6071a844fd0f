//! Sessions against servers that are functions of the time: what comes out can be computed by hand.

use super::counts::Counts;
use super::crew::Crew;
use super::gate::Gate;
use super::plan::{Loop, Plan};
use super::rate::Profile;
use super::recorder::{Pair, Recorder};
use super::schedule::Arrivals;
use super::session::{Action, Keep, Session};
use crate::report::result::Percentiles;
use crate::transport::ErrorKind;
use crate::workload::size::Sizes;
use crate::workload::{Bounded, Client, bulk, echo, pattern};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::channel;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A run in virtual time.
struct World {
    plan: Plan,
    clients: Vec<Client>,
    /// When a request that is sent at the given time is answered; `None` is never.
    answer_at: fn(u64) -> Option<u64>,
    /// Whether the n-th opening succeeds, and how long it takes.
    opens: fn(usize) -> bool,
    opening_ns: u64,
}

/// What comes to the load at a time.
enum Event {
    Opened(bool),
    Answer(Vec<u8>),
}

/// What a run brought.
struct Run {
    counts: Counts,
    pair: Pair,
    seconds: BTreeMap<u64, u64>,
    openings: usize,
    /// Connections that were written to.
    used: BTreeSet<usize>,
}

impl World {
    fn new(pace: Loop, connections: usize, answer_at: fn(u64) -> Option<u64>) -> Self {
        let clients =
            (0..connections as u64).map(|seed| Client::Echo(echo::Client::new(Sizes::Fixed(8), seed))).collect();
        Self { plan: Plan::new(pace, S, S), clients, answer_at, opens: |_| true, opening_ns: 0 }
    }

    fn run(&self) -> (Counts, Pair, BTreeMap<u64, u64>) {
        let Run { counts, pair, seconds, .. } = self.run_all();
        (counts, pair, seconds)
    }

    fn run_all(&self) -> Run {
        let (to, intervals) = channel();
        let recorder = Recorder::new(0, to, channel().1);
        let mut session = Session::new(self.plan.clone(), self.clients(), Arc::new(Gate::new(1)), recorder);
        let mut events: BTreeMap<(u64, usize, usize), Event> = BTreeMap::new();
        let (mut now, mut openings, mut order, mut used) = (0, 0, 0, BTreeSet::new());
        loop {
            while let Some(action) = session.poll_action(now) {
                order += 1;
                match action {
                    Action::Connect(conn) => {
                        openings += 1;
                        events.insert((now + self.opening_ns, order, conn), Event::Opened((self.opens)(openings)));
                    }
                    Action::Send(conn) => {
                        used.insert(conn);
                        let mut sent = Vec::new();
                        session.on_writable(conn, &mut Bounded::new(&mut sent, 100), now);
                        assert!(!session.wants_write(conn));
                        if let Some(at) = (self.answer_at)(now) {
                            events.insert((at, order, conn), Event::Answer(sent));
                        }
                    }
                    Action::Read(_) => unreachable!("nobody reads slowly here"),
                    Action::Abort(conn) => events.retain(|(.., other), _| *other != conn),
                }
                // What happens at once happens before the next action.
                deliver(&mut session, &mut events, now);
            }
            if session.is_done() {
                break;
            }
            let next = events.keys().next().map_or(u64::MAX, |(at, ..)| *at);
            now = now.max(next.min(session.poll_deadline()));
            assert!(now < 100 * S, "the run does not end");
            deliver(&mut session, &mut events, now);
        }
        let counts = session.finish();
        let mut pair = Pair::new();
        let mut seconds = BTreeMap::new();
        for interval in intervals.try_iter() {
            pair.add(&interval.pair);
            *seconds.entry(interval.second).or_default() += interval.pair.latency.len();
        }
        Run { counts, pair, seconds, openings, used }
    }

    fn clients(&self) -> Vec<Client> {
        self.clients
            .iter()
            .map(|client| match client {
                Client::Echo(client) => Client::Echo(client.clone()),
                _ => Client::Silent,
            })
            .collect()
    }
}

fn deliver(session: &mut Session, events: &mut BTreeMap<(u64, usize, usize), Event>, now: u64) {
    while let Some(entry) = events.first_entry().filter(|entry| entry.key().0 <= now) {
        let ((.., conn), event) = entry.remove_entry();
        let keep = match event {
            Event::Opened(true) => session.on_connected(conn, now),
            Event::Opened(false) => {
                session.on_closed(conn, now, ErrorKind::Refused);
                Keep::Open
            }
            Event::Answer(bytes) => session.on_bytes(conn, &bytes, now),
        };
        if keep == Keep::Close {
            events.retain(|(.., other), _| *other != conn);
        }
    }
}

/// Answers after 10 us, but from 0.5 s on it stalls until 0.6 s.
fn stalls(sent: u64) -> Option<u64> {
    Some(if (500 * MS..600 * MS).contains(&sent) { 600 * MS } else { sent + 10 * US })
}

fn open(rate: f64) -> Loop {
    Loop::Open { profile: Profile::constant(rate), phase: 0.0, arrivals: Arrivals::Constant, seed: 1 }
}

/// Within the histogram's three significant digits.
fn assert_near(value: u64, expected: u64) {
    assert!(value.abs_diff(expected) <= expected / 1000 + 1, "{value} is not {expected}");
}

#[test]
fn a_stall_is_seen_by_all_who_would_have_asked() {
    // One request a millisecond. The one of 500 ms is answered at 600; those due meanwhile follow at 10 us each, so the
    // k-th after it, due at 500 + k ms, is answered at 600 + 0.01 k ms: 100 - 0.99 k ms after it was due. With k = 101
    // the backlog is gone.
    let (counts, pair, seconds) = World::new(open(1000.0), 1, stalls).run();
    assert_eq!((counts.sent, counts.answered, counts.unanswered, counts.unsent), (1000, 1000, 0, 0));
    let latency = Percentiles::of(&pair.latency);
    assert_near(latency.max, 100 * MS);
    // 990 of 1000 are no slower than the one with k = 10; 900 than k = 100; 999 than k = 1.
    assert_near(latency.p99, 90_100 * US);
    assert_near(latency.p90, 1000 * US);
    assert_near(latency.p99_9, 99_010 * US);
    assert_near(latency.p50, 10 * US);
    // The service time has one slow request, as the server sees it.
    let service = Percentiles::of(&pair.service);
    assert_near(service.p99_9, 10 * US);
    assert_near(service.max, 100 * MS);
    assert_eq!(seconds.values().sum::<u64>(), 1000);
    // The k-th was sent late as long as 100 - 0.99 k ms are more than its own 10 us; none of it is the generator's fault.
    assert_eq!((counts.waited, counts.lag.len(), counts.lag.max()), (100, 1000, 1));
}

#[test]
fn more_connections_take_the_backlog_at_once() {
    // All 100 requests that are due in the stall are sent at once on free connections, and answered together.
    let (counts, pair, _) = World::new(open(1000.0), 200, stalls).run();
    assert_eq!((counts.answered, counts.unsent), (1000, 0));
    let (latency, service) = (Percentiles::of(&pair.latency), Percentiles::of(&pair.service));
    assert_eq!(latency, service);
    assert_near(latency.p99, 90 * MS);
    assert_near(latency.p90, 10 * US);
}

#[test]
fn a_closed_loop_hides_the_stall() {
    let (counts, pair, _) = World::new(Loop::Closed, 1, stalls).run();
    let latency = Percentiles::of(&pair.latency);
    assert_near(latency.p99_99, 10 * US);
    assert_near(latency.max, 100 * MS);
    assert_eq!(counts.answered, 90_000 + 1);
}

#[test]
fn requests_without_an_answer_are_counted() {
    // The server falls silent at 0.5 s: two connections wait for ever, and what is due afterwards is never sent.
    let silent = |sent: u64| (sent < 500 * MS).then_some(sent + 10 * US);
    let (counts, pair, _) = World::new(open(1000.0), 2, silent).run();
    assert_eq!((counts.sent, counts.answered, counts.unanswered, counts.unsent), (502, 500, 2, 498));
    assert_eq!(pair.latency.len(), 500);
}

#[test]
fn answers_after_the_end_are_waited_for() {
    let slow = |sent: u64| Some(sent + 700 * MS);
    let (counts, pair, seconds) = World::new(open(10.0), 100, slow).run();
    assert_eq!((counts.answered, counts.answered_in_time, counts.unanswered), (10, 4, 0));
    assert_near(pair.latency.max(), 700 * MS);
    assert_eq!(seconds, BTreeMap::from([(0, 3), (1, 7)]));
}

#[test]
fn the_warm_up_is_not_measured() {
    let mut world = World::new(open(1000.0), 1, |sent| Some(sent + if sent < S { 500 * US } else { 10 * US }));
    world.plan.warmup_ns = S;
    let (counts, pair, _) = world.run();
    assert_eq!((counts.sent, counts.answered, counts.measured_ns), (1000, 1000, S));
    assert_near(pair.latency.max(), 10 * US);
}

#[test]
fn an_overload_shows_in_the_rate_and_in_the_latency() {
    // 1000 a second are due, 500 can be done: the k-th is sent at 2 k ms and answered at 2 k + 2 ms, k + 2 ms after it
    // was due. The last one, k = 500, is sent at the very end.
    let (counts, pair, _) = World::new(open(1000.0), 1, |sent| Some(sent + 2 * MS)).run();
    assert_eq!((counts.answered, counts.unsent), (501, 499));
    assert_near(pair.latency.max(), 502 * MS);
    assert_near(pair.service.max(), 2 * MS);
}

#[test]
fn a_number_of_requests_ends_the_run() {
    let mut world = World::new(Loop::Closed, 4, stalls);
    world.plan.request_limit = Some(1000);
    world.plan.requests_per_connection = Some(10);
    let (counts, pair, _) = world.run();
    assert_eq!((counts.sent, counts.answered, counts.unanswered, counts.unsent), (1000, 1000, 0, 0));
    assert_eq!(pair.latency.len(), 1000);
    assert!((96..=100).contains(&counts.reconnects), "{}", counts.reconnects);
    assert!(counts.errors.is_empty());
}

#[test]
fn a_connection_that_fails_is_tried_again() {
    let mut world = World::new(open(1000.0), 3, stalls);
    world.opens = |opening| opening != 2;
    let (counts, ..) = world.run();
    assert_eq!(counts.errors, BTreeMap::from([(ErrorKind::Refused, 1)]));
    assert_eq!(counts.answered, 1000);
    world.opens = |_| false;
    let (counts, pair, _) = world.run();
    assert_eq!(counts.errors, BTreeMap::from([(ErrorKind::Refused, 3)]));
    assert!(pair.latency.is_empty());
}

#[test]
fn a_wrong_echo_is_an_error_and_the_connection_is_made_anew() {
    let (to, _intervals) = channel();
    let plan = World::new(Loop::Closed, 1, stalls).plan;
    let clients = vec![Client::Echo(echo::Client::new(Sizes::Fixed(8), 1))];
    let mut session = Session::new(plan, clients, Arc::new(Gate::new(1)), Recorder::new(0, to, channel().1));
    assert_eq!(session.poll_action(1), Some(Action::Connect(0)));
    session.on_connected(0, 2);
    assert_eq!(session.poll_action(3), Some(Action::Send(0)));
    session.on_writable(0, &mut Bounded::new(&mut Vec::new(), 100), 3);
    assert_eq!(session.on_bytes(0, b"xxxxxxxx", 4), Keep::Close);
    assert_eq!(session.poll_action(5), Some(Action::Connect(0)));
    session.on_closed(0, 6, ErrorKind::Refused);
    assert_eq!(session.poll_action(7), None);
    session.interrupt(8);
    let counts = session.finish();
    assert_eq!(counts.errors, BTreeMap::from([(ErrorKind::Corrupt, 1), (ErrorKind::Refused, 1)]));
    assert_eq!(counts.unanswered, 0);
}

#[test]
fn an_opening_that_hangs_is_given_up() {
    let (to, _intervals) = channel();
    let plan = World::new(Loop::Closed, 1, stalls).plan;
    let clients = vec![Client::Echo(echo::Client::new(Sizes::Fixed(8), 1))];
    let gate = Arc::new(Gate::new(1));
    let mut session = Session::new(plan, clients, Arc::clone(&gate), Recorder::new(0, to, channel().1));
    assert_eq!(session.poll_action(0), Some(Action::Connect(0)));
    assert_eq!(session.poll_action(1), None);
    assert_eq!(session.poll_deadline(), 5 * S);
    assert_eq!(session.poll_action(5 * S), Some(Action::Abort(0)));
    assert_eq!(session.poll_action(5 * S), None);
    assert!(session.is_done(), "no connection of any core stands");
    assert_eq!(gate.first_error(), Some(ErrorKind::ConnectTimeout));
}

#[test]
fn a_pipeline_sends_what_one_connection_could_not() {
    // Every answer takes 2 ms: one at a time would be 500 a second.
    let mut world = World::new(open(1000.0), 1, |sent| Some(sent + 2 * MS));
    world.plan.depth = 3;
    let (counts, pair, _) = world.run();
    assert_eq!((counts.answered, counts.unsent, counts.waited), (1000, 0, 0));
    assert_near(pair.latency.max(), 2 * MS);
    // With two there are only 1000 a second to be had, and each answer makes room for the next one just in time.
    world.plan.depth = 2;
    let (counts, pair, _) = world.run();
    assert_eq!((counts.answered, counts.unsent), (1000, 0));
    assert_near(pair.latency.max(), 2 * MS);
}

#[test]
fn what_is_pipelined_behind_the_last_answer_of_a_connection_is_not_begun() {
    let mut world = World::new(Loop::Closed, 2, |sent| Some(sent + MS));
    world.plan.depth = 8;
    world.plan.requests_per_connection = Some(10);
    world.plan.request_limit = Some(100);
    let (counts, ..) = world.run();
    assert_eq!((counts.answered, counts.unanswered), (100, 0));
    assert!(counts.errors.is_empty(), "{:?}", counts.errors);
    assert!((8..=10).contains(&counts.reconnects), "{}", counts.reconnects);
}

#[test]
fn a_trace_is_played_and_ends_the_run() {
    let times: Arc<[u64]> = [0, 10 * MS, 10 * MS, 500 * MS].into();
    let pace = || Loop::Trace { times: Arc::clone(&times), first: 0, stride: 1 };
    let (counts, pair, _) = World::new(pace(), 1, |sent| Some(sent + 10 * US)).run();
    assert_eq!((counts.sent, counts.answered, counts.measured_ns), (4, 4, 500 * MS));
    // The second of two at the same time waits for the first one's answer.
    assert_near(pair.latency.max(), 20 * US);
    assert_near(pair.service.max(), 10 * US);
    // The next core has every other one.
    let second = Loop::Trace { times: Arc::clone(&times), first: 1, stride: 2 };
    let (counts, ..) = World::new(second, 1, |sent| Some(sent + 10 * US)).run();
    assert_eq!((counts.sent, counts.measured_ns), (2, 500 * MS));
}

#[test]
fn a_ramp_sends_as_many_as_its_area() {
    let profile = Profile::ramp(1000.0, 3000.0, 0, S);
    let pace = Loop::Open { profile, phase: 0.0, arrivals: Arrivals::Constant, seed: 1 };
    let (counts, pair, _) = World::new(pace, 1, |sent| Some(sent + 10 * US)).run();
    assert!(counts.answered.abs_diff(2000) <= 1, "{}", counts.answered);
    assert_near(pair.latency.max(), 10 * US);
}

#[test]
fn a_connection_for_each_request_is_timed_with_its_opening() {
    let mut world = World::new(open(100.0), 4, |sent| Some(sent + 10 * US));
    world.plan.churn = true;
    world.opening_ns = 3 * MS;
    let with_echo = world.run_all();
    assert_eq!((with_echo.counts.answered, with_echo.openings), (100, 101), "one to see whether anybody is there");
    assert_near(with_echo.pair.latency.max(), 3 * MS + 10 * US);
    assert_eq!(with_echo.counts.reconnects, 0);

    world.clients = (0..4).map(|_| Client::Silent).collect();
    let silent = world.run_all();
    assert_eq!((silent.counts.answered, silent.openings), (100, 101));
    assert_near(silent.pair.latency.max(), 3 * MS);
    // Every tenth is refused: an error, no answer, and the place is used again later.
    world.opens = |opening| opening % 10 != 0;
    let refused = world.run_all();
    assert_eq!(refused.counts.errors, BTreeMap::from([(ErrorKind::Refused, 10)]));
    assert_eq!((refused.counts.sent, refused.counts.answered, refused.counts.unanswered), (100, 90, 0));
}

#[test]
fn idle_connections_are_opened_and_never_used() {
    let mut world = World::new(open(1000.0), 5, stalls);
    world.plan.idle = 3;
    let run = world.run_all();
    assert_eq!((run.openings, run.used), (5, BTreeSet::from([0, 1])));
    assert_eq!(run.counts.answered, 1000);
}

/// A session with one connection that is open.
fn opened(plan: Plan, client: Client) -> Session {
    let mut session =
        Session::new(plan, vec![client], Arc::new(Gate::new(1)), Recorder::new(0, channel().0, channel().1));
    assert_eq!(session.poll_action(0), Some(Action::Connect(0)));
    assert_eq!(session.on_connected(0, 0), Keep::Open);
    session
}

#[test]
fn a_generator_that_is_late_says_so() {
    let client = Client::Echo(echo::Client::new(Sizes::Fixed(8), 1));
    let mut session = opened(Plan::new(open(1000.0), S, S), client);
    let answer = |session: &mut Session, now| {
        let mut sent = Vec::new();
        session.on_writable(0, &mut Bounded::new(&mut sent, 100), now);
        session.on_bytes(0, &sent, now);
    };
    assert_eq!(session.poll_action(0), Some(Action::Send(0)));
    answer(&mut session, 0);
    // Due at 1 ms, with a connection free since 0; asked for only at 6 ms.
    assert_eq!(session.poll_action(6 * MS), Some(Action::Send(0)));
    answer(&mut session, 6 * MS);
    // Due at 2 ms, but the connection is free only since 6 ms: half a millisecond is the generator's.
    assert_eq!(session.poll_action(6 * MS + 500 * US), Some(Action::Send(0)));
    answer(&mut session, 6 * MS + 500 * US);
    session.interrupt(7 * MS);
    let counts = session.finish();
    assert_near(counts.lag.max(), 5 * MS);
    assert_near(counts.lag.value_at_quantile(0.5), 500 * US);
    assert_eq!((counts.lag.len(), counts.waited), (3, 1));
}

#[test]
fn a_slow_reader_takes_its_pieces_in_time() {
    let client = Client::Echo(echo::Client::new(Sizes::Fixed(30), 1));
    let mut session = opened(Plan { read_rate: Some(1000), ..Plan::new(Loop::Closed, S, S) }, client);
    assert_eq!(session.poll_action(0), Some(Action::Send(0)));
    let mut sent = Vec::new();
    session.on_writable(0, &mut Bounded::new(&mut sent, 100), 0);
    // A thousand bytes a second are ten in ten milliseconds.
    for at in [0, 10 * MS] {
        assert_eq!((session.read_room(0, at), session.is_read_paused(0)), (10, false));
        session.on_bytes(0, &sent[..10], at);
        sent.drain(..10);
        assert_eq!((session.read_room(0, at), session.is_read_paused(0)), (0, true));
        assert_eq!((session.poll_action(at + MS), session.poll_deadline()), (None, at + 10 * MS));
        assert_eq!(session.poll_action(at + 10 * MS), Some(Action::Read(0)));
    }
    assert_eq!(session.on_bytes(0, &sent, 20 * MS), Keep::Open);
    session.interrupt(20 * MS);
    assert_eq!(session.finish().answered, 1);
}

#[test]
fn a_slow_writer_writes_its_pieces_in_time() {
    let client = Client::Echo(echo::Client::new(Sizes::Fixed(25), 1));
    let mut session = opened(Plan { write_rate: Some(1000), ..Plan::new(Loop::Closed, S, S) }, client);
    assert_eq!(session.poll_action(0), Some(Action::Send(0)));
    for (at, len, more) in [(0, 10, true), (10 * MS, 10, true), (20 * MS, 5, false)] {
        let mut sent = Vec::new();
        session.on_writable(0, &mut Bounded::new(&mut sent, 100), at);
        assert_eq!((sent.len(), session.wants_write(0)), (len, false), "it waits for its time, not for room");
        if more {
            assert_eq!(session.poll_action(at + 9 * MS), None);
            assert_eq!(session.poll_action(at + 10 * MS), Some(Action::Send(0)));
        }
    }
}

#[test]
fn what_comes_unasked_is_counted_in_chunks() {
    let client = Client::BulkRecv(bulk::Receiver::new(100));
    let mut session = opened(Plan::new(Loop::Closed, S, S), client);
    let mut stream = vec![0; 1000];
    pattern::fill(pattern::SERVED_SEED, 0, &mut stream);
    // Before the start it comes too.
    assert_eq!(session.on_bytes(0, &stream[..50], 0), Keep::Open);
    assert_eq!(session.poll_action(1), None);
    assert_eq!(session.on_bytes(0, &stream[50..500], MS), Keep::Open);
    assert_eq!(session.on_bytes(0, &stream[500..], 2 * MS), Keep::Open);
    assert_eq!(session.poll_action(S), None);
    assert!(session.is_done(), "a stream has no answers to wait for");
    let counts = session.finish();
    assert_eq!((counts.answered, counts.bytes_received, counts.unanswered), (9, 950, 0));
}

#[test]
fn a_sent_chunk_is_done_when_it_is_taken() {
    let client = Client::BulkSend(bulk::Sender::new(100));
    let mut session = opened(Plan { request_limit: Some(2), ..Plan::new(Loop::Closed, S, S) }, client);
    let mut taken = Vec::new();
    assert_eq!(session.poll_action(0), Some(Action::Send(0)));
    session.on_writable(0, &mut Bounded::new(&mut taken, 60), MS);
    assert_eq!((session.poll_action(MS), session.wants_write(0)), (None, true));
    session.on_writable(0, &mut Bounded::new(&mut taken, 1000), 2 * MS);
    assert_eq!(session.poll_action(2 * MS), Some(Action::Send(0)));
    session.on_writable(0, &mut Bounded::new(&mut taken, 1000), 3 * MS);
    assert_eq!((session.poll_action(3 * MS), session.is_done(), taken.len()), (None, true, 200));
    let counts = session.finish();
    assert_eq!((counts.answered, counts.bytes_sent), (2, 200));
}

#[test]
fn sets_of_one_core_take_turns_and_count_apart() {
    let gate = Arc::new(Gate::new(2));
    let session = |connections: u64| {
        let clients = (0..connections).map(|seed| Client::Echo(echo::Client::new(Sizes::Fixed(8), seed))).collect();
        Session::new(
            Plan::new(Loop::Closed, S, S),
            clients,
            Arc::clone(&gate),
            Recorder::new(0, channel().0, channel().1),
        )
    };
    let (first, second) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let mut crew = Crew::new(vec![(session(2), first), (session(1), second)]);
    assert_eq!((crew.connections(), crew.target(1), crew.target(2)), (3, first, second));
    let opened: BTreeSet<usize> = (0..3)
        .map(|_| match crew.poll_action(0) {
            Some(Action::Connect(conn)) => conn,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(opened, BTreeSet::from([0, 1, 2]));
    opened.iter().for_each(|conn| assert_eq!(crew.on_connected(*conn, 0), Keep::Open));
    let mut sent = BTreeSet::new();
    while let Some(Action::Send(conn)) = crew.poll_action(1) {
        let mut bytes = Vec::new();
        crew.on_writable(conn, &mut Bounded::new(&mut bytes, 100), 1);
        sent.insert(conn);
        if conn == 2 {
            assert_eq!(crew.on_bytes(conn, &bytes, 2), Keep::Open);
            crew.on_closed(conn, 2, ErrorKind::Closed);
        }
    }
    assert_eq!(sent, BTreeSet::from([0, 1, 2]));
    crew.interrupt(3);
    assert!(crew.is_done());
    let counts = crew.finish();
    assert_eq!(counts.iter().map(|counts| (counts.sent, counts.answered)).collect::<Vec<_>>(), [(2, 0), (1, 1)]);
}
