//! F-RTO: whether a retransmission time-out was needless (RFC 5682). After the first retransmission new data goes instead of
//! more of what is lost, and when then an original arrives, nothing was.

/// Where it stands after a time-out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Step {
    /// It is not used, or the time-out was right.
    #[default]
    Off,
    /// Step 2: the first segment has gone again, and its ACK is waited for.
    Probing,
    /// Step 3: new data has gone.
    Sent,
}

/// The step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frto {
    step: Step,
}

impl Frto {
    /// The retransmission timer fired, `recovering` if a recovery was going on; it is used if `may_be_needless`. A time-out that follows another may be judged as that one was.
    //= spec/rfc5682.txt#section-3.1
    //# This algorithm
    //# SHOULD NOT be applied if the TCP sender is already in loss recovery
    //# when a retransmission timeout occurs.
    pub fn on_time_out(&mut self, recovering: bool, may_be_needless: bool) {
        let applies = may_be_needless && (!recovering || self.step != Step::Off);
        self.step = if applies { Step::Probing } else { Step::Off };
    }

    /// An ACK came: whether it shows that the time-out was needless. `advances` when it moves SND.UNA; `original` when it
    /// delivers a segment that went once, before the time-out, `may_send` when there is new data that the window takes.
    pub fn on_ack(&mut self, advances: bool, original: bool, may_send: bool) -> bool {
        match self.step {
            Step::Off => false,
            //= spec/rfc5682.txt#section-3.1
            //# If duplicate ACKs arrive before
            //# the cumulative acknowledgment for retransmitted data, adjust the
            //# scoreboard according to the incoming SACK information.
            Step::Probing if !advances => false,
            Step::Probing => {
                self.step = if may_send { Step::Sent } else { Step::Off };
                false
            }
            Step::Sent => {
                self.step = Step::Off;
                //= spec/rfc5682.txt#section-3.1
                //# it acknowledges data that was not acknowledged earlier (either
                //# with cumulative acknowledgment or using SACK information),
                //# declare the timeout spurious
                original
            }
        }
    }

    /// Whether a time-out is being judged.
    pub fn is_on(&self) -> bool {
        self.step != Step::Off
    }

    /// Whether new data goes in front of what is lost.
    pub fn prefers_new_data(&self) -> bool {
        self.step == Step::Sent
    }

    /// Recovery is over, or was needless.
    pub fn end(&mut self) {
        self.step = Step::Off;
    }

    /// What must hold after every event: there is a recovery to judge.
    pub fn check_consistency(&self, recovering: bool) {
        if cfg!(debug_assertions) {
            assert!(recovering || self.step == Step::Off, "{self:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed_out() -> Frto {
        let mut frto = Frto::default();
        frto.on_time_out(false, true);
        frto
    }

    //= spec/rfc5682.txt#section-3.1
    //= type=test
    //# it acknowledges data that was not acknowledged earlier (either
    //# with cumulative acknowledgment or using SACK information),
    //# declare the timeout spurious
    //= spec/rfc5682.txt#section-3.1
    //= type=test
    //# If duplicate ACKs arrive before
    //# the cumulative acknowledgment for retransmitted data, adjust the
    //# scoreboard according to the incoming SACK information.
    #[test]
    fn an_original_that_arrives_after_new_data_was_sent_shows_a_needless_time_out() {
        let mut frto = timed_out();
        assert!(!frto.on_ack(false, true, true), "step 2 waits");
        assert!(!frto.on_ack(true, false, true));
        assert!(frto.prefers_new_data());
        assert!(frto.on_ack(true, true, true));
        assert!(!frto.on_ack(true, true, true), "it has been said");
    }

    //= spec/rfc5682.txt#section-3.1
    //= type=test
    //# This algorithm
    //# SHOULD NOT be applied if the TCP sender is already in loss recovery
    //# when a retransmission timeout occurs.
    #[test]
    fn a_time_out_in_recovery_or_without_new_data_is_taken_as_right() {
        let mut frto = Frto::default();
        frto.on_time_out(true, true);
        assert!(!frto.on_ack(true, true, true));
        assert!(!frto.prefers_new_data());
        let mut dry = timed_out();
        assert!(!dry.on_ack(true, false, false));
        assert!(!dry.on_ack(true, true, false));
        let mut real = timed_out();
        real.on_ack(true, false, true);
        assert!(!real.on_ack(false, false, true), "a duplicate that delivers nothing old");
        assert!(!real.prefers_new_data());
    }

    #[test]
    fn a_second_time_out_is_judged_as_the_first_was() {
        let mut frto = timed_out();
        frto.on_time_out(true, true);
        frto.on_ack(true, false, true);
        assert!(frto.prefers_new_data());
        frto.end();
        frto.on_time_out(true, true);
        frto.on_ack(true, false, true);
        assert!(!frto.prefers_new_data(), "the first was right");
    }
}
