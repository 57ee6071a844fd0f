//! corelane-bench: servers, load and latency histograms, over Corelane and over the kernel's sockets alike.
//!
//! - [`workload`]: what is said over a connection. Sans-I/O.
//! - [`transport`]: what carries it.
//! - [`load`]: when requests are sent, and what is recorded. Its [`session`](load::session) is sans-I/O and told the
//!   time, so that open loops are tested without sleeping.
//! - [`report`]: files and tables.
//! - [`compare`]: the kernel, Corelane and bare frames side by side.
//! - [`path`]: both senders over the same bad paths.
//! - [`idle`]: what waiting costs.
//! - [`steer`]: what steering costs.

pub mod cli;
pub mod clock;
pub mod compare;
pub mod cores;
pub mod dma_latency;
pub mod failure;
pub mod file;
pub mod idle;
pub mod load;
pub mod path;
pub mod report;
pub mod serve;
pub mod steer;
pub mod stop;
pub mod transport;
pub mod workload;
