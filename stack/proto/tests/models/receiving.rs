//! The receiver beside a map of bytes.

use corelane_proto::tcp::recv::reassembly::{Inserted, Reassembly};
use corelane_proto::tcp::recv::window::RecvWindow;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::{Buf, Token};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Pieces that may wait ahead of gaps.
const LIMIT: usize = 12;

/// The stream as a map: which segment brought each byte first. Positions count from 0.
#[derive(Debug, Default)]
struct Model {
    first: BTreeMap<u32, u32>,
    next: u32,
}

impl Model {
    /// The maximal runs of bytes ahead of the first gap.
    fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &at in self.first.range(self.next..).map(|(at, _)| at) {
            match ranges.last_mut() {
                Some((_, right)) if *right == at => *right += 1,
                _ => ranges.push((at, at + 1)),
            }
        }
        ranges
    }
}

/// The machine, and who has each frame.
struct Bench {
    machine: Reassembly,
    model: Model,
    base: u32,
    freed: Vec<u32>,
    read: u32,
    inserted: u32,
}

impl Bench {
    fn seq(&self, at: u32) -> Seq {
        Seq(self.base) + at
    }

    /// Segment `id` with `len` bytes at position `at`. A byte's place in its frame is its position, so that trimming it
    /// wrongly shows.
    fn insert(&mut self, id: u32, at: u32, len: u16) -> Inserted {
        let (next, seq) = (self.seq(self.model.next), self.seq(at));
        let freed = &mut self.freed;
        let buf = Buf::new(Token::new(id), at as u16, len);
        let result = self.machine.insert(next, seq, buf, LIMIT, &mut |token| freed.push(token.index()));
        self.inserted += 1;
        result
    }

    /// Which of the segment's bytes are new, as the machine takes them: the first run of them, since a frame cannot be
    /// in two places.
    fn new_run(&self, at: u32, len: u16) -> Option<(u32, u32)> {
        let is_new = |at: &u32| *at >= self.model.next && !self.model.first.contains_key(at);
        let left = (at..at + u32::from(len)).find(is_new)?;
        let right = (left..at + u32::from(len)).find(|at| !is_new(at)).unwrap_or(at + u32::from(len));
        Some((left, right))
    }

    fn step(&mut self, id: u32, at: u32, len: u16) -> Result<(), TestCaseError> {
        let run = self.new_run(at, len);
        let result = self.insert(id, at, len);
        match result {
            Inserted::Duplicate => prop_assert_eq!(run, None),
            Inserted::Full => {
                prop_assert!(run.is_some_and(|(left, _)| left > self.model.next));
                prop_assert!(self.machine.frames() >= LIMIT);
            }
            Inserted::Ahead | Inserted::InOrder(_) => {
                let Some((left, right)) = run else { return Err(TestCaseError::fail("nothing of it is new")) };
                self.model.first.extend((left..right).map(|at| (at, id)));
                let before = self.model.next;
                while self.model.first.contains_key(&self.model.next) {
                    self.model.next += 1;
                }
                let expected = self.model.next - before;
                prop_assert_eq!(result, if expected > 0 { Inserted::InOrder(expected) } else { Inserted::Ahead });
            }
        }
        self.machine.check_consistency(self.seq(self.model.next));
        prop_assert_eq!(self.machine.has_gap(), !self.model.ranges().is_empty());
        let held = self.machine.frames() + self.freed.len();
        prop_assert!(held <= self.inserted as usize && held + self.read as usize >= self.inserted as usize);
        Ok(())
    }

    /// The blocks are the ranges ahead of gaps; a first one that is none of them tells of a duplicate, of what there was
    /// before the last segment (RFC 2883 4).
    fn check_sack(&mut self, at: u32, len: u16, run: Option<(u32, u32)>) -> Result<(), TestCaseError> {
        let ranges: Vec<_> = self.model.ranges();
        let base = self.base;
        let mut told: Vec<_> = {
            let blocks = self.machine.sack_blocks();
            blocks.as_slice().iter().map(|(left, right)| (left.since(Seq(base)), right.since(Seq(base)))).collect()
        };
        if let Some(&(left, right)) = told.first()
            && (!ranges.contains(&(left, right)) || told[1..].contains(&(left, right)))
        {
            let end = at + u32::from(len);
            prop_assert!(at <= left && left < right && right <= end, "{left}-{right} is not of {at}-{end}");
            let was_new = |at: u32| run.is_some_and(|(left, right)| (left..right).contains(&at));
            prop_assert!((left..right).all(|at| !was_new(at)), "{left}-{right} came for the first time");
            told.remove(0);
        }
        for (i, range) in told.iter().enumerate() {
            prop_assert!(ranges.contains(range), "{range:?} is none of {ranges:?}");
            prop_assert!(!told[..i].contains(range), "{range:?} is told twice");
        }
        prop_assert!(told.len() >= ranges.len().min(3), "{told:?} of {ranges:?}");
        let current = ranges.iter().find(|(left, right)| run.is_some_and(|(l, _)| (*left..*right).contains(&l)));
        if let (Some(current), Some(first)) = (current, told.first()) {
            prop_assert_eq!(first, current, "the range that grew last comes first");
        }
        Ok(())
    }

    /// Reads everything: each byte is that of the segment that brought it first.
    fn read(&mut self, at: &mut u32) -> Result<(), TestCaseError> {
        while let Some(buf) = self.machine.pop() {
            prop_assert_eq!(u32::from(buf.start), *at & 0xffff);
            for byte in 0..u32::from(buf.len) {
                prop_assert_eq!(self.model.first.get(&(*at + byte)), Some(&buf.token.index()));
            }
            *at += u32::from(buf.len);
            self.read += 1;
        }
        prop_assert_eq!(*at, self.model.next);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn reassembly_agrees_with_a_map_of_bytes(
        base: u32, segments in prop::collection::vec((0_u32..400, 1_u16..50, any::<bool>()), 1..120),
    ) {
        let machine = Reassembly::default();
        let mut bench =
            Bench { machine, model: Model::default(), base, freed: Vec::new(), read: 0, inserted: 0 };
        let mut at_read = 0;
        for (id, (at, len, reads)) in (0..).zip(segments) {
            // Close to what is missing, so that gaps are filled.
            let at = (bench.model.next + at).saturating_sub(60);
            let run = bench.new_run(at, len).filter(|_| bench.machine.frames() < LIMIT);
            bench.step(id, at, len)?;
            if bench.machine.has_duplicate() || bench.machine.has_gap() {
                bench.check_sack(at, len, run)?;
            }
            if reads {
                bench.read(&mut at_read)?;
            }
        }
        bench.read(&mut at_read)?;
        let (machine, freed) = (&mut bench.machine, &mut bench.freed);
        machine.clear(&mut |token| freed.push(token.index()));
        prop_assert_eq!(bench.freed.len() + bench.read as usize, bench.inserted as usize, "each frame once");
    }

    /// The right edge moves right by a segment or half the buffer at least, or not at all (RFC 9293 3.8.6.2.2), and what
    /// is unread and what is offered stay within the bound.
    #[test]
    fn the_receive_window_opens_in_steps(
        bound in 2_000_u32..65_000, mss in 100_u16..1500,
        steps in prop::collection::vec((0_u32..3000, 0_u32..3000), 1..80),
    ) {
        let mut window = RecvWindow::new(Seq(u32::MAX - 9000), bound, bound, 0);
        let (mut unread, mut edge) = (0_i64, 0_i64);
        let mut next = 0_i64;
        for (received, read) in steps {
            let room = edge - next;
            let step = i64::from((bound / 2).min(u32::from(mss)));
            let told = i64::from(window.advertise(mss)) + next;
            prop_assert!(told == edge || told - edge >= step, "it moves from {} to {}", edge, told);
            let free = i64::from(bound) - unread - room;
            prop_assert!(told > edge || free < step, "{} bytes are free and not offered", free);
            prop_assert!(told - next + unread <= i64::from(bound));
            edge = told;
            let n = i64::from(received).min(edge - next);
            window.on_received(n as u32, n as u32);
            (next, unread) = (next + n, unread + n);
            window.on_read(read);
            unread = (unread - i64::from(read)).max(0);
            prop_assert_eq!((i64::from(window.held()), i64::from(window.size())), (unread, edge - next));
        }
    }
}
