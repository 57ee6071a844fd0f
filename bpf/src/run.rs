//! What comes of a test run.

use std::time::Duration;

/// What the program answered to a packet in [`Steering::run`](crate::Steering::run).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `XDP_PASS`: to the kernel.
    Pass,
    /// `XDP_REDIRECT`: to the socket.
    Redirect,
    /// `XDP_DROP`: kept for a process, or lost for want of room to keep it.
    Drop,
    /// Anything else, which this program never answers.
    Other(u32),
}

impl From<u32> for Verdict {
    fn from(action: u32) -> Self {
        match action {
            1 => Self::Drop,
            2 => Self::Pass,
            4 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

/// The outcome of [`Steering::run`](crate::Steering::run).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The answer to the last repetition.
    pub verdict: Verdict,
    /// How long one repetition took on average, in whole nanoseconds.
    pub duration: Duration,
}
