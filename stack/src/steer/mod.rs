//! Which core owns which flow, and how the stack lives beside the kernel: what that knows of the network, which sockets
//! and ports it has. Nothing here is on the packet path but a look-up for what no table has.

mod beside;
mod kernel;
pub mod listeners;
pub mod mirror;
mod netlink;
pub mod ports;
mod shares;
mod sharing;
mod sites;
mod view;

pub use beside::Beside;
pub(crate) use beside::ListenCheck;
pub use corelane_proto::endpoint::{Cidr, Hop, InterfaceId, Route, Sharing};
pub(crate) use shares::{Ready, Shares, Yielded};
pub use sharing::{Identity, SharingError};
pub(crate) use sites::Sites;
pub(crate) use view::{Shared, View};
