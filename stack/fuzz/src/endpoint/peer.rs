//! What the peers know: of each flow, what the endpoint has said and what they have said themselves.

use corelane_proto::Flow;
use corelane_proto::tcp::segment::{FastOpen, Flags, Segment};
use corelane_proto::tcp::seq::Seq;

/// Initial sequence numbers of a flow that are remembered, of each side.
const ISNS: usize = 64;

/// One flow, from the endpoint's side: `local` is the endpoint.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) flow: Flow,
    /// Each SYN-ACK replaces the one before: not where cookies answer several SYNs of a flow.
    pub(super) one_at_a_time: bool,
    /// The endpoint's initial sequence number, from its last SYN.
    pub(super) iss: Option<Seq>,
    /// Those of its SYNs before, the last one last.
    earlier: Vec<Seq>,
    /// The number after the last that the endpoint has sent.
    pub(super) sent: Seq,
    /// It has sent a SYN without ACK.
    active: bool,
    /// The first number of its last segment.
    pub(super) last: Seq,
    /// What it expects next.
    pub(super) expects: Seq,
    /// Its last window field, and how it is scaled when that is known.
    pub(super) window: u16,
    pub(super) scale: Option<u8>,
    /// The right edge that it has offered.
    pub(super) edge: Option<Seq>,
    /// Its last timestamp.
    pub(super) stamp: Option<u32>,
    /// Our own timestamp.
    pub(super) clock: u32,
    /// The Fast Open cookie that the endpoint gave us.
    pub(super) cookie: Option<FastOpen>,
    /// Initial sequence numbers that we have sent, the last one last.
    pub(super) isns: Vec<Seq>,
    /// Bytes were sent that are not those of the stream.
    pub(super) lied: bool,
    /// The last frame that it sent us.
    pub(super) frame: Vec<u8>,
}

impl Peer {
    pub(super) fn new(flow: Flow, one_at_a_time: bool) -> Self {
        Self {
            flow,
            one_at_a_time,
            iss: None,
            earlier: Vec::new(),
            sent: Seq(0),
            active: false,
            last: Seq(0),
            expects: Seq(0),
            window: 0,
            scale: None,
            edge: None,
            stamp: None,
            clock: 1,
            cookie: None,
            isns: Vec::new(),
            lied: false,
            frame: Vec::new(),
        }
    }

    /// The endpoint has sent `segment`. Panics when it takes back a window.
    pub(super) fn hear(&mut self, segment: &Segment, frame: &[u8]) {
        self.frame.clear();
        self.frame.extend_from_slice(frame);
        if segment.flags.has(Flags::RST) {
            return;
        }
        // At the same moment a new connection of the same two ends has the same number, but answers another SYN.
        if segment.flags.has(Flags::SYN) && (self.iss != Some(segment.seq) || self.expects != segment.ack) {
            // A SYN-ACK that waits for a device that is stuck may leave behind that of the connection that came after it: from
            // then on two connections' segments come in turn.
            self.one_at_a_time &= !self.earlier.contains(&segment.seq);
            self.earlier.extend(self.iss.replace(segment.seq).filter(|iss| *iss != segment.seq));
            self.earlier.drain(..self.earlier.len().saturating_sub(ISNS));
            self.sent = segment.end();
            self.edge = None;
            self.active = false;
        }
        if segment.flags.has(Flags::SYN) {
            self.cookie = segment.options.fast_open.filter(|cookie| !cookie.is_request()).or(self.cookie);
            self.on_syn(segment);
        }
        // While a successor is half-open the connection in TIME-WAIT goes on answering (RFC 9293 3.6.1), for itself.
        let own = self.iss.is_some_and(|iss| segment.seq.at_or_after(iss) && segment.seq.at_or_before(self.sent));
        self.sent = self.sent.max(segment.end());
        self.last = segment.seq;
        self.window = segment.window;
        self.stamp = segment.options.timestamps.map(|stamp| stamp.value);
        if segment.flags.has(Flags::ACK) {
            self.expects = segment.ack;
            if own || !self.one_at_a_time {
                self.watch_edge(segment);
            }
        }
    }

    /// A listener's SYN-ACK says for sure how windows are scaled; a SYN's offer depends on the answer.
    fn on_syn(&mut self, segment: &Segment) {
        self.active |= !segment.flags.has(Flags::ACK);
        self.scale = match segment.options.window_scale {
            None => Some(0),
            offered => offered.filter(|_| !self.active),
        };
    }

    fn watch_edge(&mut self, segment: &Segment) {
        let syn = segment.flags.has(Flags::SYN);
        let scale = if syn { Some(0) } else { self.scale };
        let Some(scale) = scale else { return };
        let edge = segment.ack + (u32::from(segment.window) << scale);
        if let Some(before) = self.edge {
            // A SYN-ACK that is sent again cannot say what an ACK meanwhile has: its window is not scaled.
            let may_move = syn || !self.one_at_a_time;
            assert!(may_move || !edge.before(before), "the window's right edge moves left from {before:?} to {edge:?}");
        }
        self.edge = Some(self.edge.map_or(edge, |before| before.max(edge)));
    }

    /// We say that our numbers begin at `isn`.
    pub(super) fn open(&mut self, isn: Seq) {
        if self.isns.last() == Some(&isn) {
            return;
        }
        if self.isns.len() == ISNS {
            // Too many to keep in mind: what is read is no longer compared.
            self.lied = true;
        } else {
            self.isns.push(isn);
        }
    }

    /// Where our next byte belongs.
    pub(super) fn next(&self) -> Seq {
        if self.expects == Seq(0) { self.isns.last().map_or(Seq(0), |isn| *isn + 1) } else { self.expects }
    }
}

/// The byte that a peer sends under this number.
pub(super) fn peer_byte(seq: Seq) -> u8 {
    (seq.0.wrapping_mul(0x9e37_79b1) >> 23) as u8
}

/// What the application has read of one connection: which of the initial numbers explain it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    candidates: Option<Vec<Seq>>,
    /// What the peer has sent is not known any more.
    blind: bool,
}

impl Reading {
    /// Of a connection whose peer was forgotten: what is read is no longer compared.
    pub(super) fn blind() -> Self {
        Self { candidates: None, blind: true }
    }

    /// Takes the next bytes that the application has read.
    pub(super) fn on_bytes(&mut self, bytes: &[u8], peer: &Peer) {
        if peer.lied || self.blind {
            self.candidates = None;
            return;
        }
        let candidates = self.candidates.get_or_insert_with(|| peer.isns.iter().map(|isn| *isn + 1).collect());
        let fits = |start: &Seq| (0..).zip(bytes).all(|(i, byte)| peer_byte(*start + i) == *byte);
        candidates.retain(fits);
        assert!(!candidates.is_empty(), "{} bytes were read that the peer never sent in this order", bytes.len());
        for start in candidates {
            *start += bytes.len() as u32;
        }
    }
}
