//! TCP options: which stand where, and what is made of them.

use crate::bench::{Bench, IRS, config, host, packet, segment};
use corelane_proto::SocketAddr;
use corelane_proto::endpoint::{CloseReason, EndpointConfig};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::tcp_option::{self, TcpOption};
use std::time::Duration;

//= spec/rfc9293.txt#section-3.1
//= type=test
//# A TCP implementation MUST be able to receive a TCP Option in any segment (MUST-5).
//= spec/rfc7323.txt#section-3.2
//= type=test
//# If a TSopt is received on a connection where TSopt was not negotiated in the initial three-way handshake, the
//# TSopt MUST be ignored and the packet processed normally.
//= spec/rfc7323.txt#section-2.2
//= type=test
//# A Window Scale option in a segment without a SYN bit MUST be ignored.
#[test]
fn an_option_counts_or_is_ignored_in_any_segment() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, ours) = bench.open();
    let lists: [&[u8]; 5] = [
        &[2, 4, 0, 100],                        // MSS, too late to mean anything
        &[1, 1, 1, 3, 3, 14, 0, 0],             // window scale, too late as well
        &[200, 6, 1, 2, 3, 4, 1, 1],            // unknown
        &[253, 4, 0xbe, 0xef],                  // an experiment
        &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0], // timestamps that were not agreed on
    ];
    for (n, options) in (0..).zip(lists) {
        let answer = bench.receive_with_options(segment(IRS + 1 + 10 * n, ours, Flags::ACK, 10), options);
        assert_eq!(answer.last().map(|sent| sent.ack), Some(IRS + 11 + 10 * n), "{options:?}");
    }
    assert_eq!(bench.read(conn), 50);
    assert_eq!(bench.endpoint.segment_len(conn), 1460, "an MSS behind the SYN changes nothing");
}

//= spec/rfc5482.txt#section-3
//= type=test
//# A TCP implementation that does not support the UTO option MUST silently ignore it [RFC1122], thus ensuring
//# interoperability.
//= spec/rfc5482.txt#section-4.1
//= type=test
//# A TCP implementation that does not support the TCP User Timeout Option MUST silently ignore it [RFC1122], thus ensuring
//# interoperability.
//= spec/rfc5482.txt#section-3.4
//= type=test
//# Current TCP implementations MUST NOT send it and MUST ignore it upon reception.
#[test]
fn a_peers_user_timeout_is_not_ours() {
    for option in [[28, 4, 0, 1], [28, 4, 0x80, 0], [28, 4, 0, 0]] {
        let mut bench = Bench::new(TcpConfig { user_timeout: Some(Duration::from_secs(60)), ..TcpConfig::default() });
        let syn_ack = bench.receive_with_options(segment(IRS, Seq(0), Flags::SYN, 0), &option);
        let (conn, ours) = bench.complete(syn_ack[0].seq + 1);
        bench.receive_with_options(segment(IRS + 1, ours, Flags::ACK, 10), &option);
        bench.queue(conn, 10);
        for frame in bench.sent_frames() {
            let header_len = usize::from(frame[14 + 20 + 12] >> 4) * 4;
            let kinds = tcp_option::options(&frame[14 + 20 + 20..14 + 20 + header_len]);
            assert_eq!(kinds.filter(|option| matches!(option, TcpOption::UserTimeout { .. })).count(), 0);
        }
        bench.wait(Duration::from_secs(55));
        assert_eq!(bench.ended(conn), None, "it waits as long as we say");
        bench.wait(Duration::from_secs(10));
        assert_eq!(bench.ended(conn), Some(CloseReason::TimedOut));
    }
}

//= spec/rfc9293.txt#section-3.1
//= type=test
//# A TCP implementation MUST (MUST-6) ignore without error any TCP Option it does not implement, assuming that the
//# option has a length field.
//= spec/rfc9293.txt#section-3.2
//= type=test
//# receivers MUST be prepared to process options even if they do not begin on a word boundary (MUST-64).
#[test]
fn unknown_options_are_stepped_over_and_those_behind_them_need_no_alignment() {
    for options in [
        &[200, 3, 9, 2, 4, 2, 88, 0][..], // MSS 600 at byte 3
        &[1, 2, 4, 2, 88, 200, 2, 0],     // at byte 1
        &[254, 5, 1, 2, 3, 2, 4, 2, 88, 0, 0, 0],
    ] {
        let mut bench = Bench::new(TcpConfig::default());
        let syn_ack = bench.receive_with_options(segment(IRS, Seq(0), Flags::SYN, 0), options);
        let (conn, _) = bench.complete(syn_ack[0].seq + 1);
        assert_eq!(bench.endpoint.segment_len(conn), 600, "{options:?}");
    }
}

//= spec/rfc9293.txt#section-3.2
//= type=test
//# This field may be sent in the initial connection request (i.e., in segments with the SYN control bit set) and MUST
//# NOT be sent in other segments (MUST-65).
//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# TCP implementations SHOULD send an MSS Option in every SYN segment when its receive MSS differs from the default
//# 536 for IPv4 or 1220 for IPv6 (SHLD-5), and MAY send it always (MAY-3).
//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# TCP endpoints MUST implement both sending and receiving the MSS Option (MUST-14).
#[test]
fn the_mss_stands_in_every_syn_and_nowhere_else() {
    for mss in [None, Some(536), Some(1000)] {
        let mut bench = Bench::new(TcpConfig { mss, ..TcpConfig::default() });
        let syn_ack = bench.receive(segment(IRS, Seq(0), Flags::SYN, 0));
        assert_eq!(syn_ack[0].options.mss, Some(mss.unwrap_or(1460)));
        let (conn, ours) = bench.complete(syn_ack[0].seq + 1);
        let mut sent = bench.send(conn, 5000);
        sent.extend(bench.receive(segment(IRS + 1, ours + 5000, Flags::ACK, 10)));
        bench.read(conn);
        bench.endpoint.close(conn);
        sent.extend(bench.sent());
        assert!(sent.len() > 4 && sent.iter().all(|segment| segment.options.mss.is_none()), "{sent:?}");

        let (local, remote) = (SocketAddr::new(host(true, 1), 0), SocketAddr::new(host(true, 2), 80));
        let config = TcpConfig { mss, ..TcpConfig::default() };
        bench.endpoint.connect(bench.now, local, remote, config).expect("connect");
        assert_eq!(bench.sent()[0].options.mss, Some(mss.unwrap_or(1460)));
    }
}

//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# TCP endpoints MUST implement both sending and receiving the MSS Option (MUST-14).
#[test]
fn the_peers_mss_bounds_what_it_gets() {
    let mut bench = Bench::new(TcpConfig::default());
    let (conn, _) = bench.open_with(Options { mss: Some(700), ..Options::NONE });
    let lens: Vec<_> = bench.send(conn, 2100).iter().map(|segment| segment.len).collect();
    assert_eq!(lens, [700; 3]);
}

//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# If an MSS Option is not received at connection setup, TCP implementations MUST assume a default send MSS of 536
//# (576 - 40) for IPv4 or 1220 (1280 - 60) for IPv6 (MUST-15).
#[test]
fn without_an_mss_option_the_default_of_the_family_counts() {
    for (v4, default) in [(true, 536), (false, 1220)] {
        let mut bench = Bench::with(v4, config(v4), TcpConfig::default());
        let (conn, _) = bench.open_with(Options::NONE);
        let lens: Vec<_> = bench.send(conn, 3 * usize::from(default)).iter().map(|segment| segment.len).collect();
        assert_eq!(lens, [default; 3]);
    }
}

//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# The MSS value to be sent in an MSS Option must be less than or equal to: MMS_R - 20 where MMS_R is the maximum
//# size for a transport-layer message that can be received (and reassembled at the IP layer) (MUST-67).
//= spec/rfc9293.txt#section-3.7.3
//= type=test
//# TCP implementations SHOULD use the smallest effective MTU of the interface to calculate the value to advertise in
//# the MSS Option (SHLD-6).
#[test]
fn the_mss_is_what_the_smallest_mtu_leaves() {
    for (v4, mtu, mss) in [(true, 1500, 1460), (true, 9000, 8960), (false, 1500, 1440), (false, 1280, 1220)] {
        let mut bench = Bench::with(v4, EndpointConfig { mtu, ..config(v4) }, TcpConfig::default());
        let syn_ack = bench.receive(segment(IRS, Seq(0), Flags::SYN, 0));
        assert_eq!(syn_ack[0].options.mss, Some(mss), "{mtu}");
    }
}

//= spec/rfc9293.txt#section-3.1
//= type=test
//# The content of the header beyond the End of Option List Option MUST be header padding of zeros (MUST-69).
/// Every list that can be sent ends with its last option, at a word boundary: behind an end-of-list option would be
/// zeros, and there is neither.
#[test]
fn nothing_but_zeros_follows_the_end_of_a_list() {
    let sack = |n: u32| {
        let mut blocks = SackBlocks::EMPTY;
        (0..n).for_each(|i| assert!(blocks.push(Seq(10 * i), Seq(10 * i + 5))));
        blocks
    };
    for bits in 0..16 {
        for ranges in 0..=4 {
            let options = Options {
                mss: (bits & 1 != 0).then_some(1460),
                window_scale: (bits & 2 != 0).then_some(7),
                sack_permitted: bits & 4 != 0,
                timestamps: (bits & 8 != 0).then_some(Timestamps { value: 1, echo: 2 }),
                sack: sack(ranges),
                ..Options::NONE
            };
            let mut bytes = [0xff; tcp_option::MAX_LEN];
            let len = tcp_option::emit(&mut bytes, &options).expect("it fits");
            let mut left = &bytes[..len];
            assert_eq!(left.len() % 4, 0);
            for option in tcp_option::options(&bytes[..len]) {
                left = &left[option.wire_len()..];
                if option == TcpOption::EndOfList {
                    assert!(left.iter().all(|byte| *byte == 0), "{bytes:?}");
                    left = &[];
                }
            }
            assert_eq!(left, [0; 0], "no byte is left over");
        }
    }
}

/// What another stack pads its list with does not matter.
#[test]
fn what_stands_behind_the_end_of_a_list_is_not_read() {
    let mut bench = Bench::new(TcpConfig::default());
    let syn_ack = bench.receive_with_options(segment(IRS, Seq(0), Flags::SYN, 0), &[2, 4, 2, 88, 0, 3, 3, 9]);
    assert_eq!(syn_ack[0].options.window_scale, None);
    let (conn, _) = bench.complete(syn_ack[0].seq + 1);
    assert_eq!(bench.endpoint.segment_len(conn), 600);
}

//= spec/rfc9293.txt#section-3.7.1
//= type=test
//# The maximum size of a segment that a TCP endpoint really sends, the "effective send MSS", MUST be the smaller
//# (MUST-16) of the send MSS (that reflects the available reassembly buffer size at the remote host, the EMTU_R [19])
//# and the largest transmission size permitted by the IP layer (EMTU_S [19]):
#[test]
fn options_in_the_header_leave_room_for_less_data() {
    let mut bench = Bench::new(TcpConfig::default());
    let timestamps = Some(Timestamps { value: 7, echo: 0 });
    let syn = Segment {
        options: Options { mss: Some(1460), timestamps, ..Options::NONE },
        ..segment(IRS, Seq(0), Flags::SYN, 0)
    };
    let ours = bench.receive(syn)[0].seq + 1;
    let ack = Segment { options: Options { timestamps, ..Options::NONE }, ..segment(IRS + 1, ours, Flags::ACK, 0) };
    bench.receive(ack);
    let Some(corelane_proto::endpoint::Event::Accepted { conn, .. }) = bench.events().first().copied() else {
        panic!("it is not accepted")
    };
    bench.queue(conn, 3000);
    let frames = bench.sent_frames();
    let lens: Vec<_> = frames.iter().filter_map(|frame| packet(frame)).map(|packet| packet.segment.len).collect();
    assert_eq!(lens, [1448, 1448, 104]);
    assert_eq!(frames[0].len(), 1514, "a whole packet of the MTU, and Ethernet's header");
}
