//! Every workload and every way to offer a load, end to end over the kernel's sockets on 127.0.0.1.

mod common;

use common::{BIN, Server, result, row};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name}: {value}"))
}

/// A load of so many requests in a closed loop, without any error.
#[track_caller]
fn closed(server: &Server, workload: &str, requests: u64, more: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let requests_text = requests.to_string();
    let args = [&["--connections", "4", "--closed", "--requests", &requests_text], more].concat();
    let result = result(&server.load(workload, dir.path(), &args));
    assert_eq!((count(&result, "requests"), count(&result, "errors")), (requests, 0), "{result}");
    result
}

#[test]
fn requests_and_answers_of_many_sizes() {
    let server = Server::start("rr", &[]);
    let sizes = ["--size", "list:64*9,20000*1", "--response-size", "lognormal:3000,1,100000", "--pipeline", "4"];
    let result = closed(&server, "rr", 2000, &sizes);
    // 0.9 * 64 + 0.1 * 20000 bytes a request on average, with a standard deviation of 134.
    let mean = count(&result, "bytes_sent") as f64 / 2000.0;
    assert!((1500.0..2600.0).contains(&mean), "{mean}");
    assert_eq!((&result["size"], &result["sizes"]), (&Value::Null, &Value::from("list:64*9,20000*1")));
    assert_eq!((&result["response_sizes"], count(&result, "pipeline")), (&Value::from("lognormal:3000,1,100000"), 4));
    let (code, summary) = server.stop();
    assert_eq!((code, row(&summary, "requests"), row(&summary, "  of these, broken")), (Some(0), 2000, 0));
}

#[test]
fn http_is_pipelined_and_drawn() {
    let server = Server::start("http", &[]);
    closed(&server, "http", 3000, &["--pipeline", "16"]);
    closed(&server, "http", 1000, &["--pipeline", "8", "--requests-per-connection", "20"]);
    let drawn = closed(&server, "http", 500, &["--size", "uniform:0..50000"]);
    assert!(count(&drawn, "bytes_received") > 500 * 15_000, "{drawn}");
    assert_eq!(row(&server.stop().1, "requests"), 4500);
}

#[test]
fn a_key_value_server_is_asked_by_its_own_client_and_by_hand() {
    let server = Server::start("kv", &["--cores", "0"]);
    let args = ["--get-ratio", "0.5", "--keys", "100", "--size", "uniform:0..5000", "--pipeline", "8"];
    let mixed = closed(&server, "kv", 4000, &args);
    let misses = count(&mixed, "misses");
    // A key is asked for about once before it is set: 100 of them, and not after that.
    assert!((20..400).contains(&misses), "{misses}");
    assert!(count(&mixed, "bytes_received") > 1000 * 2000);

    let mut stream = server.connect();
    stream.write_all(b"SET a 5\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nDBSIZE\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "+OK\r\n:6\r\n$1\r\n6\r\n:101\r\n+OK\r\n");
    assert_eq!(row(&server.stop().1, "requests"), 4005);
}

#[test]
fn bulk_in_both_directions() {
    let sink = Server::start("sink", &[]);
    let sent = closed(&sink, "bulk-send", 500, &["--size", "100000"]);
    assert_eq!(count(&sent, "bytes_sent"), 50_000_000);
    assert_eq!(row(&sink.stop().1, "bytes in"), 50_000_000);
    let source = Server::start("source", &[]);
    let received = closed(&source, "bulk-recv", 500, &["--size", "100000"]);
    assert!(count(&received, "bytes_received") >= 50_000_000 - 400_000, "{received}");
    source.stop();
}

#[test]
fn a_connection_for_each_request() {
    let server = Server::start("echo", &[]);
    closed(&server, "churn", 500, &[]);
    closed(&server, "churn", 500, &["--size", "1000"]);
    // The last message is answered before this side resets: the server has sent everything.
    closed(&server, "churn", 500, &["--size", "1000", "--close", "rst"]);
    let (_, summary) = server.stop();
    // Each load opens one more to see whether anybody is there.
    assert_eq!((row(&summary, "connections accepted"), row(&summary, "bytes out")), (1503, 1_000_000));
    assert!(row(&summary, "  of these, broken") >= 400, "a RST is seen as one: {summary}");
}

#[test]
fn idle_connections_stand_beside_the_others() {
    let server = Server::start("echo", &[]);
    let result = closed(&server, "echo", 100, &["--idle-connections", "60"]);
    assert_eq!((count(&result, "connections"), count(&result, "idle_connections")), (4, 60));
    assert_eq!(row(&server.stop().1, "connections accepted"), 64);
}

#[test]
fn slow_readers_and_writers_take_their_time() {
    let server = Server::start("http", &[]);
    // 20 kB at 100 kB/s take 0.2 s.
    let read = closed(&server, "http", 4, &["--size", "20000", "--read-rate", "100000"]);
    assert!(read["service_time_ns"]["min"].as_f64().unwrap() >= 0.19e9, "{read}");
    server.stop();
    let server = Server::start("echo", &[]);
    let written = closed(&server, "echo", 4, &["--size", "20000", "--write-rate", "100000"]);
    assert!(written["service_time_ns"]["min"].as_f64().unwrap() >= 0.18e9, "{written}");
    server.stop();
}

fn open(server: &Server, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    server.load("echo", dir.path(), &[&["--connections", "4"], more].concat())
}

#[test]
fn a_ramp_and_steps_have_a_curve() {
    let server = Server::start("echo", &[]);
    let ramp = result(&open(&server, &["--rate", "100..300", "--duration", "2"]));
    let curve = ramp["curve"].as_array().unwrap();
    assert_eq!((curve.len(), &ramp["rate"]), (2, &Value::from("100..300")), "{ramp}");
    assert_eq!((curve[0]["offered_rate"].as_f64(), curve[1]["offered_rate"].as_f64()), (Some(150.0), Some(250.0)));
    assert!((count(&ramp, "requests") + count(&ramp, "unsent")).abs_diff(400) <= 1, "{ramp}");

    let steps = result(&open(&server, &["--rate", "100..250", "--step", "100", "--duration", "0.5"]));
    let curve = steps["curve"].as_array().unwrap();
    let offered: Vec<_> = curve.iter().map(|point| point["offered_rate"].as_f64().unwrap()).collect();
    assert_eq!(offered, [100.0, 200.0, 250.0]);
    let requests: u64 = curve.iter().map(|point| count(point, "requests")).sum();
    assert_eq!((requests, &steps["rate"]), (count(&steps, "requests"), &Value::from("100,200,250")));
    // A machine that has no time at the very end of a step leaves some unsent.
    assert_eq!(requests + count(&steps, "unsent"), 275, "{steps}");
    assert_eq!(steps["duration_s"].as_f64(), Some(1.5));
    server.stop();
}

#[test]
fn a_search_ends_where_the_objective_does() {
    let server = Server::start("echo", &[]);
    // No machine is so slow as to break this one, and none so fast as to keep the other.
    let kept = result(&open(&server, &["--rate", "50..100", "--slo", "p50=50s", "--duration", "0.3"]));
    assert_eq!((kept["found_rate"].as_f64(), kept["curve"].as_array().unwrap().len()), (Some(100.0), 2), "{kept}");
    assert!(kept["warnings"].to_string().contains("even the highest rate was kept"), "{kept}");
    let broken = open(&server, &["--rate", "50..100", "--slo", "p50=1ns", "--duration", "0.3"]);
    let text = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(1));
    assert!(text.contains("not even the lowest rate, 50.0/s, keeps --slo p50<=1ns"), "{text}");
    server.stop();
}

#[test]
fn a_trace_is_played_over_all_cores() {
    let server = Server::start("echo", &[]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace");
    let lines: String = (0..200).map(|at| format!("{}\n", at * 500)).collect();
    std::fs::write(&path, format!("offset_us\n{lines}")).unwrap();
    let played = result(&open(&server, &["--trace", path.to_str().unwrap()]));
    assert_eq!((count(&played, "requests"), &played["arrivals"]), (200, &Value::from("trace")));
    assert!(played["duration_s"].as_f64().unwrap() >= 0.0995, "{played}");

    std::fs::write(&path, "offset_us\n1\nsoon\n").unwrap();
    let wrong = open(&server, &["--trace", path.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(2));
    let text = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(text, format!("corelane-bench: {}:3: `soon` is not a number of at least 0\n", path.display()));
    server.stop();
}

#[test]
fn a_scenario_combines_phases_and_sets() {
    let (echo, http) = (Server::start("echo", &[]), Server::start("http", &[]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.toml");
    let text = format!(
        "target = '127.0.0.1:{}'\nduration_s = 0.3\n\
         [[phase]]\nname = 'one'\n[[phase.set]]\nname = 'a'\nworkload = 'echo'\nconnections = 2\nrate = 200\n\
         [[phase.set]]\nname = 'b'\nworkload = 'http'\ntarget = '127.0.0.1:{}'\nconnections = 2\nclosed = true\n\
         requests = 20\n\
         [[phase]]\nname = 'two'\n[[phase.set]]\nworkload = 'churn'\nconnections = 2\nrate = 100\nclose = 'rst'\n",
        echo.port, http.port
    );
    std::fs::write(&path, text).unwrap();
    let out = dir.path().join("out");
    let load = |more: &[&str]| {
        let mut command = Command::new(BIN);
        command.args(["load", "--transport", "kernel", "--json", "--scenario", path.to_str().unwrap(), "--out"]);
        command.arg(&out).args(more).output().unwrap()
    };
    let results = result(&load(&[]));
    let shown: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].clone(), count(one, "requests") + count(one, "unsent")))
        .collect();
    assert_eq!(shown, [("one-a".into(), 60), ("one-b".into(), 20), ("two-churn".into(), 30)]);
    assert!(out.join("one-b/latency.hlog").exists() && out.join("two-churn/report.html").exists());
    let failed = load(&["--fail-if", "rate>150"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("one-a: --fail-if rate>150 holds"), "{failed:?}");
    echo.stop();
    http.stop();
}

#[test]
fn the_record_says_where_it_ran_and_what_it_cost() {
    let server = Server::start("echo", &[]);
    let result = closed(&server, "echo", 2000, &[]);
    let environment = &result["environment"];
    assert_eq!((&environment["interface"], &environment["halting_allowed"]), (&Value::from("lo"), &Value::from(true)));
    assert!(!environment["kernel"].as_str().unwrap().is_empty() && count(environment, "cpus_online") > 0);
    assert!(count(&environment["noise"], "longest_ns") > 0);
    assert!(result["resources"]["cpu_ns_per_request"].as_f64().unwrap() > 100.0, "{result}");
    assert_eq!(count(&result["schedule_lag_ns"], "max"), 0, "a closed loop has no schedule");
    let open = common::result(&open(&server, &["--rate", "200", "--duration", "0.5"]));
    assert!(count(&open["schedule_lag_ns"], "max") > 0, "{open}");
    server.stop();
}

/// A server of this test that takes its time: exactly one request is answered late, however fast the machine is.
#[test]
fn a_stall_of_the_server_is_in_the_latency_and_not_in_the_lag() {
    const SIZE: usize = 64;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut message = [0; SIZE];
        for at in 0.. {
            if stream.read_exact(&mut message).is_err() {
                return at;
            }
            if at == 50 {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            let _ = stream.write_all(&message);
        }
        0
    });
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(BIN)
        .args(["load", "--transport", "kernel", "--workload", "echo", "--connections", "1", "--json"])
        .args(["--rate", "1000", "--requests", "200", "--target", &format!("127.0.0.1:{port}"), "--out"])
        .arg(dir.path())
        .output()
        .unwrap();
    let result = result(&output);
    assert_eq!((count(&result, "requests"), server.join().unwrap()), (200, 200));
    // Request 50 + k is due k ms after the one that stalls, and answered at least 100 - k ms late: 100 of 200 are late,
    // those with more than 50 ms are 50 of them. Delays can only add to that.
    let latency = |name: &str| result["latency_ns"][name].as_f64().unwrap() / 1e6;
    assert!(latency("max") >= 99.9, "{result}");
    assert!(latency("p90") >= 79.0, "the 20th slowest was due 19 ms after the stall began: {result}");
    assert!(count(&result, "waited_for_connection") >= 99, "{result}");
    assert!(result["warnings"].to_string().contains("waited for a free connection"), "{result}");
}
