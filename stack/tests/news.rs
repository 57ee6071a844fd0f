//! What an application hears of besides bytes, and what it may change while a connection is open.

mod common;

use common::{Pair, SERVER};
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Instant, KeepaliveConfig, Rx, TcpConfig, Trouble};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// Connects, and keeps a list of what it hears.
#[derive(Default)]
struct Client {
    urgent: Vec<Option<u32>>,
    read: Vec<u8>,
    trouble: Vec<Trouble>,
    /// Sent once the connection is open.
    greeting: Vec<u8>,
    settings: Option<TcpConfig>,
    /// Set by the test when it wants something said.
    speak: Rc<Cell<bool>>,
    conn: Option<ConnId>,
}

impl App for Client {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.connect(SERVER, ())?;
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.conn = Some(conn.id());
        if let (Some(tcp), Some(wanted)) = (conn.tcp_config(), self.settings) {
            assert_ne!(tcp, wanted);
            assert!(conn.configure(wanted));
            assert_eq!(conn.tcp_config(), Some(wanted));
        }
        assert_eq!(conn.send_copy(&self.greeting), self.greeting.len());
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.read.extend_from_slice(rx.bytes());
    }

    fn on_urgent(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.urgent.push(conn.urgent_mark());
    }

    fn on_trouble(&mut self, _: &mut Conn<'_>, (): &mut (), trouble: Trouble) {
        self.trouble.push(trouble);
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        if self.speak.take() {
            let mut conn = core.conn(self.conn?)?;
            assert_eq!(conn.send_copy(b"anybody?"), 8);
        }
        None
    }
}

/// Answers the first bytes that come, part of the answer being urgent.
#[derive(Default)]
struct Server {
    read: usize,
}

impl App for Server {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.read += rx.bytes().len();
        if rx.bytes().starts_with(b"hello") {
            assert_eq!(conn.send_copy(b"calm "), 5);
            assert_eq!(conn.send_urgent(b"stop!"), 5);
            assert_eq!(conn.send_copy(b" go on"), 6);
        }
    }
}

#[test]
fn urgent_data_is_announced_and_stays_in_the_stream() {
    let client = Client { greeting: b"hello".to_vec(), ..Client::default() };
    let mut pair = Pair::new(client, Server::default());
    pair.run_until(SOON, |pair| pair.client.app().read.len() == 16);
    let app = pair.client.app();
    assert_eq!(app.read, b"calm stop! go on");
    // Told before the bytes are delivered: from the first unread byte to the one behind the exclamation mark.
    assert_eq!(app.urgent, [Some(10)]);
    pair.stop();
}

#[test]
fn a_peer_that_falls_silent_is_trouble_before_it_is_the_end() {
    let speak = Rc::new(Cell::new(false));
    let mut pair = Pair::new(Client { speak: speak.clone(), ..Client::default() }, Server::default());
    pair.run_until(SOON, |pair| pair.client.app().conn.is_some());
    pair.run_for(Duration::from_millis(100));
    speak.set(true);
    // From here on the server does not turn any more.
    let end = pair.now + Duration::from_secs(60);
    while pair.client.app().trouble.is_empty() && pair.now < end {
        pair.now = pair.now + Duration::from_millis(10);
        pair.client.turn(pair.now).unwrap();
    }
    assert_eq!(pair.client.app().trouble, [Trouble::Retransmitting]);
    assert_eq!(pair.client.connections(), 1, "it goes on trying");
}

#[test]
fn settings_change_while_the_connection_is_open() {
    let keepalive = Some(KeepaliveConfig { idle: Duration::from_secs(1), ..KeepaliveConfig::default() });
    let settings = Some(TcpConfig { keepalive, cork: true, ..TcpConfig::default() });
    let client = Client { settings, greeting: b"corked".to_vec(), ..Client::default() };
    let mut pair = Pair::new(client, Server::default());
    pair.run_until(SOON, |pair| pair.client.app().conn.is_some());
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.server.app().read, 0, "the cork holds back six bytes");
    pair.run_for(Duration::from_millis(200));
    assert_eq!(pair.server.app().read, 6, "but not for ever");
    let before = pair.client.endpoint_counters().segments_out;
    pair.run_for(Duration::from_millis(3500));
    let probes = pair.client.endpoint_counters().segments_out - before;
    assert_eq!(probes, 3, "one keepalive probe a second");
    pair.stop();
}

#[test]
fn a_shared_connection_closes_with_its_last_handle() {
    /// Holds its connection twice, and lets go whenever the test says so.
    struct Twice {
        let_go: Rc<Cell<bool>>,
        conn: Option<ConnId>,
        ended: Option<CloseReason>,
    }

    impl App for Twice {
        type State = ();

        fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
            core.connect(SERVER, ())?;
            Ok(())
        }

        fn on_accept(&mut self, _: &mut Conn<'_>) {}

        fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
            assert!(conn.share());
            self.conn = Some(conn.id());
        }

        fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Rx<'_>) {}

        fn on_closed(&mut self, _: &mut Core<'_, ()>, (): (), reason: CloseReason) {
            self.ended = Some(reason);
        }

        fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
            if self.let_go.take() {
                core.conn(self.conn?)?.close();
            }
            None
        }
    }

    let let_go = Rc::new(Cell::new(false));
    let mut pair = Pair::new(Twice { let_go: let_go.clone(), conn: None, ended: None }, Server::default());
    pair.run_until(SOON, |pair| pair.client.app().conn.is_some());
    let_go.set(true);
    pair.run_for(Duration::from_secs(1));
    assert_eq!((pair.client.connections(), pair.server.connections()), (1, 1), "the other handle still holds it");
    let_go.set(true);
    pair.run_until(SOON, |pair| pair.client.app().ended.is_some());
    assert_eq!(pair.client.app().ended, Some(CloseReason::Finished));
    pair.stop();
}
