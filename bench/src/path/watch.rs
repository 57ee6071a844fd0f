//! What the wire sees of a transfer, whoever sends it: before anything gets lost, every data segment passes here.
//!
//! Both senders are counted by the same eyes, so a difference is theirs and not that of two ways to count.

/// The TCP of one direction: one connection at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    first_syn_ns: Option<u64>,
    /// The end of what was sent so far; `None` before the SYN.
    end: Option<u32>,
    segments: u64,
    payload_bytes: u64,
    retransmitted_segments: u64,
    retransmitted_bytes: u64,
}

/// What the emulator has to know of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpFrame {
    seq: u32,
    syn: bool,
    payload_len: u32,
}

const SYN: u8 = 0x02;

impl TcpFrame {
    /// Reads an Ethernet frame with IPv4 and TCP; `None` for anything else and for what is cut short.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(14..)?;
        let is_tcp = frame[12..14] == [8, 0] && ip.len() >= 20 && ip[0] >> 4 == 4 && ip[9] == 6;
        if !is_tcp {
            return None;
        }
        let ip_header = usize::from(ip[0] & 15) * 4;
        // Short frames may be padded: the length of the packet counts, not that of the frame.
        let packet = ip.get(..usize::from(u16::from_be_bytes([ip[2], ip[3]])))?;
        let tcp = packet.get(ip_header..)?;
        let header: &[u8; 20] = tcp.get(..20)?.try_into().ok()?;
        let payload = tcp.len().checked_sub(usize::from(header[12] >> 4) * 4)?;
        Some(Self {
            seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            syn: header[13] & SYN != 0,
            payload_len: u32::try_from(payload).ok()?,
        })
    }

    /// Whether it opens a connection, in either direction.
    pub const fn is_syn(&self) -> bool {
        self.syn
    }
}

impl Watch {
    /// A segment of the sender passed at `now_ns`.
    pub fn on_segment(&mut self, now_ns: u64, segment: &TcpFrame) {
        let TcpFrame { seq, syn, payload_len } = *segment;
        if syn {
            self.first_syn_ns.get_or_insert(now_ns);
            self.end = Some(seq.wrapping_add(1));
            return;
        }
        let (Some(end), true) = (self.end, payload_len > 0) else { return };
        self.segments += 1;
        self.payload_bytes += u64::from(payload_len);
        // How far it begins before the end of what was sent: modulo 2^32, so a gap looks like more than half of it.
        let behind = end.wrapping_sub(seq);
        let again = if behind < 1 << 31 { behind.min(payload_len) } else { 0 };
        if again > 0 {
            self.retransmitted_segments += 1;
            self.retransmitted_bytes += u64::from(again);
        }
        if again < payload_len {
            self.end = Some(seq.wrapping_add(payload_len));
        }
    }

    /// When the first SYN passed.
    pub const fn first_syn_ns(&self) -> Option<u64> {
        self.first_syn_ns
    }

    /// Data segments, retransmissions included.
    pub const fn segments(&self) -> u64 {
        self.segments
    }

    /// Payload bytes, retransmissions included.
    pub const fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Data segments with bytes that passed before.
    pub const fn retransmitted_segments(&self) -> u64 {
        self.retransmitted_segments
    }

    /// Payload bytes that passed before.
    pub const fn retransmitted_bytes(&self) -> u64 {
        self.retransmitted_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with `options` 32-bit words of TCP options, `payload` bytes and padding behind.
    fn frame(seq: u32, flags: u8, options: u8, payload: usize, padding: usize) -> Vec<u8> {
        let mut frame = vec![0; 54 + usize::from(options) * 4 + payload + padding];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        let len = u16::try_from(40 + usize::from(options) * 4 + payload).unwrap();
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame[23] = 6;
        frame[38..42].copy_from_slice(&seq.to_be_bytes());
        frame[46] = (5 + options) << 4;
        frame[47] = flags;
        frame
    }

    #[test]
    fn a_segment_is_read_with_options_and_padding() {
        let read = TcpFrame::parse(&frame(77, 0x10, 3, 5, 7)).unwrap();
        assert_eq!(read, TcpFrame { seq: 77, syn: false, payload_len: 5 });
        assert!(TcpFrame::parse(&frame(0, SYN, 0, 0, 6)).unwrap().is_syn());
    }

    #[test]
    fn what_is_not_tcp_or_cut_short_is_not_read() {
        let whole = frame(1, 0x10, 2, 10, 0);
        for len in 0..whole.len() {
            assert_eq!(TcpFrame::parse(&whole[..len]), None, "{len}");
        }
        for (at, byte) in [(13, 6), (14, 0x65), (23, 17), (46, 0xf0), (17, 39)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(TcpFrame::parse(&other), None, "{at}");
        }
    }

    #[test]
    fn bytes_that_passed_before_are_retransmitted() {
        let mut watch = Watch::default();
        let start = u32::MAX - 1500;
        // Before the SYN nothing is known.
        watch.on_segment(1, &TcpFrame { seq: start, syn: false, payload_len: 9 });
        watch.on_segment(5, &TcpFrame { seq: start.wrapping_sub(1), syn: true, payload_len: 0 });
        watch.on_segment(6, &TcpFrame { seq: start.wrapping_sub(1), syn: true, payload_len: 0 });
        // The third wraps around; then the second again, one that is half new, and a pure ACK.
        for (at, len) in [(0, 1000), (1000, 1000), (2000, 1000), (1000, 1000), (2500, 1000), (3500, 0), (3500, 10)] {
            watch.on_segment(9, &TcpFrame { seq: start.wrapping_add(at), syn: false, payload_len: len });
        }
        assert_eq!(watch.first_syn_ns(), Some(5));
        assert_eq!((watch.segments(), watch.payload_bytes()), (6, 5010));
        assert_eq!((watch.retransmitted_segments(), watch.retransmitted_bytes()), (2, 1500));
    }
}
