//! How many places of a table that several owners share each of them may take: half of the table is for whoever comes
//! first, the other half is kept for the owners in equal parts.
//!
//! An owner that comes when others have taken what would be kept for it gets its part as they give places back.

use alloc::collections::BTreeMap;

/// Who has how many places.
#[derive(Debug)]
pub(crate) struct Shares {
    taken: BTreeMap<u32, usize>,
    capacity: usize,
    /// What is kept for each owner.
    part: usize,
    /// Places that are kept and not taken.
    kept: usize,
}

impl Shares {
    /// Of `capacity` places, and nobody owns any.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { taken: BTreeMap::new(), capacity, part: 0, kept: 0 }
    }

    /// `owner` has its part from now on.
    pub(crate) fn add(&mut self, owner: u32) {
        self.taken.entry(owner).or_insert(0);
        self.share_out();
    }

    /// `owner` is gone. Places that it has taken are no longer counted.
    pub(crate) fn remove(&mut self, owner: u32) {
        self.taken.remove(&owner);
        self.share_out();
    }

    /// Whether `owner` may take a place when so many are `free`. One who has no part takes what is for everybody.
    pub(crate) fn may_take(&self, owner: u32, free: usize) -> bool {
        let is_kept = self.taken.get(&owner).is_some_and(|taken| *taken < self.part);
        free > if is_kept { 0 } else { self.kept }
    }

    /// `owner` has taken a place.
    pub(crate) fn on_taken(&mut self, owner: u32) {
        let Some(taken) = self.taken.get_mut(&owner) else { return };
        self.kept -= usize::from(*taken < self.part);
        *taken += 1;
    }

    /// `owner` has given a place back.
    pub(crate) fn on_given_back(&mut self, owner: u32) {
        let Some(taken) = self.taken.get_mut(&owner) else { return };
        *taken = taken.saturating_sub(1);
        self.kept += usize::from(*taken < self.part);
    }

    fn share_out(&mut self) {
        let owners = self.taken.len();
        // More owners than places: nothing is kept.
        self.part = match (self.capacity / 2).checked_div(owners) {
            None => 0,
            Some(0) => usize::from(owners <= self.capacity),
            Some(part) => part,
        };
        self.kept = self.taken.values().map(|taken| self.part.saturating_sub(*taken)).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn each_has_its_part_and_one_alone_has_all() {
        let mut shares = Shares::new(8);
        assert!(shares.may_take(7, 1), "nothing is kept");
        shares.add(1);
        assert!(!shares.may_take(7, 4) && shares.may_take(1, 1));
        shares.add(2);
        (0..2).for_each(|_| shares.on_taken(1));
        assert!(!shares.may_take(1, 2) && shares.may_take(1, 3) && shares.may_take(2, 1));
        shares.remove(2);
        assert!(shares.may_take(1, 1) && !shares.may_take(7, 2), "four are for it alone, and it has two of them");
    }

    #[test]
    fn what_is_kept_is_for_others_too_when_there_are_more_of_them_than_places() {
        let mut shares = Shares::new(2);
        (0..2).for_each(|owner| shares.add(owner));
        assert!(!shares.may_take(9, 2));
        shares.add(2);
        assert!(shares.may_take(9, 1));
    }

    proptest! {
        /// Owners that are there from the beginning always get their part, and no place stays empty for nobody.
        #[test]
        fn nobody_loses_its_part(owners in 1u32..6, capacity in 1usize..40, steps in prop::collection::vec((0u32..6, any::<bool>()), 0..300)) {
            let mut shares = Shares::new(capacity);
            (0..owners).for_each(|owner| shares.add(owner));
            let part = shares.part;
            let mut taken = Vec::from([0usize; 6]);
            for (owner, takes) in steps {
                let free = capacity - taken.iter().sum::<usize>();
                let place = &mut taken[owner as usize];
                if takes {
                    prop_assert!(owner >= owners || *place >= part || shares.may_take(owner, free));
                    if shares.may_take(owner, free) {
                        *place += 1;
                        shares.on_taken(owner);
                    }
                } else if *place > 0 {
                    *place -= 1;
                    shares.on_given_back(owner);
                }
                let unused: usize = taken[..owners as usize].iter().map(|taken| part.saturating_sub(*taken)).sum();
                prop_assert_eq!(shares.kept, unused);
                prop_assert!(taken.iter().sum::<usize>() + unused <= capacity);
            }
        }
    }
}
