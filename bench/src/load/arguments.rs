//! From what people write, on the command line or in a scenario, to options that make sense together.

use super::options::{LONGEST, Pace, SetOptions};
use super::rate::{BOUNDS, Rate};
use super::schedule::Arrivals;
use super::trace::Trace;
use crate::cli::LoadArgs;
use crate::failure::Failure;
use crate::workload::LoadKind;
use crate::workload::kv::{Mix, VALUE_LIMIT};
use crate::workload::size::Sizes;
use clap::ValueEnum;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How connections are closed from this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// With a FIN: everything that was sent arrives. This side then keeps the connection in TIME-WAIT.
    #[default]
    Fin,
    /// With a RST: at once, and nothing is kept.
    Rst,
}

/// One set of connections as it was written. The names are those of the options without `--`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetSpec {
    #[serde(default)]
    pub(super) name: String,
    pub(super) workload: LoadKind,
    pub(super) target: Option<SocketAddr>,
    pub(super) connections: usize,
    #[serde(default)]
    pub(super) idle_connections: usize,
    #[serde(default, deserialize_with = "rate")]
    pub(super) rate: Option<Rate>,
    #[serde(default)]
    pub(super) closed: bool,
    pub(super) trace: Option<PathBuf>,
    #[serde(default)]
    pub(super) arrivals: Arrivals,
    pub(super) requests: Option<u64>,
    pub(super) requests_per_connection: Option<u64>,
    #[serde(default = "one")]
    pub(super) pipeline: usize,
    #[serde(default, deserialize_with = "sizes")]
    pub(super) size: Option<Sizes>,
    #[serde(default, deserialize_with = "sizes")]
    pub(super) response_size: Option<Sizes>,
    pub(super) get_ratio: Option<f64>,
    pub(super) keys: Option<u64>,
    #[serde(default)]
    pub(super) close: Ending,
    pub(super) read_rate: Option<u64>,
    pub(super) write_rate: Option<u64>,
}

const fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Whole(u64),
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn into_text(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    Rate::parse(&NumberOrText::deserialize(from)?.into_text()).map(Some).map_err(serde::de::Error::custom)
}

fn sizes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Sizes>, D::Error> {
    Sizes::parse(&NumberOrText::deserialize(from)?.into_text()).map(Some).map_err(serde::de::Error::custom)
}

impl SetSpec {
    /// What the command line says; `None` if it names no workload, which a scenario does instead.
    pub(super) fn of(args: &LoadArgs) -> Option<Self> {
        Some(Self {
            name: String::new(),
            workload: args.workload?,
            target: args.target,
            connections: args.connections?,
            idle_connections: args.idle_connections,
            rate: args.rate.clone(),
            closed: args.closed,
            trace: args.trace.clone(),
            arrivals: args.arrivals,
            requests: args.requests,
            requests_per_connection: args.requests_per_connection,
            pipeline: args.pipeline,
            size: args.size.clone(),
            response_size: args.response_size.clone(),
            get_ratio: args.get_ratio,
            keys: args.keys,
            close: args.close,
            read_rate: args.read_rate,
            write_rate: args.write_rate,
        })
    }

    /// The options, if they make sense. The target is this one's or else `target`. The error is a sentence in the words
    /// of the command line.
    pub(super) fn options(&self, target: Option<SocketAddr>) -> Result<SetOptions, Failure> {
        let target = target.or(self.target).ok_or_else(|| Failure::Usage("no --target is named".to_owned()))?;
        check_target(target)?;
        self.check_numbers()?;
        self.check_workload()?;
        Ok(SetOptions {
            name: self.name.clone(),
            workload: self.workload,
            target,
            connections: self.connections,
            idle_connections: self.idle_connections,
            pace: self.pace()?,
            request_limit: self.requests,
            requests_per_connection: self.requests_per_connection,
            pipeline: self.pipeline,
            sizes: self.size.clone(),
            response_sizes: self.response_size.clone().unwrap_or(Sizes::Fixed(super::options::DEFAULT_SIZE)),
            mix: Mix { get_ratio: self.get_ratio.unwrap_or(0.9), keys: self.keys.unwrap_or(10_000) },
            reset: self.close == Ending::Rst,
            read_rate: self.read_rate,
            write_rate: self.write_rate,
        })
    }

    fn pace(&self) -> Result<Pace, Failure> {
        match (&self.rate, &self.trace, self.closed) {
            (Some(rate), None, false) => Ok(Pace::Rate(rate.clone(), self.arrivals)),
            (None, Some(path), false) => Trace::load(path).map(Pace::Trace),
            (None, None, true) => Ok(Pace::Closed),
            _ => usage("exactly one of --rate, --closed and --trace says when requests are sent"),
        }
    }

    fn check_numbers(&self) -> Result<(), Failure> {
        if self.rate.iter().flat_map(Rate::all).any(|rate| !BOUNDS.contains(&rate)) {
            return usage("--rate is not from 0.001 to 1000000000 requests a second");
        }
        if !(1..=1_000_000).contains(&self.connections) {
            return usage("--connections is not from 1 to 1000000");
        }
        if self.idle_connections > 1_000_000 {
            return usage("--idle-connections is not from 0 to 1000000");
        }
        if self.requests == Some(0) || self.requests_per_connection == Some(0) {
            return usage("--requests and --requests-per-connection begin at 1");
        }
        if !(1..=10_000).contains(&self.pipeline) {
            return usage("--pipeline is not from 1 to 10000");
        }
        if self.read_rate == Some(0) || self.write_rate == Some(0) {
            return usage("--read-rate and --write-rate begin at 1 byte a second");
        }
        if self.keys == Some(0) || self.get_ratio.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            return usage("--keys begins at 1, and --get-ratio is from 0 to 1");
        }
        Ok(())
    }

    /// What the workload would ignore is refused, so that nobody measures something else than meant.
    fn check_workload(&self) -> Result<(), Failure> {
        let kind = self.workload;
        let is_bulk = matches!(kind, LoadKind::BulkSend | LoadKind::BulkRecv);
        let ignored = [
            ("--response-size", self.response_size.is_some() && kind != LoadKind::Rr, "rr"),
            ("--get-ratio", self.get_ratio.is_some() && kind != LoadKind::Kv, "kv"),
            ("--keys", self.keys.is_some() && kind != LoadKind::Kv, "kv"),
        ];
        if let Some((name, _, whose)) = ignored.iter().find(|(_, ignored, _)| *ignored) {
            return usage(&format!("{name} is for --workload {whose}"));
        }
        if (is_bulk || kind == LoadKind::Churn) && (self.pipeline > 1 || self.requests_per_connection.is_some()) {
            return usage(&format!(
                "--pipeline and --requests-per-connection mean nothing to --workload {}",
                kind.name()
            ));
        }
        if kind == LoadKind::BulkRecv && !self.closed {
            return usage("--workload bulk-recv takes what comes: say --closed");
        }
        if kind == LoadKind::BulkRecv && self.write_rate.is_some()
            || kind == LoadKind::BulkSend && self.read_rate.is_some()
        {
            return usage(&format!("--workload {} moves bytes the other way only", kind.name()));
        }
        let Some(size) = &self.size else { return Ok(()) };
        if size.least() == 0 && kind == LoadKind::Echo {
            return usage("--size 0: an echo has at least one byte");
        }
        if is_bulk && size.fixed().is_none_or(|size| size == 0) {
            return usage("--size of a bulk workload is one number of bytes, at least 1");
        }
        if kind == LoadKind::Kv && size.most() > VALUE_LIMIT as u64 {
            return usage(&format!("--size of a value is at most {VALUE_LIMIT} bytes"));
        }
        Ok(())
    }
}

/// How long a run with these sets lasts: what is said, or long enough for their counts and traces.
pub(super) fn duration(said: Option<Duration>, sets: &[SetOptions]) -> Result<Duration, Failure> {
    if said.is_some_and(|said| said.is_zero()) {
        return usage("--duration is 0: nothing would be measured");
    }
    if let Some(said) = said {
        return Ok(said);
    }
    let ends = |set: &SetOptions| set.request_limit.is_some() || matches!(set.pace, Pace::Trace(_));
    if !sets.iter().all(ends) {
        return usage("--duration says how long to measure; it can only be left out with --requests or --trace");
    }
    if sets.iter().any(|set| matches!(set.pace, Pace::Rate(Rate::Ramp(..), _))) {
        return usage("a ramp needs a --duration to end at");
    }
    Ok(LONGEST)
}

fn check_target(target: SocketAddr) -> Result<(), Failure> {
    if target.port() == 0 {
        return usage("--target has port 0, which is no port; choose one from 1 to 65535");
    }
    if target.ip().is_unspecified() || target.ip().is_multicast() {
        return usage("--target is not the address of one machine");
    }
    Ok(())
}

pub(super) fn usage<T>(text: &str) -> Result<T, Failure> {
    Err(Failure::Usage(text.to_owned()))
}
