//! Processes with a bounded life, whose every word is kept.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a process said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// How long it took, from the start or from the signal.
    pub(crate) took: Duration,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, took, stdout, stderr } = self;
        write!(f, "exit code {code:?} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

impl Ended {
    /// The one JSON document that its standard output has to be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not one JSON document ({error}): {self}"))
    }
}

/// A pipe that a thread empties into memory, so that the process never waits for us.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..count]);
            }
        });
        Self { bytes, thread: Some(thread) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Everything, once the process has ended.
    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.so_far()
    }
}

/// A process that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Collected::from(child.stdout.take().expect("it was piped"));
        let stderr = Collected::from(child.stderr.take().expect("it was piped"));
        Self { child, began: Instant::now(), stdout, stderr }
    }

    /// Waits until it has written `text` to either of its outputs; says how long that was after its start.
    pub(crate) fn wait_until(&mut self, text: &str, limit: Duration) -> Duration {
        loop {
            if self.stdout.so_far().contains(text) || self.stderr.so_far().contains(text) {
                return self.began.elapsed();
            }
            let over = self.has_ended() || self.began.elapsed() > limit;
            if over && !self.stderr.so_far().contains(text) {
                self.signal(Signal::KILL);
                let ended = self.reap(Instant::now(), Duration::from_secs(5));
                panic!("it did not say \"{text}\" within {limit:?}: {ended}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // One that has ended takes no signal, and need not.
        let _ = kill_process(pid, signal);
    }

    /// Waits for its end, which has to come within `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        self.reap(self.began, limit)
    }

    /// Sends SIGTERM and waits for the end; the time is that from the signal.
    pub(crate) fn terminate(mut self) -> Ended {
        assert!(!self.has_ended(), "it ended before it was told to: {}", self.reap(self.began, Duration::ZERO));
        let told = Instant::now();
        self.signal(Signal::TERM);
        self.reap(told, Duration::from_secs(10))
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(mut self) -> Ended {
        assert!(!self.has_ended(), "it ended before it was killed: {}", self.reap(self.began, Duration::ZERO));
        let told = Instant::now();
        self.signal(Signal::KILL);
        self.reap(told, Duration::from_secs(10))
    }

    fn reap(&mut self, since: Instant, limit: Duration) -> Ended {
        let until = Instant::now() + limit;
        let mut late = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            if Instant::now() > until && !late {
                late = true;
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let took = since.elapsed();
        let ended = Ended { code: status.code(), took, stdout: self.stdout.all(), stderr: self.stderr.all() };
        assert!(!late, "it did not end within {limit:?} and was killed: {ended}");
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
            crate::world::say!("process {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", self.id());
        }
    }
}

/// Runs a command to its end, which has to come within `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Ended {
    Running::start(command).wait(limit)
}
