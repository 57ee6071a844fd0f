//! Window scaling: RFC 7323 2.

use crate::bench::{Bench, IRS, segment};
use corelane_proto::endpoint::Shutdown;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, Segment};
use corelane_proto::tcp::seq::Seq;
use std::time::Duration;

fn scaled(window_scale: u8) -> Options {
    Options { window_scale: Some(window_scale), mss: Some(1000), ..Options::NONE }
}

//= spec/rfc7323.txt#section-2.2
//= type=test
//# The window field in a segment where the SYN bit is set (i.e., a <SYN> or <SYN,ACK>) MUST NOT be scaled.
//= spec/rfc7323.txt#section-2.3
//= type=test
//# o The window field (SEG.WND) of every outgoing segment, with the exception of <SYN> segments, MUST be right-shifted by
//# Rcv.Wind.Shift bits:
#[test]
fn windows_are_scaled_in_both_directions_but_in_a_syn() {
    let config = TcpConfig { recv_buffer: 1 << 20, recv_buffer_initial: 1 << 20, ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let (conn, syn) = bench.connect(config);
    assert_eq!((syn.window, syn.options.window_scale), (u16::MAX, Some(5)));
    let ours = syn.seq + 1;
    let syn_ack = Segment { window: 1000, options: scaled(7), ..segment(IRS, ours, Flags::SYN | Flags::ACK, 0) };
    let ack = bench.receive(syn_ack);
    let info = bench.endpoint.info(conn).expect("open");
    assert_eq!(info.send_window, 1000);
    assert_eq!((u32::from(ack[0].window) << 5, info.recv_window), (1 << 20, 1 << 20));
    bench.receive(Segment { window: 1000, ..segment(IRS + 1, ours, Flags::ACK, 1) });
    assert_eq!(bench.endpoint.info(conn).expect("open").send_window, 1000 << 7);
}

//= spec/rfc7323.txt#section-2.3
//= type=test
//# o If a TCP receives a <SYN> segment containing a Window Scale option, it SHOULD send its own Window Scale option in
//# the <SYN,ACK> segment.
//= spec/rfc7323.txt#section-2.3
//= type=test
//# If a Window Scale option is received with a shift.cnt value larger than 14, the TCP SHOULD log the error but MUST use
//# 14 instead of the specified value.
#[test]
fn an_offer_is_answered_and_a_shift_that_is_too_large_is_counted() {
    for (offer, answer, shift, counted) in [(None, None, 0, 0), (Some(0), Some(3), 0, 0), (Some(15), Some(3), 14, 1)] {
        let mut bench = Bench::new(TcpConfig::default());
        let options = Options { window_scale: offer, ..Options::NONE };
        let syn_ack = bench.receive(Segment { options, ..segment(IRS, Seq(0), Flags::SYN, 0) })[0];
        assert_eq!(syn_ack.options.window_scale, answer);
        assert_eq!(bench.endpoint.counters().window_scales_too_large, counted);
        bench.receive(Segment { window: 100, ..segment(IRS + 1, syn_ack.seq + 1, Flags::ACK, 0) });
        let conn = bench.accepted();
        assert_eq!(bench.endpoint.info(conn).expect("open").send_window, 100 << shift);
    }
}

//= spec/rfc7323.txt#section-2.4
//= type=test
//# 1) The receiver MUST honor, as in window, any segment that would have been in window for any <ACK> sent by the
//# receiver.
//= spec/rfc7323.txt#section-2.4
//= type=test
//# 2) When window scaling is in effect, the receiver SHOULD track the actual maximum window sequence number (which is
//# likely to be greater than the window announced by the most recent <ACK>, if more than one segment has arrived since
//# the application consumed any data in the receive buffer).
#[test]
fn what_one_ack_has_offered_is_taken_whatever_a_later_one_rounds_off() {
    let config = TcpConfig { recv_buffer: 1 << 30, recv_buffer_initial: 1 << 20, ..TcpConfig::default() };
    let mut bench = Bench::new(config);
    let (conn, ours) = bench.open_with(Segment { options: scaled(0), ..segment(IRS, Seq(0), Flags::SYN, 0) });
    let mut next = IRS + 1;
    let mut edge = next;
    for len in [1, 3, 7, 100, 999, 5, 16_383 % 1000, 1] {
        let acks = bench.receive(segment(next, ours, Flags::ACK, len));
        next += u32::from(len);
        let ack = acks.last().expect("the first segments are acknowledged at once");
        let offered = ack.ack + (u32::from(ack.window) << 14);
        assert!(offered.at_or_after(edge), "the edge goes back");
        edge = edge.max(offered);
        assert_eq!(bench.endpoint.info(conn).expect("open").recv_window, edge.since(next));
    }
    // The last byte of all that was ever offered comes first.
    let before = bench.endpoint.counters().dropped_unacceptable;
    bench.receive(segment(edge - 1, ours, Flags::ACK, 1));
    assert_eq!(bench.endpoint.counters().dropped_unacceptable, before);
    bench.receive(segment(edge, ours, Flags::ACK, 1));
    assert_eq!(bench.endpoint.counters().dropped_unacceptable, before + 1);
}

//= spec/rfc7323.txt#section-2.3
//= type=test
//# o The Window Scale option MUST be sent with shift.cnt = R, where R is the value that the TCP would like to use for its
//# receive window.
#[test]
fn a_syn_ack_that_goes_again_offers_the_same_shift_whatever_the_buffer_is_meanwhile() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, syn) = bench.connect(TcpConfig::default());
    assert_eq!(syn.options.window_scale, Some(3));
    // Both open at once, and this side has closed before its SYN is acknowledged.
    bench.receive(Segment { options: scaled(2), ..segment(IRS, Seq(0), Flags::SYN, 0) });
    bench.endpoint.shutdown(conn, Shutdown::Write);
    assert_eq!(bench.sent().len(), 1, "the FIN");
    bench.endpoint.configure(conn, TcpConfig { recv_buffer: 4096, ..TcpConfig::default() });
    let again = bench.wait(Duration::from_millis(1100));
    let syn_ack = again.iter().find(|s| s.flags.has(Flags::SYN)).expect("it goes again");
    assert_eq!(syn_ack.options.window_scale, Some(3));
}
