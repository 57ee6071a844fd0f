//! Keyed hashes of flows: the key is secret, so that nobody outside can choose flows that collide.

use siphasher::sip::{SipHasher13, SipHasher24};
use siphasher::sip128;

use crate::addr::{Flow, SocketAddr};

/// The key for one purpose, derived from the core's secret, so that what one use gives away tells nothing about
/// another: SipHash-2-4 with 128 bits of output over the second half of the secret and `purpose`, keyed by the first.
pub(crate) fn subkey(secret: &[u8; 32], purpose: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&secret[..16]);
    let mut hasher = sip128::SipHasher24::new_with_key(&key);
    core::hash::Hasher::write(&mut hasher, &secret[16..]);
    core::hash::Hasher::write(&mut hasher, purpose.as_bytes());
    sip128::Hasher128::finish128(&hasher).as_bytes()
}

/// SipHash-1-3 of flows, for tables: quick, and unpredictable without the key, which is all that a table needs.
#[derive(Clone, Debug)]
pub(crate) struct TableHash(SipHasher13);

impl TableHash {
    /// The hash under `key`.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&key))
    }

    /// The hash of `flow`.
    pub(crate) fn flow(&self, flow: &Flow) -> u64 {
        let (bytes, len) = encode(flow);
        self.0.hash(&bytes[..len])
    }

    /// The hash of other bytes, such as an address.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

/// SipHash-2-4 of flows, for values that the peer sees.
#[derive(Clone, Debug)]
pub(crate) struct PublicHash(SipHasher24);

impl PublicHash {
    /// The hash under `key`.
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// The hash of `flow`.
    pub(crate) fn flow(&self, flow: &Flow) -> u64 {
        let (bytes, len) = encode(flow);
        self.0.hash(&bytes[..len])
    }

    /// The hash of `flow` and up to 28 bytes that go with it.
    pub(crate) fn flow_and(&self, flow: &Flow, more: &[u8]) -> u64 {
        let (bytes, len) = encode(flow);
        let mut both = [0; 64];
        let more = &more[..more.len().min(28)];
        both[..len].copy_from_slice(&bytes[..len]);
        both[len..len + more.len()].copy_from_slice(more);
        self.0.hash(&both[..len + more.len()])
    }

    /// The hash of other bytes.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }
}

/// The flow as bytes: 12 for IPv4, 36 for IPv6, so that no two flows have the same.
fn encode(flow: &Flow) -> ([u8; 36], usize) {
    let Flow { local: SocketAddr { addr: local, port: local_port }, remote } = *flow;
    let SocketAddr { addr: remote, port: remote_port } = remote;
    let mut bytes = [0; 36];
    bytes[0..2].copy_from_slice(&local_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&remote_port.to_be_bytes());
    if let (Some(local), Some(remote)) = (local.as_v4(), remote.as_v4()) {
        bytes[4..8].copy_from_slice(&local);
        bytes[8..12].copy_from_slice(&remote);
        (bytes, 12)
    } else {
        bytes[4..20].copy_from_slice(&local.octets());
        bytes[20..36].copy_from_slice(&remote.octets());
        (bytes, 36)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addr;

    fn flow(local: [u8; 4], remote_port: u16) -> Flow {
        Flow {
            local: SocketAddr::new(Addr::v4(local), 80),
            remote: SocketAddr::new(Addr::v4([10, 0, 0, 2]), remote_port),
        }
    }

    #[test]
    fn every_part_of_the_flow_and_the_key_counts() {
        let hash = TableHash::new([1; 16]);
        let base = flow([10, 0, 0, 1], 5000);
        let swapped = Flow { local: base.remote, remote: base.local };
        let mut six = base;
        six.remote.addr = Addr::v6([7; 16]);
        let mut hashes = std::vec![
            hash.flow(&base),
            hash.flow(&flow([10, 0, 0, 3], 5000)),
            hash.flow(&flow([10, 0, 0, 1], 5001)),
            hash.flow(&swapped),
            hash.flow(&six),
            TableHash::new([2; 16]).flow(&base),
            PublicHash::new([1; 16]).flow(&base),
            PublicHash::new([1; 16]).flow_and(&base, &[0]),
            PublicHash::new([1; 16]).flow_and(&base, &[1; 28]),
        ];
        assert_eq!(hash.flow(&base), hash.flow(&flow([10, 0, 0, 1], 5000)));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn subkeys_differ_by_purpose_and_by_both_halves_of_the_secret() {
        let secret = [3; 32];
        assert_eq!(subkey(&secret, "table"), subkey(&secret, "table"));
        assert_ne!(subkey(&secret, "table"), subkey(&secret, "isn"));
        for byte in [0, 31] {
            let mut other = secret;
            other[byte] ^= 1;
            assert_ne!(subkey(&secret, "table"), subkey(&other, "table"));
        }
    }
}
