//! What one core knows of who owns which flow.

use super::Sites;
use corelane_bpf::{FlowHash, Table};
use corelane_proto::Flow;
use corelane_proto::endpoint::Ownership;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// One core's copy of the table of owners, and of the flows that stay elsewhere than the table says.
///
/// It is asked about flows that are in none of the core's own tables, so that what it says of the core's own
/// connections does not matter.
#[derive(Clone, Debug)]
pub(crate) struct View {
    core: u32,
    hash: FlowHash,
    table: Arc<Table>,
    /// Flows of buckets that have moved, and the cores that keep them until they end.
    pinned: HashMap<Flow, u32>,
    /// Where the table does not count, because not all listen there.
    sites: Arc<Sites>,
}

impl View {
    /// What `core` knows at the start.
    pub(crate) fn new(core: u32, hash: FlowHash, table: Arc<Table>) -> Self {
        Self { core, hash, table, pinned: HashMap::new(), sites: Arc::default() }
    }

    /// The core whose the flow is.
    pub(crate) fn owner(&self, flow: &Flow) -> u32 {
        if !self.pinned.is_empty()
            && let Some(core) = self.pinned.get(flow)
        {
            return *core;
        }
        let hash = self.hash_of(flow);
        self.sites.owner(flow, hash).unwrap_or_else(|| self.table.owner(hash))
    }

    fn hash_of(&self, flow: &Flow) -> u32 {
        self.hash.hash(flow.local.into(), flow.remote.into())
    }

    /// Goes by who listens where from now on; no flow is there yet.
    pub(crate) fn go_by(&mut self, sites: Arc<Sites>) {
        self.sites = sites;
    }

    /// Whether the flow is this core's because not all listen where it ends here, while the program, which knows nothing
    /// of that, gives its packets to another.
    pub(crate) fn is_detoured(&self, flow: &Flow) -> bool {
        let hash = self.hash_of(flow);
        self.sites.owner(flow, hash) == Some(self.core) && self.table.owner(hash) != self.core
    }

    /// Whether the flow is this core's.
    pub(crate) fn is_mine(&self, flow: &Flow) -> bool {
        self.owner(flow) == self.core
    }

    /// Goes by `table` from now on. Of `here` and `waiting`, the flows that this core has, those come back that are
    /// another's by the new table and were this core's by the old one: they have to be pinned.
    pub(crate) fn give_up(
        &mut self,
        table: Arc<Table>,
        here: impl Iterator<Item = Flow>,
        waiting: impl Iterator<Item = Flow>,
    ) -> (Vec<Flow>, Vec<Flow>) {
        let before = std::mem::replace(&mut self.table, table);
        let moves = |flow: &Flow| {
            let hash = self.hash_of(flow);
            let by_table = self.sites.owner(flow, hash).is_none();
            by_table && before.owner(hash) == self.core && self.table.owner(hash) != self.core
        };
        (here.filter(moves).collect(), waiting.filter(moves).collect())
    }

    /// Goes by `table` from now on, but for the flows that are pinned to another core.
    pub(crate) fn adopt(&mut self, table: Arc<Table>, pins: &[(Flow, u32)]) {
        self.table = table;
        pins.iter().for_each(|(flow, core)| self.pin(*flow, *core));
    }

    /// The flow is that core's from now on, whatever the table says.
    pub(crate) fn pin(&mut self, flow: Flow, core: u32) {
        if core == self.core {
            self.pinned.remove(&flow);
        } else {
            self.pinned.insert(flow, core);
        }
    }

    /// The core that a connection here should move to: the one that the table gives it to. None, if that is this one, or if
    /// the table does not count for the flow.
    pub(crate) fn heir(&self, flow: &Flow) -> Option<u32> {
        let hash = self.hash_of(flow);
        let by_table = self.sites.owner(flow, hash).is_none();
        by_table.then(|| self.table.owner(hash)).filter(|owner| *owner != self.core)
    }

    /// The flows are over, so that those with the same ends that follow go by the table.
    pub(crate) fn forget(&mut self, flows: &[Flow]) {
        for flow in flows {
            self.pinned.remove(flow);
        }
    }
}

/// The view of a core, for its worker and its endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Rc<RefCell<View>>);

impl Shared {
    pub(crate) fn new(view: View) -> Self {
        Self(Rc::new(RefCell::new(view)))
    }

    /// Calls `f` with the view, to ask or to change it.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut View) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

impl Ownership for Shared {
    fn is_ours(&self, flow: &Flow) -> bool {
        self.0.borrow().is_mine(flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_proto::{Addr, SocketAddr};

    fn flow(port: u16) -> Flow {
        let end = |last, port| SocketAddr::new(Addr::v4([10, 0, 0, last]), port);
        Flow { local: end(1, 80), remote: end(2, port) }
    }

    fn view(core: u32, table: &Table) -> View {
        View::new(core, FlowHash::new([7; 16]), Arc::new(table.clone()))
    }

    #[test]
    fn each_flow_is_one_cores() {
        let table = Table::even(3, 64).unwrap();
        let views = [0, 1, 2].map(|core| view(core, &table));
        let mut shares = [0; 3];
        for port in 1..=3000 {
            let owners: Vec<_> = views.iter().filter(|view| view.is_mine(&flow(port))).collect();
            assert_eq!(owners.len(), 1);
            shares[views[0].owner(&flow(port)) as usize] += 1;
        }
        // 1000 and six standard deviations.
        assert!(shares.iter().all(|share| (840..1160).contains(share)), "{shares:?}");
    }

    #[test]
    fn where_only_some_listen_they_have_the_flows_whatever_the_table_says() {
        let table = Table::even(3, 64).unwrap();
        let mut views = [0, 1, 2].map(|core| view(core, &table));
        let sites = Arc::new(Sites::new(&[Vec::new(), vec![flow(1).local], vec![flow(1).local]]));
        views.iter_mut().for_each(|view| view.go_by(Arc::clone(&sites)));
        let mut shares = [0; 3];
        let mut detours = 0;
        for port in 1..=3000 {
            let owner = views[0].owner(&flow(port)) as usize;
            assert!(views.iter().enumerate().all(|(core, view)| view.is_mine(&flow(port)) == (core == owner)));
            shares[owner] += 1;
            detours += views.iter().filter(|view| view.is_detoured(&flow(port))).count();
        }
        // 1500 and six standard deviations; two of three come to a core that is not their owner.
        assert!(shares[0] == 0 && (1335..1665).contains(&shares[1]), "{shares:?}");
        assert!((1845..2155).contains(&detours), "{detours}");
        // They do not move with the table, so that none has to be yielded.
        let mut after = table.clone();
        after.level(|core| core == 0).unwrap();
        let here: Vec<_> = (1..=3000).map(flow).filter(|flow| views[1].is_mine(flow)).collect();
        let (moved, waits) = views[1].give_up(Arc::new(after), here.iter().copied(), here.iter().copied());
        assert_eq!((moved, waits), (Vec::new(), Vec::new()));
        assert!(here.iter().all(|flow| views[1].is_mine(flow)));
    }

    #[test]
    fn what_moves_is_told_and_stays_with_whom_it_is_pinned_to() {
        let before = Table::even(2, 8).unwrap();
        let mut after = before.clone();
        after.level(|core| core == 1).unwrap();
        let (mut giver, mut taker, after) = (view(0, &before), view(1, &before), Arc::new(after));
        let here: Vec<_> = (1..100).map(flow).filter(|flow| giver.is_mine(flow)).collect();
        let elsewhere = (1..100).map(flow).find(|flow| taker.is_mine(flow)).unwrap();
        let (moved, waits) =
            giver.give_up(Arc::clone(&after), here.iter().copied().chain([elsewhere]), here[..2].iter().copied());
        assert_eq!((&moved, &waits[..]), (&here, &here[..2]), "what was another's before is not told");
        let pins: Vec<_> = moved.iter().map(|flow| (*flow, 0)).collect();
        taker.adopt(after, &pins);
        assert!(here.iter().all(|flow| taker.owner(flow) == 0 && giver.owner(flow) == 1));
        let new =
            (100..).map(flow).find(|flow| before.owner(giver.hash.hash(flow.local.into(), flow.remote.into())) == 0);
        assert!(taker.is_mine(&new.unwrap()) && !giver.is_mine(&new.unwrap()));
        assert!(here.iter().all(|flow| giver.heir(flow) == Some(1) && taker.heir(flow).is_none()));
        // One of them moves after all: who gave it up sends its packets on, and who took it keeps it.
        giver.pin(here[0], 1);
        taker.pin(here[0], 1);
        assert!(giver.owner(&here[0]) == 1 && taker.is_mine(&here[0]) && taker.owner(&here[1]) == 0);
        giver.forget(&here);
        assert!(giver.pinned.is_empty());
        taker.forget(&here);
        assert!(taker.pinned.is_empty() && here.iter().all(|flow| taker.is_mine(flow)));
    }
}
