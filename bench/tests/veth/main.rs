//! Corelane against the kernel's own TCP, over a veth pair, with real programs. Needs root.
//!
//! `cargo test --release -p corelane-bench --features veth --test veth -- --test-threads=1`
//!
//! Each test has two network namespaces of its own (`scripts/veth`): the client's is the kernel's alone, and in the
//! server's Corelane has an address that the kernel does not have. The servers are `corelane-bench serve`, as a user
//! starts them, and each has to end with a summary in which no frame is missing.

mod bulk;
mod compare;
mod crowd;
mod doctor;
mod ending;
mod helper;
mod idle;
mod neighbour;
mod path;
mod process;
mod refused;
mod steer;
mod steering_cost;
mod summary;
mod takeover;
mod unprivileged;
mod workloads;
mod world;
