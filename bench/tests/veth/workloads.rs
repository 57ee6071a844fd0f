//! Every workload of the load generator against Corelane's server, over the kernel's sockets and over Corelane.

use crate::summary::Summary;
use crate::world::{BENCH, End, OWN, World, say};
use serde_json::Value;
use std::time::Duration;

/// The client's end when Corelane is there too.
const CLIENT_STACK: [&str; 4] = ["--interface", "client0", "--address", "10.77.0.20/24"];

/// A load from the client's end, without any error.
fn load(world: &World, transport: &str, workload: &str, port: u16, more: &[&str]) -> Value {
    let out = tempfile::tempdir().expect("a folder for the test");
    let target = format!("{OWN}:{port}");
    let mut arguments = vec!["load", "--transport", transport, "--workload", workload, "--target", &target, "--json"];
    arguments.extend(["--connections", "4", "--out", out.path().to_str().expect("a plain path")]);
    if transport == "corelane" {
        arguments.extend(CLIENT_STACK);
    }
    arguments.extend(more);
    let ended = world.run(End::Client, Duration::from_secs(60), BENCH, &arguments);
    assert_eq!(ended.code, Some(0), "{ended}");
    let result = ended.json();
    assert_eq!(result["errors"], 0, "{result}");
    let p50 = result["service_time_ns"]["p50"].as_f64().unwrap_or_default() / 1e3;
    say!("{workload} over {transport}: {} requests, p50 {p50:.1} us", result["requests"]);
    result
}

/// The same load over both, of `expected` requests.
fn over_both(kind: &str, workload: &str, more: &[&str], expected: u64) {
    for transport in ["kernel", "corelane"] {
        let world = World::new();
        let server = world.serve(kind, 80, &[]);
        let result = load(&world, transport, workload, 80, &[&["--closed", "--requests"], more].concat());
        assert_eq!(result["requests"], expected, "{result}");
        Summary::of(&server.terminate());
    }
}

#[test]
fn requests_of_all_sizes() {
    let sizes = ["3000", "--size", "uniform:8..3000", "--response-size", "uniform:1..5000", "--pipeline", "4"];
    over_both("rr", "rr", &sizes, 3000);
}

#[test]
fn a_key_value_mix() {
    let mix = ["3000", "--size", "uniform:0..5000", "--get-ratio", "0.5", "--keys", "100", "--pipeline", "8"];
    over_both("kv", "kv", &mix, 3000);
}

#[test]
fn pipelined_http_over_connections_that_are_made_anew() {
    over_both("http", "http", &["2000", "--pipeline", "8", "--requests-per-connection", "50"], 2000);
}

#[test]
fn bulk_in_both_directions() {
    over_both("sink", "bulk-send", &["500", "--size", "100000"], 500);
    over_both("source", "bulk-recv", &["500", "--size", "100000"], 500);
}

#[test]
fn a_connection_for_each_request() {
    over_both("echo", "churn", &["1000", "--size", "1000"], 1000);
    over_both("echo", "churn", &["1000", "--size", "1000", "--close", "rst"], 1000);
}

#[test]
fn slow_readers_and_idle_connections() {
    let slow = ["8", "--size", "200000", "--read-rate", "1000000", "--idle-connections", "20"];
    over_both("http", "http", &slow, 8);
}

#[test]
fn steps_start_the_stack_anew_each_time() {
    let world = World::new();
    let server = world.serve("echo", 80, &[]);
    let steps = load(&world, "corelane", "echo", 80, &["--rate", "500,1000,2000", "--duration", "0.5"]);
    assert_eq!(steps["curve"].as_array().map(Vec::len), Some(3), "{steps}");
    assert_eq!(steps["environment"]["interface"], "client0");
    Summary::of(&server.terminate());
}
