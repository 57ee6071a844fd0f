//! ECN from the outside: what the SYNs agree on, which packets say that they are ECN-capable, what is echoed, and what an
//! echo does to the sender (RFC 3168, RFC 9768).

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::{ConnId, EndpointConfig, Shutdown, SynCookies};
use corelane_proto::tcp::config::{Ecn, TcpConfig};
use corelane_proto::tcp::congestion::Algorithm;
use corelane_proto::tcp::info::{EcnMode, TcpInfo};
use corelane_proto::tcp::segment::{AccurateEcn, Codepoint, Flags, Options, SackBlocks, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

const ACK: Flags = Flags::ACK;
const SYN: Flags = Flags::SYN;
const CWR: Flags = Flags::CWR;
const ECE: Flags = Flags::ECE;
const AE: Flags = Flags::AE;
/// What asks for classic ECN.
const SETUP: Flags = Flags(CWR.0 | ECE.0);
const MS: Duration = Duration::from_millis(1);
/// Payload of a segment here.
const MSS: u16 = 1000;

fn config(ecn: Ecn) -> TcpConfig {
    TcpConfig { ecn, congestion: Algorithm::NewReno, tail_loss_probe: false, ..TcpConfig::default() }
}

/// The three bits of accurate ECN.
fn ace(segment: &Segment) -> u16 {
    (segment.flags.0 & Flags::ECN.0) >> 6
}

fn with_ace(ace: u16) -> Flags {
    ACK | Flags(ace << 6)
}

fn syn(flags: Flags) -> Segment {
    let options = Options { mss: Some(MSS), sack_permitted: true, ..Options::NONE };
    Segment { options, ..segment(IRS, Seq(0), SYN | flags, 0) }
}

fn ecn_of(flags: Flags) -> Flags {
    Flags(flags.0 & Flags::ECN.0)
}

fn info(bench: &Bench, conn: ConnId) -> TcpInfo {
    bench.endpoint.info(conn).expect("it is there")
}

/// A connection that the peer opens with these flags of its SYN, and with these of the ACK of the SYN-ACK.
fn opened(syn_flags: Flags, ack_flags: Flags) -> (Bench, ConnId, Seq) {
    let mut bench = Bench::new(config(Ecn::Passive));
    let syn_ack = bench.receive(syn(syn_flags))[0];
    assert_eq!(syn_ack.ecn, Codepoint::NotEct);
    let ours = syn_ack.seq + 1;
    bench.receive(segment(IRS + 1, ours, ack_flags, 0));
    let conn = bench.accepted();
    (bench, conn, ours)
}

fn classic() -> (Bench, ConnId, Seq) {
    opened(SETUP, ACK)
}

fn accurate() -> (Bench, ConnId, Seq) {
    opened(Flags::ECN, with_ace(2))
}

/// The peer's data, from its `at`th byte.
fn data(at: u32, ours: Seq, ecn: Codepoint, flags: Flags) -> Segment {
    Segment { ecn, ..segment(IRS + 1 + at, ours, ACK | flags, 100) }
}

/// Each row of the tables of RFC 9768 3.1.2 and RFC 3168 6.1.1 for the side that is asked.
//= spec/rfc9293.txt#section-3.8.2
//= type=test
//# A TCP endpoint SHOULD implement ECN as described in RFC 3168 (SHLD-8).
//= spec/rfc3168.txt#section-6.1.1
//= type=test
//# When Host B sends an ECN-setup SYN-ACK packet, it sets the ECE flag but not the CWR flag.
#[test]
fn a_listener_answers_what_it_is_asked_for() {
    for bits in 0..8u16 {
        let flags = Flags(bits << 6);
        for arrived in [Codepoint::NotEct, Codepoint::Ect1, Codepoint::Ect0, Codepoint::Ce] {
            let mut bench = Bench::new(config(Ecn::Passive));
            let answer = bench.receive(Segment { ecn: arrived, ..syn(flags) })[0];
            let reflected = [CWR, SETUP, AE, AE | CWR][arrived as usize];
            let expected = match bits {
                0 => Flags(0),
                0b011 => ECE,
                _ => reflected,
            };
            assert_eq!((ecn_of(answer.flags), answer.ecn), (expected, Codepoint::NotEct), "{flags:?} {arrived:?}");
            assert_eq!(answer.options.accurate_ecn.is_some(), !matches!(bits, 0 | 0b011));
        }
    }
    for (ecn, mode) in [(Ecn::Off, Flags(0)), (Ecn::Classic, ECE)] {
        let mut bench = Bench::new(config(ecn));
        assert_eq!(ecn_of(bench.receive(syn(Flags::ECN))[0].flags), mode);
    }
}

/// The other side of the tables: what we ask for, the answer, and what is in force then.
#[test]
fn a_client_takes_what_the_answer_leaves() {
    for (wanted, asks, answer, mode) in [
        (Ecn::Off, Flags(0), ECE, EcnMode::Off),
        (Ecn::Passive, Flags(0), ECE, EcnMode::Off),
        (Ecn::Classic, SETUP, ECE, EcnMode::Classic),
        (Ecn::Classic, SETUP, SETUP, EcnMode::Off),
        (Ecn::Classic, SETUP, Flags(0), EcnMode::Off),
        (Ecn::Classic, SETUP, CWR, EcnMode::Off),
        (Ecn::Accurate, Flags::ECN, Flags(0), EcnMode::Off),
        (Ecn::Accurate, Flags::ECN, Flags::ECN, EcnMode::Off),
        (Ecn::Accurate, Flags::ECN, ECE, EcnMode::Classic),
        (Ecn::Accurate, Flags::ECN, AE | ECE, EcnMode::Accurate),
        (Ecn::Accurate, Flags::ECN, CWR, EcnMode::Accurate),
        (Ecn::Accurate, Flags::ECN, SETUP, EcnMode::Accurate),
        (Ecn::Accurate, Flags::ECN, AE, EcnMode::Accurate),
        (Ecn::Accurate, Flags::ECN, AE | CWR, EcnMode::Accurate),
    ] {
        let mut bench = Bench::new(config(Ecn::Passive));
        let (conn, ours) = bench.connect(config(wanted));
        assert_eq!((ecn_of(ours.flags), ours.ecn), (asks, Codepoint::NotEct));
        assert_eq!(ours.options.accurate_ecn, None);
        let ack = bench.receive(segment(IRS, ours.seq + 1, SYN | ACK | answer, 0))[0];
        assert_eq!(info(&bench, conn).ecn, mode, "{wanted:?} {answer:?}");
        assert_eq!(ace(&ack), if mode == EcnMode::Accurate { 2 } else { 0 });
        let sent = bench.send(conn, b"hello")[0];
        // A SYN that went without ECT and arrived with it says that the path changes what it must not.
        let sound = mode == EcnMode::Classic || matches!(answer, CWR) || answer == (AE | ECE);
        assert_eq!(sent.ecn == Codepoint::Ect0, sound && mode != EcnMode::Off, "{wanted:?} {answer:?}");
    }
}

#[test]
fn dctcp_asks_for_accurate_ecn_unless_it_is_off() {
    for (ecn, asks) in [(Ecn::Off, Flags(0)), (Ecn::Passive, Flags::ECN), (Ecn::Classic, Flags::ECN)] {
        let mut bench = Bench::new(TcpConfig::default());
        let (_, ours) = bench.connect(TcpConfig { congestion: Algorithm::Dctcp, ..config(ecn) });
        assert_eq!(ecn_of(ours.flags), asks);
    }
}

//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.4.1
//= type=test
//# it SHOULD attempt to negotiate the use of
//# AccECN at least one more time by continuing to set all three TCP ECN
//# flags (AE,CWR,ECE) = (1,1,1) on the first retransmitted SYN
#[test]
fn a_syn_that_is_not_answered_gives_up_ecn_the_third_time() {
    let mut bench = Bench::new(config(Ecn::Passive));
    let (conn, ours) = bench.connect(config(Ecn::Accurate));
    let again = bench.wait(Duration::from_secs(4));
    let flags: Vec<_> = again.iter().map(|syn| ecn_of(syn.flags)).collect();
    assert_eq!(flags, [Flags::ECN, Flags(0)]);
    bench.receive(segment(IRS, ours.seq + 1, SYN | ACK | CWR, 0));
    assert_eq!(info(&bench, conn).ecn, EcnMode::Accurate, "the answer to the first");
    assert_eq!(bench.send(conn, b"x")[0].ecn, Codepoint::Ect0);
}

//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.4.2
//= type=test
//# If a TCP Server enters AccECN mode then subsequently sends a SYN/ACK
//# or receives a SYN with (AE,CWR,ECE) = (0,0,0), it is prohibited from
//# setting ECT on any packet for the rest of the connection;
#[test]
fn a_syn_ack_that_is_not_answered_gives_up_its_option_and_then_ecn() {
    let mut bench = Bench::new(config(Ecn::Passive));
    let first = bench.receive(syn(Flags::ECN))[0];
    let again = bench.wait(Duration::from_secs(4));
    let all: Vec<_> =
        [first].iter().chain(&again).map(|s| (ecn_of(s.flags), s.options.accurate_ecn.is_some())).collect();
    assert_eq!(all, [(CWR, true), (CWR, false), (Flags(0), false)]);
    bench.receive(segment(IRS + 1, first.seq + 1, with_ace(2), 0));
    let conn = bench.accepted();
    assert_eq!(info(&bench, conn).ecn, EcnMode::Accurate);
    assert_eq!(bench.send(conn, b"x")[0].ecn, Codepoint::NotEct);
}

//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
//= type=test
//# MUST reset the connection with a RST packet, if it receives a
//# 'Classic' ECN-setup SYN with (AE,CWR,ECE) = (0,1,1) and a SYN
//# requesting AccECN feedback during the same handshake;
#[test]
fn a_peer_that_asks_for_both_is_reset() {
    for (first, second) in [(SETUP, Flags::ECN), (Flags::ECN, SETUP)] {
        let mut bench = Bench::new(config(Ecn::Passive));
        bench.receive(syn(first));
        assert_eq!(bench.receive(syn(second))[0].flags, Flags::RST | ACK);
        assert_eq!(bench.endpoint.half_opens(), 0);
    }
    let mut bench = Bench::new(config(Ecn::Passive));
    bench.receive(syn(Flags::ECN));
    let marked = bench.receive(Segment { ecn: Codepoint::Ce, ..syn(Flags::ECN) })[0];
    assert_eq!((ecn_of(marked.flags), marked.options.accurate_ecn), (AE | CWR, None), "the latest SYN");
    let plain = bench.receive(syn(Flags(0)))[0];
    assert_eq!(ecn_of(plain.flags), CWR, "accurate it stays");
    bench.receive(segment(IRS + 1, plain.seq + 1, with_ace(2), 0));
    let conn = bench.accepted();
    assert_eq!(bench.send(conn, b"x")[0].ecn, Codepoint::NotEct);
}

#[test]
fn both_ends_at_once_agree() {
    let mut bench = Bench::new(config(Ecn::Passive));
    let (conn, ours) = bench.connect(config(Ecn::Accurate));
    let answer = bench.receive(segment(IRS, Seq(0), SYN | Flags::ECN, 0))[0];
    assert_eq!(answer.flags, SYN | ACK | CWR);
    bench.receive(segment(IRS, ours.seq + 1, SYN | ACK | CWR, 0));
    assert_eq!(info(&bench, conn).ecn, EcnMode::Accurate);
    let sent = bench.send(conn, b"x")[0];
    assert_eq!((sent.ecn, ace(&sent)), (Codepoint::Ect0, 5));
    bench.receive(segment(IRS + 1, sent.end(), with_ace(5), 0));
    assert_eq!(info(&bench, conn).marked_bytes, 0);
}

/// Cookies remember classic ECN in the timestamp and accurate ECN not at all: the ACK tells.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-5.1
//= type=test
//# Therefore the Server can switch itself into AccECN mode, and continue
//# as if it had never forgotten that it switched itself into AccECN mode
//# earlier.
#[test]
fn cookies_keep_what_was_agreed_on() {
    let stamps = |value, echo| Some(corelane_proto::tcp::segment::Timestamps { value, echo });
    for (asks, stamped, ack_flags, mode) in [
        (Flags::ECN, false, with_ace(2), EcnMode::Accurate),
        (Flags::ECN, true, with_ace(2), EcnMode::Accurate),
        (SETUP, true, ACK, EcnMode::Classic),
        (SETUP, false, ACK, EcnMode::Off),
        (Flags(0), true, ACK, EcnMode::Off),
    ] {
        let always = |endpoint: &mut EndpointConfig| endpoint.syn_cookies = SynCookies::Always;
        let mut bench = Bench::with(config(Ecn::Passive), always);
        let mut first = syn(asks);
        first.options.timestamps = stamps(7, 0).filter(|_| stamped);
        let syn_ack = bench.receive(first)[0];
        let mut ack = segment(IRS + 1, syn_ack.seq + 1, ack_flags, 0);
        ack.options.timestamps = syn_ack.options.timestamps.and_then(|ours| stamps(8, ours.value));
        bench.receive(ack);
        let conn = bench.accepted();
        assert_eq!(info(&bench, conn).ecn, mode, "{asks:?} {stamped}");
    }
}

//= spec/rfc3168.txt#section-6.1.5
//= type=test
//# This document specifies ECN-capable TCP implementations MUST NOT set either ECT codepoint (ECT(0) or ECT(1)) in the IP
//# header for retransmitted data packets
//= spec/rfc3168.txt#section-6.1.4
//= type=test
//# pure acknowledgement packets (e.g., packets that do not contain any accompanying data) MUST be sent with the not-ECT
//# codepoint.
//= spec/rfc3168.txt#section-6.1.2
//= type=test
//# For a TCP connection using ECN, new data packets are transmitted with an ECT codepoint set in the IP header.
#[test]
fn only_data_that_is_new_says_that_it_is_ecn_capable() {
    for (mut bench, conn, ours) in [classic(), accurate()] {
        let sent = bench.send(conn, &[b'x'; 3000]);
        assert!(sent.len() == 3 && sent.iter().all(|s| s.ecn == Codepoint::Ect0), "{sent:?}");
        let again = bench.wait(Duration::from_secs(2));
        assert!(!again.is_empty() && again.iter().all(|s| s.len > 0 && s.ecn == Codepoint::NotEct), "{again:?}");
        let flags = if info(&bench, conn).ecn == EcnMode::Accurate { with_ace(5) } else { ACK };
        bench.receive(segment(IRS + 1, ours + 3000, flags, 0));
        let ack = bench.receive(data(0, ours + 3000, Codepoint::Ect0, flags))[0];
        assert_eq!((ack.len, ack.ecn), (0, Codepoint::NotEct));
        bench.endpoint.shutdown(conn, Shutdown::Write);
        let fin = bench.sent()[0];
        assert_eq!((fin.flags.has(Flags::FIN), fin.ecn), (true, Codepoint::NotEct));
    }
}

//= spec/rfc3168.txt#section-6.1.6
//= type=test
//# the TCP data sender MUST NOT set either an ECT codepoint or the CWR bit on window probe packets.
#[test]
fn a_probe_of_a_closed_window_is_not_marked() {
    let (mut bench, conn, ours) = classic();
    bench.send(conn, &[b'x'; 1000]);
    bench.receive(Segment { window: 0, ..segment(IRS + 1, ours + 1000, ACK | ECE, 0) });
    assert_eq!(bench.send(conn, &[b'x'; 1000]), []);
    let probes = bench.wait(Duration::from_secs(3));
    assert!(!probes.is_empty(), "it probes");
    assert!(probes.iter().all(|s| s.ecn == Codepoint::NotEct && !s.flags.has(CWR)), "{probes:?}");
}

//= spec/rfc3168.txt#section-6.1.3
//= type=test
//# When TCP receives a CE data packet at the destination end-system, the TCP data receiver sets the ECN-Echo flag in the TCP
//# header of the subsequent ACK packet.
//= spec/rfc3168.txt#section-6.1.3
//= type=test
//# After the receipt of the CWR packet, acknowledgments for subsequent non-CE data packets do not have the ECN-Echo flag set.
#[test]
fn classic_echoes_a_mark_until_the_peer_answers() {
    let (mut bench, conn, ours) = classic();
    let mut ack = |at, ecn, flags| bench.receive(data(at, ours, ecn, flags))[0].flags.has(ECE);
    assert!(!ack(0, Codepoint::Ect0, Flags(0)));
    assert!(ack(100, Codepoint::Ce, Flags(0)));
    assert!(ack(200, Codepoint::Ect0, Flags(0)));
    assert!(!ack(300, Codepoint::Ect0, CWR));
    assert!(ack(400, Codepoint::Ce, CWR));
    assert_eq!(info(&bench, conn).marked_segments_in, 2);
    assert!(bench.send(conn, b"x")[0].flags.has(ECE), "on data too");
}

//= spec/rfc3168.txt#section-6.1.5
//= type=test
//# the TCP data receiver SHOULD ignore the ECN field on arriving data packets that are outside of the receiver's current
//# window.
#[test]
fn a_mark_outside_of_the_window_is_ignored() {
    let (mut bench, conn, ours) = classic();
    bench.receive(data(0, ours, Codepoint::Ect0, Flags(0)));
    let old = bench.receive(data(0, ours, Codepoint::Ce, Flags(0)));
    let beyond = bench.receive(data(500_000, ours, Codepoint::Ce, Flags(0)));
    assert!(old.iter().chain(&beyond).all(|s| !s.flags.has(ECE)));
    assert_eq!(info(&bench, conn).marked_segments_in, 0);
}

//= spec/rfc3168.txt#section-6.1.2
//= type=test
//# That is, the TCP sender's congestion window should be reduced only once in response to a series of dropped and/or CE
//# packets from a single window of data.
//= spec/rfc3168.txt#section-6.1.2
//= type=test
//# When the TCP data sender is ready to set the CWR bit after reducing the congestion window, it SHOULD set the CWR bit only
//# on the first new data packet that it transmits.
#[test]
fn an_echo_halves_once_a_round_trip_and_is_answered_once() {
    let (mut bench, conn, ours) = classic();
    assert_eq!(bench.send(conn, &[b'x'; 10_000]).len(), 10);
    bench.receive(segment(IRS + 1, ours + 2000, ACK | ECE, 0));
    assert_eq!(info(&bench, conn).cwnd, 5000);
    for at in (3000..=10_000).step_by(1000) {
        bench.receive(segment(IRS + 1, ours + at, ACK | ECE, 0));
    }
    assert_eq!((info(&bench, conn).cwnd, info(&bench, conn).marked_bytes), (5000, 10_000), "all of one window");
    let sent = bench.send(conn, &[b'x'; 5000]);
    let told: Vec<_> = sent.iter().map(|s| s.flags.has(CWR)).collect();
    assert_eq!(told, [true, false, false, false, false]);
    bench.receive(segment(IRS + 1, ours + 11_000, ACK | ECE, 0));
    assert_eq!(info(&bench, conn).cwnd, 2500, "a mark on what went after the reduction");
}

//= spec/rfc3168.txt#section-6.1.2
//= type=test
//# Therefore, the sending TCP MUST reset the
//# retransmit timer on receiving the ECN-Echo packet when the congestion
//# window is one.  The sending TCP will then be able to send a new
//# packet only when the retransmit timer expires.
#[test]
fn an_echo_in_a_window_of_one_segment_stops_the_sender_for_a_time_out() {
    for (flags, goes_at_once) in [(ACK, 2), (ACK | ECE, 0)] {
        let mut bench = Bench::new(TcpConfig { initial_window_segments: 1, ..config(Ecn::Passive) });
        let ours = bench.receive(syn(SETUP))[0].seq + 1;
        bench.receive(segment(IRS + 1, ours, ACK, 0));
        let conn = bench.accepted();
        assert_eq!(bench.send(conn, &[b'x'; 3_000]).len(), 1, "the window");
        bench.now = bench.now + 10 * MS;
        assert_eq!(bench.receive(segment(IRS + 1, ours + 1000, flags, 0)).len(), goes_at_once);
        if goes_at_once > 0 {
            continue;
        }
        let rto = info(&bench, conn).rto;
        assert_eq!(bench.wait(rto - MS), [], "not before the time-out of {rto:?}");
        let sent = bench.wait(2 * MS);
        assert_eq!(sent.iter().map(|s| (s.seq.since(ours), s.flags.has(CWR))).collect::<Vec<_>>(), [(1000, true)]);
        assert_eq!((info(&bench, conn).cwnd, info(&bench, conn).counts.time_outs), (1000, 0));
    }
}

/// What is lost in the window that was reduced for a mark reduces it no further.
#[test]
fn a_loss_in_the_same_window_is_the_same_congestion() {
    let (mut bench, conn, ours) = classic();
    assert_eq!(bench.send(conn, &[b'x'; 10_000]).len(), 10);
    bench.receive(segment(IRS + 1, ours + 1000, ACK | ECE, 0));
    assert_eq!(info(&bench, conn).ssthresh, 5000);
    for n in 3..=9 {
        let mut sack = SackBlocks::EMPTY;
        sack.push(ours + 2000, ours + n * 1000);
        bench.receive(Segment { options: Options { sack, ..Options::NONE }, ..segment(IRS + 1, ours + 1000, ACK, 0) });
    }
    assert_eq!((info(&bench, conn).counts.recoveries, info(&bench, conn).ssthresh), (1, 5000));
}

/// The answer to an echo of a loss is told too.
#[test]
fn any_reduction_is_told() {
    let (mut bench, conn, ours) = classic();
    bench.send(conn, &[b'x'; 1000]);
    let again = bench.wait(Duration::from_secs(2));
    assert!(!again.is_empty() && again.iter().all(|s| !s.flags.has(CWR)), "not what goes again");
    bench.receive(segment(IRS + 1, ours + 1000, ACK, 0));
    assert!(bench.send(conn, b"x")[0].flags.has(CWR));
}

//= spec/rfc4015.txt#section-3.4
//= type=test
//# This is unless the acceptable ACK signals congestion through the ECN-Echo flag [RFC3168]. In that case, the TCP sender MUST
//# refrain from reversing congestion control state.
#[test]
fn a_needless_recovery_is_not_undone_by_an_ack_with_an_echo() {
    for (flags, undone) in [(ACK, 1), (ACK | ECE, 0)] {
        let mut bench = Bench::new(config(Ecn::Passive));
        let stamp = |value, echo| Some(corelane_proto::tcp::segment::Timestamps { value, echo });
        let mut first = syn(SETUP);
        first.options.timestamps = stamp(1, 0);
        let syn_ack = bench.receive(first)[0];
        let ours = syn_ack.seq + 1;
        let echo = syn_ack.options.timestamps.expect("timestamps").value;
        let ack = |number, value, echo, flags| {
            let options = Options { timestamps: stamp(value, echo), ..Options::NONE };
            Segment { options, ..segment(IRS + 1, number, flags, 0) }
        };
        bench.receive(ack(ours, 1, echo, ACK));
        let conn = bench.accepted();
        let sent = bench.send(conn, &[b'x'; 3000]);
        let original = sent[0].options.timestamps.expect("timestamps").value;
        assert!(!bench.wait(Duration::from_secs(1)).is_empty());
        bench.receive(ack(ours + 1000, 2, original, flags));
        assert_eq!(info(&bench, conn).counts.undone, undone);
    }
}

/// RFC 9768 3.2.2.1: the pure ACK of the SYN-ACK goes first, and tells how the SYN-ACK arrived; the counter comes after.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.1
//= type=test
//# it SHOULD first send a pure ACK that
//# does satisfy these conditions
#[test]
fn the_client_tells_how_the_syn_ack_arrived_before_its_data() {
    for (arrived, told, counter) in
        [(Codepoint::NotEct, 2, 5), (Codepoint::Ect1, 3, 5), (Codepoint::Ect0, 4, 5), (Codepoint::Ce, 6, 6)]
    {
        let mut bench = Bench::new(config(Ecn::Passive));
        let (conn, ours) = bench.connect(config(Ecn::Accurate));
        assert_eq!(bench.send(conn, b"hello"), []);
        let answer = Segment { ecn: arrived, ..segment(IRS, ours.seq + 1, SYN | ACK | CWR, 0) };
        let sent = bench.receive(answer);
        assert_eq!((sent[0].len, ace(&sent[0])), (0, told));
        assert_eq!(sent[0].options.accurate_ecn, Some(AccurateEcn::new(false, [1, 0, 1])));
        assert_eq!((sent[1].len, ace(&sent[1])), (5, counter));
        let again = bench.receive(answer)[0];
        assert_eq!((again.len, ace(&again)), (0, told), "and again when it is asked again");
    }
}

//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2
//= type=test
//# A Data Receiver that supports sending of AccECN TCP Options MUST
//# increment the r.ceb, r.e0b or r.e1b byte counters by the number of
//# TCP payload octets in Acceptable packets marked with the CE, ECT(0)
//# and ECT(1) codepoint in their IP-ECN field
#[test]
fn accurate_counts_packets_and_bytes_and_tells_at_once_when_marks_begin() {
    let mut bench = Bench::new(TcpConfig { quick_acks: 0, ..config(Ecn::Passive) });
    let syn_ack = bench.receive(syn(Flags::ECN))[0];
    let ours = syn_ack.seq + 1;
    bench.receive(segment(IRS + 1, ours, with_ace(2), 0));
    let conn = bench.accepted();
    assert_eq!(bench.receive(data(0, ours, Codepoint::Ect0, with_ace(5))), [], "it may wait");
    let ack = bench.receive(data(100, ours, Codepoint::Ce, with_ace(5)))[0];
    assert_eq!((ace(&ack), ack.options.accurate_ecn), (6, Some(AccurateEcn::new(false, [101, 100]))));
    assert_eq!(bench.receive(data(200, ours, Codepoint::Ce, with_ace(5))), []);
    let ack = bench.receive(data(300, ours, Codepoint::Ce, with_ace(5)))[0];
    assert_eq!((ace(&ack), ack.options.accurate_ecn), (0, Some(AccurateEcn::new(false, [101, 300]))), "it wraps");
    assert_eq!(info(&bench, conn).marked_segments_in, 3);
    let sent = bench.send(conn, b"x")[0];
    assert_eq!((ace(&sent), sent.options.accurate_ecn), (0, None), "data has no room for the option");
}

//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.1.5
//= type=test
//# is obliged to respond appropriately to AccECN feedback that indicates
//# there were ECN marks on packets it had previously sent
#[test]
fn accurate_feedback_halves_once_a_round_trip_without_an_answer() {
    let (mut bench, conn, ours) = accurate();
    assert_eq!(bench.send(conn, &[b'x'; 10_000]).len(), 10);
    bench.receive(segment(IRS + 1, ours + 2000, with_ace(6), 0));
    assert_eq!((info(&bench, conn).cwnd, info(&bench, conn).marked_bytes), (5000, 1000));
    let option = AccurateEcn::new(false, [1, 2700]);
    let options = Options { accurate_ecn: Some(option), ..Options::NONE };
    bench.receive(Segment { options, ..segment(IRS + 1, ours + 6000, with_ace(0), 0) });
    assert_eq!((info(&bench, conn).cwnd, info(&bench, conn).marked_bytes), (5000, 2700));
    let sent = bench.send(conn, &[b'x'; 1000])[0];
    assert_eq!((sent.ecn, ace(&sent)), (Codepoint::Ect0, 5), "the flags are our counter's");
    bench.receive(segment(IRS + 1, ours + 10_000, with_ace(0), 0));
    assert_eq!(bench.send(conn, &[b'x'; 4000]).len(), 4);
    bench.receive(segment(IRS + 1, ours + 11_000, with_ace(1), 0));
    assert_eq!(info(&bench, conn).cwnd, 2500);
}

/// RFC 8257 3.3: the window gives way by as much as has been marked of late, and a loss still halves.
#[test]
fn dctcp_gives_way_by_what_is_marked() {
    let mut bench = Bench::new(TcpConfig { congestion: Algorithm::Dctcp, ..config(Ecn::Passive) });
    let ours = bench.receive(syn(Flags::ECN))[0].seq + 1;
    bench.receive(segment(IRS + 1, ours, with_ace(2), 0));
    let conn = bench.accepted();
    let mut at = 0;
    let mut round = |bench: &mut Bench, ace| {
        let len: u32 = bench.send(conn, &[b'x'; 10_000]).iter().map(|s| u32::from(s.len)).sum();
        assert_eq!(len, 10_000);
        bench.now = bench.now + Duration::from_millis(10);
        // An ACK of all at once could hide eight marks.
        for _ in 0..5 {
            at += 2000;
            bench.receive(segment(IRS + 1, ours + at, with_ace(ace), 0));
        }
        info(bench, conn).cwnd
    };
    // Each round trip without a mark takes a sixteenth of alpha, which begins at one.
    let before = (0..40).map(|_| round(&mut bench, 5)).last().expect("40 rounds");
    let after = round(&mut bench, 6);
    assert!(after < before && after > before * 9 / 10, "{before} {after}");
    assert!(info(&bench, conn).marked_bytes >= 1000);
}

/// An ACK that has been overtaken says nothing: its counter would have to be read as nearly a whole turn.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2.2
//= type=test
//# it first checks whether it has already been superseded
//# (defined in [accecn_Algo_Option_Coding]) by another ACK in which case
//# it ignores the ECN feedback.
#[test]
fn an_ack_that_was_overtaken_says_nothing_of_marks() {
    let (mut bench, conn, ours) = accurate();
    bench.send(conn, &[b'x'; 4000]);
    bench.receive(segment(IRS + 1, ours + 3000, with_ace(6), 0));
    bench.receive(segment(IRS + 1, ours + 2000, with_ace(5), 0));
    bench.receive(segment(IRS + 1, ours + 4000, with_ace(6), 0));
    assert_eq!(info(&bench, conn).marked_bytes, 1000);
}

/// Nothing of what ECN does without ECN.
//= spec/draft-ietf-tcpm-accurate-ecn-34.txt#section-3.2.2
//= type=test
//# A host MUST NOT interpret the 3
//# flags as a 3-bit ACE field on any segment with SYN=1 (whether ACK is
//# 0 or 1), or if AccECN negotiation is incomplete or has not succeeded.
#[test]
fn without_ecn_no_flag_means_anything() {
    let (mut bench, conn, ours) = opened(Flags(0), ACK);
    let sent = bench.send(conn, &[b'x'; 2000]);
    assert!(sent.iter().all(|s| s.ecn == Codepoint::NotEct && ace(s) == 0));
    let before = info(&bench, conn).cwnd;
    bench.receive(segment(IRS + 1, ours + 1000, ACK | Flags::ECN, 0));
    assert!(info(&bench, conn).cwnd >= before && info(&bench, conn).marked_bytes == 0);
    let ack = bench.receive(data(0, ours + 2000, Codepoint::Ce, Flags(0)))[0];
    assert_eq!((ace(&ack), ack.options.accurate_ecn), (0, None));
}
