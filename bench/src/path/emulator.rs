//! The path itself: a thread between two interfaces that forwards frames as two [`Link`]s say.

use super::link::{Kind, Link, LinkConfig, LinkCounts};
use super::watch::{TcpFrame, Watch};
use super::world::{INNER, Space};
use crate::clock::Clock;
use crate::failure::Failure;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, bind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, recv, send, socket, sockopt};
use serde::Serialize;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A thread that sleeps wakes up later than it wanted to: the rest is spun.
const SPIN_NS: u64 = 80_000;
/// How long it sleeps at most, and so how late it sees that it has to stop.
const SLEEP_NS: u64 = 20_000_000;
/// Frames of one side that are taken before the other side has its turn.
const BATCH: usize = 16;
/// A frame that leaves later than this counts as late: the machine was busy, and the path longer than configured.
const LATE_NS: u64 = 500_000;
/// What may wait in a packet socket, bytes of the kernel's memory.
const SOCKET_BUFFER: usize = 32 << 20;
/// Every protocol, in the order of the network (`ETH_P_ALL`).
const EVERY_PROTOCOL: u16 = 0x0003_u16.to_be();

/// What the emulator counted since [`Emulator::begin`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct EmulatorCounts {
    /// From the sender to the receiver.
    pub data: LinkCounts,
    /// From the receiver to the sender.
    pub acks: LinkCounts,
    /// Frames that left more than half a millisecond after they were due, because the machine was busy.
    pub late: u64,
    /// The latest of all, nanoseconds.
    pub latest_ns: u64,
    /// Frames that the kernel did not take.
    pub refused: u64,
}

/// The running emulator.
#[derive(Debug)]
pub struct Emulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ends: [OwnedFd; 2],
    clock: Clock,
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// From the sender, from the receiver.
    links: [Link; 2],
    watch: Watch,
    late: u64,
    latest_ns: u64,
    refused: u64,
}

impl State {
    fn new(configs: [LinkConfig; 2]) -> Self {
        Self { links: configs.map(Link::new), watch: Watch::default(), late: 0, latest_ns: 0, refused: 0 }
    }
}

impl Emulator {
    /// Joins the two interfaces of `space`, for now without any impairment. `clock` is that of all times.
    pub fn start(space: &Space, clock: &Clock) -> Result<Self, Failure> {
        let open = |name: &str| {
            packet_socket(name)
                .map_err(|error| Failure::Machine(format!("a packet socket on {name}: {error}; it needs CAP_NET_RAW")))
        };
        let ends = space.inside(|| Ok([open(INNER[0])?, open(INNER[1])?]))?;
        let state = Mutex::new(State::new([LinkConfig::OPEN; 2]));
        let shared = Arc::new(Shared { ends, clock: clock.clone(), state, stop: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("path".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|error| Failure::Machine(format!("a thread cannot be started: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Forgets what is under way and what was counted, and behaves like `configs` from now on: from the sender to the
    /// receiver, and back.
    pub fn begin(&self, configs: [LinkConfig; 2]) {
        *self.shared.lock() = State::new(configs);
    }

    /// When the sender's first SYN passed, by the clock given to [`start`](Self::start).
    pub fn first_syn_ns(&self) -> Option<u64> {
        self.shared.lock().watch.first_syn_ns()
    }

    /// What was seen of the sender's segments, and what was counted.
    pub fn counts(&self) -> (Watch, EmulatorCounts) {
        let state = self.shared.lock();
        let State { links: [data, acks], watch, late, latest_ns, refused } = &*state;
        let counts = EmulatorCounts {
            data: data.counts(),
            acks: acks.counts(),
            late: *late,
            latest_ns: *latest_ns,
            refused: *refused,
        };
        (*watch, counts)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // A panic of the thread has been printed, and the transfers have missed its frames.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A socket on interface `name` of this thread's namespace.
fn packet_socket(name: &str) -> std::io::Result<OwnedFd> {
    let protocol = NonZeroU32::new(EVERY_PROTOCOL.into()).map(Protocol::from_raw);
    let fd = socket(AddressFamily::PACKET, SocketType::RAW, protocol)?;
    sockopt::set_socket_recv_buffer_size_force(&fd, SOCKET_BUFFER)?;
    sockopt::set_socket_send_buffer_size_force(&fd, SOCKET_BUFFER)?;
    let found = getifaddrs()?.filter(|interface| interface.interface_name == name);
    let address: Option<LinkAddr> = found.filter_map(|interface| interface.address?.as_link_addr().copied()).next();
    let address = address.ok_or_else(|| std::io::Error::other("the interface has no link address"))?;
    bind(fd.as_raw_fd(), &address)?;
    // What came in before the socket was bound may be of the other interface.
    while recv(&fd, &mut [0; 2048][..], RecvFlags::DONTWAIT).is_ok() {}
    Ok(fd)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Both only make the delay more exact; without them it is as exact as the machine lets it be, and late frames are
        // counted.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        let _ = Command::new("chrt").args(["--fifo", "--pid", "10", &thread]).stderr(Stdio::null()).status();
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Relaxed) {
            let (moved, next_due) = self.turn(&mut buffer);
            if !moved {
                self.wait(next_due);
            }
        }
    }

    /// Takes what came and sends what is due: whether there was anything, and when the next frame is due.
    fn turn(&self, buffer: &mut [u8]) -> (bool, Option<u64>) {
        let mut state = self.lock();
        let mut moved = false;
        for from in 0..2 {
            for _ in 0..BATCH {
                let Ok((_, len)) = recv(&self.ends[from], &mut *buffer, RecvFlags::DONTWAIT) else { break };
                self.take(&mut state, from, &buffer[..len.min(buffer.len())]);
                moved = true;
            }
            moved |= self.send_due(&mut state, from);
        }
        let next_due = state.links.iter().filter_map(Link::next_due_ns).min();
        (moved, next_due)
    }

    fn take(&self, state: &mut State, from: usize, frame: &[u8]) {
        let now = self.clock.now();
        let tcp = TcpFrame::parse(frame);
        if let (0, Some(segment)) = (from, &tcp) {
            state.watch.on_segment(now, segment);
        }
        // The question is how a sender copes with bad luck, and not whether the luck hits its opening or ARP: that costs
        // everybody the same second.
        let spared = tcp.is_none_or(|segment| segment.is_syn());
        state.links[from].on_frame(now, frame, if spared { Kind::Spared } else { Kind::Plain });
    }

    fn send_due(&self, state: &mut State, from: usize) -> bool {
        let mut sent = false;
        loop {
            let now = self.clock.now();
            let Some((due, frame)) = state.links[from].poll_frame(now) else { return sent };
            let late = now.saturating_sub(due);
            state.late += u64::from(late > LATE_NS);
            state.latest_ns = state.latest_ns.max(late);
            state.refused += u64::from(send(&self.ends[1 - from], &frame, SendFlags::DONTWAIT).is_err());
            state.links[from].recycle(frame);
            sent = true;
        }
    }

    /// Sleeps until a frame comes or shortly before one is due; close to that it does not sleep.
    fn wait(&self, next_due: Option<u64>) {
        let left = next_due.map_or(SLEEP_NS, |due| due.saturating_sub(self.clock.now()).min(SLEEP_NS));
        if left <= SPIN_NS {
            std::hint::spin_loop();
            return;
        }
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left - SPIN_NS).unwrap_or(0) };
        let mut ready = [0, 1].map(|end| PollFd::new(&self.ends[end], PollFlags::IN));
        // A signal that ends it early does no harm.
        let _ = poll(&mut ready, Some(&limit));
    }
}
