//! The common path: what two endpoints in one memory do when nothing goes wrong.

use super::peer::Plain;
use super::{counted, part_ends};
use corelane_proto::endpoint::{Cidr, ConnId, EndpointConfig, Event};
use corelane_proto::tcp::config::TcpConfig;
use corelane_proto::{Addr, Endpoint, Instant, Mac, Memory, SocketAddr};
use std::time::Duration;

/// What a frame takes from one to the other.
const DELAY: Duration = Duration::from_micros(50);
const MESSAGE: [u8; 64] = [0x5a; 64];

struct Host {
    endpoint: Endpoint,
    frames: Plain,
    conn: Option<ConnId>,
}

struct Pair {
    hosts: [Host; 2],
    now: Instant,
    /// Frames that went.
    sent: u64,
}

fn addr(host: u8) -> Addr {
    Addr::v4([10, 0, 0, host + 1])
}

impl Pair {
    fn open() -> Self {
        let host = |n: u8| {
            let config = EndpointConfig {
                mac: Mac([2, 0, 0, 0, 0, n + 1]),
                addresses: vec![Cidr { addr: addr(n), prefix_len: 24 }],
                ..EndpointConfig::default()
            };
            let mut endpoint = Endpoint::new(config, [1 + n; 32], Instant::ZERO);
            endpoint.set_neighbour(addr(1 - n), Mac([2, 0, 0, 0, 0, 2 - n]));
            Host { endpoint, frames: Plain::new(4096), conn: None }
        };
        let mut pair = Self { hosts: [host(0), host(1)], now: Instant::from_millis(1000), sent: 0 };
        let tcp = TcpConfig { recv_buffer_initial: 256 * 1024, ..TcpConfig::default() };
        let server = SocketAddr::new(addr(1), 80);
        pair.hosts[1].endpoint.listen(server, tcp).unwrap_or_else(|_| unreachable!("the port is free"));
        let (now, client) = (pair.now, SocketAddr::new(addr(0), 0));
        let conn = pair.hosts[0].endpoint.connect(now, client, server, tcp);
        pair.hosts[0].conn = conn.ok();
        for _ in 0..4 {
            pair.pass(0);
            pair.pass(1);
        }
        assert!(pair.hosts[1].conn.is_some(), "the connection is open");
        pair
    }

    /// What `from` has to send reaches the other.
    fn pass(&mut self, from: usize) {
        self.now = self.now + DELAY;
        let now = self.now;
        let [a, b] = &mut self.hosts;
        let (from, to) = if from == 0 { (a, b) } else { (b, a) };
        let frames = &mut from.frames;
        counted(&mut from.endpoint, |endpoint| endpoint.on_time(now, frames));
        while let Some(transmit) = counted(&mut from.endpoint, |endpoint| endpoint.poll_transmit(now, frames)) {
            self.sent += 1;
            let buf = to.frames.filled(frames.sent(&transmit));
            frames.done(transmit);
            let memory = &mut to.frames;
            counted(&mut to.endpoint, |endpoint| endpoint.receive(now, memory, buf));
        }
        while let Some(event) = counted(&mut to.endpoint, Endpoint::poll_event) {
            if let Event::Accepted { conn, .. } = event {
                to.conn = Some(conn);
            }
        }
    }

    fn send(&mut self, host: usize, bytes: &[u8]) -> usize {
        let Host { endpoint, frames, conn } = &mut self.hosts[host];
        let Some(conn) = *conn else { return 0 };
        counted(endpoint, |endpoint| endpoint.send_copy(frames, conn, bytes)).unwrap_or(0)
    }

    /// Reads everything; gives its length.
    fn read(&mut self, host: usize) -> usize {
        let Host { endpoint, frames, conn } = &mut self.hosts[host];
        let Some(conn) = *conn else { return 0 };
        let mut sum = 0;
        while let Some(buf) = counted(endpoint, |endpoint| endpoint.recv(conn)) {
            let len = usize::from(buf.len);
            sum += len;
            frames.free(buf.token);
            counted(endpoint, |endpoint| endpoint.consumed(conn, len));
        }
        sum
    }
}

/// `exchanges` messages of 64 bytes there and back; both endpoints are counted. Gives the frames that went.
pub fn echo(exchanges: u64) -> u64 {
    let mut pair = Pair::open();
    part_ends(0);
    let before = pair.sent;
    for _ in 0..exchanges {
        assert_eq!(pair.send(0, &MESSAGE), MESSAGE.len());
        pair.pass(0);
        assert_eq!(pair.read(1), MESSAGE.len());
        assert_eq!(pair.send(1, &MESSAGE), MESSAGE.len());
        pair.pass(1);
        assert_eq!(pair.read(0), MESSAGE.len());
    }
    part_ends(exchanges);
    pair.sent - before
}

/// `segments` full segments from one to the other, and their ACKs; both endpoints are counted. Gives the frames that went.
pub fn bulk(segments: u64) -> u64 {
    let mut pair = Pair::open();
    let piece = [0x5a; 1448 * 8];
    part_ends(0);
    let before = pair.sent;
    let mut read = 0;
    while read < segments * 1448 {
        while pair.send(0, &piece) == piece.len() {}
        pair.pass(0);
        read += pair.read(1) as u64;
        pair.pass(1);
    }
    part_ends(segments);
    pair.sent - before
}
