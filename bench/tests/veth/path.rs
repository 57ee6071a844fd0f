//! `corelane-bench path`: the emulated path is as long as it says, and both senders get over it.

use crate::process::{Running, run};
use crate::world::{BENCH, say};
use corelane_bench::clock::Clock;
use corelane_bench::path::emulator::Emulator;
use corelane_bench::path::link::LinkConfig;
use corelane_bench::path::world::{RECEIVER, World};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// `path` with results in `out`.
fn path(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(BENCH);
    command.args(["path", "--out", out.to_str().expect("a plain path")]).args(more);
    command
}

fn result(out: &Path) -> Value {
    let bytes = std::fs::read(out.join("result.json")).expect("it was written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// The round-trip times that ping sees over a path of this delay each way, milliseconds.
fn pinged(delay_us: u64) -> Vec<f64> {
    let (world, clock) = (World::new().expect("namespaces"), Clock::new());
    let emulator = Emulator::start(&world.path, &clock).expect("an emulator");
    let link = LinkConfig { delay_ns: delay_us * 1000, ..LinkConfig::OPEN };
    emulator.begin([link; 2]);
    let ping = format!("-n -c 50 -i 0.02 {RECEIVER}");
    let limit = Duration::from_secs(60);
    let said = world.sender.inside(|| Ok(run(Command::new("ping").args(ping.split(' ')), limit))).expect("ping runs");
    assert_eq!(said.code, Some(0), "{said}");
    let times = said.stdout.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    assert_eq!(times.len(), 50, "{said}");
    times
}

#[test]
fn the_round_trip_is_as_long_as_configured() {
    for delay_us in [500, 10_000] {
        let (times, expected) = (pinged(delay_us), 2e-3 * delay_us as f64);
        say!("{expected} ms: {} to {} ms, median {}", times[0], times[49], times[25]);
        // Others may be late on a busy machine; none is early, and the best one shows what the path itself adds.
        assert!((expected..expected + 0.2).contains(&times[0]), "{times:?}");
    }
}

#[test]
fn both_senders_get_over_every_quick_path() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let ended = run(&mut path(out.path(), &["--quick", "--fail-if", "missing>0"]), Duration::from_secs(90));
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = result(out.path());
    let cells = result["cells"].as_array().expect("a list");
    assert_eq!(cells.len(), 4, "{result}");
    for cell in cells {
        for who in ["kernel", "corelane"] {
            let number = |name: &str| cell[who][name].as_u64().unwrap_or_else(|| panic!("{who} {name}: {cell}"));
            let (received, payload, again) =
                (number("received_bytes"), number("payload_bytes"), number("retransmitted_bytes"));
            assert!(received > 0 && received <= payload - again, "{who}: {cell}");
            let links = &cell[who]["path"][0];
            let spoilt = |link: &str, what: &str| links[link][what].as_u64().expect("a count") > 0;
            let (lossy, reorders) = (cell["cell"]["loss_percent"] != 0.0, cell["cell"]["reorder_percent"] != 0.0);
            assert_eq!(spoilt("data", "lost_by_chance"), lossy, "{who}: {cell}");
            assert_eq!(spoilt("data", "reordered"), reorders, "{who}: {cell}");
        }
        assert!(cell["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{cell}");
        let name = cell["name"].as_str().expect("a name");
        assert!(ended.stderr.contains(name), "{name}: {ended}");
    }
    let rows = ended.stdout.lines().filter(|line| line.starts_with("cubic ") || line.starts_with("bbr "));
    assert_eq!(rows.count(), 4, "{ended}");
    assert!(ended.stdout.contains("\nmedian ratio "), "{ended}");
    let page = std::fs::read_to_string(out.path().join("report.html")).expect("it was written");
    assert_eq!(page.matches("<rect ").count(), 4);
    say!("{}", ended.stdout.replace('\n', "\n    "));
}

#[test]
fn a_threshold_that_holds_is_told_and_an_unknown_algorithm_does_not_hide() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let matrix = out.path().join("matrix.toml");
    let text = "seconds = 0.5\nrounds = 1\nseed = 1\nboth_directions = false\nreorder_hold_rtts = 0.1\n\
        algorithms = [\"nonesuch\", \"cubic\"]\nbuffers_bdp = [1]\nloss_percent = [0]\n\
        [[path]]\nrtt_ms = 2\nrate_mbit = 20\n";
    std::fs::write(&matrix, text).expect("it can be written");
    let more = ["--matrix", matrix.to_str().expect("a plain path"), "--fail-if", "missing>0"];
    let ended = run(&mut path(out.path(), &more), Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("--fail-if missing>0 holds: the value is 1.000"), "{ended}");
    assert!(ended.stdout.contains("the kernel does not give nonesuch"), "{ended}");
    let result = result(out.path());
    assert!(result["cells"][0]["kernel"].is_null() && result["cells"][0]["ratio"].is_null(), "{result}");
    assert!(result["cells"][1]["ratio"].is_number(), "{result}");
}

#[test]
fn a_control_compares_the_kernel_with_itself() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let more = ["--quick", "--only", "cubic", "--only", "reorder", "--seconds", "0.5", "--control"];
    let ended = run(&mut path(out.path(), &more), Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = result(out.path());
    let cell = &result["cells"][0];
    assert_eq!(cell["notes"][0], "control: both are the kernel", "{result}");
    // A counter that only the kernel has.
    assert!(cell["corelane"]["own"]["TCPSACKReorder"].as_u64() > Some(0), "{result}");
}

#[test]
fn a_signal_ends_it_with_what_it_has() {
    let out = tempfile::tempdir().expect("a folder for the test");
    let mut running = Running::start(&mut path(out.path(), &["--quick"]));
    running.wait_until("1 of 4", Duration::from_secs(60));
    let ended = running.terminate();
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stderr.contains("stopped by a signal after 1 of 4 cells"), "{ended}");
    assert_eq!(result(out.path())["cells"].as_array().map(Vec::len), Some(1));
}
