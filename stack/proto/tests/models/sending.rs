//! The sender beside a list of segments, and its decisions beside the rules as the RFC has them.

use corelane_proto::tcp::send::decide::{Decision, Situation, decide};
use corelane_proto::tcp::send::queue::SendQueue;
use corelane_proto::tcp::send::window::SendWindow;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::transmission::{Stamp, Verdict};
use corelane_proto::{Buf, Instant, Token};
use proptest::prelude::*;
use std::cell::RefCell;

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u16),
    Grow(u16),
    Send,
    Resend,
    /// The segment that was sent last goes again although nothing says that it is lost.
    Probe,
    Split(u16, bool),
    Join,
    Sack(u32, u32),
    /// RACK finds lost whatever was sent no later than so long ago.
    Judge(u64),
    LoseFront,
    LoseAll(u64),
    Unlose,
    Forget,
    Ack(u32),
    Finish,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u16..100).prop_map(Op::Push),
        1 => (1_u16..20).prop_map(Op::Grow),
        8 => Just(Op::Send),
        3 => Just(Op::Resend),
        1 => Just(Op::Probe),
        2 => (1_u16..100, any::<bool>()).prop_map(|(at, again)| Op::Split(at, again)),
        1 => Just(Op::Join),
        5 => (0_u32..600, 1_u32..300).prop_map(|(from, len)| Op::Sack(from, len)),
        3 => (0_u64..20).prop_map(Op::Judge),
        1 => Just(Op::LoseFront),
        1 => (0_u64..20).prop_map(Op::LoseAll),
        1 => Just(Op::Unlose),
        1 => Just(Op::Forget),
        3 => (0_u32..400).prop_map(Op::Ack),
        1 => Just(Op::Finish),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mark {
    Unsent,
    Out,
    Sacked,
    Lost,
}

/// A segment as a list knows it. Numbers count from the first byte on and do not wrap.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    len: u32,
    mark: Mark,
    sent_at: u64,
    fin: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    una: u32,
    end: u32,
    fin: bool,
    pieces: Vec<Piece>,
    /// The FIN, once it was sent.
    fin_piece: Option<Piece>,
}

impl Model {
    fn nxt(&self) -> u32 {
        let sent = self.pieces.iter().filter(|piece| piece.mark != Mark::Unsent).map(|piece| piece.start + piece.len);
        let data = sent.max().unwrap_or(self.una.min(self.end));
        self.fin_piece.map_or(data.max(self.una), |_| self.end + 1)
    }

    fn all(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().chain(&self.fin_piece)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.pieces.iter_mut().chain(&mut self.fin_piece)
    }

    fn sum(&self, mark: Mark) -> u32 {
        self.all().filter(|piece| piece.mark == mark).map(|piece| piece.len).sum()
    }

    fn next_new(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.mark == Mark::Unsent)
    }

    fn next_lost(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.mark == Mark::Lost)
    }
}

struct Bench {
    queue: SendQueue,
    model: Model,
    first: Seq,
    tokens: u32,
    freed: Vec<u32>,
    now: u64,
}

impl Bench {
    /// A byte's place in its frame is its number, so that what is cut or joined wrongly shows.
    fn buf(&mut self, at: u32, len: u16) -> Buf {
        self.tokens += 1;
        Buf::new(Token::new(self.tokens - 1), at as u16, len)
    }

    fn stamp(&self) -> Stamp {
        Stamp::sent_at(Instant::from_millis(self.now))
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        self.now += 1;
        match op {
            Op::Push(len) if !self.model.fin => {
                let (start, len32) = (self.model.end, u32::from(len));
                let buf = self.buf(start, len);
                self.queue.push(buf);
                self.model.end += len32;
                self.model.pieces.push(Piece { start, len: len32, mark: Mark::Unsent, sent_at: 0, fin: false });
            }
            Op::Push(_) => {}
            Op::Grow(n) => {
                if let Some(tail) = self.queue.open_tail() {
                    tail.len += n;
                    self.queue.grew(n);
                    self.model.end += u32::from(n);
                    self.model.pieces.last_mut().expect("a tail").len += u32::from(n);
                }
            }
            Op::Send => self.send(),
            Op::Resend => self.resend_lost(),
            Op::Probe => {
                if let Some(index) = self.queue.last_sent()
                    && self.model.pieces[index].mark != Mark::Sacked
                {
                    self.resend(index);
                }
            }
            Op::Split(at, again) => self.split(at, again),
            Op::Join => {
                if let Some(index) = self.queue.next_lost()
                    && self.queue.can_join(index, 150, |_| false)
                {
                    self.freed.extend(self.queue.join(index).map(|token| token.index()));
                    let second = self.model.pieces.remove(index + 1);
                    self.model.pieces[index].len += second.len;
                }
            }
            Op::Sack(from, len) => self.sack(from, len)?,
            Op::Judge(age) => self.judge(age)?,
            Op::LoseFront => {
                self.queue.lose_front(&mut |_| {});
                if let Some(front) = self.model.all_mut().next().filter(|piece| piece.mark == Mark::Out) {
                    front.mark = Mark::Lost;
                }
            }
            Op::LoseAll(age) => self.lose_all(self.now.saturating_sub(age)),
            Op::Unlose => {
                let lost = self.model.sum(Mark::Lost);
                prop_assert_eq!(self.queue.unlose(), lost);
                self.turn(Mark::Lost);
            }
            Op::Forget => {
                self.queue.forget_sacks();
                self.turn(Mark::Sacked);
            }
            Op::Ack(n) => self.ack(n)?,
            Op::Finish => {
                self.queue.finish();
                self.model.fin = true;
            }
        }
        self.check()
    }

    /// What has this mark counts as being on its way.
    fn turn(&mut self, mark: Mark) {
        self.model.all_mut().filter(|piece| piece.mark == mark).for_each(|piece| piece.mark = Mark::Out);
    }

    fn send(&mut self) {
        let now = self.now;
        let Some(index) = self.queue.next_new() else {
            if self.queue.fin_is_next() {
                self.queue.on_sent_fin(self.stamp());
                self.model.fin_piece =
                    Some(Piece { start: self.model.end, len: 1, mark: Mark::Out, sent_at: now, fin: true });
            }
            return;
        };
        let piece = self.model.pieces[index];
        let fin = index + 1 == self.model.pieces.len() && self.model.fin && piece.len.is_multiple_of(2);
        self.queue.on_sent_new(self.stamp(), fin);
        let piece = &mut self.model.pieces[index];
        (piece.mark, piece.sent_at) = (Mark::Out, now);
        if fin {
            let start = piece.start + piece.len;
            self.model.fin_piece = Some(Piece { start, len: 1, mark: Mark::Out, sent_at: now, fin: true });
        }
    }

    fn lose_all(&mut self, before: u64) {
        self.queue.lose_all(Instant::from_millis(before), &mut |_| {});
        let mut is_first = true;
        for piece in self.model.all_mut().filter(|piece| piece.mark != Mark::Unsent) {
            if piece.mark == Mark::Out && (is_first || piece.sent_at <= before) {
                piece.mark = Mark::Lost;
            }
            is_first = false;
        }
    }

    fn resend_lost(&mut self) {
        if let Some(index) = self.queue.next_lost() {
            self.resend(index);
        } else if self.queue.fin_is_lost() {
            self.queue.on_sent_fin(self.stamp());
            let now = self.now;
            let fin = self.model.fin_piece.as_mut().expect("a FIN");
            (fin.mark, fin.sent_at) = (Mark::Out, now);
        }
    }

    fn resend(&mut self, index: usize) {
        self.queue.on_sent_again(index, self.stamp(), false);
        let piece = &mut self.model.pieces[index];
        (piece.mark, piece.sent_at) = (Mark::Out, self.now);
    }

    fn split(&mut self, at: u16, again: bool) {
        let index = if again { self.queue.next_lost() } else { self.queue.next_new() };
        let Some((index, (start, len))) = index.and_then(|index| Some((index, self.start_and_len(index)?))) else {
            return;
        };
        if at < len {
            let tail = self.buf(u32::from(start + at), len - at);
            self.queue.split(index, at, tail);
            let piece = &mut self.model.pieces[index];
            piece.len = at.into();
            let tail = Piece { start: piece.start + u32::from(at), len: u32::from(len - at), ..*piece };
            self.model.pieces.insert(index + 1, tail);
        }
    }

    fn start_and_len(&self, index: usize) -> Option<(u16, u16)> {
        self.queue.chunk(index).map(|chunk| (chunk.start, chunk.len))
    }

    /// The peer says that it has `len` numbers from somewhere ahead of SND.UNA.
    fn sack(&mut self, from: u32, len: u32) -> Result<(), TestCaseError> {
        let (una, nxt) = (self.model.una, self.model.nxt());
        let (from, to) = (una + 1 + from, (una + 1 + from + len).min(nxt));
        if from >= to {
            return Ok(());
        }
        let first = self.first;
        let mut told = Vec::new();
        self.queue.on_sack(first + from, first + to, &mut |s| told.push((s.start.since(first), s.end.since(s.start))));
        let mut expected = Vec::new();
        let end = self.model.end;
        for piece in self.model.all_mut() {
            let covered = piece.start >= from && piece.start + piece.len <= to || piece.fin && to > end;
            if covered && matches!(piece.mark, Mark::Out | Mark::Lost) {
                piece.mark = Mark::Sacked;
                expected.push((piece.start, piece.len));
            }
        }
        told.sort_unstable();
        prop_assert_eq!(told, expected);
        Ok(())
    }

    fn judge(&mut self, age: u64) -> Result<(), TestCaseError> {
        let before = Instant::from_millis(self.now.saturating_sub(age));
        let open = RefCell::new(None::<Instant>);
        let mut lost = 0;
        self.queue.find_lost(
            |at, _| {
                if at > before {
                    *open.borrow_mut() = Some(at);
                    return Verdict::Open;
                }
                Verdict::Lost
            },
            &mut |loss| lost += loss.bytes,
        );
        let mut expected = 0;
        for piece in self.model.all_mut() {
            if piece.mark == Mark::Out && Instant::from_millis(piece.sent_at) <= before {
                piece.mark = Mark::Lost;
                expected += piece.len;
            }
        }
        prop_assert_eq!(lost, expected);
        Ok(())
    }

    /// The peer acknowledges `n` numbers more, but nothing that was not sent.
    fn ack(&mut self, n: u32) -> Result<(), TestCaseError> {
        let (una, nxt) = (self.model.una, self.model.nxt());
        let ack = (una + n).min(nxt);
        if ack == una {
            return Ok(());
        }
        let freed = &mut self.freed;
        let mut delivered = 0;
        let acked = self.queue.on_ack(self.first + ack, &mut |token| freed.push(token.index()), &mut |s| {
            delivered += s.end.since(s.start);
        });
        let model = &mut self.model;
        prop_assert_eq!(acked.bytes, ack.min(model.end) - una.min(model.end));
        prop_assert_eq!(acked.fin, ack > model.end);
        let mut expected = 0;
        for piece in model.pieces.iter_mut().chain(&mut model.fin_piece) {
            let part = ack.saturating_sub(piece.start).min(piece.len);
            expected += if piece.mark == Mark::Sacked { 0 } else { part };
            (piece.start, piece.len) = (piece.start + part, piece.len - part);
        }
        model.pieces.retain(|piece| piece.len > 0);
        prop_assert_eq!(delivered, expected);
        model.una = ack;
        if model.fin_piece.is_some_and(|fin| fin.len == 0) {
            let fin = model.fin_piece.as_mut().expect("a FIN");
            (fin.mark, fin.start) = (Mark::Unsent, model.end);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let Model { una, end, fin, .. } = self.model;
        let nxt = self.model.nxt();
        let queue = &mut self.queue;
        queue.check_consistency();
        prop_assert_eq!((queue.una(), queue.nxt()), (self.first + una, self.first + nxt));
        let (sacked, lost) = (self.model.sum(Mark::Sacked), self.model.sum(Mark::Lost));
        prop_assert_eq!((queue.outstanding(), queue.pipe()), (nxt - una, nxt - una - sacked - lost));
        prop_assert_eq!((queue.queued(), queue.unsent()), (end.saturating_sub(una), end.saturating_sub(nxt)));
        prop_assert_eq!((queue.is_finished(), queue.fin_is_next()), (fin, fin && nxt == end));
        prop_assert_eq!((queue.next_new(), queue.next_lost()), (self.model.next_new(), self.model.next_lost()));
        prop_assert_eq!(queue.frames() + self.freed.len(), self.tokens as usize, "each frame is in one place");
        // The chunks are the bytes from SND.UNA to the end, without a gap.
        let mut at = una.min(end);
        for index in 0..queue.frames() {
            let Some(chunk) = queue.chunk(index) else { return Err(TestCaseError::fail("a chunk is missing")) };
            prop_assert_eq!(chunk.start, at as u16);
            prop_assert!(chunk.len > 0);
            at += u32::from(chunk.len);
        }
        prop_assert_eq!(at, end);
        Ok(())
    }
}

prop_compose! {
    fn situation()(
        chunk in 1_u16..1461, last: bool, again: bool, finished: bool,
        offset in prop_oneof![Just(0_u32), 0_u32..5000, 0_u32..100_000], gone in 0_u32..5000,
        window in prop_oneof![0_u32..5000, 0_u32..100_000],
        above in 0_u32..100_000, cwnd in 1_u32..100_000, nodelay: bool, cork: bool, probe: bool,
    ) -> Situation {
        // What is in front of the chunk and has not left the network is in flight; behind it may be more.
        let in_flight = if again { gone } else { offset.saturating_sub(gone) };
        Situation {
            chunk, last, again, finished, offset, in_flight, window, max_window: window + above, cwnd, mss: 1460, nodelay,
            cork, probe,
        }
    }
}

proptest! {
    #[test]
    fn the_send_queue_agrees_with_a_list_of_segments(first: u32, ops in prop::collection::vec(op(), 1..200)) {
        let first = Seq(first);
        let queue = SendQueue::new(first);
        let mut bench = Bench { queue, model: Model::default(), first, tokens: 0, freed: Vec::new(), now: 0 };
        for op in ops {
            bench.step(op)?;
        }
        let freed = &mut bench.freed;
        bench.queue.clear(&mut |token| freed.push(token.index()));
        prop_assert_eq!(bench.freed.len(), bench.tokens as usize);
    }

    /// What goes fits the windows, and new data goes only where RFC 9293 3.8.6.2.1 or 3.7.4 lets it.
    #[test]
    fn what_is_sent_keeps_the_rules_of_silly_windows_and_nagle(s in situation()) {
        let usable = s.window.saturating_sub(s.offset);
        let n = match decide(&s) {
            Decision::Whole => u32::from(s.chunk),
            Decision::Part(n) => {
                prop_assert!(n > 0 && n < s.chunk);
                u32::from(n)
            }
            Decision::Full => {
                prop_assert!(s.in_flight > 0 && s.in_flight + u32::from(s.chunk) > s.cwnd);
                return Ok(());
            }
            Decision::Wait => {
                prop_assert!(s.offset > 0 && s.last && s.chunk < s.mss && !s.nodelay && !s.finished && !s.again);
                return Ok(());
            }
            Decision::Corked => {
                prop_assert!(s.cork && s.last && s.chunk < s.mss && !s.finished);
                return Ok(());
            }
            Decision::Closed => {
                prop_assert!(usable < u32::from(s.chunk), "the window takes all of it");
                prop_assert!(usable == 0 || usable < s.max_window / 2, "half of the largest window is open");
                return Ok(());
            }
        };
        if s.probe {
            prop_assert!(n <= usable.max(1));
            return Ok(());
        }
        prop_assert!(n <= usable, "{} of {} bytes", n, usable);
        prop_assert!(s.in_flight == 0 || s.in_flight + u32::from(s.chunk) <= s.cwnd);
        let whole = n == u32::from(s.chunk);
        let half = n >= s.max_window / 2;
        prop_assert!(whole || half || s.again, "a sliver of {} bytes into a window of {}", n, s.max_window);
        let nagle = s.offset > 0 && s.last && whole && s.chunk < s.mss && !s.nodelay && !s.finished && !s.again;
        prop_assert!(!nagle, "a small segment while others are in flight");
    }

    /// Segments that come in any order leave the window that the latest of them offered: the one with the highest ACK,
    /// of several the one with the highest number. Its right edge never lies beyond what any of them offered.
    #[test]
    fn the_send_window_is_that_of_the_latest_segment(
        base: u32, scale in 0_u8..=14,
        steps in prop::collection::vec((0_u32..2000, 0_u32..2000, any::<u16>()), 1..40),
    ) {
        let at = |n: u32| Seq(base) + n;
        let mut window = SendWindow::from_syn(1000, at(0), at(0), scale);
        let mut latest = (0, 0);
        let mut size = 1000;
        let mut max = size;
        for (seq, ack, field) in steps {
            let newer = (ack, seq) >= latest;
            let before = size;
            if newer {
                latest = (ack, seq);
                size = u32::from(field) << scale;
                max = max.max(size);
            }
            prop_assert_eq!(window.on_segment(field, at(seq), at(ack)), newer && before != size);
            prop_assert_eq!((window.size(), window.max()), (size, max));
        }
    }
}

/// A window that goes again at one moment and is acknowledged but for its last segment leaves no trace of the others.
#[test]
fn what_has_arrived_is_not_remembered_as_sent_again() {
    let mut queue = SendQueue::new(Seq(0));
    for n in 0..200 {
        queue.push(Buf::new(Token::new(n), 66, 100));
        queue.on_sent_new(Stamp::sent_at(Instant::ZERO), false);
    }
    queue.lose_all(Instant::ZERO, &mut |_| {});
    while let Some(index) = queue.next_lost() {
        queue.on_sent_again(index, Stamp::sent_at(Instant::from_millis(5)), false);
    }
    for _ in 0..1000 {
        // At the same moment, as a test may have it.
        queue.on_sent_again(199, Stamp::sent_at(Instant::from_millis(5)), false);
        queue.check_consistency();
    }
    for ack in [10_000, 19_900, 19_950] {
        queue.on_ack(Seq(ack), &mut drop, &mut |_| {});
        queue.check_consistency();
    }
    let mut judged = 0;
    let asked = std::cell::Cell::new(0);
    let judge = |_, _| {
        asked.set(asked.get() + 1);
        Verdict::Lost
    };
    queue.find_lost(judge, &mut |loss| judged += loss.bytes);
    assert_eq!((judged, asked.get()), (50, 1), "half of the last segment, asked for once");
}
