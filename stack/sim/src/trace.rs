//! Every frame that was sent, as a hash and, where somebody wants to read it, as lines.

use corelane_proto::Instant;
use corelane_proto::tcp::segment::Segment;
use corelane_proto::wire::{Body, Checksums, parse};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// What becomes of a frame on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// A host sent it.
    Sent,
    /// A host got it.
    Arrived,
    /// The link lost it, or it was damaged and nobody would notice.
    Lost,
    /// The link doubled it.
    Doubled,
    /// The link damaged it.
    Damaged,
    /// The host it arrived at had no frame to put it in.
    Starved,
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hasher: SipHasher13,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines if `keep`.
    pub fn new(keep: bool) -> Self {
        Self { hasher: SipHasher13::new_with_keys(0x636f_7265, 0x6c61_6e65), lines: keep.then(Vec::new) }
    }

    /// Something happened to a frame at `host`, which is its sender until it arrives.
    pub fn frame(&mut self, now: Instant, host: usize, fate: Fate, bytes: &[u8]) {
        self.hasher.write_u64(now.as_nanos());
        self.hasher.write_u8(fate as u8);
        self.hasher.write_usize(host);
        self.hasher.write(bytes);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now:?} host {host} {fate:<8} {}", describe(bytes), fate = format!("{fate:?}")));
        }
    }

    /// Something else happened that a reader wants to see.
    pub fn note(&mut self, now: Instant, host: usize, note: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{now:?} host {host} {}", note()));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// The lines, if they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A frame in one line.
fn describe(bytes: &[u8]) -> String {
    match parse(bytes, Checksums::VERIFY) {
        Err(error) => format!("{} bytes: {error:?}", bytes.len()),
        Ok(packet) => match packet.body {
            Body::Arp(arp) => format!("arp {:?} {} -> {}", arp.operation, arp.sender, arp.target),
            Body::Tcp(tcp) => format!("{} > {} {}", tcp.src, tcp.dst, segment(&tcp.segment)),
            Body::Icmp(icmp) | Body::Icmpv6(icmp) => format!("icmp {} > {} {:?}", icmp.src, icmp.dst, icmp.message),
        },
    }
}

fn segment(s: &Segment) -> String {
    let sack = if s.options.sack.is_empty() { String::new() } else { format!(" sack {:?}", s.options.sack) };
    format!("{:?} seq {:?} len {} ack {:?} win {}{sack}", s.flags, s.seq, s.len, s.ack, s.window)
}
