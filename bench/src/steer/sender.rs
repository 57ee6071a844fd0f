//! Sends as fast as it goes, through `AF_XDP`, on a core of its own. On veth the sender's core runs the receiver's program.

use super::link::{FLOWS, Link, SENDER_IF};
use crate::failure::Failure;
use corelane_xdp::{Port, QueueConfig};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Frames that are given to the kernel together.
const BURST: usize = 64;

/// How often a sender that does not send looks whether it shall.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The sending thread.
#[derive(Debug)]
pub(super) struct Sender {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), Failure>>,
}

#[derive(Debug, Default)]
struct Shared {
    sends: AtomicBool,
    ends: AtomicBool,
    sent: AtomicU64,
    cpu_ns: AtomicU64,
}

impl Sender {
    /// Opens the socket, and waits to be told to send.
    pub(super) fn start(link: &Link, core: usize) -> Result<Self, Failure> {
        let config = QueueConfig { fill_ring: 64, rx_ring: 64, receive_reserve: 64, ..QueueConfig::new(SENDER_IF, 0) };
        let shared = Arc::new(Shared::default());
        let templates: Vec<_> = (0..FLOWS).map(|number| link.frame(number)).collect();
        // The socket stays in the namespace that it was made in, wherever its thread is.
        let seeds = link.sender.inside(|| {
            corelane_xdp::open(&config, &[0], 1, corelane_xdp::SocketsPerQueue::One)
                .map_err(|error| Failure::Machine(error.to_string()))
        })?;
        let of_thread = Arc::clone(&shared);
        let work = move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            let seed = seeds.into_iter().next();
            let port = seed.ok_or_else(|| Failure::Machine("no socket to send through".to_owned()))?.into_port();
            shoot(port, &of_thread, &templates)
        };
        let thread = std::thread::Builder::new().name("sender".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Failure::Machine(format!("a thread cannot be started: {error}")))?;
        Ok(Self { shared, thread })
    }

    /// Has it send, or not.
    pub(super) fn send(&self, on: bool) {
        self.shared.sends.store(on, Ordering::Release);
    }

    /// How many frames it has sent, and the processor time of its thread, nanoseconds: on veth that is most of what the
    /// receiver's kernel and program cost too, and what other processes take does not count.
    pub(super) fn spent(&self) -> (u64, u64) {
        (self.shared.sent.load(Ordering::Relaxed), self.shared.cpu_ns.load(Ordering::Relaxed))
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<(), Failure> {
        self.shared.ends.store(true, Ordering::Release);
        self.thread.join().map_err(|_| Failure::Machine("the sender's thread panicked".to_owned()))?
    }
}

fn shoot<const N: usize>(mut port: Port, shared: &Shared, templates: &[[u8; N]]) -> Result<(), Failure> {
    let (mut to_send, mut sent, mut next) = (VecDeque::with_capacity(BURST), Vec::new(), 0);
    while !shared.ends.load(Ordering::Acquire) {
        if !shared.sends.load(Ordering::Acquire) {
            std::thread::sleep(LOOK_EVERY);
        }
        port.reclaim(&mut sent);
        shared.sent.fetch_add(sent.len() as u64, Ordering::Relaxed);
        sent.clear();
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        // Never negative.
        shared.cpu_ns.store((cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec) as u64, Ordering::Relaxed);
        while shared.sends.load(Ordering::Relaxed) && to_send.len() < BURST {
            let Some(mut frame) = port.pool().alloc() else { break };
            frame.buffer_mut()[..N].copy_from_slice(&templates[next]);
            frame.set_len(N);
            next = (next + 1) % templates.len();
            to_send.push_back(frame);
        }
        port.tx_burst(&mut to_send);
        port.kick().map_err(|error| Failure::Machine(format!("sending failed: {error}")))?;
    }
    Ok(())
}
