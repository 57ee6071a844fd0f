//! Servers over the stack.

use super::{ConnOutput, StackConfig, failure, is_broken};
use crate::failure::Failure;
use crate::transport::ServeSummary;
use crate::workload::{Server, Servers};
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Instant, Rx, Shutdown, Summary};
use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a connection that we ended still takes bytes, so that the peer gets the last answer instead of a RST.
const LINGER: Duration = Duration::from_secs(2);

/// What the cores share: what they counted, and the call that says that they listen.
struct Shared<F> {
    total: Mutex<ServeSummary>,
    ready: Mutex<Option<F>>,
}

/// Serves until SIGINT or SIGTERM. `ready` is called once packets reach the stack, with the first own address.
pub fn run_serve(
    stack: &StackConfig,
    servers: &Servers,
    port: u16,
    ready: impl FnOnce(SocketAddr) + Send,
) -> Result<(ServeSummary, Summary), Failure> {
    let shared = Shared { total: Mutex::new(ServeSummary::default()), ready: Mutex::new(Some(ready)) };
    let make_app = |_worker| ServeApp {
        shared: &shared,
        servers: servers.clone(),
        port,
        announced: false,
        stopping: false,
        lingering: VecDeque::new(),
        summary: ServeSummary::default(),
    };
    let stack = corelane::run(&stack.config, make_app).map_err(|error| failure(&error))?;
    let total = *shared.total.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((total, stack))
}

/// One core's server.
struct ServeApp<'s, F: FnOnce(SocketAddr)> {
    shared: &'s Shared<F>,
    servers: Servers,
    port: u16,
    announced: bool,
    /// From here on connections end because we do.
    stopping: bool,
    /// Connections that we ended and the peer did not yet, in the order of their time.
    lingering: VecDeque<(Instant, ConnId)>,
    summary: ServeSummary,
}

/// One connection.
struct State {
    server: Server,
    peer_closed: bool,
    lingers: bool,
}

impl<F: FnOnce(SocketAddr)> ServeApp<'_, F> {
    /// What follows when everything that could be done now is done.
    fn settle(&mut self, conn: &mut Conn<'_>, state: &mut State) {
        if state.server.is_finished() && !state.lingers {
            state.lingers = true;
            if state.peer_closed {
                conn.close();
            } else {
                conn.shutdown(Shutdown::Write);
                self.lingering.push_back((conn.now() + LINGER, conn.id()));
            }
        } else if state.peer_closed && !state.server.wants_write() {
            conn.close();
        }
    }

    fn write(&mut self, conn: &mut Conn<'_>, state: &mut State) {
        let mut out = ConnOutput::new(conn);
        state.server.on_writable(&mut out);
        self.summary.bytes_out += out.taken;
        self.settle(conn, state);
    }
}

impl<F: FnOnce(SocketAddr)> App for ServeApp<'_, F> {
    type State = State;

    fn on_start(&mut self, core: &mut Core<'_, State>) -> Result<(), Error> {
        core.listen_port(self.port)
    }

    fn on_accept(&mut self, conn: &mut Conn<'_>) -> State {
        self.summary.accepted += 1;
        let mut state = State { server: self.servers.fresh(), peer_closed: false, lingers: false };
        if state.server.wants_write() {
            self.write(conn, &mut state);
        }
        state
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, state: &mut State, rx: &mut Rx<'_>) {
        if state.lingers {
            return;
        }
        let mut out = ConnOutput::new(conn);
        let used = state.server.on_bytes(rx.bytes(), &mut out, &mut self.summary.tally);
        self.summary.bytes_out += out.taken;
        self.summary.bytes_in += used as u64;
        if !state.server.is_finished() {
            rx.consume(used);
        }
        self.settle(conn, state);
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, state: &mut State) {
        if !state.lingers {
            self.write(conn, state);
        }
    }

    fn on_peer_closed(&mut self, conn: &mut Conn<'_>, state: &mut State) {
        state.peer_closed = true;
        if state.lingers || !state.server.wants_write() {
            conn.close();
        }
    }

    fn on_closed(&mut self, _core: &mut Core<'_, State>, _state: State, reason: CloseReason) {
        if !self.stopping {
            self.summary.closed += 1;
            self.summary.reset += u64::from(is_broken(reason));
        }
    }

    fn on_move_out(&mut self, _conn: &mut Conn<'_>, state: State) -> Result<Box<dyn Any + Send>, State> {
        // One that lingers has its place in a list of this core.
        if state.lingers || state.peer_closed { Err(state) } else { Ok(Box::new(state)) }
    }

    fn on_move_in(&mut self, _conn: &mut Conn<'_>, baggage: Box<dyn Any + Send>) -> Result<State, Box<dyn Any + Send>> {
        baggage.downcast().map(|state| *state)
    }

    fn on_stop(&mut self, core: &mut Core<'_, State>) {
        self.stopping = true;
        self.summary.open_at_stop += core.connections() as u64;
    }

    fn on_turn(&mut self, core: &mut Core<'_, State>) -> Option<Instant> {
        if !self.announced {
            self.announced = true;
            // The first turn of any core comes after the last one's sockets were registered.
            let ready = self.shared.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let (Some(ready), Some(address)) = (ready, core.addresses().first()) {
                ready(corelane::SocketAddr::new(*address, self.port).into());
            }
        }
        while let Some(&(until, id)) = self.lingering.front() {
            if until > core.now() {
                return Some(until);
            }
            self.lingering.pop_front();
            if let Some(mut conn) = core.conn(id) {
                conn.close();
            }
        }
        None
    }
}

impl<F: FnOnce(SocketAddr)> Drop for ServeApp<'_, F> {
    fn drop(&mut self) {
        *self.shared.total.lock().unwrap_or_else(PoisonError::into_inner) += self.summary;
    }
}
