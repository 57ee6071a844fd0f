//! The kernel's address on the same interface, before, while and after Corelane runs beside it.

use crate::summary::Summary;
use crate::world::{BENCH, CLIENT, End, KERNEL, OWN, World, connect, say};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many of `count` echo requests were answered.
pub(crate) fn ping(world: &World, address: Ipv4Addr, count: u32) -> u32 {
    let (count, address) = (count.to_string(), address.to_string());
    let arguments = ["-n", "-c", &count, "-i", "0.05", "-W", "1", &address];
    let ended = world.run(End::Client, Duration::from_secs(10), "ping", &arguments);
    let received = ended.stdout.lines().find_map(|line| line.split_once(" packets transmitted, ")?.1.split_once(' '));
    let number = received.and_then(|(number, _)| number.parse().ok());
    number.unwrap_or_else(|| panic!("no count of answers: {ended}"))
}

/// A server on the kernel's sockets that echoes one message a connection, for as long as it is not dropped.
pub(crate) struct KernelServer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl KernelServer {
    /// Listens at the kernel's address in the server's namespace.
    pub(crate) fn start(world: &World, port: u16) -> Self {
        let listener = world.inside(End::Server, || TcpListener::bind((KERNEL, port)).expect("the port is free"));
        listener.set_nonblocking(true).expect("a socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let mut message = [0; 64];
                        // The client sees what goes wrong.
                        let _ = stream.set_nonblocking(false);
                        let _ = stream.read_exact(&mut message).and_then(|()| stream.write_all(&message));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for KernelServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One message to the server at `address` and back.
pub(crate) fn exchange(address: Ipv4Addr, port: u16) -> std::io::Result<()> {
    let mut stream = connect(SocketAddr::new(IpAddr::V4(address), port))?;
    let (message, mut answer) = (*b"0123456789abcdef0123456789ABCDEFfedcba9876543210FEDCBA9876543210", [0; 64]);
    stream.write_all(&message)?;
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, message, "what came back from {address}:{port}");
    Ok(())
}

/// The kernel answers at its own address, to ping and to TCP.
pub(crate) fn expect_kernel(world: &World, port: u16, when: &str) {
    assert_eq!(ping(world, KERNEL, 3), 3, "ping of {KERNEL} {when}");
    world
        .inside(End::Client, || exchange(KERNEL, port))
        .unwrap_or_else(|error| panic!("TCP to {KERNEL}:{port} {when}: {error}"));
}

#[test]
fn our_address_answers_ping_and_the_kernels_keeps_working() {
    let world = World::new();
    // The port that Corelane has at its own address, and another one.
    let _kernel = [KernelServer::start(&world, 7), KernelServer::start(&world, 22)];
    expect_kernel(&world, 22, "before Corelane runs");
    assert_eq!(ping(&world, OWN, 3), 0, "nobody has {OWN} before Corelane runs");

    // What still waits for an answer to ARP would be sent, and answered, when Corelane has come.
    world.ip(End::Client, "neigh flush dev client0");
    let server = world.serve("echo", 7, &[]);
    assert_eq!(ping(&world, OWN, 20), 20, "ping of {OWN}");
    world.inside(End::Client, || exchange(OWN, 7)).expect("TCP to our own address");
    expect_kernel(&world, 22, "while Corelane runs");
    expect_kernel(&world, 7, "while Corelane has the same port");
    // The other direction: the kernel at the server's end as client.
    let ended = world.run(End::Server, Duration::from_secs(5), "ping", &["-c", "1", "-W", "1", &CLIENT.to_string()]);
    assert_eq!(ended.code, Some(0), "{ended}");

    let summary = Summary::of(&server.terminate());
    assert_eq!(summary.protocol("echo_replies"), 20, "it was we who answered");
    assert_eq!(summary.workload("accepted"), 1, "the kernel's connections were not ours");
    world.expect_no_program("after the stop");
    assert_eq!(ping(&world, OWN, 3), 0, "nobody has {OWN} after Corelane has stopped");
    expect_kernel(&world, 22, "after Corelane has stopped");
}

/// Arguments of a load of Corelane's echo server by the kernel's sockets, for `seconds`.
pub(crate) fn load(world: &World, port: u16, seconds: &str, out: &str) -> Command {
    let target = format!("{OWN}:{port}");
    let arguments = ["load", "--transport", "kernel", "--workload", "echo", "--target", &target, "--connections", "64"];
    let more = ["--closed", "--duration", seconds, "--out", out, "--json"];
    world.command(End::Client, BENCH, &[&arguments[..], &more[..]].concat())
}

/// Requests a second, by the result of a load.
pub(crate) fn rate_of(result: &serde_json::Value) -> f64 {
    result["achieved_rate"].as_f64().expect("a rate")
}

#[test]
fn the_kernels_ports_keep_working_while_corelane_is_under_load() {
    let world = World::new();
    let _kernel = KernelServer::start(&world, 22);
    let server = world.serve("echo", 7, &[]);
    let dir = tempfile::tempdir().expect("a folder for the test");
    let mut load = load(&world, 7, "4", dir.path().to_str().expect("a plain path"));
    load.args(["--fail-if", "errors>0"]);
    let mut load = crate::process::Running::start(&mut load);
    std::thread::sleep(Duration::from_millis(500));
    let (mut exchanges, mut worst) = (0, Duration::ZERO);
    world.inside(End::Client, || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            exchange(KERNEL, 22).unwrap_or_else(|error| panic!("after {exchanges} exchanges: {error}"));
            worst = worst.max(asked.elapsed());
            exchanges += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(ping(&world, KERNEL, 10), 10);
    assert!(!load.has_ended(), "the load was to go on all the time");
    let load = load.wait(Duration::from_secs(10));
    assert_eq!(load.code, Some(0), "{load}");
    let result = std::fs::read_to_string(dir.path().join("result.json")).expect("it was written");
    let result: serde_json::Value = serde_json::from_str(&result).expect("JSON");
    assert!(exchanges >= 20, "only {exchanges} exchanges with the kernel");
    say!("{exchanges} exchanges with the kernel, the slowest {worst:.2?}, beside {:.0}/s with us", rate_of(&result));
    let summary = Summary::of(&server.terminate());
    assert_eq!((summary.workload("accepted"), summary.workload("reset")), (64, 0));
}
