//! What the algorithms that go by losses share: window, threshold, slow start, and what a reduction takes back.

use super::{Ack, Cause, LEAST_SEGMENTS};
use core::time::Duration;

/// Most that one ACK adds in slow start, in segments: L of RFC 9406 4.2 for senders that do not pace. RFC 3465 had 2,
/// when every second segment was acknowledged; receivers that merge segments acknowledge many at once.
pub(super) const SLOW_START_LIMIT: u32 = 8;

/// How the last reduction came about, as long as it is not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing is being repaired.
    Open,
    /// Fast recovery, in which the window stands still.
    Fast,
    /// What a time-out has shown lost is sent again, and slow start goes on meanwhile.
    TimedOut,
}

/// The window and threshold of an algorithm that goes by losses: slow start, Reno's congestion avoidance, and what a
/// reduction does and takes back. How much is reduced is the algorithm's own business.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    /// `cwnd` before the last reduction.
    pub(super) prior_cwnd: u32,
    /// `ssthresh` before it; zero when it cannot be taken back.
    pub(super) prior_ssthresh: u32,
    /// In congestion avoidance, what has been acknowledged and has not yet added anything. In whose unit depends on the
    /// algorithm.
    pub(super) credit: u32,
    pub(super) mss: u16,
    pub(super) initial_segments: u8,
    pub(super) phase: Phase,
}

impl Window {
    pub(super) fn new(mss: u16, initial_segments: u8) -> Self {
        let (mss, initial_segments) = (mss.max(1), initial_segments.max(1));
        Self {
            cwnd: u32::from(mss) * u32::from(initial_segments),
            //= spec/rfc5681.txt#section-3.1
            //# The initial value of ssthresh SHOULD be set arbitrarily high
            ssthresh: u32::MAX,
            prior_cwnd: 0,
            prior_ssthresh: 0,
            credit: 0,
            mss,
            initial_segments,
            phase: Phase::Open,
        }
    }

    pub(super) fn mss(&self) -> u32 {
        u32::from(self.mss)
    }

    /// The window that a connection begins with, bytes.
    pub(super) fn initial(&self) -> u32 {
        self.mss() * u32::from(self.initial_segments)
    }

    /// [`LEAST_SEGMENTS`], bytes.
    pub(super) fn least(&self) -> u32 {
        LEAST_SEGMENTS * self.mss()
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Whether this ACK may enlarge the window.
    pub(super) fn may_grow(&mut self, ack: &Ack) -> bool {
        if !ack.recovering {
            self.phase = Phase::Open;
        }
        // In fast recovery PRR decides what is sent. After a time-out there is nothing but slow start to do it.
        let open = !ack.recovering || (self.phase == Phase::TimedOut && self.in_slow_start());
        // RFC 7661 4: a window that is not used is not proven, so it does not grow.
        open && ack.cwnd_limited
    }

    /// Slow start on `acked` bytes, at one `divisor`th of its speed.
    pub(super) fn slow_start(&mut self, acked: u32, divisor: u32) {
        // While a time-out is repaired, one ACK may cover much that left the network long ago. Afterwards it cannot, so
        // the limit that is meant for receivers that merge segments is good again.
        //= spec/rfc3465.txt#section-2.3
        //# The exception to the above suggestion is during a slow start phase that follows a retransmission timeout
        //# (RTO). In this situation, a TCP MUST use L=1*SMSS
        let limit = if self.phase == Phase::TimedOut { 1 } else { SLOW_START_LIMIT };
        let more = acked.min(limit * self.mss()) / divisor.max(1);
        self.cwnd = self.cwnd.saturating_add(more).min(self.ssthresh.max(self.cwnd));
    }

    /// Reno's congestion avoidance on `acked` bytes: a segment a window.
    pub(super) fn avoid(&mut self, acked: u32) {
        //= spec/rfc3465.txt#section-2.1
        //# When bytes_acked becomes greater than or equal to the value of the congestion window, bytes_acked is
        //# reduced by the value of cwnd. Next, cwnd is incremented by a full-sized segment (SMSS).
        self.credit = self.credit.saturating_add(acked);
        if self.credit >= self.cwnd {
            self.credit -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(self.mss());
        }
    }

    /// What Reno does with an ACK.
    pub(super) fn grow(&mut self, ack: &Ack) {
        if !self.may_grow(ack) {
            return;
        }
        //= spec/rfc9293.txt#section-3.8.2
        //# A TCP endpoint MUST implement the basic congestion control algorithms slow start, congestion avoidance,
        //# and exponential backoff of RTO to avoid creating congestion collapse conditions (MUST-19).
        if self.in_slow_start() { self.slow_start(ack.acked, 1) } else { self.avoid(ack.acked) }
    }

    /// Half of `flight`, and no less than two segments.
    //= spec/rfc5681.txt#section-3.1
    //# the value of ssthresh MUST be set to no more than the value given in equation (4): ssthresh = max (FlightSize
    //# / 2, 2*SMSS)
    pub(super) fn half(&self, flight: u32) -> u32 {
        (flight / 2).max(self.least())
    }

    /// Congestion: the window comes down to `ssthresh`. A reduction never raises it.
    pub(super) fn reduce(&mut self, cause: Cause, ssthresh: u32) {
        self.prior_cwnd = self.cwnd;
        match cause {
            Cause::Loss => {
                self.prior_ssthresh = self.ssthresh;
                self.phase = Phase::Fast;
            }
            // A mark is no guess that could prove wrong, so nothing older is restored over it either.
            Cause::Ecn => self.prior_ssthresh = 0,
        }
        self.ssthresh = ssthresh;
        self.cwnd = self.cwnd.min(ssthresh);
        self.credit = 0;
    }

    /// Fast recovery is over: PRR has brought what is in flight to `ssthresh`. Repair after a time-out changes nothing,
    /// since slow start has a way to go until there.
    pub(super) fn recovered(&mut self) {
        if self.phase == Phase::Fast {
            //= spec/rfc6582.txt#section-3.2
            //# Set cwnd to either (1) min (ssthresh, max(FlightSize, SMSS) + SMSS) or (2) ssthresh, where ssthresh is
            //# the value set when fast retransmit was entered
            self.cwnd = self.ssthresh;
            self.credit = 0;
        }
        self.phase = Phase::Open;
    }

    /// The retransmission timer fired: one segment, and the way back ends at `ssthresh`.
    pub(super) fn time_out(&mut self, ssthresh: u32, first: bool) {
        //= spec/rfc5681.txt#section-3.1
        //# when a TCP sender detects segment loss using the retransmission timer and the given segment has already
        //# been retransmitted by way of the retransmission timer at least once, the value of ssthresh is held
        //# constant.
        if first {
            self.prior_cwnd = self.cwnd;
            self.prior_ssthresh = self.ssthresh;
            self.ssthresh = ssthresh;
        }
        self.cwnd = self.mss();
        self.credit = 0;
        self.phase = Phase::TimedOut;
    }

    /// Takes the last reduction back, once. Says whether the window has grown by that.
    pub(super) fn undo(&mut self) -> bool {
        if self.prior_ssthresh == 0 {
            return false;
        }
        let grown = self.prior_cwnd > self.cwnd;
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        self.ssthresh = self.ssthresh.max(self.prior_ssthresh);
        self.prior_ssthresh = 0;
        self.phase = Phase::Open;
        grown
    }

    /// Sending begins again after `idle`. Says whether the window has shrunk by that.
    pub(super) fn restart(&mut self, idle: Duration, rto: Duration) -> bool {
        //= spec/rfc5681.txt#section-4.1
        //# a TCP SHOULD set cwnd to no more than RW before beginning transmission if the TCP has not sent data in an
        //# interval exceeding the retransmission timeout.
        if idle <= rto || self.cwnd <= self.initial() {
            return false;
        }
        self.remember_three_quarters();
        self.cwnd = self.initial();
        self.credit = 0;
        true
    }

    /// The window has not been used for long: half of it goes (RFC 7661 4.4.3).
    pub(super) fn decay(&mut self) {
        self.remember_three_quarters();
        self.cwnd = self.cwnd.min((self.cwnd / 2).max(self.initial()));
        self.credit = 0;
    }

    /// Slow start leads back to most of a window that was given up for want of use (RFC 7661 4.4.3).
    pub(super) fn remember_three_quarters(&mut self) {
        self.ssthresh = self.ssthresh.max(self.cwnd - self.cwnd / 4);
    }

    pub(super) fn set_mss(&mut self, mss: u16) {
        let (old, new) = (self.mss, mss.max(1));
        if new < old {
            //= spec/rfc5681.txt#section-3.1
            //# When initial congestion windows of more than one segment are implemented along with Path MTU Discovery
            //# [RFC1191], and the MSS being used is found to be too large, the congestion window cwnd SHOULD be reduced to
            //# prevent large bursts of smaller segments.
            //= spec/rfc5681.txt#section-3.1
            //# Specifically, cwnd SHOULD be reduced by the ratio of the old segment size to the new segment size.
            let scaled = u64::from(self.cwnd) * u64::from(new) / u64::from(old);
            self.cwnd = u32::try_from(scaled).unwrap_or(u32::MAX);
            // What is credited was reckoned in the old segments.
            self.credit = 0;
        }
        self.mss = new;
        self.cwnd = self.cwnd.max(self.mss());
    }
}
