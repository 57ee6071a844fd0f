//! Garbage: random, mutated, and structured.

use crate::target::{Live, OUR_MAC, OURS, PEERS, PORT, Target, peer};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::tcp::segment::{AccurateEcn, Codepoint, FastOpen, Flags, Options, SackBlocks, Segment, Timestamps};
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::arp::{self, Operation};
use corelane_proto::wire::{Arp, EthernetHeader, IpHeader, emit_tcp, tcp_header_len};
use corelane_proto::{Flow, Mac, SocketAddr};

const ETHERNET: usize = 14;
const IP: usize = 20;

/// Makes frames from a seed.
pub(crate) struct Generator {
    state: u64,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next random number (`SplitMix64`, Steele, Lea and Flood 2014).
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        (self.below(1 << 20) as f64) < probability * f64::from(1 << 20)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.below(of.len() as u64) as usize]) }
    }

    pub(crate) fn tcp_config(&mut self) -> TcpConfig {
        TcpConfig {
            recv_buffer: 5_000 + self.below(60_000) as u32,
            send_buffer: 20_000,
            window_scaling: self.chance(0.5),
            timestamps: self.chance(0.5),
            sack: self.chance(0.5),
            nodelay: self.chance(0.5),
            ..TcpConfig::default()
        }
    }

    /// The next frame: a third of each kind.
    pub(crate) fn frame(&mut self, target: &Target) -> Vec<u8> {
        match self.below(3) {
            0 => self.random_bytes(),
            1 => self.mutated(target),
            _ => self.structured(target),
        }
    }

    /// Random bytes; half of them begin as if they were for us.
    fn random_bytes(&mut self) -> Vec<u8> {
        let len = if self.chance(0.5) { self.below(100) } else { self.below(1700) } as usize;
        let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        if self.chance(0.5) {
            let types = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]];
            let kind = types[self.below(4) as usize];
            for (to, from) in bytes.iter_mut().zip(OUR_MAC.0.into_iter().chain([2, 0, 0, 0, 0, 2]).chain(kind)) {
                *to = from;
            }
        }
        bytes
    }

    /// A valid frame with a few things changed, its checksums mostly right again.
    fn mutated(&mut self, target: &Target) -> Vec<u8> {
        let mut frame = match self.below(12) {
            0 => self.arp(),
            1 => self.echo(),
            2 => self.icmp_error(target),
            _ => self.next_segment(target),
        };
        if frame.len() < ETHERNET + IP {
            return frame;
        }
        // Most changes are behind the headers that lead to us.
        let least = if self.chance(0.1) { 0 } else { ETHERNET + IP };
        for _ in 0..self.below(4) {
            let len = frame.len();
            if len <= least {
                break;
            }
            let at = least + self.below((len - least) as u64) as usize;
            match self.below(6) {
                0 => frame[at] = self.next() as u8,
                1 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5) as usize],
                2 if at > least + 8 => frame.truncate(at),
                _ => frame[at] ^= 1 << self.below(8),
            }
        }
        if self.chance(0.95) {
            put_right(&mut frame);
        }
        frame
    }

    fn arp(&mut self) -> Vec<u8> {
        let (addr, mac) = peer(2 + self.below(250) as u8);
        let operation = if self.chance(0.5) { Operation::Request } else { Operation::Reply };
        let mut frame = vec![0; 60];
        let eth = EthernetHeader { dst: OUR_MAC, src: mac, vlan: None };
        let arp = Arp { operation, sender_mac: mac, sender: addr, target_mac: Mac::default(), target: OURS };
        arp::emit(&mut frame, &eth, &arp);
        frame
    }

    fn icmp_header(&mut self, from: u8, payload: &[u8], kind: u8, code: u8) -> Vec<u8> {
        let (src, mac) = peer(from);
        let mut frame = Vec::with_capacity(ETHERNET + IP + 8 + payload.len());
        frame.extend(OUR_MAC.0);
        frame.extend(mac.0);
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(((IP + 8 + payload.len()) as u16).to_be_bytes());
        frame.extend([0, 1, 0, 0, 64, 1, 0, 0]);
        frame.extend(src.as_v4().unwrap_or_default());
        frame.extend(OURS.as_v4().unwrap_or_default());
        frame.extend([kind, code, 0, 0]);
        frame.extend((self.next() as u32).to_be_bytes());
        frame.extend(payload);
        put_right(&mut frame);
        frame
    }

    fn echo(&mut self) -> Vec<u8> {
        let payload = vec![3; self.below(1400) as usize];
        self.icmp_header(2, &payload, 8, 0)
    }

    /// An ICMP error about a segment of ours, in flight or not.
    fn icmp_error(&mut self, target: &Target) -> Vec<u8> {
        let Some(live) = self.pick(&target.live) else { return self.echo() };
        let mut quoted = vec![0x45, 0, 5, 0, 0, 0, 0, 0, 64, 6, 0, 0];
        quoted.extend(live.flow.local.addr.as_v4().unwrap_or_default());
        quoted.extend(live.flow.remote.addr.as_v4().unwrap_or_default());
        quoted.extend(live.flow.local.port.to_be_bytes());
        quoted.extend(live.flow.remote.port.to_be_bytes());
        quoted.extend(self.near(live.last, 3000).0.to_be_bytes());
        quoted.extend([0; 12]);
        let sum = checksum(0, &quoted[..IP]);
        quoted[10..12].copy_from_slice(&sum.to_be_bytes());
        let (kind, code) = [(3, 4), (3, 3), (3, 1), (3, 2), (4, 0), (11, 0), (12, 0)][self.below(7) as usize];
        self.icmp_header(2, &quoted, kind, code)
    }

    /// A number close to `seq`: itself, next to it, or up to `far` away on either side.
    fn near(&mut self, seq: Seq, far: u32) -> Seq {
        match self.below(10) {
            0..5 => seq,
            5 => seq + 1,
            6 => seq - 1,
            7 => seq + self.below(u64::from(far) + 1) as u32,
            8 => seq - self.below(u64::from(far) + 1) as u32,
            _ => Seq(self.next() as u32),
        }
    }

    /// The segment that a peer would send next: for a live flow, or the SYN of a new one.
    fn next_segment(&mut self, target: &Target) -> Vec<u8> {
        let live = self.pick(&target.live).filter(|_| self.chance(0.95));
        let Some(live) = live else { return self.new_syn() };
        let len = if self.chance(0.4) { self.below(1400) as u16 } else { 0 };
        let value = self.below(1 << 20) as u32;
        let timestamps = live.stamp.map(|echo| Timestamps { value, echo });
        let mut flags = Flags::ACK;
        let mut options = Options { timestamps, ..Options::NONE };
        let mut seq = live.expects;
        if live.expects == Seq(0) {
            // It has sent a SYN and knows nothing yet.
            flags = flags | Flags::SYN;
            seq = Seq(self.next() as u32);
            options.mss = Some(1460);
            options.window_scale = Some(self.below(16) as u8);
        } else if self.chance(0.03) {
            flags = flags | Flags::FIN;
        }
        let window = if self.chance(0.8) { 30_000 } else { self.next() as u16 };
        let segment = Segment { seq, ack: live.sent, flags, window, len, options, ..Segment::default() };
        emit(live.flow, &segment)
    }

    fn new_syn(&mut self) -> Vec<u8> {
        let (addr, _) = peer(2 + self.below(u64::from(PEERS)) as u8);
        let port = if self.chance(0.9) { PORT } else { self.next() as u16 | 1 };
        let remote = SocketAddr::new(addr, 1 + self.below(200) as u16);
        let options = self.options(None);
        let segment =
            Segment { seq: Seq(self.next() as u32), flags: Flags::SYN, window: 9000, options, ..Segment::default() };
        emit(Flow { local: SocketAddr::new(OURS, port), remote }, &segment)
    }

    /// Any flags, numbers close to the edges, any options, any length: a whole segment with the right checksum.
    fn structured(&mut self, target: &Target) -> Vec<u8> {
        let Some(live) = self.pick(&target.live).filter(|_| self.chance(0.97)) else { return self.new_syn() };
        let edge = live.expects + u32::from(live.window);
        let around = if self.chance(0.7) { live.expects } else { edge };
        let flags = match self.below(4) {
            0 => Flags(self.next() as u16 & 0x1ff),
            1 => Flags::ACK | Flags(1 << self.below(9)),
            _ => Flags::ACK,
        };
        // A reset ends what the others live on: it comes rarely.
        let flags = if flags.has(Flags::RST) && self.chance(0.9) { Flags(flags.0 & !Flags::RST.0) } else { flags };
        let segment = Segment {
            seq: self.near(around, 40_000),
            ack: self.ack(&live),
            flags,
            window: if self.chance(0.7) { 20_000 } else { self.below(3000) as u16 },
            urgent: self.next() as u16,
            len: if self.chance(0.5) { self.below(1500) as u16 } else { self.below(3) as u16 },
            ecn: Codepoint::of(self.next() as u8),
            options: self.options(live.stamp),
        };
        emit(live.flow, &segment)
    }

    fn ack(&mut self, live: &Live) -> Seq {
        let around = if self.chance(0.5) { live.sent } else { live.last };
        self.near(around, 40_000)
    }

    fn options(&mut self, stamp: Option<u32>) -> Options {
        let mut sack = SackBlocks::EMPTY;
        if self.chance(0.2) {
            for _ in 0..self.below(5) {
                sack.push(Seq(self.next() as u32), Seq(self.next() as u32));
            }
        }
        let timestamps = match stamp {
            Some(echo) if self.chance(0.9) => Some(Timestamps { value: self.below(1 << 20) as u32, echo }),
            _ if self.chance(0.2) => Some(Timestamps { value: self.next() as u32, echo: self.next() as u32 }),
            _ => None,
        };
        Options {
            mss: self.chance(0.2).then(|| self.next() as u16),
            window_scale: self.chance(0.2).then(|| self.next() as u8),
            sack_permitted: self.chance(0.2),
            timestamps,
            fast_open: self.chance(0.1).then_some(FastOpen::REQUEST),
            accurate_ecn: self.chance(0.1).then(|| AccurateEcn::new(self.chance(0.5), [self.next() as u32, 7])),
            sack,
        }
    }
}

/// A segment from the peer of `flow` to us.
fn emit(flow: Flow, segment: &Segment) -> Vec<u8> {
    let last = flow.remote.addr.as_v4().map_or(2, |[.., last]| last);
    let eth = EthernetHeader { dst: OUR_MAC, src: peer(last).1, vlan: None };
    let ip = IpHeader::new(flow.remote.addr, flow.local.addr);
    let mut frame = vec![0x5a; tcp_header_len(true, false, &segment.options) + usize::from(segment.len)];
    let len = emit_tcp(&mut frame, &eth, &ip, (flow.remote.port, flow.local.port), segment);
    frame.truncate(len);
    frame
}

/// Makes the lengths and checksums of an IPv4 frame right, if it still looks like one.
fn put_right(frame: &mut [u8]) {
    if frame.len() < ETHERNET + IP + 8 || frame[12..14] != [8, 0] || frame[14] != 0x45 {
        return;
    }
    let ip_len = (frame.len() - ETHERNET) as u16;
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    frame[24..26].fill(0);
    let sum = checksum(0, &frame[ETHERNET..ETHERNET + IP]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let (at, pseudo) = match frame[23] {
        6 if frame.len() >= ETHERNET + IP + 20 => {
            let addresses = checksum_words(&frame[26..34]);
            (ETHERNET + IP + 16, addresses + 6 + u32::from(ip_len) - IP as u32)
        }
        1 => (ETHERNET + IP + 2, 0),
        _ => return,
    };
    frame[at..at + 2].fill(0);
    let sum = checksum(pseudo, &frame[ETHERNET + IP..]);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn checksum_words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

/// The Internet checksum (RFC 1071), written anew so that the codec is not its own judge.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start + checksum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
