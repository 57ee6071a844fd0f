//! The tail-loss probe: when ACKs stay away, the last segment goes again after two round trips, or a new one, so that
//! its ACK tells what was lost (RFC 8985 7). Without it a lost tail waits for the retransmission time-out.

use crate::tcp::seq::Seq;
use crate::time::Instant;
use core::time::Duration;

/// What an ACK says of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnAck {
    /// Nothing, or that there was no loss.
    Nothing,
    /// The probe has repaired a loss: congestion control has to answer to it.
    Repaired,
}

/// One probe at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tlp {
    /// The number after the probe's last, while it is out.
    end: Option<Seq>,
    /// It is a segment that was sent before.
    is_retransmission: bool,
    /// A round-trip time has been measured since the last probe.
    is_measured: bool,
}

impl Tlp {
    /// Time from the last sending of new data, or ACK, to the probe: PTO. The ACK of a single segment may be delayed: then
    /// it is no less than `time_out`, which is SRTT + 4 * RTTVAR and so has learned how long the peer delays them, and
    /// `ack_delay` is added.
    //= spec/rfc8985.txt#section-7.2
    //# when the FlightSize is one segment, the sender MAY inflate the
    //# PTO by TLP.max_ack_delay to accommodate a potentially delayed
    //# acknowledgment and reduce the risk of spurious retransmissions.
    pub fn time_out(
        srtt: Option<Duration>,
        time_out: Option<Duration>,
        flight_is_one_segment: bool,
        ack_delay: Duration,
    ) -> Duration {
        match srtt {
            Some(srtt) if flight_is_one_segment => (2 * srtt).max(time_out.unwrap_or_default()) + ack_delay,
            Some(srtt) => 2 * srtt,
            None => Duration::from_secs(1),
        }
    }

    /// A round-trip time was measured.
    pub fn on_sample(&mut self) {
        self.is_measured = true;
    }

    /// Whether a probe may go.
    //= spec/rfc8985.txt#section-7.3
    //# When the PTO timer expires, the sender MUST check whether both of the
    //# following conditions are met before sending a loss probe:
    pub fn may_probe(&self) -> bool {
        self.end.is_none() && self.is_measured
    }

    /// A probe leaves that ends at `end`; `again` when it was sent before.
    pub fn on_probe(&mut self, end: Seq, again: bool) {
        *self = Self { end: Some(end), is_retransmission: again, is_measured: false };
    }

    /// An ACK of everything before `ack` has come; `duplicate` if it has a D-SACK block that ends at the probe's end, or
    /// acknowledges nothing new without any block.
    pub fn on_ack(&mut self, ack: Seq, duplicate: bool) -> OnAck {
        let Some(end) = self.end.filter(|end| ack.at_or_after(*end)) else { return OnAck::Nothing };
        if !self.is_retransmission || duplicate {
            self.end = None;
        } else if ack.after(end) {
            self.end = None;
            //= spec/rfc8985.txt#section-7.4.2
            //# If the TLP
            //# sender does not receive such an indication, then it MUST assume that
            //# the original data segment, the TLP retransmission, or a corresponding
            //# ACK was lost for congestion control purposes.
            return OnAck::Repaired;
        }
        OnAck::Nothing
    }

    /// The end of the probe that is out.
    pub fn probe_end(&self) -> Option<Seq> {
        self.end
    }

    /// Recovery begins: it finds out by itself.
    //= spec/rfc8985.txt#section-7.1
    //# Reset TLP.is_retrans and TLP.end_seq when initiating a connection,
    //# fast recovery, or RTO recovery.
    pub fn reset(&mut self) {
        self.end = None;
        self.is_retransmission = false;
    }

    /// When the probe is due that is reckoned from `now`, if the retransmission timer runs until `rto`.
    pub fn deadline(now: Instant, time_out: Duration, rto: Instant) -> Instant {
        (now + time_out).min(rto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    //= spec/rfc8985.txt#section-7.2
    //= type=test
    //# when the FlightSize is one segment, the sender MAY inflate the
    //# PTO by TLP.max_ack_delay to accommodate a potentially delayed
    //# acknowledgment and reduce the risk of spurious retransmissions.
    #[test]
    fn it_waits_two_round_trips_and_for_a_delayed_ack() {
        let time_out = |srtt, alone, delay| Tlp::time_out(srtt, Some(15 * MS), alone, delay);
        assert_eq!(time_out(Some(10 * MS), false, 200 * MS), 20 * MS);
        assert_eq!(time_out(Some(10 * MS), true, 200 * MS), 220 * MS);
        assert_eq!(time_out(None, false, 200 * MS), 1000 * MS);
        assert_eq!(time_out(Some(5 * MS), true, Duration::ZERO), 15 * MS, "some ACKs have been late");
        let at = Instant::from_millis;
        assert_eq!(Tlp::deadline(at(5), 20 * MS, at(200)), at(25));
        assert_eq!(Tlp::deadline(at(5), 220 * MS, at(200)), at(200));
    }

    //= spec/rfc8985.txt#section-7.3
    //= type=test
    //# When the PTO timer expires, the sender MUST check whether both of the
    //# following conditions are met before sending a loss probe:
    #[test]
    fn one_probe_at_a_time_and_none_without_a_measurement() {
        let mut tlp = Tlp::default();
        assert!(!tlp.may_probe());
        tlp.on_sample();
        assert!(tlp.may_probe());
        tlp.on_probe(Seq(100), false);
        tlp.on_sample();
        assert!(!tlp.may_probe(), "one is out");
        assert_eq!(tlp.on_ack(Seq(100), false), OnAck::Nothing, "new data has arrived");
        assert!(tlp.may_probe());
    }

    //= spec/rfc8985.txt#section-7.4.2
    //= type=test
    //# If the TLP
    //# sender does not receive such an indication, then it MUST assume that
    //# the original data segment, the TLP retransmission, or a corresponding
    //# ACK was lost for congestion control purposes.
    #[test]
    fn a_retransmission_that_is_not_called_a_duplicate_has_repaired_a_loss() {
        let probed = |again| {
            let mut tlp = Tlp::default();
            tlp.on_probe(Seq(100), again);
            tlp
        };
        let mut repaired = probed(true);
        assert_eq!(repaired.on_ack(Seq(100), false), OnAck::Nothing, "its original may have arrived");
        assert_eq!(repaired.on_ack(Seq(101), false), OnAck::Repaired);
        assert_eq!(repaired.on_ack(Seq(200), false), OnAck::Nothing, "once");
        let mut needless = probed(true);
        assert_eq!(needless.on_ack(Seq(100), true), OnAck::Nothing);
        assert_eq!(needless.on_ack(Seq(200), false), OnAck::Nothing);
        assert_eq!(probed(false).on_ack(Seq(300), false), OnAck::Nothing);
        assert_eq!(probed(true).on_ack(Seq(99), true), OnAck::Nothing, "it does not cover the probe");
    }
}
