//! Servers and loads of the binary, over the kernel's sockets on 127.0.0.1.
#![allow(dead_code, reason = "each suite uses a part of it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_corelane-bench");

/// A server that ends with the test.
pub(crate) struct Server {
    transport: String,
    pub(crate) child: Child,
    pub(crate) port: u16,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub(crate) fn start(workload: &str, more: &[&str]) -> Self {
        Self::over("kernel", workload, more)
    }

    pub(crate) fn over(transport: &str, workload: &str, more: &[&str]) -> Self {
        // Another process may take the port in between: then the next one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Command::new(BIN)
                .args(["serve", "--transport", transport, "--workload", workload, "--address", "127.0.0.1"])
                .args(["--port", &port.to_string()])
                .args(more)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            if line == format!("listening on 127.0.0.1:{port}\n") {
                return Self { transport: transport.to_owned(), child, port, stdout };
            }
            assert_eq!(child.wait().unwrap().code(), Some(3), "{line}");
        }
        panic!("no port was free");
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(crate) fn load(&self, workload: &str, out: &Path, more: &[&str]) -> Output {
        Command::new(BIN)
            .args(["load", "--transport", &self.transport, "--workload", workload, "--json"])
            .args(["--target", &format!("127.0.0.1:{}", self.port), "--out", out.to_str().unwrap()])
            .args(more)
            .output()
            .unwrap()
    }

    /// Asks it to stop; gives back its exit code and what it printed after the first line.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let asked = Instant::now();
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        let status = self.child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "SIGTERM took {:?}", asked.elapsed());
        (status.code(), text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where the test got so far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this machine has an `io_uring` for us. Where it has not, the program has to say so, and how to do without.
pub(crate) fn is_uring_allowed() -> bool {
    // The ring is asked for before the address, which is nobody's (RFC 5737).
    let refused = Command::new(BIN)
        .args(["serve", "--transport", "kernel-uring", "--workload", "echo", "--address", "192.0.2.1", "--port", "9"])
        .output()
        .unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{text}");
    if text.contains("no address 192.0.2.1") {
        return true;
    }
    assert!(text.contains("io_uring") && text.contains("--transport kernel"), "{text}");
    false
}

pub(crate) fn result(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn row(summary: &str, name: &str) -> u64 {
    let line = summary.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {summary}"));
    line[name.len()..].trim().replace(',', "").parse().unwrap()
}
