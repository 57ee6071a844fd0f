//! A worker's end of what it has with the main thread and the other workers: orders, and whose flows are whose.

use crate::control::{Command, Held, Leave, Load, Report, Watched};
use crate::steer::Shared;
use corelane_bpf::FlowRegistry;
use corelane_proto::{Endpoint, Flow};
use crossbeam::channel::{Receiver, Sender};
use std::sync::Arc;

/// Yielded flows that are looked at in a turn, whether they are over.
const LOOKED_AT: usize = 4;

/// Flows that are over and told of together.
const TOLD_TOGETHER: usize = 64;

/// What came of the orders of a turn.
#[derive(Debug, Default)]
pub(super) struct Obeyed {
    /// There was one: the worker has not been idle.
    pub(super) any: bool,
    /// The kernel has changed something.
    pub(super) kernel: bool,
    /// A new key of cookies.
    pub(super) secret: Option<[u8; 32]>,
    /// A step of leaving the interface; each waits for the answer to the one before.
    pub(super) leave: Option<Leave>,
    /// What came before the sockets did.
    pub(super) held: Option<Held>,
    /// Move the connections, or do it no more.
    pub(super) moving: Option<bool>,
}

/// One worker among others.
#[derive(Debug)]
pub(crate) struct Post {
    worker: usize,
    /// The longest IP packet that the frames hold, bytes.
    largest_mtus: Arc<[u16]>,
    view: Shared,
    orders: Receiver<Command>,
    reports: Sender<Report>,
    /// Flows here that belong to others by the table, until they are over.
    yielded: Watched,
    over: Vec<Flow>,
    /// The way to the program's pins.
    registry: Option<FlowRegistry>,
    /// What was counted when it was asked last.
    measured: Load,
}

impl Post {
    /// The end of `worker`, which goes by `view`.
    pub(crate) fn new(
        worker: usize,
        largest_mtus: Arc<[u16]>,
        view: Shared,
        orders: Receiver<Command>,
        reports: Sender<Report>,
    ) -> Self {
        let (yielded, over) = (Watched::default(), Vec::with_capacity(TOLD_TOGETHER));
        Self { worker, largest_mtus, view, orders, reports, yielded, over, registry: None, measured: Load::default() }
    }

    /// Lets the worker pin flows that come to it by way of another.
    #[must_use]
    pub(crate) fn with_registry(mut self, registry: FlowRegistry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// A connection was opened to a listener here. Where its packets would come by way of another worker, the program is
    /// told that they are this one's.
    pub(super) fn on_accepted(&mut self, flow: Flow) {
        let Some(registry) = &self.registry else { return };
        if self.view.with(|view| view.is_detoured(&flow))
            // Without room for it, its packets go on being handed over.
            && u32::try_from(self.worker)
                .is_ok_and(|worker| registry.pin(flow.local.into(), flow.remote.into(), worker).is_ok())
        {
            self.yielded.insert(flow);
        }
    }

    /// The flow goes to another worker; whether it had stayed here against the table.
    pub(super) fn release(&mut self, flow: &Flow) -> bool {
        self.yielded.release(flow)
    }

    /// The flow stays here against the table.
    pub(super) fn keep(&mut self, flow: Flow) {
        self.yielded.insert(flow);
    }

    /// The view of who owns what.
    pub(super) const fn view(&self) -> &Shared {
        &self.view
    }

    /// Does what the main thread has asked for. `load` is what was counted until now.
    pub(super) fn obey(&mut self, endpoint: &mut Endpoint, load: Load) -> Obeyed {
        let mut obeyed = Obeyed::default();
        while let Ok(order) = self.orders.try_recv() {
            obeyed.any = true;
            match order {
                // The thread waits for these two where it is their time.
                Command::Go(_) | Command::Close => {}
                Command::Secret(secret) => obeyed.secret = Some(secret),
                Command::Leave(step) => obeyed.leave = Some(step),
                Command::Held(held) => obeyed.held = Some(held),
                Command::Yield(table) => {
                    let (flows, waits) =
                        self.view.with(|view| view.give_up(table, endpoint.flows(), endpoint.waiting_flows()));
                    flows.iter().chain(&waits).for_each(|flow| self.yielded.insert(*flow));
                    self.report(Report::Yielded { worker: self.worker, flows, waits });
                }
                Command::Adopt(table, pins) => self.view.with(|view| view.adopt(table, &pins)),
                Command::Forget(flows) => self.view.with(|view| view.forget(&flows)),
                Command::Keep(flows, core) => {
                    self.view.with(|view| flows.iter().for_each(|flow| view.pin(*flow, core)));
                    if usize::try_from(core).is_ok_and(|core| core == self.worker) {
                        flows.iter().filter(|flow| endpoint.has_flow(flow)).for_each(|flow| self.yielded.insert(*flow));
                    }
                }
                Command::Move(on) => obeyed.moving = Some(on),
                Command::Kernel(on, changes) => {
                    let largest_mtu = self.largest_mtus.get(usize::from(on.0)).copied().unwrap_or(u16::MAX);
                    for change in changes.iter() {
                        // The main thread knows which listeners have gone with their address.
                        change.apply_on(on, endpoint, largest_mtu);
                    }
                    obeyed.kernel = true;
                }
                Command::Measure => {
                    let flows = endpoint.connections() + endpoint.half_opens() + endpoint.time_waits();
                    let since = Load { flows: flows + load.flows, ..load - self.measured };
                    self.measured = load;
                    self.report(Report::Measured { worker: self.worker, load: since });
                }
            }
        }
        self.look_for_what_is_over(endpoint);
        obeyed
    }

    /// Looks at some of the flows that were yielded.
    fn look_for_what_is_over(&mut self, endpoint: &Endpoint) {
        let Self { yielded, over, .. } = self;
        yielded.look(LOOKED_AT, |flow| endpoint.has_flow(flow), |flow| over.push(flow));
        if self.over.len() >= TOLD_TOGETHER || (self.yielded.is_empty() && !self.over.is_empty()) {
            let flows = std::mem::replace(&mut self.over, Vec::with_capacity(TOLD_TOGETHER));
            self.report(Report::Over { flows });
        }
    }

    /// Reports unless the main thread has too much to do; says whether it has been told, or never will be.
    pub(super) fn try_report(&self, report: Report) -> bool {
        !self.reports.try_send(report).is_err_and(|error| error.is_full())
    }

    fn report(&self, report: Report) {
        // Without a main thread the stack is about to end.
        let _ = self.reports.send(report);
    }
}

impl std::ops::Sub for Load {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            busy_turns: self.busy_turns - before.busy_turns,
            frames: self.frames - before.frames,
            moved_out: self.moved_out - before.moved_out,
            moved_in: self.moved_in - before.moved_in,
            ..self
        }
    }
}
