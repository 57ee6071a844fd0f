//! The SACK scoreboard: which ranges ahead of SND.UNA the peer has said that it holds (RFC 2018, RFC 6675 4).
//!
//! It is given ranges that begin and end at segments, so it never has more of them than half of the segments in flight,
//! whatever the peer says. A range that is known already costs a binary search: the work that a peer can cause with an
//! ACK does not grow with what it has said before.

use crate::tcp::seq::Seq;
use alloc::collections::VecDeque;

/// Ranges in order, none of which touches another.
#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    ranges: VecDeque<(Seq, Seq)>,
}

impl Scoreboard {
    /// Adds the range from `start` to `end`, exclusive, and tells each part of it that is new.
    //= spec/rfc6675.txt#section-4
    //# Given the information provided in an ACK, each octet that is
    //# cumulatively ACKed or SACKed should be marked accordingly in the
    //# scoreboard data structure
    pub(super) fn insert(&mut self, start: Seq, end: Seq, new: &mut impl FnMut(Seq, Seq)) {
        // The first range that ends at or behind the start, and the first that begins behind the end.
        let first = self.ranges.partition_point(|&(_, right)| right.before(start));
        let mut at = start;
        let (mut left, mut right) = (start, end);
        let mut last = first;
        while let Some(&(from, to)) = self.ranges.get(last).filter(|(from, _)| from.at_or_before(end)) {
            if from.after(at) {
                new(at, from);
            }
            at = at.max(to);
            (left, right) = (left.min(from), right.max(to));
            last += 1;
        }
        if at.before(end) {
            new(at, end);
        }
        if let Some(range) = self.ranges.get_mut(first).filter(|_| last > first) {
            *range = (left, right);
            if last > first + 1 {
                self.ranges.drain(first + 1..last);
            }
        } else {
            self.ranges.insert(first, (left, right));
        }
    }

    /// Whether everything from `start` to `end`, exclusive, is known. Most of what a peer says it has said before.
    pub(super) fn covers(&self, start: Seq, end: Seq) -> bool {
        let first = self.ranges.partition_point(|&(_, right)| right.before(end));
        self.ranges.get(first).is_some_and(|(left, _)| left.at_or_before(start))
    }

    /// Everything before `una` has been acknowledged.
    pub(super) fn on_ack(&mut self, una: Seq) {
        while let Some((from, to)) = self.ranges.front_mut() {
            if to.after(una) {
                *from = from.max(una);
                return;
            }
            self.ranges.pop_front();
        }
    }

    /// Nothing is known any more.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The ranges in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.ranges.iter().copied()
    }

    /// What must hold after every event, when everything before `una` is acknowledged and nothing from `nxt` on sent.
    pub(super) fn check_consistency(&self, una: Seq, nxt: Seq) {
        if cfg!(debug_assertions) {
            let mut at = None;
            for &(from, to) in &self.ranges {
                assert!(from.before(to) && from.at_or_after(una) && to.at_or_before(nxt), "{from:?} to {to:?}");
                assert!(at.is_none_or(|at: Seq| at.before(from)), "ranges touch at {from:?}");
                at = Some(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn insert(board: &mut Scoreboard, start: u32, end: u32) -> Vec<(u32, u32)> {
        let mut new = Vec::new();
        board.insert(Seq(start), Seq(end), &mut |from, to| new.push((from.0, to.0)));
        board.check_consistency(Seq(0), Seq(u32::MAX / 2));
        new
    }

    fn ranges(board: &Scoreboard) -> Vec<(u32, u32)> {
        board.ranges().map(|(from, to)| (from.0, to.0)).collect()
    }

    //= spec/rfc6675.txt#section-4
    //= type=test
    //# Given the information provided in an ACK, each octet that is
    //# cumulatively ACKed or SACKed should be marked accordingly in the
    //# scoreboard data structure
    #[test]
    fn only_what_is_new_is_told_and_ranges_that_meet_become_one() {
        let mut board = Scoreboard::default();
        assert_eq!(insert(&mut board, 30, 40), [(30, 40)]);
        assert_eq!(insert(&mut board, 10, 20), [(10, 20)]);
        assert_eq!(insert(&mut board, 30, 40), []);
        assert_eq!(insert(&mut board, 20, 25), [(20, 25)], "it touches");
        assert_eq!(ranges(&board), [(10, 25), (30, 40)]);
        assert_eq!(insert(&mut board, 5, 50), [(5, 10), (25, 30), (40, 50)]);
        assert_eq!(ranges(&board), [(5, 50)]);
        assert_eq!(insert(&mut board, 12, 13), []);
        board.on_ack(Seq(20));
        assert_eq!(ranges(&board), [(20, 50)]);
        board.on_ack(Seq(50));
        assert_eq!(ranges(&board), []);
    }

    #[test]
    fn it_agrees_with_a_list_of_numbers() {
        let mut board = Scoreboard::default();
        let mut model = [false; 200];
        let mut state = 1u32;
        for _ in 0..2000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let start = (state >> 24) % 190;
            let end = start + 1 + (state >> 12) % 10;
            assert_eq!(board.covers(Seq(start), Seq(end)), (start..end).all(|n| model[n as usize]));
            let new: u32 = insert(&mut board, start, end).iter().map(|(from, to)| to - from).sum();
            let expected = (start..end).filter(|&n| !model[n as usize]).count();
            assert_eq!(new as usize, expected);
            (start..end).for_each(|n| model[n as usize] = true);
            if model.iter().filter(|&&held| held).count() > 150 {
                board.clear();
                model = [false; 200];
            }
        }
    }
}
