//! The main thread during a run: takes the lanes' seconds, shows progress, adds up.

use super::Channels;
use super::recorder::Pair;
use crate::report::units;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// All that was recorded of one set.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    pub(super) total: Pair,
    pub(super) seconds: BTreeMap<u64, Pair>,
}

impl Collected {
    /// Adds what came `after` so many seconds.
    pub(super) fn append(&mut self, other: &Self, after: u64) {
        self.total.add(&other.total);
        for (second, pair) in &other.seconds {
            self.seconds.entry(after + second).or_default().add(pair);
        }
    }
}

/// What the line on the terminal says beside what it counts.
pub(super) struct Caption {
    /// What runs, such as `step 2 of 5`; empty if there is nothing to tell apart.
    pub(super) what: String,
    /// How long it is to last; `None` if that is not known.
    pub(super) seconds: Option<f64>,
    /// Requests a second that are due, if that does not change.
    pub(super) offered: Option<f64>,
}

/// Takes seconds until the cores have `finished`. There are `sets` sets, each with as many lanes.
pub(super) fn collect(
    channels: &Channels,
    sets: usize,
    caption: &Caption,
    finished: impl Fn() -> bool,
) -> Vec<Collected> {
    let mut collected = vec![Collected::default(); sets];
    let lanes_of_a_set = (channels.spares.len() / sets.max(1)).max(1);
    let progress = progress(caption);
    let mut shown: BTreeMap<u64, Pair> = BTreeMap::new();
    loop {
        match channels.intervals.recv_timeout(Duration::from_millis(20)) {
            Ok(mut interval) => {
                let set = &mut collected[interval.lane / lanes_of_a_set];
                set.total.add(&interval.pair);
                if !interval.pair.latency.is_empty() {
                    set.seconds.entry(interval.second).or_default().add(&interval.pair);
                    shown.entry(interval.second).or_default().add(&interval.pair);
                    progress.set_message(message(caption, &shown[&interval.second]));
                }
                // All lanes hand on a second at about the same time: older ones are complete.
                shown.retain(|second, _| second + 2 > interval.second);
                progress.set_position(interval.second + 1);
                interval.pair.clear();
                // A lane that has finished needs no spare.
                let _ = channels.spares[interval.lane].send(interval.pair);
            }
            // What the cores sent before they finished is in the channel: it is emptied first.
            Err(RecvTimeoutError::Timeout) if !finished() => progress.tick(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    progress.finish_and_clear();
    collected
}

fn message(caption: &Caption, second: &Pair) -> String {
    let offered = caption.offered.map(|rate| format!(" of {}", units::rate(rate))).unwrap_or_default();
    let quantile = |quantile| units::time(second.latency.value_at_quantile(quantile) as f64);
    let rate = units::rate(second.latency.len() as f64);
    format!("{rate}{offered}, p50 {}, p99 {}, max {}", quantile(0.5), quantile(0.99), quantile(1.0))
}

/// A line on a terminal; nothing elsewhere.
fn progress(caption: &Caption) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match caption.seconds {
        Some(seconds) => (ProgressBar::new(seconds.ceil() as u64), "{prefix}{bar:24} {pos}/{len} s  {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix}{spinner} {pos} s  {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    if !caption.what.is_empty() {
        bar.set_prefix(format!("{}  ", caption.what));
    }
    bar
}
