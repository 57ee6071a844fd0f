//! `corelane steer` as a person meets it, with a stand-in for the stack at the other end of the socket.

use snapbox::cmd::Command;
use snapbox::str;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

/// A socket of its own for each test.
struct StandIn {
    dir: tempfile::TempDir,
    asked: Option<JoinHandle<Vec<String>>>,
}

impl StandIn {
    /// Answers one client's requests by these lines, one after the other, and goes.
    fn new(answers: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let listener = UnixListener::bind(dir.path().join("a.sock")).expect("a socket for the test");
        let answers: Vec<String> = answers.iter().map(|answer| format!("{answer}\n")).collect();
        let asked = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut stream = BufReader::new(stream);
            let mut asked = Vec::new();
            for answer in answers {
                let mut line = String::new();
                stream.read_line(&mut line).expect("a request");
                asked.push(line.trim_end().to_owned());
                stream.get_mut().write_all(answer.as_bytes()).expect("the client is there");
            }
            asked
        });
        Self { dir, asked: Some(asked) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.sock")
    }

    fn steer(&self, arguments: &[&str]) -> Command {
        steer().arg("--socket").arg(self.path()).args(arguments)
    }

    /// What was asked, once everything is answered.
    fn asked(mut self) -> Vec<String> {
        self.asked.take().expect("it is asked once").join().expect("it answers")
    }
}

fn steer() -> Command {
    Command::new(snapbox::cmd::cargo_bin!("corelane")).env("NO_COLOR", "1").arg("steer")
}

/// Two workers, the second of which has so many flows and is drained or not.
fn two(flows: usize, drained: bool) -> String {
    let (first, second) = if drained { (1024, 0) } else { (512, 512) };
    format!(
        r#"{{"workers":[{{"worker":0,"core":2,"buckets":{first},"flows":31,"frames":123456,"drained":false}},{{"worker":1,"core":3,"buckets":{second},"flows":{flows},"frames":99,"drained":{drained}}}]}}"#
    )
}

#[test]
fn nothing_named_is_a_look() {
    let stack = StandIn::new(&[&two(4, false)]);
    stack.steer(&[]).assert().success().stderr_eq("").stdout_eq(str![[r#"
worker  core   share  buckets  flows  frames  moved in  moved out  drained
     0     2  50.0 %      512     31  123456         0          0  no
     1     3  50.0 %      512      4      99         0          0  no

"#]]);
    assert_eq!(stack.asked(), ["shares"]);
}

#[test]
fn each_action_is_a_request() {
    for (arguments, request) in [
        (["show"].as_slice(), "shares"),
        (&["drain", "1"], "drain 1"),
        (&["add", "1"], "add 1"),
        (&["rebalance"], "rebalance"),
    ] {
        let stack = StandIn::new(&[&two(4, false)]);
        stack.steer(arguments).assert().success();
        assert_eq!(stack.asked(), [request]);
    }
}

#[test]
fn programs_get_json() {
    let stack = StandIn::new(&[&two(4, true)]);
    let shown = stack.steer(&["drain", "1", "--json"]).assert().success().get_output().stdout.clone();
    let json: serde_json::Value = serde_json::from_slice(&shown).expect("one JSON document");
    let worker = &json["workers"][1];
    assert_eq!(
        (&worker["drained"], &worker["share_percent"], &worker["flows"]),
        (&true.into(), &0.0.into(), &4.into())
    );
    assert_eq!(stack.asked(), ["drain 1"]);
}

#[test]
fn a_drain_is_waited_for() {
    let stack = StandIn::new(&[&two(4, true), &two(1, true), &two(0, true)]);
    let waited = stack.steer(&["drain", "1", "--wait", "--timeout", "20"]).assert();
    // Progress is for terminals only.
    waited.success().stderr_eq("").stdout_eq(str![[r#"
worker  core    share  buckets  flows  frames  moved in  moved out  drained
     0     2  100.0 %     1024     31  123456         0          0  no
     1     3    0.0 %        0      0      99         0          0  yes
worker 1: 0 connections moved since the start, 0 left

"#]]);
    assert_eq!(stack.asked(), ["drain 1", "shares", "shares"]);
}

#[test]
fn what_is_left_when_the_time_is_over_fails_after_the_table() {
    let stack = StandIn::new(&[&two(4, true), &two(3, true)]);
    let waited = stack.steer(&["drain", "1", "--wait", "--timeout", "0.1"]).assert();
    waited
        .code(1)
        .stdout_eq(str![[r#"
worker  core    share  buckets  flows  frames  moved in  moved out  drained
     0     2  100.0 %     1024     31  123456         0          0  no
     1     3    0.0 %        0      3      99         0          0  yes
worker 1: 0 connections moved since the start, 3 left

"#]])
        .stderr_eq("corelane: worker 1 has 3 connections after 0.1 s; it stays drained\n");

    let stack = StandIn::new(&[&two(4, true), &two(5, false)]);
    let waited = stack.steer(&["drain", "1", "--wait"]).assert().code(1);
    waited.stderr_eq("corelane: worker 1 was added again while it was waited for: 5 connections\n");

    let stack = StandIn::new(&[&two(4, true)]);
    let waited = stack.steer(&["drain", "1", "--wait"]).assert().code(1).stdout_eq("");
    waited.stderr_eq("corelane: the stack at [..]/a.sock has ended, or has ended the connection\n");
}

#[test]
fn what_the_stack_refuses_is_said_in_its_words() {
    let stack = StandIn::new(&[r#"{"error":"there is no worker 9: they are numbered from 0 to 1"}"#]);
    let refused = stack.steer(&["drain", "9"]).assert().code(1).stdout_eq("");
    refused.stderr_eq("corelane: there is no worker 9: they are numbered from 0 to 1\n");
}

#[test]
fn what_is_no_answer_is_not_believed() {
    for garbage in ["HTTP/1.1 400 Bad Request", r#"{"workers":7}"#, "{}"] {
        let stack = StandIn::new(&[garbage]);
        let told = stack.steer(&[]).assert().code(3).stdout_eq("");
        told.stderr_eq("corelane: what [..]/a.sock answers is not understood: this command and the stack should be of one version\n");
    }
}

#[test]
fn a_socket_that_is_not_there_or_dead_is_the_machines_fault() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("a.sock");
    let told = steer().arg("--socket").arg(&path).assert().code(3).stdout_eq("");
    told.stderr_eq(
        "corelane: there is no control socket [..]/a.sock: start the stack with control.socket set to that path\n",
    );
    drop(UnixListener::bind(&path).expect("a socket for the test"));
    let told = steer().arg("--socket").arg(&path).assert().code(3).stdout_eq("");
    told.stderr_eq("corelane: nobody listens at [..]/a.sock: the stack that made it has ended; start it again\n");
}

#[test]
fn a_configuration_names_the_socket() {
    let stack = StandIn::new(&[&two(4, false)]);
    let file = stack.dir.path().join("server.toml");
    std::fs::write(&file, format!("[control]\nsocket = \"{}\"\n", stack.path().display()))
        .expect("a file for the test");
    steer().arg("--config").arg(&file).assert().success();
    assert_eq!(stack.asked(), ["shares"]);

    let dir = tempfile::tempdir().expect("a folder for the test");
    std::fs::write(dir.path().join("server.toml"), "").expect("a file for the test");
    let told = steer().current_dir(dir.path()).args(["--config", "server.toml"]).assert().code(2).stdout_eq("");
    told.stderr_eq("corelane: server.toml: control.socket is not set: set it, and start the stack again\n");
}

#[test]
fn a_wrong_command_line_is_usage() {
    for wrong in [
        &["drain"][..],
        &["drain", "one"],
        &["drain", "1", "--timeout", "5"],
        &["drain", "1", "--wait", "--timeout", "soon"],
        &["add", "-1"],
        &["--socket", "a", "--config", "b"],
        &["undrain", "1"],
    ] {
        steer().args(wrong).assert().code(2).stdout_eq("");
    }
}
