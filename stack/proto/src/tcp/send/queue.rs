//! What the application has handed over and the peer has not acknowledged.
//!
//! A chunk is a frame with the payload of one segment. It stays here until its last byte is acknowledged; sending it
//! again sends the same frame. The SYN is not here: SND.UNA and SND.NXT of the data space begin at ISS + 1.

use crate::memory::{Buf, Token};
use crate::tcp::seq::Seq;
use crate::time::Instant;
use alloc::collections::VecDeque;

/// The payload of one segment.
#[derive(Debug)]
pub struct Chunk {
    /// Where the bytes lie.
    pub buf: Buf,
    sent_at: Instant,
    times_sent: u8,
}

/// What an acknowledgment did to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Acked {
    /// Data bytes that it acknowledged for the first time.
    pub bytes: u32,
    /// It acknowledged our FIN.
    pub fin: bool,
    /// It ends inside of a chunk, of which the rest is still unacknowledged.
    pub cuts: bool,
    /// When the last segment that it acknowledged whole was sent, unless any of them went more than once: those behind
    /// a hole have long been there when the hole is filled (Karn, RFC 6298 3).
    pub sent_at: Option<Instant>,
}

/// The send sequence space from SND.UNA to the last byte queued, and the FIN behind it.
#[derive(Debug)]
pub struct SendQueue {
    chunks: VecDeque<Chunk>,
    /// Index of the chunk that begins at `nxt`.
    next: usize,
    una: Seq,
    nxt: Seq,
    max: Seq,
    end: Seq,
    fin: bool,
}

impl SendQueue {
    /// An empty queue whose first byte has number `first`.
    pub fn new(first: Seq) -> Self {
        Self { chunks: VecDeque::new(), next: 0, una: first, nxt: first, max: first, end: first, fin: false }
    }

    /// SND.UNA: the oldest unacknowledged number.
    pub fn una(&self) -> Seq {
        self.una
    }

    /// SND.NXT: the next number to send. It goes back to SND.UNA when everything is sent again.
    pub fn nxt(&self) -> Seq {
        self.nxt
    }

    /// The number after the last that was ever sent: what an ACK may not exceed.
    pub fn max(&self) -> Seq {
        self.max
    }

    /// Sequence numbers from SND.UNA to SND.NXT.
    pub fn in_flight(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// Sequence numbers ever sent and not acknowledged.
    pub fn outstanding(&self) -> u32 {
        self.max.since(self.una)
    }

    /// Data bytes held: sent and unsent.
    pub fn queued(&self) -> u32 {
        if self.una.after(self.end) { 0 } else { self.end.since(self.una) }
    }

    /// Data bytes that wait to be sent (or sent again from SND.NXT).
    pub fn unsent(&self) -> u32 {
        if self.nxt.after(self.end) { 0 } else { self.end.since(self.nxt) }
    }

    /// The number after the last byte queued.
    pub fn end(&self) -> Seq {
        self.end
    }

    /// Whether a FIN follows the data.
    pub fn is_finished(&self) -> bool {
        self.fin
    }

    /// Whether the FIN is the only thing left to send from SND.NXT.
    pub fn fin_is_next(&self) -> bool {
        self.fin && self.nxt == self.end
    }

    /// Whether something waits to be sent from SND.NXT.
    pub fn has_unsent(&self) -> bool {
        self.unsent() > 0 || self.fin_is_next()
    }

    /// Adds a chunk at the end. Call it only before [`finish`](Self::finish).
    pub fn push(&mut self, buf: Buf) {
        debug_assert!(!self.fin);
        self.end += u32::from(buf.len);
        self.chunks.push_back(Chunk { buf, sent_at: Instant::ZERO, times_sent: 0 });
    }

    /// The last chunk's buffer when it was never sent, so that small writes share a segment.
    pub fn open_tail(&mut self) -> Option<&mut Buf> {
        let last = self.chunks.back_mut().filter(|chunk| chunk.times_sent == 0 && !self.fin)?;
        Some(&mut last.buf)
    }

    /// `n` bytes were added to the open tail.
    pub fn grew(&mut self, n: u16) {
        self.end += u32::from(n);
    }

    /// Nothing more comes: a FIN follows.
    pub fn finish(&mut self) {
        self.fin = true;
    }

    /// The chunk that begins at SND.NXT, and whether it is the last.
    pub fn next_chunk(&mut self) -> Option<(&mut Chunk, bool)> {
        let last = self.next + 1 == self.chunks.len();
        self.chunks.get_mut(self.next).map(|chunk| (chunk, last))
    }

    /// The chunk that begins at SND.UNA, if it has been sent.
    pub fn front_sent(&mut self) -> Option<&mut Chunk> {
        self.chunks.front_mut().filter(|chunk| chunk.times_sent > 0)
    }

    /// The index of the chunk at SND.NXT, for [`split`](Self::split).
    pub fn next_index(&self) -> usize {
        self.next
    }

    /// Chunk `index` keeps its first `at` bytes; `tail` holds a copy of the rest.
    pub fn split(&mut self, index: usize, at: u16, tail: Buf) {
        if let Some(chunk) = self.chunks.get_mut(index) {
            debug_assert_eq!(u32::from(chunk.buf.len), u32::from(at) + u32::from(tail.len));
            let (sent_at, times_sent) = (chunk.sent_at, chunk.times_sent);
            chunk.buf.truncate(at);
            self.chunks.insert(index + 1, Chunk { buf: tail, sent_at, times_sent });
            if index < self.next {
                self.next += 1;
            }
        }
    }

    /// Whether the chunk at SND.NXT and the one behind it have both been sent before, are not `posted`, and fit together
    /// into `mss` bytes: what the application wrote in small pieces goes again in large ones.
    pub fn can_join(&self, mss: u16, posted: impl Fn(&Token) -> bool) -> bool {
        let mut pair = self.chunks.range(self.next.min(self.chunks.len())..).take(2);
        let (Some(first), Some(second)) = (pair.next(), pair.next()) else { return false };
        let fits = u32::from(first.buf.len) + u32::from(second.buf.len) <= u32::from(mss);
        fits && [first, second].into_iter().all(|chunk| chunk.was_sent() && !posted(&chunk.buf.token))
    }

    /// The chunk at SND.NXT has taken over the bytes of the one behind it, which were copied to its end. Gives the
    /// frame that is no longer needed.
    pub fn join(&mut self) -> Option<Token> {
        let second = self.chunks.remove(self.next + 1)?;
        let first = self.chunks.get_mut(self.next)?;
        first.buf.len += second.buf.len;
        first.times_sent = first.times_sent.max(second.times_sent);
        Some(second.buf.token)
    }

    /// The chunk at SND.NXT and the one behind it, for [`join`](Self::join).
    pub fn pair(&mut self) -> Option<(&mut Buf, &Buf)> {
        let mut pair = self.chunks.range_mut(self.next.min(self.chunks.len())..).take(2);
        Some((&mut pair.next()?.buf, &pair.next()?.buf))
    }

    /// Chunk `index`, to copy from before a split.
    pub fn chunk(&self, index: usize) -> Option<&Buf> {
        self.chunks.get(index).map(|chunk| &chunk.buf)
    }

    /// Chunk `index`, to send from.
    pub fn chunk_mut(&mut self, index: usize) -> Option<&mut Buf> {
        self.chunks.get_mut(index).map(|chunk| &mut chunk.buf)
    }

    /// The chunk at SND.NXT was sent, and the FIN with it if `fin`.
    pub fn on_sent_next(&mut self, now: Instant, fin: bool) {
        if let Some(chunk) = self.chunks.get_mut(self.next) {
            chunk.on_sent(now);
            self.nxt += u32::from(chunk.buf.len);
            self.next += 1;
        }
        if fin {
            self.on_sent_fin();
        }
        self.max = self.max.max(self.nxt);
    }

    /// The FIN was sent, alone or behind the last data.
    pub fn on_sent_fin(&mut self) {
        debug_assert!(self.fin_is_next());
        self.nxt = self.end + 1;
        self.max = self.max.max(self.nxt);
    }

    /// The chunk at SND.UNA was sent again.
    pub fn on_resent_front(&mut self, now: Instant) {
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.on_sent(now);
        }
    }

    /// Everything unacknowledged is to be sent again from SND.UNA (go-back-N after a time-out, RFC 5681 3.1).
    pub fn rewind(&mut self) {
        self.nxt = self.una;
        self.next = 0;
    }

    /// Everything before `ack`, which lies in (SND.UNA, [`max`](Self::max)], has arrived.
    pub fn on_ack(&mut self, ack: Seq, freed: &mut impl FnMut(Token)) -> Acked {
        let mut acked = Acked { fin: self.fin && ack == self.end + 1, ..Acked::default() };
        let data_ack = if acked.fin { self.end } else { ack };
        acked.bytes = data_ack.since(self.una.min(data_ack));
        let mut left = acked.bytes;
        let mut resent = false;
        while let Some(front) = self.chunks.front_mut() {
            let len = u32::from(front.buf.len);
            if len > left {
                front.buf.trim_front(u16::try_from(left).unwrap_or(u16::MAX));
                acked.cuts = left > 0;
                break;
            }
            left -= len;
            resent |= front.times_sent > 1;
            //= spec/rfc9293.txt#section-3.8.1
            //# The RTO MUST be computed according to the algorithm in [10], including Karn's algorithm for taking RTT
            //# samples (MUST-18).
            //= spec/rfc6298.txt#section-3
            //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
            //= spec/rfc6298.txt#section-3
            //# RTT samples MUST NOT be made using segments that were retransmitted
            acked.sent_at = (!resent).then_some(front.sent_at);
            if let Some(chunk) = self.chunks.pop_front() {
                freed(chunk.buf.token);
            }
            self.next = self.next.saturating_sub(1);
        }
        //= spec/rfc2018.txt#section-8
        //# Since the data receiver may later discard data reported in a SACK option, the sender MUST NOT discard data
        //# before it is acknowledged by the Acknowledgment Number field in the TCP header.
        self.una = ack;
        if self.nxt.before(ack) {
            // More was sent before the rewind than has been sent since.
            self.nxt = ack;
            self.next = 0;
        }
        acked
    }

    /// Gives every frame back.
    pub fn clear(&mut self, freed: &mut impl FnMut(Token)) {
        self.chunks.drain(..).for_each(|chunk| freed(chunk.buf.token));
        self.next = 0;
        self.nxt = self.una;
        self.end = self.una;
    }

    /// Frames that are held.
    pub fn frames(&self) -> usize {
        self.chunks.len()
    }

    /// What must hold after every event.
    pub fn check_consistency(&self) {
        if cfg!(debug_assertions) {
            let fin_end = self.end + u32::from(self.fin);
            assert!(self.una.at_or_before(self.nxt) && self.nxt.at_or_before(self.max));
            assert!(self.max.at_or_before(fin_end));
            let held: u32 = self.chunks.iter().map(|chunk| u32::from(chunk.buf.len)).sum();
            assert_eq!(held, self.queued());
            let sent: u32 = self.chunks.iter().take(self.next).map(|chunk| u32::from(chunk.buf.len)).sum();
            assert_eq!(self.una + sent, self.nxt.min(self.end).max(self.una), "SND.NXT is at a chunk's begin");
        }
    }
}

impl Chunk {
    fn on_sent(&mut self, now: Instant) {
        self.sent_at = now;
        self.times_sent = self.times_sent.saturating_add(1);
    }

    /// Whether it was sent before.
    pub fn was_sent(&self) -> bool {
        self.times_sent > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn queue_of(lens: &[u16]) -> SendQueue {
        let mut queue = SendQueue::new(Seq(u32::MAX - 5));
        for (i, len) in lens.iter().enumerate() {
            queue.push(Buf::new(Token::new(i as u32), 66, *len));
        }
        queue
    }

    #[test]
    fn frames_are_freed_when_their_last_byte_is_acknowledged() {
        let mut queue = queue_of(&[10, 10, 10]);
        let start = queue.una();
        (0..3).for_each(|i| queue.on_sent_next(Instant::from_millis(i), false));
        queue.check_consistency();
        let mut freed = Vec::new();
        let acked = queue.on_ack(start + 15, &mut |token| freed.push(token.index()));
        assert_eq!(acked, Acked { bytes: 15, fin: false, cuts: true, sent_at: Some(Instant::ZERO) });
        assert_eq!(freed, [0]);
        assert_eq!(queue.chunk(0).map(|buf| (buf.start, buf.len)), Some((71, 5)), "half of the second is left");
        queue.check_consistency();
        let acked = queue.on_ack(start + 30, &mut |token| freed.push(token.index()));
        assert_eq!(acked.sent_at, Some(Instant::from_millis(2)));
        assert_eq!(freed, [0, 1, 2]);
        queue.check_consistency();
    }

    #[test]
    fn an_acknowledgment_after_a_rewind_jumps_over_what_arrived_before() {
        let mut queue = queue_of(&[10, 10, 10, 10]);
        let start = queue.una();
        (0..4).for_each(|_| queue.on_sent_next(Instant::ZERO, false));
        queue.rewind();
        assert_eq!((queue.nxt(), queue.in_flight(), queue.outstanding()), (start, 0, 40));
        queue.on_sent_next(Instant::from_millis(9), false);
        let acked = queue.on_ack(start + 30, &mut drop);
        assert_eq!(acked.bytes, 30);
        assert_eq!(queue.nxt(), start + 30);
        queue.check_consistency();
        assert_eq!(queue.next_chunk().map(|(chunk, last)| (chunk.buf.token.index(), last)), Some((3, true)));
    }

    //= spec/rfc9293.txt#section-3.8.1
    //= type=test
    //# The RTO MUST be computed according to the algorithm in [10], including Karn's algorithm for taking RTT samples
    //# (MUST-18).
    //= spec/rfc6298.txt#section-3
    //= type=test
    //# TCP MUST use Karn's algorithm [KP87] for taking RTT samples.
    //= spec/rfc6298.txt#section-3
    //= type=test
    //# RTT samples MUST NOT be made using segments that were retransmitted
    #[test]
    fn karn_takes_no_sample_from_a_segment_that_went_twice() {
        let mut queue = queue_of(&[10]);
        let start = queue.una();
        queue.on_sent_next(Instant::ZERO, false);
        queue.on_resent_front(Instant::from_millis(5));
        assert_eq!(queue.on_ack(start + 10, &mut drop).sent_at, None);
    }

    #[test]
    fn a_filled_hole_gives_no_sample_of_what_waited_behind_it() {
        let mut queue = queue_of(&[10, 10]);
        let start = queue.una();
        (0..2).for_each(|_| queue.on_sent_next(Instant::ZERO, false));
        queue.on_resent_front(Instant::from_millis(60_000));
        assert_eq!(queue.on_ack(start + 20, &mut drop).sent_at, None, "the second arrived a minute ago");
    }

    #[test]
    fn the_fin_takes_the_number_behind_the_data() {
        let mut queue = queue_of(&[10]);
        let start = queue.una();
        queue.finish();
        assert!(queue.open_tail().is_none(), "nothing joins a chunk in front of a FIN");
        queue.on_sent_next(Instant::ZERO, true);
        assert_eq!(queue.max(), start + 11);
        queue.check_consistency();
        let acked = queue.on_ack(start + 11, &mut drop);
        assert_eq!((acked.bytes, acked.fin), (10, true));
        assert_eq!(queue.queued(), 0);
        queue.check_consistency();
    }

    #[test]
    fn a_fin_is_sent_again_after_a_rewind() {
        let mut queue = queue_of(&[]);
        queue.finish();
        assert!(queue.fin_is_next());
        queue.on_sent_fin();
        assert!(!queue.has_unsent());
        queue.rewind();
        assert!(queue.fin_is_next());
        queue.check_consistency();
    }

    #[test]
    fn small_chunks_that_go_again_are_joined() {
        let mut queue = queue_of(&[10, 10, 10]);
        let start = queue.una();
        (0..2).for_each(|_| queue.on_sent_next(Instant::ZERO, false));
        queue.rewind();
        assert!(queue.can_join(20, |_| false));
        assert!(!queue.can_join(19, |_| false));
        assert!(!queue.can_join(20, |token| token.index() == 1), "the device has the second");
        assert_eq!(queue.join().map(|token| token.index()), Some(1));
        queue.check_consistency();
        assert!(!queue.can_join(1000, |_| false), "the third was never sent");
        queue.on_sent_next(Instant::ZERO, false);
        assert_eq!(queue.nxt(), start + 20);
        queue.check_consistency();
    }

    #[test]
    fn a_split_keeps_the_stream_whole() {
        let mut queue = queue_of(&[10, 10]);
        queue.split(0, 1, Buf::new(Token::new(9), 66, 9));
        queue.check_consistency();
        queue.on_sent_next(Instant::ZERO, false);
        assert_eq!(queue.in_flight(), 1);
        assert_eq!(queue.next_chunk().map(|(chunk, _)| chunk.buf.token.index()), Some(9));
    }
}
