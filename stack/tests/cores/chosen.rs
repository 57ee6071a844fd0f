//! Listeners on a chosen set of workers: whichever worker a SYN comes to, one of the set has the connection.

use crate::clients::{counted, exchange};
use crate::common::SERVER;
use crate::common::veth::{Link, OWN, connect, enter, start};
use corelane::{App, Conn, Core, Error, Instant, Rx};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Connections of each case, all at the same time.
const CONNECTIONS: usize = 500;

/// Workers, on two queues.
const WORKERS: usize = 3;

/// Messages of each.
const MESSAGES: usize = 5;

/// Echoes on the workers that are chosen.
struct Chosen {
    worker: usize,
    listens: bool,
    resets: Arc<[AtomicU64; WORKERS]>,
}

impl App for Chosen {
    type State = ();

    fn on_start(&mut self, core: &mut Core<'_, ()>) -> Result<(), Error> {
        if self.listens { core.listen_port(SERVER.port) } else { Ok(()) }
    }

    fn on_accept(&mut self, _: &mut Conn<'_>) {
        assert!(self.listens, "a connection without a listener");
    }

    fn on_recv(&mut self, conn: &mut Conn<'_>, (): &mut (), rx: &mut Rx<'_>) {
        let taken = conn.send_copy(rx.bytes());
        rx.consume(taken);
    }

    fn on_turn(&mut self, core: &mut Core<'_, ()>) -> Option<Instant> {
        self.resets[self.worker].store(core.counters().resets_out, Ordering::Relaxed);
        None
    }
}

/// Several workers, of which `chosen` listen.
fn serve(name: &str, sockets: &str, chosen: &'static [usize]) {
    let link = Link::new(name, 2);
    let config = link
        .config()
        .set("cores.workers", WORKERS as i64)
        .set("cores.pin", false)
        .set("interface.sockets_per_queue", sockets)
        .build()
        .unwrap();
    let resets: Arc<[AtomicU64; WORKERS]> = Arc::default();
    let counts = Arc::clone(&resets);
    let (stop, stack) = start(&link, config, move |worker| Chosen {
        worker,
        listens: chosen.contains(&worker),
        resets: Arc::clone(&counts),
    });
    enter(&link.theirs);
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(&format!("{OWN}:7"))).collect();
    for number in 0..MESSAGES {
        streams.iter_mut().for_each(|stream| exchange(stream, number));
    }
    // Before the connections end: who gets the ACK of a FIN twice, because it sent that twice, rightly answers with an RST.
    assert!(resets.iter().all(|count| count.load(Ordering::Relaxed) == 0), "{resets:?}");
    drop(streams);
    // The last ends of connections.
    std::thread::sleep(Duration::from_millis(100));
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    let opened: Vec<u64> = summary.workers.iter().map(|worker| worker.protocol["opened_passive"]).collect();
    let (handed, frames) = (counted(&summary, "handed_over"), counted(&summary, "segments_in"));
    println!("{sockets}, {chosen:?} of 3 listen: opened {opened:?}, handed over {handed}, of {frames} segments");
    let all = CONNECTIONS as u64;
    assert_eq!(opened.iter().sum::<u64>(), all, "{summary}");
    for (worker, opened) in opened.into_iter().enumerate() {
        // An equal part, and six standard deviations.
        let part = if chosen.contains(&worker) { all / chosen.len() as u64 } else { 0 };
        assert!(opened.abs_diff(part) <= if chosen.len() > 1 { 70 } else { 0 }, "{summary}");
    }
    assert_eq!(summary.endings()["finished"], all, "{summary}");
    for none in ["dropped_no_listener", "dropped_hand_over", "dropped_astray"] {
        assert_eq!(counted(&summary, none), 0, "{none}: {summary}");
    }
    assert_eq!(handed, counted(&summary, "handed_in"), "{summary}");
    assert!(handed > all / 3, "a third of the SYNs and more come to another worker: {summary}");
    if sockets == "all" {
        // A third or two of the connections; of each the SYN, the ACK and what comes before the pin is in force.
        assert!(handed < all * 3, "what comes later comes directly: {summary}");
    }
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

#[test]
fn one_of_three_workers_listens_and_has_every_connection() {
    serve("c-all1", "all", &[1]);
    serve("c-one1", "one", &[1]);
}

#[test]
fn two_of_three_workers_share_every_connection() {
    serve("c-all2", "all", &[0, 2]);
    serve("c-one2", "one", &[0, 2]);
}
