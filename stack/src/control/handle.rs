//! How a program steers a stack that runs.

use super::WAITING;
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer may take: longer than a core may be busy with one turn of its application.
const PATIENCE: Duration = Duration::from_secs(10);

/// Steers a running stack from any thread: which cores get new connections. Clones steer the same one.
///
/// It is given to [`Builder::control`](crate::runtime::Builder::control) before the stack starts.
#[derive(Clone, Debug)]
pub struct Control {
    /// The way to the stack's desk while it runs.
    desk: Arc<Mutex<Option<Ways>>>,
}

/// The ways to a stack's desk.
#[derive(Clone, Debug)]
struct Ways {
    requests: Sender<Request>,
    successors: Sender<Successor>,
}

/// A process that wants to take over, and the client of the control socket that it is.
pub(crate) type Successor = UnixStream;

/// Where a stack hears what it is asked. Nobody is heard any more when it is dropped.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) requests: Receiver<Request>,
    pub(crate) successors: Receiver<Successor>,
    handle: Control,
}

impl Drop for Desk {
    fn drop(&mut self) {
        *self.handle.lock() = None;
    }
}

/// One thing that is asked, and where the answer goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) what: Ask,
    pub(crate) answer: Sender<Result<Vec<CoreShare>, ControlError>>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// How things stand.
    Shares,
    /// This core gets no new connections.
    Drain(usize),
    /// This core gets its share of them.
    Add(usize),
    /// Move buckets from the busiest core to the idlest, if they differ much.
    Rebalance,
}

/// How one core takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CoreShare {
    /// The worker's number, from 0.
    pub worker: usize,
    /// The core that it is pinned to.
    pub core: usize,
    /// How many buckets of the table of owners are its own: its share of new connections.
    pub buckets: u32,
    /// Flows of which it has something: connections, half-open ones, and those in TIME-WAIT.
    pub flows: usize,
    /// Frames that it has received.
    pub frames: u64,
    /// Whether it was drained: it gets no new connections.
    pub drained: bool,
    /// Connections that it has given to other workers whenever it was drained.
    #[serde(default)]
    pub moved_out: u64,
    /// Connections that it has taken over from workers that were drained.
    #[serde(default)]
    pub moved_in: u64,
    /// Of a worker that is drained: connections that were busy when they were to move last. They are tried again.
    #[serde(default)]
    pub busy: usize,
    /// Of a worker that is drained: connections that the application kept when they were to move last.
    #[serde(default)]
    pub kept: usize,
}

/// Why a running stack cannot do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It does not run, or not yet, or no more.
    #[error("the stack does not run: start it first, with this handle")]
    NotRunning,
    /// It did not answer in time.
    #[error("the stack did not answer within {} s: a handler of the application blocks a core", PATIENCE.as_secs())]
    NoAnswer,
    /// No such worker.
    #[error("there is no worker {worker}: they are numbered from 0 to {last}")]
    NoWorker {
        /// The one that was named.
        worker: usize,
        /// The last that there is.
        last: usize,
    },
    /// Somebody has to take new connections.
    #[error("worker {worker} is the last one that takes new connections: add another one first")]
    LastWorker {
        /// The one that was named.
        worker: usize,
    },
    /// More flows would have to stay behind than can be remembered.
    #[error(
        "{flows} connections would have to stay where they are, and only {room} can: try again when there are fewer"
    )]
    TooManyPinned {
        /// How many.
        flows: usize,
        /// How many more can be pinned.
        room: usize,
    },
    /// The steering program's maps did not take it.
    #[error("the steering program did not take the change: {0}; nothing has moved")]
    Program(String),
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A handle of no stack yet.
    pub fn new() -> Self {
        Self { desk: Arc::default() }
    }

    /// The stack runs from now on, and listens here.
    pub(crate) fn open_desk(&self) -> Desk {
        let (sender, requests) = bounded(WAITING);
        let (to_successors, successors) = bounded(1);
        *self.lock() = Some(Ways { requests: sender, successors: to_successors });
        Desk { requests, successors, handle: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ways>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the cores share new connections, and what each has.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`], [`ControlError::NoAnswer`].
    pub fn shares(&self) -> Result<Vec<CoreShare>, ControlError> {
        self.ask(Ask::Shares)
    }

    /// Gives `worker` no more new connections: its share goes to the others. Its connections move to them as far as the
    /// application allows ([`App::on_move_out`](crate::App::on_move_out)), each when it is at rest; the others stay until
    /// they end. Each has been tried once when this returns, and [`shares`](Self::shares) tells how many are left.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then.
    pub fn drain(&self, worker: usize) -> Result<Vec<CoreShare>, ControlError> {
        self.ask(Ask::Drain(worker))
    }

    /// Gives `worker`, which was drained, its share of new connections again.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then.
    pub fn add(&self, worker: usize) -> Result<Vec<CoreShare>, ControlError> {
        self.ask(Ask::Add(worker))
    }

    /// Moves a part of the busiest worker's share to the idlest one, by what they have done since this was asked last;
    /// not when they are about as busy.
    ///
    /// # Errors
    /// [`ControlError`]; nothing has changed then.
    pub fn rebalance(&self) -> Result<Vec<CoreShare>, ControlError> {
        self.ask(Ask::Rebalance)
    }

    /// Has a process take over; the stream is given back when the stack does not run.
    pub(super) fn succeed(&self, successor: Successor) -> Result<(), Successor> {
        let Some(desk) = self.lock().clone() else { return Err(successor) };
        desk.successors.try_send(successor).map_err(crossbeam::channel::TrySendError::into_inner)
    }

    pub(super) fn ask(&self, what: Ask) -> Result<Vec<CoreShare>, ControlError> {
        let (answer, answered) = bounded(1);
        let desk = self.lock().clone().ok_or(ControlError::NotRunning)?;
        desk.requests.try_send(Request { what, answer }).map_err(|_| ControlError::NotRunning)?;
        drop(desk);
        answered.recv_timeout(PATIENCE).map_err(|error| match error {
            crossbeam::channel::RecvTimeoutError::Timeout => ControlError::NoAnswer,
            crossbeam::channel::RecvTimeoutError::Disconnected => ControlError::NotRunning,
        })?
    }
}
