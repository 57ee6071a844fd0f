//! What the workers tell each other: the ARP replies that came to one of them.
//!
//! A network card puts what is neither TCP nor UDP on one queue, so that a worker's question for a neighbour may be
//! answered to another worker.

use corelane_proto::endpoint::InterfaceId;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// Replies that may wait for a worker; what comes when so many do is lost, as on any network.
const WAITING: usize = 256;

/// An Ethernet frame with one VLAN tag and ARP for IPv4 (RFC 826), in bytes, padded to Ethernet's least.
const LEN: usize = 64;

/// A copy of a short frame, and by which interface it came.
type Copied = (InterfaceId, [u8; LEN], usize);

/// One worker's end of what all of them share.
#[derive(Debug)]
pub struct Siblings {
    inbox: Arc<ArrayQueue<Copied>>,
    others: Vec<Arc<ArrayQueue<Copied>>>,
}

impl Siblings {
    /// The ends of `workers` workers, in their order.
    pub fn join(workers: usize) -> Vec<Self> {
        let inboxes: Vec<_> = (0..workers).map(|_| Arc::new(ArrayQueue::new(WAITING))).collect();
        let others = |own| inboxes.iter().enumerate().filter(move |(other, _)| *other != own);
        let end = |(own, inbox): (usize, &Arc<_>)| Self {
            inbox: Arc::clone(inbox),
            others: others(own).map(|(_, other)| Arc::clone(other)).collect(),
        };
        inboxes.iter().enumerate().map(end).collect()
    }

    /// Tells the others of a received frame, if it is one that they may wait for.
    pub(super) fn tell(&self, on: InterfaceId, frame: &[u8]) {
        if self.others.is_empty() || !is_arp_reply(frame) {
            return;
        }
        let len = frame.len().min(LEN);
        let mut copy = [0; LEN];
        copy[..len].copy_from_slice(&frame[..len]);
        for other in &self.others {
            // A full inbox means that its worker has not turned for long; it will ask again.
            let _ = other.push((on, copy, len));
        }
    }

    /// The next frame that another worker told of.
    pub(super) fn next(&self) -> Option<Copied> {
        self.inbox.pop()
    }
}

/// Whether the frame is an ARP reply, with or without a VLAN tag. Whether it is well-formed is the parser's business.
fn is_arp_reply(frame: &[u8]) -> bool {
    const ARP: [u8; 2] = [0x08, 0x06];
    const VLAN: [u8; 2] = [0x81, 0x00];
    const REPLY: [u8; 2] = [0, 2];
    let at = |start: usize| frame.get(start..start + 2);
    let ether_type = if at(12) == Some(&VLAN) { 16 } else { 12 };
    at(ether_type) == Some(&ARP) && at(ether_type + 8) == Some(&REPLY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arp(operation: u8, tagged: bool) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend(if tagged { &[0x81, 0, 0, 5][..] } else { &[] });
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.resize(60, 7);
        frame
    }

    #[test]
    fn replies_go_to_all_others_and_nothing_else_does() {
        let ends = Siblings::join(3);
        for frame in [arp(1, false), arp(1, true), vec![8, 6], vec![0; 60]] {
            ends[0].tell(InterfaceId::FIRST, &frame);
        }
        assert!(ends.iter().all(|end| end.next().is_none()));
        for tagged in [false, true] {
            ends[0].tell(InterfaceId::FIRST, &arp(2, tagged));
            for end in &ends[1..] {
                let (on, bytes, len) = end.next().unwrap();
                assert_eq!(on, InterfaceId::FIRST);
                assert_eq!(bytes[..len], arp(2, tagged));
            }
            assert!(ends[0].next().is_none());
        }
    }

    #[test]
    fn a_worker_that_does_not_look_costs_a_bounded_amount() {
        let ends = Siblings::join(2);
        (0..10 * WAITING).for_each(|_| ends[0].tell(InterfaceId::FIRST, &arp(2, false)));
        assert_eq!(std::iter::from_fn(|| ends[1].next()).count(), WAITING);
    }
}
