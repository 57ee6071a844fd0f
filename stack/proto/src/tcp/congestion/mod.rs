//! Congestion control: how many bytes may be in flight, and how fast they go. One file an algorithm; one trait; one
//! enum, so that a connection calls its algorithm without a pointer to look it up.
//!
//! An algorithm never sees a sequence number: what is lost and when recovery begins and ends is told to it by the
//! machines in `loss`. In recovery the window of an algorithm that does not [govern](CongestionControl::governs_recovery)
//! it is PRR's, which ends at `ssthresh`.

pub mod bbr;
pub mod cubic;
pub mod dctcp;
#[cfg(test)]
mod model;
pub mod newreno;
pub mod validation;
mod window;

pub use crate::tcp::algorithm::Algorithm;
use crate::tcp::transmission::RateSample;
use crate::time::Instant;
use alloc::boxed::Box;
use bbr::Bbr;
use core::time::Duration;
use cubic::Cubic;
use dctcp::Dctcp;
use newreno::NewReno;
use window::Window;

/// An ACK that has acknowledged something new, by its number or by SACK, or has found something lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// When.
    pub now: Instant,
    /// Bytes delivered for the first time, cumulatively or selectively.
    pub delivered: u32,
    /// Bytes by which SND.UNA has moved.
    pub acked: u32,
    /// Bytes found lost by this ACK.
    pub lost: u32,
    /// Bytes delivered on this connection up to now, those of this ACK among them.
    pub delivered_total: u64,
    /// Bytes in flight (RFC 6675's pipe) before this ACK.
    pub prior_in_flight: u32,
    /// Bytes in flight after it.
    pub in_flight: u32,
    /// The congestion window was what held the sender back (RFC 7661): only then may it grow.
    pub cwnd_limited: bool,
    /// Loss recovery is going on, by fast recovery or after a time-out.
    pub recovering: bool,
    /// The round-trip time of the newest segment that this ACK covers, if that is unambiguous (Karn).
    pub rtt: Option<Duration>,
    /// SRTT; `None` before the first sample.
    pub srtt: Option<Duration>,
    /// The least round-trip time of the last minutes.
    pub min_rtt: Option<Duration>,
    /// The delivery rate; `None` when nothing was delivered.
    pub rate: Option<RateSample>,
    /// Bytes of `delivered` that the network has marked with CE, as far as the peer's feedback tells (RFC 9768, RFC 8257).
    pub ce: u32,
}

/// A segment, new or again, leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// When.
    pub now: Instant,
    /// Bytes in flight before it.
    pub prior_in_flight: u32,
    /// Bytes delivered on this connection up to now.
    pub delivered_total: u64,
    /// The application had nothing more to send the last time that the sender ran dry, and that has not been acknowledged.
    pub app_limited: bool,
}

/// A segment has been found lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// When.
    pub now: Instant,
    /// Its bytes.
    pub bytes: u32,
    /// Bytes in flight just after it was sent, it among them.
    pub in_flight_at_send: u32,
    /// Bytes found lost since it was sent, it among them.
    pub lost_since: u32,
    /// Bytes delivered on this connection up to now.
    pub delivered_total: u64,
    /// See [`RateSample::app_limited`].
    pub app_limited: bool,
}

/// Why the window is reduced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Segments were lost.
    Loss,
    /// The network has marked segments with CE, and the peer has echoed it (RFC 3168 6.1.2).
    Ecn,
}

/// What an algorithm is told, and what it answers.
pub trait CongestionControl {
    /// The congestion window, bytes. At least a segment.
    fn cwnd(&self) -> u32;

    /// The slow-start threshold, bytes; `u32::MAX` before it is known.
    fn ssthresh(&self) -> u32;

    /// How fast the algorithm wants to send, bytes a second; `None` for one that leaves that to the ACKs.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Whether the algorithm decides on the window in fast recovery by itself, so that PRR stays out of it.
    fn governs_recovery(&self) -> bool {
        false
    }

    /// A segment leaves.
    fn on_sent(&mut self, _sent: &Sent) {}

    /// An ACK has come, in recovery too. Called after [`on_segment_lost`](Self::on_segment_lost) for what it found
    /// lost, and after [`on_congestion`](Self::on_congestion) or [`on_recovered`](Self::on_recovered) if it brought those.
    fn on_ack(&mut self, ack: &Ack);

    /// A segment has been found lost.
    fn on_segment_lost(&mut self, _lost: &Lost) {}

    /// The first congestion of a window of data: fast recovery begins, or (without any loss) a window in which CE was
    /// echoed. `flight` is what the reduction is reckoned from, bytes: `FlightSize`, or what RFC 7661 makes of it.
    fn on_congestion(&mut self, now: Instant, cause: Cause, flight: u32);

    /// Fast recovery is over with `in_flight` bytes in flight.
    fn on_recovered(&mut self, now: Instant, in_flight: u32);

    /// The retransmission timer fired, for the first time for these segments if `first`. `flight` as in
    /// [`on_congestion`](Self::on_congestion).
    fn on_time_out(&mut self, now: Instant, flight: u32, first: bool);

    /// What looked like loss since the last call of [`on_congestion`](Self::on_congestion) with [`Cause::Loss`], or of
    /// [`on_time_out`](Self::on_time_out) with `first`, was none: reordering, or a late ACK. Window and threshold become what
    /// they were before, unless they are larger now.
    fn on_undo(&mut self, now: Instant);

    /// The sender begins to send again after `idle` without anything in flight, with a time-out of `rto`.
    fn on_idle(&mut self, now: Instant, idle: Duration, rto: Duration);

    /// The window has not been used for as long as [`validation`] lets one stand: it decays (RFC 7661 4.4.3). Nothing for
    /// an algorithm that knows the path by other means.
    fn on_unvalidated(&mut self) {}

    /// The segment size has changed, bytes.
    fn set_mss(&mut self, mss: u16);
}

/// Least congestion window of any algorithm but in a time-out, segments (RFC 5681 3.1, equation 4).
pub const LEAST_SEGMENTS: u32 = 2;

/// An algorithm with its state.
#[derive(Clone, Debug)]
pub enum Congestion {
    /// See [`NewReno`].
    NewReno(NewReno),
    /// See [`Cubic`].
    Cubic(Cubic),
    /// See [`Dctcp`].
    Dctcp(Dctcp),
    /// See [`Bbr`]. In a box, because its model of the path is several times larger than the others' state and would make
    /// every connection larger. It is allocated when the connection is made, and never again.
    Bbr(Box<Bbr>),
}

impl Congestion {
    /// Begins with a window of `initial_segments` of `mss` bytes (RFC 6928: 10; no less than one). `seed` is for what an
    /// algorithm does at random; equal seeds give equal runs.
    pub fn new(algorithm: Algorithm, mss: u16, initial_segments: u8, seed: u32) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(mss, initial_segments)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(mss, initial_segments)),
            Algorithm::Dctcp => Self::Dctcp(Dctcp::new(mss, initial_segments)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::new(mss, initial_segments, seed))),
        }
    }

    /// Which one it is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::NewReno(_) => Algorithm::NewReno,
            Self::Cubic(_) => Algorithm::Cubic,
            Self::Dctcp(_) => Algorithm::Dctcp,
            Self::Bbr(_) => Algorithm::Bbr,
        }
    }
}

macro_rules! each {
    ($self:ident, $algorithm:ident => $call:expr) => {
        match $self {
            Congestion::NewReno($algorithm) => $call,
            Congestion::Cubic($algorithm) => $call,
            Congestion::Dctcp($algorithm) => $call,
            Congestion::Bbr($algorithm) => $call,
        }
    };
}

impl CongestionControl for Congestion {
    fn cwnd(&self) -> u32 {
        each!(self, a => a.cwnd())
    }

    fn ssthresh(&self) -> u32 {
        each!(self, a => a.ssthresh())
    }

    fn pacing_rate(&self) -> Option<u64> {
        each!(self, a => a.pacing_rate())
    }

    fn governs_recovery(&self) -> bool {
        each!(self, a => a.governs_recovery())
    }

    fn on_sent(&mut self, sent: &Sent) {
        each!(self, a => a.on_sent(sent));
    }

    fn on_ack(&mut self, ack: &Ack) {
        each!(self, a => a.on_ack(ack));
    }

    fn on_segment_lost(&mut self, lost: &Lost) {
        each!(self, a => a.on_segment_lost(lost));
    }

    fn on_congestion(&mut self, now: Instant, cause: Cause, flight: u32) {
        each!(self, a => a.on_congestion(now, cause, flight));
    }

    fn on_recovered(&mut self, now: Instant, in_flight: u32) {
        each!(self, a => a.on_recovered(now, in_flight));
    }

    fn on_time_out(&mut self, now: Instant, flight: u32, first: bool) {
        each!(self, a => a.on_time_out(now, flight, first));
    }

    fn on_undo(&mut self, now: Instant) {
        each!(self, a => a.on_undo(now));
    }

    fn on_idle(&mut self, now: Instant, idle: Duration, rto: Duration) {
        each!(self, a => a.on_idle(now, idle, rto));
    }

    fn on_unvalidated(&mut self) {
        each!(self, a => a.on_unvalidated());
    }

    fn set_mss(&mut self, mss: u16) {
        each!(self, a => a.set_mss(mss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_does_not_grow_by_its_algorithm() {
        assert!(size_of::<NewReno>() <= 96, "NewReno: {}", size_of::<NewReno>());
        assert!(size_of::<Cubic>() <= 96, "Cubic: {}", size_of::<Cubic>());
        assert!(size_of::<Dctcp>() <= 96, "Dctcp: {}", size_of::<Dctcp>());
        assert!(size_of::<Congestion>() <= 104, "Congestion: {}", size_of::<Congestion>());
    }

    #[test]
    fn each_algorithm_is_what_was_asked_for() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Congestion::new(algorithm, 1000, 10, 1).algorithm(), algorithm);
        }
    }

    /// Every event in a row, with the largest and the least that it can bring, on every algorithm.
    #[test]
    fn no_input_overflows_or_divides_by_zero() {
        let sizes = [0, 1, 2, 1_000, u32::MAX / 2, u32::MAX - 1, u32::MAX];
        for algorithm in Algorithm::ALL {
            for mss in [0, 1, 1448, u16::MAX] {
                let mut congestion = Congestion::new(algorithm, mss, 255, 0);
                let mut random = model::Random::new(u64::from(mss) + 7);
                for step in 0..20_000_u64 {
                    let now = Instant::from_nanos(step.saturating_mul(random.below(u64::MAX >> 20)));
                    model::anything(&mut congestion, &mut random, now, &sizes);
                    assert!(congestion.cwnd() > 0, "{congestion:?}");
                }
            }
        }
    }
}
