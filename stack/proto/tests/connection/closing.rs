//! How connections end, state by state, and what the application learns of it (RFC 9293 3.6, 3.10.4, 3.10.5).

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::{CloseReason, ConnId, Event, Shutdown};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Segment};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::tcp::state::State;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

fn state(bench: &Bench, conn: ConnId) -> Option<State> {
    bench.endpoint.info(conn).map(|info| info.state)
}

/// What matters of a segment here.
fn brief(segments: &[Segment]) -> Vec<(Seq, u16, Flags)> {
    segments.iter().map(|s| (s.seq, s.len, s.flags)).collect()
}

/// Both ends open at once: their SYN has crossed ours and our SYN-ACK is out. Gives our next number.
fn cross(bench: &mut Bench, config: TcpConfig) -> (ConnId, Seq) {
    let (conn, syn) = bench.connect(config);
    let syn_ack = bench.receive(segment(IRS, Seq(0), Flags::SYN, 0));
    assert_eq!(brief(&syn_ack), [(syn.seq, 0, Flags::SYN | Flags::ACK)]);
    assert_eq!(state(bench, conn), Some(State::SynReceived));
    (conn, syn.seq + 1)
}

/// Brings a connection into `wanted`; gives it with our next number and the peer's. The application has closed it where
/// that is possible, unless it is to be `present`.
fn bring(bench: &mut Bench, wanted: State, present: bool) -> (ConnId, Seq, Seq) {
    if wanted == State::SynSent {
        let (conn, syn) = bench.connect(TcpConfig::default());
        return (conn, syn.seq + 1, IRS);
    }
    if wanted == State::SynReceived {
        let (conn, ours) = cross(bench, TcpConfig::default());
        return (conn, ours, IRS + 1);
    }
    let (conn, ours) = bench.open();
    let finish = |bench: &mut Bench| {
        if present {
            bench.endpoint.shutdown(conn, Shutdown::Write);
        } else {
            bench.endpoint.close(conn);
        }
        bench.sent()
    };
    let (mut mine, mut theirs) = (ours, IRS + 1);
    if matches!(wanted, State::CloseWait | State::LastAck) {
        bench.receive(segment(theirs, mine, FIN, 0));
        theirs += 1;
    }
    if matches!(wanted, State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait) {
        assert_eq!(brief(&finish(bench)), [(mine, 0, FIN)]);
        mine += 1;
    }
    if wanted == State::Closing {
        bench.receive(segment(theirs, ours, FIN, 0));
        theirs += 1;
    }
    if matches!(wanted, State::FinWait2 | State::TimeWait) {
        bench.receive(segment(theirs, mine, Flags::ACK, 0));
    }
    if wanted == State::TimeWait {
        bench.receive(segment(theirs, mine, FIN, 0));
        theirs += 1;
    }
    assert_eq!(state(bench, conn), Some(wanted));
    bench.events();
    (conn, mine, theirs)
}

//= spec/rfc9293.txt#section-3.10.4
//= type=test
//# If no SENDs have been issued and there is no pending data to send, then form a FIN segment and send it,
//# and enter FIN-WAIT-1 state; otherwise, queue for processing after entering ESTABLISHED state.
#[test]
fn close_in_syn_received_sends_the_fin_at_once() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = cross(&mut bench, TcpConfig::default());
    bench.endpoint.close(conn);
    assert_eq!(state(&bench, conn), Some(State::FinWait1));
    assert_eq!(brief(&bench.sent()), [(ours, 0, FIN)]);
    // Neither of the two has arrived: both go again.
    let again = bench.wait(Duration::from_millis(1100));
    assert_eq!(brief(&again), [(ours - 1, 0, Flags::SYN | Flags::ACK), (ours, 0, FIN)]);
    // The ACK of the SYN alone, then that of the FIN.
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(state(&bench, conn), Some(State::FinWait1));
    let again = bench.wait(4 * SECOND);
    assert_eq!(brief(&again), [(ours, 0, FIN)], "the SYN has arrived");
    bench.receive(segment(IRS + 1, ours + 1, Flags::ACK, 0));
    assert_eq!(state(&bench, conn), Some(State::FinWait2));
    bench.receive(segment(IRS + 1, ours + 1, FIN, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Finished));
    bench.sent();
    assert_eq!(bench.endpoint.time_waits(), 1);
}

#[test]
fn close_in_syn_received_with_data_waits_until_it_is_open() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = cross(&mut bench, TcpConfig::default());
    assert_eq!(bench.send(conn, b"first"), []);
    bench.endpoint.close(conn);
    assert_eq!(bench.sent(), []);
    assert_eq!(state(&bench, conn), Some(State::SynReceived));
    let sent = bench.receive(segment(IRS + 1, ours, Flags::ACK, 0));
    assert_eq!(brief(&sent), [(ours, 5, FIN | Flags::PSH)]);
    assert_eq!(state(&bench, conn), Some(State::FinWait1));
}

#[test]
fn a_shut_down_in_syn_received_is_told_when_it_opens_and_the_peer_may_still_send() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = cross(&mut bench, TcpConfig::default());
    bench.endpoint.shutdown(conn, Shutdown::Write);
    assert_eq!(brief(&bench.sent()), [(ours, 0, FIN)]);
    bench.receive(segment(IRS + 1, ours + 1, Flags::ACK, 7));
    assert_eq!(bench.events(), [Event::Connected(conn), Event::Readable(conn)]);
    assert_eq!(state(&bench, conn), Some(State::FinWait2));
    assert_eq!(bench.read(conn).len(), 7);
}

#[test]
fn both_ends_close_at_once_and_pass_through_closing() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, mine, theirs) = bring(&mut bench, State::Closing, false);
    assert_eq!(bench.ended(conn), None);
    bench.receive(segment(theirs, mine, Flags::ACK, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Finished));
    bench.sent();
    assert_eq!((bench.endpoint.connections(), bench.endpoint.time_waits()), (0, 1));
    bench.check_frames();
}

#[test]
fn a_fin_with_data_and_one_before_the_data_in_front_of_it() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let acks = bench.receive(segment(IRS + 11, ours, FIN, 10));
    assert_eq!(acks.last().map(|s| s.ack), Some(IRS + 1), "the first ten are missing");
    assert_eq!((bench.events(), state(&bench, conn)), (vec![], Some(State::Established)));
    let acks = bench.receive(segment(IRS + 1, ours, Flags::ACK, 10));
    assert_eq!(acks.last().map(|s| s.ack), Some(IRS + 22), "the data and the FIN");
    assert_eq!(state(&bench, conn), Some(State::CloseWait));
    assert_eq!(bench.events(), [Event::Readable(conn)]);
    assert_eq!(bench.read(conn).len(), 20);
    assert_eq!(bench.events(), [Event::PeerClosed(conn)]);
}

//= spec/rfc9293.txt#section-3.6
//= type=test
//# If the local TCP connection is closed by the remote side due to a FIN or RST received from the remote side,
//# then the local application MUST be informed whether it closed normally or was aborted (MUST-12).
#[test]
fn a_reset_ends_every_state_and_is_told_as_what_it_is() {
    let states = [
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
    ];
    for wanted in states {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, mine, theirs) = bring(&mut bench, wanted, false);
        bench.receive(segment(theirs, mine, Flags::RST | Flags::ACK, 0));
        let refused = matches!(wanted, State::SynSent | State::SynReceived);
        let reason = if refused { CloseReason::Refused } else { CloseReason::Reset };
        assert_eq!(bench.ended(conn), Some(reason), "{wanted:?}");
        assert_eq!((bench.endpoint.connections(), bench.endpoint.poll_deadline()), (0, None), "{wanted:?}");
        assert_eq!(bench.sent(), [], "an RST is not answered");
        bench.check_frames();
    }
}

#[test]
fn a_silent_peer_is_given_up_in_every_state_in_which_we_wait_for_it() {
    let states = [State::SynSent, State::SynReceived, State::FinWait1, State::FinWait2, State::Closing, State::LastAck];
    for wanted in states {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, ..) = bring(&mut bench, wanted, false);
        bench.wait(2000 * SECOND);
        let events = bench.events();
        let closed = Event::Closed { conn, reason: CloseReason::TimedOut };
        assert_eq!(events.last(), Some(&closed), "{wanted:?}");
        assert_eq!((bench.endpoint.connections(), bench.endpoint.poll_deadline()), (0, None), "{wanted:?}");
        bench.check_frames();
    }
}

#[test]
fn fin_wait_2_ends_after_its_time_without_an_application_and_never_with_one() {
    for present in [false, true] {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, mine, theirs) = bring(&mut bench, State::FinWait2, present);
        bench.wait(59 * SECOND);
        assert_eq!(bench.ended(conn), None);
        bench.wait(100_000 * SECOND);
        assert_eq!(bench.ended(conn), (!present).then_some(CloseReason::TimedOut));
        let answer = bench.receive(segment(theirs, mine, Flags::ACK, 100));
        assert_eq!(answer[0].flags.has(Flags::RST), !present);
        assert!(!present || bench.read(conn).len() == 100, "it can still be read");
    }
}

#[test]
fn the_time_of_fin_wait_2_begins_when_the_application_goes() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ..) = bring(&mut bench, State::FinWait2, true);
    bench.wait(1000 * SECOND);
    bench.endpoint.close(conn);
    bench.wait(59 * SECOND);
    assert_eq!(bench.ended(conn), None);
    bench.wait(2 * SECOND);
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
}

/// A peer that answers each probe of its closed window may hold a connection for ever as long as there is an
/// application, and no longer.
#[test]
fn a_peer_with_a_closed_window_cannot_hold_what_the_application_has_closed() {
    for present in [true, false] {
        let mut bench = Bench::new(TcpConfig { give_up_after: 200 * SECOND, ..TcpConfig::default() });
        let (conn, ours) = bench.open();
        bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
        bench.send(conn, b"never taken");
        if present {
            bench.endpoint.shutdown(conn, Shutdown::Write);
        } else {
            bench.endpoint.close(conn);
        }
        let (begin, mut last) = (bench.now, vec![]);
        while bench.now < begin + 1000 * SECOND && bench.endpoint.info(conn).is_some() {
            let at = bench.endpoint.poll_deadline().expect("a timer runs");
            last = bench.wait_until(at);
            if !last.is_empty() {
                bench.receive(Segment { window: 0, ..segment(IRS + 1, ours, Flags::ACK, 0) });
            }
            if !present && bench.now >= begin + 200 * SECOND {
                break;
            }
        }
        assert_eq!(bench.ended(conn), (!present).then_some(CloseReason::TimedOut));
        assert!(present || last.last().is_some_and(|s| s.flags.has(Flags::RST)), "the peer learns of it: {last:?}");
        bench.check_frames();
    }
}

#[test]
fn linger_of_nothing_aborts_and_of_a_while_gives_up_what_has_not_gone() {
    let mut bench = Bench::new(TcpConfig { linger: Some(Duration::ZERO), ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    bench.send(conn, b"lost");
    bench.endpoint.close(conn);
    assert_eq!(brief(&bench.sent()), [(ours + 4, 0, Flags::RST | Flags::ACK)]);
    assert_eq!(bench.ended(conn), Some(CloseReason::Aborted));

    let mut bench = Bench::new(TcpConfig { linger: Some(5 * SECOND), ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    bench.send(conn, b"perhaps");
    bench.endpoint.close(conn);
    assert_eq!(brief(&bench.sent()), [(ours + 7, 0, FIN)]);
    let again = bench.wait(Duration::from_millis(4900));
    assert!(!again.is_empty() && again.iter().all(|s| !s.flags.has(Flags::RST)), "{again:?}");
    assert_eq!(bench.ended(conn), None);
    let last = bench.wait(Duration::from_millis(200));
    assert_eq!(brief(&last), [(ours + 8, 0, Flags::RST | Flags::ACK)]);
    assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
    bench.check_frames();

    let mut bench = Bench::new(TcpConfig { linger: Some(5 * SECOND), ..TcpConfig::default() });
    let (conn, ours) = bench.open();
    bench.send(conn, b"in time");
    bench.endpoint.close(conn);
    bench.sent();
    bench.wait(4 * SECOND);
    bench.receive(segment(IRS + 1, ours + 8, Flags::ACK, 0));
    bench.wait(50 * SECOND);
    assert_eq!(bench.ended(conn), None, "everything has arrived, so FIN-WAIT-2's own time counts");
    bench.receive(segment(IRS + 1, ours + 8, FIN, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Finished));
}

#[test]
fn who_shares_a_connection_closes_it_with_the_last() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    assert!(bench.endpoint.share(conn) && bench.endpoint.share(conn));
    for _ in 0..2 {
        bench.endpoint.close(conn);
        assert_eq!(bench.sent(), []);
        assert_eq!(bench.send(conn, b"x").len(), 1, "the others go on");
    }
    bench.endpoint.close(conn);
    assert_eq!(brief(&bench.sent()), [(ours + 2, 0, FIN)]);
    bench.endpoint.close(conn);
    bench.receive(segment(IRS + 1, ours + 3, FIN, 0));
    assert_eq!(bench.ended(conn), Some(CloseReason::Finished));
    assert!(!bench.endpoint.share(conn), "it is gone");
}

//= spec/rfc9293.txt#section-3.6.1
//= type=test
//# If such a host issues a CLOSE call while received data is still pending in the TCP connection, or if new data is
//# received after CLOSE is called, its TCP implementation SHOULD send a RST to show that data was lost (SHLD-3).
#[test]
fn data_unread_at_close_and_data_after_close_are_answered_by_a_reset() {
    for wanted in [State::Established, State::CloseWait, State::FinWait2] {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, mine, theirs) = bring(&mut bench, State::Established, true);
        let fin = if wanted == State::CloseWait { Flags::FIN } else { Flags::default() };
        if wanted == State::FinWait2 {
            bench.endpoint.shutdown(conn, Shutdown::Write);
            bench.sent();
        }
        let ack = if wanted == State::FinWait2 { mine + 1 } else { mine };
        bench.receive(segment(theirs, ack, Flags::ACK | fin, 10));
        assert_eq!(state(&bench, conn), Some(wanted));
        bench.events();
        bench.endpoint.close(conn);
        let sent = bench.sent();
        assert!(sent.last().is_some_and(|s| s.flags.has(Flags::RST) && s.seq == ack), "{wanted:?}: {sent:?}");
        assert_eq!(bench.ended(conn), Some(CloseReason::Aborted));
        bench.check_frames();
    }
    for wanted in [State::FinWait1, State::FinWait2] {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, mine, theirs) = bring(&mut bench, wanted, false);
        let sent = bench.receive(segment(theirs, mine, Flags::ACK, 10));
        assert!(sent.last().is_some_and(|s| s.flags.has(Flags::RST)), "{wanted:?}: {sent:?}");
        assert_eq!(bench.ended(conn), Some(CloseReason::Aborted));
        assert_eq!(bench.endpoint.counters().dropped_after_close, 1);
        bench.check_frames();
    }
}

#[test]
fn time_wait_with_unread_data_that_is_closed_goes_on_waiting() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, mine, theirs) = bring(&mut bench, State::FinWait2, true);
    bench.receive(segment(theirs, mine, FIN, 10));
    assert_eq!((bench.events(), state(&bench, conn)), (vec![Event::Readable(conn)], Some(State::TimeWait)));
    bench.endpoint.close(conn);
    assert_eq!(bench.ended(conn), Some(CloseReason::Finished));
    assert_eq!(bench.sent(), []);
    assert_eq!((bench.endpoint.connections(), bench.endpoint.time_waits()), (0, 1));
    let answer = bench.receive(segment(theirs + 10, mine, FIN, 0));
    assert_eq!(brief(&answer), [(mine, 0, Flags::ACK)], "a FIN again is acknowledged again");
    bench.check_frames();
}

#[test]
fn shut_down_for_reading_throws_away_what_comes_and_acknowledges_it() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    bench.receive(segment(IRS + 1, ours, Flags::ACK, 10));
    bench.endpoint.shutdown(conn, Shutdown::Read);
    assert_eq!(bench.endpoint.info(conn).map(|info| info.unread), Some(0));
    let acks = bench.receive(segment(IRS + 11, ours, Flags::ACK, 10));
    assert_eq!(acks.last().map(|s| s.ack), Some(IRS + 21));
    assert_eq!(bench.send(conn, b"still").len(), 1);
    bench.endpoint.close(conn);
    assert_eq!(brief(&bench.sent()), [(ours + 5, 0, FIN)], "nothing was left unread");
    bench.check_frames();
}

#[test]
fn a_shut_down_for_writing_in_each_state() {
    let expected = [
        (State::SynSent, None),
        (State::SynReceived, Some(State::FinWait1)),
        (State::Established, Some(State::FinWait1)),
        (State::FinWait1, Some(State::FinWait1)),
        (State::FinWait2, Some(State::FinWait2)),
        (State::CloseWait, Some(State::LastAck)),
        (State::Closing, Some(State::Closing)),
        (State::LastAck, Some(State::LastAck)),
    ];
    for (before, after) in expected {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, ..) = bring(&mut bench, before, true);
        bench.endpoint.shutdown(conn, Shutdown::Write);
        bench.endpoint.shutdown(conn, Shutdown::Write);
        let fins = bench.sent().iter().filter(|s| s.flags.has(Flags::FIN)).count();
        let new = before != State::SynSent && after != Some(before);
        assert_eq!(fins, usize::from(new), "{before:?}");
        let ended = bench.events().contains(&Event::Closed { conn, reason: CloseReason::Aborted });
        assert_eq!((state(&bench, conn), ended), (after, after.is_none()), "{before:?}");
    }
}

#[test]
fn crossing_syns_open_although_the_first_syn_acks_are_lost() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = cross(&mut bench, TcpConfig::default());
    // The peer has not seen our SYN: it sends its own again, and then hears the SYN-ACK at once.
    let again = bench.receive(segment(IRS, Seq(0), Flags::SYN, 0));
    assert_eq!(brief(&again), [(ours - 1, 0, Flags::SYN | Flags::ACK)]);
    // Data behind it, which lies in the window, does not make it another one.
    let again = bench.receive(segment(IRS, Seq(0), Flags::SYN, 5));
    assert_eq!(brief(&again), [(ours - 1, 0, Flags::SYN | Flags::ACK)]);
    // Ours is lost too, and goes again by itself.
    let again = bench.wait(2 * SECOND);
    assert_eq!(brief(&again), [(ours - 1, 0, Flags::SYN | Flags::ACK)]);
    bench.receive(segment(IRS, ours, Flags::SYN | Flags::ACK, 0));
    assert_eq!(bench.events(), [Event::Connected(conn)]);
    assert_eq!(state(&bench, conn), Some(State::Established));
}

#[test]
fn crossing_syns_with_data_and_a_fin_deliver_both() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, syn) = bench.connect(TcpConfig::default());
    let ours = syn.seq + 1;
    bench.receive(segment(IRS, Seq(0), Flags::SYN, 5));
    let acks = bench.receive(segment(IRS + 1, ours, FIN | Flags::PSH, 5));
    assert_eq!(acks.last().map(|s| s.ack), Some(IRS + 7));
    assert_eq!(bench.events(), [Event::Connected(conn), Event::Readable(conn)]);
    assert_eq!(bench.read(conn), b"xxxxx");
    assert_eq!(bench.events(), [Event::PeerClosed(conn)]);
    assert_eq!(state(&bench, conn), Some(State::CloseWait));
    bench.check_frames();
}

#[test]
fn a_stop_ends_everything_and_says_so() {
    for wanted in [State::SynSent, State::SynReceived, State::Established, State::CloseWait, State::FinWait2] {
        let mut bench = Bench::new(TcpConfig::default());
        let (conn, ..) = bring(&mut bench, wanted, true);
        bench.endpoint.stop();
        assert_eq!(bench.ended(conn), Some(CloseReason::Stopped), "{wanted:?}");
        let resets = bench.sent().iter().filter(|s| s.flags.has(Flags::RST)).count();
        assert_eq!(resets, usize::from(wanted != State::SynSent), "{wanted:?}");
        bench.check_frames();
    }
}
