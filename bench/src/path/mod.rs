//! `path`: the kernel's sender and Corelane's over the same bad paths to the same receiver, with the same congestion
//! control, in one run.
//!
//! - [`matrix`]: which paths and algorithms.
//! - [`link`] and [`watch`]: the path and what it sees, told the time.
//! - [`emulator`]: the thread that moves real frames through them.
//! - [`world`]: the namespaces.
//! - [`sender`]: one transfer, by either sender.
//! - [`result`], [`table`], [`html`] and [`threshold`]: what is made of the transfers.

mod command;
pub mod emulator;
pub mod html;
mod kernel;
pub mod link;
pub mod matrix;
mod ours;
pub mod result;
pub mod sender;
pub mod table;
pub mod threshold;
pub mod watch;
pub mod world;

pub use command::run;
