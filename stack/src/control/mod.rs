//! What the main thread and the workers tell each other while packets go on. Every channel is bounded; a worker looks at
//! its own once a turn, and nothing here is on the path of a packet.

mod handle;
mod registrar;
mod socket;

pub(crate) use handle::{Ask, Desk, Request};
pub use handle::{Control, ControlError, CoreShare};
pub(crate) use registrar::Registrar;
pub(crate) use socket::ControlSocket;
pub use socket::{Answer, SocketError};

use crate::Error;
use crate::steer::Sites;
use crate::steer::mirror::Change;
use corelane_bpf::Table;
use corelane_proto::endpoint::InterfaceId;
use corelane_proto::{Flow, SocketAddr};
use crossbeam::channel::Sender;
use std::sync::Arc;

/// Messages that wait for one worker, or for the main thread, at most. The main thread asks a worker for one thing at a
/// time, so that none ever waits for room.
pub(crate) const WAITING: usize = 256;

/// What the main thread tells a worker.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Packets come, and these are the places where not all workers listen.
    Go(Arc<Sites>),
    /// The program is detached: close the queue.
    Close,
    /// The key of cookies from now on, the same for all workers: a connection that was offered one by one core may be
    /// opened at another.
    Secret([u8; 32]),
    /// Go by this table, and say which of your flows it gives to others ([`Report::Yielded`]).
    Yield(Arc<Table>),
    /// Go by this table; the flows stay with the cores that they are pinned to.
    Adopt(Arc<Table>, Arc<[(Flow, u32)]>),
    /// These flows are over and go by the table again.
    Forget(Arc<[Flow]>),
    /// The kernel has changed this on an interface, in this order.
    Kernel(InterfaceId, Arc<[Change]>),
    /// Say how busy you are ([`Report::Measured`]).
    Measure,
}

/// How busy a worker was since it was asked last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Load {
    /// Turns that found something to do.
    pub(crate) busy_turns: u64,
    /// Frames received.
    pub(crate) frames: u64,
    /// Flows of which it has something: connections, half-open ones and those in TIME-WAIT.
    pub(crate) flows: usize,
}

/// What a worker tells the main thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// The application has begun, and listens there; the sockets may get packets.
    Ready { worker: usize, listens: Vec<SocketAddr> },
    /// The connections are closed; nothing more will be sent.
    Quiet { worker: usize },
    /// The thread ends, `well` or by an error or a panic.
    Ended { worker: usize, well: bool },
    /// It has taken the table of [`Command::Yield`], and these of its flows belong to others by it: connections, half-open
    /// ones among them, and those in TIME-WAIT.
    Yielded { worker: usize, flows: Vec<Flow>, waits: Vec<Flow> },
    /// Flows that it had yielded are over.
    Over { flows: Vec<Flow> },
    /// It wants to listen there, and waits for the answer.
    Listen { local: SocketAddr, answer: Sender<Result<(), Error>> },
    /// It listens there no more.
    Unlisten { local: SocketAddr },
    /// The kernel has changed this on an interface; the thread that follows it says so.
    Kernel { on: InterfaceId, changes: Vec<Change> },
    /// The answer to [`Command::Measure`].
    Measured { worker: usize, load: Load },
}
