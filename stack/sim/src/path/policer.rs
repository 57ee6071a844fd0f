//! A token-bucket policer: what is above the rate for longer than its bucket lasts is dropped and never queued.

use super::rate::Rate;
use corelane_proto::Instant;

/// A policer (RFC 2697's committed bucket, without colours).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicerPlan {
    /// How fast tokens come.
    pub rate: Rate,
    /// How many bytes the bucket holds; it begins full.
    pub bucket_bytes: u64,
}

/// A policer and what is in its bucket.
#[derive(Clone, Debug)]
pub(super) struct Policer {
    plan: PolicerPlan,
    /// In bits times 10^9, so that no nanosecond's share is lost.
    tokens: u128,
    filled_at: Instant,
}

/// Of a byte, in the bucket's unit.
const BYTE: u128 = 8_000_000_000;

impl Policer {
    pub(super) fn new(plan: PolicerPlan) -> Self {
        Self { plan, tokens: u128::from(plan.bucket_bytes) * BYTE, filled_at: Instant::ZERO }
    }

    /// Whether a frame of `bytes` may pass.
    pub(super) fn on_packet(&mut self, now: Instant, bytes: u64) -> bool {
        let elapsed = now.saturating_since(self.filled_at).as_nanos();
        let most = u128::from(self.plan.bucket_bytes) * BYTE;
        self.tokens = most.min(self.tokens + elapsed * u128::from(self.plan.rate.bits_per_second()));
        self.filled_at = self.filled_at.max(now);
        let wanted = u128::from(bytes) * BYTE;
        let passes = self.tokens >= wanted;
        if passes {
            self.tokens -= wanted;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_once_and_the_rate_always() {
        let mut policer = Policer::new(PolicerPlan { rate: Rate::bits(8_000), bucket_bytes: 3_000 });
        let passed = |policer: &mut Policer, second: u64| policer.on_packet(Instant::from_millis(second * 1000), 1000);
        let burst = [0; 5].map(|at| passed(&mut policer, at));
        assert_eq!(burst, [true, true, true, false, false], "the bucket is empty");
        let steady = [1, 1, 2, 3].map(|at| passed(&mut policer, at));
        assert_eq!(steady, [true, false, true, true], "1,000 bytes a second");
        let rested = [100; 4].map(|at| passed(&mut policer, at));
        assert_eq!(rested, [true, true, true, false], "no more than the bucket holds");
    }
}
