//! How a server ends under load: killed, and asked to.

use crate::neighbour::{KernelServer, exchange, expect_kernel, load};
use crate::process::Running;
use crate::summary::Summary;
use crate::world::{End, OWN, World, connect, say, wait_for};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// A load that has been running for a second.
fn load_for_a_second(world: &World, out: &str) -> Running {
    let mut load = Running::start(&mut load(world, 7, "30", out));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!load.has_ended(), "the load was to go on");
    load
}

#[test]
fn kill_9_under_load_leaves_no_program_and_the_next_start_works_at_once() {
    let world = World::new();
    let _kernel = KernelServer::start(&world, 22);
    let dir = tempfile::tempdir().expect("a folder for the test");
    let out = dir.path().to_str().expect("a plain path");
    // Twice, because what is left over may be what the second start trips over.
    for round in 1..=2 {
        let server = world.serve("echo", 7, &[]);
        assert!(world.program().is_some(), "the steering program is on the interface while the server runs");
        let load = load_for_a_second(&world, out);
        let killed = server.kill();
        assert_eq!(killed.code, None, "a signal ended it: {killed}");
        // Nothing is between the death and this start.
        let began = Instant::now();
        let server = world.serve("echo", 7, &[]);
        let started = began.elapsed();
        assert!(started < Duration::from_secs(2), "the next start took {started:?}");
        world.inside(End::Client, || exchange(OWN, 7)).expect("TCP to our own address after the next start");
        expect_kernel(&world, 22, "after the next start");
        drop(load);

        // And with nobody starting anew.
        let killed = server.kill();
        assert_eq!(killed.code, None, "{killed}");
        let gone = wait_for("the program goes", Duration::from_secs(1), || world.program().is_none());
        world.expect_no_program("after kill -9");
        expect_kernel(&world, 22, "after kill -9");
        say!("round {round}: the next start took {started:.2?}, the program was seen gone after {gone:.2?}");
    }
}

/// The end of a server under load, within a second and with everything in order.
fn expect_quick_end(world: &World, server: Running) -> Summary {
    let ended = server.terminate();
    assert!(ended.took < Duration::from_secs(1), "the end took {:?}: {ended}", ended.took);
    say!("ended {:.0?} after SIGTERM", ended.took);
    world.expect_no_program("after SIGTERM");
    Summary::of(&ended)
}

#[test]
fn sigterm_under_load_ends_within_a_second_with_every_frame_accounted_for() {
    let world = World::new();
    let dir = tempfile::tempdir().expect("a folder for the test");
    let server = world.serve("echo", 7, &[]);
    let load = load_for_a_second(&world, dir.path().to_str().expect("a plain path"));
    let summary = expect_quick_end(&world, server);
    drop(load);
    let connections = summary.workload("closed") + summary.workload("open_at_stop");
    assert_eq!((summary.workload("accepted"), connections), (64, 64));
    assert!(summary.workload("bytes_out") > 1_000_000, "it was under load");
}

#[test]
fn sigterm_in_the_middle_of_big_transfers_ends_within_a_second_with_every_frame_accounted_for() {
    let world = World::new();
    let server = world.serve("http", 80, &[]);
    let (from, to) = (format!("http://{OWN}/bytes/10000000000"), format!("http://{OWN}/upload"));
    let curl = |arguments: &[&str]| Running::start(&mut world.command(End::Client, "curl", arguments));
    let mut clients = vec![
        curl(&["-sS", "-o", "/dev/null", &from]),
        curl(&["-sS", "-T", "/dev/zero", &to]),
        // One that does not read: what it was sent stays unacknowledged in its closed window.
        curl(&["-sS", "-o", "/dev/null", "--limit-rate", "1k", &from]),
    ];
    std::thread::sleep(Duration::from_secs(1));
    assert!(clients.iter_mut().all(|client| !client.has_ended()), "the transfers were to go on");
    let summary = expect_quick_end(&world, server);
    drop(clients);
    assert_eq!(summary.workload("accepted"), 3);
    assert!(summary.workload("bytes_in") > 1_000_000 && summary.workload("bytes_out") > 1_000_000);
}

#[test]
fn open_connections_end_by_a_fin_or_by_a_reset_as_configured() {
    let world = World::new();
    for (close_ms, resets) in [("300", false), ("0", true)] {
        let setting = format!("control.close_ms={close_ms}");
        let server = world.serve("echo", 7, &["--set", &setting]);
        let mut stream = world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
        stream.write_all(b"x").expect("it is sent");
        stream.read_exact(&mut [0]).expect("it is answered");
        Summary::of(&server.terminate());
        let end = stream.read(&mut [0]);
        match end {
            Ok(0) => assert!(!resets, "{close_ms}"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => assert!(resets, "{close_ms}"),
            other => panic!("{close_ms}: {other:?}"),
        }
    }
}
