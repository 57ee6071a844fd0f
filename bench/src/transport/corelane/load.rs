//! Load over the stack.

use super::{ConnOutput, StackConfig, failure};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::load::crew::Crew;
use crate::load::session::{Action, Keep};
use crate::load::usage::Usage;
use crate::load::{CoreOutcome, Setup};
use crate::transport::ErrorKind;
use corelane::{App, CloseReason, Conn, ConnId, ConnectError, Core, Instant, Rx};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Runs the load on the stack's workers, as many as the set-up has cores. A stack that has lost a frame is not one to
/// measure: that fails the run.
pub fn run_load(stack: &StackConfig, setup: &Setup) -> Result<Vec<CoreOutcome>, Failure> {
    let outcomes = Mutex::new(Vec::new());
    let make_app = |worker| LoadApp::new(setup, worker, &outcomes);
    let summary = corelane::run(&stack.config, make_app).map_err(|error| failure(&error))?;
    if !summary.all_frames_accounted_for() {
        return Err(Failure::Threshold(format!("the stack has lost frames, which is a bug to report:\n{summary}")));
    }
    Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One core's load.
struct LoadApp<'s> {
    outcomes: &'s Mutex<Vec<CoreOutcome>>,
    /// Taken when the app goes.
    crew: Option<Crew>,
    clock: Clock,
    places: Vec<Place>,
    before: Usage,
}

/// What one place of the session has at the moment.
#[derive(Clone, Copy, Default)]
struct Place {
    conn: Option<ConnId>,
    /// How many connections it had: news of an earlier one are ignored.
    generation: u32,
}

/// Which place a connection belongs to, and to which of its generations.
#[derive(Clone, Copy)]
struct Ticket {
    place: usize,
    generation: u32,
}

impl<'s> LoadApp<'s> {
    fn new(setup: &Setup, worker: usize, outcomes: &'s Mutex<Vec<CoreOutcome>>) -> Self {
        let crew = setup.crew(worker);
        Self {
            outcomes,
            places: vec![Place::default(); crew.connections()],
            crew: Some(crew),
            clock: setup.clock().clone(),
            before: Usage::of_this_thread(),
        }
    }

    /// The sessions, for news of a connection that is still the place's.
    fn crew_of(&mut self, ticket: Ticket) -> Option<&mut Crew> {
        let place = self.places.get(ticket.place)?;
        if place.generation == ticket.generation { self.crew.as_mut() } else { None }
    }

    /// The place has no connection any more.
    fn forget(&mut self, place: usize) -> Option<ConnId> {
        let place = self.places.get_mut(place)?;
        place.generation = place.generation.wrapping_add(1);
        place.conn.take()
    }

    /// Closes the connection of a place in the way that its session wants.
    fn end(&mut self, place: usize, conn: &mut Conn<'_>) {
        self.forget(place);
        if self.crew.as_ref().is_some_and(|crew| crew.closes_by_reset(place)) {
            conn.abort();
        } else {
            conn.close();
        }
    }

    fn act(&mut self, core: &mut Core<'_, Ticket>, action: Action) {
        match action {
            Action::Connect(place) => {
                let ticket = Ticket { place, generation: self.places[place].generation };
                let Some(target) = self.crew.as_ref().map(|crew| crew.target(place)) else { return };
                match core.connect(target, ticket) {
                    Ok(id) => self.places[place].conn = Some(id),
                    Err(error) => {
                        let now = self.clock.now();
                        if let Some(crew) = &mut self.crew {
                            crew.on_closed(place, now, connect_error(&error));
                        }
                    }
                }
            }
            Action::Send(place) => {
                // A connection that has ended takes nothing, and the news of its end comes.
                let conn = self.places[place].conn.and_then(|id| core.conn(id));
                if let (Some(mut conn), Some(crew)) = (conn, &mut self.crew) {
                    let now = self.clock.now();
                    if crew.on_writable(place, &mut ConnOutput::new(&mut conn), now) == Keep::Close {
                        self.end(place, &mut conn);
                    }
                }
            }
            Action::Read(place) => {
                if let Some(mut conn) = self.places[place].conn.and_then(|id| core.conn(id)) {
                    conn.resume();
                }
            }
            Action::Abort(place) => {
                if let Some(mut conn) = self.forget(place).and_then(|id| core.conn(id)) {
                    conn.abort();
                }
            }
        }
    }
}

impl App for LoadApp<'_> {
    type State = Ticket;

    /// A load does not listen; what comes in anyway is turned away.
    fn on_accept(&mut self, conn: &mut Conn<'_>) -> Ticket {
        conn.abort();
        Ticket { place: usize::MAX, generation: 0 }
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, ticket: &mut Ticket) {
        let now = self.clock.now();
        let ticket = *ticket;
        if let Some(crew) = self.crew_of(ticket)
            && crew.on_connected(ticket.place, now) == Keep::Close
        {
            self.end(ticket.place, conn);
        }
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, ticket: &mut Ticket, rx: &mut Rx<'_>) {
        let now = self.clock.now();
        let ticket = *ticket;
        let Some(crew) = self.crew_of(ticket) else { return };
        let bytes = rx.bytes();
        let take = bytes.len().min(crew.read_room(ticket.place, now));
        let keep = crew.on_bytes(ticket.place, &bytes[..take], now);
        // What is left comes again when the connection is resumed, and the peer's window shows it meanwhile.
        rx.consume(take);
        if keep == Keep::Close {
            self.end(ticket.place, conn);
        }
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, ticket: &mut Ticket) {
        let now = self.clock.now();
        let ticket = *ticket;
        let Some(crew) = self.crew_of(ticket) else { return };
        if crew.wants_write(ticket.place)
            && crew.on_writable(ticket.place, &mut ConnOutput::new(conn), now) == Keep::Close
        {
            self.end(ticket.place, conn);
        }
    }

    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, ticket: &mut Ticket) {
        let now = self.clock.now();
        let ticket = *ticket;
        if let Some(crew) = self.crew_of(ticket) {
            crew.on_eof(ticket.place, now);
            self.forget(ticket.place);
        }
        conn.close();
    }

    fn on_closed(&mut self, _core: &mut Core<'_, Ticket>, ticket: Ticket, reason: CloseReason) {
        let now = self.clock.now();
        let Some(crew) = self.crew_of(ticket) else { return };
        crew.on_closed(ticket.place, now, error_kind(reason));
        self.forget(ticket.place);
    }

    fn on_turn(&mut self, core: &mut Core<'_, Ticket>) -> Option<Instant> {
        while let Some(action) = self.crew.as_mut().and_then(|crew| crew.poll_action(self.clock.now())) {
            self.act(core, action);
        }
        let crew = self.crew.as_ref()?;
        if crew.is_done() {
            core.stop();
            return None;
        }
        // The stack's clock has another origin than ours. Being asked a little early does no harm.
        let left = crew.poll_deadline().saturating_sub(self.clock.now());
        Some(core.now() + Duration::from_nanos(left))
    }

    fn on_stop(&mut self, _core: &mut Core<'_, Ticket>) {
        let now = self.clock.now();
        if let Some(crew) = &mut self.crew {
            crew.interrupt(now);
        }
    }
}

impl Drop for LoadApp<'_> {
    fn drop(&mut self) {
        let usage = Usage::of_this_thread() - self.before;
        if let Some(crew) = self.crew.take() {
            let outcome = CoreOutcome { counts: crew.finish(), usage };
            self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }
    }
}

const fn connect_error(error: &ConnectError) -> ErrorKind {
    match error {
        ConnectError::NoRoute(_) => ErrorKind::Unreachable,
        ConnectError::NoPort(_) | ConnectError::TableFull => ErrorKind::Exhausted,
        _ => ErrorKind::Other,
    }
}

const fn error_kind(reason: CloseReason) -> ErrorKind {
    match reason {
        CloseReason::Reset => ErrorKind::Reset,
        CloseReason::Refused => ErrorKind::Refused,
        CloseReason::TimedOut => ErrorKind::TimedOut,
        CloseReason::Unreachable => ErrorKind::Unreachable,
        CloseReason::Finished => ErrorKind::Closed,
        CloseReason::Aborted | CloseReason::Stopped | CloseReason::AddressRemoved => ErrorKind::Other,
    }
}
