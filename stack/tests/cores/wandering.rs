//! A flow whose frames come by another queue each time: its owner has all of them.

use crate::clients::{counted, many};
use crate::common::veth::{Link, OWN, connect, enter, start};
use crate::common::{SERVER, pattern, stretch};
use corelane::{App, CloseReason, Conn, Core, Error, Rx, Summary};
use corelane_xdp::veth::AnyQueue;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Queues of the interface.
const QUEUES: usize = 4;

/// Bytes of a bulk transfer each way.
const BULK: usize = 3_000_000;

/// Bytes of a message, and messages of a connection.
const MESSAGE: usize = 200;
const MESSAGES: usize = 1000;

/// Connections at one time, when there are several.
const TOGETHER: usize = 4;

/// What a connection was to the worker that had it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    worker: usize,
    bytes: u64,
}

/// Echoes, checks each byte, and notes what every connection was when it ends.
struct Witness {
    worker: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl App for Witness {
    type State = u64;

    fn on_start(&mut self, core: &mut Core<'_, u64>) -> Result<(), Error> {
        core.listen_port(SERVER.port)
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> u64 {
        0
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, at: &mut u64, rx: &mut Rx<'_>) {
        let taken = conn.send_copy(rx.bytes());
        assert!((*at..).zip(&rx.bytes()[..taken]).all(|(at, byte)| pattern(at) == *byte), "other bytes came at {at}");
        *at += taken as u64;
        rx.consume(taken);
    }

    fn on_closed(&mut self, _: &mut Core<'_, u64>, bytes: u64, reason: CloseReason) {
        assert_eq!(reason, CloseReason::Finished);
        self.seen.lock().unwrap().push(Seen { worker: self.worker, bytes });
    }
}

/// Frames that have come by each of the interface's queues.
fn by_queue(link: &Link) -> [u64; QUEUES] {
    let said = Command::new("ip").args(["netns", "exec", &link.ours, "ethtool", "-S", "veth0"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    std::array::from_fn(|queue| {
        let name = format!("rx_queue_{queue}_xdp_packets:");
        let value = said.lines().find_map(|line| line.trim().strip_prefix(&name)).unwrap_or_else(|| panic!("{said}"));
        value.trim().parse().unwrap()
    })
}

/// Both ways at once, as fast as it goes.
fn bulk(stream: &TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(&stretch(0, BULK)).unwrap();
        });
        let mut reader = stream;
        let mut back = vec![0; BULK];
        reader.read_exact(&mut back).unwrap();
        assert!(back == stretch(0, BULK), "other bytes came back");
    });
}

/// A message after the other.
fn echo(mut stream: &TcpStream) {
    for number in 0..MESSAGES {
        let sent = stretch((number * MESSAGE) as u64, MESSAGE);
        stream.write_all(&sent).unwrap();
        let mut back = [0; MESSAGE];
        stream.read_exact(&mut back).unwrap();
        assert!(back[..] == sent, "message {number}: other bytes came back");
    }
}

fn open() -> TcpStream {
    let stream = connect(&format!("{OWN}:7"));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One connection, told apart by all queues having had frames while nothing else was under way.
fn alone(link: &Link, what: &str, talk: fn(&TcpStream)) -> TcpStream {
    let stream = open();
    let before = by_queue(link);
    talk(&stream);
    let after = by_queue(link);
    let came: Vec<u64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    println!("  one {what}: frames by queue {came:?}");
    assert!(came.iter().all(|count| *count > 10), "the flow did not move: {came:?}");
    stream
}

fn wander(name: &str, sockets: &str, workers: usize) {
    let link = Link::new(name, QUEUES as u32);
    let config = many(&link, workers, sockets).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    println!("{sockets}, {workers} workers:");
    let (stop, stack) = start(&link, config, move |worker| Witness { worker, seen: Arc::clone(&noted) });
    enter(&link.theirs);
    let program = AnyQueue::attach("veth1", QUEUES as u8);
    let mut streams = vec![alone(&link, "bulk transfer", bulk), alone(&link, "echo", echo)];
    let together: Vec<_> = (0..TOGETHER).map(|_| open()).collect();
    std::thread::scope(|scope| together.iter().for_each(|stream| drop(scope.spawn(|| bulk(stream)))));
    streams.extend(together);
    // A segment that its FIN has overtaken on another queue would find no connection, and rightly get an RST.
    drop(program);
    std::thread::sleep(Duration::from_millis(100));
    drop(streams);
    // The last ends of connections.
    std::thread::sleep(Duration::from_millis(100));
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    judge(&summary, &seen.lock().unwrap(), sockets);
}

/// Each connection was one worker's from its first byte to its last, and nothing was lost.
fn judge(summary: &Summary, seen: &[Seen], sockets: &str) {
    assert_eq!(seen.len(), 2 + TOGETHER, "{seen:?}");
    for (bytes, count) in [(BULK, 1 + TOGETHER), (MESSAGE * MESSAGES, 1)] {
        assert_eq!(seen.iter().filter(|one| one.bytes == bytes as u64).count(), count, "{seen:?}");
    }
    for worker in &summary.workers {
        let own: Vec<_> = seen.iter().filter(|one| one.worker == worker.worker).collect();
        let bytes: u64 = own.iter().map(|one| one.bytes).sum();
        let counters = [worker.protocol["opened_passive"], worker.protocol["bytes_in"]];
        assert_eq!(counters, [own.len() as u64, bytes], "{seen:?} {summary}");
    }
    let handed = counted(summary, "handed_over");
    println!("  handed over {handed}, of {} frames", counted(summary, "rx_frames"));
    assert_eq!(handed > 0, sockets == "one", "{summary}");
    assert_eq!(handed, counted(summary, "handed_in"), "{summary}");
    for lost in [
        "rx_ring_full",
        "rx_no_frame",
        "rx_malformed",
        "dropped_hand_over",
        "dropped_astray",
        "dropped_no_listener",
        "dropped_no_buffer",
        "resets_out",
    ] {
        assert_eq!(counted(summary, lost), 0, "{lost}: {summary}");
    }
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

#[test]
fn a_flow_that_changes_its_queue_stays_with_its_owner() {
    wander("w-all", "all", 4);
    wander("w-all3", "all", 3);
}

#[test]
fn so_it_does_where_a_queue_has_one_socket() {
    wander("w-one", "one", 4);
    wander("w-one2", "one", 2);
}
