//! What went over the wire, as values and as lines.

use super::rules::Verdict;
use corelane_proto::tcp::segment::Flags;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::TcpPacket;
use corelane_proto::{Instant, SocketAddr};
use std::collections::HashMap;
use std::fmt::Write;

/// Most segments that are kept; floods are counted, not kept.
const MOST_KEPT: usize = 100_000;

/// A segment that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// The host; `None` for what an attacker made.
    pub from: Option<usize>,
    /// What the network did to it.
    pub verdict: Verdict,
    /// The segment.
    pub tcp: TcpPacket,
    /// Its line: see [`Lab::wire`](super::Lab::wire).
    pub line: String,
}

/// The segments so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) sent: Vec<Sent>,
    /// Nothing more is kept.
    pub(super) off: bool,
    isns: HashMap<(SocketAddr, SocketAddr), Seq>,
}

impl Log {
    pub(super) fn add(&mut self, at: Instant, from: Option<usize>, verdict: Verdict, tcp: TcpPacket) {
        if self.off || self.sent.len() >= MOST_KEPT {
            return;
        }
        if tcp.segment.flags.has(Flags::SYN) && from.is_some() {
            self.isns.insert((tcp.src, tcp.dst), tcp.segment.seq);
        }
        let line = self.line(from, verdict, &tcp);
        self.sent.push(Sent { at, from, verdict, tcp, line });
    }

    /// Such as `A PSH,ACK 1+100 ack 1`: numbers count from the SYN of each side.
    fn line(&self, from: Option<usize>, verdict: Verdict, tcp: &TcpPacket) -> String {
        let s = &tcp.segment;
        let isn = |src, dst| self.isns.get(&(src, dst)).copied().unwrap_or(Seq(0));
        let who = from.map_or('X', |host| char::from(b'A' + host as u8));
        let mut line = format!("{who} {:?} {}", s.flags, s.seq.0.wrapping_sub(isn(tcp.src, tcp.dst).0));
        if s.len > 0 {
            let _ = write!(line, "+{}", s.len);
        }
        if s.flags.has(Flags::ACK) {
            let _ = write!(line, " ack {}", s.ack.0.wrapping_sub(isn(tcp.dst, tcp.src).0));
        }
        match verdict {
            Verdict::Pass => {}
            Verdict::Lose => line.push_str(" lost"),
            Verdict::Delay(_) => line.push_str(" late"),
            Verdict::Double(_) => line.push_str(" twice"),
            Verdict::Hold => line.push_str(" held"),
        }
        line
    }
}
