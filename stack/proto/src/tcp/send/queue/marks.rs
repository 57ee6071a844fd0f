//! What is known of each segment that is out: `SACKed`, lost, sent again. Which of them are lost is RACK's question, in which
//! order they go again is answered here: the lowest first.
//!
//! The work of an ACK does not grow with what is out. Ranges that are known cost a search in the scoreboard; originals are
//! judged in their order, each once, and retransmissions in the order in which they went; what is to go again waits in a
//! list of its own.

use super::{Chunk, Scoreboard, SendQueue};
use crate::memory::{Buf, Token};
use crate::tcp::seq::Seq;
use crate::tcp::transmission::{Delivered, Loss, Stamp, Verdict};
use crate::time::Instant;
use alloc::collections::VecDeque;

/// Most chunks that change their places when two become one.
const MOST_MOVED: usize = 128;

/// Segments found lost at once that are put into the list of them one by one.
const FEW: usize = 16;

/// The marks of one segment; at most one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    pub(super) const NONE: Self = Self(0);
    /// The peer holds it.
    pub(super) const SACKED: Self = Self(1);
    /// It is lost and has not been sent again since.
    pub(super) const LOST: Self = Self(2);
    /// It has been sent again and is not known to be lost.
    pub(super) const RESENT: Self = Self(4);
    /// The same, while the list of what was sent again is gone through.
    const LISTED: Self = Self(8);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What only a connection needs that has holes: it is made when the first appears, and stays.
#[derive(Debug, Default)]
pub(super) struct Holes {
    scoreboard: Scoreboard,
    /// The first numbers of the segments that are lost, in order.
    lost: VecDeque<Seq>,
    /// The segments that were sent again and when, in the order of their sending. Some are not true any more: they have
    /// arrived, or gone once more.
    resent: VecDeque<(Seq, Instant)>,
}

impl Holes {
    pub(super) fn on_ack(&mut self, una: Seq) {
        self.scoreboard.on_ack(una);
        while self.lost.front().is_some_and(|seq| seq.before(una)) {
            self.lost.pop_front();
        }
    }

    pub(super) fn add_lost(&mut self, seq: Seq) {
        let at = self.lost.partition_point(|lost| lost.before(seq));
        if self.lost.get(at) != Some(&seq) {
            self.lost.insert(at, seq);
        }
    }

    fn remove_lost(&mut self, seq: Seq) {
        let at = self.lost.partition_point(|lost| lost.before(seq));
        if self.lost.get(at) == Some(&seq) {
            self.lost.remove(at);
        }
    }
}

impl SendQueue {
    /// The index of the chunk that holds number `seq`, or of the first behind it.
    fn index_of(&self, seq: Seq) -> usize {
        let offset = seq.since(self.una);
        if offset == 0 {
            // Where most ACKs ask: the first chunk begins at SND.UNA.
            return 0;
        }
        self.chunks.partition_point(|chunk| chunk.seq.since(self.una) + u32::from(chunk.buf.len) <= offset)
    }

    //= spec/rfc2018.txt#section-5
    //# When receiving an ACK containing a SACK option, the data sender SHOULD record the selective acknowledgment for
    //# future reference.
    /// The peer says that it holds the numbers from `start` to `end`, which lie between SND.UNA and SND.NXT. Tells each
    /// segment that is covered whole and was not before.
    pub fn on_sack(&mut self, start: Seq, end: Seq, delivered: &mut impl FnMut(&Delivered<'_>)) {
        if end.after(self.end()) && self.fin_was_sent() {
            self.on_fin_delivered(false, delivered);
        }
        if self.holes.as_ref().is_some_and(|holes| holes.scoreboard.covers(start, end)) {
            return;
        }
        // Only whole segments count: half of one is sent again whole.
        let mut first = self.index_of(start);
        if self.chunks.get(first).is_some_and(|chunk| chunk.seq.before(start)) {
            first += 1;
        }
        let data_end = end.min(self.end()).min(self.nxt);
        let last = self.index_of(data_end);
        let (Some(from), to) = (self.seq_of(first), self.seq_of(last).unwrap_or(data_end)) else { return };
        if first >= last || !from.before(to) {
            return;
        }
        let mut holes = self.holes.take().unwrap_or_default();
        holes.scoreboard.insert(from, to, &mut |from, to| self.mark_sacked(from, to, delivered));
        self.holes = Some(holes);
    }

    fn mark_sacked(&mut self, from: Seq, to: Seq, delivered: &mut impl FnMut(&Delivered<'_>)) {
        let first = self.index_of(from);
        for chunk in self.chunks.range_mut(first..).take_while(|chunk| chunk.seq.before(to)) {
            let len = u32::from(chunk.buf.len);
            if chunk.marks.has(Marks::LOST) {
                self.lost -= len;
            }
            chunk.marks = Marks::SACKED;
            self.sacked += len;
            self.sacked_chunks += 1;
            let (start, stamp, times_sent) = (chunk.seq, &chunk.stamp, chunk.times_sent);
            delivered(&Delivered { stamp, start, end: start + len, times_sent, cumulative: false });
        }
    }

    /// The FIN has arrived, by the ACK's number or by a block.
    pub(super) fn on_fin_delivered(&mut self, cumulative: bool, delivered: &mut impl FnMut(&Delivered<'_>)) {
        let (marks, start) = (self.fin.marks, self.end());
        if !marks.has(Marks::SACKED) {
            self.lost -= u32::from(marks.has(Marks::LOST));
            let (stamp, times_sent) = (&self.fin.stamp, self.fin.times_sent);
            delivered(&Delivered { stamp, start, end: start + 1, times_sent, cumulative });
            self.sacked += u32::from(!cumulative);
        } else if cumulative {
            self.sacked -= 1;
        }
        self.fin.marks = if cumulative { Marks::NONE } else { Marks::SACKED };
    }

    /// Numbers that the peer holds ahead of SND.UNA.
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// How many segments it holds there.
    pub fn sacked_segments(&self) -> u32 {
        self.sacked_chunks
    }

    /// Whether the peer holds the very segment that it does not acknowledge: it has thrown it away.
    pub fn is_reneged(&self) -> bool {
        self.chunks.front().is_some_and(|chunk| chunk.marks.has(Marks::SACKED))
    }

    /// Asks `judge` for each segment that is out, by the time of its sending and the number after its last, in the order
    /// of sending; tells `lost` of each that is. Gives the moment at which to ask again.
    pub fn find_lost(
        &mut self,
        judge: impl Fn(Instant, Seq) -> Verdict,
        lost: &mut dyn FnMut(&Loss),
    ) -> Option<Instant> {
        // What went again is mostly the lowest: so the list of what is lost grows at its end.
        let listed = self.listed();
        let resent = self.judge_resent(&judge, lost);
        let originals = self.judge_originals(&judge, lost);
        self.order_lost(listed);
        let fin = self.judge_fin(&judge, lost);
        [originals, resent, fin].into_iter().flatten().min()
    }

    fn judge_originals(
        &mut self,
        judge: &impl Fn(Instant, Seq) -> Verdict,
        lost: &mut dyn FnMut(&Loss),
    ) -> Option<Instant> {
        let mut index = self.index_of(self.judged);
        while index < self.next {
            let chunk = self.chunks.get(index)?;
            let end = chunk.end();
            if chunk.marks == Marks::NONE {
                match judge(chunk.stamp.at, end) {
                    Verdict::Lost => self.mark_lost(index, lost),
                    Verdict::Wait(until) => return Some(until),
                    Verdict::Open => return None,
                }
            }
            self.judged = end;
            index += 1;
        }
        None
    }

    fn judge_resent(
        &mut self,
        judge: &impl Fn(Instant, Seq) -> Verdict,
        lost: &mut dyn FnMut(&Loss),
    ) -> Option<Instant> {
        loop {
            let &(seq, at) = self.holes.as_ref()?.resent.front()?;
            if let Some((index, end)) = self.resent_at(seq, at) {
                match judge(at, end) {
                    Verdict::Lost => self.mark_lost(index, lost),
                    Verdict::Wait(until) => return Some(until),
                    Verdict::Open => return None,
                }
            }
            self.holes.as_mut()?.resent.pop_front();
        }
    }

    /// The segment with number `seq`, if `at` is when it was sent last, and the number after its last.
    fn resent_at(&self, seq: Seq, at: Instant) -> Option<(usize, Seq)> {
        let index = self.index_of(seq.max(self.una));
        let chunk = self.chunks.get(index)?;
        let is_it = chunk.marks == Marks::RESENT && chunk.stamp.at == at && chunk.first_sent() == seq;
        is_it.then(|| (index, chunk.end()))
    }

    fn judge_fin(&mut self, judge: &impl Fn(Instant, Seq) -> Verdict, lost: &mut dyn FnMut(&Loss)) -> Option<Instant> {
        let end = self.end() + 1;
        if !self.fin_was_sent() || self.fin.marks != Marks::NONE || self.una == end {
            return None;
        }
        match judge(self.fin.stamp.at, end) {
            Verdict::Lost => {
                self.fin.marks = Marks::LOST;
                self.lost += 1;
                lost(&Loss { bytes: 1, stamp: self.fin.stamp });
                None
            }
            Verdict::Wait(until) => Some(until),
            Verdict::Open => None,
        }
    }

    fn mark_lost(&mut self, index: usize, lost: &mut dyn FnMut(&Loss)) {
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        if chunk.marks.has(Marks::SACKED) || chunk.marks.has(Marks::LOST) {
            return;
        }
        chunk.marks = Marks::LOST;
        let (bytes, stamp, seq) = (u32::from(chunk.buf.len), chunk.stamp, chunk.seq);
        self.lost += bytes;
        self.holes.get_or_insert_default().lost.push_back(seq);
        lost(&Loss { bytes, stamp });
    }

    /// How many are listed as lost: what comes behind them is to be put in its place.
    fn listed(&self) -> usize {
        self.holes.as_ref().map_or(0, |holes| holes.lost.len())
    }

    /// Puts what has been added behind the first `listed` in its place: one by one where it is little, else the list is made
    /// anew, so that a whole window that is lost at once costs each segment a step.
    fn order_lost(&mut self, listed: usize) {
        let Some(holes) = &mut self.holes else { return };
        let begins = listed.saturating_sub(1).min(holes.lost.len());
        let added = holes.lost.range(begins..);
        if added.clone().zip(added.skip(1)).all(|(one, next)| one.before(*next)) {
            return;
        }
        if holes.lost.len() - listed > FEW {
            let lost = self.chunks.iter().filter(|chunk| chunk.marks.has(Marks::LOST));
            holes.lost.clear();
            holes.lost.extend(lost.map(|chunk| chunk.seq));
            return;
        }
        let mut added = [Seq(0); FEW];
        let mut few = 0;
        while holes.lost.len() > listed
            && let Some((place, seq)) = added.get_mut(few).zip(holes.lost.pop_back())
        {
            *place = seq;
            few += 1;
        }
        added.iter().take(few).for_each(|seq| holes.add_lost(*seq));
    }

    /// The segment at SND.UNA is lost.
    pub fn lose_front(&mut self, lost: &mut dyn FnMut(&Loss)) {
        let listed = self.listed();
        self.mark_front_lost(lost);
        self.order_lost(listed);
    }

    fn mark_front_lost(&mut self, lost: &mut dyn FnMut(&Loss)) {
        if self.next > 0 {
            self.mark_lost(0, lost);
        } else {
            self.lose_fin(lost);
        }
    }

    fn lose_fin(&mut self, lost: &mut dyn FnMut(&Loss)) {
        if self.fin_was_sent() && self.fin.marks == Marks::NONE && self.una != self.end() + 1 {
            self.fin.marks = Marks::LOST;
            self.lost += 1;
            lost(&Loss { bytes: 1, stamp: self.fin.stamp });
        }
    }

    /// Everything that is out and was sent no later than `before` is lost, and what is at SND.UNA in any case.
    //= spec/rfc8985.txt#section-6.3
    //# Upon RTO timer expiration, RACK marks the first outstanding segment
    //# as lost (since it was sent an RTO ago); for all the other segments,
    //# RACK only marks the segment as lost if the time elapsed since the
    //# segment was transmitted is at least the sum of the recent RTT and the
    //# reordering window.
    pub fn lose_all(&mut self, before: Instant, lost: &mut dyn FnMut(&Loss)) {
        let listed = self.listed();
        self.mark_front_lost(lost);
        for index in 0..self.next {
            if self.chunks.get(index).is_some_and(|chunk| chunk.stamp.at <= before) {
                self.mark_lost(index, lost);
            }
        }
        if self.fin.stamp.at <= before {
            self.lose_fin(lost);
        }
        self.order_lost(listed);
    }

    /// What the peer has said that it holds does not count any more.
    pub fn forget_sacks(&mut self) {
        self.take_back(Marks::SACKED);
        (self.sacked, self.sacked_chunks) = (0, 0);
        if let Some(holes) = &mut self.holes {
            holes.scoreboard.clear();
        }
    }

    /// What was found lost and has not gone again was not lost. Gives its bytes.
    pub fn unlose(&mut self) -> u32 {
        self.take_back(Marks::LOST);
        if let Some(holes) = &mut self.holes {
            holes.lost.clear();
        }
        core::mem::take(&mut self.lost)
    }

    /// Whatever has this mark is on its way, and is judged anew.
    fn take_back(&mut self, mark: Marks) {
        if self.fin.marks.has(mark) {
            self.fin.marks = Marks::NONE;
        }
        self.judged = self.una;
        let Some(holes) = &mut self.holes else { return };
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.marks.has(mark)) {
            chunk.marks = if chunk.times_sent > 1 { Marks::RESENT } else { Marks::NONE };
        }
        let resent = self.chunks.iter().filter(|chunk| chunk.marks == Marks::RESENT);
        holes.resent.clear();
        holes.resent.extend(resent.map(|chunk| (chunk.first_sent(), chunk.stamp.at)));
        holes.resent.make_contiguous().sort_by_key(|(_, at)| *at);
    }

    /// The lowest segment that has to go again.
    pub fn next_lost(&mut self) -> Option<usize> {
        loop {
            let seq = *self.holes.as_ref()?.lost.front()?;
            let index = self.index_of(seq);
            if self.chunks.get(index).is_some_and(|chunk| chunk.marks.has(Marks::LOST)) {
                return Some(index);
            }
            self.holes.as_mut()?.lost.pop_front();
        }
    }

    /// Whether the FIN, which was sent without data, has to go again.
    pub fn fin_is_lost(&self) -> bool {
        self.fin.marks.has(Marks::LOST)
    }

    /// The segment that was sent last, for a probe of the tail.
    pub fn last_sent(&self) -> Option<usize> {
        self.next.checked_sub(1)
    }

    /// Chunk `index` is sent again, and the FIN with it if `fin`.
    pub fn on_sent_again(&mut self, index: usize, stamp: Stamp, fin: bool) {
        let Some(chunk) = self.chunks.get_mut(index) else { return };
        if chunk.marks.has(Marks::LOST) {
            self.lost -= u32::from(chunk.buf.len);
        }
        if !chunk.marks.has(Marks::SACKED) {
            chunk.marks = Marks::RESENT;
        }
        (chunk.stamp, chunk.trimmed) = (stamp, 0);
        chunk.times_sent = chunk.times_sent.saturating_add(1);
        let seq = chunk.seq;
        let holes = self.holes.get_or_insert_default();
        holes.remove_lost(seq);
        holes.resent.push_back((seq, stamp.at));
        self.bound_resent();
        if fin {
            self.on_sent_fin(stamp);
        }
    }

    /// Most that the list of what was sent again may hold.
    fn most_resent(&self) -> usize {
        2 * self.chunks.len() + 16
    }

    /// Drops from that list what is not true any more, when it has become long.
    pub(super) fn bound_resent(&mut self) {
        let most = self.most_resent();
        let Some(mut holes) = self.holes.take_if(|holes| holes.resent.len() > most) else { return };
        // Two sendings in the same moment are one: a segment that is listed is not found again.
        holes.resent.retain(|&(seq, at)| {
            let chunk = self.resent_at(seq, at).and_then(|(index, _)| self.chunks.get_mut(index));
            chunk.map(|chunk| chunk.marks = Marks::LISTED).is_some()
        });
        for &(seq, _) in &holes.resent {
            let index = self.index_of(seq.max(self.una));
            if let Some(chunk) = self.chunks.get_mut(index) {
                chunk.marks = Marks::RESENT;
            }
        }
        self.holes = Some(holes);
    }

    pub(super) fn on_split(&mut self, tail: Seq, marks: Marks) {
        let Some(holes) = &mut self.holes else { return };
        if marks.has(Marks::LOST) {
            holes.add_lost(tail);
        }
        debug_assert!(!marks.has(Marks::SACKED), "what has arrived is not sent again");
    }

    /// Whether chunk `index` and the one behind it are both lost, are not `posted`, and fit together into `mss` bytes:
    /// what the application wrote in small pieces goes again in large ones. Not in the middle of a long queue, where each
    /// join would move half of it.
    pub fn can_join(&self, index: usize, mss: u16, posted: impl Fn(&Token) -> bool) -> bool {
        let (Some(first), Some(second)) = (self.chunks.get(index), self.chunks.get(index + 1)) else { return false };
        let moved = index.min(self.chunks.len() - index);
        let fits = moved <= MOST_MOVED && u32::from(first.buf.len) + u32::from(second.buf.len) <= u32::from(mss);
        fits && [first, second].into_iter().all(|chunk| chunk.marks.has(Marks::LOST) && !posted(&chunk.buf.token))
    }

    /// Chunk `index` has taken over the bytes of the one behind it, which were copied to its end. Gives the frame that is
    /// no longer needed.
    pub fn join(&mut self, index: usize) -> Option<Token> {
        let second = self.chunks.remove(index + 1)?;
        let first = self.chunks.get_mut(index)?;
        first.buf.len += second.buf.len;
        first.times_sent = first.times_sent.max(second.times_sent);
        self.next -= usize::from(index + 1 < self.next);
        self.holes.as_mut()?.remove_lost(second.seq);
        self.bound_resent();
        Some(second.buf.token)
    }

    /// Chunk `index` and the one behind it, for [`join`](Self::join).
    pub fn pair(&mut self, index: usize) -> Option<(&mut Buf, &Buf)> {
        let mut pair = self.chunks.range_mut(index.min(self.chunks.len())..).take(2);
        Some((&mut pair.next()?.buf, &pair.next()?.buf))
    }

    pub(super) fn check_holes(&self) {
        let Some(holes) = &self.holes else { return assert_eq!((self.sacked_chunks, self.next_marked()), (0, 0)) };
        holes.scoreboard.check_consistency(self.una, self.nxt);
        let known: u32 = holes.scoreboard.ranges().map(|(from, to)| to.since(from)).sum();
        assert_eq!(known + u32::from(self.fin.marks.has(Marks::SACKED)), self.sacked, "scoreboard and marks agree");
        let listed = |chunk: &Chunk| holes.lost.iter().any(|seq| *seq == chunk.seq);
        for chunk in self.chunks.iter().filter(|chunk| chunk.marks.has(Marks::LOST)) {
            assert!(listed(chunk), "{:?} is lost and nobody sends it again", chunk.seq);
        }
        assert!(holes.lost.len() <= self.chunks.len() && holes.resent.len() <= self.most_resent());
    }

    fn next_marked(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.marks != Marks::NONE).count()
    }
}

impl Chunk {
    /// The number of the first byte that it had when it was sent last.
    fn first_sent(&self) -> Seq {
        self.seq - u32::from(self.trimmed)
    }

    /// The number after its last byte.
    fn end(&self) -> Seq {
        self.seq + u32::from(self.buf.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A join in the middle of 16,000 chunks would move some 800 kilobytes.
    #[test]
    fn small_chunks_become_one_only_near_an_end_of_the_queue() {
        let mut queue = SendQueue::new(Seq(0));
        for index in 0..1000 {
            queue.push(Buf::new(Token::new(index), 0, 10));
            queue.on_sent_new(Stamp::default(), false);
        }
        queue.lose_all(Instant::ZERO, &mut |_| {});
        let joins = |index| queue.can_join(index, 20, |_| false);
        assert!(joins(0) && joins(MOST_MOVED) && joins(1000 - MOST_MOVED) && joins(998));
        assert!(!joins(MOST_MOVED + 1) && !joins(500) && !joins(999 - MOST_MOVED) && !joins(999));
        queue.clear(&mut |_| {});
    }
}
