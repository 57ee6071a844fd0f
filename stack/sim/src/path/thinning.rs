//! ACK thinning: of several ACKs in a row only the last passes, as cable modems, Wi-Fi and mobile links have it.

use super::packet::Packet;
use corelane_proto::Instant;
use std::time::Duration;

/// How ACKs are thinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThinningPlan {
    /// Of so many ACKs one passes, the newest.
    pub one_of: u32,
    /// An ACK is not held for longer than that, however few follow it.
    pub hold: Duration,
}

/// A thinner with the ACK that it holds.
#[derive(Debug)]
pub(super) struct Thinner {
    plan: ThinningPlan,
    /// The newest ACK, and until when the oldest of its kind may be held.
    held: Option<(Instant, Packet)>,
    count: u32,
}

impl Thinner {
    pub(super) fn new(plan: ThinningPlan) -> Self {
        Self { plan, held: None, count: 0 }
    }

    /// Takes a packet; gives what passes now, in order, and whether an ACK was swallowed.
    pub(super) fn on_packet(&mut self, now: Instant, packet: Packet) -> ([Option<Packet>; 2], bool) {
        if !packet.is_pure_ack() {
            return ([self.release(), Some(packet)], false);
        }
        let before = self.held.take();
        let swallowed = before.is_some();
        let until = before.map_or(now + self.plan.hold, |(until, _)| until);
        self.held = Some((until, packet));
        self.count += 1;
        let passes = if self.count >= self.plan.one_of { self.release() } else { None };
        ([passes, None], swallowed)
    }

    pub(super) fn poll_deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|(until, _)| *until)
    }

    /// The ACK that has been held for long enough.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        if self.poll_deadline().is_some_and(|until| until <= now) { self.release() } else { None }
    }

    fn release(&mut self) -> Option<Packet> {
        self.count = 0;
        self.held.take().map(|(_, packet)| packet)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::segment;
    use super::*;

    const PLAN: ThinningPlan = ThinningPlan { one_of: 3, hold: Duration::from_millis(5) };

    #[test]
    fn the_last_of_three_passes() {
        let mut thinner = Thinner::new(PLAN);
        let mut passed = |ms| thinner.on_packet(Instant::from_millis(ms), segment(0, 0));
        assert_eq!(passed(0), ([None, None], false));
        assert_eq!(passed(1), ([None, None], true));
        let (out, swallowed) = passed(2);
        assert!(out[0].is_some() && swallowed);
        assert_eq!(passed(3), ([None, None], false));
        assert_eq!(thinner.poll_packet(Instant::from_millis(7)), None);
        assert!(thinner.poll_packet(Instant::from_millis(8)).is_some(), "it is not held for ever");
        assert_eq!(thinner.poll_deadline(), None);
    }

    #[test]
    fn nothing_overtakes_a_held_ack() {
        let mut thinner = Thinner::new(PLAN);
        let _ = thinner.on_packet(Instant::ZERO, segment(0, 0));
        let (out, _) = thinner.on_packet(Instant::ZERO, segment(100, 0));
        assert_eq!(out.map(|packet| packet.map(|packet| packet.payload())), [Some(0), Some(100)]);
    }
}
