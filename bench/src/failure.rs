//! How a command ends when it does not end well: one sentence for people, one exit code for scripts.

use std::fmt;

/// Why a command stops, each kind with its exit code (0 is "done").
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It ran, and a threshold or the run itself was not met: exit code 1.
    Threshold(String),
    /// The command line or a file is wrong: exit code 2.
    Usage(String),
    /// The machine cannot do it, or not now: exit code 3.
    Machine(String),
}

impl Failure {
    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Threshold(_) => 1,
            Self::Usage(_) => 2,
            Self::Machine(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold(text) | Self::Usage(text) | Self::Machine(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}
