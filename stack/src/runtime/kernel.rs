//! What the main thread does for the workers' life beside the kernel: where they listen, and what the kernel changes.

use super::privileges;
use crate::Error;
use crate::config::Drop;
use crate::control::Report;
use crate::steer::mirror::{Asker, Change};
use crate::steer::{Beside, ListenCheck, Sharing};
use corelane_bpf::{MapError, Steering};
use corelane_proto::{Addr, SocketAddr};
use crossbeam::channel::Sender;
use rustix::thread::CapabilitySet;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// The mirror's thread looks up at least so often.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Where the workers listen, and what the program knows of it.
#[derive(Debug)]
pub(super) struct Reception {
    check: ListenCheck,
    addresses: Vec<Addr>,
    /// Where somebody listens, and how many workers do.
    listeners: HashMap<SocketAddr, usize>,
    /// Everything is to be in the program from now on.
    open: bool,
}

impl Reception {
    pub(super) fn new(beside: &Beside) -> Self {
        let addresses = beside.identity().addresses.iter().map(|cidr| cidr.addr).collect();
        Self { check: beside.listen_check(), addresses, listeners: HashMap::new(), open: false }
    }

    /// From here on our packets come to the sockets.
    pub(super) fn open(&mut self, steering: &Steering) -> Result<(), MapError> {
        self.open = true;
        if self.check.sharing == Sharing::Own {
            return self.addresses.iter().try_for_each(|addr| steering.add_own_address(IpAddr::from(*addr)));
        }
        self.listeners.keys().try_for_each(|local| self.add(steering, *local))
    }

    /// A worker wants to listen.
    pub(super) fn listen(&mut self, steering: &Steering, local: SocketAddr) -> Result<(), Error> {
        if !self.listeners.contains_key(&local) {
            self.check.may_listen(local)?;
            if self.open {
                self.add(steering, local)?;
            }
        }
        *self.listeners.entry(local).or_default() += 1;
        Ok(())
    }

    /// A worker listens there no more.
    pub(super) fn unlisten(&mut self, steering: &Steering, local: SocketAddr) {
        let Some(count) = self.listeners.get_mut(&local) else { return };
        *count -= 1;
        if *count == 0 {
            self.listeners.remove(&local);
            self.remove(steering, local, None);
        }
    }

    /// The kernel has changed something.
    pub(super) fn on_change(&mut self, steering: &Steering, change: &Change) -> Result<(), MapError> {
        if self.check.sharing == Sharing::Own {
            return Ok(());
        }
        match change {
            Change::AddressAdded(cidr) if !self.addresses.contains(&cidr.addr) => {
                self.addresses.push(cidr.addr);
                let everywhere = self.listeners.keys().filter(|local| local.addr.is_unspecified());
                everywhere.copied().try_for_each(|local| self.add(steering, local))
            }
            Change::AddressRemoved(addr) => {
                for local in self.listeners.keys() {
                    self.remove(steering, *local, Some(*addr));
                }
                self.addresses.retain(|other| other != addr);
                self.listeners.retain(|local, _| local.addr != *addr);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the kernel has the addresses too.
    pub(super) fn is_shared(&self) -> bool {
        self.check.sharing == Sharing::Shared
    }

    /// What the program knows: own addresses, or with a port listeners.
    pub(super) fn ends(&self) -> HashSet<(IpAddr, Option<u16>)> {
        if self.check.sharing == Sharing::Own {
            return self.addresses.iter().map(|addr| (IpAddr::from(*addr), None)).collect();
        }
        let of = |local: &SocketAddr| {
            let port = local.port;
            self.found_at(*local).map(move |addr| (addr, Some(port)))
        };
        self.listeners.keys().flat_map(of).collect()
    }

    /// The addresses at which a listener is found.
    fn found_at(&self, local: SocketAddr) -> impl Iterator<Item = IpAddr> {
        let at = move |addr: &Addr| match local.addr.is_unspecified() {
            true => addr.is_v4() == local.addr.is_v4(),
            false => *addr == local.addr,
        };
        self.addresses.iter().copied().filter(at).map(IpAddr::from)
    }

    fn add(&self, steering: &Steering, local: SocketAddr) -> Result<(), MapError> {
        if self.check.sharing == Sharing::Own {
            return Ok(());
        }
        self.found_at(local).try_for_each(|addr| steering.add_listener(addr, local.port))
    }

    /// Takes a listener out of the program, at one address or at all.
    fn remove(&self, steering: &Steering, local: SocketAddr, only: Option<Addr>) {
        if self.check.sharing == Sharing::Own || !self.open {
            return;
        }
        for addr in self.found_at(local).filter(|addr| only.is_none_or(|only| IpAddr::from(only) == *addr)) {
            // What is not there need not go.
            let _ = steering.remove_listener(addr, local.port);
        }
    }
}

/// The thread that follows the kernel.
pub(super) struct Following<'scope> {
    handle: ScopedJoinHandle<'scope, Beside>,
    asker: Asker,
    over: Arc<AtomicBool>,
}

impl<'scope> Following<'scope> {
    /// Starts it; what it sees comes as [`Report::Kernel`].
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        mut beside: Beside,
        reports: Sender<Report>,
        drop: Drop,
    ) -> Result<Self, Error> {
        let (asker, over) = (beside.mirror().asker(), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let follow = move || {
            // To have a neighbour resolved takes a capability; with addresses of our own nobody asks for one.
            let shared = beside.identity().sharing == Sharing::Shared;
            let keep = if shared { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() };
            if let Err(error) = privileges::drop_on_main(drop, keep) {
                tracing::warn!(%error, "the thread that follows the kernel keeps its capabilities");
            }
            let mut changes = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                if let Err(error) = beside.mirror_mut().poll(LOOK_UP, &mut changes) {
                    tracing::warn!(%error, "the kernel's addresses, routes and neighbours cannot be read");
                    std::thread::sleep(LOOK_UP);
                }
                changes.retain(|change| beside.concerns(change));
                if !changes.is_empty()
                    && reports.send(Report::Kernel { changes: std::mem::take(&mut changes) }).is_err()
                {
                    break;
                }
            }
            beside
        };
        let builder = std::thread::Builder::new().name("kernel-mirror".into());
        let started = builder.spawn_scoped(scope, follow);
        let handle = started.map_err(|error| Error::System { what: "starting a thread", error })?;
        Ok(Self { handle, asker, over })
    }

    /// Ends it, and sets free what was reserved, unless another process has taken over: then it is that one's.
    pub(super) fn finish(self, handed_over: bool) {
        self.over.store(true, Ordering::Relaxed);
        self.asker.wake();
        // It does not panic; if it does, what it had reserved is free with it.
        match self.handle.join() {
            Ok(beside) if handed_over => beside.leave_reserved(),
            Ok(beside) => {
                if let Err(error) = beside.finish() {
                    tracing::warn!(%error, "reserved ports stay reserved");
                }
            }
            Err(_) => {}
        }
    }
}
