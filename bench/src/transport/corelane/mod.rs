//! Our own TCP over AF_XDP: the workloads as level-1 applications of the stack, one for each core.

mod config;
mod load;
mod serve;

pub use config::StackConfig;
pub use load::run_load;
pub use serve::run_serve;

use crate::failure::Failure;
use crate::workload::Output;
use corelane::{CloseReason, Conn, Error};

/// The stack's error with its exit code.
pub(crate) fn failure(error: &Error) -> Failure {
    match error.exit_code() {
        2 => Failure::Usage(error.to_string()),
        3 => Failure::Machine(error.to_string()),
        _ => Failure::Threshold(error.to_string()),
    }
}

/// A connection as a workload writes to it.
struct ConnOutput<'c, 'a> {
    conn: &'c mut Conn<'a>,
    taken: u64,
}

impl<'c, 'a> ConnOutput<'c, 'a> {
    fn new(conn: &'c mut Conn<'a>) -> Self {
        Self { conn, taken: 0 }
    }
}

impl Output for ConnOutput<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = self.conn.send_copy(bytes);
        self.taken += taken as u64;
        taken
    }

    fn room(&self) -> usize {
        self.conn.send_room()
    }
}

/// Whether a connection that ended so was broken by the peer or the network.
const fn is_broken(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Reset | CloseReason::Refused | CloseReason::TimedOut | CloseReason::Unreachable => true,
        CloseReason::Finished | CloseReason::Aborted | CloseReason::Stopped | CloseReason::AddressRemoved => false,
    }
}
