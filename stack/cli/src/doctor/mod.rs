//! `corelane doctor`: looks at the machine once, then judges what it saw.
//!
//! `system` reads the machine into one value, `checks`, `interface` and `beside` judge that value without looking at
//! anything else, `report` shows the judgements. A new check is a function in one of these and its line in `all`.

mod beside;
mod checks;
mod interface;
mod placement;
mod report;
mod system;

use crate::{DONE, Failure, MACHINE, USAGE, terminal};
use beside::Beside;
use corelane::config::{Config, HugePages, Mode, Priority, Strategy};
use corelane::runtime::Placement;
use std::path::PathBuf;
use system::System;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The network interface to look at; all those of the configuration without it
    #[arg(long, short, value_name = "IF")]
    interface: Option<String>,
    /// The configuration whose needs count; the defaults without it
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A port that is to be listened on: whether the kernel listens there is looked at; may be given several times
    #[arg(long, short, value_name = "PORT")]
    port: Vec<u16>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let config = match &arguments.config {
        Some(file) => Config::load(file).map_err(|error| Failure::new(USAGE, error.to_string()))?,
        None => Config::default(),
    };
    let configs = each_interface(&config, arguments.interface.as_deref());
    let names: Vec<&str> = configs.iter().map(|(name, _)| name.as_str()).collect();
    let mut found: Vec<Vec<Check>> = Vec::new();
    let mut seen: Vec<(System, Needs)> = Vec::new();
    for (name, config) in &configs {
        seen.push(look(arguments, name, config));
    }
    // What all interfaces need together: memory, and a worker for each queue.
    let locked_bytes = seen.iter().map(|(_, needs)| needs.locked_bytes).sum();
    let queues: usize = seen.iter().map(|(_, needs)| needs.queues.len()).sum();
    for ((system, needs), (_, config)) in seen.iter_mut().zip(&configs) {
        needs.locked_bytes = locked_bytes;
        let workers = config.workers().unwrap_or_else(|| queues.min(system.allowed_cpus.len()).max(1));
        system.placement = Placement::choose(config, workers).map_err(|error| error.to_string());
        found.push(checks::all(system, needs));
    }
    let (interface, checks) = (names.join(", "), joined(&names, found));
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report::json(&mut out, &interface, &checks)?;
    } else {
        report::text(&mut out, &interface, &checks, terminal::wants_color())?;
    }
    Ok(if report::worst(&checks) == Level::Fail { MACHINE } else { DONE })
}

/// The names of the interfaces to look at, each with a configuration whose first interface it is. One that is named on the
/// command line has the settings that the configuration gives it, or else those of its first.
fn each_interface(config: &Config, named: Option<&str>) -> Vec<(String, Config)> {
    let alone = config.each_alone();
    let Some(name) = named else {
        return alone.into_iter().map(|config| (config.interface().name().to_owned(), config)).collect();
    };
    let known = alone.iter().find(|config| config.interface().name() == name).or(alone.first());
    let renamed = known.map(|config| config.clone().into_builder().interface(name).build());
    // With a name that cannot be, that there is no such interface is what will be said.
    vec![(name.to_owned(), renamed.and_then(Result::ok).unwrap_or_default())]
}

/// The checks of several interfaces as one list: what all of them have in common once, and what is of one with its name.
fn joined(names: &[&str], found: Vec<Vec<Check>>) -> Vec<Check> {
    if found.len() == 1 {
        return found.into_iter().flatten().collect();
    }
    let common: Vec<Check> = found
        .first()
        .into_iter()
        .flatten()
        .filter(|check| found.iter().all(|of| of.contains(check)))
        .cloned()
        .collect();
    let mut checks = common.clone();
    for (name, of_one) in names.iter().zip(found) {
        for mut check in of_one.into_iter().filter(|check| !common.contains(check)) {
            if !check.message.contains(name) {
                check.message = format!("{name}: {}", check.message);
            }
            checks.push(check);
        }
    }
    checks
}

/// Looks at one interface, whose settings are those of the first of `config`.
fn look(arguments: &Arguments, interface: &str, config: &Config) -> (System, Needs) {
    // How many queues there are has to be known before the needs, and the ports asked about before the look.
    let mut system = System::look(interface);
    let state = system.interface.as_ref().and_then(|interface| interface.state.as_ref());
    let queues = state.map_or(1, |state| state.rx_queues.min(state.tx_queues));
    let mut needs = Needs::of(config, queues);
    needs.configured = arguments.config.is_some();
    needs.ports.clone_from(&arguments.port);
    system.beside = Beside::look(config.interface(), &needs.ports);
    (system, needs)
}

/// What a configuration asks of the machine.
#[derive(Clone, Debug)]
struct Needs {
    mode: Mode,
    /// The queues that are to be served.
    queues: Vec<u32>,
    /// Workers that want a core each; `None` when they take what there is.
    workers: Option<usize>,
    /// Bytes of locked memory: each queue's frames.
    locked_bytes: u64,
    /// The largest MTU that a frame holds.
    largest_mtu: u32,
    huge_pages: HugePages,
    priority: Priority,
    strategy: Strategy,
    /// Whether somebody has said what is needed.
    configured: bool,
    /// Ports to listen on.
    ports: Vec<u16>,
    /// First and last port of outgoing connections.
    outgoing: (u16, u16),
    reserve_ports: bool,
}

impl Needs {
    /// What `config` asks for, of an interface with so many queues.
    fn of(config: &Config, there: u32) -> Self {
        let memory = config.memory();
        let queues = match config.interface().queues() {
            [] => (0..there.max(1)).collect(),
            named => named.to_vec(),
        };
        let frames = u64::from(memory.frame_count()) * u64::from(memory.frame_size());
        Self {
            mode: config.interface().mode(),
            locked_bytes: frames * queues.len() as u64,
            workers: config.workers(),
            queues,
            // The kernel keeps XDP_PACKET_HEADROOM, 256 bytes, of a frame; 18 are Ethernet's and one VLAN tag's.
            largest_mtu: memory.frame_size() - 256 - 18,
            huge_pages: memory.huge_pages(),
            priority: config.cores().priority(),
            strategy: config.waiting().strategy(),
            configured: false,
            ports: Vec::new(),
            outgoing: (config.limits().first_port(), config.limits().last_port()),
            reserve_ports: config.interface().reserve_ports(),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Ok,
    /// Corelane runs, but not as well as it could.
    Warn,
    /// Corelane does not run.
    Fail,
}

/// What one check found.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    message: String,
    /// The command, or what else mends it. It is there unless the level is ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, message: message.into(), remedy: None }
    }

    fn warn(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, message: message.into(), remedy: Some(remedy.into()) }
    }
}
