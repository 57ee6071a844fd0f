//! Latencies of one core: a pair of histograms for each second, handed on when the second is over.

use hdrhistogram::Histogram;
use std::sync::mpsc::{Receiver, Sender};

/// Values from 1 ns to 60 s with three significant digits; larger ones count as 60 s.
const HIGHEST_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// An empty histogram of the range that all of this crate uses.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the library accepts, as every test that records shows; its default is not used.
    Histogram::new_with_bounds(1, HIGHEST_NS, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Both histograms of one stretch of time.
#[derive(Clone, Debug)]
pub struct Pair {
    /// From the intended send time to the answer.
    pub latency: Histogram<u64>,
    /// From the real send to the answer.
    pub service: Histogram<u64>,
}

impl Pair {
    /// Two empty histograms.
    pub fn new() -> Self {
        Self { latency: histogram(), service: histogram() }
    }

    /// Adds `other` to this one.
    pub fn add(&mut self, other: &Self) {
        // Equal bounds: adding cannot fail.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
    }

    /// Empties both.
    pub fn clear(&mut self) {
        self.latency.reset();
        self.service.reset();
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// One core's second.
#[derive(Debug)]
pub struct Interval {
    /// Whose it is: a set on a core, counted from 0.
    pub lane: usize,
    /// Whole seconds since the measurement began.
    pub second: u64,
    /// What was answered in it.
    pub pair: Pair,
}

/// Records on one core. Handing on a second costs the exchange of two pointers, since the pair comes back emptied.
#[derive(Debug)]
pub struct Recorder {
    lane: usize,
    current: Pair,
    /// When the measurement began; nothing is recorded before it is known.
    begin: u64,
    second: u64,
    to: Sender<Interval>,
    spare: Receiver<Pair>,
}

impl Recorder {
    /// Lane `lane` hands seconds to `to` and takes emptied pairs from `spare`.
    pub fn new(lane: usize, to: Sender<Interval>, spare: Receiver<Pair>) -> Self {
        Self { lane, current: Pair::new(), begin: 0, second: 0, to, spare }
    }

    /// The measurement begins at `begin`.
    pub fn begin(&mut self, begin: u64) {
        self.begin = begin;
    }

    /// An answer came at `now` to a request that was due at `intended` and sent at `sent`.
    pub fn record(&mut self, intended: u64, sent: u64, now: u64) {
        self.on_time(now);
        self.current.latency.saturating_record(now.saturating_sub(intended).max(1));
        self.current.service.saturating_record(now.saturating_sub(sent).max(1));
    }

    /// Hands on the seconds that are over at `now`.
    pub fn on_time(&mut self, now: u64) {
        let second = now.saturating_sub(self.begin) / SECOND_NS;
        if second > self.second {
            let next = self.spare.try_recv().unwrap_or_default();
            self.hand_on(next);
            self.second = second;
        }
    }

    /// Hands on the last second, however far it came.
    pub fn finish(mut self) {
        let end = Pair { latency: histogram(), service: histogram() };
        self.hand_on(end);
    }

    fn hand_on(&mut self, next: Pair) {
        let pair = std::mem::replace(&mut self.current, next);
        // Nobody listens only when the main thread gave up, and then nobody wants it.
        let _ = self.to.send(Interval { lane: self.lane, second: self.second, pair });
    }
}
