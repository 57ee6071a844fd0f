//! The ways to open a connection through the application's interface, over a link in memory.

mod common;

use common::{CLIENT, Pair, SERVER};
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Rx, SocketAddr};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const BOUND: SocketAddr = SocketAddr::new(CLIENT, 4000);

/// How one side opens.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Connects from a port of its own to the other's.
    Bound,
    /// Listens first, and then turns the listener into the connection.
    Listener,
    /// Connects from a port that another connection has.
    Twice,
}

/// Opens one connection between two fixed ports and closes it when a word has come.
struct Peer {
    local: SocketAddr,
    remote: SocketAddr,
    way: Way,
    opened: Option<ConnId>,
    accepted: usize,
    heard: Vec<u8>,
    ended: Vec<CloseReason>,
    refused: Option<String>,
}

impl Peer {
    fn new(local: SocketAddr, remote: SocketAddr, way: Way) -> Self {
        Self { local, remote, way, opened: None, accepted: 0, heard: Vec::new(), ended: Vec::new(), refused: None }
    }
}

impl App for Peer {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        let Self { local, remote, .. } = *self;
        match self.way {
            Way::Bound => {
                core.connect_from(local, remote, ())?;
            }
            Way::Listener => {
                let listener = core.listen(local)?;
                core.connect_listener(listener, remote, ())?;
                let again = core.connect_listener(listener, remote, ());
                self.refused = again.err().map(|error| error.to_string());
            }
            Way::Twice => {
                let tcp = *core.tcp_config();
                core.connect_with(local, remote, tcp, ())?;
                self.refused = core.connect_with(local, remote, tcp, ()).err().map(|error| error.to_string());
            }
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {
        self.accepted += 1;
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        assert_eq!(conn.flow().map(|flow| (flow.local, flow.remote)), Some((self.local, self.remote)));
        self.opened = Some(conn.id());
        assert_eq!(conn.send_copy(b"word"), 4);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.heard.extend_from_slice(rx.bytes());
        if self.heard.len() == 4 {
            conn.close();
        }
    }

    fn on_closed(&mut self, _: &mut Core<'_, ()>, (): (), reason: CloseReason) {
        self.ended.push(reason);
    }
}

/// Both sides open at once in their ways; what each was refused comes back.
fn cross(client: Way, server: Way) -> [Option<String>; 2] {
    let mut pair = Pair::new(Peer::new(BOUND, SERVER, client), Peer::new(SERVER, BOUND, server));
    pair.run_until(SOON, |pair| !(pair.client.app().ended.is_empty() || pair.server.app().ended.is_empty()));
    for app in [pair.client.app(), pair.server.app()] {
        assert!(app.opened.is_some(), "it opened");
        assert_eq!(app.accepted, 0, "nobody accepted: there was one connection, opened from both sides");
        assert_eq!(app.heard, b"word");
        assert_eq!(app.ended, [CloseReason::Finished]);
    }
    let refused = [pair.client.app().refused.clone(), pair.server.app().refused.clone()];
    pair.stop();
    refused
}

#[test]
fn two_ends_that_connect_to_each_other_have_one_connection() {
    assert_eq!(cross(Way::Bound, Way::Bound), [None, None]);
}

#[test]
fn a_listener_becomes_a_connection_and_is_gone() {
    let [client, server] = cross(Way::Bound, Way::Listener);
    assert_eq!(client, None);
    let gone = server.expect("the listener cannot connect a second time");
    assert!(gone.contains("listener"), "{gone}");
}

#[test]
fn a_port_in_use_towards_a_remote_is_refused_by_name() {
    let [client, _] = cross(Way::Twice, Way::Bound);
    let in_use = client.expect("two connections cannot have the same two ends");
    assert!(in_use.contains("4000"), "{in_use}");
}
