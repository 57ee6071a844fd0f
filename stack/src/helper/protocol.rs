//! What the stack and its helper say to each other: a request and its answer, each a line of JSON, some with a descriptor
//! beside it (`SCM_RIGHTS`).
//!
//! ```text
//! stack   hello      the version; the helper settles with the kernel, which may mean to reserve ports
//! stack   load       what the program is to be; the answer has its bpf_link
//! stack   socket     the answer has an AF_XDP socket, with which nothing was done yet
//! stack   register   has a socket that is bound to a queue, to be put where the program looks for it
//! stack   change     a change of the program's tables
//! stack   counters, neighbour, end
//! helper  welcome, loaded, socket, done, counters, or refused with a sentence
//! ```
//!
//! `hello` comes first, then `load`, each once. The stack says no more than one thing at a time. Whatever is no request ends
//! the conversation, and with it the program.

use corelane_bpf::Change;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of this conversation. Another one is refused.
pub(super) const VERSION: u32 = 1;

/// The longest line, bytes: a change of all buckets fits.
pub(super) const LONGEST: usize = 128 << 10;

/// What the stack asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Hello { version: u32 },
    Load(Load),
    Socket,
    Register { queue: u32, core: u32 },
    Change(Change),
    Counters,
    Neighbour(IpAddr),
    End,
}

/// What the program is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub(super) base_queue: u32,
    pub(super) queues: u32,
    pub(super) cores: u32,
    /// A socket for each core on each queue.
    pub(super) all_sockets: bool,
    /// Of the hash.
    pub(super) key: [u8; 16],
    pub(super) buckets: u32,
    pub(super) max_pinned: u32,
}

/// What the helper says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Welcome,
    Loaded { ifindex: u32, native: bool },
    Socket,
    Done(bool),
    Counters(Vec<u64>),
    Refused(String),
}
