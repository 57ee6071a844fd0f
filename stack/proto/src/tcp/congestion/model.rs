//! For the tests: one sender, one bottleneck with a buffer, one receiver that acknowledges each segment. Segments keep
//! their order, so a segment is lost as soon as the third after it is acknowledged.

use super::{Ack, Cause, CongestionControl, Lost, RateSample, Sent};
use crate::time::Instant;
use core::time::Duration;
use std::collections::VecDeque;

/// xorshift64*.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
    }
}

/// An ACK of `bytes` outside of recovery, with nothing else to it.
pub(super) fn ack(bytes: u32) -> Ack {
    Ack {
        now: Instant::ZERO,
        delivered: bytes,
        acked: bytes,
        lost: 0,
        delivered_total: 0,
        prior_in_flight: bytes,
        in_flight: 0,
        cwnd_limited: true,
        recovering: false,
        rtt: None,
        srtt: None,
        min_rtt: None,
        rate: None,
        ce: 0,
    }
}

/// One event with quantities from `sizes`, on `congestion`.
pub(super) fn anything(congestion: &mut dyn CongestionControl, random: &mut Random, now: Instant, sizes: &[u32]) {
    let mut size = || sizes[usize::try_from(random.below(sizes.len() as u64)).unwrap_or(0)];
    let (bytes, flight, other, lost) = (size(), size(), size(), size());
    let times =
        [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(40), Duration::from_secs(9), Duration::MAX];
    let mut time = || times[usize::try_from(random.below(5)).unwrap_or(0)];
    let (rtt, interval) = (time(), time());
    let total = u64::from(flight) * u64::from(bytes % 9);
    let rate = RateSample {
        delivered: bytes,
        interval,
        prior_delivered: total,
        in_flight_at_send: flight,
        lost: other,
        app_limited: bytes % 2 == 0,
    };
    let ack = Ack {
        now,
        acked: other,
        lost,
        delivered_total: total,
        prior_in_flight: flight,
        in_flight: other,
        cwnd_limited: random.below(4) > 0,
        recovering: random.below(4) == 0,
        rtt: Some(rtt).filter(|_| bytes != 1),
        srtt: Some(interval).filter(|_| bytes != 2),
        min_rtt: Some(rtt),
        rate: Some(rate).filter(|_| bytes > 0),
        ce: lost,
        ..ack(bytes)
    };
    let sent = Sent { now, prior_in_flight: other, delivered_total: total, app_limited: bytes % 2 == 0 };
    let segment =
        Lost { now, bytes, in_flight_at_send: flight, lost_since: other, delivered_total: total, app_limited: false };
    match random.below(40) {
        0 => congestion.on_congestion(now, Cause::Loss, flight),
        1 => congestion.on_congestion(now, Cause::Ecn, flight),
        2 => congestion.on_recovered(now, flight),
        3 => congestion.on_time_out(now, flight, bytes % 2 == 0),
        4 => congestion.on_undo(now),
        5 => congestion.on_idle(now, rtt, interval),
        6 => congestion.on_unvalidated(),
        7 => congestion.set_mss(u16::try_from(bytes & 0xFFFF).unwrap_or(1)),
        8..12 => congestion.on_segment_lost(&segment),
        12..20 => congestion.on_sent(&sent),
        _ => congestion.on_ack(&ack),
    }
}

/// A segment on its way.
#[derive(Clone, Debug)]
struct Segment {
    number: u64,
    /// When its ACK arrives; `None` when it does not.
    back: Option<Instant>,
    marked: bool,
    sent: Instant,
    first_sent: Instant,
    prior_delivered: u64,
    prior_delivered_at: Instant,
    in_flight: u32,
    lost_before: u64,
}

/// What an observer is shown after each ACK.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) now: Instant,
    pub(super) in_flight: u32,
    pub(super) rtt: Duration,
    pub(super) lost: u64,
}

/// The path, and the sender's bookkeeping for it.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Bytes a second; may be changed between runs.
    pub(super) rate: u64,
    /// Without any queue; may be changed between runs.
    pub(super) rtt: Duration,
    /// Bytes that the bottleneck holds back before it drops.
    pub(super) buffer: u64,
    /// It marks what finds more bytes than this in the buffer.
    pub(super) mark_above: Option<u64>,
    /// Out of a thousand segments, so many vanish.
    pub(super) loss_per_mille: u64,
    /// Bytes of a segment.
    pub(super) mss: u32,
    random: Random,
    now: Instant,
    free_at: Instant,
    next_send: Instant,
    flying: VecDeque<Segment>,
    next_number: u64,
    in_flight: u32,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    lost: u64,
    /// Recovery, or the window of data that an ECN reduction is for, ends with this segment.
    recover: Option<u64>,
    reduced: u64,
    srtt: Duration,
    min_rtt: Duration,
    limited: bool,
}

impl Path {
    pub(super) fn new(rate: u64, rtt: Duration, buffer: u64) -> Self {
        Self {
            rate,
            rtt,
            buffer,
            mark_above: None,
            loss_per_mille: 0,
            mss: 1000,
            random: Random::new(42),
            now: Instant::from_millis(1),
            free_at: Instant::ZERO,
            next_send: Instant::ZERO,
            flying: VecDeque::new(),
            next_number: 0,
            in_flight: 0,
            delivered: 0,
            delivered_at: Instant::ZERO,
            first_sent: Instant::ZERO,
            lost: 0,
            recover: None,
            reduced: 0,
            srtt: Duration::ZERO,
            min_rtt: Duration::MAX,
            limited: false,
        }
    }

    /// Bytes that have arrived.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Sends as much as `congestion` allows for `time`, and shows `observe` what it is like after each ACK.
    pub(super) fn run<C: CongestionControl>(
        &mut self,
        congestion: &mut C,
        time: Duration,
        mut observe: impl FnMut(&C, Seen),
    ) {
        let end = self.now + time;
        while self.now < end {
            self.send(congestion);
            let back = self.flying.iter().find_map(|segment| segment.back);
            let next_send = self.may_send(congestion).then_some(self.next_send);
            match (back, next_send) {
                (Some(back), Some(send)) if send < back => self.now = send,
                (Some(back), _) => {
                    self.now = back;
                    let rtt = self.arrival(congestion);
                    let seen = Seen { now: self.now, in_flight: self.in_flight, rtt, lost: self.lost };
                    observe(congestion, seen);
                }
                (None, _) if !self.flying.is_empty() => self.time_out(congestion),
                (None, Some(send)) => self.now = send,
                (None, None) => unreachable!("nothing is in flight and nothing may be sent"),
            }
        }
    }

    fn may_send(&self, congestion: &impl CongestionControl) -> bool {
        self.in_flight + self.mss <= congestion.cwnd() || self.in_flight == 0
    }

    fn send(&mut self, congestion: &mut impl CongestionControl) {
        while self.may_send(congestion) && self.next_send <= self.now {
            if self.in_flight == 0 {
                (self.delivered_at, self.first_sent) = (self.now, self.now);
            }
            congestion.on_sent(&Sent {
                now: self.now,
                prior_in_flight: self.in_flight,
                delivered_total: self.delivered,
                app_limited: false,
            });
            self.in_flight += self.mss;
            let queued = u128::from(self.rate) * self.free_at.saturating_since(self.now).as_nanos() / 1_000_000_000;
            let queued = u64::try_from(queued).expect("a queue fits 64 bits");
            let dropped = queued + u64::from(self.mss) > self.buffer + u64::from(self.mss)
                || self.random.below(1_000) < self.loss_per_mille;
            let takes = Duration::from_nanos(u64::from(self.mss) * 1_000_000_000 / self.rate);
            if !dropped {
                self.free_at = self.free_at.max(self.now) + takes;
            }
            self.flying.push_back(Segment {
                number: self.next_number,
                back: (!dropped).then(|| self.free_at + self.rtt),
                marked: self.mark_above.is_some_and(|threshold| queued > threshold),
                sent: self.now,
                first_sent: self.first_sent,
                prior_delivered: self.delivered,
                prior_delivered_at: self.delivered_at,
                in_flight: self.in_flight,
                lost_before: self.lost,
            });
            self.next_number += 1;
            if let Some(rate) = congestion.pacing_rate() {
                self.next_send = self.next_send.max(self.now)
                    + Duration::from_nanos(u64::from(self.mss) * 1_000_000_000 / rate.max(1));
            }
        }
        // Held back by the window, not by pacing.
        self.limited |= !self.may_send(congestion);
    }

    /// The first ACK that is on its way arrives. Answers with its round-trip time.
    fn arrival(&mut self, congestion: &mut impl CongestionControl) -> Duration {
        let prior_in_flight = self.in_flight;
        let at = self.flying.iter().position(|segment| segment.back.is_some()).expect("somebody looked");
        let segment = self.flying.remove(at).expect("it is there");
        self.in_flight -= self.mss;
        self.delivered += u64::from(self.mss);
        let lost_before = self.lost;
        self.find_lost(congestion, segment.number);
        self.events(congestion, &segment, self.lost > lost_before, prior_in_flight);
        let rtt = self.now.saturating_since(segment.sent);
        self.srtt = if self.srtt.is_zero() { rtt } else { (self.srtt * 7 + rtt) / 8 };
        self.min_rtt = self.min_rtt.min(rtt);
        let send = segment.sent.saturating_since(segment.first_sent);
        let interval = send.max(self.now.saturating_since(segment.prior_delivered_at)).max(Duration::from_nanos(1));
        (self.delivered_at, self.first_sent) = (self.now, segment.sent);
        congestion.on_ack(&Ack {
            now: self.now,
            lost: u32::try_from(self.lost - lost_before).expect("less than a window"),
            delivered_total: self.delivered,
            prior_in_flight,
            in_flight: self.in_flight,
            cwnd_limited: self.limited,
            recovering: self.recover.is_some(),
            rtt: Some(rtt),
            srtt: Some(self.srtt),
            min_rtt: Some(self.min_rtt),
            rate: Some(RateSample {
                delivered: u32::try_from(self.delivered - segment.prior_delivered).expect("about a window"),
                interval,
                prior_delivered: segment.prior_delivered,
                in_flight_at_send: segment.in_flight,
                lost: u32::try_from(self.lost - segment.lost_before).expect("about a window"),
                app_limited: false,
            }),
            ce: if segment.marked { self.mss } else { 0 },
            ..ack(self.mss)
        });
        rtt
    }

    /// Whatever is three or more before `acknowledged` is lost.
    fn find_lost(&mut self, congestion: &mut impl CongestionControl, acknowledged: u64) {
        while self.flying.front().is_some_and(|first| first.back.is_none() && first.number + 3 <= acknowledged) {
            let first = self.flying.pop_front().expect("it was just seen");
            self.in_flight -= self.mss;
            self.lost += u64::from(self.mss);
            congestion.on_segment_lost(&Lost {
                now: self.now,
                bytes: self.mss,
                in_flight_at_send: first.in_flight,
                lost_since: u32::try_from(self.lost - first.lost_before).expect("about a window"),
                delivered_total: self.delivered,
                app_limited: false,
            });
        }
    }

    fn events(&mut self, congestion: &mut impl CongestionControl, segment: &Segment, lost: bool, flight: u32) {
        if self.recover.is_some_and(|recover| segment.number >= recover) {
            self.recover = None;
            congestion.on_recovered(self.now, self.in_flight);
        }
        if lost && self.recover.is_none() {
            // The last segment that was sent before counts as lost when the third after it is acknowledged.
            self.recover = Some(self.next_number + 2);
            congestion.on_congestion(self.now, Cause::Loss, flight);
        }
        if segment.marked && self.recover.is_none() && segment.number >= self.reduced {
            self.reduced = self.next_number;
            congestion.on_congestion(self.now, Cause::Ecn, flight);
        }
    }

    /// Nothing that is in flight comes back.
    fn time_out(&mut self, congestion: &mut impl CongestionControl) {
        self.now = self.now + Duration::from_secs(1);
        congestion.on_time_out(self.now, self.in_flight, true);
        self.lost += u64::from(self.in_flight);
        self.in_flight = 0;
        self.flying.clear();
        self.recover = Some(self.next_number);
    }
}
