//! What one core counts.

use super::recorder::histogram;
use crate::transport::ErrorKind;
use crate::workload::Output;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// What one core counted. Requests are those due in the measurement.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Requests answered, each with its place in the histograms.
    pub answered: u64,
    /// Of those, the ones answered before the measurement ended.
    pub answered_in_time: u64,
    /// Requests sent whose answer had not come when the run ended.
    pub unanswered: u64,
    /// Requests that were due, and never sent because no connection was idle.
    pub unsent: u64,
    /// Requests that were sent late because no connection was idle when they were due.
    pub waited: u64,
    /// Requests that were answered with "there is none", warm-up included.
    pub misses: u64,
    /// Connections opened anew after one had ended.
    pub reconnects: u64,
    /// Bytes of requests that were due in the measurement.
    pub bytes_sent: u64,
    /// Bytes of the answers to them.
    pub bytes_received: u64,
    /// Errors from the first opening on, warm-up included.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// How long the measurement lasted, in nanoseconds.
    pub measured_ns: u64,
    /// How much later than it could have a request was sent, in nanoseconds: the generator's own fault. It could have
    /// when it was due and a connection was idle. Of open loops only.
    pub lag: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            sent: 0,
            answered: 0,
            answered_in_time: 0,
            unanswered: 0,
            unsent: 0,
            waited: 0,
            misses: 0,
            reconnects: 0,
            bytes_sent: 0,
            bytes_received: 0,
            errors: BTreeMap::new(),
            measured_ns: 0,
            lag: histogram(),
        }
    }
}

impl Counts {
    /// Adds what another core counted; the measurement lasted as long as the longest.
    pub fn add(&mut self, other: &Self) {
        let Self {
            sent,
            answered,
            answered_in_time,
            unanswered,
            unsent,
            waited,
            misses,
            reconnects,
            bytes_sent,
            bytes_received,
            errors,
            measured_ns,
            lag,
        } = other;
        self.sent += sent;
        self.answered += answered;
        self.answered_in_time += answered_in_time;
        self.unanswered += unanswered;
        self.unsent += unsent;
        self.waited += waited;
        self.misses += misses;
        self.reconnects += reconnects;
        self.bytes_sent += bytes_sent;
        self.bytes_received += bytes_received;
        for (kind, count) in errors {
            *self.errors.entry(*kind).or_default() += count;
        }
        self.measured_ns = self.measured_ns.max(*measured_ns);
        // Equal bounds: adding cannot fail.
        let _ = self.lag.add(lag);
    }
}

/// An output that counts what it takes, and takes no more than `limit`.
pub(super) struct Counted<'o> {
    out: &'o mut dyn Output,
    limit: usize,
    pub(super) taken: usize,
}

impl<'o> Counted<'o> {
    pub(super) fn new(out: &'o mut dyn Output, limit: usize) -> Self {
        Self { out, limit, taken: 0 }
    }

    fn left(&self) -> usize {
        self.limit - self.taken
    }
}

impl Output for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let allowed = bytes.len().min(self.left());
        let taken = self.out.write(&bytes[..allowed]);
        self.taken += taken;
        taken
    }

    fn room(&self) -> usize {
        self.out.room().min(self.left())
    }
}
