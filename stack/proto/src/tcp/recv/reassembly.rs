//! Received data: in order and ready to read, or ahead of a gap (RFC 9293 3.10.7.4, seventh step).

use crate::memory::{Buf, Token};
use crate::tcp::segment::SackBlocks;
use crate::tcp::seq::Seq;
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

/// The pieces of a connection's byte stream that have come. Where two overlap, the bytes that came first stay.
#[derive(Debug, Default)]
pub struct Reassembly {
    ready: VecDeque<Buf>,
    ahead: VecDeque<Piece>,
    /// Where the piece that came last begins: its range leads the SACK option.
    latest: Seq,
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
        self.insert_ahead(seq, buf, limit, freed)
    }

    /// Appends bytes that begin at `next`, then everything that waited just behind them.
    fn append(&mut self, next: Seq, mut buf: Buf, freed: &mut impl FnMut(Token)) -> u32 {
        // Bytes that wait ahead came first, so they win over the end of this buffer.
        if let Some(first) = self.ahead.front() {
            buf.truncate(u16::try_from(first.seq.since(next)).unwrap_or(u16::MAX));
        }
        let mut advanced = u32::from(buf.len);
        self.ready.push_back(buf);
        while let Some(first) = self.ahead.front() {
            if first.seq != next + advanced {
                break;
            }
            let Some(piece) = self.ahead.pop_front() else { break };
            if piece.buf.len == 0 {
                freed(piece.buf.token);
                continue;
            }
            advanced += u32::from(piece.buf.len);
            self.ready.push_back(piece.buf);
        }
        advanced
    }

    //= spec/rfc9293.txt#section-3.10.7.4
    //# Segments with higher beginning sequence numbers SHOULD be held for later processing (SHLD-31).
    fn insert_ahead(&mut self, mut seq: Seq, mut buf: Buf, limit: usize, freed: &mut impl FnMut(Token)) -> Inserted {
        // Data mostly comes in order, so the place is mostly at the end.
        let at = self.ahead.iter().rposition(|piece| piece.seq.at_or_before(seq)).map_or(0, |before| before + 1);
        if let Some(before) = at.checked_sub(1).and_then(|i| self.ahead.get(i)) {
            let end = before.end();
            if end.after(seq) {
                let overlap = end.since(seq);
                if overlap >= u32::from(buf.len) {
                    self.latest = before.seq;
                    freed(buf.token);
                    return Inserted::Duplicate;
                }
                buf.trim_front(u16::try_from(overlap).unwrap_or(u16::MAX));
                seq = end;
            }
        }
        if let Some(after) = self.ahead.get(at) {
            // A frame cannot be in two places: what lies beyond the next piece is left for a retransmission.
            buf.truncate(u16::try_from(after.seq.since(seq)).unwrap_or(u16::MAX));
        }
        if buf.len == 0 {
            freed(buf.token);
            return Inserted::Duplicate;
        }
        if self.ahead.len() >= limit {
            freed(buf.token);
            return Inserted::Full;
        }
        self.latest = seq;
        self.ahead.insert(at, Piece { seq, buf });
        Inserted::Ahead
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
        !self.ahead.is_empty()
    }

    /// Frames that are held.
    pub fn frames(&self) -> usize {
        self.ready.len() + self.ahead.len()
    }

    /// The ranges ahead of gaps, the one that grew last in front (RFC 2018 4).
    pub fn sack_blocks(&self) -> SackBlocks {
        let mut sack = SackBlocks::EMPTY;
        if self.ahead.is_empty() {
            return sack;
        }
        if let Some((left, right)) =
            self.ranges().find(|(left, right)| self.latest.in_window(*left, right.since(*left)))
        {
            sack.push(left, right);
        }
        for (left, right) in self.ranges() {
            if sack.as_slice().first() != Some(&(left, right)) && !sack.push(left, right) {
                break;
            }
        }
        sack
    }

    /// The pieces ahead, joined where they touch.
    fn ranges(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        let mut pieces = self.ahead.iter().peekable();
        core::iter::from_fn(move || {
            let first = pieces.next()?;
            let mut right = first.end();
            while let Some(piece) = pieces.next_if(|piece| piece.seq == right) {
                right = piece.end();
            }
            Some((first.seq, right))
        })
    }

    /// Gives every frame back.
    pub fn clear(&mut self, freed: &mut impl FnMut(Token)) {
        self.ready.drain(..).for_each(|buf| freed(buf.token));
        self.ahead.drain(..).for_each(|piece| freed(piece.buf.token));
    }

    /// Gives back what waits ahead of gaps: it will be sent again.
    pub fn clear_ahead(&mut self, freed: &mut impl FnMut(Token)) {
        self.ahead.drain(..).for_each(|piece| freed(piece.buf.token));
    }

    /// Gives back what lies at or behind `edge`.
    pub fn clear_beyond(&mut self, edge: Seq, freed: &mut impl FnMut(Token)) {
        while let Some(last) = self.ahead.back_mut() {
            if last.seq.before(edge) {
                last.buf.truncate(u16::try_from(edge.since(last.seq)).unwrap_or(u16::MAX));
                return;
            }
            self.ahead.pop_back().into_iter().for_each(|piece| freed(piece.buf.token));
        }
    }

    /// What must hold after every event, when `next` is the next byte expected.
    pub fn check_consistency(&self, next: Seq) {
        if cfg!(debug_assertions) {
            let mut edge = next;
            for (i, piece) in self.ahead.iter().enumerate() {
                assert!(if i == 0 { piece.seq.after(edge) } else { piece.seq.at_or_after(edge) });
                assert!(piece.buf.len > 0);
                edge = piece.end();
            }
        }
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
        assert_eq!(r.sack_blocks().as_slice(), [(Seq(10), Seq(20)), (Seq(30), Seq(35))]);
        r.clear_beyond(Seq(0), &mut |t| freed.push(t));
        assert!(!r.has_gap());
        assert_eq!(freed.len(), 3);
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
            for (left, right) in r.ranges() {
                prop_assert!((left.since(Seq(base))..right.since(Seq(base))).all(|i| model.contains_key(&i)));
            }
        }
    }
}
