//! Many connections: at once and one after the other, as server and as client, on one queue and on two.

use crate::neighbour::rate_of;
use crate::process::Ended;
use crate::summary::Summary;
use crate::world::{BENCH, CLIENT, End, OWN, World, connect, own_arguments, say};
use corelane_bench::workload::pattern;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 1000;
const MESSAGES: usize = 100;
const MESSAGE: usize = 64;
/// No part of a test takes longer, on whatever machine.
const LIMIT: Duration = Duration::from_secs(60);

fn own(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(OWN), port)
}

/// Lets this process have as many descriptors as it may.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit is allowed");
    assert!(maximum.is_none_or(|most| most >= 2000), "the hard limit of open files is only {maximum:?}");
}

/// Opens all connections, then lets each echo its messages: all are under way before the first answer is read.
fn echo_at_once(target: SocketAddr) -> (Duration, Duration) {
    let began = Instant::now();
    let mut streams: Vec<TcpStream> =
        (0..CONNECTIONS).map(|n| connect(target).unwrap_or_else(|error| panic!("connection {n}: {error}"))).collect();
    let opened = began.elapsed();
    let began = Instant::now();
    let (mut message, mut answer) = ([0; MESSAGE], [0; MESSAGE]);
    for round in 0..MESSAGES as u64 {
        assert!(began.elapsed() < LIMIT, "only {round} messages in {LIMIT:?}");
        for (seed, stream) in (0..).zip(&mut streams) {
            pattern::fill(seed, round * MESSAGE as u64, &mut message);
            stream.write_all(&message).unwrap_or_else(|error| panic!("connection {seed}, message {round}: {error}"));
        }
        for (seed, stream) in (0..).zip(&mut streams) {
            stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("connection {seed}, answer {round}: {error}"));
            assert!(pattern::matches(seed, round * MESSAGE as u64, &answer), "connection {seed}, answer {round}");
        }
    }
    let echoed = began.elapsed();
    for (n, stream) in streams.iter_mut().enumerate() {
        stream.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(stream.read(&mut answer).expect("no reset"), 0, "connection {n} has an end and nothing more");
    }
    (opened, echoed)
}

/// What the server has to say of [`echo_at_once`].
fn expect_echoes(summary: &Summary) {
    let bytes = (CONNECTIONS * MESSAGES * MESSAGE) as u64;
    assert_eq!((summary.workload("bytes_in"), summary.workload("bytes_out")), (bytes, bytes));
    let connections = CONNECTIONS as u64;
    assert_eq!((summary.workload("accepted"), summary.workload("closed")), (connections, connections));
    assert_eq!((summary.workload("reset"), summary.workload("open_at_stop")), (0, 0));
    assert_eq!(summary.endings("finished"), connections);
}

#[test]
fn a_thousand_connections_at_once_each_echo_a_hundred_messages() {
    let world = World::new();
    raise_descriptors();
    let server = world.serve("echo", 7, &[]);
    let (opened, echoed) = world.inside(End::Client, || echo_at_once(own(7)));
    expect_echoes(&Summary::of(&server.terminate()));
    let rate = (CONNECTIONS * MESSAGES) as f64 / echoed.as_secs_f64();
    say!("1,000 connections opened in {opened:.2?}, 100,000 messages echoed in {echoed:.2?}, {rate:.0}/s");
}

#[test]
fn two_queues_with_two_cores_share_the_connections() {
    let cores = std::thread::available_parallelism().expect("the number of cores").get();
    assert!(cores >= 2, "two workers need two cores, and this process may use {cores}");
    let world = World::with_queues(2);
    raise_descriptors();
    let server = world.serve("echo", 7, &["--cores", "0,1"]);
    let (opened, echoed) = world.inside(End::Client, || echo_at_once(own(7)));
    let summary = Summary::of(&server.terminate());
    expect_echoes(&summary);
    let shares: Vec<u64> = summary
        .workers()
        .iter()
        .map(|worker| worker["protocol"]["opened_passive"].as_u64().expect("a counter"))
        .collect();
    assert_eq!((shares.len(), shares.iter().sum::<u64>()), (2, CONNECTIONS as u64), "{shares:?}");
    // A fair coin leaves a quarter to one side once in 10^58 times.
    assert!(shares.iter().all(|share| *share >= CONNECTIONS as u64 / 4), "{shares:?}");
    let queues: Vec<&Value> = summary.workers().iter().map(|worker| &worker["queue"]).collect();
    assert_eq!(queues, [0, 1]);
    say!("{shares:?} connections opened in {opened:.2?}, 100,000 messages echoed in {echoed:.2?}");
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: corelane\r\n\r\n";
const LAST_REQUEST: &str = "GET / HTTP/1.1\r\nHost: corelane\r\nConnection: close\r\n\r\n";

/// Whether `answer` is complete: its head, and as many bytes as the head says.
fn is_complete(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    head.starts_with("HTTP/1.1 200 ") && length.and_then(|text| text.parse().ok()) == Some(body.len())
}

/// One request, one answer; then the client ends the connection, or waits for the server to do it.
fn ask_once(request: &str, server_closes: bool) -> std::io::Result<String> {
    let mut stream = connect(own(80))?;
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        if count == 0 || (!server_closes && is_complete(&text)) {
            // An end that was not asked for is an error even if the answer was whole.
            let as_agreed = (count == 0) == server_closes;
            return if as_agreed { Ok(text.into_owned()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

fn ask_repeatedly(times: usize, request: &str, server_closes: bool) -> Duration {
    let began = Instant::now();
    for number in 0..times {
        let answer = ask_once(request, server_closes).unwrap_or_else(|error| panic!("connection {number}: {error}"));
        assert!(is_complete(&answer), "connection {number}: {answer}");
        assert!(began.elapsed() < LIMIT, "only {number} connections in {LIMIT:?}");
    }
    began.elapsed()
}

#[test]
fn twenty_thousand_connections_one_after_the_other() {
    let world = World::new();
    // Each connection leaves the kernel a port in TIME-WAIT; among 14,000 odd ones it would search longer each time.
    world.inside(End::Client, || {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535").expect("a namespace has its own ports");
    });
    let server = world.serve("http", 80, &[]);
    let (by_client, by_server) = world
        .inside(End::Client, || (ask_repeatedly(20_000, REQUEST, false), ask_repeatedly(1000, LAST_REQUEST, true)));
    say!("20,000 connections in {by_client:.2?}, {:.0}/s (the client closes)", 20_000.0 / by_client.as_secs_f64());
    say!("1,000 connections in {by_server:.2?}, {:.0}/s (the server closes)", 1000.0 / by_server.as_secs_f64());
    let summary = Summary::of(&server.terminate());
    assert_eq!((summary.workload("accepted"), summary.workload("requests")), (21_000, 21_000));
    assert_eq!((summary.workload("closed"), summary.workload("open_at_stop")), (21_000, 0), "the table is empty");
    assert_eq!((summary.workload("reset"), summary.workload("rejected")), (0, 0));
    assert_eq!(summary.endings("finished"), 21_000);
}

/// Runs Corelane as the client of a server at the kernel's end.
fn load(world: &World, port: u16, more: &[&str]) -> (Ended, Value) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let (target, out) = (format!("{CLIENT}:{port}"), dir.path().to_str().expect("a plain path"));
    let mut arguments = own_arguments("load", &["--workload", "echo", "--target", &target, "--closed", "--json"]);
    // On a machine that is busy with something else, answers may wait for several time-outs.
    arguments.extend(["--duration", "60", "--drain", "20", "--out", out, "--fail-if", "errors>0"]);
    arguments.extend(more);
    let ended = world.run(End::Server, Duration::from_secs(70), BENCH, &arguments);
    assert_eq!(ended.code, Some(0), "{ended}");
    let text = std::fs::read_to_string(dir.path().join("result.json")).expect("it was written");
    let result = serde_json::from_str(&text).expect("JSON");
    (ended, result)
}

/// Both sides agree: so many connections and messages, every byte echoed, nothing broken.
fn expect_load(result: &Value, kernel: &Ended, connections: u64, messages: u64) {
    assert_eq!(result["transport"], "corelane");
    let none = ["errors", "unanswered"].map(|name| result[name].as_u64());
    assert_eq!((none, result["requests"].as_u64()), ([Some(0); 2], Some(messages)), "{result}");
    assert_eq!(kernel.code, Some(0), "{kernel}");
    let kernel = kernel.json();
    assert_eq!((&kernel["accepted"], &kernel["closed"]), (&connections.into(), &connections.into()), "{kernel}");
    let bytes = messages * MESSAGE as u64;
    assert_eq!((&kernel["bytes_in"], &kernel["bytes_out"]), (&bytes.into(), &bytes.into()), "{kernel}");
    assert_eq!(kernel["reset"], 0, "{kernel}");
}

#[test]
fn our_client_has_a_thousand_connections_with_a_kernel_server() {
    let world = World::new();
    let server = world.serve_with_kernel("echo", 7);
    let (ended, result) = load(&world, 7, &["--connections", "1000", "--requests", "100000"]);
    let kernel = server.terminate();
    expect_load(&result, &kernel, 1000, 100_000);
    say!("100,000 messages over 1,000 connections at {:.0}/s, all in all {:.2?}", rate_of(&result), ended.took);
    world.expect_no_program("after the load");
}

#[test]
fn our_client_opens_and_closes_twenty_thousand_connections_with_a_kernel_server() {
    let world = World::new();
    let server = world.serve_with_kernel("echo", 7);
    let more = ["--connections", "1", "--requests-per-connection", "1", "--requests", "20000"];
    let (ended, result) = load(&world, 7, &more);
    let kernel = server.terminate();
    expect_load(&result, &kernel, 20_000, 20_000);
    say!("20,000 connections one after the other in {:.2?}, {:.0}/s", ended.took, rate_of(&result));
    world.expect_no_program("after the load");
}
