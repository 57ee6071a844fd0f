//! Connections that go to another worker while this one is drained, and those that come from one.
//!
//! A connection goes when it is at rest: when its next bytes have come and nothing has been answered, or when it is looked
//! at in passing over all of them. Until it has arrived it is nobody's: its packets go to whom it was sent to, who sends
//! them back, until he has taken it over from his inbox; which is what he does first in a turn. Nobody answers them.

use super::{Post, Worker};
use crate::app::{App, Conn};
use crate::control::{AWAY, Cargo, Moves, Parcel, Report};
use crate::device::Device;
use corelane_proto::endpoint::{ConnId, MoveError};
use corelane_proto::{Flow, Instant};
use std::any::Any;
use std::collections::VecDeque;
use std::time::Duration;

/// Slots that are looked at in a turn.
const LOOKED_AT: usize = 512;

/// Parcels that are taken in a turn.
const TAKEN: usize = 2 * AWAY;

/// From one pass over all connections to the next, at least and at most: the longer, the less the ones before were good for.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long none moves after one has come back.
const BARRED_FOR: Duration = Duration::from_millis(100);

/// What connections to move have been found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stay {
    /// Not at rest.
    pub(super) busy: usize,
    /// Kept by the application.
    pub(super) kept: usize,
}

/// What became of a connection that was to move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Gone,
    Busy,
    Kept,
    /// It belongs here.
    Stays,
}

/// A worker's part in moving connections.
#[derive(Debug)]
pub(super) struct Mover {
    moves: Moves,
    /// The connections are to move.
    draining: bool,
    /// The slot that is looked at next, during a pass.
    pass: Option<usize>,
    next_pass: Instant,
    between: Duration,
    barred_until: Instant,
    /// One has moved since the pass began.
    useful: bool,
    /// The main thread waits for the end of the pass.
    tell: bool,
    found: Stay,
    last: Stay,
    /// Connections on their way, or on their way back.
    away: usize,
    /// Those that have come back and have no place yet.
    back: VecDeque<Cargo>,
    /// Those that have come and were not told of.
    arrived: Vec<Flow>,
}

impl Mover {
    pub(super) fn new(moves: Moves) -> Self {
        Self {
            moves,
            draining: false,
            pass: None,
            next_pass: Instant::ZERO,
            between: BETWEEN.0,
            barred_until: Instant::ZERO,
            useful: false,
            tell: false,
            found: Stay::default(),
            last: Stay::default(),
            away: 0,
            back: VecDeque::with_capacity(AWAY),
            arrived: Vec::with_capacity(TAKEN),
        }
    }

    /// Begins to move connections, from the first on, or ends it.
    pub(super) fn order(&mut self, draining: bool) {
        self.draining = draining;
        self.last = Stay::default();
        self.found = Stay::default();
        if draining {
            (self.pass, self.tell, self.useful) = (Some(0), true, false);
            (self.between, self.barred_until) = (BETWEEN.0, Instant::ZERO);
        }
    }

    /// What stayed in the last pass.
    pub(super) const fn stay(&self) -> Stay {
        self.last
    }

    /// Whether a connection is on its way.
    pub(super) const fn is_awaiting(&self) -> bool {
        self.away > 0
    }

    /// How many are.
    pub(super) const fn awaited(&self) -> usize {
        self.away
    }

    /// When to turn again at the latest, if there are `connections`.
    pub(super) fn deadline(&self, connections: usize) -> Option<Instant> {
        let goes_on = self.pass.is_some() && self.away < AWAY || !self.back.is_empty();
        let has_news = !self.arrived.is_empty() || self.is_tried();
        if goes_on || has_news {
            return Some(Instant::ZERO);
        }
        (self.draining && connections > 0).then_some(self.next_pass)
    }

    /// Whether the main thread has to be told that all have been tried.
    fn is_tried(&self) -> bool {
        self.tell && self.pass.is_none() && self.away == 0
    }

    fn end_pass(&mut self, now: Instant) {
        self.pass = None;
        self.last = std::mem::take(&mut self.found);
        self.between = if self.useful { BETWEEN.0 } else { (self.between * 2).min(BETWEEN.1) };
        self.next_pass = self.barred_until.max(now + self.between);
    }

    /// The main thread hears of what has come, and of the end of the first pass.
    fn report(&mut self, post: &Post) {
        if !self.arrived.is_empty() {
            let flows = self.arrived.clone();
            // When the main thread has much to do, it hears of them later.
            if post.try_report(Report::Arrived { worker: self.moves.worker(), flows }) {
                self.arrived.clear();
            }
        }
        if self.is_tried() {
            self.tell = !post.try_report(Report::Tried { worker: self.moves.worker() });
        }
    }
}

impl<A: App, D: Device> Worker<A, D> {
    /// Whether connections move now.
    pub(super) fn moves_now(&self, now: Instant) -> bool {
        let ready = |mover: &Mover| mover.draining && mover.away < AWAY && now >= mover.barred_until;
        self.mover.as_ref().is_some_and(|mover| ready(mover)) && !self.stopping && self.leaving.is_none()
    }

    /// Moves the connection if it can; says whether it is gone.
    pub(super) fn is_moved(&mut self, now: Instant, id: ConnId) -> bool {
        self.try_to_move(now, id) == Outcome::Gone
    }

    fn try_to_move(&mut self, now: Instant, id: ConnId) -> Outcome {
        let Self { app, net, states, post: Some(post), mover: Some(mover), counters, .. } = self else {
            return Outcome::Stays;
        };
        let Some(flow) = net.endpoint.flow(id) else { return Outcome::Stays };
        let Some(heir) = post.view().with(|view| view.heir(&flow)) else { return Outcome::Stays };
        if !net.endpoint.may_move(id) {
            return Outcome::Busy;
        }
        let Some(state) = states.remove(id) else { return Outcome::Stays };
        let baggage = match app.on_move_out(&mut Conn::new(net, now, id), state) {
            Ok(baggage) => baggage,
            Err(state) => {
                states.insert(id, state);
                counters.moves_kept += 1;
                return Outcome::Kept;
            }
        };
        let Some(moving) = net.endpoint.move_out(&mut net.store, id) else {
            // The application has used it meanwhile.
            counters.moves_kept += 1;
            self.give_state(now, id, baggage);
            return Outcome::Kept;
        };
        let yielded = post.release(&flow);
        let registered = net.registrar.as_mut().is_some_and(|registrar| registrar.release(&flow));
        // From now on whatever comes of it goes there, whatever happens to the table.
        post.view().with(|view| view.pin(flow, heir));
        mover.away += 1;
        let cargo = Cargo { moving, baggage, yielded, registered };
        match mover.moves.send(heir as usize, Parcel::Take(mover.moves.worker(), cargo)) {
            Ok(()) => Outcome::Gone,
            Err(parcel) => {
                if let Parcel::Take(_, cargo) = parcel {
                    mover.back.push_back(cargo);
                }
                Outcome::Kept
            }
        }
    }

    /// Takes what other workers have sent; says how much that was.
    pub(super) fn take_parcels(&mut self, now: Instant) -> usize {
        let mut taken = 0;
        while taken < TAKEN
            && let Some(parcel) = self.mover.as_ref().and_then(|mover| mover.moves.next())
        {
            taken += 1;
            match parcel {
                Parcel::Take(from, cargo) => {
                    let answer = self.take_over(now, cargo);
                    if let Some(mover) = &self.mover {
                        let sent = mover.moves.send(from, answer);
                        debug_assert!(sent.is_ok(), "who sends has room for the answer");
                    }
                }
                Parcel::Arrived => {
                    self.net.endpoint.moved();
                    self.counters.moved_out += 1;
                    if let Some(mover) = &mut self.mover {
                        mover.away -= 1;
                        mover.useful = true;
                    }
                }
                Parcel::Back(cargo) => {
                    self.counters.moves_returned += 1;
                    if let Some(mover) = &mut self.mover {
                        mover.barred_until = now + BARRED_FOR;
                        mover.back.push_back(cargo);
                    }
                }
            }
        }
        self.bring_home(now);
        taken
    }

    /// Takes a connection over from another worker; the answer is for that one.
    fn take_over(&mut self, now: Instant, cargo: Cargo) -> Parcel {
        let Self { app, net, states, mover, counters, stopping, leaving, .. } = self;
        let Some(mover) = mover.as_mut().filter(|_| !*stopping && leaving.is_none()) else {
            counters.moves_refused_stopping += 1;
            return Parcel::Back(cargo);
        };
        let Cargo { moving, baggage, yielded, registered } = cargo;
        let flow = *moving.flow();
        let id = match net.endpoint.move_in(now, &mut net.store, moving) {
            Ok(id) => id,
            Err((moving, error)) => {
                *match error {
                    MoveError::Full | MoveError::NoFrames => &mut counters.moves_refused_full,
                    MoveError::Exists | MoveError::NotOurs => &mut counters.moves_refused_address,
                } += 1;
                return Parcel::Back(Cargo { moving, baggage, yielded, registered });
            }
        };
        match app.on_move_in(&mut Conn::new(net, now, id), baggage) {
            Ok(state) => {
                states.insert(id, state);
                counters.moved_in += 1;
            }
            Err(baggage) => {
                counters.moves_refused_application += 1;
                if let Some(moving) = net.endpoint.move_out(&mut net.store, id) {
                    net.endpoint.moved();
                    return Parcel::Back(Cargo { moving, baggage, yielded, registered });
                }
                net.endpoint.abort(id);
                counters.moves_reset += 1;
            }
        }
        if let Some(registrar) = net.registrar.as_mut().filter(|_| registered) {
            registrar.adopt(flow);
        }
        mover.arrived.push(flow);
        Parcel::Arrived
    }

    /// Puts back what nobody has taken. What finds no frames for its bytes tries again in the next turn.
    fn bring_home(&mut self, now: Instant) {
        for _ in 0..self.mover.as_ref().map_or(0, |mover| mover.back.len()) {
            let Self { net, post: Some(post), mover: Some(mover), leaving, counters, .. } = self else { return };
            let Some(Cargo { moving, baggage, yielded, registered }) = mover.back.pop_front() else { return };
            let flow = *moving.flow();
            let id = match net.endpoint.move_back(now, &mut net.store, moving) {
                Ok(id) => id,
                Err((moving, _)) => {
                    mover.back.push_back(Cargo { moving, baggage, yielded, registered });
                    continue;
                }
            };
            mover.away -= 1;
            post.view().with(|view| view.forget(&[flow]));
            if yielded {
                post.keep(flow);
            }
            if let Some(registrar) = net.registrar.as_mut().filter(|_| registered) {
                registrar.adopt(flow);
            }
            if leaving.as_mut().is_some_and(|leaving| leaving.register(flow).is_err()) {
                // Its packets will go to the other process, which resets it.
                counters.dropped_relay += 1;
            }
            self.give_state(now, id, baggage);
        }
    }

    /// Gives the application back what it had given up. Who does not take that has no use for the connection.
    fn give_state(&mut self, now: Instant, id: ConnId, baggage: Box<dyn Any + Send>) {
        let Self { app, net, states, counters, stopping, .. } = self;
        if let Ok(state) = app.on_move_in(&mut Conn::new(net, now, id), baggage) {
            states.insert(id, state);
            if *stopping {
                net.endpoint.close(id);
            }
        } else {
            net.endpoint.abort(id);
            counters.moves_reset += 1;
        }
    }

    /// Goes on passing over all connections, if they are to move; says whether there was anything to do.
    pub(super) fn move_some(&mut self, now: Instant) -> bool {
        let connections = self.states.len();
        let Some(mover) = self.mover.as_mut() else { return false };
        if mover.pass.is_none() && mover.draining && connections > 0 && now >= mover.next_pass {
            (mover.pass, mover.useful) = (Some(0), false);
        }
        let was_passing = mover.pass.is_some();
        if was_passing {
            self.pass_on(now);
        }
        if let Some((mover, post)) = self.mover.as_mut().zip(self.post.as_ref()) {
            mover.report(post);
        }
        was_passing
    }

    fn pass_on(&mut self, now: Instant) {
        for _ in 0..LOOKED_AT {
            let may = self.moves_now(now);
            let Some(mover) = self.mover.as_mut() else { return };
            let Some(slot) = mover.pass else { return };
            let waits_for_room = mover.away >= AWAY;
            if slot >= self.states.slots() || !may && !waits_for_room {
                return mover.end_pass(now);
            }
            if waits_for_room {
                return;
            }
            mover.pass = Some(slot + 1);
            let Some(id) = self.states.id_at(slot) else { continue };
            let outcome = self.try_to_move(now, id);
            let Some(mover) = self.mover.as_mut() else { return };
            match outcome {
                Outcome::Busy => mover.found.busy += 1,
                Outcome::Kept => mover.found.kept += 1,
                Outcome::Gone | Outcome::Stays => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
