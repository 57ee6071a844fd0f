//! A token bucket, for what is sent to whoever asks: resets, ICMP, challenge ACKs.

use super::flow_hash::PublicHash;
use crate::time::Instant;

/// Lets at most `rate` through in a second, after a burst.
///
/// Kept as the moment at which the bucket will be full (virtual scheduling, ITU-T I.371 annex A): exact in integers,
/// and nothing has to be refilled.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    /// Nanoseconds that one token takes to come back, rounded up; `None` when none ever comes.
    interval: Option<u64>,
    /// How far, in nanoseconds, the full bucket may lie ahead for there to be a token.
    tolerance: u64,
    /// When the bucket is full, in nanoseconds.
    full_at: u64,
}

impl Limiter {
    /// A full bucket of `burst` tokens that come back at `rate` a second. With either at 0 it lets nothing through;
    /// a rate over 10^9 is 10^9.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let interval = if rate == 0 || burst == 0 { None } else { Some(1_000_000_000_u64.div_ceil(u64::from(rate))) };
        let tolerance = interval.unwrap_or(0) * u64::from(burst.saturating_sub(1));
        Self { interval, tolerance, full_at: 0 }
    }

    /// Takes a token, if there is one. Whoever is refused counts it.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = now.as_nanos();
        if self.full_at > now.saturating_add(self.tolerance) {
            return false;
        }
        self.full_at = self.full_at.max(now).saturating_add(interval);
        true
    }
}

/// What is sent to whoever asks, each kind with a limit of its own: who makes us spend one leaves the others alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// An RST for a segment that has no connection.
    Reset,
    /// An answer to ping.
    Echo,
    /// An answer to ARP.
    Arp,
    /// An ACK out of TIME-WAIT.
    Ack,
}

/// One limiter for each kind of reply.
#[derive(Clone, Debug)]
pub(crate) struct Replies([Limiter; 4]);

impl Replies {
    /// `rate` a second of each kind, after a burst.
    pub(crate) fn new(rate: u32) -> Self {
        let limiter = Limiter::new(rate, rate.clamp(16, 1000));
        Self([limiter.clone(), limiter.clone(), limiter.clone(), limiter])
    }

    /// Takes a token for `reply`, if there is one.
    pub(crate) fn allow(&mut self, now: Instant, reply: Reply) -> bool {
        self.0[reply as usize].allow(now)
    }
}

/// The limit of challenge ACKs for the whole endpoint: so many a second, but how many exactly nobody can tell.
///
/// With a fixed limit somebody off the path can use it up by forged segments of his guesses and count on a connection of
/// his own what is left, and so learn whether a guess was right (CVE-2016-5696). So each second has a limit of its own,
/// half to one and a half times the configured, by a keyed hash.
#[derive(Debug)]
pub(crate) struct Challenges {
    limit: u32,
    hash: PublicHash,
    second: u64,
    left: u32,
}

impl Challenges {
    /// About `limit` a second; at 0 there are none. `key` is secret.
    pub(crate) fn new(limit: u32, key: [u8; 16]) -> Self {
        Self { limit, hash: PublicHash::new(key), second: u64::MAX, left: 0 }
    }

    /// Takes one of this second, if there is one left.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            self.second = second;
            // 0 to `limit`, without bias that matters: the hash has 32 bits more than the limit.
            let part = (u128::from(self.hash.bytes(&second.to_be_bytes())) * (u128::from(self.limit) + 1)) >> 64;
            let some = self.limit.div_ceil(2);
            self.left = if self.limit == 0 { 0 } else { some.saturating_add(part as u32) };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn allowed(limiter: &mut Limiter, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| limiter.allow(now)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut limiter = Limiter::new(100, 5);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(1), 20), 5);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(10), 20), 0);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(11), 20), 1);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(41), 20), 3);
        assert_eq!(allowed(&mut limiter, Instant::from_millis(60_000), 20), 5, "the bucket does not grow");
    }

    #[test]
    fn nothing_passes_at_rate_or_burst_zero() {
        assert!(!Limiter::new(0, 5).allow(Instant::from_millis(9)));
        assert!(!Limiter::new(5, 0).allow(Instant::from_millis(9)));
        assert!(Limiter::new(u32::MAX, u32::MAX).allow(Instant::from_nanos(u64::MAX)));
    }

    #[test]
    fn one_kind_of_reply_does_not_use_up_another() {
        let mut replies = Replies::new(16);
        let now = Instant::from_millis(1);
        assert_eq!((0..100).filter(|_| replies.allow(now, Reply::Reset)).count(), 16);
        for other in [Reply::Echo, Reply::Arp, Reply::Ack] {
            assert!(replies.allow(now, other), "{other:?}");
        }
    }

    #[test]
    fn the_limit_of_challenges_is_another_each_second() {
        let mut challenges = Challenges::new(100, [1; 16]);
        let seconds: Vec<usize> = (0..200)
            .map(|second| (0..300).filter(|_| challenges.allow(Instant::from_millis(second * 1000 + 5))).count())
            .collect();
        assert!(seconds.iter().all(|n| (50..=150).contains(n)), "{seconds:?}");
        let different: std::collections::BTreeSet<_> = seconds.iter().collect();
        assert!(different.len() > 50, "{seconds:?}");
        let mean = seconds.iter().sum::<usize>() / seconds.len();
        assert!((90..=110).contains(&mean), "{mean}");
        assert!(!Challenges::new(0, [1; 16]).allow(Instant::ZERO));
        assert!(Challenges::new(u32::MAX, [1; 16]).allow(Instant::ZERO));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 1u32..5000, burst in 1u32..50, steps in prop::collection::vec(0u64..30_000_000, 1..300),
        ) {
            let mut limiter = Limiter::new(rate, burst);
            let (mut now, mut passed) = (0u64, 0u64);
            for step in steps {
                now += step;
                passed += u64::from(limiter.allow(Instant::from_nanos(now)));
                prop_assert!(passed <= u64::from(burst) + now * u64::from(rate) / 1_000_000_000);
            }
        }
    }
}
