//! A connection that reads or writes slowly on purpose: so many bytes a second, in small pieces.

/// The piece is what the rate gives in so much time, so that it is slow all the time and not in bursts.
const PIECE_NS: f64 = 10e6;

/// Says how many bytes may move now. Told the time, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    ns_per_byte: f64,
    piece: usize,
    next_at: u64,
}

impl Throttle {
    /// At most `rate` bytes a second (at least 1).
    pub fn new(rate: u64) -> Self {
        let rate = rate.max(1) as f64;
        // The casts saturate; a piece has a byte at least.
        Self { ns_per_byte: 1e9 / rate, piece: ((rate * PIECE_NS / 1e9) as usize).max(1), next_at: 0 }
    }

    /// How many bytes may move at `now`; 0 before [`next_at`](Self::next_at).
    pub const fn room(&self, now: u64) -> usize {
        if now < self.next_at { 0 } else { self.piece }
    }

    /// So many bytes moved at `now`.
    pub fn on_moved(&mut self, bytes: usize, now: u64) {
        if bytes > 0 {
            // Time that was not used is not saved up.
            self.next_at = now + (bytes as f64 * self.ns_per_byte) as u64;
        }
    }

    /// From when on bytes may move again.
    pub const fn next_at(&self) -> u64 {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_whatever_the_piece() {
        for (rate, piece) in [(1, 1), (1000, 10), (100_000_000, 1_000_000)] {
            let mut throttle = Throttle::new(rate);
            assert_eq!(throttle.room(0), piece);
            let (mut now, mut moved) = (0, 0u64);
            while now < 10_000_000_000 {
                let room = throttle.room(now);
                assert!(room > 0);
                throttle.on_moved(room, now);
                moved += room as u64;
                assert_eq!(throttle.room(now), 0);
                now = throttle.next_at();
            }
            assert!(moved.abs_diff(10 * rate) <= rate / 100 + 1, "{moved} at {rate}");
        }
    }
}
