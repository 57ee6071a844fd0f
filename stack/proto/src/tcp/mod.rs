//! One connection: values in, values out.
//!
//! A [`Tcb`] is told of events by `on_*`, asked for segments by `poll_transmit` until there is none, and asked for its
//! next deadline by `deadline`. It never sees bytes or addresses. `spine.rs` is RFC 9293 3.10.7 in its order; what
//! each step needs to know is in the machine of that name. `user.rs` has the calls of the application, `output.rs` what
//! is sent, `time.rs` what happens by itself.

pub mod acceptable;
mod acked;
pub mod algorithm;
pub mod close;
pub mod config;
pub mod congestion;
pub mod coverage;
pub mod ecn;
pub mod effects;
pub mod fast;
pub mod fast_open;
mod feedback;
pub mod info;
pub mod keepalive;
pub mod loss;
pub mod open;
pub mod options;
mod output;
pub mod pmtu;
#[cfg(test)]
mod quiet;
pub mod recv;
pub mod segment;
pub mod send;
pub mod seq;
mod spine;
pub mod state;
mod time;
pub mod timers;
pub mod transmission;
pub mod trouble;
mod user;

pub use output::Step;

use crate::time::Instant;
use alloc::sync::Arc;
use close::{CloseReason, Remembered};
use config::TcpConfig;
use congestion::Congestion;
use congestion::validation::Validation;
use ecn::Ecn;
use ecn::negotiation::Asked;
use fast_open::Offer;
use info::Counts;
use keepalive::Keepalive;
use loss::frto::Frto;
use loss::min_rtt::MinRtt;
use loss::prr::Prr;
use loss::rack::Rack;
use loss::recovery::Recovery;
use loss::rto::Rto;
use loss::rtt::Rtt;
use loss::tlp::Tlp;
use loss::undo::Undo;
use options::{Negotiated, TimestampClock};
use pmtu::SegmentSize;
use recv::ack::AckPolicy;
use recv::reassembly::Reassembly;
use recv::tune::Tune;
use recv::urgent::Urgent;
use recv::window::RecvWindow;
use segment::Options;
use send::pacer::Pacer;
use send::persist::Persist;
use send::progress::Progress;
use send::queue::SendQueue;
use send::rate::Rate;
use send::urgent::Urgent as SendUrgent;
use send::window::SendWindow;
use seq::Seq;
use state::{Event, State};
use timers::Timers;
use trouble::Trouble;

/// What the link gives to a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Payload that fits a packet, without TCP options: MTU less the IP and TCP headers.
    pub mss: u16,
    /// What counts when the peer offers no MSS: 536 for IPv4, 1220 for IPv6 (RFC 9293 MUST-15).
    pub default_mss: u16,
    /// Bytes of IP options in every packet.
    pub ip_options: u16,
}

/// A half-open connection that has been completed: what its SYN queue entry remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// Our initial sequence number.
    pub iss: Seq,
    /// The peer's.
    pub irs: Seq,
    /// The options of the peer's SYN.
    pub theirs: Options,
    /// The offset of our timestamps.
    pub ts_offset: u32,
    /// How often the SYN-ACK went again.
    pub retransmits: u8,
    /// What the peer has asked for of ECN.
    pub ecn: Asked,
}

/// News for the application that have not been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// The connection is open.
    pub opened: bool,
    /// There are bytes to read.
    pub readable: bool,
    /// There is room to send again.
    pub writable: bool,
    /// The peer's FIN has come.
    pub peer_closed: bool,
    /// Urgent data has been announced, or more of it.
    pub urgent: bool,
    /// Something goes wrong on the way.
    pub trouble: Option<Trouble>,
}

/// A connection.
#[derive(Debug)]
pub struct Tcb {
    state: State,
    snd: SendQueue,
    snd_window: SendWindow,
    rcv: RecvWindow,
    reassembly: Reassembly,
    tune: Tune,
    ack: AckPolicy,
    recovery: Recovery,
    frto: Frto,
    rack: Rack,
    tlp: Tlp,
    prr: Prr,
    undo: Undo,
    congestion: Congestion,
    validation: Validation,
    ecn: Ecn,
    rate: Rate,
    pacer: Pacer,
    rtt: Rtt,
    min_rtt: MinRtt,
    rto: Rto,
    timers: Timers,
    persist: Persist,
    progress: Progress,
    keepalive: Keepalive,
    size: SegmentSize,
    agreed: Negotiated,
    clock: TimestampClock,
    urgent: Urgent,
    urgent_out: SendUrgent,
    config: Arc<TcpConfig>,
    link: Link,
    iss: Seq,
    irs: Seq,
    /// The number of the peer's FIN, once it has come, even ahead of data.
    fin_at: Option<Seq>,
    last_ack_sent: Seq,
    heard_at: Instant,
    sent_at: Instant,
    counts: Counts,
    news: News,
    /// Fast Open, as long as our SYN is not acknowledged.
    offer: Offer,
    ended: Option<CloseReason>,
    /// A SYN or SYN-ACK has to go out.
    syn_due: bool,
    /// The timer for losses waits for what RACK has not decided; otherwise for the tail.
    reordering: bool,
    /// The tail has to be probed.
    probe_tail: bool,
    /// An ICMP error told of what has not been acknowledged since: if nothing ever is, that is why.
    soft_error: bool,
    /// The persist timer fired.
    probe_window: bool,
    /// The keepalive timer fired.
    probe_peer: bool,
    /// The cork timer fired: what is held back goes.
    uncorked: bool,
    /// The neighbour on the way is not known, so nothing can be sent.
    blocked: bool,
    /// The application was refused room and waits for it.
    wants_room: bool,
    /// The application will read no more and has closed: data that comes is answered by an RST.
    deaf: bool,
    /// The application will read no more: data that comes is thrown away.
    discard: bool,
}

impl Tcb {
    /// An active open: the SYN is due.
    pub fn connect(config: Arc<TcpConfig>, link: Link, iss: Seq, ts_offset: u32, now: Instant) -> Self {
        let mut tcb = Self::new(config, link, iss, ts_offset, now);
        tcb.transition(Event::ActiveOpen);
        tcb.syn_due = true;
        tcb
    }

    /// A passive open whose handshake `h` is complete but for the ACK that is given to
    /// [`on_segment`](Self::on_segment) next. `ours` are the options of our SYN-ACK and `window` is its window field.
    pub fn accept(
        config: Arc<TcpConfig>,
        link: Link,
        h: &Handshake,
        ours: &Options,
        window: u16,
        now: Instant,
    ) -> Self {
        let mut tcb = Self::new(config, link, h.iss, h.ts_offset, now);
        tcb.state = State::SynReceived;
        tcb.on_their_syn(h.irs, ours, &h.theirs, now);
        tcb.ecn.on_asked(h.ecn, h.retransmits);
        tcb.rcv.promise(window);
        // SND.WND comes with the ACK; until then nothing is sent.
        tcb.snd_window = SendWindow::from_syn(0, h.irs, h.iss, tcb.agreed.send_scale);
        if h.retransmits > 0 {
            tcb.rto.after_lost_syn();
            tcb.begin_congestion_control(1);
        }
        tcb
    }

    fn new(config: Arc<TcpConfig>, link: Link, iss: Seq, ts_offset: u32, now: Instant) -> Self {
        let size = SegmentSize::new(None, link.default_mss, link.mss, link.ip_options, config.min_mss);
        Self {
            state: State::Closed,
            snd: SendQueue::new(iss + 1),
            snd_window: SendWindow::from_syn(0, Seq(0), Seq(0), 0),
            rcv: RecvWindow::new(Seq(0), config.first_window(), config.recv_buffer, 0),
            reassembly: Reassembly::default(),
            tune: Tune::new(now, Seq(0), 0),
            ack: AckPolicy::new(config.quick_acks),
            recovery: Recovery::new(config.duplicate_ack_threshold),
            frto: Frto::default(),
            rack: Rack::new(iss + 1),
            tlp: Tlp::default(),
            prr: Prr::default(),
            undo: Undo::default(),
            congestion: Congestion::new(config.congestion, size.effective(), config.initial_window_segments, iss.0),
            validation: Validation::new(now),
            ecn: Ecn::new(config.ecn_wanted()),
            rate: Rate::new(now),
            pacer: Pacer::default(),
            rtt: Rtt::default(),
            min_rtt: MinRtt::default(),
            rto: Rto::new(config.rto_initial, config.rto_min, config.rto_max),
            timers: Timers::default(),
            persist: Persist::default(),
            progress: Progress::default(),
            keepalive: Keepalive::default(),
            size,
            agreed: Negotiated::default(),
            clock: TimestampClock::new(ts_offset, 0, now),
            urgent: Urgent::default(),
            urgent_out: SendUrgent::default(),
            link,
            iss,
            irs: Seq(0),
            fin_at: None,
            last_ack_sent: Seq(0),
            heard_at: now,
            sent_at: now,
            counts: Counts::default(),
            news: News::default(),
            ended: None,
            syn_due: false,
            offer: Offer::Nothing,
            reordering: false,
            probe_tail: false,
            soft_error: false,
            probe_window: false,
            probe_peer: false,
            uncorked: false,
            blocked: false,
            wants_room: false,
            deaf: false,
            discard: false,
            config,
        }
    }

    /// Takes over what the peer's SYN says.
    fn on_their_syn(&mut self, irs: Seq, ours: &Options, theirs: &Options, now: Instant) {
        self.irs = irs;
        self.agreed = Negotiated::new(ours, theirs);
        self.rcv =
            RecvWindow::new(irs + 1, self.config.first_window(), self.config.recv_buffer, self.agreed.recv_scale);
        self.tune = Tune::new(now, irs + 1, self.config.first_window());
        self.last_ack_sent = irs + 1;
        self.clock = TimestampClock::new(self.clock.offset(), theirs.timestamps.map_or(0, |ts| ts.value), now);
        let option_bytes = self.data_header_len() - 20 + self.link.ip_options;
        let (link, least) = (self.link, self.config.min_mss);
        //= spec/rfc9293.txt#section-3.7.1
        //# TCP endpoints MUST implement both sending and receiving the MSS Option (MUST-14).
        self.size = SegmentSize::new(theirs.mss, link.default_mss, link.mss, option_bytes, least);
        self.begin_congestion_control(self.config.initial_window_segments);
    }

    /// The congestion control begins with a window of so many segments.
    fn begin_congestion_control(&mut self, segments: u8) {
        // What is random in an algorithm need not be secret, only different from connection to connection.
        let seed = self.iss.0;
        self.congestion = Congestion::new(self.config.congestion, self.size.effective(), segments, seed);
    }

    /// Moves along the table of states; an event that the table does not know changes nothing.
    fn transition(&mut self, event: Event) {
        let next = self.state.after(event);
        debug_assert!(next.is_some(), "{:?} in {:?}", event, self.state);
        coverage::event(self.state, event);
        self.state = next.unwrap_or(self.state);
    }

    /// What TIME-WAIT has to remember.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            snd_nxt: self.snd.nxt(),
            rcv_nxt: self.rcv.next(),
            ts_recent: self.agreed.timestamps.then(|| self.clock.recent()),
        }
    }

    /// The connection is over.
    fn end(&mut self, reason: CloseReason) {
        if self.state != State::Closed {
            self.transition(Event::Kill);
        }
        self.ended.get_or_insert(reason);
        self.timers.clear();
        self.syn_due = false;
        self.probe_tail = false;
    }

    /// What must hold after every event; called in debug builds only.
    pub fn check_consistency(&self) {
        if cfg!(debug_assertions) {
            self.snd.check_consistency();
            self.recovery.check_consistency(self.snd.nxt());
            self.frto.check_consistency(self.recovery.is_recovering());
            self.rack.check_consistency(self.snd.nxt());
            self.rcv.check_consistency();
            self.reassembly.check_consistency(self.rcv.next());
            assert!(self.ended.is_some() == (self.state == State::Closed));
            if self.state == State::Closed {
                assert_eq!(self.timers.earliest(), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that grows makes every cache line of the table farther away; this is the place to notice it. It was
    /// 480 bytes before the sender knew what was lost: the queue's marks, RACK, the delivery rate and CUBIC take
    /// 416 of the rest, and ECN's counters 80.
    #[test]
    fn a_connection_stays_small() {
        assert!(size_of::<Tcb>() <= 1024, "{}", size_of::<Tcb>());
    }
}
