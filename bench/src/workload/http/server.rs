//! The server's side of one HTTP connection.

use super::chunked::Decoder;
use super::head::{Found, HeadBuffer};
use super::request::{self, Action, Body, Refusal, Request};
use crate::workload::pattern::SERVED_SEED;
use crate::workload::{Output, Tally, echo};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;

const HELLO: &str = "Hello from Corelane\n";
const HELLO_KEPT: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\nHello from Corelane\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// What is being done.
#[derive(Debug)]
enum Phase {
    /// Reading a head.
    Head,
    /// Reading a body. Boxed, because most connections never upload.
    Body(Box<Upload>),
    /// Writing an answer.
    Reply(Reply),
    /// Nothing more: the connection ends.
    Done,
}

/// A body on its way in.
#[derive(Debug)]
struct Upload {
    rest: Rest,
    /// `None` for bodies that nobody wants, such as a GET's.
    hash: Option<Sha256>,
    length: u64,
    request: Request,
}

/// What is still to come of a body.
#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Decoder),
}

/// An answer on its way out: a text, then bytes of the pattern.
#[derive(Debug)]
struct Reply {
    text: Cow<'static, str>,
    written: usize,
    bytes: std::ops::Range<u64>,
    then: Then,
}

/// What follows an answer.
#[derive(Debug)]
enum Then {
    Head,
    Body(Box<Upload>),
    Done,
}

impl Reply {
    /// Writes what fits; whether it is all written.
    fn write(&mut self, out: &mut dyn Output) -> bool {
        self.written += out.write(&self.text.as_bytes()[self.written..]);
        if self.written < self.text.len() {
            return false;
        }
        self.bytes.start += echo::pattern_to(SERVED_SEED, self.bytes.clone(), out);
        self.bytes.is_empty()
    }
}

/// One connection. It keeps at most [`HEAD_LIMIT`](super::HEAD_LIMIT) bytes of a head and one answer's head.
#[derive(Debug)]
pub struct Server {
    phase: Phase,
    head: HeadBuffer,
}

impl Default for Server {
    fn default() -> Self {
        Self { phase: Phase::Head, head: HeadBuffer::default() }
    }
}

impl Server {
    /// Handles bytes as they come; says how many it consumed.
    pub fn on_bytes(&mut self, input: &[u8], out: &mut dyn Output, tally: &mut Tally) -> usize {
        let mut used = 0;
        loop {
            // Writing comes first: the order of answers is that of the requests, and input waits for room.
            self.on_writable(out);
            if used == input.len() || matches!(self.phase, Phase::Reply(_) | Phase::Done) {
                return used;
            }
            used += match self.phase {
                Phase::Head => self.read_head(&input[used..], tally),
                Phase::Body(_) => self.read_body(&input[used..], tally),
                Phase::Reply(_) | Phase::Done => 0,
            };
        }
    }

    /// Writes what fits of the answer under way.
    pub fn on_writable(&mut self, out: &mut dyn Output) {
        let Phase::Reply(reply) = &mut self.phase else { return };
        if !reply.write(out) {
            return;
        }
        self.phase = match std::mem::replace(&mut reply.then, Then::Done) {
            Then::Head => Phase::Head,
            Then::Body(upload) => Phase::Body(upload),
            Then::Done => Phase::Done,
        };
    }

    /// Whether an answer waits for room.
    pub const fn wants_write(&self) -> bool {
        matches!(self.phase, Phase::Reply(_))
    }

    /// Whether the last answer is written and the connection ends.
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn read_head(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        // RFC 9112 2.2: empty lines before a request are skipped.
        if self.head.is_empty()
            && let blank @ 1.. = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
        {
            return blank;
        }
        let (used, parsed) = match self.head.push(input) {
            Found::Partial => return input.len(),
            Found::TooLong => (input.len(), Err(request::HEAD_TOO_LARGE)),
            Found::Head { used, buffered: false } => (used, request::parse(&input[..used])),
            Found::Head { used, buffered: true } => (used, request::parse(self.head.bytes())),
        };
        self.head.clear();
        match parsed {
            Ok(request) => self.begin(request, tally),
            Err(refusal) => self.refuse(refusal, true, false, tally),
        }
        used
    }

    fn begin(&mut self, request: Request, tally: &mut Tally) {
        let has_body = request.body != Body::Length(0);
        match request.action {
            // A body that would only be thrown away is not waited for: the answer ends the connection instead.
            Action::Refuse(refusal) => self.refuse(refusal, request.close || has_body, request.is_head, tally),
            _ if has_body || request.action == Action::Upload => {
                let upload = Box::new(Upload {
                    rest: match request.body {
                        Body::Length(length) => Rest::Length(length),
                        Body::Chunked => Rest::Chunked(Decoder::new()),
                    },
                    hash: (request.action == Action::Upload).then(Sha256::new),
                    length: 0,
                    request,
                });
                if !has_body {
                    self.answer_upload(*upload, tally);
                } else if request.expects_continue {
                    self.reply(Cow::Borrowed(CONTINUE), 0, Then::Body(upload));
                } else {
                    self.phase = Phase::Body(upload);
                }
            }
            _ => self.answer(&request, tally),
        }
    }

    fn read_body(&mut self, input: &[u8], tally: &mut Tally) -> usize {
        let Phase::Body(upload) = &mut self.phase else { return 0 };
        let Upload { rest, hash, length, .. } = &mut **upload;
        let mut take = |run: &[u8]| {
            *length += run.len() as u64;
            if let Some(hash) = hash {
                hash.update(run);
            }
        };
        let (used, done) = match rest {
            Rest::Length(left) => {
                let run = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                take(&input[..run]);
                *left -= run as u64;
                (run, *left == 0)
            }
            Rest::Chunked(decoder) => {
                let Ok(used) = decoder.decode(input, take) else {
                    self.refuse(request::BAD_REQUEST, true, false, tally);
                    return input.len();
                };
                (used, decoder.is_done())
            }
        };
        if done && let Phase::Body(upload) = std::mem::replace(&mut self.phase, Phase::Done) {
            self.answer_upload(*upload, tally);
        }
        used
    }

    fn answer_upload(&mut self, upload: Upload, tally: &mut Tally) {
        let Some(hash) = upload.hash else { return self.answer(&upload.request, tally) };
        let mut body = format!("{{\"length\":{},\"sha256\":\"", upload.length);
        for byte in hash.finalize() {
            let _ = write!(body, "{byte:02x}");
        }
        body.push_str("\"}\n");
        tally.requests += 1;
        let text = head("200 OK", "application/json", body.len() as u64, &upload.request) + &body;
        self.reply(Cow::Owned(text), 0, if upload.request.close { Then::Done } else { Then::Head });
    }

    fn answer(&mut self, request: &Request, tally: &mut Tally) {
        tally.requests += 1;
        let then = if request.close { Then::Done } else { Then::Head };
        let is_plain = !request.is_head && !request.close && !request.say_keep_alive;
        match request.action {
            Action::Hello if is_plain => self.reply(Cow::Borrowed(HELLO_KEPT), 0, then),
            Action::Bytes(count) => {
                let text = head("200 OK", "application/octet-stream", count, request);
                self.reply(Cow::Owned(text), if request.is_head { 0 } else { count }, then);
            }
            Action::Hello | Action::Upload | Action::Refuse(_) => {
                let mut text = head("200 OK", "text/plain", HELLO.len() as u64, request);
                if !request.is_head {
                    text.push_str(HELLO);
                }
                self.reply(Cow::Owned(text), 0, then);
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, close: bool, is_head: bool, tally: &mut Tally) {
        tally.rejected += 1;
        let Refusal { status, field } = refusal;
        let connection = if close { "Connection: close\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{field}{connection}\r\n",
            status.len() + 1
        );
        if !is_head {
            let _ = writeln!(text, "{status}");
        }
        self.reply(Cow::Owned(text), 0, if close { Then::Done } else { Then::Head });
    }

    fn reply(&mut self, text: Cow<'static, str>, bytes: u64, then: Then) {
        self.phase = Phase::Reply(Reply { text, written: 0, bytes: 0..bytes, then });
    }
}

fn head(status: &str, kind: &str, length: u64, request: &Request) -> String {
    let connection = match (request.close, request.say_keep_alive) {
        (true, _) => "Connection: close\r\n",
        (false, true) => "Connection: keep-alive\r\n",
        (false, false) => "",
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{connection}\r\n")
}
