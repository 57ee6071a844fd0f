//! Setting up with the privileges of another process, the helper (`corelane setup-helper`), so that the stack has none.
//!
//! The helper has `CAP_NET_ADMIN`, `CAP_NET_RAW` and `CAP_BPF`; the stack asks it over a UNIX socket, as
//! `helper/protocol.rs` says. It gets the program's `bpf_link`, and `AF_XDP` sockets that it binds itself; the maps stay
//! with the helper, for whoever may write them can take any connection of the host. So each listener and each flow on a
//! shared address is asked for, off the path of packets.
//!
//! What the helper believes is its own configuration and the kernel, never the stack: see [`Server`].

mod client;
mod protocol;
mod server;
mod session;

pub(crate) use client::Helper;
pub use client::HelperError;
pub use server::{Server, Terms};
