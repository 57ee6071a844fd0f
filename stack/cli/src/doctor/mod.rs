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
    /// The network interface to look at; the configuration's when there is one
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
    let interface = arguments.interface.clone().unwrap_or_else(|| config.interface().name().to_owned());
    // How many queues there are has to be known before the needs, and the ports asked about before the look.
    let mut system = System::look(&interface);
    let state = system.interface.as_ref().and_then(|interface| interface.state.as_ref());
    let queues = state.map_or(1, |state| state.rx_queues.min(state.tx_queues));
    let mut needs = Needs::of(&config, queues);
    needs.configured = arguments.config.is_some();
    needs.ports.clone_from(&arguments.port);
    system.beside = Beside::look(&config, &interface, &needs.ports);
    let workers = config.workers().unwrap_or_else(|| needs.queues.len().min(system.allowed_cpus.len()).max(1));
    let config = config.into_builder().interface(&interface).build();
    system.placement = config
        .map_err(|error| error.to_string())
        .and_then(|config| Placement::choose(&config, workers).map_err(|error| error.to_string()));
    let checks = checks::all(&system, &needs);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report::json(&mut out, &interface, &checks)?;
    } else {
        report::text(&mut out, &interface, &checks, terminal::wants_color())?;
    }
    Ok(if report::worst(&checks) == Level::Fail { MACHINE } else { DONE })
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
