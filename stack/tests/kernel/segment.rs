//! What was on the wire: decoded segments with relative numbers, and patterns that they match.

use corelane::SocketAddr;
use corelane_proto::tcp::segment::{Flags, Segment};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Who sent a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Ours,
    Kernel,
}

/// What the wire did with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Passed,
    /// Passed on with congestion experienced in its IP header.
    Marked,
    /// Kept, and passed on when the test says so.
    Held,
    Dropped,
    /// Not the sender's: the test made it.
    Forged,
}

/// One segment on the wire.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Since the wire began.
    pub(crate) at: Duration,
    pub(crate) side: Side,
    pub(crate) fate: Fate,
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) ttl: u8,
    /// DSCP in the upper six bits, ECN in the lower two.
    pub(crate) tos: u8,
    pub(crate) segment: Segment,
    /// Sequence number, counted from the sender's SYN.
    pub(crate) seq: u32,
    /// Acknowledgment number, counted from the receiver's SYN; 0 without ACK.
    pub(crate) ack: u32,
    /// Kinds of the options in the order in which they stand; 0 is the end, 1 is padding.
    pub(crate) kinds: Vec<u8>,
    pub(crate) payload: Range<usize>,
    pub(crate) frame: Vec<u8>,
}

impl Seen {
    /// The payload's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }

    /// Whether all of these flags are set.
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.segment.flags.has(flags)
    }

    pub(crate) fn len(&self) -> u16 {
        self.segment.len
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, side, fate, src, dst, segment, seq, ack, kinds, .. } = self;
        write!(f, "{:>10.6} {side:<6?} {:>5} > {:<5} {:?}", at.as_secs_f64(), src.port, dst.port, segment.flags)?;
        write!(f, " seq {seq} ack {ack} len {} win {}", segment.len, segment.window)?;
        if segment.flags.has(Flags::URG) {
            write!(f, " urg {}", segment.urgent)?;
        }
        if let Some(timestamps) = segment.options.timestamps {
            write!(f, " ts {}/{}", timestamps.value, timestamps.echo)?;
        }
        if !segment.options.sack.is_empty() {
            write!(f, " sack {:?}", segment.options.sack)?;
        }
        if segment.flags.has(Flags::SYN) {
            let Segment { options, .. } = segment;
            write!(f, " kinds {kinds:?} mss {:?} scale {:?}", options.mss, options.window_scale)?;
        }
        if *fate == Fate::Passed { Ok(()) } else { write!(f, " {fate:?}") }
    }
}

/// The initial sequence numbers of each direction of each connection.
#[derive(Default)]
pub(crate) struct Origins(HashMap<(SocketAddr, SocketAddr), u32>);

impl Origins {
    /// A SYN begins a connection: the numbers count from here on.
    pub(crate) fn begin(&mut self, src: SocketAddr, dst: SocketAddr, segment: &Segment) {
        if segment.flags.has(Flags::SYN) {
            self.0.insert((src, dst), segment.seq.0);
        }
    }

    /// Whether `src` has not begun a connection with `dst` yet.
    pub(crate) fn is_new(&self, src: SocketAddr, dst: SocketAddr) -> bool {
        !self.0.contains_key(&(src, dst))
    }

    /// The relative numbers of a segment.
    pub(crate) fn relative(&self, src: SocketAddr, dst: SocketAddr, segment: &Segment) -> (u32, u32) {
        let from = |from, to| self.0.get(&(from, to)).copied().unwrap_or(0);
        let ack = if segment.flags.has(Flags::ACK) { segment.ack.0.wrapping_sub(from(dst, src)) } else { 0 };
        (segment.seq.0.wrapping_sub(from(src, dst)), ack)
    }
}

/// Which segments are meant. SYN, FIN, RST and URG have to be exactly those named; ACK and PSH may be set beside them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    side: Side,
    flags: Flags,
    seq: Option<u32>,
    ack: Option<u32>,
    len: Option<u16>,
    data: bool,
}

/// A segment of ours with these flags.
pub(crate) const fn ours(flags: Flags) -> Pattern {
    Pattern { side: Side::Ours, flags, seq: None, ack: None, len: None, data: false }
}

/// A segment of the kernel's with these flags.
pub(crate) const fn kernel(flags: Flags) -> Pattern {
    Pattern { side: Side::Kernel, ..ours(flags) }
}

impl Pattern {
    /// With this relative sequence number.
    pub(crate) const fn seq(self, seq: u32) -> Self {
        Self { seq: Some(seq), ..self }
    }

    /// With this relative acknowledgment number.
    pub(crate) const fn ack(self, ack: u32) -> Self {
        Self { ack: Some(ack), ..self }
    }

    /// With so many bytes of payload.
    pub(crate) const fn len(self, len: u16) -> Self {
        Self { len: Some(len), ..self }
    }

    /// With payload.
    pub(crate) const fn data(self) -> Self {
        Self { data: true, ..self }
    }

    pub(crate) fn matches(&self, seen: &Seen) -> bool {
        let exact = Flags::SYN | Flags::FIN | Flags::RST | Flags::URG;
        self.side == seen.side
            && seen.fate != Fate::Forged
            && seen.segment.flags.0 & exact.0 == self.flags.0 & exact.0
            && seen.has(self.flags)
            && self.seq.is_none_or(|seq| seq == seen.seq)
            && self.ack.is_none_or(|ack| ack == seen.ack)
            && self.len.is_none_or(|len| len == seen.len())
            && (!self.data || seen.len() > 0)
    }
}
