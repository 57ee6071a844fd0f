//! Sessions against servers that are functions of the time: what comes out can be computed by hand.

use super::recorder::{Pair, Recorder};
use super::schedule::Arrivals;
use super::session::{Action, Counts, Keep, Loop, Plan, Session};
use crate::load::gate::Gate;
use crate::report::result::Percentiles;
use crate::transport::ErrorKind;
use crate::workload::{Bounded, Client, echo};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A run in virtual time.
struct World {
    plan: Plan,
    connections: usize,
    /// When a request that is sent at the given time is answered; `None` is never.
    answer_at: fn(u64) -> Option<u64>,
    /// Whether the n-th opening succeeds.
    opens: fn(usize) -> bool,
}

impl World {
    fn new(pace: Loop, connections: usize, answer_at: fn(u64) -> Option<u64>) -> Self {
        let plan = Plan {
            pace,
            warmup_ns: 0,
            duration_ns: S,
            drain_ns: S,
            request_limit: None,
            requests_per_connection: None,
        };
        Self { plan, connections, answer_at, opens: |_| true }
    }

    fn run(&self) -> (Counts, Pair, BTreeMap<u64, u64>) {
        let (to, intervals) = channel();
        let clients = (0..self.connections as u64).map(|seed| Client::Echo(echo::Client::new(8, seed))).collect();
        let recorder = Recorder::new(0, to, channel().1);
        let mut session = Session::new(self.plan.clone(), clients, Arc::new(Gate::new(1)), recorder);
        let mut answers: BTreeMap<(u64, usize), Vec<u8>> = BTreeMap::new();
        let mut now = 0;
        let mut openings = 0;
        loop {
            while let Some(action) = session.poll_action(now) {
                match action {
                    Action::Connect(conn) => {
                        openings += 1;
                        if (self.opens)(openings) {
                            session.on_connected(conn, now);
                        } else {
                            session.on_closed(conn, now, ErrorKind::Refused);
                        }
                    }
                    Action::Send(conn) => {
                        let mut sent = Vec::new();
                        session.on_writable(conn, &mut Bounded::new(&mut sent, 100));
                        assert!(!session.wants_write(conn));
                        if let Some(at) = (self.answer_at)(now) {
                            answers.insert((at, conn), sent);
                        }
                    }
                    Action::Abort(conn) => answers.retain(|(_, other), _| *other != conn),
                }
            }
            if session.is_done() {
                break;
            }
            let next = answers.keys().next().map_or(u64::MAX, |(at, _)| *at);
            now = now.max(next.min(session.poll_deadline()));
            assert!(now < 100 * S, "the run does not end");
            while let Some(entry) = answers.first_entry().filter(|entry| entry.key().0 <= now) {
                let ((_, conn), bytes) = entry.remove_entry();
                if session.on_bytes(conn, &bytes, now) == Keep::Close {
                    answers.retain(|(_, other), _| *other != conn);
                }
            }
        }
        let counts = session.finish();
        let mut total = Pair::new();
        let mut seconds = BTreeMap::new();
        for interval in intervals.try_iter() {
            total.add(&interval.pair);
            *seconds.entry(interval.second).or_default() += interval.pair.latency.len();
        }
        (counts, total, seconds)
    }
}

/// Answers after 10 us, but from 0.5 s on it stalls until 0.6 s.
fn stalls(sent: u64) -> Option<u64> {
    Some(if (500 * MS..600 * MS).contains(&sent) { 600 * MS } else { sent + 10 * US })
}

fn open(rate: f64) -> Loop {
    Loop::Open { rate, phase: 0.0, arrivals: Arrivals::Constant, seed: 1 }
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
    let clients = vec![Client::Echo(echo::Client::new(8, 1))];
    let mut session = Session::new(plan, clients, Arc::new(Gate::new(1)), Recorder::new(0, to, channel().1));
    assert_eq!(session.poll_action(1), Some(Action::Connect(0)));
    session.on_connected(0, 2);
    assert_eq!(session.poll_action(3), Some(Action::Send(0)));
    session.on_writable(0, &mut Bounded::new(&mut Vec::new(), 100));
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
    let clients = vec![Client::Echo(echo::Client::new(8, 1))];
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
