//! Corelane as an ordinary user: three capabilities for the set-up, none afterwards.

use crate::neighbour::exchange;
use crate::process::{Ended, Running, run};
use crate::summary::Summary;
use crate::world::{BENCH, End, OWN, World, own_arguments, say};
use rustix::thread::CapabilitySet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
/// The machine cannot do it.
const MACHINE: i32 = 3;
/// Nobody's.
const USER: &str = "65534";
const ALL: &str = "cap_net_admin,cap_net_raw,cap_bpf";

/// A copy of the binary that anybody may execute, gone when dropped.
pub(crate) struct Binary {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Binary {
    /// With these file capabilities, or with none.
    pub(crate) fn with_capabilities(capabilities: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("our own folder");
        let path = dir.path().join("corelane-bench");
        std::fs::copy(BENCH, &path).expect("the binary can be copied");
        if !capabilities.is_empty() {
            let set = run(Command::new("setcap").arg(format!("{capabilities}+ep")).arg(&path), LIMIT);
            assert_eq!(set.code, Some(0), "{set}");
        }
        Self { _dir: dir, path }
    }

    /// `serve` as an ordinary user, with frames that fit the usual limit of locked memory; `more` goes to setpriv(1).
    fn serve(&self, world: &World, more: &[&str], settings: &[&str]) -> Command {
        let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        let path = self.path.to_str().expect("a plain path");
        let who = [&[user.as_str(), &group, "--clear-groups"], more, &[path]].concat();
        let what = own_arguments("serve", &["--workload", "echo", "--port", "7", "--json"]);
        let small = ["memory.frame_count=2048", "memory.fill_ring=1024", "memory.tx_ring=512"];
        let small: Vec<&str> = small.iter().flat_map(|setting| ["--set", setting]).collect();
        world.command(End::Server, "setpriv", &[&who[..], &what[..], &small[..], settings].concat())
    }
}

/// What `/proc` says of one thread.
#[derive(Debug)]
pub(crate) struct Thread {
    name: String,
    user: String,
    effective: u64,
    permitted: u64,
    no_new_privs: bool,
}

/// Every thread of the process, the workers apart from the others.
pub(crate) fn threads(id: u32) -> (Vec<Thread>, Vec<Thread>) {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let all = tasks.map(|task| {
        let text = std::fs::read_to_string(task.expect("a thread").path().join("status")).expect("it runs");
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            value.unwrap_or_else(|| panic!("no {key} in {text}")).trim().to_owned()
        };
        let set = |key: &str| u64::from_str_radix(&field(key), 16).expect("a set of capabilities");
        Thread {
            name: field("Name"),
            user: field("Uid"),
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            no_new_privs: field("NoNewPrivs") == "1",
        }
    });
    all.partition(|thread| thread.name.starts_with("corelane-") && thread.name != "corelane-bench")
}

fn start(mut command: Command) -> Running {
    let mut server = Running::start(&mut command);
    server.wait_until("listening on", LIMIT);
    server
}

/// Connections are served, the end is clean, and nothing is left.
fn expect_service_and_end(world: &World, server: Running) {
    for _ in 0..20 {
        world.inside(End::Client, || exchange(OWN, 7)).expect("it is served");
    }
    let ended = server.terminate();
    assert!(ended.took < Duration::from_secs(1), "the end took {:?}: {ended}", ended.took);
    let summary = Summary::of(&ended);
    assert_eq!(summary.workload("accepted"), 20);
    // The maps could still be read.
    let steering = ended.json()["stack"]["steering"].clone();
    assert!(steering["redirected_own_tcp"].as_u64().is_some_and(|n| n > 100), "{steering}");
    world.expect_no_program("after SIGTERM");
}

pub(crate) fn expect_nothing(threads: &[Thread]) {
    for thread in threads {
        assert_eq!((thread.effective, thread.permitted, thread.no_new_privs), (0, 0, true), "{thread:?}");
        assert!(thread.user.split_whitespace().all(|id| id == USER), "{thread:?}");
    }
}

#[test]
fn file_capabilities_are_enough_and_gone_when_it_serves() {
    let world = World::new();
    let binary = Binary::with_capabilities(ALL);
    let server = start(binary.serve(&world, &[], &[]));
    assert!(world.program().is_some());
    let (workers, others) = threads(server.id());
    say!(
        "{} worker(s), {} other thread(s), unprivileged_bpf_disabled = {}",
        workers.len(),
        others.len(),
        bpf_disabled()
    );
    assert!(workers.len() == 1 && !others.is_empty(), "{workers:?} {others:?}");
    expect_nothing(&workers);
    expect_nothing(&others);
    expect_service_and_end(&world, server);
}

#[test]
fn a_stack_that_is_embedded_drops_in_its_workers_alone() {
    let world = World::new();
    let binary = Binary::with_capabilities(ALL);
    let server = start(binary.serve(&world, &[], &["--set", "privileges.drop=workers"]));
    let (workers, others) = threads(server.id());
    assert_eq!(workers.len(), 1);
    expect_nothing(&workers);
    let three = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::BPF;
    for thread in &others {
        assert_eq!((thread.effective, thread.no_new_privs), (three.bits(), false), "{thread:?}");
    }
    expect_service_and_end(&world, server);
}

/// The way in which systemd starts `configs/corelane-bench.service`.
#[test]
fn ambient_capabilities_are_enough_without_new_privileges() {
    let world = World::new();
    let binary = Binary::with_capabilities("");
    let sets = "-all,+net_admin,+net_raw,+bpf";
    let [inherited, ambient, bounding] =
        ["--inh-caps", "--ambient-caps", "--bounding-set"].map(|option| format!("{option}={sets}"));
    let more = [inherited.as_str(), &ambient, &bounding, "--no-new-privs"];
    let server = start(binary.serve(&world, &more, &[]));
    let (workers, others) = threads(server.id());
    expect_nothing(&workers);
    expect_nothing(&others);
    expect_service_and_end(&world, server);
}

/// One sentence that has all of `words`, exit code 3.
fn expect_refusal(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(MACHINE), ""), "{ended}");
    assert_eq!(ended.stderr.lines().count(), 1, "one sentence: {ended}");
    for word in words {
        assert!(ended.stderr.contains(word), "\"{word}\" is not in: {ended}");
    }
}

#[test]
fn each_missing_capability_is_named_before_anything_is_done() {
    let world = World::new();
    for missing in ALL.split(',') {
        let rest: Vec<&str> = ALL.split(',').filter(|capability| *capability != missing).collect();
        let binary = Binary::with_capabilities(&rest.join(","));
        let ended = run(&mut binary.serve(&world, &[], &[]), LIMIT);
        let lacks = format!("lacks {}:", missing.to_uppercase());
        expect_refusal(&ended, &[&lacks, "setcap cap_net_admin,cap_net_raw,cap_bpf+ep", "AmbientCapabilities="]);
        world.expect_no_program("after a refusal");
    }
}

#[test]
fn too_little_locked_memory_is_refused_with_the_remedy() {
    let world = World::new();
    let binary = Binary::with_capabilities(ALL);
    // The last limit that an ordinary user's program inherits is what counts: 64 KiB.
    let command = binary.serve(&world, &[], &[]);
    let mut limited = Command::new("prlimit");
    limited.arg("--memlock=65536:65536").arg(command.get_program()).args(command.get_args());
    let ended = run(&mut limited, LIMIT);
    expect_refusal(&ended, &["ulimit -l", "LimitMEMLOCK=", "CAP_IPC_LOCK"]);
    world.expect_no_program("after a refusal");
}

fn bpf_disabled() -> String {
    std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").unwrap_or_default().trim().to_owned()
}
