//! What the application has handed over and the peer has not acknowledged.
//!
//! A chunk is a frame with the payload of one segment. It stays here until its last byte is acknowledged; sending it
//! again sends the same frame. The SYN is not here: SND.UNA and SND.NXT of the data space begin at ISS + 1. What has
//! arrived ahead of SND.UNA, what is lost and what has gone again is marked at the chunks, in `marks.rs`.

mod marks;
mod scoreboard;

use crate::memory::{Buf, Token};
use crate::tcp::seq::Seq;
use crate::tcp::transmission::{Delivered, Stamp};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use marks::{Holes, Marks};
use scoreboard::Scoreboard;

/// The payload of one segment.
#[derive(Debug)]
pub struct Chunk {
    /// Where the bytes lie.
    pub buf: Buf,
    seq: Seq,
    marks: Marks,
    times_sent: u8,
    /// Bytes at its front that have been acknowledged since it was sent.
    trimmed: u16,
    stamp: Stamp,
}

/// The FIN behind the data.
#[derive(Debug, Default)]
struct Fin {
    queued: bool,
    marks: Marks,
    times_sent: u8,
    stamp: Stamp,
}

/// What an acknowledgment did to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Acked {
    /// Data bytes that it acknowledged for the first time.
    pub bytes: u32,
    /// Chunks of which it acknowledged the last byte.
    pub chunks: u16,
    /// It acknowledged our FIN.
    pub fin: bool,
    /// It ends inside of a chunk, of which the rest is still unacknowledged.
    pub cuts: bool,
}

/// The send sequence space from SND.UNA to the last byte queued, and the FIN behind it.
#[derive(Debug)]
pub struct SendQueue {
    chunks: VecDeque<Chunk>,
    /// Index of the chunk that begins at `nxt`.
    next: usize,
    una: Seq,
    nxt: Seq,
    end: Seq,
    /// Numbers `SACKed`, and found lost and not sent again since.
    sacked: u32,
    lost: u32,
    /// Chunks `SACKed`.
    sacked_chunks: u32,
    /// Every original before this has arrived, is lost, or has gone again.
    judged: Seq,
    fin: Fin,
    /// What only a connection with holes needs.
    holes: Option<Box<Holes>>,
}

impl SendQueue {
    /// An empty queue whose first byte has number `first`.
    pub fn new(first: Seq) -> Self {
        Self {
            chunks: VecDeque::new(),
            next: 0,
            una: first,
            nxt: first,
            end: first,
            sacked: 0,
            lost: 0,
            sacked_chunks: 0,
            judged: first,
            fin: Fin::default(),
            holes: None,
        }
    }

    /// SND.UNA: the oldest unacknowledged number.
    pub fn una(&self) -> Seq {
        self.una
    }

    /// SND.NXT: the number after the last that was ever sent, what an ACK may not exceed.
    pub fn nxt(&self) -> Seq {
        self.nxt
    }

    /// Sequence numbers sent and not acknowledged: `FlightSize`.
    pub fn outstanding(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// Sequence numbers that are probably in the network: sent, and neither acknowledged nor `SACKed` nor found lost.
    //= spec/rfc6675.txt#section-4
    //# This routine traverses the sequence space from HighACK to HighData
    //# and MUST set the "pipe" variable to an estimate of the number of
    //# octets that are currently in transit between the TCP sender and
    //# the TCP receiver.
    // It is kept up to date instead.
    pub fn pipe(&self) -> u32 {
        self.outstanding().saturating_sub(self.sacked).saturating_sub(self.lost)
    }

    /// Data bytes held: sent and unsent.
    pub fn queued(&self) -> u32 {
        if self.una.after(self.end) { 0 } else { self.end.since(self.una) }
    }

    /// Data bytes that wait to be sent for the first time.
    pub fn unsent(&self) -> u32 {
        if self.nxt.after(self.end) { 0 } else { self.end.since(self.nxt) }
    }

    /// The number after the last byte queued.
    pub fn end(&self) -> Seq {
        self.end
    }

    /// Whether a FIN follows the data.
    pub fn is_finished(&self) -> bool {
        self.fin.queued
    }

    /// Whether the FIN is the only thing left to send for the first time.
    pub fn fin_is_next(&self) -> bool {
        self.fin.queued && self.nxt == self.end
    }

    /// Whether something waits to be sent, for the first time or again.
    pub fn has_unsent(&self) -> bool {
        self.unsent() > 0 || self.fin_is_next() || self.lost > 0
    }

    /// Adds a chunk at the end. Call it only before [`finish`](Self::finish).
    pub fn push(&mut self, buf: Buf) {
        debug_assert!(!self.fin.queued);
        let seq = self.end;
        self.end += u32::from(buf.len);
        self.chunks.push_back(Chunk {
            buf,
            seq,
            marks: Marks::NONE,
            times_sent: 0,
            trimmed: 0,
            stamp: Stamp::default(),
        });
    }

    /// The last chunk's buffer when it was never sent, so that small writes share a segment.
    pub fn open_tail(&mut self) -> Option<&mut Buf> {
        let last = self.chunks.back_mut().filter(|chunk| chunk.times_sent == 0 && !self.fin.queued)?;
        Some(&mut last.buf)
    }

    /// `n` bytes were added to the open tail.
    pub fn grew(&mut self, n: u16) {
        self.end += u32::from(n);
    }

    /// Nothing more comes: a FIN follows.
    pub fn finish(&mut self) {
        self.fin.queued = true;
    }

    /// The index of the chunk that begins at SND.NXT, if there is one.
    pub fn next_new(&self) -> Option<usize> {
        (self.next < self.chunks.len()).then_some(self.next)
    }

    /// How many bytes before `index` the chunk begins, counted from SND.UNA, its length, and whether it is the last.
    pub fn place_of(&self, index: usize) -> Option<(u32, u16, bool)> {
        let chunk = self.chunks.get(index)?;
        Some((chunk.seq.since(self.una), chunk.buf.len, index + 1 == self.chunks.len()))
    }

    /// When the chunk before SND.NXT was sent, if it was sent once.
    pub fn newest_sent_at(&self) -> Option<Instant> {
        let newest = self.chunks.get(self.next.checked_sub(1)?)?;
        (newest.times_sent == 1).then_some(newest.stamp.at)
    }

    /// The number of the first byte of chunk `index`.
    pub fn seq_of(&self, index: usize) -> Option<Seq> {
        self.chunks.get(index).map(|chunk| chunk.seq)
    }

    /// Chunk `index` keeps its first `at` bytes; `tail` holds a copy of the rest.
    pub fn split(&mut self, index: usize, at: u16, tail: Buf) {
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        debug_assert_eq!(u32::from(chunk.buf.len), u32::from(at) + u32::from(tail.len));
        chunk.buf.truncate(at);
        let Chunk { seq, marks, times_sent, stamp, .. } = *chunk;
        let seq = seq + u32::from(at);
        self.chunks.insert(index + 1, Chunk { buf: tail, seq, marks, times_sent, trimmed: 0, stamp });
        if index < self.next {
            self.next += 1;
        }
        self.on_split(seq, marks);
    }

    /// Chunk `index`, to copy from before a split.
    pub fn chunk(&self, index: usize) -> Option<&Buf> {
        self.chunks.get(index).map(|chunk| &chunk.buf)
    }

    /// Chunk `index`, to send from.
    pub fn chunk_mut(&mut self, index: usize) -> Option<&mut Buf> {
        self.chunks.get_mut(index).map(|chunk| &mut chunk.buf)
    }

    /// The chunk at SND.NXT is sent for the first time, and the FIN with it if `fin`.
    pub fn on_sent_new(&mut self, stamp: Stamp, fin: bool) {
        if let Some(chunk) = self.chunks.get_mut(self.next) {
            (chunk.stamp, chunk.times_sent) = (stamp, 1);
            self.nxt += u32::from(chunk.buf.len);
            self.next += 1;
        }
        if fin {
            self.on_sent_fin(stamp);
        }
    }

    /// The FIN is sent, alone or behind the last data, for the first time or again.
    pub fn on_sent_fin(&mut self, stamp: Stamp) {
        debug_assert!(self.fin.queued);
        self.fin.stamp = stamp;
        self.fin.times_sent = self.fin.times_sent.saturating_add(1);
        if self.fin.marks.has(Marks::LOST) {
            self.lost -= 1;
            self.fin.marks = Marks::NONE;
        }
        self.nxt = self.end + 1;
    }

    /// Whether the FIN has been sent.
    pub fn fin_was_sent(&self) -> bool {
        self.nxt.after(self.end)
    }

    /// Everything before `ack`, which lies in (SND.UNA, SND.NXT], has arrived. Tells each frame that is free, and each
    /// segment that had not been `SACKed`.
    pub fn on_ack(
        &mut self,
        ack: Seq,
        freed: &mut impl FnMut(Token),
        delivered: &mut impl FnMut(&Delivered<'_>),
    ) -> Acked {
        let fin = self.fin.queued && ack == self.end + 1;
        let data_ack = if fin { self.end } else { ack };
        let mut acked = Acked { fin, bytes: data_ack.since(self.una.min(data_ack)), ..Acked::default() };
        let mut left = acked.bytes;
        while let Some(front) = self.chunks.front_mut().filter(|_| left > 0) {
            let len = u32::from(front.buf.len);
            let part = len.min(left);
            left -= part;
            let marks = front.marks;
            if marks.has(Marks::SACKED) {
                self.sacked -= part;
            } else {
                if marks.has(Marks::LOST) {
                    self.lost -= part;
                }
                let (start, end) = (front.seq, front.seq + part);
                let (stamp, times_sent) = (&front.stamp, front.times_sent);
                delivered(&Delivered { stamp, start, end, times_sent, cumulative: true });
            }
            if part < len {
                let part16 = u16::try_from(part).unwrap_or(u16::MAX);
                front.buf.trim_front(part16);
                front.trimmed = front.trimmed.saturating_add(part16);
                front.seq += part;
                acked.cuts = true;
                break;
            }
            self.sacked_chunks -= u32::from(marks.has(Marks::SACKED));
            acked.chunks = acked.chunks.saturating_add(1);
            if let Some(chunk) = self.chunks.pop_front() {
                freed(chunk.buf.token);
            }
            self.next = self.next.saturating_sub(1);
        }
        if fin {
            self.on_fin_delivered(true, delivered);
        }
        //= spec/rfc2018.txt#section-8
        //# Since the data receiver may later discard data reported in a SACK option, the sender MUST NOT discard data
        //# before it is acknowledged by the Acknowledgment Number field in the TCP header.
        self.una = ack;
        self.judged = self.judged.max(ack);
        if let Some(holes) = &mut self.holes {
            holes.on_ack(ack);
            if self.chunks.front().is_some_and(|front| front.marks.has(Marks::LOST)) {
                // The rest of a segment that was acknowledged in part is still lost.
                holes.add_lost(ack);
            }
            self.bound_resent();
        }
        acked
    }

    /// Gives every frame back.
    pub fn clear(&mut self, freed: &mut impl FnMut(Token)) {
        self.chunks.drain(..).for_each(|chunk| freed(chunk.buf.token));
        *self = Self { chunks: core::mem::take(&mut self.chunks), ..Self::new(self.una) };
    }

    /// Segments sent and not acknowledged.
    pub fn sent_segments(&self) -> usize {
        self.next + usize::from(self.fin_was_sent() && self.next == 0)
    }

    /// Frames that are held.
    pub fn frames(&self) -> usize {
        self.chunks.len()
    }

    /// What must hold after every event.
    pub fn check_consistency(&self) {
        if cfg!(debug_assertions) {
            let fin_end = self.end + u32::from(self.fin.queued);
            assert!(self.una.at_or_before(self.nxt) && self.nxt.at_or_before(fin_end));
            let mut at = self.una.min(self.end);
            let (mut sacked, mut lost, mut chunks) = (0, 0, 0);
            for (index, chunk) in self.chunks.iter().enumerate() {
                assert_eq!(chunk.seq, at, "chunk {index} follows the one before it");
                assert_eq!(chunk.times_sent > 0, index < self.next, "chunk {index} of {} sent ones", self.next);
                let len = u32::from(chunk.buf.len);
                sacked += if chunk.marks.has(Marks::SACKED) { len } else { 0 };
                lost += if chunk.marks.has(Marks::LOST) { len } else { 0 };
                chunks += u32::from(chunk.marks.has(Marks::SACKED));
                at += len;
                if index + 1 == self.next {
                    assert_eq!(at, self.nxt.min(self.end), "SND.NXT is at a chunk's begin");
                }
            }
            assert_eq!(at.since(self.una.min(self.end)), self.queued());
            sacked += u32::from(self.fin.marks.has(Marks::SACKED));
            lost += u32::from(self.fin.marks.has(Marks::LOST));
            assert_eq!((sacked, lost, chunks), (self.sacked, self.lost, self.sacked_chunks));
            assert!(sacked + lost <= self.outstanding());
            self.check_holes();
        }
    }
}

impl Chunk {
    /// Whether it was sent before.
    pub fn was_sent(&self) -> bool {
        self.times_sent > 0
    }
}
