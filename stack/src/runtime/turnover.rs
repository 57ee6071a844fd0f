//! The main thread's part in taking over from another process, and in handing over to one.

use super::StopHandle;
use super::arrival::{Inherited, held};
use super::departure::{Departure, Hand};
use super::kernel::Reception;
use super::programs::Programs;
use super::supervisor::Supervised;
use crate::config::Config;
use crate::control::takeover::{Offer, Talk, Word};
use crate::control::{Command, Leave, Report};
use corelane_bpf::{Mode, Steering};
use corelane_proto::Instant;
use crossbeam::channel::Sender;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a CPU may be busy with a packet when it is told that nothing is held any more.
const PACKET: Duration = Duration::from_millis(5);

/// What there is of other processes on the interface.
pub(super) struct Turnover<'env> {
    pub(super) config: &'env Config,
    pub(super) stop: &'env StopHandle,
    reports: Sender<Report>,
    /// The ports that this process has reserved with the kernel, as a list.
    reserved: String,
    /// The process before this one, while it lives.
    inherited: Option<Inherited>,
    /// It has ended before this one was ready.
    ended_early: bool,
    /// The process after this one, from its first question on.
    departure: Option<Departure>,
    /// When the connections that are left are closed, after another process has taken over.
    until: Option<Instant>,
    /// Workers that have none any more. They may say so before [`Report::HandedOver`] comes.
    drained: Vec<usize>,
}

impl<'env> Turnover<'env> {
    pub(super) const fn new(
        config: &'env Config,
        stop: &'env StopHandle,
        reports: Sender<Report>,
        reserved: String,
        inherited: Option<Inherited>,
    ) -> Self {
        Self {
            config,
            stop,
            reports,
            reserved,
            inherited,
            ended_early: false,
            departure: None,
            until: None,
            drained: Vec::new(),
        }
    }

    /// The workers turn, and where they listen is in the program: what only the process before this one had goes out of
    /// it, and what was held until now goes to the workers.
    pub(super) fn settle(&mut self, steering: &Programs, reception: &Reception, workers: &[Supervised<'_>]) {
        let Some((inherited, steering)) = self.inherited.as_ref().zip(steering.only()) else { return };
        let ours = reception.ends();
        for (address, port) in inherited.ends.iter().filter(|end| !ours.contains(end)) {
            // What is not there need not go.
            let _ = match port {
                Some(port) => steering.remove_listener(*address, *port),
                None => steering.remove_own_address(*address),
            };
        }
        let released = steering.release_held().map_err(io::Error::other).and_then(|()| {
            deliver(steering, workers)?;
            // What a CPU was just about to hold.
            std::thread::sleep(PACKET);
            deliver(steering, workers)
        });
        if let Err(error) = released {
            tracing::warn!(%error, "packets that came while no queue was open are lost: they are sent again");
        }
        if self.ended_early {
            self.on_predecessor_gone(steering);
        }
    }

    /// A report that comes while the workers begin: only one of them may.
    pub(super) fn on_early_report(&mut self, report: &Report) {
        self.ended_early |= matches!(report, Report::PredecessorGone);
    }

    /// Another process wants to take over.
    pub(super) fn on_successor(
        &mut self,
        stream: UnixStream,
        steering: &Programs,
        reception: &Reception,
        workers: &[Supervised<'_>],
    ) {
        let begun = self.may_leave(steering, workers).and_then(|steering| {
            let begin = |stream| Departure::begin(stream, self.hand(steering, reception, workers)?);
            stream.try_clone().and_then(begin).map_err(|error| format!("it cannot ({error})"))
        });
        match begun {
            Ok(departure) => {
                tracing::info!("another process wants to take over");
                self.departure = Some(departure);
            }
            Err(sentence) => {
                tracing::warn!(sentence, "another process wanted to take over");
                // Who has gone need not know.
                let _ = Talk::new(stream).and_then(|mut talk| talk.say(&Word::Refused(sentence), &[]));
            }
        }
    }

    /// The program to hand over, or the sentence that says why not.
    fn may_leave<'a>(&self, steering: &'a Programs, workers: &[Supervised<'_>]) -> Result<&'a Steering, String> {
        let only = steering.only().ok_or("it serves several interfaces, and only one can go over: stop it first")?;
        if !workers.iter().all(Supervised::is_running) {
            return Err("a worker of it has ended: wait until the others have".into());
        }
        if !self.config.privileges().helper().is_empty() {
            return Err("a helper has its program (privileges.helper), which stays with it: stop it first".into());
        }
        if self.departure.is_some() {
            return Err("another process takes over already: wait until that one runs".into());
        }
        if self.inherited.is_some() {
            return Err(
                "the process before it has not ended yet: wait until its connections have, or its drain_ms is over"
                    .into(),
            );
        }
        Ok(only)
    }

    fn hand(&self, steering: &Steering, reception: &Reception, workers: &[Supervised<'_>]) -> io::Result<Hand> {
        let offer = Offer {
            ifindex: steering.ifindex(),
            shared: reception.is_shared(),
            native: steering.mode() == Mode::Native,
            ends: reception.ends().into_iter().collect(),
            reserved: self.reserved.clone(),
        };
        Ok(Hand {
            offer,
            link: steering.share_link()?,
            maps: steering.share_relay()?,
            flows: steering.relayed().map_err(io::Error::other)?,
            ring: steering.relay_ring().map_err(io::Error::other)?.clone(),
            workers: workers.iter().map(Supervised::orders).collect(),
            reports: self.reports.clone(),
            drop: self.config.privileges().drop(),
        })
    }

    /// One of the reports that are about other processes.
    pub(super) fn on_report(
        &mut self,
        report: Report,
        steering: &mut Programs,
        workers: &[Supervised<'_>],
        now: Instant,
    ) {
        // With several it has neither taken over nor handed over.
        let Some(steering) = steering.only_mut() else { return };
        match report {
            Report::HandedOver => self.on_handed_over(steering, workers, now),
            Report::NotHandedOver { sentence } => {
                tracing::warn!(sentence, "another process wanted to take over and did not: going on as before");
                if let Err(error) = steering.take_back() {
                    tracing::error!(%error, "the XDP program may be the other process's");
                }
                workers.iter().for_each(|worker| worker.tell(Command::Leave(Leave::Cancel)));
                if let Some(departure) = self.departure.take() {
                    departure.finish();
                }
            }
            Report::SuccessorGone if !self.stop.is_stopped() => {
                tracing::error!("the process that has taken over has ended, and the connections with it");
                self.stop.stop();
            }
            Report::Drained { worker } => {
                self.drained.push(worker);
                self.stop_when_drained(workers);
            }
            Report::PredecessorGone => self.on_predecessor_gone(steering),
            _ => {}
        }
    }

    fn on_predecessor_gone(&mut self, steering: &Steering) {
        if let Err(error) = steering.end_relay() {
            tracing::warn!(%error, "flows of the process before this one may be left in the XDP program");
        }
        if let Some(Inherited { watch, .. }) = self.inherited.take() {
            watch.finish();
            tracing::info!("the process before this one has ended");
        }
    }

    fn on_handed_over(&mut self, steering: &mut Steering, workers: &[Supervised<'_>], now: Instant) {
        steering.give_up_link();
        let drain = Duration::from_millis(self.config.control().drain_ms().into());
        tracing::info!(at_most_s = drain.as_secs_f64(), "handed over to another process: the open connections live on");
        self.until = Some(now + drain);
        self.stop_when_drained(workers);
    }

    fn stop_when_drained(&self, workers: &[Supervised<'_>]) {
        let is_left =
            |(number, worker): (usize, &Supervised<'_>)| worker.is_running() && !self.drained.contains(&number);
        if self.until.is_some() && !workers.iter().enumerate().any(is_left) {
            tracing::info!("the last connection has ended after handing over");
            self.stop.stop();
        }
    }

    /// Whether another process has taken over.
    pub(super) const fn has_handed_over(&self) -> bool {
        self.until.is_some()
    }

    /// When [`on_time`](Self::on_time) wants to be called.
    pub(super) const fn poll_deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Time has passed: it may be too late for the connections that are left.
    pub(super) fn on_time(&self, now: Instant) {
        if self.poll_deadline().is_some_and(|until| now >= until) && !self.stop.is_stopped() {
            tracing::warn!("connections are left, and control.drain_ms is over: closing them");
            self.stop.stop();
        }
    }

    /// Ends what is begun.
    pub(super) fn finish(self) {
        let Self {
            config: _,
            stop: _,
            reports,
            reserved: _,
            inherited,
            ended_early: _,
            departure,
            until: _,
            drained: _,
        } = self;
        drop(reports);
        if let Some(Inherited { watch, .. }) = inherited {
            watch.finish();
        }
        if let Some(departure) = departure {
            departure.finish();
        }
    }
}

/// Gives the workers what was held for them.
fn deliver(steering: &Steering, workers: &[Supervised<'_>]) -> io::Result<()> {
    for (worker, packets) in workers.iter().zip(held(steering, workers.len())?) {
        if !packets.is_empty() {
            worker.tell(Command::Held(packets));
        }
    }
    Ok(())
}
