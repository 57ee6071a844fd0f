//! `AF_XDP` for Corelane: the four rings of one network queue, on a UMEM of its own, in owned frames.
//!
//! A [`Frame`] is in exactly one place: on the free list, held by the program, in the fill ring or in the TX ring.
//! Nobody can lose one, because dropping a frame gives it back to its [`Pool`], and nobody can use one twice, because
//! it is neither `Copy` nor `Clone`. [`Pool::census`] adds the places up; the sum never changes.
//!
//! ```no_run
//! use std::collections::VecDeque;
//!
//! let mut queue = corelane_xdp::Queue::open(&corelane_xdp::QueueConfig::new("eth0", 0))?;
//! // Here the queue's socket goes into an XSKMAP: `queue.fd()`.
//! let (mut received, mut to_send, mut sent) = (Vec::new(), VecDeque::new(), Vec::new());
//! loop {
//!     queue.rx_burst(&mut received, 64);
//!     to_send.extend(received.drain(..)); // reflects what it gets
//!     queue.tx_burst(&mut to_send);
//!     queue.kick()?;
//!     queue.reclaim(&mut sent);
//!     sent.clear(); // frees the frames
//!     queue.refill();
//! }
//! # #[allow(unreachable_code, reason = "the loop gives the example's result type no other place")]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This is the only crate of the workspace with `unsafe`; each block says why it is sound. It knows no packets.

#![expect(unsafe_code, reason = "UMEM, rings and socket options are memory and calls that Rust cannot check")]

mod bind;
#[cfg(test)]
mod fake;
mod frame;
mod interface;
mod pool;
mod queue;
mod rings;
#[cfg(test)]
mod tests;
mod umem;
#[cfg(feature = "veth")]
pub mod veth;
mod xsk;

pub use bind::{Mode, ModeInForce, OpenError, QueueConfig, UnknownMode};
pub use frame::Frame;
pub use interface::{Interface, InterfaceError};
pub use pool::{Census, Pool};
pub use queue::{Counters, Queue, Statistics};
pub use rings::{KernelStatistics, Rings, RxDescriptor, TxDescriptor};
pub use umem::HeapError;
pub use xsk::Xsk;
