//! Which of several endpoints a flow belongs to, when they share an address.
//!
//! Each core has an endpoint, and a function of the two ends says which core's a flow is. A packet of another's comes to
//! this one where the device could not choose, or while flows move: it is given back, unlooked at, for whoever runs the
//! endpoints to hand over. A flow that is in one of the tables here is ours whatever the function says.

use super::Endpoint;
use crate::addr::Flow;
use crate::memory::Buf;
use alloc::boxed::Box;
use core::fmt::Debug;

/// Most packets of others that wait to be handed over; more are dropped and counted. As many as a turn receives.
pub(super) const ASTRAY: usize = 64;

/// Says which flows are ours.
pub trait Ownership: Debug {
    /// Whether `flow` belongs to this endpoint. The same for all endpoints but for those between which it moves.
    fn is_ours(&self, flow: &Flow) -> bool;
}

/// A received frame that another endpoint has to get.
#[derive(Debug)]
#[must_use = "the frame is lost unless it is handed over or freed"]
pub struct Astray {
    /// The frame, from byte 0, unchanged.
    pub frame: Buf,
    /// The flow that it belongs to; of an ICMP error, the one that it quotes.
    pub flow: Flow,
}

impl Endpoint {
    /// Shares its addresses with other endpoints from now on: what is not ours comes out of
    /// [`poll_astray`](Self::poll_astray), and [`connect`](Self::connect) chooses ports that make a flow ours.
    pub fn set_ownership(&mut self, ownership: Box<dyn Ownership>) {
        self.ownership = Some(ownership);
    }

    /// The next frame that has come here and belongs to another endpoint. To be asked until there is none after each
    /// [`receive`](Self::receive).
    pub fn poll_astray(&mut self) -> Option<Astray> {
        self.astray.pop_front()
    }

    /// Whether something of `flow` is here: a connection, half a one, or one in TIME-WAIT.
    pub fn has_flow(&self, flow: &Flow) -> bool {
        self.conns.find(flow).is_some() || self.half_open.find(flow).is_some() || self.time_wait.find(flow).is_some()
    }

    /// Every connection's flow, and every half-open one's.
    pub fn flows(&self) -> impl Iterator<Item = Flow> + '_ {
        let open = self.conns.iter().map(|(_, flow, _)| *flow);
        let half_open = self.half_open.iter().map(|(half_open, _)| half_open.flow);
        open.chain(half_open)
    }

    /// The flow of every connection in TIME-WAIT.
    pub fn waiting_flows(&self) -> impl Iterator<Item = Flow> + '_ {
        self.time_wait.iter().map(|(flow, _)| flow)
    }

    /// Whether a flow that no table here has belongs to another endpoint.
    pub(super) fn is_elsewhere(&self, flow: &Flow) -> bool {
        self.ownership.as_ref().is_some_and(|ownership| !ownership.is_ours(flow)) && !self.has_flow(flow)
    }

    /// Puts a frame by for another endpoint; false when too many wait already.
    pub(super) fn put_by(&mut self, frame: Buf, flow: Flow) -> Result<(), Buf> {
        if self.astray.len() >= ASTRAY {
            self.counters.dropped_astray += 1;
            return Err(frame);
        }
        self.counters.astray += 1;
        self.astray.push_back(Astray { frame, flow });
        Ok(())
    }
}
