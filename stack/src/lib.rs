//! A kernel-bypass TCP/IP stack for Linux servers over AF_XDP.
//!
//! One pinned thread per core runs to completion: it takes frames from its rings, finds the connection in its own
//! table, runs TCP, calls the application, and sends. Nothing is shared between cores on the packet path.
//!
//! [`run`] starts an [`App`] on every core of a [`Config`]:
//!
//! ```no_run
#![doc = include_str!("../examples/echo.rs")]
//! ```
//!
//! The protocol itself is the crate `corelane-proto`, which does no I/O; [`worker`] joins it with a [`device`] and an
//! application, and [`runtime`] joins that with threads and the machine.

pub mod app;
pub mod clock;
pub mod config;
pub mod control;
pub mod device;
pub mod error;
pub mod helper;
pub mod runtime;
pub mod steer;
pub mod worker;

pub use app::{App, Conn, Core, Rx, RxBuf, TxBuf};
pub use config::Config;
pub use corelane_proto::endpoint::{
    CloseReason, ConnId, ConnectError, ListenConfig, ListenerId, SendError, Shutdown, SynCookies,
};
pub use corelane_proto::tcp::config::{KeepaliveConfig, TcpConfig};
pub use corelane_proto::tcp::info::TcpInfo;
pub use corelane_proto::tcp::trouble::{Trouble, Unreachable};
pub use corelane_proto::{Addr, Flow, Instant, Mac, SocketAddr};
pub use error::Error;
pub use runtime::{Stack, StopHandle, Summary, run};
