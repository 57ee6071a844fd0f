//! `steer`: what our steering costs. Frames are received and dropped at full speed, by the least that `AF_XDP` takes, by
//! the same behind our program, by our device, and by the whole stack, in turn on one veth pair.

mod link;
mod result;
mod sender;
mod stack;
mod ways;

use crate::cli::SteerArgs;
use crate::cores::CoreList;
use crate::dma_latency;
use crate::failure::Failure;
use crate::report;
use crate::stop::Stop;
use link::Link;
use result::{Measured, SteerResult, Way};
use sender::Sender;
use std::io::Write;
use std::time::SystemTime;

/// Runs the command.
pub fn run(args: &SteerArgs) -> Result<(), Failure> {
    if args.rounds == 0 {
        return Err(Failure::Usage("--rounds 0 measures nothing; give at least 1".to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Machine(
            "steer makes network namespaces, which only root may; run it with sudo".to_owned(),
        ));
    }
    let held = dma_latency::hold(args.hold_cpu_dma_latency)?;
    let stop = Stop::on_signals()?;
    let began = SystemTime::now();
    let link = Link::new()?;
    let cores = (CoreList::first_allowed(), CoreList::last_allowed());
    let sender = Sender::start(&link, cores.1.as_slice()[0])?;
    let mut ways: Vec<Way> = ways::Kind::ALL.into_iter().map(|kind| Way::new(kind.name())).collect();
    let mut program_ns = None;
    'rounds: for round in 0..args.rounds {
        let _ = writeln!(std::io::stderr(), "round {} of {}", round + 1, args.rounds);
        for turn in 0..ways.len() {
            if stop.is_raised() {
                break 'rounds;
            }
            // Each begins a round in its turn, so that none always follows the same one.
            let at = (turn + round as usize) % ways.len();
            let measured: Measured =
                ways::measure(ways::Kind::ALL[at], &link, &sender, cores.0.as_slice()[0], args.seconds)?;
            program_ns = measured.program_ns.or(program_ns);
            ways[at].add(&measured);
        }
    }
    sender.stop()?;
    let result = SteerResult {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        started_at_s: began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        cpu_dma_latency_held: held.is_some(),
        seconds: args.seconds.as_secs_f64(),
        frame_bytes: link::FRAME_LEN,
        program_ns,
        ways,
    };
    let text = if args.json { report::to_json(&result)? } else { result.to_string() };
    // A closed pipe is the reader's wish.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if stop.is_raised() {
        return Err(Failure::Threshold("stopped by a signal before everything was measured".to_owned()));
    }
    match args.fail_below.filter(|least| result.least_ratio() < *least) {
        Some(least) => Err(Failure::Threshold(format!(
            "received behind the steering program is {:.3} of what is received without it, less than {least}",
            result.least_ratio()
        ))),
        None => Ok(()),
    }
}
