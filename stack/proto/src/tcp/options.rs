//! What the SYNs agree on (RFC 7323, RFC 2018), and timestamps: PAWS and the clock that the peer sees.

use super::config::TcpConfig;
use super::segment::{Flags, MAX_WINDOW_SCALE, Options, Segment, Timestamps};
use super::seq::Seq;
use crate::time::Instant;
use core::time::Duration;

/// The shift that lets a window of `limit` bytes be told in 16 bits.
fn scale_for(limit: u32) -> u8 {
    //= spec/rfc7323.txt#section-2.3
    //# Thus, the shift count MUST be limited to 14 (which allows windows of 2^30 = 1 GiB).
    (0..MAX_WINDOW_SCALE).find(|scale| limit >> scale <= u32::from(u16::MAX)).unwrap_or(MAX_WINDOW_SCALE)
}

/// The options of our SYN.
pub fn offer(config: &TcpConfig, mss: u16, ts_value: u32) -> Options {
    Options {
        //= spec/rfc9293.txt#section-3.7.1
        //# TCP endpoints MUST implement both sending and receiving the MSS Option (MUST-14).
        //= spec/rfc9293.txt#section-3.7.1
        //# TCP implementations SHOULD send an MSS Option in every SYN segment when its receive MSS differs from the
        //# default 536 for IPv4 or 1220 for IPv6 (SHLD-5), and MAY send it always (MAY-3).
        mss: Some(mss),
        //= spec/rfc7323.txt#section-2.2
        //# Thus, a TCP that is prepared to scale windows SHOULD send the option, even if its own scale factor is 1 and
        //# the exponent 0.
        //= spec/rfc7323.txt#section-2.3
        //# o The Window Scale option MUST be sent with shift.cnt = R, where R is the value that the TCP would like to
        //# use for its receive window.
        window_scale: config.window_scaling.then(|| scale_for(config.recv_buffer)),
        sack_permitted: config.sack,
        //= spec/rfc7323.txt#section-3.2
        //# If the ACK bit is not set in the outgoing TCP header, the sender of that segment SHOULD set the TSecr field to
        //# zero.
        timestamps: config.timestamps.then_some(Timestamps { value: ts_value, echo: 0 }),
        ..Options::NONE
    }
}

/// The options of our SYN-ACK: nothing that the peer's SYN has not offered.
//= spec/rfc7323.txt#section-1.3
//# the Window Scale option will be sent in a <SYN,ACK> segment only if the corresponding option was received in the
//# initial <SYN> segment.
//= spec/rfc7323.txt#section-3.2
//# MAY send a TSopt in <SYN,ACK> only if it received a TSopt in the initial <SYN> segment for the connection.
//= spec/rfc2018.txt#section-2
//# It MUST NOT be sent on non-SYN segments.
pub fn answer(config: &TcpConfig, mss: u16, ts_value: u32, theirs: &Options) -> Options {
    let offered = offer(config, mss, ts_value);
    Options {
        //= spec/rfc7323.txt#section-2.3
        //# o If a TCP receives a <SYN> segment containing a Window Scale option, it SHOULD send its own Window Scale
        //# option in the <SYN,ACK> segment.
        window_scale: offered.window_scale.filter(|_| theirs.window_scale.is_some()),
        sack_permitted: offered.sack_permitted && theirs.sack_permitted,
        timestamps: offered
            .timestamps
            .zip(theirs.timestamps)
            .map(|(ours, theirs)| Timestamps { value: ours.value, echo: theirs.value }),
        ..offered
    }
}

/// What both sides have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Negotiated {
    /// Timestamps go in every segment.
    pub timestamps: bool,
    /// SACK may be sent.
    pub sack: bool,
    /// How the peer's window field is scaled.
    pub send_scale: u8,
    /// How ours is.
    pub recv_scale: u8,
}

impl Negotiated {
    /// From the two SYNs' options.
    pub fn new(ours: &Options, theirs: &Options) -> Self {
        //= spec/rfc7323.txt#section-2.2
        //# both sides MUST send Window Scale options in their <SYN> segments to enable window scaling in either
        //# direction.
        //= spec/rfc7323.txt#section-2.3
        //# If a Window Scale option is received with a shift.cnt value larger than 14, the TCP SHOULD log the error
        //# but MUST use 14 instead of the specified value.
        //= spec/rfc7323.txt#section-2.3
        //# o Upon receiving a <SYN> segment with a Window Scale option containing shift.cnt = S, a TCP MUST set
        //# Snd.Wind.Shift to S and MUST set Rcv.Wind.Shift to R; otherwise, it MUST set both Snd.Wind.Shift and
        //# Rcv.Wind.Shift to zero.
        //= spec/rfc7323.txt#section-2.2
        //# A Window Scale option in a segment without a SYN bit MUST be ignored.
        // Only the options of the two SYNs come here.
        let scales = ours.window_scale.zip(theirs.window_scale);
        Self {
            //= spec/rfc7323.txt#section-3.2
            //# The TCP SHOULD remember this state by setting a flag, referred to as Snd.TS.OK, to one.
            timestamps: ours.timestamps.is_some() && theirs.timestamps.is_some(),
            sack: ours.sack_permitted && theirs.sack_permitted,
            send_scale: scales.map_or(0, |(_, theirs)| theirs.min(MAX_WINDOW_SCALE)),
            recv_scale: scales.map_or(0, |(ours, _)| ours.min(MAX_WINDOW_SCALE)),
        }
    }
}

/// Whether `segment` has no timestamp where both sides have agreed to send one. An RST may do without, and a SYN is older
/// than the agreement.
pub fn lacks_timestamps(segment: &Segment) -> bool {
    !segment.flags.any(Flags::RST | Flags::SYN) && segment.options.timestamps.is_none()
}

/// `TSval` for a connection: milliseconds plus an offset of its own, so that it tells neither uptime nor other
/// connections (RFC 7323 5.4, 7).
//= spec/rfc7323.txt#section-4.1
//# Values of this clock MUST be at least approximately proportional to real time, in order to measure actual RTT.
//= spec/rfc7323.txt#section-5.4
//# It MUST tick at least once for each 2^31 bytes sent.
//= spec/rfc7323.txt#section-5.4
//# the clock SHOULD tick at least once per window's worth of data, and even with the window extension defined in Section
//# 2.2, 2^31 bytes must be at least two windows.
//= spec/rfc7323.txt#section-5.4
//# The recycling time of the timestamp clock MUST be greater than MSL seconds.
// A tick is a millisecond, in which 17 terabit a second send 2^31 bytes and 8 terabit a second the largest window; the
// clock comes round after 49 days.
pub fn ts_value(now: Instant, offset: u32) -> u32 {
    (now.as_millis() as u32).wrapping_add(offset)
}

/// TS.Recent and what goes with it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimestampClock {
    offset: u32,
    recent: u32,
    recent_at: Instant,
}

/// After this much idleness TS.Recent may have wrapped and is not trusted (RFC 7323 5.5).
const TOO_OLD: Duration = Duration::from_secs(24 * 24 * 3600);

impl TimestampClock {
    /// A clock whose first echo is `recent`.
    pub fn new(offset: u32, recent: u32, now: Instant) -> Self {
        Self { offset, recent, recent_at: now }
    }

    /// The option for a segment sent now.
    pub fn stamp(&self, now: Instant) -> Timestamps {
        Timestamps { value: ts_value(now, self.offset), echo: self.recent }
    }

    /// TS.Recent.
    pub fn recent(&self) -> u32 {
        self.recent
    }

    /// Our offset.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// PAWS: whether `value` is older than what was seen.
    //= spec/rfc7323.txt#section-5.3
    //# R1) If there is a Timestamps option in the arriving segment, SEG.TSval < TS.Recent, TS.Recent is valid (see
    //# later discussion), and if the RST bit is not set, then treat the arriving segment as not acceptable:
    pub fn is_old(&self, value: u32, now: Instant) -> bool {
        Seq(value).before(Seq(self.recent)) && now.saturating_since(self.recent_at) <= TOO_OLD
    }

    /// Takes the value of an acceptable segment that begins at `seq`, when everything before `last_ack` has been
    /// acknowledged.
    //= spec/rfc7323.txt#section-4.3
    //# If: SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent then SEG.TSval is copied to TS.Recent; otherwise, it
    //# is ignored.
    //= spec/rfc7323.txt#section-5.2
    //# The choice of incoming timestamps to be saved for this comparison MUST guarantee a value that is monotonically
    //# non-decreasing.
    //= spec/rfc7323.txt#section-3.2
    //# The exact rules on which TSval MUST be echoed are given in Section 4.3.
    //= spec/rfc7323.txt#section-4.3
    //# Thus, when delayed ACKs are in use, the receiver SHOULD reply with the TSval field from the earliest
    //# unacknowledged segment.
    //= spec/rfc7323.txt#section-4.3
    //# An <ACK> for an out-of-order segment SHOULD, therefore, contain the timestamp from the most recent segment that
    //# advanced RCV.NXT.
    //= spec/rfc7323.txt#section-4.3
    //# Thus, the timestamp from the latest segment (which filled the hole) MUST be echoed.
    pub fn on_segment(&mut self, value: u32, seq: Seq, last_ack: Seq, now: Instant) {
        if seq.at_or_before(last_ack) && !self.is_old(value, now) {
            self.recent = value;
            self.recent_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_fits_the_buffer() {
        assert_eq!(scale_for(65_535), 0);
        assert_eq!(scale_for(65_536), 1);
        assert_eq!(scale_for(256 * 1024), 3);
        assert_eq!(scale_for(u32::MAX), MAX_WINDOW_SCALE);
    }

    //= spec/rfc7323.txt#section-3.2
    //= type=test
    //# If the ACK bit is not set in the outgoing TCP header, the sender of that segment SHOULD set the TSecr field to
    //# zero.
    //= spec/rfc7323.txt#section-2.2
    //= type=test
    //# Thus, a TCP that is prepared to scale windows SHOULD send the option, even if its own scale factor is 1 and the
    //# exponent 0.
    //= spec/rfc7323.txt#section-2.3
    //= type=test
    //# o The Window Scale option MUST be sent with shift.cnt = R, where R is the value that the TCP would like to use
    //# for its receive window.
    #[test]
    fn a_syn_offers_the_scale_of_its_buffer_and_echoes_nothing() {
        for (recv_buffer, scale) in [(65_535, 0), (65_536, 1), (1 << 30, 14)] {
            let offer = offer(&TcpConfig { recv_buffer, ..TcpConfig::default() }, 1460, 7);
            assert_eq!(offer.window_scale, Some(scale));
            assert_eq!(offer.timestamps, Some(Timestamps { value: 7, echo: 0 }));
        }
    }

    //= spec/rfc7323.txt#section-4.1
    //= type=test
    //# Values of this clock MUST be at least approximately proportional to real time, in order to measure actual RTT.
    //= spec/rfc7323.txt#section-5.4
    //= type=test
    //# It MUST tick at least once for each 2^31 bytes sent.
    //= spec/rfc7323.txt#section-5.4
    //= type=test
    //# the clock SHOULD tick at least once per window's worth of data, and even with the window extension defined in
    //# Section 2.2, 2^31 bytes must be at least two windows.
    //= spec/rfc7323.txt#section-5.4
    //= type=test
    //# The recycling time of the timestamp clock MUST be greater than MSL seconds.
    #[test]
    fn the_clock_ticks_each_millisecond_and_comes_round_after_49_days() {
        let after = |time| ts_value(Instant::ZERO + time, u32::MAX).wrapping_sub(ts_value(Instant::ZERO, u32::MAX));
        assert_eq!(after(Duration::from_millis(1)), 1);
        assert_eq!(after(Duration::from_secs(3600)), 3_600_000);
        for gigabits_a_second in [100u64, 400, 1600] {
            assert!(gigabits_a_second * 1_000_000 / 8 < 1 << 30, "a tick is less than a window");
        }
        assert_eq!(after(Duration::from_millis(u64::from(u32::MAX))), u32::MAX);
        let longest = TcpConfig { msl: Duration::MAX, ..TcpConfig::default() }.clamped().msl;
        assert!(longest < Duration::from_millis(u64::from(u32::MAX)));
    }

    //= spec/rfc7323.txt#section-1.3
    //= type=test
    //# the Window Scale option will be sent in a <SYN,ACK> segment only if the corresponding option was received in
    //# the initial <SYN> segment.
    //= spec/rfc7323.txt#section-3.2
    //= type=test
    //# MAY send a TSopt in <SYN,ACK> only if it received a TSopt in the initial <SYN> segment for the connection.
    #[test]
    fn the_answer_holds_only_what_was_offered() {
        let config = TcpConfig::default();
        assert_eq!(answer(&config, 1460, 7, &Options::NONE), Options { mss: Some(1460), ..Options::NONE });
        let theirs = offer(&config, 1460, 99);
        let ours = answer(&config, 1460, 7, &theirs);
        assert_eq!(ours.timestamps, Some(Timestamps { value: 7, echo: 99 }));
        assert_eq!(
            Negotiated::new(&ours, &theirs),
            Negotiated { timestamps: true, sack: true, send_scale: 3, recv_scale: 3 }
        );
    }

    //= spec/rfc7323.txt#section-2.3
    //= type=test
    //# Thus, the shift count MUST be limited to 14 (which allows windows of 2^30 = 1 GiB).
    //= spec/rfc7323.txt#section-2.3
    //= type=test
    //# o Upon receiving a <SYN> segment with a Window Scale option containing shift.cnt = S, a TCP MUST set
    //# Snd.Wind.Shift to S and MUST set Rcv.Wind.Shift to R; otherwise, it MUST set both Snd.Wind.Shift and
    //# Rcv.Wind.Shift to zero.
    //= spec/rfc7323.txt#section-2.3
    //= type=test
    //# If a Window Scale option is received with a shift.cnt value larger than 14, the TCP SHOULD log the error but
    //# MUST use 14 instead of the specified value.
    //= spec/rfc7323.txt#section-2.2
    //= type=test
    //# both sides MUST send Window Scale options in their <SYN> segments to enable window scaling in either
    //# direction.
    #[test]
    fn a_shift_above_14_is_14_and_one_side_alone_has_none() {
        let ours = offer(&TcpConfig::default(), 1460, 0);
        let huge = Options { window_scale: Some(255), ..Options::NONE };
        assert_eq!(Negotiated::new(&ours, &huge).send_scale, 14);
        assert_eq!(Negotiated::new(&ours, &Options::NONE), Negotiated::default());
    }

    //= spec/rfc7323.txt#section-5.3
    //= type=test
    //# R1) If there is a Timestamps option in the arriving segment, SEG.TSval < TS.Recent, TS.Recent is valid (see
    //# later discussion), and if the RST bit is not set, then treat the arriving segment as not acceptable:
    //= spec/rfc7323.txt#section-4.3
    //= type=test
    //# If: SEG.TSval >= TS.Recent and SEG.SEQ <= Last.ACK.sent then SEG.TSval is copied to TS.Recent; otherwise, it
    //# is ignored.
    #[test]
    //= spec/rfc7323.txt#section-5.2
    //= type=test
    //# The choice of incoming timestamps to be saved for this comparison MUST guarantee a value that is monotonically
    //# non-decreasing.
    fn paws_refuses_the_past_until_24_idle_days() {
        let mut clock = TimestampClock::new(0, 1000, Instant::ZERO);
        assert!(clock.is_old(999, Instant::from_millis(1)));
        assert!(!clock.is_old(1000, Instant::from_millis(1)));
        assert!(!clock.is_old(999, Instant::ZERO + TOO_OLD + Duration::from_secs(1)));
        clock.on_segment(1005, Seq(10), Seq(9), Instant::ZERO);
        assert_eq!(clock.recent(), 1000, "a segment ahead of a gap does not move the clock");
        clock.on_segment(1005, Seq(9), Seq(9), Instant::ZERO);
        assert_eq!(clock.recent(), 1005);
        clock.on_segment(1004, Seq(9), Seq(9), Instant::ZERO);
        assert_eq!(clock.recent(), 1005, "nothing moves it back");
    }
}
