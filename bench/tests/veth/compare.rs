//! `corelane-bench compare`, and `load --transport raw` below it: short runs, of which the arithmetic is looked at and no
//! figure.

use crate::process::{Ended, Running, run};
use crate::world::{BENCH, End, World, say};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

fn compare(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(BENCH);
    command.args(["compare", "--out", out.to_str().expect("a plain path")]).args(more);
    command
}

fn result(out: &Path) -> Value {
    let bytes = std::fs::read(out.join("result.json")).expect("it was written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

fn matrix(dir: &Path, groups: &str) -> String {
    let path = dir.join("matrix.toml");
    let text = format!("seconds = 0.3\nwarmup_seconds = 0.05\nrounds = 2\n{groups}");
    std::fs::write(&path, text).expect("it can be written");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn every_pair_is_run_and_ratios_are_those_of_the_runs() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let groups = "[[group]]\nworkload = \"echo\"\nconnections = [4]\npairs = [\"raw-to-raw\", \"corelane-to-corelane\", \
        \"corelane-to-kernel\", \"kernel-spin-to-corelane\", \"kernel-to-kernel\"]\n\
        [[group]]\nworkload = \"churn\"\nconnections = [2]\npairs = [\"kernel-to-corelane\"]\n";
    let ended = run(&mut compare(out.path(), &["--matrix", &matrix(out.path(), groups)]), LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = result(out.path());
    let rows = result["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), 6, "{result}");
    let rate = |row: &Value, round: u64| {
        let runs = row["runs"].as_array().expect("a list");
        let run = runs.iter().find(|run| run["round"] == round).unwrap_or_else(|| panic!("round {round} of {row}"));
        run["rate"].as_f64().expect("a number")
    };
    for row in rows {
        assert_eq!(row["notes"], Value::Array(vec![]), "{row}");
        for run in row["runs"].as_array().expect("a list") {
            assert!(run["rate"].as_f64() > Some(0.0) && run["p50_ns"].as_u64() > Some(0), "{row}");
            assert!(run["client_core"]["busy"].as_f64() > Some(0.0), "{row}");
        }
        let has_frames = row["runs"][0]["frames_per_exchange"].as_f64();
        let name = row["name"].as_str().expect("a name");
        assert_eq!(has_frames.is_some(), !name.ends_with("-to-kernel"), "{row}");
        // A request and an answer at least, and for a connection its opening and its end too.
        let least = if name.starts_with("churn") { 4.0 } else { 1.9 };
        assert!(has_frames.is_none_or(|frames| frames >= least), "{row}");
    }
    let expected = (0..2).map(|round| rate(&rows[1], round) / rate(&rows[0], round)).sum::<f64>() / 2.0;
    let found = rows[1]["over_raw"].as_f64().expect("a ratio");
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    assert!(rows[1]["over_same_client"].is_number() && rows[3]["over_kernel"].is_number(), "{result}");
    assert_eq!(result["environment"][0]["complete"], true, "{result}");
    assert!(
        ended.stderr.lines().count() >= 12 && ended.stderr.contains("12 of 12, round 2: echo-64b-4c-raw"),
        "{ended}"
    );
    say!("{}", ended.stdout.replace('\n', "\n    "));
    report_shows_it(out.path(), &result);
}

/// `report` makes the same page of what lies there, and one of both of two.
fn report_shows_it(out: &Path, result: &Value) {
    let html = out.join("again.html");
    let dir = out.to_str().expect("a plain path");
    let mut command = Command::new(BENCH);
    command.args(["report", dir, "--html"]).arg(&html).arg("--svg").arg(out.join("svg"));
    let ended = run(&mut command, LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    let read = |path: &Path| std::fs::read_to_string(path).expect("it was written");
    assert_eq!(read(&html), read(&out.join("report.html")));
    let ended = run(Command::new(BENCH).args(["report", dir, dir, "--json"]), LIMIT);
    let both = ended.json();
    assert_eq!(both["environment"].as_array().map(Vec::len), Some(2), "{ended}");
    let runs = |result: &Value| result["rows"][0]["runs"].as_array().map(Vec::len);
    assert_eq!((runs(result), runs(&both)), (Some(2), Some(4)), "{ended}");
}

#[test]
fn a_signal_ends_it_with_what_it_has_and_leaves_no_process() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let groups = "[[group]]\nworkload = \"echo\"\nconnections = [1, 2, 3, 4, 5, 6]\npairs = [\"corelane-to-kernel\"]\n";
    let more = ["--matrix", &matrix(out.path(), groups), "--seconds", "2"];
    let mut running = Running::start(&mut compare(out.path(), &more));
    running.wait_until("1 of 12", LIMIT);
    assert!(!processes_with(out.path()).is_empty(), "it runs itself");
    let ended = running.terminate();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("stopped by a signal after 1 runs"), "{ended}");
    assert_eq!(result(out.path())["environment"][0]["complete"], false);
    let left = processes_with(out.path());
    assert!(left.is_empty(), "{left:?} still run: {ended}");
}

/// The command lines of running processes that have a path in them.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.to_str().expect("a plain path");
    let all = std::fs::read_dir("/proc").expect("it is mounted").flatten();
    let lines = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(path)).collect()
}

fn raw_load(world: &World, out: &Path, more: &[&str]) -> Ended {
    let out = out.to_str().expect("a plain path");
    let mut arguments = vec!["load", "--transport", "raw", "--target", "10.77.0.2:7", "--interface", "client0"];
    arguments.extend(["--closed", "--duration", "0.3", "--warmup", "0.1", "--out", out, "--json"]);
    arguments.extend(more);
    world.run(End::Client, LIMIT, BENCH, &arguments)
}

#[test]
fn raw_frames_of_all_sizes_come_back_and_none_is_lost() {
    let (world, out) = (World::new(), tempfile::tempdir().expect("a folder for the test"));
    let serve =
        ["serve", "--transport", "raw", "--workload", "echo", "--port", "7", "--interface", "server0", "--json"];
    let mut server = Running::start(&mut world.command(End::Server, BENCH, &serve));
    server.wait_until("listening on", Duration::from_secs(10));
    let mut exchanged = 0;
    for (size, in_flight) in [("10", "1"), ("64", "16"), ("1460", "512"), ("64", "4096")] {
        let ended = raw_load(&world, out.path(), &["--workload", "echo", "--size", size, "--connections", in_flight]);
        assert_eq!(ended.code, Some(0), "{ended}");
        let found = ended.json();
        assert!(found["requests"].as_u64() > Some(0), "{ended}");
        assert_eq!((&found["errors"], &found["unanswered"]), (&0.into(), &0.into()), "{size} B, {in_flight}: {ended}");
        exchanged += found["requests"].as_u64().expect("a count");
    }
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended}");
    let raw = &ended.json()["raw"];
    assert_eq!(raw["rx_frames"], raw["tx_frames"], "{ended}");
    assert!(raw["rx_frames"].as_u64() >= Some(exchanged), "{exchanged} exchanges: {ended}");
    world.expect_no_program("after the raw server's end");
}
