//! A worker's way to what is known of it outside: where it listens, which flows are its own, which neighbours it needs.

use super::{Report, Watched};
use crate::Error;
use crate::steer::mirror::Asker;
use corelane_bpf::{FlowRegistry, MapError};
use corelane_proto::endpoint::InterfaceId;
use corelane_proto::{Endpoint, Flow, SocketAddr};
use crossbeam::channel::{Sender, bounded};
use std::io;
use std::time::Duration;

/// How long the main thread may take to answer: it asks the kernel, and never waits for a worker meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Registered flows that are looked at in a turn, and for each new one, whether they are over.
const LOOKED_AT: usize = 2;

/// Registers what a worker has with the steering program, where addresses are shared with the kernel; where they are the
/// stack's own, everything to them comes anyway.
///
/// Listening asks the main thread, and registering a flow is a system call: neither is on the path of a packet.
#[derive(Debug)]
pub(crate) struct Registrar {
    flows: FlowRegistry,
    reports: Sender<Report>,
    /// Who is asked for neighbours, for each interface that shares its addresses with the kernel.
    askers: Vec<(InterfaceId, Asker)>,
    /// The flows that were registered, until they are over.
    registered: Watched,
}

impl Registrar {
    /// `askers` are those of the interfaces that share their addresses with the kernel.
    pub(crate) fn new(flows: FlowRegistry, reports: Sender<Report>, askers: Vec<(InterfaceId, Asker)>) -> Self {
        Self { flows, reports, askers, registered: Watched::default() }
    }

    /// The worker is going to listen on `local`.
    ///
    /// # Errors
    /// A socket of the kernel has it, or the program takes no more.
    pub(crate) fn listen(&self, local: SocketAddr) -> Result<(), Error> {
        let silent = |_| Error::System {
            what: "asking the main thread to listen",
            error: io::Error::from(io::ErrorKind::TimedOut),
        };
        let (answer, answered) = bounded(1);
        self.reports.send(Report::Listen { local, answer }).map_err(|_| silent(()))?;
        answered.recv_timeout(PATIENCE).map_err(|_| silent(()))?
    }

    /// The worker listens there no more. What is open of it stays the stack's.
    pub(crate) fn unlisten(&mut self, local: SocketAddr, endpoint: &Endpoint) {
        if !self.askers.is_empty() {
            let at = |flow: &Flow| {
                flow.local.port == local.port && (local.addr.is_unspecified() || flow.local.addr == local.addr)
            };
            for flow in endpoint.flows().chain(endpoint.waiting_flows()).filter(at) {
                // Without room the kernel gets what comes for it, and resets it; there is nothing else to be done.
                let _ = self.keep(flow);
            }
        }
        // Without a main thread the stack is about to end.
        let _ = self.reports.send(Report::Unlisten { local });
    }

    /// Has the packets of a connection that the worker opens come to it.
    ///
    /// # Errors
    /// The program takes no more.
    pub(crate) fn connect(&mut self, flow: Flow, endpoint: &Endpoint) -> Result<(), MapError> {
        if self.askers.is_empty() {
            return Ok(());
        }
        self.keep(flow)?;
        self.look_for_what_is_over(endpoint);
        Ok(())
    }

    fn keep(&mut self, flow: Flow) -> Result<(), MapError> {
        self.flows.insert(flow.local.into(), flow.remote.into())?;
        self.registered.insert(flow);
        Ok(())
    }

    /// Once a turn: asks for the neighbours that the endpoint needs, and gives back flows that are over.
    pub(crate) fn on_turn(&mut self, endpoint: &mut Endpoint) {
        if self.askers.is_empty() {
            return;
        }
        for (on, asker) in &self.askers {
            while let Some(addr) = endpoint.on(*on).poll_unresolved() {
                // With too many before it, it comes again.
                asker.ask(addr);
            }
        }
        self.look_for_what_is_over(endpoint);
    }

    fn look_for_what_is_over(&mut self, endpoint: &Endpoint) {
        let Self { registered, flows, .. } = self;
        registered.look(
            LOOKED_AT,
            |flow| endpoint.has_flow(flow),
            |flow| {
                // What is not there need not go.
                let _ = flows.remove(flow.local.into(), flow.remote.into());
            },
        );
    }

    /// The flow goes to another worker, and stays registered; whether it was.
    pub(crate) fn release(&mut self, flow: &Flow) -> bool {
        self.registered.release(flow)
    }

    /// The flow, which is registered, has come from another worker.
    pub(crate) fn adopt(&mut self, flow: Flow) {
        self.registered.insert(flow);
    }
}
