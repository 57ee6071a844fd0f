//! The steering programs of a stack, one on each interface, which all know the same.
//!
//! Each interface has a program of its own with its own maps, so that a packet costs nothing that it would not cost with one
//! interface. The table of owners, flows, pins, listeners and own addresses are in all of them: a packet for any address of
//! ours is ours whichever way it comes (the weak host of RFC 1122 3.3.4.2).

use super::arrival::Predecessor;
use super::machine::{Machine, Nic};
use super::privileges;
use super::summary::{Named, named};
use crate::Error;
use crate::config::{self, Config, Mode};
use crate::helper::Helper;
use crate::steer::Beside;
use corelane_bpf::{
    AttachMode, FlowHash, FlowRegistry, Layout, MapError, Setup, SocketsPerQueue, Steering, Table, Vlan,
};
use corelane_xdp::PortSeed;
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of each ring for packets that are kept while one process takes over from another: room for a thousand full packets.
const KEPT_BYTES: u32 = 2 << 20;

/// One program for each interface, in their order; at least one.
pub(super) struct Programs {
    all: Vec<Steering>,
    table: Table,
}

impl Programs {
    /// Attaches one to each interface, or puts it in the place of that of the process before this one, which there is with
    /// one interface only; so it is with a helper, which then attaches it. When one cannot be attached, none is.
    pub(super) fn attach(
        config: &Config,
        machine: &Machine,
        besides: &[Beside],
        hash: &FlowHash,
        helper: Option<&Arc<Helper>>,
        mut predecessor: Option<Predecessor>,
    ) -> Result<(Self, Option<Predecessor>), Error> {
        let mut all = Vec::with_capacity(besides.len());
        for ((settings, nic), beside) in config.interfaces().zip(&machine.nics).zip(besides) {
            let setup = setup(config, settings, machine, nic, beside, hash.clone());
            let (ifindex, mode) = (nic.interface.index, attach_mode(settings));
            all.push(match (&mut predecessor, helper) {
                (None, Some(helper)) => helper.load(ifindex, mode, &setup)?,
                (None, None) => Steering::attach_with(ifindex, mode, &setup).map_err(privileges::explain)?,
                (Some(predecessor), _) => {
                    let native = mode == AttachMode::Native;
                    predecessor.take_over(ifindex, beside.identity().sharing, native, &setup)?
                }
            });
        }
        let table = all.first().map(Steering::table).ok_or(Error::NoInterface)?;
        Ok((Self { all, table }, predecessor))
    }

    /// The program of a stack on one interface: what can go from one process to another.
    pub(super) fn only(&self) -> Option<&Steering> {
        match self.all.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn only_mut(&mut self) -> Option<&mut Steering> {
        match self.all.as_mut_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Puts the sockets where the programs look for them.
    pub(super) fn register(&self, seeds: &[PortSeed]) -> Result<(), MapError> {
        for (core, seed) in (0..).zip(seeds) {
            for socket in seed.sockets() {
                if let Some((fd, program)) = socket.fd.zip(self.all.get(socket.interface)) {
                    program.register_socket(socket.queue, core, fd)?;
                }
            }
        }
        Ok(())
    }

    /// Who owned which bucket at the start.
    pub(super) fn table(&self) -> Table {
        self.table.clone()
    }

    /// Gives every program this table. After an error some have it and some have not.
    pub(super) fn set_table(&self, table: &Table) -> Result<(), MapError> {
        self.all.iter().try_for_each(|program| program.set_table(table).map(drop))
    }

    /// The way to the flows of all.
    pub(super) fn registry(&self) -> FlowRegistry {
        FlowRegistry::join(self.all.iter().map(Steering::registry))
    }

    pub(super) fn add_listener(&self, addr: IpAddr, port: u16) -> Result<(), MapError> {
        self.all.iter().try_for_each(|program| program.add_listener(addr, port))
    }

    pub(super) fn remove_listener(&self, addr: IpAddr, port: u16) {
        for program in &self.all {
            // What is not there need not go.
            let _ = program.remove_listener(addr, port);
        }
    }

    pub(super) fn add_own_address(&self, addr: IpAddr) -> Result<(), MapError> {
        self.all.iter().try_for_each(|program| program.add_own_address(addr))
    }

    /// Packets by what was done with them, on each interface.
    pub(super) fn counted(&self) -> Vec<Named> {
        let count = |program: &Steering| {
            let counters = program.counters();
            counters.map_or_else(|_| Named::new(), |all| named(all.iter().map(|(counter, n)| (counter.name(), n))))
        };
        self.all.iter().map(count).collect()
    }
}

/// What a program is told.
fn setup(
    config: &Config,
    settings: &config::Interface,
    machine: &Machine,
    nic: &Nic,
    beside: &Beside,
    hash: FlowHash,
) -> Setup {
    let queues = &nic.queues;
    let (first, last) = (queues.iter().copied().min().unwrap_or(0), queues.iter().copied().max().unwrap_or(0));
    let layout = Layout {
        base_queue: first,
        queues: last - first + 1,
        // Fewer than 2^32 workers.
        cores: machine.workers as u32,
        sockets_per_queue: match settings.sockets_per_queue() {
            config::SocketsPerQueue::All => SocketsPerQueue::All,
            config::SocketsPerQueue::One => SocketsPerQueue::One,
        },
    };
    let (buckets, max_pinned) = (config.steering().buckets(), config.steering().max_pinned());
    let vlan = beside.mirror().link().vlan.map_or(Vlan::Untagged, |vlan| Vlan::Id(vlan.id));
    // Without a control socket nobody takes over, nor from who has a helper, and nothing is kept.
    let is_kept = !config.control().socket().is_empty() && config.privileges().helper().is_empty();
    let kept_bytes = if is_kept { KEPT_BYTES } else { 1 << 12 };
    Setup { buckets, max_pinned, vlan, kept_bytes, ..Setup::new(layout, hash) }
}

/// How a program is attached for the configured mode.
pub(crate) const fn attach_mode(settings: &config::Interface) -> AttachMode {
    match settings.mode() {
        Mode::Skb => AttachMode::Generic,
        Mode::RequireZerocopy | Mode::PreferZerocopy | Mode::Copy => AttachMode::Native,
    }
}
