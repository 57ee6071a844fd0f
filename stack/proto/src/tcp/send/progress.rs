//! Whether the peer takes what is queued for it. Opening its window is not taking: it is bytes that count.

use crate::tcp::seq::Seq;
use crate::time::Instant;
use core::time::Duration;

/// Where SND.UNA stood when the peer had last taken a segment's worth, as far as anybody has looked.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    mark: Seq,
    /// Seconds, rounded up: a connection is to stay small, and nobody is to be judged early.
    since: u32,
}

/// Nobody has looked.
const NEVER: u32 = u32::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self { mark: Seq(0), since: NEVER }
    }
}

impl Progress {
    /// SND.UNA is `una`, and there is more to take. What is less than `segment` bytes beyond the mark does not move it.
    pub fn on_look(&mut self, now: Instant, una: Seq, segment: u16) {
        if self.since == NEVER || una.since(self.mark) >= u32::from(segment) {
            self.mark = una;
            self.since = u32::try_from(now.as_millis().div_ceil(1000)).unwrap_or(NEVER);
        }
    }

    /// There is nothing to take.
    pub fn on_empty(&mut self) {
        self.since = NEVER;
    }

    /// How long the peer has not taken a segment's worth, or up to a second less.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        now.saturating_since(Instant::from_millis(u64::from(self.since) * 1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_segment_or_an_empty_queue_begins_anew() {
        let mut progress = Progress::default();
        let at = Instant::from_millis;
        assert_eq!(progress.stalled_for(at(1000)), Duration::ZERO);
        progress.on_look(at(1000), Seq(u32::MAX - 100), 1000);
        progress.on_look(at(5000), Seq(898), 1000);
        assert_eq!(progress.stalled_for(at(6000)), Duration::from_secs(5));
        progress.on_look(at(6000), Seq(899), 1000);
        assert_eq!(progress.stalled_for(at(7000)), Duration::from_secs(1));
        progress.on_look(at(6500), Seq(1899), 1000);
        assert_eq!(progress.stalled_for(at(67_000)), Duration::from_secs(60), "a part of a second is given away");
        progress.on_empty();
        assert_eq!(progress.stalled_for(at(7000)), Duration::ZERO);
    }
}
