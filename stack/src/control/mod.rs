//! What the main thread and the workers tell each other while packets go on. Every channel is bounded; a worker looks at
//! its own once a turn, and nothing here is on the path of a packet.

mod handle;
mod moves;
mod registrar;
mod socket;
pub(crate) mod takeover;
mod watched;

pub(crate) use handle::{Ask, Desk, Request};
pub use handle::{Control, ControlError, CoreShare};
pub(crate) use moves::{AWAY, Cargo, Moves, Parcel};
pub(crate) use registrar::Registrar;
pub use socket::{Answer, SocketError};
pub(crate) use socket::{ControlSocket, open as open_socket};
pub use takeover::TakeOverError;
pub(crate) use watched::Watched;

use crate::Error;
use crate::steer::Sites;
use crate::steer::mirror::Change;
use corelane_bpf::{RelayedFlows, Table};
use corelane_proto::endpoint::InterfaceId;
use corelane_proto::{Flow, SocketAddr};
use corelane_xdp::PacketSocket;
use crossbeam::channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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
    /// These flows stay with this core, which has taken them over, whatever the table says.
    Keep(Arc<[Flow]>, u32),
    /// Move your connections to the cores that the table gives them to, as far as the application allows, and say when you
    /// have tried each once ([`Report::Tried`]); or stop doing it.
    Move(bool),
    /// The kernel has changed this on an interface, in this order.
    Kernel(InterfaceId, Arc<[Change]>),
    /// Say how busy you are ([`Report::Measured`]).
    Measure,
    /// Another process takes over.
    Leave(Leave),
    /// These packets came for you before your sockets were there.
    Held(Held),
}

/// Packets, whole.
pub(crate) type Held = Arc<[Box<[u8]>]>;

/// The steps of leaving the interface to another process. All but the last are answered by [`LeaveMeans::answers`].
#[derive(Clone, Debug)]
pub(crate) enum Leave {
    /// Register every flow that there is, and from now on each before it sends.
    Register {
        /// Who is told.
        worker: usize,
        means: Arc<LeaveMeans>,
        /// The packets of those flows, once the other process's program runs.
        packets: Receiver<Box<[u8]>>,
    },
    /// Send through the socket; answered when the device has nothing more.
    Divert,
    /// Close your sockets, all of you.
    CloseSockets,
    /// Free your queues, and say when your last connection has ended ([`Report::Drained`]).
    FreeQueues,
    /// The other process has failed: go on as before.
    Cancel,
}

/// What a worker that leaves works with.
#[derive(Debug)]
pub(crate) struct LeaveMeans {
    pub(crate) flows: RelayedFlows,
    pub(crate) socket: PacketSocket,
    /// Who has done what was asked, or why not.
    pub(crate) answers: Sender<(usize, Result<(), String>)>,
    pub(crate) reports: Sender<Report>,
    /// By worker, packets of the ring for which it had no room; it counts them and begins anew.
    pub(crate) lost: Arc<[AtomicU64]>,
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
    /// Connections that it has given to other workers since it was asked last.
    pub(crate) moved_out: u64,
    /// Connections that it has taken over from other workers since then.
    pub(crate) moved_in: u64,
    /// Of the connections that were to move: those that were busy when they were tried last.
    pub(crate) busy: usize,
    /// Those that the application kept then.
    pub(crate) kept: usize,
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
    /// It has taken these over from another worker.
    Arrived { worker: usize, flows: Vec<Flow> },
    /// It has tried once to give up each of its connections, and none is on its way.
    Tried { worker: usize },
    /// It wants to listen there, and waits for the answer.
    Listen { local: SocketAddr, answer: Sender<Result<(), Error>> },
    /// It listens there no more.
    Unlisten { local: SocketAddr },
    /// The kernel has changed this on an interface; the thread that follows it says so.
    Kernel { on: InterfaceId, changes: Vec<Change> },
    /// The answer to [`Command::Measure`].
    Measured { worker: usize, load: Load },
    /// Another process has taken over, and the worker's last connection has ended.
    Drained { worker: usize },
    /// Another process has taken over.
    HandedOver,
    /// Another process wanted to take over, and this is why it has not.
    NotHandedOver { sentence: String },
    /// The process that has taken over has ended.
    SuccessorGone,
    /// The process that was taken over from has ended.
    PredecessorGone,
}

impl Report {
    /// Whether it is about a process that takes over, or that was taken over from.
    pub(crate) const fn is_of_another_process(&self) -> bool {
        matches!(
            self,
            Self::Drained { .. }
                | Self::HandedOver
                | Self::NotHandedOver { .. }
                | Self::SuccessorGone
                | Self::PredecessorGone
        )
    }
}
