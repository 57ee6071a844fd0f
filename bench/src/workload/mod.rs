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

pub mod echo;
pub mod http;
pub mod pattern;
pub mod sink;
pub mod source;

use clap::ValueEnum;
use serde::Serialize;

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
    /// Takes every byte, answers nothing.
    Sink,
    /// Sends bytes without end.
    Source,
}

/// The workloads that `load` can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LoadKind {
    /// Sends messages and checks every byte that comes back.
    Echo,
    /// GET / or, with --size B, GET /bytes/B.
    Http,
}

impl LoadKind {
    /// The name on the command line and in result.json.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Http => "http",
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
    /// See [`sink`].
    Sink(sink::Server),
    /// See [`source`].
    Source(source::Server),
}

impl Server {
    /// A fresh connection of workload `kind`.
    pub fn new(kind: ServeKind) -> Self {
        match kind {
            ServeKind::Echo => Self::Echo(echo::Server::default()),
            ServeKind::Http => Self::Http(http::Server::default()),
            ServeKind::Sink => Self::Sink(sink::Server),
            ServeKind::Source => Self::Source(source::Server::default()),
        }
    }

    /// Handles the next bytes; says how many it consumed. Not to be called when [finished](Self::is_finished).
    #[inline]
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output, tally: &mut Tally) -> usize {
        match self {
            Self::Echo(server) => server.on_bytes(input, out),
            Self::Http(server) => server.on_bytes(input, out, tally),
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
            Self::Sink(_) => false,
            Self::Source(_) => true,
        }
    }

    /// Whether the connection should end once what was written is sent.
    #[inline]
    pub const fn is_finished(&self) -> bool {
        match self {
            Self::Http(server) => server.is_finished(),
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

/// The client's side of one connection: one request at a time.
#[derive(Debug)]
pub enum Client {
    /// See [`echo`].
    Echo(echo::Client),
    /// See [`http`].
    Http(http::Client),
}

impl Client {
    /// Begins the next request. The one before must be done, or the connection [reset](Self::reset).
    pub fn begin(&mut self) {
        match self {
            Self::Echo(client) => client.begin(),
            Self::Http(client) => client.begin(),
        }
    }

    /// Forgets the request under way: the connection was lost and made anew.
    pub fn reset(&mut self) {
        match self {
            Self::Echo(client) => client.reset(),
            Self::Http(client) => client.reset(),
        }
    }

    /// Writes what fits of the request.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        match self {
            Self::Echo(client) => client.on_writable(out),
            Self::Http(client) => client.on_writable(out),
        }
    }

    /// Whether part of the request is still to be written.
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Echo(client) => client.wants_write(),
            Self::Http(client) => client.wants_write(),
        }
    }

    /// Handles the next bytes, all of them.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<Progress, Fault> {
        match self {
            Self::Echo(client) => client.on_bytes(input),
            Self::Http(client) => client.on_bytes(input),
        }
    }

    /// The peer closed. An answer that this completed, as in HTTP without a length.
    pub fn on_eof(&mut self) -> Option<Progress> {
        match self {
            Self::Echo(_) => None,
            Self::Http(client) => client.on_eof(),
        }
    }
}

#[cfg(test)]
mod tests;
