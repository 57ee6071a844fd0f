//! The client's side of one HTTP connection: GETs, the answers read to their ends and counted.

use super::chunked::Decoder;
use super::head::{Found, HeadBuffer};
use super::request::{decimal, has_token};
use crate::workload::queue::WriteQueue;
use crate::workload::size::Draw;
use crate::workload::{Fault, Output, Progress};
use std::rc::Rc;

/// What comes next of the answer.
#[derive(Debug)]
enum Phase {
    /// No request is under way.
    Idle,
    Head,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Asks {
    /// The same each time.
    Same(Rc<[u8]>),
    /// `GET /bytes/N` with N drawn anew each time, from this host.
    Sized(Rc<str>, Draw),
}

impl Asks {
    /// `GET path`.
    pub fn path(host: &str, path: &str) -> Self {
        Self::Same(request(host, path).into_bytes().into())
    }
}

fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corelane-bench\r\nAccept: */*\r\n\r\n")
}

/// One connection. Requests may be begun before the ones before are answered (pipelining, RFC 9112 9.3.2).
#[derive(Debug)]
pub struct Client {
    asks: Asks,
    /// Requests that are begun and not yet written.
    queue: WriteQueue,
    outstanding: usize,
    head: HeadBuffer,
    phase: Phase,
    failed: bool,
    close: bool,
}

impl Client {
    /// A connection that sends such requests.
    pub fn new(asks: Asks) -> Self {
        Self {
            asks,
            queue: WriteQueue::default(),
            outstanding: 0,
            head: HeadBuffer::default(),
            phase: Phase::Idle,
            failed: false,
            close: false,
        }
    }

    /// Begins the next request.
    pub fn begin(&mut self) {
        match &mut self.asks {
            Asks::Same(request) => self.queue.end().extend_from_slice(request),
            Asks::Sized(host, draw) => {
                self.queue.end().extend_from_slice(request(host, &format!("/bytes/{}", draw.next_size())).as_bytes());
            }
        }
        if self.outstanding == 0 {
            self.phase = Phase::Head;
        }
        self.outstanding += 1;
    }

    /// The connection was made anew.
    pub fn reset(&mut self) {
        self.queue.clear();
        self.outstanding = 0;
        self.phase = Phase::Idle;
        self.head.clear();
    }

    /// Writes what fits of the requests.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.queue.write_to(out);
    }

    /// Whether something is still to be written.
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Handles the next bytes, up to the end of one answer.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<(usize, Progress), Fault> {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            at += match &mut self.phase {
                Phase::Idle => return Err(Fault::Unexpected),
                Phase::Head => self.read_head(rest)?,
                Phase::Length(left) => {
                    let run = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= run as u64;
                    run
                }
                Phase::Chunked(decoder) => decoder.decode(rest, |_| {}).map_err(|_| Fault::Malformed)?,
                Phase::UntilClose => rest.len(),
            };
            let done = match &self.phase {
                Phase::Length(left) => *left == 0,
                Phase::Chunked(decoder) => decoder.is_done(),
                Phase::Idle | Phase::Head | Phase::UntilClose => false,
            };
            if done {
                self.outstanding = self.outstanding.saturating_sub(1);
                self.phase = if self.outstanding == 0 { Phase::Idle } else { Phase::Head };
                return Ok((at, Progress::Done { failed: self.failed, close: self.close }));
            }
        }
        Ok((at, Progress::Pending))
    }

    /// The peer closed, which ends an answer without a length.
    pub fn on_eof(&mut self) -> Option<Progress> {
        let complete = matches!(self.phase, Phase::UntilClose);
        self.reset();
        complete.then_some(Progress::Done { failed: self.failed, close: true })
    }

    fn read_head(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let used = match self.head.push(input) {
            Found::Partial => return Ok(input.len()),
            Found::TooLong => return Err(Fault::Malformed),
            Found::Head { used, buffered: false } => {
                self.understand(&input[..used])?;
                used
            }
            Found::Head { used, buffered: true } => {
                let head = std::mem::take(&mut self.head);
                self.understand(head.bytes())?;
                used
            }
        };
        self.head.clear();
        Ok(used)
    }

    /// RFC 9112 6.3: how long the answer's body is.
    fn understand(&mut self, head: &[u8]) -> Result<(), Fault> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut fields);
        if answer.parse(head) != Ok(httparse::Status::Complete(head.len())) {
            return Err(Fault::Malformed);
        }
        let code = answer.code.unwrap_or(0);
        if code == 101 || code < 100 {
            return Err(Fault::Malformed);
        }
        if code < 200 {
            // An interim answer; the real one follows.
            return Ok(());
        }
        self.failed = code >= 400;
        self.close = answer.version == Some(0);
        let mut length = None;
        let mut chunked = false;
        for field in answer.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                length = Some(decimal(field.value).ok_or(Fault::Malformed)?);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = has_token(field.value, b"chunked");
            } else if field.name.eq_ignore_ascii_case("connection") {
                self.close = has_token(field.value, b"close") || (self.close && !has_token(field.value, b"keep-alive"));
            }
        }
        self.phase = match (code, chunked, length) {
            (204 | 304, _, _) => Phase::Length(0),
            (_, true, _) => Phase::Chunked(Decoder::new()),
            (_, false, Some(length)) => Phase::Length(length),
            (_, false, None) => Phase::UntilClose,
        };
        Ok(())
    }
}
