//! What cannot be: one sentence on standard error, the right exit code, and nothing changed.

use crate::process::{Ended, run};
use crate::summary::Summary;
use crate::world::{BENCH, End, OWN, SERVER_IF, World, own_arguments};
use corelane_bpf::{AttachMode, Steering};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
/// Usage or configuration.
const USAGE: i32 = 2;
/// The machine cannot do it.
const MACHINE: i32 = 3;

/// One sentence that has all of `words`, exit code `code`, and no trace of a panic.
fn expect_refusal(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "one sentence: {ended}");
    assert!(ended.stderr.starts_with("corelane-bench: "), "{ended}");
    assert!(!ended.stderr.contains("panic"), "{ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "\"{word}\" is not in: {ended}");
    }
}

/// `serve` on Corelane at `interface` and `address`.
fn serve(world: &World, interface: &str, address: &str, port: &str) -> Ended {
    let arguments = ["serve", "--transport", "corelane", "--workload", "echo", "--interface", interface];
    let more = ["--address", address, "--port", port];
    world.run(End::Server, LIMIT, BENCH, &[&arguments[..], &more[..]].concat())
}

#[test]
fn a_foreign_program_is_refused_and_stays() {
    let world = World::new();
    let index = world.interface_index();
    let (before, ended, after) = world.inside(End::Server, || {
        let foreign = Steering::attach(index, AttachMode::Native).expect("the program can be attached");
        let before = corelane_bpf::program_on(index).expect("the interface can be asked");
        let ended = serve(&world, SERVER_IF, "10.77.0.10/24", "7");
        let after = corelane_bpf::program_on(index).expect("the interface can be asked");
        drop(foreign);
        (before, ended, after)
    });
    expect_refusal(&ended, MACHINE, &[SERVER_IF, "already has an XDP program", "xdp off"]);
    assert!(before.is_some() && before == after, "{before:?} became {after:?}");
    world.expect_no_program("after the foreign one has gone");
    // Without it the same start works.
    let server = world.serve("echo", 7, &[]);
    Summary::of(&server.terminate());
}

#[test]
fn a_second_server_on_the_same_interface_is_refused_and_the_first_serves_on() {
    let world = World::new();
    let server = world.serve("echo", 7, &[]);
    let ended = serve(&world, SERVER_IF, "10.77.0.11/24", "7");
    expect_refusal(&ended, MACHINE, &[SERVER_IF, "already has an XDP program"]);
    world.inside(End::Client, || crate::neighbour::exchange(OWN, 7)).expect("the first one serves on");
    assert_eq!(Summary::of(&server.terminate()).workload("accepted"), 1);
}

#[test]
fn a_port_of_the_kernel_in_use_is_refused() {
    let world = World::new();
    let server = world.serve_with_kernel("echo", 7);
    let arguments = ["serve", "--transport", "kernel", "--workload", "echo", "--address", "10.77.0.1", "--port", "7"];
    let ended = world.run(End::Client, LIMIT, BENCH, &arguments);
    expect_refusal(&ended, MACHINE, &["port 7 on 10.77.0.1 is in use"]);
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn wrong_names_addresses_and_ports_are_usage() {
    let world = World::new();
    let good = "10.77.0.10/24";
    for (interface, address, port, code, words) in [
        ("nosuch0", good, "7", MACHINE, &["nosuch0"][..]),
        ("a-name-much-too-long-for-an-interface", good, "7", USAGE, &["a-name-much-too-long"]),
        (SERVER_IF, "nonsense", "7", USAGE, &["nonsense", "not an IP address"]),
        (SERVER_IF, "10.77.0.10/33", "7", USAGE, &["/33"]),
        (SERVER_IF, "10.77.0.10", "7", USAGE, &["--address", "prefix length"]),
        (SERVER_IF, "224.0.0.1/24", "7", USAGE, &["224.0.0.1"]),
        (SERVER_IF, "0.0.0.0/24", "7", USAGE, &["0.0.0.0"]),
        (SERVER_IF, good, "0", USAGE, &["--port 0"]),
        (SERVER_IF, good, "65536", USAGE, &["65536"]),
        (SERVER_IF, good, "http", USAGE, &["http"]),
    ] {
        expect_refusal(&serve(&world, interface, address, port), code, words);
        world.expect_no_program("after a refusal");
    }
}

#[test]
fn an_interface_that_is_down_or_too_wide_is_refused_with_a_remedy() {
    let world = World::new();
    world.ip(End::Server, &format!("link set dev {SERVER_IF} down"));
    let ended = serve(&world, SERVER_IF, "10.77.0.10/24", "7");
    expect_refusal(&ended, MACHINE, &["is down", "ip link set dev server0 up"]);
    world.ip(End::Server, &format!("link set dev {SERVER_IF} up"));

    world.ip(End::Server, &format!("link set dev {SERVER_IF} mtu 9000"));
    let ended = serve(&world, SERVER_IF, "10.77.0.10/24", "7");
    expect_refusal(&ended, MACHINE, &["MTU of 9000", SERVER_IF]);
    world.ip(End::Server, &format!("link set dev {SERVER_IF} mtu 1500"));

    world.expect_no_program("after refusals");
    let server = world.serve("echo", 7, &[]);
    Summary::of(&server.terminate());
}

#[test]
fn queues_and_cores_that_are_not_there_are_refused() {
    let world = World::new();
    for (more, code, words) in [
        (&["--cores", "4000"][..], USAGE, &["core 4000"][..]),
        (&["--set", "interface.queues=[5]"], MACHINE, &["queue"]),
        (&["--set", "interface.queues=[1, 1]"], USAGE, &["interface.queues"]),
        (&["--set", "tcp.no_such_key=1"], USAGE, &["tcp.no_such_key"]),
        (&["--mode", "require-zerocopy"], MACHINE, &["zero"]),
        (&["--config", "/nonexistent/server.toml"], USAGE, &["server.toml"]),
    ] {
        let mut arguments = own_arguments("serve", &["--workload", "echo", "--port", "7"]);
        arguments.extend(more);
        expect_refusal(&world.run(End::Server, LIMIT, BENCH, &arguments), code, words);
        world.expect_no_program("after a refusal");
    }
}

#[test]
fn without_privilege_one_sentence_says_what_is_missing() {
    let world = World::new();
    // A copy where nobody may execute it: folders above the build's may be closed.
    let dir = tempfile::tempdir().expect("a folder for the test");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("our own folder");
    let copy = dir.path().join("corelane-bench");
    std::fs::copy(BENCH, &copy).expect("the binary can be copied");
    let copy = copy.to_str().expect("a plain path");
    let who = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", copy];
    let arguments = own_arguments("serve", &["--workload", "echo", "--port", "7"]);
    let mut command = world.command(End::Server, "setpriv", &[&who[..], &arguments[..]].concat());
    expect_refusal(&run(&mut command, LIMIT), MACHINE, &["root", "lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"]);
    world.expect_no_program("after a refusal");
}
