//! Beside the kernel: what it knows of the network, which ports it uses, and how the stack keeps out of its way. Nothing
//! here is on the packet path.

mod beside;
mod interfaces;
mod kernel;
pub mod listeners;
pub mod mirror;
mod netlink;
pub mod ports;
mod sharing;

pub use beside::Beside;
pub use corelane_proto::endpoint::{Cidr, Hop, Route, Sharing};
pub use interfaces::{InterfaceId, Interfaces};
pub use sharing::{Identity, SharingError};
