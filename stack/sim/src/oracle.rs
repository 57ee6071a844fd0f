//! Every frame that an endpoint emits, judged by `etherparse`, which shares no line with our codec: lengths are exact,
//! checksums are right, and what stands in the TCP header may stand there.

use etherparse::{Ipv4Slice, Ipv6Slice, NetSlice, SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};

/// Fast Open (RFC 7413 4.1.1), user timeout (RFC 5482 3) and accurate ECN in either order (RFC 9768 3.2.3), which `etherparse` does not know.
const FAST_OPEN: u8 = 34;
const USER_TIMEOUT: u8 = 28;
const ACCURATE_ECN: [u8; 2] = [172, 174];
const END_OF_LIST: u8 = 0;

/// Judges a frame.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| format!("etherparse refuses it: {error}"))?;
    let link = 14 + 4 * packet.link_exts.len();
    match &packet.net {
        Some(NetSlice::Ipv4(ip)) => check_ipv4(frame.len() - link, ip, packet.transport.as_ref()),
        Some(NetSlice::Ipv6(ip)) => check_ipv6(frame.len() - link, ip, packet.transport.as_ref()),
        Some(NetSlice::Arp(_)) => Ok(()),
        None => Err("it carries neither IP nor ARP".to_owned()),
    }
}

fn check_ipv4(len: usize, ip: &Ipv4Slice<'_>, transport: Option<&TransportSlice<'_>>) -> Result<(), String> {
    let header = ip.header();
    same("IPv4 total length", usize::from(header.total_len()), len)?;
    same("IPv4 checksum", header.header_checksum(), header.to_header().calc_header_checksum())?;
    require(!header.is_fragmenting_payload(), "it is a fragment")?;
    require(header.ttl() > 0, "its time to live is 0")?;
    let source = header.source_addr();
    require(!source.is_unspecified() && !source.is_multicast() && !source.is_broadcast(), "its source is no host")?;
    let Some(TransportSlice::Tcp(tcp)) = transport else { return Ok(()) };
    require(!header.destination_addr().is_multicast(), "TCP goes to a group")?;
    let to = final_destination(header.options()).unwrap_or_else(|| header.destination());
    let sum = tcp.calc_checksum_ipv4(header.source(), to);
    check_tcp(tcp, sum.map_err(|error| error.to_string())?)
}

/// Where a packet with a source route ends (RFC 791 3.1): the last of the addresses that it has still to go by. It is this
/// that TCP's checksum covers (RFC 9293 3.1), as with any address that the receiver sees.
fn final_destination(options: &[u8]) -> Option<[u8; 4]> {
    const ROUTES: [u8; 2] = [131, 137];
    let at = options.iter().position(|kind| *kind != 1).filter(|at| ROUTES.contains(&options[*at]))?;
    let len = usize::from(*options.get(at + 1)?);
    let route = options.get(at..at + len)?;
    if len < 7 || usize::from(route[2]) > len {
        return None;
    }
    route[len - 4..].try_into().ok()
}

fn check_ipv6(len: usize, ip: &Ipv6Slice<'_>, transport: Option<&TransportSlice<'_>>) -> Result<(), String> {
    let header = ip.header();
    same("IPv6 payload length", 40 + usize::from(header.payload_length()), len)?;
    require(!ip.is_payload_fragmented(), "it is a fragment")?;
    require(header.hop_limit() > 0, "its hop limit is 0")?;
    let source = header.source_addr();
    require(!source.is_unspecified() && !source.is_multicast(), "its source is no host")?;
    let Some(TransportSlice::Tcp(tcp)) = transport else { return Ok(()) };
    require(!header.destination_addr().is_multicast(), "TCP goes to a group")?;
    let sum = tcp.calc_checksum_ipv6(header.source(), header.destination());
    check_tcp(tcp, sum.map_err(|error| error.to_string())?)
}

fn check_tcp(tcp: &TcpSlice<'_>, checksum: u16) -> Result<(), String> {
    same("TCP checksum", tcp.checksum(), checksum)?;
    require(tcp.source_port() != 0 && tcp.destination_port() != 0, "a port is 0")?;
    // Beside the data offset; the fourth is AE (RFC 9768).
    require(tcp.slice().get(12).is_some_and(|byte| byte & 0x0e == 0), "a reserved bit is set")?;
    let (syn, fin, rst, ack) = (tcp.syn(), tcp.fin(), tcp.rst(), tcp.ack());
    require(u8::from(syn) + u8::from(fin) + u8::from(rst) <= 1, "SYN, FIN and RST exclude each other")?;
    require(ack || syn || rst, "a segment that neither opens nor resets has no ACK")?;
    require(ack || tcp.acknowledgment_number() == 0, "it acknowledges something without ACK")?;
    require(tcp.urg() || tcp.urgent_pointer() == 0, "it has an urgent pointer without URG")?;
    require(!rst || tcp.payload().is_empty(), "a reset carries data")?;
    check_options(tcp)
}

/// Which options may stand in which segment, and what comes behind the last.
fn check_options(tcp: &TcpSlice<'_>) -> Result<(), String> {
    let (syn, mut seen) = (tcp.syn(), [0_u8; 256]);
    let mut rest = tcp.options();
    while let Some((&kind, behind)) = rest.split_first() {
        if kind == END_OF_LIST {
            // RFC 9293 3.1, MUST-69.
            require(behind.iter().all(|byte| *byte == 0), "what comes behind the end of the options is not zero")?;
            break;
        }
        let len = if kind == 1 { 1 } else { usize::from(behind.first().copied().unwrap_or(0)) };
        let (option, behind) = rest.split_at_checked(len).filter(|_| len > 0).ok_or("an option's length is wrong")?;
        rest = behind;
        if kind == 1 {
            continue;
        }
        seen[usize::from(kind)] += 1;
        require(seen[usize::from(kind)] == 1, format!("option {kind} stands there twice"))?;
        // RFC 9768 3.2.3.2.1.
        require(!syn || tcp.ack() || !ACCURATE_ECN.contains(&kind), "accurate ECN's option in a SYN")?;
        check_option(syn, kind, option)?;
    }
    let fast_open = seen[usize::from(FAST_OPEN)] > 0;
    require(!syn || seen[2] == 1, "a SYN without MSS")?;
    require(!syn || tcp.payload().is_empty() || fast_open || tcp.ack(), "a SYN carries data without Fast Open")
}

fn check_option(syn: bool, kind: u8, option: &[u8]) -> Result<(), String> {
    match kind {
        FAST_OPEN => return require(syn, "a Fast Open cookie without SYN"),
        kind if ACCURATE_ECN.contains(&kind) => {
            return require(matches!(option.len(), 2 | 5 | 8 | 11), "accurate ECN's option has a wrong length");
        }
        USER_TIMEOUT => return same("length of the user timeout", option.len(), 4),
        _ => {}
    }
    let mut padded = [1; 40];
    padded[..option.len()].copy_from_slice(option);
    let read = etherparse::TcpOptionsIterator::from_slice(&padded).next();
    match read {
        // RFC 9293 3.2, MUST-65.
        Some(Ok(TcpOptionElement::MaximumSegmentSize(_))) => require(syn, "MSS without SYN"),
        Some(Ok(TcpOptionElement::WindowScale(shift))) => {
            require(shift <= 14, "a window scale above 14")?;
            require(syn, "window scale without SYN")
        }
        Some(Ok(TcpOptionElement::SelectiveAcknowledgementPermitted)) => require(syn, "SACK permitted without SYN"),
        Some(Ok(TcpOptionElement::SelectiveAcknowledgement(..))) => require(!syn, "SACK with SYN"),
        Some(Ok(TcpOptionElement::Timestamp(..))) => Ok(()),
        other => Err(format!("option {kind} is {other:?}")),
    }
}

fn require(holds: bool, what: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}

fn same<T: Copy + PartialEq + std::fmt::Debug>(what: &str, is: T, should_be: T) -> Result<(), String> {
    if is == should_be { Ok(()) } else { Err(format!("{what} is {is:?} and should be {should_be:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_proto::tcp::segment::{Flags, Options, Segment, Timestamps};
    use corelane_proto::tcp::seq::Seq;
    use corelane_proto::wire::{EthernetHeader, IpHeader, emit_tcp};
    use corelane_proto::{Addr, Mac};

    const SYN: Options = Options { mss: Some(1460), ..Options::NONE };

    fn frame(segment: &Segment) -> Vec<u8> {
        let eth = EthernetHeader { dst: Mac([2; 6]), src: Mac([4; 6]), vlan: None };
        let ip = IpHeader::new(Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        let mut frame = vec![0; 2000];
        let len = emit_tcp(&mut frame, &eth, &ip, (1, 2), segment);
        frame.truncate(len);
        frame
    }

    fn judged(flags: Flags, len: u16, options: Options) -> Result<(), String> {
        check(&frame(&Segment { flags, len, options, ..Segment::default() }))
    }

    #[test]
    fn legal_segments_pass() {
        let timestamps = Some(Timestamps { value: 1, echo: 2 });
        assert_eq!(judged(Flags::SYN, 0, Options { timestamps, window_scale: Some(14), ..SYN }), Ok(()));
        assert_eq!(judged(Flags::ACK | Flags::FIN | Flags::PSH, 100, Options { timestamps, ..Options::NONE }), Ok(()));
        assert_eq!(judged(Flags::RST, 0, Options::NONE), Ok(()));
    }

    #[test]
    fn what_may_not_stand_there_is_seen() {
        let cases = [
            (Flags::SYN | Flags::FIN, 0, SYN, "exclude"),
            (Flags::default(), 5, Options::NONE, "no ACK"),
            (Flags::RST, 5, Options::NONE, "carries data"),
            (Flags::SYN, 0, Options::NONE, "without MSS"),
            (Flags::SYN, 5, SYN, "Fast Open"),
            (Flags::ACK, 0, SYN, "MSS without SYN"),
            (Flags::ACK, 0, Options { sack_permitted: true, ..Options::NONE }, "permitted without SYN"),
            (Flags::SYN, 0, Options { window_scale: Some(15), ..SYN }, "above 14"),
        ];
        for (flags, len, options, expected) in cases {
            let error = judged(flags, len, options).expect_err("it is illegal");
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
        let urgent = Segment { flags: Flags::ACK, urgent: 1, ..Segment::default() };
        assert!(check(&frame(&urgent)).is_err());
        assert!(check(&frame(&Segment { flags: Flags::SYN, ack: Seq(1), options: SYN, ..urgent })).is_err());
    }

    #[test]
    fn every_damaged_byte_behind_the_addresses_is_seen() {
        let whole = frame(&Segment { flags: Flags::ACK, len: 40, ..Segment::default() });
        for at in 14..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(check(&damaged).is_err(), "byte {at}");
        }
        assert!(check(&whole[..whole.len() - 1]).is_err());
        let longer = [&whole[..], &[0]].concat();
        assert!(check(&longer).unwrap_err().contains("total length"));
    }
}
