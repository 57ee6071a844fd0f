//! Corelane's endpoints in a seeded network with virtual time.
//!
//! A seed draws a [scenario]: what the links do to frames, how the hosts are equipped, what each connection's
//! two applications do. The [world] runs it event by event, and the [checks] look at every frame, every
//! byte and every event. Nothing reads a clock and nothing depends on addresses in memory or on the order of a hash
//! table, so a seed always gives the same trace, and a failing seed can be replayed.
//!
//! In the [matrix], transfers go over [paths](path) with a bottleneck, and the tables of what came of them are kept.
//!
//! Beside it, [spec] reads the sources and says which requirement of which RFC is kept where.

mod app;
pub mod attack;
pub mod checks;
pub mod coverage;
mod forged;
pub mod frames;
mod host;
pub mod lab;
pub mod matrix;
mod network;
pub mod oracle;
pub mod path;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod spec;
pub mod trace;
pub mod wire;
pub mod work;
pub mod world;
