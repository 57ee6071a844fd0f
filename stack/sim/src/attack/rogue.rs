//! A peer that opens a connection in order and then breaks the rules.

use super::Arena;
use crate::lab::{ATTACKER_ADDR, B, End, Forge};
use corelane_proto::SocketAddr;
use corelane_proto::tcp::segment::{Flags, Options};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::TcpPacket;

/// One connection of the attacker to port 80 of B.
pub(super) struct Rogue {
    pub(super) src: SocketAddr,
    /// Its next number.
    pub(super) next: Seq,
    /// B's first number after the SYN.
    pub(super) first: Seq,
    /// B's next number, as far as it was seen.
    pub(super) seen: Seq,
    pub(super) window: u16,
    /// B's end.
    pub(super) end: End,
}

impl Rogue {
    /// Opens a connection from `port` with the options of `syn`, and offers `window` from then on.
    pub(super) fn open(arena: &mut Arena, port: u16, options: Options, window: u16) -> Option<Self> {
        let src = SocketAddr::new(ATTACKER_ADDR, port);
        let iss = Seq(u32::from(port) << 8);
        let syn = Forge::new(src, B, 80).flags(Flags::SYN).seq(iss).options(options).window(window);
        let answers = arena.hit(&syn.frame());
        let answer = answers.iter().find(|tcp| tcp.segment.flags.has(Flags::SYN | Flags::ACK))?;
        let first = answer.segment.seq + 1;
        let ack = Forge::new(src, B, 80).seq(iss + 1).ack(first).window(window);
        arena.hit(&ack.frame());
        let end = arena.lab.try_accepted(B)?;
        Some(Self { src, next: iss + 1, first, seen: first, window, end })
    }

    /// A segment that follows the rules.
    pub(super) fn segment(&self) -> Forge {
        Forge::new(self.src, B, 80).seq(self.next).ack(self.seen).window(self.window)
    }

    /// Takes note of what B has sent; says how many payload bytes those segments had.
    pub(super) fn look(&mut self, sent: &[TcpPacket]) -> u64 {
        let mine = sent.iter().filter(|tcp| tcp.dst == self.src);
        mine.map(|tcp| {
            self.seen = self.seen.max(tcp.segment.end());
            u64::from(tcp.segment.len)
        })
        .sum()
    }
}
