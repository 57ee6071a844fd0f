//! Another process takes over from this one: the conversation with it, on a thread of its own, and what follows.

use super::privileges;
use super::supervisor::Orders;
use crate::config;
use crate::control::takeover::{Offer, PATIENCE, Talk, Word};
use crate::control::{Command, Leave, LeaveMeans, Report, WAITING};
use corelane_bpf::{KeptRing, RelayFds, RelayedFlows};
use corelane_xdp::PacketSocket;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Packets that wait for one worker, at most; what comes then is lost, as on any network.
const PACKETS: usize = 4096;

/// The thread that reads the ring looks up at least so often.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What is handed over, and by whom.
pub(super) struct Hand {
    pub(super) offer: Offer,
    pub(super) link: OwnedFd,
    pub(super) maps: RelayFds,
    pub(super) flows: RelayedFlows,
    pub(super) ring: KeptRing,
    pub(super) workers: Vec<Orders>,
    pub(super) reports: Sender<Report>,
    pub(super) drop: config::Drop,
}

/// The thread that hands over.
#[derive(Debug)]
pub(super) struct Departure {
    thread: JoinHandle<()>,
    stream: UnixStream,
    over: Arc<AtomicBool>,
}

impl Departure {
    /// Begins to hand over to the process at the other end of `stream`. How it goes comes as [`Report::HandedOver`] or
    /// [`Report::NotHandedOver`], and after the former [`Report::SuccessorGone`].
    pub(super) fn begin(stream: UnixStream, hand: Hand) -> io::Result<Self> {
        let mut talk = Talk::new(stream)?;
        let (stream, over) = (talk.stream()?, Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let work = move || {
            let reports = hand.reports.clone();
            let gone = match privileges::drop_on_worker(hand.drop) {
                Ok(()) => hand.over(&mut talk, &is_over),
                Err(error) => Err(error.to_string()),
            };
            // Without a main thread the stack is about to end.
            let _ = match gone {
                Ok(relay) => {
                    let _ = reports.send(Report::HandedOver);
                    talk.outlast();
                    let told = reports.send(Report::SuccessorGone);
                    is_over.store(true, Ordering::Relaxed);
                    let _ = relay.join();
                    told
                }
                Err(sentence) => {
                    // Who has gone need not know.
                    let _ = talk.say(&Word::Refused(sentence.clone()), &[]);
                    reports.send(Report::NotHandedOver { sentence })
                }
            };
        };
        let thread = std::thread::Builder::new().name("hand-over".into()).spawn(work)?;
        Ok(Self { thread, stream, over })
    }

    /// Ends it, wherever it is.
    pub(super) fn finish(self) {
        self.over.store(true, Ordering::Relaxed);
        // It may be shut already.
        let _ = self.stream.shutdown(Shutdown::Both);
        // What it has to tell it has told.
        let _ = self.thread.join();
    }
}

impl Hand {
    /// Hands over; gives the thread that reads the ring. An error is a sentence.
    fn over(self, talk: &mut Talk, over: &Arc<AtomicBool>) -> Result<JoinHandle<()>, String> {
        let broken = |error: io::Error| format!("it broke off ({error})");
        let RelayFds { flows, ring } = &self.maps;
        talk.say(&Word::Offer(self.offer.clone()), &[self.link.as_fd(), flows.as_fd(), ring.as_fd()])
            .map_err(broken)?;
        let (word, mut fds) = talk.hear().map_err(broken)?;
        let socket = match (word, fds.pop()) {
            (Word::Prepared, Some(socket)) => PacketSocket::from(socket),
            (Word::Refused(sentence), _) => return Err(format!("it said: {}", sentence.escape_debug())),
            (word, _) => return Err(format!("it said {word:?} instead of being prepared")),
        };
        let (to_workers, packets): (Vec<_>, Vec<_>) = self.workers.iter().map(|_| bounded(PACKETS)).unzip();
        let stop = Stop(Some(Arc::clone(over)));
        let lost: Arc<[AtomicU64]> = self.workers.iter().map(|_| AtomicU64::new(0)).collect();
        let relay = self.relay(to_workers, Arc::clone(&lost), Arc::clone(over)).map_err(broken)?;
        let (answers, answered) = bounded(WAITING);
        let (flows, reports) = (self.flows.clone(), self.reports.clone());
        let means = Arc::new(LeaveMeans { flows, socket, answers, reports, lost });
        for (worker, (orders, packets)) in self.workers.iter().zip(packets).enumerate() {
            orders.send(Command::Leave(Leave::Register { worker, means: Arc::clone(&means), packets }));
        }
        self.hear_all(&answered, "register their flows")?;
        talk.say(&Word::Registered, &[]).map_err(broken)?;
        match talk.hear().map_err(broken)?.0 {
            Word::Switched => {}
            Word::Refused(sentence) => return Err(format!("it said: {}", sentence.escape_debug())),
            word => return Err(format!("it said {word:?} instead of having switched")),
        }
        self.order(&answered, &Leave::Divert, "let go of what they had sent")?;
        if talk.has_ended() {
            return Err("it has ended".into());
        }
        // From here on there is no way back: what goes wrong is told, and the other process sees it too.
        for (step, what) in [(Leave::CloseSockets, "close their sockets"), (Leave::FreeQueues, "free their queues")] {
            if let Err(error) = self.order(&answered, &step, what) {
                tracing::error!(error, "the queues may stay busy until this process has ended");
            }
        }
        // Who has gone is seen by what follows.
        let _ = talk.say(&Word::Released, &[]);
        stop.disarm();
        Ok(relay)
    }

    /// Has all workers take a step, and waits until they have.
    fn order(&self, answered: &Receiver<(usize, Result<(), String>)>, step: &Leave, what: &str) -> Result<(), String> {
        self.workers.iter().for_each(|orders| orders.send(Command::Leave(step.clone())));
        self.hear_all(answered, what)
    }

    fn hear_all(&self, answered: &Receiver<(usize, Result<(), String>)>, what: &str) -> Result<(), String> {
        for _ in &self.workers {
            let (worker, outcome) =
                answered.recv_timeout(PATIENCE).map_err(|_| format!("its workers did not {what} in time"))?;
            outcome.map_err(|error| format!("worker {worker} could not {what}: {error}"))?;
        }
        Ok(())
    }

    /// Gives the packets of the ring to their workers.
    fn relay(
        &self,
        workers: Vec<Sender<Box<[u8]>>>,
        lost: Arc<[AtomicU64]>,
        over: Arc<AtomicBool>,
    ) -> io::Result<JoinHandle<()>> {
        let ring = self.ring.clone();
        let wakers: Vec<_> = self.workers.iter().map(|orders| orders.waker.clone()).collect();
        let read = move || {
            let take = |worker: u32, packet: &[u8]| {
                let worker = worker as usize;
                if let (Some(sender), Some(waker)) = (workers.get(worker), wakers.get(worker)) {
                    if sender.try_send(packet.into()).is_err() {
                        // TCP sends it again.
                        lost[worker].fetch_add(1, Ordering::Relaxed);
                    }
                    waker.wake();
                }
            };
            if let Err(error) = ring.follow(LOOK_UP, take, || !over.load(Ordering::Relaxed)) {
                tracing::error!(%error, "the ring of a process that has taken over cannot be read");
            }
        };
        std::thread::Builder::new().name("relay".into()).spawn(read)
    }
}

/// Ends the reading of the ring when handing over fails.
struct Stop(Option<Arc<AtomicBool>>);

impl Stop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(over) = &self.0 {
            over.store(true, Ordering::Relaxed);
        }
    }
}
