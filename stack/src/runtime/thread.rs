//! One worker's thread: from the opening of its queue to its closing.

use super::machine::{Machine, endpoint_config};
use super::summary::WorkerSummary;
use super::{Pages, StopHandle, cores, pages, priority, privileges};
use crate::Error;
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::device::xdp::queue_config;
use crate::device::{AnyDevice, Device, Impaired, XdpDevice};
use crate::worker::{Idle, Pause, Siblings, Worker, WorkerConfig};
use corelane_bpf::MapError;
use corelane_xdp::QueueConfig;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// How long connections may take to close by themselves when the stack stops.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

/// How long resets and the last frames may take after that.
const FLUSH_WITHIN: Duration = Duration::from_millis(200);

/// What a worker tells the main thread.
pub(super) enum Report {
    /// The queue is open and the application has begun; the socket may get packets.
    Ready { worker: usize, socket: OwnedFd },
    /// The connections are closed; nothing more will be sent.
    Quiet { worker: usize },
    /// The thread ends, `well` or by an error or a panic.
    Ended { worker: usize, well: bool },
}

/// What the main thread tells a worker. A closed channel means to end at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Packets come.
    Go,
    /// The program is detached: close the queue.
    Close,
}

/// What all workers share, and only read.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) machine: &'a Machine,
    pub(super) stop: &'a StopHandle,
}

/// One worker's thread.
pub(super) struct Thread {
    pub(super) worker: usize,
    pub(super) core: usize,
    pub(super) queue: u32,
    pub(super) siblings: Siblings,
    pub(super) report: Sender<Report>,
    pub(super) orders: Receiver<Order>,
}

/// How long SYN cookies and the like are made with one secret. What was made with the one before is taken as well, so
/// this has to be longer than a handshake; the shorter, the less a secret that is guessed is worth.
const SECRET_FOR: Duration = Duration::from_secs(3600);

/// Says that the thread ends, also when it panics.
struct Farewell<'a> {
    worker: usize,
    report: &'a Sender<Report>,
    well: bool,
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        // Without a main thread there is nobody to tell.
        let _ = self.report.send(Report::Ended { worker: self.worker, well: self.well });
    }
}

impl Thread {
    /// Everything that the thread does.
    pub(super) fn run<A: App>(
        self,
        common: &Common<'_>,
        make_app: &impl Fn(usize) -> A,
    ) -> Result<WorkerSummary, Error> {
        let Self { worker, core, queue, siblings, report, orders } = self;
        let mut farewell = Farewell { worker, report: &report, well: false };
        if common.config.cores().pin() {
            cores::pin(core)?;
        }
        priority::apply(common.config.cores().priority())?;
        let (device, socket, pages) = open(common, queue)?;
        let clock = Clock::new();
        tracing::info!(worker, core, queue, mode = device.info().mode, %pages, "a queue is open");
        let app = make_app(worker);
        let mut running = Worker::new(app, device, worker_config(common), clock.now()).with_siblings(siblings);
        running.start(clock.now())?;
        privileges::drop_on_worker(common.config.privileges().drop())?;
        let tell = |report_now| report.send(report_now).is_ok();
        if tell(Report::Ready { worker, socket }) && orders.recv() == Ok(Order::Go) {
            turn_until_stopped(&mut running, &clock, common)?;
        }
        close_connections(&mut running, &clock)?;
        if tell(Report::Quiet { worker }) {
            // An error means that the main thread has gone, and the program with it.
            let _ = orders.recv();
        }
        running.discard_received(clock.now());
        farewell.well = true;
        Ok(WorkerSummary::of(&running, worker, core, queue, pages))
    }
}

/// Opens the queue, and behind the impairments that are configured, if any.
fn open(common: &Common<'_>, queue: u32) -> Result<(AnyDevice, OwnedFd, Pages), Error> {
    let config = common.config;
    let wanted = queue_config(config.interface(), config.memory(), queue);
    let bytes = u64::from(wanted.frame_count) * u64::from(wanted.frame_size);
    let (device, pages) = pages::open_with(config.memory().huge_pages(), bytes, |huge_pages| {
        XdpDevice::open(&QueueConfig { huge_pages, ..wanted.clone() }, |_, _| Ok::<_, MapError>(()))
    })?;
    // The main thread registers it, when every worker is ready.
    let socket =
        device.fd().try_clone_to_owned().map_err(|error| Error::System { what: "duplicating a socket", error })?;
    let device = AnyDevice::from(device);
    if !config.impair_rx().is_active() && !config.impair_tx().is_active() {
        return Ok((device, socket, pages));
    }
    // Each queue its own sequence of accidents.
    let seed = config.impair().seed().wrapping_add(queue.into());
    let impaired = Impaired::new(device, config.impair_rx().into(), config.impair_tx().into(), seed);
    Ok((impaired.into(), socket, pages))
}

fn worker_config(common: &Common<'_>) -> WorkerConfig {
    WorkerConfig {
        endpoint: endpoint_config(common.config, common.machine),
        tcp: common.config.tcp().to_proto(),
        events_per_turn: common.config.limits().events_per_turn() as usize,
        secret: new_secret(),
    }
}

/// From the operating system's source, through the crate's generator for secrets.
//= spec/rfc6528.txt#section-4
//# If random numbers are used as the sole source of the secret, they MUST be chosen in accordance with the
//# recommendations given in [RFC4086].
fn new_secret() -> [u8; 32] {
    rand::random()
}

/// The worker's life: one clock reading a turn.
fn turn_until_stopped<A: App, D: Device>(
    worker: &mut Worker<A, D>,
    clock: &Clock,
    common: &Common<'_>,
) -> Result<(), Error> {
    let mut idle = Idle::new(common.config.waiting());
    let mut new_secret_at = clock.now() + SECRET_FOR;
    while !common.stop.is_stopped() && !worker.wants_to_stop() {
        let now = clock.now();
        if now >= new_secret_at {
            worker.change_secret(new_secret());
            new_secret_at = now + SECRET_FOR;
        }
        let busy = worker.turn(now)?;
        match idle.after_turn(now, busy, worker.deadline()) {
            Pause::Turn if busy => {}
            Pause::Turn => std::hint::spin_loop(),
            Pause::Sleep(longest) => {
                if worker.wait(longest)? {
                    idle.woken();
                }
            }
        }
    }
    Ok(())
}

/// Closes every connection, resets those that take too long, and waits until all of it has been sent.
fn close_connections<A: App, D: Device>(worker: &mut Worker<A, D>, clock: &Clock) -> Result<(), Error> {
    let began = clock.now();
    worker.stop(began);
    let mut now = began;
    while !worker.is_done() && now < began + CLOSE_WITHIN {
        worker.turn(now)?;
        now = clock.now();
    }
    worker.abort();
    let flushing = now;
    // At least one turn: it sends the resets.
    loop {
        worker.turn(now)?;
        now = clock.now();
        if (worker.is_done() && worker.in_flight() == 0) || now >= flushing + FLUSH_WITHIN {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= spec/rfc6528.txt#section-4
    //= type=test
    //# If random numbers are used as the sole source of the secret, they MUST be chosen in accordance with the
    //# recommendations given in [RFC4086].
    #[test]
    fn each_secret_is_new_and_each_of_its_bits_is_open() {
        let secrets: Vec<[u8; 32]> = (0..1024).map(|_| new_secret()).collect();
        for bit in 0..256 {
            let ones = secrets.iter().filter(|secret| secret[bit / 8] >> (bit % 8) & 1 == 1).count();
            // 512 and six standard deviations of 16.
            assert!((416..=608).contains(&ones), "bit {bit} is set in {ones} of 1024");
        }
        let different: std::collections::BTreeSet<_> = secrets.iter().collect();
        assert_eq!(different.len(), 1024);
    }
}
