//! The bottleneck: a queue before a wire that sends one frame after another.

use super::packet::Packet;
use super::rate::Rate;
use corelane_proto::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// A bottleneck.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueuePlan {
    /// How fast frames leave; `None` sends them at once, and then nothing ever waits.
    pub rate: Option<Rate>,
    /// Bytes that may wait beside the frame that is being sent; a frame that does not fit is dropped (drop-tail).
    pub limit_bytes: u64,
    /// Mark a frame that meets more than so many waiting bytes, as the switch of RFC 8257 3.1 does. Frames whose
    /// sender is not ECN-capable are neither marked nor dropped for it.
    pub mark_above_bytes: Option<u64>,
}

/// What became of a frame that came to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It waits.
    Queued,
    /// It waits, marked.
    Marked,
    /// There was no room.
    Full,
}

/// A bottleneck with the frames in it.
#[derive(Debug)]
pub(super) struct Queue {
    plan: QueuePlan,
    waiting: VecDeque<Packet>,
    waiting_bytes: u64,
    /// The frame on the wire, and when its last bit will have left.
    serving: Option<(Instant, Packet)>,
    /// Bytes times nanoseconds that were waited since `since`.
    area: u128,
    since: Instant,
    changed_at: Instant,
}

impl Queue {
    pub(super) fn new(plan: QueuePlan) -> Self {
        Self {
            plan,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            serving: None,
            area: 0,
            since: Instant::ZERO,
            changed_at: Instant::ZERO,
        }
    }

    /// From the next frame on it sends at `rate`.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.plan.rate = Some(rate);
    }

    /// Bytes that wait.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// How long a frame that comes now would wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some((left, _)) = &self.serving else { return Duration::ZERO };
        left.saturating_since(now) + self.plan.rate.map_or(Duration::ZERO, |rate| rate.time_of(self.waiting_bytes))
    }

    pub(super) fn on_packet(&mut self, now: Instant, mut packet: Packet) -> Verdict {
        if self.serving.is_none() {
            self.serve(now, packet);
            return Verdict::Queued;
        }
        if self.waiting_bytes + packet.frame_len() > self.plan.limit_bytes {
            return Verdict::Full;
        }
        let marked = self.plan.mark_above_bytes.is_some_and(|above| self.waiting_bytes > above) && packet.mark();
        self.account(now);
        self.waiting_bytes += packet.frame_len();
        self.waiting.push_back(packet);
        if marked { Verdict::Marked } else { Verdict::Queued }
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.serving.as_ref().map(|(left, _)| *left)
    }

    /// The next frame that has left by `now`, and when it did.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<(Instant, Packet)> {
        let (left, packet) = self.serving.take_if(|(left, _)| *left <= now)?;
        if let Some(next) = self.waiting.pop_front() {
            self.account(left);
            self.waiting_bytes -= next.frame_len();
            self.serve(left, next);
        }
        Some((left, packet))
    }

    /// The mean number of waiting bytes from the last call until `now`, rounded down.
    pub(super) fn take_mean_bytes(&mut self, now: Instant) -> u64 {
        self.account(now);
        let time = now.saturating_since(self.since).as_nanos().max(1);
        let mean = self.area / time;
        (self.area, self.since) = (0, now);
        u64::try_from(mean).unwrap_or(u64::MAX)
    }

    fn serve(&mut self, from: Instant, packet: Packet) {
        let time = self.plan.rate.map_or(Duration::ZERO, |rate| rate.time_of(packet.frame_len()));
        self.serving = Some((from + time, packet));
    }

    fn account(&mut self, now: Instant) {
        self.area += u128::from(self.waiting_bytes) * now.saturating_since(self.changed_at).as_nanos();
        self.changed_at = self.changed_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::segment;
    use super::*;

    /// 1,000 bytes of frame take a millisecond.
    const PLAN: QueuePlan =
        QueuePlan { rate: Some(Rate::megabits(8)), limit_bytes: 3_000, mark_above_bytes: Some(1_500) };

    fn packet(ecn: u8) -> Packet {
        segment(1000 - 54, ecn)
    }

    fn millis(at: u64) -> Instant {
        Instant::from_millis(at)
    }

    #[test]
    fn frames_leave_one_after_another_and_what_does_not_fit_is_dropped() {
        let mut queue = Queue::new(PLAN);
        let verdicts = [(); 5].map(|()| queue.on_packet(millis(10), packet(0)));
        assert_eq!(verdicts[..4], [Verdict::Queued; 4], "one on the wire and three behind it");
        assert_eq!(verdicts[4], Verdict::Full);
        assert_eq!(queue.wait(millis(10)), Duration::from_millis(4));
        assert_eq!(queue.poll_deadline(), Some(millis(11)));
        let left: Vec<_> = std::iter::from_fn(|| queue.poll_packet(millis(13))).map(|(left, _)| left).collect();
        assert_eq!(left, [millis(11), millis(12), millis(13)], "each when it left, however late one asks");
        assert_eq!(queue.poll_packet(millis(14)).map(|(left, _)| left), Some(millis(14)));
        assert_eq!(queue.poll_deadline(), None);
    }

    #[test]
    fn a_long_queue_marks_who_understands_marks() {
        let mut queue = Queue::new(PLAN);
        let verdicts = [2, 2, 2, 2].map(|ecn| queue.on_packet(millis(0), packet(ecn)));
        assert_eq!(verdicts, [Verdict::Queued, Verdict::Queued, Verdict::Queued, Verdict::Marked]);
        let mut queue = Queue::new(PLAN);
        let verdicts = [0; 4].map(|ecn| queue.on_packet(millis(0), packet(ecn)));
        assert_eq!(verdicts, [Verdict::Queued; 4]);
    }

    #[test]
    fn the_mean_queue_is_over_time() {
        let mut queue = Queue::new(PLAN);
        (0..3).for_each(|_| assert_eq!(queue.on_packet(millis(0), packet(0)), Verdict::Queued));
        while queue.poll_packet(millis(4)).is_some() {}
        // 2,000 bytes for a millisecond, 1,000 for another, and none for two.
        assert_eq!(queue.take_mean_bytes(millis(4)), 750);
        assert_eq!(queue.take_mean_bytes(millis(5)), 0);
    }

    #[test]
    fn another_rate_counts_from_the_next_frame_on() {
        let mut queue = Queue::new(PLAN);
        (0..2).for_each(|_| assert_eq!(queue.on_packet(millis(0), packet(0)), Verdict::Queued));
        queue.set_rate(Rate::megabits(1));
        let left = [millis(1), millis(9)];
        assert_eq!(left.map(|at| queue.poll_packet(at).map(|(left, _)| left)), left.map(Some));
    }
}
