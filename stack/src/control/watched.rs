//! Flows that are watched until they are over.

use corelane_proto::Flow;
use std::collections::{HashSet, VecDeque};

/// Flows that are looked at in turn, whether they are over; any can be let go before.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    all: HashSet<Flow>,
    /// Those that were let go and whose turn has not come since.
    let_go: HashSet<Flow>,
    /// Each of both sets once.
    turns: VecDeque<Flow>,
}

impl Watched {
    /// Watches the flow, if it is not watched already.
    pub(crate) fn insert(&mut self, flow: Flow) {
        if self.all.insert(flow) && !self.let_go.remove(&flow) {
            self.turns.push_back(flow);
        }
    }

    /// Lets the flow go without a word; whether it was watched.
    pub(crate) fn release(&mut self, flow: &Flow) -> bool {
        self.all.remove(flow) && self.let_go.insert(*flow)
    }

    /// Whether none is watched.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Looks at up to `count` flows; gives those that are not `alive` any more, which are watched no longer.
    pub(crate) fn look(&mut self, count: usize, alive: impl Fn(&Flow) -> bool, mut over: impl FnMut(Flow)) {
        for _ in 0..count.min(self.turns.len()) {
            let Some(flow) = self.turns.pop_front() else { return };
            if self.let_go.remove(&flow) {
                continue;
            }
            if alive(&flow) {
                self.turns.push_back(flow);
            } else {
                self.all.remove(&flow);
                over(flow);
            }
        }
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

    #[test]
    fn one_that_comes_and_goes_takes_no_more_room_than_another() {
        let mut watched = Watched::default();
        for _ in 0..1000 {
            watched.insert(flow(1));
            assert!(watched.release(&flow(1)) && watched.is_empty());
            watched.insert(flow(1));
            watched.look(1, |_| true, |flow| panic!("{flow:?} is not over"));
        }
        assert_eq!(watched.turns.len(), 1);
    }

    #[test]
    fn what_is_over_is_told_once_and_what_was_let_go_never() {
        let mut watched = Watched::default();
        for port in [1, 2, 3, 3] {
            watched.insert(flow(port));
        }
        assert!(watched.release(&flow(2)) && !watched.release(&flow(2)));
        let mut over = Vec::new();
        watched.look(10, |flow| flow.remote.port == 1, |flow| over.push(flow));
        assert_eq!(over, [flow(3)]);
        // One that comes back after it was let go is watched again.
        assert!(watched.release(&flow(1)));
        watched.insert(flow(1));
        watched.look(10, |_| false, |flow| over.push(flow));
        assert_eq!(over, [flow(3), flow(1)]);
        assert!(watched.is_empty() && watched.turns.is_empty());
    }
}
