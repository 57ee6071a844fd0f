//! The binary `corelane-bench`: reads the command line, runs a command, and ends with its exit code.

use clap::Parser;
use corelane_bench::cli::{Cli, Command};
use corelane_bench::{compare, idle, load, path, report, serve, steer};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match &cli.command {
        Command::Serve(args) => {
            log_to_stderr();
            serve::run(args)
        }
        Command::Load(args) => load::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Path(args) => path::run(args),
        Command::Idle(args) => idle::run(args),
        Command::Steer(args) => steer::run(args),
        Command::Report(args) => report::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("corelane-bench: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What an operator has to know of a server that runs, unless `RUST_LOG` says what else.
const LOGGED: &str = "error,corelane::runtime::turnover=info,corelane::runtime::arrival=info";

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// Help and version are not errors; everything else is one sentence and exit code 2.
fn explain(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let kind = error.kind();
    if matches!(kind, DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // A closed pipe is the reader's wish.
        let _ = error.print();
        return ExitCode::from(if kind == DisplayHelpOnMissingArgumentOrSubcommand { 2 } else { 0 });
    }
    let text = error.to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    let sentence: Vec<&str> = text.split_whitespace().collect();
    let sentence = sentence.join(" ");
    eprintln!("corelane-bench: {} (see --help)", sentence.strip_prefix("error: ").unwrap_or(&sentence));
    ExitCode::from(2)
}
