//! Leaving the interface to another process and keeping the connections: they get their packets from a ring that the other
//! process's program fills, and send through a socket of the kernel.

use super::Worker;
use crate::Error;
use crate::app::App;
use crate::control::{Held, Leave, LeaveMeans, Report};
use crate::device::Device;
use corelane_bpf::MapError;
use corelane_proto::wire::{Body, Checksums, parse};
use corelane_proto::{Endpoint, Flow, Instant};
use crossbeam::channel::Receiver;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Packets that are taken from the ring in a turn, at most.
const BATCH: usize = 64;

/// Flows that are looked at in a turn, whether they are over.
const LOOKED_AT: usize = 8;

/// How long nothing has to come by the sockets before they are closed: longer than the kernel takes over packets that it
/// had redirected before the program changed.
const STILL_FOR: Duration = Duration::from_millis(5);

/// How far it has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Each flow is registered before it sends.
    Registered,
    /// What is sent goes through the socket. Until the last frame that the device had has come back, and nothing has come
    /// since then, which is told.
    Diverting { still_since: Instant, told: bool },
    /// The sockets are closed.
    Closed,
    /// Until the last connection has ended, which is told.
    Draining { told: bool },
}

/// A worker that leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    worker: usize,
    means: Arc<LeaveMeans>,
    packets: Receiver<Box<[u8]>>,
    step: Step,
    /// The flows that are registered; in `turns` they are looked at in turn.
    known: HashSet<Flow>,
    turns: VecDeque<Flow>,
}

impl Leaving {
    pub(super) fn register(&mut self, flow: Flow) -> Result<(), MapError> {
        if self.known.contains(&flow) {
            return Ok(());
        }
        // Fewer than 2^32 workers.
        self.means.flows.insert(flow.local.into(), flow.remote.into(), self.worker as u32)?;
        self.known.insert(flow);
        self.turns.push_back(flow);
        Ok(())
    }

    fn forget(&mut self, flow: &Flow) {
        self.known.remove(flow);
        // What is not there need not go.
        let _ = self.means.flows.remove(flow.local.into(), flow.remote.into());
    }

    fn forget_all(&mut self) {
        while let Some(flow) = self.turns.pop_front() {
            self.forget(&flow);
        }
    }

    fn look_for_what_is_over(&mut self, endpoint: &Endpoint) {
        for _ in 0..LOOKED_AT.min(self.turns.len()) {
            let Some(flow) = self.turns.pop_front() else { return };
            if endpoint.has_flow(&flow) {
                self.turns.push_back(flow);
            } else {
                self.forget(&flow);
            }
        }
    }

    fn answer(&self, outcome: Result<(), String>) {
        // Who asked may have given up.
        let _ = self.means.answers.try_send((self.worker, outcome));
    }

    /// Whether the worker has to turn without waiting for a packet.
    pub(super) const fn is_hurried(&self) -> bool {
        matches!(self.step, Step::Diverting { told: false, .. })
    }

    /// Whether the device takes nothing to send any more.
    pub(super) const fn is_diverted(&self) -> bool {
        !matches!(self.step, Step::Registered)
    }
}

/// The flow of a frame that is sent from here.
fn flow_of(frame: &[u8]) -> Option<Flow> {
    match parse(frame, Checksums::TRUST).ok()?.body {
        Body::Tcp(tcp) => Some(Flow { local: tcp.src, remote: tcp.dst }),
        _ => None,
    }
}

impl<A: App, D: Device> Worker<A, D> {
    /// Takes a step of leaving; the answer follows when it is done.
    pub(super) fn leave(&mut self, step: Leave, now: Instant) {
        if let Leave::Register { worker, means, packets } = step {
            let mut leaving = Leaving {
                worker,
                means,
                packets,
                step: Step::Registered,
                known: HashSet::new(),
                turns: VecDeque::new(),
            };
            let endpoint = &self.net.endpoint;
            let all = endpoint.flows().chain(endpoint.waiting_flows());
            let done = all.map(|flow| leaving.register(flow)).find_map(Result::err);
            if done.is_some() {
                leaving.forget_all();
            }
            leaving.answer(done.map_or(Ok(()), |error| Err(error.to_string())));
            self.leaving = Some(Box::new(leaving));
            return;
        }
        let Some(leaving) = &mut self.leaving else { return };
        match step {
            Leave::Register { .. } => {}
            Leave::Divert => leaving.step = Step::Diverting { still_since: now, told: false },
            Leave::CloseSockets => {
                self.device.close_sockets();
                leaving.step = Step::Closed;
                leaving.answer(Ok(()));
            }
            Leave::FreeQueues => {
                let freed = self.device.free_queues().map_err(|error| error.to_string());
                leaving.step = Step::Draining { told: false };
                leaving.answer(freed);
            }
            Leave::Cancel => {
                leaving.forget_all();
                self.leaving = None;
            }
        }
    }

    /// Gives what was kept in a ring to the protocol; says how much that was. `direct` is what has come by the device.
    pub(super) fn take_relayed(&mut self, now: Instant, direct: usize) -> usize {
        let Some(mut leaving) = self.leaving.take() else { return 0 };
        if let Step::Diverting { still_since, told: false } = &mut leaving.step {
            if direct > 0 || self.net.store.posted() > 0 {
                *still_since = now;
            } else if now >= *still_since + STILL_FOR {
                leaving.step = Step::Diverting { still_since: now, told: true };
                leaving.answer(Ok(()));
            }
        }
        let mut taken = 0;
        while taken < BATCH
            && let Ok(packet) = leaving.packets.try_recv()
        {
            taken += 1;
            self.inject(&packet, now);
        }
        self.counters.relayed_in += taken as u64;
        if let Some(lost) = leaving.means.lost.get(leaving.worker) {
            // Nothing else is published by it.
            self.counters.dropped_relay += lost.swap(0, Ordering::Relaxed);
        }
        self.leaving = Some(leaving);
        taken
    }

    /// Gives the protocol a packet that came by no ring of the device.
    fn inject(&mut self, packet: &[u8], now: Instant) {
        let (frame, fits) = (self.net.store.pool().alloc(), packet.len() <= self.net.store.pool().frame_len());
        let Some(mut frame) = frame.filter(|_| fits) else {
            self.counters.dropped_relay += 1;
            return;
        };
        frame.buffer_mut()[..packet.len()].copy_from_slice(packet);
        frame.set_len(packet.len());
        self.received.push(frame);
        self.take_received(now);
    }

    /// What came before the sockets did.
    pub(super) fn take_held(&mut self, held: &Held, now: Instant) {
        for packet in held.iter() {
            self.inject(packet, now);
        }
        self.counters.relayed_in += held.len() as u64;
    }

    /// Registers the flows of what is about to be sent, and sends it through the socket if it is time to; says how much
    /// that was.
    pub(super) fn send_leaving(&mut self) -> Result<usize, Error> {
        let Some(leaving) = &mut self.leaving else { return Ok(0) };
        for frame in &self.to_send {
            if let Some(flow) = flow_of(frame.bytes()).filter(|flow| self.net.endpoint.has_flow(flow))
                && leaving.register(flow).is_err()
            {
                // Its packets will go to the other process, which resets it.
                self.counters.dropped_relay += 1;
            }
        }
        if !leaving.is_diverted() {
            return Ok(0);
        }
        let mut sent = 0;
        while let Some(frame) = self.to_send.front() {
            match leaving.means.socket.send(frame.bytes()) {
                Ok(true) => {}
                // The rest waits for the next turn.
                Ok(false) => break,
                // As any network may lose it.
                Err(_) => self.counters.dropped_relay += 1,
            }
            sent += 1;
            if let Some(frame) = self.to_send.pop_front() {
                self.net.store.completed(frame);
            }
        }
        self.counters.relayed_out += sent as u64;
        Ok(sent)
    }

    /// Once a turn: lets go of what is over, and tells when all is.
    pub(super) fn look_whether_left(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        let endpoint = &self.net.endpoint;
        leaving.look_for_what_is_over(endpoint);
        let empty = self.states.len() == 0
            && endpoint.connections() == 0
            && endpoint.half_opens() == 0
            && self.to_send.is_empty()
            && !self.mover.as_ref().is_some_and(|mover| mover.is_awaiting());
        if let Step::Draining { told } = &mut leaving.step
            && empty
            && !std::mem::replace(told, true)
        {
            // Those in TIME-WAIT: whoever connects from there again is for the other process.
            leaving.forget_all();
            // Without a main thread the stack is about to end.
            let _ = leaving.means.reports.send(Report::Drained { worker: leaving.worker });
        }
    }
}
