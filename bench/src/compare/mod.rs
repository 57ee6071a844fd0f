//! `compare`: the kernel's TCP, ours, and bare frames side by side, over veth pairs in network namespaces of its own.
//!
//! Servers and clients are processes of this very program, each on a core of its own. All cells are run in turn, and that
//! several times; ratios are between runs of one round, so that what slows a whole round down does not count.

mod bars;
mod command;
mod cpu;
pub mod html;
pub mod matrix;
pub mod pair;
mod process;
pub mod result;
pub mod table;
mod world;

pub(crate) use command::histograms;
pub use command::run;
