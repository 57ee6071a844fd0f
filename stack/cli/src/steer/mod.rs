//! `corelane steer`: shows how the workers of a running stack share new connections, drains and adds workers.

mod client;
mod report;

use crate::{DONE, FAILED, Failure, MACHINE, USAGE, terminal};
use clap::Subcommand;
use client::Client;
use corelane::clock::Clock;
use corelane::config::Config;
use corelane::control::CoreShare;
use report::Moved;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where sockets are looked for when none is named.
const RUNTIME_FOLDER: &str = "/run/corelane";

/// How often a worker that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The stack's control socket (its setting control.socket); the only one in /run/corelane without it
    #[arg(long, short, value_name = "PATH", global = true, conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The stack's configuration, which names the socket
    #[arg(long, short, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Show each worker and its share of new connections: what is done when nothing is named
    Show,
    /// Give a worker no new connections; those that it has move to others, or stay until they end
    Drain {
        /// The worker's number, from 0
        worker: usize,
        /// Wait until the worker has no connection any more, those in TIME-WAIT included
        #[arg(long, short)]
        wait: bool,
        /// Wait no longer than this, in seconds; exit code 1 if something is left. The worker stays drained
        #[arg(long, short, value_name = "S", requires = "wait", value_parser = seconds)]
        timeout: Option<Duration>,
    },
    /// Give a worker that was drained its share of new connections again
    Add {
        /// The worker's number, from 0
        worker: usize,
    },
    /// Move a part of the busiest worker's share to the idlest one, unless they are about as busy
    Rebalance,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    let duration = Duration::try_from_secs_f64(number).map_err(|error| error.to_string())?;
    if duration <= Duration::from_secs(1_000_000) { Ok(duration) } else { Err("give at most 1000000 seconds".into()) }
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let mut client = Client::connect(&socket(arguments, Path::new(RUNTIME_FOLDER))?)?;
    let mut drain = None;
    let (shares, left) = match arguments.action.as_ref().unwrap_or(&Action::Show) {
        Action::Show => (client.ask("shares")?, None),
        Action::Rebalance => (client.ask("rebalance")?, None),
        Action::Add { worker } => (client.ask(&format!("add {worker}"))?, None),
        Action::Drain { worker, wait, timeout } => {
            let moved = |shares: &[CoreShare]| {
                let share = shares.iter().find(|share| share.worker == *worker);
                share.map_or((0, 0), |share| (share.moved_out, share.flows))
            };
            let shares = client.ask(&format!("drain {worker}"))?;
            let after = if *wait { wait_for(&mut client, *worker, *timeout, shares)? } else { (shares, None) };
            let (moved, left) = moved(&after.0);
            drain = Some(Moved { worker: *worker, moved, left });
            after
        }
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report::json(&mut out, &shares, drain)?;
    } else {
        report::text(&mut out, &shares, terminal::wants_color())?;
        if let Some(share) = drain.and_then(|drain| shares.iter().find(|share| share.worker == drain.worker)) {
            writeln!(out, "{}", report::drained(share))?;
        }
    }
    out.flush()?;
    left.map_or(Ok(DONE), Err)
}

/// Where the stack listens, by what was named.
fn socket(arguments: &Arguments, folder: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = &arguments.socket {
        return Ok(path.clone());
    }
    let Some(file) = &arguments.config else { return only_socket(folder) };
    let config = Config::load(file).map_err(|error| Failure::new(USAGE, error.to_string()))?;
    match config.control().socket() {
        "" => {
            let message = format!("{}: control.socket is not set: set it, and start the stack again", file.display());
            Err(Failure::new(USAGE, message))
        }
        path => Ok(path.into()),
    }
}

/// The one socket in the folder where they are by custom.
fn only_socket(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut sockets: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "sock")).collect();
    sockets.sort();
    match sockets.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let message = format!("there is no control socket in {}", folder.display());
            Err(Failure::new(USAGE, format!("{message}: name one by --socket, or its configuration by --config")))
        }
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::new(USAGE, format!("there are {}: name one by --socket", names.join(", "))))
        }
    }
}

/// Waits until `worker` has no flow; what is left when the time is over is a failure that comes after the table.
fn wait_for(
    client: &mut Client,
    worker: usize,
    timeout: Option<Duration>,
    mut shares: Vec<CoreShare>,
) -> Result<(Vec<CoreShare>, Option<Failure>), Failure> {
    let clock = Clock::new();
    let began = clock.now();
    let mut progress = Progress { shown: false, wanted: std::io::stderr().is_terminal() };
    loop {
        let Some(share) = shares.iter().find(|share| share.worker == worker) else {
            return Err(Failure::new(FAILED, format!("the stack tells nothing of worker {worker}")));
        };
        let flows = share.flows;
        if flows == 0 {
            return Ok((shares, None));
        }
        if !share.drained {
            let message = format!("worker {worker} was added again while it was waited for: {flows} connections");
            return Ok((shares, Some(Failure::new(FAILED, message))));
        }
        let left = timeout.map_or(LOOK_EVERY, |timeout| timeout.saturating_sub(clock.now().saturating_since(began)));
        if left.is_zero() {
            drop(progress);
            let waited = timeout.unwrap_or_default().as_secs_f64();
            let message = format!("worker {worker} has {flows} connections after {waited} s; it stays drained");
            return Ok((shares, Some(Failure::new(FAILED, message))));
        }
        progress.tell(worker, flows);
        std::thread::sleep(left.min(LOOK_EVERY));
        shares = client.ask("shares")?;
    }
}

/// A line that is written over and over, on a terminal only.
struct Progress {
    shown: bool,
    wanted: bool,
}

impl Progress {
    fn tell(&mut self, worker: usize, flows: usize) {
        if self.wanted {
            self.shown = true;
            eprint!("\r\x1b[Kworker {worker}: {flows} connections left");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// The machine, or whoever is at the other end, cannot do it.
fn unreachable(message: String) -> Failure {
    Failure::new(MACHINE, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_socket_of_the_folder_needs_no_name() {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let none = only_socket(dir.path()).unwrap_err();
        assert_eq!(none.code, USAGE);
        assert!(none.message.starts_with("there is no control socket in "), "{none}");
        assert!(only_socket(&dir.path().join("none")).is_err());
        for name in ["a.sock", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").expect("a file for the test");
        }
        assert_eq!(only_socket(dir.path()).expect("one"), dir.path().join("a.sock"));
        std::fs::write(dir.path().join("b.sock"), "").expect("a file for the test");
        let two = only_socket(dir.path()).unwrap_err();
        assert_eq!(two.code, USAGE);
        assert!(two.message.contains("a.sock, ") && two.message.contains("b.sock: name one"), "{two}");
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["", "soon", "-1", "nan", "inf", "1e300", "1000001"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
