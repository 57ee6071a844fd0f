//! The main thread during a load: takes the cores' seconds, shows progress, adds up.

use super::Channels;
use super::recorder::Pair;
use crate::report::units;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// All that was recorded.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) total: Pair,
    pub(super) seconds: BTreeMap<u64, Pair>,
}

/// Takes seconds until the cores have `finished`.
pub(super) fn collect(channels: &Channels, seconds: f64, finished: impl Fn() -> bool) -> Collected {
    let mut collected = Collected::default();
    let progress = progress(seconds);
    loop {
        match channels.intervals.recv_timeout(Duration::from_millis(20)) {
            Ok(mut interval) => {
                collected.total.add(&interval.pair);
                let answered = interval.pair.latency.len();
                if answered > 0 {
                    collected.seconds.entry(interval.second).or_default().add(&interval.pair);
                    progress.set_message(format!(
                        "{}, p99 {}",
                        units::rate(answered as f64),
                        units::time(interval.pair.latency.value_at_quantile(0.99) as f64)
                    ));
                }
                progress.set_position(interval.second + 1);
                interval.pair.clear();
                // A core that has finished needs no spare.
                let _ = channels.spares[interval.core].send(interval.pair);
            }
            // What the cores sent before they finished is in the channel: it is emptied first.
            Err(RecvTimeoutError::Timeout) if !finished() => progress.tick(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    progress.finish_and_clear();
    collected
}

/// A line on a terminal; nothing elsewhere.
fn progress(seconds: f64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seconds.ceil() as u64);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} s  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
