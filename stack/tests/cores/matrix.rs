//! Queues times workers times sockets: every connection is served, by the worker that owns it.

use crate::clients::{counted, echo_server, exchange_many, many, message};
use crate::common::Echo;
use crate::common::veth::{KERNEL, Link, connect, enter, start};
use corelane::{App, CloseReason, Conn, Core, Error, Rx, SocketAddr};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections of each cell of the matrix.
const CONNECTIONS: usize = 2000;

#[test]
fn every_connection_is_served_by_its_owner_whatever_the_queues_workers_and_sockets() {
    println!("queues workers sockets  connections  by worker                 handed over   seconds");
    let mut shares: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for queues in [1_u32, 2, 4] {
        let link = Link::new(&format!("m{queues}"), queues);
        for workers in [1, 2, 3, 4] {
            for sockets in ["one", "all"] {
                let config = many(&link, workers, sockets).build().unwrap();
                let began = Instant::now();
                let (stop, stack) = start(&link, config, |_| Echo::default());
                exchange_many(&link.theirs, CONNECTIONS);
                stop.stop();
                let summary = stack.join().unwrap().unwrap();
                let opened: Vec<u64> = summary.workers.iter().map(|w| w.protocol["opened_passive"]).collect();
                let handed = counted(&summary, "handed_over");
                let seconds = began.elapsed().as_secs_f64();
                println!(
                    "{queues:6} {workers:7} {sockets:>7}  {CONNECTIONS:11}  {:<25} {handed:>11}  {seconds:8.2}",
                    format!("{opened:?}")
                );
                assert_eq!(opened.iter().sum::<u64>(), CONNECTIONS as u64, "{summary}");
                assert!(summary.all_frames_accounted_for(), "{summary}");
                assert_eq!(
                    (handed, counted(&summary, "dropped_hand_over")),
                    (counted(&summary, "handed_in"), 0),
                    "{summary}"
                );
                for lost in ["rx_ring_full", "rx_no_frame", "rx_malformed"] {
                    assert_eq!(counted(&summary, lost), 0, "nothing is lost: {summary}");
                }
                // With one socket a frame comes to its queue's owner, right or wrong.
                let must_hand_over = sockets == "one" && workers > 1;
                assert_eq!(handed > 0, must_hand_over, "{summary}");
                let sum = shares.entry(workers).or_insert_with(|| vec![0; workers]);
                sum.iter_mut().zip(opened).for_each(|(sum, opened)| *sum += opened);
            }
        }
    }
    for (workers, shares) in shares {
        let even = shares.iter().sum::<u64>() / workers as u64;
        println!("{workers} workers: {shares:?} connections, even would be {even}");
        // Six standard deviations and more, for the 12,000 of each.
        assert!(shares.iter().all(|share| share.abs_diff(even) <= even / 10), "{shares:?}");
    }
}

/// Opens connections to the kernel from every worker, and checks what comes back.
struct Opener {
    worker: usize,
    left: usize,
    done: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

struct Opened {
    number: usize,
    back: Vec<u8>,
}

impl Opener {
    fn open(&mut self, core: &mut Core<'_, Opened>) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let number = self.worker * 100_000 + left;
        let to: std::net::SocketAddr = format!("{KERNEL}:9000").parse().unwrap();
        if core.connect(SocketAddr::from(to), Opened { number, back: Vec::new() }).is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl App for Opener {
    type State = Opened;

    fn on_start(&mut self, core: &mut Core<'_, Opened>) -> Result<(), Error> {
        for _ in 0..8 {
            self.open(core);
        }
        Ok(())
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) -> Opened {
        unreachable!("nobody listens")
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, state: &mut Opened) {
        conn.send_copy(&message(state.number));
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, state: &mut Opened, rx: &mut Rx<'_>) {
        state.back.extend_from_slice(rx.bytes());
        if state.back.len() == message(state.number).len() {
            conn.close();
        }
    }

    fn on_closed(&mut self, core: &mut Core<'_, Opened>, state: Opened, reason: CloseReason) {
        let well = reason == CloseReason::Finished && state.back == message(state.number);
        let count = if well { &self.done } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        self.open(core);
    }
}

#[test]
fn connections_that_the_stack_opens_come_back_to_the_worker_that_opened_them() {
    for (queues, workers, sockets) in [(2, 3, "all"), (4, 2, "all"), (1, 3, "one"), (2, 2, "one")] {
        let link = Link::new(&format!("o{queues}{workers}{sockets}"), queues);
        let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let stop_server = AtomicBool::new(false);
        let each = 400;
        let (summary, served) = std::thread::scope(|scope| {
            let (theirs, stop_server) = (&link.theirs, &stop_server);
            let (ready, listening) = std::sync::mpsc::channel();
            let server = scope.spawn(move || {
                enter(theirs);
                let listener = TcpListener::bind((KERNEL, 9000)).unwrap();
                ready.send(()).unwrap();
                echo_server(&listener, stop_server)
            });
            listening.recv().unwrap();
            let config = many(&link, workers, sockets).build().unwrap();
            let (finished, broken) = (Arc::clone(&done), Arc::clone(&failed));
            let (stop, stack) = start(&link, config, move |worker| Opener {
                worker,
                left: each,
                done: Arc::clone(&finished),
                failed: Arc::clone(&broken),
            });
            let end = Instant::now() + Duration::from_secs(60);
            while done.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed) < each * workers && Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            stop.stop();
            let summary = stack.join().unwrap().unwrap();
            stop_server.store(true, Ordering::Relaxed);
            (summary, server.join().unwrap())
        });
        let opened: Vec<u64> = summary.workers.iter().map(|worker| worker.protocol["opened_active"]).collect();
        assert_eq!((done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (each * workers, 0), "{summary}");
        assert_eq!((opened, served), (vec![each as u64; workers], each * workers), "each worker has opened its own");
        let handed = counted(&summary, "handed_over");
        assert_eq!(handed > 0, sockets == "one", "{summary}");
        assert!(summary.all_frames_accounted_for(), "{summary}");
    }
}

#[test]
fn a_worker_that_sleeps_is_woken_by_what_is_handed_to_it() {
    // One queue, one socket, two workers: the second has nothing but what the first hands over.
    let link = Link::new("wake", 1);
    let config = link
        .config()
        .set("cores.workers", 2)
        .set("cores.pin", false)
        .set("interface.sockets_per_queue", "one")
        .set("waiting.sleep_max_ms", 500)
        .waiting(corelane::config::Strategy::Sleep)
        .build()
        .unwrap();
    let (stop, stack) = start(&link, config, |_| Echo::default());
    enter(&link.theirs);
    let streams: Vec<_> = (0..20).map(|_| connect(&format!("{}:7", crate::common::veth::OWN))).collect();
    for (number, mut stream) in streams.into_iter().enumerate() {
        std::thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        crate::clients::exchange(&mut stream, number);
        // Not a measurement: without being woken it would take up to half a second.
        assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    }
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(summary.workers.iter().all(|worker| worker.protocol["opened_passive"] > 0), "{summary}");
    assert!(counted(&summary, "wakes") > 0 && counted(&summary, "sleeps") > 0, "{summary}");
}
