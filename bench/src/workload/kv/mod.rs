//! A key-value server and its client in the words of Redis (RESP2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>).
//!
//! | command | answer |
//! |---|---|
//! | `GET`, `SET` (with `EX`, `PX`, `NX`, `XX`), `DEL`, `EXISTS`, `INCR` | as Redis does |
//! | `EXPIRE`, `TTL` | whole seconds; what has expired is gone when it is next asked for |
//! | `PING`, `ECHO`, `DBSIZE`, `FLUSHALL`, `QUIT` | as Redis does |
//! | `SELECT 0`, `COMMAND`, `CONFIG GET`, `CLIENT`, `INFO` | just enough for redis-cli and redis-benchmark |
//!
//! Commands come as arrays of bulk strings or as a line of words; they may be pipelined. Everything is bounded: a command
//! has at most 64 words and little more than [`VALUE_LIMIT`] bytes, and the store holds at most [`STORE_LIMIT`] bytes. There is no
//! persistence, no other type than strings, no user, no transaction.

mod client;
mod command;
mod resp;
mod server;
mod store;

pub use client::{Client, Mix};
pub use server::Server;
pub use store::Store;

/// The longest word of a command: 8 MiB.
pub const VALUE_LIMIT: usize = 8 << 20;

/// What all keys and values together may have: 1 GiB.
pub const STORE_LIMIT: usize = 1 << 30;
