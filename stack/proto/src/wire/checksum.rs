//! The Internet checksum (RFC 1071), over any number of runs, and its incremental update (RFC 1624).

/// A ones' complement sum under way, in the machine's byte order (RFC 1071 2(B): the order of bytes does not matter
/// as long as it is the same throughout).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds `bytes`, which lie at an even offset of what is summed; an odd last byte is padded with a zero, so only
    /// the last run may be odd.
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // Four lanes that do not wait for each other. Words of 32 bits summed in 64 leave room for the carries of
        // 2^32 words, so that nothing has to be folded inside the loop.
        let (blocks, rest) = bytes.as_chunks::<32>();
        let mut lanes = [0u64; 4];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                let word = u64::from_ne_bytes(*word);
                *lane = lane.wrapping_add((word & 0xffff_ffff) + (word >> 32));
            }
        }
        let [a, b, c, d] = lanes;
        let mut sum = a.wrapping_add(b).wrapping_add(c).wrapping_add(d);

        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
        let tail = match *rest {
            [a] => u32::from_ne_bytes([a, 0, 0, 0]),
            [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
            [a, b, c] => u32::from_ne_bytes([a, b, c, 0]),
            _ => 0,
        };
        Self(fold_to_33_bits(self.0).wrapping_add(sum).wrapping_add(u64::from(tail)))
    }

    /// Adds a 16-bit value that stands on the wire in network order.
    #[inline]
    pub const fn add_u16(self, value: u16) -> Self {
        Self(fold_to_33_bits(self.0) + value.to_be() as u64)
    }

    /// The checksum field's value, in host order: the complement of the sum. Zero when what was summed includes a
    /// checksum that is right.
    #[inline]
    pub const fn finish(self) -> u16 {
        let mut sum = fold_to_33_bits(self.0);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(!(sum as u16))
    }
}

/// Adds the upper half to the lower: the same number modulo 2^16 - 1, below 2^33.
#[inline]
const fn fold_to_33_bits(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The checksum field's value over `bytes`, in host order.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::ZERO.add_bytes(bytes).finish()
}

/// What `checksum` becomes when a 16-bit word under it changes from `old` to `new`; all in host order.
#[inline]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    //= spec/rfc1624.txt#section-3
    //# = ~(~HC + ~m + m')
    // HC' = ~(~HC + ~m + m'), which unlike RFC 1141's form never makes 0xffff of a sum that is 0x0000.
    let mut sum = !checksum as u32 + !old as u32 + new as u32;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// What `checksum` becomes when an aligned 32-bit word under it changes from `old` to `new`; all in host order.
#[inline]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update_u16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update_u16(high, old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// RFC 1071 1 word by word, the slow way.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn carries_survive_the_longest_packet_of_ones() {
        let ones = std::vec![0xff; 65_535];
        assert_eq!(of(&ones), naive(&ones));
        assert_eq!(of(&ones[..65_534]), 0);
        assert_eq!(of(&[]), 0xffff);
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(of(&bytes), naive(&bytes));
        }

        #[test]
        fn runs_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..150, word: u16) {
            let at = (at * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(at);
            let mut whole: Vec<u8> = word.to_be_bytes().to_vec();
            whole.extend_from_slice(&bytes);
            prop_assert_eq!(Sum::ZERO.add_bytes(a).add_u16(word).add_bytes(b).finish(), naive(&whole));
        }

        #[test]
        fn an_update_is_a_recomputation(
            mut bytes in proptest::collection::vec(any::<u8>(), 8..64), at in 0usize..32, new: u32
        ) {
            let at = (at * 2).min((bytes.len() - 4) & !1);
            let before = naive(&bytes);
            let old = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
            let updated = update_u32(before, old, new);
            // The two zeros of ones' complement are the same checksum to a receiver; no header here sums to zero.
            prop_assume!(bytes.iter().any(|&b| b != 0));
            prop_assert_eq!(updated, naive(&bytes));
        }
    }
}
