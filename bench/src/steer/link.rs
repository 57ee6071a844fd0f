//! Two network namespaces without names, joined by a veth pair of one queue, and the frames that go over it.

use crate::failure::Failure;
use crate::path::world::{Space, run, up};
use std::net::Ipv4Addr;

/// Where the receivers are; no kernel has this address.
pub(super) const OWN: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 10);
/// Where frames say that they come from.
const PEER: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);
/// The port that is listened on.
pub(super) const PORT: u16 = 7;
/// The receivers' interface.
pub(super) const RECEIVER_IF: &str = "steer0";
/// The sender's.
pub(super) const SENDER_IF: &str = "shoot0";
/// Bytes of a frame, without Ethernet's check sequence.
pub(super) const FRAME_LEN: usize = 64;
/// As many flows are sent of in turn.
pub(super) const FLOWS: u16 = 64;

/// The two ends.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) receiver: Space,
    pub(super) sender: Space,
    /// The receivers' Ethernet address.
    mac: [u8; 6],
}

impl Link {
    pub(super) fn new() -> Result<Self, Failure> {
        let (receiver, sender) = (Space::new()?, Space::new()?);
        for space in [&receiver, &sender] {
            // IPv6 would send packets of its own. A kernel without it has nothing to be switched off.
            space.inside(|| {
                let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
                run("ip link set lo up")
            })?;
        }
        let there = sender.path();
        let mac = [2, 0, 0, 0, 0x5e, 0xed];
        let text = mac.map(|byte: u8| format!("{byte:02x}")).join(":");
        receiver.inside(|| {
            run(&format!("ip link add {RECEIVER_IF} address {text} type veth peer name {SENDER_IF} netns {there}"))
        })?;
        sender.inside(|| up(SENDER_IF))?;
        receiver.inside(|| up(RECEIVER_IF))?;
        Ok(Self { receiver, sender, mac })
    }

    /// A segment of flow `number` to the port that is listened on. Its TCP checksum is wrong, so that a stack drops it
    /// after it has read all of it.
    pub(super) fn frame(&self, number: u16) -> [u8; FRAME_LEN] {
        let mut frame = [0; FRAME_LEN];
        frame[..6].copy_from_slice(&self.mac);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        // IPv4 without options (RFC 791 3.1): 50 bytes, don't fragment, 64 hops, TCP.
        let ip = &mut frame[14..34];
        ip[..10].copy_from_slice(&[0x45, 0, 0, (FRAME_LEN - 14) as u8, 0, 0, 0x40, 0, 64, 6]);
        ip[12..16].copy_from_slice(&PEER.octets());
        ip[16..20].copy_from_slice(&OWN.octets());
        let checksum = checksum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        // TCP (RFC 9293 3.1): 20 bytes of header, ACK, a window, no checksum.
        let tcp = &mut frame[34..54];
        tcp[..2].copy_from_slice(&(40_000 + number).to_be_bytes());
        tcp[2..4].copy_from_slice(&PORT.to_be_bytes());
        tcp[12..16].copy_from_slice(&[5 << 4, 0x10, 0xff, 0xff]);
        frame
    }

    /// The two ends of a flow that no frame belongs to: ours, and the peer's.
    pub(super) fn other_flow(number: u16) -> (std::net::SocketAddr, std::net::SocketAddr) {
        ((OWN, PORT).into(), (PEER, 50_000 + number).into())
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    // A header has ten words: two folds suffice.
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_a_known_header() {
        // The header without its checksum, 0xb861, as Wikipedia's article on the IPv4 checksum has it.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }
}
