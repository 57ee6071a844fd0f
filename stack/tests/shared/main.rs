//! The stack on an address that the kernel has too: the kernel's own services go on, and what the kernel changes is
//! followed. Needs root; `--features veth` turns it on.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod nginx;
mod side_by_side;
mod world;
