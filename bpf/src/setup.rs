//! What is fixed when the program is loaded.

use crate::error::{AttachError, MapError};
use crate::hash::FlowHash;
use crate::shared::{ANY_VLAN, MAX_FLOWS, MAX_SOCKETS, Settings};
use crate::table::Table;

/// How many sockets there are on each queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketsPerQueue {
    /// One, whatever the flow: for drivers that take no second one. What belongs to another core than the one that
    /// reads it has to be handed on by the stack.
    #[default]
    One,
    /// One for each core: the program chooses the owner's.
    All,
}

/// Which queues of the interface have sockets, and how many each: it decides the key of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first of the interface's queues that has sockets.
    pub base_queue: u32,
    /// How many queues have sockets, from the first on; 1 or more.
    pub queues: u32,
    /// How many cores own flows, 1 or more; independent of the number of queues.
    pub cores: u32,
    /// How many sockets each queue has. Times `queues` it is at most [`MAX_SOCKETS`].
    pub sockets_per_queue: SocketsPerQueue,
}

impl Default for Layout {
    /// One socket per queue for 64 queues, from queue 0, and one core.
    fn default() -> Self {
        Self { base_queue: 0, queues: 64, cores: 1, sockets_per_queue: SocketsPerQueue::One }
    }
}

impl Layout {
    /// By how much the keys of neighbouring queues differ.
    const fn stride(self) -> u32 {
        match self.sockets_per_queue {
            SocketsPerQueue::One => 1,
            SocketsPerQueue::All => self.cores,
        }
    }

    /// How many keys there are.
    pub(crate) const fn sockets(self) -> u32 {
        self.queues.saturating_mul(self.stride())
    }

    /// The same as in `redirect` of `steer.bpf.c`.
    pub(crate) fn key(self, queue: u32, core: u32) -> Result<u32, MapError> {
        let Self { base_queue, queues, cores, sockets_per_queue } = self;
        if core >= cores {
            return Err(MapError::Core { core, cores });
        }
        let core = if sockets_per_queue == SocketsPerQueue::One { 0 } else { core };
        match queue.checked_sub(base_queue) {
            Some(place) if place < queues => Ok(place * self.stride() + core),
            _ => Err(MapError::Queue { queue, base_queue, queues }),
        }
    }

    fn check(self) -> Result<(), AttachError> {
        let Self { queues, cores, .. } = self;
        if queues == 0 || cores == 0 || self.sockets() > MAX_SOCKETS {
            return Err(AttachError::Layout { queues, cores, sockets: u64::from(queues) * u64::from(self.stride()) });
        }
        Ok(())
    }
}

/// Which packets are looked at; those of other VLANs pass to the kernel.
///
/// One program serves one of them: neither listeners nor flows tell VLANs apart. What the card strips before the
/// program runs is not seen by it: on an interface with VLAN sub-interfaces, turn that off (`ethtool -K IF rxvlan off`;
/// on a veth, `txvlan off` at its other end), or packets of a sub-interface look as if they had no tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vlan {
    /// Those without a tag, or with a tag that gives a priority only (IEEE 802.1Q).
    #[default]
    Untagged,
    /// Those with a tag of this VLAN, 1 to 4094.
    Id(u16),
    /// All, with or without one tag: only where an address means the same host on all of them.
    Any,
}

impl Vlan {
    fn setting(self) -> Result<u32, AttachError> {
        match self {
            Self::Untagged => Ok(0),
            Self::Id(id @ 1..=4094) => Ok(id.into()),
            Self::Id(id) => Err(AttachError::Vlan { id }),
            Self::Any => Ok(ANY_VLAN),
        }
    }
}

/// Everything that is fixed when the program is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Queues, cores and sockets.
    pub layout: Layout,
    /// The hash that says which bucket a flow belongs to. Its key has to be random, and different at each start.
    pub hash: FlowHash,
    /// Buckets of the table of owners: a power of two up to [`MAX_BUCKETS`](crate::MAX_BUCKETS), and at least a bucket
    /// for each core. More make finer shares. At first the cores share them evenly.
    pub buckets: u32,
    /// Which packets are looked at.
    pub vlan: Vlan,
    /// How many flows can be registered at once, 1 to [`MAX_FLOWS`]. Each place costs 16 to 32 bytes of the kernel's
    /// memory, each flow about 100 more.
    pub max_flows: u32,
    /// How many flows can be pinned to a core at once; bounds and cost are those of `max_flows`.
    pub max_pinned: u32,
    /// Bytes of each of the two rings for packets that are kept while one process takes over from another: a power of two,
    /// 4096 or more. A short packet takes 136 bytes, one of an Ethernet frame 2056. Too small, and packets are lost.
    pub kept_bytes: u32,
}

/// The least for [`Setup::kept_bytes`]: a page.
const LEAST_KEPT_BYTES: u32 = 4096;

impl Setup {
    /// 1024 buckets, packets without a VLAN's tag, room for 262,144 flows and 65,536 pins, and a page for kept packets.
    pub const fn new(layout: Layout, hash: FlowHash) -> Self {
        Self {
            layout,
            hash,
            buckets: 1024,
            vlan: Vlan::Untagged,
            max_flows: 262_144,
            max_pinned: 65_536,
            kept_bytes: LEAST_KEPT_BYTES,
        }
    }

    /// What the program is told, and the table that it begins with; whatever is absurd is an error.
    pub(crate) fn check(&self) -> Result<(Settings, Table), AttachError> {
        let Self { layout, hash, buckets, vlan, max_flows, max_pinned, kept_bytes: _ } = self;
        layout.check()?;
        for (what, asked) in [("registered", *max_flows), ("pinned", *max_pinned)] {
            if !(1..=MAX_FLOWS).contains(&asked) {
                return Err(AttachError::Bound { what, asked });
            }
        }
        let table = Table::even(layout.cores, *buckets)?;
        let settings = Settings {
            hash_key: hash.words(),
            base_queue: layout.base_queue,
            queues: layout.queues,
            sockets_per_queue: layout.stride(),
            bucket_mask: buckets - 1,
            vlan: vlan.setting()?,
            reserved: 0,
        };
        Ok((settings, table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_counts_queues_from_the_base_and_then_cores() {
        let layout = Layout { base_queue: 4, queues: 8, cores: 3, sockets_per_queue: SocketsPerQueue::All };
        assert_eq!(layout.key(4, 0).unwrap(), 0);
        assert_eq!(layout.key(7, 2).unwrap(), 11);
        assert_eq!(layout.key(11, 2).unwrap() + 1, layout.sockets());
        assert!(matches!(layout.key(3, 0), Err(MapError::Queue { queue: 3, base_queue: 4, queues: 8 })));
        assert!(matches!(layout.key(12, 0), Err(MapError::Queue { queue: 12, .. })));
        assert!(matches!(layout.key(4, 3), Err(MapError::Core { core: 3, cores: 3 })));
    }

    #[test]
    fn with_one_socket_the_core_does_not_matter() {
        let layout = Layout { base_queue: 1, queues: 2, cores: 3, sockets_per_queue: SocketsPerQueue::One };
        assert_eq!(layout.sockets(), 2);
        for core in 0..3 {
            assert_eq!(layout.key(2, core).unwrap(), 1);
        }
        assert!(layout.key(2, 3).is_err());
    }

    #[test]
    fn absurd_setups_are_refused() {
        let all = |queues, cores| Layout { base_queue: 0, queues, cores, sockets_per_queue: SocketsPerQueue::All };
        let setup = |layout| Setup::new(layout, FlowHash::new([1; 16]));
        assert!(setup(all(64, 64)).check().is_ok());
        assert!(setup(Layout { base_queue: u32::MAX, ..all(2, 2) }).check().is_ok());
        for (queues, cores) in [(0, 1), (1, 0), (64, 65), (u32::MAX, u32::MAX)] {
            assert!(matches!(setup(all(queues, cores)).check(), Err(AttachError::Layout { .. })), "{queues} {cores}");
        }
        let good = setup(all(2, 4));
        for buckets in [0, 3, 2, 8192] {
            assert!(matches!(Setup { buckets, ..good.clone() }.check(), Err(AttachError::Table(_))), "{buckets}");
        }
        for id in [0, 4095, u16::MAX] {
            assert!(matches!(Setup { vlan: Vlan::Id(id), ..good.clone() }.check(), Err(AttachError::Vlan { .. })));
        }
        for bound in [0, MAX_FLOWS + 1] {
            let flows = Setup { max_flows: bound, ..good.clone() }.check();
            assert!(matches!(flows, Err(AttachError::Bound { what: "registered", .. })));
            let pinned = Setup { max_pinned: bound, ..good.clone() }.check();
            assert!(matches!(pinned, Err(AttachError::Bound { what: "pinned", .. })));
        }
    }

    #[test]
    fn the_program_is_told_what_was_asked() {
        let layout = Layout { base_queue: 3, queues: 5, cores: 7, sockets_per_queue: SocketsPerQueue::All };
        let setup = Setup { vlan: Vlan::Id(9), ..Setup::new(layout, FlowHash::new([0; 16])) };
        let (settings, table) = setup.check().unwrap();
        let Settings { base_queue, queues, sockets_per_queue, bucket_mask, vlan, .. } = settings;
        assert_eq!([base_queue, queues, sockets_per_queue, bucket_mask, vlan], [3, 5, 7, 1023, 9]);
        assert_eq!(table, Table::even(7, 1024).unwrap());
    }
}
