//! Whatever arrives, the parser answers with a value or a reason: never a panic, never a byte beyond the packet.

use crate::frames::TcpFrame;
use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::arp::{self, Arp, Operation};
use corelane_proto::wire::icmp::{self, Echo, IcmpErrorKind, IcmpMessage};
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, Packet, ParseError, parse, tcp_option};
use corelane_proto::{Addr, Mac};

/// `SplitMix64`: enough randomness to mutate frames by, the same on each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("below a usize")
    }
}

const ETH: EthernetHeader = EthernetHeader { dst: Mac([2, 0, 0, 0, 0, 1]), src: Mac([2, 0, 0, 0, 0, 2]), vlan: None };

fn ip(v4: bool) -> IpHeader {
    if v4 {
        IpHeader::new(Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]))
    } else {
        let host = |last| Addr::v6([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        IpHeader::new(host(1), host(2))
    }
}

fn tcp(eth: EthernetHeader, v4: bool, options: Options) -> Vec<u8> {
    let segment = Segment {
        seq: Seq(1),
        ack: Seq(2),
        flags: Flags::ACK | Flags::PSH,
        window: 3,
        len: 16,
        options,
        ..Segment::default()
    };
    TcpFrame { eth, ip: ip(v4), ports: (1000, 80), segment, payload: b"sixteen bytes :)".to_vec() }.bytes()
}

/// One valid frame of each sort, without padding.
fn valid_frames() -> Vec<Vec<u8>> {
    let tagged = EthernetHeader { vlan: Some(0x2005), ..ETH };
    let clocks = Options { timestamps: Some(Timestamps { value: 1, echo: 2 }), ..Options::NONE };
    let syn = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..clocks };
    let mut sack = clocks;
    for i in 0..3 {
        sack.sack.push(Seq(i * 10), Seq(i * 10 + 5));
    }
    let mut frames = Vec::new();
    for (eth, v4) in [(ETH, true), (ETH, false), (tagged, true), (tagged, false)] {
        frames.extend([Options::NONE, clocks, syn, sack].map(|options| tcp(eth, v4, options)));
        let mut frame = vec![7; 200];
        let len = icmp::emit_echo_request(&mut frame, &eth, &ip(v4), &Echo { ident: 1, sequence: 2, data: 0..32 });
        frames.push(frame[..len].to_vec());
        let offending = &tcp(ETH, v4, clocks)[ETH.len()..];
        let mut frame = vec![0; 200];
        let kind = IcmpErrorKind::PacketTooBig;
        let len = icmp::emit_error(&mut frame, &eth, &ip(v4), kind, Some(1280), offending);
        frames.push(frame[..len].to_vec());
    }
    let request = Arp {
        operation: Operation::Request,
        sender_mac: ETH.src,
        sender: Addr::v4([10, 0, 0, 1]),
        target_mac: Mac::default(),
        target: Addr::v4([10, 0, 0, 2]),
    };
    let mut frame = vec![0; 64];
    let len = arp::emit(&mut frame, &ETH, &request);
    frames.push(frame[..len].to_vec());
    frames
}

/// Every range that the packet names lies in the frame.
fn check_ranges(packet: &Packet, frame: &[u8]) {
    let inside = |range: &core::ops::Range<u16>| range.start <= range.end && usize::from(range.end) <= frame.len();
    match &packet.body {
        Body::Tcp(tcp) => {
            assert!(inside(&tcp.payload) && inside(&tcp.options), "{tcp:?}");
            assert_eq!(tcp.payload.end - tcp.payload.start, tcp.segment.len);
            assert_eq!(tcp.options.end, tcp.payload.start);
            assert!(tcp.src.port != 0 && tcp.dst.port != 0);
            assert!(tcp.src.addr.is_unicast() && tcp.dst.addr.is_unicast());
            let options = &frame[usize::from(tcp.options.start)..usize::from(tcp.options.end)];
            assert!(tcp_option::options(options).count() <= tcp_option::MAX_LEN);
        }
        Body::Icmp(icmp) | Body::Icmpv6(icmp) => {
            if let IcmpMessage::EchoRequest(echo) | IcmpMessage::EchoReply(echo) = &icmp.message {
                assert!(inside(&echo.data), "{echo:?}");
            }
        }
        Body::Arp(arp) => assert!(!arp.sender_mac.is_group() && arp.sender.is_v4()),
    }
}

#[test]
fn every_truncation_is_an_error() {
    for frame in valid_frames() {
        let whole = parse(&frame, Checksums::VERIFY).expect("valid");
        check_ranges(&whole, &frame);
        for len in 0..frame.len() {
            let error = parse(&frame[..len], Checksums::TRUST).expect_err("nothing was padding");
            let expected = [ParseError::TruncatedEthernet, ParseError::TruncatedIp, ParseError::TruncatedArp];
            assert!(expected.contains(&error), "{error:?} at {len} of {}", frame.len());
        }
    }
}

#[test]
fn a_packet_that_ends_early_is_an_error_though_the_frame_goes_on() {
    // The IP length says how long the packet is; here it lies, and what follows stays in the frame.
    for frame in valid_frames() {
        // Where the length is, the least that it may say, and what to add to it for the packet's end in the frame.
        let (length_at, least, add) = match (frame[12], frame[13]) {
            (0x08, 0x00) => (16, 20, 14),
            (0x86, 0xdd) => (18, 0, 14 + 40),
            _ => continue,
        };
        let whole = u16::from_be_bytes([frame[length_at], frame[length_at + 1]]);
        let mut lying = frame.clone();
        for len in 0..whole {
            lying[length_at..length_at + 2].copy_from_slice(&len.to_be_bytes());
            match parse(&lying, Checksums::TRUST) {
                Err(error) if len < least => assert_eq!(error, ParseError::BadTotalLength),
                Ok(packet) => check_ranges(&packet, &lying[..usize::from(len) + add]),
                Err(error) => {
                    let expected = [ParseError::TruncatedTcp, ParseError::TruncatedIcmp, ParseError::BadIcmpChecksum];
                    assert!(expected.contains(&error), "{error:?}");
                }
            }
            assert!(parse(&lying, Checksums::VERIFY).is_err(), "{len} of {whole}");
        }
    }
}

#[test]
fn a_million_mutated_frames() {
    let frames = valid_frames();
    let mut random = Random(2026);
    let mut frame = Vec::with_capacity(2048);
    let mut counts = [0u32; ParseError::ALL.len()];
    let mut taken = 0u32;
    for round in 0..1_000_000 {
        frame.clear();
        frame.extend_from_slice(&frames[random.below(frames.len())]);
        for _ in 0..=random.below(4) {
            mutate(&mut frame, &mut random);
        }
        // Mostly without checksums: with them hardly anything would get past.
        let checksums = Checksums { ip: round % 8 == 0, tcp: round % 8 == 1 };
        match parse(&frame, checksums) {
            Ok(packet) => {
                taken += 1;
                check_ranges(&packet, &frame);
            }
            Err(reason) => counts[reason.index()] += 1,
        }
        let _ = icmp::may_report(&frame);
    }
    assert!(taken > 100_000, "the mutations leave most frames readable: {taken}");
    for (reason, count) in ParseError::ALL.iter().zip(counts) {
        // No frame here grows so long, and no few changes make twelve bytes of an address those of a mapped one.
        let reachable = !matches!(reason, ParseError::Oversized | ParseError::MappedAddress);
        assert!(count > 0 || !reachable, "{} never seen", reason.name());
    }
}

fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    // Near the front, where the headers are, more often than not.
    let span = if random.below(4) == 0 { frame.len() } else { frame.len().min(70) };
    if span == 0 {
        frame.push(0);
        return;
    }
    let at = random.below(span);
    let value = (random.next() & 0xff) as u8;
    match random.below(8) {
        0 => frame[at] = value,
        1 => frame[at] ^= 1 << (value & 7),
        2 => frame[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][usize::from(value) % 6],
        3 => frame[at] = frame[at].wrapping_add(1),
        4 => frame.truncate(at.max(1)),
        5 => {
            frame.remove(at);
        }
        6 => frame.insert(at, value),
        _ => frame[at..].fill(value),
    }
}

#[test]
fn random_bytes_behind_each_ether_type() {
    let mut random = Random(7);
    let mut frame = [0; 200];
    for _ in 0..200_000 {
        frame.fill_with(|| (random.next() >> 56) as u8);
        let ether_type = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][random.below(4)];
        frame[12..14].copy_from_slice(&ether_type);
        if ether_type == [8, 0] {
            frame[14] = 0x40 | frame[14] & 0xf;
            frame[16] = 0;
        } else if ether_type == [0x86, 0xdd] {
            frame[14] = 0x60;
            frame[18] = 0;
        }
        let len = random.below(frame.len());
        if let Ok(packet) = parse(&frame[..len], Checksums::TRUST) {
            check_ranges(&packet, &frame[..len]);
        }
    }
}

//= spec/rfc9293.txt#section-3.1
//= type=test
//# TCP implementations MUST be prepared to handle an illegal option length (e.g., zero); a suggested procedure is to
//# reset the connection and log the error cause (MUST-7).
#[test]
fn illegal_option_lengths_cost_the_options_behind_them_only() {
    let base = tcp(ETH, true, Options { mss: Some(1460), timestamps: Some(Timestamps::default()), ..Options::NONE });
    // Where the kind of the timestamps is: Ethernet, IPv4, TCP, MSS, NOP NOP.
    let at = 14 + 20 + 20 + 4 + 2;
    assert_eq!(base[at..at + 2], [8, 10]);
    for len in [0, 1, 11, 12, 40, 255] {
        let mut frame = base.clone();
        frame[at + 1] = len;
        let packet = parse(&frame, Checksums::TRUST).expect("the segment counts");
        let Body::Tcp(tcp) = packet.body else { panic!("{packet:?}") };
        assert_eq!(tcp.segment.options, Options { mss: Some(1460), ..Options::NONE }, "length {len}");
        assert_eq!((tcp.segment.seq, tcp.segment.len), (Seq(1), 16));
    }
}

#[test]
fn each_reason_for_a_segment_is_told() {
    let v4 = tcp(ETH, true, Options::NONE);
    let with = |change: &dyn Fn(&mut Vec<u8>), checksums| {
        let mut frame = v4.clone();
        change(&mut frame);
        parse(&frame, checksums).expect_err("changed for the worse")
    };
    let trusted = |change: &dyn Fn(&mut Vec<u8>)| with(change, Checksums::TRUST);
    assert_eq!(trusted(&|f| f[13] = 1), ParseError::BadEtherType);
    assert_eq!(trusted(&|f| f[14] = 0x65), ParseError::BadIpVersion);
    assert_eq!(trusted(&|f| f[20] = 0x20), ParseError::Fragment);
    assert_eq!(trusted(&|f| f[23] = 17), ParseError::BadProtocol);
    assert_eq!(trusted(&|f| f[26..30].copy_from_slice(&[127, 0, 0, 1])), ParseError::MartianSource);
    assert_eq!(trusted(&|f| f[26..30].copy_from_slice(&[10, 0, 0, 2])), ParseError::MartianSource);
    assert_eq!(trusted(&|f| f[30..34].copy_from_slice(&[224, 0, 0, 1])), ParseError::MartianDestination);
    assert_eq!(trusted(&|f| f[34..36].fill(0)), ParseError::ZeroPort);
    assert_eq!(trusted(&|f| f[36..38].fill(0)), ParseError::ZeroPort);
    assert_eq!(trusted(&|f| f[46] = 0x40), ParseError::BadTcpDataOffset);
    assert_eq!(trusted(&|f| f[46] = 0xf0), ParseError::TruncatedTcp);
    assert_eq!(with(&|f| f[22] ^= 1, Checksums::VERIFY), ParseError::BadIpChecksum);
    assert_eq!(with(&|f| f[60] ^= 1, Checksums::VERIFY), ParseError::BadTcpChecksum);
    assert_eq!(with(&|f| f[60] ^= 1, Checksums { ip: false, tcp: true }), ParseError::BadTcpChecksum);
    let mut mapped = tcp(ETH, false, Options::NONE);
    mapped[22..38].copy_from_slice(&Addr::v4([10, 0, 0, 1]).octets());
    assert_eq!(parse(&mapped, Checksums::TRUST), Err(ParseError::MappedAddress));
}
