//! Which core owns which flow. Nothing here is on the packet path but a look-up for what no table has.

mod shares;
mod view;

pub(crate) use shares::{Ready, Shares, Yielded};
pub(crate) use view::{Shared, View};
