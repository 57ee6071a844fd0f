//! Which packets leave the kernel's path, and which core gets them: Corelane's XDP program, and the loader for it.
//!
//! The program (`steer.bpf.c`) passes everything to the kernel except what was registered here: TCP to a listener's
//! address and port, TCP of a registered flow, the ICMP errors about either, and ARP, neighbour solicitations, ICMP and
//! TCP to an *own address*, one that the stack answers for and the kernel does not have. The way in is [`Steering`].
//!
//! What it redirects goes to the `AF_XDP` socket registered for the packet's queue and the flow's owner: the core that
//! a [`Table`] gives for the [`FlowHash`] of its two ends, or that the flow is pinned to ([`FlowRegistry`]). An ICMP
//! error goes with the flow that it quotes; other ICMP and later fragments go by their addresses; ARP and neighbour
//! discovery go to the owner of bucket 0. Without a socket there, the kernel gets the packet. Where a queue has one
//! socket only ([`SocketsPerQueue::One`]), the owner is not looked for.
//!
//! One process takes over from another without a moment in which the kernel answers for either: the program of the new
//! one takes the place of the old one's between two packets ([`Steering::take_over`]), keeps what is for sockets that are
//! still to come in a ring, and what is for the flows that stay with the old one in another ([`KeptRing`]).
//!
//! The built program is part of this crate, so embedding it needs no clang; `scripts/bpf-object --check` proves that
//! the object is what the source builds. It needs Linux 5.18 (`xdp.frags`, `bpf_xdp_get_buff_len`), `CAP_BPF` and
//! `CAP_NET_ADMIN`; a kernel may demand `CAP_PERFMON` too, and with it the program is faster: it reckons the length of a
//! packet from its addresses instead of asking the kernel, and the verifier adds no barriers against speculation.
//!
//! It asks hash maps as rarely as it can, for that is most of its cost: an array tells for most packets whether they are a
//! listener's (two listeners whose ends fall into the same one of 1024 slots are looked up), the table of owners says
//! which buckets have pinned flows, and maps that are empty are left alone.
//!
//! What it does not do: wildcard listeners (register each address), IPv6 extension headers, also in what an ICMP error
//! quotes, neighbour advertisements to multicast addresses, more than one VLAN tag, more than one VLAN at a time
//! ([`Vlan`]), and UDP: all these pass to the kernel. It verifies no checksum: that is the stack's.

mod attach;
mod counted;
mod counter;
mod error;
mod hash;
mod info;
mod keeper;
mod link;
mod listeners;
mod map;
mod object;
mod owners;
mod registry;
mod relay;
mod run;
mod setup;
mod shared;
mod table;

pub use attach::{AttachMode, Steering};
pub use counter::{Counter, Counters};
pub use error::{AttachError, MapError};
pub use hash::FlowHash;
pub use info::{Mode, ProgramInfo, program_on};
pub use keeper::{Change, Keeper};
pub use registry::FlowRegistry;
pub use relay::{KeptRing, RelayFds, RelayedFlows};
pub use run::{Run, Verdict};
pub use setup::{Layout, Setup, SocketsPerQueue, Vlan};
pub use shared::{MAX_BUCKETS, MAX_FLOWS, MAX_LISTENERS, MAX_OWN_ADDRESSES, MAX_SOCKETS};
pub use table::{Table, TableError};
