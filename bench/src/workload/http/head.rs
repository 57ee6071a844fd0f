//! Collects a message's head, up to the empty line, from bytes cut anywhere.

use super::HEAD_LIMIT;

/// What [`HeadBuffer::push`] found.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The head ends after `used` bytes of the input; it lies in the buffer if `buffered`, else in the input itself.
    Head { used: usize, buffered: bool },
    /// Not yet complete; all input was taken.
    Partial,
    /// More than [`HEAD_LIMIT`] bytes and no end.
    TooLong,
}

/// The part of a head that came so far. Empty as long as heads come whole, which is the usual case.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
}

impl HeadBuffer {
    /// Looks for the end of the head in what was kept and `input`. Each byte is looked at once, however it is cut.
    pub(super) fn push(&mut self, input: &[u8]) -> Found {
        let kept = self.bytes.len();
        // The end is `\n\r\n` or `\n\n` (RFC 9112 2.2 lets a recipient take a bare LF); it may begin two bytes back.
        let mut at = 0;
        while let Some(offset) = input[at..].iter().position(|byte| *byte == b'\n') {
            let newline = kept + at + offset;
            at += offset + 1;
            let before = |back: usize| match newline.checked_sub(back) {
                Some(place) if place < kept => self.bytes[place],
                Some(place) => input[place - kept],
                None => 0,
            };
            if before(1) == b'\n' || (before(1) == b'\r' && before(2) == b'\n') {
                if newline + 1 > HEAD_LIMIT {
                    return Found::TooLong;
                }
                if kept == 0 {
                    return Found::Head { used: at, buffered: false };
                }
                self.bytes.extend_from_slice(&input[..at]);
                return Found::Head { used: at, buffered: true };
            }
        }
        if kept + input.len() > HEAD_LIMIT {
            return Found::TooLong;
        }
        self.bytes.extend_from_slice(input);
        Found::Partial
    }

    /// The head, after it was [found](Found::Head) in the buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Makes ready for the next head.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_at_every_cut() {
        for text in [&b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest"[..], b"GET / HTTP/1.1\nA: b\n\nrest"] {
            let end = text.len() - 4;
            for cut in 1..text.len() {
                let mut head = HeadBuffer::default();
                let first = head.push(&text[..cut]);
                if cut >= end {
                    assert_eq!(first, Found::Head { used: end, buffered: false });
                } else {
                    assert_eq!(first, Found::Partial);
                    assert_eq!(head.push(&text[cut..]), Found::Head { used: end - cut, buffered: true });
                    assert_eq!(head.bytes(), &text[..end]);
                }
            }
        }
    }

    #[test]
    fn the_limit_holds() {
        let mut head = HeadBuffer::default();
        let line = [b'a'; 1000];
        let mut pushed = 0;
        while head.push(&line) == Found::Partial {
            pushed += line.len();
        }
        assert!(pushed <= HEAD_LIMIT && pushed + line.len() > HEAD_LIMIT);
    }
}
