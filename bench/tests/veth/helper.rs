//! A stack without any capability, and the helper that has them.

use crate::doctor::corelane;
use crate::neighbour::{KernelServer, exchange, expect_kernel};
use crate::process::{Ended, Running, run};
use crate::unprivileged::{Binary, expect_nothing, threads};
use crate::world::{End, KERNEL, OWN, SERVER_IF, World, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
/// Nobody's, and not nobody's either.
const USER: &str = "65534";
const OTHER: &str = "65533";
/// A request of a stack that wants a program for one queue and one core.
const LOAD: &str = r#"{"load":{"base_queue":0,"queues":1,"cores":1,"all_sockets":false,"key":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15],"buckets":1024,"max_pinned":16}}"#;

/// A helper that runs, and what its stacks need.
struct Helped {
    helper: Option<Running>,
    binary: Binary,
    socket: PathBuf,
    config: PathBuf,
}

impl Helped {
    /// With a configuration for the stack's own address, or for the kernel's.
    fn new(world: &World, own: bool) -> Self {
        let binary = Binary::with_capabilities("");
        let dir = binary.path.parent().expect("a folder").to_path_buf();
        let (socket, config) = (dir.join("helper.sock"), dir.join("server.toml"));
        let address = if own { format!("address = [\"{OWN}/24\"]\n") } else { String::new() };
        let memory = "[memory]\nframe_count = 2048\nfill_ring = 1024\ntx_ring = 512\n";
        let text = format!("[interface]\nname = \"{SERVER_IF}\"\n{address}{memory}");
        std::fs::write(&config, text).expect("our own folder");
        let mut helped = Self { helper: None, binary, socket, config };
        helped.start_helper(world);
        helped
    }

    fn start_helper(&mut self, world: &World) {
        let (socket, config) = (self.socket.to_str().expect("plain"), self.config.to_str().expect("plain"));
        let arguments = ["setup-helper", "--socket", socket, "--config", config, "--user", USER, "--ports", "7,22,80"];
        let command = corelane();
        let mut command = world.command(End::Server, command.to_str().expect("plain"), &arguments);
        let mut helper = Running::start(&mut command);
        helper.wait_until("sets up", LIMIT);
        self.helper = Some(helper);
    }

    fn helper(&mut self) -> Running {
        self.helper.take().expect("it runs")
    }

    /// `serve` as a user with nothing, and no way to anything.
    fn serve(&self, world: &World, user: &str, port: &str) -> Command {
        let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
        let helper = format!("privileges.helper={}", self.socket.display());
        let (path, config) = (self.binary.path.to_str().expect("plain"), self.config.to_str().expect("plain"));
        let who = [&user, &group, "--clear-groups", "--no-new-privs", "--bounding-set=-all", path];
        let what = ["serve", "--transport", "corelane", "--workload", "echo", "--port", port, "--json"];
        let how = ["--config", config, "--set", &helper];
        world.command(End::Server, "setpriv", &[&who[..], &what[..], &how[..]].concat())
    }

    fn started(&self, world: &World) -> Running {
        let mut server = Running::start(&mut self.serve(world, USER, "7"));
        server.wait_until("listening on", LIMIT);
        server
    }

    /// A conversation with the helper, as root.
    fn talk(&self) -> Talk {
        let stream = UnixStream::connect(&self.socket).expect("the helper listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        Talk(BufReader::new(stream))
    }

    /// A conversation in which the program is loaded.
    fn loaded(&self) -> Talk {
        let mut talk = self.talk();
        assert_eq!(talk.say(r#"{"hello":{"version":1}}"#), "\"welcome\"");
        let answer = talk.say(LOAD);
        assert!(answer.starts_with("{\"loaded\""), "{answer}");
        talk
    }
}

struct Talk(BufReader<UnixStream>);

impl Talk {
    /// What the helper answers; nothing when it hangs up.
    fn say(&mut self, line: &str) -> String {
        // One that has hung up shows in what is read.
        let _ = self.0.get_mut().write_all(format!("{line}\n").as_bytes());
        let mut answer = String::new();
        let _ = self.0.read_line(&mut answer);
        answer.trim().to_owned()
    }

    /// It refuses, with a sentence that has `part`.
    #[track_caller]
    fn expect_refusal(&mut self, line: &str, part: &str) {
        let answer = self.say(line);
        assert!(answer.starts_with("{\"refused\":\"") && answer.contains(part), "{line}: {answer}");
    }
}

fn expect_service(world: &World, address: std::net::Ipv4Addr) {
    for _ in 0..20 {
        world.inside(End::Client, || exchange(address, 7)).expect("it is served");
    }
}

fn expect_refusal(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(3), 1), "{ended}");
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{words:?}: {ended}");
}

#[test]
fn a_stack_without_any_capability_serves_on_its_own_address() {
    let world = World::with_queues(2);
    let helped = Helped::new(&world, true);
    // One after the other, each by another end.
    for kill in [false, true, false] {
        let server = helped.started(&world);
        let (workers, others) = threads(server.id());
        assert!(!workers.is_empty() && !others.is_empty());
        expect_nothing(&workers);
        expect_nothing(&others);
        expect_service(&world, OWN);
        if kill {
            server.kill();
        } else {
            let ended = server.terminate();
            assert_eq!(ended.code, Some(0), "{ended}");
            let steering = ended.json()["stack"]["steering"].clone();
            assert!(
                steering["redirected_own_tcp"].as_u64() > Some(100),
                "the helper tells what it counted: {steering}"
            );
        }
        wait_for("the program goes with its stack", LIMIT, || world.program().is_none());
    }
}

#[test]
fn a_stack_on_the_kernels_address_outlives_its_helper() {
    let world = World::new();
    let mut helped = Helped::new(&world, false);
    let _kernel = KernelServer::start(&world, 22);
    let server = helped.started(&world);
    expect_service(&world, KERNEL);
    expect_kernel(&world, 22, "beside it");
    helped.helper().kill();
    expect_service(&world, KERNEL);
    expect_kernel(&world, 22, "after the helper");
    assert!(world.program().is_some());
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended}");
    world.expect_no_program("after both");
    // A new helper takes the place of the dead one.
    helped.start_helper(&world);
    let server = helped.started(&world);
    expect_service(&world, KERNEL);
    server.kill();
    wait_for("the program goes with its stack", LIMIT, || world.program().is_none());
    let ended = helped.helper().terminate();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(!helped.socket.exists(), "the helper removes its socket");
    let ended = run(&mut helped.serve(&world, USER, "7"), LIMIT);
    expect_refusal(&ended, &["privileges.helper", "cannot be reached", "corelane setup-helper"]);
}

#[test]
fn what_a_stack_may_not_have_is_refused() {
    let world = World::new();
    let helped = Helped::new(&world, false);
    let _kernel = KernelServer::start(&world, 22);
    // Granted, but the kernel's; and not granted.
    for (port, words) in [("22", ["10.77.0.2:22"]), ("8080", ["--ports"])] {
        let ended = run(&mut helped.serve(&world, USER, port), LIMIT);
        expect_refusal(&ended, &words);
    }
    wait_for("nothing is left", LIMIT, || world.program().is_none());
    // Another user does not even reach it.
    expect_refusal(&run(&mut helped.serve(&world, OTHER, "7"), LIMIT), &["cannot be reached", "denied"]);

    let mut talk = helped.loaded();
    for (request, part) in [
        (r#"{"change":{"add_listener":["10.77.0.2",22]}}"#, "10.77.0.2:22"),
        (r#"{"change":{"add_listener":["10.77.0.2",8080]}}"#, "not granted"),
        (r#"{"change":{"add_listener":["10.77.0.9",7]}}"#, "no address of server0"),
        (r#"{"change":{"add_listener":["0.0.0.0",7]}}"#, "no address of server0"),
        (r#"{"change":{"add_own_address":"10.77.0.2"}}"#, "no address of the stack's own"),
        (r#"{"change":{"add_flow":["10.77.0.2:22","10.77.0.1:5000"]}}"#, "outgoing connections"),
        (r#"{"change":{"add_flow":["10.77.0.1:61000","10.77.0.2:22"]}}"#, "no address of server0"),
        (r#"{"change":{"owners":[[0,9]]}}"#, "core 9"),
        (r#"{"change":{"owners":[[99999,0]]}}"#, "bucket 99999"),
        (r#"{"change":{"pin":["10.77.0.2:7","10.77.0.1:5000",3]}}"#, "core 3"),
        (r#"{"register":{"queue":0,"core":0}}"#, "no socket"),
        (r#"{"neighbour":"224.0.0.1"}"#, "no neighbour"),
        (r#"{"hello":{"version":1}}"#, "already"),
        (LOAD, "already"),
    ] {
        talk.expect_refusal(request, part);
    }
    assert_eq!(talk.say(r#"{"change":{"add_listener":["10.77.0.2",7]}}"#), r#"{"done":true}"#, "it serves on");
    // A second stack has to wait.
    helped.talk().expect_refusal("", "another stack");
    expect_kernel(&world, 22, "meanwhile");
    drop(talk);
    wait_for("nothing is left", LIMIT, || world.program().is_none());
}

#[test]
fn what_is_no_conversation_ends_it_and_leaves_nothing() {
    let world = World::new();
    let helped = Helped::new(&world, false);
    let free = || {
        wait_for("the helper is free", LIMIT, || {
            let answer = helped.talk().say(r#"{"hello":{"version":1}}"#);
            answer == "\"welcome\""
        });
    };
    let long = "x".repeat(1 << 20);
    for line in ["", "{}", "\u{0}", "[[[[[[[[", "{\"load\":{}}", "{\"change\":{\"add_listener\":[\"x\",1]}}", &long] {
        free();
        wait_for("it is free again", LIMIT, || !helped.talk().say("\"counters\"").contains("another stack"));
        wait_for("and takes this", LIMIT, || {
            let answer = helped.talk().say(line);
            !answer.contains("another stack") && (answer.is_empty() || answer.contains("no request"))
        });
    }
    wait_for("a version that it does not know", LIMIT, || {
        helped.talk().say(r#"{"hello":{"version":99}}"#).contains("version 1 and the stack 99")
    });
    for early in [LOAD, "\"socket\"", "\"counters\"", r#"{"neighbour":"10.77.0.1"}"#] {
        wait_for(early, LIMIT, || {
            let answer = helped.talk().say(early);
            answer.contains("hello comes first") || answer.contains("no program")
        });
    }
    world.expect_no_program("after all that");
    // And it still works.
    wait_for("it serves", LIMIT, || helped.talk().say(r#"{"hello":{"version":1}}"#) == "\"welcome\"");
    wait_for("it is free", LIMIT, || !helped.talk().say("\"counters\"").contains("another stack"));
    let server = helped.started(&world);
    expect_service(&world, KERNEL);
    server.kill();
    wait_for("nothing is left", LIMIT, || world.program().is_none());
}
