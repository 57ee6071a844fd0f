//! Which packets leave the kernel's path: Corelane's XDP program, and the loader for it.
//!
//! The program (`steer.bpf.c`) passes everything to the kernel except what was registered here: TCP to a listener's
//! address and port, and ARP, ICMP and TCP to an *own address*, one that the stack answers for and the kernel does
//! not have. What it redirects goes to the `AF_XDP` socket registered for the packet's queue; without one, the kernel
//! gets it. The way in is [`Steering`].
//!
//! The built program is part of this crate, so embedding it needs no clang; `scripts/bpf-object --check` proves that
//! the object is what the source builds. It needs Linux 5.18 (`xdp.frags`, `bpf_xdp_get_buff_len`), `CAP_BPF`,
//! `CAP_NET_ADMIN` and, on some kernels, `CAP_PERFMON`.
//!
//! What it does not do: wildcard listeners (register each address), IPv6 extension headers, neighbour solicitations to
//! multicast addresses, more than one VLAN tag, and UDP: all these pass to the kernel. It does not tell one VLAN from
//! another, and verifies no checksum: that is the stack's.

mod attach;
mod error;
mod hash;
mod info;
mod link;
mod map;
mod object;
mod shared;

pub use attach::{AttachMode, Layout, Run, Steering, Verdict};
pub use error::{AttachError, MapError};
pub use hash::FlowHash;
pub use info::{Mode, ProgramInfo, program_on};
pub use shared::{Counter, Counters, MAX_LISTENERS, MAX_OWN_ADDRESSES, MAX_SOCKETS};
