//! Initial sequence numbers and timestamp offsets that nobody off the path can guess.

use super::flow_hash::{PublicHash, subkey};
use crate::addr::Flow;
use crate::tcp::seq::Seq;
use crate::time::Instant;

/// Nanoseconds in a step of the ISN clock (RFC 9293 3.4.1: "every 4 microseconds"); it goes round in 4.77 hours.
const STEP_NANOS: u64 = 4_000;

/// Chooses where a connection's numbers begin.
#[derive(Clone, Debug)]
pub(crate) struct Isn {
    sequence: PublicHash,
    timestamp: PublicHash,
}

impl Isn {
    /// A generator whose numbers depend on `secret`, which must be random and known to nobody else.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self {
            //= spec/rfc9293.txt#section-3.4.1
            //# F() MUST NOT be computable from the outside (MUST-9)
            //= spec/rfc6528.txt#section-3
            //# F() MUST NOT be computable from the outside, or an attacker could still guess at sequence numbers from the
            //# ISN used for some other connection.
            sequence: PublicHash::new(subkey(secret, "initial sequence number")),
            timestamp: PublicHash::new(subkey(secret, "timestamp offset")),
        }
    }

    /// The initial sequence number for `flow` at `now`: ISN = M + F(both ends, secret), where M is a 4 us clock
    /// (RFC 6528 3; RFC 9293 3.4.1, MUST-8 and SHLD-1). For one flow it only moves forward, so a new connection does not
    /// land in the numbers of the one before it.
    pub(crate) fn generate(&self, now: Instant, flow: &Flow) -> Seq {
        //= spec/rfc9293.txt#section-3.4.1
        //# A TCP implementation MUST use the above type of "clock" for clock-driven selection of initial sequence
        //# numbers (MUST-8)
        let clock = (now.as_nanos() / STEP_NANOS) as u32;
        //= spec/rfc9293.txt#section-3.4.1
        //# where M is the 4 microsecond timer, and F() is a pseudorandom function (PRF) of the connection's
        //# identifying parameters ("localip, localport, remoteip, remoteport") and a secret key ("secretkey")
        //# (SHLD-1).
        //= spec/rfc6528.txt#section-3
        //# TCP SHOULD generate its Initial Sequence Numbers with the expression:
        //= spec/rfc6528.txt#section-3
        //# ISN = M + F(localip, localport, remoteip, remoteport, secretkey)
        Seq(self.sequence.flow(flow) as u32) + clock
    }

    /// What `flow` adds to the timestamp clock in what it sends (RFC 7323 5.4 and 7.1), so that a peer learns neither
    /// how long we are up nor which connections are ours. The same for every incarnation of the flow, so that its
    /// timestamps go on where they were, as PAWS and TIME-WAIT expect.
    //= spec/rfc7323.txt#section-7
    //# It is therefore RECOMMENDED to generate a random, per-connection offset to be used with the clock source when
    //# generating the Timestamps option value (see Section 5.4).
    //= spec/rfc7323.txt#section-7.1
    //# It is therefore RECOMMENDED to generate a random, per- connection offset to be used with the clock source when
    //# generating the Timestamps option value (see Section 5.4).
    pub(crate) fn timestamp_offset(&self, flow: &Flow) -> u32 {
        self.timestamp.flow(flow) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Addr, SocketAddr};
    use core::time::Duration;

    fn flow(n: u16) -> Flow {
        Flow {
            local: SocketAddr::new(Addr::v4([10, 0, 0, 1]), 80),
            remote: SocketAddr::new(Addr::v4([10, 0, 0, 2]), n),
        }
    }

    //= spec/rfc9293.txt#section-3.4.1
    //= type=test
    //# A TCP implementation MUST use the above type of "clock" for clock-driven selection of initial sequence numbers
    //# (MUST-8)
    #[test]
    fn one_flow_only_moves_forward_at_250_khz() {
        let isn = Isn::new(&[1; 32]);
        let mut now = Instant::from_millis(5);
        let first = isn.generate(now, &flow(1));
        let mut last = first;
        for _ in 0..1000 {
            now = now + Duration::from_millis(3);
            let next = isn.generate(now, &flow(1));
            assert!(next.after(last));
            last = next;
        }
        assert_eq!(last.since(first), 3_000 * 250);
    }

    //= spec/rfc9293.txt#section-3.4.1
    //= type=test
    //# where M is the 4 microsecond timer, and F() is a pseudorandom function (PRF) of the connection's identifying
    //# parameters ("localip, localport, remoteip, remoteport") and a secret key ("secretkey") (SHLD-1).
    //= spec/rfc6528.txt#section-3
    //= type=test
    //# TCP SHOULD generate its Initial Sequence Numbers with the expression:
    //= spec/rfc6528.txt#section-3
    //= type=test
    //# ISN = M + F(localip, localport, remoteip, remoteport, secretkey)
    //= spec/rfc7323.txt#section-7
    //= type=test
    //# It is therefore RECOMMENDED to generate a random, per-connection offset to be used with the clock source when
    //# generating the Timestamps option value (see Section 5.4).
    //= spec/rfc7323.txt#section-7.1
    //= type=test
    //# It is therefore RECOMMENDED to generate a random, per- connection offset to be used with the clock source when
    //# generating the Timestamps option value (see Section 5.4).
    #[test]
    fn flows_are_unrelated() {
        // Over 4096 flows each bit is set about half of the time: 2048 +- 5 standard deviations of 32. The same of the
        // differences between neighbours, and between the two kinds of number.
        let isn = Isn::new(&[2; 32]);
        let now = Instant::ZERO;
        let sequence = |n| isn.generate(now, &flow(n)).0;
        let timestamp = |n| isn.timestamp_offset(&flow(n));
        let samples: [&dyn Fn(u16) -> u32; 4] =
            [&sequence, &timestamp, &|n| sequence(n).wrapping_sub(sequence(n + 1)), &|n| {
                sequence(n).wrapping_sub(timestamp(n))
            }];
        for (which, sample) in samples.iter().enumerate() {
            for bit in 0..32 {
                let ones = (0..4096u16).filter(|&n| sample(n) >> bit & 1 == 1).count();
                assert!((1888..=2208).contains(&ones), "sample {which}, bit {bit}: {ones} of 4096");
            }
        }
    }

    //= spec/rfc9293.txt#section-3.4.1
    //= type=test
    //# F() MUST NOT be computable from the outside (MUST-9)
    //= spec/rfc6528.txt#section-3
    //= type=test
    //# F() MUST NOT be computable from the outside, or an attacker could still guess at sequence numbers from the ISN
    //# used for some other connection.
    #[test]
    fn another_secret_gives_other_numbers() {
        let (a, b) = (Isn::new(&[1; 32]), Isn::new(&[2; 32]));
        assert_ne!(a.generate(Instant::ZERO, &flow(1)), b.generate(Instant::ZERO, &flow(1)));
        assert_ne!(a.timestamp_offset(&flow(1)), b.timestamp_offset(&flow(1)));
        assert_eq!(a.timestamp_offset(&flow(1)), Isn::new(&[1; 32]).timestamp_offset(&flow(1)));
    }
}
