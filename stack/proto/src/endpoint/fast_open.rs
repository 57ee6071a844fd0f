//! Fast Open's cookies (RFC 7413 4.1): those that we give to clients, and those that servers gave to us.

use super::flow_hash::{PublicHash, subkey};
use crate::addr::{Flow, SocketAddr};
use crate::tcp::effects::Learned;
use crate::tcp::fast_open::Offer;
use crate::tcp::segment::{FastOpen, Flags, Segment};
use crate::time::Instant;
use alloc::vec::Vec;
use core::time::Duration;

/// How long a server that did not take our data is spared it.
const SPARED: Duration = Duration::from_secs(3600);

/// Makes and checks cookies without remembering any: a cookie is a keyed hash of both addresses.
//= spec/rfc7413.txt#section-4.1.2
//# 1. The cookie authenticates the client's (source) IP address of the SYN packet.
#[derive(Debug)]
struct Keys {
    current: PublicHash,
    /// The key before the last change, whose cookies are still good.
    previous: Option<PublicHash>,
}

/// Servers that we know, in a fixed number of slots; of two in one slot the newer stays.
#[derive(Debug)]
struct Servers {
    slots: Vec<Option<Server>>,
    hash: PublicHash,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    remote: SocketAddr,
    cookie: Option<FastOpen>,
    mss: u16,
    /// It is not asked again before.
    spared_until: Instant,
}

/// Fast Open of one endpoint: both roles.
#[derive(Debug)]
pub(super) struct FastOpens {
    keys: Keys,
    servers: Servers,
    /// Connections of clients whose ACK of our SYN has not come.
    pending: usize,
    /// The most of them.
    limit: usize,
}

impl FastOpens {
    /// At most `limit` pending connections, and `slots` servers that are remembered.
    pub(super) fn new(secret: &[u8; 32], limit: usize, slots: usize) -> Self {
        Self {
            keys: Keys { current: PublicHash::new(subkey(secret, "fast open")), previous: None },
            servers: Servers {
                slots: alloc::vec![None; slots.max(1)],
                hash: PublicHash::new(subkey(secret, "fast open servers")),
            },
            pending: 0,
            limit,
        }
    }

    /// Makes cookies with another key; those of the key before stay good until the next change.
    //= spec/rfc7413.txt#section-4.1.2
    //# This can be done by either periodically changing the server key used to generate cookies or including a
    //# timestamp when generating the cookie.
    pub(super) fn change_secret(&mut self, secret: &[u8; 32]) {
        let new = PublicHash::new(subkey(secret, "fast open"));
        self.keys.previous = Some(core::mem::replace(&mut self.keys.current, new));
    }

    /// The cookie of a client.
    pub(super) fn cookie(&self, flow: &Flow) -> FastOpen {
        made(&self.keys.current, flow)
    }

    /// Whether we gave this cookie to the client.
    pub(super) fn is_good(&self, flow: &Flow, cookie: &FastOpen) -> bool {
        let keys = [Some(&self.keys.current), self.keys.previous.as_ref()];
        keys.into_iter().flatten().any(|key| made(key, flow) == *cookie)
    }

    /// Counts a connection as pending; false when there are too many.
    //= spec/rfc7413.txt#section-4.2
    //# If this variable goes over a preset system limit, the server MUST disable TFO for all new connection requests
    //# until PendingFastOpenRequests drops below the system limit.
    pub(super) fn begin(&mut self) -> bool {
        let may = self.pending < self.limit;
        self.pending += usize::from(may);
        may
    }

    /// A pending connection has become an ordinary one, or is gone.
    pub(super) fn end(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// What a SYN to `remote` says: the cookie that it gave us, or the request for one, or nothing.
    /// With the server's MSS.
    //= spec/rfc7413.txt#section-4.2.1
    //# Any client attempting TFO MUST first request a cookie from the server with the following steps:
    //= spec/rfc7413.txt#section-4.2.2
    //# To open a TFO connection, the client MUST have obtained a cookie from the server:
    pub(super) fn offer(&self, now: Instant, remote: SocketAddr) -> (Offer, u16) {
        match self.servers.get(remote) {
            Some(server) if now < server.spared_until => (Offer::Nothing, 0),
            Some(Server { cookie: Some(_), mss, .. }) => (Offer::Cookie, mss),
            _ => (Offer::Request, 0),
        }
    }

    /// Puts the cookie that `remote` gave us into a SYN to it that has the request for one.
    pub(super) fn put_cookie(&self, remote: SocketAddr, segment: &mut Segment) {
        let asks = segment.flags.without(Flags::ECN) == Flags::SYN && segment.options.fast_open.is_some();
        if let Some(server) = asks.then(|| self.servers.get(remote)).flatten() {
            segment.options.fast_open = server.cookie.or(segment.options.fast_open);
        }
    }

    /// What `remote` has answered.
    pub(super) fn learn(&mut self, now: Instant, remote: SocketAddr, learned: &Learned) {
        let Learned { cookie, mss, refused } = *learned;
        if cookie.is_none() && !refused {
            return;
        }
        //= spec/rfc7413.txt#section-4.1.3.1
        //# The client MUST cache negative responses from the server in order to avoid potential connection failures.
        //= spec/rfc7413.txt#section-4.1.3.1
        //# For any negative responses, the client SHOULD disable Fast Open on the specific path (the source and destination IP
        //# addresses and ports) at least temporarily.
        //= spec/rfc7413.txt#section-4.1.3
        //# The client MUST cache cookies from servers for later Fast Open connections.
        let spared_until = if refused { now + SPARED } else { now };
        self.servers.put(Server { remote, cookie, mss, spared_until });
    }
}

impl Servers {
    fn slot(&self, remote: SocketAddr) -> usize {
        (self.hash.flow(&Flow { local: remote, remote }) % self.slots.len() as u64) as usize
    }

    fn get(&self, remote: SocketAddr) -> Option<Server> {
        self.slots.get(self.slot(remote)).copied().flatten().filter(|server| server.remote == remote)
    }

    fn put(&mut self, server: Server) {
        let slot = self.slot(server.remote);
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Some(server);
        }
    }
}

/// The cookie for whoever is at the remote address.
//= spec/rfc7413.txt#section-4.1.2
//# The cookie SHOULD be a MAC tag with the following properties.
fn made(key: &PublicHash, flow: &Flow) -> FastOpen {
    let anywhere = |end: SocketAddr| SocketAddr::new(end.addr, 0);
    let hash = key.flow(&Flow { local: anywhere(flow.local), remote: anywhere(flow.remote) });
    FastOpen::new(&hash.to_be_bytes()).unwrap_or(FastOpen::REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::tcp::segment::Options;

    fn flow(host: u8, port: u16) -> Flow {
        let end = |host, port| SocketAddr::new(Addr::v4([10, 0, 0, host]), port);
        Flow { local: end(1, 80), remote: end(host, port) }
    }

    //= spec/rfc7413.txt#section-4.1.2
    //= type=test
    //# The cookie SHOULD be a MAC tag with the following properties.
    #[test]
    fn a_cookie_is_good_for_its_address_and_until_the_second_change_of_the_key() {
        let mut fast = FastOpens::new(&[1; 32], 1, 4);
        let cookie = fast.cookie(&flow(2, 1000));
        assert_eq!(cookie.bytes().len(), 8);
        assert!(fast.is_good(&flow(2, 2000), &cookie), "whatever the port");
        assert!(!fast.is_good(&flow(3, 1000), &cookie) && !fast.is_good(&flow(2, 1000), &FastOpen::REQUEST));
        fast.change_secret(&[2; 32]);
        assert!(fast.is_good(&flow(2, 1000), &cookie) && fast.cookie(&flow(2, 1000)) != cookie);
        fast.change_secret(&[3; 32]);
        assert!(!fast.is_good(&flow(2, 1000), &cookie));
    }

    //= spec/rfc7413.txt#section-4.1.3.1
    //= type=test
    //# The client MUST cache negative responses from the server in order to avoid potential connection failures.
    //= spec/rfc7413.txt#section-4.1.3.1
    //= type=test
    //# For any negative responses, the client SHOULD disable Fast Open on the specific path (the source and destination IP
    //# addresses and ports) at least temporarily.
    //= spec/rfc7413.txt#section-4.1.3
    //= type=test
    //# The client MUST cache cookies from servers for later Fast Open connections.
    //= spec/rfc7413.txt#section-4.2.1
    //= type=test
    //# Any client attempting TFO MUST first request a cookie from the server with the following steps:
    //= spec/rfc7413.txt#section-4.2.2
    //= type=test
    //# To open a TFO connection, the client MUST have obtained a cookie from the server:
    #[test]
    fn a_server_is_asked_then_known_then_spared_for_an_hour_when_it_refuses() {
        let mut fast = FastOpens::new(&[1; 32], 1, 4);
        let (server, start) = (flow(2, 80).remote, Instant::from_millis(1));
        assert_eq!(fast.offer(start, server).0, Offer::Request);
        let cookie = FastOpen::new(&[7; 8]);
        fast.learn(start, server, &Learned { cookie, mss: 1400, refused: false });
        assert_eq!(fast.offer(start, server), (Offer::Cookie, 1400));
        let options = Options { fast_open: Some(FastOpen::REQUEST), ..Options::NONE };
        let mut syn = Segment { flags: Flags::SYN, options, ..Segment::default() };
        fast.put_cookie(server, &mut syn);
        assert_eq!(syn.options.fast_open, cookie);
        fast.learn(start, server, &Learned { cookie: None, mss: 1400, refused: true });
        assert_eq!(fast.offer(start, server).0, Offer::Nothing);
        assert_eq!(fast.offer(start + SPARED, server).0, Offer::Request);
        assert!((0..100).all(|port| fast.offer(start, flow(9, port).remote).0 == Offer::Request), "others are asked");
    }

    #[test]
    fn no_more_are_pending_than_allowed() {
        let mut fast = FastOpens::new(&[1; 32], 2, 4);
        assert!(fast.begin() && fast.begin() && !fast.begin());
        fast.end();
        assert!(fast.begin());
    }
}
