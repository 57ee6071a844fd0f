//! How much of the next chunk may go now: the windows, silly-window avoidance and Nagle.

/// What the decision depends on. All in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Payload of the chunk.
    pub chunk: u16,
    /// Nothing is queued behind it.
    pub last: bool,
    /// The chunk was sent before.
    pub again: bool,
    /// A FIN follows the last chunk.
    pub finished: bool,
    /// Bytes between SND.UNA and the chunk.
    pub offset: u32,
    /// Bytes in the network: none of those that are `SACKed` or lost.
    pub in_flight: u32,
    /// SND.WND.
    pub window: u32,
    /// The largest window the peer ever offered.
    pub max_window: u32,
    /// What the congestion control allows in flight.
    pub cwnd: u32,
    /// Effective MSS.
    pub mss: u16,
    /// Nagle is off.
    pub nodelay: bool,
    /// What does not fill a segment is held back.
    pub cork: bool,
    /// The persist timer fired: something must go, whatever the window.
    pub probe: bool,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Send the whole chunk.
    Whole,
    /// Send this many bytes, fewer than the chunk has.
    Part(u16),
    /// The congestion window is full.
    Full,
    /// Nagle waits for an ACK.
    Wait,
    /// The application holds it back: it goes when the segment is full, or after a while.
    Corked,
    /// The peer's window is too small: the persist timer watches over it.
    Closed,
}

/// Decides on a chunk: that at SND.NXT, or one that goes again.
pub fn decide(s: &Situation) -> Decision {
    //= spec/rfc9293.txt#section-3.8.6
    //# a sending TCP peer MUST be robust against window shrinking, which may cause the "usable window" (see Section
    //# 3.8.6.2.1) to become negative (MUST-34).
    //= spec/rfc9293.txt#section-3.8.6
    //# If this happens, the sender SHOULD NOT send new data (SHLD-15)
    //= spec/rfc7323.txt#section-2.4
    //# Implementations MUST ensure that they handle a shrinking window, as specified in Section 4.2.2.16 of [RFC1122].
    //= spec/rfc7323.txt#section-2.4
    //# 3) The initial transmission MUST be within the window announced by the most recent <ACK>.
    let room = s.window.saturating_sub(s.offset);
    let chunk = u32::from(s.chunk);
    if s.probe {
        //= spec/rfc9293.txt#section-3.8.6.1
        //# Probing of zero (offered) windows MUST be supported (MUST-36).
        return if room >= chunk { Decision::Whole } else { part(room.max(1), s.chunk) };
    }
    if s.in_flight > 0 && s.in_flight + chunk > s.cwnd {
        return Decision::Full;
    }
    if room < chunk {
        //= spec/rfc9293.txt#section-3.8.6.2.1
        //# A TCP implementation MUST include a SWS avoidance algorithm in the sender (MUST-38).
        //= spec/rfc9293.txt#section-3.8.6
        //# SHOULD retransmit normally the old unacknowledged data between SND.UNA and SND.UNA+SND.WND (SHLD-16).
        // What was sent before a window shrank goes again as far as it now reaches.
        let is_worth_it = s.again || room >= s.max_window / 2;
        return if room > 0 && is_worth_it { part(room, s.chunk) } else { Decision::Closed };
    }
    //= spec/rfc9293.txt#section-3.7.4
    //# A TCP implementation SHOULD implement the Nagle algorithm to coalesce short segments (SHLD-7).
    //= spec/rfc9293.txt#section-3.7.4
    //# there MUST be a way for an application to disable the Nagle algorithm on an individual connection (MUST-17).
    let small = s.chunk < s.mss && s.last && !s.finished;
    // What was sent before was held back long enough.
    if small && s.cork && !s.again {
        return Decision::Corked;
    }
    if small && s.offset > 0 && !s.nodelay && !s.again { Decision::Wait } else { Decision::Whole }
}

fn part(bytes: u32, chunk: u16) -> Decision {
    match u16::try_from(bytes) {
        Ok(bytes) if bytes < chunk => Decision::Part(bytes),
        _ => Decision::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Situation {
        Situation {
            chunk: 1460,
            last: false,
            again: false,
            finished: false,
            offset: 0,
            in_flight: 0,
            window: 65_535,
            max_window: 65_535,
            cwnd: 14_600,
            mss: 1460,
            nodelay: false,
            cork: false,
            probe: false,
        }
    }

    #[test]
    fn an_open_window_takes_whole_chunks_up_to_the_congestion_window() {
        assert_eq!(decide(&open()), Decision::Whole);
        assert_eq!(decide(&Situation { in_flight: 13_140, ..open() }), Decision::Whole);
        assert_eq!(decide(&Situation { in_flight: 13_141, ..open() }), Decision::Full);
        assert_eq!(decide(&Situation { cwnd: 100, ..open() }), Decision::Whole, "one segment may always go");
    }

    //= spec/rfc9293.txt#section-3.8.6.2.1
    //= type=test
    //# A TCP implementation MUST include a SWS avoidance algorithm in the sender (MUST-38).
    #[test]
    fn a_small_window_is_not_filled_with_slivers() {
        assert_eq!(decide(&Situation { window: 1000, ..open() }), Decision::Closed);
        assert_eq!(decide(&Situation { window: 1000, max_window: 2000, ..open() }), Decision::Part(1000));
        assert_eq!(decide(&Situation { window: 0, ..open() }), Decision::Closed);
    }

    //= spec/rfc9293.txt#section-3.8.6
    //= type=test
    //# If this happens, the sender SHOULD NOT send new data (SHLD-15), but SHOULD retransmit normally the old
    //# unacknowledged data between SND.UNA and SND.UNA+SND.WND (SHLD-16).
    //= spec/rfc7323.txt#section-2.4
    //= type=test
    //# Implementations MUST ensure that they handle a shrinking window, as specified in Section 4.2.2.16 of [RFC1122].
    //= spec/rfc7323.txt#section-2.4
    //= type=test
    //# 3) The initial transmission MUST be within the window announced by the most recent <ACK>.
    #[test]
    fn what_was_sent_before_the_window_shrank_goes_again_as_far_as_it_reaches() {
        let shrunk = Situation { window: 100, ..open() };
        assert_eq!(decide(&shrunk), Decision::Closed, "new data");
        assert_eq!(decide(&Situation { again: true, ..shrunk }), Decision::Part(100));
        assert_eq!(decide(&Situation { again: true, window: 0, ..shrunk }), Decision::Closed);
    }

    //= spec/rfc9293.txt#section-3.8.6.1
    //= type=test
    //# Probing of zero (offered) windows MUST be supported (MUST-36).
    #[test]
    fn a_probe_sends_one_byte_into_a_closed_window() {
        assert_eq!(decide(&Situation { window: 0, probe: true, ..open() }), Decision::Part(1));
        assert_eq!(decide(&Situation { window: 0, probe: true, chunk: 1, ..open() }), Decision::Whole);
        assert_eq!(decide(&Situation { window: 700, probe: true, ..open() }), Decision::Part(700));
    }

    #[test]
    fn a_cork_holds_what_does_not_fill_a_segment_until_the_end() {
        let small = Situation { chunk: 10, last: true, cork: true, nodelay: true, ..open() };
        assert_eq!(decide(&small), Decision::Corked);
        assert_eq!(decide(&Situation { finished: true, ..small }), Decision::Whole);
        assert_eq!(decide(&Situation { chunk: 1460, ..small }), Decision::Whole);
        assert_eq!(decide(&Situation { window: 0, ..small }), Decision::Closed, "the window is asked first");
    }

    //= spec/rfc9293.txt#section-3.7.4
    //= type=test
    //# A TCP implementation SHOULD implement the Nagle algorithm to coalesce short segments (SHLD-7).
    //= spec/rfc9293.txt#section-3.7.4
    //= type=test
    //# there MUST be a way for an application to disable the Nagle algorithm on an individual connection (MUST-17).
    #[test]
    fn nagle_holds_a_small_last_segment_only_while_data_is_in_flight() {
        let small = Situation { chunk: 10, last: true, ..open() };
        assert_eq!(decide(&small), Decision::Whole);
        let behind = Situation { offset: 1, in_flight: 1, ..small };
        assert_eq!(decide(&behind), Decision::Wait);
        assert_eq!(decide(&Situation { nodelay: true, ..behind }), Decision::Whole);
        assert_eq!(decide(&Situation { finished: true, ..behind }), Decision::Whole);
        assert_eq!(decide(&Situation { again: true, ..behind }), Decision::Whole, "it was held back long enough");
    }
}
