//! The client's side of one HTTP connection: one GET at a time, the answer read to its end and counted.

use super::chunked::Decoder;
use super::head::{Found, HeadBuffer};
use super::request::{decimal, has_token};
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

/// One connection.
#[derive(Debug)]
pub struct Client {
    request: Rc<[u8]>,
    written: usize,
    head: HeadBuffer,
    phase: Phase,
    failed: bool,
    close: bool,
}

impl Client {
    /// The request for `path` from `host`, for connections to share.
    pub fn request(host: &str, path: &str) -> Rc<[u8]> {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corelane-bench\r\nAccept: */*\r\n\r\n")
            .into_bytes()
            .into()
    }

    /// A connection that sends `request` each time.
    pub fn new(request: Rc<[u8]>) -> Self {
        let written = request.len();
        Self { request, written, head: HeadBuffer::default(), phase: Phase::Idle, failed: false, close: false }
    }

    /// Begins the next request.
    pub fn begin(&mut self) {
        self.written = 0;
        self.phase = Phase::Head;
    }

    /// The connection was made anew.
    pub fn reset(&mut self) {
        self.written = self.request.len();
        self.phase = Phase::Idle;
        self.head.clear();
    }

    /// Writes what fits of the request.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        self.written += out.write(&self.request[self.written..]);
    }

    /// Whether part of the request is still to be written.
    pub fn wants_write(&self) -> bool {
        self.written < self.request.len()
    }

    /// Handles the next bytes.
    pub fn on_bytes(&mut self, input: &[u8]) -> Result<Progress, Fault> {
        let mut rest = input;
        while !rest.is_empty() {
            let used = match &mut self.phase {
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
            rest = &rest[used..];
            let done = match &self.phase {
                Phase::Length(left) => *left == 0,
                Phase::Chunked(decoder) => decoder.is_done(),
                Phase::Idle | Phase::Head | Phase::UntilClose => false,
            };
            if done {
                self.phase = Phase::Idle;
                // Bytes after the answer were not asked for, since there is one request at a time.
                return if rest.is_empty() { Ok(self.done()) } else { Err(Fault::Unexpected) };
            }
        }
        Ok(Progress::Pending)
    }

    /// The peer closed, which ends an answer without a length.
    pub fn on_eof(&mut self) -> Option<Progress> {
        let complete = matches!(self.phase, Phase::UntilClose);
        self.reset();
        complete.then_some(Progress::Done { failed: self.failed, close: true })
    }

    const fn done(&self) -> Progress {
        Progress::Done { failed: self.failed, close: self.close }
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
