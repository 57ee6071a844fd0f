//! Data in the SYN (RFC 7413): the client's first segment, and the server that takes it before its own SYN is
//! acknowledged. Cookies are made, checked and remembered by the endpoint.

use super::config::TcpConfig;
use super::effects::{Effects, Learned};
use super::options;
use super::output::Step;
use super::pmtu::SegmentSize;
use super::segment::{FastOpen, Flags, Segment};
use super::send::window::SendWindow;
use super::seq::Seq;
use super::state::{Event, State};
use super::{Link, Tcb};
use crate::memory::Buf;
use crate::time::Instant;
use alloc::sync::Arc;

/// What Fast Open does until our SYN is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Nothing, or nothing any more.
    Nothing,
    /// Our SYN asks for a cookie.
    Request,
    /// Our SYN has a cookie, and may have data.
    Cookie,
    /// The state has moved on, by a close in SYN-RECEIVED, and our SYN is not acknowledged yet.
    Unacked,
    /// So it has by Fast Open; the peer's SYN had a cookie: the application was told before our SYN is acknowledged.
    Early,
}

/// What goes with a SYN.
pub(super) enum InSyn {
    /// The next chunk.
    Chunk,
    /// So many bytes of it.
    Part(u16),
}

/// Bytes of the longest options.
const OPTIONS: u16 = 40;

impl Tcb {
    /// An active open whose SYN carries `offer` and, with a cookie, the data that is queued by then. The cookie itself is
    /// not known here: the segment has the request for one, and whoever has the cookie puts it there.
    /// `mss` is what the peer said when it gave the cookie, bytes.
    pub fn offer_fast_open(&mut self, offer: Offer, mss: u16) {
        self.offer = offer;
        if offer == Offer::Cookie {
            self.size = SegmentSize::new(Some(mss), self.link.default_mss, self.link.mss, OPTIONS, self.config.min_mss);
        }
    }

    /// The option of the SYN that is due.
    pub(super) fn fast_open_option(&self) -> Option<FastOpen> {
        (self.offer != Offer::Nothing && self.rto.expiries() == 0).then_some(FastOpen::REQUEST)
    }

    /// A passive open by a SYN with a good cookie, which is given to [`on_segment`](Self::on_segment) next.
    pub fn accept_early(config: Arc<TcpConfig>, link: Link, iss: Seq, ts_offset: u32, now: Instant) -> Self {
        let mut tcb = Self::new(config, link, iss, ts_offset, now);
        tcb.transition(Event::PassiveOpen);
        tcb
    }

    /// Whether the connection is told of and its handshake is not complete.
    pub fn is_early(&self) -> bool {
        self.offer == Offer::Early
    }

    /// Whether the state has moved on while our SYN is not acknowledged.
    pub(super) fn syn_unacked(&self) -> bool {
        matches!(self.offer, Offer::Unacked | Offer::Early)
    }

    /// Our SYN is acknowledged: from now on the connection is like any other.
    pub(super) fn end_unacked(&mut self) {
        if self.syn_unacked() {
            self.offer = Offer::Nothing;
        }
    }

    /// A SYN with a good cookie: data flows at once, both ways, and our SYN is acknowledged by the way. The state is the
    /// one that the acknowledgment will bring.
    //= spec/rfc7413.txt#section-4.2.2
    //# 4. Buffer the data and notify the application.
    pub(super) fn on_syn_with_cookie(
        &mut self,
        now: Instant,
        s: &Segment,
        data: Option<Buf>,
        fx: &mut Effects,
    ) -> Option<Buf> {
        let ours = options::answer(&self.config, self.link.mss, 0, &s.options);
        //= spec/rfc7413.txt#section-4.2.2
        //# If the FastOpened flag is set, the server MUST follow [RFC5681] (based on [RFC3390]) to set the initial congestion window
        //# for sending more data packets.
        self.on_their_syn(s.seq, &ours, &s.options, now);
        self.ecn.on_syn(s.flags, s.ecn);
        self.snd_window = SendWindow::from_syn(s.window, s.seq, self.iss, self.agreed.send_scale);
        self.heard_at = now;
        self.transition(Event::Syn);
        self.transition(Event::AckOfSyn);
        (self.offer, self.syn_due) = (Offer::Early, true);
        self.news.opened = true;
        self.take_text(now, s.seq + 1, data, fx)
    }

    /// What of the queue goes with the SYN that is due: once only, for a SYN that got lost may have been the data's
    /// fault.
    //= spec/rfc7413.txt#section-4.2.2
    //# when the SYN timer fires, the client SHOULD retransmit a SYN packet without data and Fast Open options.
    pub(super) fn data_for_syn(&mut self) -> Option<InSyn> {
        if self.offer != Offer::Cookie || self.state != State::SynSent || self.rto.expiries() > 0 {
            return None;
        }
        let limit = self.size.effective();
        let index = self.snd.next_new()?;
        Some(if self.snd.chunk(index)?.len > limit { InSyn::Part(limit) } else { InSyn::Chunk })
    }

    pub(super) fn send_syn_with_data(&mut self, now: Instant) -> Option<Step<'_>> {
        let index = self.snd.next_new()?;
        let len = self.snd.chunk(index)?.len;
        let (segment, again) = self.syn(now, false);
        let stamp = self.rate.on_sent(now, len.into(), self.snd.pipe());
        self.snd.on_sent_new(stamp, false);
        Some(Step::Send { segment: Segment { len, ..segment }, payload: self.snd.chunk_mut(index), again })
    }

    /// Our SYN is acknowledged, with or without what was in it. `lost` says that it went more than once.
    //= spec/rfc7413.txt#section-4.2.2
    //# The client SHOULD retransmit any unacknowledged data in the first ACK packet in step 2.
    //= spec/rfc7413.txt#section-4.2.2
    //# The client SHOULD perform the following steps upon receiving the SYN- ACK:
    pub(super) fn on_answer_to_offer(&mut self, now: Instant, s: &Segment, lost: bool, fx: &mut Effects) {
        let had_data = self.snd.outstanding() > 0;
        let taken = s.ack.after(self.snd.una());
        if taken {
            self.on_ack(now, s, false, fx);
        }
        if self.snd.outstanding() > 0 {
            // What was not taken goes again, as if it had not been sent.
            self.lose_everything(now);
        }
        let offer = core::mem::replace(&mut self.offer, Offer::Nothing);
        if offer == Offer::Nothing {
            return;
        }
        let cookie = s.options.fast_open.filter(|cookie| !cookie.is_request());
        let refused = offer != Offer::Request && cookie.is_none() && (lost || had_data && !taken);
        let mss = s.options.mss.unwrap_or(self.link.default_mss);
        fx.learned = Some(Learned { cookie, mss, refused });
    }

    /// Whether `ack` acknowledges our SYN, and perhaps what was in it.
    pub(super) fn acks_our_syn(&self, s: &Segment) -> bool {
        s.flags.has(Flags::ACK) && s.ack.after(self.iss) && s.ack.at_or_before(self.snd.nxt())
    }
}
