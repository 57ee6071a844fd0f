//! A server takes over from another one, under load and with either of them failing.

use crate::process::{Ended, Running};
use crate::summary::Summary;
use crate::world::{BENCH, End, KERNEL, OWN, SERVER_IF, World, connect, own_arguments, say, wait_for};
use corelane_bench::report::hlog;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A world with the path of a socket in it.
struct Bench {
    world: World,
    folder: tempfile::TempDir,
    /// Settings of every server.
    more: Vec<String>,
}

impl Bench {
    fn new(queues: u32, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let more = more.iter().map(|setting| (*setting).to_owned()).collect();
        Self { world: World::with_queues(queues), folder, more }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("main.sock")
    }

    fn arguments(&self, takeover: bool) -> Vec<String> {
        let mut arguments = vec!["--set".to_owned(), format!("control.socket={}", self.socket().display())];
        arguments.extend(self.more.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
        arguments.extend(takeover.then(|| "--takeover".to_owned()));
        arguments
    }

    /// A server that has to start.
    fn serve(&self, takeover: bool) -> Running {
        let arguments = self.arguments(takeover);
        self.world.serve("echo", 7, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A server that has to fail.
    fn fail(&self, more: &[&str]) -> Ended {
        let arguments = self.arguments(true);
        let mut all = vec!["--workload", "echo", "--port", "7"];
        all.extend(arguments.iter().map(String::as_str));
        all.extend(more);
        self.world.run(End::Server, LIMIT, BENCH, &own_arguments("serve", &all))
    }

    fn load(&self, name: &str, seconds: &str, more: &[&str]) -> Running {
        let target = format!("{OWN}:7");
        self.load_at(name, seconds, &[&["--target", &target], more].concat())
    }

    fn load_at(&self, name: &str, seconds: &str, more: &[&str]) -> Running {
        let out = self.folder.path().join(name);
        let mut arguments = vec!["load", "--transport", "kernel", "--workload", "echo", "--json"];
        arguments.extend(["--duration", seconds, "--drain", "2", "--out", out.to_str().expect("a plain path")]);
        arguments.extend(more);
        Running::start(&mut self.world.command(End::Client, BENCH, &arguments))
    }

    /// What a process that starts says to the one that runs, up to the first answer.
    fn ask(&self, line: &[u8]) -> (BufReader<UnixStream>, String) {
        let mut stream = UnixStream::connect(self.socket()).expect("somebody listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time");
        stream.write_all(line).expect("it is sent");
        let (mut reader, mut answer) = (BufReader::new(stream), String::new());
        reader.read_line(&mut answer).expect("an answer");
        (reader, answer)
    }
}

/// Sends bytes with a descriptor beside them.
fn send_with(stream: &UnixStream, bytes: &[u8], socket: &impl AsFd) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [socket.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("it is sent");
    assert_eq!(sent, bytes.len());
}

/// The result of a load without any error.
fn faultless(load: Running) -> Value {
    let ended = load.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = ended.json();
    assert_eq!((&result["errors"], &result["unanswered"]), (&0.into(), &0.into()), "{ended}");
    assert!(result["requests"].as_u64().is_some_and(|requests| requests > 100), "{ended}");
    result
}

/// The percentiles and the whole histogram of a load.
fn tell(bench: &Bench, name: &str, what: &str, result: &Value) {
    let log = std::fs::read(bench.folder.path().join(name).join("latency.hlog")).expect("the load has written it");
    let latency = hlog::read(&log).expect("a histogram").latency;
    assert_eq!(latency.len(), result["requests"].as_u64().expect("a number"), "no request is left out");
    let at = |name: &str| result["latency_ns"][name].as_f64().unwrap_or(f64::NAN) / 1000.0;
    let names = ["p50", "p90", "p99", "p99_9", "p99_99", "p99_999", "max"];
    let shown = names.map(|name| format!("{name} {:.0}", at(name))).join(", ");
    // What a busy machine keeps the client from sending is no error.
    say!(
        "{what}: {} requests, {} errors, {} unsent; latency in us: {shown}",
        result["requests"],
        result["errors"],
        result["unsent"]
    );
    for step in latency.iter_log(64_000, 2.0).filter(|step| step.count_since_last_iteration() > 0) {
        say!(
            "{:>14} us {:>7}",
            format!("up to {}", step.value_iterated_to().div_ceil(1000)),
            step.count_since_last_iteration()
        );
    }
}

/// An answered request, which shows that the connection lives.
fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"are you there?").expect("it is sent");
    let mut back = [0; 14];
    stream.read_exact(&mut back).expect("it is answered");
    assert_eq!(&back, b"are you there?");
}

fn of_workers(summary: &Summary, name: &str) -> u64 {
    summary.workers().iter().map(|worker| worker["turns"][name].as_u64().unwrap_or(0)).sum()
}

/// From A to B to C, while connections come and go all the time, and others live from before the first change on.
fn no_client_sees_a_change_of_servers(bench: &Bench) {
    let first = bench.serve(false);
    let churn = ["--connections", "16", "--rate", "2000", "--requests-per-connection", "10"];
    let churn = bench.load("churn", "6", &churn);
    let steady = bench.load("steady", "3", &["--connections", "16", "--rate", "1000"]);
    std::thread::sleep(Duration::from_secs(1));
    let mut second = bench.serve(true);
    tell(bench, "steady", "connections that live on while their server is replaced", &faultless(steady));
    let first = first.wait(LIMIT);
    assert!(first.stderr.contains("handed over to another process"), "{first}");
    second.wait_until("the process before this one has ended", LIMIT);
    let third = bench.serve(true);
    let second = second.wait(LIMIT);
    tell(bench, "churn", "new connections all the time, over two changes of servers", &faultless(churn));
    let third = third.terminate();
    let accepted = [&first, &second, &third].map(|ended| {
        let summary = Summary::of(ended);
        (summary.workload("accepted"), of_workers(&summary, "relayed_in"), of_workers(&summary, "relayed_out"))
    });
    say!("accepted, relayed in, relayed out by each server: {accepted:?}");
    assert!(accepted.iter().all(|(accepted, ..)| *accepted > 100), "each has served: {accepted:?}");
    assert!(accepted[0].1 > 100 && accepted[0].2 > 100, "the first went on: {accepted:?}");
    assert!(!bench.socket().exists(), "it goes with the last server");
    bench.world.expect_no_program("after the last server");
}

#[test]
fn no_client_sees_a_change_of_servers_with_a_socket_for_each_worker() {
    let bench = Bench::new(2, &["cores.pin=false", "cores.workers=2", "waiting.strategy=sleep"]);
    no_client_sees_a_change_of_servers(&bench);
}

#[test]
fn no_client_sees_a_change_of_servers_with_one_socket_a_queue() {
    let more = ["cores.pin=false", "cores.workers=2", "interface.sockets_per_queue=one", "waiting.strategy=sleep"];
    no_client_sees_a_change_of_servers(&Bench::new(2, &more));
}

/// On an address of the kernel's, where its own sockets would answer with resets for what nobody takes.
#[test]
fn no_client_sees_a_change_of_servers_on_the_kernels_address() {
    let bench = Bench::new(1, &["cores.pin=false", "waiting.strategy=sleep", "interface.reserve_ports=true"]);
    let start = |takeover| {
        let more = bench.arguments(takeover);
        let address = format!("{KERNEL}/24");
        let mut all = vec!["serve", "--transport", "corelane", "--interface", SERVER_IF, "--address", &address];
        all.extend(["--workload", "echo", "--port", "7", "--json"]);
        all.extend(more.iter().map(String::as_str));
        let mut server = Running::start(&mut bench.world.command(End::Server, BENCH, &all));
        server.wait_until("listening on", LIMIT);
        server
    };
    let reserved = || {
        let path = "/proc/sys/net/ipv4/ip_local_reserved_ports";
        bench.world.inside(End::Server, || std::fs::read_to_string(path).expect("it can be read"))
    };
    let target = format!("{KERNEL}:7");
    let first = start(false);
    let churn = ["--target", &target, "--connections", "8", "--rate", "1000", "--requests-per-connection", "10"];
    let churn = bench.load_at("churn", "4", &churn);
    let mut old = bench.world.inside(End::Client, || connect((KERNEL, 7)).expect("it is served"));
    exchange(&mut old);
    let mut second = start(true);
    exchange(&mut old);
    drop(old);
    let first = first.wait(LIMIT);
    second.wait_until("the process before this one has ended", LIMIT);
    let third = start(true);
    tell(&bench, "churn", "new connections on the kernel's address, over two changes of servers", &faultless(churn));
    Summary::of(&first);
    Summary::of(&second.wait(LIMIT));
    assert!(reserved().len() > 2, "what the first has reserved is the last one's");
    Summary::of(&third.terminate());
    assert_eq!(reserved().trim(), "", "and goes with it");
}

#[test]
fn queues_and_workers_may_differ_and_what_is_left_is_closed_when_its_time_is_over() {
    let mut bench = Bench::new(2, &["cores.pin=false", "cores.workers=2", "control.drain_ms=1500"]);
    let first = bench.serve(false);
    let mut old = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    exchange(&mut old);
    bench.more = vec!["cores.pin=false".into(), "interface.queues=[1,0]".into(), "cores.workers=1".into()];
    bench.more.push("steering.buckets=64".into());
    let second = bench.serve(true);
    exchange(&mut old);
    let mut new = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    exchange(&mut new);
    // The first one is still there.
    let third = bench.fail(&[]);
    assert_eq!((third.code, third.stdout.as_str()), (Some(3), ""), "{third}");
    assert!(third.stderr.contains("does not hand over: the process before it has not ended yet"), "{third}");
    exchange(&mut old);
    // Nobody ends this connection.
    let first = first.wait(LIMIT);
    assert!(first.stderr.contains("control.drain_ms is over"), "{first}");
    Summary::of(&first);
    let mut end = Vec::new();
    old.read_to_end(&mut end).expect("it was closed by a FIN, not by a reset");
    exchange(&mut new);
    drop(new);
    Summary::of(&second.terminate());
}

#[test]
fn a_new_server_that_fails_leaves_the_old_one_as_it_was() {
    let bench = Bench::new(1, &[]);
    let server = bench.serve(false);
    let mut stream = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    let mut go_on = || {
        exchange(&mut stream);
        exchange(&mut bench.world.inside(End::Client, || connect((OWN, 7)).expect("a new one is served")));
    };
    // It goes after the offer, and so does one that says what makes no sense.
    for word in [&b""[..], b"\"switched\"\n", b"\"prepared\"\n", b"\xff\xff\n", b"{\"refused\":\"no\"}\n"] {
        let (mut reader, offer) = bench.ask(b"takeover 1\n");
        assert!(offer.starts_with("{\"offer\":{"), "{offer}");
        // One after the other: this one has not ended.
        let (_, second) = bench.ask(b"takeover 1\n");
        assert!(second.contains("another process takes over already"), "{second}");
        reader.get_mut().write_all(word).expect("it is sent");
        drop(reader);
        go_on();
        wait_for("it is open to others again", LIMIT, || bench.ask(b"takeover 1\n").1.starts_with("{\"offer\""));
        wait_for("and again", LIMIT, || bench.ask(b"takeover 1\n").1.starts_with("{\"offer\""));
        wait_for("the last one is seen gone", LIMIT, || !bench.ask(b"shares\n").1.contains("error"));
    }
    // It goes when the flows are registered, without and with a word.
    for says_no in [false, true] {
        let (mut reader, _) = bench.ask(b"takeover 1\n");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("any descriptor");
        send_with(reader.get_ref(), b"\"prepared\"\n", &socket);
        let mut registered = String::new();
        reader.read_line(&mut registered).expect("an answer");
        assert_eq!(registered, "\"registered\"\n");
        if says_no {
            reader.get_mut().write_all(b"{\"refused\":\"it is broken\"}\n").expect("it is sent");
            reader.read_line(&mut String::new()).expect("an answer");
        }
        drop(reader);
        go_on();
        wait_for("it is open to others again", LIMIT, || bench.ask(b"takeover 1\n").1.starts_with("{\"offer\""));
        wait_for("the last one is seen gone", LIMIT, || !bench.ask(b"shares\n").1.contains("error"));
    }
    for line in [&b"takeover 2\n"[..], b"takeover\n", b"takeover 1 1\n"] {
        let (_, answer) = bench.ask(line);
        assert!(answer.contains("is not version 1 of taking over"), "{answer}");
    }
    let wrong = bench.fail(&["--mode", "skb"]);
    assert_eq!(wrong.code, Some(3), "{wrong}");
    go_on();
    Summary::of(&server.terminate());
}

#[test]
fn a_new_server_without_a_socket_or_an_old_one_says_so() {
    let bench = Bench::new(1, &[]);
    let arguments = own_arguments("serve", &["--workload", "echo", "--port", "7", "--takeover"]);
    let without = bench.world.run(End::Server, LIMIT, BENCH, &arguments);
    assert_eq!(without.code, Some(2), "{without}");
    assert!(without.stderr.contains("taking over needs a control socket: set control.socket"), "{without}");

    // What is at the socket is no process that hands over, or goes in the middle.
    let listener = UnixListener::bind(bench.socket()).expect("a socket");
    for (answer, part) in [
        (
            &b"{\"error\":\"\\\"takeover 1\\\" is no request\"}\n"[..],
            "does not hand over to this one, which speaks version 1",
        ),
        (b"", "broke off"),
        (b"garbage\n", "broke off"),
        (b"\"released\"\n", "instead of an offer of version 1"),
        (
            b"{\"offer\":{\"ifindex\":1,\"shared\":false,\"native\":true,\"ends\":[],\"reserved\":\"\"}}\n",
            "instead of an offer",
        ),
    ] {
        let failed = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("it comes");
                let mut line = [0; 11];
                stream.read_exact(&mut line).expect("it asks");
                stream.write_all(answer).expect("it hears");
            });
            bench.fail(&[])
        });
        assert_eq!((failed.code, failed.stdout.as_str()), (Some(3), ""), "{failed}");
        assert!(failed.stderr.contains(part), "{part}: {failed}");
        bench.world.expect_no_program("after a failed start");
    }
    drop(listener);
    // The file of a dead process is there: nobody to take over from.
    let server = bench.serve(true);
    bench.world.inside(End::Client, || exchange(&mut connect((OWN, 7)).expect("it is served")));
    let ended = server.terminate();
    assert!(ended.stderr.contains("nobody to take over from"), "{ended}");
    Summary::of(&ended);
}

#[test]
fn a_server_without_connections_ends_at_once_and_the_next_one_can_be_taken_over_from() {
    let bench = Bench::new(2, &["cores.pin=false", "cores.workers=2"]);
    let mut server = bench.serve(false);
    for _ in 0..4 {
        let next = bench.serve(true);
        let ended = std::mem::replace(&mut server, next).wait(LIMIT);
        assert!(ended.stderr.contains("the last connection has ended"), "{ended}");
        Summary::of(&ended);
        server.wait_until("the process before this one has ended", LIMIT);
    }
    bench.world.inside(End::Client, || exchange(&mut connect((OWN, 7)).expect("it is served")));
    Summary::of(&server.terminate());
}

#[test]
fn either_may_be_killed_afterwards() {
    let bench = Bench::new(1, &[]);
    let first = bench.serve(false);
    let mut old = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    exchange(&mut old);
    let mut second = bench.serve(true);
    exchange(&mut old);
    // The old one: its connection is reset by the new one, which goes on.
    first.kill();
    second.wait_until("the process before this one has ended", LIMIT);
    let mut end = Vec::new();
    let reset = old.write_all(b"?").and_then(|()| old.read_to_end(&mut end)).expect_err("nobody has it");
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset, "{reset}");
    let mut stream = bench.world.inside(End::Client, || connect((OWN, 7)).expect("it is served"));
    exchange(&mut stream);

    // The new one: the old one ends too, and the program is off.
    let third = bench.serve(true);
    exchange(&mut stream);
    third.kill();
    let second = second.wait(LIMIT);
    assert!(second.stderr.contains("the process that has taken over has ended"), "{second}");
    Summary::of(&second);
    wait_for("the program goes", LIMIT, || bench.world.program().is_none());
    let fourth = bench.serve(true);
    bench.world.inside(End::Client, || exchange(&mut connect((OWN, 7)).expect("it is served")));
    Summary::of(&fourth.terminate());
}
