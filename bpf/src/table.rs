//! Which core owns which bucket of flows.

use crate::shared::MAX_BUCKETS;

/// The owners of all buckets: a flow belongs to `table[hash & (len - 1)]`.
///
/// The XDP program has the same table ([`Steering::set_table`](crate::Steering::set_table)). Cores are numbered from 0;
/// a core may own no bucket, as one does that is being drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    owners: Box<[u32]>,
    cores: u32,
}

/// Why there cannot be such a table, or such a change of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The program takes the low bits of a hash.
    #[error("a table of {len} buckets cannot be: their number must be a power of two, at most {MAX_BUCKETS}")]
    Length {
        /// How many were asked for.
        len: u32,
    },
    /// There must be a core, and a bucket for each.
    #[error("{len} buckets cannot be shared by {cores} cores: there must be 1 core or more, and a bucket for each")]
    Cores {
        /// How many cores were asked for.
        cores: u32,
        /// How many buckets.
        len: u32,
    },
    /// No such core.
    #[error("there is no core {core}: the table is for {cores} cores, numbered from 0")]
    Core {
        /// The core that was named.
        core: u32,
        /// How many there are.
        cores: u32,
    },
    /// No such bucket.
    #[error("there is no bucket {bucket}: the table has {len}, numbered from 0")]
    Bucket {
        /// The bucket that was named.
        bucket: u32,
        /// How many there are.
        len: u32,
    },
    /// A bucket needs an owner.
    #[error("at least one core must go on to own buckets")]
    Nobody,
}

impl Table {
    /// `len` buckets shared evenly by all of `cores`, in turn: the shares differ by one bucket at most.
    ///
    /// # Errors
    /// Unless `len` is a power of two up to [`MAX_BUCKETS`], and at least `cores`, which is not 0.
    pub fn even(cores: u32, len: u32) -> Result<Self, TableError> {
        if !len.is_power_of_two() || len > MAX_BUCKETS {
            return Err(TableError::Length { len });
        }
        if cores == 0 || cores > len {
            return Err(TableError::Cores { cores, len });
        }
        Ok(Self { owners: (0..len).map(|bucket| bucket % cores).collect(), cores })
    }

    /// The core that owns the flow with this [`FlowHash::hash`](crate::FlowHash::hash).
    pub fn owner(&self, hash: u32) -> u32 {
        self.owners[self.bucket(hash) as usize]
    }

    /// The bucket that the flow with this hash belongs to.
    pub fn bucket(&self, hash: u32) -> u32 {
        hash & (self.len() - 1)
    }

    /// How many buckets there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always a bucket")]
    pub fn len(&self) -> u32 {
        // At most MAX_BUCKETS.
        self.owners.len() as u32
    }

    /// How many cores the table is for, with and without buckets.
    pub fn cores(&self) -> u32 {
        self.cores
    }

    /// The owner of each bucket.
    pub fn owners(&self) -> &[u32] {
        &self.owners
    }

    pub(crate) fn owners_mut(&mut self) -> &mut [u32] {
        &mut self.owners
    }

    /// How many buckets each core owns.
    pub fn shares(&self) -> Vec<u32> {
        let mut shares = vec![0; self.cores as usize];
        for owner in &self.owners {
            shares[*owner as usize] += 1;
        }
        shares
    }

    /// Gives `bucket` to `core`.
    ///
    /// # Errors
    /// There is no such bucket, or no such core.
    pub fn set_owner(&mut self, bucket: u32, core: u32) -> Result<(), TableError> {
        let (len, cores) = (self.len(), self.cores);
        if core >= cores {
            return Err(TableError::Core { core, cores });
        }
        let owner = self.owners.get_mut(bucket as usize).ok_or(TableError::Bucket { bucket, len })?;
        *owner = core;
        Ok(())
    }

    /// Shares the buckets evenly among the cores for which `takes_part` holds, moving as few as that takes, and says
    /// how many moved. It drains the others, and gives a core that is new its share.
    ///
    /// # Errors
    /// No core takes part.
    pub fn level(&mut self, takes_part: impl Fn(u32) -> bool) -> Result<u32, TableError> {
        let mut room: Vec<u32> = vec![0; self.cores as usize];
        let members: Vec<u32> = (0..self.cores).filter(|core| takes_part(*core)).collect();
        if members.is_empty() {
            return Err(TableError::Nobody);
        }
        let share = self.len() / members.len() as u32;
        let mut spare = self.len() % members.len() as u32;
        let shares = self.shares();
        // The buckets left over go first to those who have more than a share: so none moves for them.
        let mut by_share = members.clone();
        by_share.sort_by_key(|core| std::cmp::Reverse(shares[*core as usize]));
        for core in by_share {
            room[core as usize] = share + u32::from(spare > 0);
            spare = spare.saturating_sub(1);
        }
        let mut homeless = Vec::new();
        for (bucket, owner) in self.owners.iter().enumerate() {
            match room[*owner as usize].checked_sub(1) {
                Some(left) => room[*owner as usize] = left,
                None => homeless.push(bucket),
            }
        }
        // In turn, so that neighbours in the table do not all go to one core.
        let mut takers = members.into_iter().cycle();
        for bucket in &homeless {
            let taker = takers.find(|core| room[*core as usize] > 0).unwrap_or(0);
            room[taker as usize] -= 1;
            self.owners[*bucket] = taker;
        }
        Ok(homeless.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_table_gives_each_core_its_share() {
        let table = Table::even(3, 256).unwrap();
        assert_eq!((table.len(), table.cores(), table.shares()), (256, 3, vec![86, 85, 85]));
        assert_eq!(table.owner(0x1_02), 2);
        assert_eq!(table.owner(0xffff_ff00), 0);
        assert_eq!(Table::even(1, 1).unwrap().owner(u32::MAX), 0);
    }

    #[test]
    fn absurd_tables_and_changes_are_refused() {
        for len in [0, 3, 1000, 8192] {
            assert_eq!(Table::even(1, len), Err(TableError::Length { len }));
        }
        for cores in [0, 9] {
            assert_eq!(Table::even(cores, 8), Err(TableError::Cores { cores, len: 8 }));
        }
        let mut table = Table::even(2, 8).unwrap();
        let before = table.clone();
        assert_eq!(table.set_owner(0, 2), Err(TableError::Core { core: 2, cores: 2 }));
        assert_eq!(table.set_owner(8, 0), Err(TableError::Bucket { bucket: 8, len: 8 }));
        assert_eq!(table.level(|_| false), Err(TableError::Nobody));
        assert_eq!(table, before);
        table.set_owner(0, 1).unwrap();
        assert_eq!(table.owners(), [1, 1, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn levelling_drains_and_fills_with_the_fewest_moves() {
        let mut table = Table::even(4, 1024).unwrap();
        assert_eq!(table.level(|_| true).unwrap(), 0);
        // Draining one moves what it had, and nothing else.
        assert_eq!(table.level(|core| core != 2).unwrap(), 256);
        let mut shares = table.shares();
        assert_eq!(shares.remove(2), 0);
        shares.sort_unstable();
        assert_eq!(shares, [341, 341, 342]);
        // It comes back: it gets a share, and the others keep what they have of theirs.
        assert_eq!(table.level(|_| true).unwrap(), 256);
        assert_eq!(table.shares(), [256; 4]);
    }

    #[test]
    fn levelling_is_even_from_any_table() {
        let mut random = 1_u32;
        for cores in 1..=9 {
            for members in 1_u32..1 << cores {
                let mut table = Table::even(cores, 32).unwrap();
                for bucket in 0..32 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    table.set_owner(bucket, (random >> 16) % cores).unwrap();
                }
                let before = table.clone();
                let takes_part = |core: u32| members & 1 << core != 0;
                let moved = table.level(takes_part).unwrap();
                let differing = table.owners.iter().zip(&before.owners).filter(|(new, old)| new != old).count();
                assert_eq!(differing, moved as usize);
                let shares = table.shares();
                let of = |part: bool| (0..cores).filter(move |core| takes_part(*core) == part);
                assert!(of(false).all(|core| shares[core as usize] == 0));
                let share = 32 / members.count_ones();
                assert!(of(true).all(|core| (share..=share + 1).contains(&shares[core as usize])), "{shares:?}");
            }
        }
    }
}
