//! HTTP/1.1 (RFC 9112), enough of it to be a fair server and client to curl, wrk and browsers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a short text |
//! | `GET /bytes/N` | N bytes (at most 10^10) of the [pattern](super::pattern) |
//! | `PUT` or `POST /upload` | `{"length":N,"sha256":"..."}` of the body |
//!
//! `HEAD` as `GET` without body; keep-alive, pipelining, chunked bodies and `Expect: 100-continue` are there.
//! There is no `Date` field, because a workload has no clock (RFC 9110 6.6.1 allows that).

mod chunked;
mod client;
mod head;
mod request;
mod server;

pub use client::{Asks, Client};
pub use server::Server;

/// A head longer than this is refused with 431 by the server and is a fault to the client.
pub const HEAD_LIMIT: usize = 16 * 1024;

/// The most that `GET /bytes/N` gives.
pub const BYTES_LIMIT: u64 = 10_000_000_000;
