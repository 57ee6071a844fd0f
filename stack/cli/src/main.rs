//! The operator's command: says what is wrong with a machine or a configuration, and how to mend it.
//!
//! Exit codes: 0 done, 1 it ran but could not finish, 2 usage or configuration, 3 the machine cannot do it.

mod config;
mod doctor;
mod setup_helper;
mod steer;
mod terminal;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Done.
const DONE: u8 = 0;
/// It ran, but could not finish.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const USAGE: u8 = 2;
/// The machine cannot do it.
const MACHINE: u8 = 3;

/// Looks after Corelane, the kernel-bypass TCP/IP stack
#[derive(Parser)]
#[command(name = "corelane", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what keeps Corelane from running here, or from running well, and how to mend it
    Doctor(doctor::Arguments),
    /// Checks or shows a configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Shows and changes which workers of a running stack get new connections
    Steer(steer::Arguments),
    /// Sets up the interface for a stack that runs without any capability
    SetupHelper(setup_helper::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Config(command) => config::run(&command),
        Command::Steer(arguments) => steer::run(&arguments),
        Command::SetupHelper(arguments) => setup_helper::run(&arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Whoever reads our output and has gone (`corelane ... | head`) is not a failure of ours.
            if failure.is_closed_pipe() {
                return ExitCode::from(DONE);
            }
            eprintln!("corelane: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command ended early: one sentence and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
    kind: Option<std::io::ErrorKind>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), kind: None }
    }

    fn is_closed_pipe(&self) -> bool {
        self.kind == Some(std::io::ErrorKind::BrokenPipe)
    }
}

impl From<std::io::Error> for Failure {
    /// An error of writing to the standard output, the only thing that these commands write.
    fn from(error: std::io::Error) -> Self {
        Self { code: FAILED, message: format!("cannot write the output: {error}"), kind: Some(error.kind()) }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
