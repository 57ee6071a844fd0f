//! What the worker lends to the handlers: the protocol, the frames, and what was asked for meanwhile.

use crate::control::Registrar;
use crate::device::Store;
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Addr, Endpoint};

/// One core's network, without the application's state and without the device.
pub(crate) struct Net {
    pub(crate) endpoint: Endpoint,
    pub(crate) store: Store,
    /// Settings of connections and listeners that name no others.
    pub(crate) tcp: TcpConfig,
    /// What is known of this worker outside; nothing when it runs by itself.
    pub(crate) registrar: Option<Registrar>,
    /// Our addresses.
    pub(crate) addresses: Vec<Addr>,
    /// Whether this worker was asked to stop.
    pub(crate) stop: bool,
}
