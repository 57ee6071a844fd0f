//! The chunked transfer coding (RFC 9112 7.1), read from bytes cut anywhere.

/// Where in the coding the next byte lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer { line: u16 },
    TrailerLf { line: u16 },
    Done,
}

/// Chunk extensions and trailers longer than this, over a whole message, are an attack (RFC 9112 7.1.1).
const OVERHEAD_LIMIT: u32 = 16 * 1024;

/// The input is not the chunked coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// The decoder of one message's body.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    place: Place,
    left: u64,
    overhead: u32,
}

impl Decoder {
    /// At the first chunk's size.
    pub(super) const fn new() -> Self {
        Self { place: Place::Size { digits: 0 }, left: 0, overhead: 0 }
    }

    /// Whether the last chunk and the trailers were read.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// Reads until the input ends or the body does; gives each run of data to `data`; says how much it consumed.
    pub(super) fn decode(&mut self, input: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            if self.place == Place::Data {
                let run = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                data(&input[at..at + run]);
                at += run;
                self.left -= run as u64;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.place = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// One byte outside the data. Line ends are CRLF and nothing else, since lenience here is how requests are
    /// smuggled.
    fn step(&mut self, byte: u8) -> Result<Place, Malformed> {
        Ok(match (self.place, byte) {
            (Place::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                Place::Size { digits: digits + 1 }
            }
            (Place::Size { digits: 1.. }, b';' | b' ' | b'\t') => Place::Extension,
            (Place::Size { digits: 1.. } | Place::Extension, b'\r') => Place::SizeLf,
            (Place::Extension, _) if byte != b'\n' => self.overhead(Place::Extension)?,
            (Place::SizeLf, b'\n') if self.left == 0 => Place::Trailer { line: 0 },
            (Place::SizeLf, b'\n') => Place::Data,
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size { digits: 0 },
            (Place::Trailer { line }, b'\r') => Place::TrailerLf { line },
            (Place::Trailer { .. }, _) if byte != b'\n' => self.overhead(Place::Trailer { line: 1 })?,
            (Place::TrailerLf { line: 0 }, b'\n') => Place::Done,
            (Place::TrailerLf { .. }, b'\n') => Place::Trailer { line: 0 },
            _ => return Err(Malformed),
        })
    }

    fn overhead(&mut self, place: Place) -> Result<Place, Malformed> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_LIMIT { Err(Malformed) } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize), Malformed> {
        let mut decoder = Decoder::new();
        let mut body = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step) {
            used += decoder.decode(piece, |run| body.extend_from_slice(run))?;
        }
        if decoder.is_done() { Ok((body, used)) } else { Err(Malformed) }
    }

    #[test]
    fn chunks_extensions_and_trailers_at_every_cut() {
        let input = b"4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nA: b\r\nC: d\r\n\r\nGET";
        for step in 1..=input.len() {
            let (body, used) = decode(input, step).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!(used, input.len() - 3);
        }
    }

    #[test]
    fn what_is_not_the_coding_is_refused() {
        let bad: [&[u8]; 9] = [
            b"\r\n",
            b"g\r\n",
            b"4\nWiki\r\n0\r\n\r\n",
            b"4\r\nWikipedia\r\n",
            b"-1\r\n",
            b"ffffffffffffffff\r\n",
            b";\r\n",
            b"0\r\n\n",
            b"4 \n",
        ];
        for input in bad {
            assert_eq!(decode(input, 1), Err(Malformed), "{:?}", String::from_utf8_lossy(input));
        }
        let mut long = b"4;".to_vec();
        long.resize(20_000, b'a');
        assert_eq!(decode(&long, 100), Err(Malformed));
    }
}
