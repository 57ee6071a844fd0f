//! The bytes of every transfer: made once, so that checking them costs next to nothing.

use crate::checks::Stream;
use std::sync::OnceLock;

/// The bytes repeat after so many, a prime, so that no segment or buffer size falls together with it.
const PERIOD: usize = 65_521;
/// Most bytes that are asked for at once.
pub(super) const MOST: usize = 16 * 1024;

fn tile() -> &'static [u8] {
    static TILE: OnceLock<Vec<u8>> = OnceLock::new();
    TILE.get_or_init(|| {
        let mut bytes = vec![0; PERIOD];
        Stream::new(9).fill(0, &mut bytes);
        bytes.extend_from_within(..MOST);
        bytes
    })
}

/// The `len` bytes at position `at`; no more than [`MOST`].
pub(super) fn bytes(at: u64, len: usize) -> &'static [u8] {
    let from = (at % PERIOD as u64) as usize;
    &tile()[from..from + len.min(MOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_goes_on_across_its_seam() {
        let whole = bytes(PERIOD as u64 - 10, 30);
        assert_eq!(whole[..10], *bytes(PERIOD as u64 - 10, 10));
        assert_eq!(whole[10..], *bytes(0, 20));
        assert_ne!(bytes(0, 100), bytes(1460, 100));
    }
}
