//! What the main thread does for the workers' life beside the kernel: where they listen, and what the kernel changes.

use super::privileges;
use super::programs::Programs;
use crate::Error;
use crate::config::Drop;
use crate::control::Report;
use crate::steer::mirror::{Asker, Change};
use crate::steer::{Beside, InterfaceId, ListenCheck, Sharing};
use corelane_bpf::MapError;
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
    /// By interface.
    links: Vec<Link>,
    /// Where somebody listens, and how many workers do.
    listeners: HashMap<SocketAddr, usize>,
    /// Everything is to be in the program from now on.
    open: bool,
}

/// What is listened at on one interface.
#[derive(Debug)]
struct Link {
    check: ListenCheck,
    addresses: Vec<Addr>,
}

impl Link {
    /// Whether the program needs to be told of listeners: it gives us everything for addresses of our own anyway.
    fn is_shared(&self) -> bool {
        self.check.sharing == Sharing::Shared
    }

    /// The addresses at which a listener is found.
    fn found_at(&self, local: SocketAddr) -> impl Iterator<Item = Addr> {
        let at = move |addr: &Addr| match local.addr.is_unspecified() {
            true => addr.is_v4() == local.addr.is_v4(),
            false => *addr == local.addr,
        };
        self.addresses.iter().copied().filter(at)
    }
}

impl Reception {
    pub(super) fn new(besides: &[Beside]) -> Self {
        let addresses = |beside: &Beside| beside.identity().addresses.iter().map(|cidr| cidr.addr).collect();
        let link = |beside| Link { check: Beside::listen_check(beside), addresses: addresses(beside) };
        Self { links: besides.iter().map(link).collect(), listeners: HashMap::new(), open: false }
    }

    /// From here on our packets come to the sockets.
    pub(super) fn open(&mut self, steering: &Programs) -> Result<(), MapError> {
        self.open = true;
        for link in self.links.iter().filter(|link| !link.is_shared()) {
            link.addresses.iter().try_for_each(|addr| steering.add_own_address(IpAddr::from(*addr)))?;
        }
        self.listeners.keys().try_for_each(|local| self.add(steering, *local))
    }

    /// A worker wants to listen.
    pub(super) fn listen(&mut self, steering: &Programs, local: SocketAddr) -> Result<(), Error> {
        if !self.listeners.contains_key(&local) {
            for link in self.links.iter().filter(|link| link.found_at(local).next().is_some()) {
                link.check.may_listen(local)?;
            }
            if self.open {
                self.add(steering, local)?;
            }
        }
        *self.listeners.entry(local).or_default() += 1;
        Ok(())
    }

    /// A worker listens there no more.
    pub(super) fn unlisten(&mut self, steering: &Programs, local: SocketAddr) {
        let Some(count) = self.listeners.get_mut(&local) else { return };
        *count -= 1;
        if *count == 0 {
            self.listeners.remove(&local);
            let all: Vec<_> = self.shared_at(local).collect();
            self.remove(steering, local.port, &all);
        }
    }

    /// The kernel has changed something on an interface.
    pub(super) fn on_change(&mut self, steering: &Programs, on: InterfaceId, change: &Change) -> Result<(), MapError> {
        let Some(link) = self.links.get_mut(usize::from(on.0)).filter(|link| link.is_shared()) else { return Ok(()) };
        match change {
            Change::AddressAdded(cidr) if !link.addresses.contains(&cidr.addr) => {
                link.addresses.push(cidr.addr);
                let everywhere = self.listeners.keys().filter(|local| local.addr.is_unspecified());
                everywhere.copied().try_for_each(|local| self.add(steering, local))
            }
            Change::AddressRemoved(addr) => {
                link.addresses.retain(|other| other != addr);
                if self.links.iter().any(|link| link.addresses.contains(addr)) {
                    // Another interface has it, and every program knows it.
                    return Ok(());
                }
                let at = |local: &&SocketAddr| match local.addr.is_unspecified() {
                    true => addr.is_v4() == local.addr.is_v4(),
                    false => local.addr == *addr,
                };
                for local in self.listeners.keys().filter(at) {
                    self.remove(steering, local.port, &[*addr]);
                }
                self.listeners.retain(|local, _| local.addr != *addr);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the kernel has the addresses of the first interface too.
    pub(super) fn is_shared(&self) -> bool {
        self.links.first().is_some_and(Link::is_shared)
    }

    /// What the programs know: own addresses, or with a port listeners.
    pub(super) fn ends(&self) -> HashSet<(IpAddr, Option<u16>)> {
        let own = self.links.iter().filter(|link| !link.is_shared()).flat_map(|link| &link.addresses);
        let of = |local: &SocketAddr| {
            let port = local.port;
            self.shared_at(*local).map(move |addr| (IpAddr::from(addr), Some(port)))
        };
        own.map(|addr| (IpAddr::from(*addr), None)).chain(self.listeners.keys().flat_map(of)).collect()
    }

    /// The addresses that are shared with the kernel and at which a listener is found.
    fn shared_at(&self, local: SocketAddr) -> impl Iterator<Item = Addr> {
        self.links.iter().filter(|link| link.is_shared()).flat_map(move |link| link.found_at(local))
    }

    fn add(&self, steering: &Programs, local: SocketAddr) -> Result<(), MapError> {
        self.shared_at(local).try_for_each(|addr| steering.add_listener(IpAddr::from(addr), local.port))
    }

    /// Takes the listener on `port` of these addresses out of the programs.
    fn remove(&self, steering: &Programs, port: u16, addresses: &[Addr]) {
        for addr in addresses.iter().filter(|_| self.open) {
            steering.remove_listener(IpAddr::from(*addr), port);
        }
    }
}

/// The thread that follows what the kernel has on one interface.
pub(super) struct Following<'scope> {
    handle: ScopedJoinHandle<'scope, Beside>,
    asker: Asker,
    over: Arc<AtomicBool>,
}

impl<'scope> Following<'scope> {
    /// Starts it; what it sees comes as [`Report::Kernel`].
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        on: InterfaceId,
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
                    && reports.send(Report::Kernel { on, changes: std::mem::take(&mut changes) }).is_err()
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
