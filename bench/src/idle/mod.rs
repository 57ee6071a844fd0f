//! `idle`: what waiting costs. For each strategy: the processor time of a stack that has nothing to do, and how long after
//! a request was sent the application of a stack that waits sees it.

mod link;
mod result;
mod server;

use crate::cli::IdleArgs;
use crate::clock::Clock;
use crate::dma_latency;
use crate::failure::Failure;
use crate::load::recorder::histogram;
use crate::report::{self, units};
use crate::stop::Stop;
use crate::workload::pattern;
use corelane::config::Strategy;
use link::{Link, OWN, PORT};
use result::{IdleResult, Waited};
use server::Server;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

/// How long a stack runs before it counts as idle: what its start set in motion is over by then.
const SETTLE: Duration = Duration::from_millis(300);
/// Bytes of a request: its time of sending, and a pattern.
const REQUEST: usize = 64;
/// For the pattern.
const SEED: u64 = 5;
/// How long an answer may take before something is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Runs the command.
pub fn run(args: &IdleArgs) -> Result<(), Failure> {
    let strategies = strategies(&args.wait)?;
    if args.requests == 0 {
        return Err(Failure::Usage("--requests 0 measures no wake-up; give at least 1".to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Machine(
            "idle makes network namespaces, which only root may; run it with sudo".to_owned(),
        ));
    }
    let held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let stop = Stop::on_signals()?;
    let began = SystemTime::now();
    let mut waited = Vec::new();
    for strategy in strategies {
        match measure(strategy, args, &stop)? {
            Some(one) => waited.push(one),
            None => break,
        }
    }
    let result = IdleResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        started_at_s: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        cpu_dma_latency_held: held.is_some(),
        seconds: args.seconds.as_secs_f64(),
        gap_ms: args.gap_ms,
        strategies: waited,
    };
    let text = if args.json { report::to_json(&result)? } else { result.to_string() };
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if stop.is_raised() {
        return Err(Failure::Threshold("stopped by a signal before everything was measured".to_owned()));
    }
    Ok(())
}

fn strategies(named: &[String]) -> Result<Vec<Strategy>, Failure> {
    if named.is_empty() {
        return Ok(vec![Strategy::Sleep, Strategy::Adaptive, Strategy::Spin]);
    }
    let find = |name: &String| {
        let found = Strategy::ALL.iter().find(|(word, _)| word == name).map(|(_, strategy)| *strategy);
        found.ok_or_else(|| Failure::Usage(format!("--wait {name} is none of spin, adaptive and sleep")))
    };
    named.iter().map(find).collect()
}

/// One strategy, on a link of its own; `None` when told to stop.
fn measure(strategy: Strategy, args: &IdleArgs, stop: &Stop) -> Result<Option<Waited>, Failure> {
    let _ =
        writeln!(std::io::stderr(), "{strategy}: {:.0} s idle, {} requests", args.seconds.as_secs_f64(), args.requests);
    let (link, clock) = (Link::new()?, Clock::new());
    std::thread::scope(|scope| {
        let server = Server::start(scope, &link, strategy, &clock)?;
        let measured = server.ready().and_then(|()| {
            std::thread::sleep(SETTLE);
            let Some(idle) = server.idle_for(args.seconds, stop)? else { return Ok(None) };
            link.client.inside(|| ask(args, &clock, stop)).map(|round_trips| Some((idle, round_trips)))
        });
        // Whatever happened, the server ends.
        let (summary, seen) = server.stop()?;
        Ok(measured?.map(|(idle, round_trips)| Waited::new(strategy, idle, &round_trips, &seen, &summary)))
    })
}

/// The kernel's client: a request each `gap_ms`, one at a time. Gives the round-trip times.
fn ask(args: &IdleArgs, clock: &Clock, stop: &Stop) -> Result<hdrhistogram::Histogram<u64>, Failure> {
    let broken = |error: std::io::Error| Failure::Machine(format!("the request over the veth pair failed: {error}"));
    let target = SocketAddr::from((OWN, PORT));
    let mut stream = TcpStream::connect_timeout(&target, ANSWER_WITHIN).map_err(broken)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let mut round_trips = histogram();
    let (mut request, mut answer) = ([0; REQUEST], [0; REQUEST]);
    for _ in 0..args.requests {
        if stop.is_raised() {
            break;
        }
        std::thread::sleep(Duration::from_millis(args.gap_ms));
        pattern::fill(SEED, 0, &mut request);
        let sent = clock.now();
        request[..8].copy_from_slice(&sent.to_le_bytes());
        stream.write_all(&request).map_err(broken)?;
        stream.read_exact(&mut answer).map_err(broken)?;
        round_trips.saturating_record(clock.now().saturating_sub(sent));
        if answer != request {
            return Err(Failure::Threshold("the answer is not the request: a bug to report".to_owned()));
        }
    }
    Ok(round_trips)
}

/// A time for people.
fn time(ns: u64) -> String {
    units::time(ns as f64)
}
