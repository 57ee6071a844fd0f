//! Workloads: what a server says to what it hears, and what a client asks. One file each.
//!
//! A workload is sans-I/O: it is handed bytes and an [`Output`], and knows neither sockets nor clocks. So one text
//! runs over the kernel's sockets and over Corelane, and the tests need no network. The rules between a transport and
//! a [`Server`]:
//!
//! 1. `on_bytes` is given bytes as they come, cut anywhere. It says how many it consumed. It leaves some only when it
//!    [`wants_write`](Server::wants_write) or [`is_finished`](Server::is_finished).
//! 2. When it wants to write, `on_writable` is called as soon as there is room, then the bytes that it left again.
//! 3. When it is finished and everything written has been sent, the connection is closed.
//! 4. At the peer's FIN the connection is closed once the server no longer wants to write.
//!
//! A workload keeps no more than a bound per connection: big bodies are computed when there is room for them.

pub mod bulk;
pub mod echo;
pub mod http;
pub mod kv;
pub mod pattern;
pub mod queue;
pub mod rr;
pub mod sink;
pub mod size;
pub mod source;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a workload writes to: the connection's send queue, or a stage before it.
pub trait Output {
    /// Takes as many of `bytes`, from the front, as there is room for, and says how many those were. If it is not all,
    /// the transport tells when there is room again.
    fn write(&mut self, bytes: &[u8]) -> usize;

    /// How many bytes [`write`](Self::write) would take now.
    fn room(&self) -> usize;
}

/// An output in memory that takes at most `limit` bytes: the stage before a socket, and what tests use.
#[derive(Debug)]
pub struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
}

impl<'a> Bounded<'a> {
    /// Appends to `bytes` until it holds `limit`.
    pub fn new(bytes: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { bytes, limit }
    }
}

impl Output for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }
}

/// What a server's workload counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Requests understood and answered; always 0 for workloads without requests.
    pub requests: u64,
    /// Requests answered with a status of 400 or above.
    pub rejected: u64,
}

/// The workloads that `serve` offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ServeKind {
    /// Every byte comes back.
    Echo,
    /// HTTP/1.1: GET /, GET /bytes/N, PUT or POST /upload.
    Http,
    /// Answers of the length that each request asks for.
    Rr,
    /// An in-memory key-value store that speaks RESP2: redis-cli can talk to it.
    Kv,
    /// Takes every byte, answers nothing.
    Sink,
    /// Sends bytes without end.
    Source,
}

/// The workloads that `load` can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadKind {
    /// Sends messages of --size and checks every byte that comes back. Ask `serve --workload echo`.
    Echo,
    /// GET / or, with --size, GET /bytes/B. Ask any HTTP/1.1 server.
    Http,
    /// Requests of --size and answers of --response-size. Ask `serve --workload rr`.
    Rr,
    /// GET and SET of values of --size. Ask `serve --workload kv` or Redis.
    Kv,
    /// Sends chunks of --size as fast as they are taken, or at --rate. Ask `serve --workload sink`.
    BulkSend,
    /// Takes what comes and checks it, in chunks of --size. Ask `serve --workload source`.
    BulkRecv,
    /// Opens a connection for each request, and closes it; with --size, echoes a message in between. Ask `serve
    /// --workload echo`, or without --size any server.
    Churn,
}

impl LoadKind {
    /// The name on the command line and in result.json.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http => "http",
            Self::Rr => "rr",
            Self::Kv => "kv",
            Self::BulkSend => "bulk-send",
            Self::BulkRecv => "bulk-recv",
            Self::Churn => "churn",
        }
    }
}

/// Makes the servers of connections: what they share is in it, and shared by its clones.
#[derive(Clone, Debug)]
pub struct Servers {
    kind: ServeKind,
    store: Arc<kv::Store>,
}

impl Servers {
    /// Servers of workload `kind`.
    pub fn new(kind: ServeKind) -> Self {
        Self { kind, store: Arc::default() }
    }

    /// The server of a fresh connection.
    pub fn fresh(&self) -> Server {
        match self.kind {
            ServeKind::Echo => Server::Echo(echo::Server::default()),
            ServeKind::Http => Server::Http(http::Server::default()),
            ServeKind::Rr => Server::Rr(rr::Server::default()),
            ServeKind::Kv => Server::Kv(Box::new(kv::Server::new(Arc::clone(&self.store)))),
            ServeKind::Sink => Server::Sink(sink::Server),
            ServeKind::Source => Server::Source(source::Server::default()),
        }
    }
}

/// The server's side of one connection.
#[derive(Debug)]
pub enum Server {
    /// See [`echo`].
    Echo(echo::Server),
    /// See [`http`].
    Http(http::Server),
    /// See [`rr`].
    Rr(rr::Server),
    /// See [`kv`].
    Kv(Box<kv::Server>),
    /// See [`sink`].
    Sink(sink::Server),
    /// See [`source`].
    Source(source::Server),
}

impl Server {
    /// Handles the next bytes; says how many it consumed. Not to be called when [finished](Self::is_finished).
    #[inline]
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output, tally: &mut Tally) -> usize {
        match self {
            Self::Echo(server) => server.on_bytes(input, out),
            Self::Http(server) => server.on_bytes(input, out, tally),
            Self::Rr(server) => server.on_bytes(input, out, tally),
            Self::Kv(server) => server.on_bytes(input, out, tally),
            Self::Sink(server) => server.on_bytes(input),
            Self::Source(server) => server.on_bytes(input, out),
        }
    }

    /// There is room again.
    #[inline]
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        match self {
            Self::Echo(server) => server.on_writable(),
            Self::Http(server) => server.on_writable(out),
            Self::Rr(server) => server.on_writable(out),
            Self::Kv(server) => server.on_writable(out),
            Self::Sink(_) => {}
            Self::Source(server) => server.on_writable(out),
        }
    }

    /// Whether it has something to write that did not fit. True from the start for those who speak first.
    #[inline]
    pub const fn wants_write(&self) -> bool {
        match self {
            Self::Echo(server) => server.wants_write(),
            Self::Http(server) => server.wants_write(),
            Self::Rr(server) => server.wants_write(),
            Self::Kv(server) => server.wants_write(),
            Self::Sink(_) => false,
            Self::Source(_) => true,
        }
    }

    /// Whether the connection should end once what was written is sent.
    #[inline]
    pub const fn is_finished(&self) -> bool {
        match self {
            Self::Http(server) => server.is_finished(),
            Self::Rr(server) => server.is_finished(),
            Self::Kv(server) => server.is_finished(),
            Self::Echo(_) | Self::Sink(_) | Self::Source(_) => false,
        }
    }
}

/// How far an answer has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Not complete.
    Pending,
    /// Complete.
    Done {
        /// Whether it was an answer that says no: an HTTP status of 400 or above.
        failed: bool,
        /// Whether the connection ends with it.
        close: bool,
    },
}

/// An answer that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Other bytes than were sent.
    Corrupt,
    /// Bytes that nobody asked for.
    Unexpected,
    /// Not the protocol.
    Malformed,
}

/// The client's side of one connection. Requests may be begun before the ones before are answered; answers come in
/// their order.
#[derive(Debug)]
pub enum Client {
    /// See [`echo`].
    Echo(echo::Client),
    /// See [`http`].
    Http(http::Client),
    /// See [`rr`].
    Rr(rr::Client),
    /// See [`kv`].
    Kv(kv::Client),
    /// See [`bulk`].
    BulkSend(bulk::Sender),
    /// See [`bulk`].
    BulkRecv(bulk::Receiver),
    /// Says nothing: connections that are only opened.
    Silent,
}

impl Client {
    /// Begins the next request.
    pub fn begin(&mut self) {
        match self {
            Self::Echo(client) => client.begin(),
            Self::Http(client) => client.begin(),
            Self::Rr(client) => client.begin(),
            Self::Kv(client) => client.begin(),
            Self::BulkSend(client) => client.begin(),
            Self::BulkRecv(client) => client.begin(),
            Self::Silent => {}
        }
    }

    /// Forgets the requests under way: the connection was lost and made anew.
    pub fn reset(&mut self) {
        match self {
            Self::Echo(client) => client.reset(),
            Self::Http(client) => client.reset(),
            Self::Rr(client) => client.reset(),
            Self::Kv(client) => client.reset(),
            Self::BulkSend(client) => client.reset(),
            Self::BulkRecv(client) => client.reset(),
            Self::Silent => {}
        }
    }

    /// Writes what fits of the requests.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        match self {
            Self::Echo(client) => client.on_writable(out),
            Self::Http(client) => client.on_writable(out),
            Self::Rr(client) => client.on_writable(out),
            Self::Kv(client) => client.on_writable(out),
            Self::BulkSend(client) => client.on_writable(out),
            Self::BulkRecv(_) | Self::Silent => {}
        }
    }

    /// Whether part of a request is still to be written.
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Echo(client) => client.wants_write(),
            Self::Http(client) => client.wants_write(),
            Self::Rr(client) => client.wants_write(),
            Self::Kv(client) => client.wants_write(),
            Self::BulkSend(client) => client.wants_write(),
            Self::BulkRecv(_) | Self::Silent => false,
        }
    }

    /// Whether a request is complete because it was written, without an answer. Each is told once.
    pub const fn poll_written(&mut self) -> bool {
        match self {
            Self::BulkSend(client) => client.poll_written(),
            _ => false,
        }
    }

    /// Whether bytes come without being asked for.
    pub const fn is_stream(&self) -> bool {
        matches!(self, Self::BulkRecv(_))
    }

    /// Handles the next bytes of `input`, which is not empty: as many as belong to one answer. Says how many those were.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        match self {
            Self::Echo(client) => client.on_bytes(input),
            Self::Http(client) => client.on_bytes(input),
            Self::Rr(client) => client.on_bytes(input),
            Self::Kv(client) => client.on_bytes(input),
            Self::BulkSend(client) => client.on_bytes(),
            Self::BulkRecv(client) => client.on_bytes(input),
            Self::Silent => Err(Fault::Unexpected),
        }
    }

    /// The peer closed. An answer that this completed, as in HTTP without a length.
    pub fn on_eof(&mut self) -> Option<Progress> {
        match self {
            Self::Http(client) => client.on_eof(),
            _ => None,
        }
    }

    /// Requests that were answered with "there is none".
    pub const fn misses(&self) -> u64 {
        match self {
            Self::Kv(client) => client.misses(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
