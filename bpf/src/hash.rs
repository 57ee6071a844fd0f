//! The hash that says which bucket a flow belongs to; the Rust side of `hash.h`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

/// The longest input: two IPv6 addresses with their ports.
const LONGEST: usize = 36;

/// A keyed hash of flows, the same for both directions, computed alike here and in the XDP program.
///
/// It is SipHash-1-3 (Aumasson and Bernstein 2012) over the two ends, address and port in network order, the lower end
/// first: 12 bytes for IPv4, 36 for IPv6. An IPv4-mapped address is hashed as the IPv4 address; scope and flow label
/// are left out. The key has to be random and kept to oneself: who knows it can put all his flows on one core.
#[derive(Clone, PartialEq, Eq)]
pub struct FlowHash {
    key: [u8; 16],
}

impl FlowHash {
    /// The hash of this key.
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The hash of the flow between two ends, in whichever order they are given; [`Table::owner`](crate::Table::owner)
    /// takes it. Where there are no ports, as in an ICMP message, they are 0.
    pub fn hash(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        let mut bytes = [0; LONGEST];
        let len = match (local.ip().to_canonical(), remote.ip().to_canonical()) {
            (IpAddr::V4(here), IpAddr::V4(there)) => {
                order(&mut bytes, (&here.octets(), local.port()), (&there.octets(), remote.port()))
            }
            (here, there) => order(&mut bytes, (&v6(here), local.port()), (&v6(there), remote.port())),
        };
        // The low half: the buckets are counted by its low bits.
        SipHasher13::new_with_key(&self.key).hash(&bytes[..len]) as u32
    }

    /// The key, for whoever computes the same.
    pub const fn key(&self) -> [u8; 16] {
        self.key
    }

    /// What the program begins with: the state before the first word, and of that word's round the part that the word has
    /// no influence on (`sip_round_begin` of `hash.h`).
    pub(crate) fn begin(&self) -> [u64; 4] {
        let [v0, v1, v2, v3] = self.initial();
        let v0 = v0.wrapping_add(v1);
        [v0.rotate_left(32), v1.rotate_left(13) ^ v0, v2, v3]
    }

    /// The key and the constants of the paper's section 2.1.
    fn initial(&self) -> [u64; 4] {
        let key = u128::from_le_bytes(self.key);
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        [k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573]
    }
}

/// The key stays out of logs.
impl fmt::Debug for FlowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowHash").finish_non_exhaustive()
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Writes both ends, the lower first, and says how many bytes they take.
fn order<const N: usize>(bytes: &mut [u8; LONGEST], a: (&[u8; N], u16), b: (&[u8; N], u16)) -> usize {
    let mut at = 0;
    for (address, port) in [a.min(b), a.max(b)] {
        bytes[at..at + N].copy_from_slice(address);
        bytes[at + N..at + N + 2].copy_from_slice(&port.to_be_bytes());
        at += N + 2;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The bytes written down by hand, so that their order cannot change unnoticed.
    #[test]
    fn the_bytes_are_the_lower_end_first_in_network_order() {
        let reference = |bytes: &[u8]| SipHasher13::new_with_key(&KEY).hash(bytes) as u32;
        let hash = FlowHash::new(KEY);
        let v4 = [9, 1, 2, 3, 0xff, 0xfe, 10, 0, 0, 1, 0, 80];
        assert_eq!(hash.hash(end("10.0.0.1:80"), end("9.1.2.3:65534")), reference(&v4));
        let same_host = [10, 0, 0, 1, 0, 80, 10, 0, 0, 1, 1, 0];
        assert_eq!(hash.hash(end("10.0.0.1:256"), end("10.0.0.1:80")), reference(&same_host));
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 1]);
        v6[15..18].copy_from_slice(&[2, 0x1f, 0x90]);
        v6[18..20].copy_from_slice(&[0xfe, 0x80]);
        v6[33..36].copy_from_slice(&[1, 0, 22]);
        assert_eq!(hash.hash(end("[fe80::1]:22"), end("[2001::2]:8080")), reference(&v6));
    }

    /// The vectors that the program is compared with, too.
    #[test]
    fn the_shared_vectors_hold_in_both_directions() {
        for line in include_str!("../tests/flow-hash.tsv").lines().filter(|line| !line.starts_with('#')) {
            let [key, local, remote, hash] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let key = FlowHash::new(u128::from_str_radix(key, 16).unwrap().to_be_bytes());
            let (local, remote, hash) = (end(local), end(remote), u32::from_str_radix(hash, 16).unwrap());
            assert_eq!((key.hash(local, remote), key.hash(remote, local)), (hash, hash), "{line}");
        }
    }

    #[test]
    fn both_directions_agree_and_keys_differ() {
        let (a, b) = (end("[2001:db8::1]:443"), end("[2001:db8::2]:40000"));
        let hash = FlowHash::new(KEY);
        assert_eq!(hash.hash(a, b), hash.hash(b, a));
        assert_ne!(hash.hash(a, b), FlowHash::new([7; 16]).hash(a, b));
        assert_ne!(hash.hash(a, b), hash.hash(a, end("[2001:db8::2]:40001")));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let hash = FlowHash::new(KEY);
        let plain = hash.hash(end("192.0.2.1:80"), end("192.0.2.2:4000"));
        assert_eq!(hash.hash(end("[::ffff:192.0.2.1]:80"), end("192.0.2.2:4000")), plain);
        // Families that differ are no flow, but must not be a panic either.
        assert_ne!(hash.hash(end("[::1]:80"), end("192.0.2.2:4000")), plain);
    }

    /// The example of the paper's appendix A has this key, and the state as here.
    #[test]
    fn the_initial_state_is_the_papers() {
        let state = [0x7469_6861_7371_6475, 0x6b61_7f6d_656e_6665, 0x6b7f_6261_6d67_7361, 0x7b6b_696e_727e_6c7b];
        assert_eq!(FlowHash::new(KEY).initial(), state);
    }

    /// SipHash-1-3 of one word and the last one, from the state that the program is given.
    #[test]
    fn a_hash_that_goes_on_from_the_beginning_is_siphash() {
        fn ended([v0, v1, v2, v3]: [u64; 4]) -> [u64; 4] {
            let v2 = v2.wrapping_add(v3);
            let v3 = v3.rotate_left(16) ^ v2;
            let v0 = v0.wrapping_add(v3);
            let v2 = v2.wrapping_add(v1);
            [v0, v1.rotate_left(17) ^ v2, v2.rotate_left(32), v3.rotate_left(21) ^ v0]
        }
        fn round([v0, v1, v2, v3]: [u64; 4]) -> [u64; 4] {
            let v0 = v0.wrapping_add(v1);
            ended([v0.rotate_left(32), v1.rotate_left(13) ^ v0, v2, v3])
        }
        let word = 0x0706_0504_0302_0100_u64;
        let [v0, v1, v2, v3] = FlowHash::new(KEY).begin();
        let [v0, v1, v2, v3] = ended([v0, v1, v2, v3 ^ word]);
        let last = 8 << 56;
        let [v0, v1, v2, v3] = round([v0 ^ word, v1, v2, v3 ^ last]);
        let end = (0..3).fold([v0 ^ last, v1, v2 ^ 0xff, v3], |state, _| round(state));
        let expected = SipHasher13::new_with_key(&KEY).hash(&word.to_le_bytes());
        assert_eq!(end.into_iter().fold(0, |all, word| all ^ word), expected);
    }
}
