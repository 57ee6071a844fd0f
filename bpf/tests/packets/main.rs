//! Packet by packet through the kernel's test run of the real program: the verdict and the counter of each.
//!
//! It needs root: `cargo test -p corelane-bpf --features kernel`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../model/mod.rs"]
mod model;

mod bench;
mod cost;
mod flows;
mod frames;
mod hash;
mod interpreter;
mod layouts;
mod mutated;
mod rows;
mod takeover;
mod vlans;
