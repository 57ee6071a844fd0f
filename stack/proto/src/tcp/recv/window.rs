//! The receive window: what we offer, and never take back (RFC 9293 3.8.6).

use crate::tcp::segment::MAX_WINDOW_SCALE;
use crate::tcp::seq::Seq;

/// RCV.NXT, the right edge that the peer has been told, and how much the application has yet to read.
#[derive(Clone, Copy, Debug)]
pub struct RecvWindow {
    next: Seq,
    edge: Seq,
    limit: u32,
    bound: u32,
    held: u32,
    scale: u8,
}

impl RecvWindow {
    /// A window of `limit` bytes that may grow to `bound`. `scale` is 0 until both SYNs have offered scaling.
    pub fn new(next: Seq, limit: u32, bound: u32, scale: u8) -> Self {
        Self { next, edge: next, limit: limit.min(bound), bound, held: 0, scale: scale.min(MAX_WINDOW_SCALE) }
    }

    /// The window that an application which reads at once would leave open.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Another bound. What the peer has been told stays true.
    pub fn set_bound(&mut self, bound: u32) {
        self.bound = bound;
        self.limit = self.limit.min(bound);
    }

    /// The connection could use a window of `wanted` bytes.
    pub fn grow(&mut self, wanted: u32) {
        self.limit = self.limit.max(wanted.min(self.bound));
    }

    /// RCV.NXT: the next sequence number expected.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// RCV.WND: bytes that the peer may still send, by the farthest of all that it was told.
    //= spec/rfc7323.txt#section-2.4
    //# 1) The receiver MUST honor, as in window, any segment that would have been in window for any <ACK> sent by the
    //# receiver.
    //= spec/rfc7323.txt#section-2.4
    //# 2) When window scaling is in effect, the receiver SHOULD track the actual maximum window sequence number (which is
    //# likely to be greater than the window announced by the most recent <ACK>, if more than one segment has arrived
    //# since the application consumed any data in the receive buffer).
    pub fn size(&self) -> u32 {
        self.edge.since(self.next)
    }

    /// Received, in order, and not read.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// `n` more sequence numbers came in order, `data` of them bytes that wait for the application.
    pub fn on_received(&mut self, n: u32, data: u32) {
        self.next += n;
        self.held += data;
        // A FIN may stand one past the edge: the window is for data.
        self.edge = self.edge.max(self.next);
    }

    /// The application has read `n` bytes.
    pub fn on_read(&mut self, n: u32) {
        self.held = self.held.saturating_sub(n);
    }

    /// The window that the buffer would allow: never left of what was promised.
    //= spec/rfc9293.txt#section-3.8.6
    //# A TCP receiver SHOULD NOT shrink the window, i.e., move the right window edge to the left (SHLD-14).
    fn allowed(&self) -> u32 {
        self.limit.saturating_sub(self.held).max(self.size())
    }

    /// The window field for the next segment; what it says becomes a promise.
    pub fn advertise(&mut self, mss: u16) -> u16 {
        let promised = self.size();
        let allowed = self.allowed();
        //= spec/rfc9293.txt#section-3.8.6.2.2
        //# A TCP implementation MUST include a SWS avoidance algorithm in the receiver (MUST-39).
        //= spec/rfc9293.txt#section-3.8.6.2.2
        //# The suggested SWS avoidance algorithm for the receiver is to keep RCV.NXT+RCV.WND fixed until the
        //# reduction satisfies: RCV.BUFF - RCV.USER - RCV.WND >= min( Fr * RCV.BUFF, Eff.snd.MSS )
        let step = (self.limit / 2).min(u32::from(mss)).max(1);
        //= spec/rfc9293.txt#section-3.8.6.1
        //# A TCP implementation MAY keep its offered receive window closed indefinitely (MAY-8).
        let window = if allowed - promised >= step { allowed } else { promised };
        //= spec/rfc7323.txt#section-2.3
        //# o The window field (SEG.WND) of every outgoing segment, with the exception of <SYN> segments, MUST be
        //# right-shifted by Rcv.Wind.Shift bits:
        let mut field = window >> self.scale;
        if field << self.scale < promised {
            // Rounding down would take back the last few bytes of the promise.
            field += 1;
        }
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + (u32::from(field) << self.scale));
        field
    }

    /// The window field of a SYN or SYN-ACK, which is never scaled (RFC 7323 2.2).
    pub fn advertise_unscaled(&mut self) -> u16 {
        let field = u16::try_from(self.allowed()).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + u32::from(field));
        field
    }

    /// The SYN-ACK that offered `field` was sent while this connection was only an entry of the SYN queue.
    pub fn promise(&mut self, field: u16) {
        self.edge = self.edge.max(self.next + u32::from(field));
    }

    /// Whether the application has read so much that the peer should hear of it at once: two segments or half the
    /// buffer.
    pub fn wants_update(&self, mss: u16) -> bool {
        let opened = self.allowed() - self.size();
        opened >= (self.limit / 2).min(2 * u32::from(mss)).max(1)
    }

    /// What must hold after every event.
    pub fn check_consistency(&self) {
        debug_assert!(self.edge.at_or_after(self.next));
        debug_assert!(self.scale <= MAX_WINDOW_SCALE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    //= spec/rfc9293.txt#section-3.8.6.2.2
    //= type=test
    //# A TCP implementation MUST include a SWS avoidance algorithm in the receiver (MUST-39).
    #[test]
    fn a_slow_reader_closes_the_window_and_a_read_opens_it() {
        let mut window = RecvWindow::new(Seq(1), 10_000, 10_000, 0);
        assert_eq!(window.advertise(1000), 10_000);
        window.on_received(10_000, 10_000);
        assert_eq!(window.advertise(1000), 0);
        window.on_read(500);
        assert_eq!(window.advertise(1000), 0, "half a segment is a silly window");
        assert!(!window.wants_update(1000));
        window.on_read(1500);
        assert!(window.wants_update(1000));
        assert_eq!(window.advertise(1000), 2000);
    }

    #[test]
    fn a_window_grows_up_to_its_bound_and_a_lower_bound_takes_nothing_back() {
        let mut window = RecvWindow::new(Seq(1), 10_000, 40_000, 0);
        window.grow(20_000);
        assert_eq!(window.advertise(1000), 20_000);
        window.grow(5_000);
        assert_eq!(window.advertise(1000), 20_000);
        window.grow(90_000);
        assert_eq!(window.advertise(1000), 40_000);
        window.set_bound(10_000);
        assert_eq!(window.advertise(1000), 40_000);
        window.on_received(35_000, 35_000);
        window.on_read(35_000);
        assert_eq!(window.advertise(1000), 10_000);
    }

    proptest! {
        //= spec/rfc9293.txt#section-3.8.6
        //= type=test
        //# A TCP receiver SHOULD NOT shrink the window, i.e., move the right window edge to the left (SHLD-14).
        #[test]
        fn the_right_edge_never_moves_left(
            limit in 1_000u32..4_000_000, scale in 0u8..=14, steps in proptest::collection::vec((0u32..3000, 0u32..3000), 1..50),
        ) {
            let mut window = RecvWindow::new(Seq(u32::MAX - 5000), limit / 2, limit, scale);
            let mut told = window.next() + (u32::from(window.advertise(1460)) << scale);
            for (received, read) in steps {
                let n = received.min(window.size());
                window.on_received(n, n);
                window.on_read(read);
                if read % 3 == 0 {
                    window.grow(read * 100);
                }
                let edge = window.next() + (u32::from(window.advertise(1460)) << scale);
                prop_assert!(edge.at_or_after(told));
                told = edge;
                window.check_consistency();
            }
        }
    }
}
