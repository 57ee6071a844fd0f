//! `corelane-bench steer`: every way receives, and the table says how much.

use crate::process::run;
use crate::world::{BENCH, say};
use std::process::Command;
use std::time::Duration;

#[test]
fn every_way_receives_what_is_sent() {
    let mut command = Command::new(BENCH);
    command.args(["steer", "--seconds", "0.1", "--rounds", "3", "--json"]);
    let ended = run(&mut command, Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = ended.json();
    let ways = result["ways"].as_array().expect("a list");
    let names: Vec<_> = ways.iter().filter_map(|way| way["name"].as_str()).collect();
    assert_eq!(names, ["raw", "steered", "device", "stack"], "{result}");
    for way in ways {
        let rates = way["received_per_second"].as_array().expect("a list");
        say!("{}: {rates:?} frames/s", way["name"]);
        assert_eq!(rates.len(), 3, "{result}");
        // Not a bar: that frames come at all, on whatever machine this is.
        assert!(rates.iter().all(|rate| rate.as_f64().is_some_and(|rate| rate > 1000.0)), "{result}");
    }
    assert!(result["program_ns"].as_u64().is_some_and(|ns| ns > 0), "{result}");
}

#[test]
fn wrong_arguments_are_usage() {
    let ended = run(Command::new(BENCH).args(["steer", "--rounds", "0"]), Duration::from_secs(5));
    assert_eq!(ended.code, Some(2), "{ended}");
    assert!(ended.stderr.contains("--rounds 0"), "{ended}");
}
