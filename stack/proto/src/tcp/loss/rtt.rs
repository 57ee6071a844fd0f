//! The round-trip time and its variation (RFC 6298 2).

use core::num::NonZeroU64;
use core::time::Duration;

/// SRTT and RTTVAR in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtt {
    smoothed: Option<NonZeroU64>,
    variation: u64,
}

impl Rtt {
    /// Takes a sample from a segment that was sent once (Karn, RFC 6298 3), when about `expected` samples come in a
    /// round trip. Each counts for less then, so that the history is as long as with one.
    //= spec/rfc7323.txt#section-4.2
    //# When multiple RTTMs per RTT are available to update the RTT estimator, an implementation SHOULD try to adhere to
    //# the spirit of the history specified in [RFC6298].
    pub fn on_sample(&mut self, sample: Duration, expected: u32) {
        let n = u64::from(expected.max(1));
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX / 8).min(u64::MAX / 8);
        match self.smoothed {
            //= spec/rfc6298.txt#section-2
            //# (2.2) When the first RTT measurement R is made, the host MUST set SRTT <- R RTTVAR <- R/2 RTO <- SRTT
            //# + max (G, K*RTTVAR) where K = 4.
            None => {
                self.smoothed = NonZeroU64::new(sample.max(1));
                self.variation = sample / 2;
            }
            //= spec/rfc6298.txt#section-2
            //# (2.3) When a subsequent RTT measurement R' is made, a host MUST set RTTVAR <- (1 - beta) * RTTVAR +
            //# beta * |SRTT - R'| SRTT <- (1 - alpha) * SRTT + alpha * R'
            //= spec/rfc6298.txt#section-2
            //# updating RTTVAR and SRTT MUST be computed in the above order.
            //= spec/rfc6298.txt#section-2
            //# The above SHOULD be computed using alpha=1/8 and beta=1/4
            Some(smoothed) => {
                let smoothed = smoothed.get();
                self.variation = towards(self.variation, smoothed.abs_diff(sample), 4 * n);
                self.smoothed = NonZeroU64::new(towards(smoothed, sample, 8 * n).max(1));
            }
        }
    }

    /// SRTT; `None` before the first sample.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| Duration::from_nanos(smoothed.get()))
    }

    /// SRTT + 4 * RTTVAR; `None` before the first sample. The clock's granularity G is a nanosecond.
    pub fn time_out(&self) -> Option<Duration> {
        //= spec/rfc6298.txt#section-4
        //# However, if the K*RTTVAR term in the RTO calculation equals zero, the variance term MUST be rounded to G
        //# seconds (i.e., use the equation given in step 2.3).
        self.smoothed.map(|smoothed| Duration::from_nanos(smoothed.get() + (4 * self.variation).max(1)))
    }
}

/// A `part`th of the way from `old` to `new`, but not less than a nanosecond short of `new`.
fn towards(old: u64, new: u64, part: u64) -> u64 {
    if new >= old { old + (new - old) / part } else { old - (old - new).div_ceil(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc9293.txt#section-3.8.1
    //= type=test
    //# The RTO MUST be computed according to the algorithm in [10], including Karn's algorithm for taking RTT samples
    //# (MUST-18).
    //= spec/rfc6298.txt#section-2
    //= type=test
    //# (2.2) When the first RTT measurement R is made, the host MUST set SRTT <- R RTTVAR <- R/2 RTO <- SRTT + max
    //# (G, K*RTTVAR) where K = 4.
    //= spec/rfc6298.txt#section-2
    //= type=test
    //# (2.3) When a subsequent RTT measurement R' is made, a host MUST set RTTVAR <- (1 - beta) * RTTVAR + beta *
    //# |SRTT - R'| SRTT <- (1 - alpha) * SRTT + alpha * R'
    //= spec/rfc6298.txt#section-2
    //= type=test
    //# That is, updating RTTVAR and SRTT MUST be computed in the above order.
    //= spec/rfc6298.txt#section-2
    //= type=test
    //# The above SHOULD be computed using alpha=1/8 and beta=1/4 (as suggested in [JK88]).
    #[test]
    fn the_first_sample_and_the_next() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.time_out(), None);
        rtt.on_sample(Duration::from_millis(100), 1);
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(100)));
        assert_eq!(rtt.time_out(), Some(Duration::from_millis(300)));
        rtt.on_sample(Duration::from_millis(180), 1);
        // RTTVAR = 3/4 * 50 + 1/4 * 80 = 57.5, SRTT = 7/8 * 100 + 1/8 * 180 = 110. With SRTT first RTTVAR were 55.
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(110)));
        assert_eq!(rtt.time_out(), Some(Duration::from_millis(340)));
    }

    //= spec/rfc6298.txt#section-4
    //= type=test
    //# However, if the K*RTTVAR term in the RTO calculation equals zero, the variance term MUST be rounded to G seconds
    //# (i.e., use the equation given in step 2.3).
    #[test]
    fn steady_samples_bring_the_time_out_down_to_the_time() {
        let mut rtt = Rtt::default();
        (0..200).for_each(|_| rtt.on_sample(Duration::from_micros(50), 1));
        assert_eq!(rtt.time_out(), Some(Duration::from_nanos(50_001)), "the variation is a tick of the clock");
    }

    //= spec/rfc7323.txt#section-4.2
    //= type=test
    //# When multiple RTTMs per RTT are available to update the RTT estimator, an implementation SHOULD try to adhere to
    //# the spirit of the history specified in [RFC6298].
    #[test]
    fn many_samples_in_a_round_trip_weigh_as_much_as_one() {
        let [mut one, mut many] = [Rtt::default(); 2];
        for millis in [100, 140, 140, 100, 180] {
            let sample = Duration::from_millis(millis);
            one.on_sample(sample, 1);
            (0..100).for_each(|_| many.on_sample(sample, 100));
        }
        let [one, many] = [one, many].map(|rtt| rtt.smoothed().unwrap().as_micros());
        assert!(one.abs_diff(many) < 2000, "{one} and {many} microseconds");
    }

    #[test]
    fn no_sample_overflows() {
        let mut rtt = Rtt::default();
        (0..100).for_each(|_| rtt.on_sample(Duration::MAX, u32::MAX));
        assert!(rtt.time_out().is_some());
    }
}
