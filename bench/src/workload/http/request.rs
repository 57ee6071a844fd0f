//! What a request's head means to this server: a pure function from bytes to a value.

use super::BYTES_LIMIT;

/// A status line and the text that goes with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// The code and the reason phrase.
    pub(super) status: &'static str,
    /// Another header field with its line end, or nothing.
    pub(super) field: &'static str,
}

const fn refusal(status: &'static str) -> Refusal {
    Refusal { status, field: "" }
}

pub(super) const BAD_REQUEST: Refusal = refusal("400 Bad Request");
pub(super) const HEAD_TOO_LARGE: Refusal = refusal("431 Request Header Fields Too Large");
const NOT_FOUND: Refusal = refusal("404 Not Found");
const EXPECTATION_FAILED: Refusal = refusal("417 Expectation Failed");
const NOT_IMPLEMENTED: Refusal = refusal("501 Not Implemented");
const VERSION: Refusal = refusal("505 HTTP Version Not Supported");
const GET_ONLY: Refusal = Refusal { status: "405 Method Not Allowed", field: "Allow: GET, HEAD\r\n" };
const PUT_ONLY: Refusal = Refusal { status: "405 Method Not Allowed", field: "Allow: PUT, POST\r\n" };

/// How the body is delimited (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// By a length; 0 when there is none.
    Length(u64),
    /// By the chunked coding.
    Chunked,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// `GET /`.
    Hello,
    /// `GET /bytes/N`.
    Bytes(u64),
    /// `PUT /upload` or `POST /upload`.
    Upload,
    /// Anything that is not there, or not so.
    Refuse(Refusal),
}

/// A request's head, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) action: Action,
    pub(super) is_head: bool,
    pub(super) body: Body,
    pub(super) expects_continue: bool,
    pub(super) close: bool,
    /// HTTP/1.0, where staying open has to be said (RFC 9112 C.2.2).
    pub(super) say_keep_alive: bool,
}

/// Reads a whole head, its empty line included. The error is for heads that leave unclear where the next one begins:
/// the connection ends with it.
pub(super) fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HEAD_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(VERSION),
        Ok(_) | Err(_) => return Err(BAD_REQUEST),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(BAD_REQUEST);
    };
    let fields = Fields::read(request.headers)?;
    // RFC 9112 3.2: a 1.1 request without Host, or any with two, is answered with 400.
    if fields.hosts > 1 || (minor >= 1 && fields.hosts == 0) {
        return Err(BAD_REQUEST);
    }
    let body = match (fields.chunked, fields.length) {
        // RFC 9112 6.1: both at once, or chunked in 1.0, is how requests are smuggled.
        (true, Some(_)) => return Err(BAD_REQUEST),
        (true, None) if minor == 0 => return Err(BAD_REQUEST),
        (true, None) => Body::Chunked,
        (false, length) => Body::Length(length.unwrap_or(0)),
    };
    let keep = if minor == 0 { fields.keep_alive && !fields.close } else { !fields.close };
    let action = if fields.expects_other { Action::Refuse(EXPECTATION_FAILED) } else { route(method, target) };
    Ok(Request {
        action,
        is_head: method == "HEAD",
        body,
        expects_continue: fields.expects_continue && minor >= 1,
        close: !keep,
        say_keep_alive: keep && minor == 0,
    })
}

/// The header fields that matter here.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("host") {
                fields.hosts += 1;
            } else if name.eq_ignore_ascii_case("content-length") {
                let length = decimal(header.value).ok_or(BAD_REQUEST)?;
                // RFC 9112 6.3: repeated and different is not recoverable.
                if fields.length.is_some_and(|earlier| earlier != length) {
                    return Err(BAD_REQUEST);
                }
                fields.length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if fields.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(NOT_IMPLEMENTED);
                }
                fields.chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                fields.close |= has_token(header.value, b"close");
                fields.keep_alive |= has_token(header.value, b"keep-alive");
            } else if name.eq_ignore_ascii_case("expect") {
                let known = header.value.eq_ignore_ascii_case(b"100-continue");
                fields.expects_continue |= known;
                fields.expects_other |= !known;
            }
        }
        Ok(fields)
    }
}

/// A number of digits only; `None` also when it does not fit in 64 bits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a comma-separated list has `token`, in any case.
pub(super) fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

fn route(method: &str, target: &str) -> Action {
    // RFC 9112 3.2.2: a server takes the absolute form too.
    let path = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let is_get = matches!(method, "GET" | "HEAD");
    match path {
        "/" if is_get => Action::Hello,
        "/upload" if matches!(method, "PUT" | "POST") => Action::Upload,
        "/" => Action::Refuse(GET_ONLY),
        "/upload" => Action::Refuse(PUT_ONLY),
        _ => match path.strip_prefix("/bytes/").and_then(|digits| decimal(digits.as_bytes())) {
            None => Action::Refuse(NOT_FOUND),
            Some(_) if !is_get => Action::Refuse(GET_ONLY),
            Some(count) if count > BYTES_LIMIT => Action::Refuse(BAD_REQUEST),
            Some(count) => Action::Bytes(count),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Result<Request, Refusal> {
        parse(format!("{}\r\n\r\n", lines.replace('\n', "\r\n")).as_bytes())
    }

    #[test]
    fn targets_and_methods() {
        let action = |line: &str| head(&format!("{line} HTTP/1.1\nHost: a")).unwrap().action;
        assert_eq!(action("GET /"), Action::Hello);
        assert_eq!(action("GET /?a=b"), Action::Hello);
        assert_eq!(action("GET http://a"), Action::Hello);
        assert_eq!(action("HEAD http://a/bytes/10000000000"), Action::Bytes(BYTES_LIMIT));
        assert_eq!(action("GET /bytes/10000000001"), Action::Refuse(BAD_REQUEST));
        assert_eq!(action("GET /bytes/-1"), Action::Refuse(NOT_FOUND));
        assert_eq!(action("GET /bytes/99999999999999999999999"), Action::Refuse(NOT_FOUND));
        assert_eq!(action("PUT /upload"), Action::Upload);
        assert_eq!(action("GET /upload"), Action::Refuse(PUT_ONLY));
        assert_eq!(action("DELETE /"), Action::Refuse(GET_ONLY));
        assert_eq!(action("POST /bytes/1"), Action::Refuse(GET_ONLY));
        assert_eq!(action("OPTIONS *"), Action::Refuse(NOT_FOUND));
    }

    #[test]
    fn whether_the_connection_stays() {
        assert!(!head("GET / HTTP/1.1\nHost: a").unwrap().close);
        assert!(head("GET / HTTP/1.1\nHost: a\nConnection: x, Close").unwrap().close);
        assert!(head("GET / HTTP/1.0").unwrap().close);
        let kept = head("GET / HTTP/1.0\nConnection: keep-alive").unwrap();
        assert!(!kept.close && kept.say_keep_alive);
    }

    #[test]
    fn heads_that_could_smuggle_are_refused() {
        for (lines, refusal) in [
            ("GET / HTTP/1.1", BAD_REQUEST),
            ("GET / HTTP/1.1\nHost: a\nHost: b", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nContent-Length: +1", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nContent-Length: 1, 1", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked", BAD_REQUEST),
            ("PUT /upload HTTP/1.0\nTransfer-Encoding: chunked", BAD_REQUEST),
            ("PUT /upload HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked", NOT_IMPLEMENTED),
            ("GET / HTTP/1.1\nHost : a", BAD_REQUEST),
            ("GET / HTTP/2.0\nHost: a", VERSION),
            ("GET /", BAD_REQUEST),
        ] {
            assert_eq!(head(lines), Err(refusal), "{lines}");
        }
        let many = format!("GET / HTTP/1.1\nHost: a{}", "\nA: b".repeat(80));
        assert_eq!(head(&many), Err(HEAD_TOO_LARGE));
    }

    #[test]
    fn expectations() {
        let request = head("PUT /upload HTTP/1.1\nHost: a\nExpect: 100-Continue\nContent-Length: 5").unwrap();
        assert!(request.expects_continue);
        assert_eq!(request.body, Body::Length(5));
        let other = head("PUT /upload HTTP/1.1\nHost: a\nExpect: magic\nContent-Length: 5").unwrap();
        assert_eq!(other.action, Action::Refuse(EXPECTATION_FAILED));
    }
}
