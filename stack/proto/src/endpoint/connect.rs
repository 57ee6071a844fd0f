//! Opening: where a connection begins, and what it is told of its way.

use super::table::InsertError;
use super::{Cidr, Conn, ConnId, ConnectError, Endpoint, ListenerId, Way};
use crate::addr::{Addr, Flow, SocketAddr};
use crate::tcp::Tcb;
use crate::tcp::config::TcpConfig;
use crate::tcp::coverage;
use crate::tcp::state::{Event, State};
use crate::time::Instant;
use crate::wire::SourceRoute;
use alloc::sync::Arc;

impl Endpoint {
    /// Opens a connection from `local` to `remote`. An [`Event::Connected`](super::Event::Connected) or
    /// [`Event::Closed`](super::Event::Closed) follows.
    ///
    /// With the unspecified address as `local.addr` the route chooses one of ours, with port 0 RFC 6056 chooses a port
    /// of [`EndpointConfig::ports`](super::EndpointConfig::ports). A port that is given is bound: it may be one that is
    /// listened on, or that other connections have to other remotes. When both ends bind their ports and connect to
    /// each other, their SYNs cross and open one connection without a listener (RFC 9293 3.5, simultaneous open).
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: TcpConfig,
    ) -> Result<ConnId, ConnectError> {
        self.connect_by(now, local, remote, None, config)
    }

    /// Opens a connection like [`connect`](Self::connect) whose packets all go by way of `route`, if one is given, and
    /// carry its option (IPv4 only). What a received packet says of its way changes nothing. Most networks drop such
    /// packets (RFC 7126).
    ///
    /// # Errors
    /// See [`ConnectError`].
    //= spec/rfc9293.txt#section-3.9.2.1
    //# An application MUST be able to specify a source route when it actively opens a TCP connection (MUST-51)
    pub fn connect_by(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        route: Option<SourceRoute>,
        config: TcpConfig,
    ) -> Result<ConnId, ConnectError> {
        self.now = self.now.max(now);
        //= spec/rfc9293.txt#section-3.9.1.1
        //# A TCP implementation MUST reject as an error a local OPEN call for an
        //# invalid remote IP address (e.g., a broadcast or multicast address)
        //# (MUST-46).
        let is_host = remote.addr.is_unicast() && !self.is_broadcast(remote.addr) && remote.port != 0;
        let goes = route.is_none() || remote.addr.is_v4();
        if !is_host || !goes || remote.addr.is_v4() != local.addr.is_v4() {
            return Err(ConnectError::BadRemote(remote));
        }
        let first = route.map_or(remote.addr, |route| route.first());
        let (way, preferred) = self.routing.find(first).ok_or(ConnectError::NoRoute(first))?;
        let local = SocketAddr { addr: self.source(local.addr, first, way, preferred)?, ..local };
        if self.now < self.quiet_until {
            return Err(ConnectError::QuietTime(self.quiet_until.saturating_since(self.now)));
        }
        if self.conns.is_full() {
            return Err(ConnectError::TableFull);
        }
        let local = self.bind(local, remote)?;
        let flow = Flow { local, remote };
        self.source_routes.forget(&flow);
        if route.is_some_and(|route| !self.set_route(flow, route)) {
            return Err(ConnectError::TableFull);
        }
        let (iss, ts_offset) = (self.isn.generate(self.now, &flow), self.isn.timestamp_offset(&flow));
        let config = config.clamped();
        let mut tcb = Tcb::connect(Arc::new(config), self.link(&flow, &config), iss, ts_offset, self.now);
        if config.fast_open {
            let (offer, mss) = self.fast_open.offer(self.now, remote);
            tcb.offer_fast_open(offer, mss);
        }
        let id = self.conns.insert(flow, Conn::new(tcb, way, None)).map_err(|error| match error {
            InsertError::Full => ConnectError::TableFull,
            InsertError::Exists => ConnectError::PortInUse(local),
        })?;
        self.after(id);
        Ok(id)
    }

    /// A listener becomes a connection to `remote` from its address and port, with its settings: LISTEN goes to
    /// SYN-SENT (RFC 9293 3.10.1). The listener is gone after that, as by [`unlisten`](Self::unlisten).
    ///
    /// # Errors
    /// See [`ConnectError`]; the listener stays then.
    pub fn connect_listener(
        &mut self,
        now: Instant,
        listener: ListenerId,
        remote: SocketAddr,
    ) -> Result<ConnId, ConnectError> {
        //= spec/rfc9293.txt#section-3.10.1
        //# If the OPEN call is active and the remote socket is specified, then change the connection from passive to
        //# active, select an ISS.
        let (local, config) = self
            .listeners
            .get(listener)
            .map(|listener| (listener.local, *listener.config))
            .ok_or(ConnectError::NoListener)?;
        let id = self.connect(now, local, remote, config)?;
        coverage::event(State::Listen, Event::ActiveOpen);
        self.unlisten(listener);
        Ok(id)
    }

    /// The address that a connection to `remote` by this way has here: `wanted`, if it is ours, or, where it is
    /// unspecified, the one that the route prefers, or else the best of ours.
    fn source(&self, wanted: Addr, remote: Addr, way: Way, preferred: Option<Addr>) -> Result<Addr, ConnectError> {
        //= spec/rfc9293.txt#section-3.9.1.1
        //# The optional "local IP address" parameter MUST be supported to allow the specification of the local IP
        //# address (MUST-43).
        if !wanted.is_unspecified() {
            return if self.is_ours(wanted) { Ok(wanted) } else { Err(ConnectError::NotOurs(wanted)) };
        }
        //= spec/rfc9293.txt#section-3.9.1.1
        //# If an application on a multihomed host does not specify the local IP
        //# address when actively opening a TCP connection, then the TCP
        //# implementation MUST ask the IP layer to select a local IP address
        //# before sending the (first) SYN (MUST-44).
        let preferred = preferred.filter(|addr| addr.is_v4() == remote.is_v4() && self.is_ours(*addr));
        // RFC 6724 5: rule 2, the scope; rule 5, the outgoing interface; then whoever is on the link of the next hop; then
        // rule 8, the longest common prefix. Among equals the first counts.
        let outgoing = self.interfaces.get(way.via);
        let rank = |cidr: &Cidr| {
            let in_scope = cidr.addr.is_link_local() == remote.is_link_local();
            let on_interface = outgoing.has(cidr.addr);
            let on_link = if cidr.contains(way.hop) { cidr.prefix_len } else { 0 };
            let differs = u128::from_be_bytes(cidr.addr.octets()) ^ u128::from_be_bytes(remote.octets());
            let common = if remote.is_v4() { 0 } else { differs.leading_zeros() };
            (in_scope, on_interface, on_link, common)
        };
        let of_family = self.interfaces.addresses().filter(|cidr| cidr.addr.is_v4() == remote.is_v4());
        // The last of the greatest is what `max_by_key` gives, hence from behind.
        let best = || of_family.rev().max_by_key(rank).map(|cidr| cidr.addr);
        preferred.or_else(best).ok_or(ConnectError::NoRoute(remote))
    }

    /// The port of a new connection: the one that is given, if the two ends are free, or one that RFC 6056 chooses.
    fn bind(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<SocketAddr, ConnectError> {
        let Self { conns, half_open, time_wait, ports, listeners, ownership, counters, config, .. } = self;
        let is_taken = |flow: &Flow| {
            conns.find(flow).is_some() || half_open.find(flow).is_some() || time_wait.find(flow).is_some()
        };
        // What comes back has to come to this core. No other core can choose the same two ends, so that none has to be asked.
        let is_elsewhere = |flow: &Flow| ownership.as_ref().is_some_and(|ownership| !ownership.is_ours(flow));
        if local.port != 0 {
            let flow = Flow { local, remote };
            return match is_taken(&flow) {
                true => Err(ConnectError::PortInUse(local)),
                false if is_elsewhere(&flow) => Err(ConnectError::OtherCore(local)),
                false => Ok(local),
            };
        }
        //= spec/rfc6056.txt#section-3.2
        //# As a result, port numbers that may be needed for providing a particular service at the local host SHOULD NOT
        //# be included in the pool of port numbers available for ephemeral port randomization.
        let in_use = |port| {
            let local = SocketAddr::new(local.addr, port);
            let flow = Flow { local, remote };
            let avoided = config.ports_avoided.binary_search(&port).is_ok();
            avoided || is_elsewhere(&flow) || is_taken(&flow) || listeners.find(local).is_some()
        };
        let Some(port) = ports.choose(local.addr, remote, in_use) else {
            counters.connects_without_port += 1;
            return Err(ConnectError::NoPort(remote));
        };
        Ok(SocketAddr::new(local.addr, port))
    }
}
