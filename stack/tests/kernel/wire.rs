//! The wire between the stack and the kernel: every frame passes a thread here, which records it and does with it what
//! the test's rule says.

use crate::segment::{Fate, Origins, Pattern, Seen, Side};
use crate::world::{SOON, enter};
use corelane_proto::tcp::segment::Segment;
use corelane_proto::tcp::seq::Seq;
use corelane_proto::wire::{Body, Checksums, EthernetHeader, IpHeader, emit_tcp, parse, tcp_header_len};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, recv, send, socket, sockopt};
use std::fmt::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Segments that are recorded; a rule sees those after them too.
const RECORDED: usize = 60_000;

/// What a rule says about a segment of which [`Seen::fate`] is not decided yet.
pub(crate) type Rule = Box<dyn FnMut(&Seen) -> Fate + Send>;

/// The running wire.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    ends: [OwnedFd; 2],
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
    began: Instant,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    origins: Origins,
    rule: Option<Rule>,
    /// Where each held frame goes.
    held: Vec<(Side, Vec<u8>)>,
    /// Frames that could not be sent on: the wire itself lost them.
    lost: usize,
}

/// A socket on interface `name` of this thread's namespace.
fn packet_socket(name: &str) -> OwnedFd {
    let every = Protocol::from_raw(u32::from(0x0003_u16.to_be()).try_into().unwrap());
    let fd = socket(AddressFamily::PACKET, SocketType::RAW, Some(every)).unwrap();
    sockopt::set_socket_recv_buffer_size_force(&fd, 32 << 20).unwrap();
    sockopt::set_socket_send_buffer_size_force(&fd, 32 << 20).unwrap();
    let found = getifaddrs().unwrap().filter(|interface| interface.interface_name == name);
    let address: LinkAddr = found.filter_map(|interface| interface.address?.as_link_addr().copied()).next().unwrap();
    bind(fd.as_raw_fd(), &address).unwrap();
    // What came in before the socket was bound may be of the other interface.
    while recv(&fd, &mut [0; 2048][..], RecvFlags::DONTWAIT).is_ok() {}
    fd
}

impl Wire {
    /// Joins the interfaces `left` and `right` of a namespace.
    pub(crate) fn start(namespace: &str) -> Self {
        let opened = std::thread::scope(|scope| {
            let open = || {
                enter(namespace);
                ["left", "right"].map(packet_socket)
            };
            scope.spawn(open).join().unwrap()
        });
        let shared = Arc::new(Shared {
            ends: opened,
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
            began: Instant::now(),
        });
        let of_thread = Arc::clone(&shared);
        Self { shared, thread: Some(std::thread::spawn(move || of_thread.run())) }
    }

    /// From now on each segment is treated as `rule` says.
    pub(crate) fn rule(&self, rule: impl FnMut(&Seen) -> Fate + Send + 'static) {
        self.shared.lock().rule = Some(Box::new(rule));
    }

    /// From now on segments of this pattern are held.
    pub(crate) fn hold(&self, pattern: Pattern) {
        self.rule(move |seen| if pattern.matches(seen) { Fate::Held } else { Fate::Passed });
    }

    /// From now on nothing of `side` passes.
    pub(crate) fn silence(&self, side: Side) {
        self.rule(move |seen| if seen.side == side { Fate::Dropped } else { Fate::Passed });
    }

    /// Ends the rule, and passes on what was held.
    pub(crate) fn open(&self) {
        self.release(None);
    }

    /// Passes on what was held, and begins another rule.
    pub(crate) fn release_to(&self, rule: impl FnMut(&Seen) -> Fate + Send + 'static) {
        self.release(Some(Box::new(rule)));
    }

    fn release(&self, rule: Option<Rule>) {
        let mut state = self.shared.lock();
        state.rule = rule;
        for (to, frame) in std::mem::take(&mut state.held) {
            self.shared.pass(&mut state, to, &frame);
        }
    }

    /// Sends a frame that was seen before to its receiver once more.
    pub(crate) fn repeat(&self, seen: &Seen) {
        self.shared.forge(seen.side, &seen.frame);
    }

    /// Sends a segment in the place of the sender of `like`, with its addresses and no payload. The numbers of
    /// `segment` are relative.
    pub(crate) fn forge(&self, like: &Seen, segment: Segment) {
        let origin = Seq(like.segment.seq.0.wrapping_sub(like.seq));
        let peer = Seq(like.segment.ack.0.wrapping_sub(like.ack));
        let segment = Segment { seq: origin + segment.seq.0, ack: peer + segment.ack.0, len: 0, ..segment };
        self.shared.forge(like.side, &frame(like, &segment));
    }

    /// The other direction of what `seen` began, for [`forge`](Self::forge): with the receiver's place and a number that
    /// nobody chose.
    pub(crate) fn answering(&self, seen: &Seen) -> Seen {
        let mut answer = Seen { side: other(seen.side), src: seen.dst, dst: seen.src, seq: 0, ack: 1, ..seen.clone() };
        (answer.segment.seq, answer.segment.ack) = (Seq(0x7f00_0000), seen.segment.seq + 1);
        // The Ethernet addresses are the first twelve bytes.
        let (to, from) = answer.frame.split_at_mut(6);
        to.swap_with_slice(&mut from[..6]);
        answer
    }

    /// How many segments were seen until now: a place to look from with [`after`](Self::after).
    pub(crate) fn mark(&self) -> usize {
        self.shared.lock().seen.len()
    }

    /// Waits until `found` finds what it looks for in everything that was seen.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, found: impl FnMut(&[Seen]) -> Option<T>) -> T {
        self.wait_within(SOON, what, found)
    }

    /// Waits, at most for `limit`.
    #[track_caller]
    pub(crate) fn wait_within<T>(&self, limit: Duration, what: &str, mut found: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let end = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = found(&state.seen) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("{what}: not on the wire within {limit:?}\n{}", self.shown());
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a segment of this pattern, whatever its fate.
    #[track_caller]
    pub(crate) fn saw(&self, pattern: Pattern) -> Seen {
        self.after(0, pattern)
    }

    /// Waits for a segment of this pattern after a [`mark`](Self::mark).
    #[track_caller]
    pub(crate) fn after(&self, mark: usize, pattern: Pattern) -> Seen {
        self.wait_for(&format!("{pattern:?}"), |seen| {
            seen.get(mark..)?.iter().find(|seen| pattern.matches(seen)).cloned()
        })
    }

    /// Waits for segments of these patterns, in this order, with or without others between them.
    #[track_caller]
    pub(crate) fn saw_in_order(&self, patterns: &[Pattern]) -> Vec<Seen> {
        self.wait_for(&format!("in this order {patterns:#?}"), |seen| {
            let mut left = seen.iter();
            patterns.iter().map(|pattern| left.find(|seen| pattern.matches(seen)).cloned()).collect()
        })
    }

    /// What was seen of this pattern until now.
    pub(crate) fn all(&self, pattern: Pattern) -> Vec<Seen> {
        self.shared.lock().seen.iter().filter(|seen| pattern.matches(seen)).cloned().collect()
    }

    /// How often this pattern was seen until now.
    pub(crate) fn count(&self, pattern: Pattern) -> usize {
        self.shared.lock().seen.iter().filter(|seen| pattern.matches(seen)).count()
    }

    /// Everything as a table, the middle of a long one left out.
    pub(crate) fn shown(&self) -> String {
        const ENDS: usize = 60;
        let state = self.shared.lock();
        let mut text = format!("on the wire ({} segments, {} frames lost by it):\n", state.seen.len(), state.lost);
        for (at, seen) in state.seen.iter().enumerate() {
            if at < ENDS || at + ENDS >= state.seen.len() {
                writeln!(text, "{seen}").unwrap();
            } else if at == ENDS {
                text.push_str("       ...\n");
            }
        }
        text
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A panic of the thread has been printed, and the test has missed its frames.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Relaxed) {
            let mut ready = [0, 1].map(|end| PollFd::new(&self.ends[end], PollFlags::IN));
            let limit = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut ready, Some(&limit)).is_err() {
                continue;
            }
            let mut came = false;
            for (end, side) in [Side::Ours, Side::Kernel].into_iter().enumerate() {
                // A few of one side at a time, so that none waits long for the other.
                for _ in 0..16 {
                    let Ok((frame, len)) = recv(&self.ends[end], &mut buffer[..], RecvFlags::DONTWAIT) else { break };
                    debug_assert_eq!(frame, len, "no frame is longer than the buffer");
                    self.take(side, &buffer[..len]);
                    came = true;
                }
            }
            if came {
                self.changed.notify_all();
            }
        }
    }

    /// One frame that `side` sent.
    fn take(&self, side: Side, frame: &[u8]) {
        let to = other(side);
        let mut state = self.lock();
        let State { origins, rule, .. } = &mut *state;
        let Some(mut seen) = decode(self.began.elapsed(), side, Fate::Passed, frame, origins) else {
            self.pass(&mut state, to, frame);
            return;
        };
        seen.fate = rule.as_mut().map_or(Fate::Passed, |rule| rule(&seen));
        match seen.fate {
            Fate::Passed | Fate::Forged => self.pass(&mut state, to, frame),
            Fate::Marked => self.pass(&mut state, to, &marked(frame)),
            Fate::Held => state.held.push((to, frame.to_vec())),
            Fate::Dropped => {}
        }
        if state.seen.len() < RECORDED {
            state.seen.push(seen);
        }
    }

    fn pass(&self, state: &mut State, to: Side, frame: &[u8]) {
        let end = match to {
            Side::Ours => &self.ends[0],
            Side::Kernel => &self.ends[1],
        };
        state.lost += usize::from(send(end, frame, SendFlags::empty()).is_err());
    }

    fn forge(&self, side: Side, frame: &[u8]) {
        let mut state = self.lock();
        let seen = decode(self.began.elapsed(), side, Fate::Forged, frame, &mut state.origins);
        state.seen.extend(seen);
        self.pass(&mut state, other(side), frame);
        drop(state);
        self.changed.notify_all();
    }
}

/// An IPv4 frame with the codepoint "congestion experienced" (RFC 3168 5).
fn marked(frame: &[u8]) -> Vec<u8> {
    // Untagged, so that the IP header begins at byte 14.
    let mut frame = frame.to_vec();
    let header = &mut frame[14..34];
    header[1] |= 0b11;
    header[10..12].fill(0);
    let sum: u32 = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame
}

const fn other(side: Side) -> Side {
    match side {
        Side::Ours => Side::Kernel,
        Side::Kernel => Side::Ours,
    }
}

/// A TCP segment; `None` for other frames. A frame of ours that can't be understood is an error of ours.
fn decode(at: Duration, side: Side, fate: Fate, frame: &[u8], origins: &mut Origins) -> Option<Seen> {
    let packet = match parse(frame, Checksums::VERIFY) {
        Ok(packet) => packet,
        Err(error) => {
            assert!(side == Side::Kernel, "the stack sent a frame that is not well-formed: {error:?}: {frame:?}");
            return None;
        }
    };
    let Body::Tcp(tcp) = packet.body else { return None };
    if fate != Fate::Forged || origins.is_new(tcp.src, tcp.dst) {
        origins.begin(tcp.src, tcp.dst, &tcp.segment);
    }
    let (seq, ack) = origins.relative(tcp.src, tcp.dst, &tcp.segment);
    let range = |range: &std::ops::Range<u16>| usize::from(range.start)..usize::from(range.end);
    Some(Seen {
        at,
        side,
        fate,
        src: tcp.src,
        dst: tcp.dst,
        ttl: tcp.ttl,
        tos: tcp.tos,
        segment: tcp.segment,
        seq,
        ack,
        kinds: kinds(&frame[range(&tcp.options)]),
        payload: range(&tcp.payload),
        frame: frame.to_vec(),
    })
}

/// The kinds of the options of a header, padding among them, in their order.
fn kinds(mut options: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(&kind) = options.first() {
        kinds.push(kind);
        let len = if kind < 2 { 1 } else { options.get(1).map_or(options.len(), |len| usize::from(*len).max(2)) };
        options = options.get(len..).unwrap_or_default();
    }
    kinds
}

/// A frame with the addresses of `like`, and `segment`.
fn frame(like: &Seen, segment: &Segment) -> Vec<u8> {
    let packet = parse(&like.frame, Checksums::TRUST).unwrap();
    let eth = EthernetHeader { dst: packet.dst_mac, src: packet.src_mac, vlan: None };
    let ip = IpHeader { src: like.src.addr, dst: like.dst.addr, ttl: 64, tos: 0, ident: 0, flow_label: 0 };
    let mut frame = vec![0; tcp_header_len(true, false, &segment.options)];
    let len = emit_tcp(&mut frame, &eth, &ip, (like.src.port, like.dst.port), segment);
    assert_eq!(len, frame.len());
    frame
}
