//! One core's protocol state.

pub(crate) mod chains;
pub(crate) mod flow_hash;
pub(crate) mod isn;
pub(crate) mod limiter;
pub(crate) mod list;
pub(crate) mod ports;
pub(crate) mod ready;
pub(crate) mod syn_queue;
pub(crate) mod table;
pub(crate) mod ticks;
pub(crate) mod time_wait;
pub(crate) mod wheel;

/// Placeholder.
#[derive(Debug)]
pub struct Endpoint;
