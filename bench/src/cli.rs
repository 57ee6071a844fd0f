//! The command line.
#![expect(clippy::doc_markdown, reason = "these comments are the help texts, which show backticks as they are")]

use crate::cores::CoreList;
use crate::load::arguments::Ending;
use crate::load::rate::Rate;
use crate::load::schedule::Arrivals;
use crate::load::search::Objective;
use crate::path::threshold::PathThreshold;
use crate::report::threshold::Threshold;
use crate::transport::TransportKind;
use crate::workload::size::Sizes;
use crate::workload::{LoadKind, ServeKind};
use clap::{Args, Parser, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Servers, load and latency histograms, over Corelane and over the kernel's sockets alike.
#[derive(Parser, Debug)]
#[command(name = "corelane-bench", version, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 ran but a threshold failed, 2 usage or configuration, 3 the machine cannot do it."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve a workload until SIGINT or SIGTERM.
    Serve(ServeArgs),
    /// Load a server and measure how long its answers take.
    Load(Box<LoadArgs>),
    /// Compare the kernel's TCP, Corelane and bare frames, in network namespaces of its own: speed, side by side.
    Compare(CompareArgs),
    /// Compare the kernel's sender with Corelane's over bad paths, in network namespaces of its own.
    Path(PathArgs),
    /// Measure what waiting costs, in network namespaces of its own: an idle stack's processor time, and its wake-ups.
    Idle(IdleArgs),
    /// Measure what steering costs, in network namespaces of its own: frames received and dropped, with it and without.
    Steer(SteerArgs),
    /// Show the results of loads side by side, or those of `compare`.
    Report(ReportArgs),
}

/// Where the stack's own interface is; only for `--transport corelane`, apart from `--address`.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Corelane")]
pub struct StackArgs {
    /// The stack's configuration file; the options here override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The network interface.
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// The stack's own address and prefix length, such as 10.0.0.2/24. With the kernel: the address to bind to.
    #[arg(long, value_name = "A/P", value_parser = parse_prefix)]
    pub address: Option<Prefix>,
    /// Where packets beyond the prefix go.
    #[arg(long, value_name = "A")]
    pub gateway: Option<IpAddr>,
    /// How the interface is driven: require-zerocopy, prefer-zerocopy, copy or skb.
    #[arg(long)]
    pub mode: Option<String>,
    /// What a core does when nothing is to do: spin, adaptive or sleep.
    #[arg(long)]
    pub wait: Option<String>,
    /// Spoil frames in both directions: loss=2%,reorder=1%,duplicate=1%,corrupt=1%.
    #[arg(long, value_name = "LIST", value_parser = parse_impair)]
    pub impair: Option<Impair>,
    /// Set any setting of the stack's configuration, such as tcp.delayed_ack_ms=0. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Whose TCP.
    #[arg(long, value_enum)]
    pub transport: TransportKind,
    /// What is served.
    #[arg(long, value_enum)]
    pub workload: ServeKind,
    /// The TCP port, 1 to 65535.
    #[arg(long)]
    pub port: u16,
    /// One pinned thread for each core of a list such as 0,2-3 [default: the first core allowed].
    #[arg(long, value_name = "LIST", value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "the group says it")]
    pub stack: StackArgs,
    /// Take over from the server that runs with the same control.socket: no connection is refused or reset, and that one
    /// ends with its last open one. Without one, start as always.
    #[arg(long)]
    pub takeover: bool,
    /// With the kernel: poll without ever sleeping.
    #[arg(long)]
    pub spin: bool,
    /// Hold /dev/cpu_dma_latency at 0, so that idle cores do not halt.
    #[arg(long)]
    pub hold_cpu_dma_latency: bool,
    /// Print the summary as one JSON document; the line `listening on` goes to stderr then.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `load`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
        corelane-bench load --transport kernel --workload http --target 127.0.0.1:8080 --connections 16 --rate 20k \
        --duration 10 --warmup 1 --out DIR\n  \
        ... --rate 1k..50k --duration 30                   a ramp, with its curve\n  \
        ... --rate 1k..50k --step 5k --duration 5          steps of five seconds\n  \
        ... --rate 1k..50k --slo p99=200us --duration 5    the highest rate whose p99 is at most 200 us\n  \
        ... --trace FILE                                   the arrivals of a log, played again\n  \
        corelane-bench load --transport kernel --scenario configs/scenario.toml --out DIR")]
pub struct LoadArgs {
    /// Whose TCP.
    #[arg(long, value_enum)]
    pub transport: TransportKind,
    /// Phases and sets of connections from a file like configs/scenario.toml, instead of the options for one set.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "workload", "connections", "idle_connections", "rate", "closed", "trace", "arrivals", "step", "slo", "duration",
        "warmup", "drain", "requests", "size", "response_size", "pipeline", "requests_per_connection", "close", "get_ratio",
        "keys", "read_rate", "write_rate",
    ])]
    pub scenario: Option<PathBuf>,
    /// What is asked.
    #[arg(long, value_enum, required_unless_present = "scenario")]
    pub workload: Option<LoadKind>,
    /// The server: an address and a port, such as 10.0.0.1:8080 (IPv6 in brackets). Overrides those of a scenario.
    #[arg(long, value_name = "A:P", required_unless_present = "scenario")]
    pub target: Option<SocketAddr>,
    /// Connections, over all cores.
    #[arg(long, value_name = "N", required_unless_present = "scenario")]
    pub connections: Option<usize>,
    /// Connections beside them that are opened and never used, over all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub idle_connections: usize,
    /// One pinned thread for each core of a list such as 0,2-3 [default: the last core allowed].
    #[arg(long, value_name = "LIST", value_parser = CoreList::parse)]
    pub cores: Option<CoreList>,
    /// With the kernel: poll without ever sleeping.
    #[arg(long)]
    pub spin: bool,
    /// Hold /dev/cpu_dma_latency at 0, so that idle cores do not halt.
    #[arg(long)]
    pub hold_cpu_dma_latency: bool,
    /// Where result.json, latency.hlog and report.html go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the result as one JSON document.
    #[arg(long)]
    pub json: bool,

    /// Open loop: so many requests a second over all connections, such as 500 or 20k; latency counts from the time they
    /// were due. A ramp is 1k..50k, steps are 1k,2k,5k.
    #[arg(long, value_name = "R", value_parser = Rate::parse, help_heading = "When requests are sent")]
    #[arg(required_unless_present_any = ["closed", "trace", "scenario"], conflicts_with_all = ["closed", "trace"])]
    pub rate: Option<Rate>,
    /// Closed loop: each connection sends its next request when it has its answer.
    #[arg(long, help_heading = "When requests are sent", conflicts_with = "trace")]
    pub closed: bool,
    /// Open loop: at the times in a file. Its first line is offset_us or gap_us (or ns, ms, s), then a number a line.
    #[arg(long, value_name = "FILE", help_heading = "When requests are sent")]
    pub trace: Option<PathBuf>,
    /// Open loop: how the gaps between requests are distributed.
    #[arg(long, value_enum, default_value = "constant", help_heading = "When requests are sent")]
    pub arrivals: Arrivals,
    /// Goes through a ramp in steps of so many requests a second, each as long as --duration and measured by itself.
    #[arg(long, value_name = "R", conflicts_with = "slo", help_heading = "When requests are sent")]
    pub step: Option<f64>,
    /// Searches a ramp for the highest rate that keeps this, such as p99=200us; each try is as long as --duration. May
    /// be repeated.
    #[arg(long, value_name = "OBJECTIVE", value_parser = Objective::parse, help_heading = "When requests are sent")]
    pub slo: Vec<Objective>,
    /// How long to measure, in seconds. May be left out with --requests and --trace.
    #[arg(long, value_name = "S", value_parser = parse_seconds, help_heading = "When requests are sent")]
    pub duration: Option<Duration>,
    /// How long to run before, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "0", help_heading = "When requests are sent")]
    pub warmup: Duration,
    /// How long to wait afterwards for answers that are outstanding, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "1", help_heading = "When requests are sent")]
    pub drain: Duration,
    /// End after this many requests, if that is earlier.
    #[arg(long, value_name = "N", help_heading = "When requests are sent")]
    pub requests: Option<u64>,
    /// For random gaps and sizes, and for the bytes that are echoed.
    #[arg(long, default_value_t = 1, help_heading = "When requests are sent")]
    pub seed: u64,

    /// Bytes of a message (echo, rr, churn), of a value (kv; both 64 by default), of an answer's body (http: GET /bytes/B;
    /// default GET /) or of a chunk (bulk; default 65536). A number, or a distribution: uniform:64..1500,
    /// lognormal:MEDIAN,SIGMA,LIMIT (LIMIT may be left out), list:64*9,1500*1.
    #[arg(long, value_name = "B", value_parser = Sizes::parse, help_heading = "What is sent")]
    pub size: Option<Sizes>,
    /// Bytes of an answer (rr), in the same way [default: 64].
    #[arg(long, value_name = "B", value_parser = Sizes::parse, help_heading = "What is sent")]
    pub response_size: Option<Sizes>,
    /// Requests that a connection may have outstanding.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "What is sent")]
    pub pipeline: usize,
    /// Close a connection after this many answers and open it anew.
    #[arg(long, value_name = "N", help_heading = "What is sent")]
    pub requests_per_connection: Option<u64>,
    /// How connections are closed from this side.
    #[arg(long, value_enum, default_value = "fin", help_heading = "What is sent")]
    pub close: Ending,
    /// The share of GETs (kv), 0 to 1; the others are SETs [default: 0.9].
    #[arg(long, value_name = "SHARE", help_heading = "What is sent")]
    pub get_ratio: Option<f64>,
    /// How many keys there are (kv), each as likely [default: 10000].
    #[arg(long, value_name = "N", help_heading = "What is sent")]
    pub keys: Option<u64>,
    /// Slow readers: each connection reads at most so many bytes a second.
    #[arg(long, value_name = "B", help_heading = "What is sent")]
    pub read_rate: Option<u64>,
    /// Slow writers: each connection writes at most so many bytes a second.
    #[arg(long, value_name = "B", help_heading = "What is sent")]
    pub write_rate: Option<u64>,

    /// End with exit code 1 if this holds, such as 'p99>500us', 'rate<10000' or 'errors>0'. May be repeated. Fields: min,
    /// mean, p50, p90, p99, p99.9, p99.99, p99.999, max; the same after `service.`; rate, errors, unanswered, unsent.
    #[arg(long, value_name = "CONDITION", value_parser = Threshold::parse)]
    pub fail_if: Vec<Threshold>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "the group says it")]
    pub stack: StackArgs,
}

/// Arguments of `compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Where result.json, report.html and a folder for each run go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The cells, as in configs/compare.toml [default: the same, built in].
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub matrix: Option<PathBuf>,
    /// Less of everything: under three minutes.
    #[arg(long)]
    pub quick: bool,
    /// Only cells with this in their name, such as echo-64b-1c or corelane-to-kernel. May be repeated: then those with any.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// How often each cell is run, instead of what the matrix says.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,
    /// How long each run is measured, instead of what the matrix says, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,
    /// End with exit code 1 if a bar is not met.
    #[arg(long)]
    pub strict: bool,
    /// Print the result as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `path`.
#[derive(Args, Debug)]
pub struct PathArgs {
    /// Where result.json and report.html go; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The paths and algorithms, as in configs/path.toml [default: the same, built in].
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub matrix: Option<PathBuf>,
    /// Four cells, once, two seconds each.
    #[arg(long)]
    pub quick: bool,
    /// Only cells with this in their name, such as cubic or loss1%. May be repeated: then all of them.
    #[arg(long, value_name = "TEXT")]
    pub only: Vec<String>,
    /// How often each cell is measured, instead of what the matrix says.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,
    /// How long each transfer is measured, instead of what the matrix says, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,
    /// Let the kernel send in Corelane's place too: how far from 1 chance alone takes a ratio.
    #[arg(long)]
    pub control: bool,
    /// End with exit code 1 if this holds, such as 'ratio<0.8', 'median<1', 'reorder<0.95', 'excess>0.5' or 'missing>0'.
    /// May be repeated.
    #[arg(long, value_name = "CONDITION", value_parser = PathThreshold::parse)]
    pub fail_if: Vec<PathThreshold>,
    /// Print the result as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `idle`.
#[derive(Args, Debug)]
pub struct IdleArgs {
    /// How long each stack is left idle, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "5")]
    pub seconds: Duration,
    /// How many requests then wake it.
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub requests: u32,
    /// How long the client waits before each request, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pub gap_ms: u64,
    /// Only this strategy: sleep, adaptive or spin. May be repeated [default: all three].
    #[arg(long, value_name = "WAIT")]
    pub wait: Vec<String>,
    /// Hold /dev/cpu_dma_latency at 0, so that idle cores do not halt.
    #[arg(long)]
    pub hold_cpu_dma_latency: bool,
    /// Print the result as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `steer`.
#[derive(Args, Debug)]
pub struct SteerArgs {
    /// How long each way of receiving is measured in each round, in seconds.
    #[arg(long, value_name = "S", value_parser = parse_seconds, default_value = "0.5")]
    pub seconds: Duration,
    /// How many rounds, each with every way in turn.
    #[arg(long, value_name = "N", default_value_t = 11)]
    pub rounds: u32,
    /// End with exit code 1 if less than this part of the raw rate is received behind the program, such as 0.95.
    #[arg(long, value_name = "RATIO")]
    pub fail_below: Option<f64>,
    /// Hold /dev/cpu_dma_latency at 0, so that idle cores do not halt.
    #[arg(long)]
    pub hold_cpu_dma_latency: bool,
    /// Print the result as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Where loads left their results, the first one being what the others are compared with; or where `compare` did:
    /// several comparisons become one.
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Add the loads up: they are parts of one, run by several machines at the same time.
    #[arg(long)]
    pub merge: bool,
    /// Write one page with all of them.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write each chart as an SVG file; the folder is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
    /// Print the results as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// An address and a prefix length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// The address.
    pub ip: IpAddr,
    /// How many bits are the network's, if said.
    pub len: Option<u8>,
}

fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let ip: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => None,
        Some(len) => match len.parse::<u8>() {
            Ok(len) if len <= most => Some(len),
            _ => return Err(format!("`/{len}` is not a prefix length from 0 to {most}")),
        },
    };
    Ok(Prefix { ip, len })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    seconds
        .filter(|seconds| (0.0..=1e6).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is not a number of seconds from 0 to 1000000"))
}

/// How frames are spoilt, each as a probability from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Impair {
    /// Frames that vanish.
    pub loss: f64,
    /// Frames that come later than their successors.
    pub reorder: f64,
    /// Frames that come twice.
    pub duplicate: f64,
    /// Frames with a wrong bit.
    pub corrupt: f64,
}

fn parse_impair(text: &str) -> Result<Impair, String> {
    let mut impair = Impair::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not like loss=2%"))?;
        let number = |text: &str| text.parse::<f64>().ok();
        let share = value.strip_suffix('%').map_or_else(|| number(value), |text| number(text).map(|part| part / 100.0));
        let share = share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| format!("`{value}` in `{part}` is not a share such as 2% or 0.02"))?;
        match name {
            "loss" => impair.loss = share,
            "reorder" => impair.reorder = share,
            "duplicate" => impair.duplicate = share,
            "corrupt" => impair.corrupt = share,
            _ => return Err(format!("`{name}` is not known; take loss, reorder, duplicate or corrupt")),
        }
    }
    Ok(impair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_shares_and_seconds() {
        assert_eq!(parse_prefix("10.0.0.2/24"), Ok(Prefix { ip: [10, 0, 0, 2].into(), len: Some(24) }));
        assert_eq!(parse_prefix("2001:db8::1").unwrap().len, None);
        for bad in ["", "10.0.0", "10.0.0.2/33", "10.0.0.2/", "10.0.0.2/-1", "::1/129"] {
            assert!(parse_prefix(bad).is_err(), "{bad}");
        }
        let impair = parse_impair("loss=2%,reorder=1%,duplicate=0.5").unwrap();
        assert_eq!(impair, Impair { loss: 0.02, reorder: 0.01, duplicate: 0.5, corrupt: 0.0 });
        for bad in ["", "loss", "loss=", "loss=101%", "loss=-1%", "speed=1%", "loss=NaN"] {
            assert!(parse_impair(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_seconds("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["", "-1", "x", "inf", "NaN", "1e9"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
