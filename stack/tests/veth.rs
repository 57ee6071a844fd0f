//! A whole stack on a veth pair, with the kernel as its peer. Needs root; `--features veth` turns it on.

mod common;

use common::veth::{KERNEL, Link, OWN, connect, enter, exchange, ip, start};
use common::{Echo, stretch};
use corelane::config::Config;
use corelane::{App, CloseReason, Conn, Core, Error, Rx, Shutdown};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

#[test]
fn the_kernel_talks_to_a_stack_that_then_stops_within_a_second() {
    let link = Link::new("echo", 1);
    let (stop, stack) = start(&link, link.config().build().unwrap(), |_| Echo::default());
    enter(&link.theirs);
    exchange(connect(&format!("{OWN}:7")), 64);
    let several: Vec<_> = (0..8).map(|_| connect(&format!("{OWN}:7"))).collect();
    std::thread::scope(|scope| {
        for stream in several {
            scope.spawn(|| exchange(stream, 200_000));
        }
    });
    let refused = TcpStream::connect_timeout(&format!("{OWN}:9").parse().unwrap(), Duration::from_secs(2));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let ping = Command::new("ping").args(["-c", "2", "-i", "0.2", "-W", "1", OWN]).output();
    assert!(ping.is_ok_and(|ping| ping.status.success()), "ping to {OWN}");
    let ping = Command::new("ping").args(["-c", "1", "-W", "1", "10.78.0.2"]).output();
    assert!(ping.is_ok_and(|ping| ping.status.success()), "ping to the kernel's own address on the same interface");

    let left_open = connect(&format!("{OWN}:7"));
    let asked = Instant::now();
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    drop(left_open);

    println!("{summary}");
    assert!(summary.all_frames_accounted_for(), "{summary}");
    assert_eq!((summary.workers[0].frames.held, summary.workers[0].frames.tx), (0, 0), "{summary}");
    assert_eq!(summary.workers[0].mode, "copy");
    assert!(summary.protocol()["opened_passive"] >= 10, "{summary}");
    assert!(summary.steering["redirected_own_tcp"] > 0 && summary.steering["redirected_own_icmp"] > 0, "{summary}");
    // The program is gone with the stack.
    let shown = Command::new("ip").args(["-n", &link.ours, "link", "show", "veth0"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("xdp"), "{shown:?}");

    // And another stack starts at once.
    let (stop, stack) = start(&link, link.config().build().unwrap(), |_| Echo::default());
    exchange(connect(&format!("{OWN}:7")), 64);
    stop.stop();
    stack.join().unwrap().unwrap();
}

#[test]
fn stopping_under_load_takes_less_than_a_second_and_loses_no_frame() {
    let link = Link::new("load", 1);
    let (stop, stack) = start(&link, link.config().build().unwrap(), |_| Echo::default());
    enter(&link.theirs);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = connect(&format!("{OWN}:7"));
            std::thread::spawn(move || {
                let mut bytes = [7; 3000];
                // Until the stack ends the connection, in whatever way.
                while stream.write_all(&bytes).is_ok() && stream.read_exact(&mut bytes).is_ok() {}
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    for client in clients {
        client.join().unwrap();
    }
    let frames = summary.workers[0].frames;
    assert!(summary.all_frames_accounted_for() && frames.held == 0 && frames.tx == 0, "{summary}");
    assert_eq!(summary.endings().values().sum::<u64>(), 16, "{summary}");
    assert!(summary.protocol()["bytes_in"] > 1_000_000, "{summary}");
}

#[test]
fn a_bad_network_from_the_configuration_changes_no_byte() {
    let link = Link::new("bad", 1);
    let mut config = link.config();
    for way in ["rx", "tx"] {
        for (what, how_often) in [("loss", 0.02), ("reorder", 0.01), ("duplicate", 0.01)] {
            config = config.set(&format!("impair.{way}.{what}"), how_often);
        }
    }
    let (stop, stack) = start(&link, config.build().unwrap(), |_| Echo::default());
    enter(&link.theirs);
    exchange(connect(&format!("{OWN}:7")), 500_000);
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    let device = &summary.workers[0].device;
    assert!(device["impair_rx_lost"] > 0 && device["impair_tx_lost"] > 0, "{summary}");
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

/// Opens connections to the kernel, sends one message on each and stops its core when all have come back.
struct Client {
    left: usize,
    result: Sender<usize>,
}

impl App for Client {
    type State = usize;

    fn on_start(&mut self, core: &mut Core<'_, usize>) -> Result<(), Error> {
        let to: SocketAddr = format!("{KERNEL}:9007").parse().unwrap();
        for _ in 0..self.left {
            core.connect(to, 0)?;
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> usize {
        unreachable!("the client does not listen")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, _: &mut usize) {
        assert_eq!(conn.send_copy(&stretch(0, 1000)), 1000);
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, got: &mut usize, rx: &mut Rx<'_>) {
        assert_eq!(rx.bytes(), &stretch(0, 1000)[*got..*got + rx.bytes().len()]);
        *got += rx.bytes().len();
        if *got == 1000 {
            self.result.send(*got).unwrap();
            self.left -= 1;
            conn.close();
        }
    }

    fn on_turn(&mut self, core: &mut Core<'_, usize>) -> Option<corelane::Instant> {
        if self.left == 0 && core.connections() == 0 {
            core.stop();
        }
        None
    }
}

#[test]
fn a_client_opens_connections_to_the_kernel_and_ends_by_itself() {
    const CONNECTIONS: usize = 50;
    let link = Link::new("client", 1);
    enter(&link.theirs);
    let listener = TcpListener::bind((KERNEL, 9007)).unwrap();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(CONNECTIONS) {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 1000];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
            assert_eq!(stream.read(&mut bytes).unwrap(), 0, "the client closes first");
        }
    });
    let (result, results) = channel();
    let make = move |_| Client { left: CONNECTIONS, result: result.clone() };
    let (_, stack) = start(&link, link.config().build().unwrap(), make);
    let summary = stack.join().unwrap().unwrap();
    server.join().unwrap();
    assert_eq!(results.iter().count(), CONNECTIONS);
    assert_eq!(summary.endings()["finished"], CONNECTIONS as u64, "{summary}");
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

/// How much goes each way.
const BULK: u64 = 100_000_000;

/// The byte at `at` of the stream: no two neighbourhoods are alike, so that a lost or doubled run shows.
const fn pattern(at: u64) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16) ^ (at >> 24)) as u8
}

/// Sends the stream, then reads it.
struct Bulk {
    sent: u64,
    got: u64,
    result: Sender<u64>,
}

impl Bulk {
    fn push(&mut self, conn: &mut Conn<'_>) {
        let mut bytes = [0; 16 * 1024];
        while self.sent < BULK {
            let len = bytes.len().min((BULK - self.sent) as usize);
            (self.sent..).zip(&mut bytes[..len]).for_each(|(at, byte)| *byte = pattern(at));
            let taken = conn.send_copy(&bytes[..len]);
            self.sent += taken as u64;
            if taken < len {
                return;
            }
        }
        conn.shutdown(Shutdown::Write);
    }
}

impl App for Bulk {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.connect(format!("{KERNEL}:9008").parse::<SocketAddr>().unwrap(), ())?;
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_connect(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        self.push(conn);
    }

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        for byte in rx.bytes() {
            assert_eq!(*byte, pattern(self.got), "byte {} of what the kernel sent", self.got);
            self.got += 1;
        }
    }

    fn on_closed(&mut self, core: &mut Core<'_, ()>, (): (), _: CloseReason) {
        self.result.send(self.got).unwrap();
        core.stop();
    }
}

#[test]
fn a_client_sends_100_mb_to_the_kernel_and_gets_100_mb_back() {
    let link = Link::new("bulk", 1);
    enter(&link.theirs);
    let listener = TcpListener::bind((KERNEL, 9008)).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut at) = (vec![0; 64 * 1024], 0);
        loop {
            let len = stream.read(&mut bytes).unwrap();
            for byte in &bytes[..len] {
                assert_eq!(*byte, pattern(at), "byte {at} of what the stack sent");
                at += 1;
            }
            if len == 0 {
                break;
            }
        }
        assert_eq!(at, BULK);
        for start in (0..BULK).step_by(bytes.len()) {
            let len = bytes.len().min((BULK - start) as usize);
            (start..).zip(&mut bytes[..len]).for_each(|(at, byte)| *byte = pattern(at));
            stream.write_all(&bytes[..len]).unwrap();
        }
    });
    let (result, results) = channel();
    let make = move |_| Bulk { sent: 0, got: 0, result: result.clone() };
    let (_, stack) = start(&link, link.config().build().unwrap(), make);
    let summary = stack.join().unwrap().unwrap();
    server.join().unwrap();
    assert_eq!(results.iter().collect::<Vec<_>>(), [BULK]);
    assert_eq!(summary.endings()["finished"], 1, "{summary}");
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

#[test]
fn two_queues_have_two_workers() {
    let link = Link::new("queues", 2);
    let config = link.config().queues(&[0, 1]).set("cores.pin", false).build().unwrap();
    let (stop, stack) = start(&link, config, |_| Echo::default());
    enter(&link.theirs);
    for _ in 0..40 {
        exchange(connect(&format!("{OWN}:7")), 1000);
    }
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert_eq!(summary.workers.len(), 2);
    assert!(summary.all_frames_accounted_for(), "{summary}");
    assert!(summary.protocol()["opened_passive"] >= 40, "{summary}");
}

#[test]
fn what_the_machine_lacks_is_one_sentence_and_exit_code_3() {
    let link = Link::new("lacks", 1);
    let attempt = |config: Config| {
        let (_, stack) = start(&link, config, |_| Echo::default());
        let error = stack.join().unwrap().unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().lines().count()), (3, 1), "{error}");
        error.to_string()
    };
    let missing = attempt(link.config().interface("nowhere0").build().unwrap());
    assert!(missing.contains("nowhere0"), "{missing}");
    let queue = attempt(link.config().queues(&[5]).build().unwrap());
    assert!(queue.contains("queue 5"), "{queue}");
    let core = attempt(link.config().cores(&[1000]).build().unwrap());
    assert!(core.contains("core 1000"), "{core}");
    ip(&format!("-n {} link set veth0 mtu 3000", link.ours));
    let mtu = attempt(link.config().build().unwrap());
    assert!(mtu.contains("3000") && mtu.contains("frame_size = 4096"), "{mtu}");
    ip(&format!("-n {} link set veth0 mtu 1500", link.ours));
    ip(&format!("-n {} link set veth0 down", link.ours));
    let down = attempt(link.config().build().unwrap());
    assert!(down.contains("ip link set dev veth0 up"), "{down}");
}

/// Panics when the first bytes come.
struct Faulty;

impl App for Faulty {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        core.listen_port(7)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {}

    fn on_recv(&mut self, _: &mut Conn<'_>, (): &mut (), _: &mut Rx<'_>) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_in_a_worker_stops_the_stack_and_is_told() {
    let link = Link::new("panic", 1);
    let (_, stack) = start(&link, link.config().build().unwrap(), |_| Faulty);
    enter(&link.theirs);
    let mut stream = connect(&format!("{OWN}:7"));
    stream.write_all(b"x").unwrap();
    let error = stack.join().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Panicked { worker: 0, message } if message == "on purpose"), "{error}");
    assert_eq!(error.exit_code(), 1);
}
