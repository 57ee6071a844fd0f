//! Many workers on many queues of a veth pair, with the kernel as their peer. Needs root; `--features veth` turns it on.
//!
//! `cargo test -p corelane --features veth --test cores -- --nocapture` prints what it measured. Here threads may outnumber
//! the machine's cores, so that no worker is pinned.

#[path = "../common/mod.rs"]
mod common;

mod chosen;
mod clients;
mod leaving;
mod matrix;
mod moving;
mod wandering;
