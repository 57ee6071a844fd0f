//! `corelane-bench idle`: a stack that waits does wait, and a frame ends it.

use crate::process::run;
use crate::world::{BENCH, say};
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

/// The result's part about one strategy.
fn of<'a>(result: &'a Value, strategy: &str) -> &'a Value {
    let all = result["strategies"].as_array().expect("a list");
    all.iter().find(|one| one["strategy"] == strategy).unwrap_or_else(|| panic!("no {strategy}: {result}"))
}

#[test]
fn an_idle_stack_sleeps_and_a_frame_wakes_it() {
    let mut command = Command::new(BENCH);
    command.args(["idle", "--seconds", "2", "--requests", "50", "--json"]);
    let ended = run(&mut command, Duration::from_secs(60));
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = ended.json();
    for strategy in ["sleep", "adaptive"] {
        let one = of(&result, strategy);
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("no number: {one}"));
        let (cpu, p50) = (number(&one["idle_cpu"]), number(&one["wake_up_ns"]["p50"]));
        say!("{strategy}: idle at {:.2} % of a core, woken within {:.0} us (median)", cpu * 100.0, p50 / 1e3);
        // The bar is 1 %; what is asserted leaves room for whatever else this machine does.
        assert!(cpu < 0.2, "{one}");
        assert!(number(&one["sleeps"]) >= 50.0, "{one}");
        assert_eq!(one["wake_up_ns"]["count"], 50, "{one}");
        // One that only woke by itself, each waiting.sleep_max_ms, would take 50 ms in the middle.
        assert!(p50 < 20e6, "{one}");
    }
    assert_eq!(of(&result, "spin")["sleeps"], 0, "{result}");
}

#[test]
fn wrong_arguments_are_usage() {
    for (arguments, word) in [(&["--wait", "doze"][..], "doze"), (&["--requests", "0"], "--requests 0")] {
        let ended = run(Command::new(BENCH).arg("idle").args(arguments), Duration::from_secs(5));
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.stderr.contains(word), "{ended}");
    }
}
