//! `AF_XDP` for Corelane: the rings of the queues of an interface, each on a UMEM of its own, for any number of cores, in
//! owned frames.
//!
//! A [`Frame`] is in exactly one place: on a free list, held by the program, in the fill ring or in a TX ring. Nobody can
//! lose one, because dropping a frame gives it back to its [`Pool`], and nobody can use one twice, because it is neither
//! `Copy` nor `Clone`. [`Pool::census`] adds the places up.
//!
//! [`open`] makes a [`PortSeed`] for each core, and that a [`Port`] on its own thread. Cores share nothing that they
//! write, but for bounded queues from each to each: through these a received frame goes home to the core that has its
//! fill ring, a completion to the core that sent the frame, and a packet for another core there. With one core there
//! are none.
//!
//! ```no_run
//! use std::collections::VecDeque;
//!
//! let mut port = corelane_xdp::Port::open(&corelane_xdp::QueueConfig::new("eth0", 0))?;
//! // Here the sockets go into an XSKMAP: `port.sockets()`.
//! let (mut received, mut to_send, mut sent) = (Vec::new(), VecDeque::new(), Vec::new());
//! loop {
//!     port.rx_burst(&mut received, 64);
//!     to_send.extend(received.drain(..)); // reflects what it gets
//!     port.tx_burst(&mut to_send);
//!     port.kick()?;
//!     port.reclaim(&mut sent);
//!     sent.clear(); // frees the frames
//!     port.refill();
//! }
//! # #[allow(unreachable_code, reason = "the loop gives the example's result type no other place")]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This is the only crate of the workspace with `unsafe`; each block says why it is sound. It knows no packets.

#![expect(unsafe_code, reason = "UMEM, rings and socket options are memory and calls that Rust cannot check")]

mod bell;
mod bind;
mod doorbell;
mod either;
#[cfg(test)]
mod fake;
mod frame;
mod given;
mod interface;
mod mail;
mod packet;
mod plan;
mod pool;
mod port;
mod ports;
#[cfg(feature = "raw")]
pub mod raw;
mod rings;
mod spsc;
mod statistics;
mod sync;
#[cfg(test)]
mod tests;
mod umem;
#[cfg(feature = "veth")]
pub mod veth;
mod xsk;

pub use bell::Waker;
pub use bind::{BusyPoll, BusyPollInForce, Mode, ModeInForce, OpenError, QueueConfig, UnknownMode};
pub use either::Xsk;
pub use frame::Frame;
pub use given::{GiveSocket, new_socket};
pub use interface::{Interface, InterfaceError};
pub use packet::PacketSocket;
pub use plan::SocketsPerQueue;
pub use pool::{Census, Pool};
pub use port::{Port, SocketInfo};
pub use ports::{InterfaceQueues, PortSeed, open, open_all, open_all_with, open_with};
pub use rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
pub use statistics::{Counters, InterfaceStatistics, Statistics, Traffic};
pub use umem::HeapError;
