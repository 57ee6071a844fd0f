//! What the endpoint tells its caller, and what it refuses.

use super::table::ConnId;
use crate::addr::{Addr, Flow, SocketAddr};
use crate::memory::Token;
pub use crate::tcp::close::CloseReason;
pub use crate::tcp::trouble::{Trouble, Unreachable};

/// The name of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub(super) u32);

/// What happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection came in to a listener and is open.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Where it came in.
        listener: ListenerId,
        /// Both its ends.
        flow: Flow,
    },
    /// A connection that we opened is open.
    Connected(ConnId),
    /// There are bytes to read.
    Readable(ConnId),
    /// The peer has announced urgent data, or more of it: [`Endpoint::urgent_mark`](super::Endpoint::urgent_mark) says
    /// how far it goes. The bytes come in line with the others (RFC 6093).
    Urgent(ConnId),
    /// There is room to send again, after a send that took less than it was offered.
    Writable(ConnId),
    /// The peer sent its FIN and everything before it has been read.
    PeerClosed(ConnId),
    /// Something goes wrong on the way; the connection goes on trying (RFC 9293 3.9.1.8). Of several that come close
    /// together only the latest is told.
    Trouble {
        /// The connection.
        conn: ConnId,
        /// What.
        trouble: Trouble,
    },
    /// The connection is over; its id is no longer valid.
    Closed {
        /// The connection.
        conn: ConnId,
        /// How it ended.
        reason: CloseReason,
    },
}

impl Event {
    /// Whose event it is.
    pub const fn conn(&self) -> ConnId {
        match *self {
            Self::Accepted { conn, .. }
            | Self::Trouble { conn, .. }
            | Self::Closed { conn, .. }
            | Self::Connected(conn)
            | Self::Readable(conn)
            | Self::Urgent(conn)
            | Self::Writable(conn)
            | Self::PeerClosed(conn) => conn,
        }
    }
}

/// A frame to send.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a frame that is not sent is lost"]
pub enum Transmit {
    /// The frame goes with it: it is free once it has been sent.
    Owned {
        /// The frame.
        token: Token,
        /// Bytes to send, from byte 0.
        len: u16,
    },
    /// The endpoint keeps the frame until the peer acknowledges it. Until the device has sent it,
    /// [`Memory::is_posted`](crate::Memory::is_posted) has to say so.
    Lent {
        /// The frame's index.
        index: u32,
        /// Bytes to send, from byte 0.
        len: u16,
    },
}

/// Which direction to shut (RFC 9293 3.10.4 and 3.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shutdown {
    /// Nothing more will be read.
    Read,
    /// Nothing more will be sent: a FIN follows what is queued.
    Write,
    /// Both.
    Both,
}

/// Why a listener can't be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenError {
    /// Port 0 can't be listened on.
    #[error("port 0 cannot be listened on; choose a port from 1 to 65535")]
    PortZero,
    /// There is a listener already.
    #[error("{0} is listened on already; choose another port or stop the other listener")]
    InUse(SocketAddr),
    /// The address is not one of ours.
    #[error("{0} is not an address of this stack; add it to its configuration or listen on one that is")]
    NotOurs(Addr),
}

/// Why a connection can't be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The local address is not one of ours.
    #[error("{0} is not an address of this stack; add it to its configuration or connect from one that is")]
    NotOurs(Addr),
    /// The remote address is unspecified, multicast or broadcast, of the other family, or its port is 0
    /// (RFC 9293 MUST-46).
    #[error("{0} cannot be connected to; give a unicast address of the same family and a port that is not 0")]
    BadRemote(SocketAddr),
    /// No route: not on the link and no gateway.
    #[error("no route to {0}; it is not on the link and there is no gateway for it")]
    NoRoute(Addr),
    /// Every port of the range is in use towards this remote.
    #[error("every local port is in use towards {0}; widen the port range or close connections")]
    NoPort(SocketAddr),
    /// The bound port makes this a flow of another core.
    #[error("from {0} this flow belongs to another core; choose another port, or port 0 for one that fits")]
    OtherCore(SocketAddr),
    /// The connection cannot be registered with whoever steers packets to this stack; the endpoint itself never says so.
    #[error("no more connections can be registered with the steering program; close some, or have its limit raised")]
    NotRegistered,
    /// The bound port has a connection to this remote already, open or in TIME-WAIT.
    #[error("{0} has a connection to this remote already; choose another port, or port 0 for any that is free")]
    PortInUse(SocketAddr),
    /// The id names no listener any more.
    #[error("the listener is gone; listen again before connecting from it")]
    NoListener,
    /// The endpoint keeps quiet after its start, for so long from now.
    #[error(
        "quiet time after the start: no connection is opened for another {0:?}; try again then, or set no quiet time"
    )]
    QuietTime(core::time::Duration),
    /// The connection table is full.
    #[error("the connection table is full; raise the limit of connections")]
    TableFull,
}

/// Why bytes can't be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The id names no connection any more.
    #[error("the connection is gone")]
    Gone,
    /// The sending side has been closed.
    #[error("the sending side is closed")]
    Closed,
    /// The send buffer is full; an [`Event::Writable`] follows.
    #[error("the send buffer is full")]
    Full,
    /// The buffer does not begin at the connection's header room, or is empty or longer than a segment.
    #[error("the buffer does not fit a segment")]
    Misplaced,
}
