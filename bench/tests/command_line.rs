//! What is wrong with a command line is said in one sentence, with the right exit code.

use snapbox::assert_data_eq;
use std::net::TcpListener;
use std::process::Command;

/// The exit code and stderr.
fn run(args: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_corelane-bench")).args(args.split(' ')).output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A usage error is one line and ends with 2.
#[track_caller]
fn usage(args: &str) -> String {
    let (code, text) = run(args);
    assert_eq!(code, Some(2), "{args}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

const KERNEL: &str = "serve --transport kernel --workload echo";
const CORELANE: &str = "serve --transport corelane --workload echo";
const LOAD: &str = "load --transport kernel --workload echo --out target/none";

#[test]
fn servers_that_cannot_be_meant() {
    assert_data_eq!(
        usage(&format!("{KERNEL} --port 0")),
        "corelane-bench: --port 0 is no port; choose one from 1 to 65535\n"
    );
    assert!(usage(&format!("{KERNEL} --port 65536")).contains("65536 is not in 0..=65535"));
    assert!(usage(&format!("{KERNEL} --port 80 --address 10.0.0")).contains("`10.0.0` is not an IP address"));
    assert!(usage(&format!("{KERNEL} --port 80 --address 10.0.0.1/64")).contains("`/64` is not a prefix length"));
    assert!(usage(&format!("{KERNEL} --port 80 --cores 4095")).contains("core 4095, which this machine does not have"));
    assert!(usage(&format!("{KERNEL} --port 80 --cores 1-0")).contains("the range `1-0` runs backwards"));
    assert!(usage(&format!("{KERNEL} --port 80 --interface lo")).contains("--interface is for --transport corelane"));
    assert!(usage(&format!("{KERNEL} --port 80 --impair loss=1%")).contains("--impair is for --transport corelane"));
    assert!(usage("serve --transport kernel --workload tea --port 80").contains("possible values: echo, http"));
    assert!(usage(KERNEL).contains("--port"));
}

#[test]
fn a_stack_that_is_not_described() {
    assert_data_eq!(
        usage(&format!("{CORELANE} --port 80")),
        "corelane-bench: --transport corelane needs --interface IF or a --config FILE that names one\n"
    );
    assert!(usage(&format!("{CORELANE} --port 80 --interface lo")).contains("--address A/P"));
    assert!(usage(&format!("{CORELANE} --port 80 --interface lo --address 10.9.9.9")).contains("prefix length"));
    let described = format!("{CORELANE} --port 80 --interface lo --address 10.9.9.9/24");
    assert!(usage(&format!("{described} --mode fast")).contains("interface.mode"));
    assert!(usage(&format!("{described} --wait forever")).contains("waiting.strategy"));
    assert!(usage(&format!("{described} --set tcp.rto_min_ms=x")).contains("tcp.rto_min_ms"));
    assert!(usage(&format!("{described} --impair loss=200%")).contains("not a share such as 2%"));
    assert!(usage(&format!("{described} --spin")).contains("--wait spin"));
    assert!(usage(&format!("{CORELANE} --port 80 --config target/no-such-file.toml")).contains("no-such-file.toml"));
}

#[test]
fn an_interface_that_is_not_there() {
    let (code, text) = run(&format!("{CORELANE} --port 80 --interface nosuchif0 --address 10.9.9.9/24"));
    assert_eq!((code, text.lines().count()), (Some(3), 1), "{text}");
    assert!(text.contains("nosuchif0"), "{text}");
}

#[test]
fn loads_that_cannot_be_meant() {
    let target = "--target 127.0.0.1:9 --connections 1 --duration 1";
    assert!(usage(&format!("{LOAD} {target}")).contains("--rate <R>"));
    assert!(usage(&format!("{LOAD} {target} --closed --rate 5")).contains("cannot be used with"));
    assert!(usage(&format!("{LOAD} {target} --rate 0")).contains("--rate is not from"));
    assert!(usage(&format!("{LOAD} {target} --rate NaN")).contains("--rate is not from"));
    assert!(usage(&format!("{LOAD} {target} --closed --size 0")).contains("at least one byte"));
    assert!(usage(&format!("{LOAD} {target} --closed --fail-if p98>1us")).contains("`p98` is not known"));
    assert!(usage(&format!("{LOAD} {target} --closed --warmup=-1")).contains("--warmup"));
    let closed = format!("{LOAD} --closed --duration 1");
    assert!(usage(&format!("{closed} --target 127.0.0.1:0 --connections 1")).contains("port 0"));
    assert!(usage(&format!("{closed} --target 0.0.0.0:80 --connections 1")).contains("one machine"));
    assert!(usage(&format!("{closed} --target localhost --connections 1")).contains("--target"));
    assert!(usage(&format!("{closed} --target 127.0.0.1:80 --connections 0")).contains("--connections"));
    let open = format!("{LOAD} {target}");
    assert!(usage(&format!("{open} --rate fast")).contains("`fast` is not a rate such as 1000"));
    assert!(usage(&format!("{open} --rate 10 --step 5")).contains("--step needs a ramp"));
    assert!(usage(&format!("{open} --rate 10..20 --step 0")).contains("--step: steps of 0"));
    assert!(usage(&format!("{open} --rate 20..10 --slo p99=1ms")).contains("--rate LOW..HIGH"));
    assert!(usage(&format!("{open} --rate 1..10 --slo p99=5")).contains("not a time with its unit"));
    assert!(usage(&format!("{open} --rate 1..10 --slo p99=5us --step 1")).contains("cannot be used with"));
    assert!(usage(&format!("{open} --rate 1 --trace f")).contains("cannot be used with"));
    assert!(
        usage(&format!("{open} --trace target/no-such-trace")).contains("--trace target/no-such-trace: No such file")
    );
    assert!(usage(&format!("{open} --closed --size uniform:9..1")).contains("the range `9..1` runs backwards"));
    assert!(usage(&format!("{open} --closed --pipeline 0")).contains("--pipeline is not from 1"));
    assert!(usage(&format!("{open} --closed --keys 5")).contains("--keys is for --workload kv"));
    assert!(usage(&format!("{open} --closed --response-size 5")).contains("--response-size is for --workload rr"));
    let bulk = "load --transport kernel --out target/none --target 127.0.0.1:9 --connections 1 --duration 1 --workload";
    assert!(usage(&format!("{bulk} bulk-recv --rate 5")).contains("say --closed"));
    assert!(usage(&format!("{bulk} bulk-send --closed --size uniform:1..2")).contains("one number of bytes"));
    assert!(usage(&format!("{bulk} churn --closed --pipeline 2")).contains("mean nothing to --workload churn"));
    let unending = format!("{LOAD} --target 127.0.0.1:9 --connections 1 --closed");
    assert!(usage(&unending).contains("--duration says how long to measure"));
    let scenario = "load --transport kernel --out target/none --scenario target/no-such-scenario";
    assert!(usage(scenario).contains("target/no-such-scenario: No such file"));
    assert!(usage(&format!("{scenario} --closed")).contains("cannot be used with"));
    assert!(usage(&format!("{LOAD} --closed --duration 0 --target 127.0.0.1:80 --connections 1")).contains("nothing"));
}

#[test]
fn a_port_that_is_taken_and_an_address_that_is_elsewhere() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, text) = run(&format!("{KERNEL} --address 127.0.0.1 --port {port}"));
    assert_eq!(code, Some(3));
    assert_data_eq!(
        text,
        format!(
            "corelane-bench: port {port} on 127.0.0.1 is in use by another program; choose another --port, or find it \
             with `ss -ltnp`\n"
        )
    );
    let (code, text) = run(&format!("{KERNEL} --address 192.0.2.1 --port 8080"));
    assert_eq!(code, Some(3));
    assert!(text.contains("this machine has no address 192.0.2.1"), "{text}");
}

#[test]
fn a_report_of_nothing() {
    assert!(usage("report target/no-such-directory").contains("no-such-directory/result.json"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("result.json"), "{}").unwrap();
    assert!(usage(&format!("report {}", dir.path().display())).contains("is not the result of a load"));
}

#[test]
fn paths_that_cannot_be_meant() {
    assert_data_eq!(
        usage("path --out target/none --only loss7%"),
        "corelane-bench: --only loss7% leaves no cell; their names are like cubic-100mbit-20ms-1bdp-loss1%\n"
    );
    assert!(usage("path --out target/none --rounds 0").contains("rounds: 0 is not from 1 to 99"));
    assert!(usage("path --out target/none --seconds 0.1").contains("seconds: 0.1 is not from 0.5 to 600"));
    assert!(usage("path --out target/none --fail-if p99>1ms").contains("take ratio, median"));
    assert!(usage("path --out target/none --matrix target/no-such-file.toml").contains("no-such-file.toml"));
    assert!(usage("path --out target/none --quick --matrix a.toml").contains("cannot be used with"));
    assert!(usage("path --quick").contains("--out"));
}

#[test]
fn raw_transports_that_cannot_be_meant() {
    let serve = "serve --transport raw --port 7";
    assert_data_eq!(
        usage(&format!("{serve} --workload echo")),
        "corelane-bench: --transport raw needs --interface IF, all of whose packets it takes\n"
    );
    assert!(usage(&format!("{serve} --interface lo --workload http")).contains("serves echo and sink"));
    assert!(usage(&format!("{serve} --interface lo --workload echo --wait spin")).contains("--wait says nothing to"));
    assert!(usage(&format!("{serve} --interface lo --workload echo --cores 0-1")).contains("runs on one core"));
    let load = "load --transport raw --workload echo --interface lo --duration 1 --out target/none --target 10.0.0.1:7";
    assert!(usage(&format!("{load} --connections 1 --rate 5")).contains("it needs --closed, not --rate"));
    assert!(usage(&format!("{load} --connections 4097 --closed")).contains("at most 4096 frames in flight"));
    assert!(usage(&format!("{load} --connections 1 --closed --size 1461")).contains("--size is at most 1460"));
    assert!(usage(&format!("{load} --connections 1 --closed --requests 5")).contains("ends by --duration"));
    assert!(
        usage(&format!("{} --connections 1 --closed", load.replace("echo", "http")))
            .contains("echo and bulk-send; http")
    );
}

#[test]
fn comparisons_that_cannot_be_meant() {
    assert!(usage("compare").contains("--out"));
    assert!(usage("compare --out target/none --rounds 0").contains("rounds: 0 is not from 1 to 99"));
    assert!(usage("compare --out target/none --seconds 0").contains("seconds: 0 is not from 0.1"));
    assert!(usage("compare --out target/none --matrix target/no-such-file.toml").contains("no-such-file.toml"));
    let sentence = usage("compare --out target/none --only tea --only milk");
    assert!(sentence.contains("--only tea or milk leaves no cell; their names are like echo-64b-1c-raw-to-raw"));
}
