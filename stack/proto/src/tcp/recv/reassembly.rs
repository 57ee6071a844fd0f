//! Received data: in order and ready to read, or ahead of a gap (RFC 9293 3.10.7.4, seventh step).

use crate::memory::{Buf, Token};
use crate::tcp::segment::SackBlocks;
use crate::tcp::seq::Seq;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// What became of a segment's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// It, and perhaps what waited behind it, is ready: this many bytes.
    InOrder(u32),
    /// It waits for a gap to fill.
    Ahead,
    /// All of it was there already.
    Duplicate,
    /// There was no room for another piece ahead of a gap.
    Full,
}

#[derive(Debug)]
struct Piece {
    seq: Seq,
    buf: Buf,
}

impl Piece {
    fn end(&self) -> Seq {
        self.seq + u32::from(self.buf.len)
    }
}

/// How many ranges are remembered in the order in which they grew: what fits into an option beside timestamps.
const RECENT: usize = 4;

/// What waits ahead of gaps. A connection that never had a gap has none of this.
#[derive(Debug, Default)]
struct Ahead {
    /// In the order of the stream; none overlap.
    pieces: VecDeque<Piece>,
    /// The ranges that the pieces make where they touch, so that telling of them costs nothing for each piece.
    ranges: VecDeque<(Seq, Seq)>,
    /// A number in each of the ranges that grew last, the latest in front.
    recent: [Seq; RECENT],
    /// How many of these there are.
    recents: u8,
    /// The range that came last although it was there already (RFC 2883), until it is told.
    duplicate: Option<(Seq, Seq)>,
    /// Where the piece lies that came last.
    latest: usize,
}

/// How many buffers are looked at for bytes that have come before.
const FEW: usize = 4;

/// So many frames may be held whatever is in them; with more, small payloads move together.
const LOOSE: usize = 8;

/// Bytes of a new segment that were there before: where they are held, and where they are in the new one.
#[derive(PartialEq, Eq, Debug)]
pub struct Overlap<'a> {
    /// The buffer that holds them.
    pub held: &'a Buf,
    /// The first of them in it.
    pub held_at: u16,
    /// The first of them in the new payload.
    pub new_at: u16,
    /// How many.
    pub len: u16,
}

/// The pieces of a connection's byte stream that have come. Where two overlap, the bytes that came first stay.
#[derive(Debug, Default)]
pub struct Reassembly {
    ready: VecDeque<Buf>,
    ahead: Option<Box<Ahead>>,
}

impl Reassembly {
    /// Takes the payload `buf` that begins at `seq`, when `next` is the next byte expected. At most `limit` pieces
    /// wait ahead of gaps. Frames that are not kept go to `freed`.
    pub fn insert(
        &mut self,
        next: Seq,
        mut seq: Seq,
        mut buf: Buf,
        limit: usize,
        freed: &mut impl FnMut(Token),
    ) -> Inserted {
        if seq.before(next) {
            let seen = next.since(seq);
            self.on_duplicate(seq, seq + seen.min(u32::from(buf.len)));
            if seen >= u32::from(buf.len) {
                freed(buf.token);
                return Inserted::Duplicate;
            }
            buf.trim_front(u16::try_from(seen).unwrap_or(u16::MAX));
            seq = next;
        }
        if seq == next {
            return Inserted::InOrder(self.append(next, buf, freed));
        }
        //= spec/rfc9293.txt#section-3.10.7.4
        //# Segments with higher beginning sequence numbers SHOULD be held for later processing (SHLD-31).
        self.ahead.get_or_insert_default().insert(seq, buf, limit, freed)
    }

    /// Appends bytes that begin at `next`, then everything that waited just behind them.
    fn append(&mut self, next: Seq, mut buf: Buf, freed: &mut impl FnMut(Token)) -> u32 {
        let Some(ahead) = self.ahead.as_mut().filter(|ahead| !ahead.pieces.is_empty()) else {
            let advanced = u32::from(buf.len);
            self.ready.push_back(buf);
            return advanced;
        };
        // Bytes that wait ahead came first, so they win over the end of this buffer.
        if let Some(first) = ahead.pieces.front() {
            let room = first.seq.since(next);
            if u32::from(buf.len) > room {
                ahead.duplicate = Some((first.seq, first.end().min(next + u32::from(buf.len))));
            }
            buf.truncate(u16::try_from(room).unwrap_or(u16::MAX));
        }
        let mut advanced = u32::from(buf.len);
        self.ready.push_back(buf);
        while let Some(piece) = ahead.pieces.pop_front_if(|piece| piece.seq == next + advanced) {
            if piece.buf.len == 0 {
                freed(piece.buf.token);
                continue;
            }
            advanced += u32::from(piece.buf.len);
            self.ready.push_back(piece.buf);
        }
        while ahead.ranges.pop_front_if(|(left, _)| left.before(next + advanced)).is_some() {}
        advanced
    }

    /// The bytes from `left` to `right` came although they were there already: the next SACK option says so.
    pub fn on_duplicate(&mut self, left: Seq, right: Seq) {
        self.ahead.get_or_insert_default().duplicate = Some((left, right));
    }

    /// Whether something came twice and the peer has not been told.
    pub fn has_duplicate(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.duplicate.is_some())
    }

    /// Two neighbouring buffers of which the second is small and fits behind the first in a frame of `frame_len` bytes,
    /// where a segment has come last: its bytes are to be copied there, then comes [`join`](Self::join). A peer that
    /// sends a byte in each segment would otherwise hold a frame with each.
    pub fn small_pair(&mut self, frame_len: usize) -> Option<(&mut Buf, &Buf)> {
        let fits = |first: &Buf, second: &Buf| {
            let end = usize::from(first.start) + usize::from(first.len) + usize::from(second.len);
            end <= frame_len && usize::from(second.len) <= frame_len / 4
        };
        if self.ready.len() > LOOSE {
            let at = self.ready.len() - 2;
            let mut pair = self.ready.range_mut(at..);
            return pair.next().zip(pair.next().map(|second| &*second)).filter(|(first, second)| fits(first, second));
        }
        let ahead = self.ahead.as_mut().filter(|ahead| ahead.pieces.len() > LOOSE)?;
        let latest = ahead.latest;
        // The piece that came last may have come behind its neighbour or in front of it.
        for at in [latest.checked_sub(1), Some(latest)].into_iter().flatten() {
            let mut pair = ahead.pieces.range(at.min(ahead.pieces.len())..).take(2);
            let Some((first, second)) = pair.next().zip(pair.next()) else { continue };
            if first.end() == second.seq && fits(&first.buf, &second.buf) {
                ahead.latest = at;
                let mut pair = ahead.pieces.range_mut(at..).map(|piece| &mut piece.buf);
                return pair.next().zip(pair.next().map(|second| &*second));
            }
        }
        None
    }

    /// The second buffer of the [`small_pair`](Self::small_pair) has been copied behind the first. Gives the frame that
    /// is no longer needed.
    pub fn join(&mut self) -> Option<Token> {
        if self.ready.len() > LOOSE {
            let second = self.ready.pop_back()?;
            self.ready.back_mut()?.len += second.len;
            return Some(second.token);
        }
        let ahead = self.ahead.as_mut()?;
        let second = ahead.pieces.remove(ahead.latest + 1)?;
        ahead.pieces.get_mut(ahead.latest)?.buf.len += second.buf.len;
        Some(second.buf.token)
    }

    /// What is held already of the `len` bytes that begin at `seq`, when `next` is the next byte expected: in no more
    /// than a few buffers, which is what a peer that repeats itself overlaps with.
    pub fn overlaps(&self, next: Seq, seq: Seq, len: u16) -> impl Iterator<Item = Overlap<'_>> {
        let mut end = next;
        let ready = self.ready.iter().rev().map(move |buf| {
            end -= u32::from(buf.len);
            (end, buf)
        });
        let ahead = self.ahead.iter().flat_map(move |ahead| {
            let at = ahead.pieces.partition_point(|piece| piece.end().at_or_before(seq));
            ahead.pieces.range(at..).map(|piece| (piece.seq, &piece.buf))
        });
        let overlap = move |(at, held): (Seq, &'_ Buf)| {
            let (left, right) = (at.max(seq), (at + u32::from(held.len)).min(seq + u32::from(len)));
            let offset = |from: Seq| u16::try_from(left.since(from)).unwrap_or(u16::MAX);
            left.before(right).then(|| (offset(at), offset(seq), u16::try_from(right.since(left)).unwrap_or(0)))
        };
        let held = ready.take(if seq.before(next) { FEW } else { 0 }).chain(ahead.take(FEW));
        held.filter_map(move |(at, held)| {
            let (held_at, new_at, len) = overlap((at, held))?;
            Some(Overlap { held, held_at, new_at, len })
        })
    }

    /// The next bytes in order, for the application.
    pub fn pop(&mut self) -> Option<Buf> {
        self.ready.pop_front()
    }

    /// Puts bytes that were not read back in front.
    pub fn unread(&mut self, buf: Buf) {
        self.ready.push_front(buf);
    }

    /// Whether nothing is ready to read.
    pub fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether something waits ahead of a gap.
    pub fn has_gap(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| !ahead.pieces.is_empty())
    }

    /// Bytes that are ready to read.
    pub fn ready_bytes(&self) -> u32 {
        self.ready.iter().map(|buf| u32::from(buf.len)).sum()
    }

    /// Frames with bytes that are ready to read.
    pub fn ready_frames(&self) -> usize {
        self.ready.len()
    }

    /// Frames that are held.
    pub fn frames(&self) -> usize {
        self.ready.len() + self.ahead.as_ref().map_or(0, |ahead| ahead.pieces.len())
    }

    /// What a SACK option says, to be called once for each that is sent: what came twice, then the ranges ahead of gaps,
    /// those that grew last in front.
    pub fn sack_blocks(&mut self) -> SackBlocks {
        self.ahead.as_mut().map_or(SackBlocks::EMPTY, |ahead| ahead.sack_blocks())
    }

    /// Gives every frame back.
    pub fn clear(&mut self, freed: &mut impl FnMut(Token)) {
        self.ready.drain(..).for_each(|buf| freed(buf.token));
        self.clear_ahead(freed);
    }

    /// Gives back what waits ahead of gaps: it will be sent again.
    pub fn clear_ahead(&mut self, freed: &mut impl FnMut(Token)) {
        if let Some(ahead) = self.ahead.take() {
            ahead.pieces.into_iter().for_each(|piece| freed(piece.buf.token));
        }
    }

    /// Gives back what lies at or behind `edge`.
    pub fn clear_beyond(&mut self, edge: Seq, freed: &mut impl FnMut(Token)) {
        let Some(ahead) = self.ahead.as_mut() else { return };
        while let Some(last) = ahead.pieces.pop_back_if(|piece| piece.seq.at_or_after(edge)) {
            freed(last.buf.token);
        }
        if let Some(last) = ahead.pieces.back_mut() {
            last.buf.truncate(u16::try_from(edge.since(last.seq)).unwrap_or(u16::MAX));
        }
        while ahead.ranges.pop_back_if(|(left, _)| left.at_or_after(edge)).is_some() {}
        if let Some((_, right)) = ahead.ranges.back_mut() {
            *right = (*right).min(edge);
        }
    }

    /// What must hold after every event, when `next` is the next byte expected.
    pub fn check_consistency(&self, next: Seq) {
        if cfg!(debug_assertions)
            && let Some(ahead) = &self.ahead
        {
            let mut edge = next;
            let mut ranges = ahead.ranges.iter();
            let mut range = None;
            for (i, piece) in ahead.pieces.iter().enumerate() {
                assert!(if i == 0 { piece.seq.after(edge) } else { piece.seq.at_or_after(edge) });
                assert!(piece.buf.len > 0);
                if i == 0 || piece.seq != edge {
                    assert!(range.is_none_or(|(_, right)| right == edge), "a range ends where its pieces do");
                    range = ranges.next().copied();
                    assert_eq!(range.map(|(left, _)| left), Some(piece.seq));
                }
                edge = piece.end();
            }
            assert!(range.is_none_or(|(_, right)| right == edge));
            assert_eq!(ranges.next(), None);
        }
    }
}

impl Ahead {
    fn insert(&mut self, mut seq: Seq, mut buf: Buf, limit: usize, freed: &mut impl FnMut(Token)) -> Inserted {
        if let Some((_, end)) = self.range_of(seq) {
            let overlap = end.since(seq).min(u32::from(buf.len));
            self.duplicate = Some((seq, seq + overlap));
            if overlap == u32::from(buf.len) {
                self.touch(seq);
                freed(buf.token);
                return Inserted::Duplicate;
            }
            buf.trim_front(u16::try_from(overlap).unwrap_or(u16::MAX));
            seq = end;
        }
        let at = self.pieces.partition_point(|piece| piece.seq.at_or_before(seq));
        if let Some(after) = self.pieces.get(at) {
            // A frame cannot be in two places: what lies beyond the next piece is left for a retransmission.
            let room = after.seq.since(seq);
            if u32::from(buf.len) > room {
                self.duplicate = Some((after.seq, after.end().min(seq + u32::from(buf.len))));
            }
            buf.truncate(u16::try_from(room).unwrap_or(u16::MAX));
        }
        if buf.len == 0 {
            self.touch(seq);
            freed(buf.token);
            return Inserted::Duplicate;
        }
        if self.pieces.len() >= limit {
            freed(buf.token);
            return Inserted::Full;
        }
        self.join(seq, seq + u32::from(buf.len));
        self.pieces.insert(at, Piece { seq, buf });
        self.latest = at;
        self.touch(seq);
        Inserted::Ahead
    }

    /// The bytes from `left` to `right`, which were not there before, are there now.
    fn join(&mut self, mut left: Seq, mut right: Seq) {
        let at = self.ranges.partition_point(|(_, end)| end.before(left));
        while let Some(&(begin, end)) = self.ranges.get(at)
            && begin.at_or_before(right)
        {
            (left, right) = (left.min(begin), right.max(end));
            self.ranges.remove(at);
        }
        self.ranges.insert(at, (left, right));
    }

    /// The range that `seq` lies in.
    fn range_of(&self, seq: Seq) -> Option<(Seq, Seq)> {
        let at = self.ranges.partition_point(|(_, end)| end.at_or_before(seq));
        self.ranges.get(at).copied().filter(|(begin, _)| begin.at_or_before(seq))
    }

    /// The range that `seq` lies in is the one that a segment came for last.
    fn touch(&mut self, seq: Seq) {
        let range = self.range_of(seq);
        let known = usize::from(self.recents);
        let at = (0..known).find(|i| self.recent.get(*i).and_then(|seq| self.range_of(*seq)) == range);
        let last = at.unwrap_or_else(|| known.min(RECENT - 1));
        self.recents = self.recents.max(last as u8 + 1);
        if let Some(moved) = self.recent.get_mut(..=last) {
            moved.rotate_right(1);
            if let Some(first) = moved.first_mut() {
                *first = seq;
            }
        }
    }

    fn sack_blocks(&mut self) -> SackBlocks {
        let mut sack = SackBlocks::EMPTY;
        //= spec/rfc2883.txt#section-4
        //# (1) A D-SACK block is only used to report a duplicate contiguous sequence of data received by the receiver in
        //# the most recent packet.
        if let Some((left, right)) = self.duplicate.take() {
            sack.push(left, right);
        }
        let told = sack.as_slice().len();
        //= spec/rfc2018.txt#section-4
        //# The first SACK block (i.e., the one immediately following the kind and length fields in the option) MUST
        //# specify the contiguous block of data containing the segment which triggered this ACK, unless that segment
        //# advanced the Acknowledgment Number field in the header.
        //= spec/rfc2018.txt#section-4
        //# The SACK option SHOULD be filled out by repeating the most recently reported SACK blocks (based on first SACK
        //# blocks in previous SACK options) that are not subsets of a SACK block already included in the SACK option
        //# being constructed.
        let recent = self.recent.iter().take(usize::from(self.recents)).filter_map(|seq| self.range_of(*seq));
        // What is left of the option tells of any others: no more than there is room for are looked at.
        for range in recent.chain(self.ranges.iter().take(RECENT).copied()) {
            if !sack.as_slice().iter().skip(told).any(|there| *there == range) && !sack.push(range.0, range.1) {
                break;
            }
        }
        sack
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    //= spec/rfc9293.txt#section-3.10.7.4
    //= type=test
    //# Segments with higher beginning sequence numbers SHOULD be held for later processing (SHLD-31).
    #[test]
    fn a_gap_fills_and_everything_behind_it_becomes_ready() {
        let mut freed = Vec::new();
        let mut r = Reassembly::default();
        assert_eq!(
            r.insert(Seq(0), Seq(10), Buf::new(Token::new(1), 0, 10), 8, &mut |t| freed.push(t)),
            Inserted::Ahead
        );
        assert_eq!(
            r.insert(Seq(0), Seq(30), Buf::new(Token::new(2), 0, 10), 8, &mut |t| freed.push(t)),
            Inserted::Ahead
        );
        assert_eq!(r.sack_blocks().as_slice(), [(Seq(30), Seq(40)), (Seq(10), Seq(20))]);
        assert_eq!(
            r.insert(Seq(0), Seq(0), Buf::new(Token::new(3), 0, 10), 8, &mut |t| freed.push(t)),
            Inserted::InOrder(20)
        );
        assert!(freed.is_empty());
        assert!(r.has_gap());
        assert_eq!(r.pop().map(|buf| buf.token.index()), Some(3));
        assert_eq!(r.pop().map(|buf| buf.token.index()), Some(1));
        assert!(r.is_drained());
    }

    #[test]
    fn what_lies_behind_an_edge_is_given_back() {
        let mut freed = Vec::new();
        let mut r = Reassembly::default();
        for i in 0..3 {
            r.insert(Seq(0), Seq(10 + 20 * i), Buf::new(Token::new(i), 0, 10), 8, &mut |t| freed.push(t));
        }
        r.clear_beyond(Seq(35), &mut |t| freed.push(t));
        assert_eq!(freed.iter().map(Token::index).collect::<Vec<_>>(), [2]);
        assert_eq!(r.sack_blocks().as_slice(), [(Seq(30), Seq(35)), (Seq(10), Seq(20))]);
        r.clear_beyond(Seq(0), &mut |t| freed.push(t));
        assert!(!r.has_gap());
        assert_eq!(freed.len(), 3);
    }

    fn ahead_of(r: &mut Reassembly, seq: u32, len: u16) -> Inserted {
        r.insert(Seq(0), Seq(seq), Buf::new(Token::new(seq), 0, len), 100, &mut drop)
    }

    //= spec/rfc2018.txt#section-4
    //= type=test
    //# The SACK option SHOULD be filled out by repeating the most recently reported SACK blocks (based on first SACK
    //# blocks in previous SACK options) that are not subsets of a SACK block already included in the SACK option
    //# being constructed.
    #[test]
    fn the_ranges_that_grew_last_are_told_first() {
        let mut r = Reassembly::default();
        for seq in [10, 50, 30, 70, 90] {
            assert_eq!(ahead_of(&mut r, seq, 5), Inserted::Ahead);
        }
        let told = |r: &mut Reassembly| r.sack_blocks().as_slice().iter().map(|(left, _)| left.0).collect::<Vec<_>>();
        assert_eq!(told(&mut r), [90, 70, 30, 50]);
        ahead_of(&mut r, 55, 5);
        assert_eq!(told(&mut r), [50, 90, 70, 30]);
        ahead_of(&mut r, 35, 15);
        assert_eq!(told(&mut r), [30, 90, 70, 10], "30 and 50 are one range now");
    }

    //= spec/rfc2883.txt#section-4
    //= type=test
    //# (1) A D-SACK block is only used to report a duplicate contiguous sequence of data received by the receiver in
    //# the most recent packet.
    #[test]
    fn what_came_twice_is_told_once_and_the_range_around_it_next() {
        let mut r = Reassembly::default();
        ahead_of(&mut r, 10, 20);
        ahead_of(&mut r, 50, 5);
        assert!(!r.has_duplicate());
        assert_eq!(ahead_of(&mut r, 15, 5), Inserted::Duplicate);
        assert!(r.has_duplicate());
        let blocks = r.sack_blocks();
        assert_eq!(blocks.as_slice(), [(Seq(15), Seq(20)), (Seq(10), Seq(30)), (Seq(50), Seq(55))]);
        assert_eq!(r.sack_blocks().as_slice(), [(Seq(10), Seq(30)), (Seq(50), Seq(55))]);
        assert_eq!(ahead_of(&mut r, 25, 10), Inserted::Ahead);
        assert_eq!(r.sack_blocks().as_slice().first(), Some(&(Seq(25), Seq(30))), "and a part that did");
    }

    /// However many pieces wait, telling of them and finding a place looks at few.
    #[test]
    fn pieces_that_touch_are_one_range() {
        let mut r = Reassembly::default();
        (0..100).rev().for_each(|i| assert_eq!(ahead_of(&mut r, 10 + i, 1), Inserted::Ahead));
        assert_eq!(r.sack_blocks().as_slice(), [(Seq(10), Seq(110))]);
        assert_eq!(r.ahead.as_ref().map(|ahead| (ahead.pieces.len(), ahead.ranges.len())), Some((100, 1)));
    }

    #[test]
    fn small_payloads_move_together_when_there_are_many() {
        for (order, step) in [("in order", 1), ("ahead", 1), ("ahead, backwards", -1)] {
            let mut r = Reassembly::default();
            let mut freed = 0;
            for i in 0..4000_u32 {
                let place = if step > 0 { i } else { 3999 - i };
                let (next, seq) = if order == "in order" { (i, i) } else { (0, 10 + place) };
                r.insert(Seq(next), Seq(seq), Buf::new(Token::new(i), 66, 1), 100, &mut drop);
                if let Some((first, second)) = r.small_pair(2048) {
                    assert!(usize::from(first.start + first.len + second.len) <= 2048);
                    freed += usize::from(r.join().is_some());
                }
                r.check_consistency(Seq(if order == "in order" { i + 1 } else { 0 }));
            }
            assert!(r.frames() <= 20, "{order}: {}", r.frames());
            assert_eq!(r.frames() + freed, 4000, "{order}");
        }
    }

    #[test]
    fn what_overlaps_is_found_where_it_is_held() {
        let mut r = Reassembly::default();
        r.insert(Seq(0), Seq(0), Buf::new(Token::new(1), 66, 10), 100, &mut drop);
        ahead_of_ten(&mut r, 20, 10);
        ahead_of_ten(&mut r, 30, 10);
        let found = |seq, len| {
            let overlaps = r.overlaps(Seq(10), Seq(seq), len);
            overlaps.map(|o| (o.held.token.index(), o.held_at, o.new_at, o.len)).collect::<Vec<_>>()
        };
        assert_eq!(found(10, 10), []);
        assert_eq!(found(5, 5), [(1, 5, 0, 5)]);
        assert_eq!(found(15, 20), [(20, 0, 5, 10), (30, 0, 15, 5)]);
        assert_eq!(found(35, 50), [(30, 5, 0, 5)]);
        assert_eq!(found(8, 14), [(1, 8, 0, 2), (20, 0, 12, 2)]);
    }

    fn ahead_of_ten(r: &mut Reassembly, seq: u32, len: u16) {
        r.insert(Seq(10), Seq(seq), Buf::new(Token::new(seq), 66, len), 100, &mut drop);
    }

    #[test]
    fn pieces_ahead_are_bounded() {
        let mut freed = Vec::new();
        let mut r = Reassembly::default();
        for i in 0..4 {
            r.insert(Seq(0), Seq(10 + 2 * i), Buf::new(Token::new(i), 0, 1), 3, &mut |t| freed.push(t));
        }
        assert_eq!(freed.len(), 1);
        assert_eq!(r.frames(), 3);
    }

    proptest! {
        /// A naive model keeps each byte of the first segment that brought it.
        #[test]
        fn agrees_with_a_map_of_bytes(segments in proptest::collection::vec((0u32..200, 1u16..40), 1..80), base: u32) {
            let mut r = Reassembly::default();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let mut live: BTreeSet<u32> = BTreeSet::new();
            let mut next = 0u32;
            let mut read: Vec<(u32, u16, u16)> = Vec::new();
            for (token, (at, len)) in segments.into_iter().enumerate() {
                let token = token as u32;
                live.insert(token);
                // `start` tells where in the stream a byte of the frame lies: frames are cut from the stream itself.
                let buf = Buf::new(Token::new(token), at as u16, len);
                let mut gone = Vec::new();
                let result = r.insert(Seq(base) + next, Seq(base) + at, buf, 1000, &mut |t| gone.push(t.index()));
                r.check_consistency(Seq(base) + next + if let Inserted::InOrder(n) = result { n } else { 0 });
                gone.iter().for_each(|t| { live.remove(t); });
                for i in at..at + u32::from(len) {
                    model.entry(i).or_insert(token);
                }
                if let Inserted::InOrder(n) = result {
                    next += n;
                }
                while let Some(buf) = r.pop() {
                    read.push((buf.token.index(), buf.start, buf.len));
                    live.remove(&buf.token.index());
                }
            }
            let mut at = 0u32;
            for (_token, start, len) in read {
                prop_assert_eq!(u32::from(start), at, "bytes are read in order and once");
                at += u32::from(len);
            }
            prop_assert_eq!(at, next);
            // Every byte that is in order was really sent; nothing beyond the first hole was read.
            prop_assert!((0..next).all(|i| model.contains_key(&i)));
            prop_assert_eq!(live.len(), r.frames(), "no frame is lost and none is held twice");
            for (left, right) in r.ahead.iter().flat_map(|ahead| ahead.ranges.iter().copied()) {
                prop_assert!((left.since(Seq(base))..right.since(Seq(base))).all(|i| model.contains_key(&i)));
            }
        }
    }
}
