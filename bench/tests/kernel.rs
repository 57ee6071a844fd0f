//! The binary end to end over the kernel's sockets, by epoll and by `io_uring`, on 127.0.0.1 only.

mod common;

use common::{BIN, Server, is_uring_allowed, result, row};
use corelane_bench::report::hlog;
use corelane_bench::workload::pattern;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Each of these over both of the kernel's transports.
macro_rules! suite {
    ($($name:ident)*) => {
        mod epoll {
            $(
                #[test]
                fn $name() {
                    super::$name("kernel");
                }
            )*
        }

        mod uring {
            $(
                #[test]
                fn $name() {
                    if super::is_uring_allowed() {
                        super::$name("kernel-uring");
                    }
                }
            )*
        }
    };
}

suite! {
    echo_in_a_closed_and_in_an_open_loop
    http_bytes_and_an_upload_have_the_hash_computed_here
    an_answer_to_a_refused_upload_arrives_whole
    a_reader_that_stops_reading_costs_no_memory_and_no_neighbour
    http_load_over_connections_that_are_made_anew
    sink_takes_and_source_gives
    thresholds_and_errors_have_their_exit_codes
    a_load_that_is_stopped_still_writes_its_result
}

fn echo_in_a_closed_and_in_an_open_loop(transport: &str) {
    let server = Server::over(transport, "echo", &[]);
    let dir = tempfile::tempdir().unwrap();
    let args = ["--connections", "8", "--closed", "--requests", "5000", "--duration", "20", "--size", "100000"];
    let closed = result(&server.load("echo", &dir.path().join("closed"), &args));
    assert_eq!(closed["requests"], 5000);
    assert_eq!(closed["errors"], 0);
    assert_eq!(closed["offered_rate"], Value::Null);
    assert_eq!(closed["bytes"], 5000 * 2 * 100_000u64);
    assert_eq!(closed["latency_ns"], closed["service_time_ns"]);

    let out = dir.path().join("open");
    let args = ["--connections", "4", "--rate", "500", "--duration", "2", "--warmup", "0.2", "--arrivals", "poisson"];
    let open = result(&server.load("echo", &out, &args));
    // The number of arrivals in two seconds has a standard deviation of 32.
    let arrivals = open["requests"].as_u64().unwrap() + open["unsent"].as_u64().unwrap();
    assert!((800..1200).contains(&arrivals), "{open}");
    assert_eq!((open["offered_rate"].as_f64(), &open["errors"]), (Some(500.0), &Value::from(0)));
    for name in ["min", "p50", "p90", "p99", "p99_9", "p99_99", "p99_999", "max", "mean"] {
        assert!(open["latency_ns"][name].as_f64().unwrap() >= open["service_time_ns"][name].as_f64().unwrap());
        assert!(open["service_time_ns"][name].as_f64().unwrap() > 1000.0);
    }
    assert_eq!((&open["cpu_dma_latency_held"], &open["spin"]), (&Value::from(false), &Value::from(false)));

    // The three files tell the same.
    let written: Value = serde_json::from_slice(&std::fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(written, open);
    let log = std::fs::read(out.join("latency.hlog")).unwrap();
    let histograms = hlog::read(&log).unwrap();
    assert_eq!(histograms.latency.len(), open["requests"].as_u64().unwrap());
    assert_eq!(histograms.latency.value_at_quantile(0.99), open["latency_ns"]["p99"].as_u64().unwrap());
    let log = String::from_utf8(log).unwrap();
    let intervals = log.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).count();
    assert!((2..=3).contains(&intervals), "{log}");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("<polyline") && !page.contains("http:") && !page.contains("https:"));
    assert!(page.len() < 64 * 1024);

    let report = Command::new(BIN).arg("report").args([&dir.path().join("closed"), &out]).output().unwrap();
    let table = String::from_utf8(report.stdout).unwrap();
    assert!(report.status.success() && table.contains("[2]/[1]") && table.contains("latency p99.999"), "{table}");

    let (code, summary) = server.stop();
    assert_eq!((code, row(&summary, "connections accepted"), row(&summary, "open at the stop")), (Some(0), 12, 0));
    assert_eq!(row(&summary, "bytes in"), row(&summary, "bytes out"));
}

fn http_bytes_and_an_upload_have_the_hash_computed_here(transport: &str) {
    let server = Server::over(transport, "http", &["--cores", "0"]);
    let mut body = vec![0; 5_000_000];
    pattern::fill(pattern::SERVED_SEED, 0, &mut body);

    let mut stream = server.connect();
    stream.write_all(b"GET /bytes/5000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.len() - body.len();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer[..head].ends_with(b"\r\n\r\n"));
    assert!(answer[head..] == body);

    let mut stream = server.connect();
    write!(stream, "PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let hash: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = format!("{{\"length\":{},\"sha256\":\"{hash}\"}}\n", body.len());
    assert!(answer.ends_with(&expected), "{answer}");
    server.stop();
}

fn an_answer_to_a_refused_upload_arrives_whole(transport: &str) {
    // The server answers before it has read the body: a socket closed at once would reset the answer away.
    let server = Server::over(transport, "http", &[]);
    for _ in 0..20 {
        let mut stream = server.connect();
        stream.write_all(b"PUT /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").unwrap();
        stream.write_all(&vec![b'x'; 3_000_000]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("404 Not Found\n"), "{answer}");
    }
    server.stop();
}

fn a_reader_that_stops_reading_costs_no_memory_and_no_neighbour(transport: &str) {
    let server = Server::over(transport, "http", &[]);
    let mut lazy: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for stream in &mut lazy {
        stream.write_all(b"GET /bytes/10000000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut quick = server.connect();
    quick.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    quick.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("Hello from Corelane\n"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 * 1024, "{kib} KiB for 20 connections");
    drop(lazy);
    server.stop();
}

fn http_load_over_connections_that_are_made_anew(transport: &str) {
    let server = Server::over(transport, "http", &[]);
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["--connections", "3", "--closed", "--requests", "300", "--requests-per-connection", "1", "--duration", "20"];
    let anew = result(&server.load("http", dir.path(), &args));
    assert_eq!((&anew["requests"], &anew["errors"]), (&Value::from(300), &Value::from(0)));
    let args = ["--connections", "3", "--closed", "--requests", "300", "--duration", "20", "--size", "70000"];
    let big = result(&server.load("http", dir.path(), &args));
    assert!(big["bytes_received"].as_u64().unwrap() > 300 * 70_000);
    let (code, summary) = server.stop();
    assert_eq!((code, row(&summary, "requests")), (Some(0), 600));
    assert!(row(&summary, "connections accepted") >= 300);
}

fn sink_takes_and_source_gives(transport: &str) {
    let sink = Server::over(transport, "sink", &[]);
    let mut stream = sink.connect();
    stream.write_all(&vec![1; 1_000_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    let (_, summary) = sink.stop();
    assert_eq!((row(&summary, "bytes in"), row(&summary, "bytes out")), (1_000_000, 0));

    let source = Server::over(transport, "source", &[]);
    let mut bytes = vec![0; 3_000_000];
    source.connect().read_exact(&mut bytes).unwrap();
    assert!(pattern::matches(pattern::SERVED_SEED, 0, &bytes));
    source.stop();
}

fn thresholds_and_errors_have_their_exit_codes(transport: &str) {
    let server = Server::over(transport, "http", &[]);
    let dir = tempfile::tempdir().unwrap();
    let args = ["--connections", "1", "--closed", "--requests", "10", "--duration", "5", "--fail-if", "p99>1ns"];
    let failed = server.load("http", dir.path(), &args);
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stderr).unwrap();
    assert!(text.contains("--fail-if p99>1ns holds"), "{text}");
    assert!(dir.path().join("result.json").exists(), "the result is there all the same");

    // An echo client against an HTTP server: what comes back is not what was sent.
    let args = ["--connections", "1", "--closed", "--duration", "0.3", "--size", "5000"];
    let wrong = server.load("echo", dir.path(), &args);
    assert_eq!(wrong.status.code(), Some(1));
    let port = server.port;
    server.stop();
    let nobody = Command::new(BIN)
        .args(["load", "--transport", transport, "--workload", "echo", "--closed", "--connections", "2"])
        .args(["--duration", "1", "--target", &format!("127.0.0.1:{port}"), "--out", dir.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    let text = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!(text, format!("corelane-bench: nothing listens on 127.0.0.1:{port}; start the server first\n"));
}

fn a_load_that_is_stopped_still_writes_its_result(transport: &str) {
    let server = Server::over(transport, "echo", &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut load = Command::new(BIN)
        .args(["load", "--transport", transport, "--workload", "echo", "--connections", "2", "--rate", "200"])
        .args(["--target", &format!("127.0.0.1:{}", server.port), "--duration", "60", "--json", "--out"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&load);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut text = String::new();
    load.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(load.wait().unwrap().success());
    let result: Value = serde_json::from_str(&text).unwrap();
    let seconds = result["duration_s"].as_f64().unwrap();
    assert!((0.5..10.0).contains(&seconds) && result["requests"].as_u64().unwrap() > 50, "{text}");
}
