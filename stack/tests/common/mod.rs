//! Two workers joined in memory, on one thread, in a time that the test makes.

#![allow(dead_code, reason = "each suite uses its own part of the harness")]

#[cfg(feature = "veth")]
pub(crate) mod veth;

use corelane::config::Config;
use corelane::device::mem::{MemConfig, pair};
use corelane::device::{AnyDevice, Impaired, MemDevice};
use corelane::worker::{Worker, WorkerConfig};
use corelane::{Addr, App, Conn, Core, Error, Instant, Mac, Rx, SocketAddr};
use corelane_proto::endpoint::{Cidr, EndpointConfig};
use std::time::Duration;

/// How long a turn of both takes.
pub(crate) const TURN: Duration = Duration::from_micros(5);

pub(crate) const SERVER: SocketAddr = SocketAddr::new(Addr::v4([10, 0, 0, 1]), 7);
pub(crate) const CLIENT: Addr = Addr::v4([10, 0, 0, 2]);

/// The two ends of a link, an application on each.
pub(crate) struct Pair<C: App, S: App> {
    pub(crate) client: Worker<C, AnyDevice>,
    pub(crate) server: Worker<S, AnyDevice>,
    pub(crate) now: Instant,
}

/// What a worker at `addr` is told, with room for `connections`.
pub(crate) fn worker_config(addr: Addr, mac: Mac, connections: usize) -> WorkerConfig {
    let config = Config::default();
    WorkerConfig {
        endpoint: EndpointConfig {
            mac,
            addresses: vec![Cidr { addr, prefix_len: 24 }],
            connections,
            syn_queue: connections.max(16),
            time_wait: 1024,
            low_water_frames: 64,
            ..EndpointConfig::default()
        },
        tcp: config.tcp().to_proto(),
        events_per_turn: 1024,
        secret: mac.0[5].to_le_bytes().repeat(32).try_into().unwrap(),
    }
}

impl<C: App, S: App> Pair<C, S> {
    /// Both ends started, the server first.
    pub(crate) fn new(client: C, server: S) -> Self {
        Self::over(client, server, 64, Into::into, |_| {})
    }

    /// Both ends with room for `connections`, over devices that `wrap` makes of the ends of the link, and with settings
    /// that `change` changes.
    pub(crate) fn over(
        client: C,
        server: S,
        connections: usize,
        wrap: impl Fn(MemDevice) -> AnyDevice,
        change: impl Fn(&mut WorkerConfig),
    ) -> Self {
        let link = MemConfig::default();
        let (near, far) = pair(&link).unwrap();
        let start = Instant::from_millis(1);
        let make = |addr, mac| {
            let mut config = worker_config(addr, mac, connections);
            change(&mut config);
            config
        };
        let mut pair = Self {
            client: Worker::new(client, wrap(near), make(CLIENT, link.macs[0]), start),
            server: Worker::new(server, wrap(far), make(SERVER.addr, link.macs[1]), start),
            now: start,
        };
        pair.server.start(start).unwrap();
        pair.client.start(start).unwrap();
        pair
    }

    /// One turn of each. When neither had anything to do, time goes on to the next timer.
    pub(crate) fn turn(&mut self) {
        self.now = self.now + TURN;
        let busy = self.server.turn(self.now).unwrap() | self.client.turn(self.now).unwrap();
        if !busy {
            let next = [self.client.deadline(), self.server.deadline()].into_iter().flatten().min();
            self.now = self.now.max(next.unwrap_or(self.now).min(self.now + Duration::from_millis(100)));
        }
    }

    /// Turns until `done` says so; panics after `limit` of the link's time.
    #[track_caller]
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(
                self.now < end,
                "not done after {limit:?}: client {:#?}, server {:#?}",
                self.client.endpoint_counters(),
                self.server.endpoint_counters()
            );
            self.turn();
        }
    }

    /// Turns for as long as `time`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn();
        }
    }

    /// Stops both ends and checks that every frame came back to its pool.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.client.stop(self.now);
        self.server.stop(self.now);
        let end = self.now + Duration::from_secs(2);
        while self.now < end && !(self.client.is_done() && self.server.is_done()) {
            self.turn();
        }
        self.client.abort();
        self.server.abort();
        for _ in 0..16 {
            self.turn();
        }
        self.client.discard_received(self.now);
        self.server.discard_received(self.now);
        for (name, census) in [("client", self.client.census()), ("server", self.server.census())] {
            assert!(census.is_whole() && census.free == census.total, "{name}: {census:?}");
        }
        assert_eq!((self.client.connections(), self.server.connections()), (0, 0));
    }
}

/// A network that loses, reorders and doubles.
pub(crate) fn impaired(device: MemDevice, loss: f64, seed: u64) -> AnyDevice {
    let config = Config::builder()
        .set("impair.rx.loss", loss)
        .set("impair.rx.reorder", loss / 2.0)
        .set("impair.rx.duplicate", loss / 2.0)
        .set("impair.rx.corrupt", loss / 4.0)
        .build()
        .unwrap();
    let (rx, tx) = (config.impair_rx().into(), config.impair_tx().into());
    Impaired::new(AnyDevice::from(device), rx, tx, seed).into()
}

/// Sends back what it gets. What there is no room for waits.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) bytes: u64,
    pub(crate) partial: u64,
}

impl App for Echo {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        let taken = conn.send_copy(rx.bytes());
        self.partial += u64::from(taken < rx.bytes().len());
        self.bytes += taken as u64;
        rx.consume(taken);
    }
}

/// Byte `at` of a stream that does not repeat within a window.
pub(crate) fn pattern(at: u64) -> u8 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// `len` bytes of the stream from `at` on.
pub(crate) fn stretch(at: u64, len: usize) -> Vec<u8> {
    (at..).take(len).map(pattern).collect()
}
