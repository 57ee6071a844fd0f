//! One transfer: a sender, the path, and the kernel's receiver, which reads and compares.

use super::emulator::{Emulator, EmulatorCounts};
use super::link::LinkConfig;
use super::watch::Watch;
use super::world::{RECEIVER, World};
use super::{kernel, ours};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::stop::Stop;
use crate::workload::pattern;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// The receiver's port.
pub(super) const PORT: u16 = 9;
/// The stream that both senders send.
pub(super) const SEED: u64 = 0x0c03_e1a9;
/// How long a transfer may take to begin.
const BEGIN_LIMIT_NS: u64 = 15_000_000_000;
/// How late the end of a transfer is seen at most.
const PACE: Duration = Duration::from_millis(2);

/// Whose TCP sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// The kernel's.
    Kernel,
    /// Ours.
    Corelane,
}

/// What a sender counted itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Retransmission time-outs.
    pub time_outs: u64,
    /// Reductions of the window that were taken back; `None` when it does not count them.
    pub undone: Option<u64>,
    /// Counters and readings under the sender's own names.
    pub own: BTreeMap<String, u64>,
}

/// How a sender ended.
pub(super) enum Ended {
    /// It has sent, with this algorithm.
    Counted(String, Counted),
    /// It does not have the algorithm: why, in a sentence.
    Unavailable(String),
}

/// A finished transfer.
#[derive(Clone, PartialEq, Debug)]
pub struct Transfer {
    /// The algorithm that the sender used.
    pub algorithm: String,
    /// Bytes that the receiver read in time, each compared.
    pub bytes: u64,
    /// From the first SYN to the end, nanoseconds.
    pub duration_ns: u64,
    /// What the wire saw of the sender's segments.
    pub watch: Watch,
    /// What the emulator counted.
    pub path: EmulatorCounts,
    /// Segments that reached the receiver and had nothing new.
    pub needless: u64,
    /// What the sender counted.
    pub counted: Counted,
}

/// The parts that all transfers share.
#[derive(Debug)]
pub struct Bench {
    world: World,
    emulator: Emulator,
    listener: TcpListener,
    clock: Clock,
}

impl Bench {
    /// Makes the namespaces, the emulator and the receiver.
    pub fn new() -> Result<Self, Failure> {
        let (world, clock) = (World::new()?, Clock::new());
        let emulator = Emulator::start(&world.path, &clock)?;
        let listener = world.receiver.inside(|| {
            TcpListener::bind((RECEIVER, PORT))
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .map_err(|error| Failure::Machine(format!("the receiver cannot listen: {error}")))
        })?;
        Ok(Self { world, emulator, listener, clock })
    }

    /// Lets `who` send for `duration` over a path of these two directions. The answer is why it does not have the
    /// algorithm, if so; `None` when told to stop.
    pub fn transfer(
        &self,
        who: Who,
        algorithm: &str,
        links: [LinkConfig; 2],
        duration: Duration,
        stop: &Stop,
    ) -> Result<Option<Result<Transfer, String>>, Failure> {
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.emulator.begin(links);
        // A connection that an earlier sender opened at its very end is nobody's.
        while self.listener.accept().is_ok() {}
        let needless = kernel::needless(&self.world)?;
        let done = AtomicBool::new(false);
        let (received, seen, ended) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                self.world.sender.enter()?;
                match who {
                    Who::Kernel => kernel::send(algorithm, &done),
                    Who::Corelane => ours::send(algorithm, &done),
                }
            });
            let received = self.receive(&sender, duration_ns, stop);
            let seen = (self.emulator.counts(), kernel::needless(&self.world));
            // The receiver's connection is still open: one that it reset would have broken before its end.
            done.store(true, Ordering::Relaxed);
            (received, seen, sender.join())
        });
        let ended = ended.map_err(|_| Failure::Threshold("a sender panicked".to_owned()))?;
        let (algorithm, counted) = match ended? {
            Ended::Unavailable(why) => return Ok(Some(Err(why))),
            Ended::Counted(algorithm, counted) => (algorithm, counted),
        };
        let Some((bytes, _)) = received? else { return Ok(None) };
        let ((watch, path), needless_after) = seen;
        let needless = needless_after?.saturating_sub(needless);
        Ok(Some(Ok(Transfer { algorithm, bytes, duration_ns, watch, path, needless, counted })))
    }

    /// Reads until the transfer's time is over: how much came, and the connection. `None` when told to stop or when the
    /// sender ended.
    fn receive<T>(
        &self,
        sender: &ScopedJoinHandle<'_, T>,
        duration_ns: u64,
        stop: &Stop,
    ) -> Result<Option<(u64, TcpStream)>, Failure> {
        let broken = |error: &std::io::Error| Failure::Threshold(format!("the receiver's connection broke: {error}"));
        let began = self.clock.now();
        let mut stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(&error)),
            }
            if stop.is_raised() || sender.is_finished() {
                return Ok(None);
            }
            if self.clock.now().saturating_sub(began) > BEGIN_LIMIT_NS {
                return Err(Failure::Threshold("no connection came over the path within 15 s".to_owned()));
            }
            std::thread::sleep(PACE);
        };
        stream.set_nonblocking(false).map_err(|error| broken(&error))?;
        stream.set_read_timeout(Some(PACE)).map_err(|error| broken(&error))?;
        let end = self.emulator.first_syn_ns().unwrap_or(began).saturating_add(duration_ns);
        // It ends with an RST, and takes nothing with it into the next transfer.
        let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        Ok(self.read(&mut stream, end, stop)?.map(|came| (came, stream)))
    }

    fn read(&self, stream: &mut TcpStream, end_ns: u64, stop: &Stop) -> Result<Option<u64>, Failure> {
        let (mut came, mut bytes) = (0, vec![0; 256 * 1024]);
        loop {
            let read = stream.read(&mut bytes);
            if stop.is_raised() {
                return Ok(None);
            }
            if self.clock.now() >= end_ns {
                return Ok(Some(came));
            }
            match read {
                Ok(0) => return Err(Failure::Threshold("the sender closed before the end".to_owned())),
                Ok(len) if pattern::matches(SEED, came, &bytes[..len]) => came += len as u64,
                Ok(len) => {
                    let what = format!("of bytes {came} to {} some are not what was sent", came + len as u64);
                    return Err(Failure::Threshold(what));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(Failure::Threshold(format!("the receiver's connection broke: {error}"))),
            }
        }
    }
}
