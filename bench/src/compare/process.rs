//! A server and a client, each a process of this program's own, in their namespaces and on their cores.

use super::cpu::{CoreTime, Watch};
use super::matrix::{Cell, Workload};
use super::pair::{End, LinkKind};
use super::result::Run;
use super::world::{CLIENT_IF, SERVER_IF, World, address};
use crate::failure::Failure;
use crate::path::world::Space;
use crate::report::result::LoadResult;
use crate::stop::Stop;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take beyond what it measures, and a server to end.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How often a process is looked at.
const PACE: Duration = Duration::from_millis(2);
/// Bytes that count as an exchange where there is none.
const BULK_UNIT: f64 = 65536.0;

/// What all runs share.
pub(super) struct Bench {
    program: PathBuf,
    /// Has a child end when this process does, however that ends; empty where the machine does not have it.
    with_us: Vec<&'static str>,
    home: Space,
    worlds: Vec<(LinkKind, World)>,
    pub(super) client_core: usize,
    pub(super) server_core: usize,
    pub(super) held: bool,
    seconds: Duration,
    warmup: Duration,
    /// A port of its own for each run: what lingers of the last one is not in the way.
    port: u16,
}

/// How a run ended that did not measure.
pub(super) enum NoRun {
    /// The program was told to stop.
    Stopped,
    /// A sentence for the row.
    Because(String),
}

impl From<Failure> for NoRun {
    fn from(failure: Failure) -> Self {
        Self::Because(failure.to_string())
    }
}

impl Bench {
    pub(super) fn new(cores: [usize; 2], held: bool, seconds: f64, warmup: f64) -> Result<Self, Failure> {
        let machine = |what: &str, error: std::io::Error| Failure::Machine(format!("{what}: {error}"));
        let program = std::env::current_exe().map_err(|error| machine("this program does not find itself", error))?;
        let setpriv = Command::new("setpriv").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let with_us = if setpriv.is_ok_and(|status| status.success()) {
            vec!["setpriv", "--pdeathsig", "TERM"]
        } else {
            Vec::new()
        };
        let worlds = LinkKind::ALL.map(|kind| World::new(kind).map(|world| (kind, world)));
        Ok(Self {
            program,
            with_us,
            home: Space::here()?,
            worlds: worlds.into_iter().collect::<Result<_, _>>()?,
            client_core: cores[0],
            server_core: cores[1],
            held,
            seconds: Duration::from_secs_f64(seconds),
            warmup: Duration::from_secs_f64(warmup),
            port: 9_000,
        })
    }

    /// Runs a cell once. What both processes say goes into `dir`, which is made.
    pub(super) fn run(&mut self, cell: &Cell, round: u32, dir: &Path, stop: &Stop) -> Result<Run, NoRun> {
        std::fs::create_dir_all(dir).map_err(|error| NoRun::Because(format!("{}: {error}", dir.display())))?;
        self.port = if self.port >= 9_900 { 9_000 } else { self.port + 1 };
        let mut server = self.start(cell, true, dir)?;
        server.wait_until("listening on", START_WITHIN)?;
        let mut client = self.start(cell, false, dir)?;
        let mut watch = Watch::new([self.client_core, self.server_core]);
        let limit = Instant::now() + self.warmup + self.seconds + END_WITHIN;
        let ended = loop {
            watch.poll();
            if stop.is_raised() {
                client.end(Signal::TERM);
                server.end(Signal::TERM);
                return Err(NoRun::Stopped);
            }
            if let Some(code) = client.ended()? {
                break code;
            }
            if Instant::now() > limit {
                return Err(NoRun::Because(format!("the client did not end within {} s", END_WITHIN.as_secs())));
            }
            std::thread::sleep(PACE);
        };
        let cores = watch.middle(self.seconds);
        let server_said = server.end(Signal::TERM);
        if ended != 0 {
            return Err(NoRun::Because(format!("the client ended with exit code {ended}: {}", client.last_words())));
        }
        let said = match server_said {
            Some(0) => server.json()?,
            code => {
                let code = code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
                return Err(NoRun::Because(format!("the server ended with {code}: {}", server.last_words())));
            }
        };
        let load: LoadResult = read_json(&dir.join("result.json"))?;
        Ok(result(cell, round, &load, &said, cores))
    }

    fn start(&self, cell: &Cell, is_server: bool, dir: &Path) -> Result<Process, NoRun> {
        let end = if is_server { cell.pair.server } else { cell.pair.client };
        let kind = cell.pair.link();
        let world = self.worlds.iter().find(|(known, _)| *known == kind).map(|(_, world)| world);
        let world = world.ok_or_else(|| NoRun::Because("there is no link of this kind".to_owned()))?;
        let mut words: Vec<String> = self.with_us.iter().map(|word| (*word).to_owned()).collect();
        words.push(self.program.display().to_string());
        words.extend(if is_server { self.serve_words(cell) } else { self.load_words(cell, dir) });
        words.extend(end_words(end, is_server));
        if self.held {
            words.push("--hold-cpu-dma-latency".to_owned());
        }
        let space = if is_server { &world.server } else { &world.client };
        Process::start(&words, space, &self.home, dir, if is_server { "server" } else { "client" })
    }

    fn serve_words(&self, cell: &Cell) -> Vec<String> {
        let core = self.server_core;
        let text = format!(
            "serve --json --transport {} --workload {} --port {} --cores {core}",
            cell.pair.server.transport(),
            cell.workload.serve_name(),
            self.port
        );
        text.split(' ').map(str::to_owned).collect()
    }

    fn load_words(&self, cell: &Cell, dir: &Path) -> Vec<String> {
        let (target, port, core) = (address(cell.pair.server, true), self.port, self.client_core);
        let text = format!(
            "load --json --transport {} --workload {} --target {target}:{port} --cores {core} --connections {} --closed \
             --duration {} --warmup {} --out",
            cell.pair.client.transport(),
            cell.workload.load_name(),
            cell.connections,
            self.seconds.as_secs_f64(),
            self.warmup.as_secs_f64(),
        );
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.push(dir.display().to_string());
        if let Some(size) = cell.size {
            words.extend(["--size".to_owned(), size.to_string()]);
        }
        if cell.workload == Workload::Churn {
            words.extend(["--requests-per-connection", "1"].map(str::to_owned));
        }
        words
    }
}

/// What belongs to one end.
fn end_words(end: End, is_server: bool) -> Vec<String> {
    let interface = if is_server { SERVER_IF } else { CLIENT_IF };
    let address = address(end, is_server);
    let text = match (end, is_server) {
        (End::Corelane, _) => format!("--interface {interface} --address {address}/24 --wait spin"),
        (End::Raw, _) => format!("--interface {interface}"),
        (End::Kernel | End::KernelUring | End::KernelPlain, true) => format!("--address {address}"),
        (End::KernelSpin, true) => format!("--address {address} --spin"),
        (End::Kernel | End::KernelUring | End::KernelPlain, false) => String::new(),
        (End::KernelSpin, false) => "--spin".to_owned(),
    };
    text.split_whitespace().map(str::to_owned).collect()
}

/// What a run has measured.
fn result(cell: &Cell, round: u32, load: &LoadResult, server: &Value, cores: [CoreTime; 2]) -> Run {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let bits = |bytes: u64| bytes as f64 * 8.0 / load.duration_s.max(1e-9);
    let rate = match cell.workload {
        // Frames that were sent and not received are no throughput.
        Workload::BulkSend if cell.pair.is_raw() => number(&server["raw"]["bytes_per_second"]) * 8.0,
        Workload::BulkSend => bits(load.bytes_sent),
        Workload::BulkRecv => bits(load.bytes_received),
        Workload::Echo | Workload::Http | Workload::Churn => load.achieved_rate,
    };
    let latency = |ns: u64| (!cell.workload.is_bulk()).then_some(ns);
    let exchanges = match cell.workload {
        Workload::Echo => number(&server["bytes_in"]) / cell.size.unwrap_or(1) as f64,
        Workload::Http => number(&server["requests"]),
        Workload::Churn => number(&server["accepted"]),
        Workload::BulkSend => number(&server["bytes_in"]) / BULK_UNIT,
        Workload::BulkRecv => number(&server["bytes_out"]) / BULK_UNIT,
    };
    let counter = |name: &str| match &server["raw"] {
        Value::Null => {
            let workers = server["stack"]["workers"].as_array()?;
            Some(workers.iter().map(|worker| number(&worker["device"][name])).sum::<f64>())
        }
        raw => Some(number(&raw[name])),
    };
    let each = |count: Option<f64>| count.filter(|_| exchanges > 0.0).map(|count| count / exchanges);
    let frames = counter("rx_frames").zip(counter("tx_frames")).map(|(received, sent)| received + sent);
    Run {
        round,
        rate,
        p50_ns: latency(load.latency_ns.p50),
        p99_ns: latency(load.latency_ns.p99),
        errors: load.errors + load.unanswered,
        client_core: cores[0],
        server_core: cores[1],
        frames_per_exchange: each(frames),
        kicks_per_exchange: each(counter("tx_kicks")),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, NoRun> {
    let bytes = std::fs::read(path).map_err(|error| NoRun::Because(format!("{}: {error}", path.display())))?;
    serde_json::from_slice(&bytes).map_err(|error| NoRun::Because(format!("{}: {error}", path.display())))
}

/// A process whose words go into files. Dropping it ends it.
struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    code: Option<i32>,
}

impl Process {
    /// Starts it in `space`; the calling thread is at `home` again afterwards.
    fn start(words: &[String], space: &Space, home: &Space, dir: &Path, name: &str) -> Result<Self, NoRun> {
        let path = |extension: &str| dir.join(format!("{name}.{extension}"));
        let (stdout, stderr) = (path("json"), path("err"));
        let create =
            |path: &Path| File::create(path).map_err(|error| NoRun::Because(format!("{}: {error}", path.display())));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(create(&stdout)?).stderr(create(&stderr)?);
        space.enter()?;
        // From this thread and no other: the child ends when the thread that started it does.
        let child = command.spawn();
        home.enter()?;
        let child = child.map_err(|error| NoRun::Because(format!("{} cannot be run: {error}", words[0])))?;
        Ok(Self { child, stdout, stderr, code: None })
    }

    /// Its exit code once it has ended.
    fn ended(&mut self) -> Result<Option<i32>, NoRun> {
        if self.code.is_none() {
            let status = self.child.try_wait().map_err(|error| NoRun::Because(format!("a child is lost: {error}")))?;
            self.code = status.map(|status| status.code().unwrap_or(-1));
        }
        Ok(self.code)
    }

    fn wait_until(&mut self, text: &str, limit: Duration) -> Result<(), NoRun> {
        let until = Instant::now() + limit;
        while !self.said(&self.stderr).contains(text) {
            if let Some(code) = self.ended()? {
                return Err(NoRun::Because(format!("the server ended with exit code {code}: {}", self.last_words())));
            }
            if Instant::now() > until {
                return Err(NoRun::Because(format!("the server does not listen within {} s", limit.as_secs())));
            }
            std::thread::sleep(PACE);
        }
        Ok(())
    }

    /// Signals it and waits for its exit code; kills it when it takes too long.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        let until = Instant::now() + END_WITHIN;
        if !matches!(self.ended(), Ok(Some(_))) {
            // One that has ended takes no signal, and need not.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
        while Instant::now() < until {
            match self.ended() {
                Ok(None) => std::thread::sleep(PACE),
                Ok(code) => return code,
                Err(_) => return None,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }

    fn said(&self, path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let said = self.said(&self.stderr);
        said.lines().next_back().unwrap_or("it said nothing").to_owned()
    }

    fn json(&self) -> Result<Value, NoRun> {
        read_json(&self.stdout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.code.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn load(text: &str) -> LoadResult {
        let mut value = crate::report::table::tests::document();
        for (key, field) in serde_json::from_str::<Value>(text).unwrap().as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn cell(workload: Workload, size: Option<u64>, pair: &str) -> Cell {
        Cell { workload, size, connections: 4, pair: pair.parse().unwrap() }
    }

    #[test]
    fn frames_and_kicks_are_those_of_an_exchange() {
        let server = json!({"bytes_in": 6400, "accepted": 4, "stack": {"workers": [
            {"device": {"rx_frames": 150, "tx_frames": 100, "tx_kicks": 50}},
            {"device": {"rx_frames": 50, "tx_frames": 100, "tx_kicks": 0}}]}});
        let cell = cell(Workload::Echo, Some(64), "kernel-to-corelane");
        let load = load(r#"{"achieved_rate": 1234.5, "errors": 2, "unanswered": 1}"#);
        let run = result(&cell, 3, &load, &server, [CoreTime::default(); 2]);
        assert_eq!((run.round, run.rate, run.errors), (3, 1234.5, 3));
        assert_eq!((run.frames_per_exchange, run.kicks_per_exchange), (Some(4.0), Some(0.5)));
        let kernel = result(&cell, 0, &load, &json!({"bytes_in": 6400}), [CoreTime::default(); 2]);
        assert_eq!((kernel.frames_per_exchange, kernel.kicks_per_exchange), (None, None));
    }

    #[test]
    fn bulk_is_bits_a_second_and_raw_counts_what_arrived() {
        let load = load(r#"{"duration_s": 2.0, "bytes_sent": 1000, "bytes_received": 500, "errors": 0}"#);
        let rate = |cell: &Cell, server: Value| result(cell, 0, &load, &server, [CoreTime::default(); 2]).rate;
        assert_eq!(rate(&cell(Workload::BulkSend, None, "kernel-to-corelane"), json!({})), 4000.0);
        assert_eq!(rate(&cell(Workload::BulkRecv, None, "kernel-to-corelane"), json!({})), 2000.0);
        let server = json!({"bytes_in": 131_072, "raw": {"bytes_per_second": 7.0, "rx_frames": 90, "tx_kicks": 2}});
        let raw = cell(Workload::BulkSend, None, "raw-to-raw");
        assert_eq!(rate(&raw, server.clone()), 56.0);
        let run = result(&raw, 0, &load, &server, [CoreTime::default(); 2]);
        assert_eq!((run.frames_per_exchange, run.kicks_per_exchange, run.p50_ns), (Some(45.0), Some(1.0), None));
    }
}
