//! Shares that move while packets go on: no connection is lost.

use crate::clients::{exchange, exchange_many};
use crate::common::Echo;
use crate::common::veth::{Link, OWN, connect, enter, start_with};
use corelane::control::{Control, ControlError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections that always have a request under way.
const IN_FLIGHT: usize = 500;

/// Threads that drive them.
const THREADS: usize = 10;

/// Waits until `control` answers, which it does once the stack runs.
fn wait_for(control: &Control) {
    let end = Instant::now() + Duration::from_secs(10);
    while control.shares().is_err() {
        assert!(Instant::now() < end, "the stack does not answer");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until nothing is left of the connections of these workers.
fn wait_until_empty(control: &Control, workers: std::ops::Range<usize>) {
    let end = Instant::now() + Duration::from_secs(10);
    while control.shares().unwrap()[workers.clone()].iter().any(|share| share.flows > 0) {
        assert!(Instant::now() < end, "{:?}", control.shares());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Drains and adds workers while connections live and others come and go; `sockets` for each queue.
fn drain_and_add(name: &str, sockets: &str) {
    let link = Link::new(name, 2);
    let config = link
        .config()
        .set("cores.workers", 3)
        .set("cores.pin", false)
        .set("interface.sockets_per_queue", sockets)
        .set("limits.connections", 4000)
        .build()
        .unwrap();
    let control = Control::new();
    let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), |_| Echo::default());
    wait_for(&control);
    let (over, exchanges) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (link, over, exchanges) = (&link, &over, &exchanges);
            scope.spawn(move || {
                enter(&link.theirs);
                let mut streams: Vec<_> = (0..IN_FLIGHT / THREADS).map(|_| connect(&format!("{OWN}:7"))).collect();
                for stream in &streams {
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                }
                let mut round = 0;
                while !over.load(Ordering::Relaxed) {
                    for (at, stream) in streams.iter_mut().enumerate() {
                        exchange(stream, (thread * 1000 + at) * 1000 + round);
                        exchanges.fetch_add(1, Ordering::Relaxed);
                    }
                    round = (round + 1) % 1000;
                    // And one that is new, whoever gets new ones now.
                    exchange(&mut connect(&format!("{OWN}:7")), thread);
                }
            });
        }
        for worker in [0, 1, 2, 1] {
            exchange_many(&link.theirs, 100);
            let drained = control.drain(worker).unwrap();
            assert_eq!((drained[worker].buckets, drained[worker].drained), (0, true));
            assert!(drained[worker].flows > 0, "its connections stay: {drained:?}");
            exchange_many(&link.theirs, 100);
            let added = control.add(worker).unwrap();
            assert!(added.iter().all(|share| share.buckets >= 341 && !share.drained), "{added:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
    wait_until_empty(&control, 0..3);
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    println!("{sockets}: {} exchanges while shares moved eight times\n{summary}", exchanges.load(Ordering::Relaxed));
    assert!(exchanges.load(Ordering::Relaxed) > IN_FLIGHT);
    let endings = summary.endings();
    assert_eq!(endings["finished"], endings.values().sum::<u64>(), "{summary}");
    // A client that is reset has panicked. Resets there may be all the same, for ACKs that come behind the last one.
    assert!(summary.all_frames_accounted_for(), "{summary}");
}

#[test]
fn workers_are_drained_and_added_under_load_without_an_error() {
    drain_and_add("d-all", "all");
}

#[test]
fn so_they_are_where_a_queue_has_one_socket() {
    drain_and_add("d-one", "one");
}

#[test]
fn a_drained_worker_is_empty_in_the_end_and_the_last_cannot_be_drained() {
    let link = Link::new("empty", 1);
    let config = link.config().set("cores.workers", 2).set("cores.pin", false).build().unwrap();
    let control = Control::new();
    assert_eq!(Control::new().drain(0).unwrap_err(), ControlError::NotRunning);
    let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), |_| Echo::default());
    wait_for(&control);
    enter(&link.theirs);
    let mut streams: Vec<_> = (0..50).map(|_| connect(&format!("{OWN}:7"))).collect();
    let shares = control.drain(1).unwrap();
    assert!(shares[1].flows > 0 && shares[0].flows > 0, "{shares:?}");
    assert_eq!(control.drain(0).unwrap_err(), ControlError::LastWorker { worker: 0 });
    assert_eq!(control.drain(2).unwrap_err(), ControlError::NoWorker { worker: 2, last: 1 });
    for (number, stream) in streams.iter_mut().enumerate() {
        exchange(stream, number);
    }
    drop(streams);
    wait_until_empty(&control, 1..2);
    stop.stop();
    let summary = stack.join().unwrap().unwrap();
    assert!(summary.all_frames_accounted_for(), "{summary}");
    assert_eq!(control.shares().unwrap_err(), ControlError::NotRunning);
}

#[test]
fn a_share_goes_by_itself_from_the_busiest_to_the_idlest() {
    let link = Link::new("level", 1);
    let config = link
        .config()
        .set("cores.workers", 2)
        .set("cores.pin", false)
        .set("steering.buckets", 2)
        .set("steering.rebalance_ms", 50)
        .build()
        .unwrap();
    let control = Control::new();
    let (stop, stack) = start_with(&link, config, |builder| builder.control(&control), |_| Echo::default());
    wait_for(&control);
    // With two buckets there is nothing to give away: whoever has one keeps it.
    exchange_many(&link.theirs, 200);
    std::thread::sleep(Duration::from_millis(200));
    let shares = control.shares().unwrap();
    assert_eq!([shares[0].buckets, shares[1].buckets], [1, 1], "{shares:?}");
    stop.stop();
    stack.join().unwrap().unwrap();
}
