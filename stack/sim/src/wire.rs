//! What must hold for the segments on the wire, without knowing what goes on in the hosts.

use crate::network::Copy;
use crate::oracle;
use corelane_proto::SocketAddr;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, TcpPacket, parse};
use std::collections::{HashMap, HashSet};

/// One direction of one connection: what its sender has sent and heard.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    /// The sender's initial sequence number.
    isn: Option<Seq>,
    /// The number after the last one that it sent.
    sent: Option<Seq>,
    /// The shift that its SYN offered.
    scale: Option<u8>,
    /// The right edge of the window that it has offered.
    offered: Option<Seq>,
    /// The right edge that has reached it: the last thing it may fill.
    heard: Option<Seq>,
    /// The last empty segment that it sent: its numbers and its window.
    empty: Option<(Seq, Seq, u16)>,
    /// How often it has sent that although nothing had come that has to be answered.
    repeats: u32,
    /// What it would have to have lived through to begin again.
    past: Past,
    /// Segments that came and take sequence numbers: each may be answered, also with what was said before. A turn takes
    /// many in before it answers, so they are counted, up to [`MOST_CREDIT`].
    credit: u32,
}

/// What a sender has lived through since it chose its initial sequence number. Without memory of a connection a listener
/// answers a copy of its SYN with another number; with memory it must not.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// How many SYNs, or old copies of one, have come. A turn takes many in before it answers, so they are counted: each
    /// may have been answered with a number of its own, if there were as many resets between them.
    asked: u32,
    /// One with a Fast Open cookie, which opens a connection at once.
    cookie: bool,
    /// How many RSTs have gone or come.
    resets: u32,
    /// The number after its FIN, once that has gone.
    fin: Option<Seq>,
    fin_acked: bool,
    fin_came: bool,
}

impl Past {
    fn on_sent(&mut self, segment: &Segment) {
        self.resets += u32::from(segment.flags.has(Flags::RST));
        if segment.flags.has(Flags::FIN) {
            self.fin = Some(segment.end());
        }
    }

    fn on_arrived(&mut self, segment: &Segment) {
        let has = |flag| segment.flags.has(flag);
        let asks = has(Flags::SYN) && !has(Flags::ACK);
        self.asked += u32::from(asks);
        self.cookie |= asks && segment.options.fast_open.is_some_and(|cookie| !cookie.is_request());
        self.resets += u32::from(has(Flags::RST));
        self.fin_came |= has(Flags::FIN);
        self.fin_acked |= has(Flags::ACK) && self.fin == Some(segment.ack);
    }

    /// What is left when a SYN has been answered with a new number: it took one SYN, and one reset at most.
    const fn after_answer(&self) -> Self {
        Self {
            asked: self.asked.saturating_sub(1),
            cookie: false,
            resets: self.resets.saturating_sub(1),
            fin: None,
            fin_acked: false,
            fin_came: false,
        }
    }

    /// Whether the connection may be over for this end, and forgotten: it was reset, or both FINs are done with.
    fn may_be_forgotten(&self) -> bool {
        self.resets > 0 || (self.fin_acked && self.fin_came)
    }
}

/// Most empty segments that say the same again although nothing came that takes sequence numbers: keepalive probes, and
/// answers to what is not acceptable, two a second at most. Two ends that answer each other's ACKs have no bound.
const MOST_REPEATS: u32 = 200;
/// More segments than a turn takes in.
const MOST_CREDIT: u32 = 1000;

/// Every connection's two directions, by sender and receiver.
#[derive(Debug, Default)]
pub struct Wire {
    halves: HashMap<(SocketAddr, SocketAddr), Half>,
    /// Where an old request came again and was answered. The two ends are no longer of one mind, and what they say to each
    /// other then is not judged.
    confused: HashSet<(SocketAddr, SocketAddr)>,
    /// Who has answered a SYN of whom a second time, with another number.
    again: HashSet<(SocketAddr, SocketAddr)>,
}

impl Wire {
    /// A host has sent `frame`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn on_sent(&mut self, frame: &[u8]) -> Result<(), String> {
        let packet = parse(frame, Checksums::VERIFY).map_err(|error| format!("it sent what is no frame: {error:?}"))?;
        oracle::check(frame).map_err(|what| format!("{what}: {:?}", packet.body))?;
        let Body::Tcp(tcp) = packet.body else { return Ok(()) };
        self.halves.entry((tcp.src, tcp.dst)).or_default().past.on_sent(&tcp.segment);
        if tcp.segment.flags.has(Flags::RST) || self.confused.contains(&(tcp.src, tcp.dst)) {
            return Ok(());
        }
        self.on_segment(&tcp).map_err(|what| format!("{what}: {} > {} {:?}", tcp.src, tcp.dst, tcp.segment))
    }

    fn on_segment(&mut self, tcp: &TcpPacket) -> Result<(), String> {
        let s = &tcp.segment;
        let syn = s.flags.has(Flags::SYN);
        let past = self.half(tcp.src, tcp.dst).past;
        if syn && self.half(tcp.src, tcp.dst).isn.is_some_and(|isn| isn != s.seq) {
            if s.flags.has(Flags::ACK) {
                self.check_second_answer(tcp)?;
                self.again.insert((tcp.src, tcp.dst));
                // The other end has acknowledged a SYN before: it stays with that, or with nothing.
                if self.half(tcp.dst, tcp.src).offered.is_some() {
                    self.confused.insert((tcp.src, tcp.dst));
                    self.confused.insert((tcp.dst, tcp.src));
                    return Ok(());
                }
            }
            // The two ends are used again, or a listener answers a SYN that was late: then the other end has been heard.
            self.halves.insert((tcp.src, tcp.dst), Half::default());
            if !s.flags.has(Flags::ACK) {
                self.halves.insert((tcp.dst, tcp.src), Half::default());
            }
        }
        let theirs = self.half(tcp.dst, tcp.src);
        let mut ours = self.half(tcp.src, tcp.dst);
        if syn {
            if ours.isn != Some(s.seq) {
                ours.past = if s.flags.has(Flags::ACK) { past.after_answer() } else { Past::default() };
            }
            ours.isn = Some(s.seq);
            ours.scale = s.options.window_scale;
        }
        if s.flags.has(Flags::ACK) {
            match theirs.sent {
                Some(sent) if s.ack.at_or_before(sent) => {}
                Some(sent) => return Err(format!("it acknowledges beyond {sent:?}, the last that was sent")),
                None => return Err("it acknowledges somebody who has sent nothing".to_owned()),
            }
            let edge = s.ack + window(s.window, syn, &ours, &theirs);
            // A SYN-ACK that is sent again cannot say what an ACK meanwhile has: its window is not scaled.
            if let Some(before) = ours.offered.filter(|before| !syn && edge.before(*before)) {
                return Err(format!("the window's right edge moves left from {before:?} to {edge:?}"));
            }
            ours.offered = Some(ours.offered.map_or(edge, |before| before.max(edge)));
        }
        let end = s.seq + u32::from(s.len);
        let beyond = ours.heard.filter(|heard| end.after(*heard)).map(|heard| (heard, end.since(heard)));
        if let Some((heard, beyond)) = beyond.filter(|(_, beyond)| s.len > 0 && !(s.len == 1 && *beyond == 1)) {
            return Err(format!("it sends {beyond} bytes beyond {heard:?}, the edge of the window it was offered"));
        }
        if s.seq_len() == 0 {
            let empty = Some((s.seq, s.ack, s.window));
            if ours.empty != empty {
                ours.repeats = 0;
            } else if ours.credit > 0 {
                ours.credit -= 1;
            } else {
                ours.repeats += 1;
            }
            ours.empty = empty;
            if ours.repeats > MOST_REPEATS {
                return Err(format!("the same ACK for the {}th time, and nothing to acknowledge", ours.repeats));
            }
        }
        let end = s.end();
        ours.sent = Some(ours.sent.map_or(end, |sent| sent.max(end)));
        self.halves.insert((tcp.src, tcp.dst), ours);
        Ok(())
    }

    /// A SYN-ACK begins with another number than the one before. That is right only for a listener that has forgotten the
    /// connection and gets a copy of its SYN.
    fn check_second_answer(&self, tcp: &TcpPacket) -> Result<(), String> {
        let past = self.half(tcp.src, tcp.dst).past;
        if past.asked == 0 {
            return Err("it answers with another number, and no SYN has come since the last".to_owned());
        }
        if !past.may_be_forgotten() {
            return Err("it answers a SYN with another number, and the connection is not over".to_owned());
        }
        Ok(())
    }

    /// `sender` has ended its connection otherwise than by FINs, whether it could say so or not.
    pub fn on_reset(&mut self, sender: SocketAddr, receiver: SocketAddr) {
        self.halves.entry((sender, receiver)).or_default().past.resets += 1;
    }

    /// Whether `listener` has answered an old copy of the SYN with which `opener` began what is over for the listener.
    pub fn has_answered_old_syn(&self, listener: SocketAddr, opener: SocketAddr) -> bool {
        self.confused.contains(&(listener, opener))
    }

    /// Whether `listener` has answered `opener` a second time, with another number and for a good reason.
    pub fn has_answered_again(&self, listener: SocketAddr, opener: SocketAddr) -> bool {
        self.again.contains(&(listener, opener))
    }

    /// Whether a copy of such a SYN with a Fast Open cookie has come to `listener`, which may answer it at any time.
    pub fn has_got_old_cookie(&self, listener: SocketAddr, opener: SocketAddr) -> bool {
        let past = self.half(listener, opener).past;
        past.cookie && past.may_be_forgotten()
    }

    /// `frame` has reached its host, whole.
    pub fn on_arrived(&mut self, frame: &[u8]) {
        self.on_copy_arrived(frame, Copy::Real);
    }

    /// The same for what may be an old copy, or forged.
    pub(crate) fn on_copy_arrived(&mut self, frame: &[u8], copy: Copy) {
        let Ok(packet) = parse(frame, Checksums::VERIFY) else { return };
        let Body::Tcp(tcp) = packet.body else { return };
        let s = &tcp.segment;
        if matches!(copy, Copy::Forged | Copy::ForgedBack) {
            // It may be answered, but nothing in it is true.
            let half = self.half(tcp.dst, tcp.src);
            self.halves.insert((tcp.dst, tcp.src), Half { credit: MOST_CREDIT.min(half.credit + 1), ..half });
            return;
        }
        self.halves.entry((tcp.dst, tcp.src)).or_default().past.on_arrived(s);
        if s.seq_len() > 0 {
            let half = self.half(tcp.dst, tcp.src);
            self.halves.insert((tcp.dst, tcp.src), Half { credit: MOST_CREDIT.min(half.credit + 1), ..half });
        }
        if !s.flags.has(Flags::ACK) || s.flags.has(Flags::RST) {
            return;
        }
        let (theirs, mut ours) = (self.half(tcp.src, tcp.dst), self.half(tcp.dst, tcp.src));
        let edge = s.ack + window(s.window, s.flags.has(Flags::SYN), &theirs, &ours);
        ours.heard = Some(ours.heard.map_or(edge, |heard| heard.max(edge)));
        self.halves.insert((tcp.dst, tcp.src), ours);
    }

    fn half(&self, src: SocketAddr, dst: SocketAddr) -> Half {
        self.halves.get(&(src, dst)).copied().unwrap_or_default()
    }
}

/// What a window field means: it is scaled when both SYNs offered to, and never in a SYN (RFC 7323 2.2).
fn window(field: u16, syn: bool, sender: &Half, other: &Half) -> u32 {
    let scale = sender.scale.filter(|_| !syn && other.scale.is_some()).unwrap_or(0).min(14);
    u32::from(field) << scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_proto::tcp::segment::Options;
    use corelane_proto::wire::{EthernetHeader, IpHeader, emit_tcp};
    use corelane_proto::{Addr, Mac};

    const A: u8 = 1;
    const B: u8 = 2;

    fn frame(from: u8, to: u8, segment: Segment) -> Vec<u8> {
        let eth = EthernetHeader { dst: Mac([2, 0, 0, 0, 0, to]), src: Mac([2, 0, 0, 0, 0, from]), vlan: None };
        let ip = IpHeader::new(Addr::v4([10, 0, 0, from]), Addr::v4([10, 0, 0, to]));
        let mut frame = vec![0; 2000];
        let len = emit_tcp(&mut frame, &eth, &ip, (u16::from(from), u16::from(to)), &segment);
        frame.truncate(len);
        frame
    }

    fn syn(seq: u32, ack: Option<u32>) -> Segment {
        let flags = if ack.is_some() { Flags::SYN | Flags::ACK } else { Flags::SYN };
        let options = Options { mss: Some(1460), window_scale: Some(2), ..Options::NONE };
        Segment { seq: Seq(seq), ack: Seq(ack.unwrap_or(0)), flags, window: 1000, options, ..Segment::default() }
    }

    fn data(seq: u32, len: u16, ack: u32, window: u16) -> Segment {
        Segment { seq: Seq(seq), ack: Seq(ack), len, window, flags: Flags::ACK, ..Segment::default() }
    }

    /// A handshake: A begins at 100 and offers 4 * 500 bytes, B begins at 900 and offers 1000.
    fn open() -> Wire {
        let mut wire = Wire::default();
        for (from, to, segment) in [(A, B, syn(99, None)), (B, A, syn(899, Some(100))), (A, B, data(100, 0, 900, 500))]
        {
            let frame = frame(from, to, segment);
            wire.on_sent(&frame).expect("legal");
            wire.on_arrived(&frame);
        }
        wire
    }

    #[test]
    fn what_is_legal_passes() {
        let mut wire = open();
        for (from, to, segment) in [(A, B, data(100, 1000, 900, 500)), (B, A, data(900, 10, 1100, 250))] {
            assert_eq!(wire.on_sent(&frame(from, to, segment)), Ok(()));
        }
    }

    #[test]
    fn an_edge_that_moves_left_is_seen() {
        let error = open().on_sent(&frame(A, B, data(100, 0, 900, 499))).unwrap_err();
        assert!(error.contains("moves left"), "{error}");
    }

    #[test]
    fn data_beyond_the_window_is_seen_and_a_probe_is_not() {
        let error = open().on_sent(&frame(A, B, data(1000, 101, 900, 500))).unwrap_err();
        assert!(error.contains("beyond"), "{error}");
        assert_eq!(open().on_sent(&frame(A, B, data(1100, 1, 900, 500))), Ok(()));
        assert!(open().on_sent(&frame(A, B, data(1101, 1, 900, 500))).is_err());
    }

    #[test]
    fn a_window_counts_when_it_has_arrived_and_not_when_it_is_sent() {
        let mut wire = open();
        wire.on_sent(&frame(B, A, data(900, 0, 100, 1000))).expect("legal");
        assert!(wire.on_sent(&frame(A, B, data(1000, 200, 900, 500))).is_err());
        let mut wire = open();
        wire.on_arrived(&frame(B, A, data(900, 0, 100, 1000)));
        assert!(wire.on_sent(&frame(A, B, data(1000, 200, 900, 500))).is_ok());
    }

    #[test]
    fn an_ack_of_what_was_not_sent_is_seen() {
        let error = open().on_sent(&frame(B, A, data(900, 0, 101, 1000))).unwrap_err();
        assert!(error.contains("acknowledges beyond"), "{error}");
    }

    /// B has sent 300 bytes and is reset, or it is not; a copy of A's SYN comes, or it does not; then B answers anew.
    fn second_answer(forgets: bool, asked: bool) -> (Wire, Result<(), String>) {
        let mut wire = open();
        wire.on_sent(&frame(B, A, data(900, 300, 100, 1000))).expect("legal");
        if forgets {
            wire.on_arrived(&frame(A, B, Segment { flags: Flags::RST, ..data(100, 0, 0, 0) }));
        }
        if asked {
            wire.on_arrived(&frame(A, B, syn(99, None)));
        }
        let sent = wire.on_sent(&frame(B, A, syn(1000, Some(100))));
        (wire, sent)
    }

    #[test]
    fn an_old_request_that_is_answered_anew_leaves_the_other_end_its_numbers() {
        let (mut wire, sent) = second_answer(true, true);
        assert_eq!(sent, Ok(()));
        assert_eq!(wire.on_sent(&frame(A, B, data(100, 0, 1200, 500))), Ok(()));
        let ends = |from, to| frame_ends(&frame(from, to, syn(0, None)));
        assert!(wire.has_answered_old_syn(ends(B, A).0, ends(B, A).1));
        assert!(!open().has_answered_old_syn(ends(B, A).0, ends(B, A).1));
    }

    fn frame_ends(frame: &[u8]) -> (SocketAddr, SocketAddr) {
        match parse(frame, Checksums::VERIFY).expect("a frame").body {
            Body::Tcp(tcp) => (tcp.src, tcp.dst),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_number_without_an_old_request_or_with_memory_is_seen() {
        let error = second_answer(true, false).1.unwrap_err();
        assert!(error.contains("no SYN has come"), "{error}");
        let error = second_answer(false, true).1.unwrap_err();
        assert!(error.contains("is not over"), "{error}");
    }

    #[test]
    fn each_syn_with_a_reset_before_it_may_be_answered_anew_in_the_same_turn() {
        let mut wire = Wire::default();
        let asks = frame(A, B, syn(99, None));
        wire.on_sent(&asks).expect("legal");
        for _ in 0..3 {
            wire.on_arrived(&asks);
            wire.on_arrived(&frame(A, B, Segment { flags: Flags::RST, ..data(100, 0, 0, 0) }));
        }
        for isn in [1000, 2000, 3000] {
            assert_eq!(wire.on_sent(&frame(B, A, syn(isn, Some(100)))), Ok(()));
        }
        let error = wire.on_sent(&frame(B, A, syn(4000, Some(100)))).unwrap_err();
        assert!(error.contains("no SYN has come"), "{error}");
    }

    #[test]
    fn acks_that_answer_each_other_are_seen() {
        let mut wire = open();
        let ack = frame(B, A, data(900, 0, 100, 1000));
        let mut war = (0..2000).map(|_| wire.on_sent(&ack));
        assert!(war.any(|sent| sent.is_err_and(|what| what.contains("nothing to acknowledge"))));
        let mut wire = open();
        for _ in 0..100 {
            wire.on_arrived(&frame(A, B, data(100, 1, 900, 500)));
            assert_eq!(wire.on_sent(&ack), Ok(()), "data that comes again is acknowledged again");
        }
    }

    #[test]
    fn a_frame_with_a_wrong_checksum_is_no_frame() {
        let mut bytes = frame(A, B, data(100, 10, 900, 500));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(open().on_sent(&bytes).is_err());
    }
}
