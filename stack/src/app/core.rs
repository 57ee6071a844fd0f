//! One core, as a handler sees it.

use super::{Conn, Net, States};
use crate::Error;
use corelane_proto::endpoint::{ConnId, ConnectError, Counters, ListenConfig, ListenerId};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Addr, Instant, SocketAddr};
use std::fmt;

/// One core, for the time of a call: its listeners, its connections, its time. `S` is [`App::State`](super::App::State).
pub struct Core<'a, S> {
    net: &'a mut Net,
    states: &'a mut States<S>,
    now: Instant,
}

impl<'a, S> Core<'a, S> {
    pub(crate) fn new(net: &'a mut Net, states: &'a mut States<S>, now: Instant) -> Self {
        Self { net, states, now }
    }

    /// When this turn began, in nanoseconds since the core started.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The stack's own addresses, in the order of the configuration.
    pub fn addresses(&self) -> &[Addr] {
        &self.net.addresses
    }

    /// The settings of connections that name no others.
    pub const fn tcp_config(&self) -> &TcpConfig {
        &self.net.tcp
    }

    /// Listens on `port` of every own address. Each core listens for itself.
    pub fn listen_port(&mut self, port: u16) -> Result<(), Error> {
        if self.net.addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        for i in 0..self.net.addresses.len() {
            self.listen(SocketAddr::new(self.net.addresses[i], port))?;
        }
        Ok(())
    }

    /// Listens on one own address and port.
    pub fn listen(&mut self, local: impl Into<SocketAddr>) -> Result<ListenerId, Error> {
        let tcp = self.net.tcp;
        self.listen_with(local, tcp)
    }

    /// Listens with settings of its own: a [`TcpConfig`], or a [`ListenConfig`] with a backlog and more.
    pub fn listen_with(
        &mut self,
        local: impl Into<SocketAddr>,
        config: impl Into<ListenConfig>,
    ) -> Result<ListenerId, Error> {
        let local = local.into();
        // First here, where most of what may be wrong is seen without asking anybody.
        let id = self.net.endpoint.listen(local, config)?;
        if let Some(registrar) = &self.net.registrar
            && let Err(error) = registrar.listen(local)
        {
            self.net.endpoint.unlisten(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Stops listening; connections that came in before go on.
    pub fn unlisten(&mut self, id: ListenerId) {
        let local = self.net.endpoint.listening_at(id);
        self.net.endpoint.unlisten(id);
        if let (Some(registrar), Some(local)) = (&mut self.net.registrar, local) {
            registrar.unlisten(local, &self.net.endpoint);
        }
    }

    /// Begins to open a connection from the own address that the route to the remote chooses. `state` waits in the
    /// connection's slot: [`App::on_connect`](super::App::on_connect) or [`App::on_closed`](super::App::on_closed)
    /// gets it. When it fails at once, `state` is dropped.
    pub fn connect(&mut self, remote: impl Into<SocketAddr>, state: S) -> Result<ConnId, ConnectError> {
        let remote = remote.into();
        let any = if remote.addr.is_v4() { Addr::v4([0; 4]) } else { Addr::v6([0; 16]) };
        self.connect_from(SocketAddr::new(any, 0), remote, state)
    }

    /// Begins to open a connection from `local`: port 0 chooses a free one, the unspecified address one of ours.
    pub fn connect_from(
        &mut self,
        local: impl Into<SocketAddr>,
        remote: impl Into<SocketAddr>,
        state: S,
    ) -> Result<ConnId, ConnectError> {
        let tcp = self.net.tcp;
        self.connect_with(local, remote, tcp, state)
    }

    /// The same with settings of its own.
    pub fn connect_with(
        &mut self,
        local: impl Into<SocketAddr>,
        remote: impl Into<SocketAddr>,
        tcp: TcpConfig,
        state: S,
    ) -> Result<ConnId, ConnectError> {
        let id = self.net.endpoint.connect(self.now, local.into(), remote.into(), tcp)?;
        self.register(id)?;
        self.states.insert(id, state);
        Ok(id)
    }

    /// Turns a listener into a connection to `remote`, from its address and port and with its settings. The listener
    /// is gone after that; when it fails at once, the listener stays and `state` is dropped.
    pub fn connect_listener(
        &mut self,
        listener: ListenerId,
        remote: impl Into<SocketAddr>,
        state: S,
    ) -> Result<ConnId, ConnectError> {
        let local = self.net.endpoint.listening_at(listener);
        let id = self.net.endpoint.connect_listener(self.now, listener, remote.into())?;
        if let (Some(registrar), Some(local)) = (&mut self.net.registrar, local) {
            registrar.unlisten(local, &self.net.endpoint);
        }
        self.states.insert(id, state);
        Ok(id)
    }

    /// Has the packets of a new connection come here; without that it is given up before its SYN has left.
    fn register(&mut self, id: ConnId) -> Result<(), ConnectError> {
        let Net { endpoint, registrar, .. } = &mut *self.net;
        if let (Some(registrar), Some(flow)) = (registrar, endpoint.flow(id))
            && registrar.connect(flow, endpoint).is_err()
        {
            endpoint.abort(id);
            return Err(ConnectError::NotRegistered);
        }
        Ok(())
    }

    /// A connection of this core; `None` when it has ended.
    pub fn conn(&mut self, id: ConnId) -> Option<Conn<'_>> {
        self.net.endpoint.flow(id)?;
        Some(Conn::new(self.net, self.now, id))
    }

    /// The application's state of a connection; `None` when it has ended.
    pub fn state(&mut self, id: ConnId) -> Option<&mut S> {
        self.states.get_mut(id).map(|entry| &mut entry.state)
    }

    /// A connection with its state; `None` when it has ended.
    pub fn conn_and_state(&mut self, id: ConnId) -> Option<(Conn<'_>, &mut S)> {
        let entry = self.states.get_mut(id)?;
        self.net.endpoint.flow(id)?;
        Some((Conn::new(self.net, self.now, id), &mut entry.state))
    }

    /// How many connections have a state, those that are being opened included.
    pub fn connections(&self) -> usize {
        self.states.len()
    }

    /// What the protocol has counted on this core.
    pub fn counters(&self) -> &Counters {
        self.net.endpoint.counters()
    }

    /// Stops this core at the end of the turn. The stack ends when every core has stopped; a
    /// [`StopHandle`](crate::StopHandle) stops all of them.
    pub fn stop(&mut self) {
        self.net.stop = true;
    }
}

impl<S> fmt::Debug for Core<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("now", &self.now).field("connections", &self.states.len()).finish_non_exhaustive()
    }
}
