//! How the workers share the buckets, and how that changes while packets go on.
//!
//! A bucket moves in three steps, so that no connection is lost. Whoever gives it away takes the new table and tells which
//! of its flows that concerns; from then on it hands new ones over. Those flows are pinned to it, in the program and in the
//! views of all others. Only then the others and the program take the new table. In between a new connection may be handed
//! over twice, which costs it some microseconds.

use crate::control::{ControlError, Load};
use corelane_bpf::Table;
use corelane_proto::Flow;
use std::sync::Arc;

/// Workers whose load differs by less than this part of the busier one's are left as they are.
const TOLERANCE: u64 = 4;

/// The table in force, and a change of it that is under way.
#[derive(Debug)]
pub(crate) struct Shares {
    table: Arc<Table>,
    drained: Vec<bool>,
    change: Option<Change>,
}

/// A change that waits for those who give something away.
#[derive(Debug)]
struct Change {
    table: Arc<Table>,
    drained: Vec<bool>,
    /// Workers that have not told their flows yet.
    waiting: Vec<usize>,
    yielded: Yielded,
}

/// What concerns the flows of the buckets that move.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Yielded {
    /// Connections and half-open ones, and the workers that have them.
    pub(crate) flows: Vec<(Flow, u32)>,
    /// Those in TIME-WAIT. They are pinned as far as there is room: without it, a late segment gets an RST.
    pub(crate) waits: Vec<(Flow, u32)>,
}

/// A change that may come into force.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) table: Arc<Table>,
    pub(crate) yielded: Yielded,
    drained: Vec<bool>,
}

impl Shares {
    /// The shares of the start.
    pub(crate) fn new(table: Table) -> Self {
        let drained = vec![false; table.cores() as usize];
        Self { table: Arc::new(table), drained, change: None }
    }

    /// The table in force.
    pub(crate) const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Which workers were drained.
    pub(crate) fn drained(&self) -> &[bool] {
        &self.drained
    }

    /// Whether a change is under way.
    pub(crate) const fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Plans that `worker` gets no new connections, or its share of them again.
    pub(crate) fn plan(&self, worker: usize, drained: bool) -> Result<(Table, Vec<bool>), ControlError> {
        let mut after = self.drained.clone();
        let last = after.len() - 1;
        *after.get_mut(worker).ok_or(ControlError::NoWorker { worker, last })? = drained;
        let mut table = Table::clone(&self.table);
        table.level(|core| !after[core as usize]).map_err(|_| ControlError::LastWorker { worker })?;
        Ok((table, after))
    }

    /// Plans a move from the busiest to the idlest, by what each has done; none when they are about as busy.
    pub(crate) fn plan_by(&self, loads: &[Load]) -> Option<Table> {
        let takes_part = |(worker, load): (usize, &Load)| (!self.drained[worker]).then_some((load.frames, worker));
        let all = || loads.iter().enumerate().filter_map(takes_part);
        let ((most, busiest), (least, idlest)) = (all().max()?, all().min()?);
        if busiest == idlest || most - least <= most / TOLERANCE {
            return None;
        }
        let mut table = Table::clone(&self.table);
        let own: Vec<u32> = (0..table.len()).filter(|bucket| table.owner(*bucket) as usize == busiest).collect();
        // Half of the difference, and something stays.
        let count = (own.len() as u64 * (most - least) / (2 * most)).min(own.len() as u64 - 1);
        for bucket in own.into_iter().take(usize::try_from(count).unwrap_or(0)) {
            // Both are in range: they come from the table.
            table.set_owner(bucket, idlest as u32).ok()?;
        }
        (count > 0).then_some(table)
    }

    /// Begins a change, when none is under way; those who have to yield come back. None at all when nothing moves.
    pub(crate) fn begin(&mut self, table: Table, drained: Vec<bool>) -> (Arc<Table>, Vec<usize>) {
        debug_assert!(self.change.is_none(), "one change at a time");
        let mut givers: Vec<usize> = Vec::new();
        for (before, after) in self.table.owners().iter().zip(table.owners()) {
            if before != after && !givers.contains(&(*before as usize)) {
                givers.push(*before as usize);
            }
        }
        let table = Arc::new(table);
        let change =
            Change { table: Arc::clone(&table), drained, waiting: givers.clone(), yielded: Yielded::default() };
        self.change = Some(change);
        (table, givers)
    }

    /// `worker` tells what it yields, or has ended. The change comes back when it waits for nobody any more.
    pub(crate) fn on_yielded(&mut self, worker: usize, flows: Vec<Flow>, waits: Vec<Flow>) {
        let Some(change) = &mut self.change else { return };
        change.waiting.retain(|giver| *giver != worker);
        // Fewer than 2^32 cores.
        let of = |flow| (flow, worker as u32);
        change.yielded.flows.extend(flows.into_iter().map(of));
        change.yielded.waits.extend(waits.into_iter().map(of));
    }

    /// The change, once everybody has told.
    pub(crate) fn poll_ready(&mut self) -> Option<Ready> {
        let Change { table, drained, yielded, .. } = self.change.take_if(|change| change.waiting.is_empty())?;
        Some(Ready { table, yielded, drained })
    }

    /// It is in force.
    pub(crate) fn on_done(&mut self, ready: Ready) {
        (self.table, self.drained) = (ready.table, ready.drained);
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

    fn shares(cores: u32) -> Shares {
        Shares::new(Table::even(cores, 16).unwrap())
    }

    fn load(frames: u64) -> Load {
        Load { frames, ..Load::default() }
    }

    #[test]
    fn a_change_waits_for_all_who_give_and_keeps_what_they_tell() {
        let mut shares = shares(4);
        let (table, drained) = shares.plan(1, true).unwrap();
        let (_, givers) = shares.begin(table, drained);
        assert_eq!(givers, [1]);
        assert!(shares.poll_ready().is_none());
        shares.on_yielded(1, vec![flow(1)], vec![flow(2)]);
        let ready = shares.poll_ready().unwrap();
        assert_eq!((&ready.yielded.flows[..], &ready.yielded.waits[..]), (&[(flow(1), 1)][..], &[(flow(2), 1)][..]));
        assert!(!shares.drained()[1] && shares.table().shares()[1] == 4, "it is not in force before it is done");
        shares.on_done(ready);
        assert!(shares.drained()[1] && shares.table().shares()[1] == 0);
        let (table, drained) = shares.plan(1, false).unwrap();
        let (_, givers) = shares.begin(table, drained);
        assert_eq!(givers, [0, 2, 3], "each gives a part back");
    }

    #[test]
    fn a_worker_that_has_ended_is_not_waited_for() {
        let mut shares = shares(2);
        let (table, drained) = shares.plan(0, true).unwrap();
        shares.begin(table, drained);
        shares.on_yielded(0, Vec::new(), Vec::new());
        assert!(shares.poll_ready().is_some_and(|ready| ready.yielded == Yielded::default()));
    }

    #[test]
    fn nobody_may_be_left_over() {
        let shares = shares(1);
        assert_eq!(shares.plan(0, true).unwrap_err(), ControlError::LastWorker { worker: 0 });
        assert_eq!(shares.plan(1, true).unwrap_err(), ControlError::NoWorker { worker: 1, last: 0 });
    }

    #[test]
    fn the_busiest_gives_to_the_idlest_half_of_what_they_differ() {
        let shares = shares(2);
        let table = shares.plan_by(&[load(1000), load(500)]).unwrap();
        assert_eq!(table.shares(), [6, 10], "a quarter of 8 buckets");
        assert_eq!(shares.plan_by(&[load(1000), load(750)]), None);
        assert_eq!(shares.plan_by(&[load(0), load(0)]), None);
        assert_eq!(shares.plan_by(&[load(10), load(0)]).unwrap().shares(), [4, 12]);
    }

    #[test]
    fn who_is_drained_neither_gives_nor_takes() {
        let mut shares = shares(3);
        let (table, drained) = shares.plan(2, true).unwrap();
        shares.begin(table, drained);
        shares.on_yielded(2, Vec::new(), Vec::new());
        let ready = shares.poll_ready().unwrap();
        shares.on_done(ready);
        assert_eq!(shares.plan_by(&[load(100), load(99), load(0)]), None);
        assert_eq!(shares.plan_by(&[load(100), load(0), load(1000)]).unwrap().shares()[2], 0);
    }
}
