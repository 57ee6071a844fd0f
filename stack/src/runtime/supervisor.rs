//! The main thread while the workers run: it holds the program, and keeps the order of start and stop.

use super::StopHandle;
use super::summary::{Named, Summary, WorkerSummary, named};
use super::thread::{Order, Report};
use crate::Error;
use crate::clock::Clock;
use crate::config::Config;
use corelane_bpf::Steering;
use std::any::Any;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

type Outcome = Result<WorkerSummary, Error>;

/// One worker's thread, from outside.
struct Supervised<'scope> {
    queue: u32,
    order: Sender<Order>,
    handle: ScopedJoinHandle<'scope, Outcome>,
    socket: Option<OwnedFd>,
    ended: bool,
    quiet: bool,
}

/// Everything that the main thread keeps while the workers run.
pub(super) struct Supervisor<'scope, 'env> {
    config: &'env Config,
    stop: &'env StopHandle,
    steering: Steering,
    reports: Receiver<Report>,
    workers: Vec<Supervised<'scope>>,
    error: Option<Error>,
}

impl<'scope, 'env> Supervisor<'scope, 'env> {
    pub(super) fn new(
        config: &'env Config,
        stop: &'env StopHandle,
        steering: Steering,
        reports: Receiver<Report>,
    ) -> Self {
        Self { config, stop, steering, reports, workers: Vec::new(), error: None }
    }

    /// Takes over a thread that was just started, or was not.
    pub(super) fn add(
        &mut self,
        queue: u32,
        order: Sender<Order>,
        handle: io::Result<ScopedJoinHandle<'scope, Outcome>>,
    ) {
        match handle {
            Ok(handle) => {
                self.workers.push(Supervised { queue, order, handle, socket: None, ended: false, quiet: false });
            }
            Err(error) => self.fail(Error::System { what: "starting a thread", error }),
        }
    }

    /// Notes the first error and has every worker stop.
    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
        self.stop.stop();
    }

    /// Runs the workers from their start to their end.
    pub(super) fn run(mut self) -> Result<Summary, Error> {
        while self.workers.iter().any(|worker| !worker.ended && worker.socket.is_none()) {
            self.take_report();
        }
        if !self.stop.is_stopped()
            && let Err(error) = self.register()
        {
            self.fail(error.into());
        }
        let clock = Clock::new();
        self.order(Order::Go);
        while self.workers.iter().any(|worker| !worker.ended && !worker.quiet) {
            self.take_report();
        }
        self.finish(&clock)
    }

    fn take_report(&mut self) {
        // The channel closes only when every worker has ended, and each says so before.
        let Ok(report) = self.reports.recv() else {
            return self.workers.iter_mut().for_each(|worker| worker.ended = true);
        };
        match report {
            Report::Ready { worker, socket } => self.workers[worker].socket = Some(socket),
            Report::Quiet { worker } => self.workers[worker].quiet = true,
            Report::Ended { worker, well } => {
                self.workers[worker].ended = true;
                if !well {
                    self.stop.stop();
                }
            }
        }
    }

    /// From here on our packets come to the sockets.
    fn register(&mut self) -> Result<(), corelane_bpf::MapError> {
        for worker in &mut self.workers {
            // Only the map needs it; a duplicate that lived on would keep the socket open after its queue is closed.
            if let Some(socket) = worker.socket.take() {
                self.steering.register_socket(worker.queue, 0, socket.as_fd())?;
            }
        }
        for cidr in self.config.interface().address() {
            self.steering.add_own_address(IpAddr::from(cidr.addr()))?;
        }
        Ok(())
    }

    fn order(&self, order: Order) {
        for worker in &self.workers {
            // One that has ended cannot be told, and need not be.
            let _ = worker.order.send(order);
        }
    }

    fn finish(self, running: &Clock) -> Result<Summary, Error> {
        let counted = self.steering.counters().map(|counters| counters.iter().map(|(c, n)| (c.name(), n)).collect());
        let steering: Named = counted.map_or_else(|_| Named::new(), |all: Vec<_>| named(all));
        let duration_s = Duration::from_nanos(running.now().as_nanos()).as_secs_f64();
        self.order(Order::Close);
        let Self { config, workers, mut error, steering: program, .. } = self;
        let mut summaries = Vec::new();
        // The program goes before the sockets: from now on the kernel has every packet again.
        drop(program);
        for (number, Supervised { handle, order, .. }) in workers.into_iter().enumerate() {
            drop(order);
            match handle.join() {
                Ok(Ok(summary)) => summaries.push(summary),
                Ok(Err(failed)) => drop(error.get_or_insert(failed)),
                Err(panic) => drop(error.get_or_insert(Error::Panicked { worker: number, message: message(&*panic) })),
            }
        }
        let interface = config.interface().name().to_owned();
        error.map_or(Ok(Summary { interface, duration_s, workers: summaries, steering }), Err)
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message").to_owned()
}
