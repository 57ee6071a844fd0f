//! `corelane steer` and a server, each as an operator starts it.

use crate::doctor::corelane;
use crate::process::{Ended, Running};
use crate::summary::Summary;
use crate::world::{BENCH, End, OWN, World, connect, own_arguments, say, wait_for};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Connections that live while workers are drained and added, and are asked again and again.
const CONNECTIONS: usize = 100;

/// A world with the path of a socket in it.
struct Bench {
    world: World,
    corelane: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Self { world: World::with_queues(2), corelane: corelane(), folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("main.sock")
    }

    fn setting(&self) -> String {
        format!("control.socket={}", self.socket().display())
    }

    /// Two workers, on whatever cores there are.
    fn serve(&self) -> Running {
        self.serve_workload("echo")
    }

    fn serve_workload(&self, workload: &str) -> Running {
        let setting = self.setting();
        self.world.serve(workload, 7, &["--cores", "0,1", "--set", "cores.pin=false", "--set", &setting])
    }

    fn steer(&self, arguments: &[&str]) -> Ended {
        let (program, socket) = (plain(&self.corelane), self.socket());
        let arguments = [&["steer", "--socket", plain(&socket)], arguments].concat();
        // The socket is a file: it is reached from any network namespace.
        self.world.run(End::Client, LIMIT, program, &arguments)
    }

    /// The workers as `corelane steer ... --json` shows them.
    fn workers(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.steer(&[arguments, &["--json"]].concat());
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended}");
        let Value::Array(workers) = ended.json()["workers"].take() else { panic!("{ended}") };
        assert_eq!(workers.len(), 2, "{workers:?}");
        workers
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn ask(stream: &mut TcpStream, number: usize) {
    let sent = format!("request {number:08}");
    stream.write_all(sent.as_bytes()).expect("it is sent");
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back).expect("it is answered");
    assert_eq!(back, sent.as_bytes());
}

/// Asks on living connections, and on new ones, until `over`; returns the living ones.
fn keep_asking(over: &AtomicBool, asked: &AtomicUsize) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect((OWN, 7)).expect("it is served")).collect();
    while !over.load(Ordering::Relaxed) {
        for stream in &mut streams {
            ask(stream, asked.fetch_add(1, Ordering::Relaxed));
            if asked.load(Ordering::Relaxed).is_multiple_of(10) {
                ask(&mut connect((OWN, 7)).expect("a new one is served"), 0);
            }
        }
    }
    streams
}

#[test]
fn workers_are_drained_and_added_by_command_while_connections_live() {
    let bench = Bench::new();
    let server = bench.serve();
    let file = std::fs::symlink_metadata(bench.socket()).expect("the socket is there");
    assert_eq!(file.mode() & 0o777, 0o600);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| bench.world.inside(End::Client, || keep_asking(&over, &asked)));
        let some_more = || {
            let before = asked.load(Ordering::Relaxed);
            wait_for("requests go on", LIMIT, || asked.load(Ordering::Relaxed) > before + 2 * CONNECTIONS);
        };
        some_more();
        for worker in ["1", "0", "1"] {
            let number: usize = worker.parse().expect("a number");
            let before = bench.workers(&["show"])[number]["flows"].as_u64().expect("a number");
            let ended = bench.steer(&["drain", worker, "--wait", "--timeout", "20", "--json"]);
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "all have moved: {ended}");
            let (drained, moved) = (ended.json()["workers"][number].take(), ended.json()["drain"].take());
            assert_eq!((&drained["drained"], &drained["buckets"]), (&true.into(), &0.into()), "{drained}");
            assert_eq!((&drained["flows"], &moved["left"]), (&0.into(), &0.into()), "{ended}");
            // But for one that is open for a moment only.
            assert!(moved["moved"].as_u64().is_some_and(|moved| moved + 1 >= before), "{before} before: {ended}");
            some_more();
            let added = bench.workers(&["add", worker]);
            assert!(added.iter().all(|worker| worker["buckets"] == 512 && worker["drained"] == false), "{added:?}");
            some_more();
        }
        // The last one that takes new ones stays.
        bench.workers(&["drain", "1"]);
        let refused = bench.steer(&["drain", "0"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused}");
        assert!(refused.stderr.starts_with("corelane: worker 0 is the last one"), "{refused}");
        over.store(true, Ordering::Relaxed);
        drop(clients.join().expect("no request failed"));
    });
    let empty = bench.steer(&["drain", "1", "--wait", "--timeout", "20"]);
    assert_eq!((empty.code, empty.stderr.as_str()), (Some(0), ""), "{empty}");
    assert!(empty.stdout.ends_with(" connections moved since the start, 0 left\n"), "{empty}");
    say!("{} requests while workers were drained and added; then:\n{}", asked.load(Ordering::Relaxed), empty.stdout);
    // A client that is reset has panicked.
    Summary::of(&server.terminate());
    assert!(!bench.socket().exists(), "it goes with the server");
    let gone = bench.steer(&[]);
    assert_eq!(gone.code, Some(3), "{gone}");
    assert!(gone.stderr.starts_with("corelane: there is no control socket"), "{gone}");
}

#[test]
fn a_connection_that_is_never_at_rest_stays() {
    let bench = Bench::new();
    let server = bench.serve_workload("source");
    let stream = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    let flows = |workers: &[Value]| workers.iter().position(|worker| worker["flows"] == 1);
    wait_for("it is there", LIMIT, || flows(&bench.workers(&["show"])).is_some());
    let worker = flows(&bench.workers(&["show"])).expect("it is there").to_string();
    // Nobody reads, so that something is always to be sent.
    let in_time = bench.steer(&["drain", &worker, "--wait", "--timeout", "0.3"]);
    assert_eq!(in_time.code, Some(1), "{in_time}");
    assert!(in_time.stderr.contains("after 0.3 s; it stays drained"), "{in_time}");
    let line = format!(
        "\nworker {worker}: 0 connections moved since the start, 1 left (1 busy when they were to move at the last attempt)\n"
    );
    assert!(in_time.stdout.ends_with(&line), "{in_time}");
    drop(stream);
    Summary::of(&server.terminate());
}

#[test]
fn a_second_server_leaves_the_first_ones_socket_alone_and_one_that_was_killed_is_replaced() {
    let bench = Bench::new();
    let first = bench.serve();
    let setting = bench.setting();
    let arguments = own_arguments("serve", &["--workload", "echo", "--port", "7", "--set", &setting]);
    let second = bench.world.run(End::Server, LIMIT, BENCH, &arguments);
    assert_eq!(second.code, Some(3), "{second}");
    assert!(second.stderr.contains("a process that runs has the control socket"), "{second}");
    assert_eq!(bench.workers(&["show"]).len(), 2, "the first one goes on");

    first.kill();
    let dead = bench.steer(&[]);
    assert_eq!(dead.code, Some(3), "{dead}");
    assert!(dead.stderr.starts_with("corelane: nobody listens at"), "{dead}");
    let third = bench.serve();
    assert_eq!(bench.workers(&["rebalance"]).len(), 2);
    Summary::of(&third.terminate());
    assert!(!bench.socket().exists());
}

/// The thread that listens to operators can do nothing else, also where the application's threads keep what they have.
#[test]
fn the_thread_of_the_socket_has_no_capability() {
    let bench = Bench::new();
    let setting = bench.setting();
    let server = bench.world.serve("echo", 7, &["--set", "privileges.drop=workers", "--set", &setting]);
    let answered = bench.steer(&[]);
    assert_eq!(answered.code, Some(0), "{answered}");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs");
    let of_threads =
        tasks.map(|task| std::fs::read_to_string(task.expect("a thread").path().join("status")).expect("it runs"));
    let status = of_threads.into_iter().find(|status| status.starts_with("Name:\tcontrol-socket\n")).expect("a thread");
    for line in ["CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "NoNewPrivs:\t1\n"] {
        assert!(status.contains(line), "{status}");
    }
    Summary::of(&server.terminate());
}
