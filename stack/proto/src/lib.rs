//! TCP/IP as values: no I/O, no clock, no threads, no log, no unsafe.
//!
//! This crate is told the time and handed frames; it answers with frames to send and events for the application.
//! `wire` turns bytes into values and back, `tcp` is one connection and never sees bytes or addresses, `endpoint` is
//! everything that one core knows about the network.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod endpoint;
pub mod memory;
pub mod tcp;
pub mod time;
pub mod wire;

pub use addr::{Addr, Flow, Mac, SocketAddr};
pub use endpoint::Endpoint;
pub use memory::{Buf, Memory, Token};
pub use time::Instant;
