//! The bytes that workloads send: a stream that both sides can compute, at any place, without keeping it.
//!
//! The stream of `seed` is the output of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", 2014) started at `seed`, each 64-bit word in little-endian order. In Python, byte `i` of the stream is
//!
//! ```python
//! def byte(seed, i):
//!     m = 2**64 - 1
//!     z = (seed + (i // 8 + 1) * 0x9e3779b97f4a7c15) & m
//!     z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & m
//!     z = ((z ^ z >> 27) * 0x94d049bb133111eb) & m
//!     return (z ^ z >> 31) >> 8 * (i % 8) & 255
//! ```

/// The stream that `GET /bytes/N` and the source workload send has this seed.
pub const SERVED_SEED: u64 = 0;

/// Word `index` of the stream of `seed`.
#[inline]
const fn word(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes the bytes of the stream of `seed` from place `position` on.
pub fn fill(seed: u64, position: u64, into: &mut [u8]) {
    let head = to_next_word(position).min(into.len());
    let (head, rest) = into.split_at_mut(head);
    fill_pieces(seed, position, head);
    let mut position = position + head.len() as u64;
    let (words, tail) = rest.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = word(seed, position / 8).to_le_bytes();
        position += 8;
    }
    fill_pieces(seed, position, tail);
}

/// Whether `bytes` are those of the stream of `seed` from place `position` on.
#[must_use]
pub fn matches(seed: u64, position: u64, bytes: &[u8]) -> bool {
    let head = to_next_word(position).min(bytes.len());
    let (head, rest) = bytes.split_at(head);
    let (words, tail) = rest.as_chunks::<8>();
    let first = position + head.len() as u64;
    match_pieces(seed, position, head)
        && words.iter().zip(first / 8..).all(|(bytes, index)| u64::from_le_bytes(*bytes) == word(seed, index))
        && match_pieces(seed, first + 8 * words.len() as u64, tail)
}

/// How many bytes of a word that has begun before `position` come from there on.
const fn to_next_word(position: u64) -> usize {
    (position.wrapping_neg() % 8) as usize
}

fn fill_pieces(seed: u64, position: u64, into: &mut [u8]) {
    each_piece(seed, position, into.len(), |range, bytes| {
        into[range].copy_from_slice(bytes);
        true
    });
}

fn match_pieces(seed: u64, position: u64, bytes: &[u8]) -> bool {
    each_piece(seed, position, bytes.len(), |range, expected| bytes[range] == *expected)
}

/// Calls `visit` with each run of up to eight bytes that belong together, until it says false.
#[inline]
fn each_piece(
    seed: u64,
    position: u64,
    len: usize,
    mut visit: impl FnMut(std::ops::Range<usize>, &[u8]) -> bool,
) -> bool {
    let mut index = position / 8;
    let mut skip = (position % 8) as usize;
    let mut at = 0;
    while at < len {
        let take = (8 - skip).min(len - at);
        if !visit(at..at + take, &word(seed, index).to_le_bytes()[skip..skip + take]) {
            return false;
        }
        at += take;
        index = index.wrapping_add(1);
        skip = 0;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The reference outputs for seed 1234567 as published with the C code of Vigna.
        let mut bytes = [0; 24];
        fill(1_234_567, 0, &mut bytes);
        let words: Vec<u64> = bytes.chunks(8).map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect();
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn any_cut_gives_the_same_stream() {
        let mut whole = [0; 100];
        fill(7, 3, &mut whole);
        for cut in 0..=whole.len() {
            let mut parts = [0; 100];
            fill(7, 3, &mut parts[..cut]);
            fill(7, 3 + cut as u64, &mut parts[cut..]);
            assert_eq!(parts, whole);
            assert!(matches(7, 3 + cut as u64, &whole[cut..]));
            assert!(matches(7, 3, &whole[..cut]));
        }
        for spoilt in 0..whole.len() {
            whole[spoilt] ^= 0x10;
            assert!(!matches(7, 3, &whole), "byte {spoilt}");
            whole[spoilt] ^= 0x10;
        }
        whole[57] ^= 1;
        assert!(!matches(7, 3, &whole));
    }
}
