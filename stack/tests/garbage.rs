//! Frames that nobody should send: no panic, no frame lost, and a good connection beside them goes on.
//!
//! `CORELANE_GARBAGE_FRAMES` says how many; the default is short.

mod common;

use common::{Echo, SERVER, worker_config};
use corelane::device::mem::{MemConfig, pair};
use corelane::device::{Device, MemDevice};
use corelane::worker::Worker;
use corelane::{App, CloseReason, Conn, ConnId, Core, Error, Instant, Rx};
use corelane_proto::endpoint::Counters;
use corelane_proto::tcp::config::KeepaliveConfig;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::VecDeque;
use std::time::Duration;

fn frames() -> usize {
    std::env::var("CORELANE_GARBAGE_FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000)
}

/// A client that keeps four connections to an echo server, each talking without end.
#[derive(Default)]
struct Talker {
    echoed: u64,
    opened: u64,
    turns: u64,
    conns: Vec<ConnId>,
}

impl App for Talker {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        for _ in 0..4 {
            self.conns.push(core.connect(SERVER, ())?);
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.opened += 1;
        conn.send_copy(&[1; 100]);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        self.echoed += rx.bytes().len() as u64;
        conn.send_copy(rx.bytes());
    }

    fn on_closed(&mut self, core: &mut Core<'_, ()>, (): (), _: CloseReason) {
        self.conns.push(core.connect(SERVER, ()).unwrap());
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        // A spoiled segment with a mended checksum may be acceptable, and the ends then disagree for ever about what
        // was sent. New connections, please.
        self.turns += 1;
        if self.turns.is_multiple_of(100) {
            for id in std::mem::take(&mut self.conns) {
                if let Some(mut conn) = core.conn(id) {
                    conn.abort();
                }
            }
        }
        None
    }
}

/// Between the two ends of two links: it passes frames on, and adds spoiled copies.
struct Middle {
    client: MemDevice,
    server: MemDevice,
    rng: Xoshiro256PlusPlus,
    /// Recent good frames, to be spoiled.
    seen: VecDeque<Vec<u8>>,
    spoiled: usize,
}

impl Middle {
    fn pass(&mut self, now: Instant, batch: usize) {
        let mut to_server = receive(&mut self.client, now);
        let mut to_client = receive(&mut self.server, now);
        for frame in to_server.iter().chain(&to_client) {
            self.seen.push_back(frame.clone());
        }
        while self.seen.len() > 64 {
            self.seen.pop_front();
        }
        for _ in 0..batch {
            let frame = self.spoil();
            let frames = if self.rng.random_range(0..4) > 0 { &mut to_server } else { &mut to_client };
            frames.insert(self.rng.random_range(0..=frames.len()), frame);
        }
        self.spoiled += batch;
        send(&mut self.server, now, &to_server);
        send(&mut self.client, now, &to_client);
    }

    fn spoil(&mut self) -> Vec<u8> {
        let rng = &mut self.rng;
        let mut frame = match self.seen.len() {
            seen if seen > 0 && rng.random_range(0..4) > 0 => self.seen[rng.random_range(0..seen)].clone(),
            _ => (0..rng.random_range(1..300)).map(|_| rng.random()).collect(),
        };
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..frame.len());
            frame[at] = rng.random();
        }
        match rng.random_range(0..4) {
            0 => frame.truncate(rng.random_range(1..=frame.len())),
            1 => frame.extend((0..rng.random_range(1..60)).map(|_| rng.random::<u8>())),
            _ => {}
        }
        // Without this the checksums would keep nearly all of it from the deeper code.
        if rng.random_range(0..2) == 0 {
            mend_checksums(&mut frame);
        }
        if frame.len() >= 32 && frame[12..14] == [8, 6] {
            // ARP believes what it is told. A liar who takes the address of an end cuts it off; that is not our test.
            frame[31] = 99;
        }
        frame
    }
}

fn receive(device: &mut MemDevice, now: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    device.rx_burst(now, &mut frames, 256);
    frames.iter().map(|frame| frame.bytes().to_vec()).collect()
}

fn send(device: &mut MemDevice, now: Instant, frames: &[Vec<u8>]) {
    let mut queue = VecDeque::new();
    for bytes in frames {
        let Some(mut frame) = device.pool().alloc() else { break };
        let len = bytes.len().min(frame.capacity());
        frame.buffer_mut()[..len].copy_from_slice(&bytes[..len]);
        frame.set_len(len);
        queue.push_back(frame);
    }
    device.tx_burst(now, &mut queue);
    device.kick().unwrap();
    device.reclaim(&mut Vec::new());
}

/// Makes the IPv4 and TCP checksums right where the frame is long enough to have them.
fn mend_checksums(frame: &mut [u8]) {
    if frame.len() < 54 || frame[12..14] != [8, 0] || frame[14] >> 4 != 4 {
        return;
    }
    let header = usize::from(frame[14] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if header < 20 || total < header + 20 || 14 + total > frame.len() {
        return;
    }
    frame[24..26].fill(0);
    let ip = sum(&frame[14..14 + header], 0);
    frame[24..26].copy_from_slice(&ip);
    let segment = 14 + header..14 + total;
    frame[segment.start + 16..segment.start + 18].fill(0);
    let pseudo: u32 = frame[26..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let tcp = sum(&frame[segment.clone()], pseudo + 6 + segment.len() as u32);
    frame[segment.start + 16..segment.start + 18].copy_from_slice(&tcp);
}

/// RFC 1071.
fn sum(bytes: &[u8], start: u32) -> [u8; 2] {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let total = frames();
    let config = MemConfig::default();
    let (near, client_side) = pair(&config).unwrap();
    let (far, server_side) = pair(&MemConfig { macs: [config.macs[1], config.macs[0]], ..config.clone() }).unwrap();
    let mut now = Instant::from_millis(1);
    let mut client = Worker::new(Talker::default(), near, worker_config(common::CLIENT, config.macs[0], 16), now);
    let mut settings = worker_config(SERVER.addr, config.macs[1], 16);
    // Spoiled SYNs open as many halves; they are not to keep the good ones out for the seconds that this lasts.
    (settings.endpoint.syn_queue, settings.endpoint.syn_ack_retries) = (1 << 16, 0);
    // And what was spoiled for good on this side, with a peer that has given up, ends.
    let (idle, interval) = (Duration::from_millis(100), Duration::from_millis(20));
    settings.tcp.keepalive = Some(KeepaliveConfig { idle, interval, probes: 3, garbage: false });
    let mut server = Worker::new(Echo::default(), far, settings, now);
    server.start(now).unwrap();
    client.start(now).unwrap();
    let mut middle = Middle {
        client: client_side,
        server: server_side,
        rng: Xoshiro256PlusPlus::seed_from_u64(1),
        seen: VecDeque::new(),
        spoiled: 0,
    };
    while middle.spoiled < total {
        now = now + Duration::from_micros(20);
        client.turn(now).unwrap();
        server.turn(now).unwrap();
        middle.pass(now, 32);
    }
    let counters = server.endpoint_counters();
    let refused: u64 =
        counters.iter().filter(|(name, _)| !name.ends_with("_in") && !name.ends_with("_out")).map(|(_, n)| n).sum();
    assert!(refused > total as u64 / 4, "{counters:#?}");
    let (echoed, opened) = (client.app().echoed, client.app().opened);
    assert!(
        opened > total as u64 / 10_000 && echoed > total as u64 / 10,
        "{opened} connections echoed {echoed} bytes, client {:#?}, server {counters:#?}",
        client.endpoint_counters()
    );

    // After all that, a good peer is served as before.
    let before = (client.endpoint_counters().clone(), server.endpoint_counters().clone());
    for _ in 0..200_000 {
        now = now + Duration::from_micros(100);
        client.turn(now).unwrap();
        server.turn(now).unwrap();
        middle.pass(now, 0);
    }
    let since = |before: &Counters, after: &Counters| -> Vec<_> {
        before.iter().zip(after.iter()).map(|((name, a), (_, b))| (name, b - a)).filter(|(_, n)| *n > 0).collect()
    };
    let good = client.app().echoed - echoed;
    assert!(
        good > 1_000_000,
        "{good} bytes, client {:?}, server {:?}",
        since(&before.0, client.endpoint_counters()),
        since(&before.1, server.endpoint_counters())
    );

    server.stop(now);
    server.abort();
    for _ in 0..64 {
        now = now + Duration::from_millis(10);
        server.turn(now).unwrap();
        middle.pass(now, 0);
    }
    server.discard_received(now);
    let census = server.census();
    assert!(census.is_whole() && census.free == census.total, "{census:?}");
}
