//! The subcommand for a counter of instructions.

use clap::Args;
use corelane_sim::work::{self, Cell, Part, Pattern};
use std::process::ExitCode;

/// Segments that are out, and bytes of each: a small window, four megabytes in full segments, in small pieces of the
/// application, and in the smallest segments that a peer can ask for.
const WINDOWS: [(u32, u16); 5] = [(100, 1448), (1000, 1448), (2897, 1448), (16_000, 256), (55_000, 76)];

#[derive(Args)]
pub(crate) struct WorkArgs {
    /// Which patterns of ACKs; all if none is named.
    names: Vec<String>,
    /// Segments in the window: 100, 1000, 2897, 16000 or 55000; all of them if not given.
    #[arg(long, value_delimiter = ',')]
    segments: Vec<u32>,
    /// ACKs of each.
    #[arg(long, default_value_t = 1_000_000)]
    acks: u64,
    /// Parts that are counted one by one.
    #[arg(long, default_value_t = 10)]
    parts: u64,
    /// The exchanges of two honest endpoints instead: so many echoes, and five times as many full segments.
    #[arg(long, conflicts_with_all = ["names", "segments"])]
    honest: Option<u64>,
}

/// Each line is what was done since the line before, and valgrind's sums come in the same order.
pub(crate) fn run(args: &WorkArgs) -> ExitCode {
    if let Some(exchanges) = args.honest {
        println!("setup");
        println!("echo {exchanges} {}", work::echo(exchanges));
        println!("setup");
        println!("bulk {} {}", 5 * exchanges, work::bulk(5 * exchanges));
        return ExitCode::SUCCESS;
    }
    let known = |name: &String| Pattern::ALL.iter().any(|pattern| pattern.name() == name);
    if let Some(unknown) = args.names.iter().find(|name| !known(name)) {
        eprintln!("there is no pattern {unknown}; there are {}", Pattern::ALL.map(Pattern::name).join(", "));
        return ExitCode::from(2);
    }
    let is_wanted = |pattern: &Pattern| args.names.is_empty() || args.names.iter().any(|name| name == pattern.name());
    for pattern in Pattern::ALL.into_iter().filter(is_wanted) {
        for (segments, bytes) in WINDOWS {
            if args.segments.is_empty() || args.segments.contains(&segments) {
                run_cell(args, pattern, segments, bytes, false);
                run_cell(args, pattern, segments, bytes, true);
            }
        }
    }
    ExitCode::SUCCESS
}

fn run_cell(args: &WorkArgs, pattern: Pattern, segments: u32, bytes: u16, pauses: bool) {
    // Timestamps make room for an old echo and cost a block: each pattern runs with them and without.
    let timestamps = pauses || pattern == Pattern::Undo || bytes < 256;
    println!("setup");
    let cell = Cell { pattern, segments, bytes, pauses, timestamps };
    cell.run(args.acks, args.parts, |part| {
        let Part { acks, sent, recoveries, undone, time_outs } = part;
        let kind = if pauses { "pauses" } else { "steady" };
        println!("{} {kind} {segments} {bytes} {acks} {sent} {recoveries} {undone} {time_outs}", pattern.name());
    });
}
