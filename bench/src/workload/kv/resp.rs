//! Takes commands out of a stream of bytes.

use super::VALUE_LIMIT;

/// Words of one command, at most.
const WORDS: usize = 64;
/// Bytes of one line, at most: a line of words, or a length.
const LINE: usize = 16 * 1024;

/// What the front of the bytes is.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Parsed<'a> {
    /// A command of these words; it has so many bytes.
    Command(Vec<&'a [u8]>, usize),
    /// An empty line or an empty array of so many bytes, which is no command and gets no answer.
    Nothing(usize),
    /// More bytes are needed.
    Partial,
    /// Not the protocol; a text for the peer.
    Wrong(&'static str),
}

/// Looks at the front of `input`.
pub(super) fn parse(input: &[u8]) -> Parsed<'_> {
    match array(input) {
        Ok(parsed) => parsed,
        Err(Stop::Partial) => Parsed::Partial,
        Err(Stop::Wrong(text)) => Parsed::Wrong(text),
    }
}

enum Stop {
    Partial,
    Wrong(&'static str),
}

fn array(input: &[u8]) -> Result<Parsed<'_>, Stop> {
    let (line, mut at) = line(input)?;
    let Some(count) = line.strip_prefix(b"*") else {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        return Ok(match words.len() {
            0 => Parsed::Nothing(at),
            1..=WORDS => Parsed::Command(words, at),
            _ => Parsed::Wrong("too many words"),
        });
    };
    let count = number(count).filter(|count| *count <= WORDS).ok_or(Stop::Wrong("invalid multibulk length"))?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (head, head_len) = self::line(&input[at..])?;
        let length = head.strip_prefix(b"$").ok_or(Stop::Wrong("expected '$'"))?;
        let length =
            number(length).filter(|length| *length <= VALUE_LIMIT).ok_or(Stop::Wrong("invalid bulk length"))?;
        at += head_len;
        if at + length > VALUE_LIMIT + LINE {
            return Err(Stop::Wrong("too big a command"));
        }
        let word = input.get(at..at + length).ok_or(Stop::Partial)?;
        match input.get(at + length..at + length + 2) {
            None => return Err(Stop::Partial),
            Some(b"\r\n") => {}
            Some(_) => return Err(Stop::Wrong("expected the end of a bulk string")),
        }
        words.push(word);
        at += length + 2;
    }
    Ok(if words.is_empty() { Parsed::Nothing(at) } else { Parsed::Command(words, at) })
}

/// The line at the front without its end, and its length with it.
fn line(input: &[u8]) -> Result<(&[u8], usize), Stop> {
    match input.iter().take(LINE).position(|byte| *byte == b'\n') {
        Some(end) => Ok((input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]), end + 1)),
        None if input.len() >= LINE => Err(Stop::Wrong("too big a line")),
        None => Err(Stop::Partial),
    }
}

/// Decimal digits, and no more of them than any bound here needs.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_at_any_cut() {
        for (input, len) in [(&b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"[..], 20), (b"GET  a\r\n", 8)] {
            let mut whole = input.to_vec();
            whole.extend_from_slice(b"PING\r\n");
            assert_eq!(parse(&whole), Parsed::Command(vec![b"GET", b"a"], len));
            for cut in 0..len {
                assert_eq!(parse(&input[..cut]), Parsed::Partial, "{cut}");
            }
        }
        assert_eq!(parse(b"\r\nPING\r\n"), Parsed::Nothing(2));
        assert_eq!(parse(b"*0\r\n"), Parsed::Nothing(4));
        assert_eq!(parse(b"*1\r\n$0\r\n\r\n"), Parsed::Command(vec![b""], 10));
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        for wrong in [
            &b"*x\r\n"[..],
            b"*65\r\n",
            b"*-1\r\n",
            b"*1\r\n+OK\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$99999999\r\n",
            b"*1\r\n$1\r\nabc",
            b"*9999999999\r\n",
        ] {
            assert!(matches!(parse(wrong), Parsed::Wrong(_)), "{}", String::from_utf8_lossy(wrong));
        }
        assert!(matches!(parse(&[b'a'; LINE]), Parsed::Wrong(_)));
    }
}
