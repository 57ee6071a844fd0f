//! Who listens where. What LISTEN answers is `tcp/open.rs`'s to say.

use super::config::{EndpointConfig, ListenConfig, SynCookies};
use super::event::{ListenError, ListenerId};
use crate::addr::{Addr, SocketAddr};
use crate::tcp::config::TcpConfig;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One listener: its settings, and how many open connections its application has not been told of.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) local: SocketAddr,
    pub(super) config: Arc<TcpConfig>,
    pub(super) backlog: usize,
    pub(super) syn_cookies: SynCookies,
    pub(super) untold: usize,
}

impl Listener {
    fn new(local: SocketAddr, config: &ListenConfig, defaults: &EndpointConfig) -> Self {
        Self {
            local,
            config: Arc::new(config.tcp.clamped()),
            backlog: config.backlog.unwrap_or(defaults.accept_queue),
            syn_cookies: config.syn_cookies.unwrap_or(defaults.syn_cookies),
            untold: 0,
        }
    }

    /// Whether its application has as many connections to take as it may have.
    pub(super) fn is_full(&self) -> bool {
        self.untold >= self.backlog
    }
}

/// All listeners. An id is never used again.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_id: Vec<Option<Listener>>,
    by_local: BTreeMap<SocketAddr, ListenerId>,
}

impl Listeners {
    /// Adds one.
    ///
    /// # Errors
    /// Port 0, or a listener at the same place.
    pub(super) fn add(
        &mut self,
        local: SocketAddr,
        config: &ListenConfig,
        defaults: &EndpointConfig,
    ) -> Result<ListenerId, ListenError> {
        if local.port == 0 {
            return Err(ListenError::PortZero);
        }
        //= spec/rfc9293.txt#section-3.9.1.1
        //# Every passive OPEN call either creates a new connection record in LISTEN state, or it returns an error; it
        //# MUST NOT affect any previously created connection record (MUST-41).
        if self.by_local.contains_key(&local) {
            return Err(ListenError::InUse(local));
        }
        let id = ListenerId(u32::try_from(self.by_id.len()).unwrap_or(u32::MAX));
        self.by_id.push(Some(Listener::new(local, config, defaults)));
        self.by_local.insert(local, id);
        Ok(id)
    }

    /// Takes one away.
    pub(super) fn remove(&mut self, id: ListenerId) {
        if let Some(listener) = self.by_id.get_mut(id.0 as usize).and_then(Option::take) {
            self.by_local.remove(&listener.local);
        }
    }

    /// The listener for `local`: one at this very address, or else one at the unspecified address of its family.
    pub(super) fn find(&self, local: SocketAddr) -> Option<ListenerId> {
        let any = if local.addr.is_v4() { Addr::v4([0; 4]) } else { Addr::v6([0; 16]) };
        self.by_local.get(&local).or_else(|| self.by_local.get(&SocketAddr::new(any, local.port))).copied()
    }

    /// Where there is one, in order.
    pub(super) fn locals(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.by_local.keys().copied()
    }

    /// Those at this very address.
    pub(super) fn at(&self, addr: Addr) -> Vec<ListenerId> {
        self.by_local.iter().filter(|(local, _)| local.addr == addr).map(|(_, id)| *id).collect()
    }

    pub(super) fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.by_id.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.by_id.get_mut(id.0 as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Addr = Addr::v4([0; 4]);
    const OURS: Addr = Addr::v4([10, 0, 0, 1]);

    fn add(listeners: &mut Listeners, local: SocketAddr) -> Result<ListenerId, ListenError> {
        listeners.add(local, &ListenConfig::default(), &EndpointConfig::default())
    }

    //= spec/rfc9293.txt#section-3.9.1.1
    //= type=test
    //# The optional "local IP address" parameter MUST be supported to allow the specification of the local IP address
    //# (MUST-43).
    #[test]
    fn the_exact_address_goes_before_the_unspecified() {
        let mut listeners = Listeners::default();
        let any = add(&mut listeners, SocketAddr::new(ANY, 80)).unwrap();
        let exact = add(&mut listeners, SocketAddr::new(OURS, 80)).unwrap();
        assert_eq!(listeners.find(SocketAddr::new(OURS, 80)), Some(exact));
        assert_eq!(listeners.find(SocketAddr::new(Addr::v4([10, 0, 0, 2]), 80)), Some(any));
        assert_eq!(listeners.find(SocketAddr::new(Addr::v6([1; 16]), 80)), None, "each family has its own");
        listeners.remove(exact);
        assert_eq!(listeners.find(SocketAddr::new(OURS, 80)), Some(any));
        assert!(listeners.get(exact).is_none());
    }

    #[test]
    fn port_zero_and_a_second_listener_are_refused() {
        let mut listeners = Listeners::default();
        let local = SocketAddr::new(ANY, 80);
        assert_eq!(add(&mut listeners, SocketAddr::new(ANY, 0)), Err(ListenError::PortZero));
        let id = add(&mut listeners, local).unwrap();
        assert_eq!(add(&mut listeners, local), Err(ListenError::InUse(local)));
        listeners.remove(id);
        assert!(add(&mut listeners, local).is_ok_and(|new| new != id));
    }
}
