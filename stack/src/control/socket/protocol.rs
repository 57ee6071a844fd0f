//! The lines of the control socket: what is asked, and what is answered.

pub(super) use crate::control::Ask;

use crate::control::{CoreShare, takeover};
use serde::{Deserialize, Serialize};

/// The longest request, bytes, without its end of line.
pub(super) const LONGEST: usize = 64;

/// What can be asked, in words.
const REQUESTS: &str = "say shares, drain N, add N or rebalance";

/// What the control socket answers: `{"workers":[...]}` or `{"error":"one sentence"}`, as one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// How the cores share new connections, after what was asked is done.
    Workers(Vec<CoreShare>),
    /// Why it was not done; nothing has changed.
    Error(String),
}

impl Answer {
    /// The answer as it goes out.
    pub(super) fn to_line(&self) -> Vec<u8> {
        // Numbers, truth values and strings always go into JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// What a line wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// An answer.
    Ask(Ask),
    /// The place of this process; the rest is said by [`takeover`].
    TakeOver,
}

/// What a line wants, or a sentence that says why it wants nothing.
pub(super) fn read_line(line: &[u8]) -> Result<Line, String> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    if line.len() > LONGEST || words.next() != Some("takeover") {
        return read(line).map(Line::Ask);
    }
    match (words.next().map(str::parse), words.next()) {
        (Some(Ok(takeover::VERSION)), None) => Ok(Line::TakeOver),
        _ => Err(format!("\"{}\" is not version {} of taking over", text.trim().escape_debug(), takeover::VERSION)),
    }
}

/// The request that a line makes, or a sentence that says why it makes none.
fn read(line: &[u8]) -> Result<Ask, String> {
    if line.len() > LONGEST {
        return Err(format!("a request has at most {LONGEST} bytes: {REQUESTS}"));
    }
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["shares"] => Ok(Ask::Shares),
        ["rebalance"] => Ok(Ask::Rebalance),
        ["drain", worker] => number(worker).map(Ask::Drain),
        ["add", worker] => number(worker).map(Ask::Add),
        [] => Err(format!("the line is empty: {REQUESTS}")),
        _ => Err(format!("\"{}\" is no request: {REQUESTS}", text.trim().escape_debug())),
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("\"{}\" is no worker: give its number, from 0", word.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_words() {
        assert_eq!(read(b"shares"), Ok(Ask::Shares));
        assert_eq!(read(b" rebalance \r"), Ok(Ask::Rebalance));
        assert_eq!(read(b"drain 3"), Ok(Ask::Drain(3)));
        assert_eq!(read(b"add\t0"), Ok(Ask::Add(0)));
    }

    #[test]
    fn what_is_no_request_is_told_so_in_one_line() {
        let long = [b'x'; LONGEST + 1];
        let digits = format!("drain {}", "9".repeat(40));
        let cases: [(&[u8], &str); 9] = [
            (b"", "the line is empty: say shares"),
            (b"   ", "the line is empty"),
            (b"SHARES", "\"SHARES\" is no request: say shares, drain N, add N or rebalance"),
            (b"drain", "\"drain\" is no request"),
            (b"drain 1 2", "\"drain 1 2\" is no request"),
            (b"drain -1", "\"-1\" is no worker: give its number, from 0"),
            (digits.as_bytes(), "is no worker"),
            (b"\xff\x00\x1b[31m\n", "is no request"),
            (&long, "at most 64 bytes"),
        ];
        for (line, part) in cases {
            let sentence = read(line).unwrap_err();
            assert!(sentence.contains(part), "{sentence}");
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
            let answer = Answer::Error(sentence);
            let line = answer.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Answer>(&line).unwrap(), answer);
        }
    }

    #[test]
    fn taking_over_needs_the_version_that_is_spoken_here() {
        assert_eq!(read_line(format!("takeover {}", takeover::VERSION).as_bytes()), Ok(Line::TakeOver));
        assert_eq!(read_line(b"rebalance"), Ok(Line::Ask(Ask::Rebalance)));
        for line in [
            &b"takeover"[..],
            b"takeover 0",
            b"takeover 1 1",
            b"takeover -1",
            b"takeover \xff",
            b"takeover 99999999999",
        ] {
            let sentence = read_line(line).unwrap_err();
            assert!(sentence.contains("is not version 1 of taking over"), "{sentence}");
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
        }
        assert!(read_line(&[b'x'; LONGEST + 1]).is_err());
    }

    #[test]
    fn shares_are_an_object_for_each_worker() {
        let share = CoreShare {
            worker: 0,
            core: 3,
            buckets: 512,
            flows: 7,
            frames: 90,
            drained: false,
            moved_out: 5,
            moved_in: 4,
            busy: 2,
            kept: 1,
        };
        let line = Answer::Workers(vec![share]).to_line();
        let expected = r#"{"workers":[{"worker":0,"core":3,"buckets":512,"flows":7,"frames":90,"drained":false,"moved_out":5,"moved_in":4,"busy":2,"kept":1}]}"#;
        assert_eq!(String::from_utf8(line).unwrap(), format!("{expected}\n"));
    }
}
