//! Where only some of the cores listen, and which: connections to there are theirs, whatever the table of owners says.

use corelane_proto::{Addr, Flow, SocketAddr};
use std::collections::BTreeMap;

/// Who listens where, as it was when the stack began: what begins or ends later is the core's own affair.
///
/// Which of them has a flow depends on nothing but the flow, so that it does not change when shares move.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sites {
    /// The cores in their order; none, where all listen and the table decides.
    by_local: BTreeMap<SocketAddr, Vec<u32>>,
}

impl Sites {
    /// From what each core listens on, in the order of the cores.
    pub(crate) fn new(listens: &[Vec<SocketAddr>]) -> Self {
        let mut by_local: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
        for local in listens.iter().flatten() {
            let wildcard = any(*local);
            // A listener at the unspecified address takes what comes for any.
            let takes = |all: &Vec<SocketAddr>| all.iter().any(|one| one == local || *one == wildcard);
            // Fewer than 2^32 cores.
            let cores = (0_u32..).zip(listens).filter(|(_, all)| takes(all)).map(|(core, _)| core);
            by_local.entry(*local).or_insert_with(|| cores.collect());
        }
        for cores in by_local.values_mut().filter(|cores| cores.len() == listens.len()) {
            cores.clear();
        }
        if by_local.values().all(Vec::is_empty) {
            // The usual case: nobody has to look anything up.
            by_local.clear();
        }
        Self { by_local }
    }

    /// The core that has the flow, if only some listen at its local end; `hash` is the flow's.
    pub(crate) fn owner(&self, flow: &Flow, hash: u32) -> Option<u32> {
        if self.by_local.is_empty() {
            return None;
        }
        let cores = self.by_local.get(&flow.local).or_else(|| self.by_local.get(&any(flow.local)))?;
        // By the upper bits, since the lower ones say which bucket it is; less than the number of cores.
        let at = (u64::from(hash) * cores.len() as u64) >> 32;
        cores.get(at as usize).copied()
    }
}

/// Every address of the same family.
const fn any(local: SocketAddr) -> SocketAddr {
    let addr = if local.addr.is_v4() { Addr::v4([0; 4]) } else { Addr::v6([0; 16]) };
    SocketAddr::new(addr, local.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Addr = Addr::v4([10, 0, 0, 1]);
    const ANY: Addr = Addr::v4([0; 4]);

    fn owner(sites: &Sites, addr: Addr, port: u16, hash: u32) -> Option<u32> {
        let remote = SocketAddr::new(Addr::v4([10, 0, 0, 2]), 4000);
        sites.owner(&Flow { local: SocketAddr::new(addr, port), remote }, hash)
    }

    #[test]
    fn where_all_or_none_listen_the_table_decides() {
        let all = vec![vec![SocketAddr::new(OURS, 80)]; 3];
        assert_eq!(Sites::new(&all), Sites::default());
        assert_eq!(owner(&Sites::new(&[Vec::new(), Vec::new()]), OURS, 80, 0), None);
    }

    #[test]
    fn those_who_listen_have_equal_parts() {
        let local = SocketAddr::new(OURS, 80);
        let sites = Sites::new(&[Vec::new(), vec![local], vec![local]]);
        assert_eq!(owner(&sites, OURS, 80, 0), Some(1));
        assert_eq!(owner(&sites, OURS, 80, u32::MAX / 2), Some(1));
        assert_eq!(owner(&sites, OURS, 80, u32::MAX / 2 + 1), Some(2));
        assert_eq!(owner(&sites, OURS, 80, u32::MAX), Some(2));
        assert_eq!(owner(&sites, OURS, 81, 0), None, "nobody listens there");
        assert_eq!(owner(&sites, Addr::v6([1; 16]), 80, 0), None);
    }

    #[test]
    fn the_unspecified_address_stands_for_all() {
        let (exact, wildcard) = (SocketAddr::new(OURS, 80), SocketAddr::new(ANY, 80));
        let sites = Sites::new(&[vec![exact], vec![wildcard], Vec::new()]);
        assert_eq!((owner(&sites, OURS, 80, 0), owner(&sites, OURS, 80, u32::MAX)), (Some(0), Some(1)));
        assert_eq!(owner(&sites, Addr::v4([10, 0, 0, 9]), 80, 0), Some(1));
        // Where all listen in one way or the other, the table decides, but only there.
        let sites = Sites::new(&[vec![exact], vec![wildcard]]);
        assert_eq!(owner(&sites, OURS, 80, 0), None);
        assert_eq!(owner(&sites, Addr::v4([10, 0, 0, 9]), 80, 0), Some(1));
    }
}
