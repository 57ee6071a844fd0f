//! The sender beside a list of bytes, and its decisions beside the rules as the RFC has them.

use corelane_proto::tcp::send::decide::{Decision, Situation, decide};
use corelane_proto::tcp::send::queue::SendQueue;
use corelane_proto::tcp::send::window::SendWindow;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::{Buf, Instant, Token};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u16),
    Grow(u16),
    Send,
    Resend,
    Split(u16),
    Join,
    Rewind,
    Ack(u32),
    Finish,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u16..100).prop_map(Op::Push),
        1 => (1_u16..20).prop_map(Op::Grow),
        5 => Just(Op::Send),
        1 => Just(Op::Resend),
        2 => (1_u16..100).prop_map(Op::Split),
        1 => Just(Op::Join),
        1 => Just(Op::Rewind),
        3 => (0_u32..400).prop_map(Op::Ack),
        1 => Just(Op::Finish),
    ]
}

/// Numbers that do not wrap, from the first byte on: what a list of bytes would know.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    una: u32,
    nxt: u32,
    max: u32,
    end: u32,
    fin: bool,
}

struct Bench {
    queue: SendQueue,
    model: Model,
    first: Seq,
    tokens: u32,
    freed: Vec<u32>,
}

impl Bench {
    /// A byte's place in its frame is its number, so that what is cut or joined wrongly shows.
    fn buf(&mut self, at: u32, len: u16) -> Buf {
        self.tokens += 1;
        Buf::new(Token::new(self.tokens - 1), at as u16, len)
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Push(len) if !self.model.fin => {
                let buf = self.buf(self.model.end, len);
                self.queue.push(buf);
                self.model.end += u32::from(len);
            }
            Op::Grow(n) => {
                if let Some(tail) = self.queue.open_tail() {
                    tail.len += n;
                    self.queue.grew(n);
                    self.model.end += u32::from(n);
                }
            }
            Op::Send => self.send(),
            Op::Resend => {
                if self.queue.front_sent().is_some() {
                    self.queue.on_resent_front(Instant::ZERO);
                }
            }
            Op::Split(at) => self.split(at),
            Op::Join => {
                if self.queue.can_join(150, |_| false) {
                    self.freed.extend(self.queue.join().map(|token| token.index()));
                }
            }
            Op::Rewind => {
                self.queue.rewind();
                self.model.nxt = self.model.una;
            }
            Op::Ack(n) => self.ack(n)?,
            Op::Finish => {
                self.queue.finish();
                self.model.fin = true;
            }
            Op::Push(_) => {}
        }
        self.check()
    }

    fn send(&mut self) {
        let Some((chunk, last)) = self.queue.next_chunk() else {
            if self.queue.fin_is_next() {
                self.queue.on_sent_fin();
                self.model.nxt = self.model.end + 1;
                self.model.max = self.model.nxt;
            }
            return;
        };
        let len = u32::from(chunk.buf.len);
        let fin = last && self.model.fin && len % 2 == 0;
        self.queue.on_sent_next(Instant::ZERO, fin);
        self.model.nxt += len + u32::from(fin);
        self.model.max = self.model.max.max(self.model.nxt);
    }

    fn split(&mut self, at: u16) {
        let index = self.queue.next_index();
        let Some((start, len)) = self.queue.chunk(index).map(|chunk| (chunk.start, chunk.len)) else { return };
        if at < len {
            let tail = self.buf(u32::from(start + at), len - at);
            self.queue.split(index, at, tail);
        }
    }

    /// The peer acknowledges `n` numbers more, but nothing that was not sent.
    fn ack(&mut self, n: u32) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        let ack = (model.una + n).min(model.max);
        if ack == model.una {
            return Ok(());
        }
        let freed = &mut self.freed;
        let acked = self.queue.on_ack(self.first + ack, &mut |token| freed.push(token.index()));
        prop_assert_eq!(acked.bytes, ack.min(model.end) - model.una.min(model.end));
        prop_assert_eq!(acked.fin, ack > model.end);
        model.una = ack;
        model.nxt = model.nxt.max(ack);
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let Model { una, nxt, max, end, fin } = self.model;
        let queue = &self.queue;
        queue.check_consistency();
        prop_assert_eq!(
            (queue.una(), queue.nxt(), queue.max()),
            (self.first + una, self.first + nxt, self.first + max)
        );
        prop_assert_eq!((queue.in_flight(), queue.outstanding()), (nxt - una, max - una));
        prop_assert_eq!((queue.queued(), queue.unsent()), (end.saturating_sub(una), end.saturating_sub(nxt)));
        prop_assert_eq!((queue.is_finished(), queue.fin_is_next()), (fin, fin && nxt == end));
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
        in_flight in prop_oneof![Just(0_u32), 0_u32..5000, 0_u32..100_000],
        window in prop_oneof![0_u32..5000, 0_u32..100_000],
        above in 0_u32..100_000, cwnd in 1_u32..100_000, nodelay: bool, cork: bool, probe: bool,
    ) -> Situation {
        Situation {
            chunk, last, again, finished, in_flight, window, max_window: window + above, cwnd, mss: 1460, nodelay, cork, probe,
        }
    }
}

proptest! {
    #[test]
    fn the_send_queue_agrees_with_a_list(first: u32, ops in prop::collection::vec(op(), 1..200)) {
        let first = Seq(first);
        let queue = SendQueue::new(first);
        let mut bench = Bench { queue, model: Model::default(), first, tokens: 0, freed: Vec::new() };
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
        let usable = s.window.saturating_sub(s.in_flight);
        let n = match decide(&s) {
            Decision::Whole => u32::from(s.chunk),
            Decision::Part(n) => {
                prop_assert!(n > 0 && n < s.chunk);
                u32::from(n)
            }
            Decision::Wait => {
                let nagle = s.in_flight > 0 && s.last && s.chunk < s.mss && !s.nodelay && !s.finished;
                prop_assert!(nagle || s.in_flight > 0 && s.in_flight + u32::from(s.chunk) > s.cwnd);
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
        let nagle = s.in_flight > 0 && s.last && whole && s.chunk < s.mss && !s.nodelay && !s.finished;
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
