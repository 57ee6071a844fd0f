//! `corelane doctor` at a real interface.

use crate::process::{Ended, run};
use crate::world::{BENCH, End, SERVER_IF, World};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The operator's command, built from the same sources, beside the binary under test.
pub(crate) fn corelane() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "corelane-cli", "--bin", "corelane"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let built = run(&mut cargo, Duration::from_secs(600));
    assert_eq!(built.code, Some(0), "{built}");
    let path = PathBuf::from(BENCH).with_file_name("corelane");
    assert!(path.exists(), "{} was built", path.display());
    path
}

/// What the doctor says of the server's interface, in words and as JSON, and that both agree.
fn examine(world: &World, corelane: &str) -> (Ended, Value) {
    let limit = Duration::from_secs(10);
    let told = world.run(End::Server, limit, corelane, &["doctor", "--interface", SERVER_IF]);
    let document = world.run(End::Server, limit, corelane, &["doctor", "--json", "--interface", SERVER_IF]);
    assert_eq!(document.code, told.code, "{document}");
    assert_eq!(told.stderr, "", "{told}");
    let json = document.json();
    assert_eq!(json["interface"], SERVER_IF, "{json}");
    (told, json)
}

fn failing(json: &Value) -> Vec<&Value> {
    let checks = json["checks"].as_array().expect("a list of checks");
    assert!(checks.len() >= 8, "only {} checks: {json}", checks.len());
    checks.iter().filter(|check| check["level"] == "fail").collect()
}

#[test]
fn the_doctor_finds_a_healthy_interface_healthy_and_a_sick_one_sick() {
    let corelane = corelane();
    let corelane = corelane.to_str().expect("a plain path");
    let world = World::new();
    let (told, json) = examine(&world, corelane);
    assert_eq!(told.code, Some(0), "{told}");
    assert!(failing(&json).is_empty(), "{json}");
    assert!(!told.stdout.contains("FAIL"), "{told}");

    for (spoil, mend, word) in [
        (format!("link set dev {SERVER_IF} down"), format!("link set dev {SERVER_IF} up"), "down"),
        (format!("link set dev {SERVER_IF} mtu 9000"), format!("link set dev {SERVER_IF} mtu 1500"), "9000"),
    ] {
        world.ip(End::Server, &spoil);
        let (told, json) = examine(&world, corelane);
        assert_eq!(told.code, Some(3), "{told}");
        assert_eq!(json["level"], "fail", "{json}");
        let failing = failing(&json);
        let message = |check: &&&Value| check["message"].as_str().is_some_and(|text| text.contains(word));
        let check = failing.iter().find(message).unwrap_or_else(|| panic!("nothing says \"{word}\": {json}"));
        assert!(check["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{check}");
        assert!(told.stdout.lines().any(|line| line.contains("FAIL") && line.contains(word)), "{told}");
        world.ip(End::Server, &mend);
    }

    // A server that runs is in the way of the next one.
    let server = world.serve("echo", 7, &[]);
    let (told, json) = examine(&world, corelane);
    assert_eq!(told.code, Some(3), "{told}");
    let names: Vec<&Value> = failing(&json).iter().map(|check| &check["name"]).collect();
    assert_eq!(names, ["xdp-program"], "{json}");
    crate::summary::Summary::of(&server.terminate());
}
